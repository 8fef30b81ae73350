//! The sequences of a block: three codes each, in finite state entropy (RFC 8878, 3.1.1.3.2).

use crate::compression::zstd::bits::BitWriter;
use crate::compression::zstd::fse::{Distribution, EncodingTable, SYMBOLS_MAX};
use crate::compression::zstd::matches::Sequence;

/// The distributions that every decoder knows, RFC 8878, 3.1.1.3.2.2.
const LITERAL_LENGTHS: Distribution = Distribution::predefined(
    [
        4, 3, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 3, 2, 1, 1, 1, 1, 1, -1, -1, -1, -1,
    ],
    6,
);
const MATCH_LENGTHS: Distribution = Distribution::predefined(
    [
        1, 4, 3, 2, 2, 2, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
        1, 1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1, -1, -1,
    ],
    6,
);
const OFFSETS: Distribution = Distribution::predefined(
    [
        1, 1, 1, 1, 1, 1, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1,
    ],
    5,
);

const PREDEFINED: u8 = 0;
const REPEATED: u8 = 1;
const DESCRIBED: u8 = 2;

/// The kinds of codes, in the order in which their tables are described.
const LITERAL_LENGTH: usize = 0;
const OFFSET: usize = 1;
const MATCH_LENGTH: usize = 2;
const PREDEFINED_TABLES: [Distribution; 3] = [LITERAL_LENGTHS, OFFSETS, MATCH_LENGTHS];
const ACCURACY_LOGS_MAX: [u32; 3] = [9, 8, 9];

/// A code, and the bits that say which of its values is meant.
#[derive(Debug, Clone, Copy, Default)]
struct Coded {
    code: u8,
    extra_bits: u8,
    extra: u32,
}

/// Writes sequences sections; its tables and buffer are used again for the next block.
pub(super) struct SequenceWriter {
    predefined: [EncodingTable; 3],
    described: [EncodingTable; 3],
    coded: Vec<[Coded; 3]>,
}

impl SequenceWriter {
    pub(super) fn new() -> Self {
        let predefined = PREDEFINED_TABLES.map(|distribution| EncodingTable::new(&distribution));
        Self {
            described: predefined.clone(),
            predefined,
            coded: Vec::new(),
        }
    }

    /// Appends the sequences section of a block.
    pub(super) fn write(&mut self, sequences: &[Sequence], output: &mut Vec<u8>) {
        write_count(sequences.len(), output);
        if sequences.is_empty() {
            return;
        }
        let mut counts = [[0_u32; SYMBOLS_MAX]; 3];
        self.coded.clear();
        for sequence in sequences {
            let coded = code(sequence);
            for (counts, coded) in counts.iter_mut().zip(coded) {
                counts[usize::from(coded.code)] += 1;
            }
            self.coded.push(coded);
        }

        let modes_at = output.len();
        output.push(0);
        let mut modes = 0;
        let mut tables = [None; 3];
        for (kind, described) in self.described.iter_mut().enumerate() {
            let (mode, table) = choose_table(&counts[kind], kind, &self.predefined[kind], described, output);
            modes |= mode << (6 - 2 * kind);
            tables[kind] = table;
        }
        output[modes_at] = modes;
        write_codes(&self.coded, tables, output);
    }
}

fn write_count(sequences: usize, output: &mut Vec<u8>) {
    match sequences {
        0..128 => output.push(sequences as u8),
        128..0x7f00 => output.extend_from_slice(&[(sequences >> 8) as u8 | 0x80, sequences as u8]),
        _ => {
            // At most one sequence per four bytes of a block: 32,768.
            let rest = (sequences - 0x7f00) as u16;
            output.push(0xff);
            output.extend_from_slice(&rest.to_le_bytes());
        }
    }
}

/// The cheapest way to write codes with these counts, described in `output` where it has to be;
/// no table where one code is all there is.
fn choose_table<'a>(
    counts: &[u32; SYMBOLS_MAX],
    kind: usize,
    predefined: &'a EncodingTable,
    described: &'a mut EncodingTable,
    output: &mut Vec<u8>,
) -> (u8, Option<&'a EncodingTable>) {
    let mut occurring = (0..SYMBOLS_MAX).filter(|&code| counts[code] > 0);
    if let (Some(only), None) = (occurring.next(), occurring.next()) {
        output.push(only as u8);
        return (REPEATED, None);
    }
    let known_bits = PREDEFINED_TABLES[kind].cost_bits(counts);
    if let Some(distribution) = Distribution::of_counts(counts, ACCURACY_LOGS_MAX[kind]) {
        let start = output.len();
        distribution.write(output);
        let description_bits = 8 * (output.len() - start) as u64;
        let own_bits = distribution.cost_bits(counts).map(|bits| bits + description_bits);
        if known_bits.is_none_or(|known| own_bits.is_some_and(|own| own < known)) {
            described.rebuild(&distribution);
            return (DESCRIBED, Some(described));
        }
        output.truncate(start);
    }
    (PREDEFINED, Some(predefined))
}

/// Backward, because decoders read from the end.
fn write_codes(coded: &[[Coded; 3]], tables: [Option<&EncodingTable>; 3], output: &mut Vec<u8>) {
    const EXTRA_ORDER: [usize; 3] = [LITERAL_LENGTH, MATCH_LENGTH, OFFSET];
    let mut bits = BitWriter::new(output);
    let Some((last, earlier)) = coded.split_last() else {
        return;
    };
    let mut states: [_; 3] = std::array::from_fn(|kind| tables[kind].map(|table| table.start(last[kind].code)));
    for kind in EXTRA_ORDER {
        bits.put(last[kind].extra, u32::from(last[kind].extra_bits));
    }
    for sequence in earlier.iter().rev() {
        for kind in [OFFSET, MATCH_LENGTH, LITERAL_LENGTH] {
            if let (Some(table), Some(state)) = (tables[kind], &mut states[kind]) {
                table.encode(state, sequence[kind].code, &mut bits);
            }
        }
        for kind in EXTRA_ORDER {
            bits.put(sequence[kind].extra, u32::from(sequence[kind].extra_bits));
        }
    }
    for kind in [MATCH_LENGTH, OFFSET, LITERAL_LENGTH] {
        if let (Some(table), Some(state)) = (tables[kind], &states[kind]) {
            table.finish(state, &mut bits);
        }
    }
    bits.finish_backward();
}

fn code(sequence: &Sequence) -> [Coded; 3] {
    let offset_bits = sequence.offset_value.ilog2();
    let offset = Coded {
        code: offset_bits as u8,
        extra_bits: offset_bits as u8,
        extra: sequence.offset_value, // Its highest bit is cut off in writing.
    };
    [
        literal_length_code(sequence.literal_length),
        offset,
        match_length_code(sequence.match_length),
    ]
}

/// RFC 8878, table 16.
fn literal_length_code(length: u32) -> Coded {
    match length {
        0..16 => plain(length),
        16..24 => ranged(16 + (length - 16) / 2, 1, length - 16),
        24..32 => ranged(20 + (length - 24) / 4, 2, length - 24),
        32..48 => ranged(22 + (length - 32) / 8, 3, length - 32),
        48..64 => ranged(24, 4, length - 48),
        _ => ranged(19 + length.ilog2(), length.ilog2(), length),
    }
}

/// RFC 8878, table 17.
fn match_length_code(length: u32) -> Coded {
    let above = length - 3;
    match above {
        0..32 => plain(above),
        32..40 => ranged(32 + (above - 32) / 2, 1, above - 32),
        40..48 => ranged(36 + (above - 40) / 4, 2, above - 40),
        48..64 => ranged(38 + (above - 48) / 8, 3, above - 48),
        64..96 => ranged(40 + (above - 64) / 16, 4, above - 64),
        96..128 => ranged(42, 5, above - 96),
        _ => ranged(36 + above.ilog2(), above.ilog2(), above),
    }
}

fn plain(code: u32) -> Coded {
    ranged(code, 0, 0)
}

/// Only the low `extra_bits` of `extra` are written.
fn ranged(code: u32, extra_bits: u32, extra: u32) -> Coded {
    Coded {
        code: code as u8,
        extra_bits: extra_bits as u8,
        extra,
    }
}
