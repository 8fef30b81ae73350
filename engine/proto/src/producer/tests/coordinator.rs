//! A transaction coordinator and the leaders of its partitions, by the broker's rules, for one transactional id.

use std::collections::BTreeSet;

use bytes::Bytes;
use engine_wire::error_code::ErrorCode;
use engine_wire::record_batch::RawBatch;

use super::partition_log::Log;
use crate::producer::transaction::request::{
    TransactionAnswer, TransactionEnd, TransactionProtocol, TransactionRequest,
};
use crate::sequence::ProducerIdentity;

const PRODUCER_ID: i64 = 7;

#[derive(Debug, Default)]
pub(super) struct Coordinator {
    /// 2 for the protocol of KIP-890.
    pub(super) version: i16,
    pub(super) logs: Vec<Log>,
    /// What `read_committed` sees of each log.
    pub(super) committed: Vec<Vec<u64>>,
    pub(super) committed_offset: i64,
    pending_offset: Option<i64>,
    /// Where the open transaction begins in each log.
    stable: Vec<usize>,
    epoch: i16,
    partitions: BTreeSet<usize>,
    has_group: bool,
    /// How the last one ended, and under which epoch that was asked for.
    ended: Option<(TransactionEnd, i16)>,
    raised_from: Option<i16>,
}

impl Coordinator {
    pub(super) fn new(version: i16, partitions: usize) -> Self {
        Self {
            version,
            logs: (0..partitions).map(|_| Log::default()).collect(),
            committed: vec![Vec::new(); partitions],
            stable: vec![0; partitions],
            ..Self::default()
        }
    }

    /// What a leader does, which verifies that the batch's transaction is open (KIP-890).
    pub(super) fn produce(&mut self, partition: usize, records: &Bytes) -> (ErrorCode, i64) {
        let header = RawBatch::parse(records.clone()).expect("whole").header;
        assert!(header.is_transactional());
        if header.producer_epoch != self.epoch {
            return (ErrorCode::INVALID_PRODUCER_EPOCH, -1);
        }
        if self.version < 2 && !self.partitions.contains(&partition) {
            return (ErrorCode::INVALID_TXN_STATE, -1);
        }
        let (code, base_offset) = self.logs[partition].append(records);
        if code.is_ok() && base_offset >= self.stable[partition] as i64 {
            self.partitions.insert(partition);
        }
        (code, base_offset)
    }

    pub(super) fn handle(&mut self, request: &TransactionRequest) -> TransactionAnswer {
        let (code, raised) = match request {
            TransactionRequest::InitProducerId { identity } => self.init(*identity),
            TransactionRequest::AddPartitions { identity, partitions } => {
                let code = self.check(*identity);
                if code.is_ok() {
                    self.partitions
                        .extend(partitions.iter().map(|tp| tp.partition as usize));
                }
                (code, None)
            }
            TransactionRequest::AddOffsets { identity, .. } => {
                let code = self.check(*identity);
                self.has_group |= code.is_ok();
                (code, None)
            }
            TransactionRequest::CommitOffsets { identity, offsets, .. } => {
                let code = self.check(*identity);
                self.has_group |= code.is_ok() && self.version >= 2;
                if code.is_ok() {
                    assert!(self.has_group, "the group is added before");
                    self.pending_offset = Some(offsets.offsets[0].offset);
                }
                (code, None)
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
        TransactionAnswer {
            codes: vec![(None, code)],
            identity: raised.map(|producer_epoch| ProducerIdentity {
                producer_id: PRODUCER_ID,
                producer_epoch,
            }),
            transaction_version: self.version,
        }
    }

    fn check(&self, identity: ProducerIdentity) -> ErrorCode {
        if identity.producer_epoch == self.epoch {
            ErrorCode::NONE
        } else {
            ErrorCode::PRODUCER_FENCED
        }
    }

    fn init(&mut self, identity: Option<ProducerIdentity>) -> (ErrorCode, Option<i16>) {
        match identity {
            Some(identity) if self.raised_from == Some(identity.producer_epoch) => (ErrorCode::NONE, Some(self.epoch)),
            Some(identity) if identity.producer_epoch != self.epoch => (ErrorCode::PRODUCER_FENCED, None),
            identity => {
                self.finish(TransactionEnd::Abort);
                self.raised_from = identity.map(|identity| identity.producer_epoch);
                self.ended = None;
                self.epoch += 1;
                (ErrorCode::NONE, Some(self.epoch))
            }
        }
    }

    fn end(&mut self, identity: ProducerIdentity, end: TransactionEnd) -> (ErrorCode, Option<i16>) {
        let is_open = !self.partitions.is_empty() || self.has_group;
        let is_again = self.ended == Some((end, identity.producer_epoch)) && !is_open;
        let raise = i16::from(self.version >= 2);
        if self.version >= 2 && is_again {
            return (ErrorCode::NONE, Some(self.epoch));
        }
        if identity.producer_epoch != self.epoch {
            return (ErrorCode::PRODUCER_FENCED, None);
        }
        let is_empty_abort = self.version >= 2 && end == TransactionEnd::Abort;
        if !is_open && !is_again && !is_empty_abort {
            return (ErrorCode::INVALID_TXN_STATE, None);
        }
        self.finish(end);
        self.ended = Some((end, self.epoch));
        self.epoch += raise;
        (ErrorCode::NONE, (raise == 1).then_some(self.epoch))
    }

    /// The markers.
    fn finish(&mut self, end: TransactionEnd) {
        self.partitions.clear();
        self.has_group = false;
        let pending_offset = self.pending_offset.take();
        if end == TransactionEnd::Commit {
            self.committed_offset = pending_offset.unwrap_or(self.committed_offset);
        }
        for (partition, log) in self.logs.iter().enumerate() {
            let open = &log.values[self.stable[partition]..];
            if end == TransactionEnd::Commit {
                self.committed[partition].extend(open);
            }
            self.stable[partition] = log.values.len();
        }
    }
}
