//! What a reconciliation gives: the report for machines, of which those for people are made.

use super::{Amount, BillReject, Period, SeqDifference, SeqStatus, Status, UsageDay, Variance};
use serde::Serialize;
use std::collections::BTreeSet;
use std::sync::Arc;

codes! {
    /// What a bill asks or says that is in no row, or of which a row holds only a part against our records. A bill with
    /// such things over tolerance is never told as right, whatever the rows say.
    BesideKind {
        /// Lines of our product and account whose transaction is not known, or known to be neither usage, nor what
        /// changes it, a package or rounding.
        UnknownKind = "unknown_kind",
        /// Lines that could not be read.
        Rejected = "rejected",
        /// Bill lines of pages that were not given.
        PagesMissing = "pages_missing",
        /// Pages of the provider's list with a next one, and numbered files of a bill, that were not given; `lines` counts them.
        PartsMissing = "parts_missing",
        /// Lines, and attempts of the provider's list, on which files differ that should say the same: a second download, a pack
        /// beside its detail bill, files that overlap.
        FilesDiffer = "files_differ",
        /// Lines of products whose names hold one of ours, and which nobody has named: counted as other products.
        ProductLikeOurs = "product_like_ours",
        /// Lines of pending rows that already ask more calls than ours has, or more than they cost: what is not out yet can only
        /// add to it.
        EarlyMore = "early_more",
        /// Lines of usage, and changes of it, that say no day: in no row.
        NoDay = "no_day",
        /// Lines of the bills in question that are of usage of a month that is not compared: late ones, changes of an earlier
        /// month without its bill. In no row.
        OtherMonth = "other_month",
        /// Lines of other payers, where money is compared: their rows have no price.
        OtherPayer = "other_payer",
        /// Seqs on which the provider's own list and ours differ; `lines` counts them.
        SeqsDiffer = "seqs_differ",
        /// Usage lines that give no whole number of calls: counted as none.
        NoCount = "no_count",
        /// Usage lines in a unit that is not known: each counts as one call.
        UnknownUnit = "unknown_unit",
        /// Usage lines whose three measures contradict each other (before packages - deducted is not billed).
        MeasuresDisagree = "measures_disagree",
        /// Lines whose payments (voucher, incentive, transfer, cash) are a fen or more off their cost; `cost` is what is paid more.
        PaymentsDisagree = "payments_disagree",
        /// Rounding lines that ask more than rounding every line of the bill could make, or a fen or more off what the price book
        /// makes of it.
        RoundingTooLarge = "rounding_too_large",
        /// Packages bought or given back that the pipeline does not name, where money is compared.
        PackageNotNamed = "package_not_named",
        /// Rows whose calls agree and of which the bill deducted other quantities than the packages of the pipeline give, where
        /// money is compared; `lines` counts the calls.
        PackagesDiffer = "packages_differ",
        /// Lines of billing tags whose results the pipeline says are not here: set aside knowingly, never over tolerance.
        NotHeld = "not_held",
        /// Lines of rows with an amount that is not in yuan, where money is compared.
        Currency = "currency",
        /// Packages bought or given back that the pipeline names, or of which counts alone speak: never over tolerance,
        /// and their own prices are not checked.
        Package = "package",
        /// What the bill asks for tags and days that the price book has no price for.
        NoPrice = "no_price",
        /// The price book is not in yuan: no amount is compared.
        PriceBookCurrency = "price_book_currency",
    }
}

impl OtherProduct {
    /// Adds the lines of another one. Told, and added up nowhere else: what does not fit stays out.
    pub fn add(&mut self, more: &OtherProduct) {
        self.lines += more.lines;
        self.lines_without_cost += more.lines_without_cost;
        self.like_ours |= more.like_ours;
        for (sum, part) in [
            (&mut self.usage, more.usage),
            (&mut self.cost, more.cost),
            (&mut self.cost_gross, more.cost_gross),
        ] {
            *sum = sum.checked_add(part).unwrap_or(*sum);
        }
    }
}

/// What is beside the rows, by kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Beside {
    pub kind: BesideKind,
    /// Lines of the bill; 0 where it is about none.
    pub lines: i64,
    /// What they come to, yuan; null where it is not known.
    pub cost: Option<Amount>,
    /// The same without regard to sign: what adds up to nothing is not nothing.
    pub cost_gross: Option<Amount>,
    /// Whether that is more than the pipeline tolerates; what is not known always is.
    pub over_tolerance: bool,
}

/// Lines of another product.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct OtherProduct {
    /// 产品名称 (else its code) as received.
    pub name: String,
    pub lines: i64,
    /// Usage before packages without regard to sign, whatever its unit.
    pub usage: Amount,
    /// 优惠后总价, whatever its currency; and the same without regard to sign.
    pub cost: Amount,
    pub cost_gross: Amount,
    /// Lines that do not say what they cost.
    pub lines_without_cost: i64,
    /// Its name holds one of ours, or names below it are those of a billing tag.
    pub like_ours: bool,
    /// Names and codes of what is below it (子产品, 组件), for who knows billing tags.
    #[serde(skip)]
    pub names: BTreeSet<Arc<str>>,
}

/// The outcome of `reconcile`. Serialised, it is what `--json` prints and the HTML report holds.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Reconciled {
    pub pipeline: String,
    /// The pipeline file as it was given on the command line, for commands that can be copied.
    pub pipeline_file: String,
    pub account: String,
    /// `YYYY-MM`, sorted.
    pub months: Vec<String>,
    /// RFC 3339 with +08:00.
    pub as_of: String,
    /// Versions of the tables that ours come from.
    pub detail_version: Option<i64>,
    pub daily_version: Option<i64>,
    pub bill: BillRead,
    /// One row per account, period and billing tag, sorted by them.
    pub rows: Vec<Variance>,
    /// One per status that occurs, in the order of [`Status::ALL`].
    pub totals: Vec<StatusTotal>,
    /// Where the provider's own list was given.
    pub seqs: Option<SeqJoin>,
    /// Where the pipeline names a price book.
    pub money: Option<Money>,
    pub audit: Option<Audit>,
    /// Calls and yuan that one row may differ by, and rows that differ by more.
    pub tolerance_calls: i64,
    pub tolerance_amount: Amount,
    pub over_tolerance: i64,
    /// What of the bill no row holds, one per kind that occurs.
    pub beside: Vec<Beside>,
}

impl Reconciled {
    /// Whether anything, a row or what is beside the rows, is more than the pipeline tolerates.
    pub fn is_over_tolerance(&self) -> bool {
        self.over_tolerance > 0 || self.beside.iter().any(|beside| beside.over_tolerance)
    }
}

/// The bill as it was read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct BillRead {
    pub files: Vec<BillFile>,
    pub lines: i64,
    /// Lines of other products, set aside: each once, whatever the copies and forms of the bill (a file counts its own).
    pub lines_other_products: i64,
    /// By product, the most expensive first.
    pub other_products: Vec<OtherProduct>,
    pub rejects: Vec<BillReject>,
    pub rejects_total: i64,
    /// For people: a month that is not complete, files that a later one replaced.
    pub warnings: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct BillFile {
    pub name: String,
    /// `detail_csv`, `detail_json`, `wechat_json`.
    pub kind: String,
    /// `utf-8`, `utf-8-bom`, `gb18030`.
    pub encoding: String,
    pub rows: i64,
    pub lines: i64,
    pub lines_other_products: i64,
    pub rejects: i64,
    /// The later cumulative file that replaced it; its lines do not count then.
    pub replaced_by: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StatusTotal {
    pub status: Status,
    pub rows: i64,
    pub ours_charged: i64,
    pub provider_calls: i64,
    pub difference: i64,
}

/// The full join by Seq with the provider's list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SeqJoin {
    pub agree: i64,
    pub flag_differs: i64,
    pub day_differs: i64,
    pub ours_only: i64,
    pub provider_only: i64,
    /// All of them, by rule, hour of the Beijing day and status.
    pub groups: Vec<SeqGroup>,
    /// Sorted by Seq, cut at a bound; all of them stand in the table `seq_difference`.
    pub differences: Vec<SeqDifference>,
    pub differences_total: i64,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct SeqGroup {
    pub rule_id: Option<String>,
    pub hour: i8,
    pub status: SeqStatus,
    pub count: i64,
}

/// Expected quantities and amounts against the bill's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Money {
    /// Name of the price book.
    pub price_book: String,
    /// free package -> paid package -> postpaid, per tag and period.
    pub waterfall: Vec<WaterfallRow>,
    pub packages: Vec<PackageUse>,
    /// Of the rows that have a price; so is `bill_cost`.
    pub expected_cost: Amount,
    pub bill_cost: Amount,
    /// Labels of the tags with rows that the price book has no price for, and what the bill asks in these rows: no part of
    /// the comparison.
    pub unpriced_tags: Vec<String>,
    pub bill_cost_unpriced: Amount,
    /// Sum of the bill's rounding lines (月度计费精度差异).
    pub bill_rounding: Amount,
    /// What the rounding lines should come to: exact minus rounded to fen, of the rows added up, so that a bill that is right
    /// has the same number (which sign lines of the cloud have is not published).
    pub expected_rounding: Amount,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WaterfallRow {
    pub account: String,
    pub period: Period,
    pub billing_tag: String,
    pub billing_tag_code: String,
    /// Our charged attempts: free_package + paid_package + postpaid.
    pub calls: i64,
    pub free_package: i64,
    pub paid_package: i64,
    pub postpaid: i64,
    /// Null where the price book has no price for the tag in the period, or more than one.
    pub unit_price: Option<Amount>,
    /// Null where there is no price and nothing else says that nothing is due.
    pub expected_cost: Option<Amount>,
    pub bill_deducted: Option<Amount>,
    pub bill_billed: Option<Amount>,
    pub bill_cost: Option<Amount>,
    /// The bill minus the expected.
    pub difference_cost: Option<Amount>,
    /// Final at the month's end only: a month that goes on, or reach tiers in it.
    pub provisional: bool,
}

impl WaterfallRow {
    /// What the bill deducted minus what the packages give; a bill that does not say deducted none. `None` where it does
    /// not fit.
    pub fn deducted_difference(&self) -> Option<Amount> {
        let given = Amount::of_count(self.free_package.checked_add(self.paid_package)?);
        self.bill_deducted.unwrap_or(Amount::ZERO).checked_sub(given)
    }

    /// Whether the bill deducted as many calls as the packages give.
    pub fn agrees_on_packages(&self) -> bool {
        self.deducted_difference().is_some_and(Amount::is_zero)
    }
}

impl Money {
    /// Adds its rows up anew; `None` where a sum does not fit.
    pub fn add_up(&mut self) -> Option<()> {
        let rows = &self.waterfall;
        self.expected_cost = Amount::checked_sum(rows.iter().filter_map(|row| row.expected_cost))?;
        let priced = rows.iter().filter(|row| row.expected_cost.is_some());
        self.bill_cost = Amount::checked_sum(priced.filter_map(|row| row.bill_cost))?;
        self.bill_cost_unpriced =
            Amount::checked_sum(self.unpriced().filter_map(|row| row.bill_cost))?;
        let rounding = rows.iter().filter_map(|row| row.expected_cost);
        let rounding: Option<Vec<Amount>> =
            rounding.map(|cost| cost.checked_sub(cost.to_fen())).collect();
        self.expected_rounding = Amount::checked_sum(rounding?)?;
        let tags: BTreeSet<String> = self.unpriced().map(|row| row.billing_tag.clone()).collect();
        self.unpriced_tags = tags.into_iter().collect();
        Some(())
    }

    /// Rows that have something to pay for, and no price.
    pub fn unpriced(&self) -> impl Iterator<Item = &WaterfallRow> {
        let asks = |row: &WaterfallRow| row.bill_cost.is_some_and(|cost| !cost.is_zero());
        let rows = self.waterfall.iter().filter(|row| row.expected_cost.is_none());
        rows.filter(move |row| row.postpaid > 0 || asks(row))
    }

    /// Whether there is anything to compare: no calls, and calls of a package, cost nothing even without a price.
    pub fn is_compared(&self) -> bool {
        self.waterfall.iter().any(|row| {
            let priced = row.unit_price.is_some() || row.bill_cost.is_some();
            row.expected_cost.is_some_and(|cost| priced || !cost.is_zero())
        })
    }

    /// The unit price of a tag (by label) on a day, as it was applied.
    pub fn unit_price(&self, billing_tag: &str, day: UsageDay) -> Option<Amount> {
        let covers =
            |period: Period| period == Period::Day(day) || period == Period::Month(day.month());
        self.waterfall
            .iter()
            .find(|row| row.billing_tag == billing_tag && covers(row.period))
            .and_then(|row| row.unit_price)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PackageUse {
    pub id: String,
    pub billing_tag_code: String,
    pub free: bool,
    pub size: i64,
    pub bought_on: String,
    /// First day on which it is no longer valid.
    pub expires_on: String,
    /// First day on which it no longer counted, as it was given back.
    pub refunded_on: Option<String>,
    /// size = used_before + used + left. `used` are calls on days of the months that are compared, `left` is what was left
    /// at the end of the last of them; `used_before` is all else, what the pipeline says of it included.
    pub used_before: i64,
    pub used: i64,
    pub left: i64,
}

/// The published charge rules held against `IsNeedCharge`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Audit {
    pub checked: i64,
    /// Attempts of products and channels of which no published table is known to hold.
    pub no_table: i64,
    /// Attempts whose code their table does not list.
    pub not_listed: i64,
    /// Attempts with a verdict whose IsNeedCharge is not known.
    pub unknown_flag: i64,
    /// Charged though the rules say free.
    pub charged_against_rule: i64,
    /// Free though the rules say charged.
    pub free_against_rule: i64,
    /// What those of `charged_against_rule` that have a price cost at the price book's postpaid prices, whether or not a package
    /// covered them; null where none has.
    pub overcharge: Option<Amount>,
    /// Those of them without a price (or whose cost does not fit): no part of `overcharge`.
    pub overcharge_unpriced: i64,
    /// Sorted by Seq, cut at a bound.
    pub findings: Vec<AuditFinding>,
    pub findings_total: i64,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct AuditFinding {
    pub seq: String,
    pub usage_date: String,
    pub billing_tag: String,
    pub errcode: i32,
    pub is_need_charge: bool,
    /// What the rule says.
    pub published_charge: bool,
    /// Code of the rule table (edition) and the day from which it holds.
    pub edition: String,
    pub rule_from: String,
    /// The postpaid price of the price book, before packages, where it was charged against the rule.
    pub money: Option<Amount>,
}
