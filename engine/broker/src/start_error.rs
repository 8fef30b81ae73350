//! Why a broker could not start.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Why a broker could not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The listener could not be bound.
    #[error("cannot listen on {address}")]
    Bind {
        /// The address asked for.
        address: SocketAddr,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// The data directory could not be opened or read, or is damaged.
    #[error("cannot use data directory {path}")]
    Data {
        /// The directory.
        path: PathBuf,
        /// What the operating system, or recovery, said.
        #[source]
        source: io::Error,
    },
    /// Another process uses the data directory.
    #[error("data directory {path} is in use by another broker")]
    Locked {
        /// The directory.
        path: PathBuf,
    },
}
