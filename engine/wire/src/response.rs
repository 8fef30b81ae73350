//! Responses: a size, a header, a body.
//!
//! Both directions: a client decodes, the embedded broker encodes.
//! Never here: which request an answer belongs to.

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::{ApiKey, ApiVersionsResponse};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Message};

use crate::error_code::ErrorCode;
use crate::guard::{DecodeError, decode_response_guarded};
use crate::request::{EncodeError, finish_frame, skip_tagged_fields};

/// The front of a frame is not a response header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("response header is truncated or malformed ({frame_bytes} bytes)")]
pub struct ResponseHeaderError {
    /// Size of the frame.
    pub frame_bytes: usize,
}

/// The correlation id at the front of every response, whatever its header version.
#[must_use]
pub fn peek_correlation_id(frame: &[u8]) -> Option<i32> {
    frame.first_chunk().map(|raw| i32::from_be_bytes(*raw))
}

/// Splits a frame into correlation id and body.
///
/// The answer to ApiVersions has header version 0 always, also for flexible versions, because a
/// broker must be able to answer a client whose version it does not know (KIP-511).
///
/// # Errors
/// [`ResponseHeaderError`] if the header is truncated.
pub fn decode_response_header(
    api_key: ApiKey,
    api_version: i16,
    frame: Bytes,
) -> Result<(i32, Bytes), ResponseHeaderError> {
    let error = ResponseHeaderError {
        frame_bytes: frame.len(),
    };
    let correlation_id = peek_correlation_id(&frame).ok_or(error)?;
    let mut rest = &frame[4..];
    if api_key.response_header_version(api_version) >= 1 {
        skip_tagged_fields(&mut rest).ok_or(error)?;
    }
    let body = frame.slice(frame.len() - rest.len()..);
    Ok((correlation_id, body))
}

/// Decodes a response's body, guarded against hostile counts; byte fields (a Fetch response's
/// `records`) are slices of `body`.
///
/// # Errors
/// [`DecodeError`].
pub fn decode_body<T: Decodable + HeaderVersion>(api_version: i16, body: Bytes) -> Result<T, DecodeError> {
    decode_response_guarded(api_version, body)
}

/// Decodes the answer to an ApiVersions request of `api_version`.
///
/// A broker that does not know that version answers UNSUPPORTED_VERSION **in version 0**, with
/// the versions it does know (or only those of ApiVersions itself, or none): ask again with one of them.
///
/// # Errors
/// [`DecodeError`].
pub fn decode_api_versions(api_version: i16, body: Bytes) -> Result<ApiVersionsResponse, DecodeError> {
    let code = body.first_chunk().map(|raw| ErrorCode::from(i16::from_be_bytes(*raw)));
    let version = if code == Some(ErrorCode::UNSUPPORTED_VERSION) {
        0
    } else {
        api_version
    };
    decode_response_guarded(version, body)
}

/// One whole response, size prefix included.
///
/// # Errors
/// [`EncodeError`] if `body` cannot be written in `api_version`.
pub fn encode_response<T: Encodable + HeaderVersion + Message>(
    api_key: ApiKey,
    api_version: i16,
    correlation_id: i32,
    body: &T,
) -> Result<Bytes, EncodeError> {
    let key = api_key as i16;
    let range = T::VERSIONS;
    if !(range.min..=range.max).contains(&api_version) {
        let (min, max) = (range.min, range.max);
        return Err(EncodeError::Version {
            api_key: key,
            api_version,
            min,
            max,
        });
    }
    let field_error = |error: &dyn std::fmt::Display| EncodeError::Field {
        api_key: key,
        api_version,
        reason: error.to_string(),
    };
    let body_bytes = body.compute_size(api_version).map_err(|error| field_error(&error))?;
    let mut output = BytesMut::with_capacity(9 + body_bytes);
    output.put_i32(0);
    output.put_i32(correlation_id);
    if T::header_version(api_version) >= 1 {
        output.put_u8(0);
    }
    body.encode(&mut output, api_version)
        .map_err(|error| field_error(&error))?;
    finish_frame(output, key)
}
