//! What members of a group tell one another: subscriptions up to the leader, assignments down.
//!
//! The coordinator passes these bytes through unread, so they come from *other clients*, of any
//! version: a newer version is read as the newest one we know and its tail is ignored (as the
//! Java client does), and every count is checked against the bytes that are there.
//! Hand-written because the generated codec refuses versions it does not know.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::topic_partition::TopicPartition;

/// The newest version of both structures that we know (KIP-881).
const VERSION: i16 = 3;

/// What a member wants and has: the `metadata` of one protocol of JoinGroup.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subscription {
    /// Topics the member wants to read.
    pub topics: Vec<String>,
    /// Bytes that only the assignor understands.
    pub user_data: Option<Bytes>,
    /// What the member holds now (version 1 and later): for sticky and cooperative assignors.
    pub owned_partitions: Vec<TopicPartition>,
    /// The generation in which it got `owned_partitions` (version 2 and later). Two members may
    /// claim one partition; the later generation is right.
    pub generation_id: Option<i32>,
    /// Where the member runs (version 3 and later).
    pub rack_id: Option<String>,
}

/// What the leader gives to one member: the `assignment` of SyncGroup.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Assignment {
    /// The member's partitions.
    pub partitions: Vec<TopicPartition>,
    /// Bytes that only the assignor understands.
    pub user_data: Option<Bytes>,
}

/// Bytes of another member that are not what the protocol promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConsumerProtocolError {
    /// A field reaches past the end.
    #[error("consumer protocol: {what} needs {needed} bytes, {left} are left")]
    Truncated {
        /// The field that was being read.
        what: &'static str,
        /// Bytes it needs.
        needed: usize,
        /// Bytes that are there.
        left: usize,
    },
    /// A negative version, count or length.
    #[error("consumer protocol: {what} is {value}")]
    Negative {
        /// The field that was being read.
        what: &'static str,
        /// What it says.
        value: i64,
    },
    /// A name that is not UTF-8.
    #[error("consumer protocol: {what} is not utf-8")]
    NotUtf8 {
        /// The field that was being read.
        what: &'static str,
    },
}

impl Subscription {
    /// Writes version 3, which every Java client since 2.4 reads.
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::new();
        out.put_i16(VERSION);
        out.put_i32(count(self.topics.len()));
        for topic in &self.topics {
            put_string(&mut out, topic);
        }
        put_bytes(&mut out, self.user_data.as_deref());
        put_partitions(&mut out, &self.owned_partitions);
        out.put_i32(self.generation_id.unwrap_or(-1));
        match &self.rack_id {
            Some(rack_id) => put_string(&mut out, rack_id),
            None => out.put_i16(-1),
        }
        out.freeze()
    }

    /// Reads any version from 0.
    pub fn decode(bytes: Bytes) -> Result<Subscription, ConsumerProtocolError> {
        let mut reader = Reader::new(bytes);
        let version = reader.version()?;
        let mut subscription = Subscription::default();
        for _ in 0..reader.count("topics", 2)? {
            subscription.topics.push(reader.string("topic")?);
        }
        subscription.user_data = reader.nullable_bytes("user data")?;
        if version >= 1 {
            subscription.owned_partitions = reader.partitions("owned partitions")?;
        }
        if version >= 2 {
            subscription.generation_id = Some(reader.i32("generation")?).filter(|id| *id >= 0);
        }
        if version >= 3 {
            subscription.rack_id = reader.nullable_string("rack")?;
        }
        Ok(subscription)
    }
}

impl Assignment {
    /// Writes version 1: the fields have not changed since 0.
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::new();
        out.put_i16(1);
        put_partitions(&mut out, &self.partitions);
        put_bytes(&mut out, self.user_data.as_deref());
        out.freeze()
    }

    /// Reads any version; no bytes at all are an empty assignment, as a leader sends to a member
    /// it has nothing for.
    pub fn decode(bytes: Bytes) -> Result<Assignment, ConsumerProtocolError> {
        if bytes.is_empty() {
            return Ok(Assignment::default());
        }
        let mut reader = Reader::new(bytes);
        reader.version()?;
        Ok(Assignment {
            partitions: reader.partitions("assigned partitions")?,
            user_data: reader.nullable_bytes("user data")?,
        })
    }
}

fn count(len: usize) -> i32 {
    i32::try_from(len).expect("our own list is shorter than 2^31")
}

fn put_string(out: &mut BytesMut, text: &str) {
    out.put_i16(i16::try_from(text.len()).expect("kafka limits names to 32767 bytes"));
    out.put_slice(text.as_bytes());
}

fn put_bytes(out: &mut BytesMut, bytes: Option<&[u8]>) {
    match bytes {
        None => out.put_i32(-1),
        Some(bytes) => {
            out.put_i32(count(bytes.len()));
            out.put_slice(bytes);
        }
    }
}

/// Partitions are grouped by topic; neighbours of one topic share its entry.
pub(crate) fn put_partitions(out: &mut BytesMut, partitions: &[TopicPartition]) {
    let groups = || partitions.chunk_by(|a, b| a.topic == b.topic);
    out.put_i32(count(groups().count()));
    for group in groups() {
        put_string(out, &group[0].topic);
        out.put_i32(count(group.len()));
        for tp in group {
            out.put_i32(tp.partition);
        }
    }
}

/// Reads what other members wrote, field by field.
pub(crate) struct Reader {
    bytes: Bytes,
}

impl Reader {
    pub(crate) fn new(bytes: Bytes) -> Reader {
        Reader { bytes }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    fn need(&self, what: &'static str, needed: usize) -> Result<(), ConsumerProtocolError> {
        let left = self.bytes.len();
        if left < needed {
            return Err(ConsumerProtocolError::Truncated { what, needed, left });
        }
        Ok(())
    }

    fn i16(&mut self, what: &'static str) -> Result<i16, ConsumerProtocolError> {
        self.need(what, 2)?;
        Ok(self.bytes.get_i16())
    }

    pub(crate) fn i32(&mut self, what: &'static str) -> Result<i32, ConsumerProtocolError> {
        self.need(what, 4)?;
        Ok(self.bytes.get_i32())
    }

    fn version(&mut self) -> Result<i16, ConsumerProtocolError> {
        let value = self.i16("version")?;
        if value < 0 {
            let (what, value) = ("version", i64::from(value));
            return Err(ConsumerProtocolError::Negative { what, value });
        }
        Ok(value)
    }

    /// A count of entries that take at least `entry_bytes_min` each.
    fn count(&mut self, what: &'static str, entry_bytes_min: usize) -> Result<usize, ConsumerProtocolError> {
        let value = self.i32(what)?;
        let count = usize::try_from(value).map_err(|_| ConsumerProtocolError::Negative {
            what,
            value: i64::from(value),
        })?;
        self.need(what, count.saturating_mul(entry_bytes_min))?;
        Ok(count)
    }

    /// The bytes behind a length that was just read; -1 is null.
    fn nullable(&mut self, what: &'static str, length: i64) -> Result<Option<Bytes>, ConsumerProtocolError> {
        if length == -1 {
            return Ok(None);
        }
        let negative = ConsumerProtocolError::Negative { what, value: length };
        let length = usize::try_from(length).map_err(|_| negative)?;
        self.need(what, length)?;
        Ok(Some(self.bytes.split_to(length)))
    }

    fn nullable_bytes(&mut self, what: &'static str) -> Result<Option<Bytes>, ConsumerProtocolError> {
        let length = self.i32(what)?;
        self.nullable(what, i64::from(length))
    }

    fn nullable_string(&mut self, what: &'static str) -> Result<Option<String>, ConsumerProtocolError> {
        let length = self.i16(what)?;
        let Some(text) = self.nullable(what, i64::from(length))? else {
            return Ok(None);
        };
        let text = std::str::from_utf8(&text).map_err(|_| ConsumerProtocolError::NotUtf8 { what })?;
        Ok(Some(text.to_owned()))
    }

    fn string(&mut self, what: &'static str) -> Result<String, ConsumerProtocolError> {
        let null = ConsumerProtocolError::Negative { what, value: -1 };
        self.nullable_string(what)?.ok_or(null)
    }

    pub(crate) fn partitions(&mut self, what: &'static str) -> Result<Vec<TopicPartition>, ConsumerProtocolError> {
        let mut partitions = Vec::new();
        for _ in 0..self.count(what, 6)? {
            let topic: std::sync::Arc<str> = self.string(what)?.into();
            for _ in 0..self.count(what, 4)? {
                let partition = self.i32(what)?;
                partitions.push(TopicPartition::new(topic.clone(), partition));
            }
        }
        Ok(partitions)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> Subscription {
        Subscription {
            topics: vec!["clicks".into(), "views".into()],
            user_data: Some(Bytes::from_static(b"u")),
            owned_partitions: vec![
                TopicPartition::new("clicks", 0),
                TopicPartition::new("clicks", 3),
                TopicPartition::new("views", 1),
            ],
            generation_id: Some(7),
            rack_id: Some("rack1".into()),
        }
    }

    #[test]
    fn a_subscription_survives_the_round_trip() {
        for subscription in [full(), Subscription::default()] {
            assert_eq!(Subscription::decode(subscription.encode()), Ok(subscription));
        }
    }

    #[test]
    fn an_assignment_survives_the_round_trip() {
        let assignment = Assignment {
            partitions: full().owned_partitions,
            user_data: None,
        };
        assert_eq!(Assignment::decode(assignment.encode()), Ok(assignment));
    }

    #[test]
    fn no_bytes_are_an_empty_assignment() {
        assert_eq!(Assignment::decode(Bytes::new()), Ok(Assignment::default()));
    }

    /// Version 0 as the Java client writes it: ConsumerProtocolTest's `deserialize…V0` layout.
    #[test]
    fn a_version_0_subscription_of_an_old_client_is_read() {
        let bytes = Bytes::from_static(b"\0\0\0\0\0\x01\0\x01t\xff\xff\xff\xff");
        let subscription = Subscription::decode(bytes).expect("version 0 is valid");
        assert_eq!(subscription.topics, ["t"]);
        assert_eq!(subscription.generation_id, None);
    }

    #[test]
    fn a_newer_version_is_read_as_ours_and_its_tail_is_ignored() {
        let mut bytes = full().encode().to_vec();
        bytes[1] = 100;
        bytes.extend_from_slice(b"a field of the future");
        assert_eq!(Subscription::decode(bytes.into()), Ok(full()));
    }

    #[test]
    fn every_truncation_is_an_error_and_never_a_panic() {
        let bytes = full().encode();
        for len in 0..bytes.len() {
            assert!(Subscription::decode(bytes.slice(..len)).is_err(), "{len}");
        }
    }

    #[test]
    fn hostile_counts_allocate_nothing() {
        for (bytes, expected) in [
            (&b"\0\x03\x7f\xff\xff\xff"[..], "needs"),
            (&b"\0\x03\xff\xff\xff\xfe"[..], "is -2"),
            (&b"\xff\xff"[..], "version is -1"),
            (&b"\0\0\0\0\0\x01\0\x02\xff\xfe\xff\xff\xff\xff"[..], "utf-8"),
        ] {
            let error = Subscription::decode(Bytes::from_static(bytes)).expect_err("hostile");
            assert!(error.to_string().contains(expected), "{error}");
        }
    }
}
