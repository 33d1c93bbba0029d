//! Bytes to attempts and rejects.
//!
//! Takes the bytes of an object (or of a run of whole lines of it) and hands each record to a [`Sink`];
//! gives a [`Tally`] of what was seen. It does no I/O of its own, keeps no value of a bad record, and
//! never stops at one: what cannot be read is a [`Reject`] with its place, and the next record is read.

pub mod bill;

mod envelope;
mod frame;
mod json;
mod record;
mod skim;
mod template;

#[cfg(test)]
mod tests;

pub use record::Wanted;
pub use skim::{Ask, END_LOOK_BYTES, Layout, Layouts, Skim, Why};

use crate::model::{Attempt, Compression, Format, Record, Reject, RejectReason, Tally};
use frame::{Beginnings, Indent, Search, Way, blank_run, seqs_named};
use json::{BYTE_ORDER_MARK, Fault};
use record::{Draft, Outcome, Trace, UnknownMembers, Unusable};
use std::borrow::Cow;
use std::io::{self, Read};
use template::Known;

/// Where records go.
pub trait Sink {
    /// A result with at least one usable attempt.
    fn record(&mut self, record: &Record<'_>, attempts: &[Attempt<'_>]);
    fn reject(&mut self, reject: Reject);
}

/// How the records of one object follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// One record a line. A broken line ends at its line break.
    Lines,
    /// A document, an array of records, or documents one after another.
    Documents,
}

/// A record longer than this is set aside: the largest results hold tens of megabytes of media.
pub const RECORD_BYTES_MAX: usize = 512 << 20;

/// What is read at once from a stream. Two of these hold most records with all their media.
const CHUNK_BYTES: usize = 4 << 20;

/// The framing of an object as the pipeline or its name says; `None` when neither does. What is not said
/// is read as documents, which lines of one record each are, too.
pub fn framing(format: Format, key: &str) -> Option<Framing> {
    match format {
        Format::Ndjson => return Some(Framing::Lines),
        Format::Json => return Some(Framing::Documents),
        Format::Auto => {}
    }
    let name = key.rsplit('/').next().unwrap_or(key).to_ascii_lowercase();
    let name = name.strip_suffix(".gz").or_else(|| name.strip_suffix(".zst")).unwrap_or(&name);
    let lines = name.ends_with(".ndjson") || name.ends_with(".jsonl");
    lines.then_some(Framing::Lines)
}

/// Whether a large object that is not compressed can be read in pieces of whole lines: it is told to be
/// NDJSON, or every whole line of its first bytes is one record.
pub fn splits_at_lines(format: Format, key: &str, head: &[u8]) -> bool {
    match framing(format, key) {
        Some(framing) => framing == Framing::Lines,
        None => frame::looks_like_ndjson(head),
    }
}

/// The compression of an object, from the pipeline or its first bytes. Names are not asked: a name may
/// say `.gz` of a file that a client has decompressed on the way.
pub fn compression(compression: Compression, head: &[u8]) -> Compression {
    match compression {
        Compression::Auto if head.starts_with(&[0x1F, 0x8B]) => Compression::Gzip,
        Compression::Auto if head.starts_with(&[0x28, 0xB5, 0x2F, 0xFD]) => Compression::Zstd,
        // A frame to be skipped: what pzstd puts first.
        Compression::Auto if matches!(head, [0x50..=0x5F, 0x2A, 0x4D, 0x18, ..]) => {
            Compression::Zstd
        }
        Compression::Auto => Compression::Plain,
        told => told,
    }
}

/// Decodes the records of one object, or of one run of whole lines of it.
pub struct Decoder<'w> {
    wanted: &'w Wanted,
    framing: Framing,
    record_bytes_max: usize,
    /// Offset in the object of the first byte of the next buffer.
    offset: i64,
    record: i64,
    place: Place,
    lost: Option<Lost>,
    /// Before the next record, in its line.
    indent: Indent,
    beginnings: Beginnings,
    /// An empty array holds no record and is no empty object.
    array_opened: bool,
    /// The stream broke where the input ends: what is cut there was cut by that.
    stream_broken: bool,
    stream_break_told: bool,
    unknown: UnknownMembers,
    templates: Vec<Known>,
    tally: Tally,
}

/// Where the next record may stand. Only in [`Framing::Documents`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// In no array.
    Open,
    /// Behind the bracket of an array.
    ArrayBegun,
    /// Behind an element: a comma or the end of the array follows.
    ElementEnded,
    /// Behind a comma, whose offset in the object this is.
    Comma(i64),
}

/// What is passed over, because no record can be read there.
enum Lost {
    /// The rest of a broken record, which is told at its end.
    Record(Box<(Way, Aside)>),
    /// The record that begins next: a byte order mark stands before it.
    Marked(Aside),
    /// Closing braces that a broken record had too many of.
    Braces,
    /// What begins no record, up to what may.
    Rubble,
    /// Such a thing in a comment.
    LineComment,
    BlockComment,
    /// The rest of a line.
    Line,
}

/// What to do with the rest of a buffer.
enum Step {
    /// Go on at this offset of the buffer.
    At(usize),
    /// What begins at this offset needs more bytes than the buffer holds.
    More(usize),
}

/// What became of a record.
enum One {
    /// It was read, or set aside for what it says; it ends before this offset of the buffer.
    Read(usize),
    /// It goes on beyond the buffer.
    Cut,
    /// It is no JSON, or no more than a part of a record: nothing was told of it yet. Offsets count from the buffer's
    /// start.
    Broken(Fault),
}

/// A record that is set aside, and not yet told.
struct Aside {
    json_path: String,
    /// From the beginning of the object.
    at: i64,
    fault: Fault,
    seqs: Vec<String>,
}

/// Records of an object whose beginnings are looked at, to know the next one by after a broken one.
const LEARNING_RECORDS: i64 = 1000;

impl<'w> Decoder<'w> {
    /// `offset` is where in the object the first buffer begins; records are numbered from 0.
    pub fn new(wanted: &'w Wanted, framing: Framing, offset: u64) -> Decoder<'w> {
        Decoder {
            wanted,
            framing,
            record_bytes_max: RECORD_BYTES_MAX,
            offset: offset as i64,
            record: 0,
            place: Place::Open,
            lost: None,
            indent: Indent::default(),
            beginnings: Beginnings::default(),
            array_opened: false,
            stream_broken: false,
            stream_break_told: false,
            unknown: UnknownMembers::default(),
            templates: wanted.learned().templates(),
            tally: Tally::default(),
        }
    }

    /// Reads the records that lie whole in `bytes`; gives how many bytes were used up. The next buffer must
    /// begin with those that were not, and hold more. With `last`, nothing follows and all is used up.
    pub fn push(&mut self, bytes: &[u8], last: bool, sink: &mut impl Sink) -> usize {
        let mut input = Checked::new(bytes);
        let used = match self.framing {
            Framing::Lines => self.lines(&mut input, last, sink),
            Framing::Documents => self.documents(&mut input, last, sink),
        };
        self.offset += used as i64;
        used
    }

    /// Records seen so far.
    pub fn records(&self) -> i64 {
        self.record
    }

    /// Ends the object and gives what was counted. Objects are not counted here: whether an object
    /// was parsed is known only to whom read all its parts.
    pub fn finish(mut self) -> Tally {
        for (path, n) in self.unknown.paths() {
            *self.tally.unknown_members.entry(path).or_default() += n;
        }
        self.tally
    }

    fn lines(&mut self, input: &mut Checked<'_>, last: bool, sink: &mut impl Sink) -> usize {
        let bytes = input.bytes;
        let mut start = 0;
        loop {
            // Most lines are a record like those before it, and where it ends is known once it is read.
            let mut like_none = false;
            if self.lost.is_none() {
                let read = self.like_others(input, start, bytes.len(), true);
                like_none = read.is_none();
                let line_break = read.and_then(|after| line_break_at(bytes, start + after));
                if let (Some(after), Some(line_break)) = (read, line_break) {
                    let text = input.text(start, start + after);
                    self.keep(text, start, &mut input.draft, Outcome::Result, sink);
                    start += after + line_break;
                    continue;
                }
            }
            let Some(newline) = memchr::memchr(b'\n', &bytes[start..]) else { break };
            let end = start + newline;
            match self.lost.take() {
                Some(_) => {}
                None => {
                    self.line(input, (start, end), like_none, true, sink);
                }
            }
            start = end + 1;
        }
        let long = bytes.len() - start > self.record_bytes_max;
        if self.lost.is_some() {
            return bytes.len();
        }
        let used = match last || long {
            true => self.line(input, (start, bytes.len()), false, last, sink),
            false => start,
        };
        if last { bytes.len() } else { used }
    }

    /// One record a line; a second on the same line is read too, so that a lost line break costs
    /// nothing. Gives the offset up to which the line is used up. `like_none` says that what it begins with is known to
    /// be like no other record, `whole` that all of it is here.
    fn line(
        &mut self,
        input: &mut Checked<'_>,
        (start, end): (usize, usize),
        like_none: bool,
        whole: bool,
        sink: &mut impl Sink,
    ) -> usize {
        let bytes = input.bytes;
        // The line break of Windows is no part of a cut string.
        let end = if whole && bytes[start..end].ends_with(b"\r") { end - 1 } else { end };
        let mut at = start;
        loop {
            at += blank_run(&bytes[at..end]);
            if at == end {
                return at;
            }
            let one = match like_none && at == start {
                true => self.one_strictly(input, at, end, whole, sink),
                false => self.one(input, at, end, whole, sink),
            };
            match one {
                One::Read(after) => at = after,
                One::Cut => return at,
                One::Broken(fault) => {
                    at = self.broken_in_line(&bytes[..end], (start, at), fault, sink);
                    if at == end && !whole {
                        self.lost = Some(Lost::Line);
                    }
                }
            }
        }
    }

    /// Sets aside what stands at `at` of the line that begins at `start`, up to the next record in it that begins like it
    /// or like the line; gives where that is, or the line's end.
    fn broken_in_line(
        &mut self,
        line: &[u8],
        (start, at): (usize, usize),
        fault: Fault,
        sink: &mut impl Sink,
    ) -> usize {
        let known = Beginnings::default().and(&line[start..at]).and(&line[at..fault.at.max(at)]);
        let next = match known.find(line, at + 1, line.len(), true) {
            Search::Found(next) => next,
            _ => line.len(),
        };
        let fault = if next < fault.at { next_too_early(next) } else { fault };
        let mut aside = self.aside(line, at, fault);
        aside.seqs = seqs_named(&line[at..next]);
        self.tell(aside, sink);
        next
    }

    fn documents(&mut self, input: &mut Checked<'_>, last: bool, sink: &mut impl Sink) -> usize {
        let bytes = input.bytes;
        let mut at = 0;
        while at < bytes.len() {
            let step = match self.lost.take() {
                Some(lost) => self.pass_over(lost, bytes, at, 0, last, sink),
                None => self.step(input, at, last, sink),
            };
            match step {
                Step::At(next) => at = next,
                Step::More(from) => return from,
            }
        }
        if last {
            let end = self.lost.take().and_then(Lost::ended).or_else(|| {
                let message = "the input ends inside its array: records after this may be lost";
                let fault = Fault {
                    at: bytes.len(),
                    reason: RejectReason::Truncated,
                    message: Cow::Borrowed(message),
                };
                (self.place != Place::Open).then(|| self.aside(bytes, bytes.len(), fault))
            });
            if let Some(aside) = end {
                self.tell(aside, sink);
            }
            self.place = Place::Open;
        }
        bytes.len()
    }

    /// One token between records, or one record.
    fn step(
        &mut self,
        input: &mut Checked<'_>,
        at: usize,
        last: bool,
        sink: &mut impl Sink,
    ) -> Step {
        let bytes = input.bytes;
        let blanks = blank_run(&bytes[at..]);
        self.indent.pass(&bytes[at..at + blanks]);
        let at = at + blanks;
        let Some(first) = bytes.get(at) else { return Step::At(at) };
        match (first, self.place) {
            (b'[', Place::Open) => {
                self.array_opened = true;
                return self.token(Place::ArrayBegun, at);
            }
            (b']', Place::Comma(comma)) => {
                let fault = Fault {
                    at: 0,
                    reason: RejectReason::TrailingComma,
                    message: Cow::Borrowed("a comma before the closing bracket"),
                };
                self.tell(Aside::at(comma, fault), sink);
                return self.token(Place::Open, at);
            }
            (b']', Place::ArrayBegun | Place::ElementEnded) => return self.token(Place::Open, at),
            (b',', Place::ElementEnded) => {
                return self.token(Place::Comma(self.offset + at as i64), at);
            }
            (_, Place::ElementEnded) => return self.comma_missing(bytes, at, last, sink),
            _ => {}
        }
        let fault = match self.one(input, at, bytes.len(), last, sink) {
            One::Read(after) => {
                self.record_ended();
                return Step::At(after);
            }
            One::Cut => return Step::More(at),
            One::Broken(fault) => fault,
        };
        if matches!(first, b'{' | b'[') {
            return self.broken(bytes, at, fault, last, sink);
        }
        let (place, reason) = (fault.at, fault.reason);
        if reason == RejectReason::ByteOrderMark {
            self.lost = Some(Lost::Marked(self.aside(bytes, at, fault)));
            return Step::At(place + BYTE_ORDER_MARK.len());
        }
        self.lost = Some(match reason {
            RejectReason::Comment => match Lost::comment(bytes, place, last) {
                Some(lost) => lost,
                None => return Step::More(at),
            },
            _ => Lost::Rubble,
        });
        self.indent.spoil();
        let aside = self.aside(bytes, at, fault);
        self.tell(aside, sink);
        Step::At(place)
    }

    /// A bracket or a comma between records.
    fn token(&mut self, place: Place, at: usize) -> Step {
        self.place = place;
        self.indent.spoil();
        Step::At(at + 1)
    }

    fn record_ended(&mut self) {
        self.indent.spoil();
        if self.place != Place::Open {
            self.place = Place::ElementEnded;
        }
    }

    /// Something else than a comma or the array's end stands behind an element.
    fn comma_missing(&mut self, bytes: &[u8], at: usize, last: bool, sink: &mut impl Sink) -> Step {
        if bytes[at] == BYTE_ORDER_MARK[0] && bytes.len() - at < BYTE_ORDER_MARK.len() && !last {
            return Step::More(at);
        }
        let fault = json::breach(bytes, at, "a comma or the end of the array should stand here");
        match (bytes[at], fault.reason) {
            // The next element, all the same.
            (b'{' | b'[', _) => self.place = Place::ArrayBegun,
            (_, RejectReason::Comment) => match Lost::comment(bytes, at, last) {
                Some(comment) => self.lost = Some(comment),
                None => return Step::More(at),
            },
            _ => self.lost = Some(Lost::Rubble),
        }
        let aside = self.aside(bytes, at, fault);
        self.tell(aside, sink);
        Step::At(at)
    }

    /// Sets a record aside of which the end is not known, and looks for it.
    fn broken(
        &mut self,
        bytes: &[u8],
        start: usize,
        fault: Fault,
        last: bool,
        sink: &mut impl Sink,
    ) -> Step {
        let own = self.beginnings.and(&bytes[start..fault.at]);
        // A cut record swallows those behind it up to where the grammar no longer holds.
        let next = match own.find(bytes, start + 1, fault.at, last) {
            Search::Found(next) => Some(next),
            Search::More(_) => return Step::More(start),
            Search::Ended(_) if fault.reason != RejectReason::InvalidJson => None,
            Search::Ended(_) => self.indent.same_at(bytes, start, fault.at).then_some(fault.at),
        };
        if let Some(next) = next {
            let mut aside = self.aside(bytes, start, next_too_early(next));
            aside.seqs = seqs_named(&bytes[start..next]);
            self.tell(aside, sink);
            self.next_begins(Indent::of(&bytes[start..next]));
            return Step::At(next);
        }
        let from = fault.at;
        let indent = if bytes[start] == b'{' { self.indent.clone() } else { Indent::none() };
        let lost = Lost::record(Way::new(indent, own), self.aside(bytes, start, fault));
        self.pass_over(lost, bytes, start, from, last, sink)
    }

    /// The next record begins, though the last has not ended.
    fn next_begins(&mut self, indent: Indent) {
        self.indent = indent;
        if self.place != Place::Open {
            self.place = Place::ArrayBegun;
        }
    }

    /// Places before `from` are known to be inside what is passed over.
    fn pass_over(
        &mut self,
        mut lost: Lost,
        bytes: &[u8],
        at: usize,
        from: usize,
        last: bool,
        sink: &mut impl Sink,
    ) -> Step {
        let in_array = self.place != Place::Open;
        let rest = &bytes[at..];
        let found = match &mut lost {
            Lost::Record(record) => {
                let way = &mut record.0;
                let step = match way.go(bytes, at, from, last) {
                    Search::More(next) => {
                        self.lost = Some(lost);
                        return if next == bytes.len() { Step::At(next) } else { Step::More(next) };
                    }
                    Search::Found(next) => {
                        self.next_begins(way.indent_found());
                        next
                    }
                    Search::Ended(end) => {
                        self.lost = Some(Lost::Braces);
                        self.record_ended();
                        end
                    }
                };
                if let Some(aside) = lost.ended() {
                    self.tell(aside, sink);
                }
                return Step::At(step);
            }
            Lost::Marked(_) => {
                let blanks = blank_run(rest);
                self.indent.pass(&rest[..blanks]);
                let Some(first) = rest.get(blanks) else {
                    self.lost = Some(lost);
                    return Step::At(bytes.len());
                };
                let (at, is_record) = (at + blanks, *first == b'{');
                let Some(aside) = lost.ended() else { return Step::At(at) };
                if !is_record {
                    self.tell(aside, sink);
                    return Step::At(at);
                }
                let way = Way::new(self.indent.clone(), self.beginnings.clone());
                return self.pass_over(Lost::record(way, aside), bytes, at, at + 1, last, sink);
            }
            Lost::Braces => {
                let blank = |b: &u8| matches!(b, b' ' | b'\t' | b'\r' | b'\n');
                let found = rest.iter().position(|b| *b != b'}' && !blank(b));
                let passed = &rest[..found.unwrap_or(rest.len())];
                let brace = memchr::memrchr(b'}', passed);
                if brace.is_some() {
                    self.indent.spoil();
                }
                self.indent.pass(&passed[brace.map_or(0, |n| n + 1)..]);
                found
            }
            Lost::Rubble => {
                let found = rest.iter().position(|b| match b {
                    b'{' | b'[' => true,
                    b',' | b']' => in_array,
                    _ => false,
                });
                match found.map(|n| rest[n]) {
                    Some(b',' | b']') => self.place = Place::ElementEnded,
                    Some(_) if in_array => self.place = Place::ArrayBegun,
                    _ => {}
                }
                found
            }
            Lost::LineComment | Lost::Line => memchr::memchr(b'\n', rest),
            Lost::BlockComment => match memchr::memmem::find(rest, b"*/") {
                Some(end) => Some(end + 2),
                None if rest.ends_with(b"*") && !last => {
                    self.lost = Some(lost);
                    return Step::More(bytes.len() - 1);
                }
                None => None,
            },
        };
        match found {
            Some(n) => Step::At(at + n),
            None => {
                self.lost = Some(lost);
                Step::At(bytes.len())
            }
        }
    }

    /// Reads the record at `start`, which must end before `end`. `whole` says that no more bytes of it
    /// can come.
    fn one(
        &mut self,
        input: &mut Checked<'_>,
        start: usize,
        end: usize,
        whole: bool,
        sink: &mut impl Sink,
    ) -> One {
        match self.like_others(input, start, end, false) {
            Some(after) => {
                let text = input.text(start, start + after);
                self.keep(text, start, &mut input.draft, Outcome::Result, sink);
                One::Read(start + after)
            }
            None => self.one_strictly(input, start, end, whole, sink),
        }
    }

    /// Reads the record at `start` into the input's draft if it is like one before it and ends before `end`; gives how
    /// long it is. `in_line` says that there must be no line break in it.
    fn like_others(
        &mut self,
        input: &mut Checked<'_>,
        start: usize,
        end: usize,
        in_line: bool,
    ) -> Option<usize> {
        // It looks a little beyond the end of a value, which is best done inside of the buffer.
        let text = within(input.text(start, input.bytes.len()), self.record_bytes_max);
        let read = template::read(&mut self.templates, text, in_line, &mut input.draft);
        read.filter(|after| *after <= end - start)
    }

    /// As [`Decoder::one`], of a record like no other.
    fn one_strictly(
        &mut self,
        input: &mut Checked<'_>,
        start: usize,
        end: usize,
        whole: bool,
        sink: &mut impl Sink,
    ) -> One {
        // Up to a byte that is no UTF-8, or to the end.
        let sound = input.text(start, end);
        let text = within(sound, self.record_bytes_max);
        let bounded = text.len() < sound.len();
        let mut draft = Draft::default();
        if self.wanted.learned().curious() {
            draft.trace = Some(Trace::default());
        }
        let read = match record::read_record(text, self.wanted, &mut draft) {
            // A number at the end of what can be seen may go on beyond it.
            Ok((after, _))
                if after == text.len()
                    && text.ends_with(|c: char| c.is_ascii_digit())
                    && (bounded || !whole && start + after == end) =>
            {
                json::fault(after, RejectReason::Truncated, "the input ends inside a number")
            }
            read => read,
        };
        match read {
            Ok((after, Ok(outcome))) => {
                if outcome == Outcome::Result && draft.trace.is_some() {
                    let enveloped = self.wanted.is_enveloped();
                    let learned = self.wanted.learned();
                    if let Some(templates) = learned.learn(&text[..after], &draft, enveloped) {
                        self.templates = templates;
                    }
                }
                self.keep(&text[..after], start, &mut draft, outcome, sink);
                One::Read(start + after)
            }
            // A line that has lost its head: what follows is the rest of the same record.
            Ok((after, Err(Fault { reason: RejectReason::NotAResult, .. })))
                if self.framing == Framing::Lines
                    && !matches!(text[after..].trim_start().as_bytes(), [] | [b'{', ..]) =>
            {
                let at = start + after + blank_run(&text.as_bytes()[after..]);
                One::Broken(json::breach(input.bytes, at, "the line should end here"))
            }
            Ok((after, Err(fault))) => {
                let record = &text.as_bytes()[..after];
                let aside = Aside {
                    json_path: json::path_of(record, fault.at),
                    at: self.offset + (start + fault.at) as i64,
                    fault,
                    seqs: seqs_named(record),
                };
                self.tell(aside, sink);
                One::Read(start + after)
            }
            Err(fault) if fault.at < text.len() => {
                One::Broken(Fault { at: start + fault.at, ..fault })
            }
            Err(_) if bounded => One::Broken(Fault {
                at: start + text.len(),
                reason: RejectReason::RecordTooLarge,
                message: Cow::Borrowed("a record of more than 512 MiB"),
            }),
            Err(fault) => {
                let sound_end = start + sound.len();
                let cut = sound_end == end || end == input.bytes.len() && input.cut_at(sound_end);
                match (cut, whole) {
                    (true, false) => One::Cut,
                    (true, true) => One::Broken(Fault { at: end, ..fault }),
                    (false, _) => One::Broken(Fault {
                        at: start + sound.len(),
                        reason: RejectReason::InvalidUtf8,
                        message: Cow::Borrowed(
                            "bytes that are no UTF-8: write the file as UTF-8 (not GB18030 or UTF-16)",
                        ),
                    }),
                }
            }
        }
    }

    /// Hands a record to the sink. `text` is the record, `start` its offset in the buffer.
    fn keep(
        &mut self,
        text: &str,
        start: usize,
        draft: &mut Draft<'_>,
        outcome: Outcome,
        sink: &mut impl Sink,
    ) {
        let number = self.record;
        self.record += 1;
        self.tally.records_seen += 1;
        self.unknown.merge(&draft.unknown);
        if self.framing == Framing::Documents && number < LEARNING_RECORDS {
            self.beginnings.learn(text.as_bytes());
        }
        if outcome == Outcome::ErrorResponse {
            self.tally.records_error_response += 1;
            return;
        }
        let details = draft.record.detail_count as u64;
        self.tally.details_seen += details;
        self.tally.details_rejected += draft.unusable.len() as u64;
        if details == 0 {
            self.tally.records_empty += 1;
            return;
        }
        self.tally.records_with_attempts += 1;
        let mut path = json::Path::new(text.as_bytes());
        for Unusable { fault, seq, .. } in draft.unusable.drain(..) {
            sink.reject(Reject {
                record: number,
                byte_offset: self.offset + (start + fault.at) as i64,
                json_path: path.of(fault.at),
                reason: fault.reason,
                message: fault.message.into_owned(),
                seqs: seq.into_iter().map(Cow::into_owned).collect(),
                of_attempt: true,
            });
        }
        if !draft.attempts.is_empty() {
            draft.record.number = number;
            draft.record.byte_offset = self.offset + start as i64;
            for attempt in &mut draft.attempts {
                attempt.byte_offset += draft.record.byte_offset;
            }
            sink.record(&draft.record, &draft.attempts);
        }
    }

    /// What is told of what begins at `start` and breaks at the fault; both offsets count from the buffer's start.
    fn aside(&mut self, bytes: &[u8], start: usize, mut fault: Fault) -> Aside {
        if self.stream_broken && fault.reason == RejectReason::Truncated && fault.at == bytes.len()
        {
            fault = stream_break(fault.at);
            self.stream_break_told = true;
        }
        let at = if fault.reason == RejectReason::RecordTooLarge { start } else { fault.at };
        // A name that begins at the fault is shown if it is whole.
        let end = bytes.len().min(at + 128);
        let json_path = json::path_of(&bytes[start..end], at - start);
        Aside { json_path, at: self.offset + at as i64, fault, seqs: Vec::new() }
    }

    fn tell(&mut self, aside: Aside, sink: &mut impl Sink) {
        let Aside { json_path, at, fault, seqs } = aside;
        let number = self.record;
        self.record += 1;
        self.tally.records_seen += 1;
        self.tally.records_rejected += 1;
        sink.reject(Reject {
            record: number,
            byte_offset: at,
            json_path,
            reason: fault.reason,
            message: fault.message.into_owned(),
            seqs,
            of_attempt: false,
        });
    }
}

impl Aside {
    /// Of no record: at this offset of the object.
    fn at(at: i64, fault: Fault) -> Aside {
        Aside { json_path: "$".to_owned(), at, fault, seqs: Vec::new() }
    }
}

fn next_too_early(at: usize) -> Fault {
    Fault {
        at,
        reason: RejectReason::Truncated,
        message: Cow::Borrowed("the record is not at its end where the next one begins"),
    }
}

impl Lost {
    fn record(way: Way, aside: Aside) -> Lost {
        Lost::Record(Box::new((way, aside)))
    }

    /// What is to be told of it where it ends.
    fn ended(self) -> Option<Aside> {
        match self {
            Lost::Record(record) => {
                let (way, aside) = *record;
                Some(Aside { seqs: way.seqs(), ..aside })
            }
            Lost::Marked(aside) => Some(aside),
            _ => None,
        }
    }

    /// In the comment that begins at `at`; `None` when the next byte must be seen to tell of what kind it is.
    fn comment(bytes: &[u8], at: usize, last: bool) -> Option<Lost> {
        match (bytes[at], bytes.get(at + 1)) {
            (b'#', _) | (_, Some(b'/')) => Some(Lost::LineComment),
            (_, Some(b'*')) => Some(Lost::BlockComment),
            (_, None) if !last => None,
            _ => Some(Lost::Rubble),
        }
    }
}

fn stream_break(at: usize) -> Fault {
    Fault {
        at,
        reason: RejectReason::BadCompression,
        message: Cow::Borrowed(
            "the compressed stream ends or breaks here (offset in the decompressed text); records before it are kept",
        ),
    }
}

/// How long the line break at `at` is, if there is one.
fn line_break_at(bytes: &[u8], at: usize) -> Option<usize> {
    match bytes.get(at..)? {
        [b'\n', ..] => Some(1),
        [b'\r', b'\n', ..] => Some(2),
        _ => None,
    }
}

/// The beginning of `text`, of at most `bytes_max` bytes.
fn within(text: &str, bytes_max: usize) -> &str {
    let mut end = text.len().min(bytes_max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// A buffer, checked for UTF-8 a run at a time and each byte about once.
struct Checked<'b> {
    bytes: &'b [u8],
    from: usize,
    text: &'b str,
    /// Bytes that are no UTF-8 were met: the fast check, which goes to the end before it tells, would go
    /// there for each of them.
    unsound: bool,
    /// Of the record that is read, if it is like others: one in each place costs less than one for each record.
    draft: Draft<'b>,
}

impl<'b> Checked<'b> {
    fn new(bytes: &'b [u8]) -> Checked<'b> {
        Checked { bytes, from: 0, text: "", unsound: false, draft: Draft::default() }
    }

    /// The text from `start` up to `end`, or to the first byte that is no UTF-8.
    fn text(&mut self, start: usize, end: usize) -> &'b str {
        if start >= self.from + self.text.len() {
            self.from = start;
            let rest = &self.bytes[start..];
            let whole = if self.unsound { None } else { simdutf8::basic::from_utf8(rest).ok() };
            self.text = whole.unwrap_or_else(|| {
                self.unsound = true;
                match simdutf8::compat::from_utf8(rest) {
                    Ok(text) => text,
                    Err(error) => {
                        simdutf8::basic::from_utf8(&rest[..error.valid_up_to()]).unwrap_or("")
                    }
                }
            });
        }
        let end = (end - self.from).min(self.text.len());
        self.text.get(start - self.from..end).unwrap_or("")
    }

    /// Whether the buffer ends with the beginning of a character, which is at `at`.
    fn cut_at(&self, at: usize) -> bool {
        simdutf8::compat::from_utf8(&self.bytes[at..])
            .is_err_and(|error| error.valid_up_to() == 0 && error.error_len().is_none())
    }
}

/// Reads a whole object from a stream, whatever its compression and framing, in bounded memory (the
/// longest record and some). `size` is how many bytes it should be, 0 when that is not known. `Err` is the stream's
/// own failure; what is wrong with its bytes is a reject.
pub fn read_object(
    input: &mut dyn Read,
    (key, size): (&str, u64),
    format: Format,
    told: Compression,
    wanted: &Wanted,
    sink: &mut impl Sink,
) -> io::Result<Tally> {
    let mut source = Watched { input, failed: None };
    let mut head = Vec::with_capacity(32);
    if let Err(error) = (&mut source).take(4).read_to_end(&mut head) {
        return Err(source.failed.unwrap_or(error));
    }
    let compression = compression(told, &head);
    let mut chained = io::Cursor::new(head).chain(&mut source);
    let result = match compression {
        Compression::Gzip => {
            let buffered = io::BufReader::with_capacity(256 << 10, &mut chained);
            read_plain(
                &mut flate2::bufread::MultiGzDecoder::new(buffered),
                (key, size),
                format,
                wanted,
                sink,
            )
        }
        Compression::Zstd => match zstd::Decoder::new(&mut chained) {
            Ok(mut decoder) => read_plain(&mut decoder, (key, size), format, wanted, sink),
            Err(error) => Err(error),
        },
        _ => read_plain(&mut chained, (key, size), format, wanted, sink),
    };
    match source.failed {
        Some(error) => Err(error),
        None => result,
    }
}

/// Keeps the stream's own error apart from those of the decompressor above it.
struct Watched<'i> {
    input: &'i mut dyn Read,
    failed: Option<io::Error>,
}

impl Read for Watched<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.input.read(buffer).map_err(|error| {
            let kind = error.kind();
            if kind != io::ErrorKind::Interrupted {
                self.failed = Some(error);
            }
            io::Error::from(kind)
        })
    }
}

/// Reads decompressed text. An error of `input` is a broken compression (the caller looks whether it
/// was the stream's): what came before it is kept.
fn read_plain(
    input: &mut dyn Read,
    (key, size): (&str, u64),
    format: Format,
    wanted: &Wanted,
    sink: &mut impl Sink,
) -> io::Result<Tally> {
    let mut buffer: Vec<u8> = Vec::with_capacity(size.min(CHUNK_BYTES as u64) as usize);
    let mut broken = false;
    let mut last = false;
    let mut decoder: Option<Decoder<'_>> = None;
    let mut want = CHUNK_BYTES;
    while !last {
        let before = buffer.len();
        // `read_to_end` keeps what it has read before an error, and tries again when interrupted.
        broken = input.take(want as u64).read_to_end(&mut buffer).is_err();
        last = broken || buffer.len() - before < want;
        let framing = framing(format, key).unwrap_or(Framing::Documents);
        let decoder = decoder.get_or_insert_with(|| Decoder::new(wanted, framing, 0));
        decoder.stream_broken = broken;
        let used = decoder.push(&buffer, last, sink);
        buffer.drain(..used);
        // A record longer than the buffer: double what is read, so that it is scanned only a few times,
        // but not beyond the longest record that is read.
        let room = (decoder.record_bytes_max + CHUNK_BYTES).saturating_sub(buffer.len());
        want = if used == 0 { buffer.len().min(room).max(CHUNK_BYTES) } else { CHUNK_BYTES };
        if buffer.len() < CHUNK_BYTES {
            // The room of a long record is given back once it is read.
            buffer.shrink_to(4 * CHUNK_BYTES);
        }
    }
    let mut decoder = decoder.unwrap_or_else(|| Decoder::new(wanted, Framing::Documents, 0));
    let end = decoder.offset;
    if broken && !decoder.stream_break_told {
        decoder.tell(Aside::at(end, stream_break(0)), sink);
    } else if decoder.records() == 0 && !decoder.array_opened {
        let fault = Fault {
            at: 0,
            reason: RejectReason::EmptyObject,
            message: Cow::Borrowed("the object holds no record"),
        };
        decoder.tell(Aside::at(0, fault), sink);
    }
    Ok(decoder.finish())
}
