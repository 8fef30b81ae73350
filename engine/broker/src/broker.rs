//! The public handle: start, address, shutdown, and the tasks behind them.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tracing::{debug, info, warn};

use crate::config::BrokerConfig;
use crate::connection::{self, ConnectionError};
use crate::fault::{Fault, FaultAction, Faults, ObservedRequest};
use crate::node::Node;
use crate::start_error::StartError;

/// How often time bounds and compaction are looked after.
const CLEAN_INTERVAL: Duration = Duration::from_secs(5);

/// Pause after an accept that failed, most likely for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A running broker. Dropping it stops it without waiting; [`shutdown`](Self::shutdown) also syncs the logs.
#[derive(Debug)]
pub struct Broker {
    address: SocketAddr,
    node: Arc<Node>,
    /// Dropped to stop the tasks.
    stop: watch::Sender<()>,
    serving: JoinHandle<()>,
}

impl Broker {
    /// Binds the listener, recovers what `data` holds, and serves until shut down. Must be called inside a
    /// tokio runtime (with time and I/O enabled), on which all its tasks run.
    ///
    /// # Errors
    /// [`StartError`] if the address cannot be bound, or the data directory cannot be used or is damaged.
    pub async fn start(config: BrokerConfig) -> Result<Self, StartError> {
        let bind_failed = |source| StartError::Bind {
            address: config.listen,
            source,
        };
        let listener = TcpListener::bind(config.listen).await.map_err(bind_failed)?;
        let address = listener.local_addr().map_err(bind_failed)?;
        let host = match &config.advertised_host {
            Some(host) => host.clone(),
            None if address.ip().is_unspecified() => "localhost".to_owned(),
            None => address.ip().to_string(),
        };
        let node = Arc::new(Node::open(config, host, address.port())?);
        let (stop, stopped) = watch::channel(());
        let serving = tokio::spawn(serve(Arc::clone(&node), listener, address, stopped));
        info!(%address, data = ?node.config.data, "Embedded broker started.");
        Ok(Self {
            address,
            node,
            stop,
            serving,
        })
    }

    /// The bound address: what clients use as `bootstrap.servers`.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Makes requests meet a fault; for tests of clients.
    pub fn inject(&self, fault: Fault) {
        self.faults().inject(fault);
    }

    /// Shows every request to `look` before it is handled, on whichever thread serves its connection; the request meets what
    /// `look` answers, before any fault that waits. For tests of clients that must see what is asked, or choose by it.
    /// There is one observer: false if it is there already.
    #[must_use]
    pub fn observe(&self, look: impl Fn(&ObservedRequest<'_>) -> Option<FaultAction> + Send + Sync + 'static) -> bool {
        self.node.observer.set(Box::new(look))
    }

    /// Crashes, and is back at the same address after `down`: see [`FaultAction::Restart`](crate::FaultAction). Returns
    /// before it does.
    pub fn crash_and_restart(&self, down: Duration) {
        self.node.restarts.want(down);
    }

    /// Moves a partition's leader, though only to the same broker: the leader epoch goes up, and is returned. A client
    /// that names the old one gets FENCED_LEADER_EPOCH. `None` if there is no such partition.
    pub fn move_leader(&self, topic: &str, partition: i32) -> Option<i32> {
        let partition = self.node.topics.find(topic)?.partition(partition)?;
        Some(self.node.move_leader(&partition))
    }

    /// Forgets the faults that no request has met yet.
    pub fn clear_faults(&self) {
        self.faults().clear();
    }

    /// Closes the listener and every connection, then syncs logs and journal to disk. The data directory can be
    /// used by another broker as soon as this returns.
    pub async fn shutdown(self) {
        let Self {
            node, stop, serving, ..
        } = self;
        drop(stop);
        if let Err(error) = serving.await {
            warn!(%error, "The broker's tasks did not end well.");
        }
        node.sync();
    }

    fn faults(&self) -> &Faults {
        &self.node.faults
    }
}

/// Accepts connections and keeps the time of groups, transactions and logs, until `stopped` says so.
async fn serve(node: Arc<Node>, mut listener: TcpListener, address: SocketAddr, mut stopped: watch::Receiver<()>) {
    let mut connections = JoinSet::new();
    let mut keepers = JoinSet::new();
    keepers.spawn({
        let node = Arc::clone(&node);
        async move { node.coordinator.keep_time().await }
    });
    keepers.spawn({
        let node = Arc::clone(&node);
        async move { node.keep_transaction_time().await }
    });
    let cleaning = tokio::spawn(clean(Arc::clone(&node), stopped.clone()));
    loop {
        tokio::select! {
            _ = stopped.changed() => {
                drop(listener);
                break;
            }
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            accepted = listener.accept() => accept(&node, &mut connections, accepted).await,
            down = node.restarts.next() => {
                drop(listener);
                connections.shutdown().await;
                tokio::select! {
                    _ = stopped.changed() => break,
                    again = restart(&node, address, down) => listener = again,
                }
            }
        }
    }
    connections.shutdown().await;
    keepers.shutdown().await;
    // Not aborted: a pass on its own thread would go on, and keep the data directory locked.
    if let Err(error) = cleaning.await {
        warn!(%error, "The cleaning of logs did not end well.");
    }
}

/// Stays down, then listens again. Somebody else may have taken the port meanwhile: it is waited for.
async fn restart(node: &Node, address: SocketAddr, down: Duration) -> TcpListener {
    info!(%address, ?down, "The broker is down, as was asked for.");
    tokio::time::sleep(down).await;
    node.move_all_leaders();
    node.fetch_sessions.forget_all();
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => {
                info!(%address, "The broker is back.");
                return listener;
            }
            Err(error) => warn!(%address, %error, "The address cannot be bound again yet."),
        }
        tokio::time::sleep(ACCEPT_PAUSE).await;
    }
}

async fn accept(node: &Arc<Node>, connections: &mut JoinSet<()>, accepted: io::Result<(TcpStream, SocketAddr)>) {
    let (stream, peer) = match accepted {
        Ok(accepted) => accepted,
        Err(error) => {
            warn!(%error, "A connection was not accepted.");
            tokio::time::sleep(ACCEPT_PAUSE).await;
            return;
        }
    };
    if connections.len() >= node.config.connections_max {
        warn!(%peer, connections_max = node.config.connections_max, "Too many connections; one was closed.");
        return;
    }
    let node = Arc::clone(node);
    connections.spawn(async move {
        match connection::serve(node, stream, peer).await {
            Ok(()) => {}
            // Clients come and go; what they sent that was no request is worth a line.
            Err(error @ ConnectionError::Io(_)) => debug!(%peer, %error, "Connection ended."),
            Err(error) => warn!(%peer, error = chain(&error), "Connection closed."),
        }
    });
}

/// Cleans the logs now and then, away from the threads that serve connections.
async fn clean(node: Arc<Node>, mut stopped: watch::Receiver<()>) {
    while tokio::time::timeout(CLEAN_INTERVAL, stopped.changed()).await.is_err() {
        let node = Arc::clone(&node);
        if let Err(error) = tokio::task::spawn_blocking(move || node.clean()).await {
            warn!(%error, "The logs were not cleaned.");
        }
    }
}

/// An error with its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
