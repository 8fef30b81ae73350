//! Which partition a record goes to.
//!
//! Records with a key go where the Java client puts them: Java's murmur2 of the key, so that two
//! clients agree on where a key lives. Records without one stick to a partition until its batch is
//! complete (KIP-480), and slow partitions, seen by their queues, get less (KIP-794).
//! Never here: batches; the caller says when one is complete and how long the queues are.

use fastrand::Rng;

/// The partition of a key among `partition_count`, as the Java client computes it.
///
/// # Panics
/// If `partition_count` is not positive.
pub fn partition_for_key(key: &[u8], partition_count: i32) -> i32 {
    assert!(partition_count > 0, "a topic has at least one partition");
    (murmur2(key) & i32::MAX) % partition_count
}

/// Java's 32-bit murmur2 with its seed, as Kafka's `Utils.murmur2` computes it.
pub fn murmur2(data: &[u8]) -> i32 {
    const SEED: u32 = 0x9747_b28c;
    const M: u32 = 0x5bd1_e995;
    const R: u32 = 24;
    // Kafka hashes arrays, whose lengths are 31-bit.
    let mut hash = SEED ^ (data.len() as u32);
    let mut words = data.chunks_exact(4);
    for word in &mut words {
        let word: [u8; 4] = word.try_into().expect("chunks are of four bytes");
        let mut k = u32::from_le_bytes(word).wrapping_mul(M);
        k ^= k >> R;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    let rest = words.remainder();
    if !rest.is_empty() {
        for (index, byte) in rest.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * index);
        }
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^= hash >> 15;
    hash as i32
}

/// The sticky choice of one topic.
#[derive(Debug, Clone, Default)]
pub struct StickyPartitioner {
    current: Option<i32>,
}

/// A partition that can be chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// Its index.
    pub partition: i32,
    /// Batches that wait in its queue.
    pub queue_length: usize,
    /// Whether it has a leader; others are only chosen if no partition has one.
    pub is_available: bool,
}

impl StickyPartitioner {
    /// The partition that records without a key go to now, if one was chosen.
    pub fn current(&self) -> Option<i32> {
        self.current
    }

    /// Chooses among `candidates`, with a chance that falls with the queue when `is_adaptive`.
    pub fn choose(&mut self, candidates: &[Candidate], is_adaptive: bool, rng: &mut Rng) -> Option<i32> {
        let any_available = candidates.iter().any(|candidate| candidate.is_available);
        let usable = || {
            candidates
                .iter()
                .filter(|candidate| candidate.is_available || !any_available)
        };
        let longest = usable().map(|candidate| candidate.queue_length).max()?;
        let weight = |candidate: &Candidate| {
            if is_adaptive {
                (longest - candidate.queue_length + 1) as u64
            } else {
                1
            }
        };
        let total: u64 = usable().map(weight).sum();
        let mut ticket = rng.u64(..total);
        for candidate in usable() {
            let weight = weight(candidate);
            if ticket < weight {
                self.current = Some(candidate.partition);
                break;
            }
            ticket -= weight;
        }
        self.current
    }

    /// The batch of `partition` is complete: the next record chooses anew.
    pub fn handle_batch_complete(&mut self, partition: i32) {
        if self.current == Some(partition) {
            self.current = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vectors of Kafka's `UtilsTest.testMurmur2`.
    #[test]
    fn murmur2_agrees_with_the_java_client() {
        for (data, expected) in [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ] {
            assert_eq!(murmur2(data.as_bytes()), expected, "{data}");
        }
    }

    #[test]
    fn a_negative_hash_still_gives_a_partition() {
        // -973932308 & 0x7fffffff = 1173551340, as `Utils.toPositive` has it.
        assert_eq!(partition_for_key(b"21", 7), 1_173_551_340 % 7);
        assert_eq!(partition_for_key(b"", 1), 0);
    }

    fn candidates(queues: &[(usize, bool)]) -> Vec<Candidate> {
        let numbered = queues.iter().enumerate();
        numbered
            .map(|(partition, (queue_length, is_available))| Candidate {
                partition: partition as i32,
                queue_length: *queue_length,
                is_available: *is_available,
            })
            .collect()
    }

    fn tally(queues: &[(usize, bool)], is_adaptive: bool) -> Vec<usize> {
        let mut rng = Rng::with_seed(1);
        let mut counts = vec![0; queues.len()];
        for _ in 0..10_000 {
            let mut sticky = StickyPartitioner::default();
            let chosen = sticky.choose(&candidates(queues), is_adaptive, &mut rng).unwrap();
            counts[chosen as usize] += 1;
        }
        counts
    }

    #[test]
    fn a_choice_sticks_until_its_batch_is_complete() {
        let mut sticky = StickyPartitioner::default();
        let chosen = sticky.choose(&candidates(&[(0, true); 4]), true, &mut Rng::with_seed(1));
        assert_eq!(sticky.current(), chosen);
        sticky.handle_batch_complete(chosen.unwrap() + 1);
        assert_eq!(sticky.current(), chosen);
        sticky.handle_batch_complete(chosen.unwrap());
        assert_eq!(sticky.current(), None);
    }

    #[test]
    fn equal_queues_are_chosen_equally() {
        for count in tally(&[(0, true); 4], true) {
            assert!((2_300..2_700).contains(&count), "{count}");
        }
    }

    #[test]
    fn a_long_queue_gets_less_only_when_adaptive() {
        let counts = tally(&[(0, true), (3, true)], true);
        assert!((7_700..8_300).contains(&counts[0]), "{counts:?}: 4 to 1");
        let counts = tally(&[(0, true), (3, true)], false);
        assert!((4_700..5_300).contains(&counts[0]), "{counts:?}: 1 to 1");
    }

    #[test]
    fn partitions_without_leader_are_left_out_unless_all_are() {
        assert_eq!(tally(&[(0, false), (0, true)], true), [0, 10_000]);
        assert!(tally(&[(0, false), (0, false)], true)[0] > 0);
        assert_eq!(
            StickyPartitioner::default().choose(&[], true, &mut Rng::with_seed(1)),
            None
        );
    }
}
