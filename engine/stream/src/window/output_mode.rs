//! When a window gives its rows.

/// When a window gives its rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OutputMode {
    /// Each row once, when its window closes.
    #[default]
    Append,
    /// Early, too: the rows of the groups that changed since the last snapshot, and each row a last time when its window
    /// closes. A later row stands for all earlier ones of the same window and group.
    Update,
}
