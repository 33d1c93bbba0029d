//! The buffers that an object comes in do not matter.

use super::*;

fn file(records: usize) -> String {
    let mut rng = Rng(7);
    let mut text = String::from("[\n");
    for i in 0..records {
        match rng.below(12) {
            0 => text += &result(&format!("s{i}")).replace("ErrCode\":0", "ErrCode\":0,"),
            1 => text += "{\"x\":tru}",
            2 => text += &format!("{{\"LivenessDetail\":[{{\"Seq\":\"s{i}\",\"ReqTime\":0}}]}}"),
            3 => text += &result(&format!("s{i}"))[..70],
            4 => text += "{\"Response\":{\"Error\":{\"Code\":\"汉\"}}}",
            _ => text += &result(&format!("s{i}")),
        }
        text += if i + 1 < records { rng.pick(&[",", ",\n", ",\r\n  "]) } else { "\n]" };
    }
    text
}

#[test]
fn buffers_of_every_size() {
    let text = file(60);
    let seen = decode(&text, Framing::Documents);
    assert!(seen.records.len() > 30 && seen.rejects.len() >= 10);
    for size in (1..40).chain([99, 100, 250, 1000, 5000]) {
        let pieces =
            decode_in_pieces(text.as_bytes(), Framing::Documents, &Wanted::default(), &[size]);
        assert_eq!(pieces, seen, "{size}");
    }
}

#[test]
fn streams_that_give_little() {
    let text = file(200);
    let mut seen = decode(&text, Framing::Documents);
    seen.tally = Tally::default();
    for step in [1, 2, 3, 7, 100, 1 << 20] {
        let mut read = Seen::default();
        let mut input = Dripping { bytes: text.as_bytes(), step };
        let wanted = Wanted::default();
        read_object(&mut input, ("k", 0), Format::Auto, Compression::Auto, &wanted, &mut read)
            .expect("no failure");
        assert_eq!(read, seen, "{step}");
    }
}

/// Records, and breaks between records, on both sides of where a stream's buffer ends.
#[test]
fn records_across_the_buffers_of_a_stream() {
    for shift in [0, 50] {
        for (before, between, behind) in [("", "\n", "\n"), ("[", ",", "]"), ("", "", "")] {
            let mut text = " ".repeat(shift) + before;
            let mut seqs = Vec::new();
            while text.len() < 2 * CHUNK_BYTES + 100_000 {
                if !seqs.is_empty() {
                    text += between;
                }
                let seq = format!("s{}", seqs.len());
                // Some with media of a megabyte.
                let media =
                    if seqs.len() % 1000 == 1 { "QUJD".repeat(250_000) } else { "QUJD".repeat(50) };
                text += &result(&seq).replace(
                    "\"Response\":{",
                    &format!("\"Response\":{{\"BestFrame\":\"{media}\","),
                );
                seqs.push(seq);
            }
            text += behind;
            let seen = read(text.as_bytes(), "k");
            assert_eq!(seen.seqs(), seqs);
            assert_eq!(seen.rejects, []);
        }
    }
}

/// A record of several buffers is read, and what follows it.
#[test]
fn a_record_longer_than_the_buffers() {
    let media = "A".repeat(3 * CHUNK_BYTES + 17);
    for framing in ["k.ndjson", "k.json"] {
        let text = format!(
            "{}\n{{\"BestFrame\":\"{media}\",{}\n{}\n",
            result("a"),
            &result("b")[1..],
            result("c")
        );
        let seen = read(text.as_bytes(), framing);
        assert_eq!(seen.seqs(), ["a", "b", "c"]);
        assert_eq!(seen.rejects, []);
    }
}

/// A bound of 1,000 bytes stands in for the 512 MiB.
#[test]
fn a_record_over_the_bound() {
    let long = |n: usize| format!("{{\"x\":\"{}\"}}", "y".repeat(n - 8));
    let limited = |text: &str, framing: Framing| {
        let whole =
            decode_limited(text.as_bytes(), framing, &Wanted::default(), &[usize::MAX], 1000);
        for sizes in [&[1][..], &[999], &[1000], &[1001], &[300, 2]] {
            let pieces = decode_limited(text.as_bytes(), framing, &Wanted::default(), sizes, 1000);
            assert_eq!(pieces, whole, "pieces of {sizes:?}: {text}");
        }
        whole
    };
    for (before, between, behind, framing) in [
        ("", "\n", "\n", Framing::Lines),
        ("", "\n", "\n", Framing::Documents),
        ("[", ",", "]", Framing::Documents),
        ("", "", "", Framing::Documents),
    ] {
        let exactly = format!("{before}{}{between}{}{behind}", long(1000), result("a"));
        let seen = limited(&exactly, framing);
        assert_eq!(seen.places(), [(0, before.len() as i64, "$", RejectReason::NotAResult)]);
        assert_eq!(seen.seqs(), ["a"]);

        for n in [1001, 1002, 5000] {
            let text = format!(
                "{before}{}{between}{}{between}{}{behind}",
                result("a"),
                long(n),
                result("b")
            );
            let at = text.find("{\"x\"").unwrap() as i64;
            let seen = limited(&text, framing);
            assert_eq!(
                seen.places(),
                [(1, at, "$", RejectReason::RecordTooLarge)],
                "{n} {before} {framing:?}"
            );
            assert_eq!(seen.seqs(), ["a", "b"]);
        }
    }
    // A line of many records is no record.
    let text = format!(
        "{}\n{}",
        (0..20).map(|i| result(&format!("s{i}"))).collect::<String>(),
        result("t")
    );
    let seen = limited(&text, Framing::Lines);
    assert_eq!((seen.records.len(), seen.rejects.len()), (21, 0));
    // A number, a literal and a text that the bound cuts.
    for text in ["1".repeat(1500), format!("\"{}\"", "é".repeat(700)), " ".repeat(3000)] {
        let text = format!("{text}\n{}", result("a"));
        for framing in [Framing::Lines, Framing::Documents] {
            let seen = limited(&text, framing);
            assert_eq!(seen.seqs(), ["a"]);
            assert_eq!(seen.rejects.len(), usize::from(!text.starts_with(' ')));
        }
    }
}
