//! `verify`: conservation, one row a Seq, and the agreement of the tables, from the outputs alone.
//!
//! It adds up with plain integers and not by the code that made the tables.

use super::{RunError, Tables, partition, read_small};
use crate::model::{DailyCharge, UsageDay};
use crate::storage::{LeaseError, Place};
use crate::write::delta::DeltaError;
use crate::write::ids::Id;
use crate::write::{OpenTable, WriteError, parquet, schema, small};
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Date32Type, Int32Type, TimestampMillisecondType};
use rayon::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// What `verify` found.
#[derive(Debug, Default, serde::Serialize)]
pub struct Verified {
    pub days: u64,
    pub files: u64,
    pub attempts: u64,
    pub charged: i64,
    pub free: i64,
    pub unknown: i64,
    /// Each breach, with the file it lies in.
    pub broken: Vec<String>,
    /// What is no breach and still worth knowing.
    pub notes: Vec<String>,
}

/// Breaches listed at most: a broken disk would otherwise fill the terminal.
const BROKEN_MAX: usize = 200;

impl Verified {
    fn broken(&mut self, what: String) {
        if self.broken.len() < BROKEN_MAX {
            self.broken.push(what);
        }
    }
}

/// Verifies an output.
pub fn verify(output: &Place) -> Result<Verified, RunError> {
    let tables = match Tables::open_existing(output) {
        // A log that cannot be read is what this command is asked about.
        Err(RunError::Write(WriteError::Delta(DeltaError::Other { .. }))) => {
            let what = format!(
                "{output}: the log of a table cannot be read: it was damaged after it was written"
            );
            return Ok(Verified { broken: vec![what], ..Verified::default() });
        }
        tables => tables?,
    };
    // Files that a run in progress has staged are no strays. Who may not write there cannot ask, and
    // looks all the same.
    let _lease = match output.local_folder() {
        Some(_) => match output.lease("verify", Duration::from_secs(1), None, &|_| {}) {
            Err(error @ LeaseError::Held { .. }) => return Err(error.into()),
            lease => lease.ok(),
        },
        None => None,
    };
    let mut found = Verified::default();
    for table in tables.each().into_iter().filter(|t| t.version().is_none()) {
        found.broken(format!("{}: the table is missing", table.table.name));
    }
    // A remote output is held by its writers alone: asking must not stop tomorrow's run.
    let being_written = output.is_leased()?;
    for table in tables.each() {
        strays(table, being_written, &mut found)?;
        found.files += table.files().len() as u64;
    }
    for table in [&tables.rejects, &tables.daily, &tables.inputs] {
        for file in table.files() {
            if let Err(what) = sound_file(table, file) {
                found.broken(what);
            }
        }
    }
    let days = detail_days(&tables.detail, &mut found);
    unique(&tables.detail, &days, &mut found);
    if found.broken.is_empty() {
        agree(&tables, days, &mut found)?;
    }
    Ok(found)
}

/// Data files that the log does not name would be counted by whoever reads the folder, unless they are kept
/// for readers of older versions.
fn strays(table: &OpenTable, being_written: bool, found: &mut Verified) -> Result<(), RunError> {
    let live: BTreeSet<&str> = table.files().iter().map(|f| f.path.as_str()).collect();
    let mut superseded = None;
    for path in table.stored_files()? {
        if !path.ends_with(".parquet") || live.contains(path.as_str()) {
            continue;
        }
        let superseded = match &mut superseded {
            Some(superseded) => superseded,
            none => none.insert(table.superseded()?),
        };
        let name = &table.table.name;
        if superseded.contains(&path) {
            found.notes.push(format!(
                "{name}/{path}: superseded; who reads the plain folder counts it until output.retain is over and a run or `compact` deletes it"
            ));
        } else if being_written {
            found.notes.push(format!("{name}/{path}: not in the table's log: a run is writing"));
        } else {
            found.broken(format!(
                "{name}/{path}: a data file that the table's log does not name: a reader of the folder would count it"
            ));
        }
    }
    Ok(())
}

/// The bytes of a live file, checked against the log and its own name, decoded.
fn sound_file(
    table: &OpenTable,
    file: &crate::write::delta::LiveFile,
) -> Result<Vec<RecordBatch>, String> {
    let name = format!("{}/{}", table.table.name, file.path);
    let bytes = table.bytes(file).map_err(|e| format!("{name}: cannot be read: {e}"))?;
    if bytes.len() as u64 != file.size {
        return Err(format!("{name}: {} bytes, the log says {}", bytes.len(), file.size));
    }
    let named = file.path.rsplit('-').next().and_then(|tail| tail.strip_suffix(".parquet"));
    if named != Some(parquet::digest(&bytes).as_str()) {
        return Err(format!(
            "{name}: its content is not what its name says: it was changed after it was written"
        ));
    }
    let batches = parquet::decode(table.table, bytes);
    let batches: Vec<RecordBatch> =
        batches.and_then(Iterator::collect).map_err(|e| format!("{name}: {e}"))?;
    let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
    if rows as u64 != file.rows {
        return Err(format!("{name}: {rows} rows, the log says {}", file.rows));
    }
    if rows == 0 {
        return Err(format!("{name}: a file without rows"));
    }
    Ok(batches)
}

/// What the files of one day hold.
#[derive(Default)]
struct Day {
    charges: BTreeMap<(i32, String, String), DailyCharge>,
    seqs: Vec<u64>,
    keys: BTreeSet<String>,
    rows: u64,
    broken: Vec<String>,
}

fn detail_days(table: &OpenTable, found: &mut Verified) -> BTreeMap<i32, Day> {
    let days: Vec<(Option<i32>, Day)> = table
        .partitions()
        .par_iter()
        .map(|name| {
            let mut day = Day::default();
            let usage_date = UsageDay::parse(name);
            match usage_date {
                None => {
                    day.broken.push(format!("{}: usage_date={name} is no date", table.table.name))
                }
                Some(usage_date) => {
                    for file in table.files_of(Some(name)) {
                        match sound_file(table, file) {
                            Ok(batches) => add_file(&mut day, usage_date, file, &batches),
                            Err(what) => day.broken.push(what),
                        }
                    }
                }
            }
            (usage_date.map(UsageDay::date32), day)
        })
        .collect();
    let mut sound = BTreeMap::new();
    for (date, mut day) in days {
        for what in std::mem::take(&mut day.broken) {
            found.broken(what);
        }
        if let Some(date) = date {
            found.days += 1;
            found.attempts += day.rows;
            sound.insert(date, day);
        }
    }
    sound
}

fn add_file(
    day: &mut Day,
    usage_date: UsageDay,
    file: &crate::write::delta::LiveFile,
    batches: &[RecordBatch],
) {
    let name = format!("liveness_detail/{}", file.path);
    let mut previous: Option<(i64, String)> = None;
    for batch in batches {
        let column = |name: &str| batch.column(schema::LIVENESS_DETAIL.position(name));
        let seq = column("seq").as_string::<i32>();
        let req_time = column("req_time").as_primitive::<TimestampMillisecondType>();
        let settlement = column("settlement_date").as_primitive::<Date32Type>();
        let flag = column("is_need_charge").as_boolean();
        let errcode = column("errcode").as_primitive::<Int32Type>();
        let last = column("snapshot_final").as_boolean();
        let words = |name: &str| {
            let dictionary = column(name).as_dictionary::<Int32Type>();
            (dictionary.keys().clone(), dictionary.values().as_string::<i32>().clone())
        };
        let (account, accounts) = words("account");
        let (tag, tags) = words("billing_tag");
        let (_, keys) = words("source_key");
        day.keys.extend((0..keys.len()).map(|i| keys.value(i).to_owned()));
        for row in 0..batch.num_rows() {
            let at = (req_time.value(row), seq.value(row));
            if UsageDay::of_instant(at.0) != usage_date {
                day.broken.push(format!(
                    "{name}: a row of {} (row with Seq {})",
                    UsageDay::of_instant(at.0),
                    at.1
                ));
            }
            if previous.as_ref().is_some_and(|(time, seq)| (*time, seq.as_str()) >= at) {
                day.broken.push(format!("{name}: not sorted by (req_time, seq) at Seq {}", at.1));
            }
            previous = Some((at.0, at.1.to_owned()));
            day.seqs.push(Id::of(at.1).hash());
            day.rows += 1;
            let account = accounts.value(account.value(row) as usize);
            let tag = tags.value(tag.value(row) as usize);
            let place = (settlement.value(row), account.to_owned(), tag.to_owned());
            let sum = day.charges.entry(place).or_insert_with(|| DailyCharge {
                usage_date,
                settlement_date: UsageDay::from_date32(settlement.value(row)),
                account: account.to_owned(),
                billing_tag: tag.to_owned(),
                attempts: 0,
                charged: 0,
                free: 0,
                unknown: 0,
                charged_failed: 0,
                not_final: 0,
                first_req_time: at.0,
                last_req_time: at.0,
                source_version: 0,
            });
            sum.attempts += 1;
            match flag.is_valid(row).then(|| flag.value(row)) {
                Some(true) => {
                    sum.charged += 1;
                    sum.charged_failed +=
                        i64::from(errcode.is_valid(row) && errcode.value(row) != 0);
                }
                Some(false) => sum.free += 1,
                None => sum.unknown += 1,
            }
            sum.not_final += i64::from(last.is_valid(row) && !last.value(row));
            sum.first_req_time = sum.first_req_time.min(at.0);
            sum.last_req_time = sum.last_req_time.max(at.0);
        }
    }
}

/// A Seq stands once, over all days.
fn unique(table: &OpenTable, days: &BTreeMap<i32, Day>, found: &mut Verified) {
    let mut all: Vec<u64> = days.values().flat_map(|d| d.seqs.iter().copied()).collect();
    all.par_sort_unstable();
    let twice: BTreeSet<u64> = all.windows(2).filter(|w| w[0] == w[1]).map(|w| w[0]).collect();
    if twice.is_empty() {
        return;
    }
    // Two Seqs may share a hash: only the Seqs themselves tell.
    let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for day in days.keys() {
        let name = partition(*day);
        for file in table.files_of(Some(&name)) {
            for batch in table.read(file, Some(&["seq"])).unwrap_or_default() {
                let seqs = batch.column(0).as_string::<i32>();
                for seq in seqs.iter().flatten().filter(|s| twice.contains(&Id::of(s).hash())) {
                    places.entry(seq.to_owned()).or_default().push(file.path.clone());
                }
            }
        }
    }
    for (seq, files) in places.into_iter().filter(|(_, files)| files.len() > 1) {
        found.broken(format!("Seq {seq} stands {} times: in {}", files.len(), files.join(", ")));
    }
}

/// daily_charge against the rows, rows against the load history.
fn agree(tables: &Tables, days: BTreeMap<i32, Day>, found: &mut Verified) -> Result<(), RunError> {
    let key = |c: &DailyCharge| {
        (c.usage_date, c.settlement_date, c.account.clone(), c.billing_tag.clone())
    };
    let mut stored: BTreeMap<_, DailyCharge> = BTreeMap::new();
    for file in tables.daily.files() {
        for batch in tables.daily.read(file, None)? {
            let rows = small::daily_charges(&batch)?;
            let month = |row: &DailyCharge| row.usage_date.month().to_string();
            if rows.iter().any(|row| Some(month(row)) != file.partition) {
                found.broken(format!("daily_charge/{}: rows of another month", file.path));
            }
        }
    }
    for row in read_small(&tables.daily, small::daily_charges)? {
        if row.attempts != row.charged + row.free + row.unknown {
            found.broken(format!(
                "daily_charge {} {}: attempts are not charged + free + unknown",
                row.usage_date, row.billing_tag
            ));
        }
        if stored.insert(key(&row), DailyCharge { source_version: 0, ..row.clone() }).is_some() {
            found.broken(format!(
                "daily_charge {} {}: stands twice",
                row.usage_date, row.billing_tag
            ));
        }
    }
    let mut keys = BTreeSet::new();
    for day in days.into_values() {
        keys.extend(day.keys);
        for row in day.charges.into_values() {
            found.charged += row.charged;
            found.free += row.free;
            found.unknown += row.unknown;
            match stored.remove(&key(&row)) {
                Some(said) if said == row => {}
                Some(said) => found.broken(format!(
                    "daily_charge {} {}: says {} attempts, {} charged, {} free, {} unknown; the rows say {}, {}, {}, {}",
                    row.usage_date,
                    row.billing_tag,
                    said.attempts,
                    said.charged,
                    said.free,
                    said.unknown,
                    row.attempts,
                    row.charged,
                    row.free,
                    row.unknown
                )),
                None => found.broken(format!(
                    "daily_charge {} {}: is missing, the rows say {} attempts",
                    row.usage_date, row.billing_tag, row.attempts
                )),
            }
        }
    }
    for row in stored.into_values() {
        found.broken(format!(
            "daily_charge {} {}: {} attempts of which there are no rows",
            row.usage_date, row.billing_tag, row.attempts
        ));
    }
    let loaded: BTreeSet<String> =
        read_small(&tables.inputs, small::inputs)?.into_iter().map(|i| i.key).collect();
    let unlisted = keys.difference(&loaded).count();
    if unlisted > 0 {
        found.notes.push(format!(
            "{unlisted} objects have rows but no line in inputs: a run was cut off; the next one completes it"
        ));
    }
    Ok(())
}
