//! All transactional ids, and when the next open transaction has taken too long.
//!
//! Each id is a state machine behind its own lock (see `transaction`), which is held while a batch of its
//! transaction is appended: so no batch can come behind the marker that ends its transaction.
//!
//! Never here: what a timeout does (see `node::transactions`).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use engine_wire::error_code::ErrorCode;
use tokio::sync::Notify;

use crate::transaction::Transaction;

/// The transactional ids of this broker, which coordinates all of them.
#[derive(Debug)]
pub(crate) struct TransactionCoordinator {
    ids_max: usize,
    by_id: Mutex<BTreeMap<String, Arc<Mutex<Transaction>>>>,
    /// When the timer task looks next, in milliseconds since 1970. `None`: when it is told to.
    next_look: Mutex<Option<i64>>,
    look_earlier: Notify,
}

impl TransactionCoordinator {
    pub(crate) fn new(ids_max: usize) -> Self {
        Self {
            ids_max,
            by_id: Mutex::default(),
            next_look: Mutex::default(),
            look_earlier: Notify::new(),
        }
    }

    pub(crate) fn find(&self, transactional_id: &str) -> Option<Arc<Mutex<Transaction>>> {
        lock(&self.by_id).get(transactional_id).cloned()
    }

    /// The id's transaction, or `new`. At the bound the id that was idle longest is forgotten, and returned.
    pub(crate) fn find_or_insert(
        &self,
        transactional_id: &str,
        new: Transaction,
    ) -> Result<(Arc<Mutex<Transaction>>, Option<String>), ErrorCode> {
        let mut by_id = lock(&self.by_id);
        if let Some(known) = by_id.get(transactional_id) {
            return Ok((Arc::clone(known), None));
        }
        let mut forgotten = None;
        if by_id.len() >= self.ids_max {
            // One that a request is working with is not idle.
            let idle = by_id.iter().filter(|(_, one)| Arc::strong_count(one) == 1);
            let idle = idle.filter_map(|(id, one)| {
                let one = lock(one);
                one.is_idle().then(|| (one.changed_at, id.clone()))
            });
            let (_, id) = idle.min().ok_or(ErrorCode::COORDINATOR_NOT_AVAILABLE)?;
            by_id.remove(&id);
            forgotten = Some(id);
        }
        let transaction = Arc::new(Mutex::new(new));
        by_id.insert(transactional_id.to_owned(), Arc::clone(&transaction));
        Ok((transaction, forgotten))
    }

    /// Every id with its transaction, by name.
    pub(crate) fn all(&self) -> Vec<(String, Arc<Mutex<Transaction>>)> {
        let by_id = lock(&self.by_id);
        by_id.iter().map(|(id, one)| (id.clone(), Arc::clone(one))).collect()
    }

    /// A transaction was begun: the timer task must look at this time at the latest.
    pub(crate) fn look_at(&self, deadline: i64) {
        let mut next_look = lock(&self.next_look);
        if next_look.is_none_or(|at| deadline < at) {
            *next_look = Some(deadline);
            self.look_earlier.notify_one();
        }
    }

    /// Begins a look: what is begun meanwhile compares with nothing, and tells.
    pub(crate) fn begin_look(&self) {
        *lock(&self.next_look) = None;
    }

    /// Ends a look that found `next`: when to look again.
    pub(crate) fn end_look(&self, next: Option<i64>) -> Option<i64> {
        let mut next_look = lock(&self.next_look);
        *next_look = next_look.into_iter().chain(next).min();
        *next_look
    }

    /// Resolves when a look is wanted earlier than was known.
    pub(crate) async fn told(&self) {
        self.look_earlier.notified().await;
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
