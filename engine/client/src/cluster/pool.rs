//! The connections to all brokers, each opened when it is first needed.
//!
//! What the handles and the metadata task share. A connection belongs to a broker (or to a
//! bootstrap server, while no broker is known) and a [`Lane`].
//! Never here: sending requests, when metadata is asked for.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use engine_proto::{
    backoff::BackoffPolicy,
    cluster::{ClusterMetadata, MetadataRefresh, RefreshSource},
};
use engine_wire::messages::ApiKey;
use fastrand::Rng;
use futures::{StreamExt, stream::FuturesUnordered};
use tokio::{
    sync::{Notify, watch},
    task::JoinHandle,
};
use tracing::info;

use super::{
    coordinator::{CoordinatorKind, Coordinators, ask_for_coordinator},
    slot::{Slot, lock},
};
use crate::{
    config::{ClientConfig, MetadataRecoveryStrategy},
    connection::{Connection, DialOptions, RequestError, address_of},
};

/// A server that has not answered for so long is not waited for alone.
const SILENT_DIAL: Duration = Duration::from_millis(500);

/// Whom a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NodeTarget<'a> {
    /// This broker.
    Broker(i32),
    /// Whichever broker answers.
    Any,
    /// The controller (KRaft brokers name any broker, which forwards).
    Controller,
    /// The coordinator of this group; found and remembered until
    /// [`Cluster::forget_coordinator`](super::Cluster::forget_coordinator).
    GroupCoordinator(&'a str),
    /// The coordinator of this transactional id, likewise.
    TransactionCoordinator(&'a str),
}

/// What a connection is used for; lanes never wait for each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Lane {
    /// Metadata, offsets, admin: quick answers.
    Control,
    /// Produce requests.
    Produce,
    /// Fetch requests, which may wait at the broker.
    Fetch,
    /// JoinGroup and SyncGroup, which wait for the other members.
    Group,
    /// Heartbeats and commits, which must not wait behind a JoinGroup.
    Heartbeat,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) config: ClientConfig,
    pub(super) dial: DialOptions,
    pub(super) slots: Mutex<HashMap<(Endpoint, Lane), Arc<Slot>>>,
    pub(super) coordinators: Mutex<Coordinators>,
    pub(super) refresh: Mutex<MetadataRefresh>,
    pub(super) refresh_wake: Arc<Notify>,
    pub(super) published: watch::Sender<Published>,
    pub(super) closed: watch::Sender<bool>,
    pub(super) rng: Mutex<Rng>,
    pub(super) metadata_task: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Endpoint {
    Node(i32),
    Bootstrap(usize),
}

/// What the metadata task last told.
#[derive(Debug, Clone, Default)]
pub(super) struct Published {
    pub(super) metadata: Arc<ClusterMetadata>,
    /// Of the last refresh, if it failed.
    pub(super) error: Option<RequestError>,
    /// How many refreshes failed: tells whoever waits an error that came while it waits from an older one.
    pub(super) failures: u64,
}

impl Inner {
    pub(super) async fn connection(&self, target: NodeTarget<'_>, lane: Lane) -> Result<Arc<Connection>, RequestError> {
        match target {
            NodeTarget::Broker(node_id) => self.node_connection(node_id, lane).await,
            NodeTarget::Any => self.any_connection(lane).await,
            NodeTarget::Controller => {
                let controller_id = self.published.borrow().metadata.controller_id();
                match controller_id {
                    Some(node_id) => self.node_connection(node_id, lane).await,
                    None => self.any_connection(lane).await,
                }
            }
            NodeTarget::GroupCoordinator(group) => {
                self.coordinator_connection(CoordinatorKind::Group, group, lane).await
            }
            NodeTarget::TransactionCoordinator(transactional_id) => {
                self.coordinator_connection(CoordinatorKind::Transaction, transactional_id, lane)
                    .await
            }
        }
    }

    async fn coordinator_connection(
        &self,
        kind: CoordinatorKind,
        name: &str,
        lane: Lane,
    ) -> Result<Arc<Connection>, RequestError> {
        let node_id = self.find_coordinator(kind, name).await?;
        let connection = self.node_connection(node_id, lane).await;
        if connection.is_err() {
            lock(&self.coordinators).forget(kind, name); // Another may coordinate by now.
        }
        connection
    }

    async fn node_connection(&self, node_id: i32, lane: Lane) -> Result<Arc<Connection>, RequestError> {
        let published = Arc::clone(&self.published.borrow().metadata);
        let known = published.broker(node_id);
        let address = known
            .map(|broker| address_of(&broker.host, broker.port))
            .or_else(|| lock(&self.coordinators).address_of(node_id));
        let address = address.ok_or_else(|| RequestError::UnknownNode {
            api_key: ApiKey::Metadata,
            target: format!("broker {node_id}"),
        })?;
        self.slot(Endpoint::Node(node_id), lane)
            .connection(&address, &self.dial)
            .await
    }

    /// As [`Inner::any_connection_but`], of all brokers.
    pub(super) async fn any_connection(&self, lane: Lane) -> Result<Arc<Connection>, RequestError> {
        let (_, connection) = self.any_connection_but(&[], RefreshSource::AnyBroker, lane).await?;
        Ok(connection)
    }

    /// A broker that is connected already and answers, else the first to open of those that `source` allows. Fails
    /// with the last error when none can be reached.
    pub(super) async fn any_connection_but(
        &self,
        avoided: &[Endpoint],
        source: RefreshSource,
        lane: Lane,
    ) -> Result<(Endpoint, Arc<Connection>), RequestError> {
        let mut endpoints = self.endpoints(source);
        endpoints.retain(|endpoint| !avoided.contains(endpoint));
        // A bootstrap server that is connected may be the one that sent us away: then any of them is as good.
        for endpoint in endpoints.iter().filter(|_| source == RefreshSource::AnyBroker) {
            if let Some(connection) = self.open_slot(*endpoint, lane)
                && !connection.is_silent()
            {
                return Ok((*endpoint, connection));
            }
        }
        // One at a time, but a silent one holds the others up only for a while: a host that is gone may not refuse.
        let mut failure = None;
        let mut dials = FuturesUnordered::new();
        let mut endpoints = endpoints.into_iter();
        loop {
            if let Some(endpoint) = endpoints.next() {
                dials.push(async move { (endpoint, self.endpoint_connection(endpoint, lane).await) });
            }
            let patience = match endpoints.len() {
                0 => Duration::MAX,
                _ => SILENT_DIAL,
            };
            match tokio::time::timeout(patience, dials.next()).await {
                Ok(Some((endpoint, Ok(connection)))) => return Ok((endpoint, connection)),
                Ok(Some((_, Err(error)))) => failure = Some(error),
                Ok(None) => break,
                Err(_) => {}
            }
        }
        Err(failure.unwrap_or_else(|| RequestError::UnknownNode {
            api_key: ApiKey::Metadata,
            target: "any broker".into(),
        }))
    }

    /// The known brokers in random order and after them, unless `metadata.recovery.strategy` is none, the bootstrap
    /// servers (KIP-899); these alone where `source` says so, or nobody else is known.
    fn endpoints(&self, source: RefreshSource) -> Vec<Endpoint> {
        let mut nodes: Vec<Endpoint> = match source {
            RefreshSource::AnyBroker => {
                let published = self.published.borrow();
                let brokers = published.metadata.brokers();
                brokers.map(|broker| Endpoint::Node(broker.node_id)).collect()
            }
            RefreshSource::Bootstrap => Vec::new(),
        };
        let recovers = self.config.metadata_recovery_strategy == MetadataRecoveryStrategy::Rebootstrap;
        let mut bootstrap: Vec<Endpoint> = match nodes.is_empty() || recovers {
            true => (0..self.config.bootstrap_servers.len())
                .map(Endpoint::Bootstrap)
                .collect(),
            false => Vec::new(),
        };
        let mut rng = lock(&self.rng);
        rng.shuffle(&mut nodes);
        rng.shuffle(&mut bootstrap);
        nodes.extend(bootstrap);
        nodes
    }

    async fn endpoint_connection(&self, endpoint: Endpoint, lane: Lane) -> Result<Arc<Connection>, RequestError> {
        match endpoint {
            Endpoint::Node(node_id) => self.node_connection(node_id, lane).await,
            Endpoint::Bootstrap(index) => {
                let address: Arc<str> = self.config.bootstrap_servers[index].as_str().into();
                self.slot(endpoint, lane).connection(&address, &self.dial).await
            }
        }
    }

    /// Whether any connection is open now.
    pub(super) fn is_connected(&self) -> bool {
        lock(&self.slots).values().any(|slot| slot.open().is_some())
    }

    /// The coordinator, asked for if not remembered.
    pub(super) async fn find_coordinator(&self, kind: CoordinatorKind, name: &str) -> Result<i32, RequestError> {
        if let Some(node_id) = lock(&self.coordinators).node_of(kind, name) {
            return Ok(node_id);
        }
        let connection = self.any_connection(Lane::Control).await?;
        let found = ask_for_coordinator(&connection, kind, name, self.config.request_timeout).await?;
        let former = lock(&self.coordinators).remember(kind, name, &found);
        if let Some(former) = former {
            info!(of = %kind, name, former, node_id = found.node_id, "The coordinator has moved.");
        }
        Ok(found.node_id)
    }

    fn open_slot(&self, endpoint: Endpoint, lane: Lane) -> Option<Arc<Connection>> {
        let slots = lock(&self.slots);
        slots.get(&(endpoint, lane))?.open()
    }

    fn slot(&self, endpoint: Endpoint, lane: Lane) -> Arc<Slot> {
        let mut slots = lock(&self.slots);
        if let Some(slot) = slots.get(&(endpoint, lane)) {
            return Arc::clone(slot);
        }
        let policy = BackoffPolicy {
            initial: self.config.reconnect_backoff,
            max: self.config.reconnect_backoff_max,
        };
        let beside = slots.iter().find(|((other, _), _)| *other == endpoint);
        let beside = beside.map(|(_, slot)| &**slot);
        let slot = Arc::new(Slot::new(policy, lock(&self.rng).u64(..), beside));
        slots.insert((endpoint, lane), Arc::clone(&slot));
        slot
    }

    /// Forgets the places of connections to brokers that the cluster does not name any more, once these are closed:
    /// there are as many as there are brokers, however often brokers are replaced.
    pub(super) fn forget_gone_brokers(&self) {
        let metadata = Arc::clone(&self.published.borrow().metadata);
        lock(&self.slots).retain(|(endpoint, _), slot| match endpoint {
            Endpoint::Node(node_id) => metadata.broker(*node_id).is_some() || slot.open().is_some(),
            Endpoint::Bootstrap(_) => true,
        });
    }

    pub(super) fn close(&self) {
        self.closed.send_replace(true);
        if let Some(task) = lock(&self.metadata_task).take() {
            task.abort();
        }
        for (_, slot) in lock(&self.slots).drain() {
            slot.close();
        }
        // Whoever waits for metadata looks at `closed` again.
        self.published.send_modify(|_| {});
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.close();
    }
}
