//! What a run comes to: the report that is printed and written to `_runs/`, and how batches add up to it.

use super::batches::Batches;
use super::load::{EnvelopeSeen, PieceCounts};
use super::{Exit, Run, RunError};
use crate::classify::{Router, UnmappedCounts, UnmappedLine};
use crate::model::{DailyCharge, Tally, UsageDay};
use crate::storage;
use crate::write::Commit;
use crate::write::merge::{self, CHANGES_MAX};
use crate::write::small::RejectRow;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

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
    pub account: String,
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
    /// Steps in which the run loaded and committed: by date, so that each is bounded.
    pub batches: u64,
    pub tally: Tally,
    pub objects_unmatched: u64,
    pub objects_hidden: u64,
    pub objects_outside: u64,
    pub objects_undated: u64,
    pub unmatched_examples: Vec<String>,
    /// Objects, and folders that end with `/`, of names that cannot be asked for; they are not among the listed.
    pub objects_unreadable: u64,
    pub unreadable_examples: Vec<String>,
    /// Folders not looked into: no key of the pattern lies there.
    pub folders_unmatched: u64,
    /// Folders not looked into: their date cannot concern the window.
    pub folders_outside: u64,
    pub bytes_stored: u64,
    pub bytes_read: u64,
    /// Large objects read without their media.
    pub objects_read_in_part: u64,
    /// Large objects read whole to see what the others of their folders are like.
    pub objects_read_as_samples: u64,
    /// Large objects read whole because parts of them, or of those before them, did not do.
    pub objects_read_whole: u64,
    /// Objects read in part by earlier batches of this run, of folders in which objects of several records were
    /// found since: they may hold more than was read.
    pub objects_in_doubt: u64,
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
    /// Records with attempts whose envelope told something, by the key of `source.envelope` that says where.
    pub envelope_seen: BTreeMap<&'static str, u64>,
    /// Other accounts of which the output holds charges.
    pub other_accounts: Vec<String>,
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

/// What the batches of a run came to, added up.
#[derive(Default)]
pub struct Sum {
    pub tally: Tally,
    pub bytes_stored: u64,
    pub bytes_read: u64,
    pub pieces: PieceCounts,
    pub rejects: u64,
    pub rejects_by_reason: BTreeMap<String, u64>,
    pub reject_examples: Vec<RejectRow>,
    pub unmapped: UnmappedCounts,
    pub changed: Vec<merge::Change>,
    pub removed: Removed,
    pub envelope_seen: EnvelopeSeen,
    pub commits: Vec<Commit>,
    pub litter_deleted: u64,
    pub batches: u64,
    /// Days of which the daily charges were added up.
    pub settled: BTreeSet<i32>,
}

/// Rejects shown in a report.
const REJECT_EXAMPLES_MAX: usize = 5;

impl Sum {
    pub fn note_rejects(&mut self, rejects: &[RejectRow], run_id: &str) {
        self.rejects += rejects.len() as u64;
        for reject in rejects {
            *self.rejects_by_reason.entry(reject.reason.clone()).or_default() += 1;
        }
        let left = REJECT_EXAMPLES_MAX.saturating_sub(self.reject_examples.len());
        self.reject_examples.extend(
            rejects.iter().take(left).map(|r| RejectRow { run_id: run_id.to_owned(), ..r.clone() }),
        );
    }

    pub fn note_changes(&mut self, changes: &[merge::Change]) {
        let left = CHANGES_MAX.saturating_sub(self.changed.len());
        self.changed.extend(changes.iter().take(left).cloned());
    }

    fn wrote(&self) -> bool {
        let wrote = |c: &Commit| c.files_added + c.files_removed > 0 && c.table != "inputs";
        self.commits.iter().any(wrote)
    }
}

/// Times the phases of a run; a phase that comes again adds to its time.
pub struct Phases {
    done: Vec<Phase>,
    since: Instant,
}

impl Phases {
    pub fn start() -> Phases {
        Phases { done: Vec::new(), since: Instant::now() }
    }

    pub fn end(&mut self, name: &'static str) {
        let now = Instant::now();
        let seconds = (now - self.since).as_secs_f64();
        match self.done.iter_mut().find(|phase| phase.name == name) {
            Some(phase) => phase.seconds += seconds,
            None => self.done.push(Phase { name, seconds }),
        }
        self.since = now;
    }
}

/// Days shown by a run that touched none.
const LATEST_DAYS: usize = 7;

impl Run<'_> {
    /// The report of a run that ends. `before` and `after` are all daily charges.
    pub fn report(
        &self,
        batches: &Batches<'_>,
        sum: Sum,
        router: &Router,
        before: &[DailyCharge],
        after: &[DailyCharge],
    ) -> RunReport {
        let counts = &batches.counts;
        let tally = sum.tally.clone();
        // Of what was read: records, or attempts where records hold several.
        let read = tally.records_seen.max(tally.records_rejected + tally.details_seen);
        let rejects_ratio = match sum.rejects {
            0 => 0.0,
            rejects => rejects as f64 / read as f64,
        };
        let rejects_ratio_max = self.pipeline.limits.rejects_ratio_max;
        let outcome = match self.asked.dry_run {
            true => Outcome::DryRun,
            false if sum.wrote() => Outcome::Committed,
            false if sum.tally.objects_listed == sum.tally.objects_known => Outcome::NothingNew,
            false => Outcome::Unchanged,
        };
        let (daily_charge_shown, daily_charge) = self.shown(after, &sum.settled);
        let accounts: BTreeSet<&str> = after.iter().map(|charge| &*charge.account).collect();
        let others = accounts.into_iter().filter(|account| *account != self.pipeline.account.uin);
        let requests = storage::request_counts();
        RunReport {
            run_id: self.run_id.clone(),
            faceledger: env!("CARGO_PKG_VERSION"),
            pipeline: self.pipeline.name.clone(),
            config_digest: self.pipeline.digest.clone(),
            started_at: super::rfc3339(self.started_ms),
            outcome,
            from: self.asked.window.from.map(|d| d.to_string()),
            to: self.asked.window.to.map(|d| d.to_string()),
            full_refresh: self.asked.full_refresh,
            threads: self.threads,
            batches: sum.batches,
            tally,
            objects_unmatched: counts.unmatched,
            objects_hidden: counts.hidden,
            objects_outside: counts.outside,
            objects_undated: counts.undated,
            unmatched_examples: counts.unmatched_examples.clone(),
            objects_unreadable: batches.unreadable.len() as u64,
            unreadable_examples: batches.unreadable.iter().take(3).cloned().collect(),
            folders_unmatched: batches.folders_unmatched,
            folders_outside: batches.folders_outside,
            bytes_stored: sum.bytes_stored,
            bytes_read: sum.bytes_read,
            objects_read_in_part: sum.pieces.in_part,
            objects_read_as_samples: sum.pieces.samples,
            objects_read_whole: sum.pieces.whole,
            objects_in_doubt: self.layouts.doubtful(),
            rejects_by_reason: sum.rejects_by_reason,
            rejects_ratio,
            rejects_ratio_max,
            rejects_over_threshold: rejects_ratio > rejects_ratio_max,
            reject_examples: sum.reject_examples,
            unmapped: sum.unmapped.advice(router).into_iter().map(Unmapped::from).collect(),
            changed: sum.changed,
            restated: restated(before, after, &sum.settled),
            removed: sum.removed,
            envelope_seen: self
                .pipeline
                .source
                .envelope
                .as_ref()
                .map_or_else(BTreeMap::new, |envelope| sum.envelope_seen.of(envelope)),
            other_accounts: others.map(str::to_owned).collect(),
            daily_charge_shown,
            daily_charge,
            commits: sum.commits,
            litter_deleted: sum.litter_deleted,
            requests: BTreeMap::from([
                ("list", requests.list),
                ("get", requests.get),
                ("put", requests.put),
                ("delete", requests.delete),
                ("throttled", requests.throttled),
                ("failed", requests.failed),
            ]),
            phases: self.phases.done.clone(),
            peak_memory_bytes: peak_memory_bytes(),
        }
    }

    /// The daily charges that a report shows, and which those are.
    fn shown(&self, charges: &[DailyCharge], settled: &BTreeSet<i32>) -> (String, Vec<DailyLine>) {
        let all: BTreeSet<i32> = charges.iter().map(|c| c.usage_date.date32()).collect();
        let window = self.asked.window;
        let (days, shown) = match settled.is_empty() {
            false => (settled.clone(), "changed or read again by this run".to_owned()),
            true if window.is_bounded() => {
                let asked = |day: &&i32| window.holds(UsageDay::from_date32(**day));
                (all.iter().filter(asked).copied().collect(), "asked for".to_owned())
            }
            true => {
                (all.iter().rev().take(LATEST_DAYS).copied().collect(), "the latest".to_owned())
            }
        };
        let n = days.intersection(&all).count();
        let shown = match n == all.len() {
            true => format!("all {n} days of daily_charge"),
            false => format!("{n} of {} days of daily_charge: those {shown}", all.len()),
        };
        let lines = charges.iter().filter(|c| days.contains(&c.usage_date.date32()));
        (shown, lines.map(DailyLine::from).collect())
    }

    pub fn publish_report(&self, report: &RunReport) -> Result<(), RunError> {
        let text = serde_json::to_vec_pretty(report).map_err(|e| RunError::Usage(e.to_string()))?;
        Ok(self.output.put(&format!("_runs/{}.json", self.run_id), text.into())?)
    }
}

fn restated(before: &[DailyCharge], after: &[DailyCharge], days: &BTreeSet<i32>) -> Vec<Restated> {
    type Counts = BTreeMap<(UsageDay, String, String), [i64; 4]>;
    let counts = |rows: &[DailyCharge]| -> Counts {
        let mut counts = Counts::new();
        for r in rows.iter().filter(|r| days.contains(&r.usage_date.date32())) {
            let sum =
                counts.entry((r.usage_date, r.account.clone(), r.billing_tag.clone())).or_default();
            for (into, n) in sum.iter_mut().zip([r.attempts, r.charged, r.free, r.unknown]) {
                *into += n;
            }
        }
        counts
    };
    let (before, after) = (counts(before), counts(after));
    // A day published for the first time is no restatement.
    let published: BTreeSet<UsageDay> = before.keys().map(|(day, ..)| *day).collect();
    let keys: BTreeSet<&(UsageDay, String, String)> = before.keys().chain(after.keys()).collect();
    keys.into_iter()
        .filter(|key| published.contains(&key.0) && before.get(*key) != after.get(*key))
        .map(|key| Restated {
            usage_date: key.0.to_string(),
            account: key.1.clone(),
            billing_tag: key.2.clone(),
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
