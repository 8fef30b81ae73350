//! A request that did not succeed, and whether it may another time.

use std::io;
use std::time::Duration;

/// A request that did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum S3Error {
    /// Nobody answered.
    #[error("no answer to {method} {url}: gave up after {attempts} attempts in {:.1} s", .waited.as_secs_f64())]
    NoAnswer {
        /// What was asked.
        method: &'static str,
        /// Of whom.
        url: String,
        /// How often.
        attempts: u32,
        /// For how long.
        waited: Duration,
        /// What the last attempt ended in.
        #[source]
        source: Box<ureq::Error>,
    },
    /// The store said no.
    #[error("{method} {url}: {status} {code}: {message} (after {attempts} attempts in {:.1} s)", .waited.as_secs_f64())]
    Refused {
        /// What was asked.
        method: &'static str,
        /// Of whom.
        url: String,
        /// HTTP's.
        status: u16,
        /// S3's, such as `NoSuchBucket`.
        code: String,
        /// S3's.
        message: String,
        /// How often.
        attempts: u32,
        /// For how long.
        waited: Duration,
    },
    /// The store said something else than S3 does.
    #[error("{method} {url}: the answer is not one of S3: {what}")]
    Answer {
        /// What was asked.
        method: &'static str,
        /// Of whom.
        url: String,
        /// What is wrong with it.
        what: String,
    },
}

impl S3Error {
    /// Whether the same request may go well another time: nobody answered, or a store that is overloaded, restarting or
    /// repairing itself said so. Refused rights, wrong keys and missing buckets stay as they are until a person comes.
    pub fn is_transient(&self) -> bool {
        match self {
            S3Error::NoAnswer { source, .. } => may_answer_later(source),
            S3Error::Refused { status, code, .. } => may_pass(*status, Some(code)),
            S3Error::Answer { .. } => false,
        }
    }
}

/// Whether an answer is one of the moment. `code` is S3's, if the answer has one.
pub(super) fn may_pass(status: u16, code: Option<&str>) -> bool {
    match status {
        // A copy or a completion that takes long is answered before it has failed.
        200 => code.is_some(),
        // The server waited too long for the body, which is no mistake in it.
        400 => code == Some("RequestTimeout"),
        // 409: another conditional request for the key is under way.
        408 | 409 | 429 | 500 | 502..=599 => true,
        _ => false,
    }
}

/// Whether a server that was not understood, or not reached, may be another time. A certificate that nobody here trusts
/// stays so, and shows itself as invalid data from the socket.
pub(super) fn may_answer_later(error: &ureq::Error) -> bool {
    match error {
        ureq::Error::Io(error) => error.kind() != io::ErrorKind::InvalidData,
        ureq::Error::BadUri(_) | ureq::Error::Http(_) | ureq::Error::Tls(_) | ureq::Error::Rustls(_) => false,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_go_well_another_time_is_told_from_what_a_person_has_to_mend() {
        for (status, code, is_transient) in [
            (503, "SlowDown", true),
            (429, "Too Many Requests", true),
            (500, "InternalError", true),
            (502, "Bad Gateway", true),
            (200, "InternalError", true),
            (409, "OperationAborted", true),
            (400, "RequestTimeout", true),
            (400, "InvalidRequest", false),
            (400, "ExpiredToken", false),
            (401, "Unauthorized", false),
            (403, "AccessDenied", false),
            (403, "SignatureDoesNotMatch", false),
            (404, "NoSuchBucket", false),
            (501, "NotImplemented", false),
        ] {
            let error = S3Error::Refused {
                method: "PUT",
                url: "http://h/b/k".into(),
                status,
                code: code.into(),
                message: String::new(),
                attempts: 1,
                waited: Duration::ZERO,
            };
            assert_eq!(error.is_transient(), is_transient, "{error}");
        }
        for (source, is_transient) in [
            (io::ErrorKind::ConnectionRefused, true),
            (io::ErrorKind::UnexpectedEof, true),
            (io::ErrorKind::InvalidData, false),
        ] {
            let error = S3Error::NoAnswer {
                method: "PUT",
                url: "https://h/b/k".into(),
                attempts: 1,
                waited: Duration::ZERO,
                source: Box::new(ureq::Error::Io(source.into())),
            };
            assert_eq!(error.is_transient(), is_transient, "{error:?}");
        }
    }
}
