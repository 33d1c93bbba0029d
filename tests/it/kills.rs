//! Runs that are killed, asked to stop, put to sleep or started twice at once: real processes, on a local output
//! and on an S3 server. Whatever happens, the next run makes the tables what an undisturbed run makes them, and
//! nobody who reads the Delta logs in between sees half of a step.
//!
//! Moments of kills come from a seed that a failure prints: `FACELEDGER_TEST_SEED=7` takes the same ones again.

use crate::s3::{Action, Kind, Mode, Op, S3Server, Seen, Setup};
use crate::world::{Object, Ran, Row, Table, World, attempt, faceledger_in, log_files, walk};
use bytes::Bytes;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::Read;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, mpsc};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// In the order in which a run commits them.
const TABLES: [&str; 4] = ["liveness_detail", "rejects", "daily_charge", "inputs"];
/// Kills of `two_hundred_random_moments`.
const MOMENTS: usize = 200;
/// The contents of every output are compared; so many of them are also verified, which takes as long as a run.
const VERIFIED_EVERY: usize = 4;
/// No process of these tests takes so long, however busy the machine.
const END_MAX: Duration = Duration::from_secs(60);
/// How soon a run ends that is asked to.
const STOP_MAX: Duration = Duration::from_secs(10);
/// A lease that nobody loses on a busy machine; who is killed leaves it so long, unless it is made to look older.
const LONG_TERM: &str = "output.lease_term=60s";

/// Environment of a process, beyond that of the tests.
type Env = [(String, String)];

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

// --- What is loaded ---

/// 2024-11-01T00:00:00+08:00.
const FIRST_DAY_MS: i64 = 1_730_390_400_000;
const DAY_MS: i64 = 86_400_000;

fn pipeline(source: &str, output: &str) -> String {
    format!(
        r#"
name = "kills"
[account]
uin = "100012345678"
opened_at = "2023-05-01T00:00:00+08:00"
[source]
url = "{source}"
keys = "{{channel}}/dt={{date}}/{{name}}"
[[route]]
match = {{ channel = "ios" }}
product = "enhanced"
channel = "app_sdk"
[output]
url = "{output}"
[limits]
rejects_ratio_max = 1.0
batch_objects = 50
"#
    )
}

fn key(day: i64, name: &str) -> String {
    let channel = if name.len().is_multiple_of(2) { "ios" } else { "h5" };
    format!("{channel}/dt=2024-11-{:02}/{name}.json", day + 1)
}

/// An object of attempts: number and day of each, and the charge flag of the first.
fn document(attempts: &[(i64, i64)], first: Option<bool>) -> Vec<u8> {
    let attempts = attempts.iter().enumerate().map(|(place, (number, day))| {
        let time = FIRST_DAY_MS + day * DAY_MS + number * 10_000;
        let flag = if place == 0 { first } else { [Some(true), Some(false), None][place % 3] };
        attempt(&format!("seq-{number:05}"), time, flag)
    });
    crate::world::result(attempts.collect()).to_string().into_bytes()
}

/// What is put into the source before each load. All but the last make the base state. The last has objects of
/// new days and of stored ones, stored objects that have grown and changed, late attempts, and broken ones.
fn loads() -> [Vec<Object>; 4] {
    let modified = |load: i64| FIRST_DAY_MS + 10 * DAY_MS + load * 3_600_000;
    let plain = |load: i64, day: i64, from: i64, count: i64| {
        (from..from + count).map(move |n| {
            let number = day * 1000 + n * 3;
            let attempts: Vec<(i64, i64)> = (0..1 + n % 2).map(|i| (number + i, day)).collect();
            let flag = [Some(true), Some(false), None][(n % 3) as usize];
            Object::new(&key(day, &format!("r{n}")), document(&attempts, flag), modified(load))
        })
    };
    let broken = |load: i64, day: i64, n: i64| {
        Object::new(&key(day, &format!("broken{n}")), "{\"Response\":{\"Text\":", modified(load))
    };
    let mut last: Vec<Object> = plain(3, 2, 20, 30).chain(plain(3, 3, 0, 50)).collect();
    for (day, n) in [0, 1].into_iter().flat_map(|day| (0..5).map(move |n| (day, n))) {
        let number = day * 1000 + n * 3;
        let grown: Vec<(i64, i64)> = (0..3).map(|i| (number + i, day)).collect();
        let flag = [None, Some(true), Some(false)][(n % 3) as usize];
        last.push(Object::new(&key(day, &format!("r{n}")), document(&grown, flag), modified(3)));
    }
    for n in 0..6 {
        let late = document(&[(1800 + n, 1), (3800 + n, 3)], Some(true));
        last.push(Object::new(&key(3, &format!("late{n}")), late, modified(3)));
    }
    last.extend([broken(3, 3, 0), broken(3, 3, 10), broken(3, 2, 0)]);
    // Broken at first, whole by now.
    last.push(Object::new(&key(1, "broken0"), document(&[(1900, 1)], None), modified(3)));
    [
        plain(0, 0, 0, 30).chain(plain(0, 1, 0, 15)).collect(),
        plain(1, 0, 30, 10)
            .chain(plain(1, 1, 15, 15))
            .chain([broken(1, 1, 0), broken(1, 1, 10)])
            .collect(),
        plain(2, 2, 0, 20).collect(),
        last,
    ]
}

/// Loads all but the last load, each into all of these outputs; leaves the source with everything in it. The
/// environment reaches the stores.
fn load_base(world: &World, outputs: &[&str], env: &Env, put: impl Fn(&Object)) {
    let [loads @ .., last] = loads();
    for load in &loads {
        load.iter().for_each(&put);
        for output in outputs {
            run(world, env, &["run", "pipeline.toml", &to(output)]).exits(0);
        }
    }
    last.iter().for_each(put);
}

fn to(output: &str) -> String {
    format!("--set=output.url={output}")
}

fn run(world: &World, env: &Env, args: &[&str]) -> Ran {
    let env: Vec<(&str, &str)> = env.iter().map(|(name, value)| (&**name, &**value)).collect();
    faceledger_in(&world.path(""), args, &env)
}

// --- Processes ---

/// A process that may be signalled while somebody waits for it. Killed when dropped.
struct Process(Mutex<Child>);

impl Process {
    fn start(world: &World, env: &Env, args: &[&str]) -> Process {
        let mut command = Command::new(env!("CARGO_BIN_EXE_faceledger"));
        command.current_dir(world.path("")).args(args).env_remove("TZ");
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("FACELEDGER_")) {
            command.env_remove(name);
        }
        command.envs(env.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        Process(Mutex::new(command.spawn().expect("the program starts")))
    }

    /// SIGKILL. Nothing happens to a process that has ended.
    fn kill(&self) {
        held(&self.0).kill().expect("may be killed");
    }

    /// Under the lock nobody waits for it: the number is its own.
    fn signal(&self, name: &str) {
        let child = held(&self.0);
        let sent = Command::new("kill").args([name, &child.id().to_string()]).status();
        assert!(sent.expect("kill starts").success(), "kill {name}");
    }

    #[track_caller]
    fn ends(&self, within: Duration) -> ExitStatus {
        let begun = Instant::now();
        loop {
            if let Some(status) = held(&self.0).try_wait().expect("can be waited for") {
                return status;
            }
            if begun.elapsed() > within {
                self.kill();
                panic!("it does not end within {within:?}: {}", self.stderr());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// What it has said, to be asked for once it has ended.
    fn stderr(&self) -> String {
        let mut said = String::new();
        if let Some(mut stderr) = held(&self.0).stderr.take() {
            stderr.read_to_string(&mut said).expect("the program writes UTF-8");
        }
        said
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let child = self.0.get_mut().unwrap_or_else(PoisonError::into_inner);
        let _ = child.kill();
        let _ = child.wait();
    }
}

// --- What an output holds ---

/// All of an output that must not depend on how it came about.
#[derive(PartialEq)]
struct Contents {
    /// Data files of liveness_detail, byte for byte, and their ranks.
    details: BTreeMap<String, Vec<u8>>,
    ranks: BTreeMap<String, Vec<u8>>,
    /// Rows as JSON.
    daily: Vec<String>,
    rejects: Vec<String>,
    known: Vec<String>,
}

impl Contents {
    /// Of an output on disk; it must hold no file that the logs do not name.
    #[track_caller]
    fn of(output: &Path) -> Contents {
        for name in TABLES {
            let table = Table::open(&output.join(name));
            let live: BTreeSet<String> = table.files.keys().cloned().collect();
            assert_eq!(table.stored(), live, "stored and live files of {name}");
        }
        Contents::by_the_logs(output)
    }

    /// Whatever else lies there.
    fn by_the_logs(output: &Path) -> Contents {
        let [details, rejects, daily, inputs] = TABLES.map(|name| Table::open(&output.join(name)));
        let mut ranks = BTreeMap::new();
        let folder = output.join("_ranks");
        walk(&folder, &mut |path| {
            let name = path.strip_prefix(&folder).expect("below it").to_str().expect("UTF-8");
            if details.files.contains_key(&name.replace(".ranks", ".parquet")) {
                ranks.insert(name.to_owned(), fs::read(path).expect("ranks"));
            }
        });
        let rows = |table: &Table, without: &[&str]| {
            let text = |mut row: Row| {
                row.retain(|column, _| !without.contains(&&**column));
                serde_json::to_string(&row).expect("JSON")
            };
            let mut rows: Vec<String> = table.rows().into_iter().map(text).collect();
            rows.sort();
            rows
        };
        Contents {
            details: details.contents(),
            ranks,
            daily: rows(&daily, &["source_version"]),
            rejects: rows(&rejects, &["run_id"]),
            // How many of its rows were new depends on what the killed run had committed.
            known: rows(&inputs, &["run_id", "rows_new", "rows_duplicate", "rows_changed"]),
        }
    }

    #[track_caller]
    fn must_be(&self, expected: &Contents) {
        let names = |files: &BTreeMap<String, Vec<u8>>| files.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&self.details), names(&expected.details), "files of liveness_detail");
        assert_eq!(names(&self.ranks), names(&expected.ranks), "ranks");
        assert_eq!(self.daily, expected.daily, "daily_charge");
        assert_eq!(self.rejects, expected.rejects, "rejects");
        assert_eq!(self.known, expected.known, "inputs");
        assert!(self == expected, "the same names hold other bytes");
    }
}

/// What a table's log names at one version, in words that any run would use: the paths of files that are named by
/// their content, else partition and rows of each.
type Shape = Vec<String>;

/// The commits of a table: the number of the step, and what the log names after it.
fn commits(output: &Path, table: &str) -> Vec<(i64, Shape)> {
    let by_content = matches!(table, "liveness_detail" | "daily_charge");
    let mut live: BTreeMap<String, String> = BTreeMap::new();
    let mut commits = Vec::new();
    for (_, path) in log_files(&output.join(table)) {
        let mut number = None;
        for line in fs::read_to_string(&path).expect("a log file").lines() {
            let action: Value = serde_json::from_str(line).expect("a log line");
            let path_of = |action: &Value| action["path"].as_str().expect("a path").to_owned();
            if let Some(add) = action.get("add") {
                let path = path_of(add);
                let stats: Value =
                    serde_json::from_str(add["stats"].as_str().expect("stats")).expect("JSON");
                let shown = match by_content {
                    true => path.clone(),
                    false => format!("{} {}", add["partitionValues"], stats["numRecords"]),
                };
                live.insert(path, shown);
            }
            if let Some(remove) = action.get("remove") {
                live.remove(&path_of(remove));
            }
            if let Some(txn) = action.get("txn") {
                number = txn["version"].as_i64();
            }
        }
        let mut shape: Shape = live.values().cloned().collect();
        shape.sort();
        commits.push((number.expect("each commit has its number"), shape));
    }
    commits
}

/// What an undisturbed run makes of a base state.
struct Undisturbed {
    contents: Contents,
    /// Every state of the four logs on the way, in order.
    states: Vec<[Shape; 4]>,
}

impl Undisturbed {
    /// Both are outputs on disk.
    fn of(base: &Path, output: &Path) -> Undisturbed {
        let before = TABLES.map(|table| commits(base, table));
        let after = TABLES.map(|table| commits(output, table));
        let steps = [0, 1, 2, 3].map(|table| &after[table][before[table].len()..]);
        let numbers: BTreeSet<i64> = steps.iter().flat_map(|s| s.iter().map(|(n, _)| *n)).collect();
        let mut state = before.map(|commits| commits.last().expect("loaded before").1.clone());
        let mut states = vec![state.clone()];
        for number in numbers {
            for table in 0..TABLES.len() {
                if let Some((_, shape)) = steps[table].iter().find(|(n, _)| *n == number) {
                    state[table] = shape.clone();
                    states.push(state.clone());
                }
            }
        }
        Undisturbed { contents: Contents::of(output), states }
    }

    /// A reader who comes after a kill and before the next run: sees a state that the undisturbed run had, too,
    /// with every file there and every Seq once. Gives its place.
    #[track_caller]
    fn state_of(&self, output: &Path) -> usize {
        for name in TABLES {
            let table = Table::open(&output.join(name));
            for file in table.files.keys() {
                assert!(table.folder.join(file).is_file(), "{name}: {file} is live and not there");
            }
            if name == "liveness_detail" {
                let mut seqs = BTreeSet::new();
                for row in table.rows() {
                    let seq = row["seq"].as_str().expect("a Seq").to_owned();
                    assert!(seqs.insert(seq.clone()), "{seq} stands there twice");
                }
            }
        }
        let state = TABLES.map(|table| commits(output, table).pop().expect("loaded before").1);
        let place = self.states.iter().position(|known| *known == state);
        place.unwrap_or_else(|| panic!("a state that no undisturbed run has: {state:#?}"))
    }
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    walk(from, &mut |path| {
        let copy = to.join(path.strip_prefix(from).expect("below it"));
        fs::create_dir_all(copy.parent().expect("a folder")).expect("a folder");
        fs::copy(path, copy).expect("a copy");
    });
}

/// Calls a test for each case, some side by side, with what tells the case if it fails.
fn each_case<C: Sync>(
    cases: &[C],
    threads: usize,
    told: impl Fn(&C) -> String + Sync,
    test: impl Fn(&C) + Sync,
) {
    let next = AtomicUsize::new(0);
    let failed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if catch_unwind(AssertUnwindSafe(|| test(case))).is_err() {
                        held(&failed).push(told(case));
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
    let (n, all) = (failed.len(), cases.len());
    assert!(failed.is_empty(), "{n} of {all} cases failed, see above:\n{}", failed.join("\n"));
}

/// Each number follows from the one before (splitmix64).
fn next_random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

// --- The tests ---

#[test]
fn two_hundred_random_moments() {
    let world = &World::new(&pipeline("source/", "base/"));
    load_base(world, &["base/"], &[], |object| world.put(object));
    copy_folder(&world.path("base"), &world.path("whole"));
    let args = |output: &str| ["run".to_owned(), "pipeline.toml".to_owned(), to(output)];
    let begun = Instant::now();
    world.faceledger(&args("whole").each_ref().map(String::as_str)).exits(0);
    let whole_ms = u64::try_from(begun.elapsed().as_millis()).expect("short");
    let undisturbed = Undisturbed::of(&world.path("base"), &world.path("whole"));
    assert!(undisturbed.states.len() > 8, "several batches, four commits each");

    let asked = std::env::var("FACELEDGER_TEST_SEED").ok();
    let seed = match &asked {
        Some(seed) => seed.parse().expect("a whole number"),
        None => RandomState::new().build_hasher().finish(),
    };
    let mut random = seed;
    let cases: Vec<(usize, Duration)> = (0..MOMENTS)
        .map(|n| (n, Duration::from_micros(next_random(&mut random) % (whole_ms * 1150))))
        .collect();
    let killed = AtomicUsize::new(0);
    let seen = Mutex::new(BTreeSet::new());
    let told = |(n, delay): &(usize, Duration)| {
        format!("FACELEDGER_TEST_SEED={seed}: kill {n} after {delay:?} of some {whole_ms} ms")
    };
    each_case(&cases, 2, told, |(n, delay)| {
        let name = format!("killed-{n}");
        let output = world.path(&name);
        copy_folder(&world.path("base"), &output);
        let args = args(&name);
        let args = args.each_ref().map(String::as_str);
        let process = Process::start(world, &[], &args);
        std::thread::sleep(*delay);
        process.kill();
        if process.ends(END_MAX).code().is_none() {
            killed.fetch_add(1, Ordering::Relaxed);
        }
        held(&seen).insert(undisturbed.state_of(&output));
        world.faceledger(&args).exits(0);
        Contents::of(&output).must_be(&undisturbed.contents);
        if n % VERIFIED_EVERY == 0 {
            world.faceledger(&["verify", &name]).exits(0);
        }
        fs::remove_dir_all(output).expect("is ours");
    });
    // What a fast or busy machine would make of the delays is a matter of luck; that most hit is not.
    let killed = killed.into_inner();
    assert!(killed >= MOMENTS / 2, "seed {seed}: {killed} of {MOMENTS} were running when killed");
    let seen = held(&seen);
    assert!(seen.len() > 2, "seed {seed}: seen were only the states {seen:?}");
}

/// The output on a server in its base state, to be put onto others like it.
struct Snapshot {
    mode: Mode,
    objects: Vec<(String, Bytes)>,
}

const SOURCE: &str = "in/";
const OUTPUT: &str = "out/";
const LEASE: &str = "out/_lease";

impl Snapshot {
    /// Loads from the folder of the world, or from the server if its source lies there.
    fn new(mode: Mode, world: &World, source_on_server: bool) -> Snapshot {
        let server = start(mode);
        load_base(world, &[&server.url(OUTPUT)], &server.env(), |object| match source_on_server {
            true => put_source(&server, object),
            false => world.put(object),
        });
        let keys = server.list("").into_iter();
        let objects = keys.map(|key| (key.clone(), server.get(&key).expect("listed"))).collect();
        server.download(OUTPUT, &world.path("base"));
        Snapshot { mode, objects }
    }

    fn server(&self) -> S3Server {
        let server = start(self.mode);
        for (key, bytes) in self.objects.iter().filter(|(key, _)| key.starts_with(OUTPUT)) {
            server.put(key, bytes.clone());
        }
        if self.objects.iter().any(|(key, _)| key.starts_with(SOURCE)) {
            loads().iter().flatten().for_each(|object| put_source(&server, object));
        }
        server
    }

    /// The undisturbed run, and the requests of it that write.
    fn undisturbed(&self, world: &World, args: &[&str]) -> (Undisturbed, Vec<Seen>) {
        let server = self.server();
        run(world, &server.env(), args).exits(0);
        let mut writes = Writes::default();
        let writes =
            server.seen().into_iter().filter(|seen| writes.count(seen).is_some()).collect();
        server.download(OUTPUT, &world.path("whole"));
        (Undisturbed::of(&world.path("base"), &world.path("whole")), writes)
    }
}

fn start(mode: Mode) -> S3Server {
    S3Server::start_with(Setup { mode, ..Setup::default() })
}

fn put_source(server: &S3Server, object: &Object) {
    server.put_at(&format!("{SOURCE}{}", object.key), object.bytes.clone(), object.modified);
}

/// As if the process that left its lease there had been killed an hour ago: nobody waits for it.
fn age_lease(server: &S3Server) {
    if let Some(lease) = server.get(LEASE) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis();
        server.put_at(LEASE, lease, i64::try_from(now).expect("not that late") - 3_600_000);
    }
}

/// The output of a server, on disk for as long as it is looked at.
fn downloaded(server: &S3Server) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    server.download(OUTPUT, folder.path());
    folder
}

/// The next run after a disturbance makes all of it right.
#[track_caller]
fn completes(
    server: &S3Server,
    world: &World,
    args: &[&str],
    undisturbed: &Undisturbed,
) -> tempfile::TempDir {
    let ran = run(world, &server.env(), args);
    assert_eq!(ran.code, 0, "the next run: {}", ran.said());
    assert_eq!(server.get(LEASE), None, "the lease is given back");
    let output = downloaded(server);
    Contents::of(output.path()).must_be(&undisturbed.contents);
    output
}

#[track_caller]
fn verify(world: &World, output: &Path) {
    world.faceledger(&["verify", output.to_str().expect("UTF-8")]).exits(0);
}

/// Which step of a run a request that writes is.
fn step(seen: &Seen) -> String {
    let key = seen.key.strip_prefix(OUTPUT).unwrap_or(&seen.key);
    let table = key.split('/').next().unwrap_or(key);
    let step = match seen.op {
        // Its keys stand in its body: what came before it tells what is deleted.
        Op::DeleteMany => "delete".to_owned(),
        Op::Put if key == "_lease" => "lease".to_owned(),
        _ if table == "_runs" => "report".to_owned(),
        _ if table == "_ranks" => "ranks".to_owned(),
        _ if key.contains("/_delta_log/") => format!("log entry of {table}"),
        _ if key.ends_with(".parquet") => format!("data file of {table}"),
        _ => "something else".to_owned(),
    };
    format!("{step} ({:?} {})", seen.op, seen.key)
}

/// A run that is killed while a request of it that writes is at the server.
struct Kill {
    mode: Mode,
    /// Counted from 1.
    write: usize,
    /// Else before.
    after_applied: bool,
    /// Whether the next run comes while the lease still looks alive.
    at_once: bool,
    /// What it was, and what was written before.
    met: Mutex<String>,
}

impl Kill {
    fn told(&self) -> String {
        let when = if self.after_applied { "after" } else { "before" };
        let (mode, write) = (self.mode, self.write);
        format!("{mode:?}, killed {when} write {write} was applied: {}", held(&self.met))
    }
}

/// Counts the requests of one run that write. Renewals of its lease come when they come: of all writes of the
/// lease, the first counts.
#[derive(Default)]
struct Writes {
    counted: usize,
    leased: bool,
}

impl Writes {
    /// The number of this one.
    fn count(&mut self, seen: &Seen) -> Option<usize> {
        let counts = match seen.op == Op::Put && seen.key == LEASE {
            true => !std::mem::replace(&mut self.leased, true),
            false => seen.op.is_write(),
        };
        self.counted += usize::from(counts);
        counts.then_some(self.counted)
    }
}

/// Starts a run and kills it at its request. Gives the server as it was left.
fn killed_at(kill: &Arc<Kill>, snapshot: &Snapshot, world: &World, args: &[&str]) -> S3Server {
    let server = snapshot.server();
    let process: Arc<OnceLock<Process>> = Arc::default();
    let dead = Arc::new(AtomicBool::new(false));
    let strike = {
        let (process, dead) = (process.clone(), dead.clone());
        move || {
            dead.store(true, Ordering::SeqCst);
            process.wait().kill();
        }
    };
    let strike_after = strike.clone();
    let writes = Mutex::new(Writes::default());
    // The number among all requests of the one that is met; 0 as long as none is.
    let target = Arc::new(AtomicUsize::new(0));
    let (target_applied, kill) = (target.clone(), kill.clone());
    let after_applied = kill.after_applied;
    server.on_request(move |seen| {
        // What a dead process had still sent is lost with it: the state is the same every time.
        if dead.load(Ordering::SeqCst) {
            return Action::Fail(Kind::ResetBefore);
        }
        let mut met = held(&kill.met);
        match held(&writes).count(seen) {
            Some(number) if number < kill.write => *met = step(seen),
            Some(number) if number == kill.write => {
                *met = format!("{}, after {met}", step(seen));
                target.store(seen.number, Ordering::SeqCst);
                if !after_applied {
                    strike();
                    return Action::Fail(Kind::ResetBefore);
                }
            }
            _ => {}
        }
        Action::Go
    });
    server.on_applied(move |seen| {
        if after_applied && seen.number == target_applied.load(Ordering::SeqCst) {
            strike_after();
            return Action::Fail(Kind::ResetAfter);
        }
        Action::Go
    });
    let started = Process::start(world, &server.env(), args);
    assert!(process.set(started).is_ok(), "set once");
    let process = process.wait();
    let status = process.ends(END_MAX);
    assert_eq!(status.code(), None, "it ended before its request came: {}", process.stderr());
    server.calm();
    server
}

fn killed_at_writes(
    mode: Mode,
    term: &str,
    threads: usize,
    wanted: impl Fn(usize) -> bool,
) -> usize {
    let world = &World::new(&pipeline("source/", "out/"));
    let snapshot = Snapshot::new(mode, world, false);
    let url = to(&start(mode).url(OUTPUT));
    let args_with = |term: &str| ["run", "pipeline.toml", &url, "--set", term].map(str::to_owned);
    let args = args_with(term);
    let args = args.each_ref().map(String::as_str);
    let (undisturbed, writes) = snapshot.undisturbed(world, &args);
    let steps: Vec<String> = writes.iter().map(step).collect();
    for named in ["lease", "data file of liveness_detail", "ranks", "delete", "report"]
        .into_iter()
        .map(str::to_owned)
        .chain(TABLES.map(|table| format!("log entry of {table}")))
    {
        assert!(steps.iter().any(|s| s.starts_with(&named)), "{named} among {steps:#?}");
    }
    let numbers = (1..=writes.len()).filter(|write| wanted(*write));
    let cases: Vec<Arc<Kill>> = numbers
        .flat_map(|write| [(write, false), (write, true)])
        // What was applied before the next one arrives is what was applied after this one: the store is left
        // in the same state, and some of each are enough.
        .filter(|(write, after_applied)| !after_applied || write % 3 == 1)
        .map(|(write, after_applied)| {
            let at_once = mode == Mode::Conditional && write % 12 == 5;
            Arc::new(Kill { mode, write, after_applied, at_once, met: Mutex::default() })
        })
        .collect();
    each_case(
        &cases,
        threads,
        |kill| kill.told(),
        |kill| {
            let short = args_with("output.lease_term=2s");
            let first = if kill.at_once { short.each_ref().map(String::as_str) } else { args };
            let server = killed_at(kill, &snapshot, world, &first);
            undisturbed.state_of(downloaded(&server).path());
            if !kill.at_once {
                age_lease(&server);
            }
            let output = completes(&server, world, &args, &undisturbed);
            verify(world, output.path());
        },
    );
    cases.len()
}

#[test]
fn at_every_request_that_writes() {
    let cases = killed_at_writes(Mode::Conditional, LONG_TERM, 4, |_| true);
    assert!(cases > 40, "{cases} kills");
}

#[test]
fn at_requests_that_write_where_conditions_are_ignored() {
    // Who takes this lease waits a third of the term to see whether somebody else does, too.
    let short = "output.lease_term=3s";
    let cases = killed_at_writes(Mode::IgnoresConditions, short, 6, |write| write % 3 == 1);
    assert!(cases > 16, "{cases} kills");
}

/// How a request is treated at which a run is asked to stop.
#[derive(Clone)]
enum How {
    Served,
    Fails(Kind),
    /// Neither applied nor answered as long as the process lives.
    Silent,
}

struct Stop {
    what: &'static str,
    when: fn(&Seen) -> bool,
    nth: usize,
    how: How,
    latency: Duration,
}

fn stops() -> Vec<Stop> {
    let stop = |what, how, when| Stop { what, when, nth: 1, how, latency: Duration::ZERO };
    let stall = || How::Fails(Kind::Stall(Duration::from_secs(600)));
    let unanswered = || How::Fails(Kind::TimeoutAfterPut);
    vec![
        Stop {
            nth: 30,
            latency: Duration::from_millis(200),
            ..stop("reading, slowly", How::Served, |s| s.op == Op::Get && s.key.starts_with(SOURCE))
        },
        stop("listing", stall(), |s| s.op == Op::List && s.key.starts_with(SOURCE)),
        stop("an object", stall(), |s| s.op == Op::Get && s.key.starts_with(SOURCE)),
        stop("a stored file", stall(), |s| s.op == Op::Get && s.key.ends_with(".parquet")),
        stop("a log", stall(), |s| s.op == Op::Get && s.key.contains("/_delta_log/")),
        stop("the lease", unanswered(), |s| s.op == Op::Put && s.key == LEASE),
        stop("a data file", unanswered(), |s| s.op == Op::Put && s.key.ends_with(".parquet")),
        stop("a log entry, applied", unanswered(), |s| {
            s.op == Op::Put && s.key.starts_with("out/liveness_detail/_delta_log/")
        }),
        stop("a log entry, not applied", How::Silent, |s| {
            s.op == Op::Put && s.key.starts_with("out/liveness_detail/_delta_log/")
        }),
        stop("the log entry of daily_charge", How::Silent, |s| {
            s.op == Op::Put && s.key.starts_with("out/daily_charge/_delta_log/")
        }),
        stop("superseded files", unanswered(), |s| s.op == Op::DeleteMany),
    ]
}

#[test]
fn sigterm_ends_in_time() {
    let url = start(Mode::Conditional).url("");
    let world = &World::new(&pipeline(&format!("{url}{SOURCE}"), &format!("{url}{OUTPUT}")));
    let snapshot = Snapshot::new(Mode::Conditional, world, true);
    let args = ["run", "pipeline.toml", "--set", LONG_TERM];
    let (undisturbed, _) = snapshot.undisturbed(world, &args);
    each_case(
        &stops(),
        4,
        |stop| stop.what.to_owned(),
        |stop| {
            let server = snapshot.server();
            server.set_latency(stop.latency);
            let (arrived, arrivals) = mpsc::channel();
            let ended = Arc::new(AtomicBool::new(false));
            let met = AtomicUsize::new(0);
            let (when, nth, how, over) = (stop.when, stop.nth, stop.how.clone(), ended.clone());
            server.on_request(move |seen| {
                if !when(seen) || met.fetch_add(1, Ordering::SeqCst) + 1 != nth {
                    return Action::Go;
                }
                let _ = arrived.send(());
                match &how {
                    How::Served => Action::Go,
                    How::Fails(kind) => Action::Fail(kind.clone()),
                    How::Silent => {
                        while !over.load(Ordering::SeqCst) {
                            std::thread::sleep(Duration::from_millis(5));
                        }
                        Action::Fail(Kind::ResetBefore)
                    }
                }
            });
            let process = Process::start(world, &server.env(), &args);
            arrivals.recv_timeout(END_MAX).expect("the request comes");
            // Long enough that it waits for the answer.
            std::thread::sleep(Duration::from_millis(100));
            let asked = Instant::now();
            process.signal("-TERM");
            let status = process.ends(END_MAX);
            let took = asked.elapsed();
            ended.store(true, Ordering::SeqCst);
            let said = process.stderr();
            assert_eq!(status.code(), Some(75), "{said}");
            assert!(said.contains("run the same command again"), "{said}");
            assert!(took < STOP_MAX, "it took {took:?}: {said}");
            server.calm();
            server.set_latency(Duration::ZERO);
            undisturbed.state_of(downloaded(&server).path());
            age_lease(&server);
            let output = completes(&server, world, &args, &undisturbed);
            verify(world, output.path());
        },
    );
}

/// Both end, by themselves: with the work done, or because the other one does it.
#[track_caller]
fn both_end(processes: [Process; 2]) {
    let codes = processes.each_ref().map(|process| process.ends(END_MAX).code());
    let said = processes.each_ref().map(Process::stderr);
    for code in codes {
        assert!(matches!(code, Some(0 | 6)), "{codes:?}: {said:#?}");
    }
    assert!(codes.contains(&Some(0)), "nobody did the work: {said:#?}");
}

#[test]
fn two_runs_at_once_on_a_folder() {
    let world = &World::new(&pipeline("source/", "base/"));
    load_base(world, &["base/"], &[], |object| world.put(object));
    copy_folder(&world.path("base"), &world.path("whole"));
    world.faceledger(&["run", "pipeline.toml", &to("whole")]).exits(0);
    let undisturbed = Undisturbed::of(&world.path("base"), &world.path("whole"));
    for round in 0..10 {
        let output = world.path(&format!("out-{round}"));
        copy_folder(&world.path("base"), &output);
        let to = to(&format!("out-{round}"));
        let args = ["run", "pipeline.toml", &to];
        both_end([(); 2].map(|()| Process::start(world, &[], &args)));
        Contents::of(&output).must_be(&undisturbed.contents);
        world.faceledger(&args).exits(0);
        Contents::of(&output).must_be(&undisturbed.contents);
        verify(world, &output);
    }
}

#[test]
fn two_runs_at_once_on_a_store() {
    let url = start(Mode::Conditional).url("");
    for mode in [Mode::Conditional, Mode::IgnoresConditions] {
        let world = &World::new(&pipeline("source/", &format!("{url}{OUTPUT}")));
        let snapshot = Snapshot::new(mode, world, false);
        let args = ["run", "pipeline.toml", "--set", "output.lease_term=4s"];
        let (undisturbed, _) = snapshot.undisturbed(world, &args);
        let rounds: Vec<usize> = (0..5).collect();
        each_case(
            &rounds,
            2,
            |round| format!("{mode:?}, round {round}"),
            |_| {
                let server = snapshot.server();
                both_end([(); 2].map(|()| Process::start(world, &server.env(), &args)));
                let output = downloaded(&server);
                Contents::of(output.path()).must_be(&undisturbed.contents);
                let output = completes(&server, world, &args, &undisturbed);
                verify(world, output.path());
            },
        );
    }
}

/// Where a run sleeps that is not woken before another has done its work.
struct Sleep {
    mode: Mode,
    what: &'static str,
    when: fn(&Seen) -> bool,
    /// The request is kept back until the other has ended; else it is served at once.
    kept_back: bool,
}

#[test]
fn who_wakes_up_without_a_lease_publishes_nothing() {
    let url = start(Mode::Conditional).url("");
    let reads: fn(&Seen) -> bool = |s| s.op == Op::Get && s.key.ends_with(".parquet");
    let stages: fn(&Seen) -> bool = |s| s.op == Op::Put && s.key.ends_with(".parquet");
    let commits: fn(&Seen) -> bool =
        |s| s.op == Op::Put && s.key.starts_with("out/liveness_detail/_delta_log/");
    let mut cases = Vec::new();
    for mode in [Mode::Conditional, Mode::IgnoresConditions] {
        for (what, when) in [("reading", reads), ("staging", stages)] {
            cases.push(Sleep { mode, what, when, kept_back: false });
        }
    }
    // Where the store looks at conditions a commit that is on its way comes too late, too.
    let what = "committing";
    cases.push(Sleep { mode: Mode::Conditional, what, when: commits, kept_back: true });
    for mode in [Mode::Conditional, Mode::IgnoresConditions] {
        let world = &World::new(&pipeline("source/", &format!("{url}{OUTPUT}")));
        let snapshot = Snapshot::new(mode, world, false);
        // What the sleeper relies on, and what the other waits for.
        let short = ["run", "pipeline.toml", "--set", "output.lease_term=2s"];
        let args = ["run", "pipeline.toml", "--set", "output.lease_term=4s"];
        let (undisturbed, _) = snapshot.undisturbed(world, &args);
        let cases: Vec<&Sleep> = cases.iter().filter(|case| case.mode == mode).collect();
        each_case(
            &cases,
            3,
            |case| format!("{mode:?}, asleep while {}", case.what),
            |case| {
                let server = snapshot.server();
                let sleeper: Arc<OnceLock<Process>> = Arc::default();
                let (asleep, fell_asleep) = mpsc::channel();
                let met = AtomicBool::new(false);
                let done = Arc::new(AtomicBool::new(false));
                let (when, kept_back) = (case.when, case.kept_back);
                let (process, over) = (sleeper.clone(), done.clone());
                server.on_request(move |seen| {
                    if when(seen) && !met.swap(true, Ordering::SeqCst) {
                        process.wait().signal("-STOP");
                        let _ = asleep.send(());
                        while kept_back && !over.load(Ordering::SeqCst) {
                            std::thread::sleep(Duration::from_millis(5));
                        }
                    }
                    Action::Go
                });
                let started = Process::start(world, &server.env(), &short);
                assert!(sleeper.set(started).is_ok(), "set once");
                fell_asleep.recv_timeout(END_MAX).expect("the request comes");
                let other = Process::start(world, &server.env(), &args);
                let code = other.ends(END_MAX).code();
                assert_eq!(code, Some(0), "the other: {}", other.stderr());
                let output = downloaded(&server);
                Contents::of(output.path()).must_be(&undisturbed.contents);
                done.store(true, Ordering::SeqCst);
                let sleeper = sleeper.wait();
                sleeper.signal("-CONT");
                let code = sleeper.ends(END_MAX).code();
                assert_eq!(code, Some(6), "who woke up: {}", sleeper.stderr());
                server.calm();
                let output = downloaded(&server);
                // A file that it had half sent may lie beside them until the next run.
                Contents::by_the_logs(output.path()).must_be(&undisturbed.contents);
                let output = completes(&server, world, &args, &undisturbed);
                verify(world, output.path());
            },
        );
    }
}
