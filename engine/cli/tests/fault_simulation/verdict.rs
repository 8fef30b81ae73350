//! Whether a pipeline has kept its promise, whatever it met.

use std::collections::BTreeMap;
use std::fmt::Debug;

use serde_json::Value;

use crate::input::{self, MALFORMED};
use crate::raw_client::{Isolation, SeenRecord};
use crate::rows::{Counts, lake};
use crate::world::{NAME, PARTITIONS, RESULT_PARTITIONS, World};

/// Says what is wrong, if anything is.
pub(crate) fn verdict(world: &World) -> Result<(), String> {
    let expected = input::expected();
    results(world, &expected)?;
    dead_letters(world)?;
    equal("the lake", &lake(&world.lake())?, &expected)?;
    progress(world)?;
    let committed = world.client().committed(NAME, "events", PARTITIONS);
    let ends: Vec<_> = (0..PARTITIONS).map(input::end_offset).collect();
    equal("the committed offsets", &committed, &ends)
}

/// Whatever ended the engine's life: the lake shows no window that the results topic does not, because its files are published
/// behind the commit.
pub(crate) fn shows_nothing_early(world: &World) -> Result<(), String> {
    let lake = lake(&world.lake())?;
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
    crate::rows::results(&mut world.client(), RESULT_PARTITIONS, isolation)
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
