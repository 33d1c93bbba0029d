//! Which objects are known: the load history, one date of the keys at a time, read and written.
//!
//! An object is known by its key, its size and its etag, or its last-modified time where the store gives no
//! etag. Of each only a digest of 16 bytes is held, and of a date that was dealt with nothing.

use super::RunError;
use super::load::{ObjectCount, Version};
use crate::model::UsageDay;
use crate::sources::Objects;
use crate::storage::ObjectInfo;
use crate::write::Column;
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
#[derive(Clone, Copy)]
pub enum Line {
    /// Of the object of this place among those read now.
    New(u32),
    /// Of this place among the lines stored.
    Stored(u32),
}

/// What was read: the objects, and what came of each.
#[derive(Clone, Copy)]
pub struct Read<'l> {
    pub objects: &'l Objects,
    pub counts: &'l [ObjectCount],
}

/// What lines are about.
#[derive(Clone, Copy)]
struct About<'l> {
    run_id: &'l str,
    read: Read<'l>,
    stored: &'l [Input],
}

/// Lines of one file, sorted. Its columns are made of them one at a time: as rows and columns at once, a million
/// lines would weigh more than the rows that they are about.
pub struct Lines<'l> {
    about: About<'l>,
    lines: Vec<Line>,
}

impl<'l> Lines<'l> {
    /// New lines are of the run of this id.
    pub fn new(
        run_id: &'l str,
        read: Read<'l>,
        stored: &'l [Input],
        mut lines: Vec<Line>,
    ) -> Lines<'l> {
        let about = About { run_id, read, stored };
        // A run reads an object once, and run ids differ.
        let place = |line: Line| -> (&'l str, i64, Option<&'l str>, i64, &'l str) {
            let (size, modified) = (about.size(line), about.last_modified(line));
            (about.key(line), size, about.etag(line), modified, about.run_id(line))
        };
        lines.sort_by(|a, b| place(*a).cmp(&place(*b)));
        Lines { about, lines }
    }
}

impl<'l> About<'l> {
    /// Another version than the listed one was read.
    fn other(&self, place: u32) -> Option<&'l ObjectInfo> {
        match &self.read.counts[place as usize].read {
            Version::Other(read) => Some(read),
            Version::Listed | Version::Gone => None,
        }
    }

    fn key(&self, line: Line) -> &'l str {
        match line {
            Line::New(place) => self.read.objects.key(place as usize),
            Line::Stored(place) => &self.stored[place as usize].key,
        }
    }

    fn size(&self, line: Line) -> i64 {
        match line {
            Line::New(place) => {
                let listed = || self.read.objects.size(place as usize);
                self.other(place).map_or_else(listed, |other| other.size) as i64
            }
            Line::Stored(place) => self.stored[place as usize].size,
        }
    }

    fn etag(&self, line: Line) -> Option<&'l str> {
        match line {
            Line::New(place) => match self.other(place) {
                Some(other) => other.etag.as_deref(),
                None => self.read.objects.etag(place as usize),
            },
            Line::Stored(place) => self.stored[place as usize].etag.as_deref(),
        }
    }

    fn last_modified(&self, line: Line) -> i64 {
        match line {
            Line::New(place) => {
                let listed = || self.read.objects.modified_ms(place as usize);
                self.other(place).map_or_else(listed, |other| other.last_modified_ms)
            }
            Line::Stored(place) => self.stored[place as usize].last_modified,
        }
    }

    fn run_id(&self, line: Line) -> &'l str {
        match line {
            Line::New(_) => self.run_id,
            Line::Stored(place) => &self.stored[place as usize].run_id,
        }
    }

    fn count(&self, line: Line, new: fn(&ObjectCount) -> u32, stored: fn(&Input) -> i64) -> i64 {
        match line {
            Line::New(place) => new(&self.read.counts[place as usize]).into(),
            Line::Stored(place) => stored(&self.stored[place as usize]),
        }
    }
}

impl Lines<'_> {
    /// The lines of each row group.
    pub fn groups(&self) -> impl Iterator<Item = LineGroup<'_>> {
        let about = self.about;
        self.lines.chunks(ROW_GROUP_ROWS_MAX).map(move |lines| LineGroup { about, lines })
    }
}

/// Lines of a row group.
pub struct LineGroup<'l> {
    about: About<'l>,
    lines: &'l [Line],
}

impl Columns for LineGroup<'_> {
    fn rows(&self) -> usize {
        self.lines.len()
    }

    fn column(&self, place: usize) -> Result<Column<'_>, WriteError> {
        let (lines, about) = (self.lines.iter().copied(), self.about);
        let counts = |new: fn(&ObjectCount) -> u32, stored: fn(&Input) -> i64| -> ArrayRef {
            let counts = lines.clone().map(|line| about.count(line, new, stored));
            Arc::new(Int64Array::from_iter_values(counts))
        };
        let field = INPUTS.file_schema.field(place);
        Ok(Column::Array(match field.name().as_str() {
            "key" => Arc::new(StringArray::from_iter_values(lines.map(|line| about.key(line)))),
            "size" => Arc::new(Int64Array::from_iter_values(lines.map(|line| about.size(line)))),
            "etag" => Arc::new(lines.map(|line| about.etag(line)).collect::<StringArray>()),
            "last_modified" => {
                let times = lines.map(|line| about.last_modified(line));
                Arc::new(TimestampMillisecondArray::from_iter_values(times).with_timezone("UTC"))
            }
            "run_id" => {
                let mut runs = StringDictionaryBuilder::<Int32Type>::new();
                lines.for_each(|line| runs.append_value(about.run_id(line)));
                Arc::new(runs.finish())
            }
            "records" => counts(|c| c.records, |i| i.records),
            "rows_new" => counts(|c| c.rows_new, |i| i.rows_new),
            "rows_duplicate" => counts(|c| c.rows_duplicate, |i| i.rows_duplicate),
            "rows_changed" => counts(|c| c.rows_changed, |i| i.rows_changed),
            "rejects" => counts(|c| c.rejects, |i| i.rejects),
            "rows_outside" => counts(|c| c.rows_outside, |i| i.rows_outside),
            other => unreachable!("schemas/inputs.v1.json has a column {other}"),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::Object;
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
        let listed = |info: &ObjectInfo| Object { info: info.clone(), date: None };
        // What was listed as b was another version.
        let objects = [listed(&ObjectInfo { size: 1, ..info("b", None) }), listed(&d)];
        let objects: Objects = objects.into_iter().collect();
        let other = Version::Other(Box::new(b.clone()));
        let read = |read| ObjectCount { read, ..count.clone() };
        let counts = [read(other), read(Version::Listed)];
        let stored = [row("c", Some("x"), "run-1"), row("b", Some("e"), "run-1")];
        let lines = vec![Line::New(0), Line::New(1), Line::Stored(0), Line::Stored(1)];
        let read = Read { objects: &objects, counts: &counts };
        let lines = Lines::new("run-2", read, &stored, lines);
        let mut rows = stored.to_vec();
        rows.extend([row("d", None, "run-2"), row("b", Some("e"), "run-2")]);
        rows.sort();
        let expected = small::inputs_batch(&rows).expect("columns");
        let groups: Vec<LineGroup<'_>> = lines.groups().collect();
        assert_eq!((groups.len(), groups[0].rows()), (1, 4));
        for (place, column) in expected.columns().iter().enumerate() {
            let made = groups[0].column(place).expect("a column");
            let made = made.into_array(column.data_type()).expect("an array");
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
