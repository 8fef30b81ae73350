//! Fetch sessions: a client names what changed, the broker remembers the rest (KIP-227).
//!
//! A session's requests carry an epoch that goes up by one, so that one that was lost or repeated is noticed.
//! What a partition was last told is remembered too: only partitions with something new are in an answer.
//!
//! **Bounds:** as many sessions as are configured; one more takes the place of the one that was used longest ago,
//! whose client is then told FETCH_SESSION_ID_NOT_FOUND and begins anew. A session that would hold more than
//! [`PARTITIONS_MAX`] partitions is not kept.
//!
//! Never here: logs, waiting, the wire.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use engine_wire::error_code::ErrorCode;
use engine_wire::messages::TopicName;
use engine_wire::messages::fetch_request::{FetchPartition, FetchTopic, ForgottenTopic};
use uuid::Uuid;

/// Most partitions of one session.
pub(crate) const PARTITIONS_MAX: usize = 50_000;

/// The sessions of all clients.
#[derive(Debug)]
pub(crate) struct FetchSessions {
    sessions_max: usize,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    by_id: HashMap<i32, Session>,
    /// Goes up with every use, to tell which session was used last.
    uses: u64,
}

#[derive(Debug)]
struct Session {
    next_epoch: i32,
    last_use: u64,
    has_topic_ids: bool,
    /// In the order in which they are read: those that had records last time come last.
    partitions: Vec<SessionPartition>,
}

#[derive(Debug)]
struct SessionPartition {
    topic: TopicName,
    topic_id: Uuid,
    wanted: FetchPartition,
    told: Option<Told>,
}

/// What the client knows of a partition beside its records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) high_watermark: i64,
    pub(crate) last_stable_offset: i64,
    pub(crate) log_start_offset: i64,
}

/// What was found for one partition of a session.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Answered {
    pub(crate) told: Told,
    pub(crate) has_records: bool,
    pub(crate) has_failed: bool,
}

/// How a request is to be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SessionUse {
    /// With everything that was asked for.
    None,
    /// With everything that was asked for, and the id of a new session.
    New { id: i32 },
    /// With what is new; the request has this epoch.
    Incremental { id: i32, epoch: i32 },
}

/// What a request says about sessions.
#[derive(Debug)]
pub(crate) struct SessionRequest {
    pub(crate) id: i32,
    pub(crate) epoch: i32,
    pub(crate) has_topic_ids: bool,
    pub(crate) topics: Vec<FetchTopic>,
    pub(crate) forgotten: Vec<ForgottenTopic>,
}

impl FetchSessions {
    pub(crate) fn new(sessions_max: usize) -> Self {
        Self {
            sessions_max,
            table: Mutex::default(),
        }
    }

    /// Takes up a request: how it is answered, and everything that is to be read for it.
    pub(crate) fn begin(&self, request: SessionRequest) -> Result<(SessionUse, Vec<FetchTopic>), ErrorCode> {
        let mut table = self.lock();
        table.uses += 1;
        let last_use = table.uses;
        match request.epoch {
            ..=0 => {
                table.by_id.remove(&request.id);
                let count: usize = request.topics.iter().map(|topic| topic.partitions.len()).sum();
                if request.epoch < 0 || count == 0 || count > PARTITIONS_MAX || self.sessions_max == 0 {
                    return Ok((SessionUse::None, request.topics));
                }
                if table.by_id.len() >= self.sessions_max {
                    table.evict();
                }
                let id = table.unused_id();
                let mut session = Session {
                    next_epoch: 1,
                    last_use,
                    has_topic_ids: request.has_topic_ids,
                    partitions: Vec::with_capacity(count),
                };
                session.add(request.topics);
                let topics = session.topics();
                table.by_id.insert(id, session);
                Ok((SessionUse::New { id }, topics))
            }
            epoch => {
                let session = table
                    .by_id
                    .get_mut(&request.id)
                    .ok_or(ErrorCode::FETCH_SESSION_ID_NOT_FOUND)?;
                if epoch != session.next_epoch {
                    return Err(ErrorCode::INVALID_FETCH_SESSION_EPOCH);
                }
                if request.has_topic_ids != session.has_topic_ids {
                    return Err(ErrorCode::FETCH_SESSION_TOPIC_ID_ERROR);
                }
                session.last_use = last_use;
                session.next_epoch = next_epoch(epoch);
                session.forget(&request.forgotten);
                session.add(request.topics);
                let topics = session.topics();
                if session.partitions.len() > PARTITIONS_MAX {
                    table.by_id.remove(&request.id);
                    return Err(ErrorCode::FETCH_SESSION_ID_NOT_FOUND);
                }
                Ok((SessionUse::Incremental { id: request.id, epoch }, topics))
            }
        }
    }

    /// Remembers what a request is told, in the order of [`begin`](Self::begin), and says which partitions are in the
    /// answer. Partitions with records are read last the next time, so that none starves.
    pub(crate) fn end(&self, using: SessionUse, answered: &[Answered]) -> Vec<bool> {
        let all = vec![true; answered.len()];
        let (id, next_epoch) = match using {
            SessionUse::None => return all,
            SessionUse::New { id } => (id, 1),
            SessionUse::Incremental { id, epoch } => (id, next_epoch(epoch)),
        };
        let mut table = self.lock();
        let session = table
            .by_id
            .get_mut(&id)
            .filter(|session| session.next_epoch == next_epoch);
        let Some(session) = session.filter(|session| session.partitions.len() == answered.len()) else {
            return all; // Evicted or repeated meanwhile: the client begins anew.
        };
        let mut included = Vec::with_capacity(answered.len());
        for (partition, answered) in session.partitions.iter_mut().zip(answered) {
            let is_new = answered.has_records || answered.has_failed || partition.told != Some(answered.told);
            included.push(is_new || matches!(using, SessionUse::New { .. }));
            // An error is told again until it is over.
            partition.told = (!answered.has_failed).then_some(answered.told);
        }
        let mut had_records = answered.iter().map(|answered| answered.has_records);
        let (last, first) = std::mem::take(&mut session.partitions)
            .into_iter()
            .partition(|_| had_records.next().unwrap_or(false));
        session.partitions = first;
        session.partitions.extend::<Vec<_>>(last);
        included
    }

    /// As a restart does.
    pub(crate) fn forget_all(&self) {
        self.lock().by_id.clear();
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn evict(&mut self) {
        let oldest = self.by_id.iter().min_by_key(|(_, session)| session.last_use);
        if let Some(id) = oldest.map(|(id, _)| *id) {
            self.by_id.remove(&id);
        }
    }

    fn unused_id(&self) -> i32 {
        loop {
            let id = fastrand::i32(1..);
            if !self.by_id.contains_key(&id) {
                return id;
            }
        }
    }
}

impl Session {
    /// Adds partitions, or changes what is wanted of them.
    fn add(&mut self, topics: Vec<FetchTopic>) {
        if topics.is_empty() {
            return;
        }
        let key = |topic: &TopicName, id: Uuid, partition: i32| (topic.clone(), id, partition);
        let known = self.partitions.iter().enumerate();
        let mut known: HashMap<_, _> = known
            .map(|(at, one)| (key(&one.topic, one.topic_id, one.wanted.partition), at))
            .collect();
        for topic in topics {
            for wanted in topic.partitions {
                let key = key(&topic.topic, topic.topic_id, wanted.partition);
                if let Some(at) = known.get(&key) {
                    self.partitions[*at].wanted = wanted;
                    continue;
                }
                known.insert(key, self.partitions.len());
                self.partitions.push(SessionPartition {
                    topic: topic.topic.clone(),
                    topic_id: topic.topic_id,
                    wanted,
                    told: None,
                });
            }
        }
    }

    fn forget(&mut self, forgotten: &[ForgottenTopic]) {
        for topic in forgotten {
            self.partitions.retain(|one| {
                let is_of_topic = one.topic == topic.topic && one.topic_id == topic.topic_id;
                !(is_of_topic && topic.partitions.contains(&one.wanted.partition))
            });
        }
    }

    /// Everything, as a request without a session would ask for it.
    fn topics(&self) -> Vec<FetchTopic> {
        let mut topics: Vec<FetchTopic> = Vec::new();
        for partition in &self.partitions {
            let is_same =
                |topic: &&mut FetchTopic| topic.topic == partition.topic && topic.topic_id == partition.topic_id;
            match topics.last_mut().filter(is_same) {
                Some(topic) => topic.partitions.push(partition.wanted.clone()),
                None => topics.push(
                    FetchTopic::default()
                        .with_topic(partition.topic.clone())
                        .with_topic_id(partition.topic_id)
                        .with_partitions(vec![partition.wanted.clone()]),
                ),
            }
        }
        topics
    }
}

/// Epochs of a session begin at 1 again behind the largest: 0 begins a new session.
fn next_epoch(epoch: i32) -> i32 {
    epoch.checked_add(1).unwrap_or(1)
}

#[cfg(test)]
mod tests;
