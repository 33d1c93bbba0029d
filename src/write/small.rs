//! The small tables as rows: daily charges, rejects, the load history, lines of the bill.
//!
//! Takes nouns, gives record batches of the file schemas, and back.

use super::WriteError;
use super::parquet::plain_column;
use super::schema::{BILL_LINE, DAILY_CHARGE, INPUTS, REJECTS, Table, text_element};
use crate::model::{Amount, BillLine, DailyCharge, LineKind, UsageDay};
use arrow::array::{
    Array, ArrayRef, AsArray, Date32Array, Decimal128Array, Int64Array, ListArray, ListBuilder,
    RecordBatch, StringArray, StringBuilder, StringDictionaryBuilder, TimestampMillisecondArray,
};
use arrow::datatypes::{Date32Type, Int32Type, Int64Type, TimestampMillisecondType};
use std::sync::Arc;

/// One row of `rejects`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub struct RejectRow {
    pub source_key: String,
    pub source_record: i64,
    pub byte_offset: i64,
    pub json_path: String,
    pub reason: String,
    pub message: String,
    /// Of the attempts set aside, as far as they could be read.
    pub seqs: Vec<String>,
    pub run_id: String,
}

/// One row of `inputs`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub struct Input {
    pub key: String,
    pub size: i64,
    pub etag: Option<String>,
    /// Milliseconds since the epoch.
    pub last_modified: i64,
    pub run_id: String,
    pub records: i64,
    pub rows_new: i64,
    pub rows_duplicate: i64,
    pub rows_changed: i64,
    pub rejects: i64,
    pub rows_outside: i64,
}

pub(super) fn words<'w>(values: impl Iterator<Item = &'w str>) -> ArrayRef {
    words_or_null(values.map(Some))
}

pub(super) fn texts<'w>(values: impl Iterator<Item = &'w str>) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(values))
}

pub(super) fn words_or_null<'w>(values: impl Iterator<Item = Option<&'w str>>) -> ArrayRef {
    let mut builder = StringDictionaryBuilder::<Int32Type>::new();
    values.for_each(|v| builder.append_option(v));
    Arc::new(builder.finish())
}

pub(super) fn amounts(
    values: impl Iterator<Item = Option<Amount>>,
) -> Result<ArrayRef, WriteError> {
    let units = values.map(|v| v.map(Amount::units));
    let array = Decimal128Array::from_iter(units).with_precision_and_scale(38, 8)?;
    Ok(Arc::new(array))
}

pub(super) fn days_or_null(values: impl Iterator<Item = Option<UsageDay>>) -> ArrayRef {
    Arc::new(Date32Array::from_iter(values.map(|v| v.map(UsageDay::date32))))
}

fn instants_or_null(values: impl Iterator<Item = Option<i64>>) -> ArrayRef {
    Arc::new(TimestampMillisecondArray::from_iter(values).with_timezone("UTC"))
}

pub(super) fn longs_or_null(values: impl Iterator<Item = Option<i64>>) -> ArrayRef {
    Arc::new(values.collect::<Int64Array>())
}

pub(super) fn longs(values: impl Iterator<Item = i64>) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(values))
}

/// A list without elements is null.
fn text_lists_or_null<'v>(values: impl Iterator<Item = &'v [String]>) -> ArrayRef {
    let mut builder = ListBuilder::new(StringBuilder::new()).with_field(text_element());
    for texts in values {
        texts.iter().for_each(|text| builder.values().append_value(text));
        builder.append(!texts.is_empty());
    }
    Arc::new(builder.finish())
}

fn days(values: impl Iterator<Item = UsageDay>) -> ArrayRef {
    Arc::new(Date32Array::from_iter_values(values.map(UsageDay::date32)))
}

fn instants(values: impl Iterator<Item = i64>) -> ArrayRef {
    Arc::new(TimestampMillisecondArray::from_iter_values(values).with_timezone("UTC"))
}

pub(super) fn batch(table: &Table, columns: Vec<ArrayRef>) -> Result<RecordBatch, WriteError> {
    Ok(RecordBatch::try_new(table.file_schema.clone(), columns)?)
}

/// The columns of `daily_charge`; `tag_code` gives the code of a billing tag's label.
pub fn daily_charge_batch(
    rows: &[DailyCharge],
    tag_code: impl Fn(&str) -> &'static str,
) -> Result<RecordBatch, WriteError> {
    let count = |get: fn(&DailyCharge) -> i64| longs(rows.iter().map(get));
    batch(
        &DAILY_CHARGE,
        vec![
            days(rows.iter().map(|r| r.usage_date)),
            days(rows.iter().map(|r| r.settlement_date)),
            words(rows.iter().map(|r| r.account.as_str())),
            words(rows.iter().map(|r| r.billing_tag.as_str())),
            words(rows.iter().map(|r| tag_code(&r.billing_tag))),
            count(|r| r.attempts),
            count(|r| r.charged),
            count(|r| r.free),
            count(|r| r.unknown),
            count(|r| r.charged_failed),
            count(|r| r.not_final),
            instants(rows.iter().map(|r| r.first_req_time)),
            instants(rows.iter().map(|r| r.last_req_time)),
            count(|r| r.source_version),
        ],
    )
}

/// A batch's columns by name, checked for their types once.
struct Columns<'b>(&'b RecordBatch);

impl Columns<'_> {
    fn texts(&self, name: &str) -> Result<StringArray, WriteError> {
        Ok(plain_column(self.0, name)?.as_string::<i32>().clone())
    }

    fn longs(&self, name: &str) -> Result<Int64Array, WriteError> {
        Ok(plain_column(self.0, name)?.as_primitive::<Int64Type>().clone())
    }

    fn instants(&self, name: &str) -> Result<TimestampMillisecondArray, WriteError> {
        Ok(plain_column(self.0, name)?.as_primitive::<TimestampMillisecondType>().clone())
    }

    fn text_lists(&self, name: &str) -> Result<ListArray, WriteError> {
        Ok(plain_column(self.0, name)?.as_list::<i32>().clone())
    }

    fn days(&self, name: &str) -> Result<Date32Array, WriteError> {
        Ok(plain_column(self.0, name)?.as_primitive::<Date32Type>().clone())
    }
}

pub fn daily_charges(batch: &RecordBatch) -> Result<Vec<DailyCharge>, WriteError> {
    let c = Columns(batch);
    let (usage, settlement) = (c.days("usage_date")?, c.days("settlement_date")?);
    let (account, tag) = (c.texts("account")?, c.texts("billing_tag")?);
    let (attempts, charged, free) = (c.longs("attempts")?, c.longs("charged")?, c.longs("free")?);
    let (unknown, failed) = (c.longs("unknown")?, c.longs("charged_failed")?);
    let (not_final, version) = (c.longs("not_final")?, c.longs("source_version")?);
    let (first, last) = (c.instants("first_req_time")?, c.instants("last_req_time")?);
    Ok((0..batch.num_rows())
        .map(|i| DailyCharge {
            usage_date: UsageDay::from_date32(usage.value(i)),
            settlement_date: UsageDay::from_date32(settlement.value(i)),
            account: account.value(i).to_owned(),
            billing_tag: tag.value(i).to_owned(),
            attempts: attempts.value(i),
            charged: charged.value(i),
            free: free.value(i),
            unknown: unknown.value(i),
            charged_failed: failed.value(i),
            not_final: not_final.value(i),
            first_req_time: first.value(i),
            last_req_time: last.value(i),
            source_version: version.value(i),
        })
        .collect())
}

pub fn rejects_batch(rows: &[RejectRow]) -> Result<RecordBatch, WriteError> {
    batch(
        &REJECTS,
        vec![
            words(rows.iter().map(|r| r.run_id.as_str())),
            words(rows.iter().map(|r| r.source_key.as_str())),
            longs(rows.iter().map(|r| r.source_record)),
            longs(rows.iter().map(|r| r.byte_offset)),
            texts(rows.iter().map(|r| r.json_path.as_str())),
            words(rows.iter().map(|r| r.reason.as_str())),
            words(rows.iter().map(|r| r.message.as_str())),
            text_lists_or_null(rows.iter().map(|r| r.seqs.as_slice())),
        ],
    )
}

pub fn rejects(batch: &RecordBatch) -> Result<Vec<RejectRow>, WriteError> {
    let c = Columns(batch);
    let (run, key) = (c.texts("run_id")?, c.texts("source_key")?);
    let (record, offset) = (c.longs("source_record")?, c.longs("byte_offset")?);
    let (path, reason, message) = (c.texts("json_path")?, c.texts("reason")?, c.texts("message")?);
    let seqs = c.text_lists("seqs")?;
    let seqs_of = |i| match seqs.is_valid(i) {
        true => seqs.value(i).as_string::<i32>().iter().flatten().map(str::to_owned).collect(),
        false => Vec::new(),
    };
    Ok((0..batch.num_rows())
        .map(|i| RejectRow {
            run_id: run.value(i).to_owned(),
            source_key: key.value(i).to_owned(),
            source_record: record.value(i),
            byte_offset: offset.value(i),
            json_path: path.value(i).to_owned(),
            reason: reason.value(i).to_owned(),
            message: message.value(i).to_owned(),
            seqs: seqs_of(i),
        })
        .collect())
}

pub fn inputs_batch(rows: &[Input]) -> Result<RecordBatch, WriteError> {
    let count = |get: fn(&Input) -> i64| longs(rows.iter().map(get));
    let etags: StringArray = rows.iter().map(|r| r.etag.as_deref()).collect();
    batch(
        &INPUTS,
        vec![
            texts(rows.iter().map(|r| r.key.as_str())),
            count(|r| r.size),
            Arc::new(etags),
            instants(rows.iter().map(|r| r.last_modified)),
            words(rows.iter().map(|r| r.run_id.as_str())),
            count(|r| r.records),
            count(|r| r.rows_new),
            count(|r| r.rows_duplicate),
            count(|r| r.rows_changed),
            count(|r| r.rejects),
            count(|r| r.rows_outside),
        ],
    )
}

pub fn inputs(batch: &RecordBatch) -> Result<Vec<Input>, WriteError> {
    let c = Columns(batch);
    let (key, etag, run) = (c.texts("key")?, c.texts("etag")?, c.texts("run_id")?);
    let (size, modified, records) =
        (c.longs("size")?, c.instants("last_modified")?, c.longs("records")?);
    let (new, duplicate) = (c.longs("rows_new")?, c.longs("rows_duplicate")?);
    let (changed, rejects) = (c.longs("rows_changed")?, c.longs("rejects")?);
    let outside = c.longs("rows_outside")?;
    Ok((0..batch.num_rows())
        .map(|i| Input {
            key: key.value(i).to_owned(),
            size: size.value(i),
            etag: etag.is_valid(i).then(|| etag.value(i).to_owned()),
            last_modified: modified.value(i),
            run_id: run.value(i).to_owned(),
            records: records.value(i),
            rows_new: new.value(i),
            rows_duplicate: duplicate.value(i),
            rows_changed: changed.value(i),
            rejects: rejects.value(i),
            rows_outside: outside.value(i),
        })
        .collect())
}

/// The columns of `bill_line`; the month is the partition.
pub fn bill_line_batch(rows: &[&BillLine]) -> Result<RecordBatch, WriteError> {
    batch(
        &BILL_LINE,
        vec![
            words(rows.iter().map(|r| &*r.account)),
            days_or_null(rows.iter().map(|r| r.usage_from)),
            days_or_null(rows.iter().map(|r| r.usage_to)),
            instants_or_null(rows.iter().map(|r| r.pay_time)),
            days_or_null(rows.iter().map(|r| r.bill_day)),
            words(rows.iter().map(|r| r.kind.unwrap_or(LineKind::Other).code())),
            words(rows.iter().map(|r| &*r.billing_tag)),
            words(rows.iter().map(|r| &*r.billing_tag_code)),
            words_or_null(rows.iter().map(|r| r.action_type.as_deref())),
            words_or_null(rows.iter().map(|r| r.action_type_name.as_deref())),
            words_or_null(rows.iter().map(|r| r.pay_mode.as_deref())),
            words_or_null(rows.iter().map(|r| r.business_code.as_deref())),
            words_or_null(rows.iter().map(|r| r.business_name.as_deref())),
            words_or_null(rows.iter().map(|r| r.product_code.as_deref())),
            words_or_null(rows.iter().map(|r| r.product_name.as_deref())),
            words_or_null(rows.iter().map(|r| r.component_code.as_deref())),
            words_or_null(rows.iter().map(|r| r.component_name.as_deref())),
            words_or_null(rows.iter().map(|r| r.item_code.as_deref())),
            words_or_null(rows.iter().map(|r| r.item_name.as_deref())),
            words_or_null(rows.iter().map(|r| r.resource_id.as_deref())),
            words_or_null(rows.iter().map(|r| r.instance_type.as_deref())),
            words_or_null(rows.iter().map(|r| r.owner_uin.as_deref())),
            words_or_null(rows.iter().map(|r| r.operator_uin.as_deref())),
            amounts(rows.iter().map(|r| r.list_price))?,
            amounts(rows.iter().map(|r| r.contract_price))?,
            words_or_null(rows.iter().map(|r| r.price_unit.as_deref())),
            amounts(rows.iter().map(|r| r.usage_total))?,
            amounts(rows.iter().map(|r| r.usage_deducted))?,
            amounts(rows.iter().map(|r| r.usage_billed))?,
            words_or_null(rows.iter().map(|r| r.usage_unit.as_deref())),
            amounts(rows.iter().map(|r| r.cost_list))?,
            amounts(rows.iter().map(|r| r.cost))?,
            amounts(rows.iter().map(|r| r.voucher))?,
            amounts(rows.iter().map(|r| r.incentive))?,
            amounts(rows.iter().map(|r| r.transfer))?,
            amounts(rows.iter().map(|r| r.cash))?,
            words_or_null(rows.iter().map(|r| r.currency.as_deref())),
            Arc::new(rows.iter().map(|r| r.line_id.as_deref()).collect::<StringArray>()),
            words(rows.iter().map(|r| &*r.source_file)),
            longs(rows.iter().map(|r| r.source_row)),
        ],
    )
}
