//! A place of its own for each test: a source folder, a pipeline file, an output folder, and the real
//! program run on them.
//!
//! Takes objects and arguments; gives what the program said and what its tables hold. The tables are read
//! from disk with the Delta log as plain JSON and the parquet crate, never through the program's own code.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Date32Type, Decimal128Type, Int8Type, Int32Type, Int64Type};
use arrow::datatypes::{TimeUnit, TimestampMillisecondType};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, UNIX_EPOCH};

/// A row of a table. Dates are `YYYY-MM-DD`, instants are milliseconds, decimals are in their last place.
pub type Row = BTreeMap<String, Value>;

/// One object of a source.
#[derive(Clone, Debug)]
pub struct Object {
    /// Relative to the source.
    pub key: String,
    pub bytes: Vec<u8>,
    /// Last-modified, milliseconds since the epoch.
    pub modified: i64,
}

impl Object {
    pub fn new(key: &str, bytes: impl Into<Vec<u8>>, modified: i64) -> Object {
        Object { key: key.to_owned(), bytes: bytes.into(), modified }
    }
}

/// What the program did.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    /// The exit code must be this one.
    #[track_caller]
    pub fn exits(self, code: i32) -> Ran {
        assert_eq!(
            self.code, code,
            "exit code\n--- stdout\n{}\n--- stderr\n{}",
            self.stdout, self.stderr
        );
        self
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| {
            panic!(
                "stdout is no JSON: {error}\n--- stdout\n{}\n--- stderr\n{}",
                self.stdout, self.stderr
            )
        })
    }

    /// Everything said, on either stream.
    pub fn said(&self) -> String {
        format!("{}\n{}", self.stdout, self.stderr)
    }

    /// A counter of the run report's tally.
    #[track_caller]
    pub fn tally(&self, counter: &str) -> u64 {
        let report = self.json();
        report["tally"][counter]
            .as_u64()
            .unwrap_or_else(|| panic!("no tally.{counter} in {report:#}"))
    }
}

/// A temporary folder with `source/`, `pipeline.toml` and, after a run, `out/`. Gone when dropped.
pub struct World {
    folder: tempfile::TempDir,
}

/// The last-modified time of objects for which it does not matter: 2024-12-01T00:00:00Z.
pub const SOME_TIME: i64 = 1_733_011_200_000;

/// A pipeline without routes, over `source/` into `out/`.
pub const PLAIN_PIPELINE: &str = r#"
name = "test"
[account]
uin = "100012345678"
opened_at = "2023-05-01T00:00:00+08:00"
[source]
url = "source/"
[output]
url = "out/"
[limits]
rejects_ratio_max = 1.0
"#;

impl World {
    /// With this pipeline file and no objects.
    pub fn new(pipeline: &str) -> World {
        let folder = tempfile::tempdir().expect("a temporary folder");
        fs::create_dir(folder.path().join("source")).expect("source/");
        fs::write(folder.path().join("pipeline.toml"), pipeline).expect("pipeline.toml");
        World { folder }
    }

    pub fn path(&self, below: &str) -> PathBuf {
        self.folder.path().join(below)
    }

    /// Writes an object, or writes over it.
    pub fn put(&self, object: &Object) {
        let path = self.path("source").join(&object.key);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(&path, &object.bytes).expect("an object");
        let modified = UNIX_EPOCH + Duration::from_millis(object.modified as u64);
        let file = fs::File::options().write(true).open(&path).expect("an object");
        file.set_modified(modified).expect("a last-modified time");
    }

    pub fn put_all<'o>(&self, objects: impl IntoIterator<Item = &'o Object>) {
        objects.into_iter().for_each(|object| self.put(object));
    }

    pub fn remove(&self, key: &str) {
        fs::remove_file(self.path("source").join(key)).expect("an object to remove");
    }

    /// Runs the program in this folder.
    pub fn faceledger(&self, args: &[&str]) -> Ran {
        self.faceledger_with(args, &[])
    }

    pub fn faceledger_with(&self, args: &[&str], env: &[(&str, &str)]) -> Ran {
        faceledger_in(self.folder.path(), args, env)
    }

    /// `run pipeline.toml --json` and more arguments; it must exit 0.
    #[track_caller]
    pub fn run(&self, more: &[&str]) -> Ran {
        let mut args = vec!["run", "pipeline.toml", "--json"];
        args.extend(more);
        self.faceledger(&args).exits(0)
    }

    /// `verify` must find nothing.
    #[track_caller]
    pub fn verify(&self) -> Ran {
        self.faceledger(&["verify", "pipeline.toml"]).exits(0)
    }

    pub fn table(&self, name: &str) -> Table {
        Table::open(&self.path("out").join(name))
    }
}

/// Runs the program with no environment of its own but what is named.
pub fn faceledger_in(folder: &Path, args: &[&str], env: &[(&str, &str)]) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_faceledger"));
    command.current_dir(folder).args(args).env_remove("TZ");
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("FACELEDGER_")) {
        command.env_remove(name);
    }
    let output = command.envs(env.iter().copied()).output().expect("the program starts");
    let text = |bytes| String::from_utf8(bytes).expect("the program writes UTF-8");
    Ran {
        code: output.status.code().expect("the program ends by itself"),
        stdout: text(output.stdout),
        stderr: text(output.stderr),
    }
}

/// A table on disk, at the newest version of its log.
pub struct Table {
    pub folder: PathBuf,
    /// Live files: path relative to the table, partition column and value (null is a value).
    pub files: BTreeMap<String, Option<(String, Value)>>,
    /// The newest version; None when there is no log.
    pub version: Option<u64>,
}

impl Table {
    /// Replays the log.
    pub fn open(folder: &Path) -> Table {
        let mut table = Table { folder: folder.to_owned(), files: BTreeMap::new(), version: None };
        for (version, path) in log_files(folder) {
            assert_eq!(
                version,
                table.version.map_or(0, |v| v + 1),
                "versions without gaps: {}",
                path.display()
            );
            table.version = Some(version);
            for line in fs::read_to_string(&path).expect("a log file").lines() {
                let action: Value = serde_json::from_str(line).expect("a log line");
                if let Some(add) = action.get("add") {
                    let path = add["path"].as_str().expect("add.path").to_owned();
                    let partition =
                        add["partitionValues"].as_object().expect("add.partitionValues");
                    let partition = partition.iter().next();
                    let partition = partition.map(|(k, v)| (k.clone(), v.clone()));
                    assert!(
                        table.files.insert(path.clone(), partition).is_none(),
                        "{path} is added twice"
                    );
                }
                if let Some(remove) = action.get("remove") {
                    let path = remove["path"].as_str().expect("remove.path");
                    assert!(table.files.remove(path).is_some(), "{path} is removed but not there");
                }
            }
        }
        table
    }

    /// Parquet files on disk below the table, relative to it.
    pub fn stored(&self) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        walk(&self.folder, &mut |path| {
            if path.extension().is_some_and(|e| e == "parquet") {
                let relative = path.strip_prefix(&self.folder).expect("below the table");
                let relative = relative.to_str().expect("a name in UTF-8").to_owned();
                if !relative.starts_with("_delta_log/") {
                    found.insert(relative);
                }
            }
        });
        found
    }

    /// Live files and their bytes.
    pub fn contents(&self) -> BTreeMap<String, Vec<u8>> {
        self.files
            .keys()
            .map(|path| (path.clone(), fs::read(self.folder.join(path)).expect("a data file")))
            .collect()
    }

    /// The rows of one file, in its order, without the partition column.
    pub fn rows_of(&self, file: &str) -> Vec<Row> {
        let opened = fs::File::open(self.folder.join(file)).expect("a data file");
        let reader = ParquetRecordBatchReaderBuilder::try_new(opened).expect("a Parquet file");
        let mut rows = Vec::new();
        for batch in reader.build().expect("a Parquet file") {
            let batch = batch.expect("a row group");
            let first = rows.len();
            rows.resize(first + batch.num_rows(), Row::new());
            for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
                for (i, row) in rows[first..].iter_mut().enumerate() {
                    row.insert(field.name().clone(), cell(column, i));
                }
            }
        }
        rows
    }

    /// All rows, file by file, with the partition column.
    pub fn rows(&self) -> Vec<Row> {
        let mut rows = Vec::new();
        for (file, partition) in &self.files {
            for mut row in self.rows_of(file) {
                if let Some((column, value)) = partition {
                    let before = row.insert(column.clone(), value.clone());
                    assert_eq!(before, None, "{file} holds its partition column");
                }
                rows.push(row);
            }
        }
        rows
    }
}

/// The commits of a table's log: version and path, in order.
pub fn log_files(table: &Path) -> Vec<(u64, PathBuf)> {
    let Ok(folder) = fs::read_dir(table.join("_delta_log")) else { return Vec::new() };
    let mut files: Vec<(u64, PathBuf)> = folder
        .map(|entry| entry.expect("a log folder").path())
        .filter(|path| path.extension().is_some_and(|e| e == "json"))
        .filter_map(|path| Some((path.file_stem()?.to_str()?.parse().ok()?, path)))
        .collect();
    files.sort();
    files
}

/// Every file below a folder.
pub fn walk(folder: &Path, visit: &mut dyn FnMut(&Path)) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("a folder").path()).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() { walk(&path, visit) } else { visit(&path) }
    }
}

fn cell(column: &ArrayRef, row: usize) -> Value {
    if column.is_null(row) {
        return Value::Null;
    }
    match column.data_type() {
        DataType::Utf8 => Value::from(column.as_string::<i32>().value(row)),
        DataType::Boolean => Value::from(column.as_boolean().value(row)),
        DataType::Int8 => Value::from(column.as_primitive::<Int8Type>().value(row)),
        DataType::Int32 => Value::from(column.as_primitive::<Int32Type>().value(row)),
        DataType::Int64 => Value::from(column.as_primitive::<Int64Type>().value(row)),
        DataType::Date32 => Value::from(date(column.as_primitive::<Date32Type>().value(row))),
        DataType::Timestamp(TimeUnit::Millisecond, Some(zone)) if zone.as_ref() == "UTC" => {
            Value::from(column.as_primitive::<TimestampMillisecondType>().value(row))
        }
        DataType::Decimal128(5, 2) => {
            let hundredths = column.as_primitive::<Decimal128Type>().value(row);
            Value::from(i64::try_from(hundredths).expect("five digits"))
        }
        DataType::Decimal128(38, 8) => {
            let units = column.as_primitive::<Decimal128Type>().value(row);
            Value::from(i64::try_from(units).expect("a small amount"))
        }
        DataType::List(_) => {
            let elements = column.as_list::<i32>().value(row);
            (0..elements.len()).map(|at| cell(&elements, at)).collect()
        }
        DataType::Struct(parts) => {
            let columns = column.as_struct().columns().iter();
            let cells =
                columns.zip(parts).map(|(column, part)| (part.name().clone(), cell(column, row)));
            Value::Object(cells.collect())
        }
        other => panic!("a column of type {other}, which no schema names"),
    }
}

/// Days since 1970-01-01 as `YYYY-MM-DD`.
pub fn date(days: i32) -> String {
    let epoch = chrono::NaiveDate::from_ymd_opt(1970, 1, 1).expect("a day");
    (epoch + chrono::Duration::days(i64::from(days))).to_string()
}

/// One attempt with the members that matter.
pub fn attempt(seq: &str, req_time: i64, flag: Option<bool>) -> Value {
    serde_json::json!({
        "ReqTime": req_time.to_string(), "Seq": seq, "Idcard": "", "Name": "", "Sim": "95.51",
        "IsNeedCharge": flag, "Errcode": 0, "Errmsg": "成功", "Livestatus": 0, "Livemsg": "成功",
        "Comparestatus": 0, "Comparemsg": "成功", "CompareLibType": "权威库", "LivenessMode": 1
    })
}

/// A result of these attempts.
pub fn result(attempts: Vec<Value>) -> Value {
    serde_json::json!({"Response": {"Text": {"ErrCode": 0, "LivenessDetail": attempts}, "RequestId": "r"}})
}

/// Names and contents of the data files of `liveness_detail`, to be compared as a whole.
pub fn detail_files(world: &World) -> BTreeMap<String, Vec<u8>> {
    world.table("liveness_detail").contents()
}
