//! `reconcile --as-of TIME` says what it said at that time, whatever was pulled since and in whatever order it was
//! loaded.

use crate::random::Rng;
use crate::world::{Object, PLAIN_PIPELINE, SOME_TIME, World, attempt, result};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fmt::Write;

/// What is set below `[source]`, with one route and a tolerance.
fn pipeline(source: &str) -> String {
    let more = format!(
        "{source}\n[[route]]\nmatch = {{}}\nproduct = \"enhanced\"\nchannel = \"app_sdk\"\n[output]"
    );
    PLAIN_PIPELINE.replace("[output]", &more) + "[reconcile]\ntolerance_calls = 1000000\n"
}

const HOUR_MS: i64 = 3_600_000;
/// 2024-12-02T00:00:00+08:00.
const BEGIN_MS: i64 = 1_733_068_800_000;
const DAYS: u64 = 6;

/// A pull of a token's result: when, of which token, and the object.
struct Pulled {
    at: i64,
    token: u64,
    object: Object,
}

/// Tokens with up to three attempts, each pulled up to four times within two days, later pulls with more attempts,
/// codes and flags that came later or were put right.
fn pulls(rng: &mut Rng) -> Vec<Pulled> {
    let mut pulls = Vec::new();
    for token in 0..25 {
        let made = BEGIN_MS + rng.below(DAYS * 24) as i64 * HOUR_MS;
        let mut attempts: Vec<Value> = Vec::new();
        let mut at = made;
        for pull in 0..1 + rng.below(4) {
            at += (1 + rng.below(11) as i64) * HOUR_MS;
            for old in &mut attempts {
                if rng.often(30) {
                    // What was not known, or was said wrongly; what was taken back may be said again.
                    old["IsNeedCharge"] = rng.pick(&[json!(null), json!(true), json!(false)]);
                    old["Errcode"] = rng.pick(&[json!(0), json!(1004)]);
                }
            }
            for n in 0..rng.below(3) {
                let seq = format!("t{token}-p{pull}-{n}");
                let flag = rng.pick(&[None, Some(true), Some(true), Some(false)]);
                attempts.push(attempt(&seq, at - HOUR_MS / 2 + n as i64, flag));
            }
            let text = json!({ "ErrCode": rng.below(2), "LivenessDetail": attempts });
            let record =
                json!({ "at": at, "made": made, "result": { "Response": { "Text": text } } });
            let key = format!("t{token}-{pull}.json");
            let object = Object::new(&key, record.to_string(), SOME_TIME);
            pulls.push(Pulled { at, token, object });
        }
    }
    pulls
}

fn bill(rng: &mut Rng) -> String {
    let mut bill =
        "支付者 UIN,产品名称,子产品名称,交易类型,扣费时间,开始使用时间,结束使用时间,组件类型,\
                    组件原始用量,抵扣用量,组件用量,优惠后总价\n"
            .to_owned();
    for day in 2..2 + DAYS + 2 {
        let calls = rng.below(12);
        writeln!(
            bill,
            "100012345678,人脸核身·云智慧眼,增强版人脸核身（权威库）-App,按量计费日结,2024-12-{:02} 10:00:00,\
             2024-12-{day:02} 00:00:00,2024-12-{day:02} 23:59:59,x,{calls},0,{calls},{calls}",
            day + 1
        )
        .expect("a text");
    }
    bill
}

/// What is said of a time; warnings aside, which name what came later.
fn said(world: &World, bill: &str, as_of: &str) -> Value {
    std::fs::write(world.path("bill.csv"), bill).expect("a bill");
    let words = ["reconcile", "pipeline.toml", "--bill", "bill.csv", "--month", "2024-12"];
    let more = ["--as-of", as_of, "--dry-run", "--json"];
    let found = world.faceledger(&[&words[..], &more].concat()).exits(0).json();
    json!({ "rows": found["rows"], "totals": found["totals"], "audit": found["audit"] })
}

#[test]
fn what_was_known_at_a_time_stays_known_as_it_was() {
    let pipeline = pipeline(
        "[source.envelope]\nresponse = \"/result\"\nfetched_at = \"/at\"\ncreated_at = \"/made\"",
    );
    let (mut otherwise_then, mut differ) = (0, 0);
    for seed in 1..9 {
        let mut rng = Rng::of_seed(seed);
        let pulls = pulls(&mut rng);
        let bill = bill(&mut rng);
        // All of it: in one run, and pull by pull in an order of chance.
        let all = World::new(&pipeline);
        all.put_all(pulls.iter().map(|pull| &pull.object));
        all.run(&[]);
        let by_parts = World::new(&pipeline);
        let mut left: Vec<&Object> = pulls.iter().map(|pull| &pull.object).collect();
        while !left.is_empty() {
            for _ in 0..(1 + rng.below(30)).min(left.len() as u64) {
                let taken = left.swap_remove(rng.below(left.len() as u64) as usize);
                by_parts.put(taken);
            }
            by_parts.run(&[]);
        }
        assert_eq!(all.table("liveness_detail").rows(), by_parts.table("liveness_detail").rows());
        // One object a token, written over by each pull, and loaded before that.
        let over = World::new(&pipeline);
        let mut by_time: Vec<&Pulled> = pulls.iter().collect();
        by_time.sort_by_key(|pull| pull.at);
        let mut unread = BTreeSet::new();
        for (n, pull) in (0..).zip(by_time) {
            if !unread.insert(pull.token) {
                over.run(&[]);
                unread = BTreeSet::from([pull.token]);
            }
            let key = format!("t{}.json", pull.token);
            over.put(&Object::new(&key, pull.object.bytes.clone(), SOME_TIME + n));
        }
        over.run(&[]);
        let rows = all.table("liveness_detail").rows();
        otherwise_then += rows.iter().filter(|row| !row["earlier_pulls"].is_null()).count();
        let now = said(&all, &bill, "2025-01-20T00:00:00+08:00");
        for _ in 0..3 {
            let time = BEGIN_MS + (36 + rng.below(DAYS * 24)) as i64 * HOUR_MS;
            let as_of = chrono::DateTime::from_timestamp_millis(time).expect("a time").to_rfc3339();
            // What there was at that time.
            let then = World::new(&pipeline);
            then.put_all(pulls.iter().filter(|pull| pull.at <= time).map(|pull| &pull.object));
            then.run(&[]);
            let due = said(&then, &bill, &as_of);
            assert_eq!(said(&all, &bill, &as_of), due, "seed {seed} as of {as_of}");
            assert_eq!(said(&by_parts, &bill, &as_of), due, "seed {seed} as of {as_of}");
            assert_eq!(said(&over, &bill, &as_of), due, "seed {seed} as of {as_of}, written over");
            differ += usize::from(due != now);
        }
    }
    assert!(otherwise_then > 100 && differ > 15, "{otherwise_then} {differ}");
}

/// Attempts that came more than once have Seqs though no envelope tells of pulls and the keys have the date of another day.
#[test]
fn repeated_attempts_are_found_again_in_the_source() {
    let pipeline = pipeline("keys = \"dt={date}.ndjson\"");
    let world = World::new(&pipeline);
    let noon = BEGIN_MS + 12 * HOUR_MS;
    let line = |seqs: &[&str]| {
        let attempts = (0..).zip(seqs).map(|(n, seq)| attempt(seq, noon + n, Some(true)));
        result(attempts.collect()).to_string()
    };
    // The first pull, and one of the next day that holds one more; a third day repeats nothing.
    let put = |day: &str, lines: &[String]| {
        world.put(&Object::new(&format!("dt={day}.ndjson"), lines.join("\n") + "\n", SOME_TIME));
    };
    put("2024-12-02", &[line(&["a"]), line(&["b"])]);
    put("2024-12-03", &[line(&["a", "c"])]);
    world.run(&[]);
    // Three of ours; whoever counts lines counts four.
    let header = "支付者 UIN,产品名称,子产品名称,交易类型,扣费时间,开始使用时间,结束使用时间,组件类型,组件原始用量,抵扣用量,组件用量,优惠后总价";
    let bill = format!(
        "{header}\n100012345678,人脸核身·云智慧眼,增强版人脸核身（权威库）-App,按量计费日结,2024-12-03 10:00:00,2024-12-02 00:00:00,\
         2024-12-02 23:59:59,x,4,0,4,4\n"
    );
    std::fs::write(world.path("bill.csv"), bill).expect("a bill");
    let words = ["reconcile", "pipeline.toml", "--bill", "bill.csv", "--dry-run", "--json"];
    let parts = |found: &Value| found["rows"][0]["parts"].clone();
    let found = world.faceledger(&words).exits(0).json();
    let expected = json!([{
        "kind": "duplicate", "count": 1, "seqs": ["a"], "seqs_total": 1, "source_keys": [],
    }]);
    assert_eq!(parts(&found), expected, "{found:#}");
    // Without the source their number is known, and told to be all.
    std::fs::remove_dir_all(world.path("source")).expect("the source");
    std::fs::create_dir(world.path("source")).expect("source/");
    let found = world.faceledger(&words).exits(0).json();
    let part = &parts(&found)[0];
    assert_eq!(
        (&part["kind"], &part["count"], &part["seqs"]),
        (&json!("unexplained"), &json!(1), &json!([]))
    );
    let told = found["bill"]["warnings"].as_array().expect("warnings").iter();
    let told = told.filter_map(Value::as_str).find(|told| told.contains("without their Seqs"));
    assert!(told.is_some_and(|told| told.contains("could not be read again")), "{found:#}");
}
