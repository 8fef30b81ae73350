//! The metadata string of our OffsetCommits: the checkpoint that an offset belongs to, and its watermark.
//!
//! It travels with the offset (Kafka keeps up to 4096 bytes of it), so that any tool that shows committed offsets
//! also shows which checkpoint they are of, and recovery can tell our commits from those of a reset by hand.

use std::fmt;

use super::CheckpointId;

/// `engine/1 checkpoint=<id> watermark_ns=<i64 or none>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommitMetadata {
    /// The checkpoint whose state fits this offset.
    pub checkpoint: CheckpointId,
    /// The partition's watermark in nanoseconds since 1970, `None` before its first event.
    pub watermark_ns: Option<i64>,
}

const MARK: &str = "engine/1";

impl fmt::Display for CommitMetadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{MARK} checkpoint={} watermark_ns=", self.checkpoint)?;
        match self.watermark_ns {
            Some(watermark) => write!(f, "{watermark}"),
            None => f.write_str("none"),
        }
    }
}

impl CommitMetadata {
    /// Reads the string back. `None` when some other tool wrote it, an offset reset by hand for instance.
    pub fn parse(text: &str) -> Option<CommitMetadata> {
        let mut words = text.split(' ');
        if words.next() != Some(MARK) {
            return None;
        }
        let checkpoint = words.next()?.strip_prefix("checkpoint=")?.parse().ok()?;
        let watermark_ns = match words.next()?.strip_prefix("watermark_ns=")? {
            "none" => None,
            number => Some(number.parse().ok()?),
        };
        words.next().is_none().then_some(CommitMetadata {
            checkpoint: CheckpointId(checkpoint),
            watermark_ns,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        for watermark_ns in [None, Some(0), Some(i64::MIN), Some(i64::MAX)] {
            let metadata = CommitMetadata {
                checkpoint: CheckpointId(u64::MAX),
                watermark_ns,
            };
            assert_eq!(CommitMetadata::parse(&metadata.to_string()), Some(metadata));
        }
    }

    #[test]
    fn foreign_metadata_is_not_ours() {
        for text in [
            "",
            "engine/1",
            "engine/2 checkpoint=1 watermark_ns=none",
            "engine/1 checkpoint=-1 watermark_ns=none",
            "engine/1 checkpoint=1 watermark_ns=soon",
            "engine/1 checkpoint=1 watermark_ns=none and more",
            "{\"checkpoint\":1}",
        ] {
            assert_eq!(CommitMetadata::parse(text), None, "{text}");
        }
    }
}
