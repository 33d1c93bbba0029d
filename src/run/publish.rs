//! From rows to published tables: stage, settle, check, commit.

use super::history::{Line, Lines, Read};
use super::load::{self, Loaded, Version};
use super::{LastRuns, Run, RunError, Tables, on_threads, partition, rfc3339, rows_of, stopped};
use crate::classify::Catalogue;
use crate::model::{Broken, DailyCharge, UsageDay, UsageMonth};
use crate::settle::{self, Settler};
use crate::sources::Objects;
use crate::write::merge::{DayRows, Merged};
use crate::write::parquet::{Columns, Encoder, FILE_ROWS_MAX, ROW_GROUP_ROWS_MAX};
use crate::write::rows::Row;
use crate::write::small::{self, RejectRow};
use crate::write::{self, Commit, OpenTable, Staged, WriteError, Writer, schema};
use rayon::prelude::*;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// What is to be published.
pub struct Job<'j> {
    pub objects: &'j Objects,
    pub loaded: &'j Loaded,
    pub affected: &'j mut Merged,
    /// Days to be added up although nothing of them changes.
    pub stale: &'j BTreeSet<i32>,
    /// All daily charges before.
    pub charged: &'j [DailyCharge],
}

/// What was published.
pub struct Published {
    pub commits: Vec<Commit>,
    /// All daily charges now.
    pub charged: Vec<DailyCharge>,
    /// Days of which the daily charges were added up.
    pub settled: BTreeSet<i32>,
}

/// With so many bytes of memory, two days of rows on disk are written side by side.
const TWO_DAYS_MEMORY_MIN: u64 = 1 << 30;

/// Files of one partition of a small table at most: the commit that would pass it rewrites them as one.
const SMALL_FILES_MAX: usize = 8;

impl Run<'_> {
    /// Stages, settles, checks and commits.
    pub fn publish(
        &mut self,
        tables: &mut Tables,
        job: &mut Job<'_>,
        writer: &Writer,
    ) -> Result<Published, RunError> {
        // Data files, invisible as yet, and the sums of what they hold, read back from the store.
        let staged = self.stage_days(&tables.detail, job)?;
        self.phases.end("write");
        let mut settled: BTreeSet<i32> = job.affected.days.keys().copied().collect();
        settled.extend(&job.loaded.days);
        settled.extend(job.stale);
        let charges = self.settle(&tables.detail, &staged, &settled)?;
        self.conserve(balance(&tables.detail, job.affected, job.loaded, &staged, &charges))?;
        job.affected.let_go();
        self.phases.end("settle");
        stopped(self.stop)?;

        // One commit a table, in this order: a crash in between is repaired by the next run. A signal is
        // too late from here on: what is left takes less time than stopping in the middle would cost.
        let mut commits = Vec::new();
        let remove = job
            .affected
            .days
            .keys()
            .flat_map(|day| tables.detail.files_of(Some(&partition(*day))))
            .map(|f| f.path.clone())
            .collect();
        let files: Vec<Staged> = staged.into_values().flatten().collect();
        self.still_ours()?;
        commits.push(tables.detail.commit(files, remove, writer)?);
        self.still_ours()?;
        commits.push(self.commit_rejects(&mut tables.rejects, job, writer)?);
        let source_version = tables.detail.version().unwrap_or_default() as i64;
        let charges: Vec<DailyCharge> =
            charges.into_iter().map(|c| DailyCharge { source_version, ..c }).collect();
        let charged = charges_after(job.charged, charges, &settled);
        self.still_ours()?;
        commits.push(self.commit_daily(&mut tables.daily, &charged, &settled, writer)?);
        self.still_ours()?;
        commits.push(self.commit_inputs(&mut tables.inputs, job, writer)?);
        self.phases.end("commit");
        Ok(Published { commits, charged, settled })
    }

    fn stage_days(
        &self,
        table: &OpenTable,
        job: &Job<'_>,
    ) -> Result<BTreeMap<i32, Vec<Staged>>, RunError> {
        let affected = &*job.affected;
        let days: Vec<i32> = affected.days.keys().copied().collect();
        let stage = |day: &i32| {
            let mut rows = affected.day(*day)?;
            let mut left = affected.days.get(day).copied().unwrap_or_default();
            let mut files = Vec::new();
            loop {
                stopped(self.stop)?;
                // Who reads the plain folder would count what is staged beside another writer's files.
                self.still_ours()?;
                match stage_file(table, *day, &mut rows, left)? {
                    Some(file) => {
                        left = left.saturating_sub(file.rows);
                        files.push(file);
                    }
                    None => return Ok((*day, files)),
                }
            }
        };
        if !affected.is_spilled() {
            return days.par_iter().map(stage).collect();
        }
        // Of each day a file and a row group are held. Two keep the processors busy while rows of one are put in order;
        // the columns of one do nearly.
        let room = self.pipeline.limits.memory_max >= TWO_DAYS_MEMORY_MIN;
        let at_once = if room && job.objects.len() < load::MANY_OBJECTS { 2 } else { 1 };
        let one_by_one =
            |days: &[i32]| days.iter().map(stage).collect::<Result<Vec<_>, RunError>>();
        let parts = days.par_chunks(days.len().div_ceil(at_once).max(1)).map(one_by_one);
        Ok(parts.collect::<Result<Vec<_>, RunError>>()?.into_iter().flatten().collect())
    }

    /// Daily charges of some days: from the staged files of those that change, else from the live ones.
    fn settle(
        &self,
        table: &OpenTable,
        staged: &BTreeMap<i32, Vec<Staged>>,
        days: &BTreeSet<i32>,
    ) -> Result<Vec<DailyCharge>, RunError> {
        let days: Vec<i32> = days.iter().copied().collect();
        let parts = on_threads(self.io_threads(&self.output), &days, |day| {
            let mut settler = Settler::default();
            let usage_date = UsageDay::from_date32(*day);
            let files: Vec<write::delta::LiveFile> = match staged.get(day) {
                Some(files) => files.iter().map(Staged::as_live).collect(),
                None => table.files_of(Some(&partition(*day))).into_iter().cloned().collect(),
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
        job: &Job<'_>,
        writer: &Writer,
    ) -> Result<Commit, RunError> {
        let read = |row: &RejectRow| job.objects.find(&row.source_key).is_some();
        let all_anew = self.is_rebuild();
        let mut rows: Vec<RejectRow> = job.loaded.rejects.clone();
        for row in &mut rows {
            row.run_id.clone_from(&self.run_id);
        }
        let compact = !rows.is_empty() && table.files().len() >= SMALL_FILES_MAX;
        let mut remove = Vec::new();
        for file in table.files() {
            // What is made anew as a whole need not be readable.
            let mut stored = match all_anew {
                true => Vec::new(),
                false => rows_of(table, file, small::rejects)?,
            };
            let replaced = stored.iter().any(read);
            if all_anew || compact || replaced {
                remove.push(file.path.clone());
                stored.retain(|r| !all_anew && !read(r));
                rows.extend(stored);
            }
        }
        rows.sort();
        let staged = stage_small(table, None, rows.len(), || small::rejects_batch(&rows))?;
        Ok(table.commit(staged, remove, writer)?)
    }

    fn commit_daily(
        &self,
        table: &mut OpenTable,
        charges: &[DailyCharge],
        days: &BTreeSet<i32>,
        writer: &Writer,
    ) -> Result<Commit, RunError> {
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
            remove.extend(table.files_of(Some(&name)).iter().map(|f| f.path.clone()));
            let rows: Vec<DailyCharge> =
                charges.iter().filter(|r| r.usage_date.month() == month).cloned().collect();
            staged.extend(stage_small(table, Some(&name), rows.len(), || {
                small::daily_charge_batch(&rows, tag_code)
            })?);
        }
        Ok(table.commit(staged, remove, writer)?)
    }

    /// One line for each object read, by the date of its key.
    fn commit_inputs(
        &self,
        table: &mut OpenTable,
        job: &Job<'_>,
        writer: &Writer,
    ) -> Result<Commit, RunError> {
        let mut dates: BTreeMap<Option<UsageDay>, Vec<Line>> = BTreeMap::new();
        let read = Read { objects: job.objects, counts: &job.loaded.objects };
        for (place, count) in job.loaded.objects.iter().enumerate() {
            if !matches!(count.read, Version::Gone) {
                dates.entry(job.objects.date(place)).or_default().push(Line::New(place as u32));
            }
        }
        let all_anew = self.is_rebuild();
        let mut remove: Vec<String> = Vec::new();
        if all_anew {
            remove.extend(table.files().iter().map(|f| f.path.clone()));
        }
        let mut staged = Vec::new();
        for (date, mut lines) in dates {
            let date = date.map(|date| date.to_string());
            let files = table.files_of(date.as_deref());
            let mut stored = Vec::new();
            if !all_anew && files.len() >= SMALL_FILES_MAX {
                for file in files {
                    stored.extend(rows_of(table, file, small::inputs)?);
                    remove.push(file.path.clone());
                }
            }
            lines.extend((0..stored.len() as u32).map(Line::Stored));
            let lines = Lines::new(&self.run_id, read, &stored, lines);
            staged.push(stage_groups(table, date.as_deref(), lines.groups())?);
        }
        Ok(table.commit(staged, remove, writer)?)
    }
}

/// One file of a small table; no file for no rows.
pub fn stage_small(
    table: &OpenTable,
    partition: Option<&str>,
    rows: usize,
    batch: impl FnOnce() -> Result<arrow::array::RecordBatch, WriteError>,
) -> Result<Option<Staged>, WriteError> {
    if rows == 0 {
        return Ok(None);
    }
    let batch = batch()?;
    let groups = (0..rows)
        .step_by(ROW_GROUP_ROWS_MAX)
        .map(|from| batch.slice(from, ROW_GROUP_ROWS_MAX.min(rows - from)));
    stage_groups(table, partition, groups).map(Some)
}

fn stage_groups(
    table: &OpenTable,
    partition: Option<&str>,
    groups: impl Iterator<Item = impl Columns>,
) -> Result<Staged, WriteError> {
    let mut encoder = Encoder::new(table.table)?;
    let mut rows = 0;
    for group in groups {
        rows += group.rows();
        encoder.write(&group)?;
    }
    let encoded = encoder.finish(&vec![("faceledger.rows", rows.to_string())])?;
    table.stage(partition, encoded, serde_json::json!({ "numRecords": rows }))
}

/// All daily charges once those of `days` are `charges`. A row that says the same as before stays as it is,
/// the version it was computed from included, so that nothing changes.
pub fn charges_after(
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

/// The daily charges of the changed days, from rows that are not written yet.
pub fn preview(affected: &Merged, threads: usize) -> Result<Vec<DailyCharge>, RunError> {
    let schema = &schema::LIVENESS_DETAIL.file_schema;
    let places = settle::COLUMNS.map(|name| schema::LIVENESS_DETAIL.position(name));
    let columns = std::sync::Arc::new(schema.project(&places).map_err(WriteError::from)?);
    let days: Vec<i32> = affected.days.keys().copied().collect();
    let days = on_threads(threads, &days, |day| {
        let mut settler = Settler::default();
        let mut rows = affected.day(*day)?;
        while let Some(group) = rows.next_group(ROW_GROUP_ROWS_MAX)? {
            let arrays = places
                .iter()
                .zip(columns.fields())
                .map(|(place, field)| group.column(*place)?.into_array(field.data_type()));
            let arrays = arrays.collect::<Result<Vec<_>, _>>()?;
            let batch = arrow::array::RecordBatch::try_new(columns.clone(), arrays)
                .map_err(WriteError::from)?;
            settler.add(UsageDay::from_date32(*day), &batch)?;
        }
        Ok(settler.finish(0))
    })?;
    Ok(days.into_iter().flatten().collect())
}

/// The next file of a day of which `left` rows are not yet in files; None when all are.
fn stage_file(
    table: &OpenTable,
    day: i32,
    rows: &mut DayRows<'_>,
    left: u64,
) -> Result<Option<Staged>, WriteError> {
    let mut encoder = Encoder::with_room(table.table, left)?;
    let (mut n, mut charged, mut free) = (0u64, 0u64, 0u64);
    let (mut first, mut last, mut fetched) = (None, 0, true);
    let mut ranks: Vec<i64> = Vec::new();
    while n < FILE_ROWS_MAX as u64
        && let Some(group) = rows.next_group(FILE_ROWS_MAX - n as usize)?
    {
        encoder.write(&group)?;
        n += group.rows() as u64;
        for Row { flags, req_time, rank_time, .. } in group.each() {
            match flags.is_need_charge() {
                Some(true) => charged += 1,
                Some(false) => free += 1,
                None => {}
            }
            first.get_or_insert(*req_time);
            last = *req_time;
            fetched &= flags.fetched();
            ranks.push(*rank_time);
        }
    }
    let Some(first) = first else { return Ok(None) };
    let facts = vec![
        ("faceledger.usage_date", partition(day)),
        ("faceledger.rows", n.to_string()),
        ("faceledger.charged", charged.to_string()),
        ("faceledger.free", free.to_string()),
        ("faceledger.unknown", (n - charged - free).to_string()),
    ];
    let stats = serde_json::json!({
        "numRecords": n,
        "minValues": { "req_time": rfc3339(first) },
        "maxValues": { "req_time": rfc3339(last) },
        "nullCount": { "req_time": 0 },
    });
    let staged = table.stage(Some(&partition(day)), encoder.finish(&facts)?, stats)?;
    if !fetched {
        table.stage_ranks(&staged, ranks)?;
    }
    Ok(Some(staged))
}

/// Days whose daily charges may not be those of their files, because an earlier run was cut off between the
/// commits of the two tables: all days when the newest commit of liveness_detail belongs to a run that made
/// none later, and any that disagree in the number of attempts.
pub fn stale_days(tables: &Tables, last_runs: &LastRuns, charges: &[DailyCharge]) -> BTreeSet<i32> {
    let detail = &tables.detail;
    let unfinished = last_runs.detail > last_runs.daily.max(last_runs.inputs);
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
    days.into_iter().filter(|day| unfinished || rows.get(day) != attempts.get(day)).collect()
}

/// The laws that need the files: rows in and out of the changed days, and daily charges against rows.
fn balance(
    table: &OpenTable,
    affected: &Merged,
    loaded: &Loaded,
    staged: &BTreeMap<i32, Vec<Staged>>,
    charges: &[DailyCharge],
) -> Vec<Broken> {
    let rows_staged: u64 = staged.values().flatten().map(|s| s.rows).sum();
    let rows_merged: u64 = affected.days.values().sum();
    let replaced = &affected.replaced;
    let stored: u64 = affected
        .days
        .keys()
        .filter(|day| !replaced.contains(day))
        .flat_map(|day| table.files_of(Some(&partition(*day))))
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
