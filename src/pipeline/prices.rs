//! The price book: as written, then as checked.
//!
//! Takes the text of a TOML file. Gives a [`PriceBook`], or every [`Mistake`] at once, each with file, line and key. It
//! applies no price.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::read::{Draft, child};
use super::reconcile::{amount, day, tag, whole};
use super::written::{AccountClassWritten, schema_of};
use super::{Mistake, fault_of_ours, schema, text_of};
use crate::model::{AccountClass, Price, PriceBook, Rate, Tier, TierVolume};

/// What calls cost, from day to day. TOML; unknown keys are errors. Packages are the account's: they stand in the
/// pipeline file.
// Read by key, so that mistakes can be told: these types say the shape only.
#[allow(dead_code)]
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "faceledger price book")]
struct PriceFile {
    /// Name of the price book, as reports show it.
    name: String,
    /// Code of the currency (ISO 4217): "CNY".
    currency: String,
    /// Which calls of a month decide the tier that it reaches: those left over by packages, or all that are charged.
    #[serde(default)]
    tier_volume: TierVolumeWritten,
    /// `[[price]]`: one price of one billing tag. Of one account class and tag no two may hold on the same day.
    price: Vec<PriceSection>,
}

/// Which calls of a month decide its tier.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[allow(dead_code)]
enum TierVolumeWritten {
    /// Those that are billed.
    #[default]
    Postpaid,
    /// All that are charged.
    All,
}

/// A price.
#[allow(dead_code)]
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct PriceSection {
    /// Which accounts pay it.
    account_class: AccountClassWritten,
    /// Code of the billing tag; `faceledger tags` lists them.
    tag: String,
    /// First day, YYYY-MM-DD.
    from: String,
    /// First day on which it no longer holds. Default: it goes on.
    #[serde(default)]
    to: Option<String>,
    /// Yuan for a call: a decimal in quotes. Default: none, `tiers` says it.
    #[serde(default)]
    unit: Option<String>,
    /// By the calls of the month: all of them take the price of the tier that is reached. The first begins at 0.
    /// Default: none, `unit` says it.
    #[serde(default)]
    tiers: Option<Vec<TierSection>>,
}

/// A tier of the calls of a month.
#[allow(dead_code)]
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct TierSection {
    /// Calls from which it holds.
    #[schemars(range(min = 0))]
    from: i64,
    /// Yuan for a call: a decimal in quotes. Default: none is published (to be negotiated), so none is applied.
    #[serde(default)]
    unit: Option<String>,
}

pub(super) fn price_book_schema() -> Value {
    schema_of::<PriceFile>()
}

/// Reads and checks a price book. Errors: every mistake, in the order of the file.
pub fn load_prices(path: &str) -> Result<PriceBook, Vec<Mistake>> {
    parse_prices(path, &text_of(path, "a price book")?)
}

/// Checks the text of a price book; `file` is its name in mistakes.
pub fn parse_prices(file: &str, text: &str) -> Result<PriceBook, Vec<Mistake>> {
    let mut draft = Draft::read(file, text, &schema::PRICES)?;
    schema::check(&mut draft);
    let name = draft.text("/name");
    let currency = currency(&mut draft);
    let tier_volume = match draft.text("/tier_volume").as_deref() {
        Some("all") => TierVolume::All,
        _ => TierVolume::Postpaid,
    };
    let prices = prices(&mut draft);
    draft.mistakes()?;
    match (name, currency, prices) {
        (Some(name), Some(currency), Some(prices)) => {
            Ok(PriceBook { name, currency, tier_volume, prices })
        }
        _ => Err(fault_of_ours(file)),
    }
}

fn currency(draft: &mut Draft) -> Option<String> {
    let code = draft.text("/currency")?;
    if code.len() == 3 && code.bytes().all(|b| b.is_ascii_uppercase()) {
        return Some(code);
    }
    let shown = draft.shown("/currency");
    draft.mistake("/currency", format!("{shown} is no code of a currency: write \"CNY\""));
    None
}

/// `None` always comes with a mistake.
fn prices(draft: &mut Draft) -> Option<Vec<Price>> {
    let count = draft.value.pointer("/price").and_then(Value::as_array).map_or(0, Vec::len);
    let mut prices: Vec<Option<Price>> = Vec::with_capacity(count);
    for index in 0..count {
        let at = format!("/price/{index}");
        let price = price(draft, &at);
        let meets = |other: &Price| {
            let Some(price) = &price else { return false };
            (other.account_class, &other.tag) == (price.account_class, &price.tag)
                && other.to.is_none_or(|to| price.from < to)
                && price.to.is_none_or(|to| other.from < to)
        };
        if let Some(earlier) = prices.iter().position(|other| other.as_ref().is_some_and(meets)) {
            draft.mistake(
                &at,
                format!(
                    "holds on days on which price[{earlier}] holds too: give the earlier of them a `to`, or remove one"
                ),
            );
        }
        prices.push(price);
    }
    prices.into_iter().collect()
}

fn price(draft: &mut Draft, at: &str) -> Option<Price> {
    let class = draft.text(&child(at, "account_class")).and_then(|code| AccountClass::parse(&code));
    let tag = tag(draft, &child(at, "tag"));
    let from = day(draft, &child(at, "from"));
    let to_at = child(at, "to");
    let to = day(draft, &to_at);
    if let (Some(from), Some(to)) = (from, to)
        && to <= from
    {
        draft.mistake(&to_at, "the price would never hold: give a day after `from`");
    }
    let (unit_at, tiers_at) = (child(at, "unit"), child(at, "tiers"));
    let rate = match (draft.value.pointer(&unit_at), draft.value.pointer(&tiers_at)) {
        (Some(_), Some(_)) => {
            draft.mistake(&tiers_at, "a price has `unit` or `tiers`, not both: remove one");
            None
        }
        // A misspelt key is one mistake, and said already.
        (None, None) if has_unknown_keys(draft, at) => None,
        (None, None) => {
            draft.mistake(
                at,
                "no price: add unit = \"1.2\", or tiers = [{ from = 0, unit = \"0.3\" }]",
            );
            None
        }
        (Some(_), None) => amount(draft, &unit_at, None).map(Rate::Flat),
        (None, Some(_)) => tiers(draft, &tiers_at).map(Rate::Reach),
    };
    if to.is_none() && draft.value.pointer(&to_at).is_some() {
        return None;
    }
    Some(Price { account_class: class?, tag: tag?.to_owned(), from: from?, to, rate: rate? })
}

fn has_unknown_keys(draft: &Draft, at: &str) -> bool {
    let mut keys =
        draft.value.pointer(at).and_then(Value::as_object).into_iter().flat_map(|o| o.keys());
    keys.any(|key| schema::node(draft.schema, &child(at, key)).is_none())
}

fn tiers(draft: &mut Draft, at: &str) -> Option<Vec<Tier>> {
    let count = draft.value.pointer(at).and_then(Value::as_array)?.len();
    let mut found: Vec<Option<Tier>> = Vec::with_capacity(count);
    let mut before = None;
    for index in 0..count {
        let at = child(at, &index.to_string());
        let (from_at, unit_at) = (child(&at, "from"), child(&at, "unit"));
        let unit = amount(draft, &unit_at, None);
        let from = whole(draft, &from_at);
        match (from, before) {
            (Some(1..), None) if index == 0 => {
                draft.mistake(&from_at, "the first tier must begin at 0: add one, or change this");
            }
            (Some(from), Some(before)) if from <= before => {
                draft
                    .mistake(&from_at, "tiers must rise: sort them, each with a `from` of its own");
            }
            _ => {}
        }
        before = from.or(before);
        let unpriced = draft.value.pointer(&unit_at).is_none();
        found.push(match (from, unit) {
            (Some(from), unit) if unit.is_some() || unpriced => Some(Tier { from, unit }),
            _ => None,
        });
    }
    if count == 0 {
        draft.mistake(at, "an empty list is no price: add a tier that begins at 0");
        return None;
    }
    found.into_iter().collect()
}
