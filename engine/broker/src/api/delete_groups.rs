//! DeleteGroups: forgets groups without members, and what they committed.

use std::sync::Arc;

use engine_wire::error_code::ErrorCode;
use engine_wire::messages::delete_groups_response::DeletableGroupResult;
use engine_wire::messages::{DeleteGroupsRequest, DeleteGroupsResponse};

use crate::exchange::Asker;
use crate::group::Group;
use crate::journal::fact::Fact;
use crate::node::Node;

pub(super) fn handle(node: &Arc<Node>, _: Asker<'_>, request: DeleteGroupsRequest) -> DeleteGroupsResponse {
    let results = request.groups_names.into_iter().map(|group_id| {
        let code = delete(node, &group_id).err().unwrap_or(ErrorCode::NONE);
        DeletableGroupResult::default()
            .with_group_id(group_id)
            .with_error_code(code.code())
    });
    DeleteGroupsResponse::default().with_results(results.collect())
}

/// Also what is pending in open transactions: or it would come back with the next start, and be committed with them.
fn delete(node: &Node, group_id: &str) -> Result<(), ErrorCode> {
    let forget = |group: &mut Group| {
        let committed = |topic: &str, partition: i32| Fact::Committed {
            group: group_id.to_owned(),
            topic: topic.to_owned(),
            partition,
            offset: -1,
            leader_epoch: -1,
            metadata: String::new(),
        };
        let pending = |(producer_id, topic, partition): (i64, &str, i32)| Fact::PendingOffset {
            group: group_id.to_owned(),
            producer_id,
            topic: topic.to_owned(),
            partition,
            offset: -1,
            leader_epoch: -1,
            metadata: String::new(),
        };
        let facts = group.offsets.topics();
        let facts = facts.flat_map(|(topic, partitions)| partitions.keys().map(move |index| committed(topic, *index)));
        let facts = facts.chain(group.offsets.pending_by_producer().map(pending));
        node.journal.forget(&facts.collect::<Vec<_>>())
    };
    let forgotten = node.coordinator.delete(group_id, forget)?;
    forgotten.map_err(|error| node.storage_failed("record a deleted group", &error).0)
}

pub(super) fn failed(_: Asker<'_>, request: DeleteGroupsRequest, code: ErrorCode) -> DeleteGroupsResponse {
    let results = request.groups_names.into_iter().map(|group_id| {
        DeletableGroupResult::default()
            .with_group_id(group_id)
            .with_error_code(code.code())
    });
    DeleteGroupsResponse::default().with_results(results.collect())
}
