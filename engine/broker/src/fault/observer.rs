//! A test's eyes on the requests: what is asked, in which order, and what a request shall meet for what it says.
//!
//! A [`Fault`](super::Fault) counts requests of an API. Who wants the second Produce to one topic after the first EndTxn
//! looks into the requests and decides.
//! Never here: what an action does (see `api`).

use std::fmt;
use std::sync::OnceLock;

use bytes::Bytes;

use super::FaultAction;

/// A request before it is handled.
#[derive(Debug, Clone, Copy)]
pub struct ObservedRequest<'a> {
    /// Kafka's number of the API.
    pub api_key: i16,
    /// The version of the body.
    pub api_version: i16,
    /// Who asks, in its own words.
    pub client_id: &'a str,
    /// All behind the header.
    pub body: &'a Bytes,
}

type Look = dyn Fn(&ObservedRequest<'_>) -> Option<FaultAction> + Send + Sync;

/// Looks at every request, once there is somebody who looks.
#[derive(Default)]
pub(crate) struct Observer {
    look: OnceLock<Box<Look>>,
}

impl Observer {
    /// False if there is an observer already.
    pub(crate) fn set(&self, look: Box<Look>) -> bool {
        self.look.set(look).is_ok()
    }

    /// What the request shall meet, if anything.
    pub(crate) fn look(&self, request: &ObservedRequest<'_>) -> Option<FaultAction> {
        self.look.get().and_then(|look| look(request))
    }
}

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Observer")
            .field("looks", &self.look.get().is_some())
            .finish()
    }
}
