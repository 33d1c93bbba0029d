//! `reconcile`: the daily charges against the bill, to the last fen and the last Seq.
//!
//! Reads the bill, joins it with `daily_charge`, looks once at the rows of the days concerned for what explains the
//! differences, and writes what it found: the tables `bill_line`, `reconciliation` and `seq_difference`, and the reports.

use super::beside;
use super::evidence::{self, Row};
use super::repeated::{self, Copies};
use super::{
    RunError, Tables, bills, export, in_pool, memory, new_run_id, now_ms, read_small, stopped,
    take_lease,
};
use crate::classify::{AuditedAttempt, Auditor, Catalogue, TagId};
use crate::decode::bill::LIST_KIND;
use crate::model::{
    Amount, BillLine, BillRead, BillReject, DailyCharge, LineKind, Money, Period, PriceBook,
    Reconciled, SeqDifference, SeqJoin, Settlement, Status, UsageDay, UsageMonth, Variance, plural,
};
use crate::pipeline::Pipeline;
use crate::reconcile::{
    self, Counted, Differences, DuplicatesOn, Evidence, Limits, ListScope, OurRow, PackageSpan,
    RejectOn, RowKey, SeqJoiner, SeqSeen, Settings, Statistics, Tolerance,
};
use crate::report;
use crate::settle::{self, BillSide, Terms, Usage};
use crate::sources::KeyPattern;
use crate::storage::{Lease, Place};
use crate::write::rows::Answer;
use crate::write::{
    Commit, OpenTable, WriteError, Writer, reconciled, replace_partitions, schema, small,
};
use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::Date32Type;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::sync::atomic::AtomicBool;

/// What a reconciliation is asked for besides its pipeline.
#[derive(Clone, Debug, Default)]
pub struct ReconcileAsked {
    /// Files, and folders that end with `/`.
    pub bills: Vec<String>,
    /// Only this month of usage.
    pub month: Option<UsageMonth>,
    /// Milliseconds since the epoch; now, where it is not given.
    pub as_of_ms: Option<i64>,
    /// Writes nothing in the output.
    pub dry_run: bool,
    /// Whether the caller wants the HTML page and the CSV of differences, a dry run or not.
    pub html: bool,
    pub csv: bool,
}

/// What was found, and where it was put.
#[derive(Debug, serde::Serialize)]
pub struct ReconcileReport {
    #[serde(flatten)]
    pub reconciled: Reconciled,
    pub commits: Vec<Commit>,
    /// Keys below the output.
    pub reports: Vec<String>,
    /// The page and the CSV, as they stand in the output, where they were asked for.
    #[serde(skip)]
    pub html: Option<Bytes>,
    #[serde(skip)]
    pub csv: Option<Bytes>,
}

/// Folder of the reports below the output. Its name begins with `_`: what lies in it is no data.
const REPORTS: &str = "_reports";

/// Reconciles. Exit 4 is for the caller: `reconciled.over_tolerance` says whether it is due.
pub fn reconcile(
    pipeline: &Pipeline,
    prices: Option<&PriceBook>,
    asked: &ReconcileAsked,
    stop: &AtomicBool,
) -> Result<ReconcileReport, RunError> {
    in_pool(pipeline, |_| {
        let now_ms = now_ms();
        let as_of_ms = asked.as_of_ms.unwrap_or(now_ms);
        let output = Place::open(&pipeline.output.url, &pipeline.output.options)?;
        let tables = Tables::open_existing(&output)?;
        // Of a large bill most memory is held for a moment.
        memory::give_back_soon();
        let bills = bills::read(pipeline, &asked.bills, as_of_ms, asked.month)?;
        stopped(stop)?;
        let job = Job { pipeline, prices, as_of_ms, asked, tables: &tables, bills, stop };
        let (reconciled, told) = job.go()?;
        // Before anything is committed: what cannot be written down must not be half published.
        let files = files(&reconciled, asked)?;
        let file = |end| files.iter().find(|(of, _)| *of == end).map(|(_, bytes)| bytes.clone());
        let mut report = ReconcileReport {
            reconciled,
            commits: Vec::new(),
            reports: Vec::new(),
            html: file(HTML).filter(|_| asked.html),
            csv: file(CSV).filter(|_| asked.csv),
        };
        if !asked.dry_run {
            publish(pipeline, &output, now_ms, &mut report, told, files)?;
        }
        Ok(report)
    })
}

pub(super) struct Job<'j> {
    pub(super) pipeline: &'j Pipeline,
    pub(super) prices: Option<&'j PriceBook>,
    pub(super) as_of_ms: i64,
    pub(super) asked: &'j ReconcileAsked,
    tables: &'j Tables,
    pub(super) bills: bills::Bills,
    stop: &'j AtomicBool,
}

impl Job<'_> {
    fn go(mut self) -> Result<(Reconciled, Told), RunError> {
        let catalogue = Catalogue::get();
        let mut read = self.bills.read.files.iter().filter(|file| !file.kind.is_empty());
        if !self.bills.attempts.is_empty() && read.all(|file| file.kind == LIST_KIND) {
            return Err(RunError::Usage(
                "--bill: the provider's list (GetWeChatBillDetails) alone, which has no line of a bill: give the detail bill \
                 (明细账单) of its days, too"
                    .into(),
            ));
        }
        let mut months = self.months();
        if months.is_empty() {
            return Err(RunError::Usage(self.nothing_in_it()));
        }
        let mut days = days_around(&months);
        if self.pipeline.account.settlement == Settlement::Monthly {
            // By deduction time the bill of a month holds all of the one before.
            let before = months.iter().map(|month| month.first_day().plus(-1).month());
            days.extend(days_around(&before.collect()));
        }
        let mut charges = read_small(&self.tables.daily, small::daily_charges)?;
        let later = self.leave_out_later(&mut charges, &days)?;
        let ours: Vec<DailyCharge> =
            charges.iter().filter(|charge| days.contains(&charge.usage_date)).cloned().collect();

        let settlement = |_: &str, code: &str| {
            let monthly = catalogue.tag_by_code(code).is_some_and(|id| catalogue.tag(id).monthly);
            if monthly { Settlement::Monthly } else { self.pipeline.account.settlement }
        };
        let tag_code = |label: &str| {
            catalogue.tag(catalogue.tag_by_label(label).unwrap_or(TagId::UNMAPPED)).code
        };
        let packages = self.packages();
        let usage = export::usage(self.pipeline, &charges);
        let account = &self.pipeline.account.uin;
        let room = settle::covered(&usage, &self.pipeline.reconcile.packages, account)?;
        let room = |_: &str, code: &str, day: UsageDay| {
            room.get(&(day, code.to_owned())).copied().unwrap_or(0)
        };
        // Of months that nobody named, the bill says which of their days it holds.
        let named = self.asked.month.is_some() || self.bills.lines.is_empty();
        let settings = Settings {
            as_of_ms: self.as_of_ms,
            paid_until_ms: self.asked.as_of_ms,
            daily_out_minutes: self.pipeline.reconcile.bill_out_minutes,
            monthly_out_day: Settings::MONTHLY_OUT_DAY,
            months: named.then_some(&months),
            settlement: &settlement,
            tag_code: &tag_code,
            not_held: &self.pipeline.reconcile.not_held,
            packages: &packages,
            room: &room,
            statistics: self.bills.statistics,
        };
        let mut counted = reconcile::counts(&ours, &self.bills.lines, &settings)
            .map_err(|error| RunError::Usage(error.to_string()))?;
        let mut rows = std::mem::take(&mut counted.rows);
        if !named {
            // By deduction time a bill holds the end of the month before, whether or not it has a line of it.
            let lasting = rows.iter().filter(|row| !row.lines.is_empty() || row.ours_charged > 0);
            let by_pay = counted.statistics == Statistics::ByPay;
            months.extend(lasting.filter(|_| by_pay).map(|row| row.period.month()));
        }
        let mut read = std::mem::take(&mut self.bills.read);
        read.warnings.append(&mut counted.warnings);
        read.warnings.extend(bills::of_others(&self.bills.lines, &self.pipeline.account.uin));
        read.warnings.extend(beside::foreign(&self.bills.lines, &counted, self.prices));
        if counted.lines_later > 0 {
            read.warnings.push(format!(
                "{} paid after that time, left out",
                plural(counted.lines_later.unsigned_abs(), "line")
            ));
        }
        if later.made_before > 0 {
            read.warnings.push(format!(
                "{} made before that time and first pulled after it, so not known then: left out",
                plural(later.made_before.unsigned_abs(), "attempt")
            ));
        }
        if later.unknown > 0 {
            read.warnings.push(format!(
                "{} without a time of the pull (source.envelope.fetched_at), counted as known",
                plural(later.unknown.unsigned_abs(), "attempt")
            ));
        }

        let Looked { joined, differences, auditor } =
            self.look(&mut rows, &months, &days, &mut read)?;
        let mut rows = reconcile::of_months(rows, &months);
        if rows.is_empty() && self.asked.month.is_some() {
            self.is_of_these_months(&months)?;
        }
        let money = self.money(&usage, &mut rows, &counted, &months)?;
        read.warnings.extend(money.as_ref().and_then(unpriced));
        read.warnings.extend(self.without_results(&rows));
        let audit = auditor
            .finish(|label, day| money.as_ref().and_then(|money| money.unit_price(label, day)));
        let totals = reconcile::totals(&rows).ok_or_else(|| {
            RunError::Usage("the bill's calls do not fit 64 bits: look at its usage".into())
        })?;
        let tolerance = self.tolerance();
        let over_tolerance = rows.iter().filter(|row| tolerance.is_passed_by(row)).count() as i64;
        let beside = self.beside(&read, &counted, &rows, joined.as_ref(), money.as_ref(), &months);
        let of_other_bills =
            OfOtherBills::of(counted, self.pipeline.account.settlement, self.asked.month);
        let reconciled = Reconciled {
            pipeline: self.pipeline.name.clone(),
            pipeline_file: self.pipeline.file.clone(),
            account: self.pipeline.account.uin.clone(),
            months: months.iter().map(UsageMonth::to_string).collect(),
            as_of: beijing(self.as_of_ms),
            detail_version: self.tables.detail.version().map(|version| version as i64),
            daily_version: self.tables.daily.version().map(|version| version as i64),
            bill: read,
            rows,
            totals,
            seqs: joined,
            money,
            audit: Some(audit),
            tolerance_calls: tolerance.calls,
            tolerance_amount: tolerance.amount,
            over_tolerance,
            beside,
        };
        Ok((reconciled, Told { lines: self.bills.lines, differences, of_other_bills }))
    }

    pub(super) fn tolerance(&self) -> Tolerance {
        let asked = &self.pipeline.reconcile;
        Tolerance { calls: asked.tolerance_calls, amount: asked.tolerance_amount }
    }

    /// Tells of billing tags that the bill has and of which ours has nothing at all: they may be those of another system.
    fn without_results(&self, rows: &[Variance]) -> Option<String> {
        let mut has: BTreeMap<&str, (&str, bool, bool)> = BTreeMap::new();
        for row in rows.iter().filter(|row| row.account == self.pipeline.account.uin) {
            let (label, ours, bill) = has.entry(&row.billing_tag_code).or_default();
            *label = &row.billing_tag;
            *ours |= row.ours_attempts > 0;
            *bill |= row.provider_calls.is_some_and(|calls| calls > 0);
        }
        has.remove(Catalogue::get().tag(TagId::UNMAPPED).code);
        let missing = |(_, (_, ours, bill)): &(&&str, &(&str, bool, bool))| *bill && !ours;
        let missing: Vec<(&str, &str)> =
            has.iter().filter(missing).map(|(code, (label, ..))| (*code, *label)).collect();
        let names: Vec<&str> = missing.iter().map(|(_, label)| *label).collect();
        let codes: Vec<&str> = missing.iter().map(|(code, _)| *code).collect();
        (!missing.is_empty()).then(|| {
            format!(
                "ours has nothing at all of {}, which the bill charges: load its results, or set it aside in the pipeline file \
                 where they are elsewhere: reconcile.not_held = {}",
                names.join(", "),
                serde_json::Value::from(codes)
            )
        })
    }

    /// An error where no row is of the months asked for, and the bill speaks of others.
    fn is_of_these_months(&self, months: &BTreeSet<UsageMonth>) -> Result<(), RunError> {
        let others = self.usage_months();
        if others.is_empty() {
            return Ok(());
        }
        let names = |months: &BTreeSet<UsageMonth>| {
            months.iter().map(UsageMonth::to_string).collect::<Vec<_>>().join(", ")
        };
        Err(RunError::Usage(format!(
            "--month {}: nothing of it is compared: of what was known at that time neither our records nor this bill have any of \
             it, or it stands in another bill (按扣费周期); the bill has usage of {}",
            names(months),
            names(&others)
        )))
    }

    /// Why a bill without a month of usage is no bill that agrees.
    fn nothing_in_it(&self) -> String {
        let read = &self.bills.read;
        let mut told = format!(
            "--bill: no line of FaceID usage in what was read ({}, {} of other products, {})",
            plural(read.lines.unsigned_abs(), "line"),
            read.lines_other_products,
            plural(read.rejects_total.unsigned_abs(), "reject")
        );
        let without_day = self.usage_lines().count();
        if without_day > 0 {
            let _ = write!(
                told,
                "; {} of usage without a day (开始使用时间 is empty): download the detail bill (明细账单) without 按月聚合",
                plural(without_day as u64, "line")
            );
        }
        for warning in &read.warnings {
            told.push_str("; ");
            told.push_str(warning);
        }
        if let Some(reject) = read.rejects.first() {
            let BillReject { file, row, column, message, .. } = reject;
            let _ = match column.is_empty() {
                true => write!(told, "; {file} row {row}: {message}"),
                false => write!(told, "; {file} row {row}, {column}: {message}"),
            };
        }
        told.push_str(
            "; is it the detail bill of the account? reconcile.products names further products, --month a month to be compared all the same",
        );
        told
    }

    /// The months of usage that are reconciled.
    fn months(&self) -> BTreeSet<UsageMonth> {
        if let Some(month) = self.asked.month {
            return BTreeSet::from([month]);
        }
        let attempts = self.bills.attempts.iter();
        let listed = attempts.map(|attempt| UsageDay::of_instant(attempt.req_time));
        match self.bills.lines.is_empty() {
            true => listed.map(UsageDay::month).collect(),
            false => self.usage_months(),
        }
    }

    fn usage_lines(&self) -> impl Iterator<Item = &BillLine> {
        self.bills.lines.iter().filter(|line| line.kind == Some(LineKind::Usage))
    }

    /// The months of which the bill has usage, or else changes of it.
    fn usage_months(&self) -> BTreeSet<UsageMonth> {
        let months = |lines: &mut dyn Iterator<Item = &BillLine>| -> BTreeSet<UsageMonth> {
            lines.filter_map(BillLine::usage_day).map(UsageDay::month).collect()
        };
        match months(&mut self.usage_lines()) {
            none if none.is_empty() => {
                months(&mut self.bills.lines.iter().filter(|line| line.is_of_usage()))
            }
            some => some,
        }
    }

    /// Takes attempts out of the charges that were not known at `as_of`, where one was asked for.
    fn leave_out_later(
        &self,
        charges: &mut Vec<DailyCharge>,
        days: &BTreeSet<UsageDay>,
    ) -> Result<Later, RunError> {
        let mut later = Later::default();
        if self.asked.as_of_ms.is_none() {
            return Ok(later);
        }
        let as_of_ms = self.as_of_ms;
        let see = |later: &mut Later, row: &Row<'_>| match Known::at(as_of_ms, row) {
            Known::Yes => {}
            Known::NobodySays => later.unknown += 1,
            Known::OtherwiseThen(answer) => {
                later.count(row, row.ours.charge, -1);
                later.count(row, answer.is_need_charge, 1);
            }
            Known::No => {
                later.made_before += i64::from(row.ours.req_time <= as_of_ms);
                later.count(row, row.ours.charge, -1);
            }
        };
        let detail = &self.tables.detail;
        later = evidence::each_row(detail, days, self.stop, Later::default, see, Later::merge)?;
        for charge in charges.iter_mut() {
            let key = (charge.usage_date, charge.account.clone(), charge.billing_tag.clone());
            let Some(counts) = later.of.get(&key) else { continue };
            charge.attempts += counts.charged + counts.free + counts.unknown;
            charge.charged += counts.charged;
            charge.free += counts.free;
            charge.unknown += counts.unknown;
        }
        charges.retain(|charge| charge.attempts > 0);
        Ok(later)
    }

    /// Packages that the pipeline names, of its own account.
    fn packages(&self) -> Vec<PackageSpan> {
        let packages = self.pipeline.reconcile.packages.iter();
        packages
            .map(|package| PackageSpan {
                account: self.pipeline.account.uin.clone(),
                billing_tag_code: package.tag.clone(),
                from: package.bought_on,
                until: package
                    .refunded_on
                    .map_or(package.expires_on, |day| day.min(package.expires_on)),
            })
            .collect()
    }

    /// What the calls should cost, where there is a price book; fills in what is expected of each row. `usage` is that of
    /// all days: packages are used up from the first day on.
    fn money(
        &self,
        usage: &[Usage],
        rows: &mut [Variance],
        counted: &Counted,
        months: &BTreeSet<UsageMonth>,
    ) -> Result<Option<Money>, RunError> {
        let Some(book) = self.prices.filter(|book| beside::is_yuan(book)) else { return Ok(None) };
        // Of one account: prices and packages are its own.
        let account = &self.pipeline.account.uin;
        let terms = export::terms(self.pipeline, book, UsageDay::of_instant(self.as_of_ms));
        let terms = Terms { months: Some(months), ..terms };
        let sides: Vec<BillSide> = rows
            .iter()
            .filter(|row| row.provider_calls.is_some() || row.provider_cost.is_some())
            .filter(|row| row.account == *account)
            .map(|row| BillSide {
                account: row.account.clone(),
                period: row.period,
                billing_tag: row.billing_tag.clone(),
                billing_tag_code: row.billing_tag_code.clone(),
                deducted: row.provider_deducted,
                billed: row.provider_billed,
                cost: row.provider_cost,
            })
            .collect();
        let lines = self.bills.lines.iter().filter(|line| *line.account == **account);
        let lines = lines.filter(|line| self.knows(line) && self.asks_for(line));
        let rounding = lines.filter(|line| line.kind == Some(LineKind::Rounding));
        let rounding = Amount::checked_sum(rounding.filter_map(|line| line.cost));
        // Where lines span days, a tag has one row for the month, however it settles.
        let of_row = |row: &Variance| (row.billing_tag_code.clone(), row.period.month());
        let rows_of = |is: fn(Period) -> bool| -> BTreeSet<(String, UsageMonth)> {
            rows.iter()
                .filter(|row| is(row.period) && row.account == *account)
                .map(of_row)
                .collect()
        };
        let by_day = rows_of(|period| matches!(period, Period::Day(_)));
        let by_month = rows_of(|period| matches!(period, Period::Month(_)));
        let own: Vec<Usage> = usage
            .iter()
            .filter(|usage| usage.account == *account)
            .map(|usage| {
                let place = (usage.billing_tag_code.clone(), usage.day.month());
                let merged = by_month.contains(&place) && !by_day.contains(&place);
                Usage { monthly: usage.monthly || merged, ..usage.clone() }
            })
            .collect();
        let settled = settle::waterfall(&own, &terms, &sides, rounding.ok_or_else(too_large)?)?;
        let mut money = settled.money;
        // Of the rows that are compared, and where all of the bill's amount is known.
        let mut row_of: BTreeMap<RowKey, &mut Variance> = rows
            .iter_mut()
            .map(|row| ((row.account.clone(), row.period, row.billing_tag_code.clone()), row))
            .filter(|(key, _)| !counted.foreign.contains(key))
            .collect();
        money.waterfall.retain_mut(|told| {
            let key = (told.account.clone(), told.period, told.billing_tag_code.clone());
            let Some(row) = row_of.get_mut(&key) else { return false };
            row.expected_cost = told.expected_cost;
            row.expected_deducted = told.free_package.checked_add(told.paid_package);
            row.expected_billed = Some(told.postpaid);
            told.difference_cost = row.cost_difference();
            true
        });
        money.add_up().ok_or_else(too_large)?;
        Ok(Some(money))
    }
}

fn too_large() -> RunError {
    RunError::Usage("the bill's amounts do not fit 38 digits".into())
}

/// Tells of tags without a price: what the book does not say is not free.
fn unpriced(money: &Money) -> Option<String> {
    let calls: i128 = money.unpriced().map(|row| i128::from(row.calls)).sum();
    let periods: BTreeSet<Period> = money.unpriced().map(|row| row.period).collect();
    let days = match (periods.first()?, periods.last()?) {
        (first, last) if first == last => first.to_string(),
        (first, last) => format!("{first} to {last}"),
    };
    (!money.unpriced_tags.is_empty()).then(|| {
        format!(
            "no price for {} in the price book {} on {} ({days}): {} of ours and {} yuan of the bill left out of the money; \
             look for the tag, the account class and the days of its prices",
            money.unpriced_tags.join(", "),
            money.price_book,
            plural(periods.len() as u64, "period"),
            plural(u64::try_from(calls).unwrap_or(u64::MAX), "call"),
            money.bill_cost_unpriced
        )
    })
}

/// What one look at the rows gives.
struct Looked {
    joined: Option<SeqJoin>,
    differences: Option<Differences>,
    auditor: Auditor,
}

/// What rows are shown to. One for each thread, merged at the end.
struct Seen<'w> {
    evidence: Evidence<'w>,
    listed: SeqSeen,
    auditor: Auditor,
}

impl Seen<'_> {
    fn merge(mut self, other: Self, seqs_max: usize) -> Self {
        self.auditor.merge(other.auditor);
        Seen {
            evidence: self.evidence.merge(other.evidence),
            listed: self.listed.merge(other.listed, seqs_max),
            auditor: self.auditor,
        }
    }
}

impl Job<'_> {
    /// Looks once at the rows of the days concerned: what explains the differences, the provider's list, the published
    /// charge rules. Fills in the parts.
    fn look(
        &mut self,
        rows: &mut [Variance],
        months: &BTreeSet<UsageMonth>,
        days: &BTreeSet<UsageDay>,
        read: &mut BillRead,
    ) -> Result<Looked, RunError> {
        let mut attempts = std::mem::take(&mut self.bills.attempts);
        let as_of_ms = self.as_of_ms;
        let all = attempts.len();
        let mut left_out: BTreeSet<UsageDay> = BTreeSet::new();
        attempts.retain(|attempt| {
            let day = UsageDay::of_instant(attempt.req_time);
            let counts = day.plus(1).begin_ms() + LIST_OUT_MS <= as_of_ms && days.contains(&day);
            if !counts {
                left_out.insert(day);
            }
            counts
        });
        if let (Some(first), Some(last)) = (left_out.first(), left_out.last()) {
            read.warnings.push(format!(
                "{} of the provider's list, of {first} to {last}, not of the months compared or not out at that time: left out",
                plural((all - attempts.len()) as u64, "attempt")
            ));
        }
        let joiner = match attempts.is_empty() {
            true => None,
            false => {
                let account = self.pipeline.account.uin.clone();
                let months = Some(months.clone());
                let scope = ListScope { account, tags: listed_tags(), days: None, months };
                let joiner = SeqJoiner::new(attempts, scope);
                Some(joiner.map_err(|error| RunError::Usage(error.to_string()))?)
            }
        };
        if let Some(joiner) = &joiner {
            let listed = listed_tags();
            let mut missing: BTreeSet<UsageDay> = BTreeSet::new();
            for row in rows.iter().filter(|row| row.account == self.pipeline.account.uin) {
                let whole = listed.get(&row.billing_tag_code).is_some_and(Option::is_none);
                if let (true, true, Period::Day(day)) = (whole, row.ours_attempts > 0, row.period) {
                    let is_out = row.status != Status::Pending && months.contains(&day.month());
                    missing.extend(Some(day).filter(|day| is_out && !joiner.covers(*day)));
                }
            }
            if let (Some(first), Some(last)) = (missing.first(), missing.last()) {
                read.warnings.push(format!(
                    "the provider's list has nothing between 02:00 and 22:00 of {} on which ours has attempts in WeChat (from {first} \
                     to {last}), so that it may not be of these days: what it lacks there is not told by Seq",
                    plural(missing.len() as u64, "day")
                ));
            }
        }
        let pattern = self.pipeline.source.keys.as_deref().map(KeyPattern::parse);
        let day_of = |key: &str| pattern.as_ref()?.day(key);
        let mut rejects = self.set_aside(&day_of, days, &mut read.warnings)?;
        if let Some(joiner) = &joiner {
            // What the list says of it is told where it says it.
            rejects.retain_mut(|reject| reject.without(|seq| joiner.holds(seq)));
        }
        let (copies, duplicates) =
            self.repeated(&day_of, days, &days_with_more(rows), &mut read.warnings)?;
        let wanted = reconcile::wanted(rows, &duplicates, &rejects);
        let midnight_minutes = self.pipeline.reconcile.midnight_minutes;
        let seqs_max = wanted.seqs_max();
        let limits = Limits { midnight_minutes, seqs_max };
        let known_at = self.asked.as_of_ms;
        let seen = evidence::each_row(
            &self.tables.detail,
            days,
            self.stop,
            || Seen {
                evidence: Evidence::new(&wanted, limits),
                listed: SeqSeen::default(),
                auditor: Auditor::new(&self.pipeline.reconcile.editions),
            },
            |seen, row| {
                let Some(mut ours) = Known::row(known_at, row) else { return };
                if let Some(copies) = copies.get(ours.seq) {
                    ours.more_pulls = ours.more_pulls.max(copies - 1);
                }
                seen.evidence.see(&ours);
                if let Some(joiner) = &joiner {
                    joiner.see(&ours, &mut seen.listed, seqs_max);
                }
                if months.contains(&row.day.month()) {
                    seen.auditor.see(&AuditedAttempt {
                        seq: ours.seq,
                        day: row.day,
                        billing_tag: row.billing_tag,
                        product: row.product,
                        channel: ours.channel,
                        errcode: ours.errcode,
                        is_need_charge: ours.charge,
                    });
                }
            },
            |a, b| a.merge(b, seqs_max),
        )?;
        let outcome = joiner.map(|joiner| joiner.finish(seen.listed, seqs_max));
        if let Some(outcome) = &outcome {
            self.bills.files_differ += outcome.conflicts;
            read.warnings.extend(outcome.warnings.iter().cloned());
        }
        let facts = outcome.as_ref().map(|outcome| &outcome.facts);
        reconcile::explain(rows, &seen.evidence, &rejects, &duplicates, facts);
        let wanted = reconcile::wanted_again(rows);
        if !wanted.is_empty() {
            let limits = Limits { midnight_minutes, seqs_max: wanted.seqs_max() };
            let evidence = evidence::each_row(
                &self.tables.detail,
                &wanted.days(),
                self.stop,
                || Evidence::new(&wanted, limits),
                |evidence, row| {
                    if let Some(ours) = Known::row(known_at, row) {
                        evidence.see(&ours);
                    }
                },
                Evidence::merge,
            )?;
            reconcile::list_candidates(rows, &evidence);
        }
        let (joined, differences) = match outcome {
            Some(outcome) => (Some(outcome.join), Some(outcome.differences)),
            None => (None, None),
        };
        Ok(Looked { joined, differences, auditor: seen.auditor })
    }

    /// What was set aside on these days, by the `{date}` of the keys, which `day_of` gives.
    fn set_aside(
        &self,
        day_of: &dyn Fn(&str) -> Option<UsageDay>,
        days: &BTreeSet<UsageDay>,
        warnings: &mut Vec<String>,
    ) -> Result<Vec<RejectOn>, RunError> {
        let all = read_small(&self.tables.rejects, small::rejects)?;
        let undated = all.iter().filter(|row| day_of(&row.source_key).is_none()).count();
        if undated > 0 {
            warnings.push(format!(
                "{} of ours, set aside, without a date in the key, and so no part of any row: give source.keys a {{date}} where \
                 keys hold one; `faceledger rejects` lists what was set aside",
                plural(undated as u64, "record")
            ));
        }
        let day_of = |key: &str| day_of(key).filter(|day| days.contains(day));
        let mut rejects: Vec<RejectOn> = all
            .into_iter()
            .filter_map(|row| {
                let day = day_of(&row.source_key)?;
                let (source_key, reason, seqs) = (row.source_key, row.reason, row.seqs);
                Some(RejectOn { day, source_key, reason, seqs })
            })
            .collect();
        rejects.sort();
        Ok(rejects)
    }

    /// What came more than once near the days `with_more`, by Seq; by number, of `days`, what cannot be known so.
    fn repeated(
        &self,
        day_of: &dyn Fn(&str) -> Option<UsageDay>,
        days: &BTreeSet<UsageDay>,
        with_more: &BTreeSet<UsageDay>,
        warnings: &mut Vec<String>,
    ) -> Result<(Copies, Vec<DuplicatesOn>), RunError> {
        if with_more.is_empty() {
            return Ok(Default::default());
        }
        let inputs = read_small(&self.tables.inputs, small::inputs)?;
        let (pipeline, as_of_ms) = (self.pipeline, self.as_of_ms);
        let (copies, untold) =
            repeated::copies(pipeline, &inputs, day_of, with_more, as_of_ms, self.stop)?;
        let envelope = pipeline.source.envelope.as_ref();
        let tells_pulls = envelope.is_some_and(|envelope| envelope.fetched_at.is_some());
        let by_number = untold.is_some() && !tells_pulls;
        warnings.extend(untold);
        let of_days = |input: small::Input| {
            let day = day_of(&input.key).filter(|day| days.contains(day))?;
            let rows = input.rows_duplicate + input.rows_changed;
            let nothing_new = input.rows_new == 0;
            Some(DuplicatesOn { day, source_key: input.key, rows, nothing_new })
        };
        let objects = inputs.into_iter().filter(|_| by_number).filter_map(of_days);
        let mut duplicates: Vec<DuplicatesOn> = objects.filter(|object| object.rows > 0).collect();
        duplicates.sort();
        Ok((copies, duplicates))
    }
}

/// The days on which the bill counts more than ours, and ours has attempts that may have come twice.
fn days_with_more(rows: &[Variance]) -> BTreeSet<UsageDay> {
    let more = rows.iter().filter(|row| row.difference > 0 && row.ours_attempts > 0);
    let days = more.flat_map(|row| {
        let (first, last) = row.period.days();
        (first.date32()..=last.date32()).map(UsageDay::from_date32)
    });
    days.collect()
}

const HTML: &str = "html";
const CSV: &str = "csv";

/// The reports that go into the output or that the caller asked for, by the end of their name; each is made once.
fn files(
    found: &Reconciled,
    asked: &ReconcileAsked,
) -> Result<Vec<(&'static str, Bytes)>, RunError> {
    let unwritten = |error: serde_json::Error| RunError::Usage(error.to_string());
    let published = !asked.dry_run;
    let mut files: Vec<(&'static str, Bytes)> = Vec::new();
    if published || asked.html {
        files.push((HTML, report::html(found).map_err(unwritten)?.into()));
    }
    if published {
        files.push(("json", serde_json::to_string_pretty(found).map_err(unwritten)?.into()));
    }
    if published || asked.csv {
        files.push((CSV, report::differences_csv(found).into()));
    }
    let ticket = found.audit.as_ref().filter(|_| published).map(report::ticket).unwrap_or_default();
    if !ticket.is_empty() {
        files.push(("ticket.txt", ticket.into()));
    }
    Ok(files)
}

/// What there is to write besides the report itself.
struct Told {
    lines: Vec<BillLine>,
    differences: Option<Differences>,
    of_other_bills: Option<OfOtherBills>,
}

/// Rows of the months compared that stand in other bills than those given: by deduction time (按扣费周期) the usage of a month
/// is in two of them. What an earlier reconciliation found of these rows stays.
struct OfOtherBills {
    bill_months: BTreeSet<UsageMonth>,
    settlement: Settlement,
}

impl OfOtherBills {
    fn of(
        counted: Counted,
        settlement: Settlement,
        asked: Option<UsageMonth>,
    ) -> Option<OfOtherBills> {
        let some = counted.statistics == Statistics::ByPay
            && !(asked.is_some() && counted.bill_months.is_empty());
        some.then_some(OfOtherBills { bill_months: counted.bill_months, settlement })
    }

    /// Whether a row stays: of a day, or of the whole of `month`.
    fn holds(&self, month: UsageMonth, day: Option<UsageDay>) -> bool {
        let settled = match day {
            Some(day) => self.settlement.date(day),
            None => Settlement::Monthly.date(month.first_day()),
        };
        !self.bill_months.contains(&settled.month())
    }

    /// These rows of a month's partition.
    fn rows(&self, table: &OpenTable, month: &str) -> Result<Vec<RecordBatch>, RunError> {
        let Some(of_month) = UsageMonth::parse(month) else { return Ok(Vec::new()) };
        let mut kept = Vec::new();
        for file in table.files_of(Some(month)) {
            for batch in table.read(file, None)? {
                let days = batch
                    .column_by_name("usage_date")
                    .ok_or_else(|| RunError::Damaged("reconciliation has no usage_date".into()))?
                    .as_primitive::<Date32Type>();
                let stays = days
                    .iter()
                    .map(|day| Some(self.holds(of_month, day.map(UsageDay::from_date32))))
                    .collect::<BooleanArray>();
                kept.push(filter_record_batch(&batch, &stays).map_err(WriteError::from)?);
            }
        }
        Ok(kept)
    }
}

/// Writes the tables and the reports. Each month's rows take the place of those it had.
fn publish(
    pipeline: &Pipeline,
    output: &Place,
    now_ms: i64,
    report: &mut ReconcileReport,
    told: Told,
    files: Vec<(&'static str, Bytes)>,
) -> Result<(), RunError> {
    let Told { lines, differences, of_other_bills } = told;
    let run_id = new_run_id(now_ms);
    let (output, lease) = take_lease(pipeline, output, &run_id)?;
    let months: Vec<String> = report.reconciled.months.clone();
    let mut of_bill: BTreeMap<String, Vec<&BillLine>> = BTreeMap::new();
    for line in &lines {
        // A line of no month at all belongs to no partition that a reader would look for.
        if let Some(month) = line.bill_month.or(line.usage_from.map(UsageDay::month)) {
            of_bill.entry(month.to_string()).or_default().push(line);
        }
    }
    // Lines are let go before their batches are sorted and encoded.
    let of_bill = batches(of_bill, small::bill_line_batch)?;
    drop(lines);
    let mut of_rows: BTreeMap<String, Vec<Variance>> =
        months.iter().map(|month| (month.clone(), Vec::new())).collect();
    for row in &report.reconciled.rows {
        of_rows.entry(reconciled::month_of_row(row)).or_default().push(row.clone());
    }
    let mut of_seqs: BTreeMap<String, Vec<SeqDifference>> =
        months.iter().map(|month| (month.clone(), Vec::new())).collect();
    for told in differences.iter().flat_map(Differences::iter) {
        // Of one that lies in two months, ours where it is compared.
        let month = reconciled::months_of_seq(&told).find(|month| of_seqs.contains_key(month));
        if let Some(rows) = month.and_then(|month| of_seqs.get_mut(&month)) {
            rows.push(told);
        }
    }
    let put = Put { output: &output, run_id, now_ms, retain_ms: pipeline.output.retain_ms };
    for commit in [
        put.months(&schema::BILL_LINE, of_bill, None, &lease)?,
        put.months(
            &schema::RECONCILIATION,
            batches(of_rows, reconciled::reconciliation_batch)?,
            of_other_bills.as_ref(),
            &lease,
        )?,
        put.months(
            &schema::SEQ_DIFFERENCE,
            batches(of_seqs, reconciled::seq_difference_batch)?,
            None,
            &lease,
        )?,
    ] {
        report.commits.push(commit);
    }
    let name = match months.as_slice() {
        [] => "reconciliation".to_owned(),
        [month] => format!("reconciliation-{month}"),
        [first, .., last] => format!("reconciliation-{first}-{last}"),
    };
    for (end, bytes) in files {
        let key = format!("{REPORTS}/{name}.{end}");
        output.put(&key, bytes)?;
        report.reports.push(key);
    }
    Ok(())
}

/// Rows of a small table that become one batch.
const BATCH_ROWS: usize = 8_192;

/// What tables are written with.
struct Put<'p> {
    output: &'p Place,
    run_id: String,
    now_ms: i64,
    retain_ms: i64,
}

/// The rows of months as batches.
fn batches<T>(
    months: BTreeMap<String, Vec<T>>,
    batch: fn(&[T]) -> Result<RecordBatch, WriteError>,
) -> Result<Vec<(String, Vec<RecordBatch>)>, WriteError> {
    let of_month = |(month, rows): (String, Vec<T>)| {
        Ok((month, rows.chunks(BATCH_ROWS).map(batch).collect::<Result<_, WriteError>>()?))
    };
    months.into_iter().map(of_month).collect()
}

impl Put<'_> {
    /// Rows of months take the place of those that the table has of these months, but for those that stay, in one commit;
    /// the same rows are no commit.
    fn months(
        &self,
        table: &'static schema::Table,
        mut months: Vec<(String, Vec<RecordBatch>)>,
        stay: Option<&OfOtherBills>,
        lease: &Lease,
    ) -> Result<Commit, RunError> {
        let mut table = OpenTable::open(self.output, table)?;
        for (month, rows) in months.iter_mut() {
            if let Some(stay) = stay {
                rows.extend(stay.rows(&table, month)?);
            }
        }
        let last = table.last_run()?;
        let writer = Writer {
            run_id: self.run_id.clone(),
            txn: last.map_or(self.now_ms, |last| self.now_ms.max(last + 1)),
            retain_ms: self.retain_ms,
            now_ms: self.now_ms,
        };
        lease.check()?;
        table.delete_litter(&writer)?;
        lease.check()?;
        Ok(replace_partitions(&mut table, months, &writer)?)
    }
}

/// A result can be pulled for so long from the making of its token, which is before its attempts. Source:
/// GetDetectInfoEnhanced.
const PULLED_WITHIN_MS: i64 = 3 * 86_400_000;

/// Whether an attempt was known at a time.
enum Known {
    /// As its row says it.
    Yes,
    /// An earlier pull than that of its row said this.
    OtherwiseThen(Answer),
    No,
    /// No envelope says when it was pulled: it counts as known.
    NobodySays,
}

impl Known {
    fn at(as_of_ms: i64, row: &Row<'_>) -> Known {
        let Some(fetched_at) = row.fetched_at else { return Known::NobodySays };
        if fetched_at <= as_of_ms {
            return Known::Yes;
        }
        let then = row.earlier_pulls().rfind(|pull| pull.fetched_at <= as_of_ms);
        if let Some(then) = then {
            return Known::OtherwiseThen(then.answer);
        }
        // There is no first pull so late: there was one before, which is not among the results.
        if row.ours.req_time + PULLED_WITHIN_MS > as_of_ms {
            return Known::No;
        }
        match row.earlier_pulls().next() {
            Some(first) => Known::OtherwiseThen(first.answer),
            None => Known::Yes,
        }
    }

    /// The attempt as it was known at the time of which is asked, if it was; as it is where none is asked.
    fn row<'r>(as_of_ms: Option<i64>, row: &Row<'r>) -> Option<OurRow<'r>> {
        let Some(as_of_ms) = as_of_ms else { return Some(row.ours) };
        match Known::at(as_of_ms, row) {
            Known::Yes | Known::NobodySays => Some(row.ours),
            Known::No => None,
            Known::OtherwiseThen(Answer { is_need_charge, snapshot_final, errcode }) => {
                let then = row.earlier_pulls().filter(|pull| pull.fetched_at <= as_of_ms);
                let more_pulls = (then.count() as u32).saturating_sub(1);
                let answer = OurRow { charge: is_need_charge, snapshot_final, errcode, ..row.ours };
                Some(OurRow { more_pulls, ..answer })
            }
        }
    }
}

/// What has to be added to the charges so that they are those of a time.
#[derive(Default)]
struct Later {
    of: BTreeMap<(UsageDay, String, String), LaterCounts>,
    /// Attempts made before the time, and left out all the same.
    made_before: i64,
    /// Attempts of which it is not known.
    unknown: i64,
}

/// The counts of a daily charge that a reconciliation looks at.
#[derive(Default)]
struct LaterCounts {
    charged: i64,
    free: i64,
    unknown: i64,
}

impl Later {
    fn merge(mut self, other: Later) -> Later {
        self.unknown += other.unknown;
        self.made_before += other.made_before;
        for (key, counts) in other.of {
            let into = self.of.entry(key).or_default();
            into.charged += counts.charged;
            into.free += counts.free;
            into.unknown += counts.unknown;
        }
        self
    }

    fn count(&mut self, row: &Row<'_>, charge: Option<bool>, n: i64) {
        let key = (row.day, row.ours.account.to_owned(), row.billing_tag.to_owned());
        let counts = self.of.entry(key).or_default();
        match charge {
            Some(true) => counts.charged += n,
            Some(false) => counts.free += n,
            None => counts.unknown += n,
        }
    }
}

/// What `GetWeChatBillDetails` speaks of: 微信小程序, 微信原生 H5 (the tags of the enhanced edition in WeChat) and 微信普通 H5 (of the
/// basic edition that channel alone). Source: its API page.
fn listed_tags() -> BTreeMap<String, Option<BTreeSet<String>>> {
    let ordinary = Some(BTreeSet::from(["wechat_h5".to_owned()]));
    BTreeMap::from([
        ("enhanced_authority_wechat".to_owned(), None),
        ("enhanced_photo_wechat".to_owned(), None),
        ("basic_authority".to_owned(), ordinary.clone()),
        ("basic_photo".to_owned(), ordinary),
    ])
}

/// The provider's list of a day is there from 06:00 of the next one, Beijing time. Source: GetWeChatBillDetails.
const LIST_OUT_MS: i64 = 6 * 3_600_000;

/// The days of some months, and the one before and after each: an attempt near midnight may stand there.
fn days_around(months: &BTreeSet<UsageMonth>) -> BTreeSet<UsageDay> {
    let of_month = |month: &UsageMonth| {
        let first = month.first_day();
        (first.date32() - 1..=first.first_of_next_month().date32()).map(UsageDay::from_date32)
    };
    months.iter().flat_map(of_month).collect()
}

fn beijing(ms: i64) -> String {
    let offset = chrono::FixedOffset::east_opt(8 * 3600);
    let time = chrono::DateTime::from_timestamp_millis(ms).zip(offset);
    time.map(|(time, offset)| time.with_timezone(&offset).to_rfc3339()).unwrap_or_default()
}
