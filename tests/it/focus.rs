//! `export`: FOCUS rows of the sample, worked out by hand, and held against the official validator.

use crate::world::{Ran, faceledger_in};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The sample, loaded into a folder of its own.
fn loaded() -> (tempfile::TempDir, String) {
    let out = tempfile::tempdir().expect("a temporary folder");
    let output = format!("output.url={}", out.path().display());
    faceledger_in(root(), &["run", "pipelines/sample.toml", "--set", &output], &[]).exits(0);
    (out, output)
}

fn export(output: &str, more: &[&str]) -> Ran {
    let arguments = ["export", "pipelines/sample.toml", "--set", output];
    faceledger_in(root(), &[&arguments[..], more].concat(), &[])
}

const PRICES: &str = "reconcile.prices=pipelines/prices/list-2023.toml";

type Row = BTreeMap<String, String>;

fn rows(ran: &Ran) -> Vec<Row> {
    let mut lines = ran.stdout.lines().map(|line| line.split(',').map(str::to_owned));
    let header: Vec<String> = lines.next().expect("a header").collect();
    lines.map(|cells| header.iter().cloned().zip(cells).collect()).collect()
}

/// Exact, in hundred-millionths.
fn units(text: &str) -> i128 {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    format!("{whole}{part:0<8}").parse().expect("a decimal of at most eight places")
}

#[test]
fn the_rows_are_the_daily_charges_at_list_price() {
    let (_folder, output) = loaded();
    let ran = export(&output, &["--set", PRICES]).exits(0);
    let found = rows(&ran);
    // Worked out by hand: sample-data/README.md.
    let by_hand = std::fs::read_to_string(root().join("tests/cases/sample/daily_charge.csv"))
        .expect("daily_charge.csv");
    let by_hand: Vec<Vec<&str>> =
        by_hand.lines().skip(1).map(|line| line.split(',').collect()).collect();
    assert_eq!(found.len(), by_hand.len());
    // The public list price of 2023, in units of 0.01 yuan.
    let price = |tag: &str| match tag {
        "enhanced_authority_wechat" | "enhanced_authority_app" | "enhanced_authority_h5" => {
            Some(120)
        }
        "enhanced_photo_wechat" | "enhanced_photo_app" | "enhanced_photo_h5" => Some(30),
        "basic_authority" => Some(100),
        "basic_photo" => Some(15),
        "eid_authority" | "intention_authority" => Some(150),
        "intention_photo" => Some(80),
        _ => None,
    };
    for charge in by_hand {
        let [day, settled, account, tag, code, attempts, charged] = charge[..7] else {
            panic!("{charge:?}")
        };
        let row = found
            .iter()
            .find(|row| row["x_BillingTag"] == tag && row["ChargePeriodEnd"].starts_with(day))
            .unwrap_or_else(|| panic!("{day} {tag}"));
        let calls: i128 = charged.parse().expect("a count");
        let cost = price(code).unwrap_or(0) * calls * 1_000_000;
        assert_eq!(units(&row["BilledCost"]), cost, "{day} {tag}");
        // `0` where nothing is charged: that needs no price.
        let basis = if price(code).is_some() || calls == 0 { "price_book" } else { "no_price" };
        for (column, expected) in [
            ("BillingAccountId", account),
            ("SkuId", code),
            ("ConsumedQuantity", charged),
            ("PricingQuantity", charged),
            ("x_Attempts", attempts),
            ("x_SettlementDate", settled),
            ("x_CostBasis", basis),
            ("BillingCurrency", "CNY"),
            ("ChargeCategory", "Usage"),
        ] {
            assert_eq!(row[column], expected, "{day} {tag}: {column}");
        }
        assert!(row["ChargePeriodEnd"].starts_with(&format!("{day}T16:00:00Z")), "{row:?}");
        assert!(row["ChargePeriodStart"] < row["ChargePeriodEnd"]);
    }
}

#[test]
fn a_month_is_a_part_of_all_and_packages_count_from_the_first_day() {
    let (_folder, output) = loaded();
    let all = rows(&export(&output, &["--set", PRICES]).exits(0));
    let months: std::collections::BTreeSet<String> =
        all.iter().map(|row| row["BillingPeriodEnd"][..7].to_owned()).collect();
    let mut parts = 0;
    for month in &months {
        let part = rows(&export(&output, &["--set", PRICES, "--month", month]).exits(0));
        assert!(part.iter().all(|row| all.contains(row)), "{month}");
        parts += part.len();
    }
    assert_eq!(parts, all.len());
    // A large package for the tag of the first row with a charge covers all of it.
    let charged = all.iter().find(|row| row["x_Charged"] != "0").expect("a charge");
    let package = format!(
        "reconcile.package=[{{id=\"p\",tag=\"{}\",size=1000000,bought_on=\"2024-01-01\"}}]",
        charged["SkuId"]
    );
    let covered = rows(&export(&output, &["--set", PRICES, "--set", &package]).exits(0));
    for row in covered.iter().filter(|row| row["SkuId"] == charged["SkuId"]) {
        assert_eq!(
            [&row["BilledCost"], &row["PricingQuantity"], &row["x_PaidPackage"]],
            ["0", "0", &row["x_Charged"]]
        );
    }
    let ran = export(&output, &[]).exits(0);
    assert!(ran.stderr.contains("no price book"), "{}", ran.stderr);
    assert!(rows(&ran).iter().all(|row| row["BilledCost"] == "0"));
    let ran = export(&output, &["--set", "reconcile.prices=nowhere.toml"]).exits(2);
    assert!(ran.stderr.contains("nowhere.toml: cannot be read"), "{}", ran.stderr);
    export(&output, &["--month", "2024-13"]).exits(2);
}

/// The validator of the FinOps Foundation with its model of FOCUS 1.2. It needs Python 3.12 and packages of its own:
/// `make focus-check` sets them up and runs this.
#[test]
#[ignore = "needs Python 3.12 with tests/focus-requirements.txt: make focus-check"]
fn the_official_validator_finds_nothing() {
    let (folder, output) = loaded();
    let told = std::env::var_os("FACELEDGER_FOCUS_PYTHON").map(PathBuf::from);
    let python = root().join(told.unwrap_or_else(|| ".venv-focus/bin/python".into()));
    let package = "reconcile.package=[{id=\"p\",tag=\"enhanced_authority_wechat\",size=6,bought_on=\"2024-01-01\"}]";
    for more in [&["--set", PRICES][..], &["--set", PRICES, "--set", package], &[]] {
        let ran = export(&output, more).exits(0);
        let file = folder.path().join("focus.csv");
        std::fs::write(&file, ran.stdout).expect("written");
        let validated = Command::new(&python)
            .arg(root().join("tests/it/focus.py"))
            .arg(&file)
            .output()
            .expect("Python with the packages of tests/focus-requirements.txt");
        let said = String::from_utf8_lossy(&validated.stdout);
        assert!(
            validated.status.success(),
            "{more:?}\n{said}\n{}",
            String::from_utf8_lossy(&validated.stderr)
        );
    }
}
