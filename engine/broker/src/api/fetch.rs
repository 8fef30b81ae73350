//! Fetch: batches as they are kept, as soon as there are enough of them or the client has waited long enough.
//!
//! The answer is written by hand, so that batches go from the log to the socket without being copied.

mod response;
mod wanted;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use engine_wire::error_code::ErrorCode;
use engine_wire::messages::FetchRequest;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use crate::api::Meets;
use crate::api::fetch::response::ResponseWriter;
use crate::api::fetch::wanted::{Fetched, TOPIC_IDS, Wanted, WantedPartition};
use crate::exchange::Asker;
use crate::fetch_session::{Answered, SessionRequest, SessionUse, Told};
use crate::log::read::LogSlice;
use crate::node::Node;
use crate::partition::Partition;

const READ_COMMITTED: i8 = 1;

/// What a request asks for in all.
#[derive(Clone, Copy)]
struct Bounds {
    bytes_min: usize,
    bytes_max: usize,
    /// Nothing from the last stable offset on.
    is_read_committed: bool,
}

/// Everything found for a request at one moment.
struct Found {
    topics: Vec<Vec<Fetched>>,
    size: usize,
    any_failed: bool,
}

pub(super) async fn handle(
    node: &Arc<Node>,
    asker: Asker<'_>,
    correlation_id: i32,
    mut request: FetchRequest,
    meets: Meets,
) -> Vec<Bytes> {
    let mut response = ResponseWriter::new(asker.version, correlation_id, meets.corrupts_crc);
    let throttle_ms = meets.throttle_ms();
    let session = SessionRequest {
        id: request.session_id,
        // Before version 7 there are no sessions.
        epoch: if asker.version >= 7 { request.session_epoch } else { -1 },
        has_topic_ids: asker.version >= TOPIC_IDS,
        topics: std::mem::take(&mut request.topics),
        forgotten: std::mem::take(&mut request.forgotten_topics_data),
    };
    let using = match node.fetch_sessions.begin(session) {
        Ok((using, topics)) => {
            request.topics = topics;
            using
        }
        Err(code) => {
            response.put_top(throttle_ms, code, 0, 0);
            return response.finish();
        }
    };
    let wait = Duration::from_millis(u64::try_from(request.max_wait_ms).unwrap_or(0));
    let bytes_max = usize::try_from(request.max_bytes)
        .unwrap_or(0)
        .min(node.config.fetch_bytes_max);
    let bounds = Bounds {
        bytes_min: usize::try_from(request.min_bytes).unwrap_or(0).min(bytes_max),
        bytes_max,
        is_read_committed: request.isolation_level == READ_COMMITTED,
    };
    let wanted = resolve(node, asker, request, meets.error);
    let found = wait_for_bytes(&wanted, bounds, wait).await;

    put_found(node, &mut response, throttle_ms, using, &wanted, found);
    response.finish()
}

/// Writes what was found, in a session only what is new.
fn put_found(
    node: &Node,
    response: &mut ResponseWriter,
    throttle_ms: i32,
    using: SessionUse,
    wanted: &[Wanted],
    found: Found,
) {
    let answered = |fetched: &Fetched| Answered {
        told: Told {
            high_watermark: fetched.high_watermark,
            last_stable_offset: fetched.last_stable_offset,
            log_start_offset: fetched.log_start_offset,
        },
        has_records: fetched.batches.size() > 0,
        has_failed: fetched.error != ErrorCode::NONE,
    };
    let answered: Vec<Answered> = found.topics.iter().flatten().map(answered).collect();
    let mut included = node.fetch_sessions.end(using, &answered).into_iter();
    let mut topics = Vec::with_capacity(wanted.len());
    for (topic, fetched) in wanted.iter().zip(found.topics) {
        let partitions = topic.partitions.iter().zip(fetched);
        let partitions: Vec<_> = partitions.filter(|_| included.next().unwrap_or(true)).collect();
        if !partitions.is_empty() || using == SessionUse::None {
            topics.push((topic, partitions));
        }
    }
    let session_id = match using {
        SessionUse::None => 0,
        SessionUse::New { id } | SessionUse::Incremental { id, .. } => id,
    };
    response.put_top(throttle_ms, ErrorCode::NONE, session_id, topics.len());
    for (topic, partitions) in topics {
        response.put_topic(topic, partitions.len());
        for (partition, fetched) in partitions {
            response.put_partition(partition.index, fetched);
        }
        response.put_tags();
    }
}

fn resolve(node: &Node, asker: Asker<'_>, request: FetchRequest, fault: Option<ErrorCode>) -> Vec<Wanted> {
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let found = match asker.version {
            TOPIC_IDS.. => node
                .topics
                .find_by_id(topic.topic_id)
                .ok_or(ErrorCode::UNKNOWN_TOPIC_ID),
            _ => node
                .topics
                .find(&topic.topic)
                .ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
        };
        let found = fault.map_or(found, Err);
        let partition = |wanted: engine_wire::messages::fetch_request::FetchPartition| {
            let partition = found.clone().and_then(|topic| {
                let partition = topic
                    .partition(wanted.partition)
                    .ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
                Ok(partition)
            });
            WantedPartition {
                index: wanted.partition,
                offset: wanted.fetch_offset,
                bytes_max: usize::try_from(wanted.partition_max_bytes).unwrap_or(0),
                leader_epoch: wanted.current_leader_epoch,
                partition,
            }
        };
        topics.push(Wanted {
            name: topic.topic.to_string(),
            topic_id: topic.topic_id,
            partitions: topic.partitions.into_iter().map(partition).collect(),
        });
    }
    topics
}

/// Long poll: looks, and while that is not enough and there is time, looks again whenever one of the partitions
/// grew. A marker that ends a transaction is growth too, so read_committed waits in the same way.
async fn wait_for_bytes(wanted: &[Wanted], bounds: Bounds, wait: Duration) -> Found {
    let is_enough = |found: &Found| found.size >= bounds.bytes_min || found.any_failed;
    let deadline = Instant::now() + wait;
    let found = look(wanted, bounds);
    if is_enough(&found) || wait.is_zero() {
        return found;
    }
    drop(found);
    let waiting = Waiting::begin(wanted);
    loop {
        let found = look(wanted, bounds);
        if is_enough(&found) {
            return found;
        }
        drop(found);
        if timeout_at(deadline, waiting.waiter.notified()).await.is_err() {
            return look(wanted, bounds);
        }
    }
}

fn look(wanted: &[Wanted], bounds: Bounds) -> Found {
    let mut found = Found {
        topics: Vec::with_capacity(wanted.len()),
        size: 0,
        any_failed: false,
    };
    for topic in wanted {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for partition in &topic.partitions {
            let left = bounds.bytes_max.saturating_sub(found.size);
            let fetched = look_into(partition, left, found.size == 0, bounds.is_read_committed);
            found.size += fetched.batches.size();
            found.any_failed |= fetched.error != ErrorCode::NONE;
            partitions.push(fetched);
        }
        found.topics.push(partitions);
    }
    found
}

fn look_into(wanted: &WantedPartition, bytes_left: usize, first_always: bool, is_read_committed: bool) -> Fetched {
    let nothing = |error, [log_start_offset, last_stable_offset, high_watermark]: [i64; 3]| Fetched {
        error,
        high_watermark,
        last_stable_offset,
        log_start_offset,
        aborted: is_read_committed.then(Vec::new),
        batches: LogSlice::default(),
    };
    let partition = match &wanted.partition {
        Ok(partition) => partition,
        Err(code) => return nothing(*code, [-1; 3]),
    };
    // At every look: the leader may move while a fetch waits.
    if let Err(code) = partition.check_leader_epoch(wanted.leader_epoch) {
        return nothing(code, [-1; 3]);
    }
    partition.look(|log| {
        let (start, stable, end) = (log.log_start_offset(), log.last_stable_offset(), log.next_offset());
        if !(start..=end).contains(&wanted.offset) {
            return nothing(ErrorCode::OFFSET_OUT_OF_RANGE, [start, stable, end]);
        }
        let bound = if is_read_committed { stable } else { end };
        let bytes_max = bytes_left.min(wanted.bytes_max);
        let (batches, next_offset) = log.read(wanted.offset, bound, bytes_max, first_always);
        let aborted = is_read_committed.then(|| log.transactions.aborted_within(wanted.offset, next_offset));
        Fetched {
            error: ErrorCode::NONE,
            high_watermark: end,
            last_stable_offset: stable,
            log_start_offset: start,
            aborted,
            batches,
        }
    })
}

/// Registered with every partition of a request; no longer when dropped.
struct Waiting<'a> {
    waiter: Arc<Notify>,
    wanted: &'a [Wanted],
}

impl<'a> Waiting<'a> {
    fn begin(wanted: &'a [Wanted]) -> Self {
        let waiting = Self {
            waiter: Arc::new(Notify::new()),
            wanted,
        };
        waiting
            .partitions()
            .for_each(|partition| partition.wait(&waiting.waiter));
        waiting
    }

    fn partitions(&self) -> impl Iterator<Item = &Arc<Partition>> {
        self.wanted
            .iter()
            .flat_map(|topic| &topic.partitions)
            .filter_map(|one| one.partition.as_ref().ok())
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.partitions()
            .for_each(|partition| partition.stop_waiting(&self.waiter));
    }
}
