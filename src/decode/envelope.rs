//! Envelopes: outer objects in which the pipeline names where the response and a few facts lie.
//!
//! Takes the cursor at a record and the JSON pointers (RFC 6901), split once for all records; validates
//! the whole record and gives the places found.

use super::json::{Cursor, Fault, Parsed, Scalar};
use super::record::{Taken, Trace, envelope_time};
use crate::model::{Envelope, Record, RejectReason};
use std::borrow::Cow;

/// The pointers of an envelope as a tree of their steps.
#[derive(Clone, Debug)]
pub struct Pointers(pub(super) Step);

#[derive(Clone, Debug, Default)]
pub(super) struct Step {
    /// The facts that are the value here.
    pub(super) slots: Vec<Slot>,
    /// Member names (or array indices) that lead further, at most one a pointer.
    pub(super) next: Vec<(String, Step)>,
}

/// What a pointer points at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    Response,
    BizToken,
    RuleId,
    Channel,
    FetchedAt,
    CreatedAt,
}

impl Pointers {
    pub fn new(envelope: &Envelope) -> Pointers {
        let named = [
            (Slot::Response, Some(&envelope.response)),
            (Slot::BizToken, envelope.biz_token.as_ref()),
            (Slot::RuleId, envelope.rule_id.as_ref()),
            (Slot::Channel, envelope.channel.as_ref()),
            (Slot::FetchedAt, envelope.fetched_at.as_ref()),
            (Slot::CreatedAt, envelope.created_at.as_ref()),
        ];
        let mut root = Step::default();
        for (slot, pointer) in named {
            let Some(pointer) = pointer else { continue };
            let mut step = &mut root;
            // "" is the whole record; "/a" is its member a.
            for token in pointer.split('/').skip(1) {
                let name = token.replace("~1", "/").replace("~0", "~");
                let place = step.next.iter().position(|(n, _)| *n == name).unwrap_or_else(|| {
                    step.next.push((name, Step::default()));
                    step.next.len() - 1
                });
                step = &mut step.next[place].1;
            }
            step.slots.push(slot);
        }
        Pointers(root)
    }
}

/// A value of the envelope, and its offset.
type Fact<'a> = Option<(usize, Scalar<'a>)>;

/// Where the response stands, its first byte, and in how many containers.
#[derive(Clone, Copy, Debug)]
pub struct Response {
    pub at: usize,
    pub first: u8,
    pub depth: usize,
}

/// What a record's envelope holds.
#[derive(Default)]
pub struct Found<'a> {
    pub response: Option<Response>,
    /// What is wrong with the envelope although it is JSON.
    pub fault: Option<Fault>,
    biz_token: Fact<'a>,
    rule_id: Fact<'a>,
    channel: Fact<'a>,
    fetched_at: Fact<'a>,
    created_at: Fact<'a>,
}

/// Walks the record to its end, or to where it breaks: what was found before that is there.
pub fn open<'a>(
    cursor: &mut Cursor<'a>,
    pointers: &Pointers,
    found: &mut Found<'a>,
    trace: &mut Option<Trace>,
) -> Parsed<()> {
    walk(cursor, &pointers.0, found, trace)
}

fn walk<'a>(
    cursor: &mut Cursor<'a>,
    step: &Step,
    found: &mut Found<'a>,
    trace: &mut Option<Trace>,
) -> Parsed<()> {
    let first = cursor.peek();
    let at = cursor.pos();
    for slot in &step.slots {
        if *slot == Slot::Response {
            let depth = cursor.depth();
            found.response = first.map(|first| Response { at, first, depth });
            continue;
        }
        let value = cursor.scalar()?;
        Trace::leaf(trace, at, cursor, Taken::Envelope(*slot));
        found.set(*slot, at, value);
        cursor.seek(at);
    }
    match first {
        Some(b'{') if !step.next.is_empty() => {
            // One bit for each step below that was met.
            let mut met = 0u8;
            cursor.object(|cursor, key_at, key| {
                let Some(place) = step.next.iter().position(|(name, _)| *name == key) else {
                    return skip(cursor, trace);
                };
                if met & 1 << place != 0 {
                    found.fault.get_or_insert(Fault {
                        at: key_at,
                        reason: RejectReason::DuplicateKey,
                        message: Cow::Borrowed("this member of the envelope stands twice"),
                    });
                }
                met |= 1 << place;
                walk(cursor, &step.next[place].1, found, trace)
            })
        }
        Some(b'[') if !step.next.is_empty() => cursor.array(|cursor, index| {
            let index = index.to_string();
            match step.next.iter().find(|(name, _)| *name == index) {
                Some((_, next)) => walk(cursor, next, found, trace),
                None => skip(cursor, trace),
            }
        }),
        _ => cursor.skip(),
    }
}

fn skip(cursor: &mut Cursor<'_>, trace: &mut Option<Trace>) -> Parsed<()> {
    let at = cursor.pos();
    cursor.skip()?;
    Trace::leaf(trace, at, cursor, Taken::Skipped);
    Ok(())
}

impl<'a> Found<'a> {
    /// A field, and the offset of its value.
    pub fn set(&mut self, slot: Slot, at: usize, value: Scalar<'a>) {
        let place = match slot {
            // Not a field: what stands there is read for itself.
            Slot::Response => return,
            Slot::BizToken => &mut self.biz_token,
            Slot::RuleId => &mut self.rule_id,
            Slot::Channel => &mut self.channel,
            Slot::FetchedAt => &mut self.fetched_at,
            Slot::CreatedAt => &mut self.created_at,
        };
        *place = Some((at, value));
    }

    /// Puts the envelope's facts into the record.
    pub fn fill(self, record: &mut Record<'a>) -> Parsed<()> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        record.biz_token = text(self.biz_token)?;
        record.rule_id = text(self.rule_id)?;
        record.channel = text(self.channel)?;
        record.fetched_at = time(self.fetched_at)?;
        record.created_at = time(self.created_at)?;
        Ok(())
    }
}

/// A string, or a number as it is written (rule ids are numbers in some exports).
fn text<'a>(fact: Fact<'a>) -> Parsed<Option<Cow<'a, str>>> {
    match fact {
        None | Some((_, Scalar::Null)) => Ok(None),
        Some((_, Scalar::Text(text))) => Ok(Some(text)),
        Some((_, Scalar::Number(text))) => Ok(Some(Cow::Borrowed(text))),
        Some((at, _)) => Err(Fault {
            at,
            reason: RejectReason::WrongType,
            message: Cow::Borrowed("a field of the envelope should be a string or a number"),
        }),
    }
}

fn time(fact: Fact<'_>) -> Parsed<Option<i64>> {
    let Some((at, value)) = fact else { return Ok(None) };
    envelope_time(value).map_err(|(reason, message)| Fault {
        at,
        reason,
        message: Cow::Borrowed(message),
    })
}
