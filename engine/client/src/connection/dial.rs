//! Opening a connection: resolve, connect, negotiate versions.
//!
//! A straight line of awaits; the decisions about versions are `engine_proto::connection::Handshake`.

use std::{
    fmt::Display,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, atomic::AtomicI32},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use engine_proto::connection::{ApiRanges, Handshake, HandshakeStep, Pipeline};
use engine_wire::{
    frame::FrameDecoder,
    messages::{ApiKey, ApiVersionsRequest, StrBytes},
    request, response,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream, lookup_host},
    sync::{Notify, mpsc},
};

use super::{Connection, RequestError, Shared, State, now, tasks};

/// `host:port` as [`dial`] wants it: an IPv6 address needs brackets before a port.
pub(crate) fn address_of(host: &str, port: impl Display) -> Arc<str> {
    if host.contains(':') {
        format!("[{host}]:{port}").into()
    } else {
        format!("{host}:{port}").into()
    }
}

/// How to open a connection.
#[derive(Debug, Clone)]
pub(crate) struct DialOptions {
    pub(crate) client_id: Arc<str>,
    pub(crate) setup_timeout: Duration,
    pub(crate) idle_max: Duration,
    pub(crate) frame_bytes_max: usize,
    pub(crate) send_buffer_bytes: Option<usize>,
    pub(crate) receive_buffer_bytes: Option<usize>,
}

/// A connection that did not open.
#[derive(Debug)]
pub(crate) struct DialError {
    pub(crate) error: RequestError,
    /// The peer closed the socket on our newest greeting: try the oldest.
    pub(crate) reset_by_greeting: bool,
}

/// Opens a connection to `host:port`, within the setup timeout. `greet_oldest` greets in version 0
/// because this peer closed the socket on a newer one before.
pub(crate) async fn dial(
    address: &Arc<str>,
    options: &DialOptions,
    greet_oldest: bool,
) -> Result<Connection, DialError> {
    let handshake = if greet_oldest {
        Handshake::after_reset()
    } else {
        Handshake::new()
    };
    let connect_failed = |source: io::Error| RequestError::Connect {
        address: Arc::clone(address),
        source: Arc::new(source),
    };
    let attempt = async {
        let mut stream = connect(address, options).await.map_err(|error| DialError {
            error: connect_failed(error),
            reset_by_greeting: false,
        })?;
        let (ranges, rest) = greet(&mut stream, address, options, handshake).await?;
        Ok((stream, ranges, rest))
    };
    let timed_out = || DialError {
        error: connect_failed(io::Error::new(
            io::ErrorKind::TimedOut,
            format!(
                "no connection, or no answer on it, within {} ms",
                options.setup_timeout.as_millis()
            ),
        )),
        reset_by_greeting: false,
    };
    let outcome = tokio::time::timeout(options.setup_timeout, attempt).await;
    let (stream, ranges, rest) = outcome.map_err(|_| timed_out())??;
    Ok(start(stream, address, options, ranges, rest))
}

fn start(
    stream: TcpStream,
    address: &Arc<str>,
    options: &DialOptions,
    ranges: ApiRanges,
    rest: BytesMut,
) -> Connection {
    let now = now();
    let (writer, outgoing) = mpsc::unbounded_channel();
    let pipeline = Pipeline::new(options.idle_max, now);
    let shared = Arc::new(Shared {
        address: Arc::clone(address),
        client_id: Arc::clone(&options.client_id),
        ranges,
        next_correlation_id: AtomicI32::new(1),
        state: Mutex::new(State {
            scheduled: pipeline.poll_deadline(),
            pipeline,
            writer: Some(writer),
            closed: None,
        }),
        wake_reader: Notify::new(),
    });
    let (read_half, write_half) = stream.into_split();
    let decoder = FrameDecoder::new(options.frame_bytes_max);
    let writer = tokio::spawn(tasks::write(Arc::clone(&shared), write_half, outgoing));
    let reading = tasks::read(Arc::clone(&shared), read_half, decoder, rest);
    tokio::spawn(async move {
        reading.await;
        // A peer that stopped reading would hold the writer, and with it the socket, for as long as it likes.
        writer.abort();
    });
    Connection { shared }
}

/// Tries every resolved address in turn.
async fn connect(address: &str, options: &DialOptions) -> io::Result<TcpStream> {
    let mut failure = None;
    for resolved in lookup_host(address).await? {
        match connect_one(resolved, options).await {
            Ok(stream) => return Ok(stream),
            Err(error) => failure = Some(error),
        }
    }
    Err(failure.unwrap_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the name has no addresses")))
}

async fn connect_one(resolved: SocketAddr, options: &DialOptions) -> io::Result<TcpStream> {
    let socket = match resolved {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // Sizes are hints; a system that refuses one still connects.
    let size = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX);
    if let Some(bytes) = options.send_buffer_bytes {
        let _ = socket.set_send_buffer_size(size(bytes));
    }
    if let Some(bytes) = options.receive_buffer_bytes {
        let _ = socket.set_recv_buffer_size(size(bytes));
    }
    // Also a hint: a connection whose other end is gone without a word ends some day, whatever waits on it.
    let _ = socket.set_keepalive(true);
    let stream = socket.connect(resolved).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Negotiates versions. Also gives what was read beyond the answer (nothing, from a sane broker).
async fn greet(
    stream: &mut TcpStream,
    address: &Arc<str>,
    options: &DialOptions,
    mut handshake: Handshake,
) -> Result<(ApiRanges, BytesMut), DialError> {
    let may_fall_back = handshake.may_fall_back();
    let reset = |source: io::Error| DialError {
        error: RequestError::Connect {
            address: Arc::clone(address),
            source: Arc::new(source),
        },
        reset_by_greeting: may_fall_back,
    };
    let other = |error: RequestError| DialError {
        error,
        reset_by_greeting: false,
    };
    let api_key = ApiKey::ApiVersions;
    let decoder = FrameDecoder::new(options.frame_bytes_max.min(GREETING_BYTES_MAX));
    let mut buffer = BytesMut::with_capacity(4096);
    let mut version = handshake.version();
    // Twice at most: the handshake falls back once.
    loop {
        let body = ApiVersionsRequest::default()
            .with_client_software_name(StrBytes::from_static_str(env!("CARGO_PKG_NAME")))
            .with_client_software_version(StrBytes::from_static_str(env!("CARGO_PKG_VERSION")));
        let body = if version >= 3 {
            body
        } else {
            ApiVersionsRequest::default()
        };
        let frame = request::encode_request(version, 0, Some(&*options.client_id), &body);
        let frame = frame.map_err(|source| {
            other(RequestError::Encode {
                api_key,
                source: Arc::new(source),
            })
        })?;
        stream.write_all(&frame).await.map_err(&reset)?;
        let frame = read_frame(stream, &decoder, &mut buffer).await.map_err(&reset)?;
        let (_, body) = response::decode_response_header(api_key, version, frame)
            .map_err(|source| other(RequestError::Header { api_key, source }))?;
        let step = handshake.handle_response(body).map_err(|source| {
            other(RequestError::Handshake {
                address: Arc::clone(address),
                source: Arc::new(source),
            })
        })?;
        match step {
            HandshakeStep::Ask(older) => version = older,
            HandshakeStep::Done(ranges) => return Ok((ranges, buffer)),
        }
    }
}

async fn read_frame(stream: &mut TcpStream, decoder: &FrameDecoder, buffer: &mut BytesMut) -> io::Result<Bytes> {
    loop {
        match decoder.decode(buffer) {
            Ok(Some(frame)) => return Ok(frame),
            Ok(None) => {}
            Err(error) => return Err(io::Error::new(io::ErrorKind::InvalidData, error)),
        }
        if stream.read_buf(buffer).await? == 0 {
            return Err(io::Error::new(
                io::ErrorKind::ConnectionReset,
                "closed before it answered ApiVersions",
            ));
        }
    }
}

/// An ApiVersions answer is about 1 kB; anything huge is another protocol (HTTP, TLS).
const GREETING_BYTES_MAX: usize = 1024 * 1024;
