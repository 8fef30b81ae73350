//! Which windows a row belongs to, as it was written.
//!
//! Never here: whether the numbers make sense (see `aligned`).

use std::time::Duration;

/// Which windows a row belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WindowKind {
    /// Windows `[n × size, (n + 1) × size)` of event time since 1970; each row is in one.
    Tumbling {
        /// Length of a window.
        size: Duration,
    },
    /// Windows `[n × slide, n × slide + size)` of event time since 1970; each row is in `size / slide` of them.
    Hopping {
        /// Length of a window.
        size: Duration,
        /// From the start of one window to the start of the next.
        slide: Duration,
    },
    /// Windows that last as long as rows of a group come less than a gap apart, and a gap longer.
    Session {
        /// How long a group must be silent for its window to end.
        gap: Duration,
    },
}

impl WindowKind {
    /// Length of a window; the least length of a session.
    #[must_use]
    pub fn size(self) -> Duration {
        match self {
            WindowKind::Tumbling { size } | WindowKind::Hopping { size, .. } => size,
            WindowKind::Session { gap } => gap,
        }
    }

    /// From the start of one window to the start of the next; at least that for sessions.
    #[must_use]
    pub fn slide(self) -> Duration {
        match self {
            WindowKind::Tumbling { size } => size,
            WindowKind::Hopping { slide, .. } => slide,
            WindowKind::Session { gap } => gap,
        }
    }
}
