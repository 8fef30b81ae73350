//! One transactional id, as the broker keeps it (KIP-98, KIP-360, KIP-890).
//!
//! ```text
//!          InitProducerId             add partitions or a group          EndTxn, timeout, a newer producer
//!   (none) ──────────────► Empty ────────────────────────────► Ongoing ──────────────────────────────────► Prepared
//!                            ▲                                    ▲                                           │
//!                            │ InitProducerId                     │ add                        markers written│
//!                            └─────────────────────────────── Complete ◄──────────────────────────────────────┘
//! ```
//!
//! This file decides and changes a value; it does no I/O and reads no clock. Whoever calls it records the changed
//! value before it counts, and writes the markers of a prepared transaction (see `node::transactions`).
//!
//! Never here: locks, the journal, logs, groups, protocol messages.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use engine_wire::error_code::ErrorCode;

/// The last epoch that is handed out: the one after it is left for the marker that fences it.
const PRODUCER_EPOCH_MAX: i16 = i16::MAX - 1;

/// Who writes: one incarnation of a transactional producer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Producer {
    pub(crate) producer_id: i64,
    pub(crate) producer_epoch: i16,
}

/// What becomes of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Commit,
    Abort,
}

/// What a transaction has written to, or may have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Scope {
    pub(crate) partitions: BTreeMap<String, BTreeSet<i32>>,
    pub(crate) groups: BTreeSet<String>,
}

/// One thing that a transaction writes to.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Part<'a> {
    Partition { topic: &'a str, index: i32 },
    Group(&'a str),
}

/// A transactional id with its present producer and transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Transaction {
    pub(crate) producer: Producer,
    /// Whose epoch the present one replaced: that producer's own repeated request is recognised by it.
    pub(crate) previous: Option<Producer>,
    pub(crate) timeout_ms: i32,
    /// Milliseconds since 1970; what was idle longest is forgotten first.
    pub(crate) changed_at: i64,
    pub(crate) state: State,
}

/// See the diagram of the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum State {
    Empty,
    Ongoing {
        /// Milliseconds since 1970.
        started_at: i64,
        scope: Scope,
    },
    /// Decided for good: whatever happens now, markers with this outcome are written.
    Prepared {
        outcome: Outcome,
        started_at: i64,
        scope: Scope,
        /// Who the markers name. Its epoch fences the producer that it ends, where epochs are bumped.
        marker: Producer,
    },
    Complete {
        outcome: Outcome,
    },
}

/// What InitProducerId comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum InitDecision {
    /// A repeated request: answer with the present producer.
    Again,
    /// An open transaction has to be aborted first.
    AbortFirst,
    /// A prepared transaction has to be completed first.
    CompleteFirst,
    /// Bump the epoch.
    Bump,
}

/// What EndTxn comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EndDecision {
    /// A repeated request: answer with the present producer.
    Again,
    /// Prepared before: write the markers.
    Complete,
    /// Prepare, then write the markers.
    Prepare,
}

impl Transaction {
    /// An id nobody has used: the first bump makes its epoch 0.
    pub(crate) fn new(producer_id: i64, now: i64) -> Self {
        Self {
            producer: Producer {
                producer_id,
                producer_epoch: -1,
            },
            previous: None,
            timeout_ms: 0,
            changed_at: now,
            state: State::Empty,
        }
    }

    /// Whether the next bump needs a producer id of its own, because the epochs of this one are used up.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.producer.producer_epoch >= PRODUCER_EPOCH_MAX
    }

    /// What to do for InitProducerId; `expected` is who the producer says it is (KIP-360).
    pub(crate) fn decide_init(&self, expected: Option<Producer>) -> Result<InitDecision, ErrorCode> {
        let is_new = self.producer.producer_epoch < 0;
        if let Some(expected) = expected.filter(|expected| *expected != self.producer && !is_new) {
            return match Some(expected) == self.previous && self.is_idle() {
                true => Ok(InitDecision::Again),
                false => Err(ErrorCode::PRODUCER_FENCED),
            };
        }
        Ok(match self.state {
            State::Empty | State::Complete { .. } => InitDecision::Bump,
            State::Ongoing { .. } => InitDecision::AbortFirst,
            State::Prepared { .. } => InitDecision::CompleteFirst,
        })
    }

    /// A new incarnation begins, without a transaction.
    pub(crate) fn init(&mut self, now: i64, timeout_ms: i32, spare_producer_id: Option<i64>) {
        assert!(
            matches!(self.state, State::Empty | State::Complete { .. }),
            "an open transaction is ended before its producer is replaced"
        );
        self.bump(spare_producer_id);
        self.timeout_ms = timeout_ms;
        self.changed_at = now;
        self.state = State::Empty;
    }

    /// Partitions and groups join the transaction, which begins if there is none. Tells whether anything changed.
    pub(crate) fn add(&mut self, now: i64, producer: Producer, more: Scope) -> Result<bool, ErrorCode> {
        self.check_producer(producer)?;
        match &mut self.state {
            State::Prepared { .. } => Err(ErrorCode::CONCURRENT_TRANSACTIONS),
            State::Ongoing { scope, .. } => Ok(scope.add(more)),
            State::Empty | State::Complete { .. } => {
                self.changed_at = now;
                self.state = State::Ongoing {
                    started_at: now,
                    scope: more,
                };
                Ok(true)
            }
        }
    }

    /// What is in the open transaction of this producer; `None` if it has none.
    pub(crate) fn open_scope(&self, producer: Producer) -> Result<Option<&Scope>, ErrorCode> {
        self.check_producer(producer)?;
        match &self.state {
            State::Prepared { .. } => Err(ErrorCode::CONCURRENT_TRANSACTIONS),
            State::Ongoing { scope, .. } => Ok(Some(scope)),
            State::Empty | State::Complete { .. } => Ok(None),
        }
    }

    /// What to do for EndTxn; `bumps` says that the producer takes a new epoch from the answer (version 5 on).
    pub(crate) fn decide_end(
        &self,
        producer: Producer,
        wanted: Outcome,
        bumps: bool,
    ) -> Result<EndDecision, ErrorCode> {
        if bumps && Some(producer) == self.previous {
            return match &self.state {
                State::Prepared { outcome, .. } if *outcome == wanted => Ok(EndDecision::Complete),
                State::Complete { outcome } if *outcome == wanted => Ok(EndDecision::Again),
                State::Prepared { .. } | State::Complete { .. } => Err(ErrorCode::INVALID_TXN_STATE),
                State::Empty | State::Ongoing { .. } => Err(ErrorCode::PRODUCER_FENCED),
            };
        }
        self.check_producer(producer)?;
        match &self.state {
            State::Ongoing { .. } => Ok(EndDecision::Prepare),
            State::Prepared { outcome, .. } if *outcome == wanted => Ok(EndDecision::Complete),
            State::Complete { outcome } if *outcome == wanted && !bumps => Ok(EndDecision::Again),
            // Nothing was added, but what the producer sent may have been refused: its epoch is bumped all the same.
            State::Empty | State::Complete { .. } if bumps && wanted == Outcome::Abort => Ok(EndDecision::Prepare),
            State::Empty | State::Prepared { .. } | State::Complete { .. } => Err(ErrorCode::INVALID_TXN_STATE),
        }
    }

    /// Decides the outcome for good. With `bumps` the producer has a new epoch from here on, and the markers fence
    /// the old one.
    pub(crate) fn prepare(&mut self, now: i64, outcome: Outcome, bumps: bool, spare_producer_id: Option<i64>) {
        let (started_at, scope) = match std::mem::replace(&mut self.state, State::Empty) {
            State::Ongoing { started_at, scope } => (started_at, scope),
            State::Empty | State::Complete { .. } => (now, Scope::default()),
            State::Prepared { .. } => panic!("a transaction is prepared once"),
        };
        let mut marker = self.producer;
        if bumps {
            marker.producer_epoch += 1; // Never wraps: see `PRODUCER_EPOCH_MAX`.
            self.bump(spare_producer_id);
        }
        self.changed_at = now;
        self.state = State::Prepared {
            outcome,
            started_at,
            scope,
            marker,
        };
    }

    /// The markers of a prepared transaction are written.
    pub(crate) fn complete(&mut self, now: i64) {
        if let State::Prepared { outcome, .. } = self.state {
            self.changed_at = now;
            self.state = State::Complete { outcome };
        }
    }

    /// When the open transaction is aborted because it took too long, in milliseconds since 1970.
    pub(crate) fn deadline(&self) -> Option<i64> {
        match self.state {
            State::Ongoing { started_at, .. } => Some(started_at.saturating_add(i64::from(self.timeout_ms))),
            State::Empty | State::Prepared { .. } | State::Complete { .. } => None,
        }
    }

    /// Nothing is lost but the epoch when it is forgotten.
    pub(crate) fn is_idle(&self) -> bool {
        matches!(self.state, State::Empty | State::Complete { .. })
    }

    /// Kafka's name of the state.
    pub(crate) fn state_name(&self) -> &'static str {
        match &self.state {
            State::Empty => "Empty",
            State::Ongoing { .. } => "Ongoing",
            State::Prepared { outcome, .. } => match outcome {
                Outcome::Commit => "PrepareCommit",
                Outcome::Abort => "PrepareAbort",
            },
            State::Complete { outcome } => match outcome {
                Outcome::Commit => "CompleteCommit",
                Outcome::Abort => "CompleteAbort",
            },
        }
    }

    fn check_producer(&self, producer: Producer) -> Result<(), ErrorCode> {
        if producer.producer_id != self.producer.producer_id {
            return Err(ErrorCode::INVALID_PRODUCER_ID_MAPPING);
        }
        match producer.producer_epoch == self.producer.producer_epoch && producer.producer_epoch >= 0 {
            true => Ok(()),
            false => Err(ErrorCode::PRODUCER_FENCED),
        }
    }

    fn bump(&mut self, spare_producer_id: Option<i64>) {
        let next = match (self.is_exhausted(), spare_producer_id) {
            (false, _) => Producer {
                producer_id: self.producer.producer_id,
                producer_epoch: self.producer.producer_epoch + 1,
            },
            (true, Some(producer_id)) => Producer {
                producer_id,
                producer_epoch: 0,
            },
            (true, None) => panic!("a producer id is drawn when the epochs are used up"),
        };
        self.previous = (self.producer.producer_epoch >= 0).then_some(self.producer);
        self.producer = next;
    }
}

impl Part<'_> {
    pub(crate) fn scope(self) -> Scope {
        let mut scope = Scope::default();
        match self {
            Part::Partition { topic, index } => {
                scope.partitions.insert(topic.to_owned(), BTreeSet::from([index]));
            }
            Part::Group(group_id) => {
                scope.groups.insert(group_id.to_owned());
            }
        }
        scope
    }
}

impl Scope {
    pub(crate) fn has(&self, part: Part<'_>) -> bool {
        match part {
            Part::Partition { topic, index } => {
                let partitions = self.partitions.get(topic);
                partitions.is_some_and(|partitions| partitions.contains(&index))
            }
            Part::Group(group_id) => self.groups.contains(group_id),
        }
    }

    /// Tells whether anything of it is new.
    fn add(&mut self, more: Scope) -> bool {
        let mut changed = false;
        for (topic, partitions) in more.partitions {
            let known = self.partitions.entry(topic).or_default();
            for partition in partitions {
                changed |= known.insert(partition);
            }
        }
        for group in more.groups {
            changed |= self.groups.insert(group);
        }
        changed
    }
}
