//! What a checkpoint has to remember about the files it covers.
//!
//! The description travels through the caller's state and comes back after a crash, perhaps changed, so reading it
//! trusts nothing: version, checksum, and every name must be one that this crate makes.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use crate::layout;
use crate::writer_id::{WriterId, WriterIdError};

const MAGIC: &str = "engine-lake-staged";
const VERSION: u32 = 1;

/// The files that one checkpoint of one writer has staged: closed, durable, and seen by no reader yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StagedFiles {
    writer_id: WriterId,
    checkpoint_id: u64,
    files: Vec<StagedFile>,
}

/// One staged file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StagedFile {
    pub(crate) staged: String,
    pub(crate) path: String,
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
}

impl StagedFile {
    /// The name of the file in its writer's staging folder.
    pub fn staged_name(&self) -> &str {
        &self.staged
    }

    /// Where the file will be published, relative to the table.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Its rows.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Its size in bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    writer: String,
    checkpoint: u64,
    files: Vec<StagedFile>,
}

impl StagedFiles {
    /// Checks what it is given: this is also how a description is read.
    pub(crate) fn new(
        writer_id: WriterId,
        checkpoint_id: u64,
        files: Vec<StagedFile>,
    ) -> Result<StagedFiles, StagedFilesError> {
        let mut names = HashSet::with_capacity(files.len() * 2);
        for file in &files {
            if !layout::is_staged_name(&file.staged) {
                return Err(StagedFilesError::StagedName(file.staged.clone()));
            }
            if !layout::is_published_path(&file.path, &writer_id, checkpoint_id) {
                return Err(StagedFilesError::Path {
                    path: file.path.clone(),
                    writer_id,
                    checkpoint_id,
                });
            }
            if !names.insert(file.staged.as_str()) || !names.insert(file.path.as_str()) {
                return Err(StagedFilesError::Twice(file.path.clone()));
            }
        }
        Ok(StagedFiles {
            writer_id,
            checkpoint_id,
            files,
        })
    }

    /// Who staged the files.
    pub fn writer_id(&self) -> &WriterId {
        &self.writer_id
    }

    /// The checkpoint they belong to.
    pub fn checkpoint_id(&self) -> u64 {
        self.checkpoint_id
    }

    /// The files; none if nothing was written since the checkpoint before.
    pub fn files(&self) -> &[StagedFile] {
        &self.files
    }

    /// The rows of all files.
    pub fn rows(&self) -> u64 {
        self.files.iter().fold(0, |sum, file| sum.saturating_add(file.rows))
    }

    /// The size of all files in bytes.
    pub fn bytes(&self) -> u64 {
        self.files.iter().fold(0, |sum, file| sum.saturating_add(file.bytes))
    }

    /// One line with version and checksum, one line of JSON. About 200 bytes a file.
    pub fn encode(&self) -> String {
        let document = Document {
            writer: self.writer_id.as_str().to_owned(),
            checkpoint: self.checkpoint_id,
            files: self.files.clone(),
        };
        let json = serde_json::to_string(&document).expect("strings and numbers always serialize");
        format!("{MAGIC} {VERSION} {:08x}\n{json}", crc32c::crc32c(json.as_bytes()))
    }

    /// Reads what [`StagedFiles::encode`] wrote.
    pub fn decode(bytes: &[u8]) -> Result<StagedFiles, StagedFilesError> {
        let text = std::str::from_utf8(bytes).map_err(|_| StagedFilesError::Header)?;
        let (header, json) = text.split_once('\n').ok_or(StagedFilesError::Header)?;
        let mut words = header.split(' ');
        if words.next() != Some(MAGIC) {
            return Err(StagedFilesError::Header);
        }
        let version: u32 = words
            .next()
            .and_then(|word| word.parse().ok())
            .ok_or(StagedFilesError::Header)?;
        if version != VERSION {
            return Err(StagedFilesError::Version(version));
        }
        let expected = words
            .next()
            .filter(|word| word.len() == 8)
            .and_then(|word| u32::from_str_radix(word, 16).ok())
            .ok_or(StagedFilesError::Header)?;
        let actual = crc32c::crc32c(json.as_bytes());
        if words.next().is_some() {
            return Err(StagedFilesError::Header);
        }
        if actual != expected {
            return Err(StagedFilesError::Checksum { expected, actual });
        }
        let document: Document = serde_json::from_str(json).map_err(StagedFilesError::Json)?;
        StagedFiles::new(WriterId::new(document.writer)?, document.checkpoint, document.files)
    }
}

/// A description of staged files that cannot be trusted.
#[derive(Debug, thiserror::Error)]
pub enum StagedFilesError {
    /// Something else altogether.
    #[error("not a description of staged lake files")]
    Header,
    /// Written by another version of the engine.
    #[error("staged lake files are described in version {0}, this engine reads version {VERSION}")]
    Version(u32),
    /// Damaged.
    #[error("the description of staged lake files is damaged: checksum {actual:08x}, expected {expected:08x}")]
    Checksum {
        /// What the header says.
        expected: u32,
        /// What the content has.
        actual: u32,
    },
    /// Not the JSON that it should be.
    #[error("the description of staged lake files cannot be read")]
    Json(#[source] serde_json::Error),
    /// The writer id is not one.
    #[error("the description of staged lake files names no valid writer")]
    WriterId(#[from] WriterIdError),
    /// A staged file that no writer would have called so.
    #[error("{0:?} is not the name of a staged lake file")]
    StagedName(String),
    /// A target that no writer would have chosen.
    #[error("{path:?} is not a lake file of writer {writer_id} and checkpoint {checkpoint_id}")]
    Path {
        /// The target.
        path: String,
        /// The writer that should have chosen it.
        writer_id: WriterId,
        /// The checkpoint that it should belong to.
        checkpoint_id: u64,
    },
    /// One file twice.
    #[error("staged lake file {0:?} is named twice")]
    Twice(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn staged_files() -> StagedFiles {
        let writer_id = WriterId::new("w").unwrap();
        let files = (0..3)
            .map(|sequence| StagedFile {
                staged: layout::staged_name(1, 1, sequence),
                path: format!("dt=2026-01-02/{}", layout::published_name(&writer_id, 7, sequence, 1)),
                rows: 10,
                bytes: 1000,
            })
            .collect();
        StagedFiles::new(writer_id, 7, files).unwrap()
    }

    fn sealed(json: &str) -> String {
        format!("{MAGIC} {VERSION} {:08x}\n{json}", crc32c::crc32c(json.as_bytes()))
    }

    #[test]
    fn a_description_survives_its_journey_through_the_state() {
        let staged = staged_files();
        assert_eq!(StagedFiles::decode(staged.encode().as_bytes()).unwrap(), staged);
        assert_eq!((staged.rows(), staged.bytes()), (30, 3000));
        let empty = StagedFiles::new(WriterId::new("w").unwrap(), u64::MAX, vec![]).unwrap();
        assert_eq!(StagedFiles::decode(empty.encode().as_bytes()).unwrap(), empty);
    }

    /// Pitfall 22 of the stream engine: of what is said about staged files.
    #[test]
    fn every_flipped_or_missing_byte_is_noticed() {
        let bytes = staged_files().encode().into_bytes();
        for position in 0..bytes.len() {
            assert!(StagedFiles::decode(&bytes[..position]).is_err(), "cut at {position}");
            let mut damaged = bytes.clone();
            damaged[position] ^= 0x01;
            // A flipped header digit may still be hexadecimal: then the checksum no longer fits.
            assert!(StagedFiles::decode(&damaged).is_err(), "flipped at {position}");
        }
    }

    #[test]
    fn a_path_out_of_the_table_is_refused_even_with_a_right_checksum() {
        let name = "w-0000000007-00000-00000001.parquet";
        for path in [
            "../w.parquet",
            "/etc/passwd",
            "dt=1/../../x",
            "_staging/x",
            "x.parquet",
            "",
            "dt=1/",
        ] {
            let json = format!(
                r#"{{"writer":"w","checkpoint":7,"files":[{{"staged":"0000000100000001-000000.staged","path":{path:?},"rows":1,"bytes":1}}]}}"#
            );
            assert!(matches!(
                StagedFiles::decode(sealed(&json).as_bytes()),
                Err(StagedFilesError::Path { .. })
            ));
        }
        for staged in ["../0000000100000001-000000.staged", "/tmp/x", "", "x"] {
            let json = format!(
                r#"{{"writer":"w","checkpoint":7,"files":[{{"staged":{staged:?},"path":{name:?},"rows":1,"bytes":1}}]}}"#
            );
            assert!(matches!(
                StagedFiles::decode(sealed(&json).as_bytes()),
                Err(StagedFilesError::StagedName(_))
            ));
        }
        let json = r#"{"writer":"../w","checkpoint":7,"files":[]}"#;
        assert!(matches!(
            StagedFiles::decode(sealed(json).as_bytes()),
            Err(StagedFilesError::WriterId(_))
        ));
    }

    /// An error, or a list whose names are all those of this writer: never a panic, which would abort the process.
    #[test]
    fn every_byte_may_be_any_other_with_a_right_checksum() {
        let text = staged_files().encode();
        let (_, json) = text.split_once('\n').unwrap();
        let (mut read, mut refused) = (0, 0);
        for position in 0..json.len() {
            for forged in [0, 0x7f, b'"', b'/', b'.', b'9', b'-', json.as_bytes()[position] ^ 1] {
                let mut json = json.as_bytes().to_vec();
                json[position] = forged;
                let Ok(json) = String::from_utf8(json) else { continue };
                let Ok(staged) = StagedFiles::decode(sealed(&json).as_bytes()) else {
                    refused += 1;
                    continue;
                };
                read += 1;
                assert_eq!(StagedFiles::decode(staged.encode().as_bytes()).unwrap(), staged);
                for file in staged.files() {
                    assert!(layout::is_published_path(
                        file.path(),
                        staged.writer_id(),
                        staged.checkpoint_id()
                    ));
                }
                staged.rows();
                staged.bytes();
            }
        }
        assert!(read > 100 && refused > 100, "{read} read, {refused} refused");
    }

    #[test]
    fn another_version_says_so() {
        let text = staged_files().encode().replacen(" 1 ", " 2 ", 1);
        let error = StagedFiles::decode(text.as_bytes()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "staged lake files are described in version 2, this engine reads version 1"
        );
    }

    /// Pitfall 18 of the stream engine: not even by a state that was tampered with.
    #[test]
    fn one_file_cannot_be_named_twice() {
        let staged = staged_files();
        let mut files = staged.files.clone();
        files.push(files[0].clone());
        assert!(matches!(
            StagedFiles::new(staged.writer_id, 7, files),
            Err(StagedFilesError::Twice(_))
        ));
    }
}
