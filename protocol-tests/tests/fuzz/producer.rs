//! Answers to Produce requests, as odd as can be, into the producer's machine.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use engine_proto::backoff::BackoffPolicy;
use engine_proto::cluster::ClusterMetadata;
use engine_proto::producer::{
    PartitionAnswer, ProducerMachine, ProducerOptions, RequestOutcome, RequestPlan, TopicRecord,
};
use engine_proto::sequence::ProducerIdentity;
use engine_wire::compression::{Codec, Compressor};
use engine_wire::error_code::ErrorCode;
use protocol_tests::fuzzing::{Source, fuzz};

use super::{alone, metadata};

pub(crate) fn options(source: &mut Source<'_>) -> ProducerOptions {
    ProducerOptions {
        is_idempotent: true,
        linger: Duration::from_millis(5),
        batch_bytes_max: 200,
        buffer_bytes_max: 4_000,
        request_bytes_max: 700,
        in_flight_max: source.below(5) + 1,
        delivery_timeout: Duration::from_secs(10),
        retries: u32::MAX,
        retry_backoff: BackoffPolicy {
            initial: Duration::from_millis(10),
            max: Duration::from_millis(100),
        },
        ignores_keys: source.once_in(4),
        is_adaptive: !source.once_in(4),
        availability_timeout: Duration::from_millis(u64::from(source.byte())),
    }
}

/// A machine, what it was given, and what it told.
pub(crate) struct Scene {
    pub(crate) machine: ProducerMachine<u64>,
    pub(crate) now: Instant,
    metadata: ClusterMetadata,
    outstanding: Vec<RequestPlan>,
    /// By token: records that were appended, and those whose end was told.
    records: HashMap<u64, (u32, u32)>,
    next_token: u64,
    pub(crate) outcome: String,
}

impl Scene {
    pub(crate) fn new(machine: ProducerMachine<u64>) -> Self {
        let mut scene = Self {
            machine,
            now: Instant::now(),
            metadata: ClusterMetadata::default(),
            outstanding: Vec::new(),
            records: HashMap::new(),
            next_token: 0,
            outcome: String::new(),
        };
        scene.take_metadata(&mut Source::new(HONEST_METADATA));
        scene
    }

    fn take_metadata(&mut self, source: &mut Source<'_>) {
        self.metadata.apply(&metadata::answer(source));
        self.machine.handle_metadata(&self.metadata);
    }

    pub(crate) fn append(&mut self, source: &mut Source<'_>) {
        let Some(topic_index) = self.machine.topic_index(source.pick(&metadata::TOPICS)) else {
            return;
        };
        let (token, now) = (self.next_token, self.now);
        let value = source.bytes();
        let record = TopicRecord {
            partition: source.once_in(4).then(|| source.int32()),
            timestamp: source.once_in(4).then(|| source.int64()),
            key: source.once_in(2).then_some(value),
            value: Some(value),
            ..TopicRecord::default()
        };
        match self
            .machine
            .append(topic_index, &record, || (now, 1_700_000_000_000, token))
        {
            Ok(appended) => {
                let token = *appended.token;
                let (appended_count, _) = self.records.entry(token).or_default();
                assert_eq!(appended.record, *appended_count, "records of a token are counted");
                *appended_count += 1;
                self.next_token = self.next_token.max(token + 1);
            }
            Err(error) => self.outcome += &error.to_string(),
        }
    }

    /// One thing that happens between a producer and its brokers.
    pub(crate) fn step(&mut self, source: &mut Source<'_>) {
        match source.below(10) {
            0..=2 => self.append(source),
            3 => {
                while let Some(job) = self.machine.poll_seal() {
                    let codec = if source.once_in(2) { Codec::Lz4 } else { Codec::None };
                    let done = job.run(codec.into(), &mut Compressor::new());
                    self.machine.handle_sealed(done);
                }
            }
            4 | 5 => {
                let unreachable = source.below(4) as i32;
                let plan = self.machine.poll_request(self.now, |node_id| node_id != unreachable);
                self.outstanding.extend(plan);
            }
            6 | 7 => self.answer(source),
            8 => {
                self.now += Duration::from_millis(u64::from(source.byte()) * 20);
                self.machine.handle_timeout(self.now);
            }
            _ => match source.below(6) {
                0 => self.take_metadata(source),
                1 => self.machine.handle_unreachable(source.int32(), &"gone".into()),
                2 => _ = self.machine.flush(),
                _ if self.machine.needs_producer_id() => self.machine.handle_producer_id(ProducerIdentity {
                    producer_id: source.int64(),
                    producer_epoch: source.int32() as i16,
                }),
                _ => {}
            },
        }
        self.listen();
    }

    fn answer(&mut self, source: &mut Source<'_>) {
        if self.outstanding.is_empty() {
            return;
        }
        let plan = self.outstanding.remove(source.below(self.outstanding.len().min(200)));
        let outcome = match source.below(8) {
            0 => RequestOutcome::Lost("cut".into()),
            1 => RequestOutcome::Written,
            2 if source.once_in(4) => RequestOutcome::Impossible("no".into()),
            _ => {
                let mut answers: Vec<PartitionAnswer> = Vec::new();
                for batch in &plan.batches {
                    for _ in 0..source.pick(&[1, 1, 1, 1, 1, 0, 2]) {
                        answers.push(PartitionAnswer {
                            topic: Arc::clone(&batch.topic),
                            partition: batch.partition,
                            code: ErrorCode::from(source.error_code()),
                            base_offset: source.int64(),
                            log_append_time_ms: source.once_in(4).then(|| source.int64()),
                            message: source.once_in(4).then(|| "because".into()),
                        });
                    }
                }
                RequestOutcome::Answered(answers)
            }
        };
        let throttle = Duration::from_millis(u64::try_from(source.int32()).unwrap_or(0));
        self.machine
            .handle_outcome(self.now, plan.request_id, outcome.clone(), throttle);
        if source.once_in(10) {
            self.machine
                .handle_outcome(self.now, plan.request_id, outcome, throttle); // Told twice.
        }
    }

    fn listen(&mut self) {
        while let Some(told) = self.machine.poll_outcome() {
            let (appended, ended) = self.records.get_mut(&told.token).expect("a token of ours");
            *ended += told.record_count;
            assert!(
                *ended <= *appended,
                "token {}: {ended} ends of {appended} records",
                told.token
            );
            match &told.result {
                Ok(delivered) => self.outcome += &format!("{}", delivered.base_offset.is_some()),
                Err(error) => self.outcome += &error.to_string(),
            }
        }
        let stats = self.machine.stats();
        // A batch that is split for being too large is charged as two that are not compressed.
        assert!(stats.buffered_bytes <= 2 * stats.buffer_bytes_max, "{stats:?}");
        let _ = (
            self.machine.poll_deadline(self.now),
            self.machine.poll_metadata_wanted(),
        );
    }

    /// Gives up; then every record's end was told, once.
    pub(crate) fn end(mut self) -> String {
        self.machine.abort(&"the end".into());
        self.listen();
        for (token, (appended, ended)) in &self.records {
            assert_eq!(appended, ended, "token {token}: records and their ends");
        }
        assert_eq!(self.machine.stats().buffered_bytes, 0);
        self.outcome
    }
}

/// Decisions for an answer with three brokers, and three partitions of the first topic.
const HONEST_METADATA: &[u8] = &[
    3, 1, 0, 0, 2, 0, 1, 3, 0, 2, 1, 3, 0, 1, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 0, 1, 0,
];

#[test]
fn produce_answers() {
    let _alone = alone();
    let examples = vec![[0, 3, 4, 6, 9].repeat(60), vec![0; 100], (0..=255).collect()];
    fuzz("produce_answers", examples, 10_000, |input| {
        let mut source = Source::new(input);
        let options = options(&mut source);
        let mut scene = Scene::new(ProducerMachine::new(options, 1));
        while !source.is_used_up() {
            scene.step(&mut source);
        }
        scene.end()
    });
}
