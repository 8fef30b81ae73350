//! librdkafka, by way of kcat, against the embedded broker: every codec both ways, groups, a restart.
//!
//! Without kcat these tests pass with a loud note; with `ENGINE_REQUIRE_INTEROP=1` a missing kcat is a failure.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use engine_broker::{Broker, BrokerConfig};

const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];

/// No kcat run takes longer than this, or it is killed and the test fails.
const PATIENCE: Duration = Duration::from_secs(60);

fn kcat_is_here() -> bool {
    let found = Command::new("kcat")
        .arg("-V")
        .output()
        .is_ok_and(|output| output.status.success());
    if !found {
        let required = std::env::var("ENGINE_REQUIRE_INTEROP").is_ok_and(|value| value == "1");
        assert!(
            !required,
            "kcat is not installed, and ENGINE_REQUIRE_INTEROP=1 asks for it"
        );
        eprintln!("\n*** SKIPPED: kcat is not installed, so librdkafka was NOT tested against the broker ***\n");
    }
    found
}

async fn start(config: BrokerConfig) -> Broker {
    Broker::start(BrokerConfig {
        listen: ([127, 0, 0, 1], 0).into(),
        ..config
    })
    .await
    .expect("the broker starts")
}

fn spawn(broker: &Broker, arguments: &[&str], input: &str) -> Child {
    let mut child = Command::new("kcat")
        .args(["-b", &broker.address().to_string()])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("kcat starts");
    child
        .stdin
        .take()
        .expect("a pipe")
        .write_all(input.as_bytes())
        .expect("kcat reads");
    child
}

/// Runs kcat beside the broker, which lives on this runtime, and returns what it printed.
async fn kcat(broker: &Broker, arguments: &[&str], input: &str) -> Vec<String> {
    let child = spawn(broker, arguments, input);
    let output = finish(child).await;
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "kcat {arguments:?}: {errors}");
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(str::to_owned)
        .collect()
}

async fn finish(mut child: Child) -> Output {
    let started = Instant::now();
    tokio::task::spawn_blocking(move || {
        // Output is read on this thread, so that a full pipe does not stop kcat; the clock is another's.
        let id = child.id();
        let (done, is_done) = std::sync::mpsc::channel::<()>();
        let guard = std::thread::spawn(move || {
            if is_done.recv_timeout(PATIENCE) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
                let _ = Command::new("kill").args(["-9", &id.to_string()]).status();
            }
        });
        child.stdin.take();
        let output = child.wait_with_output().expect("kcat ends");
        drop(done);
        guard.join().expect("the guard ends");
        assert!(started.elapsed() < PATIENCE, "kcat did not end in time");
        output
    })
    .await
    .expect("kcat is waited for")
}

fn lines(prefix: &str, count: usize) -> String {
    (0..count).map(|index| format!("{prefix}-{index}\n")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_codec_comes_back_as_it_was_sent() {
    if !kcat_is_here() {
        return;
    }
    let broker = start(BrokerConfig::default()).await;
    for codec in CODECS {
        for idempotent in ["enable.idempotence=false", "enable.idempotence=true"] {
            let topic = format!("{codec}-{}", &idempotent["enable.".len()..].replace('=', "-"));
            let sent = lines(&topic, 500);
            kcat(&broker, &["-P", "-t", &topic, "-z", codec, "-X", idempotent], &sent).await;
            let read = kcat(&broker, &["-C", "-t", &topic, "-e", "-q", "-o", "beginning"], "").await;
            let (sent, read): (BTreeSet<_>, BTreeSet<_>) =
                (sent.lines().collect(), read.iter().map(String::as_str).collect());
            assert_eq!(sent, read, "{topic}");
        }
    }
    broker.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_headers_and_tombstones_are_kept() {
    if !kcat_is_here() {
        return;
    }
    let broker = start(BrokerConfig {
        default_partitions: 1,
        ..BrokerConfig::default()
    })
    .await;
    kcat(
        &broker,
        &["-P", "-t", "t", "-K", ":", "-Z", "-H", "a=1", "-H", "a=2"],
        "k:v\ngone:\n",
    )
    .await;
    let read = kcat(&broker, &["-C", "-t", "t", "-e", "-q", "-Z", "-f", "%o %k %s %h\n"], "").await;
    assert_eq!(read, ["0 k v a=1,a=2", "1 gone NULL a=1,a=2"]);
    let offsets = kcat(&broker, &["-Q", "-t", "t:0:-1"], "").await;
    assert_eq!(offsets, ["t [0] offset 2"]);
    broker.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_goes_on_where_it_stopped_even_after_a_restart() {
    if !kcat_is_here() {
        return;
    }
    let data = tempfile::tempdir().expect("a directory");
    let config = BrokerConfig {
        data: Some(data.path().to_owned()),
        ..BrokerConfig::default()
    };
    let read = ["-G", "g", "-q", "-e", "-X", "auto.offset.reset=earliest", "t"];

    let broker = start(config.clone()).await;
    kcat(&broker, &["-P", "-t", "t", "-z", "lz4"], &lines("first", 1_000)).await;
    let before = kcat(&broker, &read, "").await;
    assert_eq!(before.iter().collect::<BTreeSet<_>>().len(), 1_000);
    broker.shutdown().await;

    let broker = start(config).await;
    kcat(&broker, &["-P", "-t", "t", "-z", "lz4"], &lines("second", 100)).await;
    let after = kcat(&broker, &read, "").await;
    assert_eq!(after.len(), 100, "only what was not read before");
    assert!(after.iter().all(|line| line.starts_with("second-")));
    let all = kcat(&broker, &["-C", "-t", "t", "-e", "-q", "-o", "beginning"], "").await;
    assert_eq!(all.len(), 1_100);
    broker.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_members_share_the_partitions_and_miss_nothing() {
    if !kcat_is_here() {
        return;
    }
    let broker = start(BrokerConfig::default()).await;
    kcat(&broker, &["-P", "-t", "t"], &lines("early", 100)).await;
    let read = [
        "-G",
        "g",
        "-u",
        "-X",
        "auto.offset.reset=earliest",
        "-X",
        "session.timeout.ms=6000",
        "t",
    ];
    let members = [(); 2].map(|()| Member::start(spawn(&broker, &read, "")));
    let deadline = Instant::now() + PATIENCE;
    // Records go to both as soon as both have partitions.
    let mut rounds = 0;
    let is_shared = |round: usize| members.iter().all(|member| member.has_read(&format!("late-{round}-")));
    while !(0..rounds).any(is_shared) {
        assert!(Instant::now() < deadline, "they never share the partitions");
        for partition in ["0", "1", "2", "3"] {
            kcat(
                &broker,
                &["-P", "-t", "t", "-p", partition],
                &lines(&format!("late-{rounds}-{partition}"), 1),
            )
            .await;
        }
        rounds += 1;
    }
    let sent = 100 + 4 * rounds;
    loop {
        let all: BTreeSet<String> = members.iter().flat_map(Member::read).collect();
        if all.len() == sent {
            break;
        }
        assert!(Instant::now() < deadline, "{} of {sent} records", all.len());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    drop(members);
    broker.shutdown().await;
}

/// A kcat that reads as a member of a group, and what it has printed so far; killed when dropped.
struct Member {
    child: Child,
    read: Arc<Mutex<BTreeSet<String>>>,
}

impl Member {
    fn start(mut child: Child) -> Member {
        let read = Arc::new(Mutex::new(BTreeSet::new()));
        let (output, reads) = (child.stdout.take().expect("a pipe"), Arc::clone(&read));
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                reads.lock().expect("nobody panics with it").insert(line);
            }
        });
        Member { child, read }
    }

    fn read(&self) -> BTreeSet<String> {
        self.read.lock().expect("nobody panics with it").clone()
    }

    fn has_read(&self, prefix: &str) -> bool {
        self.read().iter().any(|line| line.starts_with(prefix))
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
