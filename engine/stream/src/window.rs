//! Windows over event time.

pub(crate) mod aligned;
pub(crate) mod kind;
pub(crate) mod layers;
pub(crate) mod limits;
pub(crate) mod merge;
pub(crate) mod output_mode;
pub(crate) mod partial;
mod rows;
pub(crate) mod session;
pub(crate) mod table;
pub(crate) mod taken;
#[cfg(test)]
mod tests;

pub use aligned::{AlignedOptions, AlignedWindow, WINDOW_END, WINDOW_START};
pub use kind::WindowKind;
pub use limits::WINDOWS_PER_ROW_MAX;
pub use merge::WindowMerger;
pub use output_mode::OutputMode;
pub use partial::PartialWindows;
pub use session::merge::SessionMerger;
pub use session::partial::PartialSessions;
pub use session::{SessionOptions, SessionWindow};
