//! What a reader that keeps to committed transactions sees.

use engine_wire::error_code::ErrorCode;
use engine_wire::messages::fetch_response::PartitionData;
use engine_wire::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use engine_wire::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use engine_wire::messages::{
    DescribeTransactionsRequest, FetchRequest, GroupId, ListOffsetsRequest, OffsetFetchRequest, TransactionalId,
};
use engine_wire::record_batch::split_batches;

use crate::client::{RawClient, fetch_request, name, read, string};

pub(crate) fn committed_only(request: FetchRequest) -> FetchRequest {
    request.with_isolation_level(1)
}

pub(crate) async fn fetch_committed(client: &mut RawClient, offset: i64) -> PartitionData {
    let request = committed_only(fetch_request("t", 0, offset, 0));
    client.ask(12, &request).await.responses.remove(0).partitions.remove(0)
}

/// Values of data batches without the records of the transactions that the answer says were aborted.
pub(crate) fn values(fetched: &PartitionData) -> Vec<String> {
    let mut values = Vec::new();
    let mut aborted = fetched.aborted_transactions.clone().unwrap_or_default();
    aborted.sort_by_key(|one| one.first_offset);
    let mut ended_by_marker = Vec::new();
    for batch in split_batches(fetched.records.clone().unwrap_or_default()) {
        let batch = batch.expect("a batch");
        let (producer_id, base_offset) = (batch.header.producer_id, batch.header.base_offset);
        while aborted.first().is_some_and(|one| one.first_offset <= base_offset) {
            ended_by_marker.push(aborted.remove(0).producer_id.0);
        }
        if batch.header.is_control() {
            ended_by_marker.retain(|aborted| *aborted != producer_id);
        } else if !(batch.header.is_transactional() && ended_by_marker.contains(&producer_id)) {
            values.extend(read(Some(batch.bytes)).into_iter().map(|(_, value)| value));
        }
    }
    values
}

pub(crate) async fn latest(client: &mut RawClient, isolation_level: i8) -> i64 {
    let wanted = ListOffsetsPartition::default().with_timestamp(-1);
    let topic = ListOffsetsTopic::default()
        .with_name(name("t"))
        .with_partitions(vec![wanted]);
    let request = ListOffsetsRequest::default()
        .with_isolation_level(isolation_level)
        .with_topics(vec![topic]);
    client
        .ask(6, &request)
        .await
        .topics
        .remove(0)
        .partitions
        .remove(0)
        .offset
}

/// Error code and offset that a group has for partition 0 of "t".
pub(crate) async fn position(client: &mut RawClient, require_stable: bool) -> (ErrorCode, i64) {
    let topic = OffsetFetchRequestTopics::default()
        .with_name(name("t"))
        .with_partition_indexes(vec![0]);
    let group = OffsetFetchRequestGroup::default()
        .with_group_id(GroupId(string("g")))
        .with_topics(Some(vec![topic]));
    let request = OffsetFetchRequest::default()
        .with_groups(vec![group])
        .with_require_stable(require_stable);
    let found = client
        .ask(9, &request)
        .await
        .groups
        .remove(0)
        .topics
        .remove(0)
        .partitions
        .remove(0);
    (found.error_code.into(), found.committed_offset)
}

pub(crate) async fn state(client: &mut RawClient) -> String {
    let ids = vec![TransactionalId(string("tx"))];
    let answer = client
        .ask(0, &DescribeTransactionsRequest::default().with_transactional_ids(ids))
        .await;
    answer.transaction_states[0].transaction_state.to_string()
}
