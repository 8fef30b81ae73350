//! Where the time of a run goes, stage by stage, as HDR histograms in microseconds.

use std::time::Duration;

use hdrhistogram::Histogram;

/// The stages of a trigger and of a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// From a micro-batch's first fetched records to its dispatch.
    Gather,
    /// CRC, decompression, decoding and operators, per partition.
    Process,
    /// Encoding rows and handing them to sinks, per partition.
    Sinks,
    /// Merging closed windows over all partitions and handing them to sinks.
    Windows,
    /// A checkpoint as a whole, but for publishing, which goes on beside the next micro-batch.
    Checkpoint,
    /// Checkpoint: waiting for the brokers to have all output; exactly once, for results that are sent already.
    Flush,
    /// Checkpoint: closing lake files and making them durable.
    LakeFiles,
    /// Checkpoint: snapshots and the state topic.
    State,
    /// Checkpoint: making lake files visible.
    Publish,
    /// Checkpoint: OffsetCommit; exactly once, waiting for the brokers to have all output, and the end of the transaction.
    Commit,
}

impl Stage {
    /// All of them, in the order of the summary.
    pub const ALL: [Stage; 10] = [
        Stage::Gather,
        Stage::Process,
        Stage::Sinks,
        Stage::Windows,
        Stage::Checkpoint,
        Stage::Flush,
        Stage::LakeFiles,
        Stage::State,
        Stage::Publish,
        Stage::Commit,
    ];

    /// Its name in the summary and in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Stage::Gather => "gather",
            Stage::Process => "process",
            Stage::Sinks => "sinks",
            Stage::Windows => "windows",
            Stage::Checkpoint => "checkpoint",
            Stage::Flush => "checkpoint_flush",
            Stage::LakeFiles => "checkpoint_stage",
            Stage::State => "checkpoint_state",
            Stage::Publish => "checkpoint_publish",
            Stage::Commit => "checkpoint_commit",
        }
    }
}

/// The longest time that is told apart; longer ones count as this.
const LONGEST: Duration = Duration::from_secs(3_600);

/// One histogram per stage.
#[derive(Debug, Clone)]
pub struct StageTimes {
    histograms: Vec<Histogram<u64>>,
}

impl Default for StageTimes {
    fn default() -> Self {
        let histogram = || {
            Histogram::new_with_bounds(1, LONGEST.as_micros() as u64, 2)
                .expect("the bounds and two digits are valid for a histogram")
        };
        StageTimes {
            histograms: Stage::ALL.iter().map(|_| histogram()).collect(),
        }
    }
}

impl StageTimes {
    /// Counts one passage through a stage.
    pub fn record(&mut self, stage: Stage, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX).max(1);
        self.histograms[stage as usize].saturating_record(micros);
    }

    /// The histogram of a stage, in microseconds.
    pub fn histogram(&self, stage: Stage) -> &Histogram<u64> {
        &self.histograms[stage as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stage_has_its_own_histogram() {
        let mut times = StageTimes::default();
        for (index, stage) in Stage::ALL.into_iter().enumerate() {
            assert_eq!(stage as usize, index);
            for _ in 0..=index {
                times.record(stage, Duration::from_micros(10));
            }
        }
        for (index, stage) in Stage::ALL.into_iter().enumerate() {
            assert_eq!(times.histogram(stage).len(), index as u64 + 1, "{}", stage.name());
        }
    }

    #[test]
    fn times_beyond_the_longest_are_kept_as_the_longest() {
        let mut times = StageTimes::default();
        times.record(Stage::Flush, Duration::MAX);
        times.record(Stage::Flush, Duration::ZERO);
        assert_eq!(times.histogram(Stage::Flush).len(), 2);
    }
}
