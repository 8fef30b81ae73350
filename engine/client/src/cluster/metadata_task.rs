//! The task that asks for metadata when `engine_proto::cluster::MetadataRefresh` says so.

use std::{
    sync::{Arc, Mutex, Weak},
    time::Duration,
};

use engine_proto::cluster::{RefreshRequest, RefreshSource};
use engine_wire::{
    error_code::ErrorCode,
    messages::{
        ApiKey, MetadataRequest, MetadataResponse, StrBytes, TopicName, metadata_request::MetadataRequestTopic,
    },
};
use futures::{StreamExt, stream::FuturesUnordered};
use tracing::{debug, info, warn};

use super::{
    outage::Outage,
    pool::{Endpoint, Inner, Lane},
    slot::lock,
};
use crate::connection::{RequestError, SILENT_ANSWER, describe, now};

/// Runs until the last handle on the cluster is gone.
pub(super) async fn run(cluster: Weak<Inner>) {
    let mut told = Told::default();
    loop {
        let Some(inner) = cluster.upgrade() else {
            return;
        };
        let (request, deadline) = {
            let mut refresh = lock(&inner.refresh);
            let now = now();
            (refresh.poll_request(now), refresh.poll_deadline(now))
        };
        if let Some(request) = request {
            told.note_request(&request);
            let outcome = ask(&inner, &request).await.and_then(accepted);
            told.note_outcome(outcome.as_ref().err());
            publish(&inner, &request, outcome);
            inner.forget_gone_brokers();
            continue;
        }
        // A year stands for never; a demand wakes this task anyway.
        let deadline = deadline.unwrap_or_else(|| now() + std::time::Duration::from_secs(365 * 24 * 3600));
        let wake = Arc::clone(&inner.refresh_wake);
        drop(inner); // Asleep, this task must not keep the cluster alive.
        let _ = tokio::time::timeout_at(deadline.into(), wake.notified()).await;
    }
}

/// Asks a broker, and another one when that one is silent: one that hangs keeps its connection open.
async fn ask(inner: &Inner, request: &RefreshRequest) -> Result<MetadataResponse, RequestError> {
    let asked = Mutex::default();
    let mut attempts = FuturesUnordered::new();
    let mut failure = None;
    for attempt in 1..=ATTEMPTS_AT_ONCE {
        attempts.push(ask_another(inner, request, &asked));
        let patience = match attempt {
            ATTEMPTS_AT_ONCE => Duration::MAX,
            _ => SILENT_ANSWER,
        };
        let deadline = tokio::time::sleep(patience);
        let mut deadline = std::pin::pin!(deadline);
        loop {
            let outcome = tokio::select! {
                outcome = attempts.next() => outcome,
                () = &mut deadline => {
                    if lock(&asked).len() >= attempt {
                        break;
                    }
                    deadline.as_mut().reset(tokio::time::Instant::now() + patience); // Still dialling.
                    continue;
                }
            };
            match outcome {
                Some(Ok(response)) => return Ok(response),
                // Silence is answered by asking more brokers, an error by a pause.
                Some(Err(error)) => {
                    if matches!(failure, None | Some(RequestError::UnknownNode { .. })) {
                        failure = Some(error); // Nobody else to ask says less than what one of them said.
                    }
                }
                None => break,
            }
        }
        if attempts.is_empty() {
            break;
        }
    }
    Err(failure.expect("every attempt ended, and none with an answer"))
}

async fn ask_another(
    inner: &Inner,
    request: &RefreshRequest,
    asked: &Mutex<Vec<Endpoint>>,
) -> Result<MetadataResponse, RequestError> {
    let avoided = lock(asked).clone();
    let (endpoint, connection) = inner
        .any_connection_but(&avoided, request.source, Lane::Control)
        .await?;
    lock(asked).push(endpoint);
    let version = connection.version(ApiKey::Metadata, None)?;
    let topics = request.topics.as_ref().map(|topics| {
        let name = |topic: &Arc<str>| TopicName(StrBytes::from_string(topic.as_ref().into()));
        let named = |topic| MetadataRequestTopic::default().with_name(Some(name(topic)));
        topics.iter().map(named).collect()
    });
    let body = MetadataRequest::default()
        .with_topics(topics)
        .with_allow_auto_topic_creation(inner.config.allow_auto_create_topics);
    let answer = connection.submit(version, &body, inner.config.request_timeout)?;
    answer.await?.decode(ApiKey::Metadata)
}

/// An answer that is an error as a whole, as brokers of Metadata 13 have it, tells nothing else.
fn accepted(response: MetadataResponse) -> Result<MetadataResponse, RequestError> {
    match ErrorCode::from(response.error_code) {
        ErrorCode::NONE => Ok(response),
        code => Err(RequestError::Metadata { code }),
    }
}

fn publish(inner: &Inner, request: &RefreshRequest, outcome: Result<MetadataResponse, RequestError>) {
    let now = now();
    // In one step: whoever sees its demand satisfied must see the new cache too.
    inner.published.send_modify(|published| match outcome {
        Ok(mut response) => {
            let metadata = Arc::make_mut(&mut published.metadata);
            let mut lacks_topics = false;
            match &request.topics {
                Some(wanted) => {
                    // What nobody asked for would stay for good, and each answer could bring more.
                    let is_wanted = |name: &TopicName| wanted.binary_search_by(|topic| (**topic).cmp(name)).is_ok();
                    response
                        .topics
                        .retain(|topic| topic.name.as_ref().is_some_and(is_wanted));
                    metadata.apply(&response);
                    // Left out, or without partitions, and no word about why.
                    lacks_topics = wanted.iter().any(|topic| {
                        let known = metadata.topic(topic);
                        known.is_none_or(|known| known.partitions.is_empty() && known.error == ErrorCode::NONE)
                    });
                }
                None => metadata.apply_all(&response),
            }
            published.error = None;
            let mut topics = response.topics.iter();
            lacks_topics |= topics.any(|topic| ErrorCode::from(topic.error_code).is_retriable());
            let mut refresh = lock(&inner.refresh);
            match lacks_topics {
                true => refresh.handle_incomplete_answer(now),
                false => refresh.handle_answer(now),
            }
        }
        Err(error) => {
            debug!(%error, "Metadata request failed.");
            let mut refresh = lock(&inner.refresh);
            match error {
                RequestError::Metadata {
                    code: ErrorCode::REBOOTSTRAP_REQUIRED,
                } => refresh.handle_rebootstrap_required(now),
                _ => refresh.handle_failure(now),
            }
            published.error = Some(error);
            published.failures += 1;
        }
    });
}

/// What the log is told of the talk about metadata. Before the first answer the caller of `connect` waits, and is told
/// there.
#[derive(Debug, Default)]
struct Told {
    has_answered: bool,
    outage: Outage,
    has_given_up: bool,
}

impl Told {
    fn note_request(&mut self, request: &RefreshRequest) {
        let gives_up = request.source == RefreshSource::Bootstrap;
        if gives_up && !self.has_given_up {
            warn!("The known brokers are given up; starting again from bootstrap.servers.");
            self.outage.note_told(now());
        }
        self.has_given_up = gives_up;
    }

    fn note_outcome(&mut self, error: Option<&RequestError>) {
        match error {
            None => {
                self.has_answered = true;
                if self.outage.note_success() {
                    info!("Brokers answer again.");
                }
            }
            Some(error) if self.has_answered && self.outage.note_failure(now()) => {
                warn!(error = describe(error), "No broker answers; trying on.");
            }
            Some(_) => {}
        }
    }
}

/// How many brokers are asked at the same time while all of them are silent.
const ATTEMPTS_AT_ONCE: usize = 3;
