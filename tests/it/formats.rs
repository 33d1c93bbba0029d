//! However the same results are packed, the rows are the same.

use crate::world::{Object, PLAIN_PIPELINE, SOME_TIME, World, attempt, result};
use std::collections::BTreeSet;
use std::io::Write;

/// Three results: their texts on one line each, and written out over many.
fn results() -> (Vec<String>, Vec<String>) {
    // 2024-11-02T00:00:00+08:00.
    let one = |n: i64| {
        let attempts = (0..n)
            .map(|i| attempt(&format!("seq-{n}-{i}"), 1_730_476_800_000 + n * 10 + i, Some(true)));
        result(attempts.collect())
    };
    let results = [one(1), one(2), one(3)];
    let pretty = |value: &serde_json::Value| serde_json::to_string_pretty(value).expect("JSON");
    (results.iter().map(ToString::to_string).collect(), results.iter().map(pretty).collect())
}

fn expected() -> BTreeSet<(String, i64)> {
    [("seq-1-0", 0), ("seq-2-0", 1), ("seq-2-1", 1), ("seq-3-0", 2), ("seq-3-1", 2), ("seq-3-2", 2)]
        .map(|(seq, record)| (seq.to_owned(), record))
        .into()
}

#[track_caller]
fn check(name: &str, bytes: impl Into<Vec<u8>>, sets: &[&str]) {
    let world = World::new(PLAIN_PIPELINE);
    world.put(&Object::new(name, bytes, SOME_TIME));
    let args: Vec<&str> = sets.iter().flat_map(|set| ["--set", set]).collect();
    let ran = world.run(&args);
    world.verify();
    let rows = world.table("liveness_detail").rows();
    let found: BTreeSet<(String, i64)> = rows
        .iter()
        .map(|row| {
            (
                row["seq"].as_str().expect("a Seq").to_owned(),
                row["source_record"].as_i64().expect("a number"),
            )
        })
        .collect();
    assert_eq!(found, expected(), "{name}, {sets:?}: Seqs and their record numbers");
    assert_eq!(
        (ran.tally("records_seen"), ran.tally("records_rejected")),
        (3, 0),
        "{name}, {sets:?}"
    );
}

fn gzip(parts: &[&str]) -> Vec<u8> {
    let mut out = Vec::new();
    for part in parts {
        let mut encoder = flate2::write::GzEncoder::new(&mut out, flate2::Compression::default());
        encoder
            .write_all(part.as_bytes())
            .and_then(|()| encoder.finish().map(drop))
            .expect("a gzip member");
    }
    out
}

#[test]
fn every_framing_under_every_name() {
    let (compact, pretty) = results();
    let lines = compact.join("\n");
    for name in ["a.ndjson", "a.jsonl", "a.json", "a.txt", "a", "A.NDJSON"] {
        for end in ["", "\n", "\r\n", "\n\n \n"] {
            check(name, format!("{lines}{end}"), &[]);
        }
        check(name, compact.join("\r\n"), &[]);
        check(name, compact.join("\n\n\n"), &[]);
    }
    for name in ["a.json", "a.txt", "a"] {
        check(name, format!("[{}]", compact.join(",")), &[]);
        check(name, format!("\n[\n{}\n]\n", pretty.join(",\n")), &[]);
        check(name, compact.join(""), &[]);
        check(name, compact.join(" "), &[]);
        check(name, pretty.join("\n"), &[]);
        check(name, pretty.join(""), &[]);
        check(name, pretty.join("\r\n").replace("\n", "\r\n"), &[]);
    }
    check("a.log", &*lines, &["source.format=ndjson"]);
    check("a.ndjson", pretty.join("\n"), &["source.format=json"]);
    check("a.ndjson", &*lines, &["source.format=json"]);
}

/// Documents one after another may be laid out in any way, each in its own.
#[test]
fn a_document_on_one_line_before_others_written_out() {
    let (compact, pretty) = results();
    let half = |text: &str| text.replacen("{", "{ ", 1);
    for documents in [
        [&compact[0], &pretty[1], &pretty[2]],
        [&compact[0], &compact[1], &pretty[2]],
        [&compact[0], &pretty[1], &compact[2]],
        [&pretty[0], &compact[1], &compact[2]],
        [&pretty[0], &compact[1], &pretty[2]],
    ] {
        for between in ["\n", "\r\n", "\n\n"] {
            let text = documents.map(|d| d.as_str()).join(between);
            for name in ["a.json", "a.txt", "a"] {
                check(name, &*text, &[]);
                check(name, half(&text), &[]);
            }
            check("a.ndjson", &*text, &["source.format=json"]);
        }
    }
    // Opened on one line, closed on another.
    let broken_at = |text: &str, at: &str| text.replacen(at, &format!("{at}\n"), 1);
    let text =
        [compact[0].clone(), broken_at(&compact[1], "\"Text\":"), compact[2].clone()].join("\n");
    check("a.json", text, &[]);
}

#[test]
fn every_compression_under_every_name() {
    let (compact, _) = results();
    let lines = compact.join("\n");
    let frames = |parts: &[&str]| -> Vec<u8> {
        parts
            .iter()
            .flat_map(|part| zstd::encode_all(part.as_bytes(), 3).expect("a zstd frame"))
            .collect()
    };
    // In the middle of a record, and between records.
    for cut in [lines.len() / 2, compact[0].len() + 1, 1, 0] {
        let (a, b) = lines.split_at(cut);
        for name in ["a.ndjson.gz", "a.json.gz", "a.ndjson", "a", "a.zst"] {
            check(name, gzip(&[a, b]), &[]);
        }
        for name in ["a.ndjson.zst", "a.json.zst", "a.ndjson", "a", "a.gz"] {
            check(name, frames(&[a, b]), &[]);
        }
    }
    // A client may have decompressed it on the way.
    check("a.ndjson.gz", &*lines, &[]);
    check("a.bin", gzip(&[&lines]), &["source.compression=gzip", "source.format=ndjson"]);
    check("a.bin", frames(&[&lines]), &["source.compression=zstd"]);
}
