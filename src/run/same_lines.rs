//! Lines of the bill that stand in it more than once: in several files, or in one.

use crate::decode::bill;
use crate::model::{Amount, BillLine, LineKind, UsageDay, UsageMonth, plural};
use hashbrown::{DefaultHashBuilder, HashTable};
use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, Hash};
use std::ops::RangeInclusive;
use std::sync::{Arc, LazyLock};

/// The file that was given: of the members of an archive, and of the parts of a long bill that were unpacked, all have one.
pub fn given_file(line: &BillLine) -> &str {
    given(&line.source_file)
}

/// The same, of the name of a file.
pub fn given(file: &str) -> &str {
    let file = file.split_once('!').map_or(file, |(archive, _)| archive);
    match bill::delivery(file).and_then(|named| named.part) {
        Some(_) => file.rsplit_once('_').map_or(file, |(bill, _)| bill),
        None => file,
    }
}

/// Facts by which lines are told apart where both forms of a bill have them. The first is the id.
const FACTS: usize = 28;

/// What a line says, but for where it stands.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Said<'l> {
    account: &'l str,
    billing_tag: &'l str,
    /// Compared in every form: a line that does not name them is not the same as one that does.
    usage: (Option<UsageDay>, Option<UsageDay>, Amount, Amount),
    facts: [Option<Fact<'l>>; FACTS],
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Fact<'l> {
    Text(&'l str),
    Amount(Amount),
    Number(i64),
    /// A line of the bill and its component: only API pages have ids.
    Id(&'l str, u32),
}

/// Usage before packages, and what these deducted, among the facts.
const MEASURES: Facts = 1 << 9 | 1 << 10;
/// The names of what is billed, among the facts.
const NAMES: std::ops::Range<usize> = 2..5;
const MINUTE_MS: i64 = 60_000;

static HASHER: LazyLock<DefaultHashBuilder> = LazyLock::new(DefaultHashBuilder::default);

/// The usage of a line that says what was deducted of it, and not what it was.
fn total_of(line: &BillLine) -> Option<Amount> {
    line.usage_billed?.checked_add(line.usage_deducted?)
}

fn month(month: UsageMonth) -> i64 {
    month.first_day().date32().into()
}

/// Facts that are compared, as bits.
type Facts = u32;
/// All but the id.
const BUT_ID: Facts = !1;

impl<'l> Said<'l> {
    fn of(line: &'l BillLine) -> Said<'l> {
        // `-` and 0 are the same payment, and nothing deducted.
        let payment = |paid: Option<Amount>| paid.filter(|p| !p.is_zero()).map(Fact::Amount);
        let currency = || line.foreign_currency().unwrap_or("CNY");
        let text = |text: &'l Option<Arc<str>>| text.as_deref().map(Fact::Text);
        let amount = |amount: Option<Amount>| amount.map(Fact::Amount);
        let apart = line.told_apart.map(|digest| digest.map(|d| Fact::Number(d.get().into())));
        let [order, transaction, project, region, from, to] = apart;
        Said {
            account: &line.account,
            billing_tag: &line.billing_tag_code,
            usage: (
                line.usage_from,
                line.usage_to,
                line.usage_billed.unwrap_or_default(),
                line.cost.unwrap_or_default(),
            ),
            facts: [
                line.line_id.as_deref().map(|id| Fact::Id(id, line.component_at)),
                line.resource_id.as_deref().map(Fact::Text),
                text(&line.product_name),
                text(&line.component_name),
                text(&line.item_name),
                bill::transaction_of(line).map(Fact::Text),
                text(&line.instance_type),
                // Spreadsheets leave the seconds out.
                line.pay_time.map(|time| Fact::Number(time.div_euclid(MINUTE_MS))),
                line.bill_day.map(|day| Fact::Number(day.date32().into())),
                amount(line.usage_total.or_else(|| total_of(line))),
                payment(line.usage_deducted),
                payment(line.list_price),
                payment(line.contract_price),
                order,
                transaction,
                project,
                region,
                from,
                to,
                text(&line.owner_uin),
                text(&line.operator_uin),
                line.bill_month.filter(|_| line.names_month).map(|m| Fact::Number(month(m))),
                line.currency.as_ref().map(|_| Fact::Text(currency())),
                line.usage_unit.as_ref().and_then(|_| amount(line.in_calls(Amount::of_count(1)))),
                payment(line.voucher),
                payment(line.incentive),
                payment(line.transfer),
                payment(line.cash),
            ],
        }
    }

    /// As another file of the same columns may say it: with brackets and letters of another width.
    fn alike(line: &'l BillLine) -> Said<'l> {
        let mut said = Said::of(line);
        for fact in &mut said.facts[NAMES] {
            if let Some(Fact::Text(name)) = fact {
                *fact = Some(Fact::Number(bill::same_name(name)));
            }
        }
        said
    }

    /// As another form of the bill may say it: the billing tag stands for the names that it was told by.
    fn elsewhere(line: &'l BillLine) -> Said<'l> {
        let mut said = Said::alike(line);
        if !matches!(&*line.billing_tag_code, "" | "unmapped") {
            said.facts[NAMES].fill(None);
        }
        said
    }

    /// The same in one run of the program.
    fn digest(&self) -> u64 {
        HASHER.hash_one(self)
    }

    fn facts(&self) -> Facts {
        self.facts.iter().rev().fold(0, |bits, fact| bits << 1 | Facts::from(fact.is_some()))
    }

    /// Whether no fact of the one contradicts the other: both say it, or one leaves it open.
    fn agrees_with(&self, other: &Said<'_>) -> bool {
        let agree = |(one, other): (&Option<Fact<'_>>, &Option<Fact<'_>>)| {
            one.is_none() || other.is_none() || one == other
        };
        self.facts.iter().zip(&other.facts).all(agree)
    }

    /// Of these facts alone.
    fn only(mut self, compared: Facts) -> Said<'l> {
        for (place, fact) in self.facts.iter_mut().enumerate() {
            *fact = fact.filter(|_| compared >> place & 1 == 1);
        }
        self
    }
}

/// Files that have the same columns: all that say the same of a line say it alike. API pages are one form.
struct Form {
    /// By place of the line.
    lines: Vec<usize>,
    /// What any line of them says.
    facts: Facts,
}

/// The forms of the bill's lines, those that say more first.
fn forms(lines: &[BillLine]) -> Vec<Form> {
    let mut forms: Vec<Form> = Vec::new();
    let mut by_columns: HashMap<(u64, bool), usize> = HashMap::new();
    for (place, line) in lines.iter().enumerate() {
        let key = (line.columns, line.line_id.is_some());
        let at = *by_columns.entry(key).or_insert(forms.len());
        if at == forms.len() {
            forms.push(Form { lines: Vec::new(), facts: 0 });
        }
        forms[at].lines.push(place);
        forms[at].facts |= Said::elsewhere(line).facts();
    }
    forms.sort_by_key(|form| std::cmp::Reverse(form.facts.count_ones()));
    forms
}

/// Whether a line with an id may stand twice.
fn repeats_an_id(lines: &[BillLine]) -> bool {
    let named = lines.iter().filter(|line| line.line_id.is_some());
    let mut ids: Vec<u64> =
        named.map(|line| HASHER.hash_one((&line.line_id, line.component_at))).collect();
    ids.sort_unstable();
    ids.windows(2).any(|two| two[0] == two[1])
}

/// Of one id and component there is one line, however often its page was given, and in whatever language: the first one, as the
/// place of each line, where all say the same usage and cost. How many lines say another one.
fn by_id(lines: &[BillLine]) -> (Vec<usize>, i64) {
    let says = |place: usize| {
        let line = &lines[place];
        let id = line.line_id.as_deref().map(|id| (&*line.account, id, line.component_at));
        (id, id.is_none().then_some(place))
    };
    let usage = |place: usize| Said::of(&lines[place]).usage;
    let mut firsts = Firsts::default();
    let mut other = 0;
    let of_first = |place: usize| {
        let first = firsts.of(place, &says);
        let is_same = usage(first) == usage(place);
        other += i64::from(!is_same);
        if is_same { first } else { place }
    };
    ((0..lines.len()).map(of_first).collect(), other)
}

/// Pairs of files that are named, of those that contradict each other.
const CONTRADICTIONS_NAMED: usize = 10;

/// Leaves out lines that another file has, too. Within one file lines that look alike are two, and so are lines
/// whose ids differ: of one id and component there is one line, however often its page was given. Of lines that say the
/// same as many stay as the file with the most of them has. Files of other columns, and API pages, are another form of the
/// bill: a fact that one form does not have at all tells none of its lines apart from those of the other.
pub fn leave_out(lines: &mut Vec<BillLine>) -> Repeated {
    let mut contradictions = Vec::new();
    let mut contradicted = 0;
    let before = lines.len();
    if repeats_an_id(lines) {
        let (firsts, other) = by_id(lines);
        if other > 0 {
            contradicted += other;
            contradictions.push(format!(
                "{} with the id of another one, and another usage or cost: both count; look which of them holds",
                plural(other.unsigned_abs(), "line")
            ));
        }
        let keep: Vec<bool> = firsts.iter().enumerate().map(|(at, first)| *first == at).collect();
        for_kept(lines, &keep);
    }
    let Files { of_lines: mut files, several, copies } = files_of(lines);
    if !several {
        let (left_out, alike) = (before - lines.len(), alike(lines, &files));
        return Repeated { left_out, alike, contradictions, contradicted };
    }
    for (one, other, count) in copies {
        contradicted += count;
        contradictions.push(format!(
            "{one} and {other} are numbered parts by their names, and say the same: counted once; give one of them, or under its own \
             name if it is another bill"
        ));
    }
    let pairs = contradicting(lines, &files);
    contradicted +=
        pairs.iter().map(|(.., count)| count).fold(0, |sum: i64, n| sum.saturating_add(*n));
    if pairs.len() > CONTRADICTIONS_NAMED {
        let more = plural((pairs.len() - CONTRADICTIONS_NAMED) as u64, "more pair");
        contradictions.push(format!("{more} of files that should say the same, and do not"));
    }
    for (one, other, count) in pairs.into_iter().take(CONTRADICTIONS_NAMED) {
        contradictions.push(format!(
            "{} and {} should say the same, and {} in one of them alone: give only the file that holds",
            given_file(&lines[one]),
            given_file(&lines[other]),
            match count {
                1 => "1 line is".to_owned(),
                _ => format!("{count} lines are"),
            }
        ));
    }
    let mut forms = forms(lines);
    for form in &mut forms {
        form.lines = most_of_any_file(lines, &files, &form.lines);
    }
    let mut kept: Vec<Form> = Vec::new();
    for mut form in forms {
        for before in &kept {
            let compared = form.facts & before.facts;
            (form.lines, _) = unmatched(lines, &form.lines, &before.lines, compared);
        }
        kept.push(form);
    }
    let mut keep = vec![false; lines.len()];
    kept.iter().flat_map(|form| &form.lines).for_each(|place| keep[*place] = true);
    for_kept(lines, &keep);
    for_kept(&mut files, &keep);
    let (left_out, alike) = (before - lines.len(), alike(lines, &files));
    Repeated { left_out, alike, contradictions, contradicted }
}

/// What stands in the bill more than once.
#[derive(Default)]
pub struct Repeated {
    /// Lines that another file has, too.
    pub left_out: usize,
    /// Tells of lines that say the same as one before them in their file: they count, and may be charged twice.
    pub alike: Option<String>,
    /// Tells of files of which each lacks lines that the other has, and how many these are.
    pub contradictions: Vec<String>,
    pub contradicted: i64,
}

fn for_kept<T>(all: &mut Vec<T>, keep: &[bool]) {
    let mut keep = keep.iter();
    all.retain(|_| *keep.next().unwrap_or(&true));
}

/// The file of each line, by a number, and whether there are several. The parts of a long bill are one file.
struct Files {
    of_lines: Vec<usize>,
    several: bool,
    /// Parts that say the same as one before them, its name, theirs, and how many lines they have.
    copies: Vec<(String, String, i64)>,
}

fn files_of(lines: &[BillLine]) -> Files {
    // Lines of a file mostly follow each other, and share its name.
    let mut files: Vec<usize> = Vec::with_capacity(lines.len());
    let mut known: HashMap<&str, usize> = HashMap::new();
    for (place, line) in lines.iter().enumerate() {
        let before = place.checked_sub(1).map(|before| &lines[before]);
        let same = before.filter(|before| Arc::ptr_eq(&before.source_file, &line.source_file));
        files.push(match same {
            Some(_) => files[place - 1],
            None => {
                let next = known.len();
                *known.entry(given_file(line)).or_insert(next)
            }
        });
    }
    // What the names of parts have in common, where they are no deliveries: of those that say the same, one.
    let names: BTreeMap<&str, usize> = known.into_iter().collect();
    let mut parts: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (name, file) in &names {
        parts.entry(bill::part_of(name)).or_default().push(*file);
    }
    parts.retain(|_, files| files.len() > 1);
    if parts.is_empty() {
        return Files { of_lines: files, several: names.len() > 1, copies: Vec::new() };
    }
    let mut said: HashMap<usize, Vec<u64>> = HashMap::new();
    for (line, file) in lines.iter().zip(&files) {
        said.entry(*file).or_default().push(Said::alike(line).digest());
    }
    said.values_mut().for_each(|said| said.sort_unstable());
    let name_of = |file: usize| {
        let name = names.iter().find(|(_, of)| **of == file).map(|(name, _)| *name);
        name.unwrap_or_default().to_owned()
    };
    let mut one: HashMap<usize, usize> = HashMap::new();
    let mut copies = Vec::new();
    for parts in parts.values() {
        let mut different: Vec<usize> = Vec::new();
        for part in parts {
            match different.iter().find(|other| said[other] == said[part]) {
                Some(other) => {
                    copies.push((name_of(*other), name_of(*part), said[part].len() as i64));
                }
                None => different.push(*part),
            }
        }
        if different.len() > 1 {
            one.extend(different.iter().map(|file| (*file, different[0])));
        }
    }
    files.iter_mut().for_each(|file| *file = *one.get(file).unwrap_or(file));
    let several = files.iter().any(|file| *file != files[0]);
    Files { of_lines: files, several, copies }
}

/// Of lines of one form that say the same, as many as the file with the most of them has.
fn most_of_any_file(lines: &[BillLine], files: &[usize], places: &[usize]) -> Vec<usize> {
    let mut firsts = Firsts::default();
    let says = |place: usize| Said::alike(&lines[place]);
    let mut in_file: HashMap<(usize, usize), usize> = HashMap::new();
    let mut most: HashMap<usize, usize> = HashMap::new();
    let more = |place: &usize| {
        let first = firsts.of(*place, &says);
        let here = in_file.entry((first, files[*place])).or_default();
        *here += 1;
        let most = most.entry(first).or_default();
        let more = here > most;
        *most = (*most).max(*here);
        more
    };
    places.iter().copied().filter(more).collect()
}

/// Which of these lines have none among those, and the other way round, by these facts: what a line of the one leaves open
/// (`-`) one of the other may say.
fn unmatched(
    lines: &[BillLine],
    here: &[usize],
    there: &[usize],
    compared: Facts,
) -> (Vec<usize>, Vec<usize>) {
    let mut firsts = Firsts::default();
    let said = |place: usize| Said::elsewhere(&lines[place]).only(compared);
    let mut of_there: HashMap<usize, Vec<usize>> = HashMap::new();
    for place in there {
        of_there.entry(firsts.of(*place, &said)).or_default().push(*place);
    }
    let has_none =
        |place: &usize| of_there.get_mut(&firsts.of(*place, &said)).and_then(Vec::pop).is_none();
    let more: Vec<usize> = here.iter().copied().filter(has_none).collect();
    let left: Vec<usize> = of_there.into_values().flatten().collect();
    if more.is_empty() || left.is_empty() {
        return (more, left);
    }
    let usage = |said: &Said<'_>| HASHER.hash_one((said.account, said.billing_tag, said.usage));
    let mut open: HashMap<u64, Vec<usize>> = HashMap::new();
    for place in left {
        open.entry(usage(&said(place))).or_default().push(place);
    }
    let mut agrees_with_none = |place: &usize| {
        let said_here = said(*place);
        let Some(places) = open.get_mut(&usage(&said_here)) else { return true };
        let at = places.iter().position(|there| said_here.agrees_with(&said(*there)));
        at.map(|at| places.swap_remove(at)).is_none()
    };
    let more = more.into_iter().filter(|place| agrees_with_none(place)).collect();
    (more, open.into_values().flatten().collect())
}

/// Lines that only the one and only the other of two files has that should say the same, as far as both say it.
pub fn differing<'l>(
    one: impl Iterator<Item = &'l BillLine> + Clone,
    other: impl Iterator<Item = &'l BillLine> + Clone,
) -> (i64, i64) {
    let facts = |lines: &mut dyn Iterator<Item = &BillLine>| {
        lines.fold(0, |facts, line| facts | Said::elsewhere(line).facts())
    };
    let compared = facts(&mut one.clone()) & facts(&mut other.clone());
    let digests = |lines: &mut dyn Iterator<Item = &'l BillLine>| -> Vec<u64> {
        lines.map(|line| Said::elsewhere(line).only(compared).digest()).collect()
    };
    only_in(digests(&mut one.clone()), digests(&mut other.clone()))
}

/// How many are in the one alone, and in the other.
fn only_in(mut one: Vec<u64>, mut other: Vec<u64>) -> (i64, i64) {
    one.sort_unstable();
    other.sort_unstable();
    let (mut here, mut there, mut both) = (0, 0, 0);
    while here < one.len() && there < other.len() {
        match one[here].cmp(&other[there]) {
            std::cmp::Ordering::Less => here += 1,
            std::cmp::Ordering::Greater => there += 1,
            std::cmp::Ordering::Equal => (here, there, both) = (here + 1, there + 1, both + 1),
        }
    }
    (one.len() as i64 - both, other.len() as i64 - both)
}

/// A file of the bill, as others are compared with it.
struct OfFile {
    places: Vec<usize>,
    days: (UsageDay, UsageDay),
    facts: Facts,
    /// By the facts that are compared: the day of each line, and a digest of what it says.
    digests: HashMap<Facts, Vec<(UsageDay, u64)>>,
}

impl OfFile {
    fn new(lines: &[BillLine], places: Vec<usize>) -> Option<OfFile> {
        let days = || places.iter().filter_map(|place| lines[*place].usage_day());
        let days = (days().min()?, days().max()?);
        let facts = { places.iter() }
            .fold(0, |facts, place| facts | Said::elsewhere(&lines[*place]).facts());
        Some(OfFile { places, days, facts, digests: HashMap::new() })
    }

    /// Digests of its lines of these days, as far as these facts say it.
    fn digests(
        &mut self,
        lines: &[BillLine],
        compared: Facts,
        days: &RangeInclusive<UsageDay>,
    ) -> Vec<u64> {
        let of_line = |place: &usize| {
            let line = &lines[*place];
            Some((line.usage_day()?, Said::elsewhere(line).only(compared).digest()))
        };
        let places = &self.places;
        let all = self.digests.entry(compared);
        let all = all.or_insert_with(|| places.iter().filter_map(of_line).collect());
        all.iter().filter(|(day, _)| days.contains(day)).map(|(_, digest)| *digest).collect()
    }
}

/// Lines of a bill that by chance are of the same usage as those of another: fewer may be.
const LINES_ALIKE_MIN: i64 = 3;

/// Files of the bill that cannot both be right: two downloads of one file that differ; files of which one holds lines that the
/// other has, too, and each others of the days of both that the other lacks; files of which no line says the same (each names
/// another project, say) and all are of the same usage. A line of each, and how many lines differ. API pages are one file.
fn contradicting(lines: &[BillLine], files: &[usize]) -> Vec<(usize, usize, i64)> {
    let mut of_file: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (place, line) in lines.iter().enumerate() {
        // One of nothing is like any other.
        let says = line.says_usage() || line.cost.is_some_and(|cost| !cost.is_zero());
        if line.is_of_usage() && line.usage_day().is_some() && says {
            let file = if line.columns == 0 { PAGES } else { files[place] };
            of_file.entry(file).or_default().push(place);
        }
    }
    let mut files: Vec<OfFile> =
        of_file.into_values().filter_map(|places| OfFile::new(lines, places)).collect();
    let download = |file: &OfFile| {
        let first = &lines[file.places[0]];
        (first.columns != 0).then(|| bill::download_of(given_file(first)))
    };
    // How many lines of these days the one has, and how many only the one and only the other has, by these facts.
    let differ =
        |one: &mut OfFile, other: &mut OfFile, compared, days: &RangeInclusive<UsageDay>| {
            let here = one.digests(lines, compared, days);
            let there = other.digests(lines, compared, days);
            (here.len() as i64, only_in(here, there))
        };
    let copy_of = |file: &OfFile| bill::copy_of(given_file(&lines[file.places[0]]));
    let mut told = Vec::new();
    for at in 0..files.len() {
        let (before, behind) = files.split_at_mut(at + 1);
        let one = &mut before[at];
        for other in behind {
            let both = one.days.0.max(other.days.0)..=one.days.1.min(other.days.1);
            // Of another time it is another file, which a browser gave a number.
            if both.is_empty() {
                continue;
            }
            let name = download(one);
            let is_download = name.is_some() && name == download(other);
            let days = match is_download {
                true => one.days.0.min(other.days.0)..=one.days.1.max(other.days.1),
                false => both,
            };
            let compared = one.facts & other.facts;
            let (here, (mut more, mut less)) = differ(one, other, compared, &days);
            if more > 0 && less > 0 {
                let within = |file: &OfFile| -> Vec<usize> {
                    let day = |place: &&usize| lines[**place].usage_day();
                    let of_days = |place: &&usize| day(place).is_some_and(|d| days.contains(&d));
                    file.places.iter().filter(of_days).copied().collect()
                };
                let (here, there) = unmatched(lines, &within(one), &within(other), compared);
                (more, less) = (here.len() as i64, there.len() as i64);
            }
            let is_in_part = more > 0 && less > 0 && more < here;
            // Not one line says the same, and all of them are of the same usage.
            let is_told_apart = more == here
                && more >= LINES_ALIKE_MIN
                && differ(one, other, compared & MEASURES, &days).1 == (0, 0);
            // A later download of a month that runs has more.
            let lacks = match is_download {
                true if copy_of(one) <= copy_of(other) => more,
                true => less,
                false => 0,
            };
            if is_in_part || is_told_apart || lacks > 0 {
                told.push((one.places[0], other.places[0], more + less));
            }
        }
    }
    told
}

/// A number that no file has.
const PAGES: usize = usize::MAX;

/// Tells of lines that say the same as one before them in their file.
fn alike(lines: &[BillLine], files: &[usize]) -> Option<String> {
    let mut firsts = Firsts::default();
    let says = |place: usize| (files[place], Said::of(&lines[place]).only(BUT_ID));
    let mut count = 0;
    let mut example = None;
    for (place, line) in lines.iter().enumerate() {
        if line.usage_day().is_none()
            || line.kind != Some(LineKind::Usage)
            || line.calls().is_none_or(|calls| calls == 0)
        {
            continue;
        }
        let first = firsts.of(place, &says);
        if first != place {
            count += 1;
            example.get_or_insert((first, place));
        }
    }
    let (first, second) = example?;
    let (first, second) = (&lines[first], &lines[second]);
    let places = match first.source_file == second.source_file {
        true => {
            format!("{}: rows {} and {}", first.source_file, first.source_row, second.source_row)
        }
        false => format!(
            "{} row {} and {} row {}",
            first.source_file, first.source_row, second.source_file, second.source_row
        ),
    };
    Some(format!(
        "{count} of the lines of usage say the same as another of their file, and count: look whether they are charged twice ({places}{})",
        if count > 1 { ", …" } else { "" }
    ))
}

/// The first of the lines that are alike, by their places: what they say stands in the lines alone.
#[derive(Default)]
struct Firsts {
    places: HashTable<usize>,
    hasher: DefaultHashBuilder,
}

impl Firsts {
    /// The first one that says what the one at `place` does: itself where there is none before it.
    fn of<K: Hash + Eq>(&mut self, place: usize, says: &impl Fn(usize) -> K) -> usize {
        let said = says(place);
        let hash = self.hasher.hash_one(&said);
        if let Some(first) = self.places.find(hash, |first| says(*first) == said) {
            return *first;
        }
        self.places.insert_unique(hash, place, |place| self.hasher.hash_one(says(*place)));
        place
    }
}
