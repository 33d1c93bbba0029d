//! The parts of a difference.
//!
//! Takes the variances, what one pass over the rows of the differing days found, rejects, and the facts of the
//! provider's list; fills in `parts`, whose counts add up to the difference exactly. Memory: per differing row six
//! lists of at most [`Limits::seqs_max`] Seqs, however many attempts there are. The order in which rows are seen, and by
//! how many threads, changes nothing: of more Seqs than a list holds the smallest stay.

use super::{OurRow, SeqFacts, each_day};
use crate::model::{Part, PartKind, Period, Status, UsageDay, UsageMonth, Variance};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// Seqs that a part lists at most, and at least where there are so many: in between as many as all parts may share of
/// `SEQS_SHARED`, so that a day that is missing is listed whole and a report of a year with a difference in every tag and
/// day stays below 100 MB.
pub const SEQS_MAX: usize = 10_000;
pub const SEQS_MIN: usize = 200;
const SEQS_SHARED: usize = 200_000;

/// Minutes around midnight in which an attempt may have been settled on the neighbouring day. Which instant of an attempt the
/// bill goes by is not documented; an attempt takes seconds, a clock may be off by more.
pub const MIDNIGHT_MINUTES: i64 = 5;

const MINUTE_MS: i64 = 60_000;
const DAY_MS: i64 = 86_400_000;

/// Bounds of what is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// 0 to 720: more would count an attempt at both ends of its day.
    pub midnight_minutes: i64,
    pub seqs_max: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { midnight_minutes: MIDNIGHT_MINUTES, seqs_max: SEQS_MAX }
    }
}

impl Limits {
    fn midnight_ms(&self) -> i64 {
        self.midnight_minutes.clamp(0, 720) * MINUTE_MS
    }
}

/// A record set aside, by the date of its key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RejectOn {
    pub day: UsageDay,
    pub source_key: String,
    pub reason: String,
    /// Of its attempts, as far as they could be read. None could: it stands for one.
    pub seqs: Vec<String>,
}

impl RejectOn {
    /// Takes off the Seqs of which is known what became of them; gives whether anything is left.
    pub fn without(&mut self, is_known: impl Fn(&str) -> bool) -> bool {
        let told = !self.seqs.is_empty();
        self.seqs.retain(|seq| !is_known(seq));
        !told || !self.seqs.is_empty()
    }
}

/// Attempts of an object whose Seqs were known already, by the date of its key (`inputs.rows_duplicate`, `rows_changed`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DuplicatesOn {
    pub day: UsageDay,
    pub source_key: String,
    pub rows: i64,
    /// None of its attempts was new: whatever row has this key is of a Seq that stood elsewhere or earlier, too.
    pub nothing_new: bool,
}

/// Attempts of one description: how many, and the smallest of their Seqs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    pub count: i64,
    pub seqs: BTreeSet<String>,
}

impl Found {
    pub fn add(&mut self, seq: &str, seqs_max: usize) {
        self.count += 1;
        if self.seqs.len() < seqs_max {
            self.seqs.insert(seq.to_owned());
        } else if self.seqs.last().is_some_and(|last| seq < last.as_str()) {
            self.seqs.insert(seq.to_owned());
            self.seqs.pop_last();
        }
    }

    /// The same one several times, or not at all.
    fn add_times(&mut self, seq: &str, times: u32, seqs_max: usize) {
        if times > 0 {
            self.add(seq, seqs_max);
            self.count += i64::from(times) - 1;
        }
    }

    pub fn merge(&mut self, other: Found, seqs_max: usize) {
        self.count += other.count;
        self.seqs.extend(other.seqs);
        while self.seqs.len() > seqs_max {
            self.seqs.pop_last();
        }
    }
}

/// Which rows of `liveness_detail` are evidence: those of the variances that have a difference, and what stands near
/// midnight of one without that lies between two.
#[derive(Debug, Default)]
pub struct Wanted {
    /// Per variance its place among the evidence.
    slots: Vec<Option<usize>>,
    /// Per place what is looked for.
    spans: Vec<Span>,
    /// Per day, account and tag code the place.
    by_day: HashMap<UsageDay, Vec<(String, String, usize)>>,
    /// Keys of objects without a new attempt.
    nothing_new: HashSet<String>,
    /// Seqs of what was set aside.
    set_aside: HashSet<String>,
}

impl Wanted {
    /// The days whose rows are to be shown to [`Evidence::see`]. The neighbouring day of a midnight transfer is among them
    /// by itself: it has the opposite difference.
    pub fn days(&self) -> BTreeSet<UsageDay> {
        self.by_day.keys().copied().collect()
    }

    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// Seqs that each part may list.
    pub fn seqs_max(&self) -> usize {
        (SEQS_SHARED / self.spans.len().max(1)).clamp(SEQS_MIN, SEQS_MAX)
    }

    fn slot(&self, day: UsageDay, account: &str, tag_code: &str) -> Option<usize> {
        let tags = self.by_day.get(&day)?;
        tags.iter().find(|(a, t, _)| t == tag_code && a == account).map(|(.., slot)| *slot)
    }
}

#[derive(Clone, Copy, Debug)]
struct Span {
    first: UsageDay,
    last: UsageDay,
    /// Nothing but what is near midnight: the variance has no difference.
    between: bool,
}

/// What has to be looked at to explain these variances. [`explain`] takes the same ones, in the same order.
pub fn wanted(rows: &[Variance], duplicates: &[DuplicatesOn], rejects: &[RejectOn]) -> Wanted {
    let objects = duplicates.iter().filter(|object| object.nothing_new);
    let nothing_new = objects.map(|object| object.source_key.clone()).collect();
    let between = between(rows);
    let wanted = Wanted::of(rows, nothing_new, |at| match rows[at].difference {
        0 => between.contains(&at).then_some(true),
        _ => Some(false),
    });
    let set_aside = rejects.iter().flat_map(|reject| reject.seqs.iter().cloned()).collect();
    Wanted { set_aside, ..wanted }
}

/// What has to be looked at, besides, to list what is unexplained of variances that agree: what the list moved there is not
/// known before. [`list_candidates`] takes the same ones.
pub fn wanted_again(rows: &[Variance]) -> Wanted {
    let of_none = |row: &Variance| {
        let mut parts = row.parts.iter();
        row.difference == 0 && parts.any(|part| is_rest(part) && part.seqs.is_empty())
    };
    Wanted::of(rows, HashSet::new(), |at| of_none(&rows[at]).then_some(false))
}

/// Lists the charged attempts of these variances where ours is more and it is not known which they are.
pub fn list_candidates(rows: &mut [Variance], evidence: &Evidence<'_>) {
    for (row, slot) in rows.iter_mut().zip(&evidence.wanted.slots) {
        let Some(slot) = slot else { continue };
        let candidates = candidates(row, &evidence.slots[*slot].charged);
        for part in row.parts.iter_mut().filter(|part| is_rest(part)) {
            *part = self::part(PartKind::Unexplained, part.count, &candidates);
        }
    }
}

/// Whether a part is what ours has more for no known reason.
fn is_rest(part: &Part) -> bool {
    part.kind == PartKind::Unexplained && part.count < 0
}

/// Charged attempts without those that parts of the row take off by Seq.
fn candidates(row: &Variance, charged: &Found) -> Found {
    let mut left = charged.clone();
    for part in row.parts.iter().filter(|part| part.seqs_total == -part.count && !is_rest(part)) {
        left.count -= part.seqs_total;
        part.seqs.iter().for_each(|seq| {
            left.seqs.remove(seq);
        });
    }
    left
}

impl Wanted {
    /// `between` says of a variance by its place whether nothing but what is near midnight is looked for; None: nothing at all.
    fn of(
        rows: &[Variance],
        nothing_new: HashSet<String>,
        between: impl Fn(usize) -> Option<bool>,
    ) -> Wanted {
        let mut wanted = Wanted { nothing_new, ..Wanted::default() };
        for (at, row) in rows.iter().enumerate() {
            let Some(between) = between(at) else {
                wanted.slots.push(None);
                continue;
            };
            let slot = wanted.spans.len();
            wanted.slots.push(Some(slot));
            let (first, last) = row.period.days();
            wanted.spans.push(Span { first, last, between });
            // An adjustment over days of a tag that has daily rows has none of our attempts.
            if row.ours_attempts == 0 {
                continue;
            }
            for day in each_day(row.period) {
                let tag = (row.account.clone(), row.billing_tag_code.clone(), slot);
                wanted.by_day.entry(day).or_default().push(tag);
            }
        }
        wanted
    }
}

/// Variances without a difference whose neighbours before and after have opposite ones: attempts may have moved through
/// both midnights. What the bill does not speak of is none: that its difference is 0 says nothing.
fn between(rows: &[Variance]) -> BTreeSet<usize> {
    let mut ends: HashMap<(&str, &str, UsageDay), Vec<i64>> = HashMap::new();
    let mut begins = ends.clone();
    for row in rows.iter().filter(|row| row.difference != 0) {
        let (first, last) = row.period.days();
        let tag = |day| (row.account.as_str(), row.billing_tag_code.as_str(), day);
        begins.entry(tag(first)).or_default().push(row.difference.signum());
        ends.entry(tag(last)).or_default().push(row.difference.signum());
    }
    let lies_between = |row: &Variance| {
        let (first, last) = row.period.days();
        let tag = |day| (row.account.as_str(), row.billing_tag_code.as_str(), day);
        let (Some(before), Some(after)) =
            (ends.get(&tag(first.plus(-1))), begins.get(&tag(last.plus(1))))
        else {
            return false;
        };
        before.iter().any(|sign| after.contains(&-sign))
    };
    let told = |row: &Variance| {
        row.difference == 0 && row.provider_calls.is_some() && row.status != Status::Pending
    };
    let rows = rows.iter().enumerate().filter(|(_, row)| told(row) && lies_between(row));
    rows.map(|(at, _)| at).collect()
}

/// What the rows say, per variance that differs. One for each thread, merged at the end.
#[derive(Debug)]
pub struct Evidence<'w> {
    wanted: &'w Wanted,
    limits: Limits,
    slots: Vec<Gathered>,
    /// Seqs of what was set aside that ours has all the same, from another pull.
    had: HashSet<String>,
}

#[derive(Clone, Debug, Default)]
struct Gathered {
    charged: Found,
    /// Charged within the minutes after the period begins, and before it ends.
    near_begin: Found,
    near_end: Found,
    unknown: Found,
    not_final: Found,
    again: Found,
}

impl<'w> Evidence<'w> {
    pub fn new(wanted: &'w Wanted, limits: Limits) -> Evidence<'w> {
        let slots = vec![Gathered::default(); wanted.spans.len()];
        Evidence { wanted, limits, slots, had: HashSet::new() }
    }

    /// Looks at a row of the days wanted, or near them; each row once.
    pub fn see(&mut self, row: &OurRow<'_>) {
        if self.wanted.set_aside.contains(row.seq) {
            self.had.insert(row.seq.to_owned());
        }
        let day = UsageDay::of_instant(row.req_time);
        let Some(slot) = self.wanted.slot(day, row.account, row.billing_tag_code) else { return };
        let (max, span) = (self.limits.seqs_max, self.wanted.spans[slot]);
        let found = &mut self.slots[slot];
        match row.charge {
            Some(true) => {
                if !span.between {
                    found.charged.add(row.seq, max);
                }
                let (into_day, near) = (row.req_time - day.begin_ms(), self.limits.midnight_ms());
                if day == span.first && into_day < near {
                    found.near_begin.add(row.seq, max);
                }
                if day == span.last && into_day >= DAY_MS - near {
                    found.near_end.add(row.seq, max);
                }
            }
            None if !span.between => found.unknown.add(row.seq, max),
            None | Some(false) => {}
        }
        if !span.between && row.snapshot_final == Some(false) {
            found.not_final.add(row.seq, max);
        }
        // What is free adds to no count, however often it is counted.
        if !span.between && row.charge == Some(true) {
            let again = u32::from(self.wanted.nothing_new.contains(row.source_key));
            found.again.add_times(row.seq, row.more_pulls.max(again), max);
        }
    }

    /// Puts together what two threads saw of the same variances.
    pub fn merge(mut self, other: Evidence<'w>) -> Evidence<'w> {
        let max = self.limits.seqs_max;
        self.had.extend(other.had);
        for (into, from) in self.slots.iter_mut().zip(other.slots) {
            into.charged.merge(from.charged, max);
            into.near_begin.merge(from.near_begin, max);
            into.near_end.merge(from.near_end, max);
            into.unknown.merge(from.unknown, max);
            into.not_final.merge(from.not_final, max);
            into.again.merge(from.again, max);
        }
        self
    }
}

fn part(kind: PartKind, count: i64, found: &Found) -> Part {
    Part {
        kind,
        count,
        seqs: found.seqs.iter().cloned().collect(),
        seqs_total: found.count,
        source_keys: Vec::new(),
    }
}

/// Of one variance what is not yet explained, and what of its evidence is used up.
#[derive(Clone, Default)]
struct Rest {
    difference: i64,
    /// Charged attempts that the provider's list takes off by Seq: no reason for anything else.
    taken: BTreeSet<String>,
    /// Of those near the begin and near the end, what has been given to a neighbour.
    begin_given: i64,
    end_given: i64,
    unknown_used: i64,
    /// Attempts without a flag of which the provider's list says that they are free.
    unknown_free: BTreeSet<String>,
    /// The provider's list says all there is to say of this variance.
    listed: bool,
}

/// Fills in the parts of every variance that differs, in this order, each as far as its limit goes:
///
/// 1. **The provider's list**, for days and tags it covers: facts with their Seqs, not limited by the difference. A
///    Seq on another day takes one from a day and gives it to another (`midnight`), though the counts of one agree.
/// 2. **Midnight**: two neighbouring periods of a tag with opposite differences, as far as the one that counts more
///    of ours has charged attempts within the minutes before (or after) the midnight between them. Both get the
///    opposite count and the same Seqs, so that midnight adds up to zero over all days. Then three periods in a row, of
///    which the middle one is left without a difference: what it got from one neighbour it gave to the other. Further
///    apart any two differences of a busy tag would balance, which says nothing.
/// 3. **Unknown flag**: the bill counts more; up to the attempts whose flag is null.
/// 4. **Not final**: the bill counts more; up to the attempts in snapshots that could still grow.
/// 5. **Duplicates**: the bill counts more; up to the charged attempts that ours holds once and that came more than once:
///    so much higher is a count without regard to Seq. First those of the row itself whose Seqs are known (of several
///    pulls, or from objects that had nothing new), then what the load history says of that day, of whatever tag, each used once.
/// 6. **Rejects**: the bill counts more; up to the attempts set aside under that day, each used once over all tags: the
///    different Seqs that could be read and that ours does not have from another pull, and one of each record of which none could.
/// 7. **Unexplained**: the rest. Where ours is more its Seqs are the charged attempts, any of which can be the one.
///
/// What is known of a day and not of a tag (5, 6) is used only where there is enough of it for all rows of that time that
/// could take it: else it is not known whose it is, and each of these rows has it as a part of count 0.
///
/// 3 to 6 are possible reasons and no proof. They are left out where the provider's list covers the whole variance: what
/// it does not say by Seq has another reason; duplicates are told there as a part of count 0.
///
/// Panics when the parts do not add up, or `rows` are not those that `wanted` was made of: bugs of ours.
pub fn explain(
    rows: &mut [Variance],
    evidence: &Evidence<'_>,
    rejects: &[RejectOn],
    duplicates: &[DuplicatesOn],
    facts: Option<&SeqFacts>,
) {
    assert_eq!(rows.len(), evidence.wanted.slots.len(), "the variances that were asked about");
    let mut work = Work {
        rests: rows
            .iter()
            .map(|row| Rest { difference: row.difference, ..Rest::default() })
            .collect(),
        rows,
        evidence,
    };
    if let Some(facts) = facts {
        work.listed(facts);
    }
    work.midnight();
    work.flags();
    work.duplicates(duplicates, evidence.limits.seqs_max);
    work.rejects(rejects, evidence.limits.seqs_max);
    work.unexplained();
    for (row, rest) in work.rows.iter_mut().zip(&work.rests) {
        row.listed = rest.listed;
        let sum: i64 = row.parts.iter().map(|part| part.count).sum();
        assert_eq!(sum, row.difference, "the parts of {} {}", row.period, row.billing_tag_code);
    }
}

struct Work<'r, 'e> {
    rows: &'r mut [Variance],
    rests: Vec<Rest>,
    evidence: &'e Evidence<'e>,
}

impl<'e> Work<'_, 'e> {
    fn found(&self, row: usize) -> Option<&'e Gathered> {
        self.evidence.wanted.slots[row].map(|slot| &self.evidence.slots[slot])
    }

    fn push(&mut self, row: usize, part: Part) {
        self.rests[row].difference -= part.count;
        self.rows[row].parts.push(part);
    }

    /// Variances that differ.
    fn differing(&self) -> impl Iterator<Item = usize> + use<> {
        let rows = self.rows.iter().enumerate();
        let differing = rows.filter(|(_, row)| row.difference != 0).map(|(at, _)| at);
        differing.collect::<Vec<_>>().into_iter()
    }

    /// Those, and the ones between two of them.
    fn looked_at(&self) -> impl Iterator<Item = usize> + use<> {
        let slots = self.evidence.wanted.slots.iter().enumerate();
        slots.filter_map(|(row, slot)| slot.map(|_| row)).collect::<Vec<_>>().into_iter()
    }

    fn listed(&mut self, facts: &SeqFacts) {
        let max = self.evidence.limits.seqs_max;
        let nowhere = self.moved_nowhere(facts);
        for row in 0..self.rows.len() {
            let variance = &self.rows[row];
            if variance.difference == 0 {
                let days = || each_day(variance.period).all(|day| facts.days.contains(&day));
                let whole = facts.account == variance.account
                    && facts.is_whole(&variance.billing_tag_code)
                    && days();
                self.rests[row].listed = whole;
                // What the list gives to a neighbour, or takes from it, has two sides, though the counts of one agree.
                let tag = Some(variance.billing_tag_code.as_str());
                let mut facts_of = each_day(variance.period).flat_map(|day| facts.of(day, tag));
                let moved = facts_of.any(|((kind, _), _)| kind == PartKind::Midnight);
                if !moved || variance.status == Status::Pending {
                    continue;
                }
            }
            // A row of adjustments alone has no attempts on either side.
            if facts.account != variance.account
                || variance.ours_attempts == 0 && variance.status == Status::Adjusted
            {
                continue;
            }
            let tag = variance.billing_tag_code.clone();
            let mut sums: BTreeMap<(PartKind, bool), Found> = BTreeMap::new();
            let mut listed = facts.is_whole(&tag);
            for day in each_day(variance.period) {
                listed &= facts.days.contains(&day);
                for (place, found) in facts.of(day, Some(&tag)) {
                    sums.entry(place).or_default().merge(found.clone(), max);
                }
            }
            self.rests[row].listed = listed;
            for ((kind, more), mut found) in sums {
                if (kind, more) == (PartKind::Midnight, false) {
                    let before = found.seqs.len();
                    found.seqs.retain(|seq| !nowhere.contains(seq));
                    found.count -= (before - found.seqs.len()) as i64;
                    if found.count == 0 {
                        continue;
                    }
                }
                if (kind, more) == (PartKind::UnknownFlag, false) {
                    self.rests[row].unknown_used += found.count;
                    self.rests[row].unknown_free = found.seqs;
                    continue;
                }
                let count = if more { found.count } else { -found.count };
                match kind {
                    PartKind::Midnight | PartKind::OursOnly | PartKind::FlagDiffers if !more => {
                        self.rests[row].taken.extend(found.seqs.iter().cloned());
                    }
                    PartKind::UnknownFlag => self.rests[row].unknown_used += found.count,
                    _ => {}
                }
                self.push(row, part(kind, count, &found));
            }
        }
        // Seqs that the list charges and we do not hold have no tag of ours, unless their rule tells it. They go where
        // the bill counts more.
        let untagged: BTreeMap<UsageDay, Found> = facts.untagged();
        let held = untagged.iter().map(|(day, found)| (*day, found.count)).collect();
        let rows = self.differing().filter(|row| {
            let variance = &self.rows[*row];
            facts.account == variance.account && facts.is_listed(&variance.billing_tag_code)
        });
        for (row, count) in self.shared(&held, rows.collect()) {
            let mut all = Found::default();
            for found in each_day(self.rows[row].period).filter_map(|day| untagged.get(&day)) {
                all.merge(found.clone(), max);
            }
            self.push(row, part(PartKind::ProviderOnly, count, &all));
        }
    }

    /// Seqs that the list has on a day without a row of their tag, in a month of which the bill has lines: nobody charges
    /// them there, so that they balance with nothing.
    fn moved_nowhere(&self, facts: &SeqFacts) -> HashSet<String> {
        let billed = self.rows.iter().filter(|row| !row.lines.is_empty());
        let months: BTreeSet<UsageMonth> = billed.map(|row| row.period.month()).collect();
        let mut nowhere = HashSet::new();
        for (day, tag, found) in facts.moved_to() {
            let has_row = self.rows.iter().any(|row| {
                let (first, last) = row.period.days();
                (first..=last).contains(&day)
                    && row.billing_tag_code == tag
                    && row.account == facts.account
            });
            if months.contains(&day.month()) && !has_row {
                nowhere.extend(found.seqs.iter().cloned());
            }
        }
        nowhere
    }

    /// Shares out what is known of a day and not of a tag among these rows, as far as the bill counts more: `(row, count)`
    /// for each that could take some. Each takes the most that it could, if all of them can at once; else nobody knows
    /// which is meant, and the count is 0. A row of a month shares with the days of that month.
    fn shared(&self, held: &BTreeMap<UsageDay, i64>, rows: Vec<usize>) -> Vec<(usize, i64)> {
        let mut claims: BTreeMap<UsageMonth, Vec<(usize, i64)>> = BTreeMap::new();
        for row in rows {
            let (first, last) = self.rows[row].period.days();
            let within: i64 = held.range(first..=last).map(|(_, count)| count).sum();
            let claim = self.rests[row].difference.min(within);
            if claim > 0 {
                claims.entry(self.rows[row].period.month()).or_default().push((row, claim));
            }
        }
        let mut shared = Vec::new();
        for (month, claims) in claims {
            let mut of_days: BTreeMap<UsageDay, i64> = BTreeMap::new();
            let mut of_month = 0;
            for (row, claim) in &claims {
                match self.rows[*row].period {
                    Period::Day(day) => *of_days.entry(day).or_default() += claim,
                    Period::Month(_) => of_month += claim,
                }
            }
            let too_few = |day: &UsageDay| {
                of_days.get(day).is_some_and(|claimed| claimed > held.get(day).unwrap_or(&0))
            };
            let (first, last) = Period::Month(month).days();
            let left: i64 = held
                .range(first..=last)
                .filter(|(day, _)| !too_few(day))
                .map(|(day, count)| count - of_days.get(day).unwrap_or(&0))
                .sum();
            let month_too = of_month > left;
            shared.extend(claims.into_iter().map(|(row, claim)| {
                let open = match self.rows[row].period {
                    Period::Day(day) => too_few(&day),
                    Period::Month(_) => false,
                };
                (row, if open || month_too { 0 } else { claim })
            }));
        }
        shared.sort_unstable();
        shared
    }

    fn midnight(&mut self) {
        // By account and tag, in order of time.
        let mut chains: BTreeMap<(String, String), Vec<usize>> = BTreeMap::new();
        for row in self.looked_at() {
            let variance = &self.rows[row];
            let tag = (variance.account.clone(), variance.billing_tag_code.clone());
            chains.entry(tag).or_default().push(row);
        }
        for mut chain in chains.into_values() {
            chain.sort_by_key(|row| self.rows[*row].period.days());
            let next: Vec<Option<usize>> = (0..chain.len())
                .map(|at| {
                    let next = self.rows[chain[at]].period.days().1.plus(1);
                    let mut later = chain[at + 1..].iter();
                    let later = later.position(|&row| self.rows[row].period.days().0 == next);
                    later.map(|further| at + 1 + further)
                })
                .collect();
            for (at, later) in next.iter().enumerate() {
                if let Some(later) = later {
                    self.balance(chain[at], chain[*later]);
                }
            }
            for (at, middle) in next.iter().enumerate() {
                if let Some((middle, last)) = middle.and_then(|m| Some((m, next[m]?))) {
                    self.balance_through(chain[at], chain[middle], chain[last]);
                }
            }
        }
    }

    /// Charged attempts that may have moved from a period to the next one (`forward`), or from that to this one; and the
    /// period that has them.
    fn movable(&self, earlier: usize, later: usize, forward: bool) -> Option<(usize, Found, i64)> {
        let giver = if forward { earlier } else { later };
        let (found, rest) = (self.found(giver)?, &self.rests[giver]);
        let (near, given) = match forward {
            true => (&found.near_end, rest.end_given),
            false => (&found.near_begin, rest.begin_given),
        };
        let mut near = near.clone();
        near.count -= rest.taken.iter().filter(|seq| near.seqs.remove(*seq)).count() as i64;
        let movable = near.count - given;
        Some((giver, near, movable))
    }

    fn transfer(&mut self, earlier: usize, later: usize, forward: bool, n: i64) {
        let Some((giver, near, _)) = self.movable(earlier, later, forward) else { return };
        let taker = if forward { later } else { earlier };
        match forward {
            true => self.rests[giver].end_given += n,
            false => self.rests[giver].begin_given += n,
        }
        self.moved(giver, -n, &near);
        self.moved(taker, n, &near);
    }

    /// One part a midnight and direction.
    fn moved(&mut self, row: usize, n: i64, near: &Found) {
        let told = part(PartKind::Midnight, n, near);
        let same = |p: &&mut Part| {
            p.kind == told.kind && p.count.signum() == n.signum() && p.seqs == told.seqs
        };
        match self.rows[row].parts.iter_mut().find(same) {
            Some(known) => {
                known.count += n;
                self.rests[row].difference -= n;
            }
            None => self.push(row, told),
        }
    }

    fn balance_through(&mut self, first: usize, middle: usize, last: usize) {
        let rest = |row: usize| self.rests[row].difference;
        let rows = [first, middle, last];
        // What the list says by Seq has moved by one midnight or not at all.
        let listed = rows.iter().any(|row| self.rests[*row].listed);
        if listed || rest(middle) != 0 || rest(first).signum() * rest(last).signum() != -1 {
            return;
        }
        let forward = rest(first) < 0;
        let movable = |a, b| self.movable(a, b, forward).map_or(0, |(.., n)| n);
        let through = movable(first, middle).min(movable(middle, last));
        let n = through.min(rest(first).abs()).min(rest(last).abs());
        if n > 0 {
            self.transfer(first, middle, forward, n);
            self.transfer(middle, last, forward, n);
        }
    }

    /// From left to right this explains the most that any order of transfers could: a period's first neighbour has no
    /// other to balance with.
    fn balance(&mut self, earlier: usize, later: usize) {
        let (left, right) = (self.rests[earlier].difference, self.rests[later].difference);
        if left.signum() * right.signum() != -1 {
            return;
        }
        let forward = left < 0;
        let movable = self.movable(earlier, later, forward).map_or(0, |(.., n)| n);
        let n = movable.min(left.abs()).min(right.abs());
        if n > 0 {
            self.transfer(earlier, later, forward, n);
        }
    }

    fn flags(&mut self) {
        for row in self.differing() {
            let Some(found) = self.found(row) else { continue };
            if self.rests[row].listed {
                continue;
            }
            let unknown = found.unknown.count - self.rests[row].unknown_used;
            let n = self.rests[row].difference.min(unknown);
            if n > 0 {
                let mut told = part(PartKind::UnknownFlag, n, &found.unknown);
                told.seqs.retain(|seq| !self.rests[row].unknown_free.contains(seq));
                self.push(row, told);
            }
            let n = self.rests[row].difference.min(found.not_final.count);
            if n > 0 {
                self.push(row, part(PartKind::NotFinal, n, &found.not_final));
            }
        }
    }

    fn rejects(&mut self, rejects: &[RejectOn], seqs_max: usize) {
        let had = &self.evidence.had;
        let mut rejects: Vec<RejectOn> = rejects.to_vec();
        rejects.retain_mut(|reject| reject.without(|seq| had.contains(seq)));
        // A Seq that was set aside on two days was made on the first of them, or before.
        rejects.sort();
        let mut seqs_of: BTreeMap<UsageDay, BTreeSet<&str>> = BTreeMap::new();
        let mut met: HashSet<&str> = HashSet::new();
        let known = ByDay::of(rejects.iter().map(|reject| {
            let new = reject.seqs.iter().map(String::as_str).filter(|seq| met.insert(seq));
            let of_day = seqs_of.entry(reject.day).or_default();
            let before = of_day.len();
            of_day.extend(new);
            let count = if reject.seqs.is_empty() { 1 } else { of_day.len() - before };
            (reject.day, &*reject.source_key, count as i64)
        }));
        let rows = self.differing().filter(|row| !self.rests[*row].listed);
        for (row, count) in self.shared(&known.held, rows.collect()) {
            let (first, last) = self.rows[row].period.days();
            let seqs: BTreeSet<&str> =
                seqs_of.range(first..=last).flat_map(|(_, seqs)| seqs).copied().collect();
            let part = Part {
                kind: PartKind::Reject,
                count,
                seqs_total: seqs.len() as i64,
                seqs: seqs.into_iter().take(seqs_max).map(str::to_owned).collect(),
                source_keys: known.objects_of(self.rows[row].period, seqs_max),
            };
            self.push(row, part);
        }
    }

    fn unexplained(&mut self) {
        for row in 0..self.rows.len() {
            let rest = self.rests[row].difference;
            let found = self.found(row).filter(|_| rest < 0);
            let found = found.map(|found| candidates(&self.rows[row], &found.charged));
            if rest != 0 {
                let found = found.unwrap_or_default();
                self.push(row, part(PartKind::Unexplained, rest, &found));
            }
        }
    }

    fn duplicates(&mut self, duplicates: &[DuplicatesOn], keys_max: usize) {
        let objects = duplicates.iter().filter(|object| object.rows > 0);
        let known = ByDay::of(objects.map(|object| (object.day, &*object.source_key, object.rows)));
        // What has no attempt of ours has none that came twice.
        let mut rows: Vec<usize> = self
            .differing()
            .filter(|row| self.rows[*row].difference > 0 && self.rows[*row].ours_attempts > 0)
            .collect();
        let none = Found::default();
        let mut left = known.held.clone();
        for row in rows.iter().copied() {
            let again = self.found(row).map_or(&none, |found| &found.again);
            let open = if self.rests[row].listed { 0 } else { self.rests[row].difference.max(0) };
            let period = self.rows[row].period;
            let seqs_total = known.sum_of(period).max(again.count);
            if seqs_total == 0 {
                continue;
            }
            // Its own, whose Seqs are known.
            let count = again.count.min(open);
            let mut used = count;
            for day in each_day(period) {
                let rest = left.entry(day).or_default();
                let part = used.min(*rest);
                *rest -= part;
                used -= part;
            }
            let source_keys = known.objects_of(period, keys_max);
            let (kind, seqs) = (PartKind::Duplicate, again.seqs.iter().cloned().collect());
            self.push(row, Part { kind, count, seqs, seqs_total, source_keys });
        }
        rows.retain(|row| !self.rests[*row].listed);
        for (row, count) in self.shared(&left, rows) {
            self.rests[row].difference -= count;
            let told =
                self.rows[row].parts.last_mut().expect("it has duplicates: it was told above");
            told.count += count;
        }
    }
}

/// What is known of days and not of tags: how much of it, and the objects behind it.
struct ByDay<'k> {
    held: BTreeMap<UsageDay, i64>,
    objects: BTreeMap<UsageDay, BTreeSet<&'k str>>,
}

impl<'k> ByDay<'k> {
    fn of(known: impl Iterator<Item = (UsageDay, &'k str, i64)>) -> ByDay<'k> {
        let mut by_day = ByDay { held: BTreeMap::new(), objects: BTreeMap::new() };
        for (day, object, count) in known {
            let held = by_day.held.entry(day).or_default();
            *held = held.saturating_add(count);
            by_day.objects.entry(day).or_default().insert(object);
        }
        by_day
    }

    fn sum_of(&self, period: Period) -> i64 {
        let (first, last) = period.days();
        self.held.range(first..=last).fold(0, |sum, (_, count)| sum.saturating_add(*count))
    }

    /// The first objects.
    fn objects_of(&self, period: Period, keys_max: usize) -> Vec<String> {
        let (first, last) = period.days();
        let keys: BTreeSet<&str> =
            self.objects.range(first..=last).flat_map(|(_, keys)| keys.iter().copied()).collect();
        keys.into_iter().take(keys_max).map(str::to_owned).collect()
    }
}
