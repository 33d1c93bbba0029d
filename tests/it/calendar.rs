//! Days and settlement dates against dates written down by hand.
//!
//! The instants are epoch milliseconds, as FaceID sends them; the dates beside them come from a calendar and from
//! `date -u -d @SECONDS`, not from code.

use crate::world::{Object, PLAIN_PIPELINE, Row, SOME_TIME, World, attempt, result};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Beijing midnights: the instant, the day that ends, the day that begins; and of both the settlement dates of
/// a daily and of a monthly account.
struct Midnight {
    ms: i64,
    before: Day,
    after: Day,
}

struct Day {
    date: &'static str,
    daily: &'static str,
    monthly: &'static str,
}

const fn day(date: &'static str, daily: &'static str, monthly: &'static str) -> Day {
    Day { date, daily, monthly }
}

const MIDNIGHTS: [Midnight; 10] = [
    // 2024-11-01T16:00:00Z
    Midnight {
        ms: 1_730_476_800_000,
        before: day("2024-11-01", "2024-11-02", "2024-12-01"),
        after: day("2024-11-02", "2024-11-03", "2024-12-01"),
    },
    // 2024-02-28T16:00:00Z: into a 29 February
    Midnight {
        ms: 1_709_136_000_000,
        before: day("2024-02-28", "2024-02-29", "2024-03-01"),
        after: day("2024-02-29", "2024-03-01", "2024-03-01"),
    },
    // 2024-02-29T16:00:00Z: out of it
    Midnight {
        ms: 1_709_222_400_000,
        before: day("2024-02-29", "2024-03-01", "2024-03-01"),
        after: day("2024-03-01", "2024-03-02", "2024-04-01"),
    },
    // 2023-02-28T16:00:00Z: a year without one
    Midnight {
        ms: 1_677_600_000_000,
        before: day("2023-02-28", "2023-03-01", "2023-03-01"),
        after: day("2023-03-01", "2023-03-02", "2023-04-01"),
    },
    // 2023-12-31T16:00:00Z
    Midnight {
        ms: 1_704_038_400_000,
        before: day("2023-12-31", "2024-01-01", "2024-01-01"),
        after: day("2024-01-01", "2024-01-02", "2024-02-01"),
    },
    // 2024-12-31T16:00:00Z: the end of a leap year
    Midnight {
        ms: 1_735_660_800_000,
        before: day("2024-12-31", "2025-01-01", "2025-01-01"),
        after: day("2025-01-01", "2025-01-02", "2025-02-01"),
    },
    // 2025-01-30T16:00:00Z: the last day of a month longer than the next
    Midnight {
        ms: 1_738_252_800_000,
        before: day("2025-01-30", "2025-01-31", "2025-02-01"),
        after: day("2025-01-31", "2025-02-01", "2025-02-01"),
    },
    // 2023-01-03T16:00:00Z: the day on which daily settlement began
    Midnight {
        ms: 1_672_761_600_000,
        before: day("2023-01-03", "2023-01-04", "2023-02-01"),
        after: day("2023-01-04", "2023-01-05", "2023-02-01"),
    },
    // 2025-03-08T16:00:00Z: New York's clocks jump in this Beijing day
    Midnight {
        ms: 1_741_449_600_000,
        before: day("2025-03-08", "2025-03-09", "2025-04-01"),
        after: day("2025-03-09", "2025-03-10", "2025-04-01"),
    },
    // 2100 is no leap year, but a day before it still counts: 2099-12-30T16:00:00Z
    Midnight {
        ms: 4_102_329_600_000,
        before: day("2099-12-30", "2099-12-31", "2100-01-01"),
        after: day("2099-12-31", "2100-01-01", "2100-01-01"),
    },
];

/// From two seconds before midnight to two seconds after: every second, and the milliseconds at its edges.
fn around(midnight: i64) -> Vec<i64> {
    (-2..=2)
        .flat_map(|second| [-1, 0, 1, 500].map(|ms| midnight + second * 1000 + ms))
        .filter(|ms| (midnight - 2000..=midnight + 2000).contains(ms))
        .collect()
}

#[test]
fn every_second_around_midnight_is_of_its_own_day() {
    for (opened_at, monthly) in
        [("2023-05-01T00:00:00+08:00", false), ("2021-07-01T00:00:00+08:00", true)]
    {
        let world = World::new(&pipeline(opened_at));
        let mut expected: BTreeMap<String, (String, String, i64)> = BTreeMap::new();
        let mut attempts = Vec::new();
        for midnight in &MIDNIGHTS {
            let instants = around(midnight.ms);
            assert!(
                instants.contains(&(midnight.ms - 1))
                    && instants.contains(&midnight.ms)
                    && instants.len() >= 15
            );
            for ms in instants {
                let day = if ms < midnight.ms { &midnight.before } else { &midnight.after };
                let settled = if monthly { day.monthly } else { day.daily };
                let seq = format!("seq-{ms}");
                // Numbers and strings are the same instant.
                let mut attempt = attempt(&seq, ms, Some(true));
                if ms % 2 == 0 {
                    attempt["ReqTime"] = json!(ms);
                }
                attempts.push(attempt);
                expected.insert(seq, (day.date.to_owned(), settled.to_owned(), ms));
            }
        }
        // One token may have attempts of any days.
        let lines: Vec<String> =
            attempts.chunks(7).map(|some| result(some.to_vec()).to_string()).collect();
        world.put(&Object::new("all.ndjson", lines.join("\n"), SOME_TIME));
        world.run(&[]);
        world.verify();
        let found: BTreeMap<String, (String, String, i64)> =
            world.table("liveness_detail").rows().iter().map(facts).collect();
        assert_eq!(found, expected, "opened_at {opened_at}");
    }
}

fn facts(row: &Row) -> (String, (String, String, i64)) {
    let text = |column: &str| row[column].as_str().expect("a text").to_owned();
    (
        text("seq"),
        (
            text("usage_date"),
            text("settlement_date"),
            row["req_time"].as_i64().expect("an instant"),
        ),
    )
}

#[test]
fn the_instant_an_account_was_opened_decides_how_it_settles() {
    // 2023-01-04T00:00:00+08:00 is 2023-01-03T16:00:00Z.
    for (opened_at, settled) in [
        ("2023-01-04T00:00:00+08:00", "2024-11-03"),
        ("2023-01-04T00:00:01+08:00", "2024-11-03"),
        ("2023-01-03T23:59:59+08:00", "2024-12-01"),
        ("2023-01-03T23:59:59.999+08:00", "2024-12-01"),
        ("2023-01-03T16:00:00Z", "2024-11-03"),
        ("2023-01-03T15:59:59Z", "2024-12-01"),
        ("2023-01-03T11:00:00-05:00", "2024-11-03"),
        ("2023-01-03T10:59:59-05:00", "2024-12-01"),
        ("2023-01-03T21:45:00+05:45", "2024-11-03"),
        ("2023-01-03T21:44:59+05:45", "2024-12-01"),
        // Later on the clock of the place, earlier in truth, and the other way round.
        ("2023-01-04T05:59:59+14:00", "2024-12-01"),
        ("2023-01-03T04:00:00-12:00", "2024-11-03"),
        ("2018-01-01T00:00:00+08:00", "2024-12-01"),
    ] {
        let world = World::new(&pipeline(opened_at));
        // 2024-11-02T00:00:00+08:00
        let one = result(vec![attempt("one", 1_730_476_800_000, Some(true))]);
        world.put(&Object::new("one.json", one.to_string(), SOME_TIME));
        world.run(&[]);
        for table in ["liveness_detail", "daily_charge"] {
            let rows = world.table(table).rows();
            assert_eq!(rows.len(), 1);
            assert_eq!(rows[0]["settlement_date"], settled, "{table}, opened_at {opened_at}");
            assert_eq!(rows[0]["usage_date"], "2024-11-02");
        }
    }
}

#[test]
fn times_that_cannot_be_are_rejects() {
    let world = World::new(PLAIN_PIPELINE);
    let cases: [(Value, Option<&str>); 14] = [
        // 2015-01-01T00:00:00+08:00, and a millisecond before.
        (json!("1420041600000"), None),
        (json!(1_420_041_599_999_i64), Some("req_time_out_of_range")),
        // 2099-12-31T23:59:59.999+08:00, and a millisecond after.
        (json!(4_102_415_999_999_i64), None),
        (json!("4102416000000"), Some("req_time_out_of_range")),
        (json!(0), Some("req_time_out_of_range")),
        (json!("0"), Some("req_time_out_of_range")),
        (json!(-1), Some("req_time_out_of_range")),
        // Seconds; microseconds; the year 9999.
        (json!("1730476800"), Some("req_time_out_of_range")),
        (json!("1730476800000000"), Some("req_time_out_of_range")),
        (json!("253370736000000"), Some("req_time_out_of_range")),
        (json!("2024-11-02 00:00:00"), Some("req_time_invalid")),
        (json!(""), Some("req_time_invalid")),
        (json!(true), Some("req_time_invalid")),
        (Value::Null, Some("req_time_missing")),
    ];
    let lines = cases.iter().enumerate().map(|(i, (req_time, _))| {
        let mut attempt = attempt(&format!("seq-{i:02}"), 0, None);
        attempt["ReqTime"] = req_time.clone();
        result(vec![attempt]).to_string()
    });
    let lines: Vec<String> = lines.collect();
    world.put(&Object::new("times.ndjson", lines.join("\n"), SOME_TIME));
    let ran = world.run(&[]);
    let rows = world.table("rejects").rows();
    let rejects: Vec<(i64, &str)> = rows
        .iter()
        .map(|row| {
            (
                row["source_record"].as_i64().expect("a number"),
                row["reason"].as_str().expect("a reason"),
            )
        })
        .collect();
    let expected: Vec<(i64, &str)> =
        (0..).zip(&cases).filter_map(|(i, (_, reason))| reason.map(|reason| (i, reason))).collect();
    assert_eq!(rejects, expected);
    assert_eq!((ran.tally("details_new"), ran.tally("details_rejected")), (2, 12));
    let days: Vec<String> =
        world.table("daily_charge").rows().iter().map(|r| r["usage_date"].to_string()).collect();
    assert_eq!(days, ["\"2015-01-01\"", "\"2099-12-31\""]);
}

fn pipeline(opened_at: &str) -> String {
    let text = PLAIN_PIPELINE.replace("2023-05-01T00:00:00+08:00", opened_at);
    assert!(text.contains(opened_at));
    text
}
