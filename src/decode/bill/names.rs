//! What a bill calls things, from the one data file `names.toml`: columns, transactions, products.

use super::value;
use crate::model::{Amount, BillLine, BillReject, LineKind, UsageMonth};
use serde::Deserialize;
use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    products: Vec<String>,
    reissued: Vec<String>,
    package: Vec<String>,
    prepaid: Vec<String>,
    totals: Vec<String>,
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
}

/// Facts there are.
pub const FIELDS: usize = Field::Remarks as usize + 1;

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
        .filter(|c| !c.is_whitespace() && !matches!(c, '\u{feff}' | '\0'))
        .map(|c| match c {
            // The full-width forms stand in ASCII's order, this far above it.
            '\u{ff01}'..='\u{ff5e}' => char::from_u32(c as u32 - 0xfee0).unwrap_or(c),
            _ => c,
        })
        .map(|c| c.to_ascii_lowercase())
        .collect()
}

/// Units that stand in brackets behind the name of an amount.
const UNITS: [&str; 7] = ["(元)", "(人民币)", "(人民币元)", "(cny)", "(rmb)", "(usd)", "(¥)"];

fn folded_header(name: &str) -> String {
    let mut name = folded(name);
    while let Some(shorter) = UNITS.iter().find_map(|unit| name.strip_suffix(unit)) {
        name = shorter.to_owned();
    }
    name
}

/// The field that a header names, and the rank of the name: of several columns the lowest counts.
pub fn field_of_header(header: &str) -> Option<(Field, usize)> {
    let header = value::cleaned(header)?;
    NAMES.fields.get(&folded_header(header)).copied()
}

/// The field of a member of a page of `DescribeBillDetail`.
pub fn field_of_member(member: &str) -> Option<Field> {
    NAMES.fields.get(&folded(member)).map(|(field, _)| *field)
}

/// Whether a header is one of the customer's own (标签键:…).
pub fn is_ignored(header: &str) -> bool {
    let header = folded(header);
    NAMES.file.ignored_prefixes.iter().any(|prefix| header.starts_with(&folded(prefix)))
}

/// Whether a row whose first cell this is adds up the others.
pub fn begins_totals(cell: &str) -> bool {
    let cell = folded(cell);
    NAMES.file.totals.iter().any(|total| cell.starts_with(&folded(total)))
}

pub fn action(code_or_name: &str) -> Option<&'static Action> {
    NAMES.actions.get(code_or_name).or_else(|| NAMES.actions.get(&folded(code_or_name)))
}

fn folded_product(name: &str) -> String {
    let dropped = |c: &char| !matches!(c, '-' | '_' | '·' | '•' | '・' | '‧' | '—' | '–');
    folded(name).chars().filter(dropped).collect()
}

/// The products whose lines are ours.
pub struct Products {
    more: HashSet<String>,
    /// The last name that was asked for: bills come in long runs of one product.
    last: (String, bool),
}

impl Products {
    pub fn new(more: &[String]) -> Products {
        let more = more.iter().map(|p| folded_product(p)).collect();
        Products { more, last: (String::new(), false) }
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

/// A line that is being read.
#[derive(Default)]
pub struct Draft {
    pub line: BillLine,
    remarks: bool,
    order: bool,
    by_day: bool,
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
        let text_of = || Some(text.to_owned());
        let line = &mut self.line;
        match field {
            Field::LineId => line.line_id = text_of(),
            Field::Account => match text.bytes().all(|b| b.is_ascii_digit()) {
                true => line.account = text.to_owned(),
                false => self.fail(
                    field,
                    "account_invalid",
                    "is no UIN, which is digits; spreadsheets rewrite long numbers: take the file as it was downloaded",
                ),
            },
            Field::OwnerUin => line.owner_uin = text_of(),
            Field::OperatorUin => line.operator_uin = text_of(),
            Field::OrderId | Field::TransactionId => self.order = true,
            Field::ActionType => line.action_type = text_of(),
            Field::ActionTypeName => line.action_type_name = text_of(),
            Field::PayMode => line.pay_mode = text_of(),
            Field::BusinessCode => line.business_code = text_of(),
            Field::BusinessName => line.business_name = text_of(),
            Field::ProductCode => line.product_code = text_of(),
            Field::ProductName => line.product_name = text_of(),
            Field::ComponentCode => line.component_code = text_of(),
            Field::ComponentName => line.component_name = text_of(),
            Field::ItemCode => line.item_code = text_of(),
            Field::ItemName => line.item_name = text_of(),
            Field::ResourceId => line.resource_id = text_of(),
            Field::InstanceType => line.instance_type = text_of(),
            Field::PriceUnit => line.price_unit = text_of(),
            Field::UsageUnit => line.usage_unit = text_of(),
            Field::Currency => line.currency = text_of(),
            Field::Remarks => {
                self.remarks |= NAMES.file.reissued.iter().any(|mark| text.contains(mark.as_str()));
            }
            Field::BillMonth => match value::month(text) {
                month @ Some(_) => line.bill_month = month,
                None => self.fail(field, "month_invalid", "is no month (YYYY-MM)"),
            },
            Field::BillDay => match value::day(text) {
                day @ Some(_) => line.bill_day = day,
                None => self.no_time(field),
            },
            Field::UsageFrom => match value::day(text) {
                day @ Some(_) => line.usage_from = day,
                None => self.no_time(field),
            },
            Field::UsageTo => match value::day(text) {
                day @ Some(_) => line.usage_to = day,
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

    fn no_time(&mut self, field: Field) {
        self.fail(field, "time_invalid", "is no time (YYYY-MM-DD hh:mm:ss)");
    }

    pub fn fail(&mut self, field: Field, reason: &'static str, message: impl Into<String>) {
        if self.fault.is_none() {
            self.fault = Some((field, reason, message.into()));
        }
    }

    /// Names the transaction, once all facts are set: which product a line is of may hang on it.
    pub fn name_kind(&mut self) {
        let line = &mut self.line;
        let action = [&line.action_type, &line.action_type_name]
            .into_iter()
            .find_map(|name| action(name.as_deref()?));
        let mut kind = action.map_or(LineKind::Other, |a| a.kind);
        if let Some(action) = action {
            if line.action_type.is_none() {
                line.action_type = action.code.map(str::to_owned);
            }
            self.by_day = action.by_day;
        }
        let holds = |text: &Option<String>, marks: &[String]| {
            text.as_ref().is_some_and(|text| marks.iter().any(|mark| text.contains(mark.as_str())))
        };
        let file = NAMES.file;
        if kind == LineKind::Other
            && holds(&line.instance_type, &file.package)
            && holds(&line.pay_mode, &file.prepaid)
        {
            kind = LineKind::PackagePurchase;
        }
        if self.remarks {
            kind = LineKind::Adjustment;
        }
        line.kind = Some(kind);
    }

    /// Whether it is a day's line that has an order, a transaction or a deduction time; None for other lines.
    pub fn by_day(&self) -> Option<bool> {
        self.by_day.then_some(self.order || self.line.pay_time.is_some())
    }

    /// The line, once its kind is named. `month` is that of the file.
    pub fn finish(mut self, month: Option<UsageMonth>) -> Drafted {
        let line = &mut self.line;
        if line.bill_month.is_none() {
            line.bill_month = month
                .or(line.bill_day.map(|day| day.month()))
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
        if let Some((field, reason, message)) = self.fault {
            return Drafted::Reject { column: field.label(), reason, message };
        }
        Drafted::Line(Box::new(self.line))
    }
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
