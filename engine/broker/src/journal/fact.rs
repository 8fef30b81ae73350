//! What a journal entry means: one fact, its key and its value in bytes.
//!
//! Numbers are big-endian, strings are a u16 length and UTF-8. A new kind gets a new tag; values never change
//! shape without a new tag.

mod transaction_value;

use std::collections::BTreeMap;

use bytes::{Buf, BufMut};
use uuid::Uuid;

use crate::transaction::Transaction;

/// Something the broker must still know after a restart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fact {
    /// The cluster's id, drawn once.
    ClusterId(String),
    /// The leader epoch of the next start: how often this data directory was started, and more where leaders moved.
    Starts(i32),
    /// Producer ids below this one may have been handed out.
    ProducerIdsBelow(i64),
    /// A topic with its explicit configuration.
    Topic {
        name: String,
        id: Uuid,
        partitions: i32,
        configs: BTreeMap<String, String>,
    },
    /// The log start offset of a partition, where it is not the first batch.
    LogStart {
        topic_id: Uuid,
        partition: i32,
        offset: i64,
    },
    /// A group's committed offset.
    Committed {
        group: String,
        topic: String,
        partition: i32,
        offset: i64,
        leader_epoch: i32,
        metadata: String,
    },
    /// A transactional id, its producer and its transaction.
    Transaction {
        transactional_id: String,
        transaction: Transaction,
    },
    /// An offset that a group will have committed when the producer's open transaction is.
    PendingOffset {
        group: String,
        producer_id: i64,
        topic: String,
        partition: i32,
        offset: i64,
        leader_epoch: i32,
        metadata: String,
    },
}

const CLUSTER_ID: u8 = 1;
const STARTS: u8 = 2;
const PRODUCER_IDS_BELOW: u8 = 3;
const TOPIC: u8 = 4;
const LOG_START: u8 = 5;
const COMMITTED: u8 = 6;
const TRANSACTION: u8 = 7;
const PENDING_OFFSET: u8 = 8;

impl Fact {
    pub(crate) fn key(&self) -> Vec<u8> {
        let mut key = Vec::new();
        match self {
            Self::ClusterId(_) => key.put_u8(CLUSTER_ID),
            Self::Starts(_) => key.put_u8(STARTS),
            Self::ProducerIdsBelow(_) => key.put_u8(PRODUCER_IDS_BELOW),
            Self::Topic { name, .. } => {
                key.put_u8(TOPIC);
                put_string(&mut key, name);
            }
            Self::LogStart {
                topic_id, partition, ..
            } => {
                key.put_u8(LOG_START);
                key.put_u128(topic_id.as_u128());
                key.put_i32(*partition);
            }
            Self::Committed {
                group,
                topic,
                partition,
                ..
            } => {
                key.put_u8(COMMITTED);
                put_string(&mut key, group);
                put_string(&mut key, topic);
                key.put_i32(*partition);
            }
            Self::Transaction { transactional_id, .. } => {
                key.put_u8(TRANSACTION);
                put_string(&mut key, transactional_id);
            }
            Self::PendingOffset {
                group,
                producer_id,
                topic,
                partition,
                ..
            } => {
                key.put_u8(PENDING_OFFSET);
                put_string(&mut key, group);
                key.put_i64(*producer_id);
                put_string(&mut key, topic);
                key.put_i32(*partition);
            }
        }
        key
    }

    pub(crate) fn value(&self) -> Vec<u8> {
        let mut value = Vec::new();
        match self {
            Self::ClusterId(id) => put_string(&mut value, id),
            Self::Starts(count) => value.put_i32(*count),
            Self::ProducerIdsBelow(id) => value.put_i64(*id),
            Self::Topic {
                id,
                partitions,
                configs,
                ..
            } => {
                value.put_u128(id.as_u128());
                value.put_i32(*partitions);
                for (name, setting) in configs {
                    put_string(&mut value, name);
                    put_string(&mut value, setting);
                }
            }
            Self::LogStart { offset, .. } => value.put_i64(*offset),
            Self::Transaction { transaction, .. } => transaction_value::put(&mut value, transaction),
            Self::Committed {
                offset,
                leader_epoch,
                metadata,
                ..
            }
            | Self::PendingOffset {
                offset,
                leader_epoch,
                metadata,
                ..
            } => {
                value.put_i64(*offset);
                value.put_i32(*leader_epoch);
                put_string(&mut value, metadata);
            }
        }
        value
    }

    pub(crate) fn decode(mut key: &[u8], mut value: &[u8]) -> Option<Self> {
        let (key, value) = (&mut key, &mut value);
        let fact = match key.try_get_u8().ok()? {
            CLUSTER_ID => Self::ClusterId(take_string(value)?),
            STARTS => Self::Starts(value.try_get_i32().ok()?),
            PRODUCER_IDS_BELOW => Self::ProducerIdsBelow(value.try_get_i64().ok()?),
            TOPIC => {
                let name = take_string(key)?;
                let id = Uuid::from_u128(value.try_get_u128().ok()?);
                let partitions = value.try_get_i32().ok()?;
                let mut configs = BTreeMap::new();
                while value.has_remaining() {
                    configs.insert(take_string(value)?, take_string(value)?);
                }
                Self::Topic {
                    name,
                    id,
                    partitions,
                    configs,
                }
            }
            LOG_START => Self::LogStart {
                topic_id: Uuid::from_u128(key.try_get_u128().ok()?),
                partition: key.try_get_i32().ok()?,
                offset: value.try_get_i64().ok()?,
            },
            COMMITTED => Self::Committed {
                group: take_string(key)?,
                topic: take_string(key)?,
                partition: key.try_get_i32().ok()?,
                offset: value.try_get_i64().ok()?,
                leader_epoch: value.try_get_i32().ok()?,
                metadata: take_string(value)?,
            },
            TRANSACTION => Self::Transaction {
                transactional_id: take_string(key)?,
                transaction: transaction_value::take(value)?,
            },
            PENDING_OFFSET => Self::PendingOffset {
                group: take_string(key)?,
                producer_id: key.try_get_i64().ok()?,
                topic: take_string(key)?,
                partition: key.try_get_i32().ok()?,
                offset: value.try_get_i64().ok()?,
                leader_epoch: value.try_get_i32().ok()?,
                metadata: take_string(value)?,
            },
            _ => return None,
        };
        (key.is_empty() && value.is_empty()).then_some(fact)
    }
}

fn put_string(out: &mut Vec<u8>, string: &str) {
    out.put_u16(u16::try_from(string.len()).expect("protocol strings are at most 32 KiB long"));
    out.put_slice(string.as_bytes());
}

fn take_string(from: &mut &[u8]) -> Option<String> {
    let length = usize::from(from.try_get_u16().ok()?);
    let (string, rest) = from.split_at_checked(length)?;
    *from = rest;
    String::from_utf8(string.to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fact_is_read_back_as_it_was_written() {
        let configs = BTreeMap::from([("cleanup.policy".to_owned(), "compact".to_owned())]);
        for fact in [
            Fact::ClusterId("abc".to_owned()),
            Fact::Starts(3),
            Fact::ProducerIdsBelow(1_000),
            Fact::Topic {
                name: "ads".to_owned(),
                id: Uuid::from_u128(9),
                partitions: 4,
                configs,
            },
            Fact::LogStart {
                topic_id: Uuid::from_u128(9),
                partition: 2,
                offset: 77,
            },
            Fact::Committed {
                group: "g".to_owned(),
                topic: "ads".to_owned(),
                partition: 1,
                offset: 5,
                leader_epoch: -1,
                metadata: "ü".to_owned(),
            },
            Fact::PendingOffset {
                group: "g".to_owned(),
                producer_id: 1_000,
                topic: "ads".to_owned(),
                partition: 1,
                offset: 5,
                leader_epoch: -1,
                metadata: "ü".to_owned(),
            },
        ] {
            assert_eq!(Fact::decode(&fact.key(), &fact.value()), Some(fact.clone()));
            assert_eq!(
                Fact::decode(&fact.key(), &fact.value()[..1]),
                None,
                "cut short: {fact:?}"
            );
        }
    }
}
