//! Whether a pipeline has kept its promise, whatever it met.

use std::collections::BTreeMap;
use std::fmt::Debug;

use arrow::array::AsArray;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type, TimeUnit, TimestampMillisecondType};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;

use crate::input::{self, Counts, MALFORMED};
use crate::raw_client::{Isolation, SeenRecord};
use crate::world::{NAME, PARTITIONS, RESULT_PARTITIONS, World};

/// Says what is wrong, if anything is.
pub(crate) fn verdict(world: &World) -> Result<(), String> {
    let expected = input::expected();
    results(world, &expected)?;
    dead_letters(world)?;
    equal("the lake", &lake(world)?, &expected)?;
    progress(world)?;
    let committed = world.client().committed(NAME, "events", PARTITIONS);
    let ends: Vec<_> = (0..PARTITIONS).map(input::end_offset).collect();
    equal("the committed offsets", &committed, &ends)
}

/// Whatever ended the engine's life: the lake shows no window that the results topic does not, because its files are published
/// behind the commit.
pub(crate) fn shows_nothing_early(world: &World) -> Result<(), String> {
    if !world.lake().exists() {
        return Ok(());
    }
    let lake = lake(world)?;
    let rows = rows(world, Isolation::Committed);
    let early = lake
        .iter()
        .find(|(window, views)| !rows.get(*window).is_some_and(|rows| rows.contains(views)));
    match early {
        None => Ok(()),
        Some(early) => Err(format!("the lake shows {early:?}, the topic only {rows:?}")),
    }
}

/// The rows of the results topic, as many as each window has.
pub(crate) fn rows(world: &World, isolation: Isolation) -> BTreeMap<(i64, i64), Vec<i64>> {
    let mut rows: BTreeMap<_, Vec<_>> = BTreeMap::new();
    let mut client = world.client();
    for partition in 0..RESULT_PARTITIONS {
        for record in client.read("results", partition, isolation).records {
            let row = json(&record);
            let integer = |column: &str| row[column].as_i64().unwrap_or_else(|| panic!("{column} of {row}"));
            rows.entry((integer("window_start"), integer("campaign")))
                .or_default()
                .push(integer("views"));
        }
    }
    rows
}

fn results(world: &World, expected: &Counts) -> Result<(), String> {
    let rows = rows(world, Isolation::Committed);
    if world.promise.exactly_once
        && let Some((window, rows)) = rows.iter().find(|(_, rows)| rows.len() != 1)
    {
        return Err(format!("the window {window:?} has the rows {rows:?}"));
    }
    let last: Counts = rows
        .into_iter()
        .filter_map(|(window, rows)| Some((window, *rows.last()?)))
        .collect();
    equal("the last rows of the results", &last, expected)
}

fn dead_letters(world: &World) -> Result<(), String> {
    let read = world.client().read("dead", 0, Isolation::Committed);
    let mut values: Vec<_> = read
        .records
        .iter()
        .map(|record| String::from_utf8_lossy(record.value.as_deref().unwrap_or_default()).into_owned())
        .collect();
    values.sort();
    if !world.promise.exactly_once {
        values.dedup();
    }
    let mut expected: Vec<_> = MALFORMED
        .iter()
        .map(|(partition, batch)| input::malformed(*partition, *batch))
        .collect();
    expected.sort();
    equal("the dead letters", &values, &expected)
}

/// The rows of the lake as any reader sees them: of every file but those below names with `_` or `.`.
fn lake(world: &World) -> Result<Counts, String> {
    let mut counts = Counts::new();
    let mut folders = vec![world.lake()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))? {
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

/// Offsets and watermarks never go back from one checkpoint to the next, and at the end no transaction is open.
fn progress(world: &World) -> Result<(), String> {
    let mut client = world.client();
    let state = client.read(&format!("engine-state-{NAME}"), 0, Isolation::Committed);
    let mut before: BTreeMap<String, i64> = BTreeMap::new();
    let mut manifests = 0;
    for record in &state.records {
        let is_manifest = record.key.as_deref().is_some_and(|key| key.starts_with(b"manifest/"));
        if !is_manifest || record.value.is_none() {
            continue;
        }
        manifests += 1;
        let manifest = json(record);
        let mut now = vec![("checkpoint".to_owned(), manifest["checkpoint"].as_i64())];
        for source in manifest["sources"].as_array().into_iter().flatten() {
            now.push(("watermark".to_owned(), source["watermark_ns"].as_i64()));
            for partition in source["partitions"].as_array().into_iter().flatten() {
                let offset = partition["next_offset"].as_i64();
                now.push((format!("offset of {}", partition["partition"]), offset));
                let watermark = partition["watermark_ns"].as_i64();
                now.push((format!("watermark of {}", partition["partition"]), watermark));
            }
        }
        for (what, value) in now {
            let value = value.unwrap_or(i64::MIN);
            let former = before.insert(what.clone(), value).unwrap_or(i64::MIN);
            if value < former {
                return Err(format!("the {what} goes back from {former} to {value} in {manifest}"));
            }
        }
    }
    if manifests < 2 {
        return Err(format!("{manifests} manifests are too few to tell anything"));
    }
    let topics = [
        ("results", RESULT_PARTITIONS),
        ("dead", 1),
        (&format!("engine-state-{NAME}"), 1),
    ];
    for (topic, partitions) in topics {
        for partition in 0..partitions {
            let read = client.read(topic, partition, Isolation::Committed);
            if read.last_stable_offset != read.high_watermark {
                return Err(format!(
                    "{topic}-{partition} has an open transaction: readers stop at {} of {}",
                    read.last_stable_offset, read.high_watermark
                ));
            }
        }
    }
    Ok(())
}

fn json(record: &SeenRecord) -> Value {
    let value = record.value.as_deref().unwrap_or_default();
    serde_json::from_slice(value).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(value)))
}

fn equal<T: PartialEq + Debug>(what: &str, found: &T, expected: &T) -> Result<(), String> {
    match found == expected {
        true => Ok(()),
        false => Err(format!("{what} are {found:?} instead of {expected:?}")),
    }
}
