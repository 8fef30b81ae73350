//! A transactional producer of raw requests, in both protocols.

use engine_wire::error_code::ErrorCode;
use engine_wire::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use engine_wire::messages::txn_offset_commit_request::{TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic};
use engine_wire::messages::{
    AddOffsetsToTxnRequest, AddPartitionsToTxnRequest, EndTxnRequest, EndTxnResponse, GroupId, InitProducerIdRequest,
    InitProducerIdResponse, ProducerId, TransactionalId, TxnOffsetCommitRequest,
};
use engine_wire::record_batch::ProducerStamp;

use crate::client::{RawClient, name, produce_request, stamped_batch, string};

/// Produce and EndTxn as before KIP-890, and as it has them.
pub(crate) const EXPLICIT: Protocol = Protocol {
    produce: 9,
    end: 3,
    offsets: 3,
};
pub(crate) const IMPLICIT: Protocol = Protocol {
    produce: 12,
    end: 5,
    offsets: 5,
};

#[derive(Debug, Clone, Copy)]
pub(crate) struct Protocol {
    pub(crate) produce: i16,
    pub(crate) end: i16,
    pub(crate) offsets: i16,
}

pub(crate) struct TransactionalProducer {
    pub(crate) client: RawClient,
    pub(crate) protocol: Protocol,
    pub(crate) transactional_id: String,
    pub(crate) producer_id: i64,
    pub(crate) producer_epoch: i16,
    pub(crate) next_sequence: i32,
}

impl TransactionalProducer {
    /// Takes a producer id; transactions time out after a minute.
    pub(crate) async fn init(client: RawClient, protocol: Protocol, transactional_id: &str) -> Self {
        Self::init_with(client, protocol, transactional_id, 60_000).await
    }

    pub(crate) async fn init_with(
        mut client: RawClient,
        protocol: Protocol,
        transactional_id: &str,
        timeout_ms: i32,
    ) -> Self {
        let granted = client.ask(4, &init_request(transactional_id, timeout_ms)).await;
        assert_eq!(granted.error_code, 0);
        let InitProducerIdResponse {
            producer_id,
            producer_epoch,
            ..
        } = granted;
        Self {
            client,
            protocol,
            transactional_id: transactional_id.to_owned(),
            producer_id: producer_id.0,
            producer_epoch,
            next_sequence: 0,
        }
    }

    pub(crate) async fn add_partitions(&mut self, topic: &str, partitions: &[i32]) -> ErrorCode {
        let topic = AddPartitionsToTxnTopic::default()
            .with_name(name(topic))
            .with_partitions(partitions.to_vec());
        let add = AddPartitionsToTxnRequest::default()
            .with_v3_and_below_transactional_id(self.id())
            .with_v3_and_below_producer_id(ProducerId(self.producer_id))
            .with_v3_and_below_producer_epoch(self.producer_epoch)
            .with_v3_and_below_topics(vec![topic]);
        let answer = self.client.ask(3, &add).await;
        let result = &answer.results_by_topic_v3_and_below[0].results_by_partition[0];
        result.partition_error_code.into()
    }

    /// Adds the partition where the protocol wants that, and produces one batch.
    pub(crate) async fn produce(&mut self, topic: &str, partition: i32, values: &[&str]) -> ErrorCode {
        if self.protocol.produce < 12 {
            assert_eq!(self.add_partitions(topic, &[partition]).await, ErrorCode::NONE);
        }
        self.produce_only(topic, partition, values).await
    }

    pub(crate) async fn produce_only(&mut self, topic: &str, partition: i32, values: &[&str]) -> ErrorCode {
        let records = stamped_batch(
            values,
            ProducerStamp {
                producer_id: self.producer_id,
                producer_epoch: self.producer_epoch,
                base_sequence: self.next_sequence,
                is_transactional: true,
            },
        );
        let request = produce_request(topic, partition, records).with_transactional_id(Some(self.id()));
        let mut answer = self.client.ask(self.protocol.produce, &request).await;
        let code = answer.responses.remove(0).partition_responses.remove(0).error_code;
        if code == 0 {
            self.next_sequence += values.len() as i32;
        }
        code.into()
    }

    pub(crate) async fn add_group(&mut self, group: &str) -> ErrorCode {
        let add = AddOffsetsToTxnRequest::default()
            .with_transactional_id(self.id())
            .with_producer_id(ProducerId(self.producer_id))
            .with_producer_epoch(self.producer_epoch)
            .with_group_id(GroupId(string(group)));
        self.client.ask(3, &add).await.error_code.into()
    }

    /// An offset for partition 0 of a topic, by a member if there is one.
    pub(crate) async fn commit_offset(
        &mut self,
        group: &str,
        topic: &str,
        offset: i64,
        (member_id, generation_id): (&str, i32),
    ) -> ErrorCode {
        let wanted = TxnOffsetCommitRequestPartition::default()
            .with_committed_offset(offset)
            .with_committed_metadata(Some(string("in a transaction")));
        let topic = TxnOffsetCommitRequestTopic::default()
            .with_name(name(topic))
            .with_partitions(vec![wanted]);
        let commit = TxnOffsetCommitRequest::default()
            .with_transactional_id(self.id())
            .with_group_id(GroupId(string(group)))
            .with_producer_id(ProducerId(self.producer_id))
            .with_producer_epoch(self.producer_epoch)
            .with_member_id(string(member_id))
            .with_generation_id(generation_id)
            .with_topics(vec![topic]);
        let answer = self.client.ask(self.protocol.offsets, &commit).await;
        answer.topics[0].partitions[0].error_code.into()
    }

    /// Ends the transaction and goes on in the epoch of the answer, if it has one.
    pub(crate) async fn end(&mut self, is_committed: bool) -> ErrorCode {
        let answer = self.ask_end(is_committed).await;
        if answer.error_code == 0 && self.protocol.end >= 5 {
            assert_eq!(answer.producer_epoch, self.producer_epoch + 1);
            (self.producer_id, self.producer_epoch) = (answer.producer_id.0, answer.producer_epoch);
            self.next_sequence = 0;
        }
        answer.error_code.into()
    }

    pub(crate) async fn ask_end(&mut self, is_committed: bool) -> EndTxnResponse {
        self.try_end(is_committed).await.expect("an answer")
    }

    /// `None` if the broker closed the connection.
    pub(crate) async fn try_end(&mut self, is_committed: bool) -> Option<EndTxnResponse> {
        let end = EndTxnRequest::default()
            .with_transactional_id(self.id())
            .with_producer_id(ProducerId(self.producer_id))
            .with_producer_epoch(self.producer_epoch)
            .with_committed(is_committed);
        self.client.try_ask(self.protocol.end, &end).await
    }

    fn id(&self) -> TransactionalId {
        TransactionalId(string(&self.transactional_id))
    }
}

pub(crate) fn init_request(transactional_id: &str, timeout_ms: i32) -> InitProducerIdRequest {
    InitProducerIdRequest::default()
        .with_transactional_id(Some(TransactionalId(string(transactional_id))))
        .with_transaction_timeout_ms(timeout_ms)
        .with_producer_id(ProducerId(-1))
        .with_producer_epoch(-1)
}
