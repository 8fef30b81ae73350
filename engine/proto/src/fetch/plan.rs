//! One Fetch request, in any version.
//!
//! The plan names all partitions that are read; which of them the request names is up to the broker's fetch
//! session (KIP-227, see `fetch::session`).

use std::collections::BTreeMap;

use engine_wire::messages::{
    FetchRequest, StrBytes, TopicName,
    fetch_request::{FetchPartition, FetchTopic, ForgottenTopic, ReplicaState},
};
use uuid::Uuid;

use crate::{
    fetch::{planned::PlannedPartition, session::SessionFetch},
    topic_partition::TopicPartition,
};

/// From this version on, topics are named by their id only (KIP-516).
pub const FIRST_BY_TOPIC_ID: i16 = 13;

/// From this version on there are fetch sessions (KIP-227).
pub const FIRST_IN_SESSION: i16 = 7;

/// From this version on the leader compares the epoch of the last record that was fetched.
pub const FIRST_DIVERGING: i16 = 12;

/// What one Fetch request asks of one broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchPlan {
    /// Tells this fetch from earlier ones whose answer may still arrive.
    pub ticket: u64,
    /// The broker.
    pub node_id: i32,
    /// Bound on the whole answer, except that one batch always comes.
    pub bytes_max: i32,
    /// The answer waits for so many bytes.
    pub bytes_min: i32,
    /// But not longer than this.
    pub wait_max_ms: i32,
    /// The protocol's number for the isolation level.
    pub isolation_level: i8,
    /// `client.rack`, empty for none.
    pub rack_id: String,
    /// The partitions, the hungriest first: brokers fill an answer in this order, or, within a session, in turn.
    pub partitions: Vec<PlannedPartition>,
    /// Which of them the request must name.
    pub session: SessionFetch,
}

impl FetchPlan {
    /// Whether the request may go out in a version that names topics by id: a zero id must never
    /// be sent.
    pub fn has_topic_ids(&self) -> bool {
        self.partitions.iter().all(PlannedPartition::has_topic_id)
    }

    /// The newest version that this plan can go out in, within `version_max`.
    pub fn version_within(&self, version_max: i16) -> i16 {
        if self.has_topic_ids() {
            version_max
        } else {
            version_max.min(FIRST_BY_TOPIC_ID - 1)
        }
    }

    /// The request's body in `version`.
    pub fn request(&self, version: i16) -> FetchRequest {
        // Grouped by topic, in the order in which topics first appear.
        let mut topics: Vec<FetchTopic> = Vec::new();
        let mut places: BTreeMap<&str, usize> = BTreeMap::new();
        for planned in self.named(version) {
            let place = *places.entry(&planned.tp.topic).or_insert_with(|| {
                topics.push(topic_of(planned, version));
                topics.len() - 1
            });
            let mut partition = FetchPartition::default()
                .with_partition(planned.tp.partition)
                .with_fetch_offset(planned.offset)
                .with_partition_max_bytes(planned.bytes_max);
            if version >= 9 {
                partition = partition.with_current_leader_epoch(planned.leader_epoch);
            }
            if version >= FIRST_DIVERGING {
                partition = partition.with_last_fetched_epoch(planned.last_fetched_epoch);
            }
            topics[place].partitions.push(partition);
        }
        let request = FetchRequest::default()
            .with_max_wait_ms(self.wait_max_ms)
            .with_min_bytes(self.bytes_min)
            .with_max_bytes(self.bytes_max)
            .with_isolation_level(self.isolation_level)
            .with_topics(topics);
        let request = match version {
            ..=14 => request.with_replica_id((-1).into()),
            _ => request.with_replica_state(ReplicaState::default()),
        };
        let request = match &self.session {
            _ if version < FIRST_IN_SESSION => request,
            SessionFetch::Full { id } => request.with_session_id(*id).with_session_epoch(0),
            SessionFetch::End { id } => request.with_session_id(*id).with_session_epoch(-1),
            SessionFetch::Incremental {
                id, epoch, forgotten, ..
            } => request
                .with_session_id(*id)
                .with_session_epoch(*epoch)
                .with_forgotten_topics_data(forgotten_topics(forgotten, version)),
        };
        match version >= 11 {
            true => request.with_rack_id(StrBytes::from_string(self.rack_id.clone())),
            false => request,
        }
    }

    /// Whether what an answer does not mention is as it was.
    pub(crate) fn is_incremental(&self, version: i16) -> bool {
        version >= FIRST_IN_SESSION && matches!(self.session, SessionFetch::Incremental { .. })
    }

    /// The partitions that the request names.
    fn named(&self, version: i16) -> Box<dyn Iterator<Item = &PlannedPartition> + '_> {
        match &self.session {
            SessionFetch::Incremental { changed, .. } if version >= FIRST_IN_SESSION => {
                Box::new(changed.iter().filter_map(|place| self.partitions.get(*place)))
            }
            _ => Box::new(self.partitions.iter()),
        }
    }

    /// The planned partition that an answer talks about.
    pub fn partition(
        &self,
        version: i16,
        topic: &TopicName,
        topic_id: Uuid,
        partition: i32,
    ) -> Option<&PlannedPartition> {
        self.find(version, topic, topic_id, partition, &mut 0)
    }

    /// The planned partition that an answer talks about. `place` is where to look first, 0 to begin
    /// with: brokers answer in the order of the request.
    pub(crate) fn find(
        &self,
        version: i16,
        topic: &TopicName,
        topic_id: Uuid,
        partition: i32,
        place: &mut usize,
    ) -> Option<&PlannedPartition> {
        let (before, behind) = self.partitions.split_at(*place);
        let mut places = behind.iter().chain(before);
        let distance = places.position(|planned| {
            let same_topic = match version >= FIRST_BY_TOPIC_ID {
                true => planned.topic_id == Some(topic_id),
                false => &*planned.tp.topic == topic.0.as_str(),
            };
            same_topic && planned.tp.partition == partition
        })?;
        let found = (*place + distance) % self.partitions.len();
        *place = found + 1;
        self.partitions.get(found)
    }
}

fn topic_of(planned: &PlannedPartition, version: i16) -> FetchTopic {
    match planned.topic_id {
        Some(topic_id) if version >= FIRST_BY_TOPIC_ID => FetchTopic::default().with_topic_id(topic_id),
        _ => {
            assert!(
                version < FIRST_BY_TOPIC_ID,
                "{}: no topic id for version {version}",
                planned.tp
            );
            let name = StrBytes::from_string(planned.tp.topic.to_string());
            FetchTopic::default().with_topic(name.into())
        }
    }
}

fn forgotten_topics(forgotten: &[(TopicPartition, Option<Uuid>)], version: i16) -> Vec<ForgottenTopic> {
    let mut topics: BTreeMap<(&str, Uuid), Vec<i32>> = BTreeMap::new();
    for (tp, topic_id) in forgotten {
        let key = (&*tp.topic, topic_id.unwrap_or_default());
        topics.entry(key).or_default().push(tp.partition);
    }
    let topics = topics.into_iter().map(|((name, topic_id), partitions)| {
        let topic = ForgottenTopic::default().with_partitions(partitions);
        match version {
            FIRST_BY_TOPIC_ID.. => topic.with_topic_id(topic_id),
            _ => topic.with_topic(StrBytes::from_string(name.to_owned()).into()),
        }
    });
    topics.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine_wire::request::encode_request;

    fn plan(topic_id: Option<Uuid>) -> FetchPlan {
        let planned = |topic: &str, partition| PlannedPartition {
            tp: TopicPartition::new(topic, partition),
            topic_id,
            offset: 5,
            leader_epoch: 3,
            last_fetched_epoch: 2,
            bytes_max: 1000,
        };
        FetchPlan {
            ticket: 1,
            node_id: 1,
            bytes_max: 5000,
            bytes_min: 1,
            wait_max_ms: 500,
            isolation_level: 1,
            rack_id: "rack1".into(),
            partitions: vec![planned("a", 0), planned("a", 1)],
            session: SessionFetch::Full { id: 0 },
        }
    }

    #[test]
    fn every_version_can_be_written() {
        let plan = plan(Some(Uuid::from_u128(7)));
        for version in 4..=17 {
            let request = plan.request(version);
            assert_eq!(request.topics.len(), 1, "partitions of a topic share its entry");
            encode_request(version, 1, Some("client"), &request)
                .unwrap_or_else(|error| panic!("version {version}: {error}"));
        }
    }

    #[test]
    fn an_incremental_fetch_names_what_changed_in_every_version_with_sessions() {
        let topic_id = Some(Uuid::from_u128(7));
        let plan = FetchPlan {
            session: SessionFetch::Incremental {
                id: 9,
                epoch: 4,
                changed: vec![1],
                forgotten: vec![(TopicPartition::new("b", 3), topic_id)],
            },
            ..plan(topic_id)
        };
        for version in 4..=17 {
            let request = plan.request(version);
            let named: Vec<i32> = request
                .topics
                .iter()
                .flat_map(|t| &t.partitions)
                .map(|p| p.partition)
                .collect();
            let in_session = version >= FIRST_IN_SESSION;
            assert_eq!(
                named,
                if in_session { vec![1] } else { vec![0, 1] },
                "version {version}"
            );
            assert_eq!(request.session_id, if in_session { 9 } else { 0 });
            assert_eq!(request.forgotten_topics_data.len(), usize::from(in_session));
            encode_request(version, 1, Some("client"), &request)
                .unwrap_or_else(|error| panic!("version {version}: {error}"));
        }
    }

    /// Pitfall 12: metadata before version 10 has none.
    #[test]
    fn a_zero_topic_id_is_never_sent() {
        for topic_id in [None, Some(Uuid::nil())] {
            assert_eq!(plan(topic_id).version_within(17), 12);
        }
        assert_eq!(plan(Some(Uuid::from_u128(7))).version_within(17), 17);
        assert_eq!(plan(Some(Uuid::from_u128(7))).version_within(11), 11);
    }
}
