//! Finite state entropy: the tables that codes of sequences and Huffman weights are written with.
//!
//! Named and shaped as in RFC 8878, section 4.1; the transform that finds the next state without
//! a search is that of the format's author (tANS).

use crate::compression::zstd::bits::BitWriter;

/// More codes than any table has: match lengths have 53.
pub(super) const SYMBOLS_MAX: usize = 64;
/// Accuracy of the largest table that is written.
pub(super) const ACCURACY_LOG_MAX: u32 = 9;
const STATES_MAX: usize = 1 << ACCURACY_LOG_MAX;

/// How the states of a table are shared out: a positive share, 0 for a symbol that does not
/// occur, -1 for one that has a single state of full width.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Distribution {
    shares: [i16; SYMBOLS_MAX],
    symbols: usize,
    accuracy_log: u32,
}

impl Distribution {
    pub(super) const fn predefined<const N: usize>(given: [i16; N], accuracy_log: u32) -> Self {
        let mut shares = [0; SYMBOLS_MAX];
        let mut symbol = 0;
        while symbol < N {
            shares[symbol] = given[symbol];
            symbol += 1;
        }
        Self {
            shares,
            symbols: N,
            accuracy_log,
        }
    }

    /// Shares in proportion to the counts; `None` where fewer than two symbols occur, which this
    /// coding cannot express, or more than there are states.
    pub(super) fn of_counts(counts: &[u32; SYMBOLS_MAX], accuracy_log_max: u32) -> Option<Self> {
        let total: u32 = counts.iter().sum();
        let occurring = counts.iter().filter(|&&count| count > 0).count() as u32;
        if occurring < 2 {
            return None;
        }
        // More states than a quarter of the symbols cost more to describe than they save.
        let wanted = (total.ilog2().saturating_sub(2)).max(occurring.ilog2() + 2);
        let accuracy_log = wanted.clamp(5, accuracy_log_max);
        let states = 1_i32 << accuracy_log;
        if occurring as i32 > states {
            return None;
        }
        let mut shares = [0_i16; SYMBOLS_MAX];
        let mut left = states;
        for (share, &count) in shares.iter_mut().zip(counts) {
            if count > 0 {
                let exact = (u64::from(count) << accuracy_log) + u64::from(total) / 2;
                *share = ((exact / u64::from(total)) as i16).max(1);
                left -= i32::from(*share);
            }
        }
        // What rounding gave or took is settled with the most frequent, who feel it least.
        while left != 0 {
            let largest = shares.iter_mut().max()?;
            let change = if left > 0 {
                left
            } else {
                left.max(-i32::from(*largest / 2))
            };
            if change == 0 {
                return None; // All shares are 1, and there are more of them than states.
            }
            *largest += change as i16;
            left -= change;
        }
        Some(Self {
            shares,
            symbols: counts.iter().rposition(|&count| count > 0)? + 1,
            accuracy_log,
        })
    }

    /// What symbols with these counts cost in this distribution, in bits; `None` where one of
    /// them has no share.
    pub(super) fn cost_bits(&self, counts: &[u32; SYMBOLS_MAX]) -> Option<u64> {
        let mut bits = 0.0;
        for (&share, &count) in self.shares.iter().zip(counts) {
            if count > 0 {
                if share == 0 {
                    return None;
                }
                bits += f64::from(count) * (f64::from(self.accuracy_log) - f64::from(share.abs()).log2());
            }
        }
        Some(bits as u64)
    }

    /// Appends the table's description (RFC 8878, 4.1.1).
    pub(super) fn write(&self, output: &mut Vec<u8>) {
        let mut bits = BitWriter::new(output);
        bits.put(self.accuracy_log - 5, 4);
        let mut remaining = (1_u32 << self.accuracy_log) + 1;
        let mut symbol = 0;
        while remaining > 1 {
            let share = self.shares[symbol];
            symbol += 1;
            // Values below `short` need one bit less; those of the upper half are moved past them.
            let width = remaining.ilog2() + 1;
            let half = 1 << (width - 1);
            let short = (2 * half - 1) - remaining;
            let value = (share + 1) as u32;
            if value < short {
                bits.put(value, width - 1);
            } else if value < half {
                bits.put(value, width);
            } else {
                bits.put(value + short, width);
            }
            remaining -= u32::from(share.unsigned_abs());
            if share == 0 {
                let mut zeros = self.shares[symbol..].iter().take_while(|&&share| share == 0).count();
                symbol += zeros;
                while zeros >= 3 {
                    bits.put(3, 2);
                    zeros -= 3;
                }
                bits.put(zeros as u32, 2);
            }
        }
        bits.finish();
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Transform {
    bits_delta: u32,
    state_delta: i32,
}

/// A distribution made ready for encoding.
#[derive(Debug, Clone)]
pub(super) struct EncodingTable {
    /// From the rank of a state among those of its symbol to the state.
    next_states: [u16; STATES_MAX],
    transforms: [Transform; SYMBOLS_MAX],
    accuracy_log: u32,
}

impl EncodingTable {
    pub(super) fn new(distribution: &Distribution) -> Self {
        let mut table = Self {
            next_states: [0; STATES_MAX],
            transforms: [Transform::default(); SYMBOLS_MAX],
            accuracy_log: 0,
        };
        table.rebuild(distribution);
        table
    }

    pub(super) fn rebuild(&mut self, distribution: &Distribution) {
        let Distribution {
            shares,
            symbols,
            accuracy_log,
        } = distribution;
        let states = 1_usize << accuracy_log;
        self.accuracy_log = *accuracy_log;

        // Which symbol has which state: those of a single state at the end, the others by steps.
        let mut owners = [0_u8; STATES_MAX];
        let mut spread_end = states;
        for symbol in (0..*symbols).filter(|&symbol| shares[symbol] == -1) {
            spread_end -= 1;
            owners[spread_end] = symbol as u8;
        }
        let step = (states >> 1) + (states >> 3) + 3;
        let mut state = 0;
        for (symbol, &share) in shares.iter().enumerate() {
            for _ in 0..share.max(0) {
                owners[state] = symbol as u8;
                state = (state + step) & (states - 1);
                while state >= spread_end {
                    state = (state + step) & (states - 1);
                }
            }
        }

        let mut first = [0_u16; SYMBOLS_MAX];
        let mut total = 0_u16;
        for symbol in 0..*symbols {
            let share = shares[symbol].unsigned_abs();
            first[symbol] = total;
            self.transforms[symbol] = match share {
                0 => Transform::default(),
                1 => Transform {
                    bits_delta: (accuracy_log << 16) - states as u32,
                    state_delta: i32::from(total) - 1,
                },
                _ => {
                    let bits_max = accuracy_log - u32::from(share - 1).ilog2();
                    Transform {
                        bits_delta: (bits_max << 16) - (u32::from(share) << bits_max),
                        state_delta: i32::from(total) - i32::from(share),
                    }
                }
            };
            total += share;
        }
        for (state, &owner) in owners[..states].iter().enumerate() {
            let rank = &mut first[usize::from(owner)];
            self.next_states[usize::from(*rank)] = (states + state) as u16;
            *rank += 1;
        }
    }

    /// The state that stands for the last symbol, which costs no bits of its own.
    pub(super) fn start(&self, symbol: u8) -> State {
        let transform = self.transforms[usize::from(symbol)];
        let bits = (transform.bits_delta + (1 << 15)) >> 16;
        let value = (bits << 16) - transform.bits_delta;
        State(self.next(value >> bits, transform))
    }

    /// Moves to a state of `symbol`, and writes what leads back.
    pub(super) fn encode(&self, state: &mut State, symbol: u8, writer: &mut BitWriter<'_>) {
        let transform = self.transforms[usize::from(symbol)];
        let value = u32::from(state.0);
        let bits = (value + transform.bits_delta) >> 16;
        writer.put(value, bits);
        state.0 = self.next(value >> bits, transform);
    }

    /// Writes the state that a decoder begins with.
    pub(super) fn finish(&self, state: &State, writer: &mut BitWriter<'_>) {
        writer.put(u32::from(state.0), self.accuracy_log);
    }

    fn next(&self, rank: u32, transform: Transform) -> u16 {
        self.next_states[(rank as i32 + transform.state_delta) as usize]
    }
}

/// Where an encoder stands in a table.
pub(super) struct State(u16);
