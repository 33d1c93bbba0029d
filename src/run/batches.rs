//! What a run reads, in batches: listed, subtracted and handed out one date after the other, so that neither
//! the listing nor the history nor the rows of a year are ever held at once.

use super::history::Loads;
use super::{Asked, RunError, Tables, on_threads, partition, stopped};
use crate::model::{Broken, UsageDay};
use crate::pipeline::{Inventory, Pipeline};
use crate::sources::{
    self, Choice, Folders, Group, KeyPattern, Object, Objects, Order, Selection, Verdict,
};
#[cfg(doc)]
use crate::storage::Listing;
use crate::storage::{ObjectInfo, Place};
use crate::write::OpenTable;
use crate::write::small;
use arrow::array::AsArray;
use arrow::datatypes::Int32Type;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::atomic::AtomicBool;

/// Groups listed side by side at most, when the ones before held little that is new.
const GROUPS_MAX: usize = 32;

/// Keys of all groups listed side by side at most, about, as far as the groups before tell: with its line of the
/// history each weighs some 400 bytes until it is known to be known.
const KEYS_LISTED_MAX: u64 = 150_000;

/// So few new objects in the groups last listed, and more groups are listed at once.
const FEW_OBJECTS: usize = 1_000;

/// Objects to be loaded and committed together, by key.
#[derive(Debug, Default)]
pub struct Batch {
    pub objects: Objects,
    /// First and last `{date}` of their keys, where they have them.
    pub dates: Option<(UsageDay, UsageDay)>,
    bytes: u64,
}

impl Batch {
    fn add(&mut self, part: Part) {
        self.bytes += part.bytes();
        if let Some(date) = part.date {
            let (first, last) = self.dates.unwrap_or((date, date));
            self.dates = Some((first.min(date), last.max(date)));
        }
        // Mostly a batch is one date: nothing of it is copied.
        self.objects.append(part.objects);
    }
}

/// New objects of one date.
struct Part {
    date: Option<UsageDay>,
    objects: Objects,
}

impl Part {
    fn bytes(&self) -> u64 {
        self.objects.size_total()
    }
}

/// What of a source is still to be read.
pub struct Batches<'r> {
    pipeline: &'r Pipeline,
    source: &'r Place,
    asked: &'r Asked,
    stop: &'r AtomicBool,
    io_threads: usize,
    pattern: Option<KeyPattern>,
    /// Not yet listed, in the order asked for.
    groups: VecDeque<Group>,
    /// Listed and new, not yet handed out.
    parts: VecDeque<Part>,
    stride: usize,
    /// Whether a file stands for the listing and is still to be read.
    inventory: Option<&'r Inventory>,
    /// Keys that a refresh of some days reads whatever their date.
    contributors: BTreeSet<String>,
    /// Keys that a retry reads, as far as they were not found yet.
    retried: BTreeSet<String>,
    /// What was listed so far; it holds no objects.
    pub counts: Selection,
    pub folders_unmatched: u64,
    pub folders_outside: u64,
    /// Keys listed so far that cannot be asked for: see [`Listing::unreadable`].
    pub unreadable: BTreeSet<String>,
}

impl<'r> Batches<'r> {
    /// Finds the folders to list.
    pub fn find(
        pipeline: &'r Pipeline,
        source: &'r Place,
        asked: &'r Asked,
        stop: &'r AtomicBool,
        io_threads: usize,
        tables: &Tables,
    ) -> Result<Batches<'r>, RunError> {
        let pattern = pipeline.source.keys.as_deref().map(KeyPattern::parse);
        let ranged_refresh = asked.full_refresh && asked.window.is_bounded();
        let contributors = match ranged_refresh {
            true => contributors(asked, &tables.detail)?,
            false => BTreeSet::new(),
        };
        let date_of = |key: &String| pattern.as_ref()?.day(key);
        let contributed: BTreeSet<UsageDay> = contributors.iter().filter_map(date_of).collect();
        let lookback_days = pipeline.source.lookback_days;
        let wanted = |date: UsageDay| {
            asked.window.may_concern(date, lookback_days) || contributed.contains(&date)
        };
        let each = |folders: &[String], list: &(dyn Fn(&String) -> _ + Sync)| {
            on_threads(io_threads, folders, |folder| {
                stopped(stop)?;
                list(folder)
            })
        };
        let inventory = pipeline.source.inventory.as_ref();
        let found = match inventory {
            Some(_) => Folders::default(),
            None => sources::folders(source, pattern.as_ref(), &wanted, each)?,
        };
        let mut groups: VecDeque<Group> = found.groups.into();
        in_order(asked.order, groups.make_contiguous(), |group| group.date);
        let retried = match asked.retry_rejects {
            true => super::read_small(&tables.rejects, small::rejects)?
                .into_iter()
                .map(|reject| reject.source_key)
                .collect(),
            false => BTreeSet::new(),
        };
        Ok(Batches {
            pipeline,
            source,
            asked,
            stop,
            io_threads,
            pattern,
            groups,
            parts: VecDeque::new(),
            stride: 1,
            inventory,
            contributors,
            retried,
            counts: Selection {
                unmatched_examples: found.unmatched_examples,
                ..Selection::default()
            },
            folders_unmatched: found.unmatched,
            folders_outside: found.outside,
            unreadable: found.unreadable,
        })
    }

    /// The next objects to load together; None when all is done.
    pub fn next(&mut self, inputs: &OpenTable) -> Result<Option<Batch>, RunError> {
        let limits = &self.pipeline.limits;
        // What replaces whole days, and what is only looked at, is done in one step.
        let whole = self.asked.full_refresh || self.asked.dry_run;
        let mut batch = Batch::default();
        let fits = |batch: &Batch, objects: usize, bytes: u64| {
            whole
                || batch.objects.is_empty()
                || batch.objects.len() + objects <= limits.batch_objects
                    && batch.bytes + bytes <= limits.batch_bytes
        };
        loop {
            while let Some(part) = self.parts.pop_front() {
                if !fits(&batch, part.objects.len(), part.bytes()) {
                    self.parts.push_front(part);
                    return Ok(Some(sorted(batch)));
                }
                batch.add(part);
            }
            if self.groups.is_empty() && self.inventory.is_none() {
                return Ok((!batch.objects.is_empty()).then(|| sorted(batch)));
            }
            // Not even one of a byte: what the next listing shows would only be held beside it.
            if !fits(&batch, 1, 1) {
                return Ok(Some(sorted(batch)));
            }
            self.list_more(inputs)?;
        }
    }

    /// Objects with rejects that a retry has not found, once all is handed out.
    pub fn gone(&self) -> &BTreeSet<String> {
        &self.retried
    }

    /// Dates not yet handed out: how many, the first and the last.
    pub fn left(&self) -> Option<(usize, UsageDay, UsageDay)> {
        let dates: BTreeSet<UsageDay> = self
            .groups
            .iter()
            .filter_map(|g| g.date)
            .chain(self.parts.iter().filter_map(|p| p.date))
            .collect();
        Some((dates.len(), *dates.first()?, *dates.last()?))
    }

    fn list_more(&mut self, inputs: &OpenTable) -> Result<(), RunError> {
        if let Some(inventory) = self.inventory.take() {
            return self.take_inventory(inventory, inputs);
        }
        let n = self.stride.min(self.groups.len());
        let groups: Vec<Group> = self.groups.drain(..n).collect();
        let selections = match groups.as_slice() {
            [only] => vec![self.select(only, inputs, self.io_threads)?],
            // Folders of a group one after the other: the groups are listed side by side.
            groups => on_threads(self.io_threads, groups, |group| self.select(group, inputs, 1))?,
        };
        let new: usize = selections.iter().map(|(s, _)| s.objects.len()).sum();
        let listed: u64 = selections.iter().map(|(s, _)| s.keys).sum();
        let fit = KEYS_LISTED_MAX * n as u64 / listed.max(1);
        self.stride = match new <= FEW_OBJECTS {
            true => (self.stride * 2).min(GROUPS_MAX).min(fit.max(1) as usize),
            false => 1,
        };
        for (selection, unreadable) in selections {
            self.counts.count(&selection);
            self.unreadable.extend(unreadable);
            self.queue(selection.objects);
        }
        Ok(())
    }

    /// Adds new objects to what is handed out, by their dates.
    fn queue(&mut self, objects: Objects) {
        if objects.is_empty() {
            return;
        }
        if !self.retried.is_empty() {
            for place in 0..objects.len() {
                self.retried.remove(objects.key(place));
            }
        }
        let mut dates: BTreeMap<Option<UsageDay>, Objects> = BTreeMap::new();
        // Mostly they are all of one, and stay as they are.
        let first = objects.date(0);
        if (1..objects.len()).all(|place| objects.date(place) == first) {
            dates.insert(first, objects);
        } else {
            for place in 0..objects.len() {
                dates.entry(objects.date(place)).or_default().push_of(&objects, place);
            }
        }
        let mut parts: Vec<Part> =
            dates.into_iter().map(|(date, objects)| Part { date, objects }).collect();
        in_order(self.asked.order, &mut parts, |part| part.date);
        self.parts.extend(parts);
    }

    /// Takes an inventory for the listing. The objects of a year pass by; what is new of them stays.
    fn take_inventory(
        &mut self,
        inventory: &Inventory,
        inputs: &OpenTable,
    ) -> Result<(), RunError> {
        let mut loads = HashMap::new();
        let mut counts = Selection::default();
        let mut objects = Objects::default();
        super::inventory::read(self.pipeline, inventory, self.source, &mut |listing| {
            stopped(self.stop)?;
            let selection = self.pick(listing, inputs, &mut loads)?;
            counts.count(&selection);
            objects.append(selection.objects);
            Ok(())
        })?;
        objects.sort();
        let twice = (1..objects.len()).find(|place| objects.key(place - 1) == objects.key(*place));
        if let Some(twice) = twice {
            return Err(RunError::Usage(format!(
                "source.inventory: {} is listed twice: an inventory of all versions needs its IsLatest column, and one of several runs is none",
                objects.key(twice)
            )));
        }
        self.counts.count(&counts);
        self.queue(objects);
        Ok(())
    }

    /// Lists a group and subtracts what is known; gives what of it cannot be read, too.
    fn select(
        &self,
        group: &Group,
        inputs: &OpenTable,
        threads: usize,
    ) -> Result<(Selection, BTreeSet<String>), RunError> {
        // The history of the date is read while the folders are listed.
        let (listings, loads) = std::thread::scope(|scope| {
            let loads = scope.spawn(|| match self.asked.full_refresh {
                true => Ok(None),
                false => Loads::of(inputs, group.date).map(Some),
            });
            let listings = on_threads(threads, &group.folders, |folder| {
                stopped(self.stop)?;
                Ok(self.source.listing(Some(folder.as_str()))?)
            });
            (listings, loads.join())
        });
        let listings = listings?;
        let loads = loads.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        let mut listing: Vec<ObjectInfo> = group.objects.clone();
        listing.reserve_exact(listings.iter().map(|listed| listed.objects.len()).sum());
        let mut unreadable = BTreeSet::new();
        for listed in listings {
            listing.extend(listed.objects);
            unreadable.extend(listed.unreadable);
        }
        let mut loads: HashMap<_, _> = loads.into_iter().map(|l| (group.date, l)).collect();
        Ok((self.pick(listing, inputs, &mut loads)?, unreadable))
    }

    /// What of a listing is to be read. `loads` is the history as far as it was asked for.
    fn pick(
        &self,
        listing: Vec<ObjectInfo>,
        inputs: &OpenTable,
        loads: &mut HashMap<Option<UsageDay>, Loads>,
    ) -> Result<Selection, RunError> {
        let choice = Choice {
            pattern: self.pattern.as_ref(),
            window: self.asked.window,
            lookback_days: self.pipeline.source.lookback_days,
            concerned: &|key| self.contributors.contains(key),
        };
        let verdict = |object: &Object| -> Result<Verdict, RunError> {
            if self.asked.full_refresh || self.retried.contains(&object.info.key) {
                return Ok(Verdict::Read);
            }
            let loads = match loads.entry(object.date) {
                Entry::Occupied(loads) => loads.into_mut(),
                Entry::Vacant(place) => place.insert(Loads::of(inputs, object.date)?),
            };
            let known = loads.hold(&object.info);
            Ok(match known {
                true => Verdict::Known,
                // A retry reads the objects that had rejects and no others.
                false if self.asked.retry_rejects => Verdict::Leave,
                false => Verdict::Read,
            })
        };
        let selection = sources::select(listing, &choice, verdict)?;
        let accounted = selection.known
            + selection.unmatched
            + selection.hidden
            + selection.outside
            + selection.objects.len() as u64;
        match accounted == selection.keys {
            true => Ok(selection),
            false => Err(RunError::Conservation(vec![Broken {
                law: "keys listed = to be read + known + unmatched + hidden + outside",
                left: selection.keys,
                right: accounted,
            }])),
        }
    }
}

/// Puts what is sorted by date in the order asked for. What has no date comes first either way.
fn in_order<T>(order: Order, items: &mut [T], date: impl Fn(&T) -> Option<UsageDay>) {
    if order == Order::NewestFirst {
        let dated = items.iter().position(|item| date(item).is_some()).unwrap_or(items.len());
        items[dated..].reverse();
    }
}

fn sorted(mut batch: Batch) -> Batch {
    batch.objects.sort();
    batch
}

/// Stored days that a full refresh replaces.
pub fn replaced_days(asked: &Asked, table: &OpenTable) -> BTreeSet<i32> {
    let days = table.partitions().into_iter().filter_map(|p| UsageDay::parse(&p));
    days.filter(|day| asked.window.holds(*day)).map(UsageDay::date32).collect()
}

/// Keys of the objects that the stored rows of those days came from.
fn contributors(asked: &Asked, table: &OpenTable) -> Result<BTreeSet<String>, RunError> {
    let mut keys = BTreeSet::new();
    for day in replaced_days(asked, table) {
        for file in table.files_of(Some(&partition(day))) {
            for batch in table.read(file, Some(&["source_key"]))? {
                let dictionary = batch.column(0).as_dictionary::<Int32Type>();
                let values = dictionary.values().as_string::<i32>();
                keys.extend(values.iter().flatten().map(str::to_owned));
            }
        }
    }
    Ok(keys)
}
