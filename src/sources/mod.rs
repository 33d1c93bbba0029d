//! Which objects count, and in what shards they are read.
//!
//! Takes a listing, the key pattern, a window of usage days and the load history; gives the objects to
//! read, packed into shards of about equal bytes. It reads no object, but for the first bytes of those
//! large enough to be split.

pub mod inventory;
mod pattern;

pub use pattern::KeyPattern;

use crate::model::UsageDay;
use crate::storage::ObjectInfo;
use std::collections::HashMap;
use std::ops::Range;

/// An object to read.
#[derive(Clone, Debug)]
pub struct Object {
    pub info: ObjectInfo,
    /// What the pattern captured, by name.
    pub captures: Vec<(String, String)>,
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
    fn may_concern(&self, date: UsageDay, lookback_days: u16) -> bool {
        self.from.is_none_or(|from| date.plus(1) >= from)
            && self.to.is_none_or(|to| date <= to.plus(i32::from(lookback_days)))
    }
}

/// What a listing came to.
#[derive(Debug, Default)]
pub struct Selection {
    /// To be read, by key.
    pub objects: Vec<Object>,
    /// Already loaded, by (key, size, etag).
    pub known: u64,
    /// Not taken by the pattern.
    pub unmatched: u64,
    /// Hidden or `_`-prefixed: not data.
    pub hidden: u64,
    /// Of dates that cannot concern the window.
    pub outside: u64,
    /// A few of the unmatched, to show.
    pub unmatched_examples: Vec<String>,
    /// Keys whose `{date}` is no date: they are read whatever the window.
    pub undated: u64,
}

/// (size, etag) of each load of a key.
pub type History = HashMap<String, Vec<(u64, Option<String>)>>;

/// By what objects are picked.
pub struct Choice<'c> {
    pub pattern: Option<&'c KeyPattern>,
    pub window: Window,
    pub lookback_days: u16,
    pub history: &'c History,
    /// Keys to be read although they are known.
    pub again: &'c dyn Fn(&str) -> bool,
    /// Keys to be read whatever their date.
    pub concerned: &'c dyn Fn(&str) -> bool,
}

/// Picks the objects to read.
pub fn select(listing: Vec<ObjectInfo>, choice: &Choice<'_>) -> Selection {
    let Choice { pattern, window, lookback_days, history, again, concerned } = choice;
    let mut selection = Selection::default();
    for info in listing {
        if info.key.split('/').any(|s| s.starts_with('.') || s.starts_with('_')) {
            selection.hidden += 1;
            continue;
        }
        let captures = match pattern {
            None => Vec::new(),
            Some(pattern) => match pattern.captures(&info.key) {
                Some(captures) => captures,
                None => {
                    selection.unmatched += 1;
                    if selection.unmatched_examples.len() < 3 {
                        selection.unmatched_examples.push(info.key);
                    }
                    continue;
                }
            },
        };
        if let Some((_, date)) = captures.iter().find(|(name, _)| name == "date") {
            match UsageDay::parse(date) {
                Some(date)
                    if !window.may_concern(date, *lookback_days) && !concerned(&info.key) =>
                {
                    selection.outside += 1;
                    continue;
                }
                Some(_) => {}
                None => selection.undated += 1,
            }
        }
        let known = history
            .get(&info.key)
            .is_some_and(|loads| loads.iter().any(|(s, e)| *s == info.size && *e == info.etag));
        if known && !again(&info.key) {
            selection.known += 1;
            continue;
        }
        selection.objects.push(Object { info, captures });
    }
    selection.objects.sort_by(|a, b| a.info.key.cmp(&b.info.key));
    selection
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

/// Packs the selection into shards, in key order. `splits` says whether an object larger than a shard
/// is plain NDJSON, which can be read in pieces.
pub fn shards(objects: &[Object], mut splits: impl FnMut(&Object) -> bool) -> Vec<Shard> {
    let mut shards = Vec::new();
    let mut open = 0..0;
    let mut open_bytes = 0;
    for (i, object) in objects.iter().enumerate() {
        let size = object.info.size;
        let pieces = size > SHARD_BYTES && splits(object);
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
        Object { info, captures: Vec::new() }
    }

    #[test]
    fn shards_cover_every_object_once() {
        let objects = [
            object("a", 1),
            object("b", 2 * SHARD_BYTES + 5),
            object("c", 3),
            object("d", SHARD_BYTES),
        ];
        let shards = shards(&objects, |o| o.info.key == "b");
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
        let many: Vec<Object> = (0..1300).map(|i| object(&format!("{i:05}"), 10)).collect();
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
    fn a_new_size_or_etag_is_a_new_object_and_hidden_keys_are_no_data() {
        let history = History::from([("a".to_owned(), vec![(1, Some("e".to_owned()))])]);
        let listing: Vec<ObjectInfo> = [("a", 1), ("a", 2), ("_a", 1), ("x/.y/z", 1), ("x/_y", 1)]
            .iter()
            .map(|(key, size)| object(key, *size).info)
            .collect();
        let choice = Choice {
            pattern: None,
            window: Window::default(),
            lookback_days: 3,
            history: &history,
            again: &|_| false,
            concerned: &|_| false,
        };
        let selection = select(listing, &choice);
        assert_eq!((selection.known, selection.hidden, selection.objects.len()), (1, 3, 1));
    }
}
