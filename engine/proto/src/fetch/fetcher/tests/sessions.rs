//! Fetch sessions (KIP-227): what is named again, what silence means, and sessions that end.

use std::time::Duration;

use engine_wire::error_code::ErrorCode;
use engine_wire::messages::FetchResponse;
use uuid::Uuid;

use super::scene::{Scene, VERSION, data, leader, response, tp};
use super::stored::batch;
use crate::fetch::partition::PartitionLeader;
use crate::fetch::plan::FetchPlan;
use crate::fetch::position::StartAt;
use crate::fetch::session::SessionFetch;

const ID: i32 = 77;

/// Partitions 0 and 1 at offsets 10 and 20, in a session that both are named in.
fn scene() -> Scene {
    let mut scene = Scene::new();
    scene.fetcher.assign([tp(1)]);
    scene.fetcher.handle_leaders(|_| Some(leader(1, 3)));
    start(&mut scene, 1, 20);
    let plan = scene.plan();
    assert_eq!(plan.session, SessionFetch::Full { id: 0 });
    let answer = response(vec![data(0, &[]), data(1, &[])]).with_session_id(ID);
    scene.fetcher.handle_fetch(scene.now, &plan, VERSION, answer);
    scene
}

fn start(scene: &mut Scene, partition: i32, offset: i64) {
    let leader_epoch = None;
    assert!(
        scene
            .fetcher
            .start(&tp(partition), StartAt::Offset { offset, leader_epoch })
    );
}

/// Epoch, partitions that are named, partitions that are forgotten.
fn said(plan: &FetchPlan) -> (i32, Vec<i32>, Vec<i32>) {
    let SessionFetch::Incremental {
        id: ID,
        epoch,
        changed,
        forgotten,
    } = &plan.session
    else {
        panic!("not in the session: {:?}", plan.session);
    };
    let changed = changed.iter().map(|place| plan.partitions[*place].tp.partition);
    let forgotten = forgotten.iter().map(|(tp, _)| tp.partition);
    (*epoch, changed.collect(), forgotten.collect())
}

#[test]
fn only_partitions_that_moved_are_named_again() {
    let mut scene = scene();
    let plan = scene.plan();
    assert_eq!(said(&plan), (1, vec![], vec![]));
    assert_eq!(plan.partitions.len(), 2, "both are read");
    let answer = response(vec![data(1, &[batch(20, 5)])]).with_session_id(ID);
    scene.fetcher.handle_fetch(scene.now, &plan, VERSION, answer);
    assert_eq!(scene.fetched().next_offset, 25);
    assert_eq!(said(&scene.plan()), (2, vec![1], vec![]));
}

#[test]
fn silence_in_a_session_says_that_nothing_changed() {
    let mut scene = scene();
    scene.now += Duration::from_secs(1);
    let plan = scene.plan();
    scene.fetcher.handle_fetch(scene.now, &plan, VERSION, silence(ID));
    assert_eq!(
        scene.fetcher.end_heard_at(&tp(0)),
        Some(scene.now),
        "the end is confirmed"
    );
    assert_eq!(scene.fetcher.lag(&tp(0)), Some(990));
    assert_eq!(scene.fetcher.stats().unchanged, 2);
    assert_eq!(said(&scene.plan()), (2, vec![], vec![]), "and there is no pause");
}

#[test]
fn a_partition_that_is_not_read_any_more_is_forgotten_and_comes_back_as_new() {
    let mut scene = scene();
    scene.fetcher.pause(&tp(0));
    let plan = scene.plan();
    assert_eq!(said(&plan), (1, vec![], vec![0]));
    scene.fetcher.handle_fetch(scene.now, &plan, VERSION, silence(ID));
    scene.fetcher.resume(&tp(0));
    assert_eq!(said(&scene.plan()), (2, vec![0], vec![]));
}

#[test]
fn an_evicted_session_is_made_anew_at_once() {
    let mut scene = scene();
    let plan = scene.plan();
    let evicted = refusal(ErrorCode::FETCH_SESSION_ID_NOT_FOUND);
    scene.fetcher.handle_fetch(scene.now, &plan, VERSION, evicted);
    let plan = scene.plan();
    assert_eq!(plan.session, SessionFetch::Full { id: 0 });
    assert!(!scene.fetcher.poll_metadata_wanted(), "no leader moved");
    let stats = scene.fetcher.stats();
    assert_eq!((stats.lost_sessions, stats.failed_fetches), (1, 0));
}

#[test]
fn a_session_that_is_not_understood_is_replaced() {
    for code in [
        ErrorCode::INVALID_FETCH_SESSION_EPOCH,
        ErrorCode::FETCH_SESSION_TOPIC_ID_ERROR,
    ] {
        let mut scene = scene();
        let plan = scene.plan();
        scene.fetcher.handle_fetch(scene.now, &plan, VERSION, refusal(code));
        assert_eq!(scene.plan().session, SessionFetch::Full { id: ID }, "{code:?}");
    }
}

#[test]
fn a_fetch_without_an_answer_ends_its_session() {
    let mut scene = scene();
    let plan = scene.plan();
    scene.fetcher.handle_fetch_failed(scene.now, &plan);
    scene.now += Duration::from_secs(2);
    assert_eq!(scene.plan().session, SessionFetch::Full { id: ID });
}

#[test]
fn a_broker_that_refuses_even_full_fetches_is_not_asked_in_a_tight_loop() {
    let mut scene = Scene::new();
    let plan = scene.plan();
    let refused = refusal(ErrorCode::FETCH_SESSION_ID_NOT_FOUND);
    scene.fetcher.handle_fetch(scene.now, &plan, VERSION, refused);
    assert_eq!(scene.fetcher.poll_fetch(scene.now), None);
}

#[test]
fn without_a_session_everything_is_named_each_time() {
    let mut scene = Scene::new();
    scene.fetch(&[batch(10, 5)]);
    let plan = scene.plan();
    assert_eq!(plan.session, SessionFetch::Full { id: 0 });
    assert_eq!(plan.request(VERSION).topics[0].partitions.len(), 1);
}

#[test]
fn a_first_answer_that_leaves_partitions_out_makes_no_session() {
    let mut scene = Scene::new();
    let plan = scene.plan();
    scene.fetcher.handle_fetch(scene.now, &plan, VERSION, silence(ID));
    scene.now += Duration::from_secs(2);
    assert_eq!(scene.plan().session, SessionFetch::Full { id: ID });
}

#[test]
fn a_session_whose_news_came_too_late_is_replaced() {
    let mut scene = scene();
    let plan = scene.plan();
    start(&mut scene, 1, 900);
    let answer = response(vec![data(1, &[batch(20, 5)])]).with_session_id(ID);
    scene.fetcher.handle_fetch(scene.now, &plan, VERSION, answer);
    // The end that it told is not known here, and the broker would not tell it again.
    assert_eq!(scene.plan().session, SessionFetch::Full { id: ID });
}

#[test]
fn an_answer_from_another_session_ends_ours() {
    let mut scene = scene();
    let plan = scene.plan();
    scene.fetcher.handle_fetch(scene.now, &plan, VERSION, silence(0));
    assert_eq!(scene.plan().session, SessionFetch::Full { id: 0 });
}

#[test]
fn each_broker_has_a_session_of_its_own() {
    let mut scene = scene();
    scene.fetcher.handle_leaders(|tp| Some(leader(1 + tp.partition, 4)));
    let (other, known) = (scene.plan(), scene.plan());
    assert_eq!((other.node_id, &other.session), (2, &SessionFetch::Full { id: 0 }));
    assert_eq!((known.node_id, said(&known)), (1, (1, vec![0], vec![1])));
}

#[test]
fn a_consumer_that_closes_ends_the_sessions_that_it_has() {
    let mut scene = scene();
    scene.fetcher.handle_leaders(|tp| Some(leader(1 + tp.partition, 4)));
    scene.plan(); // The other broker has not answered with a session yet.
    let ends = scene.fetcher.end_sessions();
    assert_eq!(ends.len(), 1);
    assert_eq!((ends[0].node_id, &ends[0].session), (1, &SessionFetch::End { id: ID }));
    let request = ends[0].request(VERSION);
    assert_eq!((request.session_id, request.session_epoch), (ID, -1));
    assert_eq!((request.topics.len(), request.max_wait_ms), (0, 0));
    assert!(scene.fetcher.end_sessions().is_empty());
}

#[test]
fn a_topic_that_is_created_anew_ends_the_session_that_knows_the_old_one() {
    let mut scene = scene();
    let recreated = PartitionLeader {
        topic_id: Some(Uuid::from_u128(8)),
        ..leader(1, 0)
    };
    scene.fetcher.handle_leaders(|_| Some(recreated));
    start(&mut scene, 0, 0);
    assert_eq!(scene.plan().session, SessionFetch::Full { id: ID });
}

#[test]
fn the_epoch_of_a_session_wraps_to_one() {
    use crate::fetch::session::FetchSession;
    let mut session = FetchSession::Incremental {
        id: ID,
        epoch: i32::MAX,
        sent: Default::default(),
    };
    let fetch = session.fetch(&[]);
    session.handle_answer(&fetch, &[], ID, true);
    assert!(matches!(session.fetch(&[]), SessionFetch::Incremental { epoch: 1, .. }));
}

/// An answer that refuses the session.
fn refusal(code: ErrorCode) -> FetchResponse {
    FetchResponse::default().with_error_code(code.code())
}

/// An answer within a session that leaves everything out.
fn silence(session_id: i32) -> FetchResponse {
    response(Vec::new()).with_session_id(session_id)
}
