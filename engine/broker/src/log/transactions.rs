//! Transactions as one partition sees them: which are open, and which were aborted (KIP-98).
//!
//! The first record of the oldest open transaction bounds what a read_committed consumer gets: the last stable
//! offset. What was aborted is told to it beside the batches. Both are rebuilt from the batches at a restart.
//!
//! **Bound:** one entry per producer with an open transaction, and one per aborted transaction of which records
//! are kept.

use std::collections::{HashMap, VecDeque};

use crate::batch::InTransaction;

/// Transactions of one partition.
#[derive(Debug, Default)]
pub(crate) struct LogTransactions {
    /// Producer id → offset of its transaction's first record.
    open: HashMap<i64, i64>,
    /// The smallest value of `open`.
    first_open: Option<i64>,
    /// In the order of their markers.
    aborted: VecDeque<AbortedTransaction>,
}

/// A transaction whose records are not to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AbortedTransaction {
    pub(crate) producer_id: i64,
    pub(crate) first_offset: i64,
    /// Of its marker.
    pub(crate) last_offset: i64,
}

impl LogTransactions {
    /// Takes note of an appended batch.
    pub(crate) fn appended(&mut self, producer_id: i64, batch: InTransaction, base_offset: i64) {
        match batch {
            InTransaction::No => {}
            InTransaction::Data => {
                self.open.entry(producer_id).or_insert(base_offset);
                self.first_open.get_or_insert(base_offset);
            }
            InTransaction::Marker { is_committed } => {
                let Some(first_offset) = self.open.remove(&producer_id) else {
                    return; // The transaction wrote nothing here, or its marker is repeated.
                };
                self.first_open = self.open.values().min().copied();
                if !is_committed {
                    self.aborted.push_back(AbortedTransaction {
                        producer_id,
                        first_offset,
                        last_offset: base_offset,
                    });
                }
            }
        }
    }

    /// Where the open transaction of a producer began.
    pub(crate) fn open_since(&self, producer_id: i64) -> Option<i64> {
        self.open.get(&producer_id).copied()
    }

    /// Where the oldest open transaction began.
    pub(crate) fn first_open_offset(&self) -> Option<i64> {
        self.first_open
    }

    /// Aborted transactions with records from `first` on and before `end`.
    pub(crate) fn aborted_within(&self, first: i64, end: i64) -> Vec<AbortedTransaction> {
        // Ordered by their markers: those behind are found without a look at the others.
        let from = self.aborted.partition_point(|aborted| aborted.last_offset < first);
        let overlapping = self.aborted.range(from..).filter(|aborted| aborted.first_offset < end);
        overlapping.copied().collect()
    }

    /// Forgets what is wholly before the log's start.
    pub(crate) fn advance_start(&mut self, log_start_offset: i64) {
        while self
            .aborted
            .front()
            .is_some_and(|aborted| aborted.last_offset < log_start_offset)
        {
            self.aborted.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMIT: InTransaction = InTransaction::Marker { is_committed: true };
    const ABORT: InTransaction = InTransaction::Marker { is_committed: false };

    fn after(batches: &[(i64, InTransaction)]) -> LogTransactions {
        let mut transactions = LogTransactions::default();
        for (offset, (producer_id, batch)) in (0..).zip(batches) {
            transactions.appended(*producer_id, *batch, offset);
        }
        transactions
    }

    #[test]
    fn the_oldest_open_transaction_is_the_bound() {
        let (data, plain) = (InTransaction::Data, InTransaction::No);
        for (batches, first_open) in [
            (&[(1, plain), (2, plain)][..], None),
            (&[(1, data), (1, data)], Some(0)),
            (&[(1, data), (2, data), (1, COMMIT)], Some(1)),
            (&[(1, data), (2, data), (2, ABORT)], Some(0)),
            (&[(1, data), (2, data), (1, COMMIT), (2, ABORT)], None),
            (&[(1, data), (1, COMMIT), (1, data)], Some(2)),
            (&[(1, COMMIT), (1, ABORT)], None),
        ] {
            assert_eq!(after(batches).first_open_offset(), first_open, "{batches:?}");
        }
    }

    #[test]
    fn aborted_transactions_are_found_by_overlap() {
        let data = InTransaction::Data;
        // Offsets: 0, 1 data; 2 abort of 2; 3 commit of 1; 4 data; 5 abort of 1; 6 an abort without records.
        let batches = [
            (1, data),
            (2, data),
            (2, ABORT),
            (1, COMMIT),
            (1, data),
            (1, ABORT),
            (3, ABORT),
        ];
        let mut transactions = after(&batches);
        let found = |transactions: &LogTransactions, first, end| -> Vec<i64> {
            let aborted = transactions.aborted_within(first, end).into_iter();
            aborted.map(|aborted| aborted.first_offset).collect()
        };
        for (first, end, expected) in [
            (0, 7, &[1, 4][..]),
            (0, 1, &[]),
            (0, 2, &[1]),
            (2, 3, &[1]),
            (3, 4, &[]),
            (3, 5, &[4]),
            (5, 7, &[4]),
            (6, 7, &[]),
        ] {
            assert_eq!(found(&transactions, first, end), expected, "{first}..{end}");
        }
        transactions.advance_start(3);
        assert_eq!(found(&transactions, 0, 7), [4]);
    }
}
