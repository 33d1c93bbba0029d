//! Attempts as columns.
//!
//! Takes tagged attempts one by one; gives record batches of the `liveness_detail` file schema, with the
//! two facts that merging needs and the file does not hold: each row's usage day and its rank.

use super::schema::LIVENESS_DETAIL;
use crate::model::{Attempt, Record, UsageDay};
use arrow::array::{
    ArrayRef, BooleanBuilder, Date32Array, Decimal128Builder, DictionaryArray, Int8Builder,
    Int32Array, Int32Builder, Int64Array, RecordBatch, StringArray, StringBuilder,
    TimestampMillisecondArray, TimestampMillisecondBuilder,
};
use arrow::datatypes::Int32Type;
use arrow::error::ArrowError;
use std::collections::HashMap;
use std::sync::Arc;

/// What the run knows of an attempt besides what its record says.
#[derive(Clone, Copy, Debug)]
pub struct Placed<'p> {
    pub usage_date: UsageDay,
    pub settlement_date: UsageDay,
    pub billing_tag: &'static str,
    pub billing_tag_code: &'static str,
    pub product: Option<&'static str>,
    pub channel: Option<&'static str>,
    pub compare_source: Option<&'static str>,
    pub snapshot_final: Option<bool>,
    pub biz_token: Option<&'p str>,
    pub rule_id: Option<&'p str>,
    pub idcard_hmac: Option<&'p str>,
    pub name_hmac: Option<&'p str>,
    /// Fetch time of its snapshot (envelope, else last-modified), milliseconds since the epoch.
    pub rank_time: i64,
}

/// Rows of several objects, as columns.
#[derive(Clone, Debug)]
pub struct Rows {
    /// In the file schema of `liveness_detail`.
    pub batch: RecordBatch,
    /// `Date32` of each row.
    pub usage_date: Vec<i32>,
    /// First part of each row's rank; the rest stands in its columns.
    pub rank_time: Vec<i64>,
}

/// Strings of few values, told apart by address: for the labels and codes of the catalogue, of which each
/// stands at one place (were it at two, a dictionary would hold it twice, which changes no row).
#[derive(Default)]
struct Labels {
    keys: Int32Builder,
    values: Vec<&'static str>,
}

impl Labels {
    fn push(&mut self, label: Option<&'static str>) {
        let key = label.map(|label| {
            let found = self.values.iter().position(|v| std::ptr::eq(*v, label));
            found.unwrap_or_else(|| {
                self.values.push(label);
                self.values.len() - 1
            }) as i32
        });
        self.keys.append_option(key);
    }

    fn finish(mut self) -> Result<ArrayRef, ArrowError> {
        dictionary(self.keys.finish(), StringArray::from(self.values))
    }
}

/// Strings of few values, as received. Neighbours are mostly the same, and one comparison tells.
#[derive(Default)]
struct Words {
    keys: Int32Builder,
    values: Vec<String>,
    places: HashMap<String, i32>,
    latest: usize,
}

impl Words {
    fn push(&mut self, word: Option<&str>) {
        let key = word.map(|word| {
            if self.values.get(self.latest).is_none_or(|latest| latest != word) {
                self.latest = match self.places.get(word) {
                    Some(place) => *place as usize,
                    None => {
                        self.places.insert(word.to_owned(), self.values.len() as i32);
                        self.values.push(word.to_owned());
                        self.values.len() - 1
                    }
                };
            }
            self.latest as i32
        });
        self.keys.append_option(key);
    }

    fn finish(mut self) -> Result<ArrayRef, ArrowError> {
        dictionary(self.keys.finish(), StringArray::from(self.values))
    }
}

fn dictionary(keys: Int32Array, values: StringArray) -> Result<ArrayRef, ArrowError> {
    Ok(Arc::new(DictionaryArray::<Int32Type>::try_new(keys, Arc::new(values))?))
}

/// Builds [`Rows`].
#[derive(Default)]
pub struct RowsBuilder {
    account: String,
    usage_date: Vec<i32>,
    rank_time: Vec<i64>,
    settlement_date: Vec<i32>,
    req_time: Vec<i64>,
    seq: StringBuilder,
    billing_tag: Labels,
    billing_tag_code: Labels,
    product: Labels,
    channel: Labels,
    compare_source: Labels,
    compare_lib_type: Words,
    is_need_charge: BooleanBuilder,
    errcode: Int32Builder,
    livestatus: Int32Builder,
    comparestatus: Int32Builder,
    errmsg: Words,
    livemsg: Words,
    comparemsg: Words,
    sim: Decimal128Builder,
    liveness_mode: Int8Builder,
    biz_token: StringBuilder,
    rule_id: StringBuilder,
    request_id: StringBuilder,
    idcard_hmac: StringBuilder,
    name_hmac: StringBuilder,
    detail_index: Vec<i32>,
    detail_count: Vec<i32>,
    snapshot_final: BooleanBuilder,
    fetched_at: TimestampMillisecondBuilder,
    source_key: Vec<i32>,
    source_keys: Vec<String>,
    source_record: Vec<i64>,
}

impl RowsBuilder {
    pub fn new(account: &str) -> RowsBuilder {
        RowsBuilder { account: account.to_owned(), ..RowsBuilder::default() }
    }

    pub fn len(&self) -> usize {
        self.req_time.len()
    }

    pub fn is_empty(&self) -> bool {
        self.req_time.is_empty()
    }

    /// The rows that follow come from this object.
    pub fn begin_object(&mut self, key: &str) {
        self.source_keys.push(key.to_owned());
    }

    /// One row. An object must have been begun.
    pub fn push(&mut self, record: &Record<'_>, attempt: &Attempt<'_>, placed: &Placed<'_>) {
        self.usage_date.push(placed.usage_date.date32());
        self.rank_time.push(placed.rank_time);
        self.settlement_date.push(placed.settlement_date.date32());
        self.req_time.push(attempt.req_time);
        self.seq.append_value(&attempt.seq);
        self.billing_tag.push(Some(placed.billing_tag));
        self.billing_tag_code.push(Some(placed.billing_tag_code));
        self.product.push(placed.product);
        self.channel.push(placed.channel);
        self.compare_source.push(placed.compare_source);
        self.compare_lib_type.push(attempt.compare_lib_type.as_deref());
        self.is_need_charge.append_option(attempt.is_need_charge);
        self.errcode.append_option(attempt.errcode);
        self.livestatus.append_option(attempt.livestatus);
        self.comparestatus.append_option(attempt.comparestatus);
        self.errmsg.push(attempt.errmsg.as_deref());
        self.livemsg.push(attempt.livemsg.as_deref());
        self.comparemsg.push(attempt.comparemsg.as_deref());
        self.sim.append_option(attempt.sim.map(i128::from));
        self.liveness_mode.append_option(attempt.liveness_mode);
        self.biz_token.append_option(placed.biz_token);
        self.rule_id.append_option(placed.rule_id);
        self.request_id.append_option(record.request_id.as_deref());
        self.idcard_hmac.append_option(placed.idcard_hmac);
        self.name_hmac.append_option(placed.name_hmac);
        self.detail_index.push(attempt.index);
        self.detail_count.push(record.detail_count);
        self.snapshot_final.append_option(placed.snapshot_final);
        self.fetched_at.append_option(record.fetched_at);
        self.source_key.push(self.source_keys.len() as i32 - 1);
        self.source_record.push(record.number);
    }

    /// `records_before` is added to every record number: the records of the object before the piece
    /// that these rows came from, which is known only once all its pieces are read.
    pub fn finish(mut self) -> Result<Rows, ArrowError> {
        let n = self.len();
        let account = dictionary(
            Int32Array::from(vec![0; n]),
            StringArray::from(vec![self.account.as_str()]),
        )?;
        let source_key =
            dictionary(Int32Array::from(self.source_key), StringArray::from(self.source_keys))?;
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Date32Array::from(self.settlement_date)),
            Arc::new(TimestampMillisecondArray::from(self.req_time).with_timezone("UTC")),
            Arc::new(self.seq.finish()),
            account,
            self.billing_tag.finish()?,
            self.billing_tag_code.finish()?,
            self.product.finish()?,
            self.channel.finish()?,
            self.compare_source.finish()?,
            self.compare_lib_type.finish()?,
            Arc::new(self.is_need_charge.finish()),
            Arc::new(self.errcode.finish()),
            Arc::new(self.livestatus.finish()),
            Arc::new(self.comparestatus.finish()),
            self.errmsg.finish()?,
            self.livemsg.finish()?,
            self.comparemsg.finish()?,
            Arc::new(self.sim.finish().with_precision_and_scale(5, 2)?),
            Arc::new(self.liveness_mode.finish()),
            Arc::new(self.biz_token.finish()),
            Arc::new(self.rule_id.finish()),
            Arc::new(self.request_id.finish()),
            Arc::new(self.idcard_hmac.finish()),
            Arc::new(self.name_hmac.finish()),
            Arc::new(Int32Array::from(self.detail_index)),
            Arc::new(Int32Array::from(self.detail_count)),
            Arc::new(self.snapshot_final.finish()),
            Arc::new(self.fetched_at.finish().with_timezone("UTC")),
            source_key,
            Arc::new(Int64Array::from(self.source_record)),
        ];
        let batch = RecordBatch::try_new(LIVENESS_DETAIL.file_schema.clone(), columns)?;
        Ok(Rows { batch, usage_date: self.usage_date, rank_time: self.rank_time })
    }
}

impl Rows {
    /// Adds `records` to every record number: the records of the object that lie before the piece these
    /// rows came from, known only when all its pieces are read.
    pub fn shift_records(&mut self, records: i64) -> Result<(), ArrowError> {
        if records == 0 {
            return Ok(());
        }
        let place = LIVENESS_DETAIL.position("source_record");
        let mut columns = self.batch.columns().to_vec();
        let numbers = columns[place].as_any().downcast_ref::<Int64Array>();
        let numbers = numbers.ok_or_else(|| ArrowError::SchemaError("source_record".into()))?;
        columns[place] = Arc::new(numbers.unary::<_, arrow::datatypes::Int64Type>(|n| n + records));
        self.batch = RecordBatch::try_new(self.batch.schema(), columns)?;
        Ok(())
    }
}
