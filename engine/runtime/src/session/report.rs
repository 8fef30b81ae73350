//! What a session tells of itself: the banner when it begins, what it has counted while it runs.

use super::Session;
use super::partitions::Partition;
use crate::checkpoint::recovery::{Recovery, StartPosition};
use crate::config::pipeline::Bootstrap;
use crate::context::status::{Running, RunningSource};
use crate::progress::{RestoredCheckpoint, RunStarted, TopicStarted};

impl Session {
    /// The banner.
    pub(super) fn started(&self, recovery: &Recovery, server_url: Option<String>) -> RunStarted {
        let context = &self.context;
        let topics = context.pipeline.sources.iter().enumerate().flat_map(|(index, source)| {
            let topics = context.topics_of(index).into_iter();
            topics.map(|(topic, partitions)| TopicStarted {
                source: source.name.clone(),
                topic,
                partitions,
            })
        });
        let restored = recovery.restored.map(|checkpoint| {
            let partitions = self.sources.iter().flat_map(|source| source.partitions.values());
            let restored = partitions
                .zip(&recovery.starts)
                .filter_map(|(partition, start)| match start {
                    StartPosition::Restored { offset, .. } => {
                        Some((partition.topic.to_string(), partition.partition, *offset))
                    }
                    _ => None,
                });
            RestoredCheckpoint {
                checkpoint_id: checkpoint.0,
                watermark_ms: self
                    .running()
                    .watermark_ns()
                    .map(|watermark| watermark.div_euclid(1_000_000)),
                offsets: restored.collect(),
            }
        });
        let brokers = match &context.pipeline.kafka.bootstrap {
            Bootstrap::Embedded => Vec::new(),
            Bootstrap::Servers(servers) => servers.split(',').map(|server| server.trim().to_owned()).collect(),
        };
        RunStarted {
            pipeline: context.pipeline.name.clone(),
            guarantee: context.pipeline.checkpoint.guarantee.name().to_owned(),
            brokers,
            broker_version: context.broker_version.clone(),
            topics: topics.collect(),
            restored,
            server_url,
        }
    }

    /// What it has counted so far.
    pub(super) fn running(&self) -> Running {
        let sources = self.sources.iter().map(|source| RunningSource {
            counts: source.counts,
            watermark_ns: source.watermark_ns(),
            has_event_time: source.watermarks.is_some(),
            lag: source
                .partitions
                .values()
                .map(|partition| (partition.topic.to_string(), partition.partition, lag(partition)))
                .collect(),
        });
        Running {
            sources: sources.collect(),
            sinks: self.sinks.iter().map(|sink| sink.counts()).collect(),
            fetchers: self.sources.iter().map(|source| source.fetcher.stats()).collect(),
        }
    }
}

fn lag(partition: &Partition) -> Option<u64> {
    partition.lag().map(|lag| u64::try_from(lag).unwrap_or(0))
}
