//! Positions in a topic as they are typed: `beginning`, `end`, an offset, or a time.

use std::str::FromStr;

use chrono::DateTime;

/// `--from` and `--to`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PositionArgument {
    /// At the oldest record.
    Beginning,
    /// Behind the newest record.
    End,
    /// At this offset of each partition.
    Offset(i64),
    /// This many records before the end of each partition.
    BeforeEnd(i64),
    /// At the first record of this time or later, in milliseconds since 1970.
    Timestamp(i64),
}

impl FromStr for PositionArgument {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(number) = text.parse::<i64>() {
            return Ok(if number < 0 {
                Self::BeforeEnd(number.saturating_neg())
            } else {
                Self::Offset(number)
            });
        }
        match text {
            "beginning" | "earliest" => Ok(Self::Beginning),
            "end" | "latest" => Ok(Self::End),
            _ => DateTime::parse_from_rfc3339(text)
                .map(|time| Self::Timestamp(time.timestamp_millis()))
                .map_err(|_| {
                    "expected `beginning`, `end`, an offset, `-N` for the last N, or a time such as \
                     `2026-01-31T12:00:00Z`"
                        .to_owned()
                }),
        }
    }
}

/// Milliseconds since 1970 as RFC 3339 text in UTC.
pub(crate) fn rfc3339(milliseconds: i64) -> String {
    DateTime::from_timestamp_millis(milliseconds).map_or_else(
        || milliseconds.to_string(),
        |time| time.format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_read_as_they_are_typed() {
        for (text, expected) in [
            ("beginning", Some(PositionArgument::Beginning)),
            ("end", Some(PositionArgument::End)),
            ("0", Some(PositionArgument::Offset(0))),
            ("-10", Some(PositionArgument::BeforeEnd(10))),
            ("-9223372036854775808", Some(PositionArgument::BeforeEnd(i64::MAX))),
            ("1970-01-01T00:00:01.5Z", Some(PositionArgument::Timestamp(1500))),
            ("1970-01-01T01:00:00+01:00", Some(PositionArgument::Timestamp(0))),
            ("1969-12-31T23:59:59Z", Some(PositionArgument::Timestamp(-1000))),
            ("yesterday", None),
            ("", None),
        ] {
            assert_eq!(text.parse().ok(), expected, "{text:?}");
        }
    }

    #[test]
    fn times_are_told_in_utc() {
        assert_eq!(rfc3339(1500), "1970-01-01T00:00:01.500Z");
        assert_eq!(rfc3339(i64::MAX), i64::MAX.to_string());
    }
}
