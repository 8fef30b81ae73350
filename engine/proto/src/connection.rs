//! One connection to one broker, without the socket.
//!
//! [`Handshake`] negotiates API versions, [`ApiRanges`] answers which version to use, and
//! [`Pipeline`] correlates responses with requests and decides when the connection is dead
//! or idle. The driver owns the socket and carries out what these three say.
//! Never here: sockets, tokio, what a request means.

mod handshake;
mod pipeline;
mod versions;

pub use handshake::{Handshake, HandshakeError, HandshakeStep};
pub use pipeline::{Pipeline, PipelineError, PipelineTimeout};
pub use versions::{ApiRange, ApiRanges, VersionError, client_range};
