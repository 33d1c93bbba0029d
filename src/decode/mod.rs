//! Bytes to attempts and rejects.
//!
//! Takes the bytes of an object (or of a run of whole lines of it) and hands each record to a [`Sink`];
//! gives a [`Tally`] of what was seen. It does no I/O of its own, keeps no value of a bad record, and
//! never stops at one: what cannot be read is a [`Reject`] with its place, and the next record is read.

mod envelope;
mod frame;
mod json;
mod record;

#[cfg(test)]
mod tests;

pub use record::Wanted;

use crate::model::{Attempt, Compression, Format, Record, Reject, RejectReason, Tally};
use json::Fault;
use record::{Draft, Outcome, UnknownMembers};
use std::borrow::Cow;
use std::io::{self, Read};

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

/// The framing of an object, from the pipeline, its name, or its first bytes (decompressed).
pub fn framing(format: Format, key: &str, head: &[u8], whole: bool) -> Framing {
    match format {
        Format::Ndjson => return Framing::Lines,
        Format::Json => return Framing::Documents,
        Format::Auto => {}
    }
    let name = key.rsplit('/').next().unwrap_or(key).to_ascii_lowercase();
    let name = name.strip_suffix(".gz").or_else(|| name.strip_suffix(".zst")).unwrap_or(&name);
    if name.ends_with(".ndjson") || name.ends_with(".jsonl") {
        return Framing::Lines;
    }
    if frame::looks_like_ndjson(head, whole) { Framing::Lines } else { Framing::Documents }
}

/// The compression of an object, from the pipeline or its first bytes. Names are not asked: a name may
/// say `.gz` of a file that a client has decompressed on the way.
pub fn compression(compression: Compression, head: &[u8]) -> Compression {
    match compression {
        Compression::Auto if head.starts_with(&[0x1F, 0x8B]) => Compression::Gzip,
        Compression::Auto if head.starts_with(&[0x28, 0xB5, 0x2F, 0xFD]) => Compression::Zstd,
        Compression::Auto => Compression::Plain,
        told => told,
    }
}

/// Decodes the records of one object, or of one run of whole lines of it.
pub struct Decoder<'w> {
    wanted: &'w Wanted,
    framing: Framing,
    /// Offset in the object of the first byte of the next buffer.
    offset: i64,
    record: i64,
    in_array: bool,
    /// An empty array holds no record and is no empty object.
    array_opened: bool,
    /// Whether an array was opened and a comma or its end must come before the next element.
    after_element: bool,
    unknown: UnknownMembers,
    tally: Tally,
}

/// What to do with the rest of a buffer.
enum Step {
    /// Go on at this offset of the buffer.
    At(usize),
    /// The record at this offset needs more bytes than the buffer holds.
    More(usize),
}

impl<'w> Decoder<'w> {
    /// `offset` is where in the object the first buffer begins; records are numbered from 0.
    pub fn new(wanted: &'w Wanted, framing: Framing, offset: u64) -> Decoder<'w> {
        Decoder {
            wanted,
            framing,
            offset: offset as i64,
            record: 0,
            in_array: false,
            array_opened: false,
            after_element: false,
            unknown: UnknownMembers::default(),
            tally: Tally::default(),
        }
    }

    /// Reads the records that lie whole in `bytes`; gives how many bytes were used up. With `last`,
    /// nothing follows and all is used up.
    pub fn push(&mut self, bytes: &[u8], last: bool, sink: &mut impl Sink) -> usize {
        let used = match self.framing {
            Framing::Lines => self.lines(bytes, last, sink),
            Framing::Documents => self.documents(bytes, last, sink),
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

    fn lines(&mut self, bytes: &[u8], last: bool, sink: &mut impl Sink) -> usize {
        let end = if last {
            bytes.len()
        } else {
            memchr::memrchr(b'\n', bytes).map_or(0, |newline| newline + 1)
        };
        let mut input = Checked::new(bytes);
        let mut start = 0;
        while start < end {
            let line_end = memchr::memchr(b'\n', &bytes[start..end]).map_or(end, |n| start + n);
            let mut at = start;
            // One record a line; a second on the same line is read too, so that a lost line break
            // costs nothing.
            loop {
                at += blank_run(&bytes[at..line_end]);
                if at == line_end {
                    break;
                }
                at = match self.one(&mut input, at, line_end, true, sink) {
                    Ok(after) => after,
                    Err(_) => line_end,
                };
            }
            start = line_end + 1;
        }
        end
    }

    fn documents(&mut self, bytes: &[u8], last: bool, sink: &mut impl Sink) -> usize {
        let mut input = Checked::new(bytes);
        let mut at = 0;
        loop {
            match self.step(&mut input, at, last, sink) {
                Step::At(next) if next < bytes.len() => at = next,
                Step::At(_) => break,
                Step::More(from) => return from,
            }
        }
        if last && self.in_array {
            let fault = Fault {
                at: bytes.len(),
                reason: RejectReason::Truncated,
                message: Cow::Borrowed("the input ends inside its array: records after this may be lost"),
            };
            self.reject_record(bytes, bytes.len(), bytes.len(), fault, sink);
            self.in_array = false;
        }
        bytes.len()
    }

    /// One token between records, or one record.
    fn step(&mut self, input: &mut Checked<'_>, at: usize, last: bool, sink: &mut impl Sink) -> Step {
        let bytes = input.bytes;
        let at = at + blank_run(&bytes[at..]);
        let Some(first) = bytes.get(at) else { return Step::At(at) };
        if self.in_array {
            match first {
                b']' => {
                    self.in_array = false;
                    self.after_element = false;
                    return Step::At(at + 1);
                }
                b',' if self.after_element => {
                    self.after_element = false;
                    let next = at + 1 + blank_run(&bytes[at + 1..]);
                    match bytes.get(next) {
                        Some(b']') => {
                            let fault = Fault {
                                at,
                                reason: RejectReason::TrailingComma,
                                message: Cow::Borrowed("a comma before the closing bracket"),
                            };
                            self.reject_record(bytes, at, at + 1, fault, sink);
                        }
                        None if !last => {
                            self.after_element = true;
                            return Step::More(at);
                        }
                        _ => {}
                    }
                    return Step::At(at + 1);
                }
                _ => {}
            }
        } else if *first == b'[' {
            self.in_array = true;
            self.array_opened = true;
            self.after_element = false;
            return Step::At(at + 1);
        }
        if self.in_array && self.after_element {
            let fault = Fault {
                at,
                reason: RejectReason::InvalidJson,
                message: Cow::Borrowed("a comma or the end of the array should stand here"),
            };
            self.after_element = false;
            self.reject_record(bytes, at, at, fault, sink);
            // A bracket begins the next element; anything else is passed over up to one.
            let next = memchr::memchr2(b'{', b']', &bytes[at..]).map_or(bytes.len(), |n| at + n);
            return Step::At(next);
        }
        match self.one(input, at, bytes.len(), last, sink) {
            Ok(after) => {
                self.after_element = self.in_array;
                Step::At(after)
            }
            Err(Unread::Cut) => Step::More(at),
            Err(Unread::Fault(fault_at)) => {
                self.after_element = self.in_array;
                let balanced = frame::balanced_end(bytes, at);
                let sibling = frame::next_sibling(bytes, at, fault_at);
                match (balanced, sibling) {
                    (Some(end), Some(next)) if next < end => {
                        self.after_element = false;
                        Step::At(next)
                    }
                    (Some(end), _) => Step::At(end),
                    (None, Some(next)) => {
                        self.after_element = false;
                        Step::At(next)
                    }
                    (None, None) => {
                        // Nothing after it can be told apart from it.
                        self.in_array = false;
                        Step::At(bytes.len())
                    }
                }
            }
        }
    }

    /// Reads the record at `start`, which must end before `end`. `whole` says that no more bytes of it
    /// can come. A record that is set aside has been given to the sink when this returns.
    fn one(
        &mut self,
        input: &mut Checked<'_>,
        start: usize,
        end: usize,
        whole: bool,
        sink: &mut impl Sink,
    ) -> Result<usize, Unread> {
        let bytes = input.bytes;
        let text = input.text(start, end);
        // Up to a byte that is no UTF-8, or to the end.
        let sound = start + text.len() == end;
        let fault = match self.read(text, start, sink) {
            Ok(after) => return Ok(after),
            Err(fault) => fault,
        };
        if fault.at < text.len() {
            return self.set_aside(bytes, start, end, fault, sink);
        }
        let may_go_on = !whole && (sound || input.ends_inside_a_character());
        if may_go_on && end - start <= RECORD_BYTES_MAX {
            return Err(Unread::Cut);
        }
        let fault = if may_go_on {
            Fault {
                at: 0,
                reason: RejectReason::RecordTooLarge,
                message: Cow::Borrowed("a record of more than 512 MiB"),
            }
        } else if sound || (whole && end == bytes.len() && input.ends_inside_a_character()) {
            fault
        } else {
            Fault {
                at: text.len(),
                reason: RejectReason::InvalidUtf8,
                message: Cow::Borrowed(
                    "bytes that are no UTF-8: write the file as UTF-8 (not GB18030 or UTF-16)",
                ),
            }
        };
        self.set_aside(bytes, start, end, fault, sink)
    }

    fn set_aside(
        &mut self,
        bytes: &[u8],
        start: usize,
        end: usize,
        fault: Fault,
        sink: &mut impl Sink,
    ) -> Result<usize, Unread> {
        let at = start + fault.at;
        // Where the grammar held to the end of the record, the next one begins there.
        let sound = !is_of_grammar(fault.reason);
        self.reject_record(bytes, start, at, Fault { at, ..fault }, sink);
        match frame::balanced_end(&bytes[..end], start) {
            Some(after) if sound => Ok(after),
            _ => Err(Unread::Fault(at)),
        }
    }

    /// Reads one record from `text` and hands it to the sink. Offsets of the fault count from `start`.
    fn read(
        &mut self,
        text: &str,
        start: usize,
        sink: &mut impl Sink,
    ) -> Result<usize, Fault> {
        let mut draft = Draft::default();
        let (after, outcome) = record::read_record(text, 0, self.wanted, &mut draft);
        let outcome = outcome?;
        let number = self.record;
        self.record += 1;
        self.tally.records_seen += 1;
        self.unknown.merge(&draft.unknown);
        if outcome == Outcome::ErrorResponse {
            self.tally.records_error_response += 1;
            return Ok(start + after);
        }
        let details = draft.record.detail_count as u64;
        self.tally.details_seen += details;
        self.tally.details_rejected += draft.unusable.len() as u64;
        if details == 0 {
            self.tally.records_empty += 1;
            return Ok(start + after);
        }
        self.tally.records_with_attempts += 1;
        for (_, fault) in draft.unusable.drain(..) {
            sink.reject(Reject {
                record: number,
                byte_offset: self.offset + (start + fault.at) as i64,
                json_path: json::path_of(&text.as_bytes()[..after], fault.at),
                reason: fault.reason,
                message: fault.message.into_owned(),
                of_attempt: true,
            });
        }
        if !draft.attempts.is_empty() {
            draft.record.number = number;
            draft.record.byte_offset = self.offset + start as i64;
            sink.record(&draft.record, &draft.attempts);
        }
        Ok(start + after)
    }

    /// `start` and the fault's offset count from the start of `bytes`.
    fn reject_record(
        &mut self,
        bytes: &[u8],
        start: usize,
        at: usize,
        fault: Fault,
        sink: &mut impl Sink,
    ) {
        let number = self.record;
        self.record += 1;
        self.tally.records_seen += 1;
        self.tally.records_rejected += 1;
        let end = (at + 128).min(bytes.len());
        sink.reject(Reject {
            record: number,
            byte_offset: self.offset + fault.at as i64,
            json_path: json::path_of(&bytes[start..end.max(start)], fault.at.saturating_sub(start)),
            reason: fault.reason,
            message: fault.message.into_owned(),
            of_attempt: false,
        });
    }
}

/// A buffer, checked for UTF-8 a run at a time and each run once.
struct Checked<'b> {
    bytes: &'b [u8],
    from: usize,
    text: &'b str,
}

impl<'b> Checked<'b> {
    fn new(bytes: &'b [u8]) -> Checked<'b> {
        Checked { bytes, from: 0, text: "" }
    }

    /// The text from `start` up to `end`, or to the first byte that is no UTF-8.
    fn text(&mut self, start: usize, end: usize) -> &'b str {
        if start >= self.from + self.text.len() {
            self.from = start;
            let rest = &self.bytes[start..];
            let valid = match simdutf8::basic::from_utf8(rest) {
                Ok(_) => rest.len(),
                Err(_) => simdutf8::compat::from_utf8(rest).map_or_else(|e| e.valid_up_to(), str::len),
            };
            self.text = simdutf8::basic::from_utf8(&rest[..valid]).unwrap_or("");
        }
        let end = (end - self.from).min(self.text.len());
        self.text.get(start - self.from..end).unwrap_or("")
    }

    /// Whether the buffer ends with the beginning of a character, as a cut one does.
    fn ends_inside_a_character(&self) -> bool {
        let valid = self.from + self.text.len();
        simdutf8::compat::from_utf8(&self.bytes[valid..])
            .is_err_and(|error| error.valid_up_to() == 0 && error.error_len().is_none())
    }
}

/// Why a record could not be read on.
enum Unread {
    /// It goes on beyond the buffer.
    Cut,
    /// It is broken at this offset of the buffer, and its end is not known.
    Fault(usize),
}

/// Whether a fault leaves open where its record ends.
fn is_of_grammar(reason: RejectReason) -> bool {
    use RejectReason as R;
    matches!(
        reason,
        R::InvalidUtf8
            | R::ByteOrderMark
            | R::Truncated
            | R::TrailingComma
            | R::Comment
            | R::ControlCharacter
            | R::BadEscape
            | R::UnpairedSurrogate
            | R::TooDeep
            | R::InvalidJson
            | R::RecordTooLarge
    )
}

fn blank_run(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|b| matches!(b, b' ' | b'\t' | b'\r' | b'\n')).count()
}

/// Reads a whole object from a stream, whatever its compression and framing, in bounded memory (the
/// longest record and some). `Err` is the stream's own failure; what is wrong with its bytes is a reject.
pub fn read_object(
    input: &mut dyn Read,
    key: &str,
    format: Format,
    told: Compression,
    wanted: &Wanted,
    sink: &mut impl Sink,
) -> io::Result<Tally> {
    let mut source = Watched { input, failed: None };
    let mut head = Vec::new();
    (&mut source).take(4).read_to_end(&mut head)?;
    let compression = compression(told, &head);
    let mut chained = io::Cursor::new(head).chain(&mut source);
    let result = match compression {
        Compression::Gzip => {
            let buffered = io::BufReader::with_capacity(256 << 10, &mut chained);
            read_plain(&mut flate2::bufread::MultiGzDecoder::new(buffered), key, format, wanted, sink)
        }
        Compression::Zstd => match zstd::Decoder::new(&mut chained) {
            Ok(mut decoder) => read_plain(&mut decoder, key, format, wanted, sink),
            Err(error) => Err(error),
        },
        _ => read_plain(&mut chained, key, format, wanted, sink),
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
    key: &str,
    format: Format,
    wanted: &Wanted,
    sink: &mut impl Sink,
) -> io::Result<Tally> {
    let mut buffer: Vec<u8> = Vec::new();
    let mut broken = false;
    let mut last = false;
    let mut decoder: Option<Decoder<'_>> = None;
    let mut want = CHUNK_BYTES;
    while !last {
        let before = buffer.len();
        if let Err(error) = input.take(want as u64).read_to_end(&mut buffer) {
            // `read_to_end` keeps what it has read.
            if error.kind() == io::ErrorKind::Interrupted {
                continue;
            }
            broken = true;
        }
        last = broken || buffer.len() - before < want;
        let decoder = decoder
            .get_or_insert_with(|| Decoder::new(wanted, framing(format, key, &buffer, last), 0));
        let used = decoder.push(&buffer, last, sink);
        buffer.drain(..used);
        // A record longer than the buffer: double what is read, so that it is scanned only a few times.
        want = if used == 0 { buffer.len().max(CHUNK_BYTES) } else { CHUNK_BYTES };
    }
    let mut decoder = decoder.unwrap_or_else(|| Decoder::new(wanted, Framing::Documents, 0));
    if broken {
        let fault = Fault {
            at: 0,
            reason: RejectReason::BadCompression,
            message: Cow::Borrowed(
                "the compressed stream ends or breaks here (offset in the decompressed text); records before it are kept",
            ),
        };
        decoder.reject_record(&[], 0, 0, fault, sink);
    } else if decoder.records() == 0 && !decoder.array_opened {
        let fault = Fault {
            at: 0,
            reason: RejectReason::EmptyObject,
            message: Cow::Borrowed("the object holds no record"),
        };
        decoder.reject_record(&[], 0, 0, fault, sink);
    }
    Ok(decoder.finish())
}
