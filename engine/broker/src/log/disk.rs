//! Segment files: a partition's batches one after another, as they go over the wire.
//!
//! A segment is named by its base offset and only ever appended to. There is no index file: recovery walks the
//! batches, checks every CRC and rebuilds the index in memory. A tail that was half written when the process
//! died is cut off the last segment; damage anywhere else is an error, because cutting there would lose
//! acknowledged records.
//!
//! All I/O here is blocking: reads hit the page cache, writes go to it, as in Apache Kafka's request threads.
//! With [`FsyncPolicy::EveryAppend`](crate::FsyncPolicy) an append waits for the disk, otherwise the one that
//! begins a segment does, for the segment before it.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice, Read, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tracing::warn;

use crate::batch::{self, InTransaction};
use crate::disk_wait::wait_for_disk;
use crate::log::producer_state::ProducerStates;
use crate::log::transactions::LogTransactions;
use crate::log::{Entry, Payload};

/// The segment files of one partition.
#[derive(Debug)]
pub(crate) struct DiskLog {
    directory: PathBuf,
    segment_bytes: u64,
    /// Never empty; the last one is written to.
    segments: VecDeque<Segment>,
    /// A failed write left bytes that could not be cut off. Nothing is appended behind them; the next start cuts
    /// them as a torn tail.
    has_torn_tail: bool,
}

#[derive(Debug)]
struct Segment {
    base_offset: i64,
    path: PathBuf,
    file: Arc<File>,
    size: u64,
}

/// What recovery found in a partition's directory.
#[derive(Debug)]
pub(crate) struct Recovered {
    pub(crate) disk: DiskLog,
    pub(crate) entries: VecDeque<Entry>,
    pub(crate) producers: ProducerStates,
    pub(crate) transactions: LogTransactions,
}

impl DiskLog {
    /// Opens a partition's directory, making it if there is none, and reads every batch in it.
    pub(crate) fn recover(directory: PathBuf, segment_bytes: u64) -> io::Result<Recovered> {
        fs::create_dir_all(&directory)?;
        let mut base_offsets = segment_base_offsets(&directory)?;
        if base_offsets.is_empty() {
            base_offsets.push(0);
        }
        let last = base_offsets.len() - 1;
        let mut recovered = Recovered {
            disk: DiskLog {
                directory,
                segment_bytes,
                segments: VecDeque::new(),
                has_torn_tail: false,
            },
            entries: VecDeque::new(),
            producers: ProducerStates::default(),
            transactions: LogTransactions::default(),
        };
        for (index, base_offset) in base_offsets.into_iter().enumerate() {
            recovered.read_segment(base_offset, index == last)?;
        }
        Ok(recovered)
    }

    /// Base offset of the segment that is written to: the log cannot end before it.
    pub(crate) fn active_base_offset(&self) -> i64 {
        self.active().base_offset
    }

    /// Writes one batch, `head` and `rest`, at the end. A failed write is cut off again.
    pub(crate) fn append(
        &mut self,
        base_offset: i64,
        head: &[u8],
        rest: &[u8],
        sync: bool,
    ) -> io::Result<(Arc<File>, u64)> {
        if self.has_torn_tail {
            let path = self.active().path.display();
            return Err(io::Error::other(format!(
                "a write to {path} failed half-way; restart the broker"
            )));
        }
        let size = (head.len() + rest.len()) as u64;
        if self.active().size > 0 && self.active().size + size > self.segment_bytes {
            wait_for_disk(|| self.active().file.sync_data())?;
            self.segments.push_back(Segment::open(&self.directory, base_offset)?);
        }
        let active = self.segments.back_mut().expect("a log always has an active segment");
        let position = active.size;
        let written = write_both(&active.file, head, rest);
        let written = if sync {
            written.and_then(|()| wait_for_disk(|| active.file.sync_data()))
        } else {
            written
        };
        if let Err(error) = written {
            self.has_torn_tail = active.file.set_len(position).is_err();
            return Err(error);
        }
        active.size += size;
        Ok((Arc::clone(&active.file), position))
    }

    /// Deletes the segments that end before `offset`; the active one stays.
    pub(crate) fn delete_segments_before(&mut self, offset: i64) {
        while self.segments.get(1).is_some_and(|next| next.base_offset <= offset) {
            let Some(segment) = self.segments.pop_front() else {
                break;
            };
            segment.delete();
        }
    }

    /// Deletes the segments for whose offsets `is_gone` says so, and tells which offsets those were; the active
    /// one stays.
    pub(crate) fn delete_segments(&mut self, is_gone: impl Fn(&Range<i64>) -> bool) -> Vec<Range<i64>> {
        let starts: Vec<i64> = self.segments.iter().map(|segment| segment.base_offset).collect();
        let spans = starts.windows(2).map(|pair| pair[0]..pair[1]);
        let gone: Vec<Range<i64>> = spans.filter(is_gone).collect();
        self.segments.retain(|segment| {
            let stays = gone.iter().all(|span| span.start != segment.base_offset);
            if !stays {
                segment.delete();
            }
            stays
        });
        gone
    }

    pub(crate) fn sync(&self) -> io::Result<()> {
        self.active().file.sync_data()
    }

    fn active(&self) -> &Segment {
        self.segments.back().expect("a log always has an active segment")
    }
}

impl Recovered {
    fn read_segment(&mut self, base_offset: i64, is_last: bool) -> io::Result<()> {
        let mut segment = Segment::open(&self.disk.directory, base_offset)?;
        let length = segment.file.metadata()?.len();
        let mut reader = io::BufReader::with_capacity(1 << 20, File::open(&segment.path)?);
        let mut next_offset = self.entries.back().map_or(base_offset, |entry| entry.last_offset + 1);
        while segment.size < length {
            match read_batch(&mut reader, length - segment.size, next_offset)? {
                Ok(stored) => {
                    next_offset = stored.last_offset() + 1;
                    self.index(&segment, &stored);
                    segment.size += stored.bytes().len() as u64;
                }
                Err(reason) if is_last => {
                    let (path, position) = (segment.path.display(), segment.size);
                    let cut = length - position;
                    warn!(%path, position, cut, reason, "A torn tail was cut off a segment.");
                    segment.file.set_len(position)?;
                    segment.file.sync_data()?;
                    break;
                }
                Err(reason) => {
                    let (path, position) = (segment.path.display(), segment.size);
                    let damage = format!("{path} is damaged at byte {position}: {reason}");
                    return Err(io::Error::new(io::ErrorKind::InvalidData, damage));
                }
            }
        }
        self.disk.segments.push_back(segment);
        Ok(())
    }

    fn index(&mut self, segment: &Segment, stored: &batch::StoredBatch) {
        if let Some(sequenced) = stored.sequenced() {
            self.producers.appended(sequenced, stored.base_offset());
        } else if let InTransaction::Marker { .. } = stored.in_transaction() {
            self.producers
                .marked(stored.producer_id(), stored.producer_epoch(), stored.base_offset());
        }
        self.transactions
            .appended(stored.producer_id(), stored.in_transaction(), stored.base_offset());
        self.entries.push_back(Entry {
            base_offset: stored.base_offset(),
            last_offset: stored.last_offset(),
            leader_epoch: stored.leader_epoch(),
            max_timestamp: stored.max_timestamp(),
            size: u32::try_from(stored.bytes().len()).expect("a batch's length field is an i32"),
            payload: Payload::Disk {
                file: Arc::clone(&segment.file),
                position: segment.size,
            },
        });
    }
}

impl Segment {
    fn open(directory: &Path, base_offset: i64) -> io::Result<Self> {
        let path = directory.join(format!("{base_offset:020}.log"));
        let file = OpenOptions::new().create(true).read(true).append(true).open(&path)?;
        Ok(Self {
            base_offset,
            path,
            file: Arc::new(file),
            size: 0,
        })
    }

    fn delete(&self) {
        if let Err(error) = fs::remove_file(&self.path) {
            warn!(path = %self.path.display(), %error, "A segment file was not deleted.");
        }
    }
}

/// Reads the next whole batch; the inner error says why there is none.
fn read_batch(
    reader: &mut impl Read,
    left: u64,
    next_offset: i64,
) -> io::Result<Result<batch::StoredBatch, &'static str>> {
    let mut head = [0; 12];
    if left < head.len() as u64 {
        return Ok(Err("a batch header is cut short"));
    }
    reader.read_exact(&mut head)?;
    let length = i32::from_be_bytes([head[8], head[9], head[10], head[11]]);
    let Ok(length) = usize::try_from(length) else {
        return Ok(Err("a batch has a negative length"));
    };
    if length as u64 > left - head.len() as u64 {
        return Ok(Err("a batch is cut short"));
    }
    let mut bytes = BytesMut::zeroed(head.len() + length);
    bytes[..head.len()].copy_from_slice(&head);
    reader.read_exact(&mut bytes[head.len()..])?;
    let Ok(stored) = batch::StoredBatch::check(Bytes::from(bytes)) else {
        return Ok(Err("a batch fails its checks"));
    };
    if stored.base_offset() < next_offset {
        return Ok(Err("a batch has an offset that was there before"));
    }
    Ok(Ok(stored))
}

fn segment_base_offsets(directory: &Path) -> io::Result<Vec<i64>> {
    let mut base_offsets = Vec::new();
    for file in fs::read_dir(directory)? {
        let name = file?.file_name();
        let base_offset: Option<i64> = name.to_str().and_then(|name| name.strip_suffix(".log")?.parse().ok());
        base_offsets.extend(base_offset);
    }
    base_offsets.sort_unstable();
    Ok(base_offsets)
}

fn write_both(mut file: &File, head: &[u8], rest: &[u8]) -> io::Result<()> {
    let mut slices = [IoSlice::new(head), IoSlice::new(rest)];
    let mut left = &mut slices[..];
    while !left.is_empty() {
        match file.write_vectored(left) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => IoSlice::advance_slices(&mut left, written),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
