//! Windows over event time.

pub(crate) mod error;
pub(crate) mod tumbling;

pub use error::WindowError;
pub use tumbling::{PartialWindows, TumblingWindow, UpdateOutcome, WindowMerger};
