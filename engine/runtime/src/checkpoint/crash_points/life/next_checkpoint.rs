//! The steps of a checkpoint, and what they write.

use std::collections::BTreeSet;

use engine_lake::StagedFiles;
use engine_stream::snapshot::SnapshotKind;
use engine_wire::compression::Compressor;

use super::super::super::chunk;
use super::super::super::commit_metadata::CommitMetadata;
use super::super::super::manifest::{MANIFEST_FORMAT, Manifest, PartitionState, SourceState, StagedTable};
use super::super::super::segments::Segment;
use super::super::super::state_key::{ChunkKey, StateKey};
use super::super::world::Guarantee::{AtLeastOnce, ExactlyOnce};
use super::super::world::{Row, StateRecord, WINDOW, part_of};
use super::{Life, SOURCE, Step, TOPIC, WRITER};

impl Life {
    pub(super) fn plan_checkpoint(&mut self, closed: &[Row]) {
        self.checkpoint = self.checkpoint.next();
        let staged = self.staged(closed);
        for file in staged.files() {
            let rows = closed
                .iter()
                .filter(|(window, _)| file.path().contains(&part_of(*window)));
            let step = Step::Stage(file.staged_name().to_owned(), rows.copied().collect());
            self.steps.push_back(step);
        }
        let (records, manifest) = self.state(&staged);
        self.steps
            .extend(records.into_iter().map(|(key, value)| Step::State(key, value)));
        let metadata = CommitMetadata {
            checkpoint: self.checkpoint,
            watermark_ns: None,
        };
        let (offset, metadata) = (self.next_offset, metadata.to_string());
        let key = StateKey::manifest(self.owner_epoch, self.checkpoint).to_string();
        self.steps.push_back(Step::State(key, Some(manifest.encode())));
        let obsolete = std::mem::take(&mut self.former_keys).into_iter();
        let tombstones = obsolete.map(|key| Step::State(key.to_string(), None));
        match self.guarantee {
            ExactlyOnce => {
                self.steps.extend(tombstones);
                self.steps.push_back(Step::CommitTransaction(offset, metadata));
            }
            // Only a manifest that counts makes what it no longer names obsolete.
            AtLeastOnce => {
                self.steps.push_back(Step::CommitOffsets(offset, metadata));
                self.steps.extend(tombstones);
            }
        }
        self.publishing = staged.files().to_vec();
        self.steps.push_back(Step::Whole);
    }

    /// One file for each folder that has rows.
    fn staged(&self, closed: &[Row]) -> StagedFiles {
        let folders: BTreeSet<String> = closed.iter().map(|(window, _)| part_of(*window)).collect();
        let files = folders.iter().enumerate().map(|(sequence, folder)| {
            let (run, checkpoint) = (self.number, self.checkpoint.0);
            serde_json::json!({
                "staged": format!("{:08x}{run:08x}-{:06}.staged", self.owner_epoch.0, checkpoint * 10 + sequence as u64),
                "path": format!("{folder}/{WRITER}-{checkpoint:010}-{sequence:05}-{run:08x}.parquet"),
                "rows": 1,
                "bytes": 1,
            })
        });
        let files: Vec<_> = files.collect();
        let document = serde_json::json!({ "writer": WRITER, "checkpoint": self.checkpoint.0, "files": files });
        let document = document.to_string();
        let text = format!(
            "engine-lake-staged 1 {:08x}\n{document}",
            crc32c::crc32c(document.as_bytes())
        );
        StagedFiles::decode(text.as_bytes()).expect("the lake reads its own format")
    }

    /// The records of the state, and the manifest that completes them.
    fn state(&mut self, staged: &StagedFiles) -> (Vec<StateRecord>, Manifest) {
        let kind = self.live.next(1);
        let changes = std::mem::take(&mut self.changes);
        let entries = match kind {
            SnapshotKind::Full => &self.open,
            SnapshotKind::Changes => &changes,
        };
        let mut bytes = Vec::new();
        for (window, count) in entries {
            bytes.extend_from_slice(&window.to_le_bytes());
            bytes.extend_from_slice(&count.to_le_bytes());
        }
        let key = ChunkKey {
            owner_epoch: self.owner_epoch,
            checkpoint: self.checkpoint,
            source: SOURCE.into(),
            topic: TOPIC.into(),
            partition: 0,
            chunk: 0,
        };
        let values = chunk::encode(self.checkpoint, &bytes, &mut Compressor::default());
        let written = entries.keys().next_back().map(|latest| Segment {
            checkpoint: self.checkpoint,
            chunks: values.len() as u32,
            bytes: values.iter().map(|value| value.len() as u64).sum(),
            entries: entries.len() as u64,
            closed_at_ns: (latest + 1) * WINDOW,
        });
        let records = key.pieces(values.len() as u32).zip(values);
        let records = records
            .map(|(key, value)| (key.to_string(), Some(value.to_vec())))
            .collect();
        let held = self.open.len() as u64;
        let obsolete = self.live.handle_written(kind, written, held, Some(self.next_offset));
        for segment in obsolete {
            let of_segment = ChunkKey {
                checkpoint: segment.checkpoint,
                ..key.clone()
            };
            self.former_keys.extend(of_segment.pieces(segment.chunks));
        }
        let partition = PartitionState {
            topic: TOPIC.into(),
            partition: 0,
            next_offset: self.next_offset,
            leader_epoch: None,
            watermark_ns: None,
            segments: self.live.checkpoints(),
            chunks: self.live.chunks(),
            bytes: self.live.bytes(),
        };
        let manifest = Manifest {
            format: MANIFEST_FORMAT,
            checkpoint: self.checkpoint,
            owner_epoch: self.owner_epoch,
            created_ms: 0,
            sources: vec![SourceState {
                source: SOURCE.into(),
                watermark_ns: None,
                taken_up_to_ns: Default::default(),
                partitions: vec![partition],
            }],
            lake: vec![StagedTable {
                sink: "lake".into(),
                staged: staged.encode(),
            }],
        };
        (records, manifest)
    }
}
