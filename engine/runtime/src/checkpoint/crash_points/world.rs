//! What the brokers and the table hold, and what readers must never see in it.

use std::collections::{BTreeMap, BTreeSet};

use engine_lake::{CommittedFile, RecoveryAction, RecoveryFacts, StagedFile, StagedFiles};

use super::super::OwnerEpoch;

/// Records of the source; `WINDOW` of them make a window, `STRIDE` are processed between two checkpoints.
pub(super) const RECORDS: i64 = 16;
pub(super) const WINDOW: i64 = 4;
pub(super) const STRIDE: i64 = 3;
pub(super) const WINDOWS: i64 = RECORDS / WINDOW;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Guarantee {
    ExactlyOnce,
    AtLeastOnce,
}

/// A window's number and its count.
pub(super) type Row = (i64, i64);
/// Key and value, `None` for a tombstone.
pub(super) type StateRecord = (String, Option<Vec<u8>>);

/// What the brokers and the table hold. Readers see `results` and `published`.
#[derive(Debug, Clone, Default)]
pub(super) struct World {
    pub(super) state_topic: Vec<StateRecord>,
    pub(super) results: Vec<Row>,
    pub(super) committed: Option<(i64, String)>,
    pub(super) staged: BTreeMap<String, Vec<Row>>,
    pub(super) published: BTreeMap<String, Vec<Row>>,
    /// Who has the transactional id.
    pub(super) producer_epoch: u32,
    /// Who owns the partitions.
    pub(super) member: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum End {
    /// All records are in.
    Done,
    /// Another life owns the partitions.
    Fenced,
    /// The table does not agree with the checkpoint.
    Conflict,
}

/// The folder of a window: two of them, so that a checkpoint may publish two files.
pub(super) fn part_of(window: i64) -> String {
    format!("part={}", window % 2)
}

impl World {
    /// The state topic's log is cleaned: of each key the last record stays, and no tombstone.
    pub(super) fn compact(&mut self) {
        let mut last = BTreeMap::new();
        for (offset, (key, _)) in self.state_topic.iter().enumerate() {
            last.insert(key.clone(), offset);
        }
        let mut offset = 0..;
        self.state_topic
            .retain(|(key, value)| offset.next() == last.get(key).copied() && value.is_some());
    }

    /// What the lake's recovery finds.
    pub(super) fn lake_facts(&self, kept: Option<&StagedFiles>, owner_epoch: OwnerEpoch) -> RecoveryFacts {
        let files = kept.map(StagedFiles::files).unwrap_or_default();
        let committed = files.iter().map(|file| CommittedFile {
            file: file.clone(),
            staged_bytes: self.staged.contains_key(file.staged_name()).then_some(1),
            published_bytes: self.published.contains_key(file.path()).then_some(1),
            same_content: true,
        });
        let is_kept = |name: &&String| files.iter().any(|file| file.staged_name() == *name);
        // As `recover_below` does: what a life with a higher epoch has staged is left alone.
        let is_lower = |name: &&String| u64::from_str_radix(&name[..8], 16).unwrap() < owner_epoch.0;
        RecoveryFacts {
            committed: committed.collect(),
            is_recorded: false,
            uncommitted: self
                .staged
                .keys()
                .filter(|name| !is_kept(name) && is_lower(name))
                .cloned()
                .collect(),
        }
    }

    pub(super) fn act(&mut self, action: &RecoveryAction) -> Option<End> {
        match action {
            RecoveryAction::Publish(file) => return self.publish(file),
            RecoveryAction::Delete(name) => {
                self.staged.remove(name);
            }
        }
        None
    }

    pub(super) fn publish(&mut self, file: &StagedFile) -> Option<End> {
        match self.staged.remove(file.staged_name()) {
            Some(rows) => {
                self.published.insert(file.path().to_owned(), rows);
                None
            }
            None if self.published.contains_key(file.path()) => None,
            None => Some(End::Conflict),
        }
    }

    pub(super) fn rows_of_lake(&self) -> Vec<Row> {
        let mut rows: Vec<Row> = self.published.values().flatten().copied().collect();
        rows.sort_unstable();
        rows
    }

    /// At any instant: what readers see is exact, and in the lake (exactly once: everywhere) nothing is there twice.
    #[track_caller]
    pub(super) fn check(&self, guarantee: Guarantee) {
        let lake = self.rows_of_lake();
        assert!(
            lake.windows(2).all(|pair| pair[0].0 < pair[1].0),
            "twice in the lake: {lake:?}"
        );
        assert!(
            lake.iter().chain(&self.results).all(|(_, count)| *count == WINDOW),
            "{self:?}"
        );
        if guarantee == Guarantee::ExactlyOnce {
            let windows: BTreeSet<i64> = self.results.iter().map(|(window, _)| *window).collect();
            assert_eq!(
                windows.len(),
                self.results.len(),
                "twice in the results: {:?}",
                self.results
            );
        }
    }

    /// In the end everything is there.
    #[track_caller]
    pub(super) fn check_whole(&self, case: &str) {
        let expected: Vec<Row> = (0..WINDOWS).map(|window| (window, WINDOW)).collect();
        assert_eq!(self.rows_of_lake(), expected, "{case}: lake");
        let results: BTreeSet<Row> = self.results.iter().copied().collect();
        assert_eq!(results.into_iter().collect::<Vec<_>>(), expected, "{case}: results");
        assert!(
            self.staged.is_empty(),
            "{case}: staged files are left: {:?}",
            self.staged
        );
        assert_eq!(
            self.committed.as_ref().map(|(offset, _)| *offset),
            Some(RECORDS),
            "{case}"
        );
    }
}
