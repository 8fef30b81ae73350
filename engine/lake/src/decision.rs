//! What a file's place means after a crash.
//!
//! Reading facts and acting on them are separate from deciding, and the decision is pure, so every point at which a
//! crash can happen is a row in a test:
//!
//! ```text
//!  written ──▶ staged ──▶ checkpoint committed ──▶ half published ──▶ published ──▶ merged into others
//!  delete      delete     publish all              publish the rest   nothing to do  nothing to do, if the manifest
//!                                                                                    says that it was published
//! ```

use crate::layout;
use crate::staged::{StagedFile, StagedFiles};
use crate::store::LakeStore;
use crate::store::error::StoreError;

/// What is known about one writer's files after a crash.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RecoveryFacts {
    /// The files of the last committed checkpoint.
    pub committed: Vec<CommittedFile>,
    /// Whether the manifest says that these files have been published: one that is gone was merged or deleted since.
    pub is_recorded: bool,
    /// Names in the writer's own staging folder that the checkpoint does not mention.
    pub uncommitted: Vec<String>,
}

/// A file that belongs to the table, and where it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommittedFile {
    /// The file as the checkpoint describes it.
    pub file: StagedFile,
    /// Its size in the staging folder, if it is there.
    pub staged_bytes: Option<u64>,
    /// Its size in the table, if it is there.
    pub published_bytes: Option<u64>,
    /// If it is in both places: whether the bytes are the same.
    pub same_content: bool,
}

/// One step of a recovery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecoveryAction {
    /// Move a committed file into the table.
    Publish(StagedFile),
    /// Remove this name from the writer's staging folder.
    Delete(String),
}

/// A table that does not agree with the committed checkpoint. A person has to look: continuing would lose rows or
/// show them twice.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecoveryConflict {
    /// Neither staged nor published.
    #[error(
        "{path:?} is committed ({rows} rows), but it is neither staged nor in the table: was the lake moved or deleted? \
         put it back, or give a sink that writes elsewhere another name"
    )]
    Missing {
        /// Where it belongs.
        path: String,
        /// What is lost.
        rows: u64,
    },
    /// Not the size that was written.
    #[error("{path:?} has {found} bytes, but {expected} were committed")]
    Size {
        /// The file.
        path: String,
        /// Its size.
        found: u64,
        /// The committed size.
        expected: u64,
    },
    /// Staged and published, and not the same.
    #[error("{path:?} is in the table already, with other content than the staged file")]
    Different {
        /// The file.
        path: String,
    },
}

/// Decides what to do. Committed files come first, so a failure half-way never deletes what it could not publish.
pub fn decide(facts: &RecoveryFacts) -> Result<Vec<RecoveryAction>, RecoveryConflict> {
    let mut actions = Vec::new();
    for CommittedFile {
        file,
        staged_bytes,
        published_bytes,
        same_content,
    } in &facts.committed
    {
        for (found, path) in [(staged_bytes, &file.staged), (published_bytes, &file.path)] {
            if let Some(found) = found.filter(|found| *found != file.bytes) {
                return Err(RecoveryConflict::Size {
                    path: path.clone(),
                    found,
                    expected: file.bytes,
                });
            }
        }
        match (staged_bytes, published_bytes) {
            (Some(_), None) => actions.push(RecoveryAction::Publish(file.clone())),
            (None, Some(_)) => {}
            // A store without rename copies and then deletes: the crash came between.
            (Some(_), Some(_)) if *same_content => actions.push(RecoveryAction::Delete(file.staged.clone())),
            (Some(_), Some(_)) => {
                return Err(RecoveryConflict::Different {
                    path: file.path.clone(),
                });
            }
            (None, None) if facts.is_recorded => {}
            (None, None) => {
                return Err(RecoveryConflict::Missing {
                    path: file.path.clone(),
                    rows: file.rows,
                });
            }
        }
    }
    actions.extend(facts.uncommitted.iter().cloned().map(RecoveryAction::Delete));
    Ok(actions)
}

/// Looks up the files of a checkpoint.
pub(crate) fn committed_files(store: &LakeStore, staged: &StagedFiles) -> Result<Vec<CommittedFile>, StoreError> {
    let look_up = |file: &StagedFile| {
        let staged_path = layout::staged_path(staged.writer_id(), &file.staged);
        let path = layout::checked_path(&file.path);
        let (staged_bytes, published_bytes) = (store.size_of(&staged_path)?, store.size_of(&path)?);
        let same_content =
            staged_bytes.is_some() && staged_bytes == published_bytes && store.same_content(&staged_path, &path)?;
        Ok(CommittedFile {
            file: file.clone(),
            staged_bytes,
            published_bytes,
            same_content,
        })
    };
    staged.files().iter().map(look_up).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::writer_id::WriterId;

    fn file(sequence: u32) -> StagedFile {
        let writer_id = WriterId::new("w").unwrap();
        StagedFile {
            staged: layout::staged_name(1, 1, sequence),
            path: layout::published_name(&writer_id, 7, sequence, 1),
            rows: 10,
            bytes: 100,
        }
    }

    /// Every place where one committed file can be, and what follows.
    fn one_file(
        staged_bytes: Option<u64>,
        published_bytes: Option<u64>,
        same_content: bool,
    ) -> Result<Vec<RecoveryAction>, RecoveryConflict> {
        let committed = vec![CommittedFile {
            file: file(0),
            staged_bytes,
            published_bytes,
            same_content,
        }];
        let facts = RecoveryFacts {
            committed,
            ..RecoveryFacts::default()
        };
        let actions = decide(&facts);
        // What is there counts, whatever the manifest says; only what is nowhere needs its word.
        let recorded = RecoveryFacts {
            is_recorded: true,
            ..facts
        };
        match (staged_bytes, published_bytes) {
            (None, None) => assert_eq!(decide(&recorded), Ok(vec![])),
            _ => assert_eq!(decide(&recorded), actions),
        }
        actions
    }

    #[test]
    fn every_place_of_a_committed_file_has_one_answer() {
        let staged = file(0).staged;
        let path = file(0).path;
        let size = |path: &str, found| RecoveryConflict::Size {
            path: path.to_owned(),
            found,
            expected: 100,
        };
        for same_content in [false, true] {
            assert_eq!(
                one_file(Some(100), None, same_content),
                Ok(vec![RecoveryAction::Publish(file(0))])
            );
            assert_eq!(one_file(None, Some(100), same_content), Ok(vec![]));
            assert_eq!(
                one_file(None, None, same_content),
                Err(RecoveryConflict::Missing {
                    path: path.clone(),
                    rows: 10
                })
            );
            for (staged_bytes, published_bytes) in [(Some(99), None), (Some(99), Some(100)), (Some(0), Some(99))] {
                let found = staged_bytes.unwrap();
                assert_eq!(
                    one_file(staged_bytes, published_bytes, same_content),
                    Err(size(&staged, found))
                );
            }
            for (staged_bytes, published_bytes) in [(None, Some(101)), (Some(100), Some(101))] {
                assert_eq!(
                    one_file(staged_bytes, published_bytes, same_content),
                    Err(size(&path, 101))
                );
            }
        }
        assert_eq!(
            one_file(Some(100), Some(100), true),
            Ok(vec![RecoveryAction::Delete(staged)])
        );
        assert_eq!(
            one_file(Some(100), Some(100), false),
            Err(RecoveryConflict::Different { path })
        );
    }

    /// Pitfall 13 of the stream engine: publishing again what is published does nothing.
    /// Pitfall 20 of the stream engine: files that are there already are acknowledged, not written again.
    #[test]
    fn a_crash_between_any_two_renames_is_finished_and_nothing_is_published_twice() {
        let files: Vec<_> = (0..4).map(file).collect();
        for done in 0..=files.len() {
            let at = |index: usize| CommittedFile {
                file: files[index].clone(),
                staged_bytes: (index >= done).then_some(100),
                published_bytes: (index < done).then_some(100),
                same_content: false,
            };
            let actions = decide(&RecoveryFacts {
                committed: (0..4).map(at).collect(),
                ..RecoveryFacts::default()
            })
            .unwrap();
            let expected: Vec<_> = files[done..].iter().cloned().map(RecoveryAction::Publish).collect();
            assert_eq!(actions, expected, "crash after {done} renames");
        }
    }

    #[test]
    fn uncommitted_files_are_deleted_after_committed_ones_are_published() {
        let committed = vec![CommittedFile {
            file: file(0),
            staged_bytes: Some(100),
            published_bytes: None,
            same_content: false,
        }];
        let facts = RecoveryFacts {
            committed,
            is_recorded: false,
            uncommitted: vec!["x.staged#1".into()],
        };
        assert_eq!(
            decide(&facts),
            Ok(vec![
                RecoveryAction::Publish(file(0)),
                RecoveryAction::Delete("x.staged#1".into())
            ])
        );
    }

    #[test]
    fn a_conflict_deletes_nothing() {
        let committed = vec![CommittedFile {
            file: file(0),
            staged_bytes: None,
            published_bytes: None,
            same_content: false,
        }];
        assert!(
            decide(&RecoveryFacts {
                committed,
                is_recorded: false,
                uncommitted: vec!["x.staged".into()]
            })
            .is_err()
        );
    }
}
