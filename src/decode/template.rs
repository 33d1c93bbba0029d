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
use super::json::{BLOCK, Cursor, Plain, Scalar, plain_string_end, stops_in};
use super::record::{DetailFound, Draft, Leaf, Taken, UnknownMembers, code};
use crate::model::{Alike, Attempt};
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
    /// No line break stands between its values.
    in_line: bool,
    /// How many runs are in its steps.
    runs: usize,
}

#[derive(Debug)]
struct Attempts {
    /// From brace to behind brace: up to what the service said of it, what it said, and the rest. Where its members do
    /// not stand side by side, all of it is the first.
    each: [Steps; 3],
    between: Text,
    /// From behind the last attempt to the record's end.
    tail: Steps,
    /// Of one attempt.
    unknown: UnknownMembers,
}

/// Values, and the text before each and behind the last.
#[derive(Debug, Default)]
struct Steps {
    steps: Vec<Step>,
    end: Text,
}

#[derive(Debug)]
enum Step {
    /// Values that are skipped and mostly the same, with the text before each: if all of it stands there again,
    /// so many of the next steps are done.
    Same {
        text: Text,
        steps: usize,
    },
    Value {
        before: Text,
        depth: usize,
        taken: Taken,
    },
    /// Values that are skipped and together say one of a few things, and the place of those in [`Met`].
    Run {
        values: Box<Steps>,
        place: usize,
    },
}

/// A text that must stand in a record. Its first and its last block are numbers: names of members are short, and
/// two numbers are compared faster than a call is made.
#[derive(Debug, Default)]
struct Text {
    all: Box<[u8]>,
    /// As far as `mask` goes, where the text is shorter.
    first: u128,
    mask: u128,
    last: u128,
}

/// Bytes that are looked at for a value and the text before it.
const WINDOW: usize = 64;

/// Texts shorter than this leave room in a window for a value that is most likely all of it.
const SHORT: usize = 32;

impl Text {
    fn of(text: &str) -> Text {
        let all: Box<[u8]> = text.as_bytes().into();
        let mut first = [0; BLOCK];
        let mut mask = [0; BLOCK];
        let len = all.len().min(BLOCK);
        first[..len].copy_from_slice(&all[..len]);
        mask[..len].fill(0xFF);
        let last = all.last_chunk().copied().unwrap_or_default();
        let [first, mask, last] = [first, mask, last].map(u128::from_le_bytes);
        Text { all, first, mask, last }
    }

    fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether it ends with the name of one of these members.
    fn names(&self, members: &[&str]) -> bool {
        let text = self.all.trim_ascii_end().strip_suffix(b":").map(<[u8]>::trim_ascii_end);
        let name = text
            .and_then(|text| text.strip_suffix(b"\""))
            .and_then(|text| text.rsplit(|b| *b == b'"').next());
        name.is_some_and(|name| members.iter().any(|member| member.as_bytes() == name))
    }

    /// Whether it stands in `bytes` at `at`, which lies in them or at their end.
    #[inline]
    fn stands(&self, bytes: &[u8], at: usize) -> bool {
        let Some(rest) = bytes.get(at..) else { return false };
        match rest.first_chunk() {
            Some(block) if self.len() <= BLOCK => {
                (u128::from_le_bytes(*block) ^ self.first) & self.mask == 0
            }
            Some(first) if self.len() <= 2 * BLOCK => {
                let last = rest.get(self.len() - BLOCK..).and_then(<[u8]>::first_chunk);
                u128::from_le_bytes(*first) == self.first
                    && last.is_some_and(|last| u128::from_le_bytes(*last) == self.last)
            }
            // To compare no bytes, of memory that is nowhere, takes the C library of some machines a hundred
            // nanoseconds.
            _ => self.all.is_empty() || rest.starts_with(&self.all),
        }
    }

    /// Its length if it is short and stands at the beginning of `window`.
    #[inline(always)]
    fn short_in(&self, window: &[u8; WINDOW]) -> Option<usize> {
        // The compiler sees by it that a block behind the text lies in the window.
        let len = self.len() % SHORT;
        let differs = (block(window, 0) ^ self.first) & self.mask != 0
            || len > BLOCK && block(window, len - BLOCK) != self.last;
        (!differs && len == self.len()).then_some(len)
    }
}

/// The block at `at` of a window, which must hold it.
#[inline(always)]
fn block(window: &[u8; WINDOW], at: usize) -> u128 {
    window[at..].first_chunk().map_or(0, |block| u128::from_le_bytes(*block))
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
        let mut runs = 0;
        let mut steps = |range: Range<usize>| Steps::of(text, &leaves, range, &mut runs);
        let (Some(first), Some(last)) = (trace.attempts.first(), trace.attempts.last()) else {
            let (head, unknown) = (steps(0..text.len())?, draft.unknown.clone());
            let in_line = head.in_line();
            return Some(Template { head, attempts: None, enveloped, unknown, in_line, runs });
        };
        let n = trace.attempts.len();
        let (each_unknown, unknown) = draft.unknown.clone().apart(n as u64);
        let between = trace.attempts.get(1).map_or(",", |second| &text[first.1..second.0]);
        let attempts = Attempts {
            each: steps(first.0..first.1)?.around_said(),
            between: Text::of(between),
            tail: steps(last.1..text.len())?,
            unknown: each_unknown,
        };
        let head = steps(0..first.0)?;
        let in_line = attempts.each.iter().chain([&head, &attempts.tail]).all(Steps::in_line)
            && !between.contains('\n');
        let attempts = Some(attempts);
        let template = Template { head, attempts, enveloped, unknown, in_line, runs };
        // What holds of one attempt must hold of the others.
        let mut again = Draft::default();
        let same = template.read(text, false, &mut Met::of(&template), &mut again)
            == Some(text.len())
            && again.attempts == draft.attempts
            && again.record == draft.record
            && paths(&again.unknown) == paths(&draft.unknown);
        same.then_some(template)
    }

    /// Reads the record at the beginning of `text`, if it looks like the template's; the offset behind it. `in_line`
    /// says that there must be no line break in it.
    fn read<'a>(
        &self,
        text: &'a str,
        in_line: bool,
        met: &mut Met,
        draft: &mut Draft<'a>,
    ) -> Option<usize> {
        if in_line && !self.in_line {
            return None;
        }
        let mut found = Found::default();
        let mut outside = Outside { draft, found: &mut found };
        let Met { said: met_said, runs } = met;
        let mut at = self.head.read(text, 0, in_line, runs, &mut outside)?;
        let mut count = 0;
        if let Some(attempts) = &self.attempts {
            draft.attempts.reserve(ATTEMPTS_MANY);
            loop {
                let index = draft.attempts.len();
                draft.attempts.push(Attempt::EMPTY);
                let attempt = &mut draft.attempts[index];
                (attempt.index, attempt.byte_offset) = (index as i32, at as i64);
                let mut take = OfAttempt { attempt, has: DetailFound::default() };
                let [begin, said, rest] = &attempts.each;
                at = begin.read(text, at, in_line, runs, &mut take)?;
                if !said.steps.is_empty() {
                    let from = at;
                    at = match met_said.take(text, from, take.attempt) {
                        Some(after) => after,
                        None => {
                            let after = said.read(text, from, in_line, runs, &mut take)?;
                            met_said.keep(text, from..after, take.attempt);
                            after
                        }
                    };
                    at = rest.read(text, at, in_line, runs, &mut take)?;
                }
                if take.has.missing().is_some() {
                    return None;
                }
                count += 1;
                // An attempt, as before each of those that were read.
                let next = at + attempts.between.len();
                if !attempts.between.stands(text.as_bytes(), at)
                    || text.as_bytes().get(next) != Some(&b'{')
                {
                    break;
                }
                at = next;
            }
            let mut outside = Outside { draft, found: &mut found };
            at = attempts.tail.read(text, at, in_line, runs, &mut outside)?;
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
    /// Of the text in `range`, which no value crosses. `runs` is how many runs there are before it, and then with it.
    fn of(text: &str, leaves: &[Leaf], range: Range<usize>, runs: &mut usize) -> Option<Steps> {
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
            let before = Text::of(&text[at..leaf.from]);
            steps.push(Step::Value { before, depth: leaf.depth, taken: leaf.taken });
            at = leaf.to;
        }
        if let Some((from, first)) = same {
            insert_same(&mut steps, first, &text[from..at]);
        }
        let steps = with_runs(steps, runs);
        Some(Steps { steps, end: Text::of(&text[at..range.end]) })
    }

    /// Apart: what is before the members of [`SAID`], these, and what is behind; all in the first if they do not stand
    /// side by side.
    fn around_said(mut self) -> [Steps; 3] {
        let is_said = |step: &Step| matches!(step, Step::Value { taken: Taken::Detail(member), .. } if SAID.contains(member));
        let first = self.steps.iter().position(is_said).unwrap_or(0);
        let n = self.steps[first..].iter().take_while(|step| is_said(step)).count();
        // Each stands there once.
        if n < SAID.len() {
            return [self, Steps::default(), Steps::default()];
        }
        let rest = self.steps.split_off(first + n);
        let said = self.steps.split_off(first);
        let end = std::mem::take(&mut self.end);
        [self, Steps { steps: said, end: Text::default() }, Steps { steps: rest, end }]
    }

    /// Whether no line break stands in it.
    fn in_line(&self) -> bool {
        let in_line = |text: &Text| !text.all.contains(&b'\n');
        in_line(&self.end)
            && self.steps.iter().all(|step| match step {
                Step::Same { text, .. } => in_line(text),
                Step::Value { before, .. } => in_line(before),
                Step::Run { values, .. } => values.in_line(),
            })
    }

    /// Reads on from `at` past values that are all skipped, and notes what they are.
    #[inline(never)]
    fn pass(&self, text: &str, at: usize, in_line: bool, met: &mut Memo<()>) -> Option<usize> {
        let after = self.read(text, at, in_line, &mut [], &mut Nowhere)?;
        met.note(text.as_bytes(), at..after, RUN_CLUE, |_| Some(()));
        Some(after)
    }

    /// Reads on from `at`; hands each value that is taken to `take`. The offset behind the last; None where anything
    /// differs, or where a value is of a kind that the strict reader must look at.
    #[inline(always)]
    fn read<'a>(
        &self,
        text: &'a str,
        mut at: usize,
        in_line: bool,
        runs: &mut [Memo<()>],
        take: &mut impl Take<'a>,
    ) -> Option<usize> {
        let bytes = text.as_bytes();
        let mut steps = self.steps.iter();
        while let Some(step) = steps.next() {
            match step {
                Step::Same { text: same, steps: n } => {
                    if same.stands(bytes, at) {
                        at += same.len();
                        // One of `n` is passed by the call itself.
                        steps.nth(n - 1);
                    }
                }
                Step::Value { before, depth, taken } => {
                    let window = bytes.get(at..).and_then(<[u8]>::first_chunk);
                    if let Some(window) = window
                        && let Some(len) = before.short_in(window)
                        && let Some(n) = near(window, len, text, at, *taken, take)
                    {
                        at += len + n;
                        continue;
                    }
                    if !before.stands(bytes, at) {
                        return None;
                    }
                    at += before.len();
                    let mut cursor = Cursor::inside(text, at, *depth);
                    if *taken == Taken::Skipped {
                        cursor.skip().ok()?;
                    } else {
                        take.other(cursor.scalar().ok()?, *taken)?;
                    }
                    if in_line && bytes[at..cursor.pos()].contains(&b'\n') {
                        return None;
                    }
                    // Blanks before a value belong to what stands between values.
                    at = cursor.pos();
                }
                Step::Run { values, place } => {
                    let met = runs.get_mut(*place)?;
                    at = match met.find(&bytes[at..], RUN_CLUE) {
                        Some((len, ())) => at + len,
                        None => values.pass(text, at, in_line, met)?,
                    };
                }
            }
        }
        self.end.stands(bytes, at).then(|| at + self.end.len())
    }
}

/// Where values go. None where one is of a kind that the strict reader must look at.
trait Take<'a> {
    fn plain(&mut self, value: Plain<'a>, taken: Taken) -> Option<()>;
    fn other(&mut self, value: Scalar<'a>, taken: Taken) -> Option<()>;
}

/// Values that stand outside of attempts.
struct Outside<'d, 'a> {
    draft: &'d mut Draft<'a>,
    found: &'d mut Found<'a>,
}

/// Values of an attempt.
struct OfAttempt<'d, 'a> {
    attempt: &'d mut Attempt<'a>,
    has: DetailFound,
}

/// No value is taken.
struct Nowhere;

impl<'a> Take<'a> for Nowhere {
    fn plain(&mut self, _: Plain<'a>, _: Taken) -> Option<()> {
        Some(())
    }

    fn other(&mut self, _: Scalar<'a>, _: Taken) -> Option<()> {
        Some(())
    }
}

impl<'a> Take<'a> for OfAttempt<'_, 'a> {
    #[inline(always)]
    fn plain(&mut self, value: Plain<'a>, taken: Taken) -> Option<()> {
        let Taken::Detail(member) = taken else { return Some(()) };
        self.has.take_plain(member, value, self.attempt)
    }

    fn other(&mut self, value: Scalar<'a>, taken: Taken) -> Option<()> {
        let Taken::Detail(member) = taken else { return Some(()) };
        self.has.take(member, value, self.attempt).ok()
    }
}

impl<'a> Take<'a> for Outside<'_, 'a> {
    #[inline(always)]
    fn plain(&mut self, value: Plain<'a>, taken: Taken) -> Option<()> {
        let record = &mut self.draft.record;
        match (taken, value) {
            (Taken::RequestId, Plain::Text(text)) => record.request_id = Some(text.into()),
            (Taken::Extra, Plain::Text(text)) => record.extra = Some(text.into()),
            (Taken::ErrCode, Plain::Whole(_, code)) => record.err_code = Some(code),
            (taken, value) => return self.other(value.into(), taken),
        }
        Some(())
    }

    fn other(&mut self, value: Scalar<'a>, taken: Taken) -> Option<()> {
        let record = &mut self.draft.record;
        let text = |value: Scalar<'a>| match value {
            Scalar::Text(text) => Some(Some(text)),
            Scalar::Null => Some(None),
            _ => None,
        };
        match taken {
            Taken::Skipped | Taken::Detail(_) => {}
            Taken::ErrCode => record.err_code = code(value).ok()?,
            Taken::Extra => record.extra = text(value)?,
            Taken::RequestId => record.request_id = text(value)?,
            Taken::IsVerifyIntention => match value {
                Scalar::Bool(yes) => record.is_verify_intention = yes,
                Scalar::Null => {}
                _ => return None,
            },
            // Its offset would be told only with a fault, and then the strict reader tells it.
            Taken::Envelope(slot) if slot != Slot::Response => self.found.set(slot, 0, value),
            Taken::Envelope(_) => {}
        }
        Some(())
    }
}

fn insert_same(steps: &mut Vec<Step>, first: usize, text: &str) {
    let n = steps.len() - first;
    // Of one short word the comparison would be made twice; of an empty array or object the cursor would be asked.
    if n > 1 || text.ends_with([']', '}']) {
        steps.insert(first, Step::Same { text: Text::of(text), steps: n });
    }
}

/// Members, of `Text` mostly, that say what became of the flow and how it was checked: of each there are few values.
/// Source: FaceID API 2018-03-01, `DetectInfoText`.
const OF_FEW_VALUES: [&str; 9] = [
    "ErrMsg",
    "UseIDType",
    "LiveStatus",
    "LiveMsg",
    "Comparestatus",
    "Comparemsg",
    "CompareLibType",
    "LivenessMode",
    "NFCBillingCounts",
];

/// The steps, with those of two and more such members side by side in one; what is mostly the same may stand between.
fn with_runs(steps: Vec<Step>, runs: &mut usize) -> Vec<Step> {
    let mut all: Vec<Step> = Vec::with_capacity(steps.len());
    // Where in `all` the last run begins and ends, and how many such members are in it.
    let (mut run, mut members) = (0..0, 0);
    let mut close = |all: &mut Vec<Step>, run: Range<usize>, members: usize| {
        if members > 1 {
            let values = all.drain(run.clone()).collect();
            let values = Box::new(Steps { steps: values, end: Text::default() });
            all.insert(run.start, Step::Run { values, place: *runs });
            *runs += 1;
        }
    };
    let mut same = 0;
    for step in steps {
        let goes_on = match &step {
            Step::Same { steps, .. } => {
                same = *steps;
                members > 0
            }
            Step::Value { .. } if same > 0 => {
                same -= 1;
                members > 0
            }
            Step::Value { before, taken: Taken::Skipped, .. } if before.names(&OF_FEW_VALUES) => {
                if members == 0 {
                    run.start = all.len();
                }
                members += 1;
                run.end = all.len() + 1;
                true
            }
            _ => false,
        };
        if !goes_on && members > 0 {
            close(&mut all, run.clone(), members);
            members = 0;
        }
        all.push(step);
    }
    close(&mut all, run, members);
    all
}

/// Takes a string without escapes, a null, a truth value, or a whole number of few digits, which begins at `from`
/// of the window that lies at `at` of the text; gives how long it is. None for anything else, which need not be wrong.
#[inline(always)]
fn near<'a>(
    window: &[u8; WINDOW],
    from: usize,
    text: &'a str,
    at: usize,
    taken: Taken,
    take: &mut impl Take<'a>,
) -> Option<usize> {
    let from = from % SHORT;
    let stops = |at: usize| stops_in(window[at..].first_chunk().copied().unwrap_or_default());
    match window[from] {
        b'"' => {
            let begin = from + 1;
            let end = match stops(begin) {
                0 => match stops(begin + BLOCK) {
                    0 => {
                        let end = plain_string_end(text, at + from)?;
                        if taken != Taken::Skipped {
                            take.plain(Plain::Text(&text[at + begin..end]), taken)?;
                        }
                        return Some(end + 1 - at - from);
                    }
                    stops => begin + BLOCK + stops.trailing_zeros() as usize,
                },
                stops => begin + stops.trailing_zeros() as usize,
            };
            (window[end % WINDOW] == b'"').then_some(())?;
            if taken != Taken::Skipped {
                take.plain(Plain::Text(text.get(at + begin..at + end)?), taken)?;
            }
            Some(end + 1 - from)
        }
        b'0'..=b'9' => {
            let (mut n, mut number) = (0, 0);
            while n < DIGITS_FEW
                && let digit @ b'0'..=b'9' = window[from + n]
            {
                number = number * 10 + i64::from(digit - b'0');
                n += 1;
            }
            // A zero before others, a fraction, an exponent: the cursor looks at them.
            let whole = matches!(window[from + n], b',' | b'}') && (n == 1 || window[from] != b'0');
            whole.then_some(())?;
            if taken != Taken::Skipped {
                take.plain(Plain::Whole(text.get(at + from..at + from + n)?, number), taken)?;
            }
            Some(n)
        }
        first => {
            // Each compared by itself: of a length that is known, that is one comparison of numbers.
            let rest = &window[from..];
            let (len, value) = match first {
                b'n' if rest.starts_with(b"null") => (4, Plain::Null),
                b't' if rest.starts_with(b"true") => (4, Plain::Bool(true)),
                b'f' if rest.starts_with(b"false") => (5, Plain::Bool(false)),
                _ => return None,
            };
            if taken != Taken::Skipped {
                take.plain(value, taken)?;
            }
            Some(len)
        }
    }
}

/// Digits of a number that is read at once.
const DIGITS_FEW: usize = 10;

/// Members by which the service says what became of an attempt, by their places in `DETAIL_MEMBERS`: `IsNeedCharge` to
/// `Comparemsg`. What they say together is one of a few things.
const SAID: Range<u32> = 2..9;

/// What a reader has met that it is likely to meet again.
#[derive(Clone, Debug)]
pub struct Met {
    said: Memo<Answer>,
    /// Of each run of the template.
    runs: Vec<Memo<()>>,
}

impl Met {
    fn of(template: &Template) -> Met {
        Met { said: Memo::default(), runs: vec![Memo::default(); template.runs] }
    }
}

/// Texts met in one place of records, by a hash of how they begin, and what was taken of each.
#[derive(Clone, Debug)]
struct Memo<T> {
    each: Vec<Option<Box<Told<T>>>>,
    found: u64,
    missed: u64,
}

#[derive(Clone, Debug)]
struct Told<T> {
    /// With the byte behind it, which a number may end by.
    text: Box<[u8]>,
    value: T,
}

/// What the service said of an attempt.
#[derive(Clone, Debug)]
struct Answer {
    alike: Alike,
    is_need_charge: Option<bool>,
    codes: [Option<i32>; 3],
    /// Where the messages stand in the text.
    messages: [Option<Range<usize>>; 3],
}

/// Things that are held.
const MET_MAX: usize = 64;

/// Bytes of one at most.
const MET_BYTES_MAX: usize = 1024;

/// So many are read before one is held: the reader of a small object does not come to it.
const MET_AFTER: u64 = 16;

/// Bytes behind which what is said begins to differ, and bytes that tell which it is.
const SAID_CLUE: Range<usize> = 16..48;

/// The same of a run: a status, its message, and the status behind it.
const RUN_CLUE: Range<usize> = 14..62;

impl<T> Default for Memo<T> {
    fn default() -> Memo<T> {
        Memo { each: Vec::new(), found: 0, missed: 0 }
    }
}

impl<T: Clone> Memo<T> {
    /// The text that stands at the beginning of `rest`, if it was met before: its length and what was taken of it.
    #[inline(always)]
    fn find(&mut self, rest: &[u8], clue: Range<usize>) -> Option<(usize, &T)> {
        if self.each.is_empty() {
            return None;
        }
        let place = place_of(rest, clue)?;
        let told = self.each[place].as_ref().filter(|told| rest.starts_with(&told.text))?;
        self.found += 1;
        Some((told.text.len() - 1, &told.value))
    }

    /// Keeps the text in `range`, of which `value` tells what was taken, if it is likely to come again.
    fn note(
        &mut self,
        bytes: &[u8],
        range: Range<usize>,
        clue: Range<usize>,
        value: impl FnOnce(&[u8]) -> Option<T>,
    ) {
        self.missed += 1;
        // Where each is another, to keep it is for nothing.
        if self.missed <= MET_AFTER || self.missed > 4 * MET_MAX as u64 + self.found / 2 {
            return;
        }
        let place = place_of(&bytes[range.start..], clue);
        let text = bytes.get(range.start..range.end + 1);
        let text = text.filter(|text| text.len() <= MET_BYTES_MAX && !text.contains(&b'\n'));
        if let (Some(place), Some(text)) = (place, text)
            && let Some(value) = value(text)
        {
            self.each.resize(MET_MAX, None);
            self.each[place] = Some(Box::new(Told { text: text.into(), value }));
        }
    }
}

impl Memo<Answer> {
    /// Takes what is said at `at` if it was met before; the offset behind it.
    #[inline(always)]
    fn take<'a>(&mut self, text: &'a str, at: usize, attempt: &mut Attempt<'a>) -> Option<usize> {
        let (len, said) = self.find(text.as_bytes().get(at..)?, SAID_CLUE)?;
        let message = |range: &Option<Range<usize>>| match range {
            Some(range) => text.get(at + range.start..at + range.end).map(Cow::Borrowed),
            None => None,
        };
        attempt.alike = said.alike;
        attempt.is_need_charge = said.is_need_charge;
        [attempt.errcode, attempt.livestatus, attempt.comparestatus] = said.codes;
        attempt.errmsg = message(&said.messages[0]);
        attempt.livemsg = message(&said.messages[1]);
        attempt.comparemsg = message(&said.messages[2]);
        Some(at + len)
    }

    /// Keeps what was said in `range`, which has been read into the attempt.
    fn keep(&mut self, text: &str, range: Range<usize>, attempt: &Attempt<'_>) {
        self.note(text.as_bytes(), range, SAID_CLUE, |said| {
            let place = |message: &Option<Cow<'_, str>>| match message {
                None => Some(None),
                Some(Cow::Borrowed(message)) => {
                    let from = (message.as_ptr() as usize).checked_sub(said.as_ptr() as usize)?;
                    Some(Some(from..from + message.len()))
                }
                // What had escapes is read again.
                Some(Cow::Owned(_)) => None,
            };
            let messages =
                [place(&attempt.errmsg)?, place(&attempt.livemsg)?, place(&attempt.comparemsg)?];
            Some(Answer {
                alike: Alike::next(),
                is_need_charge: attempt.is_need_charge,
                codes: [attempt.errcode, attempt.livestatus, attempt.comparestatus],
                messages,
            })
        });
    }
}

/// Where among those that are held what begins like `text` would be.
#[inline(always)]
fn place_of(text: &[u8], clue: Range<usize>) -> Option<usize> {
    let (words, _) = text.get(clue)?.as_chunks::<8>();
    let mixed = words.iter().fold(0, |mixed: u64, word| {
        (mixed.rotate_left(23) ^ u64::from_le_bytes(*word)).wrapping_mul(0x9E37_79B9_7F4A_7C15)
    });
    Some((mixed >> (u64::BITS - MET_MAX.ilog2())) as usize)
}

/// A template, and what its reader has met.
#[derive(Clone, Debug)]
pub struct Known {
    template: Arc<Template>,
    met: Met,
}

impl From<&Arc<Template>> for Known {
    fn from(template: &Arc<Template>) -> Known {
        Known { template: template.clone(), met: Met::of(template) }
    }
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
    pub fn templates(&self) -> Vec<Known> {
        let templates = self.templates.read().unwrap_or_else(PoisonError::into_inner);
        templates.iter().map(Known::from).collect()
    }

    /// Whether a record that no template reads is one to learn from.
    pub fn curious(&self) -> bool {
        let missed = self.missed.fetch_add(1, Ordering::Relaxed);
        self.tried.load(Ordering::Relaxed) < TEMPLATES_MAX as u64
            || missed.is_multiple_of(MISSED_EACH)
    }

    /// Makes a template of a record if it can; gives those there are then.
    pub fn learn(&self, text: &str, draft: &Draft<'_>, enveloped: bool) -> Option<Vec<Known>> {
        self.tried.fetch_add(1, Ordering::Relaxed);
        let template = Template::of(text, draft, enveloped)?;
        let mut templates = self.templates.write().unwrap_or_else(PoisonError::into_inner);
        // Another worker may have learned it meanwhile.
        let reads = |known: &Arc<Template>| {
            known.read(text, false, &mut Met::of(known), &mut Draft::default()).is_some()
        };
        if !templates.iter().any(reads) {
            templates.truncate(TEMPLATES_MAX - 1);
            templates.insert(0, Arc::new(template));
        }
        Some(templates.iter().map(Known::from).collect())
    }
}

/// Reads the record at the beginning of `text` by one of the templates, which then comes first; the offset behind it.
/// The draft is emptied before; when none can, what it holds is nothing to rely on.
#[inline]
pub fn read<'a>(
    templates: &mut [Known],
    text: &'a str,
    in_line: bool,
    draft: &mut Draft<'a>,
) -> Option<usize> {
    for place in 0..templates.len() {
        let Known { template, met } = &mut templates[place];
        draft.clear();
        if let Some(after) = template.read(text, in_line, met, draft) {
            if place > 0 {
                templates[..=place].rotate_right(1);
            }
            return Some(after);
        }
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

    fn steps_of(members: &[(&str, &str)]) -> Vec<&'static str> {
        let (mut text, mut leaves) = (String::new(), Vec::new());
        for (name, value) in members {
            text.push_str(&format!(",\"{name}\" : "));
            leaves.push(leaf(text.len(), text.len() + value.len(), Taken::Skipped));
            text.push_str(value);
        }
        let mut runs = 0;
        let steps = Steps::of(&text, &leaves, 0..text.len(), &mut runs).expect("steps");
        let found = steps.steps.iter().filter(|step| matches!(step, Step::Run { .. })).count();
        assert_eq!(found, runs);
        let name = |step: &Step| match step {
            Step::Same { .. } => "same",
            Step::Value { .. } => "value",
            Step::Run { values, .. } => {
                ["", "", "run of 2", "run of 3", "4", "run of 5"][values.steps.len()]
            }
        };
        steps.steps.iter().map(name).collect()
    }

    #[test]
    fn members_of_few_values_side_by_side_are_a_run() {
        let status = ("LiveStatus", "0");
        let message = ("LiveMsg", "\"x\"");
        let (person, nothing) = (("Name", "\"n\""), ("Mobile", "null"));
        assert_eq!(steps_of(&[status]), ["value"]);
        assert_eq!(steps_of(&[person, status, message, person]), ["value", "run of 2", "value"]);
        assert_eq!(steps_of(&[status, person, message]), ["value", "value", "value"]);
        // What is mostly the same stands inside of a run, with the step that says so, but not at its ends.
        assert_eq!(
            steps_of(&[nothing, nothing, status, nothing, nothing, message, nothing, nothing]),
            ["same", "value", "value", "run of 5", "same", "value", "value"]
        );
        assert_eq!(
            steps_of(&[status, message, person, message, status, status]),
            ["run of 2", "value", "run of 3"]
        );
    }

    #[test]
    fn text_is_compared_to_its_last_byte() {
        for n in 0..70 {
            let wanted = "abcdefghijklmnopqrstuvwxyz0123456789".repeat(2)[..n].to_owned();
            let mut window = [b'y'; WINDOW];
            let len = n.min(WINDOW);
            window[..len].copy_from_slice(&wanted.as_bytes()[..len]);
            let text = format!("xx{wanted}yy");
            let wanted = Text::of(&wanted);
            assert!(wanted.stands(text.as_bytes(), 2));
            assert!(n == 0 || !wanted.stands(&text.as_bytes()[..n + 1], 2));
            assert_eq!(wanted.short_in(&window), (n < SHORT).then_some(n));
            for i in 0..n {
                let mut other = text.clone().into_bytes();
                other[2 + i] = b'#';
                assert!(!wanted.stands(&other, 2), "{n} {i}");
                let mut other = window;
                other[i.min(WINDOW - 1)] = b'#';
                assert_eq!(wanted.short_in(&other), None, "{n} {i}");
            }
        }
    }
}
