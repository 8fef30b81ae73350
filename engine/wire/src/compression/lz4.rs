//! LZ4 frames, as Kafka uses them since message format v2.
//!
//! The frame format is ours, on top of the block codec, so that the hash table and the buffers
//! are reused. Kafka's readers want independent blocks and no block checksums, and that is what is
//! written. Checksums are stepped over when reading, present or not: the batch's CRC covers the
//! same bytes, and old Java clients computed the header's wrongly.

use lz4_flex::block::{
    CompressTable, DecompressError, compress_into_with_table, decompress_into, decompress_into_with_dict,
    get_maximum_output_size,
};

use crate::compression::output::{Fault, Growing};

const MAGIC: [u8; 4] = [0x04, 0x22, 0x4d, 0x18];
/// Frames that decoders skip have magic numbers from this one to 15 above.
const SKIPPABLE_MAGIC: u32 = 0x184d_2a50;
/// Version 1, independent blocks, no checksums and no content size; blocks of 64 KiB. The third
/// byte is the header's checksum, a constant with the other two.
const FRAME_DESCRIPTOR: [u8; 3] = [0x60, 0x40, 0x82];
const BLOCK_BYTES: usize = 64 * 1024;
/// In a block's length: stored as it is.
const UNCOMPRESSED_FLAG: u32 = 0x8000_0000;
/// How far back a dependent block may refer.
const WINDOW_BYTES: usize = 64 * 1024;

const FLAG_DICTIONARY_ID: u8 = 0x01;
const FLAG_CONTENT_CHECKSUM: u8 = 0x04;
const FLAG_CONTENT_SIZE: u8 = 0x08;
const FLAG_BLOCK_CHECKSUM: u8 = 0x10;
const FLAG_INDEPENDENT: u8 = 0x20;

pub(crate) fn encode(table: &mut CompressTable, input: &[u8], output: &mut Vec<u8>) -> Result<(), String> {
    output.extend_from_slice(&MAGIC);
    output.extend_from_slice(&FRAME_DESCRIPTOR);
    let mut end = output.len();
    for block in input.chunks(BLOCK_BYTES) {
        // What the block before did not need is room for this one, cleared already.
        let worst = end + 4 + get_maximum_output_size(block.len());
        if output.len() < worst {
            output.resize(worst, 0);
        }
        let (length, content) = output[end..worst].split_at_mut(4);
        let written = compress_into_with_table(block, content, table).map_err(|error| error.to_string())?;
        let (stored, flag) = if written < block.len() {
            (written, 0)
        } else {
            content[..block.len()].copy_from_slice(block);
            (block.len(), UNCOMPRESSED_FLAG)
        };
        length.copy_from_slice(&(stored as u32 | flag).to_le_bytes());
        end += 4 + stored;
    }
    output.truncate(end);
    output.extend_from_slice(&[0; 4]);
    Ok(())
}

pub(crate) fn decode(input: &[u8], output: &mut Growing<'_>) -> Result<(), Fault> {
    let mut rest = input;
    // At least one frame; more may follow.
    loop {
        decode_frame(&mut rest, output)?;
        if rest.is_empty() {
            return Ok(());
        }
    }
}

fn decode_frame(rest: &mut &[u8], output: &mut Growing<'_>) -> Result<(), Fault> {
    let truncated = || Fault::corrupt("frame is truncated");
    let magic = *take::<4>(rest).ok_or_else(truncated)?;
    if u32::from_le_bytes(magic) & !0x0f == SKIPPABLE_MAGIC {
        let length = u32::from_le_bytes(*take(rest).ok_or_else(truncated)?);
        *rest = rest.get(length as usize..).ok_or_else(truncated)?;
        return Ok(());
    }
    if magic != MAGIC {
        return Err(Fault::corrupt(format!("frame starts with {magic:02x?}")));
    }
    let [flags, block_descriptor] = *take::<2>(rest).ok_or_else(truncated)?;
    if flags >> 6 != 1 {
        return Err(Fault::corrupt(format!("frame version {}", flags >> 6)));
    }
    let block_bytes_max = match block_descriptor >> 4 & 0x07 {
        size @ 4..=7 => 1usize << (8 + 2 * size),
        size => return Err(Fault::corrupt(format!("block size code {size}"))),
    };
    if flags & FLAG_CONTENT_SIZE != 0 {
        // Only a hint: what counts is what comes out.
        take::<8>(rest).ok_or_else(truncated)?;
    }
    if flags & FLAG_DICTIONARY_ID != 0 {
        return Err(Fault::corrupt("frame needs a dictionary"));
    }
    take::<1>(rest).ok_or_else(truncated)?;
    let frame_start = output.used();
    loop {
        let length = u32::from_le_bytes(*take(rest).ok_or_else(truncated)?);
        if length == 0 {
            break;
        }
        let is_stored = length & UNCOMPRESSED_FLAG != 0;
        let length = (length & !UNCOMPRESSED_FLAG) as usize;
        let (block, after) = rest.split_at_checked(length).ok_or_else(truncated)?;
        *rest = after;
        if is_stored {
            if length > block_bytes_max {
                return Err(Fault::corrupt(format!("a stored block of {length} bytes")));
            }
            output.exact(length)?.copy_from_slice(block);
            output.advance(length);
        } else {
            let is_independent = flags & FLAG_INDEPENDENT != 0;
            decode_block(block, block_bytes_max, is_independent, frame_start, output)?;
        }
        if flags & FLAG_BLOCK_CHECKSUM != 0 {
            take::<4>(rest).ok_or_else(truncated)?;
        }
    }
    if flags & FLAG_CONTENT_CHECKSUM != 0 {
        take::<4>(rest).ok_or_else(truncated)?;
    }
    Ok(())
}

fn decode_block(
    block: &[u8],
    block_bytes_max: usize,
    is_independent: bool,
    frame_start: usize,
    output: &mut Growing<'_>,
) -> Result<(), Fault> {
    // A block expands at most 255 times, so a small one need not clear room for a large.
    let wanted = block_bytes_max.min(block.len().saturating_mul(255).saturating_add(64));
    let (content, room) = output.content_and_room(wanted);
    let room_bytes = room.len().min(wanted);
    let room = &mut room[..room_bytes];
    let dictionary = &content[frame_start.max(content.len().saturating_sub(WINDOW_BYTES))..];
    let result = if is_independent || dictionary.is_empty() {
        decompress_into(block, room)
    } else {
        decompress_into_with_dict(block, room, dictionary)
    };
    match result {
        Ok(written) => {
            output.advance(written);
            Ok(())
        }
        Err(DecompressError::OutputTooSmall { .. }) if room_bytes < wanted => Err(Fault::TooLarge),
        Err(error) => Err(Fault::corrupt(error.to_string())),
    }
}

fn take<'a, const N: usize>(rest: &mut &'a [u8]) -> Option<&'a [u8; N]> {
    let (taken, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(taken)
}
