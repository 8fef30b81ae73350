//! What is in a topic, by Kafka's own console consumer.

use crate::{
    cluster::Cluster,
    topic::{Numbers, PARTITIONS, Topic},
};

/// The committed records of each partition, in order, each at an offset behind that of the one before it.
pub(crate) fn read_with_kafkas_own_consumer(cluster: &Cluster, topic: &Topic) -> Numbers {
    let mut arguments = vec![
        "--topic",
        &topic.name,
        "--from-beginning",
        "--isolation-level",
        "read_committed",
    ];
    arguments.extend(["--timeout-ms", "8000"]); // Without a record; joining its group is part of it.
    for property in ["print.partition=true", "print.offset=true", "key.separator= "] {
        arguments.extend(["--formatter-property", property]);
    }
    let mut numbers = Numbers::default();
    let mut last_offset = [-1; PARTITIONS];
    for line in cluster.tool("consumer.ConsoleConsumer", &arguments).lines() {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let [partition, offset, value] = fields[..] else {
            panic!("{line:?} is not a record");
        };
        let (partition, offset) = (after_colon(partition, line), after_colon(offset, line));
        let partition = usize::try_from(partition).expect("not negative");
        let last = std::mem::replace(&mut last_offset[partition], offset);
        assert!(last < offset, "{line:?} after offset {last}");
        numbers[partition].push(value.parse().unwrap_or_else(|_| panic!("{line:?} holds no number")));
    }
    numbers
}

/// The tool writes `Partition:3` and `Offset:17`.
fn after_colon(field: &str, line: &str) -> i64 {
    let number = field.rsplit(':').next().and_then(|digits| digits.parse().ok());
    number.unwrap_or_else(|| panic!("{field:?} of {line:?} is no number"))
}
