//! One request and its answer, as every API sees them: who asks, what goes back, why nothing does.

use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use engine_wire::request::EncodeError;

use crate::produce_request::ProduceRequestError;

/// Who asks, and how.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asker<'a> {
    pub(crate) version: i16,
    pub(crate) client_id: &'a str,
    pub(crate) peer: IpAddr,
}

/// What goes back over the socket.
#[derive(Debug)]
pub(crate) enum Answer {
    /// Nothing is expected: Produce with acks=0.
    Nothing,
    /// One whole frame, size prefix included, in pieces.
    Frame(Vec<Bytes>),
    /// The same; then nothing is read from the connection for a while (KIP-219).
    Throttled { pieces: Vec<Bytes>, mute: Duration },
}

/// Why a connection is closed instead of answered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AnswerError {
    #[error("api {api_key} v{api_version} is not supported")]
    Unsupported { api_key: i16, api_version: i16 },
    #[error("the request cannot be read")]
    Decode(#[from] engine_wire::DecodeError),
    #[error(transparent)]
    DecodeProduce(#[from] ProduceRequestError),
    #[error("the answer cannot be written")]
    Encode(#[from] EncodeError),
    #[error("an injected fault")]
    Fault,
    #[error("a request with acks=0 failed, and closing is the only way to tell")]
    FailedWithoutAcks,
}
