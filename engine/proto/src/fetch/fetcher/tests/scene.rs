//! A fetcher, its clock, and answers as a test wants them.

use std::time::{Duration, Instant};

use bytes::Bytes;
use engine_wire::error_code::ErrorCode;
use engine_wire::messages::fetch_response::{FetchableTopicResponse, PartitionData};
use engine_wire::messages::{FetchResponse, TopicName};
use uuid::Uuid;

use crate::backoff::BackoffPolicy;
use crate::fetch::fetcher::{FetchConfig, Fetcher};
use crate::fetch::partition::{Fetched, PartitionLeader, Phase};
use crate::fetch::plan::FetchPlan;
use crate::fetch::position::{FetchError, OffsetReset, StartAt};
use crate::topic_partition::TopicPartition;

pub(super) const TOPIC_ID: Uuid = Uuid::from_u128(7);

pub(super) const VERSION: i16 = 12;

pub(super) fn config() -> FetchConfig {
    FetchConfig {
        read_committed: false,
        offset_reset: OffsetReset::None,
        fetch_bytes_min: 1,
        fetch_bytes_max: 1 << 20,
        partition_bytes_max: 1 << 16,
        fetch_wait_max: Duration::from_millis(500),
        prefetch_bytes_max: 1 << 20,
        rack_id: None,
        read_replica_age_max: Duration::from_secs(300),
        backoff: BackoffPolicy {
            initial: Duration::from_millis(100),
            max: Duration::from_secs(1),
        },
    }
}

pub(super) fn tp(partition: i32) -> TopicPartition {
    TopicPartition::new("t", partition)
}

pub(super) fn leader(node_id: i32, leader_epoch: i32) -> PartitionLeader {
    PartitionLeader {
        node_id: Some(node_id),
        leader_epoch,
        topic_id: Some(TOPIC_ID),
    }
}

pub(super) fn data(partition: i32, batches: &[Bytes]) -> PartitionData {
    PartitionData::default()
        .with_partition_index(partition)
        .with_high_watermark(1000)
        .with_last_stable_offset(1000)
        .with_records(Some(batches.concat().into()))
}

pub(super) fn response(partitions: Vec<PartitionData>) -> FetchResponse {
    let topic = FetchableTopicResponse::default()
        .with_topic(TopicName("t".into()))
        .with_topic_id(TOPIC_ID)
        .with_partitions(partitions);
    FetchResponse::default().with_responses(vec![topic])
}

pub(super) struct Scene {
    pub(super) fetcher: Fetcher,
    pub(super) now: Instant,
}

impl Scene {
    /// Partition 0 at offset 10, led by broker 1 in epoch 3.
    pub(super) fn with(config: FetchConfig) -> Scene {
        let mut fetcher = Fetcher::new(config, 1);
        fetcher.assign([tp(0)]);
        fetcher.handle_leaders(|_| Some(leader(1, 3)));
        let mut scene = Scene {
            fetcher,
            now: start_of_time(),
        };
        scene.start(10);
        scene
    }

    pub(super) fn new() -> Scene {
        Scene::with(config())
    }

    pub(super) fn reading_committed() -> Scene {
        Scene::with(FetchConfig {
            read_committed: true,
            ..config()
        })
    }

    pub(super) fn start(&mut self, offset: i64) {
        assert!(self.fetcher.start(
            &tp(0),
            StartAt::Offset {
                offset,
                leader_epoch: None
            }
        ));
    }

    pub(super) fn plan(&mut self) -> FetchPlan {
        self.fetcher.poll_fetch(self.now).expect("a fetch to send")
    }

    pub(super) fn answer(&mut self, plan: &FetchPlan, data: PartitionData) {
        self.fetcher.handle_fetch(self.now, plan, VERSION, response(vec![data]));
    }

    pub(super) fn fetch(&mut self, batches: &[Bytes]) {
        let plan = self.plan();
        self.answer(&plan, data(0, batches));
    }

    pub(super) fn fetched(&mut self) -> Fetched {
        self.fetcher
            .poll_fetched()
            .expect("something is ready")
            .expect("and no error")
    }

    pub(super) fn error(&mut self) -> FetchError {
        self.fetcher
            .poll_fetched()
            .expect("something is ready")
            .expect_err("an error")
    }

    pub(super) fn offset(&self) -> i64 {
        match self.fetcher.partitions[&tp(0)].phase {
            Phase::Fetching { position } => position.offset,
            phase => panic!("not fetching but {phase:?}"),
        }
    }

    pub(super) fn refuse(&mut self, code: ErrorCode) {
        let plan = self.plan();
        self.answer(&plan, data(0, &[]).with_error_code(code.code()));
    }
}

pub(super) fn offsets(fetched: &Fetched) -> Vec<(i64, i64)> {
    fetched
        .batches
        .iter()
        .map(|b| (b.header.base_offset, b.header.last_offset()))
        .collect()
}

#[expect(
    clippy::disallowed_methods,
    reason = "an origin for the virtual clock; only differences matter"
)]
pub(super) fn start_of_time() -> Instant {
    Instant::now()
}
