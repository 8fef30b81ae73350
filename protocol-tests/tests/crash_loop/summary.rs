//! What a run of the crash loop has done and found, for people and for machines.

use std::{collections::BTreeMap, fmt, time::Duration};

use serde_json::{Value, json};

use crate::{arguments::Arguments, settings};

#[derive(Debug)]
pub(crate) struct Summary {
    seed: u64,
    broker: String,
    guarantee: String,
    kills: BTreeMap<(&'static str, &'static str), usize>,
    restarts: BTreeMap<&'static str, usize>,
    takeovers: BTreeMap<&'static str, Vec<Duration>>,
    woken: BTreeMap<&'static str, usize>,
    exits: BTreeMap<String, usize>,
    totals: BTreeMap<String, u64>,
    failed: BTreeMap<String, u64>,
    pub(crate) rounds: usize,
    pub(crate) starts: usize,
    pub(crate) asked_to_end: usize,
    pub(crate) load_restarts: usize,
    pub(crate) broker_kills: usize,
    pub(crate) seconds: f64,
    pub(crate) failures: Vec<String>,
}

/// What is added up of the verifier's and the watch's reports.
const TOTALS: [&str; 19] = [
    "/events",
    "/windows",
    "/rows_in_topic",
    "/rows_in_lake",
    "/lake_files",
    "/files_in_manifest",
    "/late_rows",
    "/malformed",
    "/dead_letters",
    "/transactions/commits",
    "/transactions/aborts",
    "/transactions/committed_rows",
    "/transactions/aborted_rows",
    "/transactions/plain_rows",
    "/transactions/producer_epochs",
    "/listings",
    "/files_replaced",
    "/commits_seen",
    "/offsets_unanswered",
];

impl Summary {
    pub(crate) fn new(arguments: &Arguments) -> Self {
        Self {
            seed: arguments.seed,
            broker: arguments.broker.to_string(),
            guarantee: arguments.guarantee.clone(),
            kills: BTreeMap::new(),
            restarts: BTreeMap::new(),
            takeovers: BTreeMap::new(),
            woken: BTreeMap::new(),
            exits: BTreeMap::new(),
            totals: BTreeMap::new(),
            failed: BTreeMap::new(),
            rounds: 0,
            starts: 0,
            asked_to_end: 0,
            load_restarts: 0,
            broker_kills: 0,
            seconds: 0.0,
            failures: Vec::new(),
        }
    }

    pub(crate) fn kill(&mut self, moment: &'static str, whom: &'static str) {
        *self.kills.entry((moment, whom)).or_default() += 1;
    }

    pub(crate) fn restart(&mut self, pause: Duration) {
        let longest = settings::SESSION_TIMEOUT.max(settings::TRANSACTION_TIMEOUT);
        let kind = match pause {
            Duration::ZERO => "at once",
            pause if pause < longest => "after a moment",
            _ => "after every timeout",
        };
        *self.restarts.entry(kind).or_default() += 1;
    }

    pub(crate) fn takeover(&mut self, after: &'static str, took: Duration) {
        self.takeovers.entry(after).or_default().push(took);
    }

    pub(crate) fn woke(&mut self, outcome: &'static str) {
        *self.woken.entry(outcome).or_default() += 1;
    }

    pub(crate) fn exits(&mut self, exits: &BTreeMap<String, usize>) {
        for (reason, count) in exits {
            *self.exits.entry(reason.clone()).or_default() += count;
        }
    }

    /// Adds what the watch and the verifier found in a round.
    pub(crate) fn round(&mut self, watched: &Value, verified: &Value) {
        self.rounds += 1;
        for report in [watched, verified] {
            for name in TOTALS {
                if let Some(count) = report.pointer(name).and_then(Value::as_u64) {
                    *self
                        .totals
                        .entry(name.trim_start_matches("/").replace("transactions/", ""))
                        .or_default() += count;
                }
            }
        }
        for (kind, count) in verified["failed"].as_object().into_iter().flatten() {
            *self.failed.entry(kind.clone()).or_default() += count.as_u64().unwrap_or(1);
        }
    }

    /// A run that killed nothing, or in which nothing was counted or committed, has shown nothing.
    pub(crate) fn fail_without_substance(&mut self) {
        if self.rounds == 0 {
            self.failures.push("no round was run: nothing was tested".to_owned());
            return;
        }
        if self.killed() == 0 {
            self.failures.push("nothing was killed: nothing was tested".to_owned());
        }
        let is_exactly_once = self.guarantee == "exactly_once";
        for name in ["windows", "listings", "commits"] {
            let is_due = name != "commits" || is_exactly_once;
            if is_due && self.totals.get(name).is_none_or(|total| *total == 0) {
                self.failures.push(format!("{name}: none, so nothing was tested"));
            }
        }
    }

    fn killed(&self) -> usize {
        self.kills.values().sum()
    }

    /// Where it stands.
    pub(crate) fn line(&self, elapsed: Duration) -> String {
        format!(
            "{:5.0} s: {} rounds, {} kills, {} windows, {} failures",
            elapsed.as_secs_f64(),
            self.rounds,
            self.killed(),
            self.totals.get("windows").unwrap_or(&0),
            self.failures.len()
        )
    }

    fn by(&self, part: impl Fn(&(&'static str, &'static str)) -> &'static str) -> BTreeMap<&'static str, usize> {
        let mut counts = BTreeMap::new();
        for (kind, count) in &self.kills {
            *counts.entry(part(kind)).or_default() += count;
        }
        counts
    }

    /// Number, shortest, middle and longest in milliseconds.
    fn takeover_times(&self) -> BTreeMap<&'static str, [u128; 4]> {
        let times = |times: &Vec<Duration>| {
            let mut sorted: Vec<u128> = times.iter().map(Duration::as_millis).collect();
            sorted.sort_unstable();
            let last = sorted.len() - 1;
            [sorted.len() as u128, sorted[0], sorted[last / 2], sorted[last]]
        };
        self.takeovers
            .iter()
            .map(|(after, found)| (*after, times(found)))
            .collect()
    }

    pub(crate) fn json(&self) -> Value {
        let takeovers: BTreeMap<_, _> = self
            .takeover_times()
            .into_iter()
            .map(|(after, [count, min, median, max])| {
                let ms = |number: u128| u64::try_from(number).unwrap_or(u64::MAX);
                (
                    after,
                    json!({"count": ms(count), "min_ms": ms(min), "median_ms": ms(median), "max_ms": ms(max)}),
                )
            })
            .collect();
        json!({
            "seed": self.seed,
            "broker": self.broker,
            "guarantee": self.guarantee,
            "seconds": self.seconds.round(),
            "rounds": self.rounds,
            "kills": self.killed(),
            "kills_by_moment": self.by(|kind| kind.0),
            "kills_by_victim": self.by(|kind| kind.1),
            "broker_kills": self.broker_kills,
            "starts": self.starts,
            "restarts": self.restarts,
            "asked_to_end": self.asked_to_end,
            "load_restarts": self.load_restarts,
            "frozen_and_woken": self.woken,
            "takeovers": takeovers,
            "session_timeout_ms": settings::SESSION_TIMEOUT.as_millis() as u64,
            "transaction_timeout_ms": settings::TRANSACTION_TIMEOUT.as_millis() as u64,
            "ended_by_themselves": self.exits,
            "totals": self.totals,
            "failed": self.failed,
            "failures": self.failures,
        })
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "seed {}, {}, {}, {:.0} s",
            self.seed, self.broker, self.guarantee, self.seconds
        )?;
        writeln!(
            f,
            "{} kills in {} rounds, {} of brokers besides",
            self.killed(),
            self.rounds,
            self.broker_kills
        )?;
        for (moment, count) in self.by(|kind| kind.0) {
            writeln!(f, "  {count:5} {moment}")?;
        }
        let list = |counts: &BTreeMap<&'static str, usize>| {
            let words: Vec<String> = counts.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
            words.join(", ")
        };
        writeln!(f, "victims: {}", list(&self.by(|kind| kind.1)))?;
        writeln!(
            f,
            "{} starts: {}; {} asked to end",
            self.starts,
            list(&self.restarts),
            self.asked_to_end
        )?;
        writeln!(f, "frozen and woken: {}", list(&self.woken))?;
        for (after, [count, min, median, max]) in self.takeover_times() {
            writeln!(
                f,
                "hot standby took over after a {after}: {count} times, {min} / {median} / {max} ms (min / median / max; session timeout {} ms)",
                settings::SESSION_TIMEOUT.as_millis()
            )?;
        }
        for (reason, count) in &self.exits {
            writeln!(f, "ended by itself {count} times: {reason}")?;
        }
        for (name, count) in &self.totals {
            writeln!(f, "  {count:9} {name}")?;
        }
        match (self.failures.is_empty(), self.failed.is_empty()) {
            (true, true) => write!(f, "0 windows lost, doubled or wrong, in topic and lake"),
            _ => write!(f, "FAILED: {:?}, {} findings in all", self.failed, self.failures.len()),
        }
    }
}
