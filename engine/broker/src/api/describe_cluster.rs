//! DescribeCluster (KIP-700): this one broker.

use std::sync::Arc;

use engine_wire::error_code::ErrorCode;
use engine_wire::messages::describe_cluster_response::DescribeClusterBroker;
use engine_wire::messages::{BrokerId, DescribeClusterRequest, DescribeClusterResponse, StrBytes};

use crate::exchange::Asker;
use crate::node::Node;

pub(super) fn handle(node: &Arc<Node>, asker: Asker<'_>, request: DescribeClusterRequest) -> DescribeClusterResponse {
    let node_id = BrokerId(node.config.node_id);
    let broker = DescribeClusterBroker::default()
        .with_broker_id(node_id)
        .with_host(StrBytes::from_string(node.host.clone()))
        .with_port(i32::from(node.port));
    let response = DescribeClusterResponse::default()
        .with_cluster_id(StrBytes::from_string(node.cluster_id.clone()))
        .with_controller_id(node_id)
        .with_brokers(vec![broker]);
    match asker.version {
        1.. => response.with_endpoint_type(request.endpoint_type),
        _ => response,
    }
}

pub(super) fn failed(_: Asker<'_>, _: DescribeClusterRequest, code: ErrorCode) -> DescribeClusterResponse {
    DescribeClusterResponse::default().with_error_code(code.code())
}
