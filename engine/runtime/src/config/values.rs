//! Durations and sizes as people write them.
//!
//! Never here: spans and keys.

use std::num::NonZeroU64;
use std::time::Duration;

/// Units of a duration, in milliseconds.
const DURATION_UNITS: [(&str, u64); 5] = [
    ("ms", 1),
    ("s", 1_000),
    ("m", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
];
/// Units of a size, in bytes: powers of ten, and with an `i` powers of two.
const SIZE_UNITS: [(&str, u64); 7] = [
    ("B", 1),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
];
/// Longest duration: a hundred years of 365 days.
const DURATION_MS_MAX: u64 = 100 * 365 * 86_400_000;

/// Reads `100ms`, `2s`, `30s`, `5m`, `1h`, `7d`; fractions are allowed, down to a millisecond.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let ms = quantity(text, &DURATION_UNITS, "ms, s, m, h, d")?;
    if ms > DURATION_MS_MAX {
        return Err("it is longer than 100 years".to_owned());
    }
    Ok(Duration::from_millis(ms))
}

/// Reads `128MB`, `64KB`, `1MiB`; never zero.
pub(crate) fn size(text: &str) -> Result<NonZeroU64, String> {
    let bytes = quantity(text, &SIZE_UNITS, "B, KB, MB, GB, KiB, MiB, GiB")?;
    if bytes > 1 << 50 {
        return Err("it is larger than a pebibyte".to_owned());
    }
    NonZeroU64::new(bytes).ok_or_else(|| "it must be at least one byte".to_owned())
}

/// A duration in the largest unit that fits without a fraction: `90s`, `1500ms`.
pub(crate) fn show_duration(duration: Duration) -> String {
    let ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let fits = DURATION_UNITS
        .iter()
        .rev()
        .find(|(_, unit)| ms > 0 && ms.is_multiple_of(*unit));
    fits.map_or_else(|| format!("{ms}ms"), |(name, unit)| format!("{}{name}", ms / unit))
}

/// A size in the largest unit that fits without a fraction: `128MB`, `1536KiB`.
pub(crate) fn show_size(size: NonZeroU64) -> String {
    let bytes = size.get();
    let fits = SIZE_UNITS
        .iter()
        .filter(|(_, unit)| bytes.is_multiple_of(*unit))
        .max_by_key(|(_, unit)| *unit);
    fits.map_or_else(|| format!("{bytes}B"), |(name, unit)| format!("{}{name}", bytes / unit))
}

fn quantity(text: &str, units: &[(&str, u64)], names: &str) -> Result<u64, String> {
    let text = text.trim();
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.' && c != '_')
        .unwrap_or(text.len());
    let (number, unit) = (text[..end].replace('_', ""), text[end..].trim());
    let (whole, fraction) = number.split_once('.').unwrap_or((&number, ""));
    if whole.is_empty() || fraction.contains('.') || (number.contains('.') && fraction.is_empty()) {
        return Err("it must begin with a number".to_owned());
    }
    if unit.is_empty() {
        return Err(format!("it needs a unit: {names}"));
    }
    let Some((_, factor)) = units.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit)) else {
        return Err(format!(
            "there is no unit `{}`; the units are {names}",
            unit.chars().take(20).collect::<String>()
        ));
    };
    let too_large = || "the number is too large".to_owned();
    let whole = whole
        .parse::<u64>()
        .ok()
        .and_then(|whole| whole.checked_mul(*factor))
        .ok_or_else(too_large)?;
    if fraction.is_empty() {
        return Ok(whole);
    }
    let digits = fraction.get(..9.min(fraction.len())).unwrap_or("0");
    let power = 10u128.pow(u32::try_from(digits.len()).unwrap_or(9));
    let part = u128::from(digits.parse::<u64>().map_err(|_| too_large())?) * u128::from(*factor);
    if part % power != 0 || fraction.len() > 9 {
        return Err("the fraction is finer than the smallest unit".to_owned());
    }
    whole
        .checked_add(u64::try_from(part / power).map_err(|_| too_large())?)
        .ok_or_else(too_large)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_have_units() {
        for (text, ms) in [
            ("100ms", 100),
            ("2s", 2_000),
            ("1.5s", 1_500),
            ("5 m", 300_000),
            ("1h", 3_600_000),
            ("0s", 0),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for (text, bytes) in [
            ("1B", 1),
            ("64KB", 64_000),
            ("1MiB", 1 << 20),
            ("1.5 KiB", 1536),
            ("128mb", 128_000_000),
        ] {
            assert_eq!(size(text).map(NonZeroU64::get), Ok(bytes), "{text}");
        }
        for text in [
            "",
            "10",
            "s",
            "-1s",
            "1.s",
            "1.2.3s",
            "10 fortnights",
            "99999999999999999999s",
            "0.5ms",
            "5000000d",
        ] {
            assert!(duration(text).is_err(), "{text}");
        }
        for text in ["0B", "10", "1XB", "99999999GB", "18446744073709551615GB"] {
            assert!(size(text).is_err(), "{text}");
        }
        assert_eq!(show_duration(Duration::from_millis(90_000)), "90s");
    }

    #[test]
    fn a_size_is_shown_as_it_was_written() {
        for text in ["128MB", "64KiB", "1B", "1500B", "1GB", "10MiB"] {
            assert_eq!(show_size(size(text).unwrap()), text);
        }
    }
}
