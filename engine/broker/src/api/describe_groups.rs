//! DescribeGroups: members, and what each was assigned.

use std::sync::Arc;

use engine_wire::error_code::ErrorCode;
use engine_wire::messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use engine_wire::messages::{DescribeGroupsRequest, DescribeGroupsResponse, GroupId, StrBytes};

use crate::exchange::Asker;
use crate::group::GroupView;
use crate::group::member::Member;
use crate::node::Node;

pub(super) fn handle(node: &Arc<Node>, asker: Asker<'_>, request: DescribeGroupsRequest) -> DescribeGroupsResponse {
    let describe = |group_id: GroupId| match node.coordinator.with_existing(&group_id, |group| group.view()) {
        Some(view) => known(asker, group_id, view),
        None => unknown(asker, group_id),
    };
    DescribeGroupsResponse::default().with_groups(request.groups.into_iter().map(describe).collect())
}

pub(super) fn failed(_: Asker<'_>, request: DescribeGroupsRequest, code: ErrorCode) -> DescribeGroupsResponse {
    let groups = request.groups.into_iter().map(|group_id| {
        DescribedGroup::default()
            .with_group_id(group_id)
            .with_error_code(code.code())
    });
    DescribeGroupsResponse::default().with_groups(groups.collect())
}

fn known(asker: Asker<'_>, group_id: GroupId, view: GroupView) -> DescribedGroup {
    let member = |member: Member| {
        let described = DescribedGroupMember::default()
            .with_client_id(StrBytes::from_string(member.client_id.clone()))
            .with_client_host(StrBytes::from_string(member.client_host.clone()))
            .with_member_metadata(member.metadata_for(&view.protocol_name))
            .with_member_assignment(member.assignment)
            .with_member_id(StrBytes::from_string(member.id));
        match asker.version {
            4.. => described.with_group_instance_id(member.instance_id.map(StrBytes::from_string)),
            _ => described,
        }
    };
    DescribedGroup::default()
        .with_group_id(group_id)
        .with_group_state(StrBytes::from_static_str(view.state))
        .with_protocol_type(StrBytes::from_string(view.protocol_type))
        .with_members(view.members.into_iter().map(member).collect())
        .with_protocol_data(StrBytes::from_string(view.protocol_name))
}

/// A group that is not there is "Dead"; from version 6 on that is an error too (KIP-1043).
fn unknown(asker: Asker<'_>, group_id: GroupId) -> DescribedGroup {
    let message = format!("Group {} not found.", group_id.as_str());
    let group = DescribedGroup::default()
        .with_group_id(group_id)
        .with_group_state(StrBytes::from_static_str("Dead"));
    match asker.version {
        6.. => group
            .with_error_code(ErrorCode::GROUP_ID_NOT_FOUND.code())
            .with_error_message(Some(StrBytes::from_string(message))),
        _ => group,
    }
}
