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

use std::borrow::Cow;

/// Talk goes to stderr. Where nobody listens (a closed or full stderr) the work goes on all the same.
fn talk(text: &str) {
    use std::io::Write;
    let _ = std::io::stderr().lock().write_all(plain(text).as_bytes());
}

/// Lines without what moves the cursor of a terminal or hides what stands there: a bill or a key may hold anything.
fn plain(text: &str) -> Cow<'_, str> {
    let is_shown = |c: char| !c.is_control() || matches!(c, '\n' | '\t');
    match text.chars().all(is_shown) {
        true => Cow::Borrowed(text),
        false => text.chars().map(|c| if is_shown(c) { c } else { '?' }).collect(),
    }
}

/// What comes from outside (a key, the name of a file, a text of a bill), so that it cannot begin a line of its own.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// A line of talk about something that goes on: why a run waits, how far a backfill has come.
pub fn note(line: &str) {
    talk(&format!("faceledger: {line}\n"));
}
