//! What a bill calls things, from the one data file `names.toml`: columns, transactions, products.

use super::value;
use crate::model::{Amount, BillLine, BillReject, CURRENCIES, LineKind, UsageMonth};
use serde::Deserialize;
use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::num::NonZeroU32;
use std::sync::{Arc, LazyLock};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    products: Vec<String>,
    like_ours: Vec<String>,
    reissued: Vec<String>,
    package: Vec<String>,
    prepaid: Vec<String>,
    totals: Vec<String>,
    subtotals: Vec<String>,
    ignored_prefixes: Vec<String>,
    column: Vec<ColumnEntry>,
    action: Vec<ActionEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ColumnEntry {
    field: Field,
    names: Vec<String>,
    needed: Option<String>,
    #[serde(default)]
    component: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ActionEntry {
    code: Option<String>,
    names: Vec<String>,
    kind: String,
    #[serde(default)]
    by_day: bool,
}

/// A fact of a line: a column of a CSV, a member of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Field {
    BillMonth,
    LineId,
    Account,
    OwnerUin,
    OperatorUin,
    UsageFrom,
    UsageTo,
    PayTime,
    OrderId,
    TransactionId,
    BillDay,
    ActionType,
    ActionTypeName,
    PayMode,
    BusinessCode,
    BusinessName,
    ProductCode,
    ProductName,
    ComponentCode,
    ComponentName,
    ItemCode,
    ItemName,
    ResourceId,
    InstanceType,
    ListPrice,
    ContractPrice,
    PriceUnit,
    UsageTotal,
    UsageDeducted,
    UsageBilled,
    UsageUnit,
    CostList,
    Cost,
    Voucher,
    Incentive,
    Transfer,
    Cash,
    Currency,
    Remarks,
    Project,
    Region,
}

/// Facts there are.
pub const FIELDS: usize = Field::Region as usize + 1;

impl Field {
    fn column(self) -> &'static ColumnEntry {
        NAMES.columns[self as usize]
    }

    /// The name a bill has for it: for messages.
    pub fn label(self) -> &'static str {
        &self.column().names[0]
    }

    /// What only a detail bill has.
    pub fn is_of_component(self) -> bool {
        self.column().component
    }

    /// All names a bill has for it, for messages.
    pub fn names(self) -> String {
        self.column().names.join(", ")
    }

    /// Whether two columns of it must say the same: days and amounts that a line is compared by. Names may be in two languages.
    pub fn must_agree(self) -> bool {
        use Field::*;
        matches!(
            self,
            BillMonth
                | Account
                | UsageFrom
                | UsageTo
                | PayTime
                | BillDay
                | UsageTotal
                | UsageBilled
                | Cost
                | Currency
        )
    }

    /// Whether two texts of it, each cleaned, say the same.
    pub fn is_same(self, one: &str, other: &str) -> bool {
        let months = || value::month(one).is_some_and(|month| value::month(other) == Some(month));
        value::is_same(one, other) || self == Field::BillMonth && months()
    }

    pub fn is_needed(self) -> bool {
        self.column().needed.is_some()
    }

    pub fn all() -> impl Iterator<Item = Field> {
        NAMES.file.column.iter().map(|c| c.field)
    }
}

/// A kind of transaction (交易类型).
pub struct Action {
    pub code: Option<&'static str>,
    pub kind: LineKind,
    /// A day or an hour is settled: what 按月聚合 merges.
    pub by_day: bool,
}

struct Names {
    file: &'static File,
    /// By [`Field`].
    columns: Vec<&'static ColumnEntry>,
    /// The field and the rank of a folded name.
    fields: HashMap<String, (Field, usize)>,
    actions: HashMap<String, Action>,
    products: HashSet<String>,
}

/// The file is compiled in: one that does not load is our bug, and every test meets it.
static NAMES: LazyLock<Names> = LazyLock::new(|| {
    let file = toml::from_str::<File>(include_str!("names.toml"));
    let file: &'static File = match file {
        Ok(file) => Box::leak(Box::new(file)),
        Err(why) => panic!("src/decode/bill/names.toml: {why}"),
    };
    let mut fields = HashMap::new();
    for column in &file.column {
        for (rank, name) in column.names.iter().enumerate() {
            let before = fields.insert(folded_header(name), (column.field, rank));
            assert!(before.is_none(), "names.toml: two columns are called {name}");
        }
    }
    let mut columns: Vec<&'static ColumnEntry> = file.column.iter().collect();
    columns.sort_by_key(|c| c.field);
    assert_eq!(columns.len(), FIELDS, "names.toml: every field has one column");
    let mut actions = HashMap::new();
    for entry in &file.action {
        let kind = LineKind::ALL.iter().copied().find(|k| k.code() == entry.kind);
        let kind = kind.unwrap_or_else(|| panic!("names.toml: no kind {}", entry.kind));
        for name in entry.code.iter().chain(&entry.names) {
            let code = entry.code.as_deref();
            actions.insert(folded(name), Action { code, kind, by_day: entry.by_day });
        }
    }
    let products = file.products.iter().map(|p| folded_product(p)).collect();
    Names { file, columns, fields, actions, products }
});

/// The form in which names are compared: full-width ASCII made half-width, without white space, in lower case.
pub fn folded(name: &str) -> String {
    name.chars()
        .filter(|c| {
            !c.is_whitespace()
                && !matches!(c, '\u{feff}' | '\0' | '\u{200b}'..='\u{200f}' | '\u{2060}')
        })
        .map(|c| match c {
            // The full-width forms stand in ASCII's order, this far above it.
            '\u{ff01}'..='\u{ff5e}' => char::from_u32(c as u32 - 0xfee0).unwrap_or(c),
            _ => c,
        })
        .map(|c| c.to_ascii_lowercase())
        .collect()
}

/// The same for names that differ in width, letter case and white space alone.
pub fn same_name(name: &str) -> i64 {
    digest(folded(name)) as i64
}

/// Units that stand in brackets behind the name of an amount or a usage.
const UNITS: [&str; 5] = ["(元)", "(人民币)", "(人民币元)", "(¥)", "(次)"];

/// The ways to set off a unit behind the name: brackets, a slash.
fn with_round_brackets(folded: String) -> String {
    let mut name = folded.replace(['[', '【', '〔'], "(").replace([']', '】', '〕'], ")");
    name = name.replace("(单位:", "(");
    if let Some((before, unit)) = name.rsplit_once('/')
        && !unit.ends_with(')')
    {
        name = format!("{before}({unit})");
    }
    name
}

fn folded_header(name: &str) -> String {
    let mut name = with_round_brackets(folded(name));
    loop {
        let yuan = UNITS.iter().find_map(|unit| name.strip_suffix(unit));
        let Some(shorter) = yuan.or(currency_behind(&name).map(|(shorter, _)| shorter)) else {
            return name;
        };
        name = shorter.to_owned();
    }
}

/// A folded header without the code of a currency (ISO 4217) in brackets behind it, and the code.
fn currency_behind(folded: &str) -> Option<(&str, &str)> {
    let (name, code) = folded.strip_suffix(')')?.rsplit_once('(')?;
    if let Some((_, code)) = CURRENCIES.iter().find(|(word, _)| *word == code) {
        return Some((name, code));
    }
    (code.len() == 3 && code.bytes().all(|b| b.is_ascii_lowercase())).then_some((name, code))
}

/// The code of the currency that a header names behind an amount, where it is another one than yuan.
pub fn currency_of_header(header: &str) -> Option<String> {
    let folded = with_round_brackets(folded(value::cleaned(header)?));
    let code = currency_behind(&folded)?.1;
    (!matches!(code, "cny" | "rmb")).then(|| code.to_ascii_uppercase())
}

/// The field that a header names, and the rank of the name: of several columns the lowest counts.
pub fn field_of_header(header: &str) -> Option<(Field, usize)> {
    let header = value::cleaned(header)?;
    NAMES.fields.get(&folded_header(header)).copied()
}

/// The field of a member of a page of `DescribeBillDetail`, and the rank of its name.
pub fn field_of_member(member: &str) -> Option<(Field, usize)> {
    NAMES.fields.get(&folded(member)).copied()
}

/// Whether a header is one of the customer's own (标签键:…).
pub fn is_ignored(header: &str) -> bool {
    let header = folded(header);
    NAMES.file.ignored_prefixes.iter().any(|prefix| header.starts_with(&folded(prefix)))
}

/// What the first cell of a row says that adds up others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Totals {
    /// All of the file.
    All,
    /// Some of it (小计).
    Some,
}

/// The amount that such a cell holds itself (`合计：99.99 元`).
pub fn amount_behind(cell: &str) -> Option<String> {
    let cell = folded(cell);
    let amount = cell.strip_suffix(['元', '圆'])?;
    let begin = amount.rfind(|c: char| !(c.is_ascii_digit() || "-,.".contains(c)));
    let amount =
        &amount[begin.map_or(0, |at| at + amount[at..].chars().next().map_or(1, char::len_utf8))..];
    (!amount.is_empty()).then(|| amount.to_owned())
}

/// What may stand behind the word: how many lines there are, a unit.
const BEHIND_TOTALS: [&str; 11] =
    ["共", "条", "行", "项", "笔", "个", "元", "记录", "rows", "lines", "items"];

/// Whether a row whose first cell this is adds up others: such a word, and no other name that begins with it.
pub fn totals_of(cell: &str) -> Option<Totals> {
    let cell = folded(cell);
    let behind = |words: &[String]| {
        let rest = words.iter().find_map(|word| cell.strip_prefix(&folded(word)));
        rest.is_some_and(|rest| {
            let left =
                BEHIND_TOTALS.iter().fold(rest.to_owned(), |left, word| left.replace(word, ""));
            !left.contains(char::is_alphabetic)
        })
    };
    let file = NAMES.file;
    match (behind(&file.totals), behind(&file.subtotals)) {
        (true, _) => Some(Totals::All),
        (_, true) => Some(Totals::Some),
        _ => None,
    }
}

fn action(code_or_name: &str) -> Option<&'static Action> {
    NAMES.actions.get(code_or_name).or_else(|| NAMES.actions.get(&folded(code_or_name)))
}

fn folded_product(name: &str) -> String {
    let dropped = |c: &char| !matches!(c, '-' | '_' | '·' | '•' | '・' | '‧' | '—' | '–');
    folded(name).chars().filter(dropped).collect()
}

/// What a pipeline says of the words of its bills, besides what is known of them.
#[derive(Clone, Debug, Default)]
pub struct Wording {
    products: HashSet<String>,
    transactions: HashMap<String, LineKind>,
}

impl Wording {
    /// From names or codes of products (产品名称, BusinessCode) that count as ours, and of transactions (交易类型), which go
    /// before those that are known.
    pub fn new<'w>(
        products: impl IntoIterator<Item = &'w str>,
        transactions: impl IntoIterator<Item = (&'w str, LineKind)>,
    ) -> Wording {
        Wording {
            products: products.into_iter().map(folded_product).collect(),
            transactions: transactions
                .into_iter()
                .map(|(name, kind)| (folded(name), kind))
                .collect(),
        }
    }

    /// The kind that the pipeline gives a line's transaction, by its code or its name.
    pub fn kind_of(&self, line: &BillLine) -> Option<LineKind> {
        if self.transactions.is_empty() {
            return None;
        }
        let named = [&line.action_type, &line.action_type_name];
        named.into_iter().flatten().find_map(|name| self.transactions.get(&folded(name)).copied())
    }
}

/// Whether a line's transaction is known, whatever it is: by its code or its name.
pub fn is_known_transaction(line: &BillLine) -> bool {
    [&line.action_type, &line.action_type_name].into_iter().flatten().any(|n| action(n).is_some())
}

/// What a line's transaction is known by: a code that is known, else its name, else its code.
pub fn transaction_of(line: &BillLine) -> Option<&str> {
    let (code, name) = (line.action_type.as_deref(), line.action_type_name.as_deref());
    let known = code.and_then(action).or_else(|| name.and_then(action));
    known.and_then(|action| action.code).or(name).or(code)
}

/// Whether the file of a line says all that a cost is paid by.
pub fn names_payments(line: &BillLine) -> bool {
    has(line, &[Field::Voucher, Field::Incentive, Field::Transfer, Field::Cash])
}

/// Whether the file of a line has all of these columns; API pages have.
fn has(line: &BillLine, fields: &[Field]) -> bool {
    let has = |field: &Field| line.columns >> *field as u64 & 1 == 1;
    line.columns == 0 || fields.iter().all(has)
}

/// The products whose lines are ours.
pub struct Products<'w> {
    more: &'w HashSet<String>,
    /// The last name that was asked for: bills come in long runs of one product.
    last: (String, bool),
}

impl<'w> Products<'w> {
    pub fn new(wording: &'w Wording) -> Products<'w> {
        Products { more: &wording.products, last: (String::new(), false) }
    }

    /// Whether the name of a product that is not ours holds one of ours.
    pub fn is_like_ours(name: &str) -> bool {
        let name = folded_product(name);
        NAMES.file.like_ours.iter().any(|like| name.contains(&folded_product(like)))
    }

    /// Whether a line is ours: by its code or its name. The rounding line of a whole bill may name no product.
    pub fn hold(&mut self, line: &BillLine) -> bool {
        if let Some(code) = &line.business_code
            && self.is_ours(code)
        {
            return true;
        }
        match &line.business_name {
            Some(name) => self.is_ours(name),
            None => line.business_code.is_none() && line.kind == Some(LineKind::Rounding),
        }
    }

    fn is_ours(&mut self, name: &str) -> bool {
        if self.last.0 != name {
            let folded = folded_product(name);
            let ours = NAMES.products.contains(&folded) || self.more.contains(&folded);
            self.last = (name.to_owned(), ours);
        }
        self.last.1
    }
}

const MINUTE_MS: i64 = 60_000;

/// A line that is being read.
#[derive(Default)]
pub struct Draft {
    pub line: BillLine,
    remarks: bool,
    order: bool,
    by_day: bool,
    /// The end of the usage is told as a midnight: the first moment after it.
    ends_before: bool,
    /// The first cell that could not be read.
    fault: Option<(Field, &'static str, String)>,
}

/// What a draft has become.
pub enum Drafted {
    Line(Box<BillLine>),
    Reject { column: &'static str, reason: &'static str, message: String },
}

impl Draft {
    /// Sets a fact. `text` is cleaned; `number` reads amounts.
    pub fn set(&mut self, field: Field, text: &str, number: fn(&str) -> Result<Amount, String>) {
        let label = || Some(Arc::from(text));
        let line = &mut self.line;
        match field {
            Field::LineId => line.line_id = Some(text.to_owned()),
            Field::Account => match text.bytes().all(|b| b.is_ascii_digit()) {
                true => line.account = text.into(),
                false => self.fail(
                    field,
                    "account_invalid",
                    "is no UIN, which is digits; spreadsheets rewrite long numbers: take the file as it was downloaded",
                ),
            },
            Field::OwnerUin => line.owner_uin = label(),
            Field::OperatorUin => line.operator_uin = label(),
            Field::OrderId | Field::TransactionId => {
                self.order = true;
                self.tell_apart(field, text);
            }
            Field::Project | Field::Region => self.tell_apart(field, text),
            Field::ActionType => line.action_type = label(),
            Field::ActionTypeName => line.action_type_name = label(),
            Field::PayMode => line.pay_mode = label(),
            Field::BusinessCode => line.business_code = label(),
            Field::BusinessName => line.business_name = label(),
            Field::ProductCode => line.product_code = label(),
            Field::ProductName => line.product_name = label(),
            Field::ComponentCode => line.component_code = label(),
            Field::ComponentName => line.component_name = label(),
            Field::ItemCode => line.item_code = label(),
            Field::ItemName => line.item_name = label(),
            Field::ResourceId => line.resource_id = Some(text.to_owned()),
            Field::InstanceType => line.instance_type = label(),
            Field::PriceUnit => line.price_unit = label(),
            Field::UsageUnit => line.usage_unit = label(),
            Field::Currency => line.currency = label(),
            Field::Remarks => {
                self.remarks |= NAMES.file.reissued.iter().any(|mark| text.contains(mark.as_str()));
            }
            Field::BillMonth => match value::month(text) {
                month @ Some(_) => {
                    line.bill_month = month;
                    line.names_month = true;
                }
                None => self.fail(field, "month_invalid", "is no month (YYYY-MM)"),
            },
            Field::BillDay => match value::day(text) {
                day @ Some(_) => line.bill_day = day,
                None => self.no_time(field),
            },
            Field::UsageFrom => match value::day(text) {
                day @ Some(_) => {
                    line.usage_from = day;
                    self.tell_hour(field, text);
                }
                None => self.no_time(field),
            },
            Field::UsageTo => match value::day(text) {
                day @ Some(_) => {
                    line.usage_to = day;
                    self.ends_before = value::is_midnight(text);
                    self.tell_hour(field, text);
                }
                None => self.no_time(field),
            },
            Field::PayTime => match value::instant(text) {
                instant @ Some(_) => line.pay_time = instant,
                None => self.no_time(field),
            },
            Field::ListPrice
            | Field::ContractPrice
            | Field::UsageTotal
            | Field::UsageDeducted
            | Field::UsageBilled
            | Field::CostList
            | Field::Cost
            | Field::Voucher
            | Field::Incentive
            | Field::Transfer
            | Field::Cash => match number(text) {
                Ok(amount) => *self.amount(field) = Some(amount),
                Err(message) => self.fail(field, "amount_invalid", message),
            },
        }
    }

    fn amount(&mut self, field: Field) -> &mut Option<Amount> {
        let line = &mut self.line;
        match field {
            Field::ListPrice => &mut line.list_price,
            Field::ContractPrice => &mut line.contract_price,
            Field::UsageTotal => &mut line.usage_total,
            Field::UsageDeducted => &mut line.usage_deducted,
            Field::UsageBilled => &mut line.usage_billed,
            Field::CostList => &mut line.cost_list,
            Field::Voucher => &mut line.voucher,
            Field::Incentive => &mut line.incentive,
            Field::Transfer => &mut line.transfer,
            Field::Cash => &mut line.cash,
            _ => &mut line.cost,
        }
    }

    fn tell_apart(&mut self, field: Field, said: impl Hash) {
        let place = match field {
            Field::OrderId => 0,
            Field::TransactionId => 1,
            Field::Project => 2,
            Field::Region => 3,
            Field::UsageFrom => 4,
            _ => 5,
        };
        self.line.told_apart[place] = NonZeroU32::new(digest(said) as u32 | 1);
    }

    /// A day alone says no hour; a day ends with its last second, or with the midnight after it; spreadsheets leave seconds
    /// out.
    fn tell_hour(&mut self, field: Field, text: &str) {
        if text.contains(':')
            && let Some(at) = value::instant(text)
        {
            let is_end = field == Field::UsageTo && self.ends_before;
            self.tell_apart(field, (at - i64::from(is_end) * 1000).div_euclid(MINUTE_MS));
        }
    }

    fn no_time(&mut self, field: Field) {
        self.fail(field, "time_invalid", "is no time (YYYY-MM-DD hh:mm:ss)");
    }

    /// Whether a cell could not be read.
    pub fn has_fault(&self) -> bool {
        self.fault.is_some()
    }

    pub fn fail(&mut self, field: Field, reason: &'static str, message: impl Into<String>) {
        if self.fault.is_none() {
            self.fault = Some((field, reason, message.into()));
        }
    }

    /// Names the transaction, once all facts are set: which product a line is of may hang on it.
    pub fn name_kind(&mut self, wording: &Wording) {
        let line = &mut self.line;
        let own = wording.kind_of(line);
        let [by_code, by_name] =
            [&line.action_type, &line.action_type_name].map(|name| action(name.as_deref()?));
        let contradict = by_code.zip(by_name).is_some_and(|(code, name)| code.kind != name.kind);
        let action = by_code.or(by_name);
        let mut kind = own.or(action.map(|a| a.kind)).unwrap_or(LineKind::Other);
        if let Some(action) = action {
            if line.action_type.is_none() {
                line.action_type = action.code.map(Arc::from);
            }
            self.by_day = action.by_day && kind == LineKind::Usage;
        }
        let holds = |text: &Option<Arc<str>>, marks: &[String]| {
            text.as_ref().is_some_and(|text| marks.iter().any(|mark| text.contains(mark.as_str())))
        };
        let file = NAMES.file;
        if own.is_none()
            && kind == LineKind::Other
            && holds(&line.instance_type, &file.package)
            && holds(&line.pay_mode, &file.prepaid)
        {
            kind = LineKind::PackagePurchase;
        }
        if self.remarks {
            kind = LineKind::Adjustment;
        }
        line.kind = Some(kind);
        if contradict && own.is_none() {
            self.fail(
                Field::ActionTypeName,
                "columns_disagree",
                "is another transaction than its code (ActionType) is; say which it is, below [reconcile.transaction_types] in \
                 the pipeline file",
            );
        }
    }

    /// Whether it is a day's line that has an order, a transaction or a deduction time; None for other lines, and for one that
    /// could not be read.
    pub fn by_day(&self) -> Option<bool> {
        (self.by_day && !self.has_fault()).then_some(self.order || self.line.pay_time.is_some())
    }

    /// The line, once its kind is named. `month` is that of the file.
    pub fn finish(mut self, month: Option<UsageMonth>) -> Drafted {
        let line = &mut self.line;
        // An end at 23:59:59 is inclusive; a midnight that is not the beginning, too, is the next day's.
        if self.ends_before && line.usage_from < line.usage_to {
            line.usage_to = line.usage_to.map(|day| day.plus(-1));
        }
        if line.bill_month.is_none() {
            let of_day = line.bill_day.map(|day| day.month());
            line.bill_month = of_day
                .or(month)
                .or(line.usage_from.map(|day| day.month()))
                .or(line.pay_time.map(|ms| crate::model::UsageDay::of_instant(ms).month()));
        }
        if self.fault.is_none() && self.line.account.is_empty() {
            self.fail(
                Field::Account,
                "account_missing",
                "is empty: whose bill it is must stand there",
            );
        }
        let unnamed = self.line.business_name.is_none() && self.line.business_code.is_none();
        if self.fault.is_none() && unnamed && self.line.kind != Some(LineKind::Rounding) {
            self.fail(
                Field::BusinessName,
                "product_missing",
                "says nothing (`-`): whether the line is of this product is not known",
            );
        }
        if self.fault.is_none() && self.line.bill_month.is_none() {
            self.fail(
                Field::BillMonth,
                "month_missing",
                "neither a month nor a time stands in the line",
            );
        }
        if let (None, Some(from), Some(to)) =
            (&self.fault, self.line.usage_from, self.line.usage_to)
            && to < from
        {
            self.fail(Field::UsageTo, "time_invalid", "the usage ends before it begins");
        }
        match self.line.kind {
            _ if self.fault.is_some() => {}
            Some(LineKind::Usage) => self.measure(),
            // Of what is no usage what it does not say is told beside the rows.
            _ if self.line.is_of_usage() && self.line.cost.is_none() => self.fail(
                Field::Cost,
                "amount_missing",
                "says nothing (`-`): what the line gives back or asks more is not known; take the file as it was downloaded",
            ),
            _ => {}
        }
        if let Some((field, reason, message)) = self.fault {
            return Drafted::Reject { column: field.label(), reason, message };
        }
        Drafted::Line(Box::new(self.line))
    }

    /// Finds a line of usage at fault that does not say what it bills or costs: `-` is null, not 0 (the API's own samples
    /// have it), and a null of either would count as nothing. Where nothing was left to bill, both may be silent.
    fn measure(&mut self) {
        let line = &self.line;
        let left = || match (line.usage_total?, line.usage_deducted) {
            (total, _) if total.is_zero() => Some(total),
            (total, deducted) => total.checked_sub(deducted?),
        };
        let billed = line.usage_billed.or_else(left);
        let nothing = billed.is_some_and(Amount::is_zero);
        if line.usage_billed.is_none() && !nothing {
            self.fail(
                Field::UsageBilled,
                "usage_missing",
                "says nothing (`-`): how much was billed is not known; take the file as it was downloaded",
            );
        } else if line.cost.is_none() && !nothing {
            self.fail(
                Field::Cost,
                "amount_missing",
                "says nothing (`-`) of usage that was billed: what it cost is not known; take the file as it was downloaded",
            );
        }
    }
}

/// The same of the same, in every file.
pub fn digest(said: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    said.hash(&mut hasher);
    hasher.finish()
}

/// A reject with its place.
pub fn reject(
    file: &str,
    row: i64,
    column: &str,
    reason: &'static str,
    message: impl Into<String>,
) -> BillReject {
    BillReject {
        file: file.to_owned(),
        row,
        column: column.to_owned(),
        reason,
        message: message.into(),
    }
}
