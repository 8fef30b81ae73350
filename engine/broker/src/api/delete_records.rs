//! DeleteRecords: moves a partition's start. -1 means its end.

use std::sync::Arc;

use engine_wire::error_code::ErrorCode;
use engine_wire::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use engine_wire::messages::delete_records_response::{DeleteRecordsPartitionResult, DeleteRecordsTopicResult};
use engine_wire::messages::{DeleteRecordsRequest, DeleteRecordsResponse};

use crate::exchange::Asker;
use crate::log::Log;
use crate::node::Node;

pub(super) fn handle(node: &Arc<Node>, _: Asker<'_>, request: DeleteRecordsRequest) -> DeleteRecordsResponse {
    respond(request, |topic, wanted| delete(node, topic, wanted))
}

pub(super) fn failed(_: Asker<'_>, request: DeleteRecordsRequest, code: ErrorCode) -> DeleteRecordsResponse {
    respond(request, |_, _| Err(code))
}

fn respond(
    request: DeleteRecordsRequest,
    delete: impl Fn(&str, &DeleteRecordsPartition) -> Result<i64, ErrorCode>,
) -> DeleteRecordsResponse {
    let topic = |topic: DeleteRecordsTopic| {
        let partition = |wanted: &DeleteRecordsPartition| {
            let result = DeleteRecordsPartitionResult::default().with_partition_index(wanted.partition_index);
            match delete(&topic.name, wanted) {
                Ok(low_watermark) => result.with_low_watermark(low_watermark),
                Err(code) => result.with_low_watermark(-1).with_error_code(code.code()),
            }
        };
        let partitions = topic.partitions.iter().map(partition).collect();
        DeleteRecordsTopicResult::default()
            .with_name(topic.name.clone())
            .with_partitions(partitions)
    };
    DeleteRecordsResponse::default().with_topics(request.topics.into_iter().map(topic).collect())
}

fn delete(node: &Node, name: &str, wanted: &DeleteRecordsPartition) -> Result<i64, ErrorCode> {
    let topic = node.topics.find(name).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
    let partition = topic
        .partition(wanted.partition_index)
        .ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
    if !topic.config().is_deleted {
        return Err(ErrorCode::POLICY_VIOLATION); // Compacted only, as in Kafka.
    }
    let end = partition.look(Log::next_offset);
    let offset = match wanted.offset {
        -1 => end,
        offset if (0..=end).contains(&offset) => offset,
        _ => return Err(ErrorCode::OFFSET_OUT_OF_RANGE),
    };
    let deleted = node.delete_records(&topic, &partition, offset);
    deleted.map_err(|error| node.storage_failed("record a log's start", &error).0)
}
