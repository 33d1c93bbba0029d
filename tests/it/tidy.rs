//! Guards the map of the house (ARCHITECTURE.md): who imports whom, who prints, who reads the clock, where floats may
//! stand, and that every dependency says which room wants it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// What each part of `src/` may name of the others. `model` is free to all.
const MAY_USE: &[(&str, &[&str])] = &[
    // The rooms: never each other. Two of them do their I/O through storage.
    ("model", &[]),
    ("storage", &[]),
    ("sources", &["storage"]),
    ("decode", &[]),
    ("classify", &[]),
    ("write", &["storage"]),
    ("settle", &[]),
    ("reconcile", &[]),
    // The pipeline file is checked against the catalogue of tags.
    ("pipeline", &["classify"]),
    // Flags as typed: a window of days.
    ("cli", &["sources"]),
    // The one place that orders the steps.
    (
        "run",
        &[
            "classify",
            "decode",
            "pipeline",
            "reconcile",
            "report",
            "settle",
            "sources",
            "storage",
            "write",
        ],
    ),
    // Carries out commands and shows their outcomes. It opens no object and writes no table.
    ("report", &["classify", "cli", "pipeline", "run", "storage", "write"]),
    // `main` and the map itself name no rooms by `crate::`.
    ("main", &[]),
    ("lib", &[]),
];

/// Of other rooms, report names data and nothing that does the work.
const REPORT_NAMES: &[(&str, &[&str])] = &[
    ("classify", &["Catalogue"]),
    ("storage", &["", "Place"]),
    ("write", &["merge::Facts", "schema", "schema::Table", "small::RejectRow"]),
];

/// A source file: its part of the house, its path, its text without comments and strings.
struct Source {
    room: String,
    path: String,
    code: String,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn sources() -> Vec<Source> {
    let mut files = Vec::new();
    let mut folders = vec![root().join("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path: PathBuf = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let below = path.strip_prefix(root().join("src")).expect("below src/");
                let room = below.components().next().expect("a name").as_os_str().to_string_lossy();
                files.push(Source {
                    room: room.trim_end_matches(".rs").to_owned(),
                    path: format!("src/{}", below.display()),
                    code: without_comments_and_strings(
                        &fs::read_to_string(&path).expect("a source file"),
                    ),
                });
            }
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(files.len() > 20, "the sources are where they were");
    files
}

/// Blanks comments, string and character literals, keeping line breaks.
fn without_comments_and_strings(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut i = 0;
    let line_breaks =
        |from: usize, to: usize| chars[from..to].iter().filter(|c| **c == '\n').collect::<String>();
    while i < chars.len() {
        let rest = |n: usize| chars.get(i + n).copied().unwrap_or('\0');
        let start = i;
        let raw_hashes = match chars[i] {
            'r' if !out.ends_with(|c: char| c.is_alphanumeric() || c == '_')
                || out.ends_with('b') =>
            {
                let hashes = chars[i + 1..].iter().take_while(|c| **c == '#').count();
                (rest(1 + hashes) == '"').then_some(hashes)
            }
            _ => None,
        };
        if let Some(hashes) = raw_hashes {
            let end: String =
                std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
            let body: String = chars[i + 2 + hashes..].iter().collect();
            let length = body
                .find(&end)
                .map_or(body.chars().count(), |at| body[..at].chars().count() + end.len());
            i += 2 + hashes + length;
        } else if chars[i] == '/' && rest(1) == '/' {
            i += chars[i..].iter().take_while(|c| **c != '\n').count();
            continue;
        } else if chars[i] == '/' && rest(1) == '*' {
            let mut depth = 0;
            loop {
                match (chars.get(i), chars.get(i + 1)) {
                    (Some('/'), Some('*')) => (depth, i) = (depth + 1, i + 2),
                    (Some('*'), Some('/')) => (depth, i) = (depth - 1, i + 2),
                    (None, _) => break,
                    _ => i += 1,
                }
                if depth == 0 {
                    break;
                }
            }
        } else if chars[i] == '"' {
            i += 1;
            while i < chars.len() && chars[i] != '"' {
                i += if chars[i] == '\\' { 2 } else { 1 };
            }
            i += 1;
        } else if chars[i] == '\'' && (rest(1) == '\\' || rest(2) == '\'') {
            i += 1;
            while i < chars.len() && chars[i] != '\'' {
                i += if chars[i] == '\\' { 2 } else { 1 };
            }
            i += 1;
        } else {
            out.push(chars[i]);
            i += 1;
            continue;
        }
        i = i.min(chars.len());
        out.push_str("\"\"");
        out.push_str(&line_breaks(start, i));
    }
    out
}

/// Every path under `crate::` that the code names, groups taken apart: `write::schema::Table`.
fn named(code: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut rest = code;
    while let Some(at) = rest.find("crate::") {
        rest = &rest[at + "crate::".len()..];
        paths("", rest, &mut found);
    }
    found
}

/// Reads one path, or one group of paths, from the start of `text`; gives what follows it.
fn paths<'t>(before: &str, text: &'t str, found: &mut BTreeSet<String>) -> &'t str {
    let text = text.trim_start();
    if let Some(mut rest) = text.strip_prefix('{') {
        loop {
            rest = paths(before, rest, found).trim_start();
            if let Some(after) = rest.strip_prefix(',') {
                rest = after.trim_start();
            }
            if let Some(after) = rest.strip_prefix('}') {
                return after;
            }
            assert!(!rest.is_empty(), "a group of imports that ends");
        }
    }
    let end =
        text.find(|c: char| !c.is_alphanumeric() && c != '_' && c != '*').unwrap_or(text.len());
    let (word, rest) = text.split_at(end);
    let path = if before.is_empty() { word.to_owned() } else { format!("{before}::{word}") };
    if let Some(deeper) = rest.strip_prefix("::")
        && !deeper.starts_with('<')
    {
        return paths(&path, deeper, found);
    }
    let plain = path.strip_suffix("::self").unwrap_or(&path);
    found.insert(plain.to_owned());
    let rest = rest.trim_start();
    match rest.strip_prefix("as ") {
        Some(alias) => {
            alias.trim_start().trim_start_matches(|c: char| c.is_alphanumeric() || c == '_')
        }
        None => rest,
    }
}

#[test]
fn rooms_import_model_and_never_each_other() {
    let mut breaches = Vec::new();
    for source in sources() {
        let Some((_, may)) = MAY_USE.iter().find(|(room, _)| *room == source.room) else {
            breaches.push(format!("{}: a room that is not on the map", source.path));
            continue;
        };
        for path in named(&source.code) {
            let room = path.split("::").next().expect("a room");
            if room != "model" && room != source.room && !may.contains(&room) {
                breaches.push(format!("{} names crate::{path}", source.path));
            }
        }
    }
    assert!(breaches.is_empty(), "{breaches:#?}");
}

#[test]
fn report_names_data_only() {
    let mut breaches = Vec::new();
    for source in sources().into_iter().filter(|source| source.room == "report") {
        for path in named(&source.code) {
            let (room, item) = path.split_once("::").unwrap_or((&path, ""));
            let allowed = REPORT_NAMES.iter().find(|(name, _)| *name == room);
            if allowed.is_some_and(|(_, items)| !items.contains(&item)) {
                breaches.push(format!("{} names crate::{path}", source.path));
            }
        }
    }
    assert!(breaches.is_empty(), "{breaches:#?}");
}

/// A path by another way than `crate::` would pass the tests above.
#[test]
fn rooms_climb_no_higher_than_themselves() {
    for source in sources() {
        let depth =
            source.path.matches('/').count() + usize::from(!source.path.ends_with("/mod.rs")) - 1;
        let climb = "super::".repeat(depth.max(1));
        // In `#[cfg(test)] mod tests` inside a file, one step more stays inside.
        let one_more = if source.code.contains("#[cfg(test)]") { "super::" } else { "" };
        assert!(
            !source.code.contains(&format!("{climb}{one_more}super::")),
            "{} leaves its room by super::",
            source.path
        );
        if source.room != "main" {
            assert!(
                !source.code.contains("faceledger::"),
                "{} names the crate by its name",
                source.path
            );
        }
    }
}

#[test]
fn only_report_prints() {
    found_only_in(&["println!", "print!", "dbg!", "io::stdout", "io::stderr"], &["report", "main"]);
}

/// The names of runs, and how long things took: nothing else depends on the time of day. Storage measures
/// how long it waits, and never asks what time it is.
#[test]
fn only_run_and_report_read_a_clock() {
    found_only_in(&["SystemTime::now", "Utc::now", "Local::now"], &["run", "report", TESTS]);
    found_only_in(&["Instant::now"], &["run", "report", "storage", TESTS]);
}

/// Shares and similarities of words may be floats; counts, money and what is on its way into a table may not.
#[test]
fn no_floats_where_counts_and_money_are() {
    found_only_in(&["f32", "f64"], &["pipeline", "run", "report", "sources", "cli", TESTS]);
}

/// Files of unit tests, as if they were a room.
const TESTS: &str = "tests";

fn is_test(path: &str) -> bool {
    path.ends_with("/tests.rs") || path.contains("/tests/")
}

/// Words of code, each in these rooms only.
#[track_caller]
fn found_only_in(words: &[&str], rooms: &[&str]) {
    let mut breaches = Vec::new();
    let exempt = |source: &&Source| {
        rooms.contains(&source.room.as_str()) || rooms.contains(&TESTS) && is_test(&source.path)
    };
    for source in sources().iter().filter(|source| !exempt(source)) {
        for (n, line) in source.code.lines().enumerate() {
            for word in words {
                let hit = line.match_indices(word).any(|(at, _)| {
                    let part_of_a_word = |c: char| c.is_alphanumeric() || c == '_';
                    // `eprintln!` prints too.
                    let before = line[..at]
                        .strip_suffix('e')
                        .filter(|_| word.starts_with("print"))
                        .unwrap_or(&line[..at]);
                    !before.ends_with(part_of_a_word)
                        && !line[at + word.len()..].starts_with(part_of_a_word)
                });
                if hit {
                    breaches.push(format!("{}:{}: {word}", source.path, n + 1));
                }
            }
        }
    }
    assert!(breaches.is_empty(), "only in {rooms:?}: {breaches:#?}");
}

#[test]
fn every_module_opens_with_what_it_is() {
    for source in sources().into_iter().filter(|source| !is_test(&source.path)) {
        let text = fs::read_to_string(root().join(&source.path)).expect("a source file");
        assert!(text.starts_with("//! "), "{} opens with no `//!`", source.path);
    }
}

#[test]
fn every_dependency_says_which_room_wants_it() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("Cargo.toml");
    let rooms: Vec<&str> =
        MAY_USE.iter().map(|(room, _)| *room).chain(["tests", "every room", "benches"]).collect();
    let mut section = "";
    let mut wanted_by: Option<&str> = None;
    let mut dependencies = 0;
    let mut breaches = Vec::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            (section, wanted_by) = (line, None);
        } else if line.is_empty() {
            wanted_by = None;
        } else if let Some(comment) = line.strip_prefix('#') {
            // A comment goes for the lines below it, up to the next comment or blank line.
            wanted_by = Some(comment.trim());
        } else if ["[dependencies]", "[dev-dependencies]", "[build-dependencies]"]
            .contains(&section)
            && line.starts_with(|c: char| c.is_alphabetic())
        {
            dependencies += 1;
            let name = line.split(['=', '.']).next().unwrap_or(line).trim();
            let named =
                wanted_by.map(|comment| comment.split(':').next().unwrap_or("")).unwrap_or("");
            if !named.split([',', ' ']).any(|word| rooms.contains(&word)) && !rooms.contains(&named)
            {
                breaches.push(name.to_owned());
            }
        }
    }
    assert!(dependencies > 10, "the dependencies are where they were");
    assert!(breaches.is_empty(), "no room wants: {breaches:?}");
}

#[test]
fn every_column_is_described() {
    for file in ["liveness_detail", "daily_charge", "rejects", "inputs", "bill_line"] {
        let path = root().join(format!("schemas/{file}.v1.json"));
        let text =
            fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let schema: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(schema["table"], file);
        for column in schema["columns"].as_array().expect("columns") {
            let described = column["description"].as_str().is_some_and(|d| !d.is_empty());
            assert!(described, "{file}: {} has no description", column["name"]);
        }
    }
}

#[test]
fn the_reader_of_imports_reads() {
    let code = without_comments_and_strings(
        "use crate::{a::{self, b::C}, d};\n// crate::no\nlet x = \"crate::no\"; crate::e::f(); /* crate::no */ r#\"crate::no\"#; '\"'; crate::g",
    );
    let found: Vec<String> = named(&code).into_iter().collect();
    assert_eq!(found, ["a", "a::b::C", "d", "e::f", "g"]);
}
