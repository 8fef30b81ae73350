//! Where partitions begin: what the fetcher wants to know, asked of whoever knows it.
//!
//! Never here: what an answer means for a position (see `engine_proto::fetch`).

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use engine_proto::fetch::{
    lookup::{Found, Lookup, Question},
    position::Position,
};
use engine_wire::error_code::{ErrorClass, ErrorCode};
use tracing::warn;

use super::machines::Shared;
use crate::{
    cluster::Cluster,
    config::IsolationLevel,
    connection::RequestError,
    offsets::{
        OffsetsError,
        committed::fetch_committed,
        list::{epoch_ends_once, list_offsets_once},
    },
};

/// Look-ups that wait for the same broker, apart from the others: one that hangs must not hold up what others know.
pub(super) fn by_whom_to_ask(cluster: &Cluster, lookups: Vec<Lookup>) -> Vec<Vec<Lookup>> {
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
pub(super) async fn look_up(shared: &Shared, cluster: &Cluster, lookups: Vec<Lookup>) -> Vec<(Lookup, Found)> {
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
