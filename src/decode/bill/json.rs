//! Pages of `DescribeBillDetail` and `GetWeChatBillDetails`, one after another or in arrays, with or without the
//! `Response` around them. Numbers are read as they are written, texts or not: no float is ever made of one.

use super::names::{self, Draft, Drafted, Field};
use super::{BillRefused, PagesHeld, Reading, UTF8_MARK, value, wechat};
use crate::decode::json::{Cursor, Parsed, Scalar, path_of};
use crate::model::{BillLine, UsageDay, UsageMonth};
use std::borrow::Cow;
use std::collections::HashMap;

/// What pages have said so far.
#[derive(Default)]
pub struct Pages {
    pub name: String,
    /// Records: components of the bill, attempts of the provider's list.
    pub records: i64,
    /// What the page that is being read holds, and those before it, together where they say the same Total and month.
    page: PagesHeld,
    held: Vec<PagesHeld>,
    /// The place of each query among them.
    queries: HashMap<(Option<i64>, Option<UsageMonth>), usize>,
    pub pages: i64,
    /// Days of the attempts of the page of the provider's list that is being read, in their order.
    pub days: Vec<UsageDay>,
    /// Lines without an id that say the same, of the page that is being read.
    said: HashMap<u64, u64>,
    bill_pages: i64,
    error_pages: i64,
    /// Whether a line said what it was before packages, and what they deducted.
    says_total: bool,
    says_deducted: bool,
}

pub fn read(reading: &mut Reading<'_>, name: &str, bytes: &[u8]) -> Result<(), BillRefused> {
    let marked = bytes.starts_with(UTF8_MARK);
    let Ok(text) = std::str::from_utf8(&bytes[if marked { UTF8_MARK.len() } else { 0 }..]) else {
        return Err(BillRefused::JsonEncoding { file: name.to_owned() });
    };
    reading.encoding(if marked { "utf-8-bom" } else { "utf-8" });
    let mut pages = Pages { name: name.to_owned(), ..Pages::default() };
    let mut at = 0;
    loop {
        // Files that were put together have the mark of each.
        at += text[at..].bytes().take_while(u8::is_ascii_whitespace).count();
        at += if text[at..].starts_with('\u{feff}') { UTF8_MARK.len() } else { 0 };
        let mut cursor = Cursor::new(text, at);
        if cursor.peek().is_none() {
            break;
        }
        let begin = cursor.pos();
        match document(&mut cursor, reading, &mut pages) {
            Ok(()) => at = cursor.pos(),
            Err(fault) => {
                let path = path_of(&text.as_bytes()[begin..], fault.at - begin);
                reading.reject(names::reject(
                    name,
                    pages.records,
                    &path,
                    "json_invalid",
                    format!(
                        "byte {}: {}; the rest of this page was not read",
                        fault.at, fault.message
                    ),
                ));
                match next_page(text.as_bytes(), fault.at) {
                    Some(next) if next > begin => at = next,
                    _ => break,
                }
            }
        }
    }
    if pages.pages == 0 && pages.error_pages == 0 {
        return Err(BillRefused::NotABillJson { file: name.to_owned() });
    }
    let kind =
        if pages.bill_pages > 0 || pages.pages == 0 { "detail_json" } else { super::LIST_KIND };
    reading.content.file.kind = kind.to_owned();
    if pages.bill_pages > 0 {
        reading.note_measures(name, pages.says_total, pages.says_deducted || pages.says_total);
    }
    // Of a page that broke off.
    pages.keep_page();
    reading.content.pages = std::mem::take(&mut pages.held);
    Ok(())
}

/// Where the next page may begin: a bracket right behind a line break.
fn next_page(text: &[u8], from: usize) -> Option<usize> {
    // A page that is cut shows it at the first byte of the next one.
    let blank = text[..from.min(text.len())].iter().rev().take_while(|b| b.is_ascii_whitespace());
    let mut at = from.min(text.len()) - blank.count();
    while let Some(found) = memchr::memchr(b'\n', text.get(at..)?) {
        at += found + 1;
        if matches!(text.get(at), Some(b'{')) {
            return Some(at);
        }
    }
    None
}

impl Pages {
    /// Tells of what stands in a page or beside it and is none of its lines.
    fn refuse(&self, reading: &mut Reading<'_>, path: &str, reason: &'static str, what: &str) {
        reading.reject(names::reject(&self.name, self.records, path, reason, what));
    }

    /// Puts the page that was read with those of the same query.
    fn keep_page(&mut self) {
        let mut page = std::mem::take(&mut self.page);
        self.said.clear();
        if page == PagesHeld::default() {
            return;
        }
        (page.most, page.fewest) = (page.ids.len(), page.ids.len());
        let query = (page.total, page.month);
        let next = self.held.len();
        match self.queries.entry(query).or_insert(next) {
            at if *at == next => self.held.push(page),
            at => {
                let held = &mut self.held[*at];
                held.most = held.most.max(page.most);
                held.fewest = held.fewest.min(page.fewest);
                held.ids.extend(page.ids);
            }
        }
    }

    /// What a line is known by: its id, or what it says, and the how manieth of its page that says so it is.
    fn identity(&mut self, id: Option<&str>, said: impl FnOnce() -> u64) -> u64 {
        match id {
            Some(id) => names::digest(id),
            None => {
                let digest = said();
                let nth = self.said.entry(digest).or_default();
                *nth += 1;
                names::digest((digest, *nth))
            }
        }
    }

    /// Notes what a page of the provider's list says of a next one. What it does not say is no next one.
    fn keep_list(&mut self, reading: &mut Reading<'_>, more: bool) {
        let days = std::mem::take(&mut self.days);
        let pages = &mut reading.content.list_pages;
        if more {
            pages.entry(days.last().copied()).or_default().goes_on += 1;
        } else if days.is_empty() {
            pages.entry(None).or_default().ends += 1;
        }
        for day in days.into_iter().filter(|_| !more) {
            pages.entry(Some(day)).or_default().ends += 1;
        }
    }
}

const NO_PAGE: &str = "is no page of DescribeBillDetail (DetailSet) or GetWeChatBillDetails (WeChatBillDetails): what it holds \
                       was not read; give each page as the API answers it";

/// A page, or an array of pages.
fn document(cursor: &mut Cursor<'_>, reading: &mut Reading<'_>, pages: &mut Pages) -> Parsed<()> {
    match cursor.peek() {
        Some(b'[') => cursor.array(|cursor, _| document(cursor, reading, pages)),
        Some(b'{') => page(cursor, reading, pages),
        // After a page that was given up, what stood around it.
        Some(b',' | b']') if pages.records > 0 || pages.pages > 0 => {
            cursor.seek(cursor.pos() + 1);
            Ok(())
        }
        _ => {
            cursor.skip()?;
            pages.refuse(reading, "", "page_invalid", NO_PAGE);
            Ok(())
        }
    }
}

fn page(cursor: &mut Cursor<'_>, reading: &mut Reading<'_>, pages: &mut Pages) -> Parsed<()> {
    let (mut is_page, mut has_lines, mut is_list) = (false, false, false);
    let (mut total, mut more) = (None, None);
    cursor.object(|cursor, _, member| {
        is_page |= PAGE_MEMBERS.contains(&&*member);
        match &*member {
            "Response" if cursor.peek() == Some(b'{') => page(cursor, reading, pages)?,
            "Response" => {
                cursor.skip()?;
                pages.refuse(reading, "Response", "page_invalid", NO_PAGE);
            }
            "DetailSet" => {
                pages.pages += 1;
                pages.bill_pages += 1;
                has_lines = true;
                let others = each(cursor, |cursor| detail(cursor, reading, pages))?;
                no_lines(reading, pages, "DetailSet", others);
            }
            "WeChatBillDetails" => {
                pages.pages += 1;
                is_list = true;
                pages.days.clear();
                let others = each(cursor, |cursor| wechat::detail(cursor, reading, pages))?;
                no_lines(reading, pages, "WeChatBillDetails", others);
            }
            "Total" => match cursor.scalar()? {
                Scalar::Null => {}
                scalar => match text_of(scalar).as_deref().and_then(count) {
                    Some(count) => total = total.max(Some(count)),
                    None => {
                        let what =
                            "is no number of bill lines: whether all pages were given is not known";
                        pages.refuse(reading, "Total", "total_invalid", what);
                    }
                },
            },
            "HasNextPage" => match cursor.scalar()? {
                Scalar::Null => {}
                scalar => match truth(&scalar) {
                    Some(next) => more = Some(next),
                    None => {
                        let what =
                            "is neither true nor false: whether this is the last page is not known";
                        pages.refuse(reading, "HasNextPage", "flag_invalid", what);
                    }
                },
            },
            "Error" => {
                if !matches!(cursor.scalar()?, Scalar::Null) {
                    pages.error_pages += 1;
                    let what = "the page holds an error and no lines: ask for it again";
                    pages.refuse(reading, "Response.Error", "response_error", what);
                }
            }
            _ => cursor.skip()?,
        }
        Ok(())
    })?;
    if !is_page {
        pages.refuse(reading, "", "page_invalid", NO_PAGE);
    }
    if has_lines || total.is_some() {
        pages.page.total = total.filter(|total| *total > 0);
        pages.keep_page();
    }
    if is_list || more.is_some() {
        pages.keep_list(reading, more.unwrap_or(false));
    }
    Ok(())
}

/// What a page has at least one of.
const PAGE_MEMBERS: [&str; 6] =
    ["Response", "DetailSet", "WeChatBillDetails", "Total", "HasNextPage", "Error"];

/// A whole number that is not below zero, as text or number.
fn count(text: &str) -> Option<i64> {
    let amount = value::json_amount(value::cleaned(text)?).ok()?;
    amount.as_count().filter(|count| *count >= 0)
}

fn truth(scalar: &Scalar<'_>) -> Option<bool> {
    match scalar {
        Scalar::Bool(flag) => Some(*flag),
        Scalar::Text(text) if text.eq_ignore_ascii_case("true") => Some(true),
        Scalar::Text(text) if text.eq_ignore_ascii_case("false") => Some(false),
        _ => None,
    }
}

fn no_lines(reading: &mut Reading<'_>, pages: &Pages, path: &str, others: i64) {
    if others > 0 {
        let what = "holds something else than objects: what it says was not read; give each page as the API answers it";
        pages.refuse(reading, path, "page_invalid", what);
    }
}

/// Each object of a list, or the one object that stands for a list of one; null is an empty list. How many others there
/// are, which are passed over.
pub fn each<'t>(
    cursor: &mut Cursor<'t>,
    mut element: impl FnMut(&mut Cursor<'t>) -> Parsed<()>,
) -> Parsed<i64> {
    let mut others = 0;
    match cursor.peek() {
        Some(b'[') => cursor.array(|cursor, _| match cursor.peek() {
            Some(b'{') => element(cursor),
            _ => {
                others += 1;
                cursor.skip()
            }
        })?,
        Some(b'{') => element(cursor)?,
        _ => others += i64::from(!matches!(cursor.scalar()?, Scalar::Null)),
    }
    Ok(others)
}

/// A text, or a number as it is written; None for anything that says nothing.
pub fn text_of<'t>(scalar: Scalar<'t>) -> Option<Cow<'t, str>> {
    match scalar {
        Scalar::Text(text) => Some(text),
        Scalar::Number(text) => Some(Cow::Borrowed(text)),
        Scalar::Null | Scalar::Bool(_) | Scalar::Container => None,
    }
}

/// The facts of one object: of several names of a field the first one of its list counts, whose rank stands beside it.
#[derive(Default)]
struct Facts<'t> {
    said: Vec<(Field, usize, Cow<'t, str>)>,
    /// The fields that are said, a bit each.
    fields: u64,
    /// The first that cannot be told.
    fault: Option<(Field, &'static str, &'static str)>,
}

const TWICE: &str = "stands there twice, and says two things; take the page as the API answered it";
const NO_FACT: &str = "is no text or number; take the page as the API answered it";

impl<'t> Facts<'t> {
    fn says(&self, field: Field) -> Option<&str> {
        let found = || self.said.iter().find(|(said, ..)| *said == field);
        (self.fields >> field as u64 & 1 == 1).then(found)?.map(|(.., text)| &**text)
    }

    fn add(&mut self, field: Field, rank: usize, text: Cow<'t, str>) {
        // Of remarks there are many.
        if field != Field::Remarks && self.fields >> field as u64 & 1 == 1 {
            let before = self.said.iter_mut().find(|(said, ..)| *said == field);
            let Some((_, best, said)) = before else { return };
            if (*best == rank || field.must_agree()) && !is_same(field, said, &text) {
                self.fault.get_or_insert((field, "member_twice", TWICE));
            }
            if rank < *best {
                (*best, *said) = (rank, text);
            }
            return;
        }
        self.fields |= 1 << field as u64;
        self.said.push((field, rank, text));
    }

    /// Reads one member.
    fn read(&mut self, cursor: &mut Cursor<'t>, member: &str) -> Parsed<()> {
        let Some((field, rank)) = names::field_of_member(member) else { return cursor.skip() };
        let from = cursor.pos();
        match cursor.scalar()? {
            Scalar::Null => {}
            // The remarks may be an object: what they hold is looked for, not read.
            Scalar::Container if field == Field::Remarks => {
                self.add(field, rank, Cow::Owned(cursor.text_from(from).to_owned()));
            }
            scalar => match text_of(scalar) {
                Some(text) => self.add(field, rank, text),
                None => _ = self.fault.get_or_insert((field, "value_invalid", NO_FACT)),
            },
        }
        Ok(())
    }

    /// What keeps a line of these facts and those of its component from being told.
    fn fault_of(&self, component: &Facts<'_>) -> Option<(Field, &'static str, &'static str)> {
        let twice = || {
            let mut both = component.said.iter().filter(|(field, ..)| field.must_agree());
            let (field, ..) = both.find(|(field, _, text)| {
                self.says(*field).is_some_and(|said| !is_same(*field, said, text))
            })?;
            Some((*field, "member_twice", TWICE))
        };
        self.fault.or(component.fault).or_else(twice)
    }
}

/// Whether two members say the same of a field.
fn is_same(field: Field, one: &str, other: &str) -> bool {
    match (value::cleaned(one), value::cleaned(other)) {
        (Some(one), Some(other)) => field.is_same(one, other),
        (one, other) => one == other,
    }
}

/// A line of the bill: one row for each of its components, which may stand before what all of them share.
fn detail(cursor: &mut Cursor<'_>, reading: &mut Reading<'_>, pages: &mut Pages) -> Parsed<()> {
    let mut shared = Facts::default();
    let mut components: Vec<Facts<'_>> = Vec::new();
    let mut others = 0;
    cursor.object(|cursor, _, member| match &*member {
        "ComponentSet" => {
            others += each(cursor, |cursor| {
                let mut facts = Facts::default();
                cursor.object(|cursor, _, member| facts.read(cursor, &member))?;
                components.push(facts);
                Ok(())
            })?;
            Ok(())
        }
        member => shared.read(cursor, member),
    })?;
    let said = || {
        let facts = |facts: &Facts<'_>| {
            let of_fact =
                |(field, _, text): &(Field, usize, Cow<'_, str>)| names::digest((*field, &**text));
            facts.said.iter().map(of_fact).collect::<Vec<u64>>()
        };
        names::digest((facts(&shared), components.iter().map(facts).collect::<Vec<_>>()))
    };
    let identity = pages.identity(shared.says(Field::LineId).and_then(value::cleaned), said);
    pages.page.ids.push(identity);
    if components.is_empty() {
        components.push(Facts::default());
    }
    let alone = components.len() == 1 && components[0].fields == 0;
    for (component_at, component) in (0..).zip(&components) {
        let row = pages.records;
        pages.records += 1;
        reading.content.file.rows += 1;
        let mut draft = Draft::default();
        let fault = shared.fault_of(component);
        if let Some((field, reason, message)) = fault {
            draft.fail(field, reason, message);
        }
        for (field, _, text) in shared.said.iter().chain(&component.said) {
            if let Some(text) = value::cleaned(text) {
                draft.set(*field, text, value::json_amount);
            }
        }
        draft.name_kind(reading.wording);
        // Whose it is cannot be told where it names two products.
        let of_product = |field| matches!(field, Field::BusinessName | Field::BusinessCode);
        if !fault.is_some_and(|(field, ..)| of_product(field)) && reading.is_other(&draft.line) {
            continue;
        }
        if alone || others > 0 {
            draft.fail(
                Field::UsageBilled,
                "component_missing",
                "the line has no components (ComponentSet), or some that are no objects",
            );
        }
        let month = reading.delivery.as_ref().map(|d| d.month());
        match draft.finish(month) {
            Drafted::Line(line) => {
                let source_file = pages.name.as_str().into();
                let month = line.bill_month.filter(|_| line.names_month);
                pages.page.month = pages.page.month.or(month);
                pages.says_total |= line.usage_total.is_some();
                pages.says_deducted |= line.usage_deducted.is_some();
                reading.line(BillLine { source_file, source_row: row, component_at, ..*line });
            }
            Drafted::Reject { column, reason, message } => {
                reading.reject(names::reject(&pages.name, row, column, reason, message));
            }
        }
    }
    Ok(())
}
