//! Flags as typed, and what can be checked of them without data.

use crate::model::{UsageDay, UsageMonth};
use crate::sources::{Order, Window};
use clap::{Args, Parser, Subcommand, ValueEnum};

/// Tencent Cloud FaceID results to columnar Parquet and daily charges.
#[derive(Debug, Parser)]
#[command(name = "faceledger", version, max_term_width = 110, after_help = EXITS)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
    /// Print the result as JSON on stdout.
    #[arg(long, global = true)]
    pub json: bool,
}

const EXITS: &str = "Exit status: 0 done · 1 our failure · 2 usage or pipeline file · 3 rejects over the \
pipeline's threshold · 4 the bill differs by more than is tolerated · 5 conservation broken · 6 another writer holds the \
table · 75 storage failed after retries, or stopped by a signal: try again";

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Load what is new: read, flatten, classify, write, settle, report.
    Run(RunArgs),
    /// Say everything that is wrong in a pipeline file, then reach its stores.
    Check(PipelineArgs),
    /// Say what a run would read: objects, bytes, requests, shards.
    Plan(PlanArgs),
    /// Rewrite small files, write checkpoints of the logs, delete what was superseded or left behind.
    Compact(PipelineArgs),
    /// Hold the daily charges against the bill: every difference gets a status, its parts and their Seqs.
    Reconcile(ReconcileArgs),
    /// Check the tables from the outputs alone: conservation, one row a Seq, daily charges.
    Verify(OutputArgs),
    /// Follow one Seq from the line of the bill and its daily charge to the byte it was read from.
    Explain(ExplainArgs),
    /// Print the daily charges, with what they cost, as other tools take them: FOCUS 1.2 (CSV).
    Export(ExportArgs),
    /// List what was set aside, by reason and place; or load those objects again.
    Rejects(RejectsArgs),
    /// Print the catalogue of billing tags: products, channels, compare sources, codes.
    Tags,
    /// Print the schema of a table, or of the pipeline file.
    Schema(SchemaArgs),
    /// Print a completion script for a shell.
    Completions { shell: clap_complete::Shell },
}

#[derive(Clone, Debug, Args)]
pub struct PipelineArgs {
    /// The pipeline file (TOML).
    pub pipeline: String,
    /// Override a key of the pipeline file.
    #[arg(long = "set", value_name = "path.to.key=value")]
    pub sets: Vec<String>,
}

#[derive(Clone, Copy, Debug, Default, Args)]
pub struct WindowArgs {
    /// First usage day, YYYY-MM-DD (a Beijing day).
    #[arg(long, value_parser = day)]
    pub from: Option<UsageDay>,
    /// Last usage day, YYYY-MM-DD.
    #[arg(long, value_parser = day)]
    pub to: Option<UsageDay>,
    /// A scheduled run for one day: this usage day and the `source.lookback_days` before it, of which results may
    /// have come late.
    #[arg(long, value_parser = day, conflicts_with_all = ["from", "to"])]
    pub day: Option<UsageDay>,
}

impl WindowArgs {
    /// `Err` when it holds no day.
    pub fn window(&self, lookback_days: u16) -> Result<Window, String> {
        if let Some(day) = self.day {
            let from = Some(day.plus(-i32::from(lookback_days)));
            return Ok(Window { from, to: Some(day) });
        }
        match (self.from, self.to) {
            (Some(from), Some(to)) if from > to => {
                Err(format!("--from {from} is after --to {to}: swap them"))
            }
            (from, to) => Ok(Window { from, to }),
        }
    }
}

fn day(text: &str) -> Result<UsageDay, String> {
    UsageDay::parse(text).ok_or_else(|| "not a day: write YYYY-MM-DD".to_owned())
}

fn month(text: &str) -> Result<UsageMonth, String> {
    UsageMonth::parse(text).ok_or_else(|| "not a month: write YYYY-MM".to_owned())
}

#[derive(Debug, Args)]
pub struct RunArgs {
    #[command(flatten)]
    pub pipeline: PipelineArgs,
    #[command(flatten)]
    pub window: WindowArgs,
    /// Read all objects again and replace the days in range in one commit.
    #[arg(long)]
    pub full_refresh: bool,
    /// Do all but write.
    #[arg(long)]
    pub dry_run: bool,
    /// Which dates to load first, where `source.keys` captures `{date}`.
    #[arg(long, value_enum, default_value_t)]
    pub order: Order,
    /// Exit with this status, instead of 0, when there was nothing new.
    #[arg(long, value_name = "STATUS")]
    pub if_nothing_new_exit: Option<u8>,
}

#[derive(Debug, Args)]
pub struct PlanArgs {
    #[command(flatten)]
    pub pipeline: PipelineArgs,
    #[command(flatten)]
    pub window: WindowArgs,
    /// Plan for a run that reads all objects again.
    #[arg(long)]
    pub full_refresh: bool,
}

#[derive(Debug, Args)]
pub struct ReconcileArgs {
    #[command(flatten)]
    pub pipeline: PipelineArgs,
    /// A bill: a file or URL, or a folder of them (ends with `/`). Detail bills (L3 明细账单) as CSV or zip, pages of
    /// DescribeBillDetail, pages of GetWeChatBillDetails; several may be given.
    #[arg(long = "bill", value_name = "FILE_OR_URL", required = true, num_args = 1..)]
    pub bills: Vec<String>,
    /// Only this month of usage, YYYY-MM; else every month the bill has usage of.
    #[arg(long, value_parser = month)]
    pub month: Option<UsageMonth>,
    /// What was known at this time (RFC 3339): later bills, lines and results are left out. Default: now.
    #[arg(long, value_name = "TIME", value_parser = instant)]
    pub as_of: Option<i64>,
    /// Where the HTML report goes besides the output's `_reports/` (a local file; written in a dry run, too).
    #[arg(long, value_name = "FILE")]
    pub html: Option<String>,
    /// Where the CSV of differences goes besides the output's `_reports/` (a local file; written in a dry run, too).
    #[arg(long, value_name = "FILE")]
    pub csv: Option<String>,
    /// Write no table and nothing else in the output; files named by --html and --csv are written.
    #[arg(long)]
    pub dry_run: bool,
}

/// Milliseconds since the epoch.
fn instant(text: &str) -> Result<i64, String> {
    chrono::DateTime::parse_from_rfc3339(text)
        .map(|time| time.timestamp_millis())
        .map_err(|_| "not a time: write it with its offset, 2025-01-01T09:00:00+08:00".to_owned())
}

#[derive(Debug, Args)]
pub struct OutputArgs {
    /// A pipeline file, or the output folder or URL itself.
    #[arg(value_name = "PIPELINE|OUTPUT")]
    pub pipeline: String,
    /// Override a key of the pipeline file.
    #[arg(long = "set", value_name = "path.to.key=value")]
    pub sets: Vec<String>,
}

#[derive(Debug, Args)]
pub struct ExplainArgs {
    #[command(flatten)]
    pub pipeline: PipelineArgs,
    /// The Seq of an attempt.
    pub seq: String,
}

#[derive(Debug, Args)]
pub struct ExportArgs {
    #[command(flatten)]
    pub pipeline: PipelineArgs,
    /// As what.
    #[arg(long, value_enum, default_value_t = ExportFormat::Focus)]
    pub format: ExportFormat,
    /// Only this month of usage, YYYY-MM (a Beijing month).
    #[arg(long, value_parser = month)]
    pub month: Option<UsageMonth>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ExportFormat {
    /// Rows of the FinOps Open Cost and Usage Specification 1.2.
    Focus,
}

#[derive(Debug, Args)]
pub struct RejectsArgs {
    #[command(flatten)]
    pub output: OutputArgs,
    /// Only this reason.
    #[arg(long)]
    pub reason: Option<String>,
    /// Places printed at most (0: all).
    #[arg(long, default_value_t = 50)]
    pub limit: usize,
    /// Load again the objects that had rejects (takes a pipeline file).
    #[arg(long)]
    pub retry: bool,
}

#[derive(Debug, Args)]
pub struct SchemaArgs {
    /// `liveness_detail`, `daily_charge`, `rejects`, `inputs`, `bill_line`, `reconciliation`, `seq_difference`, or
    /// `pipeline`; none: all tables.
    pub table: Option<String>,
    /// How to print it.
    #[arg(long, value_enum, default_value_t = SchemaFormat::Text)]
    pub format: SchemaFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SchemaFormat {
    /// A table for people.
    Text,
    /// The schema file; for `pipeline` its JSON Schema.
    Json,
    /// A CREATE TABLE statement.
    Sql,
}
