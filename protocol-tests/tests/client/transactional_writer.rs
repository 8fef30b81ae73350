//! A transactional producer of raw requests, in the protocol from before KIP-890 (which newer brokers still speak).

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use bytes::Bytes;
use engine_client::Codec;
use engine_wire::compression::{Compression, Compressor};
use engine_wire::error_code::ErrorCode;
use engine_wire::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use engine_wire::messages::{
    AddPartitionsToTxnRequest, ApiKey, Decodable, DescribeTransactionsRequest, EndTxnRequest, FindCoordinatorRequest,
    HeaderVersion, InitProducerIdRequest, ProduceResponse, ProducerId, Request, StrBytes, TopicName, TransactionalId,
};
use engine_wire::produce::{ProducePartition, ProduceRequest, ProduceTopic, encode_produce_request};
use engine_wire::record_batch::{BatchBuilder, ProducerStamp};
use engine_wire::request::encode_request;
use engine_wire::response::{decode_body, decode_response_header};

use crate::scene::Scene;

const PRODUCE_VERSION: i16 = 9;
const TRANSACTION: i8 = 1;

/// A coordinator is found and loads within this.
const PATIENCE: Duration = Duration::from_secs(30);

/// Writes to partition 0 of a scene's topic. Everything it does blocks, and fails the test if refused.
pub(crate) struct TransactionalWriter {
    stream: TcpStream,
    correlation_id: i32,
    topic: String,
    transactional_id: String,
    producer_id: i64,
    producer_epoch: i16,
    next_sequence: i32,
}

impl TransactionalWriter {
    /// Connects and takes a producer id for the transactional id, which is the topic's own.
    pub(crate) fn begin(scene: &Scene, name: &str) -> Self {
        let stream = TcpStream::connect(&scene.bootstrap).expect("the broker listens");
        stream.set_nodelay(true).expect("a socket option");
        let mut writer = Self {
            stream,
            correlation_id: 0,
            topic: scene.topic.clone(),
            transactional_id: format!("{}-{name}", scene.topic),
            producer_id: -1,
            producer_epoch: -1,
            next_sequence: 0,
        };
        let find = FindCoordinatorRequest::default()
            .with_key(StrBytes::from_string(writer.transactional_id.clone()))
            .with_key_type(TRANSACTION);
        writer.until_ready("FindCoordinator", |writer| writer.ask(2, &find).error_code);
        let init = InitProducerIdRequest::default()
            .with_transactional_id(Some(writer.transactional_id()))
            .with_transaction_timeout_ms(60_000)
            .with_producer_id(ProducerId(-1))
            .with_producer_epoch(-1);
        writer.until_ready("InitProducerId", |writer| {
            let answer = writer.ask(3, &init);
            (writer.producer_id, writer.producer_epoch) = (answer.producer_id.0, answer.producer_epoch);
            answer.error_code
        });
        writer
    }

    /// The partition joins the transaction, which this begins.
    pub(crate) fn add_partition(&mut self) {
        let topic = AddPartitionsToTxnTopic::default()
            .with_name(TopicName(StrBytes::from_string(self.topic.clone())))
            .with_partitions(vec![0]);
        let add = AddPartitionsToTxnRequest::default()
            .with_v3_and_below_transactional_id(self.transactional_id())
            .with_v3_and_below_producer_id(ProducerId(self.producer_id))
            .with_v3_and_below_producer_epoch(self.producer_epoch)
            .with_v3_and_below_topics(vec![topic]);
        // The markers of the transaction before may still be on their way.
        self.until_ready("AddPartitionsToTxn", |writer| {
            let answer = writer.ask(3, &add);
            answer.results_by_topic_v3_and_below[0].results_by_partition[0].partition_error_code
        });
    }

    /// One transactional batch of these numbers as values.
    pub(crate) fn produce(&mut self, codec: Codec, values: &[u32]) {
        let mut builder = BatchBuilder::with_capacity(1_000);
        for value in values {
            let value = value.to_string();
            let appended = builder.append(1_700_000_000_000, None, Some(value.as_bytes()), []);
            appended.expect("room");
        }
        let compression = Compression { codec, level: None };
        let sealed = builder.seal(compression, &mut Compressor::new(), Vec::new());
        let records = sealed.expect("compresses").stamp(ProducerStamp {
            producer_id: self.producer_id,
            producer_epoch: self.producer_epoch,
            base_sequence: self.next_sequence,
            is_transactional: true,
        });
        self.next_sequence += values.len() as i32;
        let (topic, transactional_id) = (self.topic.clone(), self.transactional_id.clone());
        let request = ProduceRequest {
            transactional_id: Some(&transactional_id),
            acks: -1,
            timeout_ms: 10_000,
            topics: vec![ProduceTopic {
                name: &topic,
                topic_id: [0; 16],
                partitions: vec![ProducePartition { index: 0, records }],
            }],
        };
        // A topic that is new may not have its leader yet.
        self.until_ready("Produce", |writer| {
            writer.correlation_id += 1;
            let segments = encode_produce_request(PRODUCE_VERSION, writer.correlation_id, Some("raw"), &request);
            let frame = segments.expect("encodes").concat();
            let answer: ProduceResponse = writer.exchange(ApiKey::Produce, PRODUCE_VERSION, &frame);
            answer.responses[0].partition_responses[0].error_code
        });
    }

    /// Ends the transaction, and waits until its marker is in the partition.
    pub(crate) fn end(&mut self, is_committed: bool) {
        let end = EndTxnRequest::default()
            .with_transactional_id(self.transactional_id())
            .with_producer_id(ProducerId(self.producer_id))
            .with_producer_epoch(self.producer_epoch)
            .with_committed(is_committed);
        self.until_ready("EndTxn", |writer| writer.ask(3, &end).error_code);
        // That is answered before the markers are written.
        let describe = DescribeTransactionsRequest::default().with_transactional_ids(vec![self.transactional_id()]);
        self.until_ready("DescribeTransactions", |writer| {
            let answer = writer.ask(0, &describe);
            let state = &answer.transaction_states[0];
            match state.transaction_state.as_str() {
                "PrepareCommit" | "PrepareAbort" => ErrorCode::CONCURRENT_TRANSACTIONS.code(),
                _ => state.error_code,
            }
        });
    }

    fn transactional_id(&self) -> TransactionalId {
        TransactionalId(StrBytes::from_string(self.transactional_id.clone()))
    }

    fn until_ready(&mut self, operation: &str, mut ask: impl FnMut(&mut Self) -> i16) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let code = ErrorCode::from(ask(self));
            if code.is_ok() {
                return;
            }
            let may_wait = code.is_retriable() || code == ErrorCode::CONCURRENT_TRANSACTIONS;
            assert!(may_wait && Instant::now() < deadline, "{operation}: {code}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn ask<R: Request>(&mut self, version: i16, request: &R) -> R::Response {
        self.correlation_id += 1;
        let frame = encode_request(version, self.correlation_id, Some("raw"), request).expect("encodes");
        let api_key = ApiKey::try_from(R::KEY).expect("a known key");
        self.exchange(api_key, version, &frame)
    }

    fn exchange<T: Decodable + HeaderVersion>(&mut self, api_key: ApiKey, version: i16, frame: &[u8]) -> T {
        self.stream.write_all(frame).expect("the broker reads");
        let mut size = [0; 4];
        self.stream.read_exact(&mut size).expect("the broker answers");
        let mut answer = vec![0; u32::from_be_bytes(size) as usize];
        self.stream.read_exact(&mut answer).expect("the broker answers");
        let (correlation_id, body) =
            decode_response_header(api_key, version, Bytes::from(answer)).expect("a response header");
        assert_eq!(correlation_id, self.correlation_id);
        decode_body(version, body).expect("a whole response")
    }
}
