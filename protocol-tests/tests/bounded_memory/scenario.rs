//! One process per scenario, and what was allocated in it.

use std::alloc::System;
use std::process::Command;

use cap::Cap;
use engine_broker::{Broker, BrokerConfig};
use engine_client::admin::NewTopic;
use engine_client::{Admin, ClientConfig};
use protocol_tests::tampering_proxy::TamperingProxy;

#[global_allocator]
pub(crate) static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

pub(crate) const TOPIC: &str = "stalled";

/// Set in the process that runs a scenario.
const CHILD: &str = "ENGINE_MEMORY_SCENARIO";

/// Runs `scenario` in a new process that does nothing else; `test` is the name of the calling test.
pub(crate) fn in_its_own_process(test: &str, scenario: impl Future<Output = ()>) {
    if std::env::var(CHILD).is_ok_and(|name| name == test) {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        return runtime.expect("a runtime").block_on(scenario);
    }
    let program = std::env::current_exe().expect("this program");
    let output = Command::new(program)
        .args([test, "--exact", "--nocapture"])
        .env(CHILD, test)
        .output()
        .expect("this program runs again");
    let told = [output.stdout, output.stderr].concat();
    let told = String::from_utf8_lossy(&told);
    print!("{told}");
    assert!(output.status.success(), "{test} failed in its own process");
    assert!(told.contains("held at most"), "{test} measured nothing:\n{told}");
}

/// Says what was allocated above `baseline` at the highest, and demands that it is at most `bound`.
pub(crate) fn held_at_most(what: &str, baseline: usize, bound: usize) {
    let held = ALLOCATOR.max_allocated().saturating_sub(baseline);
    println!("{what}: held at most {held} bytes, {bound} are allowed");
    assert!(held <= bound, "{what}: held {held} bytes, {bound} are allowed");
}

/// An embedded broker behind a proxy, with one topic.
pub(crate) async fn cluster(partitions: i32) -> (Broker, TamperingProxy) {
    let config = BrokerConfig {
        listen: ([127, 0, 0, 1], 0).into(),
        ..BrokerConfig::default()
    };
    let broker = Broker::start(config).await.expect("the embedded broker starts");
    let proxy = TamperingProxy::start(broker.address());
    let admin = Admin::connect(ClientConfig::new(proxy.address().to_string())).await;
    let topic = NewTopic {
        name: TOPIC.into(),
        partitions: Some(partitions),
        ..NewTopic::default()
    };
    let created = admin.expect("connects").create_topics(&[topic]).await;
    assert_eq!(created.expect("is created"), [(TOPIC.to_owned(), Ok(()))]);
    (broker, proxy)
}
