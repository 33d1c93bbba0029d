//! Thirty days of a ledger's life: every day new results, late ones, growing ones and broken ones, and runs of every kind that
//! are killed, stopped, or served by a store that fails. At the end the tables equal those of one clean full refresh over the
//! same objects.
//!
//! Takes seeds; the comparison is soak.py's, which reads both outputs with pyarrow and delta-rs. A failure prints the seed
//! and what was done day by day: `FACELEDGER_TEST_SEED=9004 cargo test soak` lives that life again. What is done is the same each
//! time; the moment at which a kill meets a run in a local folder is not. `make soak` lives as many as `SOAK_SEEDS` says.
//! With `SOAK_KEEP` set, what they leave stays in a folder that is named.

use crate::interop::python;
use crate::random::{Rng, attempt, broken_line, change, gzip, spoil, zstd_frames};
use crate::s3::{Action, Fault, Kind, Op, S3Server, Seen};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, UNIX_EPOCH};

/// Lives of an ordinary test run.
const SEEDS: std::ops::Range<u64> = 9000..9020;

/// For commands that nobody kills: on a host that is slow, a lease of a second can be over before it is renewed.
const PATIENT: [&str; 2] = ["--set", "output.lease_term=\"60s\""];

const DAYS: i64 = 30;
const DAY_MS: i64 = 86_400_000;

/// Lives lived side by side: those on the S3 server mostly wait, for leases of killed runs to end.
const SIDE_BY_SIDE: usize = 4;

/// What no command may take, however slow the host: one that hangs is a failure.
const HANGS: Duration = Duration::from_secs(300);

/// First days (their Beijing midnights): months, a leap day and a year end within the thirty days.
const FIRST_DAYS: [i64; 3] = [
    // 2024-10-18
    1_729_180_800_000,
    // 2024-02-10
    1_707_494_400_000,
    // 2023-12-15
    1_702_569_600_000,
];

#[test]
fn thirty_days_end_as_one_full_refresh() {
    let number = |name: &str| {
        let text = std::env::var(name).ok()?;
        Some(text.parse::<u64>().unwrap_or_else(|_| panic!("{name}: a whole number")))
    };
    let seeds: Vec<u64> = match (number("FACELEDGER_TEST_SEED"), number("SOAK_SEEDS")) {
        (Some(seed), _) => vec![seed],
        (None, Some(many)) => (SEEDS.start..SEEDS.start + many).collect(),
        (None, None) => SEEDS.collect(),
    };
    say(&format!("seeds {seeds:?}"));
    let python = python();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let next = AtomicUsize::new(0);
    let failed: Mutex<Vec<u64>> = Mutex::default();
    let logs: Mutex<BTreeMap<u64, Vec<String>>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..SIDE_BY_SIDE.min(seeds.len()) {
            scope.spawn(|| {
                while let Some(&seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let mut log = Vec::new();
                    let place = folder.path().join(seed.to_string());
                    let life = AssertUnwindSafe(|| live(seed, &place, &mut log));
                    if catch_unwind(life).is_err() {
                        held(&failed).push(seed);
                    }
                    let _ = fs::write(place.join("log"), log.join("\n"));
                    held(&logs).insert(seed, log);
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
    let logs = logs.into_inner().unwrap_or_else(PoisonError::into_inner);
    let keep = || {
        if std::env::var_os("SOAK_KEEP").is_some() {
            let kept = folder.path().with_extension("kept");
            fs::rename(folder.path(), &kept).expect("renamed");
            say(&format!("kept: {}", kept.display()));
        }
    };
    let told = |seed: &u64| format!("seed {seed}:\n  {}", logs[seed].join("\n  "));
    let lived: Vec<u64> = seeds.iter().copied().filter(|seed| !failed.contains(seed)).collect();
    // All in one call, since Python takes its time to start.
    let ran = Command::new(python)
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/soak.py"))
        .args(lived.iter().map(|seed| folder.path().join(seed.to_string())))
        .env("TZ", "America/New_York")
        .output()
        .expect("Python starts");
    keep();
    let said = String::from_utf8_lossy(&ran.stdout).into_owned();
    let differs = |seed: &&u64| said.lines().any(|line| line.starts_with(&format!("{seed}: ")));
    let wrong: Vec<String> = failed.iter().chain(lived.iter().filter(differs)).map(told).collect();
    assert!(
        wrong.is_empty() && ran.status.success(),
        "FACELEDGER_TEST_SEED=… lives one of these again\n{}\n{said}\n{}",
        wrong.join("\n"),
        String::from_utf8_lossy(&ran.stderr)
    );
    // One line a seed: what was compared. A comparison of nothing would be none.
    let mut days_of_the_same_bytes = 0;
    for seed in &seeds {
        let found = said.lines().find_map(|line| line.strip_prefix(&format!("{seed} same: ")));
        let counts: Value =
            serde_json::from_str(found.unwrap_or_else(|| panic!("no {seed} in {said}")))
                .expect("JSON from soak.py");
        for (what, least) in [
            ("rows", 50),
            ("days", 25),
            // Not the days of rows of which the life knows more, because their objects were written over.
            ("days_of_the_same_bytes", 2),
            ("rejects", 3),
            ("inputs", 30),
        ] {
            let count = counts[what].as_u64().expect("a count");
            assert!(count >= least, "seed {seed}: {count} {what}, too few to mean anything");
        }
        days_of_the_same_bytes += counts["days_of_the_same_bytes"].as_u64().expect("a count");
    }
    let all: Vec<&String> = logs.values().flatten().collect();
    let ends = |with: &str| all.iter().filter(|line| line.contains(with)).count();
    say(&format!(
        "{} lives: {} commands, {} of them killed, {} stopped by a failing store or a signal",
        seeds.len(),
        ends(" -> "),
        ends("-> killed"),
        ends("-> 75"),
    ));
    if seeds.len() >= 10 {
        let each = days_of_the_same_bytes / seeds.len() as u64;
        assert!(each >= 8, "{each} days of the same bytes a life, of {DAYS}");
        assert!(ends("-> killed") >= seeds.len(), "kills that met a run");
        assert!(ends("-> 75") >= seeds.len() / 4, "runs that were stopped");
    }
}

#[allow(clippy::print_stderr, reason = "seeds are shown, so that any can be lived again")]
fn say(text: &str) {
    eprintln!("{text}");
}

fn held<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Lives one life; `place` then holds `life/` and `clean/`, outputs as local folders.
fn live(seed: u64, place: &Path, log: &mut Vec<String>) {
    let mut rng = Rng::of_seed(seed);
    let mut life = Life::new(&mut rng, seed, place, log);
    for day in 0..DAYS {
        life.day = day;
        life.now = life.now.max(life.midnight() + 9 * 3_600_000);
        life.log.push(format!("day {day} ({})", life.date(day)));
        life.results(&mut rng);
        // A scheduler that stands still for a day, one that runs each morning, people who run more.
        // A store's lives cost several times those in folders.
        let commands: &[u64] = match life.server {
            Some(_) => &[0, 0, 1, 1, 1, 1, 1, 2],
            None => &[0, 1, 1, 1, 1, 1, 1, 1, 2, 3],
        };
        for _ in 0..rng.pick(commands) {
            life.command(&mut rng);
        }
        if life.made && rng.often(5) {
            // After a run that has ended well: one that was cut off may leave what the next completes.
            let ended = life.patiently(&["run", "pipeline.toml"]);
            life.ended_well(ended);
            let verified = life.call(&["verify", "pipeline.toml"], &mut Fate::Undisturbed);
            assert_eq!(verified, Some(0), "verify\n{}", life.said());
        }
    }
    life.day = DAYS + 3;
    life.now += 10 * DAY_MS;
    life.arrivals();
    let plain = |life: &mut Life<'_>, args: &[&str]| {
        let mut args = args.to_vec();
        args.extend(["--set", "limits.rejects_ratio_max=1.0", "--set", "output.retain=\"0s\""]);
        life.patiently(&args)
    };
    for (args, code) in [
        (&["run", "pipeline.toml"][..], 0),
        (&["run", "pipeline.toml", "--if-nothing-new-exit", "99"], 99),
        (&["compact", "pipeline.toml"], 0),
        (&["verify", "pipeline.toml"], 0),
    ] {
        let ended = match args[0] {
            "verify" => life.call(args, &mut Fate::Undisturbed),
            _ => plain(&mut life, args),
        };
        assert_eq!(ended, Some(code), "{args:?}\n{}", life.said());
    }
    let clean = match &life.server {
        Some(server) => format!("output.url=\"{}\"", server.url("clean/")),
        None => "output.url=\"clean/\"".to_owned(),
    };
    let refresh = ["run", "pipeline.toml", "--full-refresh", "--set", &clean];
    assert_eq!(plain(&mut life, &refresh), Some(0), "{}", life.said());
    if let Some(server) = &life.server {
        server.download("source", &place.join("source"));
        server.download("life", &place.join("life"));
        server.download("clean", &place.join("clean"));
    }
}

/// What is done to a command while it runs.
enum Fate {
    Undisturbed,
    Kill(Duration),
    Terminate(Duration),
    /// Killed when so many writes have arrived at the store: before the last is applied, or after.
    KillAtWrite(usize, bool),
    /// An object arrives meanwhile.
    Meanwhile(Duration, Box<(String, Vec<u8>, i64)>),
}

/// One BizToken.
struct Token {
    name: u64,
    created_ms: i64,
    midnight: i64,
    attempts: Vec<Value>,
    extra: Value,
    intention: bool,
}

/// A record of an object.
#[derive(Clone)]
enum Part {
    /// As it was written, of this token, and which of its attempts can be used.
    Snapshot { token: usize, sound: BTreeSet<usize>, record: Value },
    /// Never loaded.
    Broken(String),
}

#[derive(Clone, Copy, PartialEq)]
enum Shape {
    Document,
    Lines,
    Array,
}

/// An object of the source, as it was last put there.
#[derive(Clone)]
struct Held {
    key: String,
    parts: Vec<Part>,
    shape: Shape,
    /// `.gz`, `.zst` or nothing.
    packing: &'static str,
    /// Its end is missing, until it is put again.
    cut: bool,
    day: i64,
}

struct Life<'l> {
    folder: PathBuf,
    server: Option<S3Server>,
    log: &'l mut Vec<String>,
    /// Folders of the source, each with one a day below: a store is asked for every one of them.
    channels: &'static [&'static str],
    envelope: bool,
    thresholds: bool,
    day: i64,
    first_midnight: i64,
    /// Milliseconds since the epoch, whole seconds: no two objects have the same.
    now: i64,
    tokens: Vec<Token>,
    objects: Vec<Held>,
    /// Made and on their way, with the day on which they arrive.
    late: Vec<(i64, Held)>,
    /// Whether the tables are there.
    made: bool,
    /// How long an undisturbed run took last.
    took: Duration,
    calls: usize,
}

impl<'l> Life<'l> {
    fn new(rng: &mut Rng, seed: u64, folder: &Path, log: &'l mut Vec<String>) -> Life<'l> {
        fs::create_dir_all(folder.join("source")).expect("a folder");
        fs::create_dir_all(folder.join("arriving")).expect("a folder");
        let server = (seed % 4 == 3).then(S3Server::start);
        let envelope = rng.often(50);
        let thresholds = rng.often(25);
        let retain = if rng.often(25) { "1d" } else { "0s" };
        let (source, output) = match &server {
            Some(server) => (server.url("source/"), server.url("life/")),
            None => ("source/".to_owned(), "life/".to_owned()),
        };
        let mut text = format!(
            r#"name = "soak"
[account]
uin = "100012345678"
opened_at = "{}"
[source]
url = "{source}"
keys = "{{channel}}/dt={{date}}/{{name}}"
[[route]]
match = {{ channel = "wx_mini" }}
product = "enhanced"
channel = "wechat_mini_program"
[[route]]
match = {{ channel = "app", extra = ["shop-a", "shop-b"] }}
product = "basic"
channel = "app_sdk"
[output]
url = "{output}"
retain = "{retain}"
lease_term = "1s"
[limits]
rejects_ratio_max = {}
threads = {}
retry_for = "2s"
"#,
            rng.pick(&["2023-05-01T00:00:00+08:00", "2021-07-01T00:00:00+08:00"]),
            if thresholds { "0.02" } else { "1.0" },
            1 + rng.below(3),
        );
        if rng.often(50) {
            text += &format!("batch_objects = {}\n", 1 + rng.below(4));
        }
        if envelope {
            text += "[source.envelope]\nresponse = \"/result\"\nbiz_token = \"/biz_token\"\n";
            text += "fetched_at = \"/fetched_at\"\ncreated_at = \"/created_at\"\n";
        }
        fs::write(folder.join("pipeline.toml"), &text).expect("pipeline.toml");
        log.push(text.replace('\n', "; "));
        let first_midnight = rng.pick(&FIRST_DAYS);
        Life {
            folder: folder.to_owned(),
            channels: if server.is_some() {
                &["wx_mini", "app"]
            } else {
                &["wx_mini", "app", "other"]
            },
            server,
            log,
            envelope,
            thresholds,
            day: 0,
            first_midnight,
            now: first_midnight,
            tokens: Vec::new(),
            objects: Vec::new(),
            late: Vec::new(),
            made: false,
            took: Duration::from_millis(300),
            calls: 0,
        }
    }

    fn midnight(&self) -> i64 {
        self.first_midnight + self.day * DAY_MS
    }

    /// The Beijing day, `YYYY-MM-DD`.
    fn date(&self, day: i64) -> String {
        let ms = self.first_midnight + day * DAY_MS + 8 * 3_600_000;
        crate::world::date(i32::try_from(ms / DAY_MS).expect("a day"))
    }

    fn tick(&mut self, rng: &mut Rng) -> i64 {
        self.now += 1000 * (1 + rng.below(300) as i64);
        self.now
    }

    /// What arrives on a day.
    fn results(&mut self, rng: &mut Rng) {
        self.arrivals();
        for _ in 0..1 + rng.below(3) {
            let object = self.new_object(rng);
            match rng.often(20) {
                true => self.late.push((self.day + 1 + rng.below(3) as i64, object)),
                false => self.put(object, "new"),
            }
        }
        for _ in 0..rng.below(3) {
            if let Some(object) = self.grown(rng) {
                self.put(object, "grows");
            }
        }
    }

    /// What was late until today.
    fn arrivals(&mut self) {
        let day = self.day;
        let (due, late): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.late).into_iter().partition(|(arrives, _)| *arrives <= day);
        self.late = late;
        for (_, object) in due {
            self.put(object, "late");
        }
    }

    fn new_object(&mut self, rng: &mut Rng) -> Held {
        let shape = rng.pick(&[Shape::Document, Shape::Lines, Shape::Lines, Shape::Array]);
        let mut parts = Vec::new();
        for _ in 0..if shape == Shape::Document { 1 } else { 1 + rng.below(4) } {
            if shape == Shape::Lines && rng.often(15) {
                parts.push(Part::Broken(broken_line(rng)));
            }
            // A second object of a token that is still young, or a new one.
            let young: Vec<usize> = (0..self.tokens.len())
                .filter(|t| self.tokens[*t].midnight >= self.midnight() - 3 * DAY_MS)
                .collect();
            let token = match young.is_empty() || rng.often(70) {
                true => self.new_token(rng),
                false => {
                    let token = rng.pick(&young);
                    self.evolve(rng, token);
                    token
                }
            };
            let part = self.snapshot(rng, token, BTreeSet::new());
            parts.push(part);
        }
        let packing = rng.pick(&["", "", "", ".gz", ".zst"]);
        let ending = match shape {
            Shape::Lines => ".ndjson",
            _ => ".json",
        };
        let dated = self.day - if rng.often(15) { 1 + rng.below(3) as i64 } else { 0 };
        let key = format!(
            "{}/dt={}/part-{:04}{ending}{packing}",
            rng.pick(self.channels),
            self.date(dated),
            self.objects.len() + self.late.len() + self.tokens.len(),
        );
        let cut = shape != Shape::Lines && rng.often(12) || !packing.is_empty() && rng.often(8);
        Held { key, parts, shape, packing, cut, day: self.day }
    }

    fn new_token(&mut self, rng: &mut Rng) -> usize {
        let name = self.tokens.len() as u64;
        let back = if rng.often(20) { 1 + rng.below(3) as i64 } else { 0 };
        let midnight = self.midnight() - back * DAY_MS;
        let token = Token {
            name,
            created_ms: midnight + rng.below(60_000_000) as i64,
            midnight,
            attempts: Vec::new(),
            extra: rng.pick(&[Value::Null, json!("shop-a"), json!("shop-b")]),
            intention: rng.often(10),
        };
        self.tokens.push(token);
        for _ in 0..rng.below(4) {
            self.add_attempt(rng, name as usize);
        }
        name as usize
    }

    fn add_attempt(&mut self, rng: &mut Rng, token: usize) {
        let token = &mut self.tokens[token];
        let n = token.attempts.len() as u64;
        token.attempts.push(attempt(rng, token.midnight, token.name, n));
    }

    /// What has become of a token since it was last looked at: more attempts, other flags, another midnight.
    fn evolve(&mut self, rng: &mut Rng, token: usize) {
        for n in 0..self.tokens[token].attempts.len() {
            let attempt = &mut self.tokens[token].attempts[n];
            change(rng, attempt);
            if rng.often(8) {
                // Over midnight, forth or back.
                let ms = match &attempt["ReqTime"] {
                    Value::String(ms) => ms.parse().expect("milliseconds"),
                    ms => ms.as_i64().expect("milliseconds"),
                };
                attempt["ReqTime"] = json!((ms + rng.pick(&[-DAY_MS, DAY_MS])).to_string());
            }
        }
        for _ in 0..rng.below(3) {
            self.add_attempt(rng, token);
        }
    }

    /// A token as it is now. What could be used `before` in the object still can.
    fn snapshot(&mut self, rng: &mut Rng, token: usize, before: BTreeSet<usize>) -> Part {
        let fetched = self.tick(rng);
        let of = &self.tokens[token];
        let mut details = of.attempts.clone();
        // Those that are set aside now may be usable when the object is put again.
        let mut sound = BTreeSet::new();
        for (n, detail) in details.iter_mut().enumerate() {
            if before.contains(&n) || !rng.often(8) {
                sound.insert(n);
            } else {
                spoil(rng, detail);
            }
        }
        let text = json!({
            "ErrCode": rng.pick(&[json!(0), json!(1004), Value::Null]),
            "Extra": of.extra, "LivenessDetail": details
        });
        let result = match rng.below(8) {
            0 => json!({"LivenessDetail": text["LivenessDetail"]}),
            1 => json!({"Text": text, "IsVerifyIntention": of.intention}),
            _ => {
                let request = format!("req-{}-{fetched}", of.name);
                json!({"Response": {"Text": text, "IsVerifyIntention": of.intention, "RequestId": request}})
            }
        };
        let record = match self.envelope && rng.often(85) {
            true => json!({
                "result": result, "biz_token": format!("TOKEN-{}", of.name),
                "fetched_at": if rng.often(90) { json!(fetched) } else { Value::Null },
                "created_at": of.created_ms
            }),
            false => result,
        };
        Part::Snapshot { token, sound, record }
    }

    /// An object of the last days as it is put again: every Seq that it held it still holds.
    fn grown(&mut self, rng: &mut Rng) -> Option<Held> {
        let young: Vec<usize> = (0..self.objects.len())
            .filter(|object| self.objects[*object].day >= self.day - 4)
            .collect();
        if young.is_empty() {
            return None;
        }
        let mut object = self.objects[rng.pick(&young)].clone();
        object.cut = false;
        // Lines may be added at the end, the others staying as they are.
        let appended = object.shape != Shape::Document && rng.often(40);
        for part in &mut object.parts {
            match part {
                Part::Snapshot { token, sound, .. } if !appended && rng.often(80) => {
                    let (token, sound) = (*token, sound.clone());
                    self.evolve(rng, token);
                    *part = self.snapshot(rng, token, sound);
                }
                // Mended in its place.
                Part::Broken(_) if rng.often(40) => {
                    let token = self.new_token(rng);
                    *part = self.snapshot(rng, token, BTreeSet::new());
                }
                _ => {}
            }
        }
        if appended {
            let token = self.new_token(rng);
            let part = self.snapshot(rng, token, BTreeSet::new());
            object.parts.push(part);
        }
        Some(object)
    }

    fn put(&mut self, object: Held, how: &str) {
        let (key, bytes, modified) = self.written(object, how);
        self.place(&key, bytes, modified);
    }

    /// An object as bytes, remembered as it will lie there, with its last-modified time.
    fn written(&mut self, object: Held, how: &str) -> (String, Vec<u8>, i64) {
        let mut rng = Rng::of_seed(self.now as u64);
        let modified = self.tick(&mut rng);
        let records: Vec<String> = object
            .parts
            .iter()
            .map(|part| match part {
                Part::Snapshot { record, .. } => record.to_string(),
                Part::Broken(line) => line.clone(),
            })
            .collect();
        let text = match object.shape {
            Shape::Document => records.concat(),
            Shape::Lines => records.join("\n") + "\n",
            Shape::Array => format!("[{}]\n", records.join(",")),
        };
        let mut bytes = match object.packing {
            ".gz" => gzip(&mut rng, text.as_bytes()),
            ".zst" => zstd_frames(&mut rng, text.as_bytes()),
            _ => text.into_bytes(),
        };
        if object.cut {
            bytes.truncate(
                bytes.len() - bytes.len().min(3 + rng.below(bytes.len() as u64 / 2) as usize),
            );
        }
        let cut = if object.cut { ", cut" } else { "" };
        self.log.push(format!(
            "  {how}: {} ({} bytes{cut}) at {modified}",
            object.key,
            bytes.len()
        ));
        let key = object.key.clone();
        match self.objects.iter_mut().find(|held| held.key == key) {
            Some(held) => *held = object,
            None => self.objects.push(object),
        }
        (key, bytes, modified)
    }

    fn place(&self, key: &str, bytes: Vec<u8>, modified: i64) {
        match &self.server {
            Some(server) => server.put_at(&format!("source/{key}"), bytes, modified),
            None => place_locally(&self.folder, key, &bytes, modified),
        }
    }

    /// A command of a day, and now and then the same again after it was cut off.
    fn command(&mut self, rng: &mut Rng) {
        let (today, from) = (self.date(self.day), self.date(self.day - 1 - rng.below(5) as i64));
        let mut args = vec!["run", "pipeline.toml"];
        let choice = rng.below(100);
        // What needs tables is left out before there are any.
        match choice {
            _ if !self.made && choice >= 60 => {}
            0..40 => {}
            40..60 => args.extend(["--day", &today]),
            60..70 => args.extend(["--from", &from, "--to", &today]),
            70..75 => args.extend(["--order", "newest-first"]),
            75..81 => args = vec!["rejects", "pipeline.toml", "--retry"],
            81..87 => args = vec!["compact", "pipeline.toml"],
            87..91 => args.push("--dry-run"),
            91..94 => args.push("--full-refresh"),
            _ => args.extend(["--full-refresh", "--from", &from, "--to", &today]),
        }
        let within = |rng: &mut Rng, took: Duration| took.mul_f64(rng.below(1200) as f64 / 1000.0);
        let took = self.took;
        let mut fate = match (rng.below(100), self.server.is_some()) {
            // A lease that nobody gave back costs the next run seconds.
            (0..8, true) => Fate::KillAtWrite(1 + rng.below(40) as usize, rng.often(50)),
            (0..25, false) => Fate::Kill(within(rng, took)),
            (25..35, _) => Fate::Terminate(within(rng, took)),
            (35..42, _) => {
                let object = match rng.often(50) {
                    true => self.new_object(rng),
                    false => match self.grown(rng) {
                        Some(object) => object,
                        None => self.new_object(rng),
                    },
                };
                let arrives = within(rng, took);
                Fate::Meanwhile(arrives, Box::new(self.written(object, "meanwhile")))
            }
            _ => Fate::Undisturbed,
        };
        let faulty = match &self.server {
            Some(server) if rng.often(35) => {
                let faults = inject(rng, server);
                self.log.push(format!("  the store fails: {faults}"));
                true
            }
            _ => false,
        };
        let ended = self.call(&args, &mut fate);
        if let Some(server) = &self.server {
            server.calm();
        }
        match ended {
            Some(0) => self.made |= args[0] == "run" && !args.contains(&"--dry-run"),
            Some(3) => self.ended_well(ended),
            None => {
                assert!(matches!(fate, Fate::Kill(_) | Fate::KillAtWrite(..) | Fate::Terminate(_)))
            }
            Some(75) => assert!(
                faulty || matches!(fate, Fate::Terminate(_) | Fate::Meanwhile(..)),
                "75 without a reason\n{}",
                self.said()
            ),
            // Not another writer: the lease was over before this one could renew it.
            Some(6) if self.server.is_some() && self.said().contains("could not be renewed") => {}
            Some(code) => panic!("{args:?} ended with {code}\n{}", self.said()),
        }
        if ended != Some(0) && rng.often(50) {
            let again = self.patiently(&args);
            self.ended_well(again);
            self.made |= args[0] == "run" && !args.contains(&"--dry-run");
        }
    }

    #[track_caller]
    fn ended_well(&self, ended: Option<i32>) {
        assert!(
            ended == Some(0) || ended == Some(3) && self.thresholds,
            "ended with {ended:?}\n{}",
            self.said()
        );
    }

    /// Runs the program undisturbed.
    fn patiently(&mut self, args: &[&str]) -> Option<i32> {
        let args = [args, &PATIENT].concat();
        self.call(&args, &mut Fate::Undisturbed)
    }

    /// Runs the program. None: it was ended by a signal.
    fn call(&mut self, args: &[&str], fate: &mut Fate) -> Option<i32> {
        self.calls += 1;
        let mut command = Command::new(env!("CARGO_BIN_EXE_faceledger"));
        command.current_dir(&self.folder).args(args).env_remove("TZ");
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("FACELEDGER_")) {
            command.env_remove(name);
        }
        if let Some(server) = &self.server {
            command.envs(server.env());
        }
        let file = |name| fs::File::create(self.folder.join(name)).expect("a file");
        let child = command.stdout(file("stdout")).stderr(file("stderr")).spawn();
        let child = Arc::new(Mutex::new(child.expect("the program starts")));
        if let (Fate::KillAtWrite(nth, applied), Some(server)) = (&*fate, &self.server) {
            let (nth, child, met) = (*nth, child.clone(), AtomicUsize::new(0));
            let kill = move |seen: &Seen| {
                if seen.op.is_write() && met.fetch_add(1, Ordering::SeqCst) + 1 == nth {
                    let _ = held(&child).kill();
                }
                Action::Go
            };
            if *applied { server.on_applied(kill) } else { server.on_request(kill) }
        }
        let (ended, took) = self.wait(&child, fate);
        let told = match ended.code() {
            Some(code) => code.to_string(),
            None => "killed".to_owned(),
        };
        let how = match fate {
            Fate::Undisturbed => {
                if args[0] == "run" {
                    self.took = took;
                }
                String::new()
            }
            Fate::Kill(at) => format!(" [SIGKILL at {at:?}]"),
            Fate::Terminate(at) => format!(" [SIGTERM at {at:?}]"),
            Fate::KillAtWrite(nth, applied) => {
                format!(" [SIGKILL at write {nth}, applied {applied}]")
            }
            Fate::Meanwhile(at, arrived) => format!(" [at {at:?} {} arrives]", arrived.0),
        };
        self.log.push(format!("  {}{how} -> {told} ({} ms)", args.join(" "), took.as_millis()));
        ended.code()
    }

    fn wait(&self, child: &Mutex<Child>, fate: &mut Fate) -> (ExitStatus, Duration) {
        let started = Instant::now();
        let mut done = false;
        loop {
            if let Some(ended) = held(child).try_wait().expect("a process of ours") {
                if let (Fate::Meanwhile(_, arrived), false) = (&*fate, done) {
                    self.place(&arrived.0, arrived.1.clone(), arrived.2);
                }
                return (ended, started.elapsed());
            }
            let after = started.elapsed();
            match &*fate {
                Fate::Kill(at) if after >= *at && !done => {
                    done = true;
                    held(child).kill().expect("a process of ours");
                }
                Fate::Terminate(at) if after >= *at && !done => {
                    done = true;
                    // Not waited for yet, so that the number is still its own.
                    let id = held(child).id().to_string();
                    Command::new("kill").args(["-TERM", &id]).status().expect("kill");
                }
                Fate::Meanwhile(at, arrived) if after >= *at && !done => {
                    done = true;
                    self.place(&arrived.0, arrived.1.clone(), arrived.2);
                }
                _ => {}
            }
            if after > HANGS {
                let _ = held(child).kill();
                panic!("hangs\n{}", self.said());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// What the last command said.
    fn said(&self) -> String {
        let read = |name| fs::read_to_string(self.folder.join(name)).unwrap_or_default();
        format!("--- stdout\n{}\n--- stderr\n{}", read("stdout"), read("stderr"))
    }
}

/// Appears at once as a whole, with its time.
fn place_locally(folder: &Path, key: &str, bytes: &[u8], modified: i64) {
    let arriving = folder.join("arriving/object");
    fs::write(&arriving, bytes).expect("an object");
    let file = fs::File::options().write(true).open(&arriving).expect("an object");
    file.set_modified(UNIX_EPOCH + Duration::from_millis(modified as u64)).expect("a time");
    let path = folder.join("source").join(key);
    fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    fs::rename(arriving, path).expect("an object");
}

/// A few requests go wrong, or many in a row. Gives which.
fn inject(rng: &mut Rng, server: &S3Server) -> String {
    let mut told = Vec::new();
    for _ in 0..1 + rng.below(4) {
        let kinds = [Kind::SlowDown503, Kind::Error500, Kind::ResetBefore];
        let (kind, of, on): (Kind, &str, fn(&Seen) -> bool) = match rng.below(6) {
            0 | 1 => (rng.pick(&kinds), "requests", |_| true),
            2 => (rng.pick(&kinds), "writes", |seen| seen.op.is_write()),
            // Lost acknowledgements.
            3 => (Kind::ResetAfter, "writes", |seen| seen.op.is_write()),
            4 => (Kind::ResetMidBody, "reads", |seen| seen.op == Op::Get),
            _ => (Kind::ShortBody, "reads", |seen| seen.op == Op::Get),
        };
        let nth = 1 + rng.below(40) as usize;
        let times = if rng.often(10) { 200 } else { 1 + rng.below(2) as usize };
        told.push(format!("{kind:?} for {times} {of} from number {nth}"));
        server.inject(Fault::new(kind, on).nth(nth).times(times));
    }
    told.join(", ")
}
