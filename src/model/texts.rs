//! Many short texts, held as one.

/// Texts by their number, in one piece of memory: a million keys as `String`s weigh half as much again, for their
/// places, lengths and the room beside them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Texts {
    text: String,
    /// Where each ends; it begins where the one before ends.
    ends: Vec<usize>,
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
        let from = number.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.text[from..self.ends[number]]
    }

    pub fn iter(&self) -> impl Iterator<Item = &str> {
        (0..self.len()).map(|number| self.get(number))
    }

    pub fn push(&mut self, text: &str) {
        self.text.push_str(text);
        self.ends.push(self.text.len());
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
    }

    /// Gives room back that is not used.
    pub fn shrink(&mut self) {
        self.text.shrink_to_fit();
        self.ends.shrink_to_fit();
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.text.capacity() + size_of::<usize>() * self.ends.capacity()
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
}
