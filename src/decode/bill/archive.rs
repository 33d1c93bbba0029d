//! Bills in zip archives: one CSV, or several that share a header. Members are unpacked as they are read.

use super::csv::Bill;
use super::{BillRefused, Kind, MEMBERS_MAX, Reading, UNPACKED_BYTES_MAX, kind_of, names};
use std::io::{self, BufRead, BufReader, Cursor, Read};
use zip::ZipArchive;
use zip::result::ZipError;

/// What is unpacked at once.
const CHUNK_BYTES: usize = 256 << 10;

pub fn read(reading: &mut Reading<'_>, name: &str, bytes: &[u8]) -> Result<(), BillRefused> {
    read_within(reading, name, bytes, UNPACKED_BYTES_MAX)
}

/// As [`read`], with a bound of its own on what all members unpack to.
pub fn read_within(
    reading: &mut Reading<'_>,
    name: &str,
    bytes: &[u8],
    mut left: u64,
) -> Result<(), BillRefused> {
    let file = || name.to_owned();
    let damaged = |cause: &dyn std::fmt::Display| BillRefused::Damaged {
        file: file(),
        cause: cause.to_string(),
    };
    let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(|error| damaged(&error))?;
    // Of two that were put into one file only the last lists its members.
    if archive.offset() > 0 || behind(bytes) > 0 {
        return Err(damaged(&"there is more than one archive in it: give each by itself"));
    }
    if listed_members(bytes).is_some_and(|listed| listed > archive.len()) {
        return Err(damaged(&"members have the name of others, which hides them"));
    }
    if archive.len() > MEMBERS_MAX {
        return Err(BillRefused::TooManyMembers { file: file(), members: archive.len() });
    }
    let mut members = Vec::new();
    let (mut others, mut unread) = (Vec::new(), Vec::new());
    for at in 0..archive.len() {
        let member = archive.by_index_raw(at).map_err(|error| damaged(&error))?;
        if member.is_dir() {
            continue;
        }
        let shown = member_name(&member.name().unwrap_or_default());
        let lower = shown.to_ascii_lowercase();
        if lower == "xl/workbook.xml" {
            let what = "a workbook of a spreadsheet (.xlsx)";
            return Err(BillRefused::Spreadsheet { file: file(), what });
        }
        let ends = |ends: &[&str]| ends.iter().any(|end| lower.ends_with(end));
        match () {
            _ if super::is_litter(&lower) => {}
            _ if ends(&[".csv", ".txt"]) || !has_end(&lower) => {
                members.push((shown, at, member.encrypted()))
            }
            _ if super::is_no_bill(&lower) => others.push(shown),
            _ => unread.push(shown),
        }
    }
    if members.iter().any(|(_, _, encrypted)| *encrypted) {
        return Err(BillRefused::Encrypted { file: file() });
    }
    // The order within the archive is the packer's affair.
    members.sort();
    let mut bill = Bill::new(reading);
    let mut read_any = false;
    // Members that are no detail bill, and those that may hold lines of ours and cannot be read.
    let (mut passed, mut lost): (Vec<BillRefused>, Vec<(String, BillRefused)>) = Default::default();
    for (member, at, _) in members {
        let inside = format!("{name}!{member}");
        let unpacked = archive.by_index(at).map_err(|error| match error {
            ZipError::UnsupportedArchive(what) if what == ZipError::PASSWORD_REQUIRED => {
                BillRefused::Encrypted { file: file() }
            }
            error => damaged(&error),
        })?;
        let bytes = unpacked.size().min(left);
        let mut input = BufReader::with_capacity(
            CHUNK_BYTES,
            Bounded { input: unpacked, left: &mut left, passed: false },
        );
        let is_csv = member.to_ascii_lowercase().ends_with(".csv");
        let head = input.fill_buf();
        // A text beside the bill need not be one.
        if !is_csv && head.as_ref().is_ok_and(|head| !looks_like_a_bill(head)) {
            others.push(member);
            continue;
        }
        let mut outcome = match head.map(kind_of) {
            Ok(Kind::Text | Kind::Empty) => bill.read(reading, &inside, &mut input, bytes),
            Ok(Kind::Zip | Kind::Json) => {
                unread.push(member);
                continue;
            }
            Ok(Kind::Refused(refuse)) => Ok(Err(refuse(inside.clone()))),
            Err(error) => Err(error),
        };
        if matches!(outcome, Ok(Err(_))) {
            // What is damaged looks like no bill. Its checksum is asked for at its end.
            outcome = io::copy(&mut input, &mut io::sink()).and(outcome);
        }
        if input.get_ref().passed {
            return Err(BillRefused::TooLarge { file: file() });
        }
        match outcome.map_err(|error| damaged(&error))? {
            Ok(()) => {
                read_any = true;
                reading.content.members.push(inside);
            }
            // A bill pack holds the other levels, too.
            Err(refused @ BillRefused::NotDetail { .. }) => passed.push(refused),
            // Rows before it count already.
            Err(refused @ BillRefused::RowTooLong { row: 2.., .. }) => return Err(refused),
            Err(
                refused @ (BillRefused::HeaderDiffers { .. } | BillRefused::DuplicateColumn { .. }),
            ) if is_csv => return Err(refused),
            Err(refused) => lost.push((inside, refused)),
        }
    }
    others.extend(unread.iter().cloned());
    if !read_any {
        passed.extend(lost.into_iter().map(|(_, refused)| refused));
        return Err(match passed.pop() {
            Some(refused) if passed.is_empty() && others.is_empty() => refused,
            Some(refused) => {
                let mut found: Vec<String> = passed.iter().map(ToString::to_string).collect();
                found.push(refused.to_string());
                found.extend(others);
                BillRefused::NoDetailInside { file: file(), found: listed(&found) }
            }
            None if others.is_empty() => BillRefused::Empty { file: file() },
            None => BillRefused::NoDetailInside { file: file(), found: listed(&others) },
        });
    }
    for (member, why) in lost {
        reading.reject(names::reject(&member, 1, "", "member_unread", why.to_string()));
    }
    for member in unread {
        let why = "what is in it was not read: unpack it, and give it by itself";
        reading.reject(names::reject(&format!("{name}!{member}"), 1, "", "member_unread", why));
    }
    for refused in passed {
        reading.note(format_args!("passed over: {refused}"));
    }
    if !others.is_empty() {
        let what = listed(&others);
        reading.note(format_args!("{name}: passed over, being no CSV: {what}"));
    }
    bill.finish(reading)
}

/// The last record of an archive and what stands behind it (4.3.16 of the zip specification).
fn last_record(bytes: &[u8]) -> Option<&[u8]> {
    memchr::memmem::rfind(bytes, b"PK\x05\x06").map(|at| &bytes[at..])
}

/// The number of two bytes at a place of a record.
fn number(record: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes([*record.get(at)?, *record.get(at + 1)?]))
}

/// How many members an archive says that it lists, by its last record. None where that says that another record does.
fn listed_members(bytes: &[u8]) -> Option<usize> {
    let count = number(last_record(bytes)?, 10)?;
    (count != u16::MAX).then_some(usize::from(count))
}

/// How many bytes stand behind the end of an archive, those aside that fill it up.
fn behind(bytes: &[u8]) -> usize {
    const RECORD: usize = 22;
    let record = last_record(bytes).unwrap_or_default();
    let comment = number(record, 20).unwrap_or(0);
    let rest = record.get(RECORD + usize::from(comment)..).unwrap_or_default();
    rest.iter().filter(|byte| **byte != 0).count()
}

/// Lines of a text in which the columns of a bill may be named, below a title.
const HEADER_LINES: usize = 20;
/// Names of columns that no other text has in one line.
const HEADER_NAMES: usize = 3;

/// Whether a text begins like a bill in any form: a line of it names columns, or it is a page of the API.
pub fn looks_like_a_bill(head: &[u8]) -> bool {
    let text = match head {
        [0xFF, 0xFE, ..] => encoding_rs::UTF_16LE.decode(head).0,
        [0xFE, 0xFF, ..] => encoding_rs::UTF_16BE.decode(head).0,
        _ => match std::str::from_utf8(head).map_err(|error| error.valid_up_to()) {
            Ok(text) => text.into(),
            // The last character may be cut.
            Err(valid) if valid + 4 > head.len() => String::from_utf8_lossy(&head[..valid]),
            Err(_) => encoding_rs::GB18030.decode(head).0,
        },
    };
    let names = |line: &str| {
        let cells = line.split([',', ';', '\t', '|']);
        cells.filter(|cell| names::field_of_header(cell).is_some()).count()
    };
    text.contains("\"DetailSet\"")
        || text.contains("\"WeChatBillDetails\"")
        || text.lines().take(HEADER_LINES).any(|line| names(line) >= HEADER_NAMES)
}

/// Whether a name ends as names of files do.
fn has_end(name: &str) -> bool {
    let file = name.rsplit(['/', '\\']).next().unwrap_or(name);
    file.rsplit_once('.').is_some_and(|(_, end)| (1..=5).contains(&end.len()))
}

/// So many names are shown.
const LISTED_MAX: usize = 5;

fn listed(names: &[String]) -> String {
    let shown = names[..names.len().min(LISTED_MAX)].join(", ");
    match names.len() - names.len().min(LISTED_MAX) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// A member's name as it may be shown.
fn member_name(name: &str) -> String {
    name.chars().take(200).map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// Reads no more than is left of the bound that all members share.
struct Bounded<'b, R> {
    input: R,
    left: &'b mut u64,
    passed: bool,
}

impl<R: Read> Read for Bounded<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(buffer)?;
        if read as u64 > *self.left {
            self.passed = true;
            return Err(io::Error::other("more than an archive may unpack to"));
        }
        *self.left -= read as u64;
        Ok(read)
    }
}
