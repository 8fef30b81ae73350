//! Windows beside a model: a map, a watermark, and what has been emitted.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use proptest::prelude::*;

use super::steps::{Step, step};
use super::{MS, Row, batch, options, window};
use crate::snapshot::SnapshotKind;
use crate::stateful::StatefulOperator;
use crate::window::{PartialWindows, WindowMerger};

proptest! {
    #[test]
    fn partitions_batches_snapshots_and_merge_order_change_no_window(steps in prop::collection::vec(step(), 0..30), rotation in 0..3usize) {
        let window = window(options(&["campaign"], &["count(*)", "min(time)"]));
        let mut partitions: Vec<_> = (0..3).map(|_| PartialWindows::new(Arc::clone(&window))).collect();
        let merger = WindowMerger::new(Arc::clone(&window));
        // The model: a map from window and group to count, a watermark, and what has been emitted.
        let mut open: BTreeMap<(i64, Option<i64>), i64> = BTreeMap::new();
        let (mut expected, mut emitted) = (Vec::new(), Vec::new());
        let (mut watermark, mut late, mut late_expected) = (None::<i64>, 0, 0);
        let mut emit = |states: Vec<RecordBatch>| {
            let Some(rows) = merger.merge(&states).unwrap() else { return };
            let starts = rows.column(0).as_primitive::<TimestampMicrosecondType>();
            let (keys, counts) = (rows.column(2).as_primitive::<Int64Type>(), rows.column(3).as_primitive::<Int64Type>());
            emitted.extend((0..rows.num_rows()).map(|row| {
                ((starts.value(row) / 1_000, keys.is_valid(row).then(|| keys.value(row))), counts.value(row))
            }));
        };
        for step in steps {
            match step {
                Step::Rows(partition, rows) => {
                    for (time, key) in &rows {
                        let start = time.div_euclid(10) * 10;
                        if watermark.is_some_and(|watermark| start + 10 <= watermark) {
                            late_expected += 1;
                        } else {
                            *open.entry((start, *key)).or_default() += 1;
                        }
                    }
                    let rows: Vec<Row> = rows.iter().map(|(time, key)| (Some(*time), *key, None, 0.0, false)).collect();
                    let outcome = partitions[partition].update(&batch(&rows), watermark.map(|watermark| watermark * MS)).unwrap();
                    late += outcome.late_rows;
                }
                Step::Snapshot(partition) => {
                    let state = partitions[partition].snapshot(SnapshotKind::Full).unwrap();
                    partitions[partition] = PartialWindows::new(Arc::clone(&window));
                    if let Some(state) = state {
                        partitions[partition].restore(&state.rows, watermark.map(|watermark| watermark * MS)).unwrap();
                    }
                }
                Step::Watermark(to) => {
                    watermark = watermark.max(Some(to));
                    let to = watermark.unwrap();
                    let mut states: Vec<_> =
                        partitions.iter_mut().filter_map(|partition| partition.take_closed(to * MS).unwrap()).collect();
                    let by = rotation.min(states.len());
                    states.rotate_left(by);
                    emit(states);
                    let closed: Vec<_> = open.keys().copied().filter(|(start, _)| start + 10 <= to).collect();
                    expected.extend(closed.into_iter().map(|key| (key, open.remove(&key).unwrap())));
                }
            }
        }
        emit(partitions.iter_mut().filter_map(|partition| partition.take_all().unwrap()).collect());
        expected.extend(open);
        prop_assert_eq!(emitted, expected);
        prop_assert_eq!(late, late_expected);
    }
}
