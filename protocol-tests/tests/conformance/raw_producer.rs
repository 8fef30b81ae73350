//! Sends batches exactly as it is told, sequences included, for what a correct producer never does.

use bytes::Bytes;
use engine_client::Codec;
use engine_wire::compression::{Compression, Compressor};
use engine_wire::error_code::ErrorCode;
use engine_wire::messages::{ApiKey, InitProducerIdRequest, ProduceResponse, ProducerId};
use engine_wire::produce::{ProducePartition, ProduceRequest, ProduceTopic, encode_produce_request};
use engine_wire::record_batch::{BatchBuilder, ProducerStamp};
use engine_wire::response::decode_body;

use crate::raw_connection::RawConnection;
use crate::scene::{Scene, create_time};

/// Names the topic by name, and every broker of the suite has it.
const PRODUCE_VERSION: i16 = 9;

/// An idempotent producer to partition 0 of one topic.
pub(crate) struct RawProducer {
    connection: RawConnection,
    topic: String,
    producer_id: i64,
    producer_epoch: i16,
}

impl RawProducer {
    pub(crate) async fn begin(scene: &Scene, topic: &str) -> Self {
        let leader = scene.leader_address(topic, 0).await;
        let mut connection = RawConnection::open(&leader).await;
        let init = InitProducerIdRequest::default()
            .with_transactional_id(None)
            .with_transaction_timeout_ms(60_000)
            .with_producer_id(ProducerId(-1))
            .with_producer_epoch(-1);
        let answer = loop {
            let answer = connection.ask(3, &init).await;
            match ErrorCode::from(answer.error_code) {
                code if code.is_ok() => break answer,
                code => assert!(code.is_retriable(), "InitProducerId: {code}"),
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        };
        Self {
            connection,
            topic: topic.to_owned(),
            producer_id: answer.producer_id.0,
            producer_epoch: answer.producer_epoch,
        }
    }

    /// These numbers as one batch that begins with this sequence. The broker's verdict and the base offset. Waits until the
    /// broker has heard that it leads the partition, as it was named by another one.
    pub(crate) async fn produce(&mut self, base_sequence: i32, numbers: &[u32]) -> (ErrorCode, i64) {
        loop {
            let answer = self.produce_once(base_sequence, numbers).await;
            let is_new_to_it = [ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, ErrorCode::NOT_LEADER_OR_FOLLOWER];
            if !is_new_to_it.contains(&answer.0) {
                return answer;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    }

    async fn produce_once(&mut self, base_sequence: i32, numbers: &[u32]) -> (ErrorCode, i64) {
        let records = self.batch(base_sequence, numbers);
        let topic = self.topic.clone();
        let request = ProduceRequest {
            transactional_id: None,
            acks: -1,
            timeout_ms: 10_000,
            topics: vec![ProduceTopic {
                name: &topic,
                topic_id: [0; 16],
                partitions: vec![ProducePartition { index: 0, records }],
            }],
        };
        let correlation_id = self.connection.next_correlation_id();
        let segments = encode_produce_request(PRODUCE_VERSION, correlation_id, Some("raw"), &request);
        let frame = segments.expect("encodes").concat();
        let body = self
            .connection
            .exchange(ApiKey::Produce as i16, PRODUCE_VERSION, &frame)
            .await;
        let answer: ProduceResponse = decode_body(PRODUCE_VERSION, body).expect("a whole response");
        let partition = &answer.responses[0].partition_responses[0];
        (ErrorCode::from(partition.error_code), partition.base_offset)
    }

    fn batch(&self, base_sequence: i32, numbers: &[u32]) -> Bytes {
        let mut builder = BatchBuilder::with_capacity(1_000);
        for number in numbers {
            let value = number.to_string();
            let appended = builder.append(create_time(), None, Some(value.as_bytes()), []);
            appended.expect("room");
        }
        let compression = Compression {
            codec: Codec::None,
            level: None,
        };
        let sealed = builder.seal(compression, &mut Compressor::new(), Vec::new());
        sealed.expect("needs no codec").stamp(ProducerStamp {
            producer_id: self.producer_id,
            producer_epoch: self.producer_epoch,
            base_sequence,
            is_transactional: false,
        })
    }
}

impl Scene {
    /// `host:port` of the broker that leads the partition, once there is one.
    pub(crate) async fn leader_address(&self, topic: &str, partition: usize) -> String {
        let admin = self.admin().await;
        loop {
            let described = admin.describe_topics(&[topic]).await.expect("answers").remove(0).1;
            let leader = described.ok().and_then(|topic| topic.partitions.get(partition)?.leader);
            let brokers = &self.facts.cluster.brokers;
            if let Some(broker) = leader.and_then(|leader| brokers.iter().find(|it| it.node_id == leader)) {
                return format!("{}:{}", broker.host, broker.port);
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    }
}
