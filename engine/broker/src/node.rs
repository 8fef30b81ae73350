//! The broker's state, without its sockets: topics and their logs, groups, producer ids, the journal.
//!
//! Request handlers share one [`Node`]. Locks are small and never nested but in this order: changing topics, topic
//! table, transactional ids, transaction, group table, group, journal; a partition's lock is taken alone, or inside
//! that of the transaction it is written in.

mod retention;
mod storage;
#[cfg(test)]
mod tests;
mod transactions;

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use engine_wire::error_code::ErrorCode;
use tracing::error;
use uuid::Uuid;

use crate::config::{BrokerConfig, FsyncPolicy};
use crate::coordinator::Coordinator;
use crate::fault::observer::Observer;
use crate::fault::{Faults, Restarts};
use crate::fetch_session::FetchSessions;
use crate::journal::Journal;
use crate::journal::fact::Fact;
use crate::log::Log;
use crate::node::storage::lock_directory;
use crate::partition::Partition;
use crate::start_error::StartError;
use crate::topic::{Topic, Topics, is_valid_name};
use crate::topic_config::TopicConfig;
use crate::transaction_coordinator::TransactionCoordinator;

/// Producer ids are journalled in blocks, so that a crash wastes some but repeats none.
const PRODUCER_ID_BLOCK: i64 = 1_000;

/// Everything the request handlers work on.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) config: BrokerConfig,
    pub(crate) cluster_id: String,
    /// Where clients are told to connect.
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) topics: Topics,
    pub(crate) coordinator: Coordinator,
    pub(crate) transactions: TransactionCoordinator,
    pub(crate) journal: Journal,
    pub(crate) faults: Faults,
    pub(crate) observer: Observer,
    pub(crate) restarts: Restarts,
    pub(crate) fetch_sessions: FetchSessions,
    /// Of every partition when the broker started.
    leader_epoch: i32,
    /// The largest of any partition.
    leader_epoch_max: Mutex<i32>,
    next_producer_id: AtomicI64,
    producer_ids_below: Mutex<i64>,
    /// Of all partitions.
    total_bytes: Arc<AtomicU64>,
    is_trimming: AtomicBool,
    /// Held while topics are made, grown, configured or deleted, so that the journal tells the same story.
    changing_topics: Mutex<()>,
    /// Held as long as the data directory is used.
    _lock_file: Option<File>,
}

impl Node {
    /// Opens the data directory, if there is one, and recovers what is in it.
    pub(crate) fn open(config: BrokerConfig, host: String, port: u16) -> Result<Self, StartError> {
        let coordinator = Coordinator::new(&config);
        let mut node = Self {
            cluster_id: Uuid::from_u128(random_id()).simple().to_string(),
            host,
            port,
            topics: Topics::default(),
            coordinator,
            transactions: TransactionCoordinator::new(config.transactional_ids_max),
            journal: Journal::none(),
            faults: Faults::default(),
            observer: Observer::default(),
            restarts: Restarts::default(),
            fetch_sessions: FetchSessions::new(config.fetch_sessions_max),
            leader_epoch: 0,
            leader_epoch_max: Mutex::new(0),
            next_producer_id: AtomicI64::new(0),
            producer_ids_below: Mutex::new(0),
            total_bytes: Arc::default(),
            is_trimming: AtomicBool::new(false),
            changing_topics: Mutex::new(()),
            _lock_file: None,
            config,
        };
        if let Some(data) = node.config.data.clone() {
            node._lock_file = Some(lock_directory(&data)?);
            node.recover(&data)
                .map_err(|source| StartError::Data { path: data, source })?;
            node.handle_transaction_deadlines(now_ms());
        }
        Ok(node)
    }

    /// Makes a topic, known after a restart before anybody can write to it. Answers with the reason in Kafka's
    /// terms and words.
    pub(crate) fn create_topic(
        &self,
        name: &str,
        partitions: i32,
        configs: BTreeMap<String, String>,
    ) -> Result<Arc<Topic>, (ErrorCode, String)> {
        let _changing = self.change_topics();
        let config = self.check_new_topic(name, partitions, configs)?;
        let id = Uuid::from_u128(random_id());
        let new_partition = |index| self.new_partition(name, id, index);
        let opened: io::Result<Vec<_>> = (0..partitions).map(new_partition).collect();
        let explicit = config.explicit().clone();
        let topic = opened.map(|opened| Arc::new(Topic::new(Arc::from(name), id, opened, config)));
        let topic = topic.map_err(|error| self.storage_failed("create the topic's logs", &error))?;
        let fact = Fact::Topic {
            name: name.to_owned(),
            id,
            partitions,
            configs: explicit,
        };
        if let Err(error) = self.journal.record(&[fact]) {
            self.delete_files(&topic);
            return Err(self.storage_failed("record the topic", &error));
        }
        self.topics.insert(Arc::clone(&topic));
        Ok(topic)
    }

    /// All checks of [`create_topic`](Self::create_topic), without creating it.
    pub(crate) fn check_new_topic(
        &self,
        name: &str,
        partitions: i32,
        configs: BTreeMap<String, String>,
    ) -> Result<TopicConfig, (ErrorCode, String)> {
        if !is_valid_name(name) {
            let rule = "1 to 249 characters of [a-zA-Z0-9._-], not '.' or '..'";
            return Err((
                ErrorCode::INVALID_TOPIC_EXCEPTION,
                format!("Topic name is invalid: {rule}."),
            ));
        }
        if self.topics.find(name).is_some() {
            return Err((
                ErrorCode::TOPIC_ALREADY_EXISTS,
                format!("Topic '{name}' already exists."),
            ));
        }
        self.check_partition_count(partitions)?;
        if self.topics.count() >= self.config.topics_max {
            let bound = self.config.topics_max;
            return Err((
                ErrorCode::POLICY_VIOLATION,
                format!("This broker holds at most {bound} topics."),
            ));
        }
        TopicConfig::parse(configs).map_err(|error| (ErrorCode::INVALID_CONFIG, error.to_string()))
    }

    fn check_partition_count(&self, partitions: i32) -> Result<(), (ErrorCode, String)> {
        let bound = self.config.partitions_max;
        match partitions {
            1.. if partitions <= bound => Ok(()),
            _ => Err((
                ErrorCode::INVALID_PARTITIONS,
                format!("Number of partitions must be 1 to {bound}."),
            )),
        }
    }

    /// Grows a topic to `count` partitions, which must be more than it has.
    pub(crate) fn add_partitions(&self, topic: &Topic, count: i32) -> Result<(), (ErrorCode, String)> {
        let _changing = self.change_topics();
        self.check_growth(topic, count)?;
        let new_partition = |index| self.new_partition(&topic.name, topic.id, index);
        let opened: io::Result<Vec<_>> = (topic.partition_count()..count).map(new_partition).collect();
        let opened = opened.map_err(|error| self.storage_failed("create the partitions' logs", &error))?;
        let grown = self.topic_fact(topic, count, &topic.config());
        self.journal
            .record(&[grown])
            .map_err(|error| self.storage_failed("record the partitions", &error))?;
        topic.add_partitions(opened);
        Ok(())
    }

    /// All checks of [`add_partitions`](Self::add_partitions), without adding them.
    pub(crate) fn check_growth(&self, topic: &Topic, count: i32) -> Result<(), (ErrorCode, String)> {
        self.check_partition_count(count)?;
        let (name, present) = (&topic.name, topic.partition_count());
        match count > present {
            true => Ok(()),
            false => Err((
                ErrorCode::INVALID_PARTITIONS,
                format!("Topic {name} has {present} partitions, {count} would not be an increase."),
            )),
        }
    }

    pub(crate) fn set_topic_config(&self, topic: &Topic, config: TopicConfig) -> Result<(), (ErrorCode, String)> {
        let _changing = self.change_topics();
        let changed = self.topic_fact(topic, topic.partition_count(), &config);
        self.journal
            .record(&[changed])
            .map_err(|error| self.storage_failed("record the configuration", &error))?;
        topic.set_config(config);
        Ok(())
    }

    /// Deletes a topic, its files, and what groups committed for it.
    pub(crate) fn delete_topic(&self, name: &str) -> Result<Arc<Topic>, (ErrorCode, String)> {
        let unknown = || {
            (
                ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
                "This server does not host this topic.".to_owned(),
            )
        };
        let _changing = self.change_topics();
        let topic = self.topics.remove(name).ok_or_else(unknown)?;
        let mut forgotten = vec![self.topic_fact(&topic, 0, &topic.config())];
        for partition in topic.partitions() {
            partition.wake_waiting();
            forgotten.push(Fact::LogStart {
                topic_id: topic.id,
                partition: partition.index,
                offset: 0,
            });
        }
        for group_id in self.coordinator.ids() {
            let removed = self
                .coordinator
                .with_existing(&group_id, |group| group.offsets.remove_topic(name));
            let committed = |partition: i32| Fact::Committed {
                group: group_id.clone(),
                topic: name.to_owned(),
                partition,
                offset: 0,
                leader_epoch: -1,
                metadata: String::new(),
            };
            forgotten.extend(removed.unwrap_or_default().into_iter().map(committed));
        }
        self.journal
            .forget(&forgotten)
            .map_err(|error| self.storage_failed("record the deletion", &error))?;
        self.delete_files(&topic);
        Ok(topic)
    }

    /// Advances a partition's start, if `offset` is after it, and remembers that.
    pub(crate) fn delete_records(&self, topic: &Topic, partition: &Partition, offset: i64) -> io::Result<i64> {
        let log_start_offset = partition.change(|log| {
            log.advance_start(offset);
            log.log_start_offset()
        });
        self.record_log_start(topic, partition)?;
        Ok(log_start_offset)
    }

    pub(crate) fn record_log_start(&self, topic: &Topic, partition: &Partition) -> io::Result<()> {
        let offset = partition.look(Log::log_start_offset);
        self.journal.record(&[Fact::LogStart {
            topic_id: topic.id,
            partition: partition.index,
            offset,
        }])
    }

    /// A partition's leader moves, to this broker as ever: its next term begins, and none after a restart is lower.
    pub(crate) fn move_leader(&self, partition: &Partition) -> i32 {
        let leader_epoch = partition.move_leader();
        let mut max = self.leader_epoch_max.lock().unwrap_or_else(PoisonError::into_inner);
        if leader_epoch > *max {
            *max = leader_epoch;
            if let Err(error) = self.journal.record(&[Fact::Starts(leader_epoch + 1)]) {
                error!(%error, "A leader epoch was not recorded.");
            }
        }
        leader_epoch
    }

    pub(crate) fn move_all_leaders(&self) {
        for topic in self.topics.all() {
            for partition in topic.partitions() {
                self.move_leader(&partition);
            }
        }
    }

    /// A producer id that nobody has had before.
    pub(crate) fn allocate_producer_id(&self) -> io::Result<i64> {
        let id = self.next_producer_id.fetch_add(1, Ordering::Relaxed);
        let mut below = self.producer_ids_below.lock().unwrap_or_else(PoisonError::into_inner);
        if id >= *below {
            self.journal.record(&[Fact::ProducerIdsBelow(id + PRODUCER_ID_BLOCK)])?;
            *below = id + PRODUCER_ID_BLOCK;
        }
        Ok(id)
    }

    /// Whether an acknowledgement waits for the disk.
    pub(crate) fn syncs_appends(&self) -> bool {
        self.config.fsync == FsyncPolicy::EveryAppend
    }

    /// Everything to disk, before a clean stop.
    pub(crate) fn sync(&self) {
        for topic in self.topics.all() {
            for partition in topic.partitions() {
                if let Err(error) = partition.look(Log::sync) {
                    error!(topic = %topic.name, partition = partition.index, %error, "Log not synced.");
                }
            }
        }
        if let Err(error) = self.journal.sync() {
            error!(%error, "Journal not synced.");
        }
    }

    /// Logs a failure of the disk and puts it into Kafka's terms.
    pub(crate) fn storage_failed(&self, operation: &str, error: &io::Error) -> (ErrorCode, String) {
        error!(operation, %error, "Storage failed.");
        (
            ErrorCode::KAFKA_STORAGE_ERROR,
            format!("Could not {operation}: {error}."),
        )
    }

    fn change_topics(&self) -> MutexGuard<'_, ()> {
        self.changing_topics.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn topic_fact(&self, topic: &Topic, partitions: i32, config: &TopicConfig) -> Fact {
        Fact::Topic {
            name: topic.name.to_string(),
            id: topic.id,
            partitions,
            configs: config.explicit().clone(),
        }
    }
}

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> i64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX)
}

/// 128 bits for topic, member and cluster ids; as a topic id never nil, which means "no id".
pub(crate) fn random_id() -> u128 {
    fastrand::u128(1..)
}
