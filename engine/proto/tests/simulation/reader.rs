//! What an application read of one partition, and whether it may have.
//!
//! The book follows the log that the application believes in: where it is told that the log was cut, the book is cut too. In
//! the end it must say what the log says. Never here: fetches.

use engine_proto::TopicPartition;
use engine_proto::fetch::fetcher::Fetcher;
use engine_proto::fetch::partition::Fetched;
use engine_proto::fetch::position::{FetchError, StartAt};

use crate::cluster::Cluster;
use crate::fetch_client::records;

pub(crate) struct Reader {
    pub(crate) tp: TopicPartition,
    pub(crate) position: i64,
    pub(crate) read_committed: bool,
    /// A cut log is gone back in without a word.
    pub(crate) resets: bool,
    /// What was read since `from`, in order.
    pub(crate) seen: Vec<(i64, u64)>,
    from: i64,
    /// Positions that were reached, with the leader epoch before them.
    epochs: Vec<(i64, i32)>,
    pub(crate) truncations: u32,
}

impl Reader {
    pub(crate) fn new(tp: TopicPartition, read_committed: bool, resets: bool) -> Self {
        Self {
            tp,
            position: 0,
            read_committed,
            resets,
            seen: Vec::new(),
            from: 0,
            epochs: Vec::new(),
            truncations: 0,
        }
    }

    /// Starts at an offset, as if nothing had been read before.
    pub(crate) fn seek(&mut self, fetcher: &mut Fetcher, offset: i64) {
        self.seen.clear();
        self.epochs.clear();
        (self.from, self.position) = (offset, offset);
        let leader_epoch = None;
        assert!(fetcher.start(&self.tp, StartAt::Offset { offset, leader_epoch }));
    }

    pub(crate) fn handle_fetched(&mut self, cluster: &Cluster, fetched: &Fetched) {
        let tp = &self.tp;
        let partition = cluster.partition(tp);
        if fetched.first_offset < self.position {
            assert!(
                self.resets && partition.unclean_elections > 0,
                "{tp}: position went back"
            );
            self.cut(fetched.first_offset);
        }
        let skipped = self.position..fetched.first_offset;
        if !skipped.is_empty() {
            assert!(
                self.resets && skipped.end <= partition.log_start,
                "{}: skipped {skipped:?}",
                self.tp
            );
        }
        assert!(fetched.next_offset > fetched.first_offset, "{}: no progress", self.tp);
        let end = match self.read_committed {
            true => partition.last_stable_offset(),
            false => partition.high_watermark,
        };
        let is_sure = partition.unclean_elections == 0;
        assert!(!is_sure || fetched.next_offset <= end, "{}: read beyond {end}", self.tp);
        for (offset, value, leader_epoch) in records(fetched) {
            assert!(offset < fetched.next_offset, "{}", self.tp);
            assert!(
                self.seen.last().is_none_or(|(last, _)| *last < offset),
                "{}: read twice",
                self.tp
            );
            self.seen.push((offset, value));
            self.epochs.push((offset + 1, leader_epoch));
        }
        self.position = fetched.next_offset;
        self.epochs
            .extend(fetched.leader_epoch.map(|epoch| (self.position, epoch)));
    }

    /// Goes on where the error says that it can.
    pub(crate) fn handle_error(&mut self, cluster: &Cluster, fetcher: &mut Fetcher, error: &FetchError) {
        let partition = cluster.partition(&self.tp);
        match error {
            FetchError::OffsetOutOfRange { offset, .. } => {
                assert!(*offset < partition.log_start, "{error}");
                assert!(!self.resets, "{error}");
                // What was removed by retention is passed over, knowingly.
                let offset = partition.log_start;
                self.position = offset;
                let leader_epoch = None;
                fetcher.start(&self.tp, StartAt::Offset { offset, leader_epoch });
            }
            FetchError::LogTruncated { end_offset, .. } => {
                assert!(partition.unclean_elections > 0, "{error}");
                self.cut(end_offset.unwrap_or(0).min(self.position));
                let leader_epoch = self.epochs.last().map(|(_, epoch)| *epoch);
                if leader_epoch.is_none() {
                    self.cut(self.from); // Without an epoch the next cut would go unnoticed.
                }
                let offset = self.position;
                fetcher.start(&self.tp, StartAt::Offset { offset, leader_epoch });
            }
            error => panic!("{error}"),
        }
    }

    /// The fetcher went back without a word, and found nothing new since.
    pub(crate) fn handle_silent_reset(&mut self, cluster: &Cluster, fetcher: &Fetcher) {
        let position = fetcher
            .position(&self.tp)
            .map_or(self.position, |position| position.offset);
        if position < self.position {
            let is_cut = cluster.partition(&self.tp).unclean_elections > 0;
            assert!(self.resets && is_cut, "{}: position went back", self.tp);
            self.cut(position);
        }
    }

    /// Whether all there is was read.
    pub(crate) fn is_done(&self, cluster: &Cluster) -> bool {
        let partition = cluster.partition(&self.tp);
        let end = match self.read_committed {
            true => partition.last_stable_offset(),
            false => partition.high_watermark,
        };
        self.position == end
    }

    /// The book says what the log says, but for what was removed after it was read.
    pub(crate) fn check(&self, cluster: &Cluster) {
        let partition = cluster.partition(&self.tp);
        let visible = partition.visible(self.read_committed);
        let visible: Vec<_> = visible.into_iter().filter(|(offset, _)| *offset >= self.from).collect();
        let seen = self.seen.iter().filter(|(offset, _)| !partition.is_deleted(*offset));
        let seen: Vec<_> = seen.copied().collect();
        assert_eq!(seen, visible, "{}", self.tp);
    }

    fn cut(&mut self, offset: i64) {
        self.truncations += 1;
        self.seen.retain(|(seen, _)| *seen < offset);
        self.epochs.retain(|(position, _)| *position <= offset);
        self.position = offset;
    }
}
