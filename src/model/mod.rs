//! The nouns every room shares. Takes nothing, does no I/O, reads no clock.

/// A closed list of names, each with a stable code: as it stands in tables and JSON.
macro_rules! codes {
    ($(#[$outer:meta])* $type:ident { $($(#[$doc:meta])* $name:ident = $code:literal,)* }) => {
        $(#[$outer])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $type { $($(#[$doc])* $name,)* }
        impl $type {
            pub const ALL: &'static [$type] = &[$($type::$name,)*];
            /// The code as it stands in tables and JSON.
            pub fn code(self) -> &'static str {
                match self { $($type::$name => $code,)* }
            }
        }
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.code())
            }
        }
    };
}

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
mod words;

pub use amount::{Amount, AmountError};
pub use attempt::{Alike, Attempt, Record};
pub use bill::{BillLine, BillReject, CURRENCIES, LineKind, ProviderAttempt};
pub use charge::{Account, CompareSource, DailyCharge, Settlement};
pub use day::{UsageDay, UsageMonth};
pub use format::{Compression, Envelope, Format};
pub use prices::{AccountClass, DayCost, Package, Price, PriceBook, Rate, Tier, TierVolume};
pub use reconciled::{
    Audit, AuditFinding, Beside, BesideKind, BillFile, BillRead, Money, OtherProduct, PackageUse,
    Reconciled, SeqGroup, SeqJoin, StatusTotal, WaterfallRow,
};
pub use reject::{Reject, RejectReason};
pub use tally::{Broken, Tally};
pub use texts::Texts;
pub use variance::{Part, PartKind, Period, SeqDifference, SeqStatus, Status, Variance};
pub use words::{grouped, plural};
