//! Ascending checkpoints as runs, `[[3,3],[7,40]]`: most tasks write a segment at every checkpoint, and the manifest is one
//! record however many there are.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize as _, Serializer};

use crate::checkpoint::CheckpointId;
use crate::checkpoint::segments::SEGMENTS_MAX;

pub(crate) fn serialize<S: Serializer>(segments: &[CheckpointId], serializer: S) -> Result<S::Ok, S::Error> {
    let runs = segments.chunk_by(|one, next| one.next() == *next);
    let runs: Vec<_> = runs.map(|run| (run[0], run[run.len() - 1])).collect();
    runs.serialize(serializer)
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<CheckpointId>, D::Error> {
    let runs = Vec::<(u64, u64)>::deserialize(deserializer)?;
    let mut segments: Vec<CheckpointId> = Vec::new();
    for (first, last) in runs {
        let ascends = first <= last && segments.last().is_none_or(|before| before.0 < first);
        if !ascends {
            return Err(D::Error::custom(format!(
                "the segments {first} to {last} are not in order"
            )));
        }
        if last - first >= (SEGMENTS_MAX - segments.len()) as u64 {
            return Err(D::Error::custom(format!("more than {SEGMENTS_MAX} segments")));
        }
        segments.extend((first..=last).map(CheckpointId));
    }
    Ok(segments)
}
