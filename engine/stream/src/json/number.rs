//! Integers and times, from text that the scanner has passed over.

use arrow::datatypes::TimeUnit;

use super::scanner::{RawValue, Scanner};
use crate::event_time::nanoseconds_per;

/// That many digits fit into a `u64`, whatever they are.
const DIGITS_OF_U64: usize = 19;
const POWERS_OF_TEN: [u64; 8] = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000];

/// The value of an integer (`-?[0-9]+`); `None` if an `i64` cannot hold it.
pub(crate) fn integer(text: &[u8]) -> Option<i64> {
    if let Some((value, end)) = integer_at(text, 0)
        && end == text.len()
    {
        return Some(value);
    }
    match text {
        [b'-', digits @ ..] => long_integer(true, digits),
        digits => long_integer(false, digits),
    }
}

#[cold]
fn long_integer(is_negative: bool, digits: &[u8]) -> Option<i64> {
    let value = digits.iter().try_fold(0u64, |value, digit| {
        value.checked_mul(10)?.checked_add(u64::from(digit & 0x0f))
    });
    signed(is_negative, value?)
}

#[inline]
fn signed(is_negative: bool, value: u64) -> Option<i64> {
    if is_negative {
        0i64.checked_sub_unsigned(value)
    } else {
        i64::try_from(value).ok()
    }
}

/// The integer that begins here, and where it ends. `None` for whatever is not a plain one: a fraction, an exponent, a zero
/// too many, a value beyond an `i64`. Then the scanner has to say what it is.
#[inline(always)]
pub(crate) fn integer_at(text: &[u8], start: usize) -> Option<(i64, usize)> {
    let is_negative = text.get(start) == Some(&b'-');
    let first = start + usize::from(is_negative);
    let (mut value, mut end) = (0u64, first);
    let rest = loop {
        let word = word_at(text, end);
        let digits = leading_digits(word);
        if digits < 8 {
            break (word, digits);
        }
        value = value.wrapping_mul(100_000_000).wrapping_add(eight_digits(word));
        end += 8;
        if end - first > DIGITS_OF_U64 {
            return None;
        }
    };
    if let (word, digits @ 1..) = rest {
        // What is no digit is shifted out, and zeros come in at the front.
        let rest = eight_digits(word << (64 - 8 * digits));
        value = value.wrapping_mul(POWERS_OF_TEN[digits]).wrapping_add(rest);
        end += digits;
    }
    let length = end - first;
    let has_idle_zero = length > 1 && text[first] == b'0';
    if length == 0 || length > DIGITS_OF_U64 || has_idle_zero {
        return None;
    }
    match text.get(end) {
        Some(b'.' | b'e' | b'E') => None,
        _ => Some((signed(is_negative, value)?, end)),
    }
}

/// Eight bytes of a text, the first in the lowest byte; zeros behind its end.
#[inline]
fn word_at(text: &[u8], position: usize) -> u64 {
    match text.get(position..).and_then(<[u8]>::first_chunk::<8>) {
        Some(chunk) => u64::from_le_bytes(*chunk),
        None => last_word(text, position),
    }
}

fn last_word(text: &[u8], position: usize) -> u64 {
    let rest = text.get(position..).unwrap_or_default();
    match text.last_chunk::<8>() {
        Some(last) if !rest.is_empty() => u64::from_le_bytes(*last) >> (64 - 8 * rest.len()),
        _ => rest.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte)),
    }
}

/// How many of a word's bytes, from the lowest on, are ASCII digits.
#[inline]
fn leading_digits(word: u64) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    // Digits become 0 to 9; the lowest marked byte is exact, because only a byte that is marked itself carries.
    let digits = word ^ (ONES * b'0' as u64);
    let marks = (digits.wrapping_add(ONES * (0x80 - 10)) | digits) & (ONES << 7);
    (marks.trailing_zeros() / 8) as usize
}

/// Eight ASCII digits, the first in the lowest byte: neighbours are joined, then pairs, then fours.
#[inline]
fn eight_digits(ascii: u64) -> u64 {
    let ones = ascii & 0x0f0f_0f0f_0f0f_0f0f;
    let pairs = (ones.wrapping_mul(1 + (10 << 8)) >> 8) & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs.wrapping_mul(1 + (100 << 16)) >> 16) & 0x0000_ffff_0000_ffff;
    fours.wrapping_mul(1 + (10_000 << 32)) >> 32
}

/// The number that a text consists of, if it is one in JSON's own notation. Returns whether it is an integer.
pub(crate) fn is_number(text: &[u8]) -> Option<bool> {
    let mut scanner = Scanner::new(text, 1);
    match scanner.number() {
        Ok(RawValue::Number { end, is_integer, .. }) if end == text.len() => Some(is_integer),
        _ => None,
    }
}

/// A text that is no time, or a time outside the range of `i64` nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TimeError {
    NotATime,
    OutOfRange,
}

/// RFC 3339 (`2026-01-31T12:00:00.5+01:00`; a space instead of `T` is allowed) → units since 1970, rounded down.
pub(crate) fn rfc3339(text: &[u8], unit: TimeUnit) -> Result<i64, TimeError> {
    let (seconds, nanoseconds) = rfc3339_seconds(text).ok_or(TimeError::NotATime)?;
    let total = seconds
        .checked_mul(1_000_000_000)
        .and_then(|total| total.checked_add(nanoseconds));
    let total = total.ok_or(TimeError::OutOfRange)?;
    Ok(total.div_euclid(nanoseconds_per(unit)))
}

fn rfc3339_seconds(text: &[u8]) -> Option<(i64, i64)> {
    let (date, rest) = text.split_first_chunk::<10>()?;
    let days = days(date)?;
    let ([b'T' | b't' | b' ', time @ ..], rest) = rest.split_first_chunk::<9>()? else {
        return None;
    };
    let [h1, h2, b':', m1, m2, b':', s1, s2] = time else {
        return None;
    };
    let (hour, minute, second) = (two(*h1, *h2)?, two(*m1, *m2)?, two(*s1, *s2)?);
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let (nanoseconds, rest) = match rest {
        [b'.', fraction @ ..] => {
            let length = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
            if length == 0 {
                return None;
            }
            let digits = fraction[..length]
                .iter()
                .copied()
                .chain(std::iter::repeat(b'0'))
                .take(9);
            (
                digits.fold(0i64, |value, digit| value * 10 + i64::from(digit & 0x0f)),
                &fraction[length..],
            )
        }
        rest => (0, rest),
    };
    let offset = match rest {
        [b'Z' | b'z'] => 0,
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            let (hours, minutes) = (two(*h1, *h2)?, two(*m1, *m2)?);
            if hours > 23 || minutes > 59 {
                return None;
            }
            let offset = hours * 3600 + minutes * 60;
            if *sign == b'-' { -offset } else { offset }
        }
        _ => return None,
    };
    Some((days * 86_400 + hour * 3600 + minute * 60 + second - offset, nanoseconds))
}

/// `2026-01-31` → days since 1970.
pub(crate) fn date(text: &[u8]) -> Option<i32> {
    let days = days(text.try_into().ok()?)?;
    i32::try_from(days).ok()
}

fn days(date: &[u8; 10]) -> Option<i64> {
    let [y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2] = date else {
        return None;
    };
    let year = two(*y1, *y2)? * 100 + two(*y3, *y4)?;
    let (month, day) = (two(*m1, *m2)?, two(*d1, *d2)?);
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days_in_month = match month {
        4 | 6 | 9 | 11 => 30,
        2 if is_leap => 29,
        2 => 28,
        _ => 31,
    };
    if !(1..=12).contains(&month) || !(1..=days_in_month).contains(&day) {
        return None;
    }
    // Years that begin in March, so that the leap day is the last; 146,097 days in 400 years.
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    Some(era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468)
}

fn two(tens: u8, ones: u8) -> Option<i64> {
    (tens.is_ascii_digit() && ones.is_ascii_digit()).then(|| i64::from(tens & 0x0f) * 10 + i64::from(ones & 0x0f))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn integers_at_the_edges_are_exact_and_beyond_them_refused() {
        for (text, value) in [
            ("0", Some(0)),
            ("-0", Some(0)),
            ("12345678", Some(12_345_678)),
            ("9223372036854775807", Some(i64::MAX)),
            ("9223372036854775808", None),
            ("-9223372036854775808", Some(i64::MIN)),
            ("-9223372036854775809", None),
            ("9999999999999999999", None),
            ("18446744073709551616", None),
            ("99999999999999999999999999", None),
        ] {
            assert_eq!(integer(text.as_bytes()), value, "{text}");
            for (before, behind) in [("", ""), ("{", "}"), ("x:123456789,", ",\"y\":12345678"), ("9", " 9")] {
                let within = format!("{before}{text}{behind}");
                let found = integer_at(within.as_bytes(), before.len());
                assert_eq!(found, value.map(|value| (value, before.len() + text.len())), "{within}");
            }
        }
    }

    #[test]
    fn what_is_no_plain_integer_is_left_to_the_scanner() {
        for text in [
            "",
            "-",
            "x",
            "00",
            "01",
            "-01",
            "1.5",
            "1e3",
            "1E3",
            "12345678.",
            "1234567890123456e1",
            "\"1\"",
        ] {
            assert_eq!(integer_at(text.as_bytes(), 0), None, "{text}");
        }
        assert_eq!(integer_at(b"1", 7), None);
    }

    #[test]
    fn times_are_read_with_offsets_fractions_and_before_1970() {
        for (text, value) in [
            ("1970-01-01T00:00:00Z", Ok(0)),
            ("1970-01-01t01:00:00+01:00", Ok(0)),
            ("2026-02-28 23:59:59.123456789Z", Ok(1_772_323_199_123)),
            ("1969-12-31T23:59:59.9999Z", Ok(-1)),
            ("2024-02-29T00:00:00-00:30", Ok(1_709_166_600_000)),
            ("2023-02-29T00:00:00Z", Err(TimeError::NotATime)),
            ("2023-01-01T24:00:00Z", Err(TimeError::NotATime)),
            ("2023-01-01T00:00:00", Err(TimeError::NotATime)),
            ("2023-01-01T00:00:00.Z", Err(TimeError::NotATime)),
            ("2023-01-01", Err(TimeError::NotATime)),
            ("9999-01-01T00:00:00Z", Err(TimeError::OutOfRange)),
            ("é023-01-01T00:00:00Z", Err(TimeError::NotATime)),
        ] {
            assert_eq!(rfc3339(text.as_bytes(), TimeUnit::Millisecond), value, "{text}");
        }
        assert_eq!(
            (date(b"1970-01-02"), date(b"1969-12-31"), date(b"2026-1-1")),
            (Some(1), Some(-1), None)
        );
    }

    proptest! {
        #[test]
        fn any_integer_is_read_as_it_was_written(value: i64, shorter in 0..64u32, before in "[0-9:]{0,9}", behind in "[,} ]?[0-9]{0,9}") {
            let value = value >> shorter;
            let behind = behind.trim_start_matches(|digit: char| digit.is_ascii_digit());
            let text = format!("{before}{value}{behind}");
            prop_assert_eq!(integer(value.to_string().as_bytes()), Some(value));
            let end = text.len() - behind.len();
            prop_assert_eq!(integer_at(text.as_bytes(), before.len()), Some((value, end)));
        }

        #[test]
        fn any_time_is_read_as_arrow_reads_it(seconds in -9_000_000_000i64..9_000_000_000, nanoseconds in 0i64..1_000_000_000) {
            let value = seconds * 1_000_000_000 + nanoseconds;
            let text = arrow::temporal_conversions::timestamp_ns_to_datetime(value).unwrap().format("%Y-%m-%dT%H:%M:%S%.9fZ").to_string();
            prop_assert_eq!(rfc3339(text.as_bytes(), TimeUnit::Nanosecond), Ok(value), "{}", text);
        }
    }
}
