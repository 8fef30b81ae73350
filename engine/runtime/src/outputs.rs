//! What a session writes to Kafka with: producers, Kafka sinks, dead letters.
//!
//! They are made when the partitions come and closed when they go. Under exactly once there is one producer for all, and
//! making it fences whoever wrote for this pipeline before.
//! Never here: lake tables, what a checkpoint consists of.

use std::collections::HashMap;
use std::time::Duration;

use engine_client::{DeliveryError, Producer, ProducerError};
use engine_stream::json::{JsonEncoder, TimestampFormat};

use crate::checkpoint::state_topic::StateTopicError;
use crate::config::pipeline::{KafkaOptions, KafkaSink as KafkaSinkConfig, Sink, SinkKind, Timestamps};
use crate::context::RunContext;
use crate::run_error::RunError;
use crate::sink::dead_letter::{self, DeadLetterSink};
use crate::sink::kafka::KafkaSink;
use crate::sink_error::SinkError;
use crate::transaction::Transaction;

/// How long buffered records may take to leave when a session ends well.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an open transaction may take to be aborted when it does not; the coordinator does it later by itself.
const ABANDON_TIMEOUT: Duration = Duration::from_secs(2);

/// What a session writes to Kafka with.
#[derive(Debug)]
pub(crate) struct Outputs {
    /// Every Kafka sink, by name.
    pub(crate) kafka_sinks: HashMap<String, KafkaSink>,
    /// The dead-letter topic.
    pub(crate) dead_letter: Option<DeadLetterSink>,
    /// Writes the state topic.
    pub(crate) state_producer: Producer,
    /// The transaction that all of them write in, under exactly once.
    pub(crate) transaction: Option<Transaction>,
    producers: Producers,
}

impl Outputs {
    /// Connects. Under exactly once nothing that a former owner writes from now on can be committed.
    pub(crate) async fn open(context: &RunContext) -> Result<Outputs, RunError> {
        let pipeline = &context.pipeline;
        let (mut producers, transaction) = match &pipeline.transaction {
            Some(options) => {
                let config = options.transactional_config(&pipeline.transactional_id());
                let producer = Producer::connect(config).await.map_err(RunError::connect)?;
                let transaction = Transaction::init(producer.clone()).await?;
                (Producers::OneTransactional(producer), Some(transaction))
            }
            None => (Producers::ByOptions(Vec::new()), None),
        };
        let dead_letter = match &pipeline.dead_letter {
            Some(dead_letter) => {
                let producer = producers.connect(&dead_letter.kafka).await.map_err(RunError::connect)?;
                Some(DeadLetterSink::new(
                    &dead_letter.topic,
                    producer,
                    context.network.clone(),
                ))
            }
            None => None,
        };
        let mut kafka_sinks = HashMap::new();
        for sink in &pipeline.sinks {
            let SinkKind::Kafka(kafka) = &sink.kind else { continue };
            let producer = producers.connect(&kafka.kafka).await.map_err(RunError::connect)?;
            let opened = open_sink(context, &sink.name, kafka, producer)?;
            kafka_sinks.insert(sink.name.clone(), opened);
        }
        let state_producer = producers
            .connect(&pipeline.kafka.state_options)
            .await
            .map_err(RunError::connect)?;
        context.watch_producers(producers.all());
        Ok(Outputs {
            kafka_sinks,
            dead_letter,
            state_producer,
            transaction,
            producers,
        })
    }

    /// What a failure of a session comes from. Whoever comes to a transaction that has failed is only told so, and that may be
    /// anybody who writes: that records are refused as they always will be is known here.
    pub(crate) fn cause_of(&self, context: &RunContext, error: RunError) -> RunError {
        match error.is_transient() {
            true => self.lasting_refusal(context).unwrap_or(error),
            false => error,
        }
    }

    fn lasting_refusal(&self, context: &RunContext) -> Option<RunError> {
        let Producers::OneTransactional(producer) = &self.producers else {
            return None;
        };
        let failure = producer.transaction_failure()?;
        let DeliveryError::Refused { topic, .. } = &failure else {
            return None;
        };
        let writes = |sink: &&Sink| matches!(&sink.kind, SinkKind::Kafka(kafka) if *kafka.topic == **topic);
        let sink = context.pipeline.sinks.iter().find(writes);
        let name = sink.map_or(dead_letter::NAME, |sink| sink.name.as_str());
        let refusal = SinkError::from_lasting_refusal(name, &failure)?;
        let is_state = **topic == *context.pipeline.state_topic();
        Some(match is_state {
            true => RunError::State(StateTopicError::damaged(topic, &failure)),
            false => RunError::Sink(refusal),
        })
    }

    /// Closes the producers; everything that counts was flushed or committed by the last checkpoint.
    pub(crate) async fn close(&self, context: &RunContext) {
        self.close_within(context, CLOSE_TIMEOUT).await;
    }

    /// Gives up what was not committed, so that nobody waits for it: neither our own threads nor readers of the topics.
    pub(crate) async fn abandon(&self, context: &RunContext) {
        self.close_within(context, ABANDON_TIMEOUT).await;
    }

    async fn close_within(&self, context: &RunContext, timeout: Duration) {
        for producer in self.producers.all() {
            // A failure here is of records that no checkpoint covers: they are written again.
            let _ = producer.close(timeout).await;
        }
        context.count_closed_producers();
    }
}

fn open_sink(
    context: &RunContext,
    name: &str,
    kafka: &KafkaSinkConfig,
    producer: Producer,
) -> Result<KafkaSink, RunError> {
    let schema = context.pipeline.sink_schema(name);
    let timestamps = match kafka.timestamps {
        Timestamps::Milliseconds => TimestampFormat::Milliseconds,
        Timestamps::Rfc3339 => TimestampFormat::Rfc3339,
    };
    let encoder =
        JsonEncoder::new(&schema, timestamps).map_err(|error| RunError::Sink(SinkError::from_error(name, &error)))?;
    let key = kafka.key.as_ref().map(|key| schema.index_of(key)).transpose();
    let key = key.map_err(|error| RunError::Plan(error.to_string()))?;
    Ok(KafkaSink::new(
        name,
        &kafka.topic,
        producer,
        context.network.clone(),
        encoder,
        key,
    ))
}

#[derive(Debug)]
enum Producers {
    /// Sinks with the same options share a producer, and so its batches and connections.
    ByOptions(Vec<(KafkaOptions, Producer)>),
    /// The pipeline put all options together.
    OneTransactional(Producer),
}

impl Producers {
    async fn connect(&mut self, options: &KafkaOptions) -> Result<Producer, ProducerError> {
        let known = match self {
            Producers::OneTransactional(producer) => return Ok(producer.clone()),
            Producers::ByOptions(known) => known,
        };
        if let Some((_, producer)) = known.iter().find(|(known, _)| known == options) {
            return Ok(producer.clone());
        }
        let producer = Producer::connect(options.producer_config()).await?;
        known.push((options.clone(), producer.clone()));
        Ok(producer)
    }

    fn all(&self) -> Vec<Producer> {
        match self {
            Producers::OneTransactional(producer) => vec![producer.clone()],
            Producers::ByOptions(known) => known.iter().map(|(_, producer)| producer.clone()).collect(),
        }
    }
}
