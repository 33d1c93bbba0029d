//! One row a Seq.
//!
//! Takes the rows just read and those of the table that they may meet; gives, for every day that
//! changes, which rows make it, in order, and what each new row was: new, duplicate or changed.
//! The outcome depends on the rows alone, not on the order in which they come or on threads.

use super::WriteError;
use super::column::{Column, IdColumn};
use super::dictionary::Coded;
use super::ids::{Id, Ids};
use super::parquet::{Columns, ROW_GROUP_ROWS_MAX};
use super::rows::{Class, Flags, Keys, Pull, Pulls, Row, Rows, Said};
use super::schema::LIVENESS_DETAIL;
use super::spill::{Gathered, Held, Merging, Spilled};
use arrow::array::{BooleanArray, Int64Array, TimestampMillisecondArray};
use arrow::error::ArrowError;
use rayon::prelude::*;
use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// A row: which batch, and where in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RowRef {
    pub batch: u32,
    pub row: u32,
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

/// What became of the rows of an object that were not new.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fates {
    pub duplicate: i64,
    pub changed: i64,
}

/// The outcome of a merge.
pub struct Merged {
    /// Rows of each day that changes; a day without rows is to be emptied.
    pub days: BTreeMap<i32, u64>,
    /// By the place of the object among those read.
    pub fates: HashMap<u32, Fates>,
    /// By Seq, up to [`CHANGES_MAX`].
    pub changes: Vec<Change>,
    /// Days whose stored rows gave way as a whole.
    pub replaced: BTreeSet<i32>,
    source: Source,
}

enum Source {
    Memory { rows: Vec<Rows>, days: BTreeMap<i32, Vec<RowRef>> },
    Spilled(Spilled),
}

/// The rows of one day, sorted by (req_time, seq).
pub enum DayRows<'m> {
    Memory { rows: &'m [Rows], order: &'m [RowRef] },
    Spilled(Merging<'m>),
}

impl Merged {
    pub fn day(&self, day: i32) -> Result<DayRows<'_>, WriteError> {
        Ok(match &self.source {
            Source::Memory { rows, days } => {
                DayRows::Memory { rows, order: days.get(&day).map_or(&[], Vec::as_slice) }
            }
            Source::Spilled(spilled) => DayRows::Spilled(spilled.day(day)?),
        })
    }

    /// Lets go of the rows, once they are in files.
    pub fn let_go(&mut self) {
        self.source = Source::Memory { rows: Vec::new(), days: BTreeMap::new() };
    }

    /// Whether the rows are on disk: then days are better gone through one after the other.
    pub fn is_spilled(&self) -> bool {
        matches!(self.source, Source::Spilled(_))
    }
}

impl DayRows<'_> {
    /// The rows of the next row group, of which there are to be `rows_max` at most; None at the end.
    pub fn next_group(&mut self, rows_max: usize) -> Result<Option<GatheredGroup<'_>>, WriteError> {
        let mut room = Room::for_rows(rows_max.min(ROW_GROUP_ROWS_MAX));
        match self {
            DayRows::Memory { order: [], .. } => Ok(None),
            DayRows::Memory { rows, order } => {
                let earlier =
                    |row: &&RowRef| rows[row.batch as usize].earlier(row.row as usize).len();
                let n = order.iter().take_while(|row| room.take(|| earlier(row))).count();
                let (group, rest) = order.split_at(n);
                *order = rest;
                Ok(Some(GatheredGroup::of(rows, group)))
            }
            DayRows::Spilled(merging) => merging.next_group(room),
        }
    }
}

/// Earlier pulls of a row that a row group has room for, if all rows have so many.
const PULLS_OF_ROW: usize = 4;

/// What a row group has room for yet. The same rows fill it whether they are held or on disk: their files have the same
/// bytes.
pub struct Room {
    rows: usize,
    pulls: usize,
}

impl Room {
    /// For so many rows; for fewer where they have many earlier pulls.
    pub fn for_rows(rows: usize) -> Room {
        Room { rows, pulls: PULLS_OF_ROW * rows }
    }

    /// Takes a row of so many earlier pulls, if there is room for one. A group that is begun takes the row that fills it.
    pub fn take(&mut self, earlier_pulls: impl FnOnce() -> usize) -> bool {
        if self.rows == 0 || self.pulls == 0 {
            return false;
        }
        self.rows -= 1;
        self.pulls = self.pulls.saturating_sub(earlier_pulls());
        true
    }
}

/// Which of two snapshots of a Seq counts: the later fetched, then the greater key, record and index.
fn rank((a, i): (&Rows, usize), (b, j): (&Rows, usize)) -> Ordering {
    let (one, other) = (&a.each[i], &b.each[j]);
    one.rank_time
        .cmp(&other.rank_time)
        .then_with(|| a.key(i).cmp(b.key(j)))
        .then_with(|| one.source_record.cmp(&other.source_record))
        .then_with(|| one.detail_index.cmp(&other.detail_index))
}

fn facts((rows, row): (&Rows, usize)) -> Facts {
    Facts {
        is_need_charge: rows.each[row].flags.is_need_charge(),
        errcode: rows.said(row).errcode,
        req_time: rows.each[row].req_time,
    }
}

/// Shards of the seq space: each is merged by one thread on its own.
const SHARDS: usize = 64;

/// The Seqs of rows, for asking whether another may be one of them.
#[derive(Default)]
pub struct SeqSet {
    /// Their hashes, in order.
    hashes: Vec<u64>,
    /// A bit for each, by the low bits of its hash: of a Seq that is none of few, mostly this is all that is asked.
    bits: Vec<u64>,
}

/// Bits of a [`SeqSet`] for each Seq: of others, one in so many is asked for twice.
const BITS_EACH: usize = 16;

impl SeqSet {
    pub fn hashes(rows: &[Rows]) -> Vec<u64> {
        rows.iter().flat_map(|rows| (0..rows.len()).map(|row| rows.seq(row).hash())).collect()
    }

    pub fn from_hashes(mut hashes: Vec<u64>) -> SeqSet {
        hashes.par_sort_unstable();
        hashes.dedup();
        let words = (hashes.len() * BITS_EACH).div_ceil(u64::BITS as usize).next_power_of_two();
        let mut bits = vec![0; words];
        for hash in &hashes {
            let (word, bit) = bit_of(*hash, words);
            bits[word] |= bit;
        }
        SeqSet { hashes, bits }
    }

    /// Whether a Seq may be among them: false is certain.
    pub fn may_hold(&self, seq: &str) -> bool {
        self.may_hold_hash(Id::of(seq).hash())
    }

    fn may_hold_hash(&self, hash: u64) -> bool {
        let (word, bit) = bit_of(hash, self.bits.len());
        self.bits.get(word).is_some_and(|word| word & bit != 0)
            && self.hashes.binary_search(&hash).is_ok()
    }
}

/// Which word of `words`, a power of two, and which bit of it.
fn bit_of(hash: u64, words: usize) -> (usize, u64) {
    let place = (hash >> u64::BITS.ilog2()) as usize & words.saturating_sub(1);
    (place, 1 << (hash % u64::from(u64::BITS)))
}

/// Merges. `shifts` are, by piece, the records of its object that lie before it; `replaced` are days that this run
/// makes anew: of their stored rows none counts, but those that are among the rows tell of earlier pulls.
pub fn merge(held: Held, shifts: Vec<i64>, replaced: &BTreeSet<i32>) -> Result<Merged, WriteError> {
    let (part, source) = match held.finish()? {
        Gathered::Memory(rows) => merge_held(rows, &shifts, replaced),
        Gathered::Spilled(runs) => {
            let (spilled, part) = Spilled::new(runs, shifts, replaced)?;
            (part, Source::Spilled(spilled))
        }
    };
    let Part { fates, mut changes, mut changed_days, rows } = part;
    changed_days.extend(replaced);
    keep_first(&mut changes);
    let days = changed_days.iter().map(|day| (*day, rows.get(day).copied().unwrap_or(0))).collect();
    Ok(Merged { days, fates, changes, replaced: replaced.clone(), source })
}

/// A row of a Seq that has others, with what is asked of every row: to go and look for it where the row stands is to
/// wait for memory, again and again.
#[derive(Clone, Copy)]
struct Hashed {
    hash: u64,
    row: RowRef,
    req_time: i64,
    day: i32,
    stored: bool,
}

/// What is all in memory.
fn merge_held(mut rows: Vec<Rows>, shifts: &[i64], replaced: &BTreeSet<i32>) -> (Part, Source) {
    for rows in &mut rows {
        let piece = rows.keys.first().map_or(u32::MAX, |key| key.piece);
        rows.shift_records(shifts.get(piece as usize).copied().unwrap_or(0));
    }
    // Most Seqs have one row: it counts, and nothing else is to be found out of it.
    let repeated = repeated(&rows);
    let (ones, of_batches): (Vec<Ones>, Vec<Vec<Hashed>>) =
        rows.par_iter().enumerate().map(|(batch, rows)| ones(batch, rows, &repeated)).unzip();
    let mut several = of_batches.concat();
    drop((of_batches, repeated));
    several.par_sort_unstable_by_key(|h| (h.hash, h.row));
    let settled: Vec<(Part, Winners)> = several
        .par_chunk_by_mut(|a, b| part_of(a.hash, SHARDS) == part_of(b.hash, SHARDS))
        .map(|shard| settle_shard(shard, &rows, replaced))
        .collect();
    drop(several);
    let mut days: BTreeMap<i32, Vec<Vec<Timed>>> = BTreeMap::new();
    let mut all = Part::default();
    for (ones, of_batch) in ones.into_iter().zip(&rows) {
        for (day, timed) in ones {
            if of_batch.stored && replaced.contains(&day) {
                continue;
            }
            all.count(day, timed.len() as u64, !of_batch.stored);
            days.entry(day).or_default().push(timed);
        }
    }
    for (part, winners) in settled {
        for (day, timed) in winners.days {
            days.entry(day).or_default().push(timed);
        }
        for (row, earlier) in winners.earlier {
            rows[row.batch as usize].set_earlier(row.row as usize, earlier);
        }
        all = all.merge(part);
    }
    days.retain(|day, _| all.changed_days.contains(day) || replaced.contains(day));
    let days = days.into_par_iter().map(|(day, timed)| (day, sorted(timed, &rows))).collect();
    (all, Source::Memory { rows, days })
}

/// In which of `parts`, a power of two, a Seq is: by the high bits of its hash, so that those of a part stand together
/// among sorted ones.
pub fn part_of(hash: u64, parts: usize) -> usize {
    (hash >> (u64::BITS - parts.ilog2())) as usize
}

/// The Seqs that more than one row has, and, by a chance of one in billions, others.
fn repeated(rows: &[Rows]) -> SeqSet {
    // By batch and shard.
    let hashed: Vec<Vec<Vec<u64>>> = rows
        .par_iter()
        .map(|rows| {
            // A shard more than half as large again as the others is rare.
            let room = rows.len() / SHARDS * 3 / 2 + 8;
            let mut shards: Vec<_> = (0..SHARDS).map(|_| Vec::with_capacity(room)).collect();
            for row in 0..rows.len() {
                let hash = rows.seq(row).hash();
                shards[part_of(hash, SHARDS)].push(hash);
            }
            shards
        })
        .collect();
    let repeated = (0..SHARDS).into_par_iter().flat_map_iter(|shard| {
        let of_batches: Vec<&[u64]> = hashed.iter().map(|shards| &*shards[shard]).collect();
        let mut hashes = of_batches.concat();
        hashes.sort_unstable();
        let of_several = |same: &[u64]| (same.len() > 1).then(|| same[0]);
        hashes.chunk_by(|a, b| a == b).filter_map(of_several).collect::<Vec<_>>()
    });
    SeqSet::from_hashes(repeated.collect())
}

/// Rows of Seqs that have no other, by day.
type Ones = Vec<(i32, Vec<Timed>)>;

/// The rows of a batch: those of Seqs that have no other, and the rest.
fn ones(batch: usize, rows: &Rows, repeated: &SeqSet) -> (Ones, Vec<Hashed>) {
    let mut days: Vec<i32> = rows.classes.iter().map(|class| class.usage_date).collect();
    days.sort_unstable();
    days.dedup();
    // By class, which of the days.
    let place = |class: &Class| days.partition_point(|day| *day < class.usage_date);
    let places: Vec<usize> = rows.classes.iter().map(place).collect();
    let room = rows.len() / days.len().max(1) + 8;
    let mut ones: Ones = days.iter().map(|day| (*day, Vec::with_capacity(room))).collect();
    let mut several = Vec::new();
    for (at, Row { req_time, class, .. }) in rows.each.iter().enumerate() {
        let hash = rows.seq(at).hash();
        let (day, timed) = &mut ones[places[*class as usize]];
        let row = RowRef { batch: batch as u32, row: at as u32 };
        if repeated.may_hold_hash(hash) {
            let (req_time, day, stored) = (*req_time, *day, rows.stored);
            several.push(Hashed { hash, row, req_time, day, stored });
        } else {
            timed.push(Timed::new(*req_time, row));
        }
    }
    ones.retain(|(_, timed)| !timed.is_empty());
    (ones, several)
}

/// A row with its time, in the order of times: one number, which sorts faster than two.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timed(u128);

impl Timed {
    pub fn new(req_time: i64, row: RowRef) -> Timed {
        // Without its sign, a number of two's complement sorts as the number does.
        let time = req_time as u64 ^ 1 << 63;
        Timed(u128::from(time) << 64 | u128::from(row.batch) << 32 | u128::from(row.row))
    }

    pub fn row(self) -> RowRef {
        RowRef { batch: (self.0 >> 32) as u32, row: self.0 as u32 }
    }

    pub fn req_time(self) -> i64 {
        ((self.0 >> 64) as u64 ^ 1 << 63) as i64
    }
}

/// Puts rows that are in the order of their times in that of their Seqs where several have one time, as few do.
pub fn sort_same_times(timed: &mut [Timed], rows: &[Rows]) {
    let seq = |timed: &Timed| rows[timed.row().batch as usize].seq(timed.row().row as usize);
    for same in timed.chunk_by_mut(|a, b| a.0 >> 64 == b.0 >> 64).filter(|same| same.len() > 1) {
        same.sort_unstable_by(|a, b| seq(a).cmp(&seq(b)));
    }
}

/// Rows by time, then Seq.
fn sorted(of_batches: Vec<Vec<Timed>>, rows: &[Rows]) -> Vec<RowRef> {
    let mut timed = of_batches.concat();
    drop(of_batches);
    timed.par_sort_unstable();
    sort_same_times(&mut timed, rows);
    // Not in the place of those, which is twice as large.
    let mut order = Vec::with_capacity(timed.len());
    order.extend(timed.into_iter().map(Timed::row));
    order
}

/// What was found of a part of the Seqs.
#[derive(Default)]
pub struct Part {
    pub fates: HashMap<u32, Fates>,
    pub changes: Vec<Change>,
    pub changed_days: BTreeSet<i32>,
    /// Rows that count, by day.
    pub rows: BTreeMap<i32, u64>,
}

/// Changes that are kept, the first by Seq: a backfill of a year may have millions.
pub const CHANGES_MAX: usize = 10_000;

fn keep_first(changes: &mut Vec<Change>) {
    changes.sort_by(|a, b| a.seq.cmp(&b.seq).then(a.after.req_time.cmp(&b.after.req_time)));
    changes.truncate(CHANGES_MAX);
}

impl Part {
    fn change(&mut self, change: Change) {
        self.changes.push(change);
        if self.changes.len() >= 2 * CHANGES_MAX {
            keep_first(&mut self.changes);
        }
    }

    /// Puts together what was found of two parts; no Seq is in both.
    pub fn merge(mut self, other: Part) -> Part {
        for (object, counts) in other.fates {
            let sum = self.fates.entry(object).or_default();
            sum.duplicate += counts.duplicate;
            sum.changed += counts.changed;
        }
        other.changes.into_iter().for_each(|change| self.change(change));
        self.changed_days.extend(other.changed_days);
        for (day, rows) in other.rows {
            *self.rows.entry(day).or_default() += rows;
        }
        self
    }

    /// Rows that count.
    fn count(&mut self, day: i32, rows: u64, are_new: bool) {
        *self.rows.entry(day).or_default() += rows;
        if are_new {
            self.changed_days.insert(day);
        }
    }
}

/// The rows of a shard that count.
#[derive(Default)]
struct Winners {
    /// With their times, by which days are sorted.
    days: BTreeMap<i32, Vec<Timed>>,
    /// Of those of which an earlier pull has become known, all of these.
    earlier: Vec<(RowRef, Box<[Pull]>)>,
}

/// Rows of Seqs that have several, by hash.
fn settle_shard(shard: &mut [Hashed], rows: &[Rows], replaced: &BTreeSet<i32>) -> (Part, Winners) {
    let at = |h: &Hashed| (&rows[h.row.batch as usize], h.row.row as usize);
    let seq = |h: &Hashed| rows[h.row.batch as usize].seq(h.row.row as usize);
    let snapshot = |h: &Hashed| {
        let (rows, row) = at(h);
        let Row { source_key, flags, rank_time, .. } = rows.each[row];
        let object = rows.keys[source_key as usize].object;
        Snapshot {
            stored: h.stored,
            day: h.day,
            facts: facts((rows, row)),
            own: Pull::of(flags, rank_time, rows.said(row).errcode),
            earlier: rows.earlier(row),
            object,
            seq: rows.seq(row),
        }
    };
    let (mut part, mut winners) = (Part::default(), Winners::default());
    for same_hash in shard.chunk_by_mut(|a, b| a.hash == b.hash) {
        if same_hash.len() > 1 {
            same_hash.sort_unstable_by(|a, b| {
                // The same place read again: what was just read counts.
                seq(a)
                    .cmp(&seq(b))
                    .then_with(|| rank(at(a), at(b)))
                    .then_with(|| b.stored.cmp(&a.stored))
            });
        }
        for snapshots in same_hash.chunk_by(|a, b| seq(a) == seq(b)) {
            let brief = |h: &Hashed| (h.stored, h.day);
            let won = settle_one(&mut part, snapshots, replaced, &brief, &snapshot);
            if let Some((won, winner)) = won.zip(snapshots.last()) {
                let timed = Timed::new(winner.req_time, winner.row);
                winners.days.entry(won.day).or_default().push(timed);
                winners.earlier.extend(won.earlier.map(|earlier| (winner.row, earlier)));
            }
        }
    }
    (part, winners)
}

/// One row of a Seq.
pub struct Snapshot<'i> {
    /// It stood in the table before.
    pub stored: bool,
    pub day: i32,
    pub facts: Facts,
    /// Its own pull, and others of its Seq that it knows of.
    pub own: Option<Pull>,
    pub earlier: &'i [Pull],
    /// The place of its object among those read.
    pub object: u32,
    pub seq: Id<'i>,
}

/// The last snapshot of a Seq, which counts.
pub struct Won {
    pub day: i32,
    /// All earlier pulls, where it knows of fewer.
    pub earlier: Option<Box<[Pull]>>,
}

/// One Seq: its snapshots in rank order, of which the last counts. Of most there is one, and whether it was stored and
/// its day is all that is asked of it (`brief`). Stored rows of days in `replaced` come first and count for nothing: they
/// tell of earlier pulls; None where there is nothing else.
pub fn settle_one<'i, S>(
    part: &mut Part,
    snapshots: &[S],
    replaced: &BTreeSet<i32>,
    brief: &impl Fn(&S) -> (bool, i32),
    snapshot: &impl Fn(&S) -> Snapshot<'i>,
) -> Option<Won> {
    let gives_way = |stored: bool, day: i32| stored && replaced.contains(&day);
    let (stored, day) = snapshots.last().map(brief)?;
    if gives_way(stored, day) {
        return None;
    }
    part.count(day, 1, !stored);
    if snapshots.len() == 1 {
        return Some(Won { day, earlier: None });
    }
    let winner_is_stored = stored;
    let snapshots: Vec<Snapshot<'_>> = snapshots.iter().map(snapshot).collect();
    let known = snapshots.iter().flat_map(|s| s.own.iter().chain(s.earlier)).copied().collect();
    let snapshots = &snapshots[snapshots.partition_point(|s| gives_way(s.stored, s.day))..];
    let stored = snapshots.iter().find(|s| s.stored);
    // A day whose rows turn out the same is made again to the same bytes, and nothing is committed.
    if !winner_is_stored {
        part.changed_days.extend(stored.map(|s| s.day));
    }
    for (i, snapshot) in snapshots.iter().enumerate() {
        if snapshot.stored || (i == 0 && stored.is_none()) {
            continue;
        }
        let before = i.checked_sub(1).map(|i| &snapshots[i]);
        let changed = before.filter(|before| before.facts != snapshot.facts);
        let counts = part.fates.entry(snapshot.object).or_default();
        match changed {
            Some(before) => {
                counts.changed += 1;
                part.change(Change {
                    seq: snapshot.seq.to_string(),
                    before: before.facts,
                    after: snapshot.facts,
                });
            }
            None => counts.duplicate += 1,
        }
    }
    let winner = snapshots.last()?;
    let mut earlier = Pull::each_once(known);
    earlier.retain(|pull| Some(*pull) != winner.own);
    let is_news = earlier != winner.earlier;
    if is_news {
        part.changed_days.insert(winner.day);
    }
    Some(Won { day, earlier: is_news.then(|| earlier.into()) })
}

/// A row group in the making: what its rows hold once for many, and of each row which of those.
pub struct GatheredGroup<'r> {
    rows: &'r [Rows],
    order: &'r [RowRef],
    each: Vec<Row>,
    classes: Few<&'r Class>,
    saids: Few<&'r Said>,
    keys: Few<&'r str>,
}

/// Values of several batches, and the place of each row's among them.
struct Few<V> {
    values: Vec<V>,
    places: Vec<u32>,
}

impl<V: Copy> Few<V> {
    /// `placed` tells of each row its batch and the place of its value there. `table_of` gives the values of a batch,
    /// which may be those of others, too: `value_of` one of them, of `count`.
    fn of<'r, T: ?Sized + 'r>(
        rows: &'r [Rows],
        placed: impl ExactSizeIterator<Item = (u32, u32)>,
        table_of: impl Fn(&'r Rows) -> &'r Arc<T>,
        count: impl Fn(&'r T) -> usize,
        value_of: impl Fn(&'r T, usize) -> V,
    ) -> Few<V> {
        // Of each table that is met, which of its values stand where here; and the table of each batch.
        let mut known: Vec<Vec<u32>> = Vec::new();
        let mut tables: HashMap<*const (), usize> = HashMap::new();
        let mut table: Vec<usize> = vec![usize::MAX; rows.len()];
        let mut values = Vec::new();
        let places = placed
            .map(|(batch, place)| {
                let (rows, table) = (&rows[batch as usize], &mut table[batch as usize]);
                if *table == usize::MAX {
                    let held = table_of(rows);
                    *table = *tables.entry(Arc::as_ptr(held).cast()).or_insert_with(|| {
                        known.push(vec![u32::MAX; count(held)]);
                        known.len() - 1
                    });
                }
                let known = &mut known[*table];
                let place = place as usize;
                if known[place] == u32::MAX {
                    known[place] = values.len() as u32;
                    values.push(value_of(table_of(rows), place));
                }
                known[place]
            })
            .collect();
        Few { values, places }
    }

    /// A column of what each value has.
    fn coded<N: Clone>(&self, of: impl Fn(V) -> Option<N>) -> Coded<'_, N> {
        Coded {
            values: self.values.iter().map(|value| of(*value)).collect(),
            places: Cow::Borrowed(&self.places),
        }
    }
}

impl Columns for GatheredGroup<'_> {
    fn rows(&self) -> usize {
        self.order.len()
    }

    fn column(&self, place: usize) -> Result<Column<'_>, WriteError> {
        self.named(LIVENESS_DETAIL.file_schema.field(place).name())
    }
}

impl<'r> GatheredGroup<'r> {
    pub fn of(rows: &'r [Rows], order: &'r [RowRef]) -> GatheredGroup<'r> {
        let each: Vec<Row> =
            order.iter().map(|r| rows[r.batch as usize].each[r.row as usize]).collect();
        let placed =
            |place: fn(&Row) -> u32| order.iter().map(|r| r.batch).zip(each.iter().map(place));
        let classes = || {
            let of = placed(|row| row.class);
            Few::of(rows, of, |rows| &rows.classes, <[Class]>::len, |classes, at| &classes[at])
        };
        let saids = || {
            let of = placed(|row| row.said);
            Few::of(rows, of, |rows| &rows.saids, <[Said]>::len, |saids, at| &saids[at])
        };
        let keys = || {
            let of = placed(|row| row.source_key);
            Few::of(rows, of, |rows| &rows.keys, |keys| keys.len(), Keys::text)
        };
        // Side by side, where the threads are those of the run.
        let (classes, (saids, keys)) = match rayon::current_thread_index() {
            Some(_) => rayon::join(classes, || rayon::join(saids, keys)),
            None => (classes(), (saids(), keys())),
        };
        GatheredGroup { rows, order, each, classes, saids, keys }
    }

    /// What is held of each row in one piece; its places are those of its batch.
    pub fn each(&self) -> &[Row] {
        &self.each
    }

    /// The batch of each row, and its place there.
    pub fn places(&self) -> impl ExactSizeIterator<Item = (&'r Rows, usize)> {
        self.order.iter().map(|r| (&self.rows[r.batch as usize], r.row as usize))
    }

    fn ids(&self, ids: fn(&Rows) -> &Ids) -> Column<'_> {
        if self.rows.iter().all(|rows| ids(rows).is_null()) {
            return Column::Nulls(self.order.len());
        }
        let id = move |r: &RowRef| ids(&self.rows[r.batch as usize]).get(r.row as usize);
        Column::Ids(IdColumn {
            rows: self.order.len(),
            of: Box::new(move |rows, out| out.extend(self.order[rows].iter().map(id))),
        })
    }

    fn flags(&self, flag: fn(Flags) -> Option<bool>) -> Column<'_> {
        let flags = self.each.iter().map(|row| flag(row.flags));
        Column::Array(Arc::new(BooleanArray::from_iter(flags)))
    }

    /// One column of the file schema, by its name.
    fn named(&self, name: &str) -> Result<Column<'_>, WriteError> {
        let GatheredGroup { classes, saids, .. } = self;
        let few = |number: fn(&Row) -> Option<i32>| {
            Column::Numbers(Coded::of_numbers(self.each.iter().map(number)))
        };
        Ok(match name {
            "settlement_date" => {
                Column::Numbers(classes.coded(|class| Some(class.settlement_date)))
            }
            "account" => Column::Texts(classes.coded(|class| Some(&*class.account))),
            "billing_tag" => Column::Texts(classes.coded(|class| Some(&*class.billing_tag))),
            "billing_tag_code" => {
                Column::Texts(classes.coded(|class| Some(&*class.billing_tag_code)))
            }
            "product" => Column::Texts(classes.coded(|class| class.product.as_deref())),
            "channel" => Column::Texts(classes.coded(|class| class.channel.as_deref())),
            "compare_source" => {
                Column::Texts(classes.coded(|class| class.compare_source.as_deref()))
            }
            "rule_id" => {
                let Coded { values, places } =
                    classes.coded(|class| class.rule_id.as_deref().map(Id::of));
                match values.iter().all(Option::is_none) {
                    true => Column::Nulls(places.len()),
                    false => Column::Ids(IdColumn {
                        rows: places.len(),
                        of: Box::new(move |rows, out| {
                            out.extend(places[rows].iter().map(|place| values[*place as usize]));
                        }),
                    }),
                }
            }
            "compare_lib_type" => {
                Column::Texts(saids.coded(|said| said.compare_lib_type.as_deref()))
            }
            "errmsg" => Column::Texts(saids.coded(|said| said.errmsg.as_deref())),
            "livemsg" => Column::Texts(saids.coded(|said| said.livemsg.as_deref())),
            "comparemsg" => Column::Texts(saids.coded(|said| said.comparemsg.as_deref())),
            "errcode" => Column::Numbers(saids.coded(|said| said.errcode)),
            "livestatus" => Column::Numbers(saids.coded(|said| said.livestatus)),
            "comparestatus" => Column::Numbers(saids.coded(|said| said.comparestatus)),
            "liveness_mode" => {
                Column::Numbers(saids.coded(|said| said.liveness_mode.map(i32::from)))
            }
            "source_key" => Column::Texts(self.keys.coded(Some)),
            "req_time" => {
                let times = self.each.iter().map(|row| row.req_time);
                let times = TimestampMillisecondArray::from_iter_values(times);
                Column::Array(Arc::new(times.with_timezone("UTC")))
            }
            "fetched_at" if !self.each.iter().any(|row| row.flags.fetched()) => {
                Column::Nulls(self.order.len())
            }
            "fetched_at" => {
                let times = self.each.iter().map(|r| r.flags.fetched().then_some(r.rank_time));
                let times = TimestampMillisecondArray::from_iter(times).with_timezone("UTC");
                Column::Array(Arc::new(times))
            }
            "earlier_pulls" => {
                let earlier = self.places().map(|(rows, row)| rows.earlier(row));
                Column::Array(Pulls::column(earlier)?)
            }
            "sim" => few(Row::sim),
            "is_need_charge" => self.flags(Flags::is_need_charge),
            "snapshot_final" => self.flags(Flags::snapshot_final),
            "detail_index" => few(|row| Some(row.detail_index)),
            "detail_count" => few(|row| Some(row.detail_count)),
            "source_record" => {
                let numbers = self.each.iter().map(|row| row.source_record.into());
                Column::Array(Arc::new(Int64Array::from_iter_values(numbers)))
            }
            "seq" => self.ids(|rows| &rows.seq),
            "request_id" => self.ids(|rows| &rows.request_id),
            "biz_token" => self.ids(|rows| &rows.biz_token),
            "idcard_hmac" => self.ids(|rows| &rows.idcard_hmac),
            "name_hmac" => self.ids(|rows| &rows.name_hmac),
            other => {
                return Err(WriteError::Arrow(ArrowError::SchemaError(format!(
                    "no rows hold a column {other}"
                ))));
            }
        })
    }
}
