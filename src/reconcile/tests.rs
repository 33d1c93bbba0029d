//! Facts worked out by hand, and slow recounts of random small worlds.

use super::*;
use crate::model::UsageMonth;
use crate::model::{
    Amount, BillLine, DailyCharge, LineKind, PartKind, ProviderAttempt, SeqStatus, Settlement,
    Status, Variance,
};
use std::collections::{BTreeMap, BTreeSet};

const TAG: &str = "enhanced_authority_wechat";
const MINUTE: i64 = 60_000;

fn day(text: &str) -> UsageDay {
    UsageDay::parse(text).unwrap()
}

fn november(n: i32) -> UsageDay {
    day("2024-11-01").plus(n - 1)
}

fn code(label: &str) -> &'static str {
    [TAG, "nfc_read", "unmapped", "basic_photo"].into_iter().find(|c| *c == label).unwrap()
}

fn settlement(_: &str, tag: &str) -> Settlement {
    if tag == "nfc_read" { Settlement::Monthly } else { Settlement::Daily }
}

/// Everything of November 2024 is out.
fn settings() -> Settings<'static> {
    Settings {
        as_of_ms: day("2024-12-20").begin_ms(),
        paid_until_ms: None,
        daily_out_minutes: Settings::DAILY_OUT_MINUTES,
        monthly_out_day: Settings::MONTHLY_OUT_DAY,
        months: None,
        settlement: &settlement,
        tag_code: &code,
        not_held: &[],
        packages: &[],
        room: &|_, _, _| 0,
        statistics: None,
    }
}

fn charge(usage_date: UsageDay, tag: &str, charged: i64, free: i64, unknown: i64) -> DailyCharge {
    DailyCharge {
        usage_date,
        settlement_date: usage_date.plus(1),
        account: "1".into(),
        billing_tag: tag.into(),
        attempts: charged + free + unknown,
        charged,
        free,
        unknown,
        charged_failed: 0,
        not_final: 0,
        first_req_time: 0,
        last_req_time: 0,
        source_version: 0,
    }
}

fn line(usage: UsageDay, tag: &str, billed: i64, deducted: i64) -> BillLine {
    BillLine {
        account: "1".into(),
        bill_month: Some(usage.month()),
        usage_from: Some(usage),
        usage_to: Some(usage),
        kind: Some(LineKind::Usage),
        billing_tag: tag.into(),
        billing_tag_code: tag.into(),
        usage_billed: Some(Amount::of_count(billed)),
        usage_deducted: Some(Amount::of_count(deducted)),
        pay_time: Some(usage.plus(1).begin_ms() + 9 * 60 * MINUTE),
        source_file: "bill.csv".into(),
        source_row: i64::from(usage.date32()),
        ..BillLine::default()
    }
}

fn statuses(counted: &Counted) -> Vec<(String, &'static str, i64)> {
    let row = |r: &Variance| (r.period.to_string(), r.status.code(), r.difference);
    counted.rows.iter().map(row).collect()
}

#[track_caller]
fn status_of(ours: Option<DailyCharge>, lines: Vec<BillLine>, as_of: &str) -> (Status, i64) {
    let mut settings = settings();
    settings.as_of_ms = day(as_of).begin_ms() + 12 * 60 * MINUTE - 1;
    let ours: Vec<DailyCharge> = ours.into_iter().collect();
    let months = BTreeSet::from([november(1).month()]);
    settings.months = Some(&months);
    let counted = counts(&ours, &lines, &settings).unwrap();
    assert_eq!(counted.rows.len(), 1);
    (counted.rows[0].status, counted.rows[0].difference)
}

#[test]
fn each_status_by_hand() {
    let d = november(5);
    let ours = |n| Some(charge(d, TAG, n, 1, 0));
    let bill = |billed, deducted| vec![line(d, TAG, billed, deducted)];
    let late = "2024-12-20";
    assert_eq!(status_of(ours(3), bill(3, 0), late), (Status::Matched, 0));
    assert_eq!(status_of(ours(3), bill(2, 1), late), (Status::Matched, 0));
    assert_eq!(status_of(ours(3), bill(5, 0), late), (Status::ProviderMore, 2));
    assert_eq!(status_of(ours(3), bill(1, 0), late), (Status::OursMore, -2));
    // What we have is free: there is something on our side.
    assert_eq!(status_of(ours(0), bill(4, 0), late), (Status::ProviderMore, 4));
    assert_eq!(status_of(None, bill(4, 0), late), (Status::ProviderOnly, 4));
    assert_eq!(status_of(ours(3), vec![], late), (Status::OursOnly, -3));
    assert_eq!(status_of(ours(0), vec![], late), (Status::Matched, 0));
    assert_eq!(status_of(ours(3), bill(0, 3), late), (Status::CoveredByPackage, 0));
    // A package that took other than we counted hides nothing.
    assert_eq!(status_of(ours(3), bill(0, 5), late), (Status::ProviderMore, 2));
    // The bill of the 5th is out at 12:00 of the 6th; a millisecond before it is not.
    assert_eq!(status_of(ours(3), vec![], "2024-11-06"), (Status::Pending, 0));
    assert_eq!(status_of(ours(3), vec![], "2024-11-07"), (Status::OursOnly, -3));
    let unmapped = Some(charge(d, "unmapped", 3, 0, 0));
    assert_eq!(status_of(unmapped.clone(), vec![], "2024-11-06"), (Status::Pending, 0));
    assert_eq!(status_of(unmapped, vec![], "2024-11-07"), (Status::Unmapped, -3));
    let mut refund = line(d, TAG, -1, 0);
    refund.kind = Some(LineKind::Refund);
    let lines = vec![line(d, TAG, 4, 0), refund];
    assert_eq!(status_of(ours(3), lines, late), (Status::Adjusted, 0));
}

#[test]
fn what_was_paid_later_was_not_known() {
    let (ours, bill) =
        (Some(charge(november(5), TAG, 3, 0, 0)), vec![line(november(5), TAG, 5, 0)]);
    // Paid on the 6th at 09:00.
    assert_eq!(status_of(ours.clone(), bill.clone(), "2024-11-05"), (Status::Pending, 0));
    // At 11:59 it may not be all of that day.
    assert_eq!(status_of(ours.clone(), bill.clone(), "2024-11-06"), (Status::Pending, 0));
    assert_eq!(status_of(ours, bill, "2024-11-07"), (Status::ProviderMore, 2));
}

#[test]
fn months_add_up_days_and_are_out_on_the_fourth() {
    let ours = [charge(november(5), "nfc_read", 3, 0, 0), charge(november(9), "nfc_read", 4, 0, 0)];
    let mut bill = line(november(1), "nfc_read", 7, 0);
    bill.usage_to = Some(november(30));
    bill.pay_time = None;
    let counted = counts(&ours, &[bill.clone()], &settings()).unwrap();
    assert_eq!(statuses(&counted), [("2024-11".into(), "matched", 0)]);
    let mut early = settings();
    early.as_of_ms = day("2024-12-04").begin_ms() - 1;
    assert_eq!(statuses(&counts(&ours, &[bill.clone()], &early).unwrap())[0].1, "pending");
    early.as_of_ms += 1;
    assert_eq!(statuses(&counts(&ours, &[bill], &early).unwrap())[0].1, "matched");
    // A daily tag whose line spans days is compared by the month too.
    let ours = [charge(november(5), TAG, 3, 0, 0), charge(november(9), TAG, 4, 0, 0)];
    let mut span = line(november(1), TAG, 6, 0);
    span.usage_to = Some(november(30));
    let counted = counts(&ours, &[span, line(november(9), TAG, 2, 0)], &settings()).unwrap();
    assert_eq!(statuses(&counted), [("2024-11".into(), "provider_more", 1)]);
}

#[test]
fn the_day_of_usage_decides_under_either_statistics_period() {
    // The bill of November by deduction time: usage of October 31 to November 29.
    let mut first = line(day("2024-10-31"), TAG, 2, 0);
    first.bill_month = Some(november(1).month());
    let ours: Vec<_> = [day("2024-10-30"), day("2024-10-31"), november(1), november(30)]
        .into_iter()
        .map(|d| charge(d, TAG, 2, 0, 0))
        .collect();
    let counted = counts(&ours, &[first, line(november(1), TAG, 2, 0)], &settings()).unwrap();
    assert_eq!(counted.statistics, Statistics::ByPay);
    // October 30 is of the bill before, November 30 of the one after: this bill says nothing of them.
    let expected = [("2024-10-31".into(), "matched", 0), ("2024-11-01".into(), "matched", 0)];
    assert_eq!(statuses(&counted), expected);
}

#[test]
fn a_month_that_ends_early_is_told() {
    let ours: Vec<_> = (1..=4).map(|n| charge(november(n), TAG, 1, 0, 0)).collect();
    let counted = counts(&ours, &[line(november(2), TAG, 1, 0)], &settings()).unwrap();
    let told: Vec<_> = statuses(&counted).into_iter().map(|s| s.1).collect();
    assert_eq!(told, ["ours_only", "matched", "ours_only", "ours_only"]);
    assert_eq!(counted.warnings.len(), 2);
    let told = "no line at all of 3 days of 2024-11 on which ours has charges (2024-11-01, 2024-11-03, 2024-11-04), and some \
                up to 2024-11-02";
    assert!(counted.warnings[0].contains(told), "{}", counted.warnings[0]);
    // The other way round.
    let bill: Vec<_> = (1..=5).map(|n| line(november(n), TAG, 1, 0)).collect();
    let counted = counts(&ours[1..2], &bill, &settings()).unwrap();
    assert_eq!(counted.warnings.len(), 2);
    let told = "nothing at all of 4 days of 2024-11 which the bill charges (2024-11-01, 2024-11-03, 2024-11-04, 1 more), and \
                some up to 2024-11-02";
    assert!(counted.warnings[0].contains(told), "{}", counted.warnings[0]);
    assert!(counted.warnings[1].contains("anything of 2024-11 after 2024-11-05"));
    // On the 11th at noon the 10th is out, and the month is not over.
    let noon = november(11).begin_ms() + 12 * 3_600_000;
    let early = Settings { as_of_ms: noon, ..settings() };
    let bill: Vec<_> = (1..=10).map(|n| line(november(n), TAG, 1, 0)).collect();
    let ours: Vec<_> = (1..=10).map(|n| charge(november(n), TAG, 1, 0, 0)).collect();
    let counted = counts(&ours, &bill, &early).unwrap();
    assert!(statuses(&counted).iter().all(|row| row.1 == "matched"));
    assert_eq!(counted.warnings.len(), 1);
    assert!(counted.warnings[0].contains("2024-11 is not over at that time"));
    // Three quiet days at the end say nothing.
    let quiet = [(26, 2), (27, 1)].map(|(n, warnings)| {
        let bill = [line(november(n), TAG, 1, 0)];
        let ours = [charge(november(n), TAG, 1, 0, 0)];
        (counts(&ours, &bill, &settings()).unwrap().warnings.len() + 1, warnings)
    });
    assert!(quiet.iter().all(|(found, due)| found == due), "{quiet:?}");
}

#[test]
fn a_package_that_is_named_covers_what_it_has_room_for() {
    let ours: Vec<_> = (1..=3).map(|n| charge(november(n), TAG, 5, 0, 0)).collect();
    let packages = [PackageSpan {
        account: "1".into(),
        billing_tag_code: TAG.into(),
        from: november(1),
        until: day("2025-11-01"),
    }];
    let months = BTreeSet::from([november(1).month()]);
    // One of 9 calls: 5 on the 1st, and 4 of the 5 of the 2nd, so that this day has a line.
    let room =
        |_: &str, _: &str, day: UsageDay| [5, 4, 0][(day.date32() - november(1).date32()) as usize];
    let settings =
        Settings { packages: &packages, room: &room, months: Some(&months), ..settings() };
    let told: Vec<_> = statuses(&counts(&ours, &[], &settings).unwrap());
    let told: Vec<_> = told.into_iter().map(|s| (s.1, s.2)).collect();
    assert_eq!(told, [("covered_by_package", 0), ("ours_only", -5), ("ours_only", -5)]);
    // The bill's own line of it says nothing of another package.
    let mut bought = line(november(1), TAG, 0, 0);
    bought.kind = Some(LineKind::PackagePurchase);
    bought.usage_to = Some(day("2025-10-31"));
    let told: Vec<_> = statuses(&counts(&ours, &[bought], &settings).unwrap());
    let told: Vec<_> = told.into_iter().map(|s| (s.1, s.2)).collect();
    assert_eq!(told, [("covered_by_package", 0), ("ours_only", -5), ("ours_only", -5)]);
}

#[test]
fn a_month_by_deduction_time_ends_a_day_early() {
    // The bill's name says so; that of December, with the usage of November 30, was not given.
    let ours: Vec<_> = (28..=30).map(|n| charge(november(n), TAG, 1, 0, 0)).collect();
    let bill = [line(november(28), TAG, 1, 0), line(november(29), TAG, 1, 0)];
    let months = BTreeSet::from([november(1).month()]);
    for asked in [None, Some(&months)] {
        let settings =
            Settings { statistics: Some(Statistics::ByPay), months: asked, ..settings() };
        let counted = counts(&ours, &bill, &settings).unwrap();
        let told: Vec<_> = statuses(&counted).into_iter().map(|s| (s.0, s.1)).collect();
        assert_eq!(told, [("2024-11-28".into(), "matched"), ("2024-11-29".into(), "matched")]);
        let left_out = "the usage of 2024-11-30 stands in the bill of 2024-12, which was not given";
        assert!(counted.warnings.iter().any(|w| w.contains(left_out)), "{:?}", counted.warnings);
    }
}

#[test]
fn a_package_that_is_used_up_by_days_without_lines_covers_them() {
    // 1 and 2 calls of a package of 3; the 7 of the 5th are billed in full.
    let ours = [(1, 1), (2, 2), (5, 7)].map(|(day, calls)| charge(november(day), TAG, calls, 0, 0));
    let packages = [PackageSpan {
        account: "1".into(),
        billing_tag_code: TAG.into(),
        from: november(1),
        until: day("2025-11-01"),
    }];
    let room =
        |_: &str, _: &str, day: UsageDay| i64::from(day.date32() - november(0).date32()).min(2);
    let settings = Settings { packages: &packages, room: &room, ..settings() };
    let counted = counts(&ours, &[line(november(5), TAG, 7, 0)], &settings).unwrap();
    let told: Vec<_> = statuses(&counted).into_iter().map(|s| s.1).collect();
    assert_eq!(told, ["covered_by_package", "covered_by_package", "matched"]);
    assert_eq!(counted.warnings.len(), 1, "the month ends early");
}

#[test]
fn units_of_many_calls_are_told_apart() {
    let mut many = line(november(1), TAG, 2, 1);
    for (unit, calls) in [
        (None, 3),
        (Some("次"), 3),
        (Some("万次"), 30_000),
        (Some("千 次"), 3_000),
        (Some("1,000次"), 3_000),
        (Some("10k times"), 30_000),
        (Some("百万次"), 3_000_000),
        (Some("百次"), 300),
        (Some("K次"), 3_000),
        (Some("thousand calls"), 3_000),
        (Some("1,000 requests"), 3_000),
        (Some("人次"), 3),
        (Some("Time(s)"), 3),
        (Some("API calls"), 3),
        (Some("Counts / Day"), 3),
        (Some("次/天"), 3),
        (Some("个"), 3),
    ] {
        many.usage_unit = unit.map(Into::into);
        assert_eq!(many.calls(), Some(calls), "{unit:?}");
        assert_eq!(many.unknown_unit(), unit.filter(|unit| *unit == "个"));
    }
    // Time and bytes; numbers of a form that is not read.
    let not_read = [
        "十万次",
        "1.5万次",
        "萬次",
        "两万次",
        "次(万)",
        "次/万",
        "million calls",
        "ten thousand times",
        "calls (thousand)",
    ];
    for unit in ["KB", "分钟", "10 GB"].into_iter().chain(not_read) {
        many.usage_unit = Some(unit.into());
        assert_eq!((many.calls(), many.unknown_unit()), (None, None), "{unit}");
    }
    // What may be anything is one call each, and told.
    for unit in ["w次", "1w次", "M次", "次包", "calls/k", "元"] {
        many.usage_unit = Some(unit.into());
        assert_eq!(many.unknown_unit(), Some(unit));
        assert!(many.counts_unknown_units());
    }
    // None of them are none, whatever they are.
    for unit in ["张", "分钟"] {
        let none = BillLine {
            usage_unit: Some(unit.into()),
            usage_total: Some(Amount::ZERO),
            usage_billed: Some(Amount::ZERO),
            ..many.clone()
        };
        assert_eq!((none.calls(), none.counts_unknown_units()), (Some(0), false), "{unit}");
    }
    many.usage_unit = Some("万次".into());
    (many.usage_billed, many.usage_deducted) = (Amount::parse("0.0003").ok(), None);
    let ours = [charge(november(1), TAG, 3, 0, 0)];
    let counted = counts(&ours, &[many], &settings()).unwrap();
    assert_eq!(statuses(&counted), [("2024-11-01".into(), "matched", 0)]);
    assert_eq!(counted.rows[0].provider_billed, Some(Amount::of_count(3)));
}

#[test]
fn a_package_covers_days_without_lines_until_it_is_used_up() {
    let ours: Vec<_> = (1..=6).map(|n| charge(november(n), TAG, 5, 0, 0)).collect();
    let mut bought = line(november(2), TAG, 0, 0);
    bought.kind = Some(LineKind::PackagePurchase);
    bought.usage_to = Some(day("2025-11-01"));
    // The 4th uses the package up; of the 5th a line is missing.
    let lines = [bought, line(november(4), TAG, 2, 3), line(november(6), TAG, 5, 0)];
    let counted = counts(&ours, &lines, &settings()).unwrap();
    let told: Vec<_> = statuses(&counted).into_iter().map(|s| (s.1, s.2)).collect();
    let covered = ("covered_by_package", 0);
    let ours_only = ("ours_only", -5);
    let matched = ("matched", 0);
    assert_eq!(told, [ours_only, covered, covered, matched, ours_only, matched]);
    assert_eq!(counted.lines_beside, 1);
    // Nobody says that there is a package, but the lines on both sides were deducted from one.
    let lines = [line(november(1), TAG, 0, 5), line(november(3), TAG, 0, 5)];
    let counted = counts(&ours[..3], &lines, &settings()).unwrap();
    assert!(counted.rows.iter().all(|row| row.status == Status::CoveredByPackage));
}

// Parts

struct World {
    rows: Vec<Attempt>,
}

#[derive(Clone)]
struct Attempt {
    seq: String,
    time: i64,
    tag: &'static str,
    charge: Option<bool>,
    last: Option<bool>,
}

impl World {
    fn of(rows: &[(i64, Option<bool>, Option<bool>)]) -> World {
        let row = |(n, (time, charge, last)): (usize, &(i64, Option<bool>, Option<bool>))| {
            Attempt { seq: format!("s{n}"), time: *time, tag: TAG, charge: *charge, last: *last }
        };
        World { rows: rows.iter().enumerate().map(row).collect() }
    }

    fn daily(&self) -> Vec<DailyCharge> {
        let mut sums: BTreeMap<(UsageDay, &str), DailyCharge> = BTreeMap::new();
        for row in &self.rows {
            let day = UsageDay::of_instant(row.time);
            let sum = sums.entry((day, row.tag)).or_insert_with(|| charge(day, row.tag, 0, 0, 0));
            sum.attempts += 1;
            match row.charge {
                Some(true) => sum.charged += 1,
                Some(false) => sum.free += 1,
                None => sum.unknown += 1,
            }
        }
        sums.into_values().collect()
    }

    fn row<'r>(&self, row: &'r Attempt) -> OurRow<'r> {
        OurRow {
            seq: &row.seq,
            req_time: row.time,
            account: "1",
            billing_tag_code: row.tag,
            channel: None,
            charge: row.charge,
            snapshot_final: row.last,
            errcode: Some(0),
            rule_id: Some("7"),
            source_key: "k",
            source_record: 0,
            more_pulls: 0,
        }
    }

    fn explained(
        &self,
        lines: &[BillLine],
        rejects: &[RejectOn],
        facts: Option<&SeqFacts>,
    ) -> Vec<Variance> {
        let months = BTreeSet::from([november(1).month()]);
        let settings = Settings { months: Some(&months), ..settings() };
        let mut rows = counts(&self.daily(), lines, &settings).unwrap().rows;
        let wanted = wanted(&rows, &[], rejects);
        let mut halves =
            [Evidence::new(&wanted, Limits::default()), Evidence::new(&wanted, Limits::default())];
        for (n, row) in self.rows.iter().enumerate() {
            halves[n % 2].see(&self.row(row));
        }
        let [a, b] = halves;
        explain(&mut rows, &b.merge(a), rejects, &[], facts);
        let again = wanted_again(&rows);
        let mut evidence = Evidence::new(&again, Limits::default());
        self.rows.iter().for_each(|row| evidence.see(&self.row(row)));
        list_candidates(&mut rows, &evidence);
        rows
    }
}

#[test]
fn seqs_pulled_again_explain_a_count_without_regard_to_seq() {
    let noon = november(1).begin_ms() + 720 * MINUTE;
    let world = World::of(&[(noon, Some(true), None), (noon + 1, Some(true), None)]);
    let bill = [line(november(1), TAG, 4, 0), line(november(1), "basic_photo", 1, 0)];
    let settings = settings();
    let again = |key: &str, rows, nothing_new| DuplicatesOn {
        day: november(1),
        source_key: key.into(),
        rows,
        nothing_new,
    };
    // The second pull of s1 had nothing new, and gave the row; the one of b had something.
    let duplicates = [again("a", 1, true), again("b", 2, false)];
    let mut rows = counts(&world.daily(), &bill, &settings).unwrap().rows;
    let wanted = wanted(&rows, &duplicates, &[]);
    let mut evidence = Evidence::new(&wanted, Limits::default());
    for (attempt, source_key) in world.rows.iter().zip(["b", "a"]) {
        evidence.see(&OurRow { source_key, ..world.row(attempt) });
    }
    explain(&mut rows, &evidence, &[], &duplicates, None);
    // basic_photo has no attempt of ours that could have been pulled again.
    assert_eq!(parts(&rows[0]), [(PartKind::Unexplained, 1, vec![])]);
    assert_eq!(parts(&rows[1]), [(PartKind::Duplicate, 2, vec!["s1"])]);
    let told = &rows[1].parts[0];
    assert_eq!((told.seqs_total, told.source_keys.join(" ")), (3, "a b".to_owned()));
}

fn parts(row: &Variance) -> Vec<(PartKind, i64, Vec<&str>)> {
    let part = |p: &'_ crate::model::Part| (p.kind, p.count);
    row.parts
        .iter()
        .map(|p| (part(p).0, part(p).1, p.seqs.iter().map(String::as_str).collect()))
        .collect()
}

fn reject(day: UsageDay) -> RejectOn {
    reject_of(day, &[])
}

fn reject_of(day: UsageDay, seqs: &[&str]) -> RejectOn {
    let seqs = seqs.iter().map(|seq| seq.to_string()).collect();
    RejectOn { day, source_key: "bad.json".into(), reason: "truncated".into(), seqs }
}

#[test]
fn midnight_balances_with_the_neighbour_both_ways() {
    let noon = |n: i32| november(n).begin_ms() + 720 * MINUTE;
    let yes = Some(true);
    // s0, s3: last seconds of the 1st, which the bill has on the 2nd; s4 is six minutes before midnight. s5: the first
    // second of the 4th, which the bill has on the 3rd.
    let world = World::of(&[
        (november(2).begin_ms() - 1_000, yes, None),
        (noon(1), yes, None),
        (noon(2), yes, None),
        (november(2).begin_ms() - 5 * MINUTE, yes, None),
        (november(2).begin_ms() - 6 * MINUTE, yes, None),
        (november(4).begin_ms(), yes, None),
        (noon(3), yes, None),
    ]);
    let bill =
        [line(november(1), TAG, 1, 0), line(november(2), TAG, 4, 0), line(november(3), TAG, 2, 0)];
    let rows = world.explained(&bill, &[], None);
    let told: Vec<_> = rows.iter().map(parts).collect();
    let near = vec!["s0", "s3"];
    assert_eq!(
        told[0],
        [(PartKind::Midnight, -2, near.clone()), (PartKind::Unexplained, -1, vec!["s1", "s4"])]
    );
    assert_eq!(told[1], [(PartKind::Midnight, 2, near), (PartKind::Unexplained, 1, vec![])]);
    assert_eq!(told[2], [(PartKind::Midnight, 1, vec!["s5"])]);
    assert_eq!(told[3], [(PartKind::Midnight, -1, vec!["s5"])]);
}

/// Charged attempts: so many at noon of the first three days, and so many seconds before and after the midnights that end
/// the first two. Seqs say where: `n1`, `e1`, `b2`.
fn three_days(noon: [i64; 3], ends: [i64; 2], begins: [i64; 2]) -> World {
    let mut rows = Vec::new();
    let mut add = |name: String, time: i64, n: i64| {
        rows.extend((0..n).map(|i| Attempt {
            seq: format!("{name}{i}"),
            time: time + i,
            tag: TAG,
            charge: Some(true),
            last: None,
        }));
    };
    for day in 0..3 {
        let begin = november(day as i32 + 1).begin_ms();
        add(format!("n{}.", day + 1), begin + 720 * MINUTE, noon[day]);
        if day < 2 {
            add(format!("e{}.", day + 1), begin + 1_439 * MINUTE, ends[day]);
            add(format!("b{}.", day + 2), begin + 1_440 * MINUTE, begins[day]);
        }
    }
    World { rows }
}

#[test]
fn a_day_without_a_difference_passes_on_what_it_got() {
    let bill = |calls: [i64; 3]| -> Vec<BillLine> {
        (1..=3).map(|n| line(november(n), TAG, calls[n as usize - 1], 0)).collect()
    };
    let midnight = PartKind::Midnight;
    let told = |world: &World, calls| -> Vec<Vec<(PartKind, i64, Vec<String>)>> {
        let rows = world.explained(&bill(calls), &[], None);
        let own = |(kind, n, seqs): (PartKind, i64, Vec<&str>)| {
            (kind, n, seqs.into_iter().map(str::to_owned).collect())
        };
        rows.iter().map(|row| parts(row).into_iter().map(own).collect()).collect()
    };
    let seqs = |seqs: &[&str]| seqs.iter().map(|seq| (*seq).to_owned()).collect::<Vec<_>>();
    // Ours 3, 3, 1; the bill has the last two of both days on the next.
    let world = three_days([1, 1, 1], [2, 2], [0, 0]);
    let (first, second) = (seqs(&["e1.0", "e1.1"]), seqs(&["e2.0", "e2.1"]));
    assert_eq!(
        told(&world, [1, 3, 3]),
        [
            vec![(midnight, -2, first.clone())],
            vec![(midnight, 2, first.clone()), (midnight, -2, second.clone())],
            vec![(midnight, 2, second)],
        ]
    );
    // Ours 1, 2, 2; the bill has the first of both days on the one before.
    let world = three_days([1, 1, 1], [0, 0], [1, 1]);
    assert_eq!(
        told(&world, [2, 2, 1]),
        [
            vec![(midnight, 1, seqs(&["b2.0"]))],
            vec![(midnight, -1, seqs(&["b2.0"])), (midnight, 1, seqs(&["b3.0"]))],
            vec![(midnight, -1, seqs(&["b3.0"]))],
        ]
    );
    // As many as the emptier midnight has: one, though two are missing.
    let world = three_days([1, 1, 1], [2, 1], [0, 0]);
    let explained = told(&world, [1, 2, 3]);
    assert_eq!(explained[0][0], (midnight, -1, first));
    assert_eq!(explained[0][1].1, -1);
    assert_eq!(explained[2][1], (PartKind::Unexplained, 1, vec![]));
    // None near the second midnight: nothing passes.
    let world = three_days([1, 2, 1], [2, 0], [0, 0]);
    assert_eq!(told(&world, [1, 2, 3])[1], []);
    // Ours 3, 4, 1: the second day gives one of its own and passes on two.
    let world = three_days([1, 1, 1], [2, 3], [0, 0]);
    let explained = told(&world, [1, 3, 4]);
    let (first, second) = (seqs(&["e1.0", "e1.1"]), seqs(&["e2.0", "e2.1", "e2.2"]));
    assert_eq!(explained[0], [(midnight, -2, first.clone())]);
    assert_eq!(explained[1], [(midnight, -3, second.clone()), (midnight, 2, first)]);
    assert_eq!(explained[2], [(midnight, 3, second)]);
}

#[test]
fn unknown_flags_then_snapshots_then_rejects() {
    let noon = november(1).begin_ms() + 720 * MINUTE;
    let world = World::of(&[
        (noon, None, None),
        (noon + 1, Some(false), Some(false)),
        (noon + 2, Some(true), Some(true)),
    ]);
    // The bill has six, ours one.
    let bill = [line(november(1), TAG, 6, 0), line(november(1), "basic_photo", 5, 0)];
    let rejects = [reject(november(1)), reject_of(november(1), &["lost"]), reject(november(2))];
    let rows = world.explained(&bill, &rejects, None);
    // Two rejects that day: either row could take both, so neither does, and both tell them.
    assert_eq!(
        parts(&rows[0]),
        [(PartKind::Reject, 0, vec!["lost"]), (PartKind::Unexplained, 5, vec![])]
    );
    let told = &rows[0].parts[0];
    assert_eq!((told.seqs_total, told.source_keys.join(" ")), (1, "bad.json".to_owned()));
    assert_eq!(
        parts(&rows[1]),
        [
            (PartKind::UnknownFlag, 1, vec!["s0"]),
            (PartKind::NotFinal, 1, vec!["s1"]),
            (PartKind::Reject, 0, vec!["lost"]),
            (PartKind::Unexplained, 3, vec![])
        ]
    );
}

/// A record set aside is as many attempts as Seqs could be read of it; a Seq is one, however often it was set aside, and
/// none where ours has it from another pull.
#[test]
fn rejects_count_by_seq() {
    let noon = november(2).begin_ms() + 720 * MINUTE;
    let world = World::of(&[(noon, Some(true), None), (noon + 1, Some(false), None)]);
    let told = |calls: i64, rejects: &[RejectOn]| -> Vec<(PartKind, i64, Vec<String>)> {
        let bill = [line(november(2), TAG, calls, 0)];
        let parts = world.explained(&bill, rejects, None).remove(0).parts;
        parts.into_iter().map(|part| (part.kind, part.count, part.seqs)).collect()
    };
    let of = |seqs: &[&str]| reject_of(november(2), seqs);
    let seqs = |seqs: &[&str]| seqs.iter().map(|seq| seq.to_string()).collect::<Vec<_>>();
    let (reject, unexplained) = (PartKind::Reject, PartKind::Unexplained);
    // Ours is one.
    let three = (reject, 3, seqs(&["k", "l", "m"]));
    assert_eq!(told(4, &[of(&["k", "l", "m"])]), [three]);
    let (one, rest) = ((reject, 1, seqs(&["k"])), (unexplained, 1, vec![]));
    assert_eq!(told(3, &[of(&["k"]), of(&["k"])]), [one, rest.clone()]);
    // One was read elsewhere, and one of two records has no Seq.
    let two = (reject, 2, seqs(&["k"]));
    assert_eq!(told(4, &[of(&["s0", "k"]), of(&["s1"]), of(&[])]), [two, rest.clone()]);
    assert_eq!(told(2, &[of(&["s0"]), of(&["s1"])]), [rest]);
    // Set aside on two days: made on the first.
    let later = reject_of(november(3), &["k"]);
    let bill = [line(november(2), TAG, 2, 0), line(november(3), TAG, 1, 0)];
    let rows = world.explained(&bill, &[later, of(&["k"])], None);
    assert_eq!(parts(&rows[0]), [(reject, 1, vec!["k"])]);
    assert_eq!(parts(&rows[1]), [(unexplained, 1, vec![])]);
}

/// Counts of rejects per row: (period, tag, count).
fn rejected(rows: &[Variance]) -> Vec<(String, &str, i64)> {
    let of_row = |row: &'_ Variance| {
        let told = row.parts.iter().find(|part| part.kind == PartKind::Reject)?;
        Some((row.period.to_string(), told.count))
    };
    let rows = rows.iter().filter_map(|row| Some((of_row(row)?, row.billing_tag_code.as_str())));
    rows.map(|((period, count), tag)| (period, tag, count)).collect()
}

#[test]
fn rejects_are_shared_out_where_no_row_takes_them_from_another() {
    let world = World::of(&[]);
    let days = |days: &[i32]| days.iter().map(|n| reject(november(*n))).collect::<Vec<_>>();
    let whole_month = |tag, calls| {
        let mut line = line(november(1), tag, calls, 0);
        line.usage_to = Some(november(30));
        line
    };
    // Two tags of a day that lack one each: enough for both, or for one of them.
    let bill = [line(november(5), TAG, 1, 0), line(november(5), "basic_photo", 1, 0)];
    let (fifth, month) = ("2024-11-05".to_owned(), "2024-11".to_owned());
    let told = |n| vec![(fifth.clone(), "basic_photo", n), (fifth.clone(), TAG, n)];
    assert_eq!(rejected(&world.explained(&bill, &days(&[5, 5, 5]), None)), told(1));
    assert_eq!(rejected(&world.explained(&bill, &days(&[5, 5]), None)), told(1));
    assert_eq!(rejected(&world.explained(&bill, &days(&[5, 6]), None)), told(0));
    assert_eq!(rejected(&world.explained(&bill, &days(&[6]), None)), []);
    // Two tags that are settled by the month lack one and two.
    let bill = [whole_month("basic_photo", 1), whole_month(TAG, 2)];
    let told = |a, b| vec![(month.clone(), "basic_photo", a), (month.clone(), TAG, b)];
    assert_eq!(rejected(&world.explained(&bill, &days(&[3, 9, 30]), None)), told(1, 2));
    assert_eq!(rejected(&world.explained(&bill, &days(&[3, 9]), None)), told(0, 0));
    assert_eq!(rejected(&world.explained(&bill, &[reject(day("2024-12-01"))], None)), []);
    // A month beside a day: the reject of the 5th is the day's only if the month has enough without it.
    let bill = [line(november(5), TAG, 1, 0), whole_month("basic_photo", 2)];
    let told = |a, b| vec![(month.clone(), "basic_photo", a), (fifth.clone(), TAG, b)];
    assert_eq!(rejected(&world.explained(&bill, &days(&[5, 9, 10]), None)), told(2, 1));
    assert_eq!(rejected(&world.explained(&bill, &days(&[5, 9]), None)), told(0, 0));
}

fn listed(seq: &str, req_time: i64, is_need_charge: bool) -> ProviderAttempt {
    ProviderAttempt {
        seq: seq.into(),
        req_time,
        is_need_charge,
        biz_token: None,
        rule_id: Some("7".into()),
        charge_type: None,
        errcode: None,
        source_file: "list.json".into(),
        source_row: 0,
    }
}

/// A Seq of the list alone is of the tag of its rule, where ours has attempts of that rule in one tag.
#[test]
fn what_the_list_alone_holds_has_the_tag_of_its_rule() {
    let noon = november(2).begin_ms() + 720 * MINUTE;
    let mut world = World::of(&[(noon, Some(true), None), (noon + 1, Some(true), None)]);
    // Of ours all are of rule 7.
    let told = |world: &World, rule: &str| {
        let x = ProviderAttempt { rule_id: Some(rule.into()), ..listed("x", noon, true) };
        let outcome = join(world, vec![listed("s0", noon, true), x], None);
        let bill = [line(november(2), TAG, 3, 0), line(november(2), "basic_photo", 2, 0)];
        let rows = world.explained(&bill, &[], Some(&outcome.facts));
        let parts = rows.iter().map(|row| parts(row).into_iter().map(|part| (part.0, part.1)));
        let parts: Vec<Vec<_>> = parts.map(Iterator::collect).collect();
        let differences: Vec<_> = outcome.differences.iter().collect();
        (differences.last().unwrap().billing_tag.clone(), parts)
    };
    let (only, ours, rest) = (PartKind::ProviderOnly, PartKind::OursOnly, PartKind::Unexplained);
    let (tag, parts) = told(&world, "7");
    assert_eq!(tag.as_deref(), Some(TAG));
    assert_eq!(parts, [vec![(rest, 2)], vec![(only, 1), (ours, -1), (rest, 1)]]);
    assert_eq!(told(&world, "8").0, None);
    // None of ours of that rule has a tag.
    world.rows.iter_mut().for_each(|row| row.tag = "unmapped");
    assert_eq!(told(&world, "7").0, None);
    world.rows.iter_mut().for_each(|row| row.tag = TAG);
    // Of two tags: none is told, and the one that the list speaks of takes it.
    world.rows[1].tag = "basic_photo";
    let (tag, parts) = told(&world, "7");
    assert_eq!(tag, None);
    assert_eq!(parts, [vec![(rest, 1)], vec![(only, 1), (rest, 1)]]);
}

fn join(
    world: &World,
    list: Vec<ProviderAttempt>,
    months: Option<BTreeSet<UsageMonth>>,
) -> SeqOutcome {
    let scope = ListScope {
        account: "1".into(),
        tags: BTreeMap::from([(TAG.to_owned(), None)]),
        days: None,
        months,
    };
    let joiner = SeqJoiner::new(list, scope).unwrap();
    let mut halves = [SeqSeen::default(), SeqSeen::default()];
    for (n, row) in world.rows.iter().enumerate() {
        joiner.see(&world.row(row), &mut halves[n % 2], SEQS_MAX);
    }
    let [a, b] = halves;
    joiner.finish(b.merge(a, SEQS_MAX), SEQS_MAX)
}

#[test]
fn the_providers_list_says_it_by_seq() {
    let noon = november(1).begin_ms() + 720 * MINUTE;
    let end = november(2).begin_ms() - 10 * MINUTE;
    let world = World::of(&[
        (noon, Some(true), None),      // agrees
        (noon + 1, Some(false), None), // charged there
        (noon + 2, Some(true), None),  // free there
        (noon + 3, Some(true), None),  // not there
        (noon + 4, None, None),        // charged there
        (end, Some(true), None),       // there on the 2nd
    ]);
    let list = vec![
        listed("s0", noon, true),
        listed("s1", noon, true),
        listed("s2", noon, false),
        listed("s4", noon, true),
        listed("s5", november(2).begin_ms() + 720 * MINUTE, true),
        listed("x", noon, true), // not here
        listed("s0", noon, true),
    ];
    let outcome = join(&world, list, None);
    let j = &outcome.join;
    assert_eq!(
        (j.agree, j.flag_differs, j.day_differs, j.ours_only, j.provider_only),
        (1, 3, 1, 1, 1)
    );
    let told: Vec<_> = outcome.differences.iter().map(|d| (d.seq, d.status)).collect();
    let flag = SeqStatus::FlagDiffers;
    let expected = [
        ("s1", flag),
        ("s2", flag),
        ("s3", SeqStatus::OursOnly),
        ("s4", flag),
        ("s5", SeqStatus::DayDiffers),
        ("x", SeqStatus::ProviderOnly),
    ];
    assert_eq!(told, expected.map(|(seq, status)| (seq.to_owned(), status)));
    // The 1st: ours s0 s2 s3 s5 = 4; the list s0 s1 s4 x = 4, and the bill one more. The 2nd: the list s5.
    let bill = [line(november(1), TAG, 5, 0), line(november(2), TAG, 1, 0)];
    let rows = world.explained(&bill, &[], Some(&outcome.facts));
    assert_eq!(
        parts(&rows[0]),
        [
            (PartKind::Midnight, -1, vec!["s5"]),
            (PartKind::UnknownFlag, 1, vec!["s4"]),
            (PartKind::FlagDiffers, -1, vec!["s2"]),
            (PartKind::FlagDiffers, 1, vec!["s1"]),
            (PartKind::ProviderOnly, 1, vec!["x"]),
            (PartKind::OursOnly, -1, vec!["s3"]),
            (PartKind::Unexplained, 1, vec![]),
        ]
    );
    assert_eq!(parts(&rows[1]), [(PartKind::Midnight, 1, vec!["s5"])]);
}

/// A Seq that the list has on the next day is one more there and one fewer here, though the counts of that day agree.
#[test]
fn what_the_list_moves_over_midnight_has_two_sides() {
    let late = november(2).begin_ms() - 2 * MINUTE;
    let noon = |n| november(n).begin_ms() + 720 * MINUTE;
    let world = World::of(&[
        (noon(1), Some(true), None),
        (late, Some(true), None),
        (noon(2), Some(true), None),
        (noon(2) + 1, Some(true), None),
    ]);
    let list = vec![
        listed("s0", noon(1), true),
        listed("s1", november(2).begin_ms() + MINUTE, true),
        listed("s2", noon(2), true),
        listed("s3", noon(2) + 1, true),
    ];
    let facts = join(&world, list, None).facts;
    // The list has three on the 2nd, the bill two: it lacks one.
    let bill = [line(november(1), TAG, 1, 0), line(november(2), TAG, 2, 0)];
    let rows = world.explained(&bill, &[], Some(&facts));
    assert_eq!(parts(&rows[0]), [(PartKind::Midnight, -1, vec!["s1"])]);
    assert_eq!((rows[1].difference, rows[1].status), (0, Status::Matched));
    assert_eq!(
        parts(&rows[1]),
        [(PartKind::Midnight, 1, vec!["s1"]), (PartKind::Unexplained, -1, vec!["s2", "s3"])]
    );
}

/// On a day of a month that is billed, and of which neither side has anything of the tag, nobody charges what the list has
/// there: it balances with nothing. What it has in a month without a bill may.
#[test]
fn what_the_list_moves_to_a_day_that_nobody_charges_is_unexplained() {
    let noon = november(1).begin_ms() + 720 * MINUTE;
    let late = november(2).begin_ms() - 2 * MINUTE;
    let world = World::of(&[(noon, Some(true), None), (late, Some(true), None)]);
    let list = vec![listed("s0", noon, true), listed("s1", november(2).begin_ms() + MINUTE, true)];
    let facts = join(&world, list, None).facts;
    let bill = [line(november(1), TAG, 1, 0)];
    let rows = world.explained(&bill, &[], Some(&facts));
    assert_eq!(parts(&rows[0]), [(PartKind::Unexplained, -1, vec!["s0", "s1"])]);
    let begin = november(1).begin_ms();
    let world = World::of(&[(noon, Some(true), None), (begin, Some(true), None)]);
    let list = vec![listed("s0", noon, true), listed("s1", begin - MINUTE, true)];
    let facts = join(&world, list, None).facts;
    let rows = world.explained(&bill, &[], Some(&facts));
    assert_eq!(parts(&rows[0]), [(PartKind::Midnight, -1, vec!["s1"])]);
}

/// Of a list that reaches into the months beside, the Seqs of the months that are compared are counted, whichever side has
/// them there.
#[test]
fn seqs_of_other_months_are_not_counted() {
    let noon = |n: i32| november(n).begin_ms() + 720 * MINUTE;
    let (october, december) = (november(0), november(31));
    let world = World::of(&[
        (noon(1), Some(true), None),                      // agrees
        (noon(0), Some(true), None),                      // agrees, in October
        (noon(31), Some(false), None),                    // charged there, in December
        (december.begin_ms() - MINUTE, Some(true), None), // there on 1 December
        (december.begin_ms() + MINUTE, Some(true), None), // there on 30 November
    ]);
    let list = vec![
        listed("s0", noon(1), true),
        listed("s1", noon(0), true),
        listed("s2", noon(31), true),
        listed("s3", december.begin_ms(), true),
        listed("s4", december.begin_ms() - 1, true),
        listed("x1", october.begin_ms(), true),
        listed("x2", noon(2), true),
    ];
    let months = BTreeSet::from([november(1).month()]);
    let told = |outcome: SeqOutcome| {
        let seqs: Vec<String> = outcome.differences.iter().map(|told| told.seq).collect();
        (outcome.join.agree, outcome.join.differences_total, seqs)
    };
    let seqs = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let of_november = told(join(&world, list.clone(), Some(months)));
    assert_eq!(of_november, (1, 3, seqs(&["s3", "s4", "x2"])));
    assert_eq!(told(join(&world, list, None)), (2, 5, seqs(&["s2", "s3", "s4", "x1", "x2"])));
}

/// By deduction time what other bills hold of other months is not in question; what the bill of the month holds is.
#[test]
fn lines_of_the_bills_of_other_months_are_not_in_question() {
    let of_bill = |usage: UsageDay, bill: i32| BillLine {
        bill_month: Some(november(bill).month()),
        ..line(usage, TAG, 1, 0)
    };
    let months = BTreeSet::from([november(1).month()]);
    let asked = |lines: &[BillLine]| {
        let statistics = Some(Statistics::ByPay);
        let settings = Settings { months: Some(&months), statistics, ..settings() };
        counts(&[], lines, &settings).unwrap().lines_elsewhere
    };
    // The bill of December has the usage of 30 November, which is asked for, and that of December, which is not.
    let (last, december) = (november(30), november(35));
    assert_eq!(asked(&[of_bill(november(1), 1), of_bill(last, 31), of_bill(december, 31)]), 0);
    // That of November has usage of October that was never counted.
    assert_eq!(asked(&[of_bill(november(1), 1), of_bill(november(-20), 1)]), 1);
}

/// An attempt without a flag that the list says is free is no reason for a bill that counts more, whatever else the list
/// does not cover.
#[test]
fn an_unknown_flag_that_the_list_knows_is_no_reason() {
    let noon = november(1).begin_ms() + 720 * MINUTE;
    let near = november(1).begin_ms() + MINUTE;
    let world = World::of(&[(near, None, None), (noon, None, None), (noon + 1, Some(true), None)]);
    // The day is not covered: nothing of the list lies between 02:00 and 22:00.
    let facts = join(&world, vec![listed("s0", near, false)], None).facts;
    let rows = world.explained(&[line(november(1), TAG, 3, 0)], &[], Some(&facts));
    assert_eq!(
        parts(&rows[0]),
        [(PartKind::UnknownFlag, 1, vec!["s1"]), (PartKind::Unexplained, 1, vec![])]
    );
}

/// An attempt that is known to have been pulled twice is one that a count without regard to Seq counts twice.
#[test]
fn attempts_that_were_pulled_again_have_seqs() {
    let noon = november(1).begin_ms() + 720 * MINUTE;
    let world = World::of(&[(noon, Some(true), None), (noon + 1, Some(false), None)]);
    let bill = [line(november(1), TAG, 3, 0)];
    let months = BTreeSet::from([november(1).month()]);
    let settings = Settings { months: Some(&months), ..settings() };
    let mut rows = counts(&world.daily(), &bill, &settings).unwrap().rows;
    let wanted = wanted(&rows, &[], &[]);
    let mut evidence = Evidence::new(&wanted, Limits::default());
    for row in &world.rows {
        evidence.see(&OurRow { more_pulls: 1, ..world.row(row) });
    }
    explain(&mut rows, &evidence, &[], &[], None);
    // The free one would not be counted, however often.
    assert_eq!(
        parts(&rows[0]),
        [(PartKind::Duplicate, 1, vec!["s0"]), (PartKind::Unexplained, 1, vec![])]
    );
}

/// SplitMix64: the same worlds for the same seed everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % n
    }
}

fn random_world(random: &mut Random) -> World {
    let rows = (0..random.below(60))
        .map(|n| {
            let begin = november(1 + random.below(4) as i32).begin_ms();
            let minute = [0, 3, 720, 1_437, 1_439][random.below(5) as usize];
            let flags = [Some(true), Some(true), Some(false), None];
            Attempt {
                // UUIDs in small and capital letters, and other texts.
                seq: match random.below(3) {
                    0 => format!("{:08x}-aaaa-bbbb-cccc-{n:012x}", random.below(1 << 32)),
                    1 => format!("{:08X}-AAAA-BBBB-CCCC-{n:012X}", random.below(1 << 32)),
                    _ => format!("{:x}-{n}", random.below(1 << 20)),
                },
                time: begin + minute * MINUTE,
                tag: [TAG, "basic_photo", "unmapped", "nfc_read"][random.below(4) as usize],
                charge: flags[random.below(4) as usize],
                last: [None, Some(true), Some(false)][random.below(3) as usize],
            }
        })
        .collect();
    World { rows }
}

#[test]
fn random_worlds_add_up() {
    for seed in 0..400 {
        let mut random = Random(seed);
        let world = random_world(&mut random);
        let mut bill = Vec::new();
        for n in 1..=4 {
            for tag in [TAG, "basic_photo", "unmapped"] {
                for _ in 0..random.below(3) {
                    bill.push(line(
                        november(n),
                        tag,
                        random.below(6) as i64,
                        random.below(3) as i64,
                    ));
                }
            }
        }
        let rejects: Vec<_> =
            (0..random.below(4)).map(|_| reject(november(1 + random.below(4) as i32))).collect();
        let list: Vec<_> = world
            .rows
            .iter()
            .filter(|r| r.tag == TAG)
            .filter_map(|row| {
                let time = row.time + [0, 0, 0, 4 * MINUTE][random.below(4) as usize];
                (random.below(4) > 0).then(|| listed(&row.seq, time, random.below(2) == 0))
            })
            .collect();
        let with_list = seed % 2 == 0;
        let facts = with_list.then(|| join(&world, list, None).facts);
        let rows = world.explained(&bill, &rejects, facts.as_ref());
        let mut midnight = BTreeMap::<&str, i64>::new();
        let mut rejected = 0;
        let mut keys = BTreeSet::new();
        for row in &rows {
            assert!(keys.insert((row.period, &row.billing_tag_code)), "seed {seed}: a key twice");
            // The slow way: every attempt and every line is asked whether it is of this row.
            let (first, last) = row.period.days();
            let within = |d: UsageDay| first <= d && d <= last;
            let ours = world.rows.iter().filter(|a| {
                a.tag == row.billing_tag_code
                    && a.charge == Some(true)
                    && within(UsageDay::of_instant(a.time))
            });
            let theirs = bill.iter().filter(|l| {
                *l.billing_tag_code == row.billing_tag_code && l.usage_from.is_some_and(within)
            });
            let (ours, calls) =
                (ours.count() as i64, theirs.map(|l| l.calls().unwrap()).sum::<i64>());
            assert_eq!(row.ours_charged, ours, "seed {seed}");
            assert_eq!(row.provider_calls.unwrap_or(0), calls, "seed {seed}");
            if row.status == Status::CoveredByPackage {
                assert_eq!(row.difference, 0, "seed {seed}");
            } else {
                assert_eq!(row.difference, calls - ours, "seed {seed}");
            }
            let sum: i64 = row.parts.iter().map(|p| p.count).sum();
            assert_eq!(sum, row.difference, "seed {seed}");
            for part in &row.parts {
                match part.kind {
                    PartKind::Midnight => {
                        *midnight.entry(&row.billing_tag_code).or_default() += part.count
                    }
                    PartKind::Reject => rejected += part.count,
                    _ => {}
                }
                assert!(part.seqs.is_sorted(), "seed {seed}");
                if part.kind == PartKind::Midnight {
                    assert!(
                        part.count.abs() <= part.seqs_total,
                        "seed {seed}: more than there are"
                    );
                }
            }
        }
        if !with_list {
            assert!(midnight.values().all(|sum| *sum == 0), "seed {seed}: {midnight:?}");
        }
        assert!(rejected <= rejects.len() as i64, "seed {seed}");
    }
}

#[test]
fn the_join_by_seq_is_that_of_a_plain_map() {
    for seed in 0..400 {
        let mut random = Random(seed);
        let world = random_world(&mut random);
        let mut list = Vec::new();
        for row in &world.rows {
            for _ in 0..random.below(3) {
                let time = row.time + [0, 4 * MINUTE, 1_440 * MINUTE][random.below(3) as usize];
                list.push(listed(&row.seq, time, random.below(2) == 0));
            }
        }
        for n in 0..random.below(20) {
            let seq = format!("{:08x}-aaaa-bbbb-dddd-{n:012x}", random.below(1 << 32));
            list.push(listed(&seq, november(2).begin_ms() + 720 * MINUTE, n % 2 == 0));
        }
        // The slow way: a map of texts, the later row of a Seq in it.
        let theirs: BTreeMap<&str, &ProviderAttempt> =
            list.iter().map(|a| (a.seq.as_str(), a)).collect();
        let ours: BTreeMap<&str, &Attempt> =
            world.rows.iter().map(|a| (a.seq.as_str(), a)).collect();
        let lists_free = list.iter().any(|a| !a.is_need_charge);
        let covered: BTreeSet<UsageDay> = list
            .iter()
            .filter(|a| {
                (120..1_320).contains(
                    &((a.req_time - UsageDay::of_instant(a.req_time).begin_ms()) / MINUTE),
                )
            })
            .map(|a| UsageDay::of_instant(a.req_time))
            .collect();
        let seqs: BTreeSet<&str> = ours.keys().chain(theirs.keys()).copied().collect();
        let mut expected = Vec::new();
        for seq in seqs {
            let status = match (ours.get(seq), theirs.get(seq)) {
                (Some(o), Some(t)) if o.charge != Some(t.is_need_charge) => SeqStatus::FlagDiffers,
                (Some(o), Some(t))
                    if UsageDay::of_instant(o.time) != UsageDay::of_instant(t.req_time) =>
                {
                    SeqStatus::DayDiffers
                }
                (Some(o), None)
                    if o.tag == TAG
                        && covered.contains(&UsageDay::of_instant(o.time))
                        && (lists_free || o.charge == Some(true)) =>
                {
                    SeqStatus::OursOnly
                }
                (None, Some(_)) => SeqStatus::ProviderOnly,
                _ => continue,
            };
            expected.push((seq.to_owned(), status));
        }
        let outcome = join(&world, list.clone(), None);
        let found: Vec<_> = outcome.differences.iter().map(|d| (d.seq, d.status)).collect();
        assert_eq!(found, expected, "seed {seed}");
        let grouped = |agree: bool| -> i64 {
            let groups = outcome.join.groups.iter();
            groups.filter(|g| (g.status == SeqStatus::Agree) == agree).map(|g| g.count).sum()
        };
        let agree = outcome.join.agree;
        assert_eq!((grouped(false), grouped(true)), (expected.len() as i64, agree), "seed {seed}");
    }
}

#[test]
fn a_part_lists_as_many_seqs_as_there_is_room_for() {
    let rows = |n: i32| -> Vec<Variance> {
        let ours: Vec<_> = (0..n).map(|d| charge(november(1).plus(-d), TAG, 1, 0, 0)).collect();
        let bill: Vec<_> = (0..n).map(|d| line(november(1).plus(-d), TAG, 2, 0)).collect();
        counts(&ours, &bill, &settings()).unwrap().rows
    };
    for (differing, each) in [(1, 10_000), (20, 10_000), (40, 5_000), (1_000, 200), (3_000, 200)] {
        assert_eq!(wanted(&rows(differing), &[], &[]).seqs_max(), each, "{differing} rows");
    }
}
