//! Names of the files that the cloud delivers, and which of them a later one replaces.
//!
//! A daily file holds the month so far: that of 6 April covers 1 to 5 April, that of 1 May all of April.

use crate::model::{UsageDay, UsageMonth};
use std::collections::BTreeMap;

/// What a bill's months are made of (账单统计周期).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Period {
    /// By usage time (按计费周期).
    Used,
    /// By deduction time (按扣费周期).
    Paid,
    /// The name does not say.
    Unknown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DeliveryDate {
    /// Delivered on this day: the month so far.
    Day(UsageDay),
    /// The whole month.
    Month(UsageMonth),
}

/// What the name of a delivered file says: `100010445724-20241208-by_used_time-bill_details.zip`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    pub uin: String,
    pub date: DeliveryDate,
    pub period: Period,
    /// A bill pack (账单包) holds other levels, too.
    pub pack: bool,
    /// Of a long bill that was unpacked, which of its parts.
    pub part: Option<u32>,
    /// Which download it is, by the ` (1)` that a browser puts behind the name of a second one; 0 for the first.
    pub copy: u32,
}

impl Delivery {
    /// The month whose lines the file holds.
    pub fn month(&self) -> UsageMonth {
        match self.date {
            DeliveryDate::Day(day) => day.plus(-1).month(),
            DeliveryDate::Month(month) => month,
        }
    }

    /// The first day on which the file can be known: a month's file comes on the 2nd of the next one.
    fn known_on(&self) -> UsageDay {
        match self.date {
            DeliveryDate::Day(day) => day,
            DeliveryDate::Month(month) => month.first_day().first_of_next_month().plus(1),
        }
    }
}

/// Reads the name of a delivered file; folders before it and the query of a URL behind it are left out.
pub fn delivery(name: &str) -> Option<Delivery> {
    let name = name.split(['?', '#']).next()?;
    let name = name.rsplit(['/', '\\']).next()?.to_ascii_lowercase();
    let stem = name.strip_suffix(".zip").or_else(|| name.strip_suffix(".csv"))?;
    let (stem, copy) = without_copy(stem);
    let (stem, part) = without_part(stem, 4);
    let (uin, rest) = stem.split_once('-')?;
    let (date, rest) = rest.split_once('-')?;
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !digits(uin) || !digits(date) {
        return None;
    }
    let date = match date.len() {
        8 => DeliveryDate::Day(UsageDay::parse(date)?),
        6 => DeliveryDate::Month(UsageMonth::parse(&format!("{}-{}", &date[..4], &date[4..]))?),
        _ => return None,
    };
    let (period, rest) = match rest {
        _ if rest.starts_with("by_used_time-") => (Period::Used, &rest["by_used_time-".len()..]),
        _ if rest.starts_with("by_pay_time-") => (Period::Paid, &rest["by_pay_time-".len()..]),
        _ => (Period::Unknown, rest),
    };
    let pack = match rest {
        "bill_details" => false,
        "bill_pack" => true,
        _ => return None,
    };
    Some(Delivery { uin: uin.to_owned(), date, period, pack, part, copy })
}

/// A name without what a browser puts behind that of a second download (` (1)`), and that number.
fn without_copy(stem: &str) -> (&str, u32) {
    let copied = stem.strip_suffix(')').and_then(|s| s.rsplit_once('('));
    match copied.map(|(stem, n)| (stem.trim_end(), n.parse())) {
        Some((stem, Ok(n))) => (stem, n),
        _ => (stem, 0),
    }
}

/// A name without the number of a part of a long bill (`_2`), and that number, of so many digits at most.
fn without_part(stem: &str, digits_max: usize) -> (&str, Option<u32>) {
    // A longer number is a day or a time.
    let part = stem.rsplit_once('_').filter(|(_, n)| n.len() <= digits_max);
    match part.map(|(stem, n)| (stem, n.parse())) {
        Some((stem, Ok(n))) => (stem, Some(n)),
        _ => (stem, None),
    }
}

/// The name of a CSV without the number of a part and the ending, folders included; any other name as it is.
pub fn part_of(name: &str) -> &str {
    let stem = name
        .get(..name.len().saturating_sub(4))
        .filter(|_| name.to_ascii_lowercase().ends_with(".csv"));
    // `_2024`, `_1223` are times.
    match stem.map(|stem| without_part(stem, 2)) {
        Some((stem, Some(_))) => stem,
        _ => name,
    }
}

/// The name of a file as of its first download, without the ending, folders included.
pub fn download_of(name: &str) -> &str {
    without_copy(name.rsplit_once('.').map_or(name, |(stem, _)| stem)).0
}

/// Which download of its name a file is: 0 for the first.
pub fn copy_of(name: &str) -> u32 {
    without_copy(name.rsplit_once('.').map_or(name, |(stem, _)| stem)).1
}

/// What the name of any file says of its period.
pub fn period_of(name: &str) -> Period {
    let name = name.rsplit(['/', '\\']).next().unwrap_or(name).to_ascii_lowercase();
    let says = |words: [&str; 2]| words.iter().any(|word| name.contains(word));
    match (says(["by_used_time", "按计费周期"]), says(["by_pay_time", "按扣费周期"])) {
        (true, false) => Period::Used,
        (false, true) => Period::Paid,
        _ => Period::Unknown,
    }
}

/// What becomes of a file among others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    Counts,
    /// A later file of the same payer and month holds its lines, too.
    ReplacedBy(String),
    /// These, by their places, are the same delivery and count: together they must say what this one does, or more where
    /// this is a part of it.
    SameAs {
        counting: Vec<usize>,
        is_part: bool,
    },
    /// Not out yet on the day of which is asked.
    NotYet,
}

/// What becomes of each file, in the order of `names`: of the cumulative files of one payer and month only the last
/// counts that is known on `as_of`. Files whose names say nothing count.
pub fn standings(names: &[&str], as_of: UsageDay) -> Vec<Standing> {
    let deliveries: Vec<Option<Delivery>> = names.iter().map(|name| delivery(name)).collect();
    let mut groups: BTreeMap<(&str, UsageMonth), Vec<usize>> = BTreeMap::new();
    let mut standings = vec![Standing::Counts; names.len()];
    for (at, delivery) in deliveries.iter().enumerate() {
        match delivery {
            Some(d) if d.known_on() > as_of => standings[at] = Standing::NotYet,
            Some(d) => groups.entry((&d.uin, d.month())).or_default().push(at),
            None => {}
        }
    }
    for files in groups.values() {
        let of = |at: &usize| deliveries[*at].as_ref().expect("of files with a delivery");
        // The older form of the name is that of the same bill.
        let unnamed = match files.iter().any(|at| of(at).period == Period::Used) {
            true => Period::Used,
            false => Period::Paid,
        };
        let period = |at: &usize| match of(at).period {
            Period::Unknown => unnamed,
            named => named,
        };
        let mut of_period: BTreeMap<Period, Vec<usize>> = BTreeMap::new();
        for at in files {
            of_period.entry(period(at)).or_default().push(*at);
        }
        for files in of_period.values() {
            let last = files.iter().map(|at| of(at).date).max();
            // Of one delivery the detail bill goes before the pack that holds it, too, the later download before the earlier.
            let order =
                |at: &usize| (!of(at).pack, of(at).part.is_none(), of(at).copy, names[*at], *at);
            let same: Vec<usize> =
                files.iter().copied().filter(|at| Some(of(at).date) == last).collect();
            let Some(newest) = same.iter().copied().max_by_key(|at| order(at)) else { continue };
            let is_part = of(&newest).part.is_some();
            let mut parts: BTreeMap<Option<u32>, usize> = BTreeMap::new();
            for at in same
                .iter()
                .filter(|at| of(at).pack == of(&newest).pack && of(at).part.is_some() == is_part)
            {
                let later = parts.entry(of(at).part).or_insert(*at);
                if order(at) > order(later) {
                    *later = *at;
                }
            }
            let counting: Vec<usize> = parts.values().copied().collect();
            for at in files {
                if counting.contains(at) {
                    continue;
                }
                let later = parts.get(&of(at).part).filter(|later| of(at).pack == of(later).pack);
                standings[*at] = match Some(of(at).date) == last {
                    false => Standing::ReplacedBy(names[newest].to_owned()),
                    true => Standing::SameAs {
                        counting: later.map_or(counting.clone(), |later| vec![*later]),
                        is_part: later.is_none() && of(at).part.is_some(),
                    },
                };
            }
        }
    }
    standings
}
