//! What happens to a window in tests beside a model, by proptest.

use proptest::prelude::*;

/// One thing; partitions are 0 to 2.
#[derive(Debug, Clone)]
pub(super) enum Step {
    /// Times in milliseconds, and keys.
    Rows(usize, Vec<(i64, Option<i64>)>),
    Snapshot(usize),
    Watermark(i64),
}

pub(super) fn step() -> impl Strategy<Value = Step> {
    let row = (-100i64..200, prop::option::weighted(0.9, 0i64..4));
    prop_oneof![
        4 => (0..3usize, prop::collection::vec(row, 0..20)).prop_map(|(partition, rows)| Step::Rows(partition, rows)),
        1 => (0..3usize).prop_map(Step::Snapshot),
        1 => (-100i64..200).prop_map(Step::Watermark),
    ]
}
