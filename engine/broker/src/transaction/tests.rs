//! Every state against every request, as tables.

use engine_wire::error_code::ErrorCode;

use super::*;

const NOW: i64 = 1_000;

/// The producer of every table: id 7, epoch 3.
const PRODUCER: Producer = Producer {
    producer_id: 7,
    producer_epoch: 3,
};
/// The one before it.
const PREVIOUS: Producer = Producer {
    producer_id: 7,
    producer_epoch: 2,
};

fn partition() -> Scope {
    Part::Partition { topic: "t", index: 0 }.scope()
}

fn empty() -> Transaction {
    Transaction {
        producer: PRODUCER,
        previous: Some(PREVIOUS),
        timeout_ms: 60_000,
        changed_at: 0,
        state: State::Empty,
    }
}

fn ongoing() -> Transaction {
    let mut transaction = empty();
    assert_eq!(transaction.add(NOW, PRODUCER, partition()), Ok(true));
    transaction
}

fn prepared(outcome: Outcome) -> Transaction {
    let mut transaction = ongoing();
    transaction.prepare(NOW, outcome, false, None);
    transaction
}

fn complete(outcome: Outcome) -> Transaction {
    let mut transaction = prepared(outcome);
    transaction.complete(NOW);
    transaction
}

#[test]
fn end_is_decided_by_state_outcome_epoch_and_protocol() {
    use EndDecision::{Again, Complete, Prepare};
    use ErrorCode as E;
    use Outcome::{Abort, Commit};
    let (invalid, fenced) = (Err(E::INVALID_TXN_STATE), Err(E::PRODUCER_FENCED));
    // The columns: commit and abort as before KIP-890; commit and abort with a bump; the same of the epoch before.
    for (what, transaction, expected) in [
        (
            "empty",
            empty(),
            [invalid, invalid, invalid, Ok(Prepare), fenced, fenced],
        ),
        (
            "ongoing",
            ongoing(),
            [Ok(Prepare), Ok(Prepare), Ok(Prepare), Ok(Prepare), fenced, fenced],
        ),
        (
            "prepared to commit",
            prepared(Commit),
            [Ok(Complete), invalid, Ok(Complete), invalid, Ok(Complete), invalid],
        ),
        (
            "prepared to abort",
            prepared(Abort),
            [invalid, Ok(Complete), invalid, Ok(Complete), invalid, Ok(Complete)],
        ),
        (
            "committed",
            complete(Commit),
            [Ok(Again), invalid, invalid, Ok(Prepare), Ok(Again), invalid],
        ),
        (
            "aborted",
            complete(Abort),
            [invalid, Ok(Again), invalid, Ok(Prepare), invalid, Ok(Again)],
        ),
    ] {
        let found = [
            transaction.decide_end(PRODUCER, Commit, false),
            transaction.decide_end(PRODUCER, Abort, false),
            transaction.decide_end(PRODUCER, Commit, true),
            transaction.decide_end(PRODUCER, Abort, true),
            transaction.decide_end(PREVIOUS, Commit, true),
            transaction.decide_end(PREVIOUS, Abort, true),
        ];
        assert_eq!(found, expected, "{what}");
        // Without the bump, whoever has another epoch is a zombie.
        assert_eq!(transaction.decide_end(PREVIOUS, Commit, false), fenced, "{what}");
    }
}

#[test]
fn init_is_decided_by_state_and_by_who_the_producer_says_it_is() {
    use InitDecision::{AbortFirst, Again, Bump, CompleteFirst};
    let fenced = Err(ErrorCode::PRODUCER_FENCED);
    let stranger = Producer {
        producer_id: 7,
        producer_epoch: 1,
    };
    // The columns: nobody in particular, the present one, the one before, an older one.
    for (what, transaction, expected) in [
        ("empty", empty(), [Ok(Bump), Ok(Bump), Ok(Again), fenced]),
        ("ongoing", ongoing(), [Ok(AbortFirst), Ok(AbortFirst), fenced, fenced]),
        (
            "prepared",
            prepared(Outcome::Commit),
            [Ok(CompleteFirst), Ok(CompleteFirst), fenced, fenced],
        ),
        (
            "complete",
            complete(Outcome::Abort),
            [Ok(Bump), Ok(Bump), Ok(Again), fenced],
        ),
    ] {
        let found = [None, Some(PRODUCER), Some(PREVIOUS), Some(stranger)].map(|who| transaction.decide_init(who));
        assert_eq!(found, expected, "{what}");
    }
    let new = Transaction::new(9, NOW);
    assert_eq!(
        new.decide_init(Some(PRODUCER)),
        Ok(Bump),
        "an id that was forgotten is taken up again"
    );
}

#[test]
fn a_transaction_begins_with_what_is_added_first() {
    let mut transaction = empty();
    assert_eq!(transaction.open_scope(PRODUCER), Ok(None));
    assert_eq!(transaction.add(NOW, PRODUCER, partition()), Ok(true));
    assert_eq!(
        transaction.add(NOW + 1, PRODUCER, partition()),
        Ok(false),
        "it is there"
    );
    assert_eq!(transaction.add(NOW + 2, PRODUCER, Part::Group("g").scope()), Ok(true));
    let scope = transaction
        .open_scope(PRODUCER)
        .expect("its own")
        .expect("is open")
        .clone();
    assert!(scope.has(Part::Group("g")) && scope.has(Part::Partition { topic: "t", index: 0 }));
    assert!(!scope.has(Part::Partition { topic: "t", index: 1 }));
    assert_eq!(transaction.deadline(), Some(NOW + 60_000), "counted from its beginning");
    assert_eq!(
        transaction.add(NOW, PREVIOUS, partition()),
        Err(ErrorCode::PRODUCER_FENCED)
    );
    let other = Producer {
        producer_id: 8,
        ..PRODUCER
    };
    assert_eq!(
        transaction.add(NOW, other, partition()),
        Err(ErrorCode::INVALID_PRODUCER_ID_MAPPING)
    );
    assert_eq!(
        prepared(Outcome::Commit).add(NOW, PRODUCER, partition()),
        Err(ErrorCode::CONCURRENT_TRANSACTIONS)
    );
}

#[test]
fn a_bump_fences_by_the_marker_and_goes_on_in_the_same_epoch() {
    let mut transaction = ongoing();
    transaction.prepare(NOW, Outcome::Commit, true, None);
    let State::Prepared { marker, .. } = &transaction.state else {
        panic!("{transaction:?}")
    };
    assert_eq!((marker.producer_id, marker.producer_epoch), (7, 4));
    assert_eq!(transaction.producer, *marker);
    assert_eq!(transaction.previous, Some(PRODUCER));
}

#[test]
fn used_up_epochs_go_on_with_another_producer_id() {
    let mut transaction = ongoing();
    transaction.producer.producer_epoch = i16::MAX - 1;
    assert!(transaction.is_exhausted());
    transaction.prepare(NOW, Outcome::Abort, true, Some(8));
    let State::Prepared { marker, .. } = &transaction.state else {
        panic!("{transaction:?}")
    };
    assert_eq!((marker.producer_id, marker.producer_epoch), (7, i16::MAX));
    let next = Producer {
        producer_id: 8,
        producer_epoch: 0,
    };
    assert_eq!(transaction.producer, next);
}

#[test]
fn a_new_id_begins_with_epoch_zero() {
    let mut transaction = Transaction::new(9, NOW);
    assert!(
        transaction.add(NOW, transaction.producer, partition()).is_err(),
        "nobody has it yet"
    );
    transaction.init(NOW, 60_000, None);
    assert_eq!(transaction.producer.producer_epoch, 0);
    assert_eq!(transaction.previous, None);
}
