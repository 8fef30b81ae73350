//! Names and exports what the machines count: `engine_<component>_<what>_<unit>[_total]`.
//!
//! A scrape takes a [`Snapshot`], plain data, and encodes it; nothing is kept between scrapes, so a series
//! of a partition that moved away ends with it.
//! Never here: HTTP (see `server`), who counts.

pub mod exposition;
pub mod process;
pub(crate) mod request_totals;
pub mod snapshot;

pub use exposition::{CONTENT_TYPE, render};
pub use process::ProcessMetrics;
pub use snapshot::{
    CheckpointMetrics, RequestMetrics, SinkMetrics, Snapshot, SourceMetrics, StateMetrics, StoredStateMetrics,
};
