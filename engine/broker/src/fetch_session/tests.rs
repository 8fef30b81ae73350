//! Sessions between requests: what is asked in them, what silence means, and what ends them.

use engine_wire::messages::StrBytes;

use super::*;

fn topics(partitions: &[i32]) -> Vec<FetchTopic> {
    let wanted = partitions
        .iter()
        .map(|index| FetchPartition::default().with_partition(*index));
    let name = TopicName(StrBytes::from_static_str("t"));
    vec![FetchTopic::default().with_topic(name).with_partitions(wanted.collect())]
}

fn request(id: i32, epoch: i32, topics: Vec<FetchTopic>) -> SessionRequest {
    SessionRequest {
        id,
        epoch,
        has_topic_ids: false,
        topics,
        forgotten: Vec::new(),
    }
}

fn begun(sessions: &FetchSessions) -> i32 {
    let (using, _) = sessions
        .begin(request(0, 0, topics(&[0, 1, 2])))
        .expect("a new session");
    let SessionUse::New { id } = using else {
        panic!("{using:?}")
    };
    sessions.end(using, &[answered(10, false); 3]);
    id
}

fn answered(high_watermark: i64, has_records: bool) -> Answered {
    Answered {
        told: Told {
            high_watermark,
            last_stable_offset: high_watermark,
            log_start_offset: 0,
        },
        has_records,
        has_failed: false,
    }
}

fn indexes(topics: &[FetchTopic]) -> Vec<i32> {
    topics
        .iter()
        .flat_map(|topic| &topic.partitions)
        .map(|one| one.partition)
        .collect()
}

#[test]
fn an_answer_has_what_is_new_and_who_had_records_waits() {
    let sessions = FetchSessions::new(10);
    let id = begun(&sessions);
    let (using, read) = sessions.begin(request(id, 1, vec![])).expect("the session");
    assert_eq!(indexes(&read), [0, 1, 2]);
    let failed = Answered {
        has_failed: true,
        ..answered(10, false)
    };
    let included = sessions.end(using, &[answered(11, true), answered(10, false), failed]);
    assert_eq!(included, [true, false, true]);
    let (using, read) = sessions.begin(request(id, 2, vec![])).expect("the session");
    assert_eq!(indexes(&read), [1, 2, 0]);
    // The error is over, which is news; nothing else is.
    let included = sessions.end(using, &[answered(10, false), answered(10, false), answered(11, false)]);
    assert_eq!(included, [false, true, false]);
}

#[test]
fn partitions_are_added_changed_and_forgotten() {
    let sessions = FetchSessions::new(10);
    let id = begun(&sessions);
    let mut changed = topics(&[1, 5]);
    changed[0].partitions[0].fetch_offset = 77;
    let forgotten = ForgottenTopic::default()
        .with_topic(changed[0].topic.clone())
        .with_partitions(vec![0, 9]);
    let request = SessionRequest {
        forgotten: vec![forgotten],
        ..request(id, 1, changed)
    };
    let (_, read) = sessions.begin(request).expect("the session");
    assert_eq!(indexes(&read), [1, 2, 5]);
    assert_eq!(read[0].partitions[0].fetch_offset, 77);
}

#[test]
fn epochs_ids_and_kinds_must_fit() {
    let sessions = FetchSessions::new(10);
    let id = begun(&sessions);
    let code = |request| sessions.begin(request).map(|(using, _)| using);
    let invalid = Err(ErrorCode::INVALID_FETCH_SESSION_EPOCH);
    assert_eq!(code(request(id, 2, vec![])), invalid, "one is missing");
    assert_eq!(
        code(request(id ^ 1, 1, vec![])),
        Err(ErrorCode::FETCH_SESSION_ID_NOT_FOUND)
    );
    let with_ids = SessionRequest {
        has_topic_ids: true,
        ..request(id, 1, vec![])
    };
    assert_eq!(code(with_ids), Err(ErrorCode::FETCH_SESSION_TOPIC_ID_ERROR));
    assert_eq!(
        code(request(id, 1, vec![])),
        Ok(SessionUse::Incremental { id, epoch: 1 })
    );
    assert_eq!(code(request(id, 1, vec![])), invalid, "repeated");
    assert_eq!(code(request(id, -1, topics(&[0]))), Ok(SessionUse::None), "closed");
    assert_eq!(code(request(id, 2, vec![])), Err(ErrorCode::FETCH_SESSION_ID_NOT_FOUND));
    assert_eq!([next_epoch(1), next_epoch(i32::MAX)], [2, 1]);
}

#[test]
fn at_the_bound_the_session_used_longest_ago_goes() {
    let sessions = FetchSessions::new(2);
    let (first, second) = (begun(&sessions), begun(&sessions));
    sessions.begin(request(first, 1, vec![])).expect("used");
    begun(&sessions);
    assert!(sessions.begin(request(first, 2, vec![])).is_ok());
    let evicted = sessions.begin(request(second, 1, vec![])).map(|(using, _)| using);
    assert_eq!(evicted, Err(ErrorCode::FETCH_SESSION_ID_NOT_FOUND));
}
