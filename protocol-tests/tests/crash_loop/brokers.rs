//! The brokers under the engines, and what befalls them.

use std::{
    fmt,
    fs::File,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    str::FromStr,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use crate::{cluster::Cluster, random::Random, settings, tools};

/// What the engines talk to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum BrokerKind {
    Embedded,
    Apache { version: String, nodes: usize },
}

impl FromStr for BrokerKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "embedded" {
            return Ok(BrokerKind::Embedded);
        }
        let (version, nodes) = match text.strip_suffix("x3") {
            Some(version) => (version, 3),
            None => (text, 1),
        };
        let is_version = version.split('.').count() == 3 && version.chars().all(|c| c.is_ascii_digit() || c == '.');
        if !is_version {
            return Err(format!("--broker is embedded, 4.4.0 or 4.4.0x3, not '{text}'"));
        }
        Ok(BrokerKind::Apache {
            version: version.to_owned(),
            nodes,
        })
    }
}

impl fmt::Display for BrokerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BrokerKind::Embedded => f.write_str("embedded"),
            BrokerKind::Apache { version, nodes: 1 } => f.write_str(version),
            BrokerKind::Apache { version, nodes } => write!(f, "{version}x{nodes}"),
        }
    }
}

/// Running brokers; gone when dropped.
pub(crate) struct Brokers {
    pub(crate) bootstrap: String,
    pub(crate) replicas: usize,
    running: Running,
    /// Kills of brokers so far.
    pub(crate) kills: AtomicUsize,
}

enum Running {
    Apache { cluster: Cluster, nodes: usize },
    Embedded(Mutex<Embedded>),
}

struct Embedded {
    command: Vec<String>,
    log: File,
    child: Child,
}

impl Brokers {
    /// `None` means that this machine has no Java, and that it was said.
    pub(crate) fn start(kind: &BrokerKind, engine: &Path, folder: &Path) -> Option<Self> {
        let (bootstrap, replicas, running) = match kind {
            BrokerKind::Apache { version, nodes } => {
                let settings: Vec<&str> = settings::BROKER.iter().flat_map(|setting| ["--set", setting]).collect();
                let cluster = Cluster::start_with("crash-loop", version, *nodes, &settings)?;
                let bootstrap = cluster.bootstrap_servers.clone();
                (bootstrap, *nodes, Running::Apache { cluster, nodes: *nodes })
            }
            BrokerKind::Embedded => {
                let data = folder.join("broker-data");
                let log = File::create(folder.join("broker.log")).expect("the folder is ours");
                let mut command = vec![engine.display().to_string(), "broker".to_owned()];
                command.extend(["--data".to_owned(), data.display().to_string()]);
                let (child, bootstrap) = start_embedded(&command, "127.0.0.1:0", &log);
                command.extend(["--listen".to_owned(), bootstrap.clone()]);
                let embedded = Embedded { command, log, child };
                (bootstrap, 1, Running::Embedded(Mutex::new(embedded)))
            }
        };
        Some(Self {
            bootstrap,
            replicas,
            running,
            kills: AtomicUsize::new(0),
        })
    }

    /// Whether a broker can be killed without taking everything down for long: a single node of Apache Kafka comes back
    /// after ten seconds only.
    pub(crate) fn can_be_disturbed(&self) -> bool {
        match &self.running {
            Running::Apache { nodes, .. } => *nodes > 1,
            Running::Embedded(_) => true,
        }
    }

    /// Kills one broker after the other, and starts each again, until told to end. All run when it returns.
    pub(crate) fn disturb(&self, mut random: Random, is_over: &AtomicBool, tell: &(dyn Fn(String) + Sync)) {
        loop {
            let calm = random.milliseconds(3_000, 9_000);
            let node = random.between(1, 3) as usize;
            let gone = random.milliseconds(100, 2_500);
            if sleep_until_over(calm, is_over) {
                return;
            }
            match &self.running {
                Running::Apache { cluster, .. } => {
                    tell(format!("broker {node}: killed for {gone:?}"));
                    cluster.node("kill", node);
                    std::thread::sleep(gone);
                    tell(start_again(node));
                }
                Running::Embedded(embedded) => {
                    let gone = gone / 4;
                    tell(format!("embedded broker: killed for {gone:?}"));
                    lock(embedded).restart(gone);
                }
            }
            self.kills.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Starts a node that was killed. On a machine that has too much to do it may take longer than the script waits; that is
/// no failure of the engines, whose patience it tries. A node that ended instead fails the next kill of it.
fn start_again(node: usize) -> String {
    let name = format!("crash-loop-{}", std::process::id());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/kafka");
    match tools::run(&script, &["start", "--name", &name, &node.to_string()]) {
        (true, _) => format!("broker {node}: there again"),
        (false, said) => format!("broker {node}: {}", said.lines().next_back().unwrap_or("not ready")),
    }
}

impl Embedded {
    fn restart(&mut self, gone: Duration) {
        self.child.kill().expect("our own child");
        self.child.wait().expect("our own child");
        std::thread::sleep(gone);
        (self.child, _) = start_embedded(&self.command, "", &self.log);
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts the embedded broker and waits for its address. Without `listen` the command has one.
fn start_embedded(command: &[String], listen: &str, log: &File) -> (Child, String) {
    let listen: &[&str] = if listen.is_empty() { &[] } else { &["--listen", listen] };
    let mut child = Command::new(&command[0])
        .args(&command[1..])
        .args(listen)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log.try_clone().expect("a file"))
        .spawn()
        .expect("the engine runs");
    let mut address = String::new();
    let stdout = child.stdout.take().expect("piped");
    BufReader::new(stdout).read_line(&mut address).expect("the address");
    assert!(!address.is_empty(), "the embedded broker did not start; see broker.log");
    (child, address.trim().to_owned())
}

fn sleep_until_over(duration: Duration, is_over: &AtomicBool) -> bool {
    let deadline = Instant::now() + duration;
    while Instant::now() < deadline {
        if is_over.load(Ordering::Relaxed) {
            return true;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    is_over.load(Ordering::Relaxed)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
