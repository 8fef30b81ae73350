//! One member of a group.

use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};

use crate::group::{JoinAnswer, Reply, SyncAnswer};

/// A member and what it waits for.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) id: String,
    pub(crate) instance_id: Option<String>,
    pub(crate) client_id: String,
    pub(crate) client_host: String,
    pub(crate) session_timeout: Duration,
    pub(crate) rebalance_timeout: Duration,
    /// Assignors by preference, each with the member's metadata for it.
    pub(crate) protocols: Vec<(String, Bytes)>,
    pub(crate) assignment: Bytes,
    pub(crate) join_reply: Option<Reply<JoinAnswer>>,
    pub(crate) sync_reply: Option<Reply<SyncAnswer>>,
    /// When the session ends unless something is heard. Not enforced while an answer is waited for.
    pub(crate) session_deadline: Instant,
}

impl Member {
    /// Something was heard of it.
    pub(crate) fn touch(&mut self, now: Instant) {
        self.session_deadline = now + self.session_timeout;
    }

    /// When it expires; a member that waits for the broker's answer does not.
    pub(crate) fn expires_at(&self) -> Option<Instant> {
        (self.join_reply.is_none() && self.sync_reply.is_none()).then_some(self.session_deadline)
    }

    pub(crate) fn supports(&self, protocol: &str) -> bool {
        self.protocols.iter().any(|(name, _)| name == protocol)
    }

    pub(crate) fn metadata_for(&self, protocol: &str) -> Bytes {
        let of_protocol = self.protocols.iter().find(|(name, _)| name == protocol);
        of_protocol.map(|(_, metadata)| metadata.clone()).unwrap_or_default()
    }

    /// Answers a JoinGroup that waits, if one does. A receiver that is gone closed its connection: its session
    /// will end.
    pub(crate) fn answer_join(&mut self, answer: JoinAnswer) {
        if let Some(reply) = self.join_reply.take() {
            let _ = reply.send(answer);
        }
    }

    /// Answers a SyncGroup that waits, if one does.
    pub(crate) fn answer_sync(&mut self, answer: SyncAnswer) {
        if let Some(reply) = self.sync_reply.take() {
            let _ = reply.send(answer);
        }
    }

    /// Whether its subscription (ConsumerProtocolSubscription: version, topics, …) names `topic`. Metadata that
    /// cannot be read might name anything.
    pub(crate) fn may_read(&self, topic: &str) -> bool {
        let Some((_, metadata)) = self.protocols.first() else {
            return false;
        };
        subscribed_topics(metadata).is_none_or(|topics| topics.iter().any(|name| name == topic.as_bytes()))
    }

    /// A copy for showing.
    pub(crate) fn without_replies(&self) -> Self {
        Self {
            id: self.id.clone(),
            instance_id: self.instance_id.clone(),
            client_id: self.client_id.clone(),
            client_host: self.client_host.clone(),
            session_timeout: self.session_timeout,
            rebalance_timeout: self.rebalance_timeout,
            protocols: self.protocols.clone(),
            assignment: self.assignment.clone(),
            join_reply: None,
            sync_reply: None,
            session_deadline: self.session_deadline,
        }
    }
}

fn subscribed_topics(metadata: &Bytes) -> Option<Vec<Bytes>> {
    let mut rest = metadata.clone();
    rest.try_get_i16().ok()?;
    let count = rest.try_get_i32().ok()?;
    let mut topics = Vec::new();
    for _ in 0..count {
        let length = usize::try_from(rest.try_get_i16().ok()?).ok()?;
        if length > rest.len() {
            return None;
        }
        topics.push(rest.split_to(length));
    }
    Some(topics)
}
