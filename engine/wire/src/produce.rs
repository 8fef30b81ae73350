//! The Produce request, written by hand so that batches are not copied.
//!
//! The generated encoder would copy every batch into the request. Here the request is a list of
//! segments for a vectored write: what surrounds the batches is encoded, the batches themselves
//! are the producer's own `Bytes`.
//! Never here: which batches go together.

use bytes::{BufMut, Bytes, BytesMut};

use crate::request::{EncodeError, put_header};
use crate::varint;

/// Versions this encoder writes: 3 is the first with v2 batches and transactions, 12 the last
/// that names topics, 13 has topic ids (KIP-516).
pub const PRODUCE_VERSIONS: std::ops::RangeInclusive<i16> = 3..=13;
/// Kafka's number of the Produce API.
const PRODUCE: i16 = 0;

/// A Produce request; borrows all but the batches.
#[derive(Debug, Clone)]
pub struct ProduceRequest<'a> {
    /// Set inside a transaction.
    pub transactional_id: Option<&'a str>,
    /// 0, 1 or -1 for all; with 0 there is no answer.
    pub acks: i16,
    /// How long the broker may wait for the in-sync replicas.
    pub timeout_ms: i32,
    /// Each topic once.
    pub topics: Vec<ProduceTopic<'a>>,
}

/// The batches for one topic.
#[derive(Debug, Clone)]
pub struct ProduceTopic<'a> {
    /// Written up to version 12.
    pub name: &'a str,
    /// Written from version 13; must not be zero then.
    pub topic_id: [u8; 16],
    /// Each partition once.
    pub partitions: Vec<ProducePartition>,
}

/// The batch for one partition.
#[derive(Debug, Clone)]
pub struct ProducePartition {
    /// Its index.
    pub index: i32,
    /// One stamped record batch.
    pub records: Bytes,
}

/// Encodes the request as segments, size prefix included, whose concatenation is the frame.
///
/// Each `records` is one segment of its own, the same `Bytes` as was passed in.
///
/// # Errors
/// [`EncodeError`] for a version outside [`PRODUCE_VERSIONS`], a zero topic id where ids are
/// written, a name longer than 32 KiB, or 2 GiB and more in all.
pub fn encode_produce_request(
    api_version: i16,
    correlation_id: i32,
    client_id: Option<&str>,
    request: &ProduceRequest<'_>,
) -> Result<Vec<Bytes>, EncodeError> {
    if !PRODUCE_VERSIONS.contains(&api_version) {
        return Err(EncodeError::Version {
            api_key: PRODUCE,
            api_version,
            min: *PRODUCE_VERSIONS.start(),
            max: *PRODUCE_VERSIONS.end(),
        });
    }
    let partition_count: usize = request.topics.iter().map(|topic| topic.partitions.len()).sum();
    let mut writer = SegmentWriter {
        api_version,
        is_flexible: api_version >= 9,
        segments: Vec::with_capacity(2 * partition_count + 1),
        current: BytesMut::with_capacity(128 + 64 * request.topics.len() + 16 * partition_count),
    };
    writer.current.put_i32(0);
    let header_version = if writer.is_flexible { 2 } else { 1 };
    put_header(
        &mut writer.current,
        PRODUCE,
        api_version,
        header_version,
        correlation_id,
        client_id,
    )?;
    writer.put_string(request.transactional_id, "transactional id")?;
    writer.current.put_i16(request.acks);
    writer.current.put_i32(request.timeout_ms);
    writer.put_count(request.topics.len())?;
    for topic in &request.topics {
        if api_version >= 13 {
            if topic.topic_id == [0; 16] {
                return Err(writer.field(format!("topic {} has no id", topic.name)));
            }
            writer.current.put_slice(&topic.topic_id);
        } else {
            writer.put_string(Some(topic.name), "topic name")?;
        }
        writer.put_count(topic.partitions.len())?;
        for partition in &topic.partitions {
            writer.current.put_i32(partition.index);
            writer.put_records(&partition.records)?;
            writer.put_tags();
        }
        writer.put_tags();
    }
    writer.put_tags();
    writer.finish()
}

struct SegmentWriter {
    api_version: i16,
    is_flexible: bool,
    segments: Vec<Bytes>,
    current: BytesMut,
}

impl SegmentWriter {
    fn put_string(&mut self, value: Option<&str>, what: &str) -> Result<(), EncodeError> {
        let length = value.map_or(Ok(-1), |value| i16::try_from(value.len()));
        let Ok(length) = length else {
            let bytes = value.map_or(0, str::len);
            return Err(self.field(format!("{what} of {bytes} bytes is too long")));
        };
        if self.is_flexible {
            // Null is 0, anything else its length plus one: -1 becomes 0.
            self.put_varint((i32::from(length) + 1) as u32);
        } else {
            self.current.put_i16(length);
        }
        self.current.put_slice(value.unwrap_or_default().as_bytes());
        Ok(())
    }

    fn put_count(&mut self, count: usize) -> Result<(), EncodeError> {
        let Ok(count) = i32::try_from(count) else {
            return Err(EncodeError::TooLarge {
                api_key: PRODUCE,
                size: count,
            });
        };
        if self.is_flexible {
            self.put_varint(count as u32 + 1);
        } else {
            self.current.put_i32(count);
        }
        Ok(())
    }

    fn put_records(&mut self, records: &Bytes) -> Result<(), EncodeError> {
        self.put_count(records.len())?;
        self.segments.push(self.current.split().freeze());
        self.segments.push(records.clone());
        Ok(())
    }

    fn put_tags(&mut self) {
        if self.is_flexible {
            self.current.put_u8(0);
        }
    }

    fn put_varint(&mut self, value: u32) {
        let mut buffer = [0; varint::VARINT_BYTES_MAX];
        let end = varint::write_u64(&mut buffer, 0, u64::from(value));
        self.current.put_slice(&buffer[..end]);
    }

    fn field(&self, reason: String) -> EncodeError {
        EncodeError::Field {
            api_key: PRODUCE,
            api_version: self.api_version,
            reason,
        }
    }

    fn finish(mut self) -> Result<Vec<Bytes>, EncodeError> {
        self.segments.push(self.current.freeze());
        let size = self.segments.iter().map(Bytes::len).sum::<usize>() - 4;
        let prefix = i32::try_from(size).map_err(|_| EncodeError::TooLarge { api_key: PRODUCE, size })?;
        let first = std::mem::take(&mut self.segments[0]);
        let mut first = match first.try_into_mut() {
            Ok(first) => first,
            // The later segments share the allocation.
            Err(shared) => BytesMut::from(&shared[..]),
        };
        first[..4].copy_from_slice(&prefix.to_be_bytes());
        self.segments[0] = first.freeze();
        Ok(self.segments)
    }
}
