//! A strict JSON cursor. Takes UTF-8 text, gives scalars and validated skips, each fault with its exact
//! byte and its own reason. It never allocates for a string without escapes, and it accepts exactly
//! what RFC 8259 accepts (the tests hold it against serde_json).
//!
//! Ours, because the places and reasons of faults are half of what the decode room is for, and a general
//! parser tells them as English sentences.

use crate::model::RejectReason;
use std::borrow::Cow;
use wide::u8x16;

/// Deeper nesting than this is a reject: no result comes near it, and a bomb is cheap to make.
pub const DEPTH_MAX: usize = 128;

/// What some Windows programs write before UTF-8 text.
pub const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// A breach: where (offset into the cursor's text) and why. The message holds no value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub at: usize,
    pub reason: RejectReason,
    pub message: Cow<'static, str>,
}

pub type Parsed<T> = Result<T, Fault>;

pub fn fault<T>(at: usize, reason: RejectReason, message: &'static str) -> Parsed<T> {
    Err(Fault { at, reason, message: Cow::Borrowed(message) })
}

/// The fault of finding something else at `at` than the grammar asks for.
pub fn breach(text: &[u8], at: usize, wanted: &'static str) -> Fault {
    let rest = &text[at.min(text.len())..];
    let (reason, message) = match rest.first() {
        None => (RejectReason::Truncated, "the input ends inside the record"),
        Some(b'/' | b'#') => (
            RejectReason::Comment,
            "a comment: JSON has none; write the results as the API gave them",
        ),
        Some(_) if rest.starts_with(BYTE_ORDER_MARK) => (
            RejectReason::ByteOrderMark,
            "a byte order mark (EF BB BF): write the file as UTF-8 without it",
        ),
        Some(_) => (RejectReason::InvalidJson, wanted),
    };
    Fault { at, reason, message: Cow::Borrowed(message) }
}

/// A value read as far as the tables can use it. Containers are validated and skipped.
#[derive(Clone, Debug, PartialEq)]
pub enum Scalar<'a> {
    Null,
    Bool(bool),
    /// As written; its grammar is checked.
    Number(&'a str),
    Text(Cow<'a, str>),
    Container,
}

pub struct Cursor<'a> {
    text: &'a str,
    pos: usize,
    depth: usize,
}

/// A value that is told by what it is made of, without being read twice.
#[derive(Clone, Copy, Debug)]
pub enum Plain<'a> {
    Null,
    Bool(bool),
    /// As written, and the number it is.
    Whole(&'a str, i64),
    /// A string without escapes.
    Text(&'a str),
}

impl<'a> From<Plain<'a>> for Scalar<'a> {
    fn from(value: Plain<'a>) -> Scalar<'a> {
        match value {
            Plain::Null => Scalar::Null,
            Plain::Bool(yes) => Scalar::Bool(yes),
            Plain::Whole(text, _) => Scalar::Number(text),
            Plain::Text(text) => Scalar::Text(Cow::Borrowed(text)),
        }
    }
}

/// The offset of the closing quote of a string without escapes whose opening quote is at `at`. None for
/// anything else, which need not be wrong.
#[inline(always)]
pub fn plain_string_end(text: &str, at: usize) -> Option<usize> {
    let cursor = Cursor { text, pos: at, depth: 0 };
    let end = (cursor.byte(at)? == b'"').then(|| cursor.plain_run(at + 1).ok())??;
    (cursor.byte(end)? == b'"').then_some(end)
}

impl<'a> Cursor<'a> {
    pub fn new(text: &'a str, pos: usize) -> Cursor<'a> {
        Cursor { text, pos, depth: 0 }
    }

    /// Inside of `depth` containers, whose beginnings were read elsewhere.
    pub fn inside(text: &'a str, pos: usize, depth: usize) -> Cursor<'a> {
        Cursor { text, pos, depth }
    }

    pub fn pos(&self) -> usize {
        self.pos
    }

    pub fn depth(&self) -> usize {
        self.depth
    }

    pub fn seek(&mut self, pos: usize) {
        self.pos = pos;
    }

    /// The text from an offset up to the cursor.
    pub fn text_from(&self, from: usize) -> &'a str {
        &self.text[from..self.pos]
    }

    fn bytes(&self) -> &'a [u8] {
        self.text.as_bytes()
    }

    pub fn byte(&self, at: usize) -> Option<u8> {
        self.bytes().get(at).copied()
    }

    #[inline(always)]
    pub fn white_space(&mut self) {
        let bytes = self.bytes();
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = bytes.get(self.pos) {
            self.pos += 1;
        }
    }

    /// The next byte that is not white space, not consumed.
    #[inline(always)]
    pub fn peek(&mut self) -> Option<u8> {
        self.white_space();
        self.bytes().get(self.pos).copied()
    }

    /// The fault of finding something else than the grammar asks for here.
    fn unexpected<T>(&self, wanted: &'static str) -> Parsed<T> {
        Err(breach(self.bytes(), self.pos, wanted))
    }

    /// Walks an object: `member` is called with each key, the cursor standing at its value, and must
    /// consume the value.
    pub fn object(
        &mut self,
        mut member: impl FnMut(&mut Cursor<'a>, usize, Cow<'a, str>) -> Parsed<()>,
    ) -> Parsed<()> {
        if self.peek() != Some(b'{') {
            return self.unexpected("an object should begin here");
        }
        self.enter()?;
        if self.peek() == Some(b'}') {
            self.leave();
            return Ok(());
        }
        loop {
            if self.peek() != Some(b'"') {
                return self.unexpected("a member name in double quotes should stand here");
            }
            let key_at = self.pos;
            let key = self.string()?;
            if self.peek() != Some(b':') {
                return self.unexpected("a colon should follow the member name");
            }
            self.pos += 1;
            self.white_space();
            member(self, key_at, key)?;
            if self.next_item(b'}')? {
                return Ok(());
            }
        }
    }

    /// Walks an array: `element` is called with each index, the cursor standing at the element, and must
    /// consume it.
    pub fn array(
        &mut self,
        mut element: impl FnMut(&mut Cursor<'a>, usize) -> Parsed<()>,
    ) -> Parsed<()> {
        if self.peek() != Some(b'[') {
            return self.unexpected("an array should begin here");
        }
        self.enter()?;
        if self.peek() == Some(b']') {
            self.leave();
            return Ok(());
        }
        for index in 0.. {
            self.white_space();
            element(self, index)?;
            if self.next_item(b']')? {
                break;
            }
        }
        Ok(())
    }

    fn enter(&mut self) -> Parsed<()> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return fault(self.pos, RejectReason::TooDeep, "nested deeper than 128 levels");
        }
        self.pos += 1;
        Ok(())
    }

    fn leave(&mut self) {
        self.depth -= 1;
        self.pos += 1;
    }

    /// After an item: true when `close` ends the container, false when a comma leads to the next.
    #[inline(always)]
    fn next_item(&mut self, close: u8) -> Parsed<bool> {
        match self.peek() {
            Some(b) if b == close => {
                self.leave();
                Ok(true)
            }
            Some(b',') => {
                let comma = self.pos;
                self.pos += 1;
                if self.peek() == Some(close) {
                    return fault(
                        comma,
                        RejectReason::TrailingComma,
                        "a comma before the closing bracket",
                    );
                }
                Ok(false)
            }
            _ => self.unexpected("a comma or the closing bracket should stand here"),
        }
    }

    /// Reads one value; containers are validated and skipped.
    pub fn scalar(&mut self) -> Parsed<Scalar<'a>> {
        match self.peek() {
            Some(b'"') => self.string().map(Scalar::Text),
            Some(b'-' | b'0'..=b'9') => self.number().map(Scalar::Number),
            Some(b't') => self.literal("true").map(|()| Scalar::Bool(true)),
            Some(b'f') => self.literal("false").map(|()| Scalar::Bool(false)),
            Some(b'n') => self.literal("null").map(|()| Scalar::Null),
            Some(b'{' | b'[') => self.skip_container().map(|()| Scalar::Container),
            _ => self.unexpected("a value should stand here"),
        }
    }

    /// Validates one value and leaves it behind.
    pub fn skip(&mut self) -> Parsed<()> {
        match self.peek() {
            Some(b'"') => self.skip_string(),
            Some(b'{' | b'[') => self.skip_container(),
            _ => self.scalar().map(|_| ()),
        }
    }

    fn skip_container(&mut self) -> Parsed<()> {
        // One bit a level: whether it is an object.
        let mut objects: u128 = 0;
        let floor = self.depth;
        loop {
            // At a value.
            match self.peek() {
                Some(open @ (b'{' | b'[')) => {
                    self.enter()?;
                    objects = objects << 1 | u128::from(open == b'{');
                    let close = if open == b'{' { b'}' } else { b']' };
                    if self.peek() == Some(close) {
                        self.leave();
                        objects >>= 1;
                    } else {
                        if open == b'{' {
                            self.skip_key()?;
                        }
                        continue;
                    }
                }
                Some(b'"') => self.skip_string()?,
                _ => {
                    self.scalar()?;
                }
            }
            // After a value: close what closes here.
            loop {
                if self.depth == floor {
                    return Ok(());
                }
                let in_object = objects & 1 == 1;
                if !self.next_item(if in_object { b'}' } else { b']' })? {
                    if in_object {
                        self.skip_key()?;
                    }
                    break;
                }
                objects >>= 1;
            }
        }
    }

    fn skip_key(&mut self) -> Parsed<()> {
        if self.peek() != Some(b'"') {
            return self.unexpected("a member name in double quotes should stand here");
        }
        self.skip_string()?;
        if self.peek() != Some(b':') {
            return self.unexpected("a colon should follow the member name");
        }
        self.pos += 1;
        Ok(())
    }

    fn literal(&mut self, word: &'static str) -> Parsed<()> {
        let rest = &self.bytes()[self.pos..];
        let same = rest.iter().zip(word.as_bytes()).take_while(|(a, b)| a == b).count();
        if same == word.len() {
            self.pos += same;
            return Ok(());
        }
        if same == rest.len() {
            self.pos += same;
        }
        self.unexpected("a value should stand here")
    }

    /// `-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?`
    fn number(&mut self) -> Parsed<&'a str> {
        let start = self.pos;
        let bytes = self.bytes();
        let digits =
            |from: usize| from + bytes[from..].iter().take_while(|b| b.is_ascii_digit()).count();
        if bytes[self.pos] == b'-' {
            self.pos += 1;
        }
        match bytes.get(self.pos) {
            Some(b'0') => {
                self.pos += 1;
                if matches!(bytes.get(self.pos), Some(b'0'..=b'9')) {
                    return fault(start, RejectReason::InvalidJson, "a number with a leading zero");
                }
            }
            Some(b'1'..=b'9') => self.pos = digits(self.pos),
            _ => return self.unexpected("a digit should stand here"),
        }
        if bytes.get(self.pos) == Some(&b'.') {
            let end = digits(self.pos + 1);
            if end == self.pos + 1 {
                self.pos = end;
                return self.unexpected("a digit should follow the decimal point");
            }
            self.pos = end;
        }
        if let Some(b'e' | b'E') = bytes.get(self.pos) {
            self.pos += 1;
            if let Some(b'+' | b'-') = bytes.get(self.pos) {
                self.pos += 1;
            }
            let end = digits(self.pos);
            if end == self.pos {
                return self.unexpected("a digit should stand in the exponent");
            }
            self.pos = end;
        }
        Ok(&self.text[start..self.pos])
    }

    /// Reads a string, the cursor at its opening quote.
    #[inline(always)]
    pub fn string(&mut self) -> Parsed<Cow<'a, str>> {
        let start = self.pos + 1;
        let end = self.plain_run(start)?;
        if self.bytes()[end] == b'"' {
            self.pos = end + 1;
            return Ok(Cow::Borrowed(&self.text[start..end]));
        }
        let mut owned = String::with_capacity(end - start + 16);
        self.unescape(start, end, Some(&mut owned))?;
        Ok(Cow::Owned(owned))
    }

    #[inline(always)]
    fn skip_string(&mut self) -> Parsed<()> {
        let start = self.pos + 1;
        let end = self.plain_run(start)?;
        if self.bytes()[end] == b'"' {
            self.pos = end + 1;
            return Ok(());
        }
        self.unescape(start, end, None)
    }

    /// From `from` (inside a string) to the next quote or backslash, whose offset is returned.
    #[inline(always)]
    fn plain_run(&self, from: usize) -> Parsed<usize> {
        let bytes = self.bytes();
        // Most strings of a result are short: look at the first bytes sixteen at a time.
        let mut at = from;
        while at - from < NEAR_BYTES
            && let Some(block) = bytes.get(at..).and_then(<[u8]>::first_chunk)
        {
            let stops = stops_in(*block);
            if stops == 0 {
                at += BLOCK;
                continue;
            }
            at += stops.trailing_zeros() as usize;
            return match bytes[at] {
                b'"' | b'\\' => Ok(at),
                _ => self.control_character(at),
            };
        }
        let Some(found) = memchr::memchr2(b'"', b'\\', &bytes[at..]) else {
            // The string never ends. A raw line break in it is the likelier mistake to name only if
            // the text goes on after it, which a cut record's does not.
            return match bytes[at..].iter().position(|b| *b < 0x20) {
                Some(control) => self.control_character(at + control),
                None => {
                    fault(bytes.len(), RejectReason::Truncated, "the input ends inside a string")
                }
            };
        };
        let run = &bytes[at..at + found];
        // In blocks, so that the check is a vector compare and not a branch a byte.
        for (block, chunk) in run.chunks(4096).enumerate() {
            if chunk.iter().fold(false, |any, b| any | (*b < 0x20)) {
                let control = chunk.iter().position(|b| *b < 0x20).unwrap_or(0);
                return self.control_character(at + block * 4096 + control);
            }
        }
        Ok(at + found)
    }

    fn control_character<T>(&self, at: usize) -> Parsed<T> {
        fault(
            at,
            RejectReason::ControlCharacter,
            "a raw control character inside a string: JSON wants it escaped",
        )
    }

    /// A string with escapes: `start` is its first byte, `at` its first backslash.
    fn unescape(&mut self, start: usize, at: usize, mut out: Option<&mut String>) -> Parsed<()> {
        let bytes = self.bytes();
        let (mut run_from, mut at) = (start, at);
        loop {
            if let Some(out) = out.as_deref_mut() {
                out.push_str(&self.text[run_from..at]);
            }
            if bytes[at] == b'"' {
                self.pos = at + 1;
                return Ok(());
            }
            let (decoded, after) = self.escape(at)?;
            if let Some(out) = out.as_deref_mut() {
                out.push(decoded);
            }
            run_from = after;
            at = self.plain_run(after)?;
        }
    }

    /// One escape at `at` (its backslash): the character and the offset after it.
    fn escape(&self, at: usize) -> Parsed<(char, usize)> {
        let bytes = self.bytes();
        let simple = match bytes.get(at + 1) {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                let unit = self.hex4(at)?;
                return match unit {
                    0xD800..=0xDBFF => match (bytes.get(at + 6), bytes.get(at + 7)) {
                        (Some(b'\\'), Some(b'u')) => {
                            let low = self.hex4(at + 6)?;
                            if !(0xDC00..=0xDFFF).contains(&low) {
                                return unpaired(at);
                            }
                            let point = 0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00);
                            char::from_u32(point).map_or_else(|| unpaired(at), |c| Ok((c, at + 12)))
                        }
                        (None, _) | (Some(b'\\'), None) => cut(bytes.len()),
                        _ => unpaired(at),
                    },
                    0xDC00..=0xDFFF => unpaired(at),
                    _ => char::from_u32(unit).map_or_else(|| unpaired(at), |c| Ok((c, at + 6))),
                };
            }
            Some(_) => return bad_escape(at),
            None => return cut(bytes.len()),
        };
        Ok((simple, at + 2))
    }

    /// The four hex digits of the `\u` escape at `at`.
    fn hex4(&self, at: usize) -> Parsed<u32> {
        let bytes = self.bytes();
        let mut unit = 0;
        for i in at + 2..at + 6 {
            match bytes.get(i).map(|b| char::from(*b).to_digit(16)) {
                Some(Some(digit)) => unit = unit << 4 | digit,
                Some(None) => return bad_escape(at),
                None => return cut(bytes.len()),
            }
        }
        Ok(unit)
    }
}

/// Bytes of a string that are looked at block by block before the vectors are set up for a long one.
const NEAR_BYTES: usize = 64;

/// Bytes that are compared at once.
pub const BLOCK: usize = 16;

/// Marks (by a bit each, the first byte by the lowest) the bytes of a block that end a plain run: quote,
/// backslash, control characters.
#[inline(always)]
pub fn stops_in(block: [u8; BLOCK]) -> u32 {
    let bytes = u8x16::new(block);
    let controls = bytes.min(u8x16::splat(0x1F)).simd_eq(bytes);
    let quotes = bytes.simd_eq(u8x16::splat(b'"'));
    let backslashes = bytes.simd_eq(u8x16::splat(b'\\'));
    (controls | quotes | backslashes).to_bitmask()
}

fn unpaired<T>(at: usize) -> Parsed<T> {
    fault(at, RejectReason::UnpairedSurrogate, "half of a UTF-16 surrogate pair")
}

fn bad_escape<T>(at: usize) -> Parsed<T> {
    fault(at, RejectReason::BadEscape, "an escape that JSON does not have")
}

fn cut<T>(at: usize) -> Parsed<T> {
    fault(at, RejectReason::Truncated, "the input ends inside a string")
}

/// Names places in text that need not be JSON, by a walk that forgives everything. The places asked for
/// must not go backwards: then all of them together cost one walk.
pub struct Path<'t> {
    text: &'t [u8],
    walked: usize,
    levels: Vec<Level>,
    /// Open brackets below the levels that are kept.
    beneath: usize,
}

enum Level {
    Object { key: Option<String>, in_key: bool },
    Array(usize),
}

/// The JSON path of the byte at `at` of `text`.
pub fn path_of(text: &[u8], at: usize) -> String {
    Path::new(text).of(at)
}

impl<'t> Path<'t> {
    /// `text` begins with the record.
    pub fn new(text: &'t [u8]) -> Path<'t> {
        Path { text, walked: 0, levels: Vec::new(), beneath: 0 }
    }

    /// The JSON path of the byte at `at`. Names of members that are not plain words are shown as `?`,
    /// because a map keyed by people would otherwise put them into a message.
    pub fn of(&mut self, at: usize) -> String {
        self.walk(at.min(self.text.len()));
        let mut path = String::from("$");
        let below = |path: &mut String, key: &str| {
            path.push('.');
            path.push_str(key);
        };
        let last = self.levels.len().wrapping_sub(1);
        for (depth, level) in self.levels.iter().enumerate() {
            match level {
                // A name that no colon follows could be a value whose name was lost.
                Level::Object { key: Some(_), in_key: true } => below(&mut path, "?"),
                Level::Object { key: Some(key), .. } => below(&mut path, key),
                // A fault at a member name is that member's.
                Level::Object { key: None, in_key: true }
                    if depth == last && self.beneath == 0 && self.text.get(at) == Some(&b'"') =>
                {
                    below(&mut path, &self.key_at(at).0);
                }
                Level::Object { key: None, .. } => {}
                Level::Array(index) => path.push_str(&format!("[{index}]")),
            }
        }
        path
    }

    /// The member name whose opening quote is at `at`, and the offset of its closing quote. A name that
    /// the text ends in could be the half of anything.
    fn key_at(&self, at: usize) -> (String, usize) {
        let end = string_end(self.text, at + 1);
        let key =
            if end < self.text.len() { plain_key(&self.text[at + 1..end]) } else { "?".to_owned() };
        (key, end)
    }

    fn walk(&mut self, to: usize) {
        while self.walked < to {
            let at = self.walked;
            self.walked += 1;
            match self.text[at] {
                b'"' => {
                    let (key, end) = match self.levels.last() {
                        Some(Level::Object { in_key: true, .. }) if self.beneath == 0 => {
                            let (key, end) = self.key_at(at);
                            (Some(key), end)
                        }
                        _ => (None, string_end(self.text, at + 1)),
                    };
                    if let (Some(name), Some(Level::Object { key, .. })) =
                        (key, self.levels.last_mut())
                    {
                        *key = Some(name);
                    }
                    self.walked = end + 1;
                }
                b'{' | b'[' if self.levels.len() >= DEPTH_MAX => self.beneath += 1,
                b'{' => self.levels.push(Level::Object { key: None, in_key: true }),
                b'[' => self.levels.push(Level::Array(0)),
                b'}' | b']' if self.beneath > 0 => self.beneath -= 1,
                b'}' | b']' => {
                    self.levels.pop();
                }
                _ if self.beneath > 0 => {}
                b':' => {
                    if let Some(Level::Object { in_key, .. }) = self.levels.last_mut() {
                        *in_key = false;
                    }
                }
                b',' => match self.levels.last_mut() {
                    Some(Level::Object { key, in_key }) => (*key, *in_key) = (None, true),
                    Some(Level::Array(index)) => *index += 1,
                    None => {}
                },
                _ => {}
            }
        }
    }
}

/// The offset of the quote that ends the string whose first byte is at `from`, or the text's end.
fn string_end(text: &[u8], mut from: usize) -> usize {
    while let Some(found) = memchr::memchr2(b'"', b'\\', &text[from.min(text.len())..]) {
        let at = from + found;
        if text[at] == b'"' {
            return at;
        }
        from = at + 2;
    }
    text.len()
}

/// Digits in a member name that may be shown. The API's names hold none; document numbers hold more.
const KEY_DIGITS_MAX: usize = 3;

/// A member name as it may be shown.
pub fn plain_key(key: &[u8]) -> String {
    let plain = !key.is_empty()
        && key.len() <= 64
        && !key[0].is_ascii_digit()
        && key.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'_' || *b == b'-')
        && key.iter().filter(|b| b.is_ascii_digit()).count() <= KEY_DIGITS_MAX;
    match (plain, std::str::from_utf8(key)) {
        (true, Ok(key)) => key.to_owned(),
        _ => "?".to_owned(),
    }
}
