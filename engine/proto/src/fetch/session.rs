//! One broker's fetch session (KIP-227): the broker remembers what is read, and hears only what changes.
//!
//! ```text
//!            answered with an id            asks for what changed
//!  Full { 0 } ─────────────────▶ Incremental ───────────────────┐
//!    ▲  └── without: again         │ │ ▲                        │
//!    │                             │ │ └──── next epoch ────────┘
//!    ├── the broker forgot it ─────┘ │
//!  Full { id } ◀── anything else ────┘   (a full fetch in its place ends the old session)
//! ```
//!
//! After a fetch without an answer nobody knows what the broker heard, so everything is said anew. A consumer that
//! closes ends its sessions: brokers have room for few, and evict none that was used within two minutes.
//! Never here: positions, tickets, when to fetch (see `fetch::fetcher`).

use std::collections::{HashMap, HashSet};

use engine_wire::error_code::ErrorCode;
use uuid::Uuid;

use crate::{fetch::planned::PlannedPartition, topic_partition::TopicPartition};

/// What a fetch says of its session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionFetch {
    /// It names all partitions and asks for a new session, in place of session `id` unless that is 0.
    Full {
        /// The session that ends.
        id: i32,
    },
    /// It names nothing, and asks for the end of the session.
    End {
        /// The session that ends.
        id: i32,
    },
    /// It names what changed since the last fetch of the session.
    Incremental {
        /// The session.
        id: i32,
        /// Counts the fetches of the session.
        epoch: i32,
        /// Places in the plan of the partitions that are new or have moved.
        changed: Vec<usize>,
        /// Partitions that are not read any more, with their topics' ids.
        forgotten: Vec<(TopicPartition, Option<Uuid>)>,
    },
}

/// The session of one broker; see the diagram above.
#[derive(Debug)]
pub(crate) enum FetchSession {
    Full {
        id: i32,
    },
    Incremental {
        id: i32,
        epoch: i32,
        /// What the broker knows, as last said. As many as the partitions of this consumer at that broker.
        sent: HashMap<TopicPartition, PlannedPartition>,
    },
}

impl FetchSession {
    /// How the next fetch, of these partitions, is said.
    pub(crate) fn fetch(&self, partitions: &[PlannedPartition]) -> SessionFetch {
        let (id, epoch, sent) = match self {
            FetchSession::Full { id } => return SessionFetch::Full { id: *id },
            FetchSession::Incremental { id, epoch, sent } => (*id, *epoch, sent),
        };
        let mut changed = Vec::new();
        for (place, planned) in partitions.iter().enumerate() {
            match sent.get(&planned.tp) {
                // A topic that was created anew cannot be forgotten and added at once where it goes by its name,
                // and a session goes by names or by ids to its end.
                Some(sent) if sent.topic_id != planned.topic_id => return SessionFetch::Full { id },
                Some(sent) if sent == planned => {}
                _ => changed.push(place),
            }
        }
        let has_ids = |planned: &PlannedPartition| planned.has_topic_id();
        if sent.values().all(has_ids) != partitions.iter().all(has_ids) {
            return SessionFetch::Full { id };
        }
        let wanted: HashSet<&TopicPartition> = partitions.iter().map(|planned| &planned.tp).collect();
        let forgotten = sent.values().filter(|sent| !wanted.contains(&sent.tp));
        let mut forgotten: Vec<_> = forgotten.map(|sent| (sent.tp.clone(), sent.topic_id)).collect();
        forgotten.sort();
        SessionFetch::Incremental {
            id,
            epoch,
            changed,
            forgotten,
        }
    }

    /// The session that the broker keeps for us, as far as we know.
    pub(crate) fn id(&self) -> Option<i32> {
        match self {
            FetchSession::Full { id } | FetchSession::Incremental { id, .. } => Some(*id).filter(|id| *id > 0),
        }
    }

    /// The broker answered with session `heard`. `is_complete` says whether the answer left nothing open.
    pub(crate) fn handle_answer(
        &mut self,
        said: &SessionFetch,
        partitions: &[PlannedPartition],
        heard: i32,
        is_complete: bool,
    ) {
        match (said, &mut *self) {
            (SessionFetch::Full { .. }, _) if heard > 0 && is_complete => {
                let sent = partitions.iter().map(|planned| (planned.tp.clone(), planned.clone()));
                *self = FetchSession::Incremental {
                    id: heard,
                    epoch: FIRST_EPOCH,
                    sent: sent.collect(),
                };
            }
            (SessionFetch::Incremental { changed, forgotten, .. }, FetchSession::Incremental { id, epoch, sent })
                if heard == *id && is_complete =>
            {
                for (tp, _) in forgotten {
                    sent.remove(tp);
                }
                for planned in changed.iter().filter_map(|place| partitions.get(*place)) {
                    sent.insert(planned.tp.clone(), planned.clone());
                }
                *epoch = epoch.checked_add(1).unwrap_or(FIRST_EPOCH);
            }
            // No session, as a broker says that has no room for one, or one that is not as we believe.
            _ => *self = FetchSession::Full { id: heard.max(0) },
        }
    }

    /// The fetch failed, or was refused as a whole with `code`.
    pub(crate) fn handle_lost(&mut self, code: Option<ErrorCode>) {
        let id = match self {
            _ if code == Some(ErrorCode::FETCH_SESSION_ID_NOT_FOUND) => 0,
            FetchSession::Full { id } | FetchSession::Incremental { id, .. } => *id,
        };
        *self = FetchSession::Full { id };
    }
}

impl Default for FetchSession {
    fn default() -> FetchSession {
        FetchSession::Full { id: 0 }
    }
}

/// Whether the broker refuses the session, and not what is asked in it.
pub(crate) fn is_session_error(code: ErrorCode) -> bool {
    [
        ErrorCode::FETCH_SESSION_ID_NOT_FOUND,
        ErrorCode::INVALID_FETCH_SESSION_EPOCH,
        ErrorCode::FETCH_SESSION_TOPIC_ID_ERROR,
    ]
    .contains(&code)
}

/// The epoch of the fetch that makes a session is 0; after the last number comes this one again.
const FIRST_EPOCH: i32 = 1;
