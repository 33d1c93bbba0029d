//! Why two counts differ: parts that add up to the difference, each with the Seqs that can be the reason.
//!
//! [`wanted`] says of which days and tags rows must be looked at, [`Evidence`] keeps of those rows what can explain
//! something, [`explain`] shares a difference out. Reasons are taken in this order, each no further than what it can
//! account for:
//!
//! 1. The provider's own list, Seq by Seq, where it speaks of that day and tag: flags that differ, attempts that only one
//!    side has, attempts that stand on another day. These are facts: they are taken whole, whatever their sign.
//! 2. Attempts near midnight, where the neighbouring day of the same tag differs the other way: what one day gives the
//!    other gets, at most as many as stand near that midnight.
//! 3. Where the bill has more: attempts without a flag, then attempts of results that could still grow, then records of
//!    that day that were set aside.
//! 4. The rest is unexplained.

use super::seqs::SeqFacts;
use super::{OurRow, days_of, each_day};
use crate::model::{Part, PartKind, Period, UsageDay, Variance};
use std::collections::{BTreeMap, BTreeSet};

/// Seqs that a part lists at most; `seqs_total` counts all.
pub const SEQS_MAX: usize = 1_000;

/// Account, day, code of the billing tag.
type Place = (String, UsageDay, String);

/// A record or attempt that was set aside, on the day that its key tells.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RejectOn {
    pub day: UsageDay,
    pub source_key: String,
}

/// Attempts of an object that an earlier or later pull has, too, on the day that its key tells.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DuplicatesOn {
    pub day: UsageDay,
    pub source_key: String,
    pub rows: i64,
}

/// The places of which rows must be seen.
pub fn wanted(rows: &[Variance]) -> BTreeSet<(String, UsageDay, String)> {
    rows.iter()
        .filter(|row| row.difference != 0)
        .flat_map(|row| {
            each_day(row.period)
                .map(|day| (row.account.clone(), day, row.billing_tag_code.clone()))
        })
        .collect()
}

/// Seqs, the least of them kept, all of them counted: the same whatever the order they come in.
#[derive(Clone, Debug, Default)]
struct Seqs {
    total: i64,
    least: BTreeSet<String>,
}

impl Seqs {
    fn add(&mut self, seq: &str) {
        self.total += 1;
        if self.least.len() < SEQS_MAX {
            self.least.insert(seq.to_owned());
        } else if self.least.last().is_some_and(|last| seq < last.as_str()) {
            self.least.pop_last();
            self.least.insert(seq.to_owned());
        }
    }

    fn join(&mut self, other: &Seqs) {
        self.total += other.total;
        self.least.extend(other.least.iter().cloned());
        while self.least.len() > SEQS_MAX {
            self.least.pop_last();
        }
    }
}

/// What rows of one place can explain.
#[derive(Clone, Debug, Default)]
struct Found {
    /// Charged, in the first or last minutes of the day.
    begin: Seqs,
    end: Seqs,
    unknown: Seqs,
    /// Not charged, in a result that could still grow.
    not_final: Seqs,
    charged: Seqs,
}

/// Of the rows seen, what can explain a difference. Memory: five lists of [`SEQS_MAX`] Seqs a place at most.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// By account, day and tag; nested, so that a row is looked up without making a key.
    found: BTreeMap<String, BTreeMap<UsageDay, BTreeMap<String, Found>>>,
    midnight_ms: i64,
}

impl Evidence {
    /// Keeps what it sees of these places. Near midnight is up to `midnight_ms` before or after it.
    pub fn new(wanted: BTreeSet<(String, UsageDay, String)>, midnight_ms: i64) -> Evidence {
        let mut evidence = Evidence { midnight_ms, ..Evidence::default() };
        for (account, day, tag) in wanted {
            let days = evidence.found.entry(account).or_default();
            days.entry(day).or_default().insert(tag, Found::default());
        }
        evidence
    }

    pub fn see(&mut self, day: UsageDay, row: &OurRow<'_>) {
        let place = self.found.get_mut(row.account).and_then(|days| days.get_mut(&day));
        let Some(found) = place.and_then(|tags| tags.get_mut(row.billing_tag_code)) else {
            return;
        };
        match row.charge {
            Some(true) => {
                found.charged.add(row.seq);
                if row.req_time - day.begin_ms() < self.midnight_ms {
                    found.begin.add(row.seq);
                }
                if day.plus(1).begin_ms() - row.req_time <= self.midnight_ms {
                    found.end.add(row.seq);
                }
            }
            None => found.unknown.add(row.seq),
            Some(false) if row.snapshot_final == Some(false) => found.not_final.add(row.seq),
            Some(false) => {}
        }
    }

    /// What was found over all days of a row.
    fn of(&self, row: &Variance, pick: impl Fn(&Found) -> &Seqs) -> Seqs {
        let mut all = Seqs::default();
        for day in each_day(row.period) {
            if let Some(found) = self.at(&row.account, day, &row.billing_tag_code) {
                all.join(pick(found));
            }
        }
        all
    }

    fn at(&self, account: &str, day: UsageDay, tag: &str) -> Option<&Found> {
        self.found.get(account)?.get(&day)?.get(tag)
    }
}

/// A difference on its way to be shared out.
struct Open<'r> {
    row: &'r mut Variance,
    rest: i64,
}

impl Open<'_> {
    fn take(&mut self, kind: PartKind, count: i64, seqs: &Seqs) {
        if count == 0 {
            return;
        }
        self.rest -= count;
        self.row.parts.push(Part {
            kind,
            count,
            seqs: seqs.least.iter().cloned().collect(),
            seqs_total: seqs.total,
            source_keys: Vec::new(),
        });
    }
}

/// Fills in the parts of each row that differs. Their counts add up to its difference.
pub fn explain(
    rows: &mut [Variance],
    evidence: &Evidence,
    listed: Option<&SeqFacts>,
    rejects: &[RejectOn],
    duplicates: &[DuplicatesOn],
) {
    let mut open: Vec<Open<'_>> = rows
        .iter_mut()
        .filter(|row| row.difference != 0)
        .map(|row| Open { rest: row.difference, row })
        .collect();
    if let Some(listed) = listed {
        open.iter_mut().for_each(|open| by_list(open, listed));
    }
    balance_days(&mut open, evidence);
    let mut left: BTreeMap<UsageDay, Vec<&RejectOn>> = BTreeMap::new();
    for reject in rejects {
        left.entry(reject.day).or_default().push(reject);
    }
    for open in &mut open {
        if open.rest > 0 {
            let unknown = evidence.of(open.row, |found| &found.unknown);
            open.take(PartKind::UnknownFlag, open.rest.min(unknown.total), &unknown);
        }
        if open.rest > 0 {
            let not_final = evidence.of(open.row, |found| &found.not_final);
            open.take(PartKind::NotFinal, open.rest.min(not_final.total), &not_final);
        }
        if open.rest > 0 {
            by_rejects(open, &mut left);
        }
        if open.row.difference > 0 {
            tell_duplicates(open.row, duplicates);
        }
        if open.rest != 0 {
            let seqs = match open.rest < 0 {
                true => evidence.of(open.row, |found| &found.charged),
                false => Seqs::default(),
            };
            open.take(PartKind::Unexplained, open.rest, &seqs);
        }
        let sum: i64 = open.row.parts.iter().map(|part| part.count).sum();
        assert_eq!(sum, open.row.difference, "parts add up to the difference");
    }
}

/// What the provider's list says of a row's days, taken whole.
fn by_list(open: &mut Open<'_>, listed: &SeqFacts) {
    let mut sums: BTreeMap<PartKind, (i64, Seqs)> = BTreeMap::new();
    for day in each_day(open.row.period) {
        let place: Place = (open.row.account.clone(), day, open.row.billing_tag_code.clone());
        for fact in listed.of(&place) {
            // Within a month it stays on the same side.
            if fact.kind == PartKind::Midnight && stays_within(open.row.period, fact.other_day) {
                continue;
            }
            let (count, seqs) = sums.entry(fact.kind).or_default();
            *count += fact.count;
            seqs.add(&fact.seq);
        }
    }
    for (kind, (count, seqs)) in sums {
        open.take(kind, count, &seqs);
    }
}

fn stays_within(period: Period, other: Option<UsageDay>) -> bool {
    let (first, last) = days_of(period);
    other.is_some_and(|day| first <= day && day <= last)
}

/// Neighbouring days of one tag that differ in opposite ways, as far as attempts near their midnight go.
fn balance_days(open: &mut [Open<'_>], evidence: &Evidence) {
    let mut places: BTreeMap<(String, String, UsageDay), usize> = BTreeMap::new();
    for (at, open) in open.iter().enumerate() {
        // A month's first day is the neighbour of the day before; its last one is looked for below.
        let (first, _) = days_of(open.row.period);
        places.insert((open.row.account.clone(), open.row.billing_tag_code.clone(), first), at);
    }
    let order: Vec<usize> = places.values().copied().collect();
    for at in order {
        let row = &open[at].row;
        let (_, last) = days_of(row.period);
        let next = (row.account.clone(), row.billing_tag_code.clone(), last.plus(1));
        let Some(&after) = places.get(&next) else { continue };
        let found = |day| evidence.at(&next.0, day, &next.1);
        // Ours has them before midnight and the bill after it, or the other way.
        let (rest, rest_after) = (open[at].rest, open[after].rest);
        let seqs = match (rest.signum(), rest_after.signum()) {
            (-1, 1) => found(last).map(|found| &found.end),
            (1, -1) => found(last.plus(1)).map(|found| &found.begin),
            _ => None,
        };
        let Some(seqs) = seqs else { continue };
        let moved = rest.abs().min(rest_after.abs()).min(seqs.total) * rest.signum();
        open[at].take(PartKind::Midnight, moved, seqs);
        open[after].take(PartKind::Midnight, -moved, seqs);
    }
}

/// Records set aside on a row's days: each explains one call, and of one row only.
fn by_rejects(open: &mut Open<'_>, left: &mut BTreeMap<UsageDay, Vec<&RejectOn>>) {
    let (mut count, mut keys) = (0, BTreeSet::new());
    for day in each_day(open.row.period) {
        let Some(rejects) = left.get_mut(&day) else { continue };
        while count < open.rest {
            let Some(reject) = rejects.pop() else { break };
            count += 1;
            keys.insert(reject.source_key.clone());
        }
    }
    open.take(PartKind::Reject, count, &Seqs::default());
    if let (true, Some(part)) = (count > 0, open.row.parts.last_mut()) {
        part.source_keys = keys.into_iter().take(SEQS_MAX).collect();
    }
}

/// Says beside a bill that has more how many attempts of that day were pulled twice and counted once. They explain no
/// call of ours: the part counts 0, and its `seqs_total` says by how much a count of rows would be higher.
fn tell_duplicates(row: &mut Variance, duplicates: &[DuplicatesOn]) {
    let (first, last) = days_of(row.period);
    let of_days = duplicates.iter().filter(|on| first <= on.day && on.day <= last && on.rows > 0);
    let (mut rows, mut keys) = (0, BTreeSet::new());
    for on in of_days {
        rows += on.rows;
        keys.insert(on.source_key.clone());
    }
    if rows > 0 {
        row.parts.push(Part {
            kind: PartKind::Duplicate,
            count: 0,
            seqs: Vec::new(),
            seqs_total: rows,
            source_keys: keys.into_iter().take(SEQS_MAX).collect(),
        });
    }
}
