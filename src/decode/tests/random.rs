//! Random well-formed records of every shape, in every framing: the rows, all their fields, are those of the
//! slow recount.

use super::recount::{Expected, recount};
use super::*;
use crate::model::Envelope;
use serde_json::{Map, Value, json};

/// Records by records, and as one object in each framing.
#[test]
fn random_records_give_what_the_recount_says() {
    for seed in 0..600 {
        let mut rng = Rng(seed);
        let envelope = rng.often(50).then(|| envelope(&mut rng));
        let (idcard, name) = (rng.often(50), rng.often(50));
        let wanted = Wanted::new(envelope.clone(), idcard, name);
        let values: Vec<Value> =
            (0..1 + rng.below(4)).map(|_| record(&mut rng, envelope.as_ref())).collect();
        let expected: Vec<Expected> =
            values.iter().map(|v| recount(v, envelope.as_ref(), idcard, name)).collect();
        let [before, between, behind] = rng.pick(&[
            ["", "\n", "\n"],
            ["", "\r\n", ""],
            ["", "", ""],
            ["[", ",", "]"],
            [" [ \n", "\n,\r\n", "\n]\n"],
        ]);
        let lines = between.ends_with('\n') && before.is_empty() && rng.often(50);
        let framing = if lines { Framing::Lines } else { Framing::Documents };
        let mut text = before.to_owned();
        let mut offsets = Vec::new();
        for (i, value) in values.iter().enumerate() {
            if i > 0 {
                text += between;
            }
            offsets.push(text.len() as i64);
            write_record(&mut rng, value, !lines, &mut text);
        }
        text += behind;
        let sizes = [1 + rng.below(9), 1 + rng.below(300)];
        let seen = decode_in_pieces(text.as_bytes(), framing, &wanted, &sizes);
        assert_eq!(
            seen,
            decode_with(text.as_bytes(), framing, &wanted),
            "seed {seed}: pieces of {sizes:?}"
        );
        compare(&seen, &expected, &offsets, &format!("seed {seed}:\n{text}"));
    }
}

#[track_caller]
fn compare(seen: &Seen, expected: &[Expected], offsets: &[i64], place: &str) {
    let mut records = Vec::new();
    let mut rejects = Vec::new();
    let mut counts = (0, 0, 0, 0);
    for (number, expected) in expected.iter().enumerate() {
        let number = number as i64;
        match expected {
            Expected::Rejected(reason) => {
                counts.3 += 1;
                rejects.push((number, *reason, false));
            }
            Expected::ErrorResponse => counts.2 += 1,
            Expected::Result(says, attempts) => {
                if attempts.is_empty() {
                    counts.1 += 1;
                    continue;
                }
                counts.0 += 1;
                rejects.extend(
                    attempts.iter().filter_map(|a| a.as_ref().err()).map(|r| (number, *r, true)),
                );
                let says = Record { number, byte_offset: offsets[number as usize], ..says.clone() };
                let kept: Vec<_> = attempts.iter().flatten().cloned().collect();
                if !kept.is_empty() {
                    records.push((says, kept));
                }
            }
        }
    }
    assert_eq!(seen.records, records, "{place}");
    let told: Vec<_> =
        seen.rejects.iter().map(|r| (r.record, r.reason.code(), r.of_attempt)).collect();
    assert_eq!(told, rejects, "{place}");
    let t = &seen.tally;
    let counted =
        (t.records_with_attempts, t.records_empty, t.records_error_response, t.records_rejected);
    assert_eq!(counted, counts, "{place}");
}

pub(super) fn envelope(rng: &mut Rng) -> Envelope {
    let mut pointer = |names: &[&str]| rng.often(70).then(|| rng.pick(names).to_owned());
    Envelope {
        biz_token: pointer(&["/biz_token", "/meta/0/biz~1token", "/meta~0/b/c"]),
        rule_id: pointer(&["/rule_id", "/meta/0/rule", "/meta~0/1"]),
        channel: pointer(&["/channel", "/data/channel"]),
        fetched_at: pointer(&["/fetched_at", "/data/at"]),
        created_at: pointer(&["/created_at", "/ /at"]),
        response: rng
            .pick(&["/result", "/data/0/result", "/data/result", "/a~1b/~0/é", "/Response"])
            .to_owned(),
    }
}

/// Puts `value` where the pointer says, making arrays for indices when `rng` likes.
fn put(rng: &mut Rng, into: &mut Value, pointer: &str, value: Value) {
    let mut at = into;
    for token in pointer.split('/').skip(1) {
        let name = token.replace("~1", "/").replace("~0", "~");
        if at.is_null() {
            *at = if name == "0" && rng.often(70) { json!([]) } else { json!({}) };
        }
        at = match at {
            Value::Array(elements) => {
                if elements.is_empty() {
                    elements.push(Value::Null);
                }
                &mut elements[0]
            }
            Value::Object(members) => members.entry(name).or_insert(Value::Null),
            _ => return,
        };
    }
    *at = value;
}

pub(super) fn record(rng: &mut Rng, envelope: Option<&Envelope>) -> Value {
    let result = result(rng);
    let Some(envelope) = envelope else { return result };
    if rng.often(10) {
        return result;
    }
    let mut outer = json!({});
    let wrong = rng.often(5).then(|| rng.below(5));
    let facts = [
        &envelope.biz_token,
        &envelope.rule_id,
        &envelope.channel,
        &envelope.fetched_at,
        &envelope.created_at,
    ];
    let response = if rng.often(5) {
        rng.pick(&[Value::Null, json!("{\"Response\":{}}"), json!([]), json!(0), json!(true)])
    } else {
        result
    };
    if rng.often(95) {
        put(rng, &mut outer, &envelope.response, response);
    }
    for (i, pointer) in facts.into_iter().enumerate() {
        let Some(pointer) = pointer else { continue };
        if rng.often(10) {
            continue;
        }
        let value = match (i, wrong == Some(i)) {
            (_, true) => rng.pick(&[
                json!(true),
                json!([]),
                json!({"a": "b"}),
                json!("yesterday"),
                json!(17),
            ]),
            (3.., _) => instant(rng),
            _ => rng.pick(&[
                json!("token"),
                json!(5),
                json!("微信"),
                json!(""),
                Value::Null,
                json!("\u{1}\""),
            ]),
        };
        put(rng, &mut outer, pointer, value);
    }
    if rng.often(30) {
        outer["operator"] = json!({"LivenessDetail": [{}], "name": text(rng)});
    }
    outer
}

fn instant(rng: &mut Rng) -> Value {
    let ms = 1_730_000_000_000 + rng.below(10_000_000_000) as i64;
    match rng.below(5) {
        0 => json!(ms),
        1 => json!(ms.to_string()),
        2 => {
            let zone = chrono::FixedOffset::east_opt(rng.pick(&[0, 8 * 3600, -5 * 3600 - 1800]))
                .expect("an offset");
            let time = chrono::DateTime::from_timestamp_millis(ms)
                .expect("an instant")
                .with_timezone(&zone);
            json!(time.to_rfc3339())
        }
        3 => json!(
            chrono::DateTime::from_timestamp_millis(ms)
                .expect("an instant")
                .to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
        ),
        _ => Value::Null,
    }
}

fn result(rng: &mut Rng) -> Value {
    let details: Vec<Value> = (0..rng.below(4)).map(|_| detail(rng)).collect();
    let liveness = if rng.often(10) { Value::Null } else { json!(details) };
    match rng.below(40) {
        0 => {
            return json!({"Response": {"Error": {"Code": "InvalidParameter", "Message": text(rng)}, "RequestId": "r"}});
        }
        1 => return json!({"Response": {"EncryptedBody": text(rng), "Text": null}}),
        2 => {
            return json!({"Response": rng.pick(&[Value::Null, json!({}), json!([]), json!("x"), json!({"Text": null})])});
        }
        3 => {
            let other = json!({"a": text(rng)});
            return rng.pick(&[json!({}), other, json!({"DetectInfo": "{}"})]);
        }
        4 => return json!({"Response": {"Text": rng.pick(&[json!(5), json!([]), json!("x")])}}),
        5 => {
            return json!({"Text": {"LivenessDetail": rng.pick(&[json!(5), json!({}), json!("x")])}});
        }
        6 => return json!({"EidInfo": {"EidCode": "c"}, "Text": null}),
        7..=10 => {
            return json!({"LivenessDetail": liveness, "Extra": text(rng), "Note": noise(rng)});
        }
        _ => {}
    }
    let mut body = json!({
        "Text": {
            "ErrCode": rng.pick(&[json!(0), json!("0"), json!(""), json!(-7), json!(2016), Value::Null]),
            "ErrMsg": text(rng), "IdCard": text(rng), "Name": text(rng), "OcrAddress": text(rng), "Sim": "1.5",
            "Extra": if rng.often(20) { Value::Null } else { json!(text(rng)) }, "LivenessDetail": liveness,
            "CompareLibType": noise(rng), "NFCBillingCounts": null, "Unknown": noise(rng)
        },
        "BestFrame": {"BestFrame": "QUJD".repeat(rng.below(400)), "BestFrames": ["AA==", null]},
        "VideoData": null, "EncryptedBody": "", "Encryption": noise(rng), "EidInfo": null,
        "IntentionVerifyType": null, "Unknown": noise(rng)
    });
    if rng.often(50) {
        body["IsVerifyIntention"] = rng.pick(&[json!(true), json!(false), Value::Null]);
    }
    if rng.often(80) {
        body["RequestId"] = rng.pick(&[json!("r-1"), Value::Null, json!("")]);
    }
    if rng.often(2) {
        body["Text"]["ErrCode"] =
            rng.pick(&[json!("x"), json!(1.5), json!(true), json!("9999999999999999999")]);
    } else if rng.often(2) {
        body["IsVerifyIntention"] = json!("true");
    }
    if rng.often(30) {
        return body;
    }
    let mut outer = json!({"Response": body});
    if rng.often(20) {
        outer["RequestId"] = json!("beside");
        outer["IsVerifyIntention"] = json!(true);
        outer["ErrCode"] = json!(1);
        outer["Extra"] = json!("beside");
    }
    outer
}

pub(super) fn detail(rng: &mut Rng) -> Value {
    let mut all = Map::new();
    let mut set = |name: &str, value: Value| all.insert(name.to_owned(), value);
    let ms = 1_420_041_600_000i64 + rng.below(2_682_374_400_000) as i64;
    set("ReqTime", if rng.often(50) { json!(ms) } else { json!(ms.to_string()) });
    set("Seq", json!(format!("seq-{}{}", rng.next(), text(rng))));
    set("IsNeedCharge", rng.pick(&[json!(true), json!(false), Value::Null]));
    for code in ["Errcode", "Livestatus", "Comparestatus"] {
        set(
            code,
            rng.pick(&[
                json!(0),
                json!(2016),
                json!("1004"),
                json!(""),
                json!(-1),
                Value::Null,
                json!("0"),
            ]),
        );
    }
    for message in ["Errmsg", "Livemsg", "Comparemsg", "CompareLibType", "Idcard", "Name"] {
        set(message, if rng.often(20) { Value::Null } else { json!(text(rng)) });
    }
    set(
        "Sim",
        rng.pick(&[
            json!("95.51"),
            json!("100"),
            json!("0.5"),
            json!("7.00"),
            json!(""),
            Value::Null,
            json!(12.25),
            json!("1.500"),
        ]),
    );
    set("LivenessMode", rng.pick(&[json!(0), json!(4), json!("1"), Value::Null]));
    if rng.often(20) {
        set("Unknown", noise(rng));
    }
    if rng.often(20) {
        let members = [
            "ReqTime",
            "Seq",
            "IsNeedCharge",
            "Errcode",
            "Errmsg",
            "Sim",
            "LivenessMode",
            "Comparemsg",
        ];
        let dropped = rng.pick(&members);
        all.remove(dropped);
        return Value::Object(all);
    }
    if rng.often(12) {
        let (member, value) = rng.pick(&[
            ("Seq", json!("")),
            ("Seq", json!(5)),
            ("Seq", Value::Null),
            ("ReqTime", json!(0)),
            ("ReqTime", json!("253370736000000")),
            ("ReqTime", json!("1.5")),
            ("ReqTime", json!([])),
            ("IsNeedCharge", json!("true")),
            ("IsNeedCharge", json!(1)),
            ("Errcode", json!("x")),
            ("Errcode", json!(2_147_483_648i64)),
            ("Comparestatus", json!(1.5)),
            ("Livestatus", json!({})),
            ("LivenessMode", json!(128)),
            ("Sim", json!("1.234")),
            ("Sim", json!("x")),
            ("Sim", json!(false)),
            ("Livemsg", json!([])),
        ]);
        all.insert(member.to_owned(), value);
    }
    if rng.often(2) {
        return noise(rng);
    }
    Value::Object(all)
}

/// Strings that look like structure, and strings that need escapes.
pub(super) fn text(rng: &mut Rng) -> String {
    let parts = [
        "成功",
        "\"LivenessDetail\":[{\"Seq\":\"no\"}]",
        "}",
        "{\"Response\":",
        "]",
        "\\",
        "\"",
        "\u{0}\n\r\t",
        "😀",
        "a",
        "/",
        "//",
        "权威库",
        "\u{7f}\u{80}\u{feff}",
        "%$1",
    ];
    (0..rng.below(5)).map(|_| rng.pick(&parts)).collect()
}

/// A value that no table reads.
pub(super) fn noise(rng: &mut Rng) -> Value {
    match rng.below(9) {
        0 => Value::Null,
        1 => json!(rng.often(50)),
        2 => json!(-1.5e-7),
        3 => json!(text(rng)),
        4 => json!([[], {}, [text(rng), {"LivenessDetail": [{"Seq": "no"}]}]]),
        5 => {
            json!({"LivenessDetail": [{"Seq": "no", "ReqTime": 1}], "Text": {}, "Response": {"Text": null}})
        }
        6 => json!({text(rng): text(rng), "Seq": null}),
        7 => json!(u64::MAX),
        _ => json!([]),
    }
}

/// A value as text: members in any order, white space and escapes anywhere that JSON allows them.
fn write(rng: &mut Rng, value: &Value, breaks: bool, out: &mut String) {
    blank(rng, breaks, out);
    write_record(rng, value, breaks, out);
}

/// Without white space before it, so that its offset is known.
pub(super) fn write_record(rng: &mut Rng, value: &Value, breaks: bool, out: &mut String) {
    match value {
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            for i in (1..members.len()).rev() {
                members.swap(i, rng.below(i + 1));
            }
            out.push('{');
            for (i, (name, value)) in members.into_iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                blank(rng, breaks, out);
                write_string(rng, name, out);
                blank(rng, breaks, out);
                out.push(':');
                write(rng, value, breaks, out);
            }
            blank(rng, breaks, out);
            out.push('}');
        }
        Value::Array(elements) => {
            out.push('[');
            for (i, element) in elements.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write(rng, element, breaks, out);
            }
            blank(rng, breaks, out);
            out.push(']');
        }
        Value::String(text) => write_string(rng, text, out),
        other => out.push_str(&other.to_string()),
    }
}

fn blank(rng: &mut Rng, breaks: bool, out: &mut String) {
    if rng.often(10) {
        out.push_str(rng.pick(if breaks {
            &[" ", "\n", "\r\n\t", "  "]
        } else {
            &[" ", "\t", "  ", " "]
        }));
    }
}

pub(super) fn write_string(rng: &mut Rng, text: &str, out: &mut String) {
    out.push('"');
    let escapes = rng.often(15);
    for c in text.chars() {
        let short = match c {
            '"' => Some("\\\""),
            '\\' => Some("\\\\"),
            '\n' => Some("\\n"),
            '\r' => Some("\\r"),
            '\t' => Some("\\t"),
            '/' if escapes => Some("\\/"),
            _ => None,
        };
        match short {
            Some(short) if !escapes || rng.often(50) => out.push_str(short),
            None if !escapes && !c.is_control() => out.push(c),
            None if escapes && !c.is_control() && rng.often(50) => out.push(c),
            _ => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    let hex =
                        if rng.often(50) { format!("{unit:04x}") } else { format!("{unit:04X}") };
                    out.push_str("\\u");
                    out.push_str(&hex);
                }
            }
        }
    }
    out.push('"');
}
