//! Where the producer's transaction is, and what comes next.
//!
//! The application asks ([`initialize`](Transaction::initialize), [`begin`](Transaction::begin),
//! [`end`](Transaction::end)), batches fail, and coordinators answer, in any order.
//! Never here: requests and answers (see `steps`), batches, which are numbers of partitions to this file.

use std::{collections::BTreeSet, sync::Arc, time::Instant};

use super::{
    error::TransactionError,
    request::{OffsetsTicket, OffsetsToCommit, Step, TransactionEnd, TransactionProtocol},
    verdict::Verdict,
};
use crate::{
    backoff::{Backoff, BackoffPolicy},
    producer::delivery::DeliveryError,
    sequence::ProducerIdentity,
};

/// ```text
/// Uninitialized ──▶ Initializing ──▶ Ready ──begin──▶ InTransaction ──commit──▶ Committing ──┐
///                                     ▲ ▲                   │  │                   │        │
///                                     │ │          abort    │  └──a batch or a     │        │
///                                     │ └─── Aborting ◀─────┘     request fails ◀──┘        │
///                                     │         ▲                   │                       │
///                                     │         └──abort── AbortableError                   │
///                                     └─────────────────────────────────────────────────────┘
/// any state ──fenced, or refused for good──▶ Fatal
/// ```
#[derive(Debug, PartialEq, Eq)]
pub(super) enum State {
    /// `init_transactions` was not called.
    Uninitialized,
    /// InitProducerId is to be answered.
    Initializing,
    /// No transaction is open.
    Ready,
    InTransaction,
    /// Batches are awaited, then EndTxn is.
    Committing,
    /// What is in flight is awaited, then EndTxn, then a new epoch if sequences have a gap.
    Aborting,
    /// Only an abort leads on.
    AbortableError {
        reason: Arc<str>,
    },
    Fatal(TransactionError),
}

/// What belongs to one transaction.
#[derive(Debug, Default)]
pub(super) struct Scope {
    pub(super) begun: Begun,
    /// Partitions to be added, and those that the request in flight adds.
    pub(super) wanted: BTreeSet<usize>,
    pub(super) adding: BTreeSet<usize>,
    pub(super) added: BTreeSet<usize>,
    /// Groups added.
    pub(super) groups: BTreeSet<String>,
    /// Offsets to be committed, one call's at a time.
    pub(super) offsets: Option<Arc<OffsetsToCommit>>,
    /// A batch that was sent is given up: the broker may have it or not, so its sequences cannot go on.
    pub(super) has_gap: bool,
    /// The coordinator has ended it, or does not know it; a new epoch remains to be asked for.
    pub(super) is_ended: bool,
    /// The failed batch that is why it cannot be committed.
    pub(super) failure: Option<DeliveryError>,
}

/// Whether the coordinator knows that there is a transaction.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Begun {
    #[default]
    No,
    /// A request that would have begun it got no answer.
    Maybe,
    Yes,
}

/// What the transaction's state means for batches.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum BatchesFate {
    Send,
    /// Those in flight are awaited, the others are dropped.
    Finish(Arc<str>),
    Drop(Arc<str>),
}

#[derive(Debug)]
pub(crate) struct Transaction {
    pub(super) transactional_id: Arc<str>,
    pub(super) state: State,
    pub(super) scope: Scope,
    /// Counts transactions.
    pub(super) number: u64,
    /// How the one before ended, until its caller was told.
    pub(super) untold: Option<TransactionEnd>,
    pub(super) protocol: TransactionProtocol,
    pub(super) identity: Option<ProducerIdentity>,
    pub(super) in_flight: Option<Step>,
    pub(super) retry_at: Option<Instant>,
    pub(super) backoff: Backoff,
    /// Counts this transaction's calls whose offsets were taken, and those whose offsets are with the coordinator.
    pub(super) offsets_taken: u64,
    pub(super) offsets_done: u64,
    pub(super) is_news: bool,
}

impl Transaction {
    pub(crate) fn new(transactional_id: Arc<str>, policy: BackoffPolicy, seed: u64) -> Self {
        Self {
            transactional_id,
            state: State::Uninitialized,
            scope: Scope::default(),
            number: 0,
            untold: None,
            protocol: TransactionProtocol::Explicit,
            identity: None,
            in_flight: None,
            retry_at: None,
            backoff: Backoff::new(policy, seed),
            offsets_taken: 0,
            offsets_done: 0,
            is_news: false,
        }
    }

    pub(crate) fn initialize(&mut self) -> Result<(), TransactionError> {
        match &self.state {
            State::Uninitialized => self.enter(State::Initializing),
            State::Initializing | State::Ready => {}
            _ => return Err(self.refusal("init_transactions")),
        }
        Ok(())
    }

    pub(crate) fn poll_initialized(&self) -> Option<Result<(), TransactionError>> {
        match &self.state {
            State::Uninitialized | State::Initializing => None,
            State::Fatal(error) => Some(Err(error.clone())),
            _ => Some(Ok(())),
        }
    }

    pub(crate) fn begin(&mut self) -> Result<(), TransactionError> {
        if self.state != State::Ready {
            return Err(self.refusal("begin_transaction"));
        }
        self.number += 1;
        self.untold = None;
        self.scope = Scope::default();
        (self.offsets_taken, self.offsets_done) = (0, 0);
        self.enter(State::InTransaction);
        Ok(())
    }

    pub(crate) fn end(&mut self, end: TransactionEnd) -> Result<u64, TransactionError> {
        match (&self.state, end) {
            (State::InTransaction, TransactionEnd::Commit) => self.enter(State::Committing),
            (State::InTransaction | State::AbortableError { .. }, TransactionEnd::Abort) => self.abort(),
            (State::Committing, TransactionEnd::Commit) | (State::Aborting, TransactionEnd::Abort) => {}
            (State::Ready, end) if self.untold == Some(end) => {}
            _ => return Err(self.refusal(end.operation())),
        }
        Ok(self.number)
    }

    pub(crate) fn poll_ended(&mut self, number: u64, end: TransactionEnd) -> Option<Result<(), TransactionError>> {
        if number < self.number {
            return Some(Ok(())); // Another caller has begun the next one since.
        }
        match (&self.state, end) {
            (State::Fatal(error), _) => Some(Err(error.clone())),
            (State::AbortableError { reason }, TransactionEnd::Commit) => Some(Err(TransactionError::MustAbort {
                reason: Arc::clone(reason),
            })),
            (State::Ready, _) => {
                let was = self.untold.take_if(|untold| *untold == end);
                Some(was.map(|_| ()).ok_or_else(|| self.refusal(end.operation())))
            }
            (State::Aborting, TransactionEnd::Commit) => Some(Err(self.refusal(end.operation()))),
            _ => None,
        }
    }

    /// Whether records and offsets may join.
    #[inline]
    pub(crate) fn check_open(&self, operation: &'static str) -> Result<(), TransactionError> {
        match &self.state {
            State::InTransaction => Ok(()),
            _ => Err(self.refusal(operation)),
        }
    }

    pub(crate) fn send_offsets(
        &mut self,
        offsets: Arc<OffsetsToCommit>,
    ) -> Result<Option<OffsetsTicket>, TransactionError> {
        self.check_open("send_offsets_to_transaction")?;
        if self.scope.offsets.is_some() {
            return Ok(None);
        }
        self.scope.offsets = Some(offsets);
        self.offsets_taken += 1;
        Ok(Some(OffsetsTicket {
            transaction: self.number,
            call: self.offsets_taken,
        }))
    }

    pub(crate) fn poll_offsets(&self, ticket: OffsetsTicket) -> Option<Result<(), TransactionError>> {
        let operation = "send_offsets_to_transaction";
        if ticket.transaction != self.number {
            let state = "its transaction has ended";
            return Some(Err(TransactionError::State { operation, state }));
        }
        match &self.state {
            _ if ticket.call <= self.offsets_done => Some(Ok(())),
            State::InTransaction | State::Committing => None,
            _ => Some(Err(self.refusal(operation))),
        }
    }

    /// The producer closes: what is open is aborted, and nothing begins.
    pub(crate) fn close(&mut self) {
        match self.state {
            State::InTransaction | State::AbortableError { .. } => self.abort(),
            State::Uninitialized | State::Initializing => self.give_up(&"it was closed".into()),
            State::Ready | State::Committing | State::Aborting | State::Fatal(_) => {}
        }
    }

    /// Whether the coordinator is still to be told of an end.
    pub(crate) fn is_ending(&self) -> bool {
        matches!(self.state, State::Committing | State::Aborting)
    }

    /// Ends it for good.
    pub(crate) fn give_up(&mut self, reason: &Arc<str>) {
        self.fail(Verdict::Fatal, Arc::clone(reason));
    }

    pub(crate) fn batches_fate(&self) -> BatchesFate {
        match &self.state {
            State::Fatal(error) => BatchesFate::Drop(error.to_string().into()),
            State::AbortableError { reason } => BatchesFate::Finish(format!("the transaction failed: {reason}").into()),
            State::Aborting => BatchesFate::Finish("the transaction was aborted".into()),
            _ => BatchesFate::Send,
        }
    }

    /// A batch of the partition opened.
    pub(crate) fn want_partition(&mut self, partition: usize) {
        let scope = &mut self.scope;
        if self.protocol == TransactionProtocol::Explicit
            && !scope.added.contains(&partition)
            && !scope.adding.contains(&partition)
        {
            scope.wanted.insert(partition);
        }
    }

    /// Whether batches of the partition may go out.
    pub(crate) fn may_send(&self, partition: usize) -> bool {
        let is_open = matches!(self.state, State::InTransaction | State::Committing);
        is_open && (self.protocol == TransactionProtocol::Implicit || self.scope.added.contains(&partition))
    }

    /// A batch goes out: with the implicit protocol that begins the transaction.
    pub(crate) fn handle_sent(&mut self) {
        self.scope.begun = Begun::Yes;
    }

    /// True if that is why the transaction cannot be committed.
    pub(crate) fn handle_batch_failed(&mut self, reason: &Arc<str>, was_sent: bool) -> bool {
        self.scope.has_gap |= was_sent;
        let is_open = matches!(self.state, State::InTransaction | State::Committing);
        if is_open {
            self.fail(Verdict::Abort, Arc::clone(reason));
        }
        is_open
    }

    /// A broker says that another producer has our place.
    pub(crate) fn fence(&mut self, reason: &Arc<str>) {
        self.fail(Verdict::Fence, Arc::clone(reason));
    }

    pub(crate) fn identity(&self) -> Option<ProducerIdentity> {
        self.identity
    }

    pub(crate) fn protocol(&self) -> TransactionProtocol {
        self.protocol
    }

    pub(crate) fn adding(&self) -> impl Iterator<Item = usize> {
        self.scope.adding.iter().copied()
    }

    pub(crate) fn offsets(&self) -> Option<Arc<OffsetsToCommit>> {
        self.scope.offsets.clone()
    }

    pub(crate) fn ending(&self) -> Option<TransactionEnd> {
        match self.state {
            State::Committing => Some(TransactionEnd::Commit),
            State::Aborting => Some(TransactionEnd::Abort),
            _ => None,
        }
    }

    pub(crate) fn poll_news(&mut self) -> bool {
        std::mem::take(&mut self.is_news)
    }

    fn abort(&mut self) {
        self.scope.wanted.clear();
        self.scope.offsets = None;
        self.enter(State::Aborting);
    }

    pub(super) fn fail(&mut self, verdict: Verdict, reason: Arc<str>) {
        let transactional_id = Arc::clone(&self.transactional_id);
        match (verdict, &self.state) {
            (_, State::Fatal(_)) => {}
            (Verdict::Fence, _) => self.enter(State::Fatal(TransactionError::Fenced {
                transactional_id,
                reason,
            })),
            (Verdict::Fatal, _) => self.enter(State::Fatal(TransactionError::Fatal {
                transactional_id,
                reason,
            })),
            (verdict, state) => {
                let is_aborting = *state == State::Aborting;
                let is_open = matches!(state, State::InTransaction | State::Committing);
                self.scope.is_ended |= verdict == Verdict::AbortUnknown && (is_aborting || is_open);
                if is_open {
                    self.scope.wanted.clear();
                    self.scope.offsets = None;
                    self.enter(State::AbortableError { reason });
                }
            }
        }
    }

    pub(super) fn enter(&mut self, state: State) {
        self.state = state;
        self.is_news = true;
    }

    /// Why `operation` is not possible in this state.
    #[cold]
    fn refusal(&self, operation: &'static str) -> TransactionError {
        let state = match &self.state {
            State::Fatal(error) => return error.clone(),
            State::AbortableError { reason } => {
                let reason = Arc::clone(reason);
                return TransactionError::MustAbort { reason };
            }
            State::Uninitialized => "init_transactions was not called",
            State::Initializing => "init_transactions is not finished",
            State::Ready => "no transaction is open",
            State::InTransaction => "a transaction is open",
            State::Committing => "a commit is under way",
            State::Aborting => "an abort is under way",
        };
        TransactionError::State { operation, state }
    }
}
