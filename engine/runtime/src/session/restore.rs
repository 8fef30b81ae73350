//! The beginning of a session: what was kept is read, decided upon and put back.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use engine_client::{AutoOffsetReset, Consumer, StartAt, TopicPartition};
use engine_lake::{LakeConfig, LakeStore, LakeWriter, StagedFiles, WriterId};
use engine_stream::graph::WindowOutput;
use engine_stream::watermark::PartitionWatermarks;
use tracing::{info, warn};

use super::Session;
use super::pace::{Pace, PaceConfig};
use super::partitions::Partition;
use super::silence::Silence;
use super::take_over::{TakenOver, take_over};
use super::windows::SessionSource;
use crate::checkpoint::manifest::Manifest;
use crate::checkpoint::recovery::{self, PartitionFacts, Recovery, StartPosition};
use crate::checkpoint::state_table::RestoredState;
use crate::checkpoint::{CheckpointId, OwnerEpoch};
use crate::config::pipeline::SinkKind;
use crate::context::{RunContext, wall_clock_ns};
use crate::control::Control;
use crate::outputs::Outputs;
use crate::run_error::RunError;
use crate::sink::lake::LakeSink;
use crate::sink::set::{NamedSink, SinkSet, SinkWriter};
use crate::sink_error::SinkError;
use crate::source::task::{PartitionTask, TaskSource};
use crate::worker::{Job, WorkerError, Workers};

/// Bytes that one micro-batch gathers over all partitions and sources, as they came from the brokers; beyond it no more
/// is taken from the fetchers, which stop fetching at their own bound. With the micro-batch that is processed meanwhile and
/// what is prefetched, this is what a backlog costs in memory: `bench/src/bin/drain` shows it.
const TRIGGER_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The shortest silence of a broker that is told of.
const SILENCE_PATIENCE: Duration = Duration::from_secs(5);

impl Session {
    /// Takes over `assigned`: reads the state topic, decides, restores, and starts fetching. `None` if they are another
    /// process's by now.
    pub(crate) async fn begin(
        context: Arc<RunContext>,
        group: &mut Consumer,
        assigned: &[TopicPartition],
        control: &Control,
    ) -> Result<Option<Session>, RunError> {
        // Under exactly once this ends whatever a former owner left open, so what is read below is all there will be.
        let outputs = Outputs::open(&context).await?;
        let task_sources = context.task_sources(outputs.dead_letter.as_ref());
        let committed = group.committed(assigned).await.map_err(RunError::commit)?;
        let mut facts = Vec::new();
        for (index, source) in task_sources.iter().enumerate() {
            for tp in assigned.iter().filter(|tp| context.reads(index, &tp.topic)) {
                let committed = committed
                    .iter()
                    .find(|(of, _)| of == tp)
                    .and_then(|(_, committed)| committed.as_ref());
                facts.push(PartitionFacts {
                    source: source.name.clone(),
                    topic: tp.topic.to_string(),
                    partition: tp.partition,
                    committed: committed.map(|committed| (committed.offset, committed.metadata.clone())),
                });
            }
        }
        let mut state_topic = context.state_topic(outputs.state_producer.clone());
        let taken = take_over(group, &mut state_topic, outputs.transaction.as_ref()).await;
        let taken = taken.map_err(|error| outputs.cause_of(&context, error))?;
        let Some(TakenOver { restored, owner_epoch }) = taken else {
            outputs.abandon(&context).await;
            return Ok(None);
        };
        let manifest = restored.as_ref().map(|restored| &restored.manifest);
        let recovery = recovery::decide(&facts, manifest).map_err(RunError::Recovery)?;

        let sinks = Arc::new(open_sinks(&context, &outputs, manifest, owner_epoch).await?);
        let (replies, answers) = tokio::sync::mpsc::unbounded_channel();
        let workers = Workers::start(context.workers, &sinks, &replies).map_err(RunError::Threads)?;
        let pipeline = &context.pipeline;
        let pace = Pace::new(
            Instant::now(),
            PaceConfig {
                trigger_interval: pipeline.trigger.interval,
                trigger_records_max: pipeline.trigger.records_max.get(),
                trigger_bytes_max: TRIGGER_BYTES_MAX,
                checkpoint_interval: pipeline.checkpoint.interval,
                caution: context.caution(),
            },
        );
        let mut session = Session {
            owner_epoch,
            checkpoint: recovery.restored.unwrap_or(CheckpointId(0)),
            state_topic,
            sources: Vec::new(),
            tasks: HashMap::new(),
            workers,
            replies: answers,
            outstanding: 0,
            sinks,
            outputs,
            pace,
            silence: Silence::new(silence_patience(&context)),
            gather_started: None,
            deliveries: Vec::new(),
            publishing: Vec::new(),
            uncommitted_latest: Vec::new(),
            // Where reading begins is worth a checkpoint of its own: with `latest`, records that come while the pipeline
            // is stopped would be passed over if nothing was kept of a first, silent run. And where a crash came between a
            // manifest and its offsets, tools would see those of the checkpoint before until something happens.
            changed: !recovery.starts.iter().zip(&facts).all(|(start, facts)| match start {
                StartPosition::Restored { offset, .. } => facts
                    .committed
                    .as_ref()
                    .is_some_and(|(committed, _)| committed == offset),
                _ => false,
            }),
            context,
        };
        for (index, source) in task_sources.into_iter().enumerate() {
            session.open_source(index, source, &facts, &recovery, manifest).await?;
        }
        session.install_tasks(restored.as_ref())?;
        if control.until_end && !control.waits_for_generators() {
            session.bound_by_log_end().await?;
        }
        session.context.handle_begun();
        let banner = session.started(&recovery, control.server_url.clone());
        // The banner is shown once; a process that gets the partitions back says so here.
        info!(
            checkpoint = session.checkpoint.0,
            watermark_ms = banner.restored.as_ref().and_then(|restored| restored.watermark_ms),
            "This process owns the partitions now."
        );
        control.reporter.started(banner);
        Ok(Some(session))
    }

    /// Connects a source's fetcher and finds the position of each of its partitions.
    async fn open_source(
        &mut self,
        index: usize,
        source: Arc<TaskSource>,
        facts: &[PartitionFacts],
        recovery: &Recovery,
        manifest: Option<&Manifest>,
    ) -> Result<(), RunError> {
        let context = Arc::clone(&self.context);
        let config = context.fetch_configs[index].clone();
        let reset = context.start_policies[index];
        let mut fetcher = Consumer::connect(config).await.map_err(RunError::connect)?;
        let mut starts = Vec::new();
        for (facts, start) in facts
            .iter()
            .zip(&recovery.starts)
            .filter(|(facts, _)| facts.source == source.name)
        {
            let tp = TopicPartition::new(facts.topic.as_str(), facts.partition);
            let at = |offset| (offset, None);
            let start = match start {
                StartPosition::Restored { offset, leader_epoch } => (*offset, *leader_epoch),
                StartPosition::Committed { offset } => at(*offset),
                StartPosition::Reset => at(reset_offset(&fetcher, reset, &tp).await?),
                StartPosition::Earliest => at(reset_offset(&fetcher, AutoOffsetReset::Earliest, &tp).await?),
            };
            starts.push((tp, start));
        }
        fetcher.assign(starts.iter().map(|(tp, _)| tp.clone()));
        let positions = starts.iter().map(|(tp, (offset, leader_epoch))| {
            (
                tp.clone(),
                StartAt::Offset {
                    offset: *offset,
                    leader_epoch: *leader_epoch,
                },
            )
        });
        fetcher.start(positions).map_err(RunError::fetch)?;

        let mut watermarks = source
            .plan
            .watermark
            .as_ref()
            .map(|spec| PartitionWatermarks::new(&spec.config));
        if let (Some(watermarks), Some(watermark)) = (
            &mut watermarks,
            manifest.and_then(|manifest| manifest.watermark_ns(&source.name)),
        ) {
            watermarks.raise(watermark);
        }
        let (mut partitions, mut by_name) = (BTreeMap::new(), HashMap::new());
        for (tp, (offset, leader_epoch)) in starts {
            let task = context.next_task_id();
            let worker = self.tasks.len() % self.workers.count();
            if let Some(watermarks) = &mut watermarks {
                let kept = manifest.and_then(|manifest| manifest.partition(&source.name, &tp.topic, tp.partition));
                watermarks.add(task, kept.and_then(|kept| kept.watermark_ns));
            }
            let mut partition = Partition::new(Arc::clone(&tp.topic), tp.partition, worker, offset);
            partition.leader_epoch = leader_epoch;
            partitions.insert(task, partition);
            by_name.insert(tp, task);
            self.tasks.insert(task, index);
        }
        let source_name = source.name.clone();
        self.sources.push(SessionSource {
            window_output: WindowOutput::new(&source.plan),
            source,
            fetcher,
            partitions,
            by_name,
            watermarks,
            // With a shorter lateness than before, windows may be closed already that nobody took.
            closed_up_to: None,
            taken_up_to_ns: manifest
                .and_then(|manifest| manifest.source(&source_name))
                .map_or_else(BTreeMap::new, |kept| kept.taken_up_to_ns.clone()),
            counts: Default::default(),
        });
        Ok(())
    }

    /// Gives every partition's task, with its state, to its worker.
    fn install_tasks(&mut self, restored: Option<&RestoredState>) -> Result<(), RunError> {
        for (index, source) in self.sources.iter().enumerate() {
            for (task, partition) in &source.partitions {
                let mut state = PartitionTask::new(
                    Arc::clone(&source.source),
                    Arc::clone(&partition.topic),
                    partition.partition,
                    partition.processed_offset,
                );
                state.handle_taken(&source.taken_up_to_ns);
                let key = (
                    source.source.name.clone(),
                    partition.topic.to_string(),
                    partition.partition,
                );
                let kept = restored.and_then(|restored| Some((restored, restored.segments.get(&key)?)));
                if let Some((restored, segments)) = kept {
                    let closed_up_to = restored.manifest.watermark_ns(&key.0);
                    for segment in segments {
                        let taken = state.restore(segment, closed_up_to);
                        taken.map_err(|error| RunError::from(WorkerError::Task(error)))?;
                    }
                }
                let state = Box::new(state);
                self.workers.send(
                    partition.worker,
                    Job::Install {
                        task: *task,
                        source: index,
                        state,
                    },
                );
            }
        }
        Ok(())
    }

    /// Makes the run end where the logs end now.
    pub(super) async fn bound_by_log_end(&mut self) -> Result<(), RunError> {
        self.settle().await?;
        for source in &mut self.sources {
            let tps: Vec<_> = source.by_name.keys().cloned().collect();
            let mut at_end = Vec::new();
            for (tp, end) in source.fetcher.end_offsets(&tps).await.map_err(RunError::offsets)? {
                let Some(task) = source.by_name.get(&tp) else { continue };
                let partition = source
                    .partitions
                    .get_mut(task)
                    .expect("both maps hold the same partitions");
                partition.end_offset = Some(end);
                if partition.is_fetched_to_the_end() {
                    at_end.push(tp.clone());
                }
                self.workers.send(
                    partition.worker,
                    Job::Bound {
                        task: *task,
                        end_offset: end,
                    },
                );
            }
            source.fetcher.pause(&at_end);
        }
        Ok(())
    }
}

/// How long a broker may say nothing before it is told of: a fetch at the end of a log may wait this long by itself.
fn silence_patience(context: &RunContext) -> Duration {
    let waits = context.fetch_configs.iter().map(|config| config.fetch_wait_max);
    SILENCE_PATIENCE.max(2 * waits.max().unwrap_or_default())
}

/// Where `auto.offset.reset` starts a partition that nothing is known of.
async fn reset_offset(fetcher: &Consumer, reset: AutoOffsetReset, tp: &TopicPartition) -> Result<i64, RunError> {
    let offsets = match reset {
        AutoOffsetReset::Earliest => fetcher.beginning_offsets(std::slice::from_ref(tp)).await,
        AutoOffsetReset::Latest => fetcher.end_offsets(std::slice::from_ref(tp)).await,
        AutoOffsetReset::ByDuration(duration) => {
            let since_ms =
                (wall_clock_ns() / 1_000_000).saturating_sub(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX));
            let times = [(tp.clone(), since_ms.max(0))];
            let found = fetcher.offsets_for_times(&times).await.map_err(RunError::offsets)?;
            match found.into_iter().find_map(|(_, listed)| listed) {
                Some(listed) => return Ok(listed.offset),
                None => fetcher.end_offsets(std::slice::from_ref(tp)).await,
            }
        }
        AutoOffsetReset::None => {
            return Err(RunError::Fetch(format!(
                "{tp}: the group has no committed offset and auto.offset.reset is none"
            )));
        }
    };
    let offsets = offsets.map_err(RunError::offsets)?;
    let offset = offsets.into_iter().find(|(of, _)| of == tp).map(|(_, offset)| offset);
    offset.ok_or_else(|| RunError::Fetch(format!("{tp}: the broker told no offset")))
}

/// Opens every sink; a lake table first gets what a crash left: published if its checkpoint is whole, deleted if not.
async fn open_sinks(
    context: &Arc<RunContext>,
    outputs: &Outputs,
    manifest: Option<&Manifest>,
    owner_epoch: OwnerEpoch,
) -> Result<SinkSet, RunError> {
    warn_of_vanished_lakes(context, manifest);
    let mut sinks = Vec::new();
    for sink in &context.pipeline.sinks {
        let writer = match &sink.kind {
            SinkKind::Kafka(_) => SinkWriter::Kafka(outputs.kafka_sinks[&sink.name].clone()),
            SinkKind::Parquet(_) => {
                let (context, name, manifest) = (Arc::clone(context), sink.name.clone(), manifest.cloned());
                // A lake may be a bucket that does not answer for a while; heartbeats must go on.
                let opened =
                    tokio::task::spawn_blocking(move || open_lake(&context, &name, manifest.as_ref(), owner_epoch));
                SinkWriter::Lake(opened.await.map_err(RunError::process)??)
            }
        };
        sinks.push(NamedSink::new(&sink.name, writer));
    }
    Ok(SinkSet::new(sinks, context.routes.clone()))
}

/// Nobody knows where a lake was whose sink is gone from the pipeline, so nobody can look whether its last files are published.
fn warn_of_vanished_lakes(context: &RunContext, manifest: Option<&Manifest>) {
    for kept in manifest.iter().flat_map(|manifest| &manifest.lake) {
        let is_known = context.lake_tables.contains_key(&kept.sink);
        let staged = StagedFiles::decode(kept.staged.as_bytes());
        if !is_known && staged.is_ok_and(|staged| !staged.files().is_empty()) {
            warn!(
                sink = kept.sink,
                "The last checkpoint has files of a lake that the pipeline does not write any more. If that run was killed, they may \
                 not be published yet: start once with this sink to have them."
            );
        }
    }
}

fn open_lake(
    context: &RunContext,
    sink: &str,
    manifest: Option<&Manifest>,
    owner_epoch: OwnerEpoch,
) -> Result<LakeSink, RunError> {
    let failed = |error: &(dyn std::error::Error + 'static)| RunError::Sink(SinkError::from_lake(sink, error));
    let table = &context.lake_tables[sink];
    let store = LakeStore::open_with(&table.path, &table.s3).map_err(|error| failed(&error))?;
    let writer_id = WriterId::new(format!("{}.{sink}.0", context.pipeline.name)).map_err(|error| failed(&error))?;
    let kept = manifest.and_then(|manifest| manifest.lake.iter().find(|kept| kept.sink == sink));
    let kept = kept
        .map(|kept| StagedFiles::decode(kept.staged.as_bytes()))
        .transpose()
        .map_err(|error| failed(&error))?;
    let config = LakeConfig {
        fencing_token: u32::try_from(owner_epoch.0).unwrap_or(u32::MAX),
        ..table.config.clone()
    };
    engine_lake::recover_below(&store, &writer_id, kept.as_ref(), config.fencing_token)
        .map_err(|error| failed(&error))?;
    let writer = LakeWriter::open(store, config, table.schema.clone(), writer_id).map_err(|error| failed(&error))?;
    LakeSink::start(sink, writer).map_err(RunError::Threads)
}
