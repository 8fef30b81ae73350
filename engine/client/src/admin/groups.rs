//! Groups: list, describe, delete, and their committed offsets.

use engine_proto::{
    TopicPartition,
    group::consumer_protocol::{Assignment, Subscription},
};
use engine_wire::{
    error_code::ErrorCode,
    messages::{DeleteGroupsRequest, DescribeGroupsRequest, GroupId, ListGroupsRequest, StrBytes},
};

use super::{Admin, AdminError, PerItem, Refusal};
use crate::{
    cluster::{Lane, NodeTarget},
    offsets::{
        CommittedOffset,
        committed::{Committer, commit_once, fetch_committed, forget_if_moved},
    },
};

/// A group by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupListing {
    /// The name.
    pub group: String,
    /// `consumer` for groups of consumers.
    pub protocol_type: String,
    /// `Stable`, `Empty`, …; empty from brokers before 2.6.
    pub state: String,
    /// `classic`, `consumer`, `share`, …; empty from brokers before 3.8.
    pub group_type: String,
}

/// A classic group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupDescription {
    /// The name.
    pub group: String,
    /// `Stable`, `PreparingRebalance`, `CompletingRebalance`, `Empty`, `Dead`.
    pub state: String,
    /// The assignor in use, `range`.
    pub protocol: String,
    /// By member id.
    pub members: Vec<MemberDescription>,
}

/// One member of a classic group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberDescription {
    /// The id that the coordinator gave.
    pub member_id: String,
    /// Set for a static member.
    pub group_instance_id: Option<String>,
    /// `client.id`.
    pub client_id: String,
    /// Where it connects from.
    pub host: String,
    /// Topics it wants; empty if its bytes cannot be read.
    pub topics: Vec<String>,
    /// What it has; empty while the group rebalances.
    pub assignment: Vec<TopicPartition>,
}

impl Admin {
    /// All groups of all brokers, by name.
    ///
    /// # Errors
    /// If a broker cannot be asked.
    pub async fn list_groups(&self) -> Result<Vec<GroupListing>, AdminError> {
        let timeout = self.cluster.config().request_timeout;
        let brokers: Vec<i32> = self.cluster.metadata().brokers().map(|broker| broker.node_id).collect();
        let mut groups = Vec::new();
        for node_id in brokers {
            let ask = || {
                let request = ListGroupsRequest::default();
                self.cluster
                    .request(NodeTarget::Broker(node_id), Lane::Control, request, timeout)
            };
            let response = self.read(self.deadline(), ask).await?;
            Refusal::check(response.error_code, None).map_err(|refusal| AdminError::Refused {
                operation: "list groups",
                refusal,
            })?;
            groups.extend(response.groups.into_iter().map(|group| GroupListing {
                group: group.group_id.0.to_string(),
                protocol_type: group.protocol_type.to_string(),
                state: group.group_state.to_string(),
                group_type: group.group_type.to_string(),
            }));
        }
        groups.sort_by(|a, b| a.group.cmp(&b.group));
        Ok(groups)
    }

    /// Some groups. One that does not exist is `Dead` and empty on brokers before 4.0, and refused with
    /// GROUP_ID_NOT_FOUND since.
    ///
    /// # Errors
    /// If the request fails; a group's own refusal is in its result.
    pub async fn describe_groups(&self, groups: &[&str]) -> Result<PerItem<String, GroupDescription>, AdminError> {
        let mut results = Vec::new();
        for group in groups {
            results.push(((*group).to_owned(), self.describe_group(group).await?));
        }
        Ok(results)
    }

    /// Deletes groups, which must be empty.
    ///
    /// # Errors
    /// If the request fails; a group's own refusal is in its result.
    pub async fn delete_groups(&self, groups: &[&str]) -> Result<PerItem<String, ()>, AdminError> {
        let (timeout, deadline) = (self.cluster.config().request_timeout, self.deadline());
        let mut results = Vec::new();
        for group in groups {
            let deleted = loop {
                let ask = || {
                    let request = DeleteGroupsRequest::default().with_groups_names(vec![group_id(group)]);
                    let target = NodeTarget::GroupCoordinator(group);
                    self.cluster.request(target, Lane::Control, request, timeout)
                };
                let response = self.write(deadline, ask).await?;
                let deleted = match response.results.into_iter().next() {
                    Some(result) => Refusal::check(result.error_code, None),
                    None => Err(Refusal::not_answered()),
                };
                if !self
                    .is_coordinator_elsewhere(group, deleted.as_ref().err(), deadline)
                    .await
                {
                    break deleted;
                }
            };
            results.push(((*group).to_owned(), deleted));
        }
        Ok(results)
    }

    /// What a group committed, of all partitions that it has any for.
    ///
    /// # Errors
    /// If the request fails or the group is refused.
    pub async fn group_offsets(&self, group: &str) -> Result<Vec<(TopicPartition, CommittedOffset)>, AdminError> {
        let committed = fetch_committed(&self.cluster, group, None, false).await?;
        let known = committed
            .into_iter()
            .filter_map(|(tp, committed)| Some((tp, committed?)));
        Ok(known.collect())
    }

    /// Commits offsets for a group that has no members.
    ///
    /// # Errors
    /// If the request fails; a partition's own refusal is in its result: UNKNOWN_MEMBER_ID means
    /// that the group has members.
    pub async fn alter_group_offsets(
        &self,
        group: &str,
        offsets: &[(TopicPartition, CommittedOffset)],
    ) -> Result<PerItem<TopicPartition, ()>, AdminError> {
        let deadline = self.deadline();
        loop {
            let outsider = Committer::outsider();
            let commit = || commit_once(&self.cluster, group, &outsider, offsets);
            let codes = self.write(deadline, commit).await?;
            let results: PerItem<TopicPartition, ()> = codes
                .into_iter()
                .map(|(tp, code)| (tp, Refusal::check(code.code(), None)))
                .collect();
            let refusal = results.iter().find_map(|(_, result)| result.as_ref().err());
            if !self.is_coordinator_elsewhere(group, refusal, deadline).await {
                return Ok(results);
            }
        }
    }

    async fn describe_group(&self, group: &str) -> Result<Result<GroupDescription, Refusal>, AdminError> {
        let (timeout, deadline) = (self.cluster.config().request_timeout, self.deadline());
        loop {
            let ask = || {
                let request = DescribeGroupsRequest::default().with_groups(vec![group_id(group)]);
                let target = NodeTarget::GroupCoordinator(group);
                self.cluster.request(target, Lane::Control, request, timeout)
            };
            let response = self.read(deadline, ask).await?;
            let Some(described) = response.groups.into_iter().next() else {
                return Ok(Err(Refusal::not_answered()));
            };
            if let Err(refusal) = Refusal::check(described.error_code, described.error_message) {
                if self.is_coordinator_elsewhere(group, Some(&refusal), deadline).await {
                    continue;
                }
                return Ok(Err(refusal));
            }
            let members = described.members.into_iter().map(|member| MemberDescription {
                member_id: member.member_id.to_string(),
                group_instance_id: member.group_instance_id.map(|id| id.to_string()),
                client_id: member.client_id.to_string(),
                host: member.client_host.to_string(),
                topics: Subscription::decode(member.member_metadata).unwrap_or_default().topics,
                assignment: Assignment::decode(member.member_assignment)
                    .unwrap_or_default()
                    .partitions,
            });
            let mut members: Vec<_> = members.collect();
            members.sort_by(|a, b| a.member_id.cmp(&b.member_id));
            return Ok(Ok(GroupDescription {
                group: described.group_id.0.to_string(),
                state: described.group_state.to_string(),
                protocol: described.protocol_data.to_string(),
                members,
            }));
        }
    }

    /// Whether the refusal says that the coordinator moved or loads, and there is time to ask again.
    async fn is_coordinator_elsewhere(
        &self,
        group: &str,
        refusal: Option<&Refusal>,
        deadline: std::time::Instant,
    ) -> bool {
        let Some(Refusal { code, .. }) = refusal else {
            return false;
        };
        let moves = [
            ErrorCode::NOT_COORDINATOR,
            ErrorCode::COORDINATOR_NOT_AVAILABLE,
            ErrorCode::COORDINATOR_LOAD_IN_PROGRESS,
        ];
        if !moves.contains(code) {
            return false;
        }
        forget_if_moved(&self.cluster, group, *code);
        self.pause_before_retry(*code, deadline).await
    }
}

fn group_id(group: &str) -> GroupId {
    GroupId(StrBytes::from_string(group.to_owned()))
}
