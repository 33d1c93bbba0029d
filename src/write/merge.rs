//! One row a Seq.
//!
//! Takes the rows just read and those of the table that they may meet; gives, for every day that
//! changes, which rows make it, in order, and what each new row was: new, duplicate or changed.
//! The outcome depends on the rows alone, not on the order in which they come or on threads.

use super::WriteError;
use super::parquet::{ROW_GROUP_ROWS_MAX, RowGroups};
use super::rows::Rows;
use super::schema::LIVENESS_DETAIL;
use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, DictionaryArray, Int32Array, Int64Array, RecordBatch,
    StringArray, TimestampMillisecondArray,
};
use arrow::datatypes::{Int32Type, Int64Type, TimestampMillisecondType};
use rayon::prelude::*;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

/// A row: which batch, and where in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RowRef {
    pub batch: u32,
    pub row: u32,
}

/// What became of a row that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    New,
    Duplicate,
    Changed,
}

/// A Seq of which a later snapshot says otherwise: what it said, and what it says.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Change {
    pub seq: String,
    pub before: Facts,
    pub after: Facts,
}

/// The three facts in which snapshots of one Seq may differ so that it counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Facts {
    pub is_need_charge: Option<bool>,
    pub errcode: Option<i32>,
    /// Milliseconds since the epoch.
    pub req_time: i64,
}

/// The outcome of a merge.
pub struct Merged {
    /// Rows of each day that changes, sorted by (req_time, seq); a day without rows is to be emptied.
    pub days: BTreeMap<i32, Vec<RowRef>>,
    /// Rows of the fates other than [`Fate::New`].
    pub fates: Vec<(RowRef, Fate)>,
    /// By Seq.
    pub changes: Vec<Change>,
    /// Days whose stored rows gave way as a whole.
    pub replaced: BTreeSet<i32>,
}

/// Columns that merging looks at.
struct Keys<'r> {
    usage_date: &'r [i32],
    rank_time: &'r [i64],
    seq: &'r StringArray,
    req_time: &'r TimestampMillisecondArray,
    is_need_charge: &'r BooleanArray,
    errcode: &'r Int32Array,
    detail_index: &'r Int32Array,
    source_key: &'r DictionaryArray<Int32Type>,
    source_keys: &'r StringArray,
    source_record: &'r Int64Array,
}

impl<'r> Keys<'r> {
    fn of(rows: &'r Rows) -> Keys<'r> {
        let column = |name| rows.batch.column(LIVENESS_DETAIL.position(name));
        let source_key = column("source_key").as_dictionary::<Int32Type>();
        Keys {
            usage_date: &rows.usage_date,
            rank_time: &rows.rank_time,
            seq: column("seq").as_string(),
            req_time: column("req_time").as_primitive::<TimestampMillisecondType>(),
            is_need_charge: column("is_need_charge").as_boolean(),
            errcode: column("errcode").as_primitive(),
            detail_index: column("detail_index").as_primitive(),
            source_key,
            source_keys: source_key.values().as_string(),
            source_record: column("source_record").as_primitive::<Int64Type>(),
        }
    }

    fn key(&self, row: usize) -> &'r str {
        self.source_keys.value(self.source_key.keys().value(row) as usize)
    }

    fn facts(&self, row: usize) -> Facts {
        let nullable = |array: &dyn Array| array.is_valid(row);
        Facts {
            is_need_charge: nullable(self.is_need_charge).then(|| self.is_need_charge.value(row)),
            errcode: nullable(self.errcode).then(|| self.errcode.value(row)),
            req_time: self.req_time.value(row),
        }
    }
}

/// Which of two snapshots of a Seq counts: the later fetched, then the greater key, record and index.
fn rank(a: (&Keys<'_>, usize), b: (&Keys<'_>, usize)) -> Ordering {
    let ((a, i), (b, j)) = (a, b);
    a.rank_time[i]
        .cmp(&b.rank_time[j])
        .then_with(|| a.key(i).cmp(b.key(j)))
        .then_with(|| a.source_record.value(i).cmp(&b.source_record.value(j)))
        .then_with(|| a.detail_index.value(i).cmp(&b.detail_index.value(j)))
}

/// Shards of the seq space: each is merged by one thread on its own.
const SHARDS: usize = 64;

/// Hashes without a seed from outside: the outcome does not depend on it, but a run that can be repeated
/// exactly is easier to mend.
pub fn seq_hash(seq: &str) -> u64 {
    BuildHasherDefault::<DefaultHasher>::default().hash_one(seq)
}

/// The Seqs of rows, for asking whether a stored day holds one of them.
pub struct SeqSet(Vec<u64>);

impl SeqSet {
    pub fn of(rows: &[Rows]) -> SeqSet {
        let mut hashes: Vec<u64> = rows
            .par_iter()
            .flat_map_iter(|rows| {
                let seq = Keys::of(rows).seq;
                (0..seq.len()).map(move |row| seq_hash(seq.value(row)))
            })
            .collect();
        hashes.par_sort_unstable();
        hashes.dedup();
        SeqSet(hashes)
    }

    /// Whether a Seq may be among them: false is certain.
    pub fn may_hold(&self, seq: &str) -> bool {
        self.0.binary_search(&seq_hash(seq)).is_ok()
    }
}

/// Merges. `rows[..read]` were read by this run, the rest stand in the table; `replaced` are days whose
/// stored rows are not among them because this run makes them anew.
pub fn merge(rows: &[Rows], read: usize, replaced: &BTreeSet<i32>) -> Result<Merged, WriteError> {
    let keys: Vec<Keys<'_>> = rows.iter().map(Keys::of).collect();
    let mut shards: Vec<Vec<(u64, RowRef)>> = vec![Vec::new(); SHARDS];
    let hashed: Vec<Vec<(u64, RowRef)>> = keys
        .par_iter()
        .enumerate()
        .map(|(batch, keys)| {
            (0..keys.seq.len())
                .map(|row| {
                    let row_ref = RowRef { batch: batch as u32, row: row as u32 };
                    (seq_hash(keys.seq.value(row)), row_ref)
                })
                .collect()
        })
        .collect();
    for (hash, row) in hashed.into_iter().flatten() {
        shards[(hash >> 58) as usize].push((hash, row));
    }
    let parts: Vec<Part> =
        shards.into_par_iter().map(|shard| merge_shard(shard, &keys, read)).collect();

    let mut changed_days: BTreeSet<i32> = replaced.clone();
    for part in &parts {
        changed_days.extend(&part.changed_days);
    }
    let mut days: BTreeMap<i32, Vec<RowRef>> =
        changed_days.iter().map(|day| (*day, Vec::new())).collect();
    let mut fates = Vec::new();
    let mut changes = Vec::new();
    for part in parts {
        for row in part.winners {
            let day = keys[row.batch as usize].usage_date[row.row as usize];
            if let Some(day) = days.get_mut(&day) {
                day.push(row);
            }
        }
        fates.extend(part.fates);
        changes.extend(part.changes);
    }
    days.par_iter_mut().for_each(|(_, day)| {
        // The time beside the place: most comparisons need not go and look for it.
        let mut timed: Vec<(i64, RowRef)> = day
            .par_iter()
            .map(|r| (keys[r.batch as usize].req_time.value(r.row as usize), *r))
            .collect();
        let seq = |r: &RowRef| keys[r.batch as usize].seq.value(r.row as usize);
        timed.par_sort_unstable_by(|(t, a), (u, b)| t.cmp(u).then_with(|| seq(a).cmp(seq(b))));
        *day = timed.into_iter().map(|(_, r)| r).collect();
    });
    changes.sort_by(|a: &Change, b: &Change| {
        a.seq.cmp(&b.seq).then(a.after.req_time.cmp(&b.after.req_time))
    });
    Ok(Merged { days, fates, changes, replaced: replaced.clone() })
}

#[derive(Default)]
struct Part {
    winners: Vec<RowRef>,
    fates: Vec<(RowRef, Fate)>,
    changes: Vec<Change>,
    changed_days: BTreeSet<i32>,
}

fn merge_shard(mut shard: Vec<(u64, RowRef)>, keys: &[Keys<'_>], read: usize) -> Part {
    let at = |r: RowRef| (&keys[r.batch as usize], r.row as usize);
    let seq = |r: RowRef| {
        let (keys, row) = at(r);
        keys.seq.value(row)
    };
    shard.sort_unstable();
    let mut part = Part::default();
    for same_hash in shard.chunk_by_mut(|a, b| a.0 == b.0) {
        if let [(_, only)] = same_hash {
            settle_one(&mut part, &[*only], keys, read);
            continue;
        }
        same_hash.sort_unstable_by(|(_, a), (_, b)| {
            // The same place read again: what was just read counts. (Batches read come before stored ones.)
            seq(*a).cmp(seq(*b)).then_with(|| rank(at(*a), at(*b))).then_with(|| b.cmp(a))
        });
        let rows: Vec<RowRef> = same_hash.iter().map(|(_, row)| *row).collect();
        for snapshots in rows.chunk_by(|a, b| seq(*a) == seq(*b)) {
            settle_one(&mut part, snapshots, keys, read);
        }
    }
    part
}

/// One Seq: its snapshots in rank order.
fn settle_one(part: &mut Part, snapshots: &[RowRef], keys: &[Keys<'_>], read: usize) {
    let Some(&winner) = snapshots.last() else { return };
    let is_read = |r: RowRef| (r.batch as usize) < read;
    let day = |r: RowRef| keys[r.batch as usize].usage_date[r.row as usize];
    let facts = |r: RowRef| keys[r.batch as usize].facts(r.row as usize);
    part.winners.push(winner);
    let stored = snapshots.iter().copied().find(|r| !is_read(*r));
    // A day whose rows turn out the same is made again to the same bytes, and nothing is committed.
    if is_read(winner) {
        part.changed_days.insert(day(winner));
        part.changed_days.extend(stored.map(day));
    }
    if snapshots.len() == 1 {
        return;
    }
    for (i, &snapshot) in snapshots.iter().enumerate() {
        if !is_read(snapshot) || (i == 0 && stored.is_none()) {
            continue;
        }
        let before = i.checked_sub(1).map(|i| snapshots[i]);
        let changed = before.filter(|before| facts(*before) != facts(snapshot));
        if let Some(before) = changed {
            part.changes.push(Change {
                seq: keys[snapshot.batch as usize].seq.value(snapshot.row as usize).to_owned(),
                before: facts(before),
                after: facts(snapshot),
            });
        }
        part.fates
            .push((snapshot, if changed.is_some() { Fate::Changed } else { Fate::Duplicate }));
    }
}

/// The rows of a file, gathered in order from wherever they lie.
pub struct Gathered<'r> {
    rows: &'r [Rows],
    order: &'r [RowRef],
}

impl<'r> Gathered<'r> {
    pub fn new(rows: &'r [Rows], order: &'r [RowRef]) -> Gathered<'r> {
        Gathered { rows, order }
    }
}

/// A row group in the making: the batches it takes from (looking at others would cost), and for each
/// row which of those and where in it.
pub struct GatheredGroup<'r> {
    batches: Vec<&'r RecordBatch>,
    places: Vec<(usize, usize)>,
}

impl<'r> RowGroups for Gathered<'r> {
    type Group = GatheredGroup<'r>;

    fn count(&self) -> usize {
        self.order.len().div_ceil(ROW_GROUP_ROWS_MAX)
    }

    fn group(&self, index: usize) -> GatheredGroup<'r> {
        let from = index * ROW_GROUP_ROWS_MAX;
        let order = &self.order[from..self.order.len().min(from + ROW_GROUP_ROWS_MAX)];
        let mut place_of = vec![usize::MAX; self.rows.len()];
        let mut batches = Vec::new();
        let places = order
            .iter()
            .map(|r| {
                let place = &mut place_of[r.batch as usize];
                if *place == usize::MAX {
                    *place = batches.len();
                    batches.push(&self.rows[r.batch as usize].batch);
                }
                (*place, r.row as usize)
            })
            .collect();
        GatheredGroup { batches, places }
    }

    fn column(&self, group: &GatheredGroup<'r>, column: usize) -> Result<ArrayRef, WriteError> {
        let parts: Vec<&dyn Array> =
            group.batches.iter().map(|batch| batch.column(column).as_ref()).collect();
        Ok(arrow::compute::interleave(&parts, &group.places)?)
    }
}
