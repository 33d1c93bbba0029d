//! Which objects count, and in what shards they are read.
//!
//! Takes a source, the key pattern, a window of usage days and what is known already; gives the objects to
//! read, packed into shards of about equal bytes. It reads no object, but for the first bytes of those
//! large enough to be split.

mod folders;
pub mod inventory;
mod objects;
mod pattern;

pub use folders::{Folders, Group, folders};
pub use objects::Objects;
pub use pattern::KeyPattern;

use crate::model::UsageDay;
use crate::storage::ObjectInfo;
use std::ops::Range;

/// An object to read.
#[derive(Clone, Debug)]
pub struct Object {
    pub info: ObjectInfo,
    /// What the pattern captured as `{date}`, where it is one. The other captures are taken when the object is
    /// read: a million of them would weigh more than the keys.
    pub date: Option<UsageDay>,
}

/// Usage days asked for, both ends included; `None` is no bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Window {
    pub from: Option<UsageDay>,
    pub to: Option<UsageDay>,
}

impl Window {
    pub fn holds(&self, day: UsageDay) -> bool {
        self.from.is_none_or(|from| from <= day) && self.to.is_none_or(|to| day <= to)
    }

    pub fn is_bounded(&self) -> bool {
        self.from.is_some() || self.to.is_some()
    }

    /// Whether an object of this date may hold attempts of the window. A token made late on a day has
    /// attempts up to two hours into the next, and its result can be pulled for `lookback_days`.
    pub fn may_concern(&self, date: UsageDay, lookback_days: u16) -> bool {
        self.from.is_none_or(|from| date.plus(1) >= from)
            && self.to.is_none_or(|to| date <= to.plus(i32::from(lookback_days)))
    }
}

/// In which order a run goes through the dates of its source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Order {
    #[default]
    OldestFirst,
    NewestFirst,
}

/// What a listing came to.
#[derive(Debug, Default)]
pub struct Selection {
    /// To be read, by key.
    pub objects: Objects,
    /// All that the listing held.
    pub keys: u64,
    /// Already loaded, by (key, size, etag).
    pub known: u64,
    /// Not taken by the pattern.
    pub unmatched: u64,
    /// Hidden or `_`-prefixed: not data.
    pub hidden: u64,
    /// Of dates that cannot concern the window, or not asked for.
    pub outside: u64,
    /// A few of the unmatched, to show.
    pub unmatched_examples: Vec<String>,
    /// Keys whose `{date}` is no date: they are read whatever the window.
    pub undated: u64,
}

/// Examples of keys that a selection shows.
const EXAMPLES_MAX: usize = 3;

impl Selection {
    /// Adds the counts of another selection; the objects stay where they are.
    pub fn count(&mut self, other: &Selection) {
        self.keys += other.keys;
        self.known += other.known;
        self.unmatched += other.unmatched;
        self.hidden += other.hidden;
        self.outside += other.outside;
        self.undated += other.undated;
        let left = EXAMPLES_MAX.saturating_sub(self.unmatched_examples.len());
        self.unmatched_examples.extend(other.unmatched_examples.iter().take(left).cloned());
    }
}

/// What is to be done with an object that pattern and window take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Read,
    Known,
    /// Another run's work.
    Leave,
}

/// By what objects are picked.
pub struct Choice<'c> {
    pub pattern: Option<&'c KeyPattern>,
    pub window: Window,
    pub lookback_days: u16,
    /// Keys to be read whatever their date.
    pub concerned: &'c dyn Fn(&str) -> bool,
}

/// Picks the objects to read. `verdict` is asked about those that pattern and window take.
pub fn select<E>(
    listing: Vec<ObjectInfo>,
    choice: &Choice<'_>,
    mut verdict: impl FnMut(&Object) -> Result<Verdict, E>,
) -> Result<Selection, E> {
    let Choice { pattern, window, lookback_days, concerned } = choice;
    let mut selection = Selection { keys: listing.len() as u64, ..Selection::default() };
    let bytes = |of: fn(&ObjectInfo) -> usize| listing.iter().map(of).sum::<usize>();
    let etag_bytes = |info: &ObjectInfo| info.etag.as_ref().map_or(0, String::len);
    selection.objects.reserve(listing.len(), bytes(|info| info.key.len()), bytes(etag_bytes));
    for info in listing {
        if is_hidden(&info.key) {
            selection.hidden += 1;
            continue;
        }
        let captured = match pattern.map_or(Some(None), |pattern| pattern.date(&info.key)) {
            Some(captured) => captured,
            None => {
                selection.unmatched += 1;
                if selection.unmatched_examples.len() < EXAMPLES_MAX {
                    selection.unmatched_examples.push(info.key);
                }
                continue;
            }
        };
        let date = captured.and_then(UsageDay::parse);
        if captured.is_some() && date.is_none() {
            selection.undated += 1;
        }
        if let Some(date) = date
            && !window.may_concern(date, *lookback_days)
            && !concerned(&info.key)
        {
            selection.outside += 1;
            continue;
        }
        let object = Object { info, date };
        match verdict(&object)? {
            Verdict::Read => selection.objects.push(&object),
            Verdict::Known => selection.known += 1,
            Verdict::Leave => selection.outside += 1,
        }
    }
    selection.objects.sort();
    selection.objects.shrink();
    Ok(selection)
}

/// Whether a key, or the name of a folder, is not data: a part of it begins with `.` or `_`.
fn is_hidden(key: &str) -> bool {
    let begins = std::iter::once(b'/').chain(key.bytes());
    begins.zip(key.bytes()).any(|(before, byte)| before == b'/' && matches!(byte, b'.' | b'_'))
}

/// What one worker reads at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shard {
    /// Whole objects, by place in the selection.
    Objects(Range<usize>),
    /// The lines of an object that begin within these bytes.
    Lines { object: usize, bytes: Range<u64> },
}

/// Bytes of a shard, about. Large enough that its fixed cost is lost in it, small enough that the
/// last shards of a run keep every thread busy and that the buffers of all threads stay small.
pub const SHARD_BYTES: u64 = 16 << 20;

/// Objects of a shard at most: small objects cost by number, not by bytes.
pub const SHARD_OBJECTS_MAX: usize = 512;

/// Packs the selection into shards, in key order. `splits` says whether an object larger than a shard is plain
/// NDJSON, which can be read in pieces.
pub fn shards(objects: &Objects, mut splits: impl FnMut(&str) -> bool) -> Vec<Shard> {
    let mut shards = Vec::new();
    let mut open = 0..0;
    let mut open_bytes = 0;
    for i in 0..objects.len() {
        let size = objects.size(i);
        let pieces = size > SHARD_BYTES && splits(objects.key(i));
        let full = open_bytes + size > SHARD_BYTES || open.len() >= SHARD_OBJECTS_MAX;
        if (pieces || full) && !open.is_empty() {
            shards.push(Shard::Objects(open.clone()));
            open = i..i;
            open_bytes = 0;
        }
        if pieces {
            let mut from = 0;
            while from < size {
                let to = (from + SHARD_BYTES).min(size);
                shards.push(Shard::Lines { object: i, bytes: from..to });
                from = to;
            }
            open = i + 1..i + 1;
        } else {
            open.end = i + 1;
            open_bytes += size;
        }
    }
    if !open.is_empty() {
        shards.push(Shard::Objects(open));
    }
    shards
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(key: &str, size: u64) -> Object {
        let info =
            ObjectInfo { key: key.into(), size, etag: Some("e".into()), last_modified_ms: 0 };
        Object { info, date: None }
    }

    #[test]
    fn shards_cover_every_object_once() {
        let objects = [
            object("a", 1),
            object("b", 2 * SHARD_BYTES + 5),
            object("c", 3),
            object("d", SHARD_BYTES),
        ];
        let shards = shards(&objects.into_iter().collect(), |key| key == "b");
        assert_eq!(
            shards,
            [
                Shard::Objects(0..1),
                Shard::Lines { object: 1, bytes: 0..SHARD_BYTES },
                Shard::Lines { object: 1, bytes: SHARD_BYTES..2 * SHARD_BYTES },
                Shard::Lines { object: 1, bytes: 2 * SHARD_BYTES..2 * SHARD_BYTES + 5 },
                Shard::Objects(2..3),
                Shard::Objects(3..4),
            ]
        );
        let many: Objects = (0..1300).map(|i| object(&format!("{i:05}"), 10)).collect();
        let shards = super::shards(&many, |_| false);
        assert_eq!(
            shards,
            [Shard::Objects(0..512), Shard::Objects(512..1024), Shard::Objects(1024..1300)]
        );
    }

    #[test]
    fn the_window_looks_one_day_before_and_some_after() {
        let day = |text| UsageDay::parse(text).unwrap();
        let window = Window { from: Some(day("2024-11-02")), to: Some(day("2024-11-03")) };
        let concerned: Vec<bool> =
            ["2024-10-31", "2024-11-01", "2024-11-02", "2024-11-06", "2024-11-07"]
                .iter()
                .map(|d| window.may_concern(day(d), 3))
                .collect();
        assert_eq!(concerned, [false, true, true, true, false]);
    }

    #[test]
    fn every_key_listed_is_counted_once_and_hidden_keys_are_no_data() {
        let keys = ["a", "b", "c", "_a", "x/.y/z", "x/_y", "dt=2024-11-09/k", "dt=today/k"];
        let listing: Vec<ObjectInfo> = keys.iter().map(|key| object(key, 1).info).collect();
        let pattern = KeyPattern::parse("dt={date}/*");
        let day = UsageDay::parse("2024-11-02");
        let mut choice = Choice {
            pattern: None,
            window: Window { from: day, to: day },
            lookback_days: 3,
            concerned: &|_| false,
        };
        let verdict = |object: &Object| {
            Ok::<_, ()>(match object.info.key.as_str() {
                "a" => Verdict::Known,
                "b" => Verdict::Leave,
                _ => Verdict::Read,
            })
        };
        let all = select(listing.clone(), &choice, verdict).unwrap();
        let sum =
            |s: &Selection| s.known + s.unmatched + s.hidden + s.outside + s.objects.len() as u64;
        assert_eq!((all.known, all.hidden, all.outside, all.objects.len()), (1, 3, 1, 3));
        assert_eq!((all.keys, sum(&all)), (8, 8));
        choice.pattern = Some(&pattern);
        let dated = select(listing, &choice, verdict).unwrap();
        assert_eq!((dated.unmatched, dated.outside, dated.undated), (3, 1, 1));
        assert_eq!((dated.keys, sum(&dated)), (8, 8));
    }
}
