//! Answers to a transaction's requests, as odd as can be, into the transactional producer's machine.

use std::sync::Arc;

use engine_proto::TopicPartition;
use engine_proto::producer::{
    ConsumerGroupMetadata, OffsetsToCommit, ProducerMachine, TransactionAnswer, TransactionEnd, TransactionOffset,
    TransactionOutcome, TransactionRequest,
};
use engine_proto::sequence::ProducerIdentity;
use engine_wire::error_code::ErrorCode;
use protocol_tests::fuzzing::{Source, fuzz};

use super::alone;
use super::producer::{Scene, options};

fn outcome(source: &mut Source<'_>, request: &TransactionRequest) -> TransactionOutcome {
    match source.below(12) {
        0 => return TransactionOutcome::Lost("cut".into()),
        1 if source.once_in(8) => return TransactionOutcome::Impossible("no".into()),
        _ => {}
    }
    let mut codes = vec![(None, ErrorCode::from(source.error_code()))];
    if let TransactionRequest::AddPartitions { partitions, .. } = request {
        for tp in partitions {
            codes.push((Some(tp.clone()), ErrorCode::from(source.error_code())));
        }
    }
    if source.once_in(16) {
        codes.clear();
    }
    if source.once_in(16) {
        codes.push((
            Some(TopicPartition::new("nobody's", source.int32())),
            ErrorCode::from(source.error_code()),
        ));
    }
    let identity = ProducerIdentity {
        producer_id: if source.once_in(8) { source.int64() } else { 7 },
        producer_epoch: source.int32() as i16,
    };
    // Other answers have no identity in them.
    let has_identity = matches!(
        request,
        TransactionRequest::InitProducerId { .. } | TransactionRequest::EndTxn { .. }
    );
    TransactionOutcome::Answered(TransactionAnswer {
        codes,
        identity: (has_identity && !source.once_in(6)).then_some(identity),
        transaction_version: source.int32() as i16,
    })
}

fn offsets() -> Arc<OffsetsToCommit> {
    Arc::new(OffsetsToCommit {
        group: ConsumerGroupMetadata {
            group_id: "group".into(),
            generation_id: 1,
            member_id: "member".into(),
            group_instance_id: None,
        },
        offsets: vec![TransactionOffset {
            tp: TopicPartition::new("orders", 0),
            offset: 5,
            leader_epoch: None,
            metadata: String::new(),
        }],
    })
}

#[test]
fn transaction_answers() {
    let _alone = alone();
    let examples = vec![[0, 1, 5, 0, 4, 6, 2, 5].repeat(40), vec![0; 100], (0..=255).collect()];
    fuzz("transaction_answers", examples, 10_000, |input| {
        let mut source = Source::new(input);
        let options = options(&mut source);
        let mut scene = Scene::new(ProducerMachine::new(options, 1).with_transactions("id".into()));
        let mut requests: Vec<TransactionRequest> = Vec::new();
        let mut told = String::new();
        while !source.is_used_up() {
            match source.below(10) {
                0 => told += &format!("{:?}", scene.machine.init_transactions().is_ok()),
                1 => told += &format!("{:?}", scene.machine.begin_transaction().is_ok()),
                2 => {
                    let end = source.pick(&[TransactionEnd::Commit, TransactionEnd::Abort]);
                    if let Ok(number) = scene.machine.end_transaction(end) {
                        told += &format!("{:?}", scene.machine.poll_ended(number, end));
                    }
                }
                3 => {
                    if let Ok(Some(ticket)) = scene.machine.send_offsets(offsets()) {
                        told += &format!("{:?}", scene.machine.poll_offsets(ticket));
                    }
                }
                4 => requests.extend(scene.machine.poll_transaction_request(scene.now)),
                5 => {
                    if let Some(request) = requests.pop() {
                        let outcome = outcome(&mut source, &request);
                        scene.machine.handle_transaction_outcome(scene.now, &outcome);
                    }
                }
                _ => scene.step(&mut source),
            }
            told += &format!("{:?}", scene.machine.poll_initialized());
            let _ = scene.machine.poll_transaction_news();
        }
        told + &scene.end()
    });
}
