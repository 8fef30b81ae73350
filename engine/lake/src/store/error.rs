//! Storage that did not do what was asked.

use std::io;
use std::path::PathBuf;

/// Storage that did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A kind of storage that this build does not know.
    #[error("lake path {location:?}: only local folders are supported so far (a path or file:///…)")]
    Unsupported {
        /// What was asked for.
        location: String,
    },
    /// The object store failed.
    #[error("cannot {operation} {path:?} in lake {location:?}")]
    Object {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: String,
        /// In which table.
        location: String,
        /// Why.
        #[source]
        source: Box<object_store::Error>,
    },
    /// The disk failed.
    #[error("cannot {operation} {path:?}")]
    Disk {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}
