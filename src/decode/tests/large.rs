//! Large and hostile objects take time in proportion to their size: each of these would take minutes or hours if
//! something were done over and over again.

use super::*;
use std::time::{Duration, Instant};

/// Generous: each takes a second or so in a debug build on a busy machine.
const BOUND: Duration = Duration::from_secs(60);

fn timed(bytes: &[u8], key: &str) -> Seen {
    let begun = Instant::now();
    let seen = read(bytes, key);
    // The same in one buffer, which is what a piece of a large file is.
    let framing = framing(Format::Auto, key).unwrap_or(Framing::Documents);
    let whole = decode(bytes, framing);
    assert_eq!(whole.places(), seen.places());
    assert_eq!(whole.seqs(), seen.seqs());
    assert!(begun.elapsed() < BOUND, "{:?}", begun.elapsed());
    seen
}

#[test]
fn an_array_of_many_records() {
    let records: Vec<String> = (0..200_000)
        .map(|i| format!("{{\"LivenessDetail\":[{{\"Seq\":\"{i}\",\"ReqTime\":1730444265275}}]}}"))
        .collect();
    let seen = timed(format!("[{}]", records.join(",")).as_bytes(), "k.json");
    assert_eq!((seen.records.len(), seen.rejects.len()), (200_000, 0));
}

#[test]
fn one_string_of_fifty_megabytes() {
    let text = format!("{{\"BestFrame\":\"{}\",{}", "A".repeat(50 << 20), &result("a")[1..]);
    for key in ["k.json", "k.ndjson"] {
        assert_eq!(timed(text.as_bytes(), key).seqs(), ["a"]);
    }
    // And one that never ends.
    let seen = timed(&text.as_bytes()[..40 << 20], "k.json");
    assert_eq!(seen.places(), [(0, 40 << 20, "$.BestFrame", RejectReason::Truncated)]);
}

#[test]
fn a_million_brackets() {
    let seen = timed(&b"[".repeat(1 << 20), "k.json");
    // The first opens an array of records; the record in it is too deep at its 129th.
    assert_eq!(seen.rejects.len(), 1);
    assert_eq!((seen.rejects[0].byte_offset, seen.rejects[0].reason), (129, RejectReason::TooDeep));
    assert_eq!(timed(&b"{\"a\":".repeat(1 << 18), "k.json").rejects.len(), 1);
    assert_eq!(timed(&b"]".repeat(1 << 20), "k.json").rejects.len(), 1);
    assert_eq!(timed(&b"}".repeat(1 << 20), "k.json").rejects.len(), 1);
    timed(&b"{\"Response\":{\"Text\":{\"ErrCode\":".repeat(1 << 14), "k.json");
    timed(&b"[{\"a\":[1,".repeat(1 << 16), "k.json");
    timed(&b"{".repeat(1 << 18), "k.json");
    timed(&b"{\"".repeat(1 << 18), "k.json");
    timed(&b"\"".repeat(1 << 18), "k.json");
    timed(&b"{\"a\":/".repeat(1 << 16), "k.json");
    timed(&b",".repeat(1 << 18), "k.json");
    timed(&b"[,".repeat(1 << 18), "k.json");
    timed(&b"{\n".repeat(1 << 18), "k.json");
    timed(&b"\xFF".repeat(1 << 18), "k.json");
    timed(&b"{\xFF".repeat(1 << 18), "k.json");
    timed(&b"\xFF\n".repeat(1 << 18), "k.ndjson");
}

#[test]
fn many_truncated_documents() {
    let sound = result("s");
    for cut in [20, 60, 100, sound.len() - 1] {
        for between in ["", "\n", "\n  "] {
            let bad = format!("{}{between}", &sound[..cut]);
            let mut text = format!("{sound}{between}");
            for i in 0..5_000 {
                text += &bad;
                if i % 250 == 249 {
                    text += &format!("{sound}{between}");
                }
            }
            let seen = timed(text.as_bytes(), "k.json");
            assert_eq!(seen.records.len(), 21, "cut at {cut}, between {between:?}");
            assert_eq!(seen.rejects.len(), 5_000, "cut at {cut}, between {between:?}");
        }
    }
}

/// Every second is broken, in a way that only its brackets tell the end of.
#[test]
fn many_broken_records() {
    for (bad, reason) in [
        ("{\"a\":tru}", RejectReason::InvalidJson),
        ("{\"a\":\"\u{1}\"}", RejectReason::ControlCharacter),
        ("{\"a\":1,}", RejectReason::TrailingComma),
        ("{\"a\":/**/1}", RejectReason::Comment),
        ("{\"a\":\"\\ud800\"}", RejectReason::UnpairedSurrogate),
        ("{\"a\":1}", RejectReason::NotAResult),
        ("7", RejectReason::NotAResult),
    ] {
        for (between, before, behind, key) in
            [("\n", "", "\n", "k.ndjson"), (",", "[", "]", "k.json"), ("\n", "", "", "k.json")]
        {
            let mut records = vec![bad; 100_000];
            let good = result("s");
            records.extend([&*good, bad, &*good]);
            let text = format!("{before}{}{behind}", records.join(between));
            let seen = timed(text.as_bytes(), key);
            assert_eq!(seen.records.len(), 2, "{bad}");
            assert_eq!(seen.rejects.len(), 100_001);
            assert!(seen.rejects.iter().all(|r| r.reason == reason));
        }
    }
}

#[test]
fn many_records_that_are_no_utf8() {
    let mut bytes = b"{\"a\":\"\xFF\"}\n".repeat(100_000);
    bytes.extend_from_slice(result("s").as_bytes());
    for key in ["k.ndjson", "k.json"] {
        let seen = timed(&bytes, key);
        assert_eq!((seen.rejects.len(), seen.seqs()), (100_000, vec!["s"]));
        assert!(seen.rejects.iter().all(|r| r.reason == RejectReason::InvalidUtf8));
    }
}

/// One record of many attempts that cannot be used: their places are found in one walk.
#[test]
fn many_bad_attempts_in_one_record() {
    let attempts = vec!["{\"Seq\":\"\"}"; 100_000].join(",");
    let seen = timed(format!("{{\"LivenessDetail\":[{attempts}]}}").as_bytes(), "k.json");
    assert_eq!(seen.rejects.len(), 100_000);
    assert_eq!(seen.rejects[99_999].json_path, "$.LivenessDetail[99999].Seq");
}

#[test]
fn many_unknown_members() {
    let members: Vec<String> = (0..200_000).map(|i| format!("\"k{i}\":0")).collect();
    let text = format!("{{\"Text\":{{}},{}}}", members.join(","));
    assert_eq!(timed(text.as_bytes(), "k.json").tally.records_empty, 1);
}
