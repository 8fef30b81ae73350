//! Kafka's wire protocol: bytes to values and back.
//!
//! - [`frame`]: size-prefixed frames out of a read buffer.
//! - [`request`], [`response`]: headers and bodies; [`messages`] are the control-plane bodies.
//! - [`record_batch`]: our own v2 record batch, the hot path. [`compression`]: its codecs.
//! - [`produce`]: a Produce request as segments for a vectored write.
//! - [`error_code`]: Kafka's error codes with what to do about each.
//!
//! All decoders take hostile bytes: they return errors, never panic, and never reserve memory
//! that the input does not pay for (limits are documented where they are set).
//! This crate knows no sockets, no tasks and no time.

pub mod compression;
pub mod error_code;
pub mod frame;
mod guard;
pub mod messages;
pub mod produce;
pub mod record_batch;
pub mod request;
pub mod response;
pub mod varint;

pub use guard::{ARRAY_ELEMENTS_MAX, DecodeError};
