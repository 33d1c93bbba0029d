//! The rows of `liveness_detail` that a reconciliation looks at, read once, file by file, on all threads.

use super::{RunError, stopped};
use crate::model::UsageDay;
use crate::reconcile::OurRow;
use crate::write::delta::LiveFile;
use crate::write::rows::{Pull, Pulls};
use crate::write::{OpenTable, WriteError};
use arrow::array::{Array, AsArray, BooleanArray, PrimitiveArray, RecordBatch, StringArray};
use arrow::datatypes::{ArrowPrimitiveType, Int32Type, Int64Type, TimestampMillisecondType};
use rayon::prelude::*;
use std::collections::BTreeSet;
use std::sync::atomic::AtomicBool;

/// One row. Borrowed: rows are looked at one by one.
pub struct Row<'r> {
    pub day: UsageDay,
    pub ours: OurRow<'r>,
    /// Label of the billing tag.
    pub billing_tag: &'r str,
    pub product: Option<&'r str>,
    /// When the result was pulled, milliseconds since the epoch; null where no envelope says it.
    pub fetched_at: Option<i64>,
    pulls: &'r Pulls<'r>,
    place: usize,
}

impl Row<'_> {
    /// What other pulls said of it that are known, by time.
    pub fn earlier_pulls(&self) -> impl DoubleEndedIterator<Item = Pull> {
        self.pulls.of_row(self.place)
    }
}

const COLUMNS: [&str; 15] = [
    "req_time",
    "seq",
    "account",
    "billing_tag",
    "billing_tag_code",
    "product",
    "channel",
    "is_need_charge",
    "errcode",
    "rule_id",
    "snapshot_final",
    "fetched_at",
    "earlier_pulls",
    "source_key",
    "source_record",
];

/// Shows every row of these days to `see`, on all threads: each begins with `new` for each stretch of files, and what
/// they saw is put together by `merge`, in no certain order. Each thread holds one file's columns at a time, as they
/// stand in it, so that memory is threads times a file (a million rows), whatever the table holds.
pub fn each_row<T: Send>(
    detail: &OpenTable,
    days: &BTreeSet<UsageDay>,
    stop: &AtomicBool,
    new: impl Fn() -> T + Sync + Send,
    see: impl Fn(&mut T, &Row<'_>) + Sync + Send,
    merge: impl Fn(T, T) -> T + Sync + Send,
) -> Result<T, RunError> {
    let of_day = |file: &'_ LiveFile| file.partition.as_deref().and_then(UsageDay::parse);
    let files: Vec<(UsageDay, &LiveFile)> = detail
        .files()
        .iter()
        .filter_map(|file| of_day(file).map(|day| (day, file)))
        .filter(|(day, _)| days.contains(day))
        .collect();
    files
        .par_iter()
        .try_fold(&new, |mut seen, (day, file)| {
            stopped(stop)?;
            for batch in detail.read_columns(file, &COLUMNS)? {
                let batch = batch?;
                let columns = Columns::of(&batch)?;
                for row in 0..batch.num_rows() {
                    see(&mut seen, &columns.row(*day, row));
                }
            }
            Ok::<T, RunError>(seen)
        })
        .try_reduce(&new, |a, b| Ok(merge(a, b)))
}

/// Texts of a column, with or without a dictionary.
enum Words<'b> {
    Plain(&'b StringArray),
    Coded(&'b PrimitiveArray<Int32Type>, &'b StringArray),
}

impl<'b> Words<'b> {
    fn get(&self, row: usize) -> Option<&'b str> {
        match self {
            Words::Plain(texts) => texts.is_valid(row).then(|| texts.value(row)),
            Words::Coded(codes, texts) => {
                codes.is_valid(row).then(|| texts.value(codes.value(row) as usize))
            }
        }
    }

    fn text(&self, row: usize) -> &'b str {
        self.get(row).unwrap_or("")
    }
}

/// The columns of a batch, by name.
struct Columns<'b> {
    req_time: &'b PrimitiveArray<TimestampMillisecondType>,
    seq: Words<'b>,
    account: Words<'b>,
    billing_tag: Words<'b>,
    billing_tag_code: Words<'b>,
    product: Words<'b>,
    channel: Words<'b>,
    charge: &'b BooleanArray,
    errcode: &'b PrimitiveArray<Int32Type>,
    rule_id: Words<'b>,
    snapshot_final: &'b BooleanArray,
    fetched_at: &'b PrimitiveArray<TimestampMillisecondType>,
    earlier_pulls: Pulls<'b>,
    source_key: Words<'b>,
    source_record: &'b PrimitiveArray<Int64Type>,
}

fn value<T: ArrowPrimitiveType>(column: &PrimitiveArray<T>, row: usize) -> Option<T::Native> {
    column.is_valid(row).then(|| column.value(row))
}

fn flag(column: &BooleanArray, row: usize) -> Option<bool> {
    column.is_valid(row).then(|| column.value(row))
}

impl<'b> Columns<'b> {
    fn of(batch: &'b RecordBatch) -> Result<Columns<'b>, WriteError> {
        let column = |name: &str| -> Result<&'b dyn Array, WriteError> {
            let at = batch.schema().index_of(name)?;
            Ok(batch.column(at).as_ref())
        };
        let words = |name: &str| -> Result<Words<'b>, WriteError> {
            let column = column(name)?;
            Ok(match column.as_string_opt::<i32>() {
                Some(texts) => Words::Plain(texts),
                None => {
                    let coded = column.as_dictionary::<Int32Type>();
                    Words::Coded(coded.keys(), coded.values().as_string::<i32>())
                }
            })
        };
        Ok(Columns {
            req_time: column("req_time")?.as_primitive(),
            seq: words("seq")?,
            account: words("account")?,
            billing_tag: words("billing_tag")?,
            billing_tag_code: words("billing_tag_code")?,
            product: words("product")?,
            channel: words("channel")?,
            charge: column("is_need_charge")?.as_boolean(),
            errcode: column("errcode")?.as_primitive(),
            rule_id: words("rule_id")?,
            snapshot_final: column("snapshot_final")?.as_boolean(),
            fetched_at: column("fetched_at")?.as_primitive(),
            earlier_pulls: Pulls::of(column("earlier_pulls")?.as_list()),
            source_key: words("source_key")?,
            source_record: column("source_record")?.as_primitive(),
        })
    }

    fn row<'c>(&'c self, day: UsageDay, row: usize) -> Row<'c> {
        Row {
            day,
            ours: OurRow {
                seq: self.seq.text(row),
                req_time: self.req_time.value(row),
                account: self.account.text(row),
                billing_tag_code: self.billing_tag_code.text(row),
                channel: self.channel.get(row),
                charge: flag(self.charge, row),
                snapshot_final: flag(self.snapshot_final, row),
                errcode: value(self.errcode, row),
                rule_id: self.rule_id.get(row),
                source_key: self.source_key.text(row),
                source_record: self.source_record.value(row),
                more_pulls: self.earlier_pulls.of_row(row).count() as u32,
            },
            billing_tag: self.billing_tag.text(row),
            product: self.product.get(row),
            fetched_at: value(self.fetched_at, row),
            pulls: &self.earlier_pulls,
            place: row,
        }
    }
}
