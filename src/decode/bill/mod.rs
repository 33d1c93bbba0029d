//! Bills to lines, the provider's own list to attempts.
//!
//! Takes the bytes of one file as people have it (the L3 detail CSV, plain or zipped; pages of `DescribeBillDetail` and
//! `GetWeChatBillDetails`); gives what the file is, its lines, attempts and rejects. What cannot be reconciled as a
//! whole is [`BillRefused`], with what to download instead; a line that cannot be read is a [`BillReject`]. It does no
//! I/O, keeps no name or document number, and leaves the billing tag to the catalogue.

mod archive;
mod csv;
mod delivery;
mod json;
mod names;
mod value;
mod wechat;

#[cfg(test)]
mod tests;

pub use archive::looks_like_a_bill;
pub use delivery::{
    Delivery, DeliveryDate, Period, Standing, copy_of, delivery, download_of, part_of, period_of,
    standings,
};
pub use names::{Wording, is_known_transaction, names_payments, same_name, transaction_of};

use crate::model::{
    Amount, BillFile, BillLine, BillReject, LineKind, OtherProduct, ProviderAttempt, UsageDay,
    UsageMonth,
};
use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::sync::Arc;

/// Members of an archive at most. A month of split files has a few.
pub const MEMBERS_MAX: usize = 1_000;
/// What the members of one archive may unpack to: some seven million lines.
pub const UNPACKED_BYTES_MAX: u64 = 4 << 30;
/// A row longer than this has a quotation mark that is never closed: real ones have some hundred bytes.
pub const ROW_BYTES_MAX: usize = 1 << 20;

/// The kind of a file that holds the provider's own list.
pub const LIST_KIND: &str = "wechat_json";

/// Everything of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    pub lines: Vec<BillLine>,
    pub attempts: Vec<ProviderAttempt>,
    pub rejects: Vec<BillReject>,
}

/// What a file is, and how many of its rows went where:
/// `rows = lines + lines_other_products + totals + attempts + rejects`, where a fault of JSON and a member of
/// an archive that was not read are rejects beside them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BillContent {
    pub file: BillFile,
    /// Members of an archive that were read as bills.
    pub members: Vec<String>,
    /// Lines that add up others (合计).
    pub totals: i64,
    /// Attempts of the provider's own list.
    pub attempts: i64,
    /// Tokens of that list whose count of charges is not that of their attempts.
    pub list_miscounted: i64,
    /// What API pages hold of the bill, those of one Total and month together.
    pub pages: Vec<PagesHeld>,
    /// What pages of the provider's list say of the days of their attempts; and of no day, where they hold no attempts.
    pub list_pages: BTreeMap<Option<UsageDay>, ListPages>,
    /// The lines of other products, by name.
    pub other_products: BTreeMap<String, OtherProduct>,
    /// Lines of usage whose three measures contradict each other.
    pub uneven: i64,
    /// For people: members of an archive that were passed over, pages that are missing.
    pub notes: Vec<String>,
}

/// Pages of `GetWeChatBillDetails` of one day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ListPages {
    /// How many say that more of the day is to come on a next one, and how many say that none is.
    pub goes_on: i64,
    pub ends: i64,
}

/// Pages of `DescribeBillDetail`, each of which holds a part.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PagesHeld {
    /// Bill lines of all pages, as these say (Total; the API keeps it for 24 hours). A page may leave it out.
    pub total: Option<i64>,
    /// The month of the bill, where a line of ours names it.
    pub month: Option<UsageMonth>,
    /// Digests of the ids of the bill lines that these hold, or of what they say: one that is given twice is one.
    pub ids: Vec<u64>,
    /// Bill lines of the largest page, and of the smallest.
    pub most: usize,
    pub fewest: usize,
}

/// A file that cannot be reconciled: what it is, and what to download instead. Names are those of files and columns.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BillRefused {
    #[error("{file}: empty")]
    Empty { file: String },
    #[error(
        "{file}: aggregated by month (按月聚合): order ID, transaction ID and deduction time (订单 ID, 交易 ID, 扣费时间) \
         are `-` in every daily line, so days cannot be told apart; download the detail bill (明细账单, L3) without 按月聚合"
    )]
    Aggregated { file: String },
    #[error(
        "{file}: {level}, without component columns (组件类型, 组件名称, 组件用量) and with amounts rounded to fen; \
         download the detail bill (明细账单, L3)"
    )]
    NotDetail { file: String, level: &'static str },
    #[error(
        "{file}: a PDF (电子账单, L0), from which no line can be read; download the detail bill (明细账单, L3)"
    )]
    Pdf { file: String },
    #[error("{file}: {what}; save it as CSV (UTF-8), or download the bill as CSV")]
    Spreadsheet { file: String, what: &'static str },
    #[error("{file}: {what}; unpack it first: only zip archives are read as they are")]
    OtherArchive { file: String, what: &'static str },
    #[error("{file}: UTF-16 text; save it as CSV (UTF-8)")]
    Utf16 { file: String },
    #[error("{file}: JSON that is not UTF-8")]
    JsonEncoding { file: String },
    #[error(
        "{file}: neither pages of DescribeBillDetail (DetailSet) nor of GetWeChatBillDetails (WeChatBillDetails)"
    )]
    NotABillJson { file: String },
    #[error(
        "{file}: no detail bill (L3): columns are missing: {}; is it 明细账单, and is its first line the header?",
        missing.join(", ")
    )]
    MissingColumns { file: String, missing: Vec<String> },
    #[error("{file}: two columns are called {column}; which one counts cannot be told")]
    DuplicateColumn { file: String, column: String },
    #[error(
        "{file}: its header differs from that of {first}: split files of one bill have the same"
    )]
    HeaderDiffers { file: String, first: String },
    #[error(
        "{file}: no CSV of a detail bill (明细账单, L3) in the archive, only {found}; download the detail bill, or a bill \
         pack (账单包) that holds it"
    )]
    NoDetailInside { file: String, found: String },
    #[error("{file}: encrypted; unpack it with its password first")]
    Encrypted { file: String },
    #[error("{file}: a damaged zip archive ({cause}); download it again")]
    Damaged { file: String, cause: String },
    #[error("{file}: {members} members; an archive is read up to {MEMBERS_MAX} (MEMBERS_MAX)")]
    TooManyMembers { file: String, members: usize },
    #[error(
        "{file}: unpacks to more than {UNPACKED_BYTES_MAX} bytes (UNPACKED_BYTES_MAX); unpack it and \
         give its files"
    )]
    TooLarge { file: String },
    #[error(
        "{file}: the row that begins in line {row} is longer than {ROW_BYTES_MAX} bytes (ROW_BYTES_MAX): a quotation \
         mark in it is never closed"
    )]
    RowTooLong { file: String, row: i64 },
}

/// Reads one file. `wording` names the products that count as ours, and transactions, besides those that are known: lines
/// of other products are counted and set aside.
pub fn read(
    name: &str,
    bytes: &[u8],
    wording: &Wording,
) -> Result<(BillContent, Collected), BillRefused> {
    let mut reading = Reading::new(name, wording);
    match kind_of(bytes) {
        Kind::Zip => archive::read(&mut reading, name, bytes)?,
        Kind::Json => json::read(&mut reading, name, bytes)?,
        Kind::Text => csv::read_alone(&mut reading, name, bytes)?,
        Kind::Empty => return Err(BillRefused::Empty { file: name.to_owned() }),
        Kind::Refused(refuse) => return Err(refuse(name.to_owned())),
    }
    reading.tell();
    Ok((reading.content, reading.collected))
}

/// What systems and programs put beside files, by the name in lower case.
pub fn is_litter(name: &str) -> bool {
    let file = name.rsplit(['/', '\\']).next().unwrap_or(name);
    const FILES: [&str; 3] = ["thumbs.db", "desktop.ini", "_success"];
    let is_hidden = file.strip_prefix('.').is_some_and(|hidden| !hidden.contains('.'));
    name.starts_with("__macosx/")
        || is_hidden
        || file.starts_with("._")
        || file.starts_with("~$")
        || FILES.contains(&file)
}

/// Whether a file is none from which lines of a bill could be read in another form, by the end of its name in lower case. All
/// others may be bills.
pub fn is_no_bill(name: &str) -> bool {
    const ENDS: [&str; 17] = [
        ".pdf", ".png", ".jpg", ".jpeg", ".gif", ".svg", ".html", ".htm", ".md", ".doc", ".docx",
        ".url", ".lnk", ".md5", ".sha256", ".sig", ".asc",
    ];
    ENDS.iter().any(|end| name.ends_with(end))
}

/// What first bytes say.
enum Kind {
    Zip,
    Json,
    Text,
    Empty,
    Refused(fn(String) -> BillRefused),
}

fn kind_of(bytes: &[u8]) -> Kind {
    let text = bytes.strip_prefix(UTF8_MARK).unwrap_or(bytes);
    match (bytes, text.iter().find(|b| !b.is_ascii_whitespace())) {
        ([b'P', b'K', 3 | 5 | 7, ..], _) => Kind::Zip,
        ([b'%', b'P', b'D', b'F', ..], _) => Kind::Refused(|file| BillRefused::Pdf { file }),
        ([0xD0, 0xCF, 0x11, 0xE0, ..], _) => Kind::Refused(|file| BillRefused::Spreadsheet {
            file,
            what: "a workbook of a spreadsheet (.xls)",
        }),
        ([0x1F, 0x8B, ..], _) => {
            Kind::Refused(|file| BillRefused::OtherArchive { file, what: "compressed with gzip" })
        }
        ([b'R', b'a', b'r', b'!', ..], _) => {
            Kind::Refused(|file| BillRefused::OtherArchive { file, what: "a RAR archive" })
        }
        ([b'7', b'z', 0xBC, 0xAF, ..], _) => {
            Kind::Refused(|file| BillRefused::OtherArchive { file, what: "a 7z archive" })
        }
        ([0xFF, 0xFE, ..] | [0xFE, 0xFF, ..], _) => {
            Kind::Refused(|file| BillRefused::Utf16 { file })
        }
        (_, None) => Kind::Empty,
        (_, Some(b'{' | b'[')) => Kind::Json,
        _ => Kind::Text,
    }
}

/// The byte order mark that Windows programs put before UTF-8.
const UTF8_MARK: &[u8] = b"\xEF\xBB\xBF";

/// One file on its way: where its lines go and what was counted.
struct Reading<'r> {
    content: BillContent,
    wording: &'r Wording,
    products: names::Products<'r>,
    delivery: Option<Delivery>,
    /// Whether the file says what packages deducted: `-` is nothing then.
    says_deducted: bool,
    uneven: Uneven,
    /// What lines have in common, once each.
    labels: HashSet<Arc<str>>,
    collected: Collected,
}

/// Lines of usage whose three measures do not agree.
#[derive(Default)]
struct Uneven {
    count: i64,
    /// The first of them: file and row.
    first: Vec<(String, i64)>,
}

/// So many of them are named.
const UNEVEN_NAMED: usize = 3;

impl<'r> Reading<'r> {
    fn new(name: &str, wording: &'r Wording) -> Reading<'r> {
        let file = BillFile { name: name.to_owned(), ..BillFile::default() };
        Reading {
            content: BillContent { file, ..BillContent::default() },
            wording,
            products: names::Products::new(wording),
            delivery: delivery(name),
            says_deducted: true,
            uneven: Uneven::default(),
            labels: HashSet::new(),
            collected: Collected::default(),
        }
    }

    /// Makes room for the lines of a text of so many bytes that begins like this: a list that grows by doubling is there
    /// twice while it is moved. Room that is not used is no memory.
    fn expect(&mut self, bytes: u64, head: &[u8]) {
        let lines = memchr::memchr_iter(b'\n', head).count() as u128;
        let lines = lines * u128::from(bytes) / head.len().max(1) as u128;
        // Where there is no room for all, it is made line by line.
        let _ = self.collected.lines.try_reserve(lines as usize);
    }

    fn line(&mut self, mut line: BillLine) {
        self.content.file.lines += 1;
        line.share(&mut self.labels);
        if self.is_uneven(&line) {
            self.uneven.count += 1;
            if self.uneven.first.len() < UNEVEN_NAMED {
                self.uneven.first.push((line.source_file.to_string(), line.source_row));
            }
        }
        self.collected.lines.push(line);
    }

    /// Whether 组件原始用量 - 抵扣用量 is not 组件用量, as it is by the API's description of them.
    fn is_uneven(&self, line: &BillLine) -> bool {
        let deducted = line.usage_deducted.or(self.says_deducted.then_some(Amount::ZERO));
        match (line.kind, line.usage_total, deducted, line.usage_billed) {
            (Some(LineKind::Usage), Some(total), Some(deducted), Some(billed)) => {
                total.checked_sub(deducted) != Some(billed)
            }
            _ => false,
        }
    }

    /// What is said once for the whole file.
    fn tell(&mut self) {
        self.content.uneven = self.uneven.count;
        if self.uneven.count == 0 {
            return;
        }
        let named = |(file, row): &(String, i64)| format!("{file} row {row}");
        let mut places: Vec<String> = self.uneven.first.iter().map(named).collect();
        let more = self.uneven.count - places.len() as i64;
        if more > 0 {
            places.push(format!("{more} more"));
        }
        let total = names::Field::UsageTotal.label();
        self.note(format_args!(
            "{total} - {} is not {} in {}: the calls of these lines are taken from {total}",
            names::Field::UsageDeducted.label(),
            names::Field::UsageBilled.label(),
            places.join(", ")
        ));
    }

    fn reject(&mut self, reject: BillReject) {
        self.content.file.rejects += 1;
        self.collected.rejects.push(reject);
    }

    fn note(&mut self, note: impl fmt::Display) {
        self.content.notes.push(note.to_string());
    }

    /// Tells of measures that a file with lines of ours does not have: without them nobody sees what packages took.
    fn note_measures(&mut self, name: &str, has_total: bool, has_deducted: bool) {
        use names::Field::{UsageBilled, UsageDeducted, UsageTotal};
        let looked_for =
            |field: names::Field| format!("{} (looked for {})", field.label(), field.names());
        let billed = UsageBilled.label();
        let (missing, so) = match (has_total, has_deducted) {
            _ if self.content.file.lines == 0 => return,
            (true, true) => return,
            (false, false) => (
                format!("{} and none for {}", looked_for(UsageTotal), looked_for(UsageDeducted)),
                format!(
                    "calls are taken from {billed}, and those that a package covered are missing in it"
                ),
            ),
            (false, true) => (
                looked_for(UsageTotal),
                format!("calls are taken as {billed} and what was deducted"),
            ),
            (true, false) => {
                (looked_for(UsageDeducted), "what packages deducted is not said".to_owned())
            }
        };
        self.note(format_args!("{name}: no column for {missing}: {so}"));
    }

    fn encoding(&mut self, encoding: &str) {
        let told = &mut self.content.file.encoding;
        if told.is_empty() {
            told.push_str(encoding);
        } else if !told.split(" + ").any(|e| e == encoding) {
            told.push_str(" + ");
            told.push_str(encoding);
        }
    }

    /// Counts a line of another product; whether it is one.
    fn is_other(&mut self, line: &BillLine) -> bool {
        let ours = self.products.hold(line);
        // Whose it is that names no product is not known: no other product's, and no line that may be left out.
        let Some(name) = line.business_name.as_deref().or(line.business_code.as_deref()) else {
            return false;
        };
        if !ours {
            self.content.file.lines_other_products += 1;
            if !self.content.other_products.contains_key(name) {
                let like_ours = names::Products::is_like_ours(name);
                let product = OtherProduct { name: name.into(), like_ours, ..Default::default() };
                self.content.other_products.insert(name.to_owned(), product);
            }
            let product = self.content.other_products.get_mut(name).expect("just put there");
            let below = [
                &line.product_name,
                &line.product_code,
                &line.component_name,
                &line.component_code,
                &line.item_name,
                &line.item_code,
            ];
            for name in below.into_iter().flatten() {
                if !product.names.contains(name) {
                    // What is ours under a product of another name still says so below it.
                    product.like_ours |= names::Products::is_like_ours(name);
                    product.names.insert(name.clone());
                }
            }
            let cost = line.cost.unwrap_or_default();
            product.add(&OtherProduct {
                lines: 1,
                usage: line.usage_total.or(line.usage_billed).unwrap_or_default().abs(),
                cost,
                cost_gross: cost.abs(),
                lines_without_cost: i64::from(line.cost.is_none()),
                ..OtherProduct::default()
            });
        }
        !ours
    }
}
