//! Why a sink cannot take or keep rows, and whether it may another time.
//!
//! Beside the sinks and not among them: a source's task names it too, for its dead letters go to one.

use engine_client::{AppendError, DeliveryError, SendError};
use engine_wire::error_code::{ErrorClass, ErrorCode};

/// Why a sink cannot take or keep rows. The pipeline stops; the next run starts at the last checkpoint.
#[derive(Debug, Clone, thiserror::Error)]
#[error("sink \"{sink}\": {what}")]
pub struct SinkError {
    /// The sink's name in the pipeline.
    pub sink: String,
    /// What happened.
    pub what: String,
    /// Whether it may go well another time: brokers or a bucket that did not answer, a transaction that was aborted.
    pub(crate) is_transient: bool,
}

impl SinkError {
    pub(crate) fn new(sink: &str, what: impl Into<String>) -> Self {
        SinkError {
            sink: sink.to_owned(),
            what: what.into(),
            is_transient: false,
        }
    }

    /// From a record that the producer did not take.
    pub(crate) fn from_send(sink: &str, error: &SendError) -> Self {
        let is_transient = match error {
            SendError::BufferFull { .. } | SendError::NoMetadata { .. } => true,
            SendError::Record(error) => matches!(error, AppendError::Closed | AppendError::Transaction(_)),
        };
        SinkError {
            is_transient,
            ..SinkError::from_error(sink, error)
        }
    }

    /// From records that the brokers did not take.
    pub(crate) fn from_delivery(sink: &str, error: &DeliveryError) -> Self {
        let is_transient = match error {
            DeliveryError::Expired { .. } | DeliveryError::Aborted { .. } => true,
            DeliveryError::NotWritable { .. } => false,
            DeliveryError::Refused { code, .. } => code.is_some_and(|code| {
                // The coordinator ended the transaction; the next one is another try.
                code == ErrorCode::INVALID_TXN_STATE || code.class() != ErrorClass::Fatal
            }),
        };
        SinkError::from_lasting_refusal(sink, error).unwrap_or_else(|| SinkError {
            is_transient,
            ..SinkError::from_error(sink, error)
        })
    }

    /// From records that the brokers refuse for what they are or where they go, so that they would do it every time; `None`
    /// for every other failure.
    pub(crate) fn from_lasting_refusal(sink: &str, error: &DeliveryError) -> Option<Self> {
        let DeliveryError::Refused { code: Some(code), .. } = error else {
            return None;
        };
        let advice = match *code {
            ErrorCode::MESSAGE_TOO_LARGE | ErrorCode::RECORD_LIST_TOO_LARGE => {
                "; a larger `max.message.bytes` of the topic lets it through"
            }
            ErrorCode::TOPIC_AUTHORIZATION_FAILED => "; let this user write to the topic",
            ErrorCode::INVALID_RECORD
            | ErrorCode::INVALID_TIMESTAMP
            | ErrorCode::INVALID_TOPIC_EXCEPTION
            | ErrorCode::POLICY_VIOLATION => "",
            _ => return None,
        };
        Some(SinkError::new(
            sink,
            format!("{}{advice}", crate::error_chain::describe(error)),
        ))
    }

    /// From a table that could not be opened, written or published.
    pub(crate) fn from_lake(sink: &str, error: &(dyn std::error::Error + 'static)) -> Self {
        let mut refused = SinkError::from_error(sink, error);
        if let Some(advice) = engine_lake::advice(error) {
            refused.what += "; ";
            refused.what += advice;
        }
        refused.is_transient = engine_lake::is_transient(error);
        refused
    }

    /// From an error and all of its causes.
    pub(crate) fn from_error(sink: &str, error: &dyn std::error::Error) -> Self {
        SinkError {
            sink: sink.to_owned(),
            what: crate::error_chain::describe(error),
            is_transient: false,
        }
    }
}
