//! Which segments of a task's state are live, when the next one is a full one, and which are obsolete.
//!
//! ```text
//! full(3) changes(4) changes(5) … changes(40)   ─ too much of it is repeated ─▶  full(41)
//!    └── its windows are all closed: dropped without writing anything
//! ```
//! A segment is worth its bytes as long as one of its windows is open. Where windows close soon, as with tumbling ones, all
//! segments go that way and nothing is ever written again; where the same keys change over and over, their states
//! pile up, and a full segment takes the place of all. It is written when the live segments hold twice the entries that
//! the state has, so over a long time no more than about twice of what changed is written, and a restore reads about
//! twice of what there is.
//! Pure, so that every case is a row of a test. Never here: bytes, topics.

use engine_stream::snapshot::SnapshotKind;

use super::CheckpointId;

/// The most live segments of one task. A restore reads each of them, and the manifest names them; the next one is a full one.
pub const SEGMENTS_MAX: usize = 512;

/// The most live segments that the tasks of a pipeline may have together, for the manifest's sake: it is one record.
pub const SEGMENTS_TOTAL_MAX: usize = 16 * 1024;

/// Below this many bytes nobody minds what is repeated.
pub const REPEATED_BYTES_MIN: u64 = 64 * 1024;

/// One segment in the state topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The checkpoint that wrote it.
    pub checkpoint: CheckpointId,
    /// How many records it is.
    pub chunks: u32,
    /// Their bytes.
    pub bytes: u64,
    /// Groups, keys or sessions in it.
    pub entries: u64,
    /// The watermark, in nanoseconds, that closes the last of them.
    pub closed_at_ns: i64,
}

/// The live segments of one task, in the order they were written. Empty at the beginning of a session: its first segment
/// of each task is a full one, so that no session depends on what a former owner wrote.
#[derive(Debug, Default)]
pub struct LiveSegments {
    segments: Vec<Segment>,
    /// Whether a full segment was written, or was due and empty.
    is_whole: bool,
    /// What the task held at the last checkpoint, in entries.
    held: u64,
}

impl LiveSegments {
    /// What the next checkpoint must write of this task, one of `tasks`.
    pub fn next(&self, tasks: usize) -> SnapshotKind {
        let segments_max = SEGMENTS_MAX.min(SEGMENTS_TOTAL_MAX / tasks.max(1)).max(2);
        let kept: u64 = self.segments.iter().map(|segment| segment.entries).sum();
        let is_repeated = kept > self.held.saturating_mul(2) && self.bytes() > REPEATED_BYTES_MIN;
        if !self.is_whole || self.segments.len() >= segments_max || is_repeated {
            SnapshotKind::Full
        } else {
            SnapshotKind::Changes
        }
    }

    /// Takes what a checkpoint wrote, `None` if there was nothing to write, and how many entries the task holds by now.
    /// Returns the segments that are obsolete once the checkpoint is whole.
    ///
    /// `watermark_ns` is the checkpoint's watermark of the source.
    pub fn handle_written(
        &mut self,
        kind: SnapshotKind,
        written: Option<Segment>,
        held: u64,
        watermark_ns: Option<i64>,
    ) -> Vec<Segment> {
        self.held = held;
        let mut obsolete = Vec::new();
        if kind == SnapshotKind::Full {
            self.is_whole = true;
            obsolete.append(&mut self.segments);
        }
        assert!(self.is_whole, "changes are worth nothing without what they change");
        let is_closed = |segment: &mut Segment| watermark_ns.is_some_and(|at| segment.closed_at_ns <= at);
        obsolete.extend(self.segments.extract_if(.., is_closed));
        if let Some(segment) = &written {
            let newest = self.segments.last().map(|last| last.checkpoint);
            assert!(
                newest < Some(segment.checkpoint),
                "a checkpoint writes one segment of a task"
            );
        }
        self.segments.extend(written);
        obsolete
    }

    /// The checkpoints whose segments are live, in the order in which they are restored.
    pub fn checkpoints(&self) -> Vec<CheckpointId> {
        self.segments.iter().map(|segment| segment.checkpoint).collect()
    }

    /// How many live segments there are.
    pub fn len(&self) -> usize {
        self.segments.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// The records of all live segments.
    pub fn chunks(&self) -> u32 {
        self.segments.iter().map(|segment| segment.chunks).sum()
    }

    /// The bytes of all live segments.
    pub fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use SnapshotKind::{Changes, Full};

    fn segment(checkpoint: u64, entries: u64, closed_at_ns: i64) -> Segment {
        Segment {
            checkpoint: CheckpointId(checkpoint),
            chunks: 1,
            bytes: entries * 20,
            entries,
            closed_at_ns,
        }
    }

    fn ids(segments: &[Segment]) -> Vec<u64> {
        segments.iter().map(|segment| segment.checkpoint.0).collect()
    }

    #[test]
    fn a_session_begins_with_a_full_segment_also_if_it_is_empty() {
        let mut live = LiveSegments::default();
        assert_eq!(live.next(1), Full);
        assert_eq!(live.handle_written(Full, None, 0, None), []);
        assert_eq!(live.next(1), Changes);
        live.handle_written(Changes, Some(segment(2, 5, 10)), 5, None);
        assert_eq!((live.checkpoints(), live.chunks()), (vec![CheckpointId(2)], 1));
    }

    #[test]
    fn the_next_segment_is_a_full_one_for_four_reasons() {
        let live = |segments: Vec<Segment>, held| LiveSegments {
            segments,
            is_whole: true,
            held,
        };
        let many = |count: u64| (1..=count).map(|id| segment(id, 1, 10)).collect::<Vec<_>>();
        for (why, segments, held, tasks, kind) in [
            (
                "little of it is repeated",
                vec![segment(1, 10_000, 10), segment(2, 9_999, 10)],
                10_000,
                1,
                Changes,
            ),
            (
                "more is repeated than there is",
                vec![segment(1, 10_000, 10), segment(2, 10_001, 10)],
                10_000,
                1,
                Full,
            ),
            ("most of it is closed", vec![segment(1, 10_000, 10)], 4_999, 1, Full),
            (
                "all of it is repeated, and it is small",
                vec![segment(1, 10, 10), segment(2, 3_000, 10)],
                10,
                1,
                Changes,
            ),
            (
                "nothing is left, and it is small",
                vec![segment(1, 1_000, 10)],
                0,
                1,
                Changes,
            ),
            ("few segments", many(SEGMENTS_MAX as u64 - 1), 1_000, 1, Changes),
            ("many segments", many(SEGMENTS_MAX as u64), 1_000, 1, Full),
            ("few segments, but many tasks", many(16), 1_000, 1_024, Full),
            ("few segments of many tasks", many(15), 1_000, 1_024, Changes),
            ("more tasks than segments", many(1), 1_000, 1_000_000, Changes),
            ("more tasks than segments", many(2), 1_000, 1_000_000, Full),
        ] {
            assert_eq!(live(segments, held).next(tasks), kind, "{why}");
        }
        assert_eq!(LiveSegments::default().next(1), Full, "nothing is kept yet");
    }

    #[test]
    fn a_full_segment_makes_all_before_it_obsolete_and_a_watermark_those_that_are_closed() {
        let mut live = LiveSegments::default();
        for (kind, written, watermark, obsolete, kept) in [
            (Full, Some(segment(1, 5, 100)), None, vec![], vec![1]),
            (Changes, Some(segment(2, 5, 20)), Some(19), vec![], vec![1, 2]),
            (Changes, Some(segment(3, 5, 30)), Some(20), vec![2], vec![1, 3]),
            // Nothing has changed, and something was closed.
            (Changes, None, Some(30), vec![3], vec![1]),
            (Changes, None, Some(30), vec![], vec![1]),
            (Changes, Some(segment(6, 5, 200)), Some(30), vec![], vec![1, 6]),
            (Full, Some(segment(7, 8, 200)), Some(40), vec![1, 6], vec![7]),
            // Also without a full one before it, what is left is all there is.
            (Changes, Some(segment(8, 8, 300)), Some(200), vec![7], vec![8]),
            (Full, None, Some(200), vec![8], vec![]),
        ] {
            assert_eq!(ids(&live.handle_written(kind, written, 10, watermark)), obsolete);
            assert_eq!(ids(&live.segments), kept);
        }
    }

    #[test]
    fn over_a_long_time_about_twice_of_what_changed_is_written() {
        const KEYS: u64 = 1_000_000;
        for changed in [10_000, 100_000, KEYS] {
            let (mut live, mut written) = (LiveSegments::default(), 0);
            let (mut segments, mut kept_max) = (0, 0);
            for checkpoint in 1..=1_000 {
                let kind = live.next(1);
                let entries = if kind == Full { KEYS } else { changed };
                live.handle_written(kind, Some(segment(checkpoint, entries, i64::MAX)), KEYS, None);
                written += entries;
                segments = segments.max(live.segments.len());
                kept_max = kept_max.max(live.segments.iter().map(|segment| segment.entries).sum());
            }
            let changed_in_all = changed * 1_000 + KEYS;
            assert!(written <= 2 * changed_in_all + KEYS, "{changed}: {written}");
            assert!(kept_max <= 2 * KEYS + changed, "{changed}: {kept_max}");
            assert!(segments <= SEGMENTS_MAX, "{changed}: {segments}");
        }
    }
}
