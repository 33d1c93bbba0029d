//! Where two numbers disagree, and why: daily charges against the bill, attempts against the provider's own list.
//!
//! Takes nouns of `model` and an `as_of`, gives variances. No I/O, no clock, and nothing here changes a count.
//!
//! - `counts`: the full join on account, period and billing tag; one status a row.
//! - `explain`: the parts of a difference, from one pass over the rows of the days that differ.
//! - `seqs`: the full join by Seq with the provider's list.

mod counts;
mod explain;
mod seqs;
#[cfg(test)]
mod tests;

pub use counts::{
    CountError, Counted, PackageSpan, RowKey, Settings, Statistics, Tolerance, counts, of_months,
    totals,
};
pub use explain::{
    DuplicatesOn, Evidence, Found, Limits, MIDNIGHT_MINUTES, RejectOn, SEQS_MAX, SEQS_MIN, Wanted,
    explain, list_candidates, wanted, wanted_again,
};
pub use seqs::{
    DIFFERENCES_MAX, Differences, ListScope, SeqError, SeqFacts, SeqJoiner, SeqOutcome, SeqSeen,
};

use crate::model::{Period, UsageDay};

/// What a row of `liveness_detail` says here. Borrowed: rows are looked at one by one.
#[derive(Clone, Copy, Debug)]
pub struct OurRow<'r> {
    pub seq: &'r str,
    /// Milliseconds since the epoch.
    pub req_time: i64,
    pub account: &'r str,
    pub billing_tag_code: &'r str,
    pub channel: Option<&'r str>,
    /// `is_need_charge`: null is unknown.
    pub charge: Option<bool>,
    /// `snapshot_final`: null is not known.
    pub snapshot_final: Option<bool>,
    pub errcode: Option<i32>,
    pub rule_id: Option<&'r str>,
    pub source_key: &'r str,
    pub source_record: i64,
    /// Pulls besides the row's own that are known to have held it.
    pub more_pulls: u32,
}

/// Code of what has no billing tag.
const UNMAPPED: &str = "unmapped";

/// The days of a period, in order.
fn each_day(period: Period) -> impl Iterator<Item = UsageDay> {
    let (first, last) = period.days();
    (first.date32()..=last.date32()).map(UsageDay::from_date32)
}
