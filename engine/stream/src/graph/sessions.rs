//! Sessions that go over several partitions: what one partition closed may be a part of what another holds open.
//!
//! ```text
//! TaskGraph::take_closed (each partition) ─▶ WindowOutput::session_spans ─▶ TaskGraph::overlapped (each partition)
//!     ─▶ keep_open ─▶ closed parts: WindowOutput::merge; the others: TaskGraph::absorb, by one that holds them open
//! ```
//! Nobody may feed rows or take snapshots in between.

use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;

use super::closed_windows::ClosedWindows;
use crate::window::session::spans;

/// The sessions that closed parts make, over all partitions, of one session window.
#[derive(Debug, Clone)]
pub struct SessionSpans {
    /// Which of [`SourcePlan::windows`](super::SourcePlan::windows).
    pub window: usize,
    /// Start, end and group columns of each session.
    pub(crate) spans: RecordBatch,
    /// For the closed parts of this window, in their order, the session of each row.
    pub(crate) session_of_row: Vec<Vec<usize>>,
}

impl SessionSpans {
    /// How many sessions there are.
    pub fn len(&self) -> usize {
        self.spans.num_rows()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Start and end of each, in nanoseconds since 1970. It ends a gap after its last row.
    pub fn spans_ns(&self) -> impl Iterator<Item = (i64, i64)> + '_ {
        spans(&self.spans)
    }
}

/// Divides closed parts: those of sessions that nobody holds open, and for each of the others who holds it.
///
/// `holders` has for each of `spans` and each of its sessions somebody with an open session that overlaps it.
pub fn keep_open<T: Copy + Ord>(
    closed: Vec<ClosedWindows>,
    spans: &[SessionSpans],
    holders: &[Vec<Option<T>>],
) -> (Vec<ClosedWindows>, Vec<(T, ClosedWindows)>) {
    let (mut still_closed, mut open) = (Vec::new(), Vec::new());
    let mut next_part = vec![0; spans.len()];
    for part in closed {
        let Some(position) = spans.iter().position(|spans| spans.window == part.window) else {
            still_closed.push(part);
            continue;
        };
        let session_of_row = &spans[position].session_of_row[next_part[position]];
        next_part[position] += 1;
        let holder_of = |session: usize| holders[position][session];
        let rows_of = |holder: Option<T>| {
            let is_wanted: BooleanArray = session_of_row
                .iter()
                .map(|session| Some(holder_of(*session) == holder))
                .collect();
            let state = filter_record_batch(&part.state, &is_wanted).expect("one answer a row");
            let window = part.window;
            (state.num_rows() > 0).then_some(ClosedWindows { window, state })
        };
        let mut of_part: Vec<T> = session_of_row
            .iter()
            .filter_map(|session| holder_of(*session))
            .collect();
        of_part.sort_unstable();
        of_part.dedup();
        still_closed.extend(rows_of(None));
        open.extend(
            of_part
                .into_iter()
                .filter_map(|holder| Some((holder, rows_of(Some(holder))?))),
        );
    }
    (still_closed, open)
}
