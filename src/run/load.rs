//! Shards to rows: every worker reads, decodes and classifies on its own, and what they give is put
//! together in key order, so that the number of workers changes nothing.

use super::{RunError, memory, on_threads, stopped};
use crate::classify::{Catalogue, Router, UnmappedCounts, settlement_date};
use crate::decode::{
    self, Ask, Decoder, END_LOOK_BYTES, Framing, Layouts, Sink, Skim, Wanted, Why,
};
use crate::model::{Attempt, Compression, Envelope, Record, Reject, RejectReason, Tally, UsageDay};
use crate::pipeline::{Key, Pipeline, Reading};
use crate::report::Progress;
use crate::sources::{self, KeyPattern, Object, Objects, Shard, Window};
use crate::storage::{Fetch, FetchError, ObjectInfo, Place, StorageError, WHOLE_BYTES_MAX, Want};
use crate::write::merge::Fates;
use crate::write::rows::{Placed, RowsBuilder};
use crate::write::small::RejectRow;
use crate::write::spill::Held;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
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
    /// What is learned of the folders of the source, over all that a run loads.
    pub layouts: &'c Layouts,
    pub density: Density,
}

/// How many rows were made of how many stored bytes: columns that grow by doubling are copied again and again.
#[derive(Default)]
pub struct Density {
    rows: AtomicU64,
    bytes: AtomicU64,
}

impl Density {
    fn add(&self, rows: usize, bytes: u64) {
        self.rows.fetch_add(rows as u64, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Rows to make room for: some more than are likely, at most one for every 256 bytes.
    fn rows_of(&self, bytes: u64) -> usize {
        let (rows, seen) = (self.rows.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed));
        let likely = u128::from(bytes) * u128::from(rows) / u128::from(seen.max(1));
        (likely + likely / 32).min(u128::from(bytes / 256)) as usize
    }
}

/// Everything that was read, but for the rows.
#[derive(Default)]
pub struct Loaded {
    /// By place in the selection.
    pub objects: Vec<ObjectCount>,
    pub rejects: Vec<RejectRow>,
    pub tally: Tally,
    pub unmapped: UnmappedCounts,
    /// Usage days (`Date32`) of the rows.
    pub days: BTreeSet<i32>,
    pub bytes_read: u64,
    pub pieces: PieceCounts,
    /// What the envelopes of records with attempts told.
    pub envelope_seen: EnvelopeSeen,
}

/// The rows that were read.
pub struct Unmerged {
    pub rows: Held,
    /// By piece of the work: records of its first object that lie before it.
    pub shifts: Vec<i64>,
}

/// Large objects, by how they were read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PieceCounts {
    /// Without their media.
    pub in_part: u64,
    /// Whole, to see what the objects of a folder are like.
    pub samples: u64,
    /// Whole, because parts did not do.
    pub whole: u64,
}

impl PieceCounts {
    pub fn add(&mut self, other: PieceCounts) {
        self.in_part += other.in_part;
        self.samples += other.samples;
        self.whole += other.whole;
    }
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
    fn of(listed: &ObjectInfo, read: ObjectInfo) -> Version {
        match read == *listed {
            true => Version::Listed,
            false => Version::Other(Box::new(read)),
        }
    }
}

/// What came of one object. There are very many: four billion of anything in one of them are told, not counted.
#[derive(Clone, Debug, Default)]
pub struct ObjectCount {
    pub read: Version,
    pub records: u32,
    pub rows_new: u32,
    pub rows_duplicate: u32,
    pub rows_changed: u32,
    pub rejects: u32,
    pub rows_outside: u32,
}

impl Loaded {
    /// Puts the outcome of the merge into the counts: every row counts as new until then.
    pub fn settle_fates(&mut self, fates: &HashMap<u32, Fates>) {
        for (object, fates) in fates {
            let count = &mut self.objects[*object as usize];
            // No more than the rows that were counted as new.
            count.rows_new -= (fates.duplicate + fates.changed) as u32;
            count.rows_duplicate += fates.duplicate as u32;
            count.rows_changed += fates.changed as u32;
        }
        let sum =
            |get: fn(&ObjectCount) -> u32| self.objects.iter().map(|o| u64::from(get(o))).sum();
        let (new, duplicate, changed) =
            (sum(|o| o.rows_new), sum(|o| o.rows_duplicate), sum(|o| o.rows_changed));
        self.tally.details_new = new;
        self.tally.details_duplicate = duplicate;
        self.tally.details_changed = changed;
    }
}

/// What one shard gave.
struct ShardOut {
    days: BTreeSet<i32>,
    parts: Vec<Part>,
    tally: Tally,
    unmapped: UnmappedCounts,
    bytes_read: u64,
    pieces: PieceCounts,
    envelope_seen: EnvelopeSeen,
}

/// What one object, or one piece of it, gave. There are as many as objects: what can be added up is in the
/// shard's tally.
struct Part {
    object: usize,
    read: Version,
    records: i64,
    /// Records that could be used.
    usable: u64,
    rejects: Vec<Reject>,
    rows: i64,
    outside: i64,
}

/// Records whose envelope told something, by what: in the order of [`EnvelopeSeen::NAMES`].
#[derive(Clone, Copy, Debug, Default)]
pub struct EnvelopeSeen([u64; 5]);

impl EnvelopeSeen {
    /// As keys of `source.envelope`.
    pub const NAMES: [&str; 5] = ["biz_token", "rule_id", "channel", "fetched_at", "created_at"];

    fn note(&mut self, record: &Record<'_>) {
        let told = [
            record.biz_token.is_some(),
            record.rule_id.is_some(),
            record.channel.is_some(),
            record.fetched_at.is_some(),
            record.created_at.is_some(),
        ];
        self.0.iter_mut().zip(told).for_each(|(n, told)| *n += u64::from(told));
    }

    pub fn add(&mut self, other: EnvelopeSeen) {
        self.0.iter_mut().zip(other.0).for_each(|(n, more)| *n += more);
    }

    /// Those that the pipeline names a place for.
    pub fn of(self, envelope: &Envelope) -> BTreeMap<&'static str, u64> {
        let Envelope { biz_token, rule_id, channel, fetched_at, created_at, .. } = envelope;
        let named = [biz_token, rule_id, channel, fetched_at, created_at];
        let each = Self::NAMES.iter().zip(self.0).zip(named);
        each.filter(|(_, named)| named.is_some()).map(|((name, n), _)| (*name, n)).collect()
    }
}

/// So many objects at once, and what is held of each makes the most of what a run holds.
pub const MANY_OBJECTS: usize = 100_000;

/// Bytes of rows that are held. A date of very many objects weighs by its keys and counts, which are not written to
/// disk: they come off what rows may weigh, twice, for the load history is made of them.
fn rows_bytes(context: &Context<'_>, objects: &Objects) -> usize {
    let objects = objects.bytes() + objects.len() * size_of::<ObjectCount>();
    let bytes = context.pipeline.limits.held_bytes();
    bytes.saturating_sub(2 * objects).max(ROWS_BYTES_MIN.min(bytes))
}

/// Rows are not written to disk in smaller parts on that account: each takes a block of memory when they are merged.
const ROWS_BYTES_MIN: usize = 16 << 20;

/// Bytes looked at to tell whether a large object can be split.
const HEAD_BYTES: u64 = 64 << 10;

pub fn load(context: &Context<'_>, objects: &Objects) -> Result<(Loaded, Unmerged), RunError> {
    if objects.len() >= MANY_OBJECTS {
        memory::give_back_soon();
    }
    let source = &context.pipeline.source;
    let large: Vec<&str> = (0..objects.len())
        .filter(|place| objects.size(*place) > sources::SHARD_BYTES)
        .map(|place| objects.key(place))
        .collect();
    let split = on_threads(context.io_threads, &large, |key| {
        stopped(context.stop)?;
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
    let shards = sources::shards(objects, |key| split.contains(key));
    let wanted = Wanted::new(
        source.envelope.clone(),
        context.pipeline.privacy.idcard.is_some(),
        context.pipeline.privacy.name.is_some(),
    );
    let pieces: Vec<(usize, Shard)> = shards.into_iter().enumerate().collect();
    context.layouts.begin();
    let mut bytes_in_vain = 0;
    loop {
        let held = Held::new(rows_bytes(context, objects), &std::env::temp_dir());
        let read = |(piece, shard): &(usize, Shard)| {
            read_shard(context, objects, *piece, shard, &wanted, &held, &Feed::Opened)
        };
        let sizes = (0..objects.len()).map(|place| objects.size(place));
        let streamed = sizes.filter(|size| !is_fetched(context, *size)).count();
        let outs: Vec<ShardOut> = if context.source.local_folder().is_some() {
            // One after the other, in key order: a thread that is done leaves none of a stretch of its own to the other,
            // and what goes to disk together is of few days.
            on_threads(rayon::current_num_threads(), &pieces, read)?
        } else if streamed * 2 > objects.len() {
            // Each asks for parts of one object after the other, and waits: that takes threads, not processors.
            on_threads(context.io_threads.max(PART_THREADS), &pieces, read)?
        } else {
            fetch_shards(context, objects, &pieces, &wanted, &held)?
        };
        // An object of several records was found after others of its folder had been read in part. That happens
        // once a folder at most: from now on it is read whole.
        if context.layouts.refuted() {
            bytes_in_vain += outs.iter().map(|out| out.bytes_read).sum::<u64>();
            continue;
        }
        let (mut loaded, shifts) = put_together(objects, outs)?;
        loaded.bytes_read += bytes_in_vain;
        return Ok((loaded, Unmerged { rows: held, shifts }));
    }
}

/// Reads the shards of a remote source: requests are in flight for many objects, in key order, while workers
/// take what has arrived, each a shard from its first object to its last. That is how the order of
/// [`Fetch::begin`] is theirs, too.
fn fetch_shards(
    context: &Context<'_>,
    objects: &Objects,
    shards: &[(usize, Shard)],
    wanted: &Wanted,
    held: &Held,
) -> Result<Vec<ShardOut>, RunError> {
    let fetch = context.source.fetch();
    // The number of each shard's first want.
    let mut numbers = 0;
    let firsts: Vec<usize> = shards
        .iter()
        .map(|(_, shard)| {
            let first = numbers;
            numbers += match shard {
                Shard::Objects(range) => range.len(),
                Shard::Lines { .. } => 1,
            };
            first
        })
        .collect();
    let wants = || {
        shards.iter().zip(&firsts).flat_map(|((_, shard), first)| {
            let (places, bytes) = match shard {
                Shard::Objects(range) => (range.clone(), None),
                Shard::Lines { object, bytes } => (*object..*object + 1, Some(bytes)),
            };
            let wants = places.map(move |place| want(context, &objects.get(place).info, bytes));
            (*first..).zip(wants).filter_map(|(number, want)| Some((number, want?)))
        })
    };
    let next = AtomicUsize::new(0);
    let work = || {
        let _guard = CloseOnPanic(&fetch);
        let mut done = Vec::new();
        loop {
            let place = next.fetch_add(1, Ordering::Relaxed);
            let Some((piece, shard)) = shards.get(place) else { return Ok(done) };
            let feed = Feed::Fetched { fetch: &fetch, first: firsts[place] };
            match read_shard(context, objects, *piece, shard, wanted, held, &feed) {
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
fn want(context: &Context<'_>, listed: &ObjectInfo, piece: Option<&Range<u64>>) -> Option<Want> {
    let want = Want { key: listed.key.clone(), range: None, etag: None, size: listed.size };
    match piece {
        Some(bytes) => {
            Some(Want { range: Some(Ranges::first(bytes)), etag: listed.etag.clone(), ..want })
        }
        None => is_fetched(context, listed.size).then_some(want),
    }
}

/// Whether an object of this size is fetched by one request; else it is read as a stream, or in part.
fn is_fetched(context: &Context<'_>, size: u64) -> bool {
    size <= WHOLE_BYTES_MAX && !in_part(context, size)
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
            && want(context, listed, piece).is_some()
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
fn put_together(objects: &Objects, outs: Vec<ShardOut>) -> Result<(Loaded, Vec<i64>), RunError> {
    let mut loaded =
        Loaded { objects: vec![ObjectCount::default(); objects.len()], ..Loaded::default() };
    let mut shifts = Vec::with_capacity(outs.len());
    let mut unreadable = vec![true; objects.len()];
    for out in outs {
        let records = out.parts.first().map_or(0, |part| loaded.objects[part.object].records);
        let shift = i64::from(records);
        shifts.push(shift);
        loaded.days.extend(out.days);
        loaded.tally.add(&out.tally);
        loaded.unmapped.merge(out.unmapped);
        loaded.bytes_read += out.bytes_read;
        loaded.pieces.add(out.pieces);
        loaded.envelope_seen.add(out.envelope_seen);
        for part in out.parts {
            let count = &mut loaded.objects[part.object];
            // Pieces of an object are all of the version that was listed.
            count.read = part.read;
            let key = objects.key(part.object);
            let add = |count: &mut u32, n: i64| {
                *count = u32::try_from(i64::from(*count) + n).map_err(|_| {
                    RunError::Usage(format!("{key}: 2^32 records or attempts, or more: split it"))
                })?;
                Ok::<_, RunError>(())
            };
            add(&mut count.records, part.records)?;
            add(&mut count.rows_new, part.rows)?;
            add(&mut count.rejects, part.rejects.len() as i64)?;
            add(&mut count.rows_outside, part.outside)?;
            let nothing = part.rejects.iter().all(|r| {
                matches!(r.reason, RejectReason::EmptyObject | RejectReason::BadCompression)
            });
            unreadable[part.object] &= nothing && part.usable == 0;
            loaded.rejects.extend(part.rejects.into_iter().map(|reject| RejectRow {
                source_key: key.to_owned(),
                source_record: reject.record + shift,
                byte_offset: reject.byte_offset,
                json_path: reject.json_path,
                reason: reject.reason.code().to_owned(),
                message: reject.message,
                seqs: reject.seqs,
                run_id: String::new(),
            }));
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
    Ok((loaded, shifts))
}

fn read_shard(
    context: &Context<'_>,
    objects: &Objects,
    piece: usize,
    shard: &Shard,
    wanted: &Wanted,
    held: &Held,
    feed: &Feed<'_>,
) -> Result<ShardOut, RunError> {
    let mut loader = Loader {
        context,
        rows: RowsBuilder::of_objects(&context.pipeline.account.uin, objects.keys().clone()),
        unmapped: UnmappedCounts::default(),
        piece,
        captures: Vec::new(),
        tally: Tally::default(),
        rejects: Vec::new(),
        outside: 0,
        modified_ms: 0,
        rows_before: 0,
        envelope_seen: EnvelopeSeen::default(),
        first_attempt: None,
        last_bytes: LastBytes::default(),
        pieces: PieceCounts::default(),
    };
    let bytes_read = AtomicU64::new(0);
    let mut parts = Vec::new();
    let stored = match shard {
        Shard::Objects(range) => range.clone().map(|place| objects.size(place)).sum(),
        Shard::Lines { bytes, .. } => bytes.end - bytes.start,
    };
    loader.rows.reserve(context.density.rows_of(stored));
    match shard {
        Shard::Objects(range) => {
            for place in range.clone() {
                stopped(context.stop)?;
                let object = &objects.get(place);
                let opened = || feed.open(context, place - range.start, &object.info, None);
                let part =
                    read_one(context, place, object, opened, wanted, &mut loader, &bytes_read)?;
                let (rows, rejects) = (part.rows as u64, part.rejects.len() as u64);
                context.progress.add(1, object.info.size, rows, rejects);
                parts.push(part);
            }
        }
        Shard::Lines { object: place, bytes } => {
            stopped(context.stop)?;
            let object = &objects.get(*place);
            loader.begin(*place, object, object.info.last_modified_ms);
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
    let Loader { rows, tally, unmapped, envelope_seen, pieces, .. } = loader;
    let mut days = BTreeSet::new();
    context.density.add(rows.len(), stored);
    if !rows.is_empty() {
        let rows = rows.finish();
        days.extend(rows.classes.iter().map(|class| class.usage_date));
        held.add(rows)?;
    }
    let bytes_read = bytes_read.into_inner();
    Ok(ShardOut { days, parts, tally, unmapped, bytes_read, pieces, envelope_seen })
}

/// Counts what is read through it.
struct Counted<'c, R> {
    input: R,
    bytes: &'c AtomicU64,
    /// Of objects of which more could be read in part.
    end: Option<LastBytes>,
}

/// The last bytes that were read of an object.
#[derive(Clone, Copy)]
struct LastBytes {
    bytes: [u8; END_LOOK_BYTES],
    len: usize,
}

impl Default for LastBytes {
    fn default() -> LastBytes {
        LastBytes { bytes: [0; END_LOOK_BYTES], len: 0 }
    }
}

impl LastBytes {
    fn push(&mut self, read: &[u8]) {
        let new = &read[read.len().saturating_sub(END_LOOK_BYTES)..];
        let kept = self.len.min(END_LOOK_BYTES - new.len());
        self.bytes.copy_within(self.len - kept..self.len, 0);
        self.bytes[kept..kept + new.len()].copy_from_slice(new);
        self.len = kept + new.len();
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let n = self.input.read(buffer)?;
        self.bytes.fetch_add(n as u64, Ordering::Relaxed);
        if let Some(end) = &mut self.end {
            end.push(&buffer[..n]);
        }
        Ok(n)
    }
}

fn failed_read(object: &Object, source: std::io::Error) -> RunError {
    RunError::Read { key: object.info.key.clone(), source }
}

/// Smaller objects are read whole: two reads and a look at what they hold cost as much. Measured on a warm disk.
const PART_BYTES_MIN: u64 = 64 << 10;
/// The same of a remote source, where a request more costs more than these bytes.
const PART_BYTES_MIN_REMOTE: u64 = 256 << 10;

/// Threads that read objects of a remote store in part: two requests each, and 20 to 40 ms a request.
const PART_THREADS: usize = 64;

/// Smaller objects are read whole.
fn least_bytes(context: &Context<'_>) -> u64 {
    match context.source.local_folder() {
        Some(_) => PART_BYTES_MIN,
        None => PART_BYTES_MIN_REMOTE,
    }
}

/// Whether reading an object in part is tried.
fn in_part(context: &Context<'_>, size: u64) -> bool {
    context.pipeline.source.read == Reading::Auto && size >= least_bytes(context)
}

/// Reads an object: the ends of it where they prove to be enough, else all of it, from what `opened` gives.
fn read_one(
    context: &Context<'_>,
    place: usize,
    object: &Object,
    opened: impl FnOnce() -> Result<Input, RunError>,
    wanted: &Wanted,
    loader: &mut Loader<'_>,
    bytes_read: &AtomicU64,
) -> Result<Part, RunError> {
    let source = &context.pipeline.source;
    let ObjectInfo { key, size, etag, .. } = &object.info;
    if !in_part(context, *size) {
        let part = read_whole(context, place, object, opened(), wanted, loader, bytes_read)?;
        context.layouts.read_plain(key, source.format, part.usable);
        return Ok(part);
    }
    let least_bytes = least_bytes(context);
    let (format, told) = (source.format, source.compression);
    let mut skim = Skim::new((key, *size), format, told, wanted, context.layouts, least_bytes);
    let mut pieces = context.source.pieces(key, etag.as_deref());
    let why = loop {
        let ranges = match skim.ask() {
            Ask::Ranges(ranges) => ranges,
            Ask::Whole(why) => break why,
            Ask::Done => {
                let opened = pieces.opened().unwrap_or(&object.info).clone();
                let info = version_read(&object.info, opened);
                loader.begin(place, object, info.last_modified_ms);
                loader.pieces.in_part += 1;
                let tally = skim.finish(loader);
                return Ok(loader.end(place, Version::of(&object.info, info), tally));
            }
        };
        match pieces.read(&ranges) {
            Ok(read) if pieces.opened().is_some_and(|opened| opened.size == *size) => {
                for (range, bytes) in ranges.into_iter().zip(read) {
                    bytes_read.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                    skim.give(range, &bytes);
                }
            }
            // Another version than was listed, or none any more: whoever reads it whole finds out.
            Ok(_) => skim.give_up(),
            Err(error) if error.is_changed() || error.is_not_found() => skim.give_up(),
            Err(error) => return Err(error.into()),
        }
    };
    loader.first_attempt = None;
    let part = read_whole(context, place, object, opened(), wanted, loader, bytes_read)?;
    match why {
        // It has gone: nothing is learned.
        _ if matches!(part.read, Version::Gone) => {}
        Why::Plain => context.layouts.read_plain(key, format, part.usable),
        Why::Sample => loader.pieces.samples += 1,
        Why::Needed => loader.pieces.whole += 1,
    }
    let end = (part.records == 1).then_some(loader.last_bytes.bytes());
    skim.layout().read_whole(part.usable, loader.first_attempt, *size, end);
    Ok(part)
}

/// Reads an object from its first byte to its last. One that has gone since it was listed is no failure: the next
/// listing does not hold it.
fn read_whole(
    context: &Context<'_>,
    place: usize,
    object: &Object,
    input: Result<Input, RunError>,
    wanted: &Wanted,
    loader: &mut Loader<'_>,
    bytes_read: &AtomicU64,
) -> Result<Part, RunError> {
    let source = &context.pipeline.source;
    let (info, input) = match input {
        Ok((opened, input)) => (version_read(&object.info, opened), input),
        Err(RunError::Storage(error)) if error.is_not_found() => {
            loader.begin(place, object, object.info.last_modified_ms);
            return Ok(loader.end(place, Version::Gone, Tally::default()));
        }
        Err(error) => return Err(error),
    };
    loader.begin(place, object, info.last_modified_ms);
    let size = info.size;
    let read = Version::of(&object.info, info);
    let mut input =
        Counted { input, bytes: bytes_read, end: in_part(context, size).then(LastBytes::default) };
    let tally = decode::read_object(
        &mut input,
        (&object.info.key, size),
        source.format,
        source.compression,
        wanted,
        loader,
    )
    .map_err(|error| failed_read(object, error))?;
    loader.last_bytes = input.end.unwrap_or_default();
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

/// Bytes of a piece that are looked at together: few enough that what was just read is still near the processor
/// when it is checked and decoded.
const NEAR_BYTES: usize = 512 << 10;

/// The lines that begin within `range`: the last of them is read to its end, beyond the range.
fn read_lines(
    object: &Object,
    input: Ranges<'_>,
    range: Range<u64>,
    wanted: &Wanted,
    loader: &mut Loader<'_>,
    bytes_read: &AtomicU64,
) -> Result<Tally, RunError> {
    let mut at = input.at;
    let mut input = Counted { input, bytes: bytes_read, end: None };
    let mut bytes = PIECE.take();
    bytes.pass(usize::MAX);
    let mut want = NEAR_BYTES;
    // From the first line that begins here on.
    let mut decoder = match range.start {
        0 => Some(Decoder::new(wanted, Framing::Lines, at)),
        _ => None,
    };
    while at < range.end {
        let n = (range.end - at).min(want as u64) as usize;
        let read = bytes.more(&mut input, n).map_err(|error| failed_read(object, error))?;
        at += read as u64;
        // The object may have become shorter.
        let last = at == range.end || read < n;
        if decoder.is_none() {
            match memchr::memchr(b'\n', bytes.filled()) {
                Some(newline) => {
                    bytes.pass(newline + 1);
                    let offset = at - bytes.filled().len() as u64;
                    // A line that begins where the range ends is the next piece's.
                    if offset < range.end {
                        decoder = Some(Decoder::new(wanted, Framing::Lines, offset));
                    }
                }
                None => bytes.pass(usize::MAX),
            }
        }
        let Some(decoder) = &mut decoder else {
            if last {
                break;
            }
            continue;
        };
        while last && bytes.filled().last() != Some(&b'\n') {
            let n = bytes.more_of_line(&mut input).map_err(|error| failed_read(object, error))?;
            if n == 0 {
                break;
            }
        }
        let used = decoder.push(bytes.filled(), last, loader);
        bytes.pass(used);
        if last {
            break;
        }
        // Of a line longer than that, twice as much each time, so that it is gone through only a few times.
        want = if used == 0 { bytes.filled().len().max(NEAR_BYTES) } else { NEAR_BYTES };
    }
    PIECE.set(bytes);
    let decoder = decoder.unwrap_or_else(|| Decoder::new(wanted, Framing::Lines, at));
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
    /// Kept from one piece to the next: fresh memory for each would cost more than reading into it.
    static PIECE: Cell<Piece> = const { Cell::new(Piece { bytes: Vec::new(), filled: 0 }) };
}

/// A worker's buffer: what was read and not yet used up stands at its beginning.
#[derive(Default)]
struct Piece {
    bytes: Vec<u8>,
    filled: usize,
}

/// Room that is kept; a long line may have asked for more.
const ROOM_KEPT: usize = 4 * NEAR_BYTES;

/// Bytes read at once in search of a line's end.
const LINE_END_BYTES: usize = 64 << 10;

impl Piece {
    fn filled(&self) -> &[u8] {
        &self.bytes[..self.filled]
    }

    /// Leaves the first `n` bytes, or all there are, behind.
    fn pass(&mut self, n: usize) {
        let n = n.min(self.filled);
        self.bytes.copy_within(n..self.filled, 0);
        self.filled -= n;
        if self.bytes.len() > ROOM_KEPT && self.filled < NEAR_BYTES {
            self.bytes.truncate(ROOM_KEPT);
            self.bytes.shrink_to_fit();
        }
    }

    /// Reads `n` bytes more, or those up to the end; how many.
    fn more(&mut self, input: &mut impl Read, n: usize) -> std::io::Result<usize> {
        let (from, to) = (self.filled, self.filled + n);
        if self.bytes.len() < to {
            self.bytes.resize(to, 0);
        }
        while self.filled < to {
            match input.read(&mut self.bytes[self.filled..to]) {
                Ok(0) => break,
                Ok(read) => self.filled += read,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(self.filled - from)
    }

    /// Reads what comes next, but nothing of the next line; how many bytes.
    fn more_of_line(&mut self, input: &mut impl Read) -> std::io::Result<usize> {
        let from = self.filled;
        self.more(input, LINE_END_BYTES)?;
        if let Some(newline) = memchr::memchr(b'\n', &self.bytes[from..self.filled]) {
            self.filled = from + newline + 1;
        }
        Ok(self.filled - from)
    }
}

/// The sink of one worker.
struct Loader<'c> {
    context: &'c Context<'c>,
    rows: RowsBuilder,
    unmapped: UnmappedCounts,
    piece: usize,
    /// Of the key of the object that is read, by name.
    captures: Vec<(String, String)>,
    /// Of all objects so far.
    tally: Tally,
    rejects: Vec<Reject>,
    outside: i64,
    /// Last-modified time of the version that is read.
    modified_ms: i64,
    rows_before: usize,
    envelope_seen: EnvelopeSeen,
    /// Offset of the first attempt met since this was last set.
    first_attempt: Option<i64>,
    /// Of the object that was read whole last.
    last_bytes: LastBytes,
    pieces: PieceCounts,
}

impl<'c> Loader<'c> {
    fn begin(&mut self, place: usize, object: &Object, modified_ms: i64) {
        if let Some(pattern) = self.context.pattern {
            pattern.capture(&object.info.key, &mut self.captures);
        }
        self.modified_ms = modified_ms;
        self.rows.begin_object(&object.info.key, place, self.piece);
        self.rows_before = self.rows.len();
    }

    fn end(&mut self, object: usize, read: Version, mut tally: Tally) -> Part {
        tally.details_outside = self.outside as u64;
        self.tally.add(&tally);
        Part {
            object,
            read,
            records: tally.records_seen as i64,
            usable: tally.records_seen - tally.records_rejected,
            rejects: std::mem::take(&mut self.rejects),
            rows: (self.rows.len() - self.rows_before) as i64,
            outside: std::mem::take(&mut self.outside),
        }
    }
}

impl Sink for Loader<'_> {
    fn record(&mut self, record: &Record<'_>, attempts: &[Attempt<'_>]) {
        let (context, captures) = (self.context, &self.captures);
        self.first_attempt = self.first_attempt.or(attempts.first().map(|a| a.byte_offset));
        let capture =
            |name: &str| captures.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str());
        let routed = context.router.route(captures, record);
        let earliest = attempts.iter().map(|a| a.req_time).min();
        let snapshot_final = record.snapshot_final(earliest);
        self.envelope_seen.note(record);
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
