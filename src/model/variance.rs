//! Ours against theirs: what a reconciliation says.

use super::{Amount, UsageDay, UsageMonth};
use std::fmt;

codes! {
    /// How a row of ours stands to the bill: each row has exactly one. The first that fits, in this order:
    /// unmapped, adjusted, pending, covered_by_package, provider_only, ours_only, matched, provider_more, ours_more.
    Status {
        /// The counts agree.
        Matched = "matched",
        /// The bill counts more.
        ProviderMore = "provider_more",
        /// We count more.
        OursMore = "ours_more",
        /// The bill has usage where we have no charged attempt.
        ProviderOnly = "provider_only",
        /// We have charged attempts where the bill has no line, and packages do not explain it.
        OursOnly = "ours_only",
        /// The bill of that day is not out at `as_of`.
        Pending = "pending",
        /// No line while a package is valid, or a line of nothing billed whose count is ours: a package covered the usage.
        CoveredByPackage = "covered_by_package",
        /// Attempts or lines without a billing tag.
        Unmapped = "unmapped",
        /// An adjustment changed the line.
        Adjusted = "adjusted",
    }
}

codes! {
    /// Why two counts differ, as far as the rows say.
    PartKind {
        /// Attempts that the other side has on another day: near midnight, where counts alone are known.
        Midnight = "midnight",
        /// `IsNeedCharge` was null.
        UnknownFlag = "unknown_flag",
        /// The result could still grow when it was pulled.
        NotFinal = "not_final",
        /// What a count without regard to Seq has counted twice: attempts that came more than once and that we hold once;
        /// `seqs_total` says how many of them there are.
        Duplicate = "duplicate",
        /// Attempts of that day that were set aside: by Seq, or one for each record of which no Seq could be read.
        Reject = "reject",
        /// The provider's list charges it and we hold it as free (or the other way).
        FlagDiffers = "flag_differs",
        /// The provider's list holds it and we do not.
        ProviderOnly = "provider_only",
        /// We hold it and the provider's list does not.
        OursOnly = "ours_only",
        /// Nothing in the rows says why.
        Unexplained = "unexplained",
    }
}

codes! {
    /// One Seq, ours against the provider's list.
    SeqStatus {
        Agree = "agree",
        FlagDiffers = "flag_differs",
        DayDiffers = "day_differs",
        OursOnly = "ours_only",
        ProviderOnly = "provider_only",
    }
}

/// A day, or a month where the account or tag settles monthly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Period {
    Day(UsageDay),
    Month(UsageMonth),
}

impl Period {
    /// First and last day.
    pub fn days(self) -> (UsageDay, UsageDay) {
        match self {
            Period::Day(day) => (day, day),
            Period::Month(month) => {
                let first = month.first_day();
                (first, first.first_of_next_month().plus(-1))
            }
        }
    }

    /// The month in which it lies.
    pub fn month(self) -> UsageMonth {
        match self {
            Period::Day(day) => day.month(),
            Period::Month(month) => month,
        }
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Period::Day(day) => day.fmt(f),
            Period::Month(month) => month.fmt(f),
        }
    }
}

impl serde::Serialize for Period {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// One reason and how much of a difference it is. `count` has the sign of the bill minus ours; the counts of all
/// parts of a variance add up to its difference.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Part {
    pub kind: PartKind,
    pub count: i64,
    /// The Seqs that can be the reason, sorted. There may be more of them than `count`: then the counts alone do not say which.
    pub seqs: Vec<String>,
    /// How many Seqs there are, where `seqs` was cut.
    pub seqs_total: i64,
    /// Objects behind it: of rejects, and of attempts that came again.
    pub source_keys: Vec<String>,
}

/// One row of `reconciliation`: one account, period and billing tag. `difference` = `provider_calls` - `ours_charged`, a
/// null taken as 0; it is 0 where there is no line because the bill is not out or a package covered the usage.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Variance {
    pub account: String,
    pub period: Period,
    pub billing_tag: String,
    pub billing_tag_code: String,
    pub status: Status,
    pub ours_attempts: i64,
    pub ours_charged: i64,
    pub ours_free: i64,
    pub ours_unknown: i64,
    /// Usage before packages, of all lines; null without a line.
    pub provider_calls: Option<i64>,
    pub provider_deducted: Option<Amount>,
    pub provider_billed: Option<Amount>,
    /// 优惠后总价 of the lines.
    pub provider_cost: Option<Amount>,
    /// Charged attempts of ours that packages take, and those that are billed, where there is a price book; and what it makes
    /// of these.
    pub expected_deducted: Option<i64>,
    pub expected_billed: Option<i64>,
    pub expected_cost: Option<Amount>,
    pub difference: i64,
    pub parts: Vec<Part>,
    /// The provider's list per Seq was given of all of it.
    pub listed: bool,
    /// Line ids (else file and row) of the bill.
    pub lines: Vec<String>,
}

impl Variance {
    /// The bill's cost minus what the price book makes of our records; `None` without a price, while the bill is not
    /// out, and where the sum does not fit. No line costs nothing.
    pub fn cost_difference(&self) -> Option<Amount> {
        if self.status == Status::Pending {
            return None;
        }
        self.provider_cost.unwrap_or(Amount::ZERO).checked_sub(self.expected_cost?)
    }
}

/// One row of `seq_difference`: one Seq on which the provider's list and ours do not agree.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub struct SeqDifference {
    pub seq: String,
    pub status: SeqStatus,
    pub ours_day: Option<String>,
    pub provider_day: Option<String>,
    pub ours_charge: Option<bool>,
    pub provider_charge: Option<bool>,
    /// Code of the billing tag.
    pub billing_tag: Option<String>,
    pub rule_id: Option<String>,
    /// Hour of the Beijing day, 0 to 23, of ours, else of the provider's.
    pub hour: i8,
    pub source_key: Option<String>,
    pub source_record: Option<i64>,
    pub provider_file: Option<String>,
    pub provider_row: Option<i64>,
}
