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
        let Ok(bytes) = <&[u8; UUID_LEN]>::try_from(text.as_bytes()) else { return Id::Text(text) };
        let bits = uuid_bits(bytes);
        // What is no UUID comes out otherwise than it went in. One without letters is small.
        match [false, true].into_iter().find(|capital| uuid_text(bits, *capital) == *bytes) {
            Some(capital) => Id::Uuid { bits, capital },
            None => Id::Text(text),
        }
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

/// The eight digits of a number, in eight bytes at once.
#[inline(always)]
fn digits(number: u32, capital: bool) -> [u8; 8] {
    // A byte for each four bits.
    let x = u64::from(number);
    let x = (x & 0xFFFF_0000) << 16 | x & 0xFFFF;
    let x = (x & 0x0000_FF00_0000_FF00) << 8 | x & 0x0000_00FF_0000_00FF;
    let x = (x & 0x00F0_00F0_00F0_00F0) << 4 | x & 0x000F_000F_000F_000F;
    // One in each byte from ten on, where letters begin.
    let letters = (x + 0x0606_0606_0606_0606) >> 4 & 0x0101_0101_0101_0101;
    let to_letter = if capital { b'A' } else { b'a' } - b'0' - 10;
    (x + 0x3030_3030_3030_3030 + letters * u64::from(to_letter)).to_be_bytes()
}

/// What eight digits stand for; of anything else some number.
#[inline(always)]
fn number(digits: [u8; 8]) -> u32 {
    let x = u64::from_be_bytes(digits);
    let letters = x >> 6 & 0x0101_0101_0101_0101;
    let x = (x & 0x0F0F_0F0F_0F0F_0F0F) + letters * 9;
    let x = (x | x >> 4) & 0x00FF_00FF_00FF_00FF;
    let x = (x | x >> 8) & 0x0000_FFFF_0000_FFFF;
    (x | x >> 16) as u32
}

#[inline(always)]
fn uuid_bits(text: &[u8; UUID_LEN]) -> u128 {
    let mut digits = [0; 32];
    digits[..8].copy_from_slice(&text[..8]);
    digits[8..12].copy_from_slice(&text[9..13]);
    digits[12..16].copy_from_slice(&text[14..18]);
    digits[16..20].copy_from_slice(&text[19..23]);
    digits[20..24].copy_from_slice(&text[24..28]);
    digits[24..].copy_from_slice(&text[28..]);
    let (eights, _) = digits.as_chunks::<8>();
    eights.iter().fold(0, |bits, eight| bits << 32 | u128::from(number(*eight)))
}

#[inline(always)]
fn uuid_text(bits: u128, capital: bool) -> [u8; UUID_LEN] {
    let eight = |shift: u32| digits((bits >> shift) as u32, capital);
    let (a, b, c, d) = (eight(96), eight(64), eight(32), eight(0));
    let mut text = [b'-'; UUID_LEN];
    text[..8].copy_from_slice(&a);
    text[9..13].copy_from_slice(&b[..4]);
    text[14..18].copy_from_slice(&b[4..]);
    text[19..23].copy_from_slice(&c[..4]);
    text[24..28].copy_from_slice(&c[4..]);
    text[28..].copy_from_slice(&d);
    text
}

/// As their texts compare.
impl Ord for Id<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            // Digits come before letters in both alphabets, so that one alphabet compares as its numbers do.
            (Id::Uuid { bits: a, capital: x }, Id::Uuid { bits: b, capital: y }) if x == y => {
                a.cmp(b)
            }
            (Id::Text(a), Id::Text(b)) => a.cmp(b),
            _ => {
                let (mut a, mut b) = (Vec::new(), Vec::new());
                self.append_to(&mut a);
                other.append_to(&mut b);
                a.cmp(&b)
            }
        }
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

fn sip(text: &str) -> u64 {
    use std::hash::{BuildHasherDefault, DefaultHasher};
    BuildHasherDefault::<DefaultHasher>::default().hash_one(text)
}

impl Ids {
    #[cfg(test)]
    fn len(&self) -> usize {
        self.len
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
pub fn array<'i>(
    mut ids: impl ExactSizeIterator<Item = Option<Id<'i>>>,
) -> Result<StringArray, ArrowError> {
    let n = ids.len();
    let mut offsets: Vec<i32> = Vec::with_capacity(n + 1);
    offsets.push(0);
    let mut bytes: Vec<u8> = Vec::new();
    let mut valid: Vec<bool> = Vec::new();
    // Rows lie all over the memory: those of a block are fetched side by side before any of them is written.
    let mut block = [None; 32];
    let mut row = 0;
    while row < n {
        let len = block.len().min(n - row);
        for (held, id) in block[..len].iter_mut().zip(&mut ids) {
            *held = id;
        }
        for id in &block[..len] {
            match id {
                Some(id) => {
                    if bytes.is_empty() {
                        bytes.reserve((n - row) * UUID_LEN);
                    }
                    id.append_to(&mut bytes);
                    if !valid.is_empty() {
                        valid.push(true);
                    }
                }
                None => {
                    if valid.is_empty() {
                        valid.reserve(n);
                        valid.resize(row, true);
                    }
                    valid.push(false);
                }
            }
            row += 1;
            let end = i32::try_from(bytes.len());
            offsets.push(end.map_err(|_| ArrowError::OffsetOverflowError(bytes.len()))?);
        }
    }
    let nulls = (!valid.is_empty()).then(|| NullBuffer::from(valid));
    StringArray::try_new(OffsetBuffer::new(ScalarBuffer::from(offsets)), bytes.into(), nulls)
}

/// Values that come again and again, each held once.
#[derive(Clone, Debug)]
pub struct Interned<T> {
    values: Vec<T>,
    places: hashbrown::HashTable<u32>,
    hashes: Vec<u64>,
    hasher: DefaultHashBuilder,
    latest: usize,
}

impl<T> Default for Interned<T> {
    fn default() -> Interned<T> {
        Interned {
            values: Vec::new(),
            places: hashbrown::HashTable::new(),
            hashes: Vec::new(),
            hasher: DefaultHashBuilder::default(),
            latest: 0,
        }
    }
}

impl<T> Interned<T> {
    /// The place of a value, which is `same` as what `key` tells apart and is made if it is new. Neighbours are
    /// mostly the same.
    #[inline]
    pub fn place<K: std::hash::Hash>(
        &mut self,
        key: &K,
        same: impl Fn(&T) -> bool,
        make: impl FnOnce() -> T,
    ) -> u32 {
        if self.values.get(self.latest).is_some_and(&same) {
            return self.latest as u32;
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
        self.latest = place as usize;
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
        let array = array((0..ids.len()).map(|row| ids.get(row))).expect("an array");
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
        let mut place = |word: &str| words.place(&word, |w| w == word, || word.to_owned());
        let places: Vec<u32> = ["a", "b", "a", "a", "c", "b", ""].map(&mut place).into();
        assert_eq!(places, [0, 1, 0, 0, 2, 1, 3]);
        assert_eq!(&*words.into_values(), ["a", "b", "c", ""]);
    }
}
