//! Rows to daily charges.
//!
//! Takes record batches of `liveness_detail`, a file at a time; gives one [`DailyCharge`] per usage date,
//! settlement date, account and billing tag. Polars adds up each group of a batch; the sums of batches are added
//! here in checked integers, because Polars' own sums wrap. It is the only room that knows Polars. `waterfall` says
//! what the charges cost.

mod waterfall;

pub use waterfall::{BillSide, Settled, Terms, Usage, covered, waterfall};

use crate::model::{DailyCharge, UsageDay};
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, UInt32Array};
use arrow::compute::{cast, take};
use arrow::datatypes::{DataType, Date32Type, Int32Type, TimeUnit};
use arrow::error::ArrowError;
use polars::prelude::*;
use polars_arrow::array::BooleanArray;
use std::collections::BTreeMap;
use std::ops::Range;

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
    #[error(
        "the costs of all rows add up to more than 38 digits: look for one that cannot be right"
    )]
    Sums,
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
        let groups = Groups::of(batch)?;
        let sums = Sums::of(batch, &groups)?;
        for (place, (settlement_date, account, tag)) in groups.values.into_iter().enumerate() {
            let rows = groups.from[place]..groups.from[place + 1];
            let part = DailyCharge {
                usage_date,
                settlement_date,
                account: account.clone(),
                billing_tag: tag.clone(),
                ..sums.charge(rows, usage_date)
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

/// The groups of a batch. They are told apart here, by the dictionaries of their texts, and put together: Polars
/// would hash them, and starts an engine and a pool of threads for it that cost as much as a small run.
struct Groups {
    /// The rows of the batch, group by group.
    order: UInt32Array,
    /// Where in `order` each group begins, and the end of the last.
    from: Vec<usize>,
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
        let mut places: hashbrown::HashMap<(i32, i32, i32), usize> = hashbrown::HashMap::new();
        let mut values = Vec::new();
        let mut latest = ((i32::MIN, -1, -1), 0);
        let groups: Vec<usize> = (0..batch.num_rows())
            .map(|row| {
                let (a, t) = (account.keys().value(row), tag.keys().value(row));
                let group = (settlement.value(row), a, t);
                if latest.0 != group {
                    let place = *places.entry(group).or_insert_with(|| {
                        let settlement_date = UsageDay::from_date32(group.0);
                        let account = accounts.value(a as usize).to_owned();
                        values.push((settlement_date, account, tags.value(t as usize).to_owned()));
                        values.len() - 1
                    });
                    latest = (group, place);
                }
                latest.1
            })
            .collect();
        let mut from = vec![0; values.len() + 1];
        groups.iter().for_each(|group| from[group + 1] += 1);
        (0..values.len()).for_each(|group| from[group + 1] += from[group]);
        let (mut next, mut order) = (from.clone(), vec![0; groups.len()]);
        for (row, group) in groups.into_iter().enumerate() {
            order[next[group]] = row as u32;
            next[group] += 1;
        }
        Ok(Groups { order: order.into(), from, values })
    }
}

/// What is added up of a batch, its rows group by group. A batch has fewer than 2^31 rows, so that no sum of it
/// can wrap.
struct Sums {
    req_time: Int64Chunked,
    charged: BooleanChunked,
    free: BooleanChunked,
    charged_failed: BooleanChunked,
    not_final: BooleanChunked,
}

impl Sums {
    fn of(batch: &RecordBatch, groups: &Groups) -> Result<Sums, SettleError> {
        let column = |name: &'static str| -> Result<Column, SettleError> {
            let column = batch.column_by_name(name).ok_or(SettleError::Column { column: name })?;
            to_polars(name, &take(column, &groups.order, None)?)
        };
        let charged = column("is_need_charge")?.bool()?.clone();
        let failed = column("errcode")?.i32()?.not_equal(0);
        Ok(Sums {
            req_time: column("req_time")?.i64()?.clone(),
            free: !&charged,
            charged_failed: &charged & &failed,
            not_final: !column("snapshot_final")?.bool()?.clone(),
            charged,
        })
    }

    /// The sums of some rows; what is null is neither so nor not so.
    fn charge(&self, rows: Range<usize>, usage_date: UsageDay) -> DailyCharge {
        // Bits that are set and not null. Polars' own sum makes zeros of 8 MiB when it first meets none, which takes
        // 3 ms.
        let set = |facts: &BooleanArray| match facts.validity() {
            Some(known) => facts.values().num_intersections_with(known),
            None => facts.values().set_bits(),
        };
        let count = |facts: &BooleanChunked| {
            let facts = facts.slice(rows.start as i64, rows.len());
            facts.downcast_iter().map(set).sum::<usize>() as i64
        };
        let req_time = self.req_time.slice(rows.start as i64, rows.len());
        let (attempts, charged, free) =
            (rows.len() as i64, count(&self.charged), count(&self.free));
        DailyCharge {
            usage_date,
            settlement_date: usage_date,
            account: String::new(),
            billing_tag: String::new(),
            attempts,
            charged,
            free,
            unknown: attempts - charged - free,
            charged_failed: count(&self.charged_failed),
            not_final: count(&self.not_final),
            first_req_time: req_time.min().unwrap_or_default(),
            last_req_time: req_time.max().unwrap_or_default(),
            source_version: 0,
        }
    }
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
