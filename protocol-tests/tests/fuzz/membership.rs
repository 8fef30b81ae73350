//! Answers of a group's coordinator, as odd as can be, into the membership machine.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use engine_proto::TopicPartition;
use engine_proto::backoff::BackoffPolicy;
use engine_proto::group::action::{GroupAction, GroupError, Joined};
use engine_proto::group::assignor::cooperative_sticky::CooperativeStickyAssignor;
use engine_proto::group::assignor::range::RangeAssignor;
use engine_proto::group::assignor::round_robin::RoundRobinAssignor;
use engine_proto::group::assignor::sticky::StickyAssignor;
use engine_proto::group::assignor::{Assignor, GroupMember, PartitionCounts};
use engine_proto::group::consumer_protocol::{Assignment, Subscription};
use engine_proto::group::member_state::{MemberState, MembershipConfig};
use engine_proto::group::membership::Membership;
use engine_proto::group::ownership::GroupEvent;
use protocol_tests::fuzzing::{Source, fuzz};

use super::alone;

const TOPICS: [&str; 3] = ["orders", "views", ""];
const MEMBERS: [&str; 4] = ["us", "them", "", "others"];

fn config(source: &mut Source<'_>) -> MembershipConfig {
    let offered: [Arc<dyn Assignor>; 4] = [
        Arc::new(RangeAssignor),
        Arc::new(RoundRobinAssignor),
        Arc::new(StickyAssignor),
        Arc::new(CooperativeStickyAssignor),
    ];
    let first = source.below(4);
    MembershipConfig {
        group_instance_id: source.once_in(4).then(|| "static".into()),
        session_timeout: Duration::from_secs(6),
        heartbeat_interval: Duration::from_secs(2),
        max_poll_interval: Duration::from_secs(30),
        rebalance_timeout: Duration::from_secs(30),
        backoff: BackoffPolicy {
            initial: Duration::from_millis(100),
            max: Duration::from_secs(1),
        },
        assignors: vec![Arc::clone(&offered[first])],
        rack_id: None,
    }
}

fn partitions(source: &mut Source<'_>) -> Vec<TopicPartition> {
    (0..source.below(5))
        .map(|_| TopicPartition::new(source.pick(&TOPICS), source.int32()))
        .collect()
}

fn error(source: &mut Source<'_>) -> GroupError {
    match source.below(8) {
        0 => GroupError::CoordinatorLoading,
        1 => GroupError::MemberIdRequired {
            member_id: source.pick(&MEMBERS).into(),
        },
        2 => GroupError::UnknownMemberId,
        3 => GroupError::IllegalGeneration,
        4 => GroupError::RebalanceInProgress,
        5 => GroupError::FencedInstanceId,
        6 if source.once_in(8) => GroupError::Fatal {
            name: "FATAL".into(),
            message: "no".into(),
        },
        _ => GroupError::CoordinatorUnavailable,
    }
}

fn joined(source: &mut Source<'_>, protocols: &[(String, Bytes)]) -> Joined {
    let members = (0..source.below(5)).map(|_| {
        let subscription = if source.once_in(3) {
            Subscription::decode(Bytes::copy_from_slice(source.bytes())).unwrap_or_default()
        } else {
            Subscription {
                topics: (0..source.below(3)).map(|_| source.pick(&TOPICS).to_owned()).collect(),
                user_data: source.once_in(2).then(|| Bytes::copy_from_slice(source.bytes())),
                owned_partitions: partitions(source),
                generation_id: source.once_in(2).then(|| source.int32()),
                rack_id: None,
            }
        };
        GroupMember {
            member_id: source.pick(&MEMBERS).into(),
            group_instance_id: source.once_in(4).then(|| source.pick(&MEMBERS).into()),
            subscription,
        }
    });
    let members = members.collect();
    let offered = protocols.first().map_or("", |(name, _)| name);
    Joined {
        generation_id: source.int32(),
        member_id: source.pick(&["us", "us", "us", "them", ""]).into(),
        leader: source.pick(&["us", "us", "them", ""]).into(),
        protocol_name: if source.once_in(12) { "nobody's" } else { offered }.into(),
        members,
        skip_assignment: source.once_in(8),
    }
}

fn assignment(source: &mut Source<'_>) -> Bytes {
    match source.below(6) {
        0 => Bytes::copy_from_slice(source.bytes()),
        _ => Assignment {
            partitions: partitions(source),
            user_data: None,
        }
        .encode(),
    }
}

fn answer(source: &mut Source<'_>, membership: &mut Membership, now: Instant, action: GroupAction) {
    let fails = source.once_in(4);
    match action {
        GroupAction::FindCoordinator => {
            let found = if fails { Err(error(source)) } else { Ok(source.int32()) };
            membership.handle_coordinator(now, found);
        }
        GroupAction::Join(join) => {
            let answer = if fails {
                Err(error(source))
            } else {
                Ok(joined(source, &join.protocols))
            };
            membership.handle_join(now, join.attempt, answer);
        }
        GroupAction::CountPartitions { generation_id, topics } => {
            let counts: PartitionCounts = topics
                .into_iter()
                .filter_map(|topic| (!source.once_in(6)).then(|| (topic, i32::from(source.byte() % 40))))
                .collect();
            let answer = if fails { Err(error(source)) } else { Ok(counts) };
            membership.handle_partition_counts(generation_id, answer, now);
        }
        GroupAction::Sync(sync) => {
            let answer = if fails {
                Err(error(source))
            } else {
                Ok(assignment(source))
            };
            membership.handle_sync(now, sync.identity.generation_id, answer);
        }
        GroupAction::Heartbeat(identity) => {
            let answer = if fails { Err(error(source)) } else { Ok(()) };
            membership.handle_heartbeat(now, identity.generation_id, answer);
        }
        GroupAction::Leave(_) => {}
    }
}

#[test]
fn group_answers() {
    let _alone = alone();
    let examples = vec![[0, 0, 2, 0, 1, 2].repeat(40), vec![0; 100], (0..=255).collect()];
    fuzz("group_answers", examples, 10_000, |input| {
        let mut source = Source::new(input);
        let mut now = Instant::now();
        let mut membership = Membership::new(now, config(&mut source), 1);
        membership.handle_subscribe(now, ["orders".into()]);
        membership.handle_poll_entered(now);
        let mut actions = Vec::new();
        let mut owned: BTreeSet<TopicPartition> = BTreeSet::new();
        let mut revoking: BTreeSet<TopicPartition> = BTreeSet::new();
        let mut finished: BTreeSet<TopicPartition> = BTreeSet::new();
        let mut outcome = String::new();
        while !source.is_used_up() {
            match source.below(8) {
                0..=2 => {
                    actions.extend(membership.poll_action(now));
                    if let Some(action) = actions.pop() {
                        answer(&mut source, &mut membership, now, action);
                    }
                }
                3 => {
                    actions.extend(membership.poll_action(now)); // Answered late.
                    actions.truncate(4);
                }
                4 => now += Duration::from_millis(u64::from(source.byte()) * 40),
                5 => match membership.poll_event() {
                    Some(GroupEvent::Assigned { partitions, .. }) => {
                        for tp in partitions {
                            assert!(tp.partition >= 0 && owned.insert(tp), "assigned what it had");
                        }
                        outcome.push('a');
                    }
                    Some(GroupEvent::Revoked { partitions, .. }) => {
                        for tp in partitions {
                            assert!(owned.remove(&tp), "revoked what it had not");
                            revoking.insert(tp);
                        }
                        outcome.push('r');
                    }
                    Some(GroupEvent::Lost { partitions }) => {
                        for tp in partitions {
                            let had = owned.remove(&tp) || revoking.remove(&tp) || finished.remove(&tp);
                            assert!(had, "lost what it had not");
                        }
                        outcome.push('l');
                    }
                    None => {}
                },
                6 => {
                    // If the membership was lost meanwhile, the machine does not take it for finished.
                    finished.append(&mut revoking);
                    membership.handle_revoked(now);
                }
                _ => match source.below(6) {
                    0 => membership.handle_poll_left(now),
                    1 => _ = membership.handle_poll_entered(now),
                    2 => membership.handle_subscribe(now, [source.pick(&TOPICS).into()]),
                    3 => membership.handle_commit_refused(now, source.int32(), error(&mut source)),
                    4 => {
                        let counts = [("orders".into(), source.below(9) as i32)].into();
                        membership.handle_cluster(now, &counts);
                    }
                    _ if source.once_in(8) => membership.handle_close(),
                    _ => {}
                },
            }
            outcome += &format!("{:?}", std::mem::discriminant(&membership.state()));
            if let Some(failure) = membership.poll_failure() {
                assert_eq!(membership.state(), MemberState::Left);
                outcome += &failure.to_string();
            }
            let _ = (membership.poll_timeout(), membership.commit_generation());
        }
        outcome
    });
}
