//! What is seen while a run goes on: one live line on a terminal, else one log line every ten seconds.

use std::time::{Duration, Instant};

use engine_runtime::progress::{ProgressObserver, RunPhase, RunStarted, RunStatus, Start};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;

use super::banner;
use crate::{logging, quantity};

const LIVE_INTERVAL: Duration = Duration::from_millis(500);
const LOG_INTERVAL: Duration = Duration::from_secs(10);
const STARTING: &str = "starting: connects, joins its group, restores; the group waits up to session.timeout.ms for a process that was killed";
const STANDING_BY: &str =
    "standing by: another process owns the partitions; this one takes over when that stops or dies";

/// Shows a run until it has ended.
pub(super) async fn show(mut observer: ProgressObserver, embedded: bool, quiet: bool) {
    if quiet {
        return;
    }
    let line = logging::can_show_a_live_line().then(live_line);
    logging::set_live_line(line.clone());
    if let Some(started) = wait_for_the_start(&mut observer, line.as_ref()).await {
        logging::event(
            "started",
            || json!({ "run": started }),
            || banner::text(&started, embedded),
        );
        show_the_run(&mut observer, line.as_ref()).await;
    }
    logging::set_live_line(None);
    if let Some(line) = line {
        line.finish_and_clear();
    }
}

/// Says what a run is waiting for until it has the partitions; `None` when it ended before.
async fn wait_for_the_start(observer: &mut ProgressObserver, line: Option<&ProgressBar>) -> Option<RunStarted> {
    let (mut said, mut said_at) = (RunPhase::Starting, Instant::now());
    loop {
        match observer.started_within(LIVE_INTERVAL).await {
            Start::Started(started) => return Some(started),
            Start::Ended => return None,
            Start::NotYet => {}
        }
        let status = observer.status();
        let is_news = status.phase != said || said_at.elapsed() >= LOG_INTERVAL;
        match line {
            Some(line) => line.set_message(text(&status, 0.0, 0.0)),
            None if is_news => {
                logging::event("status", || json!({ "run": status }), || text(&status, 0.0, 0.0));
                (said, said_at) = (status.phase, Instant::now());
            }
            None => {}
        }
    }
}

async fn show_the_run(observer: &mut ProgressObserver, line: Option<&ProgressBar>) {
    let mut rates = Rates::new(Instant::now());
    let interval = if line.is_some() { LIVE_INTERVAL } else { LOG_INTERVAL };
    while !observer.ended_within(interval).await {
        let status = observer.status();
        let (records_in, records_out) = rates.since_last(Instant::now(), &status);
        let text = || text(&status, records_in, records_out);
        match line {
            Some(line) => line.set_message(text()),
            None => logging::event(
                "status",
                || json!({"records_in_per_second": records_in, "records_out_per_second": records_out, "run": status}),
                text,
            ),
        }
    }
}

/// As wide as the terminal at most: a line that wraps could not be drawn over.
fn live_line() -> ProgressBar {
    let line = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template("{wide_msg}") {
        line.set_style(style);
    }
    line
}

/// Says that a signal was understood, and what is left to do.
pub(super) fn stopping(status: &RunStatus) {
    let left = match status.phase {
        RunPhase::Starting | RunPhase::StandingBy => {
            "stopping: nothing is being processed, so there is no checkpoint to finish"
        }
        _ => "stopping: finishing the checkpoint; a second signal forces the end",
    };
    logging::event("stopping", || json!({ "run": status }), || left.to_owned());
}

struct Rates {
    at: Instant,
    records_in: u64,
    records_out: u64,
}

impl Rates {
    fn new(at: Instant) -> Self {
        Self {
            at,
            records_in: 0,
            records_out: 0,
        }
    }

    /// Records per second, in and out, since the last call.
    fn since_last(&mut self, now: Instant, status: &RunStatus) -> (f64, f64) {
        let seconds = now.duration_since(self.at).as_secs_f64().max(1e-3);
        let records_in = status.records_in.saturating_sub(self.records_in) as f64 / seconds;
        let records_out = status.records_out.saturating_sub(self.records_out) as f64 / seconds;
        *self = Self {
            at: now,
            records_in: status.records_in,
            records_out: status.records_out,
        };
        (records_in, records_out)
    }
}

fn text(status: &RunStatus, records_in: f64, records_out: f64) -> String {
    let phase = match status.phase {
        RunPhase::Starting => return STARTING.to_owned(),
        RunPhase::StandingBy => return STANDING_BY.to_owned(),
        RunPhase::Running => "running",
        RunPhase::Draining => "draining",
        RunPhase::Stopping => "stopping",
    };
    let mut parts = vec![
        phase.to_owned(),
        format!("in {}/s", quantity::short(records_in)),
        format!("out {}/s", quantity::short(records_out)),
        format!("lag {}", status.lag_records.map_or("?".to_owned(), quantity::grouped)),
    ];
    if let Some(delay) = status.watermark_delay {
        parts.push(format!("watermark −{}", quantity::duration(delay)));
    }
    if let Some(latency) = status.latency {
        parts.push(format!(
            "p50 {} p99 {}",
            quantity::duration(latency.p50),
            quantity::duration(latency.p99)
        ));
    }
    if let Some(checkpoint) = status.checkpoint {
        parts.push(format!(
            "checkpoint {} {} ago",
            checkpoint.checkpoint_id,
            quantity::duration(checkpoint.age)
        ));
    }
    for (count, what) in [
        (status.late_rows, "late"),
        (status.duplicate_rows, "repeats"),
        (status.malformed_records, "malformed"),
        (status.dead_letters, "dead letters"),
    ] {
        if count > 0 {
            parts.push(format!("{} {what}", quantity::grouped(count)));
        }
    }
    parts.join(" · ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_leaves_out_what_is_not_known() {
        let status = RunStatus {
            phase: RunPhase::Running,
            lag_records: Some(1200),
            ..RunStatus::default()
        };
        assert_eq!(
            text(&status, 12_345.0, 10.0),
            "running · in 12.3 k/s · out 10/s · lag 1,200"
        );
    }

    #[test]
    fn a_process_that_has_no_partitions_says_what_it_waits_for_and_no_zeros() {
        let line = |phase| {
            let status = RunStatus {
                phase,
                records_in: 7,
                ..RunStatus::default()
            };
            text(&status, 0.0, 0.0)
        };
        assert_eq!(line(RunPhase::StandingBy), STANDING_BY);
        assert_eq!(line(RunPhase::Starting), STARTING);
    }

    #[test]
    fn rates_are_since_the_last_look() {
        let start = Instant::now();
        let mut rates = Rates::new(start);
        let status = |records_in| RunStatus {
            records_in,
            ..RunStatus::default()
        };
        let (first, _) = rates.since_last(start + Duration::from_secs(1), &status(100));
        let (second, _) = rates.since_last(start + Duration::from_secs(3), &status(500));
        assert_eq!((first.round(), second.round()), (100.0, 200.0));
    }
}
