//! Event time: a column of timestamps in any unit, seen as `i64` nanoseconds since 1970 in UTC.
//!
//! Nanoseconds reach from the year 1677 to 2262. A time outside has no place on that line: it is
//! counted as absent, and never wraps.

use arrow::array::{Array, AsArray};
use arrow::datatypes::{
    DataType, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
    TimestampSecondType,
};

/// How many nanoseconds one unit has.
pub const fn nanoseconds_per(unit: TimeUnit) -> i64 {
    match unit {
        TimeUnit::Second => 1_000_000_000,
        TimeUnit::Millisecond => 1_000_000,
        TimeUnit::Microsecond => 1_000,
        TimeUnit::Nanosecond => 1,
    }
}

/// A column of event times: raw values, their unit and their nulls.
#[derive(Debug, Clone, Copy)]
pub struct EventTimes<'a> {
    values: &'a [i64],
    nanoseconds_per_value: i64,
    nulls: Option<&'a arrow::buffer::NullBuffer>,
}

impl<'a> EventTimes<'a> {
    /// Views a timestamp column; `None` if the column is of another type.
    pub fn new(column: &'a dyn Array) -> Option<Self> {
        let DataType::Timestamp(unit, _) = column.data_type() else {
            return None;
        };
        let values: &[i64] = match unit {
            TimeUnit::Second => column.as_primitive::<TimestampSecondType>().values(),
            TimeUnit::Millisecond => column.as_primitive::<TimestampMillisecondType>().values(),
            TimeUnit::Microsecond => column.as_primitive::<TimestampMicrosecondType>().values(),
            TimeUnit::Nanosecond => column.as_primitive::<TimestampNanosecondType>().values(),
        };
        Some(EventTimes {
            values,
            nanoseconds_per_value: nanoseconds_per(*unit),
            nulls: column.nulls(),
        })
    }

    /// The number of rows.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The row's time in nanoseconds; `None` for null and for times outside the range.
    #[inline]
    pub fn nanoseconds(&self, row: usize) -> Option<i64> {
        if self.nulls.is_some_and(|nulls| nulls.is_null(row)) {
            return None;
        }
        self.values[row].checked_mul(self.nanoseconds_per_value)
    }

    /// The latest time not after `limit`, and how many times are after it.
    pub fn latest(&self, limit: Option<i64>) -> LatestTime {
        let limit = limit.unwrap_or(i64::MAX);
        let mut latest = LatestTime::default();
        for time in (0..self.len()).filter_map(|row| self.nanoseconds(row)) {
            if time > limit {
                latest.skewed += 1;
            } else {
                latest.nanoseconds = Some(latest.nanoseconds.map_or(time, |max| max.max(time)));
            }
        }
        latest
    }
}

/// The latest time of a micro-batch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LatestTime {
    /// The latest time, in nanoseconds; `None` if no row has one.
    pub nanoseconds: Option<i64>,
    /// Rows whose time was beyond the limit and was not considered.
    pub skewed: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Int64Array, TimestampMillisecondArray, TimestampSecondArray};

    #[test]
    fn times_outside_the_nanosecond_range_are_absent_instead_of_wrapping() {
        let column = TimestampSecondArray::from(vec![Some(1), None, Some(i64::MAX), Some(i64::MIN), Some(-1)]);
        let times = EventTimes::new(&column).unwrap();
        let seen: Vec<_> = (0..5).map(|row| times.nanoseconds(row)).collect();
        assert_eq!(seen, [Some(1_000_000_000), None, None, None, Some(-1_000_000_000)]);
    }

    #[test]
    fn only_timestamps_are_event_times() {
        assert!(EventTimes::new(&Int64Array::from(vec![1])).is_none());
    }

    #[test]
    fn the_latest_time_ignores_and_counts_what_is_beyond_the_limit() {
        let column = TimestampMillisecondArray::from(vec![5, 9, 7, 1_000]);
        let latest = EventTimes::new(&column).unwrap().latest(Some(9_000_000));
        assert_eq!(
            latest,
            LatestTime {
                nanoseconds: Some(9_000_000),
                skewed: 1
            }
        );
    }
}
