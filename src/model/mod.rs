//! The nouns every room shares. Takes nothing, does no I/O, reads no clock.

mod attempt;
mod charge;
mod day;
mod format;
mod reject;
mod tally;

pub use attempt::{Attempt, Record};
pub use charge::{Account, CompareSource, DailyCharge, Settlement};
pub use day::{UsageDay, UsageMonth};
pub use format::{Compression, Envelope, Format};
pub use reject::{Reject, RejectReason};
pub use tally::{Broken, Tally};
