//! The Produce request, read by hand: records are slices of the frame, and nothing is reserved by a count.
//!
//! Never here: what is in the records.

use bytes::{Buf, Bytes};
use engine_wire::varint;
use uuid::Uuid;

/// First flexible version.
const FLEXIBLE: i16 = 9;
/// First version with topic ids instead of names.
const TOPIC_IDS: i16 = 13;

/// A whole request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ProduceRequest {
    pub(crate) transactional_id: Option<String>,
    pub(crate) acks: i16,
    pub(crate) topics: Vec<TopicData>,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TopicData {
    pub(crate) topic: TopicKey,
    pub(crate) partitions: Vec<PartitionData>,
}

/// How a request names a topic.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum TopicKey {
    Name(String),
    Id(Uuid),
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct PartitionData {
    pub(crate) index: i32,
    /// Empty if null.
    pub(crate) records: Bytes,
}

/// The request ends before it should, or has a length that cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("produce request is malformed at {field}, {left} bytes before its end")]
pub(crate) struct ProduceRequestError {
    field: &'static str,
    left: usize,
}

impl ProduceRequest {
    pub(crate) fn decode(version: i16, body: Bytes) -> Result<Self, ProduceRequestError> {
        let mut reader = Reader {
            is_flexible: version >= FLEXIBLE,
            rest: body,
        };
        let request = reader.request(version);
        let left = reader.rest.len();
        match request {
            Ok(request) if left == 0 => Ok(request),
            Ok(_) => Err(ProduceRequestError { field: "its end", left }),
            Err(field) => Err(ProduceRequestError { field, left }),
        }
    }
}

/// Reads fields; the error is the field's name.
struct Reader {
    is_flexible: bool,
    rest: Bytes,
}

impl Reader {
    fn request(&mut self, version: i16) -> Result<ProduceRequest, &'static str> {
        let transactional_id = self.string("transactional_id")?;
        let transactional_id = transactional_id.map(|id| String::from_utf8(id.into()));
        let transactional_id = transactional_id.transpose().map_err(|_| "transactional_id")?;
        let acks = self.rest.try_get_i16().map_err(|_| "acks")?;
        self.rest.try_get_i32().map_err(|_| "timeout_ms")?;
        let mut topics = Vec::new();
        for _ in 0..self.count("topic_data")? {
            topics.push(self.topic(version)?);
        }
        self.tags()?;
        Ok(ProduceRequest {
            transactional_id,
            acks,
            topics,
        })
    }

    fn topic(&mut self, version: i16) -> Result<TopicData, &'static str> {
        let topic = if version >= TOPIC_IDS {
            TopicKey::Id(Uuid::from_u128(self.rest.try_get_u128().map_err(|_| "topic_id")?))
        } else {
            let name = self.string("name")?.ok_or("name")?;
            TopicKey::Name(std::str::from_utf8(&name).map_err(|_| "name")?.to_owned())
        };
        let mut partitions = Vec::new();
        for _ in 0..self.count("partition_data")? {
            let index = self.rest.try_get_i32().map_err(|_| "index")?;
            let length = self.length("records", |rest| Some(i64::from(rest.try_get_i32().ok()?)))?;
            let records = self.take(length.unwrap_or(0), "records")?;
            self.tags()?;
            partitions.push(PartitionData { index, records });
        }
        self.tags()?;
        Ok(TopicData { topic, partitions })
    }

    fn string(&mut self, field: &'static str) -> Result<Option<Bytes>, &'static str> {
        match self.length(field, |rest| Some(i64::from(rest.try_get_i16().ok()?)))? {
            Some(length) => self.take(length, field).map(Some),
            None => Ok(None),
        }
    }

    /// A null array is none; each element takes bytes, so a count that lies ends with the frame.
    fn count(&mut self, field: &'static str) -> Result<usize, &'static str> {
        Ok(self
            .length(field, |rest| Some(i64::from(rest.try_get_i32().ok()?)))?
            .unwrap_or(0))
    }

    /// A length in compact form, or in the classic form that `classic` reads; null is `None`.
    fn length(
        &mut self,
        field: &'static str,
        classic: impl Fn(&mut Bytes) -> Option<i64>,
    ) -> Result<Option<usize>, &'static str> {
        let length = match self.is_flexible {
            true => i64::from(self.varint(field)?) - 1,
            false => classic(&mut self.rest).ok_or(field)?,
        };
        match length {
            -1 => Ok(None),
            length => usize::try_from(length).map(Some).map_err(|_| field),
        }
    }

    fn tags(&mut self) -> Result<(), &'static str> {
        if self.is_flexible {
            for _ in 0..self.varint("tagged fields")? {
                self.varint("tagged fields")?;
                let size = self.varint("tagged fields")?;
                self.take(size as usize, "tagged fields")?;
            }
        }
        Ok(())
    }

    fn varint(&mut self, field: &'static str) -> Result<u32, &'static str> {
        let mut rest: &[u8] = &self.rest;
        let value = varint::take_u32(&mut rest).ok_or(field)?;
        let read = self.rest.len() - rest.len();
        self.rest.advance(read);
        Ok(value)
    }

    fn take(&mut self, length: usize, field: &'static str) -> Result<Bytes, &'static str> {
        match length <= self.rest.len() {
            true => Ok(self.rest.split_to(length)),
            false => Err(field),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One topic "t", partition 3, records "abc", acks -1.
    const CLASSIC: &[u8] = b"\xff\xff\xff\xff\0\0\0\x09\0\0\0\x01\0\x01t\0\0\0\x01\0\0\0\x03\0\0\0\x03abc";
    const FLEXIBLE_BYTES: &[u8] = b"\0\xff\xff\0\0\0\x09\x02\x02t\x02\0\0\0\x03\x04abc\0\0\0";

    #[test]
    fn both_forms_are_read() {
        for (version, bytes) in [(3, CLASSIC), (8, CLASSIC), (9, FLEXIBLE_BYTES), (12, FLEXIBLE_BYTES)] {
            let request = ProduceRequest::decode(version, Bytes::from_static(bytes));
            let partitions = vec![PartitionData {
                index: 3,
                records: Bytes::from_static(b"abc"),
            }];
            let topics = vec![TopicData {
                topic: TopicKey::Name("t".to_owned()),
                partitions,
            }];
            assert_eq!(
                request,
                Ok(ProduceRequest {
                    transactional_id: None,
                    acks: -1,
                    topics
                }),
                "v{version}"
            );
        }
    }

    #[test]
    fn every_truncation_is_an_error() {
        for (version, bytes) in [(8, CLASSIC), (9, FLEXIBLE_BYTES)] {
            for length in 0..bytes.len() {
                let request = ProduceRequest::decode(version, Bytes::from_static(&bytes[..length]));
                assert!(request.is_err(), "v{version}, {length} bytes");
            }
        }
    }

    #[test]
    fn a_lying_count_costs_no_memory() {
        let bytes: &[u8] = b"\xff\xff\xff\xff\0\0\0\x09\x7f\xff\xff\xff";
        assert!(ProduceRequest::decode(8, Bytes::from_static(bytes)).is_err());
    }
}
