//! SyncGroup: the leader's assignment on its way to every member.

use std::time::Instant;

use bytes::Bytes;
use engine_wire::error_code::ErrorCode;

use crate::group::{Group, Reply, State};

/// A SyncGroup request.
#[derive(Debug, Clone)]
pub(crate) struct SyncRequest {
    pub(crate) member_id: String,
    pub(crate) instance_id: Option<String>,
    pub(crate) generation_id: i32,
    pub(crate) protocol_type: Option<String>,
    pub(crate) protocol_name: Option<String>,
    /// Member id → assignment; only the leader's counts.
    pub(crate) assignments: Vec<(String, Bytes)>,
}

/// What a SyncGroup is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SyncAnswer {
    pub(crate) error: Option<ErrorCode>,
    pub(crate) protocol_type: Option<String>,
    pub(crate) protocol_name: Option<String>,
    pub(crate) assignment: Bytes,
}

impl SyncAnswer {
    pub(crate) fn error(error: ErrorCode) -> Self {
        Self {
            error: Some(error),
            protocol_type: None,
            protocol_name: None,
            assignment: Bytes::new(),
        }
    }
}

impl Group {
    /// A member asks for its assignment; the leader brings everybody's. `reply` is answered now, or when the
    /// leader has come.
    pub(crate) fn sync(&mut self, now: Instant, request: SyncRequest, reply: Reply<SyncAnswer>) {
        if let Err(error) = self.check_sync(&request) {
            let _ = reply.send(SyncAnswer::error(error));
            return;
        }
        let is_leader = self.leader.as_deref() == Some(request.member_id.as_str());
        let Some(member) = self.members.get_mut(&request.member_id) else {
            return;
        };
        member.touch(now);
        member.answer_sync(SyncAnswer::error(ErrorCode::REBALANCE_IN_PROGRESS)); // One that was sent before.
        member.sync_reply = Some(reply);
        if self.state == State::Stable {
            self.answer_sync(&request.member_id);
        } else if is_leader {
            for (member_id, assignment) in request.assignments {
                if let Some(member) = self.members.get_mut(&member_id) {
                    member.assignment = assignment;
                }
            }
            self.state = State::Stable;
            let ids: Vec<String> = self.members.keys().cloned().collect();
            for member_id in ids {
                if let Some(member) = self
                    .members
                    .get_mut(&member_id)
                    .filter(|member| member.sync_reply.is_some())
                {
                    member.touch(now);
                    self.answer_sync(&member_id);
                }
            }
        }
    }

    fn check_sync(&self, request: &SyncRequest) -> Result<(), ErrorCode> {
        self.check_generation(
            &request.member_id,
            request.instance_id.as_deref(),
            request.generation_id,
        )?;
        let differs =
            |sent: &Option<String>, ours: Option<&str>| sent.as_deref().is_some_and(|sent| Some(sent) != ours);
        match self.state {
            State::Empty => Err(ErrorCode::UNKNOWN_MEMBER_ID),
            State::Preparing { .. } => Err(ErrorCode::REBALANCE_IN_PROGRESS),
            State::Completing { .. } | State::Stable
                if differs(&request.protocol_type, Some(&self.protocol_type))
                    || differs(&request.protocol_name, self.protocol_name.as_deref()) =>
            {
                Err(ErrorCode::INCONSISTENT_GROUP_PROTOCOL)
            }
            State::Completing { .. } | State::Stable => Ok(()),
        }
    }

    /// Members that joined but did not ask for their assignment in time are removed.
    pub(super) fn handle_sync_deadline(&mut self, now: Instant) {
        let silent = self.members.values().filter(|member| member.sync_reply.is_none());
        let silent: Vec<String> = silent.map(|member| member.id.clone()).collect();
        for member_id in silent {
            self.remove_member(&member_id);
        }
        self.rebalance_after_removal(now);
        self.complete_join_if_all_are_here(now);
    }

    fn answer_sync(&mut self, member_id: &str) {
        let (protocol_type, protocol_name) = (Some(self.protocol_type.clone()), self.protocol_name.clone());
        if let Some(member) = self.members.get_mut(member_id) {
            let assignment = member.assignment.clone();
            member.answer_sync(SyncAnswer {
                error: None,
                protocol_type,
                protocol_name,
                assignment,
            });
        }
    }
}
