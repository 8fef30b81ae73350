//! The two tasks of a connection.

use std::{collections::VecDeque, io, io::IoSlice, sync::Arc};

use bytes::{Buf, Bytes, BytesMut};
use engine_proto::connection::PipelineTimeout;
use engine_wire::{
    frame::{FRAME_PREFIX_BYTES, FrameDecoder},
    response::peek_correlation_id,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::tcp::{OwnedReadHalf, OwnedWriteHalf},
    sync::mpsc,
};
use tracing::warn;

use super::{Answer, DisconnectReason, Outgoing, Shared, now};

/// Reads frames and answers requests until the connection closes for any reason.
pub(super) async fn read(shared: Arc<Shared>, mut socket: OwnedReadHalf, decoder: FrameDecoder, mut buffer: BytesMut) {
    loop {
        match drain_frames(&shared, &decoder, &mut buffer) {
            Ok(()) => {}
            Err(reason) => return shared.close(reason),
        }
        let scheduled = shared.state().scheduled;
        tokio::select! {
            outcome = socket.read_buf(&mut buffer) => match outcome {
                Ok(0) => return shared.close(DisconnectReason::ByBroker),
                Ok(_) => {}
                Err(error) => return shared.close(DisconnectReason::Socket(Arc::new(error))),
            },
            () = shared.wake_reader.notified() => {
                if shared.state().closed.is_some() {
                    return;
                }
            }
            () = tokio::time::sleep_until(scheduled.into()) => {
                let timeout = {
                    let mut state = shared.state();
                    state.scheduled = state.pipeline.poll_deadline();
                    state.pipeline.handle_timeout(now())
                };
                match timeout {
                    Some(PipelineTimeout::RequestTimedOut) => {
                        warn!(address = %shared.address, "No answer in time; the connection is given up.");
                        return shared.close(DisconnectReason::RequestTimedOut);
                    }
                    Some(PipelineTimeout::Idle) => return shared.close(DisconnectReason::Idle),
                    None => {}
                }
            }
        }
        reserve(&mut buffer);
    }
}

/// Answers every whole frame in the buffer.
fn drain_frames(shared: &Shared, decoder: &FrameDecoder, buffer: &mut BytesMut) -> Result<(), DisconnectReason> {
    loop {
        let frame = decoder
            .decode(buffer)
            .map_err(|error| DisconnectReason::Frame(Arc::new(error)))?;
        let Some(frame) = frame else {
            return Ok(());
        };
        // A frame without a correlation id matches no request: ids are never negative.
        let correlation_id = peek_correlation_id(&frame).unwrap_or(-1);
        let answered = {
            let mut state = shared.state();
            if state.closed.is_some() {
                return Err(DisconnectReason::Closed);
            }
            state.pipeline.handle_response(correlation_id, now())
        };
        let (answer, _round_trip) = answered.map_err(DisconnectReason::Protocol)?;
        let _ = answer.send(Ok(frame));
    }
}

/// Room for the next read; the decoder has already made what a frame under way needs. More behind its end would only
/// be kept alive with it.
fn reserve(buffer: &mut BytesMut) {
    if buffer.len() < FRAME_PREFIX_BYTES && buffer.capacity() - buffer.len() < READ_BYTES_MIN {
        buffer.reserve(READ_BYTES);
    }
}

/// Writes what is queued until the queue or the socket closes.
pub(super) async fn write(
    shared: Arc<Shared>,
    mut socket: OwnedWriteHalf,
    mut outgoing: mpsc::UnboundedReceiver<Outgoing>,
) {
    let mut queued: Vec<Outgoing> = Vec::new();
    let mut segments: VecDeque<Bytes> = VecDeque::new();
    let mut written: Vec<Answer> = Vec::new();
    while outgoing.recv_many(&mut queued, WRITE_REQUESTS_MAX).await > 0 {
        for request in queued.drain(..) {
            segments.extend(request.segments.into_iter().filter(|segment| !segment.is_empty()));
            written.extend(request.written);
        }
        if let Err(error) = write_all(&mut socket, &mut segments).await {
            return shared.close(DisconnectReason::Socket(Arc::new(error)));
        }
        for answer in written.drain(..) {
            let _ = answer.send(Ok(Bytes::new()));
        }
    }
    // This side closed: say so to the broker. The reader may have seen it already.
    let _ = socket.shutdown().await;
}

async fn write_all(socket: &mut OwnedWriteHalf, segments: &mut VecDeque<Bytes>) -> io::Result<()> {
    while !segments.is_empty() {
        let mut slices = [IoSlice::new(&[]); SLICES_MAX];
        let count = segments.len().min(SLICES_MAX);
        for (slice, segment) in slices.iter_mut().zip(segments.iter()) {
            *slice = IoSlice::new(segment);
        }
        let mut written = socket.write_vectored(&slices[..count]).await?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        while written > 0 {
            let front = segments.front_mut().expect("no more was written than there is");
            if written < front.len() {
                front.advance(written);
                break;
            }
            written -= front.len();
            segments.pop_front();
        }
    }
    Ok(())
}

const READ_BYTES: usize = 64 * 1024;
const READ_BYTES_MIN: usize = 4 * 1024;
const WRITE_REQUESTS_MAX: usize = 64;
const SLICES_MAX: usize = 64;
