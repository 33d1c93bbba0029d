//! The bill: its lines as the cloud gives them, read exactly.

use super::{Amount, UsageDay, UsageMonth};
use std::collections::HashSet;
use std::num::NonZeroU32;
use std::sync::Arc;

codes! {
    /// What a line of the bill is about.
    LineKind {
        /// Usage settled by the day or month (按量计费日结, 按量计费月结).
        Usage = "usage",
        /// A resource package bought (包年包月新购, 续费).
        PackagePurchase = "package_purchase",
        /// Money back: a package returned, a postpaid line reversed (退款, 冲正).
        Refund = "refund",
        /// A correction of an earlier bill (调账扣费, 调账补偿), or a line that was issued anew (重出单).
        Adjustment = "adjustment",
        /// The difference between eight places and fen, settled once a month (月度计费精度差异).
        Rounding = "rounding",
        /// A transaction that is none of these, or not known: in no row, its money told apart.
        Other = "other",
    }
}

/// One row of `bill_line`: one component of one line of the detail bill (L3 明细账单, `DescribeBillDetail`). Amounts are
/// yuan with eight places; null where the bill says `-` or nothing. Labels as received.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BillLine {
    /// The month of the bill the line stands in (账单归属月, else that of the file).
    pub bill_month: Option<UsageMonth>,
    /// 账单记录 ID, where the bill gives one.
    pub line_id: Option<String>,
    /// Payer's UIN (支付者 UIN).
    pub account: Arc<str>,
    pub owner_uin: Option<Arc<str>>,
    pub operator_uin: Option<Arc<str>>,
    /// First and last Beijing day of the usage (开始使用时间, 结束使用时间; the end is inclusive).
    pub usage_from: Option<UsageDay>,
    pub usage_to: Option<UsageDay>,
    /// 扣费时间, milliseconds since the epoch (the bill's text is Beijing time).
    pub pay_time: Option<i64>,
    /// 账单归属日.
    pub bill_day: Option<UsageDay>,
    pub kind: Option<LineKind>,
    /// 交易类型, as a code where one is known or given (`postpay_deduct_d`), and its name as received.
    pub action_type: Option<Arc<str>>,
    pub action_type_name: Option<Arc<str>>,
    /// 计费模式 as received.
    pub pay_mode: Option<Arc<str>>,
    pub business_code: Option<Arc<str>>,
    /// 产品名称.
    pub business_name: Option<Arc<str>>,
    pub product_code: Option<Arc<str>>,
    /// 子产品名称: what the billing tag is made of.
    pub product_name: Option<Arc<str>>,
    pub component_code: Option<Arc<str>>,
    /// 组件类型.
    pub component_name: Option<Arc<str>>,
    pub item_code: Option<Arc<str>>,
    /// 组件名称.
    pub item_name: Option<Arc<str>>,
    pub resource_id: Option<String>,
    /// 实例类型 as received: `资源包` marks lines of a package itself.
    pub instance_type: Option<Arc<str>>,
    /// Label and code of the billing tag, or `unmapped`: given by the catalogue, not by the bill.
    pub billing_tag: Arc<str>,
    pub billing_tag_code: Arc<str>,
    /// 组件刊例价, 组件单价, 组件价格单位.
    pub list_price: Option<Amount>,
    pub contract_price: Option<Amount>,
    pub price_unit: Option<Arc<str>>,
    /// 组件原始用量 (RealTotalMeasure): before packages.
    pub usage_total: Option<Amount>,
    /// 抵扣用量 (DeductedMeasure).
    pub usage_deducted: Option<Amount>,
    /// 组件用量 (UsedAmount): what is billed.
    pub usage_billed: Option<Amount>,
    pub usage_unit: Option<Arc<str>>,
    /// 组件原价.
    pub cost_list: Option<Amount>,
    /// 优惠后总价 (RealCost): vouchers + incentive + transfer + cash.
    pub cost: Option<Amount>,
    pub voucher: Option<Amount>,
    pub incentive: Option<Amount>,
    pub transfer: Option<Amount>,
    pub cash: Option<Amount>,
    /// Only international bills name one, in a column or behind the header of the cost; amounts are in it then.
    pub currency: Option<Arc<str>>,
    /// Digests of what tells lines apart that say the same otherwise, and is not kept: order, transaction, project, region,
    /// the hours at which its usage begins and ends.
    pub told_apart: [Option<NonZeroU32>; 6],
    /// The columns of its file, a bit each; none for API pages.
    pub columns: u64,
    /// Whether it names the month of its bill itself.
    pub names_month: bool,
    /// Calls of one unit of its usage, where the pipeline says it (`reconcile.usage_units`).
    pub calls_of_unit: Option<i64>,
    /// Place of its component in the line of the bill, where that lists several.
    pub component_at: u32,
    /// The file (within a zip: `archive.zip!member.csv`), and the row in it: the line of a CSV from 1, header included;
    /// the record of a JSON file from 0, counting components.
    pub source_file: Arc<str>,
    pub source_row: i64,
}

/// How units end that measure time or bytes.
const NO_COUNTS: [&str; 16] = [
    "kb", "mb", "gb", "tb", "byte", "bytes", "秒", "分钟", "小时", "天", "second", "seconds",
    "minute", "minutes", "hour", "hours",
];

/// Words for a call, behind the number of them.
const CALLS: [&str; 14] = [
    "",
    "次",
    "次数",
    "人次",
    "call",
    "calls",
    "time",
    "times",
    "count",
    "counts",
    "request",
    "requests",
    "invocation",
    "invocations",
];

/// Words for numbers, the longer ones first.
const NUMBERS: [(&str, i64); 8] = [
    ("百万", 1_000_000),
    ("千万", 10_000_000),
    ("thousand", 1_000),
    ("亿", 100_000_000),
    ("万", 10_000),
    ("千", 1_000),
    ("百", 100),
    ("k", 1_000),
];

/// What a unit of usage is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    /// So many calls.
    Calls(i64),
    /// A time, bytes, or a number of calls of a form that is not read (十万次, 1.5万次, 次/万).
    NoCalls,
    Unknown,
}

fn read_unit(unit: &str) -> Unit {
    let unit: String = unit.chars().filter(|c| !c.is_whitespace() && *c != ',').collect();
    let unit = unit.to_ascii_lowercase().replace("(s)", "");
    // In what time they are counted, and of what, says nothing of how many one is.
    let unit = ["/天", "/日", "/月", "/day", "/month"]
        .iter()
        .fold(&*unit, |unit, behind| unit.strip_suffix(behind).unwrap_or(unit));
    let unit =
        ["per", "api"].iter().fold(unit, |unit, before| unit.strip_prefix(before).unwrap_or(unit));
    let behind = unit.trim_start_matches(|c: char| c.is_ascii_digit());
    let digits = &unit[..unit.len() - behind.len()];
    let number = if digits.is_empty() { Some(1) } else { digits.parse::<i64>().ok() };
    let word = NUMBERS.iter().find_map(|(word, n)| Some((*n, behind.strip_prefix(word)?)));
    let (times, said) = word.unwrap_or((1, behind));
    // A number alone counts something, and a word alone does.
    let says_one = !said.is_empty() || !digits.is_empty() || word.is_some();
    if CALLS.contains(&said) && says_one {
        let calls = number.filter(|n| *n > 0).and_then(|n| n.checked_mul(times));
        return calls.map_or(Unit::NoCalls, Unit::Calls);
    }
    let is_measure = NO_COUNTS.iter().any(|end| unit.ends_with(end)) && !unit.contains('次');
    let of_other_form = |c: char| c.is_ascii_digit() || ".十百千万萬亿億两兩半".contains(c);
    let words = ["million", "hundred", "thousand", "ten", "dozen"];
    let is_number = said.contains(of_other_form) || words.iter().any(|word| said.contains(word));
    if is_measure || is_number { Unit::NoCalls } else { Unit::Unknown }
}

/// Currencies that are not yuan, as Chinese headers and units call them, and their codes.
pub const CURRENCIES: [(&str, &str); 6] = [
    ("美元", "usd"),
    ("港元", "hkd"),
    ("港币", "hkd"),
    ("欧元", "eur"),
    ("日元", "jpy"),
    ("新加坡元", "sgd"),
];

impl BillLine {
    /// What lines mostly have in common: a bill has very many lines, and few of each of these.
    fn labels(&mut self) -> impl Iterator<Item = &mut Arc<str>> {
        let always = [
            &mut self.account,
            &mut self.billing_tag,
            &mut self.billing_tag_code,
            &mut self.source_file,
        ];
        let some = [
            &mut self.owner_uin,
            &mut self.operator_uin,
            &mut self.action_type,
            &mut self.action_type_name,
            &mut self.pay_mode,
            &mut self.business_code,
            &mut self.business_name,
            &mut self.product_code,
            &mut self.product_name,
            &mut self.component_code,
            &mut self.component_name,
            &mut self.item_code,
            &mut self.item_name,
            &mut self.instance_type,
            &mut self.price_unit,
            &mut self.usage_unit,
            &mut self.currency,
        ];
        always.into_iter().chain(some.into_iter().flatten())
    }

    /// Makes what it has in common with lines before it the same text in memory; `held` are theirs.
    pub fn share(&mut self, held: &mut HashSet<Arc<str>>) {
        for label in self.labels() {
            match held.get(label) {
                Some(same) => *label = same.clone(),
                None => _ = held.insert(label.clone()),
            }
        }
    }

    /// Usage before packages as a count of calls: `usage_total`, else what was billed and what was deducted; times
    /// what its unit is.
    pub fn calls(&self) -> Option<i64> {
        let total = self.usage_total.or_else(|| {
            self.usage_billed?.checked_add(self.usage_deducted.unwrap_or(Amount::ZERO))
        })?;
        // Whatever its unit is.
        if total.is_zero() {
            return Some(0);
        }
        self.in_calls(total)?.as_count()
    }

    /// Whether it was paid by a time, milliseconds since the epoch, or says nothing of when; of no time, any was.
    pub fn is_paid_by(&self, until_ms: Option<i64>) -> bool {
        self.pay_time.zip(until_ms).is_none_or(|(time, until)| time <= until)
    }

    /// Whether it says a usage that is not nothing, counted in calls or not.
    pub fn says_usage(&self) -> bool {
        self.usage_total.or(self.usage_billed).is_some_and(|usage| !usage.is_zero())
    }

    /// A measure of usage in single calls; None where that does not fit, and where the unit says of no number of calls.
    pub fn in_calls(&self, usage: Amount) -> Option<Amount> {
        usage.checked_mul_count(self.calls_of_unit.or_else(|| self.told_by_unit())?)
    }

    /// Calls of one unit (组件用量单位): 1, unless it begins with a number or a word for one (万次, 千次, 1000 次). None where
    /// it measures time or bytes, and where it holds a number of another form.
    fn told_by_unit(&self) -> Option<i64> {
        match self.unit() {
            Unit::Calls(n) => Some(n),
            Unit::NoCalls => None,
            Unit::Unknown => Some(1),
        }
    }

    fn unit(&self) -> Unit {
        match self.usage_unit.as_deref() {
            // Nearly every line has it, and is asked several times.
            None | Some("次") => Unit::Calls(1),
            Some(unit) => read_unit(unit),
        }
    }

    /// Its unit, where that says neither that it counts calls nor that it does not: each counts as one call.
    pub fn unknown_unit(&self) -> Option<&str> {
        let is_unknown = self.calls_of_unit.is_none() && self.unit() == Unit::Unknown;
        self.usage_unit.as_deref().filter(|_| is_unknown)
    }

    /// Whether it counts such units, and not none of them.
    pub fn counts_unknown_units(&self) -> bool {
        self.says_usage() && self.unknown_unit().is_some()
    }

    /// The day on which its usage stands.
    pub fn usage_day(&self) -> Option<UsageDay> {
        self.usage_from.or(self.usage_to)
    }

    /// Whether it counts usage, or changes a line that did. A package that is returned is no usage.
    pub fn is_of_usage(&self) -> bool {
        match self.kind {
            Some(LineKind::Usage) => true,
            Some(LineKind::Adjustment | LineKind::Refund) => !self.is_of_package(),
            Some(LineKind::PackagePurchase | LineKind::Rounding | LineKind::Other) | None => false,
        }
    }

    /// Whether it is about a package itself, or a change of one, and no usage.
    pub fn is_of_package(&self) -> bool {
        self.instance_type.as_deref().is_some_and(|kind| kind.contains("资源包"))
            || self.action_type.as_deref().is_some_and(|action| action.starts_with("prepay"))
    }

    /// The currency that it names, where it is not yuan: mainland bills name none. The unit of its price may (美元/次), too.
    pub fn foreign_currency(&self) -> Option<&str> {
        let yuan = ["CNY", "RMB", "人民币", "元", "¥"];
        let is_yuan = |named: &&str| yuan.iter().any(|c| c.eq_ignore_ascii_case(named));
        let named = self.currency.as_deref().filter(|named| !is_yuan(named));
        named.or_else(|| {
            let unit = self.price_unit.as_deref()?;
            let lower = unit.to_ascii_lowercase();
            let names = |(word, code): &(&str, &str)| lower.contains(word) || lower.contains(code);
            CURRENCIES.iter().any(names).then_some(unit)
        })
    }

    /// What its payments come to more than its cost: a cost is voucher + incentive + transfer + cash (BillDetailComponent of the
    /// billing API), of which `-` is nothing. None where they say nothing, or do not fit. Where nothing is said of cash, or the
    /// file does not have all of them (`has_all`), as much may have been paid as is left of the cost.
    pub fn overpaid(&self, has_all: bool) -> Option<Amount> {
        let payments = [self.voucher, self.incentive, self.transfer, self.cash];
        // Of what is to be paid later all are nothing.
        if payments.iter().flatten().all(|paid| paid.is_zero()) {
            return None;
        }
        let cost = self.cost.unwrap_or_default();
        let more = Amount::checked_sum(payments.into_iter().flatten())?.checked_sub(cost)?;
        let is_left = match cost >= Amount::ZERO {
            true => more <= Amount::ZERO,
            false => more >= Amount::ZERO,
        };
        (has_all && self.cash.is_some() || !is_left).then_some(more)
    }

    /// Whether its amounts are yuan.
    pub fn is_in_yuan(&self) -> bool {
        self.foreign_currency().is_none()
    }
}

/// One attempt in the provider's own list (`GetWeChatBillDetails`, ChargeDetails): WeChat channels only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderAttempt {
    pub seq: String,
    /// Milliseconds since the epoch.
    pub req_time: i64,
    pub is_need_charge: bool,
    pub biz_token: Option<String>,
    pub rule_id: Option<String>,
    /// 收费类型: 比对, 核身, 混合部署, as received.
    pub charge_type: Option<String>,
    /// A text there, a number in LivenessDetail.
    pub errcode: Option<i32>,
    pub source_file: String,
    pub source_row: i64,
}

/// A line of a bill that could not be read. Never the value itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub struct BillReject {
    pub file: String,
    /// As `BillLine::source_row`.
    pub row: i64,
    /// The column (its header as we name it) or JSON path.
    pub column: String,
    /// A stable code: `amount_invalid`, `time_invalid`, `account_missing`, `row_short`, …
    pub reason: &'static str,
    /// What is wrong and what to do.
    pub message: String,
}
