//! The detail bill as CSV.
//!
//! Takes rows a byte stream at a time, so that an archive is never held unpacked. Rows are told apart before their text
//! is decoded: in GB18030, as in UTF-8, no byte of a longer character is a comma, a quotation mark or a line break.
//! By hand, because a row is named by the line it begins in, blank lines and quoted line breaks counted.

use super::names::{self, Draft, Drafted, FIELDS, Field, Totals};
use super::{BillRefused, ROW_BYTES_MAX, Reading, UTF8_MARK, value};
use crate::model::{Amount, BillLine, UsageMonth};
use std::borrow::Cow;
use std::io::{self, BufRead, Read};

/// The rows of one CSV.
pub struct Rows<R> {
    input: R,
    /// The line in which the next row begins, from 1.
    next_line: i64,
    line: i64,
    raw: Vec<u8>,
    /// Unquoted cells, one behind the other, and where each ends.
    cells: Vec<u8>,
    ends: Vec<usize>,
    /// The file ends within quotes: the row has been cut.
    cut: bool,
}

/// Why a row could not be had.
pub enum Broken {
    Input(io::Error),
    TooLong { row: i64 },
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Broken {
        Broken::Input(error)
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Within {
    CellStart,
    Plain,
    Quoted,
    /// Behind a quotation mark inside of quotes: the end of them, or the first half of a mark.
    Mark,
}

impl<R: BufRead> Rows<R> {
    pub fn new(input: R) -> Rows<R> {
        Rows {
            input,
            next_line: 1,
            line: 1,
            raw: Vec::new(),
            cells: Vec::new(),
            ends: Vec::new(),
            cut: false,
        }
    }

    /// The next row that is not blank; false at the end.
    pub fn next(&mut self) -> Result<bool, Broken> {
        loop {
            self.line = self.next_line;
            self.cells.clear();
            self.ends.clear();
            if !self.read_row()? {
                return Ok(false);
            }
            let blank = self.ends.len() <= 1 && self.cells.iter().all(u8::is_ascii_whitespace);
            if !blank {
                return Ok(true);
            }
        }
    }

    fn read_row(&mut self) -> Result<bool, Broken> {
        let mut within = Within::CellStart;
        let (mut any, mut bytes) = (false, 0);
        loop {
            self.raw.clear();
            let left = (ROW_BYTES_MAX + 1 - bytes) as u64;
            let read = (&mut self.input).take(left).read_until(b'\n', &mut self.raw)?;
            bytes += read;
            if bytes > ROW_BYTES_MAX {
                return Err(Broken::TooLong { row: self.line });
            }
            if read == 0 {
                self.cut = within == Within::Quoted;
                if any {
                    self.ends.push(self.cells.len());
                }
                return Ok(any);
            }
            any = true;
            let ended = self.raw.last() == Some(&b'\n');
            self.next_line += i64::from(ended);
            let mut line = self.raw.as_slice();
            if self.line == 1 && bytes == read {
                line = line.strip_prefix(UTF8_MARK).unwrap_or(line);
            }
            within = split(line, within, &mut self.cells, &mut self.ends);
            if ended && within != Within::Quoted {
                self.ends.push(self.cells.len());
                return Ok(true);
            }
        }
    }

    pub fn len(&self) -> usize {
        self.ends.len()
    }

    pub fn cell(&self, at: usize) -> &[u8] {
        let from = if at == 0 { 0 } else { self.ends[at - 1] };
        &self.cells[from..self.ends[at]]
    }
}

/// Takes one line apart; a quoted line break keeps the cell open for the next.
fn split(line: &[u8], mut within: Within, cells: &mut Vec<u8>, ends: &mut Vec<usize>) -> Within {
    let content = line.strip_suffix(b"\n").map_or(line, |l| l.strip_suffix(b"\r").unwrap_or(l));
    let mut at = 0;
    while at < content.len() {
        let rest = &content[at..];
        match within {
            Within::CellStart if rest[0] == b'"' => {
                within = Within::Quoted;
                at += 1;
            }
            Within::CellStart | Within::Plain => {
                let end = memchr::memchr(b',', rest).unwrap_or(rest.len());
                // A tab or blank before the quotes that hold the cell.
                let lead = rest.iter().take_while(|b| matches!(b, b' ' | b'\t')).count();
                if within == Within::CellStart && lead > 0 && rest.get(lead) == Some(&b'"') {
                    at += lead;
                    continue;
                }
                cells.extend_from_slice(&rest[..end]);
                within = Within::Plain;
                at += end;
                if at < content.len() {
                    ends.push(cells.len());
                    within = Within::CellStart;
                    at += 1;
                }
            }
            Within::Quoted => {
                let end = memchr::memchr(b'"', rest).unwrap_or(rest.len());
                cells.extend_from_slice(&rest[..end]);
                at += end;
                if at < content.len() {
                    within = Within::Mark;
                    at += 1;
                }
            }
            Within::Mark if rest[0] == b'"' => {
                cells.push(b'"');
                within = Within::Quoted;
                at += 1;
            }
            // What stands behind the quotes belongs to the cell.
            Within::Mark => within = Within::Plain,
        }
    }
    if within == Within::Quoted && content.len() < line.len() {
        cells.extend_from_slice(&line[content.len()..]);
    }
    within
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Encoding {
    /// Nothing but ASCII so far.
    Open,
    Utf8,
    Gb18030,
}

impl Encoding {
    /// The text of a cell; None where it is no text.
    fn text<'c>(self, cell: &'c [u8]) -> Option<Cow<'c, str>> {
        match self {
            Encoding::Open | Encoding::Utf8 => std::str::from_utf8(cell).ok().map(Cow::Borrowed),
            // As strict as it is: GBK and GB2312 are parts of it.
            Encoding::Gb18030 => {
                encoding_rs::GB18030.decode_without_bom_handling_and_without_replacement(cell)
            }
        }
    }
}

/// No line has so many cells that are called like their columns.
const NAMED_AGAIN: usize = 3;

/// What the columns of a file are.
pub struct Header {
    /// Folded by nobody: how the header stands in the file, to compare those of split files.
    cells: Vec<String>,
    /// Place and field of the columns that count.
    columns: Vec<(usize, Field)>,
    /// Columns of a field that another one counts for: the place of each, and that of the other.
    beside: Vec<(usize, usize, Field)>,
    /// Cells that a row must have.
    width: usize,
    /// The fields that it has, a bit each.
    has: u64,
    /// The currency that the header of the cost names, where it is not yuan.
    currency: Option<String>,
}

impl Header {
    fn read(name: &str, cells: Vec<String>) -> Result<Header, BillRefused> {
        let mut best: [Option<(usize, usize)>; FIELDS] = [None; FIELDS];
        let mut all: Vec<(usize, Field)> = Vec::new();
        for (at, cell) in cells.iter().enumerate() {
            let Some((field, rank)) = names::field_of_header(cell) else { continue };
            if names::is_ignored(cell) {
                continue;
            }
            all.push((at, field));
            match best[field as usize] {
                Some((before, _)) if before == rank => {
                    let column = value::cleaned(cell).unwrap_or_default().to_owned();
                    return Err(BillRefused::DuplicateColumn { file: name.to_owned(), column });
                }
                Some((before, _)) if before < rank => {}
                _ => best[field as usize] = Some((rank, at)),
            }
        }
        const { assert!(FIELDS <= 64) };
        let has = |field: Field| best[field as usize].is_some();
        let missing: Vec<Field> = Field::all().filter(|f| f.is_needed() && !has(*f)).collect();
        let columns: Vec<(usize, Field)> =
            Field::all().filter_map(|f| best[f as usize].map(|(_, at)| (at, f))).collect();
        if !missing.is_empty() {
            let file = name.to_owned();
            let has_product = has(Field::BusinessName) || has(Field::ProductName);
            let paid = [Field::Cash, Field::Voucher, Field::Incentive, Field::Transfer];
            let has_cost = has(Field::Cost) || has(Field::CostList) || paid.into_iter().any(has);
            let of_component = columns.iter().any(|(_, field)| field.is_of_component());
            let of_line = [Field::UsageFrom, Field::UsageTo, Field::PayTime, Field::ActionTypeName];
            let of_line = of_component || of_line.into_iter().any(has);
            if has_product && has_cost && !of_component || (has_product || has_cost) && !of_line {
                let level = match has(Field::ResourceId) {
                    true => "a resource bill (资源账单, L2)",
                    false => "a summary (多维度汇总, L1)",
                };
                return Err(BillRefused::NotDetail { file, level });
            }
            let missing = missing.into_iter().map(|f| f.label().to_owned()).collect();
            return Err(BillRefused::MissingColumns { file, missing });
        }
        let width = all.iter().map(|(at, _)| at + 1).max().unwrap_or(0);
        let cost = columns.iter().find(|(_, field)| *field == Field::Cost);
        let currency = cost.and_then(|(at, _)| names::currency_of_header(&cells[*at]));
        let has = columns.iter().fold(0, |bits, (_, field)| bits | 1 << *field as u64);
        // International bills have an amount with and one without tax.
        let of_tax = |at: usize| cells[at].to_ascii_lowercase().contains("tax");
        let beside = all.into_iter().filter_map(|(at, field)| {
            let (_, counts) = best[field as usize]?;
            let is_other = at != counts && field.must_agree() && !of_tax(at) && !of_tax(counts);
            is_other.then_some((at, counts, field))
        });
        let beside = beside.collect();
        Ok(Header { cells, columns, beside, width, has, currency })
    }

    fn has(&self, field: Field) -> bool {
        self.has >> field as u64 & 1 == 1
    }

    /// What a row has in the column of a field, unless that is the cell at `but`.
    fn said(
        &self,
        rows: &Rows<impl BufRead>,
        encoding: &Encoding,
        field: Field,
        but: usize,
    ) -> Option<String> {
        let (at, _) = self.columns.iter().find(|(_, f)| *f == field)?;
        let text = encoding.text((*at < rows.len() && *at != but).then(|| rows.cell(*at))?)?;
        value::cleaned(&text).map(str::to_owned)
    }

    /// What the first cell of a row says of it: of one that names a time, or whose it is and of which product, never that it
    /// adds up others, whatever the cell is called.
    fn totals(
        &self,
        rows: &Rows<impl BufRead>,
        encoding: &Encoding,
        first: (usize, &str),
    ) -> Option<Totals> {
        if first.1.starts_with(|c: char| c.is_ascii_digit()) {
            return None;
        }
        let totals = names::totals_of(first.1)?;
        let of_line = [Field::UsageFrom, Field::PayTime, Field::Account, Field::BusinessName];
        let says = |field: Field| self.said(rows, encoding, field, first.0).is_some();
        (!of_line.into_iter().any(says)).then_some(totals)
    }

    /// Whether a row is a header again, as where files were put together; and whether it is this one.
    fn again(&self, rows: &Rows<impl BufRead>, encoding: &Encoding) -> Option<bool> {
        // A payer is a number, which no name of a column holds.
        let (payer, _) = self.columns.iter().find(|(_, field)| *field == Field::Account)?;
        if rows.cell(*payer).iter().any(u8::is_ascii_digit) {
            return None;
        }
        let text = |at: usize| encoding.text(rows.cell(at)).unwrap_or_default();
        let is_named = |(at, field): &&(usize, Field)| {
            names::field_of_header(&text(*at)).is_some_and(|(said, _)| said == *field)
        };
        let is_header = self.columns.iter().filter(is_named).count() > NAMED_AGAIN;
        let cells = self.cells.len().min(rows.len());
        is_header.then(|| (0..cells).all(|at| text(at) == self.cells[at]))
    }

    /// The field of which two columns of a row say different things.
    fn contradicted(&self, rows: &Rows<impl BufRead>, encoding: &Encoding) -> Option<Field> {
        let differ = |(at, counts, field): &&(usize, usize, Field)| {
            let cells = [*at, *counts].map(|at| encoding.text(rows.cell(at)));
            let [Some(one), Some(other)] = cells else { return false };
            let (Some(one), Some(other)) = (value::cleaned(&one), value::cleaned(&other)) else {
                return false;
            };
            // An account may have a name beside its number.
            let is_name = *field == Field::Account && !one.bytes().all(|b| b.is_ascii_digit());
            !is_name && !field.is_same(one, other)
        };
        self.beside.iter().find(differ).map(|(.., field)| *field)
    }
}

/// What the lines of a file come to, to be held against its line that adds them up.
#[derive(Default)]
struct Added {
    cost: Amount,
    /// A line could not be read, or an amount does not fit.
    is_unknown: bool,
    /// Rows that add up all, and what they say; None for what is no amount.
    totals: Vec<(i64, Option<Amount>)>,
}

/// The CSVs of one bill: split files share a header and the question whether days can be told apart.
pub struct Bill {
    header: Option<(String, Header)>,
    month: Option<UsageMonth>,
    /// A day's line with an order, a transaction or a deduction time was seen.
    told: bool,
    /// Days' lines that have none of them.
    silent: i64,
    /// Of the file that is being read.
    added: Added,
}

impl Bill {
    pub fn new(reading: &mut Reading<'_>) -> Bill {
        reading.content.file.kind = "detail_csv".to_owned();
        let month = reading.delivery.as_ref().map(|d| d.month());
        Bill { header: None, month, told: false, silent: 0, added: Added::default() }
    }

    /// Reads one CSV of so many bytes. `name` is the file, within an archive `archive.zip!member.csv`.
    pub fn read(
        &mut self,
        reading: &mut Reading<'_>,
        name: &str,
        mut input: impl BufRead,
        bytes: u64,
    ) -> Result<Result<(), BillRefused>, io::Error> {
        let head = input.fill_buf()?;
        let marked = head.starts_with(UTF8_MARK);
        reading.expect(bytes, head);
        let mut rows = Rows::new(input);
        let mut encoding = if marked { Encoding::Utf8 } else { Encoding::Open };
        let outcome = self.read_rows(reading, name, &mut rows, &mut encoding);
        if matches!(outcome, Ok(Ok(()))) {
            reading.encoding(match (encoding, marked) {
                (_, true) => "utf-8-bom",
                (Encoding::Gb18030, _) => "gb18030",
                _ => "utf-8",
            });
        }
        match outcome {
            Ok(outcome) => Ok(outcome),
            Err(Broken::Input(error)) => Err(error),
            Err(Broken::TooLong { row }) => {
                Ok(Err(BillRefused::RowTooLong { file: name.to_owned(), row }))
            }
        }
    }

    fn read_rows(
        &mut self,
        reading: &mut Reading<'_>,
        name: &str,
        rows: &mut Rows<impl BufRead>,
        encoding: &mut Encoding,
    ) -> Result<Result<(), BillRefused>, Broken> {
        if !rows.next()? {
            return Ok(Err(BillRefused::Empty { file: name.to_owned() }));
        }
        if let Err(refused) = self.take_header(name, rows, encoding) {
            return Ok(Err(refused));
        }
        self.added = Added::default();
        while rows.next()? {
            reading.content.file.rows += 1;
            self.take_row(reading, name, rows, encoding);
        }
        self.hold_totals(reading, name);
        Ok(Ok(()))
    }

    /// Holds what the file says its lines come to against them. One of the parts of a long bill may add up the others, too.
    fn hold_totals(&self, reading: &mut Reading<'_>, name: &str) {
        let is_part = super::part_of(name) != name;
        for (row, said) in &self.added.totals {
            let off = said.and_then(|said| said.checked_sub(self.added.cost));
            let off = off.is_none_or(|off| off.abs() >= Amount::FEN);
            if off && !self.added.is_unknown && !is_part {
                reading.content.totals -= 1;
                let what = format!(
                    "adds up to {}, and the lines of the file come to {}: lines are missing, or were changed; download it again",
                    said.map_or("what is no amount".to_owned(), |said| said.to_string()),
                    self.added.cost
                );
                let column = Field::Cost.label();
                reading.reject(names::reject(name, *row, column, "totals_disagree", what));
            }
        }
    }

    fn take_header(
        &mut self,
        name: &str,
        rows: &Rows<impl BufRead>,
        encoding: &mut Encoding,
    ) -> Result<(), BillRefused> {
        tell_encoding(rows, encoding);
        let text = |at| encoding.text(rows.cell(at)).unwrap_or(Cow::Borrowed("?")).into_owned();
        let mut cells: Vec<String> = (0..rows.len()).map(text).collect();
        while cells.last().is_some_and(|cell| value::cleaned(cell).is_none()) {
            cells.pop();
        }
        let separated = |by: char| cells.len() == 1 && cells[0].matches(by).count() > 3;
        if separated(';') || separated('\t') {
            let what = "cells separated by semicolons or tabs, not by commas";
            return Err(BillRefused::Spreadsheet { file: name.to_owned(), what });
        }
        if cells.iter().any(|cell| cell.trim_end().contains('\r')) {
            let what = "text whose lines end with CR alone";
            return Err(BillRefused::Spreadsheet { file: name.to_owned(), what });
        }
        match &self.header {
            Some((_, header)) if header.cells == cells => Ok(()),
            Some((first, _)) => {
                // What it is says more than that it differs.
                Header::read(name, cells)?;
                Err(BillRefused::HeaderDiffers { file: name.to_owned(), first: first.clone() })
            }
            None => {
                self.header = Some((name.to_owned(), Header::read(name, cells)?));
                Ok(())
            }
        }
    }

    fn take_row(
        &mut self,
        reading: &mut Reading<'_>,
        name: &str,
        rows: &Rows<impl BufRead>,
        encoding: &mut Encoding,
    ) {
        let header = &self.header.as_ref().expect("a header is read before rows").1;
        reading.says_deducted = header.has(Field::UsageDeducted);
        tell_encoding(rows, encoding);
        let row = rows.line;
        let first = (0..rows.len()).find_map(|at| {
            let text = encoding.text(rows.cell(at))?;
            Some((at, value::cleaned(&text)?.to_owned()))
        });
        // Nothing but separators: an empty line of a spreadsheet.
        if first.is_none() && rows.cells.is_ascii() {
            reading.content.file.rows -= 1;
            return;
        }
        let totals = first.as_ref().and_then(|(at, c)| header.totals(rows, encoding, (*at, c)));
        if let (Some(totals), Some((at, cell))) = (totals, first) {
            reading.content.totals += 1;
            let cost = header.said(rows, encoding, Field::Cost, at).or(names::amount_behind(&cell));
            if let (Totals::All, Some(cost)) = (totals, cost) {
                let cost = value::amount(
                    cost.trim_end_matches(['元', '圆']).trim_start_matches(['¥', '￥']),
                );
                self.added.totals.push((row, cost.ok()));
            }
            return;
        }
        let refuse = |reading: &mut Reading<'_>,
                      added: &mut Added,
                      column: &str,
                      reason,
                      message: String| {
            added.is_unknown = true;
            reading.reject(names::reject(name, row, column, reason, message));
        };
        if rows.cut {
            let what = "the file ends within quotes: it has been cut off; download it again";
            return refuse(reading, &mut self.added, "", "row_cut", what.into());
        }
        // A mark that was never closed, and one further down that closes it: what lies between is a row of its own.
        let columns = header.cells.len();
        let takes_in = |cell: &[u8]| {
            cell.contains(&b'\n') && memchr::memchr_iter(b',', cell).count() + 1 >= columns
        };
        if (0..rows.len()).any(|at| takes_in(rows.cell(at))) {
            let what = "a quotation mark in it is not closed before the next line, which it takes in; download the file again";
            return refuse(reading, &mut self.added, "", "row_merged", what.into());
        }
        if rows.len() < header.width {
            let what = format!("{} cells, where the header has {}", rows.len(), header.cells.len());
            return refuse(reading, &mut self.added, "", "row_short", what);
        }
        let extra = (header.cells.len()..rows.len()).find(|at| !rows.cell(*at).is_empty());
        if extra.is_some() {
            let what = format!("{} cells, where the header has {}", rows.len(), header.cells.len());
            return refuse(reading, &mut self.added, "", "row_long", what);
        }
        match header.again(rows, encoding) {
            None => {}
            Some(true) => {
                reading.content.file.rows -= 1;
                return;
            }
            Some(false) => {
                let what = "is a header of its own: columns may be others behind it; give each file by itself";
                return refuse(reading, &mut self.added, "", "header_differs", what.into());
            }
        }
        let mut draft = Draft::default();
        for (at, field) in &header.columns {
            let Some(text) = encoding.text(rows.cell(*at)) else {
                let encoding = match encoding {
                    Encoding::Gb18030 => "GB18030",
                    _ => "UTF-8",
                };
                return refuse(
                    reading,
                    &mut self.added,
                    field.label(),
                    "encoding_invalid",
                    format!("bytes that are no {encoding}, as the file is otherwise"),
                );
            };
            if let Some(text) = value::cleaned(&text) {
                draft.set(*field, text, value::amount);
            }
        }
        if let Some(field) = header.contradicted(rows, encoding) {
            let what = "is said in two columns, which contradict each other; take the file as it was downloaded";
            draft.fail(field, "columns_disagree", what);
        }
        if let Some(currency) = &header.currency {
            match draft.line.foreign_currency().is_none() && draft.line.currency.is_some() {
                true => draft.fail(
                    Field::Currency,
                    "columns_disagree",
                    format!("is yuan, and the header of {} says {currency}", Field::Cost.label()),
                ),
                false => _ = draft.line.currency.get_or_insert_with(|| currency.as_str().into()),
            }
        }
        match self.added.cost.checked_add(draft.line.cost.unwrap_or_default()) {
            Some(sum) if !draft.has_fault() => self.added.cost = sum,
            _ => self.added.is_unknown = true,
        }
        draft.name_kind(reading.wording);
        let aggregates = header.has(Field::OrderId)
            || header.has(Field::TransactionId)
            || header.has(Field::PayTime);
        if let (true, Some(settled)) = (aggregates, draft.by_day()) {
            self.told |= settled;
            self.silent += i64::from(!settled);
        }
        if reading.is_other(&draft.line) {
            return;
        }
        match draft.finish(self.month) {
            Drafted::Line(line) => {
                let columns = header.has;
                let line = BillLine { source_file: name.into(), source_row: row, columns, ..*line };
                reading.line(line);
            }
            Drafted::Reject { column, reason, message } => {
                reading.reject(names::reject(name, row, column, reason, message));
            }
        }
    }

    /// Ends the bill, or refuses it after all.
    pub fn finish(self, reading: &mut Reading<'_>) -> Result<(), BillRefused> {
        if let Some((name, header)) = &self.header {
            let has = |field| header.has(field);
            reading.note_measures(name, has(Field::UsageTotal), has(Field::UsageDeducted));
        }
        if self.silent > 0 && !self.told {
            return Err(BillRefused::Aggregated { file: reading.content.file.name.clone() });
        }
        Ok(())
    }
}

/// The first row with more than ASCII tells.
fn tell_encoding(rows: &Rows<impl BufRead>, encoding: &mut Encoding) {
    if *encoding == Encoding::Open && !rows.cells.is_ascii() {
        let utf8 = (0..rows.len()).all(|at| std::str::from_utf8(rows.cell(at)).is_ok());
        *encoding = if utf8 { Encoding::Utf8 } else { Encoding::Gb18030 };
    }
}

/// Reads a file that is one CSV.
pub fn read_alone(reading: &mut Reading<'_>, name: &str, bytes: &[u8]) -> Result<(), BillRefused> {
    let mut bill = Bill::new(reading);
    let outcome = bill.read(reading, name, bytes, bytes.len() as u64);
    outcome.expect("bytes in memory are read")?;
    bill.finish(reading)
}
