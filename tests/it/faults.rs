//! The whole job on a store that fails at every call in turn, in every way a store can: each run ends
//! right, or fails so that the next one repairs it, and nobody who reads the tables meanwhile sees
//! anything but the state before or after a commit.
//!
//! Every pair of a kind of fault and a call that can go wrong so is a case of its own, found by
//! counting the calls of a run without faults. The tables are read by replaying the log as plain JSON and
//! with the parquet crate. Silence is not among the kinds here: a store in memory has no time limits; the
//! tests on the S3 server have it.

use crate::world::{attempt, result};
use arrow::util::display::array_value_to_string;
use bytes::Bytes;
use faceledger::pipeline::{self, Pipeline};
use faceledger::run::{self, Asked, RunError, RunReport};
use faceledger::storage;
use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt, TryStreamExt};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload,
    ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutMultipartOptions, PutOptions, PutPayload,
    PutResult,
};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How a call goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    /// A time-out; nothing was done.
    Before,
    /// 503, in the words of the client that gave up on it; nothing was done.
    SlowDown,
    /// A write that was done, and a time-out for an answer.
    LostAnswer,
    /// A conditional write that was done, and that the client's own repetition was refused for.
    RefusedRepeat,
    /// A listing that fails before one of its items, or at its end.
    BrokenListing,
    /// A body that fails in its middle.
    BrokenBody,
    /// A body that ends in its middle, in order.
    ShortBody,
    /// An object that is there is not found.
    NotFound,
    /// An object of the source that is overwritten just before it is read.
    Changed,
}

const KINDS: [Kind; 9] = [
    Kind::Before,
    Kind::SlowDown,
    Kind::LostAnswer,
    Kind::RefusedRepeat,
    Kind::BrokenListing,
    Kind::BrokenBody,
    Kind::ShortBody,
    Kind::NotFound,
    Kind::Changed,
];

/// Which call goes wrong, and what was met so far.
#[derive(Debug, Default)]
struct Plan {
    fault: Option<(Kind, usize)>,
    /// Calls that can go wrong so.
    met: BTreeMap<Kind, usize>,
    /// The call that did.
    hit: Option<String>,
}

/// A store in memory of which one call goes wrong.
#[derive(Clone, Debug)]
struct Failing {
    inner: InMemory,
    plan: Arc<Mutex<Plan>>,
    /// Later versions of objects of the source: supersets of what they hold.
    later: Arc<BTreeMap<String, Bytes>>,
    /// What a reader would complain about, looking after each new entry of a log.
    seen: Arc<Mutex<Vec<String>>>,
    states: Arc<Mutex<BTreeSet<Paths>>>,
}

/// The live files of `liveness_detail`; their names tell their content.
type Paths = BTreeSet<String>;

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn timed_out() -> Error {
    let source = Box::new(io::Error::from(io::ErrorKind::TimedOut));
    Error::Generic { store: "Failing", source }
}

impl Failing {
    fn on(inner: InMemory, fault: Option<(Kind, usize)>, later: &BTreeMap<String, Bytes>) -> Self {
        Failing {
            inner,
            plan: Arc::new(Mutex::new(Plan { fault, ..Plan::default() })),
            later: Arc::new(later.clone()),
            seen: Arc::default(),
            states: Arc::default(),
        }
    }

    /// Whether this call is the one that goes wrong so.
    fn hits(&self, kind: Kind, call: &str, path: &str) -> bool {
        let mut plan = held(&self.plan);
        let met = plan.met.entry(kind).or_default();
        *met += 1;
        let hit = plan.fault == Some((kind, plan.met[&kind]));
        if hit {
            plan.hit = Some(format!("{call} {path}"));
        }
        hit
    }

    fn before(&self, call: &str, path: &str) -> object_store::Result<()> {
        if self.hits(Kind::Before, call, path) {
            return Err(timed_out());
        }
        if self.hits(Kind::SlowDown, call, path) {
            let source = "Server returned non-2xx status code: 503 Service Unavailable: SlowDown";
            return Err(Error::Generic { store: "Failing", source: source.into() });
        }
        Ok(())
    }

    fn after(&self, call: &str, path: &str) -> object_store::Result<()> {
        match self.hits(Kind::LostAnswer, call, path) {
            true => Err(timed_out()),
            false => Ok(()),
        }
    }

    /// A listing of these items, which may break before any of them or at the end.
    fn broken(
        &self,
        prefix: &str,
        items: Vec<ObjectMeta>,
    ) -> Vec<object_store::Result<ObjectMeta>> {
        let mut shown = Vec::with_capacity(items.len());
        for item in items {
            if self.hits(Kind::BrokenListing, "list, before", item.location.as_ref()) {
                shown.push(Err(timed_out()));
                return shown;
            }
            shown.push(Ok(item));
        }
        if self.hits(Kind::BrokenListing, "list, at the end of", prefix) {
            shown.push(Err(timed_out()));
        }
        shown
    }
}

impl fmt::Display for Failing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Failing")
    }
}

#[async_trait::async_trait]
impl ObjectStore for Failing {
    async fn put_opts(
        &self,
        path: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> object_store::Result<PutResult> {
        self.before("put", path.as_ref())?;
        let conditional = options.mode.clone();
        let put = self.inner.put_opts(path, payload, options).await?;
        if path.as_ref().contains("/_delta_log/") && path.as_ref().ends_with(".json") {
            match readable(&self.inner) {
                Ok(live) => drop(held(&self.states).insert(live)),
                Err(broken) => held(&self.seen).push(format!("after {path}: {broken}")),
            }
        }
        self.after("put", path.as_ref())?;
        if conditional != PutMode::Overwrite && self.hits(Kind::RefusedRepeat, "put", path.as_ref())
        {
            let (path, source) = (path.to_string(), "it is there".into());
            return Err(match conditional {
                PutMode::Create => Error::AlreadyExists { path, source },
                _ => Error::Precondition { path, source },
            });
        }
        Ok(put)
    }

    async fn put_multipart_opts(
        &self,
        _: &Path,
        _: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        unreachable!("nothing in this job is so large");
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> object_store::Result<GetResult> {
        self.before("get", path.as_ref())?;
        let there = self.inner.head(path).await.is_ok();
        if there && self.hits(Kind::NotFound, "get", path.as_ref()) {
            let (path, source) = (path.to_string(), "404 NoSuchKey".into());
            return Err(Error::NotFound { path, source });
        }
        if let Some(later) = self.later.get(path.as_ref())
            && self.hits(Kind::Changed, "get", path.as_ref())
        {
            self.inner.put(path, later.clone().into()).await?;
        }
        let head = options.head;
        let mut got = self.inner.get_opts(path, options).await?;
        if head || got.range.is_empty() {
            return Ok(got);
        }
        let broken = self.hits(Kind::BrokenBody, "get", path.as_ref());
        if broken || self.hits(Kind::ShortBody, "get", path.as_ref()) {
            let none = GetResultPayload::Stream(stream::empty().boxed());
            let GetResultPayload::Stream(body) = std::mem::replace(&mut got.payload, none) else {
                unreachable!("memory gives streams")
            };
            let body: Vec<Bytes> = body.try_collect().await?;
            let body = Bytes::from(body.concat());
            let mut chunks = vec![Ok(body.slice(..body.len() / 2))];
            if broken {
                chunks.push(Err(timed_out()));
            }
            got.payload = GetResultPayload::Stream(stream::iter(chunks).boxed());
        }
        Ok(got)
    }

    fn delete_stream(
        &self,
        paths: BoxStream<'static, object_store::Result<Path>>,
    ) -> BoxStream<'static, object_store::Result<Path>> {
        let store = self.clone();
        paths
            .then(move |path| {
                let store = store.clone();
                async move {
                    let path = path?;
                    store.before("delete", path.as_ref())?;
                    store.inner.delete(&path).await?;
                    store.after("delete", path.as_ref())?;
                    Ok(path)
                }
            })
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        let store = self.clone();
        let prefix = prefix.cloned().unwrap_or_default();
        stream::once(async move {
            let listed = match store.before("list", prefix.as_ref()) {
                Err(error) => vec![Err(error)],
                Ok(()) => match store.inner.list(Some(&prefix)).try_collect().await {
                    Err(error) => vec![Err(error)],
                    Ok(items) => store.broken(prefix.as_ref(), items),
                },
            };
            stream::iter(listed)
        })
        .flatten()
        .boxed()
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        let offset = offset.clone();
        let listed = self.list(prefix);
        listed.try_filter(move |meta| std::future::ready(meta.location > offset)).boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> object_store::Result<ListResult> {
        let name = prefix.map_or("", |prefix| prefix.as_ref());
        self.before("list a level", name)?;
        let listed = self.inner.list_with_delimiter(prefix).await?;
        // Its pages come as one: a page that fails fails all of it.
        match self.hits(Kind::BrokenListing, "list a level", name) {
            true => Err(timed_out()),
            false => Ok(listed),
        }
    }

    async fn copy_opts(
        &self,
        from: &Path,
        to: &Path,
        options: CopyOptions,
    ) -> object_store::Result<()> {
        self.before("copy", to.as_ref())?;
        self.inner.copy_opts(from, to, options).await?;
        self.after("copy", to.as_ref())
    }
}

const SOURCE: &str = "results/";
const OUTPUT: &str = "tables/";
const TABLES: [&str; 4] = ["liveness_detail", "rejects", "daily_charge", "inputs"];

/// Memory answers at once: also where one must not wait, inside another store.
fn at_once<F: Future>(future: F) -> F::Output {
    future.now_or_never().expect("memory answers at once")
}

/// All that a store holds, by path.
fn stored(store: &InMemory) -> BTreeMap<String, ObjectMeta> {
    let metas = at_once(store.list(None).try_collect::<Vec<_>>()).expect("memory lists");
    metas.into_iter().map(|meta| (meta.location.to_string(), meta)).collect()
}

fn read(store: &InMemory, path: &str) -> Option<Bytes> {
    let path = Path::parse(path).expect("a path");
    at_once(async { store.get(&path).await.ok()?.bytes().await.ok() })
}

fn put(store: &InMemory, path: &str, bytes: Bytes) {
    let path = Path::parse(path).expect("a path");
    at_once(store.put(&path, bytes.into())).expect("memory writes");
}

/// The live files of a table, by the newest version of its log: paths and partition values.
fn live(
    store: &InMemory,
    stored: &BTreeMap<String, ObjectMeta>,
    table: &str,
) -> Result<BTreeMap<String, String>, String> {
    let mut files = BTreeMap::new();
    let log = format!("{OUTPUT}{table}/_delta_log/");
    let entries = stored.range(log.clone()..).map(|(path, _)| path.as_str());
    let entries = entries.take_while(|path| path.starts_with(&log));
    for (version, path) in entries.filter(|path| path.ends_with(".json")).enumerate() {
        if *path != format!("{log}{version:020}.json") {
            return Err(format!("{path} is no next version"));
        }
        let text = read(store, path).ok_or(format!("{path} is gone"))?;
        for line in std::str::from_utf8(&text).map_err(|e| e.to_string())?.lines() {
            let action: Value = serde_json::from_str(line).map_err(|e| format!("{path}: {e}"))?;
            if let Some(remove) = action.get("remove") {
                let path = remove["path"].as_str().ok_or("a removal of nothing")?;
                files.remove(path).ok_or(format!("{path} is removed and was not there"))?;
            }
            if let Some(add) = action.get("add") {
                let path = add["path"].as_str().ok_or("an addition of nothing")?;
                let values = add["partitionValues"].to_string();
                if files.insert(path.to_owned(), values).is_some() {
                    return Err(format!("{path} is added twice"));
                }
            }
        }
    }
    Ok(files)
}

/// The rows of a data file as text, column by name. Files of the same bytes are decoded once.
type Rows = Arc<Vec<BTreeMap<String, String>>>;

fn rows(bytes: &Bytes) -> Result<Rows, String> {
    static DECODED: Mutex<Option<HashMap<Bytes, Rows>>> = Mutex::new(None);
    if let Some(rows) = held(&DECODED).get_or_insert_default().get(bytes) {
        return Ok(Arc::clone(rows));
    }
    let mut rows = Vec::new();
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes.clone());
    let reader = reader.and_then(|reader| reader.build()).map_err(|e| e.to_string())?;
    for batch in reader {
        let batch = batch.map_err(|e| e.to_string())?;
        let first = rows.len();
        rows.resize(first + batch.num_rows(), BTreeMap::new());
        for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
            for (at, row) in rows[first..].iter_mut().enumerate() {
                let cell = array_value_to_string(column, at).map_err(|e| e.to_string())?;
                row.insert(field.name().clone(), cell);
            }
        }
    }
    let rows = Arc::new(rows);
    held(&DECODED).get_or_insert_default().insert(bytes.clone(), Arc::clone(&rows));
    Ok(rows)
}

/// What a reader of the tables finds at this moment: every live file is there and can be read, and no Seq
/// stands twice. Gives the live files of `liveness_detail`.
fn readable(store: &InMemory) -> Result<Paths, String> {
    let stored = stored(store);
    let mut detail = Paths::new();
    for table in TABLES {
        let files = live(store, &stored, table)?;
        let mut seqs = BTreeSet::new();
        for path in files.keys() {
            let bytes = read(store, &format!("{OUTPUT}{table}/{path}"));
            let bytes = bytes.ok_or(format!("{table}/{path} is live and not there"))?;
            let rows = rows(&bytes).map_err(|error| format!("{table}/{path}: {error}"))?;
            for seq in rows.iter().filter_map(|row| row.get("seq")) {
                if !seqs.insert(seq.clone()) {
                    return Err(format!("{seq} stands twice"));
                }
            }
        }
        if table == "liveness_detail" {
            detail = files.into_keys().collect();
        }
    }
    Ok(detail)
}

/// What the tables come to, as far as it must not depend on how it came about.
#[derive(Debug, PartialEq)]
struct Content {
    detail: BTreeMap<String, Bytes>,
    daily: BTreeSet<String>,
    rejects: BTreeSet<String>,
    /// Key, size and etag of the objects known, of those that are in the source.
    known: BTreeSet<String>,
}

fn content(store: &InMemory) -> Result<Content, String> {
    readable(store)?;
    let stored = stored(store);
    let mut detail = BTreeMap::new();
    let mut texts: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for table in TABLES {
        let folder = format!("{OUTPUT}{table}/");
        let files = live(store, &stored, table)?;
        let stray = stored.keys().filter_map(|path| path.strip_prefix(&folder));
        let mut stray = stray.filter(|path| path.ends_with(".parquet"));
        if let Some(stray) = stray.find(|path| !files.contains_key(*path)) {
            return Err(format!("{table}/{stray} is stray"));
        }
        for (path, partition) in &files {
            let bytes = read(store, &format!("{folder}{path}")).ok_or(format!("no {path}"))?;
            let without: &[&str] = match table {
                "liveness_detail" => {
                    detail.insert(path.clone(), bytes);
                    continue;
                }
                "rejects" => &["run_id"],
                "daily_charge" => &["source_version"],
                _ => &[],
            };
            for row in rows(&bytes)?.iter() {
                let mut row = row.clone();
                if table == "inputs" {
                    row.retain(|column, _| matches!(&**column, "key" | "size" | "etag"));
                }
                for column in without {
                    row.remove(*column).ok_or(format!("{table} has no {column}"))?;
                }
                let text = format!("{partition} {row:?}");
                if !texts.entry(table).or_default().insert(text.clone()) && table != "inputs" {
                    return Err(format!("{table} has twice: {text}"));
                }
            }
        }
    }
    // Ranks of rows, beside the tables: for each file of rows without a fetch time, and for no other.
    let ranks = stored.keys().filter_map(|path| path.strip_prefix("tables/_ranks/"));
    let ranks: BTreeSet<String> = ranks.map(|path| path.replace(".ranks", ".parquet")).collect();
    if ranks != detail.keys().cloned().collect() {
        return Err(format!("ranks of {ranks:?} for {:?}", detail.keys()));
    }
    let mut of = |table| texts.remove(table).unwrap_or_default();
    Ok(Content { detail, daily: of("daily_charge"), rejects: of("rejects"), known: of("inputs") })
}

fn job(name: &str) -> Pipeline {
    let text = format!(
        r#"
name = "faults"
[account]
uin = "100012345678"
opened_at = "2023-05-01T00:00:00+08:00"
[source]
url = "memory://{name}/{SOURCE}"
keys = "{{channel}}/dt={{date}}/*"
[[route]]
match = {{ channel = "mini" }}
product = "enhanced"
channel = "wechat_mini_program"
[[route]]
match = {{ channel = "h5" }}
product = "enhanced"
channel = "overlay_h5_wechat"
[output]
url = "memory://{name}/{OUTPUT}"
lease_term = "{LEASE_TERM}"
[limits]
rejects_ratio_max = 1.0
threads = 1
"#
    );
    pipeline::parse("faults.toml", &text, &[], &|_| None).unwrap_or_else(|m| panic!("{m:?}"))
}

/// Longer than this machine may keep a thread waiting; nobody waits for it to end, or the sweep shows it.
const LEASE_TERM: &str = "10s";

fn run_on(name: &str, store: &Failing) -> Result<RunReport, RunError> {
    storage::mount(name, Arc::new(store.clone()));
    run::run(&job(name), &Asked::default(), &AtomicBool::new(false))
}

/// 2024-11-01T00:00:00+08:00.
const FIRST_DAY_MS: i64 = 1_730_390_400_000;
const DAY_MS: i64 = 86_400_000;

/// The version `version` of the object `n`: each holds what the one before holds, and an attempt more.
fn object(n: usize, version: usize) -> (String, Bytes) {
    let day = n % 3;
    let channel = ["mini", "h5"][n / 3 % 2];
    let key = format!("{SOURCE}{channel}/dt=2024-11-0{}/{n:03}.json", day + 1);
    let at = |more: usize| FIRST_DAY_MS + day as i64 * DAY_MS + (n * 1000 + more) as i64;
    let mut attempts = Vec::new();
    for more in 0..version {
        let flag = [Some(true), Some(false), None][(n + more) % 3];
        attempts.push(attempt(&format!("seq-{n:03}-{more}"), at(more), flag));
    }
    if n % 20 == 7 {
        // What another object holds too, charged otherwise: one of the two wins.
        let of = n - 3;
        let time = FIRST_DAY_MS + (of % 3) as i64 * DAY_MS + (of * 1000) as i64;
        attempts.push(attempt(&format!("seq-{of:03}-0"), time, Some(true)));
    }
    if n % 50 == 11 {
        // After midnight: counted on the next day.
        attempts.push(attempt(&format!("seq-{n:03}-late"), at(0) + DAY_MS, Some(true)));
    }
    if n % 40 == 13 {
        attempts.push(serde_json::json!({"ReqTime": "soon", "Seq": format!("bad-{n}")}));
    }
    let text = result(attempts).to_string();
    let bytes = match n % 60 {
        59 => Bytes::copy_from_slice(&text.as_bytes()[..text.len() / 2]),
        _ => Bytes::from(text),
    };
    (key, bytes)
}

const OBJECTS: usize = 200;
/// Of them, those that an earlier run has loaded, and of those, the ones that have grown since.
const LOADED: usize = 40;
const GROWN: usize = 20;

/// What is known before any fault.
struct Ground {
    /// After the earlier run, with all 200 objects in the source.
    base: InMemory,
    later: BTreeMap<String, Bytes>,
    before: Paths,
    after: Paths,
    expected: Content,
    /// Calls that can go wrong in each way.
    calls: BTreeMap<Kind, usize>,
    job_ms: u128,
}

fn ground() -> Ground {
    let base = InMemory::new();
    for n in 0..LOADED {
        let (key, bytes) = object(n, 1);
        put(&base, &key, bytes);
    }
    let none = BTreeMap::new();
    run_on("faults-base", &Failing::on(base.clone(), None, &none)).expect("an earlier run");
    assert!(read(&base, "tables/_store.json").is_some(), "what the store does is known");
    for n in (0..GROWN).chain(LOADED..OBJECTS) {
        let (key, bytes) = object(n, if n < GROWN { 2 } else { 1 });
        put(&base, &key, bytes);
    }
    let later = (0..OBJECTS).map(|n| object(n, 3)).collect();
    let undisturbed = Failing::on(base.fork(), None, &later);
    let begun = Instant::now();
    let report = run_on("faults-base", &undisturbed).expect("a run without faults");
    let job_ms = begun.elapsed().as_millis();
    assert_eq!(report.tally.objects_known, (LOADED - GROWN) as u64);
    assert_eq!(report.tally.objects_listed, OBJECTS as u64);
    assert!(report.tally.details_duplicate > 0 && report.rejects_by_reason.len() > 1);
    let expected = content(&undisturbed.inner).expect("tables");
    assert_eq!(expected.detail.len(), 4, "a file a day, the last of late attempts");
    assert!(!expected.rejects.is_empty() && expected.daily.len() > 4);
    let calls = held(&undisturbed.plan).met.clone();
    let after = readable(&undisturbed.inner).expect("tables");
    let before = readable(&base).expect("tables");
    Ground { base, later, before, after, expected, calls, job_ms }
}

impl Ground {
    /// One case: a run with the fault, a look at the tables, a run without, another look.
    fn case(&self, name: &str, kind: Kind, nth: usize) -> Result<Ended, String> {
        let failing = Failing::on(self.base.fork(), Some((kind, nth)), &self.later);
        let outcome = catch_unwind(AssertUnwindSafe(|| run_on(name, &failing)));
        let hit = held(&failing.plan).hit.clone().ok_or("no call went wrong")?;
        let told = |what: String| Err(format!("{hit}: {what}"));
        let ended = match &outcome {
            Err(_) => return told("the run panics".to_owned()),
            Ok(Ok(_)) => Ended::Right,
            Ok(Err(error)) if error.exit().status() == 75 => Ended::TryAgain,
            Ok(Err(error)) if error.exit().status() == 1 => Ended::Failed,
            Ok(Err(error)) => {
                return told(format!("exit {}: {error}", error.exit().status()));
            }
        };
        let now = match readable(&failing.inner) {
            Ok(now) => now,
            Err(broken) => return told(format!("after the run ({ended:?}): {broken}")),
        };
        // An object that was changed or not found makes a state of its own.
        let exact = !matches!(kind, Kind::Changed | Kind::NotFound);
        let states = held(&failing.states).iter().cloned().collect::<Vec<_>>();
        for state in states.iter().chain([&now]) {
            if exact && *state != self.before && *state != self.after {
                return told(format!("a state in between was seen: {state:?}"));
            }
        }
        if exact && matches!(ended, Ended::Right) && now != self.after {
            return told("the run says it ended right and did nothing".to_owned());
        }
        let calm = Failing { plan: Arc::default(), ..failing.clone() };
        match catch_unwind(AssertUnwindSafe(|| run_on(name, &calm))) {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => {
                return told(format!("{ended:?}, then exit {}: {error}", error.exit().status()));
            }
            Err(_) => return told(format!("{ended:?}, and the next run panics")),
        }
        if let Some(broken) = held(&failing.seen).first() {
            return told(format!("{ended:?}: {broken}"));
        }
        let found = match content(&calm.inner) {
            Ok(found) => found,
            Err(broken) => return told(format!("{ended:?}, after the next run: {broken}")),
        };
        let changed;
        let expected = match kind {
            Kind::Changed => {
                changed = self.with_changed(name, hit.trim_start_matches("get "))?;
                &changed
            }
            _ => &self.expected,
        };
        match difference(&found, expected, kind) {
            None => Ok(ended),
            Some(what) => told(format!("{ended:?}, after the next run {what} differs")),
        }
    }

    /// The job over a source in which that object is its later version.
    fn with_changed(&self, name: &str, key: &str) -> Result<Content, String> {
        let store = self.base.fork();
        put(&store, key, self.later[key].clone());
        run_on(name, &Failing::on(store.clone(), None, &BTreeMap::new()))
            .map_err(|error| format!("without faults: {error}"))?;
        content(&store)
    }
}

fn difference(found: &Content, expected: &Content, kind: Kind) -> Option<String> {
    let known = match kind {
        // Its etag, and whether the version before it was read, depend on when it was changed.
        Kind::Changed => false,
        _ => found.known != expected.known,
    };
    let sets = |what: &str, found: &BTreeSet<String>, expected: &BTreeSet<String>| {
        let more = found.difference(expected).next();
        let less = expected.difference(found).next();
        Some(format!("{what} (more: {more:?}; less: {less:?})"))
    };
    match () {
        () if found.detail != expected.detail => {
            let names = |content: &Content| content.detail.keys().cloned().collect();
            sets("liveness_detail", &names(found), &names(expected))
        }
        () if found.daily != expected.daily => sets("daily_charge", &found.daily, &expected.daily),
        () if found.rejects != expected.rejects => {
            sets("rejects", &found.rejects, &expected.rejects)
        }
        () if known => sets("inputs", &found.known, &expected.known),
        () => None,
    }
}

/// How a run with a fault ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Ended {
    Right,
    TryAgain,
    Failed,
}

#[test]
fn whatever_call_goes_wrong_the_tables_come_right() {
    let ground = ground();
    let cases: Vec<(Kind, usize)> = KINDS
        .iter()
        .flat_map(|kind| (1..=ground.calls[kind]).map(move |nth| (*kind, nth)))
        .collect();
    // 200 objects are read in some call each, and listed: less would be another job.
    assert!(ground.calls[&Kind::Before] > 230, "{:?}", ground.calls);
    assert!(ground.calls[&Kind::BrokenListing] > OBJECTS, "{:?}", ground.calls);
    assert!(ground.calls[&Kind::Changed] >= OBJECTS - (LOADED - GROWN), "{:?}", ground.calls);
    let next = AtomicUsize::new(0);
    let failures = Mutex::new(Vec::new());
    let ends = Mutex::new(BTreeMap::<(Kind, Ended), usize>::new());
    let slow = Mutex::new(Vec::new());
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for worker in 0..2 {
            let (ground, cases, next) = (&ground, &cases, &next);
            let (failures, ends, slow) = (&failures, &ends, &slow);
            scope.spawn(move || {
                let name = format!("faults-{worker}");
                while let Some((kind, nth)) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let begun = Instant::now();
                    match ground.case(&name, *kind, *nth) {
                        Ok(ended) => *held(ends).entry((*kind, ended)).or_default() += 1,
                        Err(what) => {
                            held(failures).push(format!("{kind:?} {nth}: {what}"));
                        }
                    }
                    if begun.elapsed() > Duration::from_secs(1) {
                        held(slow).push((*kind, *nth, begun.elapsed().as_millis()));
                    }
                }
            });
        }
    });
    let (failures, ends) = (held(&failures), held(&ends));
    let told = format!(
        "{} cases, a job takes {} ms, all took {} s; {:?}; ends: {ends:?}; slow: {:?}",
        cases.len(),
        ground.job_ms,
        begun.elapsed().as_secs(),
        ground.calls,
        held(&slow)
    );
    let shown = failures.iter().take(40).cloned().collect::<Vec<_>>().join("\n");
    assert!(failures.is_empty(), "{told}\n{} fail:\n{shown}", failures.len());
}

/// The same on a server, where a request goes wrong as bytes on a line do: a sample of the requests.
mod on_a_server {
    use super::*;
    use crate::s3::{Action, Fault, Kind, Op, S3Server, Seen};
    use crate::world::{SOME_TIME, World};

    const OBJECTS: usize = 60;
    const LOADED: usize = 12;

    /// `more` stands in the tables of the source and the output.
    fn text(server: &S3Server, more: &str, limits: &str) -> String {
        let options: String = server
            .options()
            .iter()
            .map(|(name, value)| format!("{name} = \"{value}\"\n"))
            .chain([more.to_owned()])
            .collect();
        format!(
            r#"
name = "faults"
[account]
uin = "100012345678"
opened_at = "2023-05-01T00:00:00+08:00"
[source]
url = "{}"
keys = "{{channel}}/dt={{date}}/*"
[source.options]
{options}
[output]
url = "{}"
lease_term = "20s"
[output.options]
{options}
[limits]
rejects_ratio_max = 1.0
threads = 1
{limits}
"#,
            server.url(SOURCE),
            server.url(OUTPUT)
        )
    }

    fn run_on(server: &S3Server, more: &str) -> Result<RunReport, RunError> {
        let pipeline = pipeline::parse("faults.toml", &text(server, more, ""), &[], &|_| None);
        let pipeline = pipeline.unwrap_or_else(|mistakes| panic!("{mistakes:?}"));
        run::run(&pipeline, &Asked::default(), &AtomicBool::new(false))
    }

    fn put_object(server: &S3Server, n: usize, version: usize) {
        let (key, bytes) = object(n, version);
        server.put_at(&key, bytes, SOME_TIME + (version * 10_000) as i64);
    }

    /// What an earlier run left, without the source.
    fn base() -> BTreeMap<String, Bytes> {
        let server = S3Server::start();
        (0..LOADED).for_each(|n| put_object(&server, n, 1));
        run_on(&server, "").expect("an earlier run");
        let keys = server.list(OUTPUT).into_iter();
        keys.map(|key| (key.clone(), server.get(&key).expect("was listed"))).collect()
    }

    /// A server with all objects and what the earlier run left.
    fn started(base: &BTreeMap<String, Bytes>) -> S3Server {
        let server = S3Server::start();
        (0..OBJECTS).for_each(|n| put_object(&server, n, if n < LOADED / 2 { 2 } else { 1 }));
        base.iter().for_each(|(key, bytes)| server.put_at(key, bytes.clone(), SOME_TIME));
        server
    }

    /// The tables as a reader finds them now.
    fn in_memory(server: &S3Server) -> InMemory {
        let store = InMemory::new();
        for key in server.list(OUTPUT) {
            // Between the listing and this another file may have been deleted.
            if let Some(bytes) = server.get(&key) {
                put(&store, &key, bytes);
            }
        }
        store
    }

    /// Which requests of the job go wrong in turn: every other write and listing, and a sample of the reads. The sweep
    /// in memory has every call; here each case is a run over sockets, and all of them took six minutes.
    fn sample(seen: &[Seen]) -> Vec<(Op, usize)> {
        let mut met: BTreeMap<Op, usize> = BTreeMap::new();
        let mut sample = Vec::new();
        for request in seen {
            let nth = met.entry(request.op).or_default();
            *nth += 1;
            let every = if matches!(request.op, Op::Get | Op::Head) { 20 } else { 2 };
            if *nth % every == 1 {
                sample.push((request.op, *nth));
            }
        }
        sample
    }

    /// Whether a request of this sort can go wrong so, and whether the run must end right all the same.
    fn expected(kind: &Kind, op: Op) -> Option<bool> {
        match kind {
            Kind::SlowDown503 | Kind::Error500 | Kind::ResetBefore | Kind::ResetAfter => Some(true),
            Kind::ResetMidBody | Kind::ShortBody | Kind::Stall(_) => {
                matches!(op, Op::Get | Op::List).then_some(true)
            }
            Kind::TimeoutAfterPut => op.is_write().then_some(true),
            // An object of the source that is gone is left for the next run; anything else is an error.
            Kind::NotFound404 => Some(false),
            Kind::ChangedEtag(_) => (op == Op::Get).then_some(true),
        }
    }

    #[test]
    fn whatever_request_goes_wrong_the_tables_come_right() {
        let base = base();
        let calm = started(&base);
        run_on(&calm, "").expect("a run without faults");
        let seen = calm.seen();
        let expect = content(&in_memory(&calm)).expect("tables");
        let sample = sample(&seen);
        let kinds = [
            Kind::SlowDown503,
            Kind::Error500,
            Kind::ResetBefore,
            Kind::ResetAfter,
            Kind::ResetMidBody,
            Kind::ShortBody,
            Kind::Stall(Duration::from_secs(600)),
            Kind::NotFound404,
            Kind::TimeoutAfterPut,
            Kind::ChangedEtag(Bytes::new()),
        ];
        let cases: Vec<(&Kind, Op, usize, bool)> = kinds
            .iter()
            .flat_map(|kind| {
                let cases = sample.iter();
                cases.filter_map(move |(op, nth)| Some((kind, *op, *nth, expected(kind, *op)?)))
            })
            .collect();
        assert!(cases.len() > 150, "{} cases of {} requests", cases.len(), seen.len());
        let next = AtomicUsize::new(0);
        let failures = Mutex::new(Vec::new());
        let ends = Mutex::new(BTreeMap::<(String, u8), usize>::new());
        let begun = Instant::now();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    while let Some((kind, op, nth, right)) =
                        cases.get(next.fetch_add(1, Ordering::Relaxed))
                    {
                        let name = format!("{kind:?}").chars().take(16).collect::<String>();
                        match case(&base, &expect, kind, *op, *nth, *right) {
                            Ok(exit) => *held(&ends).entry((name, exit)).or_default() += 1,
                            Err(what) => {
                                held(&failures).push(format!("{name} {op:?} {nth}: {what}"));
                            }
                        }
                    }
                });
            }
        });
        let told =
            format!("{} cases in {} s: {:?}", cases.len(), begun.elapsed().as_secs(), held(&ends));
        let failures = held(&failures);
        assert!(failures.is_empty(), "{told}\n{}", failures.join("\n"));
    }

    fn case(
        base: &BTreeMap<String, Bytes>,
        expected: &Content,
        kind: &Kind,
        op: Op,
        nth: usize,
        right: bool,
    ) -> Result<u8, String> {
        let server = Arc::new(started(base));
        let mut changed = None;
        if let Kind::ChangedEtag(_) = kind {
            // The object is known when it is asked for: whichever comes as the n-th.
            let count = AtomicUsize::new(0);
            let key = Arc::new(Mutex::new(None));
            changed = Some(Arc::clone(&key));
            server.on_request(move |seen| {
                let source = seen.op == Op::Get && seen.key.starts_with(SOURCE);
                if source && count.fetch_add(1, Ordering::Relaxed) + 1 == nth {
                    let n = seen.key.rsplit('/').next().and_then(|name| name[..3].parse().ok());
                    let n = n.expect("an object of ours");
                    *held(&key) = Some(n);
                    return Action::Fail(Kind::ChangedEtag(object(n, 3).1));
                }
                Action::Go
            });
        } else {
            server.inject(Fault::on(op, kind.clone()).nth(nth));
        }
        // Silence ends with the time limit for a request, which the options set.
        let silent = matches!(kind, Kind::Stall(_) | Kind::TimeoutAfterPut);
        let ran = run_on(&server, if silent { "timeout = \"3s\"\n" } else { "" });
        let exit = match &ran {
            Ok(_) => 0,
            Err(error) => error.exit().status(),
        };
        if let Some(key) = &changed
            && held(key).is_none()
        {
            // Fewer objects are asked for than requests are made.
            return Ok(0);
        }
        let why = ran.as_ref().err().map(ToString::to_string).unwrap_or_default();
        let met = server.seen_of(op).len();
        if changed.is_none() && met < nth {
            return Err(format!("only {met} such requests were made"));
        }
        if !matches!(exit, 0 | 1 | 75) || right && exit != 0 {
            return Err(format!("exit {exit}: {why}"));
        }
        server.calm();
        readable(&in_memory(&server)).map_err(|broken| format!("exit {exit}, then {broken}"))?;
        if let Err(error) = run_on(&server, "") {
            let status = error.exit().status();
            return Err(format!("exit {exit} ({why}), the next {status}: {error}"));
        }
        let found = content(&in_memory(&server));
        let found = found.map_err(|broken| format!("exit {exit}, the next 0, then {broken}"))?;
        let other;
        let (expected, memory_kind) = match changed.and_then(|key| *held(&key)) {
            None => (expected, super::Kind::Before),
            Some(n) => {
                let calm = started(base);
                // As late as the object became what it is.
                calm.put(&object(n, 3).0, object(n, 3).1);
                run_on(&calm, "").map_err(|error| format!("without faults: {error}"))?;
                other = content(&in_memory(&calm))?;
                (&other, super::Kind::Changed)
            }
        };
        match difference(&found, expected, memory_kind) {
            None => Ok(exit),
            Some(what) => Err(format!("exit {exit} ({why}), after the next run {what} differs")),
        }
    }

    #[test]
    fn a_store_that_asks_for_less_is_asked_for_less() {
        /// Requests before the store begins to refuse, and until it ends.
        const STORM: std::ops::Range<usize> = 80..180;
        let server = S3Server::start();
        // A folder a day: they are listed side by side.
        let first = chrono::NaiveDate::from_ymd_opt(2023, 6, 1).expect("a day");
        for (n, day) in first.iter_days().take(400).enumerate() {
            let time = SOME_TIME + n as i64;
            let text = result(vec![attempt(&format!("seq-{n}"), time, Some(true))]).to_string();
            server.put_at(&format!("{SOURCE}mini/dt={day}/1.json"), text, SOME_TIME);
        }
        let in_flight = Arc::new(AtomicUsize::new(0));
        let early = Arc::new(AtomicUsize::new(0));
        let late = Arc::new(AtomicUsize::new(0));
        let count = AtomicUsize::new(0);
        {
            let (in_flight, early, late) = (in_flight.clone(), early.clone(), late.clone());
            server.on_request(move |seen| {
                if seen.op != Op::List || !seen.key.contains("/dt=") {
                    return Action::Go;
                }
                let nth = count.fetch_add(1, Ordering::Relaxed);
                let now = in_flight.fetch_add(1, Ordering::Relaxed) + 1;
                if nth < STORM.start {
                    early.fetch_max(now, Ordering::Relaxed);
                } else if STORM.start + 60 < nth && nth < STORM.end {
                    late.fetch_max(now, Ordering::Relaxed);
                }
                std::thread::sleep(Duration::from_millis(20));
                in_flight.fetch_sub(1, Ordering::Relaxed);
                match STORM.contains(&nth) && nth.is_multiple_of(2) {
                    true => Action::Fail(Kind::SlowDown503),
                    false => Action::Go,
                }
            });
        }
        let report = run_on(&server, "").expect("ends right");
        assert_eq!(report.tally.details_new, 400);
        let refused = server.seen().iter().filter(|seen| seen.status == Some(503)).count();
        assert!(refused >= 40, "{refused}");
        let (early, late) = (early.load(Ordering::Relaxed), late.load(Ordering::Relaxed));
        assert!(early > 4 && late > 0 && late < early, "{early} in flight, then {late}");
    }

    #[test]
    fn a_store_that_is_down_is_given_up_by_the_id_of_its_last_answer() {
        let server = S3Server::start();
        (0..4).for_each(|n| put_object(&server, n, 1));
        server.on_request(|_| Action::Fail(Kind::SlowDown503));
        let world = World::new(&text(&server, "", "retry_for = \"1s\""));
        let ran = world.faceledger(&["run", "pipeline.toml"]).exits(75);
        let seen = server.seen();
        assert!(seen.len() > 1, "it was asked again");
        let last = &seen.last().expect("some").request_id;
        assert!(ran.stderr.contains(last.as_str()), "{last}: {}", ran.stderr);
        server.calm();
        world.faceledger(&["run", "pipeline.toml"]).exits(0);
        content(&in_memory(&server)).expect("tables");
    }
}
