//! Numbers as people read them.

use std::time::Duration;

/// `1,234,567`
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 record`, `1,200 records`
pub(crate) fn counted(number: u64, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {what}{plural}", grouped(number))
}

/// `950`, `12.3 k`, `4.56 M`: three digits that matter.
pub(crate) fn short(number: f64) -> String {
    let (scaled, unit) = match number {
        n if n < 1e3 => return format!("{n:.0}"),
        n if n < 1e6 => (n / 1e3, "k"),
        n if n < 1e9 => (n / 1e6, "M"),
        n => (n / 1e9, "G"),
    };
    let decimals = if scaled < 10.0 { 2 } else { usize::from(scaled < 100.0) };
    format!("{scaled:.decimals$} {unit}")
}

/// `85 µs`, `3.4 ms`, `12.0 s`, `3 m 20 s`, `2 h 05 m`
pub(crate) fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    match seconds {
        s if s < 1e-3 => format!("{:.0} µs", s * 1e6),
        s if s < 1.0 => format!("{:.1} ms", s * 1e3),
        s if s < 100.0 => format!("{s:.1} s"),
        s if s < 3600.0 => format!("{} m {:02} s", duration.as_secs() / 60, duration.as_secs() % 60),
        _ => format!("{} h {:02} m", duration.as_secs() / 3600, duration.as_secs() / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_grouped() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(number), text);
        }
        assert_eq!(
            (counted(1, "topic"), counted(0, "topic")),
            ("1 topic".into(), "0 topics".into())
        );
    }

    #[test]
    fn three_digits_matter() {
        for (number, text) in [
            (0.0, "0"),
            (950.0, "950"),
            (12_345.0, "12.3 k"),
            (4_560_000.0, "4.56 M"),
            (2e11, "200 G"),
        ] {
            assert_eq!(short(number), text);
        }
    }

    #[test]
    fn durations_choose_their_unit() {
        for (micros, text) in [
            (85, "85 µs"),
            (3_400, "3.4 ms"),
            (12_000_000, "12.0 s"),
            (200_000_000, "3 m 20 s"),
            (7_500_000_000, "2 h 05 m"),
        ] {
            assert_eq!(duration(Duration::from_micros(micros)), text);
        }
    }
}
