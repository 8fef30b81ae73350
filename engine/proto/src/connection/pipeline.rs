//! The requests in flight on one connection.
//!
//! Kafka answers every connection strictly in order, so a response that does not match the
//! oldest request means that the two sides no longer agree on the byte stream: the connection
//! is dead. The same is true of a request that timed out, because its answer would have to
//! come before all others.
//! Never here: sockets, request contents; `T` is whatever the driver needs to finish a request.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// Correlates responses with requests and watches their deadlines and the idle time.
#[derive(Debug)]
pub struct Pipeline<T> {
    in_flight: VecDeque<InFlight<T>>,
    idle_max: Duration,
    last_active: Instant,
}

#[derive(Debug)]
struct InFlight<T> {
    correlation_id: i32,
    sent: Instant,
    deadline: Instant,
    token: T,
}

/// Why the connection must be closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PipelineTimeout {
    /// The oldest answer did not come in time.
    RequestTimedOut,
    /// Nothing was sent or received for `connections.max.idle.ms`.
    Idle,
}

impl<T> Pipeline<T> {
    /// A pipeline of a connection that opened `now`.
    pub fn new(idle_max: Duration, now: Instant) -> Self {
        Self {
            in_flight: VecDeque::new(),
            idle_max,
            last_active: now,
        }
    }

    /// Notes a request that is written next on the connection.
    pub fn begin(
        &mut self,
        correlation_id: i32,
        now: Instant,
        timeout: Duration,
        token: T,
    ) -> Result<(), PipelineError> {
        if self.in_flight.len() >= IN_FLIGHT_MAX {
            return Err(PipelineError::TooManyInFlight);
        }
        self.last_active = now;
        self.in_flight.push_back(InFlight {
            correlation_id,
            sent: now,
            deadline: now + timeout,
            token,
        });
        Ok(())
    }

    /// Notes traffic that expects no answer (acks = 0).
    pub fn touch(&mut self, now: Instant) {
        self.last_active = now;
    }

    /// Takes the response with `correlation_id`: the request's token and its round trip.
    pub fn handle_response(&mut self, correlation_id: i32, now: Instant) -> Result<(T, Duration), PipelineError> {
        let oldest = self
            .in_flight
            .front()
            .ok_or(PipelineError::Unsolicited { correlation_id })?;
        if oldest.correlation_id != correlation_id {
            return Err(PipelineError::OutOfOrder {
                expected: oldest.correlation_id,
                correlation_id,
            });
        }
        self.last_active = now;
        let oldest = self.in_flight.pop_front().expect("front() was there");
        Ok((oldest.token, now.saturating_duration_since(oldest.sent)))
    }

    /// When to call [`Pipeline::handle_timeout`] next.
    pub fn poll_deadline(&self) -> Instant {
        self.in_flight
            .iter()
            .map(|request| request.deadline)
            .min()
            .unwrap_or(self.last_active + self.idle_max)
    }

    /// Whether the connection must be closed, and why.
    pub fn handle_timeout(&self, now: Instant) -> Option<PipelineTimeout> {
        if self.in_flight.iter().any(|request| request.deadline <= now) {
            return Some(PipelineTimeout::RequestTimedOut);
        }
        let idle = self.in_flight.is_empty() && now >= self.last_active + self.idle_max;
        idle.then_some(PipelineTimeout::Idle)
    }

    /// Empties the pipeline of a closed connection: every token fails.
    pub fn close(&mut self) -> impl Iterator<Item = T> {
        std::mem::take(&mut self.in_flight)
            .into_iter()
            .map(|request| request.token)
    }

    /// Since when the oldest request waits for its answer.
    pub fn waiting_since(&self) -> Option<Instant> {
        self.in_flight.front().map(|request| request.sent)
    }

    /// Requests that wait for their answer.
    pub fn len(&self) -> usize {
        self.in_flight.len()
    }

    /// Whether nothing waits for an answer.
    pub fn is_empty(&self) -> bool {
        self.in_flight.is_empty()
    }
}

/// Why a request cannot be sent or a response cannot be matched.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PipelineError {
    /// The bound on requests in flight of one connection is reached.
    #[error("{IN_FLIGHT_MAX} requests are in flight on this connection already")]
    TooManyInFlight,
    /// A response came that nobody asked for.
    #[error("response {correlation_id} came without a request")]
    Unsolicited {
        /// Its correlation id.
        correlation_id: i32,
    },
    /// A response came before its turn.
    #[error("response {correlation_id} came while {expected} was next")]
    OutOfOrder {
        /// The oldest request's correlation id.
        expected: i32,
        /// The response's correlation id.
        correlation_id: i32,
    },
}

/// The bound on requests in flight; each caller has its own, much lower one, so that reaching
/// this is an error and not a wait.
const IN_FLIGHT_MAX: usize = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// The one place in these tests that reads a clock: an arbitrary start.
    #[expect(clippy::disallowed_methods)]
    fn start() -> Instant {
        Instant::now()
    }

    #[test]
    fn responses_come_back_with_their_round_trip_in_order() {
        let now = start();
        let mut pipeline = Pipeline::new(60 * SECOND, now);
        pipeline.begin(1, now, SECOND, "first").unwrap();
        pipeline.begin(2, now, SECOND, "second").unwrap();
        assert_eq!(pipeline.handle_response(1, now + SECOND / 2), Ok(("first", SECOND / 2)));
        assert_eq!(
            pipeline.handle_response(2, now + SECOND / 2),
            Ok(("second", SECOND / 2))
        );
        assert!(pipeline.is_empty());
    }

    #[test]
    fn a_response_out_of_turn_or_unasked_is_an_error() {
        let now = start();
        let mut pipeline = Pipeline::new(60 * SECOND, now);
        assert_eq!(
            pipeline.handle_response(1, now),
            Err(PipelineError::Unsolicited { correlation_id: 1 })
        );
        pipeline.begin(1, now, SECOND, ()).unwrap();
        pipeline.begin(2, now, SECOND, ()).unwrap();
        assert_eq!(
            pipeline.handle_response(2, now),
            Err(PipelineError::OutOfOrder {
                expected: 1,
                correlation_id: 2
            })
        );
    }

    #[test]
    fn the_earliest_deadline_counts_even_behind_a_longer_one() {
        let now = start();
        let mut pipeline = Pipeline::new(600 * SECOND, now);
        pipeline.begin(1, now, 300 * SECOND, "join").unwrap();
        pipeline.begin(2, now, 30 * SECOND, "heartbeat").unwrap();
        assert_eq!(pipeline.poll_deadline(), now + 30 * SECOND);
        assert_eq!(pipeline.handle_timeout(now + 29 * SECOND), None);
        assert_eq!(
            pipeline.handle_timeout(now + 30 * SECOND),
            Some(PipelineTimeout::RequestTimedOut)
        );
        assert_eq!(pipeline.close().collect::<Vec<_>>(), ["join", "heartbeat"]);
    }

    #[test]
    fn an_idle_connection_closes_and_a_waiting_one_does_not() {
        let now = start();
        let mut pipeline = Pipeline::new(10 * SECOND, now);
        pipeline.begin(1, now, 60 * SECOND, ()).unwrap();
        assert_eq!(pipeline.handle_timeout(now + 20 * SECOND), None);
        pipeline.handle_response(1, now + 20 * SECOND).unwrap();
        assert_eq!(pipeline.poll_deadline(), now + 30 * SECOND);
        assert_eq!(pipeline.handle_timeout(now + 29 * SECOND), None);
        assert_eq!(pipeline.handle_timeout(now + 30 * SECOND), Some(PipelineTimeout::Idle));
    }

    #[test]
    fn the_pipeline_is_bounded() {
        let now = start();
        let mut pipeline = Pipeline::new(SECOND, now);
        for id in 0..IN_FLIGHT_MAX as i32 {
            pipeline.begin(id, now, SECOND, ()).unwrap();
        }
        assert_eq!(pipeline.begin(-1, now, SECOND, ()), Err(PipelineError::TooManyInFlight));
    }
}
