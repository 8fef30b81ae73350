//! CreatePartitions: a topic grows. Partitions never go away again.

use std::sync::Arc;

use engine_wire::error_code::ErrorCode;
use engine_wire::messages::create_partitions_request::CreatePartitionsTopic;
use engine_wire::messages::create_partitions_response::CreatePartitionsTopicResult;
use engine_wire::messages::{CreatePartitionsRequest, CreatePartitionsResponse, StrBytes};

use crate::exchange::Asker;
use crate::node::Node;

pub(super) fn handle(node: &Arc<Node>, _: Asker<'_>, request: CreatePartitionsRequest) -> CreatePartitionsResponse {
    let validate_only = request.validate_only;
    let result = |wanted: CreatePartitionsTopic| {
        let grown = grow(node, &wanted, validate_only);
        let result = CreatePartitionsTopicResult::default().with_name(wanted.name);
        match grown {
            Ok(()) => result,
            Err((code, message)) => result
                .with_error_code(code.code())
                .with_error_message(Some(StrBytes::from_string(message))),
        }
    };
    CreatePartitionsResponse::default().with_results(request.topics.into_iter().map(result).collect())
}

pub(super) fn failed(_: Asker<'_>, request: CreatePartitionsRequest, code: ErrorCode) -> CreatePartitionsResponse {
    let results = request.topics.into_iter().map(|wanted| {
        CreatePartitionsTopicResult::default()
            .with_name(wanted.name)
            .with_error_code(code.code())
    });
    CreatePartitionsResponse::default().with_results(results.collect())
}

fn grow(node: &Node, wanted: &CreatePartitionsTopic, validate_only: bool) -> Result<(), (ErrorCode, String)> {
    let unknown = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
    let topic = node
        .topics
        .find(&wanted.name)
        .ok_or_else(|| (unknown, unknown.message().to_owned()))?;
    match validate_only {
        true => node.check_growth(&topic, wanted.count),
        false => node.add_partitions(&topic, wanted.count),
    }
}
