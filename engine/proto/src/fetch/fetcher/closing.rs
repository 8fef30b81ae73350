//! What a consumer says to its brokers when it closes.
//!
//! Never here: its group (see `group::membership`).

use super::Fetcher;
use crate::fetch::{plan::FetchPlan, session::SessionFetch};

impl Fetcher {
    /// Fetches that end all sessions, for a consumer that closes: whatever is in flight is not waited for.
    pub fn end_sessions(&mut self) -> Vec<FetchPlan> {
        let sessions = std::mem::take(&mut self.sessions).into_iter();
        let ends = sessions.filter_map(|(node_id, session)| {
            let id = session.id()?;
            self.next_ticket += 1;
            Some(FetchPlan {
                ticket: self.next_ticket,
                node_id,
                bytes_max: 0,
                bytes_min: 0,
                wait_max_ms: 0,
                isolation_level: 0,
                rack_id: String::new(),
                partitions: Vec::new(),
                session: SessionFetch::End { id },
            })
        });
        ends.collect()
    }
}
