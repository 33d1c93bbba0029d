//! pyarrow, DuckDB, Polars and delta-rs read the tables, as plain Parquet and through the Delta log, and agree with
//! each other, with the recount and with what was worked out by hand.

use crate::random::Case;
use crate::recount::recount;
use crate::world::{Object, Row, SOME_TIME, Table, World, attempt, faceledger_in, result};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;

/// (usage_date, billing_tag, attempts, charged, free, unknown), sorted.
type Totals = Vec<Value>;

/// Python with the packages of `tests/requirements.txt`.
pub fn python() -> PathBuf {
    let told = std::env::var_os("FACELEDGER_PYTHON").map(PathBuf::from);
    let python = told.unwrap_or_else(|| ".venv/bin/python".into());
    // Seen from the root of the project, where `make` is run. A name without a folder is looked up in PATH.
    let python = match python.components().count() {
        1 => python,
        _ => Path::new(env!("CARGO_MANIFEST_DIR")).join(python),
    };
    let works =
        Command::new(&python).args(["-c", "import deltalake, duckdb, polars, pyarrow"]).output();
    assert!(
        works.as_ref().is_ok_and(|o| o.status.success()),
        "{} is no Python with the packages of tests/requirements.txt: run `make test`, which makes .venv, or \
         `python3 -m venv .venv && .venv/bin/pip install -r tests/requirements.txt`",
        python.display()
    );
    python
}

/// What all the readers make of an output; on a host whose clocks are elsewhere.
#[track_caller]
fn read(output: &Path) -> Value {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/interop.py");
    let ran = Command::new(python())
        .arg(script)
        .arg(output)
        .env("TZ", "America/New_York")
        .output()
        .expect("Python starts");
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    serde_json::from_slice(&ran.stdout).expect("JSON from interop.py")
}

/// Every reader says `expected`, of the attempts and of the daily charges, and sees the types that the schema says.
#[track_caller]
fn check(output: &Path, expected: &Totals, rows: usize) {
    let found = read(output);
    let engines = found["engines"].as_object().expect("engines");
    assert_eq!(engines.len(), 7);
    for (engine, made) in engines {
        assert_eq!(made["totals"], json!(expected), "{engine}: totals");
        for (column, types) in TYPES {
            let seen = made["types"][*column].as_str().expect("a type");
            assert!(types.contains(&seen), "{engine}: {column} is {seen}");
        }
    }
    for (engine, totals) in found["charges"].as_object().expect("charges") {
        assert_eq!(totals, &json!(expected), "{engine}: daily_charge");
    }
    let day = &found["pruned"]["day"];
    let attempts_of_day: i64 =
        expected.iter().filter(|t| &t[0] == day).map(|t| t[2].as_i64().expect("a count")).sum();
    for (engine, rows) in found["pruned"]["rows"].as_object().expect("engines") {
        assert_eq!(rows.as_i64(), Some(attempts_of_day), "{engine}: rows of {day}");
    }
    assert_eq!(found["found_by_seq"], 1, "a Seq looked up");
    let attempts: i64 = expected.iter().map(|t| t[2].as_i64().expect("a count")).sum();
    assert_eq!(attempts, rows as i64);
}

/// Column types as the readers call them. Delta knows microseconds only, so they come that way through the log.
const TYPES: &[(&str, &[&str])] = &[
    ("usage_date", &["date32[day]", "DATE", "Date"]),
    (
        "req_time",
        &[
            "timestamp[ms, tz=UTC]",
            "timestamp[us, tz=UTC]",
            "TIMESTAMP WITH TIME ZONE",
            "Datetime(time_unit='ms', time_zone='UTC')",
            "Datetime(time_unit='us', time_zone='UTC')",
        ],
    ),
    ("seq", &["string", "VARCHAR", "String"]),
    ("billing_tag", &["string", "VARCHAR", "String"]),
    ("is_need_charge", &["bool", "BOOLEAN", "Boolean"]),
    ("errcode", &["int32", "INTEGER", "Int32"]),
    ("sim", &["decimal128(5, 2)", "DECIMAL(5,2)", "Decimal(precision=5, scale=2)"]),
    ("liveness_mode", &["int8", "TINYINT", "Int8"]),
    ("snapshot_final", &["bool", "BOOLEAN", "Boolean"]),
];

fn totals(daily: &[Row]) -> Totals {
    let columns = ["usage_date", "billing_tag", "attempts", "charged", "free", "unknown"];
    let mut totals: Totals =
        daily.iter().map(|row| columns.iter().map(|c| row[*c].clone()).collect()).collect();
    totals.sort_by_key(|t| {
        (t[0].as_str().expect("a day").to_owned(), t[1].as_str().expect("a tag").to_owned())
    });
    totals
}

#[test]
fn readers_agree_on_the_sample() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let out = tempfile::tempdir().expect("a temporary folder");
    let output = format!("output.url={}", out.path().display());
    faceledger_in(root, &["run", "pipelines/sample.toml", "--set", &output], &[]).exits(0);
    // Worked out by hand: sample-data/README.md.
    let by_hand = std::fs::read_to_string(root.join("tests/cases/sample/daily_charge.csv"))
        .expect("daily_charge.csv");
    let mut expected: Totals = by_hand
        .lines()
        .skip(1)
        .map(|line| {
            let cells: Vec<&str> = line.split(',').collect();
            let count = |i: usize| cells[i].parse::<i64>().expect("a count");
            json!([cells[0], cells[3], count(5), count(6), count(7), count(8)])
        })
        .collect();
    expected.sort_by_key(|t| {
        (t[0].as_str().expect("a day").to_owned(), t[1].as_str().expect("a tag").to_owned())
    });
    check(out.path(), &expected, 54);
}

#[test]
fn readers_agree_on_a_random_folder() {
    let case = Case::of_seed(6000);
    let world = World::new(&case.setting.pipeline());
    world.put_all(&case.objects);
    world.run(&[]);
    case.check(&world);
    check(&world.path("out"), &totals(&case.expected.daily), case.expected.rows.len());
}

/// A log of several versions, with files that have been replaced in between.
#[test]
fn readers_agree_after_many_runs() {
    let case =
        (6001..).map(Case::of_seed).find(|case| case.objects.len() >= 18).expect("a large case");
    let world = World::new(&case.setting.pipeline());
    for object in &case.objects {
        world.put(object);
        world.run(&[]);
    }
    // Past the tenth version, at which Delta clients like to write a checkpoint.
    assert!(Table::open(&world.path("out/liveness_detail")).version > Some(9));
    case.check(&world);
    check(&world.path("out"), &totals(&case.expected.daily), case.expected.rows.len());
    world.run(&["--full-refresh"]);
    check(&world.path("out"), &totals(&case.expected.daily), case.expected.rows.len());
}

/// More rows than one row group holds, so that readers skip some and meet several bloom filters.
#[test]
fn readers_agree_on_several_row_groups() {
    // 2024-11-02T00:00:00+08:00.
    let midnight = 1_730_476_800_000;
    let lines: Vec<String> = (0..150_000)
        .map(|n| {
            result(vec![attempt(
                &format!("seq-{n:06}"),
                midnight + n * 500,
                [Some(true), Some(false), None][n as usize % 3],
            )])
            .to_string()
        })
        .collect();
    let case = Case::of_seed(6000);
    let setting = crate::recount::Setting {
        keyed: false,
        envelope: false,
        routes: Vec::new(),
        ..case.setting
    };
    let world = World::new(&setting.pipeline());
    let object = Object::new("large.ndjson", lines.join("\n"), SOME_TIME);
    world.put(&object);
    world.run(&[]);
    world.verify();
    let expected = recount(&setting, &[object]);
    assert_eq!(expected.rows.len(), 150_000);
    check(&world.path("out"), &totals(&expected.daily), 150_000);
}
