//! The least that can talk to a broker: one request, one answer.

use std::net::SocketAddr;

use bytes::{Bytes, BytesMut};
use engine_broker::{Broker, BrokerConfig};
use engine_wire::compression::{Compression, Compressor};
use engine_wire::frame::FrameDecoder;
use engine_wire::messages::fetch_request::{FetchPartition, FetchTopic};
use engine_wire::messages::fetch_response::PartitionData;
use engine_wire::messages::metadata_request::MetadataRequestTopic;
use engine_wire::messages::produce_request::{PartitionProduceData, TopicProduceData};
use engine_wire::messages::produce_response::PartitionProduceResponse;
use engine_wire::messages::{
    ApiKey, FetchRequest, MetadataRequest, MetadataResponse, ProduceRequest, Request, StrBytes, TopicName,
};
use engine_wire::record_batch::{BatchBuilder, ProducerStamp, split_batches};
use engine_wire::request::encode_request;
use engine_wire::response::{decode_body, decode_response_header};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub(crate) struct RawClient {
    stream: TcpStream,
    buffer: BytesMut,
    correlation_id: i32,
}

/// A broker in memory on a free port.
pub(crate) async fn start() -> Broker {
    start_with(BrokerConfig::default()).await
}

pub(crate) async fn start_with(config: BrokerConfig) -> Broker {
    let listen = SocketAddr::from(([127, 0, 0, 1], 0));
    Broker::start(BrokerConfig { listen, ..config })
        .await
        .expect("the broker starts")
}

impl RawClient {
    pub(crate) async fn connect(broker: &Broker) -> Self {
        Self::connect_to(broker.address()).await
    }

    pub(crate) async fn connect_to(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.expect("the broker listens");
        Self {
            stream,
            buffer: BytesMut::new(),
            correlation_id: 0,
        }
    }

    /// Asks, and reads the answer, which must fill its frame.
    pub(crate) async fn ask<R: Request>(&mut self, version: i16, request: &R) -> R::Response {
        self.send(version, request).await;
        self.answer::<R>(version).await.expect("an answer")
    }

    /// `None` if the broker is gone, which may show while the request is written.
    pub(crate) async fn try_ask<R: Request>(&mut self, version: i16, request: &R) -> Option<R::Response> {
        self.correlation_id += 1;
        let frame = encode_request(version, self.correlation_id, Some("raw"), request).expect("a possible request");
        self.stream.write_all(&frame).await.ok()?;
        self.answer::<R>(version).await
    }

    pub(crate) async fn send<R: Request>(&mut self, version: i16, request: &R) {
        self.correlation_id += 1;
        let frame = encode_request(version, self.correlation_id, Some("raw"), request).expect("a possible request");
        self.write(&frame).await;
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.expect("written");
    }

    /// `None` if the broker closed the connection.
    pub(crate) async fn answer<R: Request>(&mut self, version: i16) -> Option<R::Response> {
        let api = ApiKey::try_from(R::KEY).expect("a known api");
        let frame = self.frame().await?;
        let (correlation_id, body) = decode_response_header(api, version, frame).expect("a response header");
        assert_eq!(correlation_id, self.correlation_id);
        Some(decode_body(version, body).expect("a whole response"))
    }

    /// `None` if the broker closed the connection.
    pub(crate) async fn frame(&mut self) -> Option<Bytes> {
        let decoder = FrameDecoder::new(100 << 20);
        loop {
            if let Some(frame) = decoder.decode(&mut self.buffer).expect("a frame") {
                return Some(frame);
            }
            match self.stream.read_buf(&mut self.buffer).await {
                Ok(0) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }

    /// Makes a topic with the default number of partitions by asking for it.
    pub(crate) async fn create(&mut self, topic: &str) -> MetadataResponse {
        let wanted = MetadataRequestTopic::default().with_name(Some(name(topic)));
        let request = MetadataRequest::default()
            .with_topics(Some(vec![wanted]))
            .with_allow_auto_topic_creation(true);
        self.ask(9, &request).await
    }

    pub(crate) async fn produce(&mut self, topic: &str, partition: i32, records: Bytes) -> PartitionProduceResponse {
        let mut response = self.ask(9, &produce_request(topic, partition, records)).await;
        response.responses.remove(0).partition_responses.remove(0)
    }

    /// One partition, from `offset` on, waiting at most `max_wait_ms` for a byte.
    pub(crate) async fn fetch(&mut self, topic: &str, partition: i32, offset: i64, max_wait_ms: i32) -> PartitionData {
        let mut response = self
            .ask(12, &fetch_request(topic, partition, offset, max_wait_ms))
            .await;
        response.responses.remove(0).partitions.remove(0)
    }
}

pub(crate) fn name(topic: &str) -> TopicName {
    TopicName(StrBytes::from_string(topic.to_owned()))
}

pub(crate) fn string(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

pub(crate) fn produce_request(topic: &str, partition: i32, records: Bytes) -> ProduceRequest {
    let data = PartitionProduceData::default()
        .with_index(partition)
        .with_records(Some(records));
    let topic = TopicProduceData::default()
        .with_name(name(topic))
        .with_partition_data(vec![data]);
    ProduceRequest::default()
        .with_acks(-1)
        .with_timeout_ms(1_000)
        .with_topic_data(vec![topic])
}

pub(crate) fn fetch_request(topic: &str, partition: i32, offset: i64, max_wait_ms: i32) -> FetchRequest {
    let wanted = FetchPartition::default()
        .with_partition(partition)
        .with_fetch_offset(offset)
        .with_partition_max_bytes(1 << 20);
    let topic = FetchTopic::default()
        .with_topic(name(topic))
        .with_partitions(vec![wanted]);
    FetchRequest::default()
        .with_max_wait_ms(max_wait_ms)
        .with_min_bytes(1)
        .with_max_bytes(1 << 20)
        .with_session_epoch(-1)
        .with_topics(vec![topic])
}

/// A batch with these values, timestamps 1,000, 1,001, ….
pub(crate) fn batch(values: &[&str]) -> Bytes {
    stamped_batch(values, ProducerStamp::NONE)
}

pub(crate) fn stamped_batch(values: &[&str], stamp: ProducerStamp) -> Bytes {
    let mut builder = BatchBuilder::with_capacity(1_000);
    for (timestamp, value) in (1_000..).zip(values) {
        builder
            .append(timestamp, None, Some(value.as_bytes()), [])
            .expect("room for a record");
    }
    let sealed = builder.seal(Compression::NONE, &mut Compressor::new(), Vec::new());
    sealed.expect("no compression cannot fail").stamp(stamp)
}

/// Offsets and values of all records.
pub(crate) fn read(records: Option<Bytes>) -> Vec<(i64, String)> {
    let mut read = Vec::new();
    let mut decompressor = engine_wire::compression::Decompressor::default();
    for batch in split_batches(records.unwrap_or_default()) {
        let batch = batch.expect("a batch");
        batch.verify_crc().expect("a right crc");
        for record in batch.records(&mut decompressor).expect("records") {
            let record = record.expect("a record");
            read.push((
                record.offset,
                String::from_utf8_lossy(record.value.unwrap_or_default()).into_owned(),
            ));
        }
    }
    read
}
