//! `verify` passes after a run and fails when an output is not what a run wrote: exit 5, and the file (or, where
//! the file alone is sound, the day) is named.
//!
//! Some forgeries are careful: the file gets the name that fits its new bytes and the log is made to agree, so that
//! only what the tables say can give them away.

use crate::world::{Object, PLAIN_PIPELINE, SOME_TIME, World, attempt, log_files, result};
use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, StringArray};
use arrow::compute::concat_batches;
use arrow::datatypes::Int64Type;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use sha2::{Digest, Sha256};
use std::fs;
use std::path::Path;
use std::sync::Arc;

/// 2024-11-02T00:00:00+08:00.
const MIDNIGHT: i64 = 1_730_476_800_000;

/// Two days of three attempts each, loaded and verified.
fn loaded() -> World {
    let world = World::new(PLAIN_PIPELINE);
    let flags = [Some(true), Some(false), None];
    let day = |name: &str, begin: i64| {
        let attempts = flags
            .iter()
            .zip(1..)
            .map(|(flag, n)| attempt(&format!("{name}-{n}"), begin + n * 1000, *flag));
        result(attempts.collect()).to_string()
    };
    world.put(&Object::new("a.json", day("first", MIDNIGHT - 86_400_000), SOME_TIME));
    world.put(&Object::new("b.json", day("second", MIDNIGHT), SOME_TIME));
    // A reject, so that every table has a file.
    world.put(&Object::new("c.json", "{\"Response\":", SOME_TIME));
    world.run(&[]);
    world.verify();
    world
}

/// The one data file of a table below a folder of it.
fn file(world: &World, table: &str, below: &str) -> String {
    let files: Vec<String> =
        world.table(table).files.keys().filter(|f| f.starts_with(below)).cloned().collect();
    assert_eq!(files.len(), 1, "{table}/{below}: {files:?}");
    files[0].clone()
}

/// `verify` exits 5 and what it says holds each of `words`; with `--json` too.
#[track_caller]
fn fails_naming(world: &World, words: &[&str]) {
    for args in [
        &["verify", "pipeline.toml"][..],
        &["verify", "out/"],
        &["verify", "pipeline.toml", "--json"],
    ] {
        let ran = world.faceledger(args).exits(5);
        for word in words {
            assert!(ran.said().contains(word), "{args:?} does not say {word}:\n{}", ran.said());
        }
        if args.contains(&"--json") {
            ran.json();
        }
    }
}

/// Every table has a file that can be lost.
#[test]
fn a_data_file_is_removed() {
    for table in ["liveness_detail", "daily_charge", "rejects", "inputs"] {
        let world = loaded();
        let name = world.table(table).files.keys().next().expect("a file").clone();
        fs::remove_file(world.path("out").join(table).join(&name)).expect("removed");
        fails_naming(&world, &[&name]);
    }
}

#[test]
fn a_data_file_is_truncated() {
    for table in ["liveness_detail", "daily_charge", "rejects", "inputs"] {
        for keep in [0, 100, -1] {
            let world = loaded();
            let name = world.table(table).files.keys().next().expect("a file").clone();
            let path = world.path("out").join(table).join(&name);
            let bytes = fs::read(&path).expect("a data file");
            let keep = if keep < 0 { bytes.len() - 1 } else { keep as usize };
            fs::write(&path, &bytes[..keep]).expect("truncated");
            fails_naming(&world, &[&name]);
        }
    }
}

#[test]
fn a_byte_is_flipped() {
    let world = loaded();
    let name = file(&world, "liveness_detail", "usage_date=2024-11-01/");
    let path = world.path("out/liveness_detail").join(&name);
    let mut bytes = fs::read(&path).expect("a data file");
    bytes[40] ^= 1;
    fs::write(&path, &bytes).expect("flipped");
    fails_naming(&world, &[&name]);
}

/// One charge flag, in the file's own place.
#[test]
fn a_row_is_changed() {
    let world = loaded();
    let name = file(&world, "liveness_detail", "usage_date=2024-11-02/");
    rewrite(&world.path("out/liveness_detail").join(&name), flip_a_flag);
    fails_naming(&world, &[&name]);
}

#[test]
fn a_row_is_changed_and_the_file_named_for_it() {
    let world = loaded();
    let name = file(&world, "liveness_detail", "usage_date=2024-11-02/");
    forge(&world, "liveness_detail", &name, flip_a_flag);
    fails_naming(&world, &["2024-11-02"]);
}

#[test]
fn a_row_is_lost_and_the_file_named_for_it() {
    let world = loaded();
    let name = file(&world, "liveness_detail", "usage_date=2024-11-01/");
    forge(&world, "liveness_detail", &name, |rows| rows.slice(0, rows.num_rows() - 1));
    fails_naming(&world, &["2024-11-01"]);
}

/// Counted twice, on two days: neither file alone is wrong.
#[test]
fn a_seq_stands_on_two_days() {
    let world = loaded();
    let name = file(&world, "liveness_detail", "usage_date=2024-11-02/");
    let forged = forge(&world, "liveness_detail", &name, |rows| {
        let seqs: Vec<String> =
            text_column(&rows, "seq").iter().flatten().map(str::to_owned).collect();
        let seqs: Vec<&str> =
            seqs.iter().map(|s| if s == "second-1" { "first-1" } else { s }).collect();
        replace(&rows, "seq", Arc::new(StringArray::from(seqs)))
    });
    let first = file(&world, "liveness_detail", "usage_date=2024-11-01/");
    fails_naming(&world, &["first-1", &forged, &first]);
}

#[test]
fn a_row_stands_on_a_day_that_is_not_its_own() {
    let world = loaded();
    let name = file(&world, "liveness_detail", "usage_date=2024-11-02/");
    let forged = forge(&world, "liveness_detail", &name, |rows| {
        let time = |row: usize| MIDNIGHT - 1 + 1000 * row as i64;
        let times = arrow::array::TimestampMillisecondArray::from_iter_values(
            (0..rows.num_rows()).map(time),
        );
        replace(&rows, "req_time", Arc::new(times.with_timezone("UTC")))
    });
    fails_naming(&world, &[&forged]);
}

#[test]
fn rows_out_of_order() {
    let world = loaded();
    let name = file(&world, "liveness_detail", "usage_date=2024-11-02/");
    let forged = forge(&world, "liveness_detail", &name, |rows| {
        let parts = [rows.slice(1, 2), rows.slice(0, 1)];
        concat_batches(&rows.schema(), &parts).expect("rows")
    });
    fails_naming(&world, &[&forged]);
}

#[test]
fn a_daily_charge_is_altered() {
    let add_one = |rows: RecordBatch, column: &str| {
        let counts = rows.column_by_name(column).expect(column).as_primitive::<Int64Type>();
        let more = Int64Array::from_iter_values(counts.values().iter().map(|n| n + 1));
        replace(&rows, column, Arc::new(more))
    };
    let world = loaded();
    let name = file(&world, "daily_charge", "usage_month=2024-11/");
    rewrite(&world.path("out/daily_charge").join(&name), |rows| add_one(rows, "charged"));
    fails_naming(&world, &[&name]);

    for column in ["attempts", "charged", "free", "unknown", "charged_failed", "not_final"] {
        let world = loaded();
        forge(&world, "daily_charge", &name, |rows| add_one(rows, column));
        fails_naming(&world, &["daily_charge", "2024-11-01", "2024-11-02"]);
    }
    // A day of charges less.
    let world = loaded();
    forge(&world, "daily_charge", &name, |rows| rows.slice(0, 1));
    fails_naming(&world, &["daily_charge", "2024-11-02"]);
}

/// Whoever reads the folder, and not the log, would count it.
#[test]
fn a_stray_file_beside() {
    for table in ["liveness_detail", "daily_charge", "rejects", "inputs"] {
        let world = loaded();
        let name = world.table(table).files.keys().next().expect("a file").clone();
        let folder = world.path("out").join(table);
        let stray = Path::new(&name).with_file_name("stray.parquet");
        fs::copy(folder.join(&name), folder.join(&stray)).expect("copied");
        fails_naming(&world, &[stray.to_str().expect("a name")]);
    }
    // On a day that the table does not have.
    let world = loaded();
    let name = file(&world, "liveness_detail", "usage_date=2024-11-02/");
    let folder = world.path("out/liveness_detail");
    fs::create_dir(folder.join("usage_date=2024-11-03")).expect("a folder");
    fs::copy(folder.join(&name), folder.join("usage_date=2024-11-03/stray.parquet"))
        .expect("copied");
    fails_naming(&world, &["usage_date=2024-11-03/stray.parquet"]);
}

/// The next run takes away what a run that was cut off has left, and `verify` passes again.
#[test]
fn litter_goes_with_the_next_run() {
    let world = loaded();
    let name = file(&world, "liveness_detail", "usage_date=2024-11-02/");
    let folder = world.path("out/liveness_detail");
    let stray =
        Path::new(&name).with_file_name("liveness_detail-2024-11-02-v1-0123456789abcdef.parquet");
    fs::copy(folder.join(&name), folder.join(&stray)).expect("copied");
    fails_naming(&world, &[stray.to_str().expect("a name")]);
    world.run(&[]);
    world.verify();
    assert!(!folder.join(stray).exists());
}

/// The first run of all was cut off before its first commit, and more has arrived since: what it had written is of
/// no use to the next run, and no reader of the folder may count it.
#[test]
fn litter_of_a_first_run_goes_with_the_next_run() {
    let other = loaded();
    let world = World::new(PLAIN_PIPELINE);
    for table in ["liveness_detail", "daily_charge", "rejects", "inputs"] {
        let name = other.table(table).files.keys().next().expect("a file").clone();
        let litter = world.path("out").join(table).join(&name);
        fs::create_dir_all(litter.parent().expect("a folder")).expect("a folder");
        fs::copy(other.path("out").join(table).join(&name), &litter).expect("copied");
    }
    let more = result(vec![attempt("more", MIDNIGHT - 86_400_000, Some(true))]);
    world.put(&Object::new("more.json", more.to_string(), SOME_TIME));
    world.put(&Object::new("c.json", "{\"Response\":", SOME_TIME));
    world.run(&[]);
    world.verify();
    let table = world.table("liveness_detail");
    assert_eq!(table.stored(), table.files.keys().cloned().collect());
}

#[test]
fn nothing_there_is_not_verified() {
    let world = World::new(PLAIN_PIPELINE);
    let ran = world.faceledger(&["verify", "pipeline.toml"]);
    assert_ne!(ran.code, 0, "{}", ran.said());
}

/// `--full-refresh` makes it all anew.
#[test]
fn a_full_refresh_repairs() {
    let world = loaded();
    let before = world.table("liveness_detail").contents();
    let name = file(&world, "liveness_detail", "usage_date=2024-11-02/");
    forge(&world, "liveness_detail", &name, flip_a_flag);
    fails_naming(&world, &["2024-11-02"]);
    world.run(&["--full-refresh"]);
    world.verify();
    assert_eq!(world.table("liveness_detail").contents(), before);
}

fn flip_a_flag(rows: RecordBatch) -> RecordBatch {
    let flags = rows.column_by_name("is_need_charge").expect("is_need_charge").as_boolean();
    let flags: BooleanArray = flags
        .iter()
        .enumerate()
        .map(|(i, flag)| if i == 0 { flag.map(|f| !f) } else { flag })
        .collect();
    replace(&rows, "is_need_charge", Arc::new(flags))
}

fn text_column(rows: &RecordBatch, name: &str) -> StringArray {
    rows.column_by_name(name).expect("a column").as_string::<i32>().clone()
}

fn replace(rows: &RecordBatch, column: &str, with: ArrayRef) -> RecordBatch {
    let place = rows.schema().index_of(column).expect("a column");
    let mut columns = rows.columns().to_vec();
    assert_eq!(columns[place].len(), with.len());
    columns[place] = with;
    RecordBatch::try_new(rows.schema(), columns).expect("rows")
}

/// Writes a data file anew with its rows changed; properties and metadata are kept where a reader looks.
fn rewrite(path: &Path, change: impl Fn(RecordBatch) -> RecordBatch) {
    let reader =
        ParquetRecordBatchReaderBuilder::try_new(fs::File::open(path).expect("a data file"))
            .expect("Parquet");
    let metadata = reader.metadata().file_metadata().key_value_metadata().cloned();
    let schema = reader.schema().clone();
    let batches: Vec<RecordBatch> =
        reader.build().expect("Parquet").map(|b| b.expect("rows")).collect();
    let rows = change(concat_batches(&schema, &batches).expect("rows"));
    let properties = parquet::file::properties::WriterProperties::builder()
        .set_key_value_metadata(metadata)
        .build();
    let mut writer = ArrowWriter::try_new(
        fs::File::create(path).expect("a data file"),
        schema,
        Some(properties),
    )
    .expect("Parquet");
    writer.write(&rows).expect("rows");
    writer.close().expect("Parquet");
}

/// The same, and name, size, rows in the log agree with the new bytes. Gives the new name.
fn forge(
    world: &World,
    table: &str,
    name: &str,
    change: impl Fn(RecordBatch) -> RecordBatch,
) -> String {
    let folder = world.path("out").join(table);
    let path = folder.join(name);
    rewrite(&path, change);
    let bytes = fs::read(&path).expect("a data file");
    let reader =
        ParquetRecordBatchReaderBuilder::try_new(fs::File::open(&path).expect("a data file"))
            .expect("Parquet");
    let rows = reader.metadata().file_metadata().num_rows();
    let digest: String =
        Sha256::digest(&bytes).iter().take(8).map(|b| format!("{b:02x}")).collect();
    let head = name.rsplit_once('-').expect("a name with a digest").0;
    let forged = format!("{head}-{digest}.parquet");
    fs::rename(&path, folder.join(&forged)).expect("renamed");
    let mut found = false;
    for (_, log) in log_files(&folder) {
        let mut lines = Vec::new();
        for line in fs::read_to_string(&log).expect("a log file").lines() {
            let mut action: serde_json::Value = serde_json::from_str(line).expect("a log line");
            if action["add"]["path"] == name {
                let stats = action["add"]["stats"].as_str().map(|stats| {
                    let mut stats: serde_json::Value =
                        serde_json::from_str(stats).expect("statistics");
                    stats["numRecords"] = rows.into();
                    stats.to_string()
                });
                action["add"]["path"] = forged.as_str().into();
                action["add"]["size"] = bytes.len().into();
                action["add"]["stats"] = stats.into();
                found = true;
            }
            lines.push(action.to_string());
        }
        fs::write(&log, lines.join("\n") + "\n").expect("a log file");
    }
    assert!(found, "{name} is in the log");
    forged
}
