//! Shards to rows: every worker reads, decodes and classifies on its own, and what they give is put
//! together in key order, so that the number of workers changes nothing.

use super::{RunError, on_threads};
use crate::classify::{Catalogue, Router, UnmappedCounts, settlement_date};
use crate::decode::{self, Ask, Decoder, Framing, Layouts, Sink, Skim, Wanted, Why};
use crate::model::{Attempt, Compression, Record, Reject, RejectReason, Tally, UsageDay};
use crate::pipeline::{Key, Pipeline, Reading};
use crate::report::Progress;
use crate::sources::{self, Object, Shard, Window};
use crate::storage::{ObjectInfo, Place, StorageError};
use crate::write::merge::{Fate, RowRef};
use crate::write::rows::{Placed, Rows, RowsBuilder};
use crate::write::small::RejectRow;
use hmac::{Hmac, KeyInit, Mac};
use rayon::prelude::*;
use sha2::Sha256;
use std::cell::Cell;
use std::collections::{BTreeSet, HashMap};
use std::io::Read;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// What loading needs.
pub struct Context<'c> {
    pub pipeline: &'c Pipeline,
    pub source: &'c Place,
    pub router: &'c Router,
    pub window: Window,
    pub progress: &'c Progress,
    pub stop: &'c AtomicBool,
    /// Objects of a remote source that are read side by side.
    pub threads: usize,
    pub versions: Versions,
    /// What is learned of the folders of the source, over all that a run loads.
    pub layouts: &'c Layouts,
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
    pub pieces: PieceCounts,
    /// Records with attempts whose envelope told a fetch time.
    pub fetched_at_seen: u64,
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

/// What came of one object.
#[derive(Clone, Debug, Default)]
pub struct ObjectCount {
    /// As it was when it was read, which may be another version than was listed; None when it had gone.
    pub read: Option<ObjectInfo>,
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
    unmapped: UnmappedCounts,
    bytes_read: u64,
    pieces: PieceCounts,
    fetched_at_seen: u64,
}

/// What one object, or one piece of it, gave.
struct Part {
    object: usize,
    read: Option<ObjectInfo>,
    tally: Tally,
    rejects: Vec<Reject>,
    rows: i64,
    outside: i64,
}

/// Bytes looked at to tell whether a large object can be split.
const HEAD_BYTES: u64 = 64 << 10;

pub fn load(context: &Context<'_>, objects: &[Object]) -> Result<Loaded, RunError> {
    let source = &context.pipeline.source;
    let mut failed = None;
    let objects_max = sources::shard_objects_max(context.source);
    let shards = sources::shards(objects, objects_max, |object| {
        let head = match context.source.read_range(&object.info.key, 0..HEAD_BYTES) {
            Ok(head) => head,
            // Gone since it was listed: who reads it will find out.
            Err(error) if error.is_not_found() => return false,
            Err(error) => {
                failed.get_or_insert(error);
                return false;
            }
        };
        decode::compression(source.compression, &head) == Compression::Plain
            && decode::splits_at_lines(source.format, &object.info.key, &head)
    });
    if let Some(error) = failed {
        return Err(error.into());
    }
    let wanted = Wanted::new(
        source.envelope.clone(),
        context.pipeline.privacy.idcard.is_some(),
        context.pipeline.privacy.name.is_some(),
    );
    let read = |shard: &Shard| read_shard(context, objects, shard, &wanted);
    context.layouts.begin();
    let mut bytes_in_vain = 0;
    loop {
        let outs: Vec<ShardOut> = match context.source.local_folder() {
            Some(_) => shards.par_iter().map(read).collect::<Result<_, RunError>>()?,
            // A worker that waits for a store would keep a core idle.
            None => on_threads(context.threads, &shards, read)?,
        };
        // An object of several records was found after others of its folder had been read in part. That happens
        // once a folder at most: from now on it is read whole.
        if context.layouts.refuted() {
            bytes_in_vain += outs.iter().map(|out| out.bytes_read).sum::<u64>();
            continue;
        }
        let mut loaded = put_together(objects, outs)?;
        loaded.bytes_read += bytes_in_vain;
        return Ok(loaded);
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
        loaded.unmapped.merge(out.unmapped);
        loaded.bytes_read += out.bytes_read;
        loaded.pieces.add(out.pieces);
        loaded.fetched_at_seen += out.fetched_at_seen;
        for part in out.parts {
            let count = &mut loaded.objects[part.object];
            // Pieces of an object are all of the version that was listed.
            count.read = part.read;
            count.records += part.tally.records_seen as i64;
            count.rows_new += part.rows;
            count.rejects += part.rejects.len() as i64;
            count.rows_outside += part.outside;
            let nothing = part.rejects.iter().all(|r| {
                matches!(r.reason, RejectReason::EmptyObject | RejectReason::BadCompression)
            });
            unreadable[part.object] &=
                nothing && part.tally.records_rejected == part.tally.records_seen;
            loaded.tally.add(&part.tally);
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
            _ if object.read.is_none() => loaded.tally.objects_gone += 1,
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
) -> Result<ShardOut, RunError> {
    let first_object = match shard {
        Shard::Objects(range) => range.start,
        Shard::Lines { object, .. } => *object,
    };
    let mut loader = Loader {
        context,
        rows: RowsBuilder::new(&context.pipeline.account.uin),
        unmapped: UnmappedCounts::default(),
        object: &objects[first_object],
        rejects: Vec::new(),
        outside: 0,
        modified_ms: 0,
        rows_before: 0,
        fetched_at_seen: 0,
        first_attempt: None,
        pieces: PieceCounts::default(),
    };
    let bytes_read = AtomicU64::new(0);
    let mut parts = Vec::new();
    match shard {
        Shard::Objects(range) => {
            for place in range.clone() {
                if context.stop.load(Ordering::Relaxed) {
                    return Err(RunError::Stopped);
                }
                let object = &objects[place];
                let part = read_one(context, place, object, wanted, &mut loader, &bytes_read)?;
                let (rows, rejects) = (part.rows as u64, part.rejects.len() as u64);
                context.progress.add(1, object.info.size, rows, rejects);
                parts.push(part);
            }
        }
        Shard::Lines { object: place, bytes } => {
            if context.stop.load(Ordering::Relaxed) {
                return Err(RunError::Stopped);
            }
            let object = &objects[*place];
            loader.begin(object, object.info.last_modified_ms);
            let input = Ranges::open(context.source, &object.info, bytes)?;
            context.versions.same(*place, object, context.source, &input.opened)?;
            let tally = read_lines(object, input, bytes.clone(), wanted, &mut loader, &bytes_read)?;
            parts.push(loader.end(*place, Some(object.info.clone()), tally));
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
    let Loader { rows, unmapped, fetched_at_seen, pieces, .. } = loader;
    let rows = match rows.is_empty() {
        true => None,
        false => Some(rows.finish().map_err(crate::write::WriteError::from)?),
    };
    let bytes_read = bytes_read.into_inner();
    Ok(ShardOut { rows, first_object, parts, unmapped, bytes_read, pieces, fetched_at_seen })
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

fn failed_read(object: &Object, source: std::io::Error) -> RunError {
    RunError::Read { key: object.info.key.clone(), source }
}

/// Smaller objects are read whole: two reads and a look at what they hold cost as much. Measured on a warm disk.
const PART_BYTES_MIN: u64 = 64 << 10;
/// The same of a remote source, where a request more costs more than these bytes.
const PART_BYTES_MIN_REMOTE: u64 = 256 << 10;

/// Reads an object: the ends of it where they prove to be enough, else all of it.
fn read_one<'c>(
    context: &Context<'_>,
    place: usize,
    object: &'c Object,
    wanted: &Wanted,
    loader: &mut Loader<'c>,
    bytes_read: &AtomicU64,
) -> Result<Part, RunError> {
    let source = &context.pipeline.source;
    let ObjectInfo { key, size, etag, .. } = &object.info;
    let least_bytes = match context.source.local_folder() {
        Some(_) => PART_BYTES_MIN,
        None => PART_BYTES_MIN_REMOTE,
    };
    if source.read == Reading::Full || *size < least_bytes {
        let part = read_whole(context, place, object, wanted, loader, bytes_read)?;
        context.layouts.read_plain(key, source.format, &part.tally);
        return Ok(part);
    }
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
                loader.begin(object, info.last_modified_ms);
                loader.pieces.in_part += 1;
                let tally = skim.finish(loader);
                return Ok(loader.end(place, Some(info), tally));
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
    let part = read_whole(context, place, object, wanted, loader, bytes_read)?;
    match why {
        // It has gone: nothing is learned.
        _ if part.read.is_none() => {}
        Why::Plain => context.layouts.read_plain(key, format, &part.tally),
        Why::Sample => loader.pieces.samples += 1,
        Why::Needed => loader.pieces.whole += 1,
    }
    skim.layout().read_whole(&part.tally, loader.first_attempt, *size);
    Ok(part)
}

/// Reads an object from its first byte to its last. One that has gone since it was listed is no failure: the next
/// listing does not hold it.
fn read_whole<'c>(
    context: &Context<'_>,
    place: usize,
    object: &'c Object,
    wanted: &Wanted,
    loader: &mut Loader<'c>,
    bytes_read: &AtomicU64,
) -> Result<Part, RunError> {
    let source = &context.pipeline.source;
    let (info, input) = match context.source.open_object(&object.info.key, 0, None) {
        Ok((opened, input)) => (version_read(&object.info, opened), input),
        Err(error) if error.is_not_found() => {
            loader.begin(object, object.info.last_modified_ms);
            return Ok(loader.end(place, None, Tally::default()));
        }
        Err(error) => return Err(error.into()),
    };
    loader.begin(object, info.last_modified_ms);
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
    Ok(loader.end(place, Some(info), tally))
}

/// What is known of the version that was read: what was listed, unless the object was overwritten since.
/// A listing may give no etag, and tells times more finely than the answer to a GET.
fn version_read(listed: &ObjectInfo, opened: ObjectInfo) -> ObjectInfo {
    let same_etag = match (&listed.etag, &opened.etag) {
        (Some(listed), Some(opened)) => listed == opened,
        _ => listed.last_modified_ms.div_euclid(1000) == opened.last_modified_ms.div_euclid(1000),
    };
    match same_etag && listed.size == opened.size {
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
    fn open(
        place: &'c Place,
        listed: &ObjectInfo,
        bytes: &Range<u64>,
    ) -> Result<Ranges<'c>, StorageError> {
        let at = bytes.start.saturating_sub(1);
        let to = bytes.end.saturating_add(TAIL_BYTES);
        let etag = listed.etag.as_deref();
        let (opened, input) = place.open_range(&listed.key, at..to, etag)?;
        Ok(Ranges { place, opened, input, at, to, beyond: TAIL_BYTES })
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
    object: &'c Object,
    rejects: Vec<Reject>,
    outside: i64,
    /// Last-modified time of the version that is read.
    modified_ms: i64,
    rows_before: usize,
    fetched_at_seen: u64,
    /// Offset of the first attempt met since this was last set.
    first_attempt: Option<i64>,
    pieces: PieceCounts,
}

impl<'c> Loader<'c> {
    fn begin(&mut self, object: &'c Object, modified_ms: i64) {
        self.object = object;
        self.modified_ms = modified_ms;
        self.rows.begin_object(&object.info.key);
        self.rows_before = self.rows.len();
    }

    fn end(&mut self, object: usize, read: Option<ObjectInfo>, mut tally: Tally) -> Part {
        tally.details_outside = self.outside as u64;
        Part {
            object,
            read,
            tally,
            rejects: std::mem::take(&mut self.rejects),
            rows: (self.rows.len() - self.rows_before) as i64,
            outside: std::mem::take(&mut self.outside),
        }
    }
}

impl Sink for Loader<'_> {
    fn record(&mut self, record: &Record<'_>, attempts: &[Attempt<'_>]) {
        let (context, object) = (self.context, self.object);
        self.first_attempt = self.first_attempt.or(attempts.first().map(|a| a.byte_offset));
        let capture =
            |name: &str| object.captures.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str());
        let routed = context.router.route(&object.captures, record);
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
            self.unmapped.note(&tagged, &object.captures, record, compare_lib);
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
