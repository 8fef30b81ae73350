//! The data directory: what is where, who may use it, and what a start finds in it.
//!
//! ```text
//! data/lock                                   held by the one broker that uses it
//! data/journal.log                            topics, committed offsets, log starts (see `journal`)
//! data/logs/TOPIC.ID/PARTITION/OFFSET.log     batches (see `log::disk`)
//! ```

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicI64;
use std::sync::{Arc, Mutex};

use tracing::{info, warn};
use uuid::Uuid;

use crate::group::offsets::CommittedOffset;
use crate::journal::Journal;
use crate::journal::fact::Fact;
use crate::log::Log;
use crate::log::disk::DiskLog;
use crate::node::Node;
use crate::partition::Partition;
use crate::start_error::StartError;
use crate::topic::Topic;
use crate::topic_config::TopicConfig;

impl Node {
    /// Takes over what the journal and the logs hold.
    pub(super) fn recover(&mut self, data: &Path) -> io::Result<()> {
        let (journal, facts) = Journal::open(data, self.syncs_appends())?;
        let mut log_starts = BTreeMap::new();
        let mut topics = Vec::new();
        for fact in facts {
            match fact {
                Fact::ClusterId(id) => self.cluster_id = id,
                Fact::Starts(starts) => {
                    self.leader_epoch = starts;
                    self.leader_epoch_max = Mutex::new(starts);
                }
                Fact::ProducerIdsBelow(below) => {
                    self.next_producer_id = AtomicI64::new(below);
                    self.producer_ids_below = Mutex::new(below);
                }
                Fact::Topic {
                    name,
                    id,
                    partitions,
                    configs,
                } => topics.push((name, id, partitions, configs)),
                Fact::LogStart {
                    topic_id,
                    partition,
                    offset,
                } => {
                    log_starts.insert((topic_id, partition), offset);
                }
                Fact::Committed {
                    group,
                    topic,
                    partition,
                    offset,
                    leader_epoch,
                    metadata,
                } => {
                    let committed = CommittedOffset {
                        offset,
                        leader_epoch,
                        metadata,
                    };
                    let restored = self.coordinator.with(&group, |group| {
                        group.offsets.put(&topic, partition, committed);
                    });
                    if let Err(error) = restored {
                        warn!(%group, ?error, "A group's committed offset was not restored.");
                    }
                }
                Fact::Transaction {
                    transactional_id,
                    transaction,
                } => {
                    if let Err(error) = self.transactions.find_or_insert(&transactional_id, transaction) {
                        warn!(%transactional_id, ?error, "A transaction was not restored.");
                    }
                }
                Fact::PendingOffset {
                    group,
                    producer_id,
                    topic,
                    partition,
                    offset,
                    leader_epoch,
                    metadata,
                } => {
                    let pending = CommittedOffset {
                        offset,
                        leader_epoch,
                        metadata,
                    };
                    let restored = self.coordinator.with(&group, |group| {
                        group.offsets.put_pending(producer_id, &topic, partition, pending);
                    });
                    if let Err(error) = restored {
                        warn!(%group, ?error, "A group's pending offset was not restored.");
                    }
                }
            }
        }
        journal.record(&[
            Fact::ClusterId(self.cluster_id.clone()),
            Fact::Starts(self.leader_epoch + 1),
        ])?;
        self.journal = journal;
        for (name, id, partitions, configs) in topics {
            let mut opened = Vec::new();
            for index in 0..partitions {
                let log_start = log_starts.get(&(id, index)).copied().unwrap_or(0);
                opened.push(self.open_partition(&name, id, index, log_start, self.leader_epoch)?);
            }
            let config = TopicConfig::parse(configs).unwrap_or_else(|error| {
                warn!(topic = %name, %error, "A topic's configuration is not understood; defaults are used.");
                TopicConfig::default()
            });
            info!(topic = %name, partitions, "Topic recovered.");
            self.topics
                .insert(Arc::new(Topic::new(Arc::from(name), id, opened, config)));
        }
        Ok(())
    }

    /// An empty log, whose leader epochs begin at 0: also those of a topic that is made again.
    pub(super) fn new_partition(&self, topic: &str, id: Uuid, index: i32) -> io::Result<Arc<Partition>> {
        self.open_partition(topic, id, index, 0, 0)
    }

    /// An empty log in memory, or what its directory holds.
    fn open_partition(
        &self,
        topic: &str,
        id: Uuid,
        index: i32,
        log_start: i64,
        leader_epoch: i32,
    ) -> io::Result<Arc<Partition>> {
        let log = match self.partition_directory(topic, id, index) {
            None => Log::in_memory(),
            Some(directory) => {
                let recovered = DiskLog::recover(directory, self.config.segment_bytes)?;
                Log::recovered(recovered, log_start)
            }
        };
        Ok(Arc::new(Partition::new(
            index,
            leader_epoch,
            log,
            Arc::clone(&self.total_bytes),
        )))
    }

    /// `data/logs/TOPIC.ID/PARTITION`: the id keeps a recreated topic apart from a deleted one.
    fn partition_directory(&self, topic: &str, id: Uuid, index: i32) -> Option<PathBuf> {
        Some(self.topic_directory(topic, id)?.join(index.to_string()))
    }

    fn topic_directory(&self, topic: &str, id: Uuid) -> Option<PathBuf> {
        // A file name holds 255 bytes, a topic's name up to 249: it is cut, the id tells topics apart.
        let data = self.config.data.as_ref()?;
        let readable: String = topic.chars().take(100).collect();
        Some(data.join("logs").join(format!("{readable}.{}", id.simple())))
    }

    pub(super) fn delete_files(&self, topic: &Topic) {
        let Some(directory) = self.topic_directory(&topic.name, topic.id) else {
            return;
        };
        if let Err(error) = fs::remove_dir_all(&directory) {
            warn!(path = %directory.display(), %error, "A deleted topic's files are still there.");
        }
    }
}

/// The file is locked until it is closed, even by a kill.
pub(super) fn lock_directory(data: &Path) -> Result<File, StartError> {
    let failed = |source| StartError::Data {
        path: data.to_owned(),
        source,
    };
    fs::create_dir_all(data).map_err(failed)?;
    let file = File::create(data.join("lock")).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StartError::Locked { path: data.to_owned() }),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}
