//! JSON records in and out, straight between bytes and Arrow columns.

pub(crate) mod column;
pub(crate) mod decoder;
pub(crate) mod encoder;
pub(crate) mod error;
mod escape;
mod nested;
pub(crate) mod number;
mod quotes;
pub(crate) mod scanner;
mod shape;

pub use decoder::JsonDecoder;
pub use encoder::{EncoderError, JsonEncoder, JsonRows, TimestampFormat};
pub use error::{RowError, RowErrorKind};
