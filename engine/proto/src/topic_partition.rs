//! The name of one partition.
//!
//! Cheap to clone: every queue, map and event carries one, so the topic is a shared string.

use std::{fmt, sync::Arc};

/// A topic and the index of one of its partitions.
///
/// Orders by topic, then by partition, which is the order in which Kafka's assignors deal.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicPartition {
    /// The topic's name.
    pub topic: Arc<str>,
    /// The partition's index, from 0.
    pub partition: i32,
}

impl TopicPartition {
    /// Names a partition.
    pub fn new(topic: impl Into<Arc<str>>, partition: i32) -> TopicPartition {
        TopicPartition {
            topic: topic.into(),
            partition,
        }
    }
}

/// Prints as Kafka's tools do: `orders-3`.
impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_by_topic_and_then_by_number() {
        let mut partitions = [
            TopicPartition::new("b", 0),
            TopicPartition::new("a", 10),
            TopicPartition::new("a", 2),
        ];
        partitions.sort();
        let printed: Vec<String> = partitions.iter().map(ToString::to_string).collect();
        assert_eq!(printed, ["a-2", "a-10", "b-0"]);
    }
}
