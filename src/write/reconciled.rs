//! The tables of a reconciliation as rows: `reconciliation` and `seq_difference`.

use super::WriteError;
use super::schema::{RECONCILIATION, SEQ_DIFFERENCE};
use super::small::{amounts, batch, days, days_or_null, longs, texts, words, words_or_null};
use crate::model::{PartKind, Period, SeqDifference, UsageDay, Variance};
use arrow::array::{ArrayRef, BooleanArray, Int8Array, Int64Array, RecordBatch};
use std::sync::Arc;

/// Part kinds with a column of their own, in the order of the columns. `Duplicate` has none: it counts 0.
const PARTS: [PartKind; 8] = [
    PartKind::Midnight,
    PartKind::UnknownFlag,
    PartKind::NotFinal,
    PartKind::Reject,
    PartKind::FlagDiffers,
    PartKind::ProviderOnly,
    PartKind::OursOnly,
    PartKind::Unexplained,
];

/// The columns of `reconciliation`; the month is the partition.
pub fn reconciliation_batch(rows: &[Variance]) -> Result<RecordBatch, WriteError> {
    let first = |row: &Variance| match row.period {
        Period::Day(day) => day,
        Period::Month(month) => month.first_day(),
    };
    let last = |row: &Variance| match row.period {
        Period::Day(day) => day,
        Period::Month(month) => month.first_day().first_of_next_month().plus(-1),
    };
    let count = |get: fn(&Variance) -> i64| longs(rows.iter().map(get));
    let part = |kind: PartKind| {
        let of_kind = move |row: &Variance| {
            let parts = row.parts.iter().filter(|part| part.kind == kind);
            parts.map(|part| part.count).sum::<i64>()
        };
        longs(rows.iter().map(of_kind))
    };
    let mut columns: Vec<ArrayRef> = vec![
        days(rows.iter().map(first)),
        days(rows.iter().map(last)),
        words(rows.iter().map(|row| row.account.as_str())),
        words(rows.iter().map(|row| row.billing_tag.as_str())),
        words(rows.iter().map(|row| row.billing_tag_code.as_str())),
        words(rows.iter().map(|row| row.status.code())),
        count(|row| row.ours_attempts),
        count(|row| row.ours_charged),
        count(|row| row.ours_free),
        count(|row| row.ours_unknown),
        Arc::new(rows.iter().map(|row| row.provider_calls).collect::<Int64Array>()),
        amounts(rows.iter().map(|row| row.provider_deducted))?,
        amounts(rows.iter().map(|row| row.provider_billed))?,
        amounts(rows.iter().map(|row| row.provider_cost))?,
        amounts(rows.iter().map(|row| row.expected_cost))?,
        count(|row| row.difference),
    ];
    columns.extend(PARTS.map(part));
    // Texts and numbers only: there is nothing that JSON could not hold.
    let parts = rows.iter().map(|row| serde_json::to_string(&row.parts).unwrap_or_default());
    let parts: Vec<String> = parts.collect();
    let lines = rows.iter().map(|row| serde_json::to_string(&row.lines).unwrap_or_default());
    let lines: Vec<String> = lines.collect();
    columns.push(texts(parts.iter().map(String::as_str)));
    columns.push(texts(lines.iter().map(String::as_str)));
    batch(&RECONCILIATION, columns)
}

/// The columns of `seq_difference`; the month is the partition.
pub fn seq_difference_batch(rows: &[SeqDifference]) -> Result<RecordBatch, WriteError> {
    let day = |text: &Option<String>| text.as_deref().and_then(UsageDay::parse);
    let flags = |get: fn(&SeqDifference) -> Option<bool>| -> ArrayRef {
        Arc::new(rows.iter().map(get).collect::<BooleanArray>())
    };
    let longs_or_null = |get: fn(&SeqDifference) -> Option<i64>| -> ArrayRef {
        Arc::new(rows.iter().map(get).collect::<Int64Array>())
    };
    batch(
        &SEQ_DIFFERENCE,
        vec![
            texts(rows.iter().map(|row| row.seq.as_str())),
            words(rows.iter().map(|row| row.status.code())),
            days_or_null(rows.iter().map(|row| day(&row.ours_day))),
            days_or_null(rows.iter().map(|row| day(&row.provider_day))),
            flags(|row| row.ours_charge),
            flags(|row| row.provider_charge),
            words_or_null(rows.iter().map(|row| row.billing_tag.as_deref())),
            words_or_null(rows.iter().map(|row| row.rule_id.as_deref())),
            Arc::new(Int8Array::from_iter_values(rows.iter().map(|row| row.hour))),
            words_or_null(rows.iter().map(|row| row.source_key.as_deref())),
            longs_or_null(|row| row.source_record),
            words_or_null(rows.iter().map(|row| row.provider_file.as_deref())),
            longs_or_null(|row| row.provider_row),
        ],
    )
}
