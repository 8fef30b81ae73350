//! The HTTP server: `/healthz`, `/readyz`, `/metrics`, `/api/v1/status`.
//!
//! Bounds: [`CONNECTIONS_MAX`] connections (more wait in the listener's backlog), each open for at most
//! [`CONNECTION_LIFE_MAX`]; bodies are never read; hyper refuses a head that outgrows its buffer.
//! Never here: what is counted (see `metrics`).

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Sleep;

use crate::metrics::exposition::{CONTENT_TYPE, render};
use crate::metrics::snapshot::Snapshot;

/// Most connections at once.
pub const CONNECTIONS_MAX: usize = 64;
/// Longest life of a connection: scrapers open another.
pub const CONNECTION_LIFE_MAX: Duration = Duration::from_secs(60);
/// How long a stop waits for answers that are under way.
const STOP_WAIT: Duration = Duration::from_secs(2);

/// What the server asks the run; answers must be quick, they are computed on the network's threads.
pub trait Observed: Send + Sync + 'static {
    /// `Ok` when the pipeline is processing; otherwise why it is not, in a sentence.
    fn readiness(&self) -> Result<(), String>;
    /// Everything that `/metrics` shows.
    fn snapshot(&self) -> Snapshot;
    /// The run's status as JSON.
    fn status_json(&self) -> String;
}

/// Why the server could not start.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// Another process listens there.
    #[error(
        "the HTTP server cannot listen on {address}: another process is using this address; stop it or change `listen` in [server]"
    )]
    AddressInUse {
        /// The address.
        address: SocketAddr,
    },
    /// Any other reason.
    #[error("the HTTP server cannot listen on {address}: {cause}{}", advice(cause.kind()))]
    Bind {
        /// The address.
        address: SocketAddr,
        /// The operating system's reason.
        #[source]
        cause: io::Error,
    },
}

fn advice(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::AddrNotAvailable => {
            "; this machine does not have the address: change `listen` in [server], 0.0.0.0 is every one that it has"
        }
        ErrorKind::PermissionDenied => "; this user may not: change the port of `listen` in [server]",
        _ => "",
    }
}

/// A running server. Dropping it stops it without waiting.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Server {
    /// Starts to listen.
    ///
    /// # Errors
    /// If the address cannot be had.
    pub async fn start(listen: SocketAddr, observed: Arc<dyn Observed>) -> Result<Server, ServerError> {
        let bind = |cause: io::Error| match cause.kind() {
            ErrorKind::AddrInUse => ServerError::AddressInUse { address: listen },
            _ => ServerError::Bind { address: listen, cause },
        };
        let listener = TcpListener::bind(listen).await.map_err(bind)?;
        let address = listener.local_addr().map_err(bind)?;
        let listener = Bounded {
            listener,
            permits: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
        };
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(async move {
            let until = async move {
                let _ = stopped.await;
            };
            // Accepting never ends with an error; see `Listener::accept` below.
            let _ = axum::serve(listener, router(observed))
                .with_graceful_shutdown(until)
                .await;
        });
        Ok(Server { address, stop, task })
    }

    /// Where it listens, with the real port.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops accepting and waits a moment for answers that are under way.
    pub async fn stop(mut self) {
        let _ = self.stop.send(());
        if tokio::time::timeout(STOP_WAIT, &mut self.task).await.is_err() {
            self.task.abort();
        }
    }
}

fn router(observed: Arc<dyn Observed>) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(exposition))
        .route("/api/v1/status", get(status))
        .fallback(|| async {
            (
                StatusCode::NOT_FOUND,
                "there are /healthz, /readyz, /metrics and /api/v1/status\n",
            )
        })
        .with_state(observed)
}

async fn ready(State(observed): State<Arc<dyn Observed>>) -> impl IntoResponse {
    match observed.readiness() {
        Ok(()) => (StatusCode::OK, "ready\n".to_owned()),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
    }
}

async fn exposition(State(observed): State<Arc<dyn Observed>>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], render(&observed.snapshot()))
}

async fn status(State(observed): State<Arc<dyn Observed>>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], observed.status_json())
}

/// A listener that accepts only as many connections as there are permits.
struct Bounded {
    listener: TcpListener,
    permits: Arc<Semaphore>,
}

impl Listener for Bounded {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        let permit = Arc::clone(&self.permits)
            .acquire_owned()
            .await
            .expect("the semaphore is never closed");
        loop {
            match self.listener.accept().await {
                Ok((stream, peer)) => {
                    let life = Box::pin(tokio::time::sleep(CONNECTION_LIFE_MAX));
                    return (
                        Connection {
                            stream,
                            life,
                            _permit: permit,
                        },
                        peer,
                    );
                }
                // Out of file descriptors, or the peer has gone: neither is cured by spinning.
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection with an end.
struct Connection {
    stream: TcpStream,
    life: Pin<Box<Sleep>>,
    _permit: OwnedSemaphorePermit,
}

impl Connection {
    fn expired(&mut self, context: &mut Context<'_>) -> Option<io::Error> {
        self.life
            .as_mut()
            .poll(context)
            .is_ready()
            .then(|| io::Error::from(ErrorKind::TimedOut))
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.expired(context) {
            Some(error) => Poll::Ready(Err(error)),
            None => Pin::new(&mut self.stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.expired(context) {
            Some(error) => Poll::Ready(Err(error)),
            None => Pin::new(&mut self.stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    struct Starting;

    impl Observed for Starting {
        fn readiness(&self) -> Result<(), String> {
            Err("still joining the group".to_owned())
        }
        fn snapshot(&self) -> Snapshot {
            Snapshot::default()
        }
        fn status_json(&self) -> String {
            "{}".to_owned()
        }
    }

    async fn server() -> Server {
        Server::start("127.0.0.1:0".parse().unwrap(), Arc::new(Starting))
            .await
            .unwrap()
    }

    #[tokio::test]
    async fn an_address_that_cannot_be_had_comes_with_what_to_change() {
        let taken = server().await;
        let observed = || Arc::new(Starting);
        let told = Server::start(taken.address(), observed())
            .await
            .unwrap_err()
            .to_string();
        assert!(told.contains("another process is using this address"), "{told}");
        // TEST-NET-1 (RFC 5737) is nobody's.
        let foreign = "192.0.2.1:0".parse().unwrap();
        let told = Server::start(foreign, observed()).await.unwrap_err().to_string();
        assert!(told.contains("this machine does not have the address"), "{told}");
    }

    async fn answer(address: SocketAddr, request: &[u8]) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        // The server may close in the middle of a request that is too long.
        let _ = stream.write_all(request).await;
        let _ = stream.shutdown().await;
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes).await;
        String::from_utf8_lossy(&bytes).into_owned()
    }

    #[tokio::test]
    async fn probes_metrics_and_status_answer() {
        let server = server().await;
        for (path, code, body) in [
            ("/healthz", "200", "ok"),
            ("/readyz", "503", "still joining the group"),
            ("/metrics", "200", "# EOF"),
            ("/api/v1/status", "200", "{}"),
            ("/../../etc/passwd", "404", "there are"),
        ] {
            let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
            let text = answer(server.address(), request.as_bytes()).await;
            assert!(
                text.starts_with(&format!("HTTP/1.1 {code}")) && text.contains(body),
                "{path}: {text}"
            );
        }
        server.stop().await;
    }

    #[tokio::test]
    async fn garbage_is_refused_and_the_next_request_answered() {
        let server = server().await;
        let endless_head = format!("GET / HTTP/1.1\r\nX: {}", "a".repeat(2 << 20));
        for garbage in [
            &b"\x16\x03\x01\x00\xff\x00"[..],
            b"GET",
            b"",
            b"\r\n\r\n\0\0",
            endless_head.as_bytes(),
        ] {
            let text = answer(server.address(), garbage).await;
            assert!(text.is_empty() || text.starts_with("HTTP/1.1 4"), "{text}");
        }
        let text = answer(
            server.address(),
            b"DELETE /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        )
        .await;
        assert!(text.starts_with("HTTP/1.1 405"), "{text}");
        server.stop().await;
    }

    #[tokio::test]
    async fn an_address_in_use_is_named() {
        let server = server().await;
        let error = Server::start(server.address(), Arc::new(Starting))
            .await
            .unwrap_err()
            .to_string();
        assert!(
            error.contains(&server.address().to_string()) && error.contains("another process"),
            "{error}"
        );
        server.stop().await;
    }
}
