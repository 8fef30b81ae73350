//! Storage that did not do what was asked.

use std::io;
use std::path::PathBuf;

use super::s3::error::S3Error;
use super::s3::location::S3LocationError;
use super::s3::options::S3OptionsError;
use super::s3::tls::TlsError;

/// Storage that did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A kind of storage that is not known.
    #[error("lake path {location:?} is neither a local folder (a path or file:///…) nor s3://BUCKET/PREFIX")]
    Unsupported {
        /// What was asked for.
        location: String,
    },
    /// An S3 location with a mistake.
    #[error("lake path {location:?} cannot be used")]
    S3Location {
        /// What was asked for.
        location: String,
        /// The mistake.
        #[source]
        source: S3LocationError,
    },
    /// Options with a mistake, or too few.
    #[error("lake path {location:?} cannot be reached")]
    S3Options {
        /// The table.
        location: String,
        /// The mistake.
        #[source]
        source: S3OptionsError,
    },
    /// No encrypted connections from here.
    #[error("lake path {location:?} cannot be reached by https")]
    Tls {
        /// The table.
        location: String,
        /// Why.
        #[source]
        source: TlsError,
    },
    /// The bucket failed.
    #[error("cannot {operation} {path:?} in lake {location:?}")]
    Bucket {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: String,
        /// In which table.
        location: String,
        /// Why.
        #[source]
        source: Box<S3Error>,
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
