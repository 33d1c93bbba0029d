//! Seqs and request ids, sixteen bytes each where they are UUIDs.
//!
//! Takes ids as received; gives them again to the letter. An id of 36 characters in the form of a UUID, its
//! letters all small or all capital, is held as a number; any other as text beside.

use arrow::array::StringArray;
use arrow::buffer::{NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::error::ArrowError;
use hashbrown::DefaultHashBuilder;
use std::cmp::Ordering;
use std::hash::BuildHasher;
use std::sync::Arc;
use wide::{i16x8, u8x16};

/// A column of ids. One that holds nulls alone takes no room.
#[derive(Clone, Debug, Default)]
pub struct Ids {
    len: usize,
    forms: Vec<Form>,
    /// Of a UUID its bits; of a text where it begins in `text` and, in the low half, how long it is.
    values: Vec<u128>,
    text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Null,
    Small,
    Capital,
    Text,
}

/// One id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Id<'i> {
    Uuid { bits: u128, capital: bool },
    Text(&'i str),
}

const UUID_LEN: usize = 36;

impl<'i> Id<'i> {
    pub fn of(text: &'i str) -> Id<'i> {
        let uuid = <&[u8; UUID_LEN]>::try_from(text.as_bytes()).ok().and_then(uuid_of);
        uuid.map_or(Id::Text(text), |(bits, capital)| Id::Uuid { bits, capital })
    }

    /// The same for the same text, in every run. Texts are as likely to share one as random numbers are.
    pub fn hash(&self) -> u64 {
        match self {
            Id::Uuid { bits, capital } => {
                let folded = mixed(*bits as u64 ^ u64::from(*capital))
                    ^ mixed((*bits >> 64) as u64).rotate_left(32);
                mixed(folded)
            }
            Id::Text(text) => sip(text),
        }
    }

    /// Bytes of its text.
    pub fn byte_len(&self) -> usize {
        match self {
            Id::Uuid { .. } => UUID_LEN,
            Id::Text(text) => text.len(),
        }
    }

    #[inline]
    pub fn append_to(&self, out: &mut Vec<u8>) {
        match self {
            Id::Uuid { bits, capital } => {
                out.extend_from_slice(&uuid_text(*bits, *capital));
            }
            Id::Text(text) => out.extend_from_slice(text.as_bytes()),
        }
    }
}

impl std::fmt::Display for Id<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut text = Vec::with_capacity(UUID_LEN);
        self.append_to(&mut text);
        f.write_str(&String::from_utf8_lossy(&text))
    }
}

/// The bits of a UUID, and whether its letters are capital; one without letters is small. None for any other text.
#[inline(always)]
fn uuid_of(text: &[u8; UUID_LEN]) -> Option<(u128, bool)> {
    let dashes = [8, 13, 18, 23].iter().all(|at| text[*at] == b'-');
    let part = |from: usize, n: usize| {
        text[from..from + n].iter().rev().fold(0, |part, byte| part << 8 | u64::from(*byte))
    };
    let vector =
        |low: u64, high: u64| u8x16::new((u128::from(high) << 64 | u128::from(low)).to_le_bytes());
    let digits = [
        vector(part(0, 8), part(9, 4) | part(14, 4) << 32),
        vector(part(19, 4) | part(24, 4) << 32, part(28, 8)),
    ];
    let between = |v: u8x16, least: u8, greatest: u8| {
        let above = v - u8x16::splat(least);
        above.min(u8x16::splat(greatest - least)).simd_eq(above)
    };
    let numbers = digits.map(|v| between(v, b'0', b'9'));
    let letters = |least: u8| digits.map(|v| between(v, least, least + 5));
    let (small, capital) = (letters(b'a'), letters(b'A'));
    let all = |letters: [u8x16; 2]| ((numbers[0] | letters[0]) & (numbers[1] | letters[1])).all();
    let capital = match (dashes && all(small), dashes && all(capital)) {
        (true, _) => false,
        (_, true) => true,
        _ => return None,
    };
    // Four bits a byte, then two of these in one: the first of each two is in the lower byte.
    let halves = digits.map(|v| {
        let letter = v.simd_eq(v | u8x16::splat(0x40));
        let fours = (v & u8x16::splat(0x0F)) + (letter & u8x16::splat(9));
        let pairs: i16x8 = bytemuck::cast(fours);
        (pairs << 4 | pairs >> 8) & i16x8::splat(0xFF)
    });
    Some((u128::from_be_bytes(u8x16::narrow_i16x8(halves[0], halves[1]).to_array()), capital))
}

#[inline(always)]
fn uuid_text(bits: u128, capital: bool) -> [u8; UUID_LEN] {
    let bytes = u8x16::new(bits.to_be_bytes());
    let pairs: i16x8 = bytemuck::cast(bytes);
    let upper: u8x16 = bytemuck::cast(pairs >> 4);
    let fours = u8x16::splat(0x0F);
    let to_letter = if capital { b'A' } else { b'a' } - b'0' - 10;
    let digits = |fours: u8x16| {
        let letters = fours.max(u8x16::splat(10)).simd_eq(fours);
        (fours + u8x16::splat(b'0') + (letters & u8x16::splat(to_letter))).to_array()
    };
    let (upper, lower) = (upper & fours, bytes & fours);
    let a = digits(u8x16::unpack_low(upper, lower));
    let b = digits(u8x16::unpack_high(upper, lower));
    let mut text = [b'-'; UUID_LEN];
    text[..8].copy_from_slice(&a[..8]);
    text[9..13].copy_from_slice(&a[8..12]);
    text[14..18].copy_from_slice(&a[12..]);
    text[19..23].copy_from_slice(&b[..4]);
    text[24..28].copy_from_slice(&b[4..8]);
    text[28..].copy_from_slice(&b[8..]);
    text
}

/// As their texts compare.
impl Ord for Id<'_> {
    #[inline]
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            // Digits come before letters in both alphabets, so that one alphabet compares as its numbers do.
            (Id::Uuid { bits: a, capital: x }, Id::Uuid { bits: b, capital: y }) if x == y => {
                a.cmp(b)
            }
            (Id::Text(a), Id::Text(b)) => a.cmp(b),
            _ => self.cmp_texts(other),
        }
    }
}

impl Id<'_> {
    #[cold]
    fn cmp_texts(&self, other: &Id<'_>) -> Ordering {
        let (mut a, mut b) = (Vec::new(), Vec::new());
        self.append_to(&mut a);
        other.append_to(&mut b);
        a.cmp(&b)
    }
}

impl PartialOrd for Id<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The finalizer of SplitMix64.
fn mixed(mut z: u64) -> u64 {
    z = z.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// All bits of a number in the low ones of another.
pub fn mixed_top(clue: u64) -> u64 {
    clue.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32
}

fn sip(text: &str) -> u64 {
    use std::hash::{BuildHasherDefault, DefaultHasher};
    BuildHasherDefault::<DefaultHasher>::default().hash_one(text)
}

impl Ids {
    #[cfg(test)]
    fn len(&self) -> usize {
        self.len
    }

    /// Whether all are null.
    pub fn is_null(&self) -> bool {
        self.values.is_empty()
    }

    pub fn push(&mut self, id: Option<&str>) {
        self.push_id(id.map(Id::of));
    }

    pub fn push_id(&mut self, id: Option<Id<'_>>) {
        let Some(id) = id else {
            if !self.forms.is_empty() {
                self.forms.push(Form::Null);
                self.values.push(0);
            }
            self.len += 1;
            return;
        };
        if self.forms.is_empty() {
            self.forms.resize(self.len, Form::Null);
            self.values.resize(self.len, 0);
        }
        let (form, value) = match id {
            Id::Uuid { bits, capital: false } => (Form::Small, bits),
            Id::Uuid { bits, capital: true } => (Form::Capital, bits),
            Id::Text(text) => {
                let from = self.text.len() as u128;
                self.text.push_str(text);
                (Form::Text, from << 64 | text.len() as u128)
            }
        };
        self.forms.push(form);
        self.values.push(value);
        self.len += 1;
    }

    #[inline]
    pub fn get(&self, row: usize) -> Option<Id<'_>> {
        let bits = *self.values.get(row)?;
        Some(match self.forms[row] {
            Form::Null => return None,
            Form::Small => Id::Uuid { bits, capital: false },
            Form::Capital => Id::Uuid { bits, capital: true },
            Form::Text => {
                let (from, len) = ((bits >> 64) as usize, bits as u64 as usize);
                Id::Text(&self.text[from..from + len])
            }
        })
    }

    /// The form of each, a byte each, its value, and the texts.
    pub fn parts(&self) -> (Vec<u8>, &[u128], &str) {
        (self.forms.iter().map(|form| *form as u8).collect(), &self.values, &self.text)
    }

    /// Ids that stand in several columns, each in a row of one.
    pub fn gathered<'i>(each: impl ExactSizeIterator<Item = (&'i Ids, usize)> + Clone) -> Ids {
        let len = each.len();
        if each.clone().all(|(ids, _)| ids.values.is_empty()) {
            return Ids { len, ..Ids::default() };
        }
        let form = |ids: &Ids, row| ids.forms.get(row).copied().unwrap_or(Form::Null);
        let mut text = String::new();
        let forms = each.clone().map(|(ids, row)| form(ids, row)).collect();
        let values = each.map(|(ids, row)| match (form(ids, row), ids.get(row)) {
            (Form::Text, Some(Id::Text(id))) => {
                let from = text.len() as u128;
                text.push_str(id);
                from << 64 | id.len() as u128
            }
            _ => ids.values.get(row).copied().unwrap_or_default(),
        });
        let values = values.collect();
        Ids { len, forms, values, text }
    }

    /// Lets go of all ids, and keeps the room.
    pub fn clear(&mut self) {
        self.len = 0;
        self.forms.clear();
        self.values.clear();
        self.text.clear();
    }

    /// `len` ids from their parts; without values they are all null.
    pub fn from_parts(len: usize, forms: &[u8], values: Vec<u128>, text: String) -> Ids {
        const FORMS: [Form; 4] = [Form::Null, Form::Small, Form::Capital, Form::Text];
        let forms = forms.iter().map(|form| FORMS[usize::from(*form).min(3)]).collect();
        Ids { len, forms, values, text }
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.forms.capacity() + 16 * self.values.capacity() + self.text.capacity()
    }

    /// Makes room for more ids, if there were any before.
    pub fn reserve(&mut self, n: usize) {
        self.forms.reserve(n);
        self.values.reserve(n);
    }

    pub fn shrink(&mut self) {
        self.forms.shrink_to_fit();
        self.values.shrink_to_fit();
        self.text.shrink_to_fit();
    }
}

/// Ids as an Arrow column.
pub fn array(ids: &[Option<Id<'_>>]) -> Result<StringArray, ArrowError> {
    let mut offsets: Vec<i32> = Vec::with_capacity(ids.len() + 1);
    offsets.push(0);
    let mut bytes: Vec<u8> = Vec::new();
    for id in ids {
        if let Some(id) = id {
            id.append_to(&mut bytes);
        }
        let end = i32::try_from(bytes.len());
        offsets.push(end.map_err(|_| ArrowError::OffsetOverflowError(bytes.len()))?);
    }
    let nulls = NullBuffer::from_iter(ids.iter().map(Option::is_some));
    let nulls = Some(nulls).filter(|nulls| nulls.null_count() > 0);
    StringArray::try_new(OffsetBuffer::new(ScalarBuffer::from(offsets)), bytes.into(), nulls)
}

/// Values that come again and again, each held once.
#[derive(Clone, Debug)]
pub struct Interned<T> {
    values: Vec<T>,
    places: hashbrown::HashTable<u32>,
    hashes: Vec<u64>,
    hasher: DefaultHashBuilder,
    /// Places of those that were met last.
    latest: [u32; LATEST],
}

/// Values of most loads are few; with places for four times as many, two seldom want the same.
const LATEST: usize = 256;

impl<T> Default for Interned<T> {
    fn default() -> Interned<T> {
        Interned {
            values: Vec::new(),
            places: hashbrown::HashTable::new(),
            hashes: Vec::new(),
            hasher: DefaultHashBuilder::default(),
            latest: [0; LATEST],
        }
    }
}

impl<T> Interned<T> {
    /// The place of a value, which is `same` as what `key` tells apart and is made if it is new. `clue` is the same
    /// for the same value and mostly another for another, and costs less than a hash.
    #[inline]
    pub fn place<K: std::hash::Hash>(
        &mut self,
        clue: u64,
        key: &K,
        same: impl Fn(&T) -> bool,
        make: impl FnOnce() -> T,
    ) -> u32 {
        let latest = &mut self.latest[(mixed_top(clue) % LATEST as u64) as usize];
        if self.values.get(*latest as usize).is_some_and(&same) {
            return *latest;
        }
        let hash = self.hasher.hash_one(key);
        let found = self.places.find(hash, |place| same(&self.values[*place as usize])).copied();
        let place = found.unwrap_or_else(|| {
            let place = self.values.len() as u32;
            self.values.push(make());
            self.hashes.push(hash);
            let hashes = &self.hashes;
            self.places.insert_unique(hash, place, |place| hashes[*place as usize]);
            place
        });
        *latest = place;
        place
    }

    pub fn values(&self) -> &[T] {
        &self.values
    }

    pub fn into_values(self) -> Arc<[T]> {
        self.values.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDS: [&str; 14] = [
        "d887422a-6465-f4ec-b94c-241e12bc42df",
        "D887422A-6465-F4EC-B94C-241E12BC42DF",
        "d887422a-6465-F4EC-b94c-241e12bc42df",
        "00000000-0000-0000-0000-000000000000",
        "ffffffff-ffff-ffff-ffff-ffffffffffff",
        "12345678-1234-1234-1234-123456789012",
        "g887422a-6465-f4ec-b94c-241e12bc42df",
        "d887422a+6465-f4ec-b94c-241e12bc42df",
        "d887422a64-65-f4ec-b94c-241e12bc42df",
        "d887422a6465f4ecb94c241e12bc42df",
        "",
        "x",
        "身份",
        "1730444265275_0001",
    ];

    #[test]
    fn what_was_put_in_comes_out_to_the_letter() {
        let mut ids = Ids::default();
        for _ in 0..3 {
            ids.push(None);
        }
        assert_eq!((ids.len(), ids.get(1), ids.bytes()), (3, None, 0));
        for id in IDS {
            ids.push(Some(id));
            ids.push(None);
        }
        for (i, id) in IDS.iter().enumerate() {
            assert_eq!(ids.get(3 + 2 * i).map(|id| id.to_string()).as_deref(), Some(*id));
            assert_eq!(ids.get(4 + 2 * i), None);
        }
        let each: Vec<Option<Id<'_>>> = (0..ids.len()).map(|row| ids.get(row)).collect();
        let array = array(&each).expect("an array");
        let expected: Vec<Option<&str>> =
            [None; 3].into_iter().chain(IDS.iter().flat_map(|id| [Some(*id), None])).collect();
        assert_eq!(array, StringArray::from(expected));
    }

    #[test]
    fn they_compare_and_hash_as_their_texts() {
        for a in IDS {
            for b in IDS {
                assert_eq!(Id::of(a).cmp(&Id::of(b)), a.cmp(b), "{a} {b}");
                assert_eq!(Id::of(a) == Id::of(b), a == b, "{a} {b}");
                assert_eq!(Id::of(a).hash() == Id::of(b).hash(), a == b, "{a} {b}");
            }
        }
    }

    #[test]
    fn equal_values_have_one_place() {
        let mut words: Interned<String> = Interned::default();
        let mut place =
            |word: &str| words.place(word.len() as u64, &word, |w| w == word, || word.to_owned());
        let places: Vec<u32> = ["a", "b", "a", "a", "c", "b", ""].map(&mut place).into();
        assert_eq!(places, [0, 1, 0, 0, 2, 1, 3]);
        assert_eq!(&*words.into_values(), ["a", "b", "c", ""]);
    }
}
