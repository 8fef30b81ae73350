//! Partial states that no aggregate gives, but somebody who can write the state topic may.
//!
//! DataFusion (as of 55.2) merges states without looking: it asserts that counts are there and digests are whole, allocates what a
//! digest says it may grow to, and adds counts up, which ends the process where they overflow. All else that it merges gives an
//! error or a number.
//! Never here: the types of the columns, which are checked before (see the windows' `check_state`).

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Float64Type, Int64Type, UInt64Type};
use datafusion_common::ScalarValue;

use super::aggregate::AggregateExpression;
use super::error::EvaluateError;

/// More rows than all windows of a segment hold. The segments of a task, and what is counted after them, stay within 64 bits.
const COUNTED_MAX: u128 = 1 << 48;

/// What DataFusion gives a digest to grow to when nothing was said.
const DIGEST_SIZE: u64 = 100;

/// Why a partial state cannot be merged.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ImpossibleState {
    /// A count that is missing, negative, or of more rows than there can be.
    #[error("a count that is missing or cannot be")]
    Count,
    /// A digest that is not whole.
    #[error("a digest of values, in row {row}, that cannot be")]
    Digest { row: usize },
    /// The aggregate cannot tell how large its digests are.
    #[error(transparent)]
    Evaluate(#[from] EvaluateError),
}

/// Checks the columns of the aggregate's partial states, which have its types.
pub(crate) fn check(aggregate: &AggregateExpression, columns: &[ArrayRef]) -> Result<(), ImpossibleState> {
    let fields = aggregate.state_fields();
    if let Some(first) = fields.first()
        && first.name().ends_with("[max_size]")
    {
        return check_digests(aggregate, columns);
    }
    for (field, column) in fields
        .iter()
        .zip(columns)
        .filter(|(field, _)| field.name().ends_with("[count]"))
    {
        // Only where the field says so: an average of nothing has no count.
        if !field.is_nullable() && column.null_count() > 0 {
            return Err(ImpossibleState::Count);
        }
        let counted = match column.data_type() {
            DataType::Int64 => add_up(column.as_primitive::<Int64Type>().iter().flatten().map(u64::try_from)),
            DataType::UInt64 => add_up(column.as_primitive::<UInt64Type>().iter().flatten().map(Ok::<u64, ()>)),
            _ => continue,
        };
        counted
            .filter(|counted| *counted <= COUNTED_MAX)
            .ok_or(ImpossibleState::Count)?;
    }
    Ok(())
}

fn add_up<E>(mut counts: impl Iterator<Item = Result<u64, E>>) -> Option<u128> {
    counts.try_fold(0u128, |sum, count| Some(sum + u128::from(count.ok()?)))
}

/// Digests are six columns: how many centroids it may have, sum, count, largest and smallest value, and centroids, each a
/// mean and a weight.
fn check_digests(aggregate: &AggregateExpression, columns: &[ArrayRef]) -> Result<(), ImpossibleState> {
    let digest = |row| ImpossibleState::Digest { row };
    let [sizes, sum, count, largest, smallest, centroids] = columns else {
        return Err(digest(0));
    };
    if let Some(column) = columns.iter().find(|column| column.null_count() > 0) {
        let row = (0..column.len()).find(|row| column.is_null(*row));
        return Err(digest(row.unwrap_or_default()));
    }
    let own_size = match aggregate.empty_state()?.first() {
        Some(ScalarValue::UInt64(Some(size))) => *size,
        _ => DIGEST_SIZE,
    };
    let are_numbers = [sum, count, largest, smallest]
        .iter()
        .all(|column| *column.data_type() == DataType::Float64);
    let (Some(sizes), Some(centroids), true) = (
        sizes.as_primitive_opt::<UInt64Type>(),
        centroids.as_list_opt::<i32>(),
        are_numbers,
    ) else {
        return Err(digest(0));
    };
    let (largest, smallest) = (
        largest.as_primitive::<Float64Type>(),
        smallest.as_primitive::<Float64Type>(),
    );
    for row in 0..sizes.len() {
        let is_known = [own_size, DIGEST_SIZE].contains(&sizes.value(row));
        let (largest, smallest) = (largest.value(row), smallest.value(row));
        let is_turned = largest.is_finite() && smallest.is_finite() && largest.total_cmp(&smallest).is_lt();
        if !is_known || is_turned || centroids.value_length(row) % 2 != 0 {
            return Err(digest(row));
        }
    }
    Ok(())
}
