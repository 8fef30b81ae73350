//! How long results took: HDR histograms per window and overall.
//!
//! `engine latency` takes the timestamp of a result's record minus a column of the result (`max_produce_time`); a run takes
//! the time at which a result is in Kafka minus the timestamp of the latest record of its window's span, or minus the event
//! time of its session's last row: what is known of a session is its rows' event times. Clocks of two
//! machines disagree, so a latency may be negative: such values are counted apart and never recorded, because they would
//! pull the percentiles down without meaning anything.
//!
//! Never here: reading topics, formatting.

pub mod histogram;
pub mod summary;
pub mod windows;

pub use histogram::LatencyHistogram;
pub use summary::LatencySummary;
pub use windows::{LatencyReport, WindowLatencies, WindowSummary};
