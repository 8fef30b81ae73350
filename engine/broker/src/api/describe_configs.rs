//! DescribeConfigs: topics' settings in full, and the few of the broker that clients look for.

use std::sync::Arc;

use engine_wire::error_code::ErrorCode;
use engine_wire::messages::describe_configs_request::DescribeConfigsResource;
use engine_wire::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
};
use engine_wire::messages::{DescribeConfigsRequest, DescribeConfigsResponse, StrBytes};

use crate::api::exchange::Asker;
use crate::node::Node;
use crate::topic_config::ConfigType;

pub(super) const TOPIC_RESOURCE: i8 = 2;
const BROKER_RESOURCE: i8 = 4;

/// Where a value comes from: set on the topic, the broker's start, the default.
pub(super) const TOPIC_CONFIG: i8 = 1;
const STATIC_BROKER_CONFIG: i8 = 4;
pub(super) const DEFAULT_CONFIG: i8 = 5;

/// Name, type, value, source.
type Setting = (&'static str, ConfigType, String, i8);

pub(super) fn handle(node: &Arc<Node>, asker: Asker<'_>, request: DescribeConfigsRequest) -> DescribeConfigsResponse {
    let with_synonyms = request.include_synonyms;
    let result = |resource: DescribeConfigsResource| {
        let settings = settings(node, &resource);
        let is_asked = |name: &str| {
            resource
                .configuration_keys
                .as_ref()
                .is_none_or(|keys| keys.iter().any(|key| key.as_str() == name))
        };
        let result = DescribeConfigsResult::default()
            .with_resource_type(resource.resource_type)
            .with_resource_name(resource.resource_name.clone());
        match settings {
            Ok(settings) => {
                let asked = settings.into_iter().filter(|(name, ..)| is_asked(name));
                result.with_configs(asked.map(|setting| describe(asker, setting, with_synonyms)).collect())
            }
            Err((code, message)) => result
                .with_error_code(code.code())
                .with_error_message(Some(StrBytes::from_string(message))),
        }
    };
    DescribeConfigsResponse::default().with_results(request.resources.into_iter().map(result).collect())
}

fn settings(node: &Node, resource: &DescribeConfigsResource) -> Result<Vec<Setting>, (ErrorCode, String)> {
    let name = resource.resource_name.as_str();
    match resource.resource_type {
        TOPIC_RESOURCE => {
            let unknown = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
            let topic = node
                .topics
                .find(name)
                .ok_or_else(|| (unknown, unknown.message().to_owned()))?;
            let source = |is_explicit| if is_explicit { TOPIC_CONFIG } else { DEFAULT_CONFIG };
            let settings = topic.config().describe(&node.config).into_iter();
            Ok(settings
                .map(|(name, config_type, value, explicit)| (name, config_type, value, source(explicit)))
                .collect())
        }
        BROKER_RESOURCE if name.is_empty() => Ok(Vec::new()), // Dynamic defaults, of which there are none.
        BROKER_RESOURCE if name == node.config.node_id.to_string() => Ok(broker_settings(node)),
        BROKER_RESOURCE => {
            let reason = format!(
                "Unexpected broker id, expected {}, but received {name}.",
                node.config.node_id
            );
            Err((ErrorCode::INVALID_REQUEST, reason))
        }
        other => Err((
            ErrorCode::INVALID_REQUEST,
            format!("Resource type {other} has no configuration here."),
        )),
    }
}

fn broker_settings(node: &Node) -> Vec<Setting> {
    let config = &node.config;
    let log_dirs = config
        .data
        .as_ref()
        .map(|data| data.display().to_string())
        .unwrap_or_default();
    let delay = config.group_initial_rebalance_delay.as_millis();
    let settings = [
        (
            "auto.create.topics.enable",
            ConfigType::Boolean,
            config.auto_create_topics.to_string(),
        ),
        ("default.replication.factor", ConfigType::Int, "1".to_owned()),
        ("group.initial.rebalance.delay.ms", ConfigType::Int, delay.to_string()),
        ("log.dirs", ConfigType::String, log_dirs),
        ("log.segment.bytes", ConfigType::Int, config.segment_bytes.to_string()),
        ("max.connections", ConfigType::Int, config.connections_max.to_string()),
        (
            "message.max.bytes",
            ConfigType::Int,
            config.message_bytes_max.to_string(),
        ),
        ("node.id", ConfigType::Int, config.node_id.to_string()),
        ("num.partitions", ConfigType::Int, config.default_partitions.to_string()),
        (
            "offset.metadata.max.bytes",
            ConfigType::Int,
            config.offset_metadata_bytes_max.to_string(),
        ),
        (
            "socket.request.max.bytes",
            ConfigType::Int,
            config.frame_bytes_max.to_string(),
        ),
    ];
    settings
        .into_iter()
        .map(|(name, config_type, value)| (name, config_type, value, STATIC_BROKER_CONFIG))
        .collect()
}

fn describe(asker: Asker<'_>, setting: Setting, with_synonyms: bool) -> DescribeConfigsResourceResult {
    let (name, config_type, value, source) = setting;
    let (name, value) = (StrBytes::from_static_str(name), StrBytes::from_string(value));
    let synonym = DescribeConfigsSynonym::default()
        .with_name(name.clone())
        .with_value(Some(value.clone()))
        .with_source(source);
    let described = DescribeConfigsResourceResult::default()
        .with_name(name)
        .with_value(Some(value))
        .with_read_only(source == STATIC_BROKER_CONFIG)
        .with_config_source(source)
        .with_synonyms(if with_synonyms { vec![synonym] } else { Vec::new() });
    match asker.version {
        3.. => described.with_config_type(config_type as i8),
        _ => described,
    }
}
