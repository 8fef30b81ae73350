//! The consumer's background task: carries out what the machines ask for.
//!
//! One loop: lock, let the machines say what to do, unlock, start it, wait for an answer, a timer,
//! new metadata or the application. Every request is a task of its own; their number is bounded
//! by the machines (one fetch per broker, one group request and one heartbeat at a time, one look-up per
//! partition).

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use engine_proto::{
    cluster::{ClusterMetadata, Leader},
    connection::ApiRange,
    fetch::{
        lookup::{Found, Lookup},
        partition::PartitionLeader,
        plan::FetchPlan,
        planned::PlannedPartition,
    },
    group::assignor::PartitionCounts,
};
use engine_wire::{
    error_code::ErrorCode,
    messages::{ApiKey, FetchResponse},
};
use tokio::task::JoinSet;
use tracing::{debug, warn};

use super::{
    group_requests::{GroupOutcome, perform},
    look_ups::{by_whom_to_ask, look_up},
    machines::{Shared, State},
};
use crate::{
    cluster::{Cluster, Lane, NodeTarget},
    connection::{RequestError, now},
};

/// What a request came to.
enum Outcome {
    Group(GroupOutcome),
    Found(Vec<(Lookup, Found)>),
    Fetched {
        plan: FetchPlan,
        answer: Result<(i16, FetchResponse), RequestError>,
    },
}

/// Runs until the consumer closes.
pub(super) async fn run(shared: Arc<Shared>, cluster: Cluster) {
    let mut requests: JoinSet<Outcome> = JoinSet::new();
    let mut changes = cluster.metadata_changes();
    take_metadata(&shared, &cluster);
    loop {
        let wake_at = {
            let mut state = shared.lock();
            if state.closing {
                break;
            }
            start_requests(&shared, &cluster, &mut state, &mut requests)
        };
        let timer = async {
            match wake_at {
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            Some(outcome) = requests.join_next() => match outcome {
                Ok(outcome) => handle(&shared, &cluster, outcome),
                Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                Err(_) => break,
            },
            () = shared.wake_driver.notified() => {}
            () = changes.changed() => take_metadata(&shared, &cluster),
            () = timer => {}
        }
    }
    requests.abort_all();
    let (leave, ends) = {
        let mut state = shared.lock();
        let membership = state.membership.as_mut();
        let leave = membership.and_then(|membership| {
            membership.handle_close();
            membership.poll_action(now())
        });
        (leave, state.fetcher.end_sessions())
    };
    let leaving = async {
        if let Some(leave) = leave {
            perform(&cluster, &shared.config, leave).await;
        }
    };
    // Not behind the fetch that waits at the broker, and not for long: the broker gets over it.
    let ending = async {
        let ends = ends.iter().map(|plan| fetch(&cluster, plan, Lane::Control));
        let _ = tokio::time::timeout(END_SESSIONS_TIMEOUT, futures::future::join_all(ends)).await;
    };
    let both = async { tokio::join!(leaving, ending) };
    let _ = tokio::time::timeout(super::CLOSE_TIMEOUT, both).await;
    cluster.close();
}

/// Starts all that the machines ask for, and says when to ask them again.
fn start_requests(
    shared: &Arc<Shared>,
    cluster: &Cluster,
    state: &mut State,
    requests: &mut JoinSet<Outcome>,
) -> Option<Instant> {
    let now = now();
    let mut wake_at = None;
    if let Some(membership) = &mut state.membership {
        while let Some(action) = membership.poll_action(now) {
            let (shared, cluster) = (shared.clone(), cluster.clone());
            requests.spawn(async move { Outcome::Group(perform(&cluster, &shared.config, action).await) });
        }
        if membership.has_event() {
            shared.wake_application.notify_one();
        }
        if membership.poll_metadata_wanted(now) {
            cluster.refresh_metadata();
        }
        wake_at = membership.poll_timeout();
    }
    for lookups in by_whom_to_ask(cluster, state.fetcher.poll_lookups(now)) {
        let (shared, cluster) = (shared.clone(), cluster.clone());
        requests.spawn(async move { Outcome::Found(look_up(&shared, &cluster, lookups).await) });
    }
    while let Some(plan) = state.fetcher.poll_fetch(now) {
        let cluster = cluster.clone();
        requests.spawn(async move {
            let answer = fetch(&cluster, &plan, Lane::Fetch).await;
            Outcome::Fetched { plan, answer }
        });
    }
    if state.fetcher.poll_metadata_wanted() {
        cluster.refresh_metadata();
    }
    if state.fetcher.is_ready() {
        shared.wake_application.notify_one();
    }
    [wake_at, state.fetcher.poll_timeout()].into_iter().flatten().min()
}

fn handle(shared: &Shared, cluster: &Cluster, outcome: Outcome) {
    let now = now();
    let mut hints = Vec::new();
    // A topic that came or grew between the counting and this was no news to a member in the middle of a rebalance.
    let is_dealt_out = matches!(outcome, Outcome::Group(GroupOutcome::Synced { .. }));
    let mut state = shared.lock();
    match outcome {
        Outcome::Group(outcome) => handle_group(&mut state, now, outcome),
        Outcome::Found(found) => {
            for (lookup, found) in found {
                if let Found::Refused(code) = found {
                    state.count_error(code.name());
                }
                state.fetcher.handle_found(now, &lookup, found);
            }
        }
        Outcome::Fetched {
            plan,
            answer: Ok((version, response)),
        } => {
            for topic in &response.responses {
                for partition in topic.partitions.iter().filter(|p| p.error_code != 0) {
                    state.count_error(ErrorCode::from(partition.error_code).name());
                }
            }
            hints = leader_hints(&plan, version, &response);
            state.fetcher.handle_fetch(now, &plan, version, response);
        }
        Outcome::Fetched {
            plan,
            answer: Err(error),
        } => {
            // The next metadata says who leads now; a broker that restarts is no news.
            match error.is_retriable() {
                true => debug!(node_id = plan.node_id, %error, "Fetch failed."),
                false => warn!(node_id = plan.node_id, %error, "Fetch failed."),
            }
            state.count_error("FETCH_REQUEST_FAILED");
            state.fetcher.handle_fetch_failed(now, &plan);
        }
    }
    drop(state);
    if is_dealt_out {
        take_metadata(shared, cluster);
    }
    for (planned, leader) in hints {
        let tp = &planned.tp;
        cluster.apply_leader(&tp.topic, planned.topic_id, tp.partition, leader);
    }
}

/// Newer leaders that brokers name beside a refusal (KIP-951): no need to wait for metadata.
fn leader_hints(plan: &FetchPlan, version: i16, response: &FetchResponse) -> Vec<(PlannedPartition, Leader)> {
    let mut hints = Vec::new();
    for topic in &response.responses {
        for partition in topic.partitions.iter().filter(|p| p.current_leader.leader_id.0 >= 0) {
            let planned = plan.partition(version, &topic.topic, topic.topic_id, partition.partition_index);
            let leader = Leader {
                node_id: partition.current_leader.leader_id.0,
                leader_epoch: partition.current_leader.leader_epoch,
            };
            hints.extend(planned.map(|planned| (planned.clone(), leader)));
        }
    }
    hints
}

fn handle_group(state: &mut State, now: Instant, outcome: GroupOutcome) {
    let Some(membership) = &mut state.membership else {
        return;
    };
    match outcome {
        GroupOutcome::Coordinator(found) => membership.handle_coordinator(now, found),
        GroupOutcome::Joined { attempt, answer } => membership.handle_join(now, attempt, answer),
        GroupOutcome::Counted { generation_id, answer } => {
            membership.handle_partition_counts(generation_id, answer, now);
        }
        GroupOutcome::Synced { generation_id, answer } => {
            membership.handle_sync(now, generation_id, answer);
        }
        GroupOutcome::Heartbeat { generation_id, answer } => {
            membership.handle_heartbeat(now, generation_id, answer);
        }
        GroupOutcome::Left => {}
    }
}

fn take_metadata(shared: &Shared, cluster: &Cluster) {
    let metadata = cluster.metadata();
    let mut state = shared.lock();
    refresh_leaders(&mut state, &metadata);
    if let Some(membership) = &mut state.membership {
        let counts: PartitionCounts = membership
            .led_topics()
            .filter_map(|topic| Some((topic.clone(), metadata.partition_count(topic)?)))
            .collect();
        membership.handle_cluster(now(), &counts);
    }
}

/// Tells the fetcher who leads its partitions.
pub(super) fn refresh_leaders(state: &mut State, metadata: &ClusterMetadata) {
    state.fetcher.handle_leaders(|tp| {
        let topic = metadata.topic(&tp.topic)?;
        let partition = topic.partitions.get(usize::try_from(tp.partition).ok()?)?;
        let leader = metadata.leader_for(&tp.topic, tp.partition);
        Some(PartitionLeader {
            node_id: leader.map(|leader| leader.node_id),
            leader_epoch: partition.leader_epoch,
            topic_id: topic.topic_id,
        })
    });
}

async fn fetch(cluster: &Cluster, plan: &FetchPlan, lane: Lane) -> Result<(i16, FetchResponse), RequestError> {
    let max = plan.version_within(FETCH_VERSION_MAX);
    let ours = Some(ApiRange { min: 4, max });
    let target = NodeTarget::Broker(plan.node_id);
    let wait = std::time::Duration::from_millis(u64::try_from(plan.wait_max_ms).unwrap_or(0));
    let timeout = cluster.config().request_timeout + wait;
    let connection = cluster.connection(target, lane).await?;
    let version = connection.version(ApiKey::Fetch, ours)?;
    let answer = connection.submit(version, &plan.request(version), timeout)?;
    Ok((version, answer.await?.decode(ApiKey::Fetch)?))
}

/// 18 adds what only replicas send.
const FETCH_VERSION_MAX: i16 = 17;
/// A broker that answers at all answers within a moment.
const END_SESSIONS_TIMEOUT: Duration = Duration::from_secs(1);
