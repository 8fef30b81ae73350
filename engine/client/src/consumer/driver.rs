//! The consumer's background task: carries out what the machines ask for.
//!
//! One loop: lock, let the machines say what to do, unlock, start it, wait for an answer, a timer,
//! new metadata or the application. Every request is a task of its own; their number is bounded
//! by the machines (one fetch per broker, one group request and one heartbeat at a time, one look-up per
//! partition).

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use engine_proto::{
    cluster::{ClusterMetadata, Leader},
    connection::ApiRange,
    fetch::{
        lookup::{Found, Lookup, Question},
        partition::PartitionLeader,
        plan::FetchPlan,
        planned::PlannedPartition,
        position::Position,
    },
    group::assignor::PartitionCounts,
};
use engine_wire::{
    error_code::{ErrorClass, ErrorCode},
    messages::{ApiKey, FetchResponse},
};
use tokio::task::JoinSet;
use tracing::{debug, warn};

use super::{
    group_requests::{GroupOutcome, perform},
    machines::{Shared, State},
};
use crate::{
    cluster::{Cluster, Lane, NodeTarget},
    config::IsolationLevel,
    connection::{RequestError, now},
    offsets::{
        OffsetsError,
        committed::fetch_committed,
        list::{epoch_ends_once, list_offsets_once},
    },
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

/// Look-ups that wait for the same broker, apart from the others: one that hangs must not hold up what others know.
fn by_whom_to_ask(cluster: &Cluster, lookups: Vec<Lookup>) -> Vec<Vec<Lookup>> {
    let metadata = cluster.metadata();
    let mut groups: BTreeMap<Option<i32>, Vec<Lookup>> = BTreeMap::new();
    for lookup in lookups {
        let leader = match lookup.question {
            Question::Committed => None, // The coordinator knows.
            _ => metadata.leader_for(&lookup.tp.topic, lookup.tp.partition),
        };
        groups
            .entry(leader.map(|leader| leader.node_id))
            .or_default()
            .push(lookup);
    }
    groups.into_values().collect()
}

/// One round of look-ups: committed offsets, offsets by time and ends of epochs, side by side.
async fn look_up(shared: &Shared, cluster: &Cluster, lookups: Vec<Lookup>) -> Vec<(Lookup, Found)> {
    let mut committed = Vec::new();
    let mut times = Vec::new();
    let mut epochs = Vec::new();
    for lookup in lookups {
        match lookup.question {
            Question::Committed => committed.push(lookup),
            Question::Timestamp(_) | Question::Ago(_) => times.push(lookup),
            Question::EndOfEpoch { .. } => epochs.push(lookup),
        }
    }
    let (mut answers, listed, ended) = tokio::join!(
        look_up_committed(shared, cluster, committed),
        look_up_times(shared, cluster, times),
        look_up_epochs(cluster, epochs),
    );
    answers.extend(listed);
    answers.extend(ended);
    answers
}

async fn look_up_committed(shared: &Shared, cluster: &Cluster, lookups: Vec<Lookup>) -> Vec<(Lookup, Found)> {
    if lookups.is_empty() {
        return Vec::new();
    }
    let Some(group) = shared.config.group_id.as_deref() else {
        // Without a group nothing is committed: auto.offset.reset decides.
        return lookups.into_iter().map(|lookup| (lookup, Found::Nothing)).collect();
    };
    let partitions: Vec<_> = lookups.iter().map(|lookup| lookup.tp.clone()).collect();
    let require_stable = shared.config.isolation_level == IsolationLevel::ReadCommitted;
    let committed = match fetch_committed(cluster, group, Some(&partitions), require_stable).await {
        Ok(committed) => committed,
        Err(error) => {
            warn!(%group, %error, "Committed offsets could not be read.");
            let found = not_committed(&error);
            return lookups.into_iter().map(|lookup| (lookup, found)).collect();
        }
    };
    let answers = lookups.into_iter().zip(committed).map(|(lookup, (_, committed))| {
        let found = committed.map_or(Found::Nothing, |committed| {
            Found::At(Position {
                offset: committed.offset,
                leader_epoch: committed.leader_epoch,
            })
        });
        (lookup, found)
    });
    answers.collect()
}

fn not_committed(error: &OffsetsError) -> Found {
    match error {
        OffsetsError::Partition { code, .. } | OffsetsError::Group { code, .. } => match code.class() {
            ErrorClass::Retriable | ErrorClass::RefreshMetadata => Found::Retry,
            _ => Found::Refused(*code),
        },
        OffsetsError::Request(error) if !error.is_retriable() => match error {
            RequestError::Coordinator { code, .. } => Found::Refused(*code),
            _ => Found::Refused(ErrorCode::UNKNOWN_SERVER_ERROR),
        },
        _ => Found::Retry,
    }
}

async fn look_up_times(shared: &Shared, cluster: &Cluster, lookups: Vec<Lookup>) -> Vec<(Lookup, Found)> {
    let queries: Vec<_> = lookups
        .iter()
        .filter_map(|lookup| match lookup.question {
            Question::Timestamp(timestamp) => Some((lookup.tp.clone(), timestamp)),
            Question::Ago(duration) => Some((lookup.tp.clone(), time_before(duration))),
            _ => None,
        })
        .collect();
    let isolation_level = shared.config.isolation_level.code();
    let listed = list_offsets_once(cluster, isolation_level, &queries).await;
    let answers = lookups.into_iter().zip(listed);
    answers.map(|(lookup, (_, listed))| (lookup, listed.found())).collect()
}

async fn look_up_epochs(cluster: &Cluster, lookups: Vec<Lookup>) -> Vec<(Lookup, Found)> {
    let questions: Vec<_> = lookups
        .iter()
        .filter_map(|lookup| match lookup.question {
            Question::EndOfEpoch {
                leader_epoch,
                current_leader_epoch,
            } => Some((lookup.tp.clone(), leader_epoch, current_leader_epoch)),
            _ => None,
        })
        .collect();
    let ended = epoch_ends_once(cluster, &questions).await;
    lookups
        .into_iter()
        .zip(ended)
        .map(|(lookup, (_, found))| (lookup, found))
        .collect()
}

/// Milliseconds since 1970, so long before now. Not before 1970: negative numbers are ListOffsets' names for places.
fn time_before(duration: Duration) -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.saturating_sub(duration).as_millis()).unwrap_or(i64::MAX)
}

/// 18 adds what only replicas send.
const FETCH_VERSION_MAX: i16 = 17;
/// A broker that answers at all answers within a moment.
const END_SESSIONS_TIMEOUT: Duration = Duration::from_secs(1);
