//! Faults that a test asks for: the embedded broker misbehaves on purpose.
//!
//! A fault waits for the next requests of its API and is used up by them. Requests of one connection meet
//! faults in order; with several connections, whichever request comes first takes it.

pub(crate) mod observer;
mod text;

pub use observer::ObservedRequest;
pub use text::FaultTextError;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use engine_wire::error_code::ErrorCode;
use tokio::sync::Notify;

/// Most faults that wait at a time; further ones are dropped.
const FAULTS_MAX: usize = 1_000;

/// What a request meets instead of its usual handling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultAction {
    /// It is not handled but answered with this code, for each partition or at the top, whichever the API has.
    /// ApiVersions refuses its version as Kafka does: with UNSUPPORTED_VERSION, in version 0.
    Error(ErrorCode),
    /// It is handled after this long. Later requests of the connection wait, as always.
    Delay(Duration),
    /// The connection is closed before it is handled.
    Disconnect,
    /// It is handled, then the connection is closed without an answer: the client cannot know.
    ApplyThenDisconnect,
    /// It is handled but never answered, and the connection stays open: the client must time out.
    Silence,
    /// It is handled, and the answer says that the client is throttled for this long; the connection's next request
    /// is read only after that (KIP-219).
    Throttle(Duration),
    /// Fetch: the first batch of the answer has a wrong checksum. The log keeps the right one.
    CorruptCrc,
    /// Every partition's leader moves, though only to the same broker: their leader epochs go up. Produce is then
    /// answered with NOT_LEADER_OR_FOLLOWER, anything else is handled.
    MoveLeaders,
    /// The broker crashes before it is handled, and is back after this long, at the same address. All connections
    /// end. Logs, offsets, groups and transactions are still there, as if they were on disk; leader epochs go up.
    Restart(Duration),
}

/// Restarts that are asked for; what is asked meanwhile is part of the same one.
#[derive(Debug, Default)]
pub(crate) struct Restarts {
    wanted: Mutex<Option<Duration>>,
    told: Notify,
}

impl Restarts {
    pub(crate) fn want(&self, down: Duration) {
        *self.lock() = Some(down);
        self.told.notify_one();
    }

    /// Resolves when a restart is wanted, with the time that the broker stays down.
    pub(crate) async fn next(&self) -> Duration {
        loop {
            if let Some(down) = self.lock().take() {
                return down;
            }
            self.told.notified().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Duration>> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A fault for the next `times` requests of one API, after `skip` that pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// Kafka's number of the API: 0 for Produce, 1 for Fetch.
    pub api_key: i16,
    /// How many requests pass before it begins.
    pub skip: u32,
    /// How many requests meet it.
    pub times: u32,
    /// What they meet.
    pub action: FaultAction,
}

/// Faults that wait.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    /// Whether there are any, so that a broker without pays nothing.
    is_armed: AtomicBool,
    waiting: Mutex<Vec<Fault>>,
}

impl Fault {
    /// The next request of `api_key` meets `action`.
    #[must_use]
    pub fn once(api_key: i16, action: FaultAction) -> Self {
        Self {
            api_key,
            skip: 0,
            times: 1,
            action,
        }
    }
}

impl Faults {
    pub(crate) fn inject(&self, fault: Fault) {
        let mut waiting = self.lock();
        if waiting.len() < FAULTS_MAX && fault.times > 0 {
            waiting.push(fault);
            self.is_armed.store(true, Ordering::Release);
        }
    }

    pub(crate) fn clear(&self) {
        self.lock().clear();
        self.is_armed.store(false, Ordering::Release);
    }

    /// The fault that a request of `api_key` meets, if any.
    pub(crate) fn take(&self, api_key: i16) -> Option<FaultAction> {
        if !self.is_armed.load(Ordering::Acquire) {
            return None;
        }
        let mut waiting = self.lock();
        let index = waiting.iter().position(|fault| fault.api_key == api_key)?;
        let fault = &mut waiting[index];
        if fault.skip > 0 {
            fault.skip -= 1;
            return None;
        }
        fault.times -= 1;
        let action = fault.action;
        if fault.times == 0 {
            waiting.remove(index);
            self.is_armed.store(!waiting.is_empty(), Ordering::Release);
        }
        Some(action)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Fault>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_lets_some_pass_and_is_used_up() {
        let faults = Faults::default();
        faults.inject(Fault {
            api_key: 0,
            skip: 1,
            times: 2,
            action: FaultAction::Disconnect,
        });
        assert_eq!(faults.take(1), None);
        let met: Vec<_> = (0..4).map(|_| faults.take(0).is_some()).collect();
        assert_eq!(met, [false, true, true, false]);
    }
}
