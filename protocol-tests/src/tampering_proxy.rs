//! A broker that lies: a proxy before an honest one, whose answers a test changes.
//!
//! Whatever is not tampered with is answered by the broker behind it, so a test needs no script for
//! handshakes, groups or transactions, and a case that says one lie is a few lines. The addresses that the
//! broker advertises are replaced by the proxy's own. Threads and blocking sockets, so that it needs no runtime
//! and takes next to no memory: a request is read, answered and forgotten before the next one.
//! Never here: what a client should make of a lie.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use engine_wire::messages::*;
use engine_wire::request::{RequestHeader, decode_request, decode_request_body};
use engine_wire::response::{decode_body, decode_response_header, encode_response};

/// What goes back for one request.
#[derive(Debug, Clone)]
pub enum Reply {
    /// A frame, which gets its size before it.
    Frame(Bytes),
    /// These bytes as they are.
    Wire(Vec<u8>),
    /// Nothing; the connection stays open.
    Silence,
    /// These bytes, then the end of the connection.
    Close(Vec<u8>),
    /// Byte by byte, with a pause after each.
    Drip(Vec<u8>, Duration),
}

/// Answers a request in the broker's place.
type Tamper = Arc<dyn Fn(&mut Exchange<'_>) -> Reply + Send + Sync>;

/// One request, and the honest broker that could answer it.
#[derive(Debug)]
pub struct Exchange<'a> {
    /// The API.
    pub api: ApiKey,
    /// The version of request and answer.
    pub version: i16,
    /// What a right answer repeats.
    pub correlation_id: i32,
    body: Bytes,
    request: &'a [u8],
    upstream: &'a mut TcpStream,
    own_address: SocketAddr,
}

impl Exchange<'_> {
    /// The request's body.
    ///
    /// # Panics
    /// If it is another message.
    #[must_use]
    pub fn asked<T: Decodable + HeaderVersion>(&self) -> T {
        decode_request_body(self.version, self.body.clone()).expect("the client sends what can be read")
    }

    /// Asks the honest broker; gives its answer's frame.
    ///
    /// # Errors
    /// If it is gone.
    pub fn honest_frame(&mut self) -> io::Result<Bytes> {
        write_frame(self.upstream, self.request)?;
        let frame = read_frame(self.upstream)?;
        let address = self.own_address;
        let (host, port) = (address.ip().to_string(), i32::from(address.port()));
        let host = || StrBytes::from_string(host.clone());
        Ok(match self.api {
            ApiKey::Metadata => self.with(frame, |answer: &mut MetadataResponse| {
                for broker in &mut answer.brokers {
                    (broker.host, broker.port) = (host(), port);
                }
            }),
            ApiKey::DescribeCluster => self.with(frame, |answer: &mut DescribeClusterResponse| {
                for broker in &mut answer.brokers {
                    (broker.host, broker.port) = (host(), port);
                }
            }),
            ApiKey::FindCoordinator => self.with(frame, |answer: &mut FindCoordinatorResponse| {
                if self.version < 4 {
                    (answer.host, answer.port) = (host(), port);
                }
                for coordinator in &mut answer.coordinators {
                    (coordinator.host, coordinator.port) = (host(), port);
                }
            }),
            _ => frame,
        })
    }

    /// The honest answer, changed.
    pub fn changed<T>(&mut self, change: impl FnOnce(&mut T)) -> Reply
    where
        T: Decodable + Encodable + HeaderVersion + Message,
    {
        match self.honest_frame() {
            Ok(frame) => Reply::Frame(self.with(frame, change)),
            Err(_) => Reply::Close(Vec::new()),
        }
    }

    /// An answer of the test's own making.
    pub fn made<T>(&self, answer: &T) -> Reply
    where
        T: Encodable + HeaderVersion + Message,
    {
        Reply::Frame(self.framed(answer))
    }

    fn with<T>(&self, frame: Bytes, change: impl FnOnce(&mut T)) -> Bytes
    where
        T: Decodable + Encodable + HeaderVersion + Message,
    {
        let (_, body) = decode_response_header(self.api, self.version, frame).expect("an honest header");
        let mut answer: T = decode_body(self.version, body).expect("an honest body");
        change(&mut answer);
        self.framed(&answer)
    }

    fn framed<T: Encodable + HeaderVersion + Message>(&self, answer: &T) -> Bytes {
        encode_response(self.api, self.version, self.correlation_id, answer)
            .expect("a lie that can be written")
            .slice(4..)
    }
}

/// The proxy. Dropping it closes all its connections.
#[derive(Debug)]
pub struct TamperingProxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    address: SocketAddr,
    upstream: SocketAddr,
    tampers: Mutex<HashMap<i16, Tamper>>,
    requests: Mutex<HashMap<i16, usize>>,
    sockets: Mutex<Vec<TcpStream>>,
    is_stopped: AtomicBool,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("upstream", &self.upstream)
            .finish_non_exhaustive()
    }
}

impl TamperingProxy {
    /// A proxy on a free port of loopback before the broker at `upstream`, honest so far.
    ///
    /// # Panics
    /// If no port can be bound.
    #[must_use]
    pub fn start(upstream: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound socket");
        let shared = Arc::new(Shared {
            address,
            upstream,
            tampers: Mutex::default(),
            requests: Mutex::default(),
            sockets: Mutex::default(),
            is_stopped: AtomicBool::new(false),
        });
        let accepting = Arc::clone(&shared);
        thread::spawn(move || accept(&accepting, &listener));
        Self { address, shared }
    }

    /// What clients use as `bootstrap.servers`.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on answers this API so.
    pub fn tamper(&self, api: ApiKey, with: impl Fn(&mut Exchange<'_>) -> Reply + Send + Sync + 'static) {
        lock(&self.shared.tampers).insert(api as i16, Arc::new(with));
    }

    /// Is honest from now on. Connections on which a lie was told stay as they are.
    pub fn heal(&self) {
        lock(&self.shared.tampers).clear();
    }

    /// How many requests of this API came so far.
    #[must_use]
    pub fn requests(&self, api: ApiKey) -> usize {
        lock(&self.shared.requests).get(&(api as i16)).copied().unwrap_or(0)
    }

    /// Cuts every connection.
    pub fn disconnect_all(&self) {
        for socket in lock(&self.shared.sockets).drain(..) {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for TamperingProxy {
    fn drop(&mut self) {
        self.shared.is_stopped.store(true, Ordering::Release);
        self.disconnect_all();
        // The listener's thread waits for one more.
        let _ = TcpStream::connect(self.address);
    }
}

fn accept(shared: &Arc<Shared>, listener: &TcpListener) {
    for client in listener.incoming() {
        if shared.is_stopped.load(Ordering::Acquire) {
            return;
        }
        let Ok(client) = client else { continue };
        let shared = Arc::clone(shared);
        thread::spawn(move || {
            // Both sides come and go as the test likes.
            let _ = serve(&shared, client);
        });
    }
}

fn serve(shared: &Shared, mut client: TcpStream) -> io::Result<()> {
    let mut upstream = TcpStream::connect(shared.upstream)?;
    client.set_nodelay(true)?;
    upstream.set_nodelay(true)?;
    lock(&shared.sockets).extend([client.try_clone()?, upstream.try_clone()?]);
    loop {
        let request = read_frame(&mut client)?;
        let (header, body) = decode_request(request.clone()).map_err(io::Error::other)?;
        *lock(&shared.requests).entry(header.api_key).or_default() += 1;
        match reply(shared, &header, body, &request, &mut upstream)? {
            Reply::Frame(frame) => write_frame(&mut client, &frame)?,
            Reply::Wire(bytes) => client.write_all(&bytes)?,
            Reply::Silence => {}
            Reply::Close(bytes) => {
                client.write_all(&bytes)?;
                return client.shutdown(Shutdown::Both);
            }
            Reply::Drip(bytes, pause) => {
                for byte in bytes {
                    client.write_all(&[byte])?;
                    thread::sleep(pause);
                }
            }
        }
    }
}

fn reply(
    shared: &Shared,
    header: &RequestHeader,
    body: Bytes,
    request: &[u8],
    upstream: &mut TcpStream,
) -> io::Result<Reply> {
    let api = header.api().ok_or_else(|| io::Error::other("an unknown API"))?;
    let mut exchange = Exchange {
        api,
        version: header.api_version,
        correlation_id: header.correlation_id,
        body,
        request,
        upstream,
        own_address: shared.address,
    };
    let tamper = lock(&shared.tampers).get(&header.api_key).cloned();
    match tamper {
        Some(tamper) => Ok(tamper(&mut exchange)),
        None => exchange.honest_frame().map(Reply::Frame),
    }
}

fn read_frame(socket: &mut TcpStream) -> io::Result<Bytes> {
    let mut prefix = [0; 4];
    socket.read_exact(&mut prefix)?;
    let size = usize::try_from(i32::from_be_bytes(prefix)).map_err(io::Error::other)?;
    let mut frame = vec![0; size];
    socket.read_exact(&mut frame)?;
    Ok(Bytes::from(frame))
}

fn write_frame(socket: &mut TcpStream, frame: &[u8]) -> io::Result<()> {
    let prefix = i32::try_from(frame.len()).map_err(io::Error::other)?.to_be_bytes();
    if frame.len() < COPIED_BYTES_MAX {
        return socket.write_all(&[&prefix, frame].concat());
    }
    socket.write_all(&prefix)?;
    socket.write_all(frame)
}

/// A larger frame goes out in two pieces: tests of memory run in the same process.
const COPIED_BYTES_MAX: usize = 64 << 10;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
