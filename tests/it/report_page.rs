//! The outcome of a reconciliation as people get it: the HTML report in a real headless Chromium, the text on the
//! terminal, the CSV of differences. All of one made-up month in which every status and every part occurs.

use faceledger::model::{
    Amount, Audit, AuditFinding, Beside, BesideKind, BillFile, BillRead, BillReject, Money,
    PackageUse, Part, PartKind, Period, Reconciled, SeqDifference, SeqGroup, SeqJoin, SeqStatus,
    Status, StatusTotal, UsageDay, UsageMonth, Variance, WaterfallRow,
};
use faceledger::report::{differences_csv, html, reconciled_text};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const TAGS: [(&str, &str); 6] = [
    ("人脸核身-APP SDK-增强版", "app_sdk_plus"),
    ("人脸核身-微信小程序-基础版", "mini_program"),
    ("人脸核身-H5-增强版", "h5_plus"),
    ("人脸核身-微信原生 H5", "wechat_h5"),
    // A label that would be markup if the page let it.
    ("<img src=x onerror=alert(1)>", "hostile"),
    ("活体人脸比对-按月", "monthly"),
];

fn yuan(text: &str) -> Amount {
    Amount::parse(text).expect("an amount")
}

fn total(amounts: impl Iterator<Item = Amount>) -> Amount {
    Amount::checked_sum(amounts).expect("a sum that fits")
}

fn day(n: i32) -> Period {
    Period::Day(UsageDay::parse("2024-11-01").expect("a day").plus(n - 1))
}

fn seq(n: u32) -> String {
    format!("a3f1c0de-{:04x}-4b7a-9c21-{n:012}", n % 0xffff)
}

fn part(kind: PartKind, count: i64, seqs: std::ops::Range<u32>) -> Part {
    let seqs: Vec<String> = seqs.map(seq).collect();
    Part { kind, count, seqs_total: seqs.len() as i64, seqs, source_keys: Vec::new() }
}

fn row(period: Period, tag: usize, ours: i64, bill: Option<i64>, status: Status) -> Variance {
    let price = yuan("0.9");
    let cost = |n: i64| price.checked_mul_count(n).expect("it fits");
    Variance {
        account: "100012345678".to_owned(),
        period,
        billing_tag: TAGS[tag].0.to_owned(),
        billing_tag_code: TAGS[tag].1.to_owned(),
        status,
        ours_attempts: ours + 4,
        ours_charged: ours,
        ours_free: 3,
        ours_unknown: 1,
        provider_calls: bill,
        provider_deducted: bill.map(|_| Amount::ZERO),
        provider_billed: bill.map(Amount::of_count),
        provider_cost: bill.map(cost),
        expected_deducted: Some(0),
        expected_billed: Some(ours),
        expected_cost: Some(cost(ours)),
        difference: bill.unwrap_or(0) - ours,
        parts: Vec::new(),
        listed: false,
        lines: bill.map(|_| format!("20241102{tag:04}")).into_iter().collect(),
    }
}

/// A month of six tags, with a difference of every kind in it.
fn month() -> Reconciled {
    let mut rows = Vec::new();
    for n in 1..=30 {
        for tag in 0..5 {
            let ours = i64::from((n * 37 + 17 * tag as i32) % 60) + [240, 160, 90, 40, 12][tag];
            let mut row = row(day(n), tag, ours, Some(ours), Status::Matched);
            // The first days are taken from a package.
            if tag == 1 && n <= 3 {
                row.status = Status::CoveredByPackage;
                row.provider_calls = None;
                row.difference = -ours;
                (row.provider_billed, row.provider_cost, row.lines) = (None, None, Vec::new());
                row.expected_cost = Some(Amount::ZERO);
            }
            if n == 30 {
                row.status = Status::Pending;
                row.provider_calls = None;
                row.difference = -ours;
                (row.provider_billed, row.provider_cost, row.lines) = (None, None, Vec::new());
            }
            rows.push(row);
        }
    }
    let mut differ = |n: i32, tag: usize, status: Status, by: i64, parts: Vec<Part>| {
        assert_eq!(parts.iter().map(|p| p.count).sum::<i64>(), by, "parts add up");
        let found = rows.iter_mut().find(|r| r.period == day(n) && r.billing_tag == TAGS[tag].0);
        let found = found.expect("a row");
        let bill = found.ours_charged + by;
        let calls = (status != Status::OursOnly).then_some(bill);
        *found = Variance { parts, ..row(day(n), tag, found.ours_charged, calls, status) };
    };
    differ(4, 0, Status::ProviderMore, 3, vec![part(PartKind::Midnight, 3, 100..103)]);
    differ(5, 0, Status::OursMore, -3, vec![part(PartKind::Midnight, -3, 103..106)]);
    differ(
        9,
        2,
        Status::ProviderMore,
        41,
        vec![
            part(PartKind::UnknownFlag, 6, 200..206),
            part(PartKind::NotFinal, 2, 210..215),
            part(PartKind::Duplicate, 30, 300..330),
            Part {
                source_keys: vec!["results/2024-11-09/part-0007.json".to_owned()],
                ..part(PartKind::Reject, 1, 0..0)
            },
            part(PartKind::Unexplained, 2, 0..0),
        ],
    );
    differ(
        14,
        3,
        Status::ProviderMore,
        5,
        vec![
            part(PartKind::FlagDiffers, 3, 400..403),
            part(PartKind::ProviderOnly, 4, 410..414),
            part(PartKind::OursOnly, -2, 420..422),
        ],
    );
    differ(17, 1, Status::OursMore, -12, vec![part(PartKind::Unexplained, -12, 0..0)]);
    let lost = -rows
        .iter()
        .find(|r| r.period == day(20) && r.billing_tag == TAGS[3].0)
        .expect("a row")
        .ours_charged;
    let mut differ = |n: i32, tag: usize, status: Status, by: i64, parts: Vec<Part>| {
        let at = rows.iter().position(|r| r.period == day(n) && r.billing_tag == TAGS[tag].0);
        let at = at.expect("a row");
        let ours = rows[at].ours_charged;
        let calls = (status != Status::OursOnly).then_some(ours + by);
        rows[at] = Variance { parts, ..row(day(n), tag, ours, calls, status) };
    };
    differ(20, 3, Status::OursOnly, lost, vec![part(PartKind::Unexplained, lost, 500..512)]);
    differ(23, 4, Status::Adjusted, -1, vec![part(PartKind::Unexplained, -1, 0..0)]);
    let mut only = row(
        Period::Day(UsageDay::parse("2024-11-26").expect("a day")),
        5,
        0,
        Some(7),
        Status::ProviderOnly,
    );
    only.parts = vec![part(PartKind::ProviderOnly, 7, 600..607)];
    let mut unmapped = row(day(27), 5, 2, None, Status::Unmapped);
    (unmapped.billing_tag, unmapped.billing_tag_code) =
        ("unmapped".to_owned(), "unmapped".to_owned());
    unmapped.parts = vec![part(PartKind::Unexplained, -2, 700..702)];
    let monthly = Period::Month(UsageMonth::parse("2024-11").expect("a month"));
    let mut dear = row(monthly, 5, 1234, Some(1234), Status::Matched);
    // The calls agree, the money does not.
    dear.provider_cost = dear.expected_cost.and_then(|c| c.checked_add(yuan("12.34000001")));
    rows.extend([only, unmapped, dear]);
    rows.sort_by(|a, b| {
        (&a.account, a.period, &a.billing_tag).cmp(&(&b.account, b.period, &b.billing_tag))
    });

    let totals = Status::ALL
        .iter()
        .filter_map(|status| {
            let of: Vec<&Variance> = rows.iter().filter(|r| r.status == *status).collect();
            (!of.is_empty()).then(|| StatusTotal {
                status: *status,
                rows: of.len() as i64,
                ours_charged: of.iter().map(|r| r.ours_charged).sum(),
                provider_calls: of.iter().filter_map(|r| r.provider_calls).sum(),
                difference: of.iter().map(|r| r.difference).sum(),
            })
        })
        .collect();
    Reconciled {
        pipeline: "faceid".to_owned(),
        pipeline_file: "pipelines/face id.toml".to_owned(),
        account: "100012345678".to_owned(),
        months: vec!["2024-11".to_owned()],
        as_of: "2024-12-01T07:30:00+08:00".to_owned(),
        detail_version: Some(12),
        daily_version: Some(9),
        bill: bill(),
        money: Some(money(&rows)),
        totals,
        seqs: Some(seqs()),
        audit: Some(audit()),
        tolerance_calls: 2,
        tolerance_amount: yuan("0.01"),
        over_tolerance: 7,
        beside: Vec::new(),
        rows,
    }
}

fn money(rows: &[Variance]) -> Money {
    let waterfall: Vec<WaterfallRow> = rows
        .iter()
        .map(|r| {
            let free = if r.status == Status::CoveredByPackage { r.ours_charged } else { 0 };
            let paid = if r.billing_tag == TAGS[0].0 { r.ours_charged / 3 } else { 0 };
            WaterfallRow {
                account: r.account.clone(),
                period: r.period,
                billing_tag: r.billing_tag.clone(),
                billing_tag_code: r.billing_tag_code.clone(),
                calls: r.ours_charged,
                free_package: free,
                paid_package: paid,
                postpaid: r.ours_charged - free - paid,
                unit_price: Some(yuan("0.9")),
                expected_cost: r.expected_cost,
                bill_deducted: r.provider_deducted,
                bill_billed: r.provider_billed,
                bill_cost: r.provider_cost,
                difference_cost: r.cost_difference(),
                provisional: r.status == Status::Pending,
            }
        })
        .collect();
    Money {
        price_book: "contract-2024".to_owned(),
        expected_cost: total(waterfall.iter().filter_map(|w| w.expected_cost)),
        bill_cost: total(waterfall.iter().filter_map(|w| w.bill_cost)),
        bill_rounding: yuan("-0.00340001"),
        expected_rounding: yuan("-0.0034"),
        packages: vec![
            PackageUse {
                id: "free-2024".to_owned(),
                billing_tag_code: "mini_program".to_owned(),
                free: true,
                size: 1000,
                bought_on: "2024-10-01".to_owned(),
                expires_on: "2025-10-01".to_owned(),
                refunded_on: None,
                used_before: 420,
                used: 580,
                left: 0,
            },
            PackageUse {
                id: "res-8f2k1".to_owned(),
                billing_tag_code: "app_sdk_plus".to_owned(),
                free: false,
                size: 1_000_000,
                bought_on: "2024-06-15".to_owned(),
                expires_on: "2025-06-15".to_owned(),
                refunded_on: Some("2024-12-20".to_owned()),
                used_before: 12_345,
                used: 2_600,
                left: 985_055,
            },
        ],
        waterfall,
        ..Money::default()
    }
}

fn bill() -> BillRead {
    let file = |name: &str, kind: &str, encoding: &str, rows, rejects| BillFile {
        name: name.to_owned(),
        kind: kind.to_owned(),
        encoding: encoding.to_owned(),
        rows,
        lines: rows - 40 - rejects,
        lines_other_products: 40,
        rejects,
        replaced_by: None,
    };
    let mut replaced = file("bill/2024-11-20.zip!detail.csv", "detail_csv", "gb18030", 120, 0);
    replaced.replaced_by = Some("bill/2024-11-29.zip!detail.csv".to_owned());
    BillRead {
        files: vec![
            replaced,
            file("bill/2024-11-29.zip!detail.csv", "detail_csv", "utf-8-bom", 180, 2),
            file("wechat/2024-11.json", "wechat_json", "utf-8", 90, 0),
        ],
        lines: 138,
        lines_other_products: 80,
        rejects: vec![
            BillReject {
                file: "bill/2024-11-29.zip!detail.csv".to_owned(),
                row: 57,
                column: "组件用量".to_owned(),
                reason: "amount_invalid",
                message: "is no decimal number: download the file anew, or mend the cell"
                    .to_owned(),
            },
            BillReject {
                file: "bill/2024-11-29.zip!detail.csv".to_owned(),
                row: 91,
                column: "使用开始时间".to_owned(),
                reason: "time_invalid",
                message: "is no time: expected YYYY-MM-DD hh:mm:ss".to_owned(),
            },
        ],
        rejects_total: 2,
        warnings: vec![
            "2024-11 is not complete: the bill of 2024-11-30 is not out yet at that time; reconcile the month again when it is".to_owned(),
            "2024-11 is not complete: the last day on the bill is 2024-11-29".to_owned(),
        ],
        ..BillRead::default()
    }
}

fn seqs() -> SeqJoin {
    let differences: Vec<SeqDifference> = (0..120)
        .map(|n| {
            let status = SeqStatus::ALL[1 + n as usize % 4];
            let (ours, theirs) = (status != SeqStatus::ProviderOnly, status != SeqStatus::OursOnly);
            let later = if status == SeqStatus::DayDiffers { "2024-11-15" } else { "2024-11-14" };
            SeqDifference {
                seq: seq(400 + n),
                status,
                ours_day: ours.then(|| "2024-11-14".to_owned()),
                provider_day: theirs.then(|| later.to_owned()),
                ours_charge: ours.then_some(status != SeqStatus::FlagDiffers),
                provider_charge: theirs.then_some(true),
                billing_tag: Some(TAGS[3].0.to_owned()),
                rule_id: (n % 3 != 0).then(|| format!("rule-{}", n % 3)),
                hour: (n % 24) as i8,
                source_key: ours.then(|| "results/2024-11-14/part-0001.json".to_owned()),
                source_record: ours.then_some(i64::from(n)),
                provider_file: theirs.then(|| "wechat/2024-11.json".to_owned()),
                provider_row: theirs.then_some(i64::from(n)),
            }
        })
        .collect();
    let mut groups: Vec<SeqGroup> = Vec::new();
    for d in &differences {
        let same =
            |g: &&mut SeqGroup| (&g.rule_id, g.hour, g.status) == (&d.rule_id, d.hour, d.status);
        match groups.iter_mut().find(same) {
            Some(group) => group.count += 1,
            None => groups.push(SeqGroup {
                rule_id: d.rule_id.clone(),
                hour: d.hour,
                status: d.status,
                count: 1,
            }),
        }
    }
    groups.sort();
    SeqJoin {
        agree: 2_041,
        flag_differs: 30,
        day_differs: 30,
        ours_only: 30,
        provider_only: 35,
        groups,
        differences,
        differences_total: 125,
    }
}

fn audit() -> Audit {
    let finding = |n: u32, charged: bool| AuditFinding {
        seq: if n == 800 { "=HYPERLINK(\"x\")".to_owned() } else { seq(n) },
        usage_date: "2024-11-12".to_owned(),
        billing_tag: TAGS[2].0.to_owned(),
        errcode: 66_661_001,
        is_need_charge: charged,
        published_charge: !charged,
        edition: "plus".to_owned(),
        rule_from: "2024-01-01".to_owned(),
        // One of a tag without a price.
        money: (charged && n > 800).then(|| yuan("0.9")),
    };
    Audit {
        checked: 16_204,
        no_table: 2,
        unknown_flag: 0,
        not_listed: 3,
        charged_against_rule: 4,
        free_against_rule: 1,
        overcharge: Some(yuan("2.7")),
        overcharge_unpriced: 1,
        findings: (800..804).map(|n| finding(n, true)).chain([finding(804, false)]).collect(),
        findings_total: 5,
    }
}

/// A program that the browser test needs, as named by a variable or looked up in PATH.
fn tool(variable: &str, names: &[&str], install: &str) -> PathBuf {
    let told = std::env::var_os(variable).map(PathBuf::from);
    let candidates: Vec<PathBuf> =
        told.map_or_else(|| names.iter().map(PathBuf::from).collect(), |told| vec![told]);
    candidates
        .iter()
        .find(|program| {
            Command::new(program).arg("--version").output().is_ok_and(|o| o.status.success())
        })
        .unwrap_or_else(|| panic!("{candidates:?}: none of them runs: {install}"))
        .clone()
}

#[test]
fn the_page_works_in_a_browser() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let browser_tests = root.join("tests/browser");
    let how =
        "run `make test`, which sets them up, or tests/browser/setup.sh (needs Node 18 or later)";
    let node = tool("FACELEDGER_NODE", &["node", "nodejs"], how);
    let chromium =
        tool("FACELEDGER_CHROMIUM", &["chromium", "chromium-browser", "google-chrome"], how);
    assert!(
        browser_tests.join("node_modules/playwright-core").exists(),
        "no playwright-core: {how}, or `npm ci` in tests/browser"
    );
    let folder = tempfile::tempdir().expect("a temporary folder");
    let write = |name: &str, reconciled: &Reconciled| {
        fs::write(folder.path().join(name), html(reconciled).expect("a page")).expect("written");
    };
    write("month.html", &month());
    // Amounts as long as they get: hundreds of millions of yuan, to eight places.
    let mut costly = month();
    let money = costly.money.as_mut().expect("money");
    (money.expected_cost, money.bill_cost) =
        (yuan("123456789.12345678"), yuan("-123456789.12345678"));
    let dear = costly.rows.iter_mut().find(|row| row.provider_cost.is_some()).expect("a row");
    dear.provider_cost = Some(yuan("123456789.12345678"));
    write("costly.html", &costly);
    write("nothing.html", &Reconciled::default());
    let plain = |status| Reconciled {
        rows: vec![row(day(1), 0, 10, (status == Status::Matched).then_some(10), status)],
        bill: BillRead { lines: 1, ..BillRead::default() },
        ..Reconciled::default()
    };
    write("right.html", &plain(Status::Matched));
    write("pending.html", &plain(Status::Pending));
    write("beside.html", &beside());
    let screenshots = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../screenshots");
    fs::create_dir_all(&screenshots).expect("a folder for screenshots");
    let ran = Command::new(node)
        .arg(browser_tests.join("run.mjs"))
        .args([folder.path(), &screenshots])
        .env("FACELEDGER_CHROMIUM", chromium)
        .output()
        .expect("node starts");
    assert!(
        ran.status.success(),
        "{}{}",
        String::from_utf8_lossy(&ran.stdout),
        String::from_utf8_lossy(&ran.stderr)
    );
}

/// One row that agrees, 2 calls of a tag without a price, and a refund that nobody knows.
fn beside() -> Reconciled {
    let mut agrees = row(day(1), 0, 10, Some(10), Status::Matched);
    agrees.expected_cost = None;
    let mut money = money(std::slice::from_ref(&agrees));
    money.packages.clear();
    for row in &mut money.waterfall {
        (row.unit_price, row.expected_cost, row.difference_cost) = (None, None, None);
        row.bill_cost = Some(yuan("2.5"));
    }
    money.add_up().expect("fits");
    Reconciled {
        rows: vec![agrees],
        bill: BillRead { lines: 2, ..BillRead::default() },
        beside: vec![
            Beside {
                kind: BesideKind::UnknownKind,
                lines: 2,
                cost: Some(yuan("-1.2")),
                cost_gross: Some(yuan("3.2")),
                over_tolerance: true,
            },
            Beside {
                kind: BesideKind::NoPrice,
                lines: 0,
                cost: Some(yuan("2.5")),
                cost_gross: Some(yuan("2.5")),
                over_tolerance: true,
            },
        ],
        money: Some(money),
        ..Reconciled::default()
    }
}

#[test]
fn what_stands_beside_the_rows_is_no_agreement() {
    let text = reconciled_text(&beside());
    let headline = "THE BILL IS NOT SHOWN TO BE RIGHT: all of 1 row agree in their calls; money was not compared. \
                    Besides: 2 lines of unknown kind, -1.2 yuan (3.2 without regard to sign); what has no price in the \
                    price book, +2.5 yuan.";
    assert!(text.contains(headline), "{text}");
    assert!(text.contains("no price  2.5 yuan on the bill"), "{text}");
    assert!(!text.contains("THE BILL IS RIGHT") && !text.contains("yuan expected"), "{text}");
    // Lines of unknown kind that come to nothing change nothing.
    let mut nothing = beside();
    for beside in &mut nothing.beside {
        beside.over_tolerance = false;
    }
    assert!(!nothing.is_over_tolerance() && beside().is_over_tolerance());
    assert!(reconciled_text(&nothing).contains("THE BILL IS RIGHT"));
}

/// Worked out by hand from `month`: the rows that differ are days 4, 5, 9, 14, 17, 20, 23, 26, 27 and the month.
#[test]
fn the_text_says_what_differs_and_what_to_do() {
    let reconciled = month();
    let text = reconciled_text(&reconciled);
    assert!(text.contains("THE BILL DIFFERS in 10 rows"), "{text}");
    // 3 + 41 + 5 + 7 more. 3 + 12 + lost + 1 + 2 fewer, of which lost are (20 * 37 + 17 * 3) % 60 + 40 = 51.
    assert!(
        text.contains("it counts 56 calls more in some rows and 69 calls fewer in others"),
        "{text}"
    );
    // (56 - 69) * 0.9 + 12.34000001.
    assert!(text.contains("asks 0.64000001 yuan more than expected"), "{text}");
    assert!(
        text.contains("7 of 153 rows are over the tolerance of 2 calls and 0.01 yuan"),
        "{text}"
    );
    assert!(text.contains("The bill of 5 rows is not out yet"), "{text}");
    let biggest = text.find("2024-11-20").expect("the biggest difference");
    assert!(biggest < text.find("2024-11-09").expect("the second"), "{text}");
    for words in
        ["the same Seq counted twice", "Seq a3f1c0de", "and 29 more", "What to do next", "WARNING"]
    {
        assert!(text.contains(words), "{words}: {text}");
    }
    assert!(
        text.contains(
            "4 charged against them (2.7 yuan at postpaid prices, before packages, and 1 without"
        ),
        "{text}"
    );
    let row = |line: &&str| line.contains("2024-11 ") && line.contains("1,234");
    let row = text.lines().find(row).expect("the month");
    assert!(row.contains("calls agree, money differs"), "{text}");
    // The calls of the month agree and its money does not: a price that stands, and one of tiers that may still change.
    let price = "Compare the unit prices on the bill with the contract";
    let tiers = "Reconcile again when the month is over";
    assert!(text.contains(price) && !text.contains(tiers), "{text}");
    let mut goes_on = month();
    for row in goes_on.money.iter_mut().flat_map(|money| &mut money.waterfall) {
        row.provisional = row.period.to_string() == "2024-11";
    }
    let text = reconciled_text(&goes_on);
    assert!(text.contains(tiers) && !text.contains(price), "{text}");
    assert!(text.contains("Amounts of a month that is not over are provisional"), "{text}");
    let nothing = reconciled_text(&Reconciled::default());
    assert!(nothing.contains("NOTHING TO COMPARE"), "{nothing}");
}

#[test]
fn the_csv_holds_the_differences_and_no_formula() {
    let mut reconciled = month();
    for row in &mut reconciled.rows {
        if row.billing_tag_code == "hostile" {
            row.billing_tag = "=1+1,\"a\"".to_owned();
        }
    }
    let csv = differences_csv(&reconciled);
    assert!(csv.starts_with('\u{feff}'));
    let mut reader = csv::Reader::from_reader(csv.trim_start_matches('\u{feff}').as_bytes());
    let rows: Vec<csv::StringRecord> = reader.records().map(|r| r.expect("CSV")).collect();
    // Days 4, 5, 17, 20, 23, 26, 27 have one part, day 9 has five, day 14 three, the month none.
    assert_eq!(rows.len(), 16);
    let head = reader.headers().expect("a head").clone();
    let column = |name: &str| head.iter().position(|h| h == name).expect("a column");
    let (tag, period, part, seqs) =
        (column("billing_tag"), column("period"), column("part_count"), column("seqs"));
    let of_ninth: Vec<i64> = rows
        .iter()
        .filter(|r| &r[period] == "2024-11-09")
        .map(|r| r[part].parse().expect("a count"))
        .collect();
    assert_eq!(of_ninth.iter().sum::<i64>(), 41);
    // A column of the rows adds up to what the headline says: 56 calls more, 69 fewer, 0.64000001 yuan.
    let of = |name: &str| -> Vec<&str> {
        let at = column(name);
        rows.iter().map(|r| &r[at]).filter(|cell| !cell.is_empty()).collect()
    };
    let counts = of("difference").into_iter().map(|cell| cell.parse::<i64>().expect("a count"));
    assert_eq!(counts.sum::<i64>(), -13);
    let costs = of("cost_difference").into_iter().map(yuan);
    assert_eq!(total(costs), yuan("0.64000001"));
    let hostile = rows.iter().find(|r| &r[period] == "2024-11-23").expect("the row");
    assert_eq!(&hostile[tag], "'=1+1,\"a\"");
    assert_eq!(&hostile[column("difference")], "-1");
    assert_eq!(&hostile[column("cost_difference")], "-0.9");
    let fourth = rows.iter().find(|r| &r[period] == "2024-11-04").expect("the row");
    assert_eq!(fourth[seqs].split(' ').count(), 3);
    let month = rows.iter().find(|r| &r[period] == "2024-11").expect("the month");
    assert_eq!(&month[column("cost_difference")], "12.34000001");
}
