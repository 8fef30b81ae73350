//! ListGroups: every group, filtered by state (KIP-518) and type (KIP-848; all are classic here).

use std::sync::Arc;

use engine_wire::error_code::ErrorCode;
use engine_wire::messages::list_groups_response::ListedGroup;
use engine_wire::messages::{GroupId, ListGroupsRequest, ListGroupsResponse, StrBytes};

use crate::exchange::Asker;
use crate::group::Group;
use crate::node::Node;

const CLASSIC: &str = "classic";

pub(super) fn handle(node: &Arc<Node>, asker: Asker<'_>, request: ListGroupsRequest) -> ListGroupsResponse {
    let is_asked = |filter: &[StrBytes], value: &str| {
        filter.is_empty() || filter.iter().any(|wanted| wanted.eq_ignore_ascii_case(value))
    };
    let mut groups = Vec::new();
    for group_id in node.coordinator.ids() {
        let Some(view) = node
            .coordinator
            .with_existing(&group_id, |group: &mut Group| group.view())
        else {
            continue;
        };
        if !is_asked(&request.states_filter, view.state) || !is_asked(&request.types_filter, CLASSIC) {
            continue;
        }
        let group = ListedGroup::default()
            .with_group_id(GroupId(StrBytes::from_string(group_id)))
            .with_protocol_type(StrBytes::from_string(view.protocol_type));
        let group = match asker.version {
            4.. => group.with_group_state(StrBytes::from_static_str(view.state)),
            _ => group,
        };
        groups.push(match asker.version {
            5.. => group.with_group_type(StrBytes::from_static_str(CLASSIC)),
            _ => group,
        });
    }
    ListGroupsResponse::default().with_groups(groups)
}

pub(super) fn failed(_: Asker<'_>, _: ListGroupsRequest, code: ErrorCode) -> ListGroupsResponse {
    ListGroupsResponse::default().with_error_code(code.code())
}
