//! OffsetDelete: forgets what a group committed for topics it does not read any more (KIP-496).

use std::sync::Arc;

use engine_wire::error_code::ErrorCode;
use engine_wire::messages::offset_delete_request::OffsetDeleteRequestTopic;
use engine_wire::messages::offset_delete_response::{OffsetDeleteResponsePartition, OffsetDeleteResponseTopic};
use engine_wire::messages::{OffsetDeleteRequest, OffsetDeleteResponse};

use crate::exchange::Asker;
use crate::journal::fact::Fact;
use crate::node::Node;

pub(super) fn handle(node: &Arc<Node>, _: Asker<'_>, request: OffsetDeleteRequest) -> OffsetDeleteResponse {
    let group_id = request.group_id.to_string();
    let delete = |topic: OffsetDeleteRequestTopic| {
        let deleted = node.coordinator.with_existing(&group_id, |group| {
            if group.is_subscribed_to(&topic.name) {
                return ErrorCode::GROUP_SUBSCRIBED_TO_TOPIC;
            }
            let fact = |partition: i32| Fact::Committed {
                group: group_id.clone(),
                topic: topic.name.to_string(),
                partition,
                offset: -1,
                leader_epoch: -1,
                metadata: String::new(),
            };
            let facts: Vec<Fact> = topic
                .partitions
                .iter()
                .map(|wanted| fact(wanted.partition_index))
                .collect();
            if let Err(error) = node.journal.forget(&facts) {
                return node.storage_failed("record deleted offsets", &error).0;
            }
            topic
                .partitions
                .iter()
                .for_each(|wanted| group.offsets.remove(&topic.name, wanted.partition_index));
            ErrorCode::NONE
        });
        let code = deleted.unwrap_or(ErrorCode::GROUP_ID_NOT_FOUND);
        let partition = |index| {
            OffsetDeleteResponsePartition::default()
                .with_partition_index(index)
                .with_error_code(code.code())
        };
        let partitions = topic
            .partitions
            .iter()
            .map(|wanted| partition(wanted.partition_index))
            .collect();
        OffsetDeleteResponseTopic::default()
            .with_name(topic.name)
            .with_partitions(partitions)
    };
    if node.coordinator.with_existing(&request.group_id, |_| ()).is_none() {
        return OffsetDeleteResponse::default().with_error_code(ErrorCode::GROUP_ID_NOT_FOUND.code());
    }
    OffsetDeleteResponse::default().with_topics(request.topics.into_iter().map(delete).collect())
}

pub(super) fn failed(_: Asker<'_>, _: OffsetDeleteRequest, code: ErrorCode) -> OffsetDeleteResponse {
    OffsetDeleteResponse::default().with_error_code(code.code())
}
