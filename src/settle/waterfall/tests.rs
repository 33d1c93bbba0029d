use super::*;
use crate::model::{Price, Tier};

fn day(text: &str) -> UsageDay {
    UsageDay::parse(text).unwrap()
}

fn yuan(text: &str) -> Amount {
    Amount::parse(text).unwrap()
}

const ACCOUNT: &str = "100012345678";

fn usage(date: &str, tag: &str, calls: i64) -> Usage {
    Usage {
        account: ACCOUNT.into(),
        day: day(date),
        billing_tag: tag.to_uppercase(),
        billing_tag_code: tag.into(),
        monthly: false,
        calls,
    }
}

fn package(id: &str, tag: &str, size: i64, free: bool, bought_on: &str) -> Package {
    Package {
        id: id.into(),
        tag: tag.into(),
        size,
        free,
        bought_on: day(bought_on),
        expires_on: Package::default_expiry(day(bought_on)),
        refunded_on: None,
        used_before: 0,
    }
}

fn price(tag: &str, rate: Rate) -> Price {
    let account_class = AccountClass::Daily;
    Price { account_class, tag: tag.into(), from: day("2023-01-04"), to: None, rate }
}

/// 银行卡信息核验 of the price page of 2022: 0.4, 0.38, 0.36, 0.34, then to be negotiated.
fn tiers() -> Rate {
    let tier = |from, unit: &str| Tier { from, unit: Some(yuan(unit)) };
    Rate::Reach(vec![
        tier(0, "0.4"),
        tier(1_000, "0.38"),
        tier(10_000, "0.36"),
        tier(100_000, "0.34"),
        Tier { from: 200_000, unit: None },
    ])
}

fn book(prices: Vec<Price>) -> PriceBook {
    PriceBook {
        name: "t".into(),
        currency: "CNY".into(),
        tier_volume: TierVolume::Postpaid,
        prices,
    }
}

fn flat(tag: &str, unit: &str) -> PriceBook {
    book(vec![price(tag, Rate::Flat(yuan(unit)))])
}

fn settle(usage: &[Usage], book: &PriceBook, packages: &[Package]) -> Settled {
    settle_as_of(usage, book, packages, "2099-01-01")
}

fn settle_as_of(usage: &[Usage], book: &PriceBook, packages: &[Package], as_of: &str) -> Settled {
    let class = AccountClass::Daily;
    let terms = Terms { book, class, account: ACCOUNT, packages, as_of: day(as_of), months: None };
    waterfall(usage, &terms, &[], Amount::ZERO).unwrap()
}

/// (day, free package, paid package, postpaid, cost) of each day.
fn shares(settled: &Settled) -> Vec<(String, i64, i64, i64, Option<String>)> {
    settled
        .days
        .iter()
        .map(|d| {
            let cost = d.cost.map(|cost| cost.to_string());
            (d.usage_date.to_string(), d.free_package, d.paid_package, d.postpaid, cost)
        })
        .collect()
}

fn share(
    date: &str,
    free: i64,
    paid: i64,
    postpaid: i64,
    cost: &str,
) -> (String, i64, i64, i64, Option<String>) {
    (date.into(), free, paid, postpaid, Some(cost.into()))
}

/// The two worked examples of the price page for accounts that settle daily (价格说明（日结）, 2023).
#[test]
fn the_examples_of_the_price_page() {
    let settled = settle(&[usage("2023-06-01", "id", 1_000)], &flat("id", "0.3"), &[]);
    assert_eq!(shares(&settled), [share("2023-06-01", 0, 0, 1_000, "300")]);
    let packages = [package("p", "face", 10_000, false, "2023-06-01")];
    let settled = settle(&[usage("2023-06-01", "face", 15_000)], &flat("face", "1.2"), &packages);
    // 5,000 × 1.2.
    assert_eq!(shares(&settled), [share("2023-06-01", 0, 10_000, 5_000, "6000")]);
    assert_eq!(settled.money.expected_cost, yuan("6000"));
    assert_eq!((settled.money.packages[0].used, settled.money.packages[0].left), (10_000, 0));
}

#[test]
fn free_packages_go_first_then_what_expires_first() {
    let mut early = package("early", "t", 30, false, "2024-01-10");
    early.expires_on = day("2024-03-01");
    let packages = [
        package("late", "t", 50, false, "2024-01-01"),
        early,
        // Expires last, and is used first all the same.
        package("gift", "t", 20, true, "2024-02-01"),
        package("other", "u", 1_000, true, "2024-01-01"),
    ];
    let usages =
        [usage("2024-02-01", "t", 40), usage("2024-02-02", "t", 40), usage("2024-02-03", "t", 40)];
    let settled = settle(&usages, &flat("t", "0.5"), &packages);
    // Day 1: gift 20, early 20. Day 2: early 10, late 30. Day 3: late 20, 20 at 0.5.
    assert_eq!(
        shares(&settled),
        [
            share("2024-02-01", 20, 20, 0, "0"),
            share("2024-02-02", 0, 40, 0, "0"),
            share("2024-02-03", 0, 20, 20, "10"),
        ]
    );
    let used: Vec<(&str, i64, i64)> =
        settled.money.packages.iter().map(|p| (p.id.as_str(), p.used, p.left)).collect();
    assert_eq!(used, [("other", 0, 1_000), ("gift", 20, 0), ("early", 30, 0), ("late", 50, 0)]);
}

#[test]
fn a_package_covers_from_the_day_it_is_bought_to_the_day_before_it_expires() {
    let mut bought = package("p", "t", 1_000, false, "2024-05-10");
    bought.expires_on = day("2024-05-13");
    let usages: Vec<Usage> = (9..=13).map(|n| usage(&format!("2024-05-{n:02}"), "t", 10)).collect();
    // From 00:00 of the 10th, never for the 9th; on the 13th it is gone, with 970 left.
    let expected = [
        share("2024-05-09", 0, 0, 10, "20"),
        share("2024-05-10", 0, 10, 0, "0"),
        share("2024-05-11", 0, 10, 0, "0"),
        share("2024-05-12", 0, 10, 0, "0"),
        share("2024-05-13", 0, 0, 10, "20"),
    ];
    let settled = settle(&usages, &flat("t", "2"), &[bought.clone()]);
    assert_eq!(shares(&settled), expected);
    assert_eq!(settled.money.packages[0].left, 970);
    bought.expires_on = day("2025-05-10");
    bought.refunded_on = Some(day("2024-05-13"));
    assert_eq!(shares(&settle(&usages, &flat("t", "2"), &[bought])), expected);
}

/// 100 calls, 5 of them before the first day loaded; then 10 in April, 20 in May, 30 in June.
#[test]
fn the_use_of_packages_is_that_of_the_months_told() {
    let mut bought = package("p", "t", 100, false, "2024-04-01");
    (bought.used_before, bought.refunded_on) = (5, Some(day("2024-08-01")));
    let packages = [bought];
    let usages =
        [usage("2024-04-30", "t", 10), usage("2024-05-01", "t", 20), usage("2024-06-01", "t", 30)];
    let prices = flat("t", "1");
    let told = |months: &[&str]| {
        let months = months.iter().map(|month| UsageMonth::parse(month).unwrap()).collect();
        let terms = Terms {
            book: &prices,
            class: AccountClass::Daily,
            account: ACCOUNT,
            packages: &packages,
            as_of: day("2024-07-01"),
            months: Some(&months),
        };
        let money = waterfall(&usages, &terms, &[], Amount::ZERO).unwrap().money;
        let package = &money.packages[0];
        assert_eq!(package.refunded_on.as_deref(), Some("2024-08-01"));
        (package.used_before, package.used, package.left)
    };
    assert_eq!(told(&["2024-04"]), (5, 10, 85));
    assert_eq!(told(&["2024-05"]), (15, 20, 65));
    assert_eq!(told(&["2024-06"]), (35, 30, 35));
    assert_eq!(told(&["2024-04", "2024-05"]), (5, 30, 65));
    assert_eq!(told(&["2024-03"]), (5, 0, 95));
}

#[test]
fn what_was_used_before_is_gone() {
    let mut bought = package("p", "t", 100, true, "2024-02-29");
    bought.used_before = 95;
    let usages = [usage("2025-02-28", "t", 3), usage("2025-03-01", "t", 3)];
    let settled = settle(&usages, &flat("t", "1"), &[bought]);
    // Bought on a 29 February: the last day is 28 February.
    let expected = [share("2025-02-28", 3, 0, 0, "0"), share("2025-03-01", 0, 0, 3, "3")];
    assert_eq!(shares(&settled), expected);
    let package = &settled.money.packages[0];
    assert_eq!((package.used_before, package.used, package.left), (95, 3, 2));
    assert_eq!(package.expires_on, "2025-03-01");
}

#[test]
fn the_whole_month_takes_the_price_of_the_tier_it_reaches() {
    let prices = book(vec![price("t", tiers())]);
    // 999 at 0.4 = 399.6; one call more and all of them cost 0.38: 380.
    for (second, unit, total) in [(499, "0.4", "399.6"), (500, "0.38", "380")] {
        let usages = [
            usage("2024-04-01", "t", 500),
            usage("2024-04-30", "t", second),
            // Another month begins anew.
            usage("2024-05-01", "t", 1),
        ];
        let settled = settle(&usages, &prices, &[]);
        let units: Vec<Option<Amount>> = settled.days.iter().map(|d| d.unit_price).collect();
        assert_eq!(units, [Some(yuan(unit)), Some(yuan(unit)), Some(yuan("0.4"))]);
        let april = settled.days[0].cost.unwrap().checked_add(settled.days[1].cost.unwrap());
        assert_eq!(april, Some(yuan(total)));
    }
    // 200,000 and more: no price is published.
    let settled = settle(&[usage("2024-04-01", "t", 200_000)], &prices, &[]);
    assert_eq!((settled.days[0].unit_price, settled.days[0].cost), (None, None));
    assert_eq!(settled.money.waterfall[0].expected_cost, None);
}

#[test]
fn packages_take_calls_out_of_the_tier_unless_the_book_says_otherwise() {
    let mut prices = book(vec![price("t", tiers())]);
    let packages = [package("p", "t", 600, false, "2024-04-01")];
    let usages = [usage("2024-04-02", "t", 1_200)];
    // 600 postpaid: at 0.4 if they decide, at 0.38 if all 1,200 do.
    assert_eq!(settle(&usages, &prices, &packages).money.expected_cost, yuan("240"));
    prices.tier_volume = TierVolume::All;
    assert_eq!(settle(&usages, &prices, &packages).money.expected_cost, yuan("228"));
}

#[test]
fn a_month_that_goes_on_is_provisional_where_it_has_tiers_or_is_one_row() {
    let prices = book(vec![price("t", tiers()), price("f", Rate::Flat(yuan("1")))]);
    let mut monthly = usage("2024-04-02", "m", 3);
    monthly.monthly = true;
    let usages = [usage("2024-04-02", "t", 1), usage("2024-04-02", "f", 1), monthly];
    for (as_of, expected) in
        [("2024-04-30", [false, true, true]), ("2024-05-01", [false, false, false])]
    {
        let settled = settle_as_of(&usages, &prices, &[], as_of);
        let rows: Vec<bool> = settled.money.waterfall.iter().map(|row| row.provisional).collect();
        // Days before months; f, t, m.
        assert_eq!(rows, expected, "{as_of}");
    }
}

#[test]
fn monthly_tags_have_one_row_a_month() {
    let mut prices = flat("t", "1.2");
    prices.prices[0].to = Some(day("2024-04-15"));
    prices.prices.push(Price {
        from: day("2024-04-15"),
        to: None,
        rate: Rate::Flat(yuan("1")),
        ..prices.prices[0].clone()
    });
    let usages = ["2024-04-14", "2024-04-15", "2024-05-01"]
        .map(|date| Usage { monthly: true, ..usage(date, "t", 10) });
    let settled = settle(&usages, &prices, &[package("p", "t", 4, true, "2024-04-15")]);
    let text = |amount: Option<Amount>| amount.map_or("-".to_owned(), |amount| amount.to_string());
    let rows: Vec<String> = settled
        .money
        .waterfall
        .iter()
        .map(|row| {
            let (unit, cost) = (text(row.unit_price), text(row.expected_cost));
            format!("{} {} {} {unit} {cost}", row.period, row.free_package, row.postpaid)
        })
        .collect();
    // April: 10 × 1.2 + 6 × 1, two prices; May: 10 × 1.
    assert_eq!(rows, ["2024-04 4 16 - 18", "2024-05 0 10 1 10"]);
    let unit = |date| settled.money.unit_price("T", day(date));
    assert_eq!((unit("2024-04-20"), unit("2024-05-31")), (None, Some(yuan("1"))));
    assert_eq!(
        (unit("2024-06-01"), settled.money.unit_price("U", day("2024-05-31"))),
        (None, None)
    );
}

#[test]
fn without_a_price_nothing_is_said_but_what_packages_cover() {
    let packages = [package("p", "t", 10, true, "2024-04-01")];
    let usages = [usage("2024-04-01", "t", 10), usage("2024-04-02", "t", 1)];
    let settled = settle(&usages, &flat("u", "1"), &packages);
    let costs: Vec<Option<Amount>> = settled.days.iter().map(|d| d.cost).collect();
    assert_eq!(costs, [Some(Amount::ZERO), None]);
    // Another class of accounts has no price here either.
    let prices = flat("t", "1");
    let (class, account) = (AccountClass::Monthly2021, ACCOUNT);
    let terms = Terms {
        book: &prices,
        class,
        account,
        packages: &[],
        as_of: day("2024-05-01"),
        months: None,
    };
    let settled = waterfall(&usages[1..], &terms, &[], Amount::ZERO).unwrap();
    assert_eq!(settled.days[0].cost, None);
}

#[test]
fn what_the_bill_asks_without_a_price_is_held_against_nothing() {
    let side = |code: &str, cost: &str| BillSide {
        account: ACCOUNT.into(),
        period: Period::Day(day("2024-04-01")),
        billing_tag: code.to_uppercase(),
        billing_tag_code: code.into(),
        deducted: None,
        billed: None,
        cost: Some(yuan(cost)),
    };
    let prices = flat("t", "0.5");
    let terms = Terms {
        book: &prices,
        class: AccountClass::Daily,
        account: ACCOUNT,
        packages: &[],
        as_of: day("2024-05-01"),
        months: None,
    };
    // t has a price, and no calls of ours: 0 is expected of it. u and v have none; of v we know no calls either.
    let bill = [side("t", "1"), side("u", "2"), side("v", "4")];
    let mut money =
        waterfall(&[usage("2024-04-01", "u", 3)], &terms, &bill, Amount::ZERO).unwrap().money;
    let expected: Vec<Option<Amount>> = money.waterfall.iter().map(|r| r.expected_cost).collect();
    assert_eq!(expected, [Some(Amount::ZERO), None, None]);
    assert_eq!((money.expected_cost, money.bill_cost), (Amount::ZERO, yuan("1")));
    assert_eq!(money.unpriced_tags, ["U", "V"]);
    assert_eq!(money.bill_cost_unpriced, yuan("6"));
    assert!(money.is_compared());
    // Without the only tag that has a price there is no amount to compare.
    money.waterfall.retain(|row| row.billing_tag_code != "t");
    money.add_up().expect("fits");
    assert!(!money.is_compared());
    assert_eq!((money.bill_cost, money.bill_cost_unpriced), (Amount::ZERO, yuan("6")));
}

#[test]
fn packages_are_those_of_their_account() {
    let mut other = usage("2024-04-01", "t", 10);
    other.account = "2".into();
    let packages = [package("p", "t", 100, true, "2024-04-01")];
    let settled = settle(&[usage("2024-04-01", "t", 10), other], &flat("t", "1"), &packages);
    let postpaid: Vec<i64> = settled.days.iter().map(|d| d.postpaid).collect();
    assert_eq!(postpaid, [0, 10]);
}

#[test]
fn rows_stand_beside_the_bill() {
    let side = |date: &str, cost: &str| BillSide {
        account: ACCOUNT.into(),
        period: Period::Day(day(date)),
        billing_tag: "T".into(),
        billing_tag_code: "t".into(),
        deducted: Some(yuan("2")),
        billed: None,
        cost: Some(yuan(cost)),
    };
    let prices = flat("t", "0.125");
    let terms = Terms {
        book: &prices,
        class: AccountClass::Daily,
        account: ACCOUNT,
        packages: &[],
        as_of: day("2024-05-01"),
        months: None,
    };
    let usages = [usage("2024-04-01", "t", 1), usage("2024-04-02", "t", 3)];
    // A refund of 0.5 on the 2nd, and a line of a day that we know nothing of.
    let bill = [
        side("2024-04-01", "0.125"),
        side("2024-04-02", "0.5"),
        side("2024-04-02", "-0.5"),
        side("2024-04-03", "7"),
    ];
    let money = waterfall(&usages, &terms, &bill, yuan("-0.01")).unwrap().money;
    let text = |amount: Option<Amount>| amount.map(|amount| amount.to_string()).unwrap_or_default();
    let rows: Vec<[String; 5]> = money
        .waterfall
        .iter()
        .map(|row| {
            [
                row.period.to_string(),
                text(row.bill_deducted),
                text(row.expected_cost),
                text(row.bill_cost),
                text(row.difference_cost),
            ]
        })
        .collect();
    assert_eq!(
        rows,
        [
            ["2024-04-01", "2", "0.125", "0.125", "0"].map(String::from),
            ["2024-04-02", "4", "0.375", "0", "-0.375"].map(String::from),
            ["2024-04-03", "2", "0", "7", "7"].map(String::from),
        ]
    );
    assert_eq!(money.waterfall[2].billing_tag, "T");
    assert_eq!((money.expected_cost, money.bill_cost), (yuan("0.5"), yuan("7.125")));
    // 0.125 -> 0.13 and 0.375 -> 0.38: half a fen more, each, which a rounding line gives back.
    assert_eq!((money.expected_rounding, money.bill_rounding), (yuan("-0.01"), yuan("-0.01")));
}

#[test]
fn what_does_not_fit_is_an_error_that_says_where() {
    let prices = flat("t", "999999999999999999999999999999");
    let terms = Terms {
        book: &prices,
        class: AccountClass::Daily,
        account: ACCOUNT,
        packages: &[],
        as_of: day("2024-05-01"),
        months: None,
    };
    let fails =
        |usages: &[Usage]| waterfall(usages, &terms, &[], Amount::ZERO).unwrap_err().to_string();
    let text = fails(&[usage("2024-04-01", "t", 2)]);
    assert!(text.contains("the cost of t in 2024-04-01"), "{text}");
    let text = fails(&[usage("2024-04-01", "t", 1), usage("2024-04-02", "t", 1)]);
    assert!(text.contains("the expected cost of t in 2024-04-02"), "{text}");
    let text = fails(&[usage("2024-04-01", "t", i64::MAX), usage("2024-04-01", "t", 1)]);
    assert!(text.contains("charged calls of 2024-04-01"), "{text}");
}

/// xorshift64*: small, and the same everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> i64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as i64 % bound as i64
    }
}

/// Each call by itself: it takes one unit of the package that stands first among those that can cover it, else it is
/// postpaid. Prices are looked up anew for every call.
fn slowly(
    usages: &[Usage],
    prices: &PriceBook,
    packages: &[Package],
) -> Vec<(i64, i64, i64, Amount)> {
    let mut left: Vec<i64> = packages.iter().map(|p| p.size - p.used_before).collect();
    let mut sorted: Vec<&Usage> = usages.iter().collect();
    sorted.sort_by(|a, b| (a.day, &a.billing_tag_code).cmp(&(b.day, &b.billing_tag_code)));
    let mut counts = Vec::new();
    for u in &sorted {
        let mut went = [0, 0, 0];
        for _ in 0..u.calls {
            let mut best: Option<usize> = None;
            for (i, p) in packages.iter().enumerate() {
                let over = p.expires_on <= u.day || p.refunded_on.is_some_and(|r| r <= u.day);
                if left[i] == 0 || p.tag != u.billing_tag_code || u.day < p.bought_on || over {
                    continue;
                }
                let better = best.is_none_or(|b| {
                    let q = &packages[b];
                    if p.free != q.free {
                        p.free
                    } else if p.expires_on != q.expires_on {
                        p.expires_on < q.expires_on
                    } else if p.bought_on != q.bought_on {
                        p.bought_on < q.bought_on
                    } else {
                        p.id < q.id
                    }
                });
                if better {
                    best = Some(i);
                }
            }
            match best {
                Some(i) => {
                    left[i] -= 1;
                    went[if packages[i].free { 0 } else { 1 }] += 1;
                }
                None => went[2] += 1,
            }
        }
        counts.push(went);
    }
    let cost = |at: usize| {
        let u = sorted[at];
        let month: i64 = sorted
            .iter()
            .zip(&counts)
            .filter(|(o, _)| {
                o.billing_tag_code == u.billing_tag_code && o.day.month() == u.day.month()
            })
            .map(|(_, went)| went[2])
            .sum();
        let price = prices.prices.iter().find(|p| p.tag == u.billing_tag_code).unwrap();
        let unit = match &price.rate {
            Rate::Flat(unit) => *unit,
            Rate::Reach(tiers) => {
                let mut unit = tiers[0].unit;
                for tier in tiers {
                    if month >= tier.from {
                        unit = tier.unit;
                    }
                }
                unit.unwrap()
            }
        };
        let mut sum = Amount::ZERO;
        for _ in 0..counts[at][2] {
            sum = sum.checked_add(unit).unwrap();
        }
        sum
    };
    (0..sorted.len()).map(|i| (counts[i][0], counts[i][1], counts[i][2], cost(i))).collect()
}

#[test]
fn random_worlds_settle_as_call_by_call() {
    let mut crossed = 0;
    for seed in 1..=400_u64 {
        let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let start = day("2024-01-20");
        let tags = ["a", "b"];
        let mut usages = Vec::new();
        for n in 0..60 {
            for tag in tags {
                if random.below(3) > 0 {
                    let calls = random.below(40);
                    let mut one = usage("2024-01-01", tag, calls);
                    one.day = start.plus(n);
                    usages.push(one);
                }
            }
        }
        let packages: Vec<Package> = (0..random.below(7))
            .map(|n| {
                let size = 1 + random.below(300);
                let bought_on = start.plus(random.below(70) as i32 - 10);
                let back = random.below(4) == 0;
                Package {
                    id: format!("p{}", (n * 5 + 3) % 7),
                    tag: tags[random.below(2) as usize].into(),
                    size,
                    free: random.below(2) == 0,
                    bought_on,
                    expires_on: bought_on.plus(1 + random.below(30) as i32),
                    refunded_on: back.then(|| bought_on.plus(random.below(20) as i32)),
                    used_before: random.below(size as u64 + 1),
                }
            })
            .collect();
        let tier = |from, unit: &str| Tier { from, unit: Some(yuan(unit)) };
        let reach = Rate::Reach(vec![tier(0, "0.4"), tier(100, "0.38"), tier(300, "0.123456")]);
        let prices = book(vec![price("a", Rate::Flat(yuan("0.07"))), price("b", reach)]);
        let settled = settle(&usages, &prices, &packages);
        let fast: Vec<(i64, i64, i64, Amount)> = settled
            .days
            .iter()
            .map(|d| (d.free_package, d.paid_package, d.postpaid, d.cost.unwrap()))
            .collect();
        assert_eq!(fast, slowly(&usages, &prices, &packages), "seed {seed}");
        crossed += i32::from(settled.days.iter().any(|d| d.unit_price == Some(yuan("0.123456"))));
        // Whatever the order in which usage and packages are given.
        let (mut backwards, mut others) = (usages.clone(), packages.clone());
        backwards.reverse();
        others.reverse();
        assert_eq!(settle(&backwards, &prices, &others), settled, "seed {seed}");
        for package in &settled.money.packages {
            assert_eq!(package.used_before + package.used + package.left, package.size);
        }
    }
    assert!(crossed > 20, "the third tier is reached now and then: {crossed}");
}
