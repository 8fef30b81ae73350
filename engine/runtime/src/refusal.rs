//! What brokers refuse for good, told from what they may grant another time.
//!
//! At the first start of a pipeline it decides whether somebody has to mend the settings, or only to wait.

use std::error::Error;
use std::fmt;

use engine_client::{CommitError, ConsumerError, DeliveryError, OffsetsError, RequestError};
use engine_wire::error_code::{ErrorClass, ErrorCode};

use crate::error_chain::describe;

/// Why brokers did not do something, in words.
#[derive(Debug)]
pub struct Refusal {
    what: String,
    /// Whether they would answer alike another time: no right to it, settings that contradict each other.
    pub(crate) is_final: bool,
}

impl Refusal {
    pub(crate) fn of(error: &(dyn Error + 'static)) -> Self {
        Refusal {
            what: describe(error),
            is_final: is_final(error),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

/// Whether asking again would be answered alike. What is not known from the client may pass.
pub(crate) fn is_final(error: &(dyn Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(is_final) = is_final_itself(error) {
            return is_final;
        }
        cause = error.source();
    }
    false
}

/// `None` if its cause decides.
fn is_final_itself(error: &(dyn Error + 'static)) -> Option<bool> {
    let is_fatal = |code: &ErrorCode| code.class() == ErrorClass::Fatal;
    if let Some(error) = error.downcast_ref::<RequestError>() {
        return Some(!error.is_retriable());
    }
    if error.is::<ConsumerError>() {
        return Some(true);
    }
    if let Some(error) = error.downcast_ref::<OffsetsError>() {
        return match error {
            OffsetsError::Group { code, .. } | OffsetsError::Partition { code, .. } => Some(is_fatal(code)),
            OffsetsError::NoGroup => Some(true),
            _ => None,
        };
    }
    if let Some(error) = error.downcast_ref::<DeliveryError>() {
        return match error {
            DeliveryError::NotWritable { .. } => Some(true),
            DeliveryError::Refused { code, .. } => Some(code.as_ref().is_none_or(is_fatal)),
            _ => None,
        };
    }
    match error.downcast_ref::<CommitError>() {
        Some(CommitError::Partition { code, .. }) => Some(is_fatal(code)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;
    use std::time::Duration;

    use engine_client::{ProducerError, TopicPartition};

    use super::*;

    fn connect() -> RequestError {
        RequestError::Connect {
            address: "broker:9092".into(),
            source: Arc::new(io::Error::from(io::ErrorKind::ConnectionRefused)),
        }
    }

    #[test]
    fn brokers_that_are_away_may_come_and_rights_do_not() {
        let away = RequestError::NoBootstrapServer {
            timeout: Duration::from_secs(10),
            source: Arc::new(connect()),
        };
        assert!(!is_final(&away));
        assert!(!is_final(&ProducerError::Connect {
            servers: "broker:9092".to_owned(),
            source: connect(),
        }));
        let refused = |code| OffsetsError::Group {
            group: "views".to_owned(),
            code,
        };
        assert!(!is_final(&refused(ErrorCode::COORDINATOR_LOAD_IN_PROGRESS)));
        assert!(is_final(&refused(ErrorCode::GROUP_AUTHORIZATION_FAILED)));
        assert!(is_final(&OffsetsError::Request(RequestError::Coordinator {
            group: "views".to_owned(),
            code: ErrorCode::GROUP_AUTHORIZATION_FAILED,
        })));
        assert!(!is_final(&OffsetsError::TimedOut {
            tp: TopicPartition::new("events", 0),
            timeout: Duration::from_secs(60),
            last: ErrorCode::NOT_LEADER_OR_FOLLOWER,
        }));
        assert!(is_final(&RequestError::Config(Arc::new([]))));
    }
}
