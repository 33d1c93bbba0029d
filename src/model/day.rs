//! Days and months of the bill: Beijing days, at fixed +08:00.

use chrono::{Datelike, Days, NaiveDate};
use std::fmt;

/// Milliseconds that Beijing is ahead of UTC. China has kept no daylight saving time since 1991, and
/// the service is younger than that.
const BEIJING_OFFSET_MS: i64 = 8 * 3_600_000;
const DAY_MS: i64 = 86_400_000;

/// A Beijing calendar day, as days since 1970-01-01. The same number as an Arrow `Date32`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UsageDay(i32);

impl UsageDay {
    /// The Beijing day in which an instant lies. `epoch_ms` is milliseconds since 1970-01-01T00:00Z.
    pub fn of_instant(epoch_ms: i64) -> UsageDay {
        UsageDay((epoch_ms + BEIJING_OFFSET_MS).div_euclid(DAY_MS) as i32)
    }

    /// From an Arrow `Date32`.
    pub fn from_date32(days: i32) -> UsageDay {
        UsageDay(days)
    }

    /// As an Arrow `Date32`.
    pub fn date32(self) -> i32 {
        self.0
    }

    /// `YYYY-MM-DD` or `YYYYMMDD`; `None` when it is no calendar day.
    pub fn parse(text: &str) -> Option<UsageDay> {
        let dashed = |i| text.len() == 10 && (i == 4 || i == 7);
        let shaped = |(i, b): (usize, u8)| if dashed(i) { b == b'-' } else { b.is_ascii_digit() };
        if !matches!(text.len(), 8 | 10) || !text.bytes().enumerate().all(shaped) {
            return None;
        }
        // By hand: the date of every key is read.
        let number = |digits: &str| digits.bytes().fold(0, |n, b| n * 10 + u32::from(b - b'0'));
        let dash = usize::from(text.len() == 10);
        let (year, rest) = text.split_at(4);
        let (month, day) = rest[dash..].split_at(2);
        NaiveDate::from_ymd_opt(number(year) as i32, number(month), number(&day[dash..]))
            .map(UsageDay::of_date)
    }

    fn of_date(date: NaiveDate) -> UsageDay {
        UsageDay(date.num_days_from_ce() - EPOCH_FROM_CE)
    }

    fn date(self) -> NaiveDate {
        NaiveDate::from_num_days_from_ce_opt(self.0 + EPOCH_FROM_CE).unwrap_or(NaiveDate::MAX)
    }

    /// The day `days` later (earlier when negative).
    pub fn plus(self, days: i32) -> UsageDay {
        UsageDay(self.0 + days)
    }

    /// The 1st of the month after this day's month.
    pub fn first_of_next_month(self) -> UsageDay {
        let date = self.date();
        let first = date.with_day(1).unwrap_or(date);
        UsageDay::of_date(
            first
                .checked_add_days(Days::new(31))
                .and_then(|d| d.with_day(1))
                .unwrap_or(NaiveDate::MAX),
        )
    }

    /// The same day of the next year; the 1st of March for a 29th of February.
    pub fn a_year_later(self) -> UsageDay {
        let date = self.date();
        let next = NaiveDate::from_ymd_opt(date.year() + 1, date.month(), date.day())
            .or_else(|| NaiveDate::from_ymd_opt(date.year() + 1, 3, 1));
        UsageDay::of_date(next.unwrap_or(NaiveDate::MAX))
    }

    /// The 1st of this day's month.
    pub fn first_of_month(self) -> UsageDay {
        let date = self.date();
        UsageDay::of_date(date.with_day(1).unwrap_or(date))
    }

    pub fn month(self) -> UsageMonth {
        let date = self.date();
        UsageMonth { year: date.year(), month: date.month() }
    }

    /// The instant at which the day begins in Beijing, in milliseconds since the epoch.
    pub fn begin_ms(self) -> i64 {
        i64::from(self.0) * DAY_MS - BEIJING_OFFSET_MS
    }
}

/// Days from 0001-01-01 (day 1) to 1970-01-01, chrono's count.
const EPOCH_FROM_CE: i32 = 719_163;

impl fmt::Display for UsageDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.date().format("%Y-%m-%d"))
    }
}

/// A Beijing calendar month: the partition of `daily_charge`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UsageMonth {
    year: i32,
    month: u32,
}

impl UsageMonth {
    pub fn first_day(self) -> UsageDay {
        UsageDay::of_date(NaiveDate::from_ymd_opt(self.year, self.month, 1).unwrap_or_default())
    }

    /// `YYYY-MM`.
    pub fn parse(text: &str) -> Option<UsageMonth> {
        let (year, month) = text.split_once('-')?;
        let (year, month) = (year.parse().ok()?, month.parse().ok()?);
        (text.len() == 7 && (1..=12).contains(&month)).then_some(UsageMonth { year, month })
    }
}

impl fmt::Display for UsageMonth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}", self.year, self.month)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(text: &str) -> UsageDay {
        UsageDay::parse(text).unwrap()
    }

    /// Instants worked out with `date -u -d '2024-11-01 00:00 +0800' +%s%3N` and the like.
    #[test]
    fn a_day_begins_at_midnight_in_beijing() {
        for (ms, expected) in [
            (1_730_390_400_000, "2024-11-01"),
            (1_730_390_399_999, "2024-10-31"),
            (1_709_135_999_999, "2024-02-28"),
            (1_709_136_000_000, "2024-02-29"),
            (1_709_222_399_999, "2024-02-29"),
            (1_709_222_400_000, "2024-03-01"),
            (1_704_038_399_999, "2023-12-31"),
            (1_704_038_400_000, "2024-01-01"),
            (0, "1970-01-01"),
            (-28_800_001, "1969-12-31"),
        ] {
            assert_eq!(UsageDay::of_instant(ms).to_string(), expected, "{ms}");
        }
        assert_eq!(day("2024-11-01").begin_ms(), 1_730_390_400_000);
    }

    #[test]
    fn months_turn_and_leap_years_leap() {
        for (from, next) in [
            ("2024-01-31", "2024-02-01"),
            ("2024-02-29", "2024-03-01"),
            ("2023-12-01", "2024-01-01"),
            ("2024-12-31", "2025-01-01"),
        ] {
            assert_eq!(day(from).first_of_next_month(), day(next), "{from}");
        }
        assert_eq!(day("2024-02-28").plus(1), day("2024-02-29"));
        assert_eq!(day("20240229"), day("2024-02-29"));
        assert_eq!(day("2024-02-29").month().to_string(), "2024-02");
    }

    #[test]
    fn what_is_no_day_is_none() {
        for text in [
            "2023-02-29",
            "2024-13-01",
            "2024-1-1",
            "2024/01/01",
            "202401",
            "",
            "2024-01-01 ",
            "+024-01-01",
        ] {
            assert_eq!(UsageDay::parse(text), None, "{text}");
        }
        assert_eq!(UsageMonth::parse("2024-13"), None);
        assert!(UsageMonth::parse("2024-12").is_some());
    }
}
