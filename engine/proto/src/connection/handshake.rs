//! The first exchange on a connection: ApiVersions, with its two fallbacks.
//!
//! A broker that does not know our ApiVersions version answers UNSUPPORTED_VERSION *in
//! version 0*, sometimes listing only ApiVersions itself, and waits for a second attempt
//! (KIP-511). Some services close the socket instead; the driver then redials and starts
//! with version 0.
//! Never here: sockets, timeouts.

use bytes::Bytes;
use engine_wire::{DecodeError, error_code::ErrorCode, messages::ApiKey, response};

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
        // The error code is the first field in every version.
        let code = body
            .first_chunk()
            .map_or(ErrorCode::NONE, |raw| i16::from_be_bytes(*raw).into());
        let answer = response::decode_api_versions(self.version, body).map_err(HandshakeError::Malformed);
        match code {
            ErrorCode::NONE => Ok(HandshakeStep::Done(ApiRanges::from_response(&answer?))),
            ErrorCode::UNSUPPORTED_VERSION if !self.fell_back => {
                self.fell_back = true;
                let ranges = answer
                    .map(|answer| ApiRanges::from_response(&answer))
                    .unwrap_or_default();
                let offered = ranges.negotiate(ApiKey::ApiVersions).ok();
                // Whoever offers nothing that can be read, or what it has just refused, gets the version
                // that every broker has.
                self.version = offered.filter(|offered| *offered < self.version).unwrap_or(0);
                Ok(HandshakeStep::Ask(self.version))
            }
            code => Err(HandshakeError::Refused { code }),
        }
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

#[cfg(test)]
mod tests {
    use engine_wire::{
        messages::{ApiVersionsResponse, api_versions_response::ApiVersion},
        response::{decode_response_header, encode_response},
    };

    use super::*;
    use crate::connection::versions::ApiRange;

    fn listing(ranges: &[(ApiKey, i16, i16)]) -> ApiVersionsResponse {
        let listed = ranges.iter().map(|(api_key, min, max)| {
            ApiVersion::default()
                .with_api_key(*api_key as i16)
                .with_min_version(*min)
                .with_max_version(*max)
        });
        ApiVersionsResponse::default().with_api_keys(listed.collect())
    }

    fn body(version: i16, answer: &ApiVersionsResponse) -> Bytes {
        let frame = encode_response(ApiKey::ApiVersions, version, 1, answer).expect("a known version");
        let (_, body) = decode_response_header(ApiKey::ApiVersions, version, frame.slice(4..)).expect("our own frame");
        body
    }

    /// UNSUPPORTED_VERSION, which every broker answers in version 0.
    fn unsupported(ranges: &[(ApiKey, i16, i16)]) -> Bytes {
        body(
            0,
            &listing(ranges).with_error_code(ErrorCode::UNSUPPORTED_VERSION.code()),
        )
    }

    #[test]
    fn an_answer_in_our_version_ends_it() {
        for mut handshake in [Handshake::new(), Handshake::after_reset()] {
            let answer = body(handshake.version(), &listing(&[(ApiKey::Metadata, 0, 12)]));
            let Ok(HandshakeStep::Done(ranges)) = handshake.handle_response(answer) else {
                panic!("not done")
            };
            let range = ranges.broker_range(ApiKey::Metadata);
            assert_eq!(range, Some(ApiRange { min: 0, max: 12 }));
        }
    }

    /// Pitfall 11: the refusal comes in version 0 and may list ApiVersions alone.
    #[test]
    fn an_unsupported_version_is_followed_by_one_the_broker_has() {
        for (offered, asked) in [
            (&[(ApiKey::ApiVersions, 0, 2)][..], 2), // Only ApiVersions itself.
            (&[(ApiKey::ApiVersions, 0, 0), (ApiKey::Metadata, 0, 5)], 0),
            (&[], 0),                             // Nothing at all.
            (&[(ApiKey::Metadata, 0, 5)], 0),     // All but itself.
            (&[(ApiKey::ApiVersions, 0, 3)], 0),  // What it has just refused.
            (&[(ApiKey::ApiVersions, 7, 9)], 0),  // What we do not have.
            (&[(ApiKey::ApiVersions, 5, -1)], 0), // Nonsense.
        ] {
            let mut handshake = Handshake::new();
            let step = handshake.handle_response(unsupported(offered)).expect("a second try");
            assert_eq!(step, HandshakeStep::Ask(asked), "{offered:?}");
            assert_eq!(handshake.version(), asked);
        }
    }

    #[test]
    fn a_refusal_that_is_not_in_version_0_is_understood_too() {
        for bytes in [&[0, 35][..], &[0, 35, 1, 0, 0, 0, 0, 0]] {
            let step = Handshake::new().handle_response(Bytes::from_static(bytes));
            assert_eq!(step.expect("a second try"), HandshakeStep::Ask(0), "{bytes:02x?}");
        }
    }

    #[test]
    fn there_is_no_third_try() {
        let mut handshake = Handshake::new();
        let step = handshake.handle_response(unsupported(&[])).expect("a second try");
        assert_eq!(step, HandshakeStep::Ask(0));
        let error = handshake.handle_response(unsupported(&[])).expect_err("refused twice");
        assert!(error.to_string().contains("UNSUPPORTED_VERSION"), "{error}");
        assert!(!handshake.may_fall_back(), "nor after a closed socket");
    }

    /// Pitfall 11: some services do not refuse, they hang up.
    #[test]
    fn a_service_that_closes_the_socket_instead_is_asked_in_version_0() {
        assert!(Handshake::new().may_fall_back());
        let handshake = Handshake::after_reset();
        assert_eq!((handshake.version(), handshake.may_fall_back()), (0, false));
    }

    #[test]
    fn bytes_that_are_no_answer_are_an_error() {
        for hostile in [&[][..], &[0], &[0, 0], &[0, 0, 0x7f, 0xff, 0xff, 0xff]] {
            let answered = Handshake::new().handle_response(Bytes::from_static(hostile));
            assert!(answered.is_err(), "{hostile:02x?}: {answered:?}");
        }
    }
}
