//! Reading: `ruzstd`, within the limit of what may come out.

use std::io::Read;

use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

use crate::compression::output::{Fault, Growing};

/// How much is decoded before it is moved out of the decoder's window.
const STEP_BYTES: usize = 256 * 1024;
/// zstd's own bound for what a decoder should accept without being asked (`ZSTD_WINDOWLOG_LIMIT_DEFAULT`).
const WINDOW_BYTES_MAX: usize = 128 << 20;

pub(crate) fn decode(
    decoder: &mut FrameDecoder,
    input: &[u8],
    limit: usize,
    output: &mut Growing<'_>,
) -> Result<(), Fault> {
    // The smallest window the format has is 1 KiB; below that every frame would be refused.
    decoder.set_max_window_size(limit.clamp(1024, WINDOW_BYTES_MAX) as u64);
    let mut rest = input;
    loop {
        match decoder.init(&mut rest) {
            Ok(()) => decode_frame(decoder, &mut rest, output)?,
            Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame { length, .. })) => {
                rest = rest
                    .get(length as usize..)
                    .ok_or_else(|| Fault::corrupt("skippable frame is truncated"))?;
            }
            Err(FrameDecoderError::WindowSizeTooBig { .. }) => return Err(Fault::TooLarge),
            Err(error) => return Err(Fault::corrupt(error.to_string())),
        }
        if rest.is_empty() {
            return Ok(());
        }
    }
}

fn decode_frame(decoder: &mut FrameDecoder, rest: &mut &[u8], output: &mut Growing<'_>) -> Result<(), Fault> {
    loop {
        decoder
            .decode_blocks(&mut *rest, BlockDecodingStrategy::UptoBytes(STEP_BYTES))
            .map_err(|error| Fault::corrupt(error.to_string()))?;
        while decoder.can_collect() > 0 {
            if output.is_at_limit() {
                return Err(Fault::TooLarge);
            }
            let room = output.room(decoder.can_collect());
            let written = decoder.read(room).map_err(|error| Fault::corrupt(error.to_string()))?;
            output.advance(written);
        }
        if decoder.is_finished() {
            return Ok(());
        }
    }
}
