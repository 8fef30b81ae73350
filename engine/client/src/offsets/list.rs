//! Offsets by time, and where leader epochs ended, from the partitions' leaders.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use engine_proto::{
    TopicPartition,
    connection::ApiRange,
    fetch::{lookup::Found, position::Position},
};
use engine_wire::{
    error_code::{ErrorClass, ErrorCode},
    messages::{
        ListOffsetsRequest, OffsetForLeaderEpochRequest, StrBytes, TopicName,
        list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic},
        offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic},
    },
};
use tokio::task::JoinSet;

use super::OffsetsError;
use crate::{
    cluster::{Cluster, Lane, NodeTarget},
    connection::{RequestError, now},
};

/// One answer of ListOffsets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListedOffset {
    /// The offset.
    pub offset: i64,
    /// The time of the record there, -1 if the broker does not say.
    pub timestamp: i64,
    /// The leader epoch of the record there, if the broker says.
    pub leader_epoch: Option<i32>,
}

/// What one round of asking gave for one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Listed {
    At(ListedOffset),
    /// No record of that time or later.
    Nothing,
    /// Worth another round, after new metadata.
    Retry(ErrorCode),
    Refused(ErrorCode),
}

impl Listed {
    pub(crate) fn found(self) -> Found {
        match self {
            Listed::At(listed) => Found::At(Position {
                offset: listed.offset,
                leader_epoch: listed.leader_epoch,
            }),
            Listed::Nothing => Found::Nothing,
            Listed::Retry(_) => Found::Retry,
            Listed::Refused(code) => Found::Refused(code),
        }
    }
}

/// Asks until all partitions answered, `default.api.timeout.ms` passed, or one was refused.
/// `None` stands for: no record of that time or later.
pub(crate) async fn list_offsets(
    cluster: &Cluster,
    isolation_level: i8,
    queries: &[(TopicPartition, i64)],
) -> Result<Vec<(TopicPartition, Option<ListedOffset>)>, OffsetsError> {
    let timeout = cluster.config().default_api_timeout;
    let deadline = now() + timeout;
    let topics: Vec<&str> = queries.iter().map(|(tp, _)| &*tp.topic).collect();
    let ticket = cluster.track_topics(topics);
    cluster.wait_refreshed(ticket, deadline).await?;
    let mut answers: HashMap<TopicPartition, Option<ListedOffset>> = HashMap::new();
    let mut open = queries.to_vec();
    loop {
        let mut last = None;
        for (tp, listed) in list_offsets_once(cluster, isolation_level, &open).await {
            match listed {
                Listed::At(listed) => drop(answers.insert(tp, Some(listed))),
                Listed::Nothing => drop(answers.insert(tp, None)),
                Listed::Retry(code) => last = Some((tp, code)),
                Listed::Refused(code) => return Err(OffsetsError::Partition { tp, code }),
            }
        }
        open.retain(|(tp, _)| !answers.contains_key(tp));
        let Some((tp, last)) = last else { break };
        if now() >= deadline {
            return Err(OffsetsError::TimedOut { tp, timeout, last });
        }
        tokio::time::sleep(cluster.config().retry_backoff).await;
        let ticket = cluster.refresh_metadata();
        // A failed refresh shows in the next round.
        let _ = cluster.wait_refreshed(ticket, deadline).await;
    }
    let asked = queries.iter().map(|(tp, _)| tp);
    Ok(asked.filter_map(|tp| Some((tp.clone(), *answers.get(tp)?))).collect())
}

/// One round: every leader is asked once, all at the same time. Each query gets an answer.
pub(crate) async fn list_offsets_once(
    cluster: &Cluster,
    isolation_level: i8,
    queries: &[(TopicPartition, i64)],
) -> Vec<(TopicPartition, Listed)> {
    let mut answers = HashMap::new();
    let mut by_node: BTreeMap<i32, Vec<(TopicPartition, i64, i32)>> = BTreeMap::new();
    for (tp, timestamp) in queries {
        match cluster.leader_for(&tp.topic, tp.partition) {
            Some(leader) => {
                let asked = (tp.clone(), *timestamp, leader.leader_epoch);
                by_node.entry(leader.node_id).or_default().push(asked);
            }
            None => drop(answers.insert(tp.clone(), Listed::Retry(ErrorCode::LEADER_NOT_AVAILABLE))),
        }
    }
    let mut rounds = JoinSet::new();
    for (node_id, asked) in by_node {
        let cluster = cluster.clone();
        rounds.spawn(async move { list_from(&cluster, node_id, isolation_level, asked).await });
    }
    while let Some(round) = rounds.join_next().await {
        answers.extend(round.unwrap_or_default());
    }
    let retry = Listed::Retry(ErrorCode::UNKNOWN_SERVER_ERROR);
    let asked = queries.iter().map(|(tp, _)| tp.clone());
    asked
        .map(|tp| (tp.clone(), answers.get(&tp).copied().unwrap_or(retry)))
        .collect()
}

async fn list_from(
    cluster: &Cluster,
    node_id: i32,
    isolation_level: i8,
    asked: Vec<(TopicPartition, i64, i32)>,
) -> Vec<(TopicPartition, Listed)> {
    let build = |version: i16| {
        let mut topics: BTreeMap<&str, Vec<ListOffsetsPartition>> = BTreeMap::new();
        for (tp, timestamp, leader_epoch) in &asked {
            let partition = ListOffsetsPartition::default()
                .with_partition_index(tp.partition)
                .with_current_leader_epoch(if version >= 4 { *leader_epoch } else { -1 })
                .with_timestamp(*timestamp);
            topics.entry(&tp.topic).or_default().push(partition);
        }
        let topics = topics.into_iter().map(|(name, partitions)| {
            ListOffsetsTopic::default()
                .with_name(topic_name(name))
                .with_partitions(partitions)
        });
        ListOffsetsRequest::default()
            .with_replica_id((-1).into())
            .with_isolation_level(if version >= 2 { isolation_level } else { 0 })
            .with_topics(topics.collect())
    };
    let target = NodeTarget::Broker(node_id);
    let timeout = cluster.config().request_timeout;
    let answer = cluster
        .request_with(target, Lane::Control, LIST_OFFSETS, build, timeout)
        .await;
    let response = match answer {
        Ok(response) => response,
        Err(error) => {
            let listed = failed(&error);
            return asked.into_iter().map(|(tp, ..)| (tp, listed)).collect();
        }
    };
    let mut answers = Vec::new();
    for topic in response.topics {
        for partition in topic.partitions {
            let tp = TopicPartition::new(topic.name.0.as_str(), partition.partition_index);
            let code = ErrorCode::from(partition.error_code);
            let leader_epoch = Some(partition.leader_epoch).filter(|epoch| *epoch >= 0);
            let listed = match classify(code) {
                Some(refused) => refused,
                None if partition.offset < 0 => Listed::Nothing,
                None => Listed::At(ListedOffset {
                    offset: partition.offset,
                    timestamp: partition.timestamp,
                    leader_epoch,
                }),
            };
            answers.push((tp, listed));
        }
    }
    answers
}

/// Where the epoch of each position ended, in one round. `asked` is the partition, the epoch of
/// its position and the leader's current epoch.
pub(crate) async fn epoch_ends_once(
    cluster: &Cluster,
    asked: &[(TopicPartition, i32, i32)],
) -> Vec<(TopicPartition, Found)> {
    let mut answers = HashMap::new();
    let mut by_node: BTreeMap<i32, Vec<(TopicPartition, i32, i32)>> = BTreeMap::new();
    for question in asked {
        match cluster.leader_for(&question.0.topic, question.0.partition) {
            Some(leader) => by_node.entry(leader.node_id).or_default().push(question.clone()),
            None => drop(answers.insert(question.0.clone(), Found::Retry)),
        }
    }
    let timeout = cluster.config().request_timeout;
    for (node_id, asked) in by_node {
        answers.extend(epoch_ends_from(cluster, node_id, &asked, timeout).await);
    }
    let asked = asked.iter().map(|(tp, ..)| tp.clone());
    asked
        .map(|tp| (tp.clone(), answers.get(&tp).copied().unwrap_or(Found::Retry)))
        .collect()
}

async fn epoch_ends_from(
    cluster: &Cluster,
    node_id: i32,
    asked: &[(TopicPartition, i32, i32)],
    timeout: Duration,
) -> Vec<(TopicPartition, Found)> {
    let build = |version: i16| {
        let mut topics: BTreeMap<&str, Vec<OffsetForLeaderPartition>> = BTreeMap::new();
        for (tp, leader_epoch, current_leader_epoch) in asked {
            let partition = OffsetForLeaderPartition::default()
                .with_partition(tp.partition)
                .with_leader_epoch(*leader_epoch)
                .with_current_leader_epoch(*current_leader_epoch);
            topics.entry(&tp.topic).or_default().push(partition);
        }
        let topics = topics.into_iter().map(|(name, partitions)| {
            OffsetForLeaderTopic::default()
                .with_topic(topic_name(name))
                .with_partitions(partitions)
        });
        let request = OffsetForLeaderEpochRequest::default().with_topics(topics.collect());
        // A consumer, not a replica; the field came with version 3.
        if version >= 3 {
            request.with_replica_id((-1).into())
        } else {
            request
        }
    };
    let target = NodeTarget::Broker(node_id);
    let answer = cluster.request_with(target, Lane::Control, None, build, timeout).await;
    let response = match answer {
        Ok(response) => response,
        Err(error) => {
            let found = match &error {
                RequestError::Version { .. } => Found::Unsupported,
                error if error.is_retriable() => Found::Retry,
                _ => Found::Refused(ErrorCode::UNKNOWN_SERVER_ERROR),
            };
            return asked.iter().map(|(tp, ..)| (tp.clone(), found)).collect();
        }
    };
    let mut answers = Vec::new();
    for topic in response.topics {
        for partition in topic.partitions {
            let tp = TopicPartition::new(topic.topic.0.as_str(), partition.partition);
            let code = ErrorCode::from(partition.error_code);
            let found = match classify(code) {
                Some(Listed::Refused(code)) => Found::Refused(code),
                Some(_) => Found::Retry,
                None => Found::EpochEnd(Position {
                    offset: partition.end_offset,
                    leader_epoch: Some(partition.leader_epoch).filter(|epoch| *epoch >= 0),
                }),
            };
            answers.push((tp, found));
        }
    }
    answers
}

fn classify(code: ErrorCode) -> Option<Listed> {
    if code.is_ok() {
        return None;
    }
    let healed_by_metadata = [ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, ErrorCode::OFFSET_NOT_AVAILABLE];
    Some(match code.class() {
        ErrorClass::Retriable | ErrorClass::RefreshMetadata | ErrorClass::Fenced => Listed::Retry(code),
        _ if healed_by_metadata.contains(&code) => Listed::Retry(code),
        _ => Listed::Refused(code),
    })
}

fn failed(error: &RequestError) -> Listed {
    match error {
        RequestError::Version { .. } => Listed::Refused(ErrorCode::UNSUPPORTED_VERSION),
        error if error.is_retriable() => Listed::Retry(ErrorCode::NETWORK_EXCEPTION),
        _ => Listed::Refused(ErrorCode::UNKNOWN_SERVER_ERROR),
    }
}

pub(crate) fn topic_name(name: &str) -> TopicName {
    TopicName(StrBytes::from_string(name.to_owned()))
}

/// Version 10 adds a timeout that only tiered storage needs.
const LIST_OFFSETS: Option<ApiRange> = Some(ApiRange { min: 1, max: 9 });
