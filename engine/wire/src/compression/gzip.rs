//! gzip (RFC 1952) around raw deflate.
//!
//! The wrapper is ours, so that the deflate state is reused from batch to batch and that a stream
//! of several members reads as one: Java and librdkafka write one, other producers may not.

use flate2::{Compress, Crc, Decompress, FlushCompress, FlushDecompress, Status};

use crate::compression::output::{Fault, Growing};

const DEFAULT_LEVEL: u32 = 6;
const FLAG_HEADER_CRC: u8 = 0x02;
const FLAG_EXTRA: u8 = 0x04;
const FLAG_NAME: u8 = 0x08;
const FLAG_COMMENT: u8 = 0x10;
const FLAGS_RESERVED: u8 = 0xe0;

/// Reusable deflate state; rebuilt only when the level changes.
#[derive(Debug)]
pub(crate) struct GzipEncoder {
    deflate: Compress,
    level: u32,
}

impl GzipEncoder {
    pub(crate) fn new() -> Self {
        let deflate = Compress::new(flate2::Compression::new(DEFAULT_LEVEL), false);
        Self {
            deflate,
            level: DEFAULT_LEVEL,
        }
    }

    pub(crate) fn encode(&mut self, level: Option<u32>, input: &[u8], output: &mut Vec<u8>) -> Result<(), String> {
        let level = level.unwrap_or(DEFAULT_LEVEL).min(9);
        if level == self.level {
            self.deflate.reset();
        } else {
            self.deflate = Compress::new(flate2::Compression::new(level), false);
            self.level = level;
        }
        // Deflate, no flags, no time, an unknown system: what Java writes.
        output.extend_from_slice(&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff]);
        output.reserve(input.len() / 2 + 64);
        loop {
            let consumed = self.deflate.total_in() as usize;
            let produced = self.deflate.total_out();
            let status = self
                .deflate
                .compress_vec(&input[consumed..], output, FlushCompress::Finish)
                .map_err(|error| error.to_string())?;
            if status == Status::StreamEnd {
                break;
            }
            if output.len() < output.capacity()
                && self.deflate.total_in() as usize == consumed
                && self.deflate.total_out() == produced
            {
                return Err("deflate made no progress".to_owned());
            }
            output.reserve(input.len() / 8 + 64);
        }
        let mut crc = Crc::new();
        crc.update(input);
        output.extend_from_slice(&crc.sum().to_le_bytes());
        output.extend_from_slice(&(input.len() as u32).to_le_bytes());
        Ok(())
    }
}

/// Reusable inflate state.
#[derive(Debug)]
pub(crate) struct GzipDecoder {
    inflate: Decompress,
}

impl GzipDecoder {
    pub(crate) fn new() -> Self {
        Self {
            inflate: Decompress::new(false),
        }
    }

    pub(crate) fn decode(&mut self, input: &[u8], output: &mut Growing<'_>) -> Result<(), Fault> {
        let mut rest = input;
        loop {
            skip_member_header(&mut rest).ok_or_else(|| Fault::corrupt("bad member header"))?;
            let start = output.used();
            self.inflate_member(&mut rest, output)?;
            let trailer = rest.first_chunk::<8>().ok_or_else(|| Fault::corrupt("no trailer"))?;
            let member = &output.content()[start..];
            let mut crc = Crc::new();
            crc.update(member);
            let mut expected = [0; 8];
            expected[..4].copy_from_slice(&crc.sum().to_le_bytes());
            expected[4..].copy_from_slice(&(member.len() as u32).to_le_bytes());
            if *trailer != expected {
                return Err(Fault::corrupt("checksum or length of a member differs"));
            }
            rest = &rest[8..];
            if rest.is_empty() {
                return Ok(());
            }
        }
    }

    fn inflate_member(&mut self, rest: &mut &[u8], output: &mut Growing<'_>) -> Result<(), Fault> {
        self.inflate.reset(false);
        loop {
            let consumed = self.inflate.total_in();
            let produced = self.inflate.total_out();
            let room = output.room(rest.len().saturating_mul(4).clamp(1024, 256 * 1024));
            let room_bytes = room.len();
            let status = self
                .inflate
                .decompress(rest, room, FlushDecompress::None)
                .map_err(|error| Fault::corrupt(error.to_string()))?;
            *rest = &rest[(self.inflate.total_in() - consumed) as usize..];
            let written = (self.inflate.total_out() - produced) as usize;
            output.advance(written);
            match status {
                Status::StreamEnd => return Ok(()),
                _ if written == room_bytes && output.is_at_limit() => {
                    return self.expect_end(rest);
                }
                _ if written == 0 && self.inflate.total_in() == consumed => {
                    return Err(Fault::corrupt("deflate data is truncated"));
                }
                _ => {}
            }
        }
    }

    /// At the limit the stream may still end, but not with another byte of content.
    fn expect_end(&mut self, rest: &mut &[u8]) -> Result<(), Fault> {
        let (consumed, produced) = (self.inflate.total_in(), self.inflate.total_out());
        let status = self
            .inflate
            .decompress(rest, &mut [0], FlushDecompress::None)
            .map_err(|error| Fault::corrupt(error.to_string()))?;
        if self.inflate.total_out() > produced {
            return Err(Fault::TooLarge);
        }
        if status != Status::StreamEnd {
            return Err(Fault::corrupt("deflate data is truncated"));
        }
        *rest = &rest[(self.inflate.total_in() - consumed) as usize..];
        Ok(())
    }
}

fn skip_member_header(rest: &mut &[u8]) -> Option<()> {
    let (fixed, mut after) = rest.split_first_chunk::<10>()?;
    let flags = fixed[3];
    if fixed[..3] != [0x1f, 0x8b, 8] || flags & FLAGS_RESERVED != 0 {
        return None;
    }
    if flags & FLAG_EXTRA != 0 {
        let (length, tail) = after.split_first_chunk::<2>()?;
        after = tail.get(usize::from(u16::from_le_bytes(*length))..)?;
    }
    for flag in [FLAG_NAME, FLAG_COMMENT] {
        if flags & flag != 0 {
            let end = after.iter().position(|&byte| byte == 0)?;
            after = &after[end + 1..];
        }
    }
    if flags & FLAG_HEADER_CRC != 0 {
        after = after.get(2..)?;
    }
    *rest = after;
    Some(())
}
