//! Product, channel and compare library to billing tag; account and tag to settlement date.
//!
//! Takes the captures of an object's key, a [`Record`](crate::model::Record) and an attempt's compare
//! library. Gives a [`Tagged`] per attempt and, of what stayed unmapped, an account by value with the
//! route that would have caught it. Holds attempts against the published charging codes (`charge_rules`). It never decides
//! whether an attempt is charged, does no I/O, and never keeps or shows a value of `Text.Extra`.

mod bill;
mod catalogue;
mod charge_rules;
mod route;
mod unmapped;

pub use bill::{BillNames, BillTags, UnknownTag, billing_tag_of_bill};
pub use catalogue::{Catalogue, CatalogueRow, Tag, TagId};
pub use charge_rules::{
    AuditedAttempt, Auditor, ChargeRules, EditionId, EditionRoute, FINDINGS_MAX, Rule, Verdict,
};
pub use route::{
    Condition, Route, RouteError, Routed, Router, Tagged, WhyUnmapped, settlement_date,
};
pub use unmapped::{UnmappedCounts, UnmappedLine};

#[cfg(test)]
mod tests;
