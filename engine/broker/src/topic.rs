//! A topic and the table of all topics.
//!
//! Never here: how logs are made or recovered (see `node`), the wire.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use uuid::Uuid;

use crate::partition::Partition;
use crate::topic_config::TopicConfig;

/// A topic. Its partitions only ever become more.
#[derive(Debug)]
pub(crate) struct Topic {
    pub(crate) name: Arc<str>,
    pub(crate) id: Uuid,
    partitions: RwLock<Vec<Arc<Partition>>>,
    config: RwLock<Arc<TopicConfig>>,
}

/// All topics, by name and by id.
#[derive(Debug, Default)]
pub(crate) struct Topics {
    tables: RwLock<Tables>,
}

#[derive(Debug, Default)]
struct Tables {
    by_name: BTreeMap<Arc<str>, Arc<Topic>>,
    by_id: HashMap<Uuid, Arc<Topic>>,
}

impl Topic {
    pub(crate) fn new(name: Arc<str>, id: Uuid, partitions: Vec<Arc<Partition>>, config: TopicConfig) -> Self {
        Self {
            name,
            id,
            partitions: RwLock::new(partitions),
            config: RwLock::new(Arc::new(config)),
        }
    }

    pub(crate) fn partition(&self, index: i32) -> Option<Arc<Partition>> {
        self.read_partitions().get(usize::try_from(index).ok()?).cloned()
    }

    pub(crate) fn partitions(&self) -> Vec<Arc<Partition>> {
        self.read_partitions().clone()
    }

    pub(crate) fn partition_count(&self) -> i32 {
        i32::try_from(self.read_partitions().len()).unwrap_or(i32::MAX)
    }

    pub(crate) fn add_partitions(&self, more: Vec<Arc<Partition>>) {
        self.partitions
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .extend(more);
    }

    pub(crate) fn config(&self) -> Arc<TopicConfig> {
        Arc::clone(&self.config.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn set_config(&self, config: TopicConfig) {
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
    }

    fn read_partitions(&self) -> RwLockReadGuard<'_, Vec<Arc<Partition>>> {
        self.partitions.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Topics {
    pub(crate) fn find(&self, name: &str) -> Option<Arc<Topic>> {
        self.read().by_name.get(name).cloned()
    }

    pub(crate) fn find_by_id(&self, id: Uuid) -> Option<Arc<Topic>> {
        self.read().by_id.get(&id).cloned()
    }

    /// Every topic, ordered by name.
    pub(crate) fn all(&self) -> Vec<Arc<Topic>> {
        self.read().by_name.values().cloned().collect()
    }

    pub(crate) fn count(&self) -> usize {
        self.read().by_name.len()
    }

    /// Adds a topic, whose name must be free.
    pub(crate) fn insert(&self, topic: Arc<Topic>) {
        let mut tables = self.write();
        tables.by_id.insert(topic.id, Arc::clone(&topic));
        let before = tables.by_name.insert(Arc::clone(&topic.name), topic);
        assert!(
            before.is_none(),
            "topics are made one at a time, after a look at the name"
        );
    }

    pub(crate) fn remove(&self, name: &str) -> Option<Arc<Topic>> {
        let mut tables = self.write();
        let topic = tables.by_name.remove(name)?;
        tables.by_id.remove(&topic.id);
        Some(topic)
    }

    fn read(&self) -> RwLockReadGuard<'_, Tables> {
        self.tables.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Tables> {
        self.tables.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether Kafka allows a topic to be called that.
pub(crate) fn is_valid_name(name: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    !name.is_empty() && name != "." && name != ".." && name.len() <= 249 && name.bytes().all(legal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_kafkas_rules() {
        for (name, valid) in [
            ("ads", true),
            ("a.b_c-D9", true),
            ("", false),
            (".", false),
            ("..", false),
            ("a/b", false),
            ("ä", false),
            (&"x".repeat(249), true),
            (&"x".repeat(250), false),
        ] {
            assert_eq!(is_valid_name(name), valid, "{name}");
        }
    }
}
