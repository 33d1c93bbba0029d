//! The text of a pipeline file (or price book) to one JSON value in which every part knows where it was written.
//!
//! Takes the file's text, the `--set` arguments and the environment as a function. Gives a [`Draft`]:
//! the values with `--set` and `${…}` applied, and the mistakes found so far. It does no I/O, and never
//! puts a secret or the value of a variable into a message.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{Mistake, schema};

/// The file name that mistakes in `--set` arguments carry.
const SET: &str = "--set";

/// A file on its way to being checked. Places are JSON pointers into `value`.
pub(super) struct Draft {
    pub value: Value,
    /// What it is held against.
    pub schema: &'static Value,
    file: String,
    written: HashMap<String, Place>,
    /// Texts with a `${` as they were written, by place.
    unexpanded: HashMap<String, String>,
    /// Places of which enough is said: one mistake each.
    settled: HashSet<String>,
    mistakes: Vec<Mistake>,
}

#[derive(Clone, Copy)]
enum Place {
    Line(usize),
    Set,
}

impl Draft {
    /// Reads TOML. Of what breaks its grammar only the first place is a mistake, since the parser guesses from there
    /// on; keys written twice before it are mistakes too.
    pub fn read(file: &str, text: &str, schema: &'static Value) -> Result<Draft, Vec<Mistake>> {
        let lines = Lines::of(text);
        let (table, mut errors) = DeTable::parse_recoverable(text);
        if !errors.is_empty() {
            errors.sort_by_key(|error| error.span().map(|span| span.start));
            let mut mistakes = Vec::new();
            for error in errors {
                let span = error.span();
                let line = span.clone().map(|span| lines.line(span.start));
                // `message` only: the error's Display quotes the line, and a secret may stand in it.
                let is_duplicate = error.message() == "duplicate key";
                let (key, message) = if is_duplicate {
                    let key = span.and_then(|span| text.get(span)).unwrap_or_default();
                    (key.to_owned(), "written twice: remove one of the two".to_owned())
                } else {
                    (
                        String::new(),
                        format!("this is not TOML, put it right first: {}", error.message()),
                    )
                };
                mistakes.push(Mistake { file: file.to_owned(), line, key, message });
                if !is_duplicate {
                    break;
                }
            }
            return Err(mistakes);
        }
        let mut draft = Draft {
            value: Value::Null,
            schema,
            file: file.to_owned(),
            written: HashMap::new(),
            unexpanded: HashMap::new(),
            settled: HashSet::new(),
            mistakes: Vec::new(),
        };
        draft.value = draft.table(table.get_ref(), "", &lines);
        Ok(draft)
    }

    fn table(&mut self, table: &DeTable<'_>, at: &str, lines: &Lines) -> Value {
        let mut object = Map::new();
        for (key, value) in table.iter() {
            let child = child(at, key.get_ref());
            self.written.insert(child.clone(), Place::Line(lines.line(key.span().start)));
            let value = self.item(value.get_ref(), &child, lines);
            object.insert(key.get_ref().to_string(), value);
        }
        Value::Object(object)
    }

    fn item(&mut self, value: &DeValue<'_>, at: &str, lines: &Lines) -> Value {
        match value {
            DeValue::Table(table) => self.table(table, at, lines),
            DeValue::Array(array) => Value::Array(
                array
                    .iter()
                    .enumerate()
                    .map(|(index, element)| {
                        let child = child(at, &index.to_string());
                        self.written
                            .insert(child.clone(), Place::Line(lines.line(element.span().start)));
                        self.item(element.get_ref(), &child, lines)
                    })
                    .collect(),
            ),
            scalar => scalar_value(scalar).unwrap_or_else(|| {
                self.mistake(at, "this number is too large, or not a number: give a smaller one");
                self.settle(at);
                Value::Null
            }),
        }
    }

    /// Applies `path.to.key=value` arguments in their order.
    pub fn apply_sets(&mut self, sets: &[String]) {
        for (index, set) in sets.iter().enumerate() {
            // The argument is not shown: what stands there may be a secret.
            let Some((path, text)) = set.split_once('=') else {
                let nth = index + 1;
                self.set_mistake(
                    "",
                    &format!("argument {nth} has no `=`: write path.to.key=value"),
                );
                continue;
            };
            match split_path(path.trim()) {
                Some(steps) => self.apply_set(path.trim(), &steps, text),
                None => self.set_mistake(
                    path.trim(),
                    "an empty step or an open quote: write path.to.key=value, array places by number (route.0.product)",
                ),
            }
        }
    }

    fn apply_set(&mut self, path: &str, steps: &[String], text: &str) {
        let mut pointer = String::new();
        let mut created = Vec::new();
        let mut node = &mut self.value;
        let mut problem = None;
        for (depth, step) in steps.iter().enumerate() {
            let parent = key_path(&pointer);
            let is_array = schema::kinds(schema::node(self.schema, &pointer)).contains(&"array");
            if node.is_null() {
                *node = if is_array { Value::Array(Vec::new()) } else { Value::Object(Map::new()) };
            }
            pointer = child(&pointer, step);
            node = match node {
                Value::Object(object) => object.entry(step.clone()).or_insert_with(|| {
                    created.push(pointer.clone());
                    Value::Null
                }),
                Value::Array(array) => match step.parse::<usize>() {
                    Ok(place) if place <= array.len() => {
                        if place == array.len() {
                            created.push(pointer.clone());
                            array.push(Value::Null);
                        }
                        &mut array[place]
                    }
                    _ => {
                        let n = array.len();
                        problem = Some(format!(
                            "{parent} is a list with {n} entries: use a number from 0 to {n} ({n} adds an entry)"
                        ));
                        break;
                    }
                },
                _ => {
                    problem = Some(format!(
                        "{parent} is a value, nothing lies below it: set {parent} itself"
                    ));
                    break;
                }
            };
            if depth + 1 == steps.len() {
                *node = set_value(text, &schema::kinds(schema::node(self.schema, &pointer)));
            }
        }
        if let Some(problem) = problem {
            self.set_mistake(path, &problem);
            return;
        }
        let below = format!("{pointer}/");
        self.written.retain(|place, _| !place.starts_with(&below));
        created.push(pointer);
        self.written.extend(created.into_iter().map(|place| (place, Place::Set)));
    }

    /// Replaces `${NAME}` and `${NAME:-default}` in every text.
    pub fn expand(&mut self, env: &dyn Fn(&str) -> Option<String>) {
        let mut value = std::mem::take(&mut self.value);
        self.expand_below(&mut value, "", env);
        self.value = value;
    }

    fn expand_below(&mut self, value: &mut Value, at: &str, env: &dyn Fn(&str) -> Option<String>) {
        match value {
            Value::Object(object) => {
                for (key, value) in object.iter_mut() {
                    self.expand_below(value, &child(at, key), env);
                }
            }
            Value::Array(array) => {
                for (index, value) in array.iter_mut().enumerate() {
                    self.expand_below(value, &child(at, &index.to_string()), env);
                }
            }
            Value::String(text) if text.contains("${") => match expanded(text, env) {
                Ok(plain) => {
                    self.unexpanded.insert(at.to_owned(), std::mem::replace(text, plain));
                }
                Err(problems) => {
                    for problem in problems {
                        self.mistake(at, problem);
                    }
                    self.settle(at);
                }
            },
            _ => {}
        }
    }

    /// Notes a mistake at a place.
    pub fn mistake(&mut self, at: &str, message: impl Into<String>) {
        let (file, line) = match self.place(at) {
            Some(Place::Line(line)) => (self.file.clone(), Some(line)),
            Some(Place::Set) => (SET.to_owned(), None),
            None => (self.file.clone(), None),
        };
        self.mistakes.push(Mistake { file, line, key: key_path(at), message: message.into() });
    }

    fn set_mistake(&mut self, key: &str, message: &str) {
        self.mistakes.push(Mistake {
            file: SET.to_owned(),
            line: None,
            key: key.to_owned(),
            message: message.to_owned(),
        });
    }

    /// Where a place, or else the nearest one around it, was written.
    fn place(&self, mut at: &str) -> Option<Place> {
        loop {
            if let Some(place) = self.written.get(at) {
                return Some(*place);
            }
            at = &at[..at.rfind('/')?];
        }
    }

    /// Says nothing more about this place.
    pub fn settle(&mut self, at: &str) {
        self.settled.insert(at.to_owned());
    }

    pub fn is_settled(&self, at: &str) -> bool {
        self.settled.contains(at)
    }

    /// The text at a place, if there is one and no mistake about it is known.
    pub fn text(&self, at: &str) -> Option<String> {
        if self.is_settled(at) {
            return None;
        }
        self.value.pointer(at)?.as_str().map(str::to_owned)
    }

    /// The value at a place for a message: as written, quoted; "the value" where it may be a secret.
    pub fn shown(&self, at: &str) -> String {
        if may_be_secret(at) {
            return "the value".to_owned();
        }
        let text = self.unexpanded.get(at).map(String::as_str);
        match text.or_else(|| self.value.pointer(at).and_then(Value::as_str)) {
            Some(text) => format!("{text:?}"),
            None => self.value.pointer(at).map_or_else(String::new, Value::to_string),
        }
    }

    /// Whether the text at a place came, wholly or in part, from a variable.
    pub fn is_expanded(&self, at: &str) -> bool {
        self.unexpanded.contains_key(at)
    }

    /// All mistakes, in the order of the file, those in `--set` arguments last.
    pub fn mistakes(mut self) -> Result<Value, Vec<Mistake>> {
        if self.mistakes.is_empty() {
            return Ok(self.value);
        }
        self.mistakes.sort_by_key(|mistake| (mistake.file == SET, mistake.line));
        Err(self.mistakes)
    }
}

/// Texts that are never shown: store options, and all of `[privacy]`, where a key may land in a wrong place.
fn may_be_secret(at: &str) -> bool {
    ["/source/options", "/output/options", "/privacy"].iter().any(|section| at.starts_with(section))
}

/// A scalar of TOML as JSON; a date becomes its text. `None` for numbers that JSON or 64 bits cannot hold.
fn scalar_value(value: &DeValue<'_>) -> Option<Value> {
    match value {
        DeValue::String(text) => Some(Value::from(text.as_ref())),
        DeValue::Boolean(flag) => Some(Value::from(*flag)),
        DeValue::Datetime(date) => Some(Value::from(date.to_string())),
        DeValue::Integer(number) => {
            i64::from_str_radix(number.as_str(), number.radix()).ok().map(Value::from)
        }
        DeValue::Float(number) => {
            let number: f64 = number.as_str().parse().ok()?;
            // JSON Schema calls 2.0 an integer and serde does not; 2 is an integer and a number to both.
            if number.fract() == 0.0 && number.abs() < 2f64.powi(53) {
                return Some(Value::from(number as i64));
            }
            serde_json::Number::from_f64(number).map(Value::Number)
        }
        DeValue::Array(_) | DeValue::Table(_) => None,
    }
}

fn owned_value(value: &DeValue<'_>) -> Option<Value> {
    match value {
        DeValue::Array(array) => array.iter().map(|item| owned_value(item.get_ref())).collect(),
        DeValue::Table(table) => table
            .iter()
            .map(|(key, item)| Some((key.get_ref().to_string(), owned_value(item.get_ref())?)))
            .collect::<Option<Map<String, Value>>>()
            .map(Value::Object),
        scalar => scalar_value(scalar),
    }
}

/// The value of a `--set`: TOML where it is some, else the text. Where the key takes text, a bare number,
/// date or flag is its text too: `--set account.uin=100012345678`.
fn set_value(text: &str, kinds: &[&str]) -> Value {
    let parsed = DeValue::parse(text.trim()).ok();
    let parsed = parsed.as_ref().map(Spanned::get_ref).and_then(owned_value);
    match parsed {
        Some(value @ (Value::Number(_) | Value::Bool(_))) if !kinds.contains(&"string") => value,
        Some(value @ (Value::String(_) | Value::Array(_) | Value::Object(_))) => value,
        _ => Value::from(text),
    }
}

/// `route.0."a.b"` in steps.
fn split_path(path: &str) -> Option<Vec<String>> {
    let mut steps = vec![String::new()];
    let (mut quoted, mut was_quoted) = (false, false);
    for c in path.chars() {
        match c {
            '"' => {
                quoted = !quoted;
                was_quoted = true;
            }
            '.' if !quoted => {
                if steps.last().is_some_and(String::is_empty) && !was_quoted {
                    return None;
                }
                steps.push(String::new());
                was_quoted = false;
            }
            c => steps.last_mut()?.push(c),
        }
    }
    let last_is_empty = steps.last().is_some_and(String::is_empty) && !was_quoted;
    (!quoted && !last_is_empty).then_some(steps)
}

/// A text with its variables filled in, or what is wrong with them.
fn expanded(text: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<String, Vec<String>> {
    let mut plain = String::with_capacity(text.len());
    let mut problems = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        let (before, from) = rest.split_at(at);
        if let Some(before) = before.strip_suffix('$') {
            plain.push_str(before);
            plain.push_str("${");
            rest = &from[2..];
            continue;
        }
        plain.push_str(before);
        let Some(end) = from.find('}') else {
            problems.push("`${` is not closed: write ${NAME}, or $${ for a plain ${".to_owned());
            return Err(problems);
        };
        let inner = &from[2..end];
        let (name, default) = match inner.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (inner, None),
        };
        rest = &from[end + 1..];
        if default.is_some_and(|default| default.contains("${")) {
            problems.push("a default cannot hold another ${…}: give a plain text".to_owned());
            return Err(problems);
        }
        if !is_variable_name(name) {
            problems.push(
                "a variable's name has letters, digits and `_`: write ${NAME} or ${NAME:-default}, or $${ for a \
                 plain ${"
                    .to_owned(),
            );
            continue;
        }
        match (env(name), default) {
            (Some(value), Some(default)) if value.is_empty() => plain.push_str(default),
            (Some(value), _) => plain.push_str(&value),
            (None, Some(default)) => plain.push_str(default),
            (None, None) => problems.push(format!(
                "the environment variable {name} is not set: set it, or give a default: ${{{name}:-default}}"
            )),
        }
    }
    plain.push_str(rest);
    if problems.is_empty() { Ok(plain) } else { Err(problems) }
}

fn is_variable_name(name: &str) -> bool {
    name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && !name.is_empty()
}

/// The JSON pointer of a member or element.
pub(super) fn child(at: &str, key: &str) -> String {
    format!("{at}/{}", key.replace('~', "~0").replace('/', "~1"))
}

/// A JSON pointer as people write it: `route[1].match.channel`.
pub(super) fn key_path(pointer: &str) -> String {
    let mut path = String::new();
    for step in pointer.split('/').skip(1) {
        let step = step.replace("~1", "/").replace("~0", "~");
        let bare = !step.is_empty()
            && step.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
        if !path.is_empty() && step.bytes().all(|b| b.is_ascii_digit()) && !step.is_empty() {
            path.push_str(&format!("[{step}]"));
            continue;
        }
        if !path.is_empty() {
            path.push('.');
        }
        if bare {
            path.push_str(&step);
        } else {
            path.push_str(&format!("{step:?}"));
        }
    }
    path
}

/// Where lines begin.
struct Lines {
    breaks: Vec<usize>,
}

impl Lines {
    fn of(text: &str) -> Lines {
        Lines {
            breaks: text
                .bytes()
                .enumerate()
                .filter(|(_, b)| *b == b'\n')
                .map(|(at, _)| at)
                .collect(),
        }
    }

    /// The line, from 1, of a byte.
    fn line(&self, byte: usize) -> usize {
        self.breaks.partition_point(|at| *at < byte) + 1
    }
}
