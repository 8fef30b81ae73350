//! DescribeConfigs: topics' settings in full, and the few of the broker that clients look for.

use std::sync::Arc;

use engine_wire::error_code::ErrorCode;
use engine_wire::messages::describe_configs_request::DescribeConfigsResource;
use engine_wire::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
};
use engine_wire::messages::{DescribeConfigsRequest, DescribeConfigsResponse, StrBytes};

use crate::exchange::Asker;
use crate::node::Node;
use crate::topic_config::{ConfigSource, ConfigType, Setting, TOPIC_RESOURCE};

const BROKER_RESOURCE: i8 = 4;

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
                let asked = settings.into_iter().filter(|setting| is_asked(setting.name));
                result.with_configs(asked.map(|setting| describe(asker, setting, with_synonyms)).collect())
            }
            Err((code, message)) => result
                .with_error_code(code.code())
                .with_error_message(Some(StrBytes::from_string(message))),
        }
    };
    DescribeConfigsResponse::default().with_results(request.resources.into_iter().map(result).collect())
}

pub(super) fn failed(_: Asker<'_>, request: DescribeConfigsRequest, code: ErrorCode) -> DescribeConfigsResponse {
    let results = request.resources.into_iter().map(|resource| {
        DescribeConfigsResult::default()
            .with_resource_type(resource.resource_type)
            .with_resource_name(resource.resource_name)
            .with_error_code(code.code())
    });
    DescribeConfigsResponse::default().with_results(results.collect())
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
            Ok(topic.config().describe(&node.config))
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
    let setting = |(name, config_type, value)| Setting {
        name,
        config_type,
        value,
        source: ConfigSource::StaticBroker,
    };
    settings.into_iter().map(setting).collect()
}

fn describe(asker: Asker<'_>, setting: Setting, with_synonyms: bool) -> DescribeConfigsResourceResult {
    let name = StrBytes::from_static_str(setting.name);
    let value = Some(StrBytes::from_string(setting.value));
    let synonym = DescribeConfigsSynonym::default()
        .with_name(name.clone())
        .with_value(value.clone())
        .with_source(setting.source as i8);
    let described = DescribeConfigsResourceResult::default()
        .with_name(name)
        .with_value(value)
        .with_read_only(setting.source == ConfigSource::StaticBroker)
        .with_config_source(setting.source as i8)
        .with_synonyms(if with_synonyms { vec![synonym] } else { Vec::new() });
    match asker.version {
        3.. => described.with_config_type(setting.config_type as i8),
        _ => described,
    }
}
