//! CreateTopics.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use engine_wire::error_code::ErrorCode;
use engine_wire::messages::create_topics_request::CreatableTopic;
use engine_wire::messages::create_topics_response::{CreatableTopicConfigs, CreatableTopicResult};
use engine_wire::messages::{CreateTopicsRequest, CreateTopicsResponse, StrBytes};
use uuid::Uuid;

use crate::exchange::Asker;
use crate::node::Node;
use crate::topic_config::{Setting, TopicConfig};

/// What was created, or would have been.
struct Created {
    id: Uuid,
    partitions: i32,
    config: Arc<TopicConfig>,
}

pub(super) fn handle(node: &Arc<Node>, asker: Asker<'_>, request: CreateTopicsRequest) -> CreateTopicsResponse {
    let mut times: HashMap<String, usize> = HashMap::new();
    for topic in &request.topics {
        *times.entry(topic.name.to_string()).or_default() += 1;
    }
    let result = |topic: CreatableTopic| {
        let created = match times.get(topic.name.as_str()) {
            Some(1) => create(node, &topic, request.validate_only),
            _ => Err((ErrorCode::INVALID_REQUEST, "Duplicate topic name.".to_owned())),
        };
        respond(node, asker, topic, created)
    };
    CreateTopicsResponse::default().with_topics(request.topics.into_iter().map(result).collect())
}

pub(super) fn failed(_: Asker<'_>, request: CreateTopicsRequest, code: ErrorCode) -> CreateTopicsResponse {
    let results = request.topics.into_iter().map(|topic| {
        CreatableTopicResult::default()
            .with_name(topic.name)
            .with_error_code(code.code())
    });
    CreateTopicsResponse::default().with_topics(results.collect())
}

fn create(node: &Node, wanted: &CreatableTopic, validate_only: bool) -> Result<Created, (ErrorCode, String)> {
    let partitions = partition_count(node, wanted)?;
    let mut configs = BTreeMap::new();
    for config in &wanted.configs {
        let name = config.name.to_string();
        let value = config.value.as_ref().map(ToString::to_string);
        let null = || {
            (
                ErrorCode::INVALID_CONFIG,
                format!("Null value not supported for topic configs: {name}"),
            )
        };
        configs.insert(name.clone(), value.ok_or_else(null)?);
    }
    if validate_only {
        let config = node.check_new_topic(&wanted.name, partitions, configs)?;
        return Ok(Created {
            id: Uuid::nil(),
            partitions,
            config: Arc::new(config),
        });
    }
    let topic = node.create_topic(&wanted.name, partitions, configs)?;
    Ok(Created {
        id: topic.id,
        partitions,
        config: topic.config(),
    })
}

/// From a count, from a manual assignment, or the default; replicas there can be only one of.
fn partition_count(node: &Node, wanted: &CreatableTopic) -> Result<i32, (ErrorCode, String)> {
    if !wanted.assignments.is_empty() {
        let all_here = wanted
            .assignments
            .iter()
            .all(|one| one.broker_ids.len() == 1 && one.broker_ids.iter().all(|id| id.0 == node.config.node_id));
        let mut indexes: Vec<i32> = wanted.assignments.iter().map(|one| one.partition_index).collect();
        indexes.sort_unstable();
        if !all_here || !indexes.iter().copied().eq(0..indexes.len() as i32) {
            let rule = format!(
                "Assign partitions 0, 1, … to broker {}, the only one.",
                node.config.node_id
            );
            return Err((ErrorCode::INVALID_REPLICA_ASSIGNMENT, rule));
        }
        return Ok(indexes.len() as i32);
    }
    if !matches!(wanted.replication_factor, -1 | 1) {
        let factor = wanted.replication_factor;
        let reason = format!("Replication factor: {factor} larger than available brokers: 1.");
        return Err((ErrorCode::INVALID_REPLICATION_FACTOR, reason));
    }
    Ok(match wanted.num_partitions {
        -1 => node.config.default_partitions,
        count => count,
    })
}

fn respond(
    node: &Node,
    asker: Asker<'_>,
    topic: CreatableTopic,
    created: Result<Created, (ErrorCode, String)>,
) -> CreatableTopicResult {
    let result = CreatableTopicResult::default().with_name(topic.name);
    match created {
        Err((code, message)) => result
            .with_error_code(code.code())
            .with_error_message(Some(StrBytes::from_string(message))),
        Ok(created) => {
            let config = |setting: Setting| {
                CreatableTopicConfigs::default()
                    .with_name(StrBytes::from_static_str(setting.name))
                    .with_value(Some(StrBytes::from_string(setting.value)))
                    .with_config_source(setting.source as i8)
            };
            let result = match asker.version {
                7.. => result.with_topic_id(created.id),
                _ => result,
            };
            match asker.version {
                5.. => result
                    .with_num_partitions(created.partitions)
                    .with_replication_factor(1)
                    .with_configs(Some(
                        created.config.describe(&node.config).into_iter().map(config).collect(),
                    )),
                _ => result,
            }
        }
    }
}
