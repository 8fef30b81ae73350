//! Sequence numbers of idempotent producers in one partition (KIP-98).
//!
//! For each producer id the last five batches are remembered, so that a retry of any batch that may still be in
//! flight (Java allows five) is answered with the offset it got the first time.
//!
//! Never here: records, error codes.

use std::collections::{HashMap, VecDeque};

/// Batches remembered per producer, as in Kafka.
const BATCHES_REMEMBERED: usize = 5;

/// Producers remembered per partition. At the bound the one that wrote longest ago is forgotten; its next batch
/// is accepted with any sequence, as after Kafka's `transactional.id.expiration`.
const PRODUCERS_MAX: usize = 10_000;

/// Producers of one partition.
#[derive(Debug, Default)]
pub(crate) struct ProducerStates {
    by_id: HashMap<i64, ProducerState>,
}

#[derive(Debug)]
struct ProducerState {
    producer_epoch: i16,
    /// Empty behind the marker that began the epoch.
    batches: VecDeque<SequencedBatch>,
    /// Offset of the last batch or marker.
    last_write: i64,
}

#[derive(Debug, Clone, Copy)]
struct SequencedBatch {
    first_sequence: i32,
    last_sequence: i32,
    base_offset: i64,
}

/// Who sent a batch and which sequences it spans.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sequenced {
    pub(crate) producer_id: i64,
    pub(crate) producer_epoch: i16,
    pub(crate) first_sequence: i32,
    pub(crate) last_sequence: i32,
}

/// What the log does with a sequenced batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SequenceCheck {
    /// The next one: append it.
    Next,
    /// Already appended, at this offset: acknowledge it again.
    Repeated { base_offset: i64 },
}

/// Why a sequenced batch is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SequenceError {
    /// A newer incarnation of the producer has written here.
    #[error("producer {producer_id}: epoch {sent} is older than {current}")]
    Fenced { producer_id: i64, sent: i16, current: i16 },
    /// A batch between the last one and this one is missing.
    #[error("producer {producer_id}: sequence {sent} does not follow {last}")]
    OutOfOrder { producer_id: i64, sent: i32, last: i32 },
    /// Appended so long ago that its offset is forgotten.
    #[error("producer {producer_id}: sequence {sent} was appended before, the last is {last}")]
    Duplicate { producer_id: i64, sent: i32, last: i32 },
}

impl ProducerStates {
    /// Decides about a batch; changes nothing.
    pub(crate) fn check(&self, batch: Sequenced) -> Result<SequenceCheck, SequenceError> {
        let Sequenced {
            producer_id,
            producer_epoch,
            first_sequence,
            last_sequence,
        } = batch;
        let Some(state) = self.by_id.get(&producer_id) else {
            // Nothing is known (new, or forgotten by retention): any sequence starts it.
            return Ok(SequenceCheck::Next);
        };
        if producer_epoch < state.producer_epoch {
            let current = state.producer_epoch;
            return Err(SequenceError::Fenced {
                producer_id,
                sent: producer_epoch,
                current,
            });
        }
        let newest = state.batches.back();
        let last = newest.map_or(-1, |newest| newest.last_sequence);
        if producer_epoch > state.producer_epoch || newest.is_none() {
            return match first_sequence {
                0 => Ok(SequenceCheck::Next),
                sent => Err(SequenceError::OutOfOrder {
                    producer_id,
                    sent,
                    last,
                }),
            };
        }
        let same =
            |known: &&SequencedBatch| known.first_sequence == first_sequence && known.last_sequence == last_sequence;
        if let Some(known) = state.batches.iter().find(same) {
            return Ok(SequenceCheck::Repeated {
                base_offset: known.base_offset,
            });
        }
        if first_sequence == next_sequence(last) {
            return Ok(SequenceCheck::Next);
        }
        // Sequences are a ring of 2^31: what lies in the half behind us was here before.
        let behind = last.wrapping_sub(last_sequence) & i32::MAX;
        if behind < i32::MAX / 2 && state.batches.len() == BATCHES_REMEMBERED {
            return Err(SequenceError::Duplicate {
                producer_id,
                sent: first_sequence,
                last,
            });
        }
        Err(SequenceError::OutOfOrder {
            producer_id,
            sent: first_sequence,
            last,
        })
    }

    /// Whether a marker with this epoch comes too late: a newer incarnation has written here since.
    pub(crate) fn is_fenced(&self, producer_id: i64, producer_epoch: i16) -> bool {
        let state = self.by_id.get(&producer_id);
        state.is_some_and(|state| producer_epoch < state.producer_epoch)
    }

    /// Remembers a transaction's marker: where its epoch is new, older ones are fenced and sequences begin at 0.
    pub(crate) fn marked(&mut self, producer_id: i64, producer_epoch: i16, offset: i64) {
        self.of_epoch(producer_id, producer_epoch).last_write = offset;
    }

    /// Remembers a batch that was appended.
    pub(crate) fn appended(&mut self, batch: Sequenced, base_offset: i64) {
        let state = self.of_epoch(batch.producer_id, batch.producer_epoch);
        state.last_write = base_offset;
        if state.batches.len() == BATCHES_REMEMBERED {
            state.batches.pop_front();
        }
        state.batches.push_back(SequencedBatch {
            first_sequence: batch.first_sequence,
            last_sequence: batch.last_sequence,
            base_offset,
        });
    }

    /// A producer's state, with nothing in it where the epoch is another than before.
    fn of_epoch(&mut self, producer_id: i64, producer_epoch: i16) -> &mut ProducerState {
        if !self.by_id.contains_key(&producer_id) && self.by_id.len() >= PRODUCERS_MAX {
            self.forget_oldest();
        }
        let state = self.by_id.entry(producer_id).or_insert_with(|| ProducerState {
            producer_epoch,
            batches: VecDeque::with_capacity(BATCHES_REMEMBERED),
            last_write: -1,
        });
        if state.producer_epoch != producer_epoch {
            state.producer_epoch = producer_epoch;
            state.batches.clear();
        }
        state
    }

    fn forget_oldest(&mut self) {
        let oldest = self
            .by_id
            .iter()
            .min_by_key(|(_, state)| state.last_write)
            .map(|(id, _)| *id);
        if let Some(id) = oldest {
            self.by_id.remove(&id);
        }
    }
}

/// The sequence after `sequence`; Kafka wraps to 0, never to a negative number.
fn next_sequence(sequence: i32) -> i32 {
    sequence.checked_add(1).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use engine_wire::record_batch::sequence_after;

    use super::*;

    fn batch(producer_epoch: i16, first: i32, count: i32) -> Sequenced {
        let last_sequence = sequence_after(first, count - 1);
        Sequenced {
            producer_id: 7,
            producer_epoch,
            first_sequence: first,
            last_sequence,
        }
    }

    fn states(batches: &[Sequenced]) -> ProducerStates {
        let mut states = ProducerStates::default();
        for (index, batch) in batches.iter().enumerate() {
            assert_eq!(states.check(*batch), Ok(SequenceCheck::Next), "{batch:?}");
            states.appended(*batch, index as i64 * 100);
        }
        states
    }

    #[test]
    fn consecutive_batches_are_accepted_and_a_gap_is_not() {
        let states = states(&[batch(0, 0, 10), batch(0, 10, 5)]);
        assert_eq!(states.check(batch(0, 15, 1)), Ok(SequenceCheck::Next));
        let gap = states.check(batch(0, 16, 1));
        assert_eq!(
            gap,
            Err(SequenceError::OutOfOrder {
                producer_id: 7,
                sent: 16,
                last: 14
            })
        );
    }

    #[test]
    fn a_retry_gets_the_offset_of_the_first_time() {
        let states = states(&[batch(0, 0, 10), batch(0, 10, 5)]);
        assert_eq!(
            states.check(batch(0, 0, 10)),
            Ok(SequenceCheck::Repeated { base_offset: 0 })
        );
        assert_eq!(
            states.check(batch(0, 10, 5)),
            Ok(SequenceCheck::Repeated { base_offset: 100 })
        );
    }

    #[test]
    fn a_retry_older_than_five_batches_is_a_duplicate_without_an_offset() {
        let states = states(&(0..7).map(|index| batch(0, index * 10, 10)).collect::<Vec<_>>());
        let old = states.check(batch(0, 0, 10));
        assert_eq!(
            old,
            Err(SequenceError::Duplicate {
                producer_id: 7,
                sent: 0,
                last: 69
            })
        );
    }

    #[test]
    fn an_older_epoch_is_fenced_and_a_newer_one_starts_at_zero() {
        let states = states(&[batch(3, 0, 10)]);
        let fenced = states.check(batch(2, 10, 1));
        assert_eq!(
            fenced,
            Err(SequenceError::Fenced {
                producer_id: 7,
                sent: 2,
                current: 3
            })
        );
        assert_eq!(states.check(batch(4, 0, 1)), Ok(SequenceCheck::Next));
        let late_start = states.check(batch(4, 10, 1));
        assert_eq!(
            late_start,
            Err(SequenceError::OutOfOrder {
                producer_id: 7,
                sent: 10,
                last: 9
            })
        );
    }

    #[test]
    fn a_marker_of_a_newer_epoch_fences_the_older_and_starts_at_zero() {
        let mut states = states(&[batch(3, 0, 10)]);
        states.marked(7, 3, 200);
        assert_eq!(states.check(batch(3, 10, 1)), Ok(SequenceCheck::Next), "the same epoch");
        states.marked(7, 4, 300);
        let fenced = states.check(batch(3, 10, 1));
        assert!(
            matches!(fenced, Err(SequenceError::Fenced { current: 4, .. })),
            "{fenced:?}"
        );
        assert!(states.is_fenced(7, 3) && !states.is_fenced(7, 4));
        let late_start = states.check(batch(4, 10, 1));
        assert!(
            matches!(late_start, Err(SequenceError::OutOfOrder { .. })),
            "{late_start:?}"
        );
        assert_eq!(states.check(batch(4, 0, 1)), Ok(SequenceCheck::Next));
    }

    #[test]
    fn an_unknown_producer_may_start_anywhere() {
        assert_eq!(
            ProducerStates::default().check(batch(5, 1_000, 1)),
            Ok(SequenceCheck::Next)
        );
    }

    #[test]
    fn sequences_wrap_to_zero() {
        let states = states(&[batch(0, i32::MAX - 4, 5)]);
        assert_eq!(states.check(batch(0, 0, 3)), Ok(SequenceCheck::Next));
    }
}
