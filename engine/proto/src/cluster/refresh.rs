//! When a Metadata request goes out.
//!
//! A dying broker makes every partition, every fetch and every produce request ask for fresh
//! metadata at once. All of them are answered by one request: while one is in flight, new
//! demands wait for the *next* one (the answer under way may be older than their error), and
//! two requests are at least `retry.backoff.ms` apart.
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
}

/// Decides when to ask, for which topics, and which demands an answer satisfies.
///
/// ```text
/// Idle ──demand, age──▶ InFlight ──answer──▶ Idle
///                           └──failure──▶ Idle, not before the backoff
/// ```
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
    min_distance: Duration,
}

/// A demand for metadata that is newer than the demand itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct RefreshTicket(u64);

/// What to ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefreshRequest {
    /// The topics; `None` for all there are. An empty list asks for brokers only.
    pub topics: Option<Vec<Arc<str>>>,
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
            min_distance: policy.backoff.initial,
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
        let topics = (!self.all_topics).then(|| self.topics.iter().cloned().collect());
        Some(RefreshRequest { topics })
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
        let Some(covered) = self.in_flight.take() else {
            return; // A late answer after a failure was reported.
        };
        self.satisfied = self.satisfied.max(covered);
        self.last_answer = Some(now);
        self.backoff.reset();
        self.not_before = Some(now + self.min_distance);
    }

    /// The request in flight failed, with all brokers tried.
    pub fn handle_failure(&mut self, now: Instant) {
        if self.in_flight.take().is_some() {
            self.not_before = Some(now + self.backoff.fail());
            self.urgent = 0;
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
        let due = if self.demanded > self.satisfied {
            now.min(by_age)
        } else {
            by_age
        };
        Some(self.not_before.map_or(due, |not_before| due.max(not_before)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[expect(clippy::disallowed_methods)]
    fn start() -> Instant {
        Instant::now()
    }

    fn refresh() -> MetadataRefresh {
        MetadataRefresh::new(
            RefreshPolicy {
                age_max: Duration::from_secs(300),
                backoff: BackoffPolicy {
                    initial: 100 * MS,
                    max: 1000 * MS,
                },
            },
            1,
        )
    }

    /// A refresh that has had its first answer at the returned instant.
    fn refreshed() -> (MetadataRefresh, Instant) {
        let now = start();
        let mut refresh = refresh();
        refresh.poll_request(now).unwrap();
        refresh.handle_answer(now);
        (refresh, now)
    }

    #[test]
    fn the_first_request_goes_out_at_once() {
        let now = start();
        let mut refresh = refresh();
        assert_eq!(refresh.poll_deadline(now), Some(now));
        let request = refresh.poll_request(now).unwrap();
        assert_eq!(request.topics, Some(vec![]));
    }

    #[test]
    fn a_burst_of_demands_is_one_request() {
        let (mut refresh, now) = refreshed();
        let tickets: Vec<_> = (0..1000).map(|_| refresh.demand()).collect();
        assert_eq!(refresh.poll_request(now), None, "too soon after the last one");
        let later = now + 100 * MS;
        assert!(refresh.poll_request(later).is_some());
        assert_eq!(refresh.poll_request(later), None, "one in flight");
        refresh.handle_answer(later);
        assert!(tickets.iter().all(|ticket| refresh.is_satisfied(*ticket)));
        assert_eq!(refresh.poll_request(later + 200 * MS), None);
    }

    #[test]
    fn a_demand_during_a_request_waits_for_the_next_answer() {
        let (mut refresh, now) = refreshed();
        refresh.demand();
        refresh.poll_request(now + 100 * MS).unwrap();
        let ticket = refresh.demand();
        refresh.handle_answer(now + 101 * MS);
        assert!(!refresh.is_satisfied(ticket));
        assert_eq!(refresh.poll_deadline(now + 101 * MS), Some(now + 201 * MS));
        refresh.poll_request(now + 201 * MS).unwrap();
        refresh.handle_answer(now + 202 * MS);
        assert!(refresh.is_satisfied(ticket));
    }

    #[test]
    fn an_answer_that_is_young_enough_is_not_asked_for_again() {
        let (mut refresh, now) = refreshed();
        let ticket = refresh.demand_within(now + 50 * MS, 50 * MS);
        assert!(refresh.is_satisfied(ticket));
        let ticket = refresh.demand_within(now + 51 * MS, 50 * MS);
        assert!(!refresh.is_satisfied(ticket), "too old");
        refresh.poll_request(now + 100 * MS).unwrap();
        let under_way = refresh.demand_within(now + 101 * MS, 50 * MS);
        assert!(!refresh.is_satisfied(under_way));
        refresh.handle_answer(now + 102 * MS);
        assert!(refresh.is_satisfied(under_way), "the one on its way was enough");
        assert_eq!(refresh.poll_request(now + 300 * MS), None);
        refresh.demand();
        let behind_another = refresh.demand_within(now + 103 * MS, 50 * MS);
        assert!(!refresh.is_satisfied(behind_another), "somebody knows better");
    }

    #[test]
    fn a_new_topic_is_asked_for_at_once_and_a_known_one_is_not() {
        let (mut refresh, now) = refreshed();
        let ticket = refresh.track("orders");
        let request = refresh.poll_request(now).unwrap();
        assert_eq!(request.topics, Some(vec![Arc::from("orders")]));
        refresh.handle_answer(now);
        assert!(refresh.is_satisfied(ticket));
        let again = refresh.track("orders");
        assert!(refresh.is_satisfied(again));
        assert_eq!(refresh.poll_request(now), None);
    }

    #[test]
    fn failures_back_off_and_an_answer_resets() {
        let (mut refresh, mut now) = refreshed();
        refresh.demand();
        let mut delays = Vec::new();
        for _ in 0..5 {
            now = refresh.poll_deadline(now).unwrap().max(now);
            refresh.poll_request(now).unwrap();
            refresh.handle_failure(now);
            delays.push(refresh.poll_deadline(now).unwrap() - now);
        }
        assert!(delays[0] <= 120 * MS);
        assert!(delays[4] >= 800 * MS);
    }

    #[test]
    fn metadata_is_refreshed_by_age() {
        let (mut refresh, now) = refreshed();
        assert_eq!(refresh.poll_deadline(now), Some(now + Duration::from_secs(300)));
        assert!(refresh.poll_request(now + Duration::from_secs(299)).is_none());
        assert!(refresh.poll_request(now + Duration::from_secs(300)).is_some());
    }

    #[test]
    fn an_answer_after_a_reported_failure_changes_nothing() {
        let (mut refresh, now) = refreshed();
        let ticket = refresh.demand();
        refresh.poll_request(now + 100 * MS).unwrap();
        refresh.handle_failure(now + 100 * MS);
        refresh.handle_answer(now + 100 * MS);
        assert!(!refresh.is_satisfied(ticket));
    }
}
