//! What the members and their coordinator send one another.
//!
//! Never here: when members act, and what must hold (see `membership`).

use std::collections::BTreeMap;

use bytes::Bytes;
use engine_proto::TopicPartition;
use engine_proto::group::action::{GroupAction, GroupError, Identity, Join, Joined, Sync};

use super::{Group, Happening, LANES, NODES};
use crate::group_coordinator::Due;
use crate::network::{Delivery, Line};

#[derive(Debug)]
pub(super) enum Request {
    FindCoordinator,
    Join(Join),
    Sync(Sync),
    Heartbeat(Identity),
    Leave(Identity),
    Commit {
        member_id: String,
        generation_id: i32,
        offsets: BTreeMap<TopicPartition, i64>,
    },
}

#[derive(Debug)]
pub(super) enum Answer {
    Coordinator(i32),
    Joined(Result<Joined, GroupError>),
    Synced(Result<Bytes, GroupError>),
    /// Of a heartbeat or a commit.
    Done(Result<(), GroupError>),
}

/// What a request was, for whoever is told of its end.
pub(super) enum Sent {
    FindCoordinator,
    Join { attempt: u64 },
    Sync { generation_id: i32 },
    Heartbeat { generation_id: i32 },
    Leave,
    Commit { generation_id: i32 },
}

impl Group {
    pub(super) fn act(&mut self, index: usize, action: GroupAction) {
        let now = self.network.now;
        match action {
            GroupAction::FindCoordinator => {
                let node_id = self.rng.i32(0..NODES);
                self.send(index, node_id, Request::FindCoordinator, Sent::FindCoordinator);
            }
            GroupAction::Join(join) => {
                let (node_id, attempt) = (join.coordinator, join.attempt);
                self.send(index, node_id, Request::Join(join), Sent::Join { attempt });
            }
            GroupAction::Sync(sync) => {
                let (node_id, generation_id) = (sync.identity.coordinator, sync.identity.generation_id);
                self.send(index, node_id, Request::Sync(sync), Sent::Sync { generation_id });
            }
            GroupAction::Heartbeat(identity) => {
                self.players[index].heard_at = now;
                let (node_id, generation_id) = (identity.coordinator, identity.generation_id);
                self.send(
                    index,
                    node_id,
                    Request::Heartbeat(identity),
                    Sent::Heartbeat { generation_id },
                );
            }
            GroupAction::Leave(identity) => {
                self.send(index, identity.coordinator, Request::Leave(identity), Sent::Leave);
            }
            GroupAction::CountPartitions { generation_id, .. } => {
                let counts = self.counts();
                let member = &mut self.players[index].member;
                member.handle_partition_counts(generation_id, Ok(counts), now);
            }
        }
    }

    pub(super) fn send(&mut self, index: usize, node_id: i32, request: Request, sent: Sent) {
        let client = self.players[index].client;
        // A request that may be parked has a connection of its own, as in the client; the others do not wait behind it.
        let lane = match request {
            Request::Join(_) | Request::Sync(_) => 0,
            Request::Commit { .. } => 1,
            _ => 2,
        };
        let line = Line {
            client: client * LANES + lane,
            node_id,
        };
        let id = self.network.send(line, request);
        self.players[index].in_flight.insert(id, sent);
    }

    pub(super) fn take(&mut self, delivery: Delivery<Request, Answer, Happening>) {
        match delivery {
            Delivery::Request { id, line, request } => self.handle(id, line, request),
            Delivery::Answer { id, line, answer } => self.tell(line, id, Some(answer)),
            Delivery::Lost { id, line } => self.tell(line, id, None),
            Delivery::Timer(happening) => self.happen(happening),
        }
    }

    fn handle(&mut self, id: u64, line: Line, request: Request) {
        let now = self.network.now;
        if let Request::FindCoordinator = request {
            return self.network.answer(id, Answer::Coordinator(self.node_id));
        }
        // What was given up must not be taken for the member's word: the coordinator heard its connection close.
        if !self.network.is_awaited(id) {
            return;
        }
        let elsewhere = GroupError::CoordinatorUnavailable;
        let is_here = line.node_id == self.node_id;
        match request {
            Request::FindCoordinator => {}
            Request::Join(_) if !is_here => self.network.answer(id, Answer::Joined(Err(elsewhere))),
            Request::Sync(_) if !is_here => self.network.answer(id, Answer::Synced(Err(elsewhere))),
            _ if !is_here => self.network.answer(id, Answer::Done(Err(elsewhere))),
            Request::Join(join) => {
                let due = self.coordinator.join(now, id, join);
                self.answer(due);
            }
            Request::Sync(sync) => {
                let due = self.coordinator.sync(now, id, sync);
                self.answer(due);
            }
            Request::Heartbeat(identity) => {
                let result = self
                    .coordinator
                    .heartbeat(now, &identity.member_id, identity.generation_id);
                self.network.answer(id, Answer::Done(result));
            }
            Request::Leave(identity) => {
                let due = self.coordinator.leave(now, &identity.member_id);
                self.answer(due);
                self.network.answer(id, Answer::Done(Ok(())));
            }
            Request::Commit {
                member_id,
                generation_id,
                offsets,
            } => {
                let result = self.coordinator.commit(now, &member_id, generation_id, &offsets);
                self.commits += 1;
                self.refused += u64::from(result.is_err());
                self.network.answer(id, Answer::Done(result));
            }
        }
    }

    pub(super) fn answer(&mut self, due: Vec<Due>) {
        for due in due {
            match due {
                Due::Joined(id, result) => self.network.answer(id, Answer::Joined(result)),
                Due::Synced(id, result) => self.network.answer(id, Answer::Synced(result)),
            }
        }
    }

    fn tell(&mut self, line: Line, id: u64, answer: Option<Answer>) {
        let now = self.network.now;
        let player = self
            .players
            .iter_mut()
            .find(|player| player.client == line.client / LANES);
        let Some(player) = player else {
            return; // It was replaced meanwhile.
        };
        let lost = GroupError::CoordinatorUnavailable;
        let member = &mut player.member;
        match (player.in_flight.remove(&id).expect("each request ends once"), answer) {
            (Sent::FindCoordinator, Some(Answer::Coordinator(node_id))) => member.handle_coordinator(now, Ok(node_id)),
            (Sent::FindCoordinator, None) => member.handle_coordinator(now, Err(lost)),
            (Sent::Join { attempt }, Some(Answer::Joined(result))) => {
                player.heard_at = now;
                member.handle_join(now, attempt, result);
            }
            (Sent::Join { attempt }, None) => member.handle_join(now, attempt, Err(lost)),
            (Sent::Sync { generation_id }, Some(Answer::Synced(result))) => {
                member.handle_sync(now, generation_id, result);
            }
            (Sent::Sync { generation_id }, None) => member.handle_sync(now, generation_id, Err(lost)),
            (Sent::Heartbeat { generation_id }, Some(Answer::Done(result))) => {
                member.handle_heartbeat(now, generation_id, result);
            }
            (Sent::Heartbeat { generation_id }, None) => member.handle_heartbeat(now, generation_id, Err(lost)),
            (Sent::Commit { generation_id }, Some(Answer::Done(Err(error)))) => {
                member.handle_commit_refused(now, generation_id, error);
            }
            (Sent::Commit { .. } | Sent::Leave, _) => {}
            (_, answer) => panic!("{answer:?} answers another request"),
        }
    }
}
