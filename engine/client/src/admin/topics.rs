//! Topics: create, grow, delete, list, describe, and their configuration.

use std::collections::BTreeMap;

use engine_wire::error_code::ErrorCode;
use engine_wire::messages::{
    CreatePartitionsRequest, CreateTopicsRequest, DeleteTopicsRequest, DescribeConfigsRequest, MetadataRequest,
    MetadataResponse, StrBytes,
    create_partitions_request::CreatePartitionsTopic,
    create_topics_request::{CreatableTopic, CreatableTopicConfig},
    delete_topics_request::DeleteTopicState,
    describe_configs_request::DescribeConfigsResource,
    metadata_request::MetadataRequestTopic,
    metadata_response::MetadataResponseTopic,
};

use super::{Admin, AdminError, PerItem, Refusal};
use crate::{
    cluster::{Lane, NodeTarget},
    offsets::list::topic_name,
};

/// A topic to create.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewTopic {
    /// The name.
    pub name: String,
    /// Partitions; `None` is the broker's `num.partitions` (brokers from 2.4).
    pub partitions: Option<i32>,
    /// Replicas of each; `None` is the broker's `default.replication.factor` (brokers from 2.4).
    pub replication_factor: Option<i16>,
    /// Properties, such as `cleanup.policy`.
    pub configs: BTreeMap<String, String>,
}

/// A topic as the cluster has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicDescription {
    /// The name.
    pub name: String,
    /// The topic id as a UUID; `None` from brokers before 2.8.
    pub topic_id: Option<String>,
    /// Kafka's own, such as `__consumer_offsets`.
    pub is_internal: bool,
    /// By index.
    pub partitions: Vec<PartitionDescription>,
}

/// One partition of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionDescription {
    /// The index.
    pub partition: i32,
    /// The leader's node id; `None` while there is none.
    pub leader: Option<i32>,
    /// Its epoch, -1 if the broker does not say.
    pub leader_epoch: i32,
    /// Node ids.
    pub replicas: Vec<i32>,
    /// Node ids.
    pub in_sync_replicas: Vec<i32>,
    /// Node ids of replicas whose broker is down.
    pub offline_replicas: Vec<i32>,
}

/// One property of a topic or a broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigEntry {
    /// The name.
    pub name: String,
    /// The value; `None` if it is secret.
    pub value: Option<String>,
    /// Whether it is a default, that is, set neither here nor for the cluster.
    pub is_default: bool,
    /// Whether it cannot be changed while the broker runs.
    pub is_read_only: bool,
    /// Whether the value is withheld.
    pub is_sensitive: bool,
}

impl Admin {
    /// Creates topics.
    ///
    /// # Errors
    /// If the request fails; a topic's own refusal is in its result.
    pub async fn create_topics(&self, topics: &[NewTopic]) -> Result<PerItem<String, ()>, AdminError> {
        let wanted = topics.iter().map(|topic| {
            let configs = topic.configs.iter().map(|(name, value)| {
                CreatableTopicConfig::default()
                    .with_name(StrBytes::from_string(name.clone()))
                    .with_value(Some(StrBytes::from_string(value.clone())))
            });
            CreatableTopic::default()
                .with_name(topic_name(&topic.name))
                .with_num_partitions(topic.partitions.unwrap_or(-1))
                .with_replication_factor(topic.replication_factor.unwrap_or(-1))
                .with_configs(configs.collect())
        });
        let request = CreateTopicsRequest::default()
            .with_topics(wanted.collect())
            .with_timeout_ms(self.timeout_ms());
        let deadline = self.deadline();
        loop {
            let (target, timeout) = (NodeTarget::Controller, self.cluster.config().request_timeout);
            let ask = || self.cluster.request(target, Lane::Control, request.clone(), timeout);
            let response = self.write(deadline, ask).await?;
            let moved = response.topics.iter().map(|topic| ErrorCode::from(topic.error_code));
            if let Some(code) = moved.into_iter().find(|code| *code == ErrorCode::NOT_CONTROLLER)
                && self.pause_before_retry(code, deadline).await
            {
                let ticket = self.cluster.refresh_metadata();
                self.cluster.wait_refreshed(ticket, deadline).await?;
                continue;
            }
            let results = response.topics.into_iter();
            return Ok(results
                .map(|topic| {
                    (
                        topic.name.0.to_string(),
                        Refusal::check(topic.error_code, topic.error_message),
                    )
                })
                .collect());
        }
    }

    /// Grows topics: each to this number of partitions, which must be more than it has.
    ///
    /// # Errors
    /// If the request fails; a topic's own refusal is in its result.
    pub async fn create_partitions(&self, counts: &[(&str, i32)]) -> Result<PerItem<String, ()>, AdminError> {
        let topics = counts.iter().map(|(name, count)| {
            CreatePartitionsTopic::default()
                .with_name(topic_name(name))
                .with_count(*count)
                // The brokers choose where the new ones live.
                .with_assignments(None)
        });
        let request = CreatePartitionsRequest::default()
            .with_topics(topics.collect())
            .with_timeout_ms(self.timeout_ms());
        let (target, timeout) = (NodeTarget::Controller, self.cluster.config().request_timeout);
        let response = self.cluster.request(target, Lane::Control, request, timeout).await?;
        let results = response.results.into_iter().map(|topic| {
            let refused = Refusal::check(topic.error_code, topic.error_message);
            (topic.name.0.to_string(), refused)
        });
        Ok(results.collect())
    }

    /// Deletes topics.
    ///
    /// # Errors
    /// If the request fails; a topic's own refusal is in its result.
    pub async fn delete_topics(&self, names: &[&str]) -> Result<PerItem<String, ()>, AdminError> {
        let timeout_ms = self.timeout_ms();
        let build = |version: i16| {
            let request = DeleteTopicsRequest::default().with_timeout_ms(timeout_ms);
            match version >= 6 {
                true => request.with_topics(
                    names
                        .iter()
                        .map(|name| DeleteTopicState::default().with_name(Some(topic_name(name))))
                        .collect(),
                ),
                false => request.with_topic_names(names.iter().map(|name| topic_name(name)).collect()),
            }
        };
        let (target, timeout) = (NodeTarget::Controller, self.cluster.config().request_timeout);
        let response = self
            .cluster
            .request_with(target, Lane::Control, None, build, timeout)
            .await?;
        let results = response.responses.into_iter().map(|topic| {
            let name = topic.name.map(|name| name.0.to_string()).unwrap_or_default();
            (name, Refusal::check(topic.error_code, topic.error_message))
        });
        Ok(results.collect())
    }

    /// All topics by name, internal ones included.
    ///
    /// # Errors
    /// If the request fails.
    pub async fn list_topics(&self) -> Result<Vec<TopicDescription>, AdminError> {
        let response = self.metadata(None).await?;
        let mut topics: Vec<_> = response.topics.into_iter().map(described).collect();
        topics.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(topics)
    }

    /// Some topics. Asking does not create them.
    ///
    /// # Errors
    /// If the request fails; a topic's own refusal is in its result.
    pub async fn describe_topics(&self, names: &[&str]) -> Result<PerItem<String, TopicDescription>, AdminError> {
        let response = self.metadata(Some(names)).await?;
        let results = response.topics.into_iter().map(|topic| {
            let refused = Refusal::check(topic.error_code, None);
            let description = described(topic);
            (description.name.clone(), refused.map(|()| description))
        });
        Ok(results.collect())
    }

    /// All properties of some topics.
    ///
    /// # Errors
    /// If the request fails; a topic's own refusal is in its result.
    pub async fn describe_configs(&self, topics: &[&str]) -> Result<PerItem<String, Vec<ConfigEntry>>, AdminError> {
        let resources = topics.iter().map(|name| {
            DescribeConfigsResource::default()
                .with_resource_type(TOPIC)
                .with_resource_name(StrBytes::from_string((*name).to_owned()))
                .with_configuration_keys(None)
        });
        let request = DescribeConfigsRequest::default().with_resources(resources.collect());
        let timeout = self.cluster.config().request_timeout;
        let ask = || {
            self.cluster
                .request(NodeTarget::Any, Lane::Control, request.clone(), timeout)
        };
        let response = self.read(self.deadline(), ask).await?;
        let results = response.results.into_iter().map(|resource| {
            let refused = Refusal::check(resource.error_code, resource.error_message);
            let entries = resource.configs.into_iter().map(|entry| ConfigEntry {
                name: entry.name.to_string(),
                value: entry.value.map(|value| value.to_string()),
                is_default: entry.config_source == DEFAULT_CONFIG,
                is_read_only: entry.read_only,
                is_sensitive: entry.is_sensitive,
            });
            (resource.resource_name.to_string(), refused.map(|()| entries.collect()))
        });
        Ok(results.collect())
    }

    async fn metadata(&self, names: Option<&[&str]>) -> Result<MetadataResponse, AdminError> {
        let topics = names.map(|names| {
            names
                .iter()
                .map(|name| MetadataRequestTopic::default().with_name(Some(topic_name(name))))
                .collect()
        });
        let request = MetadataRequest::default()
            .with_topics(topics)
            .with_allow_auto_topic_creation(false);
        let timeout = self.cluster.config().request_timeout;
        let ask = || {
            self.cluster
                .request(NodeTarget::Any, Lane::Control, request.clone(), timeout)
        };
        Ok(self.read(self.deadline(), ask).await?)
    }

    pub(super) fn timeout_ms(&self) -> i32 {
        i32::try_from(self.cluster.config().request_timeout.as_millis()).unwrap_or(i32::MAX)
    }
}

fn described(topic: MetadataResponseTopic) -> TopicDescription {
    let mut partitions: Vec<_> = topic
        .partitions
        .into_iter()
        .map(|partition| PartitionDescription {
            partition: partition.partition_index,
            leader: Some(partition.leader_id.0).filter(|leader| *leader >= 0),
            leader_epoch: partition.leader_epoch,
            replicas: partition.replica_nodes.iter().map(|node| node.0).collect(),
            in_sync_replicas: partition.isr_nodes.iter().map(|node| node.0).collect(),
            offline_replicas: partition.offline_replicas.iter().map(|node| node.0).collect(),
        })
        .collect();
    partitions.sort_by_key(|partition| partition.partition);
    TopicDescription {
        name: topic.name.map(|name| name.0.to_string()).unwrap_or_default(),
        topic_id: (!topic.topic_id.is_nil()).then(|| topic.topic_id.to_string()),
        is_internal: topic.is_internal,
        partitions,
    }
}

/// DescribeConfigs' number for topics.
const TOPIC: i8 = 2;
/// DescribeConfigs' number for a value that nobody set.
const DEFAULT_CONFIG: i8 = 5;
