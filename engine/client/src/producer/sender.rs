//! The task that does what the producer's machine says.
//!
//! It owns nothing that appending needs but the lock, which it holds only while asking: batches are
//! sealed and requests written outside of it. Compression runs on the runtime's blocking threads, at
//! most one job per core at a time.

use std::{
    collections::HashMap,
    future::Future,
    num::NonZeroUsize,
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use engine_proto::{
    producer::{RequestOutcome, RequestPlan, SealDone, SealJob, TransactionOutcome},
    sequence::ProducerIdentity,
};
use engine_wire::{
    compression::{Codec, Compression, Compressor},
    messages::{ApiKey, ProduceResponse},
};
use futures::{StreamExt, stream::FuturesUnordered};
use tracing::{debug, warn};

use super::{
    identity::obtain_identity,
    machine::Shared,
    produce_request::{self, NamedById},
    transaction_request,
};
use crate::{
    cluster::{Lane, MetadataChanges, NodeTarget},
    config::Acks,
    connection::{Connection, RawResponse, RequestError, describe, now},
};

type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;
/// A node and its connection.
type Dialled = (i32, Result<Arc<Connection>, RequestError>);
/// A request and its answer.
struct Answered {
    request_id: u64,
    named_by_id: NamedById,
    outcome: Result<RawResponse, RequestError>,
}

struct Sender {
    shared: Arc<Shared>,
    connections: HashMap<i32, Arc<Connection>>,
    dials: FuturesUnordered<Boxed<Dialled>>,
    dialling: Vec<i32>,
    answers: FuturesUnordered<Boxed<Answered>>,
    seals: FuturesUnordered<Boxed<(SealDone, Compressor)>>,
    compressors: Vec<Compressor>,
    compression: Compression,
    seals_max: usize,
    identity: Option<Boxed<Result<ProducerIdentity, String>>>,
    transaction: Option<Boxed<TransactionOutcome>>,
}

/// What one look at the machine asks for.
struct Work {
    jobs: Vec<SealJob>,
    plans: Vec<RequestPlan>,
    unconnected: Vec<i32>,
    deadline: Option<Instant>,
    is_done: bool,
}

/// Runs until the producer is closed and all its batches are resolved.
pub(super) async fn run(shared: Arc<Shared>) {
    let codec = shared.config.compression;
    let level = shared
        .config
        .compression_level
        .and_then(|level| u32::try_from(level).ok());
    let mut metadata = shared.cluster.metadata_changes();
    // What was published before this task first ran is no change to it any more.
    shared.machine().handle_metadata(&shared.cluster.metadata());
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let mut sender = Sender {
        shared,
        connections: HashMap::new(),
        dials: FuturesUnordered::new(),
        dialling: Vec::new(),
        answers: FuturesUnordered::new(),
        seals: FuturesUnordered::new(),
        compressors: Vec::new(),
        compression: Compression { codec, level },
        seals_max: cores,
        identity: None,
        transaction: None,
    };
    loop {
        let work = sender.ask();
        if work.is_done {
            break;
        }
        let deadline = work.deadline;
        if sender.perform(work) {
            continue; // Something was done on the spot; the machine may have more now.
        }
        sender.wait(deadline, &mut metadata).await;
    }
    sender.shared.cluster.close();
    sender.shared.ended.send_replace(true);
}

impl Sender {
    fn ask(&mut self) -> Work {
        let shared = Arc::clone(&self.shared);
        let now = now();
        let mut machine = shared.machine();
        machine.handle_timeout(now);
        let room = if self.is_inline() {
            usize::MAX
        } else {
            self.seals_max - self.seals.len()
        };
        let mut jobs = Vec::new();
        while jobs.len() < room
            && let Some(job) = machine.poll_seal()
        {
            jobs.push(job);
        }
        if self.transaction.is_none()
            && let Some(request) = machine.poll_transaction_request(now)
        {
            self.transaction = Some(Box::pin(transaction_request::perform(Arc::clone(&shared), request)));
        }
        let mut plans = Vec::new();
        let mut unconnected = Vec::new();
        let connections = &mut self.connections;
        while let Some(plan) = machine.poll_request(now, |node_id| {
            let is_open = connections
                .get(&node_id)
                .is_some_and(|connection| !connection.is_closed());
            if !is_open {
                connections.remove(&node_id);
                unconnected.push(node_id);
            }
            is_open
        }) {
            plans.push(plan);
        }
        let outcomes = shared.take_outcomes(&mut machine);
        if machine.needs_producer_id() && self.identity.is_none() {
            self.identity = Some(Box::pin(obtain_identity(shared.cluster.clone())));
        }
        if machine.poll_metadata_wanted() {
            shared.cluster.refresh_metadata();
        }
        let deadline = machine.poll_deadline(now);
        let is_done = machine.is_done();
        let is_news = machine.poll_transaction_news();
        drop(machine);
        if is_news || is_done {
            shared.transaction_changed.notify_waiters();
        }
        shared.complete(outcomes);
        Work {
            jobs,
            plans,
            unconnected,
            deadline,
            is_done,
        }
    }

    /// Whether batches are sealed here: without compression that is only a checksum.
    fn is_inline(&self) -> bool {
        self.compression.codec == Codec::None
    }

    /// Does the work; true if something is done already.
    fn perform(&mut self, work: Work) -> bool {
        let mut is_done = false;
        for node_id in work.unconnected {
            if !self.dialling.contains(&node_id) {
                self.dialling.push(node_id);
                let cluster = self.shared.cluster.clone();
                self.dials.push(Box::pin(async move {
                    (
                        node_id,
                        cluster.connection(NodeTarget::Broker(node_id), Lane::Produce).await,
                    )
                }));
            }
        }
        for job in work.jobs {
            let mut compressor = self.compressors.pop().unwrap_or_default();
            let compression = self.compression;
            if self.is_inline() {
                let done = job.run(compression, &mut compressor);
                self.compressors.push(compressor);
                self.shared.machine().handle_sealed(done);
                is_done = true;
            } else {
                let sealing = tokio::task::spawn_blocking(move || (job.run(compression, &mut compressor), compressor));
                self.seals.push(Box::pin(async move {
                    match sealing.await {
                        Ok(sealed) => sealed,
                        // The runtime shuts down, and this task with it.
                        Err(_) => std::future::pending().await,
                    }
                }));
            }
        }
        for plan in work.plans {
            let request_id = plan.request_id;
            match self.submit(plan) {
                Ok(answer) => self.answers.push(answer),
                Err(error) => {
                    self.finish(Answered {
                        request_id,
                        named_by_id: NamedById::default(),
                        outcome: Err(error),
                    });
                    is_done = true;
                }
            }
        }
        is_done
    }

    fn submit(&self, plan: RequestPlan) -> Result<Boxed<Answered>, RequestError> {
        let config = &self.shared.config;
        let connection = self
            .connections
            .get(&plan.node_id)
            .expect("asked before the request was planned");
        let version = connection.version(ApiKey::Produce, Some(produce_request::versions(&plan)))?;
        let correlation_id = connection.next_correlation_id();
        let timeout = config.client.request_timeout;
        let segments = produce_request::encode(&plan, version, correlation_id, config);
        let segments = segments.map_err(|source| RequestError::Encode {
            api_key: ApiKey::Produce,
            source: Arc::new(source),
        })?;
        let expects_answer = config.acks != Acks::None;
        let answer = connection.submit_segments(
            ApiKey::Produce,
            version,
            correlation_id,
            segments,
            timeout,
            expects_answer,
        )?;
        let request_id = plan.request_id;
        let named_by_id = NamedById::of(&plan, version);
        if !named_by_id.is_empty() {
            self.shared.machine().handle_sent_by_topic_id(request_id);
        }
        Ok(Box::pin(async move {
            Answered {
                request_id,
                named_by_id,
                outcome: answer.await,
            }
        }))
    }

    /// Waits for the next thing to happen and tells the machine.
    async fn wait(&mut self, deadline: Option<Instant>, metadata: &mut MetadataChanges) {
        let identity = async {
            match &mut self.identity {
                Some(identity) => identity.await,
                None => std::future::pending().await,
            }
        };
        let transaction = async {
            match &mut self.transaction {
                Some(transaction) => transaction.await,
                None => std::future::pending().await,
            }
        };
        let timer = async {
            match deadline {
                Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.shared.wake_sender.notified() => {}
            Some(answered) = self.answers.next() => self.finish(answered),
            Some((done, compressor)) = self.seals.next() => {
                self.compressors.push(compressor);
                self.shared.machine().handle_sealed(done);
            }
            Some((node_id, outcome)) = self.dials.next() => self.connected(node_id, outcome),
            outcome = identity => {
                self.identity = None;
                match outcome {
                    Ok(identity) => self.shared.machine().handle_producer_id(identity),
                    Err(reason) => {
                        warn!(%reason, "No producer id: the producer gives up.");
                        self.shared.machine().abort(&reason.into());
                    }
                }
            }
            outcome = transaction => {
                self.transaction = None;
                self.shared.machine().handle_transaction_outcome(now(), &outcome);
            }
            () = metadata.changed() => {
                let metadata = self.shared.cluster.metadata();
                self.shared.machine().handle_metadata(&metadata);
            }
            () = timer => {}
        }
    }

    fn connected(&mut self, node_id: i32, outcome: Result<Arc<Connection>, RequestError>) {
        self.dialling.retain(|dialling| *dialling != node_id);
        match outcome {
            Ok(connection) => {
                self.connections.insert(node_id, connection);
            }
            Err(error) => {
                debug!(node_id, %error, "Leader cannot be reached.");
                self.shared
                    .machine()
                    .handle_unreachable(node_id, &describe(&error).into());
            }
        }
    }

    fn finish(&mut self, answered: Answered) {
        let Answered {
            request_id,
            named_by_id,
            outcome,
        } = answered;
        let mut throttle = Duration::ZERO;
        let decoded = outcome.and_then(|raw| match self.shared.config.acks {
            Acks::None => Ok(RequestOutcome::Written),
            Acks::Leader | Acks::All => {
                let response: ProduceResponse = raw.decode(ApiKey::Produce)?;
                throttle = Duration::from_millis(u64::try_from(response.throttle_time_ms).unwrap_or(0));
                let (answers, hints) = produce_request::answers(response, &named_by_id);
                for hint in hints {
                    self.shared
                        .cluster
                        .apply_leader(&hint.topic, hint.topic_id, hint.partition, hint.leader);
                }
                Ok(RequestOutcome::Answered(answers))
            }
        });
        let outcome = decoded.unwrap_or_else(|error| {
            debug!(%error, "Produce request failed.");
            let reason = describe(&error).into();
            match error {
                // The broker may have the batches, whatever its answer looks like.
                RequestError::Decode { .. } | RequestError::Header { .. } => RequestOutcome::Lost(reason),
                error if error.is_retriable() => RequestOutcome::Lost(reason),
                _ => RequestOutcome::Impossible(reason),
            }
        });
        self.shared
            .machine()
            .handle_outcome(now(), request_id, outcome, throttle);
    }
}
