//! Connections whose other end is gone without a word: a firewall forgot them, a machine lost its power.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use engine_client::{Admin, ClientConfig, Consumer, StartAt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::cluster::Cluster;
use crate::scene::{Member, Scene, numbers, run};

/// Between the clients and the broker. What it forgets stays open on both sides and says nothing any more.
struct Firewall {
    address: SocketAddr,
    /// Connections of an older age are forgotten.
    age: Arc<AtomicU32>,
}

impl Firewall {
    async fn start() -> (Firewall, TcpListener) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let firewall = Firewall {
            address: listener.local_addr().expect("bound"),
            age: Arc::default(),
        };
        (firewall, listener)
    }

    fn forward(&self, listener: TcpListener, broker: String) {
        let age = self.age.clone();
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.expect("accepts");
                let Ok(server) = TcpStream::connect(&broker).await else {
                    continue;
                };
                let born = age.load(Ordering::Relaxed);
                let (from_client, to_client) = client.into_split();
                let (from_server, to_server) = server.into_split();
                for (from, to) in [(from_client, to_server), (from_server, to_client)] {
                    tokio::spawn(pass(from, to, born, age.clone()));
                }
            }
        });
    }

    fn forget(&self) {
        self.age.fetch_add(1, Ordering::Relaxed);
    }
}

async fn pass(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    born: u32,
    age: Arc<AtomicU32>,
) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let Ok(size @ 1..) = from.read(&mut buffer).await else {
            return;
        };
        if age.load(Ordering::Relaxed) != born {
            return std::future::pending().await; // Both halves stay open.
        }
        if to.write_all(&buffer[..size]).await.is_err() {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_4_4_0_forgot_are_given_up_in_time() {
    let (firewall, listener) = Firewall::start().await;
    let advertised = format!("advertised.listeners=PLAINTEXT://{}", firewall.address);
    let Some(cluster) = Cluster::start_for_long("half-open", "4.4.0", 1, &["--set", &advertised]) else {
        return;
    };
    firewall.forward(listener, cluster.bootstrap_servers.clone());
    let scene = Scene::on(None, firewall.address.to_string(), 1).await;
    let mut config = scene.config();
    config.client.request_timeout = Duration::from_secs(2);
    config.session_timeout = Duration::from_secs(20);
    let admin = Admin::connect(ClientConfig {
        bootstrap_servers: vec![scene.bootstrap.clone()],
        request_timeout: Duration::from_secs(2),
        ..ClientConfig::default()
    });
    let admin = admin.await.expect("connects");
    let mut alone = scene.reader(config.clone()).await;
    alone.consumer.assign([scene.tp(0)]);
    alone
        .consumer
        .start([(scene.tp(0), StartAt::Earliest)])
        .expect("assigned");
    let mut consumer = Consumer::connect(config).await.expect("connects");
    consumer.subscribe([scene.topic.as_str()]).expect("has a group");
    let mut member = Member::new(consumer);
    let both = |m: &[&mut Member], count| m.iter().all(|member| member.seen.len() >= count);
    for round in 0..3 {
        scene.produce(1, 50 * round, 50).await;
        let count = 50 * (round as usize + 1);
        run(&mut [&mut alone, &mut member], "50 records", |m| both(m, count)).await;
        member.commit().await.expect("is a member");
        firewall.forget();
        // Everything that is open is dead, and nobody has told.
        let started = Instant::now();
        assert!(!admin.list_topics().await.expect("asks again").is_empty());
        member.commit().await.expect("commits again");
        let took = started.elapsed();
        assert!(
            took < Duration::from_secs(10),
            "each waits for two seconds at most: {took:?}"
        );
    }
    for member in [alone, member] {
        assert_eq!(member.seen, numbers(0..150), "each once");
        assert_eq!((member.lost, member.errors.len()), (0, 0), "{:?}", member.errors);
        member.consumer.close().await;
    }
}
