//! Fills a table and says how fast: `cargo run --release -p engine-lake --example fill_table -- FOLDER [ROWS]`.
//!
//! Leaves one more file staged but unpublished, so that other readers can be asked what they see.

use std::sync::Arc;
use std::time::Instant;

use arrow::array::{Int64Array, StringArray, TimestampMillisecondArray};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use arrow::record_batch::RecordBatch;
use engine_lake::{LakeConfig, LakeStore, LakeWriter, PartitionBy, WriterId, recover};

const BATCH_ROWS: i64 = 50_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().ok_or("usage: fill_table FOLDER [ROWS]")?;
    let rows: i64 = arguments.next().map_or(Ok(1_000_000), |rows| rows.parse())?;

    let schema = Arc::new(Schema::new(vec![
        Field::new("event_time", DataType::Timestamp(TimeUnit::Millisecond, None), false),
        Field::new("country", DataType::Utf8, true),
        Field::new("user", DataType::Utf8, false),
        Field::new("amount", DataType::Int64, false),
    ]));
    let config = LakeConfig {
        partition_by: vec![PartitionBy::date_of("dt", "event_time"), PartitionBy::column("country")],
        ..LakeConfig::default()
    };
    let store = LakeStore::open(&folder)?;
    let writer_id = WriterId::new("fill-table.0")?;
    recover(&store, &writer_id, None)?;
    let mut writer = LakeWriter::open(store, config, Arc::clone(&schema), writer_id)?;

    let countries = [Some("DE"), Some("a/b c=100%"), Some("Zürich"), None];
    let batch = |first: i64, rows: i64| {
        let numbers = first..first + rows;
        RecordBatch::try_new(
            Arc::clone(&schema),
            vec![
                // From 2026-01-01 on, a day in a quarter of a million rows.
                Arc::new(TimestampMillisecondArray::from_iter_values(
                    numbers.clone().map(|number| 1_767_225_600_000 + number * 345),
                )),
                Arc::new(
                    numbers
                        .clone()
                        .map(|number| countries[number as usize % 4])
                        .collect::<StringArray>(),
                ),
                Arc::new(StringArray::from_iter_values(
                    numbers.clone().map(|n| format!("user-{}", n % 10_007)),
                )),
                Arc::new(Int64Array::from_iter_values(numbers)),
            ],
        )
    };
    let batches: Vec<_> = (0..20)
        .map(|index| batch(index * BATCH_ROWS, BATCH_ROWS))
        .collect::<Result<_, _>>()?;
    let started = Instant::now();
    let mut written = 0;
    for index in 0.. {
        let left = rows - written;
        if left <= 0 {
            break;
        }
        let next = &batches[index % batches.len()];
        let next = next.slice(0, next.num_rows().min(left as usize));
        writer.write(&next)?;
        written += next.num_rows() as i64;
    }
    let staged = writer.stage(1)?;
    writer.publish(&staged)?;
    let seconds = started.elapsed().as_secs_f64();
    println!(
        "{written} rows, {} files, {:.1} MB in {seconds:.2} s: {:.0} rows/s",
        staged.files().len(),
        staged.bytes() as f64 / 1e6,
        written as f64 / seconds
    );

    writer.write(&batch(0, 1_000)?)?;
    let staged = writer.stage(2)?;
    println!(
        "{} more rows are staged in {} files and must not be seen",
        staged.rows(),
        staged.files().len()
    );
    Ok(())
}
