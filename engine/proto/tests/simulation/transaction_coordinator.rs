//! The coordinator of one transactional id, by the broker's rules, in both protocols.
//!
//! Ending takes time: markers are written partition by partition, and whoever comes before that is told to come again. Never
//! here: logs; a partition is a number.

use std::collections::{BTreeMap, BTreeSet};

use engine_proto::TopicPartition;
use engine_proto::producer::{TransactionAnswer, TransactionEnd, TransactionProtocol, TransactionRequest};
use engine_proto::sequence::ProducerIdentity;
use engine_wire::error_code::ErrorCode;
use engine_wire::record_batch::{BatchHeader, ControlRecord};

#[derive(Debug)]
pub(crate) struct TransactionCoordinator {
    /// The level of `transaction.version`: 2 for the protocol of KIP-890.
    pub(crate) version: i16,
    pub(crate) producer_id: i64,
    /// The group's offsets, as of the last transaction that was committed.
    pub(crate) offsets: BTreeMap<TopicPartition, i64>,
    epoch: i16,
    state: State,
    partitions: BTreeSet<usize>,
    has_group: bool,
    pending_offsets: BTreeMap<TopicPartition, i64>,
    /// How the last one ended, and under which epoch that was asked for.
    ended: Option<(TransactionEnd, i16)>,
    raised_from: Option<i16>,
}

/// ```text
/// Empty ──first partition, group or batch──▶ Ongoing ──EndTxn, InitProducerId──▶ Ending ──last marker──▶ Empty
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Empty,
    Ongoing,
    Ending(TransactionEnd),
}

/// One marker to write.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Marker {
    pub(crate) partition: usize,
    pub(crate) record: ControlRecord,
    pub(crate) producer_id: i64,
    pub(crate) epoch: i16,
}

impl TransactionCoordinator {
    pub(crate) fn new(version: i16, producer_id: i64) -> Self {
        Self {
            version,
            producer_id,
            offsets: BTreeMap::new(),
            epoch: -1,
            state: State::Empty,
            partitions: BTreeSet::new(),
            has_group: false,
            pending_offsets: BTreeMap::new(),
            ended: None,
            raised_from: None,
        }
    }

    /// Whether no transaction is open or being ended.
    pub(crate) fn is_empty(&self) -> bool {
        self.state == State::Empty
    }

    /// What a leader asks before it appends a batch that begins a transaction in its partition (KIP-890).
    pub(crate) fn verify(&mut self, partition: usize, header: &BatchHeader) -> ErrorCode {
        if header.producer_epoch != self.epoch {
            return ErrorCode::INVALID_PRODUCER_EPOCH;
        }
        let is_explicit = self.version < 2;
        match self.state {
            State::Ending(_) if !is_explicit => ErrorCode::CONCURRENT_TRANSACTIONS,
            State::Ending(_) => ErrorCode::INVALID_TXN_STATE,
            _ if is_explicit && !self.partitions.contains(&partition) => ErrorCode::INVALID_TXN_STATE,
            _ => {
                self.partitions.insert(partition);
                self.state = State::Ongoing;
                ErrorCode::NONE
            }
        }
    }

    pub(crate) fn handle(
        &mut self,
        request: &TransactionRequest,
        place: impl Fn(&TopicPartition) -> usize,
    ) -> (TransactionAnswer, Vec<Marker>) {
        let (code, raised, markers) = match request {
            TransactionRequest::InitProducerId { identity } => self.init(*identity),
            TransactionRequest::AddPartitions { identity, partitions } => {
                let code = self.check(*identity);
                if code.is_ok() {
                    self.partitions.extend(partitions.iter().map(place));
                }
                (code, None, Vec::new())
            }
            TransactionRequest::AddOffsets { identity, .. } => {
                let code = self.check(*identity);
                self.has_group |= code.is_ok();
                (code, None, Vec::new())
            }
            TransactionRequest::CommitOffsets { identity, offsets, .. } => {
                let code = self.check(*identity);
                if code.is_ok() {
                    assert!(self.has_group || self.version >= 2, "the group is added before");
                    self.has_group = true;
                    let offsets = offsets.offsets.iter().map(|offset| (offset.tp.clone(), offset.offset));
                    self.pending_offsets.extend(offsets);
                }
                (code, None, Vec::new())
            }
            TransactionRequest::EndTxn {
                identity,
                protocol,
                end,
            } => {
                assert_eq!(*protocol == TransactionProtocol::Implicit, self.version >= 2);
                self.end(*identity, *end)
            }
        };
        let answer = TransactionAnswer {
            codes: vec![(None, code)],
            identity: raised.map(|producer_epoch| ProducerIdentity {
                producer_id: self.producer_id,
                producer_epoch,
            }),
            transaction_version: self.version,
        };
        (answer, markers)
    }

    /// A marker is where it cannot be lost any more.
    pub(crate) fn handle_marker_written(&mut self, partition: usize) {
        self.partitions.remove(&partition);
        self.settle();
    }

    fn check(&mut self, identity: ProducerIdentity) -> ErrorCode {
        match self.state {
            _ if identity.producer_epoch != self.epoch => ErrorCode::PRODUCER_FENCED,
            State::Ending(_) => ErrorCode::CONCURRENT_TRANSACTIONS,
            State::Empty | State::Ongoing => {
                self.state = State::Ongoing;
                ErrorCode::NONE
            }
        }
    }

    fn init(&mut self, identity: Option<ProducerIdentity>) -> (ErrorCode, Option<i16>, Vec<Marker>) {
        let epoch = identity.map(|identity| identity.producer_epoch);
        if epoch.is_some() && epoch == self.raised_from && self.state == State::Empty {
            return (ErrorCode::NONE, Some(self.epoch), Vec::new());
        }
        if epoch.is_some_and(|epoch| epoch != self.epoch) {
            return (ErrorCode::PRODUCER_FENCED, None, Vec::new());
        }
        match self.state {
            State::Ending(_) => (ErrorCode::CONCURRENT_TRANSACTIONS, None, Vec::new()),
            State::Ongoing => {
                // Whoever began it is fenced at once, before the abort.
                self.epoch += 1;
                let markers = self.prepare(TransactionEnd::Abort);
                (ErrorCode::CONCURRENT_TRANSACTIONS, None, markers)
            }
            State::Empty => {
                self.raised_from = epoch;
                self.ended = None;
                self.epoch += 1;
                (ErrorCode::NONE, Some(self.epoch), Vec::new())
            }
        }
    }

    fn end(&mut self, identity: ProducerIdentity, end: TransactionEnd) -> (ErrorCode, Option<i16>, Vec<Marker>) {
        let bumps = self.version >= 2;
        let is_again = self.ended == Some((end, identity.producer_epoch));
        match self.state {
            State::Ending(_) if is_again => return (ErrorCode::CONCURRENT_TRANSACTIONS, None, Vec::new()),
            State::Empty if is_again => return (ErrorCode::NONE, bumps.then_some(self.epoch), Vec::new()),
            _ => {}
        }
        if identity.producer_epoch != self.epoch {
            return (ErrorCode::PRODUCER_FENCED, None, Vec::new());
        }
        match self.state {
            State::Ending(_) => return (ErrorCode::CONCURRENT_TRANSACTIONS, None, Vec::new()),
            State::Empty if !bumps || end == TransactionEnd::Commit => {
                return (ErrorCode::INVALID_TXN_STATE, None, Vec::new());
            }
            State::Empty | State::Ongoing => {}
        }
        self.ended = Some((end, self.epoch));
        self.epoch += i16::from(bumps);
        let markers = self.prepare(end);
        (ErrorCode::NONE, bumps.then_some(self.epoch), markers)
    }

    fn prepare(&mut self, end: TransactionEnd) -> Vec<Marker> {
        self.state = State::Ending(end);
        let coordinator_epoch = 0;
        let record = match end {
            TransactionEnd::Commit => ControlRecord::Commit { coordinator_epoch },
            TransactionEnd::Abort => ControlRecord::Abort { coordinator_epoch },
        };
        let markers = self.partitions.iter().map(|partition| Marker {
            partition: *partition,
            record,
            producer_id: self.producer_id,
            epoch: self.epoch,
        });
        let markers = markers.collect();
        self.settle();
        markers
    }

    fn settle(&mut self) {
        let State::Ending(end) = self.state else {
            return;
        };
        if !self.partitions.is_empty() {
            return;
        }
        let pending = std::mem::take(&mut self.pending_offsets);
        if end == TransactionEnd::Commit {
            self.offsets.extend(pending);
        }
        self.has_group = false;
        self.state = State::Empty;
    }
}
