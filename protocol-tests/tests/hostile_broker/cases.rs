//! How a case is run, and what is asked of every client in every case.

use std::panic;
use std::sync::{Arc, Mutex, Once, PoisonError};
use std::time::Duration;

use engine_wire::messages::ApiKey;
use protocol_tests::tampering_proxy::{Exchange, Reply};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::ALLOCATOR;
use super::operations::{Operation, Stage};

/// One lie.
pub(crate) type Lie = fn(&mut Exchange<'_>) -> Reply;

/// What is expected while the lie is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expected {
    /// An error or a success, whichever.
    AnEnd,
    /// The client gets over it by itself.
    Success,
    /// An error that says this.
    Error(&'static str),
}

/// One lie in one API while somebody does something.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Case {
    pub(crate) what: &'static str,
    pub(crate) operation: Operation,
    pub(crate) api: ApiKey,
    pub(crate) lie: Lie,
    pub(crate) lasts: Duration,
    pub(crate) expected: Expected,
}

/// How long most lies are told.
pub(crate) const A_WHILE: Duration = Duration::from_millis(600);
/// Longer than any operation takes, lied to or not, on a machine that is busy with other cases.
const OPERATION_MAX: Duration = Duration::from_secs(30);
const CASES_AT_ONCE: usize = 16;
/// What all cases that run at once may hold, brokers and proxies included.
const HELD_BYTES_MAX: usize = 256 << 20;

static PANICS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Panics in tasks and threads are caught by whoever runs those; here they are remembered.
fn remember_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let print = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            PANICS
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(info.to_string());
            print(info);
        }));
    });
}

/// Runs all cases, or those whose name contains `HOSTILE_CASE`; panics with those that did not end as they should.
pub(crate) fn run(cases: Vec<Case>) {
    remember_panics();
    let only = std::env::var("HOSTILE_CASE").ok();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let failures = runtime.expect("a runtime").block_on(async {
        let turns = Arc::new(Semaphore::new(CASES_AT_ONCE));
        let mut running = JoinSet::new();
        for case in cases {
            let name = format!("{:?}, {:?}: {}", case.operation, case.api, case.what);
            if only.as_ref().is_some_and(|only| !name.contains(only)) {
                continue;
            }
            let turns = Arc::clone(&turns);
            running.spawn(async move {
                let _turn = turns.acquire().await.expect("it is never closed");
                match endure(case).await {
                    Ok(end) => {
                        println!("{name}: {end}");
                        None
                    }
                    Err(failure) => Some(format!("{name}: {failure}")),
                }
            });
        }
        let mut failures = Vec::new();
        while let Some(ended) = running.join_next().await {
            match ended {
                Ok(failure) => failures.extend(failure),
                Err(error) => failures.push(format!("a case panicked: {error}")),
            }
        }
        failures
    });
    let panics = PANICS.lock().unwrap_or_else(PoisonError::into_inner).clone();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(panics.is_empty(), "a task panicked: {}", panics.join("\n"));
    let held = ALLOCATOR.max_allocated();
    assert!(held <= HELD_BYTES_MAX, "{held} bytes were held at once");
}

async fn endure(case: Case) -> Result<String, String> {
    let stage = Stage::new(case.operation).await;
    stage.proxy.tamper(case.api, case.lie);
    let first = timeout(OPERATION_MAX, async {
        let mut performing = std::pin::pin!(case.operation.perform(&stage));
        tokio::select! {
            ended = &mut performing => return ended,
            () = tokio::time::sleep(case.lasts) => stage.proxy.heal(),
        }
        performing.await
    });
    let first = first.await.map_err(|_| "it hung".to_owned())?;
    if stage.proxy.requests(case.api) == 0 {
        return Err("the lie was never told".into());
    }
    match (case.expected, &first) {
        (Expected::AnEnd, _) | (Expected::Success, Ok(())) => {}
        (Expected::Error(part), Err(error)) if error.contains(part) => {}
        (expected, first) => return Err(format!("expected {expected:?}, got {first:?}")),
    }
    stage.proxy.heal();
    let second = timeout(OPERATION_MAX, async {
        loop {
            match case.operation.perform(&stage).await {
                // The session of the member that was lied to may end just now, and the group rebalances for it: whoever commits
                // at that moment is told so, and tries again.
                Err(error) if error.contains("the membership is lost") => {}
                ended => return ended,
            }
        }
    });
    let second = second.await.map_err(|_| "it hung after the lie".to_owned())?;
    second.map_err(|error| format!("{error}, after the lie; before: {first:?}"))?;
    stage.end().await;
    Ok(match first {
        Ok(()) => "survived".into(),
        Err(error) => error,
    })
}
