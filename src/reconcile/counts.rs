//! The full join of our daily charges with the lines of the bill.
//!
//! Takes daily charges, bill lines whose tag is filled in, and who settles when; gives one [`Variance`] for each account,
//! period and billing tag, with exactly one status. The day of usage decides where a line stands, never the month of
//! the bill: under 按扣费周期 the line of January 31 is in the bill of February.

use super::UNMAPPED;
use crate::model::{
    Amount, BillLine, DailyCharge, LineKind, Period, Settlement, Status, StatusTotal, UsageDay,
    UsageMonth, Variance, plural,
};
use std::collections::{BTreeMap, BTreeSet};

/// What the join has to be told.
pub struct Settings<'s> {
    /// Days whose bill was not out then are pending. Milliseconds since the epoch.
    pub as_of_ms: i64,
    /// What was known then: lines paid later do not count. `None`: all do.
    pub paid_until_ms: Option<i64>,
    /// The bill of day D is out so many minutes after 00:00 of D+1, Beijing time.
    pub daily_out_minutes: i64,
    /// A month's bill is out at the end of this day of the next month.
    pub monthly_out_day: i32,
    /// Months asked for: their rows are there even where the bill has no line of them. See [`of_months`].
    pub months: Option<&'s BTreeSet<UsageMonth>>,
    /// When an account's usage of a tag (its code) is settled.
    pub settlement: &'s dyn Fn(&str, &str) -> Settlement,
    /// The code of a tag's label.
    pub tag_code: &'s dyn Fn(&str) -> &'static str,
    /// Codes of tags whose lines are in no row: nothing of ours is held against them.
    pub not_held: &'s [&'static str],
    /// Packages known otherwise than from the bill.
    pub packages: &'s [PackageSpan],
    /// Calls of an account, tag (its code) and day that these packages have room for, those of the days before taken
    /// from them.
    pub room: &'s dyn Fn(&str, &str, UsageDay) -> i64,
    /// How the bills read, where their names say it.
    pub statistics: Option<Statistics>,
}

impl Settings<'_> {
    /// A daily bill is generated 08:00–12:00 of the next day. Source: billing overview, page 1007/56803.
    pub const DAILY_OUT_MINUTES: i64 = 12 * 60;
    /// A monthly bill comes on the 1st to 3rd. Source: price page of monthly accounts (2022).
    pub const MONTHLY_OUT_DAY: i32 = 3;

    /// From when on the bill of a period is out.
    fn out_ms(&self, account: &str, tag_code: &str, period: Period) -> i64 {
        let (_, last) = period.days();
        match (self.settlement)(account, tag_code) {
            Settlement::Daily => last.plus(1).begin_ms() + self.daily_out_minutes * 60_000,
            Settlement::Monthly => last.first_of_next_month().plus(self.monthly_out_day).begin_ms(),
        }
    }

    fn is_pending(&self, account: &str, tag_code: &str, period: Period) -> bool {
        self.as_of_ms < self.out_ms(account, tag_code, period)
    }
}

/// A resource package of a tag: valid from 00:00 of `from` up to the day before `until`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackageSpan {
    pub account: String,
    pub billing_tag_code: String,
    pub from: UsageDay,
    pub until: UsageDay,
}

impl PackageSpan {
    fn is_of(&self, account: &str, tag_code: &str) -> bool {
        self.account == account && self.billing_tag_code == tag_code
    }
}

/// 账单统计周期: which usage a bill's month holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Statistics {
    /// 按计费周期: the usage of the month.
    #[default]
    ByUsage,
    /// 按扣费周期: what was deducted in the month, so that it begins with the last day of the month before.
    ByPay,
}

/// What the join gives.
#[derive(Debug, Default)]
pub struct Counted {
    /// Sorted by account, first day, period and billing tag. `parts` are empty and what is expected is null as yet.
    pub rows: Vec<Variance>,
    /// For people: months that are not complete, lines that cannot be placed.
    pub warnings: Vec<String>,
    /// How the bill's lines read.
    pub statistics: Statistics,
    /// Lines that were paid after `as_of`.
    pub lines_later: i64,
    /// Lines with a place in the join: usage, adjustments, refunds of usage.
    pub lines_joined: i64,
    /// Lines that are about no usage: packages, rounding, transactions this program does not know.
    pub lines_beside: i64,
    /// Lines of usage without a day.
    pub lines_without_day: i64,
    /// Lines of usage that give no whole number of calls.
    pub lines_without_count: i64,
    /// Lines in rows whose amounts are not yuan.
    pub lines_foreign: i64,
    /// Rows with such a line: their `provider_cost` is null, as a part of it is not known.
    pub foreign: BTreeSet<RowKey>,
    /// Lines of the bills of the months asked for, in rows that differ and lie outside of these months.
    pub lines_elsewhere: i64,
    /// The months of bills that were given.
    pub bill_months: BTreeSet<UsageMonth>,
}

/// Account, period and tag code: what a row is known by.
pub type RowKey = (String, Period, String);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CountError {
    #[error("{what} of {billing_tag}, {period}: a sum this large cannot be right")]
    Overflow { what: &'static str, billing_tag: String, period: Period },
}

/// What lies under one key.
#[derive(Default)]
struct Sum {
    label: String,
    attempts: i64,
    charged: i64,
    free: i64,
    unknown: i64,
    /// Lines that changed it later.
    adjusting_lines: i64,
    calls: Option<i64>,
    deducted: Option<Amount>,
    billed: Option<Amount>,
    cost: Option<Amount>,
    foreign_lines: i64,
    /// Lines that stand in the bills of the months asked for; of none where none was.
    lines_of_bills: i64,
    lines: Vec<String>,
}

impl Sum {
    fn add_ours(&mut self, row: &DailyCharge) -> Result<(), &'static str> {
        for (what, into, n) in [
            ("attempts", &mut self.attempts, row.attempts),
            ("charged", &mut self.charged, row.charged),
            ("free", &mut self.free, row.free),
            ("unknown", &mut self.unknown, row.unknown),
        ] {
            *into = into.checked_add(n).ok_or(what)?;
        }
        Ok(())
    }

    fn add_line(&mut self, line: &BillLine) -> Result<(), &'static str> {
        self.adjusting_lines += i64::from(line.kind != Some(LineKind::Usage));
        if let Some(calls) = line.calls() {
            let sum = self.calls.unwrap_or(0).checked_add(calls);
            self.calls = Some(sum.ok_or("calls of the bill")?);
        }
        self.foreign_lines += i64::from(!line.is_in_yuan());
        for (what, into, amount) in [
            ("deducted usage", &mut self.deducted, line.usage_deducted),
            ("billed usage", &mut self.billed, line.usage_billed),
            ("cost", &mut self.cost, line.cost),
        ] {
            let of_usage = what != "cost";
            let amount = match amount {
                // Of a unit that counts no calls nothing is known.
                Some(usage) if of_usage => line.in_calls(usage),
                amount => amount,
            };
            if let Some(amount) = amount {
                let sum = into.unwrap_or(Amount::ZERO).checked_add(amount);
                *into = Some(sum.ok_or(what)?);
            }
        }
        self.lines.push(line_name(line));
        Ok(())
    }
}

/// How a line is told to people: its id, else file and row.
fn line_name(line: &BillLine) -> String {
    match &line.line_id {
        Some(id) => id.clone(),
        None => format!("{}:{}", line.source_file, line.source_row),
    }
}

/// Account, tag code and month: the lines of one tag that may have to add up to a month.
type TagMonth = (String, String, UsageMonth);

/// Joins ours with the bill.
///
/// Where a tag settles by the month, or a line of usage spans more than a day, the tag has one row for that month and
/// our days are added up; else one for each day. An adjustment that spans days of a tag with daily rows has a row of
/// its own for the month. Rows are there for days the bill covers, for months that were asked for, and wherever a line
/// is; of the rest of our history the bill does not speak.
pub fn counts(
    ours: &[DailyCharge],
    lines: &[BillLine],
    settings: &Settings<'_>,
) -> Result<Counted, CountError> {
    let mut counted = Counted::default();
    let known: Vec<&BillLine> =
        lines.iter().filter(|line| line.is_paid_by(settings.paid_until_ms)).collect();
    counted.lines_later = (lines.len() - known.len()) as i64;

    // Where each line stands: its day, and whether it says more than one.
    let mut placed: Vec<(&BillLine, UsageDay, bool)> = Vec::new();
    for &line in &known {
        if !line.is_of_usage() || settings.not_held.contains(&&*line.billing_tag_code) {
            counted.lines_beside += 1;
            continue;
        }
        let Some(from) = line.usage_day() else {
            counted.lines_without_day += 1;
            continue;
        };
        let spans = line.usage_to.is_some_and(|to| to != from);
        if spans && line.usage_to.is_some_and(|to| to.month() != from.month()) {
            counted.warnings.push(format!(
                "line {} is for usage from {} of one month into another: it is put with the month in which it begins",
                line_name(line),
                from
            ));
        }
        placed.push((line, from, spans));
    }
    counted.lines_joined = placed.len() as i64;
    if counted.lines_without_day > 0 {
        counted.warnings.push(format!(
            "{} of usage without a day (开始使用时间 and 结束使用时间 are empty), not compared: download the detail bill (明细账单) \
             without 按月聚合",
            plural(counted.lines_without_day.unsigned_abs(), "line")
        ));
    }
    let mut uncounted = placed.iter().map(|(line, ..)| line).filter(|line| {
        let says = line.usage_total.or(line.usage_billed).is_some();
        line.calls().is_none() && (says || line.kind == Some(LineKind::Usage))
    });
    if let Some(first) = uncounted.next() {
        counted.lines_without_count = 1 + uncounted.count() as i64;
        counted.warnings.push(format!(
            "{} of usage without a whole number of calls, counted as none: look at 组件原始用量 and its unit ({} row {}{})",
            plural(counted.lines_without_count.unsigned_abs(), "line"),
            first.source_file,
            first.source_row,
            if counted.lines_without_count > 1 { ", …" } else { "" }
        ));
    }

    let mut by_month: BTreeSet<TagMonth> = BTreeSet::new();
    for (line, day, spans) in &placed {
        // One of no calls leaves the days as they are.
        if *spans && line.kind == Some(LineKind::Usage) && line.calls() != Some(0) {
            by_month.insert((
                line.account.to_string(),
                line.billing_tag_code.to_string(),
                day.month(),
            ));
        }
    }
    let period = |account: &str, tag_code: &str, day: UsageDay| {
        let month = day.month();
        let monthly = (settings.settlement)(account, tag_code) == Settlement::Monthly
            || by_month.contains(&(account.to_owned(), tag_code.to_owned(), month));
        if monthly { Period::Month(month) } else { Period::Day(day) }
    };

    let mut sums: BTreeMap<RowKey, Sum> = BTreeMap::new();
    for row in ours {
        let code = (settings.tag_code)(&row.billing_tag);
        let period = period(&row.account, code, row.usage_date);
        let sum = sums.entry((row.account.clone(), period, code.to_owned())).or_default();
        sum.label.clone_from(&row.billing_tag);
        sum.add_ours(row).map_err(|what| overflow(what, &row.billing_tag, period))?;
    }
    for (line, day, spans) in &placed {
        let period = match *spans {
            true => Period::Month(day.month()),
            false => period(&line.account, &line.billing_tag_code, *day),
        };
        let key = (line.account.to_string(), period, line.billing_tag_code.to_string());
        let sum = sums.entry(key).or_default();
        if sum.label.is_empty() {
            sum.label = line.billing_tag.to_string();
        }
        sum.add_line(line).map_err(|what| overflow(what, &line.billing_tag, period))?;
        let of_bill = |months: &BTreeSet<UsageMonth>| {
            line.bill_month.is_none_or(|month| months.contains(&month))
        };
        sum.lines_of_bills += i64::from(settings.months.is_some_and(of_bill));
    }

    let coverage = Coverage::of(lines, settings);
    counted.statistics = coverage.statistics;
    let packages = Packages::of(&known, &placed, settings);
    let mut in_other_bills: BTreeMap<UsageMonth, BTreeSet<UsageDay>> = BTreeMap::new();
    for ((account, period, code), sum) in sums {
        let asked = settings.months.is_some_and(|months| months.contains(&period.month()));
        let held = coverage.holds(settings, &account, &code, period);
        // By deduction time the usage of a month's last day is in the next bill: without that one nothing is known of it.
        let elsewhere = coverage.statistics == Statistics::ByPay && !held;
        let of_bill = settings.months.is_none() && coverage.months.contains(&period.month());
        if sum.lines.is_empty() && elsewhere && (asked || of_bill) && sum.charged > 0 {
            let (_, last) = period.days();
            let bill = (settings.settlement)(&account, &code).date(last).month();
            in_other_bills.entry(bill).or_default().insert(last);
        }
        if !sum.lines.is_empty() || held || asked && !elsewhere {
            if sum.foreign_lines > 0 {
                counted.lines_foreign += sum.foreign_lines;
                counted.foreign.insert((account.clone(), period, code.clone()));
            }
            let lines_of_bills = sum.lines_of_bills;
            let row = variance(account, period, code, sum, settings, &packages)?;
            if !asked && row.difference != 0 {
                counted.lines_elsewhere += lines_of_bills;
            }
            counted.rows.push(row);
        }
    }
    counted.rows.sort_by(|a, b| row_order(a).cmp(&row_order(b)));
    counted.warnings.extend(in_other_bills.iter().map(|(bill, days)| {
        format!(
            "by deduction time (按扣费周期) the usage of {} stands in the bill of {bill}, which was not given: left out",
            named(days)
        )
    }));
    let is_asked =
        |row: &&Variance| settings.months.is_none_or(|months| months.contains(&row.period.month()));
    let asked: Vec<&Variance> = counted.rows.iter().filter(is_asked).collect();
    let (incomplete, running) =
        (incomplete_months(&asked, &placed), running_months(&asked, &coverage.months, settings));
    counted.warnings.extend(incomplete.into_iter().chain(running));
    counted.bill_months = coverage.months;
    Ok(counted)
}

fn overflow(what: &'static str, billing_tag: &str, period: Period) -> CountError {
    CountError::Overflow { what, billing_tag: billing_tag.to_owned(), period }
}

fn row_order(row: &Variance) -> (&str, UsageDay, Period, &str, &str) {
    let tag = (row.billing_tag.as_str(), row.billing_tag_code.as_str());
    (&row.account, row.period.days().0, row.period, tag.0, tag.1)
}

fn variance(
    account: String,
    period: Period,
    code: String,
    sum: Sum,
    settings: &Settings<'_>,
    packages: &Packages<'_>,
) -> Result<Variance, CountError> {
    let has_lines = !sum.lines.is_empty();
    // Of a month that settles by the day, what stands in the bill is not early.
    let is_early = |settled| !has_lines || settled == Settlement::Monthly;
    let pending = settings.is_pending(&account, &code, period)
        && (matches!(period, Period::Day(_)) || is_early((settings.settlement)(&account, &code)));
    // What has no tag has no package either: packages are bought for a tag.
    let covered = !has_lines
        && sum.charged > 0
        && code != UNMAPPED
        && packages.cover(&account, &code, period, sum.charged);
    // Of a bill that is not out, and of usage that a package has taken, no line is missing. What stands of it early may
    // not be all.
    let early = pending && code != UNMAPPED && sum.adjusting_lines == 0;
    let difference = match sum.calls {
        _ if early => 0,
        None if !has_lines && (pending || covered) => 0,
        calls => calls
            .unwrap_or(0)
            .checked_sub(sum.charged)
            .ok_or_else(|| overflow("the difference", &sum.label, period))?,
    };
    let nothing_billed = sum.billed.is_none_or(Amount::is_zero)
        && sum.deducted.is_some_and(|deducted| deducted > Amount::ZERO);
    let status = if code == UNMAPPED && (has_lines || !pending) {
        Status::Unmapped
    } else if sum.adjusting_lines > 0 {
        Status::Adjusted
    } else if pending {
        Status::Pending
    } else if covered || has_lines && difference == 0 && nothing_billed {
        Status::CoveredByPackage
    } else if sum.attempts == 0 && difference > 0 {
        Status::ProviderOnly
    } else if !has_lines && sum.charged > 0 {
        Status::OursOnly
    } else if difference == 0 {
        Status::Matched
    } else if difference > 0 {
        Status::ProviderMore
    } else {
        Status::OursMore
    };
    Ok(Variance {
        account,
        period,
        billing_tag: sum.label,
        billing_tag_code: code,
        status,
        ours_attempts: sum.attempts,
        ours_charged: sum.charged,
        ours_free: sum.free,
        ours_unknown: sum.unknown,
        provider_calls: sum.calls,
        provider_deducted: sum.deducted,
        provider_billed: sum.billed,
        provider_cost: sum.cost.filter(|_| sum.foreign_lines == 0),
        expected_deducted: None,
        expected_billed: None,
        expected_cost: None,
        difference,
        parts: Vec::new(),
        listed: false,
        lines: sum.lines,
    })
}

/// Which usage the given bills speak of.
struct Coverage {
    statistics: Statistics,
    /// The bills' months.
    months: BTreeSet<UsageMonth>,
}

impl Coverage {
    /// Of all lines that were given: of a month whose lines were paid later the bill is in question, too.
    fn of(lines: &[BillLine], settings: &Settings<'_>) -> Coverage {
        let of_usage = |line: &&BillLine| line.kind == Some(LineKind::Usage);
        let usage = || {
            let lines = lines.iter().filter(of_usage);
            lines.filter_map(|line| Some((line, line.usage_day()?)))
        };
        // A bill by deduction time holds usage of the month before that was settled in its own, and none of its own month
        // that was settled later. A line that is merely late says nothing.
        let settled = |line: &BillLine, day: UsageDay| {
            (settings.settlement)(&line.account, &line.billing_tag_code).date(day).month()
        };
        let of_bills = || {
            usage()
                .filter_map(|(line, day)| Some((line.bill_month?, day.month(), settled(line, day))))
        };
        let by_pay = of_bills().any(|(bill, used, settled)| used < bill && settled == bill)
            && !of_bills().any(|(bill, used, settled)| used == bill && settled > bill);
        let months = usage().map(|(line, day)| line.bill_month.unwrap_or(day.month())).collect();
        let seen = if by_pay { Statistics::ByPay } else { Statistics::ByUsage };
        Coverage { statistics: settings.statistics.unwrap_or(seen), months }
    }

    fn holds(&self, settings: &Settings<'_>, account: &str, code: &str, period: Period) -> bool {
        let (_, last) = period.days();
        let month = match self.statistics {
            Statistics::ByUsage => last.month(),
            Statistics::ByPay => (settings.settlement)(account, code).date(last).month(),
        };
        self.months.contains(&month)
    }
}

/// Of each day with lines of usage: whether anything is billed, and anything deducted.
type DaysWithLines = BTreeMap<UsageDay, (bool, bool)>;

/// What is known of packages: spans, and what the lines of a tag deduct.
struct Packages<'b> {
    /// Those that the pipeline names, which have room for so many calls a day and no more.
    named: &'b [PackageSpan],
    room: &'b dyn Fn(&str, &str, UsageDay) -> i64,
    /// Those that the bill says were bought: how large they are it does not say.
    bought: Vec<PackageSpan>,
    /// Per account and tag code, the days (first, for a month) with lines of usage: anything billed, anything deducted.
    lines: BTreeMap<(&'b str, &'b str), DaysWithLines>,
}

impl<'b> Packages<'b> {
    fn of(
        known: &[&'b BillLine],
        placed: &[(&'b BillLine, UsageDay, bool)],
        settings: &Settings<'b>,
    ) -> Packages<'b> {
        let bought = known.iter().filter(|line| line.kind == Some(LineKind::PackagePurchase));
        let bought = bought.filter_map(|line| {
            Some(PackageSpan {
                account: line.account.to_string(),
                billing_tag_code: line.billing_tag_code.to_string(),
                from: line.usage_from?,
                until: line.usage_to?.plus(1),
            })
        });
        let mut lines: BTreeMap<_, DaysWithLines> = BTreeMap::new();
        for (line, day, _) in placed.iter().filter(|(l, ..)| l.kind == Some(LineKind::Usage)) {
            let above_zero = |n: Option<Amount>| n.is_some_and(|n| n > Amount::ZERO);
            let place = (&*line.account, &*line.billing_tag_code);
            let (billed, deducted) = lines.entry(place).or_default().entry(*day).or_default();
            *billed |= above_zero(line.usage_billed);
            *deducted |= above_zero(line.usage_deducted);
        }
        let (named, room) = (settings.packages, settings.room);
        // One that the pipeline names is no other one.
        let bought = bought
            .filter(|span| {
                !named.iter().any(|package| {
                    package.is_of(&span.account, &span.billing_tag_code)
                        && package.from == span.from
                })
            })
            .collect();
        Packages { named, room, bought, lines }
    }

    /// Whether a package explains that a period has no line of so many charged calls. Either those that the pipeline
    /// names have room for all of them; or one of unknown size is known to be valid, and the lines before and after do not
    /// show that it was used up; or the nearest lines on both sides were deducted from one, so that it was there in between.
    fn cover(&self, account: &str, code: &str, period: Period, charged: i64) -> bool {
        let (first, last) = period.days();
        let lines = self.lines.get(&(account, code));
        let before = lines.and_then(|days| days.range(..first).next_back());
        let after = lines.and_then(|days| days.range(last.plus(1)..).next());
        // Used up before: a line since the package began was billed. Used up after: the next one deducts nothing.
        let left_before = |from: UsageDay| before.is_none_or(|(day, l)| *day < from || !l.0);
        let left_after = |until: UsageDay| after.is_none_or(|(day, l)| *day >= until || l.1);
        let is_left = |span: &PackageSpan| {
            span.is_of(account, code)
                && span.from <= first
                && last < span.until
                && left_before(span.from)
                && left_after(span.until)
        };
        let is_valid = |span: &PackageSpan| {
            span.is_of(account, code) && span.from <= last && first < span.until
        };
        let room = || {
            let days = super::each_day(period).map(|day| (self.room)(account, code, day));
            days.fold(0, i64::saturating_add)
        };
        let known =
            self.bought.iter().any(is_left) || self.named.iter().any(is_valid) && room() >= charged;
        let shown = before.is_some_and(|(_, (billed, deducted))| *deducted && !billed)
            && after.is_some_and(|(_, (_, deducted))| *deducted);
        known || shown
    }
}

/// A few days by name, for messages.
fn named<T: ToString>(days: &BTreeSet<T>) -> String {
    const NAMED: usize = 3;
    let mut told: Vec<String> = days.iter().take(NAMED).map(T::to_string).collect();
    if days.len() > NAMED {
        told.push(format!("{} more", days.len() - NAMED));
    }
    told.join(", ")
}

/// Days of a month of which one side has nothing at all, whatever the tag, where the other has charges.
fn incomplete_months(rows: &[&Variance], placed: &[(&BillLine, UsageDay, bool)]) -> Vec<String> {
    let mut on_bill: BTreeMap<(&str, UsageMonth), BTreeSet<UsageDay>> = BTreeMap::new();
    for (line, day, _) in placed.iter().filter(|(line, ..)| line.kind == Some(LineKind::Usage)) {
        on_bill.entry((&*line.account, day.month())).or_default().insert(*day);
    }
    let mut ours: BTreeMap<(&str, UsageMonth), BTreeSet<UsageDay>> = BTreeMap::new();
    for row in rows.iter().filter(|row| row.ours_attempts > 0) {
        let place = (row.account.as_str(), row.period.month());
        ours.entry(place).or_default().insert(row.period.days().0);
    }
    let mut missing: BTreeMap<(&str, UsageMonth), [BTreeSet<UsageDay>; 2]> = BTreeMap::new();
    for row in rows {
        let (first, _) = row.period.days();
        let place = (row.account.as_str(), row.period.month());
        let (side, there) = match row.status {
            Status::OursOnly => (0, on_bill.get(&place)),
            Status::ProviderOnly => (1, ours.get(&place)),
            _ => continue,
        };
        let has_day = there.is_some_and(|days| match row.period {
            Period::Day(day) => days.contains(&day),
            Period::Month(_) => true,
        });
        if !has_day {
            missing.entry(place).or_default()[side].insert(first);
        }
    }
    let mut warnings = Vec::new();
    for ((account, month), [bill, own]) in &missing {
        let place = (*account, *month);
        let until = |days: Option<&BTreeSet<UsageDay>>| {
            let last = days.and_then(BTreeSet::last);
            last.map_or("none of the month".to_owned(), |day| format!("some up to {day}"))
        };
        let of_months: BTreeSet<UsageMonth> = on_bill.keys().map(|(_, month)| *month).collect();
        if !bill.is_empty() && !of_months.contains(month) {
            warnings.push(format!(
                "the bill has no usage at all of {month}{}: is it the bill of that month?",
                match of_months.is_empty() {
                    true => String::new(),
                    false => format!("; it has some of {}", named(&of_months)),
                }
            ));
        } else if !bill.is_empty() {
            let next = month.first_day().first_of_next_month().month();
            warnings.push(format!(
                "the bill of account {account} has no line at all of {} of {month} on which ours has charges ({}), and {}: is \
                 it the file of the whole month? Under 按扣费周期 the last day stands in the bill of {next}",
                plural(bill.len() as u64, "day"),
                named(bill),
                until(on_bill.get(&place))
            ));
        }
        if !own.is_empty() {
            warnings.push(format!(
                "our records of account {account} have nothing at all of {} of {month} which the bill charges ({}), and {}: \
                 are all results of the month loaded?",
                plural(own.len() as u64, "day"),
                named(own),
                until(ours.get(&place))
            ));
        }
    }
    warnings
}

/// Days at the end of a month on which nobody need have done anything.
const QUIET_DAYS: i32 = 3;

/// Months whose bill is not complete yet, or ends so early that it may not be.
fn running_months(
    rows: &[&Variance],
    bill_months: &BTreeSet<UsageMonth>,
    settings: &Settings<'_>,
) -> Vec<String> {
    let mut months: BTreeMap<UsageMonth, Vec<&Variance>> = BTreeMap::new();
    for row in rows {
        months.entry(row.period.month()).or_default().push(row);
    }
    let told = |(month, rows): (&UsageMonth, &Vec<&Variance>)| {
        let pending = rows.iter().filter(|row| row.status == Status::Pending);
        let pending: BTreeSet<Period> = pending.map(|row| row.period).collect();
        if !pending.is_empty() {
            return Some(format!(
                "{month} is not complete: the bill of {} is not out yet at that time; reconcile the month again when it is",
                named(&pending)
            ));
        }
        let daily = || rows.iter().filter(|row| matches!(row.period, Period::Day(_)));
        let last = daily().max_by_key(|row| row.period.days().1)?;
        let end = month.first_day().first_of_next_month().plus(-1);
        let seen = last.period.days().1;
        if settings.is_pending(&last.account, &last.billing_tag_code, Period::Day(end)) {
            return Some(format!(
                "{month} is not over at that time: what is compared ends with {seen}; reconcile the month again when its bill is \
                 complete"
            ));
        }
        (bill_months.contains(month) && seen.plus(QUIET_DAYS) < end).then(|| {
            format!(
                "neither our records nor the bill have anything of {month} after {seen}: is the bill the file of the whole month, \
                 and are all results loaded?"
            )
        })
    };
    months.iter().filter_map(told).collect()
}

/// The rows of some months: to be taken after [`super::explain`], which balances a day with its neighbour even where
/// that lies in another month.
pub fn of_months(rows: Vec<Variance>, months: &BTreeSet<UsageMonth>) -> Vec<Variance> {
    rows.into_iter().filter(|row| months.contains(&row.period.month())).collect()
}

/// The rows by status, in the order of [`Status::ALL`]; None where a sum passes 2^63.
pub fn totals(rows: &[Variance]) -> Option<Vec<StatusTotal>> {
    let mut totals: BTreeMap<Status, StatusTotal> = BTreeMap::new();
    for row in rows {
        let total = totals.entry(row.status).or_insert(StatusTotal {
            status: row.status,
            rows: 0,
            ours_charged: 0,
            provider_calls: 0,
            difference: 0,
        });
        total.rows += 1;
        total.ours_charged = total.ours_charged.checked_add(row.ours_charged)?;
        total.provider_calls = total.provider_calls.checked_add(row.provider_calls.unwrap_or(0))?;
        total.difference = total.difference.checked_add(row.difference)?;
    }
    Some(totals.into_values().collect())
}

/// What one row may differ by.
#[derive(Clone, Copy, Debug)]
pub struct Tolerance {
    pub calls: i64,
    /// Yuan.
    pub amount: Amount,
}

impl Tolerance {
    /// Whether a row differs by more, in calls or in money. What is pending differs from nothing yet; what the bill asks
    /// for no tag at all is held against nothing.
    pub fn is_passed_by(&self, row: &Variance) -> bool {
        if row.status == Status::Pending {
            return false;
        }
        let calls = row.difference.unsigned_abs() > u64::try_from(self.calls).unwrap_or(0);
        let untagged = row.provider_cost.filter(|_| row.status == Status::Unmapped);
        let money = row.cost_difference().or(untagged);
        calls || money.is_some_and(|cost| cost.abs() > self.amount)
    }
}
