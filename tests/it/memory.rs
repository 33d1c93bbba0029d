//! Source and output in an object store of memory: nothing in the job needs a file system.

use bytes::Bytes;
use faceledger::pipeline;
use faceledger::run::{self, Asked, Outcome};
use faceledger::storage::Place;
use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;

#[test]
fn the_whole_job_in_memory() {
    let text = r#"
name = "memory"
[account]
uin = "1"
opened_at = "2023-05-01T00:00:00+08:00"
[source]
url = "memory://whole-job/results/"
keys = "{channel}/dt={date}/*"
[[route]]
match = { channel = "小程序 a+b=c%41" }
product = "enhanced"
channel = "wechat_mini_program"
[output]
url = "memory://whole-job/tables/"
"#;
    let pipeline =
        pipeline::parse("memory.toml", text, &[], &|_| None).unwrap_or_else(|m| panic!("{m:?}"));
    let source = Place::open("memory://whole-job/results/", &BTreeMap::new()).unwrap();
    let line = |seq: &str, time: i64| {
        format!(
            r#"{{"LivenessDetail":[{{"ReqTime":"{time}","Seq":"{seq}","CompareLibType":"权威库","IsNeedCharge":true}}]}}"#
        )
    };
    // 2024-11-01 and, one millisecond after its last, 2024-11-02.
    let (last, first) = (1_730_476_799_999, 1_730_476_800_000);
    let key = "小程序 a+b=c%41/dt=2024-11-01/一.ndjson";
    source.put(key, Bytes::from(format!("{}\n{}\n", line("a", last), line("b", first)))).unwrap();
    source.put("other/readme.txt", Bytes::from_static(b"not data")).unwrap();

    let stop = AtomicBool::new(false);
    let report = run::run(&pipeline, &Asked::default(), &stop).unwrap();
    assert_eq!(report.outcome, Outcome::Committed);
    let lines: Vec<(String, String, i64)> = report
        .daily_charge
        .iter()
        .map(|l| (l.usage_date.clone(), l.billing_tag.clone(), l.charged))
        .collect();
    let tag = "增强版人脸核身（权威库）-微信".to_owned();
    assert_eq!(lines, [("2024-11-01".into(), tag.clone(), 1), ("2024-11-02".into(), tag, 1)]);

    let again = run::run(&pipeline, &Asked::default(), &stop).unwrap();
    assert_eq!((again.outcome, again.tally.objects_known), (Outcome::NothingNew, 1));
    let output = Place::open(&pipeline.output.url, &BTreeMap::new()).unwrap();
    let found = run::verify(&output).unwrap();
    assert!(found.broken.is_empty(), "{:?}", found.broken);
    assert_eq!((found.attempts, found.charged), (2, 2));

    // A stop asked for before anything was done leaves the tables as they were.
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    source.put(key, Bytes::from(format!("{}\n", line("c", first)))).unwrap();
    assert!(run::run(&pipeline, &Asked::default(), &stop).is_err());
    assert_eq!(run::verify(&output).unwrap().attempts, 2);
}
