//! The outcome of a reconciliation for people: a summary on the terminal, a CSV of the differences for a spreadsheet.

use super::one_line;
use super::text::{add_row, printed, table};
use crate::model::{
    Amount, Beside, BesideKind, Money, Part, PartKind, Period, Reconciled, Status, Variance,
    WaterfallRow, grouped, plural,
};
use std::collections::BTreeSet;
use std::fmt::Write;

/// Other products named on a terminal, the most expensive first.
const PRODUCTS_NAMED: usize = 3;

/// Differences shown on a terminal; all of them stand in the table, the CSV and the HTML report.
const DIFFERENCES_SHOWN: usize = 20;

/// What a finance colleague wants to know, in this order: is the bill right, by how much is it not, where, why, what now.
pub fn text(reconciled: &Reconciled) -> String {
    let r = reconciled;
    let mut text = String::new();
    let version = |v: Option<i64>| v.map_or("none".to_owned(), |v| v.to_string());
    let _ = writeln!(
        text,
        "{}, account {}, {}, as of {} (liveness_detail version {}, daily_charge version {})",
        r.pipeline,
        r.account,
        if r.months.is_empty() { "no month".to_owned() } else { r.months.join(", ") },
        r.as_of,
        version(r.detail_version),
        version(r.daily_version)
    );
    let _ = writeln!(text, "\n{}\n", headline(r));
    bill_read(r, &mut text);
    totals(r, &mut text);
    money(r, &mut text);
    differences(r, &mut text);
    others(r, &mut text);
    let steps = next_steps(r);
    if !steps.is_empty() {
        text.push_str("\nWhat to do next\n");
        for (n, step) in steps.iter().enumerate() {
            let _ = writeln!(text, "{:>2}. {step}", n + 1);
        }
    }
    text
}

/// A row that someone has to look at: other counts, other money, or something that changed or is not known.
fn is_difference(row: &Variance) -> bool {
    let counts = match row.status {
        Status::Matched | Status::CoveredByPackage | Status::Pending => false,
        // A change that makes it right.
        Status::Adjusted => row.difference != 0 || row.cost_difference().is_none(),
        _ => true,
    };
    counts || row.cost_difference().is_some_and(|d| !d.is_zero())
}

/// Whether a row is listed: it is a difference, or parts of it balance.
fn is_listed(row: &Variance) -> bool {
    is_difference(row) || !row.parts.is_empty()
}

/// Whether the calls agree and the money does not.
fn only_money_differs(row: &Variance) -> bool {
    row.difference == 0 && row.cost_difference().is_some_and(|difference| !difference.is_zero())
}

/// `+3`, `-3`, `0`.
fn signed(n: i64) -> String {
    format!("{}{}", if n > 0 { "+" } else { "" }, grouped(n))
}

fn signed_yuan(amount: Amount) -> String {
    format!("{}{amount}", if amount > Amount::ZERO { "+" } else { "" })
}

fn or_dash<T: ToString>(value: Option<T>) -> String {
    value.map_or("-".to_owned(), |v| v.to_string())
}

/// Calls and yuan, as one tolerance.
fn tolerance(r: &Reconciled) -> String {
    let calls = plural(r.tolerance_calls.unsigned_abs(), "call");
    match &r.money {
        Some(money) if money.is_compared() => format!("{calls} and {} yuan", r.tolerance_amount),
        _ => calls,
    }
}

fn headline(r: &Reconciled) -> String {
    let differing: Vec<&Variance> = r.rows.iter().filter(|row| is_difference(row)).collect();
    let pending = r.rows.iter().filter(|row| row.status == Status::Pending).count();
    let beside: Vec<String> =
        r.beside.iter().filter(|b| b.over_tolerance).map(beside_words).collect();
    // Where no row has a price there is no amount to speak of.
    let compared = r.money.as_ref().is_some_and(Money::is_compared);
    let money = Amount::checked_sum(r.rows.iter().filter_map(Variance::cost_difference))
        .filter(|_| compared)
        .map(|sum| (sum, format!("{} yuan", sum.abs())));
    let mut said = if r.rows.is_empty() {
        "NOTHING TO COMPARE: neither our records nor the bill have anything for these months."
            .to_owned()
    } else if pending == r.rows.len() {
        "THE BILL IS NOT OUT YET: no row can be compared.".to_owned()
    } else if differing.is_empty() {
        let rows = plural((r.rows.len() - pending) as u64, "row");
        let in_part = [BesideKind::NoPrice, BesideKind::Currency, BesideKind::OtherPayer];
        let in_part = r.beside.iter().any(|b| b.over_tolerance && in_part.contains(&b.kind));
        let agree = match (compared, in_part) {
            (true, false) => format!("all of {rows} agree in calls and money."),
            (true, true) => {
                format!(
                    "all of {rows} agree in their calls, and in money as far as it was compared."
                )
            }
            (false, _) => format!("all of {rows} agree in their calls; money was not compared."),
        };
        let against = r.audit.as_ref().map_or(0, |audit| audit.charged_against_rule);
        let but = match against {
            0 => String::new(),
            n => format!(
                " Yet {} charged against the published rules (audit, below).",
                match n {
                    1 => "1 attempt was".to_owned(),
                    n => format!("{} attempts were", grouped(n)),
                }
            ),
        };
        let agree = agree + &but;
        match beside.is_empty() {
            true => format!("THE BILL IS RIGHT: {agree}"),
            false => format!("THE BILL IS NOT SHOWN TO BE RIGHT: {agree}"),
        }
    } else {
        let counted = differing.iter().filter(|row| row.difference != 0);
        let sums = counted.clone().map(|row| i128::from(row.difference));
        let more: i128 = sums.clone().filter(|d| *d > 0).sum();
        let fewer: i128 = -sums.filter(|d| *d < 0).sum::<i128>();
        let call = |n: i128| plural(u64::try_from(n).unwrap_or(u64::MAX), "call");
        let calls = match (more, fewer) {
            (0, 0) => "it counts as many calls as our records".to_owned(),
            (more, 0) => format!("it counts {} more than our records", call(more)),
            (0, fewer) => format!("it counts {} fewer than our records", call(fewer)),
            (more, fewer) => {
                format!(
                    "it counts {} more in some rows and {} fewer in others",
                    call(more),
                    call(fewer)
                )
            }
        };
        let money = match &money {
            Some((sum, yuan)) if *sum > Amount::ZERO => {
                format!(", and asks {yuan} more than expected")
            }
            Some((sum, yuan)) if *sum < Amount::ZERO => {
                format!(", and asks {yuan} less than expected")
            }
            Some(_) => ", and asks what is expected".to_owned(),
            None => "; money was not compared".to_owned(),
        };
        let within = match r.over_tolerance {
            0 => format!(" No row is over the tolerance of {}.", tolerance(r)),
            over => format!(
                " {} of {} {} over the tolerance of {}.",
                grouped(over),
                plural(r.rows.len() as u64, "row"),
                if over == 1 { "is" } else { "are" },
                tolerance(r)
            ),
        };
        // Whether the change makes it right is for money to say.
        let only_changed = |row: &&Variance| {
            row.status == Status::Adjusted && row.difference == 0 && row.cost_difference().is_none()
        };
        let does = if differing.iter().all(only_changed) { "WAS CHANGED" } else { "DIFFERS" };
        format!(
            "THE BILL {does} in {}: {calls}{money}.{within}",
            plural(differing.len() as u64, "row")
        )
    };
    if !beside.is_empty() {
        let _ = write!(said, " Besides: {}.", beside.join("; "));
    }
    let provisional = |money: &Money| money.waterfall.iter().any(|row| row.provisional);
    if compared && pending < r.rows.len() && r.money.as_ref().is_some_and(provisional) {
        said.push_str(
            " Amounts of a month that is not over are provisional: monthly tiers settle at its end.",
        );
    }
    if pending > 0 && pending < r.rows.len() {
        let _ = write!(said, " The bill of {} is not out yet.", plural(pending as u64, "row"));
    }
    if r.bill.lines == 0 {
        said.push_str(" No line of the bill was read for this product.");
    }
    said
}

/// What is beside the rows, and what it comes to.
fn beside_words(beside: &Beside) -> String {
    let lines = plural(beside.lines.unsigned_abs(), "line");
    let what = match beside.kind {
        BesideKind::UnknownKind => format!("{lines} of unknown kind"),
        BesideKind::Rejected => format!("{lines} of the bill that could not be read"),
        BesideKind::ProductLikeOurs => format!("{lines} of products that may be ours"),
        BesideKind::EarlyMore => {
            format!(
                "{lines} of days whose bill is not out yet, which already ask more than our records"
            )
        }
        BesideKind::NoDay => format!("{lines} of usage without a day"),
        BesideKind::OtherMonth => format!("{lines} of months that are not compared"),
        BesideKind::PagesMissing => format!("{lines} on pages that were not given"),
        BesideKind::PartsMissing => format!(
            "{} of the provider's list or of a bill that {} not given",
            plural(beside.lines.unsigned_abs(), "part"),
            if beside.lines == 1 { "was" } else { "were" }
        ),
        BesideKind::FilesDiffer => {
            format!("{lines} on which files differ that should say the same")
        }
        BesideKind::OtherPayer => format!("{lines} of other payers"),
        BesideKind::SeqsDiffer => format!(
            "{} on which the provider's list and ours differ",
            plural(beside.lines.unsigned_abs(), "Seq")
        ),
        BesideKind::NoCount => format!("{lines} without a whole number of calls"),
        BesideKind::UnknownUnit => {
            format!("{lines} in units that are not known, counted as one call each")
        }
        BesideKind::MeasuresDisagree => {
            format!("{lines} whose usage, deducted and billed contradict each other")
        }
        BesideKind::PaymentsDisagree => {
            format!("{lines} whose payments do not add up to their cost")
        }
        BesideKind::RoundingTooLarge => {
            format!("{lines} of rounding, which is not what the lines of the bill make")
        }
        BesideKind::PackageNotNamed => {
            format!("{lines} of packages that the pipeline file does not name")
        }
        BesideKind::PackagesDiffer => format!(
            "{} deducted otherwise than the packages of the pipeline file give",
            plural(beside.lines.unsigned_abs(), "call")
        ),
        BesideKind::Package => format!("{lines} of packages (their own prices are not checked)"),
        BesideKind::NotHeld => {
            format!("{lines} of billing tags that are not held here (reconcile.not_held)")
        }
        BesideKind::Currency => format!("the money of rows with {lines} not in yuan"),
        BesideKind::NoPrice => "what has no price in the price book".to_owned(),
        BesideKind::PriceBookCurrency => "money, as the price book is not in yuan".to_owned(),
    };
    match (beside.cost, beside.cost_gross) {
        (Some(net), Some(gross)) if net.abs() != gross => {
            format!("{what}, {} yuan ({gross} without regard to sign)", signed_yuan(net))
        }
        (Some(net), _) => format!("{what}, {} yuan", signed_yuan(net)),
        (None, _) => what,
    }
}

fn bill_read(r: &Reconciled, text: &mut String) {
    let names: Vec<&str> = r.bill.other_products.iter().map(|product| &*product.name).collect();
    let others = match names.len() {
        0 => String::new(),
        n if n > PRODUCTS_NAMED => format!(" ({}, …)", names[..PRODUCTS_NAMED].join(", ")),
        _ => format!(" ({})", names.join(", ")),
    };
    let _ = writeln!(
        text,
        "bill      {}, {}, {} of other products set aside{others}, {}",
        plural(r.bill.files.len() as u64, "file"),
        plural(r.bill.lines.unsigned_abs(), "line"),
        grouped(r.bill.lines_other_products),
        plural(r.bill.rejects_total.unsigned_abs(), "reject")
    );
    for warning in &r.bill.warnings {
        let _ = writeln!(text, "WARNING   {}", one_line(warning));
    }
    for reject in r.bill.rejects.iter().take(5) {
        let column = match reject.column.as_str() {
            "" => String::new(),
            column => format!(", {column}"),
        };
        let _ = writeln!(
            text,
            "reject    {} row {}{column}: {}",
            one_line(&reject.file),
            reject.row,
            one_line(&reject.message)
        );
    }
}

fn status_words(status: Status) -> &'static str {
    match status {
        Status::Matched => "calls agree",
        Status::ProviderMore => "the bill counts more",
        Status::OursMore => "we count more",
        Status::ProviderOnly => "on the bill only",
        Status::OursOnly => "in our records only",
        Status::Pending => "bill not out yet",
        Status::CoveredByPackage => "covered by a package",
        Status::Unmapped => "without a billing tag",
        Status::Adjusted => "changed by an adjustment",
    }
}

fn part_words(kind: PartKind) -> &'static str {
    match kind {
        PartKind::Midnight => "near midnight, balances with the neighbouring day",
        PartKind::UnknownFlag => "charged or not is unknown",
        PartKind::NotFinal => "pulled before the result was final",
        PartKind::Duplicate => "the same Seq counted twice",
        PartKind::Reject => "records of ours set aside",
        PartKind::FlagDiffers => "charged there, free here (or the other way)",
        PartKind::ProviderOnly => "in the provider's list only",
        PartKind::OursOnly => "not in the provider's list",
        PartKind::Unexplained => "unexplained",
    }
}

/// What is told and takes nothing of the difference has words of its own.
fn words_of(part: &Part) -> &'static str {
    match (part.count, part.kind) {
        (0, PartKind::Duplicate) => {
            "no difference: Seqs pulled more than once, counted once; a count of objects would have more"
        }
        (0, PartKind::Reject) => {
            "may be of this row: records of ours set aside, fewer than the rows they could be of"
        }
        (0, PartKind::ProviderOnly) => {
            "may be of this row: in the provider's list only, fewer than the rows they could be of"
        }
        (_, kind) => part_words(kind),
    }
}

fn totals(r: &Reconciled, text: &mut String) {
    if r.totals.is_empty() {
        return;
    }
    let mut t = table(&["status", "rows", "ours charged", "bill calls", "difference"], 1);
    let mut sum = [0i64; 4];
    for total in &r.totals {
        let counts = [total.rows, total.ours_charged, total.provider_calls, total.difference];
        for (sum, n) in sum.iter_mut().zip(counts) {
            *sum = sum.saturating_add(n);
        }
        let [rows, ours, bill, difference] = counts;
        let status = status_words(total.status).to_owned();
        let cells = vec![status, grouped(rows), grouped(ours), grouped(bill), signed(difference)];
        add_row(&mut t, cells, 1);
    }
    let [rows, ours, bill, difference] = sum;
    let cells =
        ["in all".to_owned(), grouped(rows), grouped(ours), grouped(bill), signed(difference)];
    add_row(&mut t, cells.to_vec(), 1);
    let _ = write!(text, "\n{}", printed(&t));
}

/// What was compared in yuan, and what was not.
fn money(r: &Reconciled, text: &mut String) {
    if let Some(money) = &r.money
        && money.is_compared()
    {
        let pending = r.rows.iter().filter(|row| row.status == Status::Pending);
        // Or the two sums would seem to differ by more than the rows do.
        let not_out = match Amount::checked_sum(pending.filter_map(|row| row.expected_cost)) {
            Some(sum) if sum != Amount::ZERO => format!(", {sum} of it not billed yet"),
            _ => String::new(),
        };
        let _ = writeln!(
            text,
            "money     {} yuan expected ({}{not_out}), {} yuan on the bill",
            money.expected_cost, money.price_book, money.bill_cost
        );
        let _ = writeln!(
            text,
            "rounding  {} yuan expected (exact amounts minus those deducted in fen), {} yuan in rounding lines of the bill \
             (月度计费精度差异)",
            money.expected_rounding, money.bill_rounding
        );
    }
    if let Some(money) = r.money.as_ref().filter(|money| !money.unpriced_tags.is_empty()) {
        let _ = writeln!(
            text,
            "no price  {} yuan on the bill, left out: no price in {} for {}",
            money.bill_cost_unpriced,
            money.price_book,
            money.unpriced_tags.join(", ")
        );
    }
    let told = [BesideKind::NoPrice, BesideKind::SeqsDiffer];
    for beside in r.beside.iter().filter(|beside| !told.contains(&beside.kind)) {
        let _ = writeln!(text, "besides   {}", beside_words(beside));
    }
}

fn differences(r: &Reconciled, text: &mut String) {
    let mut rows: Vec<&Variance> = r.rows.iter().filter(|row| is_listed(row)).collect();
    if rows.is_empty() {
        return;
    }
    // Biggest first: calls, then money; those that are equal stay in the order of the rows.
    rows.sort_by_key(|row| {
        let cost = row.cost_difference().unwrap_or(Amount::ZERO).abs();
        std::cmp::Reverse((row.difference.unsigned_abs(), cost))
    });
    let several = rows.iter().any(|row| row.account != rows[0].account);
    let mut head = vec!["period", "billing tag"];
    if several {
        head.push("account");
    }
    head.push("status, parts");
    let numbers_from = head.len();
    head.extend(["ours", "bill", "difference"]);
    if r.money.is_some() {
        head.extend(["yuan expected", "yuan billed", "yuan difference"]);
    }
    let mut t = table(&head, numbers_from);
    for row in rows.iter().take(DIFFERENCES_SHOWN) {
        let mut cells = vec![row.period.to_string(), row.billing_tag.clone()];
        if several {
            cells.push(row.account.clone());
        }
        cells.push(match (row.status, only_money_differs(row)) {
            (Status::Matched, true) => "calls agree, money differs".to_owned(),
            (status, _) => status_words(status).to_owned(),
        });
        cells.extend([
            grouped(row.ours_charged),
            or_dash(row.provider_calls.map(grouped)),
            signed(row.difference),
        ]);
        if r.money.is_some() {
            cells.extend([
                or_dash(row.expected_cost),
                or_dash(row.provider_cost),
                or_dash(row.cost_difference().map(signed_yuan)),
            ]);
        }
        add_row(&mut t, cells, numbers_from);
        for part in &row.parts {
            let mut cells = vec![String::new(); numbers_from - 1];
            cells.push(format!("  {}{}", words_of(part), example(part)));
            cells.extend([String::new(), String::new(), signed(part.count)]);
            cells.resize(head.len(), String::new());
            add_row(&mut t, cells, numbers_from);
        }
    }
    let _ = write!(text, "\n{}", printed(&t));
    if rows.len() > DIFFERENCES_SHOWN {
        let left = plural((rows.len() - DIFFERENCES_SHOWN) as u64, "difference");
        let _ = writeln!(text, "({left} more in the HTML report and in the CSV)");
    }
}

/// A Seq to look at, and how many there are.
fn example(part: &Part) -> String {
    match (part.seqs.first(), part.source_keys.first()) {
        (Some(seq), _) if part.seqs_total > 1 => {
            format!(": Seq {seq} and {} more", grouped(part.seqs_total - 1))
        }
        (Some(seq), _) => format!(": Seq {seq}"),
        (None, Some(key)) => format!(": {key}"),
        (None, None) => String::new(),
    }
}

fn others(r: &Reconciled, text: &mut String) {
    if let Some(s) = &r.seqs {
        let _ = writeln!(
            text,
            "\nper Seq   {} agree, {} flag differs, {} day differs, {} ours only, {} provider only",
            grouped(s.agree),
            grouped(s.flag_differs),
            grouped(s.day_differs),
            grouped(s.ours_only),
            grouped(s.provider_only)
        );
    }
    if let Some(a) = &r.audit {
        let cost = match (a.overcharge, a.overcharge_unpriced) {
            (Some(yuan), 0) => format!(" ({yuan} yuan at postpaid prices, before packages)"),
            (Some(yuan), n) => format!(
                " ({yuan} yuan at postpaid prices, before packages, and {} without a price)",
                grouped(n)
            ),
            (None, n) if n > 0 && r.money.is_some() => " (without a price)".to_owned(),
            (None, _) => String::new(),
        };
        let _ = writeln!(
            text,
            "{}audit     {} held against the published charge rules: {} charged against them{cost}, {} free against them; not \
             held: {} of products and channels without a published table (reconcile.editions names one), {} with a code \
             that their table does not have, {} with an unknown flag",
            if r.seqs.is_none() { "\n" } else { "" },
            plural(a.checked.unsigned_abs(), "attempt"),
            grouped(a.charged_against_rule),
            grouped(a.free_against_rule),
            grouped(a.no_table),
            grouped(a.not_listed),
            grouped(a.unknown_flag)
        );
    }
}

/// One step a kind of trouble that occurs, the ones that settle most first.
fn next_steps(r: &Reconciled) -> Vec<String> {
    let rows: Vec<&Variance> = r.rows.iter().filter(|row| is_listed(row)).collect();
    let part =
        |kind| rows.iter().any(|row| row.parts.iter().any(|p| p.kind == kind && p.count != 0));
    let any = |kind| rows.iter().any(|row| row.parts.iter().any(|p| p.kind == kind));
    let unexplained = |listed| {
        let mut rows = rows.iter().filter(|row| row.listed == listed);
        rows.any(|row| row.parts.iter().any(|p| p.kind == PartKind::Unexplained && p.count != 0))
    };
    let status = |status| r.rows.iter().any(|row| row.status == status);
    let beside = |kind| r.beside.iter().any(|b| b.kind == kind && b.over_tolerance);
    let settled = |is: fn(&WaterfallRow) -> bool| -> BTreeSet<(&str, Period, &str)> {
        let rows = r.money.iter().flat_map(|money| &money.waterfall).filter(|row| is(row));
        rows.map(|row| (&*row.account, row.period, &*row.billing_tag_code)).collect()
    };
    let packages = settled(|row| !row.agrees_on_packages());
    let provisional = settled(|row| row.provisional);
    let is_one_of = |rows: &BTreeSet<(&str, Period, &str)>, row: &Variance| {
        rows.contains(&(&*row.account, row.period, &*row.billing_tag_code))
    };
    let money_only =
        || rows.iter().filter(|row| row.status != Status::Adjusted && only_money_differs(row));
    let packages_differ = money_only().any(|row| is_one_of(&packages, row));
    let prices = || money_only().filter(|row| !is_one_of(&packages, row));
    let cost_only = prices().any(|row| !is_one_of(&provisional, row));
    let cost_provisional = prices().any(|row| is_one_of(&provisional, row));
    let steps = [
        (r.bill.lines == 0, "Give the detail bill (L3, 明细账单) of the months with --bill."),
        (
            r.bill.rejects_total > 0,
            "Mend or download anew the bill files with rejects: a line that was not read can be a difference.",
        ),
        (
            beside(BesideKind::ProductLikeOurs),
            "Name the products that are ours in the pipeline file (reconcile.products; the warnings have the line to add).",
        ),
        (
            beside(BesideKind::PackageNotNamed),
            "Name the packages that were bought or given back in the pipeline file ([[reconcile.package]]).",
        ),
        (
            beside(BesideKind::MeasuresDisagree)
                || beside(BesideKind::PaymentsDisagree)
                || beside(BesideKind::NoCount),
            "Ask the provider about the lines whose usage contradicts itself or is no count (the warnings name them).",
        ),
        (
            beside(BesideKind::RoundingTooLarge),
            "Ask the provider what the rounding lines (月度计费精度差异) are for: rounding makes less than a fen a line.",
        ),
        (
            beside(BesideKind::Currency) || beside(BesideKind::PriceBookCurrency),
            "Give bill and price book in yuan (CNY) to have the money compared.",
        ),
        (
            beside(BesideKind::UnknownKind),
            "Say in the pipeline file what the transactions of unknown kind are (the warnings have the lines to add), then \
             reconcile again.",
        ),
        (
            beside(BesideKind::UnknownUnit),
            "Say in the pipeline file how many calls the units are (reconcile.usage_units; the warnings have the line to add).",
        ),
        (
            r.money.as_ref().is_some_and(|money| !money.unpriced_tags.is_empty()),
            "Add prices of the tags without one to the price book, or correct their billing tag.",
        ),
        (
            status(Status::Unmapped),
            "Give what has no billing tag one: routes in the pipeline file for attempts, an alias for bill lines.",
        ),
        (
            any(PartKind::Reject),
            "Mend the records set aside (`faceledger rejects`), then run `rejects --retry`.",
        ),
        (
            part(PartKind::NotFinal),
            "Pull the results that were not final again, load them, reconcile again.",
        ),
        (part(PartKind::UnknownFlag), "Pull the results with an unknown IsNeedCharge again."),
        (
            part(PartKind::Midnight),
            "Nothing for what balances at midnight: the neighbouring day has the other side.",
        ),
        (
            part(PartKind::Duplicate),
            "Send the Seqs that were counted twice to the provider: a Seq is one attempt and one charge.",
        ),
        (
            part(PartKind::FlagDiffers)
                || part(PartKind::ProviderOnly)
                || part(PartKind::OursOnly)
                || beside(BesideKind::SeqsDiffer),
            "Look up the Seqs on which the lists differ (in the table seq_difference and the page; `faceledger explain` of one shows \
             where it stands, or that it was set aside): mend and load what is ours, send the others to the provider.",
        ),
        (
            unexplained(false),
            "Ask the provider for its list per Seq of the days with an unexplained part (GetWeChatBillDetails for channels in WeChat) and \
             give it with --bill.",
        ),
        (
            unexplained(true),
            "Send the rows with an unexplained part and the provider's own list of these days to the provider: what its bill counts \
             there is not what its list holds.",
        ),
        (
            packages_differ,
            "Compare the packages with [[reconcile.package]]: the calls agree, and the bill deducted another part of them than \
             the packages of the pipeline file give.",
        ),
        (
            beside(BesideKind::NoDay) || beside(BesideKind::OtherMonth),
            "Look for the lines of usage without a day, or of another month, in the bill: they are in no row (give the bill of \
             that month, too).",
        ),
        (
            beside(BesideKind::PagesMissing) || beside(BesideKind::PartsMissing),
            "Give all pages of DescribeBillDetail (Total says how many lines there are).",
        ),
        (
            beside(BesideKind::FilesDiffer),
            "Give one file of each bill, and of the provider's list: the later download, the detail bill without the pack.",
        ),
        (
            beside(BesideKind::OtherPayer),
            "Compare account.uin with the payers (支付者 UIN) of the bill; amounts of others are not compared.",
        ),
        (
            cost_only,
            "Compare the unit prices on the bill with the contract: the calls agree there and the money does not.",
        ),
        (
            cost_provisional,
            "Reconcile again when the month is over: the calls agree, and the prices that its tiers reach are provisional until then.",
        ),
        (
            status(Status::Adjusted),
            "Check the adjusted lines against the provider's notice of the adjustment.",
        ),
        (
            r.audit.as_ref().is_some_and(|a| a.charged_against_rule > 0),
            "Send the audit's findings to the provider: charged though the published rules say free.",
        ),
        (
            status(Status::Pending),
            "Reconcile again when the bill is out: a daily bill comes between 08:00 and 12:00 the next day.",
        ),
    ];
    steps.into_iter().filter(|(needed, _)| *needed).map(|(_, step)| step.to_owned()).collect()
}

/// Characters of Seqs in one cell: a spreadsheet takes 32,767.
const CELL_CHARS_MAX: usize = 32_000;

/// The differences only, one line per row and part (one with empty part columns for a row without parts). Counts and
/// amounts of a row stand on the first of its lines, so that a sum over a column is right; what names it stands on all. With
/// a byte order mark, without which Excel takes the Chinese in it for GBK; lines end with CR LF (RFC 4180). Amounts are exact.
/// Seqs are separated by spaces and cut at what a cell holds; `seqs_total` says how many there are.
pub fn differences_csv(reconciled: &Reconciled) -> String {
    let mut csv = String::from("\u{feff}");
    csv.push_str(
        "account,period,billing_tag,billing_tag_code,status,ours_charged,provider_calls,difference,expected_deducted,\
         provider_deducted,expected_billed,provider_billed,expected_cost,provider_cost,cost_difference,part,part_count,seqs_total,seqs,source_keys,bill_lines\r\n",
    );
    for row in reconciled.rows.iter().filter(|row| is_listed(row)) {
        let optional = |value: Option<String>| value.unwrap_or_default();
        let names = [
            cell(&row.account),
            cell(&row.period.to_string()),
            cell(&row.billing_tag),
            cell(&row.billing_tag_code),
            row.status.code().to_owned(),
        ];
        let mut amounts = [
            row.ours_charged.to_string(),
            optional(row.provider_calls.map(|n| n.to_string())),
            row.difference.to_string(),
            optional(row.expected_deducted.map(|n| n.to_string())),
            optional(row.provider_deducted.map(|a| a.to_string())),
            optional(row.expected_billed.map(|n| n.to_string())),
            optional(row.provider_billed.map(|a| a.to_string())),
            optional(row.expected_cost.map(|a| a.to_string())),
            optional(row.provider_cost.map(|a| a.to_string())),
            optional(row.cost_difference().map(|a| a.to_string())),
        ];
        let lines = cell(&joined(&row.lines));
        let of_part = |part: Option<&Part>| match part {
            None => vec![String::new(); 5],
            Some(part) => vec![
                part.kind.code().to_owned(),
                part.count.to_string(),
                part.seqs_total.to_string(),
                cell(&joined(&part.seqs)),
                cell(&joined(&part.source_keys)),
            ],
        };
        let mut line = |part| {
            let cells =
                [&names[..], &amounts, &of_part(part), std::slice::from_ref(&lines)].concat();
            csv.push_str(&cells.join(","));
            csv.push_str("\r\n");
            amounts = Default::default();
        };
        match row.parts.is_empty() {
            true => line(None),
            false => row.parts.iter().for_each(|part| line(Some(part))),
        }
    }
    csv
}

/// With spaces between, as many as a cell holds.
fn joined(texts: &[String]) -> String {
    let mut cell = String::new();
    let mut chars = 0;
    for text in texts {
        chars += text.chars().count() + 1;
        if chars > CELL_CHARS_MAX {
            break;
        }
        if !cell.is_empty() {
            cell.push(' ');
        }
        cell.push_str(text);
    }
    cell
}

/// A text as a cell: quoted where CSV needs it, and never a formula (OWASP, CSV injection: an apostrophe before it).
fn cell(text: &str) -> String {
    let formula = text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠']);
    let text = if formula { format!("'{text}") } else { text.to_owned() };
    if text.contains([',', '"', '\r', '\n']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text
    }
}
