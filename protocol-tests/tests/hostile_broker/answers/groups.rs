//! Lies to members of a group: assignments, generations, committed offsets.

use bytes::Bytes;
use engine_wire::messages::*;
use protocol_tests::tampering_proxy::{Exchange, Reply};

use super::{UNKNOWN_CODE, case};
use crate::cases::{Expected, Lie, run};
use crate::operations::Operation::*;

fn given(exchange: &mut Exchange<'_>, assignment: &'static [u8]) -> Reply {
    exchange.changed(|answer: &mut SyncGroupResponse| answer.assignment = Bytes::from_static(assignment))
}

const GROUPS: &[(&str, ApiKey, Lie)] = &[
    ("generation -1", ApiKey::JoinGroup, |x| {
        x.changed(|answer: &mut JoinGroupResponse| answer.generation_id = -1)
    }),
    ("generation 2^31 - 1", ApiKey::JoinGroup, |x| {
        x.changed(|answer: &mut JoinGroupResponse| answer.generation_id = i32::MAX)
    }),
    ("no member id", ApiKey::JoinGroup, |x| {
        x.changed(|answer: &mut JoinGroupResponse| answer.member_id = StrBytes::default())
    }),
    ("nobody leads", ApiKey::JoinGroup, |x| {
        x.changed(|answer: &mut JoinGroupResponse| answer.leader = StrBytes::from_static_str("nobody"))
    }),
    ("a protocol that nobody offered", ApiKey::JoinGroup, |x| {
        x.changed(|answer: &mut JoinGroupResponse| {
            answer.protocol_name = Some(StrBytes::from_static_str("nobody's"));
        })
    }),
    ("every member twice", ApiKey::JoinGroup, |x| {
        x.changed(|answer: &mut JoinGroupResponse| answer.members.extend(answer.members.clone()))
    }),
    ("no members", ApiKey::JoinGroup, |x| {
        x.changed(|answer: &mut JoinGroupResponse| answer.members.clear())
    }),
    ("a member that says noise", ApiKey::JoinGroup, |x| {
        x.changed(|answer: &mut JoinGroupResponse| {
            answer
                .members
                .iter_mut()
                .for_each(|member| member.metadata = Bytes::from_static(&[0x7f; 40]));
        })
    }),
    ("an unknown error", ApiKey::JoinGroup, |x| {
        x.changed(|answer: &mut JoinGroupResponse| answer.error_code = UNKNOWN_CODE)
    }),
    ("a topic that nobody knows", ApiKey::SyncGroup, |x| {
        given(x, b"\0\0\0\0\0\x01\0\x04none\0\0\0\x01\0\0\0\0\xff\xff\xff\xff")
    }),
    ("partitions that cannot be", ApiKey::SyncGroup, |x| {
        given(
            x,
            b"\0\0\0\0\0\x01\0\x06orders\0\0\0\x03\x7f\xff\xff\xff\x80\0\0\0\0\0\0\x63\xff\xff\xff\xff",
        )
    }),
    ("a partition twice", ApiKey::SyncGroup, |x| {
        given(
            x,
            b"\0\0\0\0\0\x01\0\x06orders\0\0\0\x02\0\0\0\0\0\0\0\0\xff\xff\xff\xff",
        )
    }),
    ("noise for an assignment", ApiKey::SyncGroup, |x| given(x, &[0x7f; 60])),
    ("no assignment", ApiKey::SyncGroup, |x| given(x, b"")),
    ("an unknown error", ApiKey::SyncGroup, |x| {
        x.changed(|answer: &mut SyncGroupResponse| answer.error_code = UNKNOWN_CODE)
    }),
    ("a rebalance without end", ApiKey::SyncGroup, |x| {
        x.changed(|answer: &mut SyncGroupResponse| answer.error_code = 27)
    }),
    ("an unknown error", ApiKey::Heartbeat, |x| {
        x.changed(|answer: &mut HeartbeatResponse| answer.error_code = UNKNOWN_CODE)
    }),
    ("a rebalance without end", ApiKey::Heartbeat, |x| {
        x.changed(|answer: &mut HeartbeatResponse| answer.error_code = 27)
    }),
    ("nothing", ApiKey::OffsetFetch, |x| {
        x.changed(|answer: &mut OffsetFetchResponse| {
            answer.topics.clear();
            answer.groups.clear();
        })
    }),
    ("another group", ApiKey::OffsetFetch, |x| {
        x.changed(|answer: &mut OffsetFetchResponse| {
            answer
                .groups
                .iter_mut()
                .for_each(|group| group.group_id = GroupId(StrBytes::from_static_str("nobody's")));
        })
    }),
    ("a negative offset", ApiKey::OffsetFetch, |x| committed(x, -7, -1)),
    ("an offset beyond all logs", ApiKey::OffsetFetch, |x| {
        committed(x, i64::MAX, 0)
    }),
    ("an epoch of the far future", ApiKey::OffsetFetch, |x| {
        committed(x, 0, i32::MAX)
    }),
    ("a negative epoch", ApiKey::OffsetFetch, |x| committed(x, 0, i32::MIN)),
    ("nothing", ApiKey::OffsetCommit, |x| {
        x.changed(|answer: &mut OffsetCommitResponse| answer.topics.clear())
    }),
    ("an unknown error", ApiKey::OffsetCommit, |x| {
        x.changed(|answer: &mut OffsetCommitResponse| {
            for topic in &mut answer.topics {
                topic
                    .partitions
                    .iter_mut()
                    .for_each(|partition| partition.error_code = UNKNOWN_CODE);
            }
        })
    }),
    ("another partition", ApiKey::OffsetCommit, |x| {
        x.changed(|answer: &mut OffsetCommitResponse| {
            for topic in &mut answer.topics {
                topic
                    .partitions
                    .iter_mut()
                    .for_each(|partition| partition.partition_index = 77);
            }
        })
    }),
];

fn committed(exchange: &mut Exchange<'_>, offset: i64, leader_epoch: i32) -> Reply {
    exchange.changed(|answer: &mut OffsetFetchResponse| {
        for topic in answer.groups.iter_mut().flat_map(|group| &mut group.topics) {
            for partition in &mut topic.partitions {
                (partition.committed_offset, partition.committed_leader_epoch) = (offset, leader_epoch);
            }
        }
    })
}

#[test]
fn group_members_survive_odd_answers() {
    let cases = GROUPS.iter();
    run(cases
        .map(|(what, api, lie)| case(Join, *api, what, *lie, Expected::AnEnd))
        .collect());
}
