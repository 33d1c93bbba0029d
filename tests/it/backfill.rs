//! Backfills and scheduled runs: date by date, in the order asked for, resumed where they were, and never more of
//! them at once than one day; what a listing, an inventory and the history say of objects.

use crate::world::{Object, Row, SOME_TIME, World, attempt, detail_files, result};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

const PIPELINE: &str = r#"
name = "backfill"
[account]
uin = "100012345678"
opened_at = "2023-05-01T00:00:00+08:00"
[source]
url = "source/"
keys = "{channel}/dt={date}/{name}"
[output]
url = "out/"
[limits]
rejects_ratio_max = 1.0
"#;

/// 2024-01-01T00:00:00+08:00.
const NEW_YEAR: i64 = 1_704_038_400_000;
const DAY: i64 = 86_400_000;

/// The date that is so many days after 2024-01-01.
fn date(day: i64) -> String {
    let epoch = i32::try_from((NEW_YEAR + 28_800_000) / DAY + day).expect("a day");
    crate::world::date(epoch)
}

/// An object of one attempt at noon of its date.
fn noon(channel: &str, day: i64) -> Object {
    let at = NEW_YEAR + day * DAY + 43_200_000;
    let seq = format!("{channel}-{day}");
    let key = format!("{channel}/dt={}/noon.json", date(day));
    Object::new(&key, result(vec![attempt(&seq, at, Some(true))]).to_string(), SOME_TIME + day)
}

fn a_month() -> Vec<Object> {
    (0..31).flat_map(|day| [noon("wx", day), noon("app", day)]).collect()
}

fn seqs(world: &World) -> BTreeSet<String> {
    let rows = world.table("liveness_detail").rows();
    let seqs: Vec<String> =
        rows.iter().map(|row| row["seq"].as_str().expect("a Seq").to_owned()).collect();
    let set: BTreeSet<String> = seqs.iter().cloned().collect();
    assert_eq!(seqs.len(), set.len(), "a Seq twice");
    set
}

/// The dates that each commit of a table's log added files for, in order.
fn commits(world: &World, table: &str) -> Vec<BTreeSet<String>> {
    crate::world::log_files(&world.path("out").join(table))
        .iter()
        .map(|(_, path)| {
            let text = std::fs::read_to_string(path).expect("a log entry");
            text.lines()
                .filter_map(|line| {
                    let action: Value = serde_json::from_str(line).expect("JSON");
                    let value =
                        action.get("add")?["partitionValues"].as_object()?.values().next()?;
                    Some(value.as_str().expect("a date").to_owned())
                })
                .collect()
        })
        .collect()
}

#[test]
fn a_backfill_goes_date_by_date_in_the_order_asked_for() {
    let whole = World::new(PIPELINE);
    whole.put_all(&a_month());
    whole.run(&[]);
    for (order, descending) in [("oldest-first", false), ("newest-first", true)] {
        let world = World::new(PIPELINE);
        world.put_all(&a_month());
        // Two objects a date: a batch is two dates, and the last one.
        let more = ["--set", "limits.batch_objects=5", "--order", order];
        let ran = world.run(&[&more[..], &["--from", "2024-01-01", "--to", "2024-01-31"]].concat());
        assert_eq!(ran.json()["batches"], 16);
        let mut expected: Vec<BTreeSet<String>> =
            (0..16).map(|n| (2 * n..31.min(2 * n + 2)).map(date).collect()).collect();
        if descending {
            expected = (0..16)
                .map(|n| (0..2).map(|i| 30 - 2 * n - i).filter(|d| *d >= 0).map(date).collect())
                .collect();
        }
        assert_eq!(commits(&world, "liveness_detail"), expected, "{order}");
        assert_eq!(commits(&world, "inputs"), expected, "{order}");
        let left =
            if descending { "(2024-01-01 … 2024-01-29)" } else { "(2024-01-03 … 2024-01-31)" };
        assert!(ran.stderr.contains(&format!("left: 29 {left}")), "{}", ran.stderr);
        world.verify();
        assert!(detail_files(&world) == detail_files(&whole), "{order}");
        assert_eq!(world.run(&[]).json()["outcome"], "nothing_new");
    }
}

/// What is committed is known: a run over half of the dates, then all of them.
#[test]
fn what_is_loaded_already_is_not_read_again() {
    let world = World::new(PIPELINE);
    world.put_all(&a_month());
    world.run(&["--to", "2024-01-10"]);
    let ran = world.run(&["--set", "limits.batch_objects=2"]);
    // The day before and three days after a window are read with it, and hold nothing of it: dates up to the
    // 13th were looked at, those after the 10th are read again.
    assert_eq!(ran.tally("objects_known"), 20);
    assert_eq!(ran.tally("objects_parsed"), 42);
    assert_eq!(ran.json()["batches"], 21);
    assert_eq!(seqs(&world).len(), 62);
    world.verify();
}

#[test]
fn a_scheduled_day_looks_back() {
    let world = World::new(PIPELINE);
    let at = |day: i64| NEW_YEAR + day * DAY + 43_200_000;
    // Pulled on the 11th: attempts of the 7th, the 8th and the 11th.
    for (name, day) in [("a", 6), ("b", 7), ("c", 10)] {
        let document = result(vec![attempt(name, at(day), Some(true))]).to_string();
        world.put(&Object::new(&format!("wx/dt=2024-01-11/{name}.json"), document, SOME_TIME));
    }
    let ran = world.run(&["--day", "2024-01-11"]);
    assert_eq!(seqs(&world), BTreeSet::from(["b".to_owned(), "c".to_owned()]));
    assert_eq!(
        (&ran.json()["from"], &ran.json()["to"]),
        (&"2024-01-08".into(), &"2024-01-11".into())
    );
    world.run(&["--day", "2024-01-10", "--set", "source.lookback_days=4"]);
    assert_eq!(seqs(&world).len(), 3);
    world
        .faceledger(&["run", "pipeline.toml", "--day", "2024-01-11", "--to", "2024-01-12"])
        .exits(2);
}

#[test]
fn nothing_new_has_the_exit_status_asked_for() {
    let world = World::new(PIPELINE);
    world.put(&noon("wx", 0));
    let args = ["run", "pipeline.toml", "--if-nothing-new-exit", "99"];
    world.faceledger(&args).exits(0);
    world.faceledger(&args).exits(99);
    world.faceledger(&["run", "pipeline.toml"]).exits(0);
    world.put(&noon("wx", 1));
    world.faceledger(&args).exits(0);
}

#[test]
fn folders_outside_the_window_are_not_looked_into() {
    let world = World::new(PIPELINE);
    world.put_all(&a_month());
    world.put(&Object::new("wx/media/a.jpg", "no result", SOME_TIME));
    world.put(&Object::new("wx/_tmp/a.json", "no result", SOME_TIME));
    let ran = world.run(&["--from", "2024-01-10", "--to", "2024-01-10"]);
    let report = ran.json();
    // The day before to three days after, of two channels; 26 dates of each are left out.
    assert_eq!(ran.tally("objects_listed"), 10);
    assert_eq!((&report["folders_outside"], &report["folders_unmatched"]), (&52.into(), &1.into()));
    assert_eq!((&report["objects_unmatched"], &report["objects_outside"]), (&0.into(), &0.into()));
}

/// Of rows without an envelope the object modified last counts, whatever became of that object since: the
/// rank stays with the row.
#[test]
fn the_rank_of_a_row_outlives_its_object() {
    let at = NEW_YEAR + 43_200_000;
    let document = |flag: bool, seq: &str| result(vec![attempt(seq, at, Some(flag))]).to_string();
    let first = Object::new("wx/dt=2024-01-01/a.json", document(true, "s"), SOME_TIME + 100);
    // Overwritten by something else, later; then another object of the first Seq, from between.
    let other = Object::new("wx/dt=2024-01-01/a.json", document(true, "t"), SOME_TIME + 300);
    let between = Object::new("wx/dt=2024-01-01/b.json", document(false, "s"), SOME_TIME + 200);
    let flag = |world: &World| -> BTreeMap<String, Value> {
        let rows = world.table("liveness_detail").rows();
        rows.into_iter()
            .map(|row: Row| {
                (row["seq"].as_str().expect("a Seq").to_owned(), row["is_need_charge"].clone())
            })
            .collect()
    };
    let world = World::new(PIPELINE);
    for object in [&first, &other, &between] {
        world.put(object);
        world.run(&[]);
        world.verify();
    }
    assert_eq!(flag(&world)["s"], false, "the object from between is later than the first");
    let world = World::new(PIPELINE);
    for object in [&first, &between] {
        world.put(object);
    }
    world.run(&[]);
    world.put(&other);
    world.run(&[]);
    assert_eq!(flag(&world)["s"], false);
}

#[test]
fn an_inventory_stands_for_the_listing() {
    // A folder has no ETags as a store has them: size and time tell its objects apart.
    let header = "Key,Size,LastModifiedDate,ETag\n";
    let listed = World::new(PIPELINE);
    let world = World::new(PIPELINE);
    let mut csv = header.to_owned();
    for object in a_month() {
        listed.put(&object);
        world.put(&object);
        let modified = chrono::DateTime::from_timestamp_millis(object.modified).expect("a time");
        let time = modified.to_rfc3339_opts(chrono::SecondsFormat::Millis, true);
        csv.push_str(&format!("bucket/{},{},{time},\n", object.key, object.bytes.len()));
    }
    listed.run(&[]);
    // Not in the inventory: made since. In it and gone since: counted.
    world.put(&noon("since", 5));
    csv.push_str("bucket/wx/dt=2024-01-05/gone.json,7,2024-01-05T00:00:00.000Z,\n");
    csv.push_str("elsewhere/x.json,7,2024-01-05T00:00:00.000Z,\n");
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(csv.as_bytes()).expect("in memory");
    std::fs::write(world.path("inventory.csv.gz"), gzip.finish().expect("in memory"))
        .expect("written");
    let inventory = [
        "--set",
        "source.inventory.url=inventory.csv.gz",
        "--set",
        "source.inventory.prefix=bucket/",
    ];
    let ran = world.run(&[&inventory[..], &["--set", "limits.batch_objects=4"]].concat());
    assert_eq!((ran.tally("objects_parsed"), ran.tally("objects_gone")), (62, 1));
    assert!(detail_files(&world) == detail_files(&listed));
    world.verify();
    let again = world.run(&inventory);
    assert_eq!((again.tally("objects_known"), again.tally("objects_gone")), (62, 1));

    // One bad line and nothing is read: an inventory with holes would lose objects silently.
    std::fs::write(
        world.path("bad.csv"),
        format!("{header}bucket/a.json,much,2024-01-05T00:00:00Z,\n"),
    )
    .expect("written");
    let ran = world
        .faceledger(&["run", "pipeline.toml", "--set", "source.inventory.url=bad.csv"])
        .exits(2);
    assert!(ran.stderr.contains("bad.csv") && ran.stderr.contains("line 2"), "{}", ran.stderr);
}
