//! What a transactional producer asks its coordinators, and what they say.

use std::sync::Arc;

use engine_wire::error_code::ErrorCode;

use crate::{sequence::ProducerIdentity, topic_partition::TopicPartition};

/// How a transaction ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransactionEnd {
    /// Its records become visible to `read_committed`, its offsets are committed.
    Commit,
    /// Neither.
    Abort,
}

impl TransactionEnd {
    /// The name of the producer's operation.
    pub fn operation(self) -> &'static str {
        match self {
            Self::Commit => "commit_transaction",
            Self::Abort => "abort_transaction",
        }
    }
}

/// Which of the two protocols the cluster has finalized.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransactionProtocol {
    /// Partitions and groups are added before anything is sent for them (KIP-98).
    Explicit,
    /// Brokers add them with the first batch, and every end raises the epoch (KIP-890): `transaction.version` 2.
    Implicit,
}

/// Who commits offsets, as the consumer knows itself (KIP-447): the coordinator refuses those of a member that was
/// replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumerGroupMetadata {
    /// `group.id`.
    pub group_id: String,
    /// -1 for a consumer that is no member.
    pub generation_id: i32,
    /// Empty for a consumer that is no member.
    pub member_id: String,
    /// `group.instance.id` of a static member.
    pub group_instance_id: Option<String>,
}

/// One partition's offset for a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransactionOffset {
    /// The partition that was read.
    pub tp: TopicPartition,
    /// The next record to read.
    pub offset: i64,
    /// The leader epoch of the record before it, if known.
    pub leader_epoch: Option<i32>,
    /// Whatever goes beside it.
    pub metadata: String,
}

/// A group's offsets, committed with the transaction or not at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OffsetsToCommit {
    /// Whose.
    pub group: ConsumerGroupMetadata,
    /// Each partition once.
    pub offsets: Vec<TransactionOffset>,
}

/// Names one call's offsets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OffsetsTicket {
    pub(super) transaction: u64,
    pub(super) call: u64,
}

/// The kinds of requests, in the order in which a transaction needs them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    InitProducerId,
    AddPartitions,
    AddOffsets,
    CommitOffsets,
    EndTxn,
}

impl Step {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::InitProducerId => "InitProducerId",
            Self::AddPartitions => "AddPartitionsToTxn",
            Self::AddOffsets => "AddOffsetsToTxn",
            Self::CommitOffsets => "TxnOffsetCommit",
            Self::EndTxn => "EndTxn",
        }
    }
}

/// One request. All but `CommitOffsets` go to the coordinator of the transactional id, that one to the group's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TransactionRequest {
    /// Claims the transactional id, or raises the epoch of `identity`.
    InitProducerId {
        /// Ours so far.
        identity: Option<ProducerIdentity>,
    },
    /// Adds partitions ([`TransactionProtocol::Explicit`] only).
    AddPartitions {
        /// Ours.
        identity: ProducerIdentity,
        /// At least one.
        partitions: Vec<TopicPartition>,
    },
    /// Adds a group ([`TransactionProtocol::Explicit`] only).
    AddOffsets {
        /// Ours.
        identity: ProducerIdentity,
        /// Whose group it is.
        offsets: Arc<OffsetsToCommit>,
    },
    /// TxnOffsetCommit: the offsets, pending until the end.
    CommitOffsets {
        /// Ours.
        identity: ProducerIdentity,
        /// Up to version 4, or from 5 on.
        protocol: TransactionProtocol,
        /// What to commit.
        offsets: Arc<OffsetsToCommit>,
    },
    /// Ends the transaction.
    EndTxn {
        /// Ours.
        identity: ProducerIdentity,
        /// Up to version 4, or from 5 on.
        protocol: TransactionProtocol,
        /// How.
        end: TransactionEnd,
    },
}

/// How such a request ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TransactionOutcome {
    /// With an answer.
    Answered(TransactionAnswer),
    /// Without an answer; the coordinator may have done it or not.
    Lost(Arc<str>),
    /// It cannot be sent, or its answer cannot be read.
    Impossible(Arc<str>),
}

/// What a coordinator said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TransactionAnswer {
    /// Every error code in it, with the partition if it is a partition's.
    pub codes: Vec<(Option<TopicPartition>, ErrorCode)>,
    /// Who we are from now on, from InitProducerId and the newer EndTxn.
    pub identity: Option<ProducerIdentity>,
    /// With InitProducerId: the finalized level of the feature `transaction.version`.
    pub transaction_version: i16,
}
