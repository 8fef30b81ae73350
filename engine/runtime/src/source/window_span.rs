//! Length, slide and allowed lateness of a window, and when a watermark closes one.

/// Length, slide and allowed lateness of a window, in nanoseconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WindowSpan {
    /// Its length.
    pub(crate) size_ns: i64,
    /// From the start of one to the start of the next: a divisor of the length.
    pub(crate) slide_ns: i64,
    /// How long after its end it stays open.
    pub(crate) lateness_ns: i64,
    /// Whether it lasts as long as its rows come, and length and slide are only its gap.
    pub(crate) is_session: bool,
}

impl WindowSpan {
    /// Whether a watermark that went from `before` to `after` passed an end of such a window.
    pub(crate) fn closes_between(self, before: Option<i64>, after: i64) -> bool {
        if self.is_session {
            return before.is_none_or(|before| before < after);
        }
        // The ends, like the starts, are the multiples of the slide.
        let pane_of = |watermark: i64| watermark.saturating_sub(self.lateness_ns).div_euclid(self.slide_ns);
        before.is_none_or(|before| pane_of(before) < pane_of(after))
    }

    /// The first start whose window is still open at a watermark, if one began there.
    pub(crate) fn open_from(self, watermark: i64) -> i64 {
        let closed_end = watermark.saturating_sub(self.lateness_ns);
        closed_end.saturating_sub(self.size_ns).saturating_add(1)
    }

    /// The starts of the windows that hold the pane `[pane_ns, pane_ns + slide)`, latest first. Where a window would begin
    /// before the range of time, there is none.
    pub(crate) fn windows_of_pane(self, pane_ns: i64) -> impl Iterator<Item = i64> {
        (0..self.size_ns / self.slide_ns).map_while(move |back| pane_ns.checked_sub(back * self.slide_ns))
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
    fn a_session_may_close_whenever_the_watermark_moves() {
        let span = WindowSpan {
            size_ns: 10,
            slide_ns: 10,
            lateness_ns: 3,
            is_session: true,
        };
        for (before, after, closes) in [(None, -100, true), (Some(3), 4, true), (Some(4), 4, false)] {
            assert_eq!(span.closes_between(before, after), closes, "{before:?} -> {after}");
        }
    }

    #[test]
    fn a_window_closes_when_the_watermark_reaches_its_end_plus_the_lateness() {
        let span = WindowSpan {
            size_ns: 10,
            slide_ns: 10,
            lateness_ns: 3,
            is_session: false,
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
        let hopping = WindowSpan { slide_ns: 5, ..span };
        for (before, after, closes) in [(Some(13), 17, false), (Some(17), 18, true), (Some(-13), -12, true)] {
            assert_eq!(hopping.closes_between(before, after), closes, "{before:?} -> {after}");
        }
        assert_eq!(span.closed_at(0), 13);
        assert_eq!(span.closed_at(i64::MAX), i64::MAX);
        assert_eq!((span.open_from(12), span.open_from(13), span.open_from(14)), (0, 1, 2));
        assert_eq!(hopping.windows_of_pane(5).collect::<Vec<_>>(), [5, 0]);
        assert_eq!(hopping.windows_of_pane(i64::MIN).collect::<Vec<_>>(), [i64::MIN]);
    }
}
