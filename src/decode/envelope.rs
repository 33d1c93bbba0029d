//! Envelopes: outer objects in which the pipeline names where the response and a few facts lie.
//!
//! Takes the cursor at a record and the JSON pointers (RFC 6901); validates the whole record and gives
//! the places found.

use super::json::{Cursor, Fault, Parsed, Scalar};
use super::record::envelope_time;
use crate::model::{Envelope, Record, RejectReason};
use std::borrow::Cow;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Slot {
    Response,
    BizToken,
    RuleId,
    Channel,
    FetchedAt,
    CreatedAt,
}

/// What a record's envelope holds; every value with its offset.
#[derive(Default)]
pub struct Found<'a> {
    /// Where the response begins.
    pub response_at: Option<usize>,
    biz_token: Option<(usize, Scalar<'a>)>,
    rule_id: Option<(usize, Scalar<'a>)>,
    channel: Option<(usize, Scalar<'a>)>,
    fetched_at: Option<(usize, Scalar<'a>)>,
    created_at: Option<(usize, Scalar<'a>)>,
}

/// Walks the record to its end.
pub fn open<'a>(cursor: &mut Cursor<'a>, pointers: &Envelope) -> Parsed<Found<'a>> {
    let mut wanted: Vec<(Slot, Vec<String>)> = Vec::with_capacity(6);
    let named = [
        (Slot::Response, Some(&pointers.response)),
        (Slot::BizToken, pointers.biz_token.as_ref()),
        (Slot::RuleId, pointers.rule_id.as_ref()),
        (Slot::Channel, pointers.channel.as_ref()),
        (Slot::FetchedAt, pointers.fetched_at.as_ref()),
        (Slot::CreatedAt, pointers.created_at.as_ref()),
    ];
    for (slot, pointer) in named {
        if let Some(pointer) = pointer {
            let steps = pointer.split('/').skip(1);
            wanted.push((slot, steps.map(|s| s.replace("~1", "/").replace("~0", "~")).collect()));
        }
    }
    let wanted: Vec<(Slot, &[String])> = wanted.iter().map(|(s, p)| (*s, p.as_slice())).collect();
    let mut found = Found::default();
    walk(cursor, &wanted, &mut found)?;
    Ok(found)
}

fn walk<'a>(cursor: &mut Cursor<'a>, wanted: &[(Slot, &[String])], found: &mut Found<'a>) -> Parsed<()> {
    cursor.white_space();
    let at = cursor.pos();
    for (slot, steps) in wanted {
        if !steps.is_empty() {
            continue;
        }
        if *slot == Slot::Response {
            if matches!(cursor.peek(), Some(b'{')) {
                found.response_at = Some(at);
            }
            continue;
        }
        let value = cursor.scalar()?;
        cursor.seek(at);
        let place = match slot {
            Slot::BizToken => &mut found.biz_token,
            Slot::RuleId => &mut found.rule_id,
            Slot::Channel => &mut found.channel,
            Slot::FetchedAt => &mut found.fetched_at,
            _ => &mut found.created_at,
        };
        *place = Some((at, value));
    }
    let deeper = |step: &str| -> Vec<(Slot, &[String])> {
        wanted
            .iter()
            .filter(|(_, steps)| steps.first().is_some_and(|s| s == step))
            .map(|(slot, steps)| (*slot, &steps[1..]))
            .collect()
    };
    if wanted.iter().all(|(_, steps)| steps.is_empty()) {
        return cursor.skip();
    }
    match cursor.peek() {
        Some(b'{') => {
            let mut seen: Vec<Slot> = Vec::new();
            cursor.object(|cursor, key_at, key| {
                let below = deeper(&key);
                if below.is_empty() {
                    return cursor.skip();
                }
                if below.iter().any(|(slot, _)| seen.contains(slot)) {
                    return Err(Fault {
                        at: key_at,
                        reason: RejectReason::DuplicateKey,
                        message: Cow::Borrowed("this member of the envelope stands twice"),
                    });
                }
                seen.extend(below.iter().map(|(slot, _)| *slot));
                walk(cursor, &below, found)
            })
        }
        Some(b'[') => cursor.array(|cursor, index| match deeper(&index.to_string()) {
            below if below.is_empty() => cursor.skip(),
            below => walk(cursor, &below, found),
        }),
        _ => cursor.skip(),
    }
}

impl<'a> Found<'a> {
    /// Puts the envelope's facts into the record.
    pub fn fill(self, record: &mut Record<'a>) -> Parsed<()> {
        record.biz_token = text(self.biz_token)?;
        record.rule_id = text(self.rule_id)?;
        record.channel = text(self.channel)?;
        record.fetched_at = time(self.fetched_at)?;
        record.created_at = time(self.created_at)?;
        Ok(())
    }
}

/// A string, or a number as it is written (rule ids are numbers in some exports).
fn text<'a>(found: Option<(usize, Scalar<'a>)>) -> Parsed<Option<Cow<'a, str>>> {
    match found {
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

fn time(found: Option<(usize, Scalar<'_>)>) -> Parsed<Option<i64>> {
    let Some((at, value)) = found else { return Ok(None) };
    envelope_time(value).map_err(|(reason, message)| Fault { at, reason, message: Cow::Borrowed(message) })
}
