//! What of a bill is in no row, or is held against nothing: it keeps a bill from being told as right.
//!
//! Takes the bill as it was read and the rows as they were counted; gives one [`Beside`] per kind.

use super::bills;
use super::reconcile::Job;
use crate::decode::bill;
use crate::model::{
    Amount, Beside, BesideKind, BillLine, BillRead, LineKind, Money, OtherProduct, Period,
    PriceBook, SeqJoin, Status, UsageDay, UsageMonth, Variance, plural,
};
use crate::reconcile::{Counted, Statistics};
use std::collections::BTreeSet;

/// Lines and what they come to, on their way.
#[derive(Default)]
struct Sum {
    lines: i64,
    cost: Amount,
    gross: Amount,
    /// Calls without regard to sign; and whether a line says usage that gives no whole number of them.
    calls: i64,
    is_uncounted: bool,
    /// An amount that is not yuan, or does not fit.
    is_unknown: bool,
    /// A line does not say what it costs.
    is_silent: bool,
}

impl Sum {
    fn add(&mut self, line: &BillLine) {
        self.lines += 1;
        match line.calls() {
            Some(calls) => self.calls = self.calls.saturating_add(calls.saturating_abs()),
            None => self.is_uncounted |= line.says_usage(),
        }
        // Usage that does not say it billed nothing: other usage is a reject.
        self.is_silent |= line.cost.is_none() && line.kind != Some(LineKind::Usage);
        self.add_cost(line.cost.unwrap_or_default(), line.is_in_yuan());
    }

    fn add_cost(&mut self, cost: Amount, is_in_yuan: bool) {
        match (self.cost.checked_add(cost), self.gross.checked_add(cost.abs())) {
            (Some(cost), Some(gross)) if is_in_yuan => (self.cost, self.gross) = (cost, gross),
            _ => self.is_unknown = true,
        }
    }

    fn of<'l>(lines: impl IntoIterator<Item = &'l BillLine>) -> Sum {
        let mut sum = Sum::default();
        lines.into_iter().for_each(|line| sum.add(line));
        sum
    }

    fn told(&self, kind: BesideKind, over_tolerance: bool) -> Option<Beside> {
        let is_unknown = self.is_unknown || self.is_silent;
        let known = |amount| (!is_unknown).then_some(amount);
        (self.lines > 0).then_some(Beside {
            kind,
            lines: self.lines,
            cost: known(self.cost),
            cost_gross: known(self.gross),
            over_tolerance: over_tolerance || is_unknown,
        })
    }
}

/// Something whose amount is not known.
fn unknown(kind: BesideKind, lines: i64) -> Beside {
    Beside { kind, lines, cost: None, cost_gross: None, over_tolerance: true }
}

/// Whether a line is about a package itself: it was bought, or given back.
fn is_of_package(line: &BillLine) -> bool {
    let given_back = matches!(line.kind, Some(LineKind::Refund | LineKind::Adjustment));
    line.kind == Some(LineKind::PackagePurchase) || given_back && line.is_of_package()
}

/// Whether what a line costs, or what a call of it does, is no whole number of fen. All others are deducted as they are.
fn may_be_rounded(line: &BillLine) -> bool {
    let amounts = [line.cost, line.contract_price, line.list_price];
    line.is_of_usage()
        && line.cost.is_some_and(|cost| !cost.is_zero())
        && amounts.iter().flatten().any(|amount| *amount != amount.to_fen())
}

impl Job<'_> {
    /// One per kind that occurs, in the order of [`BesideKind::ALL`]. Amounts are compared where the price book is in yuan.
    pub(super) fn beside(
        &self,
        read: &BillRead,
        counted: &Counted,
        rows: &[Variance],
        joined: Option<&SeqJoin>,
        money: Option<&Money>,
        months: &BTreeSet<UsageMonth>,
    ) -> Vec<Beside> {
        let tolerance = self.tolerance();
        let asked_prices = self.prices;
        let compares_money = asked_prices.is_some_and(is_yuan);
        let over = |sum: &Sum| sum.gross > tolerance.amount;
        let passes = |sum: &Sum| over(sum) || sum.calls > tolerance.calls || sum.is_uncounted;
        let is_ours = |line: &&BillLine| *line.account == self.pipeline.account.uin;
        let all_known = || self.bills.lines.iter().filter(|line| self.knows(line));
        let lines_known = || all_known().filter(is_ours);
        let lines = || lines_known().filter(|line| self.asks_for(line));
        let mut told = Vec::new();

        let wording = bills::wording(self.pipeline);
        let sum = Sum::of(lines().filter(|line| bills::is_of_unknown_kind(line, &wording)));
        told.extend(sum.told(BesideKind::UnknownKind, passes(&sum)));
        if read.rejects_total > 0 {
            told.push(unknown(BesideKind::Rejected, read.rejects_total));
        }
        if self.bills.pages_missing > 0 {
            told.push(unknown(BesideKind::PagesMissing, self.bills.pages_missing));
        }
        if self.bills.parts_missing > 0 {
            told.push(unknown(BesideKind::PartsMissing, self.bills.parts_missing));
        }
        if self.bills.files_differ > 0 {
            told.push(unknown(BesideKind::FilesDiffer, self.bills.files_differ));
        }
        let mut like_ours = OtherProduct::default();
        for product in read.other_products.iter().filter(|product| product.like_ours) {
            like_ours.add(product);
        }
        let sum = Sum {
            lines: like_ours.lines,
            cost: like_ours.cost,
            gross: like_ours.cost_gross,
            is_silent: like_ours.lines_without_cost > 0,
            ..Sum::default()
        };
        let calls = like_ours.usage > Amount::of_count(tolerance.calls);
        told.extend(sum.told(BesideKind::ProductLikeOurs, over(&sum) || calls));
        let not_held =
            |line: &BillLine| self.pipeline.reconcile.not_held.contains(&&*line.billing_tag_code);
        let set_aside = lines().filter(|line| line.is_of_usage() && not_held(line));
        let sum = Sum { is_silent: false, ..Sum::of(set_aside) };
        told.extend(sum.told(BesideKind::NotHeld, false));
        let of_usage = || lines_known().filter(|line| line.is_of_usage() && !not_held(line));
        let of_asked = of_usage().filter(|line| self.asks_for(line));
        let sum = Sum::of(of_asked.filter(|line| line.usage_day().is_none()));
        told.extend(sum.told(BesideKind::NoDay, passes(&sum)));
        // What is billed early may not be all. More than ours is no less.
        let early = rows.iter().filter(|row| {
            let calls = row.provider_calls.unwrap_or(0).saturating_sub(row.ours_charged);
            let costs = row.provider_cost.zip(row.expected_cost);
            let more = costs.and_then(|(bill, ours)| bill.checked_sub(ours));
            let is_own = row.account == self.pipeline.account.uin;
            row.status == Status::Pending
                && is_own
                && (calls > tolerance.calls || more.is_some_and(|more| more > tolerance.amount))
        });
        let mut sum = Sum::default();
        for row in early {
            sum.lines += row.lines.len() as i64;
            sum.add_cost(row.provider_cost.unwrap_or_default(), true);
        }
        told.extend(sum.told(BesideKind::EarlyMore, true));
        let by_usage = counted.statistics == Statistics::ByUsage;
        let sum = Sum::of(of_usage().filter(|line| {
            let other = line.usage_day().is_some_and(|day| !months.contains(&day.month()));
            let in_question = match self.asked.month {
                None => true,
                Some(month) => by_usage && line.bill_month == Some(month),
            };
            other && in_question
        }));
        told.extend(sum.told(BesideKind::OtherMonth, passes(&sum)));
        if !by_usage && counted.lines_elsewhere > 0 {
            told.push(unknown(BesideKind::OtherMonth, counted.lines_elsewhere));
        }
        let differ = joined.map_or(0, |join| join.differences_total);
        if differ > 0 {
            let over_tolerance = differ > tolerance.calls;
            told.push(Beside { over_tolerance, ..unknown(BesideKind::SeqsDiffer, differ) });
        }
        if counted.lines_without_count > 0 {
            told.push(unknown(BesideKind::NoCount, counted.lines_without_count));
        }
        let in_unknown = of_usage().filter(|line| line.counts_unknown_units()).count();
        if in_unknown > 0 {
            told.push(unknown(BesideKind::UnknownUnit, in_unknown as i64));
        }
        if self.bills.uneven > 0 {
            told.push(unknown(BesideKind::MeasuresDisagree, self.bills.uneven));
        }
        let mut sum = Sum::default();
        for line in lines() {
            // What is paid may be rounded to fen.
            let more = line.overpaid(bill::names_payments(line));
            if let Some(more) = more.filter(|more| more.abs() >= Amount::FEN) {
                sum.lines += 1;
                sum.add_cost(more, line.is_in_yuan());
            }
        }
        told.extend(sum.told(BesideKind::PaymentsDisagree, over(&sum)));
        let sum = Sum::of(lines().filter(|line| line.kind == Some(LineKind::Rounding)));
        let rounded = lines().filter(|line| may_be_rounded(line)).count() as i64;
        let most = Amount::FEN.checked_mul_count(rounded).unwrap_or(Amount::ZERO);
        let most = most.checked_add(tolerance.amount);
        // A line of the whole bill rounds other products, too.
        let of_ours =
            |line: &BillLine| line.business_name.is_some() || line.business_code.is_some();
        let all_ours = lines().all(|line| line.kind != Some(LineKind::Rounding) || of_ours(line));
        let expected =
            money.filter(|money| compares_money && all_ours && money.unpriced_tags.is_empty());
        let is_other = expected.is_some_and(|money| {
            // Which sign it has is not published.
            let off = money.bill_rounding.abs().checked_sub(money.expected_rounding.abs());
            let off = off.and_then(|off| off.abs().checked_sub(tolerance.amount));
            sum.lines > 0 && off.is_none_or(|off| off >= Amount::FEN)
        });
        if sum.is_silent || is_other || most.is_none_or(|most| sum.gross > most) {
            told.extend(sum.told(BesideKind::RoundingTooLarge, true));
        }
        // Each package of the pipeline is one that was bought, and one that was given back.
        let mut told_of = BTreeSet::new();
        let (named, not_named): (Vec<&BillLine>, Vec<&BillLine>) = lines()
            .filter(|line| is_of_package(line))
            .partition(|line| asked_prices.is_none() || self.names_package_of(line, &mut told_of));
        let sum = Sum::of(not_named);
        told.extend(sum.told(BesideKind::PackageNotNamed, over(&sum)));
        // Their prices are not checked: nor is it missed where one does not say its own.
        let sum = Sum { is_silent: false, ..Sum::of(named) };
        told.extend(sum.told(BesideKind::Package, false));
        let differ = money.map_or(0, |money| packages_differ(money, rows));
        if differ > 0 {
            let over_tolerance = differ > tolerance.calls;
            told.push(Beside { over_tolerance, ..unknown(BesideKind::PackagesDiffer, differ) });
        }
        if compares_money {
            let sum = Sum::of(all_known().filter(|line| !is_ours(line)));
            told.extend(sum.told(BesideKind::OtherPayer, over(&sum)));
            if counted.lines_foreign > 0 {
                told.push(unknown(BesideKind::Currency, counted.lines_foreign));
            }
            let unpriced = rows.iter().filter(|row| {
                let is_out = row.status != Status::Pending;
                is_out && row.expected_cost.is_none() && row.account == self.pipeline.account.uin
            });
            let asks = |row: &&Variance| row.provider_cost.is_some_and(|cost| !cost.is_zero());
            let mut sum = Sum::default();
            for row in unpriced.filter(asks) {
                sum.lines += row.lines.len() as i64;
                sum.add_cost(row.provider_cost.unwrap_or_default(), true);
            }
            told.extend(sum.told(BesideKind::NoPrice, over(&sum)));
        }
        if asked_prices.is_some_and(|book| !is_yuan(book)) {
            told.push(unknown(BesideKind::PriceBookCurrency, 0));
        }
        told.sort_by_key(|beside| BesideKind::ALL.iter().position(|kind| *kind == beside.kind));
        told
    }

    /// Whether a line was there at the time of which is asked; where none is, all are.
    pub(super) fn knows(&self, line: &BillLine) -> bool {
        line.is_paid_by(self.asked.as_of_ms)
    }

    /// Whether a line is of what was asked for: what stands in the bill of the month, of whatever day, and what is of its
    /// days, in whatever bill.
    pub(super) fn asks_for(&self, line: &BillLine) -> bool {
        let of_month = [line.bill_month, line.usage_day().map(UsageDay::month)];
        self.asked.month.is_none_or(|month| of_month.contains(&Some(month)))
    }

    /// Whether the pipeline has the package that a line is about: of its tag, bought on the day from which the line says it
    /// counts (else that of the bill or of the payment) or given back on a day that the line names, and of no line before. A
    /// free package needs no line of a purchase; one that it has costs nothing.
    fn names_package_of(&self, line: &BillLine, told_of: &mut BTreeSet<(bool, usize)>) -> bool {
        let paid = line.pay_time.map(UsageDay::of_instant);
        let bought = line.kind == Some(LineKind::PackagePurchase);
        let days = match line.usage_from.filter(|_| bought) {
            Some(from) => [Some(from), None, None],
            None => [line.usage_from, line.bill_day, paid],
        };
        let on = |day: UsageDay| days.contains(&Some(day));
        let is_given = line.cost.is_none_or(Amount::is_zero);
        let packages = || {
            self.pipeline.reconcile.packages.iter().enumerate().filter(|(place, package)| {
                *package.tag == *line.billing_tag_code
                    && !told_of.contains(&(bought, *place))
                    && match bought {
                        true => (is_given || !package.free) && on(package.bought_on),
                        false => package.refunded_on.is_some_and(on),
                    }
            })
        };
        // Of a free one and a paid one of the same day, the line that costs nothing is the free one's.
        let first = packages().find(|(_, package)| package.free == is_given);
        let place = first.or_else(|| packages().next()).map(|(place, _)| place);
        place.is_some_and(|place| told_of.insert((bought, place)))
    }
}

/// Calls that the bill deducted and the packages of the pipeline do not give, or the other way round, in rows whose calls
/// agree; where they do not, the one follows from the other.
fn packages_differ(money: &Money, rows: &[Variance]) -> i64 {
    let agree: BTreeSet<(&str, Period, &str)> = rows
        .iter()
        .filter(|row| row.difference == 0 && row.status != Status::Pending)
        .map(|row| (row.account.as_str(), row.period, row.billing_tag_code.as_str()))
        .collect();
    let differ = money.waterfall.iter().filter_map(|row| {
        let key = (row.account.as_str(), row.period, row.billing_tag_code.as_str());
        let counts = row.bill_deducted.is_some() && agree.contains(&key);
        let more = row.deducted_difference().filter(|more| counts && !more.is_zero())?;
        // Half a call is one that differs.
        Some(more.abs().as_count().unwrap_or(1))
    });
    differ.fold(0, i64::saturating_add)
}

/// Amounts are compared in yuan; nothing is converted.
pub(super) fn is_yuan(book: &PriceBook) -> bool {
    book.currency == "CNY"
}

/// What of the money cannot be compared for its currency, told.
pub(super) fn foreign(
    lines: &[BillLine],
    counted: &Counted,
    book: Option<&PriceBook>,
) -> Vec<String> {
    let mut told = Vec::new();
    if counted.lines_foreign > 0 {
        let currencies: BTreeSet<&str> =
            lines.iter().filter_map(BillLine::foreign_currency).collect();
        let currencies: Vec<&str> = currencies.into_iter().collect();
        told.push(format!(
            "{} of {} in {}, not in yuan (CNY), and nothing is converted: the amounts of {} are left out, calls are compared all \
             the same",
            counted.lines_foreign,
            plural(counted.lines_joined.unsigned_abs(), "line"),
            currencies.join(", "),
            plural(counted.foreign.len() as u64, "row")
        ));
    }
    told.extend(book.filter(|book| !is_yuan(book)).map(|book| {
        format!(
            "the price book {} is in {}, and amounts are compared in yuan (CNY): money is left out; give prices in CNY \
             (reconcile.prices)",
            book.name, book.currency
        )
    }));
    told
}
