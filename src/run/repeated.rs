//! Attempts that came more than once, by Seq. The load history keeps their number alone, so the objects of the days in
//! question are read again, where these are not too many.

use super::{RunError, on_threads, stopped};
use crate::decode::{self, Sink, Wanted};
use crate::model::{Attempt, Record, Reject, UsageDay, plural};
use crate::pipeline::Pipeline;
use crate::storage::Place;
use crate::write::small::Input;
use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::AtomicBool;

/// Objects and bytes that are read again at most: some seconds, and tens of megabytes of Seqs.
const OBJECTS_MAX: usize = 2_000;
const BYTES_MAX: i64 = 512 << 20;
/// A result can be pulled for three days, so that the pulls of an attempt have keys of so many days.
const DAYS_AROUND: i32 = 3;

/// Objects that are read side by side: a remote store answers in tens of milliseconds.
const READERS: usize = 16;

/// How often each Seq came, of those that came more than once.
pub type Copies = HashMap<Box<str>, u32>;

#[derive(Default)]
struct Counted {
    as_of_ms: i64,
    copies: Copies,
}

impl Sink for Counted {
    fn record(&mut self, record: &Record<'_>, attempts: &[Attempt<'_>]) {
        if record.fetched_at.is_some_and(|fetched| fetched > self.as_of_ms) {
            return;
        }
        for attempt in attempts {
            match self.copies.get_mut(&*attempt.seq) {
                Some(copies) => *copies += 1,
                None => _ = self.copies.insert((&*attempt.seq).into(), 1),
            }
        }
    }

    fn reject(&mut self, _: Reject) {}
}

/// Reads the objects near `days` again (those without a date in the key are near all), if some of them repeated attempts.
/// `day_of` gives the date of a key. Gives what came more than once by `as_of_ms`, and what to tell where not all could be
/// read.
pub fn copies(
    pipeline: &Pipeline,
    inputs: &[Input],
    day_of: &dyn Fn(&str) -> Option<UsageDay>,
    days: &BTreeSet<UsageDay>,
    as_of_ms: i64,
    stop: &AtomicBool,
) -> Result<(Copies, Option<String>), RunError> {
    let near: BTreeSet<UsageDay> =
        days.iter().flat_map(|day| (-DAYS_AROUND..=DAYS_AROUND).map(|n| day.plus(n))).collect();
    // An object that was loaded several times is one.
    let mut objects: HashMap<&str, &Input> = HashMap::new();
    let of_days = |input: &&Input| day_of(&input.key).is_none_or(|day| near.contains(&day));
    for input in inputs.iter().filter(of_days) {
        objects.insert(&input.key, input);
    }
    let repeats = |input: &&&Input| input.rows_duplicate + input.rows_changed > 0;
    let repeated = objects.values().filter(repeats).count();
    if repeated == 0 {
        return Ok((Copies::new(), None));
    }
    let untold = |why: String| {
        format!(
            "{} of ours repeated attempts, by number alone and without their Seqs: {why}",
            plural(repeated as u64, "object")
        )
    };
    let bytes: i64 = objects.values().map(|input| input.size).sum();
    if objects.len() > OBJECTS_MAX || bytes > BYTES_MAX {
        let why = format!(
            "the objects of these days are more than are read again ({OBJECTS_MAX}, {} MiB)",
            BYTES_MAX >> 20
        );
        return Ok((Copies::new(), Some(untold(why))));
    }
    let place = match Place::open_source(&pipeline.source.url, &pipeline.source.options) {
        Ok(place) => place,
        Err(error) => return Ok((Copies::new(), Some(untold(error.to_string())))),
    };
    let wanted = Wanted::new(pipeline.source.envelope.clone(), false, false);
    let source = &pipeline.source;
    let read = |key: &str| -> Result<Copies, String> {
        let mut input = place.reader(key, 0).map_err(|error| error.to_string())?;
        let mut counted = Counted { as_of_ms, copies: Copies::new() };
        let (format, told) = (source.format, source.compression);
        decode::read_object(&mut input, (key, 0), format, told, &wanted, &mut counted)
            .map_err(|error| error.to_string())?;
        Ok(counted.copies)
    };
    let keys: Vec<&str> = objects.keys().copied().collect();
    let each = on_threads(READERS, &keys, |key| {
        stopped(stop)?;
        Ok(read(key))
    })?;
    let mut all = Copies::new();
    let mut failed = Vec::new();
    for (key, read) in keys.iter().zip(each) {
        match read {
            Ok(copies) => {
                copies.into_iter().for_each(|(seq, n)| *all.entry(seq).or_default() += n);
            }
            Err(why) => failed.push(format!("{key}: {why}")),
        }
    }
    all.retain(|_, copies| *copies > 1);
    failed.sort();
    let told = failed.first().map(|first| {
        untold(format!(
            "{} could not be read again ({first})",
            plural(failed.len() as u64, "object")
        ))
    });
    Ok((all, told))
}
