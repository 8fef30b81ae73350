//! What the decisions of a transaction do: records, markers, offsets that count, and time that is up.
//!
//! Every change is recorded before it counts. The markers are written while the transaction's lock is held and
//! before the answer to EndTxn, so a producer never meets a transaction of its own that is still ending. A start
//! writes the markers of what was prepared when the broker died; written twice they end nothing a second time.

use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use engine_wire::error_code::ErrorCode;
use tracing::{error, info, warn};

use crate::batch::{IncomingBatch, Marker};
use crate::journal::fact::Fact;
use crate::node::{Node, now_ms};
use crate::partition::AppendError;
use crate::transaction::{EndDecision, InitDecision, Outcome, Part, Producer, Scope, State, Transaction};
use crate::transaction_coordinator::lock;

/// Pause before markers that could not be written are tried again.
const RETRY_MS: i64 = 1_000;

/// What a client is told of a disk that fails: it tries again.
const STORAGE_FAILED: ErrorCode = ErrorCode::COORDINATOR_NOT_AVAILABLE;

impl Node {
    /// A new incarnation of a transactional producer. The one before it is fenced, its open transaction aborted.
    pub(crate) fn init_transactional_producer(
        &self,
        transactional_id: &str,
        timeout_ms: i32,
        expected: Option<Producer>,
    ) -> Result<Producer, ErrorCode> {
        let known = match self.transactions.find(transactional_id) {
            Some(known) => known,
            None => {
                let new = Transaction::new(self.new_producer_id()?, now_ms());
                let (transaction, forgotten) = self.transactions.find_or_insert(transactional_id, new)?;
                if let Some(forgotten) = forgotten {
                    self.forget_transactional_id(forgotten);
                }
                transaction
            }
        };
        let mut transaction = lock(&known);
        loop {
            match transaction.decide_init(expected)? {
                InitDecision::Again => return Ok(transaction.producer),
                InitDecision::CompleteFirst => self.complete(transactional_id, &mut transaction)?,
                InitDecision::AbortFirst => self.abort(transactional_id, &mut transaction)?,
                InitDecision::Bump => break,
            }
        }
        let spare = self.spare_producer_id(&transaction)?;
        let mut next = transaction.clone();
        next.init(now_ms(), timeout_ms, spare);
        self.record_transaction(transactional_id, &mut transaction, next)?;
        Ok(transaction.producer)
    }

    /// Partitions and groups join a producer's transaction.
    pub(crate) fn add_to_transaction(
        &self,
        transactional_id: &str,
        producer: Producer,
        more: Scope,
    ) -> Result<(), ErrorCode> {
        let known = self.find_transaction(transactional_id)?;
        self.add(transactional_id, &mut lock(&known), producer, more)
    }

    /// Does something inside of a producer's transaction, which cannot end meanwhile. What it works on must be in
    /// the transaction, or joins it here, if `joins` (KIP-890).
    pub(crate) fn within_transaction<T>(
        &self,
        transactional_id: &str,
        producer: Producer,
        part: Part<'_>,
        joins: bool,
        act: impl FnOnce() -> T,
    ) -> Result<T, ErrorCode> {
        let known = self.find_transaction(transactional_id)?;
        let mut transaction = lock(&known);
        let is_part = transaction.open_scope(producer)?.is_some_and(|scope| scope.has(part));
        match (is_part, joins) {
            (true, _) => {}
            (false, true) => self.add(transactional_id, &mut transaction, producer, part.scope())?,
            (false, false) => return Err(ErrorCode::INVALID_TXN_STATE),
        }
        Ok(act())
    }

    /// Whether all of this is in the producer's open transaction.
    pub(crate) fn is_in_transaction(
        &self,
        transactional_id: &str,
        producer: Producer,
        part: Part<'_>,
    ) -> Result<(), ErrorCode> {
        self.within_transaction(transactional_id, producer, part, false, || ())
    }

    /// Commits or aborts, and answers with the producer that goes on: with `bumps`, in a new epoch.
    pub(crate) fn end_transaction(
        &self,
        transactional_id: &str,
        producer: Producer,
        outcome: Outcome,
        bumps: bool,
    ) -> Result<Producer, ErrorCode> {
        let known = self.find_transaction(transactional_id)?;
        let mut transaction = lock(&known);
        match transaction.decide_end(producer, outcome, bumps)? {
            EndDecision::Again => {}
            EndDecision::Complete => self.complete(transactional_id, &mut transaction)?,
            EndDecision::Prepare => {
                let spare = self.spare_producer_id(&transaction)?;
                let mut next = transaction.clone();
                next.prepare(now_ms(), outcome, bumps, spare);
                self.record_transaction(transactional_id, &mut transaction, next)?;
                self.complete(transactional_id, &mut transaction)?;
            }
        }
        Ok(transaction.producer)
    }

    /// Aborts transactions that take too long, for ever. One task runs this.
    pub(crate) async fn keep_transaction_time(&self) {
        loop {
            let next = self.handle_transaction_deadlines(now_ms());
            match next {
                Some(at) => {
                    let left = u64::try_from(at.saturating_sub(now_ms())).unwrap_or(0);
                    tokio::select! {
                        () = tokio::time::sleep(Duration::from_millis(left)) => {}
                        () = self.transactions.told() => {}
                    }
                }
                None => self.transactions.told().await,
            }
        }
    }

    /// Aborts what is due, completes what is prepared, and tells when to come again.
    pub(super) fn handle_transaction_deadlines(&self, now: i64) -> Option<i64> {
        self.transactions.begin_look();
        let mut next: Option<i64> = None;
        for (transactional_id, transaction) in self.transactions.all() {
            let mut transaction = lock(&transaction);
            let (producer_id, timeout_ms) = (transaction.producer.producer_id, transaction.timeout_ms);
            let done = match &transaction.state {
                State::Prepared { .. } => self.complete(&transactional_id, &mut transaction),
                State::Ongoing { .. } if transaction.deadline().is_some_and(|deadline| deadline <= now) => {
                    info!(%transactional_id, producer_id, timeout_ms, "A transaction took too long and is aborted.");
                    self.abort(&transactional_id, &mut transaction)
                }
                State::Empty | State::Ongoing { .. } | State::Complete { .. } => Ok(()),
            };
            let again = match done {
                Ok(()) => transaction.deadline(),
                Err(_) => Some(now + RETRY_MS),
            };
            next = next.into_iter().chain(again).min();
        }
        self.transactions.end_look(next)
    }

    fn find_transaction(&self, transactional_id: &str) -> Result<std::sync::Arc<Mutex<Transaction>>, ErrorCode> {
        let unknown = ErrorCode::INVALID_PRODUCER_ID_MAPPING;
        self.transactions.find(transactional_id).ok_or(unknown)
    }

    fn add(
        &self,
        transactional_id: &str,
        transaction: &mut MutexGuard<'_, Transaction>,
        producer: Producer,
        more: Scope,
    ) -> Result<(), ErrorCode> {
        let was_idle = transaction.is_idle();
        let mut next = (**transaction).clone();
        if next.add(now_ms(), producer, more)? {
            self.record_transaction(transactional_id, transaction, next)?;
        }
        if let Some(deadline) = transaction.deadline().filter(|_| was_idle) {
            self.transactions.look_at(deadline);
        }
        Ok(())
    }

    /// Ends an open transaction from the broker's side: its producer is fenced by a new epoch.
    fn abort(&self, transactional_id: &str, transaction: &mut MutexGuard<'_, Transaction>) -> Result<(), ErrorCode> {
        let spare = self.spare_producer_id(transaction)?;
        let mut next = (**transaction).clone();
        next.prepare(now_ms(), Outcome::Abort, true, spare);
        self.record_transaction(transactional_id, transaction, next)?;
        self.complete(transactional_id, transaction)
    }

    /// Writes the markers of a prepared transaction, and lets its offsets count or drops them.
    fn complete(&self, transactional_id: &str, transaction: &mut MutexGuard<'_, Transaction>) -> Result<(), ErrorCode> {
        let State::Prepared {
            outcome, scope, marker, ..
        } = &transaction.state
        else {
            return Ok(());
        };
        let is_committed = *outcome == Outcome::Commit;
        if let Err(error) = self.write_markers(scope, *marker, is_committed) {
            error!(transactional_id, %error, "Transaction markers not written; they are tried again.");
            return Err(STORAGE_FAILED);
        }
        for group_id in &scope.groups {
            self.end_offsets(group_id, marker.producer_id, is_committed)?;
        }
        let mut next = (**transaction).clone();
        next.complete(now_ms());
        self.record_transaction(transactional_id, transaction, next)
    }

    fn write_markers(&self, scope: &Scope, marker: Producer, is_committed: bool) -> Result<(), AppendError> {
        let batch = IncomingBatch::marker(
            now_ms(),
            Marker {
                is_committed,
                producer_id: marker.producer_id,
                producer_epoch: marker.producer_epoch,
                coordinator_epoch: self.leader_epoch,
            },
        );
        for (name, partitions) in &scope.partitions {
            // A topic that was deleted meanwhile has nothing to end.
            let Some(topic) = self.topics.find(name) else { continue };
            for partition in partitions.iter().filter_map(|index| topic.partition(*index)) {
                partition.append(&batch, self.syncs_appends())?;
            }
        }
        Ok(())
    }

    fn end_offsets(&self, group_id: &str, producer_id: i64, is_committed: bool) -> Result<(), ErrorCode> {
        let counts = |topic: &str| is_committed && self.topics.find(topic).is_some();
        self.coordinator.with(group_id, |group| {
            let (mut known, mut forgotten) = (Vec::new(), Vec::new());
            for (topic, partition, pending) in group.offsets.pending_of(producer_id) {
                if counts(topic) {
                    known.push(Fact::Committed {
                        group: group_id.to_owned(),
                        topic: topic.to_owned(),
                        partition,
                        offset: pending.offset,
                        leader_epoch: pending.leader_epoch,
                        metadata: pending.metadata.clone(),
                    });
                }
                forgotten.push(Fact::PendingOffset {
                    group: group_id.to_owned(),
                    producer_id,
                    topic: topic.to_owned(),
                    partition,
                    offset: 0,
                    leader_epoch: -1,
                    metadata: String::new(),
                });
            }
            self.journal.exchange(&known, &forgotten).map_err(|error| {
                self.storage_failed("record the offsets of a transaction", &error);
                STORAGE_FAILED
            })?;
            group.offsets.end_pending(producer_id, counts);
            Ok(())
        })?
    }

    /// What is recorded counts.
    fn record_transaction(
        &self,
        transactional_id: &str,
        transaction: &mut MutexGuard<'_, Transaction>,
        next: Transaction,
    ) -> Result<(), ErrorCode> {
        let fact = Fact::Transaction {
            transactional_id: transactional_id.to_owned(),
            transaction: next.clone(),
        };
        self.journal.record(&[fact]).map_err(|error| {
            self.storage_failed("record a transaction", &error);
            STORAGE_FAILED
        })?;
        **transaction = next;
        Ok(())
    }

    fn forget_transactional_id(&self, transactional_id: String) {
        warn!(%transactional_id, "Too many transactional ids; the one that was idle longest is forgotten.");
        let fact = Fact::Transaction {
            transactional_id,
            transaction: Transaction::new(-1, 0),
        };
        if let Err(error) = self.journal.forget(&[fact]) {
            self.storage_failed("forget a transactional id", &error);
        }
    }

    fn spare_producer_id(&self, transaction: &Transaction) -> Result<Option<i64>, ErrorCode> {
        transaction.is_exhausted().then(|| self.new_producer_id()).transpose()
    }

    fn new_producer_id(&self) -> Result<i64, ErrorCode> {
        self.allocate_producer_id().map_err(|error| {
            self.storage_failed("record a block of producer ids", &error);
            STORAGE_FAILED
        })
    }
}
