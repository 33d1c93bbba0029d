//! The program and its storage room on a real S3 server: listings in pages, odd keys, ranges, uploads in
//! parts, what is told of stores that refuse. And the same, in small, on moto: a server of other hands.

use crate::s3::{BUCKET, DENIED_BUCKET, Fault, Kind, Mode, Op, S3Server, Seen, Setup};
use crate::world::{Object, Ran, SOME_TIME, Table, World, attempt, faceledger_in, result};
use bytes::Bytes;
use faceledger::storage::Place;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

pub fn pipeline(source: &str, output: &str) -> String {
    format!(
        r#"
name = "test"
[account]
uin = "100012345678"
opened_at = "2023-05-01T00:00:00+08:00"
[source]
url = "{source}"
[output]
url = "{output}"
[limits]
rejects_ratio_max = 1.0
"#
    )
}

/// Runs the program against the server.
pub fn on(server: &S3Server, folder: &Path, args: &[&str]) -> Ran {
    with_env(&server.env(), folder, args)
}

fn with_env(env: &[(String, String)], folder: &Path, args: &[&str]) -> Ran {
    let env: Vec<(&str, &str)> = env.iter().map(|(name, value)| (&**name, &**value)).collect();
    faceledger_in(folder, args, &env)
}

/// Sixty attempts of three Beijing days in a few objects of every shape.
fn objects() -> Vec<Object> {
    let day_ms = 86_400_000;
    let row = |n: i64| {
        let flag = [Some(true), Some(false), None][(n % 3) as usize];
        attempt(&format!("seq-{n:04}"), 1_733_011_200_000 + n % 3 * day_ms + n * 1000, flag)
    };
    let mut objects = Vec::new();
    for n in 0..10 {
        let document = serde_json::to_vec(&result(vec![row(2 * n), row(2 * n + 1)])).expect("JSON");
        objects.push(Object::new(&format!("date=2024-12-0{n}/数据 {n}.json"), document, SOME_TIME));
    }
    let lines: Vec<String> = (20..60).map(|n| result(vec![row(n)]).to_string()).collect();
    objects.push(Object::new("lines.ndjson", lines.join("\n"), SOME_TIME + 5000));
    objects
}

const TABLES: [&str; 4] = ["liveness_detail", "daily_charge", "rejects", "inputs"];

/// The data files of an output folder, by table and path.
pub fn data_files(output: &Path) -> BTreeMap<(String, String), Vec<u8>> {
    let mut files = BTreeMap::new();
    for table in TABLES {
        for (path, bytes) in Table::open(&output.join(table)).contents() {
            files.insert((table.to_owned(), path), bytes);
        }
    }
    files
}

#[test]
fn where_the_data_lies_does_not_show_in_the_tables() {
    let objects = objects();
    let local = World::new(&pipeline("source/", "out/"));
    local.put_all(&objects);
    local.run(&[]);
    let expected = data_files(&local.path("out"));
    let details = expected.keys().filter(|(table, _)| table == "liveness_detail").count();
    assert_eq!(details, 3, "a file a day");
    assert_eq!(local.table("liveness_detail").rows().len(), 60);

    for (source, output) in [("s3", "s3"), ("s3", "local"), ("local", "s3")] {
        let server = S3Server::start();
        let source_url = if source == "s3" { server.url("in/") } else { "source/".to_owned() };
        let output_url = if output == "s3" { server.url("out/") } else { "out/".to_owned() };
        let world = World::new(&pipeline(&source_url, &output_url));
        for object in &objects {
            match source {
                "s3" => server.put_at(
                    &format!("in/{}", object.key),
                    object.bytes.clone(),
                    object.modified,
                ),
                _ => world.put(object),
            }
        }
        let ran = on(&server, &world.path(""), &["run", "pipeline.toml", "--json"]).exits(0);
        assert_eq!(ran.tally("details_new"), 60, "{source} to {output}");
        if output == "s3" {
            server.download("out", &world.path("out"));
        }
        let mut found = data_files(&world.path("out"));
        let mut expected = expected.clone();
        // `inputs` tells each object's ETag, which is the store's own.
        for files in [&mut found, &mut expected] {
            files.retain(|(table, _), _| table != "inputs");
        }
        assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
        assert!(found == expected, "{source} to {output}: the same names hold other bytes");
        on(&server, &world.path(""), &["verify", "pipeline.toml"]).exits(0);
        // Nothing new: nothing is loaded, and no data file is written.
        let again = on(&server, &world.path(""), &["run", "pipeline.toml", "--json"]).exits(0);
        assert_eq!(again.tally("details_new"), 0, "{source} to {output}");
        assert_eq!(again.tally("objects_known"), objects.len() as u64, "{source} to {output}");
    }
}

/// Keys as others write them. What the program must not read as data begins with `.` or `_` in some part.
const ODD_KEYS: [&str; 13] = [
    "d=2024-12-01/a b.json",
    "plus+plus.json",
    "100%.json",
    "a%2Fb.json",
    "a%41.json",
    "h#1.json",
    "q?a=b&c=d.json",
    "数据/文件 1.json",
    "😀.json",
    "two..dots/x.y...z.json",
    "v1.2/.../three dots are hidden.json",
    "quote'\"<&>.json",
    "~t[1]{x}^`;:@$,!*().json",
];

/// A bucket of some server: what the suites below need of it.
struct Bucket {
    name: String,
    options: BTreeMap<String, String>,
}

impl Bucket {
    fn of(server: &S3Server) -> Bucket {
        Bucket { name: BUCKET.to_owned(), options: server.options() }
    }

    fn url(&self, below: &str) -> String {
        format!("s3://{}/{below}", self.name)
    }

    #[track_caller]
    fn place(&self, below: &str) -> Place {
        Place::open(&self.url(below), &self.options).expect("opens")
    }

    /// The options as environment of the program.
    fn env(&self) -> Vec<(String, String)> {
        let options = self.options.iter();
        options.map(|(name, value)| (name.to_ascii_uppercase(), value.clone())).collect()
    }
}

/// The name of a key is what its owner wrote, whatever it holds; through `Place` and the program.
#[track_caller]
fn odd_keys_are_read_as_written(bucket: &Bucket) {
    let place = bucket.place("odd keys/in");
    let document = |n: usize| {
        let one = attempt(&format!("seq-{n}"), SOME_TIME + n as i64, Some(true));
        serde_json::to_vec(&result(vec![one])).expect("JSON")
    };
    for (n, key) in ODD_KEYS.iter().enumerate() {
        place.put(key, document(n).into()).expect("writes");
    }
    let mut expected = ODD_KEYS.map(str::to_owned);
    expected.sort();
    let listed = place.list(None).expect("lists");
    assert_eq!(listed.iter().map(|object| object.key.clone()).collect::<Vec<_>>(), expected);
    for object in &listed {
        let n = ODD_KEYS.iter().position(|key| *key == object.key).expect("ours");
        let whole = Bytes::from(document(n));
        assert_eq!(place.read_all(&object.key).expect("reads"), whole, "{}", object.key);
        assert_eq!(place.read_range(&object.key, 3..9).expect("reads"), whole[3..9]);
        let head = place.head(&object.key).expect("looks up").expect("is there");
        assert_eq!((head.size, &head.key), (whole.len() as u64, &object.key));
    }
    assert_eq!(place.list(Some("数据")).expect("lists").len(), 1);
    assert_eq!(place.at("v1.2").list(None).expect("lists").len(), 1);

    let world = World::new(&pipeline(&bucket.url("odd keys/in/"), "out/"));
    let ran = with_env(&bucket.env(), &world.path(""), &["run", "pipeline.toml", "--json"]);
    assert_eq!(ran.exits(0).tally("details_new"), ODD_KEYS.len() as u64 - 1);
    let mut keys: Vec<String> = world
        .table("liveness_detail")
        .rows()
        .iter()
        .map(|row| row["source_key"].as_str().expect("a key").to_owned())
        .collect();
    keys.sort();
    expected.sort_by_key(|key| key.contains("hidden"));
    assert_eq!(keys, expected[..ODD_KEYS.len() - 1]);

    place.delete(&expected).expect("deletes");
    assert_eq!(place.list(None).expect("lists"), []);
}

#[test]
fn odd_keys_are_odd_to_nobody() {
    let server = S3Server::start();
    // Beside the folder that is asked for, with a name that begins like it.
    server.put("odd keys/in.json", "no");
    server.put("odd keys/in2/x.json", "no");
    odd_keys_are_read_as_written(&Bucket::of(&server));
    // The server saw the keys themselves, too, not some spelling of them.
    let put: BTreeSet<String> = server.seen_of(Op::Put).into_iter().map(|put| put.key).collect();
    assert_eq!(put, ODD_KEYS.iter().map(|key| format!("odd keys/in/{key}")).collect());
}

/// Lists `count` keys in folders of a hundred, written by `put`.
#[track_caller]
fn every_page_is_listed(bucket: &Bucket, count: usize, put: impl Fn(&str)) {
    let key = |n: usize| format!("date=2024-12-{:02}/{:04}/{n}.json", n % 25 + 1, n / 100);
    for n in 0..count {
        put(&format!("many/{}", key(n)));
    }
    put("many.json");
    put("many2/x.json");
    let place = bucket.place("many");
    let listed: Vec<String> =
        place.list(None).expect("lists").into_iter().map(|object| object.key).collect();
    let expected: BTreeSet<String> = (0..count).map(key).collect();
    assert_eq!(listed.len(), count, "every key once");
    assert!(listed.iter().eq(&expected), "sorted, as written");
    let day = place.list(Some("date=2024-12-07")).expect("lists");
    assert!(day.iter().map(|o| &o.key).eq(expected.iter().filter(|k| k.contains("-12-07/"))));
}

#[test]
fn fifty_thousand_keys_come_in_fifty_pages() {
    let server = S3Server::start();
    let document = serde_json::to_vec(&result(vec![])).expect("JSON");
    let document = Bytes::from(document);
    every_page_is_listed(&Bucket::of(&server), 50_000, |key| {
        server.put_at(key, document.clone(), SOME_TIME);
    });
    let pages = |prefix: &str, seen: &[Seen]| {
        seen.iter().filter(|list| list.op == Op::List && list.key == prefix).count()
    };
    let before = server.seen();
    assert_eq!(pages("many/", &before), 50);
    // 2,000 keys of one day: what lies below other prefixes is not paged through.
    assert_eq!(pages("many/date=2024-12-07/", &before), 2);
    assert_eq!(before.len(), 52);

    let world = World::new(&pipeline(&server.url("many/"), "out/"));
    let ran = on(&server, &world.path(""), &["plan", "pipeline.toml", "--json"]).exits(0);
    assert_eq!(ran.json()["objects"], 50_000);
    let plan = &server.seen()[before.len()..];
    // One look at the 25 folders, and two pages of each, side by side.
    assert_eq!(pages("many/", plan), 1);
    assert_eq!(plan.len(), 51);
    assert!(plan.iter().all(|seen| seen.op == Op::List), "a plan reads nothing");
}

#[test]
fn pages_of_objects_are_loaded() {
    let server = S3Server::start();
    for n in 0..2500 {
        let document = result(vec![attempt(&format!("seq-{n}"), SOME_TIME + n, Some(true))]);
        server.put_at(&format!("in/{n}.json"), document.to_string(), SOME_TIME);
    }
    let world = World::new(&pipeline(&server.url("in/"), "out/"));
    let ran = on(&server, &world.path(""), &["run", "pipeline.toml", "--json"]).exits(0);
    assert_eq!(ran.tally("objects_parsed"), 2500);
    assert_eq!(ran.tally("details_new"), 2500);
    // One page to see that the source is there, and all three of it.
    assert_eq!(server.seen_of(Op::List).len(), 4);
    // One request an object: nothing is looked up that the listing told already.
    assert_eq!(server.seen_of(Op::Get).len(), 2500);
    assert_eq!(server.seen_of(Op::Head).len(), 0);
}

/// What a listing shows is held until it is read, 40 MB of a third of a million objects: that of the next date waits
/// for the date before.
#[test]
fn a_date_is_listed_once_the_one_before_is_read() {
    let server = S3Server::start();
    for (day, n) in [(1, 0), (1, 1), (2, 0), (2, 1), (3, 0)] {
        let at = 1_733_011_200_000 + (day - 1) * 86_400_000 + n;
        let document = result(vec![attempt(&format!("seq-{day}-{n}"), at, Some(true))]);
        let key = format!("in/dt=2024-12-0{day}/{n}.json");
        server.put_at(&key, document.to_string(), SOME_TIME);
    }
    let keys = "keys = \"dt={date}/{name}.json\"\n[output]";
    let world = World::new(&pipeline(&server.url("in/"), "out/").replace("[output]", keys));
    let args = ["run", "pipeline.toml", "--json", "--set", "limits.batch_objects=2"];
    let ran = on(&server, &world.path(""), &args).exits(0);
    assert_eq!((ran.tally("details_new"), &ran.json()["batches"]), (5, &3.into()));
    let requests: Vec<(Op, bool)> = server
        .seen()
        .iter()
        .filter(|seen| seen.key.contains("/dt="))
        .map(|seen| (seen.op, seen.key.contains("-01/")))
        .take(4)
        .collect();
    // The first date is listed, both its objects are read, and only then another is listed.
    assert_eq!(requests, [(Op::List, true), (Op::Get, true), (Op::Get, true), (Op::List, false)]);
}

/// NDJSON of more than so many bytes: attempts among lines of media, as results with pictures have them.
fn large_ndjson(bytes_min: usize) -> (String, u64) {
    let mut text = String::new();
    let mut lines = 0;
    while text.len() <= bytes_min {
        let mut one = result(vec![attempt(&format!("s-{lines}"), SOME_TIME + lines, Some(true))]);
        let media = 20_000 + usize::try_from(lines % 53).expect("small") * 1009;
        one["Response"]["BestFrame"]["BestFrame"] = "y".repeat(media).into();
        text.push_str(&one.to_string());
        text.push('\n');
        lines += 1;
    }
    (text, u64::try_from(lines).expect("counted up"))
}

const PIECE: usize = 16 << 20;

#[track_caller]
fn large_ndjson_is_loaded(bucket: &Bucket, text: &str, lines: u64) {
    let local = World::new(&pipeline("source/", "out/"));
    local.put(&Object::new("large.ndjson", text, SOME_TIME));
    local.run(&[]);
    let world = World::new(&pipeline(&bucket.url("large/"), "out/"));
    let ran = with_env(
        &bucket.env(),
        &world.path(""),
        &["run", "pipeline.toml", "--json", "--set", "limits.threads=4"],
    );
    assert_eq!(ran.exits(0).tally("details_new"), lines);
    assert!(
        local.table("liveness_detail").contents() == world.table("liveness_detail").contents(),
        "read in one go and in pieces from afar"
    );
}

#[test]
fn large_ndjson_is_read_by_ranges() {
    let server = S3Server::start();
    let (text, lines) = large_ndjson(2 * PIECE + PIECE / 2);
    server.put_at("large/large.ndjson", text.clone(), SOME_TIME);
    large_ndjson_is_loaded(&Bucket::of(&server), &text, lines);

    // A piece begins with the byte before its first: there a line break stands, or the line is another's.
    let gets = server.seen_of(Op::Get);
    for piece in [1, 2] {
        let begins = format!("bytes={}-", piece * PIECE - 1);
        let asked = |get: &&Seen| get.range.as_ref().is_some_and(|r| r.starts_with(&begins));
        assert_eq!(gets.iter().filter(asked).count(), 1, "{begins} in {gets:?}");
    }
    // The first bytes, by which the format is known, and three pieces.
    assert_eq!(gets.len(), 4, "{gets:?}");
}

#[track_caller]
fn large_objects_go_up_in_parts(bucket: &Bucket) {
    let place = bucket.place("up");
    let bytes: Vec<u8> = (0..PIECE + 12_345).map(|at| (at / 251) as u8).collect();
    let bytes = Bytes::from(bytes);
    place.put("large", bytes.clone()).expect("writes");
    assert!(place.read_all("large").expect("reads") == bytes);
    let mut end = Vec::new();
    let mut reader = place.reader("large", PIECE as u64 - 7).expect("opens");
    reader.read_to_end(&mut end).expect("reads");
    assert!(end == bytes[PIECE - 7..]);
    assert_eq!(place.read_range("large", 5..9).expect("reads"), bytes[5..9]);
}

#[test]
fn what_is_above_sixteen_mebibytes_goes_up_in_parts() {
    let server = S3Server::start();
    large_objects_go_up_in_parts(&Bucket::of(&server));
    assert_eq!(server.get("up/large").map(|bytes| bytes.len()), Some(PIECE + 12_345));
    let count = |op| server.seen_of(op).len();
    assert_eq!((count(Op::CreateUpload), count(Op::CompleteUpload), count(Op::Put)), (1, 1, 0));
    let mut parts: Vec<u64> =
        server.seen_of(Op::UploadPart).iter().map(|part| part.received_bytes).collect();
    parts.sort();
    assert_eq!(parts, [12_345, 8 << 20, 8 << 20]);
    assert_eq!(server.uploads_open(), 0);
    // What fits goes up in one request.
    let place = Bucket::of(&server).place("up");
    place.put("fits", Bytes::from(vec![b'x'; PIECE])).expect("writes");
    assert_eq!((count(Op::CreateUpload), count(Op::Put)), (1, 1));
    assert_eq!(server.get("up/fits").map(|bytes| bytes.len()), Some(PIECE));
}

/// Source and output of a pipeline that a store refuses, the command that meets it first, and what the
/// store says.
fn refused(server: &S3Server) -> Vec<(String, String, &'static str, &'static str)> {
    let (fine_in, fine_out) = (server.url("in/"), server.url("out/"));
    let (theirs, nobodys) = (format!("s3://{DENIED_BUCKET}/x/"), "s3://nobodys-125/x/".to_owned());
    let mut cases = Vec::new();
    for command in ["run", "check", "plan"] {
        cases.push((theirs.clone(), fine_out.clone(), command, "AccessDenied"));
        cases.push((nobodys.clone(), fine_out.clone(), command, "NoSuchBucket"));
        cases.push((fine_in.clone(), theirs.clone(), command, "AccessDenied"));
        cases.push((fine_in.clone(), nobodys.clone(), command, "NoSuchBucket"));
    }
    cases.push((fine_in.clone(), theirs, "verify", "AccessDenied"));
    cases.push((fine_in, nobodys, "verify", "NoSuchBucket"));
    cases
}

#[test]
fn a_refusal_is_told_in_the_words_of_the_store() {
    let server = S3Server::start();
    server.put("in/x.json", "{}");
    for (source, output, command, code) in refused(&server) {
        let world = World::new(&pipeline(&source, &output));
        let before = server.seen().len();
        let ran = on(&server, &world.path(""), &[command, "pipeline.toml"]);
        let (said, what) = (ran.said(), format!("{command} {source} {output}"));
        assert_ne!(ran.code, 0, "{what}: {said}");
        let place = if source.contains("faceid") { &output } else { &source };
        assert!(said.contains(place.trim_end_matches('/')), "{what}: {said}");
        assert!(said.contains(code), "{what}: {said}");
        // By it the people of the store find the request.
        let seen = &server.seen()[before..];
        // The store's abilities are tried out by writers that race, of whom all but one are refused.
        let racing = |seen: &&Seen| seen.key.contains("_faceledger_probe");
        let refusals: Vec<&Seen> =
            seen.iter().filter(|seen| seen.status >= Some(400) && !racing(seen)).collect();
        assert!(!refusals.is_empty(), "{what} asks the store");
        let told = refusals.iter().any(|refusal| said.contains(&refusal.request_id));
        assert!(told, "{what}: {said}");
        // Asking for the same again would not help.
        let asked: Vec<_> = refusals.iter().map(|refusal| (refusal.op, &refusal.key)).collect();
        assert_eq!(asked.iter().collect::<BTreeSet<_>>().len(), asked.len(), "{what}: {asked:?}");
    }
    // `check` notes what it found of an output that it could write to; nothing else is written.
    assert_eq!(server.list("out/"), ["out/_store.json"]);
}

#[test]
fn wrong_keys_are_told_and_not_shown() {
    let server = S3Server::start();
    server.put("in/x.json", "{}");
    for (name, code) in [
        ("AWS_SECRET_ACCESS_KEY", "SignatureDoesNotMatch"),
        ("AWS_ACCESS_KEY_ID", "InvalidAccessKeyId"),
    ] {
        for command in ["run", "check", "plan", "verify"] {
            let world = World::new(&pipeline(&server.url("in/"), &server.url("out/")));
            let mut env = server.env();
            env.iter_mut().filter(|(n, _)| n == name).for_each(|(_, v)| *v = "hush-hush".into());
            let ran = with_env(&env, &world.path(""), &[command, "pipeline.toml"]);
            assert_ne!(ran.code, 0, "{command}: {}", ran.said());
            assert!(ran.said().contains(code), "{command}: {}", ran.said());
            assert!(ran.said().contains("TESTREQ"), "{command}: {}", ran.said());
            for secret in env.iter().filter(|(name, _)| name.contains("KEY")) {
                assert!(!ran.said().contains(&secret.1), "{command}: {}", ran.said());
            }
        }
    }
}

#[test]
fn a_store_that_stumbles_is_asked_again() {
    let objects = objects();
    let load = |fault: Option<(Op, Kind)>| {
        let server = S3Server::start();
        for object in &objects {
            server.put_at(&format!("in/{}", object.key), object.bytes.clone(), SOME_TIME);
        }
        let world = World::new(&pipeline(&server.url("in/"), &server.url("out/")));
        if let Some((op, kind)) = fault.clone() {
            server.inject(Fault::on(op, kind).nth(2).times(2));
        }
        let ran = on(&server, &world.path(""), &["run", "pipeline.toml", "--json"]);
        let stumbled: Vec<Option<u16>> = server.seen().iter().map(|seen| seen.status).collect();
        let ran = ran.exits(0);
        assert_eq!(ran.tally("details_new"), 60, "{fault:?}");
        on(&server, &world.path(""), &["verify", "pipeline.toml"]).exits(0);
        server.download("out", &world.path("out"));
        (data_files(&world.path("out")), stumbled)
    };
    let (mut expected, _) = load(None);
    expected.retain(|(table, _), _| table != "inputs");
    let mut faults = Vec::new();
    for op in [Op::List, Op::Get, Op::Put] {
        faults.extend([(op, Kind::SlowDown503), (op, Kind::Error500), (op, Kind::ResetBefore)]);
    }
    faults.extend([(Op::Get, Kind::ResetMidBody), (Op::Get, Kind::ShortBody)]);
    for (op, kind) in faults {
        let (mut found, statuses) = load(Some((op, kind.clone())));
        // `inputs` names the run.
        found.retain(|(table, _), _| table != "inputs");
        assert!(found == expected, "{op:?} {kind:?}");
        let failed = statuses.iter().filter(|status| status.is_none_or(|s| s >= 500)).count();
        let told = !matches!(kind, Kind::ResetMidBody | Kind::ShortBody);
        assert_eq!(failed, if told { 2 } else { 0 }, "{op:?} {kind:?}: {statuses:?}");
    }
}

/// moto as a process of its own, with a bucket. Ended by its process id when dropped.
struct Moto {
    process: Child,
    bucket: Bucket,
}

impl Moto {
    fn start() -> Moto {
        let told = std::env::var_os("FACELEDGER_PYTHON").map(PathBuf::from);
        let python = told.unwrap_or_else(|| ".venv/bin/python".into());
        let python = match python.components().count() {
            1 => python,
            _ => Path::new(env!("CARGO_MANIFEST_DIR")).join(python),
        };
        // Port 0 lets the system pick one; moto says which on stderr.
        let mut process = Command::new(&python)
            .args(["-m", "moto.server", "-H", "127.0.0.1", "-p", "0"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{} starts: {error}", python.display()));
        let mut said = String::new();
        let mut lines = BufReader::new(process.stderr.take().expect("is piped"));
        let endpoint = loop {
            let mut line = String::new();
            if lines.read_line(&mut line).expect("text") == 0 {
                let _ = process.wait();
                panic!(
                    "{} has no moto of tests/requirements.txt: run `make test`, which makes .venv\n{said}",
                    python.display()
                );
            }
            if let Some((_, address)) = line.trim_end().split_once("Running on ") {
                break address.to_owned();
            }
            said.push_str(&line);
        };
        // It logs each request: who stops reading would stop it.
        std::thread::spawn(move || std::io::copy(&mut lines, &mut std::io::sink()));
        let mut moto = Moto {
            process,
            bucket: Bucket { name: "moto-bucket".to_owned(), options: BTreeMap::new() },
        };
        let address = endpoint.strip_prefix("http://").expect("an HTTP address").to_owned();
        let mut stream = TcpStream::connect(&address).expect("it listens");
        let request = format!(
            "PUT /{} HTTP/1.1\r\nHost: {address}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            moto.bucket.name
        );
        stream.write_all(request.as_bytes()).expect("a request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 200"), "a bucket: {answer}");
        for (name, value) in [
            ("aws_endpoint", &*endpoint),
            ("aws_allow_http", "true"),
            ("aws_region", "us-east-1"),
            ("aws_access_key_id", "moto"),
            ("aws_secret_access_key", "moto"),
        ] {
            moto.bucket.options.insert(name.to_owned(), value.to_owned());
        }
        moto
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn moto_agrees() {
    let moto = Moto::start();
    odd_keys_are_read_as_written(&moto.bucket);
    let everything = moto.bucket.place("");
    every_page_is_listed(&moto.bucket, 1200, |key| {
        everything.put(key, Bytes::from_static(b"{}")).expect("writes");
    });
    large_objects_go_up_in_parts(&moto.bucket);
    let (text, lines) = large_ndjson(PIECE + PIECE / 2);
    let place = moto.bucket.place("large");
    place.put("large.ndjson", Bytes::from(text.clone())).expect("writes");
    large_ndjson_is_loaded(&moto.bucket, &text, lines);
}

#[test]
fn cos_is_read_and_written_by_its_own_rules() {
    let server = S3Server::start_with(Setup { mode: Mode::Cos, ..Setup::default() });
    let objects = objects();
    for object in &objects {
        server.put_at(&format!("in/{}", object.key), object.bytes.clone(), object.modified);
    }
    let world = World::new(&pipeline(&server.url("in/"), &server.url("out/")));
    let ran = on(&server, &world.path(""), &["run", "pipeline.toml", "--json"]).exits(0);
    assert_eq!(ran.tally("details_new"), 60);
    on(&server, &world.path(""), &["verify", "pipeline.toml"]).exits(0);
    on(&server, &world.path(""), &["check", "pipeline.toml"]).exits(0);
    let refused: Vec<Seen> =
        server.seen().into_iter().filter(|seen| matches!(seen.status, Some(400 | 403))).collect();
    assert!(refused.is_empty(), "{refused:?}");
}

#[test]
fn an_acknowledgement_lost_at_any_write_costs_nothing() {
    let objects = objects();
    // Found once: the races by which a store is found out are no part of what is tried here.
    let store = {
        let server = S3Server::start();
        server.put("in/x.json", "{}");
        let world = World::new(&pipeline(&server.url("in/"), &server.url("out/")));
        on(&server, &world.path(""), &["check", "pipeline.toml"]).exits(0);
        server.get("out/_store.json").expect("written by check")
    };
    let load = |lost: Option<usize>| {
        let server = S3Server::start();
        for object in &objects {
            server.put_at(&format!("in/{}", object.key), object.bytes.clone(), SOME_TIME);
        }
        server.put("out/_store.json", store.clone());
        let world = World::new(&pipeline(&server.url("in/"), &server.url("out/")));
        if let Some(lost) = lost {
            let when = move |seen: &Seen| seen.write_number == Some(lost);
            server.inject(Fault::new(Kind::ResetAfter, when));
        }
        let ran = on(&server, &world.path(""), &["run", "pipeline.toml", "--json"]);
        let seen = server.seen();
        let unanswered = seen.iter().filter(|seen| seen.status.is_none()).count();
        assert_eq!(unanswered, usize::from(lost.is_some()), "write {lost:?}: {seen:#?}");
        let writes = seen.iter().filter_map(|seen| seen.write_number).max();
        assert!(matches!(ran.code, 0 | 75), "write {lost:?}: {} {}", ran.code, ran.said());
        let again = on(&server, &world.path(""), &["run", "pipeline.toml", "--json"]).exits(0);
        // What the first run said it had done, it had done.
        assert!(ran.code == 75 || again.tally("details_new") == 0, "write {lost:?}");
        on(&server, &world.path(""), &["verify", "pipeline.toml"]).exits(0);
        server.download("out", &world.path("out"));
        let mut files = data_files(&world.path("out"));
        files.retain(|(table, _), _| table != "inputs");
        (files, writes.expect("a run writes"))
    };
    let (expected, writes) = load(None);
    assert!(writes >= 8, "four tables, each a file and a commit: {writes}");
    for lost in 1..=writes {
        assert!(load(Some(lost)).0 == expected, "write {lost}");
    }
}

#[test]
fn what_a_store_refuses_is_a_mistake_in_the_file() {
    let server = S3Server::start();
    server.put("in/x.json", "{}");
    let mut wrong = Vec::new();
    for (source, output, command, code) in refused(&server) {
        let world = World::new(&pipeline(&source, &output));
        let ran = on(&server, &world.path(""), &[command, "pipeline.toml"]);
        if ran.code != 2 {
            wrong.push(format!("{command} {source} {output}: {code} exits {}", ran.code));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn pieces_ask_for_their_own_bytes() {
    let server = S3Server::start();
    let (text, lines) = large_ndjson(2 * PIECE + PIECE / 2);
    server.put_at("large/large.ndjson", text.clone(), SOME_TIME);
    large_ndjson_is_loaded(&Bucket::of(&server), &text, lines);
    let gets = server.seen_of(Op::Get);
    let sent: u64 = gets.iter().map(|get| get.sent_bytes).sum();
    // Lines across a cut, and the first bytes, by which the format is known, come twice.
    assert!(sent < text.len() as u64 + (4 << 20), "{sent} bytes for {}: {gets:#?}", text.len());
}

#[test]
fn folder_markers_are_no_data() {
    for key in ["in/", "in/dir/", "in/a//b.json"] {
        let server = S3Server::start();
        let document = result(vec![attempt("s", SOME_TIME, Some(true))]).to_string();
        server.put("in/dir/x.json", document);
        server.put(key, "");
        let world = World::new(&pipeline(&server.url("in/"), "out/"));
        let ran = on(&server, &world.path(""), &["run", "pipeline.toml", "--json"]);
        assert_eq!(ran.code, 0, "{key}: {}", ran.said());
        assert_eq!(ran.tally("details_new"), 1, "{key}");
    }
}

#[test]
fn an_upload_that_fails_is_aborted() {
    let server = S3Server::start();
    server.inject(Fault::on(Op::UploadPart, Kind::NotFound404).nth(2));
    let place = Bucket::of(&server).place("up");
    place.put("large", Bytes::from(vec![1; PIECE + 1])).expect_err("a part is refused");
    assert_eq!(server.get("up/large"), None);
    assert_eq!(server.uploads_open(), 0, "its parts would be paid for until somebody looks");
}

#[test]
fn an_object_written_anew_is_read_anew() {
    for listing_etags in [true, false] {
        let server = S3Server::start_with(Setup { listing_etags, ..Setup::default() });
        let document = |flag| result(vec![attempt("s", SOME_TIME, Some(flag))]).to_string();
        // As long as what follows, but for its flag: one blank more.
        server.put_at("in/x.json", format!("{} ", document(true)), SOME_TIME);
        let world = World::new(&pipeline(&server.url("in/"), "out/"));
        on(&server, &world.path(""), &["run", "pipeline.toml", "--json"]).exits(0);
        server.put_at("in/x.json", document(false), SOME_TIME + 60_000);
        let ran = on(&server, &world.path(""), &["run", "pipeline.toml", "--json"]).exits(0);
        assert_eq!(ran.tally("objects_known"), 0, "ETags in listings: {listing_etags}");
        assert_eq!(ran.tally("details_changed"), 1, "ETags in listings: {listing_etags}");
    }
}

#[test]
fn pieces_are_of_one_version() {
    let (text, lines) = large_ndjson(2 * PIECE + PIECE / 2);
    // As long, with the same lines at the same places, and other Seqs.
    let other = text.replace("\"s-", "\"t-");
    for nth in 1..=4 {
        let server = S3Server::start();
        server.put_at("in/large.ndjson", text.clone(), SOME_TIME);
        server.inject(Fault::on(Op::Get, Kind::ChangedEtag(other.clone().into())).nth(nth));
        let world = World::new(&pipeline(&server.url("in/"), "out/"));
        let ran = on(&server, &world.path(""), &["run", "pipeline.toml", "--json"]);
        if ran.code == 75 {
            continue;
        }
        let ran = ran.exits(0);
        let rows = world.table("liveness_detail").rows();
        let first: BTreeSet<&str> =
            rows.iter().map(|row| &row["seq"].as_str().expect("a Seq")[..2]).collect();
        assert_eq!(first.len(), 1, "GET {nth}: rows of two versions");
        assert_eq!(ran.tally("details_new"), lines);
    }
}
