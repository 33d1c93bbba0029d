//! Pages of `DescribeBillDetail` and `GetWeChatBillDetails`, one after another or in arrays, with or without the
//! `Response` around them. Numbers are read as they are written, texts or not: no float is ever made of one.

use super::names::{self, Draft, Drafted, Field};
use super::{BillRefused, PagesHeld, Reading, UTF8_MARK, value, wechat};
use crate::decode::json::{Cursor, Parsed, Scalar, path_of};
use crate::model::{BillLine, UsageDay};
use std::borrow::Cow;

/// What pages have said so far.
#[derive(Default)]
pub struct Pages {
    pub name: String,
    /// Records: components of the bill, attempts of the provider's list.
    pub records: i64,
    without_id: i64,
    ids: Vec<u64>,
    /// The largest `Total` that a page named.
    total: i64,
    pub pages: i64,
    /// What the last page of the provider's list says of a next one.
    pub more: bool,
    /// The day of the last attempt of the provider's list; and of a page behind which more of that day is to come.
    pub day: Option<UsageDay>,
    pub day_goes_on: Option<UsageDay>,
    /// Pages behind which it did not: the next one that was given is of another day.
    pub cut: i64,
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
    if pages.total > 0 {
        let (ids, without_id) = (std::mem::take(&mut pages.ids), pages.without_id);
        reading.content.pages = Some(PagesHeld { total: pages.total, without_id, ids });
    }
    reading.content.list_goes_on = pages.day_goes_on;
    reading.content.list_cut = pages.cut + i64::from(pages.more && pages.day_goes_on.is_none());
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
        _ => cursor.skip(),
    }
}

fn page(cursor: &mut Cursor<'_>, reading: &mut Reading<'_>, pages: &mut Pages) -> Parsed<()> {
    let (mut total, mut more) = (None, None);
    cursor.object(|cursor, _, member| match &*member {
        "Response" if cursor.peek() == Some(b'{') => page(cursor, reading, pages),
        "DetailSet" => {
            pages.pages += 1;
            pages.bill_pages += 1;
            each(cursor, |cursor| detail(cursor, reading, pages))
        }
        "WeChatBillDetails" => {
            pages.pages += 1;
            each(cursor, |cursor| wechat::detail(cursor, reading, pages))
        }
        "Total" => {
            if let Scalar::Number(text) = cursor.scalar()? {
                total = text.parse::<i64>().ok();
            }
            Ok(())
        }
        "HasNextPage" => {
            if let Scalar::Bool(next) = cursor.scalar()? {
                more = Some(next);
            }
            Ok(())
        }
        "Error" if cursor.peek() == Some(b'{') => {
            cursor.skip()?;
            pages.error_pages += 1;
            reading.reject(names::reject(
                &pages.name,
                pages.records,
                "Response.Error",
                "response_error",
                "the page holds an error and no lines: ask for it again",
            ));
            Ok(())
        }
        _ => cursor.skip(),
    })?;
    pages.total = pages.total.max(total.unwrap_or(0));
    if let Some(more) = more {
        pages.more = more;
        pages.day_goes_on = pages.day.filter(|_| more);
    }
    Ok(())
}

/// Each element of a list, or the one object that stands for a list of one; null is an empty list.
pub fn each<'t>(
    cursor: &mut Cursor<'t>,
    mut element: impl FnMut(&mut Cursor<'t>) -> Parsed<()>,
) -> Parsed<()> {
    match cursor.peek() {
        Some(b'[') => cursor.array(|cursor, _| match cursor.peek() {
            Some(b'{') => element(cursor),
            _ => cursor.skip(),
        }),
        Some(b'{') => element(cursor),
        _ => cursor.skip(),
    }
}

/// A text, or a number as it is written; None for anything that says nothing.
pub fn text_of<'t>(scalar: Scalar<'t>) -> Option<Cow<'t, str>> {
    match scalar {
        Scalar::Text(text) => Some(text),
        Scalar::Number(text) => Some(Cow::Borrowed(text)),
        Scalar::Null | Scalar::Bool(_) | Scalar::Container => None,
    }
}

/// The facts of one object, in the order of its members.
type Facts<'t> = Vec<(Field, Cow<'t, str>)>;

/// Reads one member into facts.
fn fact<'t>(cursor: &mut Cursor<'t>, member: &str, facts: &mut Facts<'t>) -> Parsed<()> {
    let Some(field) = names::field_of_member(member) else { return cursor.skip() };
    if cursor.peek() == Some(b'{') || cursor.peek() == Some(b'[') {
        // The remarks may be an object: what they hold is looked for, not read.
        let from = cursor.pos();
        cursor.skip()?;
        if field == Field::Remarks {
            facts.push((field, Cow::Owned(cursor.text_from(from).to_owned())));
        }
        return Ok(());
    }
    if let Some(text) = text_of(cursor.scalar()?) {
        facts.push((field, text));
    }
    Ok(())
}

/// A line of the bill: one row for each of its components, which may stand before what all of them share.
fn detail(cursor: &mut Cursor<'_>, reading: &mut Reading<'_>, pages: &mut Pages) -> Parsed<()> {
    let mut shared: Facts<'_> = Vec::new();
    let mut components: Vec<Facts<'_>> = Vec::new();
    cursor.object(|cursor, _, member| match &*member {
        "ComponentSet" => each(cursor, |cursor| {
            let mut facts = Vec::new();
            cursor.object(|cursor, _, member| fact(cursor, &member, &mut facts))?;
            components.push(facts);
            Ok(())
        }),
        member => fact(cursor, member, &mut shared),
    })?;
    match shared.iter().find(|(field, _)| *field == Field::LineId) {
        Some((_, id)) => pages.ids.push(names::digest(id)),
        None => pages.without_id += 1,
    }
    if components.is_empty() {
        components.push(Vec::new());
    }
    let alone = components.len() == 1 && components[0].is_empty();
    for (component_at, component) in (0..).zip(&components) {
        let row = pages.records;
        pages.records += 1;
        reading.content.file.rows += 1;
        let mut draft = Draft::default();
        for (field, text) in shared.iter().chain(component) {
            if let Some(text) = value::cleaned(text) {
                draft.set(*field, text, value::json_amount);
            }
        }
        draft.name_kind(reading.wording);
        if reading.is_other(&draft.line) {
            continue;
        }
        if alone {
            draft.fail(
                Field::UsageBilled,
                "component_missing",
                "the line has no components (ComponentSet)",
            );
        }
        let month = reading.delivery.as_ref().map(|d| d.month());
        match draft.finish(month) {
            Drafted::Line(line) => {
                let source_file = pages.name.as_str().into();
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
