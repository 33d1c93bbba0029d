//! What is JSON: the same texts as for serde_json.

use super::*;
use proptest::prelude::*;

/// Whether the decoder takes `bytes` as the text of exactly one value, whatever it says.
fn is_json(bytes: &[u8]) -> bool {
    let seen = decode(bytes, Framing::Lines);
    seen.tally.records_seen == 1 && !seen.rejects.iter().any(|r| is_of_grammar(r.reason))
}

fn is_of_grammar(reason: RejectReason) -> bool {
    use RejectReason as R;
    matches!(
        reason,
        R::InvalidUtf8
            | R::ByteOrderMark
            | R::Truncated
            | R::TrailingComma
            | R::Comment
            | R::ControlCharacter
            | R::BadEscape
            | R::UnpairedSurrogate
            | R::TooDeep
            | R::InvalidJson
    )
}

/// `None` where the two are meant to differ: a number too large for a float, which RFC 8259 allows.
fn serde_takes(bytes: &[u8]) -> Option<bool> {
    match serde_json::from_slice::<serde_json::Value>(bytes) {
        Ok(_) => Some(true),
        Err(error) if error.to_string().contains("number out of range") => None,
        Err(_) => Some(false),
    }
}

#[track_caller]
fn agree(bytes: &[u8]) {
    // The framing's own line break.
    if bytes.contains(&b'\n') {
        return;
    }
    if let Some(expected) = serde_takes(bytes) {
        assert_eq!(is_json(bytes), expected, "{:?}", String::from_utf8_lossy(bytes));
    }
}

fn tree() -> impl Strategy<Value = serde_json::Value> {
    use serde_json::Value;
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,8}".prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec((any::<String>(), inner), 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

const SOUND: &str = r#"{"Response":{"Text":{"ErrCode":0,"Extra":"\"é\\\/\b\f\n\r\t\u00e9\ud83d\ude00","LivenessDetail":[{"ReqTime":"1730444265275","Seq":"a-1","IsNeedCharge":true,"Sim":"76.52","Errcode":-2016,"x":[1.5e-3,0.0,{},[],null,false]}, {"Seq":"权威库"}]},"RequestId":null}}"#;

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn trees(tree in tree()) {
        let text = serde_json::to_string(&tree).expect("a text");
        prop_assert!(is_json(text.as_bytes()), "{text}");
    }

    #[test]
    fn mutated_trees(tree in tree(), at in any::<prop::sample::Index>(), byte in any::<u8>(), kind in 0..4u8) {
        let text = serde_json::to_string(&tree).expect("a text");
        agree(&mutated(text.as_bytes(), at.index(text.len()), byte, kind));
    }

    #[test]
    fn arbitrary_bytes(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        agree(&bytes);
    }

    #[test]
    fn arbitrary_json_like_bytes(text in r#"[\[\]{}",:\\u0-9a-fA-FtrueflsnNE+.\- \t-]{0,24}"#) {
        agree(text.as_bytes());
    }

    #[test]
    fn arbitrary_strings(text in r#"[u\\/"bfnrtdD8c0-9a-f\u{1}\t é😀]{0,16}"#) {
        agree(format!("\"{text}\"").as_bytes());
        agree(format!("{{\"{text}\":0}}").as_bytes());
    }
}

fn mutated(text: &[u8], at: usize, byte: u8, kind: u8) -> Vec<u8> {
    let mut bytes = text.to_vec();
    match kind {
        0 => bytes[at] = byte,
        1 => bytes.insert(at, byte),
        2 => drop(bytes.remove(at)),
        _ => bytes.truncate(at),
    }
    bytes
}

/// Every byte of a sound record, replaced by, preceded by and without: all 256 bytes at all places.
#[test]
fn every_mutation_of_a_record() {
    assert!(is_json(SOUND.as_bytes()));
    for at in 0..SOUND.len() {
        for byte in 0..=255 {
            agree(&mutated(SOUND.as_bytes(), at, byte, 0));
            agree(&mutated(SOUND.as_bytes(), at, byte, 1));
        }
        agree(&mutated(SOUND.as_bytes(), at, 0, 2));
        agree(&mutated(SOUND.as_bytes(), at, 0, 3));
    }
}

/// Strings longer than what is looked at byte by byte, and than one block of the fast check.
#[test]
fn long_strings() {
    for len in [0, 31, 32, 33, 34, 63, 64, 4095, 4096, 4097, 4128, 4129, 10_000] {
        let long = "x".repeat(len);
        agree(format!("\"{long}\"").as_bytes());
        agree(format!("[\"{long}\\n{long}\",\"{long}\\ud83d\\ude00\"]").as_bytes());
        agree(format!("\"{long}").as_bytes());
        for control in ["\u{0}", "\u{1f}", "\t", "\u{7f}", "\u{80}"] {
            agree(format!("\"{long}{control}{long}\"").as_bytes());
            agree(format!("\"{long}{control}").as_bytes());
        }
        let seen = decode(format!("\"{long}\u{1}{long}\u{2}\""), Framing::Documents);
        assert_eq!(seen.rejects[0].byte_offset, len as i64 + 1);
    }
}

/// Up to 128 levels: a result has seven.
#[test]
fn depth() {
    for (open, close) in [("[", "]"), ("{\"a\":", "}"), ("[{\"a\":", "}]")] {
        let levels = if open.len() > 5 { 2 } else { 1 };
        let sound =
            format!("{{\"x\":{}0{}}}", open.repeat(127 / levels), close.repeat(127 / levels));
        assert!(is_json(sound.as_bytes()));
        let deep =
            format!("{{\"x\":{}0{}}}", open.repeat(130 / levels), close.repeat(130 / levels));
        let seen = decode(&deep, Framing::Lines);
        assert_eq!(seen.rejects[0].reason, RejectReason::TooDeep);
        assert_eq!(seen.tally.records_seen, 1);
    }
}

/// Allowed by RFC 8259 and of no interest to the tables.
#[test]
fn a_huge_number_elsewhere_is_no_breach() {
    let text = r#"{"LivenessDetail":[{"Seq":"s","ReqTime":1730444265275,"x":1e999}],"y":-123456789012345678901234567890.5E+400}"#;
    assert_eq!(decode(text, Framing::Lines).seqs(), ["s"]);
}
