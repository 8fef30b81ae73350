//! Records by offset: where partitions begin and end, and deleting their beginning.

use std::collections::BTreeMap;

use engine_proto::TopicPartition;
use engine_wire::{
    error_code::ErrorCode,
    messages::{
        DeleteRecordsRequest,
        delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic},
    },
};

use super::{Admin, AdminError, PerItem, Refusal};
use crate::{
    cluster::{Lane, NodeTarget},
    offsets::{
        ListedOffset,
        list::{list_offsets, topic_name},
    },
};

impl Admin {
    /// Offsets by time in ms; -2 is the oldest, -1 the end. `None`: no record of that time or later.
    ///
    /// # Errors
    /// If a leader cannot be asked or refuses.
    pub async fn list_offsets(
        &self,
        times: &[(TopicPartition, i64)],
    ) -> Result<Vec<(TopicPartition, Option<ListedOffset>)>, AdminError> {
        Ok(list_offsets(&self.cluster, 0, times).await?)
    }

    /// Deletes what lies below the offset of each partition; -1 is everything up to the high
    /// watermark. Gives the oldest offset that is left.
    ///
    /// # Errors
    /// If a leader cannot be asked; a partition's own refusal is in its result.
    pub async fn delete_records(
        &self,
        before: &[(TopicPartition, i64)],
    ) -> Result<PerItem<TopicPartition, i64>, AdminError> {
        let deadline = self.deadline();
        let topics: Vec<&str> = before.iter().map(|(tp, _)| &*tp.topic).collect();
        let ticket = self.cluster.track_topics(topics);
        self.cluster.wait_refreshed(ticket, deadline).await?;
        let mut results = Vec::new();
        let mut by_leader: BTreeMap<i32, BTreeMap<&str, Vec<DeleteRecordsPartition>>> = BTreeMap::new();
        for (tp, offset) in before {
            let Some(leader) = self.cluster.leader_for(&tp.topic, tp.partition) else {
                let known = self.cluster.metadata().partition_count(&tp.topic);
                let exists = known.is_some_and(|count| (0..count).contains(&tp.partition));
                let code = match exists {
                    true => ErrorCode::LEADER_NOT_AVAILABLE,
                    false => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
                };
                let refused = Refusal::check(code.code(), None).map(|()| -1);
                results.push((tp.clone(), refused));
                continue;
            };
            let partition = DeleteRecordsPartition::default()
                .with_partition_index(tp.partition)
                .with_offset(*offset);
            by_leader
                .entry(leader.node_id)
                .or_default()
                .entry(&tp.topic)
                .or_default()
                .push(partition);
        }
        for (node_id, topics) in by_leader {
            let topics = topics.into_iter().map(|(name, partitions)| {
                DeleteRecordsTopic::default()
                    .with_name(topic_name(name))
                    .with_partitions(partitions)
            });
            let request = DeleteRecordsRequest::default()
                .with_topics(topics.collect())
                .with_timeout_ms(self.timeout_ms());
            let (target, timeout) = (NodeTarget::Broker(node_id), self.cluster.config().request_timeout);
            let response = self.cluster.request(target, Lane::Control, request, timeout).await?;
            for topic in response.topics {
                for partition in topic.partitions {
                    let tp = TopicPartition::new(topic.name.0.as_str(), partition.partition_index);
                    let deleted = Refusal::check(partition.error_code, None);
                    results.push((tp, deleted.map(|()| partition.low_watermark)));
                }
            }
        }
        Ok(results)
    }
}
