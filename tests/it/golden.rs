//! Cases as folders: `tests/cases/<name>/` holds `pipeline.toml`, `source/` and what must come of it in
//! `expected/`. `make golden` (GOLDEN=1) rewrites what is expected: the diff is reviewed like code.

use crate::world::{Object, Row, SOME_TIME, World, walk};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

fn cases() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let mut cases: Vec<PathBuf> = fs::read_dir(root)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.join("pipeline.toml").is_file())
        .collect();
    cases.sort();
    assert!(!cases.is_empty(), "no cases");
    cases
}

/// A table as text: a head, then a line a row; null is `-`.
fn text(rows: &[Row], columns: &[&str]) -> String {
    let mut text = columns.join("\t") + "\n";
    for row in rows {
        let cells: Vec<String> = columns
            .iter()
            .map(|column| match row.get(*column) {
                None => panic!("no column {column}"),
                Some(Value::Null) => "-".to_owned(),
                Some(Value::String(s)) => s.clone(),
                Some(other) => other.to_string(),
            })
            .collect();
        writeln!(text, "{}", cells.join("\t")).unwrap();
    }
    text
}

fn columns(table: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("schemas/{table}.v1.json"));
    let schema: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    schema["columns"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| c["name"].as_str().unwrap().to_owned())
        .filter(|name| name != "run_id")
        .collect()
}

fn outcome(case: &Path) -> BTreeMap<&'static str, String> {
    let world = World::new(&fs::read_to_string(case.join("pipeline.toml")).unwrap());
    let source = case.join("source");
    walk(&source, &mut |path| {
        let key = path.strip_prefix(&source).unwrap().to_string_lossy().into_owned();
        world.put(&Object::new(&key, fs::read(path).unwrap(), SOME_TIME));
    });
    let ran = world.faceledger(&["run", "pipeline.toml", "--json"]);
    assert!(ran.code == 0 || ran.code == 3, "{}", ran.said());
    let report = ran.json();
    let mut outcome = BTreeMap::new();
    let summary = serde_json::json!({
        "exit": ran.code, "tally": report["tally"], "changed": report["changed"], "unmapped": report["unmapped"],
    });
    outcome.insert("report.json", serde_json::to_string_pretty(&summary).unwrap() + "\n");
    for (table, file) in [
        ("liveness_detail", "rows.tsv"),
        ("daily_charge", "daily_charge.tsv"),
        ("rejects", "rejects.tsv"),
    ] {
        let names = columns(table);
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        outcome.insert(file, text(&world.table(table).rows(), &names));
    }
    if report["tally"]["objects_listed"] != 0 {
        world.verify();
    }
    outcome
}

#[test]
fn golden_cases() {
    let rewrite = std::env::var_os("GOLDEN").is_some();
    for case in cases() {
        for (file, found) in outcome(&case) {
            let path = case.join("expected").join(file);
            if rewrite {
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(&path, &found).unwrap();
            }
            let expected = fs::read_to_string(&path).unwrap_or_default();
            assert_eq!(expected, found, "{}: `make golden` rewrites it", path.display());
        }
    }
}
