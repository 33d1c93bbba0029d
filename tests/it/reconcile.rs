//! `pipelines/demo.toml` over the sample month finds what was worked out by hand in `sample-data/month/README.md`,
//! whatever form the bill has.

use crate::interop::python;
use crate::world::{Row, Table, faceledger_in};
use serde_json::{Value, json};
use std::collections::BTreeMap;
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
    ("2024-12-20", APP, 2, Some(2), 0, "matched", &[]),
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
        ("matched", 79),
        ("provider_more", 7),
        ("ours_more", 3),
        ("provider_only", 1),
        ("ours_only", 1),
        ("pending", 3),
        ("covered_by_package", 1),
        ("unmapped", 1),
        ("adjusted", 1),
    ];
    assert_eq!(totals, expected.map(|(status, n)| (status.to_owned(), n)).into());
    // Every other row is one of the days on which nothing was planted.
    for row in rows(found).iter().filter(|row| row["status"] == "matched") {
        assert_eq!(row["difference"], 0);
        assert_eq!(row["parts"], json!([]));
    }
}

/// Rows that differ in calls (README: provider_more 7, ours_more 3, one each of provider_only, ours_only, unmapped), and day 17
/// of App, whose adjustment no price explains.
const OVER: i64 = 14;

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
        assert_eq!(
            found["bill"]["lines_other_products"].as_i64().map(|n| n >= 1),
            Some(true),
            "{bills:?}"
        );
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
        ("provider_only", 0),
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
    ] {
        assert_eq!(row_of(&found, day, tag)["parts"][0]["seqs"], json!([expected]), "{day} {tag}");
    }
    let cut = row_of(&found, "2024-12-11", H5);
    assert_eq!(cut["parts"][0]["source_keys"], json!(["dt=2024-12-11.ndjson"]));

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
    assert_eq!(money["bill_rounding"], "-0.08333354");
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
    let commits = |found: &Value| -> Vec<bool> {
        let commits = found["commits"].as_array().expect("commits").iter();
        commits.map(|c| c["committed"].as_bool().expect("committed")).collect()
    };
    assert_eq!(commits(&found), [true, true, true]);
    let stored: Vec<Row> = Table::open(&month.out().join("reconciliation")).rows();
    assert_eq!(stored.len(), 97);
    for row in &stored {
        let kinds = [
            "midnight",
            "unknown_flag",
            "not_final",
            "reject",
            "flag_differs",
            "provider_only",
            "ours_only",
            "unexplained",
        ];
        let sum: i64 =
            kinds.iter().map(|kind| row[&format!("part_{kind}")].as_i64().expect("a count")).sum();
        assert_eq!(sum, row["difference"].as_i64().expect("a difference"));
    }
    assert_eq!(Table::open(&month.out().join("seq_difference")).rows().len(), 3);
    // 30 days of three lines, one each on days 13, 16 and 17, two packages, one of rounding.
    let lines = Table::open(&month.out().join("bill_line")).rows();
    assert_eq!(lines.len(), 96);
    // 198.66666646 of usage (README), - 1.13333333 + 1450 + 1 - 0.08333354, in hundred-millionths.
    let sum: i128 = lines.iter().filter_map(|line| line["cost"].as_i64()).map(i128::from).sum();
    assert_eq!(sum, 19_866_666_646 - 113_333_333 + 145_100_000_000 - 8_333_354);

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
    assert_eq!(Table::open(&month.out().join("bill_line")).rows().len(), 96);
}

/// Sums by hand: 198.66666646 of usage - 1.13333333 + 1450 + 1 - 0.08333354; differences 8 (README: 7 - 3 + 2 - 1 + 3).
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
        "cost": "1648.44999959", "lines": 96, "months": ["2024-12"], "difference": 8, "midnight": 0, "rows": 97,
        "statuses": ["day_differs", "flag_differs", "ours_only"],
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
