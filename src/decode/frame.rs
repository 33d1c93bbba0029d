//! Where records begin and end, and where to go on after a broken one.
//!
//! Takes bytes; gives offsets. It forgives everything: it is asked about text that is not JSON. What it
//! answers depends on the bytes alone, never on where a buffer happens to end.

use super::json::{BYTE_ORDER_MARK, Cursor, Scalar};

/// Where a search stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Search {
    /// A record may begin here.
    Found(usize),
    /// The record has ended before this offset.
    Ended(usize),
    /// Nothing before this offset: what follows it must be seen.
    More(usize),
}

/// Bytes of a record that its beginning is known by. Three names fit, with short values between them.
const BEGINNING_BYTES: usize = 4096;
/// Names in a beginning: enough to tell a result from the objects inside it.
const BEGINNING_KEYS: usize = 3;
/// Beginnings remembered of one object. A file holds results, errors and perhaps a third shape.
const BEGINNINGS_MAX: usize = 8;
/// Deeper indentation than this is not compared.
const INDENT_MAX: usize = 64;

/// How the records of an object begin: brackets and the first names, without any value. After a broken
/// record the next one is known by them where neither brackets nor lines can be trusted.
#[derive(Clone, Debug, Default)]
pub struct Beginnings(Vec<Vec<u8>>);

impl Beginnings {
    /// Remembers how the record at the start of `record` begins.
    pub fn learn(&mut self, record: &[u8]) {
        if self.0.len() < BEGINNINGS_MAX
            && let Some(beginning) = beginning(record)
            && !self.0.contains(&beginning)
        {
            self.0.push(beginning);
        }
    }

    /// These, and how the broken record at the start of `record` begins, if it is whole that far.
    pub fn and(&self, record: &[u8]) -> Beginnings {
        let mut all = self.clone();
        if let Some(own) = beginning(record)
            && !self.0.contains(&own)
        {
            all.0.push(own);
        }
        all
    }

    /// Whether a record of a known beginning stands at `at` (a brace); `None` when more bytes must be
    /// seen to tell.
    fn stand_at(&self, bytes: &[u8], at: usize, last: bool) -> Option<bool> {
        if self.0.is_empty() {
            return Some(false);
        }
        let window = &bytes[at..bytes.len().min(at + BEGINNING_BYTES)];
        match beginning(window) {
            Some(found) => Some(self.0.contains(&found)),
            None => (last || window.len() == BEGINNING_BYTES || !may_grow(window)).then_some(false),
        }
    }

    /// The first place in `from..=to` where a record of a known beginning stands.
    pub fn find(&self, bytes: &[u8], from: usize, to: usize, last: bool) -> Search {
        let end = bytes.len().min(to + 1);
        let mut at = from;
        while at < end
            && let Some(brace) = memchr::memchr(b'{', &bytes[at..end])
        {
            match self.stand_at(bytes, at + brace, last) {
                Some(true) => return Search::Found(at + brace),
                Some(false) => at += brace + 1,
                None => return Search::More(at + brace),
            }
        }
        Search::Ended(end)
    }
}

/// Brackets, colons and the first three names of the object at the start of `record`, values as `0`.
/// `None` when the record ends before the third, or is no JSON up to there.
fn beginning(record: &[u8]) -> Option<Vec<u8>> {
    lex_beginning(&record[..record.len().min(BEGINNING_BYTES)]).ok()
}

/// Whether a beginning that is not whole could become whole with more bytes.
fn may_grow(window: &[u8]) -> bool {
    lex_beginning(window) == Err(Lexed::Cut)
}

#[derive(Debug, PartialEq, Eq)]
enum Lexed {
    /// The bytes end.
    Cut,
    /// No beginning of a record.
    Not,
}

fn lex_beginning(bytes: &[u8]) -> Result<Vec<u8>, Lexed> {
    let mut shape = Vec::with_capacity(64);
    let mut names: Vec<&[u8]> = Vec::with_capacity(BEGINNING_KEYS);
    // One entry a level: whether it is an object.
    let mut levels: Vec<bool> = Vec::new();
    let mut at = 0;
    // Whether a name (in an object) or a value may stand here.
    let mut fresh = true;
    loop {
        let byte = *bytes.get(at).ok_or(Lexed::Cut)?;
        match byte {
            b' ' | b'\t' | b'\r' | b'\n' => at += 1,
            b'{' | b'[' if fresh => {
                shape.push(byte);
                levels.push(byte == b'{');
                at += 1;
            }
            b'}' | b']' => {
                shape.push(byte);
                levels.pop();
                if levels.is_empty() {
                    return Err(Lexed::Not);
                }
                fresh = false;
                at += 1;
            }
            b',' => {
                fresh = true;
                at += 1;
            }
            b'"' if fresh => {
                let end = string_end(bytes, at + 1).ok_or(Lexed::Cut)?;
                let name = &bytes[at + 1..end];
                at = end + 1;
                if levels.last() != Some(&true) {
                    shape.push(b'0');
                    fresh = false;
                    continue;
                }
                at += blank_run(&bytes[at..]);
                match bytes.get(at) {
                    Some(b':') => at += 1,
                    Some(_) => return Err(Lexed::Not),
                    None => return Err(Lexed::Cut),
                }
                shape.extend_from_slice(name);
                shape.push(b':');
                names.push(name);
                if names.len() == BEGINNING_KEYS {
                    // One name inside itself is how nesting is piled up, not how a result begins.
                    let piled = names.iter().all(|n| *n == names[0]);
                    return if piled { Err(Lexed::Not) } else { Ok(shape) };
                }
                at += blank_run(&bytes[at..]);
                match bytes.get(at) {
                    Some(b'{' | b'[') => continue,
                    Some(b'"') => at = string_end(bytes, at + 1).ok_or(Lexed::Cut)? + 1,
                    Some(_) => at = word_end(bytes, at)?,
                    None => return Err(Lexed::Cut),
                }
                shape.push(b'0');
                fresh = false;
            }
            _ if fresh && levels.last() == Some(&false) => {
                at = word_end(bytes, at)?;
                shape.push(b'0');
                fresh = false;
            }
            _ => return Err(Lexed::Not),
        }
    }
}

/// The offset after the number or literal at `at`.
fn word_end(bytes: &[u8], at: usize) -> Result<usize, Lexed> {
    let word = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'+' | b'.');
    match bytes[at..].iter().position(|b| !word(b)) {
        Some(0) => Err(Lexed::Not),
        Some(n) => Ok(at + n),
        None => Err(Lexed::Cut),
    }
}

pub fn blank_run(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|b| matches!(b, b' ' | b'\t' | b'\r' | b'\n')).count()
}

/// The blanks between the last line break and a record, `None` when something else stands there. Text
/// that comes before is told piece by piece.
#[derive(Clone, Debug)]
pub struct Indent(Option<Vec<u8>>);

impl Default for Indent {
    /// At the beginning of an object.
    fn default() -> Indent {
        Indent(Some(Vec::new()))
    }
}

impl Indent {
    /// Of a record that shares its line.
    pub fn none() -> Indent {
        Indent(None)
    }

    /// Of what follows `text`, if a line begins in it.
    pub fn of(text: &[u8]) -> Indent {
        let mut indent = Indent(None);
        if let Some(newline) = memchr::memrchr(b'\n', text)
            && blank_run(&text[newline..]) == text.len() - newline
        {
            indent.pass(&text[newline..]);
        }
        indent
    }

    /// Something that is no white space was passed.
    pub fn spoil(&mut self) {
        self.0 = None;
    }

    pub fn pass(&mut self, blanks: &[u8]) {
        if blanks.is_empty() {
            return;
        }
        let tail = match memchr::memrchr(b'\n', blanks) {
            Some(newline) => {
                self.0 = Some(Vec::new());
                &blanks[newline + 1..]
            }
            None => blanks,
        };
        if let Some(indent) = &mut self.0 {
            indent.extend_from_slice(&tail[..tail.len().min(INDENT_MAX + 1)]);
            if indent.len() > INDENT_MAX {
                self.0 = None;
            }
        }
    }

    /// Whether the brace at `at` stands behind the same indentation, in a line that begins after `from`.
    pub fn same_at(&self, bytes: &[u8], from: usize, at: usize) -> bool {
        let Some(indent) = &self.0 else { return false };
        bytes.get(at) == Some(&b'{')
            && at > from + indent.len()
            && bytes[..at].ends_with(indent)
            && bytes[at - indent.len() - 1] == b'\n'
    }

    /// Whether the line that begins at `line` holds, behind the same indentation, a brace; `None` when more
    /// bytes must be seen to tell.
    fn in_line(&self, bytes: &[u8], line: usize, last: bool) -> Option<bool> {
        let Some(indent) = &self.0 else { return Some(false) };
        let rest = &bytes[line..];
        match rest.get(indent.len()) {
            Some(byte) => Some(*byte == b'{' && rest.starts_with(indent)),
            None if last || !indent.starts_with(rest) => Some(false),
            None => None,
        }
    }
}

/// The way out of a broken record: to its end by its brackets, strings and comments, or to the next
/// record's beginning by its line or its names, whichever comes first. It can be gone in steps.
#[derive(Clone, Debug)]
pub struct Way {
    depth: usize,
    inside: Inside,
    indent: Indent,
    beginnings: Beginnings,
    found_by_line: bool,
    named: Named,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Inside {
    Brackets,
    Text,
    Escape,
    LineComment,
    BlockComment,
    BlockCommentStar,
}

impl Way {
    pub fn new(indent: Indent, beginnings: Beginnings) -> Way {
        Way {
            depth: 0,
            inside: Inside::Brackets,
            indent,
            beginnings,
            found_by_line: false,
            named: Named::default(),
        }
    }

    /// The indentation of the record that was found.
    pub fn indent_found(&self) -> Indent {
        if self.found_by_line { self.indent.clone() } else { Indent::none() }
    }

    /// The Seqs met on the way.
    pub fn seqs(self) -> Vec<String> {
        self.named.finish()
    }

    /// Goes on at `at`, which must be where the last step stopped (the record's first byte at first).
    /// Places before `from` are known to be inside the record.
    pub fn go(&mut self, bytes: &[u8], mut at: usize, from: usize, last: bool) -> Search {
        while let Some(byte) = bytes.get(at) {
            match byte {
                b'\n' => {
                    let place = at + 1 + self.indent.0.as_ref().map_or(0, Vec::len);
                    if place >= from {
                        match self.indent.in_line(bytes, at + 1, last) {
                            Some(true) => {
                                self.found_by_line = true;
                                return Search::Found(place);
                            }
                            Some(false) => {}
                            None => return Search::More(at),
                        }
                    }
                }
                b'{' if at >= from => match self.beginnings.stand_at(bytes, at, last) {
                    Some(true) => return Search::Found(at),
                    Some(false) => {}
                    None => return Search::More(at),
                },
                _ => {}
            }
            self.inside = match (self.inside, byte) {
                (Inside::Brackets, b'"') => Inside::Text,
                (Inside::Brackets, b'{' | b'[') => {
                    self.depth += 1;
                    Inside::Brackets
                }
                (Inside::Brackets, b'}' | b']') => {
                    self.depth = self.depth.saturating_sub(1);
                    if self.depth == 0 && at >= from {
                        return Search::Ended(at + 1);
                    }
                    Inside::Brackets
                }
                (Inside::Brackets, b'#') => Inside::LineComment,
                (Inside::Brackets, b'/') => match bytes.get(at + 1) {
                    Some(b'/') => Inside::LineComment,
                    Some(b'*') => {
                        at += 1;
                        Inside::BlockComment
                    }
                    None if !last => return Search::More(at),
                    _ => Inside::Brackets,
                },
                (Inside::Text, b'\\') => Inside::Escape,
                (Inside::Text, b'"') => Inside::Brackets,
                (Inside::Escape, _) => Inside::Text,
                (Inside::LineComment, b'\n') => Inside::Brackets,
                (Inside::BlockComment | Inside::BlockCommentStar, b'*') => Inside::BlockCommentStar,
                (Inside::BlockCommentStar, b'/') => Inside::Brackets,
                (Inside::BlockCommentStar, _) => Inside::BlockComment,
                (inside, _) => inside,
            };
            self.named.pass(*byte);
            at += 1;
        }
        Search::More(bytes.len())
    }
}

/// The Seqs that `text`, which is no result, names.
pub fn seqs_named(text: &[u8]) -> Vec<String> {
    let mut named = Named::default();
    text.iter().for_each(|byte| named.pass(*byte));
    named.finish()
}

/// Seqs told of one record that is set aside: far more than a result holds, and a bound for what is none.
const SEQS_TOLD_MAX: usize = 100_000;
/// A value longer than this is no Seq, but text whose quote was lost.
const SEQ_BYTES_MAX: usize = 256;

/// Finds the members called `Seq` in text that need not be JSON, byte by byte: those behind the name
/// `LivenessDetail`, or all where that is not met (its head was lost).
#[derive(Clone, Debug, Default)]
struct Named {
    list: Pattern,
    name: Pattern,
    /// The name `LivenessDetail` was met.
    in_list: bool,
    value: Value,
    /// The text of a value, quotes included.
    text: Vec<u8>,
    found: Vec<String>,
}

/// How many bytes of a name were met.
#[derive(Clone, Copy, Debug, Default)]
struct Pattern(usize);

impl Pattern {
    /// Whether `byte` is the last of `name`, which begins with a quote and has one more at its end.
    fn met(&mut self, name: &[u8], byte: u8) -> bool {
        self.0 = if name[self.0] == byte { self.0 + 1 } else { usize::from(byte == b'"') };
        let whole = self.0 == name.len();
        if whole {
            self.0 = 0;
        }
        whole
    }
}

/// What stands behind the name of a Seq.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Value {
    #[default]
    None,
    Colon,
    Quote,
    Inside,
    Escape,
    /// Behind its closing quote, if the quote is that: what follows tells.
    Closed,
}

impl Named {
    fn pass(&mut self, byte: u8) {
        let blank = matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
        self.value = match (self.value, byte) {
            (Value::None, _) => Value::None,
            (Value::Colon | Value::Quote, _) if blank => self.value,
            (Value::Colon, b':') => Value::Quote,
            (Value::Quote, b'"') => {
                self.text.clear();
                Value::Inside
            }
            (Value::Inside, b'"') => Value::Closed,
            (Value::Inside | Value::Escape, _) if self.text.len() > SEQ_BYTES_MAX => Value::None,
            (Value::Inside, b'\\') => Value::Escape,
            (Value::Inside | Value::Escape, _) => Value::Inside,
            (Value::Closed, _) => {
                if blank || matches!(byte, b',' | b'}' | b']' | b'{') {
                    self.take();
                }
                Value::None
            }
            _ => Value::None,
        };
        if self.value != Value::None {
            self.text.push(byte);
        }
        if self.list.met(b"\"LivenessDetail\"", byte) && !self.in_list {
            self.in_list = true;
            self.found.clear();
        }
        if self.name.met(b"\"Seq\"", byte) {
            self.value = Value::Colon;
        }
    }

    fn take(&mut self) {
        let text = str::from_utf8(&self.text).unwrap_or_default();
        if let Ok(Scalar::Text(seq)) = Cursor::new(text, 0).scalar()
            && !seq.is_empty()
            && self.found.len() < SEQS_TOLD_MAX
        {
            self.found.push(seq.into_owned());
        }
    }

    fn finish(mut self) -> Vec<String> {
        if self.value == Value::Closed {
            self.take();
        }
        self.found
    }
}

/// The offset of the quote that ends the string whose first byte is at `from`.
fn string_end(bytes: &[u8], mut from: usize) -> Option<usize> {
    loop {
        let at = memchr::memchr2(b'"', b'\\', bytes.get(from..)?)? + from;
        if bytes[at] == b'"' {
            return Some(at);
        }
        from = at + 2;
    }
}

/// The offset after the value at the start of `bytes`, by its brackets and strings alone.
fn balanced_end(bytes: &[u8]) -> Option<usize> {
    match Way::new(Indent(None), Beginnings::default()).go(bytes, 0, 0, true) {
        Search::Ended(end) => Some(end),
        _ => None,
    }
}

/// Whether an input that begins like this looks like NDJSON: every whole line of `head` is one object to
/// its end, and what follows the last of them begins another.
pub fn looks_like_ndjson(head: &[u8]) -> bool {
    let mut rest = head.strip_prefix(BYTE_ORDER_MARK).unwrap_or(head);
    let mut lines = 0;
    loop {
        rest = &rest[blank_run(rest)..];
        let Some(newline) = memchr::memchr(b'\n', rest) else {
            return lines > 0 && matches!(rest.first(), None | Some(b'{'));
        };
        let (line, after) = rest.split_at(newline);
        let one_object = line.first() == Some(&b'{')
            && balanced_end(line).is_some_and(|end| blank_run(&line[end..]) == line.len() - end);
        if !one_object {
            return false;
        }
        lines += 1;
        rest = after;
    }
}
