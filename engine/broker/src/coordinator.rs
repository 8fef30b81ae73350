//! All groups, and the task that keeps their time.
//!
//! Each group is a state machine behind its own lock (see `group`). Whoever changes one tells the timer task if
//! the group now wants to be called earlier than before.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use engine_wire::error_code::ErrorCode;
use tokio::sync::Notify;

use crate::config::BrokerConfig;
use crate::group::{Group, GroupLimits};

/// The groups of this broker, which coordinates all of them.
#[derive(Debug)]
pub(crate) struct Coordinator {
    limits: GroupLimits,
    groups_max: usize,
    groups: Mutex<BTreeMap<String, Arc<Mutex<Group>>>>,
    /// When the timer task looks next. `None`: when it is told to.
    next_look: Mutex<Option<Instant>>,
    look_earlier: Notify,
}

impl Coordinator {
    pub(crate) fn new(config: &BrokerConfig) -> Self {
        Self {
            limits: GroupLimits {
                initial_rebalance_delay: config.group_initial_rebalance_delay,
                session_timeout_min: config.group_session_timeout_min,
                session_timeout_max: config.group_session_timeout_max,
                members_max: config.group_members_max,
            },
            groups_max: config.groups_max,
            groups: Mutex::default(),
            next_look: Mutex::default(),
            look_earlier: Notify::new(),
        }
    }

    /// Does something with a group, which is made if it is not known.
    pub(crate) fn with<T>(&self, group_id: &str, act: impl FnOnce(&mut Group) -> T) -> Result<T, ErrorCode> {
        check_group_id(group_id)?;
        let mut groups = lock(&self.groups);
        if !groups.contains_key(group_id) && groups.len() >= self.groups_max {
            groups.retain(|_, group| !lock(group).is_blank());
            if groups.len() >= self.groups_max {
                return Err(ErrorCode::GROUP_MAX_SIZE_REACHED);
            }
        }
        let new_group = || Arc::new(Mutex::new(Group::new(self.limits.clone())));
        let group = Arc::clone(groups.entry(group_id.to_owned()).or_insert_with(new_group));
        // The group is locked before the table is let go, so that a group that is being deleted is not used.
        let mut group = lock(&group);
        drop(groups);
        Ok(self.act_and_keep_time(&mut group, act))
    }

    /// Does something with a group that is there.
    pub(crate) fn with_existing<T>(&self, group_id: &str, act: impl FnOnce(&mut Group) -> T) -> Option<T> {
        let groups = lock(&self.groups);
        let group = Arc::clone(groups.get(group_id)?);
        let mut group = lock(&group);
        drop(groups);
        if group.is_blank() {
            return None;
        }
        Some(self.act_and_keep_time(&mut group, act))
    }

    /// Every group that anything is known about, by name.
    pub(crate) fn ids(&self) -> Vec<String> {
        let groups = lock(&self.groups);
        groups
            .iter()
            .filter(|(_, group)| !lock(group).is_blank())
            .map(|(id, _)| id.clone())
            .collect()
    }

    /// Deletes a group without members; `and_then` sees it a last time.
    pub(crate) fn delete<T>(&self, group_id: &str, and_then: impl FnOnce(&mut Group) -> T) -> Result<T, ErrorCode> {
        let mut groups = lock(&self.groups);
        let group = Arc::clone(groups.get(group_id).ok_or(ErrorCode::GROUP_ID_NOT_FOUND)?);
        let mut group = lock(&group);
        if group.is_blank() {
            return Err(ErrorCode::GROUP_ID_NOT_FOUND);
        }
        if !group.is_empty() {
            return Err(ErrorCode::NON_EMPTY_GROUP);
        }
        groups.remove(group_id);
        Ok(and_then(&mut group))
    }

    /// Lets sessions and rebalances time out, for ever. One task runs this.
    pub(crate) async fn keep_time(&self) {
        loop {
            let next = self.handle_deadlines(Instant::now());
            let told = self.look_earlier.notified();
            match next {
                Some(at) => tokio::select! {
                    () = tokio::time::sleep_until(at.into()) => {}
                    () = told => {}
                },
                None => told.await,
            }
        }
    }

    fn handle_deadlines(&self, now: Instant) -> Option<Instant> {
        // Set first: a group that changes while we look will compare with it and tell us.
        *lock(&self.next_look) = None;
        let groups: Vec<_> = lock(&self.groups).values().cloned().collect();
        let mut next: Option<Instant> = None;
        for group in groups {
            let mut group = lock(&group);
            if group.next_deadline().is_some_and(|deadline| deadline <= now) {
                group.handle_deadline(now);
            }
            next = earlier(next, group.next_deadline());
        }
        let mut next_look = lock(&self.next_look);
        *next_look = earlier(*next_look, next);
        *next_look
    }

    fn act_and_keep_time<T>(&self, group: &mut Group, act: impl FnOnce(&mut Group) -> T) -> T {
        let result = act(group);
        if let Some(deadline) = group.next_deadline() {
            let mut next_look = lock(&self.next_look);
            if next_look.is_none_or(|at| deadline < at) {
                *next_look = Some(deadline);
                self.look_earlier.notify_one();
            }
        }
        result
    }
}

/// Group ids are strings of the old protocol: at most 32 KiB.
fn check_group_id(group_id: &str) -> Result<(), ErrorCode> {
    match group_id.len() {
        0..=32_767 => Ok(()),
        _ => Err(ErrorCode::INVALID_GROUP_ID),
    }
}

fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
