//! The rows of a lake as any reader sees them: of every file but those below names with `_` or `.`.

use std::path::Path;

use arrow::array::AsArray;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type, TimeUnit, TimestampMillisecondType};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::scene::Counts;

/// Views of every window; each may be there once.
#[track_caller]
pub(crate) fn read(lake: &Path) -> Counts {
    let mut counts = Counts::new();
    let mut folders = vec![lake.to_owned()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else {
            continue;
        };
        for entry in entries {
            let path = entry.expect("an entry").path();
            if path
                .file_name()
                .expect("a name")
                .to_string_lossy()
                .starts_with(['_', '.'])
            {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let file = std::fs::File::open(&path).expect("a file");
            let reader = ParquetRecordBatchReaderBuilder::try_new(file).and_then(|builder| builder.build());
            for batch in reader.unwrap_or_else(|error| panic!("{}: {error}", path.display())) {
                let batch = batch.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
                let milliseconds = DataType::Timestamp(TimeUnit::Millisecond, None);
                let starts = cast(&batch["window_start"], &milliseconds).expect("a timestamp");
                let starts = starts.as_primitive::<TimestampMillisecondType>();
                for row in 0..batch.num_rows() {
                    let campaign = batch["campaign"].as_primitive::<Int64Type>().value(row);
                    let views = batch["views"].as_primitive::<Int64Type>().value(row);
                    let other = counts.insert((starts.value(row), campaign), views);
                    assert_eq!(other, None, "twice in the lake: {} of {campaign}", starts.value(row));
                }
            }
        }
    }
    counts
}
