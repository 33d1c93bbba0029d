//! What stayed unmapped, by value, and what in the pipeline file would have caught it.
//!
//! Takes the attempts that got no tag. Gives lines for people: a count, what they have in common,
//! and the TOML to add. Of `Text.Extra`, which may be personal, it keeps digests only, long enough
//! to count its values and to see that a route misses one by a space; it never shows any.
//!
//! Everything kept has a bound. What is kept at a bound are the first values in order, not the
//! first to come, so that counts do not depend on how the work was split. (Only where one load
//! passes the bound on groups and, later, the one on a field's values, can the groups told apart
//! depend on it.)

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use super::catalogue::Catalogue;
use super::route::{Condition, Route, Router, Tagged, WhyUnmapped};
use crate::model::{CompareSource, Record};

/// Groups of attempts without a route that are told apart. More than a person reads; a few hundred
/// bytes each.
const GROUPS_MAX: usize = 1000;
/// A field of more values than this tells no channels apart: it is an id, and may be personal.
const FIELD_VALUES_MAX: usize = 50;
/// Compare libraries told apart. Two are documented that only a pipeline maps.
const COMPARE_LIBS_MAX: usize = 50;
/// Characters kept of a compare library's name. The longest documented one has 6.
const COMPARE_LIB_CHARS_MAX: usize = 40;
/// Values of `Text.Extra` counted per group. A field that names channels has far fewer.
const EXTRAS_MAX: usize = 256;

/// Counts of attempts without a tag. Each worker collects its own; merged in any order they say the
/// same.
#[derive(Clone, Debug, Default)]
pub struct UnmappedCounts {
    /// The values seen of each field of the groups; `None` when over the bound.
    fields: BTreeMap<String, Option<BTreeSet<String>>>,
    /// No route: sorted by key.
    groups: Vec<Group>,
    groups_rest: u64,
    /// No compare source: by compare library, cut at the bound and then with `…` at its end.
    compare_libs: BTreeMap<String, u64>,
    compare_libs_rest: u64,
    compare_lib_null: u64,
    /// No such row.
    rows: BTreeMap<RowKey, u64>,
}

/// Product, channel and source.
type RowKey = (Option<&'static str>, Option<&'static str>, Option<CompareSource>);

/// Attempts without a tag that have something in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnmappedLine {
    /// Attempts.
    pub count: u64,
    /// What they have in common, on one line.
    pub what: String,
    /// What to do; TOML to add stands on lines of its own.
    pub advice: String,
}

#[derive(Clone, Debug)]
struct Group {
    /// Key: the fields that a route could match, by name, in order of name.
    fields: Vec<(String, String)>,
    /// Key.
    extra: ExtraState,
    /// Attempts.
    count: u64,
    extras: Extras,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum ExtraState {
    Absent,
    Empty,
    Present,
}

impl UnmappedCounts {
    /// Counts an attempt if it has no tag. `captures` and `record` are those it was routed by.
    pub fn note(
        &mut self,
        tagged: &Tagged,
        captures: &[(String, String)],
        record: &Record<'_>,
        compare_lib_type: Option<&str>,
    ) {
        match tagged.why_unmapped {
            None => {}
            Some(WhyUnmapped::NoRoute) => self.note_no_route(captures, record),
            Some(WhyUnmapped::NoCompareSource) => match compare_lib_type {
                None => self.compare_lib_null += 1,
                Some(lib) => match lib.char_indices().nth(COMPARE_LIB_CHARS_MAX) {
                    None => self.add_compare_lib(lib, 1),
                    Some((end, _)) => self.add_compare_lib(&format!("{}…", &lib[..end]), 1),
                },
            },
            Some(WhyUnmapped::NoSuchRow) => {
                *self
                    .rows
                    .entry((tagged.product, tagged.channel, tagged.compare_source))
                    .or_default() += 1;
            }
        }
    }

    /// Adds what another worker has counted.
    pub fn merge(&mut self, other: UnmappedCounts) {
        for (name, values) in other.fields {
            match values {
                None => self.hide(&name),
                Some(values) => values.iter().for_each(|value| self.see(&name, value)),
            }
        }
        for mut group in other.groups {
            group.fields.retain(|(name, _)| !self.is_hidden(name));
            self.add_group(group);
        }
        self.groups_rest += other.groups_rest;
        for (lib, count) in other.compare_libs {
            self.add_compare_lib(&lib, count);
        }
        self.compare_libs_rest += other.compare_libs_rest;
        self.compare_lib_null += other.compare_lib_null;
        for (row, count) in other.rows {
            *self.rows.entry(row).or_default() += count;
        }
    }

    /// Nothing was unmapped.
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
            && self.compare_libs.is_empty()
            && self.compare_lib_null == 0
            && self.rows.is_empty()
    }

    /// One line per group, the largest first, what is beyond the bounds last. `router` is the one
    /// that left them unmapped.
    pub fn advice(&self, router: &Router) -> Vec<UnmappedLine> {
        let counts = self.told_apart_as(router);
        let mut lines: Vec<UnmappedLine> = Vec::new();
        lines.extend(counts.groups.iter().map(|group| counts.line_of_group(group, router)));
        lines.extend(
            self.compare_libs.iter().map(|(lib, count)| line_of_compare_lib(lib, *count, router)),
        );
        if self.compare_lib_null > 0 {
            lines.push(UnmappedLine {
                count: self.compare_lib_null,
                what: "no compare source: compare_lib_type is null".to_owned(),
                advice:
                    "if all of them were compared against the same library, add to their route\n\
                         compare_source = \"…\"  # authority or uploaded_photo"
                        .to_owned(),
            });
        }
        lines.extend(self.rows.iter().map(|(row, count)| line_of_row(*row, *count)));
        lines.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.what.cmp(&b.what)));
        for (count, what) in [
            (counts.groups_rest, "no route matches: others"),
            (self.compare_libs_rest, "no compare source: others"),
        ] {
            if count > 0 {
                let advice = "map those above first, then load again".to_owned();
                lines.push(UnmappedLine { count, what: what.to_owned(), advice });
            }
        }
        lines
    }

    /// The same counts, told apart only by fields that speak of channels: those that routes name, and the
    /// envelope's. Where there are none of these, by all.
    fn told_apart_as(&self, router: &Router) -> UnmappedCounts {
        let named: BTreeSet<&str> =
            router.routes().flat_map(|r| r.conditions.iter().map(|c| c.field.as_str())).collect();
        let speaks = |name: &str| named.contains(name) || matches!(name, "channel" | "rule_id");
        let mut counts = self.clone();
        if counts.fields.keys().any(|name| speaks(name)) {
            counts.fields.retain(|name, _| speaks(name));
            for mut group in std::mem::take(&mut counts.groups) {
                group.fields.retain(|(name, _)| speaks(name));
                counts.add_group(group);
            }
        }
        counts
    }

    fn note_no_route(&mut self, captures: &[(String, String)], record: &Record<'_>) {
        let of_envelope = [("channel", &record.channel), ("rule_id", &record.rule_id)];
        let mut fields: Vec<(&str, &str)> = of_envelope
            .iter()
            .filter_map(|(name, value)| Some((*name, value.as_deref()?)))
            .chain(captures.iter().map(|(name, value)| (name.as_str(), value.as_str())))
            // Tokens and days are of single results, and a capture named extra is out of a route's
            // reach.
            .filter(|(name, _)| !matches!(*name, "biz_token" | "date" | "extra"))
            .collect();
        // A stable sort leaves the envelope's value before the capture's of the same name.
        fields.sort_by_key(|(name, _)| *name);
        fields.dedup_by_key(|(name, _)| *name);
        for (name, value) in &fields {
            self.see(name, value);
        }
        fields.retain(|(name, _)| !self.is_hidden(name));

        let extra = match record.extra.as_deref() {
            None => ExtraState::Absent,
            Some("") => ExtraState::Empty,
            Some(_) => ExtraState::Present,
        };
        let group = match self.find_group(&fields, extra) {
            Ok(at) => &mut self.groups[at],
            Err(at) if at == GROUPS_MAX => {
                self.groups_rest += 1;
                return;
            }
            Err(at) => {
                let fields =
                    fields.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
                self.groups
                    .insert(at, Group { fields, extra, count: 0, extras: Extras::default() });
                &mut self.groups[at]
            }
        };
        group.count += 1;
        if let (ExtraState::Present, Some(value)) = (extra, record.extra.as_deref()) {
            group.extras.add(digest(value), digest(&loosened(value)), 1);
        }
        self.bound_groups();
    }

    fn find_group(&self, fields: &[(&str, &str)], extra: ExtraState) -> Result<usize, usize> {
        self.groups.binary_search_by(|group| {
            let own = group.fields.iter().map(|(name, value)| (name.as_str(), value.as_str()));
            own.cmp(fields.iter().copied()).then(group.extra.cmp(&extra))
        })
    }

    fn add_group(&mut self, group: Group) {
        let key: Vec<(&str, &str)> =
            group.fields.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        match self.find_group(&key, group.extra) {
            Ok(at) => {
                self.groups[at].count += group.count;
                self.groups[at].extras.merge(&group.extras);
            }
            Err(at) => self.groups.insert(at, group),
        }
        self.bound_groups();
    }

    fn bound_groups(&mut self) {
        while self.groups.len() > GROUPS_MAX {
            self.groups_rest += self.groups.pop().map_or(0, |group| group.count);
        }
    }

    fn add_compare_lib(&mut self, lib: &str, count: u64) {
        match self.compare_libs.get_mut(lib) {
            Some(known) => *known += count,
            None => {
                self.compare_libs.insert(lib.to_owned(), count);
            }
        }
        if self.compare_libs.len() > COMPARE_LIBS_MAX
            && let Some((_, count)) = self.compare_libs.pop_last()
        {
            self.compare_libs_rest += count;
        }
    }

    fn is_hidden(&self, name: &str) -> bool {
        self.fields.get(name).is_some_and(Option::is_none)
    }

    /// Takes note of a field's value, and hides the field when that is one too many.
    fn see(&mut self, name: &str, value: &str) {
        match self.fields.get_mut(name) {
            None => {
                self.fields.insert(name.to_owned(), Some(BTreeSet::from([value.to_owned()])));
            }
            Some(None) => {}
            Some(Some(values)) if values.contains(value) => {}
            Some(Some(values)) if values.len() < FIELD_VALUES_MAX => {
                values.insert(value.to_owned());
            }
            Some(Some(_)) => self.hide(name),
        }
    }

    /// Forgets a field's values, and joins the groups that differed in nothing else.
    fn hide(&mut self, name: &str) {
        if self.is_hidden(name) {
            return;
        }
        self.fields.insert(name.to_owned(), None);
        for mut group in std::mem::take(&mut self.groups) {
            group.fields.retain(|(field, _)| field != name);
            self.add_group(group);
        }
    }

    fn line_of_group(&self, group: &Group, router: &Router) -> UnmappedLine {
        let mut parts: Vec<String> = group.fields.iter().map(|(n, v)| assignment(n, v)).collect();
        let hidden = self.fields.iter().filter(|(_, values)| values.is_none());
        parts.extend(hidden.map(|(name, _)| {
            format!("{name}: over {FIELD_VALUES_MAX} values (not shown: it may be an id)")
        }));
        parts.push(match group.extra {
            ExtraState::Absent => "extra: absent".to_owned(),
            ExtraState::Empty => "extra: empty".to_owned(),
            ExtraState::Present => {
                let (over, n) = if group.extras.more {
                    ("over ", EXTRAS_MAX)
                } else {
                    ("", group.extras.seen.len())
                };
                let s = if n == 1 { "" } else { "s" };
                format!(
                    "extra: present, {over}{n} distinct value{s} (not shown: it may be personal)"
                )
            }
        });
        let mut advice: Vec<String> = router
            .routes()
            .enumerate()
            .filter_map(|(at, route)| {
                near_miss(group, route).map(|near| near.text(at, group.count))
            })
            .collect();
        advice.push(route_to_add(group));
        UnmappedLine {
            count: group.count,
            what: format!("no route matches: {}", parts.join(", ")),
            advice: advice.join("\n"),
        }
    }
}

/// The `[[route]]` that would have caught a group. Product and channel are for the reader to fill
/// in: nothing in the results says them, and left as they are the pipeline's check refuses them.
fn route_to_add(group: &Group) -> String {
    let shown: Vec<String> = group.fields.iter().map(|(n, v)| assignment(n, v)).collect();
    let (why, condition) = match (shown.is_empty(), group.extra) {
        (false, ExtraState::Present) => (
            "add this route, or one with match = { extra = \"…\" } if Extra holds the channel",
            shown.join(", "),
        ),
        (false, _) => ("add this route", shown.join(", ")),
        (true, ExtraState::Present) => {
            ("add this route for each value of Extra", "extra = \"…\"".to_owned())
        }
        (true, ExtraState::Empty | ExtraState::Absent) => (
            "nothing here tells channels apart: capture one from the key by source.keys, name one in \
             source.envelope, or, if all of them are of one channel, add this route as the last",
            String::new(),
        ),
    };
    let condition =
        if condition.is_empty() { "{}".to_owned() } else { format!("{{ {condition} }}") };
    let mut products: Vec<&str> = Vec::new();
    for row in Catalogue::get().rows() {
        // The others are never billed by LivenessDetail.
        if row.compare_source.is_some() && !products.contains(&row.product) {
            products.push(row.product);
        }
    }
    format!(
        "{why}\n[[route]]\nmatch = {condition}\nproduct = \"…\"  # {}\n\
         channel = \"…\"  # where the product has channels: `faceledger tags` lists them",
        products.join(", ")
    )
}

/// A route whose conditions hold for a group once letter case and outer spaces are left aside.
struct NearMiss {
    /// The fields in which it misses.
    fields: Vec<String>,
    /// Attempts of the group for which it holds: fewer than all when it asks for an Extra.
    count: u64,
}

impl NearMiss {
    /// `number` counts from 0, as `check` and `--set` do.
    fn text(&self, number: usize, of: u64) -> String {
        let fields = self.fields.join(" and ");
        if self.count == of {
            format!("route[{number}] would match but for case or spaces in {fields}")
        } else {
            format!(
                "route[{number}] would match {} of them but for case or spaces in {fields}",
                self.count
            )
        }
    }
}

fn near_miss(group: &Group, route: &Route) -> Option<NearMiss> {
    let mut near = NearMiss { fields: Vec::new(), count: group.count };
    for Condition { field, values } in &route.conditions {
        let exact = if field == "extra" && group.extra == ExtraState::Present {
            let wanted: BTreeSet<u64> = values.iter().map(|value| digest(value)).collect();
            let wanted_loosely: BTreeSet<u64> =
                values.iter().map(|value| digest(&loosened(value))).collect();
            let mut found = group
                .extras
                .seen
                .iter()
                .filter(|(_, seen)| wanted_loosely.contains(&seen.loosened))
                .peekable();
            found.peek()?;
            let mut exact = true;
            near.count = 0;
            for (value, seen) in found {
                near.count += seen.count;
                exact &= wanted.contains(value);
            }
            exact
        } else {
            let value = match (field.as_str(), group.extra) {
                ("extra", ExtraState::Empty) => "",
                ("extra", _) => return None,
                (name, _) => group.fields.iter().find(|(own, _)| own == name)?.1.as_str(),
            };
            if !values.iter().any(|wanted| loosened(wanted) == loosened(value)) {
                return None;
            }
            values.iter().any(|wanted| wanted == value)
        };
        if !exact {
            near.fields.push(field.clone());
        }
    }
    (!near.fields.is_empty()).then_some(near)
}

fn line_of_compare_lib(lib: &str, count: u64, router: &Router) -> UnmappedLine {
    let cut = lib.chars().count() > COMPARE_LIB_CHARS_MAX;
    let near = router.compare_libs().find(|known| loosened(known) == loosened(lib));
    let mut advice = String::new();
    if let Some(near) = near {
        advice = format!("{} would match but for case or spaces\n", quoted(near));
    }
    if cut {
        advice += "no library's name is so long: look at one of these results";
    } else {
        advice += &format!(
            "if you know under which tag it is billed, add\n[compare_lib_types]\n{} = \"…\"  # authority or \
             uploaded_photo",
            quoted(lib)
        );
    }
    let note = if cut { " (cut)" } else { "" };
    UnmappedLine {
        count,
        what: format!("no compare source: compare_lib_type = {}{note}", quoted(lib)),
        advice,
    }
}

fn line_of_row((product, channel, source): RowKey, count: u64) -> UnmappedLine {
    let place: Vec<&str> = product.into_iter().chain(channel).collect();
    let place = place.join("/");
    let sources: Vec<&str> = Catalogue::get()
        .rows()
        .iter()
        .filter(|row| Some(row.product) == product && row.channel == channel)
        .filter_map(|row| row.compare_source)
        .map(CompareSource::code)
        .collect();
    let advice = if sources.is_empty() {
        format!("{place} is never billed by LivenessDetail: correct the product of its route")
    } else {
        format!(
            "{place} is billed with {} only: correct the product or channel of its route",
            sources.join(", ")
        )
    };
    let source = source.map_or("no compare source", CompareSource::code);
    UnmappedLine {
        count,
        what: format!("no such row in the catalogue: {place} with {source}"),
        advice,
    }
}

/// Digests of the values of `Text.Extra`, the first in order.
#[derive(Clone, Debug, Default)]
struct Extras {
    /// By the digest of the value.
    seen: BTreeMap<u64, ExtraSeen>,
    /// There were more than are kept.
    more: bool,
}

#[derive(Clone, Copy, Debug)]
struct ExtraSeen {
    /// The digest of the value without outer spaces and in lower case.
    loosened: u64,
    /// Attempts.
    count: u64,
}

impl Extras {
    fn add(&mut self, value: u64, loosened: u64, count: u64) {
        self.seen.entry(value).or_insert(ExtraSeen { loosened, count: 0 }).count += count;
        if self.seen.len() > EXTRAS_MAX {
            self.seen.pop_last();
            self.more = true;
        }
    }

    fn merge(&mut self, other: &Extras) {
        for (value, seen) in &other.seen {
            self.add(*value, seen.loosened, seen.count);
        }
        self.more |= other.more;
    }
}

/// For counting in memory only: it has no key, so it must never be written anywhere.
fn digest(value: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

fn loosened(value: &str) -> String {
    value.trim().to_lowercase()
}

/// `name = "value"` in TOML.
fn assignment(name: &str, value: &str) -> String {
    let bare = !name.is_empty()
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    let name = if bare { name.to_owned() } else { quoted(name) };
    format!("{name} = {}", quoted(value))
}

/// A basic string of TOML, on one line whatever it holds.
fn quoted(value: &str) -> String {
    let mut out = String::with_capacity(value.len() + 2);
    out.push('"');
    for c in value.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if c.is_control() => out.push_str(&format!("\\u{:04X}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
