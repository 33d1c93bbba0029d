//! `pipelines/demo.toml` over the sample month finds what was worked out by hand in `sample-data/month/README.md`,
//! whatever form the bill has.

use crate::interop::python;
use crate::world::{Row, Table, faceledger_in};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const WECHAT: &str = "enhanced_authority_wechat";
const APP: &str = "enhanced_authority_app";
const H5: &str = "enhanced_photo_h5";
const BILLS: &str = "sample-data/month/bill/";
const LIST: &str = "sample-data/month/bill/wechat-bill-details.ndjson";
const AS_OF: &str = "2025-01-01T09:00:00+08:00";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The sample month, loaded.
struct Month {
    folder: tempfile::TempDir,
}

impl Month {
    fn loaded() -> Month {
        let month = Month { folder: tempfile::tempdir().expect("a temporary folder") };
        let output = month.output();
        faceledger_in(root(), &["run", "pipelines/demo.toml", "--set", &output], &[]).exits(0);
        month
    }

    fn out(&self) -> PathBuf {
        self.folder.path().join("out")
    }

    fn output(&self) -> String {
        format!("output.url={}", self.out().display())
    }

    fn reconcile(&self, bills: &[&str], more: &[&str], exit: i32) -> Value {
        let output = self.output();
        let mut words = vec!["reconcile", "pipelines/demo.toml", "--json", "--set", &output];
        for bill in bills {
            words.extend(["--bill", bill]);
        }
        words.extend(more);
        faceledger_in(root(), &words, &[]).exits(exit).json()
    }
}

fn bill(name: &str) -> String {
    format!("{BILLS}{name}")
}

/// Day, tag, ours, bill, difference, status, parts: the table of the README.
type Planted = (
    &'static str,
    &'static str,
    i64,
    Option<i64>,
    i64,
    &'static str,
    &'static [(&'static str, i64)],
);

/// With the list by Seq.
const PLANTED: &[Planted] = &[
    ("2024-12-02", WECHAT, 3, Some(3), 0, "matched", &[]),
    ("2024-12-03", WECHAT, 3, Some(4), 1, "provider_more", &[("flag_differs", 1)]),
    ("2024-12-04", WECHAT, 4, Some(3), -1, "ours_more", &[("ours_only", -1)]),
    ("2024-12-05", APP, 3, Some(2), -1, "ours_more", &[("midnight", -1)]),
    ("2024-12-06", APP, 2, Some(3), 1, "provider_more", &[("midnight", 1)]),
    ("2024-12-07", WECHAT, 4, Some(3), -1, "ours_more", &[("midnight", -1)]),
    ("2024-12-08", WECHAT, 3, Some(4), 1, "provider_more", &[("midnight", 1)]),
    ("2024-12-09", APP, 2, Some(3), 1, "provider_more", &[("unknown_flag", 1)]),
    ("2024-12-10", APP, 2, Some(3), 1, "provider_more", &[("not_final", 1)]),
    ("2024-12-11", H5, 1, Some(2), 1, "provider_more", &[("reject", 1)]),
    ("2024-12-12", H5, 1, Some(2), 1, "provider_more", &[("unexplained", 1)]),
    ("2024-12-13", "basic_authority", 0, Some(2), 2, "provider_only", &[("unexplained", 2)]),
    ("2024-12-14", "eid_authority", 1, None, -1, "ours_only", &[("unexplained", -1)]),
    ("2024-12-15", "intention_authority", 3, None, 0, "covered_by_package", &[]),
    ("2024-12-16", "unmapped", 1, Some(4), 3, "unmapped", &[("unexplained", 3)]),
    ("2024-12-17", APP, 2, Some(2), 0, "adjusted", &[]),
    ("2024-12-18", WECHAT, 4, Some(4), 0, "matched", &[]),
    ("2024-12-19", WECHAT, 3, Some(4), 1, "provider_more", &[("provider_only", 1)]),
    ("2024-12-20", APP, 2, Some(2), 0, "matched", &[]),
    ("2024-12-22", H5, 1, Some(1), 0, "adjusted", &[]),
    ("2024-12-23", APP, 2, Some(3), 1, "provider_more", &[("duplicate", 1)]),
    ("2024-12-24", H5, 1, Some(1), 0, "matched", &[]),
    ("2024-12-31", WECHAT, 3, None, 0, "pending", &[]),
    ("2024-12-31", APP, 2, None, 0, "pending", &[]),
    ("2024-12-31", H5, 1, None, 0, "pending", &[]),
];

fn rows(found: &Value) -> Vec<Value> {
    found["rows"].as_array().expect("rows").clone()
}

fn row_of(found: &Value, day: &str, tag: &str) -> Value {
    let mut hits = rows(found);
    hits.retain(|row| row["period"] == day && row["billing_tag_code"] == tag);
    assert_eq!(hits.len(), 1, "{day} {tag}");
    hits.remove(0)
}

/// Of the three tables, whether there was anything to commit.
fn commits(found: &Value) -> Vec<bool> {
    let commits = found["commits"].as_array().expect("commits").iter();
    commits.map(|c| c["committed"].as_bool().expect("committed")).collect()
}

fn parts(row: &Value) -> Vec<(String, i64)> {
    let parts = row["parts"].as_array().expect("parts").iter();
    parts
        .map(|part| {
            (
                part["kind"].as_str().expect("kind").to_owned(),
                part["count"].as_i64().expect("count"),
            )
        })
        .collect()
}

#[track_caller]
fn is_as_planted(found: &Value) {
    for (day, tag, ours, theirs, difference, status, expected) in PLANTED {
        let row = row_of(found, day, tag);
        assert_eq!(row["ours_charged"], *ours, "{day} {tag}");
        assert_eq!(row["provider_calls"], json!(theirs), "{day} {tag}");
        assert_eq!(row["difference"], *difference, "{day} {tag}");
        assert_eq!(row["status"], *status, "{day} {tag}");
        let expected: Vec<(String, i64)> =
            expected.iter().map(|(kind, count)| ((*kind).to_owned(), *count)).collect();
        assert_eq!(parts(&row), expected, "{day} {tag}");
    }
    assert_eq!(rows(found).len(), 97);
    let totals: BTreeMap<String, i64> = found["totals"]
        .as_array()
        .expect("totals")
        .iter()
        .map(|t| {
            (t["status"].as_str().expect("status").to_owned(), t["rows"].as_i64().expect("rows"))
        })
        .collect();
    let expected = [
        ("matched", 76),
        ("provider_more", 9),
        ("ours_more", 3),
        ("provider_only", 1),
        ("ours_only", 1),
        ("pending", 3),
        ("covered_by_package", 1),
        ("unmapped", 1),
        ("adjusted", 2),
    ];
    assert_eq!(totals, expected.map(|(status, n)| (status.to_owned(), n)).into());
    // Every other row is one of the days on which nothing was planted.
    for row in rows(found).iter().filter(|row| row["status"] == "matched") {
        assert_eq!(row["difference"], 0);
        assert_eq!(row["parts"], json!([]));
    }
}

/// Rows that differ in calls (README: provider_more 9, ours_more 3, one each of provider_only, ours_only, unmapped), day 17
/// of App, whose adjustment no price explains, and day 24 of H5, whose price is another.
const OVER: i64 = 17;

#[test]
fn each_form_of_the_bill_gives_what_was_worked_out_by_hand() {
    let month = Month::loaded();
    let zip = bill("100012345678-20241231-by_used_time-bill_details.zip");
    let early = bill("100012345678-20241216-by_used_time-bill_details.zip");
    let csv = bill("detail.csv");
    let pages = [bill("describe-bill-detail-1.json"), bill("describe-bill-detail-2.json")];
    let mut seen: Vec<Vec<Value>> = Vec::new();
    for bills in [
        vec![zip.as_str(), LIST],
        // A later delivery replaces an earlier one, in whatever order they are given.
        vec![zip.as_str(), early.as_str(), LIST],
        vec![LIST, early.as_str(), zip.as_str()],
        vec![csv.as_str(), LIST],
        vec![pages[0].as_str(), pages[1].as_str(), LIST],
        // The same lines in several files count once, with ids (API pages) or without.
        vec![zip.as_str(), csv.as_str(), LIST],
        vec![csv.as_str(), pages[1].as_str(), pages[0].as_str(), LIST],
        vec![BILLS],
    ] {
        let found = month.reconcile(&bills, &["--as-of", AS_OF], 4);
        is_as_planted(&found);
        // One line of COS, however often it was given.
        assert_eq!(found["bill"]["lines_other_products"], 1, "{bills:?}");
        let cos = json!([{ "name": "对象存储 COS", "lines": 1, "usage": "5", "cost": "0.59", "cost_gross": "0.59", "lines_without_cost": 0, "like_ours": false }]);
        assert_eq!(found["bill"]["other_products"], cos, "{bills:?}");
        assert_eq!(found["bill"]["rejects_total"], 0, "{bills:?}");
        let mut rows = rows(&found);
        for row in &mut rows {
            // Where a line stands depends on the file.
            row["lines"] = Value::Null;
        }
        seen.push(rows);
    }
    assert!(seen.windows(2).all(|pair| pair[0] == pair[1]), "all forms say the same");
}

#[test]
fn the_list_by_seq_the_audit_and_the_money_are_those_of_the_readme() {
    let month = Month::loaded();
    let zip = bill("100012345678-20241231-by_used_time-bill_details.zip");
    let found = month.reconcile(&[&zip, LIST], &["--as-of", AS_OF], 4);
    let seqs = &found["seqs"];
    for (name, n) in [
        ("agree", 121),
        ("flag_differs", 1),
        ("day_differs", 1),
        ("ours_only", 1),
        ("provider_only", 1),
    ] {
        assert_eq!(seqs[name], n, "{name}");
    }
    let seq =
        |day: &str, channel: u32, number: u32| format!("{day}-{channel:04}-4000-8000-{number:012}");
    let told: Vec<(&str, &str)> = seqs["differences"]
        .as_array()
        .expect("differences")
        .iter()
        .map(|d| (d["seq"].as_str().expect("seq"), d["status"].as_str().expect("status")))
        .collect();
    assert_eq!(
        told,
        [
            (seq("20241203", 1, 4).as_str(), "flag_differs"),
            (seq("20241204", 1, 5).as_str(), "ours_only"),
            (seq("20241207", 1, 5).as_str(), "day_differs"),
            (seq("20241219", 1, 5).as_str(), "provider_only"),
        ]
    );
    // Every part lists its Seqs.
    for (day, tag, expected) in [
        ("2024-12-03", WECHAT, seq("20241203", 1, 4)),
        ("2024-12-04", WECHAT, seq("20241204", 1, 5)),
        ("2024-12-05", APP, seq("20241205", 2, 3)),
        ("2024-12-06", APP, seq("20241205", 2, 3)),
        ("2024-12-08", WECHAT, seq("20241207", 1, 5)),
        ("2024-12-09", APP, seq("20241209", 2, 3)),
        ("2024-12-10", APP, seq("20241210", 2, 3)),
        ("2024-12-14", "eid_authority", seq("20241214", 4, 1)),
        ("2024-12-19", WECHAT, seq("20241219", 1, 5)),
        ("2024-12-23", APP, seq("20241223", 2, 2)),
    ] {
        assert_eq!(row_of(&found, day, tag)["parts"][0]["seqs"], json!([expected]), "{day} {tag}");
    }
    let cut = row_of(&found, "2024-12-11", H5);
    assert_eq!(cut["parts"][0]["source_keys"], json!(["dt=2024-12-11.ndjson"]));
    assert_eq!(cut["parts"][0]["seqs"], json!([seq("20241211", 3, 2)]));

    let audit = &found["audit"];
    assert_eq!(
        (&audit["charged_against_rule"], &audit["free_against_rule"]),
        (&json!(1), &json!(1))
    );
    let findings: Vec<(&str, i64)> = audit["findings"]
        .as_array()
        .expect("findings")
        .iter()
        .map(|f| (f["seq"].as_str().expect("seq"), f["errcode"].as_i64().expect("errcode")))
        .collect();
    assert_eq!(
        findings,
        [(seq("20241218", 1, 5).as_str(), 1003), (seq("20241218", 1, 6).as_str(), 2006)]
    );
    assert_eq!(audit["overcharge"], "1.2");

    let money = &found["money"];
    assert_eq!(money["bill_rounding"], "-0.08000021");
    assert_eq!(money["expected_rounding"], "-0.09333354");
    let of = |code: &str, column: &str| -> i64 {
        let rows = money["waterfall"].as_array().expect("waterfall").iter();
        rows.filter(|row| row["billing_tag_code"] == code)
            .map(|row| row[column].as_i64().expect("n"))
            .sum()
    };
    // App: 31 x 2, and one on day 5; one of them by the package of the 20th.
    assert_eq!((of(APP, "calls"), of(APP, "paid_package"), of(APP, "postpaid")), (63, 1, 62));
    assert_eq!(
        (of("intention_authority", "calls"), of("intention_authority", "paid_package")),
        (3, 3)
    );
    // WeChat: 31 x 3, and one each on days 4, 7 and 18.
    assert_eq!((of(WECHAT, "calls"), of(WECHAT, "postpaid")), (96, 96));
    // 96 x 1.2 + 62 x 1.13333333 + 31 x 0.3 + 1 x 1.5
    assert_eq!(money["expected_cost"], "196.26666646");
    // Of what has a price: usage 201.04999979 - 5.20 (移动), and the adjustment.
    assert_eq!(money["bill_cost"], "194.71666646");
    let h5 = row_of(&found, "2024-12-24", H5);
    assert_eq!((&h5["expected_cost"], &h5["provider_cost"]), (&json!("0.3"), &json!("0.35")));
    // Beside the rows: the two packages, which the pipeline names, 移动, which has no price, and the list's four Seqs.
    assert_eq!(beside(&found, "seqs_differ"), Some((4, None, None, true)));
    assert_eq!(beside(&found, "package"), some(2, "1451", "1451", false));
    assert_eq!(beside(&found, "no_price"), some(1, "5.2", "5.2", true));
    assert_eq!(found["beside"].as_array().map(Vec::len), Some(3));
}

#[test]
fn without_the_list_days_balance_by_the_minutes_around_midnight() {
    let month = Month::loaded();
    let zip = bill("100012345678-20241231-by_used_time-bill_details.zip");
    let found = month.reconcile(&[&zip], &["--as-of", AS_OF], 4);
    assert_eq!(found["seqs"], Value::Null);
    for (day, tag, expected) in [
        ("2024-12-03", WECHAT, ("unexplained", 1)),
        ("2024-12-04", WECHAT, ("unexplained", -1)),
        ("2024-12-07", WECHAT, ("midnight", -1)),
        ("2024-12-08", WECHAT, ("midnight", 1)),
    ] {
        let told: Vec<(String, i64)> = parts(&row_of(&found, day, tag));
        assert_eq!(told, [(expected.0.to_owned(), expected.1)], "{day} {tag}");
    }
}

#[test]
fn what_was_known_earlier_can_be_asked_again() {
    let month = Month::loaded();
    let csv = bill("detail.csv");
    // Noon of 11 December: bills up to the 10th are out, results pulled later are not known.
    let found = month.reconcile(&[&csv], &["--as-of", "2024-12-11T12:00:00+08:00"], 4);
    let later: Vec<String> = rows(&found)
        .iter()
        .filter(|row| row["period"].as_str() > Some("2024-12-10") && row["status"] != "pending")
        .map(|row| format!("{} {}", row["period"], row["status"]))
        .collect();
    assert_eq!(later, [""; 0], "nothing that came later counts");
    assert_eq!(row_of(&found, "2024-12-10", APP)["status"], "provider_more");
    assert_eq!(row_of(&found, "2024-12-10", H5)["status"], "matched");
    let again = month.reconcile(&[&csv], &["--as-of", "2024-12-11T12:00:00+08:00"], 4);
    assert_eq!(found["rows"], again["rows"]);
    // A delivery that was not out is not known.
    let zips = [
        bill("100012345678-20241216-by_used_time-bill_details.zip"),
        bill("100012345678-20241231-by_used_time-bill_details.zip"),
    ];
    let found =
        month.reconcile(&[&zips[0], &zips[1]], &["--as-of", "2024-12-17T00:00:00+08:00"], 4);
    assert_eq!(row_of(&found, "2024-12-15", APP)["status"], "matched");
    assert_eq!(row_of(&found, "2024-12-16", APP)["status"], "pending");
}

#[test]
fn the_tables_hold_what_was_printed_and_a_second_time_changes_nothing() {
    let month = Month::loaded();
    let zip = bill("100012345678-20241231-by_used_time-bill_details.zip");
    let found = month.reconcile(&[&zip, LIST], &["--as-of", AS_OF], 4);
    assert_eq!(commits(&found), [true, true, true]);
    let stored: Vec<Row> = Table::open(&month.out().join("reconciliation")).rows();
    assert_eq!(stored.len(), 97);
    for row in &stored {
        let kinds = [
            "midnight",
            "unknown_flag",
            "not_final",
            "duplicate",
            "reject",
            "flag_differs",
            "provider_only",
            "ours_only",
            "unexplained",
        ];
        let sum: i64 =
            kinds.iter().map(|kind| row[&format!("part_{kind}")].as_i64().expect("a count")).sum();
        assert_eq!(sum, row["difference"].as_i64().expect("a difference"));
        // Each charged attempt is either covered by a package or billed.
        let [deducted, billed, charged] = ["expected_deducted", "expected_billed", "ours_charged"]
            .map(|column| row[column].as_i64().expect("a count"));
        assert_eq!(deducted + billed, charged, "{row:?}");
    }
    // On the 20th a package of one bought that day covers one call of App (README of the sample).
    let app = |row: &&Row| {
        row["billing_tag_code"] == "enhanced_authority_app" && row["usage_date"] == "2024-12-20"
    };
    let app: Vec<&Row> = stored.iter().filter(app).collect();
    assert_eq!(
        (app.len(), &app[0]["expected_deducted"], &app[0]["expected_billed"]),
        (1, &json!(1), &json!(1))
    );
    assert_eq!(Table::open(&month.out().join("seq_difference")).rows().len(), 4);
    // 30 days of three lines, one each on days 13, 16, 17 and 22, two packages, one of rounding.
    let lines = Table::open(&month.out().join("bill_line")).rows();
    assert_eq!(lines.len(), 97);
    // 201.04999979 of usage (README), - 1.13333333 + 1450 + 1 - 0.08000021, in hundred-millionths.
    let sum: i128 = lines.iter().filter_map(|line| line["cost"].as_i64()).map(i128::from).sum();
    assert_eq!(sum, 20_104_999_979 - 113_333_333 + 145_100_000_000 - 8_000_021);

    let again = month.reconcile(&[&zip, LIST], &["--as-of", AS_OF], 4);
    assert_eq!(commits(&again), [false, false, false]);
    assert_eq!(found["rows"], again["rows"]);
    for report in ["html", "json", "csv", "ticket.txt"] {
        let path = month.out().join(format!("_reports/reconciliation-2024-12.{report}"));
        assert!(fs::metadata(&path).is_ok_and(|file| file.len() > 0), "{}", path.display());
    }
    // What a reconciliation wrote is no stray file to the other commands.
    let output = month.output();
    faceledger_in(root(), &["verify", "pipelines/demo.toml", "--set", &output], &[]).exits(0);
    faceledger_in(root(), &["run", "pipelines/demo.toml", "--set", &output], &[]).exits(0);
    assert_eq!(Table::open(&month.out().join("bill_line")).rows().len(), 97);
}

/// Sums by hand: 201.04999979 of usage - 1.13333333 + 1450 + 1 - 0.08000021; differences 10 (README: 9 - 3 + 2 - 1 + 3).
/// The 31st is not billed at 09:00 of the next day: 3 calls in WeChat at 1.2, 2 of App at 1.13333333 (cut to eight places as the
/// day's 2.26666666) and 1 of H5 at 0.3 are 6.16666666 yuan. 196.26666646 - 6.16666666 + 4.61666666 = 194.71666646.
#[test]
fn the_summary_says_how_its_sums_of_money_differ() {
    let month = Month::loaded();
    let (output, csv) = (month.output(), bill("detail.csv"));
    let words = [
        "reconcile",
        "pipelines/demo.toml",
        "--bill",
        &csv,
        "--as-of",
        "2025-01-01T09:00:00+08:00",
        "--set",
        &output,
    ];
    let said = faceledger_in(root(), &words, &[]).exits(4).stdout;
    assert!(said.contains("and asks 4.61666666 yuan more than expected"), "{said}");
    let money = "196.26666646 yuan expected (sample contract, 6.16666666 of it not billed yet), 194.71666646 yuan on the bill";
    assert!(said.contains(money), "{said}");
    // Of one sign, so that a bill that is right has the same number twice.
    let rounding = "rounding  -0.09333354 yuan expected (exact amounts minus those deducted in fen), -0.08000021 yuan in";
    assert!(said.contains(rounding), "{said}");
}

/// The fourth attempt of 3 December is free here and charged in the provider's list, so the bill counts one more; the
/// fifth of the 7th stands on the 8th there (sample-data/month/README.md).
#[test]
fn explain_leads_from_a_seq_to_the_lines_of_the_bill() {
    let month = Month::loaded();
    let output = month.output();
    let explain = |seq: &str, exit: i32| {
        let words = ["explain", "pipelines/demo.toml", seq, "--json", "--set", &output];
        faceledger_in(root(), &words, &[]).exits(exit)
    };
    let free = "20241203-0001-4000-8000-000000000004";
    assert_eq!(explain(free, 0).json()["bill"], Value::Null, "no reconciliation yet");
    let csv = bill("detail.csv");
    let early = ["--as-of", "2025-01-01T09:00:00+08:00"];
    month.reconcile(&[&csv, &bill("wechat-bill-details.ndjson")], &early, 4);
    let found = explain(free, 0).json();
    let row = &found["bill"]["reconciliation"];
    let told = |name: &str| row[name].as_str().unwrap_or("-").to_owned();
    assert_eq!(
        ["status", "ours_charged", "provider_calls", "difference"].map(told),
        ["provider_more", "3", "4", "1"]
    );
    // The line of that day and sub-product, found by reading the bill as lines of text (it is GB18030).
    let bytes = std::fs::read(root().join(&csv)).expect("the bill");
    let day = bytes.split(|b| *b == b'\n').enumerate().filter(|(_, line)| {
        let has = |text: &[u8]| line.windows(text.len()).any(|w| w == text);
        has(b"2024-12-03 00:00:00") && has(b"4.80000000")
    });
    let rows: Vec<String> = day.map(|(n, _)| (n + 1).to_string()).collect();
    assert_eq!(rows.len(), 1, "{rows:?}");
    let lines = found["bill"]["lines"].as_array().expect("lines");
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert_eq!(
        (&lines[0]["source_file"], &lines[0]["source_row"]),
        (&csv.into(), &rows[0].clone().into())
    );
    assert_eq!(found["bill"]["seq_difference"]["status"], "flag_differs");
    assert_eq!(found["bill"]["seq_difference"]["provider_charge"], "true");
    let moved = explain("20241207-0001-4000-8000-000000000005", 0).json();
    assert_eq!(moved["bill"]["seq_difference"]["provider_day"], "2024-12-08");
    let words = ["explain", "pipelines/demo.toml", "20241207-0001-4000-8000-000000000005"];
    let more = ["--set", &month.output()];
    let text = faceledger_in(root(), &[&words[..], &more].concat(), &[]).exits(0).stdout;
    let made_of = text.lines().find(|line| line.trim_start().starts_with("made of"));
    assert!(made_of.is_some_and(|line| line.ends_with(" midnight -1")), "{text}");
    // The bill of the 31st is not out: a row without a line.
    let pending = explain("20241231-0001-4000-8000-000000000001", 0).json();
    assert_eq!(pending["bill"]["reconciliation"]["status"], "pending");
    assert_eq!(pending["bill"]["lines"], Value::Array(Vec::new()));
}

#[test]
fn other_readers_read_the_tables() {
    let month = Month::loaded();
    let zip = bill("100012345678-20241231-by_used_time-bill_details.zip");
    month.reconcile(&[&zip, LIST], &["--as-of", AS_OF], 4);
    let script = root().join("tests/it/bill.py");
    let ran = Command::new(python()).arg(script).arg(month.out()).output().expect("Python starts");
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let made: Value = serde_json::from_slice(&ran.stdout).expect("JSON from bill.py");
    let expected = json!({
        "cost": "1650.83666625", "lines": 97, "months": ["2024-12"], "difference": 10, "midnight": 0, "rows": 97,
        "statuses": ["day_differs", "flag_differs", "ours_only", "provider_only"],
    });
    for reader in ["pyarrow", "duckdb", "polars", "delta"] {
        assert_eq!(made[reader], expected, "{reader}");
    }
}

#[test]
fn what_cannot_work_is_refused_before_anything_is_read_or_written() {
    let month = Month::loaded();
    let output = month.output();
    let csv = bill("detail.csv");
    let refused = |words: &[&str], told: &[&str]| {
        let mut all = vec!["reconcile", "pipelines/demo.toml", "--set", &output];
        all.extend(words);
        let ran = faceledger_in(root(), &all, &[]).exits(2);
        for part in told {
            assert!(ran.stderr.contains(part), "{words:?}: {}", ran.stderr);
        }
        ran
    };
    let schemes = "s3://, gs://, az:// or https://";
    for (name, told) in [
        ("none.csv", ["--bill none.csv", "check the path"]),
        ("nowhere/none.csv", ["--bill nowhere/none.csv", "check the path"]),
        ("nowhere/", ["--bill nowhere/", "check the path"]),
        ("file:///nowhere/none.zip", ["--bill file:///nowhere/none.zip", "check the path"]),
        ("http://127.0.0.1:9/bill.csv", ["http://127.0.0.1:9/bill.csv", "use https://"]),
        ("http://127.0.0.1:9/bills/", ["http://127.0.0.1:9/bills/", "use https://"]),
        ("ftp://me:secret@host/bill.csv", ["--bill ftp://host/bill.csv", schemes]),
        ("cos://bucket/bills/", ["--bill cos://bucket/bills/", schemes]),
        ("https://host/bill.zip?sign=secret", ["--bill https://host/bill.zip:", "download"]),
    ] {
        let ran = refused(&["--bill", name], &told);
        assert!(!ran.stderr.contains("secret"), "{}", ran.stderr);
    }
    // Files that could not be written are told before the bill is looked at.
    let path = |name: &str| month.folder.path().join(name).display().to_string();
    let (folder, lost, same) = (path(""), path("none/report.html"), path("same"));
    refused(&["--bill", "none.csv", "--html", &folder], &["--html", "is a folder"]);
    refused(&["--bill", "none.csv", "--csv", &lost], &["--csv", "none is not there"]);
    refused(&["--bill", &csv, "--csv", &same, "--html", &same], &["the same file"]);
    assert!(!Path::new(&same).exists());
    assert!(!month.out().join("reconciliation").exists() && !month.out().join("_reports").exists());

    // A dry run writes what was named and nothing in the output.
    let (page, differences) = (path("dry.html"), path("dry.csv"));
    fs::write(&differences, "an earlier one, which is longer than a line").expect("a file");
    let dry = ["--as-of", AS_OF, "--dry-run", "--html", &page, "--csv", &differences];
    let found = month.reconcile(&[&csv], &dry, 4);
    assert_eq!((&found["commits"], &found["reports"]), (&json!([]), &json!([])));
    assert_eq!(found["pipeline_file"], "pipelines/demo.toml");
    assert!(!month.out().join("reconciliation").exists() && !month.out().join("_reports").exists());
    // The same bytes as those of a run that is none.
    let (page, differences) = (fs::read(page).expect("HTML"), fs::read(differences).expect("CSV"));
    month.reconcile(&[&csv], &["--as-of", AS_OF], 4);
    let report =
        |end: &str| fs::read(month.out().join(format!("_reports/reconciliation-2024-12.{end}")));
    assert!(page == report("html").expect("HTML"), "the page");
    assert!(differences == report("csv").expect("CSV"), "the CSV");
}

#[test]
fn the_exit_status_says_whether_the_bill_is_right() {
    let month = Month::loaded();
    let csv = bill("detail.csv");
    let found = month.reconcile(&[&csv], &["--as-of", AS_OF, "--dry-run"], 4);
    assert_eq!(found["over_tolerance"], OVER);
    assert!(!month.out().join("bill_line").exists(), "a dry run writes nothing");
    let tolerant = [
        "--as-of",
        AS_OF,
        "--set",
        "reconcile.tolerance_calls=3",
        "--set",
        "reconcile.tolerance_amount=\"10\"",
    ];
    month.reconcile(&[&csv], &tolerant, 0);
    // A bill in which nothing is usage does not agree: it cannot be compared.
    let header = "支付者 UIN,产品名称,子产品名称,交易类型,扣费时间,开始使用时间,结束使用时间,组件类型,组件名称,组件原始用量,组件用量,优惠后总价";
    let line = "100012345678,人脸核身·云智慧眼,E证通（权威库）,Daily settlement,2024-12-02 09:00:00,2024-12-01 00:00:00,2024-12-01 23:59:59,x,x,1,1,1.5";
    let odd = month.folder.path().join("odd.csv");
    for (rows, told) in [("", "no line of FaceID usage"), (line, "Daily settlement")] {
        fs::write(&odd, format!("{header}\n{rows}\n")).expect("a bill");
        let path = odd.to_str().expect("UTF-8");
        let output = month.output();
        let words = ["reconcile", "pipelines/demo.toml", "--bill", path, "--set", &output];
        let ran = faceledger_in(root(), &words, &[]).exits(2);
        assert!(ran.stderr.contains(told), "{}", ran.stderr);
    }
    // What cannot be read at all is a mistake of who calls.
    let output = month.output();
    for (name, told) in
        [("sample-data/month/bill/none.csv", "none.csv"), ("Cargo.toml", "Cargo.toml")]
    {
        let words = ["reconcile", "pipelines/demo.toml", "--bill", name, "--set", &output];
        let ran = faceledger_in(root(), &words, &[]).exits(2);
        assert!(ran.stderr.contains(told), "{}", ran.stderr);
    }
}

/// What a bill needs to be read, and a line of it for one day of the sample month.
const HEADER: &str = "支付者 UIN,产品名称,子产品名称,交易类型,扣费时间,开始使用时间,结束使用时间,组件类型,组件原始用量,抵扣用量,组件用量,优惠后总价";
const UIN: &str = "100012345678";
const WECHAT_NAME: &str = "增强版人脸核身（权威库）-微信";
const H5_NAME: &str = "增强版人脸核身（自传照片）-浮层 H5";

fn line(account: &str, name: &str, kind: &str, days: [u32; 2], calls: &str, cost: &str) -> String {
    let [from, to] = days;
    format!(
        "{account},人脸核身·云智慧眼,{name},{kind},2024-12-{:02} 09:00:00,2024-12-{from:02} 00:00:00,2024-12-{to:02} 23:59:59,x,{calls},0,{calls},{cost}\n",
        (to + 1).min(31)
    )
}

impl Month {
    /// A bill of some lines, made for a test.
    fn bill(&self, header: &str, lines: &[String]) -> String {
        let path = self.folder.path().join("made.csv");
        fs::write(&path, format!("{header}\n{}", lines.concat())).expect("a bill");
        path.to_str().expect("UTF-8").to_owned()
    }

    /// As people see it.
    fn told(&self, pipeline: &str, bill: &str, exit: i32) -> String {
        let output = self.output();
        let words = ["reconcile", pipeline, "--bill", bill, "--as-of", AS_OF, "--set", &output];
        faceledger_in(root(), &words, &[]).exits(exit).stdout
    }
}

fn warnings(found: &Value) -> Vec<String> {
    let all = found["bill"]["warnings"].as_array().expect("warnings").iter();
    all.map(|warning| warning.as_str().expect("a text").to_owned()).collect()
}

#[track_caller]
fn warning(found: &Value, part: &str) -> String {
    let mut hits = warnings(found);
    hits.retain(|warning| warning.contains(part));
    assert_eq!(hits.len(), 1, "{part}: {:#?}", warnings(found));
    hits.remove(0)
}

/// What is beside the rows: lines, yuan, yuan without regard to sign, over tolerance.
fn beside(found: &Value, kind: &str) -> Option<(i64, Option<String>, Option<String>, bool)> {
    let told = found["beside"].as_array().expect("a list");
    let told = told.iter().find(|beside| beside["kind"] == kind)?;
    let text = |key: &str| told[key].as_str().map(str::to_owned);
    let lines = told["lines"].as_i64().expect("a count");
    let over = told["over_tolerance"].as_bool().expect("a flag");
    Some((lines, text("cost"), text("cost_gross"), over))
}

fn some(
    lines: i64,
    cost: &str,
    gross: &str,
    over: bool,
) -> Option<(i64, Option<String>, Option<String>, bool)> {
    Some((lines, Some(cost.to_owned()), Some(gross.to_owned()), over))
}

#[test]
fn transactions_that_are_not_known_are_told_and_the_line_told_makes_them_known() {
    let month = Month::loaded();
    // 2 December of the README: WeChat 3 calls at 1.2, H5 1 call at 0.3. The last is given back.
    let unknown = [
        line(UIN, WECHAT_NAME, "Daily settlement", [2, 2], "3", "3.6"),
        line(UIN, H5_NAME, "按量计费日结", [2, 2], "1", "0.3"),
        line(UIN, H5_NAME, "退款", [2, 2], "-1", "-0.3"),
    ];
    let bill = month.bill(HEADER, &unknown);
    let found = month.reconcile(&[&bill], &["--as-of", AS_OF], 4);
    assert_eq!(beside(&found, "unknown_kind"), some(2, "3.3", "3.9", true));
    assert_eq!(row_of(&found, "2024-12-02", WECHAT)["provider_calls"], Value::Null);
    assert_eq!(row_of(&found, "2024-12-02", H5)["provider_calls"], 1);
    // What is known to be neither is told otherwise: it may be set aside.
    let guarantee = line(UIN, "-", "保底扣款", [2, 2], "-", "100");
    let with = [line(UIN, H5_NAME, "按量计费日结", [2, 2], "1", "0.3"), guarantee];
    let found_other = month.reconcile(&[&month.bill(HEADER, &with)], &["--as-of", AS_OF], 4);
    assert!(warning(&found_other, "neither usage").contains(r#""保底扣款" = "other" (or usage,"#));
    assert_eq!(beside(&found_other, "unknown_kind"), some(1, "100", "100", true));
    let bill = month.bill(HEADER, &unknown);
    let text = month.told("pipelines/demo.toml", &bill, 4);
    let told = "Besides: 2 lines of unknown kind, +3.3 yuan (3.9 without regard to sign).";
    assert!(text.contains(told), "{text}");

    let lines = [
        (warning(&found, "Daily settlement"), r#""Daily settlement" = "usage""#),
        (warning(&found, "退款"), r#""退款" = "refund""#),
    ];
    let mut toml = fs::read_to_string(root().join("pipelines/demo.toml")).expect("the pipeline");
    toml.push_str("\n[reconcile.transaction_types]\n");
    for (told, line) in lines {
        assert!(
            told.contains(&format!(
                "[reconcile.transaction_types] in the pipeline file: {line} (or "
            )),
            "{told}"
        );
        toml.push_str(&format!("{line}\n"));
    }
    let path = month.folder.path().join("own.toml");
    fs::write(&path, toml).expect("a pipeline");
    let own = path.to_str().expect("UTF-8");
    let output = month.output();
    let words = ["reconcile", own, "--json", "--bill", &bill, "--as-of", AS_OF, "--set", &output];
    let found = faceledger_in(root(), &words, &[]).exits(4).json();
    assert_eq!(beside(&found, "unknown_kind"), None);
    assert!(!warnings(&found).iter().any(|warning| warning.contains("not known")));
    let wechat = row_of(&found, "2024-12-02", WECHAT);
    assert_eq!((&wechat["provider_calls"], &wechat["status"]), (&json!(3), &json!("matched")));
    let h5 = row_of(&found, "2024-12-02", H5);
    assert_eq!((&h5["provider_calls"], &h5["provider_cost"]), (&json!(0), &json!("0")));
    assert_eq!(h5["status"], "adjusted");
}

#[test]
fn money_of_unknown_kind_is_no_agreement() {
    let month = Month::loaded();
    // All that differs is made tolerable: what is left over is a refund that nobody knows.
    let bill = month.bill(
        HEADER,
        &[
            line(UIN, H5_NAME, "按量计费日结", [2, 2], "1", "0.3"),
            line(UIN, H5_NAME, "资源退费", [2, 2], "-", "-50"),
        ],
    );
    let tolerance = |amount: &str| format!("reconcile.tolerance_amount=\"{amount}\"");
    for (amount, exit) in [("49.99999999", 4), ("50", 0)] {
        let amount = tolerance(amount);
        let more = ["--as-of", AS_OF, "--set", "reconcile.tolerance_calls=100", "--set", &amount];
        let found = month.reconcile(&[&bill], &more, exit);
        assert_eq!(found["over_tolerance"], 0);
        assert_eq!(beside(&found, "unknown_kind"), some(1, "-50", "50", exit == 4));
    }
}

#[test]
fn days_merged_by_month_are_refused_where_the_account_settles_daily() {
    let month = Month::loaded();
    let day = line(UIN, H5_NAME, "按量计费日结", [2, 2], "1", "0.3");
    let merged = line(UIN, WECHAT_NAME, "按量计费日结", [1, 31], "93", "111.6");
    let bill = month.bill(HEADER, &[day.clone(), merged.clone()]);
    let output = month.output();
    let words = ["reconcile", "pipelines/demo.toml", "--bill", &bill, "--set", &output];
    let ran = faceledger_in(root(), &words, &[]).exits(2);
    for part in ["made.csv", "row 3", "按月聚合", "明细账单", "2024-12-01 to 2024-12-31"] {
        assert!(ran.stderr.contains(part), "{}", ran.stderr);
    }
    // Two days are no day either; a day that ends at the next midnight is one.
    let two = line(UIN, WECHAT_NAME, "按量计费日结", [1, 2], "6", "7.2");
    let bill = month.bill(HEADER, &[day.clone(), two]);
    let words = ["reconcile", "pipelines/demo.toml", "--bill", &bill, "--set", &output];
    let ran = faceledger_in(root(), &words, &[]).exits(2);
    assert!(ran.stderr.contains("2024-12-01 to 2024-12-02"), "{}", ran.stderr);
    let midnight = day.replace("2024-12-02 23:59:59", "2024-12-03 00:00:00");
    assert_ne!(midnight, day);
    let bill = month.bill(HEADER, &[midnight]);
    let found = month.reconcile(&[&bill], &["--as-of", AS_OF, "--dry-run"], 4);
    assert_eq!(row_of(&found, "2024-12-02", H5)["difference"], 0);
    // A month's own transaction, and the lines of an account that settles monthly.
    let monthly = merged.replace("日结", "月结");
    let bill = month.bill(HEADER, &[day.clone(), monthly]);
    month.reconcile(&[&bill], &["--as-of", AS_OF], 4);
    let bill = month.bill(HEADER, &[day, merged]);
    let opened = "account.opened_at=2022-05-01T00:00:00+08:00";
    // On 1 January the month's bill is not out: nothing differs as yet.
    let found = month.reconcile(&[&bill], &["--as-of", AS_OF, "--dry-run", "--set", opened], 0);
    assert_eq!(row_of(&found, "2024-12", WECHAT)["provider_calls"], 93);
}

/// The same line twice counts twice, and is told; of 3 charged WeChat attempts on the 1st the bill has 6 then.
#[test]
fn lines_that_say_the_same_are_told() {
    let month = Month::loaded();
    let wechat = line(UIN, WECHAT_NAME, "按量计费日结", [1, 1], "3", "3.6");
    let h5 = line(UIN, H5_NAME, "按量计费日结", [1, 1], "1", "0.3");
    let bill = month.bill(HEADER, &[wechat.clone(), h5, wechat]);
    let found = month.reconcile(&[&bill], &["--as-of", AS_OF, "--dry-run"], 4);
    assert_eq!(row_of(&found, "2024-12-01", WECHAT)["difference"], 3);
    let told = warning(&found, "say the same as another");
    assert!(told.starts_with("1 of the lines") && told.contains("rows 2 and 4)"), "{told}");
}

/// Two pages of 98 bill lines: together they are all, one of them is not (49 each by the README's own make.py).
#[test]
fn pages_are_missing_only_where_all_that_are_given_do_not_reach_the_total() {
    let month = Month::loaded();
    let pages = [bill("describe-bill-detail-1.json"), bill("describe-bill-detail-2.json")];
    let both = month.reconcile(&[&pages[0], &pages[1]], &["--as-of", AS_OF, "--dry-run"], 4);
    assert!(!warnings(&both).iter().any(|w| w.contains("Total says")), "{both}");
    // The same page under another name is no second one.
    let copy = month.folder.path().join("copy.json");
    fs::copy(root().join(&pages[0]), &copy).expect("a copy");
    let copy = copy.to_str().expect("UTF-8");
    let twice = month.reconcile(&[&pages[0], copy], &["--as-of", AS_OF, "--dry-run"], 4);
    assert_eq!(beside(&twice, "pages_missing"), Some((49, None, None, true)));
    let one = month.reconcile(&[&pages[0]], &["--as-of", AS_OF, "--dry-run"], 4);
    warning(&one, "Total says 98 bill lines, this file holds 49");
}

#[test]
fn tags_without_a_price_are_left_out_of_the_money_and_told() {
    let month = Month::loaded();
    let bill = month.bill(
        HEADER,
        &[
            line(UIN, H5_NAME, "按量计费日结", [2, 2], "1", "0.3"),
            line(UIN, "基础版人脸核身（权威库）", "按量计费日结", [13, 13], "2", "2"),
        ],
    );
    let book = |tag: &str| {
        let path = month.folder.path().join(format!("{tag}.toml"));
        let price = format!(
            "[[price]]\naccount_class = \"daily\"\ntag = \"{tag}\"\nfrom = 2023-01-04\nunit = \"0.3\"\n"
        );
        fs::write(&path, format!("name = \"own\"\ncurrency = \"CNY\"\n{price}")).expect("a book");
        format!("reconcile.prices={}", path.display())
    };
    let prices = book(H5);
    let found = month.reconcile(&[&bill], &["--as-of", AS_OF, "--set", &prices], 4);
    // 31 of H5 at 0.3; the rest has no price: neither the 2 yuan of the bill nor our own calls of WeChat 96, App 63 - 1
    // (package), E证通 1, unmapped 1 are held against anything. 意愿核身 is all covered.
    let money = &found["money"];
    assert_eq!((&money["expected_cost"], &money["bill_cost"]), (&json!("9.3"), &json!("0.3")));
    assert_eq!(money["bill_cost_unpriced"], "2");
    assert_eq!(money["unpriced_tags"].as_array().map(Vec::len), Some(5));
    let told = warning(&found, "no price for");
    assert!(
        told.contains("基础版人脸核身（权威库）")
            && told.contains("on 31 periods (2024-12-01 to 2024-12-31)")
            && told.contains("2 yuan of the bill"),
        "{told}"
    );
    assert_eq!(row_of(&found, "2024-12-13", "basic_authority")["expected_cost"], Value::Null);

    // With no price at all there is no amount to speak of.
    let prices = book("nfc_read");
    let output = month.output();
    let words =
        ["reconcile", "pipelines/demo.toml", "--bill", &bill, "--as-of", AS_OF, "--set", &output];
    let text =
        faceledger_in(root(), &[&words[..], &["--set", &prices]].concat(), &[]).exits(4).stdout;
    let headline = text.lines().find(|line| line.starts_with("THE BILL")).expect("a headline");
    assert!(
        !headline.contains("asks")
            && headline.contains("Besides: what has no price in the price book, +2.3 yuan"),
        "{headline}"
    );
    assert!(!text.contains("yuan expected ("), "{text}");
}

#[test]
fn amounts_in_another_currency_are_not_compared() {
    let month = Month::loaded();
    let day = || [line(UIN, H5_NAME, "按量计费日结", [2, 2], "1", "0.3")];
    let dollars = month.bill(&HEADER.replace("优惠后总价", "优惠后总价(USD)"), &day());
    let found = month.reconcile(&[&dollars], &["--as-of", AS_OF], 4);
    assert!(warning(&found, "in USD, not in yuan").starts_with("1 of 1 line in USD"));
    let h5 = row_of(&found, "2024-12-02", H5);
    assert_eq!((&h5["provider_calls"], &h5["provider_cost"]), (&json!(1), &Value::Null));
    assert_eq!(h5["expected_cost"], Value::Null);
    assert_eq!(beside(&found, "currency"), Some((1, None, None, true)));

    // One line in dollars takes the amount of its own row out, and of no other: H5 1 call at 0.3, asked for 5.
    let mixed = month.bill(
        &format!("{HEADER},币种"),
        &[
            format!("{},CNY\n", line(UIN, H5_NAME, "按量计费日结", [2, 2], "1", "5").trim_end()),
            format!(
                "{},USD\n",
                line(UIN, WECHAT_NAME, "按量计费日结", [2, 2], "3", "3.6").trim_end()
            ),
        ],
    );
    let found = month.reconcile(&[&mixed], &["--as-of", AS_OF], 4);
    let h5 = row_of(&found, "2024-12-02", H5);
    assert_eq!((&h5["expected_cost"], &h5["provider_cost"]), (&json!("0.3"), &json!("5")));
    let wechat = row_of(&found, "2024-12-02", WECHAT);
    assert_eq!((&wechat["status"], &wechat["provider_cost"]), (&json!("matched"), &Value::Null));
    assert_eq!(found["money"]["bill_cost"], "5");
    assert_eq!(beside(&found, "currency"), Some((1, None, None, true)));

    let path = month.folder.path().join("usd.toml");
    let book = fs::read_to_string(root().join("pipelines/prices/demo.toml")).expect("the book");
    fs::write(&path, book.replace("\"CNY\"", "\"USD\"")).expect("a book");
    let prices = format!("reconcile.prices={}", path.display());
    let bill = month.bill(HEADER, &day());
    let found = month.reconcile(&[&bill], &["--as-of", AS_OF, "--set", &prices], 4);
    warning(&found, "the price book sample contract is in USD");
    assert_eq!(beside(&found, "price_book_currency"), Some((0, None, None, true)));
    assert_eq!(found["money"], Value::Null);
    assert_eq!(row_of(&found, "2024-12-02", H5)["provider_cost"], "0.3");
}

#[test]
fn lines_of_other_payers_are_told_and_cost_us_nothing() {
    let month = Month::loaded();
    let bill = month.bill(
        HEADER,
        &[
            line(UIN, H5_NAME, "按量计费日结", [2, 2], "1", "0.3"),
            line("100099999999", H5_NAME, "按量计费日结", [2, 2], "100", "30"),
            line("100099999999", H5_NAME, "月度计费精度差异", [2, 2], "-", "-7"),
        ],
    );
    let found = month.reconcile(&[&bill], &["--as-of", AS_OF], 4);
    assert!(warning(&found, "of other payers").starts_with("2 lines of other payers"));
    let money = &found["money"];
    assert_eq!((&money["bill_cost"], &money["bill_rounding"]), (&json!("0.3"), &json!("0")));
    let theirs = rows(&found).into_iter().find(|row| row["account"] == "100099999999");
    assert_eq!(theirs.expect("a row of its own")["expected_cost"], Value::Null);
}

/// The 21st of the sample month alone, whose bill is right: 3 calls of WeChat, 2 of App of which the package of one
/// bought on the 20th covers one, 1 of H5.
struct Right {
    month: Month,
}

const RIGHT_HEADER: &str = "支付者 UIN,产品名称,子产品名称,交易类型,实例类型,扣费时间,开始使用时间,结束使用时间,组件类型,\
                            组件原始用量,抵扣用量,组件用量,组件用量单位,优惠后总价,币种";
const PRODUCT: &str = "人脸核身·云智慧眼";

/// Product, sub-product, transaction, instance type, usage (before packages, deducted, billed, unit), cost, currency.
fn right_line(what: [&str; 4], usage: [&str; 4], cost: &str, currency: &str) -> String {
    let ([product, name, kind, instance], [total, deducted, billed, unit]) = (what, usage);
    format!(
        "{UIN},{product},{name},{kind},{instance},2024-12-22 09:00:00,2024-12-21 00:00:00,2024-12-21 23:59:59,x,\
         {total},{deducted},{billed},{unit},{cost},{currency}"
    )
}

fn right_lines() -> Vec<String> {
    let app = "增强版人脸核身（权威库）-App";
    let usage =
        |name, usage, cost| right_line([PRODUCT, name, "按量计费日结", "-"], usage, cost, "CNY");
    vec![
        usage(WECHAT_NAME, ["3", "0", "3", "次"], "3.6"),
        usage(app, ["2", "1", "1", "次"], "1.13333333"),
        usage(H5_NAME, ["1", "0", "1", "次"], "0.3"),
    ]
}

impl Right {
    fn loaded() -> Right {
        let right = Right { month: Month { folder: tempfile::tempdir().expect("a folder") } };
        let results = right.results();
        fs::create_dir(&results).expect("a folder");
        let day = "dt=2024-12-21.ndjson";
        fs::copy(root().join("sample-data/month/results").join(day), results.join(day))
            .expect("a day");
        right.load();
        right
    }

    fn results(&self) -> PathBuf {
        self.month.folder.path().join("results")
    }

    /// Loads what is new among its results.
    fn load(&self) {
        let output = self.month.output();
        let source = format!("source.url={}", self.results().display());
        let words = ["run", "pipelines/demo.toml", "--set", &output, "--set", &source];
        faceledger_in(root(), &words, &[]).exits(0);
    }

    fn file(&self, name: &str, lines: &[String]) -> String {
        self.file_with(name, "", lines)
    }

    /// With columns behind those of all bills: `,订单 ID`.
    fn file_with(&self, name: &str, columns: &str, lines: &[String]) -> String {
        let path = self.month.folder.path().join(name);
        let text = format!("{RIGHT_HEADER}{columns}\n{}\n", lines.join("\n"));
        fs::write(&path, text).expect("a bill");
        path.to_str().expect("UTF-8").to_owned()
    }

    /// The headline, and what `--json` says.
    #[track_caller]
    fn says(&self, lines: &[String], more: &[&str], exit: i32) -> (String, Value) {
        let bill = self.file("bill.csv", lines);
        let more = [&["--as-of", AS_OF, "--dry-run"], more].concat();
        let found = self.month.reconcile(&[&bill], &more, exit);
        let output = self.month.output();
        let words = ["reconcile", "pipelines/demo.toml", "--bill", &bill, "--set", &output];
        let text = faceledger_in(root(), &[&words[..], &more].concat(), &[]).exits(exit).stdout;
        let headline = text.lines().nth(2).expect("a headline").to_owned();
        (headline, found)
    }
}

/// What no billing tag is known of is named as the bill names it, with the line to add.
#[test]
fn sub_products_without_a_billing_tag_are_named() {
    let right = Right::loaded();
    let new = "新产品（权威库）";
    let mut lines = right_lines();
    for calls in ["4", "3"] {
        let usage = [calls, "0", calls, "次"];
        lines.push(right_line([PRODUCT, new, "按量计费日结", "-"], usage, "1", "CNY"));
    }
    let (_, found) = right.says(&lines, &[], 4);
    let told = warnings(&found).join("\n");
    let due = "2 lines of usage (7 calls) of 新产品（权威库）, of which no billing tag is known";
    assert!(told.contains(due) && told.contains(&format!("\"{new}\" = \"…\"")), "{told}");
}

/// One bill in two files that name another project in every line: both count, as two projects would, and it is told.
#[test]
fn files_of_the_same_usage_that_agree_in_no_line_are_told() {
    let right = Right::loaded();
    let of_project = |project: &str| -> Vec<String> {
        right_lines().iter().map(|line| format!("{line},{project}")).collect()
    };
    let one = right.file_with("one.csv", ",项目名称", &of_project("甲"));
    let other = right.file_with("other.csv", ",项目名称", &of_project("乙"));
    let found = right.month.reconcile(&[&one, &other], &["--as-of", AS_OF, "--dry-run"], 4);
    assert_eq!(found["bill"]["lines"], 6);
    assert!(warnings(&found).join("\n").contains("should say the same"), "{found:#}");
    // Another quantity: two projects.
    let mut lines = of_project("乙");
    lines[0] = lines[0].replace(",3,0,3,", ",4,0,4,");
    let other = right.file_with("other.csv", ",项目名称", &lines);
    let found = right.month.reconcile(&[&one, &other], &["--as-of", AS_OF, "--dry-run"], 4);
    assert!(!warnings(&found).join("\n").contains("should say the same"), "{found:#}");
}

#[test]
fn a_list_alone_is_no_bill() {
    let right = Right::loaded();
    let output = right.month.output();
    let words = ["reconcile", "pipelines/demo.toml", "--bill", LIST, "--set", &output];
    let refused = faceledger_in(root(), &words, &[]).exits(2);
    assert!(refused.stderr.contains("the provider's list"), "{}", refused.stderr);
}

/// Reports are never written over what is read, nor among it.
#[test]
fn reports_are_not_written_over_what_is_read() {
    let right = Right::loaded();
    let bill = right.file("bill.csv", &right_lines());
    let before = fs::read(&bill).expect("the bill");
    let output = right.month.output();
    let source = format!("source.url={}", right.results().display());
    let among = right.results().join("dt=2024-12-22.ndjson");
    let folder = right.month.folder.path().to_str().expect("UTF-8");
    for (flag, path) in [
        ("--csv", bill.clone()),
        ("--html", format!("{folder}/results/../bill.csv")),
        ("--html", among.display().to_string()),
    ] {
        let words = ["reconcile", "pipelines/demo.toml", "--bill", &bill, "--set", &output];
        let more = ["--set", &source, "--dry-run", flag, &path];
        let refused = faceledger_in(root(), &[&words[..], &more].concat(), &[]).exits(2).stderr;
        assert!(refused.contains(flag) && refused.contains("is read by this command"), "{refused}");
    }
    assert_eq!(fs::read(&bill).expect("the bill"), before);
    assert!(!among.exists());
    // Nor among the tables.
    let path = right.month.folder.path().join("out/liveness_detail/x.csv").display().to_string();
    let words = ["reconcile", "pipelines/demo.toml", "--bill", &bill, "--set", &output];
    let refused = faceledger_in(root(), &[&words[..], &["--csv", &path]].concat(), &[]).exits(2);
    assert!(refused.stderr.contains("among the tables"), "{}", refused.stderr);
}

/// Whoever has given the provider's list is not asked for it: it contradicts the bill.
#[test]
fn a_list_that_was_given_is_not_asked_for() {
    let right = Right::loaded();
    let mut lines = right_lines();
    lines[0] = lines[0].replace(",3,0,3,", ",4,0,4,").replace(",3.6,", ",4.8,");
    let bill = right.file("bill.csv", &lines);
    let (ask, send) =
        ("Ask the provider for its list per Seq", "the provider's own list of these days");
    let output = right.month.output();
    let words =
        ["reconcile", "pipelines/demo.toml", "--as-of", AS_OF, "--bill", &bill, "--set", &output];
    let alone = faceledger_in(root(), &words, &[]).exits(4).stdout;
    assert!(alone.contains(ask) && !alone.contains(send), "{alone}");
    let with_list =
        faceledger_in(root(), &[&words[..], &["--bill", LIST]].concat(), &[]).exits(4).stdout;
    assert!(!with_list.contains(ask) && with_list.contains(send), "{with_list}");
}

#[test]
fn a_bill_is_right_only_where_all_of_it_was_compared() {
    let right = Right::loaded();
    let clean = right_lines();
    let (headline, found) = right.says(&clean, &[], 0);
    assert_eq!(headline, "THE BILL IS RIGHT: all of 3 rows agree in calls and money.");
    assert_eq!(found["beside"], json!([]));
    // Without a price book it is right as far as calls go, and says so.
    let toml = fs::read_to_string(root().join("pipelines/demo.toml")).expect("the pipeline");
    let own = right.month.folder.path().join("own.toml");
    fs::write(&own, toml.replace("prices = ", "# prices = ")).expect("a pipeline");
    let bill = right.file("bill.csv", &clean);
    let own = own.to_str().expect("UTF-8");
    let text = right.month.told(own, &bill, 0);
    let calls = "THE BILL IS RIGHT: all of 3 rows agree in their calls; money was not compared.";
    assert!(text.contains(calls), "{text}");

    let none = ["-", "-", "-", "-"];
    // Nor is a change of which only its amount could be compared a difference.
    let change = [PRODUCT, "增强版人脸核身（权威库）-App", "调账扣费", "-"];
    let changed = [clean.clone(), vec![right_line(change, none, "1", "CNY")]].concat();
    let text = right.month.told(own, &right.file("bill.csv", &changed), 0);
    let same = "THE BILL WAS CHANGED in 1 row: it counts as many calls as our records; money was not compared.";
    assert!(text.contains(same), "{text}");
    let no_calls = ["0", "0", "0", "次"];
    let day = |name| [PRODUCT, name, "按量计费日结", "-"];
    let added: [(&str, Vec<String>); 12] = [
        ("rejected", vec![right_line(day(H5_NAME), ["1", "0", "1", "次"], "?", "CNY")]),
        // Of no product by name, it may be ours.
        ("rejected", vec![right_line(["-", H5_NAME, "按量计费日结", "-"], no_calls, "500", "CNY")]),
        (
            "product_like_ours",
            vec![right_line(
                ["人脸核身新版", H5_NAME, "按量计费日结", "-"],
                no_calls,
                "500",
                "CNY",
            )],
        ),
        // Calls for nothing may be ours, too.
        (
            "product_like_ours",
            vec![right_line(
                ["人脸核身新版", H5_NAME, "按量计费日结", "-"],
                ["5", "0", "5", "次"],
                "0",
                "CNY",
            )],
        ),
        (
            "unknown_kind",
            vec![
                right_line([PRODUCT, H5_NAME, "某种扣费", "-"], none, "500", "CNY"),
                right_line([PRODUCT, H5_NAME, "某种扣费", "-"], none, "-500", "CNY"),
            ],
        ),
        (
            "unknown_kind",
            vec![right_line(
                [PRODUCT, H5_NAME, "某种扣费", "-"],
                ["50", "0", "50", "次"],
                "0",
                "CNY",
            )],
        ),
        (
            "rounding_too_large",
            vec![right_line([PRODUCT, "-", "月度计费精度差异", "-"], none, "500", "CNY")],
        ),
        (
            "package_not_named",
            vec![right_line([PRODUCT, H5_NAME, "包年包月新购", "资源包"], none, "280", "CNY")],
        ),
        ("no_price", vec![right_line(day("新的子产品"), no_calls, "500", "CNY")]),
        (
            "no_day",
            vec![
                right_line(day(H5_NAME), ["5", "0", "5", "次"], "1.5", "CNY")
                    .replace("2024-12-21 00:00:00,2024-12-21 23:59:59", "-,-"),
            ],
        ),
        (
            "other_payer",
            vec![right_line(day(H5_NAME), no_calls, "500", "CNY").replace(UIN, "100099999999")],
        ),
        ("currency", vec![right_line(day(H5_NAME), no_calls, "0.01", "USD")]),
    ];
    for (kind, more) in added {
        let (headline, found) = right.says(&[clean.clone(), more].concat(), &[], 4);
        assert!(beside(&found, kind).is_some_and(|told| told.3), "{kind}: {}", found["beside"]);
        assert!(!headline.contains("IS RIGHT") && headline.contains("Besides: "), "{headline}");
    }
    // Rounding of the one line that costs no whole number of fen (1.13333333) makes up to a fen, whatever other lines there
    // are: of ours without an amount, of other products.
    let rounding = |cost| right_line([PRODUCT, "-", "月度计费精度差异", "-"], none, cost, "CNY");
    right.says(&[clean.clone(), vec![rounding("0.01")]].concat(), &[], 0);
    let mut padded = [clean.clone(), vec![rounding("0.02")]].concat();
    padded.extend(
        (0..9)
            .map(|_| right_line(["对象存储 COS", "x", "按量计费日结", "-"], none, "1.005", "CNY")),
    );
    padded.extend((0..9).map(|_| right_line(day(H5_NAME), no_calls, "0", "CNY")));
    let (headline, found) = right.says(&padded, &[], 4);
    assert_eq!(beside(&found, "rounding_too_large"), some(1, "0.02", "0.02", true), "{headline}");

    // What a bill says neither moves the cursor of a terminal nor begins a line of its own.
    let hostile = "\"\u{1b}[2J\r\nTHE BILL IS RIGHT\u{9b}8m\"";
    let lines =
        [clean.clone(), vec![right_line(day(hostile), ["1", "0", "1", "次"], "1", "CNY")]].concat();
    let text = right.month.told("pipelines/demo.toml", &right.file("bill.csv", &lines), 4);
    assert!(text.contains("?[2J??THE BILL IS RIGHT?8m"), "{text}");
    let raw = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
    assert!(!text.contains(raw) && !text.lines().any(|line| line.starts_with("THE BILL IS RIGHT")));

    // What the lines themselves say: 2 - 0 is not 1; 3 times ten thousand calls.
    let mut uneven = clean.clone();
    uneven[1] = uneven[1].replace(",2,1,1,", ",2,0,1,");
    let (headline, found) = right.says(&uneven, &[], 4);
    assert!(beside(&found, "measures_disagree").is_some(), "{headline}");
    assert!(headline.starts_with("THE BILL IS NOT SHOWN TO BE RIGHT"), "{headline}");
    let mut many = clean.clone();
    many[0] = many[0].replace(",次,", ",万次,");
    let (_, found) = right.says(&many, &[], 4);
    assert_eq!(row_of(&found, "2024-12-21", WECHAT)["difference"], 29_997);
}

/// What a line does not say, or says twice in two ways, is no agreement: each of these on a day whose bill is right otherwise.
#[test]
fn what_a_line_does_not_say_is_no_agreement() {
    let right = Right::loaded();
    let none = ["-", "-", "-", "-"];
    let no_calls = ["0", "0", "0", "次"];
    let half = ["0.5", "0", "0.5", "次"];
    let app = "增强版人脸核身（权威库）-App";
    let of = |name, kind, instance| [PRODUCT, name, kind, instance];
    let yuan = |what, usage, cost| right_line(what, usage, cost, "CNY");
    let no_day = |line: String| line.replace("2024-12-21 00:00:00,2024-12-21 23:59:59", "-,-");
    let not_said = Some((1, None, None, true));
    for (kind, told, line) in [
        ("rejected", not_said.clone(), yuan(of(app, "调账扣费", "-"), none, "-")),
        ("rejected", not_said.clone(), yuan(of(app, "按量计费冲正", "-"), no_calls, "-")),
        ("unknown_kind", not_said.clone(), yuan(of(app, "某种扣费", "-"), none, "-")),
        ("rounding_too_large", not_said.clone(), yuan(of("-", "月度计费精度差异", "-"), none, "-")),
        ("package_not_named", not_said.clone(), yuan(of(app, "包年包月新购", "资源包"), none, "-")),
        ("product_like_ours", not_said, yuan(["慧眼", app, "按量计费日结", "-"], none, "-")),
        // Half a call for nothing.
        ("unknown_kind", some(1, "0", "0", true), yuan(of(app, "某种扣费", "-"), half, "0")),
        ("no_day", some(1, "0", "0", true), no_day(yuan(of(app, "按量计费日结", "-"), half, "0"))),
        // A sub-product, and a component (`x` is that of the others), with a billing tag, of products that do not look like ours.
        (
            "product_like_ours",
            some(1, "500", "500", true),
            yuan(["身份核验", "银行卡信息核验", "按量计费日结", "-"], ["5", "0", "5", "次"], "500"),
        ),
        (
            "product_like_ours",
            some(1, "500", "500", true),
            yuan(["身份核验", "某", "按量计费日结", "-"], none, "500")
                .replace(",x,", ",银行卡信息核验,"),
        ),
    ] {
        let (headline, found) = right.says(&[right_lines(), vec![line.clone()]].concat(), &[], 4);
        assert_eq!(beside(&found, kind), told, "{line}");
        assert!(!headline.contains("IS RIGHT"), "{headline}");
    }

    // Payments: vouchers, gifts, shares, cash. A silent one is nothing; of silent cash as much as is left was paid.
    let paid = |line: &str, payments: &str| format!("{line},{payments}");
    let columns = ",优惠券支出,赠送账户支出,分成金账户支出,现金账户支出";
    let lines = right_lines();
    let silent = yuan(of(H5_NAME, "按量计费日结", "-"), no_calls, "-");
    for (payments, also, exit) in [
        ("-,-,-,0.3", "-,-,-,-", 0),
        ("-,-,-,-", "0,-,-,0", 0),
        ("0.1,-,-,-", "-,-,-,-", 0),
        ("500,-,-,-", "-,-,-,-", 4),
        ("-,-,-,0.3", "-,-,-,500", 4),
        ("-,-,-,0.3", "500,-,-,-", 4),
        // To be paid later.
        ("0,0,0,0", "-,-,-,-", 0),
    ] {
        let bill = [
            paid(&lines[0], "-,-,-,3.6"),
            paid(&lines[1], "-,-,-,1.13"),
            paid(&lines[2], payments),
            paid(&silent, also),
        ];
        let bill = right.file_with("paid.csv", columns, &bill);
        let found = right.month.reconcile(&[&bill], &["--as-of", AS_OF, "--dry-run"], exit);
        let differ = (exit == 4).then_some(1);
        let told = beside(&found, "payments_disagree").map(|told| told.0);
        assert_eq!(told, differ, "{payments} {also}");
    }

    // Of a file that lacks some of them, as much as is left was paid otherwise; never more than all.
    for (cash, exit) in [("0.3", 0), ("0.1", 0), ("99", 4)] {
        let cash = ["3.6", "1.13", cash];
        let bill: Vec<String> =
            lines.iter().zip(cash).map(|(line, cash)| format!("{line},{cash}")).collect();
        let bill = right.file_with("cash.csv", ",现金账户支出", &bill);
        right.month.reconcile(&[&bill], &["--as-of", AS_OF, "--dry-run"], exit);
    }

    // A unit that nobody knows is the pipeline's to name.
    let mut sheets = right_lines();
    sheets[2] = sheets[2].replace(",次,", ",张,");
    let (_, found) = right.says(&sheets, &[], 4);
    assert_eq!(beside(&found, "unknown_unit"), Some((1, None, None, true)));
    warning(&found, "below [reconcile.usage_units] in the pipeline file: \"张\" = 1");
    let (_, found) = right.says(&sheets, &["--set", "reconcile.usage_units.张=1"], 0);
    assert_eq!(beside(&found, "unknown_unit"), None);
    let (_, found) = right.says(&sheets, &["--set", "reconcile.usage_units.张=2"], 4);
    assert_eq!(row_of(&found, "2024-12-21", H5)["difference"], 1);

    // Tags whose results are elsewhere are the pipeline's to name, too.
    let id_card =
        right_line(of("身份信息核验", "按量计费日结", "-"), ["5", "0", "5", "次"], "2.5", "CNY");
    let with_id_card = [right_lines(), vec![id_card]].concat();
    let (_, found) = right.says(&with_id_card, &[], 4);
    warning(&found, "reconcile.not_held = [\"id_card_check\"]");
    let set = ["--set", "reconcile.not_held=[\"id_card_check\"]"];
    let (headline, found) = right.says(&with_id_card, &set, 0);
    assert_eq!(beside(&found, "not_held"), some(1, "2.5", "2.5", false));
    assert!(headline.starts_with("THE BILL IS RIGHT"), "{headline}");

    // A transaction by its code is not that by its name; a line is of one product.
    for (columns, more) in [
        (",交易类型编码", ["postpay_deduct_d", "postpay_deduct_d", "recon_deduct"]),
        (",RealCost", ["3.6", "1.13333333", "500"]),
        (",Currency", ["CNY", "CNY", "USD"]),
    ] {
        let bill: Vec<String> =
            { lines.iter().zip(more) }.map(|(line, more)| format!("{line},{more}")).collect();
        let bill = right.file_with("twice.csv", columns, &bill);
        let found = right.month.reconcile(&[&bill], &["--as-of", AS_OF, "--dry-run"], 4);
        assert_eq!(beside(&found, "rejected"), Some((1, None, None, true)), "{columns}");
        assert_eq!(found["bill"]["rejects"][0]["reason"], "columns_disagree", "{columns}");
    }

    // What is billed before its day is out is pending; more than ours has is not.
    let on = |day: &str, calls: &str, cost: &str| {
        let line =
            right_line(of(H5_NAME, "按量计费日结", "-"), [calls, "0", calls, "次"], cost, "CNY");
        line.replace("2024-12-21 ", &format!("{day} "))
    };
    for (line, exit) in [
        (on("2024-12-31", "0", "0"), 0),
        (on("2024-12-31", "1000", "300"), 4),
        (on("2024-12-31", "0", "100"), 4),
        (on("2031-12-21", "1000", "300"), 4),
    ] {
        right.says(&[right_lines(), vec![line.clone()]].concat(), &[], exit);
    }

    // Rounding is held against what the lines make: 1.13333333 in fen is 1.13.
    let rounding = |cost| yuan(of("-", "月度计费精度差异", "-"), none, cost);
    let many = |cost| {
        let zero = (0..100).map(|_| yuan(of(H5_NAME, "按量计费日结", "-"), no_calls, "0.005"));
        let back = (0..100).map(|_| yuan(of(H5_NAME, "按量计费日结", "-"), no_calls, "-0.005"));
        [right_lines(), zero.chain(back).collect(), vec![rounding(cost)]].concat()
    };
    for (cost, exit) in [("0.00333333", 0), ("-0.00333333", 0), ("0", 0), ("1", 4)] {
        let (_, found) = right.says(&many(cost), &[], exit);
        let told = beside(&found, "rounding_too_large").is_some();
        assert_eq!(told, exit == 4, "{cost}");
    }

    // Deducted in the future, which only a time that was asked for makes a line of later.
    let later = right_line(of(H5_NAME, "按量计费日结", "-"), ["1", "0", "1", "次"], "0.3", "CNY")
        .replace("2024-12-22 09:00:00", "2099-12-22 09:00:00");
    let lines = [right_lines(), vec![later]].concat();
    right.says(&lines, &[], 0);
    let found = right.month.reconcile(&[&right.file("later.csv", &lines)], &["--dry-run"], 4);
    assert_eq!(row_of(&found, "2024-12-21", H5)["difference"], 1);
}

/// In a folder of bills what may be one and is not read is a reject; what is none is told.
#[test]
fn what_a_folder_holds_besides_bills_is_told() {
    let right = Right::loaded();
    let bills = right.month.folder.path().join("bills");
    fs::create_dir(&bills).expect("a folder");
    right.file("bills/bill.csv", &right_lines());
    let folder = format!("{}/", bills.display());
    let as_of = ["--as-of", AS_OF, "--dry-run"];
    for name in ["说明.pdf", ".hidden", "readme.txt", "LICENSE"] {
        fs::write(bills.join(name), "x").expect("a file");
    }
    let found = right.month.reconcile(&[&folder], &as_of, 0);
    warning(&found, "3 other files in the folders given, not read (LICENSE, readme.txt, 说明.pdf)");
    let names = ["b.csv.gz", "b.xlsx", "b.txt", "b.tsv", "b.csv.bak", "b.zip.1", "b"];
    for name in names {
        fs::write(bills.join(name), RIGHT_HEADER).expect("a file");
    }
    std::os::unix::fs::symlink("nowhere", bills.join("x.csv")).expect("a link");
    let found = right.month.reconcile(&[&folder], &as_of, 4);
    assert_eq!(beside(&found, "rejected"), Some((8, None, None, true)));
    let rejects = found["bill"]["rejects"].as_array().expect("rejects");
    for name in names.iter().chain(&["x.csv"]) {
        let of = |reject: &&Value| {
            reject["file"].as_str().is_some_and(|file| file.ends_with(&format!("bills/{name}")))
        };
        assert_eq!(
            rejects.iter().find(of).map(|r| &r["reason"]),
            Some(&json!("file_unread")),
            "{name}"
        );
    }
}

/// What the download that does not count says more than the one that does.
#[test]
fn what_only_one_of_two_downloads_says_is_told() {
    let right = Right::loaded();
    let name = format!("{UIN}-20241223-by_used_time-bill_details");
    let as_of = ["--as-of", AS_OF, "--dry-run"];
    let lines = right_lines();
    let later = right.file(&format!("{name} (1).csv"), &lines);
    let no_calls = ["0", "0", "0", "次"];
    let more = |product: &str, cost: &str| {
        right_line([product, H5_NAME, "按量计费日结", "-"], no_calls, cost, "CNY")
    };
    for (more, exit) in [
        (more("对象存储 COS", "1"), 4),
        (more("慧眼", "500"), 4),
        (more(PRODUCT, "?"), 4),
        (String::new(), 0),
    ] {
        let earlier =
            right.file(&format!("{name}.csv"), &[lines.clone(), vec![more.clone()]].concat());
        let found = right.month.reconcile(&[&earlier, &later], &as_of, exit);
        let differ = (exit == 4).then_some((1, None, None, true));
        assert_eq!(beside(&found, "files_differ"), differ, "{more}");
    }
    let paid = right
        .file(&format!("{name}.csv"), &[&lines[..2], &[lines[2].replace("CNY", "USD")]].concat());
    let found = right.month.reconcile(&[&paid, &later], &as_of, 4);
    assert!(beside(&found, "files_differ").is_some(), "{}", found["beside"]);
}

/// Two files of a bill hold lines that differ in nothing but one of these: they are two.
#[test]
fn lines_that_differ_in_one_fact_are_two() {
    let right = Right::loaded();
    let as_of = ["--as-of", AS_OF, "--dry-run"];
    let lines = right_lines();
    for (column, here, there) in [
        ("使用者 UIN", "1", "2"),
        ("操作者 UIN", "1", "2"),
        ("账单归属月", "2024-12", "2025-01"),
        ("优惠券支出", "0", "0.1"),
        ("现金账户支出", "0.3", "0.2"),
        ("组件名称", "甲", "乙"),
        ("订单 ID", "1", "2"),
    ] {
        let file = |name: &str, said: &str| {
            let lines: Vec<String> = lines.iter().map(|line| format!("{line},{said}")).collect();
            right.file_with(name, &format!(",{column}"), &lines)
        };
        let found =
            right.month.reconcile(&[&file("a.csv", here), &file("b.csv", there)], &as_of, 4);
        assert_eq!(row_of(&found, "2024-12-21", WECHAT)["provider_calls"], 6, "{column}");
        let copies = [&*file("a.csv", here), &*file("c.csv", here)];
        let found = right.month.reconcile(&copies, &as_of, 0);
        assert_eq!(row_of(&found, "2024-12-21", WECHAT)["provider_calls"], 3, "{column}");
    }
}

/// Rounding, a transaction that is not known, a package: none of them names a day of usage, and all are deducted on the first
/// of the next month. They are of the month all the same.
#[test]
fn what_is_deducted_after_the_month_is_of_it() {
    let right = Right::loaded();
    let none = ["-", "-", "-", "-"];
    for (what, kind) in [
        ([PRODUCT, "-", "月度计费精度差异", "-"], "rounding_too_large"),
        ([PRODUCT, H5_NAME, "某种扣费", "-"], "unknown_kind"),
        ([PRODUCT, H5_NAME, "包年包月新购", "资源包"], "package_not_named"),
    ] {
        let line = right_line(what, none, "500", "CNY")
            .replace("2024-12-21 00:00:00,2024-12-21 23:59:59", "-,-")
            .replace("2024-12-22 09:00:00", "2025-01-01 09:00:00");
        let lines = [right_lines(), vec![line]].concat();
        let bill = right.file("bill.csv", &lines);
        for month in [&[][..], &["--month", "2024-12"]] {
            let more = [&["--as-of", "2025-01-10T00:00:00+08:00", "--dry-run"], month].concat();
            let found = right.month.reconcile(&[&bill], &more, 4);
            assert_eq!(beside(&found, kind), some(1, "500", "500", true), "{kind} {month:?}");
        }
    }
}

/// Bills in more than one form or file, as people have them, that are one bill.
#[test]
fn what_one_form_leaves_open_the_other_may_say() {
    let right = Right::loaded();
    let as_of = ["--as-of", AS_OF, "--dry-run"];
    let lines = right_lines();
    // `-` for 0 in 抵扣用量, for all of 组件原始用量, for the region.
    let with = |name: &str, region: &str, change: &dyn Fn(&str) -> String| {
        let lines: Vec<String> =
            lines.iter().map(|line| format!("{},{region}", change(line))).collect();
        right.file_with(name, ",地域", &lines)
    };
    let whole = with("whole.csv", "广州", &str::to_owned);
    let dash = with("dash.csv", "-", &|line| {
        line.replace(",3,0,3,", ",3,-,3,").replace(",1,0,1,", ",-,0,1,")
    });
    let columns = right.file_with(
        "columns.csv",
        ",账单归属月",
        &lines
            .iter()
            .map(|line| {
                format!(
                    "{},2024-12",
                    line.replace(",3,0,3,", ",3,-,3,").replace("按量计费日结", "日结")
                )
            })
            .collect::<Vec<_>>(),
    );
    right.month.reconcile(&[&whole, &columns], &as_of, 0);
    right.month.reconcile(&[&dash, &columns], &as_of, 0);
    // A region that one line of the one leaves open, and the price of all.
    let one_open = right.file_with(
        "open.csv",
        ",地域",
        &[format!("{},-", lines[0]), format!("{},广州", lines[1]), format!("{},广州", lines[2])],
    );
    let both = right.file_with(
        "both.csv",
        ",地域,账单归属月",
        &lines.iter().map(|line| format!("{line},广州,2024-12")).collect::<Vec<_>>(),
    );
    right.month.reconcile(&[&one_open, &both], &as_of, 0);
    // Two exports that share a line of nothing; a later download of a month that runs, which has more.
    let nothing =
        right_line([PRODUCT, H5_NAME, "按量计费日结", "-"], ["0", "0", "0", "次"], "0", "CNY");
    let halves = [("p1.csv", &lines[..1]), ("p2.csv", &lines[1..])]
        .map(|(name, lines)| right.file(name, &[lines, std::slice::from_ref(&nothing)].concat()));
    right.month.reconcile(&halves.each_ref().map(String::as_str), &as_of, 0);
    let early = right.file("running.csv", &lines[..2]);
    let later = right.file("running (1).csv", &lines);
    right.month.reconcile(&[&early, &later], &as_of, 0);
    let found = right.month.reconcile(
        &[&right.file("running.csv", &lines), &right.file("running (1).csv", &lines[..2])],
        &as_of,
        4,
    );
    assert_eq!(beside(&found, "files_differ"), Some((1, None, None, true)));
    // Downloads of other months that a browser numbered; exports that are named by their day.
    let november: Vec<String> =
        lines.iter().map(|line| line.replace("2024-12-2", "2024-11-2")).collect();
    let one = right.file("bill.csv", &lines);
    let other = right.file("bill (1).csv", &november);
    let found = right.month.reconcile(&[&one, &other], &as_of, 4);
    assert_eq!(beside(&found, "files_differ"), None);
    let exports = ["y_1222.csv", "y_1223.csv"].map(|name| right.file(name, &lines));
    right.month.reconcile(&exports.each_ref().map(String::as_str), &as_of, 0);
}

/// Pages of the API as people save them: Total on the first one alone, a page of other products, a page twice.
#[test]
fn pages_are_held_against_their_totals() {
    let right = Right::loaded();
    let as_of = ["--as-of", AS_OF, "--dry-run"];
    let details: Vec<Value> = right_lines()
        .iter()
        .enumerate()
        .map(|(at, line)| {
            let cell: Vec<&str> = line.split(',').collect();
            json!({
                "Id": at.to_string(), "PayerUin": cell[0], "BusinessCodeName": cell[1], "ProductCodeName": cell[2],
                "ActionTypeName": cell[3], "PayTime": cell[5], "FeeBeginTime": cell[6], "FeeEndTime": cell[7],
                "BillMonth": "2024-12", "ProjectName": "默认项目",
                "ComponentSet": [{ "ComponentCodeName": cell[8], "RealTotalMeasure": cell[9], "DeductedMeasure": cell[10],
                    "UsedAmount": cell[11], "UsedAmountUnit": cell[12], "RealCost": cell[13] }],
            })
        })
        .collect();
    let cos = json!({ "Id": "9", "PayerUin": UIN, "BusinessCodeName": "对象存储 COS", "ComponentSet": [{ "RealCost": "1" }] });
    let page = |name: &str, details: &[Value], total: Option<i64>| {
        let path = right.month.folder.path().join(name);
        let page = json!({ "Response": { "DetailSet": details, "Total": total } });
        fs::write(&path, page.to_string()).expect("a page");
        path.to_str().expect("UTF-8").to_owned()
    };
    let reconcile = |pages: &[&String], exit| {
        let pages: Vec<&str> = pages.iter().map(|page| page.as_str()).collect();
        let found = right.month.reconcile(&pages, &as_of, exit);
        (
            beside(&found, "pages_missing").map(|told| told.0),
            row_of(&found, "2024-12-21", WECHAT)["provider_calls"].clone(),
        )
    };
    let first = page("1.json", &details, Some(4));
    let second = page("2.json", std::slice::from_ref(&cos), None);
    assert_eq!(reconcile(&[&first], 4), (Some(1), json!(3)));
    assert_eq!(reconcile(&[&first, &second], 0), (None, json!(3)));
    // Total grew meanwhile.
    let second = page("3.json", std::slice::from_ref(&cos), Some(5));
    let third = page(
        "4.json",
        &[
            json!({ "Id": "10", "PayerUin": UIN, "BusinessCodeName": "x", "ComponentSet": [{ "RealCost": "0" }] }),
        ],
        Some(5),
    );
    assert_eq!(reconcile(&[&first, &second, &third], 0), (None, json!(3)));
    // The same lines with other words, or without an id twice.
    let renamed: Vec<Value> = details
        .iter()
        .map(|detail| {
            let mut detail = detail.clone();
            detail["ProjectName"] = json!("Default project");
            detail["ComponentSet"][0]["DeductedMeasure"] = Value::Null;
            if detail["ComponentSet"][0]["RealTotalMeasure"]
                != detail["ComponentSet"][0]["UsedAmount"]
            {
                detail["ComponentSet"][0]["DeductedMeasure"] = json!("1");
            }
            detail
        })
        .collect();
    let whole = page("5.json", &details, Some(3));
    let again = page("6.json", &renamed, Some(3));
    assert_eq!(reconcile(&[&whole, &again], 0), (None, json!(3)));
    let mut dearer = renamed.clone();
    dearer[0]["ComponentSet"][0]["RealCost"] = json!("500");
    let found = right.month.reconcile(&[&whole, &page("7.json", &dearer, Some(3))], &as_of, 4);
    assert!(beside(&found, "files_differ").is_some(), "{}", found["beside"]);
    let without: Vec<Value> = details
        .iter()
        .map(|detail| {
            let mut detail = detail.clone();
            detail.as_object_mut().expect("an object").remove("Id");
            detail
        })
        .collect();
    let twice = ["8.json", "9.json"].map(|name| page(name, &without, Some(6)));
    assert_eq!(reconcile(&[&twice[0], &twice[1]], 4), (Some(3), json!(3)));
    // Totals beyond all numbers.
    let huge = [
        page("a.json", &details, Some(i64::MAX)),
        page("b.json", std::slice::from_ref(&cos), Some(i64::MAX - 1)),
    ];
    assert_eq!(reconcile(&[&huge[0], &huge[1]], 4).1, json!(3));
    // No page says how many there are, and the last one is full.
    let full: Vec<Value> = details.iter().cloned().chain((0..97).map(|n| {
        json!({ "Id": format!("c{n}"), "PayerUin": UIN, "BusinessCodeName": "对象存储 COS", "ComponentSet": [{ "RealCost": "1" }] })
    })).collect();
    let full = page("c.json", &full, None);
    assert_eq!(reconcile(&[&full], 4), (Some(1), json!(3)));
    assert_eq!(
        reconcile(&[&full, &page("d.json", std::slice::from_ref(&cos), None)], 0),
        (None, json!(3))
    );
}

/// What a month's line of no calls leaves as it is: the days of its tag, each with its own status.
#[test]
fn a_month_s_line_hides_no_day() {
    let right = Right::loaded();
    let month = |usage, cost: &str| {
        let what = [PRODUCT, H5_NAME, "按量计费月结", "-"];
        right_line(what, usage, cost, "CNY").replace("2024-12-21 00:00:00", "2024-12-01 00:00:00")
    };
    // 5 calls more than ours on a day that is out; the month is not over.
    let mut lines = right_lines();
    lines[2] = lines[2].replace(",1,0,1,次,0.3,", ",6,0,6,次,1.8,");
    lines.push(month(["0", "0", "0", "次"], "0"));
    let (_, found) = right.says(&lines, &[], 4);
    assert_eq!(row_of(&found, "2024-12-21", H5)["difference"], 5);
    // All of the tag in one line: held against its days, and against what they cost.
    let mut lines = right_lines();
    lines[2] = month(["1", "0", "1", "次"], "0.3");
    let (headline, found) = right.says(&lines, &[], 0);
    let row = rows(&found).into_iter().find(|row| row["billing_tag_code"] == "enhanced_photo_h5");
    let row = row.unwrap_or_else(|| panic!("a row of H5: {headline} {}", found["rows"]));
    assert_eq!((&row["period"], &row["expected_cost"]), (&json!("2024-12"), &json!("0.3")));
    lines[2] = month(["1", "0", "1", "次"], "500");
    right.says(&lines, &[], 4);
}

/// A line that stands twice in one file counts twice, whatever copies of the bill are given with it.
#[test]
fn a_copy_of_the_bill_hides_no_line() {
    let right = Right::loaded();
    let mut doubled = right_lines();
    doubled.push(doubled[0].clone());
    let twice = right.file("twice.csv", &doubled);
    let copy = right.file("copy.csv", &right_lines());
    let as_of = ["--as-of", AS_OF, "--dry-run"];
    for files in [vec![&*twice], vec![&*twice, &*copy], vec![&*copy, &*twice]] {
        let found = right.month.reconcile(&files, &as_of, 4);
        assert_eq!(row_of(&found, "2024-12-21", WECHAT)["difference"], 3, "{files:?}");
        assert_eq!(found["bill"]["lines"], 4);
    }
    right.month.reconcile(&[&copy], &as_of, 0);
}

/// A month that neither side has is a slip where the bill speaks of another one.
#[test]
fn another_month_than_the_bill_is_refused() {
    let right = Right::loaded();
    let bill = right.file("bill.csv", &right_lines());
    let output = right.month.output();
    let words = ["reconcile", "pipelines/demo.toml", "--bill", &bill, "--set", &output];
    let ran = faceledger_in(root(), &[&words[..], &["--month", "2023-01"]].concat(), &[]).exits(2);
    for part in ["--month 2023-01", "the bill has usage of 2024-12"] {
        assert!(ran.stderr.contains(part), "{}", ran.stderr);
    }
}

/// By deduction time (按扣费周期) the usage of 30 December is in December's bill and that of the 31st in January's. Each bill is
/// right by itself, and what one found of a month stays when the other is reconciled.
#[test]
fn bills_by_deduction_time_share_a_month() {
    let month = Month { folder: tempfile::tempdir().expect("a folder") };
    let results = month.folder.path().join("results");
    fs::create_dir(&results).expect("a folder");
    for day in ["dt=2024-12-30.ndjson", "dt=2024-12-31.ndjson"] {
        let from = root().join("sample-data/month/results").join(day);
        fs::copy(from, results.join(day)).expect("a day");
    }
    let output = month.output();
    let source = format!("source.url={}", results.display());
    let words = ["run", "pipelines/demo.toml", "--set", &output, "--set", &source];
    faceledger_in(root(), &words, &[]).exits(0);
    let file = |name: &str, day: u32, app: [&str; 2]| {
        let paid = ["2024-12-31", "2025-01-01"][day as usize - 30];
        let line = |tag: &str, usage: &str, cost: &str| {
            format!(
                "{UIN},{PRODUCT},{tag},按量计费日结,{paid} 09:00:00,2024-12-{day} 00:00:00,2024-12-{day} 23:59:59,x,{usage},{cost}\n"
            )
        };
        let lines = [
            line(WECHAT_NAME, "3,0,3", "3.6"),
            line("增强版人脸核身（权威库）-App", app[0], app[1]),
            line(H5_NAME, "1,0,1", "0.3"),
        ];
        let path = month.folder.path().join(name);
        fs::write(&path, format!("{HEADER}\n{}", lines.concat())).expect("a bill");
        path.to_str().expect("UTF-8").to_owned()
    };
    // The package of one App call is used up on the 30th.
    let december =
        file("100012345678-202412-by_pay_time-bill_details.csv", 30, ["2,1,1", "1.13333333"]);
    let january =
        file("100012345678-202501-by_pay_time-bill_details.csv", 31, ["2,0,2", "2.26666666"]);
    let as_of = ["--as-of", "2025-02-10T12:00:00+08:00"];
    let days = |found: &Value| -> BTreeSet<String> {
        let day = |row: &Value| row["period"].as_str().expect("a day").to_owned();
        rows(found).iter().map(day).collect()
    };
    let found = month.reconcile(&[&december], &as_of, 0);
    assert_eq!(days(&found), ["2024-12-30".to_owned()].into());
    let found = month.reconcile(&[&january], &as_of, 0);
    assert_eq!(days(&found), ["2024-12-31".to_owned()].into());
    let stored = || Table::open(&month.out().join("reconciliation")).rows().len();
    assert_eq!(stored(), 6, "three rows of each bill");
    let again = month.reconcile(&[&december], &as_of, 0);
    assert_eq!((commits(&again), stored()), (vec![false, false, false], 6));
    // The month that is asked for is not held to what the bill cannot have.
    let found = month.reconcile(&[&december], &[&as_of[..], &["--month", "2024-12"]].concat(), 0);
    assert_eq!(days(&found), ["2024-12-30".to_owned()].into());
    warning(&found, "the usage of 2024-12-31 stands in the bill of 2025-01");
    let asked = [&as_of[..], &["--month", "2024-12"]].concat();
    let found = month.reconcile(&[&december, &january], &asked, 0);
    assert_eq!(days(&found).len(), 2);
    let found = month.reconcile(&[&december, &january], &as_of, 0);
    assert_eq!((days(&found).len(), stored()), (2, 6));
}

/// Without a date in the keys nobody knows of which day a record is that was set aside.
#[test]
fn records_without_a_date_are_told() {
    let month = Month { folder: tempfile::tempdir().expect("a folder") };
    let output = month.output();
    let toml = fs::read_to_string(root().join("pipelines/demo.toml")).expect("the pipeline");
    let own = month.folder.path().join("own.toml");
    fs::write(&own, toml.replace("keys = ", "# keys = ")).expect("a pipeline");
    let own = own.to_str().expect("UTF-8");
    faceledger_in(root(), &["run", own, "--set", &output], &[]).exits(0);
    let csv = bill("detail.csv");
    let words = ["reconcile", own, "--json", "--bill", &csv, "--as-of", AS_OF, "--set", &output];
    let found = faceledger_in(root(), &words, &[]).exits(4).json();
    assert!(warning(&found, "without a date in the key").starts_with("1 record of ours"));
    assert_eq!(parts(&row_of(&found, "2024-12-11", H5)), [("unexplained".to_owned(), 1)]);
}

/// What is in the bill of the month that is asked for, of usage of another one, is not passed over.
#[test]
fn a_late_line_is_no_bill_by_deduction_time() {
    let right = Right::loaded();
    let late = right_lines()[2].replace("2024-12-21 ", "2024-11-20 ");
    let mut lines = right_lines();
    lines.iter_mut().for_each(|line| line.push_str(",2024-12"));
    lines.push(format!("{late},2024-12"));
    let bill = right.file_with("late.csv", ",账单归属月", &lines);
    let as_of = ["--as-of", AS_OF, "--dry-run"];
    let found = right.month.reconcile(&[&bill], &as_of, 4);
    assert_eq!(row_of(&found, "2024-11-20", H5)["status"], "provider_only");
    let more = [&as_of[..], &["--month", "2024-12"]].concat();
    let found = right.month.reconcile(&[&bill], &more, 4);
    assert_eq!(found["over_tolerance"], 0);
    assert_eq!(beside(&found, "other_month"), some(1, "0.3", "0.3", true));
}

/// A bill of others alone is that of another account; so is a pipeline whose uin was mistyped.
#[test]
fn the_bill_of_another_account_is_refused() {
    let right = Right::loaded();
    let bill = right.file("bill.csv", &right_lines());
    let output = right.month.output();
    let uin = "account.uin=100012345687";
    let words = ["reconcile", "pipelines/demo.toml", "--bill", &bill, "--set", &output];
    let ran = faceledger_in(root(), &[&words[..], &["--set", uin]].concat(), &[]).exits(2);
    for part in ["bill.csv", "100012345687", "100012345678"] {
        assert!(ran.stderr.contains(part), "{}", ran.stderr);
    }
}

/// The list of the sample month by Seq: of the 21st it has the four attempts that are ours, too. With the flags of two of
/// them turned the counts agree, and the Seqs do not.
#[test]
fn a_list_that_contradicts_seqs_is_no_agreement() {
    let right = Right::loaded();
    let bill = right.file("bill.csv", &right_lines());
    let text = fs::read_to_string(root().join(LIST)).expect("the list");
    let day = text.lines().find(|line| line.contains("wx_mini-2024-12-21-0001")).expect("the 21st");
    let list = |name: &str, text: &str| {
        let path = right.month.folder.path().join(name);
        fs::write(&path, text).expect("a list");
        path.to_str().expect("UTF-8").to_owned()
    };
    let as_of = ["--as-of", AS_OF, "--dry-run"];
    let found = right.month.reconcile(&[&bill, &list("day.ndjson", day)], &as_of, 0);
    assert_eq!(found["seqs"]["agree"], 4);
    // Attempt 3 is charged and attempt 4 is free; turned round.
    let mut page: Value = serde_json::from_str(day).expect("a page");
    let details = page["Response"]["WeChatBillDetails"].as_array_mut().expect("details");
    for detail in details.iter_mut().rev().take(2) {
        let flag = &mut detail["ChargeDetails"][0]["IsNeedCharge"];
        *flag = json!(!flag.as_bool().expect("a flag"));
    }
    let turned = list("turned.ndjson", &page.to_string());
    let found = right.month.reconcile(&[&bill, &turned], &as_of, 4);
    assert_eq!(found["over_tolerance"], 0);
    assert_eq!(beside(&found, "seqs_differ"), Some((2, None, None, true)));
    // A list of other days says nothing, and that is said.
    let other =
        text.lines().find(|line| line.contains("wx_mini-2024-12-03-0001")).expect("the 3rd");
    let months = list("other.ndjson", &other.replace("17331", "17000").replace("17332", "17001"));
    let found = right.month.reconcile(&[&bill, &months], &as_of, 0);
    warning(&found, "not of the months compared");
    // Neither does one that has only the 20th; a page that says there is more is not all.
    let before = text.lines().find(|line| line.contains("wx_mini-2024-12-20-0001"));
    let before = before.expect("the 20th").replace("\"HasNextPage\":false", "\"HasNextPage\":true");
    let before = list("before.ndjson", &before);
    let found = right.month.reconcile(&[&bill, &before], &["--as-of", AS_OF, "--dry-run"], 4);
    warning(&found, "nothing between 02:00 and 22:00 of 1 day");
    warning(&found, "a page of the provider's list of 2024-12-20 has a next one (HasNextPage)");
    // The next one is another file.
    let page = |more: bool| {
        let mut page: Value = serde_json::from_str(day).expect("a page");
        page["Response"]["HasNextPage"] = json!(more);
        let details = page["Response"]["WeChatBillDetails"].as_array_mut().expect("details");
        let last = details.split_off(details.len() - 1);
        if !more {
            *details = last;
        }
        list(if more { "p1.json" } else { "p2.json" }, &page.to_string())
    };
    let found = right.month.reconcile(&[&bill, &page(true), &page(false)], &as_of, 0);
    assert_eq!(found["seqs"]["agree"], 4);
    assert!(!warnings(&found).iter().any(|told| told.contains("HasNextPage")), "{found}");
    assert_eq!(beside(&found, "parts_missing"), None);
    // The first page again is no next one.
    let again = list("again.json", &fs::read_to_string(page(true)).expect("a page"));
    for pages in [vec![page(true)], vec![page(true), again]] {
        let files: Vec<&str> =
            std::iter::once(bill.as_str()).chain(pages.iter().map(String::as_str)).collect();
        let found = right.month.reconcile(&files, &as_of, 4);
        assert_eq!(beside(&found, "parts_missing"), Some((1, None, None, true)));
    }
    // In whatever order they stand in one file; the last one without an attempt, in a file of its own.
    let [first, last] = [true, false].map(|more| fs::read_to_string(page(more)).expect("a page"));
    let turned = list("order.ndjson", &format!("{last}\n{first}\n"));
    right.month.reconcile(&[&bill, &turned], &as_of, 0);
    let mut all: Value = serde_json::from_str(day).expect("a page");
    all["Response"]["HasNextPage"] = json!(true);
    let all = list("all.json", &all.to_string());
    let end = list("end.json", r#"{"Response":{"WeChatBillDetails":null,"HasNextPage":false}}"#);
    right.month.reconcile(&[&bill, &all, &end], &as_of, 0);
    // A list that is cut on a day that is not asked for.
    let more = [&as_of[..], &["--month", "2024-12"]].concat();
    let other = other.replace("\"HasNextPage\":false", "\"HasNextPage\":true");
    let november =
        list("november.json", &other.replace("17331", "17320").replace("17332", "17321"));
    right.month.reconcile(&[&bill, &november], &more, 0);
}

/// What is in a bill and no part of any row, each found by a recount of made-up months: never passed over.
#[test]
fn what_stands_beside_the_days_of_a_bill_is_told() {
    let right = Right::loaded();
    let as_of = ["--as-of", AS_OF, "--dry-run"];
    let november = |kind: &str, usage: [&str; 4], cost: &str| {
        right_line([PRODUCT, H5_NAME, kind, "-"], usage, cost, "CNY")
            .replace("2024-12-21 ", "2024-11-10 ")
    };
    let none = ["-", "-", "-", "-"];
    // Changes of a month whose bill is not there; with its bill they are rows.
    for (line, gross) in [
        (november("调账扣费", none, "500"), "500"),
        (november("按量计费冲正", ["-9", "0", "-9", "次"], "-2.7"), "2.7"),
    ] {
        let (_, found) = right.says(&[right_lines(), vec![line.clone()]].concat(), &[], 4);
        let told = beside(&found, "other_month").expect("told");
        assert_eq!((told.0, told.2.as_deref(), told.3), (1, Some(gross), true));
        let usage = november("按量计费日结", ["1", "0", "1", "次"], "0.3");
        let (_, found) = right.says(&[right_lines(), vec![line, usage]].concat(), &[], 4);
        assert_eq!(beside(&found, "other_month"), None);
        assert_eq!(row_of(&found, "2024-11-10", H5)["status"], "adjusted");
    }
    // One package of the pipeline is one package that was bought: app-1, on the 20th.
    let bought = |n: usize| {
        let line = right_line(
            [PRODUCT, "增强版人脸核身（权威库）-App", "包年包月新购", "资源包"],
            none,
            "1",
            "CNY",
        );
        vec![line.replace("2024-12-21 00:00:00,2024-12-21", "2024-12-20 00:00:00,2025-12-19"); n]
    };
    right.says(&[right_lines(), bought(1)].concat(), &[], 0);
    let (_, found) = right.says(&[right_lines(), bought(3)].concat(), &[], 4);
    assert_eq!(beside(&found, "package_not_named"), some(2, "2", "2", true));
    // Half a call given back, and usage in minutes, are no calls.
    let half = right_line(
        [PRODUCT, H5_NAME, "按量计费冲正", "-"],
        ["-0.5", "0", "-0.5", "次"],
        "0",
        "CNY",
    );
    let (_, found) = right.says(&[right_lines(), vec![half]].concat(), &[], 4);
    assert_eq!(beside(&found, "no_count"), Some((1, None, None, true)));
    let minutes: Vec<String> =
        right_lines().iter().map(|line| line.replace(",次,", ",分钟,")).collect();
    let (_, found) = right.says(&minutes, &[], 4);
    assert_eq!(beside(&found, "no_count"), Some((3, None, None, true)));
    // A page that is missing.
    let page = |name: &str, total: u32, details: &str| {
        let path = right.month.folder.path().join(name);
        let text = format!("{{\"Response\":{{\"DetailSet\":[{details}],\"Total\":{total}}}}}");
        fs::write(&path, text).expect("a page");
        path.to_str().expect("UTF-8").to_owned()
    };
    let pages = fs::read_to_string(root().join(BILLS).join("describe-bill-detail-2.json"));
    let pages: Value = serde_json::from_str(&pages.expect("a page")).expect("JSON");
    let mut details = pages["Response"]["DetailSet"].as_array().expect("details").clone();
    details.retain(|detail| {
        let begin = detail["FeeBeginTime"].as_str().expect("a time");
        begin.starts_with("2024-12-21") && detail["ActionType"] == "postpay_deduct_d"
    });
    // Of the whole month no App call of the 21st is covered by a package: two are paid there.
    let texts: Vec<String> = details.iter().map(Value::to_string).collect();
    assert_eq!(texts.len(), 3);
    let some_missing = page("some.json", 4, &texts.join(","));
    let found = right.month.reconcile(&[&some_missing], &as_of, 4);
    assert_eq!(beside(&found, "pages_missing"), Some((1, None, None, true)));
    let all = page("all.json", 3, &texts.join(","));
    let empty = page("empty.json", 3, "");
    let found = right.month.reconcile(&[&all, &empty], &as_of, 4);
    assert_eq!(beside(&found, "pages_missing"), None);
    assert!(!warnings(&found).iter().any(|warning| warning.contains("Total says")), "{found}");
}

/// On the first evening of a month its first day is pending, though no line of the month is paid yet.
#[test]
fn the_first_day_of_a_month_is_pending() {
    let right = Right::loaded();
    let bill = right.file("bill.csv", &right_lines());
    let early = ["--as-of", "2024-12-21T23:30:00+08:00", "--dry-run"];
    let found = right.month.reconcile(&[&bill], &early, 0);
    let told: Vec<Value> = rows(&found).iter().map(|row| row["status"].clone()).collect();
    assert_eq!(told, ["pending", "pending", "pending"]);
    warning(&found, "2024-12 is not complete: the bill of 2024-12-21 is not out yet");
}

/// A zip of CSVs.
fn zipped(right: &Right, name: &str, members: &[(&str, &str)]) -> String {
    let path = right.month.folder.path().join(name);
    let mut zip = zip::ZipWriter::new(fs::File::create(&path).expect("a file"));
    for (member, text) in members {
        let options = zip::write::SimpleFileOptions::default();
        zip.start_file(*member, options).expect("a member");
        std::io::Write::write_all(&mut zip, text.as_bytes()).expect("a member");
    }
    zip.finish().expect("a zip");
    path.to_str().expect("UTF-8").to_owned()
}

/// The CSVs of an archive are one bill: their lines are never taken for each other; one that cannot be read is missing.
#[test]
fn the_members_of_an_archive_are_one_bill() {
    let right = Right::loaded();
    let as_of = ["--as-of", AS_OF, "--dry-run"];
    let lines = right_lines();
    let csv = |lines: &[String]| format!("{RIGHT_HEADER}\n{}\n", lines.join("\n"));
    let all = csv(&lines);
    let found = right.month.reconcile(
        &[&zipped(&right, "a.zip", &[("a_1.csv", &all), ("readme.txt", "read me")])],
        &as_of,
        0,
    );
    warning(&found, "passed over, being no CSV: readme.txt");
    // The line of WeChat stands in both: 6 calls.
    let both = zipped(&right, "b.zip", &[("a_1.csv", &all), ("a_2.csv", &csv(&lines[..1]))]);
    let found = right.month.reconcile(&[&both], &as_of, 4);
    assert_eq!(row_of(&found, "2024-12-21", WECHAT)["difference"], 3);
    // Two files say the same but for the order: two lines.
    let order = |name: &str, order: &str| {
        let lines: Vec<String> = lines.iter().map(|line| format!("{line},{order}")).collect();
        right.file_with(name, ",订单 ID", &lines)
    };
    let found = right.month.reconcile(&[&order("1.csv", "o-1"), &order("2.csv", "o-2")], &as_of, 4);
    assert_eq!(row_of(&found, "2024-12-21", WECHAT)["difference"], 3);
    right.month.reconcile(&[&order("1.csv", "o-1"), &order("2.csv", "o-1")], &as_of, 0);
    // A member without a header, one that lacks a column, a workbook.
    let headless = lines[0].clone();
    let short = all.replace("优惠后总价", "别的");
    for (name, text) in
        [("a_2.csv", headless.as_str()), ("a_2.csv", &short), ("a_2.csv", ""), ("a.xlsx", "PK")]
    {
        let bill = zipped(&right, "c.zip", &[("a_1.csv", &all), (name, text)]);
        let found = right.month.reconcile(&[&bill], &as_of, 4);
        assert_eq!(beside(&found, "rejected"), Some((1, None, None, true)), "{name}");
        let reject = &found["bill"]["rejects"][0];
        assert_eq!(reject["reason"], "member_unread");
        assert!(reject["file"].as_str().expect("a file").ends_with(name), "{reject}");
    }
    // A member whose name has no end is one all the same.
    let both = zipped(&right, "d.zip", &[("a_1.csv", &all), ("a_2", &csv(&lines[..1]))]);
    let found = right.month.reconcile(&[&both], &as_of, 4);
    assert_eq!(row_of(&found, "2024-12-21", WECHAT)["difference"], 3);
    // Of the numbered files of a delivery that was unpacked one is missing.
    let part = |n: u32| {
        let name = format!("{UIN}-20241223-by_used_time-bill_details_{n}.csv");
        right.file(&name, &lines[n as usize - 1..n as usize])
    };
    let found = right.month.reconcile(&[&part(1), &part(2), &part(3)], &as_of, 0);
    assert_eq!(beside(&found, "parts_missing"), None);
    let found = right.month.reconcile(&[&part(1), &part(3)], &as_of, 4);
    assert_eq!(beside(&found, "parts_missing"), Some((1, None, None, true)));
    warning(&found, "1 file of its numbered parts missing (_2)");
    // So it is of members of an archive, where no file is there to miss.
    let member = |n: u32| format!("{UIN}-20241223-by_used_time-bill_details_{n}.csv");
    let zip = format!("{UIN}-20241223-by_used_time-bill_details.zip");
    let members = [(member(1), csv(&lines[..2])), (member(3), csv(&lines[2..]))];
    let members = members.each_ref().map(|(name, text)| (name.as_str(), text.as_str()));
    let found = right.month.reconcile(&[&zipped(&right, &zip, &members)], &as_of, 4);
    assert_eq!(beside(&found, "parts_missing"), Some((1, None, None, true)));
    warning(&found, "1 file of its numbered parts missing (_2)");
    // A sub-product of ours under a product of another name.
    let mut other = lines.clone();
    other.push(lines[2].replace(PRODUCT, "Face Recognition"));
    let found = right.month.reconcile(&[&right.file("other.csv", &other)], &as_of, 4);
    assert_eq!(beside(&found, "product_like_ours"), some(1, "0.3", "0.3", true));
    // The same page twice in one file of pages.
    let pages = [1, 2].map(|n| bill(&format!("describe-bill-detail-{n}.json")));
    let texts = pages.each_ref().map(|page| fs::read_to_string(root().join(page)).expect("a page"));
    let twice = right.month.folder.path().join("twice.ndjson");
    let text = [&texts[0], &texts[0], &texts[1]].map(|text| text.as_str()).join("\n");
    fs::write(&twice, text).expect("pages");
    let once = right.month.reconcile(&[&pages[0], &pages[1]], &as_of, 4);
    let found = right.month.reconcile(&[twice.to_str().expect("UTF-8")], &as_of, 4);
    let counts = |found: &Value| -> Vec<(Value, Value, Value)> {
        let of =
            |row: &Value| ["period", "billing_tag_code", "provider_calls"].map(|c| row[c].clone());
        rows(found).iter().map(|row| of(row).into()).collect()
    };
    assert_eq!(counts(&found), counts(&once));
    warning(&found, "in more than one of the files or pages, counted once");
}

/// The header and the lines of a CSV that says of each line of these pages what its columns ask.
fn csv_of_pages(pages: &[Value], columns: &[(&str, &str)]) -> String {
    let names: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
    let mut lines = vec![names.join(",")];
    for detail in
        pages.iter().flat_map(|page| page["Response"]["DetailSet"].as_array().expect("details"))
    {
        for component in detail["ComponentSet"].as_array().expect("components") {
            let cell = |(_, member): &(&str, &str)| {
                let value = detail.get(member).or(component.get(member)).expect("a member");
                value.as_str().expect("a text").to_owned()
            };
            lines.push(columns.iter().map(cell).collect::<Vec<String>>().join(","));
        }
    }
    lines.join("\n") + "\n"
}

/// A bill that is given in two forms counts once, whatever one of them leaves out.
#[test]
fn forms_that_say_less_of_the_same_lines_are_no_second_bill() {
    const NEEDED: [(&str, &str); 15] = [
        ("支付者 UIN", "PayerUin"),
        ("产品名称", "BusinessCodeName"),
        ("子产品名称", "ProductCodeName"),
        ("交易类型", "ActionTypeName"),
        ("计费模式", "PayModeName"),
        ("实例类型", "InstanceType"),
        ("账单归属日", "BillDay"),
        ("开始使用时间", "FeeBeginTime"),
        ("结束使用时间", "FeeEndTime"),
        ("组件类型", "ComponentCodeName"),
        ("组件原始用量", "RealTotalMeasure"),
        ("抵扣用量", "DeductedMeasure"),
        ("组件用量", "UsedAmount"),
        ("组件用量单位", "UsedAmountUnit"),
        ("优惠后总价", "RealCost"),
    ];
    const APART: [(&str, &str); 7] = [
        ("订单 ID", "OrderId"),
        ("交易 ID", "BillId"),
        ("项目名称", "ProjectName"),
        ("地域", "RegionName"),
        ("扣费时间", "PayTime"),
        ("组件单价", "ContractPrice"),
        ("资源 ID", "ResourceId"),
    ];
    let month = Month::loaded();
    let names = [bill("describe-bill-detail-1.json"), bill("describe-bill-detail-2.json")];
    let mut pages = names.each_ref().map(|name| {
        let text = fs::read_to_string(root().join(name)).expect("a page");
        serde_json::from_str::<Value>(&text).expect("JSON")
    });
    let path = |name: &str| month.folder.path().join(name);
    let text = |path: &Path| path.to_str().expect("UTF-8").to_owned();
    let few = path("few.csv");
    fs::write(&few, csv_of_pages(&pages, &NEEDED)).expect("a bill");
    let all: Vec<(&str, &str)> = NEEDED.into_iter().chain(APART).collect();
    let more = path("more.csv");
    fs::write(&more, csv_of_pages(&pages, &all)).expect("a bill");
    // Days without hours, and no project.
    let days = path("days.csv");
    let some = csv_of_pages(&pages, &all[..all.len() - 4]);
    fs::write(&days, some.replace(" 00:00:00", "").replace(" 23:59:59", "")).expect("a bill");
    for page in &mut pages {
        for detail in page["Response"]["DetailSet"].as_array_mut().expect("details") {
            let detail = detail.as_object_mut().expect("a detail");
            detail.retain(|member, _| !APART.iter().any(|(_, apart)| apart == member));
        }
    }
    let stripped = [path("stripped-1.json"), path("stripped-2.json")];
    for (path, page) in stripped.iter().zip(&pages) {
        fs::write(path, page.to_string()).expect("a page");
    }
    let [few, more, days] = [&few, &more, &days].map(|path| text(path));
    let stripped = stripped.map(|path| text(&path));
    for bills in [
        vec![&names[0], &names[1], &few],
        vec![&few, &names[0], &names[1]],
        vec![&names[0], &names[1], &days],
        vec![&few, &more, &days],
        vec![&stripped[0], &stripped[1], &more],
        vec![&few, &stripped[0], &stripped[1], &days, &more],
    ] {
        let mut bills: Vec<&str> = bills.into_iter().map(|name| name.as_str()).collect();
        bills.push(LIST);
        let found = month.reconcile(&bills, &["--as-of", AS_OF, "--dry-run"], 4);
        warning(&found, "in more than one of the files or pages, counted once");
        is_as_planted(&found);
    }
}

/// What both forms say tells their lines apart: the same calls of two orders are two lines, one in each.
#[test]
fn lines_of_other_orders_in_another_form_of_the_bill_count() {
    let right = Right::loaded();
    let as_of = ["--as-of", AS_OF, "--dry-run"];
    let lines = right_lines();
    let with = |name: &str, columns: &str, cells: &str| {
        let lines: Vec<String> = lines.iter().map(|line| format!("{line},{cells}")).collect();
        right.file_with(name, columns, &lines)
    };
    // The project is another column, and so this another form.
    let other_form = |order: &str| with("other.csv", ",订单 ID,项目名称", &format!("{order},a"));
    let (one, other) = (with("one.csv", ",订单 ID", "o1"), other_form("o2"));
    let found = right.month.reconcile(&[&one, &other], &as_of, 4);
    assert_eq!(row_of(&found, "2024-12-21", WECHAT)["provider_calls"], 6);
    let other = other_form("o1");
    let found = right.month.reconcile(&[&one, &other], &as_of, 0);
    assert_eq!(row_of(&found, "2024-12-21", WECHAT)["provider_calls"], 3);
}

/// A second download that says something else than the first is the one that counts, and is told.
#[test]
fn files_of_one_delivery_that_differ_are_told() {
    let right = Right::loaded();
    let as_of = ["--as-of", AS_OF, "--dry-run"];
    let lines = right_lines();
    let mut more = lines.clone();
    more[0] = more[0].replace("3,0,3,次,3.6", "9,0,9,次,10.8");
    let first = right.file("100012345678-20241223-by_used_time-bill_details.csv", &lines);
    let second = right.file("100012345678-20241223-by_used_time-bill_details (1).csv", &more);
    for bills in [[&first, &second], [&second, &first]] {
        let found = right.month.reconcile(&[bills[0], bills[1]], &as_of, 4);
        assert_eq!(row_of(&found, "2024-12-21", WECHAT)["provider_calls"], 9);
        assert_eq!(beside(&found, "files_differ"), Some((2, None, None, true)));
        warning(&found, "are of one delivery, and 2 lines in one of them alone");
    }
    let second = right.file("100012345678-20241223-by_used_time-bill_details (1).csv", &lines);
    let found = right.month.reconcile(&[&first, &second], &as_of, 0);
    assert_eq!(beside(&found, "files_differ"), None);
    // A part that was unpacked beside its whole.
    let part = right.file("100012345678-20241223-by_used_time-bill_details_1.csv", &lines[1..]);
    right.month.reconcile(&[&part, &second], &as_of, 0);
    let part = right.file("100012345678-20241223-by_used_time-bill_details_1.csv", &more[..1]);
    let found = right.month.reconcile(&[&part, &second], &as_of, 4);
    assert_eq!(beside(&found, "files_differ"), Some((1, None, None, true)));
    // The first download broke off: the second one stands for it.
    fs::write(&first, "PK\u{3}\u{4} and no more").expect("a file");
    let found = right.month.reconcile(&[&first, &second], &as_of, 0);
    warning(&found, "passed over: ");
}

/// The columns of about 2023 name no month of the bill: a line that was paid long after its usage is of the month in which
/// it was paid, as the bill holds no other usage of its own.
#[test]
fn late_lines_of_bills_without_a_month_are_in_question() {
    let right = Right::loaded();
    let late = |kind: &str, paid: &str| {
        let [mut line, ..] = <[String; 3]>::try_from(right_lines()).expect("three lines");
        for (from, to) in [("2024-12-22", paid), ("2024-12-21", "2024-11-10")] {
            line = line.replace(from, to);
        }
        line.replace("按量计费日结", kind)
    };
    for (kind, paid) in [
        ("按量计费日结", "2024-12-15"),
        ("调账扣费", "2024-12-15"),
        ("调账扣费", "2024-11-11"),
        // When the month was closed.
        ("按量计费日结", "2025-01-01"),
    ] {
        let mut lines = right_lines();
        lines.push(late(kind, paid));
        let (_, found) = right.says(&lines, &["--month", "2024-12"], 4);
        assert_eq!(beside(&found, "other_month"), some(1, "3.6", "3.6", true), "{kind} {paid}");
    }
    right.says(&right_lines(), &["--month", "2024-12"], 0);
}

/// Parts of a bill are one file, whatever it is called: a line in each of two is two lines. A file that another one holds
/// is a copy.
#[test]
fn numbered_files_are_the_parts_of_one_bill() {
    let right = Right::loaded();
    let as_of = ["--as-of", AS_OF, "--dry-run"];
    let lines = right_lines();
    let calls = |found: &Value| row_of(found, "2024-12-21", WECHAT)["provider_calls"].clone();
    let one = right.file("bill_1.csv", &[lines[0].clone(), lines[1].clone()]);
    let other = right.file("bill_2.csv", &[lines[2].clone(), lines[0].clone()]);
    let found = right.month.reconcile(&[&one, &other], &as_of, 4);
    assert_eq!(calls(&found), 6);
    let told = warning(&found, "say the same as another of their file");
    assert!(told.contains("bill_1.csv row 2 and ") && told.contains("bill_2.csv row 3)"), "{told}");
    let other = right.file("bill_2.csv", &[lines[1].clone(), lines[0].clone()]);
    let third = right.file("bill_3.csv", &lines[2..]);
    let found = right.month.reconcile(&[&one, &other, &third], &as_of, 4);
    assert_eq!(calls(&found), 3);
    warning(&found, "2 lines in more than one of the files or pages, counted once");
    // Whether it is a copy or bills the same twice nobody knows: it is told, and the others are parts all the same.
    warning(&found, "bill_1.csv and ");
    assert_eq!(beside(&found, "files_differ"), Some((2, None, None, true)));
    let again = right.file("bill_3.csv", &[lines[2].clone(), lines[0].clone()]);
    let found = right.month.reconcile(&[&one, &other, &again], &as_of, 4);
    assert_eq!(calls(&found), 6);
}

/// Where each of two files lacks what the other has, none of them is the bill. A later export that holds an earlier one, and
/// two that overlap, are no contradiction.
#[test]
fn files_that_lack_each_other_s_lines_are_told() {
    let right = Right::loaded();
    let as_of = ["--as-of", AS_OF, "--dry-run"];
    let lines = right_lines();
    let one = right.file("one.csv", &lines[..2]);
    let other = right.file("other.csv", &lines[1..]);
    let found = right.month.reconcile(&[&one, &other], &as_of, 4);
    assert_eq!(beside(&found, "files_differ"), Some((2, None, None, true)));
    warning(&found, "should say the same, and 2 lines are in one of them alone");
    let all = right.file("all.csv", &lines);
    right.month.reconcile(&[&one, &all], &as_of, 0);
    // Each goes on where the other does not reach.
    let with = |name: &str, day: &str| {
        let more = lines[0].replace("2024-12-21", day);
        right.file(name, &lines.iter().cloned().chain([more]).collect::<Vec<String>>())
    };
    let (before, after) = (with("before.csv", "2024-12-20"), with("after.csv", "2024-12-22"));
    let found = right.month.reconcile(&[&before, &after], &as_of, 4);
    assert_eq!(beside(&found, "files_differ"), None);
    // Of two downloads of one file each must say all.
    let second = right.file("all (1).csv", &lines[..2]);
    let found = right.month.reconcile(&[&all, &second], &as_of, 4);
    assert_eq!(beside(&found, "files_differ"), Some((1, None, None, true)));
}

/// What the provider's list says of a Seq twice, and how many charges it counts, must agree.
#[test]
fn a_list_that_contradicts_itself_is_told() {
    let month = Month::loaded();
    let zip = bill("100012345678-20241231-by_used_time-bill_details.zip");
    let as_of = ["--as-of", AS_OF, "--dry-run"];
    let text = fs::read_to_string(root().join(LIST)).expect("the list");
    let once = month.reconcile(&[&zip, LIST], &as_of, 4);
    assert_eq!((beside(&once, "files_differ"), beside(&once, "parts_missing")), (None, None));
    let path = month.folder.path().join("list.ndjson");
    let list = path.to_str().expect("UTF-8");
    let flag = "\"IsNeedCharge\":true";
    let flag = if text.contains(flag) { flag } else { "\"IsNeedCharge\": true" };
    fs::write(&path, text.replacen(flag, &flag.replace("true", "false"), 1)).expect("a list");
    for lists in [[LIST, list], [list, LIST]] {
        let found = month.reconcile(&[&zip, lists[0], lists[1]], &as_of, 4);
        assert_eq!(beside(&found, "files_differ"), Some((1, None, None, true)));
    }
    // The token counts one charge more than it has attempts that are charged.
    let found = month.reconcile(&[&zip, list], &as_of, 4);
    assert_eq!(beside(&found, "parts_missing"), Some((1, None, None, true)));
    warning(&found, "ChargeCount is not the number of ChargeDetails that are charged");
}

/// Names of another width, and times without seconds as spreadsheets write them, are the same line.
#[test]
fn a_bill_that_a_spreadsheet_wrote_again_is_no_second_one() {
    let right = Right::loaded();
    let as_of = ["--as-of", AS_OF, "--dry-run"];
    let lines = right_lines();
    let bill = right.file("bill.csv", &lines);
    let again: Vec<String> = lines
        .iter()
        .map(|line| {
            let line = line.replace(":00:00", ":00").replace("23:59:59", "23:59");
            line.replace('（', "(").replace('）', ")").replace("2024-12-2", "2024/12/2")
        })
        .collect();
    let again = right.file("again.csv", &again);
    let found = right.month.reconcile(&[&again], &as_of, 0);
    assert_eq!(
        found["bill"]["warnings"],
        right.month.reconcile(&[&bill], &as_of, 0)["bill"]["warnings"]
    );
    let found = right.month.reconcile(&[&bill, &again], &as_of, 0);
    warning(&found, "3 lines in more than one of the files or pages, counted once");
}

/// A cost is what is paid in vouchers, incentives, transfers and cash.
#[test]
fn payments_that_do_not_add_up_are_told() {
    let right = Right::loaded();
    let as_of = ["--as-of", AS_OF, "--dry-run"];
    let bill = |paid: [&str; 3], more: &str| {
        let lines = right_lines();
        let lines: Vec<String> =
            lines.iter().zip(paid).map(|(line, paid)| format!("{line},{paid},0,-")).collect();
        right.file_with("paid.csv", &format!(",代金券支出,现金账户支出{more}"), &lines)
    };
    // To fen, and with nothing said, too.
    let all = ",赠送账户支出,分成金账户支出";
    let right_ones = bill(["3.5,0.1", "-,1.13", "-,-"], all);
    right.month.reconcile(&[&right_ones], &as_of, 0);
    let wrong = bill(["-,99", "-,1.13", "0.2,0"], all);
    let found = right.month.reconcile(&[&wrong], &as_of, 4);
    assert_eq!(beside(&found, "payments_disagree"), some(2, "95.3", "95.5", true));
    // What was paid from accounts that the file does not name is not known.
    let some = bill(["-,3", "-,1", "0.2,0"], ",赠送账户支出,x");
    right.month.reconcile(&[&some], &as_of, 0);
}

/// What packages are deducted is compared though calls and money agree.
#[test]
fn quantities_that_packages_do_not_give_are_told() {
    let right = Right::loaded();
    let mut lines = right_lines();
    lines[1] = lines[1].replace("2,1,1,次", "2,0,2,次");
    let (headline, found) = right.says(&lines, &[], 4);
    assert_eq!(beside(&found, "packages_differ"), Some((1, None, None, true)));
    assert!(headline.starts_with("THE BILL IS NOT SHOWN TO BE RIGHT"), "{headline}");
    assert!(headline.contains("1 call deducted otherwise than the packages"), "{headline}");
    right.says(&lines, &["--set", "reconcile.tolerance_calls=1"], 0);
}

/// The package of one of 20 December, given for nothing, has a line of its own on the bill.
#[test]
fn a_free_package_may_have_a_line_that_costs_nothing() {
    let right = Right::loaded();
    let app = "增强版人脸核身（权威库）-App";
    let none = ["-", "-", "-", "-"];
    let bought = |cost: &str| {
        let line = right_line([PRODUCT, app, "包年包月新购", "资源包"], none, cost, "CNY");
        line.replace("2024-12-21 00:00:00", "2024-12-20 00:00:00")
    };
    let free = ["--set", "reconcile.package.1.free=true"];
    let with = |cost: &str| [right_lines(), vec![bought(cost)]].concat();
    let (headline, found) = right.says(&with("0"), &free, 0);
    assert_eq!(beside(&found, "package"), some(1, "0", "0", false), "{headline}");
    assert_eq!(beside(&found, "package_not_named"), None);
    // One that was paid for is another.
    let (_, found) = right.says(&with("0.01"), &free, 4);
    assert_eq!(beside(&found, "package_not_named"), some(1, "0.01", "0.01", true));
    // Nor has it two lines.
    let twice = [with("0"), vec![bought("0")]].concat();
    let (_, found) = right.says(&twice, &free, 0);
    assert_eq!(beside(&found, "package_not_named"), some(1, "0", "0", false));
}

/// A package that was given back under a name that nobody knows is no purchase.
#[test]
fn a_refund_of_a_package_under_another_name_is_told_by_it() {
    let right = Right::loaded();
    let none = ["-", "-", "-", "-"];
    let as_of = ["--as-of", AS_OF, "--dry-run"];
    for name in ["资源包退款", "退款", "包年包月退费"] {
        let refund = |cost| right_line([PRODUCT, H5_NAME, name, "资源包"], none, cost, "CNY");
        let bill = |cost| {
            let mut lines: Vec<String> =
                right_lines().iter().map(|line| format!("{line},按量计费")).collect();
            lines.push(format!("{},包年包月", refund(cost)));
            right.file_with("bill.csv", ",计费模式", &lines)
        };
        let found = right.month.reconcile(&[&bill("-880")], &as_of, 4);
        assert_eq!(beside(&found, "unknown_kind"), some(1, "-880", "880", true), "{name}");
        assert_eq!(beside(&found, "package_not_named"), None, "{name}");
        let line = format!(
            "[reconcile.transaction_types] in the pipeline file: \"{name}\" = \"refund\" (or "
        );
        assert!(warning(&found, "which is not known").contains(&line), "{name}");
        // With the line that was told, it is a package that was given back, and the pipeline names none.
        let known = format!("reconcile.transaction_types.{name}=\"refund\"");
        let more = [&as_of[..], &["--set", &known]].concat();
        let found = right.month.reconcile(&[&bill("-880")], &more, 4);
        assert_eq!(beside(&found, "unknown_kind"), None, "{name}");
        assert_eq!(beside(&found, "package_not_named"), some(1, "-880", "880", true), "{name}");
        // What costs something was bought, whatever it is called.
        let found = right.month.reconcile(&[&bill("880")], &as_of, 4);
        assert_eq!(beside(&found, "unknown_kind"), None, "{name}");
    }
}

/// Sums of rounding are of the months compared, and of what was known.
#[test]
fn rounding_is_of_the_month_and_the_time() {
    let right = Right::loaded();
    let results = right.results();
    // The 21st again, a month before: its attempts are in no package, and their rounding is not December's.
    let day = fs::read_to_string(results.join("dt=2024-12-21.ndjson")).expect("a day");
    let moved: Vec<String> = day.lines().map(|line| moved(line, -31)).collect();
    fs::write(results.join("dt=2024-11-20.ndjson"), moved.join("\n")).expect("a day");
    right.load();
    let rounding = |pay: &str, cost: &str| {
        let line =
            right_line([PRODUCT, "-", "月度计费精度差异", "-"], ["-", "-", "-", "-"], cost, "CNY");
        line.replace("2024-12-22 09:00:00", pay)
    };
    let mut lines = right_lines();
    lines.push(rounding("2024-12-31 20:00:00", "0.01"));
    // Paid an hour after the time of which is asked.
    lines.push(rounding("2025-01-01 10:00:00", "0.02"));
    let (_, found) = right.says(&lines, &["--month", "2024-12"], 0);
    let money = &found["money"];
    // 3.6 and 0.3 are whole fen; 1.13333333 becomes 1.13, and a third of a fen is still to be asked for.
    assert_eq!(money["expected_rounding"], "0.00333333");
    assert_eq!(money["bill_rounding"], "0.01");
}

/// A record of results with its times, and the names of its Seqs, some days later.
fn moved(line: &str, days: i64) -> String {
    let mut record: Value = serde_json::from_str(line).expect("a record");
    let later = |time: i64| time + days * 86_400_000;
    for time in ["created_at", "fetched_at"] {
        record[time] = json!(later(record[time].as_i64().expect("a time")));
    }
    let details = &mut record["result"]["Response"]["Text"]["LivenessDetail"];
    for detail in details.as_array_mut().into_iter().flatten() {
        let time: i64 = detail["ReqTime"].as_str().expect("a text").parse().expect("a time");
        detail["ReqTime"] = json!(later(time).to_string());
        detail["Seq"] = json!(format!("{}/{days}", detail["Seq"].as_str().expect("a text")));
    }
    record.to_string()
}

/// A bill by deduction time without a column or a name that says so: all of it was paid in one month, and it begins with
/// the last day of the month before.
#[test]
fn a_bill_by_deduction_time_is_known_by_when_it_was_paid() {
    let right = Right::loaded();
    let results = right.results();
    let day = fs::read_to_string(results.join("dt=2024-12-21.ndjson")).expect("a day");
    for (days, name) in [(-21, "dt=2024-11-30.ndjson"), (10, "dt=2024-12-31.ndjson")] {
        let moved: Vec<String> = day.lines().map(|line| moved(line, days)).collect();
        fs::write(results.join(name), moved.join("\n")).expect("a day");
    }
    right.load();
    let lines = right_lines();
    let before = lines.iter().map(|line| {
        line.replace("2024-12-21", "2024-11-30").replace("2024-12-22 09", "2024-12-01 09")
    });
    let all: Vec<String> = before.chain(lines.iter().cloned()).collect();
    let path = right.file("paid.csv", &all);
    let as_of = ["--as-of", "2025-01-20T00:00:00+08:00", "--dry-run"];
    let found = right.month.reconcile(&[&path], &as_of, 4);
    // The calls of both days agree, and the 31st is of the next bill.
    let told: BTreeSet<(String, i64)> = rows(&found)
        .iter()
        .map(|row| {
            (row["period"].as_str().expect("a day").into(), row["difference"].as_i64().unwrap())
        })
        .collect();
    assert_eq!(told, BTreeSet::from([("2024-11-30".into(), 0), ("2024-12-21".into(), 0)]));
}
