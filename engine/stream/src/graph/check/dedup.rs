//! Whether a dedup fits its input's rows.

use super::event_time::{check_columns, check_event_time};
use crate::graph::error::{GraphError, GraphPart};
use crate::graph::node_rows::NodeRows;
use crate::graph::spec::{DedupSpec, SourceSpec};
use crate::operator::dedup::{Dedup, DedupOptions};
use crate::stateful::error::OperatorError;

/// The options of a dedup as [`Dedup::new`] wants them, without the columns that go on.
pub(crate) fn dedup_options(dedup: &DedupSpec, time_column: &str) -> DedupOptions {
    DedupOptions {
        time_column: time_column.to_owned(),
        keys: dedup.keys.clone(),
        horizon: dedup.horizon,
        keys_max: dedup.keys_max,
        kept_columns: Vec::new(),
    }
}

pub(super) fn check_dedup(
    part: &GraphPart,
    dedup: &DedupSpec,
    source: &SourceSpec,
    input: &NodeRows,
    errors: &mut Vec<GraphError>,
) -> Option<NodeRows> {
    let before = errors.len();
    if input.windowed {
        errors.push(GraphError::new(
            part,
            "input",
            "a dedup cannot read a window's rows, which have no repeats; filter and select can",
        ));
        return None;
    }
    if dedup.keys.is_empty() {
        errors.push(GraphError::new(
            part,
            "keys",
            "a dedup needs at least one column that tells rows apart",
        ));
    }
    check_columns(part, "keys", &dedup.keys, input, errors);
    let time_column = check_event_time(part, "a dedup", source, input, errors)?;
    if errors.len() == before
        && let Err(error) = Dedup::new(&input.visible, dedup_options(dedup, time_column))
    {
        let option = match error {
            OperatorError::NothingToRemember => "horizon",
            _ => "keys",
        };
        errors.push(GraphError::new(part, option, error.to_string()));
    }
    Some(input.clone()) // Its columns are known even if its keys are wrong.
}
