//! Transactions of one client, and of both at once, read by the other one.

use std::sync::atomic::{AtomicBool, Ordering};

use engine_client::Codec;
use protocol_tests::owned_record::OwnedRecord;

use crate::behaviour::Failure;
use crate::client::{Committed, GroupRequest, Side, TransactRequest, Transaction};
use crate::ours;
use crate::records::{Placed, compare, record};
use crate::stage::Stage;

/// Transactions that are written at the same time: so many of theirs, and as many of ours as there is time for.
const THEIRS: usize = 40;
const OURS_MAX: usize = 400;

/// Transactions of so many records each, and whether they are committed; every record says whose it is and its number.
fn transactions(whose: &str, kinds: impl IntoIterator<Item = (usize, bool)>) -> Vec<Transaction> {
    let mut number = 0;
    let of_kind = |(count, commit)| {
        let records = (0..count).map(|_| {
            number += 1;
            let fate = if commit { "kept" } else { "dropped" };
            let value = format!("{whose} {number}, of a transaction that is {fate}");
            record(number, Some(whose.as_bytes()), Some(value.as_bytes()))
        });
        Transaction {
            records: records.collect(),
            commit,
            offset: None,
        }
    };
    kinds.into_iter().map(of_kind).collect()
}

/// All records, or those of transactions that were committed.
fn written(transactions: &[Transaction], read_committed: bool) -> Vec<OwnedRecord> {
    let visible = transactions.iter().filter(|it| it.commit || !read_committed);
    visible.flat_map(|transaction| &transaction.records).cloned().collect()
}

fn able(stage: &Stage, what: &str) -> Result<(), Failure> {
    match stage.clients.peer.lacks(what) {
        Some(reason) => Err(Failure::Cannot(reason.to_owned())),
        None => Ok(()),
    }
}

/// Committed and aborted ones in turn, an aborted one last.
pub(crate) async fn of_one(stage: &mut Stage, writer: Side, codec: Codec) -> Result<(), Failure> {
    able(stage, "transactions")?;
    let kinds = [
        (3, true),
        (2, false),
        (4, true),
        (5, false),
        (1, false),
        (2, true),
        (3, false),
    ];
    let transactions = transactions("the writer", kinds);
    let topic = stage.topic(1).await?;
    let bootstrap = stage.bootstrap.clone();
    let request = TransactRequest {
        bootstrap: &bootstrap,
        topic: &topic,
        codec,
        transactional_id: &topic,
        group: None,
        transactions: &transactions,
    };
    stage.clients.transact(writer, &request).await?;

    for read_committed in [true, false] {
        let expected = written(&transactions, read_committed);
        let mut reading = Stage::reading(&bootstrap, &topic, expected.len());
        reading.read_committed = read_committed;
        let read = stage.clients.consume(writer.other(), &reading).await?;
        let isolation = if read_committed {
            "read_committed"
        } else {
            "read_uncommitted"
        };
        compare(&expected, &read).map_err(|difference| format!("{isolation}: {difference}"))?;
    }
    Ok(())
}

/// Both write transactions into the same partition at the same time, so that aborted ones of the one lie between and
/// around committed ones of the other: ours from their first record to their last end.
pub(crate) async fn of_both_at_once(stage: &mut Stage) -> Result<(), Failure> {
    able(stage, "transactions")?;
    let kinds = |count| (0..count).map(|number| (1 + number % 3, number % 2 == 0));
    let ours = transactions("ours", kinds(OURS_MAX));
    let theirs = transactions("theirs", kinds(THEIRS));
    let bootstrap = stage.bootstrap.clone();
    let topic = stage.topic(1).await?;
    let (our_id, their_id) = (format!("{topic}-ours"), format!("{topic}-theirs"));
    let our_request = TransactRequest {
        bootstrap: &bootstrap,
        topic: &topic,
        codec: Codec::Lz4,
        transactional_id: &our_id,
        group: None,
        transactions: &ours,
    };
    let their_request = TransactRequest {
        transactional_id: &their_id,
        transactions: &theirs,
        ..our_request
    };
    let have_they_ended = AtomicBool::new(false);
    let they_write = async {
        let outcome = stage.clients.peer.transact(&their_request).await;
        have_they_ended.store(true, Ordering::Relaxed);
        outcome
    };
    let we_write = ours::transact_while(
        &our_request,
        || ours::until_written(&bootstrap, &topic),
        || !have_they_ended.load(Ordering::Relaxed),
    );
    let (we_ended, they_ended) = tokio::join!(we_write, they_write);
    let ours = &ours[..we_ended.map_err(|error| error.to_string())?];
    they_ended?;

    let (our_kept, their_kept) = (written(ours, true), written(&theirs, true));
    let reading = Stage::reading(&bootstrap, &topic, our_kept.len() + their_kept.len());
    for reader in [Side::Ours, Side::Theirs] {
        let read = stage.clients.consume(reader, &reading).await?;
        let is_ours = |placed: &&Placed| placed.record.key.as_deref() == Some(b"ours");
        let (of_ours, of_theirs): (Vec<&Placed>, Vec<&Placed>) = read.iter().partition(is_ours);
        for (whose, expected, found) in [("ours", &our_kept, of_ours), ("theirs", &their_kept, of_theirs)] {
            let found: Vec<Placed> = found.into_iter().cloned().collect();
            compare(expected, &found).map_err(|difference| format!("{whose}, read by {reader:?}: {difference}"))?;
        }
        let pairs = read.windows(2);
        let changes = pairs.filter(|pair| pair[0].record.key != pair[1].record.key).count();
        // Once would mean that one of them had finished before the other began.
        if changes < 3 {
            return Err(format!("of {} records {changes} follow one of the other client", read.len()).into());
        }
    }
    Ok(())
}

/// Offsets of a group as part of transactions: those of the committed one hold, those of the aborted one do not.
pub(crate) async fn with_offsets(stage: &mut Stage, writer: Side) -> Result<(), Failure> {
    able(stage, "transactions")?;
    if writer == Side::Theirs {
        able(stage, "transactional_offsets")?;
    }
    let mut transactions = transactions("the writer", [(1, true), (1, true), (1, false)]);
    for (transaction, offset) in transactions.iter_mut().zip([3, 5, 9]) {
        transaction.offset = Some(offset);
    }
    let topic = stage.topic(1).await?;
    let bootstrap = stage.bootstrap.clone();
    let group = format!("{topic}-readers");
    let request = TransactRequest {
        bootstrap: &bootstrap,
        topic: &topic,
        codec: Codec::None,
        transactional_id: &topic,
        group: Some(&group),
        transactions: &transactions,
    };
    stage.clients.transact(writer, &request).await?;

    let group = GroupRequest {
        bootstrap: &bootstrap,
        topic: &topic,
        group: &group,
        partitions: 1,
    };
    for reader in [writer.other(), writer] {
        let committed = stage.clients.committed(reader, &group).await?;
        match committed.as_slice() {
            [
                Committed {
                    offset: 5,
                    partition: 0,
                    ..
                },
            ] => {}
            others => return Err(format!("{writer:?} committed 5, and 9 in vain, {reader:?} sees {others:?}").into()),
        }
    }
    Ok(())
}
