//! Made-up FaceID results of any size, and the totals they must give.
//!
//! Takes a shape, a number of records, a seed and a folder; gives `DIR/results/` (the objects),
//! `DIR/expected.json` (totals counted while writing, by nothing that the product uses) and
//! `DIR/pipeline.toml` (loads them). Never reads a clock or the machine: the same arguments give the same
//! bytes. Nobody in it exists: ID numbers begin with an area code that was never given out, mobile numbers
//! with a prefix that was never sold.
//!
//! `cargo run --example generate -- --shape ndjson --records 910000 --seed 1 --days 3 --out DIR`

use clap::{Parser, ValueEnum};
use serde_json::json;
use std::collections::{BTreeMap, HashSet};
use std::error::Error;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

/// Made-up FaceID results, and the totals they must give.
#[derive(Parser)]
struct Args {
    /// What an object is.
    #[arg(long, value_enum)]
    shape: Shape,
    /// Results written, repeated pulls and bad records included.
    #[arg(long)]
    records: u64,
    #[arg(long)]
    seed: u64,
    /// Beijing days, from 2026-03-01 on.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=3650))]
    days: u32,
    /// A new or empty folder.
    #[arg(long)]
    out: PathBuf,
    /// NDJSON files per channel and day.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    files: u64,
    /// Share of the records that pull an earlier result again (0 to 0.9): every attempt of it, and in one
    /// of three a further one.
    #[arg(long, default_value_t = 0.03, value_parser = ratio)]
    duplicates: f64,
    /// Share of the records that cannot be used (0 to 0.9).
    #[arg(long, default_value_t = 0.0, value_parser = ratio)]
    bad: f64,
    /// Write the members of `Response` in alphabetical order, as some archives do: media before `Text`.
    #[arg(long)]
    sorted_keys: bool,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Shape {
    /// Text-only results, one to a line.
    Ndjson,
    /// One text-only result per object.
    Small,
    /// One result per object, with 0.1 to 3 MB of base64 images and video.
    Media,
}

impl Shape {
    fn name(self) -> &'static str {
        match self {
            Shape::Ndjson => "ndjson",
            Shape::Small => "small",
            Shape::Media => "media",
        }
    }
}

fn ratio(text: &str) -> Result<f64, String> {
    let ratio: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (0.0..=0.9).contains(&ratio) { Ok(ratio) } else { Err("must lie in 0 to 0.9".to_owned()) }
}

/// 2026-03-01 in days since the epoch.
const FIRST_DAY: i64 = 20_513;
const DAY_MS: i64 = 86_400_000;
const BEIJING_OFFSET_MS: i64 = 8 * 3_600_000;
/// The attempts of a token lie within this of each other; a day's last tokens begin this long before its end.
const TOKEN_SPAN_MS: i64 = 600_000;

/// A channel as the caller writes it into `Extra`, and what the pipeline's routes make of it.
struct Channel {
    extra: &'static str,
    /// Share of the records, in percent.
    percent: u64,
    product: &'static str,
    channel: &'static str,
    /// Last word of the tag code, last word of the tag.
    tag: (&'static str, &'static str),
}

const CHANNELS: [Channel; 5] = [
    Channel {
        extra: "wx_mini",
        percent: 45,
        product: "enhanced",
        channel: "wechat_mini_program",
        tag: ("wechat", "微信"),
    },
    Channel {
        extra: "wx_h5",
        percent: 20,
        product: "enhanced",
        channel: "wechat_h5_native",
        tag: ("wechat", "微信"),
    },
    Channel {
        extra: "app",
        percent: 20,
        product: "enhanced",
        channel: "app_sdk",
        tag: ("app", "App"),
    },
    Channel {
        extra: "h5_wx",
        percent: 10,
        product: "enhanced",
        channel: "overlay_h5_wechat",
        tag: ("h5", "浮层 H5"),
    },
    Channel {
        extra: "h5_mobile",
        percent: 5,
        product: "enhanced",
        channel: "overlay_h5_mobile",
        tag: ("h5", "浮层 H5"),
    },
];

/// Code, message, charged, whether faces were compared.
type Outcome = (i32, &'static str, bool, bool);
const SUCCESS: Outcome = (0, "成功", true, true);
/// How attempts fail, the frequent ways more than once. What is charged follows the service's code table:
/// 2006 and 2016 are, the others not.
const FAILURES: [Outcome; 10] = [
    (2016, "比对相似度未达到通过标准", true, true),
    (2016, "比对相似度未达到通过标准", true, true),
    (2016, "比对相似度未达到通过标准", true, true),
    (2016, "比对相似度未达到通过标准", true, true),
    (2006, "姓名和身份证号不一致，请核实", true, true),
    (2005, "比对源库中无此身份证号", false, true),
    (1002, "疑似非真人录制", false, false),
    (1002, "疑似非真人录制", false, false),
    (1003, "活体检测未通过，请重试", false, false),
    (1001, "系统错误", false, false),
];

/// Compare libraries and the source that decides the tag, the frequent ones more than once.
const LIBRARIES: [(&str, Option<&str>); 20] = {
    const A: (&str, Option<&str>) = ("权威库", Some("authority"));
    const B: (&str, Option<&str>) = ("商业库", Some("authority"));
    const P: (&str, Option<&str>) = ("业务方自有库", Some("photo"));
    [A, A, A, A, A, A, A, A, A, A, A, A, B, B, B, P, P, P, P, ("二次验证库", None)]
};

/// The two ways in which a record is bad: as a whole, or in its one attempt. The names are the product's
/// reject reasons.
const BAD: [&str; 6] = [
    "trailing_comma",
    "comment",
    "seq_empty",
    "req_time_out_of_range",
    "charge_flag_not_boolean",
    "code_invalid",
];

/// SplitMix64 (Steele, Lea, Flood 2014): a few lines, no dependency, good enough for made-up people.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        mix(self.0)
    }

    /// Uniform in 0..n.
    fn below(&mut self, n: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(n)) >> 64) as u64
    }

    fn pick<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len() as u64) as usize]
    }
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Where a record stands: everything about it follows from this and the seed, so that a later pull can
/// write a token's attempts again without anybody remembering them.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Place {
    channel: usize,
    day: u32,
    index: u64,
}

/// Separate streams of random numbers for separate questions about one place.
enum Stream {
    Fault = 1,
    Pull = 2,
    Token = 3,
    Record = 4,
}

struct Plan {
    seed: u64,
    records: u64,
    days: u32,
    duplicates_ppm: u64,
    bad_ppm: u64,
}

impl Plan {
    fn rng(&self, stream: Stream, at: Place) -> Rng {
        let mut state = mix(self.seed ^ 0xFACE_1ED6);
        for part in [stream as u64, at.channel as u64, u64::from(at.day), at.index] {
            state = mix(state.wrapping_add(part).wrapping_add(0x9E37_79B9_7F4A_7C15));
        }
        Rng(state)
    }

    /// Records of one channel and day. Cumulative shares, so that the parts add up to the whole.
    fn folder_records(&self, channel: usize, day: u32) -> u64 {
        let upto = |c: usize, d: u32| {
            let before: u64 = CHANNELS[..c].iter().map(|c| c.percent).sum();
            let of_channel = |percent: u64| self.records * percent / 100;
            let (low, high) = (of_channel(before), of_channel(before + CHANNELS[c].percent));
            low + (high - low) * u64::from(d) / u64::from(self.days)
        };
        upto(channel, day + 1) - upto(channel, day)
    }

    fn fault(&self, at: Place) -> Option<&'static str> {
        let mut rng = self.rng(Stream::Fault, at);
        (rng.below(1_000_000) < self.bad_ppm).then(|| rng.pick(&BAD))
    }

    /// The place whose token a record pulls: its own, or an earlier one of the same channel, of the same day
    /// or the day before.
    fn origin(&self, record: Place) -> Place {
        let mut at = record;
        loop {
            let mut rng = self.rng(Stream::Pull, at);
            if rng.below(1_000_000) >= self.duplicates_ppm {
                return at;
            }
            let (day, earlier) = if at.day > 0 && rng.below(4) == 0 {
                (at.day - 1, self.folder_records(at.channel, at.day - 1))
            } else {
                (at.day, at.index)
            };
            if earlier == 0 {
                return at;
            }
            let target = Place { day, index: rng.below(earlier), ..at };
            if self.fault(target).is_some() {
                return at;
            }
            at = target;
        }
    }
}

struct Attempt {
    req_time: i64,
    seq: [u64; 2],
    charge: Option<bool>,
    outcome: Outcome,
    library: Option<(&'static str, Option<&'static str>)>,
    /// Hundredths; `None` when no faces were compared.
    sim: Option<u64>,
    mode: Option<u64>,
}

/// A verification: a person, a token, one to three attempts.
struct Token {
    biz_token: [u64; 2],
    name: String,
    idcard: String,
    birth: (u64, u64, u64),
    mobile: u64,
    location: (u64, u64),
    house: u64,
    id_info_from: &'static str,
    /// All there will ever be.
    attempts: Vec<Attempt>,
    /// As many of them as the first pull holds; a later pull holds all.
    first_seen: usize,
}

impl Token {
    fn make(plan: &Plan, at: Place) -> Token {
        let mut rng = plan.rng(Stream::Token, at);
        // 78, 18 and 4 in 100 have one, two and three attempts: 1.26 on average.
        let first_seen = match rng.below(100) {
            0..78 => 1,
            78..96 => 2,
            _ => 3,
        };
        let count = if first_seen < 3 && rng.below(3) == 0 { first_seen + 1 } else { first_seen };
        let passed = rng.below(100) < 88;
        let library = rng.pick(&LIBRARIES);
        let mode = match rng.below(64) {
            0 => None,
            n => Some(1 + n % 5),
        };
        let day_begin = (FIRST_DAY + i64::from(at.day)) * DAY_MS - BEIJING_OFFSET_MS;
        // Objects lie under the day of the pull, and people try around midnight too: all days but the first
        // hold attempts of the last minutes of the day before.
        let early = if at.day > 0 { TOKEN_SPAN_MS } else { 0 };
        let mut req_time =
            day_begin - early + rng.below((DAY_MS - TOKEN_SPAN_MS + early) as u64) as i64;
        let attempts = (0..count)
            .map(|k| {
                // Nobody tries again after a success, so only the last attempt can be one. What only a
                // later pull shows is the end of the story as well.
                let outcome = if k + 1 == count && passed { SUCCESS } else { rng.pick(&FAILURES) };
                let (code, _, charged, compared) = outcome;
                let attempt = Attempt {
                    req_time,
                    seq: [rng.next(), rng.next()],
                    charge: if rng.below(250) == 0 { None } else { Some(charged) },
                    outcome,
                    library: if compared || rng.below(5) > 0 { Some(library) } else { None },
                    sim: match code {
                        0 => Some(7000 + rng.below(3001)),
                        2016 => Some(rng.below(7000)),
                        _ => None,
                    },
                    mode,
                };
                req_time += 15_000 + rng.below(120_000) as i64;
                attempt
            })
            .collect();
        let birth = (1950 + rng.below(56), 1 + rng.below(12), 1 + rng.below(28));
        let (year, month, day) = birth;
        let family = rng.pick(&["甲", "乙", "丙", "丁", "戊", "己", "庚", "辛", "壬", "癸"]);
        let given = ["样", "例", "测", "试", "虚", "构", "假", "设", "某", "名"];
        let mut name = format!("{family}{}", rng.pick(&given));
        if rng.below(4) > 0 {
            name.push_str(rng.pick(&given));
        }
        Token {
            biz_token: [rng.next(), rng.next()],
            name,
            idcard: format!("990000{year:04}{month:02}{day:02}{:04}", rng.below(10_000)),
            birth,
            mobile: 10_000_000_000 + rng.below(100_000_000),
            location: (rng.below(1_000_000), rng.below(1_000_000)),
            house: 1 + rng.below(999),
            id_info_from: rng.pick(&[
                "OCR",
                "手动输入",
                "手动输入",
                "手动输入",
                "手动输入",
                "手动输入",
                "其他",
                "其他",
            ]),
            attempts,
            first_seen,
        }
    }
}

/// 8-4-4-4-12 hex digits.
fn uuid(out: &mut Vec<u8>, id: [u64; 2], digits: &[u8; 16]) {
    let bits = (u128::from(id[0]) << 64) | u128::from(id[1]);
    for k in 0..32 {
        if matches!(k, 8 | 12 | 16 | 20) {
            out.push(b'-');
        }
        out.push(digits[(bits >> (124 - 4 * k)) as usize & 15]);
    }
}
const LOWER: &[u8; 16] = b"0123456789abcdef";
const UPPER: &[u8; 16] = b"0123456789ABCDEF";

/// `chars` characters of standard base64, beginning as an image or a video of its kind does.
fn base64(out: &mut Vec<u8>, begin: &str, chars: u64, rng: &mut Rng) {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let end = out.len() + (chars as usize).max(begin.len() + 4) / 4 * 4;
    out.extend_from_slice(begin.as_bytes());
    while out.len() < end - 1 {
        let bits = rng.next();
        let ten: [u8; 10] = std::array::from_fn(|k| ALPHABET[(bits >> (6 * k)) as usize & 63]);
        let take = (end - 1 - out.len()).min(10);
        out.extend_from_slice(&ten[..take]);
    }
    out.push(b'=');
}

/// A JSON string or null. The texts here hold nothing that JSON escapes.
fn text_or_null(text: Option<&str>) -> String {
    text.map_or("null".to_owned(), |text| format!("\"{text}\""))
}

fn int_or_null<T: ToString>(value: Option<T>) -> String {
    value.map_or("null".to_owned(), |value| value.to_string())
}

/// The state of an attempt in its two stages, as the API spells it out: liveness first, then comparison.
fn stages(attempt: &Attempt) -> (i32, &'static str, Option<i32>, Option<&'static str>) {
    let (code, message, _, compared) = attempt.outcome;
    if compared { (0, "成功", Some(code), Some(message)) } else { (code, message, None, None) }
}

fn sim_text(attempt: &Attempt) -> String {
    attempt.sim.map_or(String::new(), |sim| format!("{}.{:02}", sim / 100, sim % 100))
}

fn write_attempt(out: &mut Vec<u8>, token: &Token, attempt: &Attempt, fault: Option<&str>) {
    let (live, live_message, compare, compare_message) = stages(attempt);
    let req_time = if fault == Some("req_time_out_of_range") { 0 } else { attempt.req_time };
    let _ = write!(out, r#"{{"ReqTime":"{req_time}","Seq":""#);
    if fault != Some("seq_empty") {
        uuid(out, attempt.seq, LOWER);
    }
    let charge = match fault {
        Some("charge_flag_not_boolean") => "\"true\"",
        _ => match attempt.charge {
            Some(true) => "true",
            Some(false) => "false",
            None => "null",
        },
    };
    let (code, message, ..) = attempt.outcome;
    let code = if fault == Some("code_invalid") { "\"none\"".to_owned() } else { code.to_string() };
    let _ = write!(
        out,
        r#"","Idcard":"{}","Name":"{}","Sim":"{}","IsNeedCharge":{charge},"Errcode":{code},"Errmsg":"{message}","Livestatus":{live},"Livemsg":"{live_message}","Comparestatus":{},"Comparemsg":{},"CompareLibType":{},"LivenessMode":{}}}"#,
        token.idcard,
        token.name,
        sim_text(attempt),
        int_or_null(compare),
        text_or_null(compare_message),
        text_or_null(attempt.library.map(|(name, _)| name)),
        int_or_null(attempt.mode),
    );
}

/// `Response.Text`, all 31 members of it.
fn write_text(out: &mut Vec<u8>, token: &Token, extra: &str, shown: usize, fault: Option<&str>) {
    let Some(last) = token.attempts[..shown].last() else {
        return;
    };
    let (code, message, ..) = last.outcome;
    let (live, live_message, compare, compare_message) = stages(last);
    let ocr = if token.id_info_from == "OCR" {
        let (year, month, day) = token.birth;
        format!(
            r#""OcrNation":"汉","OcrAddress":"虚构省示例市样本区测试路{house}号","OcrBirth":"{year}/{month}/{day}","OcrAuthority":"示例市公安局样本分局","OcrValidDate":"2020.01.01-2040.01.01","OcrName":"{name}","OcrIdCard":"{idcard}","OcrGender":"{gender}""#,
            house = token.house,
            name = token.name,
            idcard = token.idcard,
            gender = if token.house.is_multiple_of(2) { "女" } else { "男" },
        )
    } else {
        r#""OcrNation":null,"OcrAddress":null,"OcrBirth":null,"OcrAuthority":null,"OcrValidDate":null,"OcrName":null,"OcrIdCard":null,"OcrGender":null"#.to_owned()
    };
    let (lon, lat) = token.location;
    let located = format!("{}.{lon:06},{}.{lat:06}", 100 + lon % 20, 20 + lat % 20);
    let _ = write!(
        out,
        r#"{{"ErrCode":{code},"ErrMsg":"{message}","IdCard":"{idcard}","UseIDType":0,"Name":"{name}",{ocr},"IdInfoFrom":"{from}","LiveStatus":{live},"LiveMsg":"{live_message}","Comparestatus":{compare},"Comparemsg":{compare_message},"Sim":"{sim}","Location":{location},"Extra":"{extra}","LivenessDetail":["#,
        idcard = token.idcard,
        name = token.name,
        from = token.id_info_from,
        compare = int_or_null(compare),
        compare_message = text_or_null(compare_message),
        sim = sim_text(last),
        location = text_or_null((token.house.is_multiple_of(2)).then_some(&*located)),
    );
    for (k, attempt) in token.attempts[..shown].iter().enumerate() {
        if k > 0 {
            out.push(b',');
        }
        write_attempt(out, token, attempt, fault);
    }
    match fault {
        Some("trailing_comma") => out.push(b','),
        Some("comment") => out.extend_from_slice(b"/* omitted */"),
        _ => {}
    }
    let _ = write!(
        out,
        r#"],"LivenessInfoTag":[],"Mobile":{},"CompareLibType":{},"LivenessMode":{},"NFCRequestIds":[],"NFCBillingCounts":0,"PassNo":null,"VisaNum":null,"LivenessActionSequence":{}}}"#,
        int_or_null((token.house.is_multiple_of(3)).then(|| format!("\"{}\"", token.mobile))),
        text_or_null(last.library.map(|(name, _)| name)),
        int_or_null(last.mode),
        if extra.starts_with("h5") { "\"2,1,5\"" } else { "null" },
    );
}

/// One of the media members of `Response`; `bytes` is what they take together.
fn write_media(out: &mut Vec<u8>, member: &str, bytes: u64, rng: &mut Rng) {
    const JPEG: &str = "/9j/4AAQSkZJRgABAQ";
    const MP4: &str = "AAAAIGZ0eXBpc29t";
    match member {
        "IdCardData" => {
            for (key, percent) in
                [(r#"{"OcrFront":""#, 14), (r#"","OcrBack":""#, 10), (r#"","Avatar":""#, 2)]
            {
                out.extend_from_slice(key.as_bytes());
                base64(out, JPEG, bytes * percent / 100, rng);
            }
            out.extend_from_slice(
                br#"","ProcessedFrontImage":null,"ProcessedBackImage":null,"WarnInfos":[],"BackWarnInfos":[]}"#,
            );
        }
        "BestFrame" => {
            out.extend_from_slice(br#"{"BestFrame":""#);
            base64(out, JPEG, bytes * 14 / 100, rng);
            out.extend_from_slice(br#"","BestFrames":[]}"#);
        }
        _ => {
            out.extend_from_slice(br#"{"LivenessVideo":""#);
            base64(out, MP4, bytes * 60 / 100, rng);
            out.extend_from_slice(br#"","LivenessVideos":[]}"#);
        }
    }
}

/// The members of `Response`, as the API orders them. Those that only 意愿核身 and encrypted bodies fill are
/// left out, as in results pulled before they were introduced.
const MEMBERS: [&str; 7] = [
    "Text",
    "IdCardData",
    "BestFrame",
    "VideoData",
    "Encryption",
    "IsVerifyIntention",
    "RequestId",
];

struct Record<'a> {
    token: &'a Token,
    extra: &'a str,
    shown: usize,
    fault: Option<&'static str>,
    media: bool,
    request_id: [u64; 2],
}

fn write_record(out: &mut Vec<u8>, record: &Record, members: &[&str], rng: &mut Rng) {
    // Octaves from 100 kB on, so that there are as many objects of 100 to 200 kB as of 1.6 to 3 MB.
    let low = 100_000 << rng.below(5);
    let media_bytes = (low + rng.below(low)).min(3_000_000);
    out.extend_from_slice(br#"{"Response":{"#);
    for (k, member) in members.iter().enumerate() {
        let _ = write!(out, "{}\"{member}\":", if k == 0 { "" } else { "," });
        match *member {
            "Text" => write_text(out, record.token, record.extra, record.shown, record.fault),
            "IdCardData" | "BestFrame" | "VideoData" if record.media => {
                write_media(out, member, media_bytes, rng)
            }
            "Encryption" => {
                out.extend_from_slice(br#"{"Algorithm":"","CiphertextBlob":"","EncryptList":[],"Iv":"","TagList":[]}"#);
            }
            "IsVerifyIntention" => out.extend_from_slice(b"false"),
            "RequestId" => {
                out.push(b'"');
                uuid(out, record.request_id, LOWER);
                out.push(b'"');
            }
            _ => out.extend_from_slice(b"null"),
        }
    }
    out.extend_from_slice(b"}}");
}

/// Attempts, charged, free, unknown.
type Counts = [u64; 4];

/// What the product must find, counted from what was written.
#[derive(Default)]
struct Expected {
    objects: u64,
    bytes: u64,
    records: u64,
    records_rejected: u64,
    details_seen: u64,
    details_rejected: u64,
    /// Tokens of which a later pull was counted: it counts once, however often it comes.
    pulled_again: HashSet<Place>,
    by_day_channel: BTreeMap<(i64, usize), Counts>,
    by_day_tag: BTreeMap<(i64, String, String), Counts>,
    rejects: BTreeMap<&'static str, u64>,
}

impl Expected {
    fn row(&mut self, channel: usize, attempt: &Attempt) {
        let day = (attempt.req_time + BEIJING_OFFSET_MS).div_euclid(DAY_MS);
        let (code_end, tag_end) = CHANNELS[channel].tag;
        let (code, tag) = match attempt.library.and_then(|(_, source)| source) {
            Some("authority") => (
                format!("enhanced_authority_{code_end}"),
                format!("增强版人脸核身（权威库）-{tag_end}"),
            ),
            Some(_) => (
                format!("enhanced_photo_{code_end}"),
                format!("增强版人脸核身（自传照片）-{tag_end}"),
            ),
            None => ("unmapped".to_owned(), "unmapped".to_owned()),
        };
        let which = match attempt.charge {
            Some(true) => 1,
            Some(false) => 2,
            None => 3,
        };
        for counts in [
            self.by_day_channel.entry((day, channel)).or_default(),
            self.by_day_tag.entry((day, code, tag)).or_default(),
        ] {
            counts[0] += 1;
            counts[which] += 1;
        }
    }

    fn to_json(&self, args: &Args) -> serde_json::Value {
        let total = |k: usize| self.by_day_channel.values().map(|counts| counts[k]).sum::<u64>();
        let counts =
            |c: &Counts| json!({"attempts": c[0], "charged": c[1], "free": c[2], "unknown": c[3]});
        let with = |mut row: serde_json::Value, c: &Counts| {
            if let (Some(row), serde_json::Value::Object(counts)) = (row.as_object_mut(), counts(c))
            {
                row.extend(counts);
            }
            row
        };
        let by_day_channel: Vec<_> = self
            .by_day_channel
            .iter()
            .map(|((day, channel), c)| {
                let Channel { extra, product, channel, .. } = CHANNELS[*channel];
                with(json!({"usage_date": date(*day), "extra": extra, "product": product, "channel": channel}), c)
            })
            .collect();
        let by_day_tag: Vec<_> = self
            .by_day_tag
            .iter()
            .map(|((day, code, tag), c)| {
                with(
                    json!({"usage_date": date(*day), "billing_tag_code": code, "billing_tag": tag}),
                    c,
                )
            })
            .collect();
        json!({
            "arguments": {
                "shape": args.shape.name(), "records": args.records, "seed": args.seed, "days": args.days,
                "files": args.files, "duplicates": args.duplicates, "bad": args.bad, "sorted_keys": args.sorted_keys,
            },
            "objects": self.objects,
            "bytes": self.bytes,
            "records": self.records,
            "records_rejected": self.records_rejected,
            "details_seen": self.details_seen,
            "details_rejected": self.details_rejected,
            "details_duplicate": self.details_seen - self.details_rejected - total(0),
            "rows": total(0),
            "charged": total(1),
            "free": total(2),
            "unknown": total(3),
            "rejects": self.rejects,
            "by_day_channel": by_day_channel,
            "by_day_tag": by_day_tag,
        })
    }
}

/// `YYYY-MM-DD` of a day since the epoch: Howard Hinnant's `civil_from_days`, for days after 1970.
fn date(day: i64) -> String {
    let z = day + 719_468;
    let (era, of_era) = (z / 146_097, z % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{:02}", of_year - (153 * shifted + 2) / 5 + 1)
}

/// The pipeline that loads what was written. Its paths are relative to where the generator was started, as
/// `--out` was.
fn pipeline(args: &Args) -> String {
    let keys = match args.shape {
        Shape::Ndjson => "channel={channel}/dt={date}/{part}.ndjson",
        Shape::Small | Shape::Media => "channel={channel}/dt={date}/{biz_token}_{pull}.json",
    };
    let quoted = |path: PathBuf| json!(format!("{}/", path.display())).to_string();
    let mut text = format!(
        "# Loads the made-up results beside it; written by examples/generate.rs.\n\
         name = \"generated-{}\"\n\n\
         [account]\nuin = \"100000000000\"\nopened_at = \"2024-01-01T00:00:00+08:00\"\n\n\
         [source]\nurl = {}\nkeys = \"{keys}\"\n\n",
        args.shape.name(),
        quoted(args.out.join("results")),
    );
    for channel in &CHANNELS {
        text += &format!(
            "[[route]]\nmatch = {{ extra = \"{}\" }}\nproduct = \"{}\"\nchannel = \"{}\"\n\n",
            channel.extra, channel.product, channel.channel
        );
    }
    let rejects_max = if args.bad > 0.0 { "1.0" } else { "0.001" };
    text += &format!(
        "[output]\nurl = {}\n\n[limits]\nrejects_ratio_max = {rejects_max}\n",
        quoted(args.out.join("out"))
    );
    text
}

fn generate(args: &Args) -> Result<Expected, Box<dyn Error>> {
    let plan = Plan {
        seed: args.seed,
        records: args.records,
        days: args.days,
        duplicates_ppm: (args.duplicates * 1e6).round() as u64,
        bad_ppm: (args.bad * 1e6).round() as u64,
    };
    let mut members = MEMBERS;
    if args.sorted_keys {
        members.sort_unstable();
    }
    let mut expected = Expected::default();
    let mut bytes = Vec::new();
    for day in 0..args.days {
        for (channel, Channel { extra, .. }) in CHANNELS.iter().enumerate() {
            let folder = args
                .out
                .join(format!("results/channel={extra}/dt={}", date(FIRST_DAY + i64::from(day))));
            fs::create_dir_all(&folder)?;
            let records = plan.folder_records(channel, day);
            let mut lines = Lines { folder: &folder, part: None };
            for index in 0..records {
                let at = Place { channel, day, index };
                let fault = plan.fault(at);
                let origin = if fault.is_some() { at } else { plan.origin(at) };
                let token = Token::make(&plan, origin);
                let shown = match fault {
                    // One attempt, so that a bad one leaves nothing behind.
                    Some(_) => 1,
                    None if origin == at => token.first_seen,
                    None => token.attempts.len(),
                };
                let mut rng = plan.rng(Stream::Record, at);
                let record = Record {
                    token: &token,
                    extra,
                    shown,
                    fault,
                    media: args.shape == Shape::Media,
                    request_id: [rng.next(), rng.next()],
                };
                bytes.clear();
                write_record(&mut bytes, &record, &members, &mut rng);
                if args.shape == Shape::Ndjson {
                    bytes.push(b'\n');
                    expected.objects +=
                        u64::from(lines.write(index * args.files / records, &bytes)?);
                } else {
                    let mut name = Vec::new();
                    uuid(&mut name, token.biz_token, UPPER);
                    let name = format!(
                        "{}_{:08x}.json",
                        String::from_utf8(name)?,
                        record.request_id[0] >> 32
                    );
                    // Two pulls of one token under one name would lose one; the seed is at fault, not the data.
                    File::create_new(folder.join(name))?.write_all(&bytes)?;
                    expected.objects += 1;
                }
                expected.bytes += bytes.len() as u64;
                expected.records += 1;
                count(&mut expected, &token, at, origin, shown, fault);
            }
            lines.finish()?;
        }
    }
    Ok(expected)
}

fn count(
    expected: &mut Expected,
    token: &Token,
    at: Place,
    origin: Place,
    shown: usize,
    fault: Option<&'static str>,
) {
    if let Some(reason) = fault {
        *expected.rejects.entry(reason).or_default() += 1;
        if matches!(reason, "trailing_comma" | "comment") {
            expected.records_rejected += 1;
        } else {
            expected.details_seen += 1;
            expected.details_rejected += 1;
        }
        return;
    }
    expected.details_seen += shown as u64;
    let new = if origin == at {
        0..token.first_seen
    } else if expected.pulled_again.insert(origin) {
        token.first_seen..token.attempts.len()
    } else {
        0..0
    };
    for attempt in &token.attempts[new] {
        expected.row(at.channel, attempt);
    }
}

/// The NDJSON files of one folder, one after another.
struct Lines<'a> {
    folder: &'a Path,
    part: Option<(u64, BufWriter<File>)>,
}

impl Lines<'_> {
    /// Returns whether a file was begun.
    fn write(&mut self, part: u64, line: &[u8]) -> Result<bool, Box<dyn Error>> {
        let begun = self.part.as_ref().is_none_or(|(open, _)| *open != part);
        if begun {
            self.finish()?;
            let file = File::create(self.folder.join(format!("part-{part:05}.ndjson")))?;
            self.part = Some((part, BufWriter::with_capacity(1 << 20, file)));
        }
        if let Some((_, file)) = &mut self.part {
            file.write_all(line)?;
        }
        Ok(begun)
    }

    fn finish(&mut self) -> Result<(), Box<dyn Error>> {
        if let Some((_, mut file)) = self.part.take() {
            file.flush()?;
        }
        Ok(())
    }
}

#[allow(clippy::print_stderr)] // an example of its own, not the product
fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    if fs::read_dir(&args.out).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(
            format!("{} is not empty: name a new folder, or empty it", args.out.display()).into()
        );
    }
    let expected = generate(&args)?;
    fs::write(args.out.join("pipeline.toml"), pipeline(&args))?;
    // Written last: a folder with expected.json in it is complete.
    let text = serde_json::to_string_pretty(&expected.to_json(&args))? + "\n";
    fs::write(args.out.join("expected.json"), text)?;
    eprintln!("{} objects, {} bytes in {}", expected.objects, expected.bytes, args.out.display());
    Ok(())
}
