//! The order of the steps, and the only room that sees every other: threads, resume, tallies, exit codes.

mod batches;
mod beside;
mod bills;
mod check;
mod compact;
mod evidence;
mod explain;
mod export;
mod history;
mod inventory;
mod load;
mod memory;
mod outcome;
mod publish;
mod reconcile;
mod rejects;
mod repeated;
mod same_lines;
mod verify;

pub use crate::write::merge::CHANGES_MAX;
pub use check::{Checked, Plan, check, plan};
pub use compact::{Compacted, compact};
pub use explain::{Billed, Columns, Explained, explain, not_held};
pub use export::{Exported, export};
pub use outcome::{DailyLine, Outcome, Phase, Removed, Restated, RunReport, Unmapped};
pub use reconcile::{ReconcileAsked, ReconcileReport, reconcile};
pub use rejects::{RejectCount, list_rejects};
pub use verify::{Verified, verify};

use crate::classify::Router;
use crate::decode::Layouts;
use crate::model::{Broken, DailyCharge, RejectReason, UsageDay};
use crate::pipeline::Pipeline;
use crate::report::{self, Progress};
use crate::settle::SettleError;
use crate::sources::{KeyPattern, Objects, Order, Window};
use crate::storage::{self, Abilities, Lease, LeaseError, Place, StorageError};
use crate::write::delta::LiveFile;
use crate::write::merge::{self, Merged, SeqSet};
use crate::write::parquet::plain_column;
use crate::write::small;
use crate::write::{self, OpenTable, WriteError, Writer, schema};
use arrow::array::{Array, AsArray, RecordBatch};
use batches::{Batch, Batches, replaced_days};
use load::{Loaded, Unmerged};
use outcome::{Phases, Sum};
use publish::{Job, charges_after, preview, stale_days};
use rayon::prelude::*;
use std::collections::{BTreeSet, HashMap};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Exit statuses: a contract with schedulers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Exit {
    #[default]
    Done,
    OurFailure,
    Usage,
    RejectsOverThreshold,
    BillDiffers,
    ConservationBroken,
    AnotherWriter,
    TryAgain,
    /// What `--if-nothing-new-exit` asked for.
    Asked(u8),
}

impl Exit {
    pub fn status(self) -> u8 {
        match self {
            Exit::Done => 0,
            Exit::OurFailure => 1,
            Exit::Usage => 2,
            Exit::RejectsOverThreshold => 3,
            Exit::BillDiffers => 4,
            Exit::ConservationBroken => 5,
            Exit::AnotherWriter => 6,
            Exit::TryAgain => 75,
            Exit::Asked(status) => status,
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error(transparent)]
    Write(#[from] WriteError),
    #[error(transparent)]
    Settle(#[from] SettleError),
    #[error("{key}: {source}")]
    Read { key: String, source: std::io::Error },
    #[error("conservation broken, nothing was published: {}", list(.0))]
    Conservation(Vec<Broken>),
    #[error("{error}{}", advice(.error))]
    Lease {
        #[from]
        error: LeaseError,
    },
    #[error("{0}; `run --full-refresh` makes the tables anew")]
    Damaged(String),
    #[error("stopped as asked, nothing half-done is visible: run the same command again to go on")]
    Stopped,
    #[error("{0}")]
    Usage(String),
}

fn advice(error: &LeaseError) -> &'static str {
    match error {
        LeaseError::Held { .. } => ": wait for its end, then run again",
        LeaseError::Storage(_) => "",
    }
}

fn list(broken: &[Broken]) -> String {
    broken.iter().map(Broken::to_string).collect::<Vec<_>>().join("; ")
}

impl RunError {
    pub fn exit(&self) -> Exit {
        fn of_storage(error: &StorageError) -> Exit {
            // An object that has gone since it was listed is gone from the next listing too.
            if error.is_transient()
                || error.is_not_found()
                || error.is_changed()
                || error.is_stopped()
            {
                Exit::TryAgain
            } else if matches!(error, StorageError::LeaseLost { .. }) {
                Exit::AnotherWriter
            } else if error.is_refused() {
                Exit::Usage
            } else {
                Exit::OurFailure
            }
        }
        fn of_write(error: &WriteError) -> Exit {
            match error {
                // A file of a table that is not there will not come back by itself.
                WriteError::Storage(e) if e.is_not_found() => Exit::OurFailure,
                WriteError::Storage(e) => of_storage(e),
                WriteError::Delta(write::delta::DeltaError::Storage(e)) => of_storage(e),
                WriteError::Delta(write::delta::DeltaError::Conflict { .. }) => Exit::AnotherWriter,
                WriteError::File { source, .. } => of_write(source),
                _ => Exit::OurFailure,
            }
        }
        match self {
            RunError::Storage(error) => of_storage(error),
            RunError::Write(error) => of_write(error),
            RunError::Settle(SettleError::Overflow { .. }) => Exit::ConservationBroken,
            // A price of the user's that cannot be right.
            RunError::Settle(SettleError::Amount { .. }) => Exit::Usage,
            RunError::Settle(_) => Exit::OurFailure,
            RunError::Read { .. } | RunError::Stopped => Exit::TryAgain,
            RunError::Conservation(_) | RunError::Damaged(_) => Exit::ConservationBroken,
            RunError::Lease { error: LeaseError::Held { .. } } => Exit::AnotherWriter,
            RunError::Lease { error: LeaseError::Storage(error) } => of_storage(error),
            RunError::Usage(_) => Exit::Usage,
        }
    }
}

/// What a run is asked for besides its pipeline.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    pub window: Window,
    pub full_refresh: bool,
    pub dry_run: bool,
    /// Read again the objects that had rejects.
    pub retry_rejects: bool,
    /// Which dates come first.
    pub order: Order,
}

/// Milliseconds since the epoch. The one place that reads the wall clock: for the names of runs and for
/// reports, never for anything in a table of attempts.
pub fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64)
}

fn rfc3339(ms: i64) -> String {
    chrono::DateTime::from_timestamp_millis(ms)
        .map(|t| t.to_rfc3339_opts(chrono::SecondsFormat::Millis, true))
        .unwrap_or_default()
}

/// Names sort by time; the tail tells apart two runs of one millisecond.
fn new_run_id(now_ms: i64) -> String {
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.subsec_nanos());
    let tail = std::process::id().wrapping_mul(2_654_435_761) ^ nanos;
    let time = chrono::DateTime::from_timestamp_millis(now_ms).unwrap_or_default();
    format!("{}-{tail:08x}", time.format("%Y%m%dT%H%M%S%3fZ"))
}

/// The tables of an output, opened.
struct Tables {
    detail: OpenTable,
    rejects: OpenTable,
    daily: OpenTable,
    inputs: OpenTable,
}

impl Tables {
    fn open(output: &Place) -> Result<Tables, WriteError> {
        // Each reads a log, from one answer to the next.
        let tables: [&'static schema::Table; 4] =
            [&schema::LIVENESS_DETAIL, &schema::REJECTS, &schema::DAILY_CHARGE, &schema::INPUTS];
        let [detail, rejects, daily, inputs] =
            side_by_side(tables, |table| OpenTable::open(output, table))?;
        Ok(Tables { detail, rejects, daily, inputs })
    }

    /// Fails where no run has been: a mistyped place must not look like a healthy one.
    fn open_existing(output: &Place) -> Result<Tables, RunError> {
        let tables = Tables::open(output)?;
        match tables.each().iter().all(|t| t.version().is_none()) {
            true => Err(RunError::Usage(format!(
                "{output}: no table of faceledger's is here: run the pipeline first"
            ))),
            false => Ok(tables),
        }
    }

    /// Which run made the newest commit of each table. The logs are read for it, so once a run is enough.
    fn last_runs(&self) -> Result<LastRuns, WriteError> {
        let [detail, rejects, daily, inputs] = side_by_side(self.each(), OpenTable::last_run)?;
        Ok(LastRuns { detail, rejects, daily, inputs })
    }

    fn each_mut(&mut self) -> [&mut OpenTable; 4] {
        [&mut self.detail, &mut self.rejects, &mut self.daily, &mut self.inputs]
    }

    fn each(&self) -> [&OpenTable; 4] {
        [&self.detail, &self.rejects, &self.daily, &self.inputs]
    }
}

/// The number of the run that made the newest commit of each table, as [`Writer::txn`] was; None without one.
struct LastRuns {
    detail: Option<i64>,
    rejects: Option<i64>,
    daily: Option<i64>,
    inputs: Option<i64>,
}

impl LastRuns {
    /// A number above those of all commits so far: mostly the time, but a host whose clock is behind must not
    /// make a newer commit look older.
    fn next_txn(&self, now_ms: i64) -> i64 {
        let last = self.detail.max(self.rejects).max(self.daily).max(self.inputs);
        last.map_or(now_ms, |last| now_ms.max(last + 1))
    }
}

/// Calls a function for each of the four tables, all at once.
fn side_by_side<T: Send, R: Send>(
    tables: [T; 4],
    work: impl Fn(T) -> Result<R, WriteError> + Sync,
) -> Result<[R; 4], WriteError> {
    let results = std::thread::scope(|scope| {
        tables.map(|table| scope.spawn(|| work(table))).map(|worker| match worker.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    });
    let [a, b, c, d] = results;
    Ok([a?, b?, c?, d?])
}

/// The place of the results. A folder that is not there is a mistake in the pipeline file.
fn open_source(pipeline: &Pipeline) -> Result<Place, RunError> {
    let source = &pipeline.source;
    Place::open_source(&source.url, &source.options).map_err(|error| match error.is_not_found() {
        true => RunError::Usage(format!("{}: source.url: {error}", pipeline.file)),
        false => error.into(),
    })
}

/// The object beside the tables in which is written down what a remote store was found to do.
const STORE: &str = "_store.json";

/// What the store of an output does, as `check` or an earlier run found, or as is found now.
fn abilities(output: &Place, anew: bool) -> Result<Abilities, RunError> {
    if !anew {
        match output.read_all(STORE) {
            Ok(text) => {
                if let Ok(abilities) = serde_json::from_slice(&text) {
                    return Ok(abilities);
                }
                // Written by another version, or half of it: found again below.
            }
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error.into()),
        }
    }
    let abilities = output.probe_create()?;
    let text = serde_json::to_vec_pretty(&abilities).map_err(|e| RunError::Usage(e.to_string()))?;
    output.put(STORE, text.into())?;
    Ok(abilities)
}

/// Becomes the one writer of an output. Gives the output again, writing as its store needs it.
fn take_lease(
    pipeline: &Pipeline,
    output: &Place,
    run_id: &str,
) -> Result<(Place, Lease), RunError> {
    let abilities = match output.local_folder() {
        Some(_) => None,
        None => Some(abilities(output, false)?),
    };
    let term = Duration::from_millis(pipeline.output.lease_term_ms.unsigned_abs());
    let lease = output.lease(run_id, term, abilities.as_ref(), &report::note)?;
    let output = match abilities {
        Some(abilities) => output.clone().with_create(abilities.create),
        None => output.clone(),
    };
    Ok((output, lease))
}

/// All rows of a file of a small table.
fn rows_of<T>(
    table: &OpenTable,
    file: &LiveFile,
    rows: impl Fn(&RecordBatch) -> Result<Vec<T>, WriteError>,
) -> Result<Vec<T>, WriteError> {
    let mut all = Vec::new();
    for batch in table.read(file, None)? {
        all.extend(rows(&batch)?);
    }
    Ok(all)
}

/// All rows of a small table.
fn read_small<T: Send>(
    table: &OpenTable,
    rows: impl Fn(&RecordBatch) -> Result<Vec<T>, WriteError> + Sync,
) -> Result<Vec<T>, WriteError> {
    let parts: Vec<Vec<T>> = table
        .files()
        .par_iter()
        .map(|file| rows_of(table, file, &rows))
        .collect::<Result<_, WriteError>>()?;
    Ok(parts.into_iter().flatten().collect())
}

/// Runs the job.
pub fn run(pipeline: &Pipeline, asked: &Asked, stop: &AtomicBool) -> Result<RunReport, RunError> {
    in_pool(pipeline, |threads| Run::new(pipeline, asked, stop, threads)?.go())
}

/// Fails once a stop was asked for.
fn stopped(stop: &AtomicBool) -> Result<(), RunError> {
    if stop.load(Ordering::Relaxed) { Err(RunError::Stopped) } else { Ok(()) }
}

/// A call that a stop has ended fails in as many ways as there are callers; to who asked for it they are one.
fn as_stopped(error: RunError) -> RunError {
    match storage::stopped() && error.exit() == Exit::TryAgain {
        true => RunError::Stopped,
        false => error,
    }
}

/// Calls a function among as many workers as the pipeline allows.
fn in_pool<T: Send>(
    pipeline: &Pipeline,
    work: impl FnOnce(usize) -> Result<T, RunError> + Send,
) -> Result<T, RunError> {
    let threads = match pipeline.limits.threads {
        0 => std::thread::available_parallelism().map_or(1, |n| n.get()),
        n => n,
    };
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()
        .map_err(|e| RunError::Usage(format!("limits.threads: {e}")))?;
    pool.install(|| work(threads)).map_err(as_stopped)
}

struct Run<'p> {
    pipeline: &'p Pipeline,
    asked: &'p Asked,
    stop: &'p AtomicBool,
    threads: usize,
    started_ms: i64,
    run_id: String,
    source: Place,
    pattern: Option<KeyPattern>,
    output: Place,
    lease: Option<Lease>,
    phases: Phases,
    layouts: Layouts,
}

/// What the batches of a run pass on to each other.
struct State {
    tables: Tables,
    /// All daily charges.
    charged: Vec<DailyCharge>,
    /// Days to be added up by the next batch although nothing of them changes.
    stale: BTreeSet<i32>,
    router: Router,
    sum: Sum,
    txn: i64,
}

/// Requests that wait for a remote store side by side; a thread for each, which does little else.
const REMOTE_THREADS: usize = 16;

/// Threads for work that mostly waits for a place.
fn io_threads(threads: usize, place: &Place) -> usize {
    match place.local_folder() {
        Some(_) => threads,
        None => threads.max(REMOTE_THREADS),
    }
}

impl<'p> Run<'p> {
    fn new(
        pipeline: &'p Pipeline,
        asked: &'p Asked,
        stop: &'p AtomicBool,
        threads: usize,
    ) -> Result<Run<'p>, RunError> {
        let started_ms = now_ms();
        Ok(Run {
            pipeline,
            asked,
            stop,
            threads,
            started_ms,
            run_id: new_run_id(started_ms),
            source: open_source(pipeline)?,
            pattern: pipeline.source.keys.as_deref().map(KeyPattern::parse),
            output: Place::open(&pipeline.output.url, &pipeline.output.options)?,
            lease: None,
            phases: Phases::start(),
            layouts: Layouts::default(),
        })
    }

    fn io_threads(&self, place: &Place) -> usize {
        io_threads(self.threads, place)
    }

    /// Before every step that others see.
    fn still_ours(&self) -> Result<(), RunError> {
        match &self.lease {
            Some(lease) => Ok(lease.check()?),
            None => Ok(()),
        }
    }

    fn writer(&self, txn: i64) -> Writer {
        Writer {
            run_id: self.run_id.clone(),
            txn,
            retain_ms: self.pipeline.output.retain_ms,
            now_ms: self.started_ms,
        }
    }

    fn go(mut self) -> Result<RunReport, RunError> {
        // A source that cannot be reached is told before anything is written.
        self.source.probe()?;
        // From here to the end: what one writer stages, another would take for litter.
        if !self.asked.dry_run {
            let (output, lease) = take_lease(self.pipeline, &self.output, &self.run_id)?;
            (self.output, self.lease) = (output, Some(lease));
        }
        let tables = Tables::open(&self.output)?;
        let charged_before = self.read_before(&tables.daily, small::daily_charges)?;
        self.check_versions(&tables, &charged_before)?;
        let last_runs = tables.last_runs()?;
        let txn = last_runs.next_txn(self.started_ms);
        let routes = self.pipeline.routes.clone();
        let mut state = State {
            stale: match self.asked.dry_run {
                true => BTreeSet::new(),
                false => stale_days(&tables, &last_runs, &charged_before),
            },
            charged: charged_before.clone(),
            router: Router::new(routes, self.pipeline.compare_lib_types.clone()),
            sum: Sum::default(),
            tables,
            txn,
        };
        if !self.asked.dry_run {
            let writer = self.writer(state.txn);
            for table in state.tables.each_mut() {
                state.sum.litter_deleted += table.delete_litter(&writer)?.len() as u64;
            }
        }
        self.phases.end("open");

        // What batches is given is not changed by the run.
        let (source, stop) = (self.source.clone(), self.stop);
        let io_threads = self.io_threads(&source);
        let (pipeline, asked) = (self.pipeline, self.asked);
        let mut batches = Batches::find(pipeline, &source, asked, stop, io_threads, &state.tables)?;
        loop {
            stopped(self.stop)?;
            let batch = batches.next(&state.tables.inputs)?;
            self.phases.end("list");
            let Some(batch) = batch else { break };
            let dates = batch.dates;
            self.batch(&mut state, batch)?;
            if let (Some((first, last)), Some((n, next, end))) = (dates, batches.left()) {
                let loaded =
                    if first == last { first.to_string() } else { format!("{first} … {last}") };
                report::note(&format!("dates {loaded} are loaded; left: {n} ({next} … {end})"));
            }
        }
        // A first run makes the tables even if there is nothing to put into them.
        let missing = state.tables.each().iter().any(|t| t.version().is_none());
        if state.sum.batches == 0 && (missing || !state.stale.is_empty() || self.asked.full_refresh)
        {
            self.batch(&mut state, Batch::default())?;
        }
        if let Some(key) = batches.unreadable.first() {
            report::note(&format!(
                "{} of the source cannot be read, because of their names (a part that is empty, . or .., or a control character), such as {key:?}: rename or delete them",
                match batches.unreadable.len() {
                    1 => "1 object or folder".to_owned(),
                    n => format!("{n} objects or folders"),
                }
            ));
        }
        if let Some(key) = batches.gone().first() {
            report::note(&format!(
                "{} with rejects no longer at the source, such as {key}: the rejects stay as they are; put the object back there, mended, and run",
                match batches.gone().len() {
                    1 => "1 object is".to_owned(),
                    n => format!("{n} objects are"),
                }
            ));
        }
        let tally = &mut state.sum.tally;
        tally.objects_known = batches.counts.known;
        tally.objects_listed += batches.counts.known;
        self.conserve(tally.broken())?;
        let State { charged, router, sum, .. } = state;
        let report = self.report(&batches, sum, &router, &charged_before, &charged);
        if !self.asked.dry_run {
            self.still_ours()?;
            self.publish_report(&report)?;
        }
        Ok(report)
    }

    /// Loads and publishes some objects.
    fn batch(&mut self, state: &mut State, batch: Batch) -> Result<(), RunError> {
        let objects = batch.objects;
        if self.asked.full_refresh && objects.is_empty() && state.tables.detail.version().is_some()
        {
            return Err(RunError::Usage(format!(
                "--full-refresh: {} holds no object to read, and the tables would be emptied: check source.url and source.keys",
                self.source
            )));
        }
        let total = objects.size_total();
        let progress = Progress::start(objects.len() as u64, total);
        let loaded = load::load(
            &load::Context {
                pipeline: self.pipeline,
                source: &self.source,
                router: &state.router,
                window: self.asked.window,
                progress: &progress,
                stop: self.stop,
                io_threads: self.io_threads(&self.source),
                pattern: self.pattern.as_ref(),
                versions: load::Versions::default(),
                layouts: &self.layouts,
                density: load::Density::default(),
            },
            &objects,
        );
        progress.finish();
        let (mut loaded, rows) = loaded?;
        self.phases.end("read");
        let (mut affected, removed) = self.merge(&state.tables, &mut loaded, rows, &objects)?;
        self.phases.end("merge");
        loaded.tally.objects_listed = objects.len() as u64;
        self.conserve(loaded.tally.broken())?;

        if self.asked.dry_run {
            let days: BTreeSet<i32> = affected.days.keys().copied().collect();
            let charges = preview(&affected, self.threads)?;
            state.charged = charges_after(&state.charged, charges, &days);
            state.sum.settled.extend(days);
        } else {
            let mut job = Job {
                objects: &objects,
                loaded: &loaded,
                affected: &mut affected,
                stale: &state.stale,
                charged: &state.charged,
            };
            let writer = self.writer(state.txn);
            let tables = &mut state.tables;
            let local = self.output.local_folder().is_some();
            let published = self.publish(tables, &mut job, &writer).inspect_err(|error| {
                // What was staged and not committed would be counted by whoever reads the folder. But a store that
                // does not answer would only make the end later, and what is another writer's is not ours to touch.
                let answers = local || error.exit() != Exit::TryAgain;
                if answers && error.exit() != Exit::AnotherWriter {
                    for table in tables.each_mut() {
                        // The error that led here is the one to tell; the next run tries again.
                        let _ = table.discard_staged(&writer);
                    }
                }
            })?;
            state.txn += 1;
            state.stale.clear();
            state.charged = published.charged;
            state.sum.settled.extend(published.settled);
            state.sum.commits.extend(published.commits);
        }
        let sum = &mut state.sum;
        sum.batches += 1;
        sum.tally.add(&loaded.tally);
        sum.bytes_stored += total;
        sum.bytes_read += loaded.bytes_read;
        sum.pieces.add(loaded.pieces);
        sum.envelope_seen.add(loaded.envelope_seen);
        sum.note_rejects(&loaded.rejects, &self.run_id);
        sum.note_changes(&affected.changes);
        sum.unmapped.merge(loaded.unmapped);
        // Only a full refresh takes rows away, and it is one batch.
        sum.removed = removed;
        Ok(())
    }

    /// Whether all of the tables is made anew.
    fn is_rebuild(&self) -> bool {
        self.asked.full_refresh && !self.asked.window.is_bounded()
    }

    /// A small table as earlier runs left it. A rebuild makes do without one that cannot be read.
    fn read_before<T: Send>(
        &self,
        table: &OpenTable,
        rows: impl Fn(&RecordBatch) -> Result<Vec<T>, WriteError> + Sync,
    ) -> Result<Vec<T>, WriteError> {
        match read_small(table, rows) {
            Err(_) if self.is_rebuild() => Ok(Vec::new()),
            read => read,
        }
    }

    /// A log that is behind what was made from it has lost entries: what it does not name is no litter.
    fn check_versions(&self, tables: &Tables, charges: &[DailyCharge]) -> Result<(), RunError> {
        let settled = charges.iter().map(|c| c.source_version).max().unwrap_or(-1);
        let version = tables.detail.version().map_or(-1, |v| v as i64);
        if settled > version && !self.is_rebuild() {
            return Err(RunError::Damaged(format!(
                "{}: the log of liveness_detail ends at version {version}, daily_charge was made from version {settled}: log entries are lost",
                self.output
            )));
        }
        Ok(())
    }

    fn conserve(&self, broken: Vec<Broken>) -> Result<(), RunError> {
        if broken.is_empty() { Ok(()) } else { Err(RunError::Conservation(broken)) }
    }

    /// What a full refresh takes away: stored rows of the replaced days of which no object that was read
    /// holds the Seq any more.
    fn removed(
        &self,
        table: &OpenTable,
        seqs: &SeqSet,
        objects: &Objects,
    ) -> Result<Removed, RunError> {
        let mut removed = Removed::default();
        if !self.asked.full_refresh {
            return Ok(removed);
        }
        let mut gone = BTreeSet::new();
        for day in replaced_days(self.asked, table) {
            for file in table.files_of(Some(&partition(day))) {
                // A file that cannot be read is what the refresh mends.
                let columns = ["seq", "source_key", "is_need_charge"];
                for batch in table.read(file, Some(&columns)).unwrap_or_default() {
                    let seq = plain_column(&batch, "seq")?;
                    let key = plain_column(&batch, "source_key")?;
                    let flag = plain_column(&batch, "is_need_charge")?;
                    let (seq, key) = (seq.as_string::<i32>(), key.as_string::<i32>());
                    let flag = flag.as_boolean();
                    for row in (0..seq.len()).filter(|row| !seqs.may_hold(seq.value(*row))) {
                        removed.rows += 1;
                        removed.charged += u64::from(flag.is_valid(row) && flag.value(row));
                        if objects.find(key.value(row)).is_none() {
                            gone.insert(key.value(row).to_owned());
                        }
                    }
                }
            }
        }
        removed.objects_gone = gone.len() as u64;
        removed.examples = gone.into_iter().take(3).collect();
        Ok(removed)
    }

    /// Brings in the stored rows that the new ones may meet, and merges.
    fn merge(
        &self,
        tables: &Tables,
        loaded: &mut Loaded,
        Unmerged { rows, shifts }: Unmerged,
        objects: &Objects,
    ) -> Result<(Merged, Removed), RunError> {
        let stored_days: BTreeSet<i32> = tables
            .detail
            .partitions()
            .iter()
            .filter_map(|p| UsageDay::parse(p))
            .map(UsageDay::date32)
            .collect();
        let replaced: BTreeSet<i32> = match self.asked.full_refresh {
            // Every row read lies in the window.
            true => &replaced_days(self.asked, &tables.detail) | &loaded.days,
            false => BTreeSet::new(),
        };
        // Asked only about stored rows.
        let seqs = match stored_days.is_empty() {
            true => SeqSet::default(),
            false => rows.seqs()?,
        };
        let asked: Vec<i32> = match loaded.days.is_empty() {
            true => Vec::new(),
            false => stored_days.difference(&replaced).copied().collect(),
        };
        let modified = OnceLock::new();
        let last_modified = |key: &str| -> i64 {
            modified
                .get_or_init(|| newest_versions(&tables.inputs))
                .get(key)
                .copied()
                .unwrap_or(i64::MIN)
        };
        // Each thread holds a file.
        let threads = match objects.len() >= load::MANY_OBJECTS || rows.has_spilled() {
            true => 1,
            false => self.io_threads(&self.output),
        };
        on_threads(threads, &asked, |day| {
            let name = partition(*day);
            // The rows' own days surely, and any other day that may hold one of their Seqs.
            if loaded.days.contains(day) || holds_any(&tables.detail, &name, &seqs)? {
                write::stored_rows(&tables.detail, *day, &name, &last_modified, &rows)?;
            }
            Ok(())
        })?;
        // A rebuild forgets what is not in the objects any more, and mends files that cannot be read.
        let told: Vec<i32> = match self.is_rebuild() {
            true => Vec::new(),
            false => stored_days.intersection(&replaced).copied().collect(),
        };
        on_threads(threads, &told, |day| {
            Ok(write::told_of_pulls(&tables.detail, *day, &partition(*day), &seqs, &rows)?)
        })?;
        let merged = merge::merge(rows, shifts, &replaced)?;
        loaded.settle_fates(&merged.fates);
        let removed = self.removed(&tables.detail, &seqs, objects)?;
        Ok((merged, removed))
    }
}

/// When the newest loaded version of each key was modified: as near as can be told of rows whose ranks are lost.
fn newest_versions(inputs: &OpenTable) -> HashMap<String, i64> {
    let mut newest = HashMap::new();
    for input in read_small(inputs, small::inputs).unwrap_or_default() {
        let time = newest.entry(input.key).or_insert(i64::MIN);
        *time = input.last_modified.max(*time);
    }
    newest
}

/// Works through items on plain threads, one after the other, results in order. For work whose order matters, that waits for a store, or that
/// calls Polars: from a worker of our pool it would wait inside Polars' pool, and steal from ours the next
/// item that calls Polars, and so on until the stack ends (at some 400 days).
fn on_threads<I: Sync, T: Send>(
    threads: usize,
    items: &[I],
    work: impl Fn(&I) -> Result<T, RunError> + Sync,
) -> Result<Vec<T>, RunError> {
    let next = AtomicUsize::new(0);
    let take = || {
        let mut done = Vec::new();
        loop {
            let place = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(place) else { return Ok(done) };
            match work(item) {
                Ok(result) => done.push((place, result)),
                Err(error) => {
                    next.store(items.len(), Ordering::Relaxed);
                    return Err(error);
                }
            }
        }
    };
    let mut all = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads.min(items.len())).map(|_| scope.spawn(take)).collect();
        let mut all = Vec::with_capacity(items.len());
        for worker in workers {
            match worker.join() {
                Ok(done) => all.extend(done?),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        Ok::<_, RunError>(all)
    })?;
    all.sort_unstable_by_key(|(place, _)| *place);
    Ok(all.into_iter().map(|(_, result)| result).collect())
}

fn partition(day: i32) -> String {
    UsageDay::from_date32(day).to_string()
}

fn holds_any(table: &OpenTable, partition: &str, seqs: &SeqSet) -> Result<bool, WriteError> {
    for file in table.files_of(Some(partition)) {
        for batch in table.read(file, Some(&["seq"]))? {
            if batch.column(0).as_string::<i32>().iter().flatten().any(|seq| seqs.may_hold(seq)) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// The closed list of reject reasons, for `schema`.
pub fn reject_reasons() -> Vec<&'static str> {
    RejectReason::ALL.iter().map(|r| r.code()).collect()
}
