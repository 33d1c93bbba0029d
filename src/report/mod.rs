//! Text for people, JSON for machines: the only room that prints. stdout is data, stderr is talk.

mod command;
mod focus;
mod html;
mod progress;
mod reconciled;
mod text;
mod ticket;

pub use command::command;
pub use html::html;
pub use progress::Progress;
pub use reconciled::{differences_csv, text as reconciled_text};
pub use ticket::ticket;

/// Talk goes to stderr. Where nobody listens (a closed or full stderr) the work goes on all the same.
fn talk(text: &str) {
    use std::io::Write;
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

/// A line of talk about something that goes on: why a run waits, how far a backfill has come.
pub fn note(line: &str) {
    talk(&format!("faceledger: {line}\n"));
}
