//! What the handle and its background task share: the machines, behind one lock.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use engine_proto::{
    TopicPartition,
    backoff::BackoffPolicy,
    fetch::{
        fetcher::{FetchConfig, Fetcher},
        position::OffsetReset,
    },
    group::{
        assignor::{
            Assignor, cooperative_sticky::CooperativeStickyAssignor, range::RangeAssignor,
            round_robin::RoundRobinAssignor, single_owner::SingleOwnerAssignor, sticky::StickyAssignor,
        },
        member_state::MembershipConfig,
        membership::Membership,
    },
};
use tokio::sync::Notify;

use super::stats::{CommitStats, ConsumerStats};
use crate::{
    config::{AssignmentStrategy, AutoOffsetReset, ConsumerConfig, IsolationLevel},
    connection::now,
};

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) config: ConsumerConfig,
    state: Mutex<State>,
    /// Something to send, or to plan anew.
    pub(super) wake_driver: Notify,
    /// Something to poll.
    pub(super) wake_application: Notify,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) membership: Option<Membership>,
    pub(super) fetcher: Fetcher,
    /// What the application believes to own, and under which generation.
    pub(super) owned: BTreeSet<TopicPartition>,
    pub(super) delivered_generation: Option<i32>,
    /// Told as revoked, and not done yet.
    pub(super) revoking: Vec<TopicPartition>,
    pub(super) commits: CommitStats,
    pub(super) errors: BTreeMap<&'static str, u64>,
    pub(super) closing: bool,
}

impl State {
    pub(super) fn count_error(&mut self, name: &'static str) {
        *self.errors.entry(name).or_default() += 1;
    }

    pub(super) fn stats(&self) -> ConsumerStats {
        let fetcher = &self.fetcher;
        let mut lag: Vec<_> = fetcher
            .assignment()
            .filter_map(|tp| Some((tp.clone(), fetcher.lag(tp)?)))
            .collect();
        lag.sort();
        ConsumerStats {
            fetch: fetcher.stats(),
            membership: self
                .membership
                .as_ref()
                .map(|member| member.stats())
                .unwrap_or_default(),
            commits: self.commits,
            prefetched_bytes: fetcher.queued_bytes(),
            lag,
            errors: self.errors.clone(),
        }
    }
}

impl Shared {
    pub(super) fn new(now: Instant, config: ConsumerConfig, seed: u64) -> Shared {
        let membership = config
            .group_id
            .is_some()
            .then(|| Membership::new(now, membership_config(&config), seed));
        let state = State {
            membership,
            fetcher: Fetcher::new(fetch_config(&config), seed),
            owned: BTreeSet::new(),
            delivered_generation: None,
            revoking: Vec::new(),
            commits: CommitStats::default(),
            errors: BTreeMap::new(),
            closing: false,
        };
        Shared {
            config,
            state: Mutex::new(state),
            wake_driver: Notify::new(),
            wake_application: Notify::new(),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn close(&self) {
        self.lock().closing = true;
        self.wake_driver.notify_one();
    }
}

/// Tells the membership that the application is inside `poll`, also when the future is dropped.
pub(super) struct PollGuard {
    shared: std::sync::Arc<Shared>,
}

impl PollGuard {
    pub(super) fn enter(shared: &std::sync::Arc<Shared>) -> PollGuard {
        if let Some(membership) = &mut shared.lock().membership
            && membership.handle_poll_entered(now())
        {
            shared.wake_driver.notify_one();
        }
        PollGuard { shared: shared.clone() }
    }
}

impl Drop for PollGuard {
    fn drop(&mut self) {
        if let Some(membership) = &mut self.shared.lock().membership {
            membership.handle_poll_left(now());
        }
    }
}

fn membership_config(config: &ConsumerConfig) -> MembershipConfig {
    let strategies = config.partition_assignment_strategy.iter();
    let assignors = strategies.map(|strategy| -> Arc<dyn Assignor> {
        match *strategy {
            AssignmentStrategy::Range => Arc::new(RangeAssignor),
            AssignmentStrategy::RoundRobin => Arc::new(RoundRobinAssignor),
            AssignmentStrategy::Sticky => Arc::new(StickyAssignor),
            AssignmentStrategy::CooperativeSticky => Arc::new(CooperativeStickyAssignor),
            AssignmentStrategy::SingleOwner { started_ms } => Arc::new(SingleOwnerAssignor { started_ms }),
        }
    });
    MembershipConfig {
        group_instance_id: config.group_instance_id.clone(),
        session_timeout: config.session_timeout,
        heartbeat_interval: config.heartbeat_interval,
        max_poll_interval: config.poll_interval_max,
        rebalance_timeout: config.rebalance_timeout.unwrap_or(config.poll_interval_max),
        backoff: backoff(config),
        assignors: assignors.collect(),
        rack_id: config.client_rack.clone(),
    }
}

fn fetch_config(config: &ConsumerConfig) -> FetchConfig {
    FetchConfig {
        read_committed: config.isolation_level == IsolationLevel::ReadCommitted,
        offset_reset: match config.auto_offset_reset {
            AutoOffsetReset::Earliest => OffsetReset::Earliest,
            AutoOffsetReset::Latest => OffsetReset::Latest,
            AutoOffsetReset::ByDuration(duration) => OffsetReset::ByDuration(duration),
            AutoOffsetReset::None => OffsetReset::None,
        },
        fetch_bytes_min: config.fetch_bytes_min,
        fetch_bytes_max: config.fetch_bytes_max,
        partition_bytes_max: config.partition_fetch_bytes_max,
        fetch_wait_max: config.fetch_wait_max,
        prefetch_bytes_max: config.prefetch_bytes_max,
        rack_id: config.client_rack.clone(),
        read_replica_age_max: config.client.metadata_age_max,
        backoff: backoff(config),
    }
}

fn backoff(config: &ConsumerConfig) -> BackoffPolicy {
    BackoffPolicy {
        initial: config.client.retry_backoff,
        max: config.client.retry_backoff_max,
    }
}
