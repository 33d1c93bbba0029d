//! The full join by Seq of our attempts with the provider's own list (`GetWeChatBillDetails`).
//!
//! Takes the list once, then our rows one by one, on any number of threads; gives counts, groups, every Seq that does not
//! agree, and the facts that explain differences of counts. Memory: 56 bytes for each Seq of the list that is a UUID (twice
//! that while the list is sorted), and about 250 for each of ours that does not agree: its object key is held with it. Of
//! ours that agrees nothing is held.

use super::{Found, OurRow, UNMAPPED};
use crate::model::{
    PartKind, ProviderAttempt, SeqDifference, SeqGroup, SeqJoin, SeqStatus, UsageDay, UsageMonth,
    plural,
};
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// Differences that [`SeqJoin::differences`] holds; all of them come from [`SeqOutcome::differences`].
pub const DIFFERENCES_MAX: usize = 10_000;

/// Seqs of the list that stand twice and say different things: so many are named.
const CONFLICTS_NAMED: usize = 5;

/// A flow lives two hours (the reconciliation guide, page 1007/103606): so far may attempts of a day's flows lie outside it.
const FLOW_MS: i64 = 2 * 3_600_000;
const DAY_MS: i64 = 86_400_000;
const HOUR_MS: i64 = 3_600_000;

/// What the provider's list speaks of.
#[derive(Clone, Debug, Default)]
pub struct ListScope {
    /// The account whose list it is.
    pub account: String,
    /// Tag codes, each with the channels the list covers; None: all channels of the tag.
    pub tags: BTreeMap<String, Option<BTreeSet<String>>>,
    /// Days the list was asked for. None: the days of which it holds an attempt further than two hours from either
    /// midnight, because attempts nearer to it may belong to flows of the neighbouring day.
    pub days: Option<BTreeSet<UsageDay>>,
    /// Months whose Seqs are counted and told; None: all. What stands beside them is for the midnights around them.
    pub months: Option<BTreeSet<UsageMonth>>,
}

impl ListScope {
    /// Whether a Seq of that day is counted.
    fn counts(&self, day: UsageDay) -> bool {
        self.months.as_ref().is_none_or(|months| months.contains(&day.month()))
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SeqError {
    #[error("the provider's list holds more than 2^32 attempts: reconcile it month by month")]
    TooMany,
}

/// A Seq, held small: order is that of the text.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Key {
    /// A UUID in small letters.
    Uuid([u8; 16]),
    Text(Box<str>),
}

impl Key {
    fn of(text: &str) -> Key {
        uuid(text.as_bytes()).map_or_else(|| Key::Text(text.into()), Key::Uuid)
    }
}

/// The bits of a UUID in small letters; of any other text None.
fn uuid(text: &[u8]) -> Option<[u8; 16]> {
    if text.len() != 36 || [8, 13, 18, 23].iter().any(|dash| text[*dash] != b'-') {
        return None;
    }
    let worth = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut bits = [0; 16];
    let mut at = 0;
    for byte in &mut bits {
        if matches!(at, 8 | 13 | 18 | 23) {
            at += 1;
        }
        *byte = worth(text[at])? << 4 | worth(text[at + 1])?;
        at += 2;
    }
    Some(bits)
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Key::Text(text) => f.write_str(text),
            Key::Uuid(bits) => {
                for (place, byte) in bits.iter().enumerate() {
                    let dash = if matches!(place, 4 | 6 | 8 | 10) { "-" } else { "" };
                    write!(f, "{dash}{byte:02x}")?;
                }
                Ok(())
            }
        }
    }
}

impl Ord for Key {
    fn cmp(&self, other: &Key) -> Ordering {
        match (self, other) {
            (Key::Uuid(a), Key::Uuid(b)) => a.cmp(b),
            (Key::Text(a), Key::Text(b)) => a.cmp(b),
            _ => self.to_string().cmp(&other.to_string()),
        }
    }
}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Key) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Names by number, each held once.
#[derive(Debug, Default)]
struct Names {
    names: Vec<Arc<str>>,
    numbers: HashMap<Arc<str>, u32>,
}

impl Names {
    fn number(&mut self, name: &str) -> Result<u32, SeqError> {
        if let Some(number) = self.numbers.get(name) {
            return Ok(*number);
        }
        let number = u32::try_from(self.names.len()).map_err(|_| SeqError::TooMany)?;
        let name: Arc<str> = name.into();
        self.names.push(name.clone());
        self.numbers.insert(name, number);
        Ok(number)
    }
}

/// One attempt of the list.
#[derive(Debug)]
struct Listed {
    req_time: i64,
    row: i64,
    file: u32,
    /// Numbers of names; `NONE` without one.
    rule: u32,
    charge: bool,
    /// Whether one of ours has met it.
    seen: AtomicBool,
}

const NONE: u32 = u32::MAX;

/// The provider's list, ready to be met.
#[derive(Debug)]
pub struct SeqJoiner {
    scope: ListScope,
    days: BTreeSet<UsageDay>,
    keys: Vec<Key>,
    listed: Vec<Listed>,
    /// Where the Seqs begin whose first sixteen bits are so much, for UUIDs: the search has a short way then.
    starts: Vec<u32>,
    names: Names,
    /// Whether the list holds attempts that are not charged.
    lists_free: bool,
    /// Seqs that stand twice in the list and say different things.
    conflicts: i64,
    warnings: Vec<String>,
    /// Tag codes of rules of which ours has attempts of one tag alone, once all of ours has been seen.
    tags: BTreeMap<Box<str>, Option<Box<str>>>,
}

/// What one thread saw of ours.
#[derive(Debug, Default)]
pub struct SeqSeen {
    /// By rule (empty: none) and hour.
    agree: BTreeMap<Box<str>, [i64; 24]>,
    /// By rule the tag code of its attempts; None where they have several.
    tags: BTreeMap<Box<str>, Option<Box<str>>>,
    differences: Vec<Difference>,
    facts: BTreeMap<Place, BTreeMap<(PartKind, bool), Found>>,
}

/// A day, and a tag code where it is known.
type Place = (UsageDay, Option<String>);

#[derive(Debug)]
struct Difference {
    key: Key,
    status: SeqStatus,
    ours: Option<Box<OurSide>>,
    /// Place in the list.
    listed: Option<u32>,
}

#[derive(Debug)]
struct OurSide {
    req_time: i64,
    charge: Option<bool>,
    tag: Box<str>,
    rule: Option<Box<str>>,
    source_key: Box<str>,
    source_record: i64,
}

impl SeqJoiner {
    /// Takes the list, in the order of its files and rows: where a Seq stands twice and says different things, the later one
    /// counts, and a warning tells it.
    pub fn new(
        list: impl IntoIterator<Item = ProviderAttempt>,
        scope: ListScope,
    ) -> Result<SeqJoiner, SeqError> {
        let mut names = Names::default();
        let mut rows: Vec<(Key, Listed)> = Vec::new();
        let mut inferred = BTreeSet::new();
        let mut lists_free = false;
        for attempt in list {
            let day = UsageDay::of_instant(attempt.req_time);
            let into_day = attempt.req_time - day.begin_ms();
            if (FLOW_MS..DAY_MS - FLOW_MS).contains(&into_day) {
                inferred.insert(day);
            }
            lists_free |= !attempt.is_need_charge;
            let rule = attempt.rule_id.as_deref().map_or(Ok(NONE), |rule| names.number(rule))?;
            let listed = Listed {
                req_time: attempt.req_time,
                row: attempt.source_row,
                file: names.number(&attempt.source_file)?,
                rule,
                charge: attempt.is_need_charge,
                seen: AtomicBool::new(false),
            };
            rows.push((Key::of(&attempt.seq), listed));
        }
        if u32::try_from(rows.len()).is_err() {
            return Err(SeqError::TooMany);
        }
        // Stable: of the same Seq the later stays behind the earlier.
        rows.sort_by(|a, b| a.0.cmp(&b.0));
        let (mut keys, mut listed) = (Vec::with_capacity(rows.len()), Vec::<Listed>::new());
        let (mut conflicts, mut named) = (BTreeSet::new(), Vec::new());
        let mut conflicts_total = 0_i64;
        for (key, attempt) in rows {
            if keys.last() == Some(&key)
                && let Some(last) = listed.last_mut()
            {
                let facts = |a: &Listed| (a.req_time, a.charge, a.rule);
                if facts(last) != facts(&attempt) && conflicts.insert(keys.len()) {
                    conflicts_total += 1;
                    if named.len() < CONFLICTS_NAMED {
                        named.push(key.to_string());
                    }
                }
                *last = attempt;
                continue;
            }
            keys.push(key);
            listed.push(attempt);
        }
        let mut warnings = Vec::new();
        if conflicts_total > 0 {
            warnings.push(format!(
                "{} twice in the provider's list, with different things said; the later row counts: {}",
                plural(conflicts_total.unsigned_abs(), "Seq"),
                named.join(", ")
            ));
        }
        if !lists_free && !listed.is_empty() {
            warnings.push(
                "the provider's list holds charged attempts alone: free attempts of ours that it lacks are no difference"
                    .into(),
            );
        }
        let days = scope.days.clone().unwrap_or(inferred);
        let mut starts = vec![0_u32; (1 << 16) + 1];
        let mut at = 0;
        for (high, start) in starts.iter_mut().enumerate() {
            let text = format!("{high:04x}");
            while high < 1 << 16
                && keys.get(at).is_some_and(|key| less_than_prefix(key, &text, high as u16))
            {
                at += 1;
            }
            *start = if high < 1 << 16 { at as u32 } else { keys.len() as u32 };
        }
        Ok(SeqJoiner {
            scope,
            days,
            keys,
            listed,
            starts,
            names,
            lists_free,
            conflicts: conflicts_total,
            warnings,
            tags: BTreeMap::new(),
        })
    }

    /// Whether the list covers a day: it has an attempt on it that is not near a midnight, where it may be of the day
    /// beside.
    pub fn covers(&self, day: UsageDay) -> bool {
        self.days.contains(&day)
    }

    /// Distinct Seqs of the list.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The days of ours that have to be shown: those the list covers or names, and their neighbours, on which its attempts
    /// may stand with us.
    pub fn days(&self) -> BTreeSet<UsageDay> {
        let listed = self.listed.iter().map(|listed| UsageDay::of_instant(listed.req_time));
        let days: BTreeSet<UsageDay> = listed.chain(self.days.iter().copied()).collect();
        days.iter().flat_map(|day| [day.plus(-1), *day, day.plus(1)]).collect()
    }

    /// Whether a Seq stands in the list.
    pub fn holds(&self, seq: &str) -> bool {
        self.find(&Key::of(seq)).is_some()
    }

    fn find(&self, key: &Key) -> Option<usize> {
        let range = match key {
            Key::Uuid(bits) => {
                let high = usize::from(u16::from_be_bytes([bits[0], bits[1]]));
                self.starts[high] as usize..self.starts[high + 1] as usize
            }
            Key::Text(_) => 0..self.keys.len(),
        };
        self.keys[range.clone()].binary_search(key).ok().map(|at| range.start + at)
    }

    /// Holds one of ours against the list; each row once. On any thread, with what that thread saw.
    pub fn see(&self, row: &OurRow<'_>, seen: &mut SeqSeen, seqs_max: usize) {
        let day = UsageDay::of_instant(row.req_time);
        if row.account == self.scope.account {
            seen.note_tag(row.rule_id, row.billing_tag_code);
        }
        let key = Key::of(row.seq);
        let Some(at) = self.find(&key) else {
            let scope = self.scope.tags.get(row.billing_tag_code);
            let covered = scope.is_some_and(|channels| {
                channels.as_ref().is_none_or(|channels| {
                    row.channel.is_some_and(|channel| channels.contains(channel))
                })
            });
            let told = row.charge == Some(true) || self.lists_free;
            if covered && told && row.account == self.scope.account && self.days.contains(&day) {
                if row.charge == Some(true) {
                    let tag = row.billing_tag_code;
                    seen.fact(day, Some(tag), PartKind::OursOnly, false, row.seq, seqs_max);
                }
                if self.scope.counts(day) {
                    seen.differ(key, SeqStatus::OursOnly, row, None);
                }
            }
            return;
        };
        let listed = &self.listed[at];
        listed.seen.store(true, Relaxed);
        let their_day = UsageDay::of_instant(listed.req_time);
        let mut fact = |day, kind, more| {
            seen.fact(day, Some(row.billing_tag_code), kind, more, row.seq, seqs_max);
        };
        match (row.charge, listed.charge) {
            (Some(true), true) if day != their_day => {
                fact(day, PartKind::Midnight, false);
                fact(their_day, PartKind::Midnight, true);
            }
            (Some(true), false) => fact(day, PartKind::FlagDiffers, false),
            (Some(false), true) => fact(their_day, PartKind::FlagDiffers, true),
            (None, true) => fact(their_day, PartKind::UnknownFlag, true),
            (None, false) => fact(day, PartKind::UnknownFlag, false),
            _ => {}
        }
        if !self.scope.counts(day) && !self.scope.counts(their_day) {
            return;
        }
        if row.charge != Some(listed.charge) {
            seen.differ(key, SeqStatus::FlagDiffers, row, Some(at as u32));
        } else if day != their_day {
            seen.differ(key, SeqStatus::DayDiffers, row, Some(at as u32));
        } else {
            seen.agree(row);
        }
    }

    /// Once all of ours has been seen.
    pub fn finish(mut self, mut seen: SeqSeen, seqs_max: usize) -> SeqOutcome {
        self.tags = std::mem::take(&mut seen.tags);
        for (at, listed) in self.listed.iter().enumerate().filter(|(_, l)| !l.seen.load(Relaxed)) {
            let key = self.keys[at].clone();
            let day = UsageDay::of_instant(listed.req_time);
            if listed.charge {
                let tag = self.tag_of_rule(listed);
                let kind = PartKind::ProviderOnly;
                seen.fact(day, tag, kind, true, &key.to_string(), seqs_max);
            }
            if self.scope.counts(day) {
                let (status, listed) = (SeqStatus::ProviderOnly, Some(at as u32));
                seen.differences.push(Difference { key, status, ours: None, listed });
            }
        }
        seen.differences.sort_by(|a, b| a.key.cmp(&b.key));
        let mut join = SeqJoin::default();
        let mut groups: BTreeMap<(Option<String>, i8, SeqStatus), i64> = BTreeMap::new();
        for (rule, hours) in &seen.agree {
            for (hour, count) in (0_i8..).zip(hours).filter(|(_, count)| **count > 0) {
                join.agree += count;
                let rule = Some(rule.to_string()).filter(|rule| !rule.is_empty());
                groups.insert((rule, hour, SeqStatus::Agree), *count);
            }
        }
        for difference in &seen.differences {
            let told = self.told(difference);
            *match told.status {
                SeqStatus::Agree => &mut join.agree,
                SeqStatus::FlagDiffers => &mut join.flag_differs,
                SeqStatus::DayDiffers => &mut join.day_differs,
                SeqStatus::OursOnly => &mut join.ours_only,
                SeqStatus::ProviderOnly => &mut join.provider_only,
            } += 1;
            *groups.entry((told.rule_id.clone(), told.hour, told.status)).or_default() += 1;
            if join.differences.len() < DIFFERENCES_MAX {
                join.differences.push(told);
            }
        }
        join.differences_total = seen.differences.len() as i64;
        join.groups = groups
            .into_iter()
            .map(|((rule_id, hour, status), count)| SeqGroup { rule_id, hour, status, count })
            .collect();
        let facts = SeqFacts {
            account: self.scope.account.clone(),
            days: self.days.clone(),
            tags: self.scope.tags.clone(),
            facts: seen.facts,
        };
        let (conflicts, warnings) = (self.conflicts, self.warnings.clone());
        let differences = Differences { joiner: self, differences: seen.differences };
        SeqOutcome { join, differences, facts, conflicts, warnings }
    }

    /// That none is known of ours tells nothing.
    fn tag_of_rule(&self, listed: &Listed) -> Option<&str> {
        let tag = self.tags.get(self.name(listed.rule)?)?.as_deref();
        tag.filter(|tag| *tag != UNMAPPED)
    }

    fn name(&self, number: u32) -> Option<&str> {
        self.names.names.get(number as usize).map(AsRef::as_ref)
    }

    fn told(&self, difference: &Difference) -> SeqDifference {
        let listed = difference.listed.map(|at| &self.listed[at as usize]);
        let ours = difference.ours.as_deref();
        let time = ours.map(|o| o.req_time).or(listed.map(|l| l.req_time)).unwrap_or_default();
        let hour = hour_of(time);
        let day = |time: i64| UsageDay::of_instant(time).to_string();
        let their = |number: fn(&Listed) -> u32| listed.and_then(|l| self.name(number(l)));
        SeqDifference {
            seq: difference.key.to_string(),
            status: difference.status,
            ours_day: ours.map(|o| day(o.req_time)),
            provider_day: listed.map(|l| day(l.req_time)),
            ours_charge: ours.and_then(|o| o.charge),
            provider_charge: listed.map(|l| l.charge),
            billing_tag: ours
                .map(|o| &*o.tag)
                .or_else(|| self.tag_of_rule(listed?))
                .map(str::to_owned),
            rule_id: ours.and_then(|o| o.rule.as_deref()).or(their(|l| l.rule)).map(str::to_owned),
            hour,
            source_key: ours.map(|o| o.source_key.to_string()),
            source_record: ours.map(|o| o.source_record),
            provider_file: their(|l| l.file).map(str::to_owned),
            provider_row: listed.map(|l| l.row),
        }
    }
}

/// The hour of the Beijing day.
fn hour_of(time: i64) -> i8 {
    ((time - UsageDay::of_instant(time).begin_ms()) / HOUR_MS) as i8
}

/// Whether a key stands before all texts that begin with these four digits.
fn less_than_prefix(key: &Key, text: &str, high: u16) -> bool {
    match key {
        Key::Uuid(bits) => u16::from_be_bytes([bits[0], bits[1]]) < high,
        Key::Text(key) => &**key < text,
    }
}

impl SeqSeen {
    fn agree(&mut self, row: &OurRow<'_>) {
        let hour = hour_of(row.req_time) as usize;
        let rule = row.rule_id.unwrap_or_default();
        match self.agree.get_mut(rule) {
            Some(hours) => hours[hour] += 1,
            None => self.agree.entry(rule.into()).or_default()[hour] += 1,
        }
    }

    fn note_tag(&mut self, rule: Option<&str>, tag: &str) {
        let Some(rule) = rule else { return };
        match self.tags.get_mut(rule) {
            Some(held) if held.as_deref() != Some(tag) => *held = None,
            Some(_) => {}
            None => _ = self.tags.insert(rule.into(), Some(tag.into())),
        }
    }

    fn differ(&mut self, key: Key, status: SeqStatus, row: &OurRow<'_>, listed: Option<u32>) {
        let ours = Some(Box::new(OurSide {
            req_time: row.req_time,
            charge: row.charge,
            tag: row.billing_tag_code.into(),
            rule: row.rule_id.map(Into::into),
            source_key: row.source_key.into(),
            source_record: row.source_record,
        }));
        self.differences.push(Difference { key, status, ours, listed });
    }

    fn fact(
        &mut self,
        day: UsageDay,
        tag: Option<&str>,
        kind: PartKind,
        more: bool,
        seq: &str,
        seqs_max: usize,
    ) {
        let place = self.facts.entry((day, tag.map(str::to_owned))).or_default();
        place.entry((kind, more)).or_default().add(seq, seqs_max);
    }

    /// Puts together what two threads saw.
    pub fn merge(mut self, other: SeqSeen, seqs_max: usize) -> SeqSeen {
        for (rule, hours) in other.agree {
            let into = self.agree.entry(rule).or_default();
            into.iter_mut().zip(hours).for_each(|(into, more)| *into += more);
        }
        self.differences.extend(other.differences);
        for (rule, tag) in other.tags {
            let held = self.tags.entry(rule).or_insert_with(|| tag.clone());
            if *held != tag {
                *held = None;
            }
        }
        for (place, facts) in other.facts {
            let into = self.facts.entry(place).or_default();
            for (kind, found) in facts {
                into.entry(kind).or_default().merge(found, seqs_max);
            }
        }
        self
    }
}

/// What the join by Seq gives.
#[derive(Debug)]
pub struct SeqOutcome {
    pub join: SeqJoin,
    pub differences: Differences,
    pub facts: SeqFacts,
    /// Seqs that stand twice in the list and say different things.
    pub conflicts: i64,
    pub warnings: Vec<String>,
}

/// Every Seq that does not agree, sorted by Seq. Held small and told one by one.
#[derive(Debug)]
pub struct Differences {
    joiner: SeqJoiner,
    differences: Vec<Difference>,
}

impl Differences {
    pub fn len(&self) -> usize {
        self.differences.len()
    }

    pub fn is_empty(&self) -> bool {
        self.differences.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = SeqDifference> + '_ {
        self.differences.iter().map(|difference| self.joiner.told(difference))
    }
}

/// What the list says of differences of counts, by day and tag.
#[derive(Debug, Default)]
pub struct SeqFacts {
    pub(super) account: String,
    /// Days the list covers.
    pub(super) days: BTreeSet<UsageDay>,
    tags: BTreeMap<String, Option<BTreeSet<String>>>,
    facts: BTreeMap<Place, BTreeMap<(PartKind, bool), Found>>,
}

impl SeqFacts {
    /// Each kind with whether it makes the bill's count the greater one. An unknown flag that does not is of an attempt that
    /// the list says is free.
    pub(super) fn of(
        &self,
        day: UsageDay,
        tag: Option<&str>,
    ) -> impl Iterator<Item = ((PartKind, bool), &Found)> {
        let place = self.facts.get(&(day, tag.map(str::to_owned)));
        place.into_iter().flatten().map(|(kind, found)| (*kind, found))
    }

    /// What the list charges, we do not hold, and no tag is known of.
    pub(super) fn untagged(&self) -> BTreeMap<UsageDay, Found> {
        let untagged = self.facts.iter().filter(|((_, tag), _)| tag.is_none());
        untagged
            .filter_map(|((day, _), kinds)| {
                Some((*day, kinds.get(&(PartKind::ProviderOnly, true))?.clone()))
            })
            .collect()
    }

    /// Days and tags to which the list moves attempts of ours over a midnight.
    pub(super) fn moved_to(&self) -> impl Iterator<Item = (UsageDay, &str, &Found)> {
        self.facts.iter().filter_map(|((day, tag), kinds)| {
            Some((*day, tag.as_deref()?, kinds.get(&(PartKind::Midnight, true))?))
        })
    }

    pub(super) fn is_listed(&self, tag_code: &str) -> bool {
        self.tags.contains_key(tag_code)
    }

    /// Whether the list covers every channel of a tag.
    pub(super) fn is_whole(&self, tag_code: &str) -> bool {
        self.tags.get(tag_code).is_some_and(Option::is_none)
    }
}
