//! Finding what was there before: positions by the hash of the bytes that follow them.

/// How far back a match may be: what readers of large frames must keep.
pub(super) const WINDOW_BYTES: usize = 1 << 20;
const MATCH_BYTES_MIN: usize = 4;
const TABLE_LOG_MIN: u32 = 8;
const LONG_TABLE_LOG_MAX: u32 = 16;
const SHORT_TABLE_LOG_MAX: u32 = 15;
/// After this many bytes without a match the search takes longer steps.
const PATIENCE_LOG: u32 = 8;

/// So many literals, then a copy of what was there before.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sequence {
    pub(super) literal_length: u32,
    /// RFC 8878, 3.1.1.3.2.1.1: the offset plus three, or 1 to 3 for one of the last three.
    pub(super) offset_value: u32,
    pub(super) match_length: u32,
}

/// The last three offsets, latest first. They outlive a block, but only one that was written.
#[derive(Debug, Clone, Copy)]
pub(super) struct RecentOffsets([u32; 3]);

impl RecentOffsets {
    pub(super) const INITIAL: Self = Self([1, 4, 8]);

    /// The value that stands for `offset`, which becomes the latest.
    fn push(&mut self, offset: usize, literal_length: usize) -> u32 {
        let offset = offset as u32;
        let [first, second, third] = self.0;
        // Without literals the latest would be a longer match: the values are moved up by one.
        let value = match (offset, literal_length > 0) {
            (_, true) if offset == first => return 1,
            (_, true) if offset == second => 2,
            (_, true) if offset == third => 3,
            (_, false) if offset == second => 1,
            (_, false) if offset == third => 2,
            _ => offset + 3,
        };
        self.0 = if offset == second {
            [second, first, third]
        } else {
            [offset, first, second]
        };
        value
    }
}

/// Two tables: positions by their next eight bytes, for the long matches, and by their next five.
#[derive(Debug, Default)]
pub(super) struct MatchFinder {
    long: Vec<u32>,
    short: Vec<u32>,
    long_shift: u32,
    short_shift: u32,
}

impl MatchFinder {
    /// Forgets everything; the tables are as large as an input of this size needs.
    pub(super) fn reset(&mut self, input_bytes: usize) {
        let log = input_bytes.max(1).ilog2() + 1;
        let long_log = log.clamp(TABLE_LOG_MIN, LONG_TABLE_LOG_MAX);
        let short_log = log.clamp(TABLE_LOG_MIN, SHORT_TABLE_LOG_MAX);
        for (table, table_log) in [(&mut self.long, long_log), (&mut self.short, short_log)] {
            table.clear();
            table.resize(1 << table_log, 0);
        }
        self.long_shift = 64 - long_log;
        self.short_shift = 64 - short_log;
    }

    /// Splits `input[start..end]` into literals and copies of what is before them in `input`.
    /// Literals behind the last copy have no sequence.
    pub(super) fn find(
        &mut self,
        input: &[u8],
        start: usize,
        end: usize,
        recent: &mut RecentOffsets,
        literals: &mut Vec<u8>,
        sequences: &mut Vec<Sequence>,
    ) {
        let input = &input[..end];
        // Everywhere before `search_end`, and one further, eight bytes can be read.
        let search_end = end.saturating_sub(8);
        let mut emitted = start;
        let mut at = start;
        while at < search_end {
            let Some((from, offset, length)) = self.match_at(input, at, recent) else {
                at += 1 + ((at - emitted) >> PATIENCE_LOG);
                continue;
            };
            let (from, length) = extend_backward(input, from, offset, length, emitted);
            literals.extend_from_slice(&input[emitted..from]);
            sequences.push(Sequence {
                literal_length: (from - emitted) as u32,
                offset_value: recent.push(offset, from - emitted),
                match_length: length as u32,
            });
            emitted = from + length;
            // What begins inside of the match may be wanted later: a few of the positions will do.
            for position in [at + 2, emitted - 2] {
                if position < search_end {
                    self.remember(input, position);
                }
            }
            at = emitted;
        }
        literals.extend_from_slice(&input[emitted..]);
    }

    /// Where a match begins (here or at the next byte), how far back it is and how long.
    fn match_at(&mut self, input: &[u8], at: usize, recent: &RecentOffsets) -> Option<(usize, usize, usize)> {
        let (long, short) = self.remember(input, at);
        // Records resemble each other at the same distance: the last offset is the best guess.
        let latest = recent.0[0] as usize;
        if latest <= at && word4(input, at + 1) == word4(input, at + 1 - latest) {
            let length = matching(input, at + 1 - latest, at + 1);
            return Some((at + 1, latest, length));
        }
        let here = word8(input, at);
        if is_in_reach(long, at) && word8(input, long) == here {
            return Some((at, at - long, matching(input, long, at)));
        }
        if is_in_reach(short, at) && word4(input, short) == here as u32 {
            // A longer one may begin at the next byte.
            let next = self.long[hash(word8(input, at + 1), self.long_shift)] as usize;
            if is_in_reach(next, at + 1) && word8(input, next) == word8(input, at + 1) {
                return Some((at + 1, at + 1 - next, matching(input, next, at + 1)));
            }
            return Some((at, at - short, matching(input, short, at)));
        }
        None
    }

    /// Enters a position; what had its places before.
    fn remember(&mut self, input: &[u8], at: usize) -> (usize, usize) {
        let word = word8(input, at);
        let long = &mut self.long[hash(word, self.long_shift)];
        let short = &mut self.short[hash(word << 24, self.short_shift)];
        let before = (*long as usize, *short as usize);
        *long = at as u32;
        *short = at as u32;
        before
    }
}

/// A place in a fresh table says 0, which is a position like any other: contents are compared anyway.
fn is_in_reach(candidate: usize, at: usize) -> bool {
    candidate < at && at - candidate <= WINDOW_BYTES
}

fn hash(word: u64, shift: u32) -> usize {
    (word.wrapping_mul(0x9e37_79b1_85eb_ca87) >> shift) as usize
}

fn word8(input: &[u8], at: usize) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&input[at..at + 8]);
    u64::from_le_bytes(bytes)
}

fn word4(input: &[u8], at: usize) -> u32 {
    let mut bytes = [0; 4];
    bytes.copy_from_slice(&input[at..at + 4]);
    u32::from_le_bytes(bytes)
}

/// How many bytes at `at` are those at `before`.
fn matching(input: &[u8], before: usize, at: usize) -> usize {
    let (old, new) = (&input[before..], &input[at..]);
    let mut length = 0;
    for (old, new) in old.chunks_exact(8).zip(new.chunks_exact(8)) {
        let difference = word8(old, 0) ^ word8(new, 0);
        if difference != 0 {
            return length + difference.trailing_zeros() as usize / 8;
        }
        length += 8;
    }
    let tail = old[length..].iter().zip(&new[length..]);
    length + tail.take_while(|(old, new)| old == new).count()
}

/// Moves the beginning of a match to the front, over literals that are not yet written.
fn extend_backward(input: &[u8], mut at: usize, offset: usize, mut length: usize, emitted: usize) -> (usize, usize) {
    debug_assert!(length >= MATCH_BYTES_MIN, "a match of {length} bytes is none");
    while at > emitted && at > offset && input[at - 1] == input[at - 1 - offset] {
        at -= 1;
        length += 1;
    }
    (at, length)
}
