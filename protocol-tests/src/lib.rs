//! Tests of the wire protocol: golden bytes, properties, hostile bytes, and the embedded broker and
//! the client against each other and against other implementations.
//!
//! The tests are in `tests/`, what several of them need is here; `golden/README.md` says where the golden
//! bytes come from.

pub mod fuzzing;
pub mod golden;
pub mod hostility;
pub mod owned_record;
pub mod tampering_proxy;
