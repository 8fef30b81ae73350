//! When a Metadata request goes out.
//!
//! A dying broker makes every partition, every fetch and every produce request ask for fresh
//! metadata at once. All of them are answered by one request: while one is in flight, new
//! demands wait for the *next* one (the answer under way may be older than their error), and
//! two requests are at least `retry.backoff.ms` apart.
//!
//! When nobody that we know answers for long, or a broker says that what we know is of another
//! cluster's past, requests go to the bootstrap servers until one of them answers (KIP-899, KIP-1102).
//! Never here: the cache itself (see `cluster::metadata`), sockets.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::backoff::{Backoff, BackoffPolicy};

/// Limits on refreshing.
#[derive(Debug, Clone, Copy)]
pub struct RefreshPolicy {
    /// Ask at least this often (`metadata.max.age.ms`).
    pub age_max: Duration,
    /// The distance between requests, growing after failures.
    pub backoff: BackoffPolicy,
    /// Without an answer for so long, only the bootstrap servers are asked
    /// (`metadata.recovery.rebootstrap.trigger.ms`); `None` is `metadata.recovery.strategy=none`.
    pub rebootstrap_after: Option<Duration>,
}

/// Decides when to ask, for which topics, and which demands an answer satisfies.
///
/// ```text
/// Idle ──demand, age──▶ InFlight ──answer──▶ Idle
///                           ├──answer without a topic──▶ Idle, again after a growing pause
///                           └──failure──▶ Idle, not before the backoff
/// ```
///
/// Beside that it knows whom to ask: any broker, or, from the moment that failures have lasted for
/// `rebootstrap_after` until the next answer, the bootstrap servers alone.
#[derive(Debug)]
pub struct MetadataRefresh {
    policy: RefreshPolicy,
    topics: BTreeSet<Arc<str>>,
    all_topics: bool,
    /// Demands so far; a ticket is its number.
    demanded: u64,
    /// The newest demand that a successful answer covers.
    satisfied: u64,
    /// The newest demand that the request in flight covers.
    in_flight: Option<u64>,
    /// Demands up to this one were for topics never asked for: no need to wait between requests.
    urgent: u64,
    last_answer: Option<Instant>,
    not_before: Option<Instant>,
    backoff: Backoff,
    /// When to ask again for topics that the last answer did not have, and the pauses between such answers.
    again_at: Option<Instant>,
    pauses: Backoff,
    min_distance: Duration,
    /// When the first request went out that no answer has followed yet.
    trying_since: Option<Instant>,
    source: RefreshSource,
}

/// A demand for metadata that is newer than the demand itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct RefreshTicket(u64);

/// What to ask, and whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefreshRequest {
    /// The topics; `None` for all there are. An empty list asks for brokers only.
    pub topics: Option<Vec<Arc<str>>>,
    /// Who may answer.
    pub source: RefreshSource,
}

/// Who may answer a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefreshSource {
    /// Any broker that is known.
    AnyBroker,
    /// The bootstrap servers alone: what is known of the brokers is worth nothing.
    Bootstrap,
}

impl MetadataRefresh {
    /// Nothing known, nothing asked; jitter comes from `seed`.
    pub fn new(policy: RefreshPolicy, seed: u64) -> Self {
        Self {
            policy,
            topics: BTreeSet::new(),
            all_topics: false,
            demanded: 0,
            satisfied: 0,
            in_flight: None,
            urgent: 0,
            last_answer: None,
            not_before: None,
            backoff: Backoff::new(policy.backoff, seed),
            again_at: None,
            pauses: Backoff::new(policy.backoff, seed),
            min_distance: policy.backoff.initial,
            trying_since: None,
            source: RefreshSource::AnyBroker,
        }
    }

    /// Demands fresh metadata. Satisfied by a request that starts after this call.
    pub fn demand(&mut self) -> RefreshTicket {
        self.demanded += 1;
        RefreshTicket(self.demanded)
    }

    /// As [`MetadataRefresh::demand`], for whoever is content with an answer no older than `age`: one that is there, or
    /// on its way, needs no second one. What it has to name must be tracked already.
    pub fn demand_within(&mut self, now: Instant, age: Duration) -> RefreshTicket {
        let covered = self.in_flight.unwrap_or(self.satisfied);
        let is_young = self.in_flight.is_some()
            || self
                .last_answer
                .is_some_and(|at| now.saturating_duration_since(at) <= age);
        match is_young && covered == self.demanded {
            true => RefreshTicket(covered),
            false => self.demand(),
        }
    }

    /// Adds a topic to all further requests; a new one is asked for without delay.
    pub fn track(&mut self, topic: &str) -> RefreshTicket {
        if !self.topics.contains(topic) {
            self.topics.insert(topic.into());
            self.demanded += 1;
            self.urgent = self.demanded;
        }
        RefreshTicket(self.demanded)
    }

    /// Leaves a topic out of further requests.
    pub fn untrack(&mut self, topic: &str) {
        self.topics.remove(topic);
    }

    /// Asks for all topics from now on (pattern subscriptions, listings).
    pub fn track_all(&mut self) -> RefreshTicket {
        if !self.all_topics {
            self.all_topics = true;
            self.demanded += 1;
            self.urgent = self.demanded;
        }
        RefreshTicket(self.demanded)
    }

    /// Whether an answer covers the demand.
    pub fn is_satisfied(&self, ticket: RefreshTicket) -> bool {
        ticket.0 <= self.satisfied
    }

    /// The request to send now, if any. The caller must report its outcome.
    pub fn poll_request(&mut self, now: Instant) -> Option<RefreshRequest> {
        if self.in_flight.is_some() || self.due(now)? > now {
            return None;
        }
        self.in_flight = Some(self.demanded);
        let trying_since = *self.trying_since.get_or_insert(now);
        let is_lost = |after| now.saturating_duration_since(trying_since) >= after;
        if self.policy.rebootstrap_after.is_some_and(is_lost) {
            self.source = RefreshSource::Bootstrap;
        }
        let topics = (!self.all_topics).then(|| self.topics.iter().cloned().collect());
        let source = self.source;
        Some(RefreshRequest { topics, source })
    }

    /// When [`MetadataRefresh::poll_request`] will have something; `None` while one is in flight.
    pub fn poll_deadline(&self, now: Instant) -> Option<Instant> {
        match self.in_flight {
            Some(_) => None,
            None => self.due(now),
        }
    }

    /// The answer to the request in flight has been applied.
    pub fn handle_answer(&mut self, now: Instant) {
        if self.take_answer(now) {
            self.again_at = None;
            self.pauses.reset();
        }
    }

    /// As [`MetadataRefresh::handle_answer`], of an answer in which a topic is missing or has no leader for now. One that is
    /// new is not known to every broker at once, and nobody may ever demand it again: it is asked for again without a demand,
    /// at most `retry.backoff.max.ms` later.
    pub fn handle_incomplete_answer(&mut self, now: Instant) {
        if self.take_answer(now) {
            self.again_at = Some(now + self.pauses.fail());
        }
    }

    fn take_answer(&mut self, now: Instant) -> bool {
        let Some(covered) = self.in_flight.take() else {
            return false; // A late answer after a failure was reported.
        };
        self.satisfied = self.satisfied.max(covered);
        self.last_answer = Some(now);
        self.backoff.reset();
        self.not_before = Some(now + self.min_distance);
        self.trying_since = None;
        self.source = RefreshSource::AnyBroker;
        true
    }

    /// The request in flight failed, with all brokers tried.
    pub fn handle_failure(&mut self, now: Instant) {
        if self.in_flight.take().is_some() {
            self.not_before = Some(now + self.backoff.fail());
            self.urgent = 0;
        }
    }

    /// The request in flight was answered with REBOOTSTRAP_REQUIRED: a failure, after which the bootstrap servers
    /// are asked.
    pub fn handle_rebootstrap_required(&mut self, now: Instant) {
        self.handle_failure(now);
        if self.policy.rebootstrap_after.is_some() {
            self.source = RefreshSource::Bootstrap;
        }
    }

    fn due(&self, now: Instant) -> Option<Instant> {
        let Some(last_answer) = self.last_answer else {
            return Some(self.not_before.unwrap_or(now));
        };
        if self.urgent > self.satisfied {
            return Some(now);
        }
        let by_age = last_answer + self.policy.age_max;
        let by_age = self.again_at.map_or(by_age, |again_at| by_age.min(again_at));
        let due = if self.demanded > self.satisfied {
            now.min(by_age)
        } else {
            by_age
        };
        Some(self.not_before.map_or(due, |not_before| due.max(not_before)))
    }
}

#[cfg(test)]
mod tests;
