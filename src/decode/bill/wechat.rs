//! The provider's own list: pages of `GetWeChatBillDetails`. Names, document numbers and similarities are passed over
//! unread and never kept.

use super::json::{Pages, each, text_of};
use super::{Reading, names, value};
use crate::decode::json::{Cursor, Parsed, Scalar};
use crate::model::{ProviderAttempt, UsageDay};
use std::borrow::Cow;

/// ReqTime between 2015 and 2100, in milliseconds since the epoch: the service is younger, and seconds are smaller.
const REQ_TIMES: std::ops::Range<i64> = 1_420_070_400_000..4_102_444_800_000;

#[derive(Default)]
struct Charge<'t> {
    seq: Option<Cow<'t, str>>,
    req_time: Option<Cow<'t, str>>,
    flag: Option<bool>,
    charge_type: Option<Cow<'t, str>>,
    errcode: Option<Cow<'t, str>>,
}

/// One token with its attempts, which may stand before its name.
pub fn detail(cursor: &mut Cursor<'_>, reading: &mut Reading<'_>, pages: &mut Pages) -> Parsed<()> {
    let (mut biz_token, mut rule_id, mut count) = (None, None, None);
    let mut charges: Vec<Charge<'_>> = Vec::new();
    cursor.object(|cursor, _, member| {
        match &*member {
            "BizToken" => biz_token = said(cursor)?,
            "RuleId" => rule_id = said(cursor)?,
            "ChargeCount" => count = said(cursor)?,
            "ChargeDetails" => each(cursor, |cursor| {
                let mut charge = Charge::default();
                cursor.object(|cursor, _, member| {
                    match &*member {
                        "Seq" => charge.seq = said(cursor)?,
                        "ReqTime" => charge.req_time = said(cursor)?,
                        "IsNeedCharge" => {
                            if let Scalar::Bool(flag) = cursor.scalar()? {
                                charge.flag = Some(flag);
                            }
                        }
                        "ChargeType" => charge.charge_type = said(cursor)?,
                        "ErrorCode" => charge.errcode = said(cursor)?,
                        _ => cursor.skip()?,
                    }
                    Ok(())
                })?;
                charges.push(charge);
                Ok(())
            })?,
            _ => cursor.skip()?,
        }
        Ok(())
    })?;
    let charged = charges.iter().filter(|charge| charge.flag == Some(true)).count();
    if count.and_then(|count| count.parse().ok()).is_some_and(|count: usize| count != charged) {
        reading.content.list_miscounted += 1;
        if reading.content.list_miscounted == 1 {
            reading.note(format_args!(
                "{}: record {}: ChargeCount is not the number of ChargeDetails that are charged: Seqs may be missing from the \
                 list",
                pages.name, pages.records
            ));
        }
    }
    for charge in charges {
        let row = pages.records;
        pages.records += 1;
        reading.content.file.rows += 1;
        match charge.checked(&pages.name, row, biz_token.as_deref(), rule_id.as_deref()) {
            Ok(attempt) => {
                reading.content.attempts += 1;
                let day = UsageDay::of_instant(attempt.req_time);
                pages.cut +=
                    i64::from(pages.day_goes_on.take().is_some_and(|before| before != day));
                if pages.day != Some(day) {
                    reading.content.list_days.insert(day);
                }
                pages.day = Some(day);
                reading.collected.attempts.push(attempt);
            }
            Err((column, reason, message)) => {
                reading.reject(names::reject(&pages.name, row, column, reason, message));
            }
        }
    }
    Ok(())
}

/// A text or number that says something.
fn said<'t>(cursor: &mut Cursor<'t>) -> Parsed<Option<Cow<'t, str>>> {
    Ok(text_of(cursor.scalar()?).filter(|text| value::cleaned(text).is_some()))
}

type Fault = (&'static str, &'static str, &'static str);

impl Charge<'_> {
    fn checked(
        self,
        file: &str,
        row: i64,
        biz_token: Option<&str>,
        rule_id: Option<&str>,
    ) -> Result<ProviderAttempt, Fault> {
        let owned = |text: &str| value::cleaned(text).unwrap_or_default().to_owned();
        let seq =
            self.seq.ok_or(("Seq", "seq_missing", "the attempt has no Seq to be joined by"))?;
        let req_time = self
            .req_time
            .and_then(|text| value::cleaned(&text)?.parse().ok())
            .filter(|ms| REQ_TIMES.contains(ms))
            .ok_or(("ReqTime", "time_invalid", "no time in milliseconds since 1970 (13 digits)"))?;
        let is_need_charge =
            self.flag.ok_or(("IsNeedCharge", "flag_invalid", "neither true nor false"))?;
        let errcode = match self.errcode {
            None => None,
            Some(text) => {
                let code = value::cleaned(&text).and_then(|text| text.parse().ok());
                Some(code.ok_or(("ErrorCode", "code_invalid", "is no whole number"))?)
            }
        };
        Ok(ProviderAttempt {
            seq: owned(&seq),
            req_time,
            is_need_charge,
            biz_token: biz_token.map(owned),
            rule_id: rule_id.map(owned),
            charge_type: self.charge_type.as_deref().map(owned),
            errcode,
            source_file: file.to_owned(),
            source_row: row,
        })
    }
}
