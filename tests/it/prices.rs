//! The price book and `[reconcile]`: what they take, how they say what is wrong, and that the shipped list is the
//! published one.

use faceledger::model::{AccountClass, Amount, Rate, TierVolume, UsageDay};
use faceledger::pipeline::{Mistake, Pipeline, load_prices, parse, parse_prices};
use std::path::Path;

fn day(text: &str) -> UsageDay {
    UsageDay::parse(text).expect("a day")
}

/// Expects exactly these mistakes, in order: line, key, a part of the message.
#[track_caller]
fn expect(mistakes: &[Mistake], expected: &[(usize, &str, &str)]) {
    let found: Vec<(usize, &str)> =
        mistakes.iter().map(|m| (m.line.unwrap_or(0), m.key.as_str())).collect();
    let wanted: Vec<(usize, &str)> = expected.iter().map(|(line, key, _)| (*line, *key)).collect();
    assert_eq!(found, wanted, "{mistakes:#?}");
    for (mistake, (_, _, part)) in mistakes.iter().zip(expected) {
        assert!(mistake.message.contains(part), "{mistake} does not say {part:?}");
    }
}

/// Unit prices of the public list of 2023 (价格说明（日结）) and 2022 (价格说明), typed in from the pages: tag, price of
/// accounts that settle daily, and of those that settle monthly at 1, 1,000, 10,000, 100,000 calls a month.
const LIST: &[(&str, &str, [&str; 4])] = &[
    ("enhanced_authority_wechat", "1.2", ["1.2"; 4]),
    ("enhanced_authority_app", "1.2", ["1.2"; 4]),
    ("enhanced_authority_h5", "1.2", ["-"; 4]),
    ("enhanced_photo_wechat", "0.3", ["0.3"; 4]),
    ("enhanced_photo_app", "0.3", ["0.3"; 4]),
    ("enhanced_photo_h5", "0.3", ["-"; 4]),
    ("basic_authority", "1", ["1"; 4]),
    ("basic_photo", "0.15", ["0.15"; 4]),
    ("id_card_check", "0.3", ["0.3", "0.3", "0.28", "0.26"]),
    ("id_validity_check", "1.8", ["1.8"; 4]),
    ("bank_card_check", "0.4", ["0.4", "0.38", "0.36", "0.34"]),
    ("bank_card_info", "0.3", ["0.3", "0.3", "0.3", "0.2"]),
    ("mobile_tenure_status", "0.4", ["0.4", "0.38", "0.36", "0.36"]),
    ("mobile_check_2e", "0.4", ["0.38", "0.38", "0.37", "0.36"]),
    ("mobile_check_3e", "1.1", ["1.1"; 4]),
    ("eid_authority", "1.5", ["1.5"; 4]),
    ("intention_authority", "1.5", ["1.5"; 4]),
    ("intention_photo", "0.8", ["0.8"; 4]),
    ("nfc_read", "1", ["-"; 4]),
];

#[test]
fn the_shipped_list_is_the_published_one() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines/prices/list-2023.toml");
    let book = load_prices(path.to_str().expect("UTF-8")).expect("no mistake");
    assert!(book.name.contains("example"), "it says that it is no contract");
    assert_eq!((book.currency.as_str(), book.tier_volume), ("CNY", TierVolume::Postpaid));
    let text = |rate: Option<&Rate>, volume| {
        let unit = rate.and_then(|rate| rate.unit(volume));
        unit.map_or("-".to_owned(), |unit: Amount| unit.to_string())
    };
    let on = day("2023-06-01");
    for (tag, daily, monthly) in LIST {
        assert_eq!(text(book.rate(AccountClass::Daily, tag, on), 500_000), *daily, "{tag}");
        assert_eq!(book.rate(AccountClass::Daily, tag, day("2023-01-03")), None, "{tag}");
        let found = [1, 1_000, 10_000, 100_000]
            .map(|volume| text(book.rate(AccountClass::Monthly2021, tag, on), volume));
        assert_eq!(found, *monthly, "{tag}");
    }
    // From 200,000 on it is a matter of negotiation where there are tiers.
    let rate = book.rate(AccountClass::Monthly2021, "id_card_check", on);
    assert_eq!((text(rate, 199_999), text(rate, 200_000)), ("0.26".to_owned(), "-".to_owned()));
    assert!(book.prices.iter().all(|p| LIST.iter().any(|(tag, ..)| *tag == p.tag)));
    assert!(book.prices.iter().all(|p| p.account_class != AccountClass::Before202106));
}

#[test]
fn every_mistake_of_a_price_book_is_said_at_once() {
    let text = r#"name = "x"
currency = "yuan"
tier_volume = "some"
[[price]]
account_class = "daily"
tag = "enhanced_authority_wechatt"
from = 2024-01-01
unit = "1.2"
[[price]]
account_class = "weekly"
tag = "basic_photo"
from = "2024-02-30"
to = 2024-01-01
unit = 1.2
[[price]]
account_class = "daily"
tag = "basic_photo"
from = 2024-03-01
to = 2024-03-01
unit = "-1"
[[price]]
account_class = "daily"
tag = "basic_authority"
from = 2024-01-01
unti = "1"
[[price]]
account_class = "daily"
tag = "eid_authority"
from = 2024-01-01
unit = "1"
tiers = [
  { from = 0 }]
[[price]]
account_class = "daily"
tag = "id_card_check"
from = 2024-01-01
tiers = [
  { from = 5, unit = "0.3" },
  { from = 5, unit = "1.123456789" },
  { unit = "1" },
]
[[price]]
account_class = "daily"
tag = "id_card_check"
from = 2024-01-01
tiers = []
[[price]]
account_class = "daily"
tag = "nfc_read"
from = 2024-01-01
[[package]]
id = "p"
"#;
    let mistakes = parse_prices("p.toml", text).expect_err("mistakes");
    expect(
        &mistakes,
        &[
            (2, "currency", "\"CNY\""),
            (3, "tier_volume", "\"postpaid\" or \"all\""),
            (6, "price[0].tag", "did you mean \"enhanced_authority_wechat\"?"),
            (10, "price[1].account_class", "none of the words"),
            (12, "price[1].from", "no day"),
            (14, "price[1].unit", "expected text in quotes"),
            (19, "price[2].to", "never hold"),
            (20, "price[2].unit", "below zero"),
            (25, "price[3].unti", "did you mean \"unit\"?"),
            (31, "price[4].tiers", "not both"),
            (38, "price[5].tiers[0].from", "must begin at 0"),
            (39, "price[5].tiers[1].unit", "eight decimal places"),
            (39, "price[5].tiers[1].from", "must rise"),
            (40, "price[5].tiers[2].from", "missing"),
            (46, "price[6].tiers", "empty list"),
            (47, "price[7]", "no price"),
            (51, "package", "unknown key"),
        ],
    );
}

#[test]
fn prices_of_one_tag_do_not_overlap() {
    let price = |class: &str, from: &str, to: &str| {
        let to = if to.is_empty() { String::new() } else { format!("to = {to}\n") };
        format!(
            "[[price]]\naccount_class = \"{class}\"\ntag = \"basic_photo\"\nfrom = {from}\n{to}unit = \"1\"\n"
        )
    };
    let book = |prices: &[String]| {
        parse_prices("p.toml", &format!("name = \"x\"\ncurrency = \"CNY\"\n{}", prices.concat()))
    };
    // One ends where the next begins; another class is another matter.
    let good = [
        price("daily", "2024-02-01", ""),
        price("daily", "2024-01-01", "2024-02-01"),
        price("monthly_2021", "2024-01-01", ""),
    ];
    let found = book(&good).expect("no mistake");
    let on = |date| found.rate(AccountClass::Daily, "basic_photo", day(date)).is_some();
    assert_eq!(
        ["2023-12-31", "2024-01-01", "2024-01-31", "2024-02-01", "2030-01-01"].map(on),
        [false, true, true, true, true]
    );
    let bad = [price("daily", "2024-01-01", ""), price("daily", "2024-02-01", "2024-03-01")];
    expect(&book(&bad).expect_err("an overlap"), &[(8, "price[1]", "price[0] holds too")]);
    let bad = [price("daily", "2024-02-01", ""), price("daily", "2024-01-01", "2024-02-02")];
    expect(&book(&bad).expect_err("an overlap"), &[(8, "price[1]", "price[0] holds too")]);
}

/// A pipeline that opened on that day, and further lines.
fn pipeline(opened_at: &str, more: &str) -> Result<Pipeline, Vec<Mistake>> {
    let text = format!(
        "name = \"t\"\n[account]\nuin = \"1\"\nopened_at = \"{opened_at}\"\n[source]\nurl = \"in/\"\n[output]\nurl = \"out/\"\n{more}"
    );
    parse("p.toml", &text, &[], &|_| None)
}

const OPENED: &str = "2023-05-01T00:00:00+08:00";

#[test]
fn what_is_left_out_of_reconcile_has_defaults() {
    let found = pipeline(OPENED, "").expect("no mistake").reconcile;
    assert_eq!((found.tolerance_calls, found.tolerance_amount), (0, Amount::ZERO));
    assert_eq!((found.midnight_minutes, found.bill_out_minutes), (5, 720));
    assert_eq!(found.prices, None);
    assert!(found.packages.is_empty() && found.editions.is_empty() && found.bill_tags.is_empty());
    assert!(found.transaction_types.is_empty());
    assert!(found.usage_units.is_empty() && found.not_held.is_empty());
    for (opened_at, class) in [
        ("2021-06-21T23:59:59+08:00", AccountClass::Before202106),
        ("2021-06-22T00:00:00+08:00", AccountClass::Monthly2021),
        ("2023-01-03T15:59:59Z", AccountClass::Monthly2021),
        ("2023-01-03T16:00:00Z", AccountClass::Daily),
    ] {
        let found = pipeline(opened_at, "").expect("no mistake");
        assert_eq!(found.reconcile.account_class, class, "{opened_at}");
    }
}

#[test]
fn what_reconcile_says_is_taken() {
    let more = r#"[reconcile]
tolerance_calls = 2
tolerance_amount = "0.05"
midnight_minutes = 0
bill_out = "08:30"
prices = "prices.toml"
account_class = "monthly_2021"
products = ["p_faceid"]
bill_tags = { "人脸" = "basic_photo" }
transaction_types = { "Daily settlement" = "usage", "退款" = "refund", "x" = "package_purchase" }
usage_units = { "张" = 1, "dozen" = 12 }
not_held = ["id_card_check"]
editions = [{ product = "enhanced", edition = "plus" }, { product = "eid", edition = "none" }]
[[reconcile.package]]
id = "a"
tag = "basic_photo"
size = 10
bought_on = 2024-02-29
[[reconcile.package]]
id = "b"
tag = "eid_authority"
size = 10
free = true
bought_on = "2024-01-01"
expires_on = 2024-06-01
refunded_on = 2024-01-01
used_before = 10
"#;
    let found = pipeline(OPENED, more).expect("no mistake").reconcile;
    assert_eq!((found.tolerance_calls, found.tolerance_amount.to_string()), (2, "0.05".into()));
    assert_eq!((found.midnight_minutes, found.bill_out_minutes), (0, 510));
    assert_eq!(found.prices.as_deref(), Some("prices.toml"));
    assert_eq!(found.account_class, AccountClass::Monthly2021);
    assert_eq!(found.bill_tags["人脸"], "basic_photo");
    let kinds: Vec<(&str, &str)> =
        found.transaction_types.iter().map(|(name, kind)| (name.as_str(), kind.code())).collect();
    assert_eq!(
        kinds,
        [("Daily settlement", "usage"), ("x", "package_purchase"), ("退款", "refund")]
    );
    let units = Vec::from_iter(found.usage_units);
    assert_eq!(units, [("dozen".to_owned(), 12), ("张".to_owned(), 1)]);
    assert_eq!(found.not_held, ["id_card_check"]);
    assert_eq!(found.editions[0].product, "enhanced");
    assert!(found.editions[0].edition.is_some() && found.editions[1].edition.is_none());
    let packages: Vec<(bool, String, Option<String>, i64)> = found
        .packages
        .iter()
        .map(|p| {
            let refunded = p.refunded_on.map(|day| day.to_string());
            (p.free, p.expires_on.to_string(), refunded, p.used_before)
        })
        .collect();
    assert_eq!(
        packages,
        [
            (false, "2025-03-01".into(), None, 0),
            (true, "2024-06-01".into(), Some("2024-01-01".into()), 10),
        ]
    );
    // What a run does is the same: so is its digest.
    let with = pipeline(OPENED, more).expect("no mistake").digest;
    assert_eq!(with, pipeline(OPENED, "").expect("no mistake").digest);
}

#[test]
fn a_unit_is_one_call_or_more_and_a_tag_that_is_not_held_is_one() {
    let more =
        "[reconcile]\nusage_units = { a = 0, b = \"1\", c = 1.5 }\nnot_held = [\"id_card_chek\"]\n";
    expect(
        &pipeline(OPENED, more).expect_err("mistakes"),
        &[
            (10, "reconcile.usage_units.a", "give a number 1 or more"),
            (10, "reconcile.usage_units.b", "expected a whole number"),
            (10, "reconcile.usage_units.c", "expected a whole number"),
            (11, "reconcile.not_held[0]", "did you mean \"id_card_check\"?"),
        ],
    );
}

#[test]
fn a_transaction_is_one_of_the_kinds_there_are() {
    let more = "[reconcile]\ntransaction_types = { a = \"refnd\", b = 1 }\n";
    expect(
        &pipeline(OPENED, more).expect_err("mistakes"),
        &[
            (10, "reconcile.transaction_types.a", "did you mean \"refund\"?"),
            (10, "reconcile.transaction_types.b", "expected \"usage\" or \"refund\""),
        ],
    );
}

#[test]
fn every_mistake_of_reconcile_is_said_at_once() {
    let more = r#"[reconcile]
tolerance_calls = -1
tolerance_amount = 0.5
midnight_minutes = 721
bill_out = "24:00"
account_class = "dayly"
bill_tags = { "人脸" = "basic_foto", "x" = "unmapped" }
[[reconcile.editions]]
product = "enhancd"
edition = "plus"
[[reconcile.editions]]
product = "enhanced"
channel = "wechat"
edition = "pluss"
[[reconcile.editions]]
product = "eid"
channel = "x"
edition = "eid"
[[reconcile.package]]
id = "a"
tag = "basic_photo"
size = 10
bought_on = "2024-1-1"
used_before = 11
[[reconcile.package]]
id = "b"
tag = "basic_photo"
size = 0
bought_on = 2024-02-02
expires_on = 2024-02-02
refunded_on = 2024-02-01
[[reconcile.package]]
id = "c"
tag = "basic_photo"
size = 1
bought_on = 2024-02-02
[[reconcile.package]]
id = "c"
tag = "basic_photo"
size = 1
bought_on = 2024-02-02
sise = 3
[[reconcile.package]]
id = ""
tag = "basic_photo"
size = 1
bought_on = 2024-02-02
"#;
    expect(
        &pipeline(OPENED, more).expect_err("mistakes"),
        &[
            (10, "reconcile.tolerance_calls", "0 or more"),
            (11, "reconcile.tolerance_amount", "expected text in quotes"),
            (12, "reconcile.midnight_minutes", "from 0 to 720"),
            (13, "reconcile.bill_out", "HH:MM"),
            (14, "reconcile.account_class", "did you mean \"daily\"?"),
            (15, "reconcile.bill_tags.x", "no billing tag"),
            (15, "reconcile.bill_tags.\"人脸\"", "did you mean \"basic_photo\"?"),
            (17, "reconcile.editions[0].product", "did you mean \"enhanced\"?"),
            (21, "reconcile.editions[1].channel", "Use one of wechat_h5_native"),
            (22, "reconcile.editions[1].edition", "did you mean \"plus\"?"),
            (25, "reconcile.editions[2].channel", "no channels"),
            (31, "reconcile.package[0].bought_on", "YYYY-MM-DD"),
            (32, "reconcile.package[0].used_before", "more than the package holds"),
            (36, "reconcile.package[1].size", "1 or more"),
            (38, "reconcile.package[1].expires_on", "never be valid"),
            (39, "reconcile.package[1].refunded_on", "before it was bought"),
            (46, "reconcile.package[3].id", "package[2] has this id"),
            (50, "reconcile.package[3].sise", "did you mean \"size\"?"),
            (52, "reconcile.package[4].id", "it is empty"),
        ],
    );
}
