//! A member of a group, as a careful application: it commits what it gives back, and counts what it loses.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use engine_client::{
    CommitError, CommittedOffset, Consumer, ConsumerConfig, ConsumerError, Event, StartAt, TopicPartition,
};

use crate::reading::{ReadRecord, fetched_records};
use crate::scene::Scene;

/// Longest wait for a group; the first one of a cluster waits for a topic to be made.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Member {
    pub(crate) consumer: Consumer,
    pub(crate) owned: BTreeSet<TopicPartition>,
    pub(crate) positions: BTreeMap<TopicPartition, CommittedOffset>,
    pub(crate) read: Vec<ReadRecord>,
    pub(crate) lost: usize,
    /// Partitions that the group asked back, moved away or not.
    pub(crate) given_back: usize,
    pub(crate) errors: Vec<ConsumerError>,
}

impl Member {
    /// Subscribes; the group is the scene's own.
    pub(crate) async fn join(scene: &Scene, topics: &[&str], change: impl FnOnce(&mut ConsumerConfig)) -> Self {
        let mut consumer = scene
            .consumer(|config| {
                config.group_id = Some(scene.name("group"));
                change(config);
            })
            .await;
        consumer.subscribe(topics.iter().copied()).expect("has a group");
        Self {
            consumer,
            owned: BTreeSet::new(),
            positions: BTreeMap::new(),
            read: Vec::new(),
            lost: 0,
            given_back: 0,
            errors: Vec::new(),
        }
    }

    /// Joins and waits until it owns this many partitions.
    pub(crate) async fn joined(scene: &Scene, topic: &str, partitions: usize) -> Self {
        let mut member = Self::join(scene, &[topic], |_| {}).await;
        run(&mut [&mut member], "its partitions", |m| m[0].owned.len() == partitions).await;
        member
    }

    /// Does one event, or nothing if none comes soon.
    pub(crate) async fn step(&mut self) {
        let event = tokio::time::timeout(Duration::from_millis(20), self.consumer.poll()).await;
        match event {
            Err(_) => {}
            Ok(Ok(Event::Assigned(partitions))) => {
                self.owned.extend(partitions.iter().cloned());
                let starts = partitions.into_iter().map(|tp| (tp, StartAt::Committed));
                self.consumer.start(starts).expect("just assigned");
            }
            Ok(Ok(Event::Revoked(partitions))) => {
                self.commit().await.expect("may still commit");
                self.given_back += partitions.len();
                self.forget(&partitions);
                self.consumer.revoked_done();
            }
            Ok(Ok(Event::Lost(partitions))) => {
                self.lost += 1;
                self.forget(&partitions);
            }
            Ok(Ok(Event::Fetched(fetched))) => {
                self.read.extend(fetched_records(&fetched));
                let position = CommittedOffset {
                    offset: fetched.next_offset,
                    leader_epoch: fetched.leader_epoch,
                    metadata: "conformance".into(),
                };
                self.positions.insert(fetched.tp.clone(), position);
            }
            Ok(Ok(_)) => {}
            Ok(Err(error)) => self.errors.push(error),
        }
    }

    pub(crate) async fn commit(&self) -> Result<(), CommitError> {
        let positions: Vec<_> = self.positions.iter().map(|(tp, at)| (tp.clone(), at.clone())).collect();
        self.consumer.commit(&positions).await
    }

    /// For the message of a wait that was in vain.
    fn state(&self) -> String {
        let stats = self.consumer.stats();
        format!(
            "owns {}, read {}, lost {}, {:?}, errors {:?} {:?}",
            self.owned.len(),
            self.read.len(),
            self.lost,
            stats.membership,
            stats.errors,
            self.errors
        )
    }

    fn forget(&mut self, partitions: &[TopicPartition]) {
        for tp in partitions {
            self.owned.remove(tp);
            self.positions.remove(tp);
        }
    }
}

/// Steps the members in turn until `done`.
pub(crate) async fn run(members: &mut [&mut Member], what: &str, done: impl Fn(&[&mut Member]) -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done(members) {
        if Instant::now() >= deadline {
            let states: Vec<String> = members.iter().map(|member| member.state()).collect();
            panic!("not within {} s: {what}: {}", PATIENCE.as_secs(), states.join("; "));
        }
        for member in members.iter_mut() {
            member.step().await;
        }
    }
}

/// Sorted, so that each exactly once can be compared.
pub(crate) fn sorted_numbers<'m>(members: impl IntoIterator<Item = &'m Member>) -> Vec<u32> {
    let mut seen: Vec<u32> = Vec::new();
    for member in members {
        seen.extend(crate::reading::numbers(&member.read));
    }
    seen.sort_unstable();
    seen
}
