//! Templates give what the strict reader gives, of records like the one they were made of and of records that
//! differ from it in any way.

use super::random::{envelope, record, write_record};
use super::*;

const VALUES: [&str; 30] = [
    "null",
    "true",
    "false",
    "0",
    "5",
    "-1",
    "01",
    "1.5",
    "1e3",
    "-",
    "12345678901",
    "1730444265275",
    "\"1730444265275\"",
    "\"\"",
    "\"0\"",
    "\"91.61\"",
    "\"成功\"",
    "\"a\\\"b\"",
    "\"\\u0041\\n\"",
    "\"\\ud800\"",
    "\"a\tb\"",
    "\"d887422a-6465-f4ec-b94c-241e12bc42df\"",
    "\"2024-11-01T10:00:00+08:00\"",
    "[]",
    "[1,{\"a\":[]}]",
    "{}",
    "{\"LivenessDetail\":[{\"Seq\":\"x\"}]}",
    "nul",
    "",
    " 7 ",
];

/// The record with one of its values replaced, a byte changed, or an attempt more or less.
fn variant(rng: &mut Rng, text: &str) -> String {
    let mut text = text.to_owned();
    for _ in 0..1 + rng.below(2) {
        let colons: Vec<usize> = text.match_indices(':').map(|(at, _)| at + 1).collect();
        let elements: Vec<usize> = text.match_indices("},{").map(|(at, _)| at + 1).collect();
        match rng.below(6) {
            0..=2 if !colons.is_empty() => {
                let at = rng.pick(&colons);
                let rest = &text[at..];
                // To the end of the value, mostly: a string with a comma in it is cut, which is as good.
                let quoted = rest.starts_with('"').then(|| rest[1..].find('"').map(|n| n + 2));
                let end = quoted.flatten().or_else(|| rest.find([',', '}', ']'])).unwrap_or(0);
                let value = rng.pick(&VALUES);
                text.replace_range(at..at + end, value);
            }
            3 if !elements.is_empty() => {
                let at = rng.pick(&elements);
                let more = [",{\"Seq\":\"more\",\"ReqTime\":\"1730444265275\"}", ",", " ", ",null"];
                text.insert_str(at, rng.pick(&more));
            }
            4 => {
                let blanks: Vec<usize> =
                    text.match_indices([',', '{', '}', '"']).map(|(at, _)| at).collect();
                if !blanks.is_empty() {
                    let more = [' ', ' ', '\n', '\r', 'x', '"', '9'];
                    text.insert(rng.pick(&blanks), rng.pick(&more));
                }
            }
            _ => {
                let places: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
                if !places.is_empty() {
                    let at = rng.pick(&places);
                    match rng.often(50) {
                        true => _ = text.remove(at),
                        false => text.truncate(at),
                    }
                }
            }
        }
    }
    text
}

#[test]
fn a_template_reads_what_the_strict_reader_reads() {
    let (mut by_template, mut variants, mut templates) = (0, 0, 0);
    for seed in 0..1000 {
        let mut rng = Rng(seed ^ 0x7E3A);
        let envelope = rng.often(40).then(|| envelope(&mut rng));
        let (idcard, name) = (rng.often(50), rng.often(50));
        let wanted = || Wanted::new(envelope.clone(), idcard, name);
        let learned = wanted();
        let mut text = String::new();
        match rng.often(50) {
            true => {
                let value = record(&mut rng, envelope.as_ref());
                let breaks = rng.often(20);
                write_record(&mut rng, &value, breaks, &mut text);
            }
            false => {
                text = LIKELY.replace("EXTRA", rng.pick(&["app", "", "微信"]));
                if rng.often(50) {
                    text = text.replace("ATTEMPTS", &format!("{ATTEMPT},{ATTEMPT}"));
                } else {
                    text = text.replace("ATTEMPTS", rng.pick(&[ATTEMPT, ""]));
                }
            }
        }
        let framing = if text.contains('\n') { Framing::Documents } else { Framing::Lines };
        decode_with(text.as_bytes(), framing, &learned);
        templates += learned.learned().templates().len();
        for _ in 0..30 {
            // The record itself is one of its variants.
            let mut variant = if rng.often(5) { text.clone() } else { variant(&mut rng, &text) };
            variant.push_str(rng.pick(&["", "\n", "\r\n", " \n", "\n\n", "\r"]));
            if rng.often(20) {
                variant.push_str(&text);
            }
            for framing in [Framing::Lines, Framing::Documents] {
                let strict = decode_with(variant.as_bytes(), framing, &wanted());
                // What is learned from variants is relied on, too.
                let seen = decode_with(variant.as_bytes(), framing, &learned);
                assert_eq!(seen, strict, "seed {seed}\n{text}\n{variant}");
            }
            variants += 1;
            let mut known = learned.learned().templates();
            by_template += usize::from(
                template::read(&mut known, &variant, false, &mut Draft::default()).is_some(),
            );
        }
    }
    // Else the test would say nothing.
    assert!(by_template * 8 > variants && templates > 500, "{by_template}/{variants} {templates}");
}

const ATTEMPT: &str = r#"{"ReqTime":"1772296082585","Seq":"d887422a-6465-f4ec-b94c-241e12bc42df","Idcard":"990000199807281743","Name":"丁例","Sim":"","IsNeedCharge":false,"Errcode":1002,"Errmsg":"疑似非真人录制","Livestatus":1002,"Livemsg":"疑似非真人录制","Comparestatus":null,"Comparemsg":null,"CompareLibType":"业务方自有库","LivenessMode":5}"#;

const LIKELY: &str = r#"{"Response":{"Text":{"ErrCode":0,"ErrMsg":"成功","IdCard":"990000199807281743","UseIDType":0,"OcrNation":null,"OcrAddress":null,"IdInfoFrom":"手动输入","LiveStatus":0,"LiveMsg":"成功","Comparestatus":0,"Comparemsg":"成功","Sim":"91.61","Extra":"EXTRA","LivenessDetail":[ATTEMPTS],"LivenessInfoTag":[],"Mobile":null,"CompareLibType":"权威库","LivenessMode":5,"NFCRequestIds":[],"NFCBillingCounts":0,"NewMember":0},"IdCardData":null,"BestFrame":null,"Encryption":{"Algorithm":"","EncryptList":[]},"IsVerifyIntention":false,"RequestId":"7bea43b3-8ffd-8321-50f1-88bde6eacda5"}}"#;

/// Lines of one look, with a few of others between: the rows are those of each line read alone, and nearly all
/// of them were read by a template.
#[test]
fn one_line_after_another() {
    let line = |i: usize| match i % 50 {
        7 => r#"{"Response":{"Error":{"Code":"InvalidParameter","Message":"m"}}}"#.to_owned(),
        11 => result(&format!("s{i}")),
        _ => LIKELY
            .replace("EXTRA", if i.is_multiple_of(3) { "app" } else { "h5" })
            .replace("ATTEMPTS", &vec![ATTEMPT; i % 4].join(",")),
    };
    let text: String = (0..500).map(|i| line(i) + "\n").collect();
    let wanted = Wanted::default();
    let seen = decode_with(text.as_bytes(), Framing::Lines, &wanted);
    let (mut offset, mut rows) = (0, 0);
    let mut records = seen.records.iter();
    for i in 0..500 {
        let line = line(i);
        let alone = decode(&line, Framing::Lines);
        for (mut record, attempts) in alone.records {
            record.number = i as i64;
            record.byte_offset = offset;
            rows += attempts.len();
            assert_eq!(records.next(), Some(&(record, attempts)));
        }
        offset += line.len() as i64 + 1;
    }
    assert_eq!(records.next(), None);
    assert_eq!(seen.tally.details_seen, rows as u64);
    // 10 lines of errors, 10 short results, 480 with the member that nobody knows.
    let unknown: Vec<_> = seen.tally.unknown_members.iter().collect();
    assert_eq!(unknown, [(&"$.Response.Text.NewMember".to_owned(), &480)]);
    let mut known = wanted.learned().templates();
    let read = (0..500)
        .filter(|i| template::read(&mut known, &line(*i), true, &mut Draft::default()).is_some())
        .count();
    assert_eq!(read, 490, "all but the errors");
}

/// Containers that are skipped are held to the same depth.
#[test]
fn depth_counts_as_it_does_for_the_strict_reader() {
    let deep = |n: usize| {
        let value = format!("{}{}", "[".repeat(n), "]".repeat(n));
        result("s").replace("\"RequestId\":\"r\"", &format!("\"BestFrame\":{value}"))
    };
    let enveloped = |n: usize| format!("{{\"a\":{{\"b\":{}}}}}", deep(n));
    let envelope = crate::model::Envelope {
        response: "/a/b".to_owned(),
        biz_token: None,
        rule_id: None,
        channel: None,
        fetched_at: None,
        created_at: None,
    };
    for n in 120..130 {
        let (plain, outer) = (Wanted::default(), Wanted::new(Some(envelope.clone()), false, false));
        decode_with(deep(2).as_bytes(), Framing::Lines, &plain);
        decode_with(enveloped(2).as_bytes(), Framing::Lines, &outer);
        let seen = decode_with(deep(n).as_bytes(), Framing::Lines, &plain);
        assert_eq!(seen.rejects.len(), usize::from(n + 2 > 128), "{n}");
        let seen = decode_with(enveloped(n).as_bytes(), Framing::Lines, &outer);
        assert_eq!(seen.rejects.len(), usize::from(n + 4 > 128), "{n} in the envelope");
    }
}

/// What an attempt says is mostly what another said: it is read as each of them alone is, odd and broken ones among them.
#[test]
fn what_was_said_before_is_read_as_it_was() {
    let mut rng = Rng(0x5A1D);
    let codes =
        ["0", "2016", "1002", "70000", "null", "\"7\"", "1.0", "-3", "12345678901", "01", "2e1"];
    let messages = [
        "\"成功\"",
        "\"疑似非真人录制\"",
        "null",
        "\"\"",
        "\"a\\nb\"",
        "\"成\u{1}\"",
        "5",
        "\"成功",
    ];
    let charges = ["true", "false", "null", "\"true\"", "tru", "true "];
    let pick = |rng: &mut Rng, of: &[&'static str], sound: usize| {
        let n = if rng.often(97) { sound } else { of.len() };
        of[rng.below(n)]
    };
    let mut lines = Vec::new();
    for i in 0..3000 {
        let mut attempt = || {
            let code = |rng: &mut Rng| pick(rng, &codes, 4);
            let message = |rng: &mut Rng| pick(rng, &messages, 4);
            format!(
                r#"{{"ReqTime":"1772296082585","Seq":"s{i}","IsNeedCharge":{},"Errcode":{},"Errmsg":{},"Livestatus":{},"Livemsg":{},"Comparestatus":{},"Comparemsg":{}{},"LivenessMode":5}}"#,
                pick(&mut rng, &charges, 3),
                code(&mut rng),
                message(&mut rng),
                code(&mut rng),
                message(&mut rng),
                code(&mut rng),
                message(&mut rng),
                if rng.often(2) { ",\"New\":1" } else { "" },
            )
        };
        let attempts = [attempt(), attempt()].join(",");
        // What Text says of the flow and of the library is skipped, and must be JSON all the same.
        let mut line = LIKELY.replace("EXTRA", "app");
        for (member, value) in [
            ("\"LiveStatus\":", "0"),
            ("\"LiveMsg\":", "\"成功\""),
            ("\"Comparestatus\":", "0"),
            ("\"LivenessMode\":", "5"),
            ("\"NFCRequestIds\":", "[]"),
            ("\"NFCBillingCounts\":", "0"),
        ] {
            let values = match value.as_bytes()[0] {
                b'"' => &messages[..],
                _ => &codes[..],
            };
            let value_now = pick(&mut rng, values, 4);
            line = line.replace(&format!("{member}{value}"), &format!("{member}{value_now}"));
        }
        lines.push(line.replace("ATTEMPTS", &attempts));
    }
    let text = lines.join("\n") + "\n";
    let wanted = Wanted::default();
    let seen = decode_with(text.as_bytes(), Framing::Lines, &wanted);
    let (mut records, mut rejects, mut offset) = (seen.records.iter(), seen.rejects.iter(), 0);
    for (i, line) in lines.iter().enumerate() {
        let alone = decode(line, Framing::Lines);
        for (mut record, attempts) in alone.records {
            (record.number, record.byte_offset) = (i as i64, offset);
            assert_eq!(records.next(), Some(&(record, attempts)), "{line}");
        }
        for mut reject in alone.rejects {
            reject.record = i as i64;
            reject.byte_offset += offset;
            assert_eq!(rejects.next(), Some(&reject), "{line}");
        }
        offset += line.len() as i64 + 1;
    }
    assert!(records.next().is_none() && rejects.next().is_none());
    assert!(seen.records.len() > 2000 && seen.rejects.len() > 100);
    // Attempts that are told to be alike are.
    let mut said = std::collections::BTreeMap::new();
    for attempt in seen.records.iter().flat_map(|(_, attempts)| attempts) {
        let messages = [&attempt.errmsg, &attempt.livemsg, &attempt.comparemsg];
        let codes = [attempt.errcode, attempt.livestatus, attempt.comparestatus];
        if let Some(number) = attempt.alike.number() {
            let says = (attempt.is_need_charge, messages, codes);
            let (first, n) = said.entry(number).or_insert((says, 0));
            *n += 1;
            assert_eq!(*first, says);
        }
    }
    assert!(said.values().any(|(_, n)| *n > 1), "some are");
}
