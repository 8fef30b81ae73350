//! The rows of the matrix, and how a peer's column is filled.

use std::time::{Duration, Instant};

use engine_client::Codec;

use crate::client::{Clients, Side};
use crate::group::{self, Departure};
use crate::peer::Peer;
use crate::report::{Cell, Column};
use crate::stage::Stage;
use crate::transactions;
use crate::transfer;

/// No behaviour takes longer, or it has failed.
const PATIENCE: Duration = Duration::from_secs(150);

/// How a behaviour came out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    Passed,
    /// With a difference that the peer is known for.
    PassedExcept(String),
    Failed(String),
    /// The peer has no way to do it.
    Cannot(String),
}

impl Outcome {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Outcome::Passed => "passed",
            Outcome::PassedExcept(_) => "passed except",
            Outcome::Failed(_) => "failed",
            Outcome::Cannot(_) => "cannot",
        }
    }

    pub(crate) fn from_name(name: &str, reason: &str) -> Option<Self> {
        match name {
            "passed" => Some(Outcome::Passed),
            "passed except" => Some(Outcome::PassedExcept(reason.to_owned())),
            "failed" => Some(Outcome::Failed(reason.to_owned())),
            "cannot" => Some(Outcome::Cannot(reason.to_owned())),
            _ => None,
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Behaviour {
    Records {
        writer: Side,
        codec: Codec,
    },
    Large {
        writer: Side,
        codec: Codec,
    },
    HeaderKeyBytes {
        writer: Side,
    },
    KeyPartitions,
    Transactions {
        writer: Side,
        codec: Codec,
    },
    TransactionalOffsets {
        writer: Side,
    },
    TransactionsAtOnce,
    Offsets {
        first: Side,
    },
    Group {
        assignor: &'static str,
        departure: Departure,
    },
}

impl Behaviour {
    /// In the order of the rows.
    fn all() -> Vec<Self> {
        let sides = [Side::Theirs, Side::Ours];
        let mut all = Vec::new();
        for writer in sides {
            all.extend(Codec::ALL.map(|codec| Behaviour::Records { writer, codec }));
            all.extend([Codec::None, Codec::Lz4, Codec::Zstd].map(|codec| Behaviour::Large { writer, codec }));
            all.push(Behaviour::HeaderKeyBytes { writer });
        }
        all.push(Behaviour::KeyPartitions);
        for writer in sides {
            all.extend([Codec::None, Codec::Lz4].map(|codec| Behaviour::Transactions { writer, codec }));
        }
        all.push(Behaviour::TransactionsAtOnce);
        all.extend(sides.map(|writer| Behaviour::TransactionalOffsets { writer }));
        all.extend(sides.map(|first| Behaviour::Offsets { first }));
        for assignor in ["range", "roundrobin"] {
            for departure in [Departure::Leaves, Departure::Dies] {
                all.push(Behaviour::Group { assignor, departure });
            }
        }
        all
    }

    fn area(self) -> &'static str {
        match self {
            Behaviour::Records { writer, .. }
            | Behaviour::Large { writer, .. }
            | Behaviour::HeaderKeyBytes { writer }
            | Behaviour::TransactionalOffsets { writer }
            | Behaviour::Transactions { writer, .. } => match writer {
                Side::Theirs => "theirs, read by us",
                Side::Ours => "ours, read by them",
            },
            Behaviour::KeyPartitions | Behaviour::TransactionsAtOnce => "both",
            Behaviour::Offsets { first } => match first {
                Side::Theirs => "theirs, resumed by us",
                Side::Ours => "ours, resumed by them",
            },
            Behaviour::Group { .. } => "members of both in a group",
        }
    }

    fn name(self) -> String {
        match self {
            Behaviour::Records { codec, .. } => format!("records of every kind, {codec}"),
            Behaviour::Large { codec, .. } => format!("a batch of more than 1 MB, {codec}"),
            Behaviour::HeaderKeyBytes { .. } => "a header key that is not UTF-8".to_owned(),
            Behaviour::KeyPartitions => "the same key, the same partition".to_owned(),
            Behaviour::Transactions { codec, .. } => format!("transactions, committed and aborted, {codec}"),
            Behaviour::TransactionsAtOnce => "transactions in one partition at the same time".to_owned(),
            Behaviour::TransactionalOffsets { .. } => "offsets in transactions, committed and aborted".to_owned(),
            Behaviour::Offsets { .. } => "committed offsets with metadata".to_owned(),
            Behaviour::Group { assignor, departure } => match departure {
                Departure::Leaves => format!("{assignor}, and both leave in turn"),
                Departure::Dies => format!("{assignor}, and both die in turn"),
            },
        }
    }

    async fn run(self, stage: &mut Stage) -> Result<(), Failure> {
        match self {
            Behaviour::Records { writer, codec } => transfer::records(stage, writer, codec).await,
            Behaviour::Large { writer, codec } => transfer::a_large_batch(stage, writer, codec).await,
            Behaviour::HeaderKeyBytes { writer } => transfer::header_key_bytes(stage, writer).await,
            Behaviour::KeyPartitions => transfer::key_partitions(stage).await,
            Behaviour::Transactions { writer, codec } => transactions::of_one(stage, writer, codec).await,
            Behaviour::TransactionsAtOnce => transactions::of_both_at_once(stage).await,
            Behaviour::TransactionalOffsets { writer } => transactions::with_offsets(stage, writer).await,
            Behaviour::Offsets { first } => transfer::offsets(stage, first).await,
            Behaviour::Group { assignor, departure } => group::shared_and_handed_over(stage, assignor, departure).await,
        }
    }
}

/// Why a behaviour did not pass.
#[derive(Debug)]
pub(crate) enum Failure {
    Cannot(String),
    Failed(String),
}

impl From<String> for Failure {
    fn from(reason: String) -> Self {
        Failure::Failed(reason)
    }
}

/// All behaviours that the filter selects, with one peer.
pub(crate) async fn run_all(bootstrap: String, peer_name: String, command: Vec<String>, filter: String) -> Column {
    let mut column = Column {
        peer: peer_name.clone(),
        client: Ok(String::new()),
        cells: Vec::new(),
    };
    let peer = match Peer::start(&command).await {
        Ok(peer) => peer,
        Err(error) => {
            println!("{peer_name}: {error}");
            column.cells.push(Cell {
                area: "both".to_owned(),
                behaviour: "the peer starts".to_owned(),
                outcome: Outcome::Failed(error),
            });
            return column;
        }
    };
    println!("{peer_name:<13} is {}", peer.client);
    column.client = Ok(peer.client.clone());
    let mut stage = Stage {
        bootstrap,
        peer_name: peer_name.clone(),
        clients: Clients { peer },
        topics: 0,
        exceptions: Vec::new(),
    };
    for behaviour in Behaviour::all() {
        let (area, name) = (behaviour.area().to_owned(), behaviour.name());
        if !format!("{area}: {name}").contains(&filter) {
            continue;
        }
        stage.exceptions.clear();
        let started = Instant::now();
        let outcome = match tokio::time::timeout(PATIENCE, behaviour.run(&mut stage)).await {
            Ok(Ok(())) if !stage.exceptions.is_empty() => Outcome::PassedExcept(stage.exceptions.join("; ")),
            Ok(Ok(())) => Outcome::Passed,
            Ok(Err(Failure::Cannot(reason))) => Outcome::Cannot(reason),
            Ok(Err(Failure::Failed(reason))) => Outcome::Failed(reason),
            Err(_) => Outcome::Failed(format!("took more than {} s", PATIENCE.as_secs())),
        };
        let seconds = started.elapsed().as_secs_f32();
        match &outcome {
            Outcome::Passed => println!("{peer_name:<13} passed {area}: {name} ({seconds:.1} s)"),
            Outcome::PassedExcept(reason) => {
                println!("{peer_name:<13} passed {area}: {name} ({seconds:.1} s), except: {reason}");
            }
            Outcome::Cannot(reason) => println!("{peer_name:<13} cannot {area}: {name}: {reason}"),
            Outcome::Failed(reason) => println!("{peer_name:<13} FAILED {area}: {name} ({seconds:.1} s): {reason}"),
        }
        let is_stuck = matches!(&outcome, Outcome::Failed(_)) && started.elapsed() >= PATIENCE;
        column.cells.push(Cell {
            area,
            behaviour: name,
            outcome,
        });
        // A peer that still works on an old request would answer the next one with it.
        if is_stuck {
            match Peer::start(&command).await {
                Ok(peer) => stage.clients.peer = peer,
                Err(error) => {
                    println!("{peer_name}: {error}");
                    break;
                }
            }
        }
    }
    column
}
