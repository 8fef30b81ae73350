//! The first exchange on a connection: ApiVersions, with its two fallbacks.
//!
//! A broker that does not know our ApiVersions version answers UNSUPPORTED_VERSION *in
//! version 0*, sometimes listing only ApiVersions itself, and waits for a second attempt
//! (KIP-511). Some services close the socket instead; the driver then redials and starts
//! with version 0.
//! Never here: sockets, timeouts.

use bytes::Bytes;
use engine_wire::{
    DecodeError,
    error_code::ErrorCode,
    messages::{ApiKey, ApiVersionsResponse},
    response,
};

use super::versions::ApiRanges;

/// Asks for the broker's API versions until it has them or knows that it never will.
///
/// ```text
/// Asking(newest) ──UNSUPPORTED_VERSION──▶ Asking(older) ──answer──▶ Done
///       │ socket closed: redial with `Handshake::after_reset`
/// ```
#[derive(Debug)]
pub struct Handshake {
    version: i16,
    fell_back: bool,
}

/// What to do after a response.
#[derive(Debug, PartialEq, Eq)]
pub enum HandshakeStep {
    /// Send ApiVersions in this version.
    Ask(i16),
    /// The connection is ready.
    Done(ApiRanges),
}

impl Handshake {
    /// A first attempt, in our newest version.
    pub fn new() -> Self {
        Self {
            version: API_VERSIONS_NEWEST,
            fell_back: false,
        }
    }

    /// An attempt with a broker that closed the socket on our newest version.
    pub fn after_reset() -> Self {
        Self {
            version: 0,
            fell_back: true,
        }
    }

    /// The version of the ApiVersions request to send now.
    pub fn version(&self) -> i16 {
        self.version
    }

    /// Whether a socket that closes now may be redialled with [`Handshake::after_reset`].
    pub fn may_fall_back(&self) -> bool {
        !self.fell_back
    }

    /// Takes the body of the answer (after the response header).
    pub fn handle_response(&mut self, body: Bytes) -> Result<HandshakeStep, HandshakeError> {
        // The error code is the first field in every version; UNSUPPORTED_VERSION comes as v0.
        let Some(code) = body.first_chunk::<2>() else {
            return Err(HandshakeError::Truncated);
        };
        let code = ErrorCode::from(i16::from_be_bytes(*code));
        if code == ErrorCode::UNSUPPORTED_VERSION {
            if self.fell_back {
                return Err(HandshakeError::Refused { code });
            }
            self.fell_back = true;
            self.version = response::decode_body::<ApiVersionsResponse>(0, body)
                .ok()
                .and_then(|answer| ApiRanges::from_response(&answer).negotiate(ApiKey::ApiVersions).ok())
                .unwrap_or(0)
                .min(API_VERSIONS_NEWEST);
            return Ok(HandshakeStep::Ask(self.version));
        }
        if code != ErrorCode::NONE {
            return Err(HandshakeError::Refused { code });
        }
        let answer =
            response::decode_body::<ApiVersionsResponse>(self.version, body).map_err(HandshakeError::Malformed)?;
        Ok(HandshakeStep::Done(ApiRanges::from_response(&answer)))
    }
}

impl Default for Handshake {
    fn default() -> Self {
        Self::new()
    }
}

/// Why a connection never became ready.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// The answer ended before its error code.
    #[error("the ApiVersions answer is truncated")]
    Truncated,
    /// The answer is not an ApiVersions response.
    #[error("the ApiVersions answer is malformed")]
    Malformed(#[source] DecodeError),
    /// The broker refused.
    #[error("the broker refused ApiVersions: {code}")]
    Refused {
        /// The broker's error.
        code: ErrorCode,
    },
}

/// Version 3 is the first flexible one; version 4 differs only in feature ranges.
const API_VERSIONS_NEWEST: i16 = 3;
