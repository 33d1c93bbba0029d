//! No value of a record comes into a reject or a count: every string here holds the same word, and it is looked
//! for in all that is told.

use super::*;
use proptest::prelude::*;

/// Values are plain words, to be shown if they were ever taken for names; names are not.
const RECORD: &str = r#"{"Response":{"Text":{"ErrCode":0,"IdCard":"CANARY","Name":"CANARY","Mobile":"CANARY","Extra":"CANARY",
"OcrAddress":"人CANARY","People":{"张三 CANARY":1,"CANARY 李四":{"CANARY / x":["CANARY",{"王 CANARY /":"CANARY"}]},"CANARY330102199003074512":2},"LivenessDetail":[
{"ReqTime":"1730444265275","Seq":"CANARY","Idcard":"CANARY","Name":"CANARY","IsNeedCharge":true,"Errmsg":"CANARY","Sim":"95.51","x 人 CANARY":"CANARY"},
{"ReqTime":"CANARY","Seq":"CANARY","Idcard":"CANARY"},{"ReqTime":1730444265275,"Seq":"CANARY","IsNeedCharge":"CANARY","Name":"CANARY"},
"CANARY",{"Seq":"CANARY","ReqTime":"1730444265275","Errcode":"CANARY"},{"Seq":"CANARY","ReqTime":"1730444265275","Sim":"CANARY"},
{"Seq":"CANARY","ReqTime":"1730444265275","Errmsg":["CANARY"]}]},"汉CANARY":["CANARY"],"RequestId":"CANARY"}}"#;

#[track_caller]
fn nothing_told(seen: &Seen) {
    for reject in &seen.rejects {
        assert!(!reject.message.contains("CANARY"), "{reject:?}");
        assert!(!reject.json_path.contains("CANARY"), "{reject:?}");
        assert!(!reject.json_path.contains(|c: char| !c.is_ascii()), "{reject:?}");
    }
    for path in seen.tally.unknown_members.keys() {
        assert!(!path.contains("CANARY") && path.is_ascii(), "{path}");
    }
}

fn everywhere(bytes: &[u8]) {
    let envelope = crate::model::Envelope {
        response: "/Response".to_owned(),
        biz_token: Some("/Response/Text/Extra".to_owned()),
        rule_id: None,
        channel: Some("/Response/Text/People".to_owned()),
        fetched_at: Some("/Response/Text/Name".to_owned()),
        created_at: None,
    };
    for wanted in
        [Wanted::default(), Wanted::new(None, true, true), Wanted::new(Some(envelope), true, true)]
    {
        for framing in [Framing::Lines, Framing::Documents] {
            nothing_told(&decode_with(bytes, framing, &wanted));
        }
    }
}

#[test]
fn a_sound_record_and_its_rejects() {
    everywhere(RECORD.as_bytes());
    let seen = decode(RECORD, Framing::Documents);
    assert_eq!((seen.rejects.len(), seen.tally.details_seen), (6, 7));
}

/// Every byte replaced, doubled, lost; and the text cut there.
#[test]
fn every_damage() {
    for at in 0..RECORD.len() {
        for byte in *b"\"{}:,\\x/\n" {
            let mut bytes = RECORD.as_bytes().to_vec();
            bytes[at] = byte;
            everywhere(&bytes);
            bytes[at] = RECORD.as_bytes()[at];
            bytes.insert(at, byte);
            everywhere(&bytes);
        }
        let mut bytes = RECORD.as_bytes().to_vec();
        bytes.remove(at);
        everywhere(&bytes);
        everywhere(&RECORD.as_bytes()[..at]);
        everywhere(&RECORD.as_bytes()[at..]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// Pieces of the record in any order.
    #[test]
    fn pieces(cuts in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 1..6)) {
        let mut bytes = Vec::new();
        for (a, b) in cuts {
            // So that no two halves make a plain name.
            bytes.extend_from_slice("人 人".as_bytes());
            let (a, b) = (a.index(RECORD.len()), b.index(RECORD.len()));
            bytes.extend_from_slice(&RECORD.as_bytes()[a.min(b)..a.max(b)]);
        }
        everywhere(&bytes);
    }
}

/// Names that say nothing of people are shown, others are not.
#[test]
fn names_that_are_shown() {
    for (name, shown) in [
        ("Errcode", true),
        ("biz_token", true),
        ("x-1", true),
        ("oauth2", true),
        ("", false),
        ("张三", false),
        ("a b", false),
        ("1x", false),
        ("330102199003074512", false),
        ("H12345678", false),
        ("a@b", false),
        ("a.b", false),
        ("a\\u0062", false),
    ] {
        let text = format!("{{\"{name}\":[0,1,tru]}}");
        let seen = decode(&text, Framing::Lines);
        let expected = format!("$.{}[2]", if shown { name } else { "?" });
        assert_eq!(seen.rejects[0].json_path, expected);
    }
    let long = "a".repeat(65);
    assert_eq!(decode(format!("{{\"{long}\":tru}}"), Framing::Lines).rejects[0].json_path, "$.?");
}
