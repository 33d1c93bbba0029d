//! The outcome of a reconciliation as rows: `reconciliation` and `seq_difference`.
//!
//! Takes nouns, gives one record batch per month of the file schemas. The parts of a difference have a column each, so
//! that they can be added up; their Seqs stand beside as JSON.

use super::WriteError;
use super::schema::{RECONCILIATION, SEQ_DIFFERENCE};
use super::small::{
    amounts, batch, days_or_null, longs, longs_or_null, texts, words, words_or_null,
};
use crate::model::{Amount, PartKind, Period, SeqDifference, UsageDay, Variance};
use arrow::array::{ArrayRef, BooleanArray, Int8Array, RecordBatch};
use std::sync::Arc;

fn json<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("texts and numbers")
}

/// The rows of one month, in the order given.
pub fn reconciliation_batch(rows: &[Variance]) -> Result<RecordBatch, WriteError> {
    let word = |get: fn(&Variance) -> &str| words(rows.iter().map(get));
    let count = |get: fn(&Variance) -> i64| longs(rows.iter().map(get));
    let amount = |get: fn(&Variance) -> Option<Amount>| amounts(rows.iter().map(get));
    let parts = |kind: PartKind| {
        let of_kind =
            |r: &Variance| r.parts.iter().filter(|p| p.kind == kind).map(|p| p.count).sum::<i64>();
        longs(rows.iter().map(of_kind))
    };
    let duplicates = |r: &Variance| {
        let duplicates = r.parts.iter().filter(|p| p.kind == PartKind::Duplicate);
        duplicates.map(|p| p.seqs_total).sum::<i64>()
    };
    let all = |get: fn(&Variance) -> String| {
        let each: Vec<String> = rows.iter().map(get).collect();
        texts(each.iter().map(String::as_str))
    };
    batch(
        &RECONCILIATION,
        vec![
            word(|r| &r.account),
            days_or_null(rows.iter().map(|r| day_of(r.period))),
            word(|r| &r.billing_tag),
            word(|r| &r.billing_tag_code),
            word(|r| r.status.code()),
            count(|r| r.ours_attempts),
            count(|r| r.ours_charged),
            count(|r| r.ours_free),
            count(|r| r.ours_unknown),
            longs_or_null(rows.iter().map(|r| r.provider_calls)),
            amount(|r| r.provider_deducted)?,
            amount(|r| r.provider_billed)?,
            amount(|r| r.provider_cost)?,
            amount(|r| r.expected_cost)?,
            count(|r| r.difference),
            parts(PartKind::Midnight),
            parts(PartKind::UnknownFlag),
            parts(PartKind::NotFinal),
            parts(PartKind::Duplicate),
            parts(PartKind::Reject),
            parts(PartKind::FlagDiffers),
            parts(PartKind::ProviderOnly),
            parts(PartKind::OursOnly),
            parts(PartKind::Unexplained),
            longs(rows.iter().map(duplicates)),
            all(|r| json(&r.parts)),
            all(|r| json(&r.lines)),
            longs_or_null(rows.iter().map(|r| r.expected_deducted)),
            longs_or_null(rows.iter().map(|r| r.expected_billed)),
        ],
    )
}

fn day_of(period: Period) -> Option<UsageDay> {
    match period {
        Period::Day(day) => Some(day),
        Period::Month(_) => None,
    }
}

/// The month, `YYYY-MM`, in whose partition a row stands.
pub fn month_of_row(row: &Variance) -> String {
    row.period.month().to_string()
}

/// The months, `YYYY-MM`, in whose partition a Seq may stand: that of our day, that of the list's.
pub fn months_of_seq(row: &SeqDifference) -> impl Iterator<Item = String> {
    let days = [row.ours_day.as_deref(), row.provider_day.as_deref()];
    days.into_iter().flatten().filter_map(|day| day.get(..7).map(str::to_owned))
}

/// The rows of one month, in the order given: that of the Seqs.
pub fn seq_difference_batch(rows: &[SeqDifference]) -> Result<RecordBatch, WriteError> {
    let word = |get: fn(&SeqDifference) -> Option<&str>| words_or_null(rows.iter().map(get));
    let days = |get: fn(&SeqDifference) -> Option<&str>| {
        days_or_null(rows.iter().map(|r| get(r).and_then(UsageDay::parse)))
    };
    let flag = |get: fn(&SeqDifference) -> Option<bool>| -> ArrayRef {
        Arc::new(rows.iter().map(get).collect::<BooleanArray>())
    };
    batch(
        &SEQ_DIFFERENCE,
        vec![
            texts(rows.iter().map(|r| r.seq.as_str())),
            word(|r| Some(r.status.code())),
            days(|r| r.ours_day.as_deref()),
            days(|r| r.provider_day.as_deref()),
            flag(|r| r.ours_charge),
            flag(|r| r.provider_charge),
            word(|r| r.billing_tag.as_deref()),
            word(|r| r.rule_id.as_deref()),
            Arc::new(Int8Array::from_iter_values(rows.iter().map(|r| r.hour))),
            word(|r| r.source_key.as_deref()),
            longs_or_null(rows.iter().map(|r| r.source_record)),
            word(|r| r.provider_file.as_deref()),
            longs_or_null(rows.iter().map(|r| r.provider_row)),
        ],
    )
}
