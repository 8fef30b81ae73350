//! What other members of a group say of themselves.

use bytes::Bytes;
use engine_proto::TopicPartition;
use engine_proto::group::consumer_protocol::{Assignment, Subscription};
use protocol_tests::fuzzing::fuzz;

use super::{allocating_at_most, alone};

/// Names of a few bytes each, three times over (decoded, encoded, decoded), and their list.
fn budget(size: usize) -> usize {
    4096 + 200 * size
}

fn partitions() -> Vec<TopicPartition> {
    vec![TopicPartition::new("orders", 0), TopicPartition::new("orders", 7)]
}

#[test]
fn subscriptions() {
    let _alone = alone();
    let subscription = Subscription {
        topics: vec!["orders".into(), "views".into()],
        user_data: Some(Bytes::from_static(&[1, 2, 3])),
        owned_partitions: partitions(),
        generation_id: Some(3),
        rack_id: Some("a".into()),
    };
    let examples = vec![
        subscription.encode().to_vec(),
        Subscription::default().encode().to_vec(),
    ];
    fuzz("subscriptions", examples, 20_000, |input| {
        allocating_at_most(budget(input.len()), || {
            match Subscription::decode(Bytes::copy_from_slice(input)) {
                Ok(subscription) => {
                    let again = Subscription::decode(subscription.encode()).expect("our own bytes");
                    assert_eq!(again.topics, subscription.topics);
                    assert_eq!(sorted(again.owned_partitions), sorted(subscription.owned_partitions));
                    assert_eq!(
                        (again.generation_id.unwrap_or(-1), again.rack_id),
                        (subscription.generation_id.unwrap_or(-1), subscription.rack_id)
                    );
                    "read".into()
                }
                Err(error) => error.to_string(),
            }
        })
    });
}

#[test]
fn assignments() {
    let _alone = alone();
    let assignment = Assignment {
        partitions: partitions(),
        user_data: None,
    };
    let examples = vec![assignment.encode().to_vec(), Assignment::default().encode().to_vec()];
    fuzz("assignments", examples, 20_000, |input| {
        allocating_at_most(budget(input.len()), || {
            match Assignment::decode(Bytes::copy_from_slice(input)) {
                Ok(assignment) => {
                    let again = Assignment::decode(assignment.encode()).expect("our own bytes");
                    assert_eq!(sorted(again.partitions), sorted(assignment.partitions));
                    "read".into()
                }
                Err(error) => error.to_string(),
            }
        })
    });
}

fn sorted(mut partitions: Vec<TopicPartition>) -> Vec<TopicPartition> {
    partitions.sort();
    partitions
}
