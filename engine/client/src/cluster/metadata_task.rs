//! The task that asks for metadata when `engine_proto::cluster::MetadataRefresh` says so.

use std::sync::{Arc, Weak};

use engine_proto::cluster::RefreshRequest;
use engine_wire::{
    error_code::ErrorCode,
    messages::{
        ApiKey, MetadataRequest, MetadataResponse, StrBytes, TopicName, metadata_request::MetadataRequestTopic,
    },
};
use tracing::debug;

use super::{
    pool::{Inner, Lane},
    slot::lock,
};
use crate::connection::{RequestError, now};

/// Runs until the last handle on the cluster is gone.
pub(super) async fn run(cluster: Weak<Inner>) {
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
            let outcome = ask(&inner, request).await;
            publish(&inner, outcome);
            continue;
        }
        // A year stands for never; a demand wakes this task anyway.
        let deadline = deadline.unwrap_or_else(|| now() + std::time::Duration::from_secs(365 * 24 * 3600));
        let wake = Arc::clone(&inner.refresh_wake);
        drop(inner); // Asleep, this task must not keep the cluster alive.
        let _ = tokio::time::timeout_at(deadline.into(), wake.notified()).await;
    }
}

async fn ask(inner: &Inner, request: RefreshRequest) -> Result<MetadataResponse, RequestError> {
    let connection = inner.any_connection(Lane::Control).await?;
    let version = connection.version(ApiKey::Metadata, None)?;
    let topics = request.topics.map(|topics| {
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

fn publish(inner: &Inner, outcome: Result<MetadataResponse, RequestError>) {
    let now = now();
    match outcome {
        Ok(response) => {
            let failed = ErrorCode::from(response.error_code);
            if failed != ErrorCode::NONE {
                debug!(error = %failed, "Metadata request was refused.");
            }
            // In one step: whoever sees its demand satisfied must see the new cache too.
            inner.published.send_modify(|published| {
                Arc::make_mut(&mut published.metadata).apply(&response);
                published.error = None;
                lock(&inner.refresh).handle_answer(now);
            });
        }
        Err(error) => {
            debug!(%error, "Metadata request failed.");
            lock(&inner.refresh).handle_failure(now);
            inner.published.send_modify(|published| published.error = Some(error));
        }
    }
}
