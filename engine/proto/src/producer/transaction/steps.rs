//! Which request a transaction needs next, and what its answer does to it.
//!
//! One is in flight at a time, and which one comes next follows from the state alone, so an answer that comes late can do no
//! harm. Never here: what the application may ask for (see `state`), what a code means (see `verdict`).

use std::time::{Duration, Instant};

use engine_wire::error_code::ErrorCode;

use super::{
    request::{Step, TransactionAnswer, TransactionOutcome, TransactionProtocol},
    state::{Begun, Scope, State, Transaction},
    verdict::{Verdict, verdict},
};

impl Transaction {
    /// When to look for the next step again.
    pub(crate) fn poll_deadline(&self, now: Instant) -> Option<Instant> {
        self.retry_at.filter(|retry_at| *retry_at > now)
    }

    /// The next request, if there is one now. `is_idle`: no batch is unresolved.
    pub(crate) fn poll_step(&mut self, now: Instant, is_idle: bool) -> Option<Step> {
        if self.in_flight.is_some() || self.retry_at.is_some_and(|retry_at| retry_at > now) {
            return None;
        }
        let step = self.next_step(is_idle)?;
        self.retry_at = None;
        match step {
            Step::AddPartitions => self.scope.adding = std::mem::take(&mut self.scope.wanted),
            // The group's coordinator adds it to the transaction before it looks at the offsets.
            Step::CommitOffsets if self.protocol == TransactionProtocol::Implicit => self.scope.begun = Begun::Yes,
            _ => {}
        }
        self.in_flight = Some(step);
        Some(step)
    }

    fn next_step(&mut self, is_idle: bool) -> Option<Step> {
        let scope = &self.scope;
        match &self.state {
            State::Initializing => Some(Step::InitProducerId),
            State::InTransaction | State::Committing if !scope.wanted.is_empty() => Some(Step::AddPartitions),
            State::InTransaction | State::Committing if scope.offsets.is_some() => {
                let group_id = scope.offsets.as_ref().map(|offsets| &offsets.group.group_id)?;
                let is_added = self.protocol == TransactionProtocol::Implicit || scope.groups.contains(group_id);
                Some(if is_added {
                    Step::CommitOffsets
                } else {
                    Step::AddOffsets
                })
            }
            State::Aborting if is_idle && scope.is_ended => Some(Step::InitProducerId),
            State::Committing | State::Aborting if is_idle => {
                if scope.begun != Begun::No {
                    return Some(Step::EndTxn);
                }
                self.finish(); // The coordinator never heard of it.
                None
            }
            _ => None,
        }
    }

    /// Takes the end of the request in flight.
    pub(crate) fn handle_outcome(&mut self, now: Instant, outcome: &TransactionOutcome) {
        let Some(step) = self.in_flight.take() else {
            return;
        };
        match outcome {
            TransactionOutcome::Answered(answer) => self.handle_answer(now, step, answer),
            TransactionOutcome::Lost(_) => {
                if matches!(step, Step::AddPartitions | Step::AddOffsets) {
                    self.scope.begun = self.scope.begun.max(Begun::Maybe);
                }
                self.retry(now, step, None);
            }
            TransactionOutcome::Impossible(reason) => {
                self.fail(Verdict::Fatal, format!("{}: {reason}", step.name()).into());
            }
        }
    }

    fn handle_answer(&mut self, now: Instant, step: Step, answer: &TransactionAnswer) {
        let gravest = answer.codes.iter().max_by_key(|(_, code)| verdict(step, *code));
        let (tp, code) = gravest.map_or((None, ErrorCode::NONE), |(tp, code)| (tp.as_ref(), *code));
        let nothing_to_end = step == Step::EndTxn
            && code == ErrorCode::INVALID_TXN_STATE
            && self.state == State::Aborting
            && self.scope.begun == Begun::Maybe;
        match verdict(step, code) {
            _ if nothing_to_end => self.finish(),
            Verdict::Done if step == Step::InitProducerId && answer.identity.is_none() => {
                let reason = "InitProducerId: the coordinator gave neither a producer id nor an error";
                self.fail(Verdict::Fatal, reason.into());
            }
            Verdict::Done => self.succeed(step, answer),
            Verdict::Retry => self.retry(now, step, Some(code)),
            grave => {
                let place = tp.map(|tp| format!(" of {tp}")).unwrap_or_default();
                self.scope.adding.clear();
                // An abort that the coordinator does not take leaves nothing to do, unless it forgot the transaction.
                let grave = match grave {
                    Verdict::Abort if step == Step::EndTxn && self.state == State::Aborting => Verdict::Fatal,
                    grave => grave,
                };
                self.fail(grave, format!("{}{place}: {code}", step.name()).into());
            }
        }
    }

    fn succeed(&mut self, step: Step, answer: &TransactionAnswer) {
        self.backoff.reset();
        if answer.identity.is_some() {
            self.identity = answer.identity;
        }
        match step {
            Step::InitProducerId if self.state == State::Initializing => {
                self.protocol = match answer.transaction_version {
                    ..2 => TransactionProtocol::Explicit,
                    2.. => TransactionProtocol::Implicit,
                };
                self.enter(State::Ready);
            }
            Step::InitProducerId if self.state == State::Aborting => self.finish(),
            Step::AddPartitions => {
                self.scope.begun = Begun::Yes;
                let adding = std::mem::take(&mut self.scope.adding);
                self.scope.added.extend(adding);
            }
            Step::AddOffsets => {
                self.scope.begun = Begun::Yes;
                let group = self
                    .scope
                    .offsets
                    .as_ref()
                    .map(|offsets| offsets.group.group_id.clone());
                self.scope.groups.extend(group);
            }
            Step::CommitOffsets if self.scope.offsets.take().is_some() => {
                self.offsets_done += 1;
                self.is_news = true;
            }
            Step::EndTxn if self.scope.has_gap && self.protocol == TransactionProtocol::Explicit => {
                self.scope.is_ended = true;
            }
            Step::EndTxn => self.finish(),
            // Fatal meanwhile, or offsets of a transaction that was aborted meanwhile.
            Step::InitProducerId | Step::CommitOffsets => {}
        }
    }

    fn retry(&mut self, now: Instant, step: Step, code: Option<ErrorCode>) {
        if step == Step::AddPartitions {
            let adding = std::mem::take(&mut self.scope.adding);
            self.scope.wanted.extend(adding);
        }
        let delay = self.backoff.fail();
        // The markers of the transaction before are being written, which takes milliseconds.
        let delay = match code {
            Some(ErrorCode::CONCURRENT_TRANSACTIONS) => delay.min(CONCURRENT_BACKOFF),
            _ => delay,
        };
        self.retry_at = Some(now + delay);
    }

    fn finish(&mut self) {
        self.untold = self.ending();
        self.scope = Scope::default();
        self.enter(State::Ready);
    }
}

/// As the Java client waits.
pub(in crate::producer) const CONCURRENT_BACKOFF: Duration = Duration::from_millis(20);
