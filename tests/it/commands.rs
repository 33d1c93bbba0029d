//! The other commands as people and schedulers use them, and what a run does after one that was cut off.

use crate::world::{
    Object, PLAIN_PIPELINE, SOME_TIME, World, attempt, detail_files, faceledger_in, result,
};
use serde_json::{Value, json};
use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const TIME: i64 = 1_730_444_265_275;

fn one(seq: &str, time: i64) -> String {
    result(vec![attempt(seq, time, Some(true))]).to_string()
}

fn two_days() -> World {
    let world = World::new(PLAIN_PIPELINE);
    world.put(&Object::new("a.json", one("a", TIME), SOME_TIME));
    world.put(&Object::new("b.json", one("b", TIME + 86_400_000), SOME_TIME));
    world
}

fn daily(world: &World) -> Vec<Value> {
    world
        .table("daily_charge")
        .rows()
        .iter()
        .map(|r| json!([r["usage_date"], r["billing_tag"], r["attempts"], r["charged"]]))
        .collect()
}

#[test]
fn a_run_completes_what_one_before_it_left_undone() {
    let world = two_days();
    world.run(&[]);
    let (files, charges) = (detail_files(&world), daily(&world));
    assert_eq!(charges.len(), 2);

    // Cut off before the load history was committed.
    fs::remove_dir_all(world.path("out/inputs")).unwrap();
    let ran = world.run(&[]);
    assert_eq!((ran.tally("details_new"), ran.tally("details_duplicate")), (0, 2));
    assert_eq!(ran.json()["outcome"], "unchanged");
    assert_eq!((detail_files(&world), daily(&world)), (files.clone(), charges.clone()));
    world.verify();

    // Before the daily charges, too; and with a data file that no commit names.
    fs::remove_dir_all(world.path("out/inputs")).unwrap();
    fs::remove_dir_all(world.path("out/daily_charge")).unwrap();
    let stray = world.path("out/liveness_detail/usage_date=2024-11-01/left-behind.parquet");
    fs::copy(world.path("out/liveness_detail").join(files.keys().next().unwrap()), &stray).unwrap();
    let ran = world.run(&[]);
    assert_eq!(ran.json()["litter_deleted"], 1);
    assert!(!stray.exists());
    assert_eq!((detail_files(&world), daily(&world)), (files.clone(), charges.clone()));
    world.verify();

    // The daily charges alone: nothing is new, and they are made again.
    fs::remove_dir_all(world.path("out/daily_charge")).unwrap();
    let ran = world.run(&[]);
    assert_eq!(ran.tally("objects_known"), 2);
    assert_eq!((detail_files(&world), daily(&world)), (files, charges));
    world.verify();
}

#[test]
fn running_twice_changes_nothing_and_says_so() {
    let world = two_days();
    world.run(&[]);
    let before: Vec<Option<u64>> = ["liveness_detail", "daily_charge", "rejects", "inputs"]
        .map(|t| world.table(t).version)
        .to_vec();
    let ran = world.faceledger(&["run", "pipeline.toml"]).exits(0);
    assert!(ran.stderr.contains("nothing new"), "{}", ran.stderr);
    assert!(ran.stdout.contains("2024-11-01"), "the daily charges are shown all the same");
    let after: Vec<Option<u64>> = ["liveness_detail", "daily_charge", "rejects", "inputs"]
        .map(|t| world.table(t).version)
        .to_vec();
    assert_eq!(before, after);
}

#[test]
fn a_dry_run_writes_nothing() {
    let world = two_days();
    let ran = world.run(&["--dry-run"]);
    assert_eq!((ran.tally("details_new"), ran.json()["outcome"].as_str().unwrap()), (2, "dry_run"));
    assert!(!world.path("out").exists());
}

#[test]
fn rejects_are_listed_and_retried() {
    let world = two_days();
    let cut = r#"{"Response":{"Text":{"LivenessDetail":[{"Seq":"c""#;
    world.put(&Object::new("bad.ndjson", format!("{cut}\n{}\n", one("d", TIME)), SOME_TIME));
    world.run(&[]);
    let listed = world.faceledger(&["rejects", "out"]).exits(0);
    let place = format!(
        "bad.ndjson: record 0, byte {}, $.Response.Text.LivenessDetail[0].Seq: truncated",
        cut.len()
    );
    assert!(listed.stdout.contains(&place), "{}", listed.stdout);
    let none =
        world.faceledger(&["rejects", "pipeline.toml", "--reason", "comment", "--json"]).exits(0);
    assert_eq!(none.json(), json!([]));
    assert!(
        world
            .faceledger(&["rejects", "out", "--reason", "nonsense"])
            .exits(2)
            .stderr
            .contains("truncated")
    );
    world.faceledger(&["rejects", "out", "--retry"]).exits(2);

    // As it is: read again, rejected again, counted once.
    let retried = world.faceledger(&["rejects", "pipeline.toml", "--retry", "--json"]).exits(0);
    assert_eq!((retried.tally("objects_parsed"), retried.tally("details_duplicate")), (1, 1));
    assert_eq!(world.table("rejects").rows().len(), 1);
    assert!(!retried.stderr.contains("no longer at the source"), "{}", retried.stderr);
    // Gone: said, and kept.
    std::fs::rename(world.path("source/bad.ndjson"), world.path("bad")).expect("moved");
    let gone = world.faceledger(&["rejects", "pipeline.toml", "--retry"]).exits(0).stderr;
    assert!(gone.contains("1 object is with rejects no longer at the source"), "{gone}");
    assert_eq!(world.table("rejects").rows().len(), 1);
    // Mended at the source: it is another object, and its reject goes.
    world.put(&Object::new(
        "bad.ndjson",
        format!("{}\n{}\n", one("c", TIME), one("d", TIME)),
        SOME_TIME,
    ));
    world.run(&[]);
    assert_eq!(world.table("rejects").rows().len(), 0);
    assert_eq!(world.faceledger(&["rejects", "out"]).exits(0).stdout, "no rejects\n");
    assert_eq!(world.table("liveness_detail").rows().len(), 4);
    world.verify();
}

#[test]
fn too_many_rejects_are_loaded_and_exit_3() {
    let world =
        World::new(&PLAIN_PIPELINE.replace("rejects_ratio_max = 1.0", "rejects_ratio_max = 0.4"));
    world.put(&Object::new("a.ndjson", format!("{{\n{}\n", one("a", TIME)), SOME_TIME));
    let ran = world.faceledger(&["run", "pipeline.toml"]).exits(3);
    assert!(ran.stderr.contains("rejects_ratio_max"), "{}", ran.stderr);
    assert_eq!(world.table("liveness_detail").rows().len(), 1);
    // The threshold is about what a run reads: with nothing new there is nothing to complain of.
    world.run(&[]);
}

#[test]
fn explain_leads_from_a_charge_to_its_byte() {
    let world = World::new(PLAIN_PIPELINE);
    let first = one("a", TIME);
    let second =
        result(vec![attempt("b", TIME, Some(false)), attempt("c", TIME, Some(true))]).to_string();
    let cut = r#"{"LivenessDetail":[{"Seq":"cut","Errcode":"#;
    world.put(&Object::new("x/a.ndjson", format!("{first}\n{second}\n{cut}\n"), SOME_TIME));
    world.run(&[]);
    let found = world.faceledger(&["explain", "pipeline.toml", "c", "--json"]).exits(0).json();
    assert_eq!(found["source"]["key"], "x/a.ndjson");
    assert_eq!(
        (&found["source"]["record"], &found["source"]["detail_index"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(found["source"]["record_byte_offset"], json!(first.len() + 1));
    let text = format!("{first}\n{second}\n");
    let detail = text.find(r#""Seq":"c""#).unwrap();
    let begin = text[..detail].rfind('{').unwrap();
    assert_eq!(found["source"]["attempt_byte_offset"], json!(begin));
    assert_eq!(found["daily_charge"]["attempts"], 3);
    let none = world.faceledger(&["explain", "pipeline.toml", "nobody"]).exits(2);
    assert!(none.stderr.contains("not in liveness_detail"), "{}", none.stderr);
    let cut_at = first.len() + second.len() + 2 + cut.len();
    let aside = world.faceledger(&["explain", "pipeline.toml", "cut"]).exits(2).stderr;
    let place =
        format!("x/a.ndjson record 2, byte {cut_at}, $.LivenessDetail[0].Errcode: truncated");
    assert!(aside.contains("set aside") && aside.contains(&place), "{aside}");
    world.remove("x/a.ndjson");
    let gone = world.faceledger(&["explain", "pipeline.toml", "c"]).exits(0);
    assert!(gone.stdout.contains("record             1"), "{}", gone.stdout);
}

#[test]
fn check_and_plan_say_what_a_run_would_meet() {
    let world = two_days();
    let checked = world.faceledger(&["check", "pipeline.toml"]).exits(0);
    assert!(checked.stdout.contains("2 objects, 2 taken"), "{}", checked.stdout);
    assert!(!world.path("out").exists(), "check leaves nothing behind");
    let plan = world.faceledger(&["plan", "pipeline.toml", "--json"]).exits(0).json();
    assert_eq!((&plan["objects"], &plan["shards"]), (&json!(2), &json!(1)));
    world.run(&[]);
    let plan = world.faceledger(&["plan", "pipeline.toml", "--json"]).exits(0).json();
    assert_eq!((&plan["objects"], &plan["objects_known"]), (&json!(0), &json!(2)));
    let lost = world.faceledger(&["check", "pipeline.toml", "--set", "source.url=nowhere/"]);
    assert!(lost.code != 0 && lost.stdout.contains("FAILED"), "{}", lost.said());
    let unfit = world.faceledger(&["check", "pipeline.toml", "--set", "source.keys={x}/{y}"]);
    assert!(unfit.code != 0 && unfit.stdout.contains("no object fits"), "{}", unfit.said());
}

#[test]
fn usage_mistakes_exit_2() {
    let world = two_days();
    for args in [
        &["run"][..],
        &["run", "nowhere.toml"],
        &["run", "pipeline.toml", "--from", "2024-13-01"],
        &["run", "pipeline.toml", "--from", "2024-11-02", "--to", "2024-11-01"],
        &["run", "pipeline.toml", "--set", "limits.thread=2"],
        &["schema", "nothing"],
        &["frobnicate"],
        &["verify", "nowhere"],
    ] {
        let ran = world.faceledger(args).exits(2);
        assert!(!ran.stderr.trim().is_empty() && ran.stdout.is_empty(), "{args:?}: {}", ran.said());
    }
    assert_eq!(
        world.faceledger(&["run", "nowhere.toml"]).stderr.lines().count(),
        1,
        "an error is said once"
    );
}

#[test]
fn catalogue_schemas_and_completions_print() {
    let here = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let run = |args: &[&str]| faceledger_in(here, args, &[]).exits(0).stdout;
    let tags: Value = serde_json::from_str(&run(&["tags", "--json"])).unwrap();
    assert_eq!(
        tags.as_array().unwrap().len(),
        35,
        "every row of the product's tables, a channel each"
    );
    assert!(run(&["tags"]).contains("手机号信息核验（三要素）"));
    assert!(run(&["schema"]).contains("reasons: bad_compression"));
    assert!(
        run(&["schema", "daily_charge", "--format", "sql"]).contains("charged BIGINT NOT NULL")
    );
    let file = fs::read_to_string(here.join("schemas/liveness_detail.v1.json")).unwrap();
    assert_eq!(run(&["schema", "liveness_detail", "--format", "json"]), file);
    let all: Value = serde_json::from_str(&run(&["schema", "--json"])).unwrap();
    assert_eq!(all.as_array().unwrap().len(), 7);
    let pipeline: Value = serde_json::from_str(&run(&["schema", "pipeline"])).unwrap();
    assert!(pipeline["properties"]["route"].is_object());
    for shell in ["bash", "zsh", "fish"] {
        assert!(run(&["completions", shell]).contains("faceledger"));
    }
}

#[test]
fn a_termination_signal_stops_a_run_cleanly() {
    let world = World::new(PLAIN_PIPELINE);
    // Enough that the signal arrives while it reads.
    for file in 0..40 {
        let lines: Vec<String> = (0..4000).map(|i| one(&format!("{file}-{i}"), TIME + i)).collect();
        world.put(&Object::new(&format!("{file:02}.ndjson"), lines.join("\n"), SOME_TIME));
    }
    let mut child = Command::new(env!("CARGO_BIN_EXE_faceledger"))
        .args(["run", "pipeline.toml", "--set", "limits.threads=1"])
        .current_dir(world.path("."))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_millis(300));
    let asked = Instant::now();
    let kill = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    assert!(kill.success());
    let status = child.wait().unwrap();
    assert!(asked.elapsed() < Duration::from_secs(10));
    assert_eq!(status.code(), Some(75));
    let mut said = String::new();
    std::io::Read::read_to_string(&mut child.stderr.take().unwrap(), &mut said).unwrap();
    assert!(said.contains("run the same command again"), "{said}");
    assert!(!world.path("out/inputs").exists());
    let ran = world.run(&[]);
    assert_eq!(ran.tally("details_new"), 160_000);
    world.verify();
}

#[test]
fn a_second_writer_leaves_with_exit_6() {
    let world = two_days();
    world.run(&[]);
    let lock = fs::File::create(world.path("out/_lock")).unwrap();
    lock.try_lock().unwrap();
    let ran = world.faceledger(&["run", "pipeline.toml"]).exits(6);
    assert!(
        ran.stderr.contains("another writer") && ran.stderr.contains("run again"),
        "{}",
        ran.stderr
    );
    // Files that the other has staged would look like strays.
    world.faceledger(&["verify", "pipeline.toml"]).exits(6);
    // Who only asks is not kept out.
    world.faceledger(&["run", "pipeline.toml", "--dry-run"]).exits(0);
    drop(lock);
    world.run(&[]);
}

#[test]
fn a_full_refresh_of_nothing_does_not_empty_the_tables() {
    let world = two_days();
    world.run(&[]);
    let before = detail_files(&world);
    fs::create_dir(world.path("empty")).unwrap();
    let ran = world
        .faceledger(&["run", "pipeline.toml", "--full-refresh", "--set", "source.url=empty/"])
        .exits(2);
    assert!(ran.stderr.contains("would be emptied"), "{}", ran.stderr);
    assert_eq!(detail_files(&world), before);
}

/// The one object of `late` lies far behind the day it speaks of.
#[test]
fn a_ranged_full_refresh_loses_no_attempt() {
    let pipeline =
        PLAIN_PIPELINE.replace("url = \"source/\"", "url = \"source/\"\nkeys = \"dt={date}/*\"");
    let world = World::new(&pipeline);
    world.put(&Object::new("dt=2024-11-01/a.json", one("a", TIME), SOME_TIME));
    world.put(&Object::new("dt=2024-11-20/late.json", one("late", TIME), SOME_TIME));
    world.run(&[]);
    let refresh = ["--full-refresh", "--from", "2024-11-01", "--to", "2024-11-01"];
    let ran = world.run(&refresh);
    assert_eq!(ran.json()["removed"]["rows"], 0);
    assert_eq!(world.table("liveness_detail").rows().len(), 2);
    // Of an object that has gone, its rows go, and the run says so.
    world.remove("dt=2024-11-20/late.json");
    let ran = world.run(&refresh);
    assert_eq!(ran.json()["removed"]["rows"], 1);
    assert!(ran.stderr.contains("REMOVED   1 row (1 charged)"), "{}", ran.stderr);
    world.verify();
}

/// A Seq that moved out of the range: the object that still holds it is read again by the next run.
#[test]
fn a_ranged_full_refresh_forgets_no_object() {
    let world = World::new(PLAIN_PIPELINE);
    world.put(&Object::new("x.json", one("s", TIME), SOME_TIME));
    world.put(&Object::new("y.json", one("s", TIME + 86_400_000), SOME_TIME + 1000));
    world.put(&Object::new("z.json", one("t", TIME + 86_400_000), SOME_TIME));
    world.run(&[]);
    world.remove("y.json");
    world.run(&["--full-refresh", "--from", "2024-11-02", "--to", "2024-11-02"]);
    world.run(&[]);
    let mut seqs: Vec<String> = world
        .table("liveness_detail")
        .rows()
        .iter()
        .map(|r| r["seq"].as_str().unwrap().to_owned())
        .collect();
    seqs.sort();
    assert_eq!(seqs, ["s", "t"]);
    world.verify();
}

#[test]
fn many_days_settle() {
    let world = World::new(PLAIN_PIPELINE);
    let lines: Vec<String> =
        (0..700).map(|i| one(&format!("s-{i}"), 1_420_041_600_000 + i * 86_400_000)).collect();
    world.put(&Object::new("a.ndjson", lines.join("\n"), SOME_TIME));
    let ran = world.run(&[]);
    assert_eq!(ran.json()["daily_charge"].as_array().unwrap().len(), 700);
    world.verify();
}

/// The same place says something else: what was read last counts.
#[test]
fn an_object_written_over_with_its_old_fetch_time_counts() {
    let pipeline = PLAIN_PIPELINE
        .replace("[output]", "[source.envelope]\nresponse = \"/r\"\nfetched_at = \"/t\"\n[output]");
    let world = World::new(&pipeline);
    let pull = |flag| json!({"t": TIME, "r": result(vec![attempt("s", TIME, flag)])}).to_string();
    world.put(&Object::new("a.json", pull(None), SOME_TIME));
    world.run(&[]);
    world.put(&Object::new("a.json", pull(Some(true)), SOME_TIME + 1000));
    let ran = world.run(&[]);
    assert_eq!(ran.tally("details_changed"), 1);
    assert_eq!(world.table("liveness_detail").rows()[0]["is_need_charge"], true);
    world.verify();
}

#[test]
fn a_full_refresh_mends_damaged_files() {
    let world = two_days();
    world.run(&[]);
    let before = detail_files(&world);
    let file = before.keys().next().unwrap().clone();
    for table in ["liveness_detail", "daily_charge"] {
        let path = world.path("out").join(table).join(match table {
            "liveness_detail" => file.clone(),
            _ => world.table(table).files.keys().next().unwrap().clone(),
        });
        let mut bytes = fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&path, bytes).unwrap();
        world.faceledger(&["verify", "out"]).exits(5);
        world.run(&["--full-refresh"]);
        world.verify();
        fs::remove_file(&path).unwrap();
        world.faceledger(&["verify", "out"]).exits(5);
        world.run(&["--full-refresh"]);
        world.verify();
    }
    assert_eq!(detail_files(&world), before);
}

#[test]
fn a_log_that_has_lost_entries_is_not_built_upon() {
    let world = two_days();
    world.run(&[]);
    world.put(&Object::new("c.json", one("c", TIME + 2 * 86_400_000), SOME_TIME));
    world.run(&[]);
    fs::remove_file(world.path("out/liveness_detail/_delta_log/00000000000000000001.json"))
        .unwrap();
    let files = fs::read_dir(world.path("out/liveness_detail")).unwrap().count();
    let ran = world.faceledger(&["run", "pipeline.toml"]).exits(5);
    assert!(ran.stderr.contains("log entries are lost"), "{}", ran.stderr);
    assert_eq!(
        fs::read_dir(world.path("out/liveness_detail")).unwrap().count(),
        files,
        "nothing was deleted"
    );
    world.run(&["--full-refresh"]);
    world.verify();
    assert_eq!(world.table("liveness_detail").rows().len(), 3);
}

#[test]
fn a_dry_run_shows_the_charges_it_would_make() {
    let world = two_days();
    let ran = world.run(&["--dry-run"]);
    let sums: Vec<i64> = ran.json()["daily_charge"]
        .as_array()
        .unwrap()
        .iter()
        .map(|l| l["charged"].as_i64().unwrap())
        .collect();
    assert_eq!(sums, [1, 1]);
    assert!(!world.path("out").exists());
    let lost = Command::new(env!("CARGO_BIN_EXE_faceledger"))
        .arg("tags")
        .stdout(fs::File::options().write(true).open("/dev/full").unwrap())
        .stderr(fs::File::options().write(true).open("/dev/full").unwrap())
        .status()
        .unwrap();
    assert_eq!(lost.code(), Some(1), "output that is lost is no success");
}
