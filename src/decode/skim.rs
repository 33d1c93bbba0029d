//! Reads one object without its media: its first bytes, its last, and nothing of the pictures between them.
//!
//! Takes the pieces of one object that it asked for; gives its record to a sink, with the number, places and
//! counts that the full reader would give, or says that the whole object must be read. No I/O. What it
//! learns of a folder ([`Layout`]) decides how many bytes are asked for, never what a record says.
//!
//! # Why the two ends are enough
//!
//! The head must break off inside a string of a known media member. In the tail, a quote that 64 characters of
//! base64 stand right before can only end a string: it is not escaped, and no value ends where a string begins.
//! What the tail closes behind that quote, up to the end of the document, tells how deep that string lies. Head
//! and tail are joined as if those two strings were all that the media held, and the joined text must be one whole
//! record: each bracket closes what it should, `Text` with its `LivenessDetail`, `RequestId`,
//! `IsVerifyIntention` and each field of the envelope stand in it once, and behind the gap only names stand
//! that the API has at their level. Whatever else is seen is read whole.
//!
//! # What a gap may hide all the same
//!
//! Nobody can see what is not read, so four kinds of objects give other rejects, and the last two other rows, than
//! `source.read = "full"`; none of them is a result as the API gives it:
//!
//! 1. A picture that is no proper JSON string (raw control characters, no UTF-8, bad escapes): a reject in full.
//! 2. A member in the gap that stands outside of it too (a second `Text`): a reject in full. Names in
//!    the gap that the API does not have are not counted.
//! 3. A second object of the same build beside the response, under a name of its own, of which the end is seen.
//! 4. Several results one after the other that begin like one, end like one and have nothing behind the last
//!    brace. Files of lines end with a line break, and arrays begin with a bracket: those are seen. Of each folder the
//!    first object, the third, the ninth and every 64th are read whole; as soon as one of them holds several records, all
//!    objects of the folder are.
//!
//! A tail that is cut, or has a bracket too many or too few, could still be that of another record. So it must end with
//! the same brackets as an object of the folder that was read whole and held one record and nothing behind it.

use super::envelope::{Slot, Step};
use super::json::{Cursor, Parsed};
use super::record::{self, Draft, Outcome};
use super::{Decoder, Framing, RECORD_BYTES_MAX, Sink, Wanted, framing};
use crate::model::{Attempt, Compression, Format, Record, Reject, Tally};
use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Asked for at each end before a folder is known: Text with a dozen attempts, and the members behind the media.
const END_BYTES: u64 = 16 << 10;
/// What is learned is rounded up to this: the page of a disk, and less than any request costs.
const PAGE_BYTES: u64 = 4 << 10;
/// Needs up to this are remembered in bytes, larger ones as a share of the object.
const NEAR_BYTES: u64 = 64 << 10;
/// Base64 that must stand before the quote where head and tail are joined. No name, id or code is as long.
const RUN_BYTES: usize = 64;
/// Strings of an end that are looked at to learn: a card's pictures, frames, a video.
const QUOTES_MAX: usize = 8;
/// Every so many objects of a folder one is read whole, to see that it still holds one record.
const SAMPLE_EVERY: u64 = 64;
/// And early, while all of a folder can still be read again: these.
const EARLY_SAMPLES: [u64; 2] = [2, 8];
/// Ends of records that are remembered of a folder: those without their last members are few.
const ENDS_MAX: usize = 16;
/// Bytes at the end of an object in which its last brackets are looked for.
pub const END_LOOK_BYTES: usize = 64;
/// After so many failures one after the other, a folder is only tried now and then.
const MISSES_MAX: u32 = 3;
const TRY_EVERY: u64 = 32;
/// Objects measured after which what they needed is forgotten.
const WINDOW: u32 = 64;
/// Of a folder so many objects are measured, and then every so many: those beside them are alike.
const MEASURED_FIRST: u64 = 32;
const MEASURED_EVERY: u64 = 8;
/// Folders told apart. A source of more has them share what is learned.
const LAYOUTS_MAX: usize = 4096;

/// What is wanted next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// These bytes of the object, in any order.
    Ranges(Vec<Range<u64>>),
    /// The whole object, by [`super::read_object`].
    Whole(Why),
    /// Nothing: [`Skim::finish`] gives the record.
    Done,
}

/// Why an object is read whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It is small, compressed or told to be lines: there is nothing to gain.
    Plain,
    /// To see what the objects of its folder are like.
    Sample,
    /// Parts of it, or of those before it in its folder, did not do.
    Needed,
}

/// The layouts of a source.
#[derive(Debug, Default)]
pub struct Layouts(Mutex<HashMap<String, Arc<Layout>>>);

/// What is known of the objects of a folder.
#[derive(Debug, Default)]
pub struct Layout(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    begun: u64,
    /// One was read whole, and it held one record.
    single: bool,
    /// The first is being read whole. Others need not wait for it: if it holds several, they are read again.
    sampling: bool,
    /// One held several.
    several: bool,
    misses: u32,
    head: Need,
    tail: Need,
    text_at_end: bool,
    /// The brackets that objects read whole ended with.
    ends: Vec<Vec<u8>>,
    in_part: u64,
    in_part_before: u64,
}

/// The most bytes that an end needed, of the objects of this window and of the one before.
#[derive(Debug, Default)]
struct Need {
    now: Most,
    before: Most,
    objects: u32,
}

#[derive(Clone, Copy, Debug, Default)]
struct Most {
    bytes: u64,
    /// In 1024ths of the object.
    share: u64,
}

impl Need {
    fn note(&mut self, bytes: u64, size: u64) {
        match bytes <= NEAR_BYTES {
            true => self.now.bytes = self.now.bytes.max(bytes),
            false => self.now.share = self.now.share.max((bytes << 10).div_ceil(size)),
        }
        self.objects += 1;
        if self.objects == WINDOW {
            (self.before, self.now, self.objects) = (self.now, Most::default(), 0);
        }
    }

    /// Bytes to ask for of an object of this size.
    fn of(&self, size: u64) -> u64 {
        let most = Most {
            bytes: self.now.bytes.max(self.before.bytes),
            share: self.now.share.max(self.before.share),
        };
        let far = (size.saturating_mul(most.share) >> 10) * u64::from(most.share > 0);
        let bytes = match far.max(most.bytes) {
            0 => END_BYTES,
            // A name or an attempt more than those before had.
            bytes => bytes + bytes / 8 + RUN_BYTES as u64,
        };
        bytes.next_multiple_of(PAGE_BYTES)
    }
}

impl Layouts {
    /// The layout of the folder of a key. Folders that differ in numbers and ids alone (dates, mostly) share one.
    pub fn of(&self, key: &str) -> Arc<Layout> {
        let folder = folder_pattern(key);
        let mut layouts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let room = layouts.len() < LAYOUTS_MAX || layouts.contains_key(&folder);
        layouts.entry(if room { folder } else { String::new() }).or_default().clone()
    }

    /// An object was read whole without a thought of parts: small, or compressed. One of several usable records
    /// tells of its folder all the same, unless its name does.
    pub fn read_plain(&self, key: &str, format: Format, records: u64) {
        if records > 1 && framing(format, key) != Some(Framing::Lines) {
            self.of(key).known().several = true;
        }
    }

    /// Objects are loaded from here on.
    pub fn begin(&self) {
        for layout in self.0.lock().unwrap_or_else(PoisonError::into_inner).values() {
            let mut known = layout.known();
            known.in_part_before += std::mem::take(&mut known.in_part);
        }
    }

    /// Whether objects of a folder were read in part since [`begin`](Layouts::begin) before one was found there that holds
    /// several records. Then all are to be read again, and what was read in part is forgotten.
    pub fn refuted(&self) -> bool {
        let layouts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let refuted = layouts.values().any(|layout| {
            let known = layout.known();
            known.several && known.in_part > 0
        });
        if refuted {
            layouts.values().for_each(|layout| layout.known().in_part = 0);
        }
        refuted
    }

    /// Objects that were read in part by earlier loads of folders that were refuted since.
    pub fn doubtful(&self) -> u64 {
        let layouts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let doubtful = |layout: &Arc<Layout>| {
            let known = layout.known();
            if known.several { known.in_part_before } else { 0 }
        };
        layouts.values().map(doubtful).sum()
    }
}

/// The folder of a key, numbers of two digits and more and ids as `#`.
fn folder_pattern(key: &str) -> String {
    let folder = key.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut pattern = String::with_capacity(folder.len());
    for run in folder.split_inclusive(|c: char| !c.is_alphanumeric()) {
        let word = run.trim_end_matches(|c: char| !c.is_alphanumeric());
        let digits = word.bytes().filter(u8::is_ascii_digit).count();
        let hex = word.len() >= 4 && word.bytes().all(|b| b.is_ascii_hexdigit());
        let stands_for_many = digits == word.len() && digits > 1 || hex || digits >= 4;
        pattern.push_str(if stands_for_many { "#" } else { word });
        pattern.push_str(&run[word.len()..]);
    }
    pattern
}

impl Layout {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How the next object of this size is begun: the bytes of its head and tail, or why it is read whole.
    fn plan(&self, size: u64) -> Result<(u64, u64), Why> {
        let mut known = self.known();
        let turn = known.begun;
        known.begun += 1;
        match () {
            () if known.several => Err(Why::Needed),
            () if turn.is_multiple_of(SAMPLE_EVERY)
                || EARLY_SAMPLES.contains(&turn)
                || !known.single && !known.sampling =>
            {
                known.sampling = true;
                Err(Why::Sample)
            }
            () if known.misses >= MISSES_MAX && !turn.is_multiple_of(TRY_EVERY) => Err(Why::Needed),
            () => Ok((known.head.of(size), known.tail.of(size))),
        }
    }

    /// Whether objects of the folder are known to end so; before one was read nobody knows.
    fn may_end(&self, tail: &[u8]) -> bool {
        let known = self.known();
        known.ends.is_empty() || known.ends.contains(&last_brackets(tail))
    }

    fn missed(&self) {
        let mut known = self.known();
        known.misses = known.misses.saturating_add(1);
    }

    /// An object was read in part. `asked_once`: what was asked for was enough. Whether it is to be
    /// [measured](Layout::measured), which costs as much as reading it.
    fn read_in_part(&self, asked_once: bool) -> bool {
        let mut known = self.known();
        known.misses = 0;
        known.in_part += 1;
        let nth = known.in_part_before + known.in_part;
        !asked_once || nth <= MEASURED_FIRST || nth.is_multiple_of(MEASURED_EVERY)
    }

    /// What would have been enough of an object of this size.
    fn measured(&self, head_bytes: u64, tail_bytes: u64, size: u64) {
        let mut known = self.known();
        known.head.note(head_bytes, size);
        known.tail.note(tail_bytes, size);
    }

    /// What an object of this size that was read whole was like: its usable records, where its first attempt began, and
    /// its last bytes, where it held one record alone.
    pub fn read_whole(
        &self,
        records: u64,
        first_attempt: Option<i64>,
        size: u64,
        end: Option<&[u8]>,
    ) {
        let mut known = self.known();
        if let Some(end) = end.filter(|_| records == 1).map(last_brackets)
            && known.ends.len() < ENDS_MAX
            && !known.ends.contains(&end)
        {
            known.ends.push(end);
        }
        known.sampling = false;
        match records {
            0 => {}
            1 => known.single = true,
            _ => known.several = true,
        }
        if let Some(at) = first_attempt {
            known.text_at_end = at as u64 > size / 2;
        }
    }
}

/// The closing brackets at the end of an object, white space aside.
fn last_brackets(end: &[u8]) -> Vec<u8> {
    let end = &end[end.len().saturating_sub(END_LOOK_BYTES)..];
    let last = end.iter().rev().filter(|byte| !byte.is_ascii_whitespace());
    last.copied().take_while(|byte| matches!(byte, b'}' | b']')).collect()
}

/// One object being read.
pub struct Skim<'w> {
    wanted: &'w Wanted,
    layout: Arc<Layout>,
    size: u64,
    head: Vec<u8>,
    tail: Vec<u8>,
    head_want: u64,
    tail_want: u64,
    /// What was asked for first was not enough.
    has_grown: bool,
    state: State,
}

enum State {
    Reading,
    Whole(Why),
    Done(Joined),
}

/// A record without what lies between its ends: its text from `at` on stands `cut_bytes` later in the object.
struct Joined {
    text: String,
    at: usize,
    cut_bytes: u64,
}

impl<'w> Skim<'w> {
    /// `least_bytes`: smaller objects are read whole at once.
    pub fn new(
        (key, size): (&str, u64),
        format: Format,
        told: Compression,
        wanted: &'w Wanted,
        layouts: &Layouts,
        least_bytes: u64,
    ) -> Skim<'w> {
        let may = size >= least_bytes.max(2 * PAGE_BYTES)
            && size <= RECORD_BYTES_MAX as u64
            && matches!(told, Compression::Auto | Compression::Plain)
            && framing(format, key) != Some(Framing::Lines);
        let layout = if may { layouts.of(key) } else { Arc::default() };
        let plan = if may { layout.plan(size) } else { Err(Why::Plain) };
        let (head_want, tail_want) = plan.unwrap_or_default();
        let state = plan.err().map_or(State::Reading, State::Whole);
        let (head, tail) = (Vec::new(), Vec::new());
        let has_grown = false;
        let mut skim =
            Skim { wanted, layout, size, head, tail, head_want, tail_want, has_grown, state };
        if !skim.is_worth_it() {
            skim.give_up();
        }
        skim
    }

    /// What is wanted now. Each range must then be [given](Skim::give).
    pub fn ask(&mut self) -> Ask {
        loop {
            match &self.state {
                State::Whole(why) => return Ask::Whole(*why),
                State::Done(_) => return Ask::Done,
                State::Reading => {}
            }
            let (head, tail) = (self.head.len() as u64, self.tail.len() as u64);
            let mut ranges = Vec::with_capacity(2);
            if head < self.head_want {
                ranges.push(head..self.head_want);
            }
            if tail < self.tail_want {
                ranges.push(self.size - self.tail_want..self.size - tail);
            }
            if !ranges.is_empty() {
                return Ask::Ranges(ranges);
            }
            self.look();
        }
    }

    /// The bytes of a range that was asked for. Other bytes than asked for are no piece of the object that was listed.
    pub fn give(&mut self, range: Range<u64>, bytes: &[u8]) {
        let whole = bytes.len() as u64 == range.end - range.start;
        if whole && range.start == self.head.len() as u64 && range.end <= self.head_want {
            self.head.extend_from_slice(bytes);
        } else if whole && range.end == self.size - self.tail.len() as u64 {
            let mut tail = Vec::with_capacity(bytes.len() + self.tail.len());
            tail.extend_from_slice(bytes);
            tail.extend_from_slice(&self.tail);
            self.tail = tail;
        } else {
            self.give_up();
        }
    }

    /// The pieces are of no use: another version, or none.
    pub fn give_up(&mut self) {
        if matches!(self.state, State::Reading) {
            self.layout.missed();
            self.state = State::Whole(Why::Needed);
        }
    }

    /// What is learned from the object, when it is read whole.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Reading most of an object in pieces is dearer than reading all of it at once.
    fn is_worth_it(&self) -> bool {
        self.head_want + self.tail_want <= self.size / 4 * 3
    }

    fn grow_head(&mut self) {
        self.has_grown = true;
        self.head_want *= 2;
        if !self.is_worth_it() {
            self.give_up();
        }
    }

    fn grow_tail(&mut self) {
        self.has_grown = true;
        self.tail_want *= 2;
        if !self.is_worth_it() {
            self.give_up();
        }
    }

    /// Looks at the ends as far as they are known: done, more is wanted, or all of it.
    fn look(&mut self) {
        // What begins otherwise (compressed, an array, a byte order mark) or ends otherwise (a line break, a
        // comma, cut) may hold more than one record, or none.
        if self.head.first() != Some(&b'{') || self.tail.last() != Some(&b'}') {
            return self.give_up();
        }
        if !self.layout.may_end(&self.tail) {
            self.state = State::Whole(Why::Needed);
            return;
        }
        let head = match std::str::from_utf8(&self.head) {
            Ok(head) => head,
            Err(error) if error.error_len().is_none() => {
                std::str::from_utf8(&self.head[..error.valid_up_to()]).unwrap_or_default()
            }
            Err(_) => return self.give_up(),
        };
        let mut look_head = Look::new(head.len());
        match look_head.record(head, self.wanted) {
            Err(fault) if fault.at >= head.len() => {}
            _ => return self.give_up(),
        }
        let Some(string) = look_head.strings.last().filter(|_| look_head.is_open) else {
            return self.grow_head();
        };
        // Half an escape at the end would take the first byte behind the gap for its other half.
        let plain = head.as_bytes()[string.at + 1..].iter().rposition(|b| is_base64(*b));
        let head = &head[..string.at + 1 + plain.map_or(0, |at| at + 1)];

        // The first such quote: what stands behind it is seen, and counts.
        let first = string_ends(&self.tail).next();
        let Some((joined, look)) = first.and_then(|quote| self.join(head, string, quote)) else {
            return self.grow_tail();
        };
        if look.is_complete(self.wanted) && is_result(&joined.text, self.wanted) {
            if self.layout.read_in_part(!self.has_grown) {
                let (head_bytes, tail_bytes) = self.least(head, &look_head.strings);
                self.layout.measured(head_bytes, tail_bytes, self.size);
            }
            self.state = State::Done(joined);
            return;
        }
        let text_at_end = self.layout.known().text_at_end;
        match () {
            // A string of another object may have been taken for one of the media; not of a long tail.
            () if look.unfit && self.tail_want < NEAR_BYTES => self.grow_tail(),
            () if look.unfit || look.is_seen() => self.give_up(),
            () if look.texts == 0 && !text_at_end => self.grow_head(),
            () => self.grow_tail(),
        }
    }

    /// The head, which breaks off in `string`, and the tail from shortly before this quote on, as one text; and what
    /// stands in it. None if that is no whole record.
    fn join(&self, head: &str, string: &MediaString, quote: usize) -> Option<(Joined, Look)> {
        let tail = std::str::from_utf8(&self.tail[quote - RUN_BYTES..]).ok()?;
        let (above, _) = brackets(&head.as_bytes()[..string.member_at]);
        let (open, _) = brackets(head.as_bytes());
        let (_, mut behind) = brackets(&tail.as_bytes()[RUN_BYTES + 1..]);
        behind.reverse();
        // The same levels around the member, and at least one below it: a string beside the media is none of them.
        let deeper = behind.len() > above.len() && behind.starts_with(&above);
        if !deeper || !open.starts_with(&above) {
            return None;
        }
        let mut text = String::with_capacity(head.len() + 64 + tail.len());
        text.push_str(head);
        text.push('"');
        let closing = open[above.len()..].iter().rev();
        text.extend(closing.map(|open| if *open == b'{' { '}' } else { ']' }));
        text.push_str(",\"");
        text.push_str(string.member);
        text.push_str("\":");
        for open in &behind[above.len()..] {
            text.push_str(if *open == b'{' { "{\"\":" } else { "[" });
        }
        text.push('"');
        let at = text.len();
        text.push_str(tail);
        let mut look = Look::new(at);
        let whole = look.record(&text, self.wanted) == Ok(text.len());
        let cut_bytes = self.size - text.len() as u64;
        whole.then_some((Joined { text, at, cut_bytes }, look))
    }

    /// The least bytes of head and tail that would have been enough.
    fn least(&self, head: &str, strings: &[MediaString]) -> (u64, u64) {
        let enough = |string: &MediaString, quote: usize| {
            let joined = self.join(&head[..=string.at], string, quote);
            joined.is_some_and(|(_, look)| look.is_complete(self.wanted))
        };
        let quotes = || string_ends(&self.tail);
        let (Some(last), Some(first)) = (strings.last(), quotes().next()) else { return (0, 0) };
        let quote = quotes().skip(1).filter(|quote| enough(last, *quote)).last().unwrap_or(first);
        let string = strings.iter().take(QUOTES_MAX).find(|string| enough(string, quote));
        let head_bytes = string.unwrap_or(last).at + 1;
        let tail_bytes = self.tail.len() - (quote - RUN_BYTES);
        (head_bytes as u64, tail_bytes as u64)
    }

    /// Hands the record over. Before [`Ask::Done`] there is none.
    pub fn finish(self, sink: &mut impl Sink) -> Tally {
        let mut decoder = Decoder::new(self.wanted, Framing::Documents, 0);
        if let State::Done(Joined { text, at, cut_bytes }) = &self.state {
            let mut sink = Shifted { sink, from: *at as i64, by: *cut_bytes as i64 };
            let mut draft = Draft::default();
            if let Ok((_, Ok(outcome))) = record::read_record(text, self.wanted, &mut draft) {
                decoder.keep(text, 0, &mut draft, outcome, &mut sink);
            }
        }
        decoder.finish()
    }
}

/// Whether the full reader takes all of the text for one result.
fn is_result(text: &str, wanted: &Wanted) -> bool {
    let read = record::read_record(text, wanted, &mut Draft::default());
    read == Ok((text.len(), Ok(Outcome::Result)))
}

fn is_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=')
}

/// The quotes of a tail that can only end a string: base64, whose `/` some writers escape, stands before them.
fn string_ends(tail: &[u8]) -> impl Iterator<Item = usize> {
    let quotes = memchr::memchr_iter(b'"', tail.get(RUN_BYTES..).unwrap_or_default());
    let ends = quotes.map(|at| RUN_BYTES + at).filter(|quote| {
        let run = &tail[quote - RUN_BYTES..*quote];
        let escaped = |(i, b): (usize, &u8)| *b == b'\\' && run.get(i + 1) == Some(&b'/');
        run.iter().enumerate().all(|(i, b)| is_base64(*b) || escaped((i, b)))
    });
    ends.take(QUOTES_MAX)
}

/// Tells places in the joined text as places in the object.
struct Shifted<'s, S> {
    sink: &'s mut S,
    from: i64,
    by: i64,
}

impl<S> Shifted<'_, S> {
    fn place(&self, at: i64) -> i64 {
        if at < self.from { at } else { at + self.by }
    }
}

impl<S: Sink> Sink for Shifted<'_, S> {
    fn record(&mut self, record: &Record<'_>, attempts: &[Attempt<'_>]) {
        if attempts.iter().all(|attempt| attempt.byte_offset < self.from) {
            return self.sink.record(record, attempts);
        }
        let mut attempts = attempts.to_vec();
        for attempt in &mut attempts {
            attempt.byte_offset = self.place(attempt.byte_offset);
        }
        self.sink.record(record, &attempts);
    }

    fn reject(&mut self, reject: Reject) {
        let byte_offset = self.place(reject.byte_offset);
        self.sink.reject(Reject { byte_offset, ..reject });
    }
}

/// Members of `Response` that hold media, at any depth below them.
const MEDIA: [&str; 6] = [
    "IdCardData",
    "BestFrame",
    "VideoData",
    "IntentionVerifyData",
    "IntentionQuestionResult",
    "IntentionActionResult",
];

/// What stands below them. Source: FaceID API 2018-03-01.
const MEDIA_MEMBERS: [&str; 27] = [
    "OcrFront",
    "OcrBack",
    "ProcessedFrontImage",
    "ProcessedBackImage",
    "Avatar",
    "WarnInfos",
    "BackWarnInfos",
    "BestFrame",
    "BestFrames",
    "LivenessVideo",
    "LivenessVideos",
    "Seq",
    "Video",
    "IntentionVerifyVideo",
    "IntentionVerifyBestFrame",
    "IntentionVerifyAudio",
    "AsrResult",
    "AsrResultSimilarity",
    "ErrorCode",
    "ErrorMessage",
    "FinalResultDetailCode",
    "FinalResultMessage",
    "FinalResultCode",
    "ScreenShot",
    "ResultCode",
    "Audios",
    "Details",
];

/// Members of `Response` that are passed over and hold no media.
const OTHERS: [&str; 4] = ["Encryption", "EncryptedBody", "IntentionVerifyType", "EidInfo"];

/// A walk over the joined text, or over a head, that sees whether each thing needed is there once, and what
/// stands behind the junction.
struct Look {
    /// Where the tail begins.
    junction: usize,
    /// The walk is in the last of them.
    is_open: bool,
    /// The media strings in front of the junction.
    strings: Vec<MediaString>,
    /// The member of `Response` that the walk is in: the place of its name, and its name.
    member: (usize, &'static str),
    texts: u32,
    details: u32,
    request_ids: u32,
    intentions: u32,
    /// Fields of the envelope, one bit each.
    facts: u8,
    /// Something stands there that a record read in part must not have.
    unfit: bool,
}

impl Look {
    fn new(junction: usize) -> Look {
        Look {
            junction,
            is_open: false,
            strings: Vec::new(),
            member: (0, ""),
            texts: 0,
            details: 0,
            request_ids: 0,
            intentions: 0,
            facts: 0,
            unfit: false,
        }
    }

    /// Walks the record; gives where it ends.
    fn record(&mut self, text: &str, wanted: &Wanted) -> Parsed<usize> {
        let mut cursor = Cursor::new(text, 0);
        match &wanted.envelope {
            Some(pointers) => self.envelope(&mut cursor, &pointers.0)?,
            None => self.top(&mut cursor, None)?,
        }
        Ok(cursor.pos())
    }

    /// All of Text and of what stands beside it, once or more often: reading more finds no less.
    fn is_seen(&self) -> bool {
        let counts = [self.texts, self.details, self.request_ids, self.intentions];
        counts.iter().any(|n| *n > 1) || !counts.contains(&0)
    }

    fn is_complete(&self, wanted: &Wanted) -> bool {
        let once = [self.texts, self.details, self.request_ids, self.intentions] == [1; 4];
        let facts = wanted.envelope.as_ref().map_or(0, |pointers| slots(&pointers.0));
        once && self.facts == facts && !self.unfit
    }

    /// A name that nobody knows is no matter in front of the gap: what it stands in is known there.
    fn unknown(&mut self, key_at: usize) {
        self.unfit |= key_at >= self.junction;
    }

    fn fact(&mut self, slot: &Slot) {
        let bit = 1 << *slot as u8;
        self.unfit |= self.facts & bit != 0;
        self.facts |= bit;
    }

    /// A value that pointers lead to or through.
    fn envelope(&mut self, cursor: &mut Cursor<'_>, step: &Step) -> Parsed<()> {
        let first = cursor.peek();
        for slot in &step.slots {
            self.fact(slot);
            if matches!(slot, Slot::Response) {
                self.unfit |= step.slots.len() > 1 || first != Some(b'{');
                return self.top(cursor, Some(step));
            }
        }
        match first {
            Some(b'{') if !step.next.is_empty() => cursor.object(|cursor, _, key| {
                match step.next.iter().find(|(name, _)| *name == key) {
                    Some((_, next)) => self.envelope(cursor, next),
                    None => cursor.skip(),
                }
            }),
            // Places in an array cannot be counted over a gap.
            Some(b'[') => {
                self.unfit |= !step.next.is_empty();
                cursor.skip()
            }
            _ => cursor.skip(),
        }
    }

    /// The outermost object of a result: `{"Response": …}`, or what stands in it. `step`: what an envelope
    /// names beside it.
    fn top(&mut self, cursor: &mut Cursor<'_>, step: Option<&Step>) -> Parsed<()> {
        let (mut wrapped, mut bare) = (0, false);
        cursor.object(|cursor, key_at, key| {
            let named = step.and_then(|step| step.next.iter().find(|(name, _)| *name == key));
            match (&*key, named) {
                ("Response", None) => {
                    wrapped += 1;
                    match cursor.peek() {
                        Some(b'{') => cursor
                            .object(|cursor, at, key| self.member(cursor, at, &key).map(|_| ())),
                        _ => {
                            self.unfit = true;
                            cursor.skip()
                        }
                    }
                }
                ("LivenessDetail" | "ErrCode" | "Extra", _) => {
                    self.unfit = true;
                    cursor.skip()
                }
                (_, Some((_, next))) => self.envelope(cursor, next),
                (key, None) => {
                    bare |= self.member(cursor, key_at, key)?;
                    Ok(())
                }
            }
        })?;
        self.unfit |= wrapped > 1 || wrapped == 1 && bare;
        Ok(())
    }

    /// A member of `Response`; whether it is one.
    fn member(&mut self, cursor: &mut Cursor<'_>, key_at: usize, key: &str) -> Parsed<bool> {
        match key {
            "Text" => {
                self.texts += 1;
                if cursor.peek() != Some(b'{') {
                    self.unfit = true;
                    cursor.skip()?;
                    return Ok(true);
                }
                cursor.object(|cursor, _, key| {
                    if key == "LivenessDetail" {
                        self.details += 1;
                        self.unfit |= !matches!(cursor.peek(), Some(b'[' | b'n'));
                    }
                    cursor.skip()
                })?;
            }
            "RequestId" => {
                self.request_ids += 1;
                cursor.skip()?;
            }
            "IsVerifyIntention" => {
                self.intentions += 1;
                cursor.skip()?;
            }
            "Error" | "DetectInfo" => {
                self.unfit = true;
                cursor.skip()?;
            }
            key if OTHERS.contains(&key) => cursor.skip()?,
            key => match MEDIA.iter().find(|name| **name == key) {
                Some(name) => {
                    self.member = (key_at, name);
                    self.media(cursor)?;
                }
                None => {
                    self.unknown(key_at);
                    cursor.skip()?;
                    return Ok(false);
                }
            },
        }
        Ok(true)
    }

    fn media(&mut self, cursor: &mut Cursor<'_>) -> Parsed<()> {
        match cursor.peek() {
            Some(b'{') => cursor.object(|cursor, key_at, key| {
                if !MEDIA_MEMBERS.contains(&&*key) {
                    self.unknown(key_at);
                }
                self.media(cursor)
            }),
            Some(b'[') => cursor.array(|cursor, _| self.media(cursor)),
            Some(b'"') => {
                let (at, (member_at, member)) = (cursor.pos(), self.member);
                if at < self.junction {
                    self.strings.push(MediaString { at, member_at, member });
                }
                self.is_open = true;
                cursor.skip()?;
                self.is_open = false;
                Ok(())
            }
            _ => cursor.skip(),
        }
    }
}

/// A string of a media member: its opening quote, and the member of `Response` that it stands in.
#[derive(Clone, Copy, Debug)]
struct MediaString {
    at: usize,
    member_at: usize,
    member: &'static str,
}

/// The brackets that are open at the end of some text, and those that it closes without having opened them, in
/// its order, as the brackets that open them.
fn brackets(text: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let (mut open, mut closed) = (Vec::new(), Vec::new());
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        at += 1;
        match byte {
            b'{' | b'[' => open.push(*byte),
            b'}' | b']' if open.pop().is_none() => {
                closed.push(if *byte == b'}' { b'{' } else { b'[' });
            }
            b'"' => loop {
                match text.get(at..).and_then(|rest| memchr::memchr2(b'"', b'\\', rest)) {
                    None => return (open, closed),
                    Some(n) if text[at + n] == b'"' => {
                        at += n + 1;
                        break;
                    }
                    Some(n) => at += n + 2,
                }
            },
            _ => {}
        }
    }
    (open, closed)
}

/// The fields that an envelope names, one bit each.
fn slots(step: &Step) -> u8 {
    let own = step.slots.iter().fold(0, |bits, slot| bits | 1 << *slot as u8);
    step.next.iter().fold(own, |bits, (_, next)| bits | slots(next))
}
