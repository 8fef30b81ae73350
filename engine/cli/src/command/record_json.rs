//! A record as a JSON object, the same for `consume --json` and `produce --json`.
//!
//! `{"topic", "partition", "offset", "timestamp", "timestamp_type", "key", "value", "headers"}`; headers are a
//! list of `[name, value]`, because names may repeat; bytes that are not UTF-8 are `{"base64": "…"}`.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use engine_client::{Header, Record, TopicPartition};
use serde::{Deserialize, Serialize, Serializer, de::IgnoredAny};

/// A record that was read.
#[derive(Debug, Serialize)]
pub(super) struct ConsumedRecord<'a> {
    topic: &'a str,
    partition: i32,
    offset: i64,
    timestamp: i64,
    timestamp_type: &'static str,
    key: Option<Text<'a>>,
    value: Option<Text<'a>>,
    headers: Vec<(Text<'a>, Option<Text<'a>>)>,
}

impl<'a> ConsumedRecord<'a> {
    pub(super) fn new(tp: &'a TopicPartition, timestamp_type: &'static str, record: &Record<'a>) -> Self {
        Self {
            topic: &tp.topic,
            partition: tp.partition,
            offset: record.offset,
            timestamp: record.timestamp,
            timestamp_type,
            key: record.key.map(Text),
            value: record.value.map(Text),
            headers: record
                .headers
                .clone()
                .map(|header| (Text(header.key), header.value.map(Text)))
                .collect(),
        }
    }
}

/// Bytes that are usually text.
#[derive(Debug)]
struct Text<'a>(&'a [u8]);

impl Serialize for Text<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match std::str::from_utf8(self.0) {
            Ok(text) => serializer.serialize_str(text),
            Err(_) => {
                use serde::ser::SerializeMap;
                let mut map = serializer.serialize_map(Some(1))?;
                map.serialize_entry("base64", &BASE64.encode(self.0))?;
                map.end()
            }
        }
    }
}

/// A record to write. What `consume` says beyond it (topic, offset, timestamp type) is ignored. Anything else is a mistake, and
/// `value` must be there: an object that is itself a value would be a tombstone otherwise.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RecordToProduce {
    pub(super) partition: Option<i32>,
    pub(super) timestamp: Option<i64>,
    key: Option<WrittenBytes>,
    // A function of its own, as a field without one may be missing.
    #[serde(deserialize_with = "Option::deserialize")]
    value: Option<WrittenBytes>,
    #[serde(default)]
    headers: Vec<(WrittenBytes, Option<WrittenBytes>)>,
    #[serde(rename = "topic")]
    _topic: Option<IgnoredAny>,
    #[serde(rename = "offset")]
    _offset: Option<IgnoredAny>,
    #[serde(rename = "timestamp_type")]
    _timestamp_type: Option<IgnoredAny>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "expected a string, null or {\"base64\": \"…\"}")]
enum WrittenBytes {
    Text(String),
    Base64 { base64: Base64Bytes },
}

#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
struct Base64Bytes(Vec<u8>);

impl TryFrom<String> for Base64Bytes {
    type Error = base64::DecodeError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        BASE64.decode(text).map(Self)
    }
}

impl WrittenBytes {
    fn bytes(&self) -> &[u8] {
        match self {
            WrittenBytes::Text(text) => text.as_bytes(),
            WrittenBytes::Base64 { base64 } => &base64.0,
        }
    }
}

/// A line that is no record.
#[derive(Debug, thiserror::Error)]
pub(super) enum RecordError {
    /// It is no such object.
    #[error(
        "it is no record in JSON, such as {{\"key\": \"k\", \"value\": \"v\"}} (without --json a line is a value as it stands)"
    )]
    Json(#[from] serde_json::Error),
    /// Brokers know -1 as "no time", and other negative times not at all.
    #[error("timestamp {0} lies before 1970; leave it out for the time of sending")]
    NegativeTimestamp(i64),
    /// There is no such partition anywhere.
    #[error("partition {0} is negative; leave it out to choose by key")]
    NegativePartition(i32),
}

impl RecordToProduce {
    pub(super) fn parse(line: &[u8]) -> Result<Self, RecordError> {
        let record: Self = serde_json::from_slice(line)?;
        match (record.timestamp, record.partition) {
            (Some(timestamp), _) if timestamp < 0 => Err(RecordError::NegativeTimestamp(timestamp)),
            (_, Some(partition)) if partition < 0 => Err(RecordError::NegativePartition(partition)),
            _ => Ok(record),
        }
    }

    pub(super) fn key(&self) -> Option<&[u8]> {
        self.key.as_ref().map(WrittenBytes::bytes)
    }

    pub(super) fn value(&self) -> Option<&[u8]> {
        self.value.as_ref().map(WrittenBytes::bytes)
    }

    pub(super) fn headers(&self) -> Vec<Header<'_>> {
        self.headers
            .iter()
            .map(|(name, value)| Header {
                key: name.bytes(),
                value: value.as_ref().map(WrittenBytes::bytes),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_not_text_are_base64() {
        for (bytes, json) in [
            (&b"plain"[..], r#""plain""#),
            (b"", r#""""#),
            (b"\xff\x00", r#"{"base64":"/wA="}"#),
        ] {
            assert_eq!(serde_json::to_string(&Text(bytes)).unwrap(), json);
            let back: WrittenBytes = serde_json::from_str(json).unwrap();
            assert_eq!(back.bytes(), bytes);
        }
    }

    #[test]
    fn a_consumed_object_can_be_produced_again() {
        let record = RecordToProduce::parse(
            br#"{"topic":"t","partition":2,"offset":9,"timestamp":5,"timestamp_type":"CreateTime",
                 "key":null,"value":"v","headers":[["a","1"],["a",null]]}"#,
        )
        .unwrap();
        assert_eq!((record.partition, record.timestamp), (Some(2), Some(5)));
        assert_eq!((record.key(), record.value()), (None, Some(&b"v"[..])));
        let headers = record.headers();
        assert_eq!((headers[0].key, headers[0].value), (&b"a"[..], Some(&b"1"[..])));
        assert_eq!((headers[1].key, headers[1].value), (&b"a"[..], None));
    }

    #[test]
    fn what_is_neither_text_nor_base64_is_refused() {
        for line in [
            &br#"{"value":5}"#[..],
            br#"{"value":{"base64":"*"}}"#,
            b"plain",
            br#"["a"]"#,
            br#"{"timestamp":-1,"value":"v"}"#,
            br#"{"partition":-1,"value":"v"}"#,
            // Values that are objects, and would be tombstones.
            br#"{"user":"u","price":5}"#,
            br#"{"key":"k","valeu":"v"}"#,
            br#"{"key":"k"}"#,
            b"{}",
        ] {
            assert!(
                RecordToProduce::parse(line).is_err(),
                "{}",
                String::from_utf8_lossy(line)
            );
        }
    }
}
