//! `engine consume`: a topic to standard output.

use std::{collections::BTreeMap, time::Duration};

use anyhow::Context;
use clap::{Args, ValueEnum};
use engine_client::{CommittedOffset, Consumer, Decompressor, Event, Fetched, StartAt, TimestampType, TopicPartition};
use tokio::time::{Instant, timeout};

use super::record_json::ConsumedRecord;
use crate::{
    connection,
    failure::{Interrupted, UsageError},
    global_options::GlobalOptions,
    output::Output,
    signal::StopSignal,
    time_argument::PositionArgument,
};

/// How often a group's offsets are committed.
const COMMIT_INTERVAL: Duration = Duration::from_secs(1);
/// How long an idle consumer waits before it looks at its positions again.
const IDLE_WAIT: Duration = Duration::from_millis(50);

/// What `engine consume` takes.
#[derive(Debug, Args)]
pub(crate) struct ConsumeArguments {
    /// The topic
    topic: String,

    /// Where to start: `beginning`, `end`, an offset, -N for the last N, or a time such as
    /// 2026-01-31T12:00:00Z [default: beginning; with --group: the committed offset]
    #[arg(long, value_name = "POSITION", allow_hyphen_values = true)]
    from: Option<PositionArgument>,

    /// Stop at the end of the topic as it is now
    #[arg(long)]
    until_end: bool,

    /// Stop after this many records
    #[arg(long, short = 'n', value_name = "N")]
    count: Option<u64>,

    /// Read as a member of this group and commit what was printed
    #[arg(long, short = 'g', value_name = "GROUP")]
    group: Option<String>,

    /// Only this partition; may be repeated
    #[arg(long, short = 'p', value_name = "N", conflicts_with = "group")]
    partition: Vec<i32>,

    /// Which records of transactions to read [default: read_uncommitted]
    #[arg(long, value_enum, value_name = "LEVEL")]
    isolation: Option<Isolation>,

    /// Print the key and a tab before each value
    #[arg(long)]
    print_key: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
#[value(rename_all = "snake_case")]
enum Isolation {
    ReadUncommitted,
    ReadCommitted,
}

pub(crate) async fn run(arguments: ConsumeArguments, global: &GlobalOptions) -> anyhow::Result<()> {
    let mut ours = vec![("auto.offset.reset", "earliest"), ("allow.auto.create.topics", "false")];
    if let Some(group) = &arguments.group {
        ours.push(("group.id", group));
    }
    if let Some(isolation) = arguments.isolation {
        ours.push((
            "isolation.level",
            match isolation {
                Isolation::ReadUncommitted => "read_uncommitted",
                Isolation::ReadCommitted => "read_committed",
            },
        ));
    }
    let mut stop = StopSignal::listen()?;
    let config = connection::consumer_config(global, &ours)?;
    let servers = config.client.bootstrap_servers.join(",");
    let consumer = tokio::select! {
        consumer = Consumer::connect(config) => consumer.with_context(|| connection::unreachable(&servers))?,
        () = stop.requested() => return Err(Interrupted.into()),
    };
    let mut reading = Reading {
        consumer,
        output: Output::stdout(),
        json: global.json,
        ends: BTreeMap::new(),
        printed: BTreeMap::new(),
        left: arguments.count,
        decompressor: Decompressor::default(),
        arguments,
    };
    let outcome = tokio::select! {
        outcome = reading.read() => outcome,
        () = stop.requested() => Err(Interrupted.into()),
    };
    let ending = reading.commit().await;
    reading.consumer.close().await;
    reading.output.flush()?;
    outcome.and(ending)
}

struct Reading {
    arguments: ConsumeArguments,
    consumer: Consumer,
    output: Output,
    json: bool,
    /// With `--until-end`: where each partition ended when it was assigned.
    ends: BTreeMap<TopicPartition, i64>,
    /// What a group is to commit: the position behind what was printed.
    printed: BTreeMap<TopicPartition, CommittedOffset>,
    left: Option<u64>,
    decompressor: Decompressor,
}

impl Reading {
    async fn read(&mut self) -> anyhow::Result<()> {
        let partitions = self.partitions().await?;
        if self.arguments.group.is_some() {
            self.consumer.subscribe([self.arguments.topic.as_str()])?;
        } else {
            self.consumer.assign(partitions.iter().cloned());
            self.start(&partitions).await?;
        }
        let mut commit_at = Instant::now() + COMMIT_INTERVAL;
        let mut assigned = self.arguments.group.is_none();
        while self.left != Some(0) {
            if assigned && self.arguments.until_end && self.is_at_end() {
                break;
            }
            match timeout(IDLE_WAIT, self.consumer.poll()).await {
                Ok(event) => match event? {
                    Event::Fetched(fetched) => self.print(&fetched)?,
                    Event::Assigned(partitions) => {
                        self.start(&partitions).await?;
                        assigned = true;
                    }
                    Event::Revoked(partitions) => {
                        self.commit().await?;
                        self.forget(&partitions);
                        self.consumer.revoked_done();
                    }
                    Event::Lost(partitions) => self.forget(&partitions),
                    _ => {}
                },
                Err(_idle) => self.output.flush()?,
            }
            if Instant::now() >= commit_at {
                self.commit().await?;
                commit_at = Instant::now() + COMMIT_INTERVAL;
            }
        }
        Ok(())
    }

    /// The partitions to read without a group.
    async fn partitions(&mut self) -> anyhow::Result<Vec<TopicPartition>> {
        let topic = &self.arguments.topic;
        let count = self
            .consumer
            .partition_count(topic)
            .await?
            .with_context(|| format!("there is no topic {topic}; `engine topics list` names them all"))?;
        let mut numbers: Vec<i32> = (0..count).collect();
        if !self.arguments.partition.is_empty() {
            if let Some(wrong) = self.arguments.partition.iter().find(|number| !numbers.contains(number)) {
                return Err(UsageError(format!(
                    "{topic} has partitions 0 to {}, there is no partition {wrong}",
                    count - 1
                ))
                .into());
            }
            numbers.retain(|number| self.arguments.partition.contains(number));
        }
        Ok(numbers
            .into_iter()
            .map(|number| TopicPartition::new(topic.as_str(), number))
            .collect())
    }

    async fn start(&mut self, partitions: &[TopicPartition]) -> anyhow::Result<()> {
        let ends = if self.arguments.until_end || matches!(self.arguments.from, Some(PositionArgument::BeforeEnd(_))) {
            self.consumer.end_offsets(partitions).await?
        } else {
            Vec::new()
        };
        let beginnings = match self.arguments.from {
            Some(PositionArgument::BeforeEnd(_)) => self.consumer.beginning_offsets(partitions).await?,
            _ => Vec::new(),
        };
        let offset_in = |offsets: &[(TopicPartition, i64)], tp: &TopicPartition| {
            offsets
                .iter()
                .find(|(other, _)| other == tp)
                .map_or(0, |(_, offset)| *offset)
        };
        let positions: Vec<(TopicPartition, StartAt)> = partitions
            .iter()
            .map(|tp| {
                let start = match self.arguments.from {
                    None if self.arguments.group.is_some() => StartAt::Committed,
                    None | Some(PositionArgument::Beginning) => StartAt::Earliest,
                    Some(PositionArgument::End) => StartAt::Latest,
                    Some(PositionArgument::Offset(offset)) => at(offset),
                    Some(PositionArgument::BeforeEnd(count)) => {
                        at((offset_in(&ends, tp).saturating_sub(count)).max(offset_in(&beginnings, tp)))
                    }
                    Some(PositionArgument::Timestamp(milliseconds)) => StartAt::Timestamp(milliseconds),
                };
                (tp.clone(), start)
            })
            .collect();
        if self.arguments.until_end {
            self.ends.extend(ends);
        }
        self.consumer.start(positions)?;
        Ok(())
    }

    fn is_at_end(&self) -> bool {
        self.ends.iter().all(|(tp, &end)| {
            self.consumer
                .position(tp)
                .is_some_and(|position| position.offset >= end)
        })
    }

    fn forget(&mut self, partitions: &[TopicPartition]) {
        for tp in partitions {
            self.ends.remove(tp);
            self.printed.remove(tp);
        }
    }

    fn print(&mut self, fetched: &Fetched) -> anyhow::Result<()> {
        let end = self.ends.get(&fetched.tp).copied().unwrap_or(i64::MAX);
        let mut next_offset = fetched.next_offset;
        'batches: for batch in &fetched.batches {
            batch.verify_crc()?;
            let timestamp_type = match batch.header.timestamp_type() {
                TimestampType::LogAppendTime => "LogAppendTime",
                _ => "CreateTime",
            };
            for record in batch.records(&mut self.decompressor)? {
                let record = record?;
                if record.offset < fetched.first_offset {
                    continue;
                }
                if self.left == Some(0) || record.offset >= end {
                    next_offset = record.offset;
                    break 'batches;
                }
                if self.json {
                    self.output
                        .json(&ConsumedRecord::new(&fetched.tp, timestamp_type, &record))?;
                } else if self.arguments.print_key {
                    let line = [record.key.unwrap_or_default(), b"\t", record.value.unwrap_or_default()].concat();
                    self.output.bytes_line(&line)?;
                } else {
                    self.output.bytes_line(record.value.unwrap_or_default())?;
                }
                self.left = self.left.map(|left| left - 1);
            }
        }
        let committed = CommittedOffset {
            offset: next_offset,
            leader_epoch: fetched.leader_epoch,
            metadata: String::new(),
        };
        self.printed.insert(fetched.tp.clone(), committed);
        Ok(())
    }

    /// Commits only what has left this process: records that were printed but not flushed would be lost.
    async fn commit(&mut self) -> anyhow::Result<()> {
        self.output.flush()?;
        if self.arguments.group.is_none() || self.printed.is_empty() {
            return Ok(());
        }
        let offsets: Vec<_> = std::mem::take(&mut self.printed).into_iter().collect();
        self.consumer.commit(&offsets).await.context("the group's offsets")?;
        Ok(())
    }
}

fn at(offset: i64) -> StartAt {
    StartAt::Offset {
        offset,
        leader_epoch: None,
    }
}
