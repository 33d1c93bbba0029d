//! The bill as it was given: files found, those that count read, lines tagged, repeated ones left out.

use super::RunError;
use crate::classify::{BillNames, BillTags, Catalogue, billing_tag_of_bill};
use crate::decode::bill::{self, BillContent, Collected, Standing};
use crate::model::{BillLine, BillRead, BillReject, LineKind, ProviderAttempt, UsageDay};
use crate::pipeline::Pipeline;
use crate::storage::{Place, StorageError};
use rayon::prelude::*;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::Hash;

/// What the bills say.
pub struct Bills {
    pub lines: Vec<BillLine>,
    pub attempts: Vec<ProviderAttempt>,
    pub read: BillRead,
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

/// Reads bills. `urls` are files, or folders that end with `/`; `as_of_ms` is milliseconds since the epoch. A file that
/// cannot be reconciled as a whole is an error (exit 2); a line that cannot be read is a reject.
pub fn read(pipeline: &Pipeline, urls: &[String], as_of_ms: i64) -> Result<Bills, RunError> {
    let mut files = Vec::new();
    for url in urls {
        files.extend(find(pipeline, url)?);
    }
    let mut seen = BTreeSet::new();
    files.retain(|file| seen.insert(file.name.clone()));
    let names: Vec<&str> = files.iter().map(|file| file.name.as_str()).collect();
    let standings = bill::standings(&names, UsageDay::of_instant(as_of_ms));
    let products = &pipeline.reconcile.products;
    let each: Vec<(BillContent, Collected)> = files
        .par_iter()
        .zip(&standings)
        .map(|(file, standing)| {
            let unread = |replaced_by: Option<String>| {
                let mut content = BillContent::default();
                content.file.name.clone_from(&file.name);
                content.file.replaced_by = replaced_by;
                Ok((content, Collected::default()))
            };
            match standing {
                Standing::ReplacedBy(later) => return unread(Some(later.clone())),
                Standing::NotYet => return unread(None),
                Standing::Counts => {}
            }
            let bytes =
                file.place.read_all(&file.key).map_err(|error| of_bill(&file.name, error))?;
            bill::read_all(&file.name, &bytes, products)
                .map_err(|refused| RunError::Usage(refused.to_string()))
        })
        .collect::<Result<_, RunError>>()?;

    let mut bills = Bills { lines: Vec::new(), attempts: Vec::new(), read: BillRead::default() };
    for ((content, collected), standing) in each.into_iter().zip(&standings) {
        if matches!(standing, Standing::NotYet) {
            let name = &content.file.name;
            let told = format!("{name}: not out yet at that time, left out");
            bills.read.warnings.push(told);
        }
        bills.read.warnings.extend(content.notes);
        bills.read.lines_other_products += content.file.lines_other_products;
        bills.read.files.push(content.file);
        bills.lines.extend(collected.lines);
        bills.attempts.extend(collected.attempts);
        bills.read.rejects_total += collected.rejects.len() as i64;
        keep_rejects(&mut bills.read.rejects, collected.rejects);
    }
    let repeated = leave_out_repeated(&mut bills.lines);
    if repeated > 0 {
        bills
            .read
            .warnings
            .push(format!("{repeated} lines stand in more than one of the files, and count once"));
    }
    bills.read.warnings.extend(unknown_kinds(&bills.lines));
    tag(pipeline, &mut bills.lines)?;
    bills.read.lines = bills.lines.len() as i64;
    Ok(bills)
}

fn keep_rejects(kept: &mut Vec<BillReject>, more: Vec<BillReject>) {
    let room = REJECTS_MAX.saturating_sub(kept.len());
    kept.extend(more.into_iter().take(room));
}

/// The files that a path or URL means. It is opened with the options of the source or the output where it lies in the
/// same store.
fn find(pipeline: &Pipeline, url: &str) -> Result<Vec<File>, RunError> {
    let options = options_for(pipeline, url);
    can_be_asked(url, &options)?;
    let failed = |error| of_bill(url, error);
    let is_folder = url.ends_with('/') || std::path::Path::new(url).is_dir();
    if is_folder {
        let place = Place::open_source(url, &options).map_err(failed)?;
        let known = [".zip", ".csv", ".json", ".ndjson", ".jsonl"];
        let files: Vec<File> = place
            .list(None)
            .map_err(failed)?
            .into_iter()
            .filter(|object| known.iter().any(|end| object.key.to_ascii_lowercase().ends_with(end)))
            .map(|object| File {
                name: format!("{}/{}", url.trim_end_matches('/'), object.key),
                place: place.clone(),
                key: object.key,
            })
            .collect();
        return match files.is_empty() {
            true => Err(RunError::Usage(format!(
                "--bill {url}: no file in this folder ends with {}",
                known.join(", ")
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

/// Leaves out lines that another file has, too; how many. Within one file lines that look alike are two, and so are lines
/// whose ids differ; only API pages have ids, so a line of a CSV is the same as one that says the same otherwise.
fn leave_out_repeated(lines: &mut Vec<BillLine>) -> usize {
    let keep: Vec<bool> = {
        // The file that had such a line first: by what it says, apart for lines with and without an id; by its id.
        let mut without: HashMap<_, &str> = HashMap::with_capacity(lines.len());
        let mut with: HashMap<_, &str> = HashMap::new();
        let mut ids: HashMap<_, &str> = HashMap::new();
        let mut keep = Vec::with_capacity(lines.len());
        for line in lines.iter() {
            let file = line.source_file.as_str();
            let says = || all_it_says(line);
            let known = match &line.line_id {
                Some(id) => {
                    let first = *ids.entry((id, all_it_says(line))).or_insert(file);
                    first != file || without.get(&says()).is_some_and(|first| *first != file)
                }
                None => {
                    let first = *without.entry(says()).or_insert(file);
                    first != file || with.get(&says()).is_some_and(|first| *first != file)
                }
            };
            if line.line_id.is_some() {
                with.entry(says()).or_insert(file);
            }
            keep.push(!known);
        }
        keep
    };
    let before = lines.len();
    let mut keep = keep.into_iter();
    lines.retain(|_| keep.next().unwrap_or(true));
    before - lines.len()
}

/// What makes two lines the same one: all they say but their ids and where they stand.
fn all_it_says(line: &BillLine) -> impl Hash + Eq + '_ {
    let who = (&line.account, &line.resource_id, &line.product_name);
    let what = (&line.component_name, &line.item_name, &line.action_type_name, &line.instance_type);
    let when = (line.usage_from, line.usage_to, line.pay_time, line.bill_day);
    let usage = (line.usage_total, line.usage_deducted, line.usage_billed);
    (who, what, when, usage, line.cost, line.list_price, line.contract_price)
}

/// Transactions that this program does not know, by name, with their lines: they are in no row, and must not pass
/// unseen.
fn unknown_kinds(lines: &[BillLine]) -> Vec<String> {
    let mut kinds: BTreeMap<&str, i64> = BTreeMap::new();
    for line in lines.iter().filter(|line| matches!(line.kind, None | Some(LineKind::Other))) {
        let name = line.action_type_name.as_deref().or(line.action_type.as_deref());
        *kinds.entry(name.unwrap_or("-")).or_default() += 1;
    }
    let told = |(name, lines): (&str, i64)| {
        format!(
            "{lines} lines of the transaction type (交易类型) {name}, which is not known, are in no row"
        )
    };
    kinds.into_iter().map(told).collect()
}

/// Fills in the billing tags.
fn tag(pipeline: &Pipeline, lines: &mut [BillLine]) -> Result<(), RunError> {
    let map = pipeline.reconcile.bill_tags.iter().map(|(name, code)| (name.as_str(), *code));
    let map = BillTags::new(map).map_err(|unknown| RunError::Usage(unknown.to_string()))?;
    for line in lines {
        let names = BillNames {
            product_name: line.product_name.as_deref(),
            product_code: line.product_code.as_deref(),
            component_name: line.component_name.as_deref(),
            component_code: line.component_code.as_deref(),
            item_name: line.item_name.as_deref(),
            item_code: line.item_code.as_deref(),
        };
        let tag = Catalogue::get().tag(billing_tag_of_bill(&names, &map));
        line.billing_tag = tag.label.to_owned();
        line.billing_tag_code = tag.code.to_owned();
    }
    Ok(())
}
