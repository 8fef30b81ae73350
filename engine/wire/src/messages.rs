//! Control-plane messages, as `kafka-protocol` generates them from Kafka's own schema.
//!
//! Re-exported so that the crates above depend on one door. Encode and decode them through
//! [`request`](crate::request) and [`response`](crate::response), never directly: the generated
//! decoders reserve memory by counts from the wire. Records never go through `kafka-protocol`.

pub use kafka_protocol::messages::*;
pub use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Message, Request, StrBytes, VersionRange};
