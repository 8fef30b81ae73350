//! A Parquet sink: a thread that owns the table's writer, fed by a bounded queue.
//!
//! Encoding Parquet is the most CPU a row costs after parsing it, so it has a thread of its own. Rows may come from any
//! thread; staging and publishing come from the coordinator, between triggers, so that a staged set is exactly the rows
//! of one checkpoint. Small files are merged by yet another thread, see [`merging`].

pub(crate) mod merging;

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use engine_lake::{LakeWriter, StagedFiles};
use tokio::sync::oneshot;

use self::merging::{MergeCounters, MergeCounts, Merging};
use crate::sink_error::SinkError;

/// Micro-batches that may wait for the writer; a sender blocks beyond it.
const QUEUED_BATCHES_MAX: usize = 8;

/// Handle on the table's thread.
#[derive(Debug)]
pub(crate) struct LakeSink {
    name: String,
    queue: Option<SyncSender<Command>>,
    thread: Option<JoinHandle<()>>,
    /// Set when the writer has failed: what every later call answers.
    failure: Arc<Mutex<Option<SinkError>>>,
    merges: Arc<MergeCounters>,
}

/// Files that are being closed.
#[derive(Debug)]
pub(crate) struct LakeStaging<'a> {
    lake: &'a LakeSink,
    staged: oneshot::Receiver<Result<StagedFiles, SinkError>>,
}

impl LakeStaging<'_> {
    /// Waits until they are durable.
    pub(crate) async fn finish(self) -> Result<StagedFiles, SinkError> {
        self.staged.await.unwrap_or_else(|_| Err(self.lake.failure()))
    }
}

/// Files that are being made visible.
#[derive(Debug)]
pub(crate) struct LakePublishing {
    published: oneshot::Receiver<Result<Duration, SinkError>>,
    sink: String,
    failure: Arc<Mutex<Option<SinkError>>>,
}

impl LakePublishing {
    /// Waits until they are visible; gives how long that took the table's thread.
    pub(crate) async fn finish(self) -> Result<Duration, SinkError> {
        self.published
            .await
            .unwrap_or_else(|_| Err(failure_of(&self.sink, &self.failure)))
    }
}

enum Command {
    Write(RecordBatch),
    Stage {
        checkpoint: u64,
        answer: oneshot::Sender<Result<StagedFiles, SinkError>>,
    },
    Publish {
        staged: StagedFiles,
        answer: oneshot::Sender<Result<Duration, SinkError>>,
    },
}

impl LakeSink {
    /// Starts the thread.
    pub(crate) fn start(name: &str, writer: LakeWriter) -> std::io::Result<Self> {
        let (queue, commands) = sync_channel(QUEUED_BATCHES_MAX);
        let failure = Arc::new(Mutex::new(None));
        let merges = Arc::new(MergeCounters::default());
        let mut owner = Owner {
            name: name.to_owned(),
            merging: Merging::new(name, &writer, merges.clone()),
            writer,
            failure: failure.clone(),
        };
        let thread = std::thread::Builder::new()
            .name(format!("lake-{name}"))
            .spawn(move || owner.run(&commands))?;
        Ok(LakeSink {
            name: name.to_owned(),
            queue: Some(queue),
            thread: Some(thread),
            failure,
            merges,
        })
    }

    /// Queues rows; waits while the queue is full.
    pub(crate) async fn write(&self, batch: &RecordBatch) -> Result<(), SinkError> {
        self.send(Command::Write(batch.clone())).await
    }

    /// The same for threads that may block.
    pub(crate) fn write_blocking(&self, batch: &RecordBatch) -> Result<(), SinkError> {
        self.queue()
            .send(Command::Write(batch.clone()))
            .map_err(|_| self.failure())
    }

    /// Begins to close the files of everything written so far and to make them durable; no reader sees them yet.
    pub(crate) async fn begin_stage(&self, checkpoint: u64) -> Result<LakeStaging<'_>, SinkError> {
        let (answer, staged) = oneshot::channel();
        self.send(Command::Stage { checkpoint, answer }).await?;
        Ok(LakeStaging { lake: self, staged })
    }

    /// Begins to make staged files visible; doing it twice is harmless. Whatever is written or staged after this waits for it.
    pub(crate) async fn begin_publish(&self, staged: StagedFiles) -> Result<LakePublishing, SinkError> {
        let (answer, published) = oneshot::channel();
        self.send(Command::Publish { staged, answer }).await?;
        Ok(LakePublishing {
            published,
            sink: self.name.clone(),
            failure: self.failure.clone(),
        })
    }

    /// What was merged so far.
    pub(crate) fn merges(&self) -> MergeCounts {
        self.merges.counts()
    }

    /// Queues a command without blocking: the coordinator must hear of other things while a table is slow.
    async fn send(&self, command: Command) -> Result<(), SinkError> {
        let sent = match self.queue().try_send(command) {
            Ok(()) => true,
            Err(TrySendError::Disconnected(_)) => false,
            Err(TrySendError::Full(command)) => {
                let queue = self.queue().clone();
                let sent = tokio::task::spawn_blocking(move || queue.send(command).is_ok());
                sent.await.unwrap_or(false)
            }
        };
        if sent { Ok(()) } else { Err(self.failure()) }
    }

    fn queue(&self) -> &SyncSender<Command> {
        self.queue.as_ref().expect("the queue is there until drop")
    }

    fn failure(&self) -> SinkError {
        failure_of(&self.name, &self.failure)
    }
}

/// What the thread failed with.
fn failure_of(sink: &str, failure: &Mutex<Option<SinkError>>) -> SinkError {
    let failure = failure.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    failure
        .clone()
        .unwrap_or_else(|| SinkError::new(sink, "its thread is gone"))
}

impl Drop for LakeSink {
    fn drop(&mut self) {
        drop(self.queue.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Owner {
    name: String,
    writer: LakeWriter,
    merging: Merging,
    failure: Arc<Mutex<Option<SinkError>>>,
}

impl Owner {
    /// Ends with the queue, or with the first failure: rows after a lost one must not be staged.
    fn run(&mut self, commands: &Receiver<Command>) {
        loop {
            let command = match commands.recv_timeout(self.merging.patience(&self.writer)) {
                Ok(command) => command,
                Err(RecvTimeoutError::Timeout) => {
                    self.merging.advance(&mut self.writer);
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => break,
            };
            let failed = match command {
                Command::Write(batch) => {
                    let written = self.writer.write(&batch);
                    self.check(written).is_err()
                }
                Command::Stage { checkpoint, answer } => {
                    let staged = self.writer.stage(checkpoint);
                    let staged = self.check(staged);
                    answer.send(staged).is_err()
                }
                Command::Publish { staged, answer } => {
                    let started = Instant::now();
                    let published = self.writer.publish(&staged).map(|_| started.elapsed());
                    let published = self.check(published);
                    answer.send(published).is_err()
                }
            };
            if failed || self.failure().is_some() {
                break;
            }
            // Also where there is always a next command.
            self.merging.advance(&mut self.writer);
        }
        self.merging.stop();
    }

    /// Remembers a failure before anybody hears of it, so that whoever comes next is told the same.
    fn check<T, E: std::error::Error + 'static>(&self, result: Result<T, E>) -> Result<T, SinkError> {
        result.map_err(|error| {
            let error = SinkError::from_lake(&self.name, &error);
            *self.failure() = Some(error.clone());
            error
        })
    }

    fn failure(&self) -> std::sync::MutexGuard<'_, Option<SinkError>> {
        self.failure.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use arrow::array::Int64Array;
    use arrow::datatypes::{DataType, Field, Schema};
    use engine_lake::{CompactionConfig, LakeConfig, LakeStore, PartitionBy, Snapshot, WriterId, recover};

    use super::*;

    #[tokio::test]
    async fn small_files_are_merged_while_checkpoints_go_on() {
        let above = tempfile::tempdir().unwrap();
        let store = LakeStore::open(above.path().join("lake").to_str().unwrap()).unwrap();
        let fields = ["day", "value"].map(|name| Field::new(name, DataType::Int64, false));
        let schema = Arc::new(Schema::new(fields.to_vec()));
        let config = LakeConfig {
            partition_by: vec![PartitionBy::column("day")],
            compaction: Some(CompactionConfig {
                interval: Duration::from_millis(1),
                files_min: 2,
                ..CompactionConfig::default()
            }),
            ..LakeConfig::default()
        };
        let writer_id = WriterId::new("pipeline.lake.0").unwrap();
        recover(&store, &writer_id, None).unwrap();
        let writer = LakeWriter::open(store.clone(), config, schema.clone(), writer_id).unwrap();
        let sink = LakeSink::start("lake", writer).unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        let mut checkpoint = 0;
        while sink.merges().merges < 3 {
            assert!(Instant::now() < deadline, "{:?} after {checkpoint}", sink.merges());
            checkpoint += 1;
            let columns = [1, checkpoint].map(|value| Arc::new(Int64Array::from(vec![value])) as _);
            let rows = RecordBatch::try_new(schema.clone(), columns.to_vec()).unwrap();
            sink.write(&rows).await.unwrap();
            let staging = sink.begin_stage(checkpoint.unsigned_abs()).await.unwrap();
            let staged = staging.finish().await.unwrap();
            sink.begin_publish(staged).await.unwrap().finish().await.unwrap();
        }
        let merges = sink.merges();
        drop(sink);
        assert!(merges.files >= 6 && merges.failures == 0, "{merges:?}");
        assert_eq!(Snapshot::read(&store).unwrap().rows(), checkpoint.unsigned_abs());
    }
}
