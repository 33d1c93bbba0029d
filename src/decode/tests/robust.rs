//! Whatever the bytes are: no panic, nothing lost from the count, and the same in any pieces.

use super::*;
use crate::model::Envelope;
use proptest::prelude::*;

fn enveloped() -> Wanted {
    let envelope = Envelope {
        response: "/r".to_owned(),
        biz_token: Some("/t".to_owned()),
        rule_id: None,
        channel: None,
        fetched_at: Some("/f".to_owned()),
        created_at: None,
    };
    Wanted::new(Some(envelope), true, true)
}

/// `decode_every_way` asserts what must hold.
#[track_caller]
fn survives(bytes: &[u8], sizes: &[usize]) {
    for wanted in [Wanted::default(), enveloped()] {
        for framing in [Framing::Lines, Framing::Documents] {
            let seen = decode_with(bytes, framing, &wanted);
            let pieces = decode_in_pieces(bytes, framing, &wanted, sizes);
            assert_eq!(
                pieces,
                seen,
                "{framing:?}, pieces of {sizes:?}: {:?}",
                String::from_utf8_lossy(bytes)
            );
        }
    }
    let mut seen = Seen::default();
    let mut input = Dripping { bytes, step: sizes[0].max(1) };
    let wanted = Wanted::default();
    let tally =
        read_object(&mut input, ("k", 0), Format::Auto, Compression::Auto, &wanted, &mut seen);
    seen.tally = tally.expect("the stream does not fail");
    seen.conserved(i64::MAX);
}

/// Pieces of which records and broken records are made.
const TOKENS: [&str; 40] = [
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\"",
    "\\",
    "\n",
    "\r\n",
    " ",
    "  {",
    "\n{",
    "\n  {",
    "//",
    "/*",
    "*/",
    "#",
    "null",
    "true",
    "1",
    "-",
    "\u{FEFF}",
    "é",
    "{\"Response\":",
    "{\"Text\":",
    "{\"LivenessDetail\":[",
    "\"Seq\":\"s\"",
    "\"ReqTime\":1730444265275",
    "{\"Response\":{\"Text\":{\"ErrCode\":0,",
    "\"LivenessDetail\":[{\"Seq\":\"s\",\"ReqTime\":1730444265275}]",
    "}}}",
    "]}}}",
    "{\"Response\":{\"Text\":{\"ErrCode\":0,\"LivenessDetail\":[{\"Seq\":\"s\",\"ReqTime\":1730444265275}]}}}",
    "{\"r\":{\"LivenessDetail\":[{\"Seq\":\"s\",\"ReqTime\":1730444265275}]},\"t\":\"t\"}",
    "\"t\":",
    "\"f\":",
    "\\ud83d",
    "\\u00e9",
    "\0",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200), sizes in prop::collection::vec(1..20usize, 1..5)) {
        survives(&bytes, &sizes);
    }

    #[test]
    fn arbitrary_tokens(
        tokens in prop::collection::vec(prop::sample::select(&TOKENS[..]), 0..40),
        sizes in prop::collection::vec(1..30usize, 1..5),
    ) {
        survives(tokens.concat().as_bytes(), &sizes);
    }

    /// Several bytes of a sound file changed, lost and added.
    #[test]
    fn a_damaged_file(
        layout in 0..4usize,
        damages in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3u8), 1..6),
        sizes in prop::collection::vec(1..500usize, 1..5),
    ) {
        let mut bytes = sample(layout).0.into_bytes();
        for (at, byte, kind) in damages {
            let at = at.index(bytes.len());
            match kind {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ => drop(bytes.remove(at)),
            }
        }
        survives(&bytes, &sizes);
    }
}

/// Four records in a layout, its framing, and where each record begins and ends.
fn sample(layout: usize) -> (String, Framing, Vec<(usize, usize)>) {
    let records: Vec<String> = (0..4)
        .map(|i| {
            let one = result(&format!("s{i}"));
            if layout == 3 {
                let value: serde_json::Value = serde_json::from_str(&one).expect("JSON");
                return serde_json::to_string_pretty(&value).expect("a text");
            }
            one.replace("\"RequestId\":", "\"名\":\"\\u00e9}\",\"RequestId\":")
        })
        .collect();
    let (before, between, behind, framing) = match layout {
        0 => ("", "\n", "\n", Framing::Lines),
        1 => ("[", ",", "]", Framing::Documents),
        2 => ("", "", "", Framing::Documents),
        _ => ("", "\n", "\n", Framing::Documents),
    };
    let mut text = before.to_owned();
    let mut places = Vec::new();
    for (i, record) in records.iter().enumerate() {
        text += if i > 0 { between } else { "" };
        text += record;
        places.push((text.len() - record.len(), text.len()));
    }
    (text + behind, framing, places)
}

#[test]
fn cut_at_every_byte() {
    for layout in 0..4 {
        let (text, framing, places) = sample(layout);
        for cut in 0..=text.len() {
            let bytes = &text.as_bytes()[..cut];
            let seen = decode_with(bytes, framing, &Wanted::default());
            assert_eq!(decode_in_pieces(bytes, framing, &Wanted::default(), &[5]), seen);
            let whole = places.iter().filter(|(_, end)| *end <= cut).count();
            let seqs: Vec<String> = (0..whole).map(|i| format!("s{i}")).collect();
            assert_eq!(seen.seqs(), seqs, "layout {layout} cut at {cut}");
            // A record that is begun is told, once and at the cut, and so is an array that is.
            let begun = places.iter().any(|(begin, end)| (begin + 1..*end).contains(&cut));
            let in_array = layout == 1 && (1..text.len()).contains(&cut);
            assert_eq!(
                seen.rejects.len(),
                usize::from(begun || in_array),
                "layout {layout} cut at {cut}: {:?}",
                seen.rejects
            );
            for reject in &seen.rejects {
                assert_eq!(
                    (reject.byte_offset, reject.reason),
                    (cut as i64, RejectReason::Truncated),
                    "layout {layout}"
                );
            }
        }
    }
}

/// Sound text in every layout: the sample is what it should be.
#[test]
fn the_sample_is_sound() {
    for layout in 0..4 {
        let (text, framing, _) = sample(layout);
        let seen = decode_every_way(text.as_bytes(), framing, &Wanted::default());
        assert_eq!(seen.seqs(), ["s0", "s1", "s2", "s3"]);
        assert_eq!(seen.rejects, []);
    }
}

/// One damaged byte in one record of an NDJSON file never costs another record; nor does one in an array or
/// among documents, unless it breaks the frame itself.
#[test]
fn one_damaged_byte_costs_one_record() {
    for layout in 0..4 {
        let (text, framing, places) = sample(layout);
        let second = places[1].0..places[1].1;
        for at in second {
            for byte in [b'}', b'"', b'{', b']', b',', b'\\', b'x', b' ', 0, 0xFF] {
                let mut bytes = text.clone().into_bytes();
                bytes[at] = byte;
                let seen = decode(&bytes, framing);
                for seq in ["s0", "s2", "s3"] {
                    let place = format!(
                        "layout {layout}: {byte} at {at}: {:?}",
                        String::from_utf8_lossy(&bytes)
                    );
                    assert!(seen.seqs().contains(&seq), "{seq} lost, {place}\n{:?}", seen.rejects);
                }
            }
        }
    }
}
