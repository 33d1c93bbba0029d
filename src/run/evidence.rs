//! The rows of `liveness_detail` of some days, shown one by one: what a reconciliation is explained with.
//!
//! Each thread holds one file's columns at a time, so that memory is threads times [`parquet::FILE_ROWS_MAX`] rows of
//! those columns, whatever the table holds.

use super::RunError;
use crate::model::UsageDay;
use crate::reconcile::OurRow;
use crate::write::{OpenTable, WriteError, parquet::plain_column};
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::datatypes::{Int32Type, Int64Type, TimestampMillisecondType};
use rayon::prelude::*;
use std::collections::BTreeSet;

const COLUMNS: [&str; 11] = [
    "seq",
    "req_time",
    "account",
    "billing_tag_code",
    "channel",
    "is_need_charge",
    "errcode",
    "rule_id",
    "snapshot_final",
    "source_key",
    "source_record",
];

/// Shows every row of these days to `see`, on all threads: each begins with `new` for each stretch of files, and what
/// they saw is put together by `merge`, in no certain order.
pub(super) fn each_row<T: Send>(
    detail: &OpenTable,
    days: &BTreeSet<UsageDay>,
    new: impl Fn() -> T + Sync + Send,
    see: impl Fn(&mut T, &OurRow<'_>) + Sync + Send,
    merge: impl Fn(T, T) -> T + Sync + Send,
) -> Result<T, RunError> {
    let of_days = |partition: &Option<String>| {
        partition.as_deref().and_then(UsageDay::parse).is_some_and(|day| days.contains(&day))
    };
    let files: Vec<_> = detail.files().iter().filter(|file| of_days(&file.partition)).collect();
    let seen = files
        .par_iter()
        .try_fold(&new, |mut seen, file| {
            for batch in detail.read(file, Some(&COLUMNS))? {
                each_of_batch(&batch, |row| see(&mut seen, row))?;
            }
            Ok::<T, WriteError>(seen)
        })
        .try_reduce(&new, |a, b| Ok(merge(a, b)))?;
    Ok(seen)
}

/// A column of words: by its dictionary, as it is stored.
struct Words {
    column: ArrayRef,
    values: StringArray,
}

impl Words {
    fn of(batch: &RecordBatch, name: &str) -> Result<Words, WriteError> {
        let column = batch.column_by_name(name).cloned();
        let column = match column {
            Some(column) => column,
            None => plain_column(batch, name)?,
        };
        let values = match column.as_dictionary_opt::<Int32Type>() {
            Some(dictionary) => dictionary.values().as_string::<i32>().clone(),
            None => column.as_string::<i32>().clone(),
        };
        Ok(Words { column, values })
    }

    fn get(&self, row: usize) -> Option<&str> {
        if self.column.is_null(row) {
            return None;
        }
        let place = match self.column.as_dictionary_opt::<Int32Type>() {
            Some(dictionary) => dictionary.keys().value(row) as usize,
            None => row,
        };
        Some(self.values.value(place))
    }
}

fn each_of_batch(batch: &RecordBatch, mut see: impl FnMut(&OurRow<'_>)) -> Result<(), WriteError> {
    let words = |name| Words::of(batch, name);
    let (seq, account, tag) = (words("seq")?, words("account")?, words("billing_tag_code")?);
    let (channel, rule, key) = (words("channel")?, words("rule_id")?, words("source_key")?);
    let column = |name| plain_column(batch, name);
    let (time, record) = (column("req_time")?, column("source_record")?);
    let time = time.as_primitive::<TimestampMillisecondType>();
    let record = record.as_primitive::<Int64Type>();
    let (flag, last, code) =
        (column("is_need_charge")?, column("snapshot_final")?, column("errcode")?);
    let (flag, last) = (flag.as_boolean(), last.as_boolean());
    let code = code.as_primitive::<Int32Type>();
    for row in 0..batch.num_rows() {
        see(&OurRow {
            seq: seq.get(row).unwrap_or_default(),
            req_time: time.value(row),
            account: account.get(row).unwrap_or_default(),
            billing_tag_code: tag.get(row).unwrap_or_default(),
            channel: channel.get(row),
            charge: flag.is_valid(row).then(|| flag.value(row)),
            snapshot_final: last.is_valid(row).then(|| last.value(row)),
            errcode: code.is_valid(row).then(|| code.value(row)),
            rule_id: rule.get(row),
            source_key: key.get(row).unwrap_or_default(),
            source_record: record.value(row),
        });
    }
    Ok(())
}
