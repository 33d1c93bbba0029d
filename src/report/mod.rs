//! Text for people, JSON for machines: the only room that prints. stdout is data, stderr is talk.

mod command;
mod progress;
mod text;

pub use command::command;
pub use progress::Progress;
