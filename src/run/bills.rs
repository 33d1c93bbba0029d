//! The bill as it was given: files found, those that count read, lines tagged, repeated ones left out.

use super::{RunError, same_lines};
use crate::classify::{
    BillNames, BillTags, Catalogue, TagId, billing_tag_of_bill, settlement_date,
};
use crate::decode::bill::{self, BillContent, Collected, PagesHeld, Standing, Wording};
use crate::model::{
    Amount, BillLine, BillRead, BillReject, LineKind, OtherProduct, ProviderAttempt, Settlement,
    UsageDay, UsageMonth, plural,
};
use crate::pipeline::Pipeline;
use crate::reconcile::Statistics;
use crate::storage::{Place, StorageError};
use rayon::prelude::*;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

/// What the bills say.
#[derive(Default)]
pub struct Bills {
    pub lines: Vec<BillLine>,
    pub attempts: Vec<ProviderAttempt>,
    pub read: BillRead,
    /// Lines of usage whose three measures contradict each other.
    pub uneven: i64,
    /// Bill lines that API pages speak of and that none of those given holds.
    pub pages_missing: i64,
    /// Lines that only one of two files has that should say the same.
    pub files_differ: i64,
    /// Pages of the provider's list, and numbered files of a bill, that were not given.
    pub parts_missing: i64,
    /// What the names of the files that count say of their months; the last word of several.
    pub statistics: Option<Statistics>,
}

/// Rejects that a report holds; `rejects_total` counts all.
const REJECTS_MAX: usize = 1_000;

/// A file to be read.
struct File {
    /// As it is told: what was typed, or the folder that was typed and the key in it.
    name: String,
    place: Place,
    key: String,
}

/// Reads bills. `urls` are files, or folders that end with `/`; `as_of_ms` is milliseconds since the epoch; `month` the only one
/// that is asked for. A file that
/// cannot be reconciled as a whole is an error (exit 2); a line that cannot be read is a reject.
pub fn read(
    pipeline: &Pipeline,
    urls: &[String],
    as_of_ms: i64,
    month: Option<UsageMonth>,
) -> Result<Bills, RunError> {
    let mut folders = Folders::default();
    let mut files = Vec::new();
    for url in urls {
        files.extend(find(pipeline, url, &mut folders)?);
    }
    let mut seen = BTreeSet::new();
    files.retain(|file| seen.insert(file.name.clone()));
    let names: Vec<&str> = files.iter().map(|file| file.name.as_str()).collect();
    let standings = bill::standings(&names, UsageDay::of_instant(as_of_ms));
    let wording = wording(pipeline);
    let mut each: Vec<(BillContent, Collected)> = files
        .par_iter()
        .zip(&standings)
        .map(|(file, standing)| {
            match standing {
                Standing::ReplacedBy(later) => return Ok(unread(&file.name, Some(later.clone()))),
                Standing::NotYet => return Ok(unread(&file.name, None)),
                Standing::Counts | Standing::SameAs { .. } => {}
            }
            let bytes =
                file.place.read_all(&file.key).map_err(|error| of_bill(&file.name, error))?;
            match (bill::read(&file.name, &bytes, &wording), standing) {
                (Ok(read), _) => Ok(read),
                // A download that broke off, and was made again.
                (Err(refused), Standing::SameAs { .. }) => {
                    let (mut content, collected) = unread(&file.name, None);
                    content.notes.push(format!("passed over: {refused}"));
                    Ok((content, collected))
                }
                (Err(refused), _) => Err(RunError::Usage(refused.to_string())),
            }
        })
        .collect::<Result<_, RunError>>()?;

    let mut bills = Bills::default();
    for (at, standing) in standings.iter().enumerate() {
        let Standing::SameAs { counting, is_part } = standing else { continue };
        let replaced_by = names[counting[0]].to_owned();
        let is_read = !each[at].0.file.kind.is_empty();
        if is_read {
            let lines = counting.iter().flat_map(|other| &each[*other].1.lines);
            let (here, there) = same_lines::differing(each[at].1.lines.iter(), lines);
            let contents: Vec<&BillContent> = counting.iter().map(|at| &each[*at].0).collect();
            let more = only_there(&each[at].0, &contents);
            let differ = more + if *is_part { here } else { here + there };
            if differ > 0 {
                bills.files_differ += differ;
                bills.read.warnings.push(format!(
                    "{} and {replaced_by} are of one delivery, and {} in one of them alone; {replaced_by} counts: give only the \
                     file that holds",
                    names[at],
                    plural(differ.unsigned_abs(), "line")
                ));
            }
        }
        let notes = std::mem::take(&mut each[at].0.notes);
        each[at] = unread(names[at], Some(replaced_by));
        each[at].0.notes = if is_read { Vec::new() } else { notes };
    }
    folders.tell(&mut bills.read);
    let is_asked = |day: UsageDay| {
        let is_out = day.plus(1).begin_ms() <= as_of_ms;
        is_out && month.is_none_or(|month| day.month() == month)
    };
    let cut = cut_lists(each.iter().map(|(content, _)| content), is_asked);
    let that_count = files.iter().zip(&standings).filter(|(_, s)| **s == Standing::Counts);
    let counting = standings.iter().zip(&each).filter(|(s, _)| **s == Standing::Counts);
    let members = counting.flat_map(|(_, (content, _))| content.members.iter().map(String::as_str));
    let gaps = missing_parts(that_count.map(|(file, _)| &*file.name).chain(members));
    bills.parts_missing = cut.iter().chain(&gaps).map(|(_, n)| n).sum();
    bills.read.warnings.extend(gaps.into_iter().map(|(told, _)| told));
    let lines: usize = each.iter().map(|(_, collected)| collected.lines.len()).sum();
    let mut pages = FilePages::new();
    let mut others: Vec<Others> = Vec::new();
    for ((content, collected), standing) in each.into_iter().zip(&standings) {
        if matches!(standing, Standing::NotYet) {
            let name = &content.file.name;
            let told = format!("{name}: not out yet at that time, left out");
            bills.read.warnings.push(told);
        }
        bills.read.warnings.extend(content.notes);
        others.push(Others {
            file: content.file.name.clone(),
            is_page: !content.pages.is_empty(),
            products: content.other_products,
        });
        bills.uneven += content.uneven;
        bills.parts_missing += content.list_miscounted;
        if matches!(standing, Standing::Counts) {
            bills.read.warnings.extend(month_so_far(&content.file.name, &collected.lines));
            let said = match bill::period_of(&content.file.name) {
                bill::Period::Used => Some(Statistics::ByUsage),
                bill::Period::Paid => Some(Statistics::ByPay),
                bill::Period::Unknown => None,
            };
            bills.statistics = said.or(bills.statistics);
        }
        pages.extend(content.pages.into_iter().map(|held| (content.file.name.clone(), held)));
        if content.file.kind == bill::LIST_KIND && content.file.rejects > 0 {
            bills.read.warnings.push(format!(
                "{}: {} of the provider's list could not be read: Seqs that only ours has may stand there",
                content.file.name,
                plural(content.file.rejects.unsigned_abs(), "part")
            ));
        }
        bills.read.files.push(content.file);
        match bills.lines.is_empty() {
            // Mostly it is one file: nothing of it is copied.
            true => bills.lines = collected.lines,
            false => {
                bills.lines.reserve_exact(lines - bills.lines.len());
                bills.lines.extend(collected.lines);
            }
        }
        bills.attempts.extend(collected.attempts);
        bills.read.rejects_total += collected.rejects.len() as i64;
        keep_rejects(&mut bills.read.rejects, collected.rejects);
    }
    bills.read.warnings.extend(cut.into_iter().map(|(told, _)| told));
    let (told, missing) = missing_pages(pages);
    bills.read.warnings.extend(told);
    bills.pages_missing = missing;
    let map = bill_tags(pipeline)?;
    tag(&map, &mut bills.lines);
    set_units(pipeline, &mut bills.lines);
    let had_lines = files_with_lines(&bills.lines);
    let repeated = same_lines::leave_out(&mut bills.lines);
    let have_lines = files_with_lines(&bills.lines);
    let mut products = other_products(others, &had_lines, &have_lines);
    for product in &mut products {
        product.like_ours |= product.names.iter().any(|name| is_tagged(name));
    }
    bills.read.lines_other_products = products.iter().map(|product| product.lines).sum();
    bills.read.warnings.extend(like_ours(&products));
    bills.read.other_products = products;
    if repeated.left_out > 0 {
        bills.read.warnings.push(format!(
            "{} in more than one of the files or pages, counted once",
            counted(repeated.left_out as i64)
        ));
    }
    bills.read.warnings.extend(repeated.alike);
    bills.files_differ += repeated.contradicted;
    bills.read.warnings.extend(repeated.contradictions);
    doubt_purchases(&mut bills.lines, &wording);
    bills.read.warnings.extend(unknown_kinds(&bills.lines, &wording));
    bills.read.warnings.extend(untagged(&bills.lines));
    bills.read.warnings.extend(unknown_units(&bills.lines));
    set_months(pipeline, &mut bills.lines);
    refuse_other_payers(pipeline, &bills.lines)?;
    refuse_merged_days(pipeline, &bills.lines)?;
    bills.read.lines = bills.lines.len() as i64;
    Ok(bills)
}

fn keep_rejects(kept: &mut Vec<BillReject>, more: Vec<BillReject>) {
    let room = REJECTS_MAX.saturating_sub(kept.len());
    kept.extend(more.into_iter().take(room));
}

/// How the names of files in a folder of bills end.
const BILL_ENDS: [&str; 5] = [".zip", ".csv", ".json", ".ndjson", ".jsonl"];

/// The files that a path or URL means. It is opened with the options of the source or the output where it lies in the
/// same store.
fn find(pipeline: &Pipeline, url: &str, folders: &mut Folders) -> Result<Vec<File>, RunError> {
    let options = options_for(pipeline, url);
    can_be_asked(url, &options)?;
    let failed = |error| of_bill(url, error);
    let is_folder = url.ends_with('/') || std::path::Path::new(url).is_dir();
    if is_folder {
        let place = Place::open_source(url, &options).map_err(failed)?;
        let is_bill = |key: &str| {
            let key = key.to_ascii_lowercase();
            BILL_ENDS.iter().any(|end| key.ends_with(end))
        };
        let (bills, others): (Vec<_>, Vec<_>) =
            place.list(None).map_err(failed)?.into_iter().partition(|object| is_bill(&object.key));
        let name = |key: &str| format!("{}/{key}", url.trim_end_matches('/'));
        for key in others.into_iter().map(|object| object.key) {
            let lower = key.to_ascii_lowercase();
            // A text beside bills need not be one.
            let is_text = lower.ends_with(".txt")
                || !key.rsplit('/').next().is_some_and(|file| file.contains('.'));
            let head = || place.read_range(&key, 0..TEXT_HEAD_BYTES);
            match () {
                _ if bill::is_litter(&lower) => {}
                _ if bill::is_no_bill(&lower) => folders.others.push(key),
                _ if is_text && head().is_ok_and(|head| !bill::looks_like_a_bill(&head)) => {
                    folders.others.push(key);
                }
                _ => folders.unread.push(name(&key)),
            }
        }
        folders.dangling.extend(dangling_links(std::path::Path::new(url)));
        let files: Vec<File> = bills
            .into_iter()
            .map(|object| File { name: name(&object.key), place: place.clone(), key: object.key })
            .collect();
        return match files.is_empty() {
            true => Err(RunError::Usage(format!(
                "--bill {url}: no file in this folder ends with {}",
                BILL_ENDS.join(", ")
            ))),
            false => Ok(files),
        };
    }
    let (folder, key) = match url.rsplit_once('/') {
        Some(("", key)) => ("/", key),
        Some((folder, key)) => (folder, key),
        None => (".", url),
    };
    let place = Place::open(folder, &options).map_err(failed)?;
    Ok(vec![File { name: url.to_owned(), place, key: key.to_owned() }])
}

/// What is looked at of a text to tell whether it is a bill.
const TEXT_HEAD_BYTES: u64 = 64 << 10;

/// What folders hold besides the files that are read.
#[derive(Default)]
struct Folders {
    /// Keys of what is no bill in any form.
    others: Vec<String>,
    /// Files that may be bills, and links that lead nowhere, by their names.
    unread: Vec<String>,
    dangling: Vec<String>,
}

impl Folders {
    /// What may be a bill is a reject: a difference may stand there.
    fn tell(self, read: &mut BillRead) {
        if !self.others.is_empty() {
            read.warnings.push(format!(
                "{} in the folders given, not read ({}): bills are read from {}",
                plural(self.others.len() as u64, "other file"),
                self.others.iter().take(3).cloned().collect::<Vec<_>>().join(", "),
                BILL_ENDS.join(", ")
            ));
        }
        let unread = "is in the folder given and was not read: bills are read from .zip, .csv and .json; unpack it, save it as \
                      CSV, or take it out of the folder";
        let dangling = "is a link that leads nowhere: what it named was not read; mend it, or take it out of the folder";
        let rejects = |names: Vec<String>, message: &'static str| {
            names.into_iter().map(move |file| BillReject {
                file,
                row: 0,
                column: String::new(),
                reason: "file_unread",
                message: message.to_owned(),
            })
        };
        let rejects: Vec<BillReject> =
            rejects(self.unread, unread).chain(rejects(self.dangling, dangling)).collect();
        read.rejects_total += rejects.len() as i64;
        keep_rejects(&mut read.rejects, rejects);
    }
}

/// Links in a local folder that lead nowhere: a listing passes over them.
fn dangling_links(folder: &std::path::Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let leads_nowhere = |path: &std::path::PathBuf| path.is_symlink() && !path.exists();
    let paths = entries.flatten().map(|entry| entry.path());
    paths.filter(leads_nowhere).map(|path| path.display().to_string()).collect()
}

/// What a file has, and those that count in its place have not: lines that could not be read, of other products.
fn only_there(content: &BillContent, counting: &[&BillContent]) -> i64 {
    let rejects: i64 = counting.iter().map(|other| other.file.rejects).sum();
    let more = |(name, product): (&String, &OtherProduct)| {
        let lines = counting.iter().filter_map(|other| other.other_products.get(name));
        (product.lines - lines.map(|product| product.lines).sum::<i64>()).max(0)
    };
    let others: i64 = content.other_products.iter().map(more).sum();
    (content.file.rejects - rejects).max(0) + others
}

/// 1 line, 2 lines.
fn counted(n: i64) -> String {
    plural(n.unsigned_abs(), "line")
}

/// Lines of other products in a file.
struct Others {
    file: String,
    is_page: bool,
    products: BTreeMap<String, OtherProduct>,
}

/// The files that hold lines, by the names under which they were given, and whether each is an API page.
fn files_with_lines(lines: &[BillLine]) -> BTreeMap<String, bool> {
    // Lines of a file mostly follow each other.
    let chunks = lines.chunk_by(|a, b| Arc::ptr_eq(&a.source_file, &b.source_file));
    let of_file = |of: &[BillLine]| (same_lines::given_file(&of[0]).to_owned(), of[0].columns == 0);
    chunks.map(of_file).collect()
}

/// Lines of other products, the most expensive first, each once: a file of which other files have all lines of ours is a copy
/// of them, and so is an API page without any beside pages that are copies. `had` are the files with lines, `have` those whose
/// lines count.
fn other_products(
    others: Vec<Others>,
    had: &BTreeMap<String, bool>,
    have: &BTreeMap<String, bool>,
) -> Vec<OtherProduct> {
    let any_page = |files: &BTreeMap<String, bool>| files.values().any(|is_page| *is_page);
    let pages_are_copies = any_page(had) && !any_page(have);
    let is_copy = |of: &Others| {
        let file = same_lines::given(&of.file);
        match had.contains_key(file) {
            true => !have.contains_key(file),
            false => of.is_page && pages_are_copies,
        }
    };
    let mut products: BTreeMap<String, OtherProduct> = BTreeMap::new();
    for (name, product) in others.into_iter().filter(|of| !is_copy(of)).flat_map(|of| of.products) {
        let known = products.entry(name).or_default();
        known.add(&product);
        known.name = product.name;
        known.names.extend(product.names);
    }
    let mut products: Vec<OtherProduct> = products.into_values().collect();
    products.sort_by(|a, b| (b.cost_gross, &a.name).cmp(&(a.cost_gross, &b.name)));
    products
}

/// Tells of products set aside that may be ours.
fn like_ours(products: &[OtherProduct]) -> Vec<String> {
    let like = products.iter().filter(|product| product.like_ours);
    let told = like.map(|product| {
        format!(
            "{} of the product (产品名称) {}, set aside as another product (优惠后总价: {}); if it is FaceID, add it in the pipeline \
             file: reconcile.products = [{}]",
            counted(product.lines),
            product.name,
            product.cost,
            serde_json::Value::from(product.name.as_str())
        )
    });
    told.collect()
}

/// Schemes of URLs that [`Place`] opens.
const SCHEMES: [&str; 12] =
    ["file", "s3", "s3a", "gs", "az", "azure", "abfs", "abfss", "adl", "https", "http", "memory"];

/// Whether it is a path or a URL that can be asked at all.
fn can_be_asked(url: &str, options: &BTreeMap<String, String>) -> Result<(), RunError> {
    let Some((scheme, rest)) = url.split_once("://") else { return Ok(()) };
    let mistake = |what: String| Err(RunError::Usage(format!("--bill {what}")));
    // No message shows a password or a signature.
    let (address, query) = rest.split_once('?').map_or((rest, None), |(a, q)| (a, Some(q)));
    let address = address.rsplit_once('@').map_or(address, |(_, host)| host);
    let shown = format!("{scheme}://{address}");
    if query.is_some() {
        return mistake(format!(
            "{shown}: a link with ? (a signed one) is not read: download the file and give its path"
        ));
    }
    match scheme.to_ascii_lowercase().as_str() {
        "http" if options.get("allow_http").is_none_or(|allowed| allowed != "true") => {
            mistake(format!("{shown}: plain http is not read: use https://, or give a local file"))
        }
        known if SCHEMES.contains(&known) => Ok(()),
        _ => mistake(format!(
            "{shown}: there is no reading from {scheme}://; give a local file or folder, or a URL of s3://, gs://, az:// or https://"
        )),
    }
}

/// A file of which no line counts.
fn unread(name: &str, replaced_by: Option<String>) -> (BillContent, Collected) {
    let mut content = BillContent::default();
    content.file.name = name.to_owned();
    content.file.replaced_by = replaced_by;
    (content, Collected::default())
}

/// What went wrong with a bill is for who named it to put right (exit 2), unless it passes by itself.
fn of_bill(name: &str, error: StorageError) -> RunError {
    if error.is_not_found() {
        return RunError::Usage(format!(
            "--bill {name}: there is no such file or folder; check the path"
        ));
    }
    match error.is_transient() || error.is_stopped() || error.is_changed() {
        true => error.into(),
        false => RunError::Usage(format!("--bill {name}: {error}")),
    }
}

fn options_for(pipeline: &Pipeline, url: &str) -> BTreeMap<String, String> {
    let store = |url: &str| {
        let (scheme, rest) = url.split_once("://")?;
        Some((scheme.to_owned(), rest.split('/').next()?.to_owned()))
    };
    let Some(wanted) = store(url) else { return BTreeMap::new() };
    let places = [
        (&pipeline.source.url, &pipeline.source.options),
        (&pipeline.output.url, &pipeline.output.options),
    ];
    let same = places.into_iter().find(|(place, _)| store(place).as_ref() == Some(&wanted));
    same.map(|(_, options)| options.clone()).unwrap_or_default()
}

/// Pages, each with the name of its file.
type FilePages = Vec<(String, PagesHeld)>;

/// Pages that are asked for together: those of a month, and those that name none.
#[derive(Default)]
struct Query {
    /// What pages say of how many lines there are: several where several were asked for, or where it grew meanwhile.
    totals: BTreeMap<i64, HashSet<u64>>,
    /// Lines of pages that do not say it.
    silent: HashSet<u64>,
    files: BTreeSet<String>,
    most: usize,
    fewest: usize,
}

impl Query {
    fn add(&mut self, file: String, held: PagesHeld) {
        self.fewest =
            if self.files.is_empty() { held.fewest } else { self.fewest.min(held.fewest) };
        self.most = self.most.max(held.most);
        self.files.insert(file);
        match held.total {
            Some(total) => self.totals.entry(total).or_default().extend(held.ids),
            None => self.silent.extend(held.ids),
        }
    }

    /// Bill lines that are missing, with the Total that says so.
    fn missing(&self) -> Option<(i64, i64)> {
        let all: HashSet<u64> =
            self.totals.values().flatten().chain(&self.silent).copied().collect();
        let (largest, _) = self.totals.last_key_value()?;
        // It is kept for a day: of a month that runs it may have grown from page to page.
        if all.len() as i64 == *largest {
            return None;
        }
        let asked = match self.silent.is_empty() {
            true => {
                let missing =
                    |(total, held): (&i64, &HashSet<u64>)| (total - held.len() as i64).max(0);
                let sum = self.totals.iter().map(missing).fold(0, i64::saturating_add);
                let first = self.totals.iter().find(|(total, held)| **total > held.len() as i64);
                return first.map(|(total, _)| (sum, *total));
            }
            // Those that do not say it may be of any of them.
            false => self.totals.keys().copied().fold(0, i64::saturating_add),
        };
        let missing = asked.saturating_sub(all.len() as i64);
        (missing > 0).then_some((missing, asked))
    }

    fn held(&self) -> usize {
        let all: HashSet<&u64> = self.totals.values().flatten().chain(&self.silent).collect();
        all.len()
    }

    /// Where no page says how many lines there are, the last one tells it by being shorter.
    fn has_no_end(&self) -> bool {
        self.totals.is_empty()
            && self.most == self.fewest
            && self.most > 0
            && self.most.is_multiple_of(PAGE_LINES)
    }
}

/// Pages of the API hold up to 300 lines, and are mostly asked for with a hundred. Source: DescribeBillDetail, Limit.
const PAGE_LINES: usize = 100;

/// Pages that say there are more bill lines than all of them hold.
fn missing_pages(pages: FilePages) -> (Vec<String>, i64) {
    let mut queries: BTreeMap<Option<UsageMonth>, Query> = BTreeMap::new();
    let mut of_no_month: FilePages = Vec::new();
    for (file, held) in pages {
        match held.month {
            Some(_) => queries.entry(held.month).or_default().add(file, held),
            None => of_no_month.push((file, held)),
        }
    }
    // One without a line of ours names no month: it is of one whose pages say the same Total, else (where it says none) of one in
    // the same file, else of the only one.
    for (file, held) in of_no_month {
        let same_total = |(_, query): &(&Option<UsageMonth>, &Query)| {
            held.total.is_some_and(|total| query.totals.contains_key(&total))
        };
        let same_file = |(_, query): &(&Option<UsageMonth>, &Query)| {
            held.total.is_none() && query.files.contains(&file)
        };
        // Where Total has grown meanwhile, too.
        let only = || queries.keys().next().filter(|_| queries.len() == 1);
        let month = { queries.iter().find(same_total).or_else(|| queries.iter().find(same_file)) }
            .map(|(month, _)| *month)
            .or_else(|| only().copied())
            .unwrap_or(None);
        queries.entry(month).or_default().add(file, held);
    }
    let mut told = Vec::new();
    let mut count: i64 = 0;
    for query in queries.values() {
        let first = query.files.first().map_or("", String::as_str);
        let these = match query.files.len() {
            1 => "this file holds".to_owned(),
            n => format!("the {n} files that say so hold"),
        };
        if let Some((missing, total)) = query.missing() {
            count = count.saturating_add(missing);
            told.push(format!(
                "{first}: Total says {total} bill lines, {these} {}: see that the other pages are given, too",
                query.held()
            ));
        } else if query.has_no_end() {
            count = count.saturating_add(1);
            told.push(format!(
                "{first}: no page says how many bill lines there are (Total, asked for with NeedRecordNum = 1), and {these} {} on full \
                 pages: see that the last one is given, too",
                query.held()
            ));
        }
    }
    (told, count)
}

/// Tells of a delivery that holds the month so far: by its name, and as no line of it is of the month's last day.
fn month_so_far(name: &str, lines: &[BillLine]) -> Option<String> {
    let delivery = bill::delivery(name)?;
    let bill::DeliveryDate::Day(delivered) = delivery.date else { return None };
    let last = delivered.plus(-1);
    let end = last.first_of_next_month().plus(-1);
    let day = |line: &BillLine| match delivery.period {
        bill::Period::Paid => line.pay_time.map(UsageDay::of_instant),
        bill::Period::Used | bill::Period::Unknown => line.usage_day(),
    };
    let is_whole = last == end || lines.iter().any(|line| day(line) == Some(end));
    (!is_whole).then(|| {
        format!(
            "{name}: delivered on {delivered}, it holds {} up to {last}: the month is not complete",
            last.month()
        )
    })
}

/// Tells of days of the provider's list of which a page has a next one and none is the last, and how many such days there are.
/// Pages may come in any order, in one file or in several.
fn cut_lists<'c>(
    contents: impl Iterator<Item = &'c BillContent>,
    is_asked: impl Fn(UsageDay) -> bool,
) -> Vec<(String, i64)> {
    let mut days: BTreeMap<Option<UsageDay>, (bill::ListPages, &str)> = BTreeMap::new();
    for content in contents {
        for (day, pages) in &content.list_pages {
            let (of_day, file) = days.entry(*day).or_default();
            of_day.goes_on += pages.goes_on;
            of_day.ends += pages.ends;
            if pages.goes_on > 0 || file.is_empty() {
                *file = &content.file.name;
            }
        }
    }
    let ends_at_all = days.values().any(|(pages, _)| pages.ends > 0);
    // A last page without attempts ends some day.
    let mut empty_ends = days.get(&None).map_or(0, |(pages, _)| pages.ends);
    let cut = days.into_iter().filter(|(day, (pages, _))| match day {
        Some(day) if pages.goes_on > 0 && pages.ends == 0 && is_asked(*day) => {
            empty_ends -= 1;
            empty_ends < 0
        }
        Some(_) => false,
        None => pages.goes_on > 0 && !ends_at_all,
    });
    let told = cut.map(|(day, (_, file))| {
        let of_day = day.map_or(String::new(), |day| format!(" of {day}"));
        let told = format!(
            "{file}: a page of the provider's list{of_day} has a next one (HasNextPage) that is missing: Seqs that only ours has \
             may stand there"
        );
        (told, 1)
    });
    told.collect()
}

/// Tells of deliveries of whose numbered parts (`…_1.csv`) some are not there, and how many.
fn missing_parts<'n>(names: impl Iterator<Item = &'n str>) -> Vec<(String, i64)> {
    let mut parts: BTreeMap<&str, BTreeSet<u32>> = BTreeMap::new();
    for name in names {
        // A member of an archive is named behind it.
        let own = name.rsplit('!').next().unwrap_or(name);
        if let Some(part) = bill::delivery(own).and_then(|named| named.part)
            && let Some((stem, _)) = name.rsplit_once('_')
        {
            parts.entry(stem).or_default().insert(part);
        }
    }
    let gaps = parts.iter().filter_map(|(stem, parts)| {
        let missing: BTreeSet<u32> = (1..*parts.last()?).filter(|n| !parts.contains(n)).collect();
        let named: Vec<String> = missing.iter().take(3).map(|n| format!("_{n}")).collect();
        (!missing.is_empty()).then(|| {
            let told = format!(
                "{stem}: {} of its numbered parts missing ({}): give them, too",
                plural(missing.len() as u64, "file"),
                named.join(", ")
            );
            (told, missing.len() as i64)
        })
    });
    gaps.collect()
}

/// Gives lines of files that name no month of the bill (the columns of about 2023) the month in which they were paid:
/// all of them where the file is one by deduction time (按扣费周期), all of it paid in one month, usage of the day before
/// that month in it, and none that is paid in the next; else those of months of which no line was paid in time: they stand
/// in the bill of the month in which they were paid, or of the last one.
fn set_months(pipeline: &Pipeline, lines: &mut [BillLine]) {
    let catalogue = Catalogue::get();
    let settled = |line: &BillLine, day: UsageDay| {
        let tag = catalogue.tag_by_code(&line.billing_tag_code).unwrap_or(TagId::UNMAPPED);
        settlement_date(pipeline.account.settlement, catalogue.tag(tag), day).month()
    };
    let paid = |line: &BillLine| line.pay_time.map(|ms| UsageDay::of_instant(ms).month());
    // Lines of a file mostly follow each other, and share its name.
    let same_file = |a: &BillLine, b: &BillLine| {
        Arc::ptr_eq(&a.source_file, &b.source_file)
            || same_lines::given_file(a) == same_lines::given_file(b)
    };
    for file in lines.chunk_by_mut(same_file) {
        let is_delivery = |line: &BillLine| bill::delivery(same_lines::given_file(line)).is_some();
        if file.iter().any(|line| line.names_month) || file.first().is_none_or(is_delivery) {
            continue;
        }
        let of_usage = |line: &&BillLine| line.kind == Some(LineKind::Usage);
        let used: BTreeSet<UsageMonth> = file
            .iter()
            .filter(of_usage)
            .filter_map(|line| Some(line.usage_day()?.month()))
            .collect();
        // What names no day at all, as rounding does, is deducted after the month that it is of.
        if let Some(last) = used.last() {
            let silent =
                |line: &&mut BillLine| line.usage_day().is_none() && line.bill_day.is_none();
            for line in file.iter_mut().filter(silent) {
                line.bill_month = Some(paid(line).filter(|m| used.contains(m)).unwrap_or(*last));
            }
        }
        let usage = || {
            let usage = file.iter().filter(of_usage);
            usage.filter_map(|line| Some((line, line.usage_day()?)))
        };
        let months: BTreeSet<Option<UsageMonth>> = usage().map(|(line, _)| paid(line)).collect();
        let says_days = file.iter().any(|line| line.bill_day.is_some());
        if says_days || usage().any(|(line, day)| line.bill_month != Some(day.month())) {
            continue;
        }
        if let (Some(Some(month)), 1) = (months.first().copied(), months.len()) {
            let before =
                || usage().any(|(line, day)| day.month() < month && settled(line, day) == month);
            let within = || usage().any(|(_, day)| day.month() == month);
            let later = || usage().any(|(line, day)| settled(line, day) > month);
            if before() && within() && !later() {
                file.iter_mut().for_each(|line| line.bill_month = Some(month));
                continue;
            }
        }
        let is_late = |line: &BillLine, day: UsageDay| paid(line) > Some(settled(line, day));
        let in_time: BTreeSet<UsageMonth> = usage()
            .filter(|(line, day)| !is_late(line, *day))
            .map(|(_, day)| day.month())
            .collect();
        let Some(last) = in_time.last() else { continue };
        for line in file.iter_mut() {
            if line.usage_day().is_some_and(|day| !in_time.contains(&day.month())) {
                line.bill_month = Some(paid(line).filter(|m| in_time.contains(m)).unwrap_or(*last));
            }
        }
    }
}

/// What the pipeline calls products and transactions on its bills.
pub fn wording(pipeline: &Pipeline) -> Wording {
    let transactions = pipeline.reconcile.transaction_types.iter();
    Wording::new(
        pipeline.reconcile.products.iter().map(String::as_str),
        transactions.map(|(name, kind)| (name.as_str(), *kind)),
    )
}

/// A line of a package whose transaction nobody knows is taken for a purchase. One that gives money back is none: it is of
/// unknown kind.
fn doubt_purchases(lines: &mut [BillLine], wording: &Wording) {
    let of_packages = lines.iter_mut().filter(|line| line.kind == Some(LineKind::PackagePurchase));
    for line in of_packages {
        let gives_back = line.cost.is_some_and(|cost| cost < Amount::ZERO);
        if gives_back && wording.kind_of(line).is_none() && !bill::is_known_transaction(line) {
            line.kind = Some(LineKind::Other);
        }
    }
}

/// Whether nobody says what a line is about. What the pipeline itself calls `other` is set aside knowingly.
pub fn is_of_unknown_kind(line: &BillLine, wording: &Wording) -> bool {
    matches!(line.kind, None | Some(LineKind::Other)) && wording.kind_of(line).is_none()
}

/// Transactions that nobody knows, by name, with their lines: they are in no row, and must not pass unseen.
fn unknown_kinds(lines: &[BillLine], wording: &Wording) -> Vec<String> {
    #[derive(Default)]
    struct Told {
        lines: i64,
        cost: Amount,
        is_known: bool,
    }
    let mut kinds: BTreeMap<Option<&str>, Told> = BTreeMap::new();
    for line in lines.iter().filter(|line| is_of_unknown_kind(line, wording)) {
        let name = line.action_type_name.as_deref().or(line.action_type.as_deref());
        let told = kinds.entry(name).or_default();
        told.lines += 1;
        // What does not fit is an error where it counts.
        told.cost = told.cost.checked_add(line.cost.unwrap_or_default()).unwrap_or(told.cost);
        told.is_known |= bill::is_known_transaction(line);
    }
    let sentence = |(name, told): (Option<&str>, Told)| {
        let Told { lines: count, cost, is_known } = told;
        let Some(name) = name else {
            return format!(
                "{} without a transaction type (交易类型), in no row (优惠后总价: {cost})",
                counted(count)
            );
        };
        let (why, guess) = match (is_known, cost < Amount::ZERO) {
            (true, _) => ("which is neither usage nor a change of it", LineKind::Other),
            (false, true) => ("which is not known", LineKind::Refund),
            (false, false) => ("which is not known", LineKind::Usage),
        };
        let others = LineKind::ALL.iter().filter(|kind| **kind != guess);
        let others: Vec<&str> = others.map(|kind| kind.code()).collect();
        // A text of JSON is one of TOML, too.
        format!(
            "{} of the transaction type (交易类型) {name}, {why}, in no row (优惠后总价: {cost}); say what it is, below \
             [reconcile.transaction_types] in the pipeline file: {} = \"{}\" (or {})",
            counted(count),
            serde_json::Value::from(name),
            guess.code(),
            others.join(", ")
        )
    };
    kinds.into_iter().map(sentence).collect()
}

/// Names of what is billed (子产品名称) that no billing tag is known by, so many at most.
const UNTAGGED_NAMED: usize = 10;

/// Usage whose billing tag is not known, by the name it has on the bill.
fn untagged(lines: &[BillLine]) -> Vec<String> {
    let unmapped = Catalogue::get().tag(TagId::UNMAPPED).code;
    let mut names: BTreeMap<&str, (i64, i64)> = BTreeMap::new();
    let untagged = lines.iter().filter(|line| line.is_of_usage());
    for line in untagged.filter(|line| &*line.billing_tag_code == unmapped) {
        let named = [&line.product_name, &line.product_code, &line.component_name];
        let name = named.into_iter().find_map(|name| name.as_deref()).unwrap_or_default();
        let (count, calls) = names.entry(name).or_default();
        *count += 1;
        *calls = calls.saturating_add(line.calls().unwrap_or_default());
    }
    let left = names.len().saturating_sub(UNTAGGED_NAMED);
    let sentence = |(name, (count, calls)): (&str, (i64, i64))| {
        format!(
            "{} of usage ({}) of {}, of which no billing tag is known; say which it is, below [reconcile.bill_tags] in the \
             pipeline file: {} = \"…\" (a code of `faceledger tags`)",
            counted(count),
            plural(calls.unsigned_abs(), "call"),
            if name.is_empty() { "no sub-product (子产品名称)" } else { name },
            serde_json::Value::from(name),
        )
    };
    let mut told: Vec<String> = names.into_iter().take(UNTAGGED_NAMED).map(sentence).collect();
    if left > 0 {
        told.push(format!("{} more of which no billing tag is known", plural(left as u64, "name")));
    }
    told
}

/// Units that may count something else than calls, told.
fn unknown_units(lines: &[BillLine]) -> Option<String> {
    let of_usage = lines.iter().filter(|line| line.is_of_usage() && line.counts_unknown_units());
    let units: Vec<&str> = of_usage.filter_map(BillLine::unknown_unit).collect();
    let named: BTreeSet<&str> = units.iter().copied().collect();
    let named: Vec<&str> = named.into_iter().take(3).collect();
    (!units.is_empty()).then(|| {
        format!(
            "{} of usage in units that are not known (组件用量单位: {}): each is counted as one call; say how many calls one is, \
             below [reconcile.usage_units] in the pipeline file: {} = 1",
            counted(units.len() as i64),
            named.join(", "),
            serde_json::Value::from(named[0])
        )
    })
}

/// Lines of other payers, told: their rows stand apart, and no price of this pipeline is theirs.
pub fn of_others(lines: &[BillLine], account: &str) -> Option<String> {
    let others = lines.iter().filter(|line| *line.account != *account).count();
    (others > 0).then(|| {
        format!(
            "{} of other payers (支付者 UIN) than account.uin {account}: their rows stand apart, and their amounts are left \
             out of the money",
            counted(others as i64)
        )
    })
}

/// Refuses a bill of other payers alone: nothing in it is the account's.
fn refuse_other_payers(pipeline: &Pipeline, lines: &[BillLine]) -> Result<(), RunError> {
    let account = &pipeline.account.uin;
    let usage = || lines.iter().filter(|line| line.kind == Some(LineKind::Usage));
    if usage().next().is_none() || usage().any(|line| *line.account == **account) {
        return Ok(());
    }
    let payers: BTreeSet<&str> = usage().map(|line| &*line.account).take(1_000).collect();
    let payers: Vec<&str> = payers.into_iter().take(3).collect();
    let first = usage().next().map_or("", |line| &*line.source_file);
    Err(RunError::Usage(format!(
        "{first}: no line of usage is paid by account {account} (account.uin of the pipeline); the payer (支付者 UIN) is {}: \
         give the bill of the account, or put account.uin right (its tables are then those of another account)",
        payers.join(", ")
    )))
}

/// Refuses a bill in which the days of one tag are one line, though account and tag settle daily: it was aggregated by
/// month. A month's transaction (月结) is none, and the tag of an unmapped line may settle monthly.
fn refuse_merged_days(pipeline: &Pipeline, lines: &[BillLine]) -> Result<(), RunError> {
    if pipeline.account.settlement != Settlement::Daily {
        return Ok(());
    }
    let catalogue = Catalogue::get();
    let settles_daily = |code: &str| {
        let tag = catalogue.tag_by_code(code).filter(|id| *id != TagId::UNMAPPED);
        tag.is_some_and(|id| !catalogue.tag(id).monthly)
    };
    let merged = lines.iter().find_map(|line| {
        let (from, to) = (line.usage_from?, line.usage_to?);
        let is_merged = line.kind == Some(LineKind::Usage)
            && *line.account == pipeline.account.uin
            && from < to
            && line.action_type.as_deref() != Some("postpay_deduct_m")
            && settles_daily(&line.billing_tag_code);
        is_merged.then_some((line, from, to))
    });
    let Some((line, from, to)) = merged else { return Ok(()) };
    Err(RunError::Usage(format!(
        "{}: aggregated by month (按月聚合): row {} is one line for the usage of {} from {from} to {to}, where the account \
         settles daily, so days cannot be told apart; download the detail bill (明细账单, L3) without 按月聚合 (an account that \
         settles monthly has an earlier account.opened_at)",
        line.source_file, line.source_row, line.billing_tag
    )))
}

fn bill_tags(pipeline: &Pipeline) -> Result<BillTags, RunError> {
    let map = pipeline.reconcile.bill_tags.iter().map(|(name, code)| (name.as_str(), *code));
    BillTags::new(map).map_err(|unknown| RunError::Usage(unknown.to_string()))
}

/// Whether a name or code of a sub-product or component is that of a billing tag: names that the pipeline maps are those of
/// its own product.
fn is_tagged(name: &str) -> bool {
    let names =
        BillNames { product_name: Some(name), product_code: Some(name), ..BillNames::default() };
    billing_tag_of_bill(&names, &BillTags::default()) != TagId::UNMAPPED
}

/// Fills in the billing tags.
fn tag(map: &BillTags, lines: &mut [BillLine]) {
    let mut tags = HashMap::new();
    for line in lines {
        let names = BillNames {
            product_name: line.product_name.as_deref(),
            product_code: line.product_code.as_deref(),
            component_name: line.component_name.as_deref(),
            component_code: line.component_code.as_deref(),
            item_name: line.item_name.as_deref(),
            item_code: line.item_code.as_deref(),
        };
        let tag = Catalogue::get().tag(billing_tag_of_bill(&names, map));
        let texts = || (Arc::from(tag.label), Arc::from(tag.code));
        let (label, code): &(Arc<str>, Arc<str>) = tags.entry(tag.code).or_insert_with(texts);
        (line.billing_tag, line.billing_tag_code) = (label.clone(), code.clone());
    }
}

/// Fills in the calls of the units that the pipeline names.
fn set_units(pipeline: &Pipeline, lines: &mut [BillLine]) {
    let units: HashMap<i64, i64> = { &pipeline.reconcile.usage_units }
        .iter()
        .map(|(unit, calls)| (bill::same_name(unit), *calls))
        .collect();
    if units.is_empty() {
        return;
    }
    for line in lines {
        let unit = line.usage_unit.as_deref().map(bill::same_name);
        line.calls_of_unit = unit.and_then(|unit| units.get(&unit).copied());
    }
}
