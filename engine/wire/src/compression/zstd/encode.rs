//! Writing: one frame per call, in blocks that need nothing of each other but the content.

use crate::compression::zstd::huffman::write_literals;
use crate::compression::zstd::matches::{MatchFinder, RecentOffsets, Sequence, WINDOW_BYTES};
use crate::compression::zstd::sequences::SequenceWriter;

const MAGIC: u32 = 0xfd2f_b528;
/// The format's own bound.
const BLOCK_BYTES_MAX: usize = 128 * 1024;
const RAW_BLOCK: u32 = 0;
const REPEATED_BLOCK: u32 = 1;
const COMPRESSED_BLOCK: u32 = 2;

/// Reusable state: the tables of one search, and the literals and sequences of one block. It
/// stays at its largest, two megabytes.
pub(crate) struct ZstdEncoder {
    finder: MatchFinder,
    literals: Vec<u8>,
    sequences: Vec<Sequence>,
    sequence_writer: SequenceWriter,
}

impl ZstdEncoder {
    pub(crate) fn new() -> Self {
        Self {
            finder: MatchFinder::default(),
            literals: Vec::new(),
            sequences: Vec::new(),
            sequence_writer: SequenceWriter::new(),
        }
    }

    pub(crate) fn encode(&mut self, input: &[u8], output: &mut Vec<u8>) -> Result<(), String> {
        if u32::try_from(input.len()).is_err() {
            return Err("positions are counted in 32 bits".to_owned());
        }
        write_frame_header(input.len(), output);
        self.finder.reset(input.len());
        let mut recent = RecentOffsets::INITIAL;
        let mut start = 0;
        loop {
            let end = input.len().min(start + BLOCK_BYTES_MAX);
            self.encode_block(input, start, end, &mut recent, output);
            if end == input.len() {
                return Ok(());
            }
            start = end;
        }
    }

    fn encode_block(
        &mut self,
        input: &[u8],
        start: usize,
        end: usize,
        recent: &mut RecentOffsets,
        output: &mut Vec<u8>,
    ) {
        let block = &input[start..end];
        let is_last = end == input.len();
        if let Some((&first, others)) = block.split_first()
            && others.iter().all(|&byte| byte == first)
        {
            write_block_header(REPEATED_BLOCK, block.len(), is_last, output);
            output.push(first);
            return;
        }

        self.literals.clear();
        self.sequences.clear();
        let mut recent_after = *recent;
        self.finder.find(
            input,
            start,
            end,
            &mut recent_after,
            &mut self.literals,
            &mut self.sequences,
        );

        let header = output.len();
        output.extend_from_slice(&[0; 3]);
        let body = output.len();
        write_literals(&self.literals, output);
        self.sequence_writer.write(&self.sequences, output);
        let written = output.len() - body;
        output.truncate(if written < block.len() { output.len() } else { header });
        if written < block.len() {
            let fields = block_header(COMPRESSED_BLOCK, written, is_last);
            output[header..body].copy_from_slice(&fields);
            // Only now: a reader of a raw block has not seen its offsets.
            *recent = recent_after;
        } else {
            write_block_header(RAW_BLOCK, block.len(), is_last, output);
            output.extend_from_slice(block);
        }
    }
}

/// With the size of the content. Readers of a small frame need no window beside it; those of a
/// large one keep [`WINDOW_BYTES`].
fn write_frame_header(content_bytes: usize, output: &mut Vec<u8>) {
    const SINGLE_SEGMENT: u8 = 1 << 5;
    output.extend_from_slice(&MAGIC.to_le_bytes());
    let content = content_bytes as u32;
    if content_bytes > WINDOW_BYTES {
        output.push(2 << 6);
        output.push(((WINDOW_BYTES.ilog2() - 10) << 3) as u8);
        output.extend_from_slice(&content.to_le_bytes());
        return;
    }
    match content {
        0..256 => output.extend_from_slice(&[SINGLE_SEGMENT, content as u8]),
        256..65_792 => {
            output.push(1 << 6 | SINGLE_SEGMENT);
            output.extend_from_slice(&((content - 256) as u16).to_le_bytes());
        }
        _ => {
            output.push(2 << 6 | SINGLE_SEGMENT);
            output.extend_from_slice(&content.to_le_bytes());
        }
    }
}

fn write_block_header(kind: u32, size: usize, is_last: bool, output: &mut Vec<u8>) {
    output.extend_from_slice(&block_header(kind, size, is_last));
}

/// `size` is that of the block's content where it is repeated, else that of what follows.
fn block_header(kind: u32, size: usize, is_last: bool) -> [u8; 3] {
    let [low, middle, high, _] = (u32::from(is_last) | kind << 1 | (size as u32) << 3).to_le_bytes();
    [low, middle, high]
}
