//! One JSON value to one result: the shapes a result comes in, the members the tables read.
//!
//! Takes the text of one record; gives a [`Record`], its [`Attempt`]s and the attempts it had to set
//! aside. Member names and types: FaceID API 2018-03-01, `GetDetectInfoEnhanced` and `GetEidResult`.

use super::envelope::{self, Pointers};
use super::json::{Cursor, Fault, Parsed, Plain, Scalar, fault};
use super::template::Learned;
use crate::model::{Attempt, Envelope, Record, RejectReason, UsageDay};
use std::borrow::Cow;
use std::sync::{Arc, LazyLock};

/// What the decode room needs to know of the pipeline.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    pub(super) envelope: Option<Pointers>,
    idcard: bool,
    name: bool,
    /// How the records of the source look, as it is found out.
    learned: Arc<Learned>,
}

impl Wanted {
    /// `idcard` and `name`: read these of each attempt, for keyed digests. Otherwise they are skipped unread.
    pub fn new(envelope: Option<Envelope>, idcard: bool, name: bool) -> Wanted {
        Wanted {
            envelope: envelope.as_ref().map(Pointers::new),
            idcard,
            name,
            learned: Arc::default(),
        }
    }
}

impl Wanted {
    pub(super) fn learned(&self) -> &Learned {
        &self.learned
    }

    pub(super) fn is_enveloped(&self) -> bool {
        self.envelope.is_some()
    }
}

/// How a record ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Result,
    ErrorResponse,
}

/// What one record gave. Strings borrow from its text.
#[derive(Debug, Default)]
pub struct Draft<'a> {
    pub record: Record<'a>,
    pub attempts: Vec<Attempt<'a>>,
    /// Attempts that cannot be used, in their order.
    pub unusable: Vec<Unusable<'a>>,
    pub unknown: UnknownMembers,
    /// Where its values stand, when that is asked for.
    pub trace: Option<Trace>,
    details_seen: bool,
    text_seen: bool,
    encrypted_body: Option<usize>,
    null_text: Option<usize>,
    error_seen: bool,
    old_shape: Option<usize>,
    any_member: bool,
}

/// An attempt that cannot be used, and why.
#[derive(Debug)]
pub struct Unusable<'a> {
    pub fault: Fault,
    pub seq: Option<Cow<'a, str>>,
}

impl Draft<'_> {
    /// Makes it as good as new, and keeps its room.
    pub fn clear(&mut self) {
        let Draft {
            record,
            attempts,
            unusable,
            unknown,
            trace,
            details_seen,
            text_seen,
            encrypted_body,
            null_text,
            error_seen,
            old_shape,
            any_member,
        } = self;
        *record = Record::default();
        attempts.clear();
        unusable.clear();
        unknown.0.clear();
        *trace = None;
        for seen in [details_seen, text_seen, error_seen, any_member] {
            *seen = false;
        }
        for at in [encrypted_body, null_text, old_shape] {
            *at = None;
        }
    }
}

/// What a value of a record is to its reader. What stands between the values of a record decides how each is
/// taken, so that records which differ in their values alone are read alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// Validated and left behind.
    Skipped,
    ErrCode,
    Extra,
    RequestId,
    IsVerifyIntention,
    /// A member of an attempt, by its place in [`DETAIL_MEMBERS`].
    Detail(u32),
    /// A field of the envelope.
    Envelope(envelope::Slot),
}

/// One value of a record: where it stands, inside how many containers, and what it is.
#[derive(Clone, Copy, Debug)]
pub struct Leaf {
    pub from: usize,
    pub to: usize,
    pub depth: usize,
    pub taken: Taken,
}

/// The values of a record, in the order in which they were read.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    pub leaves: Vec<Leaf>,
    /// From brace to behind brace.
    pub attempts: Vec<(usize, usize)>,
    /// A value was not taken because of what stands elsewhere in the record.
    pub irregular: bool,
}

impl Trace {
    pub fn leaf(trace: &mut Option<Trace>, from: usize, cursor: &Cursor<'_>, taken: Taken) {
        if let Some(trace) = trace {
            trace.leaves.push(Leaf { from, to: cursor.pos(), depth: cursor.depth(), taken });
        }
    }
}

/// Members of an attempt that are read, unless the pipeline drops them.
pub const DETAIL_MEMBERS: [&str; 14] = [
    "ReqTime",
    "Seq",
    "IsNeedCharge",
    "Errcode",
    "Errmsg",
    "Livestatus",
    "Livemsg",
    "Comparestatus",
    "Comparemsg",
    "CompareLibType",
    "Sim",
    "LivenessMode",
    "Idcard",
    "Name",
];

/// Members that the API does not document, by place.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct UnknownMembers(Vec<(Place, String, u64)>);

/// Paths kept apart in one count; a map keyed by people would otherwise grow without end.
const UNKNOWN_PATHS_MAX: usize = 256;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Top,
    Response,
    Text,
    Detail,
}

impl UnknownMembers {
    fn note(&mut self, place: Place, key: &str) {
        let plain = super::json::plain_key(key.as_bytes());
        self.add(place, &plain, 1);
    }

    fn add(&mut self, place: Place, key: &str, n: u64) {
        match self.0.iter().position(|(p, k, _)| *p == place && k == key) {
            Some(known) => self.0[known].2 += n,
            None if self.0.len() < UNKNOWN_PATHS_MAX => self.0.push((place, key.to_owned(), n)),
            None => self.add_others(n),
        }
    }

    fn add_others(&mut self, n: u64) {
        match self.0.iter_mut().find(|(_, k, _)| k.is_empty()) {
            Some((_, _, count)) => *count += n,
            None => self.0.push((Place::Top, String::new(), n)),
        }
    }

    pub fn merge(&mut self, other: &UnknownMembers) {
        for (place, key, n) in &other.0 {
            if key.is_empty() { self.add_others(*n) } else { self.add(*place, key, *n) }
        }
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Those that stand in attempts, of which there are `n`, for one attempt; and the others.
    pub fn apart(self, n: u64) -> (UnknownMembers, UnknownMembers) {
        let (each, others): (Vec<_>, Vec<_>) =
            self.0.into_iter().partition(|(place, _, _)| *place == Place::Detail);
        let each = each.into_iter().map(|(place, key, count)| (place, key, count / n.max(1)));
        (UnknownMembers(each.collect()), UnknownMembers(others))
    }

    /// (path, count), in no order.
    pub fn paths(&self) -> impl Iterator<Item = (String, u64)> + '_ {
        self.0.iter().map(|(place, key, n)| {
            let path = match place {
                _ if key.is_empty() => "(others)".to_owned(),
                Place::Top => format!("$.{key}"),
                Place::Response => format!("$.Response.{key}"),
                Place::Text => format!("$.Response.Text.{key}"),
                Place::Detail => format!("$.Response.Text.LivenessDetail[].{key}"),
            };
            (path, *n)
        })
    }
}

/// A record whose text is JSON: where it ends, and what it is. The inner error says what else is wrong.
pub type Read = (usize, Parsed<Outcome>);

/// Reads the record at the beginning of `text`. The outer error is a breach of the grammar, which leaves
/// open where the record ends; offsets count from the start of `text`.
pub fn read_record<'a>(text: &'a str, wanted: &Wanted, draft: &mut Draft<'a>) -> Parsed<Read> {
    let mut cursor = Cursor::new(text, 0);
    if let Some(pointers) = &wanted.envelope {
        let mut found = envelope::Found::default();
        envelope::open(&mut cursor, pointers, &mut found, &mut draft.trace)?;
        if let Some(response) = found.response.take() {
            let end = cursor.pos();
            let outcome = match found.fill(&mut draft.record) {
                Ok(()) => read_response(text, response, wanted, draft)?,
                Err(fault) => Err(fault),
            };
            return Ok((end, outcome));
        }
        // Not an envelope: one of the plain shapes, which the same folder may hold too.
        cursor = Cursor::new(text, 0);
        draft.trace = draft.trace.take().map(|_| Trace::default());
    }
    let outcome = read_result(&mut cursor, wanted, draft)?;
    Ok((cursor.pos(), outcome))
}

/// What stands where the envelope's response should be; its grammar has been checked.
fn read_response<'a>(
    text: &'a str,
    envelope::Response { at, first, depth }: envelope::Response,
    wanted: &Wanted,
    draft: &mut Draft<'a>,
) -> Parsed<Parsed<Outcome>> {
    let (reason, message) = match first {
        b'{' => return read_result(&mut Cursor::inside(text, at, depth), wanted, draft),
        b'n' => (
            RejectReason::TextMissing,
            "the envelope holds no response: pull the result again while it is kept (3 days)",
        ),
        b'"' => (
            RejectReason::WrongType,
            "the response is a string: write the result as JSON, not as a string that holds JSON",
        ),
        _ => (RejectReason::WrongType, "the envelope's response should be an object"),
    };
    Ok(fault(at, reason, message))
}

fn read_result<'a>(
    cursor: &mut Cursor<'a>,
    wanted: &Wanted,
    draft: &mut Draft<'a>,
) -> Parsed<Parsed<Outcome>> {
    let first = cursor.peek();
    let start = cursor.pos();
    if first != Some(b'{') {
        cursor.skip()?;
        return Ok(fault(start, RejectReason::NotAResult, "a result is a JSON object"));
    }
    let mut reader = Reader { wanted, draft, wrapped: false, shape_fault: None };
    reader.top(cursor)?;
    Ok(match reader.shape_fault {
        Some(fault) => Err(fault),
        None => finish(draft, start),
    })
}

/// What the members seen make of the record.
fn finish(draft: &mut Draft<'_>, start: usize) -> Parsed<Outcome> {
    if draft.error_seen && !draft.text_seen && !draft.details_seen {
        return Ok(Outcome::ErrorResponse);
    }
    if draft.text_seen || draft.details_seen {
        return Ok(Outcome::Result);
    }
    if let Some(at) = draft.encrypted_body {
        return fault(
            at,
            RejectReason::EncryptedBody,
            "the whole body is encrypted (IsEncryptResponse): decrypt it upstream",
        );
    }
    if let Some(at) = draft.old_shape {
        return fault(
            at,
            RejectReason::NotAResult,
            "a GetDetectInfo result: it has no Seq and no IsNeedCharge; pull with GetDetectInfoEnhanced",
        );
    }
    if draft.any_member {
        return fault(
            draft.null_text.unwrap_or(start),
            RejectReason::TextMissing,
            "a result without its Text: pull it with an InfoType that holds 1 (text)",
        );
    }
    fault(
        start,
        RejectReason::NotAResult,
        "no Response, Text or LivenessDetail here: if the result lies deeper, name its place in [source.envelope]",
    )
}

struct Reader<'r, 'a> {
    wanted: &'r Wanted,
    draft: &'r mut Draft<'a>,
    /// A `Response` object was met: what stands beside it is not the result's.
    wrapped: bool,
    /// A wrong type where the record still parses: kept until the record is read to its end, so that a
    /// breach of the grammar further on is told first and the next record is found.
    shape_fault: Option<Fault>,
}

/// Members of one object seen so far, one bit each.
#[derive(Default)]
struct Seen(u32);

impl Seen {
    fn again(&mut self, bit: u32) -> bool {
        let mask = 1 << bit;
        let before = self.0 & mask != 0;
        self.0 |= mask;
        before
    }
}

fn wrong_type(at: usize, message: &'static str) -> Fault {
    Fault { at, reason: RejectReason::WrongType, message: Cow::Borrowed(message) }
}

fn duplicate_key(at: usize) -> Fault {
    Fault {
        at,
        reason: RejectReason::DuplicateKey,
        message: Cow::Borrowed(
            "this member stands twice in its object: which one counts is not ours to say",
        ),
    }
}

impl<'a> Reader<'_, 'a> {
    fn note(&mut self, fault: Fault) {
        self.shape_fault.get_or_insert(fault);
    }

    /// The outermost object: `{"Response": …}`, the same without the wrapper, or a bare Text.
    fn top(&mut self, cursor: &mut Cursor<'a>) -> Parsed<()> {
        let mut seen = Seen::default();
        cursor.object(|cursor, key_at, key| {
            if key != "Response" {
                return self.response_member(cursor, key_at, &key, Place::Top, &mut seen);
            }
            if seen.again(31) {
                self.note(duplicate_key(key_at));
            }
            let at = cursor.pos();
            match cursor.peek() {
                Some(b'{') => self.response(cursor, at),
                Some(b'n') => {
                    self.draft.any_member = true;
                    self.draft.null_text.get_or_insert(at);
                    cursor.skip()
                }
                _ => {
                    self.note(wrong_type(at, "Response should be an object"));
                    cursor.skip()
                }
            }
        })
    }

    /// The object in `Response`. What was read beside it (an exporter's own RequestId, say) gives way,
    /// whichever stands first; two LivenessDetails are a reject all the same.
    fn response(&mut self, cursor: &mut Cursor<'a>, at: usize) -> Parsed<()> {
        self.draft.any_member = true;
        self.draft.null_text.get_or_insert(at);
        if let Some(trace) = &mut self.draft.trace {
            trace.irregular |= trace
                .leaves
                .iter()
                .any(|l| !matches!(l.taken, Taken::Skipped | Taken::Envelope(_)));
        }
        let record = &mut self.draft.record;
        (record.request_id, record.extra, record.err_code) = (None, None, None);
        record.is_verify_intention = false;
        let mut seen = Seen::default();
        cursor.object(|cursor, key_at, key| {
            self.response_member(cursor, key_at, &key, Place::Response, &mut seen)
        })?;
        self.wrapped = true;
        Ok(())
    }

    fn response_member(
        &mut self,
        cursor: &mut Cursor<'a>,
        key_at: usize,
        key: &str,
        place: Place,
        seen: &mut Seen,
    ) -> Parsed<()> {
        let at = cursor.pos();
        match key {
            "Text" => {
                self.draft.any_member = true;
                if seen.again(0) {
                    self.note(duplicate_key(key_at));
                }
                match cursor.peek() {
                    Some(b'{') => {
                        // What was read beside it of the same name gives way, whichever stands first.
                        let record = &mut self.draft.record;
                        if let Some(trace) = &mut self.draft.trace {
                            trace.irregular |= record.extra.is_some() || record.err_code.is_some();
                        }
                        if !self.wrapped {
                            (record.extra, record.err_code) = (None, None);
                        }
                        self.draft.text_seen = true;
                        let mut seen = Seen::default();
                        cursor.object(|cursor, key_at, key| {
                            self.text_member(cursor, key_at, &key, Place::Text, &mut seen)
                        })
                    }
                    Some(b'n') => {
                        self.draft.null_text = Some(at);
                        cursor.skip()
                    }
                    _ => {
                        self.note(wrong_type(at, "Text should be an object"));
                        cursor.skip()
                    }
                }
            }
            "RequestId" => {
                if seen.again(1) {
                    self.note(duplicate_key(key_at));
                }
                let text = self.text(cursor, "RequestId should be a string")?;
                self.taken(cursor, at, Taken::RequestId);
                if !self.wrapped {
                    self.draft.record.request_id = text;
                }
                Ok(())
            }
            "IsVerifyIntention" => {
                if seen.again(2) {
                    self.note(duplicate_key(key_at));
                }
                let value = cursor.scalar()?;
                self.taken(cursor, at, Taken::IsVerifyIntention);
                match value {
                    Scalar::Bool(yes) if !self.wrapped => {
                        self.draft.record.is_verify_intention = yes
                    }
                    Scalar::Bool(_) | Scalar::Null => {}
                    _ => self.note(wrong_type(at, "IsVerifyIntention should be true or false")),
                }
                Ok(())
            }
            "EncryptedBody" => {
                self.draft.any_member = true;
                if seen.again(3) {
                    self.note(duplicate_key(key_at));
                }
                // The ciphertext may be megabytes: it is skipped, and only its emptiness looked at.
                self.skip(cursor)?;
                if cursor.pos() - at > 2 && cursor.byte(at) == Some(b'"') {
                    self.draft.encrypted_body = Some(at);
                }
                Ok(())
            }
            "Error" => {
                if cursor.peek() == Some(b'{') {
                    self.draft.error_seen = true;
                }
                self.skip(cursor)
            }
            "DetectInfo" => {
                self.draft.old_shape.get_or_insert(at);
                self.skip(cursor)
            }
            "IdCardData"
            | "BestFrame"
            | "VideoData"
            | "Encryption"
            | "IntentionVerifyData"
            | "IntentionQuestionResult"
            | "IntentionActionResult"
            | "IntentionVerifyType"
            | "EidInfo" => {
                self.draft.any_member = true;
                self.skip(cursor)
            }
            _ if place == Place::Top => self.text_member(cursor, key_at, key, place, seen),
            _ => {
                self.draft.unknown.note(place, key);
                self.skip(cursor)
            }
        }
    }

    fn text_member(
        &mut self,
        cursor: &mut Cursor<'a>,
        key_at: usize,
        key: &str,
        place: Place,
        seen: &mut Seen,
    ) -> Parsed<()> {
        let at = cursor.pos();
        match key {
            "LivenessDetail" => {
                if seen.again(8) || self.draft.details_seen {
                    self.note(duplicate_key(key_at));
                }
                self.draft.details_seen = true;
                match cursor.peek() {
                    Some(b'[') => self.details(cursor),
                    Some(b'n') => cursor.skip(),
                    _ => {
                        self.note(wrong_type(at, "LivenessDetail should be an array"));
                        cursor.skip()
                    }
                }
            }
            "ErrCode" => {
                if seen.again(9) {
                    self.note(duplicate_key(key_at));
                }
                let value = cursor.scalar()?;
                self.taken(cursor, at, Taken::ErrCode);
                match code::<i64>(value) {
                    Ok(code) if self.is_of_text(place) => self.draft.record.err_code = code,
                    Ok(_) => {}
                    Err((reason, message)) => {
                        self.note(Fault { at, reason, message: Cow::Borrowed(message) });
                    }
                }
                Ok(())
            }
            "Extra" => {
                if seen.again(10) {
                    self.note(duplicate_key(key_at));
                }
                let text = self.text(cursor, "Extra should be a string")?;
                self.taken(cursor, at, Taken::Extra);
                if self.is_of_text(place) {
                    self.draft.record.extra = text;
                }
                Ok(())
            }
            key if is_plain_text_member(key) => self.skip(cursor),
            _ => {
                self.draft.unknown.note(place, key);
                self.skip(cursor)
            }
        }
    }

    /// Whether what Text has is read here: outside of it only where there is none.
    fn is_of_text(&mut self, place: Place) -> bool {
        let beside = place == Place::Top && self.draft.text_seen;
        if let Some(trace) = &mut self.draft.trace {
            trace.irregular |= beside;
        }
        !self.wrapped && !beside
    }

    fn skip(&mut self, cursor: &mut Cursor<'a>) -> Parsed<()> {
        let at = cursor.pos();
        cursor.skip()?;
        Trace::leaf(&mut self.draft.trace, at, cursor, Taken::Skipped);
        Ok(())
    }

    /// The value at `at`, which the cursor has just left, was read.
    fn taken(&mut self, cursor: &Cursor<'a>, at: usize, taken: Taken) {
        if let Some(trace) = &mut self.draft.trace {
            trace.irregular |= self.wrapped;
        }
        Trace::leaf(&mut self.draft.trace, at, cursor, taken);
    }

    fn text(
        &mut self,
        cursor: &mut Cursor<'a>,
        message: &'static str,
    ) -> Parsed<Option<Cow<'a, str>>> {
        cursor.white_space();
        let at = cursor.pos();
        Ok(match cursor.scalar()? {
            Scalar::Text(text) => Some(text),
            Scalar::Null => None,
            _ => {
                self.note(wrong_type(at, message));
                None
            }
        })
    }

    fn details(&mut self, cursor: &mut Cursor<'a>) -> Parsed<()> {
        cursor.array(|cursor, index| {
            let index = index as i32;
            self.draft.record.detail_count = index + 1;
            let at = cursor.pos();
            if cursor.peek() != Some(b'{') {
                let fault = wrong_type(at, "an element of LivenessDetail should be an object");
                self.draft.unusable.push(Unusable { fault, seq: None });
                return cursor.skip();
            }
            self.detail(cursor, index, at)?;
            if let Some(trace) = &mut self.draft.trace {
                trace.attempts.push((at, cursor.pos()));
            }
            Ok(())
        })
    }

    /// One attempt, which goes to those of the draft, or to the unusable ones. The error is a breach of the grammar: the
    /// record is lost.
    fn detail(&mut self, cursor: &mut Cursor<'a>, index: i32, start: usize) -> Parsed<()> {
        let mut attempt = Attempt { index, byte_offset: start as i64, ..Attempt::default() };
        let mut seen = Seen::default();
        let (mut first, mut seq_twice): (Option<Fault>, bool) = (None, false);
        let wanted = self.wanted;
        let Draft { unknown, trace, .. } = &mut *self.draft;
        let mut found = DetailFound::default();
        cursor.object(|cursor, key_at, key| {
            let member = DETAIL_MEMBERS.iter().position(|name| *name == key);
            let Some(member) = member.map(|place| place as u32) else {
                unknown.note(Place::Detail, &key);
                let at = cursor.pos();
                cursor.skip()?;
                Trace::leaf(trace, at, cursor, Taken::Skipped);
                return Ok(());
            };
            if seen.again(member) {
                first.get_or_insert(duplicate_key(key_at));
                seq_twice |= DETAIL_MEMBERS[member as usize] == "Seq";
            }
            cursor.white_space();
            let at = cursor.pos();
            if !wanted.reads(member) {
                cursor.skip()?;
                Trace::leaf(trace, at, cursor, Taken::Skipped);
                return Ok(());
            }
            let value = cursor.scalar()?;
            Trace::leaf(trace, at, cursor, Taken::Detail(member));
            if let Err((reason, message)) = found.take(member, value, &mut attempt) {
                first.get_or_insert(Fault { at, reason, message: Cow::Borrowed(message) });
            }
            Ok(())
        })?;
        let missing = || {
            let (reason, message) = found.missing()?;
            Some(Fault { at: start, reason, message: Cow::Borrowed(message) })
        };
        match first.or_else(missing) {
            None => self.draft.attempts.push(attempt),
            Some(fault) => {
                let seq = Some(attempt.seq).filter(|seq| !seq.is_empty() && !seq_twice);
                self.draft.unusable.push(Unusable { fault, seq });
            }
        }
        Ok(())
    }
}

impl Wanted {
    /// Whether a member of attempts, by its place in [`DETAIL_MEMBERS`], is read at all.
    fn reads(&self, member: u32) -> bool {
        match member {
            12 => self.idcard,
            13 => self.name,
            _ => true,
        }
    }
}

/// Which of the members that an attempt must have were found.
#[derive(Clone, Copy, Debug, Default)]
pub struct DetailFound {
    req_time: bool,
    seq: bool,
}

impl DetailFound {
    /// Puts the value of a member, by its place in [`DETAIL_MEMBERS`], into its attempt.
    pub fn take<'a>(
        &mut self,
        member: u32,
        value: Scalar<'a>,
        attempt: &mut Attempt<'a>,
    ) -> Field<()> {
        match member {
            0 => {
                let req_time = millis(value)?;
                self.req_time = req_time.is_some();
                attempt.req_time = req_time.unwrap_or_default();
            }
            1 => {
                let seq = not_empty_seq(value)?;
                self.seq = seq.is_some();
                attempt.seq = seq.unwrap_or_default();
            }
            2 => attempt.is_need_charge = flag(value)?,
            3 => attempt.errcode = code(value)?,
            4 => attempt.errmsg = string(value)?,
            5 => attempt.livestatus = code(value)?,
            6 => attempt.livemsg = string(value)?,
            7 => attempt.comparestatus = code(value)?,
            8 => attempt.comparemsg = string(value)?,
            9 => attempt.compare_lib_type = string(value)?,
            10 => attempt.sim = sim(value)?,
            11 => attempt.liveness_mode = code(value)?,
            12 => attempt.idcard = not_empty(string(value)?),
            _ => attempt.name = not_empty(string(value)?),
        }
        Ok(())
    }

    /// The same of a value that is mostly plain; None if there is something to tell of it.
    #[inline(always)]
    pub fn take_plain<'a>(
        &mut self,
        member: u32,
        value: Plain<'a>,
        attempt: &mut Attempt<'a>,
    ) -> Option<()> {
        let text = |text: &'a str| Some(Cow::Borrowed(text));
        match (member, value) {
            (0, Plain::Text(time)) => {
                self.req_time = true;
                attempt.req_time = millis_of(time).ok()?;
            }
            (1, Plain::Text(seq)) if !seq.is_empty() => {
                self.seq = true;
                attempt.seq = Cow::Borrowed(seq);
            }
            (2, Plain::Bool(yes)) => attempt.is_need_charge = Some(yes),
            (3, Plain::Whole(_, code)) => attempt.errcode = Some(code.try_into().ok()?),
            (4, Plain::Text(message)) => attempt.errmsg = text(message),
            (5, Plain::Whole(_, code)) => attempt.livestatus = Some(code.try_into().ok()?),
            (6, Plain::Text(message)) => attempt.livemsg = text(message),
            (7, Plain::Whole(_, code)) => attempt.comparestatus = Some(code.try_into().ok()?),
            (8, Plain::Text(message)) => attempt.comparemsg = text(message),
            (9, Plain::Text(library)) => attempt.compare_lib_type = text(library),
            (10, Plain::Text(sim)) => attempt.sim = sim_of(sim).ok()?,
            (11, Plain::Whole(_, mode)) => attempt.liveness_mode = Some(mode.try_into().ok()?),
            (_, value) => return self.take(member, value.into(), attempt).ok(),
        }
        Some(())
    }

    /// What an attempt lacks so that it cannot be used.
    pub fn missing(&self) -> Option<(RejectReason, &'static str)> {
        match (self.seq, self.req_time) {
            (false, _) => Some((RejectReason::SeqMissing, "the attempt has no Seq")),
            (true, false) => Some((
                RejectReason::ReqTimeMissing,
                "the attempt has no ReqTime: its day is unknown",
            )),
            (true, true) => None,
        }
    }
}

/// Members of Text that the tables do not read. Told by length and first letter before they are compared:
/// each record has all of them.
fn is_plain_text_member(key: &str) -> bool {
    let candidates: &[&str] = match (key.len(), key.as_bytes().first()) {
        (3, Some(b'S')) => &["Sim"],
        (4, Some(b'N')) => &["Name"],
        (6, Some(b'E')) => &["ErrMsg"],
        (6, Some(b'I')) => &["IdCard"],
        (6, Some(b'M')) => &["Mobile"],
        (6, Some(b'P')) => &["PassNo"],
        (7, Some(b'L')) => &["LiveMsg"],
        (7, Some(b'O')) => &["OcrName"],
        (7, Some(b'V')) => &["VisaNum"],
        (8, Some(b'L')) => &["Location"],
        (8, Some(b'O')) => &["OcrBirth"],
        (9, Some(b'O')) => &["OcrNation", "OcrIdCard", "OcrGender"],
        (9, Some(b'U')) => &["UseIDType"],
        (10, Some(b'C')) => &["Comparemsg"],
        (10, Some(b'I')) => &["IdInfoFrom"],
        (10, Some(b'L')) => &["LiveStatus"],
        (10, Some(b'O')) => &["OcrAddress"],
        (12, Some(b'L')) => &["LivenessMode"],
        (12, Some(b'O')) => &["OcrAuthority", "OcrValidDate"],
        (13, Some(b'C')) => &["Comparestatus"],
        (13, Some(b'N')) => &["NFCRequestIds"],
        (14, Some(b'C')) => &["CompareLibType"],
        (15, Some(b'L')) => &["LivenessInfoTag"],
        (16, Some(b'N')) => &["NFCBillingCounts"],
        (22, Some(b'L')) => &["LivenessActionSequence"],
        _ => &[],
    };
    candidates.contains(&key)
}

pub type Field<T> = Result<T, (RejectReason, &'static str)>;

fn string<'a>(value: Scalar<'a>) -> Field<Option<Cow<'a, str>>> {
    match value {
        Scalar::Text(text) => Ok(Some(text)),
        Scalar::Null => Ok(None),
        _ => Err((RejectReason::WrongType, "should be a string")),
    }
}

fn not_empty_seq(value: Scalar<'_>) -> Field<Option<Cow<'_, str>>> {
    match string(value)? {
        Some(seq) if seq.is_empty() => {
            Err((RejectReason::SeqEmpty, "Seq is empty: the attempt cannot be told from others"))
        }
        seq => Ok(seq),
    }
}

/// E证通 gives empty strings for people it does not name: the digest of nothing would look like one person.
fn not_empty(text: Option<Cow<'_, str>>) -> Option<Cow<'_, str>> {
    text.filter(|text| !text.is_empty())
}

/// `IsNeedCharge`: true, false, or unknown. Nothing else is a charge flag.
fn flag(value: Scalar<'_>) -> Field<Option<bool>> {
    match value {
        Scalar::Bool(flag) => Ok(Some(flag)),
        Scalar::Null => Ok(None),
        _ => Err((
            RejectReason::ChargeFlagNotBoolean,
            "IsNeedCharge is neither true, false nor null: whether it is charged cannot be read from it",
        )),
    }
}

/// A whole number, or a string of one. An empty string is null.
pub fn code<T: TryFrom<i64>>(value: Scalar<'_>) -> Field<Option<T>> {
    let text = match &value {
        Scalar::Null => return Ok(None),
        Scalar::Number(text) => text,
        Scalar::Text(text) if text.is_empty() => return Ok(None),
        Scalar::Text(text) => text.as_ref(),
        _ => return Err((RejectReason::WrongType, "should be a whole number")),
    };
    match whole_number(text) {
        Whole::Fits(n) => T::try_from(n)
            .map(Some)
            .map_err(|_| (RejectReason::NumberOutOfRange, "a number that does not fit its column")),
        Whole::TooLarge => {
            Err((RejectReason::NumberOutOfRange, "a number that does not fit its column"))
        }
        Whole::Not => Err((RejectReason::CodeInvalid, "should be a whole number")),
    }
}

enum Whole {
    Fits(i64),
    TooLarge,
    Not,
}

fn whole_number(text: &str) -> Whole {
    let digits = text.strip_prefix('-').unwrap_or(text);
    // In one pass: each result has dozens of them. So many nines fit.
    let (mut number, mut wrong) = (0i64, digits.is_empty());
    let (eights, rest) = digits.as_bytes().as_chunks();
    for eight in eights {
        let (value, is_number) = eight_digits(*eight);
        wrong |= !is_number;
        number = number.wrapping_mul(100_000_000).wrapping_add(value);
    }
    for byte in rest {
        let digit = byte.wrapping_sub(b'0');
        wrong |= digit > 9;
        number = number.wrapping_mul(10).wrapping_add(i64::from(digit));
    }
    match (wrong, digits.len()) {
        (true, _) => Whole::Not,
        (false, ..=18) => Whole::Fits(if digits.len() < text.len() { -number } else { number }),
        (false, _) => text.parse().map_or(Whole::TooLarge, Whole::Fits),
    }
}

/// The number that eight digits are, and whether they are digits.
fn eight_digits(digits: [u8; 8]) -> (i64, bool) {
    const EACH: u64 = u64::MAX / 255;
    let x = u64::from_le_bytes(digits) ^ (EACH * u64::from(b'0'));
    // What is more than nine reaches the high bit of its byte, or has reached it already.
    let is_number = (x.wrapping_add(EACH * 0x76) | x) & (EACH * 0x80) == 0;
    // Pairs, then fours, then all: each is made in the upper half of those it is made of.
    let x = x.wrapping_mul(10).wrapping_add(x >> 8) & 0x00FF_00FF_00FF_00FF;
    let x = x.wrapping_mul(100).wrapping_add(x >> 16) & 0x0000_FFFF_0000_FFFF;
    let x = x.wrapping_mul(10_000).wrapping_add(x >> 32) & 0xFFFF_FFFF;
    (x as i64, is_number)
}

/// The days in which a ReqTime can lie: FaceID is younger than the first, and the second is far enough
/// that only a wrong unit passes it.
static PLAUSIBLE: LazyLock<std::ops::Range<i64>> = LazyLock::new(|| {
    let begin = |text| UsageDay::parse(text).map_or(0, UsageDay::begin_ms);
    begin("2015-01-01")..begin("2100-01-01")
});

/// `ReqTime`: epoch milliseconds as a string or a number.
fn millis(value: Scalar<'_>) -> Field<Option<i64>> {
    match &value {
        Scalar::Null => Ok(None),
        Scalar::Number(text) => millis_of(text).map(Some),
        Scalar::Text(text) => millis_of(text).map(Some),
        _ => Err((RejectReason::ReqTimeInvalid, "ReqTime should be a number of milliseconds")),
    }
}

fn millis_of(text: &str) -> Field<i64> {
    match whole_number(text) {
        Whole::Fits(ms) if PLAUSIBLE.contains(&ms) => Ok(ms),
        Whole::Fits(_) | Whole::TooLarge => Err((
            RejectReason::ReqTimeOutOfRange,
            "ReqTime is before 2015 or after 2099: it should be milliseconds since 1970",
        )),
        Whole::Not => {
            Err((RejectReason::ReqTimeInvalid, "ReqTime should be a whole number of milliseconds"))
        }
    }
}

/// `Sim`: a decimal of at most two places, in hundredths. An empty string is null.
fn sim(value: Scalar<'_>) -> Field<Option<i32>> {
    match &value {
        Scalar::Null => Ok(None),
        // A number is not empty.
        Scalar::Number(text) => sim_of(text),
        Scalar::Text(text) => sim_of(text),
        _ => Err((RejectReason::WrongType, "Sim should be a string")),
    }
}

fn sim_of(text: &str) -> Field<Option<i32>> {
    if text.is_empty() {
        return Ok(None);
    }
    // As it is nearly always written.
    if let [tens @ b'0'..=b'9', ones @ b'0'..=b'9', b'.', tenths @ b'0'..=b'9', rest @ ..] =
        text.as_bytes()
        && let [] | [b'0'..=b'9'] = rest
    {
        let digit = |byte: &u8| i32::from(byte - b'0');
        let hundredths = rest.first().map_or(0, digit);
        return Ok(Some(digit(tens) * 1000 + digit(ones) * 100 + digit(tenths) * 10 + hundredths));
    }
    const INVALID: (RejectReason, &str) = (
        RejectReason::SimInvalid,
        "Sim should be a decimal from 0 to 999.99 of at most two places",
    );
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits =
        |t: &str, max| (1..=max).contains(&t.len()) && t.bytes().all(|b| b.is_ascii_digit());
    // Zeros past the second place change nothing.
    let fraction = if fraction.len() > 2 { fraction.trim_end_matches('0') } else { fraction };
    let fraction = if fraction.is_empty() && text.contains(".0") { "0" } else { fraction };
    if !digits(whole, 3) || !digits(fraction, 2) {
        return Err(INVALID);
    }
    let hundredths = |t: &str| t.parse::<i32>().map_err(|_| INVALID);
    let scale = if fraction.len() == 1 { 10 } else { 1 };
    Ok(Some(hundredths(whole)? * 100 + hundredths(fraction)? * scale))
}

/// An envelope's time: epoch milliseconds (number or string) or RFC 3339.
pub(super) fn envelope_time(value: Scalar<'_>) -> Field<Option<i64>> {
    const INVALID: (RejectReason, &str) = (
        RejectReason::EnvelopeTimeInvalid,
        "an envelope time should be milliseconds since 1970 or an RFC 3339 time with its offset",
    );
    let text = match &value {
        Scalar::Null => return Ok(None),
        Scalar::Number(text) => text,
        Scalar::Text(text) if text.is_empty() => return Ok(None),
        Scalar::Text(text) => text.as_ref(),
        _ => return Err(INVALID),
    };
    let ms = match whole_number(text) {
        Whole::Fits(ms) => ms,
        Whole::TooLarge => return Err(INVALID),
        Whole::Not => {
            chrono::DateTime::parse_from_rfc3339(text).map_err(|_| INVALID)?.timestamp_millis()
        }
    };
    if PLAUSIBLE.contains(&ms) { Ok(Some(ms)) } else { Err(INVALID) }
}

#[cfg(test)]
mod tests {
    use super::{Whole, whole_number};

    #[test]
    fn a_number_of_any_length_is_the_number_it_is() {
        for len in 1..19 {
            for digits in ["1234567890123456789", "9999999999999999999", "0000000010000000000"] {
                let digits = &digits[..len];
                for sign in ["", "-"] {
                    let text = format!("{sign}{digits}");
                    let Whole::Fits(number) = whole_number(&text) else { panic!("{text}") };
                    assert_eq!(Ok(number), text.parse(), "{text}");
                    for wrong in ["/", ":", "\u{b0}", " ", "p", "\0"] {
                        for at in 0..len {
                            let text =
                                format!("{sign}{}{wrong}{}", &digits[..at], &digits[at + 1..]);
                            assert!(matches!(whole_number(&text), Whole::Not), "{text}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn every_documented_member_of_text_that_is_not_read_is_known() {
        let names = "ErrMsg IdCard UseIDType Name OcrNation OcrAddress OcrBirth OcrAuthority OcrValidDate OcrName \
            OcrIdCard OcrGender IdInfoFrom LiveStatus LiveMsg Comparestatus Comparemsg Sim Location LivenessInfoTag \
            Mobile CompareLibType LivenessMode NFCRequestIds NFCBillingCounts PassNo VisaNum LivenessActionSequence";
        assert_eq!(names.split_whitespace().count(), 28);
        assert!(names.split_whitespace().all(super::is_plain_text_member));
        assert!(
            !["Errmsg", "Idcard", "", "Extra", "Sims"].into_iter().any(super::is_plain_text_member)
        );
    }
}
