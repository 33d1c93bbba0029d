//! Attempts to sorted Parquet, published by one commit.
//!
//! Takes rows in memory and the output's place; gives committed tables. Data files are written first,
//! under names made of their content, then one commit to the table's Delta log makes them visible, then
//! what they replace is deleted.

pub mod delta;
pub mod merge;
pub mod parquet;
pub mod rows;
pub mod schema;
pub mod small;

use crate::storage::{Place, StorageError};
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Int32Type, TimestampMillisecondType};
use bytes::Bytes;
use delta::{Change, DeltaError, DeltaTable, LiveFile, NewFile, TableSpec};
use rows::Rows;
use schema::Table;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error(transparent)]
    Delta(#[from] DeltaError),
    #[error("Parquet: {0}")]
    Parquet(#[from] ::parquet::errors::ParquetError),
    #[error("Arrow: {0}")]
    Arrow(#[from] arrow::error::ArrowError),
    #[error("{file}: {source}")]
    File { file: String, source: Box<WriteError> },
    #[error("{table}: what was written does not read back: {what}")]
    ReadBack { table: String, what: String },
}

/// By this name the log tells our commits from others'.
const APP_ID: &str = "faceledger";

/// One table of the output, as of a version of its log.
pub struct OpenTable {
    pub table: &'static Table,
    place: Place,
    delta: DeltaTable,
}

/// What a table's commit did.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Commit {
    pub table: String,
    pub version: Option<u64>,
    pub files_added: u64,
    pub files_removed: u64,
    pub rows_added: u64,
    /// False when the table already held all of it.
    pub committed: bool,
}

/// A data file, written but not yet visible.
pub struct Staged {
    pub partition: Option<String>,
    pub path: String,
    pub size: u64,
    pub rows: u64,
    stats: serde_json::Value,
}

impl Staged {
    /// As it will stand in the log.
    pub fn as_live(&self) -> LiveFile {
        LiveFile {
            path: self.path.clone(),
            partition: self.partition.clone(),
            size: self.size,
            rows: self.rows,
        }
    }
}

impl OpenTable {
    pub fn open(output: &Place, table: &'static Table) -> Result<OpenTable, WriteError> {
        let spec = TableSpec {
            name: &table.name,
            schema: table.reader_schema.clone(),
            partition: table.partition.as_deref(),
        };
        let delta = DeltaTable::open(output, &spec)?;
        Ok(OpenTable { table, place: output.at(&table.name), delta })
    }

    pub fn version(&self) -> Option<u64> {
        self.delta.version()
    }

    pub fn files(&self) -> &[LiveFile] {
        self.delta.files()
    }

    /// Deletes what was staged for a commit that did not come about.
    pub fn discard_staged(&mut self) -> Result<(), WriteError> {
        self.delta.reload()?;
        self.delete_litter().map(|_| ())
    }

    /// The number of the run that made the newest commit; see [`OpenTable::commit`].
    pub fn last_run(&self) -> Result<Option<i64>, WriteError> {
        Ok(self.delta.last_commit_of(APP_ID)?)
    }

    pub fn files_of(&self, partition: &str) -> Vec<&LiveFile> {
        self.files().iter().filter(|f| f.partition.as_deref() == Some(partition)).collect()
    }

    /// Partition values that have files.
    pub fn partitions(&self) -> BTreeSet<String> {
        self.files().iter().filter_map(|f| f.partition.clone()).collect()
    }

    /// The bytes of a data file.
    pub fn bytes(&self, file: &LiveFile) -> Result<Bytes, WriteError> {
        Ok(self.place.read_all(&file.path)?)
    }

    /// All rows of a data file, or some of its columns.
    pub fn read(
        &self,
        file: &LiveFile,
        columns: Option<&[&str]>,
    ) -> Result<Vec<RecordBatch>, WriteError> {
        parquet::decode(self.table, self.bytes(file)?, columns).map_err(|source| WriteError::File {
            file: format!("{}/{}", self.table.name, file.path),
            source: Box::new(source),
        })
    }

    /// Every file below the table's folder that is no part of its log, live or not.
    pub fn stored_files(&self) -> Result<Vec<String>, WriteError> {
        let files = self.place.list(None)?;
        Ok(files.into_iter().map(|f| f.key).filter(|k| !k.starts_with("_delta_log/")).collect())
    }

    /// Encodes rows and puts the file in its place, invisible as yet.
    pub fn stage(
        &self,
        partition: Option<&str>,
        rows: u64,
        content: &impl parquet::RowGroups,
        facts: &parquet::FileFacts,
        stats: serde_json::Value,
    ) -> Result<Staged, WriteError> {
        let encoded = parquet::encode(self.table, content, facts)?;
        self.read_back(&encoded.bytes, rows)?;
        let path = parquet::file_name(self.table, partition, &encoded.digest);
        let size = encoded.bytes.len() as u64;
        // Even where a file of that name is live: it may have been damaged since.
        self.place.put(&path, encoded.bytes)?;
        Ok(Staged { partition: partition.map(str::to_owned), path, size, rows, stats })
    }

    /// The footer of what is about to be written must say what was asked for.
    fn read_back(&self, bytes: &Bytes, rows: u64) -> Result<(), WriteError> {
        use ::parquet::file::reader::FileReader;
        let reader = ::parquet::file::serialized_reader::SerializedFileReader::new(bytes.clone())?;
        let found = reader.metadata().file_metadata().num_rows();
        if found != rows as i64 {
            let what = format!("{found} rows, not {rows}");
            return Err(WriteError::ReadBack { table: self.table.name.clone(), what });
        }
        Ok(())
    }

    /// Makes staged files visible and takes `remove` away, in one commit, then deletes what is no
    /// longer live. Nothing to change is no commit.
    pub fn commit(
        &mut self,
        staged: impl IntoIterator<Item = Staged>,
        remove: Vec<String>,
        run_id: &str,
        txn: i64,
    ) -> Result<Commit, WriteError> {
        let staged: Vec<Staged> = staged.into_iter().collect();
        let live: BTreeSet<&str> = self.files().iter().map(|f| f.path.as_str()).collect();
        let kept: BTreeSet<String> = staged.iter().map(|s| s.path.clone()).collect();
        let remove: Vec<String> = remove.into_iter().filter(|path| !kept.contains(path)).collect();
        let add: Vec<NewFile> = staged
            .into_iter()
            .filter(|s| !live.contains(s.path.as_str()))
            .map(|s| NewFile {
                path: s.path,
                partition: s.partition,
                size: s.size,
                rows: s.rows,
                stats: s.stats,
            })
            .collect();
        let mut commit = Commit {
            table: self.table.name.clone(),
            version: self.version(),
            files_added: add.len() as u64,
            files_removed: remove.len() as u64,
            rows_added: add.iter().map(|f| f.rows).sum(),
            committed: false,
        };
        if add.is_empty() && remove.is_empty() && self.version().is_some() {
            return Ok(commit);
        }
        let info =
            BTreeMap::from([("faceledger.run_id".to_owned(), serde_json::Value::from(run_id))]);
        let version = self.delta.commit(Change {
            add,
            remove: remove.clone(),
            txn: (APP_ID.to_owned(), txn),
            info,
        })?;
        commit.version = Some(version);
        commit.committed = true;
        self.place.delete(&remove)?;
        Ok(commit)
    }

    /// Deletes data files that the log does not name: what a run that was cut off has left. Only the
    /// one writer of the table may call it, and only on a local folder is it known to be the only one: in
    /// other stores the files stay, because they may be another writer's, about to be committed. Where there is no log yet the folder may be anybody's: only
    /// files that bear our names go.
    pub fn delete_litter(&self) -> Result<Vec<String>, WriteError> {
        if self.place.local_folder().is_none() {
            return Ok(Vec::new());
        }
        let ours = |path: &str| self.version().is_some() || parquet::is_file_name(self.table, path);
        let live: BTreeSet<&str> = self.files().iter().map(|f| f.path.as_str()).collect();
        let litter: Vec<String> = self
            .stored_files()?
            .into_iter()
            .filter(|path| {
                path.ends_with(".parquet") && !live.contains(path.as_str()) && ours(path)
            })
            .collect();
        self.place.delete(&litter)?;
        Ok(litter)
    }
}

/// Stored rows of a day, with the rank they came in by: their envelope's fetch time, else
/// `last_modified` of their object's key, in milliseconds since the epoch.
pub fn stored_rows(
    table: &OpenTable,
    day: i32,
    partition: &str,
    last_modified: impl Fn(&str) -> i64,
) -> Result<Vec<Rows>, WriteError> {
    let mut all = Vec::new();
    for file in table.files_of(partition) {
        for batch in table.read(file, None)? {
            let fetched = batch.column(table.table.position("fetched_at"));
            let fetched = fetched.as_primitive::<TimestampMillisecondType>();
            let key = batch.column(table.table.position("source_key"));
            let key = key.as_dictionary::<Int32Type>();
            let keys = key.values().as_string::<i32>();
            let times: Vec<i64> = (0..keys.len()).map(|k| last_modified(keys.value(k))).collect();
            let rank_time = (0..batch.num_rows())
                .map(|row| match fetched.is_valid(row) {
                    true => fetched.value(row),
                    false => times[key.keys().value(row) as usize],
                })
                .collect();
            let usage_date = vec![day; batch.num_rows()];
            all.push(Rows { batch, usage_date, rank_time });
        }
    }
    Ok(all)
}
