//! The shapes that are results, and every type a member may come in.

use super::*;

#[track_caller]
fn one(text: &str) -> (Record<'static>, Vec<Attempt<'static>>) {
    one_with(text, &Wanted::default())
}

#[track_caller]
fn one_with(text: &str, wanted: &Wanted) -> (Record<'static>, Vec<Attempt<'static>>) {
    let seen = decode_every_way(text.as_bytes(), Framing::Documents, wanted);
    assert_eq!(seen.rejects, [], "{text}");
    assert_eq!(seen.records.len(), 1, "{text}");
    assert_eq!(
        decode_with(text.replace('\n', " ").as_bytes(), Framing::Lines, wanted).records,
        seen.records
    );
    seen.records.into_iter().next().expect("one")
}

const DETAIL: &str = r#"{"Seq":"s","ReqTime":"1730444265275"}"#;

fn plain(seq: &str) -> Attempt<'_> {
    Attempt { seq: seq.into(), req_time: 1_730_444_265_275, ..Attempt::default() }
}

#[test]
fn the_five_shapes() {
    let text = format!(r#"{{"ErrCode":"2016","Extra":"e","LivenessDetail":[{DETAIL}]}}"#);
    for shape in [
        format!(r#"{{"Response":{{"IsVerifyIntention":true,"Text":{text},"RequestId":"r"}}}}"#),
        format!(r#"{{"RequestId":"r","Text":{text},"IsVerifyIntention":true}}"#),
        // GetEidResult.
        format!(
            r#"{{"Response":{{"Text":{text},"EidInfo":{{"EidCode":"c","DesKey":"d"}},"IdCardData":null,"IsVerifyIntention":true,"RequestId":"r"}}}}"#
        ),
    ] {
        let (record, attempts) = one(&shape);
        assert_eq!(attempts, [plain("s")]);
        assert_eq!(
            record,
            Record {
                request_id: Some("r".into()),
                extra: Some("e".into()),
                err_code: Some(2016),
                is_verify_intention: true,
                detail_count: 1,
                ..Record::default()
            }
        );
    }
    let (record, attempts) = one(&format!(r#" {{"LivenessDetail":[{DETAIL},{DETAIL}]}} "#));
    assert_eq!(attempts, [plain("s"), Attempt { index: 1, ..plain("s") }]);
    assert_eq!(record, Record { byte_offset: 1, detail_count: 2, ..Record::default() });
}

#[test]
fn results_without_attempts() {
    for (text, empty, error) in [
        (r#"{"Response":{"Text":{"ErrCode":1001,"LivenessDetail":null}}}"#, 1, 0),
        (r#"{"Response":{"Text":{"ErrCode":1001,"LivenessDetail":[ ]}}}"#, 1, 0),
        (r#"{"Response":{"Text":{}}}"#, 1, 0),
        (r#"{"Text":{}}"#, 1, 0),
        (r#"{"LivenessDetail":null}"#, 1, 0),
        (r#"{"Response":{"Text":{},"EncryptedBody":"c2VjcmV0"}}"#, 1, 0),
        (r#"{"Response":{"Text":{},"Error":{"Code":"c"}}}"#, 1, 0),
        (
            r#"{"Response":{"Error":{"Code":"InvalidParameter","Message":"m"},"RequestId":"r"}}"#,
            0,
            1,
        ),
        (r#"{"Response":{"Error":{"Code":"c"},"Text":null}}"#, 0, 1),
        (r#"{"Error":{"Code":"c"}}"#, 0, 1),
    ] {
        let seen = decode_every_way(text.as_bytes(), Framing::Documents, &Wanted::default());
        assert_eq!((seen.rejects.len(), seen.records.len()), (0, 0), "{text}");
        assert_eq!(
            (seen.tally.records_empty, seen.tally.records_error_response),
            (empty, error),
            "{text}"
        );
        assert_eq!(seen.tally.records_seen, 1);
    }
}

#[test]
fn what_stands_beside_response_is_not_the_results() {
    let response =
        format!(r#""Response":{{"Text":{{"LivenessDetail":[{DETAIL}]}},"RequestId":"its"}}"#);
    let beside = r#""RequestId":"mine","Extra":"mine","ErrCode":7,"IsVerifyIntention":true"#;
    for text in [format!("{{{response},{beside}}}"), format!("{{{beside},{response}}}")] {
        let (record, _) = one(&text);
        let expected =
            Record { request_id: Some("its".into()), detail_count: 1, ..Record::default() };
        assert_eq!(record, expected, "{text}");
    }
    let twice = format!(r#"{{"LivenessDetail":[{DETAIL}],{response}}}"#);
    let seen = decode(&twice, Framing::Documents);
    assert_eq!(seen.rejects[0].reason, RejectReason::DuplicateKey);
    assert_eq!(seen.rejects[0].byte_offset, twice.rfind("\"LivenessDetail\"").unwrap() as i64);
    assert_eq!(seen.rejects[0].json_path, "$.Response.Text.LivenessDetail");
}

/// Text's ErrCode and Extra are the result's, whatever an exporter put beside it.
#[test]
fn what_stands_beside_text_is_not_the_results() {
    let beside = r#""Extra":"mine","ErrCode":7"#;
    for (says, extra, err_code) in [
        ("", None, None),
        (r#""Extra":"its","#, Some("its"), None),
        (r#""ErrCode":0,"Extra":null,"#, None, Some(0)),
    ] {
        let of_text = format!(r#""Text":{{{says}"LivenessDetail":[{DETAIL}]}}"#);
        for text in [format!("{{{of_text},{beside}}}"), format!("{{{beside},{of_text}}}")] {
            let (record, _) = one(&text);
            let extra = extra.map(Into::into);
            let expected = Record { extra, err_code, detail_count: 1, ..Record::default() };
            assert_eq!(record, expected, "{text}");
        }
    }
}

#[test]
fn every_member_and_every_null() {
    let full = r#"{"ReqTime":1730444265275,"Seq":"\u0041\ud83d\ude00中","Idcard":"id","Name":"na\"me","Sim":"100.00",
        "IsNeedCharge":false,"Errcode":"2016","Errmsg":"","Livestatus":-1,"Livemsg":"a\/b","Comparestatus":"0",
        "Comparemsg":"\n","CompareLibType":"\u6743\u5a01\u5e93","LivenessMode":5}"#;
    let wanted = Wanted::new(None, true, true);
    let (_, attempts) = one_with(&format!(r#"{{"LivenessDetail":[{full}]}}"#), &wanted);
    let expected = Attempt {
        byte_offset: 0,
        index: 0,
        req_time: 1_730_444_265_275,
        seq: "A😀中".into(),
        is_need_charge: Some(false),
        errcode: Some(2016),
        errmsg: Some("".into()),
        livestatus: Some(-1),
        livemsg: Some("a/b".into()),
        comparestatus: Some(0),
        comparemsg: Some("\n".into()),
        compare_lib_type: Some("权威库".into()),
        sim: Some(10_000),
        liveness_mode: Some(5),
        idcard: Some("id".into()),
        name: Some("na\"me".into()),
        alike: crate::model::Alike::default(),
    };
    assert_eq!(attempts, [expected]);

    let nulls = r#"{"ReqTime":"1730444265275","Seq":"s","Idcard":null,"Name":null,"Sim":null,"IsNeedCharge":null,"Errcode":null,
        "Errmsg":null,"Livestatus":null,"Livemsg":null,"Comparestatus":null,"Comparemsg":null,"CompareLibType":null,
        "LivenessMode":null}"#;
    let (_, attempts) = one_with(&format!(r#"{{"LivenessDetail":[{nulls}]}}"#), &wanted);
    assert_eq!(attempts, [plain("s")]);
}

/// E证通 leaves the person out as empty strings: no digest must be made of them.
#[test]
fn empty_persons_are_none() {
    let text =
        r#"{"LivenessDetail":[{"ReqTime":"1730444265275","Seq":"s","Idcard":"","Name":""}]}"#;
    let (_, attempts) = one_with(text, &Wanted::new(None, true, true));
    assert_eq!((&attempts[0].idcard, &attempts[0].name), (&None, &None));
}

#[test]
fn each_person_is_read_only_when_wanted() {
    let text =
        r#"{"LivenessDetail":[{"ReqTime":"1730444265275","Seq":"s","Idcard":"i","Name":"n"}]}"#;
    for (idcard, name) in [(false, false), (true, false), (false, true), (true, true)] {
        let (_, attempts) = one_with(text, &Wanted::new(None, idcard, name));
        assert_eq!((attempts[0].idcard.is_some(), attempts[0].name.is_some()), (idcard, name));
    }
}

#[test]
fn decimals_and_codes() {
    for (sim, hundredths) in [
        ("\"76.52\"", Some(7652)),
        ("\"0\"", Some(0)),
        ("\"0.00\"", Some(0)),
        ("\"7.5\"", Some(750)),
        ("\"100\"", Some(10_000)),
        ("\"100.0\"", Some(10_000)),
        ("\"76.5200\"", Some(7652)),
        ("\"76.000\"", Some(7600)),
        ("\"999.99\"", Some(99_999)),
        ("\"0.05\"", Some(5)),
        ("95.51", Some(9551)),
        ("95", Some(9500)),
        ("\"\"", None),
    ] {
        let (_, attempts) = one(&format!(
            r#"{{"LivenessDetail":[{{"Seq":"s","ReqTime":"1730444265275","Sim":{sim}}}]}}"#
        ));
        assert_eq!(attempts[0].sim, hundredths, "{sim}");
    }
    for (code, expected) in [
        ("0", Some(0)),
        ("-0", Some(0)),
        ("\"0\"", Some(0)),
        ("2147483647", Some(i32::MAX)),
        ("\"-2147483648\"", Some(i32::MIN)),
        ("\"\"", None),
        ("\"\\u0032016\"", Some(2016)),
    ] {
        let (_, attempts) = one(&format!(
            r#"{{"LivenessDetail":[{{"Seq":"s","ReqTime":"1730444265275","Errcode":{code}}}]}}"#
        ));
        assert_eq!(attempts[0].errcode, expected, "{code}");
    }
    // The first and the last millisecond that a ReqTime may be, in Beijing: 2015-01-01 and 2099-12-31.
    for ms in [1_420_041_600_000i64, 4_102_415_999_999] {
        for text in [format!("{ms}"), format!("\"{ms}\"")] {
            let (_, attempts) =
                one(&format!(r#"{{"LivenessDetail":[{{"Seq":"s","ReqTime":{text}}}]}}"#));
            assert_eq!(attempts[0].req_time, ms);
        }
    }
}

/// A name spelled with escapes is the same name; a name inside a string or an unknown member is none.
#[test]
fn names_are_what_they_spell_and_where_they_stand() {
    let text = r#"{"Note":"\"LivenessDetail\":[{\"Seq\":\"no\"}]","Other":{"LivenessDetail":[{"Seq":"no"}],"Response":{}},
        "Re\u0073ponse":{"Te\u0078t":{"Mobile":"{\"LivenessDetail\":[1,2","Livenes\u0073Detail":[
        {"\u0053eq":"yes","ReqTime":"1730444265275","Errmsg":"\\\"}]}"}]}}}"#;
    let (record, attempts) = one(text);
    assert_eq!(attempts, [Attempt { errmsg: Some("\\\"}]}".into()), ..plain("yes") }]);
    assert_eq!(record.detail_count, 1);
}

#[test]
fn unknown_members_are_counted_by_path() {
    let text = r#"{"Response":{"New":1,"Text":{"Newer":{"Seq":1},"LivenessDetail":[{"Seq":"a","ReqTime":1730444265275,"Newest":[]},
        {"Seq":"b","ReqTime":1730444265275,"Newest":null,"张三":1,"id 1":2}]},"Video Data":"","H12345678":1},"Top":{}}"#;
    let seen = decode_every_way(text.as_bytes(), Framing::Documents, &Wanted::default());
    let counted: Vec<(&str, u64)> =
        seen.tally.unknown_members.iter().map(|(path, n)| (path.as_str(), *n)).collect();
    assert_eq!(
        counted,
        [
            ("$.Response.?", 2),
            ("$.Response.New", 1),
            ("$.Response.Text.LivenessDetail[].?", 2),
            ("$.Response.Text.LivenessDetail[].Newest", 2),
            ("$.Response.Text.Newer", 1),
            ("$.Top", 1),
        ]
    );
}

/// A map keyed by what comes does not fill the memory.
#[test]
fn unknown_members_are_bounded() {
    let members: Vec<String> = (0..1000)
        .map(|i| {
            let word: String =
                format!("{i:03}").bytes().map(|d| char::from(d - b'0' + b'a')).collect();
            format!("\"{word}\":0")
        })
        .collect();
    let seen = decode(format!(r#"{{"Text":{{}},{}}}"#, members.join(",")), Framing::Documents);
    assert_eq!(seen.tally.unknown_members.len(), 257);
    assert_eq!(seen.tally.unknown_members["(others)"], 1000 - 256);
    assert_eq!(seen.tally.unknown_members.values().sum::<u64>(), 1000);
}

#[test]
fn attempts_beside_a_rejected_one_are_kept() {
    let text = format!(
        r#"{{"LivenessDetail":[{DETAIL},{{"Seq":""}},7,{DETAIL},{{"ReqTime":0,"Seq":"x"}}]}}"#
    );
    let seen = decode_every_way(text.as_bytes(), Framing::Documents, &Wanted::default());
    let (record, attempts) = &seen.records[0];
    assert_eq!(record.detail_count, 5);
    assert_eq!(attempts.iter().map(|a| a.index).collect::<Vec<_>>(), [0, 3]);
    let at = |marker: &str| text.find(marker).expect("a marker") as i64;
    assert_eq!(
        seen.places(),
        [
            (0, at("\"\"}"), "$.LivenessDetail[1].Seq", RejectReason::SeqEmpty),
            (0, at("7,{"), "$.LivenessDetail[2]", RejectReason::WrongType),
            (
                0,
                at("0,\"Seq\":\"x\""),
                "$.LivenessDetail[4].ReqTime",
                RejectReason::ReqTimeOutOfRange
            ),
        ]
    );
    assert!(seen.rejects.iter().all(|r| r.of_attempt));
    assert_eq!((seen.tally.details_seen, seen.tally.details_rejected), (5, 3));
    assert_eq!((seen.tally.records_with_attempts, seen.tally.records_rejected), (1, 0));
}

/// A breach of the grammar further on is told before what is wrong with the shape.
#[test]
fn grammar_goes_before_shape() {
    let text = r#"{"Response":{"Text":5,"RequestId":7,"x":tru}}"#;
    let seen = decode(text, Framing::Documents);
    assert_eq!(seen.places(), [(0, 40, "$.Response.x", RejectReason::InvalidJson)]);
}

#[test]
fn attempts_tell_where_they_begin() {
    let text = format!("{}\n {}", result("a"), result("b"));
    let seen = decode(&text, Framing::Documents);
    let begins = |seq: &str| {
        let at = text.find(&format!("\"{seq}\"")).unwrap();
        text[..at].rfind('{').unwrap() as i64
    };
    assert_eq!(seen.offsets, [begins("a"), begins("b")]);
}
