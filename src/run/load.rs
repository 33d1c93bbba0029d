//! Shards to rows: every worker reads, decodes and classifies on its own, and what they give is put
//! together in key order, so that the number of workers changes nothing.

use super::{RunError, on_threads};
use crate::classify::{Catalogue, Router, UnmappedCounts, settlement_date};
use crate::decode::{self, Decoder, Framing, Sink, Wanted};
use crate::model::{Attempt, Compression, Record, Reject, RejectReason, Tally, UsageDay};
use crate::pipeline::{Key, Pipeline};
use crate::report::Progress;
use crate::sources::{self, KeyPattern, Object, Shard, Window};
use crate::storage::{Fetch, FetchError, ObjectInfo, Place, StorageError, WHOLE_BYTES_MAX, Want};
use crate::write::merge::{Fate, RowRef};
use crate::write::rows::{Placed, Rows, RowsBuilder};
use crate::write::small::RejectRow;
use hmac::{Hmac, KeyInit, Mac};
use rayon::prelude::*;
use sha2::Sha256;
use std::cell::Cell;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::io::Read;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

/// What loading needs.
pub struct Context<'c> {
    pub pipeline: &'c Pipeline,
    pub source: &'c Place,
    pub router: &'c Router,
    pub window: Window,
    pub progress: &'c Progress,
    pub stop: &'c AtomicBool,
    /// Threads for what waits for the source.
    pub io_threads: usize,
    pub pattern: Option<&'c KeyPattern>,
    pub versions: Versions,
}

/// Everything that was read.
#[derive(Default)]
pub struct Loaded {
    pub rows: Vec<Rows>,
    /// For each batch of `rows`, the place in the selection of its first object.
    first_object: Vec<usize>,
    /// By place in the selection.
    pub objects: Vec<ObjectCount>,
    pub rejects: Vec<RejectRow>,
    pub tally: Tally,
    pub unmapped: UnmappedCounts,
    /// Usage days (`Date32`) of the rows.
    pub days: BTreeSet<i32>,
    pub bytes_read: u64,
    /// Records with attempts whose envelope told a fetch time.
    pub fetched_at_seen: u64,
}

/// Which version of an object was read.
#[derive(Clone, Debug, Default)]
pub enum Version {
    /// None: it had gone.
    #[default]
    Gone,
    Listed,
    Other(Box<ObjectInfo>),
}

impl Version {
    /// What is known of the version that was read.
    pub fn info<'o>(&'o self, listed: &'o ObjectInfo) -> Option<&'o ObjectInfo> {
        match self {
            Version::Gone => None,
            Version::Listed => Some(listed),
            Version::Other(read) => Some(read),
        }
    }
}

/// What came of one object.
#[derive(Clone, Debug, Default)]
pub struct ObjectCount {
    pub read: Version,
    pub records: i64,
    pub rows_new: i64,
    pub rows_duplicate: i64,
    pub rows_changed: i64,
    pub rejects: i64,
    pub rows_outside: i64,
}

impl Loaded {
    /// Puts the outcome of the merge into the counts: every row counts as new until then.
    pub fn settle_fates(&mut self, fates: &[(RowRef, Fate)]) {
        for (row, fate) in fates {
            let batch = row.batch as usize;
            let object =
                self.first_object[batch] + super::object_of(&self.rows[batch], row.row as usize);
            self.objects[object].note(*fate);
        }
        let sum = |get: fn(&ObjectCount) -> i64| self.objects.iter().map(get).sum::<i64>() as u64;
        let (new, duplicate, changed) =
            (sum(|o| o.rows_new), sum(|o| o.rows_duplicate), sum(|o| o.rows_changed));
        self.tally.details_new = new;
        self.tally.details_duplicate = duplicate;
        self.tally.details_changed = changed;
    }
}

/// What one shard gave.
struct ShardOut {
    rows: Option<Rows>,
    first_object: usize,
    parts: Vec<Part>,
    tally: Tally,
    unmapped: UnmappedCounts,
    bytes_read: u64,
    fetched_at_seen: u64,
}

/// What one object, or one piece of it, gave. There are as many as objects: what can be added up is in the
/// shard's tally.
struct Part {
    object: usize,
    read: Version,
    records: i64,
    /// Whether none of the records could be used.
    all_rejected: bool,
    rejects: Vec<Reject>,
    rows: i64,
    outside: i64,
}

/// Bytes looked at to tell whether a large object can be split.
const HEAD_BYTES: u64 = 64 << 10;

pub fn load(context: &Context<'_>, objects: &[Object]) -> Result<Loaded, RunError> {
    let source = &context.pipeline.source;
    let large: Vec<&str> = objects
        .iter()
        .filter(|object| object.info.size > sources::SHARD_BYTES)
        .map(|object| object.info.key.as_str())
        .collect();
    let split = on_threads(context.io_threads, &large, |key| {
        stopped(context)?;
        let head = match context.source.read_range(key, 0..HEAD_BYTES) {
            Ok(head) => head,
            // Gone since it was listed: who reads it will find out.
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let splits = decode::compression(source.compression, &head) == Compression::Plain
            && decode::splits_at_lines(source.format, key, &head);
        Ok(splits.then_some(*key))
    })?;
    let split: HashSet<&str> = split.into_iter().flatten().collect();
    let shards = sources::shards(objects, |object| split.contains(object.info.key.as_str()));
    let wanted = Wanted::new(
        source.envelope.clone(),
        context.pipeline.privacy.idcard.is_some(),
        context.pipeline.privacy.name.is_some(),
    );
    let outs: Vec<ShardOut> = match context.source.local_folder() {
        Some(_) => shards
            .par_iter()
            .map(|shard| read_shard(context, objects, shard, &wanted, &Feed::Opened))
            .collect::<Result<_, RunError>>()?,
        None => fetch_shards(context, objects, &shards, &wanted)?,
    };
    put_together(objects, outs)
}

/// Reads the shards of a remote source: requests are in flight for many objects, in key order, while workers
/// take what has arrived, each a shard from its first object to its last. That is how the order of
/// [`Fetch::begin`] is theirs, too.
fn fetch_shards(
    context: &Context<'_>,
    objects: &[Object],
    shards: &[Shard],
    wanted: &Wanted,
) -> Result<Vec<ShardOut>, RunError> {
    let fetch = context.source.fetch();
    // The number of each shard's first want.
    let mut numbers = 0;
    let firsts: Vec<usize> = shards
        .iter()
        .map(|shard| {
            let first = numbers;
            numbers += match shard {
                Shard::Objects(range) => range.len(),
                Shard::Lines { .. } => 1,
            };
            first
        })
        .collect();
    let wants = || {
        shards.iter().zip(&firsts).flat_map(|(shard, first)| {
            let (places, bytes) = match shard {
                Shard::Objects(range) => (range.clone(), None),
                Shard::Lines { object, bytes } => (*object..*object + 1, Some(bytes)),
            };
            let wants = places.map(move |place| want(&objects[place].info, bytes));
            (*first..).zip(wants).filter_map(|(number, want)| Some((number, want?)))
        })
    };
    let next = AtomicUsize::new(0);
    let work = || {
        let _guard = CloseOnPanic(&fetch);
        let mut done = Vec::new();
        loop {
            let place = next.fetch_add(1, Ordering::Relaxed);
            let Some(shard) = shards.get(place) else { return Ok(done) };
            let feed = Feed::Fetched { fetch: &fetch, first: firsts[place] };
            match read_shard(context, objects, shard, wanted, &feed) {
                Ok(out) => done.push((place, out)),
                // The first failure is the one to tell: it ends the others.
                Err(error) if fetch.close() => return Err(error),
                Err(_) => return Ok(done),
            }
        }
    };
    let mut outs = thread::scope(|scope| {
        scope.spawn(|| fetch.begin(wants()));
        // As many as the pipeline allows: they decode, and wait for what they decode only.
        let workers: Vec<_> =
            (0..rayon::current_num_threads()).map(|_| scope.spawn(work)).collect();
        let mut outs = Vec::with_capacity(shards.len());
        for worker in workers {
            match worker.join() {
                Ok(done) => outs.extend(done?),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        Ok::<_, RunError>(outs)
    })?;
    outs.sort_unstable_by_key(|(place, _)| *place);
    Ok(outs.into_iter().map(|(_, out)| out).collect())
}

/// What is asked for of an object, or of a piece of it, at first; None where it is read as a stream.
fn want(listed: &ObjectInfo, piece: Option<&Range<u64>>) -> Option<Want> {
    let want = Want { key: listed.key.clone(), range: None, etag: None, size: listed.size };
    match piece {
        Some(bytes) => {
            Some(Want { range: Some(Ranges::first(bytes)), etag: listed.etag.clone(), ..want })
        }
        None => (listed.size <= WHOLE_BYTES_MAX).then_some(want),
    }
}

/// Ends the requests of workers that panic, or the thread that begins them would wait for room for ever.
struct CloseOnPanic<'f>(&'f Fetch);

impl Drop for CloseOnPanic<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.close();
        }
    }
}

/// How a shard's bytes come to its worker.
enum Feed<'f> {
    /// By opening each object when its turn comes.
    Opened,
    /// By requests begun before, from this number on.
    Fetched { fetch: &'f Fetch, first: usize },
}

type Input = (ObjectInfo, Box<dyn Read + Send>);

impl Feed<'_> {
    /// The object of a place within the shard, or the piece of it.
    fn open(
        &self,
        context: &Context<'_>,
        within: usize,
        listed: &ObjectInfo,
        piece: Option<&Range<u64>>,
    ) -> Result<Input, RunError> {
        if let Feed::Fetched { fetch, first } = self
            && want(listed, piece).is_some()
        {
            // Closed: another worker has failed, and tells why.
            let outcome = fetch.take(first + within).ok_or(RunError::Stopped)?;
            match outcome {
                Ok(fetched) => return Ok((fetched.info, Box::new(fetched.body))),
                Err(FetchError::Open(error)) => return Err(error.into()),
                Err(FetchError::Read(error)) => {
                    let source = std::io::Error::other(error);
                    return Err(RunError::Read { key: listed.key.clone(), source });
                }
                Err(FetchError::Grown) => {}
            }
        }
        Ok(match piece {
            Some(bytes) => {
                let etag = listed.etag.as_deref();
                context.source.open_range(&listed.key, Ranges::first(bytes), etag)?
            }
            None => context.source.open_object(&listed.key, 0, None)?,
        })
    }
}

/// Sums up in key order. Pieces of an object number their records from 0: each is shifted by what the
/// pieces before it held.
fn put_together(objects: &[Object], outs: Vec<ShardOut>) -> Result<Loaded, RunError> {
    let mut loaded =
        Loaded { objects: vec![ObjectCount::default(); objects.len()], ..Loaded::default() };
    let mut unreadable = vec![true; objects.len()];
    for out in outs {
        let shift = out.parts.first().map_or(0, |part| loaded.objects[part.object].records);
        loaded.tally.add(&out.tally);
        loaded.unmapped.merge(out.unmapped);
        loaded.bytes_read += out.bytes_read;
        loaded.fetched_at_seen += out.fetched_at_seen;
        for part in out.parts {
            let count = &mut loaded.objects[part.object];
            // Pieces of an object are all of the version that was listed.
            count.read = part.read;
            count.records += part.records;
            count.rows_new += part.rows;
            count.rejects += part.rejects.len() as i64;
            count.rows_outside += part.outside;
            let nothing = part.rejects.iter().all(|r| {
                matches!(r.reason, RejectReason::EmptyObject | RejectReason::BadCompression)
            });
            unreadable[part.object] &= nothing && part.all_rejected;
            let key = &objects[part.object].info.key;
            loaded.rejects.extend(part.rejects.into_iter().map(|reject| RejectRow {
                source_key: key.clone(),
                source_record: reject.record + shift,
                byte_offset: reject.byte_offset,
                json_path: reject.json_path,
                reason: reject.reason.code().to_owned(),
                message: reject.message,
                run_id: String::new(),
            }));
        }
        if let Some(mut rows) = out.rows {
            rows.shift_records(shift).map_err(crate::write::WriteError::from)?;
            loaded.days.extend(&rows.usage_date);
            loaded.rows.push(rows);
            loaded.first_object.push(out.first_object);
        }
    }
    for (object, unreadable) in loaded.objects.iter().zip(unreadable) {
        // An empty array is read to its end and holds nothing.
        match unreadable && object.records > 0 {
            _ if matches!(object.read, Version::Gone) => loaded.tally.objects_gone += 1,
            true => loaded.tally.objects_rejected += 1,
            false => loaded.tally.objects_parsed += 1,
        }
    }
    Ok(loaded)
}

fn read_shard(
    context: &Context<'_>,
    objects: &[Object],
    shard: &Shard,
    wanted: &Wanted,
    feed: &Feed<'_>,
) -> Result<ShardOut, RunError> {
    let first_object = match shard {
        Shard::Objects(range) => range.start,
        Shard::Lines { object, .. } => *object,
    };
    let mut loader = Loader {
        context,
        rows: RowsBuilder::new(&context.pipeline.account.uin),
        unmapped: UnmappedCounts::default(),
        captures: Vec::new(),
        tally: Tally::default(),
        rejects: Vec::new(),
        outside: 0,
        modified_ms: 0,
        rows_before: 0,
        fetched_at_seen: 0,
    };
    let bytes_read = AtomicU64::new(0);
    let mut parts = Vec::new();
    match shard {
        Shard::Objects(range) => {
            for place in range.clone() {
                stopped(context)?;
                let object = &objects[place];
                let before = bytes_read.load(Ordering::Relaxed);
                let input = feed.open(context, place - range.start, &object.info, None);
                let part =
                    read_whole(context, place, object, input, wanted, &mut loader, &bytes_read)?;
                parts.push(part);
                let bytes = bytes_read.load(Ordering::Relaxed) - before;
                let part = &parts[parts.len() - 1];
                context.progress.add(1, bytes, part.rows as u64, part.rejects.len() as u64);
            }
        }
        Shard::Lines { object: place, bytes } => {
            stopped(context)?;
            let object = &objects[*place];
            loader.begin(object, object.info.last_modified_ms);
            let (opened, input) = feed.open(context, 0, &object.info, Some(bytes))?;
            let input = Ranges::new(context.source, bytes, opened, input);
            context.versions.same(*place, object, context.source, &input.opened)?;
            let tally = read_lines(object, input, bytes.clone(), wanted, &mut loader, &bytes_read)?;
            parts.push(loader.end(*place, Version::Listed, tally));
            let whole = u64::from(bytes.end == object.info.size);
            let part = &parts[parts.len() - 1];
            context.progress.add(
                whole,
                bytes.end - bytes.start,
                part.rows as u64,
                part.rejects.len() as u64,
            );
        }
    }
    let Loader { rows, tally, unmapped, fetched_at_seen, .. } = loader;
    let rows = match rows.is_empty() {
        true => None,
        false => Some(rows.finish().map_err(crate::write::WriteError::from)?),
    };
    let bytes_read = bytes_read.into_inner();
    Ok(ShardOut { rows, first_object, parts, tally, unmapped, bytes_read, fetched_at_seen })
}

/// Counts what is read through it.
struct Counted<'c, R> {
    input: R,
    bytes: &'c AtomicU64,
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let n = self.input.read(buffer)?;
        self.bytes.fetch_add(n as u64, Ordering::Relaxed);
        Ok(n)
    }
}

fn stopped(context: &Context<'_>) -> Result<(), RunError> {
    match context.stop.load(Ordering::Relaxed) {
        true => Err(RunError::Stopped),
        false => Ok(()),
    }
}

fn failed_read(object: &Object, source: std::io::Error) -> RunError {
    RunError::Read { key: object.info.key.clone(), source }
}

/// Reads an object from its first byte to its last. One that has gone since it was listed is no failure: the next
/// listing does not hold it.
fn read_whole<'c>(
    context: &Context<'_>,
    place: usize,
    object: &'c Object,
    input: Result<Input, RunError>,
    wanted: &Wanted,
    loader: &mut Loader<'c>,
    bytes_read: &AtomicU64,
) -> Result<Part, RunError> {
    let source = &context.pipeline.source;
    let (info, input) = match input {
        Ok((opened, input)) => (version_read(&object.info, opened), input),
        Err(RunError::Storage(error)) if error.is_not_found() => {
            loader.begin(object, object.info.last_modified_ms);
            return Ok(loader.end(place, Version::Gone, Tally::default()));
        }
        Err(error) => return Err(error),
    };
    loader.begin(object, info.last_modified_ms);
    let read = match info == object.info {
        true => Version::Listed,
        false => Version::Other(Box::new(info)),
    };
    let mut input = Counted { input, bytes: bytes_read };
    let tally = decode::read_object(
        &mut input,
        &object.info.key,
        source.format,
        source.compression,
        wanted,
        loader,
    )
    .map_err(|error| failed_read(object, error))?;
    Ok(loader.end(place, read, tally))
}

/// What is known of the version that was read: what was listed, unless the object was overwritten since.
/// A listing may give no etag, and tells times more finely than the answer to a GET.
fn version_read(listed: &ObjectInfo, opened: ObjectInfo) -> ObjectInfo {
    let same = listed.same_etag(&opened).unwrap_or_else(|| {
        listed.last_modified_ms.div_euclid(1000) == opened.last_modified_ms.div_euclid(1000)
    });
    match same && listed.size == opened.size {
        true => listed.clone(),
        // As a listing would tell it, or the next one would not know it again.
        false => ObjectInfo { etag: opened.etag.filter(|_| listed.etag.is_some()), ..opened },
    }
}

/// Of which version the first piece read of an object was, by its place in the selection. Pieces of several
/// versions would make rows of none.
#[derive(Default)]
pub struct Versions(Mutex<HashMap<usize, ObjectInfo>>);

impl Versions {
    fn same(
        &self,
        place: usize,
        object: &Object,
        source: &Place,
        opened: &ObjectInfo,
    ) -> Result<(), StorageError> {
        let mut versions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let first = versions.entry(place).or_insert_with(|| opened.clone());
        // As listed, too: the rank of the rows is that of the listed version.
        match first == opened && version_read(&object.info, opened.clone()) == object.info {
            true => Ok(()),
            false => Err(StorageError::Changed {
                operation: "read",
                place: format!("{source}/{}", object.info.key),
            }),
        }
    }
}

/// The lines that begin within `range`: the last of them is read to its end, beyond the range.
fn read_lines(
    object: &Object,
    input: Ranges<'_>,
    range: Range<u64>,
    wanted: &Wanted,
    loader: &mut Loader<'_>,
    bytes_read: &AtomicU64,
) -> Result<Tally, RunError> {
    let from = input.at;
    let mut input = Counted { input, bytes: bytes_read };
    let mut bytes = PIECE.take();
    read_up_to(&mut input, (range.end - from) as usize, &mut bytes)
        .map_err(|error| failed_read(object, error))?;
    let begin = match range.start {
        0 => Some(0),
        _ => memchr::memchr(b'\n', &bytes).map(|newline| newline + 1),
    };
    let Some(begin) = begin.filter(|begin| from + (*begin as u64) < range.end) else {
        return Ok(Decoder::new(wanted, Framing::Lines, from).finish());
    };
    let mut tail = vec![0; 64 << 10];
    while bytes.last() != Some(&b'\n') {
        let n = input.read(&mut tail).map_err(|error| failed_read(object, error))?;
        if n == 0 {
            break;
        }
        let line = memchr::memchr(b'\n', &tail[..n]);
        bytes.extend_from_slice(&tail[..line.map_or(n, |newline| newline + 1)]);
    }
    let mut decoder = Decoder::new(wanted, Framing::Lines, from + begin as u64);
    decoder.push(&bytes[begin..], true, loader);
    PIECE.set(bytes);
    Ok(decoder.finish())
}

/// Bytes asked for beyond a piece, for the rest of its last line: a result with a picture.
const TAIL_BYTES: u64 = 128 << 10;

/// An object from some byte on, asked for in ranges, each twice as far beyond the first as the one before: what
/// a worker does not need is not sent to it.
struct Ranges<'c> {
    place: &'c Place,
    /// The version that the first range was of.
    opened: ObjectInfo,
    input: Box<dyn Read + Send>,
    at: u64,
    to: u64,
    beyond: u64,
}

impl<'c> Ranges<'c> {
    /// The bytes of a piece, and one before them: a line begins at its start only if a line break stands there.
    fn first(piece: &Range<u64>) -> Range<u64> {
        piece.start.saturating_sub(1)..piece.end.saturating_add(TAIL_BYTES)
    }

    fn new(
        place: &'c Place,
        piece: &Range<u64>,
        opened: ObjectInfo,
        input: Box<dyn Read + Send>,
    ) -> Ranges<'c> {
        let Range { start: at, end: to } = Ranges::first(piece);
        Ranges { place, opened, input, at, to, beyond: TAIL_BYTES }
    }
}

impl Read for Ranges<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        loop {
            let n = self.input.read(buffer)?;
            self.at += n as u64;
            if n > 0 || buffer.is_empty() || self.at < self.to || self.to >= self.opened.size {
                return Ok(n);
            }
            self.beyond *= 2;
            self.to += self.beyond;
            let etag = self.opened.etag.as_deref();
            let opened = self.place.open_range(&self.opened.key, self.at..self.to, etag);
            self.input = opened.map_err(std::io::Error::other)?.1;
        }
    }
}

thread_local! {
    /// A worker's buffer for pieces, kept from one to the next: fresh memory for each would cost more
    /// than reading into it.
    static PIECE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Reads `n` bytes, or to the end, into the buffer, whose content is replaced.
fn read_up_to(input: &mut impl Read, n: usize, buffer: &mut Vec<u8>) -> std::io::Result<()> {
    buffer.resize(n, 0);
    let mut filled = 0;
    while filled < n {
        match input.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    buffer.truncate(filled);
    Ok(())
}

/// The sink of one worker.
struct Loader<'c> {
    context: &'c Context<'c>,
    rows: RowsBuilder,
    unmapped: UnmappedCounts,
    /// Of the key of the object that is read, by name.
    captures: Vec<(String, String)>,
    /// Of all objects so far.
    tally: Tally,
    rejects: Vec<Reject>,
    outside: i64,
    /// Last-modified time of the version that is read.
    modified_ms: i64,
    rows_before: usize,
    fetched_at_seen: u64,
}

impl<'c> Loader<'c> {
    fn begin(&mut self, object: &Object, modified_ms: i64) {
        if let Some(pattern) = self.context.pattern {
            pattern.capture(&object.info.key, &mut self.captures);
        }
        self.modified_ms = modified_ms;
        self.rows.begin_object(&object.info.key);
        self.rows_before = self.rows.len();
    }

    fn end(&mut self, object: usize, read: Version, mut tally: Tally) -> Part {
        tally.details_outside = self.outside as u64;
        self.tally.add(&tally);
        Part {
            object,
            read,
            records: tally.records_seen as i64,
            all_rejected: tally.records_rejected == tally.records_seen,
            rejects: std::mem::take(&mut self.rejects),
            rows: (self.rows.len() - self.rows_before) as i64,
            outside: std::mem::take(&mut self.outside),
        }
    }
}

impl Sink for Loader<'_> {
    fn record(&mut self, record: &Record<'_>, attempts: &[Attempt<'_>]) {
        let (context, captures) = (self.context, &self.captures);
        let capture =
            |name: &str| captures.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str());
        let routed = context.router.route(captures, record);
        let earliest = attempts.iter().map(|a| a.req_time).min();
        let snapshot_final = record.snapshot_final(earliest);
        self.fetched_at_seen += u64::from(record.fetched_at.is_some());
        let rank_time = record.fetched_at.unwrap_or(self.modified_ms);
        for attempt in attempts {
            let usage_date = UsageDay::of_instant(attempt.req_time);
            if !context.window.holds(usage_date) {
                self.outside += 1;
                continue;
            }
            let compare_lib = attempt.compare_lib_type.as_deref();
            let tagged = context.router.tag(&routed, compare_lib);
            self.unmapped.note(&tagged, captures, record, compare_lib);
            let tag = Catalogue::get().tag(tagged.tag);
            let privacy = &context.pipeline.privacy;
            let idcard_hmac = keyed(privacy.idcard.as_ref(), attempt.idcard.as_deref());
            let name_hmac = keyed(privacy.name.as_ref(), attempt.name.as_deref());
            let placed = Placed {
                usage_date,
                settlement_date: settlement_date(
                    context.pipeline.account.settlement,
                    tag,
                    usage_date,
                ),
                billing_tag: tag.label,
                billing_tag_code: tag.code,
                product: tagged.product,
                channel: tagged.channel,
                compare_source: tagged.compare_source.map(|s| s.code()),
                snapshot_final,
                biz_token: record.biz_token.as_deref().or_else(|| capture("biz_token")),
                rule_id: record.rule_id.as_deref().or_else(|| capture("rule_id")),
                idcard_hmac: idcard_hmac.as_deref(),
                name_hmac: name_hmac.as_deref(),
                rank_time,
            };
            self.rows.push(record, attempt, &placed);
        }
    }

    fn reject(&mut self, reject: Reject) {
        self.rejects.push(reject);
    }
}

/// HMAC-SHA-256 of a personal field under the pipeline's key, in hex; null stays null, and so does an
/// empty string, which tells nobody apart.
fn keyed(key: Option<&Key>, value: Option<&str>) -> Option<String> {
    let (key, value) = (key?, value.filter(|v| !v.is_empty())?);
    let mut mac = Hmac::<Sha256>::new_from_slice(key.bytes()).ok()?;
    mac.update(value.as_bytes());
    Some(mac.finalize().into_bytes().iter().map(|b| format!("{b:02x}")).collect())
}
