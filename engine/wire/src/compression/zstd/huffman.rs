//! The literals of a block: stored, repeated, or in a Huffman code of their own
//! (RFC 8878, 3.1.1.3.1 and 4.2).

use crate::compression::zstd::bits::BitWriter;
use crate::compression::zstd::fse::{Distribution, EncodingTable, SYMBOLS_MAX};

/// The longest code that the format has.
const CODE_BITS_MAX: u32 = 11;
/// Fewer literals than this do not pay for the description of a code.
const CODED_LITERALS_MIN: usize = 64;
/// Up to here one stream is enough; above, decoders like four to work on at a time.
const SINGLE_STREAM_LITERALS_MAX: usize = 255;
/// Weights that are described with four bits each.
const PLAIN_WEIGHTS_MAX: usize = 128;
const WEIGHT_ACCURACY_LOG_MAX: u32 = 6;

const RAW: u32 = 0;
const REPEATED: u32 = 1;
const COMPRESSED: u32 = 2;

/// Appends the literals section of a block.
pub(super) fn write_literals(literals: &[u8], output: &mut Vec<u8>) {
    let mut counts = [0_u32; 256];
    for &literal in literals {
        counts[usize::from(literal)] += 1;
    }
    if literals.len() > 1 && counts[usize::from(literals[0])] as usize == literals.len() {
        write_stored_header(REPEATED, literals.len(), output);
        output.push(literals[0]);
        return;
    }
    let start = output.len();
    if literals.len() >= CODED_LITERALS_MIN && write_coded(literals, &counts, output) {
        let stored_bytes = 3 + literals.len();
        if output.len() - start < stored_bytes {
            return;
        }
    }
    output.truncate(start);
    write_stored_header(RAW, literals.len(), output);
    output.extend_from_slice(literals);
}

fn write_stored_header(kind: u32, literals: usize, output: &mut Vec<u8>) {
    let size = literals as u32;
    match size {
        0..32 => output.push((kind | size << 3) as u8),
        32..4096 => output.extend_from_slice(&((kind | 1 << 2 | size << 4) as u16).to_le_bytes()),
        _ => output.extend_from_slice(&(kind | 3 << 2 | size << 4).to_le_bytes()[..3]),
    }
}

/// False, with an output to be thrown away, where no code can be described.
fn write_coded(literals: &[u8], counts: &[u32; 256], output: &mut Vec<u8>) -> bool {
    let code = Code::for_counts(counts);
    let is_single = literals.len() <= SINGLE_STREAM_LITERALS_MAX;
    // Size format, the width of both sizes, and the bytes of the header that holds them.
    let (format, size_bits, header_bytes) = match literals.len() {
        _ if is_single => (0_u64, 10, 3),
        0..1024 => (1, 10, 3),
        1024..16_384 => (2, 14, 4),
        _ => (3, 18, 5),
    };
    let header = output.len();
    output.extend_from_slice(&[0; 5][..header_bytes]);
    let body = output.len();
    if !code.write_description(output) {
        return false;
    }
    if is_single {
        code.write_stream(literals, output);
    } else {
        let jumps = output.len();
        output.extend_from_slice(&[0; 6]);
        let mut streams = literals.chunks(literals.len().div_ceil(4));
        for stream in 0..4 {
            let start = output.len();
            code.write_stream(streams.next().unwrap_or_default(), output);
            if stream < 3 {
                // 32 KiB of literals at eleven bits each: 45 KB.
                let bytes = (output.len() - start) as u16;
                output[jumps + 2 * stream..][..2].copy_from_slice(&bytes.to_le_bytes());
            }
        }
    }
    let coded = output.len() - body;
    if coded >= literals.len() {
        return false;
    }
    let sizes = literals.len() as u64 | (coded as u64) << size_bits;
    let fields = u64::from(COMPRESSED) | format << 2 | sizes << 4;
    output[header..body].copy_from_slice(&fields.to_le_bytes()[..header_bytes]);
    true
}

/// A prefix code for bytes.
struct Code {
    /// The code of each byte, and its length: 0 where the byte does not occur.
    codes: [(u16, u8); 256],
    bits_max: u32,
    last_symbol: usize,
}

impl Code {
    /// At least two bytes occur.
    fn for_counts(counts: &[u32; 256]) -> Self {
        let lengths = code_lengths(counts);
        let bits_max = u32::from(lengths.iter().copied().max().unwrap_or(0));
        let mut codes = [(0, 0); 256];
        // Long codes come first and count up; within a length, in the order of the bytes.
        let mut next = 0_u16;
        for length in (1..=bits_max as u8).rev() {
            for (symbol, &its_length) in lengths.iter().enumerate() {
                if its_length == length {
                    codes[symbol] = (next, length);
                    next += 1;
                }
            }
            next >>= 1;
        }
        Self {
            codes,
            bits_max,
            last_symbol: lengths.iter().rposition(|&length| length > 0).unwrap_or(0),
        }
    }

    /// Appends the weights of all bytes but the last, whose weight follows from the others; false
    /// where the format has no way to do so.
    fn write_description(&self, output: &mut Vec<u8>) -> bool {
        let mut weights = [0_u8; 256];
        for (weight, &(_, length)) in weights.iter_mut().zip(&self.codes) {
            *weight = if length == 0 {
                0
            } else {
                self.bits_max as u8 + 1 - length
            };
        }
        let weights = &weights[..self.last_symbol];
        let start = output.len();
        output.push(0);
        if write_weights_coded(weights, output) {
            let bytes = output.len() - start - 1;
            if bytes < PLAIN_WEIGHTS_MAX && (bytes < weights.len().div_ceil(2) || weights.len() > PLAIN_WEIGHTS_MAX) {
                output[start] = bytes as u8;
                return true;
            }
        }
        output.truncate(start);
        if weights.len() > PLAIN_WEIGHTS_MAX {
            return false;
        }
        output.push(127 + weights.len() as u8);
        for pair in weights.chunks(2) {
            output.push(pair[0] << 4 | pair.get(1).copied().unwrap_or(0));
        }
        true
    }

    fn write_stream(&self, literals: &[u8], output: &mut Vec<u8>) {
        let mut bits = BitWriter::new(output);
        for &literal in literals.iter().rev() {
            let (code, length) = self.codes[usize::from(literal)];
            bits.put(u32::from(code), u32::from(length));
        }
        bits.finish_backward();
    }
}

/// Two states take turns, the even weights with the first (RFC 8878, 4.2.1.2).
fn write_weights_coded(weights: &[u8], output: &mut Vec<u8>) -> bool {
    if weights.len() < 4 {
        return false;
    }
    let mut counts = [0_u32; SYMBOLS_MAX];
    for &weight in weights {
        counts[usize::from(weight)] += 1;
    }
    let Some(distribution) = Distribution::of_counts(&counts, WEIGHT_ACCURACY_LOG_MAX) else {
        return false;
    };
    distribution.write(output);
    let table = EncodingTable::new(&distribution);
    let last = weights.len() - 1;
    let mut states = [last, last - 1].map(|at| (at % 2, table.start(weights[at])));
    states.sort_by_key(|&(parity, _)| parity);
    let [(_, mut even), (_, mut odd)] = states;
    let mut bits = BitWriter::new(output);
    for at in (0..last - 1).rev() {
        let state = if at % 2 == 0 { &mut even } else { &mut odd };
        table.encode(state, weights[at], &mut bits);
    }
    table.finish(&odd, &mut bits);
    table.finish(&even, &mut bits);
    bits.finish_backward();
    true
}

/// The length of each byte's code: Huffman's, then shortened to what the format allows.
fn code_lengths(counts: &[u32; 256]) -> [u8; 256] {
    let mut order = [0_u8; 256];
    let mut occurring = 0;
    for (symbol, &count) in counts.iter().enumerate() {
        if count > 0 {
            order[occurring] = symbol as u8;
            occurring += 1;
        }
    }
    let order = &mut order[..occurring];
    order.sort_unstable_by_key(|&symbol| (counts[usize::from(symbol)], symbol));

    // Leaves by rising count, then inner nodes in the order they are made, which rises too.
    let mut weights = [0_u32; 512];
    let mut parents = [0_u16; 512];
    for (weight, &symbol) in weights.iter_mut().zip(order.iter()) {
        *weight = counts[usize::from(symbol)];
    }
    let (mut leaf, mut inner) = (0, occurring);
    for node in occurring..2 * occurring - 1 {
        for _ in 0..2 {
            let takes_leaf = leaf < occurring && (inner >= node || weights[leaf] <= weights[inner]);
            let child = if takes_leaf { &mut leaf } else { &mut inner };
            parents[*child] = node as u16;
            weights[node] += weights[*child];
            *child += 1;
        }
    }
    let root = 2 * occurring - 2;
    let mut depths = [0_u8; 512];
    for node in (0..root).rev() {
        depths[node] = depths[usize::from(parents[node])].saturating_add(1);
    }

    let depths = &mut depths[..occurring];
    limit_depths(depths);
    let mut lengths = [0; 256];
    for (&depth, &symbol) in depths.iter().zip(order.iter()) {
        lengths[usize::from(symbol)] = depth;
    }
    lengths
}

/// Brings depths, deepest first, to at most [`CODE_BITS_MAX`] while the code stays complete.
fn limit_depths(depths: &mut [u8]) {
    let limit = CODE_BITS_MAX as u8;
    if depths.iter().all(|&depth| depth <= limit) {
        return;
    }
    // What codes take of the space, in units of the longest code.
    let share = |depth: u8| 1_u32 << (limit - depth);
    let space = 1_u32 << limit;
    for depth in depths.iter_mut() {
        *depth = (*depth).min(limit);
    }
    let mut taken: u32 = depths.iter().map(|&depth| share(depth)).sum();
    // The rarest that are not yet at the limit give way first.
    while taken > space {
        for depth in depths.iter_mut().filter(|depth| **depth < limit) {
            if taken <= space {
                break;
            }
            taken -= share(*depth) / 2;
            *depth += 1;
        }
    }
    // And the most frequent get what is then left over.
    while taken < space {
        for depth in depths.iter_mut().rev().filter(|depth| **depth > 1) {
            if share(*depth) <= space - taken {
                taken += share(*depth);
                *depth -= 1;
            }
        }
    }
}
