//! One client writes, or commits, what the other one reads.

use engine_client::Codec;

use crate::behaviour::Failure;
use crate::client::{Committed, ProduceRequest, Side};
use crate::ours;
use crate::records::{self, FIRST_TIMESTAMP, compare, record};
use crate::stage::Stage;

const BATCH_BYTES: usize = 64 * 1024;
const LARGE_BATCH_BYTES: usize = 4 << 20;
const KEYED_PARTITIONS: i32 = 7;

/// Every kind of record, in one partition: contents, times and order.
pub(crate) async fn records(stage: &mut Stage, writer: Side, codec: Codec) -> Result<(), Failure> {
    let mut records = records::of_every_kind();
    if writer == Side::Theirs {
        let peer = &stage.clients.peer;
        if let Some(reason) = peer.lacks("null_key_and_value") {
            records.retain(|record| record.key.is_some() || record.value.is_some());
            stage.exceptions.push(reason.to_owned());
        }
        if let Some(reason) = peer.lacks("null_header_value") {
            for record in &mut records {
                record.headers.retain(|(_, value)| value.is_some());
            }
            stage.exceptions.push(reason.to_owned());
        }
    }
    transfer(stage, writer, codec, BATCH_BYTES, &records).await.map(drop)
}

pub(crate) async fn a_large_batch(stage: &mut Stage, writer: Side, codec: Codec) -> Result<(), Failure> {
    let records = records::of_more_than_a_megabyte();
    let largest = transfer(stage, writer, codec, LARGE_BATCH_BYTES, &records).await?;
    // Half of the content is random; compressed, what is left of 1.4 MB.
    let expected = if codec == Codec::None { 1 << 20 } else { 600_000 };
    match largest {
        bytes if bytes < expected => Err(format!("the largest batch has {bytes} bytes only").into()),
        _ => Ok(()),
    }
}

/// The bytes of the largest batch.
async fn transfer(
    stage: &mut Stage,
    writer: Side,
    codec: Codec,
    batch_bytes: usize,
    records: &[protocol_tests::owned_record::OwnedRecord],
) -> Result<usize, Failure> {
    let topic = stage.topic(1).await?;
    let bootstrap = stage.bootstrap.clone();
    let request = ProduceRequest {
        bootstrap: &bootstrap,
        topic: &topic,
        codec,
        batch_bytes,
        partition: Some(0),
        records,
    };
    let placed = stage.clients.produce(writer, &request).await?;
    let expected: Vec<(i32, i64)> = (0..records.len() as i64).map(|offset| (0, offset)).collect();
    if placed != expected {
        return Err(format!("the writer was told {placed:?} as the places").into());
    }
    let reading = Stage::reading(&bootstrap, &topic, records.len());
    let read = stage.clients.consume(writer.other(), &reading).await?;
    compare(records, &read)?;

    // However it was read: that it was written with this codec is seen in the batches themselves.
    let raw = ours::consume(&reading).await.map_err(|error| error.to_string())?;
    if raw.codecs != [codec] {
        return Err(format!("the batches were written with {:?}", raw.codecs).into());
    }
    Ok(raw.largest_batch_bytes)
}

/// Kafka's protocol calls header keys strings and promises UTF-8; brokers do not look.
pub(crate) async fn header_key_bytes(stage: &mut Stage, writer: Side) -> Result<(), Failure> {
    if let Some(reason) = stage.clients.peer.lacks("header_key_bytes") {
        return Err(Failure::Cannot(reason.to_owned()));
    }
    let mut record = record(0, Some(b"key"), Some(b"value"));
    record.headers = vec![(b"\xff\xfe\x00raw".to_vec(), Some(b"kept".to_vec()))];
    transfer(stage, writer, Codec::None, BATCH_BYTES, &[record])
        .await
        .map(drop)
}

/// Both write the same keys, each into a topic of its own, and leave the partitions to their partitioners.
pub(crate) async fn key_partitions(stage: &mut Stage) -> Result<(), Failure> {
    let keys = (0..200_i64).map(|number| {
        // Lengths with every remainder of murmur2's four bytes, and bytes above 127.
        let mut key = format!("key-{number}").into_bytes();
        key.resize(1 + number as usize % 23, 0x80 | number as u8);
        key
    });
    let records: Vec<_> = keys.map(|key| record(0, Some(&key), Some(b"value"))).collect();
    let bootstrap = stage.bootstrap.clone();
    let mut places = Vec::new();
    for side in [Side::Ours, Side::Theirs] {
        let topic = stage.topic(KEYED_PARTITIONS).await?;
        let request = ProduceRequest {
            bootstrap: &bootstrap,
            topic: &topic,
            codec: Codec::None,
            batch_bytes: BATCH_BYTES,
            partition: None,
            records: &records,
        };
        let placed = stage.clients.produce(side, &request).await?;
        places.push(placed.into_iter().map(|(partition, _)| partition).collect::<Vec<_>>());
    }
    let (ours, theirs) = (&places[0], &places[1]);
    let different: Vec<usize> = (0..records.len())
        .filter(|&at| ours.get(at) != theirs.get(at))
        .collect();
    match different.first() {
        None if ours.iter().max() == ours.iter().min() => Err("all keys went to one partition".to_owned().into()),
        None => Ok(()),
        Some(&at) => {
            let key = String::from_utf8_lossy(records[at].key.as_deref().unwrap_or_default()).into_owned();
            let (count, ours, theirs) = (different.len(), ours.get(at), theirs.get(at));
            Err(format!("{count} of 200 keys, first {key:?}: ours {ours:?}, theirs {theirs:?}").into())
        }
    }
}

/// One reads the first part of a topic and commits, the other sees that and reads the rest, and the first sees that.
pub(crate) async fn offsets(stage: &mut Stage, first: Side) -> Result<(), Failure> {
    const RECORDS: i64 = 20;
    const FIRST_PART: i64 = 8;
    let topic = stage.topic(1).await?;
    let bootstrap = stage.bootstrap.clone();
    let records: Vec<_> = (0..RECORDS)
        .map(|number| record(number, None, Some(b"value")))
        .collect();
    let request = ProduceRequest {
        bootstrap: &bootstrap,
        topic: &topic,
        codec: Codec::None,
        batch_bytes: BATCH_BYTES,
        partition: Some(0),
        records: &records,
    };
    stage.clients.produce(Side::Ours, &request).await?;

    let group = crate::client::GroupRequest {
        bootstrap: &bootstrap,
        topic: &topic,
        group: &topic,
        partitions: 1,
    };
    let mut from = 0;
    for (side, until, metadata) in [
        (first, FIRST_PART, "by the first, ü"),
        (first.other(), RECORDS, "by the second"),
    ] {
        let read = stage
            .clients
            .resume(side, &group, (until - from) as usize, metadata)
            .await?;
        let offsets: Vec<i64> = read.iter().map(|placed| placed.record.offset).collect();
        if offsets != (from..until).collect::<Vec<_>>() {
            return Err(format!("{side:?} read the offsets {offsets:?}, not {from} to {until}").into());
        }
        if read.first().map(|placed| placed.record.timestamp) != Some(FIRST_TIMESTAMP + 1_000 * from) {
            return Err(format!("{side:?} read another record at {from}").into());
        }
        for reader in [side.other(), side] {
            let mut metadata = metadata.to_owned();
            if (side, reader) == (Side::Theirs, Side::Ours)
                && let Some(reason) = stage.clients.peer.lacks("exact_metadata")
            {
                stage.exceptions.push(reason.to_owned());
                metadata.push('\0');
            }
            let expected = [Committed {
                partition: 0,
                offset: until,
                metadata: metadata.clone(),
            }];
            let committed = stage.clients.committed(reader, &group).await?;
            if committed != expected {
                return Err(
                    format!("{side:?} committed {until} with {metadata:?}, {reader:?} sees {committed:?}").into(),
                );
            }
        }
        from = until;
    }
    Ok(())
}
