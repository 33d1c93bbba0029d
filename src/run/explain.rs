//! `explain`: one charge, from the lines of the bill to the byte it was read from.

use super::{DailyLine, RunError, Tables, read_small};
use crate::decode::{self, Sink, Wanted};
use crate::model::{Attempt, Record, Reject, UsageDay};
use crate::pipeline::Pipeline;
use crate::storage::Place;
use crate::write::delta::LiveFile;
use crate::write::{OpenTable, WriteError, schema, small};
use arrow::array::AsArray;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use rayon::prelude::*;
use std::collections::BTreeMap;

/// Where a Seq stands.
#[derive(Debug, serde::Serialize)]
pub struct Explained {
    pub seq: String,
    /// The row of liveness_detail.
    pub row: Columns,
    pub file: String,
    /// The line of daily_charge that counts it.
    pub daily_charge: Option<DailyLine>,
    /// What the last reconciliation of its month made of it; null before there was one.
    pub bill: Option<Billed>,
    pub source: Source,
}

/// A row of a table, column by column as text; null columns are left out.
pub type Columns = BTreeMap<String, String>;

/// A charge on the bill, as `reconcile` last read it.
#[derive(Debug, Default, serde::Serialize)]
pub struct Billed {
    /// The row of `reconciliation` for its account, day (or month) and billing tag.
    pub reconciliation: Option<Columns>,
    /// The rows of `bill_line` of this account and billing tag whose usage covers its day.
    pub lines: Vec<Columns>,
    /// What the provider's own list says of this Seq, if not the same: the row of `seq_difference`.
    pub seq_difference: Option<Columns>,
}

/// The place in the source, looked up anew.
#[derive(Debug, serde::Serialize)]
pub struct Source {
    pub url: String,
    pub key: String,
    pub record: i64,
    pub detail_index: i64,
    /// Offset in the (decompressed) object of the record's first byte; null when the object is gone or
    /// has changed since.
    pub record_byte_offset: Option<i64>,
    /// The same of the attempt itself.
    pub attempt_byte_offset: Option<i64>,
    pub note: Option<String>,
}

struct Finder<'s> {
    seq: &'s str,
    record: i64,
    offsets: Option<(i64, i64)>,
}

impl Sink for Finder<'_> {
    fn record(&mut self, record: &Record<'_>, attempts: &[Attempt<'_>]) {
        let attempt = attempts.iter().find(|a| record.number == self.record && a.seq == self.seq);
        if let Some(attempt) = attempt {
            self.offsets = Some((record.byte_offset, attempt.byte_offset));
        }
    }

    fn reject(&mut self, _: Reject) {}
}

/// Looks a Seq up; `None` when the table does not hold it.
pub fn explain(pipeline: &Pipeline, seq: &str) -> Result<Option<Explained>, RunError> {
    let output = Place::open(&pipeline.output.url, &pipeline.output.options)?;
    let tables = Tables::open_existing(&output)?;
    let files = tables.detail.files();
    let hit = files.par_iter().find_map_any(|file| {
        let batches = tables.detail.read(file, Some(&["seq"])).ok()?;
        let holds = batches
            .iter()
            .any(|b| b.column(0).as_string::<i32>().iter().flatten().any(|s| s == seq));
        holds.then_some(file)
    });
    let Some(file) = hit else { return Ok(None) };
    let mut row =
        rows_where(&tables.detail, file, &[("seq", &|is| is == seq)])?.pop().unwrap_or_default();
    let usage_date = file.partition.clone().unwrap_or_default();
    row.insert("usage_date".into(), usage_date.clone());
    let daily_charge = read_small(&tables.daily, small::daily_charges)?
        .iter()
        .find(|c| {
            Some(c.usage_date) == UsageDay::parse(&usage_date)
                && Some(&c.billing_tag) == row.get("billing_tag")
                && Some(&c.account) == row.get("account")
        })
        .map(DailyLine::from);
    let number = |name: &str| row.get(name).and_then(|v| v.parse().ok()).unwrap_or(-1);
    let mut source = Source {
        url: pipeline.source.url.clone(),
        key: row.get("source_key").cloned().unwrap_or_default(),
        record: number("source_record"),
        detail_index: number("detail_index"),
        record_byte_offset: None,
        attempt_byte_offset: None,
        note: None,
    };
    locate(pipeline, seq, &mut source);
    let bill = billed(&output, seq, &row)?;
    Ok(Some(Explained {
        seq: seq.to_owned(),
        bill,
        row,
        file: format!("liveness_detail/{}", file.path),
        daily_charge,
        source,
    }))
}

/// A column by its name, and what its value must be; null is the empty text.
type Where<'w> = (&'w str, &'w dyn Fn(&str) -> bool);

/// The rows of a file in which each of some columns is as it must be.
fn rows_where(
    table: &OpenTable,
    file: &LiveFile,
    wanted: &[Where<'_>],
) -> Result<Vec<Columns>, WriteError> {
    let options = FormatOptions::default().with_null("");
    let mut found = Vec::new();
    for batch in table.read(file, None)? {
        let column = |place: usize| ArrayFormatter::try_new(batch.column(place), &options);
        let asked = wanted.iter().map(|(name, is)| Ok((column(table.table.position(name))?, is)));
        let asked: Vec<_> = asked.collect::<Result<_, WriteError>>()?;
        let columns: Vec<_> = (0..batch.num_columns()).map(column).collect::<Result<_, _>>()?;
        let fits = |row: &usize| asked.iter().all(|(text, is)| is(&text.value(*row).to_string()));
        found.extend((0..batch.num_rows()).filter(fits).map(|row| {
            let fields = batch.schema_ref().fields().iter().map(|field| field.name().clone());
            let texts = columns.iter().map(|column| column.value(row).to_string());
            fields.zip(texts).filter(|(_, text)| !text.is_empty()).collect()
        }));
    }
    Ok(found)
}

/// The bill of a charge whose row is given; None before a reconciliation.
fn billed(output: &Place, seq: &str, row: &Columns) -> Result<Option<Billed>, RunError> {
    let rows = OpenTable::open(output, &schema::RECONCILIATION)?;
    if rows.version().is_none() {
        return Ok(None);
    }
    let of = |name: &str| row.get(name).map_or("", String::as_str);
    let (account, tag, day) = (of("account"), of("billing_tag_code"), of("usage_date"));
    let (is_account, is_tag) = (|is: &str| is == account, |is: &str| is == tag);
    let Some(day_read) = UsageDay::parse(day) else { return Ok(None) };
    let month = day_read.month();
    let mut billed = Billed { seq_difference: difference_of(output, seq)?, ..Billed::default() };
    let is_period = |is: &str| is.is_empty() || is == day;
    let wanted: [Where<'_>; 3] =
        [("account", &is_account), ("billing_tag_code", &is_tag), ("usage_date", &is_period)];
    for file in rows.files_of(Some(&month.to_string())) {
        billed.reconciliation = rows_where(&rows, file, &wanted)?.pop().or(billed.reconciliation);
    }
    // A line of the last days of a month can stand in the next month's bill.
    let lines = OpenTable::open(output, &schema::BILL_LINE)?;
    let (begins, ends) =
        (|from: &str| !from.is_empty() && from <= day, |to: &str| !to.is_empty() && to >= day);
    let wanted: [Where<'_>; 4] = [
        ("account", &is_account),
        ("billing_tag_code", &is_tag),
        ("usage_from", &begins),
        ("usage_to", &ends),
    ];
    let next = UsageDay::from_date32(month.first_day().date32() + 31).month();
    for month in [month, next] {
        for file in lines.files_of(Some(&month.to_string())) {
            billed.lines.extend(rows_where(&lines, file, &wanted)?);
        }
    }
    Ok(Some(billed))
}

/// The row of `seq_difference` of a Seq.
fn difference_of(output: &Place, seq: &str) -> Result<Option<Columns>, RunError> {
    let table = OpenTable::open(output, &schema::SEQ_DIFFERENCE)?;
    for file in table.files() {
        if let Some(row) = rows_where(&table, file, &[("seq", &|is| is == seq)])?.pop() {
            return Ok(Some(row));
        }
    }
    Ok(None)
}

/// Why a Seq cannot be explained that liveness_detail does not hold.
pub fn not_held(pipeline: &Pipeline, seq: &str) -> Result<String, RunError> {
    let output = Place::open(&pipeline.output.url, &pipeline.output.options)?;
    let tables = Tables::open_existing(&output)?;
    let rejects = read_small(&tables.rejects, small::rejects)?;
    let aside = rejects.iter().find(|reject| reject.seqs.iter().any(|held| held == seq));
    let aside = aside.map(|reject| {
        format!(
            "It was set aside: {} record {}, byte {}, {}: {} ({})",
            reject.source_key,
            reject.source_record,
            reject.byte_offset,
            reject.json_path,
            reject.reason,
            reject.message,
        )
    });
    let listed = difference_of(&output, seq)?.map(|row| {
        let of = |name: &str| row.get(name).map_or("?", String::as_str);
        format!(
            "The provider's list holds it: {} record {} (from 0), day {}",
            of("provider_file"),
            of("provider_row"),
            of("provider_day"),
        )
    });
    let told = "What was set aside without a Seq that could be read is listed by `faceledger rejects`, by object";
    let mend = match (&aside, &listed) {
        (Some(_), _) => "Mend that object, then run `faceledger rejects --retry`",
        (None, Some(_)) => "Pull the result of its token",
        (None, None) => told,
    };
    let known = [aside.as_deref(), listed.as_deref(), Some(mend)];
    let known: Vec<&str> = known.into_iter().flatten().collect();
    Ok(format!("Seq {seq}: not in liveness_detail. {}", known.join(". ")))
}

/// Reads the object again for the offset of the record. An object that is gone is no failure: the row
/// says where it was.
fn locate(pipeline: &Pipeline, seq: &str, source: &mut Source) {
    let mut finder = Finder { seq, record: source.record, offsets: None };
    let place = Place::open_source(&pipeline.source.url, &pipeline.source.options);
    if let Ok(place) = &place {
        source.url = place.to_string();
    }
    let wanted = Wanted::new(pipeline.source.envelope.clone(), false, false);
    let read = place.and_then(|place| place.reader(&source.key, 0));
    match read {
        Ok(mut input) => {
            let told = &pipeline.source;
            let outcome = decode::read_object(
                &mut input,
                (&source.key, 0),
                told.format,
                told.compression,
                &wanted,
                &mut finder,
            );
            source.record_byte_offset = finder.offsets.map(|o| o.0);
            source.attempt_byte_offset = finder.offsets.map(|o| o.1);
            if let Err(error) = outcome {
                source.note = Some(error.to_string());
            } else if finder.offsets.is_none() {
                source.note = Some(
                    "the object has changed since: this record no longer holds the Seq".into(),
                );
            }
        }
        Err(error) => source.note = Some(error.to_string()),
    }
}
