//! Each command: its rooms called, its outcome printed, its exit status.

use super::{focus, talk, text};
use crate::classify::Catalogue;
use crate::cli::{
    Cli, Command, ExportArgs, ExportFormat, OutputArgs, PipelineArgs, ReconcileArgs, RejectsArgs,
    SchemaArgs, SchemaFormat,
};
use crate::model::{PriceBook, RejectReason};
use crate::pipeline::{self, Mistake, Pipeline};
use crate::run::{self, Asked, Exit, Outcome, ReconcileAsked, RunError};
use crate::storage::{self, Place};
use crate::write::schema;
use clap::CommandFactory;
use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Why a command did not do its work.
enum Failed {
    Mistakes(Vec<Mistake>),
    Run(RunError),
    /// Said already, by the outcome printed.
    Said(Exit),
    /// stdout took not all of it.
    Unprinted(std::io::Error),
}

impl From<RunError> for Failed {
    fn from(error: RunError) -> Failed {
        Failed::Run(error)
    }
}

/// Carries out a command line; prints its outcome and, once, its error.
pub fn command(cli: Cli) -> Exit {
    match carry_out(&cli) {
        Ok(()) => Exit::Done,
        Err(Failed::Said(exit)) => exit,
        Err(Failed::Mistakes(mistakes)) => {
            for mistake in &mistakes {
                talk(&format!("{mistake}\n"));
            }
            if mistakes.len() > 1 {
                talk(&format!("{} mistakes: nothing was read or written\n", mistakes.len()));
            }
            if cli.json {
                let listed: Vec<_> = mistakes
                    .iter()
                    .map(|m| serde_json::json!({"file": m.file, "line": m.line, "key": m.key, "message": m.message}))
                    .collect();
                // Said on stderr already: a stdout that is lost loses nothing.
                let _ = print(true, &serde_json::json!({ "mistakes": listed }), String::new);
            }
            Exit::Usage
        }
        Err(Failed::Run(error)) => {
            talk(&format!("faceledger: {error}\n"));
            error.exit()
        }
        Err(Failed::Unprinted(error)) => {
            talk(&format!("faceledger: what was to be printed is lost: stdout: {error}\n"));
            Exit::OurFailure
        }
    }
}

fn carry_out(cli: &Cli) -> Result<(), Failed> {
    let json = cli.json;
    match &cli.command {
        Command::Run(args) => {
            let pipeline = load(&args.pipeline)?;
            let window = args.window.window(pipeline.source.lookback_days);
            let asked = Asked {
                window: window.map_err(RunError::Usage)?,
                full_refresh: args.full_refresh,
                dry_run: args.dry_run,
                retry_rejects: false,
                order: args.order,
            };
            let outcome = run_and_report(&pipeline, &asked, json)?;
            match (outcome, args.if_nothing_new_exit) {
                (Outcome::NothingNew, Some(status)) => Err(Failed::Said(Exit::Asked(status))),
                _ => Ok(()),
            }
        }
        Command::Check(args) => {
            let pipeline = load(args)?;
            prices_of(&pipeline)?;
            let checked = run::check(&pipeline);
            print(json, &checked, || text::checked(&checked))?;
            match checked.exit() {
                Exit::Done => Ok(()),
                exit => Err(Failed::Said(exit)),
            }
        }
        Command::Plan(args) => {
            let pipeline = load(&args.pipeline)?;
            let window = args.window.window(pipeline.source.lookback_days);
            let window = window.map_err(RunError::Usage)?;
            let asked = Asked { window, full_refresh: args.full_refresh, ..Asked::default() };
            let plan = run::plan(&pipeline, &asked)?;
            print(json, &plan, || text::plan(&plan))?;
            Ok(())
        }
        Command::Compact(args) => {
            let pipeline = load(args)?;
            let compacted = stopping(|_| run::compact(&pipeline))?;
            print(json, &compacted, || text::compacted(&compacted))?;
            Ok(())
        }
        Command::Verify(args) => {
            let found = run::verify(&output(args)?)?;
            print(json, &found, || text::verified(&found))?;
            match found.broken.is_empty() {
                true => Ok(()),
                false => Err(Failed::Said(Exit::ConservationBroken)),
            }
        }
        Command::Explain(args) => {
            let pipeline = load(&args.pipeline)?;
            let Some(found) = run::explain(&pipeline, &args.seq)? else {
                let what = run::not_held(&pipeline, &args.seq)?;
                return Err(RunError::Usage(what).into());
            };
            print(json, &found, || text::explained(&found))?;
            Ok(())
        }
        Command::Reconcile(args) => reconcile(args, json),
        Command::Export(args) => export(args, json),
        Command::Rejects(args) => rejects(args, json),
        Command::Tags => {
            print(json, &tag_rows(), text::tags)?;
            Ok(())
        }
        Command::Schema(args) => schema_of(args, json),
        Command::Completions { shell } => {
            let mut out = Vec::new();
            clap_complete::generate(*shell, &mut Cli::command(), "faceledger", &mut out);
            put(&String::from_utf8_lossy(&out))?;
            Ok(())
        }
    }
}

fn load(args: &PipelineArgs) -> Result<Pipeline, Failed> {
    let env = |name: &str| std::env::var(name).ok();
    let pipeline = pipeline::load(&args.pipeline, &args.sets, &env).map_err(Failed::Mistakes)?;
    storage::set_retry_for(Duration::from_millis(pipeline.limits.retry_for_ms.unsigned_abs()));
    Ok(pipeline)
}

/// The output that a command is about: that of a pipeline file, or a folder or URL itself.
fn output(args: &OutputArgs) -> Result<Place, Failed> {
    let (url, options) = if args.pipeline.ends_with(".toml") {
        let pipeline =
            load(&PipelineArgs { pipeline: args.pipeline.clone(), sets: args.sets.clone() })?;
        (pipeline.output.url, pipeline.output.options)
    } else {
        (args.pipeline.clone(), BTreeMap::new())
    };
    Ok(Place::open(&url, &options).map_err(RunError::from)?)
}

/// Does work that a signal may end: between commits, or at once where it waits for a store.
fn stopping<T>(work: impl FnOnce(&Arc<AtomicBool>) -> Result<T, RunError>) -> Result<T, RunError> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT] {
        // The second signal ends the program at once, as people expect of a second Ctrl-C.
        let asked_before =
            signal_hook::flag::register_conditional_shutdown(signal, 75, stop.clone());
        let ask = signal_hook::flag::register(signal, stop.clone());
        if asked_before.is_err() || ask.is_err() {
            talk(
                "faceledger: signals cannot be caught here: a stop will be abrupt, and safe all the same\n",
            );
        }
    }
    let watched = stop.clone();
    // It only waits, and ends with the process.
    std::thread::spawn(move || {
        while !watched.load(Ordering::Relaxed) {
            std::thread::sleep(SIGNALS_LOOKED_AT_EVERY);
        }
        storage::stop();
    });
    work(&stop).inspect_err(|_| {
        if stop.load(Ordering::Relaxed) {
            talk("faceledger: asked to stop\n");
        }
    })
}

/// How soon a signal is passed on to those who wait for a store.
const SIGNALS_LOOKED_AT_EVERY: Duration = Duration::from_millis(50);

fn run_and_report(pipeline: &Pipeline, asked: &Asked, json: bool) -> Result<Outcome, Failed> {
    let report = stopping(|stop| run::run(pipeline, asked, stop))?;
    talk(&text::summary(&report));
    print(json, &report, || text::daily_charges(&report.daily_charge))?;
    match report.exit() {
        Exit::Done => Ok(report.outcome),
        exit => Err(Failed::Said(exit)),
    }
}

/// The price book that a pipeline names.
fn prices_of(pipeline: &Pipeline) -> Result<Option<PriceBook>, Failed> {
    let book = pipeline.reconcile.prices.as_deref().map(pipeline::load_prices);
    book.transpose().map_err(Failed::Mistakes)
}

fn reconcile(args: &ReconcileArgs, json: bool) -> Result<(), Failed> {
    let pipeline = load(&args.pipeline)?;
    let prices = prices_of(&pipeline)?;
    let asked = ReconcileAsked {
        bills: args.bills.clone(),
        month: args.month,
        as_of_ms: args.as_of,
        dry_run: args.dry_run,
        html: args.html.is_some(),
        csv: args.csv.is_some(),
    };
    let named = [("--html", &args.html), ("--csv", &args.csv)];
    for (flag, path) in named {
        if let Some(path) = path {
            can_be_written(flag, path)?;
            is_no_input(flag, path, args, &pipeline)?;
        }
    }
    if args.html.is_some() && args.html == args.csv {
        let what = "--html and --csv name the same file: give each its own";
        return Err(RunError::Usage(what.into()).into());
    }
    let report = stopping(|stop| run::reconcile(&pipeline, prices.as_ref(), &asked, stop))?;
    let found = &report.reconciled;
    for (path, bytes) in [(&args.html, &report.html), (&args.csv, &report.csv)] {
        if let (Some(path), Some(bytes)) = (path, bytes) {
            put_file(path, bytes)?;
        }
    }
    print(json, &report, || super::reconciled_text(found))?;
    for key in &report.reports {
        talk(&format!("faceledger: wrote {}\n", within(&pipeline.output.url, key)));
    }
    match found.is_over_tolerance() {
        false => Ok(()),
        true => Err(Failed::Said(Exit::BillDiffers)),
    }
}

fn within(url: &str, key: &str) -> String {
    format!("{}/{key}", url.trim_end_matches('/'))
}

fn put_file(path: &str, bytes: &[u8]) -> Result<(), Failed> {
    let failed = |error| RunError::Usage(format!("{path}: cannot be written: {error}"));
    Ok(std::fs::write(path, bytes).map_err(failed)?)
}

/// Whether a file that was named can be written, before anything is read or committed. What stands there stays as it
/// is; what does not, does not stand there afterwards either.
fn can_be_written(flag: &str, path: &str) -> Result<(), RunError> {
    let mistake = |what: String| Err(RunError::Usage(format!("{flag} {path}: {what}")));
    let given = Path::new(path);
    let tried = match std::fs::metadata(given) {
        Ok(there) if there.is_dir() => {
            return mistake("is a folder: give the name of a file in it".into());
        }
        Ok(there) if there.is_file() => OpenOptions::new().append(true).open(given).map(drop),
        // A pipe or a terminal: opening it once more would end it.
        Ok(_) => Ok(()),
        Err(_) => {
            let folder = given.parent().filter(|folder| !folder.as_os_str().is_empty());
            if let Some(folder) = folder.filter(|folder| !folder.is_dir()) {
                let folder = folder.display();
                return mistake(format!("the folder {folder} is not there: make it first"));
            }
            let made = OpenOptions::new().write(true).create_new(true).open(given);
            made.and_then(|_| std::fs::remove_file(given))
        }
    };
    match tried {
        Ok(()) => Ok(()),
        Err(error) => mistake(format!("cannot be written: {error}; give a file that can be")),
    }
}

/// Refuses to write over what is read (the pipeline file, the price book, the bills, the source) or among the tables.
fn is_no_input(
    flag: &str,
    path: &str,
    args: &ReconcileArgs,
    pipeline: &Pipeline,
) -> Result<(), RunError> {
    let local = |url: &str| -> Option<PathBuf> {
        let path = url.strip_prefix("file://").unwrap_or(url);
        (!path.contains("://")).then(|| std::fs::canonicalize(path).ok()).flatten()
    };
    let given = Path::new(path);
    let folder = given.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new(".")).canonicalize().ok();
    let file = given.canonicalize().ok().or(folder.zip(given.file_name()).map(|(f, n)| f.join(n)));
    let file = file.unwrap_or_else(|| given.to_owned());
    let inputs =
        [Some(&args.pipeline.pipeline), pipeline.reconcile.prices.as_ref()].into_iter().flatten();
    let inputs = inputs.chain([&pipeline.source.url]).chain(&args.bills);
    // Of a folder every file is read.
    if inputs.filter_map(|url| local(url)).any(|input| file.starts_with(input)) {
        return Err(RunError::Usage(format!(
            "{flag} {path}: is read by this command (pipeline, price book, bills and source are): give another file"
        )));
    }
    // A folder of the output is a table's, or holds what the job keeps.
    let of_output = local(&pipeline.output.url)
        .and_then(|output| Some(file.strip_prefix(output).ok()?.components().count() > 1));
    match of_output {
        Some(true) => Err(RunError::Usage(format!(
            "{flag} {path}: lies in a folder of output.url, among the tables: give a file elsewhere"
        ))),
        _ => Ok(()),
    }
}

fn export(args: &ExportArgs, json: bool) -> Result<(), Failed> {
    let pipeline = load(&args.pipeline)?;
    let prices = prices_of(&pipeline)?;
    let exported = run::export(&pipeline, prices.as_ref(), args.month)?;
    if exported.price_book.is_none() {
        talk(
            "faceledger: no price book (reconcile.prices): costs are 0 and x_CostBasis is no_price\n",
        );
    }
    let rest = exported.days.iter().filter(|day| day.cost.is_none()).count();
    if rest > 0 {
        talk(&format!(
            "faceledger: the price book has no price for {rest} rows: their costs are 0 and x_CostBasis is no_price\n"
        ));
    }
    match args.format {
        ExportFormat::Focus => print(json, &focus::json(&exported), || focus::csv(&exported)),
    }
}

fn rejects(args: &RejectsArgs, json: bool) -> Result<(), Failed> {
    if let Some(reason) = &args.reason
        && RejectReason::parse(reason).is_none()
    {
        let known = run::reject_reasons().join(", ");
        return Err(RunError::Usage(format!(
            "--reason {reason}: no such reason; there are {known}"
        ))
        .into());
    }
    if args.retry {
        if !args.output.pipeline.ends_with(".toml") {
            let what = "--retry reads the source again: give the pipeline file, not its output";
            return Err(RunError::Usage(what.into()).into());
        }
        let pipeline = load(&PipelineArgs {
            pipeline: args.output.pipeline.clone(),
            sets: args.output.sets.clone(),
        })?;
        let asked = Asked { retry_rejects: true, ..Asked::default() };
        return run_and_report(&pipeline, &asked, json).map(drop);
    }
    let (mut counts, mut rows) = run::list_rejects(&output(&args.output)?)?;
    if let Some(reason) = &args.reason {
        counts.retain(|c| &c.reason == reason);
        rows.retain(|r| &r.reason == reason);
    }
    print(json, &rows, || text::rejects(&counts, &rows, args.limit))?;
    Ok(())
}

fn tag_rows() -> Vec<serde_json::Value> {
    let catalogue = Catalogue::get();
    catalogue
        .rows()
        .iter()
        .map(|row| {
            let tag = catalogue.tag(row.tag);
            serde_json::json!({
                "product": row.product,
                "product_label": row.product_label,
                "channel": row.channel,
                "channel_label": row.channel_label,
                "api": row.api,
                "compare_source": row.compare_source.map(|s| s.code()),
                "billing_tag_code": tag.code,
                "billing_tag": tag.label,
                "settled_monthly": tag.monthly,
                "aliases": tag.aliases,
            })
        })
        .collect()
}

fn schema_of(args: &SchemaArgs, json: bool) -> Result<(), Failed> {
    let format = if json { SchemaFormat::Json } else { args.format };
    if args.table.as_deref() == Some("pipeline") {
        let text = serde_json::to_string_pretty(&pipeline::json_schema()).unwrap_or_default();
        put(&format!("{text}\n"))?;
        return Ok(());
    }
    let tables: Vec<_> = schema::tables()
        .into_iter()
        .filter(|t| args.table.as_ref().is_none_or(|name| *name == t.name))
        .collect();
    if tables.is_empty() {
        let names: Vec<&str> = schema::tables().iter().map(|t| t.name.as_str()).collect();
        let what = format!("no such table: there are {}, and `pipeline`", names.join(", "));
        return Err(RunError::Usage(what).into());
    }
    if format == SchemaFormat::Json && tables.len() > 1 {
        let all: Vec<&str> = tables.iter().map(|t| t.source.trim_end()).collect();
        put(&format!("[\n{}\n]\n", all.join(",\n")))?;
        return Ok(());
    }
    for table in &tables {
        match format {
            SchemaFormat::Text => put(&text::schema_text(table))?,
            SchemaFormat::Json => put(table.source)?,
            SchemaFormat::Sql => put(&text::schema_sql(table))?,
        }
        if table.name == "rejects" && format == SchemaFormat::Text {
            put(&format!("reasons: {}\n", run::reject_reasons().join(", ")))?;
        }
        if tables.len() > 1 && format != SchemaFormat::Json {
            put("\n")?;
        }
    }
    Ok(())
}

fn print(
    json: bool,
    value: &impl serde::Serialize,
    text: impl FnOnce() -> String,
) -> Result<(), Failed> {
    if json {
        let text = serde_json::to_string_pretty(value).unwrap_or_default();
        put(&format!("{text}\n"))
    } else {
        put(&text())
    }
}

/// Data to stdout. A reader that has gone away (`| head`) is no failure of ours; a full disk is one.
fn put(text: &str) -> Result<(), Failed> {
    let mut out = std::io::stdout().lock();
    match out.write_all(super::plain(text).as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failed::Unprinted(error))
        }
        _ => Ok(()),
    }
}
