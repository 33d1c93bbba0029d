//! Columns of few values, encoded by the dictionary they have.
//!
//! Takes values and of each row the place of its value; gives a Parquet column chunk: a page of the values that rows
//! have, and data pages of places in it (`RLE_DICTIONARY`; Encodings.md of the Parquet format). The parquet crate would
//! give the same rows, but looks up the value of every row to find the place that is known here.

use super::WriteError;
use super::chunk::{Chunk, ChunkWriter, PageFacts, Value};
use super::encodings::hybrid;
use hashbrown::HashMap;
use parquet::basic::Encoding;
use parquet::file::properties::WriterProperties;
use parquet::schema::types::ColumnDescPtr;
use std::borrow::Cow;
use std::hash::Hash;

/// A column of few values.
#[derive(Clone, Debug)]
pub struct Coded<'c, V: Clone> {
    /// None is null. A value may stand here more than once, or be that of no row.
    pub values: Vec<Option<V>>,
    /// Of each row the place of its value.
    pub places: Cow<'c, [u32]>,
}

/// Stands for the place of a null.
const NULL: u32 = u32::MAX;

/// Numbers below this find their places in a table, not by a hash.
const NEAR: usize = 1 << 14;

impl Coded<'static, i32> {
    /// Of numbers that come again and again.
    pub fn of_numbers(numbers: impl ExactSizeIterator<Item = Option<i32>>) -> Coded<'static, i32> {
        let mut values = Vec::new();
        let mut near = vec![NULL; NEAR];
        let mut far: HashMap<Option<i32>, u32> = HashMap::new();
        let mut places = Vec::with_capacity(numbers.len());
        places.extend(numbers.map(|number| {
            let near = number.and_then(|n| near.get_mut(usize::try_from(n).ok()?));
            let place = near.unwrap_or_else(|| far.entry(number).or_insert(NULL));
            if *place == NULL {
                *place = values.len() as u32;
                values.push(number);
            }
            *place
        }));
        Coded { values, places: Cow::Owned(places) }
    }
}

impl<'c, V: Value + Hash> Coded<'c, V> {
    /// The column chunk. None where the values are more than a dictionary page may hold, or where pages are compressed
    /// by another codec.
    pub fn chunk(
        &self,
        descr: &ColumnDescPtr,
        properties: &WriterProperties,
    ) -> Result<Option<Chunk>, WriteError> {
        let Some(mut writer) = ChunkWriter::new(descr, properties, Encoding::RLE_DICTIONARY)?
        else {
            return Ok(None);
        };
        if !self.fits(properties.column_dictionary_page_size_limit(descr.path())) {
            return Ok(None);
        }
        let (words, place_of) = self.words();
        writer.dictionary(&words)?;
        let order = writer.wants_bounds().then(|| in_order(&words));
        let has_null = place_of.contains(&NULL);
        let width = u32::BITS - (words.len().saturating_sub(1) as u32).leading_zeros();
        let (mut codes, mut seen) = (Vec::new(), vec![false; words.len()]);
        for rows in self.places.chunks(properties.data_page_row_count_limit()) {
            codes.clear();
            codes.extend(rows.iter().map(|place| place_of[*place as usize]));
            let is_null = |code: &u32| *code == NULL;
            let nulls =
                if has_null { codes.iter().filter(|code| is_null(code)).count() } else { 0 };
            let bounds = order.as_ref().and_then(|order| {
                for code in &codes {
                    if let Some(seen) = seen.get_mut(*code as usize) {
                        *seen = true;
                    }
                }
                let mut met = order.iter().filter(|code| seen[**code as usize]);
                let least = met.next()?;
                let greatest = met.next_back().unwrap_or(least);
                let bounds = [*least, *greatest].map(|code| words[code as usize]);
                seen.fill(false);
                Some(bounds)
            });
            let facts = PageFacts { rows: rows.len(), nulls, bounds, text_bytes: None };
            writer.page(facts, codes.iter().map(|code| !is_null(code)), |page| {
                page.push(width as u8);
                match nulls {
                    0 => hybrid(&codes, width, page),
                    _ => {
                        let held: Vec<u32> =
                            codes.iter().copied().filter(|code| !is_null(code)).collect();
                        hybrid(&held, width, page);
                    }
                }
            })?;
        }
        Ok(Some(writer.close(None)?))
    }

    /// Whether a dictionary page holds all values.
    fn fits(&self, bytes_max: usize) -> bool {
        self.values.iter().flatten().map(|value| 4 + value.byte_len()).sum::<usize>() <= bytes_max
    }

    /// The values that rows have, each once; and of each of the column's values its place among them.
    fn words(&self) -> (Vec<V>, Vec<u32>) {
        let mut used = vec![false; self.values.len()];
        for place in self.places.iter() {
            used[*place as usize] = true;
        }
        let mut words = Vec::new();
        let mut place_of_word: HashMap<V, u32> = HashMap::new();
        let each = self.values.iter().zip(used).map(|(value, used)| match value {
            Some(value) if used => *place_of_word.entry(*value).or_insert_with(|| {
                words.push(*value);
                words.len() as u32 - 1
            }),
            _ => NULL,
        });
        let place_of = each.collect();
        (words, place_of)
    }
}

/// Places of values, from the least to the greatest.
fn in_order<V: Ord>(words: &[V]) -> Vec<u32> {
    let mut order: Vec<u32> = (0..words.len() as u32).collect();
    order.sort_unstable_by(|a, b| words[*a as usize].cmp(&words[*b as usize]));
    order
}
