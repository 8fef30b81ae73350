//! What the pipeline that counts views has written, read by nothing of the engine.
//!
//! Included by the tests with `#[path]`, because a folder under `tests/` is no crate of its own.

use std::collections::BTreeMap;
use std::path::Path;

use arrow::array::AsArray;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type, TimeUnit, TimestampMillisecondType};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;

use crate::raw_client::{Isolation, RawClient};

/// Views of a window (by its start) and a campaign.
pub(crate) type Counts = BTreeMap<(i64, i64), i64>;

/// The rows of the results topic, as many as each window has.
pub(crate) fn results(client: &mut RawClient, partitions: i32, isolation: Isolation) -> BTreeMap<(i64, i64), Vec<i64>> {
    let mut rows: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for partition in 0..partitions {
        for record in client.read("results", partition, isolation).records {
            let row: Value = serde_json::from_slice(record.value.as_deref().expect("a row")).expect("JSON");
            let integer = |column: &str| row[column].as_i64().unwrap_or_else(|| panic!("{column} of {row}"));
            rows.entry((integer("window_start"), integer("campaign")))
                .or_default()
                .push(integer("views"));
        }
    }
    rows
}

/// The rows of the lake as any reader sees them: of every file but those below names with `_` or `.`.
pub(crate) fn lake(folder: &Path) -> Result<Counts, String> {
    let mut counts = Counts::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else {
            continue; // Nothing was written yet.
        };
        for entry in entries {
            let path = entry.map_err(|error| error.to_string())?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if name.starts_with(['_', '.']) {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let unreadable = |error: &dyn std::error::Error| format!("{}: {error}", path.display());
            let file = std::fs::File::open(&path).map_err(|error| unreadable(&error))?;
            let reader = ParquetRecordBatchReaderBuilder::try_new(file)
                .and_then(|builder| builder.build())
                .map_err(|error| unreadable(&error))?;
            for batch in reader {
                let batch = batch.map_err(|error| unreadable(&error))?;
                let milliseconds = DataType::Timestamp(TimeUnit::Millisecond, None);
                let starts = cast(&batch["window_start"], &milliseconds).map_err(|error| unreadable(&error))?;
                let starts = starts.as_primitive::<TimestampMillisecondType>();
                for row in 0..batch.num_rows() {
                    let campaign = batch["campaign"].as_primitive::<Int64Type>().value(row);
                    let views = batch["views"].as_primitive::<Int64Type>().value(row);
                    let window = (starts.value(row), campaign);
                    if let Some(other) = counts.insert(window, views) {
                        return Err(format!("window {window:?} is twice in the lake: {other} and {views}"));
                    }
                }
            }
        }
    }
    Ok(counts)
}
