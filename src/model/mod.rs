//! The nouns every room shares. Takes nothing, does no I/O, reads no clock.

mod amount;
mod attempt;
mod bill;
mod charge;
mod day;
mod format;
mod prices;
mod reconciled;
mod reject;
mod tally;
mod texts;
mod variance;

pub use amount::{Amount, AmountError};
pub use attempt::{Attempt, Record};
pub use bill::{BillLine, BillReject, LineKind, ProviderAttempt};
pub use charge::{Account, CompareSource, DailyCharge, Settlement};
pub use day::{UsageDay, UsageMonth};
pub use format::{Compression, Envelope, Format};
pub use prices::{AccountClass, DayCost, Package, Price, PriceBook, Rate, Tier, TierVolume};
pub use reconciled::{
    Audit, AuditFinding, BillFile, BillRead, Money, PackageUse, Reconciled, SeqGroup, SeqJoin,
    StatusTotal, WaterfallRow,
};
pub use reject::{Reject, RejectReason};
pub use tally::{Broken, Tally};
pub use texts::Texts;
pub use variance::{Part, PartKind, Period, SeqDifference, SeqStatus, Status, Variance};
