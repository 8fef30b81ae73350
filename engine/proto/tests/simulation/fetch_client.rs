//! A fetcher with what the driver of the real client does for it.
//!
//! Never here: what is done with what was fetched.

use std::collections::HashMap;
use std::time::Instant;

use engine_proto::TopicPartition;
use engine_proto::backoff::BackoffPolicy;
use engine_proto::cluster::ClusterMetadata;
use engine_proto::fetch::fetcher::{FetchConfig, Fetcher};
use engine_proto::fetch::lookup::{Found, Lookup};
use engine_proto::fetch::partition::{Fetched, PartitionLeader};
use engine_proto::fetch::plan::FetchPlan;
use engine_proto::fetch::position::OffsetReset;
use engine_wire::compression::{DecodeLimits, Decompressor};

use crate::cluster::{Cluster, NODES};
use crate::network::{Line, MS};
use crate::requests::{Answer, Request};

pub(crate) fn config() -> FetchConfig {
    FetchConfig {
        read_committed: true,
        offset_reset: OffsetReset::None,
        fetch_bytes_min: 1,
        fetch_bytes_max: 1 << 20,
        partition_bytes_max: 1 << 16,
        fetch_wait_max: 500 * MS,
        prefetch_bytes_max: 4_000,
        rack_id: None,
        read_replica_age_max: 300 * MS,
        backoff: BackoffPolicy {
            initial: 10 * MS,
            max: 100 * MS,
        },
    }
}

pub(crate) struct FetchClient {
    pub(crate) client: usize,
    pub(crate) fetcher: Fetcher,
    /// The newest version of Fetch that the nodes speak.
    version_max: i16,
    metadata: ClusterMetadata,
    in_flight: HashMap<u64, Sent>,
    asks_metadata: bool,
}

enum Sent {
    Metadata,
    Fetch { plan: FetchPlan, version: i16 },
    Lookup(Lookup),
}

impl FetchClient {
    pub(crate) fn new(client: usize, config: FetchConfig, version_max: i16, seed: u64) -> Self {
        Self {
            client,
            fetcher: Fetcher::new(config, seed),
            version_max,
            metadata: ClusterMetadata::default(),
            in_flight: HashMap::new(),
            asks_metadata: true,
        }
    }

    /// Sends what there is to send.
    pub(crate) fn drive(&mut self, cluster: &mut Cluster) {
        let now = cluster.now();
        let mut lookups = self.fetcher.poll_lookups(now);
        lookups.sort_by(|a, b| a.tp.cmp(&b.tp)); // They come in no order, and a seed must be replayed.
        for lookup in lookups {
            match self.metadata.leader_for(&lookup.tp.topic, lookup.tp.partition) {
                Some(leader) => {
                    let line = self.line(leader.node_id);
                    let id = cluster.network.send(line, Request::Lookup(lookup.clone()));
                    self.in_flight.insert(id, Sent::Lookup(lookup));
                }
                None => self.fetcher.handle_found(now, &lookup, Found::Retry),
            }
        }
        while let Some(plan) = self.fetcher.poll_fetch(now) {
            let version = plan.version_within(self.version_max);
            let request = Request::Fetch {
                plan: plan.clone(),
                version,
            };
            let id = cluster.network.send(self.line(plan.node_id), request);
            self.in_flight.insert(id, Sent::Fetch { plan, version });
        }
        self.asks_metadata |= self.fetcher.poll_metadata_wanted();
        if self.asks_metadata && !self.in_flight.values().any(|sent| matches!(sent, Sent::Metadata)) {
            self.asks_metadata = false;
            let line = self.line(cluster.rng().i32(0..NODES));
            let id = cluster.network.send(line, Request::Metadata);
            self.in_flight.insert(id, Sent::Metadata);
        }
    }

    /// Whether the request is one of its own.
    pub(crate) fn awaits(&self, id: u64) -> bool {
        self.in_flight.contains_key(&id)
    }

    /// When to drive it again if nothing is heard before.
    pub(crate) fn deadline(&self, now: Instant) -> Option<Instant> {
        let deadline = self.fetcher.poll_timeout();
        deadline.map(|deadline| deadline.max(now + MS / 10))
    }

    pub(crate) fn handle_answer(&mut self, cluster: &Cluster, id: u64, answer: Answer) {
        let now = cluster.now();
        let sent = self.in_flight.remove(&id);
        match (answer, sent.expect("each request ends once")) {
            (Answer::Metadata(response), Sent::Metadata) => {
                self.metadata.apply(&response);
                let metadata = &self.metadata;
                self.fetcher.handle_leaders(|tp| leader_of(metadata, tp));
            }
            (Answer::Fetched(response), Sent::Fetch { plan, version }) => {
                self.fetcher.handle_fetch(now, &plan, version, response);
            }
            (Answer::Found(found), Sent::Lookup(lookup)) => self.fetcher.handle_found(now, &lookup, found),
            (answer, _) => panic!("{answer:?} answers another request"),
        }
    }

    pub(crate) fn handle_lost(&mut self, cluster: &Cluster, id: u64) {
        let now = cluster.now();
        match self.in_flight.remove(&id).expect("each request ends once") {
            Sent::Metadata => self.asks_metadata = true,
            Sent::Fetch { plan, .. } => self.fetcher.handle_fetch_failed(now, &plan),
            Sent::Lookup(lookup) => self.fetcher.handle_found(now, &lookup, Found::Retry),
        }
    }

    fn line(&self, node_id: i32) -> Line {
        Line {
            client: self.client,
            node_id,
        }
    }
}

/// The records that the application gets: offset, number and its batch's leader epoch.
pub(crate) fn records(fetched: &Fetched) -> Vec<(i64, u64, i32)> {
    let mut decompressor = Decompressor::new(DecodeLimits::default());
    let mut found = Vec::new();
    for batch in &fetched.batches {
        let epoch = batch.header.partition_leader_epoch;
        for record in batch.records(&mut decompressor).expect("a known codec") {
            let record = record.expect("a whole record");
            let value = record
                .value
                .and_then(<[u8]>::first_chunk)
                .expect("every value is there");
            if record.offset >= fetched.first_offset {
                found.push((record.offset, u64::from_be_bytes(*value), epoch));
            }
        }
    }
    found
}

fn leader_of(metadata: &ClusterMetadata, tp: &TopicPartition) -> Option<PartitionLeader> {
    let topic = metadata.topic(&tp.topic)?;
    let partition = topic.partitions.get(tp.partition as usize)?;
    Some(PartitionLeader {
        node_id: metadata
            .leader_for(&tp.topic, tp.partition)
            .map(|leader| leader.node_id),
        leader_epoch: partition.leader_epoch,
        topic_id: topic.topic_id,
    })
}
