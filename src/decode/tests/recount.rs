//! A slow plain recount: what a record gives, by simple code over `serde_json::Value` that shares nothing
//! with the decoder.

use super::*;
use crate::model::Envelope;
use serde_json::Value;

/// What a record must give. Faults by the code of their reason.
#[derive(Debug, PartialEq)]
pub enum Expected {
    Rejected(&'static str),
    ErrorResponse,
    /// What the record says (without number and offset), and each of its attempts.
    Result(Record<'static>, Vec<Result<Attempt<'static>, &'static str>>),
}

pub fn recount(record: &Value, envelope: Option<&Envelope>, idcard: bool, name: bool) -> Expected {
    match recount_record(record, envelope, idcard, name) {
        Ok(expected) => expected,
        Err(reason) => Expected::Rejected(reason),
    }
}

fn recount_record(
    record: &Value,
    envelope: Option<&Envelope>,
    idcard: bool,
    name: bool,
) -> Result<Expected, &'static str> {
    let mut says = Record::default();
    let mut result = record;
    if let Some(envelope) = envelope
        && let Some(response) = record.pointer(&envelope.response)
    {
        let at = |pointer: &Option<String>| match pointer.as_ref().and_then(|p| record.pointer(p)) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(Value::Number(number)) => Ok(Some(number.to_string())),
            Some(_) => Err(()),
        };
        let text =
            |pointer| at(pointer).map_err(|()| "wrong_type").map(|text| text.map(Cow::Owned));
        let time = |pointer| match at(pointer).map_err(|()| "envelope_time_invalid")? {
            None => Ok(None),
            Some(text) if text.is_empty() => Ok(None),
            Some(text) => match text.parse::<i64>() {
                Ok(ms) => Ok(Some(ms)),
                Err(_) => match chrono::DateTime::parse_from_rfc3339(&text) {
                    Ok(time) => Ok(Some(time.timestamp_millis())),
                    Err(_) => Err("envelope_time_invalid"),
                },
            },
        };
        says.biz_token = text(&envelope.biz_token)?;
        says.rule_id = text(&envelope.rule_id)?;
        says.channel = text(&envelope.channel)?;
        says.fetched_at = time(&envelope.fetched_at)?.map(plausible_time).transpose()?;
        says.created_at = time(&envelope.created_at)?.map(plausible_time).transpose()?;
        result = match response {
            Value::Object(_) => response,
            Value::Null => return Err("text_missing"),
            _ => return Err("wrong_type"),
        };
    }
    let Value::Object(members) = result else { return Err("not_a_result") };
    let response = match members.get("Response") {
        None => members,
        Some(Value::Object(response)) => response,
        Some(Value::Null) => return Err("text_missing"),
        Some(_) => return Err("wrong_type"),
    };
    let string = |value: Option<&Value>| match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(Cow::Owned(text.clone()))),
        Some(_) => Err("wrong_type"),
    };
    let bare = members.get("LivenessDetail");
    let text = match response.get("Text") {
        Some(Value::Object(text)) => text,
        Some(Value::Null) | None if bare.is_some() => members,
        Some(Value::Null) | None => {
            return if response.get("Error").is_some_and(Value::is_object) {
                Ok(Expected::ErrorResponse)
            } else if response
                .get("EncryptedBody")
                .and_then(Value::as_str)
                .is_some_and(|b| !b.is_empty())
            {
                Err("encrypted_body")
            } else if response.contains_key("DetectInfo") {
                Err("not_a_result")
            } else if members.contains_key("Response")
                || ["Text", "BestFrame", "EidInfo", "EncryptedBody"]
                    .iter()
                    .any(|m| members.contains_key(*m))
            {
                Err("text_missing")
            } else {
                Err("not_a_result")
            };
        }
        Some(_) => return Err("wrong_type"),
    };
    says.request_id = string(response.get("RequestId"))?;
    says.is_verify_intention = match response.get("IsVerifyIntention") {
        None | Some(Value::Null) => false,
        Some(Value::Bool(yes)) => *yes,
        Some(_) => return Err("wrong_type"),
    };
    says.err_code = whole(text.get("ErrCode"), i64::MIN, i64::MAX)?;
    says.extra = string(text.get("Extra"))?;
    let details = match text.get("LivenessDetail") {
        None | Some(Value::Null) => &Vec::new(),
        Some(Value::Array(details)) => details,
        Some(_) => return Err("wrong_type"),
    };
    says.detail_count = details.len() as i32;
    let attempts = details
        .iter()
        .enumerate()
        .map(|(i, d)| recount_attempt(i as i32, d, idcard, name))
        .collect();
    Ok(Expected::Result(says, attempts))
}

fn plausible_time(ms: i64) -> Result<i64, &'static str> {
    if plausible(ms) { Ok(ms) } else { Err("envelope_time_invalid") }
}

/// 2015-01-01T00:00:00+08:00 up to 2100-01-01T00:00:00+08:00.
fn plausible(ms: i64) -> bool {
    (1_420_041_600_000..4_102_416_000_000).contains(&ms)
}

/// The records of these tests hold at most one fault an attempt, so it does not matter which of two is told.
fn recount_attempt(
    index: i32,
    detail: &Value,
    idcard: bool,
    name: bool,
) -> Result<Attempt<'static>, &'static str> {
    let Value::Object(detail) = detail else { return Err("wrong_type") };
    let string = |member: &str| -> Result<Option<Cow<'static, str>>, &'static str> {
        match detail.get(member) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(Cow::Owned(text.clone()))),
            Some(_) => Err("wrong_type"),
        }
    };
    let code = |member: &str| {
        let code = whole(detail.get(member), i64::from(i32::MIN), i64::from(i32::MAX))?;
        Ok::<_, &str>(code.map(|c| c as i32))
    };
    let person = |member: &str, wanted: bool| -> Result<Option<Cow<'static, str>>, &'static str> {
        if !wanted {
            return Ok(None);
        }
        Ok(string(member)?.filter(|text| !text.is_empty()))
    };
    let seq = string("Seq")?.ok_or("seq_missing")?;
    if seq.is_empty() {
        return Err("seq_empty");
    }
    let req_time = match detail.get("ReqTime") {
        None | Some(Value::Null) => return Err("req_time_missing"),
        Some(Value::Number(ms)) => ms.as_i64().ok_or("req_time_invalid")?,
        Some(Value::String(text)) => text.parse().map_err(|_| "req_time_invalid")?,
        Some(_) => return Err("req_time_invalid"),
    };
    if !plausible(req_time) {
        return Err("req_time_out_of_range");
    }
    Ok(Attempt {
        byte_offset: 0,
        index,
        req_time,
        seq,
        is_need_charge: match detail.get("IsNeedCharge") {
            None | Some(Value::Null) => None,
            Some(Value::Bool(flag)) => Some(*flag),
            Some(_) => return Err("charge_flag_not_boolean"),
        },
        errcode: code("Errcode")?,
        errmsg: string("Errmsg")?,
        livestatus: code("Livestatus")?,
        livemsg: string("Livemsg")?,
        comparestatus: code("Comparestatus")?,
        comparemsg: string("Comparemsg")?,
        compare_lib_type: string("CompareLibType")?,
        sim: similarity(detail.get("Sim"))?,
        liveness_mode: whole(detail.get("LivenessMode"), -128, 127)?.map(|m| m as i8),
        idcard: person("Idcard", idcard)?,
        name: person("Name", name)?,
        alike: crate::model::Alike::default(),
    })
}

fn whole(value: Option<&Value>, min: i64, max: i64) -> Result<Option<i64>, &'static str> {
    let number: i128 = match value {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Number(number)) => number.to_string().parse().map_err(|_| "code_invalid")?,
        Some(Value::String(text)) if text.is_empty() => return Ok(None),
        Some(Value::String(text)) => text.parse().map_err(|_| "code_invalid")?,
        Some(_) => return Err("wrong_type"),
    };
    if number < i128::from(min) || number > i128::from(max) {
        return Err("number_out_of_range");
    }
    Ok(Some(number as i64))
}

/// In hundredths.
fn similarity(value: Option<&Value>) -> Result<Option<i32>, &'static str> {
    let text = match value {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Number(number)) => number.to_string(),
        Some(Value::String(text)) if text.is_empty() => return Ok(None),
        Some(Value::String(text)) => text.clone(),
        Some(_) => return Err("wrong_type"),
    };
    let mut parts = text.split('.');
    let (units, fraction) = (parts.next().unwrap_or(""), parts.next());
    let digits = |t: &str| !t.is_empty() && t.chars().all(|c| c.is_ascii_digit());
    if parts.next().is_some()
        || !digits(units)
        || units.len() > 3
        || fraction.is_some_and(|f| !digits(f))
    {
        return Err("sim_invalid");
    }
    let mut fraction: Vec<char> = fraction.unwrap_or("0").chars().collect();
    while fraction.len() < 2 {
        fraction.push('0');
    }
    if fraction[2..].iter().any(|c| *c != '0') {
        return Err("sim_invalid");
    }
    let all: String = units.chars().chain(fraction[..2].iter().copied()).collect();
    Ok(Some(all.parse().expect("at most five digits")))
}
