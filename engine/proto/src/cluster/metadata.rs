//! The metadata cache.
//!
//! Three rules keep it from going backwards. A leader epoch older than the cached one is
//! stale and ignored (KIP-320), unless the topic has a new id, which means that it was deleted
//! and created again (KIP-516). A topic that is reported missing keeps its partitions, because
//! restarting brokers report that for a moment; the error is noted beside them.
//! Never here: when to ask (see `cluster::refresh`).

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use engine_wire::{
    error_code::ErrorCode,
    messages::{
        MetadataResponse,
        metadata_response::{MetadataResponsePartition, MetadataResponseTopic},
    },
};
use uuid::Uuid;

/// Brokers and topics as last heard. Cheap to clone per topic: topics are shared.
#[derive(Debug, Clone, Default)]
pub struct ClusterMetadata {
    cluster_id: Option<Arc<str>>,
    controller_id: Option<i32>,
    brokers: BTreeMap<i32, Broker>,
    topics: BTreeMap<Arc<str>, Arc<TopicMetadata>>,
    /// The ids that topics had before they were created anew.
    former_ids: HashMap<Arc<str>, FormerId>,
}

/// The id that a topic had before. A broker that lags may still tell it: once in a row it is not believed, or
/// partitions would go back to a topic that is gone. At the second time ours was the answer that lagged.
#[derive(Debug, Clone, Copy)]
struct FormerId {
    topic_id: Uuid,
    was_heard_again: bool,
}

/// One broker's address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broker {
    /// The node id.
    pub node_id: i32,
    /// The advertised host.
    pub host: Arc<str>,
    /// The advertised port.
    pub port: u16,
    /// The rack, if the broker has one.
    pub rack: Option<Arc<str>>,
}

/// One topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicMetadata {
    /// The name.
    pub name: Arc<str>,
    /// The topic id; `None` from brokers that have none (before 2.8).
    pub topic_id: Option<Uuid>,
    /// Whether it is one of Kafka's own (`__consumer_offsets`).
    pub is_internal: bool,
    /// The last answer's error for the topic as a whole, `NONE` if it had none.
    pub error: ErrorCode,
    /// The partitions by index, without gaps. Empty if the topic never existed for us.
    pub partitions: Vec<PartitionMetadata>,
}

/// One partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionMetadata {
    /// The leader's node id; `None` while there is none.
    pub leader_id: Option<i32>,
    /// The leader's epoch; -1 if the broker does not tell (Metadata before version 7).
    pub leader_epoch: i32,
    /// Replicas by node id.
    pub replicas: Vec<i32>,
    /// In-sync replicas by node id.
    pub in_sync_replicas: Vec<i32>,
    /// The last answer's error for the partition.
    pub error: ErrorCode,
}

/// Who leads a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leader {
    /// The broker.
    pub node_id: i32,
    /// Its epoch; -1 if not known.
    pub leader_epoch: i32,
}

impl ClusterMetadata {
    /// The cluster's id, once a broker told it.
    pub fn cluster_id(&self) -> Option<&Arc<str>> {
        self.cluster_id.as_ref()
    }

    /// The controller (under KRaft: any broker, which forwards).
    pub fn controller_id(&self) -> Option<i32> {
        self.controller_id
    }

    /// All brokers, by node id.
    pub fn brokers(&self) -> impl Iterator<Item = &Broker> {
        self.brokers.values()
    }

    /// One broker.
    pub fn broker(&self, node_id: i32) -> Option<&Broker> {
        self.brokers.get(&node_id)
    }

    /// All topics that were asked for, by name: what follows from them must not depend on chance.
    pub fn topics(&self) -> impl Iterator<Item = &Arc<TopicMetadata>> {
        self.topics.values()
    }

    /// One topic, also if it is only known to be missing.
    pub fn topic(&self, name: &str) -> Option<&Arc<TopicMetadata>> {
        self.topics.get(name)
    }

    /// The topic's id, if brokers give ids.
    pub fn topic_id(&self, name: &str) -> Option<Uuid> {
        self.topics.get(name)?.topic_id
    }

    /// The topic with this id.
    pub fn topic_by_id(&self, topic_id: Uuid) -> Option<&Arc<TopicMetadata>> {
        let mut topics = self.topics.values();
        topics.find(|topic| topic.topic_id == Some(topic_id))
    }

    /// The number of partitions, once the topic is known to exist.
    pub fn partition_count(&self, topic: &str) -> Option<i32> {
        let count = self.topics.get(topic)?.partitions.len();
        (count > 0).then_some(count as i32)
    }

    /// The partition's leader, if it has one whose address is known.
    pub fn leader_for(&self, topic: &str, partition: i32) -> Option<Leader> {
        let topic = self.topics.get(topic)?;
        let partition = topic.partitions.get(usize::try_from(partition).ok()?)?;
        let node_id = partition.leader_id?;
        self.brokers.contains_key(&node_id).then_some(Leader {
            node_id,
            leader_epoch: partition.leader_epoch,
        })
    }

    /// Takes the answer to a request for all topics in. Those that it does not mention are gone: noted as missing
    /// at the first such answer, because a restarting broker may not know them yet, forgotten at the second.
    pub fn apply_all(&mut self, response: &MetadataResponse) {
        self.apply(response);
        let named = response.topics.iter().filter_map(|topic| topic.name.as_ref());
        let named: HashSet<&str> = named.map(|name| name.0.as_str()).collect();
        self.topics.retain(|name, topic| {
            if named.contains(&**name) {
                return true;
            }
            let was_missing = topic.error == ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
            if !was_missing {
                Arc::make_mut(topic).error = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
            }
            !was_missing
        });
        self.former_ids.retain(|name, _| self.topics.contains_key(name));
    }

    /// Takes an answer in. Topics that it does not mention stay as they are.
    pub fn apply(&mut self, response: &MetadataResponse) {
        if let Some(cluster_id) = &response.cluster_id {
            self.cluster_id = Some(cluster_id.as_str().into());
        }
        let controller_id = response.controller_id.0;
        self.controller_id = (controller_id >= 0).then_some(controller_id);
        // An empty broker list is a broker that just started and knows nobody: keep what we have.
        if !response.brokers.is_empty() {
            self.brokers = response
                .brokers
                .iter()
                .filter_map(|broker| {
                    let node_id = broker.node_id.0;
                    let port = u16::try_from(broker.port).ok()?;
                    let host = broker.host.as_str().into();
                    let rack = broker.rack.as_ref().map(|rack| rack.as_str().into());
                    (node_id >= 0).then_some((
                        node_id,
                        Broker {
                            node_id,
                            host,
                            port,
                            rack,
                        },
                    ))
                })
                .collect();
        }
        for topic in &response.topics {
            self.apply_topic(topic);
        }
    }

    /// A produce or fetch answer named a newer leader (KIP-951). An older epoch is ignored, and so is the leader of a
    /// topic that has another id by now: its epochs say nothing of the new one's. `topic_id` is that of the request.
    pub fn apply_leader(&mut self, topic: &str, topic_id: Option<Uuid>, partition: i32, leader: Leader) {
        let Some(topic) = self.topics.get_mut(topic) else {
            return;
        };
        if !is_same_id(topic.topic_id, topic_id) {
            return;
        }
        let Ok(index) = usize::try_from(partition) else {
            return;
        };
        let known = topic.partitions.get(index).map(|known| known.leader_epoch);
        // A leader that nobody can find would keep out, with its epoch, those that metadata names later.
        let is_found = self.brokers.contains_key(&leader.node_id);
        if known.is_some_and(|epoch| leader.leader_epoch > epoch) && is_found {
            let known = &mut Arc::make_mut(topic).partitions[index];
            known.leader_id = Some(leader.node_id);
            known.leader_epoch = leader.leader_epoch;
        }
    }

    /// Forgets a topic that nobody uses any more.
    pub fn remove_topic(&mut self, name: &str) {
        self.topics.remove(name);
        self.former_ids.remove(name);
    }

    fn apply_topic(&mut self, heard: &MetadataResponseTopic) {
        let Some(name) = heard.name.as_ref().map(|name| name.0.as_str()) else {
            return;
        };
        let error = ErrorCode::from(heard.error_code);
        let topic_id = (!heard.topic_id.is_nil()).then_some(heard.topic_id);
        let known = self.topics.get(name).cloned();
        if error != ErrorCode::NONE {
            let mut topic = known.map_or_else(
                || TopicMetadata {
                    name: name.into(),
                    topic_id: None,
                    is_internal: heard.is_internal,
                    error,
                    partitions: Vec::new(),
                },
                |known| TopicMetadata::clone(&known),
            );
            topic.error = error;
            self.topics.insert(topic.name.clone(), Arc::new(topic));
            return;
        }
        if let Some(known) = &known
            && !self.is_believable(known, topic_id)
        {
            return;
        }
        let known_partitions = match &known {
            Some(known) if is_same_id(known.topic_id, topic_id) => known.partitions.as_slice(),
            _ => &[],
        };
        let Some(partitions) = merge_partitions(known_partitions, &heard.partitions) else {
            return; // Gaps in the partition indexes: not an answer to build on.
        };
        // Of brokers of different versions some give no ids; without the known one a topic that is created
        // anew would not be noticed.
        let topic_id = topic_id.or(known.as_ref().and_then(|known| known.topic_id));
        let name = known.map_or_else(|| name.into(), |known| Arc::clone(&known.name));
        let topic = TopicMetadata {
            name: Arc::clone(&name),
            topic_id,
            is_internal: heard.is_internal,
            error,
            partitions,
        };
        self.topics.insert(name, Arc::new(topic));
    }

    /// Whether the id that an answer tells is not one from the past; notes the known one if it is another.
    fn is_believable(&mut self, known: &TopicMetadata, heard: Option<Uuid>) -> bool {
        let former = self.former_ids.get_mut(&known.name);
        match (known.topic_id, heard) {
            (Some(known_id), Some(heard)) if known_id != heard => {
                if let Some(former) = former.filter(|former| former.topic_id == heard && !former.was_heard_again) {
                    former.was_heard_again = true;
                    return false;
                }
                let former = FormerId {
                    topic_id: known_id,
                    was_heard_again: false,
                };
                self.former_ids.insert(Arc::clone(&known.name), former);
            }
            (Some(_), Some(_)) => {
                if let Some(former) = former {
                    former.was_heard_again = false;
                }
            }
            _ => {}
        }
        true
    }
}

/// Whether two ids can be those of one topic; brokers before 2.8 tell none.
fn is_same_id(known: Option<Uuid>, heard: Option<Uuid>) -> bool {
    known.is_none() || heard.is_none() || known == heard
}

/// The partitions by index. `None` if the answer has gaps or duplicates.
fn merge_partitions(
    known: &[PartitionMetadata],
    heard: &[MetadataResponsePartition],
) -> Option<Vec<PartitionMetadata>> {
    let mut by_index: Vec<&MetadataResponsePartition> = heard.iter().collect();
    by_index.sort_by_key(|partition| partition.partition_index);
    let mut partitions = Vec::with_capacity(by_index.len());
    for (index, heard) in by_index.into_iter().enumerate() {
        if heard.partition_index != i32::try_from(index).ok()? {
            return None;
        }
        let leader_id = heard.leader_id.0;
        let mut partition = PartitionMetadata {
            leader_id: (leader_id >= 0).then_some(leader_id),
            leader_epoch: heard.leader_epoch,
            replicas: heard.replica_nodes.iter().map(|node| node.0).collect(),
            in_sync_replicas: heard.isr_nodes.iter().map(|node| node.0).collect(),
            error: ErrorCode::from(heard.error_code),
        };
        if let Some(known) = known.get(index)
            && heard.leader_epoch >= 0
            && heard.leader_epoch < known.leader_epoch
        {
            partition = known.clone(); // A broker that lags behind the controller.
        }
        partitions.push(partition);
    }
    // Partitions are only ever added; a shorter list comes from a broker that lags behind.
    partitions.extend_from_slice(known.get(partitions.len()..).unwrap_or_default());
    Some(partitions)
}

#[cfg(test)]
mod tests;
