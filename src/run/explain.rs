//! `explain`: one charge, from its daily line to the byte it was read from.

use super::{DailyLine, RunError, Tables, read_small};
use crate::decode::{self, Sink, Wanted};
use crate::model::{Attempt, Record, Reject, UsageDay};
use crate::pipeline::Pipeline;
use crate::storage::Place;
use crate::write::small;
use arrow::array::AsArray;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use rayon::prelude::*;
use std::collections::BTreeMap;

/// Where a Seq stands.
#[derive(Debug, serde::Serialize)]
pub struct Explained {
    pub seq: String,
    /// The row of liveness_detail, column by column as text; null columns are left out.
    pub row: BTreeMap<String, String>,
    pub file: String,
    /// The line of daily_charge that counts it.
    pub daily_charge: Option<DailyLine>,
    pub source: Source,
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
    let mut row = BTreeMap::new();
    for batch in tables.detail.read(file, None)? {
        let seqs = batch.column(tables.detail.table.position("seq")).as_string::<i32>();
        let Some(place) = seqs.iter().position(|s| s == Some(seq)) else { continue };
        let options = FormatOptions::default().with_null("");
        for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
            let text = ArrayFormatter::try_new(column, &options)
                .map_err(crate::write::WriteError::from)?
                .value(place)
                .to_string();
            if !text.is_empty() {
                row.insert(field.name().clone(), text);
            }
        }
    }
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
    Ok(Some(Explained {
        seq: seq.to_owned(),
        row,
        file: format!("liveness_detail/{}", file.path),
        daily_charge,
        source,
    }))
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
