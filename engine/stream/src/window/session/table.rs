//! Open sessions: which group has which, and in which slots their aggregates are.
//!
//! Never here: which rows are late, which sessions are closed (see `partial`).

use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, TimestampNanosecondArray};

use super::SessionWindow;
use super::group_sessions::{GroupSessions, OpenSession};
use super::slots::Slots;
use crate::schema::utc;
use crate::stateful::error::OperatorError;
use crate::stateful::group_index::{GroupIndex, KeyColumns};

/// What becomes of a session when the accumulators are emptied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Stays,
    StaysAndIsTold,
    Leaves,
}

/// The open sessions of one source partition.
pub(crate) struct SessionTable {
    index: GroupIndex,
    /// Of each group.
    sessions: Vec<GroupSessions>,
    /// The groups that changed since the last snapshot.
    is_changed: Vec<bool>,
    open: usize,
    slots: Slots,
    /// No session ends before this.
    first_end: i64,
    numbers: Vec<usize>,
}

impl fmt::Debug for SessionTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionTable")
            .field("sessions", &self.open)
            .field("slots", &self.slots.len())
            .finish()
    }
}

impl SessionTable {
    /// No sessions.
    pub(crate) fn new(window: &SessionWindow) -> Self {
        SessionTable {
            index: GroupIndex::new(&window.keys),
            sessions: Vec::new(),
            is_changed: Vec::new(),
            open: 0,
            slots: Slots::default(),
            first_end: i64::MAX,
            numbers: Vec::new(),
        }
    }

    /// Open sessions.
    pub(crate) fn len(&self) -> usize {
        self.open
    }

    /// Bytes held, roughly.
    pub(crate) fn size_bytes(&self) -> usize {
        let lists = self.sessions.iter().map(|sessions| match sessions {
            GroupSessions::Many(sessions) => sessions.capacity() * size_of::<OpenSession>(),
            _ => 0,
        });
        self.index.size_bytes()
            + self.sessions.capacity() * size_of::<GroupSessions>()
            + lists.sum::<usize>()
            + self.is_changed.capacity()
            + self.slots.size_bytes()
    }

    /// Aggregates rows: their positions in the micro-batch and the session that each would open.
    pub(crate) fn update(
        &mut self,
        window: &SessionWindow,
        batch: &RecordBatch,
        rows: &[u32],
        spans: &[(i64, i64)],
    ) -> Result<(), OperatorError> {
        if rows.is_empty() {
            return Ok(());
        }
        let keys = window.keys.prepare(&window.key_columns(batch));
        let slots = self.place(window, &keys, rows, spans)?;
        self.slots.update(window, batch, rows, &slots)?;
        self.numbers = slots;
        Ok(())
    }

    /// Adds partial states.
    pub(crate) fn merge(&mut self, window: &SessionWindow, state: &RecordBatch) -> Result<(), OperatorError> {
        if state.num_rows() == 0 {
            return Ok(());
        }
        let keys = window.keys.prepare(window.state_keys(state));
        let rows: Vec<u32> = (0..state.num_rows() as u32).collect();
        let spans: Vec<(i64, i64)> = super::spans(state).collect();
        let slots = self.place(window, &keys, &rows, &spans)?;
        self.slots.merge(window, state, &slots)?;
        self.numbers = slots;
        Ok(())
    }

    /// Finds or opens the session of each row; gives their slots.
    fn place(
        &mut self,
        window: &SessionWindow,
        keys: &KeyColumns,
        rows: &[u32],
        spans: &[(i64, i64)],
    ) -> Result<Vec<usize>, OperatorError> {
        let mut numbers = std::mem::take(&mut self.numbers);
        numbers.clear();
        self.index.assign(keys, rows, &mut numbers);
        self.sessions.resize_with(self.index.len(), GroupSessions::default);
        self.is_changed.resize(self.index.len(), false);
        for (number, (start, end)) in numbers.iter_mut().zip(spans) {
            *number = self.slot(*number, *start, *end);
        }
        if self.open > window.groups_max {
            return Err(OperatorError::TooManyGroups {
                groups_max: window.groups_max,
            });
        }
        Ok(numbers)
    }

    fn slot(&mut self, group: usize, start: i64, end: i64) -> usize {
        self.is_changed[group] = true;
        let next = self.slots.len();
        let (slots, open) = (&mut self.slots, &mut self.open);
        let slot = self.sessions[group].place(start, end, next, |part, whole| {
            slots.join(part, whole);
            *open -= 1;
        });
        if slot == next {
            self.slots.add();
            self.open += 1;
            self.first_end = self.first_end.min(end);
        }
        slot
    }

    /// Whether a span of a group overlaps an open session, for each row.
    pub(crate) fn overlapped(&self, keys: &KeyColumns, spans: impl Iterator<Item = (i64, i64)>) -> Vec<bool> {
        let overlaps = |(row, (start, end)): (usize, (i64, i64))| {
            let Some(group) = self.index.find(keys, row) else {
                return false;
            };
            self.sessions[group].overlap(start, end)
        };
        spans.enumerate().map(overlaps).collect()
    }

    /// Forgets the sessions of the groups in a state; others come in their place.
    pub(crate) fn forget_groups_of(&mut self, window: &SessionWindow, state: &RecordBatch) {
        let keys = window.keys.prepare(window.state_keys(state));
        for group in (0..state.num_rows()).filter_map(|row| self.index.find(&keys, row)) {
            self.open -= self.sessions[group].as_slice().len();
            self.sessions[group] = GroupSessions::None;
        }
    }

    /// What is here is what was told already.
    pub(crate) fn forget_changes(&mut self) {
        self.is_changed.fill(false);
    }

    /// Forgets the sessions that end at or before this.
    pub(crate) fn forget_until(&mut self, end: i64) {
        for sessions in &mut self.sessions {
            self.open -= sessions.retain(|session| session.end > end);
        }
    }

    /// Takes the sessions that end at or before this.
    pub(crate) fn take_until(
        &mut self,
        window: &SessionWindow,
        end: i64,
    ) -> Result<Option<RecordBatch>, OperatorError> {
        if self.first_end > end {
            return Ok(None);
        }
        let ends = self.sessions.iter().flat_map(|sessions| sessions.as_slice());
        self.first_end = ends.map(|session| session.end).min().unwrap_or(i64::MAX);
        if self.first_end > end {
            return Ok(None);
        }
        let taken = self.empty(
            window,
            |_, session| {
                if session.end <= end { Fate::Leaves } else { Fate::Stays }
            },
        )?;
        let ends = self.sessions.iter().flat_map(|sessions| sessions.as_slice());
        self.first_end = ends.map(|session| session.end).min().unwrap_or(i64::MAX);
        Ok(taken)
    }

    /// Takes all sessions.
    pub(crate) fn take_all(&mut self, window: &SessionWindow) -> Result<Option<RecordBatch>, OperatorError> {
        self.empty(window, |_, _| Fate::Leaves)
    }

    /// A copy of all sessions.
    pub(crate) fn copy_all(&mut self, window: &SessionWindow) -> Result<Option<RecordBatch>, OperatorError> {
        self.is_changed.fill(false);
        self.empty(window, |_, _| Fate::StaysAndIsTold)
    }

    /// A copy of all sessions of the groups that changed since the last copy of either kind.
    pub(crate) fn copy_changed(&mut self, window: &SessionWindow) -> Result<Option<RecordBatch>, OperatorError> {
        let mut is_changed = self.is_changed.clone();
        self.is_changed.fill(false);
        // A group without a session has nothing to tell.
        for (is_changed, sessions) in is_changed.iter_mut().zip(&self.sessions) {
            *is_changed &= !sessions.as_slice().is_empty();
        }
        if !is_changed.contains(&true) {
            return Ok(None);
        }
        self.empty(window, |group, _| match is_changed[group] {
            true => Fate::StaysAndIsTold,
            false => Fate::Stays,
        })
    }

    /// Empties the accumulators and fills new ones with what stays, a slot for each session. Gives what is told or leaves: a
    /// row for each slot, several of a session that was bridged.
    fn empty(
        &mut self,
        window: &SessionWindow,
        fate: impl Fn(usize, &OpenSession) -> Fate,
    ) -> Result<Option<RecordBatch>, OperatorError> {
        if self.open == 0 {
            *self = SessionTable::new(window);
            return Ok(None);
        }
        let mut of_slot: Vec<Option<(usize, OpenSession, Fate, usize)>> = vec![None; self.slots.len()];
        let mut staying = 0;
        for (group, sessions) in self.sessions.iter_mut().enumerate() {
            let mut kept = Vec::new();
            for session in sessions.as_slice() {
                let fate = fate(group, session);
                of_slot[session.slot] = Some((group, *session, fate, staying));
                if fate != Fate::Leaves {
                    kept.push(OpenSession {
                        slot: staying,
                        ..*session
                    });
                    staying += 1;
                }
            }
            *sessions = GroupSessions::new(kept);
        }
        let (mut told, mut told_slots) = (Vec::new(), Vec::new());
        let (mut kept_slots, mut new_slots) = (Vec::new(), Vec::new());
        for slot in 0..self.slots.len() {
            // Slots of sessions that were forgotten belong to nobody.
            let Some((group, session, fate, new_slot)) = of_slot[self.slots.whole_of(slot)] else {
                continue;
            };
            if fate != Fate::Stays {
                told.push((group, session));
                told_slots.push(slot as u32);
            }
            if fate != Fate::Leaves {
                kept_slots.push(slot as u32);
                new_slots.push(new_slot);
            }
        }
        let mut columns = self.span_columns(window, &told);
        columns.extend(
            self.slots
                .refill(window, told_slots, (kept_slots, new_slots), staying)?,
        );
        self.open = staying;
        self.drop_silent_groups();
        if told.is_empty() {
            return Ok(None);
        }
        let told = RecordBatch::try_new(Arc::clone(&window.state_schema), columns);
        told.map(Some).map_err(|error| OperatorError::ForeignState {
            expected: "the declared types of the aggregates".into(),
            found: error.to_string(),
        })
    }

    fn span_columns(&self, window: &SessionWindow, sessions: &[(usize, OpenSession)]) -> Vec<ArrayRef> {
        let times = |time: fn(&OpenSession) -> i64| -> ArrayRef {
            let times = sessions.iter().map(|(_, session)| time(session));
            Arc::new(TimestampNanosecondArray::from_iter_values(times).with_timezone(utc()))
        };
        let mut columns = vec![times(|session| session.start), times(|session| session.end)];
        columns.extend(
            self.index
                .columns_of(&window.keys, sessions.iter().map(|(group, _)| *group)),
        );
        columns
    }

    fn drop_silent_groups(&mut self) {
        let is_kept: Vec<bool> = self
            .sessions
            .iter()
            .map(|sessions| !sessions.as_slice().is_empty())
            .collect();
        if is_kept.iter().all(|is_kept| *is_kept) {
            return;
        }
        self.index.retain(&is_kept);
        let mut kept = is_kept.iter();
        self.sessions.retain(|_| *kept.next().expect("one answer a group"));
        let mut kept = is_kept.iter();
        self.is_changed.retain(|_| *kept.next().expect("one answer a group"));
    }
}
