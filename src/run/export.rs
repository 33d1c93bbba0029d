//! `export`: daily charges with what they cost, for other tools.

use super::{RunError, Tables, now_ms, read_small};
use crate::classify::{Catalogue, TagId};
use crate::model::{DailyCharge, DayCost, PriceBook, Settlement, UsageDay, UsageMonth};
use crate::pipeline::Pipeline;
use crate::settle::{self, Terms, Usage};
use crate::storage::Place;
use crate::write::small;

/// Daily charges, and what they cost where there is a price book.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exported {
    /// Sorted by usage day, account and tag; one of each.
    pub charges: Vec<DailyCharge>,
    /// Of the same days; empty without a price book.
    pub days: Vec<DayCost>,
    /// ISO 4217.
    pub currency: String,
    /// Name of the price book.
    pub price_book: Option<String>,
}

/// FaceID of the mainland is billed in it, where no price book says otherwise.
const CURRENCY: &str = "CNY";

/// The daily charges of an output, or those of one month of usage.
pub fn export(
    pipeline: &Pipeline,
    prices: Option<&PriceBook>,
    month: Option<UsageMonth>,
) -> Result<Exported, RunError> {
    let output = Place::open(&pipeline.output.url, &pipeline.output.options)?;
    let tables = Tables::open_existing(&output)?;
    let mut charges = read_small(&tables.daily, small::daily_charges)?;
    fn key(charge: &DailyCharge) -> (UsageDay, &str, &str) {
        (charge.usage_date, &charge.account, &charge.billing_tag)
    }
    charges.sort_by(|a, b| key(a).cmp(&key(b)));
    if let Some(pair) = charges.windows(2).find(|pair| key(&pair[0]) == key(&pair[1])) {
        return Err(RunError::Damaged(format!(
            "daily_charge holds {} of {} under two settlement dates",
            pair[0].billing_tag, pair[0].usage_date
        )));
    }
    let is_wanted = |day: UsageDay| month.is_none_or(|month| day.month() == month);
    let mut days = Vec::new();
    if let Some(book) = prices {
        let terms = terms(pipeline, book, UsageDay::of_instant(now_ms()));
        // Of all days, whatever the month: packages are used up from the first day on.
        days = settle::waterfall(&usage(pipeline, &charges), &terms, &[], Default::default())?.days;
    }
    charges.retain(|charge| is_wanted(charge.usage_date));
    days.retain(|day| is_wanted(day.usage_date));
    Ok(Exported {
        charges,
        days,
        currency: prices.map_or(CURRENCY, |book| book.currency.as_str()).to_owned(),
        price_book: prices.map(|book| book.name.clone()),
    })
}

/// By what a pipeline's account settles.
pub(super) fn terms<'a>(pipeline: &'a Pipeline, book: &'a PriceBook, as_of: UsageDay) -> Terms<'a> {
    Terms {
        book,
        class: pipeline.reconcile.account_class,
        account: &pipeline.account.uin,
        packages: &pipeline.reconcile.packages,
        as_of,
        months: None,
    }
}

/// Daily charges as usage that has a price.
pub(super) fn usage(pipeline: &Pipeline, charges: &[DailyCharge]) -> Vec<Usage> {
    let catalogue = Catalogue::get();
    charges
        .iter()
        .map(|charge| {
            let id = catalogue.tag_by_label(&charge.billing_tag).unwrap_or(TagId::UNMAPPED);
            let tag = catalogue.tag(id);
            Usage {
                account: charge.account.clone(),
                day: charge.usage_date,
                billing_tag: charge.billing_tag.clone(),
                billing_tag_code: tag.code.to_owned(),
                monthly: tag.monthly || pipeline.account.settlement == Settlement::Monthly,
                calls: charge.charged,
            }
        })
        .collect()
}
