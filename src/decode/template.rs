//! Records that look like an earlier one, read by what stands between their values.
//!
//! A writer gives its members in one order and with the same blanks, record after record. From a record that
//! the strict reader has read, a [`Template`] is made: the bytes between the values it took, and what each
//! value was. A record in which the same bytes stand between its values is read by comparing them, without
//! looking for members and their meaning. Where anything differs (a member more, a value of another kind, an
//! escape in a name) the template says nothing, and the strict reader reads the record from its start: it
//! alone tells what is wrong with a record, and both give the same of every record that both read
//! (`tests/templates.rs` holds them against each other).

use super::envelope::{Found, Slot};
use super::json::{Cursor, Scalar, plain_string};
use super::record::{DetailFound, Draft, Leaf, Taken, UnknownMembers, code};
use crate::model::Attempt;
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

/// How the records of one look are read.
#[derive(Debug)]
pub struct Template {
    /// Up to the first attempt, or up to the end where there are none.
    head: Steps,
    attempts: Option<Attempts>,
    enveloped: bool,
    unknown: UnknownMembers,
}

#[derive(Debug)]
struct Attempts {
    /// From brace to behind brace.
    each: Steps,
    between: Box<[u8]>,
    /// From behind the last attempt to the record's end.
    tail: Steps,
    /// Of one attempt.
    unknown: UnknownMembers,
}

/// Values, and the text before each and behind the last.
#[derive(Debug, Default)]
struct Steps {
    steps: Vec<Step>,
    end: Box<[u8]>,
}

#[derive(Debug)]
enum Step {
    /// Values that are skipped and mostly the same, with the text before each: if all of it stands there again,
    /// so many of the next steps are done.
    Same {
        text: Box<[u8]>,
        steps: usize,
    },
    Value {
        before: Box<[u8]>,
        depth: usize,
        taken: Taken,
    },
}

/// Values longer than this are not expected to come again.
const SAME_BYTES_MAX: usize = 256;

/// Attempts read at once into one allocation: more are rare.
const ATTEMPTS_MANY: usize = 4;

impl Template {
    /// The template of a record that was read without a fault; None if there is none that can be relied on.
    /// `text` is the record, from its first byte to its last.
    pub fn of(text: &str, draft: &Draft<'_>, enveloped: bool) -> Option<Template> {
        let trace = draft.trace.as_ref()?;
        if trace.irregular || !draft.unusable.is_empty() {
            return None;
        }
        let leaves = outermost(&trace.leaves)?;
        let steps = |range: Range<usize>| Steps::of(text, &leaves, range);
        let (Some(first), Some(last)) = (trace.attempts.first(), trace.attempts.last()) else {
            let (head, unknown) = (steps(0..text.len())?, draft.unknown.clone());
            return Some(Template { head, attempts: None, enveloped, unknown });
        };
        let n = trace.attempts.len();
        let (each_unknown, unknown) = draft.unknown.clone().apart(n as u64);
        let between = trace.attempts.get(1).map_or(",", |second| &text[first.1..second.0]);
        let attempts = Attempts {
            each: steps(first.0..first.1)?,
            between: between.as_bytes().into(),
            tail: steps(last.1..text.len())?,
            unknown: each_unknown,
        };
        let template =
            Template { head: steps(0..first.0)?, attempts: Some(attempts), enveloped, unknown };
        // What holds of one attempt must hold of the others.
        let mut again = Draft::default();
        let same = template.read(text, &mut again) == Some(text.len())
            && again.attempts == draft.attempts
            && again.record == draft.record
            && paths(&again.unknown) == paths(&draft.unknown);
        same.then_some(template)
    }

    /// Reads the record at the beginning of `text`, if it looks like the template's; the offset behind it.
    pub fn read<'a>(&self, text: &'a str, draft: &mut Draft<'a>) -> Option<usize> {
        let mut found = Found::default();
        let mut at =
            self.head.read(text, 0, &mut |value, taken| take(value, taken, draft, &mut found))?;
        let mut count = 0;
        if let Some(attempts) = &self.attempts {
            draft.attempts.reserve(ATTEMPTS_MANY);
            loop {
                let index = draft.attempts.len();
                draft.attempts.push(Attempt {
                    index: index as i32,
                    byte_offset: at as i64,
                    ..Attempt::default()
                });
                let attempt = &mut draft.attempts[index];
                let mut has = DetailFound::default();
                at = attempts.each.read(text, at, &mut |value, taken| match taken {
                    Taken::Detail(member) => has.take(member, value, attempt).ok(),
                    _ => Some(()),
                })?;
                if has.missing().is_some() {
                    return None;
                }
                count += 1;
                match stands(text, at, &attempts.between) {
                    // An attempt, as before each of those that were read.
                    true if text.as_bytes().get(at + attempts.between.len()) == Some(&b'{') => {
                        at += attempts.between.len();
                    }
                    _ => break,
                }
            }
            at = attempts
                .tail
                .read(text, at, &mut |value, taken| take(value, taken, draft, &mut found))?;
            for _ in 0..if attempts.unknown.is_empty() { 0 } else { count } {
                draft.unknown.merge(&attempts.unknown);
            }
        }
        draft.record.detail_count = count;
        if self.enveloped {
            found.fill(&mut draft.record).ok()?;
        }
        if !self.unknown.is_empty() {
            draft.unknown.merge(&self.unknown);
        }
        Some(at)
    }
}

fn paths(unknown: &UnknownMembers) -> BTreeSet<(String, u64)> {
    unknown.paths().collect()
}

/// Leaves in their order, without those that hold others (what an envelope skips, the response reads).
fn outermost(leaves: &[Leaf]) -> Option<Vec<Leaf>> {
    let mut sorted = leaves.to_vec();
    sorted.sort_by_key(|leaf| (leaf.from, std::cmp::Reverse(leaf.to)));
    let mut kept: Vec<Leaf> = Vec::with_capacity(sorted.len());
    for leaf in sorted {
        match kept.last() {
            Some(last) if leaf.from < last.to => {
                // One value for two things.
                if last.taken != Taken::Skipped {
                    return None;
                }
                // What was skipped as a whole is read inside.
                let last = kept.pop()?;
                if leaf.taken == Taken::Skipped && leaf.from == last.from {
                    kept.push(last);
                    continue;
                }
            }
            _ => {}
        }
        kept.push(leaf);
    }
    Some(kept)
}

impl Steps {
    /// Of the text in `range`, which no value crosses.
    fn of(text: &str, leaves: &[Leaf], range: Range<usize>) -> Option<Steps> {
        let first = leaves.partition_point(|leaf| leaf.from < range.start);
        let leaves = leaves[first..].iter().take_while(|leaf| leaf.from < range.end);
        let mut steps: Vec<Step> = Vec::new();
        // Where the values that are mostly the same begin: their offset in the text, and their first step.
        let mut same: Option<(usize, usize)> = None;
        let mut at = range.start;
        for leaf in leaves {
            if leaf.to > range.end {
                return None;
            }
            let value = &text[leaf.from..leaf.to];
            let mostly_the_same = leaf.taken == Taken::Skipped
                && value.len() <= SAME_BYTES_MAX
                && value.starts_with(['n', '[', '{', 't', 'f']);
            match (mostly_the_same, same) {
                (true, None) => same = Some((at, steps.len())),
                (false, Some((from, first))) => {
                    insert_same(&mut steps, first, &text[from..at]);
                    same = None;
                }
                _ => {}
            }
            let before = text.as_bytes()[at..leaf.from].into();
            steps.push(Step::Value { before, depth: leaf.depth, taken: leaf.taken });
            at = leaf.to;
        }
        if let Some((from, first)) = same {
            insert_same(&mut steps, first, &text[from..at]);
        }
        Some(Steps { steps, end: text.as_bytes()[at..range.end].into() })
    }

    /// Reads on from `at`; hands each value that is taken to `take`, which says whether it can be. The offset
    /// behind the last.
    #[inline(always)]
    fn read<'a>(
        &self,
        text: &'a str,
        mut at: usize,
        take: &mut impl FnMut(Scalar<'a>, Taken) -> Option<()>,
    ) -> Option<usize> {
        let mut steps = self.steps.iter();
        while let Some(step) = steps.next() {
            match step {
                Step::Same { text: same, steps: n } => {
                    if stands(text, at, same) {
                        at += same.len();
                        // One of `n` is passed by the call itself.
                        steps.nth(n - 1);
                    }
                }
                Step::Value { before, depth, taken } => {
                    if !stands(text, at, before) {
                        return None;
                    }
                    at += before.len();
                    if let Some((string, after)) = plain_string(text, at) {
                        at = after;
                        if *taken != Taken::Skipped {
                            take(Scalar::Text(Cow::Borrowed(string)), *taken)?;
                        }
                        continue;
                    }
                    if let Some((value, after)) = plain_word(text, at) {
                        at = after;
                        if *taken != Taken::Skipped {
                            take(value, *taken)?;
                        }
                        continue;
                    }
                    let mut cursor = Cursor::inside(text, at, *depth);
                    if *taken == Taken::Skipped {
                        cursor.skip().ok()?;
                    } else {
                        let value = cursor.scalar().ok()?;
                        take(value, *taken)?;
                    }
                    // Blanks before a value belong to what stands between values.
                    at = cursor.pos();
                }
            }
        }
        stands(text, at, &self.end).then(|| at + self.end.len())
    }
}

fn insert_same(steps: &mut Vec<Step>, first: usize, text: &str) {
    let n = steps.len() - first;
    // Of one short value the comparison would be made twice.
    if n > 1 {
        steps.insert(first, Step::Same { text: text.as_bytes().into(), steps: n });
    }
}

/// Whether `wanted` stands in `text` at `at`.
#[inline(always)]
fn stands(text: &str, at: usize, wanted: &[u8]) -> bool {
    let Some(there) = text.as_bytes().get(at..at + wanted.len()) else { return false };
    // Names of members are short: two words that may overlap are compared faster than a call is made.
    match wanted.len() {
        8..16 => ends_alike::<8>(there, wanted),
        16..=32 => ends_alike::<16>(there, wanted),
        _ => there == wanted,
    }
}

/// Whether the first and the last N bytes of two slices of one length are the same.
#[inline(always)]
fn ends_alike<const N: usize>(a: &[u8], b: &[u8]) -> bool {
    a.first_chunk::<N>() == b.first_chunk::<N>() && a.last_chunk::<N>() == b.last_chunk::<N>()
}

/// A null, a truth value, or a whole number of few digits, and the offset behind it. None for anything else,
/// which need not be wrong.
#[inline(always)]
fn plain_word(text: &str, at: usize) -> Option<(Scalar<'_>, usize)> {
    let rest = text.as_bytes().get(at..)?;
    match rest.first()? {
        b'n' => rest.starts_with(b"null").then_some((Scalar::Null, at + 4)),
        b't' => rest.starts_with(b"true").then_some((Scalar::Bool(true), at + 4)),
        b'f' => rest.starts_with(b"false").then_some((Scalar::Bool(false), at + 5)),
        first @ b'0'..=b'9' => {
            let n = 1 + rest[1..].iter().take(9).take_while(|b| b.is_ascii_digit()).count();
            // A zero before others, a fraction, an exponent: the cursor looks at them.
            let whole = matches!(rest.get(n)?, b',' | b'}') && (n == 1 || *first != b'0');
            whole.then(|| (Scalar::Number(&text[at..at + n]), at + n))
        }
        _ => None,
    }
}

/// Puts a value that stands outside of the attempts where it belongs; None if it is of a kind that the strict
/// reader must look at.
fn take<'a>(
    value: Scalar<'a>,
    taken: Taken,
    draft: &mut Draft<'a>,
    found: &mut Found<'a>,
) -> Option<()> {
    let text = |value: Scalar<'a>| match value {
        Scalar::Text(text) => Some(Some(text)),
        Scalar::Null => Some(None),
        _ => None,
    };
    match taken {
        Taken::Skipped | Taken::Detail(_) => {}
        Taken::ErrCode => draft.record.err_code = code(value).ok()?,
        Taken::Extra => draft.record.extra = text(value)?,
        Taken::RequestId => draft.record.request_id = text(value)?,
        Taken::IsVerifyIntention => match value {
            Scalar::Bool(yes) => draft.record.is_verify_intention = yes,
            Scalar::Null => {}
            _ => return None,
        },
        // Its offset would be told only with a fault, and then the strict reader tells it.
        Taken::Envelope(slot) if slot != Slot::Response => found.set(slot, 0, value),
        Taken::Envelope(_) => {}
    }
    Some(())
}

/// What has been learned of the records of a source, by all who read it.
#[derive(Debug, Default)]
pub struct Learned {
    templates: RwLock<Vec<Arc<Template>>>,
    /// Records that no template read.
    missed: AtomicU64,
    tried: AtomicU64,
}

/// Looks that are kept apart. Each is tried on a record that the others do not read.
const TEMPLATES_MAX: usize = 6;

/// Of so many records that no template reads, one is learned from once there are enough templates.
const MISSED_EACH: u64 = 256;

impl Learned {
    /// The templates so far, the newest first.
    pub fn templates(&self) -> Vec<Arc<Template>> {
        self.templates.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether a record that no template reads is one to learn from.
    pub fn curious(&self) -> bool {
        let missed = self.missed.fetch_add(1, Ordering::Relaxed);
        self.tried.load(Ordering::Relaxed) < TEMPLATES_MAX as u64
            || missed.is_multiple_of(MISSED_EACH)
    }

    /// Makes a template of a record if it can; gives those there are then.
    pub fn learn(
        &self,
        text: &str,
        draft: &Draft<'_>,
        enveloped: bool,
    ) -> Option<Vec<Arc<Template>>> {
        self.tried.fetch_add(1, Ordering::Relaxed);
        let template = Template::of(text, draft, enveloped)?;
        let mut templates = self.templates.write().unwrap_or_else(PoisonError::into_inner);
        // Another worker may have learned it meanwhile.
        if !templates.iter().any(|known| known.read(text, &mut Draft::default()).is_some()) {
            templates.truncate(TEMPLATES_MAX - 1);
            templates.insert(0, Arc::new(template));
        }
        Some(templates.clone())
    }
}

/// Reads the record at the beginning of `text` into an empty draft by one of the templates, which then comes
/// first; the offset behind it. When none can, the draft is empty again.
#[inline]
pub fn read<'a>(
    templates: &mut [Arc<Template>],
    text: &'a str,
    draft: &mut Draft<'a>,
) -> Option<usize> {
    for place in 0..templates.len() {
        if let Some(after) = templates[place].read(text, draft) {
            if place > 0 {
                templates[..=place].rotate_right(1);
            }
            return Some(after);
        }
        draft.clear();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaf(from: usize, to: usize, taken: Taken) -> Leaf {
        Leaf { from, to, depth: 1, taken }
    }

    #[test]
    fn what_is_read_inside_of_what_is_skipped_counts() {
        let inner = leaf(12, 15, Taken::ErrCode);
        let kept = outermost(&[leaf(10, 20, Taken::Skipped), inner, leaf(30, 31, Taken::Skipped)]);
        let kept: Vec<(usize, usize)> =
            kept.unwrap_or_default().iter().map(|l| (l.from, l.to)).collect();
        assert_eq!(kept, [(12, 15), (30, 31)]);
        let twice = [leaf(5, 8, Taken::RequestId), leaf(5, 8, Taken::Extra)];
        assert!(outermost(&twice).is_none());
    }

    #[test]
    fn text_is_compared_to_its_last_byte() {
        for n in 0..40 {
            let wanted = "abcdefghijklmnopqrstuvwxyzabcdefghijklmnop"[..n].to_owned();
            let text = format!("xx{wanted}yy");
            assert!(stands(&text, 2, wanted.as_bytes()));
            assert!(!stands(&text[..n + 1], 2, wanted.as_bytes()) || n == 0);
            for i in 0..n {
                let mut other = wanted.clone().into_bytes();
                other[i] = b'#';
                assert!(!stands(&text, 2, &other), "{n} {i}");
            }
        }
    }
}
