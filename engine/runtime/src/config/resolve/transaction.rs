//! What exactly once asks of the client options: all outputs, dead letters and the state topic are written by one
//! producer, because a transaction is one producer's.
//!
//! The parts' own options are put together; where two of them want different things of that producer, the file is refused.

use std::time::Duration;

use engine_client::{ProducerConfig, PropertyError};

use super::super::diagnostic::{Diagnostic, quoted};
use super::super::fields::Fields;
use super::super::pipeline::{Checkpoint, DeadLetter, KafkaOptions, SinkKind};
use super::super::source_text::Span;
use super::kafka::{Role, SharedOptions};
use super::sink::SinkDraft;

const TIMEOUT: &str = "transaction.timeout.ms";
/// A checkpoint ends every transaction long before; what a process that died has left open holds readers back for this
/// long at most.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);
/// How many checkpoint intervals the default leaves to a transaction, where intervals are long.
const TIMEOUT_INTERVALS: u32 = 3;
/// What brokers take at most unless they are told otherwise (`transaction.max.timeout.ms`); the default leaves longer
/// checkpoint intervals just enough.
const TIMEOUT_MAX: Duration = Duration::from_secs(900);
/// What the protocol's field can hold.
const TIMEOUT_FIELD_MAX: Duration = Duration::from_millis(i32::MAX as u64);
const ISOLATION: &str = "isolation.level";

/// Sources read what is committed, unless the file says otherwise: what an aborted transaction of somebody else left must
/// not be counted exactly once.
pub(super) fn read_committed(options: &mut KafkaOptions) {
    if options.value(ISOLATION).is_none() {
        options.set(ISOLATION, "read_committed");
    }
}

/// The options of the transactional producer.
pub(super) fn resolve(
    root: &Fields<'_>,
    checkpoint: &Checkpoint,
    shared: &SharedOptions,
    sinks: &[SinkDraft],
    dead_letter: Option<&DeadLetter>,
) -> KafkaOptions {
    let base = shared.of_role(Role::Producer);
    let mut transaction = base.clone();
    // What each option was set to, and by which part.
    let mut set_by: Vec<(String, String)> = Vec::new();
    let sinks = sinks.iter().filter_map(|sink| match &sink.kind {
        SinkKind::Kafka(kafka) => Some((format!("sinks.{}", sink.name), &kafka.kafka)),
        SinkKind::Parquet(_) => None,
    });
    let dead_letter = dead_letter.map(|dead_letter| ("dead_letter".to_owned(), &dead_letter.kafka));
    for (part, options) in sinks.chain(dead_letter) {
        for (name, value) in options.iter().filter(|(name, value)| base.value(name) != Some(value)) {
            match set_by.iter().find(|(known, _)| known == name) {
                Some((_, other)) if transaction.value(name) != Some(value) => {
                    let (mine, theirs) = (value, transaction.value(name).unwrap_or_default());
                    let message = format!(
                        "{} cannot be {} here and {} in `{other}`",
                        quoted(name),
                        quoted(mine),
                        quoted(theirs)
                    );
                    let diagnostic = Diagnostic::error(&span_of(root, &part), message).note(
                        "with `guarantee = \"exactly_once\"` one transaction, and so one producer, writes all outputs",
                    );
                    root.problems.push(diagnostic);
                }
                Some(_) => {}
                None => {
                    set_by.push((name.to_owned(), part.clone()));
                    transaction.set(name, value);
                }
            }
        }
    }
    if transaction.value(TIMEOUT).is_none() {
        let timeout = TIMEOUT_DEFAULT.max(checkpoint.interval.saturating_mul(TIMEOUT_INTERVALS));
        let timeout = timeout.min(TIMEOUT_MAX.max(checkpoint.interval.saturating_add(TIMEOUT_DEFAULT)));
        if timeout > TIMEOUT_FIELD_MAX {
            let span = root.fields("checkpoint").map(|fields| fields.span_of("interval"));
            let message =
                "the interval is too long for exactly once: a transaction lasts from one checkpoint to the next";
            let diagnostic = Diagnostic::error(&span.unwrap_or_else(|| root.span.clone()), message);
            root.problems.push(
                diagnostic
                    .note("brokers allow 15 minutes by default, `transaction.max.timeout.ms`, and 24 days at most"),
            );
        }
        transaction.set(TIMEOUT, &timeout.as_millis().to_string());
    }
    check(root, checkpoint, &transaction, &set_by);
    transaction
}

fn check(root: &Fields<'_>, checkpoint: &Checkpoint, transaction: &KafkaOptions, set_by: &[(String, String)]) {
    let transactional = [("transactional.id", "any"), ("bootstrap.servers", "localhost:9092")];
    let options = transaction.iter().filter(|(name, _)| *name != "bootstrap.servers");
    let span = root.span_of("kafka");
    match ProducerConfig::from_properties(options.chain(transactional)) {
        Ok(config) if config.transaction_timeout <= checkpoint.interval => {
            let message = format!(
                "`{TIMEOUT}` ({} ms) must be longer than the checkpoint interval ({} ms): a transaction lasts from one checkpoint to the next",
                config.transaction_timeout.as_millis(),
                checkpoint.interval.as_millis()
            );
            root.problems.error(&span, message);
        }
        Ok(_) => {}
        // What is wrong with one option alone was told where it stands.
        Err(errors) => {
            for error in errors
                .iter()
                .filter(|error| matches!(error, PropertyError::Contradiction(_)))
            {
                let told = error.to_string();
                // The part that set one of the options it is about; what no part has set is in [kafka].
                let culprit = set_by.iter().find(|(name, _)| told.contains(&format!("`{name}`")));
                let span = culprit.map_or_else(|| span.clone(), |(_, part)| span_of(root, part));
                let diagnostic =
                    Diagnostic::error(&span, format!("these producer options do not fit exactly once: {told}"))
                        .note("write `guarantee = \"at_least_once\"` in [checkpoint] to keep them");
                root.problems.push(diagnostic);
            }
        }
    }
}

/// Where a part's `kafka` table is.
fn span_of(root: &Fields<'_>, part: &str) -> Span {
    let (table, name) = part.split_once('.').unwrap_or((part, ""));
    let fields = root.fields(table);
    let fields = match name {
        "" => fields,
        name => fields.and_then(|fields| fields.fields(name)),
    };
    fields.map_or_else(|| root.span.clone(), |fields| fields.span_of("kafka"))
}
