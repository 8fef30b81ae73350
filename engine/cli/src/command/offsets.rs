//! Where partitions begin and end, and what they hold at a time.

use std::collections::BTreeMap;

use engine_client::{Admin, TopicPartition, admin::TopicDescription};

/// ListOffsets: the time that stands for the oldest offset.
pub(super) const EARLIEST: i64 = -2;
/// ListOffsets: the time that stands for the end.
pub(super) const LATEST: i64 = -1;

/// The offset of each partition at `time`, in milliseconds since 1970 or one of the constants above; without those that
/// have no record of that time or later.
pub(super) async fn offsets_at(
    admin: &Admin,
    partitions: &[TopicPartition],
    time: i64,
) -> anyhow::Result<BTreeMap<TopicPartition, i64>> {
    let times: Vec<_> = partitions.iter().map(|tp| (tp.clone(), time)).collect();
    let listed = admin.list_offsets(&times).await?;
    let known = listed.into_iter().filter_map(|(tp, listed)| Some((tp, listed?.offset)));
    Ok(known.collect())
}

/// The partitions of a topic.
pub(super) fn partitions_of(topic: &TopicDescription) -> Vec<TopicPartition> {
    let partitions = topic.partitions.iter();
    partitions
        .map(|it| TopicPartition::new(topic.name.as_str(), it.partition))
        .collect()
}
