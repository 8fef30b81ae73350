//! What the loop tells engines and brokers to be quick about. The plan and the pipeline must agree on it.

use std::time::Duration;

/// `session.timeout.ms` of the engines: a restart waits that long for the session of the process that was killed.
pub(crate) const SESSION_TIMEOUT: Duration = Duration::from_millis(800);
/// `transaction.timeout.ms` of the engines.
pub(crate) const TRANSACTION_TIMEOUT: Duration = Duration::from_millis(6_000);
/// The windows of `crash-loop/pipeline.toml`.
pub(crate) const WINDOW: Duration = Duration::from_secs(1);
/// Partitions of the source.
pub(crate) const PARTITIONS: usize = 4;
/// What brokers of Apache Kafka are to be told besides.
pub(crate) const BROKER: [&str; 3] = [
    "group.min.session.timeout.ms=300",
    "transaction.abort.timed.out.transaction.cleanup.interval.ms=500",
    "group.initial.rebalance.delay.ms=0",
];
