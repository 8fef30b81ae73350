//! Durations for machines: numbers of seconds, as in `/metrics`.

use std::time::Duration;

use serde::Serializer;

/// A duration as a number of seconds.
pub(crate) fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64())
}

/// The same, null where there is none.
pub(crate) fn serialize_optional<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    match duration {
        Some(duration) => serialize(duration, serializer),
        None => serializer.serialize_none(),
    }
}
