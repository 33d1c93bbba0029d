//! Rows to daily charges.
//!
//! Takes record batches of `liveness_detail`, a file at a time; gives one [`DailyCharge`] per usage date,
//! settlement date, account and billing tag. Polars adds up each batch; the sums of batches are added
//! here in checked integers, because Polars' own sums wrap. It is the only room that knows Polars. `waterfall` says
//! what the charges cost.

mod waterfall;

pub use waterfall::{BillSide, Settled, Terms, Usage, waterfall};

use crate::model::{DailyCharge, UsageDay};
use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Date32Type, Int32Type, TimeUnit};
use arrow::error::ArrowError;
use polars::prelude::*;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

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
    #[error(
        "{what} of {billing_tag_code} in {period} has more than 38 digits: look for a price or a count that cannot be right"
    )]
    Amount { what: &'static str, billing_tag_code: String, period: String },
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

/// Those of them that Polars adds up.
const SUMMED: [&str; 4] = ["req_time", "is_need_charge", "errcode", "snapshot_final"];

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
        let group = Groups::of(batch)?;
        let sums = add_up(batch, group.keys)?;
        let int = |name: &str| -> Result<Int64Chunked, SettleError> {
            Ok(sums.column(name)?.cast(&polars::prelude::DataType::Int64)?.i64()?.clone())
        };
        let keys = int("key")?;
        let (attempts, charged, free) = (int("attempts")?, int("charged")?, int("free")?);
        let (failed, not_final) = (int("charged_failed")?, int("not_final")?);
        let (first, last) = (int("first_req_time")?, int("last_req_time")?);
        for i in 0..sums.height() {
            let key = keys.get(i).unwrap_or_default() as usize;
            let (settlement_date, account, tag) = group.values[key].clone();
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

/// The groups of a batch. Strings are told apart here, by their dictionary, so that Polars groups by one
/// number.
struct Groups {
    /// Of each row, the place of its group in `values`.
    keys: Int64Array,
    /// Settlement date, account, billing tag.
    values: Vec<(UsageDay, String, String)>,
}

impl Groups {
    fn of(batch: &RecordBatch) -> Result<Groups, SettleError> {
        let column = |name: &'static str| {
            batch.column_by_name(name).ok_or(SettleError::Column { column: name })
        };
        let settlement = column("settlement_date")?.as_primitive::<Date32Type>();
        let account = column("account")?.as_dictionary::<Int32Type>();
        let tag = column("billing_tag")?.as_dictionary::<Int32Type>();
        let (accounts, tags) =
            (account.values().as_string::<i32>(), tag.values().as_string::<i32>());
        let mut places: HashMap<(i32, i32, i32), i64> = HashMap::new();
        let mut values = Vec::new();
        let mut latest = ((i32::MIN, -1, -1), -1);
        let keys = (0..batch.num_rows())
            .map(|row| {
                let (a, t) = (account.keys().value(row), tag.keys().value(row));
                let group = (settlement.value(row), a, t);
                if latest.0 != group {
                    let place = *places.entry(group).or_insert_with(|| {
                        let settlement_date = UsageDay::from_date32(group.0);
                        let account = accounts.value(a as usize).to_owned();
                        values.push((settlement_date, account, tags.value(t as usize).to_owned()));
                        values.len() as i64 - 1
                    });
                    latest = (group, place);
                }
                latest.1
            })
            .collect();
        Ok(Groups { keys, values })
    }
}

/// One batch, grouped by key. A batch has fewer than 2^31 rows, so that no sum of it can wrap.
fn add_up(batch: &RecordBatch, keys: Int64Array) -> Result<DataFrame, SettleError> {
    let mut columns = SUMMED
        .iter()
        .map(|name| {
            let column = batch.column_by_name(name).ok_or(SettleError::Column { column: name })?;
            to_polars(name, column)
        })
        .collect::<Result<Vec<_>, _>>()?;
    columns.push(to_polars("key", &(Arc::new(keys) as ArrayRef))?);
    let frame = DataFrame::new(batch.num_rows(), columns)?;
    let yes = |e: Expr| e.fill_null(lit(false)).cast(polars::prelude::DataType::Int64).sum();
    let sums = frame
        .lazy()
        .group_by([col("key")])
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
fn to_polars(name: &'static str, column: &ArrayRef) -> Result<Column, SettleError> {
    // Plain types only: what is added up needs no time units.
    let plain: ArrayRef = match column.data_type() {
        DataType::Timestamp(TimeUnit::Millisecond, _) => cast(column, &DataType::Int64)?,
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
