//! `check` and `plan`: what a run would meet, without doing its work.

use super::batches::Batches;
use super::{Asked, Exit, RunError, Tables, io_threads, on_threads, open_source};
use crate::model::UsageDay;
use crate::pipeline::Pipeline;
use crate::sources::{self, Choice, Folders, KeyPattern, SHARD_BYTES, Verdict, Window};
use crate::storage::{CreateOnly, Place};
use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;

/// What `check` found of a pipeline that parses.
#[derive(Debug, serde::Serialize)]
pub struct Checked {
    pub pipeline: String,
    pub config_digest: String,
    pub routes: usize,
    /// What was tried, and how it went.
    pub probes: Vec<Probe>,
}

#[derive(Debug, serde::Serialize)]
pub struct Probe {
    pub what: String,
    pub ok: bool,
    pub detail: String,
    #[serde(skip)]
    exit: Exit,
}

impl Checked {
    /// What the first probe that failed asks for.
    pub fn exit(&self) -> Exit {
        self.probes.iter().find(|p| !p.ok).map_or(Exit::Done, |p| p.exit)
    }
}

/// Reaches the pipeline's stores.
pub fn check(pipeline: &Pipeline) -> Checked {
    let mut probes = Vec::new();
    let mut note = |what: String, outcome: Result<String, RunError>| {
        probes.push(match outcome {
            Ok(detail) => Probe { what, ok: true, detail, exit: Exit::Done },
            Err(error) => Probe { what, ok: false, detail: error.to_string(), exit: error.exit() },
        });
    };
    match look_at_source(pipeline) {
        Ok(found) => {
            let SourceFound { shown, detail, unmatched } = found;
            note(format!("source {shown}: list"), Ok(detail));
            if let Some(example) = unmatched {
                let detail = format!("no object fits source.keys; one that does not: {example}");
                note("source.keys".into(), Err(RunError::Usage(detail)));
            }
        }
        Err(error) => note("source: list".into(), Err(error)),
    }
    match Place::open(&pipeline.output.url, &pipeline.output.options) {
        Ok(place) => {
            let outcome = place.probe_write().map(|()| "written, read back and deleted".into());
            let writable = outcome.is_ok();
            note(format!("output {place}: write"), outcome.map_err(RunError::from));
            if writable && place.local_folder().is_none() {
                match super::abilities(&place, true) {
                    Ok(abilities) => {
                        for found in &abilities.found {
                            note(format!("output {place}: store"), Ok(found.clone()));
                        }
                        note(format!("output {place}: commit"), Ok(way(abilities.create).into()));
                    }
                    Err(error) => note(format!("output {place}: store"), Err(error)),
                }
            }
            match Tables::open(&place) {
                Ok(tables) => {
                    for table in tables.each() {
                        let detail = match table.version() {
                            Some(version) => {
                                format!("version {version}, {} files", table.files().len())
                            }
                            None => "not there yet: the first run makes it".into(),
                        };
                        note(format!("table {}", table.table.name), Ok(detail));
                    }
                }
                Err(error) => note("tables".into(), Err(error.into())),
            }
        }
        Err(error) => note("output".into(), Err(error.into())),
    }
    Checked {
        pipeline: pipeline.name.clone(),
        config_digest: pipeline.digest.clone(),
        routes: pipeline.routes.len(),
        probes,
    }
}

/// How a commit will be made, for people.
fn way(create: CreateOnly) -> &'static str {
    match create {
        CreateOnly::IfNoneMatch => "by conditional create: the store itself lets one writer win",
        CreateOnly::CopyHeader => "by copy-if-not-exists: the store itself lets one writer win",
        CreateOnly::UnderLease => {
            "under the lease: the store does not tell writers apart, only faceledger's own lease does"
        }
    }
}

/// What was seen of a source.
struct SourceFound {
    shown: String,
    detail: String,
    /// A key that source.keys does not take, where it takes none.
    unmatched: Option<String>,
}

/// Lists a source, or of one whose folders tell dates only the newest: a bucket of years is not walked to
/// answer whether it can be reached.
fn look_at_source(pipeline: &Pipeline) -> Result<SourceFound, RunError> {
    let place = open_source(pipeline)?;
    let pattern = pipeline.source.keys.as_deref().map(KeyPattern::parse);
    let threads = io_threads(1, &place);
    let each = |folders: &[String], list: &(dyn Fn(&String) -> _ + Sync)| {
        on_threads(threads, folders, list)
    };
    let folders: Folders = sources::folders(&place, pattern.as_ref(), &|_| true, each)?;
    let dates: Vec<UsageDay> = folders.groups.iter().filter_map(|g| g.date).collect();
    let newest = dates.last().copied();
    let mut listing = Vec::new();
    let mut unreadable = folders.unreadable;
    for group in &folders.groups {
        listing.extend(group.objects.iter().cloned());
        if group.date.is_none() || group.date == newest {
            for listed in on_threads(threads, &group.folders, |f| Ok(place.listing(Some(f))?))? {
                listing.extend(listed.objects);
                unreadable.extend(listed.unreadable);
            }
        }
    }
    let choice = Choice {
        pattern: pattern.as_ref(),
        window: Window::default(),
        lookback_days: 0,
        concerned: &|_| false,
    };
    let selection = sources::select(listing, &choice, |_| Ok::<_, RunError>(Verdict::Read))?;
    let taken = selection.objects.len();
    let mut detail = format!(
        "{} objects, {taken} taken by source.keys, {} hidden or `_`-prefixed",
        selection.keys, selection.hidden
    );
    if let Some(key) = unreadable.first() {
        detail = format!("{detail}, {} with names that cannot be read ({key:?})", unreadable.len());
    }
    if let (Some(first), Some(last)) = (dates.first(), newest) {
        detail = format!(
            "{} dates in its folders, {first} to {last}; of the last: {detail}",
            dates.len()
        );
    }
    let examples = selection.unmatched_examples.into_iter().chain(folders.unmatched_examples);
    let unmatched = examples.take(usize::from(taken == 0)).next();
    Ok(SourceFound { shown: place.to_string(), detail, unmatched })
}

/// What a run would read.
#[derive(Debug, Default, serde::Serialize)]
pub struct Plan {
    pub objects: u64,
    pub bytes: u64,
    pub objects_known: u64,
    pub objects_unmatched: u64,
    pub objects_hidden: u64,
    pub objects_outside: u64,
    /// Folders not looked into: no key of the pattern lies there, or their date cannot concern the window.
    pub folders_unmatched: u64,
    pub folders_outside: u64,
    /// Steps in which the run would load and commit.
    pub batches: u64,
    /// Shards that the workers take one by one; larger plain NDJSON objects are split on top of these.
    pub shards: u64,
    /// GET requests at least: one an object, one more a piece.
    pub requests: u64,
    /// By `{date}`, where the pattern captures it: objects and bytes.
    pub dates: BTreeMap<String, (u64, u64)>,
}

pub fn plan(pipeline: &Pipeline, asked: &Asked) -> Result<Plan, RunError> {
    let output = Place::open(&pipeline.output.url, &pipeline.output.options)?;
    let tables = Tables::open(&output)?;
    let source = open_source(pipeline)?;
    let stop = AtomicBool::new(false);
    let threads = io_threads(1, &source);
    let mut batches = Batches::find(pipeline, &source, asked, &stop, threads, &tables)?;
    let pattern = pipeline.source.keys.as_deref().map(KeyPattern::parse);
    let mut plan = Plan::default();
    while let Some(batch) = batches.next(&tables.inputs)? {
        plan.batches += 1;
        plan.shards += sources::shards(&batch.objects, |_| false).len() as u64;
        for place in 0..batch.objects.len() {
            let (key, size) = (batch.objects.key(place), batch.objects.size(place));
            plan.objects += 1;
            plan.bytes += size;
            plan.requests += 1 + size / SHARD_BYTES;
            if let Some(date) = pattern.as_ref().and_then(|p| p.date(key).flatten()) {
                let sum = plan.dates.entry(date.to_owned()).or_default();
                sum.0 += 1;
                sum.1 += size;
            }
        }
    }
    plan.objects_known = batches.counts.known;
    plan.objects_unmatched = batches.counts.unmatched;
    plan.objects_hidden = batches.counts.hidden;
    plan.objects_outside = batches.counts.outside;
    plan.folders_unmatched = batches.folders_unmatched;
    plan.folders_outside = batches.folders_outside;
    Ok(plan)
}
