//! IncrementalAlterConfigs (KIP-339), for topics. The broker's own settings are those it was started with.

use std::sync::Arc;

use engine_wire::error_code::ErrorCode;
use engine_wire::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use engine_wire::messages::incremental_alter_configs_response::AlterConfigsResourceResponse;
use engine_wire::messages::{IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse, StrBytes};

use crate::exchange::Asker;
use crate::node::Node;
use crate::topic_config::{TOPIC_RESOURCE, TopicConfig};

const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;

pub(super) fn handle(
    node: &Arc<Node>,
    _: Asker<'_>,
    request: IncrementalAlterConfigsRequest,
) -> IncrementalAlterConfigsResponse {
    let validate_only = request.validate_only;
    let respond = |resource: AlterConfigsResource| {
        let response = AlterConfigsResourceResponse::default()
            .with_resource_type(resource.resource_type)
            .with_resource_name(resource.resource_name.clone());
        match alter(node, &resource, validate_only) {
            Ok(()) => response,
            Err((code, message)) => response
                .with_error_code(code.code())
                .with_error_message(Some(StrBytes::from_string(message))),
        }
    };
    IncrementalAlterConfigsResponse::default().with_responses(request.resources.into_iter().map(respond).collect())
}

pub(super) fn failed(
    _: Asker<'_>,
    request: IncrementalAlterConfigsRequest,
    code: ErrorCode,
) -> IncrementalAlterConfigsResponse {
    let responses = request.resources.into_iter().map(|resource| {
        AlterConfigsResourceResponse::default()
            .with_resource_type(resource.resource_type)
            .with_resource_name(resource.resource_name)
            .with_error_code(code.code())
    });
    IncrementalAlterConfigsResponse::default().with_responses(responses.collect())
}

fn alter(node: &Node, resource: &AlterConfigsResource, validate_only: bool) -> Result<(), (ErrorCode, String)> {
    if resource.resource_type != TOPIC_RESOURCE {
        let reason = "The embedded broker's settings are fixed when it starts; only topics can be altered.";
        return Err((ErrorCode::INVALID_REQUEST, reason.to_owned()));
    }
    let unknown = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
    let topic = node
        .topics
        .find(&resource.resource_name)
        .ok_or_else(|| (unknown, unknown.message().to_owned()))?;
    let present = topic.config();
    let mut explicit = present.explicit().clone();
    for change in &resource.configs {
        match changed(&present, change).map_err(|reason| (ErrorCode::INVALID_CONFIG, reason))? {
            Some(value) => explicit.insert(change.name.to_string(), value),
            None => explicit.remove(change.name.as_str()),
        };
    }
    let config = TopicConfig::parse(explicit).map_err(|error| (ErrorCode::INVALID_CONFIG, error.to_string()))?;
    match validate_only {
        true => Ok(()),
        false => node.set_topic_config(&topic, config),
    }
}

/// The value after the change; `None` for the default.
fn changed(present: &TopicConfig, change: &AlterableConfig) -> Result<Option<String>, String> {
    let name = change.name.as_str();
    let value = change.value.as_ref().map(ToString::to_string);
    let value = || {
        value
            .clone()
            .ok_or_else(|| format!("Null value not supported for {name}."))
    };
    let list = || present.list_items(name).ok_or_else(|| format!("{name} is not a list."));
    match change.config_operation {
        SET => Ok(Some(value()?)),
        DELETE => Ok(None),
        APPEND => {
            let mut items = list()?;
            let value = value()?;
            let new = value
                .split(',')
                .filter(|item| !items.iter().any(|present| present == item));
            let new: Vec<String> = new.map(str::to_owned).collect();
            items.extend(new);
            Ok(Some(items.join(",")))
        }
        SUBTRACT => {
            let value = value()?;
            let kept = list()?
                .into_iter()
                .filter(|item| !value.split(',').any(|gone| gone == item));
            Ok(Some(kept.collect::<Vec<_>>().join(",")))
        }
        other => Err(format!("Unknown operation {other} on {name}.")),
    }
}
