//! Random folders, loaded whole and in parts, in any order, on any number of threads, in any time zone: the
//! tables always hold what the slow recount says.
//!
//! Each case is made from a seed, and a failure prints it: `FACELEDGER_TEST_SEED=7 cargo test random` runs that
//! one case. `FACELEDGER_TEST_CASES=200` runs more of them than fit into a test run.

use crate::recount::{Recount, Route, Setting, is_data, order, recount};
use crate::world::{Object, Ran, Row, World, detail_files, walk};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::Path;

/// Seeds of an ordinary test run: enough to meet every kind of fault several times, few enough for
/// two minutes of all tests on two cores.
const CASES: u64 = 12;

/// Stands in every personal field of every object. It must stand nowhere in the output.
const PERSONAL: &str = "个人PII";

#[test]
fn one_run_holds_what_the_recount_says() {
    each_seed(1000, CASES * 2, |rng| {
        let case = Case::new(rng);
        let world = World::new(&case.setting.pipeline());
        world.put_all(&case.objects);
        let ran = world.run(&[]);
        case.check(&world);
        case.check_tally(&ran);

        // Once more changes nothing, and says so.
        let (before, versions) = (all_files(&world), versions(&world));
        let again = world.run(&[]);
        assert_eq!(again.tally("objects_known"), case.expected.counter("objects_listed"));
        for counter in ["objects_parsed", "objects_rejected", "records_seen", "details_seen"] {
            assert_eq!(again.tally(counter), 0, "{counter} of a second run");
        }
        assert_eq!(all_files(&world), before, "data files after a second run");
        assert_eq!(self::versions(&world), versions, "versions after a second run");
        let plain = world.faceledger(&["run", "pipeline.toml"]).exits(0);
        let says_so =
            ["nothing new", "nothing changed", "nothing to load", "no new objects", "up to date"];
        let said = plain.said().to_lowercase();
        assert!(
            says_so.iter().any(|words| said.contains(words)),
            "a run that changed nothing says:\n{said}"
        );
        case.check(&world);
    });
}

#[test]
fn any_order_and_any_split_give_the_same_tables() {
    each_seed(2000, CASES, |rng| {
        let case = Case::new(rng);
        let whole = World::new(&case.setting.pipeline());
        whole.put_all(&case.objects);
        whole.run(&[]);
        let files = detail_files(&whole);

        let parts = World::new(&case.setting.pipeline());
        let mut order: Vec<&Object> = case.objects.iter().collect();
        rng.shuffle(&mut order);
        let batches = 2 + rng.below(3) as usize;
        let mut seqs: BTreeSet<String> = BTreeSet::new();
        for batch in order.chunks(case.objects.len().div_ceil(batches)) {
            parts.put_all(batch.iter().copied());
            let ran = parts.run(&[]);
            let arrived: Vec<Object> = batch.iter().map(|object| (*object).clone()).collect();
            let counted = recount(&case.setting, &arrived);
            let new =
                counted.rows.iter().filter(|row| seqs.insert(text(row, "seq"))).count() as u64;
            assert_eq!(ran.tally("details_new"), new, "Seqs that the table did not hold");
            for counter in ["records_seen", "records_rejected", "details_seen", "details_rejected"]
            {
                assert_eq!(ran.tally(counter), counted.counter(counter), "{counter} of a batch");
            }
            // Before the first object that is data there is no table to verify.
            if parts.path("out/inputs").exists() {
                parts.verify();
            }
        }
        case.check(&parts);

        let refreshed = parts.run(&["--full-refresh"]);
        case.check_tally(&refreshed);
        case.check(&parts);
        assert_same_files(&detail_files(&parts), &files, "parts after --full-refresh, and one run");
        whole.run(&["--full-refresh"]);
        case.check(&whole);
        assert_same_files(&detail_files(&whole), &files, "--full-refresh, and one run");
    });
}

/// The tables are committed one after another: whichever of them a run that was cut off has still committed, the
/// next run completes it.
#[test]
fn a_run_cut_off_between_commits_is_completed_by_the_next() {
    const ORDER: [&str; 4] = ["liveness_detail", "rejects", "daily_charge", "inputs"];
    each_seed(7000, CASES / 3, |rng| {
        let case = Case::new(rng);
        let world = World::new(&case.setting.pipeline());
        let mut order: Vec<&Object> = case.objects.iter().collect();
        rng.shuffle(&mut order);
        let (first, second) = order.split_at(order.len() / 2);
        world.put_all(first.iter().copied());
        world.run(&[]);
        let keep = |name: &str| {
            let kept = world.path(name);
            std::fs::create_dir(&kept).expect("a folder");
            for table in ORDER {
                copy_folder(&world.path("out").join(table), &kept.join(table));
            }
        };
        keep("before");
        world.put_all(second.iter().copied());
        world.run(&[]);
        keep("after");
        for committed in 0..=ORDER.len() {
            for (place, table) in ORDER.iter().enumerate() {
                let state = if place < committed { "after" } else { "before" };
                let out = world.path("out").join(table);
                let _ = std::fs::remove_dir_all(&out);
                copy_folder(&world.path(state).join(table), &out);
                // The data files of the next commit are there and not yet named.
                if place == committed {
                    copy_missing_data(&world.path("after").join(table), &out);
                }
            }
            world.run(&[]);
            case.check(&world);
        }
    });
}

#[test]
fn a_full_refresh_into_an_empty_output_is_a_run() {
    each_seed(3000, CASES / 4, |rng| {
        let case = Case::new(rng);
        let files: Vec<_> = [vec![], vec!["--full-refresh"]]
            .iter()
            .map(|args| {
                let world = World::new(&case.setting.pipeline());
                world.put_all(&case.objects);
                world.run(args);
                case.check(&world);
                detail_files(&world)
            })
            .collect();
        assert_same_files(&files[1], &files[0], "--full-refresh of nothing, and a run");
    });
}

#[test]
fn threads_change_nothing() {
    each_seed(4000, CASES / 2, |rng| {
        let case = Case::new(rng);
        let files: Vec<_> = ["1", "2", "8"]
            .iter()
            .map(|threads| {
                let world = World::new(&case.setting.pipeline());
                world.put_all(&case.objects);
                world.run(&["--set", &format!("limits.threads={threads}")]);
                case.check(&world);
                detail_files(&world)
            })
            .collect();
        assert_same_files(&files[1], &files[0], "2 threads and 1");
        assert_same_files(&files[2], &files[0], "8 threads and 1");
    });
}

#[test]
fn host_time_zones_change_nothing() {
    each_seed(5000, CASES / 4, |rng| {
        let case = Case::new(rng);
        let files: Vec<_> = ["UTC", "America/New_York", "Asia/Kathmandu", "XYZ+11:59"]
            .iter()
            .map(|zone| {
                let world = World::new(&case.setting.pipeline());
                world.put_all(&case.objects);
                world.faceledger_with(&["run", "pipeline.toml"], &[("TZ", zone)]).exits(0);
                world.faceledger_with(&["verify", "pipeline.toml"], &[("TZ", zone)]).exits(0);
                case.check(&world);
                detail_files(&world)
            })
            .collect();
        for (zone, others) in files.iter().enumerate().skip(1) {
            assert_same_files(others, &files[0], &format!("zone {zone} and UTC"));
        }
    });
}

/// Runs a test on its seeds, or on the one that was asked for.
fn each_seed(first: u64, cases: u64, test: impl Fn(&mut Rng) + std::panic::RefUnwindSafe) {
    let env =
        |name| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a whole number"));
    let seeds: Vec<u64> = match env("FACELEDGER_TEST_SEED") {
        Some(seed) => vec![seed],
        None => (first..first + env("FACELEDGER_TEST_CASES").unwrap_or(cases)).collect(),
    };
    for seed in seeds {
        let outcome = std::panic::catch_unwind(|| test(&mut Rng(seed)));
        assert!(outcome.is_ok(), "FACELEDGER_TEST_SEED={seed} makes the case above again");
    }
}

/// A folder of results, and what its tables must hold.
pub struct Case {
    pub setting: Setting,
    /// Distinct keys; some are no data.
    pub objects: Vec<Object>,
    pub expected: Recount,
}

impl Case {
    /// The case of a seed.
    pub fn of_seed(seed: u64) -> Case {
        Case::new(&mut Rng(seed))
    }

    fn new(rng: &mut Rng) -> Case {
        let setting = setting(rng);
        let objects = objects(rng, &setting);
        let expected = recount(&setting, &objects);
        Case { setting, objects, expected }
    }

    /// The tables of a world that has loaded every object, in whatever way.
    #[track_caller]
    pub fn check(&self, world: &World) {
        world.verify();
        let detail = world.table("liveness_detail");
        let mut rows = detail.rows();
        for file in detail.files.keys() {
            let rows = detail.rows_of(file);
            assert!(!rows.is_empty(), "{file} has no rows");
            let place = |row: &Row| (row["req_time"].as_i64(), text(row, "seq"));
            assert!(rows.is_sorted_by_key(place), "{file} is not sorted by (req_time, seq)");
        }
        rows.sort_by_key(order);
        assert_same_rows(&rows, &self.expected.rows, "liveness_detail");

        let daily = world.table("daily_charge");
        let mut charges = daily.rows();
        for row in &mut charges {
            let version =
                row.remove("source_version").and_then(|v| v.as_u64()).expect("source_version");
            assert!(
                Some(version) <= detail.version,
                "source_version {version} of {:?}",
                detail.version
            );
        }
        charges.sort_by_key(|r| {
            ["usage_date", "settlement_date", "account", "billing_tag"].map(|c| text(r, c))
        });
        assert_same_rows(&charges, &self.expected.daily, "daily_charge");

        let rejects = world.table("rejects");
        let mut found: Vec<(String, i64, String)> = rejects
            .rows()
            .iter()
            .map(|r| {
                (
                    text(r, "source_key"),
                    r["source_record"].as_i64().expect("a number"),
                    reason_class(&text(r, "reason")),
                )
            })
            .collect();
        found.sort();
        assert_eq!(found, self.expected.rejects, "rejects");

        let keys: BTreeSet<String> =
            world.table("inputs").rows().iter().map(|r| text(r, "key")).collect();
        let data = self.objects.iter().map(|o| &o.key).filter(|key| is_data(&self.setting, key));
        assert_eq!(keys, data.cloned().collect(), "inputs.key");

        for name in ["liveness_detail", "daily_charge", "rejects", "inputs"] {
            let table = world.table(name);
            assert_eq!(
                table.stored(),
                table.files.keys().cloned().collect(),
                "{name}: files stored and files live"
            );
        }
        nothing_personal(world);
    }

    /// The counters of a run that has read every object into an empty output.
    #[track_caller]
    fn check_tally(&self, ran: &Ran) {
        for counter in [
            "objects_listed",
            "records_seen",
            "records_with_attempts",
            "records_empty",
            "records_error_response",
            "records_rejected",
            "details_seen",
            "details_new",
            "details_duplicate",
            "details_changed",
            "details_rejected",
        ] {
            assert_eq!(ran.tally(counter), self.expected.counter(counter), "{counter}");
        }
        assert_eq!(
            ran.tally("objects_parsed") + ran.tally("objects_rejected"),
            ran.tally("objects_listed")
        );
        assert_eq!((ran.tally("objects_known"), ran.tally("details_outside")), (0, 0));
        assert!(!ran.said().contains("PII"), "the run says something personal:\n{}", ran.said());
    }
}

/// serde_json does not say what exactly is wrong with a text.
fn reason_class(reason: &str) -> String {
    let of_text = [
        "truncated",
        "trailing_comma",
        "comment",
        "control_character",
        "bad_escape",
        "unpaired_surrogate",
        "invalid_json",
        "empty_object",
    ];
    if of_text.contains(&reason) { "syntax".to_owned() } else { reason.to_owned() }
}

fn text(row: &Row, column: &str) -> String {
    row[column].as_str().unwrap_or_else(|| panic!("{column} is no text in {row:?}")).to_owned()
}

#[track_caller]
fn assert_same_rows(found: &[Row], expected: &[Row], table: &str) {
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        let columns: BTreeSet<&String> = found.keys().chain(expected.keys()).collect();
        for column in columns {
            assert_eq!(
                found.get(column),
                expected.get(column),
                "{table}: {column} of row {i}\n{found:?}\n{expected:?}"
            );
        }
    }
    assert_eq!(found.len(), expected.len(), "{table}: rows");
}

#[track_caller]
fn assert_same_files(a: &BTreeMap<String, Vec<u8>>, b: &BTreeMap<String, Vec<u8>>, which: &str) {
    let names = |files: &BTreeMap<String, Vec<u8>>| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(a), names(b), "names of data files: {which}");
    for (name, bytes) in a {
        assert!(bytes == &b[name], "{name} differs: {which}");
    }
}

fn copy_folder(from: &Path, to: &Path) {
    walk(from, &mut |path| {
        let to = to.join(path.strip_prefix(from).expect("below"));
        std::fs::create_dir_all(to.parent().expect("a folder")).expect("a folder");
        std::fs::copy(path, to).expect("copied");
    });
}

/// Copies the Parquet files that are not there yet, and not the log.
fn copy_missing_data(from: &Path, to: &Path) {
    walk(from, &mut |path| {
        let below = path.strip_prefix(from).expect("below");
        let target = to.join(below);
        if !below.starts_with("_delta_log") && !target.exists() {
            std::fs::create_dir_all(target.parent().expect("a folder")).expect("a folder");
            std::fs::copy(path, target).expect("copied");
        }
    });
}

/// Every data file of every table, with its bytes.
fn all_files(world: &World) -> BTreeMap<String, Vec<u8>> {
    let tables = ["liveness_detail", "daily_charge", "rejects", "inputs"];
    tables.iter().flat_map(|name| world.table(name).contents()).collect()
}

fn versions(world: &World) -> Vec<Option<u64>> {
    ["liveness_detail", "daily_charge", "rejects", "inputs"]
        .iter()
        .map(|name| world.table(name).version)
        .collect()
}

/// No file of the output, decompressed or not, and no listing holds what stood in the personal fields.
#[track_caller]
fn nothing_personal(world: &World) {
    walk(&world.path("out"), &mut |path| {
        let bytes = std::fs::read(path).expect("a file of the output");
        let parquet = path.extension().is_some_and(|e| e == "parquet");
        // Three ASCII letters may stand in compressed bytes by chance; in text they would be ours, whatever
        // escapes are around them.
        let needle = if parquet { PERSONAL.as_bytes() } else { b"PII" };
        let found = bytes.windows(needle.len()).any(|window| window == needle);
        assert!(!found, "{} holds something personal", path.display());
    });
    for name in ["liveness_detail", "daily_charge", "rejects", "inputs"] {
        for row in world.table(name).rows() {
            let row = serde_json::to_string(&row).expect("a row");
            assert!(!row.contains("PII"), "{name} holds something personal: {row}");
        }
    }
    let listed = world.faceledger(&["rejects", "pipeline.toml"]).exits(0);
    assert!(
        !listed.said().contains("PII"),
        "`rejects` says something personal:\n{}",
        listed.said()
    );
}

/// SplitMix64: the same numbers on every machine, forever.
pub struct Rng(u64);

impl Rng {
    pub fn of_seed(seed: u64) -> Rng {
        Rng(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// From 0 to `n` - 1.
    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    /// True in `percent` of all cases.
    pub fn often(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    pub fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize].clone()
    }

    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i as u64 + 1) as usize);
        }
    }
}

const CHANNELS: [&str; 4] = ["wx_mini", "app", "float", "other"];
const RULES: [&str; 4] = ["5", "7", "96", "0"];
const EXTRAS: [&str; 3] = ["shop-a", "shop-b", "店\"丙\"\\"];

fn setting(rng: &mut Rng) -> Setting {
    let keyed = rng.often(60);
    let envelope = rng.often(60);
    let products = [
        ("enhanced", Some("wechat_mini_program")),
        ("enhanced", Some("wechat_h5_native")),
        ("enhanced", Some("app_sdk")),
        ("enhanced", Some("overlay_h5_wechat")),
        ("enhanced", Some("overlay_h5_mobile")),
        ("basic", Some("wechat_h5")),
        ("basic", Some("pc_h5")),
        ("basic", Some("app_sdk")),
        ("eid", None),
        ("intention", None),
    ];
    let mut routes = Vec::new();
    // A route below one that matches everything would be a mistake in the file.
    while !routes.last().is_some_and(|r: &Route| r.conditions.is_empty())
        && routes.len() < 6
        && rng.often(80)
    {
        let mut conditions = Vec::new();
        if (keyed || envelope) && rng.often(60) {
            conditions.push(("channel", some(rng, &CHANNELS[..3])));
        }
        if envelope && rng.often(40) {
            conditions.push(("rule_id", some(rng, &RULES[..3])));
        }
        if rng.often(40) {
            conditions.push(("extra", some(rng, &EXTRAS)));
        }
        if conditions.is_empty() && rng.often(70) {
            conditions.push(("extra", vec![EXTRAS[0]]));
        }
        let (product, channel) = rng.pick(&products);
        let compare_source =
            rng.pick(&[None, None, None, Some("authority"), Some("uploaded_photo")]);
        routes.push(Route { conditions, product, channel, compare_source });
    }
    let mut libs = Vec::new();
    if rng.often(30) {
        libs.push(("自建库", "uploaded_photo"));
    }
    if rng.often(15) {
        libs.push(("商业库", "uploaded_photo"));
    }
    Setting { monthly: rng.often(30), envelope, keyed, routes, libs }
}

fn some(rng: &mut Rng, of: &[&'static str]) -> Vec<&'static str> {
    let mut of = of.to_vec();
    rng.shuffle(&mut of);
    of.truncate(1 + rng.below(2) as usize);
    of
}

/// Beijing midnights (epoch milliseconds) around which the attempts of a case lie: the begin of 2024-11-02,
/// 2024-02-29, 2024-03-01, 2024-01-01, 2023-01-01.
const MIDNIGHTS: [i64; 5] =
    [1_730_476_800_000, 1_709_136_000_000, 1_709_222_400_000, 1_704_038_400_000, 1_672_502_400_000];

/// A record as it goes into an object.
enum Written {
    Sound(Value),
    /// A line that is no JSON. Only NDJSON takes these: elsewhere a recount could not tell where it ends.
    Broken(String),
}

fn objects(rng: &mut Rng, setting: &Setting) -> Vec<Object> {
    let midnight = rng.pick(&MIDNIGHTS);
    let mut records: Vec<Value> = Vec::new();
    for token in 0..4 + rng.below(30) {
        pulls(rng, setting, midnight, token, &mut records);
    }
    rng.shuffle(&mut records);

    // Few different times, so that equal ones are common and the rest of the rank decides.
    let times: Vec<i64> =
        (0..4).map(|_| midnight + 86_400_000 + rng.below(50_000_000) as i64).collect();
    let mut objects = Vec::new();
    let mut records = records.into_iter();
    loop {
        let n = [1, 1, 1, 2, 5, 9][rng.below(6) as usize];
        let some: Vec<Value> = records.by_ref().take(n).collect();
        if some.is_empty() {
            break;
        }
        let number = objects.len();
        objects.push(object(rng, setting, number, some, &times));
    }
    decoys(rng, setting, &times, &mut objects);
    objects
}

/// The pulls of one token: snapshots that grow, repeat, or say something else than before.
fn pulls(rng: &mut Rng, setting: &Setting, midnight: i64, token: u64, records: &mut Vec<Value>) {
    let created = midnight - 90_000_000 + rng.below(180_000_000) as i64;
    let mut attempts: Vec<Value> = Vec::new();
    for n in 0..rng.below(5) {
        attempts.push(attempt(rng, midnight, token, n));
    }
    let extra = match rng.below(4) {
        0 => Value::Null,
        1 => json!(format!("{PERSONAL} \"LivenessDetail\":[{{ {token}")),
        _ => json!(rng.pick(&EXTRAS)),
    };
    let intention = rng.often(10);
    let rule = rng.pick(&RULES);
    let channel = rng.pick(&CHANNELS);
    let mut seen = 0;
    for pull in 0..1 + rng.below(3) {
        if pull > 0 {
            for attempt in attempts.iter_mut() {
                change(rng, attempt);
            }
        }
        seen = (seen + rng.below(attempts.len() as u64 + 1) as usize).min(attempts.len());
        let mut details: Vec<Value> = attempts[..seen].to_vec();
        if rng.often(5)
            && let Some(last) = details.last().cloned()
        {
            details.push(last);
        }
        for detail in details.iter_mut() {
            if rng.often(6) {
                spoil(rng, detail);
            }
        }
        let response = response(rng, details, &extra, intention, token, pull);
        let fetched = created + rng.below(4) as i64 * 3_600_000 + rng.below(2) as i64;
        records.push(match setting.envelope && rng.often(75) {
            true => wrap(rng, response, token, rule, channel, fetched, created),
            false => response,
        });
    }
}

pub fn attempt(rng: &mut Rng, midnight: i64, token: u64, n: u64) -> Value {
    let req_time = match rng.below(4) {
        0 => midnight + rng.pick(&[-1, 0, 1, -1000, 1000, 86_399_999, 86_400_000, -86_400_000]),
        1 => midnight + 86_400_000 * (rng.below(3) as i64 - 1),
        _ => midnight - 86_400_000 + rng.below(172_800_000) as i64,
    };
    let req_time = if rng.often(30) { json!(req_time) } else { json!(req_time.to_string()) };
    let errcode = rng.pick(&[0, 0, 0, 1004, 2016, -1, 66_660_004]);
    let library = rng.pick(&[
        json!("权威库"),
        json!("权威库"),
        json!("商业库"),
        json!("公安商业库"),
        json!("业务方自有库"),
        json!("业务方自有库"),
        json!("二次验证库"),
        json!("自建库"),
        json!("xx"),
        json!(""),
        Value::Null,
    ]);
    let mut detail = json!({
        "ReqTime": req_time,
        "Seq": format!("{token:08x}-{n:04x}-4000-8000-000000000000"),
        "Idcard": format!("{PERSONAL}-id"),
        "Name": format!("{PERSONAL}-name"),
        "Sim": rng.pick(&[json!("95.51"), json!("100.00"), json!("0.00"), json!("7.5"), json!("80"), json!(""), json!(99.25), Value::Null]),
        "IsNeedCharge": rng.pick(&[json!(true), json!(true), json!(false), Value::Null]),
        "Errcode": if rng.often(30) { json!(errcode.to_string()) } else { json!(errcode) },
        "Errmsg": rng.pick(&["成功", "比对相似度未达到通过标准", "tab\t、换行\n、引号\"", "😀", ""]),
        "Livestatus": rng.pick(&[json!(0), json!("0"), json!(1004), Value::Null]),
        "Livemsg": "成功",
        "Comparestatus": 0,
        "Comparemsg": rng.pick(&[json!("成功"), Value::Null]),
        "CompareLibType": library,
        "LivenessMode": rng.pick(&[json!(1), json!("4"), json!(127)]),
    });
    let members = detail.as_object_mut().expect("an object");
    for optional in [
        "IsNeedCharge",
        "Errcode",
        "Errmsg",
        "Sim",
        "LivenessMode",
        "CompareLibType",
        "Name",
        "Idcard",
    ] {
        if rng.often(7) {
            members.remove(optional);
        }
    }
    if rng.often(4) {
        members.insert(
            "SampleNewMember".into(),
            json!({"deep": [format!("{PERSONAL} x"), 1.5e3, null]}),
        );
    }
    detail
}

/// A later snapshot of an attempt: most say the same.
pub fn change(rng: &mut Rng, detail: &mut Value) {
    match rng.below(12) {
        0 => detail["IsNeedCharge"] = json!(true),
        1 => detail["IsNeedCharge"] = json!(false),
        2 => detail["Errcode"] = json!(2016),
        3 => {
            let before = match &detail["ReqTime"] {
                Value::String(ms) => ms.parse().unwrap_or(0),
                ms => ms.as_i64().unwrap_or(0),
            };
            detail["ReqTime"] =
                json!((before + rng.pick(&[1, 86_400_000, -86_400_000])).to_string());
        }
        // None of the three facts that count.
        4 => detail["Errmsg"] = json!("另一种说法"),
        5 => detail["Sim"] = json!("70.00"),
        _ => {}
    }
}

/// Makes an attempt unusable, in one way.
pub fn spoil(rng: &mut Rng, detail: &mut Value) {
    let personal = json!(format!("{PERSONAL}-bad"));
    let (member, value) = rng.pick(&[
        ("Seq", json!("")),
        ("Seq", Value::Null),
        ("ReqTime", Value::Null),
        ("ReqTime", personal.clone()),
        ("ReqTime", json!("1730444265")),
        ("ReqTime", json!(0)),
        ("ReqTime", json!("253370736000000")),
        ("IsNeedCharge", json!("true")),
        ("IsNeedCharge", json!(1)),
        ("IsNeedCharge", personal.clone()),
        ("Errcode", personal.clone()),
        ("Livestatus", json!("1.5")),
        ("Sim", personal.clone()),
        ("Sim", json!("1.234")),
        ("Errmsg", json!(5)),
        ("", Value::Null),
    ]);
    if member.is_empty() {
        *detail = personal;
    } else {
        detail[member] = value;
    }
}

/// A result of some attempts, in one of the shapes that results come in.
fn response(
    rng: &mut Rng,
    details: Vec<Value>,
    extra: &Value,
    intention: bool,
    token: u64,
    pull: u64,
) -> Value {
    let request_id = format!("req-{token}-{pull}");
    match rng.below(60) {
        0 => {
            return json!({"Response": {"Error": {"Code": "InvalidParameter", "Message": PERSONAL}, "RequestId": request_id}});
        }
        1 => {
            return json!({"Response": {"EncryptedBody": format!("{PERSONAL}=="), "Text": null, "RequestId": request_id}});
        }
        2 => return json!({"Response": {"Text": null, "RequestId": request_id}}),
        3 => return json!({"SomethingElse": PERSONAL}),
        4 => return json!({"Response": {"Text": {"LivenessDetail": {}}, "RequestId": request_id}}),
        5 => return json!({"Response": {"Text": PERSONAL}}),
        6 => return json!({"Response": {"Text": {"ErrCode": PERSONAL, "LivenessDetail": details}}}),
        7..=10 => return json!({"LivenessDetail": details}),
        _ => {}
    }
    let liveness = if details.is_empty() && rng.often(50) { Value::Null } else { json!(details) };
    let mut body = json!({
        "Text": {
            "ErrCode": rng.pick(&[json!(0), json!("0"), json!(1004), json!(2016), Value::Null]),
            "ErrMsg": "成功", "IdCard": PERSONAL, "Name": PERSONAL, "OcrAddress": PERSONAL, "OcrName": PERSONAL,
            "Location": PERSONAL, "Mobile": PERSONAL, "Extra": extra, "LivenessDetail": liveness,
            "CompareLibType": "业务方自有库", "LivenessInfoTag": [], "NFCBillingCounts": null
        },
        "BestFrame": {"BestFrame": rng.pick(&["", PERSONAL, "AAAA"]).repeat(rng.below(300) as usize)},
        "VideoData": null,
        "EncryptedBody": "",
        "IsVerifyIntention": intention,
        "RequestId": request_id
    });
    if rng.often(5) {
        body["Text"]["NewMember"] = json!({"of": [PERSONAL]});
    }
    if rng.often(75) { json!({"Response": body}) } else { body }
}

fn wrap(
    rng: &mut Rng,
    response: Value,
    token: u64,
    rule: &str,
    channel: &str,
    fetched: i64,
    created: i64,
) -> Value {
    let instant = |rng: &mut Rng, ms: i64| match rng.below(4) {
        0 => json!(ms),
        1 => json!(ms.to_string()),
        2 => {
            let zone = chrono::FixedOffset::east_opt(rng.pick(&[0, 8 * 3600, -5 * 3600]))
                .expect("an offset");
            let time = chrono::DateTime::from_timestamp_millis(ms)
                .expect("an instant")
                .with_timezone(&zone);
            json!(time.to_rfc3339())
        }
        _ => Value::Null,
    };
    let mut outer = json!({
        "result": response,
        "biz_token": format!("TOKEN-{token}"),
        "rule_id": if rng.often(20) { rule.parse::<i64>().map_or(Value::Null, |n| json!(n)) } else { json!(rule) },
        "channel": channel,
        "fetched_at": instant(rng, fetched),
        "created_at": instant(rng, created),
        "operator": PERSONAL
    });
    let members = outer.as_object_mut().expect("an object");
    for optional in ["biz_token", "rule_id", "channel", "fetched_at", "created_at"] {
        if rng.often(10) {
            members.remove(optional);
        }
    }
    if rng.often(2) {
        outer["fetched_at"] = json!(format!("{PERSONAL} yesterday"));
    }
    outer
}

/// Packs records into one object, in one of the ways that there are.
fn object(
    rng: &mut Rng,
    setting: &Setting,
    number: usize,
    records: Vec<Value>,
    times: &[i64],
) -> Object {
    let mut records: Vec<Written> = records.into_iter().map(Written::Sound).collect();
    let shape = if records.len() == 1 { rng.below(5) } else { 1 + rng.below(4) };
    let (text, ending) = match shape {
        0 => (write(rng, &records[0], true), ".json"),
        1 | 2 => {
            if rng.often(25) {
                let broken = broken_line(rng);
                let at = rng.below(records.len() as u64 + 1) as usize;
                records.insert(at, Written::Broken(broken));
            }
            let mut text = String::new();
            for record in &records {
                text += &write(rng, record, false);
                text += rng.pick(&["\n", "\n", "\n", "\r\n", "\n\n"]);
            }
            if rng.often(20) {
                text.truncate(text.trim_end().len());
            }
            (text, rng.pick(&[".ndjson", ".jsonl"]))
        }
        3 => {
            let elements: Vec<String> =
                records.iter().map(|record| write(rng, record, true)).collect();
            (
                format!(" [{}\n]\n", elements.join(rng.pick(&[",", ",\n", " ,\r\n "]))),
                rng.pick(&[".json", ""]),
            )
        }
        _ => {
            let documents: Vec<String> =
                records.iter().map(|record| write(rng, record, true)).collect();
            // A first line that is one whole document is what NDJSON begins with: formats.rs has that case.
            let looks_like_lines =
                !documents[0].contains('\n') && documents.iter().any(|d| d.contains('\n'));
            let between =
                if looks_like_lines { &["", " "][..] } else { &["", "\n", "\r\n\r\n", " "] };
            (documents.join(rng.pick(between)), rng.pick(&[".json", ".txt"]))
        }
    };
    let (bytes, packed) = match rng.below(6) {
        0 => (gzip(rng, text.as_bytes()), ".gz"),
        1 => (zstd_frames(rng, text.as_bytes()), ".zst"),
        _ => (text.into_bytes(), ""),
    };
    let name = match setting.keyed {
        true => format!(
            "{}/dt=2024-11-0{}/TOKEN-{number}@{ending}{packed}",
            rng.pick(&CHANNELS),
            1 + rng.below(3)
        ),
        false => format!("{}/part {number}{ending}{packed}", rng.pick(&["a", "b", "深/层"])),
    };
    Object::new(&name, bytes, rng.pick(times))
}

/// A line that no JSON reader takes.
pub fn broken_line(rng: &mut Rng) -> String {
    let whole = json!({"Response": {"Text": {"IdCard": PERSONAL, "LivenessDetail": [
        {"Seq": "broken", "ReqTime": "1730444265275", "IsNeedCharge": true, "Name": PERSONAL}]}}});
    let whole = whole.to_string();
    match rng.below(6) {
        0 => whole.chars().take(whole.chars().count() - 1 - rng.below(20) as usize).collect(),
        1 => whole.replace("}]", "},]"),
        2 => whole.replace("true", "True"),
        3 => whole.replace("\"Seq\":", "\"Seq\" "),
        4 => format!("{PERSONAL} {whole}"),
        _ => whole.replace("broken", "bro\\ken"),
    }
}

/// Objects that are no data, and objects without a record.
fn decoys(rng: &mut Rng, setting: &Setting, times: &[i64], objects: &mut Vec<Object>) {
    let result = json!({"LivenessDetail": [{"Seq": "decoy", "ReqTime": "1730476800000", "IsNeedCharge": true}]});
    let bytes = result.to_string();
    let mut put = |rng: &mut Rng, key: &str, bytes: &str| {
        objects.push(Object::new(key, bytes, rng.pick(times)))
    };
    if rng.often(50) {
        put(rng, "_tmp/dt=2024-11-01/x@.json", &bytes);
        put(rng, "a/dt=2024-11-01/.x@.json", &bytes);
        put(rng, "a/_dt=2024-11-01/x@.json", &bytes);
    }
    if setting.keyed && rng.often(50) {
        put(rng, "readme@.json", &bytes);
        put(rng, "wx_mini/dt=2024-11-01/deeper/x@.json", &bytes);
        put(rng, "wx_mini/dt=2024-11-01/x.json", &bytes);
    }
    if rng.often(30) {
        let empty = rng.pick(&["", "\n \r\n", "[]", "[ ]\n"]);
        put(rng, "app/dt=2024-11-02/EMPTY@.json", empty);
    }
}

pub fn gzip(rng: &mut Rng, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for member in split(rng, bytes) {
        let mut encoder = flate2::write::GzEncoder::new(&mut out, flate2::Compression::fast());
        encoder.write_all(member).and_then(|()| encoder.finish().map(drop)).expect("a gzip member");
    }
    out
}

pub fn zstd_frames(rng: &mut Rng, bytes: &[u8]) -> Vec<u8> {
    split(rng, bytes)
        .iter()
        .flat_map(|frame| zstd::encode_all(*frame, 1).expect("a zstd frame"))
        .collect()
}

/// Whole, or in two at any byte.
fn split<'b>(rng: &mut Rng, bytes: &'b [u8]) -> Vec<&'b [u8]> {
    match rng.often(50) {
        true => {
            let (a, b) = bytes.split_at(rng.below(bytes.len() as u64 + 1) as usize);
            vec![a, b]
        }
        false => vec![bytes],
    }
}

/// A record as text. Member order, white space and escapes are any that JSON allows; line breaks only where
/// the framing does.
fn write(rng: &mut Rng, record: &Written, breaks: bool) -> String {
    let mut text = String::new();
    // Some records are compact and their neighbours are not.
    let blanks = rng.pick(&[&[][..], &[" ", "\t"], &["\n", "\r\n\t", "  "]]);
    let blanks = if breaks || !blanks.contains(&"\n") { blanks } else { &[] };
    match record {
        Written::Broken(line) => text += line,
        Written::Sound(value) => write_value(rng, value, blanks, &mut text),
    }
    text
}

fn write_value(rng: &mut Rng, value: &Value, blanks: &[&str], text: &mut String) {
    let blank = |rng: &mut Rng, text: &mut String| {
        if !blanks.is_empty() && rng.often(20) {
            *text += rng.pick(blanks);
        }
    };
    match value {
        Value::Object(members) => {
            let mut members: Vec<(&String, &Value)> = members.iter().collect();
            rng.shuffle(&mut members);
            *text += "{";
            for (i, (name, value)) in members.into_iter().enumerate() {
                *text += if i > 0 { "," } else { "" };
                blank(rng, text);
                write_string(rng, name, text);
                blank(rng, text);
                *text += ":";
                blank(rng, text);
                write_value(rng, value, blanks, text);
                blank(rng, text);
            }
            *text += "}";
        }
        Value::Array(elements) => {
            *text += "[";
            for (i, value) in elements.iter().enumerate() {
                *text += if i > 0 { "," } else { "" };
                blank(rng, text);
                write_value(rng, value, blanks, text);
                blank(rng, text);
            }
            *text += "]";
        }
        Value::String(string) => write_string(rng, string, text),
        other => *text += &other.to_string(),
    }
}

fn write_string(rng: &mut Rng, string: &str, text: &mut String) {
    let escapes = rng.often(5);
    *text += "\"";
    for c in string.chars() {
        if escapes && rng.often(30) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                *text += &format!("\\u{unit:04x}");
            }
        } else if matches!(c, '"' | '\\') || c < ' ' {
            let quoted = Value::from(c.to_string()).to_string();
            *text += &quoted[1..quoted.len() - 1];
        } else {
            text.push(c);
        }
    }
    *text += "\"";
}
