//! The open sessions of one group, and where among them a row or a part belongs.
//!
//! Never here: which group that is, and what its slots hold (see `table`, `slots`).

/// A session `[start, end)` in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OpenSession {
    pub(crate) start: i64,
    pub(crate) end: i64,
    /// Where its aggregates are.
    pub(crate) slot: usize,
}

/// The open sessions of a group, in order. They do not overlap. Most groups have one at most.
#[derive(Debug, Clone, Default)]
pub(crate) enum GroupSessions {
    #[default]
    None,
    One(OpenSession),
    Many(Vec<OpenSession>),
}

impl GroupSessions {
    /// These sessions, which are in order.
    pub(crate) fn new(mut sessions: Vec<OpenSession>) -> Self {
        match sessions.len() {
            0 => GroupSessions::None,
            1 => GroupSessions::One(sessions.remove(0)),
            _ => GroupSessions::Many(sessions),
        }
    }

    pub(crate) fn as_slice(&self) -> &[OpenSession] {
        match self {
            GroupSessions::None => &[],
            GroupSessions::One(session) => std::slice::from_ref(session),
            GroupSessions::Many(sessions) => sessions,
        }
    }

    /// Whether a session overlaps this span.
    pub(crate) fn overlap(&self, start: i64, end: i64) -> bool {
        !overlapped(self.as_slice(), start, end).is_empty()
    }

    /// Finds the session that a span belongs to, and stretches it; opens one in `next_slot` where there is none. A span that
    /// bridges several makes one of them: `join(part, whole)` is told their slots. Returns the slot.
    pub(crate) fn place(
        &mut self,
        start: i64,
        end: i64,
        next_slot: usize,
        mut join: impl FnMut(usize, usize),
    ) -> usize {
        let opened = OpenSession {
            start,
            end,
            slot: next_slot,
        };
        let sessions = match self {
            GroupSessions::None => {
                *self = GroupSessions::One(opened);
                return next_slot;
            }
            GroupSessions::One(session) if session.start < end && start < session.end => {
                session.stretch(start, end);
                return session.slot;
            }
            GroupSessions::One(session) => {
                let pair = if session.start < start {
                    vec![*session, opened]
                } else {
                    vec![opened, *session]
                };
                *self = GroupSessions::Many(pair);
                return next_slot;
            }
            GroupSessions::Many(sessions) => sessions,
        };
        let bridged = overlapped(sessions, start, end);
        let first = bridged.start;
        if bridged.is_empty() {
            sessions.insert(first, opened);
            return next_slot;
        }
        let slot = sessions[first].slot;
        sessions[first].stretch(start, end);
        if bridged.len() > 1 {
            for part in sessions.drain(first + 1..bridged.end).collect::<Vec<_>>() {
                join(part.slot, slot);
                sessions[first].stretch(part.start, part.end);
            }
            if let [only] = sessions.as_slice() {
                *self = GroupSessions::One(*only);
            }
        }
        slot
    }

    /// Forgets sessions. Returns how many.
    pub(crate) fn retain(&mut self, is_kept: impl Fn(&OpenSession) -> bool) -> usize {
        let before = self.as_slice().len();
        if !self.as_slice().iter().all(&is_kept) {
            *self = GroupSessions::new(
                self.as_slice()
                    .iter()
                    .filter(|session| is_kept(session))
                    .copied()
                    .collect(),
            );
        }
        before - self.as_slice().len()
    }
}

impl OpenSession {
    fn stretch(&mut self, start: i64, end: i64) {
        self.start = self.start.min(start);
        self.end = self.end.max(end);
    }
}

/// Which of these sessions, in order, overlap a span. Not overlapping each other, they end in the order in which they begin.
fn overlapped(sessions: &[OpenSession], start: i64, end: i64) -> std::ops::Range<usize> {
    let first = sessions.partition_point(|session| session.end <= start);
    let bridged = sessions[first..].partition_point(|session| session.start < end);
    first..first + bridged
}

#[cfg(test)]
mod tests {
    use super::*;

    fn placed(sessions: &mut GroupSessions, start: i64, end: i64, next_slot: usize) -> (usize, Vec<(usize, usize)>) {
        let mut joined = Vec::new();
        let slot = sessions.place(start, end, next_slot, |part, whole| joined.push((part, whole)));
        (slot, joined)
    }

    fn spans(sessions: &GroupSessions) -> Vec<(i64, i64, usize)> {
        let of = |session: &OpenSession| (session.start, session.end, session.slot);
        sessions.as_slice().iter().map(of).collect()
    }

    #[test]
    fn sessions_stay_in_order_and_a_span_joins_all_that_it_overlaps() {
        let mut sessions = GroupSessions::default();
        assert_eq!(placed(&mut sessions, 40, 50, 0), (0, vec![]));
        assert_eq!(placed(&mut sessions, 0, 10, 1), (1, vec![]));
        assert_eq!(placed(&mut sessions, 20, 30, 2), (2, vec![]));
        assert_eq!(placed(&mut sessions, 45, 55, 3), (0, vec![]), "stretched");
        assert_eq!(placed(&mut sessions, 10, 20, 3), (3, vec![]), "only touched");
        assert_eq!(spans(&sessions), [(0, 10, 1), (10, 20, 3), (20, 30, 2), (40, 55, 0)]);
        assert!(sessions.overlap(29, 31) && !sessions.overlap(30, 40));
        assert_eq!(placed(&mut sessions, 15, 25, 4), (3, vec![(2, 3)]));
        assert_eq!(placed(&mut sessions, 5, 41, 4), (1, vec![(3, 1), (0, 1)]));
        assert_eq!(spans(&sessions), [(0, 55, 1)]);
        assert!(matches!(sessions, GroupSessions::One(_)));
    }

    #[test]
    fn forgotten_sessions_are_counted() {
        let mut sessions = GroupSessions::default();
        for (slot, start) in [0, 20, 40].into_iter().enumerate() {
            placed(&mut sessions, start, start + 10, slot);
        }
        assert_eq!(sessions.retain(|session| session.end > 10), 1);
        assert_eq!(sessions.retain(|session| session.end > 10), 0);
        assert_eq!(sessions.retain(|_| false), 2);
        assert!(matches!(sessions, GroupSessions::None));
    }
}
