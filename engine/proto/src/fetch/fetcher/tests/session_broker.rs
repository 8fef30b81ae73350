//! The broker's side of fetch sessions (KIP-227), as far as what it believes is to be read.

use std::collections::BTreeMap;

use engine_wire::error_code::ErrorCode;
use engine_wire::messages::{FetchRequest, FetchResponse};

use super::scene::{VERSION, response};
use crate::fetch::plan::FetchPlan;

/// Sessions of one broker.
#[derive(Debug, Default)]
pub(super) struct SessionBroker {
    next_id: i32,
    sessions: BTreeMap<i32, Session>,
}

#[derive(Debug)]
struct Session {
    epoch: i32,
    /// Offsets by partition; all are of one topic.
    partitions: BTreeMap<i32, i64>,
}

/// What a request asks for by the broker's books.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) session_id: i32,
    /// Whether unchanged partitions are left out of the answer.
    pub(super) is_incremental: bool,
    pub(super) partitions: BTreeMap<i32, i64>,
}

impl SessionBroker {
    /// The broker hears the plan's request.
    pub(super) fn hear(&mut self, plan: &FetchPlan) -> Result<Asked, ErrorCode> {
        let request = plan.request(VERSION);
        let asked = self.take(&request)?;
        let planned = plan.partitions.iter().map(|p| (p.tp.partition, p.offset));
        assert_eq!(
            asked.partitions,
            planned.collect(),
            "what the broker believes: {request:?}"
        );
        Ok(asked)
    }

    fn take(&mut self, request: &FetchRequest) -> Result<Asked, ErrorCode> {
        let named = request.topics.iter().flat_map(|topic| &topic.partitions);
        let named = named.map(|partition| (partition.partition, partition.fetch_offset));
        if request.session_epoch == 0 {
            self.sessions.remove(&request.session_id);
            self.next_id += 1;
            let partitions: BTreeMap<i32, i64> = named.collect();
            let session = Session {
                epoch: 1,
                partitions: partitions.clone(),
            };
            self.sessions.insert(self.next_id, session);
            return Ok(Asked {
                session_id: self.next_id,
                is_incremental: false,
                partitions,
            });
        }
        let session = self.sessions.get_mut(&request.session_id);
        let session = session.ok_or(ErrorCode::FETCH_SESSION_ID_NOT_FOUND)?;
        if session.epoch != request.session_epoch {
            return Err(ErrorCode::INVALID_FETCH_SESSION_EPOCH);
        }
        session.epoch += 1;
        session.partitions.extend(named);
        for topic in &request.forgotten_topics_data {
            for partition in &topic.partitions {
                session.partitions.remove(partition);
            }
        }
        Ok(Asked {
            session_id: request.session_id,
            is_incremental: true,
            partitions: session.partitions.clone(),
        })
    }

    /// Another client needed the room.
    pub(super) fn evict(&mut self) {
        self.sessions.clear();
    }

    /// A fetch was heard twice, or never: the two sides count differently.
    pub(super) fn lose_count(&mut self) {
        for session in self.sessions.values_mut() {
            session.epoch += 1;
        }
    }
}

/// An answer that refuses the session.
pub(super) fn refusal(code: ErrorCode) -> FetchResponse {
    FetchResponse::default().with_error_code(code.code())
}

/// An answer within a session that leaves everything out.
pub(super) fn silence(session_id: i32) -> FetchResponse {
    response(Vec::new()).with_session_id(session_id)
}
