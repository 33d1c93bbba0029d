//! The objects of a date, held small.

use super::Object;
use crate::model::{Texts, UsageDay};
use crate::storage::ObjectInfo;
use std::sync::Arc;

/// Objects by their place: some 130 bytes each with a key of 80, where [`Object`]s would take twice that.
#[derive(Clone, Debug, Default)]
pub struct Objects {
    /// Shared with the rows that come of them.
    keys: Arc<Texts>,
    etags: Texts,
    has_etag: Vec<bool>,
    sizes: Vec<u64>,
    modified_ms: Vec<i64>,
    /// `Date32`, or [`NO_DATE`].
    dates: Vec<i32>,
}

/// Half of what an `Option` takes.
const NO_DATE: i32 = i32::MIN;

impl Objects {
    pub fn len(&self) -> usize {
        self.sizes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.sizes.is_empty()
    }

    /// The object of a place, made for the asking.
    pub fn get(&self, place: usize) -> Object {
        let info = ObjectInfo {
            key: self.key(place).to_owned(),
            size: self.size(place),
            etag: self.etag(place).map(str::to_owned),
            last_modified_ms: self.modified_ms(place),
        };
        Object { info, date: self.date(place) }
    }

    pub fn key(&self, place: usize) -> &str {
        self.keys.get(place)
    }

    pub fn keys(&self) -> &Arc<Texts> {
        &self.keys
    }

    pub fn size(&self, place: usize) -> u64 {
        self.sizes[place]
    }

    pub fn etag(&self, place: usize) -> Option<&str> {
        self.has_etag[place].then(|| self.etags.get(place))
    }

    pub fn modified_ms(&self, place: usize) -> i64 {
        self.modified_ms[place]
    }

    pub fn date(&self, place: usize) -> Option<UsageDay> {
        Some(self.dates[place]).filter(|date| *date != NO_DATE).map(UsageDay::from_date32)
    }

    /// Bytes stored of all of them.
    pub fn size_total(&self) -> u64 {
        self.sizes.iter().sum()
    }

    /// The place of a key among objects that are sorted.
    pub fn find(&self, key: &str) -> Option<usize> {
        let (mut from, mut to) = (0, self.len());
        while from < to {
            let middle = from + (to - from) / 2;
            match self.key(middle).cmp(key) {
                std::cmp::Ordering::Less => from = middle + 1,
                std::cmp::Ordering::Equal => return Some(middle),
                std::cmp::Ordering::Greater => to = middle,
            }
        }
        None
    }

    pub fn push(&mut self, object: &Object) {
        let Object { info, date } = object;
        self.push_parts(&info.key, info.size, info.etag.as_deref(), info.last_modified_ms, *date);
    }

    fn push_parts(
        &mut self,
        key: &str,
        size: u64,
        etag: Option<&str>,
        modified_ms: i64,
        date: Option<UsageDay>,
    ) {
        Arc::make_mut(&mut self.keys).push(key);
        self.etags.push(etag.unwrap_or_default());
        self.has_etag.push(etag.is_some());
        self.sizes.push(size);
        self.modified_ms.push(modified_ms);
        self.dates.push(date.map_or(NO_DATE, UsageDay::date32));
    }

    /// Adds an object of others.
    pub fn push_of(&mut self, others: &Objects, place: usize) {
        let (key, etag) = (others.key(place), others.etag(place));
        let (size, modified_ms) = (others.size(place), others.modified_ms(place));
        self.push_parts(key, size, etag, modified_ms, others.date(place));
    }

    pub fn append(&mut self, others: Objects) {
        if self.is_empty() {
            *self = others;
            return;
        }
        self.reserve(others.len(), others.keys.text_bytes(), others.etags.text_bytes());
        (0..others.len()).for_each(|place| self.push_of(&others, place));
    }

    /// Makes room for so many objects, their keys and etags of so many bytes together.
    pub fn reserve(&mut self, objects: usize, key_bytes: usize, etag_bytes: usize) {
        Arc::make_mut(&mut self.keys).reserve(objects, key_bytes);
        self.etags.reserve(objects, etag_bytes);
        self.has_etag.reserve_exact(objects);
        self.sizes.reserve_exact(objects);
        self.modified_ms.reserve_exact(objects);
        self.dates.reserve_exact(objects);
    }

    /// Puts them in the order of their keys. Mostly they are.
    pub fn sort(&mut self) {
        if (1..self.len()).all(|place| self.key(place - 1) <= self.key(place)) {
            return;
        }
        let mut order: Vec<u32> = (0..self.len() as u32).collect();
        order.sort_by(|a, b| self.key(*a as usize).cmp(self.key(*b as usize)));
        let mut sorted = Objects::default();
        sorted.reserve(self.len(), self.keys.text_bytes(), self.etags.text_bytes());
        order.into_iter().for_each(|place| sorted.push_of(self, place as usize));
        *self = sorted;
    }

    /// Gives room back that was made for more objects than came.
    pub fn shrink(&mut self) {
        Arc::make_mut(&mut self.keys).shrink();
        self.etags.shrink();
        self.has_etag.shrink_to_fit();
        self.sizes.shrink_to_fit();
        self.modified_ms.shrink_to_fit();
        self.dates.shrink_to_fit();
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        let each = size_of::<u64>() + size_of::<i64>() + size_of::<i32>() + 1;
        self.keys.bytes() + self.etags.bytes() + each * self.sizes.capacity()
    }
}

impl FromIterator<Object> for Objects {
    fn from_iter<I: IntoIterator<Item = Object>>(objects: I) -> Objects {
        let mut all = Objects::default();
        objects.into_iter().for_each(|object| all.push(&object));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(key: &str, etag: Option<&str>, day: Option<&str>) -> Object {
        let info = ObjectInfo {
            key: key.to_owned(),
            size: key.len() as u64,
            etag: etag.map(str::to_owned),
            last_modified_ms: -7,
        };
        Object { info, date: day.and_then(UsageDay::parse) }
    }

    #[test]
    fn objects_are_sorted_found_and_given_back_whole() {
        let all = [
            object("b/2", Some("e-2"), Some("2024-11-01")),
            object("a", None, None),
            object("b/1", Some(""), Some("2024-11-02")),
        ];
        let mut objects: Objects = all[..1].iter().cloned().collect();
        objects.append(all[1..].iter().cloned().collect());
        objects.sort();
        objects.shrink();
        let told = |object: &Object| (object.info.clone(), object.date);
        let found: Vec<_> = (0..objects.len()).map(|place| told(&objects.get(place))).collect();
        assert_eq!(found, [told(&all[1]), told(&all[2]), told(&all[0])]);
        assert_eq!(objects.find("b/1"), Some(1));
        assert_eq!((objects.find("b"), objects.find("c"), objects.find("")), (None, None, None));
        assert_eq!(objects.size_total(), 7);
    }
}
