//! What the nodes answer to fetches and to questions about positions.
//!
//! Never here: what may be read (see `partition`), sessions (see `fetch_sessions`).

use engine_proto::fetch::lookup::{Found, Lookup, Question};
use engine_proto::fetch::plan::FetchPlan;
use engine_proto::fetch::position::Position;
use engine_wire::error_code::ErrorCode;
use engine_wire::messages::fetch_response::{
    AbortedTransaction, EpochEndOffset, FetchableTopicResponse, PartitionData,
};
use engine_wire::messages::{BrokerId, FetchResponse, ProducerId, StrBytes, TopicName};

use crate::cluster::{Cluster, NODES};
use crate::fetch_sessions::AskedPartition;

impl Cluster {
    pub(crate) fn fetch(&mut self, node_id: i32, plan: &FetchPlan, version: i16) -> FetchResponse {
        let mut sessions = std::mem::take(&mut self.sessions[node_id as usize]);
        let heard = sessions.hear(plan, version, |topic_id| self.topic_name(topic_id));
        let response = match heard {
            Err(code) => FetchResponse::default().with_error_code(code.code()),
            Ok(asked) => {
                let mut topics = Vec::new();
                for (tp, partition) in &asked.partitions {
                    let place = self.place(tp);
                    let data = self.fetch_partition(node_id, plan, version, place, *partition);
                    let data = data.with_partition_index(tp.partition);
                    if sessions.must_tell(&asked, tp, &data) {
                        let topic = FetchableTopicResponse::default()
                            .with_topic(TopicName(StrBytes::from_string(tp.topic.to_string())))
                            .with_topic_id(self.topic(&tp.topic).id);
                        topics.push(topic.with_partitions(vec![data]));
                    } else {
                        self.count("unchanged");
                    }
                }
                let is_throttled = self.trouble.throttles && self.rng().u32(0..10) == 0;
                FetchResponse::default()
                    .with_session_id(asked.session_id)
                    .with_throttle_time_ms(if is_throttled { 30 } else { 0 })
                    .with_responses(topics)
            }
        };
        self.sessions[node_id as usize] = sessions;
        response
    }

    fn fetch_partition(
        &mut self,
        node_id: i32,
        plan: &FetchPlan,
        version: i16,
        place: usize,
        asked: AskedPartition,
    ) -> PartitionData {
        let refused = |code: ErrorCode| {
            PartitionData::default()
                .with_error_code(code.code())
                .with_high_watermark(-1)
                .with_preferred_read_replica(BrokerId(-1))
        };
        let is_refused = self.network.rng.f64() < self.trouble.refused / 2.0;
        let partition = &self.partitions[place];
        let is_leader = partition.leader == Some(node_id);
        if is_refused || !is_leader && version < 11 {
            return refused(ErrorCode::NOT_LEADER_OR_FOLLOWER);
        }
        if asked.leader_epoch >= 0 && asked.leader_epoch != partition.leader_epoch {
            return refused(match asked.leader_epoch < partition.leader_epoch {
                true => ErrorCode::FENCED_LEADER_EPOCH,
                false => ErrorCode::UNKNOWN_LEADER_EPOCH,
            });
        }
        let log = &partition.replicas[node_id as usize];
        if !is_leader {
            let leader_log = partition.leader_log();
            if leader_log.is_none_or(|leader| log.end_offset_within(leader) < log.end_offset()) {
                // It has not heard of the leader yet, and so not cut off what the leader does not have.
                return refused(ErrorCode::NOT_LEADER_OR_FOLLOWER);
            }
        }
        let offset = asked.offset;
        if asked.last_fetched_epoch >= 0 {
            let end = log.epoch_end(asked.last_fetched_epoch, partition.leader_epoch);
            let Some((epoch, end_offset)) = end else {
                return refused(ErrorCode::OFFSET_OUT_OF_RANGE);
            };
            if epoch < asked.last_fetched_epoch || end_offset < offset {
                let diverging = EpochEndOffset::default().with_epoch(epoch).with_end_offset(end_offset);
                self.count("diverging fetches");
                return refused(ErrorCode::NONE).with_diverging_epoch(diverging);
            }
        }
        let end = if is_leader {
            log.end_offset()
        } else {
            partition.high_watermark.min(log.end_offset())
        };
        if offset < partition.log_start || offset > end {
            self.count("out of range");
            return refused(ErrorCode::OFFSET_OUT_OF_RANGE);
        }
        let high_watermark = partition.high_watermark.min(log.end_offset());
        let first_unstable = log.first_unstable_offset(high_watermark);
        let data = PartitionData::default()
            .with_high_watermark(high_watermark)
            .with_last_stable_offset(first_unstable.min(high_watermark))
            .with_log_start_offset(partition.log_start);
        let wants_replica = is_leader && !plan.rack_id.is_empty();
        if wants_replica && self.network.rng.u32(0..4) > 0 {
            let other = (node_id + 1) % NODES;
            self.count("sent to a follower");
            return data.with_preferred_read_replica(BrokerId(other));
        }
        let read_committed = plan.isolation_level == 1;
        let read = partition.read(node_id, offset, read_committed, &mut self.network.rng);
        let aborted = read.aborted.iter().map(|aborted| {
            AbortedTransaction::default()
                .with_producer_id(ProducerId(aborted.producer_id))
                .with_first_offset(aborted.first_offset)
        });
        data.with_preferred_read_replica(BrokerId(-1))
            .with_aborted_transactions(Some(aborted.collect()))
            .with_records(match self.network.rng.bool() && read.batches.is_empty() {
                true => None, // Null and empty both say that there is nothing.
                false => Some(read.batches.concat().into()),
            })
    }

    pub(crate) fn look_up(&mut self, node_id: i32, lookup: &Lookup) -> Found {
        let partition = self.partition(&lookup.tp);
        if partition.leader != Some(node_id) {
            return Found::Retry;
        }
        let at = |offset| {
            Found::At(Position {
                offset,
                leader_epoch: None,
            })
        };
        match lookup.question {
            Question::Committed => Found::Nothing,
            Question::Timestamp(-1) => at(partition.high_watermark),
            Question::Timestamp(_) | Question::Ago(_) => at(partition.log_start),
            Question::EndOfEpoch {
                leader_epoch,
                current_leader_epoch,
            } => {
                if current_leader_epoch >= 0 && current_leader_epoch != partition.leader_epoch {
                    return Found::Retry;
                }
                let end = partition.log().epoch_end(leader_epoch, partition.leader_epoch);
                Found::EpochEnd(match end {
                    Some((epoch, offset)) => Position {
                        offset,
                        leader_epoch: Some(epoch),
                    },
                    None => Position {
                        offset: -1,
                        leader_epoch: None,
                    },
                })
            }
        }
    }
}
