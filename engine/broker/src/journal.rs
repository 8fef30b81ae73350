//! The broker's durable facts beside the logs: topics, committed offsets, log starts, producer id blocks.
//!
//! A journal is a small table (key → value bytes) written as an append-only file of changes. At start, and
//! whenever the file has grown to several times what is live, the live entries are written to a new file that
//! replaces the old one by rename. Without a data directory nothing is kept at all.
//!
//! Never here: what the facts mean (see `journal::fact`).

pub(crate) mod fact;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::{Buf, BufMut};
use tracing::warn;

use crate::disk_wait::wait_for_disk;
use crate::journal::fact::Fact;

const FILE_NAME: &str = "journal.log";
const NEW_FILE_NAME: &str = "journal.new";
/// The first bytes of a journal: a name and a format version.
const MAGIC: &[u8; 8] = b"ENGJRNL1";
/// Below this size a journal is not worth rewriting.
const REWRITE_BYTES_MIN: u64 = 4 << 20;
/// A journal is rewritten when it is this many times larger than what is live.
const REWRITE_RATIO: u64 = 4;

/// Where facts are recorded. Shared by all connections; writes are short and serialised.
#[derive(Debug)]
pub(crate) struct Journal {
    file: Option<Mutex<JournalFile>>,
    sync: bool,
}

#[derive(Debug)]
struct JournalFile {
    directory: PathBuf,
    file: File,
    size: u64,
    live: BTreeMap<Vec<u8>, Vec<u8>>,
    live_size: u64,
    /// After a rewrite that failed: not again before the file has this size.
    rewrite_at: u64,
    /// A failed write left bytes that could not be cut off; what came behind them would be lost with them.
    has_torn_tail: bool,
}

impl Journal {
    /// Keeps nothing: a broker in memory.
    pub(crate) fn none() -> Self {
        Self {
            file: None,
            sync: false,
        }
    }

    /// Opens the journal in `directory` and returns the facts in it. A torn tail is dropped.
    pub(crate) fn open(directory: &Path, sync: bool) -> io::Result<(Self, Vec<Fact>)> {
        let path = directory.join(FILE_NAME);
        let live = match fs::read(&path) {
            Ok(bytes) => replay(&path, &bytes)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(error),
        };
        let mut facts = Vec::with_capacity(live.len());
        for (key, value) in &live {
            let fact = Fact::decode(key, value).ok_or_else(|| {
                let damage = format!("{} holds an entry this version cannot read", path.display());
                io::Error::new(io::ErrorKind::InvalidData, damage)
            })?;
            facts.push(fact);
        }
        let file = JournalFile::create(directory.to_owned(), live)?;
        Ok((
            Self {
                file: Some(Mutex::new(file)),
                sync,
            },
            facts,
        ))
    }

    /// Records facts, all of them with one write.
    pub(crate) fn record(&self, facts: &[Fact]) -> io::Result<()> {
        self.change(|change| facts.iter().for_each(|fact| change.put(&fact.key(), &fact.value())))
    }

    /// Forgets facts. Their values do not matter.
    pub(crate) fn forget(&self, facts: &[Fact]) -> io::Result<()> {
        self.change(|change| facts.iter().for_each(|fact| change.remove(&fact.key())))
    }

    /// Records some facts and forgets others with one write: after a crash both are so, or neither.
    pub(crate) fn exchange(&self, known: &[Fact], forgotten: &[Fact]) -> io::Result<()> {
        self.change(|change| {
            known.iter().for_each(|fact| change.put(&fact.key(), &fact.value()));
            forgotten.iter().for_each(|fact| change.remove(&fact.key()));
        })
    }

    pub(crate) fn sync(&self) -> io::Result<()> {
        self.file.as_ref().map_or(Ok(()), |file| lock(file).file.sync_data())
    }

    fn change(&self, build: impl FnOnce(&mut Change)) -> io::Result<()> {
        let Some(file) = &self.file else {
            return Ok(());
        };
        let mut change = Change::default();
        build(&mut change);
        lock(file).apply(change, self.sync)
    }
}

/// Encoded changes on their way to the file.
#[derive(Debug, Default)]
struct Change {
    bytes: Vec<u8>,
    entries: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

impl Change {
    fn put(&mut self, key: &[u8], value: &[u8]) {
        put_entry(&mut self.bytes, key, Some(value));
        self.entries.push((key.to_vec(), Some(value.to_vec())));
    }

    fn remove(&mut self, key: &[u8]) {
        put_entry(&mut self.bytes, key, None);
        self.entries.push((key.to_vec(), None));
    }
}

impl JournalFile {
    /// A file that holds `live` and nothing else.
    fn create(directory: PathBuf, live: BTreeMap<Vec<u8>, Vec<u8>>) -> io::Result<Self> {
        let (file, size) = write_new(&directory, &live)?;
        Ok(Self {
            directory,
            file,
            size,
            live,
            live_size: size,
            rewrite_at: 0,
            has_torn_tail: false,
        })
    }

    /// Puts a file that holds only what is live in the place of this one.
    fn rewrite(&mut self) -> io::Result<()> {
        (self.file, self.size) = wait_for_disk(|| write_new(&self.directory, &self.live))?;
        self.live_size = self.size;
        self.rewrite_at = 0;
        self.has_torn_tail = false;
        Ok(())
    }

    fn apply(&mut self, change: Change, sync: bool) -> io::Result<()> {
        if self.has_torn_tail {
            self.rewrite()?;
        }
        let written = self.file.write_all(&change.bytes);
        if let Err(error) = written.and_then(|()| {
            if sync {
                wait_for_disk(|| self.file.sync_data())
            } else {
                Ok(())
            }
        }) {
            self.has_torn_tail = self.file.set_len(self.size).is_err();
            return Err(error);
        }
        self.size += change.bytes.len() as u64;
        for (key, value) in change.entries {
            let key_size = key.len() as u64;
            let (added, replaced) = match value {
                Some(value) => (key_size + value.len() as u64, self.live.insert(key, value)),
                None => (0, self.live.remove(&key)),
            };
            let gone = replaced.map_or(0, |value| key_size + value.len() as u64);
            self.live_size = (self.live_size + added).saturating_sub(gone);
        }
        // The change itself is safe: a rewrite that fails, for want of space perhaps, is tried again later.
        if self.size
            > REWRITE_BYTES_MIN
                .max(self.live_size * REWRITE_RATIO)
                .max(self.rewrite_at)
            && let Err(error) = self.rewrite()
        {
            warn!(directory = %self.directory.display(), %error, "The journal could not be made smaller.");
            self.rewrite_at = self.size * 2;
        }
        Ok(())
    }
}

/// Writes `live` to a new file and puts it in the place of the old one; on error the old one is as it was.
fn write_new(directory: &Path, live: &BTreeMap<Vec<u8>, Vec<u8>>) -> io::Result<(File, u64)> {
    let mut bytes = MAGIC.to_vec();
    live.iter()
        .for_each(|(key, value)| put_entry(&mut bytes, key, Some(value)));
    let new_path = directory.join(NEW_FILE_NAME);
    let mut file = File::create(&new_path)?;
    file.write_all(&bytes)?;
    file.sync_all()?;
    fs::rename(&new_path, directory.join(FILE_NAME))?;
    // The new file is the journal from here on, whether or not the folder's entry is on the disk yet: appending
    // to the old one would be lost.
    if let Err(error) = File::open(directory).and_then(|directory| directory.sync_all()) {
        warn!(directory = %directory.display(), %error, "The data directory was not synced.");
    }
    Ok((file, bytes.len() as u64))
}

/// Entry: length and CRC-32C of the rest, then 1 for put or 0 for remove, key length, key, value.
fn put_entry(bytes: &mut Vec<u8>, key: &[u8], value: Option<&[u8]>) {
    let start = bytes.len();
    bytes.put_bytes(0, 8);
    bytes.put_u8(u8::from(value.is_some()));
    bytes.put_u32(u32::try_from(key.len()).expect("keys are a few strings of at most 32 KiB"));
    bytes.put_slice(key);
    bytes.put_slice(value.unwrap_or_default());
    let length = u32::try_from(bytes.len() - start - 8).expect("values are bounded by the frame limit");
    let crc = crc32c::crc32c(&bytes[start + 8..]);
    bytes[start..start + 4].copy_from_slice(&length.to_be_bytes());
    bytes[start + 4..start + 8].copy_from_slice(&crc.to_be_bytes());
}

fn replay(path: &Path, bytes: &[u8]) -> io::Result<BTreeMap<Vec<u8>, Vec<u8>>> {
    let Some(mut rest) = bytes.strip_prefix(MAGIC) else {
        let damage = format!("{} is not a journal of this version", path.display());
        return Err(io::Error::new(io::ErrorKind::InvalidData, damage));
    };
    let mut live = BTreeMap::new();
    while !rest.is_empty() {
        let Some((key, value)) = take_entry(&mut rest) else {
            warn!(path = %path.display(), cut = rest.len(), "A torn tail was cut off the journal.");
            break;
        };
        match value {
            Some(value) => live.insert(key.to_vec(), value.to_vec()),
            None => live.remove(key),
        };
    }
    Ok(live)
}

/// The next whole entry, or `None` (with `rest` unmoved) if it is cut short or its CRC is wrong.
fn take_entry<'a>(rest: &mut &'a [u8]) -> Option<(&'a [u8], Option<&'a [u8]>)> {
    let mut head = rest.get(..8)?;
    let (length, crc) = (head.get_u32() as usize, head.get_u32());
    let entry = rest.get(8..8 + length)?;
    if crc32c::crc32c(entry) != crc {
        return None;
    }
    let is_put = *entry.first()? == 1;
    let mut key_length = entry.get(1..5)?;
    let (key, value) = entry.get(5..)?.split_at_checked(key_length.get_u32() as usize)?;
    *rest = &rest[8 + length..];
    Some((key, is_put.then_some(value)))
}

fn lock(file: &Mutex<JournalFile>) -> MutexGuard<'_, JournalFile> {
    file.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log_start(partition: i32, offset: i64) -> Fact {
        Fact::LogStart {
            topic_id: uuid::Uuid::nil(),
            partition,
            offset,
        }
    }

    #[test]
    fn facts_survive_a_restart_and_the_last_one_wins() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let (journal, facts) = Journal::open(directory.path(), false).expect("a new journal");
        assert_eq!(facts, []);
        journal.record(&[log_start(0, 5), log_start(1, 6)]).expect("recorded");
        journal.record(&[log_start(0, 7), log_start(2, 8)]).expect("recorded");
        journal.forget(&[log_start(1, 0)]).expect("forgotten");
        drop(journal);
        let (_, facts) = Journal::open(directory.path(), false).expect("an old journal");
        assert_eq!(facts, [log_start(0, 7), log_start(2, 8)]);
    }

    #[test]
    fn a_torn_tail_loses_only_itself() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let (journal, _) = Journal::open(directory.path(), false).expect("a new journal");
        journal.record(&[log_start(0, 5)]).expect("recorded");
        journal.record(&[log_start(1, 6)]).expect("recorded");
        drop(journal);
        let path = directory.path().join(FILE_NAME);
        let bytes = fs::read(&path).expect("the journal");
        fs::write(&path, &bytes[..bytes.len() - 3]).expect("a shorter journal");
        let (_, facts) = Journal::open(directory.path(), false).expect("a torn journal");
        assert_eq!(facts, [log_start(0, 5)]);
    }

    #[test]
    fn a_rewrite_that_fails_loses_nothing_and_is_made_up_for() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let (journal, _) = Journal::open(directory.path(), false).expect("a new journal");
        journal.record(&[log_start(7, 7)]).expect("recorded");
        // A folder in the place of the new file: it cannot be created.
        let in_the_way = directory.path().join(NEW_FILE_NAME);
        fs::create_dir(&in_the_way).expect("a folder");
        let facts: Vec<_> = (0..1_000).map(|offset| log_start(0, offset)).collect();
        let size = || {
            fs::metadata(directory.path().join(FILE_NAME))
                .expect("the journal")
                .len()
        };
        while size() < REWRITE_BYTES_MIN + REWRITE_BYTES_MIN / 2 {
            journal.record(&facts).expect("recorded although the rewrite fails");
        }
        fs::remove_dir(&in_the_way).expect("gone");
        while size() > REWRITE_BYTES_MIN {
            assert!(size() < 4 * REWRITE_BYTES_MIN, "never rewritten again");
            journal.record(&facts).expect("recorded");
        }
        drop(journal);
        let (_, facts) = Journal::open(directory.path(), false).expect("an old journal");
        assert_eq!(facts, [log_start(0, 999), log_start(7, 7)]);
    }

    #[test]
    fn overwriting_one_fact_for_long_does_not_grow_the_file() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let (journal, _) = Journal::open(directory.path(), false).expect("a new journal");
        let facts: Vec<_> = (0..1_000).map(|offset| log_start(0, offset)).collect();
        for _ in 0..200 {
            journal.record(&facts).expect("recorded");
        }
        let size = fs::metadata(directory.path().join(FILE_NAME))
            .expect("the journal")
            .len();
        assert!(size < 2 * REWRITE_BYTES_MIN, "{size} bytes for one fact");
    }
}
