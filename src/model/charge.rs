//! What is charged: accounts, compare sources, daily charges.

use super::UsageDay;

/// Against what a face was compared: the half of a billing tag that the payload says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CompareSource {
    /// 跟权威库比对
    Authority,
    /// 跟上传照片比对
    UploadedPhoto,
}

impl CompareSource {
    pub const ALL: [CompareSource; 2] = [CompareSource::Authority, CompareSource::UploadedPhoto];

    pub fn code(self) -> &'static str {
        match self {
            CompareSource::Authority => "authority",
            CompareSource::UploadedPhoto => "uploaded_photo",
        }
    }

    pub fn parse(code: &str) -> Option<CompareSource> {
        CompareSource::ALL.into_iter().find(|s| s.code() == code)
    }
}

/// When an account's postpaid usage is settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settlement {
    /// Usage day D on D+1.
    Daily,
    /// The 1st of the next month.
    Monthly,
}

impl Settlement {
    /// 2023-01-04T00:00:00+08:00 in milliseconds since the epoch: accounts opened from this instant on
    /// settle daily. Source: FaceID billing overview, page 1007/56803.
    pub const DAILY_SINCE_MS: i64 = 1_672_761_600_000;

    pub fn date(self, usage: UsageDay) -> UsageDay {
        match self {
            Settlement::Daily => usage.plus(1),
            Settlement::Monthly => usage.first_of_next_month(),
        }
    }
}

/// Who pays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// The payer's UIN.
    pub uin: String,
    pub settlement: Settlement,
}

/// One row of `daily_charge`. `attempts = charged + free + unknown`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DailyCharge {
    pub usage_date: UsageDay,
    pub settlement_date: UsageDay,
    pub account: String,
    pub billing_tag: String,
    pub attempts: i64,
    /// `is_need_charge` true.
    pub charged: i64,
    /// `is_need_charge` false.
    pub free: i64,
    /// `is_need_charge` null.
    pub unknown: i64,
    /// Charged although the attempt failed (errcode not 0).
    pub charged_failed: i64,
    /// Rows from a snapshot that may still grow (`snapshot_final` false).
    pub not_final: i64,
    /// Milliseconds since the epoch.
    pub first_req_time: i64,
    pub last_req_time: i64,
    /// The version of `liveness_detail` it was computed from.
    pub source_version: i64,
}
