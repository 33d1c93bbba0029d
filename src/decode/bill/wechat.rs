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
    /// A member stands there twice, and says two things.
    twice: bool,
}

/// Sets what a member says, if it says something; whether it said something else before.
fn put<T: PartialEq>(slot: &mut Option<T>, said: Option<T>) -> bool {
    let twice = slot.is_some() && said.is_some() && *slot != said;
    *slot = said.or(slot.take());
    twice
}

/// One token with its attempts, which may stand before its name.
pub fn detail(cursor: &mut Cursor<'_>, reading: &mut Reading<'_>, pages: &mut Pages) -> Parsed<()> {
    let (mut biz_token, mut rule_id, mut count) = (None, None, None);
    let mut charges: Vec<Charge<'_>> = Vec::new();
    // Those that are no objects; whether there is a list of them.
    let (mut others, mut has_list) = (0, false);
    cursor.object(|cursor, _, member| {
        match &*member {
            "BizToken" => biz_token = said(cursor)?,
            "RuleId" => rule_id = said(cursor)?,
            "ChargeCount" => count = said(cursor)?,
            "ChargeDetails" => {
                has_list = true;
                others += each(cursor, |cursor| {
                    let mut charge = Charge::default();
                    cursor.object(|cursor, _, member| {
                        charge.twice |= match &*member {
                            "Seq" => put(&mut charge.seq, said(cursor)?),
                            "ReqTime" => put(&mut charge.req_time, said(cursor)?),
                            "IsNeedCharge" => {
                                let flag = match cursor.scalar()? {
                                    Scalar::Bool(flag) => Some(flag),
                                    _ => None,
                                };
                                put(&mut charge.flag, flag)
                            }
                            "ChargeType" => put(&mut charge.charge_type, said(cursor)?),
                            "ErrorCode" => put(&mut charge.errcode, said(cursor)?),
                            _ => {
                                cursor.skip()?;
                                false
                            }
                        };
                        Ok(())
                    })?;
                    charges.push(charge);
                    Ok(())
                })?;
            }
            _ => cursor.skip()?,
        }
        Ok(())
    })?;
    let charged = charges.iter().filter(|charge| charge.flag == Some(true)).count();
    let counted: Option<usize> = count.and_then(|count| count.parse().ok());
    if others > 0 || !has_list && counted != Some(0) {
        let what = "the token has no list of attempts (ChargeDetails), or some that are no objects";
        let row = pages.records;
        reading.reject(names::reject(&pages.name, row, "ChargeDetails", "attempts_missing", what));
    }
    if counted.is_some_and(|count| count != charged) {
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
                if pages.days.last() != Some(&day) {
                    pages.days.push(day);
                }
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
        if self.twice {
            return Err((
                "Seq",
                "member_twice",
                "a member of the attempt stands there twice, and says two things",
            ));
        }
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
