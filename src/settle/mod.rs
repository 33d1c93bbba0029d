//! Rows to daily charges.
//!
//! Takes record batches of `liveness_detail`, a file at a time; gives one [`DailyCharge`] per usage date,
//! settlement date, account and billing tag. Polars adds up each batch; the sums of batches are added
//! here in checked integers, because Polars' own sums wrap. It is the only room that knows Polars.

use crate::model::{DailyCharge, UsageDay};
use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, TimeUnit};
use arrow::error::ArrowError;
use polars::prelude::*;
use std::collections::BTreeMap;

#[derive(Debug, thiserror::Error)]
pub enum SettleError {
    #[error("Polars: {0}")]
    Polars(#[from] PolarsError),
    #[error("Arrow: {0}")]
    Arrow(#[from] ArrowError),
    #[error("{column}: no such column in what settle was given")]
    Column { column: &'static str },
    #[error("{what} of {usage_date} passed 2^63: a sum this large cannot be right")]
    Overflow { what: &'static str, usage_date: UsageDay },
}

/// Columns of `liveness_detail` that settling needs, besides the usage date of the partition.
pub const COLUMNS: [&str; 7] = [
    "settlement_date",
    "req_time",
    "account",
    "billing_tag",
    "is_need_charge",
    "errcode",
    "snapshot_final",
];

/// Daily charges as they add up.
#[derive(Default)]
pub struct Settler {
    rows: BTreeMap<(UsageDay, UsageDay, String, String), DailyCharge>,
}

impl Settler {
    /// Adds the rows of a batch; all of them are of `usage_date`.
    pub fn add(&mut self, usage_date: UsageDay, batch: &RecordBatch) -> Result<(), SettleError> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let sums = add_up(batch)?;
        let int = |name: &str| -> Result<Int64Chunked, SettleError> {
            Ok(sums.column(name)?.cast(&polars::prelude::DataType::Int64)?.i64()?.clone())
        };
        let settlement = sums.column("settlement_date")?.cast(&polars::prelude::DataType::Int32)?;
        let settlement = settlement.i32()?;
        let (account, tag) = (sums.column("account")?.str()?, sums.column("billing_tag")?.str()?);
        let (attempts, charged, free) = (int("attempts")?, int("charged")?, int("free")?);
        let (failed, not_final) = (int("charged_failed")?, int("not_final")?);
        let (first, last) = (int("first_req_time")?, int("last_req_time")?);
        for i in 0..sums.height() {
            let settlement_date = UsageDay::from_date32(settlement.get(i).unwrap_or_default());
            let account = account.get(i).unwrap_or_default().to_owned();
            let tag = tag.get(i).unwrap_or_default().to_owned();
            let count = |sums: &Int64Chunked| sums.get(i).unwrap_or_default();
            let part = DailyCharge {
                usage_date,
                settlement_date,
                account: account.clone(),
                billing_tag: tag.clone(),
                attempts: count(&attempts),
                charged: count(&charged),
                free: count(&free),
                unknown: count(&attempts) - count(&charged) - count(&free),
                charged_failed: count(&failed),
                not_final: count(&not_final),
                first_req_time: count(&first),
                last_req_time: count(&last),
                source_version: 0,
            };
            match self.rows.entry((usage_date, settlement_date, account, tag)) {
                std::collections::btree_map::Entry::Vacant(place) => {
                    place.insert(part);
                }
                std::collections::btree_map::Entry::Occupied(mut place) => {
                    add_checked(place.get_mut(), &part)?;
                }
            }
        }
        Ok(())
    }

    /// The daily charges, sorted by usage date, settlement date, account and tag, each with the version
    /// of `liveness_detail` it comes from.
    pub fn finish(self, source_version: i64) -> Vec<DailyCharge> {
        self.rows.into_values().map(|row| DailyCharge { source_version, ..row }).collect()
    }
}

/// Adds the counts of `part` to `sum`: never wraps.
fn add_checked(sum: &mut DailyCharge, part: &DailyCharge) -> Result<(), SettleError> {
    let usage_date = sum.usage_date;
    for (what, into, n) in [
        ("attempts", &mut sum.attempts, part.attempts),
        ("charged", &mut sum.charged, part.charged),
        ("free", &mut sum.free, part.free),
        ("unknown", &mut sum.unknown, part.unknown),
        ("charged_failed", &mut sum.charged_failed, part.charged_failed),
        ("not_final", &mut sum.not_final, part.not_final),
    ] {
        *into = into.checked_add(n).ok_or(SettleError::Overflow { what, usage_date })?;
    }
    sum.first_req_time = sum.first_req_time.min(part.first_req_time);
    sum.last_req_time = sum.last_req_time.max(part.last_req_time);
    Ok(())
}

/// One batch, grouped. A batch has fewer than 2^31 rows, so that no sum of it can wrap.
fn add_up(batch: &RecordBatch) -> Result<DataFrame, SettleError> {
    let columns =
        COLUMNS.iter().map(|name| to_polars(batch, name)).collect::<Result<Vec<_>, _>>()?;
    let frame = DataFrame::new(batch.num_rows(), columns)?;
    let yes = |e: Expr| e.fill_null(lit(false)).cast(polars::prelude::DataType::Int64).sum();
    let sums = frame
        .lazy()
        .group_by([col("settlement_date"), col("account"), col("billing_tag")])
        .agg([
            len().cast(polars::prelude::DataType::Int64).alias("attempts"),
            yes(col("is_need_charge")).alias("charged"),
            yes(col("is_need_charge").not()).alias("free"),
            yes(col("is_need_charge").and(col("errcode").neq(lit(0)))).alias("charged_failed"),
            yes(col("snapshot_final").not()).alias("not_final"),
            col("req_time").min().alias("first_req_time"),
            col("req_time").max().alias("last_req_time"),
        ])
        .collect()?;
    Ok(sums)
}

/// One column, handed over by the Arrow C Data Interface: the two crates share no types.
fn to_polars(batch: &RecordBatch, name: &'static str) -> Result<Column, SettleError> {
    let column = batch.column_by_name(name).ok_or(SettleError::Column { column: name })?;
    // Plain types only: what is added up needs neither dictionaries nor time units.
    let plain: ArrayRef = match column.data_type() {
        DataType::Dictionary(_, _) => cast(column, &DataType::Utf8View)?,
        DataType::Timestamp(TimeUnit::Millisecond, _) => cast(column, &DataType::Int64)?,
        DataType::Date32 => cast(column, &DataType::Int32)?,
        _ => column.clone(),
    };
    let (array, schema) = arrow::ffi::to_ffi(&plain.to_data())?;
    #[allow(unsafe_code)]
    // SAFETY: both sides lay these structs out as the Arrow C Data Interface says, which is what it is
    // for. Each is moved once: the release callback inside is Polars' to call from here on.
    let series = unsafe {
        let schema: polars_arrow::ffi::ArrowSchema = std::mem::transmute(schema);
        let array: polars_arrow::ffi::ArrowArray = std::mem::transmute(array);
        let field = polars_arrow::ffi::import_field_from_c(&schema)?;
        let array = polars_arrow::ffi::import_array_from_c(array, field.dtype)?;
        Series::from_arrow(name.into(), array)?
    };
    Ok(series.into())
}
