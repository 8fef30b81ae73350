//! Which partition a record goes to.
//!
//! Records with a key go where the Java client puts them: Java's murmur2 of the key, so that two
//! clients agree on where a key lives. Records without one stick to a partition for a batch's worth of bytes or of time,
//! and slow partitions, seen by their queues, get less (KIP-794, Java's `BuiltInPartitioner`).
//! Never here: batches; the caller says how many bytes went where and how long the queues are.

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
///
/// It is made anew after `batch.size` bytes, not when a batch goes: a slow broker's batches wait longer and grow
/// larger, so it would get more than its share. A batch that is still open then is not left half full, but at twice
/// `batch.size` the choice moves on in any case.
///
/// Unlike Java's it also moves on when a batch has lingered, whether the broker could take it or not. Of a trickle, one
/// partition would get everything for minutes, and whoever reads several would wait for the others' event time.
#[derive(Debug, Clone, Default)]
pub struct StickyPartitioner {
    current: Option<i32>,
    /// What the current partition got since it was chosen.
    appended_bytes: usize,
}

/// A partition that can be chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// Its index.
    pub partition: i32,
    /// Batches that wait in its queue, without those in flight.
    pub queue_length: usize,
    /// Whether it has a leader; others are only chosen if no partition has one.
    pub is_available: bool,
    /// Its leader has taken nothing for longer than `partitioner.availability.timeout.ms`. Only chosen if that is so
    /// for all, or if the choice is not adaptive.
    pub is_slow: bool,
}

impl StickyPartitioner {
    /// The partition that records without a key go to now, if one was chosen.
    pub fn current(&self) -> Option<i32> {
        self.current
    }

    /// Chooses among `candidates`, with a chance that falls with the queue when `is_adaptive`.
    pub fn choose(&mut self, candidates: &[Candidate], is_adaptive: bool, rng: &mut Rng) -> Option<i32> {
        self.current = draw(candidates, is_adaptive, |total| rng.u64(..total));
        self.appended_bytes = 0;
        self.current
    }

    /// Whether the current partition got its share, so that the next record chooses anew unless it would leave an
    /// open batch behind.
    pub fn has_enough(&self, batch_bytes_max: usize) -> bool {
        self.appended_bytes >= batch_bytes_max
    }

    /// The open batch of `partition` has lingered.
    pub fn handle_lingered(&mut self, partition: i32) {
        if self.current == Some(partition) {
            self.current = None;
        }
    }

    /// Bytes went to the current partition. `is_batch_open`: its newest batch can take more.
    pub fn handle_appended(&mut self, bytes: usize, is_batch_open: bool, batch_bytes_max: usize) {
        self.appended_bytes += bytes;
        let is_done = self.has_enough(batch_bytes_max) && !is_batch_open;
        if is_done || self.appended_bytes >= batch_bytes_max.saturating_mul(2) {
            self.current = None;
        }
    }
}

/// The partition that a ticket below the sum of all weights stands for. An adaptive choice weighs each queue by
/// what it is shorter than the longest, plus one.
fn draw(candidates: &[Candidate], is_adaptive: bool, ticket: impl FnOnce(u64) -> u64) -> Option<i32> {
    let any_available = candidates.iter().any(|candidate| candidate.is_available);
    let is_fast = |candidate: &Candidate| candidate.is_available && !candidate.is_slow;
    let any_fast = is_adaptive && candidates.iter().any(is_fast);
    let usable = || {
        let usable = move |candidate: &&Candidate| match any_fast {
            true => is_fast(candidate),
            false => candidate.is_available || !any_available,
        };
        candidates.iter().filter(usable)
    };
    let longest = usable().map(|candidate| candidate.queue_length).max()?;
    let weight = |candidate: &Candidate| match any_fast {
        true => (longest - candidate.queue_length + 1) as u64,
        false => 1,
    };
    let mut ticket = ticket(usable().map(weight).sum());
    let chosen = usable().find(|candidate| {
        let weight = weight(candidate);
        let is_chosen = ticket < weight;
        ticket = ticket.saturating_sub(weight);
        is_chosen
    });
    chosen.map(|candidate| candidate.partition)
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
                is_slow: false,
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

    /// As `BuiltInPartitioner.updatePartitionInfo`: at `batch.size` if no batch is left half full, at twice that anyway.
    #[test]
    fn a_choice_sticks_for_a_batchs_worth_of_bytes() {
        for (appends, moves_on) in [
            (&[(99, false)][..], false),
            (&[(100, false)], true),
            (&[(60, true), (40, false)], true),
            (&[(60, true), (60, true)], false),
            (&[(60, true), (60, true), (0, false)], true),
            (&[(60, true), (60, true), (79, true)], false),
            (&[(60, true), (60, true), (80, true)], true),
            (&[(250, true)], true),
        ] {
            let mut sticky = StickyPartitioner::default();
            let chosen = sticky.choose(&candidates(&[(0, true); 4]), true, &mut Rng::with_seed(1));
            for (bytes, is_batch_open) in appends {
                assert_eq!(sticky.current(), chosen);
                sticky.handle_appended(*bytes, *is_batch_open, 100);
            }
            assert_eq!(sticky.current().is_none(), moves_on, "{appends:?}");
        }
    }

    #[test]
    fn a_choice_moves_on_when_its_own_batch_has_lingered() {
        let mut sticky = StickyPartitioner::default();
        let chosen = sticky.choose(&candidates(&[(0, true); 4]), true, &mut Rng::with_seed(1));
        sticky.handle_lingered(chosen.unwrap() + 1);
        assert_eq!(sticky.current(), chosen);
        sticky.handle_lingered(chosen.unwrap());
        assert_eq!(sticky.current(), None);
    }

    /// How often each partition is drawn when every ticket is drawn once.
    fn frequencies(candidates: &[Candidate], is_adaptive: bool) -> Vec<u64> {
        let mut total = 0;
        draw(candidates, is_adaptive, |sum| {
            total = sum;
            0
        });
        let mut counts = vec![0; candidates.len()];
        for ticket in 0..total {
            counts[draw(candidates, is_adaptive, |_| ticket).unwrap() as usize] += 1;
        }
        counts
    }

    /// The numbers of Kafka's `BuiltInPartitionerTest.adaptivePartitionsTest`, and of the example in its source.
    #[test]
    fn chances_are_those_of_the_java_client() {
        for (queues, expected) in [
            (&[5, 0, 3, 0, 1][..], &[1, 6, 3, 6, 5][..]),
            (&[0, 3, 1], &[4, 1, 3]),
            (&[7, 7, 7], &[1, 1, 1]),
            (&[9], &[1]),
        ] {
            let queues: Vec<_> = queues.iter().map(|length| (*length, true)).collect();
            assert_eq!(frequencies(&candidates(&queues), true), expected, "{queues:?}");
            let even = vec![1; queues.len()];
            assert_eq!(frequencies(&candidates(&queues), false), even, "{queues:?}");
        }
        let tickets = candidates(&[(0, true), (3, true), (1, true)]);
        let drawn: Vec<_> = (0..8).map(|ticket| draw(&tickets, true, |_| ticket)).collect();
        assert_eq!(drawn, [0, 0, 0, 0, 1, 2, 2, 2].map(Some));
    }

    /// `RecordAccumulatorTest.testAdaptiveBuiltInPartitioner` excludes a partition whose node drains nothing.
    #[test]
    fn partitions_whose_leader_takes_nothing_are_left_out_unless_all_are() {
        let slow = |slow: &[bool]| {
            let mut candidates = candidates(&[(1, true), (4, true), (0, true)]);
            for (candidate, is_slow) in candidates.iter_mut().zip(slow) {
                candidate.is_slow = *is_slow;
            }
            candidates
        };
        assert_eq!(frequencies(&slow(&[false, false, true]), true), [4, 1, 0]);
        assert_eq!(frequencies(&slow(&[true, false, true]), true), [0, 1, 0]);
        assert_eq!(frequencies(&slow(&[true, true, true]), true), [1, 1, 1]);
        assert_eq!(frequencies(&slow(&[false, false, true]), false), [1, 1, 1]);
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
