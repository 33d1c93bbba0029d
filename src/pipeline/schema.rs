//! The JSON Schema of the pipeline file, or of a price book, walked and put into plain words.
//!
//! Takes a [`Draft`]. Gives its breaches of the schema as mistakes: unknown keys with what was meant,
//! missing ones, wrong types, words out of a list. It never shows a value that may be a secret.

use std::sync::LazyLock;

use jsonschema::error::ValidationErrorKind;
use serde_json::Value;

use super::prices::price_book_schema;
use super::read::{Draft, child, key_path};
use super::written::json_schema;

/// Of the pipeline file.
pub(super) static PIPELINE: LazyLock<Value> = LazyLock::new(json_schema);
/// Of a price book.
pub(super) static PRICES: LazyLock<Value> = LazyLock::new(price_book_schema);

/// The schema of a place; `None` where no key is known.
pub(super) fn node(schema: &'static Value, pointer: &str) -> Option<&'static Value> {
    pointer.split('/').skip(1).try_fold(schema, |node, step| {
        let step = step.replace("~1", "/").replace("~0", "~");
        node.get("properties")
            .and_then(|properties| properties.get(&step))
            .or_else(|| node.get("additionalProperties").filter(|schema| schema.is_object()))
            .or_else(|| node.get("items"))
            .or_else(|| choices(node).iter().find_map(|choice| choice.get("items")))
    })
}

/// The JSON types a place takes; empty where no key is known.
pub(super) fn kinds(node: Option<&'static Value>) -> Vec<&'static str> {
    let Some(node) = node else { return Vec::new() };
    let own = node.get("type").and_then(Value::as_str);
    own.into_iter()
        .chain(choices(node).iter().filter_map(|choice| choice.get("type")?.as_str()))
        .collect()
}

fn choices(node: &Value) -> &[Value] {
    ["anyOf", "oneOf"].iter().find_map(|word| node.get(word)?.as_array()).map_or(&[], Vec::as_slice)
}

/// The words a place takes, if it takes no others.
fn words(node: &'static Value) -> Vec<&'static str> {
    let listed = node.get("enum").and_then(Value::as_array).into_iter().flatten();
    listed
        .chain(choices(node).iter().filter_map(|choice| choice.get("const")))
        .chain(choices(node).iter().filter_map(|choice| choice.get("enum")?.as_array()).flatten())
        .filter_map(Value::as_str)
        .collect()
}

fn properties(node: &'static Value) -> Vec<&'static str> {
    let properties = node.get("properties").and_then(Value::as_object);
    properties.map(|properties| properties.keys().map(String::as_str).collect()).unwrap_or_default()
}

/// Whether a value surely fits a schema. It knows the words that our schema is made of; where another stands, or
/// something does not fit, the answer is no, and [`check`] asks a whole validator. That one is not made for nothing:
/// it takes a tenth of a small run.
fn surely_fits(schema: &Value, value: &Value) -> bool {
    let Some(schema) = schema.as_object() else { return false };
    schema.iter().all(|(word, told)| match word.as_str() {
        "$schema" | "title" | "description" | "default" | "examples" | "format" | "writeOnly" => {
            true
        }
        "type" => match told.as_str() {
            Some("object") => value.is_object(),
            Some("array") => value.is_array(),
            Some("string") => value.is_string(),
            Some("boolean") => value.is_boolean(),
            Some("integer") => value.is_i64() || value.is_u64(),
            Some("number") => value.is_number(),
            _ => false,
        },
        "properties" => told.is_object(),
        "additionalProperties" => value.as_object().is_some_and(|members| {
            let known = schema.get("properties").and_then(Value::as_object);
            members.iter().all(|(name, member)| match known.and_then(|known| known.get(name)) {
                Some(known) => surely_fits(known, member),
                None => surely_fits(told, member),
            })
        }),
        "required" => value.as_object().is_some_and(|members| {
            told.as_array().is_some_and(|names| {
                names
                    .iter()
                    .all(|name| name.as_str().is_some_and(|name| members.contains_key(name)))
            })
        }),
        "items" => {
            value.as_array().is_some_and(|items| items.iter().all(|item| surely_fits(told, item)))
        }
        "enum" => told.as_array().is_some_and(|words| words.contains(value)),
        "const" => told == value,
        "anyOf" => told
            .as_array()
            .is_some_and(|choices| choices.iter().any(|choice| surely_fits(choice, value))),
        // Of words one at most fits.
        "oneOf" => told.as_array().is_some_and(|choices| {
            choices.iter().all(|choice| choice.get("const").or(choice.get("enum")).is_some())
                && choices.iter().any(|choice| surely_fits(choice, value))
        }),
        "minimum" => told.as_f64().zip(value.as_f64()).is_some_and(|(least, n)| n >= least),
        "maximum" => told.as_f64().zip(value.as_f64()).is_some_and(|(most, n)| n <= most),
        _ => false,
    })
}

/// Notes every breach of the schema.
pub(super) fn check(draft: &mut Draft) {
    let schema = draft.schema;
    if surely_fits(schema, &draft.value) {
        return;
    }
    let validator = match jsonschema::validator_for(schema) {
        Ok(validator) => validator,
        Err(_) => panic!("the schema generated from the types is no JSON Schema"),
    };
    // The errors borrow the value: what is needed of them is taken out first.
    let value = draft.value.clone();
    let mut missing_places = Vec::new();
    let mut meant_places = Vec::new();
    for error in validator.iter_errors(&value) {
        let at = error.instance_path().as_str().to_owned();
        if draft.is_settled(&at) {
            continue;
        }
        match error.kind() {
            ValidationErrorKind::AdditionalProperties { unexpected } => {
                for key in unexpected {
                    let (message, meant) = unknown_key(schema, &at, key);
                    draft.mistake(&child(&at, key), message);
                    meant_places.extend(meant.map(|meant| child(&at, meant)));
                }
            }
            ValidationErrorKind::Required { property } => {
                missing_places.push(child(&at, property.as_str().unwrap_or_default()));
            }
            _ => wrong_value(draft, &at, error.instance()),
        }
    }
    // A misspelt key is one mistake, not an unknown key and a missing one.
    for place in missing_places.into_iter().filter(|place| !meant_places.contains(place)) {
        draft.mistake(&place, missing(schema, &place));
        draft.settle(&place);
    }
}

/// The message, and the key that was probably meant.
fn unknown_key(schema: &'static Value, at: &str, key: &str) -> (String, Option<&'static str>) {
    let known = node(schema, at).map(properties).unwrap_or_default();
    // A name that another section knows is no misspelling of one of this section's.
    let mut homes = Vec::new();
    homes_of(schema, key, String::new(), &mut homes);
    if !homes.is_empty() {
        return (format!("unknown key here: it belongs {}", homes.join(" or ")), None);
    }
    if let Some(meant) = closest(key, known.iter().copied()) {
        return (format!("unknown key: did you mean {meant:?}?"), Some(meant));
    }
    (format!("unknown key: remove it, or use one of {}", known.join(", ")), None)
}

/// The sections that know a key.
fn homes_of(schema: &'static Value, key: &str, section: String, homes: &mut Vec<String>) {
    for (name, below) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        if name == key {
            homes.push(match section.as_str() {
                "" => "at the top, before the first [section]".to_owned(),
                section if section.starts_with('[') => format!("in {section}"),
                section => format!("in [{section}]"),
            });
        }
        let path = if section.is_empty() { name.clone() } else { format!("{section}.{name}") };
        match below.get("items") {
            Some(items) => homes_of(items, key, format!("[[{path}]]"), homes),
            None => homes_of(below, key, path, homes),
        }
    }
}

fn missing(schema: &'static Value, place: &str) -> String {
    let Some(node) = node(schema, place) else {
        return "missing: add it".to_owned();
    };
    if kinds(Some(node)) == ["object"] && node.get("properties").is_some() {
        let required = node.get("required").and_then(Value::as_array).into_iter().flatten();
        let required: Vec<&str> = required.filter_map(Value::as_str).collect();
        return format!("missing: add [{}] with {}", key_path(place), required.join(" and "));
    }
    if place.ends_with("/match") {
        return "missing: add match = { field = \"value\" }, or {} for everything".to_owned();
    }
    format!("missing: add it ({})", expected(node))
}

fn wrong_value(draft: &mut Draft, at: &str, value: &Value) {
    draft.settle(at);
    let Some(node) = node(draft.schema, at) else {
        return draft.mistake(at, "does not fit: see `faceledger schema pipeline`");
    };
    let kinds = kinds(Some(node));
    let words = words(node);
    if let (false, Value::String(text)) = (words.is_empty(), value) {
        let listed: Vec<String> = words.iter().map(|word| format!("{word:?}")).collect();
        // A near miss of a variable's value would tell of the value.
        let secret = draft.is_expanded(at) || at.starts_with("/privacy");
        let meant = closest(text, words.iter().copied()).filter(|_| !secret);
        let meant = meant.map(|word| format!("did you mean {word:?}? ")).unwrap_or_default();
        let shown = draft.shown(at);
        return draft.mistake(
            at,
            format!("{shown} is none of the words known here: {meant}Use {}", listed.join(" or ")),
        );
    }
    let kind = kind_of(value);
    let fits = kinds.contains(&kind) || (kind == "integer" && kinds.contains(&"number"));
    if fits && (kind == "integer" || kind == "number") {
        let bound = |word| {
            node.get(word).map(|limit: &Value| limit.to_string().trim_end_matches(".0").to_owned())
        };
        let (least, most) = (bound("minimum"), bound("maximum"));
        let range = match (least, most) {
            (Some(least), Some(most)) => format!("from {least} to {most}"),
            (Some(least), None) => format!("{least} or more"),
            (None, Some(most)) => format!("{most} or less"),
            (None, None) => "as `faceledger schema pipeline` says".to_owned(),
        };
        let shown = draft.shown(at);
        return draft.mistake(at, format!("{shown} is out of range: give a number {range}"));
    }
    if let (true, Value::Array(elements)) = (fits && !elements_are_text(value), value) {
        // A list among the choices: one of its elements is at fault.
        for (index, element) in
            elements.iter().enumerate().filter(|(_, element)| !element.is_string())
        {
            let message = format!("expected text in quotes, found {}", in_words(kind_of(element)));
            draft.mistake(&child(at, &index.to_string()), message);
        }
        return;
    }
    let advice = match (kinds.as_slice(), kind) {
        (["array"], "object") => format!(": write [[{0}]] instead of [{0}]", key_path(at)),
        (["object"], "array") => format!(": write [{0}] instead of [[{0}]]", key_path(at)),
        (["object"], _) => format!(": write [{}] and its keys below", key_path(at)),
        (["integer"] | ["number"], "string") if draft.is_expanded(at) => {
            format!(
                ": a variable gives text; write the number here, or use --set {}=…",
                key_path(at)
            )
        }
        _ => String::new(),
    };
    draft.mistake(at, format!("expected {}, found {}{advice}", expected(node), in_words(kind)));
}

fn elements_are_text(value: &Value) -> bool {
    value.as_array().is_some_and(|elements| elements.iter().all(Value::is_string))
}

fn expected(node: &'static Value) -> String {
    let words = words(node);
    if !words.is_empty() {
        let listed: Vec<String> = words.iter().map(|word| format!("{word:?}")).collect();
        return listed.join(" or ");
    }
    let kinds: Vec<&str> = kinds(Some(node)).into_iter().map(in_words).collect();
    kinds.join(" or ")
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn in_words(kind: &str) -> &'static str {
    match kind {
        "boolean" => "true or false",
        "number" => "a number",
        "integer" => "a whole number",
        "string" => "text in quotes",
        "array" => "a list",
        "object" => "a table",
        _ => "nothing",
    }
}

/// Jaro-Winkler similarity above which a word is taken for another one misspelt. Measured: two dozen slips score
/// from 0.82 (uri for url), mostly above 0.9; keys of one section 0.70 at most, but for fetched_at and
/// created_at (0.83), of which neither is required.
const SIMILAR: f64 = 0.8;

/// The candidate that was probably meant.
pub(super) fn closest<'a>(
    word: &str,
    candidates: impl Iterator<Item = &'a str>,
) -> Option<&'a str> {
    let word = word.to_lowercase().replace(['-', ' '], "_");
    candidates
        .map(|candidate| (strsim::jaro_winkler(&word, &candidate.to_lowercase()), candidate))
        .filter(|(similarity, _)| *similarity > SIMILAR)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Every value that is the given one but for one place in it.
    fn changed(value: &Value) -> Vec<Value> {
        let mut all: Vec<Value> = [
            json!(null),
            json!(true),
            json!(-1),
            json!(1.0),
            json!(70_000),
            json!("x"),
            json!([]),
            json!({}),
        ]
        .into();
        match value {
            Value::Object(members) => {
                for (name, member) in members {
                    for other in changed(member) {
                        let mut members = members.clone();
                        members.insert(name.clone(), other);
                        all.push(Value::Object(members));
                    }
                    let mut without = members.clone();
                    without.remove(name);
                    all.push(Value::Object(without));
                }
                let mut more = members.clone();
                more.insert("unknown".to_owned(), json!("x"));
                all.push(Value::Object(more));
            }
            Value::Array(items) => {
                for (place, item) in items.iter().enumerate() {
                    for other in changed(item) {
                        let mut items = items.clone();
                        items[place] = other;
                        all.push(Value::Array(items));
                    }
                }
            }
            _ => {}
        }
        all
    }

    /// What is said to fit, the validator finds to fit; and of the pipelines that we show, nothing else is needed.
    #[test]
    fn what_surely_fits_is_valid() {
        let validator = jsonschema::validator_for(&PIPELINE).expect("a JSON Schema");
        let (mut fit, mut refused) = (0, 0);
        for text in [
            include_str!("../../pipelines/reference.toml"),
            include_str!("../../pipelines/sample.toml"),
            include_str!("../../pipelines/daily-s3.toml"),
        ] {
            let draft =
                Draft::read("pipeline.toml", text, &PIPELINE).unwrap_or_else(|_| panic!("TOML"));
            assert!(surely_fits(&PIPELINE, &draft.value));
            for value in changed(&draft.value) {
                match surely_fits(&PIPELINE, &value) {
                    true => assert!(validator.is_valid(&value), "{value}"),
                    false => refused += 1,
                }
                fit += 1;
            }
        }
        assert!(fit > 500 && refused > 300, "{refused} of {fit}");
    }
}
