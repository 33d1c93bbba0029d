//! Which objects are known: the load history, one date of the keys at a time, read and written.
//!
//! An object is known by its key, its size and its etag, or its last-modified time where the store gives no
//! etag. Of each only a digest of 16 bytes is held, and of a date that was dealt with nothing.

use super::RunError;
use super::load::ObjectCount;
use crate::model::UsageDay;
use crate::storage::ObjectInfo;
use crate::write::parquet::{Columns, ROW_GROUP_ROWS_MAX, plain_column};
use crate::write::schema::INPUTS;
use crate::write::small::Input;
use crate::write::{OpenTable, WriteError};
use arrow::array::{
    Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringArray, StringDictionaryBuilder,
    TimestampMillisecondArray,
};
use arrow::datatypes::{Int32Type, Int64Type, TimestampMillisecondType};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

/// The objects of one date that were loaded whole.
#[derive(Default)]
pub struct Loads(HashSet<[u8; 16]>);

impl Loads {
    /// Reads the history of a date; of the keys without one for None.
    pub fn of(inputs: &OpenTable, date: Option<UsageDay>) -> Result<Loads, RunError> {
        let mut lines: Vec<Load> = Vec::new();
        // Mostly one to a file: each run id is held once.
        let mut runs: BTreeMap<String, u32> = BTreeMap::new();
        for file in inputs.files_of(date.map(|d| d.to_string()).as_deref()) {
            for batch in inputs.read(file, None)? {
                read_lines(&batch, &mut runs, &mut lines)?;
            }
        }
        // The latest load of an object says whether it is known: one of which some rows lay outside the window
        // is not, they are missing. Run ids sort by time.
        if lines.iter().any(|line| !line.whole) {
            let mut ranks = vec![0; runs.len()];
            for (rank, run) in runs.values().enumerate() {
                ranks[*run as usize] = rank;
            }
            lines.sort_unstable_by_key(|l| (ranks[l.run as usize], l.identity, l.whole));
        }
        let mut loads = HashSet::with_capacity(lines.len());
        for Load { identity, whole, .. } in lines {
            match whole {
                true => _ = loads.insert(identity),
                false => _ = loads.remove(&identity),
            }
        }
        Ok(Loads(loads))
    }

    pub fn hold(&self, object: &ObjectInfo) -> bool {
        let etag = object.etag.as_deref();
        self.0.contains(&identity(&object.key, object.size, etag, object.last_modified_ms))
    }
}

/// A load of an object.
struct Load {
    /// The number of its run, in the order in which they were met.
    run: u32,
    identity: [u8; 16],
    whole: bool,
}

/// The loads of a part of the history. Straight from its columns: as rows they would be a million texts.
fn read_lines(
    batch: &RecordBatch,
    runs: &mut BTreeMap<String, u32>,
    lines: &mut Vec<Load>,
) -> Result<(), RunError> {
    let column = |name| plain_column(batch, name);
    let (key, etag, run) = (column("key")?, column("etag")?, column("run_id")?);
    let (key, etag, run) =
        (key.as_string::<i32>(), etag.as_string::<i32>(), run.as_string::<i32>());
    let (size, modified) = (column("size")?, column("last_modified")?);
    let (size, modified) =
        (size.as_primitive::<Int64Type>(), modified.as_primitive::<TimestampMillisecondType>());
    let outside = column("rows_outside")?;
    let outside = outside.as_primitive::<Int64Type>();
    lines.reserve(batch.num_rows());
    let mut before: Option<(&str, u32)> = None;
    for row in 0..batch.num_rows() {
        let run_id = run.value(row);
        let run = match before.filter(|(before, _)| *before == run_id) {
            Some((_, run)) => run,
            None => {
                let next = runs.len() as u32;
                *runs.entry(run_id.to_owned()).or_insert(next)
            }
        };
        before = Some((run_id, run));
        let etag = etag.is_valid(row).then(|| etag.value(row));
        let size = size.value(row) as u64;
        lines.push(Load {
            run,
            identity: identity(key.value(row), size, etag, modified.value(row)),
            whole: outside.value(row) == 0,
        });
    }
    Ok(())
}

fn identity(key: &str, size: u64, etag: Option<&str>, last_modified_ms: i64) -> [u8; 16] {
    let mut digest = Sha256::new();
    digest.update(key);
    // No key holds a NUL: object stores refuse them, and so do file systems.
    digest.update([0]);
    digest.update(size.to_le_bytes());
    match etag {
        Some(etag) => digest.update(etag),
        None => digest.update(last_modified_ms.to_le_bytes()),
    }
    let mut identity = [0; 16];
    identity.copy_from_slice(&digest.finalize()[..16]);
    identity
}

/// A line of the history that is to be written.
pub enum Line<'l> {
    /// Of an object that was read now.
    New(&'l ObjectInfo, &'l ObjectCount),
    Stored(&'l Input),
}

/// Lines of one file, sorted. Its columns are made of them one at a time: as rows and columns at once, a million
/// lines would weigh more than the rows that they are about.
pub struct Lines<'l> {
    run_id: &'l str,
    lines: Vec<Line<'l>>,
}

impl<'l> Lines<'l> {
    /// New lines are of the run of this id.
    pub fn new(run_id: &'l str, mut lines: Vec<Line<'l>>) -> Lines<'l> {
        // A run reads an object once, and run ids differ.
        let place = |line: &Line<'l>| -> (&'l str, i64, Option<&'l str>, i64, &'l str) {
            (line.key(), line.size(), line.etag(), line.last_modified(), line.run_id(run_id))
        };
        lines.sort_by(|a, b| place(a).cmp(&place(b)));
        Lines { run_id, lines }
    }
}

impl<'l> Line<'l> {
    fn key(&self) -> &'l str {
        match self {
            Line::New(read, _) => &read.key,
            Line::Stored(input) => &input.key,
        }
    }

    fn size(&self) -> i64 {
        match self {
            Line::New(read, _) => read.size as i64,
            Line::Stored(input) => input.size,
        }
    }

    fn etag(&self) -> Option<&'l str> {
        match self {
            Line::New(read, _) => read.etag.as_deref(),
            Line::Stored(input) => input.etag.as_deref(),
        }
    }

    fn last_modified(&self) -> i64 {
        match self {
            Line::New(read, _) => read.last_modified_ms,
            Line::Stored(input) => input.last_modified,
        }
    }

    fn run_id(&self, now: &'l str) -> &'l str {
        match self {
            Line::New(..) => now,
            Line::Stored(input) => &input.run_id,
        }
    }

    fn count(&self, new: fn(&ObjectCount) -> i64, stored: fn(&Input) -> i64) -> i64 {
        match self {
            Line::New(_, count) => new(count),
            Line::Stored(input) => stored(input),
        }
    }
}

impl Lines<'_> {
    /// The lines of each row group.
    pub fn groups(&self) -> impl Iterator<Item = LineGroup<'_>> {
        let run_id = self.run_id;
        self.lines.chunks(ROW_GROUP_ROWS_MAX).map(move |lines| LineGroup { run_id, lines })
    }
}

/// Lines of a row group.
pub struct LineGroup<'l> {
    run_id: &'l str,
    lines: &'l [Line<'l>],
}

impl Columns for LineGroup<'_> {
    fn rows(&self) -> usize {
        self.lines.len()
    }

    fn column(&self, place: usize) -> Result<ArrayRef, WriteError> {
        let lines = self.lines;
        let counts = |new: fn(&ObjectCount) -> i64, stored: fn(&Input) -> i64| -> ArrayRef {
            let counts = lines.iter().map(|line| line.count(new, stored));
            Arc::new(Int64Array::from_iter_values(counts))
        };
        let field = INPUTS.file_schema.field(place);
        Ok(match field.name().as_str() {
            "key" => Arc::new(StringArray::from_iter_values(lines.iter().map(Line::key))),
            "size" => Arc::new(Int64Array::from_iter_values(lines.iter().map(Line::size))),
            "etag" => Arc::new(lines.iter().map(Line::etag).collect::<StringArray>()),
            "last_modified" => {
                let times = lines.iter().map(Line::last_modified);
                Arc::new(TimestampMillisecondArray::from_iter_values(times).with_timezone("UTC"))
            }
            "run_id" => {
                let mut runs = StringDictionaryBuilder::<Int32Type>::new();
                lines.iter().for_each(|line| runs.append_value(line.run_id(self.run_id)));
                Arc::new(runs.finish())
            }
            "records" => counts(|c| c.records, |i| i.records),
            "rows_new" => counts(|c| c.rows_new, |i| i.rows_new),
            "rows_duplicate" => counts(|c| c.rows_duplicate, |i| i.rows_duplicate),
            "rows_changed" => counts(|c| c.rows_changed, |i| i.rows_changed),
            "rejects" => counts(|c| c.rejects, |i| i.rejects),
            "rows_outside" => counts(|c| c.rows_outside, |i| i.rows_outside),
            other => unreachable!("schemas/inputs.v1.json has a column {other}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::write::small;

    /// Columns made of lines one at a time are those that rows would make.
    #[test]
    fn lines_are_written_as_rows_would_be() {
        let info = |key: &str, etag: Option<&str>| ObjectInfo {
            key: key.to_owned(),
            size: 7,
            etag: etag.map(str::to_owned),
            last_modified_ms: 1_730_444_265_275,
        };
        let count = ObjectCount {
            records: 1,
            rows_new: 2,
            rows_duplicate: 3,
            rows_changed: 4,
            rejects: 5,
            rows_outside: 6,
            ..ObjectCount::default()
        };
        let row = |key: &str, etag: Option<&str>, run_id: &str| Input {
            key: key.to_owned(),
            size: 7,
            etag: etag.map(str::to_owned),
            last_modified: 1_730_444_265_275,
            run_id: run_id.to_owned(),
            records: 1,
            rows_new: 2,
            rows_duplicate: 3,
            rows_changed: 4,
            rejects: 5,
            rows_outside: 6,
        };
        let (b, d) = (info("b", Some("e")), info("d", None));
        let stored = [row("c", Some("x"), "run-1"), row("b", Some("e"), "run-1")];
        let mut lines = vec![Line::New(&b, &count), Line::New(&d, &count)];
        lines.extend(stored.iter().map(Line::Stored));
        let lines = Lines::new("run-2", lines);
        let mut rows = stored.to_vec();
        rows.extend([row("d", None, "run-2"), row("b", Some("e"), "run-2")]);
        rows.sort();
        let expected = small::inputs_batch(&rows).expect("columns");
        let groups: Vec<LineGroup<'_>> = lines.groups().collect();
        assert_eq!((groups.len(), groups[0].rows()), (1, 4));
        for (place, column) in expected.columns().iter().enumerate() {
            let made = groups[0].column(place).expect("a column");
            assert_eq!(&made, column, "column {place}");
        }
        let mut read = Vec::new();
        read_lines(&expected, &mut BTreeMap::new(), &mut read).expect("reads");
        let of = |object: &ObjectInfo| {
            let etag = object.etag.as_deref();
            identity(&object.key, object.size, etag, object.last_modified_ms)
        };
        assert_eq!(
            [read[0].identity, read[1].identity, read[3].identity],
            [of(&b), of(&b), of(&d)]
        );
        assert_eq!(read.iter().map(|load| load.run).collect::<Vec<_>>(), [0, 1, 0, 1]);
    }
}
