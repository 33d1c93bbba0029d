//! `check` and `plan`: what a run would meet, without doing its work.

use super::{Exit, Known, RunError, Tables, open_source, read_small};
use crate::pipeline::Pipeline;
use crate::sources::{self, Choice, KeyPattern, SHARD_BYTES, Window};
use crate::storage::Place;
use crate::write::small;
use std::collections::BTreeMap;

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
    let source = &pipeline.source;
    let keys = source.keys.as_deref().map(KeyPattern::parse);
    let folder = keys.as_ref().and_then(KeyPattern::folder);
    let listed = open_source(pipeline)
        .and_then(|place| Ok((place.to_string(), place.list(folder).map_err(RunError::from)?)));
    match listed {
        Ok((shown, listing)) => {
            let total = listing.len();
            let choice = Choice {
                pattern: keys.as_ref(),
                window: Window::default(),
                lookback_days: 0,
                history: &Default::default(),
                again: &|_| true,
                concerned: &|_| false,
            };
            let selection = sources::select(listing, &choice);
            let taken = selection.objects.len();
            let detail = format!(
                "{total} objects, {taken} taken by source.keys, {} hidden or `_`-prefixed",
                selection.hidden
            );
            note(format!("source {shown}: list"), Ok(detail));
            if taken == 0 && selection.unmatched > 0 {
                let example = selection.unmatched_examples.first().cloned().unwrap_or_default();
                let detail = format!("no object fits source.keys; one that does not: {example}");
                note("source.keys".into(), Err(RunError::Usage(detail)));
            }
        }
        Err(error) => note("source: list".into(), Err(error)),
    }
    match Place::open(&pipeline.output.url, &pipeline.output.options) {
        Ok(place) => {
            let outcome = place.probe_write().map(|()| "written, read back and deleted".into());
            note(format!("output {place}: write"), outcome.map_err(RunError::from));
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

/// What a run would read.
#[derive(Debug, serde::Serialize)]
pub struct Plan {
    pub objects: u64,
    pub bytes: u64,
    pub objects_known: u64,
    pub objects_unmatched: u64,
    pub objects_hidden: u64,
    pub objects_outside: u64,
    /// Shards that the workers take one by one; larger plain NDJSON objects are split on top of these.
    pub shards: u64,
    /// GET requests at least: one an object, one more a piece.
    pub requests: u64,
    /// By `{date}`, where the pattern captures it: objects and bytes.
    pub dates: BTreeMap<String, (u64, u64)>,
}

pub fn plan(pipeline: &Pipeline, window: Window, full_refresh: bool) -> Result<Plan, RunError> {
    let source = &pipeline.source;
    let output = Place::open(&pipeline.output.url, &pipeline.output.options)?;
    let known = Known::of(read_small(&Tables::open(&output)?.inputs, small::inputs)?);
    let keys = source.keys.as_deref().map(KeyPattern::parse);
    let listing = open_source(pipeline)?.list(keys.as_ref().and_then(KeyPattern::folder))?;
    let choice = Choice {
        pattern: keys.as_ref(),
        window,
        lookback_days: source.lookback_days,
        history: &known.loads,
        again: &|_| full_refresh,
        concerned: &|_| false,
    };
    let selection = sources::select(listing, &choice);
    let shards = sources::shards(&selection.objects, |_| false).len() as u64;
    let mut dates: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    let mut requests = 0;
    for object in &selection.objects {
        requests += 1 + object.info.size / SHARD_BYTES;
        if let Some((_, date)) = object.captures.iter().find(|(name, _)| name == "date") {
            let sum = dates.entry(date.clone()).or_default();
            sum.0 += 1;
            sum.1 += object.info.size;
        }
    }
    Ok(Plan {
        objects: selection.objects.len() as u64,
        bytes: selection.objects.iter().map(|o| o.info.size).sum(),
        objects_known: selection.known,
        objects_unmatched: selection.unmatched,
        objects_hidden: selection.hidden,
        objects_outside: selection.outside,
        shards,
        requests,
        dates,
    })
}
