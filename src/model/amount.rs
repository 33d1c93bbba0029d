//! Exact decimal numbers of the bill: amounts in yuan, unit prices, usage.

use std::fmt;

/// A decimal with eight places, the precision of the bill's detail lines (DescribeBillDetail; L3 明细账单). The same
/// number as an Arrow `Decimal128(38, 8)`. Every operation is checked: what does not fit is `None`, never another number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Amount(i128);

/// Why a text is no [`Amount`]. The text itself is not in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AmountError {
    #[error("is no decimal number")]
    NotADecimal,
    #[error("has more than eight decimal places")]
    TooPrecise,
    #[error("has more than 30 digits before the point")]
    TooLarge,
}

impl Amount {
    pub const ZERO: Amount = Amount(0);
    /// Places behind the point.
    pub const SCALE: u32 = 8;
    const ONE: i128 = 100_000_000;
    /// A fen: no amount is off by so much because it was rounded.
    pub const FEN: Amount = Amount(Amount::ONE / 100);
    /// 10^38 - 1: what an Arrow `Decimal128(38, 8)` holds.
    const UNITS_MAX: i128 = 10_i128.pow(38) - 1;

    /// From hundred-millionths; `None` beyond 38 digits.
    pub fn from_units(units: i128) -> Option<Amount> {
        (units.abs() <= Amount::UNITS_MAX).then_some(Amount(units))
    }

    /// In hundred-millionths.
    pub fn units(self) -> i128 {
        self.0
    }

    pub fn of_count(count: i64) -> Amount {
        Amount(i128::from(count) * Amount::ONE)
    }

    /// The number as a count, where it is whole and fits.
    pub fn as_count(self) -> Option<i64> {
        (self.0 % Amount::ONE == 0).then(|| i64::try_from(self.0 / Amount::ONE).ok()).flatten()
    }

    /// `-12.5`, `+3`, `.5`, `1.` and any number of zeros behind the eighth place. No exponent, no grouping, no
    /// outer space.
    pub fn parse(text: &str) -> Result<Amount, AmountError> {
        let (negative, digits) = match text.as_bytes().first() {
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            _ => (false, text),
        };
        let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
        let all_digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
        if whole.is_empty() && part.is_empty() || !all_digits(whole) || !all_digits(part) {
            return Err(AmountError::NotADecimal);
        }
        let part = part.trim_end_matches('0');
        if part.len() > Amount::SCALE as usize {
            return Err(AmountError::TooPrecise);
        }
        let whole = whole.trim_start_matches('0');
        if whole.len() > 30 {
            return Err(AmountError::TooLarge);
        }
        let digit = |n: i128, b: u8| n * 10 + i128::from(b - b'0');
        let padding = Amount::SCALE as usize - part.len();
        let units = whole.bytes().chain(part.bytes()).fold(0, digit) * 10_i128.pow(padding as u32);
        Ok(Amount(if negative { -units } else { units }))
    }

    pub fn checked_add(self, other: Amount) -> Option<Amount> {
        self.0.checked_add(other.0).and_then(Amount::from_units)
    }

    pub fn checked_sub(self, other: Amount) -> Option<Amount> {
        self.0.checked_sub(other.0).and_then(Amount::from_units)
    }

    /// This unit price times a count.
    pub fn checked_mul_count(self, count: i64) -> Option<Amount> {
        self.0.checked_mul(i128::from(count)).and_then(Amount::from_units)
    }

    /// The sum, or `None` where it does not fit.
    pub fn checked_sum(amounts: impl IntoIterator<Item = Amount>) -> Option<Amount> {
        amounts.into_iter().try_fold(Amount::ZERO, Amount::checked_add)
    }

    /// To the fen (two places), half away from zero: how a resource bill (L2) shows amounts (FAQ of the bill, 账单常见问题).
    pub fn to_fen(self) -> Amount {
        let fen = Amount::FEN.0;
        let half = if self.0 < 0 { -fen / 2 } else { fen / 2 };
        Amount((self.0 + half) / fen * fen)
    }

    pub fn abs(self) -> Amount {
        Amount(self.0.abs())
    }

    pub fn is_zero(self) -> bool {
        self.0 == 0
    }
}

/// Without zeros at the end: `1.2`, `-0.00000001`, `3`.
impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, part) = (self.0.abs() / Amount::ONE, self.0.abs() % Amount::ONE);
        let part = format!("{part:08}");
        let part = part.trim_end_matches('0');
        let point = if part.is_empty() { "" } else { "." };
        f.pad_integral(self.0 >= 0, "", &format!("{whole}{point}{part}"))
    }
}

/// A text, so that no reader of JSON makes a float of it.
impl serde::Serialize for Amount {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn amount(text: &str) -> Amount {
        Amount::parse(text).unwrap()
    }

    #[test]
    fn texts_of_bills_are_read_exactly() {
        for (text, units, shown) in [
            ("0.4", 40_000_000, "0.4"),
            ("1", 100_000_000, "1"),
            ("0", 0, "0"),
            ("-0", 0, "0"),
            ("1.20000000", 120_000_000, "1.2"),
            ("0.00000001", 1, "0.00000001"),
            ("-12.5", -1_250_000_000, "-12.5"),
            ("+3.0000000000", 300_000_000, "3"),
            (".5", 50_000_000, "0.5"),
            ("1000000", 100_000_000_000_000, "1000000"),
        ] {
            assert_eq!(amount(text).units(), units, "{text}");
            assert_eq!(amount(text).to_string(), shown, "{text}");
        }
    }

    #[test]
    fn what_is_no_decimal_is_an_error() {
        for text in ["", "-", ".", "1,000", "1e3", " 1", "1 ", "٣", "0x1", "--1", "1.2.3", "NaN"] {
            assert_eq!(Amount::parse(text), Err(AmountError::NotADecimal), "{text}");
        }
        assert_eq!(Amount::parse("0.000000001"), Err(AmountError::TooPrecise));
        assert_eq!(Amount::parse(&"9".repeat(31)), Err(AmountError::TooLarge));
    }

    #[test]
    fn fen_are_rounded_half_away_from_zero() {
        for (text, fen) in [
            ("1.005", "1.01"),
            ("1.00499999", "1"),
            ("-1.005", "-1.01"),
            ("-1.00499999", "-1"),
            ("0.12345678", "0.12"),
        ] {
            assert_eq!(amount(text).to_fen(), amount(fen), "{text}");
        }
    }

    #[test]
    fn what_does_not_fit_is_none() {
        let most = Amount::from_units(10_i128.pow(38) - 1).unwrap();
        assert_eq!(most.checked_add(Amount::from_units(1).unwrap()), None);
        assert_eq!(most.checked_mul_count(2), None);
        assert_eq!(Amount::from_units(10_i128.pow(38)), None);
        assert_eq!(amount("1.5").checked_mul_count(3), Some(amount("4.5")));
        assert_eq!(amount("1.5").as_count(), None);
        assert_eq!(amount("-15").as_count(), Some(-15));
    }
}
