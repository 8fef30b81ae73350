//! Why a request got no usable answer.
//!
//! Error codes inside an answer are not here: they mean something only to the operation.

use std::{fmt, io, sync::Arc, time::Duration};

use engine_proto::connection::{HandshakeError, PipelineError, VersionError};
use engine_wire::{
    DecodeError, error_code::ErrorCode, frame::FrameError, messages::ApiKey, request::EncodeError,
    response::ResponseHeaderError,
};

use crate::config::PropertyError;

/// Why a request failed before or instead of an answer. Cheap to clone: one failed connection
/// fails many requests.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RequestError {
    /// The broker cannot be reached.
    #[error("cannot connect to {address}")]
    Connect {
        /// `host:port`.
        address: Arc<str>,
        /// What the operating system said.
        #[source]
        source: Arc<io::Error>,
    },
    /// None of the bootstrap servers answered in time.
    #[error("no bootstrap server answered within {} s", timeout.as_secs_f64())]
    NoBootstrapServer {
        /// How long they were tried: `socket.connection.setup.timeout.ms`.
        timeout: Duration,
        /// What happened to the last attempt.
        #[source]
        source: Arc<RequestError>,
    },
    /// The peer does not answer as a Kafka broker would.
    #[error("{address} is reachable but its greeting failed")]
    Handshake {
        /// `host:port`.
        address: Arc<str>,
        /// What went wrong.
        #[source]
        source: Arc<HandshakeError>,
    },
    /// The broker is too old or too new for this request.
    #[error("{address}: request not possible")]
    Version {
        /// `host:port`.
        address: Arc<str>,
        /// Both sides' versions.
        #[source]
        source: VersionError,
    },
    /// The request cannot be written in the negotiated version.
    #[error("{api_key:?} request cannot be encoded")]
    Encode {
        /// The request.
        api_key: ApiKey,
        /// Which part.
        #[source]
        source: Arc<EncodeError>,
    },
    /// The answer cannot be read.
    #[error("{api_key:?} answer cannot be decoded")]
    Decode {
        /// The request.
        api_key: ApiKey,
        /// Which part.
        #[source]
        source: Arc<DecodeError>,
    },
    /// The answer ends within its header.
    #[error("{api_key:?} answer cannot be decoded")]
    Header {
        /// The request.
        api_key: ApiKey,
        /// How short it is.
        #[source]
        source: ResponseHeaderError,
    },
    /// The connection closed before the answer; the broker may have done the work or not.
    #[error("{api_key:?} to {address}: {reason}")]
    Disconnected {
        /// The request.
        api_key: ApiKey,
        /// `host:port`.
        address: Arc<str>,
        /// What closed it.
        reason: DisconnectReason,
    },
    /// No answer in time; the broker may have done the work or not.
    #[error("{api_key:?}: no answer within {} ms", .timeout.as_millis())]
    TimedOut {
        /// The request.
        api_key: ApiKey,
        /// How long it waited.
        timeout: Duration,
    },
    /// Nothing is known about this node, or about any node.
    #[error("{api_key:?}: {target} is not known")]
    UnknownNode {
        /// The request.
        api_key: ApiKey,
        /// Whom it was for.
        target: String,
    },
    /// The broker gives no metadata.
    #[error("no metadata: {} ({})", .code.name(), .code.message())]
    Metadata {
        /// The broker's error.
        code: ErrorCode,
    },
    /// The group's coordinator cannot be found.
    #[error("no coordinator for group {group}: {code}")]
    Coordinator {
        /// The group.
        group: String,
        /// The broker's error.
        code: ErrorCode,
    },
    /// The coordinator of a transactional id cannot be found.
    #[error("no coordinator for transactional id {transactional_id}: {code}")]
    TransactionCoordinator {
        /// The transactional id.
        transactional_id: String,
        /// The broker's error.
        code: ErrorCode,
    },
    /// The bound on requests in flight of one connection.
    #[error("{api_key:?}: too many requests are in flight on the connection")]
    TooManyInFlight {
        /// The request.
        api_key: ApiKey,
    },
    /// The settings are incomplete or contradict each other.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Config(Arc<[PropertyError]>),
    /// The client is closed.
    #[error("the client is closed")]
    Closed,
}

impl RequestError {
    /// Whether the same request may succeed later, here or at another broker.
    pub fn is_retriable(&self) -> bool {
        match self {
            RequestError::Connect { .. }
            | RequestError::NoBootstrapServer { .. }
            | RequestError::Disconnected { .. }
            | RequestError::TimedOut { .. }
            | RequestError::UnknownNode { .. }
            | RequestError::TooManyInFlight { .. } => true,
            RequestError::Handshake { source, .. } => !matches!(**source, HandshakeError::Refused { .. }),
            RequestError::Metadata { code }
            | RequestError::Coordinator { code, .. }
            | RequestError::TransactionCoordinator { code, .. } => code.is_retriable(),
            RequestError::Version { .. }
            | RequestError::Encode { .. }
            | RequestError::Decode { .. }
            | RequestError::Header { .. }
            | RequestError::Config(_)
            | RequestError::Closed => false,
        }
    }
}

impl RequestError {
    /// Whether the request reached no broker, so that repeating it cannot do its work twice.
    pub(crate) fn is_unsent(&self) -> bool {
        match self {
            RequestError::Connect { .. }
            | RequestError::NoBootstrapServer { .. }
            | RequestError::UnknownNode { .. }
            | RequestError::TooManyInFlight { .. } => true,
            RequestError::Coordinator { code, .. } | RequestError::TransactionCoordinator { code, .. } => {
                code.is_retriable()
            }
            _ => false,
        }
    }
}

/// An error with its causes on one line.
pub(crate) fn describe(error: &RequestError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// What closed a connection.
#[derive(Debug, Clone)]
pub enum DisconnectReason {
    /// The broker closed it.
    ByBroker,
    /// The socket failed.
    Socket(Arc<io::Error>),
    /// The broker sent what is no Kafka frame, or one beyond the limit.
    Frame(Arc<FrameError>),
    /// The broker answered what was not asked.
    Protocol(PipelineError),
    /// A request on it got no answer in time.
    RequestTimedOut,
    /// It was not used for `connections.max.idle.ms`.
    Idle,
    /// This side closed it.
    Closed,
}

impl fmt::Display for DisconnectReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DisconnectReason::ByBroker => f.write_str("the broker closed the connection"),
            DisconnectReason::Socket(error) => write!(f, "the connection failed: {error}"),
            DisconnectReason::Frame(error) => write!(f, "the broker sent a bad frame: {error}"),
            DisconnectReason::Protocol(error) => write!(f, "the broker broke the protocol: {error}"),
            DisconnectReason::RequestTimedOut => f.write_str("a request on the connection timed out"),
            DisconnectReason::Idle => f.write_str("the connection was idle"),
            DisconnectReason::Closed => f.write_str("the connection was closed by this client"),
        }
    }
}
