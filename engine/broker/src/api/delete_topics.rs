//! DeleteTopics, by name or (from version 6 on) by id.

use std::sync::Arc;

use engine_wire::error_code::ErrorCode;
use engine_wire::messages::delete_topics_request::DeleteTopicState;
use engine_wire::messages::delete_topics_response::DeletableTopicResult;
use engine_wire::messages::{DeleteTopicsRequest, DeleteTopicsResponse, StrBytes, TopicName};

use crate::exchange::Asker;
use crate::node::Node;

pub(super) fn handle(node: &Arc<Node>, asker: Asker<'_>, request: DeleteTopicsRequest) -> DeleteTopicsResponse {
    let responses = wanted(asker, request)
        .into_iter()
        .map(|wanted| delete(node, asker, wanted));
    DeleteTopicsResponse::default().with_responses(responses.collect())
}

pub(super) fn failed(asker: Asker<'_>, request: DeleteTopicsRequest, code: ErrorCode) -> DeleteTopicsResponse {
    let responses = wanted(asker, request).into_iter().map(|wanted| {
        DeletableTopicResult::default()
            .with_name(wanted.name)
            .with_topic_id(wanted.topic_id)
            .with_error_code(code.code())
    });
    DeleteTopicsResponse::default().with_responses(responses.collect())
}

fn wanted(asker: Asker<'_>, request: DeleteTopicsRequest) -> Vec<DeleteTopicState> {
    let by_name = |name: TopicName| DeleteTopicState::default().with_name(Some(name));
    match asker.version {
        6.. => request.topics,
        _ => request.topic_names.into_iter().map(by_name).collect(),
    }
}

fn delete(node: &Node, asker: Asker<'_>, wanted: DeleteTopicState) -> DeletableTopicResult {
    let (name, unknown) = match &wanted.name {
        Some(name) => (Some(name.to_string()), ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
        None => {
            let topic = node.topics.find_by_id(wanted.topic_id);
            (topic.map(|topic| topic.name.to_string()), ErrorCode::UNKNOWN_TOPIC_ID)
        }
    };
    let missing = || (unknown, unknown.message().to_owned());
    let deleted = name.ok_or_else(missing).and_then(|name| node.delete_topic(&name));
    let result = DeletableTopicResult::default();
    match deleted {
        Ok(topic) => {
            let result = result.with_name(Some(TopicName(StrBytes::from_string(topic.name.to_string()))));
            match asker.version {
                6.. => result.with_topic_id(topic.id),
                _ => result,
            }
        }
        Err((code, message)) => {
            let result = result
                .with_error_code(code.code())
                .with_name(wanted.name)
                .with_topic_id(wanted.topic_id);
            match asker.version {
                5.. => result.with_error_message(Some(StrBytes::from_string(message))),
                _ => result,
            }
        }
    }
}
