//! Members of a group under fire: the coordinator, and what each of them holds, are the judges.

mod exchange;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use engine_proto::TopicPartition;
use engine_proto::backoff::BackoffPolicy;
use engine_proto::group::assignor::cooperative_sticky::CooperativeStickyAssignor;
use engine_proto::group::assignor::range::RangeAssignor;
use engine_proto::group::assignor::sticky::StickyAssignor;
use engine_proto::group::assignor::{Assignor, PartitionCounts};
use engine_proto::group::member_state::{MemberState, MembershipConfig};
use engine_proto::group::membership::Membership;
use engine_proto::group::ownership::GroupEvent;
use exchange::{Answer, Request, Sent};
use fastrand::Rng;

use crate::group_coordinator::GroupCoordinator;
use crate::network::{MS, Network, Weather};
use crate::seeds::for_each_seed;

const MEMBERS: usize = 3;

const NODES: i32 = 3;

const HEARTBEAT: Duration = Duration::from_millis(500);

const SESSION: Duration = Duration::from_secs(4);

const MAX_POLL: Duration = Duration::from_secs(6);

/// Under every assignor: a commit that the coordinator takes is of a partition that nobody else has, and moves its offset on;
/// heartbeats go on while records are processed and while the group rebalances; and when the trouble is over, each partition
/// is held once.
///
/// Pitfall 16: members process for long, and rebalances take long.
/// Pitfall 17: a stale owner's commit is refused, which makes it rejoin.
#[test]
fn membership_holds_each_partition_once_and_no_stale_owner_commits() {
    let (mut commits, mut refused, mut rebalances) = (0, 0, 0);
    let is_whole = for_each_seed("membership_holds", 30, |seed| {
        let mut group = Group::new(seed);
        group.run();
        commits += group.commits;
        refused += group.refused;
        rebalances += group.coordinator.generation_id;
    });
    let enough = commits > 500 && refused > 5 && rebalances > 60;
    assert!(
        !is_whole || enough,
        "{commits} commits, {refused} refused, {rebalances} rebalances"
    );
}

#[derive(Debug)]
enum Happening {
    Tick,
    MoveCoordinator,
    Kick,
    Grow,
    ReplaceMember,
}

/// One application: what it holds, how far it is, and what it is giving back.
struct Player {
    client: usize,
    member: Membership,
    held: BTreeMap<TopicPartition, i64>,
    revoking: Option<Vec<TopicPartition>>,
    /// The generation of the last event: nothing is committed under one whose assignment the application has not seen.
    delivered_generation: Option<i32>,
    is_processing: bool,
    in_flight: HashMap<u64, Sent>,
    /// Nothing was owed to the coordinator at this time.
    heard_at: Instant,
}

struct Group {
    rng: Rng,
    network: Network<Request, Answer, Happening>,
    coordinator: GroupCoordinator,
    node_id: i32,
    players: Vec<Player>,
    assignor: Arc<dyn Assignor>,
    partitions: i32,
    next_client: usize,
    is_calm: bool,
    commits: u64,
    refused: u64,
}

impl Group {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let assignors: [Arc<dyn Assignor>; 3] = [
            Arc::new(RangeAssignor),
            Arc::new(StickyAssignor),
            Arc::new(CooperativeStickyAssignor),
        ];
        let assignor = Arc::clone(&assignors[seed as usize % 3]);
        let mut network = Network::new(seed, Weather::of(&mut rng));
        for happening in [
            Happening::Tick,
            Happening::MoveCoordinator,
            Happening::Kick,
            Happening::Grow,
            Happening::ReplaceMember,
        ] {
            network.schedule(100 * MS, happening);
        }
        let mut group = Self {
            coordinator: GroupCoordinator::new(assignor.name(), SESSION, MAX_POLL),
            rng,
            network,
            node_id: 0,
            players: Vec::new(),
            assignor,
            partitions: 6,
            next_client: 0,
            is_calm: false,
            commits: 0,
            refused: 0,
        };
        for _ in 0..MEMBERS {
            let player = group.player();
            group.players.push(player);
        }
        group
    }

    fn player(&mut self) -> Player {
        let now = self.network.now;
        let config = MembershipConfig {
            group_instance_id: None,
            session_timeout: SESSION,
            heartbeat_interval: HEARTBEAT,
            max_poll_interval: MAX_POLL,
            rebalance_timeout: MAX_POLL,
            backoff: BackoffPolicy {
                initial: 20 * MS,
                max: 200 * MS,
            },
            assignors: vec![Arc::clone(&self.assignor)],
            rack_id: None,
        };
        self.next_client += 1;
        let mut member = Membership::new(now, config, self.rng.u64(..));
        member.handle_subscribe(now, [Arc::from("t")]);
        member.handle_poll_entered(now);
        Player {
            client: self.next_client,
            member,
            held: BTreeMap::new(),
            revoking: None,
            delivered_generation: None,
            is_processing: false,
            in_flight: HashMap::new(),
            heard_at: now,
        }
    }

    fn run(&mut self) {
        let start = self.network.now;
        let (trouble_ends, end) = (start + 25 * SECOND, start + 45 * SECOND);
        while self.network.now < end {
            if !self.is_calm && self.network.now >= trouble_ends {
                self.is_calm = true;
                (self.network.weather.cut, self.network.weather.silent) = (0.0, 0.0);
            }
            for index in 0..self.players.len() {
                self.drive(index);
            }
            self.check();
            let now = self.network.now;
            let deadlines = self.players.iter().filter_map(|player| player.member.poll_timeout());
            let deadline = deadlines.min().unwrap_or(end).clamp(now + MS, now + 50 * MS);
            if let Some(delivery) = self.network.next(Some(deadline)) {
                self.take(delivery);
            }
        }
        assert!(self.coordinator.is_stable());
        let held: Vec<&TopicPartition> = self.players.iter().flat_map(|player| player.held.keys()).collect();
        let distinct: BTreeSet<&&TopicPartition> = held.iter().collect();
        let all = self.partitions as usize;
        assert_eq!((held.len(), distinct.len()), (all, all), "{held:?}");
        for player in &self.players {
            assert_eq!(player.member.commit_generation(), Some(self.coordinator.generation_id));
        }
    }

    /// The application's turn, and what the machine wants.
    fn drive(&mut self, index: usize) {
        let now = self.network.now;
        let is_calm = self.is_calm;
        let player = &mut self.players[index];
        let rng = &mut self.rng;
        if player.is_processing && (is_calm || rng.u32(0..100) == 0) {
            player.is_processing = false;
            player.member.handle_poll_entered(now);
        } else if !player.is_processing && !is_calm && rng.u32(0..100) == 0 {
            player.is_processing = true;
            player.member.handle_poll_left(now);
        }
        if !player.is_processing {
            match player.member.poll_event() {
                Some(GroupEvent::Assigned {
                    generation_id,
                    partitions,
                }) => {
                    player.delivered_generation = Some(generation_id);
                    for tp in partitions {
                        let committed = self.coordinator.committed.get(&tp).copied().unwrap_or(0);
                        player.held.insert(tp, committed);
                    }
                }
                Some(GroupEvent::Revoked {
                    generation_id,
                    partitions,
                }) => {
                    player.delivered_generation = Some(generation_id);
                    player.revoking = Some(partitions);
                }
                Some(GroupEvent::Lost { partitions }) => {
                    player.delivered_generation = None;
                    player.revoking = None;
                    player.held.retain(|tp, _| !partitions.contains(tp));
                }
                None => {}
            }
        }
        if rng.u32(0..8) == 0
            && let Some(revoked) = player.revoking.take()
        {
            player.held.retain(|tp, _| !revoked.contains(tp));
            player.member.handle_revoked(now);
        }
        for position in player.held.values_mut() {
            *position += rng.i64(0..3);
        }
        assert_eq!(player.member.poll_failure(), None);
        let commits = player
            .in_flight
            .values()
            .any(|sent| matches!(sent, Sent::Commit { .. }));
        if let (Some(generation_id), Some(node_id)) = (player.member.commit_generation(), player.member.coordinator())
            && player.delivered_generation == Some(generation_id)
            && !commits
            && !player.held.is_empty()
            && rng.u32(0..10) == 0
        {
            let request = Request::Commit {
                member_id: player.member.member_id().to_owned(),
                generation_id,
                offsets: player.held.clone(),
            };
            self.send(index, node_id, request, Sent::Commit { generation_id });
        }
        while let Some(action) = self.players[index].member.poll_action(now) {
            self.act(index, action);
        }
    }

    fn counts(&self) -> PartitionCounts {
        PartitionCounts::from([(Arc::from("t"), self.partitions)])
    }

    fn happen(&mut self, happening: Happening) {
        let now = self.network.now;
        if self.is_calm && !matches!(happening, Happening::Tick) {
            return;
        }
        let mut again = Duration::from_millis(self.rng.u64(500..8_000));
        match happening {
            Happening::Tick => {
                let due = self.coordinator.tick(now);
                self.answer(due);
                let counts = self.counts();
                for player in &mut self.players {
                    player.member.handle_cluster(now, &counts);
                }
                again = 100 * MS;
            }
            Happening::MoveCoordinator => {
                self.coordinator.forget_parked();
                self.network.cut_all(self.node_id);
                self.node_id = self.rng.i32(0..NODES);
            }
            Happening::Kick => {
                let members: Vec<String> = self.coordinator.member_ids().cloned().collect();
                if let Some(member_id) = self.rng.choice(members) {
                    let due = self.coordinator.kick(now, &member_id);
                    self.answer(due);
                }
            }
            Happening::Grow => self.partitions = (self.partitions + self.rng.i32(0..2)).min(9),
            Happening::ReplaceMember => {
                let index = self.rng.usize(0..MEMBERS);
                if self.rng.bool() {
                    self.players[index].member.handle_close();
                    self.drive(index);
                }
                for lane in 0..LANES {
                    self.network.forget_client(self.players[index].client * LANES + lane);
                }
                self.players[index] = self.player();
            }
        }
        self.network.schedule(again, happening);
    }

    fn check(&self) {
        let now = self.network.now;
        for player in &self.players {
            let has_generation = matches!(
                player.member.state(),
                MemberState::Stable { .. } | MemberState::Revoking { .. } | MemberState::Syncing { .. }
            );
            let is_asking = player
                .in_flight
                .values()
                .any(|sent| matches!(sent, Sent::Heartbeat { .. }));
            let is_late = now.saturating_duration_since(player.heard_at) > HEARTBEAT + 100 * MS;
            if has_generation && player.member.coordinator().is_some() && !is_asking {
                assert!(!is_late, "no heartbeat in {:?}", player.member.state());
            }
        }
        if !self.coordinator.is_stable() {
            return;
        }
        let mut held = BTreeSet::new();
        for player in &self.players {
            let current = Some(self.coordinator.generation_id);
            let is_current = player.member.commit_generation() == current && player.delivered_generation == current;
            let given_up = player.revoking.iter().flatten().collect::<BTreeSet<_>>();
            for tp in player.held.keys().filter(|tp| is_current && !given_up.contains(tp)) {
                assert!(held.insert(tp), "{tp} is held twice in one generation");
            }
        }
    }
}

const LANES: usize = 3;

const SECOND: Duration = Duration::from_secs(1);
