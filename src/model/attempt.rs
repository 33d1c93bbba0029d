//! One attempt, and the record it came in, as `decode` reads them.

use std::borrow::Cow;
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU64, Ordering};

/// One element of `Text.LivenessDetail`: a liveness check with its comparison, the unit of charge.
/// Strings borrow from the input where they hold no escapes.
/// Source: FaceID API 2018-03-01, `DetectDetail`.
#[derive(Clone, Debug, PartialEq)]
pub struct Attempt<'a> {
    /// Place in its array, from 0.
    pub index: i32,
    /// Offset of its first byte in the (decompressed) object.
    pub byte_offset: i64,
    /// `ReqTime`: milliseconds since the epoch.
    pub req_time: i64,
    /// `Seq`, as received; never empty.
    pub seq: Cow<'a, str>,
    /// `IsNeedCharge`: `Some(true)` is a charge, `None` is unknown.
    pub is_need_charge: Option<bool>,
    pub errcode: Option<i32>,
    pub errmsg: Option<Cow<'a, str>>,
    pub livestatus: Option<i32>,
    pub livemsg: Option<Cow<'a, str>>,
    pub comparestatus: Option<i32>,
    pub comparemsg: Option<Cow<'a, str>>,
    pub compare_lib_type: Option<Cow<'a, str>>,
    /// `Sim` in hundredths: "76.52" is 7652.
    pub sim: Option<i32>,
    pub liveness_mode: Option<i8>,
    /// Personal. Goes nowhere but into a keyed digest, and only when the pipeline asks for one.
    pub idcard: Option<Cow<'a, str>>,
    /// Personal, as `idcard`.
    pub name: Option<Cow<'a, str>>,
    pub alike: Alike,
}

impl<'a> Attempt<'a> {
    /// Says nothing. It is copied from where it stands into a list; a default is made elsewhere first.
    pub const EMPTY: Attempt<'a> = Attempt {
        index: 0,
        byte_offset: 0,
        req_time: 0,
        seq: Cow::Borrowed(""),
        is_need_charge: None,
        errcode: None,
        errmsg: None,
        livestatus: None,
        livemsg: None,
        comparestatus: None,
        comparemsg: None,
        compare_lib_type: None,
        sim: None,
        liveness_mode: None,
        idcard: None,
        name: None,
        alike: Alike(None),
    };
}

impl Default for Attempt<'_> {
    fn default() -> Self {
        Self::EMPTY
    }
}

/// Attempts with the same number say the same from `is_need_charge` to `comparemsg`, letter for letter; of those without
/// one nothing is known. It is nothing that an attempt says, so attempts do not differ by it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Alike(Option<NonZeroU64>);

impl Alike {
    /// A number that no other has.
    pub fn next() -> Alike {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Alike(NonZeroU64::new(NEXT.fetch_add(1, Ordering::Relaxed)))
    }

    pub fn number(self) -> Option<NonZeroU64> {
        self.0
    }
}

impl PartialEq for Alike {
    fn eq(&self, _: &Alike) -> bool {
        true
    }
}

/// What a record says besides its attempts. Fields of the envelope are `None` without an envelope.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Record<'a> {
    /// Record number in its object, from 0.
    pub number: i64,
    /// Offset of the record's first byte in the (decompressed) object.
    pub byte_offset: i64,
    /// `Response.RequestId`: of the pull, not of the attempt.
    pub request_id: Option<Cow<'a, str>>,
    pub biz_token: Option<Cow<'a, str>>,
    pub rule_id: Option<Cow<'a, str>>,
    pub channel: Option<Cow<'a, str>>,
    /// `Text.Extra`. May be personal: matched by routes, never written or printed.
    pub extra: Option<Cow<'a, str>>,
    /// Envelope: when the result was pulled, milliseconds since the epoch.
    pub fetched_at: Option<i64>,
    /// Envelope: when the token was made, milliseconds since the epoch.
    pub created_at: Option<i64>,
    /// `Text.ErrCode`. Says whether the flow has ended well; never decides a charge.
    pub err_code: Option<i64>,
    /// `IsVerifyIntention`: the flow belongs to 意愿核身.
    pub is_verify_intention: bool,
    /// Elements in `LivenessDetail`, rejected ones included.
    pub detail_count: i32,
}

/// A token lives two hours: after that no attempt can be added to its result.
/// Source: reconciliation guide 1007/103606 (2025-08-21).
const TOKEN_LIFE_MS: i64 = 2 * 3_600_000;

impl Record<'_> {
    /// Whether no later pull of the same token can hold more attempts; `None` when that cannot be known.
    /// `earliest_req_time` is that of the record's attempts: the token is older than each of them.
    pub fn snapshot_final(&self, earliest_req_time: Option<i64>) -> Option<bool> {
        if self.err_code == Some(0) {
            return Some(true);
        }
        let fetched_at = self.fetched_at?;
        match (self.created_at, earliest_req_time) {
            (Some(created_at), _) => Some(fetched_at - created_at > TOKEN_LIFE_MS),
            (None, Some(earliest)) if fetched_at - earliest > TOKEN_LIFE_MS => Some(true),
            _ => None,
        }
    }
}
