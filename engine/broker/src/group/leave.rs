//! Leaving: by request, by an administrator, or because nothing was heard for too long.

use std::time::Instant;

use engine_wire::error_code::ErrorCode;

use crate::group::join::JoinAnswer;
use crate::group::sync::SyncAnswer;
use crate::group::{Group, State};

impl Group {
    /// Removes a member, named by its id, or by its instance id alone (an administrator does not know the id).
    pub(crate) fn leave(&mut self, now: Instant, member_id: &str, instance_id: Option<&str>) -> Result<(), ErrorCode> {
        let member_id = match instance_id {
            Some(instance_id) => {
                let present = self
                    .static_members
                    .get(instance_id)
                    .ok_or(ErrorCode::UNKNOWN_MEMBER_ID)?;
                if !member_id.is_empty() && present != member_id {
                    return Err(ErrorCode::FENCED_INSTANCE_ID);
                }
                present.clone()
            }
            None => member_id.to_owned(),
        };
        if self.pending_members.remove(&member_id).is_none() {
            if !self.members.contains_key(&member_id) {
                return Err(ErrorCode::UNKNOWN_MEMBER_ID);
            }
            self.remove_member(&member_id);
            self.rebalance_after_removal(now);
        }
        self.complete_join_if_all_are_here(now);
        Ok(())
    }

    /// Takes a member out; whatever it waited for is answered.
    pub(super) fn remove_member(&mut self, member_id: &str) {
        let Some(mut member) = self.members.remove(member_id) else {
            return;
        };
        member.answer_join(JoinAnswer::error(ErrorCode::UNKNOWN_MEMBER_ID, member_id.to_owned()));
        member.answer_sync(SyncAnswer::error(ErrorCode::UNKNOWN_MEMBER_ID));
        if let Some(instance_id) = &member.instance_id {
            self.static_members.remove(instance_id);
        }
        if self.leader.as_deref() == Some(member_id) {
            let waiting = self.members.values().find(|member| member.join_reply.is_some());
            self.leader = waiting.or(self.members.values().next()).map(|member| member.id.clone());
        }
    }

    /// Those who are left share what the removed ones had.
    pub(super) fn rebalance_after_removal(&mut self, now: Instant) {
        if matches!(self.state, State::Stable | State::Completing { .. }) {
            self.prepare_rebalance(now, "a member left");
        }
    }
}
