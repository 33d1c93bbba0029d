//! What the schema cannot say: whether the values of a pipeline file make sense, alone and together.
//!
//! Takes a [`Draft`] that went through the schema. Gives the values that need working out, and notes
//! every mistake. Whatever the schema found wrong is not looked at again. It does no I/O: paths are
//! compared as text, symbolic links are not followed.

use std::collections::BTreeSet;
use std::path::{Component, Path};

use chrono::DateTime;
use serde_json::Value;

use super::read::{Draft, child};
use super::reconcile::reconcile;
use super::schema::closest;
use super::{Key, Reconcile};
use crate::classify::{Condition, Route, RouteError};
use crate::model::{CompareSource, Settlement};

/// What was worked out; a `None` always comes with a mistake.
pub(super) struct Checked {
    pub settlement: Option<Settlement>,
    pub key: Option<Key>,
    pub memory_max: Option<u64>,
    pub batch_bytes: Option<u64>,
    pub retry_for_ms: Option<i64>,
    pub retain_ms: Option<i64>,
    pub lease_term_ms: Option<i64>,
    pub routes: Vec<Route>,
    pub reconcile: Option<Reconcile>,
}

pub(super) fn check(draft: &mut Draft) -> Checked {
    name(draft);
    uin(draft);
    let opened_at = opened_at(draft);
    urls(draft);
    envelope(draft);
    let fields = fields(draft);
    let routes = routes(draft, fields.as_ref());
    let limits = super::written::LimitsSection::default();
    Checked {
        settlement: opened_at.map(|at| match at < Settlement::DAILY_SINCE_MS {
            true => Settlement::Monthly,
            false => Settlement::Daily,
        }),
        key: key(draft),
        memory_max: bytes(draft, "/limits/memory_max", &limits.memory_max),
        batch_bytes: bytes(draft, "/limits/batch_bytes", &limits.batch_bytes),
        retry_for_ms: duration(draft, "/limits/retry_for", &limits.retry_for, 0..=3_600_000),
        // A century: more is a mistake, and would pass what a clock counts.
        retain_ms: duration(draft, "/output/retain", "0s", 0..=36_525 * 86_400_000),
        lease_term_ms: duration(draft, "/output/lease_term", "60s", 1_000..=3_600_000),
        routes,
        reconcile: reconcile(draft, opened_at),
    }
}

/// Longest name of a job: it stands in file metadata and in reports, where more is noise.
const NAME_CHARS_MAX: usize = 100;

fn name(draft: &mut Draft) {
    let at = "/name";
    let Some(name) = draft.text(at) else { return };
    let fits = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || name.chars().count() > NAME_CHARS_MAX || !name.chars().all(fits) {
        let shown = draft.shown(at);
        draft.mistake(
            at,
            format!(
                "{shown} is no name: use 1 to {NAME_CHARS_MAX} letters, digits, `-`, `_` and `.`"
            ),
        );
    }
}

fn uin(draft: &mut Draft) {
    let at = "/account/uin";
    let Some(uin) = draft.text(at) else { return };
    if uin.is_empty() || !uin.bytes().all(|b| b.is_ascii_digit()) {
        let shown = draft.shown(at);
        draft
            .mistake(at, format!("{shown} is no UIN: give the digits of the paying account's UIN"));
    }
}

/// Milliseconds since the epoch.
fn opened_at(draft: &mut Draft) -> Option<i64> {
    let at = "/account/opened_at";
    let text = draft.text(at)?;
    match DateTime::parse_from_rfc3339(&text) {
        Ok(opened_at) => Some(opened_at.timestamp_millis()),
        Err(_) => {
            let shown = draft.shown(at);
            draft.mistake(
                at,
                format!("{shown} is no time with its offset: write it like \"2023-05-01T00:00:00+08:00\""),
            );
            None
        }
    }
}

/// The schemes that stores are reached by, and those that mean the same.
const SCHEMES: [(&str, &str); 12] = [
    ("file", "file"),
    ("memory", "memory"),
    ("s3", "s3"),
    ("s3a", "s3"),
    ("gs", "gs"),
    ("az", "az"),
    ("adl", "az"),
    ("azure", "az"),
    ("abfs", "az"),
    ("abfss", "az"),
    ("http", "http"),
    ("https", "https"),
];

/// A store and a path in it, comparable.
struct Address {
    /// Scheme and host; `file` for folders.
    store: String,
    segments: Vec<String>,
}

fn urls(draft: &mut Draft) {
    let source = address(draft, "/source/url");
    let output = address(draft, "/output/url");
    let (Some(source), Some(output)) = (source, output) else {
        return;
    };
    let same_store = source.store == output.store
        && store_options(draft, "/source/options") == store_options(draft, "/output/options");
    if !same_store || !output.segments.starts_with(&source.segments) {
        return;
    }
    let below = &output.segments[source.segments.len()..];
    // Keys with such a segment are never data, so what is written there is never read as a result.
    if below.iter().any(|segment| segment.starts_with(['_', '.'])) {
        return;
    }
    draft.mistake(
        "/output/url",
        "the output lies inside the source, so the tables would be read as results: choose a place outside \
         source.url, or below a folder in it whose name starts with `_`",
    );
}

/// The options that say which server or account a URL is about: the same bucket name elsewhere is another store.
fn store_options(draft: &Draft, at: &str) -> Vec<(String, Value)> {
    let options = draft.value.pointer(at).and_then(Value::as_object).into_iter().flatten();
    options
        .filter(|(name, _)| {
            let name = name.to_lowercase();
            name.contains("endpoint") || name.contains("account_name")
        })
        .map(|(name, value)| (name.to_lowercase(), value.clone()))
        .collect()
}

fn address(draft: &mut Draft, at: &str) -> Option<Address> {
    let text = draft.text(at)?;
    match address_of(&text) {
        Ok(address) => Some(address),
        Err(problem) => {
            draft.mistake(at, problem);
            None
        }
    }
}

/// The URL itself is never part of the problem's text: it may hold a password.
fn address_of(text: &str) -> Result<Address, String> {
    if text.trim().is_empty() {
        return Err("it is empty: give a folder, or the URL of a store".to_owned());
    }
    let scheme = text.split_once(':').map(|(scheme, _)| scheme.to_ascii_lowercase());
    let known = scheme.and_then(|scheme| SCHEMES.iter().find(|(name, _)| *name == scheme));
    let Some((scheme, store)) = known else {
        if let Some((scheme, _)) = text.split_once("://") {
            let known: Vec<&str> = SCHEMES.iter().map(|(name, _)| *name).collect();
            let cos = if scheme.starts_with("cos") {
                " (COS speaks S3: s3://bucket/folder with aws_endpoint in the options)"
            } else {
                ""
            };
            return Err(format!(
                "no store is reached by this scheme: use one of {}, or a folder{cos}",
                known.join(", ")
            ));
        }
        return Ok(folder(Path::new(text)));
    };
    let url = url::Url::parse(text)
        .map_err(|_| "this is no URL: write it like s3://bucket/folder/".to_owned())?;
    // abfss://container@account.host/ is an address; elsewhere a user is a credential.
    if url.password().is_some() || (!url.username().is_empty() && *store != "az") {
        return Err(
            "credentials do not belong in a URL: put them into the environment or the options"
                .to_owned(),
        );
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(
            "`?` and `#` are not part of a store's address: end the URL before them, and put tokens into the options"
                .to_owned(),
        );
    }
    if *scheme == "file" {
        let path = url.to_file_path();
        return path
            .map(|path| folder(&path))
            .map_err(|()| "a file URL has no host: write file:///folder/".to_owned());
    }
    let host = url.host_str().unwrap_or_default();
    if host.is_empty() && *scheme != "memory" {
        return Err(format!("the bucket or host is missing: write {scheme}://bucket/folder/"));
    }
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    let segments =
        url.path().split('/').filter(|segment| !segment.is_empty()).map(str::to_owned).collect();
    Ok(Address { store: format!("{store}://{}@{host}{port}", url.username()), segments })
}

fn folder(path: &Path) -> Address {
    // Without a current directory all relative paths still compare with each other.
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    let mut segments = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(segment) => segments.push(segment.to_string_lossy().into_owned()),
            Component::ParentDir => drop(segments.pop()),
            Component::Prefix(_) | Component::RootDir | Component::CurDir => {}
        }
    }
    Address { store: "file".to_owned(), segments }
}

/// The envelope's pointers that routes can match.
const ENVELOPE_FIELDS: [&str; 3] = ["biz_token", "rule_id", "channel"];
const EXTRA: &str = "extra";

fn envelope(draft: &mut Draft) {
    for name in ["response", "biz_token", "rule_id", "channel", "fetched_at", "created_at"] {
        let at = child("/source/envelope", name);
        let Some(pointer) = draft.text(&at) else {
            continue;
        };
        let whole_is_fine = name == "response";
        if pointer.is_empty() && whole_is_fine {
            continue;
        }
        let shown = draft.shown(&at);
        if !pointer.starts_with('/') {
            let whole = if whole_is_fine { ", or \"\" for the whole object" } else { "" };
            draft.mistake(
                &at,
                format!("{shown} is no JSON pointer: start with `/`, like \"/{name}\"{whole}"),
            );
        } else if pointer.split('~').skip(1).any(|rest| !rest.starts_with(['0', '1'])) {
            draft.mistake(
                &at,
                format!("{shown} is no JSON pointer: write `~` in a name as ~0, and `/` as ~1"),
            );
        }
    }
}

/// The fields that routes can match; `None` when source.keys is not readable, so that nobody can say.
fn fields(draft: &mut Draft) -> Option<BTreeSet<String>> {
    let at = "/source/keys";
    let mut fields = BTreeSet::from([EXTRA.to_owned()]);
    if draft.value.pointer(at).is_some() {
        let pattern = draft.text(at)?;
        match captures(&pattern) {
            Ok(captures) => fields.extend(captures),
            Err(problems) => {
                for problem in problems {
                    // The pieces of an expanded pattern are not shown.
                    let problem =
                        if draft.is_expanded(at) { problem.plain } else { problem.precise };
                    draft.mistake(at, problem);
                }
                draft.settle(at);
                return None;
            }
        }
    }
    let envelope = draft.value.pointer("/source/envelope").and_then(Value::as_object);
    let named = ENVELOPE_FIELDS
        .iter()
        .filter(|name| envelope.is_some_and(|envelope| envelope.contains_key(**name)));
    fields.extend(named.map(|name| name.to_string()));
    Some(fields)
}

/// A problem of a key pattern: naming the piece at fault, and without it.
struct PatternProblem {
    precise: String,
    plain: String,
}

impl PatternProblem {
    fn new(piece: &str, plain: &str) -> PatternProblem {
        PatternProblem { precise: format!("{{{piece}}}: {plain}"), plain: plain.to_owned() }
    }

    fn whole(plain: &str) -> PatternProblem {
        PatternProblem { precise: plain.to_owned(), plain: plain.to_owned() }
    }
}

/// The captures of a key pattern.
fn captures(pattern: &str) -> Result<Vec<String>, Vec<PatternProblem>> {
    let mut problems = Vec::new();
    if pattern.is_empty() {
        problems.push(PatternProblem::whole("it is empty: leave the key out to read every object"));
    } else if pattern.split('/').any(str::is_empty) {
        problems.push(PatternProblem::whole(
            "a key has no empty segments, so this matches nothing: remove the `/` at the beginning or end, or `//`",
        ));
    }
    if pattern.split('/').any(|segment| segment.starts_with(['_', '.'])) {
        problems.push(PatternProblem::whole(
            "keys with a segment that starts with `_` or `.` are never data, so this matches nothing: use another name",
        ));
    }
    let mut names: Vec<String> = Vec::new();
    let mut rest = pattern;
    while let Some(at) = rest.find(['{', '}']) {
        if rest[at..].starts_with('}') {
            problems.push(PatternProblem::whole("a `}` without its `{`: write captures as {name}"));
            rest = &rest[at + 1..];
            continue;
        }
        let inner = &rest[at + 1..];
        let Some(end) = inner.find(['{', '}']).filter(|end| inner[*end..].starts_with('}')) else {
            problems.push(PatternProblem::whole("a `{` is not closed: write captures as {name}"));
            rest = inner;
            continue;
        };
        let name = &inner[..end];
        rest = &inner[end + 1..];
        let is_name = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
            && name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        if !is_name {
            problems.push(PatternProblem::new(
                name,
                "no name for a capture: use letters, digits and `_`, beginning with a letter",
            ));
        } else if name == EXTRA {
            problems.push(PatternProblem::new(
                name,
                "routes know `extra` as Text.Extra: choose another name",
            ));
        } else if names.iter().any(|known| known == name) {
            problems.push(PatternProblem::new(
                name,
                "captured twice: give each capture a name of its own",
            ));
        } else {
            names.push(name.to_owned());
        }
    }
    if problems.is_empty() { Ok(names) } else { Err(problems) }
}

fn routes(draft: &mut Draft, fields: Option<&BTreeSet<String>>) -> Vec<Route> {
    let count = draft.value.pointer("/route").and_then(Value::as_array).map_or(0, Vec::len);
    let mut routes = Vec::new();
    let mut catches_all: Option<usize> = None;
    for index in 0..count {
        let at = format!("/route/{index}");
        if let Some(earlier) = catches_all {
            draft.mistake(
                &at,
                format!(
                    "never reached: route[{earlier}] matches everything; move that one to the end"
                ),
            );
        }
        let conditions = conditions(draft, &at, fields);
        if conditions.as_ref().is_some_and(Vec::is_empty) && catches_all.is_none() {
            catches_all = Some(index);
        }
        let compare_source =
            draft.text(&child(&at, "compare_source")).and_then(|code| CompareSource::parse(&code));
        let channel_at = child(&at, "channel");
        let channel = draft.text(&channel_at);
        // With a channel that cannot be read, only the product can be judged.
        let channel_is_known = channel.is_some() || draft.value.pointer(&channel_at).is_none();
        let Some(product) = draft.text(&child(&at, "product")) else {
            continue;
        };
        match Route::new(
            conditions.unwrap_or_default(),
            &product,
            channel.as_deref(),
            compare_source,
        ) {
            Ok(route) => routes.push(route),
            Err(RouteError::UnknownProduct { known }) => {
                unknown_code(draft, &child(&at, "product"), "product", &product, &known);
            }
            Err(_) if !channel_is_known => {}
            Err(RouteError::UnknownChannel { known }) => {
                unknown_code(
                    draft,
                    &channel_at,
                    "channel of this product",
                    channel.as_deref().unwrap_or_default(),
                    &known,
                );
            }
            Err(RouteError::ChannelMissing { known }) => draft.mistake(
                &channel_at,
                format!(
                    "missing: the tag of this product depends on the channel: add one of {}",
                    known.join(", ")
                ),
            ),
            Err(RouteError::ChannelNotTaken) => {
                draft.mistake(&channel_at, "this product has no channels: remove the key");
            }
        }
    }
    routes
}

pub(super) fn unknown_code(draft: &mut Draft, at: &str, what: &str, code: &str, known: &[&str]) {
    let meant = if draft.is_expanded(at) { None } else { closest(code, known.iter().copied()) };
    let meant = meant.map(|meant| format!("did you mean {meant:?}? ")).unwrap_or_default();
    let shown = draft.shown(at);
    draft.mistake(at, format!("{shown} is no {what}: {meant}Use one of {}", known.join(", ")));
}

/// The conditions of a route, if its `match` can be read.
fn conditions(
    draft: &mut Draft,
    route: &str,
    fields: Option<&BTreeSet<String>>,
) -> Option<Vec<Condition>> {
    let at = child(route, "match");
    let table = draft.value.pointer(&at)?.as_object()?.clone();
    let mut conditions = Vec::new();
    for (field, value) in table {
        let at = child(&at, &field);
        if let Some(fields) = fields.filter(|fields| !fields.contains(&field)) {
            // Of an expanded pattern only the captures that stand in the file are shown.
            let keys = draft.shown("/source/keys");
            let fields = fields.iter().map(String::as_str);
            let fields: Vec<&str> = fields
                .filter(|field| {
                    *field == EXTRA
                        || ENVELOPE_FIELDS.contains(field)
                        || keys.contains(&format!("{{{field}}}"))
                })
                .collect();
            let message = match closest(&field, fields.iter().copied()) {
                Some(meant) => format!("no such field: did you mean {meant:?}?"),
                None if ENVELOPE_FIELDS.contains(&field.as_str()) => format!(
                    "no such field here: name it in source.envelope ({field} = \"/…\") or capture it in source.keys \
                     ({{{field}}})"
                ),
                None => format!(
                    "no such field: capture it in source.keys ({{{field}}}), or use one of {}",
                    fields.join(", ")
                ),
            };
            draft.mistake(&at, message);
        }
        let values: Vec<String> = match &value {
            Value::String(text) => vec![text.clone()],
            Value::Array(texts) => {
                texts.iter().filter_map(Value::as_str).map(str::to_owned).collect()
            }
            _ => continue,
        };
        if value.as_array().is_some_and(Vec::is_empty) {
            draft.mistake(&at, "an empty list matches nothing: list the values, or remove the key");
        }
        conditions.push(Condition { field, values });
    }
    // BTreeMap order, whatever the order of the JSON map: the routes must not depend on it.
    conditions.sort_by(|a, b| a.field.cmp(&b.field));
    Some(conditions)
}

/// Shortest HMAC key. ID numbers have few possible values, so a digest of one is only as good as its key; 16
/// random bytes cannot be guessed.
const KEY_BYTES_MIN: usize = 16;

fn key(draft: &mut Draft) -> Option<Key> {
    let at = "/privacy/key";
    let wanted: Vec<&str> = ["idcard", "name"]
        .into_iter()
        .filter(|field| draft.text(&child("/privacy", field)).as_deref() == Some("hmac"))
        .collect();
    if draft.value.pointer(at).is_none() {
        if !wanted.is_empty() {
            let wanted = wanted.join(" and ");
            draft.mistake(
                at,
                format!("missing: {wanted} = \"hmac\" needs a key; write key = \"${{FACELEDGER_HMAC_KEY}}\" and set the variable"),
            );
        }
        return None;
    }
    let key = draft.text(at)?;
    if !wanted.is_empty() && key.len() < KEY_BYTES_MIN {
        draft.mistake(
            at,
            format!("the key is shorter than {KEY_BYTES_MIN} bytes: use a long random text"),
        );
        return None;
    }
    Some(Key(key.into_bytes()))
}

/// An amount of bytes with its unit, or its default.
fn bytes(draft: &mut Draft, at: &str, default: &str) -> Option<u64> {
    if draft.value.pointer(at).is_none() {
        return bytes_of(default);
    }
    let text = draft.text(at)?;
    let bytes = bytes_of(&text).filter(|bytes| *bytes > 0);
    if bytes.is_none() {
        let shown = draft.shown(at);
        draft.mistake(
            at,
            format!("{shown} is no amount of bytes: write a number with its unit, like \"512MiB\" or \"2GiB\""),
        );
    }
    bytes
}

/// A time with its unit, or its default, within bounds: milliseconds.
fn duration(
    draft: &mut Draft,
    at: &str,
    default: &str,
    bounds: std::ops::RangeInclusive<i64>,
) -> Option<i64> {
    if draft.value.pointer(at).is_none() {
        return duration_of(default);
    }
    let text = draft.text(at)?;
    let ms = duration_of(&text).filter(|ms| bounds.contains(ms));
    if ms.is_none() {
        let shown = draft.shown(at);
        let (least, most) = (bounds.start() / 1000, bounds.end() / 1000);
        draft.mistake(
            at,
            format!("{shown} is no time this takes: write a number with its unit (s, min, h, d), like \"90s\" or \"7d\", from {least} to {most} seconds"),
        );
    }
    ms
}

/// "90s" or "7 d" in milliseconds; `None` when it is none, or too long to count.
fn duration_of(text: &str) -> Option<i64> {
    let text = text.trim();
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
    let seconds: i64 = match unit.trim().to_ascii_lowercase().as_str() {
        "s" => 1,
        "min" | "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return None,
    };
    number.parse::<i64>().ok()?.checked_mul(seconds)?.checked_mul(1000)
}

const UNITS: [(&str, u128); 9] = [
    ("b", 1),
    ("kb", 1000),
    ("mb", 1000 * 1000),
    ("gb", 1000 * 1000 * 1000),
    ("tb", 1000 * 1000 * 1000 * 1000),
    ("kib", 1 << 10),
    ("mib", 1 << 20),
    ("gib", 1 << 30),
    ("tib", 1 << 40),
];

/// "1.5GiB" in bytes; `None` when it is no whole number of bytes that fits 64 bits. Exact: no floats.
fn bytes_of(text: &str) -> Option<u64> {
    let text = text.trim();
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit() && c != '.')?);
    let unit = unit.trim().to_ascii_lowercase();
    let (_, unit) = UNITS.iter().find(|(name, _)| *name == unit)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    // 12 digits times a unit stay far below 2^128.
    if whole.is_empty() || fraction.is_empty() || whole.len() > 12 || fraction.len() > 12 {
        return None;
    }
    let scale = 10u128.pow(u32::try_from(fraction.len()).ok()?);
    let number = whole.parse::<u128>().ok()? * scale + fraction.parse::<u128>().ok()?;
    let bytes = number * unit;
    if bytes % scale != 0 {
        return None;
    }
    u64::try_from(bytes / scale).ok()
}
