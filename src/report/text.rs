//! What people read: tables for a terminal, a summary of a run.

use super::one_line;
use crate::classify::Catalogue;
use crate::model::{grouped, plural};
use crate::run::{
    Billed, Checked, Columns, Compacted, DailyLine, Explained, Outcome, Plan, RejectCount,
    RunReport, Verified,
};
use crate::write::schema::Table as TableSchema;
use crate::write::small::RejectRow;
use comfy_table::{Cell, CellAlignment, Table, presets};
use indicatif::HumanBytes;
use std::collections::BTreeSet;
use std::fmt::Write;

/// A table without lines but under its head; columns from `numbers_from` on are right-aligned.
pub(super) fn table(head: &[&str], numbers_from: usize) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table.set_header(head.iter().enumerate().map(|(i, h)| aligned(Cell::new(h), i, numbers_from)));
    table
}

fn aligned(cell: Cell, column: usize, numbers_from: usize) -> Cell {
    cell.set_alignment(if column >= numbers_from {
        CellAlignment::Right
    } else {
        CellAlignment::Left
    })
}

pub(super) fn add_row(table: &mut Table, cells: Vec<String>, numbers_from: usize) {
    table.add_row(
        cells.into_iter().enumerate().map(|(i, c)| aligned(Cell::new(c), i, numbers_from)),
    );
}

pub(super) fn printed(table: &Table) -> String {
    let mut text = String::new();
    for line in table.to_string().lines() {
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

/// Lines of a daily table at most; the whole of it is in `daily_charge`.
const DAILY_LINES_MAX: usize = 60;

pub fn daily_charges(lines: &[DailyLine]) -> String {
    let accounts: BTreeSet<&str> = lines.iter().map(|l| l.account.as_str()).collect();
    let several = accounts.len() > 1;
    let mut head = vec!["usage_date", "settled on", "billing tag"];
    if several {
        head.push("account");
    }
    let numbers_from = head.len();
    head.extend(["attempts", "charged", "free", "unknown", "charged, failed", "not final"]);
    let mut t = table(&head, numbers_from);
    for line in lines.iter().take(DAILY_LINES_MAX) {
        let mut cells =
            vec![line.usage_date.clone(), line.settlement_date.clone(), line.billing_tag.clone()];
        if several {
            cells.push(line.account.clone());
        }
        cells.extend(counts(line).map(grouped));
        add_row(&mut t, cells, numbers_from);
    }
    let mut total = [0i64; 6];
    for line in lines {
        for (sum, n) in total.iter_mut().zip(counts(line)) {
            *sum = sum.saturating_add(n);
        }
    }
    let days: BTreeSet<&str> = lines.iter().map(|l| l.usage_date.as_str()).collect();
    let mut cells = vec![format!("{} in all", plural(days.len() as u64, "day"))];
    cells.resize(numbers_from, String::new());
    cells.extend(total.map(grouped));
    add_row(&mut t, cells, numbers_from);
    let mut text = printed(&t);
    if lines.len() > DAILY_LINES_MAX {
        let left = lines.len() - DAILY_LINES_MAX;
        let _ =
            writeln!(text, "({left} lines more, counted in the last one, stand in daily_charge)");
    }
    text
}

fn counts(line: &DailyLine) -> [i64; 6] {
    [line.attempts, line.charged, line.free, line.unknown, line.charged_failed, line.not_final]
}

/// How large objects were read, where some were read in part or were meant to.
fn in_part(report: &RunReport) -> String {
    let n = |n: u64| grouped(n as i64);
    let counts = [
        (report.objects_read_in_part, "without their media"),
        (report.objects_read_as_samples, "whole as samples"),
        (report.objects_read_whole, "whole because parts did not do"),
    ];
    let told: Vec<String> =
        counts.iter().filter(|(c, _)| *c > 0).map(|(c, how)| format!("{} {how}", n(*c))).collect();
    if told.is_empty() { String::new() } else { format!(" (large objects: {})", told.join(", ")) }
}

/// What a run did, for stderr; the daily charges go to stdout.
pub fn summary(report: &RunReport) -> String {
    let mut text = String::new();
    let t = &report.tally;
    let n = |n: u64| grouped(n as i64);
    let mut line = |label: &str, rest: String| {
        let _ = writeln!(text, "{label:<9} {rest}");
    };
    line(
        "objects",
        format!(
            "{} listed = {} known + {} read + {} unreadable{}",
            n(t.objects_listed),
            n(t.objects_known),
            n(t.objects_parsed),
            n(t.objects_rejected),
            others(report)
        ),
    );
    line(
        "records",
        format!(
            "{} seen = {} with attempts + {} without + {} error responses + {} rejected",
            n(t.records_seen),
            n(t.records_with_attempts),
            n(t.records_empty),
            n(t.records_error_response),
            n(t.records_rejected)
        ),
    );
    let outside = match t.details_outside {
        0 => String::new(),
        outside => format!(" + {} of other days", n(outside)),
    };
    line(
        "attempts",
        format!(
            "{} seen = {} new + {} duplicate + {} changed + {} rejected{outside}",
            n(t.details_seen),
            n(t.details_new),
            n(t.details_duplicate),
            n(t.details_changed),
            n(t.details_rejected)
        ),
    );
    line(
        "bytes",
        format!(
            "{} stored, {} read{}",
            HumanBytes(report.bytes_stored),
            HumanBytes(report.bytes_read),
            in_part(report)
        ),
    );
    let seconds: Vec<String> =
        report.phases.iter().map(|p| format!("{} {:.2}", p.name, p.seconds)).collect();
    let memory = report
        .peak_memory_bytes
        .map_or(String::new(), |b| format!(", peak memory {}", HumanBytes(b)));
    line("seconds", format!("{} ({} threads{memory})", seconds.join(", "), report.threads));
    for (path, count) in t.unknown_members.iter().take(10) {
        line("unknown", format!("{path}: {} times, not in the API's documentation", n(*count)));
    }
    if !report.rejects_by_reason.is_empty() {
        let reasons: Vec<String> =
            report.rejects_by_reason.iter().map(|(reason, c)| format!("{c} {reason}")).collect();
        line("rejects", format!("{} (`faceledger rejects` lists them)", reasons.join(", ")));
    }
    for unmapped in report.unmapped.iter().take(UNMAPPED_SHOWN) {
        line("unmapped", format!("{}: {}", plural(unmapped.attempts, "attempt"), unmapped.what));
        for advice in unmapped.advice.lines() {
            line("", format!("  {advice}"));
        }
    }
    if report.unmapped.len() > UNMAPPED_SHOWN {
        let left = &report.unmapped[UNMAPPED_SHOWN..];
        let attempts = left.iter().map(|u| u.attempts).sum();
        let (attempts, kinds) =
            (plural(attempts, "attempt"), plural(left.len() as u64, "more kind"));
        line("unmapped", format!("{attempts} of {kinds}: {}", run_report(report)));
    }
    let unseen = report.envelope_seen.iter().filter(|(_, seen)| **seen == 0);
    for (name, _) in unseen.filter(|_| t.records_with_attempts > 0) {
        let so = match *name {
            "fetched_at" => {
                "; of several pulls of a Seq the one in the object modified last counts"
            }
            _ => ": is the pointer right?",
        };
        line(
            "WARNING",
            format!(
                "source.envelope.{name}: none of {} has anything there{so}",
                plural(t.records_with_attempts, "record")
            ),
        );
    }
    if !report.other_accounts.is_empty() {
        line(
            "WARNING",
            format!(
                "the output holds charges of {}, too, and each Seq once, whoever's it is: if account.uin was changed, run again \
                 with --full-refresh; if each is an account of its own, give each an output of its own",
                report.other_accounts.join(", ")
            ),
        );
    }
    if report.objects_in_doubt > 0 {
        line(
            "WARNING",
            format!(
                "{} read without their media before an object of several results was found in their folders: run \
                 again with --set source.read=full --full-refresh, and set it in the pipeline file",
                plural(report.objects_in_doubt, "object")
            ),
        );
    }
    if report.removed.rows > 0 {
        let removed = &report.removed;
        let gone = match removed.objects_gone {
            0 => "the objects read no longer hold them".to_owned(),
            objects => format!(
                "{} that gave rows {} not in the source any more, such as {}",
                plural(objects, "object"),
                if objects == 1 { "is" } else { "are" },
                removed.examples.first().map_or("", String::as_str)
            ),
        };
        line(
            "REMOVED",
            format!(
                "{} ({} charged) by --full-refresh: {gone}",
                plural(removed.rows, "row"),
                n(removed.charged)
            ),
        );
    }
    for change in report.changed.iter().take(10) {
        let said = |f: &crate::write::merge::Facts| {
            let flag = f.is_need_charge.map_or("unknown", |c| if c { "charged" } else { "free" });
            let code = f.errcode.map_or("no code".to_owned(), |c| format!("code {c}"));
            format!("{flag}, {code}")
        };
        let (before, after) = (change.before.req_time, change.after.req_time);
        let moved =
            if before == after { String::new() } else { format!(", ReqTime {before} -> {after}") };
        line(
            "changed",
            format!(
                "Seq {}: {} -> {}{moved}",
                change.seq,
                said(&change.before),
                said(&change.after)
            ),
        );
    }
    if report.changed.len() > 10 {
        line("changed", format!("{} in all: {}", n(t.details_changed), run_report(report)));
    }
    for day in report.restated.iter().take(20) {
        line(
            "restated",
            format!(
                "{} {}: attempts {} -> {}, charged {} -> {}",
                day.usage_date,
                day.billing_tag,
                day.before[0],
                day.after[0],
                day.before[1],
                day.after[1]
            ),
        );
    }
    for commit in report.commits.iter().filter(|c| c.committed) {
        line(
            "commit",
            format!(
                "{} version {}: {} files added with {} rows, {} removed",
                commit.table,
                commit.version.unwrap_or_default(),
                commit.files_added,
                n(commit.rows_added),
                commit.files_removed
            ),
        );
    }
    match report.outcome {
        Outcome::NothingNew if t.objects_listed == 0 => line(
            "done",
            "nothing to load: no object was listed that source.url and source.keys take".into(),
        ),
        Outcome::NothingNew => {
            line("done", "nothing new: every object is loaded, nothing was changed".into())
        }
        Outcome::Unchanged => {
            line("done", "nothing changed: the tables held all of it already".into())
        }
        Outcome::DryRun => line("done", "dry run: nothing was written".into()),
        Outcome::Committed => line("done", format!("run {}", report.run_id)),
    }
    if report.daily_charge.is_empty() {
        line("shown", "no daily charges".into());
    } else {
        line("shown", report.daily_charge_shown.clone());
    }
    if report.rejects_over_threshold {
        line(
            "REJECTS",
            format!(
                "{:.4} of what was read, over limits.rejects_ratio_max = {}: what could be read was loaded; \
                 see `faceledger rejects`, then `rejects --retry` (exit 3)",
                report.rejects_ratio, report.rejects_ratio_max
            ),
        );
    }
    text
}

/// Unmapped kinds shown on a terminal: more than a person mends at once.
const UNMAPPED_SHOWN: usize = 8;

/// Where all of it stands.
fn run_report(report: &RunReport) -> String {
    match report.outcome {
        Outcome::DryRun => "`--json` prints them".to_owned(),
        _ => format!("listed in _runs/{}.json", report.run_id),
    }
}

fn others(report: &RunReport) -> String {
    let mut parts = Vec::new();
    if report.objects_unmatched > 0 {
        let example = report.unmatched_examples.first().cloned().unwrap_or_default();
        parts.push(format!(
            "{} that source.keys does not take, such as {example}",
            report.objects_unmatched
        ));
    }
    if report.objects_hidden > 0 {
        parts.push(format!("{} hidden or `_`-prefixed", report.objects_hidden));
    }
    if report.objects_outside > 0 {
        parts.push(format!("{} of other dates", report.objects_outside));
    }
    if report.tally.objects_gone > 0 {
        parts.push(format!("{} gone since they were listed", report.tally.objects_gone));
    }
    if report.folders_unmatched > 0 {
        let folders = plural(report.folders_unmatched, "folder");
        parts.push(format!("{folders} that source.keys does not take"));
    }
    if report.folders_outside > 0 {
        parts.push(format!("{} of other dates", plural(report.folders_outside, "folder")));
    }
    if parts.is_empty() { String::new() } else { format!("; besides {}", parts.join(", ")) }
}

pub fn checked(checked: &Checked) -> String {
    let mut text = format!(
        "pipeline {} is well-formed: {} routes, config digest {}\n",
        checked.pipeline,
        checked.routes,
        &checked.config_digest[..checked.config_digest.len().min(12)]
    );
    for probe in &checked.probes {
        let mark = if probe.ok { "ok" } else { "FAILED" };
        let _ = writeln!(text, "{mark:<7} {}: {}", probe.what, probe.detail);
    }
    text
}

pub fn plan(plan: &Plan) -> String {
    let mut text = String::new();
    let n = |n: u64| grouped(n as i64);
    let _ = writeln!(
        text,
        "to read   {}, {}, in {}, {} at least",
        plural(plan.objects, "object"),
        HumanBytes(plan.bytes),
        plural(plan.shards, "shard"),
        plural(plan.requests, "request")
    );
    let _ = writeln!(
        text,
        "not read  {} known, {} that source.keys does not take, {} hidden or `_`-prefixed, {} of other dates",
        n(plan.objects_known),
        n(plan.objects_unmatched),
        n(plan.objects_hidden),
        n(plan.objects_outside)
    );
    let _ = writeln!(
        text,
        "not seen  {} that source.keys does not take, {} of other dates",
        plural(plan.folders_unmatched, "folder"),
        plural(plan.folders_outside, "folder")
    );
    if !plan.dates.is_empty() {
        let mut t = table(&["date", "objects", "bytes"], 1);
        for (date, (objects, bytes)) in &plan.dates {
            add_row(&mut t, vec![date.clone(), n(*objects), HumanBytes(*bytes).to_string()], 1);
        }
        text.push_str(&printed(&t));
    }
    text
}

pub fn compacted(done: &Compacted) -> String {
    let mut text = String::new();
    for commit in done.commits.iter().filter(|c| c.committed) {
        let _ = writeln!(
            text,
            "{} version {}: {} instead of {}",
            commit.table,
            commit.version.unwrap_or_default(),
            plural(commit.files_added, "file"),
            commit.files_removed
        );
    }
    if done.checkpoints > 0 {
        let _ = writeln!(text, "{} written", plural(done.checkpoints, "log checkpoint"));
    }
    let _ = writeln!(text, "{} deleted that no version in use names", plural(done.deleted, "file"));
    if done.retained > 0 {
        let files = plural(done.retained, "superseded file");
        let _ = writeln!(text, "{files} retained for readers of older versions");
    }
    text
}

pub fn verified(found: &Verified) -> String {
    let mut text = String::new();
    for what in &found.broken {
        let _ = writeln!(text, "BROKEN  {what}");
    }
    for note in &found.notes {
        let _ = writeln!(text, "note    {note}");
    }
    if found.broken.is_empty() {
        let _ = writeln!(
            text,
            "verified: {}, {}, {} = {} charged + {} free + {} unknown; every Seq once; daily_charge agrees",
            plural(found.files, "file"),
            plural(found.days, "day"),
            plural(found.attempts, "attempt"),
            grouped(found.charged),
            grouped(found.free),
            grouped(found.unknown)
        );
    }
    text
}

pub fn explained(found: &Explained) -> String {
    let mut text = format!("Seq {}\n", found.seq);
    for (name, value) in &found.row {
        let _ = writeln!(text, "  {name:<18} {value}");
    }
    let _ = writeln!(text, "  {:<18} {}", "file", found.file);
    if let Some(day) = &found.daily_charge {
        let _ = writeln!(text, "counted in");
        for row in daily_charges(std::slice::from_ref(day)).lines().take(2) {
            let _ = writeln!(text, "  {row}");
        }
    }
    if let Some(bill) = &found.bill {
        text += &billed(bill);
    }
    let source = &found.source;
    let _ = writeln!(text, "read from");
    let _ = writeln!(text, "  object             {} in {}", one_line(&source.key), source.url);
    let _ = writeln!(
        text,
        "  record             {} (from 0), attempt {} of it (from 0)",
        source.record, source.detail_index
    );
    if let (Some(record), Some(attempt)) = (source.record_byte_offset, source.attempt_byte_offset) {
        let _ = writeln!(
            text,
            "  byte               {attempt} of the (decompressed) object; its record begins at byte {record}"
        );
    }
    if let Some(note) = &source.note {
        let _ = writeln!(text, "  note               {note}");
    }
    text
}

/// What the bill says of a charge.
fn billed(bill: &Billed) -> String {
    let mut text = "on the bill\n".to_owned();
    let of = |row: &Columns, name: &str| row.get(name).map_or("-", String::as_str).to_owned();
    // Without the zeros that fill up eight places.
    let amount = |row: &Columns, name: &str| match of(row, name).split_once('.') {
        Some((whole, places)) => {
            format!("{whole}.{places}").trim_end_matches('0').trim_end_matches('.').to_owned()
        }
        None => of(row, name),
    };
    match &bill.reconciliation {
        Some(row) => {
            let _ = writeln!(
                text,
                "  {:<18} {}: {} charged of ours, {} calls on the bill, difference {} (as last reconciled)",
                of(row, "status"),
                row.get("usage_date").map_or("the month", String::as_str),
                of(row, "ours_charged"),
                of(row, "provider_calls"),
                of(row, "difference"),
            );
            let parts: Vec<String> = row
                .iter()
                .filter_map(|(name, count)| Some((name.strip_prefix("part_")?, count)))
                .filter(|(_, count)| count.as_str() != "0")
                .map(|(part, count)| format!("{} {count}", part.replace('_', " ")))
                .collect();
            if !parts.is_empty() {
                let _ = writeln!(text, "  {:<18} {}", "made of", parts.join(", "));
            }
        }
        None => text += "  no reconciliation of its day and billing tag yet\n",
    }
    for line in &bill.lines {
        let _ = writeln!(
            text,
            "  {:<18} {} calls billed, {} yuan: {}, row {}{}",
            of(line, "kind"),
            amount(line, "usage_billed"),
            amount(line, "cost"),
            of(line, "source_file"),
            of(line, "source_row"),
            line.get("line_id").map_or(String::new(), |id| format!(", line ID {id}")),
        );
    }
    if let Some(row) = &bill.seq_difference {
        let listed = match row.contains_key("provider_day") {
            true => format!(
                "in the provider's list {}, IsNeedCharge {} ({} record {}, from 0)",
                of(row, "provider_day"),
                of(row, "provider_charge"),
                of(row, "provider_file"),
                of(row, "provider_row"),
            ),
            false => "not in the provider's list".to_owned(),
        };
        let held = match row.contains_key("ours_day") {
            true => {
                format!("here {}, IsNeedCharge {}", of(row, "ours_day"), of(row, "ours_charge"))
            }
            false => "not here".to_owned(),
        };
        let _ = writeln!(text, "  {:<18} {listed}; {held}", of(row, "status"));
    }
    text
}

pub fn rejects(counts: &[RejectCount], rows: &[RejectRow], limit: usize) -> String {
    if counts.is_empty() {
        return "no rejects\n".to_owned();
    }
    let mut t = table(&["reason", "what", "count", "objects"], 2);
    for count in counts {
        let cells = vec![
            count.reason.clone(),
            count.message.clone(),
            count.count.to_string(),
            count.objects.to_string(),
        ];
        add_row(&mut t, cells, 2);
    }
    let mut text = printed(&t);
    text.push('\n');
    let shown = if limit == 0 { rows.len() } else { limit.min(rows.len()) };
    for row in &rows[..shown] {
        let _ = write!(
            text,
            "{}: record {}, byte {}, {}: {}",
            one_line(&row.source_key),
            row.source_record,
            row.byte_offset,
            row.json_path,
            row.reason
        );
        let seqs = if row.seqs.is_empty() { "" } else { ", Seq " };
        let _ = writeln!(text, "{seqs}{}", row.seqs.join(", "));
    }
    if shown < rows.len() {
        let _ = writeln!(text, "({} more: --limit 0 prints all)", rows.len() - shown);
    }
    text
}

pub fn tags() -> String {
    let catalogue = Catalogue::get();
    let mut t =
        table(&["product", "channel", "", "compare source", "billing tag code", "billing tag"], 6);
    for row in catalogue.rows() {
        let tag = catalogue.tag(row.tag);
        let cells = vec![
            row.product.into(),
            row.channel.unwrap_or("-").into(),
            row.channel_label.into(),
            row.compare_source.map_or("-", |s| s.code()).into(),
            tag.code.into(),
            format!("{}{}", tag.label, if tag.monthly { " (settled monthly)" } else { "" }),
        ];
        add_row(&mut t, cells, 6);
    }
    printed(&t)
}

pub fn schema_text(schema: &TableSchema) -> String {
    let mut text =
        format!("{}, schema version {}: {}\n", schema.name, schema.version, schema.description);
    let mut t = table(&["column", "type", "null", "what it is"], 4);
    for column in &schema.columns {
        let dictionary = if column.dictionary { " dict" } else { "" };
        let cells = vec![
            column.name.clone(),
            format!("{}{dictionary}", column.kind),
            if column.nullable { "yes" } else { "no" }.into(),
            column.description.clone(),
        ];
        add_row(&mut t, cells, 4);
    }
    text.push_str(&printed(&t));
    text
}

/// A CREATE TABLE statement that DuckDB takes, and PostgreSQL but for lists.
pub fn schema_sql(schema: &TableSchema) -> String {
    let columns: Vec<String> = schema
        .columns
        .iter()
        .map(|column| {
            let kind = match column.kind.as_str() {
                "date32" => "DATE",
                "timestamp_ms_utc" => "TIMESTAMP WITH TIME ZONE",
                "bool" => "BOOLEAN",
                "int8" | "int32" => "INTEGER",
                "int64" => "BIGINT",
                "decimal(5,2)" => "DECIMAL(5,2)",
                "decimal(38,8)" => "DECIMAL(38,8)",
                "list<pull>" => {
                    "STRUCT(fetched_at TIMESTAMP WITH TIME ZONE, is_need_charge BOOLEAN, \
                     snapshot_final BOOLEAN, errcode INTEGER)[]"
                }
                "list<utf8>" => "VARCHAR[]",
                _ => "VARCHAR",
            };
            format!("  {} {kind}{}", column.name, if column.nullable { "" } else { " NOT NULL" })
        })
        .collect();
    format!("CREATE TABLE {} (\n{}\n);\n", schema.name, columns.join(",\n"))
}
