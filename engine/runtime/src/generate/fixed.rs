//! Messages of one size, sent in batches at one interval: a load tool's three knobs.

use std::time::Duration;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

/// How many different bodies take turns, so that compression does not see one message for ever.
const BODIES: usize = 64;
/// Large messages share fewer bodies, because each producer has its own and they are made before the first message:
/// at most this many bytes of them, or one body.
const BODIES_BYTES: usize = 1 << 20;
const SEQUENCE_DIGITS: usize = 20;

/// The three knobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FixedLoad {
    /// Messages that are due together.
    pub batch_messages: u64,
    /// The size of each message in bytes.
    pub message_bytes: usize,
    /// The time from one batch to the next.
    pub interval: Duration,
}

impl Default for FixedLoad {
    fn default() -> FixedLoad {
        FixedLoad {
            batch_messages: 100,
            message_bytes: 1_024,
            interval: Duration::from_millis(100),
        }
    }
}

impl FixedLoad {
    /// When a message is due, in nanoseconds from the start.
    pub fn due_ns(&self, message: u64) -> u64 {
        let interval_ns = u64::try_from(self.interval.as_nanos()).unwrap_or(u64::MAX);
        (message / self.batch_messages.max(1)).saturating_mul(interval_ns)
    }
}

/// One producer's messages: a sequence number (as much of it as fits), then random letters.
#[derive(Debug, Clone)]
pub struct FixedMessages {
    bodies: Vec<Vec<u8>>,
    sequence: u64,
}

impl FixedMessages {
    /// `rng` decides the letters.
    pub fn new(message_bytes: usize, mut rng: ChaCha8Rng) -> FixedMessages {
        let bodies = (BODIES_BYTES / message_bytes.max(1)).clamp(1, BODIES);
        let mut body = || {
            let mut body = vec![0; message_bytes];
            rng.fill(&mut body[..]);
            body.iter_mut().for_each(|byte| *byte = b'a' + *byte % 26);
            body
        };
        FixedMessages {
            bodies: (0..bodies).map(|_| body()).collect(),
            sequence: 0,
        }
    }

    /// Appends the next message to `value`.
    pub fn write(&mut self, value: &mut Vec<u8>) {
        let body = &self.bodies[(self.sequence % self.bodies.len() as u64) as usize];
        let start = value.len();
        value.extend_from_slice(body);
        let mut rest = self.sequence;
        for digit in value[start..].iter_mut().take(SEQUENCE_DIGITS).rev() {
            *digit = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        self.sequence += 1;
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn every_message_has_the_asked_size_and_its_number() {
        for message_bytes in [0, 1, 5, 20, 100, 70_000] {
            let mut messages = FixedMessages::new(message_bytes, ChaCha8Rng::seed_from_u64(1));
            for sequence in 0..200u64 {
                let mut value = b"before".to_vec();
                messages.write(&mut value);
                assert_eq!(value.len(), 6 + message_bytes);
                if message_bytes >= 20 {
                    assert_eq!(&value[6..26], format!("{sequence:020}").as_bytes());
                }
            }
        }
    }

    #[test]
    fn a_batch_is_due_at_once_and_the_next_one_an_interval_later() {
        let load = FixedLoad {
            batch_messages: 3,
            message_bytes: 10,
            interval: Duration::from_millis(5),
        };
        let due: Vec<_> = (0..7).map(|message| load.due_ns(message)).collect();
        assert_eq!(due, [0, 0, 0, 5_000_000, 5_000_000, 5_000_000, 10_000_000]);
    }
}
