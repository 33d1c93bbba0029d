//! The order of the steps, and the only room that sees every other: threads, resume, tallies, exit codes.

mod check;
mod explain;
mod load;
mod rejects;
mod verify;

pub use check::{Checked, Plan, check, plan};
pub use explain::{Explained, explain};
pub use rejects::{RejectCount, list_rejects};
pub use verify::{Verified, verify};

use crate::classify::{Catalogue, Router, UnmappedLine};
use crate::model::{Broken, DailyCharge, RejectReason, Tally, UsageDay, UsageMonth};
use crate::pipeline::Pipeline;
use crate::report::Progress;
use crate::settle::{self, SettleError, Settler};
use crate::sources::{self, Choice, History, KeyPattern, Selection, Window};
use crate::storage::{self, Place, StorageError};
use crate::write::merge::{self, Fate, Merged, RowRef, SeqSet};
use crate::write::parquet::{RowGroups, plain_column};
use crate::write::rows::Rows;
use crate::write::small::{self, Input, RejectRow};
use crate::write::{self, Commit, OpenTable, Staged, WriteError, schema};
use arrow::array::{Array, AsArray};
use arrow::datatypes::Int32Type;
use load::{Loaded, ObjectCount};
use rayon::prelude::*;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Exit statuses: a contract with schedulers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Exit {
    #[default]
    Done = 0,
    OurFailure = 1,
    Usage = 2,
    RejectsOverThreshold = 3,
    ConservationBroken = 5,
    AnotherWriter = 6,
    TryAgain = 75,
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
    #[error(
        "{0}: another run writes to it (it holds `_lock` there): wait for its end, then run again"
    )]
    Locked(String),
    #[error("{0}; `run --full-refresh` makes the tables anew")]
    Damaged(String),
    #[error("stopped as asked, nothing half-done is visible: run the same command again to go on")]
    Stopped,
    #[error("{0}")]
    Usage(String),
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
            RunError::Settle(_) => Exit::OurFailure,
            RunError::Read { .. } | RunError::Stopped => Exit::TryAgain,
            RunError::Conservation(_) | RunError::Damaged(_) => Exit::ConservationBroken,
            RunError::Locked(_) => Exit::AnotherWriter,
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
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Committed,
    NothingNew,
    /// All was read again, and the tables held all of it already.
    Unchanged,
    DryRun,
}

#[derive(Clone, Debug, serde::Serialize)]
pub struct Phase {
    pub name: &'static str,
    pub seconds: f64,
}

/// A daily charge that an earlier run had published otherwise.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Restated {
    pub usage_date: String,
    pub billing_tag: String,
    /// (attempts, charged, free, unknown); zeros where the row was not there.
    pub before: [i64; 4],
    pub after: [i64; 4],
}

/// The report of a run, as it is written to `_runs/<run_id>.json`.
#[derive(Clone, Debug, serde::Serialize)]
pub struct RunReport {
    pub run_id: String,
    pub faceledger: &'static str,
    pub pipeline: String,
    pub config_digest: String,
    pub started_at: String,
    pub outcome: Outcome,
    pub from: Option<String>,
    pub to: Option<String>,
    pub full_refresh: bool,
    pub threads: usize,
    pub tally: Tally,
    pub objects_unmatched: u64,
    pub objects_hidden: u64,
    pub objects_outside: u64,
    pub objects_undated: u64,
    pub unmatched_examples: Vec<String>,
    pub bytes_stored: u64,
    pub bytes_read: u64,
    pub rejects_by_reason: BTreeMap<String, u64>,
    pub rejects_ratio: f64,
    pub rejects_ratio_max: f64,
    pub rejects_over_threshold: bool,
    /// A few rejects, to show.
    pub reject_examples: Vec<RejectRow>,
    pub unmapped: Vec<Unmapped>,
    /// Seqs that a later snapshot changed; the list stops at [`CHANGES_MAX`], the tally does not.
    pub changed: Vec<merge::Change>,
    pub restated: Vec<Restated>,
    pub removed: Removed,
    /// Records that hold a fetch time, where the envelope names a place for it.
    pub fetched_at_seen: Option<u64>,
    /// Which days `daily_charge` below shows.
    pub daily_charge_shown: String,
    /// Daily charges of the days this run touched, or else the latest of the table.
    pub daily_charge: Vec<DailyLine>,
    pub commits: Vec<Commit>,
    pub litter_deleted: u64,
    pub requests: BTreeMap<&'static str, u64>,
    pub phases: Vec<Phase>,
    pub peak_memory_bytes: Option<u64>,
}

/// Rows that a full refresh took away.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct Removed {
    pub rows: u64,
    pub charged: u64,
    /// Objects that gave them and are not in the source any more.
    pub objects_gone: u64,
    pub examples: Vec<String>,
}

/// Changed Seqs listed in a report; a backfill of a year may have millions.
pub const CHANGES_MAX: usize = 10_000;

#[derive(Clone, Debug, serde::Serialize)]
pub struct Unmapped {
    pub attempts: u64,
    pub what: String,
    pub advice: String,
}

impl From<UnmappedLine> for Unmapped {
    fn from(line: UnmappedLine) -> Unmapped {
        Unmapped { attempts: line.count, what: line.what, advice: line.advice }
    }
}

/// One daily charge, for people and for JSON.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct DailyLine {
    pub usage_date: String,
    pub settlement_date: String,
    pub account: String,
    pub billing_tag: String,
    pub attempts: i64,
    pub charged: i64,
    pub free: i64,
    pub unknown: i64,
    pub charged_failed: i64,
    pub not_final: i64,
}

impl From<&DailyCharge> for DailyLine {
    fn from(row: &DailyCharge) -> DailyLine {
        DailyLine {
            usage_date: row.usage_date.to_string(),
            settlement_date: row.settlement_date.to_string(),
            account: row.account.clone(),
            billing_tag: row.billing_tag.clone(),
            attempts: row.attempts,
            charged: row.charged,
            free: row.free,
            unknown: row.unknown,
            charged_failed: row.charged_failed,
            not_final: row.not_final,
        }
    }
}

impl RunReport {
    pub fn exit(&self) -> Exit {
        if self.rejects_over_threshold { Exit::RejectsOverThreshold } else { Exit::Done }
    }
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

/// Times the phases of a run.
struct Phases {
    done: Vec<Phase>,
    since: Instant,
}

impl Phases {
    fn end(&mut self, name: &'static str) {
        let now = Instant::now();
        self.done.push(Phase { name, seconds: (now - self.since).as_secs_f64() });
        self.since = now;
    }
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
        Ok(Tables {
            detail: OpenTable::open(output, &schema::LIVENESS_DETAIL)?,
            rejects: OpenTable::open(output, &schema::REJECTS)?,
            daily: OpenTable::open(output, &schema::DAILY_CHARGE)?,
            inputs: OpenTable::open(output, &schema::INPUTS)?,
        })
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

    fn each_mut(&mut self) -> [&mut OpenTable; 4] {
        [&mut self.detail, &mut self.rejects, &mut self.daily, &mut self.inputs]
    }

    fn each(&self) -> [&OpenTable; 4] {
        [&self.detail, &self.rejects, &self.daily, &self.inputs]
    }
}

/// The place of the results. A folder that is not there is a mistake in the pipeline file.
fn open_source(pipeline: &Pipeline) -> Result<Place, RunError> {
    let source = &pipeline.source;
    Place::open_source(&source.url, &source.options).map_err(|error| match error.is_not_found() {
        true => RunError::Usage(format!("{}: source.url: {error}", pipeline.file)),
        false => error.into(),
    })
}

/// All rows of a small table.
fn read_small<T: Send>(
    table: &OpenTable,
    rows: impl Fn(&arrow::array::RecordBatch) -> Result<Vec<T>, WriteError> + Sync,
) -> Result<Vec<T>, WriteError> {
    let parts: Vec<Vec<T>> = table
        .files()
        .par_iter()
        .map(|file| {
            let mut all = Vec::new();
            for batch in table.read(file, None)? {
                all.extend(rows(&batch)?);
            }
            Ok(all)
        })
        .collect::<Result<_, WriteError>>()?;
    Ok(parts.into_iter().flatten().collect())
}

/// What the load history says: which objects are known, and when each key was last modified.
struct Known {
    loads: History,
    last_modified: HashMap<String, i64>,
    with_rejects: BTreeSet<String>,
}

impl Known {
    fn of(inputs: Vec<Input>) -> Known {
        let mut known = Known {
            loads: History::new(),
            last_modified: HashMap::with_capacity(inputs.len()),
            with_rejects: BTreeSet::new(),
        };
        // The latest load of a key says whether it still has rejects, and the latest of an object whether it
        // is known: one of which some rows lay outside the window is not, they are missing. Run ids sort by time.
        let mut inputs = inputs;
        inputs.sort_by(|a, b| a.run_id.cmp(&b.run_id));
        let mut rejects: HashMap<String, i64> = HashMap::new();
        for input in inputs {
            let modified = known.last_modified.entry(input.key.clone()).or_insert(i64::MIN);
            *modified = (*modified).max(input.last_modified);
            rejects.insert(input.key.clone(), input.rejects);
            let loads = known.loads.entry(input.key).or_default();
            let object = (input.size as u64, input.etag);
            loads.retain(|load| *load != object);
            if input.rows_outside == 0 {
                loads.push(object);
            }
        }
        known.with_rejects =
            rejects.into_iter().filter(|(_, n)| *n > 0).map(|(key, _)| key).collect();
        known
    }
}

/// What is to be published.
struct Job<'j> {
    selection: &'j Selection,
    loaded: &'j Loaded,
    affected: &'j Merged,
    stale: &'j BTreeSet<i32>,
}

/// What was published.
struct Published {
    commits: Vec<Commit>,
    charged_after: Vec<DailyCharge>,
    /// Days of which the daily charges were added up.
    settle_days: BTreeSet<i32>,
}

/// Runs the job.
pub fn run(pipeline: &Pipeline, asked: &Asked, stop: &AtomicBool) -> Result<RunReport, RunError> {
    let threads = match pipeline.limits.threads {
        0 => std::thread::available_parallelism().map_or(1, |n| n.get()),
        n => n,
    };
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()
        .map_err(|e| RunError::Usage(format!("limits.threads: {e}")))?;
    pool.install(|| Run::new(pipeline, asked, stop, threads)?.go())
}

struct Run<'p> {
    pipeline: &'p Pipeline,
    asked: &'p Asked,
    stop: &'p AtomicBool,
    threads: usize,
    started_ms: i64,
    run_id: String,
    source: Place,
    output: Place,
    phases: Phases,
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
            output: Place::open(&pipeline.output.url, &pipeline.output.options)?,
            phases: Phases { done: Vec::new(), since: Instant::now() },
        })
    }

    fn check_stop(&self) -> Result<(), RunError> {
        if self.stop.load(Ordering::Relaxed) { Err(RunError::Stopped) } else { Ok(()) }
    }

    fn go(mut self) -> Result<RunReport, RunError> {
        // From here to the end: what one writer stages, another would take for litter.
        let _lock = match self.asked.dry_run {
            true => None,
            false => {
                Some(self.output.lock()?.ok_or_else(|| RunError::Locked(self.output.to_string()))?)
            }
        };
        let mut tables = Tables::open(&self.output)?;
        let known = Known::of(self.read_before(&tables.inputs, small::inputs)?);
        let selection = self.select(&tables, &known)?;
        self.phases.end("list");

        let total: u64 = selection.objects.iter().map(|o| o.info.size).sum();
        let progress = Progress::start(selection.objects.len() as u64, total);
        let router =
            Router::new(self.pipeline.routes.clone(), self.pipeline.compare_lib_types.clone());
        let loaded = load::load(
            &load::Context {
                pipeline: self.pipeline,
                source: &self.source,
                router: &router,
                window: self.asked.window,
                progress: &progress,
                stop: self.stop,
            },
            &selection.objects,
        );
        progress.finish();
        let mut loaded = loaded?;
        self.phases.end("read");

        let charged_before = self.read_before(&tables.daily, small::daily_charges)?;
        self.check_versions(&tables, &charged_before)?;
        let (affected, removed) = self.merge(&tables, &mut loaded, &known, &selection)?;
        self.phases.end("merge");

        let mut tally = loaded.tally.clone();
        tally.objects_known = selection.known;
        tally.objects_listed = selection.known + selection.objects.len() as u64;
        self.conserve(tally.broken())?;
        let mut report = self.report(&selection, &loaded, &affected, tally, &router);
        report.removed = removed;
        if self.asked.full_refresh
            && selection.objects.is_empty()
            && tables.detail.version().is_some()
        {
            return Err(RunError::Usage(format!(
                "--full-refresh: {} holds no object to read, and the tables would be emptied: check source.url and source.keys",
                self.source
            )));
        }
        if self.asked.dry_run {
            let days: BTreeSet<i32> = affected.days.keys().copied().collect();
            let charges = preview(&loaded.rows, &affected, self.threads)?;
            let after = charges_after(&charged_before, charges, &days);
            let mut report = self.finish(report, &after, Some(&days));
            report.restated = restated(&charged_before, &after, &days);
            report.outcome = Outcome::DryRun;
            return Ok(report);
        }
        let mut litter = 0;
        for table in tables.each() {
            litter += table.delete_litter()?.len() as u64;
        }
        let stale = stale_days(&tables, &charged_before)?;
        // A first run makes the tables even if there is nothing to put into them.
        let nothing_to_do = selection.objects.is_empty()
            && stale.is_empty()
            && !self.asked.full_refresh
            && tables.each().iter().all(|t| t.version().is_some());
        if nothing_to_do {
            let mut report = self.finish(report, &charged_before, None);
            report.litter_deleted = litter;
            self.publish_report(&report)?;
            return Ok(report);
        }

        let job =
            Job { selection: &selection, loaded: &loaded, affected: &affected, stale: &stale };
        let published = self.publish(&mut tables, &job, &charged_before).inspect_err(|_| {
            // What was staged and not committed would be counted by whoever reads the folder.
            for table in tables.each_mut() {
                // The error that led here is the one to tell; the next run tries again.
                let _ = table.discard_staged();
            }
        })?;
        let Published { commits, charged_after, settle_days } = published;

        let mut report = self.finish(report, &charged_after, Some(&settle_days));
        report.restated = restated(&charged_before, &charged_after, &settle_days);
        let wrote = |c: &Commit| c.files_added + c.files_removed > 0 && c.table != "inputs";
        report.outcome = match commits.iter().any(wrote) {
            true => Outcome::Committed,
            false if selection.objects.is_empty() => Outcome::NothingNew,
            false => Outcome::Unchanged,
        };
        report.commits = commits;
        report.litter_deleted = litter;
        self.publish_report(&report)?;
        Ok(report)
    }

    /// Stages, settles, checks and commits.
    fn publish(
        &mut self,
        tables: &mut Tables,
        job: &Job<'_>,
        charged_before: &[DailyCharge],
    ) -> Result<Published, RunError> {
        // Data files, invisible as yet, and the sums of what they hold, read back from the store.
        let staged = self.stage_days(&tables.detail, &job.loaded.rows, job.affected)?;
        self.phases.end("write");
        let mut settle_days: BTreeSet<i32> = job.affected.days.keys().copied().collect();
        settle_days.extend(&job.loaded.days);
        settle_days.extend(job.stale);
        let charges = self.settle(&tables.detail, &staged, &settle_days)?;
        let rows_staged: u64 = staged.values().flatten().map(|s| s.rows).sum();
        self.conserve(balance(
            &tables.detail,
            job.affected,
            job.loaded,
            &staged,
            &charges,
            rows_staged,
        ))?;
        self.phases.end("settle");
        self.check_stop()?;

        // One commit a table, in this order: a crash in between is repaired by the next run. A signal is
        // too late from here on: what is left takes less time than stopping in the middle would cost.
        let txn = self.started_ms;
        let mut commits = Vec::new();
        let remove = job
            .affected
            .days
            .keys()
            .flat_map(|day| tables.detail.files_of(&partition(*day)))
            .map(|f| f.path.clone())
            .collect();
        let files: Vec<Staged> = staged.into_values().flatten().collect();
        commits.push(tables.detail.commit(files, remove, &self.run_id, txn)?);
        commits.push(self.commit_rejects(&mut tables.rejects, job.selection, job.loaded, txn)?);
        let source_version = tables.detail.version().unwrap_or_default() as i64;
        let charges: Vec<DailyCharge> =
            charges.into_iter().map(|c| DailyCharge { source_version, ..c }).collect();
        let (daily_commit, charged_after) =
            self.commit_daily(&mut tables.daily, charged_before, charges, &settle_days, txn)?;
        commits.push(daily_commit);
        commits.push(self.commit_inputs(&mut tables.inputs, job.selection, job.loaded, txn)?);
        self.phases.end("commit");
        Ok(Published { commits, charged_after, settle_days })
    }

    /// Whether all of the tables is made anew.
    fn is_rebuild(&self) -> bool {
        self.asked.full_refresh && !self.asked.window.is_bounded()
    }

    /// A small table as earlier runs left it. A rebuild makes do without one that cannot be read.
    fn read_before<T: Send>(
        &self,
        table: &OpenTable,
        rows: impl Fn(&arrow::array::RecordBatch) -> Result<Vec<T>, WriteError> + Sync,
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

    fn select(&self, tables: &Tables, known: &Known) -> Result<Selection, RunError> {
        let source = &self.pipeline.source;
        let pattern = source.keys.as_deref().map(KeyPattern::parse);
        let folder = pattern.as_ref().and_then(KeyPattern::folder);
        let listing = self.source.list(folder)?;
        let refresh = self.asked.full_refresh;
        let again =
            |key: &str| refresh || (self.asked.retry_rejects && known.with_rejects.contains(key));
        // Whose rows stand on days to be replaced is read whatever the date in its key.
        let contributors = match refresh && self.asked.window.is_bounded() {
            true => self.contributors(&tables.detail)?,
            false => BTreeSet::new(),
        };
        let choice = Choice {
            pattern: pattern.as_ref(),
            window: self.asked.window,
            lookback_days: source.lookback_days,
            history: &known.loads,
            again: &again,
            concerned: &|key| contributors.contains(key),
        };
        let mut selection = sources::select(listing, &choice);
        if self.asked.retry_rejects && !refresh {
            // A retry reads those objects and no others.
            let (retried, left): (Vec<_>, Vec<_>) = selection
                .objects
                .into_iter()
                .partition(|object| known.with_rejects.contains(&object.info.key));
            selection.objects = retried;
            selection.outside += left.len() as u64;
        }
        Ok(selection)
    }

    /// Stored days that a full refresh replaces.
    fn replaced_days(&self, table: &OpenTable) -> BTreeSet<i32> {
        let days = table.partitions().into_iter().filter_map(|p| UsageDay::parse(&p));
        days.filter(|day| self.asked.window.holds(*day)).map(UsageDay::date32).collect()
    }

    /// Keys of the objects that the stored rows of those days came from.
    fn contributors(&self, table: &OpenTable) -> Result<BTreeSet<String>, RunError> {
        let mut keys = BTreeSet::new();
        for day in self.replaced_days(table) {
            for file in table.files_of(&partition(day)) {
                for batch in table.read(file, Some(&["source_key"]))? {
                    let dictionary = batch.column(0).as_dictionary::<Int32Type>();
                    let values = dictionary.values().as_string::<i32>();
                    keys.extend(values.iter().flatten().map(str::to_owned));
                }
            }
        }
        Ok(keys)
    }

    /// What a full refresh takes away: stored rows of the replaced days of which no object that was read
    /// holds the Seq any more.
    fn removed(
        &self,
        table: &OpenTable,
        seqs: &SeqSet,
        selection: &Selection,
    ) -> Result<Removed, RunError> {
        let mut removed = Removed::default();
        if !self.asked.full_refresh {
            return Ok(removed);
        }
        let read: BTreeSet<&str> = selection.objects.iter().map(|o| o.info.key.as_str()).collect();
        let mut gone = BTreeSet::new();
        for day in self.replaced_days(table) {
            for file in table.files_of(&partition(day)) {
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
                        if !read.contains(key.value(row)) {
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
        known: &Known,
        selection: &Selection,
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
            true => &self.replaced_days(&tables.detail) | &loaded.days,
            false => BTreeSet::new(),
        };
        let listed: HashMap<&str, i64> = selection
            .objects
            .iter()
            .map(|o| (o.info.key.as_str(), o.info.last_modified_ms))
            .collect();
        let last_modified = |key: &str| {
            known.last_modified.get(key).or_else(|| listed.get(key)).copied().unwrap_or(i64::MIN)
        };
        let read = loaded.rows.len();
        // Asked only about stored rows.
        let seqs = SeqSet::of(if stored_days.is_empty() { &[] } else { &loaded.rows });
        let met: Vec<Vec<Rows>> = stored_days
            .par_iter()
            .filter(|day| !replaced.contains(day))
            .map(|day| {
                let name = partition(*day);
                // The rows' own days surely, and any other day that may hold one of their Seqs.
                if loaded.days.contains(day) || holds_any(&tables.detail, &name, &seqs)? {
                    write::stored_rows(&tables.detail, *day, &name, last_modified)
                } else {
                    Ok(Vec::new())
                }
            })
            .collect::<Result<_, WriteError>>()?;
        loaded.rows.extend(met.into_iter().flatten());
        let merged = merge::merge(&loaded.rows, read, &replaced)?;
        loaded.settle_fates(&merged.fates);
        let removed = self.removed(&tables.detail, &seqs, selection)?;
        Ok((merged, removed))
    }

    fn stage_days(
        &self,
        table: &OpenTable,
        rows: &[Rows],
        affected: &Merged,
    ) -> Result<BTreeMap<i32, Vec<Staged>>, RunError> {
        let days: Vec<(&i32, &Vec<RowRef>)> = affected.days.iter().collect();
        days.par_iter()
            .map(|(day, day_rows)| {
                self.check_stop()?;
                let files: Vec<Staged> = day_rows
                    .chunks(write::parquet::FILE_ROWS_MAX)
                    .map(|file_rows| stage_file(table, rows, **day, file_rows))
                    .collect::<Result<_, WriteError>>()?;
                Ok((**day, files))
            })
            .collect()
    }

    /// Daily charges of some days: from the staged files of those that change, else from the live ones.
    fn settle(
        &self,
        table: &OpenTable,
        staged: &BTreeMap<i32, Vec<Staged>>,
        days: &BTreeSet<i32>,
    ) -> Result<Vec<DailyCharge>, RunError> {
        let days: Vec<i32> = days.iter().copied().collect();
        let parts = on_threads(self.threads, &days, |day| {
            let mut settler = Settler::default();
            let usage_date = UsageDay::from_date32(*day);
            let files: Vec<write::delta::LiveFile> = match staged.get(day) {
                Some(files) => files.iter().map(Staged::as_live).collect(),
                None => table.files_of(&partition(*day)).into_iter().cloned().collect(),
            };
            for file in &files {
                for batch in table.read(file, Some(&settle::COLUMNS))? {
                    settler.add(usage_date, &batch)?;
                }
            }
            Ok(settler.finish(0))
        })?;
        Ok(parts.into_iter().flatten().collect())
    }

    /// Rejects of the objects read take the place of those they had.
    fn commit_rejects(
        &self,
        table: &mut OpenTable,
        selection: &Selection,
        loaded: &Loaded,
        txn: i64,
    ) -> Result<Commit, RunError> {
        let read: BTreeSet<&str> = selection.objects.iter().map(|o| o.info.key.as_str()).collect();
        let all_anew = self.is_rebuild();
        let mut rows: Vec<RejectRow> = loaded.rejects.clone();
        for row in &mut rows {
            row.run_id.clone_from(&self.run_id);
        }
        let mut remove = Vec::new();
        let files: Vec<_> = table.files().to_vec();
        for file in &files {
            let mut stored = Vec::new();
            // What is made anew as a whole need not be readable.
            for batch in if all_anew { Vec::new() } else { table.read(file, None)? } {
                stored.extend(small::rejects(&batch)?);
            }
            if all_anew || stored.iter().any(|r| read.contains(r.source_key.as_str())) {
                remove.push(file.path.clone());
                stored.retain(|r| !all_anew && !read.contains(r.source_key.as_str()));
                rows.extend(stored);
            }
        }
        rows.sort();
        let staged = self.stage_small(table, None, rows.len(), || small::rejects_batch(&rows))?;
        Ok(table.commit(staged, remove, &self.run_id, txn)?)
    }

    fn commit_daily(
        &self,
        table: &mut OpenTable,
        before: &[DailyCharge],
        charges: Vec<DailyCharge>,
        days: &BTreeSet<i32>,
        txn: i64,
    ) -> Result<(Commit, Vec<DailyCharge>), RunError> {
        let after = charges_after(before, charges, days);
        let months: BTreeSet<UsageMonth> =
            days.iter().map(|d| UsageDay::from_date32(*d).month()).collect();
        let tag_code = |label: &str| {
            let catalogue = Catalogue::get();
            catalogue.tag_by_label(label).map_or("unmapped", |id| catalogue.tag(id).code)
        };
        let mut staged = Vec::new();
        let mut remove = Vec::new();
        for month in months {
            let name = month.to_string();
            remove.extend(table.files_of(&name).iter().map(|f| f.path.clone()));
            let rows: Vec<DailyCharge> =
                after.iter().filter(|r| r.usage_date.month() == month).cloned().collect();
            staged.extend(self.stage_small(table, Some(&name), rows.len(), || {
                small::daily_charge_batch(&rows, tag_code)
            })?);
        }
        Ok((table.commit(staged, remove, &self.run_id, txn)?, after))
    }

    fn commit_inputs(
        &self,
        table: &mut OpenTable,
        selection: &Selection,
        loaded: &Loaded,
        txn: i64,
    ) -> Result<Commit, RunError> {
        let mut rows: Vec<Input> = selection
            .objects
            .iter()
            .zip(&loaded.objects)
            .map(|(object, count)| Input {
                key: object.info.key.clone(),
                size: object.info.size as i64,
                etag: object.info.etag.clone(),
                last_modified: object.info.last_modified_ms,
                run_id: self.run_id.clone(),
                ..count.as_input()
            })
            .collect();
        rows.sort();
        let all_anew = self.is_rebuild();
        let remove = match all_anew {
            true => table.files().iter().map(|f| f.path.clone()).collect(),
            false => Vec::new(),
        };
        let staged = self.stage_small(table, None, rows.len(), || small::inputs_batch(&rows))?;
        Ok(table.commit(staged, remove, &self.run_id, txn)?)
    }

    /// One file of a small table; no file for no rows.
    fn stage_small(
        &self,
        table: &OpenTable,
        partition: Option<&str>,
        rows: usize,
        batch: impl FnOnce() -> Result<arrow::array::RecordBatch, WriteError>,
    ) -> Result<Option<Staged>, WriteError> {
        if rows == 0 {
            return Ok(None);
        }
        let facts = vec![("faceledger.rows", rows.to_string())];
        let stats = serde_json::json!({ "numRecords": rows });
        let content = write::parquet::InMemory(batch()?);
        table.stage(partition, rows as u64, &content, &facts, stats).map(Some)
    }

    fn report(
        &self,
        selection: &Selection,
        loaded: &Loaded,
        affected: &Merged,
        tally: Tally,
        router: &Router,
    ) -> RunReport {
        let mut rejects_by_reason: BTreeMap<String, u64> = BTreeMap::new();
        for reject in &loaded.rejects {
            *rejects_by_reason.entry(reject.reason.clone()).or_default() += 1;
        }
        // Of what was read: records, or attempts where records hold several.
        let read = tally.records_seen.max(tally.records_rejected + tally.details_seen);
        let rejects_ratio = match loaded.rejects.len() {
            0 => 0.0,
            rejects => rejects as f64 / read as f64,
        };
        let rejects_ratio_max = self.pipeline.limits.rejects_ratio_max;
        RunReport {
            run_id: self.run_id.clone(),
            faceledger: env!("CARGO_PKG_VERSION"),
            pipeline: self.pipeline.name.clone(),
            config_digest: self.pipeline.digest.clone(),
            started_at: rfc3339(self.started_ms),
            outcome: Outcome::NothingNew,
            from: self.asked.window.from.map(|d| d.to_string()),
            to: self.asked.window.to.map(|d| d.to_string()),
            full_refresh: self.asked.full_refresh,
            threads: self.threads,
            tally,
            objects_unmatched: selection.unmatched,
            objects_hidden: selection.hidden,
            objects_outside: selection.outside,
            objects_undated: selection.undated,
            unmatched_examples: selection.unmatched_examples.clone(),
            bytes_stored: selection.objects.iter().map(|o| o.info.size).sum(),
            bytes_read: loaded.bytes_read,
            rejects_by_reason,
            rejects_ratio,
            rejects_ratio_max,
            rejects_over_threshold: rejects_ratio > rejects_ratio_max,
            reject_examples: loaded
                .rejects
                .iter()
                .take(5)
                .map(|r| RejectRow { run_id: self.run_id.clone(), ..r.clone() })
                .collect(),
            unmapped: loaded.unmapped.advice(router).into_iter().map(Unmapped::from).collect(),
            changed: affected.changes.iter().take(CHANGES_MAX).cloned().collect(),
            restated: Vec::new(),
            removed: Removed::default(),
            fetched_at_seen: self
                .pipeline
                .source
                .envelope
                .as_ref()
                .and_then(|e| e.fetched_at.as_ref())
                .map(|_| loaded.fetched_at_seen),
            daily_charge_shown: String::new(),
            daily_charge: Vec::new(),
            commits: Vec::new(),
            litter_deleted: 0,
            requests: BTreeMap::new(),
            phases: Vec::new(),
            peak_memory_bytes: None,
        }
    }

    /// What is known only at the end.
    fn finish(
        &mut self,
        mut report: RunReport,
        charges: &[DailyCharge],
        days: Option<&BTreeSet<i32>>,
    ) -> RunReport {
        let all: BTreeSet<i32> = charges.iter().map(|c| c.usage_date.date32()).collect();
        let window = self.asked.window;
        let (days, shown) = match days {
            Some(days) => (days.clone(), "changed or read again by this run".to_owned()),
            None if window.is_bounded() => {
                let asked = |day: &&i32| window.holds(UsageDay::from_date32(**day));
                (all.iter().filter(asked).copied().collect(), "asked for".to_owned())
            }
            None => {
                (all.iter().rev().take(LATEST_DAYS).copied().collect(), "the latest".to_owned())
            }
        };
        let n = days.intersection(&all).count();
        report.daily_charge_shown = match n == all.len() {
            true => format!("all {n} days of daily_charge"),
            false => format!("{n} of {} days of daily_charge: those {shown}", all.len()),
        };
        report.daily_charge = charges
            .iter()
            .filter(|c| days.contains(&c.usage_date.date32()))
            .map(DailyLine::from)
            .collect();
        let requests = storage::request_counts();
        report.requests = BTreeMap::from([
            ("list", requests.list),
            ("get", requests.get),
            ("put", requests.put),
            ("delete", requests.delete),
        ]);
        report.phases = self.phases.done.clone();
        report.peak_memory_bytes = peak_memory_bytes();
        report
    }

    fn publish_report(&self, report: &RunReport) -> Result<(), RunError> {
        let text = serde_json::to_vec_pretty(report).map_err(|e| RunError::Usage(e.to_string()))?;
        Ok(self.output.put(&format!("_runs/{}.json", self.run_id), text.into())?)
    }
}

/// All daily charges once those of `days` are `charges`. A row that says the same as before stays as it is,
/// the version it was computed from included, so that nothing changes.
fn charges_after(
    before: &[DailyCharge],
    charges: Vec<DailyCharge>,
    days: &BTreeSet<i32>,
) -> Vec<DailyCharge> {
    let settled = |row: &DailyCharge| days.contains(&row.usage_date.date32());
    let mut after: Vec<DailyCharge> = before.iter().filter(|r| !settled(r)).cloned().collect();
    let unversioned = |row: &DailyCharge| DailyCharge { source_version: 0, ..row.clone() };
    type Key<'k> = (UsageDay, UsageDay, &'k str, &'k str);
    fn key(r: &DailyCharge) -> Key<'_> {
        (r.usage_date, r.settlement_date, &r.account, &r.billing_tag)
    }
    let old: HashMap<Key<'_>, &DailyCharge> = before.iter().map(|r| (key(r), r)).collect();
    after.extend(charges.into_iter().map(|row| match old.get(&key(&row)) {
        Some(same) if unversioned(same) == unversioned(&row) => (*same).clone(),
        _ => row,
    }));
    after.sort_by(|a, b| {
        (a.usage_date, &a.account, &a.billing_tag, a.settlement_date).cmp(&(
            b.usage_date,
            &b.account,
            &b.billing_tag,
            b.settlement_date,
        ))
    });
    after
}

/// Works through items on plain threads, results in order. For work that calls Polars: from a worker of
/// our pool it would wait inside Polars' pool, and steal from ours the next item that calls Polars, and so
/// on until the stack ends (at some 400 days).
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

/// The daily charges of the changed days, from rows that are not written yet.
fn preview(rows: &[Rows], affected: &Merged, threads: usize) -> Result<Vec<DailyCharge>, RunError> {
    let schema = &schema::LIVENESS_DETAIL.file_schema;
    let places = settle::COLUMNS.map(|name| schema::LIVENESS_DETAIL.position(name));
    let columns = std::sync::Arc::new(schema.project(&places).map_err(WriteError::from)?);
    let days: Vec<(&i32, &Vec<RowRef>)> = affected.days.iter().collect();
    let days = on_threads(threads, &days, |(day, order)| {
        let mut settler = Settler::default();
        let gathered = merge::Gathered::new(rows, order);
        for index in 0..gathered.count() {
            let group = gathered.group(index);
            let arrays = places
                .iter()
                .map(|place| gathered.column(&group, *place))
                .collect::<Result<Vec<_>, _>>()?;
            let batch = arrow::array::RecordBatch::try_new(columns.clone(), arrays)
                .map_err(WriteError::from)?;
            settler.add(UsageDay::from_date32(**day), &batch)?;
        }
        Ok(settler.finish(0))
    })?;
    Ok(days.into_iter().flatten().collect())
}

/// Days shown by a run that touched none.
const LATEST_DAYS: usize = 7;

fn partition(day: i32) -> String {
    UsageDay::from_date32(day).to_string()
}

fn holds_any(table: &OpenTable, partition: &str, seqs: &SeqSet) -> Result<bool, WriteError> {
    for file in table.files_of(partition) {
        for batch in table.read(file, Some(&["seq"]))? {
            if batch.column(0).as_string::<i32>().iter().flatten().any(|seq| seqs.may_hold(seq)) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

fn stage_file(
    table: &OpenTable,
    rows: &[Rows],
    day: i32,
    file_rows: &[RowRef],
) -> Result<Staged, WriteError> {
    let flag = schema::LIVENESS_DETAIL.position("is_need_charge");
    let time = schema::LIVENESS_DETAIL.position("req_time");
    let (mut charged, mut free) = (0u64, 0u64);
    for r in file_rows {
        let flags = rows[r.batch as usize].batch.column(flag).as_boolean();
        if flags.is_valid(r.row as usize) {
            *(if flags.value(r.row as usize) { &mut charged } else { &mut free }) += 1;
        }
    }
    let n = file_rows.len() as u64;
    let facts = vec![
        ("faceledger.usage_date", partition(day)),
        ("faceledger.rows", n.to_string()),
        ("faceledger.charged", charged.to_string()),
        ("faceledger.free", free.to_string()),
        ("faceledger.unknown", (n - charged - free).to_string()),
    ];
    let req_time = |r: &RowRef| {
        let times = rows[r.batch as usize].batch.column(time);
        times.as_primitive::<arrow::datatypes::TimestampMillisecondType>().value(r.row as usize)
    };
    let (first, last) =
        (file_rows.first().map_or(0, req_time), file_rows.last().map_or(0, req_time));
    let stats = serde_json::json!({
        "numRecords": n,
        "minValues": { "req_time": rfc3339(first) },
        "maxValues": { "req_time": rfc3339(last) },
        "nullCount": { "req_time": 0 },
    });
    let content = merge::Gathered::new(rows, file_rows);
    table.stage(Some(&partition(day)), n, &content, &facts, stats)
}

/// Days whose daily charges may not be those of their files, because an earlier run was cut off between the
/// commits of the two tables: all days when the newest commit of liveness_detail belongs to a run that made
/// none later, and any that disagree in the number of attempts.
fn stale_days(tables: &Tables, charges: &[DailyCharge]) -> Result<BTreeSet<i32>, WriteError> {
    let detail = &tables.detail;
    let finished = tables.daily.last_run()?.max(tables.inputs.last_run()?);
    let unfinished = detail.last_run()? > finished;
    let mut rows: BTreeMap<i32, i64> = BTreeMap::new();
    for file in detail.files() {
        if let Some(day) = file.partition.as_deref().and_then(UsageDay::parse) {
            *rows.entry(day.date32()).or_default() += file.rows as i64;
        }
    }
    let mut attempts: BTreeMap<i32, i64> = BTreeMap::new();
    for charge in charges {
        *attempts.entry(charge.usage_date.date32()).or_default() += charge.attempts;
    }
    let days: BTreeSet<i32> = rows.keys().chain(attempts.keys()).copied().collect();
    Ok(days.into_iter().filter(|day| unfinished || rows.get(day) != attempts.get(day)).collect())
}

/// The laws that need the files: rows in and out of the changed days, and daily charges against rows.
fn balance(
    table: &OpenTable,
    affected: &Merged,
    loaded: &Loaded,
    staged: &BTreeMap<i32, Vec<Staged>>,
    charges: &[DailyCharge],
    rows_staged: u64,
) -> Vec<Broken> {
    let rows_merged: u64 = affected.days.values().map(|rows| rows.len() as u64).sum();
    let replaced = &affected.replaced;
    let stored: u64 = affected
        .days
        .keys()
        .filter(|day| !replaced.contains(day))
        .flat_map(|day| table.files_of(&partition(*day)))
        .map(|f| f.rows)
        .sum();
    let charged_attempts: u64 = charges
        .iter()
        .filter(|c| staged.contains_key(&c.usage_date.date32()))
        .map(|c| c.attempts as u64)
        .sum();
    [
        (
            "rows of the changed days = rows stored + new rows",
            rows_merged,
            stored + loaded.tally.details_new,
        ),
        ("rows written = rows of the changed days", rows_staged, rows_merged),
        ("attempts in daily_charge = rows written", charged_attempts, rows_staged),
    ]
    .into_iter()
    .filter(|(_, left, right)| left != right)
    .map(|(law, left, right)| Broken { law, left, right })
    .collect()
}

fn restated(before: &[DailyCharge], after: &[DailyCharge], days: &BTreeSet<i32>) -> Vec<Restated> {
    type Counts = BTreeMap<(UsageDay, String), [i64; 4]>;
    let counts = |rows: &[DailyCharge]| -> Counts {
        let mut counts = Counts::new();
        for r in rows.iter().filter(|r| days.contains(&r.usage_date.date32())) {
            let sum = counts.entry((r.usage_date, r.billing_tag.clone())).or_default();
            for (into, n) in sum.iter_mut().zip([r.attempts, r.charged, r.free, r.unknown]) {
                *into += n;
            }
        }
        counts
    };
    let (before, after) = (counts(before), counts(after));
    // A day published for the first time is no restatement.
    let published: BTreeSet<UsageDay> = before.keys().map(|(day, _)| *day).collect();
    let keys: BTreeSet<&(UsageDay, String)> = before.keys().chain(after.keys()).collect();
    keys.into_iter()
        .filter(|key| published.contains(&key.0) && before.get(*key) != after.get(*key))
        .map(|key| Restated {
            usage_date: key.0.to_string(),
            billing_tag: key.1.clone(),
            before: before.get(key).copied().unwrap_or_default(),
            after: after.get(key).copied().unwrap_or_default(),
        })
        .collect()
}

/// The most memory this process has held, where the system tells (Linux).
fn peak_memory_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|l| l.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib * 1024)
}

/// The rows of each object, for the fates of its rows.
fn object_of(rows: &Rows, row: usize) -> usize {
    let keys = rows.batch.column(schema::LIVENESS_DETAIL.position("source_key"));
    keys.as_dictionary::<Int32Type>().keys().value(row) as usize
}

/// The closed list of reject reasons, for `schema`.
pub fn reject_reasons() -> Vec<&'static str> {
    RejectReason::ALL.iter().map(|r| r.code()).collect()
}

impl ObjectCount {
    fn as_input(&self) -> Input {
        Input {
            records: self.records,
            rows_new: self.rows_new,
            rows_duplicate: self.rows_duplicate,
            rows_changed: self.rows_changed,
            rejects: self.rejects,
            rows_outside: self.rows_outside,
            ..Input::default()
        }
    }

    fn note(&mut self, fate: Fate) {
        self.rows_new -= 1;
        match fate {
            Fate::New => self.rows_new += 1,
            Fate::Duplicate => self.rows_duplicate += 1,
            Fate::Changed => self.rows_changed += 1,
        }
    }
}
