//! Who an idempotent producer is to the brokers (KIP-98).
//!
//! Every record of a producer has a sequence number within its partition. The broker takes a batch only
//! if it follows the last one, so a retry is never written twice and never out of order.
//! Never here: the arithmetic of sequences (`engine_wire::record_batch::sequence_after`), when to send
//! or to retry (see `producer`).

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
    /// What an answer says, if it names somebody: a negative number stands for nobody.
    pub fn named(producer_id: i64, producer_epoch: i16) -> Option<Self> {
        (producer_id >= 0 && producer_epoch >= 0).then_some(Self {
            producer_id,
            producer_epoch,
        })
    }

    /// The same producer with the next epoch, or `None` when a new producer id is needed.
    pub fn next_epoch(self) -> Option<Self> {
        let producer_epoch = self.producer_epoch.checked_add(1).filter(|epoch| *epoch < i16::MAX)?;
        Some(Self { producer_epoch, ..self })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
