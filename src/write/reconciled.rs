//! The outcome of a reconciliation as rows: `reconciliation` and `seq_difference`.
//!
//! Takes nouns, gives one record batch per month of the file schemas. The parts of a difference have a column each, so
//! that they can be added up; their Seqs stand beside as JSON.

use super::WriteError;
use super::schema::{RECONCILIATION, SEQ_DIFFERENCE};
use crate::model::{Amount, PartKind, Period, SeqDifference, UsageDay, Variance};
use arrow::array::{
    ArrayRef, BooleanArray, Date32Array, Decimal128Array, Int8Array, Int64Array, RecordBatch,
    StringArray, StringDictionaryBuilder,
};
use arrow::datatypes::Int32Type;
use std::sync::Arc;

fn words<'w>(values: impl Iterator<Item = Option<&'w str>>) -> ArrayRef {
    let mut builder = StringDictionaryBuilder::<Int32Type>::new();
    values.for_each(|v| builder.append_option(v));
    Arc::new(builder.finish())
}

fn longs(values: impl Iterator<Item = Option<i64>>) -> ArrayRef {
    Arc::new(values.collect::<Int64Array>())
}

fn amounts(values: impl Iterator<Item = Option<Amount>>) -> Result<ArrayRef, WriteError> {
    let units: Decimal128Array = values.map(|v| v.map(Amount::units)).collect();
    Ok(Arc::new(units.with_precision_and_scale(38, 8)?))
}

fn json<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("texts and numbers")
}

/// The rows of one month, sorted by account, day (months first) and billing tag.
pub fn reconciliation_batch(rows: &[Variance]) -> Result<RecordBatch, WriteError> {
    let mut rows: Vec<&Variance> = rows.iter().collect();
    rows.sort_by_key(|r| (&r.account, day_of(r.period), &r.billing_tag, &r.billing_tag_code));
    let texts = |get: fn(&Variance) -> &str| words(rows.iter().map(|r| Some(get(r))));
    let count = |get: fn(&Variance) -> i64| longs(rows.iter().map(|r| Some(get(r))));
    let amount = |get: fn(&Variance) -> Option<Amount>| amounts(rows.iter().map(|r| get(r)));
    let parts =
        |kind: PartKind| {
            longs(rows.iter().map(|r| {
                Some(r.parts.iter().filter(|p| p.kind == kind).map(|p| p.count).sum::<i64>())
            }))
        };
    let duplicates = longs(rows.iter().map(|r| {
        let duplicates = r.parts.iter().filter(|p| p.kind == PartKind::Duplicate);
        Some(duplicates.map(|p| p.seqs_total).sum::<i64>())
    }));
    let days: Date32Array = rows.iter().map(|r| day_of(r.period).map(UsageDay::date32)).collect();
    let all = |get: fn(&Variance) -> String| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(rows.iter().map(|r| get(r))))
    };
    Ok(RecordBatch::try_new(
        RECONCILIATION.file_schema.clone(),
        vec![
            texts(|r| &r.account),
            Arc::new(days),
            texts(|r| &r.billing_tag),
            texts(|r| &r.billing_tag_code),
            texts(|r| r.status.code()),
            count(|r| r.ours_attempts),
            count(|r| r.ours_charged),
            count(|r| r.ours_free),
            count(|r| r.ours_unknown),
            longs(rows.iter().map(|r| r.provider_calls)),
            amount(|r| r.provider_deducted)?,
            amount(|r| r.provider_billed)?,
            amount(|r| r.provider_cost)?,
            amount(|r| r.expected_cost)?,
            count(|r| r.difference),
            parts(PartKind::Midnight),
            parts(PartKind::UnknownFlag),
            parts(PartKind::NotFinal),
            parts(PartKind::Reject),
            parts(PartKind::FlagDiffers),
            parts(PartKind::ProviderOnly),
            parts(PartKind::OursOnly),
            parts(PartKind::Unexplained),
            duplicates,
            all(|r| json(&r.parts)),
            all(|r| json(&r.lines)),
        ],
    )?)
}

fn day_of(period: Period) -> Option<UsageDay> {
    match period {
        Period::Day(day) => Some(day),
        Period::Month(_) => None,
    }
}

/// The month, `YYYY-MM`, in whose partition a row stands.
pub fn month_of_row(row: &Variance) -> String {
    match row.period {
        Period::Day(day) => day.month().to_string(),
        Period::Month(month) => month.to_string(),
    }
}

/// The month, `YYYY-MM`, in whose partition a Seq stands.
pub fn month_of_seq(row: &SeqDifference) -> String {
    let day = row.ours_day.as_deref().or(row.provider_day.as_deref());
    day.and_then(|day| day.get(..7)).unwrap_or("0000-00").to_owned()
}

/// The rows of one month, in the order given: that of the Seqs.
pub fn seq_difference_batch(rows: &[SeqDifference]) -> Result<RecordBatch, WriteError> {
    let word = |get: fn(&SeqDifference) -> Option<&str>| words(rows.iter().map(get));
    let days = |get: fn(&SeqDifference) -> Option<&str>| -> ArrayRef {
        let day = |r| get(r).and_then(UsageDay::parse).map(UsageDay::date32);
        Arc::new(rows.iter().map(day).collect::<Date32Array>())
    };
    let flag = |get: fn(&SeqDifference) -> Option<bool>| -> ArrayRef {
        Arc::new(rows.iter().map(get).collect::<BooleanArray>())
    };
    Ok(RecordBatch::try_new(
        SEQ_DIFFERENCE.file_schema.clone(),
        vec![
            Arc::new(StringArray::from_iter_values(rows.iter().map(|r| &r.seq))),
            word(|r| Some(r.status.code())),
            days(|r| r.ours_day.as_deref()),
            days(|r| r.provider_day.as_deref()),
            flag(|r| r.ours_charge),
            flag(|r| r.provider_charge),
            word(|r| r.billing_tag.as_deref()),
            word(|r| r.rule_id.as_deref()),
            Arc::new(Int8Array::from_iter_values(rows.iter().map(|r| r.hour))),
            word(|r| r.source_key.as_deref()),
            longs(rows.iter().map(|r| r.source_record)),
            word(|r| r.provider_file.as_deref()),
            longs(rows.iter().map(|r| r.provider_row)),
        ],
    )?)
}
