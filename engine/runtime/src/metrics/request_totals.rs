//! What the Kafka clients' requests came to: how long they took, by API, and how they failed, by error.

use std::collections::BTreeMap;

use engine_client::{ConsumerStats, LatencyStats, ProducerStats};
use engine_wire::error_code::{ErrorClass, ErrorCode};

use super::snapshot::RequestMetrics;

/// The classes of errors; success is none.
const CLASSES: [ErrorClass; 5] = [
    ErrorClass::Retriable,
    ErrorClass::RefreshMetadata,
    ErrorClass::Fenced,
    ErrorClass::Abortable,
    ErrorClass::Fatal,
];

/// Requests of several clients, added up.
#[derive(Debug, Clone, Default)]
pub(crate) struct RequestTotals {
    produce: LatencyStats,
    fetch: LatencyStats,
    commit: LatencyStats,
    /// By Kafka's name of the error, or by the client's where it is none of Kafka's.
    errors: BTreeMap<&'static str, u64>,
}

impl RequestTotals {
    /// Adds what a producer has counted.
    pub(crate) fn add_producer(&mut self, stats: &ProducerStats) {
        self.produce.merge(&stats.latency);
        self.add_errors(&stats.errors);
    }

    /// Adds what a consumer has counted.
    pub(crate) fn add_consumer(&mut self, stats: &ConsumerStats) {
        self.fetch.merge(&stats.fetch.latency);
        self.commit.merge(&stats.commits.latency);
        self.add_errors(&stats.errors);
    }

    /// By API, each also where it has not been used yet.
    pub(crate) fn by_api(&self) -> Vec<RequestMetrics> {
        [
            ("Produce", &self.produce),
            ("Fetch", &self.fetch),
            ("OffsetCommit", &self.commit),
        ]
        .map(|(api, latency)| RequestMetrics {
            api: api.to_owned(),
            latency: *latency,
        })
        .to_vec()
    }

    /// Failures by the class of Kafka's error, each class also where there are none. What is no Kafka error is a lost
    /// connection or a timeout, and those are retried.
    pub(crate) fn errors_by_class(&self) -> Vec<(String, u64)> {
        let mut by_class: BTreeMap<&str, u64> = CLASSES.map(|class| (class.name(), 0)).into();
        for (name, count) in &self.errors {
            let code = ErrorCode::all().find(|code| code.name() == *name);
            let class = code.map_or(ErrorClass::Retriable, |code| code.class()).name();
            *by_class.entry(class).or_default() += count;
        }
        by_class
            .into_iter()
            .map(|(class, count)| (class.to_owned(), count))
            .collect()
    }

    fn add_errors(&mut self, errors: &BTreeMap<&'static str, u64>) {
        for (name, count) in errors {
            *self.errors.entry(name).or_default() += count;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_and_every_api_is_there_from_the_start_and_failures_count_in_theirs() {
        let mut totals = RequestTotals::default();
        assert_eq!(totals.by_api().len(), 3);
        assert!(totals.errors_by_class().iter().all(|(_, count)| *count == 0));
        let errors = [
            ("NOT_LEADER_OR_FOLLOWER", 2),
            ("Disconnected", 3),
            ("FENCED_LEADER_EPOCH", 1),
        ];
        let stats = ProducerStats {
            errors: errors.into(),
            ..ProducerStats::default()
        };
        totals.add_producer(&stats);
        totals.add_producer(&stats);
        let by_class: BTreeMap<String, u64> = totals.errors_by_class().into_iter().collect();
        assert_eq!(by_class["retriable"], 6);
        assert_eq!(by_class.values().sum::<u64>(), 12);
    }
}
