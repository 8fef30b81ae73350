//! Sequence numbers of idempotent producers (KIP-98).
//!
//! Every record of a producer has a number within its partition. The broker takes a batch only
//! if it follows the last one, so a retry is never written twice and never out of order.
//! Never here: when to send or to retry (see `producer`).

/// Who a producer is to the brokers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ProducerIdentity {
    /// Given by InitProducerId.
    pub producer_id: i64,
    /// Raised whenever sequences start again at zero. Without transactions the brokers keep it per
    /// partition, so raising it on one leaves the batches of the others alone.
    pub producer_epoch: i16,
}

impl ProducerIdentity {
    /// The same producer with the next epoch, or `None` when a new producer id is needed.
    pub fn next_epoch(self) -> Option<Self> {
        let producer_epoch = self.producer_epoch.checked_add(1).filter(|epoch| *epoch < i16::MAX)?;
        Some(Self { producer_epoch, ..self })
    }
}

/// The sequence of the record `count` places behind one with `sequence`. Wraps from `i32::MAX` to 0.
///
/// # Panics
/// If either is negative: our own batches have neither.
pub fn advance(sequence: i32, count: i32) -> i32 {
    assert!(sequence >= 0 && count >= 0, "sequence {sequence} advanced by {count}");
    ((i64::from(sequence) + i64::from(count)) & i64::from(i32::MAX)) as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_wrap_to_zero_and_never_negative() {
        for (sequence, count, expected) in [
            (0, 0, 0),
            (0, 5, 5),
            (i32::MAX - 1, 1, i32::MAX),
            (i32::MAX, 1, 0),
            (i32::MAX - 2, 5, 2),
            (i32::MAX, i32::MAX, i32::MAX - 1),
        ] {
            assert_eq!(advance(sequence, count), expected, "{sequence} + {count}");
        }
    }

    #[test]
    fn epochs_rise_until_a_new_producer_id_is_needed() {
        let identity = |producer_epoch| ProducerIdentity {
            producer_id: 9,
            producer_epoch,
        };
        assert_eq!(identity(0).next_epoch(), Some(identity(1)));
        assert_eq!(identity(i16::MAX - 2).next_epoch(), Some(identity(i16::MAX - 1)));
        assert_eq!(identity(i16::MAX - 1).next_epoch(), None);
    }
}
