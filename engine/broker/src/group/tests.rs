//! Rebalances on a virtual clock.

use std::time::{Duration, Instant};

use bytes::Bytes;
use engine_wire::error_code::ErrorCode;
use tokio::sync::oneshot::{self, Receiver};

use crate::group::join::{JoinAnswer, JoinRequest};
use crate::group::sync::{SyncAnswer, SyncRequest};
use crate::group::{Group, GroupLimits};

const SESSION: Duration = Duration::from_secs(10);
const REBALANCE: Duration = Duration::from_secs(60);

/// A group and its clock.
struct Fixture {
    group: Group,
    now: Instant,
    next_id: u32,
}

impl Fixture {
    fn new() -> Self {
        Self::with_delay(Duration::ZERO)
    }

    fn with_delay(initial_rebalance_delay: Duration) -> Self {
        let limits = GroupLimits {
            initial_rebalance_delay,
            session_timeout_min: Duration::from_secs(1),
            session_timeout_max: Duration::from_secs(100),
            members_max: 3,
        };
        Self {
            group: Group::new(limits),
            now: Instant::now(),
            next_id: 0,
        }
    }

    /// Moves the clock, stopping at every deadline on the way.
    fn advance(&mut self, by: Duration) {
        let end = self.now + by;
        while let Some(deadline) = self.group.next_deadline().filter(|deadline| *deadline <= end) {
            self.now = self.now.max(deadline);
            self.group.handle_deadline(self.now);
        }
        self.now = end;
    }

    fn request(&mut self, member_id: &str, instance_id: Option<&str>) -> JoinRequest {
        self.next_id += 1;
        JoinRequest {
            member_id: member_id.to_owned(),
            instance_id: instance_id.map(str::to_owned),
            client_id: "client".to_owned(),
            client_host: "/host".to_owned(),
            session_timeout: SESSION,
            rebalance_timeout: REBALANCE,
            protocol_type: "consumer".to_owned(),
            protocols: vec![("range".to_owned(), Bytes::from_static(b"topics"))],
            member_id_required: false,
            can_skip_assignment: true,
            new_member_id: format!("m{}", self.next_id),
        }
    }

    fn send(&mut self, request: JoinRequest) -> Receiver<JoinAnswer> {
        let (reply, answer) = oneshot::channel();
        self.group.join(self.now, request, reply);
        answer
    }

    fn join(&mut self, member_id: &str) -> Receiver<JoinAnswer> {
        let request = self.request(member_id, None);
        self.send(request)
    }

    fn join_as(&mut self, instance_id: &str) -> Receiver<JoinAnswer> {
        let request = self.request("", Some(instance_id));
        self.send(request)
    }

    fn sync(&mut self, joined: &JoinAnswer, assignments: &[(&str, &'static str)]) -> Receiver<SyncAnswer> {
        let (reply, answer) = oneshot::channel();
        let assignment = |(id, bytes): &(&str, &'static str)| ((*id).to_owned(), Bytes::from_static(bytes.as_bytes()));
        let request = SyncRequest {
            member_id: joined.member_id.clone(),
            instance_id: None,
            generation_id: joined.generation_id,
            protocol_type: None,
            protocol_name: None,
            assignments: assignments.iter().map(assignment).collect(),
        };
        self.group.sync(self.now, request, reply);
        answer
    }

    /// Two stable members: the leader m1, and m2.
    fn two_stable() -> (Self, JoinAnswer, JoinAnswer) {
        let mut fixture = Self::new();
        let first = now(fixture.join(""));
        now(fixture.sync(&first, &[("m1", "all")]));
        let second = fixture.join("");
        let first = now(fixture.join("m1"));
        let second = now(second);
        let waiting = fixture.sync(&second, &[]);
        now(fixture.sync(&first, &[("m1", "one"), ("m2", "two")]));
        assert_eq!(now(waiting).assignment, "two");
        (fixture, first, second)
    }

    fn beat(&mut self, joined: &JoinAnswer) -> Result<(), ErrorCode> {
        self.group
            .heartbeat(self.now, &joined.member_id, None, joined.generation_id)
    }
}

/// The answer, which must be there.
fn now<T>(mut answer: Receiver<T>) -> T {
    answer.try_recv().expect("an answer")
}

fn is_waiting<T>(answer: &mut Receiver<T>) -> bool {
    answer.try_recv().is_err()
}

#[test]
fn the_first_member_leads_a_generation_of_its_own() {
    let mut fixture = Fixture::new();
    let joined = now(fixture.join(""));
    assert_eq!(
        (joined.generation_id, joined.leader.as_str(), joined.members.len()),
        (1, "m1", 1)
    );
    assert_eq!(fixture.group.view().state, "CompletingRebalance");
    assert_eq!(now(fixture.sync(&joined, &[("m1", "all")])).assignment, "all");
    assert_eq!(fixture.group.view().state, "Stable");
}

#[test]
fn an_initial_delay_gathers_members_and_is_extended_by_them() {
    let mut fixture = Fixture::with_delay(Duration::from_secs(3));
    let mut first = fixture.join("");
    fixture.advance(Duration::from_secs(2));
    let mut second = fixture.join("");
    fixture.advance(Duration::from_secs(2));
    assert!(
        is_waiting(&mut first) && is_waiting(&mut second),
        "the second one extended the delay"
    );
    fixture.advance(Duration::from_secs(3));
    assert_eq!((now(first).generation_id, now(second).generation_id), (1, 1));
}

#[test]
fn a_member_that_needs_an_id_is_waited_for_and_forgotten_in_time() {
    let (mut fixture, first, second) = Fixture::two_stable();
    let mut request = fixture.request("", None);
    request.member_id_required = true;
    let told = now(fixture.send(request));
    assert_eq!(told.error, Some(ErrorCode::MEMBER_ID_REQUIRED));
    assert_eq!(
        fixture.beat(&first),
        Ok(()),
        "nobody rebalances for a member that has not joined yet"
    );
    let mut third = fixture.join(&told.member_id);
    assert_eq!(fixture.beat(&second), Err(ErrorCode::REBALANCE_IN_PROGRESS));
    assert!(is_waiting(&mut third));
    // An id that is never used is forgotten after a session timeout.
    let mut request = fixture.request("", None);
    request.member_id_required = true;
    let refused = now(fixture.send(request));
    assert_eq!(refused.error, Some(ErrorCode::GROUP_MAX_SIZE_REACHED));
}

#[test]
fn members_that_do_not_rejoin_are_out_when_the_rebalance_times_out() {
    let (mut fixture, first, _) = Fixture::two_stable();
    let mut rejoined = fixture.join("m1");
    // The other one stays alive, but does not rejoin.
    for _ in 0..59 {
        fixture.advance(Duration::from_secs(1));
        let beat = fixture.group.heartbeat(fixture.now, "m2", None, first.generation_id);
        assert_eq!(beat, Err(ErrorCode::REBALANCE_IN_PROGRESS));
        assert!(is_waiting(&mut rejoined));
    }
    fixture.advance(Duration::from_secs(2));
    let joined = now(rejoined);
    assert_eq!(
        (joined.generation_id, joined.members.len()),
        (first.generation_id + 1, 1)
    );
    assert_eq!(
        fixture.group.heartbeat(fixture.now, "m2", None, 3),
        Err(ErrorCode::UNKNOWN_MEMBER_ID)
    );
}

#[test]
fn a_silent_member_is_expired_and_the_others_rebalance() {
    let (mut fixture, first, second) = Fixture::two_stable();
    fixture.advance(SESSION - Duration::from_secs(1));
    assert_eq!(fixture.beat(&first), Ok(()));
    fixture.advance(Duration::from_secs(2));
    assert_eq!(fixture.beat(&second), Err(ErrorCode::UNKNOWN_MEMBER_ID));
    assert_eq!(fixture.beat(&first), Err(ErrorCode::REBALANCE_IN_PROGRESS));
    assert_eq!(now(fixture.join("m1")).generation_id, 3);
}

#[test]
fn a_member_that_joined_but_never_syncs_is_removed() {
    let mut fixture = Fixture::new();
    let first = now(fixture.join(""));
    now(fixture.sync(&first, &[("m1", "all")]));
    let second = fixture.join("");
    now(fixture.join("m1"));
    let second = now(second);
    // m2 asks for its assignment, the leader never does, though its heartbeats go on.
    let mut waiting = fixture.sync(&second, &[]);
    for _ in 0..59 {
        fixture.advance(Duration::from_secs(1));
        assert!(is_waiting(&mut waiting));
        assert_eq!(fixture.group.heartbeat(fixture.now, "m1", None, 2), Ok(()));
    }
    fixture.advance(Duration::from_secs(2));
    assert_eq!(now(waiting).error, Some(ErrorCode::REBALANCE_IN_PROGRESS));
    assert_eq!(now(fixture.join("m2")).leader, "m2");
}

#[test]
fn a_new_member_interrupts_those_that_wait_for_the_leader() {
    let mut fixture = Fixture::new();
    let first = now(fixture.join(""));
    now(fixture.sync(&first, &[]));
    let second = fixture.join("");
    now(fixture.join("m1"));
    let second = now(second);
    let waiting = fixture.sync(&second, &[]);
    let mut third = fixture.join("");
    assert_eq!(now(waiting).error, Some(ErrorCode::REBALANCE_IN_PROGRESS));
    assert!(is_waiting(&mut third));
}

#[test]
fn a_follower_that_repeats_its_join_gets_the_same_generation_and_a_leader_a_new_one() {
    let (mut fixture, first, _) = Fixture::two_stable();
    assert_eq!(now(fixture.join("m2")).generation_id, first.generation_id);
    assert_eq!(fixture.group.view().state, "Stable");
    let mut leader = fixture.join("m1");
    assert!(is_waiting(&mut leader));
    assert_eq!(fixture.group.view().state, "PreparingRebalance");
}

#[test]
fn the_last_one_to_leave_empties_the_group() {
    let (mut fixture, _, second) = Fixture::two_stable();
    assert_eq!(fixture.group.leave(fixture.now, "m1", None), Ok(()));
    assert_eq!(fixture.beat(&second), Err(ErrorCode::REBALANCE_IN_PROGRESS));
    assert_eq!(
        fixture.group.leave(fixture.now, "m1", None),
        Err(ErrorCode::UNKNOWN_MEMBER_ID)
    );
    assert_eq!(fixture.group.leave(fixture.now, "m2", None), Ok(()));
    assert_eq!((fixture.group.view().state, fixture.group.is_empty()), ("Empty", true));
    assert_eq!(now(fixture.join("")).members.len(), 1, "it can be joined again");
}

#[test]
fn a_static_member_returns_without_a_rebalance_and_its_old_self_is_fenced() {
    let mut fixture = Fixture::new();
    let first = now(fixture.join_as("node-1"));
    now(fixture.sync(&first, &[(&first.member_id, "all")]));
    let returned = now(fixture.join_as("node-1"));
    assert_eq!((returned.generation_id, returned.skip_assignment), (1, true));
    assert_ne!(returned.member_id, first.member_id);
    assert_eq!(now(fixture.sync(&returned, &[])).assignment, "all");
    let stale = fixture
        .group
        .heartbeat(fixture.now, &first.member_id, Some("node-1"), 1);
    assert_eq!(stale, Err(ErrorCode::FENCED_INSTANCE_ID));
    let left = fixture.group.leave(fixture.now, "", Some("node-1"));
    assert_eq!(
        (left, fixture.group.is_empty()),
        (Ok(()), true),
        "an administrator names the instance alone"
    );
}

#[test]
fn requests_that_cannot_be_served_are_refused() {
    let (mut fixture, first, _) = Fixture::two_stable();
    let change = |fixture: &mut Fixture, change: fn(&mut JoinRequest)| {
        let mut request = fixture.request("", None);
        change(&mut request);
        now(fixture.send(request)).error
    };
    let no_protocols = change(&mut fixture, |request| request.protocols.clear());
    assert_eq!(no_protocols, Some(ErrorCode::INCONSISTENT_GROUP_PROTOCOL));
    let other_type = change(&mut fixture, |request| request.protocol_type = "connect".to_owned());
    assert_eq!(other_type, Some(ErrorCode::INCONSISTENT_GROUP_PROTOCOL));
    let other_protocol = change(&mut fixture, |request| request.protocols[0].0 = "sticky".to_owned());
    assert_eq!(other_protocol, Some(ErrorCode::INCONSISTENT_GROUP_PROTOCOL));
    let short = change(&mut fixture, |request| {
        request.session_timeout = Duration::from_millis(1)
    });
    assert_eq!(short, Some(ErrorCode::INVALID_SESSION_TIMEOUT));
    let stranger = change(&mut fixture, |request| request.member_id = "stranger".to_owned());
    assert_eq!(stranger, Some(ErrorCode::UNKNOWN_MEMBER_ID));
    let old = JoinAnswer {
        generation_id: first.generation_id - 1,
        ..first
    };
    assert_eq!(now(fixture.sync(&old, &[])).error, Some(ErrorCode::ILLEGAL_GENERATION));
}

#[test]
fn the_protocol_that_most_members_prefer_is_chosen_from_those_all_support() {
    let mut fixture = Fixture::new();
    let names = [["sticky", "range"], ["range", "sticky"], ["range", "sticky"]];
    let mut answers = Vec::new();
    for names in names {
        let mut request = fixture.request("", None);
        request.protocols = names.map(|name| (name.to_owned(), Bytes::new())).to_vec();
        answers.push(fixture.send(request));
    }
    let mut request = fixture.request("m1", None);
    request.protocols = names[0].map(|name| (name.to_owned(), Bytes::new())).to_vec();
    let joined = now(fixture.send(request));
    assert_eq!(joined.protocol_name.as_deref(), Some("range"));
}
