//! What is asked of a client, ours or a peer.

use engine_client::Codec;
use protocol_tests::owned_record::OwnedRecord;

use crate::member::Member;
use crate::ours;
use crate::peer::Peer;
use crate::records::Placed;

pub(crate) struct ProduceRequest<'a> {
    pub(crate) bootstrap: &'a str,
    pub(crate) topic: &'a str,
    pub(crate) codec: Codec,
    pub(crate) batch_bytes: usize,
    /// Of all records; `None` leaves it to their keys.
    pub(crate) partition: Option<i32>,
    pub(crate) records: &'a [OwnedRecord],
}

#[derive(Clone, Copy)]
pub(crate) struct TransactRequest<'a> {
    pub(crate) bootstrap: &'a str,
    pub(crate) topic: &'a str,
    pub(crate) codec: Codec,
    pub(crate) transactional_id: &'a str,
    /// Whose offsets are part of the transactions that have one.
    pub(crate) group: Option<&'a str>,
    pub(crate) transactions: &'a [Transaction],
}

/// What happens between its begin and its end.
pub(crate) struct Transaction {
    /// For partition 0.
    pub(crate) records: Vec<OwnedRecord>,
    /// Or else it is aborted.
    pub(crate) commit: bool,
    /// How far the group is said to have read partition 0 of the same topic.
    pub(crate) offset: Option<i64>,
}

pub(crate) struct Reading<'a> {
    pub(crate) bootstrap: &'a str,
    pub(crate) topic: &'a str,
    pub(crate) partitions: i32,
    pub(crate) count: usize,
    pub(crate) read_committed: bool,
}

#[derive(Clone, Copy)]
pub(crate) struct GroupRequest<'a> {
    pub(crate) bootstrap: &'a str,
    pub(crate) topic: &'a str,
    pub(crate) group: &'a str,
    pub(crate) partitions: i32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Committed {
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) metadata: String,
}

/// Ours, or the peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Ours,
    Theirs,
}

impl Side {
    pub(crate) fn other(self) -> Self {
        match self {
            Side::Ours => Side::Theirs,
            Side::Theirs => Side::Ours,
        }
    }
}

/// Both clients, asked alike.
pub(crate) struct Clients {
    pub(crate) peer: Peer,
}

impl Clients {
    /// Partition and offset of each record.
    pub(crate) async fn produce(
        &mut self,
        side: Side,
        request: &ProduceRequest<'_>,
    ) -> Result<Vec<(i32, i64)>, String> {
        match side {
            Side::Ours => ours::produce(request).await.map_err(said),
            Side::Theirs => self.peer.produce(request).await,
        }
    }

    pub(crate) async fn transact(&mut self, side: Side, request: &TransactRequest<'_>) -> Result<(), String> {
        match side {
            Side::Ours => ours::transact(request).await.map_err(said),
            Side::Theirs => self.peer.transact(request).await,
        }
    }

    pub(crate) async fn consume(&mut self, side: Side, reading: &Reading<'_>) -> Result<Vec<Placed>, String> {
        match side {
            Side::Ours => ours::consume(reading).await.map(|read| read.records).map_err(said),
            Side::Theirs => self.peer.consume(reading).await,
        }
    }

    /// Reads `count` records as a member of the group, commits behind them, and leaves.
    pub(crate) async fn resume(
        &mut self,
        side: Side,
        request: &GroupRequest<'_>,
        count: usize,
        metadata: &str,
    ) -> Result<Vec<Placed>, String> {
        match side {
            Side::Ours => ours::resume(request, count, metadata).await.map_err(said),
            Side::Theirs => self.peer.resume(request, count, metadata).await,
        }
    }

    pub(crate) async fn committed(&mut self, side: Side, request: &GroupRequest<'_>) -> Result<Vec<Committed>, String> {
        match side {
            Side::Ours => ours::committed(request).await.map_err(said),
            Side::Theirs => self.peer.committed(request).await,
        }
    }

    pub(crate) fn member(
        &self,
        side: Side,
        request: &GroupRequest<'_>,
        assignor: &str,
    ) -> Result<Box<dyn Member>, String> {
        Ok(match side {
            Side::Ours => Box::new(ours::OurMember::start(request, assignor)?),
            Side::Theirs => Box::new(self.peer.member(request, assignor)?),
        })
    }
}

/// An error with its causes.
fn said(error: ours::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    text
}
