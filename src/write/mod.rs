//! Attempts to sorted Parquet, published by one commit.
//!
//! Takes rows in memory and the output's place; gives committed tables. Data files are written first,
//! under names made of their content, then one commit to the table's Delta log makes them visible, then
//! what they replace is deleted.

mod chunk;
mod column;
pub mod delta;
mod dictionary;
mod encodings;
pub mod ids;
pub mod merge;
pub mod parquet;
pub mod reconciled;
mod replace;
pub mod rows;
pub mod schema;
pub mod small;
pub mod spill;

pub use column::Column;
pub use replace::replace_partitions;

use crate::storage::{Place, StorageError, is_unfinished};
use arrow::array::{Array, AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Int32Type, TimestampMillisecondType};
use bytes::Bytes;
use delta::{Change, DeltaError, DeltaTable, LiveFile, NewFile, TableSpec};
use merge::SeqSet;
use rows::RowsBuilder;
use schema::Table;
use spill::Held;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

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
    #[error(
        "rows on disk, {folder}: {source}; make room there, or let limits.memory_max hold more"
    )]
    Spill { folder: String, source: std::io::Error },
    #[error("{file}: {source}")]
    File { file: String, source: Box<WriteError> },
    #[error("{table}: what was written does not read back: {what}")]
    ReadBack { table: String, what: String },
}

/// By this name the log tells our commits from others'.
const APP_ID: &str = "faceledger";

/// The folder beside the tables that holds, for each data file of `liveness_detail` whose rows have no fetch
/// time of their own, the rank each row came in by: the last-modified time of its object. Not in the data
/// file, whose bytes must not depend on when a copy of the objects was made.
const RANKS: &str = "_ranks";

/// A log gets a checkpoint every so many versions, besides those of `compact`: as often as delta-rs does it.
/// Not more often, because a checkpoint is a Parquet file in `_delta_log`, which a reader of the plain folder
/// must know to leave out.
const CHECKPOINT_EVERY: u64 = 100;

/// So many entries, and `compact` writes a checkpoint; of fewer it would save nobody anything.
const CHECKPOINT_WORTH: u64 = 10;

/// Entries of a log that a checkpoint makes needless stay for 30 days, as other writers of Delta tables
/// leave them: readers of older versions need them.
const LOG_RETAIN_MS: i64 = 30 * 86_400_000;

/// One table of the output, as of a version of its log.
pub struct OpenTable {
    pub table: &'static Table,
    place: Place,
    ranks: Place,
    delta: DeltaTable,
}

/// Which run writes, and how long what it supersedes stays.
#[derive(Clone, Debug)]
pub struct Writer {
    pub run_id: String,
    /// Grows from commit to commit; see [`OpenTable::last_run`].
    pub txn: i64,
    /// Superseded files stay so long for readers of older versions; 0: they are deleted by the commit that
    /// supersedes them.
    pub retain_ms: i64,
    /// Milliseconds since the epoch.
    pub now_ms: i64,
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
        Ok(OpenTable { table, place: output.at(&table.name), ranks: output.at(RANKS), delta })
    }

    pub fn version(&self) -> Option<u64> {
        self.delta.version()
    }

    pub fn files(&self) -> &[LiveFile] {
        self.delta.files()
    }

    /// Deletes what was staged for a commit that did not come about.
    pub fn discard_staged(&mut self, writer: &Writer) -> Result<(), WriteError> {
        self.delta.reload()?;
        self.delete_litter(writer).map(|_| ())
    }

    /// The number of the run that made the newest commit; see [`OpenTable::commit`].
    pub fn last_run(&self) -> Result<Option<i64>, WriteError> {
        Ok(self.delta.last_commit_of(APP_ID)?)
    }

    /// The files of a partition; those of the null partition, or of a table without any, for None.
    pub fn files_of(&self, partition: Option<&str>) -> Vec<&LiveFile> {
        self.files().iter().filter(|f| f.partition.as_deref() == partition).collect()
    }

    /// Partition values that have files; null is none.
    pub fn partitions(&self) -> BTreeSet<String> {
        self.files().iter().filter_map(|f| f.partition.clone()).collect()
    }

    /// The bytes of a data file.
    pub fn bytes(&self, file: &LiveFile) -> Result<Bytes, WriteError> {
        Ok(self.place.read_all(&file.path)?)
    }

    /// All rows of a data file, or some of its columns, of which alone the bytes are fetched.
    pub fn read(
        &self,
        file: &LiveFile,
        columns: Option<&[&str]>,
    ) -> Result<Vec<RecordBatch>, WriteError> {
        let batches = match columns {
            None => self.read_each(file).and_then(Iterator::collect),
            Some(columns) => {
                let each = self.columns_of(file, columns, parquet::ROW_GROUP_ROWS_MAX);
                each.and_then(Iterator::collect)
            }
        };
        batches.map_err(|source| self.of_file(&file.path, source))
    }

    /// Some columns of a data file, some rows at a time: as they stand in the file all are held, as Arrow columns those
    /// rows alone.
    pub fn read_columns(
        &self,
        file: &LiveFile,
        columns: &[&str],
    ) -> Result<impl Iterator<Item = Result<RecordBatch, WriteError>>, WriteError> {
        let each = self.columns_of(file, columns, parquet::READ_ROWS);
        let each = each.map_err(|source| self.of_file(&file.path, source))?;
        Ok(each.map(|batch| batch.map_err(|source| self.of_file(&file.path, source))))
    }

    fn columns_of(
        &self,
        file: &LiveFile,
        columns: &[&str],
        rows: usize,
    ) -> Result<impl Iterator<Item = Result<RecordBatch, WriteError>> + use<>, WriteError> {
        let fetch = |range: Range<u64>| Ok(self.place.read_range(&file.path, range)?);
        parquet::decode_columns(self.table, file.size, &fetch, columns, rows)
    }

    /// All rows of a data file, some at a time.
    fn read_each(
        &self,
        file: &LiveFile,
    ) -> Result<impl Iterator<Item = Result<RecordBatch, WriteError>> + use<>, WriteError> {
        parquet::decode(self.table, self.bytes(file)?)
    }

    fn of_file(&self, path: &str, source: WriteError) -> WriteError {
        WriteError::File { file: format!("{}/{path}", self.table.name), source: Box::new(source) }
    }

    /// The ranks of a data file's rows, in row order: milliseconds since the epoch. None where there are none.
    pub fn ranks(&self, file: &LiveFile) -> Result<Option<Vec<i64>>, WriteError> {
        let key = ranks_key(&file.path);
        let of_ranks = |source: WriteError| WriteError::File {
            file: format!("{RANKS}/{key}"),
            source: Box::new(source),
        };
        let bytes = match self.ranks.read_all(&key) {
            Ok(bytes) => bytes,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(of_ranks(error.into())),
        };
        let ranks = parquet::decode_numbers(bytes).map_err(of_ranks)?;
        if ranks.len() as u64 != file.rows {
            let what = format!("{} ranks for {} rows", ranks.len(), file.rows);
            return Err(of_ranks(WriteError::ReadBack { table: self.table.name.clone(), what }));
        }
        Ok(Some(ranks))
    }

    /// Every file below the table's folder that is no part of its log, live or not.
    pub fn stored_files(&self) -> Result<Vec<String>, WriteError> {
        let files = self.place.list(None)?;
        Ok(files.into_iter().map(|f| f.key).filter(|k| !k.starts_with("_delta_log/")).collect())
    }

    /// Files that are not live and stay for readers of older versions, or would if they were asked to.
    pub fn superseded(&self) -> Result<BTreeSet<String>, WriteError> {
        Ok(self.delta.superseded()?.into_iter().map(|gone| gone.path).collect())
    }

    /// Puts a file in its place, invisible as yet.
    pub fn stage(
        &self,
        partition: Option<&str>,
        encoded: parquet::Encoded,
        stats: serde_json::Value,
    ) -> Result<Staged, WriteError> {
        let rows = encoded.rows;
        self.read_back(&encoded.bytes, rows)?;
        let path = parquet::file_name(self.table, partition, &encoded.digest);
        let size = encoded.bytes.len() as u64;
        // Even where a file of that name is live: it may have been damaged since.
        self.place.put(&path, encoded.bytes)?;
        Ok(Staged { partition: partition.map(str::to_owned), path, size, rows, stats })
    }

    /// Puts the ranks of a staged file's rows, in row order, where [`OpenTable::ranks`] finds them. Ranks of a
    /// live file may be put anew: they are facts about its rows, not about a version of the table.
    pub fn stage_ranks(&self, staged: &Staged, ranks: Vec<i64>) -> Result<(), WriteError> {
        let bytes = parquet::encode_numbers("rank_time", ranks)?;
        Ok(self.ranks.put(&ranks_key(&staged.path), bytes)?)
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
    /// longer live, unless it is to be retained. Nothing to change is no commit.
    pub fn commit(
        &mut self,
        staged: impl IntoIterator<Item = Staged>,
        remove: Vec<String>,
        writer: &Writer,
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
        let version = self.delta.commit(Change {
            add,
            remove: remove.clone(),
            txn: (APP_ID.to_owned(), writer.txn),
            info: info(writer),
        })?;
        commit.version = Some(version);
        commit.committed = true;
        if writer.retain_ms == 0 {
            self.delete_files(remove)?;
        }
        if version % CHECKPOINT_EVERY == 0 && version > 0 {
            // The table is whole without it, and the next one makes up for it.
            let _ = self.checkpoint(writer);
        }
        Ok(commit)
    }

    /// Writes a checkpoint if the log has grown enough since the last one; whether it did.
    pub fn checkpoint_if_due(&self, writer: &Writer) -> Result<bool, WriteError> {
        let last = match self.place.read_all("_delta_log/_last_checkpoint") {
            Ok(text) => serde_json::from_slice::<serde_json::Value>(&text)
                .ok()
                .and_then(|last| last.get("version")?.as_u64()),
            Err(error) if error.is_not_found() => None,
            Err(error) => return Err(error.into()),
        };
        let entries = match (self.version(), last) {
            (Some(version), Some(last)) => version.saturating_sub(last),
            (Some(version), None) => version + 1,
            (None, _) => 0,
        };
        let due = entries >= CHECKPOINT_WORTH;
        if due {
            self.checkpoint(writer)?;
        }
        Ok(due)
    }

    /// Writes a checkpoint of the log and deletes old entries that it makes needless.
    pub fn checkpoint(&self, writer: &Writer) -> Result<(), WriteError> {
        self.delta.checkpoint()?;
        self.delta.expire_log(writer.now_ms - LOG_RETAIN_MS)?;
        Ok(())
    }

    fn delete_files(&self, paths: Vec<String>) -> Result<(), WriteError> {
        if self.has_ranks() {
            let ranks: Vec<String> = paths.iter().map(|path| ranks_key(path)).collect();
            self.ranks.delete(&ranks)?;
        }
        Ok(self.place.delete(&paths)?)
    }

    fn has_ranks(&self) -> bool {
        self.table.name == schema::LIVENESS_DETAIL.name
    }

    /// Deletes data files that the log does not name (what a run that was cut off has left) and those that
    /// were superseded long enough ago. Only the one writer of the output may call it. Where there is no log
    /// yet the folder may be anybody's: only files that bear our names go.
    ///
    /// In a store where a writer is known by a lease, one that was thought dead may still be about to commit
    /// such files: an entry of the log is made first, after which it cannot.
    pub fn delete_litter(&mut self, writer: &Writer) -> Result<Vec<String>, WriteError> {
        let retained = self.retained(writer)?;
        let live: BTreeSet<&str> = self.files().iter().map(|f| f.path.as_str()).collect();
        let needed = |path: &str| live.contains(path) || retained.contains(path);
        let ours = |path: &str| self.version().is_some() || parquet::is_file_name(self.table, path);
        let litter: Vec<String> = self
            .stored_files()?
            .into_iter()
            .filter(|path| {
                (path.ends_with(".parquet") && !needed(path) && ours(path)) || is_unfinished(path)
            })
            .collect();
        let mut stray_ranks = Vec::new();
        if self.has_ranks() {
            let needed: BTreeSet<String> = live
                .iter()
                .copied()
                .chain(retained.iter().map(String::as_str))
                .map(ranks_key)
                .collect();
            let stored = self.ranks.list(None)?.into_iter().map(|rank| rank.key);
            stray_ranks.extend(stored.filter(|key| !needed.contains(key)));
        }
        if self.place.local_folder().is_none()
            && self.version().is_some()
            && !(litter.is_empty() && stray_ranks.is_empty())
        {
            // Under a name of its own: it is no commit of a run, by which unfinished ones are told.
            self.delta.fence((format!("{APP_ID}.fence"), writer.txn), info(writer))?;
        }
        self.ranks.delete(&stray_ranks)?;
        self.place.delete(&litter)?;
        Ok(litter)
    }

    /// Superseded files whose time has not come.
    fn retained(&self, writer: &Writer) -> Result<BTreeSet<String>, WriteError> {
        if writer.retain_ms == 0 {
            return Ok(BTreeSet::new());
        }
        let since = writer.now_ms - writer.retain_ms;
        let gone = self.delta.superseded()?.into_iter();
        Ok(gone.filter(|gone| gone.removed_ms > since).map(|gone| gone.path).collect())
    }
}

fn info(writer: &Writer) -> BTreeMap<String, serde_json::Value> {
    BTreeMap::from([("faceledger.run_id".to_owned(), writer.run_id.as_str().into())])
}

/// Where the ranks of a data file stand.
fn ranks_key(path: &str) -> String {
    format!("{}.ranks", path.strip_suffix(".parquet").unwrap_or(path))
}

/// Stored rows of a day, with the rank they came in by: their envelope's fetch time, else what was
/// written down when they were loaded; milliseconds since the epoch. Where that is lost (somebody copied the
/// tables without it), what `last_modified` says of their keys.
pub fn stored_rows(
    table: &OpenTable,
    day: i32,
    partition: &str,
    last_modified: &dyn Fn(&str) -> i64,
    held: &Held,
) -> Result<(), WriteError> {
    for file in table.files_of(Some(partition)) {
        let of_file = |source| table.of_file(&file.path, source);
        // Looked for only where rows have no fetch time of their own.
        let mut ranks: Option<Option<Vec<i64>>> = None;
        let mut done = 0;
        for batch in table.read_each(file).map_err(of_file)? {
            let batch = batch.map_err(of_file)?;
            let fetched = batch.column(table.table.position("fetched_at"));
            let fetched = fetched.as_primitive::<TimestampMillisecondType>();
            let rows = done..done + batch.num_rows();
            done = rows.end;
            let rank_time: Cow<'_, [i64]> = if fetched.null_count() == 0 {
                Cow::Borrowed(fetched.values())
            } else {
                if ranks.is_none() {
                    ranks = Some(table.ranks(file)?);
                }
                match &ranks {
                    Some(Some(ranks)) => Cow::Borrowed(&ranks[rows]),
                    _ => Cow::Owned(ranks_by_key(&batch, last_modified)),
                }
            };
            held.add(RowsBuilder::stored(&batch, day, &rank_time)?)?;
        }
    }
    Ok(())
}

/// What stored rows of a day that is made anew tell of earlier pulls of these Seqs: rows without a pull of their own,
/// which rank before all others. Their own comes again with the object it lies in, but those that gave no row may lie in
/// objects that are not read again.
pub fn told_of_pulls(
    table: &OpenTable,
    day: i32,
    partition: &str,
    seqs: &SeqSet,
    held: &Held,
) -> Result<(), WriteError> {
    for file in table.files_of(Some(partition)) {
        // Of most days no row knows of any.
        let mut known = false;
        for batch in table.read_columns(file, &["earlier_pulls"])? {
            let batch = batch?;
            known |= batch.column(0).null_count() < batch.num_rows();
        }
        if !known {
            continue;
        }
        let of_file = |source| table.of_file(&file.path, source);
        for batch in table.read_each(file).map_err(of_file)? {
            let batch = batch.map_err(of_file)?;
            let told = batch.column(table.table.position("earlier_pulls"));
            let seq = batch.column(table.table.position("seq")).as_string::<i32>();
            let wanted: BooleanArray = (0..batch.num_rows())
                .map(|row| Some(told.is_valid(row) && seqs.may_hold(seq.value(row))))
                .collect();
            let batch = filter_record_batch(&batch, &wanted)?;
            let mut rows = RowsBuilder::stored(&batch, day, &vec![i64::MIN; batch.num_rows()])?;
            rows.each.iter_mut().for_each(|row| row.flags = row.flags.unfetched());
            held.add(rows)?;
        }
    }
    Ok(())
}

/// The ranks of stored rows by what is known of their keys.
fn ranks_by_key(batch: &RecordBatch, last_modified: &dyn Fn(&str) -> i64) -> Vec<i64> {
    let table = &schema::LIVENESS_DETAIL;
    let fetched = batch.column(table.position("fetched_at"));
    let fetched = fetched.as_primitive::<TimestampMillisecondType>();
    let key = batch.column(table.position("source_key")).as_dictionary::<Int32Type>();
    let keys = key.values().as_string::<i32>();
    let times: Vec<i64> = (0..keys.len()).map(|k| last_modified(keys.value(k))).collect();
    (0..batch.num_rows())
        .map(|row| match fetched.is_valid(row) {
            true => fetched.value(row),
            false => times[key.keys().value(row) as usize],
        })
        .collect()
}
