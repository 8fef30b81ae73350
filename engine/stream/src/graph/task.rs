//! The operators of one source partition, and their state.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;

use super::closed_windows::ClosedWindows;
use super::error::ProcessError;
use super::flow::{Output, flow};
use super::plan::{Operator, SinkColumns, SourcePlan};
use super::sessions::SessionSpans;
use crate::operator::dedup::DedupKeys;
use crate::snapshot::{SnapshotKind, StateSegment};
use crate::stateful::error::OperatorError;
use crate::stateful::{OpenSessions, StatefulOperator};

/// What became of the rows of a micro-batch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PushOutcome {
    /// Rows that came too late for a window or a dedup, over all of them.
    pub late_rows: u64,
    /// Rows without an event time that a window or a dedup can place, over all of them.
    pub unplaced_rows: u64,
    /// Rows that repeat one that went on before them, over all dedups.
    pub duplicate_rows: u64,
}

/// The groups of a window that changed in one or more source partitions.
#[derive(Debug, Clone)]
pub struct ChangedGroups {
    /// Which of [`SourcePlan::windows`](super::SourcePlan::windows).
    window: usize,
    /// Window starts and keys, a row per group.
    groups: RecordBatch,
}

impl ChangedGroups {
    /// What several partitions told, as one per window. A group that several told of is in it several times.
    pub fn concat(changed: Vec<ChangedGroups>) -> Vec<ChangedGroups> {
        let mut by_window: BTreeMap<usize, Vec<RecordBatch>> = BTreeMap::new();
        for ChangedGroups { window, groups } in changed {
            by_window.entry(window).or_default().push(groups);
        }
        let windows = by_window.into_iter().map(|(window, groups)| {
            let groups = concat_batches(groups[0].schema_ref(), &groups);
            ChangedGroups {
                window,
                groups: groups.expect("all partitions have a window's columns"),
            }
        });
        windows.collect()
    }
}

/// The operators and the state of one source partition. `Send`, so that it can live on any worker thread.
#[derive(Debug)]
pub struct TaskGraph {
    plan: Arc<SourcePlan>,
    states: Vec<TaskState>,
    /// The state of each stage, where it has one.
    state_of_stage: Vec<Option<usize>>,
    /// Whether everything was taken: what was kept before no longer counts.
    emptied: bool,
}

/// The state of one stage.
#[derive(Debug)]
struct TaskState {
    /// The stage's name.
    name: String,
    /// Which of [`SourcePlan::windows`] it is, if what it gives must be merged with that of other partitions.
    window: Option<usize>,
    operator: Box<dyn StatefulOperator>,
}

/// What an operator holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StateSize {
    /// Groups of open windows, open sessions, or keys.
    pub groups: usize,
    /// Bytes in memory, roughly.
    pub bytes: usize,
}

/// What a stage remembers, if it does: the one place that knows all stateful operators.
fn stateful(operator: &Operator) -> Option<(Option<usize>, Box<dyn StatefulOperator>)> {
    match operator {
        Operator::Source | Operator::Filter(_) | Operator::Select(_) => None,
        Operator::Dedup(dedup) => Some((None, Box::new(DedupKeys::new(Arc::clone(dedup))))),
        Operator::Window { position, window, .. } => Some((Some(*position), window.partial())),
    }
}

impl TaskGraph {
    /// Operators without state.
    pub fn new(plan: &Arc<SourcePlan>) -> Self {
        let (mut states, mut state_of_stage) = (Vec::new(), Vec::new());
        for stage in &plan.stages {
            let state = stateful(&stage.operator);
            state_of_stage.push(state.is_some().then_some(states.len()));
            states.extend(state.map(|(window, operator)| TaskState {
                name: stage.name.clone(),
                window,
                operator,
            }));
        }
        TaskGraph {
            plan: Arc::clone(plan),
            states,
            state_of_stage,
            emptied: false,
        }
    }

    /// Processes a micro-batch of the plan's projection. `closed_before` is the source's watermark before this micro-batch.
    pub fn push(
        &mut self,
        batch: &RecordBatch,
        closed_before: Option<i64>,
        outputs: &mut Vec<Output>,
    ) -> Result<PushOutcome, ProcessError> {
        let mut outcome = PushOutcome::default();
        if batch.num_rows() == 0 {
            return Ok(outcome);
        }
        let (states, state_of_stage) = (&mut self.states, &self.state_of_stage);
        let mut feed = |stage: usize, batch: &RecordBatch, late: Option<&SinkColumns>, outputs: &mut Vec<Output>| {
            let state = state_of_stage[stage].expect("only stages that remember are fed");
            let updated = states[state].operator.update(batch, closed_before)?;
            outcome.late_rows += updated.late_rows;
            outcome.unplaced_rows += updated.unplaced_rows;
            outcome.duplicate_rows += updated.duplicate_rows;
            if let (Some(rows), Some(late)) = (updated.late, late) {
                outputs.push(late.output(&rows));
            }
            Ok(updated.passed)
        };
        flow(&self.plan, &self.plan.stages[0], batch, &mut feed, outputs)?;
        Ok(outcome)
    }

    /// Takes the windows that the watermark closes.
    pub fn take_closed(&mut self, watermark: i64) -> Result<Vec<ClosedWindows>, ProcessError> {
        self.take(|state| state.take_closed(watermark))
    }

    /// Takes all windows, closed or not (`--drain`). The next snapshot is a full one.
    pub fn take_all(&mut self) -> Result<Vec<ClosedWindows>, ProcessError> {
        self.emptied = true;
        self.take(|state| state.take_all())
    }

    /// The groups of windows in update mode that changed since the last snapshot. To be asked for before each snapshot.
    pub fn changed_groups(&self) -> Vec<ChangedGroups> {
        let states = self.states.iter().filter_map(|state| {
            let (window, groups) = (state.window?, state.operator.changed_groups()?);
            Some(ChangedGroups { window, groups })
        });
        states.collect()
    }

    /// Copies of the states of groups that changed in any partition, as far as they are in this one; none is taken.
    pub fn copy_states_of(&mut self, changed: &[ChangedGroups]) -> Result<Vec<ClosedWindows>, ProcessError> {
        let mut copies = Vec::new();
        for ChangedGroups { window, groups } in changed {
            let state = self.states.iter_mut().find(|state| state.window == Some(*window));
            let TaskState { name, operator, .. } = state.expect("all tasks of a source have its windows");
            let copied = operator.copy_states_of(groups).map_err(|cause| ProcessError {
                node: name.clone(),
                cause,
            })?;
            copies.extend(copied.map(|state| ClosedWindows { window: *window, state }));
        }
        Ok(copies)
    }

    fn take(
        &mut self,
        mut take: impl FnMut(&mut dyn StatefulOperator) -> Result<Option<RecordBatch>, OperatorError>,
    ) -> Result<Vec<ClosedWindows>, ProcessError> {
        let mut closed = Vec::new();
        for state in &mut self.states {
            let taken = take(state.operator.as_mut()).map_err(|cause| ProcessError {
                node: state.name.clone(),
                cause,
            })?;
            if let (Some(window), Some(state)) = (state.window, taken) {
                closed.push(ClosedWindows { window, state });
            }
        }
        Ok(closed)
    }

    /// The state, or what was added to it since the last snapshot, for [`snapshot::encode`](crate::snapshot::encode). It is
    /// all of the state, whatever was asked for, where what was kept before no longer counts.
    ///
    /// Each snapshot must be kept with those before it, up to the last full one, or the task thrown away: the changes are
    /// told once.
    pub fn snapshot(&mut self, kind: SnapshotKind) -> Result<StateSegment, ProcessError> {
        let is_outdated = self.states.iter().any(|state| state.operator.needs_full_snapshot());
        let kind = if std::mem::take(&mut self.emptied) || is_outdated {
            SnapshotKind::Full
        } else {
            kind
        };
        let mut segment = StateSegment {
            kind,
            parts: Vec::new(),
            closed_at: None,
        };
        for TaskState { name, operator, .. } in &mut self.states {
            let part = operator.snapshot(kind).map_err(|cause| ProcessError {
                node: name.clone(),
                cause,
            })?;
            if let Some(part) = part {
                segment.closed_at = segment.closed_at.max(Some(part.closed_at));
                segment.parts.push((name.clone(), part.rows));
            }
        }
        Ok(segment)
    }

    /// Adds the parts of a segment: first those of a full one, then of the changes after it, in the order they were taken.
    ///
    /// `closed_up_to` is the source's watermark when the last of them was kept: what it closes had been taken by then. A part
    /// whose operator is not in the plan is an error, never dropped.
    pub fn restore(&mut self, parts: &[(String, RecordBatch)], closed_up_to: Option<i64>) -> Result<(), ProcessError> {
        for (name, rows) in parts {
            let error = |cause| ProcessError {
                node: name.clone(),
                cause,
            };
            let Some(state) = self.states.iter_mut().find(|state| state.name == *name) else {
                let windows: Vec<&str> = self.states.iter().map(|state| state.name.as_str()).collect();
                return Err(error(OperatorError::NoSuchWindow {
                    window: name.clone(),
                    windows: windows.join(", "),
                }));
            };
            state.operator.restore(rows, closed_up_to).map_err(error)?;
        }
        Ok(())
    }

    /// Before anything is restored: of these windows, by name, all that end up to here (in nanoseconds) were taken, over all
    /// partitions of the source. They are not opened again, whatever their allowed lateness is now, and also here, where nothing
    /// may have been kept that tells. A window that is not in the plan any more is nobody's concern.
    pub fn handle_taken(&mut self, taken: &BTreeMap<String, i64>) {
        for state in self.states.iter_mut().filter(|state| state.window.is_some()) {
            if let Some(end) = taken.get(&state.name) {
                state.operator.handle_taken(*end);
            }
        }
    }

    /// Which of these sessions overlap one that is open here.
    pub fn overlapped(&mut self, spans: &SessionSpans) -> Vec<bool> {
        self.sessions(spans.window).overlapped(&spans.spans)
    }

    /// Takes in parts of sessions that others had closed, while one that overlaps them is open here.
    pub fn absorb(&mut self, parts: &ClosedWindows) -> Result<(), ProcessError> {
        let absorbed = self.sessions(parts.window).absorb(&parts.state);
        absorbed.map_err(|cause| ProcessError {
            node: self.plan.windows[parts.window].clone(),
            cause,
        })
    }

    fn sessions(&mut self, window: usize) -> &mut dyn OpenSessions {
        let state = self.states.iter_mut().find(|state| state.window == Some(window));
        let sessions = state.and_then(|state| state.operator.sessions());
        sessions.expect("only windows of sessions are asked for their sessions")
    }

    /// Groups, keys and sessions over all operators.
    pub fn groups(&self) -> usize {
        self.states.iter().map(|state| state.operator.groups()).sum()
    }

    /// What each operator that remembers something holds, by its name.
    pub fn state_sizes(&self) -> impl Iterator<Item = (&str, StateSize)> {
        self.states.iter().map(|TaskState { name, operator, .. }| {
            let (groups, bytes) = (operator.groups(), operator.size_bytes());
            (name.as_str(), StateSize { groups, bytes })
        })
    }
}
