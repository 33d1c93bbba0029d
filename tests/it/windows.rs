//! `--from`, `--to`, `{date}` captures and partial refreshes: whatever is loaded in whatever windows, in the end the
//! tables are those of one run over everything.

use crate::world::{Object, Row, SOME_TIME, World, attempt, detail_files, result};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;

const PIPELINE: &str = r#"
name = "windows"
[account]
uin = "100012345678"
opened_at = "2023-05-01T00:00:00+08:00"
[source]
url = "source/"
keys = "{channel}/dt={date}/{name}"
[[route]]
match = { channel = "wx" }
product = "enhanced"
channel = "wechat_mini_program"
[output]
url = "out/"
"#;

/// 2024-11-01T00:00:00+08:00.
const NOVEMBER: i64 = 1_730_390_400_000;

/// The instant that is so many days (from 1) and milliseconds into November 2024 in Beijing.
fn november(day: i64, ms: i64) -> i64 {
    NOVEMBER + (day - 1) * 86_400_000 + ms
}

fn object(key: &str, attempts: &[(&str, i64)]) -> Object {
    let attempts = attempts.iter().map(|(seq, ms)| attempt(seq, *ms, Some(true)));
    Object::new(key, result(attempts.collect()).to_string(), SOME_TIME)
}

/// Four days, each with an attempt at noon; and a token with an attempt on either side of each midnight.
fn four_days() -> Vec<Object> {
    let mut objects = Vec::new();
    for day in 1..=4 {
        objects.push(object(
            &format!("wx/dt=2024-11-0{day}/noon.json"),
            &[(&format!("noon-{day}"), november(day, 43_200_000))],
        ));
        if day < 4 {
            let (last, first) = (format!("last-{day}"), format!("first-{}", day + 1));
            let pair = [
                (last.as_str(), november(day, 86_399_999)),
                (first.as_str(), november(day + 1, 0)),
            ];
            objects.push(object(&format!("wx/dt=2024-11-0{day}/midnight.json"), &pair));
        }
    }
    objects
}

/// Seqs by usage date.
fn seqs(world: &World) -> BTreeMap<String, BTreeSet<String>> {
    let mut days: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for row in world.table("liveness_detail").rows() {
        let text = |column: &str| row[column].as_str().expect("a text").to_owned();
        assert!(
            days.entry(text("usage_date")).or_default().insert(text("seq")),
            "a Seq twice on a day"
        );
    }
    days
}

fn days(expected: &[(&str, &[&str])]) -> BTreeMap<String, BTreeSet<String>> {
    expected
        .iter()
        .map(|(day, seqs)| {
            (format!("2024-11-0{day}"), seqs.iter().map(|s| (*s).to_owned()).collect())
        })
        .collect()
}

fn all_days() -> BTreeMap<String, BTreeSet<String>> {
    days(&[
        ("1", &["noon-1", "last-1"]),
        ("2", &["first-2", "noon-2", "last-2"]),
        ("3", &["first-3", "noon-3", "last-3"]),
        ("4", &["first-4", "noon-4"]),
    ])
}

/// The tables of one run over everything.
fn in_one_run(objects: &[Object]) -> World {
    let world = World::new(PIPELINE);
    world.put_all(objects);
    world.run(&[]);
    world.verify();
    world
}

/// Rows of a table that do not say in which run they came to be.
fn lasting(world: &World, table: &str) -> Vec<Row> {
    let mut rows = world.table(table).rows();
    for row in &mut rows {
        row.remove("source_version");
        row.remove("run_id");
    }
    rows.sort_by_key(|row| format!("{row:?}"));
    rows
}

#[track_caller]
fn assert_same(world: &World, whole: &World) {
    world.verify();
    for table in ["liveness_detail", "daily_charge", "rejects"] {
        assert_eq!(lasting(world, table), lasting(whole, table), "{table}");
    }
}

#[test]
fn a_window_holds_its_days_and_no_other() {
    let world = World::new(PIPELINE);
    world.put_all(&four_days());
    let ran = world.run(&["--from", "2024-11-02", "--to", "2024-11-02"]);
    world.verify();
    assert_eq!(seqs(&world), days(&[("2", &["first-2", "noon-2", "last-2"])]));
    // Read: the day before (a token goes over midnight), the day, and three days of late pulls.
    assert_eq!(ran.tally("objects_listed"), 7);
    assert_eq!(
        (ran.tally("details_seen"), ran.tally("details_new"), ran.tally("details_outside")),
        (10, 3, 7)
    );
    let outside: BTreeMap<String, i64> = world
        .table("inputs")
        .rows()
        .iter()
        .map(|row| {
            (
                row["key"].as_str().expect("a key").to_owned(),
                row["rows_outside"].as_i64().expect("a count"),
            )
        })
        .collect();
    assert_eq!(outside["wx/dt=2024-11-01/midnight.json"], 1);
    assert_eq!(outside["wx/dt=2024-11-02/noon.json"], 0);
    assert_eq!(outside["wx/dt=2024-11-03/noon.json"], 1);

    let charges = lasting(&world, "daily_charge");
    assert_eq!(charges.len(), 1);
    assert_eq!(
        (&charges[0]["usage_date"], &charges[0]["attempts"]),
        (&json!("2024-11-02"), &json!(3))
    );
}

#[test]
fn what_lay_outside_is_read_by_a_later_run() {
    let objects = four_days();
    let whole = in_one_run(&objects);
    let world = World::new(PIPELINE);
    world.put_all(&objects);
    world.run(&["--from", "2024-11-02", "--to", "2024-11-02"]);
    let ran = world.run(&[]);
    assert_eq!(seqs(&world), all_days());
    assert_same(&world, &whole);
    // The one object that lay wholly inside was known.
    assert_eq!((ran.tally("objects_known"), ran.tally("details_new")), (1, 7));
    let again = world.run(&[]);
    assert_eq!((again.tally("objects_known"), again.tally("objects_parsed")), (7, 0));
    assert_same(&world, &whole);
}

#[test]
fn windows_in_any_order_add_up_to_the_whole() {
    let objects = four_days();
    let whole = in_one_run(&objects);
    for order in [["1", "2", "3", "4"], ["4", "3", "2", "1"], ["3", "1", "4", "2"]] {
        let world = World::new(PIPELINE);
        world.put_all(&objects);
        for day in order {
            let day = format!("2024-11-0{day}");
            world.run(&["--from", &day, "--to", &day]);
            world.verify();
        }
        assert_eq!(seqs(&world), all_days(), "{order:?}");
        assert_same(&world, &whole);
        world.run(&["--full-refresh"]);
        assert_same(&world, &whole);
        assert!(detail_files(&world) == detail_files(&whole), "the same data files, {order:?}");
    }
    // Open at one end.
    let world = World::new(PIPELINE);
    world.put_all(&objects);
    world.run(&["--to", "2024-11-02"]);
    assert_eq!(seqs(&world).keys().collect::<Vec<_>>(), ["2024-11-01", "2024-11-02"]);
    world.run(&["--from", "2024-11-03"]);
    assert_eq!(seqs(&world), all_days());
    assert_same(&world, &whole);
}

#[test]
fn late_pulls_are_looked_for_as_long_as_the_pipeline_says() {
    let late = |day: &str| {
        object(&format!("wx/dt={day}/late.json"), &[(&format!("late-{day}"), november(1, 1000))])
    };
    let objects = ["2024-11-01", "2024-11-04", "2024-11-05", "20241102", "not-a-date"].map(late);
    for (set, expected) in [
        ("source.lookback_days=3", &["2024-11-01", "2024-11-04", "20241102", "not-a-date"][..]),
        ("source.lookback_days=0", &["2024-11-01", "not-a-date"]),
        (
            "source.lookback_days=4",
            &["2024-11-01", "2024-11-04", "2024-11-05", "20241102", "not-a-date"],
        ),
    ] {
        let world = World::new(PIPELINE);
        world.put_all(&objects);
        world.run(&["--from", "2024-11-01", "--to", "2024-11-01", "--set", set]);
        world.verify();
        let expected: BTreeSet<String> = expected.iter().map(|day| format!("late-{day}")).collect();
        assert_eq!(seqs(&world)["2024-11-01"], expected, "{set}");
    }
}

#[test]
fn a_refresh_of_a_range_replaces_that_range_only() {
    let objects = four_days();
    let world = in_one_run(&objects);
    let before = detail_files(&world);
    let charges = lasting(&world, "daily_charge");

    // Days 1, 2 and 4 lose their noon, day 2 gets another attempt; only day 2 is made anew.
    for day in [1, 2, 4] {
        world.remove(&format!("wx/dt=2024-11-0{day}/noon.json"));
    }
    world.put(&object("wx/dt=2024-11-02/evening.json", &[("evening-2", november(2, 72_000_000))]));
    world.run(&["--full-refresh", "--from", "2024-11-02", "--to", "2024-11-02"]);
    world.verify();
    let mut expected = all_days();
    expected
        .insert("2024-11-02".into(), ["first-2", "last-2", "evening-2"].map(str::to_owned).into());
    assert_eq!(seqs(&world), expected);

    let after = detail_files(&world);
    let others = |files: &BTreeMap<String, Vec<u8>>| -> BTreeMap<String, Vec<u8>> {
        files
            .iter()
            .filter(|(name, _)| !name.starts_with("usage_date=2024-11-02/"))
            .map(|(n, b)| (n.clone(), b.clone()))
            .collect()
    };
    assert!(others(&after) == others(&before), "the files of the other days");
    let others = |rows: Vec<Row>| -> Vec<Row> {
        rows.into_iter().filter(|r| r["usage_date"] != "2024-11-02").collect()
    };
    assert_eq!(
        others(lasting(&world, "daily_charge")),
        others(charges),
        "the charges of the other days"
    );

    // A day of which nothing is left goes.
    world.remove("wx/dt=2024-11-03/noon.json");
    world.remove("wx/dt=2024-11-03/midnight.json");
    world.remove("wx/dt=2024-11-02/midnight.json");
    world.run(&["--full-refresh", "--from", "2024-11-03", "--to", "2024-11-03"]);
    world.verify();
    expected.remove("2024-11-03");
    assert_eq!(seqs(&world), expected);
    assert!(lasting(&world, "daily_charge").iter().all(|row| row["usage_date"] != "2024-11-03"));
}

/// What a pull said that gave no row stays known when the days of the row are made anew, though its object has a date that
/// is not read for them, and though that of another was written over.
#[test]
fn a_refresh_of_a_range_keeps_what_earlier_pulls_said() {
    let envelope = "[source.envelope]\nresponse = \"/result\"\nfetched_at = \"/at\"\n[[route]]";
    let pull = |key: &str, hour: i64, seqs: &[&str], flag: Option<bool>| {
        let attempts = seqs.iter().map(|seq| attempt(seq, november(5, 1), flag)).collect();
        let record = json!({"at": november(5, 3_600_000 * hour), "result": result(attempts)});
        Object::new(key, record.to_string(), SOME_TIME + hour)
    };
    let told = |world: &World| -> BTreeMap<String, serde_json::Value> {
        let rows = world.table("liveness_detail").rows().into_iter();
        rows.map(|row| (row["seq"].to_string(), row["earlier_pulls"].clone())).collect()
    };
    let world = World::new(&PIPELINE.replace("[[route]]", envelope));
    world.put_all(&[
        pull("wx/dt=2024-11-01/old.json", 1, &["far"], None),
        pull("wx/dt=2024-11-05/new.json", 2, &["far"], Some(true)),
        pull("wx/dt=2024-11-05/over.json", 1, &["over", "gone"], None),
    ]);
    world.run(&[]);
    world.put(&pull("wx/dt=2024-11-05/over.json", 3, &["over"], Some(false)));
    world.run(&[]);
    let before = told(&world);
    let first = json!([{
        "fetched_at": november(5, 3_600_000), "is_need_charge": null, "snapshot_final": true, "errcode": 0
    }]);
    let due = |over: &serde_json::Value| {
        let none = serde_json::Value::Null;
        [("far", &first), ("gone", &none), ("over", over)]
            .map(|(seq, told)| (format!("\"{seq}\""), told.clone()))
            .into()
    };
    assert_eq!(before, due(&first));
    // Nothing of the first of November is read for the fifth.
    let mut expected = before;
    expected.remove("\"gone\"");
    for _ in 0..2 {
        world.run(&["--full-refresh", "--from", "2024-11-05", "--to", "2024-11-05"]);
        world.verify();
        assert_eq!(told(&world), expected);
    }
    // All days anew: as the objects are now, as a first load of them has it.
    world.run(&["--full-refresh"]);
    expected.insert("\"over\"".into(), serde_json::Value::Null);
    assert_eq!(told(&world), expected);
}

/// An attempt whose later snapshot names another day is of that day, whichever windows were loaded first.
#[test]
fn a_seq_that_moved_to_another_day_is_counted_there_once() {
    let moved = |key: &str, day: i64, modified: i64| Object {
        modified,
        ..object(
            key,
            &[("moved", november(day, 43_200_000)), (&format!("stays-{day}"), november(day, 1))],
        )
    };
    for (old_day, new_day) in [(1, 2), (2, 1)] {
        let objects = [
            moved("wx/dt=2024-11-01/old.json", old_day, SOME_TIME),
            moved("wx/dt=2024-11-02/new.json", new_day, SOME_TIME + 1),
        ];
        let whole = in_one_run(&objects);
        let expected = days(&match new_day {
            2 => [("1", &["stays-1"][..]), ("2", &["stays-2", "moved"])],
            _ => [("1", &["stays-1", "moved"][..]), ("2", &["stays-2"])],
        });
        assert_eq!(seqs(&whole), expected);
        for windows in [&["2024-11-01", "2024-11-02"][..], &["2024-11-02", "2024-11-01"]] {
            let world = World::new(PIPELINE);
            world.put_all(&objects);
            for day in windows {
                world.run(&["--from", day, "--to", day]);
                world.verify();
            }
            assert_same(&world, &whole);
        }
        // Refreshing either day of the whole changes nothing.
        for day in ["2024-11-01", "2024-11-02"] {
            whole.run(&["--full-refresh", "--from", day, "--to", day]);
            whole.verify();
            assert_eq!(
                seqs(&whole),
                expected,
                "after a refresh of {day}, moved from {old_day} to {new_day}"
            );
        }
    }
}

/// A pull that is written over the one before, under the same key.
#[test]
fn an_object_that_grows_in_place_is_read_again() {
    let key = "wx/dt=2024-11-01/token.json";
    let first = [attempt("one", november(1, 1000), None)];
    let later = [
        attempt("one", november(1, 1000), Some(true)),
        attempt("two", november(2, 0), Some(false)),
    ];
    let pull = |attempts: &[serde_json::Value], modified| {
        Object::new(key, result(attempts.to_vec()).to_string(), modified)
    };
    let world = World::new(PIPELINE);
    world.put(&pull(&first, SOME_TIME));
    world.run(&[]);
    let ran = {
        world.put(&pull(&later, SOME_TIME + 60_000));
        world.run(&[])
    };
    assert_eq!(
        (ran.tally("details_new"), ran.tally("details_changed"), ran.tally("details_duplicate")),
        (1, 1, 0)
    );
    let whole = in_one_run(&[pull(&later, SOME_TIME + 60_000)]);
    assert_same(&world, &whole);
    assert!(detail_files(&world) == detail_files(&whole), "the same data files");
    // The same size, another flag: only the time (and with it the etag) tells.
    let flipped =
        [attempt("one", november(1, 1000), Some(true)), attempt("two", november(2, 0), None)];
    let padded = |n| {
        Object::new(
            key,
            format!("{}{}", result(flipped.to_vec()), " ".repeat(n)),
            SOME_TIME + 120_000,
        )
    };
    let size = pull(&later, 0).bytes.len();
    let same_size = padded(size - padded(0).bytes.len());
    assert_eq!(same_size.bytes.len(), size);
    world.put(&same_size);
    let ran = world.run(&[]);
    assert_eq!((ran.tally("details_changed"), ran.tally("details_duplicate")), (1, 1));
    assert_same(&world, &in_one_run(&[same_size]));
}

#[test]
fn a_dry_run_writes_nothing() {
    let world = World::new(PIPELINE);
    world.put_all(&four_days());
    let ran = world.run(&["--dry-run"]);
    assert_eq!((ran.tally("objects_listed"), ran.tally("details_new")), (7, 10));
    assert!(
        !world.path("out").exists()
            || fs::read_dir(world.path("out")).expect("out/").next().is_none()
    );
    // And so does a plan.
    let plan =
        world.faceledger(&["plan", "pipeline.toml", "--json", "--to", "2024-11-01"]).exits(0);
    assert_eq!(plan.json()["objects"], 7);
    assert!(
        !world.path("out").exists()
            || fs::read_dir(world.path("out")).expect("out/").next().is_none()
    );
}

#[test]
fn windows_that_hold_no_day_are_refused() {
    let world = World::new(PIPELINE);
    for args in [
        &["--from", "2024-11-02", "--to", "2024-11-01"][..],
        &["--from", "2024-02-30"],
        &["--to", "yesterday"],
        &["--from", "2023-02-29"],
    ] {
        let args: Vec<&str> = ["run", "pipeline.toml"].iter().chain(args).copied().collect();
        world.faceledger(&args).exits(2);
    }
}

/// Rejects over the pipeline's threshold: what could be read is loaded, and the run exits 3.
#[test]
fn rejects_over_the_threshold_exit_3_after_the_commit() {
    let world = World::new(PIPELINE);
    world.put_all(&four_days());
    world.put(&Object::new("wx/dt=2024-11-01/broken.json", "{\"Response\":{", SOME_TIME));
    let ran = world.faceledger(&["run", "pipeline.toml", "--json"]).exits(3);
    assert_eq!((ran.tally("details_new"), ran.tally("records_rejected")), (10, 1));
    assert_eq!(seqs(&world), all_days());
    world.verify();
    // Mended, the object is read again, and its reject goes.
    world.put(&Object {
        modified: SOME_TIME + 1,
        ..object("wx/dt=2024-11-01/broken.json", &[("mended", november(1, 5))])
    });
    world.run(&[]);
    world.verify();
    assert!(world.table("rejects").rows().is_empty());
    assert!(seqs(&world)["2024-11-01"].contains("mended"));
}

/// A share is at most one: of an object in which everything is wrong, all is rejected and no more than all.
#[test]
fn rejects_are_a_share_of_what_was_read() {
    let world =
        World::new(&PIPELINE.replace("[output]", "[limits]\nrejects_ratio_max = 1.0\n[output]"));
    // One record, three attempts, none of which can be used.
    world.put(&object(
        "wx/dt=2024-11-01/bad.json",
        &[("", november(1, 0)), ("", november(1, 1)), ("", november(1, 2))],
    ));
    let ran = world.faceledger(&["run", "pipeline.toml", "--json"]).exits(0);
    assert_eq!((ran.tally("records_rejected"), ran.tally("details_rejected")), (0, 3));
    let share = ran.json()["rejects_ratio"].as_f64().expect("rejects_ratio");
    assert!((0.0..=1.0).contains(&share), "{share}");
}
