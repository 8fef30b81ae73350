//! Length and allowed lateness of a window, and when a watermark closes one.

/// Length and allowed lateness of a window, in nanoseconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WindowSpan {
    /// Its length.
    pub(crate) size_ns: i64,
    /// How long after its end it stays open.
    pub(crate) lateness_ns: i64,
}

impl WindowSpan {
    /// Whether a watermark that went from `before` to `after` passed an end of such a window.
    pub(crate) fn closes_between(self, before: Option<i64>, after: i64) -> bool {
        let window_of = |watermark: i64| watermark.saturating_sub(self.lateness_ns).div_euclid(self.size_ns);
        before.is_none_or(|before| window_of(before) < window_of(after))
    }

    /// The watermark that closes the window with this start.
    pub(crate) fn closed_at(self, start_ns: i64) -> i64 {
        start_ns.saturating_add(self.size_ns).saturating_add(self.lateness_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_closes_when_the_watermark_reaches_its_end_plus_the_lateness() {
        let span = WindowSpan {
            size_ns: 10,
            lateness_ns: 3,
        };
        for (before, after, closes) in [
            (None, -100, true),
            (Some(0), 2, false),
            (Some(0), 3, true),
            (Some(3), 12, false),
            (Some(12), 13, true),
            (Some(-8), -7, true),
            (Some(5), i64::MAX, true),
        ] {
            assert_eq!(span.closes_between(before, after), closes, "{before:?} -> {after}");
        }
        assert_eq!(span.closed_at(0), 13);
        assert_eq!(span.closed_at(i64::MAX), i64::MAX);
    }
}
