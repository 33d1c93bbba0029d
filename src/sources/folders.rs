//! Which folders of a source are listed, and in what groups.
//!
//! Takes the place and the key pattern; gives groups of folders, one for each `{date}` that a folder's name
//! tells, so that a run lists, reads and forgets one date after the other, and never looks into folders
//! that no key of the pattern or no day of the window can lie in. It reads no object.

use super::{KeyPattern, is_hidden};
use crate::model::UsageDay;
use crate::storage::{Level, ObjectInfo, Place, StorageError};
use std::collections::{BTreeMap, BTreeSet};

/// Folders of one level at most. Where there are more, a folder for each token for example, asking for each
/// costs more than listing all there is.
const FOLDERS_MAX: usize = 4096;

/// A remote source without dates in its folders is listed by its topmost folders side by side, if there
/// are not more of them than this.
const SPLIT_MAX: usize = 256;

/// A part of the source that is listed at one time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group {
    /// The `{date}` of its folders. None: they tell none, or one that cannot be read.
    pub date: Option<UsageDay>,
    /// To be listed with all that is in them; `""` is the whole place.
    pub folders: Vec<String>,
    /// Met on the way to the folders.
    pub objects: Vec<ObjectInfo>,
}

/// The groups of a source, by date; the one without a date comes first.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Folders {
    pub groups: Vec<Group>,
    /// Folders whose names no key of the pattern has.
    pub unmatched: u64,
    /// Folders of dates that were not wanted.
    pub outside: u64,
    /// A few of the unmatched, to show.
    pub unmatched_examples: Vec<String>,
    /// Met on the way, with names that cannot be asked for.
    pub unreadable: BTreeSet<String>,
}

/// Finds the groups. `wanted` says which dates are; `each` calls a function for every folder of a level, side
/// by side if it can.
pub fn folders<E: From<StorageError>>(
    place: &Place,
    pattern: Option<&KeyPattern>,
    wanted: &dyn Fn(UsageDay) -> bool,
    each: impl Fn(&[String], &(dyn Fn(&String) -> Result<Level, E> + Sync)) -> Result<Vec<Level>, E>,
) -> Result<Folders, E> {
    let top = pattern.and_then(KeyPattern::folder).unwrap_or("").to_owned();
    let list = |folder: &String| Ok(place.list_level(Some(folder.as_str()))?);
    let Some((pattern, date_depth)) = pattern.and_then(|p| Some((p, p.date_depth()?))) else {
        return whole(place, top, &list);
    };
    let mut found = Folders::default();
    let mut undated = Group::default();
    let mut dated: BTreeMap<UsageDay, Vec<String>> = BTreeMap::new();
    let mut level = vec![top.clone()];
    let depth = if top.is_empty() { 0 } else { top.split('/').count() };
    if depth > date_depth {
        // The pattern has no capture before its last folder, so it holds no `{date}` there either.
        return whole(place, top, &list);
    }
    for depth in depth..=date_depth {
        if level.len() > FOLDERS_MAX {
            return whole(place, top, &list);
        }
        let mut below = Vec::new();
        for Level { folders, objects, unreadable } in each(&level, &list)? {
            found.unreadable.extend(unreadable);
            undated.objects.extend(objects);
            for folder in folders {
                let name = folder.rsplit('/').next().unwrap_or(&folder);
                let hidden = is_hidden(name);
                match pattern.folder_at(depth, name).filter(|_| !hidden) {
                    None => {
                        found.unmatched += u64::from(!hidden);
                        if !hidden && found.unmatched_examples.len() < 3 {
                            found.unmatched_examples.push(format!("{folder}/"));
                        }
                    }
                    Some(None) => below.push(folder),
                    Some(Some(date)) => match UsageDay::parse(date) {
                        Some(date) if wanted(date) => dated.entry(date).or_default().push(folder),
                        Some(_) => found.outside += 1,
                        None => undated.folders.push(folder),
                    },
                }
            }
        }
        level = below;
    }
    if !undated.folders.is_empty() || !undated.objects.is_empty() {
        found.groups.push(undated);
    }
    found.groups.extend(dated.into_iter().map(|(date, folders)| Group {
        date: Some(date),
        folders,
        objects: Vec::new(),
    }));
    Ok(found)
}

/// One group of everything below `top`.
fn whole<E>(
    place: &Place,
    top: String,
    list: &dyn Fn(&String) -> Result<Level, E>,
) -> Result<Folders, E> {
    let mut group = Group { folders: vec![top.clone()], ..Group::default() };
    let mut unmet = BTreeSet::new();
    // A local folder is walked as fast as it can be.
    if place.local_folder().is_none() {
        let Level { folders, objects, unreadable } = list(&top)?;
        unmet = unreadable;
        if folders.len() <= SPLIT_MAX {
            group = Group { date: None, folders, objects };
        }
    }
    Ok(Folders { groups: vec![group], unreadable: unmet, ..Folders::default() })
}
