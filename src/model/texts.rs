//! Many short texts, held as one.

/// Texts by their number, in one piece of memory: a million keys as `String`s weigh half as much again, for their
/// places, lengths and the room beside them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Texts {
    text: String,
    /// The low half of where each ends; it begins where the one before ends.
    ends: Vec<u32>,
    /// The numbers from which on the high half is one more: few texts are 4 GiB together.
    wraps: Vec<usize>,
}

impl Texts {
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The text of a number below [`len`](Texts::len).
    pub fn get(&self, number: usize) -> &str {
        let from = number.checked_sub(1).map_or(0, |before| self.end(before));
        &self.text[from..self.end(number)]
    }

    fn end(&self, number: usize) -> usize {
        let low = self.ends[number] as usize;
        match self.wraps.as_slice() {
            [] => low,
            wraps => low | wraps.partition_point(|wrap| *wrap <= number) << u32::BITS,
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = &str> {
        (0..self.len()).map(|number| self.get(number))
    }

    pub fn push(&mut self, text: &str) {
        self.text.push_str(text);
        self.push_end(self.text.len());
    }

    fn push_end(&mut self, end: usize) {
        self.wraps.resize(end >> u32::BITS, self.ends.len());
        self.ends.push(end as u32);
    }

    /// Makes room for so many texts of so many bytes together, and no more.
    pub fn reserve(&mut self, texts: usize, bytes: usize) {
        self.text.reserve_exact(bytes);
        self.ends.reserve_exact(texts);
    }

    /// Lets go of all texts, and keeps the room.
    pub fn clear(&mut self) {
        self.text.clear();
        self.ends.clear();
        self.wraps.clear();
    }

    /// Gives room back that is not used.
    pub fn shrink(&mut self) {
        self.text.shrink_to_fit();
        self.ends.shrink_to_fit();
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.text.capacity() + size_of::<u32>() * self.ends.capacity()
    }

    /// Bytes of the texts alone.
    pub fn text_bytes(&self) -> usize {
        self.text.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_come_out_as_they_went_in() {
        let all = ["", "a", "", "身份", "dt=2024-11-01/x.json", ""];
        let mut texts = Texts::default();
        assert!(texts.is_empty());
        texts.reserve(6, 3);
        all.iter().for_each(|text| texts.push(text));
        texts.shrink();
        assert_eq!((texts.len(), texts.text_bytes()), (6, 27));
        assert_eq!(texts.iter().collect::<Vec<_>>(), all);
        assert_eq!((texts.get(0), texts.get(3), texts.get(5)), ("", "身份", ""));
    }

    #[test]
    fn they_end_beyond_four_gibibytes_too() {
        const GIB: usize = 1 << 30;
        // The fourth is of nine gibibytes, and two are empty.
        let ends = [3 * GIB, 4 * GIB - 1, 4 * GIB, 13 * GIB, 13 * GIB, 13 * GIB + 7, 16 * GIB];
        let mut texts = Texts::default();
        ends.iter().for_each(|end| texts.push_end(*end));
        let told: Vec<usize> = (0..ends.len()).map(|number| texts.end(number)).collect();
        assert_eq!(told, ends);
        texts.clear();
        texts.push("x");
        assert_eq!(texts.get(0), "x");
    }
}
