//! The waterfall: free packages, then paid ones, then postpaid, and what the last costs.
//!
//! Takes charged calls per account, day and tag, a price book, packages, and what the bill says of the same periods.
//! Gives every day's share and, by period, what the bill should say beside what it says. Order and rules:
//! FaceID billing overview, page 1007/56803. It never compares counts, and never guesses a price.

use super::SettleError;
use crate::model::{
    AccountClass, Amount, DayCost, Money, Package, PackageUse, Period, PriceBook, Rate, TierVolume,
    UsageDay, UsageMonth, WaterfallRow,
};
use std::collections::{BTreeMap, BTreeSet};

/// Charged attempts of one account, day and billing tag. Several of the same are added up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usage {
    pub account: String,
    pub day: UsageDay,
    pub billing_tag: String,
    pub billing_tag_code: String,
    /// Settled by the month: its rows have months as periods.
    pub monthly: bool,
    pub calls: i64,
}

/// What the bill says of one account, period and billing tag. Several of the same are added up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BillSide {
    pub account: String,
    pub period: Period,
    pub billing_tag: String,
    pub billing_tag_code: String,
    pub deducted: Option<Amount>,
    pub billed: Option<Amount>,
    pub cost: Option<Amount>,
}

/// By what the calls are settled.
#[derive(Clone, Copy, Debug)]
pub struct Terms<'a> {
    pub book: &'a PriceBook,
    pub class: AccountClass,
    /// Whose packages they are.
    pub account: &'a str,
    pub packages: &'a [Package],
    /// The Beijing day on which the figures are taken: a month that has not ended by then is provisional.
    pub as_of: UsageDay,
    /// The months of which the use of packages is told; `None`: of all days.
    pub months: Option<&'a BTreeSet<UsageMonth>>,
}

/// Calls settled: by day, and by period beside the bill.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settled {
    /// Sorted by account, day and tag code.
    pub days: Vec<DayCost>,
    /// Its rows are sorted by account, period and tag code.
    pub money: Money,
}

/// Settles. Calls of a day and tag are all alike: which of them a package covers makes no difference. A package covers
/// calls from 00:00 of the day it was bought on, never those of earlier days. `bill_rounding` is the sum of the bill's
/// rounding lines.
///
/// Errors: counts beyond 2^63, amounts beyond 38 digits.
pub fn waterfall(
    usage: &[Usage],
    terms: &Terms<'_>,
    bill: &[BillSide],
    bill_rounding: Amount,
) -> Result<Settled, SettleError> {
    let calls = by_day(usage)?;
    let (shares, packages) = shares(&calls, terms.packages, terms.account, terms.months);
    let volumes = month_volumes(&shares, terms.book.tier_volume)?;
    let days: Vec<DayCost> =
        shares.iter().map(|share| share.cost(terms, &volumes)).collect::<Result<_, _>>()?;
    let mut rows: BTreeMap<RowKey, Row> = BTreeMap::new();
    for (share, day) in shares.iter().zip(&days) {
        let period = match share.calls.monthly {
            true => Period::Month(day.usage_date.month()),
            false => Period::Day(day.usage_date),
        };
        let key = (day.account.clone(), period, day.billing_tag_code.clone());
        rows.entry(key).or_default().add_day(day)?;
    }
    for side in bill {
        let key = (side.account.clone(), side.period, side.billing_tag_code.clone());
        rows.entry(key).or_default().add_bill(side)?;
    }
    let waterfall: Vec<WaterfallRow> = rows
        .into_iter()
        .map(|(key, mut row)| {
            // No calls of ours cost nothing at any price, but without one the bill's amount is held against nothing.
            row.unpriced |= row.calls == 0 && !has_price(terms, &key);
            row.finish(key, terms.as_of)
        })
        .collect::<Result<_, _>>()?;
    let mut money = Money {
        price_book: terms.book.name.clone(),
        packages: packages.finish(),
        bill_rounding,
        ..Money::default()
    };
    for row in &waterfall {
        let add = |sum: &mut Amount, what, part: Option<Amount>| {
            add_amount(sum, part.unwrap_or_default(), what, &row.billing_tag_code, row.period)
        };
        // Row by row, so that the first that does not fit is named.
        add(&mut money.expected_cost, "the expected cost", row.expected_cost)?;
        add(&mut money.bill_cost, "the bill's cost", row.bill_cost)?;
    }
    money.waterfall = waterfall;
    money.add_up().ok_or(SettleError::Sums)?;
    Ok(Settled { days, money })
}

/// Calls of each day and tag code (of `account` alone) that packages cover: what they have room for when the days
/// before have taken theirs. Errors: counts beyond 2^63.
pub fn covered(
    usage: &[Usage],
    packages: &[Package],
    account: &str,
) -> Result<BTreeMap<(UsageDay, String), i64>, SettleError> {
    let calls = by_day(usage)?;
    let (shares, _) = shares(&calls, packages, account, None);
    let own = shares.iter().filter(|share| share.key.account == account);
    Ok(own
        .map(|share| ((share.key.day, share.key.tag.to_owned()), share.free + share.paid))
        .collect())
}

/// Where the calls of each day went, and what is left of the packages of an account.
fn shares<'u>(
    calls: &BTreeMap<DayKey<'u>, DayCalls<'u>>,
    packages: &'u [Package],
    account: &str,
    months: Option<&'u BTreeSet<UsageMonth>>,
) -> (Vec<Share<'u>>, Stock<'u>) {
    let mut stock = Stock::of(packages, months);
    let share = |(key, calls): (&DayKey<'u>, &DayCalls<'u>)| {
        let [free, paid] = match key.account == account {
            true => stock.take(key.tag, key.day, calls.count),
            false => [0, 0],
        };
        let postpaid = calls.count - free - paid;
        Share { key: *key, calls: *calls, free, paid, postpaid }
    };
    let shares = calls.iter().map(share).collect();
    (shares, stock)
}

/// Whether the price book has any price for a tag in a period.
fn has_price(terms: &Terms<'_>, (_, period, tag): &RowKey) -> bool {
    let (first, last) = period.days();
    (first.date32()..=last.date32())
        .any(|day| terms.book.rate(terms.class, tag, UsageDay::from_date32(day)).is_some())
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct DayKey<'a> {
    account: &'a str,
    day: UsageDay,
    tag: &'a str,
}

#[derive(Clone, Copy)]
struct DayCalls<'a> {
    label: &'a str,
    monthly: bool,
    count: i64,
}

fn by_day(usage: &[Usage]) -> Result<BTreeMap<DayKey<'_>, DayCalls<'_>>, SettleError> {
    let mut calls: BTreeMap<DayKey<'_>, DayCalls<'_>> = BTreeMap::new();
    for part in usage {
        let key = DayKey { account: &part.account, day: part.day, tag: &part.billing_tag_code };
        let sum = calls.entry(key).or_insert(DayCalls {
            label: &part.billing_tag,
            monthly: part.monthly,
            count: 0,
        });
        sum.count = sum
            .count
            .checked_add(part.calls)
            .ok_or(SettleError::Overflow { what: "charged calls", usage_date: part.day })?;
    }
    Ok(calls)
}

/// Packages and what is left of them, in the order in which they are used.
struct Stock<'a> {
    packages: Vec<Opened<'a>>,
    months: Option<&'a BTreeSet<UsageMonth>>,
}

struct Opened<'a> {
    package: &'a Package,
    left: i64,
    /// Taken on days of the months that are told, and on days after them.
    used: i64,
    used_later: i64,
}

impl<'a> Stock<'a> {
    fn of(packages: &'a [Package], months: Option<&'a BTreeSet<UsageMonth>>) -> Stock<'a> {
        let open = |package: &'a Package| {
            let left = package.size.saturating_sub(package.used_before).max(0);
            Opened { package, left, used: 0, used_later: 0 }
        };
        let mut packages: Vec<Opened<'_>> = packages.iter().map(open).collect();
        // What is lost first is used first.
        packages.sort_by_key(|Opened { package: p, .. }| {
            (!p.free, p.expires_on, p.bought_on, p.id.as_str())
        });
        Stock { packages, months }
    }

    /// Takes up to `calls` of a day: from free packages, and from paid ones.
    fn take(&mut self, tag: &str, day: UsageDay, calls: i64) -> [i64; 2] {
        let mut taken = [0, 0];
        let mut open = calls;
        let is_told = self.months.is_none_or(|months| months.contains(&day.month()));
        let is_later = self.months.and_then(|m| m.last()).is_some_and(|last| day.month() > *last);
        for Opened { package, left, used, used_later } in &mut self.packages {
            if package.tag == tag && package.is_valid_on(day) {
                let part = open.min(*left).max(0);
                *left -= part;
                open -= part;
                *used += if is_told { part } else { 0 };
                *used_later += if is_later { part } else { 0 };
                taken[usize::from(!package.free)] += part;
            }
        }
        taken
    }

    fn finish(self) -> Vec<PackageUse> {
        let told = |Opened { package, left, used, used_later }| {
            let left = left + used_later;
            PackageUse {
                id: package.id.clone(),
                billing_tag_code: package.tag.clone(),
                free: package.free,
                size: package.size,
                bought_on: package.bought_on.to_string(),
                expires_on: package.expires_on.to_string(),
                refunded_on: package.refunded_on.map(|day| day.to_string()),
                used_before: package.size - used - left,
                used,
                left,
            }
        };
        self.packages.into_iter().map(told).collect()
    }
}

/// One day and tag: where its calls went.
struct Share<'a> {
    key: DayKey<'a>,
    calls: DayCalls<'a>,
    free: i64,
    paid: i64,
    postpaid: i64,
}

type Volumes<'a> = BTreeMap<(&'a str, UsageMonth, &'a str), i64>;

fn month_volumes<'a>(shares: &[Share<'a>], which: TierVolume) -> Result<Volumes<'a>, SettleError> {
    let mut volumes = Volumes::new();
    for share in shares {
        let DayKey { account, day, tag } = share.key;
        let volume = volumes.entry((account, day.month(), tag)).or_default();
        let part = match which {
            TierVolume::Postpaid => share.postpaid,
            TierVolume::All => share.calls.count,
        };
        *volume = volume
            .checked_add(part)
            .ok_or(SettleError::Overflow { what: "the month's calls", usage_date: day })?;
    }
    Ok(volumes)
}

impl Share<'_> {
    fn cost(&self, terms: &Terms<'_>, volumes: &Volumes<'_>) -> Result<DayCost, SettleError> {
        let DayKey { account, day, tag } = self.key;
        let volume = volumes.get(&(account, day.month(), tag)).copied().unwrap_or(0);
        let rate = terms.book.rate(terms.class, tag, day);
        let unit_price = rate.and_then(|rate| rate.unit(volume));
        let cost = match (self.postpaid, unit_price) {
            (0, _) => Some(Amount::ZERO),
            (_, None) => None,
            (calls, Some(unit)) => Some(
                unit.checked_mul_count(calls)
                    .ok_or_else(|| too_large("the cost", tag, Period::Day(day)))?,
            ),
        };
        Ok(DayCost {
            account: account.to_owned(),
            usage_date: day,
            billing_tag: self.calls.label.to_owned(),
            billing_tag_code: tag.to_owned(),
            calls: self.calls.count,
            free_package: self.free,
            paid_package: self.paid,
            postpaid: self.postpaid,
            unit_price,
            cost,
            provisional: matches!(rate, Some(Rate::Reach(_)))
                && terms.as_of < day.first_of_next_month(),
        })
    }
}

/// Account, period, tag code.
type RowKey = (String, Period, String);

/// A row as it adds up.
#[derive(Default)]
struct Row {
    label: String,
    calls: i64,
    free: i64,
    paid: i64,
    postpaid: i64,
    cost: Amount,
    /// A day without a price had calls to pay for.
    unpriced: bool,
    /// The price of all days so far; the inner `None`: there is none.
    unit: Option<Option<Amount>>,
    mixed: bool,
    provisional: bool,
    deducted: Option<Amount>,
    billed: Option<Amount>,
    bill_cost: Option<Amount>,
}

impl Row {
    fn add_day(&mut self, day: &DayCost) -> Result<(), SettleError> {
        self.label.clone_from(&day.billing_tag);
        for (into, part) in [
            (&mut self.calls, day.calls),
            (&mut self.free, day.free_package),
            (&mut self.paid, day.paid_package),
            (&mut self.postpaid, day.postpaid),
        ] {
            *into = into.checked_add(part).ok_or(SettleError::Overflow {
                what: "charged calls",
                usage_date: day.usage_date,
            })?;
        }
        match day.cost {
            Some(cost) => {
                let period = Period::Day(day.usage_date);
                add_amount(&mut self.cost, cost, "the cost", &day.billing_tag_code, period)?;
            }
            None => self.unpriced = true,
        }
        self.mixed |= self.unit.is_some_and(|unit| unit != day.unit_price);
        self.unit = Some(day.unit_price);
        self.provisional |= day.provisional;
        Ok(())
    }

    fn add_bill(&mut self, side: &BillSide) -> Result<(), SettleError> {
        if self.label.is_empty() {
            self.label.clone_from(&side.billing_tag);
        }
        for (into, part, what) in [
            (&mut self.deducted, side.deducted, "deducted usage"),
            (&mut self.billed, side.billed, "billed usage"),
            (&mut self.bill_cost, side.cost, "the bill's cost"),
        ] {
            if let Some(part) = part {
                let sum = into.get_or_insert_default();
                add_amount(sum, part, what, &side.billing_tag_code, side.period)?;
            }
        }
        Ok(())
    }

    fn finish(self, key: RowKey, as_of: UsageDay) -> Result<WaterfallRow, SettleError> {
        let (account, period, billing_tag_code) = key;
        let expected_cost = (!self.unpriced).then_some(self.cost);
        let difference_cost = match (self.bill_cost, expected_cost) {
            (Some(bill), Some(expected)) => Some(
                bill.checked_sub(expected)
                    .ok_or_else(|| too_large("the difference", &billing_tag_code, period))?,
            ),
            _ => None,
        };
        let goes_on = matches!(period, Period::Month(month) if as_of.month() <= month);
        Ok(WaterfallRow {
            account,
            period,
            billing_tag: self.label,
            billing_tag_code,
            calls: self.calls,
            free_package: self.free,
            paid_package: self.paid,
            postpaid: self.postpaid,
            unit_price: self.unit.flatten().filter(|_| !self.mixed),
            expected_cost,
            bill_deducted: self.deducted,
            bill_billed: self.billed,
            bill_cost: self.bill_cost,
            difference_cost,
            provisional: self.provisional || goes_on,
        })
    }
}

fn add_amount(
    sum: &mut Amount,
    part: Amount,
    what: &'static str,
    tag: &str,
    period: Period,
) -> Result<(), SettleError> {
    *sum = sum.checked_add(part).ok_or_else(|| too_large(what, tag, period))?;
    Ok(())
}

fn too_large(what: &'static str, tag: &str, period: Period) -> SettleError {
    SettleError::Amount { what, billing_tag_code: tag.to_owned(), period: period.to_string() }
}

#[cfg(test)]
mod tests;
