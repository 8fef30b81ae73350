//! Dealing as evenly as the subscriptions allow, and moving as little as that takes.
//!
//! Members with equal subscriptions end within one partition of each other: each keeps what it has up to its
//! share, and what is free goes to whoever has least. With different subscriptions a member may only pass a
//! partition on to another subscriber of the topic; then a chain of such moves from a member with more to one
//! with at least two less is looked for, until there is none: the loads are then as even as they can be.
//! Every move makes the sum of the squared loads smaller, so it ends.
//! Never here: who has what before (see `claims`).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::{GroupAssignment, GroupMember, PartitionCounts, claims::Claims, is_subscribed};
use crate::topic_partition::TopicPartition;

/// Deals all partitions; `members` are in Kafka's order, which decides ties.
pub(super) fn deal(members: &[&GroupMember], partitions: &PartitionCounts, claims: &Claims) -> GroupAssignment {
    let mut table = Table::new(members, partitions, claims);
    if table.wants_are_equal() {
        table.keep_shares();
        table.deal_free();
    } else {
        table.deal_free();
        while table.pass_on() {}
    }
    let named = members.iter().map(|member| member.member_id.clone());
    named.zip(table.into_partitions()).collect()
}

/// Members and topics go by their places.
struct Table<'a> {
    claims: &'a Claims,
    topics: Vec<Topic>,
    /// What each member has: its partitions by topic.
    held: Vec<BTreeMap<usize, BTreeSet<i32>>>,
    loads: Vec<usize>,
    /// Topic and partition.
    free: Vec<(usize, i32)>,
}

struct Topic {
    name: Arc<str>,
    count: i32,
    subscribers: Vec<usize>,
}

impl<'a> Table<'a> {
    fn new(members: &[&GroupMember], partitions: &PartitionCounts, claims: &'a Claims) -> Table<'a> {
        let topics = partitions.iter().map(|(name, count)| {
            let subscribers = members
                .iter()
                .enumerate()
                .filter(|(_, member)| is_subscribed(member, name));
            Topic {
                name: name.clone(),
                count: *count,
                subscribers: subscribers.map(|(place, _)| place).collect(),
            }
        });
        let mut table = Table {
            claims,
            topics: topics.filter(|topic| !topic.subscribers.is_empty()).collect(),
            held: vec![BTreeMap::new(); members.len()],
            loads: vec![0; members.len()],
            free: Vec::new(),
        };
        for place in 0..table.topics.len() {
            for partition in 0..table.topics[place].count {
                let tp = TopicPartition::new(table.topics[place].name.clone(), partition);
                match claims.rightful(&tp) {
                    Some(member) => table.give(member, place, partition),
                    None => table.free.push((place, partition)),
                }
            }
        }
        table
    }

    /// Whether all who want anything want the same.
    fn wants_are_equal(&self) -> bool {
        let mut topics = self.topics.iter();
        let Some(first) = topics.next() else { return true };
        topics.all(|topic| topic.subscribers == first.subscribers)
    }

    /// Takes what is beyond its share from each member. Those with most keep the odd ones.
    fn keep_shares(&mut self) {
        let Some(topic) = self.topics.first() else { return };
        let mut members = topic.subscribers.clone();
        let total: usize = self.loads.iter().sum::<usize>() + self.free.len();
        let (share, mut odd) = (total / members.len(), total % members.len());
        members.sort_by_key(|member| std::cmp::Reverse(self.loads[*member]));
        for member in members {
            let keeps = match self.loads[member] > share && odd > 0 {
                true => {
                    odd -= 1;
                    share + 1
                }
                false => share,
            };
            while self.loads[member] > keeps {
                let topic = *self.held[member].last_key_value().expect("it has something").0;
                let partition = self.take(member, topic);
                self.free.push((topic, partition));
            }
        }
        self.free.sort_unstable();
    }

    /// Gives what is free to those who have least, topics with few subscribers first.
    fn deal_free(&mut self) {
        let mut free = std::mem::take(&mut self.free);
        free.sort_by_key(|(topic, partition)| (self.topics[*topic].subscribers.len(), *topic, *partition));
        let mut free = free.into_iter().peekable();
        while let Some((first, _)) = free.peek().copied() {
            // Topics with the same subscribers share one order of who has least.
            let subscribers = self.topics[first].subscribers.clone();
            let loads = subscribers.iter().map(|member| (self.loads[*member], *member));
            let mut waiting: BTreeSet<(usize, usize)> = loads.collect();
            let mut last = first;
            while let Some((topic, partition)) = free.next_if(|(topic, _)| {
                let is_shared = *topic == last || self.topics[*topic].subscribers == subscribers;
                last = if is_shared { *topic } else { last };
                is_shared
            }) {
                let (load, member) = waiting.pop_first().expect("a topic without subscribers is left out");
                self.give(member, topic, partition);
                waiting.insert((load + 1, member));
            }
        }
    }

    /// Makes the loads more even by one chain of moves; false if no chain does.
    fn pass_on(&mut self) -> bool {
        let mut heavy: Vec<usize> = (0..self.loads.len()).collect();
        heavy.sort_by_key(|member| (std::cmp::Reverse(self.loads[*member]), *member));
        for from in heavy {
            if let Some(chain) = self.chain_from(from) {
                for (giver, topic, taker) in chain {
                    let partition = self.take(giver, topic);
                    self.give(taker, topic, partition);
                }
                return true;
            }
        }
        false
    }

    /// The shortest chain of `(giver, topic, taker)` from `from` to a member with at least two less.
    fn chain_from(&self, from: usize) -> Option<Vec<(usize, usize, usize)>> {
        let mut reached_by: Vec<Option<(usize, usize)>> = vec![None; self.loads.len()];
        let mut seen_topics = vec![false; self.topics.len()];
        let mut queue = VecDeque::from([from]);
        while let Some(giver) = queue.pop_front() {
            for topic in self.held[giver].keys().copied() {
                // Whoever could be reached through this topic has been reached by an earlier giver.
                if std::mem::replace(&mut seen_topics[topic], true) {
                    continue;
                }
                for taker in self.topics[topic].subscribers.iter().copied() {
                    if taker == from || reached_by[taker].is_some() {
                        continue;
                    }
                    reached_by[taker] = Some((giver, topic));
                    if self.loads[taker] + 2 <= self.loads[from] {
                        return Some(chain_to(taker, &reached_by));
                    }
                    queue.push_back(taker);
                }
            }
        }
        None
    }

    fn give(&mut self, member: usize, topic: usize, partition: i32) {
        self.held[member].entry(topic).or_default().insert(partition);
        self.loads[member] += 1;
    }

    /// Takes a partition of the topic from the member, one that it had not before if there is one.
    fn take(&mut self, member: usize, topic: usize) -> i32 {
        let name = &self.topics[topic].name;
        let partitions = self.held[member].get_mut(&topic).expect("it has some of the topic");
        let is_new = |partition: &i32| {
            let tp = TopicPartition::new(name.clone(), *partition);
            self.claims.rightful(&tp) != Some(member)
        };
        let chosen = partitions.iter().copied().rev().find(is_new);
        let chosen = chosen
            .or_else(|| partitions.last().copied())
            .expect("an empty entry is removed");
        partitions.remove(&chosen);
        if partitions.is_empty() {
            self.held[member].remove(&topic);
        }
        self.loads[member] -= 1;
        chosen
    }

    fn into_partitions(self) -> impl Iterator<Item = Vec<TopicPartition>> {
        let topics = self.topics;
        self.held.into_iter().map(move |held| {
            let partitions = held.into_iter().flat_map(|(topic, partitions)| {
                let name = topics[topic].name.clone();
                partitions
                    .into_iter()
                    .map(move |partition| TopicPartition::new(name.clone(), partition))
            });
            partitions.collect()
        })
    }
}

fn chain_to(mut taker: usize, reached_by: &[Option<(usize, usize)>]) -> Vec<(usize, usize, usize)> {
    let mut chain = Vec::new();
    while let Some((giver, topic)) = reached_by[taker] {
        chain.push((giver, topic, taker));
        taker = giver;
    }
    chain
}
