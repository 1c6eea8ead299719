//! Numbers compared and respelled by their decimal digits, however long they are:
//! nothing is ever rounded through a float.

use std::cmp::Ordering;

use crate::model::value::Number;

/// The longest run of zeros written out when an exponent is respelled.
const MAX_PADDING: i128 = 64;

/// A number as `0.digits × 10^point`; zero has no digits and no sign.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Decimal {
    negative: bool,
    /// Significant digits, no zero at either end.
    digits: String,
    point: i128,
}

/// Compares by value.
pub(super) fn compare(a: &Number, b: &Number) -> Ordering {
    let (a, b) = (decimal(a), decimal(b));
    match (a.sign(), b.sign()) {
        (1, 1) => a.magnitude(&b),
        (-1, -1) => b.magnitude(&a),
        (a, b) => a.cmp(&b),
    }
}

/// Whether it has no fraction, however it is spelled: `1.0` and `1e2` have none.
pub(super) fn is_whole(number: &Number) -> bool {
    let decimal = decimal(number);
    i128::try_from(decimal.digits.len()).is_ok_and(|digits| digits <= decimal.point.max(0))
}

/// A whole number that fits; `None` for a fraction or a number too large.
pub(super) fn to_i64(number: &Number) -> Option<i64> {
    if !is_whole(number) {
        return None;
    }
    let decimal = decimal(number);
    // i64 has at most 19 digits; the bound keeps a huge exponent from making a huge text.
    let width = usize::try_from(decimal.point.max(0)).ok().filter(|width| *width <= 19)?;
    let sign = if decimal.negative { "-" } else { "" };
    format!("{sign}0{:0<width$}", decimal.digits).parse().ok()
}

/// The number without an exponent where that is not absurdly long, else verbatim.
pub(super) fn plain_text(number: &Number) -> String {
    let text = number.as_str();
    if !text.contains(['e', 'E']) {
        return text.to_owned();
    }
    let decimal = decimal(number);
    let sign = if decimal.negative { "-" } else { "" };
    let Decimal { digits, point, .. } = decimal;
    let Ok(length) = i128::try_from(digits.len()) else { return text.to_owned() };
    if digits.is_empty() {
        "0".to_owned()
    } else if (0..=MAX_PADDING).contains(&-point) {
        format!("{sign}0.{}{digits}", "0".repeat(usize::try_from(-point).unwrap_or(0)))
    } else if (length..=length + MAX_PADDING).contains(&point) {
        format!("{sign}{digits}{}", "0".repeat(usize::try_from(point - length).unwrap_or(0)))
    } else if (1..length).contains(&point) {
        let (whole, fraction) = digits.split_at(usize::try_from(point).unwrap_or(0));
        format!("{sign}{whole}.{fraction}")
    } else {
        text.to_owned()
    }
}

impl Decimal {
    fn sign(&self) -> i8 {
        match (self.digits.is_empty(), self.negative) {
            (true, _) => 0,
            (false, true) => -1,
            (false, false) => 1,
        }
    }

    fn magnitude(&self, other: &Self) -> Ordering {
        self.point.cmp(&other.point).then_with(|| self.digits.cmp(&other.digits))
    }
}

fn decimal(number: &Number) -> Decimal {
    let text = number.as_str();
    let (negative, rest) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (mantissa, exponent) = rest.split_once(['e', 'E']).unwrap_or((rest, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all = format!("{whole}{fraction}");
    let digits = all.trim_start_matches('0');
    let leading = all.len() - digits.len();
    let digits = digits.trim_end_matches('0').to_owned();
    if digits.is_empty() {
        return Decimal { negative: false, digits, point: 0 };
    }
    let place = |length: usize| i128::try_from(length).unwrap_or(i128::from(i64::MAX));
    Decimal { negative, digits, point: exponent_of(exponent) + place(whole.len()) - place(leading) }
}

/// An exponent too long for 64 bits counts as the largest one that fits.
fn exponent_of(text: &str) -> i128 {
    let exponent = text.strip_prefix('+').unwrap_or(text).parse::<i64>();
    let saturated = if text.starts_with('-') { i64::MIN } else { i64::MAX };
    i128::from(exponent.unwrap_or(saturated))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(text: &str) -> Number {
        Number::parse(text).unwrap()
    }

    #[test]
    fn numbers_compare_by_value_however_long() {
        let ascending = [
            "-1e99999999999999999999",
            "-12345678901234567890123",
            "-2",
            "-1.5",
            "-1e-9",
            "0",
            "1e-99999999999999999999",
            "0.001",
            "1e-2",
            "1",
            "9007199254740992",
            "9007199254740993",
            "1e400",
            "1e99999999999999999999",
        ];
        for (i, a) in ascending.iter().enumerate() {
            for (j, b) in ascending.iter().enumerate() {
                assert_eq!(compare(&number(a), &number(b)), i.cmp(&j), "{a} {b}");
            }
        }
        for (a, b) in [("1.0", "1"), ("1e2", "100"), ("-0", "0e5"), ("0.10", "1E-1")] {
            assert_eq!(compare(&number(a), &number(b)), Ordering::Equal, "{a} {b}");
        }
    }

    #[test]
    fn whole_numbers() {
        for (text, whole, fits) in [
            ("0", true, Some(0)),
            ("-0.0", true, Some(0)),
            ("1.0", true, Some(1)),
            ("1.7e9", true, Some(1_700_000_000)),
            ("-100", true, Some(-100)),
            ("9223372036854775807", true, Some(i64::MAX)),
            ("9223372036854775808", true, None),
            ("1e99999999999999999999", true, None),
            ("1.5", false, None),
            ("1e-1", false, None),
        ] {
            assert_eq!((is_whole(&number(text)), to_i64(&number(text))), (whole, fits), "{text}");
        }
    }

    #[test]
    fn exponents_are_written_out_where_they_are_short() {
        for (text, plain) in [
            ("10.00", "10.00"),
            ("1e2", "100"),
            ("-1.5e1", "-15"),
            ("1.25E1", "12.5"),
            ("12e-1", "1.2"),
            ("1e-3", "0.001"),
            ("0e7", "0"),
            ("1e400", "1e400"),
            ("1e-99999999999999999999", "1e-99999999999999999999"),
        ] {
            assert_eq!(plain_text(&number(text)), plain, "{text}");
            assert!(compare(&number(text), &number(plain)).is_eq());
        }
    }
}
