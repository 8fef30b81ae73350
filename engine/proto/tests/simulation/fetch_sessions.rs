//! The fetch sessions of one node (KIP-227), as `FetchSession.scala` keeps them.
//!
//! Never here: what is read.

use std::collections::BTreeMap;

use engine_proto::TopicPartition;
use engine_proto::fetch::plan::FetchPlan;
use engine_wire::error_code::ErrorCode;
use engine_wire::messages::FetchRequest;
use engine_wire::messages::fetch_response::PartitionData;

/// From this version on there are sessions.
const FIRST_IN_SESSION: i16 = 7;

#[derive(Debug, Default)]
pub(crate) struct FetchSessions {
    next_id: i32,
    sessions: BTreeMap<i32, Session>,
}

#[derive(Debug, Default)]
struct Session {
    epoch: i32,
    partitions: BTreeMap<TopicPartition, CachedPartition>,
}

#[derive(Debug)]
struct CachedPartition {
    asked: AskedPartition,
    /// What the client believes of the log's end; `None` makes sure that it is told.
    told_high_watermark: Option<i64>,
}

/// What is asked about a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AskedPartition {
    pub(crate) offset: i64,
    pub(crate) leader_epoch: i32,
    pub(crate) last_fetched_epoch: i32,
}

/// What a request asks for by the node's books.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) session_id: i32,
    pub(crate) is_incremental: bool,
    pub(crate) partitions: BTreeMap<TopicPartition, AskedPartition>,
}

impl FetchSessions {
    /// The node hears the plan's request, and must believe that all of the plan is asked for.
    pub(crate) fn hear(
        &mut self,
        plan: &FetchPlan,
        version: i16,
        name: impl Fn(uuid::Uuid) -> std::sync::Arc<str>,
    ) -> Result<Asked, ErrorCode> {
        let request = plan.request(version);
        let asked = self.take(&request, version, name)?;
        let planned = plan.partitions.iter().map(|planned| {
            let asked = AskedPartition {
                offset: planned.offset,
                leader_epoch: if version >= 9 { planned.leader_epoch } else { -1 },
                last_fetched_epoch: if version >= 12 { planned.last_fetched_epoch } else { -1 },
            };
            (planned.tp.clone(), asked)
        });
        assert_eq!(
            asked.partitions,
            planned.collect(),
            "what the node believes: {request:?}"
        );
        Ok(asked)
    }

    fn take(
        &mut self,
        request: &FetchRequest,
        version: i16,
        name: impl Fn(uuid::Uuid) -> std::sync::Arc<str>,
    ) -> Result<Asked, ErrorCode> {
        let topic_name = |topic: &str, topic_id| match version >= 13 {
            true => name(topic_id),
            false => topic.into(),
        };
        let mut named = BTreeMap::new();
        for topic in &request.topics {
            let topic_name = topic_name(topic.topic.0.as_str(), topic.topic_id);
            for partition in &topic.partitions {
                let asked = AskedPartition {
                    offset: partition.fetch_offset,
                    leader_epoch: partition.current_leader_epoch,
                    last_fetched_epoch: partition.last_fetched_epoch,
                };
                named.insert(TopicPartition::new(topic_name.clone(), partition.partition), asked);
            }
        }
        if version < FIRST_IN_SESSION {
            return Ok(Asked {
                session_id: 0,
                is_incremental: false,
                partitions: named,
            });
        }
        if request.session_epoch == 0 {
            self.sessions.remove(&request.session_id);
            self.next_id += 1;
            let cached = |asked| CachedPartition {
                asked,
                told_high_watermark: None,
            };
            let session = Session {
                epoch: 1,
                partitions: named.iter().map(|(tp, asked)| (tp.clone(), cached(*asked))).collect(),
            };
            self.sessions.insert(self.next_id, session);
            return Ok(Asked {
                session_id: self.next_id,
                is_incremental: false,
                partitions: named,
            });
        }
        let session = self.sessions.get_mut(&request.session_id);
        let session = session.ok_or(ErrorCode::FETCH_SESSION_ID_NOT_FOUND)?;
        if session.epoch != request.session_epoch {
            return Err(ErrorCode::INVALID_FETCH_SESSION_EPOCH);
        }
        session.epoch += 1;
        for (tp, asked) in named {
            let cached = session.partitions.entry(tp).or_insert(CachedPartition {
                asked,
                told_high_watermark: None,
            });
            cached.asked = asked;
        }
        for topic in &request.forgotten_topics_data {
            let topic_name = topic_name(topic.topic.0.as_str(), topic.topic_id);
            for partition in &topic.partitions {
                session
                    .partitions
                    .remove(&TopicPartition::new(topic_name.clone(), *partition));
            }
        }
        let partitions = session.partitions.iter().map(|(tp, cached)| (tp.clone(), cached.asked));
        Ok(Asked {
            session_id: request.session_id,
            is_incremental: true,
            partitions: partitions.collect(),
        })
    }

    /// Whether the answer must name the partition (`CachedPartition.maybeUpdateResponseData`).
    pub(crate) fn must_tell(&mut self, asked: &Asked, tp: &TopicPartition, data: &PartitionData) -> bool {
        let session = self.sessions.get_mut(&asked.session_id);
        let Some(cached) = session.and_then(|session| session.partitions.get_mut(tp)) else {
            return true;
        };
        let is_news = cached.told_high_watermark != Some(data.high_watermark);
        cached.told_high_watermark = (data.error_code == 0).then_some(data.high_watermark);
        let has_records = data.records.as_ref().is_some_and(|records| !records.is_empty());
        let must = is_news
            || has_records
            || data.error_code != 0
            || data.preferred_read_replica.0 >= 0
            || data.diverging_epoch.epoch >= 0;
        must || !asked.is_incremental
    }

    /// Other clients needed the room, or the node restarted.
    pub(crate) fn evict(&mut self) {
        self.sessions.clear();
    }

    /// A fetch was heard twice, or never: the two sides count differently.
    pub(crate) fn lose_count(&mut self) {
        for session in self.sessions.values_mut() {
            session.epoch += 1;
        }
    }
}
