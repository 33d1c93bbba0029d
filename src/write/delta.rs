//! Takes the files a run has written; gives one commit of the table's Delta log that makes them
//! visible, and tells which files are live. The state of a table is its log and nothing else: never a
//! listing of data files. Never writes, reads or deletes a data file.
//!
//! Why no retries by the Delta client: it would rebase a stale change silently (two writers that
//! both replace a day that does not exist yet would both be let in, and its rows doubled), and after
//! a lost acknowledgement it would take its own commit for somebody else's. So every commit carries
//! an id of its own, and after any error the log itself is asked whose commit it was.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use arrow::datatypes::{DataType as ArrowType, FieldRef, SchemaRef, TimeUnit};
use deltalake_core::DeltaTableError;
use deltalake_core::kernel::transaction::{
    CommitBuilder, CommitProperties, TableReference, TransactionError,
};
use deltalake_core::kernel::{
    Action, Add, ArrayType, DataType, LogicalFileView, MetadataExt, StructField, StructType,
    Transaction, new_metadata,
};
use deltalake_core::logstore::{LogStoreRef, StorageConfig, default_logstore};
use deltalake_core::protocol::checkpoints::{cleanup_expired_logs_for, create_checkpoint};
use deltalake_core::protocol::{DeltaOperation, SaveMode};
use deltalake_core::table::state::DeltaTableState;
use futures::TryStreamExt;
use object_store::ObjectStore;
use object_store::prefix::PrefixStore;
use serde_json::{Value, json};
use url::Url;

use crate::storage::{Place, StorageError, block_on, random_name};

/// The member of `commitInfo` by which a commit is known as ours.
const COMMIT_ID: &str = "faceledger.commit_id";

/// What a table is: its folder, its columns and what its files are split by.
#[derive(Clone, Debug)]
pub struct TableSpec {
    /// Also the folder below the output URL.
    pub name: &'static str,
    /// Every column, the partition column too; plain types or dictionaries of them.
    pub schema: SchemaRef,
    /// The column whose value is in the folder name and not in the files.
    pub partition: Option<&'static str>,
}

/// A file that the newest version of the log holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveFile {
    /// Relative to the table, decoded.
    pub path: String,
    /// As the log writes it: `2024-11-01` for a date. None where the table has no partition column, or
    /// the value is null.
    pub partition: Option<String>,
    pub size: u64,
    pub rows: u64,
}

/// A file that is no longer live.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Superseded {
    /// Relative to the table, decoded.
    pub path: String,
    /// When its removal was committed, by the clock of who did: milliseconds since the epoch.
    pub removed_ms: i64,
}

/// A file to make visible. It must be written already.
#[derive(Clone, Debug)]
pub struct NewFile {
    /// Relative to the table, not encoded.
    pub path: String,
    /// The value of the partition column: `2024-11-01` for a date, the text itself for a string; None for null.
    pub partition: Option<String>,
    pub size: u64,
    pub rows: u64,
    /// Delta statistics: `minValues`, `maxValues`, `nullCount`. `numRecords` is set from `rows`.
    pub stats: Value,
}

/// One step of a table: files that appear and disappear together.
#[derive(Clone, Debug)]
pub struct Change {
    pub add: Vec<NewFile>,
    /// Paths of live files, as [`LiveFile::path`] has them.
    pub remove: Vec<String>,
    /// The application's name and its own number of this step, which grows; [`DeltaTable::last_commit_of`]
    /// reads it back.
    pub txn: (String, i64),
    /// Written into the log's `commitInfo`.
    pub info: BTreeMap<String, Value>,
}

/// Why a table could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum DeltaError {
    /// Another writer committed since the table was opened (exit 6). Nothing of ours was committed.
    #[error(
        "table {table}: another writer committed version {version} meanwhile; \
         nothing was published, run again"
    )]
    Conflict { table: String, version: u64 },
    /// The store failed. After a failed commit: the log says that nothing of ours was committed, or
    /// could not be asked; running again is safe either way.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// A log that is not ours to write, or a wrong change.
    #[error("table {table}: {cause}")]
    Other { table: String, cause: String },
}

/// One table at the newest version of its log, as of opening, the last commit or the last reload. After a commit
/// of our own its files are what we made of them: the log is not read again for what was just written.
pub struct DeltaTable {
    spec: TableSpec,
    /// The table's URL, for messages.
    shown: String,
    log: LogStoreRef,
    schema: StructType,
    /// None while there is no log.
    version: Option<u64>,
    /// As the client last read it: of an earlier version, or None, after commits of our own. Nobody asks for it
    /// before the next one, and reading it takes as long as committing does.
    state: Option<DeltaTableState>,
    files: Vec<LiveFile>,
}

impl DeltaTable {
    /// Reads the log of `<place>/<name>/`. Creates nothing: without a log the table has no version and
    /// no files. A log with other columns or another partition than `spec` is an error.
    pub fn open(place: &Place, spec: &TableSpec) -> Result<DeltaTable, DeltaError> {
        DeltaTable::open_in(place.store(), place.shown(spec.name), spec)
    }

    /// `store` is rooted at the output URL.
    fn open_in(
        store: Arc<dyn ObjectStore>,
        shown: String,
        spec: &TableSpec,
    ) -> Result<DeltaTable, DeltaError> {
        let schema = delta_schema(spec)
            .map_err(|cause| DeltaError::Other { table: shown.clone(), cause })?;
        // The client maps this URL onto `store`. It never holds the real one: the client encodes
        // some folder names twice, and orders listings by the URL's scheme.
        let location = Url::parse(&format!("memory:///{}/", spec.name)).map_err(|error| {
            DeltaError::Other { table: shown.clone(), cause: error.to_string() }
        })?;
        let table = Arc::new(PrefixStore::new(Arc::clone(&store), spec.name));
        let log = default_logstore(table, store, &location, &StorageConfig::default());
        let spec = spec.clone();
        let (version, state, files) = (None, None, Vec::new());
        let mut table = DeltaTable { spec, shown, log, schema, version, state, files };
        table.reload()?;
        Ok(table)
    }

    /// The version of the log; None before the table's first commit.
    pub fn version(&self) -> Option<u64> {
        self.version
    }

    /// The files of [`version`](DeltaTable::version), sorted by path.
    pub fn files(&self) -> &[LiveFile] {
        &self.files
    }

    /// The number that `app_id` gave its newest commit.
    pub fn last_commit_of(&self, app_id: &str) -> Result<Option<i64>, DeltaError> {
        let Some(state) = self.current()? else {
            return Ok(None);
        };
        block_on(state.transaction_version(self.log.as_ref(), app_id))
            .map_err(|error| self.failed("read the log of", &error))
    }

    /// Reads the log again.
    pub fn reload(&mut self) -> Result<(), DeltaError> {
        let state = block_on(async {
            match self.log.is_delta_table_location().await? {
                true => DeltaTableState::try_new(self.log.as_ref(), None).await.map(Some),
                false => Ok(None),
            }
        })
        .map_err(|error| self.failed("read the log of", &error))?;
        self.accept(state)
    }

    /// The state of the version that we know of, not of a newer one: whoever committed meanwhile is to be noticed.
    fn current(&self) -> Result<Option<Cow<'_, DeltaTableState>>, DeltaError> {
        let Some(version) = self.version else {
            return Ok(None);
        };
        let behind = match &self.state {
            Some(state) if state.version() == version => return Ok(Some(Cow::Borrowed(state))),
            behind => behind.clone(),
        };
        let read = block_on(async {
            match behind {
                Some(mut state) => {
                    state.update(self.log.as_ref(), Some(version)).await?;
                    Ok(state)
                }
                None => DeltaTableState::try_new(self.log.as_ref(), Some(version)).await,
            }
        });
        let state = read.map_err(|error| self.failed("read the log of", &error))?;
        Ok(Some(Cow::Owned(state)))
    }

    /// Writes the state of the log as one checkpoint, so that opening need not read every entry before it.
    /// Readers need none: a checkpoint that could not be written is missed by nobody.
    pub fn checkpoint(&self) -> Result<(), DeltaError> {
        if self.version.is_none() {
            return Ok(());
        }
        block_on(async {
            let mut table = deltalake_core::DeltaTable::new(Arc::clone(&self.log));
            table.load().await?;
            create_checkpoint(&table, None).await
        })
        .map_err(|error| self.failed("write a checkpoint of", &error))
    }

    /// Deletes log entries older than `before_ms` (milliseconds since the epoch) that the newest checkpoint
    /// before them makes needless; returns how many.
    pub fn expire_log(&self, before_ms: i64) -> Result<usize, DeltaError> {
        let Some(version) = self.version() else {
            return Ok(0);
        };
        block_on(cleanup_expired_logs_for(version, self.log.as_ref(), before_ms, None))
            .map_err(|error| self.failed("delete old entries of the log of", &error))
    }

    /// Files that were removed and that the log still knows of.
    pub fn superseded(&self) -> Result<Vec<Superseded>, DeltaError> {
        let Some(state) = self.current()? else {
            return Ok(Vec::new());
        };
        // Called inside: the client looks for the runtime as soon as it makes the stream.
        let stones: Vec<_> =
            block_on(async { state.all_tombstones(self.log.as_ref()).try_collect().await })
                .map_err(|error| self.failed("read the log of", &error))?;
        Ok(stones
            .iter()
            .map(|stone| Superseded {
                path: stone.path().into_owned(),
                removed_ms: stone.deletion_timestamp().unwrap_or(0),
            })
            .collect())
    }

    /// Makes a change visible in one commit, creating the table in it when there is none, and returns
    /// the version that holds it. Files that are live already, with the same size and rows, are left
    /// out (removing and adding the same file is nothing, too); a change with nothing left makes no
    /// commit and returns the current version, but it does create the table.
    pub fn commit(&mut self, change: Change) -> Result<u64, DeltaError> {
        let (add, remove) = self.effective(&change)?;
        match self.version() {
            Some(version) if add.is_empty() && remove.is_empty() => Ok(version),
            _ => self.commit_actions(change.txn.clone(), change.info.clone(), add, &remove),
        }
    }

    /// An entry of the log that changes nothing: whoever opened the table before it cannot commit any more.
    pub fn fence(
        &mut self,
        txn: (String, i64),
        info: BTreeMap<String, Value>,
    ) -> Result<u64, DeltaError> {
        self.commit_actions(txn, info, Vec::new(), &BTreeSet::new())
    }

    fn commit_actions(
        &mut self,
        txn: (String, i64),
        mut info: BTreeMap<String, Value>,
        add: Vec<&NewFile>,
        remove: &BTreeSet<&str>,
    ) -> Result<u64, DeltaError> {
        let state = self.current()?.map(Cow::into_owned);
        let mut actions = match state {
            Some(_) => Vec::new(),
            None => self.creation()?,
        };
        if let Some(state) = &state
            && state.schema().fields().len() < self.schema.fields().len()
        {
            let metadata = state.metadata().clone().with_schema(&self.schema);
            let metadata = metadata.map_err(|error| self.wrong(error.to_string()))?;
            actions.push(Action::Metadata(metadata));
        }
        let mode = match remove.is_empty() {
            true => SaveMode::Append,
            false => SaveMode::Overwrite,
        };
        if let Some(state) = &state {
            let gone = state.log_data().into_iter().filter(|file| remove.contains(&*file.path()));
            actions.extend(gone.map(|file| Action::Remove(file.remove_action(true))));
        }
        for file in &add {
            actions.push(Action::Add(self.add_action(file)?));
        }
        let id = random_name();
        let (app_id, number) = txn;
        info.insert(COMMIT_ID.to_owned(), Value::from(id.as_str()));
        let properties = CommitProperties::default()
            .with_max_retries(0)
            .with_create_checkpoint(false)
            .with_cleanup_expired_logs(Some(false))
            .with_application_transaction(Transaction::new(app_id, number))
            .with_metadata(info);
        let partition_by = self.spec.partition.map(|column| vec![column.to_owned()]);
        let operation = DeltaOperation::Write { mode, partition_by, predicate: None };
        let before = self.version();
        let outcome = {
            let state = state.as_ref().map(|state| state as &dyn TableReference);
            let builder = CommitBuilder::from(properties).with_actions(actions);
            let commit = builder.build(state, Arc::clone(&self.log), operation);
            // Without what the client does afterwards, which is to read the log again.
            block_on(async { commit.into_prepared_commit_future().await?.await })
        };
        match outcome {
            Ok(done) => {
                self.state = state;
                self.version = Some(done.version);
                self.files.retain(|file| !remove.contains(file.path.as_str()));
                self.files.extend(add.into_iter().map(|file| LiveFile {
                    path: file.path.clone(),
                    partition: file.partition.clone(),
                    size: file.size,
                    rows: file.rows,
                }));
                self.files.sort_unstable_by(|a, b| a.path.cmp(&b.path));
                Ok(done.version)
            }
            Err(error) => self.resolve(&id, before, &error),
        }
    }

    /// After a failed commit: whether it is in the log all the same, somebody else's is, or none.
    fn resolve(
        &mut self,
        id: &str,
        before: Option<u64>,
        error: &DeltaTableError,
    ) -> Result<u64, DeltaError> {
        let first = before.map_or(0, |version| version + 1);
        let mut version = first;
        loop {
            let entry = block_on(self.log.read_commit_entry(version))
                .map_err(|error| self.failed("ask whether the commit was written to", &error))?;
            match entry {
                Some(entry) if holds_commit(&entry, id) => {
                    self.reload()?;
                    return Ok(version);
                }
                Some(_) => version += 1,
                None if version > first => {
                    return Err(DeltaError::Conflict { table: self.shown.clone(), version: first });
                }
                None => return Err(self.failed("commit to", error)),
            }
        }
    }

    /// What of a change is news, with its contradictions refused.
    fn effective<'a>(
        &self,
        change: &'a Change,
    ) -> Result<(Vec<&'a NewFile>, BTreeSet<&'a str>), DeltaError> {
        let live = |path: &str| {
            self.files
                .binary_search_by(|file| file.path.as_str().cmp(path))
                .ok()
                .map(|at| &self.files[at])
        };
        let mut remove: BTreeSet<&str> = change.remove.iter().map(String::as_str).collect();
        if let Some(path) = remove.iter().find(|path| live(path).is_none()) {
            return Err(self.wrong(format!("cannot remove {path}, which is not live")));
        }
        let mut paths = BTreeSet::new();
        let mut add = Vec::new();
        for file in &change.add {
            if !paths.insert(file.path.as_str()) {
                return Err(self.wrong(format!("{} is added twice", file.path)));
            }
            if file.partition.is_some() && self.spec.partition.is_none() {
                return Err(self.wrong(format!("{} has a partition value too many", file.path)));
            }
            match live(&file.path) {
                None => add.push(file),
                Some(old) if old.size == file.size && old.rows == file.rows => {
                    remove.remove(file.path.as_str());
                }
                Some(_) => {
                    let cause = format!("{} is live already with other content", file.path);
                    return Err(self.wrong(cause));
                }
            }
        }
        Ok((add, remove))
    }

    /// The actions that make a table: readers of any age can read it (reader 1, writer 2).
    fn creation(&self) -> Result<Vec<Action>, DeltaError> {
        let protocol = json!({"protocol": {"minReaderVersion": 1, "minWriterVersion": 2}});
        let protocol =
            serde_json::from_value(protocol).map_err(|error| self.wrong(error.to_string()))?;
        let no_configuration = std::iter::empty::<(String, String)>();
        let metadata = new_metadata(&self.schema, self.spec.partition, no_configuration)
            .map_err(|error| self.wrong(error.to_string()))?;
        Ok(vec![protocol, Action::Metadata(metadata)])
    }

    fn add_action(&self, file: &NewFile) -> Result<Add, DeltaError> {
        let number = |what: u64| {
            i64::try_from(what)
                .map_err(|_| self.wrong(format!("{}: {what} is too large", file.path)))
        };
        let mut stats = match &file.stats {
            Value::Object(stats) => stats.clone(),
            Value::Null => serde_json::Map::new(),
            _ => return Err(self.wrong(format!("{}: statistics are a JSON object", file.path))),
        };
        stats.insert("numRecords".to_owned(), Value::from(number(file.rows)?));
        let partition_values = match self.spec.partition {
            Some(column) => HashMap::from([(column.to_owned(), file.partition.clone())]),
            None => HashMap::new(),
        };
        Ok(Add {
            path: file.path.clone(),
            partition_values,
            size: number(file.size)?,
            // Data files do not depend on when they were written, and nothing reads this.
            modification_time: 0,
            data_change: true,
            stats: Some(Value::Object(stats).to_string()),
            ..Add::default()
        })
    }

    /// Takes a state of the log as the table's, if it is a table of ours.
    fn accept(&mut self, state: Option<DeltaTableState>) -> Result<(), DeltaError> {
        let mut files = Vec::new();
        if let Some(state) = &state {
            if let Some(difference) = difference(&self.schema, &state.schema()) {
                return Err(self.wrong(format!(
                    "it has other columns than this version of faceledger writes ({difference}); \
                     write to another output URL"
                )));
            }
            let partitions = state.metadata().partition_columns();
            if !partitions.iter().map(String::as_str).eq(self.spec.partition) {
                let cause = "it is partitioned by another column; write to another output URL";
                return Err(self.wrong(cause));
            }
            for file in state.log_data() {
                files.push(self.live_file(&file)?);
            }
        }
        files.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        self.version = state.as_ref().map(DeltaTableState::version);
        self.state = state;
        self.files = files;
        Ok(())
    }

    fn live_file(&self, file: &LogicalFileView) -> Result<LiveFile, DeltaError> {
        let path = file.path().into_owned();
        let rows = file.num_records().map(|rows| rows as u64).or_else(|| {
            let stats: Value = serde_json::from_str(&file.stats()?).ok()?;
            stats.get("numRecords")?.as_u64()
        });
        let (Some(rows), Ok(size)) = (rows, u64::try_from(file.size())) else {
            return Err(self.wrong(format!("its log does not say how many rows {path} holds")));
        };
        let partition = match self.spec.partition {
            Some(column) => file.partition_values_map().remove(column).flatten(),
            None => None,
        };
        Ok(LiveFile { path, partition, size, rows })
    }

    fn wrong(&self, cause: impl Into<String>) -> DeltaError {
        DeltaError::Other { table: self.shown.clone(), cause: cause.into() }
    }

    /// An error of the Delta client: the store's where it is the store's.
    fn failed(&self, operation: &'static str, error: &DeltaTableError) -> DeltaError {
        let storage = StorageError::from_error(operation, &self.shown, error);
        let of_store = match error {
            DeltaTableError::ObjectStore { .. } => true,
            DeltaTableError::Transaction { source } => {
                matches!(source, TransactionError::ObjectStore { .. })
            }
            _ => storage.is_transient() || storage.is_stopped(),
        };
        match of_store {
            true => DeltaError::Storage(storage),
            false => self.wrong(format!("cannot {operation} it: {error}")),
        }
    }
}

/// Whether a commit of the log is the one with this id.
fn holds_commit(entry: &[u8], id: &str) -> bool {
    let lines = entry.split(|byte| *byte == b'\n');
    lines.filter_map(|line| serde_json::from_slice::<Value>(line).ok()).any(|action| {
        action.get("commitInfo").and_then(|info| info.get(COMMIT_ID)).and_then(Value::as_str)
            == Some(id)
    })
}

fn delta_schema(spec: &TableSpec) -> Result<StructType, String> {
    if let Some(column) = spec.partition
        && spec.schema.field_with_name(column).is_err()
    {
        return Err(format!("its partition column {column} is not among its columns"));
    }
    let fields = spec.schema.fields().iter().map(|field| {
        let data_type = delta_type(field.data_type()).ok_or_else(|| {
            format!("column {}: no Delta type for {}", field.name(), field.data_type())
        })?;
        Ok(StructField::new(field.name(), data_type, field.is_nullable()))
    });
    let fields = fields.collect::<Result<Vec<_>, String>>()?;
    StructType::try_new(fields).map_err(|error| error.to_string())
}

/// The Delta type that readers see for a column. Timestamps of any unit are Delta's `timestamp`, an
/// instant; those without a zone are none.
fn delta_type(data_type: &ArrowType) -> Option<DataType> {
    Some(match data_type {
        ArrowType::Dictionary(_, values) => return delta_type(values),
        ArrowType::Utf8 | ArrowType::LargeUtf8 | ArrowType::Utf8View => DataType::STRING,
        ArrowType::Boolean => DataType::BOOLEAN,
        ArrowType::Int8 => DataType::BYTE,
        ArrowType::Int16 => DataType::SHORT,
        ArrowType::Int32 => DataType::INTEGER,
        ArrowType::Int64 => DataType::LONG,
        ArrowType::Date32 => DataType::DATE,
        ArrowType::Timestamp(TimeUnit::Millisecond | TimeUnit::Microsecond, Some(zone))
            if matches!(&**zone, "UTC" | "+00:00" | "Z") =>
        {
            DataType::TIMESTAMP
        }
        ArrowType::Decimal128(precision, scale) => {
            DataType::decimal(*precision, u8::try_from(*scale).ok()?).ok()?
        }
        ArrowType::List(element) => {
            ArrayType::new(delta_type(element.data_type())?, element.is_nullable()).into()
        }
        ArrowType::Struct(parts) => {
            let part = |part: &FieldRef| {
                Some(StructField::new(
                    part.name(),
                    delta_type(part.data_type())?,
                    part.is_nullable(),
                ))
            };
            let parts: Vec<StructField> = parts.iter().map(part).collect::<Option<_>>()?;
            StructType::try_new(parts).ok()?.into()
        }
        _ => return None,
    })
}

/// The first column in which two schemas differ, told for people. A table may lack columns that may be null: it was written
/// before there were any such, and has them from the next commit on.
fn difference(ours: &StructType, theirs: &StructType) -> Option<String> {
    let known = |field: &&StructField| !field.is_nullable() || theirs.field(field.name()).is_some();
    let mut ours = ours.fields().filter(known);
    let mut theirs = theirs.fields();
    loop {
        match (ours.next(), theirs.next()) {
            (None, None) => return None,
            (Some(a), Some(b)) if a.name() != b.name() => {
                return Some(format!("{} where {} is due", b.name(), a.name()));
            }
            (Some(a), Some(b)) if a.data_type() != b.data_type() => {
                return Some(format!("{} is {}, not {}", a.name(), b.data_type(), a.data_type()));
            }
            (Some(a), Some(b)) if a.is_nullable() != b.is_nullable() => {
                return Some(format!("whether {} may be null", a.name()));
            }
            (Some(_), Some(_)) => {}
            (Some(a), None) => return Some(format!("{} is missing", a.name())),
            (None, Some(b)) => return Some(format!("{} is unknown", b.name())),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fmt;
    use std::sync::Mutex;

    use arrow::datatypes::{Field, Schema};
    use futures::future::BoxFuture;
    use futures::stream::BoxStream;
    use futures::{FutureExt, StreamExt};
    use object_store::memory::InMemory;
    use object_store::path::Path;
    use object_store::{
        CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
        PutMultipartOptions, PutOptions, PutPayload, PutResult,
    };

    use super::*;
    use crate::storage::mount;

    const FIRST: &str =
        "usage_date=2024-11-01/liveness_detail-2024-11-01-v1-00000000000000aa.parquet";
    const SECOND: &str =
        "usage_date=2024-11-02/liveness_detail-2024-11-02-v1-00000000000000bb.parquet";
    const THIRD: &str =
        "usage_date=2024-11-02/liveness_detail-2024-11-02-v1-00000000000000cc.parquet";

    fn spec() -> TableSpec {
        let text = || ArrowType::Dictionary(Box::new(ArrowType::Int32), Box::new(ArrowType::Utf8));
        let instant = || ArrowType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()));
        let schema = Schema::new(vec![
            Field::new("usage_date", ArrowType::Date32, false),
            Field::new("req_time", instant(), false),
            Field::new("seq", ArrowType::Utf8, false),
            Field::new("account", text(), false),
            Field::new("is_need_charge", ArrowType::Boolean, true),
            Field::new("errcode", ArrowType::Int32, true),
            Field::new("sim", ArrowType::Decimal128(5, 2), true),
            Field::new("liveness_mode", ArrowType::Int8, true),
            Field::new("source_record", ArrowType::Int64, false),
        ]);
        let schema = Arc::new(schema);
        TableSpec { name: "liveness_detail", schema, partition: Some("usage_date") }
    }

    fn file(path: &str, rows: u64) -> NewFile {
        let partition = path.strip_prefix("usage_date=").map(|path| path[..10].to_owned());
        let stats = json!({"minValues": {"seq": "a"}, "maxValues": {"seq": "z"}});
        NewFile { path: path.to_owned(), partition, size: rows * 40, rows, stats }
    }

    fn change(number: i64, add: &[(&str, u64)], remove: &[&str]) -> Change {
        let info = BTreeMap::from([("faceledger.run_id".to_owned(), Value::from("run-1"))]);
        Change {
            add: add.iter().map(|(path, rows)| file(path, *rows)).collect(),
            remove: remove.iter().map(|path| (*path).to_owned()).collect(),
            txn: ("faceledger".to_owned(), number),
            info,
        }
    }

    fn place(url: &str) -> Place {
        Place::open(url, &BTreeMap::new()).expect("the place opens")
    }

    fn paths(table: &DeltaTable) -> Vec<&str> {
        table.files().iter().map(|file| file.path.as_str()).collect()
    }

    /// The life of a table, on any store: missing, created, added to, replaced, reopened.
    fn lives(output: &Place) {
        let mut table = DeltaTable::open(output, &spec()).expect("a missing table opens");
        assert_eq!(table.version(), None);
        assert_eq!(table.files(), &[]);
        assert_eq!(table.last_commit_of("faceledger").expect("no log, no number"), None);
        assert_eq!(output.list(None).expect("lists"), [], "opening creates nothing");

        assert_eq!(table.commit(change(1, &[(SECOND, 3), (FIRST, 2)], &[])).expect("creates"), 0);
        let first = LiveFile {
            path: FIRST.to_owned(),
            partition: Some("2024-11-01".to_owned()),
            size: 80,
            rows: 2,
        };
        assert_eq!(table.files()[0], first);
        assert_eq!(paths(&table), [FIRST, SECOND]);
        assert_eq!(table.last_commit_of("faceledger").expect("reads"), Some(1));
        assert_eq!(table.last_commit_of("somebody").expect("reads"), None);

        // The second day is rewritten.
        assert_eq!(table.commit(change(2, &[(THIRD, 4)], &[SECOND])).expect("replaces"), 1);
        assert_eq!(paths(&table), [FIRST, THIRD]);

        let mut again = DeltaTable::open(output, &spec()).expect("reopens");
        assert_eq!(again.version(), Some(1));
        assert_eq!(again.files(), table.files());
        assert_eq!(again.last_commit_of("faceledger").expect("reads"), Some(2));

        // Adding what is there, removing and adding it again, or nothing at all is no commit.
        assert_eq!(again.commit(change(3, &[(FIRST, 2)], &[])).expect("no news"), 1);
        assert_eq!(again.commit(change(3, &[(FIRST, 2)], &[FIRST])).expect("no news"), 1);
        assert_eq!(again.commit(change(3, &[], &[])).expect("no news"), 1);
        assert_eq!(again.last_commit_of("faceledger").expect("reads"), Some(2));
        let log = output.list(Some("liveness_detail/_delta_log")).expect("lists");
        let keys: Vec<&str> = log.iter().map(|object| object.key.as_str()).collect();
        assert_eq!(
            keys,
            [
                "liveness_detail/_delta_log/00000000000000000000.json",
                "liveness_detail/_delta_log/00000000000000000001.json",
            ]
        );

        // What is there keeps out of a change that has news, too.
        assert_eq!(again.commit(change(3, &[(FIRST, 2), (SECOND, 3)], &[])).expect("adds"), 2);
        assert_eq!(paths(&again), [FIRST, SECOND, THIRD]);
        let entry = output.read_all("liveness_detail/_delta_log/00000000000000000002.json");
        let entry = entry.expect("the log is there");
        let text = std::str::from_utf8(&entry).expect("the log is text");
        assert_eq!(text.matches("\"add\"").count(), 1);
        assert!(text.contains(&format!("\"path\":\"{SECOND}\"")), "{text}");
        assert!(text.contains("\"faceledger.run_id\":\"run-1\""), "{text}");
        assert!(text.contains("\\\"numRecords\\\":3"), "{text}");
        table.reload().expect("reloads");
        assert_eq!(table.version(), Some(2));
        assert_eq!(table.files(), again.files());
        // Two commits of one table, of which none reads the log again, and what is asked of it after them.
        assert_eq!(table.commit(change(3, &[], &[SECOND])).expect("removes"), 3);
        assert_eq!(table.last_commit_of("faceledger").expect("reads"), Some(3));
        assert_eq!(table.commit(change(4, &[(SECOND, 3)], &[THIRD])).expect("adds"), 4);
        let fresh = DeltaTable::open(output, &spec()).expect("reopens");
        assert_eq!(table.superseded().expect("reads"), fresh.superseded().expect("reads"));
        assert_eq!((table.version(), table.files()), (fresh.version(), fresh.files()));
    }

    #[test]
    fn a_table_lives_in_memory() {
        lives(&place("memory://delta-lives/out"));
    }

    #[test]
    fn a_table_lives_in_a_folder_with_any_name() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let output = folder.path().join("输出 100% #1 a+b=c%41");
        lives(&place(output.to_str().expect("UTF-8")));
    }

    #[test]
    fn paths_come_back_as_given() {
        let output = place("memory://delta-paths");
        let odd = ["a b%20c.parquet", "a+b=c&d.parquet", "x#1?.parquet", "中文/é~[1].parquet"];
        let spec = TableSpec { partition: None, ..spec() };
        let mut table = DeltaTable::open(&output, &spec).expect("opens");
        let add: Vec<(&str, u64)> = odd.iter().map(|path| (*path, 1)).collect();
        table.commit(change(1, &add, &[])).expect("commits");
        let mut table = DeltaTable::open(&output, &spec).expect("reopens");
        assert_eq!(paths(&table), odd);
        table.commit(change(2, &[], &odd)).expect("removes");
        let table = DeltaTable::open(&output, &spec).expect("reopens");
        assert_eq!(paths(&table), [""; 0]);
    }

    #[test]
    fn an_empty_change_creates_the_table_once() {
        let output = place("memory://delta-empty");
        let mut table = DeltaTable::open(&output, &spec()).expect("opens");
        assert_eq!(table.commit(change(1, &[], &[])).expect("creates"), 0);
        assert_eq!(table.commit(change(2, &[], &[])).expect("nothing to do"), 0);
        assert_eq!(table.files(), &[]);
    }

    #[test]
    fn of_two_stale_writers_the_second_is_refused() {
        let output = place("memory://delta-race");
        // Both would create the table.
        let mut one = DeltaTable::open(&output, &spec()).expect("opens");
        let mut two = DeltaTable::open(&output, &spec()).expect("opens");
        assert_eq!(one.commit(change(1, &[(FIRST, 2)], &[])).expect("wins"), 0);
        let refused = two.commit(change(1, &[(SECOND, 3)], &[])).expect_err("is stale");
        assert!(matches!(refused, DeltaError::Conflict { version: 0, .. }), "{refused}");

        // Both would fill a day that does not exist yet: the case that the client's own retries let through.
        two.reload().expect("reloads");
        assert_eq!(one.commit(change(2, &[(SECOND, 3)], &[])).expect("wins"), 1);
        let refused = two.commit(change(2, &[(THIRD, 3)], &[])).expect_err("is stale");
        assert!(matches!(refused, DeltaError::Conflict { version: 1, .. }), "{refused}");
        two.reload().expect("reloads");
        assert_eq!(paths(&two), [FIRST, SECOND]);
        assert_eq!(two.commit(change(3, &[(THIRD, 3)], &[SECOND])).expect("is news"), 2);
    }

    #[test]
    fn many_racing_writers_never_share_a_version() {
        let output = place("memory://delta-many");
        let outcomes: Vec<Result<u64, DeltaError>> = std::thread::scope(|scope| {
            let writers: Vec<_> = (0..8)
                .map(|writer| {
                    let output = &output;
                    scope.spawn(move || {
                        let path = format!("usage_date=2024-11-01/{writer}.parquet");
                        let mut table = DeltaTable::open(output, &spec())?;
                        table.commit(change(writer, &[(&path, 1)], &[]))
                    })
                })
                .collect();
            writers.into_iter().map(|writer| writer.join().expect("no panic")).collect()
        });
        let mut versions: Vec<u64> =
            outcomes.iter().filter_map(|out| out.as_ref().ok()).copied().collect();
        versions.sort_unstable();
        let expected: Vec<u64> = (0..versions.len() as u64).collect();
        assert_eq!(versions, expected, "{outcomes:?}");
        for outcome in &outcomes {
            assert!(matches!(outcome, Ok(_) | Err(DeltaError::Conflict { .. })), "{outcome:?}");
        }
        let table = DeltaTable::open(&output, &spec()).expect("opens");
        assert_eq!(table.files().len(), versions.len());
    }

    #[test]
    fn a_commit_whose_acknowledgement_is_lost_is_done() {
        for fault in [Fault::LostReply, Fault::LostReplyThenExists] {
            let name = format!("delta-{fault:?}").to_lowercase();
            let store = Arc::new(Faulty { inner: InMemory::new(), next: Mutex::new(None) });
            mount(&name, Arc::clone(&store) as Arc<dyn ObjectStore>);
            let output = place(&format!("memory://{name}/out"));
            let mut table = DeltaTable::open(&output, &spec()).expect("opens");
            store.arm(fault);
            assert_eq!(table.commit(change(1, &[(FIRST, 2)], &[])).expect("is seen as done"), 0);
            assert_eq!(paths(&table), [FIRST]);
            store.arm(fault);
            assert_eq!(table.commit(change(2, &[(SECOND, 3)], &[])).expect("is seen as done"), 1);
            assert_eq!(paths(&table), [FIRST, SECOND]);
            assert_eq!(table.last_commit_of("faceledger").expect("reads"), Some(2));
            let again = DeltaTable::open(&output, &spec()).expect("reopens");
            assert_eq!(again.version(), Some(1));
        }
    }

    #[test]
    fn a_commit_that_was_not_written_fails_and_can_be_repeated() {
        let store = Arc::new(Faulty { inner: InMemory::new(), next: Mutex::new(None) });
        mount("delta-down", Arc::clone(&store) as Arc<dyn ObjectStore>);
        let output = place("memory://delta-down/out");
        let mut table = DeltaTable::open(&output, &spec()).expect("opens");
        table.commit(change(1, &[(FIRST, 2)], &[])).expect("creates");
        store.arm(Fault::NotWritten);
        let failed = table.commit(change(2, &[(SECOND, 3)], &[])).expect_err("was not written");
        let DeltaError::Storage(error) = &failed else { panic!("{failed}") };
        assert!(error.is_transient(), "{error}");
        assert!(error.to_string().contains("memory://delta-down/out/liveness_detail"), "{error}");
        assert_eq!(paths(&table), [FIRST]);
        store.next.lock().expect("no panic").take();
        assert_eq!(table.commit(change(2, &[(SECOND, 3)], &[])).expect("repeats"), 1);
    }

    #[test]
    fn another_commit_behind_a_lost_acknowledgement_is_a_conflict() {
        let store = Arc::new(Faulty { inner: InMemory::new(), next: Mutex::new(None) });
        mount("delta-other", Arc::clone(&store) as Arc<dyn ObjectStore>);
        let output = place("memory://delta-other");
        let mut one = DeltaTable::open(&output, &spec()).expect("opens");
        one.commit(change(1, &[(FIRST, 2)], &[])).expect("creates");
        let mut two = DeltaTable::open(&output, &spec()).expect("opens");
        one.commit(change(2, &[(SECOND, 3)], &[])).expect("wins");
        store.arm(Fault::NotWritten);
        let refused = two.commit(change(2, &[(THIRD, 3)], &[])).expect_err("is stale");
        assert!(matches!(refused, DeltaError::Conflict { version: 1, .. }), "{refused}");
    }

    #[test]
    fn a_null_partition_comes_back_as_none() {
        let output = place("memory://delta-null");
        let path = "usage_date=__HIVE_DEFAULT_PARTITION__/x.parquet";
        let mut spec = spec();
        let nullable = spec.schema.fields().iter().map(|f| f.as_ref().clone().with_nullable(true));
        spec.schema = Arc::new(Schema::new(nullable.collect::<Vec<_>>()));
        let mut table = DeltaTable::open(&output, &spec).expect("opens");
        let mut null = change(1, &[(path, 1)], &[]);
        null.add[0].partition = None;
        table.commit(null).expect("commits");
        let again = DeltaTable::open(&output, &spec).expect("opens");
        let file = LiveFile { path: path.to_owned(), partition: None, size: 40, rows: 1 };
        assert_eq!(again.files(), [file]);
    }

    #[test]
    fn a_checkpoint_stands_for_the_entries_before_it() {
        let (_folder, local) = {
            let folder = tempfile::tempdir().expect("a temporary folder");
            let local = place(folder.path().to_str().expect("UTF-8"));
            (folder, local)
        };
        for output in [place("memory://delta-checkpoint/out"), local] {
            let mut table = DeltaTable::open(&output, &spec()).expect("opens");
            table.checkpoint().expect("nothing to write");
            table.commit(change(1, &[(FIRST, 2), (SECOND, 3)], &[])).expect("creates");
            table.commit(change(2, &[(THIRD, 4)], &[SECOND])).expect("replaces");
            table.checkpoint().expect("writes");
            let gone: Vec<String> =
                table.superseded().expect("reads").into_iter().map(|gone| gone.path).collect();
            assert_eq!(gone, [SECOND]);
            // Without the entries, the checkpoint alone tells all.
            let entries = ["00000000000000000000.json", "00000000000000000001.json"];
            let entries = entries.map(|name| format!("liveness_detail/_delta_log/{name}"));
            output.delete(&entries[..1]).expect("deletes");
            let mut again = DeltaTable::open(&output, &spec()).expect("reopens");
            assert_eq!(again.version(), Some(1));
            assert_eq!(paths(&again), [FIRST, THIRD]);
            assert_eq!(again.last_commit_of("faceledger").expect("reads"), Some(2));
            assert_eq!(again.superseded().expect("reads").len(), 1);
            let fence = ("faceledger".to_owned(), 3);
            assert_eq!(again.fence(fence, BTreeMap::new()).expect("commits"), 2);
            assert!(
                table.commit(change(4, &[(SECOND, 3)], &[])).is_err(),
                "who opened the table before the fence is shut out"
            );
        }
    }

    #[test]
    fn wrong_changes_and_foreign_tables_are_refused() {
        let output = place("memory://delta-wrong");
        let mut table = DeltaTable::open(&output, &spec()).expect("opens");
        table.commit(change(1, &[(FIRST, 2)], &[])).expect("creates");
        let cases = [
            (change(2, &[(FIRST, 3)], &[]), "is live already with other content"),
            (change(2, &[], &[SECOND]), "which is not live"),
            (change(2, &[(SECOND, 1), (SECOND, 1)], &[]), "is added twice"),
        ];
        for (wrong, cause) in cases {
            let refused = table.commit(wrong).expect_err(cause).to_string();
            assert!(refused.contains(cause), "{refused}");
        }
        assert_eq!(table.version(), Some(0));

        let mut fields: Vec<Field> =
            spec().schema.fields().iter().map(|field| field.as_ref().clone()).collect();
        fields[5] = Field::new("errcode", ArrowType::Int64, true);
        let other = TableSpec { schema: Arc::new(Schema::new(fields)), ..spec() };
        let refused = DeltaTable::open(&output, &other).err().expect("other columns").to_string();
        assert!(refused.contains("errcode is integer, not long"), "{refused}");
        let other = TableSpec { partition: None, ..spec() };
        let refused = DeltaTable::open(&output, &other).err().expect("other partition").to_string();
        assert!(refused.contains("partitioned by another column"), "{refused}");
    }

    #[test]
    fn the_columns_are_delta_columns() {
        let schema = delta_schema(&spec()).expect("every column has a Delta type");
        let json = serde_json::to_value(&schema).expect("is JSON");
        let column = |name: &str, data_type: &str, nullable: bool| json!({"name": name, "type": data_type, "nullable": nullable, "metadata": {}});
        let expected = json!([
            column("usage_date", "date", false),
            column("req_time", "timestamp", false),
            column("seq", "string", false),
            column("account", "string", false),
            column("is_need_charge", "boolean", true),
            column("errcode", "integer", true),
            column("sim", "decimal(5,2)", true),
            column("liveness_mode", "byte", true),
            column("source_record", "long", false),
        ]);
        assert_eq!(json["fields"], expected);

        let local = Field::new("at", ArrowType::Timestamp(TimeUnit::Millisecond, None), false);
        let schema = Arc::new(Schema::new(vec![local]));
        let refused = delta_schema(&TableSpec { name: "t", schema, partition: None });
        assert!(refused.expect_err("no zone").contains("column at"));
    }

    /// What goes wrong with the next write into a log.
    #[derive(Clone, Copy, Debug)]
    enum Fault {
        /// It is written, and the answer is a time-out.
        LostReply,
        /// It is written, and the client's own repetition finds the object there.
        LostReplyThenExists,
        /// It is not written.
        NotWritten,
    }

    #[derive(Debug)]
    struct Faulty {
        inner: InMemory,
        next: Mutex<Option<Fault>>,
    }

    impl Faulty {
        fn arm(&self, fault: Fault) {
            *self.next.lock().expect("no panic") = Some(fault);
        }
    }

    impl fmt::Display for Faulty {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("Faulty")
        }
    }

    fn timed_out() -> object_store::Error {
        let source = Box::new(std::io::Error::from(std::io::ErrorKind::TimedOut));
        object_store::Error::Generic { store: "Faulty", source }
    }

    impl ObjectStore for Faulty {
        fn put_opts<'a, 'b, 'c>(
            &'a self,
            location: &'b Path,
            payload: PutPayload,
            options: PutOptions,
        ) -> BoxFuture<'c, object_store::Result<PutResult>>
        where
            'a: 'c,
            'b: 'c,
            Self: 'c,
        {
            async move {
                let fault = {
                    let mut next = self.next.lock().expect("no panic");
                    let fault = *next;
                    // What is not written is not written by a repetition either.
                    next.take_if(|fault| !matches!(fault, Fault::NotWritten));
                    fault
                };
                match fault {
                    None => self.inner.put_opts(location, payload, options).await,
                    Some(Fault::NotWritten) => Err(timed_out()),
                    Some(Fault::LostReply) => {
                        self.inner.put_opts(location, payload, options).await?;
                        Err(timed_out())
                    }
                    Some(Fault::LostReplyThenExists) => {
                        self.inner.put_opts(location, payload.clone(), options.clone()).await?;
                        self.inner.put_opts(location, payload, options).await
                    }
                }
            }
            .boxed()
        }

        fn put_multipart_opts<'a, 'b, 'c>(
            &'a self,
            location: &'b Path,
            options: PutMultipartOptions,
        ) -> BoxFuture<'c, object_store::Result<Box<dyn MultipartUpload>>>
        where
            'a: 'c,
            'b: 'c,
            Self: 'c,
        {
            self.inner.put_multipart_opts(location, options)
        }

        fn get_opts<'a, 'b, 'c>(
            &'a self,
            location: &'b Path,
            options: GetOptions,
        ) -> BoxFuture<'c, object_store::Result<GetResult>>
        where
            'a: 'c,
            'b: 'c,
            Self: 'c,
        {
            self.inner.get_opts(location, options)
        }

        fn delete_stream(
            &self,
            locations: BoxStream<'static, object_store::Result<Path>>,
        ) -> BoxStream<'static, object_store::Result<Path>> {
            self.inner.delete_stream(locations)
        }

        /// Backwards: a store promises no order.
        fn list(
            &self,
            prefix: Option<&Path>,
        ) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
            let listed = self.inner.list(prefix).collect::<Vec<_>>();
            listed
                .map(|metas| futures::stream::iter(metas.into_iter().rev()))
                .flatten_stream()
                .boxed()
        }

        fn list_with_delimiter<'a, 'b, 'c>(
            &'a self,
            prefix: Option<&'b Path>,
        ) -> BoxFuture<'c, object_store::Result<ListResult>>
        where
            'a: 'c,
            'b: 'c,
            Self: 'c,
        {
            self.inner.list_with_delimiter(prefix)
        }

        fn copy_opts<'a, 'b, 'd, 'c>(
            &'a self,
            from: &'b Path,
            to: &'d Path,
            options: CopyOptions,
        ) -> BoxFuture<'c, object_store::Result<()>>
        where
            'a: 'c,
            'b: 'c,
            'd: 'c,
            Self: 'c,
        {
            self.inner.copy_opts(from, to, options)
        }
    }
}
