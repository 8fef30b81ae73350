//! Why an administrative operation, or one item of it, failed.

use engine_wire::{error_code::ErrorCode, messages::StrBytes};

use crate::{connection::RequestError, offsets::OffsetsError};

/// The broker refused one item.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {message}", .code.name())]
pub struct Refusal {
    /// Kafka's code.
    pub code: ErrorCode,
    /// The broker's words, or Kafka's explanation of the code.
    pub message: String,
}

impl Refusal {
    pub(super) fn check(error_code: i16, message: Option<StrBytes>) -> Result<(), Refusal> {
        let code = ErrorCode::from(error_code);
        if code.is_ok() {
            return Ok(());
        }
        let message = message.filter(|message| !message.is_empty());
        let message = message.map_or_else(|| code.message().to_owned(), |message| message.to_string());
        Err(Refusal { code, message })
    }

    /// For an item that the answer does not mention.
    pub(super) fn not_answered() -> Refusal {
        Refusal {
            code: ErrorCode::UNKNOWN_SERVER_ERROR,
            message: "the broker's answer does not mention it".into(),
        }
    }
}

/// Why a whole operation failed.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum AdminError {
    /// The broker refused it.
    #[error("{operation}: {refusal}")]
    Refused {
        /// What was asked.
        operation: &'static str,
        /// Why not.
        refusal: Refusal,
    },
    /// The request failed.
    #[error("admin request failed")]
    Request(#[from] RequestError),
    /// Offsets could not be read.
    #[error(transparent)]
    Offsets(#[from] OffsetsError),
}
