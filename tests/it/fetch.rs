//! Many requests in flight for a remote source: the tables are those of a local run whatever the order of the
//! answers, and one failure ends all of it.

use crate::s3::{Action, Fault, Kind, Op, S3Server};
use crate::world::{
    Object, PLAIN_PIPELINE, SOME_TIME, Table, World, attempt, faceledger_in, result,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// What the program was before it had many requests in flight.
const THREADS_BEFORE: usize = 16;

/// Small ones, each Seq in two of them; one in two pieces; one larger than what is held in
/// memory, read as a stream.
fn objects() -> Vec<Object> {
    let mut objects = Vec::new();
    for n in 0..1500_i64 {
        let row = attempt(&format!("s-{:04}", n / 2), SOME_TIME + n / 2, Some(n % 3 == 0));
        let text = result(vec![row]).to_string();
        // Whole seconds: a store tells no finer ones.
        let modified = SOME_TIME + 1000 * n;
        objects.push(Object::new(&format!("{:02}/{n:04}.json", n % 13), text, modified));
    }
    let mut lines = String::new();
    let mut n = 0;
    while lines.len() < 20 << 20 {
        let mut one = result(vec![attempt(&format!("l-{n}"), SOME_TIME, Some(true))]);
        one["Response"]["BestFrame"]["BestFrame"] = "y".repeat(100_000).into();
        lines.push_str(&one.to_string());
        lines.push('\n');
        n += 1;
    }
    objects.push(Object::new("07/lines.ndjson", lines, SOME_TIME));
    let mut one = result(vec![attempt("large", SOME_TIME, Some(true))]);
    one["Response"]["BestFrame"]["BestFrame"] = "z".repeat(33 << 20).into();
    objects.push(Object::new("08/large.json", one.to_string(), SOME_TIME));
    objects
}

fn files(world: &World) -> BTreeMap<(String, String), Vec<u8>> {
    let mut files = BTreeMap::new();
    // `inputs` tells each object's ETag, which is the store's own.
    for table in ["liveness_detail", "daily_charge", "rejects"] {
        for (path, bytes) in Table::open(&world.path("out").join(table)).contents() {
            files.insert((table.to_owned(), path), bytes);
        }
    }
    files
}

/// A world whose source is the server.
fn on(server: &S3Server) -> World {
    World::new(
        &PLAIN_PIPELINE.replace("url = \"source/\"", &format!("url = {:?}", server.url("in/"))),
    )
}

fn run(server: &S3Server, world: &World, more: &[&str]) -> crate::world::Ran {
    let env = server.env();
    let env: Vec<(&str, &str)> = env.iter().map(|(name, value)| (&**name, &**value)).collect();
    let args = [&["run", "pipeline.toml", "--json"], more].concat();
    faceledger_in(&world.path(""), &args, &env)
}

#[test]
fn answers_in_any_order_make_the_tables_of_a_local_run() {
    let objects = objects();
    let local = World::new(PLAIN_PIPELINE);
    local.put_all(&objects);
    let expected_tally = local.run(&[]).json()["tally"].clone();
    let expected = files(&local);
    // Of the 750 pairs the flags are the same where neither number divides by 3: one pair in three.
    assert_eq!(expected_tally["details_duplicate"].as_u64(), Some(250));
    assert_eq!(expected_tally["details_changed"].as_u64(), Some(500));

    let server = S3Server::start();
    for object in &objects {
        server.put_at(&format!("in/{}", object.key), object.bytes.clone(), object.modified);
    }
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (flying, highest) = (Arc::clone(&now), Arc::clone(&most));
    server.on_request(move |seen| {
        if seen.op == Op::Get {
            highest.fetch_max(flying.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            // The later one comes before the earlier one, mostly.
            std::thread::sleep(Duration::from_millis(40 - seen.number as u64 % 8 * 5));
            flying.fetch_sub(1, Ordering::SeqCst);
        }
        Action::Go
    });
    for threads in ["1", "2", "5"] {
        let world = on(&server);
        let ran = run(&server, &world, &["--set", &format!("limits.threads={threads}")]).exits(0);
        assert_eq!(ran.json()["tally"], expected_tally, "{threads} threads");
        assert!(files(&world) == expected, "{threads} threads");
    }
    let most = most.load(Ordering::SeqCst);
    assert!(most > 2 * THREADS_BEFORE && most <= 256, "{most} in flight");
}

#[test]
fn what_goes_or_changes_while_others_are_read() {
    let server = S3Server::start();
    let text = |seq: &str| result(vec![attempt(seq, SOME_TIME, Some(true))]).to_string();
    for n in 0..100 {
        server.put_at(&format!("in/{n:03}.json"), text(&format!("s-{n:03}")), SOME_TIME);
    }
    let of = |key: &'static str| {
        move |seen: &crate::s3::Seen| seen.op == Op::Get && seen.key.ends_with(key)
    };
    server.inject(Fault::new(Kind::NotFound404, of("042.json")));
    let other = text("another");
    server.inject(Fault::new(Kind::ChangedEtag(other.into()), of("077.json")));
    let world = on(&server);
    let ran = run(&server, &world, &[]).exits(0);
    assert_eq!((ran.tally("objects_gone"), ran.tally("objects_parsed")), (1, 99));
    let rows = world.table("liveness_detail").rows();
    let seqs: Vec<&str> = rows.iter().filter_map(|row| row["seq"].as_str()).collect();
    assert_eq!(seqs.len(), 99);
    assert!(seqs.contains(&"another") && !seqs.contains(&"s-077") && !seqs.contains(&"s-042"));
    // What was gone is there again; what was overwritten is known as what was read.
    let again = run(&server, &world, &[]).exits(0);
    assert_eq!((again.tally("objects_known"), again.tally("details_new")), (99, 1));
}

#[test]
fn one_object_that_cannot_be_read_ends_the_run_soon() {
    let server = S3Server::start();
    const N: usize = 2000;
    for n in 0..N {
        let text = result(vec![attempt(&format!("s-{n}"), SOME_TIME, Some(true))]).to_string();
        server.put_at(&format!("in/{n:05}.json"), text, SOME_TIME);
    }
    // Everything behind it waits for long: who waits for those must be told, too.
    server.on_request(|seen| match seen.op == Op::Get && seen.key.starts_with("in/") {
        true if seen.key == "in/00003.json" => Action::Fail(Kind::Error500),
        true if seen.key.as_str() > "in/00600.json" => {
            Action::Fail(Kind::Stall(Duration::from_secs(20)))
        }
        _ => Action::Go,
    });
    let world = on(&server);
    let ran = run(&server, &world, &["--set", "limits.retry_for=1s"]).exits(75);
    assert!(ran.said().contains("in/00003.json"), "{}", ran.said());
    let asked = server.seen_of(Op::Get).iter().filter(|seen| seen.key.starts_with("in/")).count();
    assert!(asked < N, "{asked} requests");
    server.calm();
    let ran = run(&server, &world, &[]).exits(0);
    assert_eq!(ran.tally("details_new"), N as u64);
}
