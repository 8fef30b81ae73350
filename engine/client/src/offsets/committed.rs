//! Offsets that a group committed, and committing them.

use std::collections::{BTreeMap, HashMap};

use engine_proto::{TopicPartition, connection::ApiRange};
use engine_wire::{
    error_code::{ErrorClass, ErrorCode},
    messages::{
        OffsetCommitRequest, OffsetFetchRequest, OffsetFetchResponse, StrBytes,
        offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic},
        offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics},
    },
};

use super::{OffsetsError, list::topic_name};
use crate::{
    cluster::{Cluster, Lane, NodeTarget},
    connection::{RequestError, now},
};

/// What a group knows about how far it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CommittedOffset {
    /// The next record to read.
    pub offset: i64,
    /// The leader epoch of the record before it, if known (KIP-320).
    pub leader_epoch: Option<i32>,
    /// Whatever the committer wrote beside it; brokers allow 4096 bytes.
    pub metadata: String,
}

/// Committed offsets by partition; `None` where the group has none.
pub(crate) type Committed = Vec<(TopicPartition, Option<CommittedOffset>)>;

/// Who commits.
#[derive(Debug, Clone, Default)]
pub(crate) struct Committer {
    /// Empty for one that is no member (manual assignment, admin).
    pub(crate) member_id: String,
    pub(crate) group_instance_id: Option<String>,
    /// -1 for one that is no member.
    pub(crate) generation_id: i32,
}

impl Committer {
    /// Commits without being a member; brokers allow it while the group is empty.
    pub(crate) fn outsider() -> Committer {
        Committer {
            generation_id: -1,
            ..Committer::default()
        }
    }
}

/// The group's committed offsets; of all partitions it has any for if `partitions` is `None`.
/// With `require_stable`, waits for transactions that hold offsets (KIP-447).
pub(crate) async fn fetch_committed(
    cluster: &Cluster,
    group: &str,
    partitions: Option<&[TopicPartition]>,
    require_stable: bool,
) -> Result<Committed, OffsetsError> {
    let deadline = now() + cluster.config().default_api_timeout;
    loop {
        let outcome = fetch_committed_once(cluster, group, partitions, require_stable).await;
        let Err(error) = outcome else { return outcome };
        if !is_worth_repeating(cluster, group, &error) || now() >= deadline {
            return Err(error);
        }
        tokio::time::sleep(cluster.config().retry_backoff).await;
    }
}

async fn fetch_committed_once(
    cluster: &Cluster,
    group: &str,
    partitions: Option<&[TopicPartition]>,
    require_stable: bool,
) -> Result<Committed, OffsetsError> {
    let build = |version: i16| {
        let topics = partitions.map(by_topic);
        let group_id = StrBytes::from_string(group.to_owned());
        if version >= FIRST_BY_GROUP {
            let topics = topics.map(|topics| {
                let topics = topics.into_iter().map(|(name, partitions)| {
                    OffsetFetchRequestTopics::default()
                        .with_name(topic_name(name))
                        .with_partition_indexes(partitions)
                });
                topics.collect()
            });
            let group = OffsetFetchRequestGroup::default()
                .with_group_id(group_id.into())
                .with_topics(topics);
            return OffsetFetchRequest::default()
                .with_groups(vec![group])
                .with_require_stable(require_stable);
        }
        let topics = topics.map(|topics| {
            let topics = topics.into_iter().map(|(name, partitions)| {
                OffsetFetchRequestTopic::default()
                    .with_name(topic_name(name))
                    .with_partition_indexes(partitions)
            });
            topics.collect()
        });
        OffsetFetchRequest::default()
            .with_group_id(group_id.into())
            .with_topics(topics)
            .with_require_stable(require_stable && version >= 7)
    };
    let target = NodeTarget::GroupCoordinator(group);
    let timeout = cluster.config().request_timeout;
    let ours = Some(OFFSET_VERSIONS);
    let response = cluster
        .request_with(target, Lane::Control, ours, build, timeout)
        .await?;
    committed_of(group, partitions, response)
}

/// What the answer says about the partitions that were asked about; about all that it names if `partitions` is `None`.
fn committed_of(
    group: &str,
    partitions: Option<&[TopicPartition]>,
    response: OffsetFetchResponse,
) -> Result<Committed, OffsetsError> {
    let (code, answered) = flatten(group, response);
    // Apache Kafka answers for a group that it does not know as for one that committed nothing; others say so.
    let is_unknown = code == ErrorCode::GROUP_ID_NOT_FOUND;
    if !code.is_ok() && !is_unknown {
        return Err(OffsetsError::Group {
            group: group.to_owned(),
            code,
        });
    }
    let mut known = HashMap::new();
    for (tp, code, committed) in answered {
        if !code.is_ok() {
            return Err(OffsetsError::Partition { tp, code });
        }
        known.insert(tp, committed);
    }
    let Some(partitions) = partitions else {
        let all = known.into_iter().map(|(tp, told)| Ok((tp.clone(), offset(&tp, told)?)));
        let mut all = all.collect::<Result<Committed, OffsetsError>>()?;
        all.sort_by(|(a, _), (b, _)| a.cmp(b));
        return Ok(all);
    };
    let asked = partitions.iter().map(|tp| match known.get(tp) {
        Some(told) => Ok((tp.clone(), offset(tp, told.clone())?)),
        None if is_unknown => Ok((tp.clone(), None)),
        None => Err(OffsetsError::NotTold { tp: tp.clone() }),
    });
    asked.collect()
}

/// -1 says that there is none; less says nothing.
fn offset(tp: &TopicPartition, told: CommittedOffset) -> Result<Option<CommittedOffset>, OffsetsError> {
    match told.offset {
        0.. => Ok(Some(told)),
        -1 => Ok(None),
        _ => Err(OffsetsError::NotTold { tp: tp.clone() }),
    }
}

type Answered = Vec<(TopicPartition, ErrorCode, CommittedOffset)>;

/// Both layouts of the answer as one; other groups are left out.
fn flatten(group: &str, response: OffsetFetchResponse) -> (ErrorCode, Answered) {
    let mut all = Vec::new();
    /// The layouts have the same fields in structs of different names.
    macro_rules! take {
        ($topics:expr) => {
            for topic in $topics {
                for p in topic.partitions {
                    let tp = TopicPartition::new(topic.name.0.as_str(), p.partition_index);
                    let committed = CommittedOffset {
                        offset: p.committed_offset,
                        leader_epoch: Some(p.committed_leader_epoch).filter(|epoch| *epoch >= 0),
                        metadata: p
                            .metadata
                            .map(|metadata| metadata.to_string())
                            .unwrap_or_default(),
                    };
                    all.push((tp, ErrorCode::from(p.error_code), committed));
                }
            }
        };
    }
    let mut code = ErrorCode::from(response.error_code);
    take!(response.topics);
    for group in response
        .groups
        .into_iter()
        .filter(|told| told.group_id.0.as_str() == group)
    {
        if group.error_code != 0 {
            code = ErrorCode::from(group.error_code);
        }
        take!(group.topics);
    }
    (code, all)
}

/// One OffsetCommit: each partition with its error code.
pub(crate) async fn commit_once(
    cluster: &Cluster,
    group: &str,
    committer: &Committer,
    offsets: &[(TopicPartition, CommittedOffset)],
) -> Result<Vec<(TopicPartition, ErrorCode)>, RequestError> {
    let build = |version: i16| {
        let mut topics: BTreeMap<&str, Vec<OffsetCommitRequestPartition>> = BTreeMap::new();
        for (tp, committed) in offsets {
            let partition = OffsetCommitRequestPartition::default()
                .with_partition_index(tp.partition)
                .with_committed_offset(committed.offset)
                .with_committed_metadata(Some(StrBytes::from_string(committed.metadata.clone())));
            let partition = match committed.leader_epoch {
                Some(leader_epoch) if version >= 6 => partition.with_committed_leader_epoch(leader_epoch),
                _ => partition,
            };
            topics.entry(&tp.topic).or_default().push(partition);
        }
        let topics = topics.into_iter().map(|(name, partitions)| {
            OffsetCommitRequestTopic::default()
                .with_name(topic_name(name))
                .with_partitions(partitions)
        });
        let request = OffsetCommitRequest::default()
            .with_group_id(StrBytes::from_string(group.to_owned()).into())
            .with_generation_id_or_member_epoch(committer.generation_id)
            .with_member_id(StrBytes::from_string(committer.member_id.clone()))
            .with_topics(topics.collect());
        match &committer.group_instance_id {
            Some(id) if version >= 7 => request.with_group_instance_id(Some(StrBytes::from_string(id.clone()))),
            _ => request,
        }
    };
    let target = NodeTarget::GroupCoordinator(group);
    let timeout = cluster.config().request_timeout;
    let ours = Some(OFFSET_VERSIONS);
    let response = cluster
        .request_with(target, Lane::Heartbeat, ours, build, timeout)
        .await?;
    let mut codes = Vec::new();
    for topic in response.topics {
        for partition in topic.partitions {
            let tp = TopicPartition::new(topic.name.0.as_str(), partition.partition_index);
            codes.push((tp, ErrorCode::from(partition.error_code)));
        }
    }
    Ok(codes)
}

/// Whether another attempt may help; a coordinator that moved is forgotten on the way.
fn is_worth_repeating(cluster: &Cluster, group: &str, error: &OffsetsError) -> bool {
    match error {
        OffsetsError::Request(error) => {
            cluster.forget_coordinator(group);
            error.is_retriable()
        }
        OffsetsError::NotTold { .. } => true,
        OffsetsError::Group { code, .. } | OffsetsError::Partition { code, .. } => {
            forget_if_moved(cluster, group, *code);
            matches!(code.class(), ErrorClass::Retriable | ErrorClass::RefreshMetadata)
        }
        OffsetsError::NoGroup | OffsetsError::TimedOut { .. } => false,
    }
}

/// Looks for the coordinator again at the next request if `code` says that it moved.
pub(crate) fn forget_if_moved(cluster: &Cluster, group: &str, code: ErrorCode) {
    if [ErrorCode::NOT_COORDINATOR, ErrorCode::COORDINATOR_NOT_AVAILABLE].contains(&code) {
        cluster.forget_coordinator(group);
    }
}

fn by_topic(partitions: &[TopicPartition]) -> BTreeMap<&str, Vec<i32>> {
    let mut topics: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
    for tp in partitions {
        topics.entry(&tp.topic).or_default().push(tp.partition);
    }
    topics
}

#[cfg(test)]
mod tests;

/// From version 8 on, one request asks for several groups (KIP-709).
const FIRST_BY_GROUP: i16 = 8;
/// Version 10 of both names topics by id only.
const OFFSET_VERSIONS: ApiRange = ApiRange { min: 1, max: 9 };
