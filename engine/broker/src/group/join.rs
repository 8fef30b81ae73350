//! JoinGroup: who is in the next generation, and when it begins.

use std::time::{Duration, Instant};

use bytes::Bytes;
use engine_wire::error_code::ErrorCode;

use crate::group::member::Member;
use crate::group::sync::SyncAnswer;
use crate::group::{Group, Reply, State};

/// A JoinGroup request, and what the broker knows about its sender.
#[derive(Debug, Clone)]
pub(crate) struct JoinRequest {
    /// Empty for a member that has none yet.
    pub(crate) member_id: String,
    pub(crate) instance_id: Option<String>,
    pub(crate) client_id: String,
    pub(crate) client_host: String,
    pub(crate) session_timeout: Duration,
    pub(crate) rebalance_timeout: Duration,
    pub(crate) protocol_type: String,
    pub(crate) protocols: Vec<(String, Bytes)>,
    /// From version 4 on a new dynamic member is told its id first and joins with it (KIP-394).
    pub(crate) member_id_required: bool,
    /// From version 9 on a returning static leader may be told to skip the assignment (KIP-814).
    pub(crate) can_skip_assignment: bool,
    /// The id to use if the sender has none.
    pub(crate) new_member_id: String,
}

/// What a JoinGroup is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct JoinAnswer {
    pub(crate) error: Option<ErrorCode>,
    pub(crate) generation_id: i32,
    pub(crate) protocol_type: Option<String>,
    pub(crate) protocol_name: Option<String>,
    pub(crate) leader: String,
    pub(crate) skip_assignment: bool,
    pub(crate) member_id: String,
    /// Only for the leader.
    pub(crate) members: Vec<JoinedMember>,
}

/// A member as the leader sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct JoinedMember {
    pub(crate) member_id: String,
    pub(crate) instance_id: Option<String>,
    pub(crate) metadata: Bytes,
}

impl JoinAnswer {
    pub(crate) fn error(error: ErrorCode, member_id: String) -> Self {
        Self {
            error: Some(error),
            generation_id: -1,
            protocol_type: None,
            protocol_name: None,
            leader: String::new(),
            skip_assignment: false,
            member_id,
            members: Vec::new(),
        }
    }
}

impl Group {
    /// A member joins or rejoins. `reply` is answered now, or when the rebalance ends.
    pub(crate) fn join(&mut self, now: Instant, request: JoinRequest, reply: Reply<JoinAnswer>) {
        let member_id = request.member_id.clone();
        let refused = match self.check_join(&request) {
            Err(error) => Some(error),
            Ok(()) if request.member_id.is_empty() => return self.join_new(now, request, reply),
            Ok(()) => match self.check_rejoin(&request) {
                Err(error) => Some(error),
                Ok(()) => return self.join_known(now, request, reply),
            },
        };
        if let Some(error) = refused {
            let _ = reply.send(JoinAnswer::error(error, member_id));
        }
    }

    fn check_join(&self, request: &JoinRequest) -> Result<(), ErrorCode> {
        let sessions = self.limits.session_timeout_min..=self.limits.session_timeout_max;
        if !sessions.contains(&request.session_timeout) {
            return Err(ErrorCode::INVALID_SESSION_TIMEOUT);
        }
        if request.protocol_type.is_empty() || request.protocols.is_empty() {
            return Err(ErrorCode::INCONSISTENT_GROUP_PROTOCOL);
        }
        if !self.members.is_empty() {
            let others = || self.members.values().filter(|member| member.id != request.member_id);
            let shared = |(name, _): &(String, Bytes)| others().all(|member| member.supports(name));
            if self.protocol_type != request.protocol_type || !request.protocols.iter().any(shared) {
                return Err(ErrorCode::INCONSISTENT_GROUP_PROTOCOL);
            }
        }
        let is_new = !self.members.contains_key(&request.member_id);
        let replaces = request
            .instance_id
            .as_ref()
            .is_some_and(|id| self.static_members.contains_key(id));
        let known = self.members.len() + self.pending_members.len();
        let is_pending = self.pending_members.contains_key(&request.member_id);
        if is_new && !replaces && !is_pending && known >= self.limits.members_max {
            return Err(ErrorCode::GROUP_MAX_SIZE_REACHED);
        }
        Ok(())
    }

    fn check_rejoin(&self, request: &JoinRequest) -> Result<(), ErrorCode> {
        if self.pending_members.contains_key(&request.member_id) {
            return match request.instance_id {
                Some(_) => Err(ErrorCode::UNKNOWN_MEMBER_ID), // Static members are never asked for their id.
                None => Ok(()),
            };
        }
        self.check_member(&request.member_id, request.instance_id.as_deref())
    }

    fn join_new(&mut self, now: Instant, request: JoinRequest, reply: Reply<JoinAnswer>) {
        let member_id = request.new_member_id.clone();
        if let Some(instance_id) = request.instance_id.clone() {
            if let Some(old_id) = self.static_members.get(&instance_id).cloned() {
                return self.replace_static_member(now, &old_id, request, reply);
            }
            return self.add_member(now, member_id, request, reply);
        }
        if request.member_id_required {
            self.pending_members
                .insert(member_id.clone(), now + request.session_timeout);
            let _ = reply.send(JoinAnswer::error(ErrorCode::MEMBER_ID_REQUIRED, member_id));
            return;
        }
        self.add_member(now, member_id, request, reply);
    }

    fn join_known(&mut self, now: Instant, request: JoinRequest, reply: Reply<JoinAnswer>) {
        let member_id = request.member_id.clone();
        if self.pending_members.remove(&member_id).is_some() {
            return self.add_member(now, member_id, request, reply);
        }
        let is_leader = self.leader.as_deref() == Some(member_id.as_str());
        let unchanged = self
            .members
            .get(&member_id)
            .is_some_and(|member| member.protocols == request.protocols);
        let answered_at_once = match self.state {
            // The answer to its JoinGroup was lost: give it again.
            State::Completing { .. } => unchanged,
            // A follower that lost its way; a leader that rejoins wants a new assignment.
            State::Stable => unchanged && !is_leader,
            State::Empty | State::Preparing { .. } => false,
        };
        if answered_at_once {
            let answer = self.answer_for(&member_id);
            if let Some(member) = self.members.get_mut(&member_id) {
                member.touch(now);
            }
            let _ = reply.send(answer);
            return;
        }
        self.update_member(now, &member_id, request, reply);
        self.prepare_rebalance(now, "a member rejoined");
        self.complete_join_if_all_are_here(now);
    }

    fn add_member(&mut self, now: Instant, member_id: String, request: JoinRequest, reply: Reply<JoinAnswer>) {
        if self.members.is_empty() {
            self.protocol_type.clone_from(&request.protocol_type);
        }
        if let Some(instance_id) = &request.instance_id {
            self.static_members.insert(instance_id.clone(), member_id.clone());
        }
        let member = Member {
            id: member_id.clone(),
            instance_id: request.instance_id,
            client_id: request.client_id,
            client_host: request.client_host,
            session_timeout: request.session_timeout,
            rebalance_timeout: request.rebalance_timeout,
            protocols: request.protocols,
            assignment: Bytes::new(),
            join_reply: Some(reply),
            sync_reply: None,
            session_deadline: now + request.session_timeout,
        };
        self.leader.get_or_insert_with(|| member_id.clone());
        self.members.insert(member_id, member);
        if let State::Preparing {
            initial: Some(initial), ..
        } = &mut self.state
        {
            initial.joined_since = true;
        }
        self.prepare_rebalance(now, "a member joined");
        self.complete_join_if_all_are_here(now);
    }

    fn update_member(&mut self, now: Instant, member_id: &str, request: JoinRequest, reply: Reply<JoinAnswer>) {
        let Some(member) = self.members.get_mut(member_id) else {
            return;
        };
        // A JoinGroup sent twice: the first one's connection is gone.
        member.answer_join(JoinAnswer::error(
            ErrorCode::REBALANCE_IN_PROGRESS,
            member_id.to_owned(),
        ));
        member.protocols = request.protocols;
        member.session_timeout = request.session_timeout;
        member.rebalance_timeout = request.rebalance_timeout;
        member.client_id = request.client_id;
        member.client_host = request.client_host;
        member.join_reply = Some(reply);
        member.touch(now);
    }

    /// A static member came back under a new id; the old one is fenced. Unless its protocols change what the
    /// group agreed on, a stable group goes on without a rebalance.
    fn replace_static_member(&mut self, now: Instant, old_id: &str, request: JoinRequest, reply: Reply<JoinAnswer>) {
        let Some(mut member) = self.members.remove(old_id) else {
            return self.add_member(now, request.new_member_id.clone(), request, reply);
        };
        member.answer_join(JoinAnswer::error(ErrorCode::FENCED_INSTANCE_ID, old_id.to_owned()));
        member.answer_sync(SyncAnswer::error(ErrorCode::FENCED_INSTANCE_ID));
        let new_id = request.new_member_id.clone();
        member.id.clone_from(&new_id);
        let was_leader = self.leader.as_deref() == Some(old_id);
        if was_leader {
            self.leader = Some(new_id.clone());
        }
        if let Some(instance_id) = &request.instance_id {
            self.static_members.insert(instance_id.clone(), new_id.clone());
        }
        self.members.insert(new_id.clone(), member);
        let can_skip = request.can_skip_assignment;
        self.update_member(now, &new_id, request, reply);
        if self.state == State::Stable && self.select_protocol() == self.protocol_name {
            let mut answer = self.answer_for(&new_id);
            if was_leader && can_skip {
                answer.skip_assignment = true;
            } else if was_leader {
                // An old client would assign anew if it knew that it leads: tell it that its old self does.
                answer.leader = old_id.to_owned();
                answer.members.clear();
            }
            if let Some(member) = self.members.get_mut(&new_id) {
                member.answer_join(answer);
            }
            return;
        }
        self.prepare_rebalance(now, "a static member returned");
        self.complete_join_if_all_are_here(now);
    }

    pub(super) fn answer_for(&self, member_id: &str) -> JoinAnswer {
        let leader = self.leader.clone().unwrap_or_default();
        let protocol = self.protocol_name.clone().unwrap_or_default();
        let joined = |member: &Member| JoinedMember {
            member_id: member.id.clone(),
            instance_id: member.instance_id.clone(),
            metadata: member.metadata_for(&protocol),
        };
        let members = match leader == member_id {
            true => self.members.values().map(joined).collect(),
            false => Vec::new(),
        };
        JoinAnswer {
            error: None,
            generation_id: self.generation_id,
            protocol_type: Some(self.protocol_type.clone()),
            protocol_name: self.protocol_name.clone(),
            leader,
            skip_assignment: false,
            member_id: member_id.to_owned(),
            members,
        }
    }
}
