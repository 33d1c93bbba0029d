//! FOCUS rows: daily charges in the columns of the FinOps Open Cost and Usage Specification 1.2.
//!
//! Takes an [`Exported`]. Gives CSV or JSON, one row per account, Beijing day and billing tag. Numbers are exact decimals;
//! times are UTC, ends exclusive; texts are ASCII but in `x_` columns, as the specification wants them. What we do not know is
//! null: resource, region, sub-account, invoice, commitment discounts (packages stand in `x_` columns).

use crate::classify::Catalogue;
use crate::model::{Amount, DailyCharge, DayCost, UsageDay};
use crate::run::Exported;
use std::collections::HashMap;

/// In the order of the file. Columns of our own begin with `x_`, as the specification asks.
pub const COLUMNS: [&str; 61] = [
    "BilledCost",
    "EffectiveCost",
    "ListCost",
    "ContractedCost",
    "ListUnitPrice",
    "ContractedUnitPrice",
    "BillingAccountId",
    "BillingAccountName",
    "BillingAccountType",
    "SubAccountId",
    "SubAccountName",
    "SubAccountType",
    "BillingCurrency",
    "BillingPeriodStart",
    "BillingPeriodEnd",
    "ChargePeriodStart",
    "ChargePeriodEnd",
    "ChargeCategory",
    "ChargeClass",
    "ChargeDescription",
    "ChargeFrequency",
    "ConsumedQuantity",
    "ConsumedUnit",
    "PricingQuantity",
    "PricingUnit",
    "PricingCategory",
    "CommitmentDiscountId",
    "CommitmentDiscountName",
    "CommitmentDiscountCategory",
    "CommitmentDiscountType",
    "CommitmentDiscountStatus",
    "CommitmentDiscountQuantity",
    "CommitmentDiscountUnit",
    "ServiceName",
    "ServiceCategory",
    "ServiceSubcategory",
    "SkuId",
    "SkuPriceId",
    "SkuMeter",
    "SkuPriceDetails",
    "ProviderName",
    "PublisherName",
    "InvoiceIssuerName",
    "ResourceId",
    "ResourceName",
    "ResourceType",
    "RegionId",
    "RegionName",
    "Tags",
    "InvoiceId",
    "x_BillingTag",
    "x_SettlementDate",
    "x_Attempts",
    "x_Charged",
    "x_Free",
    "x_Unknown",
    "x_FreePackage",
    "x_PaidPackage",
    "x_Postpaid",
    "x_CostBasis",
    "x_SourceVersion",
];

/// Whose service it is: provider, publisher and issuer of the invoice.
const PROVIDER: &str = "Tencent Cloud";
const SERVICE: &str = "FaceID";
/// One call. The specification wants units capitalised and in the plural.
const UNIT: &str = "Requests";

/// CSV with a header, lines ended by LF; a null is an empty cell.
pub fn csv(exported: &Exported) -> String {
    let mut writer = csv::Writer::from_writer(Vec::new());
    // Memory takes every byte, and all rows are as long as the header.
    let _ = writer.write_record(COLUMNS);
    for row in rows(exported) {
        let _ = writer.write_record(row.iter().map(|(_, cell)| cell.as_deref().unwrap_or("")));
    }
    let bytes = writer.into_inner().unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The same rows as JSON objects; numbers are texts, so that no reader makes floats of them.
pub fn json(exported: &Exported) -> Vec<serde_json::Value> {
    rows(exported)
        .map(|row| {
            row.into_iter().map(|(name, cell)| (name, serde_json::Value::from(cell))).collect()
        })
        .collect()
}

fn rows(exported: &Exported) -> impl Iterator<Item = Vec<(&'static str, Option<String>)>> {
    let costs: HashMap<(&str, UsageDay, &str), &DayCost> = exported
        .days
        .iter()
        .map(|day| ((day.account.as_str(), day.usage_date, day.billing_tag.as_str()), day))
        .collect();
    exported.charges.iter().map(move |charge| {
        let key = (charge.account.as_str(), charge.usage_date, charge.billing_tag.as_str());
        let cells = cells(charge, costs.get(&key).copied(), &exported.currency);
        COLUMNS.into_iter().zip(cells).collect()
    })
}

fn cells(
    charge: &DailyCharge,
    cost: Option<&DayCost>,
    currency: &str,
) -> [Option<String>; COLUMNS.len()] {
    let day = charge.usage_date;
    let catalogue = Catalogue::get();
    let tag = catalogue.tag_by_label(&charge.billing_tag).map(|id| catalogue.tag(id).code);
    let tag = tag.unwrap_or("unmapped");
    let unit = cost.and_then(|cost| cost.unit_price);
    // The specification wants a number. `x_CostBasis` says when it stands for none.
    let amount = cost.and_then(|cost| cost.cost);
    let basis = match (amount, cost) {
        (Some(_), Some(cost)) if cost.provisional => "provisional",
        (Some(_), _) => "price_book",
        (None, _) => "no_price",
    };
    let priced = cost.map_or(charge.charged, |cost| cost.postpaid);
    let some = |text: &str| Some(text.to_owned());
    let number = |n: i64| Some(n.to_string());
    let money = || Some(amount.unwrap_or(Amount::ZERO).to_string());
    let price = || unit.map(|unit| unit.to_string());
    let share = |of: fn(&DayCost) -> i64| cost.map(|cost| of(cost).to_string());
    [
        money(),
        money(),
        money(),
        money(),
        price(),
        price(),
        some(&charge.account),
        None,
        None,
        None,
        None,
        None,
        some(currency),
        some(&utc(day.first_of_month())),
        some(&utc(day.first_of_next_month())),
        some(&utc(day)),
        some(&utc(day.plus(1))),
        some("Usage"),
        None,
        Some(format!("{tag} {day}")),
        some("Usage-Based"),
        number(charge.charged),
        some(UNIT),
        number(priced),
        some(UNIT),
        some("Standard"),
        None,
        None,
        None,
        None,
        None,
        None,
        None,
        some(SERVICE),
        some("Identity"),
        some("Other (Identity)"),
        some(tag),
        Some(unit.map_or_else(|| tag.to_owned(), |unit| format!("{tag}@{unit}"))),
        some("Charged attempts"),
        None,
        some(PROVIDER),
        some(PROVIDER),
        some(PROVIDER),
        None,
        None,
        None,
        None,
        None,
        None,
        None,
        some(&charge.billing_tag),
        Some(charge.settlement_date.to_string()),
        number(charge.attempts),
        number(charge.charged),
        number(charge.free),
        number(charge.unknown),
        share(|cost| cost.free_package),
        share(|cost| cost.paid_package),
        share(|cost| cost.postpaid),
        some(basis),
        number(charge.source_version),
    ]
}

/// The instant at which a Beijing day begins, in UTC.
fn utc(day: UsageDay) -> String {
    chrono::DateTime::from_timestamp_millis(day.begin_ms())
        .map(|instant| instant.format("%Y-%m-%dT%H:%M:%SZ").to_string())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(text: &str) -> UsageDay {
        UsageDay::parse(text).unwrap()
    }

    fn charge(date: &str, charged: i64) -> DailyCharge {
        DailyCharge {
            usage_date: day(date),
            settlement_date: day(date).plus(1),
            account: "100012345678".into(),
            billing_tag: "增强版人脸核身（权威库）-微信".into(),
            attempts: charged + 3,
            charged,
            free: 2,
            unknown: 1,
            charged_failed: 0,
            not_final: 0,
            first_req_time: 0,
            last_req_time: 0,
            source_version: 7,
        }
    }

    fn cell<'r>(row: &'r serde_json::Value, name: &str) -> Option<&'r str> {
        assert!(row.get(name).is_some(), "{name}");
        row[name].as_str()
    }

    /// 15,000 calls, 10,000 of them in a package, the rest at 1.2: the example of the price page.
    #[test]
    fn a_row_says_what_the_day_cost() {
        let charges = vec![charge("2024-11-01", 15_000), charge("2024-11-30", 5)];
        let days = vec![DayCost {
            account: "100012345678".into(),
            usage_date: day("2024-11-01"),
            billing_tag: "增强版人脸核身（权威库）-微信".into(),
            billing_tag_code: "enhanced_authority_wechat".into(),
            calls: 15_000,
            free_package: 0,
            paid_package: 10_000,
            postpaid: 5_000,
            unit_price: Some(Amount::parse("1.2").unwrap()),
            cost: Some(Amount::parse("6000").unwrap()),
            provisional: false,
        }];
        let exported = Exported { charges, days, currency: "CNY".into(), price_book: None };
        let rows = json(&exported);
        for (name, expected) in [
            ("BilledCost", "6000"),
            ("EffectiveCost", "6000"),
            ("ListUnitPrice", "1.2"),
            ("BillingCurrency", "CNY"),
            ("BillingPeriodStart", "2024-10-31T16:00:00Z"),
            ("BillingPeriodEnd", "2024-11-30T16:00:00Z"),
            ("ChargePeriodStart", "2024-10-31T16:00:00Z"),
            ("ChargePeriodEnd", "2024-11-01T16:00:00Z"),
            ("ConsumedQuantity", "15000"),
            ("PricingQuantity", "5000"),
            ("SkuId", "enhanced_authority_wechat"),
            ("SkuPriceId", "enhanced_authority_wechat@1.2"),
            ("x_SettlementDate", "2024-11-02"),
            ("x_Attempts", "15003"),
            ("x_Free", "2"),
            ("x_Unknown", "1"),
            ("x_PaidPackage", "10000"),
            ("x_CostBasis", "price_book"),
        ] {
            assert_eq!(cell(&rows[0], name), Some(expected), "{name}");
        }
        assert_eq!(cell(&rows[0], "ChargeClass"), None);
        for (name, expected) in [
            ("BilledCost", Some("0")),
            ("ListUnitPrice", None),
            ("PricingQuantity", Some("5")),
            ("ChargePeriodEnd", Some("2024-11-30T16:00:00Z")),
            ("x_Postpaid", None),
            ("x_CostBasis", Some("no_price")),
        ] {
            assert_eq!(cell(&rows[1], name), expected, "{name}");
        }
        for (name, value) in rows.iter().flat_map(|row| row.as_object().unwrap()) {
            let ascii = value.as_str().is_none_or(str::is_ascii);
            assert!(ascii || name.starts_with("x_"), "{name}: {value}");
        }
        let text = csv(&exported);
        assert_eq!(text.lines().count(), 3);
        assert!(text.lines().all(|line| line.split(',').count() == COLUMNS.len()));
    }
}
