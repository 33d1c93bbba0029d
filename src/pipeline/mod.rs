//! The pipeline file: as written, then as checked.
//!
//! Takes the text of a TOML file, `--set` arguments and the environment as a function. Gives a
//! [`Pipeline`] in which nothing is left to check, or every [`Mistake`] at once, each with file, line and
//! key. It never reaches a store, and never shows a secret: store options, the HMAC key, or what a
//! variable expands to.

mod check;
mod prices;
mod read;
mod reconcile;
mod schema;
mod written;

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

pub use prices::{load_prices, parse_prices};
pub use written::{PipelineFile, json_schema};

use crate::classify;
use crate::model::{
    Account, AccountClass, Amount, CompareSource, Compression, Envelope, Format, LineKind, Package,
};
use read::Draft;
use written::Personal;

/// A pipeline, checked.
#[derive(Clone, Debug)]
pub struct Pipeline {
    /// The file's path, as given.
    pub file: String,
    pub name: String,
    /// SHA-256, in hex, of what the pipeline says: after `--set`, `${…}` and defaults, without secrets, whatever
    /// the order of keys. Two runs with the same digest do the same.
    pub digest: String,
    pub account: Account,
    pub source: Source,
    /// In the order in which they are tried.
    pub routes: Vec<classify::Route>,
    /// Values of CompareLibType besides those known to `classify`.
    pub compare_lib_types: BTreeMap<String, CompareSource>,
    pub output: Output,
    pub privacy: Privacy,
    pub limits: Limits,
    pub reconcile: Reconcile,
}

/// How the charges are held against the bill. A run makes nothing of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reconcile {
    /// Calls by which one row may differ.
    pub tolerance_calls: i64,
    /// Yuan by which one row may differ.
    pub tolerance_amount: Amount,
    /// An attempt is near midnight up to so many minutes before or after it.
    pub midnight_minutes: i64,
    /// The bill of usage day D is out so many minutes after the Beijing midnight with which D+1 begins.
    pub bill_out_minutes: i64,
    /// File of the price book, for [`load_prices`].
    pub prices: Option<String>,
    pub account_class: AccountClass,
    /// Names and codes of products on the bill that are FaceID, besides those that are known.
    pub products: Vec<String>,
    /// What the bill calls them (子产品名称), and codes of billing tags.
    pub bill_tags: BTreeMap<String, &'static str>,
    /// What the bill calls transactions (交易类型), and what their lines are about.
    pub transaction_types: BTreeMap<String, LineKind>,
    /// Codes of billing tags whose results are not here: their lines are in no row.
    pub not_held: Vec<&'static str>,
    /// What the bill calls units of usage (组件用量单位), and the calls of one.
    pub usage_units: BTreeMap<String, i64>,
    /// Tables of charge rules for products and channels, first match first.
    pub editions: Vec<classify::EditionRoute>,
    /// Their ids are distinct.
    pub packages: Vec<Package>,
}

/// Where the results are.
#[derive(Clone, PartialEq, Eq)]
pub struct Source {
    /// A folder, or a URL of a store; holds no credentials.
    pub url: String,
    /// Pattern of the keys, relative to the URL; its captures are well-formed and distinct.
    pub keys: Option<String>,
    pub envelope: Option<Envelope>,
    pub format: Format,
    pub compression: Compression,
    pub read: Reading,
    /// Days after a usage day in which its results may still arrive.
    pub lookback_days: u16,
    /// What stands for the listing.
    pub inventory: Option<Inventory>,
    /// Secret.
    pub options: BTreeMap<String, String>,
}

/// A file that stands for a listing.
pub use written::InventorySection as Inventory;
pub use written::Reading;

/// Where the tables go.
#[derive(Clone, PartialEq, Eq)]
pub struct Output {
    /// A folder, or a URL of a store; holds no credentials, and never lies where the source is read.
    pub url: String,
    /// Secret.
    pub options: BTreeMap<String, String>,
    /// Superseded files stay so long; milliseconds.
    pub retain_ms: i64,
    /// A remote store is held so long by a run that gives no sign of life; milliseconds.
    pub lease_term_ms: i64,
}

/// The key with which a personal field is digested; `None`: the field is dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Privacy {
    pub idcard: Option<Key>,
    pub name: Option<Key>,
}

/// A key of HMAC-SHA-256, at least 16 bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct Key(Vec<u8>);

impl Key {
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// What a run may use and tolerate.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// From 0 to 1.
    pub rejects_ratio_max: f64,
    /// Bytes.
    pub memory_max: u64,
    /// 0: one per core.
    pub threads: usize,
    /// Dates are loaded together up to so many objects, at least 1.
    pub batch_objects: usize,
    /// And up to so many stored bytes.
    pub batch_bytes: u64,
    /// A request is tried again for so long; milliseconds.
    pub retry_for_ms: i64,
}

impl Limits {
    /// Bytes of rows that a run holds before it writes them to disk: a part of what it may use, and no more than
    /// serves it. (Merging and encoding take about twice as much again, the rest of the program 100 MB.)
    pub fn held_bytes(&self) -> usize {
        (self.memory_max / 8).clamp(4 << 20, 128 << 20) as usize
    }
}

/// One thing to put right in a pipeline file or in a `--set` argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The file's path as given, or `--set`.
    pub file: String,
    /// From 1; `None` for what stands nowhere (a missing section, `--set`).
    pub line: Option<usize>,
    /// `route[1].product`; empty when it is about the whole file.
    pub key: String,
    /// What is wrong and what to do.
    pub message: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if !self.key.is_empty() {
            write!(f, ": {}", self.key)?;
        }
        write!(f, ": {}", self.message)
    }
}

impl std::error::Error for Mistake {}

/// Reads and checks a pipeline file. `sets` are `path.to.key=value`; `env` looks a variable up.
/// Errors: every mistake, in the order of the file, those of `--set` last.
pub fn load(
    path: &str,
    sets: &[String],
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Pipeline, Vec<Mistake>> {
    parse(path, &text_of(path, "a pipeline file")?, sets, env)
}

/// The text of a file; `what` it should be, for its mistakes.
fn text_of(path: &str, what: &str) -> Result<String, Vec<Mistake>> {
    let mistake = |line, message: String| Mistake {
        file: path.to_owned(),
        line,
        key: String::new(),
        message,
    };
    let bytes = std::fs::read(path).map_err(|error| {
        vec![mistake(None, format!("cannot be read ({}): give the path of {what}", error.kind()))]
    })?;
    String::from_utf8(bytes).map_err(|error| {
        let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = before.iter().filter(|b| **b == b'\n').count() + 1;
        vec![mistake(Some(line), "not UTF-8: save the file as UTF-8".to_owned())]
    })
}

/// Checks the text of a pipeline file; `file` is its name in mistakes. As [`load`] otherwise.
pub fn parse(
    file: &str,
    text: &str,
    sets: &[String],
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Pipeline, Vec<Mistake>> {
    let mut draft = Draft::read(file, text, &schema::PIPELINE)?;
    draft.apply_sets(sets);
    draft.expand(env);
    schema::check(&mut draft);
    let checked = check::check(&mut draft);
    let value = draft.mistakes()?;

    let fault_of_ours = || fault_of_ours(file);
    // The errors of serde quote values, so they are not passed on; and after the schema there are none.
    let written: Option<PipelineFile> = serde_json::from_value(value).ok();
    let times = (checked.retry_for_ms, checked.retain_ms, checked.lease_term_ms);
    let sizes = (checked.memory_max, checked.batch_bytes);
    let (Some(written), Some(settlement), Some(reconcile)) =
        (written, checked.settlement, checked.reconcile)
    else {
        return Err(fault_of_ours());
    };
    let (
        (Some(retry_for_ms), Some(retain_ms), Some(lease_term_ms)),
        (Some(memory_max), Some(batch_bytes)),
    ) = (times, sizes)
    else {
        return Err(fault_of_ours());
    };
    let key_if = |personal: Personal| checked.key.clone().filter(|_| personal == Personal::Hmac);
    let mut pipeline = Pipeline {
        file: file.to_owned(),
        name: written.name,
        digest: String::new(),
        account: Account { uin: written.account.uin, settlement },
        source: Source {
            url: written.source.url,
            keys: written.source.keys,
            envelope: written.source.envelope,
            format: written.source.format,
            compression: written.source.compression,
            read: written.source.read,
            lookback_days: written.source.lookback_days,
            inventory: written.source.inventory,
            options: written.source.options,
        },
        routes: checked.routes,
        compare_lib_types: written
            .compare_lib_types
            .into_iter()
            .map(|(value, source)| (value, source.into()))
            .collect(),
        output: Output {
            url: written.output.url,
            options: written.output.options,
            retain_ms,
            lease_term_ms,
        },
        privacy: Privacy {
            idcard: key_if(written.privacy.idcard),
            name: key_if(written.privacy.name),
        },
        limits: Limits {
            rejects_ratio_max: written.limits.rejects_ratio_max,
            memory_max,
            threads: written.limits.threads,
            batch_objects: written.limits.batch_objects,
            batch_bytes,
            retry_for_ms,
        },
        reconcile,
    };
    pipeline.digest = digest(&pipeline);
    Ok(pipeline)
}

fn fault_of_ours(file: &str) -> Vec<Mistake> {
    let message =
        "passes the checks but cannot be read: please report this file as a fault of faceledger";
    vec![Mistake {
        file: file.to_owned(),
        line: None,
        key: String::new(),
        message: message.to_owned(),
    }]
}

fn digest(pipeline: &Pipeline) -> String {
    // Field by field, so that a new field cannot be forgotten, nor a secret slip in.
    let Pipeline {
        file: _,
        name,
        digest: _,
        account,
        source,
        routes,
        compare_lib_types,
        output,
        privacy,
        limits,
        // What a run does does not depend on it.
        reconcile: _,
    } = pipeline;
    let Source {
        url,
        keys,
        envelope,
        format,
        compression,
        read,
        lookback_days,
        inventory,
        options,
    } = source;
    let inventory = inventory.as_ref().map(|i| json!([i.url, i.prefix, i.encoded]));
    let routes: Vec<Value> = routes
        .iter()
        .map(|route| {
            // Sorted by field already.
            let conditions: Vec<(&str, &[String])> =
                route.conditions.iter().map(|c| (c.field.as_str(), c.values.as_slice())).collect();
            json!([
                conditions,
                route.product,
                route.channel,
                route.compare_source.map(CompareSource::code)
            ])
        })
        .collect();
    let envelope = envelope.as_ref().map(|envelope| {
        let Envelope { response, biz_token, rule_id, channel, fetched_at, created_at } = envelope;
        json!([response, biz_token, rule_id, channel, fetched_at, created_at])
    });
    let compare_lib_types: Vec<(&str, &str)> =
        compare_lib_types.iter().map(|(value, source)| (value.as_str(), source.code())).collect();
    let names = |options: &BTreeMap<String, String>| options.keys().cloned().collect::<Vec<_>>();
    // Arrays only: objects would bring an order of their own.
    let said = json!([
        name,
        [account.uin, format!("{:?}", account.settlement)],
        [url, keys, envelope, format, compression, read, lookback_days, inventory, names(options)],
        routes,
        compare_lib_types,
        [output.url, names(&output.options), output.retain_ms, output.lease_term_ms],
        [privacy.idcard.is_some(), privacy.name.is_some()],
        [limits.rejects_ratio_max, limits.memory_max, limits.threads],
        [limits.batch_objects, limits.batch_bytes, limits.retry_for_ms],
    ]);
    Sha256::digest(said.to_string()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Options for `Debug`: their names only.
struct Hidden<'a>(&'a BTreeMap<String, String>);

impl fmt::Debug for Hidden<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.0.keys().map(|name| (name, format_args!("***")))).finish()
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Source {
            url,
            keys,
            envelope,
            format,
            compression,
            read,
            lookback_days,
            inventory,
            options,
        } = self;
        f.debug_struct("Source")
            .field("url", url)
            .field("keys", keys)
            .field("envelope", envelope)
            .field("format", format)
            .field("compression", compression)
            .field("read", read)
            .field("lookback_days", lookback_days)
            .field("inventory", inventory)
            .field("options", &Hidden(options))
            .finish()
    }
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Output")
            .field("url", &self.url)
            .field("options", &Hidden(&self.options))
            .field("retain_ms", &self.retain_ms)
            .field("lease_term_ms", &self.lease_term_ms)
            .finish()
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}
