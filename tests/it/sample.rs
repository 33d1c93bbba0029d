//! `pipelines/sample.toml` over `sample-data/` finds what was worked out by hand in `sample-data/README.md`.

use crate::world::{Row, Table, faceledger_in};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

/// The columns of `tests/cases/sample/daily_charge.csv`.
const CHARGE: [&str; 11] = [
    "usage_date",
    "settlement_date",
    "account",
    "billing_tag",
    "billing_tag_code",
    "attempts",
    "charged",
    "free",
    "unknown",
    "charged_failed",
    "not_final",
];

/// The columns of `tests/cases/sample/rejects.csv`.
const REJECT: [&str; 5] = ["source_key", "source_record", "reason", "json_path", "seqs"];

#[test]
fn the_sample_gives_the_totals_worked_out_by_hand() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let out = tempfile::tempdir().expect("a temporary folder");
    let output = format!("output.url={}", out.path().display());
    let run = ["run", "pipelines/sample.toml", "--json", "--set", &output];
    let ran = faceledger_in(root, &run, &[]).exits(0);

    let expected: Value = serde_json::from_str(&case("tally.json")).expect("tally.json");
    let report = ran.json();
    for (counter, n) in expected.as_object().expect("counters") {
        assert_eq!(&report["tally"][counter], n, "{counter}");
    }

    let charges = Table::open(&out.path().join("daily_charge")).rows();
    assert_eq!(csv(&charges, &CHARGE), sorted(&case("daily_charge.csv")));
    let rejects = Table::open(&out.path().join("rejects")).rows();
    assert_eq!(csv(&rejects, &REJECT), sorted(&case("rejects.csv")));

    // The same once more, through the program's own listing.
    let listed =
        faceledger_in(root, &["rejects", "pipelines/sample.toml", "--json", "--set", &output], &[])
            .exits(0);
    let listed: Vec<Row> = serde_json::from_value(listed.json()).expect("an array of rejects");
    let told = sorted(&case("rejects.csv").replace(",null", ",[]"));
    assert_eq!(csv(&listed, &REJECT), told);
    for row in &listed {
        for member in ["byte_offset", "message", "run_id"] {
            assert!(!row[member].is_null(), "rejects --json has {member}");
        }
    }

    // The report that is kept is the report that was printed.
    let run_id = report["run_id"].as_str().expect("run_id");
    let kept =
        fs::read_to_string(out.path().join(format!("_runs/{run_id}.json"))).expect("a run report");
    let kept: Value = serde_json::from_str(&kept).expect("a run report in JSON");
    assert_eq!(kept["tally"], report["tally"]);

    let attempts = Table::open(&out.path().join("liveness_detail")).rows();
    numbered_once(&attempts);
    the_pull_that_counts(&attempts);
    faceledger_in(root, &["verify", "pipelines/sample.toml", "--set", &output], &[]).exits(0);
}

/// Attempts #1 to #54 are rows, each once, and nothing else is.
fn numbered_once(attempts: &[Row]) {
    let mut numbers: Vec<u32> = attempts
        .iter()
        .map(|row| row["seq"].as_str().expect("a Seq")[..8].parse().expect("a number"))
        .collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=54).collect::<Vec<u32>>());
}

/// #17 was pulled at 10:20 without its flag and at 12:30 with it; #19 and #49 may still have company.
fn the_pull_that_counts(attempts: &[Row]) {
    let attempt = |number: u32| {
        let prefix = format!("{number:08}-");
        let of =
            attempts.iter().find(|row| row["seq"].as_str().expect("a Seq").starts_with(&prefix));
        of.unwrap_or_else(|| panic!("no #{number}"))
    };
    let seventeen = attempt(17);
    assert_eq!(seventeen["is_need_charge"], true);
    assert_eq!(seventeen["errcode"], 2016);
    assert!(seventeen["source_key"].as_str().expect("a key").ends_with("TOKEN-0110-pull-2.json"));
    for number in [19, 49] {
        assert_eq!(attempt(number)["snapshot_final"], false, "#{number}");
    }
    // The midnight pair: a millisecond apart, two days.
    assert_eq!(
        (&attempt(10)["usage_date"], &attempt(10)["req_time"]),
        (&"2024-11-01".into(), &1_730_476_799_999_i64.into())
    );
    assert_eq!(
        (&attempt(11)["usage_date"], &attempt(11)["req_time"]),
        (&"2024-11-02".into(), &1_730_476_800_000_i64.into())
    );
    assert_eq!(
        (attempt(1)["settlement_date"].as_str(), attempt(44)["sim"].as_i64()),
        (Some("2024-11-02"), Some(10_000))
    );
}

fn case(name: &str) -> String {
    let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "tests/cases/sample", name].iter().collect();
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn sorted(csv: &str) -> Vec<String> {
    let mut lines: Vec<String> = csv.lines().skip(1).map(str::to_owned).collect();
    lines.sort();
    lines
}

fn csv(rows: &[Row], columns: &[&str]) -> Vec<String> {
    let cell = |row: &Row, column: &&str| match &row[*column] {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let mut lines: Vec<String> = rows
        .iter()
        .map(|row| columns.iter().map(|c| cell(row, c)).collect::<Vec<_>>().join(","))
        .collect();
    lines.sort();
    lines
}
