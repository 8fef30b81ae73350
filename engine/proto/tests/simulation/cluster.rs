//! Three nodes behind a network: who is up, who leads, and what happens to them.
//!
//! Never here: what a request does (see `requests`), clients.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use engine_proto::TopicPartition;
use engine_wire::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use engine_wire::messages::{BrokerId, MetadataResponse, StrBytes, TopicName};
use fastrand::Rng;
use uuid::Uuid;

use crate::fetch_sessions::FetchSessions;
use crate::network::{Delivery, Line, MS, Network, Weather};
use crate::partition::Partition;
use crate::requests::{Answer, PendingProduce, Request};
use crate::transaction_coordinator::{Marker, TransactionCoordinator};

pub(crate) const NODES: i32 = 3;

/// What happens by itself.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Happening {
    Replicate {
        partition: usize,
    },
    Marker {
        coordinator: usize,
        marker: Marker,
    },
    MoveLeader,
    Restart,
    Return {
        node_id: i32,
    },
    Lag,
    Unclean,
    Compact,
    EvictSessions,
    /// Somebody wants to be asked again.
    Wake,
}

/// What befalls the cluster besides the network.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Trouble {
    /// How likely a request is refused for a while.
    pub(crate) refused: f64,
    pub(crate) leader_moves: bool,
    pub(crate) restarts: bool,
    /// Followers stop copying, and are elected all the same.
    pub(crate) unclean: bool,
    pub(crate) compaction: bool,
    pub(crate) throttles: bool,
    pub(crate) evicts_sessions: bool,
    /// `max.message.bytes`.
    pub(crate) message_bytes_max: Option<usize>,
}

pub(crate) struct Topic {
    pub(crate) name: Arc<str>,
    pub(crate) id: Uuid,
    first: usize,
    count: usize,
}

pub(crate) struct Cluster {
    pub(crate) network: Network<Request, Answer, Happening>,
    pub(crate) trouble: Trouble,
    pub(crate) topics: Vec<Topic>,
    /// Of all topics, one behind the other.
    pub(crate) partitions: Vec<Partition>,
    pub(crate) coordinators: Vec<TransactionCoordinator>,
    pub(crate) sessions: Vec<FetchSessions>,
    pub(crate) pending: Vec<PendingProduce>,
    /// Markers that are not everywhere yet: coordinator, marker, leader epoch and end offset.
    pub(crate) markers: Vec<(usize, Marker, i32, i64)>,
    /// A node whose view of the cluster lags behind answers with this.
    pub(crate) stale_metadata: Option<MetadataResponse>,
    down: Vec<i32>,
    pub(crate) next_producer_id: i64,
    /// Counts what happened, by name.
    pub(crate) happened: BTreeMap<&'static str, u64>,
}

/// What a client hears.
pub(crate) enum Heard {
    Answer { id: u64, line: Line, answer: Answer },
    Lost { id: u64, line: Line },
}

impl Cluster {
    pub(crate) fn new(seed: u64, weather: Weather, trouble: Trouble, topics: &[(&str, usize)]) -> Self {
        let mut partitions = Vec::new();
        let mut described = Vec::new();
        for (number, (name, count)) in topics.iter().enumerate() {
            described.push(Topic {
                name: (*name).into(),
                id: Uuid::from_u128(number as u128 + 1),
                first: partitions.len(),
                count: *count,
            });
            partitions.extend((0..*count).map(|partition| Partition::new(partition as i32 % NODES)));
        }
        let mut cluster = Self {
            network: Network::new(seed, weather),
            trouble,
            topics: described,
            partitions,
            coordinators: Vec::new(),
            sessions: (0..NODES).map(|_| FetchSessions::default()).collect(),
            pending: Vec::new(),
            markers: Vec::new(),
            stale_metadata: None,
            down: Vec::new(),
            next_producer_id: 7,
            happened: BTreeMap::new(),
        };
        cluster.begin_trouble();
        cluster
    }

    pub(crate) fn now(&self) -> Instant {
        self.network.now
    }

    pub(crate) fn rng(&mut self) -> &mut Rng {
        &mut self.network.rng
    }

    pub(crate) fn place(&self, tp: &TopicPartition) -> usize {
        let topic = self.topic(&tp.topic);
        assert!((tp.partition as usize) < topic.count, "{tp} is not there");
        topic.first + tp.partition as usize
    }

    pub(crate) fn partition(&self, tp: &TopicPartition) -> &Partition {
        &self.partitions[self.place(tp)]
    }

    pub(crate) fn topic_name(&self, topic_id: Uuid) -> Arc<str> {
        let topic = self.topics.iter().find(|topic| topic.id == topic_id);
        Arc::clone(&topic.expect("clients ask for topics that there are").name)
    }

    pub(crate) fn topic(&self, name: &str) -> &Topic {
        let topic = self.topics.iter().find(|topic| &*topic.name == name);
        topic.expect("clients ask for topics that there are")
    }

    pub(crate) fn is_up(&self, node_id: i32) -> bool {
        !self.down.contains(&node_id)
    }

    /// Nothing bad happens any more, and everybody comes back.
    pub(crate) fn calm_down(&mut self) {
        self.network.weather.cut = 0.0;
        self.network.weather.silent = 0.0;
        self.trouble = Trouble {
            message_bytes_max: self.trouble.message_bytes_max,
            ..Trouble::default()
        };
        self.stale_metadata = None;
        self.down.clear();
        for partition in 0..self.partitions.len() {
            self.partitions[partition].lagging = None;
            self.elect(partition, false);
            self.network.schedule(MS, Happening::Replicate { partition });
        }
    }

    /// Lets the next thing happen, until a client hears something or `deadline` passes.
    pub(crate) fn next(&mut self, deadline: Option<Instant>) -> Option<Heard> {
        loop {
            match self.network.next(deadline)? {
                Delivery::Request { id, line, request } if self.is_up(line.node_id) => self.handle(id, line, request),
                Delivery::Request { line, .. } => self.network.cut(line),
                Delivery::Answer { id, line, answer } => return Some(Heard::Answer { id, line, answer }),
                Delivery::Lost { id, line } => {
                    self.count("lost requests");
                    return Some(Heard::Lost { id, line });
                }
                Delivery::Timer(Happening::Wake) => return None,
                Delivery::Timer(happening) => self.happen(happening),
            }
        }
    }

    pub(crate) fn count(&mut self, what: &'static str) {
        *self.happened.entry(what).or_default() += 1;
    }

    /// The cluster as its controller sees it.
    pub(crate) fn metadata(&self) -> MetadataResponse {
        let up = (0..NODES).filter(|node_id| self.is_up(*node_id));
        let brokers = up.map(|node_id| {
            MetadataResponseBroker::default()
                .with_node_id(BrokerId(node_id))
                .with_host(StrBytes::from_static_str("localhost"))
                .with_port(9_000 + node_id)
        });
        let topics = self.topics.iter().map(|topic| {
            let partitions = &self.partitions[topic.first..][..topic.count];
            let partitions = partitions.iter().enumerate().map(|(index, partition)| {
                MetadataResponsePartition::default()
                    .with_partition_index(index as i32)
                    .with_leader_id(BrokerId(partition.leader.unwrap_or(-1)))
                    .with_leader_epoch(partition.leader_epoch)
            });
            MetadataResponseTopic::default()
                .with_name(Some(TopicName(StrBytes::from_string(topic.name.to_string()))))
                .with_topic_id(topic.id)
                .with_partitions(partitions.collect())
        });
        MetadataResponse::default()
            .with_brokers(brokers.collect())
            .with_topics(topics.collect())
    }

    /// Followers copy, and whoever waited for that is answered.
    pub(crate) fn replicate(&mut self, partition: usize) {
        self.partitions[partition].replicate(&mut self.network.rng);
        self.settle();
    }

    fn begin_trouble(&mut self) {
        let Trouble {
            leader_moves,
            restarts,
            unclean,
            compaction,
            evicts_sessions,
            ..
        } = self.trouble;
        for (is_on, happening) in [
            (leader_moves, Happening::MoveLeader),
            (restarts, Happening::Restart),
            (unclean, Happening::Lag),
            (unclean, Happening::Unclean),
            (compaction, Happening::Compact),
            (evicts_sessions, Happening::EvictSessions),
        ] {
            if is_on {
                self.again(happening);
            }
        }
    }

    fn again(&mut self, happening: Happening) {
        let after = Duration::from_millis(self.rng().u64(20..250));
        self.network.schedule(after, happening);
    }

    fn happen(&mut self, happening: Happening) {
        let partition = self.network.rng.usize(0..self.partitions.len());
        let trouble = self.trouble;
        match happening {
            Happening::Replicate { partition } => {
                self.replicate(partition);
                let partition = &self.partitions[partition];
                if partition.leader.is_some() && partition.high_watermark < partition.log().end_offset() {
                    self.network.schedule(20 * MS, happening);
                }
            }
            Happening::Marker { coordinator, marker } => self.write_marker(coordinator, marker),
            Happening::MoveLeader if trouble.leader_moves => {
                self.remember_metadata();
                self.elect(partition, false);
                self.count("leader moves");
                self.again(happening);
            }
            Happening::Restart if trouble.restarts => {
                let node_id = self.rng().i32(0..NODES);
                if self.down.is_empty() {
                    self.stop(node_id);
                    let after = Duration::from_millis(self.rng().u64(10..400));
                    self.network.schedule(after, Happening::Return { node_id });
                }
                self.again(happening);
            }
            Happening::Return { node_id } => {
                self.down.retain(|down| *down != node_id);
                for partition in 0..self.partitions.len() {
                    if self.partitions[partition].leader.is_none() {
                        self.elect(partition, false);
                    }
                }
            }
            Happening::Lag if trouble.unclean => {
                let leader = self.partitions[partition].leader;
                let followers = (0..NODES).filter(|node_id| Some(*node_id) != leader);
                self.partitions[partition].lagging = self.network.rng.choice(followers.collect::<Vec<_>>());
                self.again(happening);
            }
            Happening::Unclean if trouble.unclean => {
                if let Some(node_id) = self.partitions[partition].lagging
                    && self.partitions[partition].is_behind(node_id)
                {
                    self.remember_metadata();
                    self.partitions[partition].elect(&[node_id], true, &mut self.network.rng);
                    self.settle();
                }
                self.again(happening);
            }
            Happening::Compact if trouble.compaction => {
                self.partitions[partition].compact(&mut self.network.rng);
                self.again(happening);
            }
            Happening::EvictSessions if trouble.evicts_sessions => {
                let node_id = self.network.rng.usize(0..NODES as usize);
                match self.rng().bool() {
                    true => self.sessions[node_id].evict(),
                    false => self.sessions[node_id].lose_count(),
                }
                self.again(happening);
            }
            _ => {} // It was calmed down meanwhile.
        }
    }

    fn stop(&mut self, node_id: i32) {
        self.remember_metadata();
        self.down.push(node_id);
        self.sessions[node_id as usize].evict();
        self.network.cut_all(node_id);
        for partition in 0..self.partitions.len() {
            if self.partitions[partition].leader == Some(node_id) {
                self.elect(partition, false);
            }
        }
        self.count("restarts");
    }

    fn elect(&mut self, partition: usize, is_unclean: bool) {
        let up: Vec<i32> = (0..NODES).filter(|node_id| self.is_up(*node_id)).collect();
        self.partitions[partition].elect(&up, is_unclean, &mut self.network.rng);
        self.settle();
    }

    fn remember_metadata(&mut self) {
        self.stale_metadata = Some(self.metadata());
    }
}
