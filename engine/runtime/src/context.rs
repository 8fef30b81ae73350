//! What lives as long as the process: clients, the plan in runnable form, totals.

mod broker_version;
pub(crate) mod lake_table;
pub(crate) mod status;
pub(crate) mod task_source;
pub(crate) mod topics;
pub(crate) mod totals;

use std::collections::{BTreeSet, HashMap};
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use engine_client::{
    Admin, AssignmentStrategy, AutoOffsetReset, ConsumerConfig, IsolationLevel, Producer, ProducerStats,
};
use tokio::runtime::Handle;

use self::lake_table::{LakeTable, lake_table};
use self::task_source::task_source;
use self::topics::SourceTopics;
use self::totals::Totals;
use crate::checkpoint::CheckpointId;
use crate::checkpoint::state_topic::StateTopic;
use crate::config::pipeline::{Pipeline, SinkKind, TopicSelection};
use crate::latency::windows::LatestOfWindow;
use crate::run_error::RunError;
use crate::sink::dead_letter::DeadLetterSink;
use crate::source::reject::DeadLetters;
use crate::source::task::TaskSource;
use crate::stage_times::Stage;
use crate::worker::TaskId;

/// What lives as long as the process.
#[derive(Debug)]
pub(crate) struct RunContext {
    /// The pipeline.
    pub(crate) pipeline: Pipeline,
    /// The tokio runtime of the network.
    pub(crate) network: Handle,
    /// Worker threads.
    pub(crate) workers: usize,
    /// What is known of the brokers' version.
    pub(crate) broker_version: Option<String>,
    /// Client options of each source's fetcher.
    pub(crate) fetch_configs: Vec<ConsumerConfig>,
    /// Client options of the one group member, without its strategy.
    group_config: ConsumerConfig,
    /// Per source: where a partition starts that nothing is known of.
    pub(crate) start_policies: Vec<AutoOffsetReset>,
    /// Every lake table, by the sink's name.
    pub(crate) lake_tables: HashMap<String, LakeTable>,
    /// Per source and output of its plan: index into the pipeline's sinks.
    pub(crate) routes: Vec<Vec<usize>>,
    /// The topics that each source reads, with their partitions; a pattern may find more while the run goes on.
    source_topics: Mutex<Vec<SourceTopics>>,
    admin: Admin,
    /// Those of the running session.
    producers: Mutex<Vec<Producer>>,
    /// Whether the partitions were ever ours, or we stood by.
    has_belonged: AtomicBool,
    /// How often the run failed since its last checkpoint.
    caution: AtomicU32,
    totals: Mutex<Totals>,
    next_task: AtomicU64,
}

impl RunContext {
    /// Connects, creates the topics of our own, and makes everything ready; nothing is read yet.
    /// `workers` are one per core unless somebody asks for another number.
    pub(crate) async fn prepare(pipeline: &Pipeline, workers: Option<NonZeroUsize>) -> Result<RunContext, RunError> {
        let graph = pipeline.plan.clone();
        let admin = Admin::connect(pipeline.kafka.options.client_config())
            .await
            .map_err(RunError::connect)?;
        let source_topics = topics::ensure(pipeline, &admin).await?;
        // Only for people: a cluster that refuses to tell can be read all the same.
        let features = admin.supported_features().await.unwrap_or_default();
        let broker_version = broker_version::broker_version(&features);
        let network = Handle::current();
        let routes = graph
            .sources
            .iter()
            .map(|plan| plan.sinks.iter().map(|(name, _)| sink_index(pipeline, name)));
        let routes: Vec<Vec<usize>> = routes.map(Iterator::collect).collect();

        let mut lake_tables = HashMap::new();
        for (name, schema) in graph.sources.iter().flat_map(|plan| &plan.sinks) {
            if let SinkKind::Parquet(parquet) = &pipeline.sinks[sink_index(pipeline, name)].kind {
                lake_tables.insert(name.clone(), lake_table(parquet, schema));
            }
        }
        // Where a partition starts is decided once, before it is fetched; after that an offset that is out of range is
        // lost data and must be an error, whatever the policy for a first start.
        let mut fetch_configs: Vec<_> = pipeline
            .sources
            .iter()
            .map(|source| source.kafka.consumer_config(&pipeline.group_id()))
            .collect();
        let start_policies = fetch_configs.iter().map(|config| config.auto_offset_reset).collect();
        for config in &mut fetch_configs {
            config.auto_offset_reset = AutoOffsetReset::None;
        }
        let mut group_config = fetch_configs[0].clone();
        if pipeline.transaction.is_some() {
            // Committed offsets are read when no transaction holds them back any more, whatever a source reads.
            group_config.isolation_level = IsolationLevel::ReadCommitted;
        }
        let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        Ok(RunContext {
            totals: Mutex::new(Totals::new(pipeline.sources.len(), pipeline.sinks.len())),
            workers: workers.map_or(cores, NonZeroUsize::get),
            next_task: AtomicU64::new(0),
            pipeline: pipeline.clone(),
            network,
            source_topics: Mutex::new(source_topics),
            broker_version,
            admin,
            fetch_configs,
            group_config,
            start_policies,
            lake_tables,
            routes,
            producers: Mutex::default(),
            has_belonged: AtomicBool::new(false),
            caution: AtomicU32::new(0),
        })
    }

    /// All topics that are read, each once.
    pub(crate) fn topics(&self) -> BTreeSet<String> {
        let topics = lock(&self.source_topics);
        topics.iter().flat_map(|of_source| of_source.keys().cloned()).collect()
    }

    /// The topics that a source reads, with the number of their partitions.
    pub(crate) fn topics_of(&self, source: usize) -> SourceTopics {
        lock(&self.source_topics)[source].clone()
    }

    /// Whether a source reads a topic.
    pub(crate) fn reads(&self, source: usize, topic: &str) -> bool {
        lock(&self.source_topics)[source].contains_key(topic)
    }

    /// Whether topics may come to be read that are not there yet.
    pub(crate) fn reads_by_pattern(&self) -> bool {
        let mut sources = self.pipeline.sources.iter();
        sources.any(|source| matches!(source.topics, TopicSelection::Pattern(_)))
    }

    /// Looks for new topics that a pattern matches; tells whether there are any. A topic that is gone stays known until
    /// the next start: to be missing from one broker's answer is not to be deleted, and its open windows are not to be
    /// given up for that.
    pub(crate) async fn look_for_topics(&self) -> Result<bool, RunError> {
        let found = topics::matching(&self.pipeline, &self.admin).await?;
        let mut known = lock(&self.source_topics);
        let before: usize = known.iter().map(SourceTopics::len).sum();
        for (known, found) in known.iter_mut().zip(found) {
            known.extend(found);
        }
        Ok(known.iter().map(SourceTopics::len).sum::<usize>() > before)
    }

    /// Client options of a new member of the group. The oldest member owns the partitions: whoever has lost them comes
    /// back as the youngest.
    pub(crate) fn member_config(&self) -> ConsumerConfig {
        ConsumerConfig {
            partition_assignment_strategy: vec![AssignmentStrategy::SingleOwner {
                started_ms: wall_clock_ns() / 1_000_000,
            }],
            ..self.group_config.clone()
        }
    }

    /// Every source in runnable form, for one session.
    pub(crate) fn task_sources(&self, dead_letter: Option<&DeadLetterSink>) -> Vec<Arc<TaskSource>> {
        let plans = self.pipeline.plan.sources.iter().enumerate();
        plans
            .map(|(index, plan)| {
                let dead_letters = dead_letter.cloned().map(|sink| Arc::new(sink) as Arc<dyn DeadLetters>);
                Arc::new(task_source(&self.pipeline, index, plan, dead_letters))
            })
            .collect()
    }

    /// The state topic, to be read and written by one session.
    pub(crate) fn state_topic(&self, producer: Producer) -> StateTopic {
        let name = self.pipeline.state_topic();
        let is_transactional = self.pipeline.transaction.is_some();
        StateTopic::open(name, producer, is_transactional, self.fetch_configs[0].clone())
    }

    /// An id that no other task of this process has.
    pub(crate) fn next_task_id(&self) -> TaskId {
        TaskId(self.next_task.fetch_add(1, Ordering::Relaxed))
    }

    /// Now, in nanoseconds since 1970.
    pub(crate) fn wall_clock_ns(&self) -> i64 {
        wall_clock_ns()
    }

    /// What was measured so far.
    pub(crate) fn totals(&self) -> MutexGuard<'_, Totals> {
        lock(&self.totals)
    }

    /// Counts one passage through a stage.
    pub(crate) fn record(&self, stage: Stage, time: Duration) {
        self.totals().stages.record(stage, time);
    }

    /// Results of these windows are in Kafka now.
    pub(crate) fn record_latencies(&self, windows: &[LatestOfWindow]) {
        self.totals().record_latencies(windows, wall_clock_ns());
    }

    /// A checkpoint is whole.
    pub(crate) fn handle_checkpoint(&self, checkpoint: CheckpointId, duration: Duration) {
        let mut totals = self.totals();
        totals.checkpoint = Some((checkpoint, Instant::now(), duration));
        totals.checkpoints += 1;
        totals.checkpoint_time += duration;
        self.caution.store(0, Ordering::Relaxed);
    }

    /// A checkpoint was begun and did not become whole.
    pub(crate) fn handle_failed_checkpoint(&self) {
        self.totals().checkpoint_failures += 1;
    }

    /// Whether the partitions were ever ours, or we stood by while they were another's: what fails before may be a mistake of the
    /// first start of a pipeline.
    pub(crate) fn has_belonged(&self) -> bool {
        self.has_belonged.load(Ordering::Relaxed)
    }

    /// The partitions are ours, or another's whose place we may take.
    pub(crate) fn handle_belonging(&self) {
        self.has_belonged.store(true, Ordering::Relaxed);
    }

    /// The partitions are ours, restored and about to be read.
    pub(crate) fn handle_begun(&self) {
        self.handle_belonging();
        self.totals().sessions.begun += 1;
    }

    /// The partitions, or the transaction, turned out to be another's; after so many failures since the last checkpoint.
    pub(crate) fn handle_loss(&self, failures: u32) {
        self.totals().sessions.lost += 1;
        self.handle_setbacks(failures);
    }

    /// A failure leads back to the last checkpoint, after so many since that.
    pub(crate) fn handle_setback(&self, failures: u32) {
        self.totals().sessions.setbacks += 1;
        self.handle_setbacks(failures);
    }

    /// How careful the next session should be: a micro-batch that takes longer than `transaction.timeout.ms` would be
    /// aborted, and done again, for ever.
    pub(crate) fn caution(&self) -> u32 {
        self.caution.load(Ordering::Relaxed)
    }

    /// The run has failed so often since its last checkpoint.
    fn handle_setbacks(&self, count: u32) {
        self.caution.store(count, Ordering::Relaxed);
    }

    /// The producers of the session that begins.
    pub(crate) fn watch_producers(&self, producers: Vec<Producer>) {
        *lock(&self.producers) = producers;
    }

    /// What the running session's producers have counted.
    pub(crate) fn producer_stats(&self) -> Vec<ProducerStats> {
        lock(&self.producers).iter().map(Producer::stats).collect()
    }

    /// The session's producers are closed: their counts go to the totals.
    pub(crate) fn count_closed_producers(&self) {
        let closed = std::mem::take(&mut *lock(&self.producers));
        let mut totals = self.totals();
        for producer in closed {
            totals.ended_requests.add_producer(&producer.stats());
        }
    }
}

/// Now, in nanoseconds since 1970; 0 for a clock before that.
pub(crate) fn wall_clock_ns() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn sink_index(pipeline: &Pipeline, name: &str) -> usize {
    let index = pipeline.sinks.iter().position(|sink| sink.name == name);
    index.expect("the plan's sinks are the pipeline's")
}
