//! One TCP connection to one broker.
//!
//! Two tasks per connection: one writes what is queued, with vectored writes, one reads frames
//! and hands them to whoever waits. What to believe and when to give up is decided by
//! `engine_proto::connection`; this file only carries it out. A connection that closed stays
//! closed: the pool opens another.
//! Never here: which broker to ask, retries, metadata.

mod dial;
mod request_error;
mod tasks;
#[cfg(test)]
mod tests;

pub(crate) use dial::{DialOptions, address_of, dial};
pub(crate) use request_error::describe;
pub use request_error::{DisconnectReason, RequestError};

use std::{
    future::Future,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicI32, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use engine_proto::connection::{ApiRange, ApiRanges, Pipeline, PipelineError};
use engine_wire::{
    messages::{ApiKey, Decodable, HeaderVersion, Request},
    request, response,
};
use tokio::sync::{Notify, mpsc, oneshot};

/// A handle on an open connection. Dropping the last one closes it.
#[derive(Debug)]
pub(crate) struct Connection {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    address: Arc<str>,
    client_id: Arc<str>,
    ranges: ApiRanges,
    next_correlation_id: AtomicI32,
    state: Mutex<State>,
    /// The reader must look again: an earlier deadline, or closed.
    wake_reader: Notify,
}

#[derive(Debug)]
struct State {
    pipeline: Pipeline<Answer>,
    writer: Option<mpsc::UnboundedSender<Outgoing>>,
    /// The reader sleeps until then.
    scheduled: Instant,
    closed: Option<DisconnectReason>,
}

type Answer = oneshot::Sender<Result<Bytes, DisconnectReason>>;

/// One request on its way to the socket.
#[derive(Debug)]
struct Outgoing {
    segments: Vec<Bytes>,
    /// Told after the write, for requests that have no answer.
    written: Option<Answer>,
}

/// The answer's body, after the response header.
#[derive(Debug, Clone)]
pub(crate) struct RawResponse {
    /// The version that the request was sent in.
    pub(crate) version: i16,
    /// The body, a slice of the socket buffer.
    pub(crate) body: Bytes,
}

impl RawResponse {
    pub(crate) fn decode<T: Decodable + HeaderVersion>(self, api_key: ApiKey) -> Result<T, RequestError> {
        response::decode_body(self.version, self.body).map_err(|source| RequestError::Decode {
            api_key,
            source: Arc::new(source),
        })
    }
}

impl Connection {
    pub(crate) fn address(&self) -> &Arc<str> {
        &self.shared.address
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.shared.state().closed.is_some()
    }

    /// Whether an answer has been waited for longer than answers take. The broker may hang, or be gone without a
    /// word.
    pub(crate) fn is_silent(&self) -> bool {
        let waiting_since = self.shared.state().pipeline.waiting_since();
        waiting_since.is_some_and(|since| now().saturating_duration_since(since) >= SILENT_ANSWER)
    }

    /// The newest version that both sides speak, within `ours` if given.
    pub(crate) fn version(&self, api_key: ApiKey, ours: Option<ApiRange>) -> Result<i16, RequestError> {
        let negotiated = match ours {
            Some(ours) => self.shared.ranges.negotiate_within(api_key, ours),
            None => self.shared.ranges.negotiate(api_key),
        };
        negotiated.map_err(|source| RequestError::Version {
            address: Arc::clone(&self.shared.address),
            source,
        })
    }

    /// The finalized level of `transaction.version` as this broker told it when the connection opened.
    pub(crate) fn transaction_version(&self) -> i16 {
        self.shared.ranges.transaction_version()
    }

    /// A correlation id for [`Connection::submit_segments`].
    pub(crate) fn next_correlation_id(&self) -> i32 {
        let id = self.shared.next_correlation_id.fetch_add(1, Ordering::Relaxed);
        id & i32::MAX
    }

    /// Puts an encoded request behind those already queued; the order of calls is the order on
    /// the wire. The future gives the answer; dropping it drops the answer when it comes.
    pub(crate) fn submit<R: Request>(
        &self,
        version: i16,
        request: &R,
        timeout: Duration,
    ) -> Result<impl Future<Output = Result<RawResponse, RequestError>> + Send + use<R>, RequestError> {
        let api_key = api_key_of::<R>();
        let correlation_id = self.next_correlation_id();
        let client_id = Some(&*self.shared.client_id);
        let frame = request::encode_request(version, correlation_id, client_id, request).map_err(|source| {
            RequestError::Encode {
                api_key,
                source: Arc::new(source),
            }
        })?;
        self.submit_segments(api_key, version, correlation_id, vec![frame], timeout, true)
    }

    /// As [`Connection::submit`], with the bytes of a whole frame (size prefix included) whose
    /// header carries `correlation_id`. Without an answer to expect, the future ends with the write.
    pub(crate) fn submit_segments(
        &self,
        api_key: ApiKey,
        version: i16,
        correlation_id: i32,
        segments: Vec<Bytes>,
        timeout: Duration,
        expects_answer: bool,
    ) -> Result<impl Future<Output = Result<RawResponse, RequestError>> + Send + use<>, RequestError> {
        let (sender, receiver) = oneshot::channel();
        let disconnected = move |address: &Arc<str>, reason| RequestError::Disconnected {
            api_key,
            address: Arc::clone(address),
            reason,
        };
        let now = now();
        {
            let mut state = self.shared.state();
            if let Some(reason) = &state.closed {
                return Err(disconnected(&self.shared.address, reason.clone()));
            }
            let mut written = None;
            if expects_answer {
                let begun = state.pipeline.begin(correlation_id, now, timeout, sender);
                begun.map_err(|error| match error {
                    PipelineError::TooManyInFlight => RequestError::TooManyInFlight { api_key },
                    other => disconnected(&self.shared.address, DisconnectReason::Protocol(other)),
                })?;
            } else {
                state.pipeline.touch(now);
                written = Some(sender);
            }
            let deadline = state.pipeline.poll_deadline();
            if deadline < state.scheduled {
                state.scheduled = deadline;
                self.shared.wake_reader.notify_one();
            }
            // The writer outlives `closed`, and a queue that it left is closed right after.
            if let Some(writer) = &state.writer {
                let _ = writer.send(Outgoing { segments, written });
            }
        }
        let address = Arc::clone(&self.shared.address);
        Ok(async move {
            let frame = match receiver.await {
                Ok(Ok(frame)) => frame,
                Ok(Err(DisconnectReason::RequestTimedOut)) => {
                    return Err(RequestError::TimedOut { api_key, timeout });
                }
                Ok(Err(reason)) => return Err(disconnected(&address, reason)),
                Err(_) => return Err(disconnected(&address, DisconnectReason::Closed)),
            };
            if !expects_answer {
                return Ok(RawResponse { version, body: frame });
            }
            let (_, body) = response::decode_response_header(api_key, version, frame)
                .map_err(|source| RequestError::Header { api_key, source })?;
            Ok(RawResponse { version, body })
        })
    }

    /// Closes the connection; whatever is in flight fails.
    pub(crate) fn close(&self) {
        self.shared.close(DisconnectReason::Closed);
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.close();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// The first reason counts; every request in flight fails with it.
    fn close(&self, reason: DisconnectReason) {
        let failed: Vec<Answer> = {
            let mut state = self.state();
            if state.closed.is_some() {
                return;
            }
            state.closed = Some(reason.clone());
            state.writer = None;
            state.pipeline.close().collect()
        };
        self.wake_reader.notify_one();
        for answer in failed {
            let _ = answer.send(Err(reason.clone()));
        }
    }
}

/// An answer that takes longer is not waited for alone, where any broker can answer.
pub(crate) const SILENT_ANSWER: Duration = Duration::from_secs(1);

/// The key of a request type; `kafka-protocol` has them as numbers.
pub(crate) fn api_key_of<R: Request>() -> ApiKey {
    ApiKey::try_from(R::KEY).expect("every request type has a known key")
}

/// Tokio's clock, so that tests can pause it.
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
