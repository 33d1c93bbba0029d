//! Prices and packages: what a charged attempt costs, as a user states it.

use super::{Amount, UsageDay};

/// Which price list an account is under, by the day on which it opened FaceID.
/// Source: price pages 1007/84321 (settled daily), 1007/56804 (settled monthly) and their copies of 2021 to 2023.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AccountClass {
    /// Opened on or after 2023-01-04.
    Daily,
    /// Opened from 2021-06-22 to 2023-01-03; settled monthly.
    Monthly2021,
    /// Opened before 2021-06-22; settled monthly.
    Before202106,
}

impl AccountClass {
    pub const ALL: [AccountClass; 3] =
        [AccountClass::Daily, AccountClass::Monthly2021, AccountClass::Before202106];
    /// 2021-06-22T00:00:00+08:00 in milliseconds since the epoch.
    const MONTHLY_2021_SINCE_MS: i64 = 1_624_291_200_000;

    /// `opened_at` in milliseconds since the epoch.
    pub fn of_opened_at(opened_at: i64) -> AccountClass {
        if opened_at < AccountClass::MONTHLY_2021_SINCE_MS {
            AccountClass::Before202106
        } else if opened_at < super::Settlement::DAILY_SINCE_MS {
            AccountClass::Monthly2021
        } else {
            AccountClass::Daily
        }
    }

    pub fn code(self) -> &'static str {
        match self {
            AccountClass::Daily => "daily",
            AccountClass::Monthly2021 => "monthly_2021",
            AccountClass::Before202106 => "before_2021_06",
        }
    }

    pub fn parse(code: &str) -> Option<AccountClass> {
        AccountClass::ALL.into_iter().find(|class| class.code() == code)
    }
}

/// Which calls of a month decide the tier that it reaches. The published pages say 月调用量, the calls of the month, and
/// not whether those that a package covered are among them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TierVolume {
    /// Those that are billed: what packages leave over.
    #[default]
    Postpaid,
    /// All charged calls.
    All,
}

/// A price list, checked: no two prices of one class and tag hold on the same day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PriceBook {
    pub name: String,
    /// ISO 4217.
    pub currency: String,
    pub tier_volume: TierVolume,
    pub prices: Vec<Price>,
}

/// What one billing tag costs, from one day to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Price {
    pub account_class: AccountClass,
    /// Code of the billing tag.
    pub tag: String,
    /// First day.
    pub from: UsageDay,
    /// First day on which it no longer holds; `None`: it goes on.
    pub to: Option<UsageDay>,
    pub rate: Rate,
}

/// The price of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rate {
    Flat(Amount),
    /// 到达阶梯: the whole month's volume takes the price of the tier that it reaches. The first tier begins at 0, each
    /// next one higher.
    Reach(Vec<Tier>),
}

/// A tier of a month's volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tier {
    /// Calls from which it holds.
    pub from: i64,
    /// `None`: no price is published (商务洽谈), so none is applied.
    pub unit: Option<Amount>,
}

impl Rate {
    /// The unit price in a month of that volume.
    pub fn unit(&self, month_volume: i64) -> Option<Amount> {
        match self {
            Rate::Flat(unit) => Some(*unit),
            Rate::Reach(tiers) => {
                tiers.iter().rev().find(|tier| tier.from <= month_volume).and_then(|tier| tier.unit)
            }
        }
    }
}

impl PriceBook {
    /// The rate of a tag (by code) on a day.
    pub fn rate(&self, class: AccountClass, tag: &str, day: UsageDay) -> Option<&Rate> {
        self.prices
            .iter()
            .find(|price| {
                price.account_class == class
                    && price.tag == tag
                    && price.from <= day
                    && price.to.is_none_or(|to| day < to)
            })
            .map(|price| &price.rate)
    }
}

/// A resource package (资源包) of the account: calls of one tag, bought or given ahead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Package {
    pub id: String,
    /// Code of the billing tag.
    pub tag: String,
    /// Calls.
    pub size: i64,
    /// Given (赠送): used before any that was paid for.
    pub free: bool,
    /// It counts from 00:00 of this day.
    pub bought_on: UsageDay,
    /// First day on which it is no longer valid.
    pub expires_on: UsageDay,
    /// First day on which it no longer counts, as it was given back.
    pub refunded_on: Option<UsageDay>,
    /// Calls it had covered before the first day that is loaded; at most `size`.
    pub used_before: i64,
}

impl Package {
    /// Packages are valid for one year. Source: FaceID billing overview, page 1007/56803. One of 29 February ends with
    /// the last of the next February, so that it lasts a whole year.
    pub fn default_expiry(bought_on: UsageDay) -> UsageDay {
        bought_on.a_year_later()
    }

    /// Whether calls of that day may be covered.
    pub fn is_valid_on(&self, day: UsageDay) -> bool {
        self.bought_on <= day
            && day < self.expires_on
            && self.refunded_on.is_none_or(|refunded| day < refunded)
    }
}

/// What the calls of one day cost: the waterfall, day by day, whatever the settlement.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct DayCost {
    pub account: String,
    #[serde(serialize_with = "as_text")]
    pub usage_date: UsageDay,
    pub billing_tag: String,
    pub billing_tag_code: String,
    /// Charged attempts: free_package + paid_package + postpaid.
    pub calls: i64,
    pub free_package: i64,
    pub paid_package: i64,
    pub postpaid: i64,
    /// Null where the price book has no price.
    pub unit_price: Option<Amount>,
    /// Zero where nothing is postpaid, priced or not.
    pub cost: Option<Amount>,
    /// The unit price may still change: a reach tier of a month that goes on.
    pub provisional: bool,
}

fn as_text<S: serde::Serializer>(day: &UsageDay, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(text: &str) -> UsageDay {
        UsageDay::parse(text).unwrap()
    }

    #[test]
    fn a_package_is_valid_for_a_year() {
        for (bought, expires) in [
            ("2024-03-01", "2025-03-01"),
            ("2023-03-01", "2024-03-01"),
            ("2023-12-31", "2024-12-31"),
            // Through 2025-02-28.
            ("2024-02-29", "2025-03-01"),
            ("2024-02-28", "2025-02-28"),
        ] {
            assert_eq!(Package::default_expiry(day(bought)), day(expires), "{bought}");
        }
    }

    /// Instants by `date -d '2021-06-22 00:00 +0800' +%s%3N`.
    #[test]
    fn classes_begin_at_midnight_in_beijing() {
        for (opened_at, class) in [
            (1_624_291_199_999, "before_2021_06"),
            (1_624_291_200_000, "monthly_2021"),
            (1_672_761_599_999, "monthly_2021"),
            (1_672_761_600_000, "daily"),
        ] {
            assert_eq!(AccountClass::of_opened_at(opened_at).code(), class, "{opened_at}");
            assert_eq!(AccountClass::parse(class), Some(AccountClass::of_opened_at(opened_at)));
        }
    }

    #[test]
    fn a_tier_is_reached_by_its_first_call() {
        let unit = |text| Some(Amount::parse(text).unwrap());
        let tier = |from, unit| Tier { from, unit };
        // 银行卡信息核验 of page 1007/56804, 2022.
        let rate = Rate::Reach(vec![
            tier(0, unit("0.4")),
            tier(1_000, unit("0.38")),
            tier(10_000, unit("0.36")),
            tier(100_000, unit("0.34")),
            tier(200_000, None),
        ]);
        for (volume, expected) in [
            (0, unit("0.4")),
            (999, unit("0.4")),
            (1_000, unit("0.38")),
            (9_999, unit("0.38")),
            (10_000, unit("0.36")),
            (199_999, unit("0.34")),
            (200_000, None),
            (i64::MAX, None),
        ] {
            assert_eq!(rate.unit(volume), expected, "{volume}");
        }
    }
}
