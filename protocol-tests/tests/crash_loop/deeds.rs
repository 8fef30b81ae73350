//! One step of the plan, done to the processes.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use crate::{
    board::{Life, Role},
    moment,
    plan::{Deed, Step},
    processes::Processes,
    summary::Summary,
};

/// Does a step; says what happened.
pub(crate) fn run(step: &Step, processes: &mut Processes, lake: &Path, summary: &mut Summary) -> String {
    while processes.engines.len() > step.processes {
        let spare = (0..processes.engines.len())
            .find(|place| *place != processes.owner())
            .expect("a second one");
        processes.ask_to_end(spare);
        summary.asked_to_end += 1;
    }
    let running = processes.engines.len();
    processes.ensure(step.processes);
    let is_fresh = running == 0;
    let settled = step.processes == 2 && step.settled && processes.wait_until(is_settled);
    if step.processes == 2 && step.settled && !settled {
        processes
            .failures
            .push("two processes did not settle on who owns the partitions within a minute".to_owned());
    }
    let moment = moment::wait(step.moment, processes, lake, is_fresh);
    processes.ensure(step.processes);
    let owner = processes.owner();
    let life = processes.engines[owner].life;
    let alive = processes.engines[owner].started.elapsed();
    // Without a settled pair it is open who takes over.
    let heir = settled
        .then(|| {
            processes
                .engines
                .iter()
                .map(|engine| engine.life)
                .find(|other| *other != life)
        })
        .flatten();
    let done = match step.deed {
        Deed::KillOwner => {
            let killed = Instant::now();
            processes.engines.remove(owner).kill();
            summary.kill(moment, "the owner");
            take_over(processes, heir, killed, "kill", summary);
            format!("killed engine {life}")
        }
        Deed::KillStandby => {
            let standby = processes.engines.len() - 1 - owner;
            let life = processes.engines[standby].life;
            processes.engines.remove(standby).kill();
            summary.kill(moment, "the standby");
            format!("killed engine {life}, which stood by")
        }
        Deed::KillBoth => {
            for engine in &mut processes.engines {
                engine.start_killing();
            }
            for engine in processes.engines.drain(..) {
                engine.kill();
                summary.kill(moment, "both");
            }
            "killed both".to_owned()
        }
        Deed::FreezeOwner(duration) => {
            let frozen = Instant::now();
            processes.board.freeze(life);
            processes.engines[owner].signal("STOP");
            take_over(processes, heir, frozen, "freeze", summary);
            std::thread::sleep((frozen + duration).saturating_duration_since(Instant::now()));
            wake(processes, life, summary)
        }
    };
    std::thread::sleep(step.pause);
    summary.restart(step.pause);
    format!("{moment}, {alive:.2?} old: {done}; pause {:?}", step.pause)
}

fn is_settled(all: &Processes) -> bool {
    let stands_by = all
        .engines
        .iter()
        .any(|engine| all.board.role(engine.life) == Role::StandsBy);
    stands_by && all.somebody_owns().is_some()
}

/// Waits until the standby owns the partitions, and measures how long that took.
fn take_over(
    processes: &mut Processes,
    heir: Option<Life>,
    since: Instant,
    after: &'static str,
    summary: &mut Summary,
) {
    let Some(heir) = heir else { return };
    processes.wait_until(|all| {
        let is_there = all.engines.iter().any(|engine| engine.life == heir);
        !is_there || all.board.took_over_since(heir, since).is_some()
    });
    match processes.board.took_over_since(heir, since) {
        Some(at) => summary.takeover(after, at - since),
        None => {
            let said = processes.board.last_lines(heir);
            processes
                .failures
                .push(format!("engine {heir} stood by and did not take over:\n    {said}"));
        }
    }
}

/// SIGCONT; then it must find out that it owns nothing any more, or end.
fn wake(processes: &mut Processes, life: Life, summary: &mut Summary) -> String {
    let woken = Instant::now();
    let is_there = |all: &Processes| all.engines.iter().any(|engine| engine.life == life);
    if let Some(engine) = processes.engines.iter().find(|engine| engine.life == life) {
        engine.signal("CONT");
    }
    let noticed = processes.wait_until(|all| {
        !is_there(all)
            || match all.board.role(life) {
                Role::Owns { since } => since > woken,
                Role::StandsBy | Role::Rebalances => true,
                Role::Starting => all.engines.len() > 1,
            }
    });
    if !noticed {
        let said = processes.board.last_lines(life);
        processes
            .failures
            .push(format!("engine {life} was frozen and did not notice:\n    {said}"));
    }
    let outcome = match is_there(processes) {
        true => "went on",
        false => "ended",
    };
    summary.woke(outcome);
    let took: Duration = woken.elapsed();
    format!("froze engine {life} for long, woke it; it {outcome} after {took:.2?}")
}
