//! Cells of a bill: texts as people's programs leave them, to values. Nothing is rounded and nothing guessed.

use crate::model::{Amount, UsageDay, UsageMonth};
use std::borrow::Cow;

/// A cell without what spreadsheets and exporters put around it: outer white space and tabs, `="…"`, `"…"`, `'…'`, a
/// leading `'`, the `=` of a number.
/// None for a cell that says nothing: empty, `-`.
pub fn cleaned(cell: &str) -> Option<&str> {
    let mut text = trimmed(cell);
    if let Some(inner) = text.strip_prefix("=\"").and_then(|t| t.strip_suffix('"')) {
        text = trimmed(inner);
    }
    for mark in ['"', '\''] {
        let quoted = text.strip_prefix(mark).and_then(|t| t.strip_suffix(mark));
        text = quoted.map_or(text, trimmed);
    }
    if let Some(rest) = text.strip_prefix('\'') {
        text = trimmed(rest);
    }
    // A formula that is a number.
    let is_digit = |c: char| c.is_ascii_digit();
    if let Some(rest) = text.strip_prefix('=')
        && rest.strip_prefix(['-', '+']).unwrap_or(rest).starts_with(is_digit)
    {
        text = rest;
    }
    let silent = text.chars().all(|c| matches!(c, '-' | '－' | '—' | '–')) && text.len() <= 6;
    (!silent).then_some(text)
}

fn trimmed(text: &str) -> &str {
    text.trim_matches(|c: char| c.is_whitespace() || c == '\u{feff}' || c == '\0')
}

/// Why a number is none, and what to do.
pub fn amount(text: &str) -> Result<Amount, String> {
    let plain = ungrouped(text);
    // Of nothing nothing was rounded away.
    if let Some(Ok(zero)) = exponent(text).map(|shifted| Amount::parse(&shifted))
        && zero.is_zero()
    {
        return Ok(zero);
    }
    Amount::parse(&plain).map_err(|error| match text.contains(['e', 'E']) {
        true if exponent(text).is_some() => {
            "has an exponent, as spreadsheets write it, which may have rounded it; \
                                             take the file as it was downloaded"
                .to_owned()
        }
        _ => format!("{error}; take the file as it was downloaded"),
    })
}

/// A number of JSON, exponent and all: exact, too.
pub fn json_amount(text: &str) -> Result<Amount, String> {
    match exponent(text) {
        Some(shifted) => Amount::parse(&shifted).map_err(|error| error.to_string()),
        None => amount(text),
    }
}

/// Whether two cells, each cleaned, say the same: as texts, amounts, or times.
pub fn is_same(one: &str, other: &str) -> bool {
    let amounts = || json_amount(one).is_ok_and(|amount| json_amount(other) == Ok(amount));
    let times = || instant(one).is_some_and(|time| instant(other) == Some(time));
    one == other || amounts() || times()
}

/// Without the commas between groups of three digits; as it is when they stand elsewhere.
fn ungrouped(text: &str) -> Cow<'_, str> {
    if !text.contains(',') {
        return Cow::Borrowed(text);
    }
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let whole = unsigned.split('.').next().unwrap_or(unsigned);
    let mut groups = whole.split(',');
    let digits = |g: &str| g.bytes().all(|b| b.is_ascii_digit());
    let first = groups.next().is_some_and(|g| (1..=3).contains(&g.len()) && digits(g));
    match first && groups.all(|g| g.len() == 3 && digits(g)) {
        // Of the whole part alone: a comma behind the point stays, and is a fault.
        true => {
            let at = text.len() - unsigned.len() + whole.len();
            Cow::Owned(format!("{}{}", text[..at].replace(',', ""), &text[at..]))
        }
        false => Cow::Borrowed(text),
    }
}

/// A number with an exponent, written without it.
fn exponent(text: &str) -> Option<String> {
    let (mantissa, power) = text.split_once(['e', 'E'])?;
    let power: i32 = power.parse().ok().filter(|p| (-60..=60).contains(p))?;
    let (sign, unsigned) = match mantissa.strip_prefix('-') {
        Some(unsigned) => ("-", unsigned),
        None => ("", mantissa.strip_prefix('+').unwrap_or(mantissa)),
    };
    let (whole, part) = unsigned.split_once('.').unwrap_or((unsigned, ""));
    let digits = format!("{whole}{part}");
    if digits.is_empty() || digits.len() > 80 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let point = whole.len() as i32 + power;
    Some(match point {
        ..=0 => format!("{sign}0.{}{digits}", "0".repeat(-point as usize)),
        _ if point as usize >= digits.len() => {
            format!("{sign}{digits}{}", "0".repeat(point as usize - digits.len()))
        }
        _ => format!("{sign}{}.{}", &digits[..point as usize], &digits[point as usize..]),
    })
}

/// A Beijing time, in milliseconds since the epoch: `2024-11-01 00:00:00`, `2024/11/1 0:00` (as spreadsheets save it),
/// a day alone (its beginning).
pub fn instant(text: &str) -> Option<i64> {
    let (date, time) = match text.find([' ', 'T', '\t']) {
        Some(at) => (&text[..at], text[at + 1..].trim()),
        None => (text, ""),
    };
    let day = day_of(date)?;
    // Its own offset changes nothing.
    let own = ["+08:00", "+0800"].iter().find_map(|own| time.strip_suffix(own));
    let seconds = match own.map_or(time, str::trim_end) {
        "" => 0,
        time => seconds_of(time)?,
    };
    Some(day.begin_ms() + seconds * 1000)
}

/// Whether such a time names a midnight, and not a day alone.
pub fn is_midnight(text: &str) -> bool {
    let begins = |ms: i64| UsageDay::of_instant(ms).begin_ms() == ms;
    text.contains(':') && instant(text).is_some_and(begins)
}

/// The Beijing day of such a time.
pub fn day(text: &str) -> Option<UsageDay> {
    instant(text).map(UsageDay::of_instant)
}

/// `2024-11`, `202411`, `2024/11`, `2024年11月`, `Nov-24` (as spreadsheets save it), or a day of the month.
pub fn month(text: &str) -> Option<UsageMonth> {
    if let Some((name, year)) = text.split_once('-').filter(|(name, _)| name.len() == 3)
        && let Some(at) = MONTHS.iter().position(|month| month.eq_ignore_ascii_case(name))
    {
        return UsageMonth::parse(&format!("20{:02}-{:02}", number(year, 2)?, at + 1));
    }
    let plain = text.replace('年', "-").replace('月', "").replace('/', "-");
    let joined = |text: &str| text.len() == 6 && text.bytes().all(|b| b.is_ascii_digit());
    match plain.split_once('-') {
        None if joined(&plain) => UsageMonth::parse(&format!("{}-{}", &plain[..4], &plain[4..])),
        Some((year, month)) if month.len() <= 2 => {
            UsageMonth::parse(&format!("{year}-{:02}", number(month, 2)?))
        }
        _ => day(text).map(UsageDay::month),
    }
}

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

fn number(digits: &str, len_max: usize) -> Option<u32> {
    let plain = (1..=len_max).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
    plain.then(|| digits.parse().ok())?
}

fn day_of(date: &str) -> Option<UsageDay> {
    if date.len() == 10 && date.as_bytes()[4] == b'-' {
        return UsageDay::parse(date);
    }
    let separator = if date.contains('/') { '/' } else { '-' };
    let mut parts = date.split(separator);
    let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
    if year.len() != 4 || parts.next().is_some() {
        return None;
    }
    let (year, month, day) = (number(year, 4)?, number(month, 2)?, number(day, 2)?);
    UsageDay::parse(&format!("{year:04}-{month:02}-{day:02}"))
}

fn seconds_of(time: &str) -> Option<i64> {
    let mut parts = time.split(':');
    let (hours, minutes) = (number(parts.next()?, 2)?, parts.next()?);
    let seconds = parts.next().map_or(Some(0), |s| number(s, 2))?;
    if parts.next().is_some() || minutes.len() != 2 {
        return None;
    }
    let minutes = number(minutes, 2)?;
    let fits = hours < 24 && minutes < 60 && seconds < 60;
    fits.then(|| i64::from(hours * 3600 + minutes * 60 + seconds))
}
