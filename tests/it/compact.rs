//! `compact` and `output.retain`: small files become few, superseded ones go when their time is over, and no reader
//! sees other rows for it.

use crate::world::{Object, Row, SOME_TIME, World, attempt, detail_files, result};
use std::collections::BTreeMap;

const PIPELINE: &str = r#"
name = "compact"
[account]
uin = "100012345678"
opened_at = "2023-05-01T00:00:00+08:00"
[source]
url = "source/"
keys = "dt={date}/{name}"
[output]
url = "out/"
[limits]
rejects_ratio_max = 1.0
"#;

/// 2024-11-01T12:00:00+08:00.
const NOON: i64 = 1_730_433_600_000;

/// One result and one broken record, of a day.
fn object(n: i64) -> Object {
    let document = result(vec![attempt(&format!("s{n:02}"), NOON + n, Some(n % 2 == 0))]);
    let key = format!("dt=2024-11-01/{n:02}.ndjson");
    Object::new(&key, format!("{document}\n{{\"Response\":\n"), SOME_TIME + n)
}

fn rows(world: &World, table: &str) -> Vec<Row> {
    let mut rows = world.table(table).rows();
    rows.sort_by_key(|row| format!("{row:?}"));
    rows
}

fn all(world: &World) -> BTreeMap<&'static str, Vec<Row>> {
    ["liveness_detail", "daily_charge", "rejects", "inputs"]
        .into_iter()
        .map(|table| (table, rows(world, table)))
        .collect()
}

/// Parquet files on disk are those of the log, and no others.
fn exact(world: &World) {
    for table in ["liveness_detail", "daily_charge", "rejects", "inputs"] {
        let table = world.table(table);
        assert_eq!(table.stored(), table.files.keys().cloned().collect(), "{:?}", table.folder);
    }
}

#[test]
fn many_loads_become_few_files() {
    let world = World::new(PIPELINE);
    for n in 0..7 {
        world.put(&object(n));
        world.run(&[]);
    }
    let before = all(&world);
    assert_eq!((before["inputs"].len(), before["rejects"].len()), (7, 7));
    assert_eq!(world.table("inputs").files.len(), 7);
    assert_eq!(world.table("rejects").files.len(), 7);
    // A day is rewritten by each load: nothing to do there.
    assert_eq!(world.table("liveness_detail").files.len(), 1);
    let done = world.faceledger(&["compact", "pipeline.toml", "--json"]).exits(0).json();
    assert_eq!(world.table("inputs").files.len(), 1);
    assert_eq!(world.table("rejects").files.len(), 1);
    assert_eq!((&done["checkpoints"], &done["deleted"]), (&0.into(), &14.into()));
    assert_eq!(all(&world), before);
    exact(&world);
    world.verify();
    // Once more is nothing to do, and the next run knows all objects.
    let again = world.faceledger(&["compact", "pipeline.toml", "--json"]).exits(0).json();
    assert!(again["commits"].as_array().expect("a list").iter().all(|c| c["committed"] == false));
    assert_eq!(world.run(&[]).tally("objects_known"), 7);
    // Whatever the history of loads: the files of one run over everything.
    let whole = World::new(PIPELINE);
    (0..7).for_each(|n| whole.put(&object(n)));
    whole.run(&[]);
    assert!(detail_files(&world) == detail_files(&whole));
}

#[test]
fn a_run_merges_small_files_past_its_bound_and_a_long_log_gets_a_checkpoint() {
    let world = World::new(PIPELINE);
    for n in 0..20 {
        world.put(&object(n));
        world.run(&[]);
        assert!(world.table("inputs").files.len() <= 8);
        assert!(world.table("rejects").files.len() <= 8);
    }
    assert_eq!((rows(&world, "inputs").len(), rows(&world, "rejects").len()), (20, 20));
    let before = all(&world);
    let done = world.faceledger(&["compact", "pipeline.toml", "--json"]).exits(0).json();
    assert_eq!(done["checkpoints"], 4);
    for table in ["liveness_detail", "daily_charge", "rejects", "inputs"] {
        assert!(
            world.path(&format!("out/{table}/_delta_log/_last_checkpoint")).exists(),
            "{table}"
        );
    }
    assert_eq!(all(&world), before);
    exact(&world);
    world.verify();
    // The checkpoint alone tells all: the entries before it could be gone.
    for (version, path) in crate::world::log_files(&world.path("out/inputs")) {
        if version < 20 {
            std::fs::remove_file(path).expect("removed");
        }
    }
    assert_eq!(world.run(&[]).tally("objects_known"), 20);
    world.verify();
}

#[test]
fn superseded_files_stay_as_long_as_they_are_to_be_retained() {
    let world = World::new(PIPELINE);
    let keep = ["--set", "output.retain=1h"];
    world.put(&object(0));
    world.run(&keep);
    let first = world.table("liveness_detail").files.keys().next().expect("a file").clone();
    world.put(&object(1));
    world.run(&keep);
    let table = world.table("liveness_detail");
    assert_eq!(table.files.len(), 1);
    assert!(table.stored().contains(&first), "a reader of the older version still finds its file");
    // It is no stray: verify notes it.
    let said = world.verify().said();
    assert!(said.contains(&first) && said.contains("superseded"), "{said}");
    // Neither a run nor a compaction takes it before its time, and both do when it is over.
    world.run(&keep);
    world.faceledger(&["compact", "pipeline.toml", keep[0], keep[1]]).exits(0);
    assert!(world.table("liveness_detail").stored().contains(&first));
    let done = world.faceledger(&["compact", "pipeline.toml", "--json"]).exits(0).json();
    assert_eq!(done["retained"], 0);
    exact(&world);
    world.verify();
}

#[test]
fn compacting_nothing_is_a_mistake() {
    let world = World::new(PIPELINE);
    let ran = world.faceledger(&["compact", "pipeline.toml"]).exits(2);
    assert!(ran.stderr.contains("run the pipeline first"), "{}", ran.stderr);
}
