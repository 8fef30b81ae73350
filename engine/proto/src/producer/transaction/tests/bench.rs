//! A transaction and the time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use engine_wire::error_code::ErrorCode;

use crate::backoff::BackoffPolicy;
use crate::producer::transaction::request::{
    ConsumerGroupMetadata, OffsetsToCommit, Step, TransactionAnswer, TransactionEnd, TransactionOutcome,
    TransactionProtocol,
};
use crate::producer::transaction::state::Transaction;
use crate::sequence::ProducerIdentity;

pub(super) const MS: Duration = Duration::from_millis(1);

/// The one place in these tests that reads a clock: an arbitrary start.
#[expect(clippy::disallowed_methods)]
pub(super) fn start() -> Instant {
    Instant::now()
}

pub(super) fn answer(code: ErrorCode) -> TransactionOutcome {
    TransactionOutcome::Answered(TransactionAnswer {
        codes: vec![(None, code)],
        ..TransactionAnswer::default()
    })
}

pub(super) fn identity(producer_epoch: i16, transaction_version: i16) -> TransactionOutcome {
    TransactionOutcome::Answered(TransactionAnswer {
        codes: vec![(None, ErrorCode::NONE)],
        identity: Some(ProducerIdentity {
            producer_id: 7,
            producer_epoch,
        }),
        transaction_version,
    })
}

pub(super) fn offsets(group_id: &str) -> Arc<OffsetsToCommit> {
    Arc::new(OffsetsToCommit {
        group: ConsumerGroupMetadata {
            group_id: group_id.into(),
            generation_id: 1,
            member_id: "m".into(),
            group_instance_id: None,
        },
        offsets: Vec::new(),
    })
}

/// A transaction and the time.
pub(super) struct Bench {
    pub(super) transaction: Transaction,
    pub(super) now: Instant,
    pub(super) epoch: i16,
    pub(super) version: i16,
}

impl Bench {
    pub(super) fn new(version: i16) -> Self {
        let policy = BackoffPolicy {
            initial: 100 * MS,
            max: 1_000 * MS,
        };
        Self {
            transaction: Transaction::new("orders".into(), policy, 1),
            now: start(),
            epoch: 0,
            version,
        }
    }

    pub(super) fn ready(version: i16) -> Self {
        let mut bench = Self::new(version);
        bench.transaction.initialize().unwrap();
        bench.expect(Step::InitProducerId);
        bench.answer(identity(0, version));
        bench
    }

    /// With one partition in it, as the brokers know.
    pub(super) fn open(version: i16) -> Self {
        let mut bench = Self::ready(version);
        bench.transaction.begin().unwrap();
        bench.add(0);
        bench
    }

    pub(super) fn add(&mut self, partition: usize) {
        self.transaction.want_partition(partition);
        if self.transaction.protocol() == TransactionProtocol::Explicit {
            assert!(
                !self.transaction.may_send(partition),
                "not before the coordinator knows"
            );
            self.expect(Step::AddPartitions);
            self.answer(answer(ErrorCode::NONE));
        }
        assert!(self.transaction.may_send(partition));
        self.transaction.handle_sent();
    }

    pub(super) fn in_state(name: &str) -> Self {
        match name {
            "uninitialized" => Self::new(0),
            "initializing" => {
                let mut bench = Self::new(0);
                bench.transaction.initialize().unwrap();
                bench
            }
            "ready" => Self::ready(0),
            "open" => Self::open(0),
            "committing" => {
                let mut bench = Self::open(0);
                bench.transaction.end(TransactionEnd::Commit).unwrap();
                bench
            }
            "aborting" => {
                let mut bench = Self::open(0);
                bench.transaction.end(TransactionEnd::Abort).unwrap();
                bench
            }
            "abortable" => {
                let mut bench = Self::open(0);
                bench.transaction.handle_batch_failed(&"a batch expired".into(), true);
                bench
            }
            "fatal" => {
                let mut bench = Self::open(0);
                bench.transaction.fence(&"PRODUCER_FENCED".into());
                bench
            }
            other => panic!("{other}"),
        }
    }

    /// The state's name, as an application could find it out.
    pub(super) fn state(&self) -> &'static str {
        let refusal = self.transaction.check_open("send");
        match refusal.map_err(|error| error.to_string()) {
            Ok(()) => "open",
            Err(text) if text.contains("was not called") => "uninitialized",
            Err(text) if text.contains("not finished") => "initializing",
            Err(text) if text.contains("no transaction is open") => "ready",
            Err(text) if text.contains("a commit is under way") => "committing",
            Err(text) if text.contains("an abort is under way") => "aborting",
            Err(text) if text.contains("must be aborted") => "abortable",
            Err(_) => "fatal",
        }
    }

    pub(super) fn expect(&mut self, step: Step) {
        self.now += 2_000 * MS; // Beyond any backoff.
        assert_eq!(self.transaction.poll_step(self.now, true), Some(step));
    }

    pub(super) fn expect_nothing(&mut self) {
        self.now += 2_000 * MS;
        assert_eq!(self.transaction.poll_step(self.now, true), None);
    }

    pub(super) fn answer(&mut self, outcome: TransactionOutcome) {
        self.transaction.handle_outcome(self.now, &outcome);
    }

    /// The coordinator ends the transaction, as its protocol does.
    pub(super) fn end(&mut self) {
        self.expect(Step::EndTxn);
        if self.version >= 2 {
            self.epoch += 1;
            self.answer(identity(self.epoch, 0));
        } else {
            self.answer(answer(ErrorCode::NONE));
        }
    }
}
