//! The consumer: whole record batches from topics, alone or as a member of a group.
//!
//! A background task owns the talk with the cluster (membership, heartbeats, prefetch); this
//! handle, owned by one task of the application, polls what is ready. Both share the sans-IO
//! machines of `engine-proto` behind one lock that is never held across an await.
//!
//! Never here: decoding of records (the CRC of a batch is the decoder's to check), pipelines.

mod commit;
mod confirmation;
mod driver;
mod error;
mod event;
mod group_requests;
mod look_ups;
mod machines;
mod stats;

pub use confirmation::ConfirmationError;
pub use error::{CommitError, ConsumerError, NotAssigned};
pub use event::Event;
pub use stats::ConsumerStats;

use std::{
    collections::hash_map::RandomState,
    hash::BuildHasher,
    sync::Arc,
    time::{Duration, Instant},
};

use engine_proto::{
    TopicPartition,
    fetch::{
        lookup::{EARLIEST, LATEST},
        position::{Position, StartAt},
    },
    group::ownership::GroupEvent,
    producer::ConsumerGroupMetadata,
};
use tokio::task::JoinHandle;

use crate::{
    cluster::Cluster,
    config::{ConsumerConfig, IsolationLevel},
    connection::{RequestError, now},
    offsets::{CommittedOffset, ListedOffset, OffsetsError, committed::fetch_committed, list::list_offsets},
};
use machines::{PollGuard, Shared, State};

/// Reads topics. Made by [`Consumer::connect`]; dropping it closes it in the background.
///
/// With a group: [`subscribe`](Self::subscribe), then answer the events of [`poll`](Self::poll)
/// as [`Event`] says. Without: [`assign`](Self::assign) and [`start`](Self::start).
///
/// Heartbeats go on by themselves, but an application that does not call `poll` for
/// `max.poll.interval.ms` is taken for stuck: it leaves the group and its partitions go to others.
/// The next `poll` says [`Event::Lost`] and joins again. Waiting inside `poll` is not being stuck.
///
/// Prefetch runs in the background until `fetch.prefetch.bytes` are ready or asked for, over all
/// partitions; bytes leave that budget when `poll` hands them out.
#[derive(Debug)]
pub struct Consumer {
    shared: Arc<Shared>,
    cluster: Cluster,
    driver: Option<JoinHandle<()>>,
}

impl Consumer {
    /// Connects to the cluster. Joins nothing and fetches nothing yet.
    ///
    /// # Errors
    /// If the settings contradict each other, or no bootstrap server answers within
    /// `socket.connection.setup.timeout.ms`.
    pub async fn connect(config: ConsumerConfig) -> Result<Consumer, RequestError> {
        let mistakes = config.validate();
        if !mistakes.is_empty() {
            return Err(RequestError::Config(mistakes.into()));
        }
        let cluster = Cluster::connect(&config.client).await?;
        let seed = RandomState::new().hash_one(0u8);
        let shared = Arc::new(Shared::new(now(), config, seed));
        let driver = tokio::spawn(driver::run(shared.clone(), cluster.clone()));
        Ok(Consumer {
            shared,
            cluster,
            driver: Some(driver),
        })
    }

    /// Joins the group for these topics; a later call changes them. Needs `group.id`.
    ///
    /// # Errors
    /// [`ConsumerError::NoGroup`] without `group.id`.
    pub fn subscribe(&mut self, topics: impl IntoIterator<Item = impl Into<Arc<str>>>) -> Result<(), ConsumerError> {
        let topics: Vec<Arc<str>> = topics.into_iter().map(Into::into).collect();
        self.cluster.track_topics(topics.iter().map(|topic| &**topic));
        let mut state = self.shared.lock();
        let membership = state.membership.as_mut().ok_or(ConsumerError::NoGroup)?;
        membership.handle_subscribe(now(), topics);
        drop(state);
        self.shared.wake_driver.notify_one();
        Ok(())
    }

    /// Takes these partitions, without a group's help, besides those already taken. Nothing is
    /// fetched until [`start`](Self::start).
    pub fn assign(&mut self, partitions: impl IntoIterator<Item = TopicPartition>) {
        let partitions: Vec<TopicPartition> = partitions.into_iter().collect();
        self.cluster.track_topics(partitions.iter().map(|tp| &*tp.topic));
        let mut state = self.shared.lock();
        state.fetcher.assign(partitions);
        driver::refresh_leaders(&mut state, &self.cluster.metadata());
        drop(state);
        self.shared.wake_driver.notify_one();
    }

    /// Gives partitions taken with [`assign`](Self::assign) back, with what was prefetched.
    pub fn unassign(&mut self, partitions: &[TopicPartition]) {
        self.shared.lock().fetcher.remove(partitions);
        self.shared.wake_driver.notify_one();
    }

    /// What happens next. Waits for it; safe to drop at any time (nothing is lost).
    ///
    /// # Errors
    /// [`ConsumerError::Fetch`] concerns one partition, which stands still until it is started
    /// again; the others go on. [`ConsumerError::Group`] ends the membership for good.
    pub async fn poll(&mut self) -> Result<Event, ConsumerError> {
        let _inside = PollGuard::enter(&self.shared);
        loop {
            if let Some(outcome) = self.next_event() {
                return outcome;
            }
            self.shared.wake_application.notified().await;
        }
    }

    /// Says that everything of [`Event::Revoked`] is finished and committed: the group goes on.
    pub fn revoked_done(&mut self) {
        let mut state = self.shared.lock();
        for tp in std::mem::take(&mut state.revoking) {
            state.owned.remove(&tp);
        }
        if let Some(membership) = &mut state.membership {
            membership.handle_revoked(now());
        }
        drop(state);
        self.shared.wake_driver.notify_one();
    }

    /// Starts partitions that are assigned, or moves them: what was prefetched is dropped.
    ///
    /// # Errors
    /// [`NotAssigned`] for the first one that is not ours; those before it are started.
    pub fn start(&mut self, positions: impl IntoIterator<Item = (TopicPartition, StartAt)>) -> Result<(), NotAssigned> {
        let mut state = self.shared.lock();
        for (tp, start) in positions {
            if !state.fetcher.start(&tp, start) {
                return Err(NotAssigned { tp });
            }
        }
        drop(state);
        self.shared.wake_driver.notify_one();
        Ok(())
    }

    /// Stops handing out these partitions; their prefetched batches stay, within half the budget.
    pub fn pause(&mut self, partitions: &[TopicPartition]) {
        let mut state = self.shared.lock();
        for tp in partitions {
            state.fetcher.pause(tp);
        }
    }

    /// Ends a pause.
    pub fn resume(&mut self, partitions: &[TopicPartition]) {
        let mut state = self.shared.lock();
        for tp in partitions {
            state.fetcher.resume(tp);
        }
        drop(state);
        self.shared.wake_driver.notify_one();
    }

    /// The next record that `poll` will give; `None` while it is being looked up.
    pub fn position(&self, tp: &TopicPartition) -> Option<Position> {
        self.shared.lock().fetcher.position(tp)
    }

    /// Offsets between the position and the end as of the last fetch.
    pub fn lag(&self, tp: &TopicPartition) -> Option<u64> {
        self.shared.lock().fetcher.lag(tp)
    }

    /// When a broker last answered where the end is: what [`lag`](Self::lag) says is as old as this.
    /// At the end of a log an answer comes every `fetch.max.wait.ms`, unless its broker is gone.
    pub fn end_heard_at(&self, tp: &TopicPartition) -> Option<Instant> {
        self.shared.lock().fetcher.end_heard_at(tp)
    }

    /// Partitions assigned now, in order.
    pub fn assignment(&self) -> Vec<TopicPartition> {
        let mut assignment: Vec<_> = self.shared.lock().fetcher.assignment().cloned().collect();
        assignment.sort();
        assignment
    }

    /// Counters since the start.
    pub fn stats(&self) -> ConsumerStats {
        self.shared.lock().stats()
    }

    /// The number of partitions of a topic; asks the cluster if it is not known yet.
    ///
    /// # Errors
    /// If the cluster cannot be asked. A topic that does not exist is `None`.
    pub async fn partition_count(&self, topic: &str) -> Result<Option<i32>, RequestError> {
        let ticket = self.cluster.want_topic(topic);
        let deadline = now() + self.cluster.config().default_api_timeout;
        self.cluster.wait_refreshed(ticket, deadline).await?;
        Ok(self.cluster.metadata().partition_count(topic))
    }

    /// What the group committed for each partition.
    ///
    /// # Errors
    /// See [`OffsetsError`].
    pub async fn committed(
        &self,
        partitions: &[TopicPartition],
    ) -> Result<Vec<(TopicPartition, Option<CommittedOffset>)>, OffsetsError> {
        let group = self.shared.config.group_id.as_deref().ok_or(OffsetsError::NoGroup)?;
        let require_stable = self.shared.config.isolation_level == IsolationLevel::ReadCommitted;
        fetch_committed(&self.cluster, group, Some(partitions), require_stable).await
    }

    /// Commits offsets for the group, under the generation in which this application was assigned
    /// the partitions: a stale owner is refused, by this client or by the coordinator, and cannot
    /// overwrite what the new owner commits. Retries while the coordinator moves or loads.
    ///
    /// # Errors
    /// See [`CommitError`]; after [`CommitError::MembershipLost`] the member rejoins at once and
    /// `poll` says [`Event::Lost`].
    pub async fn commit(&self, offsets: &[(TopicPartition, CommittedOffset)]) -> Result<(), CommitError> {
        let started = now();
        let outcome = commit::commit(&self.shared, &self.cluster, offsets).await;
        let mut state = self.shared.lock();
        state
            .commits
            .finished(now().saturating_duration_since(started), outcome.is_ok());
        outcome
    }

    /// Who this consumer is to its group, for
    /// [`Producer::send_offsets_to_transaction`](crate::Producer::send_offsets_to_transaction): under the generation in which
    /// this application was assigned its partitions. Ask anew for each transaction.
    ///
    /// # Errors
    /// [`CommitError::NoGroup`] without `group.id`, [`CommitError::MembershipLost`] while a subscribed consumer is no member.
    pub fn group_metadata(&self) -> Result<ConsumerGroupMetadata, CommitError> {
        commit::group_metadata(&self.shared)
    }

    /// Asks the coordinator whether this consumer is a member of its group now, under the generation in which this
    /// application was assigned its partitions. A process that slept learns here that others have them; heartbeats say so
    /// too, but nobody waits for those. Retries while the coordinator moves or loads.
    ///
    /// # Errors
    /// See [`ConfirmationError`]; after [`ConfirmationError::Lost`] the member rejoins and `poll` says [`Event::Lost`].
    pub async fn confirm_membership(&self) -> Result<(), ConfirmationError> {
        confirmation::confirm(&self.shared, &self.cluster).await
    }

    /// The oldest offset of each partition.
    ///
    /// # Errors
    /// See [`OffsetsError`].
    pub async fn beginning_offsets(
        &self,
        partitions: &[TopicPartition],
    ) -> Result<Vec<(TopicPartition, i64)>, OffsetsError> {
        self.offsets_at(partitions, EARLIEST).await
    }

    /// The end of each partition: the high watermark, or the last stable offset for `read_committed`.
    ///
    /// # Errors
    /// See [`OffsetsError`].
    pub async fn end_offsets(&self, partitions: &[TopicPartition]) -> Result<Vec<(TopicPartition, i64)>, OffsetsError> {
        self.offsets_at(partitions, LATEST).await
    }

    /// The first record of this time or later, in ms; `None` where there is no such record.
    ///
    /// # Errors
    /// See [`OffsetsError`].
    pub async fn offsets_for_times(
        &self,
        times: &[(TopicPartition, i64)],
    ) -> Result<Vec<(TopicPartition, Option<ListedOffset>)>, OffsetsError> {
        let isolation_level = self.shared.config.isolation_level.code();
        list_offsets(&self.cluster, isolation_level, times).await
    }

    /// Leaves the group (a static member only goes silent) and closes all connections. Waits at
    /// most five seconds for the coordinator. Commits nothing.
    pub async fn close(mut self) {
        self.shared.close();
        if let Some(driver) = self.driver.take() {
            let abort = driver.abort_handle();
            if tokio::time::timeout(CLOSE_TIMEOUT, driver).await.is_err() {
                abort.abort();
            }
        }
        self.cluster.close();
    }

    fn next_event(&mut self) -> Option<Result<Event, ConsumerError>> {
        let mut state = self.shared.lock();
        let state = &mut *state;
        if let Some(membership) = &mut state.membership {
            if let Some(event) = membership.poll_event() {
                let event = self.deliver(state, event);
                self.shared.wake_driver.notify_one();
                return Some(Ok(event));
            }
            if let Some(error) = membership.poll_failure() {
                return Some(Err(ConsumerError::Group(error)));
            }
        }
        let fetched = state.fetcher.poll_fetched()?;
        self.shared.wake_driver.notify_one();
        Some(match fetched {
            Ok(fetched) => Ok(Event::Fetched(fetched)),
            Err(error) => {
                state.count_error("FETCH");
                Err(ConsumerError::Fetch(error))
            }
        })
    }

    /// The application learns of an event now: from here on it holds for its commits and fetches.
    fn deliver(&self, state: &mut State, event: GroupEvent) -> Event {
        match event {
            GroupEvent::Assigned {
                generation_id,
                partitions,
            } => {
                state.delivered_generation = Some(generation_id);
                self.cluster.track_topics(partitions.iter().map(|tp| &*tp.topic));
                state.fetcher.assign(partitions.iter().cloned());
                state.owned.extend(partitions.iter().cloned());
                driver::refresh_leaders(state, &self.cluster.metadata());
                Event::Assigned(partitions)
            }
            GroupEvent::Revoked {
                generation_id,
                partitions,
            } => {
                // An assignment of this generation may have been taken back before it was told.
                state.delivered_generation = Some(generation_id);
                state.fetcher.remove(&partitions);
                state.revoking = partitions.clone();
                Event::Revoked(partitions)
            }
            GroupEvent::Lost { partitions } => {
                state.fetcher.remove(&partitions);
                for tp in &partitions {
                    state.owned.remove(tp);
                }
                state.revoking.clear();
                state.delivered_generation = None;
                Event::Lost(partitions)
            }
        }
    }

    async fn offsets_at(
        &self,
        partitions: &[TopicPartition],
        timestamp: i64,
    ) -> Result<Vec<(TopicPartition, i64)>, OffsetsError> {
        let queries: Vec<_> = partitions.iter().map(|tp| (tp.clone(), timestamp)).collect();
        let listed = self.offsets_for_times(&queries).await?;
        let offsets = listed
            .into_iter()
            .map(|(tp, listed)| (tp, listed.map_or(0, |l| l.offset)));
        Ok(offsets.collect())
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.shared.close();
    }
}

/// Long enough for a LeaveGroup to a healthy coordinator.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
