//! `[reconcile]`: whether its values make sense.
//!
//! Takes a [`Draft`] that went through the schema. Gives a [`Reconcile`], or notes every mistake. The price book it names
//! is not read here.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Reconcile;
use super::check::unknown_code;
use super::read::{Draft, child};
use crate::classify::{Catalogue, ChargeRules, EditionRoute, TagId};
use crate::model::{AccountClass, Amount, LineKind, Package, UsageDay};

const AT: &str = "/reconcile";

/// `None` always comes with a mistake. `opened_at` is milliseconds since the epoch.
pub(super) fn reconcile(draft: &mut Draft, opened_at: Option<i64>) -> Option<Reconcile> {
    let defaults = super::written::ReconcileSection::default();
    let at = |key: &str| child(AT, key);
    let tolerance_amount = amount(draft, &at("tolerance_amount"), Some(&defaults.tolerance_amount));
    let bill_out_minutes = bill_out(draft, &at("bill_out"), &defaults.bill_out);
    let bill_tags = bill_tags(draft);
    let transaction_types = transaction_types(draft);
    let not_held: Option<Vec<&'static str>> = {
        let found: Vec<_> =
            entries(draft, &at("not_held")).iter().map(|at| tag(draft, at)).collect();
        found.into_iter().collect()
    };
    let editions = editions(draft);
    let packages = packages(draft);
    let account_class = match draft.value.pointer(&at("account_class")) {
        None => opened_at.map(AccountClass::of_opened_at),
        Some(_) => draft.text(&at("account_class")).and_then(|code| AccountClass::parse(&code)),
    };
    let texts = |at: &str| -> Vec<String> {
        let list = draft.value.pointer(at).and_then(Value::as_array).into_iter().flatten();
        list.filter_map(Value::as_str).map(str::to_owned).collect()
    };
    Some(Reconcile {
        tolerance_calls: whole(draft, &at("tolerance_calls")).unwrap_or(defaults.tolerance_calls),
        tolerance_amount: tolerance_amount?,
        midnight_minutes: whole(draft, &at("midnight_minutes"))
            .unwrap_or(defaults.midnight_minutes),
        bill_out_minutes: bill_out_minutes?,
        prices: draft.text(&at("prices")),
        account_class: account_class?,
        products: texts(&at("products")),
        bill_tags: bill_tags?,
        transaction_types,
        not_held: not_held?,
        usage_units: usage_units(draft),
        editions: editions?,
        packages: packages?,
    })
}

pub(super) fn whole(draft: &Draft, at: &str) -> Option<i64> {
    draft.value.pointer(at).and_then(Value::as_i64)
}

pub(super) fn flag(draft: &Draft, at: &str) -> bool {
    draft.value.pointer(at).and_then(Value::as_bool).unwrap_or(false)
}

/// An amount of yuan, none below zero, or its default.
pub(super) fn amount(draft: &mut Draft, at: &str, default: Option<&str>) -> Option<Amount> {
    let text = match (draft.value.pointer(at), default) {
        (None, Some(default)) => default.to_owned(),
        (None, None) => return None,
        (Some(_), _) => draft.text(at)?,
    };
    let shown = draft.shown(at);
    match Amount::parse(&text) {
        Ok(amount) if amount >= Amount::ZERO => return Some(amount),
        Ok(_) => draft.mistake(at, format!("{shown} is below zero: give an amount of yuan from 0")),
        Err(error) => draft.mistake(at, format!("{shown} {error}: write yuan like \"1.2\"")),
    }
    None
}

pub(super) fn day(draft: &mut Draft, at: &str) -> Option<UsageDay> {
    let text = draft.text(at)?;
    let day = UsageDay::parse(&text);
    if day.is_none() {
        let shown = draft.shown(at);
        draft.mistake(at, format!("{shown} is no day: write YYYY-MM-DD"));
    }
    day
}

/// A billing tag of the catalogue by its code.
pub(super) fn tag(draft: &mut Draft, at: &str) -> Option<&'static str> {
    let code = draft.text(at)?;
    let catalogue = Catalogue::get();
    if let Some(id) = catalogue.tag_by_code(&code).filter(|id| *id != TagId::UNMAPPED) {
        return Some(catalogue.tag(id).code);
    }
    if let Some(id) = catalogue.tag_by_label(&code).filter(|id| *id != TagId::UNMAPPED) {
        let shown = draft.shown(at);
        let code = catalogue.tag(id).code;
        draft.mistake(at, format!("{shown} is the label of a billing tag: write its code, {code}"));
        return None;
    }
    let tags = &catalogue.tags()[..TagId::UNMAPPED.index()];
    let known: Vec<&str> = tags.iter().map(|tag| tag.code).collect();
    unknown_code(draft, at, "billing tag", &code, &known);
    None
}

/// Minutes after midnight.
fn bill_out(draft: &mut Draft, at: &str, default: &str) -> Option<i64> {
    let text = match draft.value.pointer(at) {
        None => default.to_owned(),
        Some(_) => draft.text(at)?,
    };
    let digits = |text: &str| text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit());
    let time = text.split_once(':').filter(|(hour, minute)| digits(hour) && digits(minute));
    let time = time
        .and_then(|(hour, minute)| Some((hour.parse::<i64>().ok()?, minute.parse::<i64>().ok()?)));
    if let Some((hour @ 0..=23, minute @ 0..=59)) = time {
        return Some(hour * 60 + minute);
    }
    let shown = draft.shown(at);
    draft.mistake(at, format!("{shown} is no time of day: write HH:MM, like \"12:00\""));
    None
}

fn bill_tags(draft: &mut Draft) -> Option<BTreeMap<String, &'static str>> {
    let at = child(AT, "bill_tags");
    let names: Vec<String> = draft
        .value
        .pointer(&at)
        .and_then(Value::as_object)
        .map(|table| table.keys().cloned().collect())
        .unwrap_or_default();
    // All of them are looked at, so that every mistake is found.
    let found: Vec<Option<(String, &'static str)>> = names
        .into_iter()
        .map(|name| tag(draft, &child(&at, &name)).map(|code| (name, code)))
        .collect();
    found.into_iter().collect()
}

/// Its values are words of the schema, which has told of all others.
fn transaction_types(draft: &Draft) -> BTreeMap<String, LineKind> {
    let table = draft.value.pointer(&child(AT, "transaction_types")).and_then(Value::as_object);
    let kind = |value: &Value| {
        let code = value.as_str()?;
        LineKind::ALL.iter().copied().find(|kind| kind.code() == code)
    };
    let entries = table.into_iter().flatten();
    entries.filter_map(|(name, value)| Some((name.clone(), kind(value)?))).collect()
}

/// Its values are numbers from 1: the schema has told of all others.
fn usage_units(draft: &Draft) -> BTreeMap<String, i64> {
    let table = draft.value.pointer(&child(AT, "usage_units")).and_then(Value::as_object);
    let entries = table.into_iter().flatten();
    entries.filter_map(|(unit, calls)| Some((unit.clone(), calls.as_i64()?))).collect()
}

fn entries(draft: &Draft, at: &str) -> Vec<String> {
    let count = draft.value.pointer(at).and_then(Value::as_array).map_or(0, Vec::len);
    (0..count).map(|index| child(at, &index.to_string())).collect()
}

fn editions(draft: &mut Draft) -> Option<Vec<EditionRoute>> {
    let found: Vec<Option<EditionRoute>> =
        entries(draft, &child(AT, "editions")).into_iter().map(|at| edition(draft, &at)).collect();
    found.into_iter().collect()
}

fn edition(draft: &mut Draft, at: &str) -> Option<EditionRoute> {
    let catalogue = Catalogue::get();
    let (product_at, channel_at) = (child(at, "product"), child(at, "channel"));
    let product = draft.text(&product_at).and_then(|code| {
        let known = catalogue.products();
        let found = known.iter().copied().find(|product| *product == code);
        if found.is_none() {
            unknown_code(draft, &product_at, "product", &code, &known);
        }
        found
    });
    // `None` with a mistake, `Some(None)` for all channels.
    let channel = match (draft.text(&channel_at), product) {
        (None, _) => Some(None),
        (Some(_), None) => None,
        (Some(code), Some(product)) => {
            let known = catalogue.channels(product);
            let found = known.iter().copied().find(|channel| *channel == code);
            if known.is_empty() {
                draft.mistake(&channel_at, "this product has no channels: remove the key");
            } else if found.is_none() {
                unknown_code(draft, &channel_at, "channel of this product", &code, &known);
            }
            found.map(Some)
        }
    };
    let edition_at = child(at, "edition");
    let code = draft.text(&edition_at)?;
    let edition = match code.as_str() {
        "none" => None,
        code => match ChargeRules::get().edition(code) {
            Some(edition) => Some(edition),
            None => {
                let mut known = ChargeRules::get().editions();
                known.push("none");
                unknown_code(draft, &edition_at, "edition", code, &known);
                return None;
            }
        },
    };
    Some(EditionRoute { product: product?, channel: channel?, edition })
}

fn packages(draft: &mut Draft) -> Option<Vec<Package>> {
    let mut found: Vec<Option<Package>> = Vec::new();
    for at in entries(draft, &child(AT, "package")) {
        let package = package(draft, &at);
        let earlier = package.as_ref().and_then(|package| {
            found.iter().position(|p| p.as_ref().is_some_and(|p| p.id == package.id))
        });
        if let Some(earlier) = earlier {
            draft.mistake(
                &child(&at, "id"),
                format!("reconcile.package[{earlier}] has this id already: give each its own"),
            );
        }
        found.push(package);
    }
    found.into_iter().collect()
}

fn package(draft: &mut Draft, at: &str) -> Option<Package> {
    let id_at = child(at, "id");
    let id = draft.text(&id_at);
    if id.as_deref().is_some_and(|id| id.trim().is_empty()) {
        draft.mistake(&id_at, "it is empty: give the package a name, such as its resource ID");
    }
    let tag = tag(draft, &child(at, "tag"));
    let bought_on = day(draft, &child(at, "bought_on"));
    let expires_at = child(at, "expires_on");
    let expires_on = match draft.value.pointer(&expires_at) {
        None => bought_on.map(Package::default_expiry),
        Some(_) => day(draft, &expires_at),
    };
    let refunded_at = child(at, "refunded_on");
    let refunded_on = day(draft, &refunded_at);
    if refunded_on.is_none() && draft.value.pointer(&refunded_at).is_some() {
        return None;
    }
    let (size, used_before) =
        (whole(draft, &child(at, "size")), whole(draft, &child(at, "used_before")).unwrap_or(0));
    if size.is_some_and(|size| size < used_before) {
        draft.mistake(
            &child(at, "used_before"),
            format!("{used_before} is more than the package holds: give a number up to its size"),
        );
    }
    if let (Some(bought_on), Some(expires_on)) = (bought_on, expires_on)
        && expires_on <= bought_on
    {
        draft.mistake(&expires_at, "the package would never be valid: give a day after bought_on");
    }
    if let (Some(bought_on), Some(refunded_on)) = (bought_on, refunded_on)
        && refunded_on < bought_on
    {
        draft.mistake(&refunded_at, "given back before it was bought: put one of the days right");
    }
    Some(Package {
        id: id?,
        tag: tag?.to_owned(),
        size: size?,
        free: flag(draft, &child(at, "free")),
        bought_on: bought_on?,
        expires_on: expires_on?,
        refunded_on,
        used_before,
    })
}
