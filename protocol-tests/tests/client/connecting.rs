//! First contact: many at once, slow answers, servers that are silent.

use std::time::{Duration, Instant};

use engine_broker::{Broker, BrokerConfig, Fault, FaultAction};
use engine_client::{Admin, ClientConfig, Consumer, ConsumerConfig, RequestError};
use tokio::task::JoinSet;

const METADATA: i16 = 3;
const API_VERSIONS: i16 = 18;

async fn broker() -> Broker {
    let config = BrokerConfig {
        listen: ([127, 0, 0, 1], 0).into(),
        ..BrokerConfig::default()
    };
    Broker::start(config).await.expect("the embedded broker starts")
}

/// Two hundred clients connect at once to a broker that answers some of them late, and each asks three times.
async fn many_connect_at_once() {
    let broker = broker().await;
    for api_key in [API_VERSIONS, METADATA] {
        for skip in 0..50 {
            let action = match skip % 5 {
                0 if api_key == API_VERSIONS => FaultAction::Disconnect,
                delay => FaultAction::Delay(Duration::from_millis(40 * delay)),
            };
            broker.inject(Fault {
                skip: 1,
                ..Fault::once(api_key, action)
            });
        }
    }
    let mut clients = JoinSet::new();
    for _ in 0..200 {
        let config = ClientConfig::new(broker.address().to_string());
        clients.spawn(async move {
            let started = Instant::now();
            let admin = Admin::connect(config).await.map_err(|error| format!("{error:?}"))?;
            let connected = started.elapsed();
            for _ in 0..3 {
                admin.list_topics().await.map_err(|error| format!("{error:?}"))?;
            }
            Ok::<_, String>(connected)
        });
    }
    while let Some(connected) = clients.join_next().await {
        let connected = connected.expect("no panic").expect("connects and is answered");
        assert!(connected < Duration::from_secs(8), "{connected:?}");
    }
    broker.shutdown().await;
}

#[tokio::test]
async fn many_clients_connect_at_once_on_one_thread() {
    many_connect_at_once().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_clients_connect_at_once_on_two_threads() {
    many_connect_at_once().await;
}

#[tokio::test]
async fn a_silent_bootstrap_server_does_not_hide_the_one_that_answers() {
    let broker = broker().await;
    // It accepts, by way of its backlog, and never says a word.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let silent = silent.local_addr().map(|address| (silent, address)).expect("bound");
    let servers = vec![silent.1.to_string(), broker.address().to_string()];
    for attempt in 0..8 {
        let config = ClientConfig {
            bootstrap_servers: servers.clone(),
            ..ClientConfig::default()
        };
        let started = Instant::now();
        let admin = Admin::connect(config).await.expect("one of them answers");
        assert!(!admin.describe_cluster().await.expect("answers").brokers.is_empty());
        assert!(started.elapsed() < Duration::from_secs(4), "attempt {attempt}");
    }
    broker.shutdown().await;
}

#[tokio::test]
async fn a_server_that_never_answers_is_told_apart_from_metadata_that_never_comes() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = silent.local_addr().expect("bound").to_string();
    let mut config = ClientConfig::new(&address);
    config.connection_setup_timeout = Duration::from_millis(1_500);
    let error = Admin::connect(config).await.expect_err("nobody is there");
    assert_eq!(error.to_string(), "no bootstrap server answered within 1.5 s");
    let RequestError::NoBootstrapServer { source, .. } = error else {
        panic!("{error}");
    };
    assert_eq!(source.to_string(), format!("cannot connect to {address}"));

    let broker = broker().await;
    broker.inject(Fault::once(METADATA, FaultAction::Silence));
    let mut config = ClientConfig::new(broker.address().to_string());
    config.connection_setup_timeout = Duration::from_millis(1_500);
    let RequestError::NoBootstrapServer { source, .. } = Admin::connect(config).await.expect_err("no metadata") else {
        panic!("another error");
    };
    assert!(
        source.to_string().starts_with("Metadata: no answer within 15"),
        "{source}"
    );
    broker.shutdown().await;
}

#[tokio::test]
async fn settings_that_contradict_each_other_are_refused_before_connecting() {
    let mut config = ConsumerConfig::new("localhost:1");
    config.heartbeat_interval = config.session_timeout;
    let refused = Consumer::connect(config).await.expect_err("contradicts");
    assert!(
        refused.to_string().contains("must be less than `session.timeout.ms`"),
        "{refused}"
    );
    let refused = Admin::connect(ClientConfig::default())
        .await
        .expect_err("nowhere to go");
    assert_eq!(refused.to_string(), "`bootstrap.servers` is missing");
}

#[tokio::test]
async fn metadata_that_a_connected_broker_never_answers_is_asked_for_elsewhere() {
    let broker = broker().await;
    let mut config = ConsumerConfig::new(broker.address().to_string());
    config.client.allow_auto_create_topics = false;
    let consumer = Consumer::connect(config).await.expect("connects");
    broker.inject(Fault::once(METADATA, FaultAction::Silence));
    let started = Instant::now();
    assert_eq!(consumer.partition_count("nothing").await.expect("is answered"), None);
    let took = started.elapsed();
    assert!(took < Duration::from_secs(15), "request.timeout.ms is 30 s: {took:?}");
    consumer.close().await;
    broker.shutdown().await;
}
