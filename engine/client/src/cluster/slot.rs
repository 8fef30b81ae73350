//! The place of one connection: open, or waiting to be opened again.

use std::{
    sync::{Arc, Mutex, MutexGuard},
    time::Instant,
};

use engine_proto::backoff::{Backoff, BackoffPolicy};

use tracing::{info, warn};

use super::outage::Outage;
use crate::connection::{Connection, DialOptions, RequestError, describe, dial, now};

#[derive(Debug)]
pub(super) struct Slot {
    current: Mutex<Option<Arc<Connection>>>,
    /// Held over the dialling, so that one opens and the others wait for the outcome.
    dialling: tokio::sync::Mutex<Dialling>,
    /// Of the endpoint: its lanes are told of together.
    outage: Arc<Mutex<Outage>>,
}

#[derive(Debug)]
struct Dialling {
    backoff: Backoff,
    not_before: Option<Instant>,
    greet_oldest: bool,
    failure: Option<(Instant, RequestError)>,
}

impl Slot {
    /// `beside` is another slot of the same endpoint, if there is one.
    pub(super) fn new(policy: BackoffPolicy, seed: u64, beside: Option<&Slot>) -> Self {
        Self {
            outage: beside.map(|slot| Arc::clone(&slot.outage)).unwrap_or_default(),
            current: Mutex::default(),
            dialling: tokio::sync::Mutex::new(Dialling {
                backoff: Backoff::new(policy, seed),
                not_before: None,
                greet_oldest: false,
                failure: None,
            }),
        }
    }

    /// The connection, if it is open now.
    pub(super) fn open(&self) -> Option<Arc<Connection>> {
        let mut current = lock(&self.current);
        if current.as_ref().is_some_and(|connection| connection.is_closed()) {
            *current = None;
        }
        current.clone()
    }

    /// The connection to `address`; opens it if it is closed or leads elsewhere.
    pub(super) async fn connection(
        &self,
        address: &Arc<str>,
        options: &DialOptions,
    ) -> Result<Arc<Connection>, RequestError> {
        let asked = now();
        if let Some(connection) = self.open_to(address) {
            return Ok(connection);
        }
        let mut dialling = self.dialling.lock().await;
        if let Some(connection) = self.open_to(address) {
            return Ok(connection);
        }
        if let Some((when, error)) = &dialling.failure
            && *when > asked
        {
            return Err(error.clone()); // Failed while this caller waited.
        }
        if let Some(not_before) = dialling.not_before {
            tokio::time::sleep_until(not_before.into()).await;
        }
        let mut outcome = dial(address, options, dialling.greet_oldest).await;
        if let Err(failed) = &outcome
            && failed.reset_by_greeting
        {
            outcome = dial(address, options, true).await;
            dialling.greet_oldest = outcome.is_ok();
        }
        match outcome {
            Ok(connection) => {
                let connection = Arc::new(connection);
                *lock(&self.current) = Some(Arc::clone(&connection));
                dialling.backoff.reset();
                dialling.not_before = None;
                dialling.failure = None;
                if lock(&self.outage).note_success() {
                    info!(%address, "Connected again.");
                }
                Ok(connection)
            }
            Err(failed) => {
                let now = now();
                dialling.greet_oldest = false;
                dialling.not_before = Some(now + dialling.backoff.fail());
                dialling.failure = Some((now, failed.error.clone()));
                if lock(&self.outage).note_failure(now) {
                    warn!(%address, error = describe(&failed.error), "Cannot connect; trying on.");
                }
                Err(failed.error)
            }
        }
    }

    pub(super) fn close(&self) {
        if let Some(connection) = lock(&self.current).take() {
            connection.close();
        }
    }

    fn open_to(&self, address: &Arc<str>) -> Option<Arc<Connection>> {
        let connection = self.open()?;
        if connection.address() == address {
            return Some(connection);
        }
        // The node moved. Requests in flight to the old address fail.
        self.close();
        None
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}
