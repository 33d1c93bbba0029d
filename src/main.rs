//! Parse, run, print the error once, exit status.

use clap::Parser;
use clap::error::ErrorKind;
use faceledger::cli::Cli;
use faceledger::report;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let status = match error.kind() {
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => 0,
                _ => 2,
            };
            let _ = error.print();
            return ExitCode::from(status);
        }
    };
    ExitCode::from(report::command(cli).status())
}
