//! A round: a new job, its load, the plan's deeds, then a drain and the verifier.

use std::{
    fs::File,
    io::Write,
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{
    arguments::Arguments,
    brokers::Brokers,
    deeds,
    engine::write_pipeline,
    plan,
    processes::Processes,
    random::Random,
    settings,
    summary::Summary,
    tools::{self, Program},
};

/// The parts of a seed that are no round of the plan.
const BROKER_PART: u64 = 1 << 40;
/// The last run of a round may find much to catch up with.
const DRAIN_PATIENCE: Duration = Duration::from_secs(180);

/// Runs one round; what it finds goes to the summary, and its folder stays if that is a failure.
pub(crate) fn run(
    arguments: &Arguments,
    brokers: &Brokers,
    number: u64,
    kills: usize,
    begun: Instant,
    folder: &Path,
    summary: &mut Summary,
) {
    let round = Round::prepare(arguments, brokers, number, folder);
    let is_over = AtomicBool::new(false);
    let disturbs = arguments.broker_kills && brokers.can_be_disturbed();
    let mut processes = Processes::new(arguments.engine.clone(), round.folder.clone(), disturbs);
    let watch = round.start_watch();
    let mut load = round.start_load(number);
    std::thread::scope(|scope| {
        if disturbs {
            let random = Random::of(arguments.seed, BROKER_PART + number);
            let (round, is_over) = (&round, &is_over);
            scope.spawn(move || brokers.disturb(random, is_over, &|what| round.tell(&what)));
        }
        for (place, step) in plan::steps(arguments.seed, number, kills).iter().enumerate() {
            if arguments.time_limit.is_some_and(|limit| begun.elapsed() >= limit) {
                break;
            }
            if !load.is_running() {
                load = round.start_load(number + 1_000 * place as u64);
                summary.load_restarts += 1;
            }
            let happened = deeds::run(step, &mut processes, &round.lake, summary);
            round.tell(&format!("step {place}: {happened} (planned: {step})"));
            if !processes.failures.is_empty() && !arguments.keep_going {
                break;
            }
        }
        is_over.store(true, Ordering::Relaxed);
    });
    load.terminate(Duration::from_secs(30));
    while !processes.engines.is_empty() {
        processes.ask_to_end(0);
        summary.asked_to_end += 1;
    }
    round.drain(&mut processes);
    watch.close(Duration::from_secs(30));
    summary.starts += processes.starts;
    summary.exits(&processes.exits);

    let mut failures = processes.take_failures();
    let watched = tools::report(&round.folder.join("watch.json"));
    let verified = round.verify();
    for report in [&watched, &verified] {
        let found = report["failures"].as_array().into_iter().flatten();
        failures.extend(found.map(Value::to_string));
        if report["ok"] != true && report["failures"].as_array().is_none_or(Vec::is_empty) {
            failures.push(report.to_string());
        }
    }
    summary.round(&watched, &verified);
    if failures.is_empty() {
        round.clean_up();
        return;
    }
    let repeat = format!(
        "round {number} of seed {}: scripts/crash-loop --broker {} --guarantee {} --demand {} --seed {0} --first-round {number} \
         --kills {kills} --round-kills {kills} --rate {}{} (logs: {})",
        arguments.seed,
        arguments.broker,
        arguments.guarantee,
        arguments.demand,
        arguments.rate,
        if arguments.broker_kills {
            ""
        } else {
            " --no-broker-kills"
        },
        round.folder.display()
    );
    println!("FAILED {repeat}");
    for failure in failures.iter().take(20) {
        println!("  {failure}");
    }
    let _ = std::fs::write(
        round.folder.join("failures.txt"),
        format!("{repeat}\n{}\n", failures.join("\n")),
    );
    summary.failures.push(repeat);
    summary.failures.extend(failures);
}

struct Round<'a> {
    arguments: &'a Arguments,
    bootstrap: &'a str,
    replicas: String,
    job: String,
    folder: PathBuf,
    lake: PathBuf,
    log: Mutex<File>,
    begun: Instant,
}

impl<'a> Round<'a> {
    fn prepare(arguments: &'a Arguments, brokers: &'a Brokers, number: u64, folder: &Path) -> Self {
        let job = format!("crash-{}-{number}", arguments.seed);
        let folder = folder.join(format!("round-{number}"));
        std::fs::create_dir_all(&folder).expect("the folder is ours");
        let lake = folder.join("lake");
        let round = Round {
            arguments,
            bootstrap: &brokers.bootstrap,
            replicas: brokers.replicas.to_string(),
            job,
            log: Mutex::new(File::create(folder.join("round.log")).expect("the folder is ours")),
            folder,
            lake,
            begun: Instant::now(),
        };
        // Rows of a partition whose leader was killed come late: for so long no window closes.
        let delay = if brokers.can_be_disturbed() { "10s" } else { "2s" };
        write_pipeline(
            &round.folder,
            &[
                ("JOB", &round.job),
                ("SERVERS", round.bootstrap),
                ("REPLICAS", &round.replicas),
                ("GUARANTEE", &arguments.guarantee),
                ("SESSION_MS", &settings::SESSION_TIMEOUT.as_millis().to_string()),
                ("TRANSACTION_MS", &settings::TRANSACTION_TIMEOUT.as_millis().to_string()),
                ("DELAY", delay),
                ("LAKE", &round.lake.display().to_string()),
            ],
        );
        let (events, partitions) = (round.topic("events"), settings::PARTITIONS.to_string());
        let create = ["topics", "create", &events, "--partitions", &partitions];
        let create = [&create[..], &["--replication-factor", &round.replicas]].concat();
        let (created, said) = round.engine(&create);
        assert!(created, "{said}");
        round
    }

    fn topic(&self, what: &str) -> String {
        format!("{}-{what}", self.job)
    }

    fn engine(&self, arguments: &[&str]) -> (bool, String) {
        tools::run(&self.arguments.engine, &[arguments, &["-b", self.bootstrap]].concat())
    }

    fn start_watch(&self) -> Program {
        let (watch, partitions) = (tools::script("watch.py"), settings::PARTITIONS.to_string());
        let arguments = [
            watch.to_str().expect("UTF-8"),
            "--bootstrap",
            self.bootstrap,
            "--group",
            &self.job,
            "--topic",
            &self.topic("events"),
            "--partitions",
            &partitions,
            "--lake",
            self.lake.to_str().expect("UTF-8"),
        ];
        Program::start(&self.arguments.python, &arguments, &self.folder.join("watch.json"))
    }

    fn start_load(&self, seed: u64) -> Program {
        let (rate, seed) = (self.arguments.rate.to_string(), seed.to_string());
        let arguments = [
            "generate",
            "ads",
            "--topic",
            &self.topic("events"),
            "-b",
            self.bootstrap,
            "-q",
            "--json",
            "--key",
            "user",
            "--arrivals",
            "poisson",
            "--rate",
            &rate,
            "--seed",
            &seed,
            "--malformed",
            "0.003",
            "--count",
            "100000000",
        ];
        Program::start(&self.arguments.engine, &arguments, &self.folder.join("load.log"))
    }

    /// To the end first, which leaves the newest windows open, then without any new event out of the state alone.
    fn drain(&self, processes: &mut Processes) {
        for arguments in [&["--until-end"][..], &["--until-end", "--drain"]] {
            processes.start(arguments);
            let mut engine = processes.engines.pop().expect("just started");
            let deadline = Instant::now() + DRAIN_PATIENCE;
            let status = loop {
                match engine.ended() {
                    None if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(10)),
                    status => break status,
                }
            };
            let life = engine.life;
            engine.kill();
            self.tell(&format!("run {arguments:?}: {status:?}"));
            if !status.is_some_and(|status| status.success()) {
                let said = processes.board.last_lines(life);
                processes
                    .failures
                    .push(format!("run {arguments:?} after the kills: {status:?}\n    {said}"));
                return;
            }
        }
    }

    fn verify(&self) -> Value {
        let verify = tools::script("verify.py");
        let window = settings::WINDOW.as_millis().to_string();
        let (events, results) = (self.topic("events"), self.topic("results"));
        let (late, dead) = (self.topic("late"), self.topic("dead"));
        let arguments = [
            verify.to_str().expect("UTF-8"),
            "--bootstrap",
            self.bootstrap,
            "--events",
            &events,
            "--results",
            &results,
            "--late",
            &late,
            "--dead-letters",
            &dead,
            "--lake",
            self.lake.to_str().expect("UTF-8"),
            "--guarantee",
            &self.arguments.demand,
            "--window-ms",
            &window,
        ];
        let path = self.folder.join("verify.json");
        Program::start(&self.arguments.python, &arguments, &path).close(DRAIN_PATIENCE);
        tools::report(&path)
    }

    fn clean_up(&self) {
        let topics = ["events", "results", "late", "dead"].map(|what| self.topic(what));
        let names: Vec<&str> = topics.iter().map(String::as_str).collect();
        let (deleted, said) = self.engine(&[&["topics", "delete"], &names[..], &["--yes"]].concat());
        if !deleted {
            self.tell(&said); // Disks are finite, and patient.
        }
        let _ = std::fs::rename(self.folder.join("round.log"), self.folder.with_extension("log"));
        let _ = std::fs::remove_dir_all(&self.folder);
    }

    fn tell(&self, what: &str) {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = writeln!(log, "{:9.3} {what}", self.begun.elapsed().as_secs_f64());
    }
}
