//! ListOffsets: offsets by position or by time.

use std::sync::Arc;

use engine_wire::compression::Decompressor;
use engine_wire::error_code::ErrorCode;
use engine_wire::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use engine_wire::messages::list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
use engine_wire::messages::{ListOffsetsRequest, ListOffsetsResponse};
use engine_wire::record_batch::RawBatch;
use tracing::warn;

use crate::exchange::Asker;
use crate::log::Log;
use crate::log::read::LogSlice;
use crate::node::Node;
use crate::partition::Partition;
use crate::topic::Topic;

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;
const EARLIEST_LOCAL: i64 = -4;
const LATEST_TIERED: i64 = -5;

const READ_COMMITTED: i8 = 1;

/// Offset and timestamp; -1 where there is none.
#[derive(Clone, Copy)]
struct Found {
    offset: i64,
    timestamp: i64,
}

pub(super) fn handle(node: &Arc<Node>, asker: Asker<'_>, request: ListOffsetsRequest) -> ListOffsetsResponse {
    let knows_epochs = asker.version >= 4;
    let is_read_committed = asker.version >= 2 && request.isolation_level == READ_COMMITTED;
    respond(request, |name, wanted| {
        let topic = node.topics.find(name).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
        let (found, leader_epoch) = find(&topic, wanted, is_read_committed)?;
        Ok((found, if knows_epochs { leader_epoch } else { -1 }))
    })
}

pub(super) fn failed(_: Asker<'_>, request: ListOffsetsRequest, code: ErrorCode) -> ListOffsetsResponse {
    respond(request, |_, _| Err(code))
}

fn respond(
    request: ListOffsetsRequest,
    find: impl Fn(&str, &ListOffsetsPartition) -> Result<(Found, i32), ErrorCode>,
) -> ListOffsetsResponse {
    let partition = |name: &str, wanted: &ListOffsetsPartition| {
        let response = ListOffsetsPartitionResponse::default().with_partition_index(wanted.partition_index);
        match find(name, wanted) {
            Ok((found, leader_epoch)) => response
                .with_offset(found.offset)
                .with_timestamp(found.timestamp)
                .with_leader_epoch(leader_epoch),
            Err(code) => response
                .with_error_code(code.code())
                .with_offset(-1)
                .with_timestamp(-1)
                .with_leader_epoch(-1),
        }
    };
    let topic = |topic: ListOffsetsTopic| {
        let partitions = topic
            .partitions
            .iter()
            .map(|wanted| partition(&topic.name, wanted))
            .collect();
        ListOffsetsTopicResponse::default()
            .with_name(topic.name)
            .with_partitions(partitions)
    };
    ListOffsetsResponse::default().with_topics(request.topics.into_iter().map(topic).collect())
}

/// Under read_committed nothing from the last stable offset on is found.
fn find(topic: &Topic, wanted: &ListOffsetsPartition, is_read_committed: bool) -> Result<(Found, i32), ErrorCode> {
    let partition = topic
        .partition(wanted.partition_index)
        .ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
    partition.check_leader_epoch(wanted.current_leader_epoch)?;
    let end = partition.look(|log| match is_read_committed {
        true => log.last_stable_offset(),
        false => log.next_offset(),
    });
    let nothing = Found {
        offset: -1,
        timestamp: -1,
    };
    let found = match wanted.timestamp {
        LATEST => Found {
            offset: end,
            timestamp: -1,
        },
        EARLIEST | EARLIEST_LOCAL => Found {
            offset: partition.look(Log::log_start_offset),
            timestamp: -1,
        },
        LATEST_TIERED => nothing,
        MAX_TIMESTAMP => {
            let batch = partition.look(|log| {
                log.batch_of_max_timestamp()
                    .map(|entry| (slice(entry), entry.max_timestamp))
            });
            match batch {
                Some((slice, timestamp)) => first_since(&partition, slice, timestamp)?,
                None => nothing,
            }
        }
        timestamp if timestamp < 0 => return Err(ErrorCode::UNSUPPORTED_VERSION),
        timestamp => match partition.look(|log| log.first_batch_since(timestamp).map(slice)) {
            Some(slice) => first_since(&partition, slice, timestamp)?,
            None => nothing,
        },
    };
    let found = match found.timestamp >= 0 && found.offset >= end {
        true => nothing,
        false => found,
    };
    Ok((found, partition.leader_epoch()))
}

fn slice(entry: &crate::log::Entry) -> LogSlice {
    let mut slice = LogSlice::default();
    slice.push(entry);
    slice
}

/// The first record of a batch at or after `timestamp`; never one that was deleted.
fn first_since(partition: &Partition, batch: LogSlice, timestamp: i64) -> Result<Found, ErrorCode> {
    let bytes = batch.into_bytes().map_err(|error| {
        warn!(partition = partition.index, %error, "Batch not read.");
        ErrorCode::KAFKA_STORAGE_ERROR
    })?;
    let batch = RawBatch::parse(bytes).map_err(|_| ErrorCode::CORRUPT_MESSAGE)?;
    let mut decompressor = Decompressor::default();
    let log_start_offset = partition.look(Log::log_start_offset);
    let records = batch
        .records(&mut decompressor)
        .map_err(|_| ErrorCode::CORRUPT_MESSAGE)?;
    for record in records {
        let record = record.map_err(|_| ErrorCode::CORRUPT_MESSAGE)?;
        if record.timestamp >= timestamp && record.offset >= log_start_offset {
            return Ok(Found {
                offset: record.offset,
                timestamp: record.timestamp,
            });
        }
    }
    // The header's max timestamp was the producer's word: take the batch for what it says.
    let offset = batch.header.base_offset.max(log_start_offset);
    Ok(Found {
        offset,
        timestamp: batch.header.max_timestamp,
    })
}
