//! Requests: a size, a header, a body.
//!
//! Both directions: a client encodes, the embedded broker decodes.
//! Never here: which version to use, correlation of answers, Produce's records (see
//! [`produce`](crate::produce)).

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::ApiKey;
use kafka_protocol::protocol::{Decodable, HeaderVersion, Request};

use crate::guard::{DecodeError, decode_request_guarded};
use crate::varint;

/// A message that cannot be written in the version asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// The message has no such version.
    #[error("api {api_key} has no version {api_version}: only {min} to {max}")]
    Version {
        /// Kafka's number of the API.
        api_key: i16,
        /// What was asked for.
        api_version: i16,
        /// The oldest.
        min: i16,
        /// The newest.
        max: i16,
    },
    /// A field is set that the version cannot carry, or too long for its length.
    #[error("api {api_key} v{api_version}: {reason}")]
    Field {
        /// Kafka's number of the API.
        api_key: i16,
        /// The version.
        api_version: i16,
        /// What the generated encoder says.
        reason: String,
    },
    /// Sizes are 31-bit.
    #[error("api {api_key}: {size} bytes do not fit into a frame")]
    TooLarge {
        /// Kafka's number of the API.
        api_key: i16,
        /// What it would take.
        size: usize,
    },
}

/// The header of a request. Tagged fields, of which Kafka defines none, are skipped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestHeader {
    /// Kafka's number of the API; see [`RequestHeader::api`].
    pub api_key: i16,
    /// The version of header and body.
    pub api_version: i16,
    /// Repeated in the answer.
    pub correlation_id: i32,
    /// For the broker's logs and quotas; null is allowed. Bytes that are not UTF-8 are replaced.
    pub client_id: Option<String>,
}

/// Why the front of a frame is not a request header.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestHeaderError {
    /// An API that the schema does not know, so its header's form is unknown too.
    #[error("unknown api key {api_key} v{api_version}, correlation id {correlation_id}")]
    UnknownApi {
        /// The number.
        api_key: i16,
        /// Its version.
        api_version: i16,
        /// For an answer, if one is possible.
        correlation_id: i32,
    },
    /// Fewer bytes than a header.
    #[error("request header is truncated or malformed at {field} ({frame_bytes} bytes)")]
    Malformed {
        /// Kafka's name of the field.
        field: &'static str,
        /// Size of the frame.
        frame_bytes: usize,
    },
}

impl RequestHeader {
    /// The API by name, if the schema knows it.
    #[must_use]
    pub fn api(&self) -> Option<ApiKey> {
        ApiKey::try_from(self.api_key).ok()
    }
}

/// One whole request, size prefix included, ready for the socket.
///
/// # Errors
/// [`EncodeError`] if `body` cannot be written in `api_version`.
pub fn encode_request<R: Request>(
    api_version: i16,
    correlation_id: i32,
    client_id: Option<&str>,
    body: &R,
) -> Result<Bytes, EncodeError> {
    let api_key = R::KEY;
    let range = R::VERSIONS;
    if !(range.min..=range.max).contains(&api_version) {
        let (min, max) = (range.min, range.max);
        return Err(EncodeError::Version {
            api_key,
            api_version,
            min,
            max,
        });
    }
    let field_error = |error: &dyn std::fmt::Display| EncodeError::Field {
        api_key,
        api_version,
        reason: error.to_string(),
    };
    let body_bytes = body.compute_size(api_version).map_err(|error| field_error(&error))?;
    let header_bytes = 4 + 8 + 2 + client_id.map_or(0, str::len) + 1;
    let mut output = BytesMut::with_capacity(header_bytes + body_bytes);
    output.put_i32(0);
    let header_version = R::header_version(api_version);
    put_header(
        &mut output,
        api_key,
        api_version,
        header_version,
        correlation_id,
        client_id,
    )?;
    body.encode(&mut output, api_version)
        .map_err(|error| field_error(&error))?;
    finish_frame(output, api_key)
}

/// Writes a request header. `header_version` 2 has tagged fields, 1 has none.
pub(crate) fn put_header(
    output: &mut BytesMut,
    api_key: i16,
    api_version: i16,
    header_version: i16,
    correlation_id: i32,
    client_id: Option<&str>,
) -> Result<(), EncodeError> {
    output.put_i16(api_key);
    output.put_i16(api_version);
    output.put_i32(correlation_id);
    match client_id {
        None => output.put_i16(-1),
        Some(client_id) => {
            let length = i16::try_from(client_id.len()).map_err(|_| EncodeError::Field {
                api_key,
                api_version,
                reason: format!("a client id of {} bytes is too long", client_id.len()),
            })?;
            output.put_i16(length);
            output.put_slice(client_id.as_bytes());
        }
    }
    if header_version >= 2 {
        output.put_u8(0);
    }
    Ok(())
}

/// Writes the size into the first four bytes.
pub(crate) fn finish_frame(mut output: BytesMut, api_key: i16) -> Result<Bytes, EncodeError> {
    let size = output.len() - 4;
    let prefix = i32::try_from(size).map_err(|_| EncodeError::TooLarge { api_key, size })?;
    output[..4].copy_from_slice(&prefix.to_be_bytes());
    Ok(output.freeze())
}

/// Splits a frame into its request header and its body.
///
/// An ApiVersions request of a version we do not know is read with the header it would have, so
/// that the broker can answer UNSUPPORTED_VERSION.
///
/// # Errors
/// [`RequestHeaderError`] for an unknown API or a truncated header.
pub fn decode_request(frame: Bytes) -> Result<(RequestHeader, Bytes), RequestHeaderError> {
    let frame_bytes = frame.len();
    let malformed = |field| RequestHeaderError::Malformed { field, frame_bytes };
    let mut rest: &[u8] = &frame;
    let fixed = take(&mut rest, 8).ok_or(malformed("correlation_id"))?;
    let api_key = i16::from_be_bytes([fixed[0], fixed[1]]);
    let api_version = i16::from_be_bytes([fixed[2], fixed[3]]);
    let correlation_id = i32::from_be_bytes([fixed[4], fixed[5], fixed[6], fixed[7]]);
    let unknown = RequestHeaderError::UnknownApi {
        api_key,
        api_version,
        correlation_id,
    };
    let api = ApiKey::try_from(api_key).map_err(|_| unknown)?;
    let length = take(&mut rest, 2).ok_or(malformed("client_id"))?;
    let client_id = match i16::from_be_bytes([length[0], length[1]]) {
        -1 => None,
        length => {
            let length = usize::try_from(length).map_err(|_| malformed("client_id"))?;
            let raw = take(&mut rest, length).ok_or(malformed("client_id"))?;
            Some(String::from_utf8_lossy(raw).into_owned())
        }
    };
    if api.request_header_version(api_version) >= 2 {
        skip_tagged_fields(&mut rest).ok_or(malformed("tagged fields"))?;
    }
    let body = frame.slice(frame_bytes - rest.len()..);
    Ok((
        RequestHeader {
            api_key,
            api_version,
            correlation_id,
            client_id,
        },
        body,
    ))
}

/// Decodes a request's body, guarded against hostile counts.
///
/// # Errors
/// [`DecodeError`].
pub fn decode_request_body<R: Decodable + HeaderVersion>(api_version: i16, body: Bytes) -> Result<R, DecodeError> {
    decode_request_guarded(api_version, body)
}

/// Steps over tagged fields; `None` if they are truncated.
pub(crate) fn skip_tagged_fields(rest: &mut &[u8]) -> Option<()> {
    for _ in 0..varint::take_u32(rest)? {
        let _tag = varint::take_u32(rest)?;
        let size = varint::take_u32(rest)?;
        take(rest, size as usize)?;
    }
    Some(())
}

fn take<'a>(rest: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (taken, after) = rest.split_at_checked(count)?;
    *rest = after;
    Some(taken)
}
