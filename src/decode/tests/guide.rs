//! The two samples of the official reconciliation guide (对账指引), as printed there.

use super::*;

/// The first, with the comment that stands in it and the tabs before the comment.
const FIRST: &str = include_str!("guide/first.json");
const SECOND: &str = include_str!("guide/second.json");

#[test]
fn the_first_sample_is_a_reject_for_its_comment() {
    for whole in [
        FIRST.to_owned(),
        format!("{FIRST}{FIRST}{}", result("after")),
        format!("[{FIRST},{}]", result("after")),
    ] {
        let seen = decode_every_way(whole.as_bytes(), Framing::Documents, &Wanted::default());
        let comments: Vec<i64> = whole.match_indices("//").map(|(at, _)| at as i64).collect();
        let expected: Vec<_> = comments
            .iter()
            .enumerate()
            .map(|(n, at)| (n as i64, *at, "$.Response.Text", RejectReason::Comment))
            .collect();
        assert_eq!(seen.places(), expected);
        assert!(seen.rejects[0].message.contains("comment"), "{}", seen.rejects[0].message);
        let rows: Vec<&str> = if whole == FIRST { vec![] } else { vec!["after"] };
        assert_eq!(seen.seqs(), rows);
    }
}

#[test]
fn the_first_sample_without_its_comment_is_a_row() {
    let comment = FIRST.find("\t\t     //").expect("the comment");
    let end = comment + FIRST[comment..].find('\n').expect("its end") + 1;
    let sound = format!("{}{}", &FIRST[..comment], &FIRST[end..]);
    let wanted = Wanted::new(None, true, true);
    let seen = decode_every_way(sound.as_bytes(), Framing::Documents, &wanted);
    assert_eq!(seen.rejects, []);
    let [(record, attempts)] = &seen.records[..] else { panic!("{seen:?}") };
    assert_eq!(
        *record,
        Record {
            number: 0,
            // The sample begins with an empty line.
            byte_offset: 1,
            request_id: Some("f52bac9a-0aee-4fe6-8d34-7de4bce89473".into()),
            err_code: Some(0),
            detail_count: 1,
            ..Record::default()
        }
    );
    let first = Attempt {
        byte_offset: 0,
        index: 0,
        req_time: 1_577_179_388_135,
        seq: "3d12da91-db34-4e55-81c3-993a41d7ccb7".into(),
        is_need_charge: Some(true),
        errcode: Some(0),
        errmsg: Some("成功".into()),
        livestatus: Some(0),
        livemsg: Some("成功".into()),
        comparestatus: Some(0),
        comparemsg: Some("成功".into()),
        compare_lib_type: Some("xx".into()),
        sim: Some(7652),
        liveness_mode: None,
        idcard: Some("440111111111111111".into()),
        name: Some("爱新觉罗永琪".into()),
        alike: crate::model::Alike::default(),
    };
    assert_eq!(*attempts, std::slice::from_ref(&first));

    let unread = decode(&sound, Framing::Documents);
    assert_eq!(unread.records[0].1, [Attempt { idcard: None, name: None, ..first }]);
    // A time of 2019-12-24 17:23:08 in Beijing.
    assert_eq!(crate::model::UsageDay::of_instant(1_577_179_388_135).to_string(), "2019-12-24");
}

#[test]
fn the_second_sample_is_two_rows() {
    let seen = decode_every_way(SECOND.as_bytes(), Framing::Documents, &Wanted::default());
    assert_eq!(seen.rejects, []);
    let [(record, attempts)] = &seen.records[..] else { panic!("{seen:?}") };
    assert_eq!(
        (record.detail_count, record.err_code, record.request_id.as_deref()),
        (2, None, None)
    );
    let facts: Vec<_> = attempts
        .iter()
        .map(|a| {
            (
                a.index,
                &*a.seq,
                a.errcode,
                a.comparestatus,
                a.sim,
                a.is_need_charge,
                a.errmsg.as_deref(),
            )
        })
        .collect();
    assert_eq!(
        facts,
        [
            (
                0,
                "3d12da91-db34-4e55-81c3-993a41d7ccb7",
                Some(2016),
                Some(2016),
                Some(2652),
                Some(true),
                Some("比对相似度未达到通过标准")
            ),
            (
                1,
                "6c18fa97-9298-49e3-8423-7f7e52019ead",
                Some(0),
                Some(0),
                Some(7652),
                Some(true),
                Some("成功")
            ),
        ]
    );
}
