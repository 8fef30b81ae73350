//! Members of both clients in one group: partitions owned once, handed over when either goes.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use engine_client::Codec;

use crate::behaviour::Failure;
use crate::client::{ProduceRequest, Side};
use crate::member::Member;
use crate::records::record;
use crate::stage::Stage;

/// The shortest that Kafka's brokers allow: how long a dead member is waited for.
pub(crate) const SESSION_TIMEOUT: Duration = Duration::from_secs(6);
const PARTITIONS: i32 = 4;
const RECORDS: i64 = 40;
/// For a rebalance, with a session that has to end first.
const PATIENCE: Duration = Duration::from_secs(30);
/// An assignment that holds for so long is taken for the group's last word.
const HOLDS: Duration = Duration::from_millis(700);

/// How a member goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Departure {
    Leaves,
    Dies,
}

/// Theirs leads, ours joins; theirs goes and comes back, so that ours leads; then ours goes.
pub(crate) async fn shared_and_handed_over(
    stage: &mut Stage,
    assignor: &str,
    departure: Departure,
) -> Result<(), Failure> {
    let topic = stage.topic(PARTITIONS).await?;
    let bootstrap = stage.bootstrap.clone();
    let group = crate::client::GroupRequest {
        bootstrap: &bootstrap,
        topic: &topic,
        group: &topic,
        partitions: PARTITIONS,
    };
    let everything: BTreeSet<i32> = (0..PARTITIONS).collect();
    let shares = match assignor {
        "range" => [BTreeSet::from([0, 1]), BTreeSet::from([2, 3])],
        _ => [BTreeSet::from([0, 2]), BTreeSet::from([1, 3])],
    };

    let mut theirs = stage.clients.member(Side::Theirs, &group, assignor)?;
    until("their member, alone, owns everything", &[&*theirs], |owned| {
        owned[0] == everything
    })
    .await?;
    let mut ours = stage.clients.member(Side::Ours, &group, assignor)?;
    let is_shared =
        |owned: &[BTreeSet<i32>]| shares.contains(&owned[0]) && shares.contains(&owned[1]) && owned[0] != owned[1];
    until("both share, theirs leads", &[&*theirs, &*ours], is_shared).await?;

    produce(stage, &topic).await?;
    let owned = [
        theirs.told().lock().assigned.clone(),
        ours.told().lock().assigned.clone(),
    ];
    until("each record was read by its owner", &[&*theirs, &*ours], |_| {
        [&theirs, &ours]
            .iter()
            .map(|member| member.told().lock().read.len())
            .sum::<usize>()
            >= RECORDS as usize
    })
    .await?;
    for (member, owned) in [&theirs, &ours].into_iter().zip(&owned) {
        let told = member.told().lock();
        if let Some((place, times)) = told
            .read
            .iter()
            .find(|(place, times)| !owned.contains(&place.0) || **times != 1)
        {
            return Err(format!("{place:?} was read {times} times by the owner of {owned:?}").into());
        }
    }

    go(&mut *theirs, departure, "their member").await?;
    until("theirs has gone, ours owns everything", &[&*ours], |owned| {
        owned[0] == everything
    })
    .await?;
    until("ours has read everything", &[&*ours], |_| {
        ours.told().lock().read.len() == RECORDS as usize
    })
    .await?;

    let mut theirs = stage.clients.member(Side::Theirs, &group, assignor)?;
    until("both share, ours leads", &[&*theirs, &*ours], is_shared).await?;
    go(&mut *ours, departure, "our member").await?;
    until("ours has gone, theirs owns everything", &[&*theirs], |owned| {
        owned[0] == everything
    })
    .await?;
    until("theirs has read everything", &[&*theirs], |_| {
        theirs.told().lock().read.len() == RECORDS as usize
    })
    .await?;
    go(&mut *theirs, Departure::Leaves, "their last member").await
}

/// The same number for each partition.
async fn produce(stage: &mut Stage, topic: &str) -> Result<(), Failure> {
    let bootstrap = stage.bootstrap.clone();
    let records: Vec<_> = (0..RECORDS / i64::from(PARTITIONS))
        .map(|number| record(number, None, Some(b"x")))
        .collect();
    for partition in 0..PARTITIONS {
        let request = ProduceRequest {
            bootstrap: &bootstrap,
            topic,
            codec: Codec::Lz4,
            batch_bytes: 16_384,
            partition: Some(partition),
            records: &records,
        };
        stage.clients.produce(Side::Ours, &request).await?;
    }
    Ok(())
}

async fn go(member: &mut dyn Member, departure: Departure, who: &str) -> Result<(), Failure> {
    match departure {
        Departure::Leaves => {
            member.leave();
            let deadline = Instant::now() + PATIENCE;
            while !member.told().lock().has_left {
                if Instant::now() > deadline {
                    return Err(format!("{who} did not leave within {PATIENCE:?}").into());
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        Departure::Dies => member.die(),
    }
    Ok(())
}

/// Waits until the members' assignments are as wanted, and stay so for a moment.
async fn until(
    what: &str,
    members: &[&dyn Member],
    mut is_so: impl FnMut(&[BTreeSet<i32>]) -> bool,
) -> Result<(), Failure> {
    let deadline = Instant::now() + PATIENCE;
    let mut since: Option<Instant> = None;
    loop {
        let owned: Vec<BTreeSet<i32>> = members
            .iter()
            .map(|member| member.told().lock().assigned.clone())
            .collect();
        if let Some(error) = members.iter().find_map(|member| member.told().lock().error.clone()) {
            return Err(format!("{what}: {error}").into());
        }
        match is_so(&owned) {
            true if since.get_or_insert_with(Instant::now).elapsed() >= HOLDS => return Ok(()),
            true => {}
            false => since = None,
        }
        if Instant::now() > deadline {
            return Err(format!("not within {PATIENCE:?}: {what}; assigned are {owned:?}").into());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
