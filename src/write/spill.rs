//! Rows that are too many to be held, on disk until they are merged.
//!
//! Takes batches of rows; holds them while they are few. Else they are written to files of their own as sorted
//! runs, a block at a time, with a small record of each row by the hash of its Seq. Merging first goes through
//! those records, a part of the Seqs at a time, and marks the rows that give way to others; then the runs of a
//! day are read side by side, in order. The memory that takes does not grow with the rows, but for a bit each.

use super::WriteError;
use super::ids::{Id, Ids, Interned};
use super::merge::{
    Facts, GatheredGroup, Part, Room, RowRef, SeqSet, Snapshot, Timed, part_of, settle_one,
    sort_same_times,
};
use super::rows::{Answer, Class, Flags, KeyOf, Keys, NONE, Pull, Row, Rows, Said};
use crate::model::{Texts, UsageDay};
use rayon::prelude::*;
use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeSet, BinaryHeap, HashMap};
use std::fs::File;
use std::io::{BufRead, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, AtomicU64};
use std::sync::{Arc, Mutex, PoisonError};

/// Rows of a block: what is read at once of each run.
const BLOCK_ROWS: usize = 1024;

/// Parts of the Seqs. Each is gone through by one thread in memory of its own.
const PARTS: usize = 256;

/// Records of a part that are written at once.
const PART_RECORDS: usize = 256;

/// Rows of a load, held or on disk.
pub struct Held {
    bytes_max: usize,
    folder: PathBuf,
    now: Mutex<Now>,
    runs: Mutex<Vec<Run>>,
    next_run: AtomicU32,
}

#[derive(Default)]
struct Now {
    rows: Vec<Rows>,
    bytes: usize,
}

/// Rows in the order of a day's files, on disk.
pub struct Run {
    folder: PathBuf,
    number: u32,
    stored: bool,
    rows: u32,
    blocks: Vec<Block>,
    file: Mutex<File>,
    classes: Arc<[Class]>,
    saids: Arc<[Said]>,
    /// The objects of rows that were read. Those of stored rows are on disk with them: there may be as many as rows.
    keys: Arc<Keys>,
    records: Mutex<File>,
    /// Of each part, where its records stand.
    parts: Vec<Vec<(u64, usize)>>,
}

/// Rows of one day that follow each other in a run.
#[derive(Clone, Copy)]
struct Block {
    day: i32,
    /// Of its first row in the run.
    first: u32,
    from: u64,
    bytes: usize,
}

/// What was held, once all is there.
pub enum Gathered {
    Memory(Vec<Rows>),
    Spilled(Vec<Run>),
}

/// What merging has to know of a row on disk.
struct Record<'p> {
    id: Id<'p>,
    rank_time: i64,
    source_record: i64,
    detail_index: i32,
    key: RecordKey<'p>,
    run: u32,
    row: u32,
    day: i32,
    facts: Facts,
    flags: Flags,
    earlier: &'p [Pull],
}

/// The object a row came from: its place among those of the run, or, of a stored row, its key.
#[derive(Clone, Copy)]
enum RecordKey<'p> {
    Read(u32),
    Stored(&'p str),
}

impl Held {
    /// Holds about `bytes_max`; what is more goes to files in `folder`.
    pub fn new(bytes_max: usize, folder: &Path) -> Held {
        Held {
            bytes_max,
            folder: folder.to_owned(),
            now: Mutex::default(),
            runs: Mutex::default(),
            next_run: AtomicU32::new(0),
        }
    }

    /// Adds rows, and writes what is held to disk if it has become too much: that is done by the thread which
    /// finds it so, while others go on.
    pub fn add(&self, rows: Rows) -> Result<(), WriteError> {
        let full = {
            let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
            now.bytes += rows.bytes();
            now.rows.push(rows);
            match now.bytes > self.bytes_max {
                true => std::mem::take(&mut *now),
                false => return Ok(()),
            }
        };
        self.spill(full.rows)
    }

    /// All rows, in no order.
    pub fn finish(self) -> Result<Gathered, WriteError> {
        let now = std::mem::take(&mut *self.now.lock().unwrap_or_else(PoisonError::into_inner));
        if self.runs.lock().unwrap_or_else(PoisonError::into_inner).is_empty() {
            return Ok(Gathered::Memory(now.rows));
        }
        // Nothing else is to be done meanwhile: a run for each thread that is idle.
        let threads = rayon::current_num_threads().max(1);
        let mut rest: Vec<Vec<Rows>> = vec![Vec::new(); threads];
        now.rows.into_iter().enumerate().for_each(|(n, rows)| rest[n % threads].push(rows));
        rest.into_par_iter().try_for_each(|rows| self.spill(rows))?;
        let mut runs = self.runs.into_inner().unwrap_or_else(PoisonError::into_inner);
        runs.sort_by_key(|run| run.number);
        Ok(Gathered::Spilled(runs))
    }

    /// Whether anything went to disk.
    pub fn has_spilled(&self) -> bool {
        !self.runs.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// The Seqs of all rows so far.
    pub fn seqs(&self) -> Result<SeqSet, WriteError> {
        let mut hashes =
            SeqSet::hashes(&self.now.lock().unwrap_or_else(PoisonError::into_inner).rows);
        let runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        for part in 0..PARTS {
            for (_, records) in records_of(&runs, part)? {
                hashes.extend((0..records.len()).map(|n| records.id(n).hash()));
            }
        }
        Ok(SeqSet::from_hashes(hashes))
    }

    fn failed(&self, error: std::io::Error) -> WriteError {
        WriteError::Spill { folder: self.folder.display().to_string(), source: error }
    }

    fn spill(&self, rows: Vec<Rows>) -> Result<(), WriteError> {
        // What was read and what was stored are kept apart.
        let (stored, read): (Vec<Rows>, Vec<Rows>) = rows.into_iter().partition(|rows| rows.stored);
        for (stored, rows) in [(false, read), (true, stored)] {
            if rows.iter().any(|rows| !rows.is_empty()) {
                let number = self.next_run.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                let run = write_run(&self.folder, number, stored, rows)
                    .map_err(|error| self.failed(error))?;
                self.runs.lock().unwrap_or_else(PoisonError::into_inner).push(run);
            }
        }
        Ok(())
    }
}

/// A file that goes with the process, whatever ends it, where the system lets an open file be removed.
fn temporary(folder: &Path, name: &str) -> std::io::Result<File> {
    let n = FILES.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let path = folder.join(format!("faceledger-{}-{n}-{name}.spill", std::process::id()));
    let file = File::options().read(true).write(true).create_new(true).open(&path)?;
    std::fs::remove_file(&path)?;
    Ok(file)
}

/// Distinguishes the files of one process.
static FILES: AtomicU64 = AtomicU64::new(0);

fn write_run(folder: &Path, number: u32, stored: bool, rows: Vec<Rows>) -> std::io::Result<Run> {
    let (mut file, mut parts_file) = (temporary(folder, "rows")?, temporary(folder, "seqs")?);
    let mut order: Vec<Timed> = Vec::with_capacity(rows.iter().map(Rows::len).sum());
    for (batch, rows) in rows.iter().enumerate() {
        let place = |row| RowRef { batch: batch as u32, row };
        order.extend((0u32..).zip(&rows.each).map(|(at, row)| Timed::new(row.req_time, place(at))));
    }
    // By time, which days follow.
    order.sort_unstable();
    sort_same_times(&mut order, &rows);
    let day_of = |timed: &Timed| UsageDay::of_instant(timed.req_time()).date32();
    let tables = Tables::new(&rows, stored);
    let mut blocks = Vec::new();
    let mut parts: Vec<Vec<(u64, usize)>> = vec![Vec::new(); PARTS];
    let mut waiting: Vec<Records> = (0..PARTS).map(|_| Records::default()).collect();
    let (mut at, mut parts_at, mut first) = (0u64, 0u64, 0u32);
    let mut bytes = Vec::new();
    let mut write_part = |part: usize, waiting: &mut Records| {
        let mut bytes = Vec::with_capacity(PART_RECORDS * 48);
        waiting.write(stored, &mut bytes);
        waiting.clear();
        parts[part].push((parts_at, bytes.len()));
        parts_at += bytes.len() as u64;
        parts_file.write_all(&bytes)
    };
    for of_day in order.chunk_by(|a, b| day_of(a) == day_of(b)) {
        let day = day_of(&of_day[0]);
        for chunk in of_day.chunks(BLOCK_ROWS) {
            bytes.clear();
            let block = tables.block(&rows, chunk);
            block.write(&mut bytes);
            file.write_all(&bytes)?;
            blocks.push(Block { day, first, from: at, bytes: bytes.len() });
            at += bytes.len() as u64;
            for row in 0..block.len() {
                let hash = block.seq(row).hash();
                let part = part_of(hash, PARTS);
                waiting[part].push(&block, &tables, row, (first + row as u32, day));
                if waiting[part].len() == PART_RECORDS {
                    write_part(part, &mut waiting[part])?;
                }
            }
            first += block.len() as u32;
        }
    }
    for (part, waiting) in waiting.iter_mut().enumerate().filter(|(_, held)| held.len() > 0) {
        write_part(part, waiting)?;
    }
    Ok(Run {
        folder: folder.to_owned(),
        number,
        stored,
        rows: first,
        blocks,
        file: Mutex::new(file),
        classes: tables.classes.into_values(),
        saids: tables.saids.into_values(),
        keys: Arc::new(tables.keys),
        records: Mutex::new(parts_file),
        parts,
    })
}

/// What the rows of a run hold once for many, put together from its batches.
struct Tables {
    classes: Interned<Class>,
    saids: Interned<Said>,
    keys: Keys,
    /// By batch: where its classes, and its saids, stand here.
    class_of: Vec<Vec<u32>>,
    said_of: Vec<Vec<u32>>,
    /// By batch: where its keys begin here; none of stored rows.
    key_from: Vec<u32>,
}

impl Tables {
    fn new(rows: &[Rows], stored: bool) -> Tables {
        let mut tables = Tables {
            classes: Interned::default(),
            saids: Interned::default(),
            keys: Keys::default(),
            class_of: Vec::new(),
            said_of: Vec::new(),
            key_from: Vec::new(),
        };
        for rows in rows {
            let classes = rows.classes.iter();
            let places =
                classes.map(|c| tables.classes.place(0, c, |held| held == c, || c.clone()));
            tables.class_of.push(places.collect());
            let saids = rows.saids.iter();
            let places = saids.map(|s| tables.saids.place(0, s, |held| held == s, || s.clone()));
            tables.said_of.push(places.collect());
            if !stored {
                tables.key_from.push(tables.keys.len() as u32);
                tables.keys.extend(&rows.keys);
            }
        }
        tables
    }

    /// Rows of one block; the places in it are those of the run, but for the keys of stored rows.
    fn block(&self, rows: &[Rows], order: &[Timed]) -> Rows {
        // A column at a time: rows lie all over the memory, and what is asked for side by side comes sooner.
        let at = || order.iter().map(|r| r.row()).map(|r| (r.batch as usize, r.row as usize));
        let of = || at().map(|(batch, row)| (&rows[batch], row));
        let placed = at().map(|(batch, row)| {
            let row = rows[batch].each[row];
            Row {
                class: self.class_of[batch][row.class as usize],
                said: self.said_of[batch][row.said as usize],
                ..row
            }
        });
        let mut each: Vec<Row> = placed.collect();
        let keys = match self.key_from.is_empty() {
            true => keys_of(rows, at().map(|(batch, _)| batch), &mut each),
            false => {
                let of_run = at().map(|(batch, _)| self.key_from[batch]);
                each.iter_mut().zip(of_run).for_each(|(row, from)| row.source_key += from);
                Arc::default()
            }
        };
        gathered(of(), each, keys)
    }
}

/// Rows from all over, of which the columns that stand in `each` and the keys are there. They know of no tables.
fn gathered<'r>(
    of: impl ExactSizeIterator<Item = (&'r Rows, usize)> + Clone,
    each: Vec<Row>,
    keys: Arc<Keys>,
) -> Rows {
    let ids = |column: fn(&Rows) -> &Ids| {
        Ids::gathered(of.clone().map(move |(rows, row)| (column(rows), row)))
    };
    Rows {
        each,
        seq: ids(|rows| &rows.seq),
        request_id: ids(|rows| &rows.request_id),
        biz_token: ids(|rows| &rows.biz_token),
        idcard_hmac: ids(|rows| &rows.idcard_hmac),
        name_hmac: ids(|rows| &rows.name_hmac),
        keys,
        earlier: match of.clone().all(|(rows, _)| rows.earlier.is_empty()) {
            true => Vec::new(),
            false => of.map(|(rows, row)| rows.earlier(row).into()).collect(),
        },
        ..Rows::default()
    }
}

/// The keys of stored rows that come from these batches, each once; the place of each row's becomes that among them.
fn keys_of(rows: &[Rows], batches: impl Iterator<Item = usize>, each: &mut [Row]) -> Arc<Keys> {
    let mut texts = Texts::default();
    let mut places: HashMap<(usize, u32), u32> = HashMap::new();
    for (row, batch) in each.iter_mut().zip(batches) {
        let key = row.source_key;
        row.source_key = *places.entry((batch, key)).or_insert_with(|| {
            texts.push(rows[batch].keys.text(key as usize));
            texts.len() as u32 - 1
        });
    }
    Arc::new(Keys::stored(texts))
}

/// Some of the rows of a block, in their order.
fn only(rows: &Rows, kept: &[usize]) -> Rows {
    let mut each: Vec<Row> = kept.iter().map(|row| rows.each[*row]).collect();
    let keys = match rows.stored {
        true => keys_of(std::slice::from_ref(rows), std::iter::repeat(0), &mut each),
        false => rows.keys.clone(),
    };
    Rows {
        classes: rows.classes.clone(),
        saids: rows.saids.clone(),
        stored: rows.stored,
        ..gathered(kept.iter().map(|row| (rows, *row)), each, keys)
    }
}

/// Numbers and texts, one after the other.
struct Bytes<'b>(&'b [u8]);

impl<'b> Bytes<'b> {
    fn take(&mut self, n: usize) -> &'b [u8] {
        let (taken, rest) = self.0.split_at(n.min(self.0.len()));
        self.0 = rest;
        taken
    }

    fn array<const N: usize>(&mut self) -> [u8; N] {
        // Shorter only if the file is not what was written: then the counts do not add up, which is told.
        self.take(N).try_into().unwrap_or([0; N])
    }

    fn each<const N: usize, T>(&mut self, n: usize, from: impl Fn([u8; N]) -> T) -> Vec<T> {
        let (each, _) = self.take(N * n).as_chunks::<N>();
        each.iter().map(|bytes| from(*bytes)).collect()
    }

    /// What [`put_near`] wrote of `n` numbers.
    fn near<T: Clone>(&mut self, n: usize, from: impl Fn(i64) -> T) -> Vec<T> {
        let [width] = self.array();
        let least = i64::from_le_bytes(self.array());
        let of = |distance: u64| from(least.wrapping_add(distance as i64));
        match width {
            0 => vec![of(0); n],
            1 => self.each(n, |b| of(u8::from_le_bytes(b).into())),
            2 => self.each(n, |b| of(u16::from_le_bytes(b).into())),
            4 => self.each(n, |b| of(u32::from_le_bytes(b).into())),
            _ => self.each(n, |b| of(u64::from_le_bytes(b))),
        }
    }

    /// What [`put_near`] wrote of a number of each of these.
    fn near_of<T>(&mut self, each: &mut [T], set: impl Fn(&mut T, i64)) {
        let numbers = self.near(each.len(), |n| n);
        each.iter_mut().zip(numbers).for_each(|(one, n)| set(one, n));
    }
}

fn put<const N: usize, T: Copy>(out: &mut Vec<u8>, numbers: &[T], to: fn(T) -> [u8; N]) {
    out.reserve(N * numbers.len());
    numbers.iter().for_each(|n| out.extend_from_slice(&to(*n)));
}

/// Whole numbers as their distances from the least, each in as many bytes as the greatest takes.
fn put_near<T: Copy + Into<i64>>(out: &mut Vec<u8>, numbers: &[T]) {
    put_near_of(out, numbers, |n| (*n).into());
}

/// The same of a number of each of these.
fn put_near_of<T>(out: &mut Vec<u8>, of: &[T], number: impl Fn(&T) -> i64 + Copy) {
    let numbers = of.iter().map(number);
    let (mut least, mut greatest) = (i64::MAX, i64::MIN);
    for n in numbers.clone() {
        (least, greatest) = (least.min(n), greatest.max(n));
    }
    let (least, span) = match of.is_empty() {
        true => (0, 0),
        false => (least, greatest.wrapping_sub(least) as u64),
    };
    let bits = u64::BITS - span.leading_zeros();
    let width = if bits == 0 { 0 } else { bits.div_ceil(8).next_power_of_two() };
    out.push(width as u8);
    out.extend_from_slice(&least.to_le_bytes());
    fn each<const N: usize>(out: &mut Vec<u8>, distances: impl Iterator<Item = [u8; N]>) {
        distances.for_each(|bytes| out.extend_from_slice(&bytes));
    }
    out.reserve(width as usize * of.len());
    let distances = numbers.map(|n| n.wrapping_sub(least) as u64);
    match width {
        0 => {}
        1 => each(out, distances.map(|n| (n as u8).to_le_bytes())),
        2 => each(out, distances.map(|n| (n as u16).to_le_bytes())),
        4 => each(out, distances.map(|n| (n as u32).to_le_bytes())),
        _ => each(out, distances.map(u64::to_le_bytes)),
    }
}

impl Texts {
    fn write(&self, out: &mut Vec<u8>) {
        put(out, &[self.len() as u32], u32::to_le_bytes);
        let lens: Vec<u32> = self.iter().map(|text| text.len() as u32).collect();
        put_near(out, &lens);
        self.iter().for_each(|text| out.extend_from_slice(text.as_bytes()));
    }

    fn read(bytes: &mut Bytes<'_>) -> Texts {
        let n = u32::from_le_bytes(bytes.array()) as usize;
        let lens = bytes.near(n, |len| len as usize);
        let mut texts = Texts::default();
        texts.reserve(n, lens.iter().sum());
        for len in lens {
            texts.push(&String::from_utf8_lossy(bytes.take(len)));
        }
        texts
    }
}

impl Rows {
    /// All columns but the tables they point into; the keys, too, of stored rows.
    fn write(&self, out: &mut Vec<u8>) {
        put(out, &[self.len() as u32], u32::to_le_bytes);
        put_near_of(out, &self.each, |row| row.rank_time);
        put_near_of(out, &self.each, |row| row.req_time);
        put_near_of(out, &self.each, |row| row.class.into());
        put_near_of(out, &self.each, |row| row.said.into());
        put_near_of(out, &self.each, |row| row.source_key.into());
        put_near_of(out, &self.each, |row| row.source_record.into());
        put_near_of(out, &self.each, |row| row.detail_index.into());
        put_near_of(out, &self.each, |row| row.detail_count.into());
        put_near_of(out, &self.each, |row| row.sim_or_none.into());
        put_near_of(out, &self.each, |row| row.flags.bits().into());
        for ids in self.each_ids() {
            ids.write(out);
        }
        if let Some(keys) = self.keys.stored_texts() {
            keys.write(out);
            write_pulls(&self.earlier, out);
        }
    }

    fn read(bytes: &[u8], stored: bool) -> Rows {
        let mut bytes = Bytes(bytes);
        let n = u32::from_le_bytes(bytes.array()) as usize;
        let mut each = vec![Row::default(); n];
        bytes.near_of(&mut each, |row, n| row.rank_time = n);
        bytes.near_of(&mut each, |row, n| row.req_time = n);
        bytes.near_of(&mut each, |row, n| row.class = n as u32);
        bytes.near_of(&mut each, |row, n| row.said = n as u32);
        bytes.near_of(&mut each, |row, n| row.source_key = n as u32);
        bytes.near_of(&mut each, |row, n| row.source_record = n as u32);
        bytes.near_of(&mut each, |row, n| row.detail_index = n as i32);
        bytes.near_of(&mut each, |row, n| row.detail_count = n as i32);
        bytes.near_of(&mut each, |row, n| row.sim_or_none = n as i32);
        bytes.near_of(&mut each, |row, n| row.flags = Flags::from_bits(n as u8));
        let mut ids = || Ids::read(&mut bytes, n);
        let (seq, request_id, biz_token) = (ids(), ids(), ids());
        let (idcard_hmac, name_hmac) = (ids(), ids());
        // Only stored rows know of pulls before their own.
        let (keys, earlier) = match stored {
            true => (Arc::new(Keys::stored(Texts::read(&mut bytes))), read_pulls(&mut bytes)),
            false => (Arc::default(), Vec::new()),
        };
        Rows {
            keys,
            earlier,
            stored,
            each,
            seq,
            request_id,
            biz_token,
            idcard_hmac,
            name_hmac,
            ..Rows::default()
        }
    }
}

/// Bytes of a [`Pull`] on disk.
const PULL: usize = 14;

impl Pull {
    fn to_bytes(self) -> [u8; PULL] {
        let Answer { is_need_charge, snapshot_final, errcode } = self.answer;
        let mut bytes = [0; PULL];
        bytes[..8].copy_from_slice(&self.fetched_at.to_le_bytes());
        bytes[8..12].copy_from_slice(&errcode.unwrap_or_default().to_le_bytes());
        bytes[12] = Flags::new(is_need_charge, snapshot_final, true).bits();
        bytes[13] = u8::from(errcode.is_some());
        bytes
    }

    fn from_bytes(bytes: [u8; PULL]) -> Pull {
        let mut bytes = Bytes(&bytes);
        let fetched_at = i64::from_le_bytes(bytes.array());
        let errcode = i32::from_le_bytes(bytes.array());
        let [flags, coded] = bytes.array();
        let flags = Flags::from_bits(flags);
        let answer = Answer {
            is_need_charge: flags.is_need_charge(),
            snapshot_final: flags.snapshot_final(),
            errcode: (coded == 1).then_some(errcode),
        };
        Pull { fetched_at, answer }
    }
}

/// Pulls of rows: of how many, then how many each has, then they.
fn write_pulls(rows: &[Box<[Pull]>], out: &mut Vec<u8>) {
    put(out, &[rows.len() as u32], u32::to_le_bytes);
    let lens: Vec<u32> = rows.iter().map(|pulls| pulls.len() as u32).collect();
    put_near(out, &lens);
    rows.iter().for_each(|pulls| put(out, pulls, Pull::to_bytes));
}

fn read_pulls(bytes: &mut Bytes<'_>) -> Vec<Box<[Pull]>> {
    let n = u32::from_le_bytes(bytes.array()) as usize;
    let lens = bytes.near(n, |len| len as usize);
    lens.into_iter().map(|len| bytes.each(len, Pull::from_bytes).into()).collect()
}

impl Ids {
    fn write(&self, out: &mut Vec<u8>) {
        let (forms, values, text) = self.parts();
        // Nulls alone have no values.
        put(out, &[values.len() as u32, text.len() as u32], u32::to_le_bytes);
        put_near(out, &forms);
        put(out, values, u128::to_le_bytes);
        out.extend_from_slice(text.as_bytes());
    }

    fn read(bytes: &mut Bytes<'_>, n: usize) -> Ids {
        let (held, text) =
            (u32::from_le_bytes(bytes.array()) as usize, u32::from_le_bytes(bytes.array()));
        let forms = bytes.near(held, |form| form as u8);
        let values = bytes.each(held, u128::from_le_bytes);
        let text = String::from_utf8_lossy(bytes.take(text as usize)).into_owned();
        Ids::from_parts(n, &forms, values, text)
    }
}

/// What merging has to know of some rows of a run and a part of the Seqs.
#[derive(Default)]
struct Records {
    seq: Ids,
    each: Vec<Brief>,
    /// Of stored rows: their keys.
    key_text: Texts,
    /// Of stored rows.
    earlier: Vec<Box<[Pull]>>,
}

/// The numbers of a record, side by side: rows of a run go to hundreds of parts in no order.
#[derive(Clone, Copy, Default)]
struct Brief {
    rank_time: i64,
    source_record: i64,
    req_time: i64,
    detail_index: i32,
    /// Of rows that were read: the place of their object.
    key: u32,
    row: u32,
    day: i32,
    /// Of those that have one.
    errcode: i32,
    flags: u8,
    /// Whether it has an errcode.
    coded: u8,
}

impl Brief {
    fn facts(&self) -> Facts {
        Facts {
            is_need_charge: Flags::from_bits(self.flags).is_need_charge(),
            errcode: (self.coded == 1).then_some(self.errcode),
            req_time: self.req_time,
        }
    }
}

impl Records {
    fn len(&self) -> usize {
        self.each.len()
    }

    /// Adds the record of a row of a block, which stands in this place of the run and on this day.
    fn push(&mut self, block: &Rows, tables: &Tables, row: usize, (place, day): (u32, i32)) {
        let held = &block.each[row];
        let said = &tables.saids.values()[held.said as usize];
        self.seq.push_id(Some(block.seq(row)));
        if let Some(keys) = block.keys.stored_texts() {
            self.key_text.push(keys.get(held.source_key as usize));
            self.earlier.push(block.earlier(row).into());
        }
        self.each.push(Brief {
            rank_time: held.rank_time,
            source_record: held.source_record.into(),
            req_time: held.req_time,
            detail_index: held.detail_index,
            key: held.source_key,
            row: place,
            day,
            errcode: said.errcode.unwrap_or_default(),
            flags: held.flags.bits(),
            coded: u8::from(said.errcode.is_some()),
        });
    }

    /// Lets go of all, and keeps the room.
    fn clear(&mut self) {
        self.seq.clear();
        self.each.clear();
        self.key_text.clear();
        self.earlier.clear();
    }

    fn write(&self, stored: bool, out: &mut Vec<u8>) {
        put(out, &[self.len() as u32], u32::to_le_bytes);
        self.seq.write(out);
        put_near_of(out, &self.each, |one| one.rank_time);
        put_near_of(out, &self.each, |one| one.source_record);
        put_near_of(out, &self.each, |one| one.req_time);
        put_near_of(out, &self.each, |one| one.detail_index.into());
        put_near_of(out, &self.each, |one| one.row.into());
        put_near_of(out, &self.each, |one| one.day.into());
        put_near_of(out, &self.each, |one| one.errcode.into());
        put_near_of(out, &self.each, |one| one.flags.into());
        put_near_of(out, &self.each, |one| one.coded.into());
        match stored {
            true => {
                self.key_text.write(out);
                let known = self.earlier.iter().any(|pulls| !pulls.is_empty());
                write_pulls(if known { &self.earlier } else { &[] }, out);
            }
            false => put_near_of(out, &self.each, |one| one.key.into()),
        }
    }

    fn read(bytes: &mut Bytes<'_>, stored: bool) -> Records {
        let n = u32::from_le_bytes(bytes.array()) as usize;
        let seq = Ids::read(bytes, n);
        let mut each = vec![Brief::default(); n];
        bytes.near_of(&mut each, |one, n| one.rank_time = n);
        bytes.near_of(&mut each, |one, n| one.source_record = n);
        bytes.near_of(&mut each, |one, n| one.req_time = n);
        bytes.near_of(&mut each, |one, n| one.detail_index = n as i32);
        bytes.near_of(&mut each, |one, n| one.row = n as u32);
        bytes.near_of(&mut each, |one, n| one.day = n as i32);
        bytes.near_of(&mut each, |one, n| one.errcode = n as i32);
        bytes.near_of(&mut each, |one, n| one.flags = n as u8);
        bytes.near_of(&mut each, |one, n| one.coded = n as u8);
        if !stored {
            bytes.near_of(&mut each, |one, n| one.key = n as u32);
            return Records { seq, each, ..Records::default() };
        }
        Records { seq, each, key_text: Texts::read(bytes), earlier: read_pulls(bytes) }
    }

    fn id(&self, n: usize) -> Id<'_> {
        self.seq.get(n).unwrap_or(Id::Text(""))
    }

    /// The `n`th of them, as of the `run`th run.
    fn record(&self, run: u32, n: usize) -> Record<'_> {
        let one = &self.each[n];
        Record {
            id: self.id(n),
            rank_time: one.rank_time,
            source_record: one.source_record,
            detail_index: one.detail_index,
            key: match self.key_text.is_empty() {
                true => RecordKey::Read(one.key),
                false => RecordKey::Stored(self.key_text.get(n)),
            },
            run,
            row: one.row,
            day: one.day,
            facts: one.facts(),
            flags: Flags::from_bits(one.flags),
            earlier: self.earlier.get(n).map_or(&[], Box::as_ref),
        }
    }
}

/// The records of a part of the Seqs, and the run of each batch of them.
fn records_of(runs: &[Run], part: usize) -> Result<Vec<(u32, Records)>, WriteError> {
    let mut all = Vec::new();
    for run in runs {
        let records = run.records(part).map_err(|error| run.failed(error))?;
        all.extend(records.into_iter().map(|records| (run.number, records)));
    }
    Ok(all)
}

/// Runs, and which of their rows give way.
pub struct Spilled {
    runs: Vec<Run>,
    /// A bit each.
    losers: Vec<Vec<AtomicU64>>,
    /// By run.
    news: Vec<News>,
    /// By piece: records of its object that lie before it.
    shifts: Vec<i64>,
}

/// Bytes of news for each row of a run up to which they are put in order in memory: a row that is held takes some
/// 90, and 13 earlier pulls of it 190.
const NEWS_OF_ROW: usize = 192;

/// The same of the news of one run, however few its rows.
const NEWS_BYTES_MIN: usize = 1 << 20;

/// Earlier pulls that have become known of rows of a run, on disk.
#[derive(Default)]
struct News {
    held: Mutex<NewsHeld>,
    /// Once all are there and in order: by block of the run, where its begin, and how many bytes they are.
    of_block: Vec<(u64, usize)>,
}

#[derive(Default)]
struct NewsHeld {
    /// None as long as there is nothing.
    file: Option<File>,
    bytes: usize,
}

impl News {
    /// Adds those of some rows, by their place in the run.
    fn add(&self, run: &Run, rows: &[(u32, Box<[Pull]>)]) -> std::io::Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        let mut bytes = Vec::new();
        for (row, pulls) in rows {
            put(&mut bytes, &[*row, pulls.len() as u32], u32::to_le_bytes);
            put(&mut bytes, pulls, Pull::to_bytes);
        }
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.bytes += bytes.len();
        let file = match &mut held.file {
            Some(file) => file,
            none => none.insert(temporary(&run.folder, "pulls")?),
        };
        file.write_all(&bytes)
    }

    /// Puts them in the order of the rows. They are held for that, if they are not much more than the run was when it
    /// was held; else each is fetched where it lies.
    fn sort(&mut self, run: &Run) -> std::io::Result<()> {
        let held = self.held.get_mut().unwrap_or_else(PoisonError::into_inner);
        let Some(mut file) = held.file.take() else { return Ok(()) };
        file.seek(SeekFrom::Start(0))?;
        let sorted = temporary(&run.folder, "pulls")?;
        self.of_block = match held.bytes <= NEWS_BYTES_MIN.max(NEWS_OF_ROW * run.rows as usize) {
            true => {
                let mut bytes = vec![0; held.bytes];
                file.read_exact(&mut bytes)?;
                let rows = rows_with_news(&mut &*bytes)?;
                in_order(rows, &mut std::io::Cursor::new(bytes), run, &sorted)
            }
            false => {
                let rows = rows_with_news(&mut std::io::BufReader::new(&file))?;
                in_order(rows, &mut file, run, &sorted)
            }
        }?;
        held.file = Some(sorted);
        Ok(())
    }

    /// Gives the rows of a block of the run what has become known of them.
    fn tell(&self, run: &Run, block: usize, rows: &mut Rows) -> std::io::Result<()> {
        let Some((from, n @ 1..)) = self.of_block.get(block).copied() else { return Ok(()) };
        let mut bytes = vec![0; n];
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = &mut held.file {
            file.seek(SeekFrom::Start(from))?;
            file.read_exact(&mut bytes)?;
        }
        let mut bytes = Bytes(&bytes);
        while !bytes.0.is_empty() {
            let row = u32::from_le_bytes(bytes.array()) - run.blocks[block].first;
            let pulls = u32::from_le_bytes(bytes.array()) as usize;
            rows.set_earlier(row as usize, bytes.each(pulls, Pull::from_bytes).into());
        }
        Ok(())
    }
}

/// Of each row with news its place in the run, where they begin, and how many bytes they are; sorted.
fn rows_with_news(news: &mut impl BufRead) -> std::io::Result<Vec<(u32, u64, usize)>> {
    let mut rows = Vec::new();
    let mut at = 0;
    while !news.fill_buf()?.is_empty() {
        let mut head = [0; 8];
        news.read_exact(&mut head)?;
        let mut head = Bytes(&head);
        let row = u32::from_le_bytes(head.array());
        let pulls = PULL * u32::from_le_bytes(head.array()) as usize;
        rows.push((row, at, 8 + pulls));
        let mut left = pulls;
        while let n @ 1.. = news.fill_buf()?.len().min(left) {
            news.consume(n);
            left -= n;
        }
        at += 8 + pulls as u64;
    }
    rows.sort_unstable();
    Ok(rows)
}

/// Writes the news of those rows of a run in their order; where those of each block begin, and how many bytes they are.
fn in_order(
    rows: Vec<(u32, u64, usize)>,
    news: &mut (impl Read + Seek),
    run: &Run,
    sorted: &File,
) -> std::io::Result<Vec<(u64, usize)>> {
    let mut of_block = Vec::with_capacity(run.blocks.len());
    let (mut out, mut from) = (std::io::BufWriter::new(sorted), 0);
    let (mut rows, mut bytes) = (rows.into_iter().peekable(), Vec::new());
    for block in 0..run.blocks.len() {
        let next = run.in_block(block).end;
        let mut len = 0;
        while let Some((_, at, n)) = rows.next_if(|(row, ..)| (*row as usize) < next) {
            bytes.resize(n, 0);
            news.seek(SeekFrom::Start(at))?;
            news.read_exact(&mut bytes)?;
            out.write_all(&bytes)?;
            len += n;
        }
        of_block.push((from, len));
        from += len as u64;
    }
    out.flush()?;
    Ok(of_block)
}

impl Spilled {
    /// Finds which rows count. `shifts` are the records before each piece.
    pub fn new(
        runs: Vec<Run>,
        shifts: Vec<i64>,
        replaced: &BTreeSet<i32>,
    ) -> Result<(Spilled, Part), WriteError> {
        let losers = runs
            .iter()
            .map(|run| (0..run.rows.div_ceil(64)).map(|_| AtomicU64::new(0)).collect())
            .collect();
        let news = runs.iter().map(|_| News::default()).collect();
        let mut spilled = Spilled { runs, losers, news, shifts };
        let part = (0..PARTS)
            .into_par_iter()
            .map(|part| spilled.settle_part(part, replaced))
            .try_reduce(Part::default, |a, b| Ok(a.merge(b)))?;
        for (news, run) in spilled.news.iter_mut().zip(&spilled.runs) {
            news.sort(run).map_err(|error| run.failed(error))?;
        }
        Ok((spilled, part))
    }

    fn settle_part(&self, part: usize, replaced: &BTreeSet<i32>) -> Result<Part, WriteError> {
        let records = records_of(&self.runs, part)?;
        // By hash: those of one Seq come together, and what is sorted is small.
        let mut all: Vec<(u64, RowRef)> = Vec::new();
        for (batch, (_, records)) in records.iter().enumerate() {
            let place = |row: usize| RowRef { batch: batch as u32, row: row as u32 };
            all.extend((0..records.len()).map(|row| (records.id(row).hash(), place(row))));
        }
        all.sort_unstable_by_key(|(hash, _)| *hash);
        let stored = |r: &Record<'_>| self.runs[r.run as usize].stored;
        let shifted =
            |r: &Record<'_>| r.source_record + self.key_of(r).map_or(0, |key| self.shift(&key));
        let brief = |record: &Record<'_>| (stored(record), record.day);
        let mut part = Part::default();
        let mut news: Vec<Vec<(u32, Box<[Pull]>)>> = vec![Vec::new(); self.runs.len()];
        let mut same_hash: Vec<Record<'_>> = Vec::new();
        for places in all.chunk_by(|a, b| a.0 == b.0) {
            same_hash.clear();
            same_hash.extend(places.iter().map(|(_, place)| {
                let (run, records) = &records[place.batch as usize];
                records.record(*run, place.row as usize)
            }));
            same_hash.sort_unstable_by(|a, b| {
                a.id.cmp(&b.id)
                    .then_with(|| a.rank_time.cmp(&b.rank_time))
                    .then_with(|| self.key(a).cmp(self.key(b)))
                    .then_with(|| shifted(a).cmp(&shifted(b)))
                    .then_with(|| a.detail_index.cmp(&b.detail_index))
                    .then_with(|| stored(b).cmp(&stored(a)))
            });
            for snapshots in same_hash.chunk_by(|a, b| a.id == b.id) {
                let won = settle_one(&mut part, snapshots, replaced, &brief, &|r| self.snapshot(r));
                let counting = usize::from(won.is_some());
                let earlier = won.and_then(|won| won.earlier);
                if let Some((earlier, winner)) = earlier.zip(snapshots.last()) {
                    news[winner.run as usize].push((winner.row, earlier));
                }
                for loser in snapshots.iter().rev().skip(counting) {
                    let bits = &self.losers[loser.run as usize][loser.row as usize / 64];
                    bits.fetch_or(1 << (loser.row % 64), std::sync::atomic::Ordering::Relaxed);
                }
            }
        }
        for ((run, news), rows) in self.runs.iter().zip(&self.news).zip(&news) {
            news.add(run, rows).map_err(|error| run.failed(error))?;
        }
        Ok(part)
    }

    fn snapshot<'r>(&self, record: &Record<'r>) -> Snapshot<'r> {
        Snapshot {
            stored: self.runs[record.run as usize].stored,
            day: record.day,
            facts: record.facts,
            own: Pull::of(record.flags, record.rank_time, record.facts.errcode),
            earlier: record.earlier,
            object: self.key_of(record).map_or(NONE, |key| key.object),
            seq: record.id,
        }
    }

    /// The object of a row that was read. Of none, and of no piece of one, are stored rows.
    fn key_of(&self, record: &Record<'_>) -> Option<KeyOf> {
        match record.key {
            RecordKey::Read(place) => Some(self.runs[record.run as usize].keys[place as usize]),
            RecordKey::Stored(_) => None,
        }
    }

    fn key<'r>(&'r self, record: &Record<'r>) -> &'r str {
        match record.key {
            RecordKey::Read(place) => self.runs[record.run as usize].keys.text(place as usize),
            RecordKey::Stored(text) => text,
        }
    }

    fn shift(&self, key: &KeyOf) -> i64 {
        self.shifts.get(key.piece as usize).copied().unwrap_or(0)
    }

    /// The rows of a day that count, in order.
    pub fn day(&self, day: i32) -> Result<Merging<'_>, WriteError> {
        let mut merging = Merging {
            spilled: self,
            cursors: Vec::new(),
            blocks: Vec::new(),
            order: Vec::new(),
            heads: BinaryHeap::new(),
        };
        for (run, held) in self.runs.iter().enumerate() {
            let from = held.blocks.partition_point(|block| block.day < day);
            let to = held.blocks.partition_point(|block| block.day <= day);
            if from < to {
                merging.cursors.push(Cursor { run, next: from, to, block: usize::MAX, row: 0 });
            }
        }
        for cursor in 0..merging.cursors.len() {
            merging.advance(cursor)?;
        }
        Ok(merging)
    }
}

/// Where a run is read.
struct Cursor {
    run: usize,
    /// The next block, and the one behind the last of the day.
    next: usize,
    to: usize,
    /// The block that is read, by its place among those held; none yet.
    block: usize,
    /// The row after the one that is the run's head.
    row: usize,
}

/// The first row of a run that is not yet taken.
struct Head {
    req_time: i64,
    seq: HeadSeq,
    place: RowRef,
    cursor: usize,
}

enum HeadSeq {
    Uuid(u128, bool),
    Text(Box<str>),
}

impl Head {
    fn seq(&self) -> Id<'_> {
        match &self.seq {
            HeadSeq::Uuid(bits, capital) => Id::Uuid { bits: *bits, capital: *capital },
            HeadSeq::Text(text) => Id::Text(text),
        }
    }
}

impl Ord for Head {
    fn cmp(&self, other: &Head) -> Ordering {
        self.req_time.cmp(&other.req_time).then_with(|| self.seq().cmp(&other.seq()))
    }
}

impl PartialOrd for Head {
    fn partial_cmp(&self, other: &Head) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Head {
    fn eq(&self, other: &Head) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Head {}

/// The rows of a day, from all runs.
pub struct Merging<'s> {
    spilled: &'s Spilled,
    cursors: Vec<Cursor>,
    blocks: Vec<Rows>,
    order: Vec<RowRef>,
    heads: BinaryHeap<Reverse<Head>>,
}

impl Merging<'_> {
    /// The next rows, as long as there is room for them; None at the end.
    pub fn next_group(&mut self, mut room: Room) -> Result<Option<GatheredGroup<'_>>, WriteError> {
        self.drop_read();
        self.order.clear();
        while let Some(Reverse(Head { place, .. })) = self.heads.peek()
            && room.take(|| self.blocks[place.batch as usize].earlier(place.row as usize).len())
            && let Some(Reverse(head)) = self.heads.pop()
        {
            self.order.push(head.place);
            self.advance(head.cursor)?;
        }
        Ok(match self.order.is_empty() {
            true => None,
            false => Some(GatheredGroup::of(&self.blocks, &self.order)),
        })
    }

    /// Lets go of the blocks that were read to their end.
    fn drop_read(&mut self) {
        let mut kept = Vec::with_capacity(self.cursors.len());
        let mut place_of = vec![usize::MAX; self.blocks.len()];
        for (place, block) in std::mem::take(&mut self.blocks).into_iter().enumerate() {
            if self.cursors.iter().any(|cursor| cursor.block == place) {
                place_of[place] = kept.len();
                kept.push(block);
            }
        }
        self.blocks = kept;
        for cursor in &mut self.cursors {
            if cursor.block != usize::MAX {
                cursor.block = place_of[cursor.block];
            }
        }
        let heads = std::mem::take(&mut self.heads).into_vec();
        self.heads = heads
            .into_iter()
            .map(|Reverse(mut head)| {
                head.place.batch = self.cursors[head.cursor].block as u32;
                Reverse(head)
            })
            .collect();
    }

    /// Makes the next row of a run that counts its head.
    fn advance(&mut self, cursor: usize) -> Result<(), WriteError> {
        let at = &mut self.cursors[cursor];
        let run = &self.spilled.runs[at.run];
        let losers = &self.spilled.losers[at.run];
        while at.block == usize::MAX || at.row == self.blocks[at.block].len() {
            if at.next == at.to {
                at.block = usize::MAX;
                return Ok(());
            }
            // Only rows that count are held: of Seqs that were pulled often, few do.
            let (block, in_run) = (at.next, run.in_block(at.next));
            let counts = |row: &usize| {
                let row = in_run.start + row;
                let bits = losers[row / 64].load(std::sync::atomic::Ordering::Relaxed);
                bits >> (row % 64) & 1 == 0
            };
            let kept: Vec<usize> = (0..in_run.len()).filter(counts).collect();
            at.next += 1;
            if kept.is_empty() {
                continue;
            }
            let (shifts, news) = (&self.spilled.shifts, &self.spilled.news[at.run]);
            let rows = run.read(block, shifts, news).map_err(|e| run.failed(e))?;
            (at.block, at.row) = (self.blocks.len(), 0);
            self.blocks.push(if kept.len() == rows.len() { rows } else { only(&rows, &kept) });
        }
        let row = at.row;
        at.row += 1;
        let block = &self.blocks[at.block];
        let seq = match block.seq(row) {
            Id::Uuid { bits, capital } => HeadSeq::Uuid(bits, capital),
            Id::Text(text) => HeadSeq::Text(text.into()),
        };
        let place = RowRef { batch: at.block as u32, row: row as u32 };
        let req_time = block.each[row].req_time;
        self.heads.push(Reverse(Head { req_time, seq, place, cursor }));
        Ok(())
    }
}

impl Run {
    fn failed(&self, source: std::io::Error) -> WriteError {
        WriteError::Spill { folder: self.folder.display().to_string(), source }
    }

    /// Its rows that stand in a block.
    fn in_block(&self, block: usize) -> Range<usize> {
        let end = self.blocks.get(block + 1).map_or(self.rows, |next| next.first);
        self.blocks[block].first as usize..end as usize
    }

    fn records(&self, part: usize) -> std::io::Result<Vec<Records>> {
        let mut file = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        let mut bytes = Vec::new();
        let mut read = |(from, n): &(u64, usize)| {
            bytes.clear();
            file.seek(SeekFrom::Start(*from))?;
            (&mut *file).take(*n as u64).read_to_end(&mut bytes)?;
            Ok(Records::read(&mut Bytes(&bytes), self.stored))
        };
        self.parts[part].iter().map(&mut read).collect()
    }

    fn read(&self, block: usize, shifts: &[i64], news: &News) -> std::io::Result<Rows> {
        let Block { from, bytes: n, .. } = self.blocks[block];
        let mut bytes = vec![0; n];
        {
            let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
            file.seek(SeekFrom::Start(from))?;
            file.read_exact(&mut bytes)?;
        }
        let mut rows = Rows::read(&bytes, self.stored);
        if !self.stored {
            for row in &mut rows.each {
                let piece = self.keys[row.source_key as usize].piece as usize;
                row.shift_record(shifts.get(piece).copied().unwrap_or(0));
            }
            rows.keys = self.keys.clone();
        }
        rows.classes = self.classes.clone();
        rows.saids = self.saids.clone();
        news.tell(self, block, &mut rows)?;
        Ok(rows)
    }
}

#[cfg(test)]
mod tests {
    use super::super::merge::{Merged, merge};
    use super::super::parquet::Columns;
    use super::super::rows::{Placed, RowsBuilder};
    use super::super::schema::LIVENESS_DETAIL;
    use super::*;
    use crate::model::{Attempt, Record};
    use arrow::array::RecordBatch;
    use std::collections::{BTreeMap, BTreeSet, HashMap};

    /// Whatever the distance between numbers, they come out as they went in; those that are near take few bytes.
    #[test]
    fn near_numbers_come_out_as_they_went_in() {
        let cases: [(&[i64], usize); 8] = [
            (&[], 0),
            (&[7, 7, 7], 0),
            (&[-1, 254], 1),
            (&[-1, 255], 2),
            (&[0, 65_536, 3], 4),
            (&[1_772_296_082_585, 1_772_296_082_585 + 0xFFFF_FFFF], 4),
            (&[0, 0x1_0000_0000], 8),
            (&[i64::MIN, 0, i64::MAX], 8),
        ];
        for (numbers, width) in cases {
            let mut out = Vec::new();
            put_near(&mut out, numbers);
            assert_eq!(out.len(), 9 + width * numbers.len(), "{numbers:?}");
            assert_eq!(Bytes(&out).near(numbers.len(), |n| n), numbers);
        }
    }

    struct Rng(u64);

    impl Rng {
        fn below(&mut self, n: u64) -> u64 {
            // xorshift64*
            self.0 ^= self.0 >> 12;
            self.0 ^= self.0 << 25;
            self.0 ^= self.0 >> 27;
            (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % n
        }
    }

    const DAY_MS: i64 = 86_400_000;

    /// Batches of a few rows, with Seqs that come again in others, on other days, with other facts. Stored rows of
    /// replaced days are such as tell of earlier pulls alone.
    fn batches(seed: u64, replaced: &[i32]) -> (Vec<Rows>, Vec<i64>) {
        let mut rng = Rng(seed * 2 + 1);
        let pieces = 1 + rng.below(12) as usize;
        let seqs = 1 + rng.below(400);
        let mut all = Vec::new();
        for piece in 0..pieces {
            let mut builder = RowsBuilder::new("100000000000");
            for object in 0..1 + rng.below(3) as usize {
                builder.begin_object(&format!("k/{piece:03}-{object}"), 3 * piece + object, piece);
                for number in 0..rng.below(120) {
                    let seq = match rng.below(seqs) {
                        n if n % 5 == 0 => format!("text {n}"),
                        n if n % 5 == 1 => format!("D887422A-6465-F4EC-B94C-{n:012X}"),
                        n => format!("d887422a-6465-f4ec-b94c-{n:012x}"),
                    };
                    let req_time = 1_772_296_082_585 + DAY_MS * rng.below(3) as i64;
                    let usage_date = UsageDay::of_instant(req_time);
                    let fetched_at =
                        (rng.below(2) == 0).then(|| 1_772_900_000_000 + rng.below(4) as i64);
                    let word = ["成功", "疑似", ""][rng.below(3) as usize];
                    let record = Record {
                        number: number as i64,
                        request_id: (rng.below(3) > 0).then_some("r-1".into()),
                        fetched_at,
                        detail_count: 2,
                        ..Record::default()
                    };
                    let attempt = Attempt {
                        index: rng.below(2) as i32,
                        req_time: req_time + rng.below(5) as i64,
                        seq: seq.into(),
                        is_need_charge: [None, Some(true), Some(false)][rng.below(3) as usize],
                        errcode: (rng.below(2) == 0).then_some(rng.below(3) as i32),
                        errmsg: (rng.below(2) == 0).then_some(word.into()),
                        sim: (rng.below(2) == 0).then_some(rng.below(10_000) as i32),
                        ..Attempt::default()
                    };
                    builder.push(
                        &record,
                        &attempt,
                        &Placed {
                            usage_date,
                            settlement_date: usage_date,
                            billing_tag: ["a", "b"][rng.below(2) as usize],
                            billing_tag_code: "code",
                            product: Some("enhanced"),
                            channel: None,
                            compare_source: None,
                            snapshot_final: Some(false),
                            biz_token: None,
                            rule_id: Some(["1", "2"][rng.below(2) as usize]),
                            idcard_hmac: None,
                            name_hmac: None,
                            rank_time: fetched_at.unwrap_or(1_772_800_000_000 + number as i64 % 2),
                        },
                    );
                }
            }
            let mut rows = builder.finish();
            if rng.below(4) == 0 {
                rows.stored = true;
                let mut keys = (*rows.keys).clone();
                keys.forget_objects();
                rows.keys = keys.into();
                for row in 0..rows.len() {
                    let (flags, code) = (rows.each[row].flags, rows.said(row).errcode);
                    let own = Pull::of(flags, rows.each[row].rank_time, code);
                    let mut earlier = Vec::new();
                    for _ in 0..rng.below(3) {
                        let answer = Answer {
                            is_need_charge: [None, Some(true), Some(false)][rng.below(3) as usize],
                            snapshot_final: Some(false),
                            errcode: (rng.below(2) == 0).then_some(rng.below(3) as i32),
                        };
                        let fetched_at = 1_772_900_000_000 - 2 + rng.below(4) as i64;
                        earlier.push(Pull { fetched_at, answer });
                    }
                    let mut earlier = Pull::each_once(earlier.into_iter().chain(own).collect());
                    earlier.retain(|pull| Some(*pull) != own);
                    rows.set_earlier(row, earlier.into());
                    if replaced.contains(&rows.usage_date(row)) {
                        rows.each[row].rank_time = i64::MIN;
                        rows.each[row].flags = flags.unfetched();
                    }
                }
            }
            all.push(rows);
        }
        let shifts = (0..pieces).map(|_| rng.below(3) as i64 * 1000).collect();
        (all, shifts)
    }

    /// One day in a third of the cases, where nothing but what was just read counts.
    fn replaced_of(seed: u64) -> &'static [i32] {
        if seed.is_multiple_of(3) { &[20_513] } else { &[] }
    }

    fn merged(rows: &[Rows], shifts: &[i64], bytes_max: usize, replaced: &[i32]) -> Merged {
        let held = Held::new(bytes_max, &std::env::temp_dir());
        rows.iter().for_each(|rows| held.add(rows.clone()).expect("room on the disk"));
        let replaced: BTreeSet<i32> = replaced.iter().copied().collect();
        merge(held, shifts.to_vec(), &replaced).expect("a merge")
    }

    fn batches_of(merged: &Merged, day: i32) -> Vec<RecordBatch> {
        let mut rows = merged.day(day).expect("a day");
        let mut groups = Vec::new();
        while let Some(group) = rows.next_group(usize::MAX).expect("a group") {
            let fields = LIVENESS_DETAIL.file_schema.fields();
            let array = |(place, field): (usize, &arrow::datatypes::FieldRef)| {
                let column = group.column(place).expect("a column");
                column.into_array(field.data_type()).expect("an array")
            };
            let columns = fields.iter().enumerate().map(array).collect();
            let schema = LIVENESS_DETAIL.file_schema.clone();
            groups.push(RecordBatch::try_new(schema, columns).expect("columns of the schema"));
        }
        groups
    }

    /// What goes to disk comes out as what stays in memory does, whatever the parts it goes in.
    #[test]
    fn spilled_or_held_the_outcome_is_the_same() {
        let (mut rows_seen, mut fates_seen, mut changes_seen) = (0, 0, 0);
        for seed in 1..150 {
            let replaced = replaced_of(seed);
            let (rows, shifts) = batches(seed, replaced);
            let all = merged(&rows, &shifts, usize::MAX, replaced);
            assert!(!all.is_spilled());
            for bytes_max in [0, 5_000, 40_000] {
                let spilled = merged(&rows, &shifts, bytes_max, replaced);
                assert!(spilled.is_spilled() || bytes_max > 0 || rows.iter().all(Rows::is_empty));
                assert_eq!(spilled.days, all.days, "seed {seed}");
                assert_eq!(spilled.fates, all.fates, "seed {seed}");
                assert_eq!(spilled.changes, all.changes, "seed {seed}");
                for (day, n) in &all.days {
                    let plain = |batches: Vec<RecordBatch>| {
                        let schema = LIVENESS_DETAIL.reader_schema.clone();
                        let n = batches.iter().map(RecordBatch::num_rows).sum::<usize>();
                        // Without the dictionaries, whose order is no matter.
                        let batches: Vec<RecordBatch> = batches
                            .iter()
                            .map(|batch| {
                                let columns = batch.columns().iter().zip(&schema.fields()[1..]);
                                let columns = columns.map(|(column, field)| {
                                    arrow::compute::cast(column, field.data_type()).expect("a cast")
                                });
                                RecordBatch::try_from_iter(
                                    schema.fields()[1..]
                                        .iter()
                                        .map(|field| field.name())
                                        .zip(columns.collect::<Vec<_>>()),
                                )
                                .expect("a batch")
                            })
                            .collect();
                        (n as u64, batches)
                    };
                    let (m, batches) = plain(batches_of(&spilled, *day));
                    assert_eq!(
                        (m, &batches),
                        (*n, &plain(batches_of(&all, *day)).1),
                        "seed {seed}"
                    );
                    rows_seen += m;
                }
                fates_seen += spilled.fates.len();
                changes_seen += spilled.changes.len();
            }
        }
        assert!(rows_seen > 10_000 && fates_seen > 100 && changes_seen > 100);
    }

    const MANY_SEQS: i64 = 5_000;
    const MANY_PULLS: i64 = 64;

    /// All Seqs, as the `at`th pull tells of them. `scattered` says that each pull is the latest of some, else the last
    /// is the latest of all.
    fn pull_of_many(at: i64, scattered: bool) -> Rows {
        let mut builder = RowsBuilder::new("100000000000");
        builder.begin_object(&format!("k/{at:03}"), at as usize, at as usize);
        let usage_date = UsageDay::of_instant(1_772_296_082_585);
        for n in 0..MANY_SEQS {
            let fetched_at = if scattered { (at + n) % MANY_PULLS } else { at };
            let record = Record { number: n, fetched_at: Some(fetched_at), ..Record::default() };
            let attempt = Attempt {
                req_time: 1_772_296_082_585 + n % 7,
                seq: format!("d887422a-6465-f4ec-b94c-{n:012x}").into(),
                errcode: Some(fetched_at as i32),
                ..Attempt::default()
            };
            let placed = Placed {
                usage_date,
                settlement_date: usage_date,
                billing_tag: "a",
                billing_tag_code: "code",
                product: None,
                channel: None,
                compare_source: None,
                snapshot_final: None,
                biz_token: None,
                rule_id: None,
                idcard_hmac: None,
                name_hmac: None,
                rank_time: fetched_at,
            };
            builder.push(&record, &attempt, &placed);
        }
        builder.finish()
    }

    /// Of Seqs with many pulls, no more rows are held than count, and no more of them at once than have room with
    /// all that is known of them.
    #[test]
    fn many_pulls_take_no_more_room() {
        for scattered in [false, true] {
            let held = Held::new(0, &std::env::temp_dir());
            for at in 0..MANY_PULLS {
                held.add(pull_of_many(at, scattered)).expect("room on the disk");
            }
            let Ok(Gathered::Spilled(runs)) = held.finish() else { panic!("all on disk") };
            let spilled = Spilled::new(runs, Vec::new(), &BTreeSet::new());
            let (spilled, _) = spilled.expect("the rows that count");
            let day = UsageDay::of_instant(1_772_296_082_585).date32();
            let mut merging = spilled.day(day).expect("a day");
            let mut seen = 0;
            // What the last pull tells of all is more than is put in order in memory.
            let most = spilled.news.iter().map(|news| news.held.lock().expect("news").bytes).max();
            assert_eq!(
                most > Some(NEWS_BYTES_MIN.max(NEWS_OF_ROW * MANY_SEQS as usize)),
                !scattered
            );
            let mut of_groups = Vec::new();
            while merging.next_group(Room::for_rows(1_000)).expect("a group").is_some() {
                let rows = merging.order.iter();
                for (rows, row) in rows.map(|r| (&merging.blocks[r.batch as usize], r.row as usize))
                {
                    let said = |pull: &Pull| (pull.fetched_at, pull.answer.errcode);
                    let earlier: Vec<_> = rows.earlier(row).iter().map(said).collect();
                    let all: Vec<_> = (0..MANY_PULLS - 1).map(|at| (at, Some(at as i32))).collect();
                    assert_eq!((rows.each[row].rank_time, earlier), (MANY_PULLS - 1, all));
                }
                // Room for 4,000 pulls, of which a row has 63.
                assert!(merging.order.len() <= 64, "{}", merging.order.len());
                let rows_held: usize = merging.blocks.iter().map(Rows::len).sum();
                assert!(rows_held <= 2 * BLOCK_ROWS, "{rows_held}");
                seen += merging.order.len();
                of_groups.push(merging.order.len());
            }
            assert_eq!(seen as i64, MANY_SEQS);
            // The same rows make the same groups where they are held.
            let held = Held::new(usize::MAX, &std::env::temp_dir());
            for at in 0..MANY_PULLS {
                held.add(pull_of_many(at, scattered)).expect("memory");
            }
            let merged = merge(held, Vec::new(), &BTreeSet::new()).expect("a merge");
            let mut rows = merged.day(day).expect("a day");
            let mut of_held = Vec::new();
            while let Some(group) = rows.next_group(1_000).expect("a group") {
                of_held.push(group.rows());
            }
            assert_eq!(of_held, of_groups);
        }
    }

    /// Rank, whether it was just read, time and day.
    type Best = (i64, String, i64, i32, bool, i64, i32);

    /// The same counted slowly: one row a Seq, the one of the greatest rank, sorted by time and Seq.
    #[test]
    fn the_rows_that_count_are_those_of_a_plain_recount() {
        let mut earlier_seen = 0;
        for seed in 1..60 {
            let replaced = replaced_of(seed);
            let (rows, shifts) = batches(seed, replaced);
            let merged = merged(&rows, &shifts, 3_000, replaced);
            let mut best: HashMap<String, Best> = HashMap::new();
            let mut new_days = BTreeSet::new();
            for rows in &rows {
                let counts =
                    |row: &usize| !rows.stored || !replaced.contains(&rows.usage_date(*row));
                for row in (0..rows.len()).filter(counts) {
                    let piece = rows.keys[rows.each[row].source_key as usize].piece as usize;
                    let rank = (
                        rows.each[row].rank_time,
                        rows.key(row).to_owned(),
                        i64::from(rows.each[row].source_record)
                            + shifts.get(piece).copied().unwrap_or(0),
                        rows.each[row].detail_index,
                        !rows.stored,
                        rows.each[row].req_time,
                        rows.usage_date(row),
                    );
                    let held =
                        best.entry(rows.seq(row).to_string()).or_insert_with(|| rank.clone());
                    if (&held.0, &held.1, held.2, held.3, held.4)
                        < (&rank.0, &rank.1, rank.2, rank.3, rank.4)
                    {
                        *held = rank;
                    }
                }
            }
            // All pulls of a Seq, however often they are told.
            type Said = (i64, Option<bool>, Option<bool>, Option<i32>);
            let mut pulls: BTreeMap<String, BTreeSet<Said>> = BTreeMap::new();
            let said = |pull: &Pull| {
                let Answer { is_need_charge, snapshot_final, errcode } = pull.answer;
                (pull.fetched_at, is_need_charge, snapshot_final, errcode)
            };
            for rows in &rows {
                for row in 0..rows.len() {
                    let of_seq = pulls.entry(rows.seq(row).to_string()).or_default();
                    let code = rows.said(row).errcode;
                    let own = Pull::of(rows.each[row].flags, rows.each[row].rank_time, code);
                    of_seq.extend(own.iter().chain(rows.earlier(row)).map(said));
                }
            }
            best.values().filter(|b| b.4).for_each(|b| _ = new_days.insert(b.6));
            assert!(new_days.iter().all(|day| merged.days.contains_key(day)));
            for (day, n) in &merged.days {
                let mut expected: Vec<(i64, &String)> =
                    best.iter().filter(|(_, b)| b.6 == *day).map(|(seq, b)| (b.5, seq)).collect();
                expected.sort();
                let mut found: Vec<(i64, String)> = Vec::new();
                let mut rows = merged.day(*day).expect("a day");
                while let Some(group) = rows.next_group(usize::MAX).expect("a group") {
                    for (rows, row) in group.places() {
                        found.push((rows.each[row].req_time, rows.seq(row).to_string()));
                        let code = rows.said(row).errcode;
                        let own = Pull::of(rows.each[row].flags, rows.each[row].rank_time, code);
                        let mut due = pulls[&rows.seq(row).to_string()].clone();
                        own.iter().for_each(|own| _ = due.remove(&said(own)));
                        let told: Vec<Said> = rows.earlier(row).iter().map(said).collect();
                        assert!(due.iter().eq(&told), "seed {seed} {}", rows.seq(row));
                        earlier_seen += told.len();
                    }
                }
                assert_eq!(*n, found.len() as u64);
                assert!(found.iter().map(|(t, s)| (*t, s)).eq(expected), "seed {seed} day {day}");
            }
        }
        assert!(earlier_seen > 1_000, "{earlier_seen}");
    }

    /// Seqs are found again by what is asked of stored days.
    #[test]
    fn all_seqs_are_known_wherever_they_are() {
        let (rows, _) = batches(7, &[]);
        for bytes_max in [usize::MAX, 2_000] {
            let held = Held::new(bytes_max, &std::env::temp_dir());
            rows.iter().for_each(|rows| held.add(rows.clone()).expect("room on the disk"));
            let seqs = held.seqs().expect("what was written");
            for rows in &rows {
                assert!((0..rows.len()).all(|r| seqs.may_hold(&rows.seq(r).to_string())));
            }
            assert!(!seqs.may_hold("none of them"));
        }
    }
}
