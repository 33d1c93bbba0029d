//! Key patterns: `results/{channel}/dt={date}/{biz_token}.json`.
//!
//! Literal text, `{name}` (one or more characters but `/`, captured), `*` (any characters but `/`),
//! `**` (any characters). A pattern takes a whole key or nothing. Captures are as short as they can be, but `{date}` is
//! a whole date where one stands.

use crate::model::UsageDay;

/// A pattern, taken apart.
#[derive(Clone, Debug)]
pub struct KeyPattern {
    whole: Shape,
    /// The pattern of each folder, from the top, up to the first that `**` makes uncertain.
    folders: Vec<Shape>,
}

/// What a whole key, or one name between slashes, must look like.
#[derive(Clone, Debug)]
struct Shape {
    parts: Vec<Part>,
    /// Of the captures among the parts.
    names: Vec<String>,
}

#[derive(Clone, Debug)]
enum Part {
    Literal(String),
    Capture,
    /// The capture `{date}`: a whole date where one stands there, whatever follows.
    Date,
    Segment,
    Anything,
}

impl KeyPattern {
    /// The pipeline's check has made sure that braces pair and names differ.
    pub fn parse(pattern: &str) -> KeyPattern {
        let mut segments: Vec<&str> = pattern.split('/').collect();
        segments.pop();
        let folders = segments
            .into_iter()
            .take_while(|segment| !segment.contains("**"))
            .map(Shape::parse)
            .collect();
        KeyPattern { whole: Shape::parse(pattern), folders }
    }

    /// How deep the folder lies whose name holds `{date}`: 0 for the topmost; `None` where no folder tells it.
    pub fn date_depth(&self) -> Option<usize> {
        self.folders.iter().position(|folder| folder.date_place().is_some())
    }

    /// Whether keys of the pattern may lie in a folder of this name, so deep, and the `{date}` in the name.
    pub fn folder_at<'k>(&self, depth: usize, name: &'k str) -> Option<Option<&'k str>> {
        self.folders.get(depth)?.date(name)
    }

    /// The `{date}` of a key, where the pattern takes the key and it is one.
    pub fn day(&self, key: &str) -> Option<UsageDay> {
        UsageDay::parse(self.date(key)??)
    }

    /// Whether the pattern takes a key, and the `{date}` in it.
    pub fn date<'k>(&self, key: &'k str) -> Option<Option<&'k str>> {
        self.whole.date(key)
    }

    /// The captures of a key that the pattern takes, by name; none of one that it does not take.
    /// Where several splits fit, each capture is as short as it can be, from the left. `captures` is
    /// filled anew; what it holds of the key before is written over, for it is asked for every object.
    pub fn capture(&self, key: &str, captures: &mut Vec<(String, String)>) {
        let values = self.whole.values(key).unwrap_or_default();
        captures.truncate(values.len());
        for (place, value) in values.into_iter().enumerate() {
            match captures.get_mut(place) {
                Some((_, before)) => {
                    before.clear();
                    before.push_str(value);
                }
                None => captures.push((self.whole.names[place].clone(), value.to_owned())),
            }
        }
    }

    /// The folder that every key of the pattern lies in: a listing need not look elsewhere.
    pub fn folder(&self) -> Option<&str> {
        match self.whole.parts.first() {
            Some(Part::Literal(text)) => text.rfind('/').map(|slash| &text[..slash]),
            _ => None,
        }
    }
}

impl Shape {
    fn parse(pattern: &str) -> Shape {
        let (parts, names) = take_apart(pattern);
        Shape { parts, names }
    }

    fn date_place(&self) -> Option<usize> {
        self.names.iter().position(|name| name == "date")
    }

    /// What the captures of a text are, None of one that does not look so.
    fn values<'k>(&self, text: &'k str) -> Option<Vec<&'k str>> {
        let mut values = Vec::with_capacity(self.names.len());
        matches(&self.parts, text, &mut values).then_some(values)
    }

    fn date<'k>(&self, text: &'k str) -> Option<Option<&'k str>> {
        let values = self.values(text)?;
        Some(self.date_place().map(|place| values[place]))
    }
}

/// The parts of a pattern, and the names of its captures.
fn take_apart(pattern: &str) -> (Vec<Part>, Vec<String>) {
    let mut parts = Vec::new();
    let mut names = Vec::new();
    let mut literal = String::new();
    let mut rest = pattern;
    let flush = |literal: &mut String, parts: &mut Vec<Part>| {
        if !literal.is_empty() {
            parts.push(Part::Literal(std::mem::take(literal)));
        }
    };
    while let Some(c) = rest.chars().next() {
        if let Some(after) = rest.strip_prefix("**") {
            flush(&mut literal, &mut parts);
            parts.push(Part::Anything);
            rest = after;
        } else if c == '*' {
            flush(&mut literal, &mut parts);
            parts.push(Part::Segment);
            rest = &rest[1..];
        } else if c == '{'
            && let Some(close) = rest.find('}')
        {
            flush(&mut literal, &mut parts);
            let name = &rest[1..close];
            parts.push(if name == "date" { Part::Date } else { Part::Capture });
            names.push(name.to_owned());
            rest = &rest[close + 1..];
        } else {
            literal.push(c);
            rest = &rest[c.len_utf8()..];
        }
    }
    flush(&mut literal, &mut parts);
    (parts, names)
}

/// `YYYY-MM-DD`.
const DATE_BYTES: usize = 10;

fn matches<'k>(parts: &[Part], key: &'k str, values: &mut Vec<&'k str>) -> bool {
    let Some((part, parts)) = parts.split_first() else { return key.is_empty() };
    let within_segment = || key.find('/').unwrap_or(key.len());
    let (least, most) = match part {
        Part::Literal(text) => {
            return key
                .strip_prefix(text.as_str())
                .is_some_and(|rest| matches(parts, rest, values));
        }
        Part::Capture | Part::Date => (1, within_segment()),
        Part::Segment => (0, within_segment()),
        Part::Anything => (0, key.len()),
    };
    let captures = matches!(part, Part::Capture | Part::Date);
    if let (Part::Date, Some(date)) = (part, key.get(..DATE_BYTES))
        && UsageDay::parse(date).is_some()
    {
        let depth = values.len();
        values.push(date);
        if matches(parts, &key[DATE_BYTES..], values) {
            return true;
        }
        values.truncate(depth);
    }
    // Shortest first, at character boundaries.
    let ends = key.char_indices().map(|(i, _)| i).chain([key.len()]);
    for end in ends.skip_while(|end| *end < least).take_while(|end| *end <= most) {
        let depth = values.len();
        if captures {
            values.push(&key[..end]);
        }
        if matches(parts, &key[end..], values) {
            return true;
        }
        values.truncate(depth);
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn captured(pattern: &str, key: &str) -> Option<String> {
        let pattern = KeyPattern::parse(pattern);
        pattern.date(key)?;
        // Of a key before, which must not show.
        let mut captures = Vec::new();
        pattern.capture("wx/dt=1/before.json", &mut captures);
        pattern.capture(key, &mut captures);
        Some(captures.iter().map(|(n, v)| format!("{n}={v}")).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn takes_whole_keys_only() {
        let pattern = "{channel}/dt={date}/{biz_token}.json";
        for (key, expected) in [
            ("wx/dt=2024-11-01/A1.json", Some("channel=wx date=2024-11-01 biz_token=A1")),
            ("wx/dt=2024-11-01/a.b.json", Some("channel=wx date=2024-11-01 biz_token=a.b")),
            ("wx/dt=2024-11-01/a.b.json.gz", None),
            ("wx/dt=2024-11-01/x/a.json", None),
            ("wx/dt=/a.json", None),
            ("/dt=2024-11-01/a.json", None),
            ("微信/dt=2024-11-01/令牌.json", Some("channel=微信 date=2024-11-01 biz_token=令牌")),
        ] {
            assert_eq!(captured(pattern, key).as_deref(), expected, "{key}");
        }
    }

    #[test]
    fn stars_stop_at_slashes_and_double_stars_do_not() {
        assert_eq!(captured("*/x/{n}", "a/x/b").as_deref(), Some("n=b"));
        assert_eq!(captured("*/x/{n}", "a/a/x/b"), None);
        assert_eq!(captured("**/x/{n}", "a/a/x/b").as_deref(), Some("n=b"));
        assert_eq!(captured("**", "a/b/c").as_deref(), Some(""));
        assert_eq!(captured("{n}*.json", "abc.json").as_deref(), Some("n=a"));
    }

    #[test]
    fn a_date_is_whole_whatever_follows_it() {
        for (pattern, key, date) in [
            ("dt={date}*.ndjson", "dt=2024-11-01.ndjson", Some("2024-11-01")),
            ("dt={date}*.ndjson", "dt=2024-11-01-part7.ndjson", Some("2024-11-01")),
            ("{date}{n}.json", "2024-11-017.json", Some("2024-11-01")),
            // No date stands there: as any other capture.
            ("dt={date}-*.json", "dt=20241101-x.json", Some("20241101")),
            ("{date}.json", "2024-11-01x.json", Some("2024-11-01x")),
        ] {
            assert_eq!(KeyPattern::parse(pattern).date(key), date.map(Some), "{key}");
        }
    }

    #[test]
    fn a_folder_tells_its_date_and_whether_keys_may_lie_in_it() {
        let pattern = KeyPattern::parse("in/{channel}/dt={date}/{token}.json");
        assert_eq!(pattern.date_depth(), Some(2));
        assert_eq!(pattern.folder_at(0, "in"), Some(None));
        assert_eq!(pattern.folder_at(0, "out"), None);
        assert_eq!(pattern.folder_at(1, "微信"), Some(None));
        assert_eq!(pattern.folder_at(2, "dt=2024-11-01"), Some(Some("2024-11-01")));
        assert_eq!(pattern.folder_at(2, "2024-11-01"), None);
        assert_eq!(pattern.folder_at(3, "x"), None, "a file's name is no folder's");
        assert_eq!(KeyPattern::parse("{channel}/{date}-{token}.json").date_depth(), None);
        assert_eq!(KeyPattern::parse("**/{date}/x").date_depth(), None);
        assert_eq!(KeyPattern::parse("{date}/**/x").date_depth(), Some(0));
    }

    #[test]
    fn names_the_folder_that_holds_every_key() {
        assert_eq!(KeyPattern::parse("a/b/{c}").folder(), Some("a/b"));
        assert_eq!(KeyPattern::parse("a/b{c}").folder(), Some("a"));
        assert_eq!(KeyPattern::parse("{c}/a").folder(), None);
    }
}
