use super::*;

fn day(text: &str) -> UsageDay {
    UsageDay::parse(text).unwrap()
}

/// `Y` charged, `n` free, `-` not listed.
fn said(edition: &str, date: &str, code: i32) -> char {
    let rules = ChargeRules::get();
    match rules.verdict(rules.edition(edition).unwrap(), day(date), code) {
        Verdict::Charged(rule) => {
            assert_eq!(rule.edition, edition);
            'Y'
        }
        Verdict::Free(_) => 'n',
        Verdict::NotListed => '-',
    }
}

/// The published tables, row by row, as the pages show them: before 2021-07-19, from then on, Plus, E证通, 意愿核身,
/// 慧眼 SDK. `.` is what nobody has seen.
const PUBLISHED: &[(&[i32], &str)] = &[
    (&[0], "YYYYYY"),
    (&[1], "nnnnn."),
    (&[2, 3], "nnnnnn"),
    (&[4, 8], "nnnnnn"),
    (&[10, 12, 13], "nnnnn."),
    (&[5, 6, 9, 11], "nn...."),
    (&[7], "nn...n"),
    (&[14, 15], "nnnnnn"),
    (&[16], ".nnnn."),
    (&[17], ".nnnnn"),
    (&[18, 19], ".....n"),
    (&[201, 202], "nnnnn."),
    (&[203, 204], ".nnnn."),
    (&[301, 302, 303], "nnnnn."),
    (&[1001], "nnnnnn"),
    (&[1002], "nnYnn."),
    (&[1003, 1004, 1005], "nnnnnn"),
    (&[1006], "nnnnn."),
    (&[1007], ".nnnnn"),
    (&[1008], "..nnn."),
    (&[1101, 1105, 1109, 1201, 1210, 1301, 1303], "nn...."),
    (&[1202], "nn...n"),
    (&[2001, 2002, 2003, 2004, 2005], "nnnnnn"),
    (&[2006], "YYYYYY"),
    (&[2007, 2009], "YnnnnY"),
    (&[2008], "nnnnn."),
    (&[2010], "Ynnnn."),
    (&[2011, 2012, 2013, 2014, 2015], "Yn...Y"),
    (&[2016], "YYYYYY"),
    (&[2017], ".....n"),
    // Rate limits: no page says.
    (&[2018], "......"),
    (&[3001, 1110, 1100, -1, 20, 2100, i32::MAX], "......"),
];

#[test]
fn verdicts_are_those_of_the_published_tables() {
    let columns = [
        ("general", "2021-07-18"),
        ("general", "2021-07-19"),
        ("plus", "2025-06-01"),
        ("eid", "2025-06-01"),
        ("intention", "2025-06-01"),
        ("sdk", "2025-06-01"),
    ];
    for (codes, row) in PUBLISHED {
        for code in *codes {
            let found: String = columns
                .iter()
                .map(|(edition, date)| said(edition, date, *code))
                .map(|c| if c == '-' { '.' } else { c })
                .collect();
            assert_eq!(found, *row, "{code}");
        }
    }
}

#[test]
fn rules_change_at_midnight_in_beijing() {
    // 2021-07-19T00:00:00+08:00 is 1626624000000 (`date -d '2021-07-19 00:00 +0800' +%s%3N`).
    for edition in ["general", "eid"] {
        for (ms, expected) in [(1_626_623_999_999, 'Y'), (1_626_624_000_000, 'n')] {
            let date = UsageDay::of_instant(ms).to_string();
            assert_eq!(said(edition, &date, 2015), expected, "{edition} {date}");
        }
    }
    // 意愿核身 and Plus have no table of the earlier time.
    assert_eq!(said("intention", "2021-07-18", 0), '-');
    assert_eq!(said("plus", "2023-12-31", 0), '-');
    // The tail of the pages of single editions was not seen: nothing is said where the general page said it.
    assert_eq!((said("eid", "2023-12-31", 2013), said("eid", "2024-01-01", 2013)), ('n', '-'));
}

#[test]
fn where_two_tables_of_an_edition_meet_both_say_the_same_of_what_both_list() {
    for edition in ["eid", "intention"] {
        for code in 0..3000 {
            let pair = [said(edition, "2023-12-31", code), said(edition, "2024-01-01", code)];
            assert!(pair[0] == pair[1] || pair.contains(&'-'), "{edition} {code}: {pair:?}");
        }
    }
}

/// 66660004 is "not the same person"; -4007 says the same and is published as free.
#[test]
fn the_app_page_charges_three_codes() {
    let charged: Vec<i32> = (-16_000..1_100_000)
        .chain(66_660_000..66_666_000)
        .filter(|code| said("app_h5", "2024-05-01", *code) == 'Y')
        .collect();
    assert_eq!(charged, [0, 66_660_004, 66_660_010]);
    for code in [400_102, 66_660_028, 999_999, -1105, -1100, -4007, -5052, -15_511] {
        assert_eq!(said("app_h5", "2024-05-01", code), 'n', "{code}");
    }
    for code in [66_660_020, 66_660_029, 999_994, -1106, -5006, -5022] {
        assert_eq!(said("app_h5", "2024-05-01", code), '-', "{code}");
    }
}

#[test]
fn a_file_that_contradicts_itself_does_not_load() {
    let table = |charged: &str, free: &str| {
        format!(
            "applies = []\nedition = [{{ code = \"e\", label = \"\" }}]\n[[table]]\neditions = [\"e\"]\nsource = \"p\"\ntrust = \"\"\ncharged = {charged}\nfree = {free}\n"
        )
    };
    assert!(ChargeRules::load(&table("[0]", "[[1, 3]]")).is_ok());
    let fails = |text: &str| ChargeRules::load(text).unwrap_err();
    assert_eq!(fails(&table("[2]", "[[1, 3]]")), "2 stands twice in p");
    assert!(fails(&table("[[3, 1]]", "[]")).contains("empty"));
    let twice = table("[0]", "[]")
        + &table("[0]", "[]").split_off(table("[0]", "[]").find("[[table").unwrap());
    assert!(fails(&twice).contains("two tables of e"));
}

fn attempt<'a>(seq: &'a str, errcode: i32, is_need_charge: bool) -> AuditedAttempt<'a> {
    AuditedAttempt {
        seq,
        day: day("2024-11-01"),
        billing_tag: "增强版人脸核身（权威库）-微信",
        product: Some("enhanced"),
        channel: Some("wechat_mini_program"),
        errcode: Some(errcode),
        is_need_charge: Some(is_need_charge),
    }
}

fn unit(_: &str, _: UsageDay) -> Option<Amount> {
    Amount::parse("1.2").ok()
}

#[test]
fn contradictions_are_found_with_what_they_cost() {
    let mut auditor = Auditor::new(&[]);
    for (seq, errcode, flag) in [
        ("e", 0, true),
        ("d", 1002, false),
        // Charged though free, twice; free though charged, once.
        ("c", 1002, true),
        ("a", 2015, true),
        ("b", 2006, false),
        ("f", 2018, true),
    ] {
        auditor.see(&attempt(seq, errcode, flag));
    }
    // No flag, no code, a code that the table does not have (2018); no product, a channel of which no page is known.
    auditor.see(&AuditedAttempt { is_need_charge: None, ..attempt("g", 1002, true) });
    auditor.see(&AuditedAttempt { errcode: None, ..attempt("h", 0, true) });
    auditor.see(&AuditedAttempt { product: None, ..attempt("i", 1002, true) });
    auditor.see(&AuditedAttempt { channel: Some("app_sdk"), ..attempt("j", 1002, true) });
    let audit = auditor.clone().finish(unit);
    assert_eq!((audit.checked, audit.no_table, audit.not_listed), (5, 2, 2));
    assert_eq!((audit.charged_against_rule, audit.free_against_rule), (2, 1));
    assert_eq!((audit.overcharge, audit.overcharge_unpriced), (Amount::parse("2.4").ok(), 0));
    let found: Vec<(&str, i32, bool, bool)> = audit
        .findings
        .iter()
        .map(|f| (f.seq.as_str(), f.errcode, f.is_need_charge, f.published_charge))
        .collect();
    let expected = [("a", 2015, true, false), ("b", 2006, false, true), ("c", 1002, true, false)];
    assert_eq!(found, expected);
    let first = &audit.findings[0];
    assert_eq!((first.edition.as_str(), first.rule_from.as_str()), ("general", "2021-07-19"));
    assert_eq!(first.usage_date, "2024-11-01");
    assert_eq!(first.money, Amount::parse("1.2").ok());
    let without = auditor.clone().finish(|_, _| None);
    assert_eq!((without.overcharge, without.overcharge_unpriced), (None, 2));
    // One more in a tag without a price: it takes nothing from the others.
    auditor.see(&AuditedAttempt { billing_tag: "unmapped", ..attempt("k", 1002, true) });
    let some = auditor.finish(|tag, day| unit(tag, day).filter(|_| tag != "unmapped"));
    assert_eq!((some.overcharge, some.overcharge_unpriced), (Amount::parse("2.4").ok(), 1));
}

#[test]
fn a_pipeline_can_say_which_page_holds() {
    let plus = ChargeRules::get().edition("plus");
    let route = |channel, edition| EditionRoute { product: "enhanced", channel, edition };
    // Plus charges 1002: no contradiction. For mini programs alone it is as before.
    let own = [route(Some("wechat_mini_program"), None), route(None, plus)];
    for (channel, checked, against) in [("wechat_h5_native", 1, 0), ("wechat_mini_program", 0, 0)] {
        let mut auditor = Auditor::new(&own);
        auditor.see(&AuditedAttempt { channel: Some(channel), ..attempt("a", 1002, true) });
        let audit = auditor.finish(unit);
        assert_eq!((audit.checked, audit.charged_against_rule), (checked, against), "{channel}");
    }
}

#[test]
fn what_is_kept_does_not_depend_on_order_or_split() {
    let seqs: Vec<String> =
        (0..FINDINGS_MAX + 50).map(|n| format!("{:08}", n * 7919 % 10_061)).collect();
    let seen = |seqs: &[String]| {
        let mut auditor = Auditor::new(&[]);
        for seq in seqs {
            auditor.see(&attempt(seq, 1002, true));
        }
        auditor
    };
    let whole = seen(&seqs).finish(unit);
    assert_eq!(whole.findings.len(), FINDINGS_MAX);
    assert_eq!(whole.findings_total, FINDINGS_MAX as i64 + 50);
    let mut sorted = seqs.clone();
    sorted.sort();
    assert!(whole.findings.iter().map(|f| &f.seq).eq(&sorted[..FINDINGS_MAX]));
    let mut parts = seen(&seqs[6_000..]);
    parts.merge(seen(&seqs[..6_000]));
    assert_eq!(parts.finish(unit), whole);
}
