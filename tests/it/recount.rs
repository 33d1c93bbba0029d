//! A slow plain recount of a folder of results: what the tables must hold, by simple code over
//! `serde_json::Value` that shares nothing with the program.
//!
//! Takes the bytes of all objects and a setting; gives rows, daily charges, rejects and counters. It knows no
//! threads, no runs and no order: every snapshot of a Seq is gathered, and the greatest counts.

use crate::world::{Object, Row, date};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Read;

/// A `[[route]]`.
#[derive(Clone, Debug)]
pub struct Route {
    /// Field and values.
    pub conditions: Vec<(&'static str, Vec<&'static str>)>,
    pub product: &'static str,
    pub channel: Option<&'static str>,
    pub compare_source: Option<&'static str>,
}

/// What the recount and the program are both told.
#[derive(Clone, Debug)]
pub struct Setting {
    /// Settled monthly: the account was opened before 2023-01-04.
    pub monthly: bool,
    /// Records may stand in an outer object: result, biz_token, rule_id, channel, fetched_at, created_at.
    pub envelope: bool,
    /// Keys are `{channel}/dt={date}/{biz_token}@*`; otherwise every key is read and nothing captured.
    pub keyed: bool,
    pub routes: Vec<Route>,
    /// The pipeline's own `[compare_lib_types]`.
    pub libs: Vec<(&'static str, &'static str)>,
}

const UIN: &str = "100012345678";

impl Setting {
    /// As a pipeline file.
    pub fn pipeline(&self) -> String {
        let quoted = |s: &str| serde_json::to_string(s).expect("a string");
        let mut text = format!(
            "name = \"random\"\n[account]\nuin = \"{UIN}\"\nopened_at = \"{}\"\n[source]\nurl = \"source/\"\n",
            if self.monthly { "2021-07-01T00:00:00+08:00" } else { "2023-05-01T00:00:00+08:00" }
        );
        if self.keyed {
            text += "keys = \"{channel}/dt={date}/{biz_token}@*\"\n";
        }
        if self.envelope {
            text += "[source.envelope]\nresponse = \"/result\"\n";
            for field in ["biz_token", "rule_id", "channel", "fetched_at", "created_at"] {
                text += &format!("{field} = \"/{field}\"\n");
            }
        }
        for route in &self.routes {
            let conditions: Vec<String> = route
                .conditions
                .iter()
                .map(|(field, values)| {
                    let values: Vec<String> = values.iter().map(|v| quoted(v)).collect();
                    match values.as_slice() {
                        [one] => format!("{field} = {one}"),
                        more => format!("{field} = [{}]", more.join(", ")),
                    }
                })
                .collect();
            text += &format!(
                "[[route]]\nmatch = {{ {} }}\nproduct = \"{}\"\n",
                conditions.join(", "),
                route.product
            );
            if let Some(channel) = route.channel {
                text += &format!("channel = \"{channel}\"\n");
            }
            if let Some(source) = route.compare_source {
                text += &format!("compare_source = \"{source}\"\n");
            }
        }
        if !self.libs.is_empty() {
            text += "[compare_lib_types]\n";
            for (lib, source) in &self.libs {
                text += &format!("{} = \"{source}\"\n", quoted(lib));
            }
        }
        text + "[output]\nurl = \"out/\"\n[limits]\nrejects_ratio_max = 1.0\n"
    }
}

/// What the tables must hold.
#[derive(Debug, Default)]
pub struct Recount {
    /// `liveness_detail`, by usage_date, req_time, seq.
    pub rows: Vec<Row>,
    /// `daily_charge` without source_version, by usage_date, settlement_date, account, billing_tag.
    pub daily: Vec<Row>,
    /// (source_key, source_record, reason), sorted; reason `syntax` for what serde_json does not parse.
    pub rejects: Vec<(String, i64, String)>,
    /// The tally, but for the split of objects into parsed and rejected.
    pub counters: BTreeMap<&'static str, u64>,
}

/// One snapshot of one attempt.
struct Snapshot {
    rank: (i64, String, i64, i64),
    row: Row,
}

/// Counts the objects that are data.
pub fn recount(setting: &Setting, objects: &[Object]) -> Recount {
    let mut counted = Recount::default();
    let mut snapshots: BTreeMap<String, Vec<Snapshot>> = BTreeMap::new();
    for object in objects.iter().filter(|object| is_data(setting, &object.key)) {
        counted.add("objects_listed", 1);
        for (number, record) in records(object).into_iter().enumerate() {
            count_record(setting, object, number as i64, record, &mut counted, &mut snapshots);
        }
    }
    for mut of_seq in snapshots.into_values() {
        of_seq.sort_by(|a, b| a.rank.cmp(&b.rank));
        counted.add("details_new", 1);
        for pair in of_seq.windows(2) {
            let says =
                |s: &Snapshot| ["is_need_charge", "errcode", "req_time"].map(|c| s.row[c].clone());
            let same = says(&pair[0]) == says(&pair[1]);
            counted.add(if same { "details_duplicate" } else { "details_changed" }, 1);
        }
        let earlier = earlier_pulls(&of_seq);
        let mut row = of_seq.pop().expect("a snapshot").row;
        row.insert("earlier_pulls".into(), earlier);
        counted.rows.push(row);
    }
    counted.rows.sort_by_key(order);
    counted.daily = settle(&counted.rows);
    counted.rejects.sort();
    counted
}

/// What is told of a pull.
const PULL: [&str; 4] = ["fetched_at", "is_need_charge", "snapshot_final", "errcode"];

/// The pulls of a Seq whose time is known, each once, but for that of the last snapshot.
fn earlier_pulls(of_seq: &[Snapshot]) -> Value {
    let pull_of = |snapshot: &Snapshot| -> Row {
        PULL.iter().map(|name| ((*name).into(), snapshot.row[*name].clone())).collect()
    };
    let last = pull_of(of_seq.last().expect("a snapshot"));
    let mut pulls: Vec<Row> = Vec::new();
    for pull in of_seq.iter().map(pull_of) {
        if !pull["fetched_at"].is_null() && pull != last && !pulls.contains(&pull) {
            pulls.push(pull);
        }
    }
    let flag = |value: &Value| value.as_bool().map_or(0, |yes| 1 + i64::from(yes));
    pulls.sort_by_key(|p| {
        (
            p["fetched_at"].as_i64(),
            flag(&p["is_need_charge"]),
            flag(&p["snapshot_final"]),
            p["errcode"].as_i64(),
        )
    });
    match pulls.is_empty() {
        true => Value::Null,
        false => json!(pulls),
    }
}

/// The sort order of `liveness_detail`.
pub fn order(row: &Row) -> (String, i64, String) {
    let text = |c: &str| row[c].as_str().expect("a text").to_owned();
    (text("usage_date"), row["req_time"].as_i64().expect("an instant"), text("seq"))
}

impl Recount {
    fn add(&mut self, counter: &'static str, n: u64) {
        *self.counters.entry(counter).or_default() += n;
    }

    pub fn counter(&self, counter: &str) -> u64 {
        self.counters.get(counter).copied().unwrap_or(0)
    }
}

/// Whether an object is read at all.
pub fn is_data(setting: &Setting, key: &str) -> bool {
    let segments: Vec<&str> = key.split('/').collect();
    if segments.iter().any(|s| s.starts_with('.') || s.starts_with('_')) {
        return false;
    }
    !setting.keyed
        || matches!(segments.as_slice(), [channel, day, name]
            if !channel.is_empty() && day.len() > 3 && day.starts_with("dt=") && name.find('@').is_some_and(|at| at > 0))
}

/// The value of a capture of the keyed pattern.
fn capture<'k>(setting: &Setting, key: &'k str, name: &str) -> Option<&'k str> {
    if !setting.keyed {
        return None;
    }
    let mut segments = key.split('/');
    match name {
        "channel" => segments.next(),
        "biz_token" => segments.nth(2)?.split('@').next(),
        _ => None,
    }
}

/// The records of an object; None for one that does not parse.
fn records(object: &Object) -> Vec<Option<Value>> {
    let mut text = String::new();
    let name = match object.key.strip_suffix(".gz") {
        Some(name) => {
            let mut members = flate2::read::MultiGzDecoder::new(object.bytes.as_slice());
            members.read_to_string(&mut text).expect("a sound gzip");
            name
        }
        None => match object.key.strip_suffix(".zst") {
            Some(name) => {
                text = String::from_utf8(
                    zstd::decode_all(object.bytes.as_slice()).expect("a sound zstd"),
                )
                .expect("UTF-8");
                name
            }
            None => {
                text = String::from_utf8(object.bytes.clone()).expect("UTF-8");
                object.key.as_str()
            }
        },
    };
    if text.trim().is_empty() {
        // One reject: the object holds no record.
        return vec![None];
    }
    if name.ends_with(".ndjson") || name.ends_with(".jsonl") {
        let lines = text.split('\n').filter(|line| !line.trim().is_empty());
        return lines.map(|line| serde_json::from_str(line).ok()).collect();
    }
    let mut found = Vec::new();
    for document in serde_json::Deserializer::from_str(&text).into_iter::<Value>() {
        match document {
            Ok(Value::Array(elements)) => found.extend(elements.into_iter().map(Some)),
            Ok(other) => found.push(Some(other)),
            Err(_) => {
                found.push(None);
                break;
            }
        }
    }
    found
}

fn count_record(
    setting: &Setting,
    object: &Object,
    number: i64,
    record: Option<Value>,
    counted: &mut Recount,
    snapshots: &mut BTreeMap<String, Vec<Snapshot>>,
) {
    counted.add("records_seen", 1);
    let reject = |counted: &mut Recount, reason: &str| {
        counted.rejects.push((object.key.clone(), number, reason.to_owned()));
    };
    let result = match record {
        None => Err("syntax"),
        Some(record) => read_record(setting, object, &record),
    };
    let found = match result {
        Err(reason) => {
            counted.add("records_rejected", 1);
            return reject(counted, reason);
        }
        Ok(None) => return counted.add("records_error_response", 1),
        Ok(Some(found)) => found,
    };
    if found.details.is_empty() {
        return counted.add("records_empty", 1);
    }
    counted.add("records_with_attempts", 1);
    let attempts: Vec<Result<Row, &str>> = found.details.iter().map(|d| read_attempt(d)).collect();
    let earliest =
        attempts.iter().flatten().map(|a| a["req_time"].as_i64().expect("an instant")).min();
    let two_hours = 2 * 3_600_000;
    let snapshot_final = match (found.err_code, found.fetched_at, found.created_at, earliest) {
        (Some(0), ..) => Some(true),
        (_, Some(fetched), Some(created), _) => Some(fetched - created > two_hours),
        (_, Some(fetched), None, Some(earliest)) if fetched - earliest > two_hours => Some(true),
        _ => None,
    };
    for (index, attempt) in attempts.into_iter().enumerate() {
        counted.add("details_seen", 1);
        let mut row = match attempt {
            Ok(row) => row,
            Err(reason) => {
                counted.add("details_rejected", 1);
                reject(counted, reason);
                continue;
            }
        };
        classify(setting, &found, &mut row);
        let day = beijing_day(row["req_time"].as_i64().expect("an instant"));
        row.insert("usage_date".into(), json!(date(day)));
        row.insert("settlement_date".into(), json!(settlement_date(setting, day)));
        row.insert("account".into(), json!(UIN));
        row.insert("biz_token".into(), json!(found.biz_token));
        row.insert("rule_id".into(), json!(found.rule_id));
        row.insert("request_id".into(), json!(found.request_id));
        row.insert("idcard_hmac".into(), Value::Null);
        row.insert("name_hmac".into(), Value::Null);
        row.insert("detail_index".into(), json!(index));
        row.insert("detail_count".into(), json!(found.details.len()));
        row.insert("snapshot_final".into(), json!(snapshot_final));
        row.insert("fetched_at".into(), json!(found.fetched_at));
        row.insert("source_key".into(), json!(object.key));
        row.insert("source_record".into(), json!(number));
        let time = found.fetched_at.unwrap_or(object.modified);
        let rank = (time, object.key.clone(), number, index as i64);
        let seq = row["seq"].as_str().expect("a text").to_owned();
        snapshots.entry(seq).or_default().push(Snapshot { rank, row });
    }
}

/// What a record says besides its attempts.
struct Found {
    details: Vec<Value>,
    err_code: Option<i64>,
    extra: Option<String>,
    intention: bool,
    request_id: Option<String>,
    biz_token: Option<String>,
    rule_id: Option<String>,
    channel: Option<String>,
    fetched_at: Option<i64>,
    created_at: Option<i64>,
}

/// None is an error response; `Err` a record that is set aside.
fn read_record(
    setting: &Setting,
    object: &Object,
    record: &Value,
) -> Result<Option<Found>, &'static str> {
    let mut outer = &Value::Null;
    let mut result = record;
    if setting.envelope && record.get("result").is_some_and(Value::is_object) {
        outer = record;
        result = &record["result"];
    }
    // A field of the envelope, else the capture of its name.
    let field = |name: &str| match &outer[name] {
        Value::Null => capture(setting, &object.key, name).map(str::to_owned),
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    };
    let instant = |name: &str| match &outer[name] {
        Value::Null => Ok(None),
        Value::Number(ms) => ms.as_i64().map(Some).ok_or("envelope_time_invalid"),
        Value::String(text) => match text.parse::<i64>() {
            Ok(ms) => Ok(Some(ms)),
            Err(_) => chrono::DateTime::parse_from_rfc3339(text)
                .map(|time| Some(time.timestamp_millis()))
                .map_err(|_| "envelope_time_invalid"),
        },
        _ => Err("envelope_time_invalid"),
    };
    let (fetched_at, created_at) = (instant("fetched_at")?, instant("created_at")?);
    if !result.is_object() {
        return Err("not_a_result");
    }
    let response = if result["Response"].is_object() { &result["Response"] } else { result };
    let bare = json!({"LivenessDetail": result.get("LivenessDetail")});
    let text = match &response["Text"] {
        text @ Value::Object(_) => text,
        Value::Null if result.get("LivenessDetail").is_some() => &bare,
        Value::Null if response["Error"].is_object() => return Ok(None),
        Value::Null if response["EncryptedBody"].as_str().is_some_and(|body| !body.is_empty()) => {
            return Err("encrypted_body");
        }
        Value::Null if response.get("Text").is_some() => return Err("text_missing"),
        Value::Null => return Err("not_a_result"),
        _ => return Err("wrong_type"),
    };
    let string = |value: &Value| match value {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text.clone())),
        _ => Err("wrong_type"),
    };
    let details = match &text["LivenessDetail"] {
        Value::Null => Vec::new(),
        Value::Array(details) => details.clone(),
        _ => return Err("wrong_type"),
    };
    Ok(Some(Found {
        details,
        err_code: code(&text["ErrCode"])?,
        extra: string(&text["Extra"])?,
        intention: response["IsVerifyIntention"] == json!(true),
        request_id: string(&response["RequestId"])?,
        biz_token: field("biz_token"),
        rule_id: field("rule_id"),
        channel: field("channel"),
        fetched_at,
        created_at,
    }))
}

/// A whole number, or a string of one; an empty string is null.
fn code(value: &Value) -> Result<Option<i64>, &'static str> {
    match value {
        Value::Null => Ok(None),
        Value::Number(n) => n.as_i64().map(Some).ok_or("code_invalid"),
        Value::String(text) if text.is_empty() => Ok(None),
        Value::String(text) => text.parse().map(Some).map_err(|_| "code_invalid"),
        _ => Err("wrong_type"),
    }
}

/// The columns that an attempt fills by itself. The inputs hold at most one fault an attempt, so it does not
/// matter which of two is told.
fn read_attempt(detail: &Value) -> Result<Row, &'static str> {
    if !detail.is_object() {
        return Err("wrong_type");
    }
    let mut row = Row::new();
    row.insert(
        "seq".into(),
        match &detail["Seq"] {
            Value::String(seq) if seq.is_empty() => return Err("seq_empty"),
            Value::String(seq) => json!(seq),
            Value::Null => return Err("seq_missing"),
            _ => return Err("wrong_type"),
        },
    );
    let req_time = match &detail["ReqTime"] {
        Value::Null => return Err("req_time_missing"),
        Value::Number(n) => n.as_i64().ok_or("req_time_invalid")?,
        Value::String(text) => text.parse().map_err(|_| "req_time_invalid")?,
        _ => return Err("req_time_invalid"),
    };
    // 2015-01-01T00:00:00+08:00 up to 2100-01-01T00:00:00+08:00.
    if !(1_420_041_600_000..4_102_416_000_000).contains(&req_time) {
        return Err("req_time_out_of_range");
    }
    row.insert("req_time".into(), json!(req_time));
    row.insert(
        "is_need_charge".into(),
        match &detail["IsNeedCharge"] {
            flag @ (Value::Bool(_) | Value::Null) => flag.clone(),
            _ => return Err("charge_flag_not_boolean"),
        },
    );
    for (column, member) in [
        ("errcode", "Errcode"),
        ("livestatus", "Livestatus"),
        ("comparestatus", "Comparestatus"),
        ("liveness_mode", "LivenessMode"),
    ] {
        row.insert(column.into(), json!(code(&detail[member])?));
    }
    for (column, member) in [
        ("errmsg", "Errmsg"),
        ("livemsg", "Livemsg"),
        ("comparemsg", "Comparemsg"),
        ("compare_lib_type", "CompareLibType"),
    ] {
        match &detail[member] {
            text @ (Value::String(_) | Value::Null) => row.insert(column.into(), text.clone()),
            _ => return Err("wrong_type"),
        };
    }
    row.insert(
        "sim".into(),
        match &detail["Sim"] {
            Value::Null => Value::Null,
            Value::String(text) if text.is_empty() => Value::Null,
            Value::String(text) => json!(hundredths(text)?),
            Value::Number(n) => json!(hundredths(&n.to_string())?),
            _ => return Err("wrong_type"),
        },
    );
    Ok(row)
}

fn hundredths(text: &str) -> Result<i64, &'static str> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if fraction.len() > 2 || whole.is_empty() || whole.len() > 3 {
        return Err("sim_invalid");
    }
    format!("{whole}{fraction:0<2}").parse::<u32>().map(i64::from).map_err(|_| "sim_invalid")
}

/// Product, channel, compare source, tag.
fn classify(setting: &Setting, found: &Found, row: &mut Row) {
    let field = |name: &str| match name {
        "extra" => found.extra.as_deref(),
        "channel" => found.channel.as_deref(),
        "rule_id" => found.rule_id.as_deref(),
        "biz_token" => found.biz_token.as_deref(),
        other => panic!("no field {other}"),
    };
    let holds = |route: &&Route| {
        route
            .conditions
            .iter()
            .all(|(name, values)| field(name).is_some_and(|value| values.contains(&value)))
    };
    let route = setting.routes.iter().find(holds);
    let product = if found.intention { Some("intention") } else { route.map(|r| r.product) };
    let channel = route.and_then(|r| r.channel);
    let source = row["compare_lib_type"].as_str().and_then(|lib| {
        let own = setting.libs.iter().find(|(name, _)| *name == lib).map(|(_, source)| *source);
        own.or(match lib {
            "权威库" | "商业库" | "公安商业库" => Some("authority"),
            "业务方自有库" => Some("uploaded_photo"),
            _ => None,
        })
    });
    let source = source.or(route.and_then(|r| r.compare_source));
    let (code, label) = product
        .zip(source)
        .and_then(|(product, source)| tag(product, channel, source))
        .unwrap_or(("unmapped", "unmapped"));
    row.insert("product".into(), json!(product));
    row.insert("channel".into(), json!(channel));
    row.insert("compare_source".into(), json!(source));
    row.insert("billing_tag".into(), json!(label));
    row.insert("billing_tag_code".into(), json!(code));
}

/// The price list, as far as it is about results that hold a LivenessDetail.
fn tag(product: &str, channel: Option<&str>, source: &str) -> Option<(&'static str, &'static str)> {
    Some(match (product, channel, source) {
        ("intention", _, "authority") => ("intention_authority", "意愿核身（权威库）"),
        ("intention", _, "uploaded_photo") => ("intention_photo", "意愿核身（自传照片）"),
        ("eid", _, "authority") => ("eid_authority", "E证通（权威库）"),
        ("enhanced", Some("wechat_h5_native" | "wechat_mini_program"), "authority") => {
            ("enhanced_authority_wechat", "增强版人脸核身（权威库）-微信")
        }
        ("enhanced", Some("wechat_h5_native" | "wechat_mini_program"), "uploaded_photo") => {
            ("enhanced_photo_wechat", "增强版人脸核身（自传照片）-微信")
        }
        ("enhanced", Some("app_sdk"), "authority") => {
            ("enhanced_authority_app", "增强版人脸核身（权威库）-App")
        }
        ("enhanced", Some("app_sdk"), "uploaded_photo") => {
            ("enhanced_photo_app", "增强版人脸核身（自传照片）-App")
        }
        ("enhanced", Some("overlay_h5_wechat" | "overlay_h5_mobile"), "authority") => {
            ("enhanced_authority_h5", "增强版人脸核身（权威库）-浮层 H5")
        }
        ("enhanced", Some("overlay_h5_wechat" | "overlay_h5_mobile"), "uploaded_photo") => {
            ("enhanced_photo_h5", "增强版人脸核身（自传照片）-浮层 H5")
        }
        ("basic", Some("wechat_h5" | "pc_h5" | "app_sdk"), "authority") => {
            ("basic_authority", "基础版人脸核身（权威库）")
        }
        ("basic", Some("wechat_h5" | "pc_h5" | "app_sdk"), "uploaded_photo") => {
            ("basic_photo", "基础版人脸核身（自传照片）")
        }
        _ => return None,
    })
}

/// Days since 1970-01-01 in Beijing.
fn beijing_day(ms: i64) -> i32 {
    (ms + 8 * 3_600_000).div_euclid(86_400_000) as i32
}

fn settlement_date(setting: &Setting, day: i32) -> String {
    if !setting.monthly {
        return date(day + 1);
    }
    // The first day after this one that is the 1st of a month.
    (day + 1..).map(date).find(|d| d.ends_with("-01")).expect("a next month")
}

fn settle(rows: &[Row]) -> Vec<Row> {
    let mut groups: BTreeMap<Vec<String>, Vec<&Row>> = BTreeMap::new();
    for row in rows {
        let key = ["usage_date", "settlement_date", "account", "billing_tag", "billing_tag_code"];
        let key = key.map(|c| row[c].as_str().expect("a text").to_owned());
        groups.entry(key.to_vec()).or_default().push(row);
    }
    groups
        .into_iter()
        .map(|(key, rows)| {
            let count =
                |holds: &dyn Fn(&Row) -> bool| json!(rows.iter().filter(|r| holds(r)).count());
            let charged = |r: &Row| r["is_need_charge"] == json!(true);
            let times = rows.iter().map(|r| r["req_time"].as_i64().expect("an instant"));
            Row::from([
                ("usage_month".into(), json!(key[0][..7])),
                ("usage_date".into(), json!(key[0])),
                ("settlement_date".into(), json!(key[1])),
                ("account".into(), json!(key[2])),
                ("billing_tag".into(), json!(key[3])),
                ("billing_tag_code".into(), json!(key[4])),
                ("attempts".into(), json!(rows.len())),
                ("charged".into(), count(&charged)),
                ("free".into(), count(&|r| r["is_need_charge"] == json!(false))),
                ("unknown".into(), count(&|r| r["is_need_charge"].is_null())),
                (
                    "charged_failed".into(),
                    count(&|r| charged(r) && !r["errcode"].is_null() && r["errcode"] != json!(0)),
                ),
                ("not_final".into(), count(&|r| r["snapshot_final"] == json!(false))),
                ("first_req_time".into(), json!(times.clone().min())),
                ("last_req_time".into(), json!(times.max())),
            ])
        })
        .collect()
}
