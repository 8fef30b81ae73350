//! Which broker coordinates a group.

use std::{collections::HashMap, sync::Arc};

use engine_wire::{
    error_code::ErrorCode,
    messages::{ApiKey, FindCoordinatorRequest, FindCoordinatorResponse, StrBytes},
};

use super::{Inner, Lane, lock};
use crate::connection::RequestError;

/// Groups and their coordinators, as far as asked for.
#[derive(Debug, Default)]
pub(super) struct Coordinators {
    nodes: HashMap<Arc<str>, i32>,
    /// Metadata may not list a coordinator yet; its address came with the answer.
    addresses: HashMap<i32, Arc<str>>,
}

impl Coordinators {
    pub(super) fn address_of(&self, node_id: i32) -> Option<Arc<str>> {
        self.addresses.get(&node_id).cloned()
    }

    pub(super) fn forget(&mut self, group: &str) {
        self.nodes.remove(group);
    }
}

impl Inner {
    /// The group's coordinator, asked for if not remembered.
    pub(super) async fn find_coordinator(&self, group: &str) -> Result<i32, RequestError> {
        if let Some(node_id) = lock(&self.coordinators).nodes.get(group) {
            return Ok(*node_id);
        }
        let connection = self.any_connection(Lane::Control).await?;
        let version = connection.version(ApiKey::FindCoordinator, None)?;
        let key = StrBytes::from_string(group.into());
        let request = FindCoordinatorRequest::default();
        let request = if version >= FIRST_BATCHED {
            request.with_coordinator_keys(vec![key])
        } else {
            request.with_key(key)
        };
        let answer = connection.submit(version, &request, self.config.request_timeout)?;
        let answer: FindCoordinatorResponse = answer.await?.decode(ApiKey::FindCoordinator)?;
        let (error_code, node_id, host, port) = match answer.coordinators.first() {
            Some(found) => (found.error_code, found.node_id, &found.host, found.port),
            None => (answer.error_code, answer.node_id, &answer.host, answer.port),
        };
        let code = ErrorCode::from(error_code);
        if code != ErrorCode::NONE {
            return Err(RequestError::Coordinator {
                group: group.into(),
                code,
            });
        }
        let mut coordinators = lock(&self.coordinators);
        coordinators.nodes.insert(group.into(), node_id.0);
        coordinators
            .addresses
            .insert(node_id.0, format!("{host}:{port}").into());
        Ok(node_id.0)
    }
}

/// From version 4 on, one request asks for several groups (KIP-699).
const FIRST_BATCHED: i16 = 4;
