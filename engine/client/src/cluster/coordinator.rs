//! Which broker coordinates a group, or a transactional id.

use std::{collections::HashMap, fmt, sync::Arc, time::Duration};

use engine_wire::{
    error_code::ErrorCode,
    messages::{ApiKey, FindCoordinatorRequest, FindCoordinatorResponse, StrBytes},
};

use crate::connection::{Connection, RequestError, address_of};

/// Whose coordinator is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum CoordinatorKind {
    /// A consumer group's.
    Group,
    /// A transactional id's.
    Transaction,
}

/// Groups, transactional ids and their coordinators, as far as asked for.
#[derive(Debug, Default)]
pub(super) struct Coordinators {
    nodes: HashMap<(CoordinatorKind, Arc<str>), i32>,
    /// The same with those that were forgotten: one entry for each name that was asked for.
    former: HashMap<(CoordinatorKind, Arc<str>), i32>,
    /// Metadata may not list a coordinator yet; its address came with the answer.
    addresses: HashMap<i32, Arc<str>>,
}

impl Coordinators {
    pub(super) fn node_of(&self, kind: CoordinatorKind, name: &str) -> Option<i32> {
        self.nodes.get(&(kind, name.into())).copied()
    }

    /// Gives the node that was remembered before, if it was another.
    pub(super) fn remember(&mut self, kind: CoordinatorKind, name: &str, found: &FoundCoordinator) -> Option<i32> {
        self.nodes.insert((kind, name.into()), found.node_id);
        self.addresses.insert(found.node_id, Arc::clone(&found.address));
        let former = self.former.insert((kind, name.into()), found.node_id);
        former.filter(|former| *former != found.node_id)
    }

    pub(super) fn address_of(&self, node_id: i32) -> Option<Arc<str>> {
        self.addresses.get(&node_id).cloned()
    }

    pub(super) fn forget(&mut self, kind: CoordinatorKind, name: &str) {
        self.nodes.remove(&(kind, name.into()));
    }
}

impl fmt::Display for CoordinatorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            CoordinatorKind::Group => "group",
            CoordinatorKind::Transaction => "transactional id",
        })
    }
}

impl CoordinatorKind {
    /// The protocol's number, from version 1 of FindCoordinator on.
    fn code(self) -> i8 {
        match self {
            Self::Group => 0,
            Self::Transaction => 1,
        }
    }
}

/// What FindCoordinator said.
#[derive(Debug)]
pub(super) struct FoundCoordinator {
    pub(super) node_id: i32,
    address: Arc<str>,
}

/// Asks the broker behind `connection` for the coordinator of the group or transactional id.
pub(super) async fn ask_for_coordinator(
    connection: &Connection,
    kind: CoordinatorKind,
    name: &str,
    timeout: Duration,
) -> Result<FoundCoordinator, RequestError> {
    let version = connection.version(ApiKey::FindCoordinator, None)?;
    let key = StrBytes::from_string(name.into());
    let request = FindCoordinatorRequest::default().with_key_type(kind.code());
    let request = if version >= FIRST_BATCHED {
        request.with_coordinator_keys(vec![key])
    } else {
        request.with_key(key)
    };
    let answer = connection.submit(version, &request, timeout)?;
    let answer: FindCoordinatorResponse = answer.await?.decode(ApiKey::FindCoordinator)?;
    let (error_code, node_id, host, port) = match answer.coordinators.first() {
        Some(found) => (found.error_code, found.node_id, &found.host, found.port),
        None => (answer.error_code, answer.node_id, &answer.host, answer.port),
    };
    let code = ErrorCode::from(error_code);
    if code != ErrorCode::NONE {
        return Err(match kind {
            CoordinatorKind::Group => RequestError::Coordinator {
                group: name.into(),
                code,
            },
            CoordinatorKind::Transaction => RequestError::TransactionCoordinator {
                transactional_id: name.into(),
                code,
            },
        });
    }
    Ok(FoundCoordinator {
        node_id: node_id.0,
        address: address_of(host, port),
    })
}

/// From version 4 on, one request asks for several groups (KIP-699).
const FIRST_BATCHED: i16 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_coordinator_has_moved_only_if_another_node_was_known_before() {
        let mut coordinators = Coordinators::default();
        let mut moved_from = |kind, node_id| {
            let found = FoundCoordinator {
                node_id,
                address: "broker:9092".into(),
            };
            coordinators.forget(kind, "name");
            coordinators.remember(kind, "name", &found)
        };
        for (kind, node_id, former) in [
            (CoordinatorKind::Group, 1, None),
            (CoordinatorKind::Group, 1, None), // Asked again, and it is still there.
            (CoordinatorKind::Transaction, 2, None),
            (CoordinatorKind::Group, 3, Some(1)),
            (CoordinatorKind::Group, 1, Some(3)),
        ] {
            assert_eq!(moved_from(kind, node_id), former, "{kind} at {node_id}");
        }
    }
}
