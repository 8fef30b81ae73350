//! Partial sessions of all partitions → final rows; and what of them another partition still holds open.
//!
//! Partitions close sessions each for itself. Of a group that has rows in several, the parts are joined here: if any
//! partition holds an open session that overlaps the joined one, it is not closed. One look is enough: whatever else would
//! belong to it hangs on an open session that overlaps it.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, TimestampMicrosecondArray, TimestampNanosecondArray, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::row::{RowConverter, SortField};
use datafusion_expr::EmitTo;

use super::SessionWindow;
use crate::schema::utc;
use crate::stateful::error::OperatorError;
use crate::stateful::group_index::GroupIndex;

/// Merges the closed partial sessions of all partitions into final rows.
#[derive(Debug)]
pub struct SessionMerger {
    window: Arc<SessionWindow>,
}

/// Partial sessions, joined where they overlap.
struct Joined {
    index: GroupIndex,
    /// Group, start and end.
    sessions: Vec<(usize, i64, i64)>,
    /// For each state the session of each of its rows.
    session_of_row: Vec<Vec<usize>>,
}

impl SessionMerger {
    /// A merger of this window's partial states.
    pub fn new(window: Arc<SessionWindow>) -> Self {
        SessionMerger { window }
    }

    /// The columns of the final rows.
    pub fn schema(&self) -> &SchemaRef {
        self.window.final_schema()
    }

    /// The sessions that these parts make: start, end and group columns, for
    /// [`OpenSessions::overlapped`](crate::stateful::OpenSessions::overlapped); and for each part the session of each row.
    pub(crate) fn spans(&self, states: &[&RecordBatch]) -> Result<(RecordBatch, Vec<Vec<usize>>), OperatorError> {
        let joined = self.join(states)?;
        let sessions = &joined.sessions;
        let times =
            |times: Vec<i64>| -> ArrayRef { Arc::new(TimestampNanosecondArray::from(times).with_timezone(utc())) };
        let mut columns = vec![
            times(sessions.iter().map(|(_, start, _)| *start).collect()),
            times(sessions.iter().map(|(_, _, end)| *end).collect()),
        ];
        let groups = sessions.iter().map(|(group, _, _)| *group);
        columns.extend(joined.index.columns_of(&self.window.keys, groups));
        let fields = self.window.state_schema.fields()[..columns.len()].to_vec();
        let spans = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns);
        Ok((
            spans.expect("times and keys have their declared types"),
            joined.session_of_row,
        ))
    }

    /// The final rows, ordered by start, then end, then group in the order of its columns, nulls first. `None` if there are none.
    ///
    /// The order of the states changes nothing, except for aggregates that depend on it (`first_value`, sums of floats in
    /// their last bits).
    pub fn merge(&self, states: &[RecordBatch]) -> Result<Option<RecordBatch>, OperatorError> {
        let states: Vec<&RecordBatch> = states.iter().collect();
        let Joined {
            index,
            sessions,
            session_of_row,
        } = self.join(&states)?;
        if sessions.is_empty() {
            return Ok(None);
        }
        let mut accumulators = self.window.accumulators()?;
        for (state, sessions_of_rows) in states.iter().zip(&session_of_row) {
            for ((aggregate, columns), accumulator) in self.window.state_columns().zip(&mut accumulators) {
                accumulator
                    .merge_batch(&state.columns()[columns], sessions_of_rows, sessions.len())
                    .map_err(|error| aggregate.error(&error))?;
            }
        }
        // Times are rounded down to microseconds.
        let times = |times: Vec<i64>| -> ArrayRef {
            let times = times.into_iter().map(|nanoseconds| nanoseconds.div_euclid(1_000));
            Arc::new(TimestampMicrosecondArray::from_iter_values(times).with_timezone(utc()))
        };
        let mut columns = vec![
            times(sessions.iter().map(|(_, start, _)| *start).collect()),
            times(sessions.iter().map(|(_, _, end)| *end).collect()),
        ];
        let keys = index.columns_of(&self.window.keys, sessions.iter().map(|(group, _, _)| *group));
        let order = order(&sessions, &keys);
        columns.extend(keys);
        for ((_, aggregate), accumulator) in self.window.aggregates.iter().zip(&mut accumulators) {
            let value = accumulator
                .evaluate(EmitTo::All)
                .map_err(|error| aggregate.error(&error))?;
            let value = arrow::compute::cast(&value, aggregate.data_type());
            columns.push(value.map_err(|error| aggregate.error(&error.into()))?);
        }
        let columns = columns
            .iter()
            .map(|column| take(column, &order, None).expect("the order is of these rows"));
        let rows = RecordBatch::try_new(Arc::clone(self.schema()), columns.collect());
        Ok(Some(rows.expect("keys and values have their declared types")))
    }

    fn join(&self, states: &[&RecordBatch]) -> Result<Joined, OperatorError> {
        let mut index = GroupIndex::new(&self.window.keys);
        // Group, start, end, state, row.
        let mut parts = Vec::new();
        for (number, state) in states.iter().enumerate() {
            self.window.check_state(state)?;
            let keys = self.window.keys.prepare(self.window.state_keys(state));
            let rows: Vec<u32> = (0..state.num_rows() as u32).collect();
            let mut groups = Vec::with_capacity(rows.len());
            index.assign(&keys, &rows, &mut groups);
            let spans = super::spans(state).enumerate().zip(groups);
            parts.extend(spans.map(|((row, (start, end)), group)| (group, start, end, number, row)));
        }
        parts.sort_unstable();
        let mut sessions: Vec<(usize, i64, i64)> = Vec::new();
        let mut session_of_row: Vec<Vec<usize>> = states.iter().map(|state| vec![0; state.num_rows()]).collect();
        for (group, start, end, state, row) in parts {
            match sessions.last_mut() {
                Some((of, _, until)) if *of == group && start < *until => *until = end.max(*until),
                _ => sessions.push((group, start, end)),
            }
            session_of_row[state][row] = sessions.len() - 1;
        }
        Ok(Joined {
            index,
            sessions,
            session_of_row,
        })
    }
}

fn order(sessions: &[(usize, i64, i64)], keys: &[ArrayRef]) -> UInt32Array {
    let mut order: Vec<u32> = (0..sessions.len() as u32).collect();
    let span = |row: u32| (sessions[row as usize].1, sessions[row as usize].2);
    if keys.is_empty() {
        order.sort_unstable_by_key(|row| span(*row));
        return UInt32Array::from(order);
    }
    let fields = keys
        .iter()
        .map(|column| SortField::new(column.data_type().clone()))
        .collect();
    let converter = RowConverter::new(fields).expect("keys were checked to be groupable");
    let keys = converter
        .convert_columns(keys)
        .expect("the columns have their own types");
    order.sort_unstable_by(|a, b| {
        let of_keys = || keys.row(*a as usize).cmp(&keys.row(*b as usize));
        span(*a).cmp(&span(*b)).then_with(of_keys)
    });
    UInt32Array::from(order)
}
