//! The connection pool, and the driver of the metadata cache.
//!
//! A [`Cluster`] is a cheap handle that producer, consumer and admin send their requests through.
//! Each broker has one connection per [`Lane`], because Kafka answers a connection in order and a
//! long-polling fetch would hold up everything behind it. Connections open when they are needed,
//! reopen with backoff and close when idle.
//! Never here: retries of a request (each caller knows its own errors), what answers mean.

mod coordinator;
mod metadata_task;
mod outage;
mod pool;
mod slot;
#[cfg(test)]
mod tests;

pub(crate) use pool::{Lane, NodeTarget};

use std::{
    error::Error as _,
    hash::{BuildHasher, RandomState},
    io,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use engine_proto::{
    backoff::BackoffPolicy,
    cluster::{ClusterMetadata, Leader, MetadataRefresh, RefreshPolicy, RefreshTicket},
    connection::ApiRange,
};
use engine_wire::messages::{ApiKey, Request};
use fastrand::Rng;
use tokio::sync::watch;
use tracing::warn;
use uuid::Uuid;

use crate::{
    config::{ClientConfig, MetadataRecoveryStrategy},
    connection::{Connection, DialOptions, RequestError, api_key_of, now},
};
use coordinator::CoordinatorKind;
use pool::{Inner, Published};
use slot::lock;

/// A first connection that takes longer is told of, so that nobody watches a silent terminal.
const SILENT_CONNECT: Duration = Duration::from_secs(1);

/// Handle on the pool; clones share everything.
#[derive(Debug, Clone)]
pub(crate) struct Cluster {
    inner: Arc<Inner>,
}

impl Cluster {
    /// Opens the pool and waits for the first metadata, at most for
    /// `socket.connection.setup.timeout.ms`.
    pub(crate) async fn connect(config: &ClientConfig) -> Result<Cluster, RequestError> {
        let seed = RandomState::new().hash_one(0u8);
        let policy = RefreshPolicy {
            age_max: config.metadata_age_max,
            backoff: BackoffPolicy {
                initial: config.retry_backoff,
                max: config.retry_backoff_max,
            },
            rebootstrap_after: match config.metadata_recovery_strategy {
                MetadataRecoveryStrategy::Rebootstrap => Some(config.metadata_recovery_rebootstrap_trigger),
                MetadataRecoveryStrategy::None => None,
            },
        };
        let inner = Arc::new(Inner {
            config: config.clone(),
            dial: DialOptions {
                client_id: config.client_id.as_str().into(),
                setup_timeout: config.connection_setup_timeout,
                idle_max: config.connections_idle_max,
                frame_bytes_max: config.frame_bytes_max,
                send_buffer_bytes: config.send_buffer_bytes,
                receive_buffer_bytes: config.receive_buffer_bytes,
            },
            slots: Mutex::default(),
            coordinators: Mutex::default(),
            refresh: Mutex::new(MetadataRefresh::new(policy, seed)),
            refresh_wake: Arc::default(),
            published: watch::Sender::new(Published::default()),
            closed: watch::Sender::new(false),
            rng: Mutex::new(Rng::with_seed(seed)),
            metadata_task: Mutex::default(),
        });
        let cluster = Cluster { inner };
        let first = cluster.refresh_metadata();
        let task = tokio::spawn(metadata_task::run(Arc::downgrade(&cluster.inner)));
        *lock(&cluster.inner.metadata_task) = Some(task);
        let timeout = config.connection_setup_timeout;
        let refreshed = {
            let mut refreshed = std::pin::pin!(cluster.wait_refreshed(first, now() + timeout));
            match tokio::time::timeout(SILENT_CONNECT, &mut refreshed).await {
                Ok(refreshed) => refreshed,
                Err(_) => {
                    let reason = cluster.inner.published.borrow().error.as_ref().map_or_else(
                        || "no answer".to_owned(),
                        |error| match error.source() {
                            Some(cause) => format!("{error}: {cause}"),
                            None => error.to_string(),
                        },
                    );
                    warn!(
                        servers = config.bootstrap_servers.join(","),
                        reason,
                        trying_for_seconds = timeout.as_secs_f64(),
                        "No bootstrap server has answered yet."
                    );
                    refreshed.await
                }
            }
        };
        match refreshed {
            Ok(()) => Ok(cluster),
            Err(error) => {
                let error = cluster.explain(error, timeout);
                cluster.close();
                Err(error)
            }
        }
    }

    /// Why there is no first metadata. Attempts may still be under way: then it matters how far they came.
    fn explain(&self, error: RequestError, timeout: Duration) -> RequestError {
        let error = match error {
            RequestError::TimedOut { .. } if !self.inner.is_connected() => RequestError::Connect {
                address: self.inner.config.bootstrap_servers.join(",").into(),
                source: Arc::new(io::Error::new(io::ErrorKind::TimedOut, "no connection opened")),
            },
            error if error.is_retriable() => error,
            error => return error,
        };
        RequestError::NoBootstrapServer {
            timeout,
            source: Arc::new(error),
        }
    }

    /// The settings that the pool was opened with.
    pub(crate) fn config(&self) -> &ClientConfig {
        &self.inner.config
    }

    /// Sends a request in the newest common version and waits for the answer. `timeout` counts from the
    /// moment the connection is open; opening takes at most `socket.connection.setup.timeout.ms` and the
    /// reconnect backoff.
    pub(crate) async fn request<R: Request>(
        &self,
        target: NodeTarget<'_>,
        lane: Lane,
        request: R,
        timeout: Duration,
    ) -> Result<R::Response, RequestError> {
        self.request_with(target, lane, None, |_| request, timeout).await
    }

    /// As [`Cluster::request`], for a request whose content depends on the version, or whose versions
    /// are limited to `ours`.
    pub(crate) async fn request_with<R: Request>(
        &self,
        target: NodeTarget<'_>,
        lane: Lane,
        ours: Option<ApiRange>,
        build: impl FnOnce(i16) -> R,
        timeout: Duration,
    ) -> Result<R::Response, RequestError> {
        let api_key = api_key_of::<R>();
        let connection = self.connection(target, lane).await.map_err(|error| match error {
            RequestError::UnknownNode { target, .. } => RequestError::UnknownNode { api_key, target },
            other => other,
        })?;
        let version = connection.version(api_key, ours)?;
        let answer = connection.submit(version, &build(version), timeout)?;
        answer.await?.decode(api_key)
    }

    /// An open connection, for callers that pipeline requests themselves or need to know the version.
    pub(crate) async fn connection(&self, target: NodeTarget<'_>, lane: Lane) -> Result<Arc<Connection>, RequestError> {
        let mut closed = self.inner.closed.subscribe();
        if *closed.borrow_and_update() {
            return Err(RequestError::Closed);
        }
        let outcome = tokio::select! {
            outcome = self.inner.connection(target, lane) => outcome,
            _ = closed.wait_for(|closed| *closed) => return Err(RequestError::Closed),
        };
        if outcome.is_err() && !matches!(target, NodeTarget::Any) {
            self.refresh_metadata(); // It may have another address by now.
        }
        outcome
    }

    /// A seed for a machine's jitter.
    pub(crate) fn seed(&self) -> u64 {
        lock(&self.inner.rng).u64(..)
    }

    /// The cache as of now.
    pub(crate) fn metadata(&self) -> Arc<ClusterMetadata> {
        Arc::clone(&self.inner.published.borrow().metadata)
    }

    /// The partition's leader as of now.
    pub(crate) fn leader_for(&self, topic: &str, partition: i32) -> Option<Leader> {
        self.metadata().leader_for(topic, partition)
    }

    /// Resolves whenever the cache changed or a refresh failed.
    pub(crate) fn metadata_changes(&self) -> MetadataChanges {
        MetadataChanges(self.inner.published.subscribe())
    }

    /// Keeps these topics in the cache from now on. New ones are asked for at once.
    pub(crate) fn track_topics<'a>(&self, topics: impl IntoIterator<Item = &'a str>) -> RefreshTicket {
        let mut refresh = lock(&self.inner.refresh);
        let tickets = topics.into_iter().map(|topic| refresh.track(topic));
        let ticket = tickets.max().unwrap_or_default();
        drop(refresh);
        self.inner.refresh_wake.notify_one();
        ticket
    }

    /// Keeps the topic in the cache from now on, and asks for it again if the last answer did not have it.
    pub(crate) fn want_topic(&self, topic: &str) -> RefreshTicket {
        let ticket = self.track_topics([topic]);
        let known = self.metadata();
        match known.topic(topic) {
            Some(_) if known.partition_count(topic).is_none() => self.refresh_metadata(),
            _ => ticket,
        }
    }

    /// Demands fresh metadata without waiting; many demands become one request.
    pub(crate) fn refresh_metadata(&self) -> RefreshTicket {
        let ticket = lock(&self.inner.refresh).demand();
        self.inner.refresh_wake.notify_one();
        ticket
    }

    /// As [`Cluster::refresh_metadata`], but what was heard within `retry.backoff.ms` is fresh enough.
    pub(crate) fn freshen_metadata(&self) -> RefreshTicket {
        let ticket = lock(&self.inner.refresh).demand_within(now(), self.inner.config.retry_backoff);
        self.inner.refresh_wake.notify_one();
        ticket
    }

    /// Waits until the demand behind the ticket is satisfied; fails at `deadline` with the last refresh's
    /// error, or earlier if a refresh meanwhile fails with an error that cannot go away.
    pub(crate) async fn wait_refreshed(&self, ticket: RefreshTicket, deadline: Instant) -> Result<(), RequestError> {
        let started = now();
        let mut changes = self.inner.published.subscribe();
        let failures_before = changes.borrow().failures;
        loop {
            // Seen before the demand is looked at: an answer in between must still count as a change, or nobody would
            // look again before the deadline.
            let (error, failures) = {
                let published = changes.borrow_and_update();
                (published.error.clone(), published.failures)
            };
            if lock(&self.inner.refresh).is_satisfied(ticket) {
                return Ok(());
            }
            if *self.inner.closed.borrow() {
                return Err(RequestError::Closed);
            }
            if let Some(error) = &error
                && !error.is_retriable()
                && failures != failures_before
            {
                return Err(error.clone());
            }
            if tokio::time::timeout_at(deadline.into(), changes.changed())
                .await
                .is_err()
            {
                return Err(error.unwrap_or(RequestError::TimedOut {
                    api_key: ApiKey::Metadata,
                    timeout: now().saturating_duration_since(started),
                }));
            }
        }
    }

    /// A produce or fetch answer named a newer leader; `topic_id` is what the request was about.
    pub(crate) fn apply_leader(&self, topic: &str, topic_id: Option<Uuid>, partition: i32, leader: Leader) {
        self.inner.published.send_modify(|published| {
            Arc::make_mut(&mut published.metadata).apply_leader(topic, topic_id, partition, leader);
        });
    }

    /// The group's coordinator, asked for if it is not remembered.
    pub(crate) async fn group_coordinator(&self, group: &str) -> Result<i32, RequestError> {
        self.inner.find_coordinator(CoordinatorKind::Group, group).await
    }

    /// The group's coordinator moved: look for it again at the next request.
    pub(crate) fn forget_coordinator(&self, group: &str) {
        lock(&self.inner.coordinators).forget(CoordinatorKind::Group, group);
    }

    /// As [`Cluster::forget_coordinator`], of a transactional id.
    pub(crate) fn forget_transaction_coordinator(&self, transactional_id: &str) {
        lock(&self.inner.coordinators).forget(CoordinatorKind::Transaction, transactional_id);
    }

    /// Closes all connections and stops the metadata task. Requests under way fail.
    pub(crate) fn close(&self) {
        self.inner.close();
    }
}

/// A stream of cache changes.
#[derive(Debug)]
pub(crate) struct MetadataChanges(watch::Receiver<Published>);

impl MetadataChanges {
    /// Resolves after the next change, or never once the cluster is closed.
    pub(crate) async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending().await
        }
    }
}
