//! The least that can talk to a broker, so that the verdict shares nothing with the client under test but the codec.

#![allow(dead_code)] // Not every test that includes it needs every part.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use bytes::Bytes;
use engine_wire::compression::{Compression, Compressor, Decompressor};
use engine_wire::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use engine_wire::messages::fetch_request::{FetchPartition, FetchTopic};
use engine_wire::messages::metadata_request::MetadataRequestTopic;
use engine_wire::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use engine_wire::messages::produce_request::{PartitionProduceData, TopicProduceData};
use engine_wire::messages::{
    ApiKey, CreateTopicsRequest, DeleteTopicsRequest, FetchRequest, FindCoordinatorRequest, GroupId, MetadataRequest,
    OffsetFetchRequest, ProduceRequest, Request, StrBytes, TopicName,
};
use engine_wire::record_batch::{BatchBuilder, ProducerStamp, split_batches};
use engine_wire::request::encode_request;
use engine_wire::response::{decode_body, decode_response_header};

/// One record as a reader sees it.
#[derive(Debug, Clone)]
pub(crate) struct SeenRecord {
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
}

/// A partition's records and where its log stands.
#[derive(Debug)]
pub(crate) struct PartitionRead {
    pub(crate) records: Vec<SeenRecord>,
    pub(crate) high_watermark: i64,
    pub(crate) last_stable_offset: i64,
}

/// Which records a reader sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Isolation {
    Uncommitted,
    Committed,
}

/// What somebody coordinates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Coordinates {
    Group,
    Transactions,
}

/// A broker that does not answer within this time never will.
const ANSWER_MAX: Duration = Duration::from_secs(60);

/// One connection.
pub(crate) struct RawClient {
    stream: TcpStream,
    correlation_id: i32,
}

impl RawClient {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        RawClient::try_connect(address).expect("the broker listens")
    }

    /// `None` if nobody listens there.
    pub(crate) fn try_connect(address: SocketAddr) -> Option<Self> {
        let stream = TcpStream::connect(address).ok()?;
        stream.set_nodelay(true).expect("a socket");
        stream.set_read_timeout(Some(ANSWER_MAX)).expect("a socket");
        Some(RawClient {
            stream,
            correlation_id: 0,
        })
    }

    /// The node that coordinates this, if one does now.
    pub(crate) fn coordinator(&mut self, what: Coordinates, of: &str) -> Option<i32> {
        let request = FindCoordinatorRequest::default()
            .with_key_type(i8::from(what == Coordinates::Transactions))
            .with_coordinator_keys(vec![string(of)]);
        let found = self.ask(4, &request).coordinators.remove(0);
        (found.error_code == 0).then_some(found.node_id.0)
    }

    fn ask<R: Request>(&mut self, version: i16, request: &R) -> R::Response {
        self.correlation_id += 1;
        let frame = encode_request(version, self.correlation_id, Some("verdict"), request).expect("a possible request");
        self.stream.write_all(&frame).expect("written");
        let mut prefix = [0; 4];
        self.stream.read_exact(&mut prefix).expect("an answer");
        let mut frame = vec![0; usize::try_from(i32::from_be_bytes(prefix)).expect("a size")];
        self.stream.read_exact(&mut frame).expect("a whole answer");
        let api = ApiKey::try_from(R::KEY).expect("a known api");
        let (_, body) = decode_response_header(api, version, Bytes::from(frame)).expect("a response header");
        decode_body(version, body).expect("a whole response")
    }

    /// Creates a topic with these settings.
    pub(crate) fn create(&mut self, topic: &str, partitions: i32, configs: &[(&str, &str)]) {
        let configs = configs
            .iter()
            .map(|(key, value)| {
                CreatableTopicConfig::default()
                    .with_name(string(key))
                    .with_value(Some(string(value)))
            })
            .collect();
        let topic = CreatableTopic::default()
            .with_name(name(topic))
            .with_num_partitions(partitions)
            .with_replication_factor(1)
            .with_configs(configs);
        let request = CreateTopicsRequest::default().with_topics(vec![topic]);
        let created = self.ask(5, &request).topics.remove(0);
        assert_eq!(created.error_code, 0, "{created:?}");
    }

    /// The topic's id, which newer requests say instead of its name.
    pub(crate) fn topic_id(&mut self, topic: &str) -> [u8; 16] {
        let wanted = MetadataRequestTopic::default().with_name(Some(name(topic)));
        let request = MetadataRequest::default().with_topics(Some(vec![wanted]));
        self.ask(12, &request).topics.remove(0).topic_id.into_bytes()
    }

    /// How many partitions a topic has; 0 if it is not there.
    pub(crate) fn partitions(&mut self, topic: &str) -> i32 {
        let wanted = MetadataRequestTopic::default().with_name(Some(name(topic)));
        let request = MetadataRequest::default()
            .with_topics(Some(vec![wanted]))
            .with_allow_auto_topic_creation(false);
        let partitions = self.ask(12, &request).topics.remove(0).partitions.len();
        i32::try_from(partitions).expect("a few")
    }

    /// Deletes a topic.
    pub(crate) fn delete(&mut self, topic: &str) {
        let request = DeleteTopicsRequest::default()
            .with_topic_names(vec![name(topic)])
            .with_timeout_ms(10_000);
        let deleted = self.ask(5, &request).responses.remove(0);
        assert_eq!(deleted.error_code, 0, "{deleted:?}");
    }

    /// One batch of values, in one request.
    pub(crate) fn produce(&mut self, topic: &str, partition: i32, values: &[String]) {
        let mut builder = BatchBuilder::with_capacity(10_000);
        for value in values {
            builder
                .append(1_700_000_000_000, None, Some(value.as_bytes()), [])
                .expect("room for a record");
        }
        let sealed = builder.seal(Compression::NONE, &mut Compressor::new(), Vec::new());
        let records = sealed.expect("no compression cannot fail").stamp(ProducerStamp::NONE);
        let data = PartitionProduceData::default()
            .with_index(partition)
            .with_records(Some(records));
        let topic = TopicProduceData::default()
            .with_name(name(topic))
            .with_partition_data(vec![data]);
        let request = ProduceRequest::default()
            .with_acks(-1)
            .with_timeout_ms(1_000)
            .with_topic_data(vec![topic]);
        let answer = self.ask(9, &request).responses.remove(0).partition_responses.remove(0);
        assert_eq!(answer.error_code, 0, "{answer:?}");
    }

    /// Everything in a partition, as far as this isolation shows it.
    pub(crate) fn read(&mut self, topic: &str, partition: i32, isolation: Isolation) -> PartitionRead {
        let mut read = PartitionRead {
            records: Vec::new(),
            high_watermark: 0,
            last_stable_offset: 0,
        };
        let mut offset = 0;
        loop {
            let wanted = FetchPartition::default()
                .with_partition(partition)
                .with_fetch_offset(offset)
                .with_partition_max_bytes(8 << 20);
            let wanted = FetchTopic::default()
                .with_topic(name(topic))
                .with_partitions(vec![wanted]);
            let request = FetchRequest::default()
                .with_max_wait_ms(0)
                .with_min_bytes(0)
                .with_max_bytes(8 << 20)
                .with_session_epoch(-1)
                .with_isolation_level(i8::from(isolation == Isolation::Committed))
                .with_topics(vec![wanted]);
            let data = self.ask(12, &request).responses.remove(0).partitions.remove(0);
            assert_eq!(data.error_code, 0, "{topic}-{partition} at {offset}");
            read.high_watermark = data.high_watermark;
            read.last_stable_offset = data.last_stable_offset;
            let mut aborted = match isolation {
                Isolation::Committed => data.aborted_transactions.unwrap_or_default(),
                Isolation::Uncommitted => Vec::new(),
            };
            aborted.sort_by_key(|one| one.first_offset);
            let mut open_aborted = Vec::new();
            let before = offset;
            for batch in split_batches(data.records.unwrap_or_default()) {
                let batch = batch.expect("a batch");
                batch.verify_crc().expect("a right checksum");
                offset = batch.header.next_offset();
                let (producer_id, base_offset) = (batch.header.producer_id, batch.header.base_offset);
                while aborted.first().is_some_and(|one| one.first_offset <= base_offset) {
                    open_aborted.push(aborted.remove(0).producer_id.0);
                }
                if batch.header.is_control() {
                    open_aborted.retain(|aborted| *aborted != producer_id);
                } else if !(batch.header.is_transactional() && open_aborted.contains(&producer_id)) {
                    let mut decompressor = Decompressor::default();
                    for record in batch.records(&mut decompressor).expect("records") {
                        let record = record.expect("a record");
                        read.records.push(SeenRecord {
                            key: record.key.map(<[u8]>::to_vec),
                            value: record.value.map(<[u8]>::to_vec),
                        });
                    }
                }
            }
            if offset == before {
                return read;
            }
        }
    }

    /// The group's committed offset of each partition, -1 if there is none; waits for no open transaction.
    pub(crate) fn committed(&mut self, group: &str, topic: &str, partitions: i32) -> Vec<i64> {
        let topic = OffsetFetchRequestTopics::default()
            .with_name(name(topic))
            .with_partition_indexes((0..partitions).collect());
        let group = OffsetFetchRequestGroup::default()
            .with_group_id(GroupId(string(group)))
            .with_topics(Some(vec![topic]));
        let request = OffsetFetchRequest::default().with_groups(vec![group]);
        let group = self.ask(8, &request).groups.remove(0);
        let Some(topic) = group.topics.into_iter().next() else {
            return vec![-1; usize::try_from(partitions).expect("a count")];
        };
        let mut found = topic.partitions;
        found.sort_by_key(|partition| partition.partition_index);
        found.into_iter().map(|partition| partition.committed_offset).collect()
    }
}

pub(crate) fn name(topic: &str) -> TopicName {
    TopicName(string(topic))
}

fn string(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}
