//! Tests of the wire protocol: golden bytes, properties, hostile bytes, and the embedded broker and
//! the client against each other and against other implementations.
//!
//! All of it is in `tests/`; `golden/README.md` says where the golden bytes come from.
