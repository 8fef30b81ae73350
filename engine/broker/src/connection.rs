//! One client's connection: requests in order, each answered before the next is read.
//!
//! That bounds what a connection holds (one request frame, one answer) and is what Apache Kafka does; clients
//! pipeline into the socket's buffers. A client that stops reading blocks only itself.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};
use engine_wire::frame::{FRAME_PREFIX_BYTES, FrameDecoder, FrameError};
use engine_wire::request::{RequestHeaderError, decode_request};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::api::answer;
use crate::exchange::{Answer, AnswerError};
use crate::node::Node;

/// Free space that is made before the socket is read.
const READ_BYTES: usize = 64 << 10;

/// Frames up to this size get their memory at once, when a quarter of [`READ_BYTES`] has come.
const TRUSTED_FRAME_BYTES: usize = 4 << 20;

/// Pieces in one vectored write; the operating system takes up to 1,024.
const PIECES_MAX: usize = 256;

/// Why a connection ended, if not because the client closed it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectionError {
    #[error("the connection failed")]
    Io(#[from] io::Error),
    #[error("not a Kafka request")]
    Frame(#[from] FrameError),
    #[error("not a Kafka request")]
    Header(#[from] RequestHeaderError),
    #[error(transparent)]
    Answer(#[from] AnswerError),
}

/// Serves one client until it closes the connection or sends something that cannot be answered.
pub(crate) async fn serve(node: Arc<Node>, mut stream: TcpStream, peer: SocketAddr) -> Result<(), ConnectionError> {
    stream.set_nodelay(true)?;
    let decoder = FrameDecoder::new(node.config.frame_bytes_max);
    let mut buffer = BytesMut::new();
    loop {
        while let Some(frame) = decoder.decode(&mut buffer)? {
            let (header, body) = decode_request(frame)?;
            match answer(&node, peer.ip(), &header, body).await? {
                Answer::Nothing => {}
                Answer::Frame(pieces) => write_all(&mut stream, pieces).await?,
                Answer::Throttled { pieces, mute } => {
                    write_all(&mut stream, pieces).await?;
                    sleep(mute).await;
                }
            }
        }
        make_room(&mut buffer);
        match timeout(node.config.connection_idle_max, stream.read_buf(&mut buffer)).await {
            Ok(Ok(0)) | Err(_) => return Ok(()), // Closed by the client, or idle for too long.
            Ok(read) => read?,
        };
    }
}

/// Room for the rest of a frame that has begun to come, so that a batch arrives in one piece of memory; beyond
/// [`TRUSTED_FRAME_BYTES`] the decoder makes it bit by bit.
fn make_room(buffer: &mut BytesMut) {
    let announced = buffer
        .first_chunk()
        .map_or(0, |prefix| usize::try_from(i32::from_be_bytes(*prefix)).unwrap_or(0));
    let missing = (announced + FRAME_PREFIX_BYTES).saturating_sub(buffer.len());
    if buffer.len() >= READ_BYTES / 4 && announced <= TRUSTED_FRAME_BYTES && missing > 0 {
        buffer.reserve(missing);
    } else if buffer.capacity() - buffer.len() < READ_BYTES / 4 {
        buffer.reserve(READ_BYTES);
    }
}

async fn write_all(stream: &mut TcpStream, mut pieces: Vec<Bytes>) -> io::Result<()> {
    if let [frame] = pieces.as_slice() {
        return stream.write_all(frame).await;
    }
    let mut first = 0;
    while first < pieces.len() {
        let slices: Vec<IoSlice<'_>> = pieces[first..]
            .iter()
            .take(PIECES_MAX)
            .map(|piece| IoSlice::new(piece))
            .collect();
        let mut written = stream.write_vectored(&slices).await?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        while first < pieces.len() && written >= pieces[first].len() {
            written -= pieces[first].len();
            pieces[first] = Bytes::new(); // Batches are let go as soon as they are sent.
            first += 1;
        }
        if written > 0 {
            pieces[first].advance(written);
        }
    }
    Ok(())
}
