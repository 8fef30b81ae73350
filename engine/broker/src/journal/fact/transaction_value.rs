//! A transaction in the bytes of a journal entry.

use std::collections::{BTreeMap, BTreeSet};

use bytes::{Buf, BufMut};

use crate::journal::fact::{put_string, take_string};
use crate::transaction::{Outcome, Producer, Scope, State, Transaction};

const EMPTY: u8 = 0;
const ONGOING: u8 = 1;
const PREPARED_COMMIT: u8 = 2;
const PREPARED_ABORT: u8 = 3;
const COMPLETE_COMMIT: u8 = 4;
const COMPLETE_ABORT: u8 = 5;

/// No producer, in the place of one.
const NOBODY: Producer = Producer {
    producer_id: -1,
    producer_epoch: -1,
};

pub(super) fn put(out: &mut Vec<u8>, transaction: &Transaction) {
    put_producer(out, transaction.producer);
    put_producer(out, transaction.previous.unwrap_or(NOBODY));
    out.put_i32(transaction.timeout_ms);
    out.put_i64(transaction.changed_at);
    match &transaction.state {
        State::Empty => out.put_u8(EMPTY),
        State::Ongoing { started_at, scope } => {
            out.put_u8(ONGOING);
            out.put_i64(*started_at);
            put_scope(out, scope);
        }
        State::Prepared {
            outcome,
            started_at,
            scope,
            marker,
        } => {
            out.put_u8(match outcome {
                Outcome::Commit => PREPARED_COMMIT,
                Outcome::Abort => PREPARED_ABORT,
            });
            out.put_i64(*started_at);
            put_scope(out, scope);
            put_producer(out, *marker);
        }
        State::Complete { outcome } => out.put_u8(match outcome {
            Outcome::Commit => COMPLETE_COMMIT,
            Outcome::Abort => COMPLETE_ABORT,
        }),
    }
}

pub(super) fn take(from: &mut &[u8]) -> Option<Transaction> {
    let producer = take_producer(from)?;
    let previous = take_producer(from)?;
    let timeout_ms = from.try_get_i32().ok()?;
    let changed_at = from.try_get_i64().ok()?;
    let state = match from.try_get_u8().ok()? {
        EMPTY => State::Empty,
        ONGOING => State::Ongoing {
            started_at: from.try_get_i64().ok()?,
            scope: take_scope(from)?,
        },
        PREPARED_COMMIT => take_prepared(from, Outcome::Commit)?,
        PREPARED_ABORT => take_prepared(from, Outcome::Abort)?,
        COMPLETE_COMMIT => State::Complete {
            outcome: Outcome::Commit,
        },
        COMPLETE_ABORT => State::Complete {
            outcome: Outcome::Abort,
        },
        _ => return None,
    };
    Some(Transaction {
        producer,
        previous: (previous != NOBODY).then_some(previous),
        timeout_ms,
        changed_at,
        state,
    })
}

fn take_prepared(from: &mut &[u8], outcome: Outcome) -> Option<State> {
    Some(State::Prepared {
        outcome,
        started_at: from.try_get_i64().ok()?,
        scope: take_scope(from)?,
        marker: take_producer(from)?,
    })
}

fn put_producer(out: &mut Vec<u8>, producer: Producer) {
    out.put_i64(producer.producer_id);
    out.put_i16(producer.producer_epoch);
}

fn take_producer(from: &mut &[u8]) -> Option<Producer> {
    Some(Producer {
        producer_id: from.try_get_i64().ok()?,
        producer_epoch: from.try_get_i16().ok()?,
    })
}

fn put_scope(out: &mut Vec<u8>, scope: &Scope) {
    put_count(out, scope.partitions.len());
    for (topic, partitions) in &scope.partitions {
        put_string(out, topic);
        put_count(out, partitions.len());
        partitions.iter().for_each(|partition| out.put_i32(*partition));
    }
    put_count(out, scope.groups.len());
    scope.groups.iter().for_each(|group| put_string(out, group));
}

fn take_scope(from: &mut &[u8]) -> Option<Scope> {
    let mut scope = Scope {
        partitions: BTreeMap::new(),
        groups: BTreeSet::new(),
    };
    for _ in 0..from.try_get_u32().ok()? {
        let topic = take_string(from)?;
        let mut partitions = BTreeSet::new();
        for _ in 0..from.try_get_u32().ok()? {
            partitions.insert(from.try_get_i32().ok()?);
        }
        scope.partitions.insert(topic, partitions);
    }
    for _ in 0..from.try_get_u32().ok()? {
        scope.groups.insert(take_string(from)?);
    }
    Some(scope)
}

fn put_count(out: &mut Vec<u8>, count: usize) {
    out.put_u32(u32::try_from(count).expect("topics, partitions and groups are bounded by their own limits"));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::fact::Fact;
    use crate::transaction::Part;

    #[test]
    fn every_state_is_read_back_as_it_was_written() {
        let producer = Producer {
            producer_id: 7,
            producer_epoch: 3,
        };
        let mut transaction = Transaction::new(7, 1_000);
        transaction.init(1_001, 60_000, None);
        let mut states = vec![transaction.clone()];
        let mut scope = Part::Partition { topic: "ads", index: 4 }.scope();
        scope.groups.insert("g".to_owned());
        transaction.producer = producer;
        transaction.add(1_002, producer, scope).expect("an open transaction");
        states.push(transaction.clone());
        for outcome in [Outcome::Commit, Outcome::Abort] {
            let mut ended = transaction.clone();
            ended.prepare(1_003, outcome, outcome == Outcome::Abort, None);
            states.push(ended.clone());
            ended.complete(1_004);
            states.push(ended);
        }
        for transaction in states {
            let fact = Fact::Transaction {
                transactional_id: "tx".to_owned(),
                transaction,
            };
            let (key, value) = (fact.key(), fact.value());
            assert_eq!(Fact::decode(&key, &value), Some(fact.clone()));
            for length in 0..value.len() {
                assert_eq!(Fact::decode(&key, &value[..length]), None, "{length} bytes of {fact:?}");
            }
        }
    }
}
