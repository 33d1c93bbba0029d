//! Nothing personal leaves: not in a table, a log, a message, a report. Digests only when asked for, only keyed.

use crate::world::{Object, PLAIN_PIPELINE, SOME_TIME, World, walk};
use std::fs;

const TIME: i64 = 1_730_444_265_275;

/// Every value a person could be known by is one of these words.
fn canaries() -> Vec<String> {
    (0..40).map(|i| format!("CANARY{i:02}")).collect()
}

fn personal_result(seq: &str, flag: &str) -> String {
    let c = canaries();
    let mut c = c.iter();
    let mut next = || c.next().unwrap();
    format!(
        r#"{{"Response":{{"Text":{{"ErrCode":0,"ErrMsg":"{}","IdCard":"{}","Name":"{}","OcrNation":"{}","OcrAddress":"{}",
"OcrBirth":"{}","OcrAuthority":"{}","OcrValidDate":"{}","OcrName":"{}","OcrIdCard":"{}","OcrGender":"{}","Location":"{}",
"Extra":"{}","Mobile":"{}","PassNo":"{}","VisaNum":"{}","Unknown":{{"{} 张":"{}"}},"Sim":"{}",
"LivenessDetail":[{{"ReqTime":"{TIME}","Seq":"{seq}","Idcard":"{}","Name":"{}","IsNeedCharge":{flag},"Errcode":0,
"CompareLibType":"权威库","SomethingNew":"{}"}}]}},
"IdCardData":{{"OcrFront":"{}","Avatar":"{}"}},"BestFrame":{{"BestFrame":"{}"}},"VideoData":{{"LivenessVideo":"{}"}},
"IntentionVerifyData":{{"AsrResult":"{}"}},"EncryptedBody":"{}","RequestId":"r"}}}}"#,
        next(), next(), next(), next(), next(), next(), next(), next(), next(), next(), next(), next(), next(),
        next(), next(), next(), next(), next(), next(), next(), next(), next(), next(), next(), next(), next(),
        next(), next()
    )
    .replace('\n', "")
}

fn world(pipeline: &str) -> World {
    let world = World::new(pipeline);
    let good = personal_result("s-1", "true");
    let cut = &good[..good.len() - 40];
    let wrong_flag = personal_result("s-2", "\"CANARY39\"");
    let wrong_code =
        personal_result("s-3", "true").replace("\"Errcode\":0", "\"Errcode\":\"CANARY38\"");
    let wrong_time = personal_result("s-4", "true").replace(&TIME.to_string(), "CANARY37");
    let broken = personal_result("s-5", "true").replace("\"Name\":\"", "\"Name\":\"\u{1}");
    let comment = good.replace("{\"Response\"", "{/*CANARY36*/\"Response\"").replace("s-1", "s-6");
    let text = [&good, cut, &wrong_flag, &wrong_code, &wrong_time, &broken, &comment]
        .map(|s| s.to_owned())
        .join("\n");
    world.put(&Object::new("a.ndjson", text, SOME_TIME));
    world.put(&Object::new("b.json", "CANARY35", SOME_TIME));
    world
}

fn assert_no_canary(what: &str, bytes: &[u8]) {
    let found = bytes.windows(6).any(|w| w == b"CANARY");
    assert!(!found, "{what} holds personal data");
}

#[test]
fn nothing_personal_is_written_or_said() {
    let world = world(PLAIN_PIPELINE);
    let ran = world.faceledger(&["run", "pipeline.toml"]).exits(0);
    assert_no_canary("what run says", ran.said().as_bytes());
    assert!(ran.stderr.contains("extra: present"), "{}", ran.stderr);
    for args in [
        &["rejects", "pipeline.toml"][..],
        &["rejects", "pipeline.toml", "--json"],
        &["explain", "pipeline.toml", "s-1"],
        &["verify", "pipeline.toml"],
        &["run", "pipeline.toml", "--full-refresh", "--json"],
    ] {
        assert_no_canary(&args.join(" "), world.faceledger(args).exits(0).said().as_bytes());
    }
    let mut files = 0;
    walk(&world.path("out"), &mut |path| {
        assert_no_canary(&path.display().to_string(), &fs::read(path).unwrap());
        files += 1;
    });
    assert!(files >= 8, "tables, logs and reports were looked at: {files}");
    // Pages are compressed: the values themselves, too.
    for table in ["liveness_detail", "rejects", "inputs", "daily_charge"] {
        let rows = world.table(table).rows();
        assert!(!rows.is_empty(), "{table}");
        assert_no_canary(table, serde_json::to_string(&rows).unwrap().as_bytes());
    }
    assert_eq!(world.table("rejects").rows().len(), 7);
}

#[test]
fn digests_are_keyed_and_only_on_request() {
    let pipeline = format!(
        "{PLAIN_PIPELINE}\n[privacy]\nidcard = \"hmac\"\nname = \"hmac\"\nkey = \"${{FACELEDGER_TEST_KEY}}\"\n"
    );
    let world = World::new(&pipeline);
    let text = r#"{"LivenessDetail":[{"ReqTime":"1730444265275","Seq":"a","Idcard":"110101190001010000","Name":"张三"},
        {"ReqTime":"1730444265275","Seq":"b","Idcard":"","Name":null}]}"#;
    world.put(&Object::new("a.json", text, SOME_TIME));
    let env = [("FACELEDGER_TEST_KEY", "0123456789abcdef-test-key")];
    world.faceledger_with(&["run", "pipeline.toml"], &env).exits(0);
    let rows = world.table("liveness_detail").rows();
    // Worked out with another tool: python3 -c "import hmac; print(hmac.new(b'0123456789abcdef-test-key',
    // '110101190001010000'.encode(), 'sha256').hexdigest())", and the same of 张三.
    assert_eq!(rows[0]["idcard_hmac"], IDCARD_HMAC);
    assert_eq!(rows[0]["name_hmac"], NAME_HMAC);
    assert!(rows[1]["idcard_hmac"].is_null() && rows[1]["name_hmac"].is_null());
    let missing = world.faceledger(&["run", "pipeline.toml"]).exits(2);
    assert!(missing.stderr.contains("FACELEDGER_TEST_KEY"), "{}", missing.stderr);
}

const IDCARD_HMAC: &str = "b7df8b2196bfc7e653c61b5553ba8498a8df8f1bc67e582cc645ce01a203ad5c";
const NAME_HMAC: &str = "6b92aa1d5c34e2bd4fc9aa84192d305cd5ba441a6abad77f2730098132a7d939";
