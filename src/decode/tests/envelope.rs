//! Envelopes: where the response and its circumstances lie.

use super::*;
use crate::model::Envelope;
use RejectReason as R;

const RESULT: &str = r#"{"Response":{"Text":{"ErrCode":0,"LivenessDetail":[{"Seq":"s","ReqTime":"1730444265275"}]},"RequestId":"r"}}"#;

fn wanted(response: &str, pointers: [Option<&str>; 5]) -> Wanted {
    let [biz_token, rule_id, channel, fetched_at, created_at] =
        pointers.map(|p| p.map(str::to_owned));
    let response = response.to_owned();
    Wanted::new(
        Some(Envelope { response, biz_token, rule_id, channel, fetched_at, created_at }),
        false,
        false,
    )
}

fn usual() -> Wanted {
    let pointers = ["/biz_token", "/rule_id", "/channel", "/fetched_at", "/created_at"];
    wanted("/result", pointers.map(Some))
}

#[track_caller]
fn one(text: &str, wanted: &Wanted) -> Record<'static> {
    let seen = decode_every_way(text.as_bytes(), Framing::Lines, wanted);
    assert_eq!(seen.rejects, [], "{text}");
    assert_eq!(seen.seqs(), ["s"], "{text}");
    assert_eq!(decode_every_way(text.as_bytes(), Framing::Documents, wanted), seen);
    seen.records[0].0.clone()
}

#[track_caller]
fn reject(text: &str, wanted: &Wanted, marker: &str, path: &str, reason: R) {
    let at = text.find(marker).expect("the marker") as i64;
    for framing in [Framing::Lines, Framing::Documents] {
        let whole = format!("{text}\n{{\"result\":{RESULT}}}\n");
        let seen = decode_every_way(whole.as_bytes(), framing, wanted);
        assert_eq!(seen.places(), [(0, at, path, reason)], "{text}");
        assert!(!seen.rejects[0].of_attempt);
    }
}

#[test]
fn the_response_may_stand_before_and_behind() {
    let facts = r#""biz_token":"B","rule_id":5,"channel":"wx","fetched_at":1730444266000,"created_at":"2024-11-01T14:00:00+08:00""#;
    let expected = Record {
        request_id: Some("r".into()),
        biz_token: Some("B".into()),
        rule_id: Some("5".into()),
        channel: Some("wx".into()),
        fetched_at: Some(1_730_444_266_000),
        // 06:00 in UTC.
        created_at: Some(1_730_440_800_000),
        err_code: Some(0),
        detail_count: 1,
        ..Record::default()
    };
    let (first, last) = facts.split_once(',').expect("facts");
    for text in [
        format!(r#"{{"result":{RESULT},{facts}}}"#),
        format!(r#"{{{facts},"result":{RESULT}}}"#),
        format!(r#"{{{first},"result":{RESULT},{last},"note":{{"result":null}}}}"#),
    ] {
        assert_eq!(one(&text, &usual()), expected);
    }
}

#[test]
fn pointers() {
    let text = format!(
        r#"{{"a":{{"b":[{{"biz":"no"}},{{"biz/token":"B","~":"R","x":{{"":"C"}}}}],"~1":{{"é":{RESULT}}}}},"":1730444266000,"0":"1730444266001"}}"#
    );
    let wanted = wanted(
        "/a/~01/é",
        [Some("/a/b/1/biz~1token"), Some("/a/b/1/~0"), Some("/a/b/1/x/"), Some("/"), Some("/0")],
    );
    let record = one(&text, &wanted);
    assert_eq!((record.biz_token.as_deref(), record.rule_id.as_deref()), (Some("B"), Some("R")));
    assert_eq!(record.channel.as_deref(), Some("C"));
    assert_eq!(
        (record.fetched_at, record.created_at),
        (Some(1_730_444_266_000), Some(1_730_444_266_001))
    );
}

/// An index is a number without leading zeros (RFC 6901); `-` names nothing.
#[test]
fn array_indices() {
    let text = format!(r#"{{"r":[{RESULT}],"f":["a","b"]}}"#);
    for (pointer, expected) in
        [("/f/0", Some("a")), ("/f/1", Some("b")), ("/f/01", None), ("/f/-", None), ("/f/2", None)]
    {
        let record = one(&text, &wanted("/r/0", [Some(pointer), None, None, None, None]));
        assert_eq!(record.biz_token.as_deref(), expected, "{pointer}");
    }
}

#[test]
fn the_whole_object_as_the_response() {
    let text = format!(r#"{{"biz_token":"B",{}"#, &RESULT[1..]);
    let record = one(
        &text,
        &wanted("", [Some("/biz_token"), Some("/Response/RequestId"), None, None, None]),
    );
    assert_eq!((record.biz_token.as_deref(), record.rule_id.as_deref()), (Some("B"), Some("r")));
}

/// One member may be two facts, and hold another.
#[test]
fn pointers_may_share_their_way() {
    let text = format!(r#"{{"m":{{"t":"1730444266000","r":{RESULT}}}}}"#);
    let record = one(
        &text,
        &wanted("/m/r", [Some("/m/t"), None, Some("/m/r/Response/RequestId"), Some("/m/t"), None]),
    );
    assert_eq!(record.biz_token.as_deref(), Some("1730444266000"));
    assert_eq!(record.channel.as_deref(), Some("r"));
    assert_eq!(record.fetched_at, Some(1_730_444_266_000));
}

#[test]
fn absent_and_null_facts_are_none() {
    let plain = Record {
        request_id: Some("r".into()),
        err_code: Some(0),
        detail_count: 1,
        ..Record::default()
    };
    for facts in ["", r#""biz_token":null,"fetched_at":null,"created_at":"","rule_id":null,"#] {
        assert_eq!(one(&format!(r#"{{{facts}"result":{RESULT}}}"#), &usual()), plain);
    }
}

#[test]
fn plain_records_beside_envelopes() {
    assert_eq!(one(RESULT, &usual()).request_id.as_deref(), Some("r"));
    assert_eq!(
        one(r#"{"LivenessDetail":[{"Seq":"s","ReqTime":"1730444265275"}]}"#, &usual()).detail_count,
        1
    );
    // Without a response, its facts are nobody's.
    let text = format!(r#"{{"biz_token":"B",{}"#, &RESULT[1..]);
    assert_eq!(one(&text, &usual()).biz_token, None);
}

#[test]
fn the_shapes_inside() {
    for inner in [
        RESULT,
        r#"{"Text":{"LivenessDetail":[{"Seq":"s","ReqTime":"1730444265275"}]}}"#,
        r#"{"LivenessDetail":[{"Seq":"s","ReqTime":"1730444265275"}]}"#,
    ] {
        one(&format!(r#"{{"biz_token":"B","result":{inner}}}"#), &usual());
    }
    let seen =
        decode_with(br#"{"result":{"Response":{"Error":{"Code":"c"}}}}"#, Framing::Lines, &usual());
    assert_eq!(seen.tally.records_error_response, 1);
}

#[test]
fn times() {
    for (time, ms) in [
        ("1730444265275", 1_730_444_265_275),
        ("\"1730444265275\"", 1_730_444_265_275),
        ("\"2024-11-01T06:57:45.275Z\"", 1_730_444_265_275),
        ("\"2024-11-01T14:57:45.275+08:00\"", 1_730_444_265_275),
        ("\"2024-11-01T01:27:45.275-05:30\"", 1_730_444_265_275),
        ("\"2024-11-01T14:57:45.2759+08:00\"", 1_730_444_265_275),
        ("\"2024-11-01t06:57:45z\"", 1_730_444_265_000),
    ] {
        let text = format!(r#"{{"fetched_at":{time},"result":{RESULT}}}"#);
        assert_eq!(one(&text, &usual()).fetched_at, Some(ms), "{time}");
    }
    for time in [
        "\"2024-11-01T14:57:45\"",
        "\"2024-11-01\"",
        "\"yesterday\"",
        "1730444265",
        "0",
        "\"9999-01-01T00:00:00Z\"",
        "1730444265275.5",
        "1.7e12",
        "true",
        "[1730444265275]",
        "{}",
        "99999999999999999999",
    ] {
        for member in ["fetched_at", "created_at"] {
            let text = format!(r#"{{"biz_token":"B","{member}":{time},"result":{RESULT}}}"#);
            reject(
                &text,
                &usual(),
                &format!("{time},\"result\""),
                &format!("$.{member}"),
                R::EnvelopeTimeInvalid,
            );
        }
    }
}

#[test]
fn responses_that_are_none() {
    for (response, reason) in [
        ("null", R::TextMissing),
        (r#""{\"Response\":{}}""#, R::WrongType),
        ("[]", R::WrongType),
        ("7", R::WrongType),
        ("false", R::WrongType),
        ("{}", R::NotAResult),
    ] {
        let text = format!(r#"{{"biz_token":"B","result":{response},"channel":"c"}}"#);
        reject(&text, &usual(), &format!("{response},\"channel\""), "$.result", reason);
    }
    reject(r#"{"biz_token":"B"}"#, &usual(), "{", "$", R::NotAResult);
    let seen = decode_with(b"[1,2]", Framing::Lines, &usual());
    assert_eq!(seen.places(), [(0, 0, "$", R::NotAResult)]);
}

#[test]
fn wrong_facts() {
    for fact in ["true", "[]", "{}"] {
        let text = format!(r#"{{"result":{RESULT},"channel":{fact},"x":1}}"#);
        reject(&text, &usual(), &format!("{fact},\"x\""), "$.channel", R::WrongType);
    }
    let text = format!(r#"{{"rule_id":"1","result":{RESULT},"rule\u005fid":"1","rule_id":"2"}}"#);
    reject(&text, &usual(), "\"rule\\u005fid\"", "$.?", R::DuplicateKey);
    let text = format!(r#"{{"result":{RESULT},"result":{RESULT}}}"#);
    reject(&text, &usual(), &format!("\"result\":{RESULT}}}"), "$.result", R::DuplicateKey);
    // The grammar goes first, and the next record is found.
    let text = format!(r#"{{"channel":true,"result":{RESULT},"channel":"","x":nul}}"#);
    reject(&text, &usual(), "nul}", "$.x", R::InvalidJson);
}

/// Members that no fact is read from may stand twice.
#[test]
fn other_members_may_stand_twice() {
    one(&format!(r#"{{"x":1,"x":2,"m":1,"result":{RESULT},"m":[]}}"#), &usual());
}

/// Faults inside are placed from the record's beginning.
#[test]
fn places_inside() {
    let inner = r#"{"LivenessDetail":[{"Seq":"","ReqTime":"1730444265275"},{"Seq":"s","ReqTime":"1730444265275"}]}"#;
    let text = format!(r#"  {{"x":["}}"],"result":{inner},"channel":"c"}}"#);
    let seen = decode_every_way(text.as_bytes(), Framing::Documents, &usual());
    let at = text.find("\"\",").unwrap() as i64;
    assert_eq!(seen.places(), [(0, at, "$.result.LivenessDetail[0].Seq", R::SeqEmpty)]);
    assert_eq!(seen.records[0].0.channel.as_deref(), Some("c"));
    assert_eq!(seen.records[0].0.byte_offset, 2);
}
