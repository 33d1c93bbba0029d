//! The pipeline file as written: these types are what `faceledger schema pipeline` shows.
//!
//! Takes nothing but the shape; whether a value makes sense is for `check` to say.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::{CompareSource, Compression, Envelope, Format};

/// One job: which results are read, how they are billed, where the tables go. TOML; unknown keys are
/// errors. In every text `${NAME}` stands for an environment variable, `${NAME:-text}` for the same with
/// a default, and `$${` for a plain `${`. `--set path.to.key=value` on the command line wins over the file.
// No `Debug`: it holds secrets as text.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "faceledger pipeline file")]
pub struct PipelineFile {
    /// Name of the job, as run reports show it: 1 to 100 letters, digits, `-`, `_` and `.`.
    pub name: String,
    /// Who pays.
    pub account: AccountSection,
    /// Where the results are, and how they are packed.
    pub source: SourceSection,
    /// `[[route]]`: which product and channel a result belongs to. The first route that matches wins; a result
    /// without one is kept as `unmapped`. Default: no route.
    #[serde(default)]
    pub route: Vec<RouteSection>,
    /// Compare sources of further values of CompareLibType, besides those that are known: value =
    /// "authority" or "uploaded_photo". Default: none.
    #[serde(default)]
    pub compare_lib_types: BTreeMap<String, CompareSourceWritten>,
    /// Where the tables go.
    pub output: OutputSection,
    /// What becomes of ID numbers and names. Default: both are dropped.
    #[serde(default)]
    pub privacy: PrivacySection,
    /// What the run may use, and what it may tolerate.
    #[serde(default)]
    pub limits: LimitsSection,
    /// How the charges are held against the bill.
    #[serde(default)]
    pub reconcile: ReconcileSection,
}

/// Who pays.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AccountSection {
    /// UIN of the paying account: digits, in quotes.
    pub uin: String,
    /// When the account opened the service: RFC 3339 with its offset. Accounts opened before
    /// 2023-01-04T00:00:00+08:00 are settled monthly, others daily.
    pub opened_at: String,
}

/// Where the results are, and how they are packed.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SourceSection {
    /// A folder, or a URL of a store: file, s3, gs, az, http, https or memory. Read recursively; keys with a
    /// segment that starts with `.` or `_` are not data.
    pub url: String,
    /// Which keys below the URL are results, and what their names say. Plain text, `{name}` for one or more
    /// characters but `/`, `*` for any characters but `/`, `**` for any characters; the whole key must match.
    /// `{date}` (YYYY-MM-DD or YYYYMMDD) is what `--from` and `--to` look at. Default: none, every key is read.
    #[serde(default)]
    pub keys: Option<String>,
    /// JSON pointers into an outer object around each result. Default: none, each record is a result.
    #[serde(default)]
    pub envelope: Option<Envelope>,
    /// How records stand in an object.
    #[serde(default)]
    pub format: Format,
    /// How objects are compressed.
    #[serde(default)]
    pub compression: Compression,
    /// How much of an object is read.
    #[serde(default)]
    pub read: Reading,
    /// For how many days after a usage day its results may still arrive: days. With `--to` D, objects with a
    /// `{date}` up to D plus this many days are read. Results can be pulled for three days.
    #[serde(default = "lookback_days")]
    pub lookback_days: u16,
    /// A file that stands for the listing, for buckets too large to list: a COS or S3 inventory. Default: none, the
    /// store is listed.
    #[serde(default)]
    pub inventory: Option<InventorySection>,
    /// Options of the source's store, credentials too, as `object_store` names them, in quotes (e.g.
    /// aws_endpoint = "https://…"). Never printed. Default: none, the environment decides (`AWS_*` and so on).
    #[serde(default)]
    pub options: BTreeMap<String, String>,
}

/// How much of an object is read.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Reading {
    /// Of a large object with one result the two ends, without the pictures between them, where they prove to hold
    /// all that the tables need; else the whole object.
    #[default]
    Auto,
    /// Every object from its first byte to its last, so that all of it is known to be JSON.
    Full,
}

/// A list of objects instead of a listing.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InventorySection {
    /// The inventory: a CSV file (plain or gzip) of key, size, last-modified and etag, with or without a first line
    /// that names its columns; or the manifest.json of an S3 or COS inventory. A path or a URL, reached with source.options.
    pub url: String,
    /// The part of the keys that source.url stands for: keys in an inventory are counted from the top of the
    /// bucket. Default: the path of source.url, where that is a bucket's; else nothing.
    #[serde(default)]
    pub prefix: Option<String>,
    /// Whether keys are URL-encoded, as S3 writes them. Default: true for a manifest, false for a CSV file.
    #[serde(default)]
    pub encoded: Option<bool>,
}

fn lookback_days() -> u16 {
    3
}

/// Which product and channel a result belongs to.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RouteSection {
    /// What must hold, all of it: the name of a capture in source.keys, of biz_token, rule_id or channel when
    /// source.envelope names it, or `extra` (the value of Text.Extra) = a text, or a list of texts of which one
    /// must be equal. {} matches everything.
    #[serde(rename = "match")]
    pub conditions: BTreeMap<String, OneOrMore>,
    /// Code of the product; `faceledger tags` lists them.
    pub product: String,
    /// Code of the channel, where the product's billing tag depends on it; `faceledger tags` lists them.
    /// Default: none.
    #[serde(default)]
    pub channel: Option<String>,
    /// Against what faces were compared, for results whose CompareLibType says nothing. Default: none, such
    /// results are `unmapped`.
    #[serde(default)]
    pub compare_source: Option<CompareSourceWritten>,
}

/// A text, or a list of texts.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum OneOrMore {
    One(String),
    More(Vec<String>),
}

/// Against what faces were compared.
#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CompareSourceWritten {
    /// 跟权威库比对
    Authority,
    /// 跟上传照片比对
    UploadedPhoto,
}

impl From<CompareSourceWritten> for CompareSource {
    fn from(written: CompareSourceWritten) -> CompareSource {
        match written {
            CompareSourceWritten::Authority => CompareSource::Authority,
            CompareSourceWritten::UploadedPhoto => CompareSource::UploadedPhoto,
        }
    }
}

/// Where the tables go.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OutputSection {
    /// A folder, or a URL of a store, as in source.url. Not inside the source, unless below a folder whose name
    /// starts with `_`.
    pub url: String,
    /// Options of the output's store, as in source.options. Never printed. Default: none, the environment decides.
    #[serde(default)]
    pub options: BTreeMap<String, String>,
    /// How long data files that a load or a compaction has superseded stay, for readers of older versions of the
    /// Delta tables: a number and a unit (s, min, h, d). With "0s" they go at once, and whoever reads the plain
    /// folders sees each row once as soon as a command has ended.
    #[serde(default = "retain")]
    pub retain: String,
    /// How long a store other than a local folder is held by a run that gives no sign of life: a number and a unit
    /// (s, min, h, d). A run whose predecessor was killed waits so long at most.
    #[serde(default = "lease_term")]
    pub lease_term: String,
}

fn retain() -> String {
    "0s".to_owned()
}

fn lease_term() -> String {
    "60s".to_owned()
}

/// What becomes of ID numbers and names.
#[derive(Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PrivacySection {
    /// What becomes of Idcard.
    #[serde(default)]
    pub idcard: Personal,
    /// What becomes of Name.
    #[serde(default)]
    pub name: Personal,
    /// Key of the digests: at least 16 bytes of text, needed as soon as something is "hmac". Keep it out of the
    /// file: "${FACELEDGER_HMAC_KEY}". Never printed. Default: none.
    #[serde(default, skip_serializing)]
    pub key: Option<String>,
}

/// What becomes of a personal field.
#[derive(Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Personal {
    /// It is not kept.
    #[default]
    Drop,
    /// Its HMAC-SHA-256 under privacy.key is kept.
    Hmac,
}

/// What the run may use, and what it may tolerate.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsSection {
    /// Rejects as a share of what was read, above which the run exits with status 3: from 0 to 1.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub rejects_ratio_max: f64,
    /// Memory the run may use: bytes, with a unit (B, kB, MB, GB, TB in thousands; KiB, MiB, GiB, TiB in 1024s).
    pub memory_max: String,
    /// Worker threads; 0 for one per core.
    #[schemars(range(min = 0, max = 1024))]
    pub threads: usize,
    /// Where source.keys captures `{date}`, a run loads and commits one date after the other; dates of few objects
    /// are taken together, up to this many objects. A date with more is a step of its own.
    #[schemars(range(min = 1))]
    pub batch_objects: usize,
    /// The same in stored bytes: bytes, with a unit.
    pub batch_bytes: String,
    /// How long a request that fails is tried again, with growing pauses: a number and a unit (s, min, h, d).
    pub retry_for: String,
}

impl Default for LimitsSection {
    fn default() -> LimitsSection {
        LimitsSection {
            rejects_ratio_max: 0.001,
            memory_max: "2GiB".to_owned(),
            threads: 0,
            batch_objects: 200_000,
            batch_bytes: "16GiB".to_owned(),
            retry_for: "3min".to_owned(),
        }
    }
}

/// How the charges are held against the bill.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ReconcileSection {
    /// Calls by which the bill of one day (or month) and billing tag may differ from ours.
    #[schemars(range(min = 0))]
    pub tolerance_calls: i64,
    /// Yuan by which it may differ from what the price book makes of ours: a decimal in quotes.
    pub tolerance_amount: String,
    /// An attempt is near midnight up to so many minutes before or after it: it may stand on the neighbouring day of
    /// the bill.
    #[schemars(range(min = 0, max = 720))]
    pub midnight_minutes: i64,
    /// When the bill of a day is out: a time of the next day in Beijing, HH:MM. Bills are made from 08:00 to 12:00.
    pub bill_out: String,
    /// File of the price book (TOML), relative to where the program is started. Default: none, counts alone are
    /// reconciled.
    pub prices: Option<String>,
    /// Under which price list the account is. Default: by account.opened_at.
    pub account_class: Option<AccountClassWritten>,
    /// Names or codes of products on the bill (产品名称, BusinessCode) that are FaceID, besides those known.
    pub products: Vec<String>,
    /// What the bill calls billing tags besides the names known: 子产品名称 = code, as `faceledger tags` lists them.
    /// Default: none.
    pub bill_tags: BTreeMap<String, String>,
    /// What the bill calls transactions (交易类型, TransactionType, ActionType; name or code) besides the names known, or
    /// instead of what is known of them = what such a line is about. Default: none.
    pub transaction_types: BTreeMap<String, LineKindWritten>,
    /// Codes of billing tags whose results this pipeline does not hold (身份信息核验 of another system, say), as
    /// `faceledger tags` lists them: their lines of the bill are set aside, and told. Default: none.
    pub not_held: Vec<String>,
    /// Units of usage on the bill (组件用量单位) besides those known (次, 万次, 1,000 次, …) = the calls of one. Default: none.
    pub usage_units: BTreeMap<String, NonZeroU32>,
    /// Which published table of charging codes holds for a product, where it is not the usual one. The first that
    /// matches wins.
    pub editions: Vec<EditionSection>,
    /// `[[reconcile.package]]`: resource packages of the account (资源包), free ones too. Free ones are used before those
    /// paid for, and what expires first before what expires later.
    pub package: Vec<PackageSection>,
}

impl Default for ReconcileSection {
    fn default() -> ReconcileSection {
        ReconcileSection {
            tolerance_calls: 0,
            tolerance_amount: "0.00".to_owned(),
            midnight_minutes: 5,
            bill_out: "12:00".to_owned(),
            prices: None,
            account_class: None,
            products: Vec::new(),
            bill_tags: BTreeMap::new(),
            transaction_types: BTreeMap::new(),
            not_held: Vec::new(),
            usage_units: BTreeMap::new(),
            editions: Vec::new(),
            package: Vec::new(),
        }
    }
}

/// What a line of the bill is about.
#[derive(Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LineKindWritten {
    /// Usage settled by the day or month.
    Usage,
    /// Money back: usage reversed, or a package returned (the line's instance type says 资源包 then).
    Refund,
    /// A correction of an earlier bill.
    Adjustment,
    /// A resource package bought or renewed.
    PackagePurchase,
    /// The difference between eight places and fen.
    Rounding,
    /// None of these, and to be set aside without a warning.
    Other,
}

/// Under which price list an account is.
#[derive(Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AccountClassWritten {
    /// Opened on or after 2023-01-04.
    Daily,
    /// Opened from 2021-06-22 to 2023-01-03.
    #[serde(rename = "monthly_2021")]
    Monthly2021,
    /// Opened before 2021-06-22.
    #[serde(rename = "before_2021_06")]
    Before202106,
}

/// Which table of charging codes holds.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EditionSection {
    /// Code of the product; `faceledger tags` lists them.
    pub product: String,
    /// Code of the channel. Default: none, all channels of the product.
    #[serde(default)]
    pub channel: Option<String>,
    /// Code of the table: "general", "plus", "eid", "intention", "sdk" or "app_h5"; "none" for no audit.
    pub edition: String,
}

/// A resource package.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PackageSection {
    /// A name of its own, for reports: the order or resource id.
    pub id: String,
    /// Code of the billing tag it covers; `faceledger tags` lists them.
    pub tag: String,
    /// Calls it holds.
    #[schemars(range(min = 1))]
    pub size: i64,
    /// Whether it was given (赠送的资源包) rather than bought.
    #[serde(default)]
    pub free: bool,
    /// Day on which it was bought or given, YYYY-MM-DD: it covers calls from 00:00 of that day in Beijing.
    pub bought_on: String,
    /// First day on which it is no longer valid. Default: one year after bought_on.
    #[serde(default)]
    pub expires_on: Option<String>,
    /// Calls it had covered before the first day that is loaded.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub used_before: i64,
    /// First day on which it no longer counts because it was given back. Default: never.
    #[serde(default)]
    pub refunded_on: Option<String>,
}

/// The JSON Schema (draft 2020-12) of the pipeline file. It describes the file after `${…}` is expanded.
pub fn json_schema() -> serde_json::Value {
    schema_of::<PipelineFile>()
}

/// The JSON Schema of a file, for people: without references, without null.
pub(super) fn schema_of<T: JsonSchema>() -> serde_json::Value {
    schemars::generate::SchemaSettings::draft2020_12()
        .with(|settings| settings.inline_subschemas = true)
        .with_transform(schemars::transform::RecursiveTransform(drop_null))
        .with_transform(schemars::transform::RecursiveTransform(unwrap_lines))
        .into_generator()
        .into_root_schema_for::<T>()
        .to_value()
}

/// TOML has no null: an optional key is absent, so a schema that offers null would only confuse.
fn drop_null(schema: &mut schemars::Schema) {
    let Some(object) = schema.as_object_mut() else {
        return;
    };
    if object.get("default").is_some_and(serde_json::Value::is_null) {
        object.remove("default");
    }
    if let Some(serde_json::Value::Array(types)) = object.get_mut("type") {
        types.retain(|t| t != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            object.insert("type".to_owned(), only);
        }
    }
    let Some(serde_json::Value::Array(choices)) = object.get_mut("anyOf") else {
        return;
    };
    choices.retain(|choice| choice.get("type").is_none_or(|t| t != "null"));
    if let [serde_json::Value::Object(only)] = choices.as_slice() {
        let only = only.clone();
        object.remove("anyOf");
        for (key, value) in only {
            // The field's own description says more than its type's.
            object.entry(key).or_insert(value);
        }
    }
}

/// Descriptions are doc comments: their line breaks are those of the source, not of the text.
fn unwrap_lines(schema: &mut schemars::Schema) {
    if let Some(serde_json::Value::String(text)) = schema.get_mut("description") {
        *text = text.replace('\n', " ");
    }
}
