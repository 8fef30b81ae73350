//! Members of one group, that come and go while the cluster is disturbed: together they read every record, and what one
//! has committed nobody reads again.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};

use engine_client::{
    AutoOffsetReset, CommitError, CommittedOffset, Consumer, ConsumerConfig, Event, Fetched, StartAt, TopicPartition,
};
use tokio::{sync::watch, task::JoinHandle};

use crate::topic::{Numbers, PARTITIONS, Topic};

/// Two members of a group; one of them leaves now and then, and another joins.
pub(crate) struct Group {
    read: Arc<Mutex<GroupRead>>,
    over: watch::Sender<bool>,
    members: Vec<JoinHandle<()>>,
}

/// What the members read, all together.
#[derive(Debug, Default)]
pub(crate) struct GroupRead {
    /// How often each offset was read.
    times: [Vec<u32>; PARTITIONS],
    /// The offset behind the last acknowledged commit.
    committed: [i64; PARTITIONS],
    members: usize,
    lost: usize,
    commits: usize,
    commits_refused: BTreeMap<String, usize>,
}

impl Group {
    pub(crate) fn start(topic: &Topic) -> Self {
        let read = Arc::new(Mutex::new(GroupRead::default()));
        let (over, _) = watch::channel(false);
        let config = config(topic);
        let lives = [None, Some(Duration::from_secs(6))];
        let members = lives.map(|life| {
            let (name, config, read, over) = (topic.name.clone(), config.clone(), read.clone(), over.subscribe());
            tokio::spawn(members_in_turn(name, config, read, over, life))
        });
        Self {
            read,
            over,
            members: members.into(),
        }
    }

    /// Waits until every record that was sent is read and committed, ends the members, and gives what they read.
    pub(crate) async fn up_to(self, sent: &Numbers) -> GroupRead {
        let deadline = Instant::now() + CATCH_UP;
        let ends: Vec<i64> = sent.iter().map(|sent| sent.len() as i64).collect();
        while lock(&self.read).committed[..] != ends {
            assert!(
                Instant::now() < deadline,
                "committed {:?} of {ends:?}",
                lock(&self.read).committed
            );
            assert!(
                !self.members.iter().any(JoinHandle::is_finished),
                "a member ended early"
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        self.over.send_replace(true);
        for member in self.members {
            member.await.expect("no member panics");
        }
        std::mem::take(&mut lock(&self.read))
    }
}

impl GroupRead {
    /// Records of the idempotent topic are at the offset that is their number within the partition.
    pub(crate) fn assert_complete(&self, sent: &Numbers) {
        for (partition, (times, sent)) in self.times.iter().zip(sent).enumerate() {
            assert_eq!(times.len(), sent.len(), "partition {partition}: read to another end");
            let missed = times.iter().position(|times| *times == 0);
            assert_eq!(missed, None, "partition {partition}: nobody read this offset");
        }
    }
}

impl fmt::Display for GroupRead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let times = || self.times.iter().flatten();
        write!(
            f,
            "{} members in turn read {} records, {} of them again after a rebalance; {} commits, refused {:?}; \
             membership lost {} times",
            self.members,
            times().count(),
            times().filter(|times| **times > 1).count(),
            self.commits,
            self.commits_refused,
            self.lost
        )
    }
}

/// One member after another, each for so long.
async fn members_in_turn(
    topic: String,
    config: ConsumerConfig,
    read: Arc<Mutex<GroupRead>>,
    mut over: watch::Receiver<bool>,
    life: Option<Duration>,
) {
    while !*over.borrow() {
        let mut consumer = Consumer::connect(config.clone()).await.expect("connects");
        consumer.subscribe([topic.as_str()]).expect("has a group");
        lock(&read).members += 1;
        let mut member = Member {
            consumer,
            read: read.clone(),
            positions: BTreeMap::new(),
            read_again_from: BTreeMap::new(),
        };
        let end = tokio::time::sleep(life.unwrap_or(FOREVER));
        tokio::pin!(end);
        let mut commit = tokio::time::interval(Duration::from_millis(300));
        loop {
            tokio::select! {
                event = member.consumer.poll() => member.handle(event.expect("no error, whatever happens to the nodes")).await,
                _ = commit.tick() => member.commit().await,
                () = &mut end => break,
                _ = over.changed() => break,
            }
        }
        member.commit().await;
        member.consumer.close().await;
    }
}

struct Member {
    consumer: Consumer,
    read: Arc<Mutex<GroupRead>>,
    positions: BTreeMap<TopicPartition, CommittedOffset>,
    /// What was committed when a partition was assigned: reading begins there or later.
    read_again_from: BTreeMap<TopicPartition, i64>,
}

impl Member {
    async fn handle(&mut self, event: Event) {
        match event {
            Event::Assigned(partitions) => {
                for tp in &partitions {
                    let committed = lock(&self.read).committed[index(tp)];
                    self.read_again_from.insert(tp.clone(), committed);
                }
                let starts = partitions.into_iter().map(|tp| (tp, StartAt::Committed));
                self.consumer.start(starts).expect("just assigned");
            }
            Event::Revoked(partitions) => {
                self.commit().await;
                self.give_up(&partitions);
                self.consumer.revoked_done();
            }
            Event::Lost(partitions) => {
                lock(&self.read).lost += 1;
                self.give_up(&partitions);
            }
            Event::Fetched(fetched) => self.take(&fetched),
            event => panic!("{event:?}"),
        }
    }

    fn take(&mut self, fetched: &Fetched) {
        if let Some(committed) = self.read_again_from.remove(&fetched.tp) {
            let first = fetched.first_offset;
            assert!(
                first >= committed,
                "{}: began at {first}, {committed} was committed",
                fetched.tp
            );
        }
        let mut read = lock(&self.read);
        let times = &mut read.times[index(&fetched.tp)];
        let offsets = |offset: i64| usize::try_from(offset).expect("not negative");
        times.resize(times.len().max(offsets(fetched.next_offset)), 0);
        for times in &mut times[offsets(fetched.first_offset)..offsets(fetched.next_offset)] {
            *times += 1;
        }
        let position = CommittedOffset {
            offset: fetched.next_offset,
            leader_epoch: fetched.leader_epoch,
            metadata: String::new(),
        };
        self.positions.insert(fetched.tp.clone(), position);
    }

    async fn commit(&mut self) {
        if self.positions.is_empty() {
            return;
        }
        let positions: Vec<_> = self.positions.iter().map(|(tp, at)| (tp.clone(), at.clone())).collect();
        let outcome = self.consumer.commit(&positions).await;
        let mut read = lock(&self.read);
        match outcome {
            Ok(()) => {
                read.commits += 1;
                for (tp, position) in positions {
                    let committed = std::mem::replace(&mut read.committed[index(&tp)], position.offset);
                    assert!(
                        committed <= position.offset,
                        "{tp}: {} committed after {committed}",
                        position.offset
                    );
                }
            }
            // The next event tells what became of the partitions.
            Err(
                error @ (CommitError::MembershipLost { .. }
                | CommitError::RebalanceInProgress
                | CommitError::NotAssigned { .. }),
            ) => *read.commits_refused.entry(error.to_string()).or_default() += 1,
            Err(error) => panic!("{error}"),
        }
    }

    fn give_up(&mut self, partitions: &[TopicPartition]) {
        for tp in partitions {
            self.positions.remove(tp);
            self.read_again_from.remove(tp);
        }
    }
}

fn config(topic: &Topic) -> ConsumerConfig {
    let mut config = ConsumerConfig {
        group_id: Some("members".into()),
        auto_offset_reset: AutoOffsetReset::Earliest,
        heartbeat_interval: Duration::from_millis(500),
        session_timeout: Duration::from_secs(6),
        ..ConsumerConfig::default()
    };
    config.client.bootstrap_servers = topic.bootstrap_servers.clone();
    // A paused node is left after this long.
    config.client.request_timeout = Duration::from_secs(5);
    config
}

fn index(tp: &TopicPartition) -> usize {
    usize::try_from(tp.partition).expect("not negative")
}

fn lock(read: &Mutex<GroupRead>) -> MutexGuard<'_, GroupRead> {
    read.lock().expect("no member panicked")
}

const FOREVER: Duration = Duration::from_secs(86_400);
const CATCH_UP: Duration = Duration::from_secs(60);
