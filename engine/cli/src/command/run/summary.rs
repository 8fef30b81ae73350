//! What is said at the end of a run.

use std::fmt::Write as _;

use engine_runtime::progress::{LatencySummary, RunOutcome, RunSummary};

use crate::{quantity, time_argument::rfc3339};

/// Windows shown one by one; of more, the newest.
const WINDOWS_SHOWN_MAX: usize = 12;

pub(super) fn text(summary: &RunSummary) -> String {
    let status = &summary.status;
    let seconds = summary.elapsed.as_secs_f64().max(1e-3);
    let outcome = match summary.outcome {
        RunOutcome::Stopped => "stopped",
        RunOutcome::EndReached => "read to the end; open windows stay in the state",
        RunOutcome::Drained => "read to the end, all windows closed",
    };
    let mut text = format!(
        "{}: {outcome}, {}\n",
        summary.pipeline,
        quantity::duration(summary.elapsed)
    );
    let _ = writeln!(
        text,
        "  records in     {} ({}/s)",
        quantity::grouped(status.records_in),
        quantity::short(status.records_in as f64 / seconds)
    );
    for (count, what) in [
        (status.malformed_records, "malformed"),
        (status.dead_letters, "dead letters"),
        (status.late_rows, "late"),
        (status.future_rows, "in the future"),
    ] {
        if count > 0 {
            let _ = writeln!(text, "  {what:<14} {}", quantity::grouped(count));
        }
    }
    for sink in &summary.sinks {
        let _ = writeln!(
            text,
            "  rows out       {} to {} ({})",
            quantity::grouped(sink.rows),
            sink.name,
            sink.target
        );
    }
    if let Some(checkpoint) = status.checkpoint {
        let duration = quantity::duration(checkpoint.duration);
        let _ = writeln!(text, "  checkpoint     {}, took {duration}", checkpoint.checkpoint_id);
    }
    let _ = writeln!(text, "  {:<25} {HEAD}", "latency");
    let windows_left_out = summary.windows.len().saturating_sub(WINDOWS_SHOWN_MAX);
    if windows_left_out > 0 {
        let _ = writeln!(text, "  … {windows_left_out} earlier windows");
    }
    for window in &summary.windows[windows_left_out..] {
        let _ = writeln!(
            text,
            "  {:<25} {}",
            rfc3339(window.window_start_ms),
            percentiles(&window.latency)
        );
    }
    match &status.latency {
        Some(latency) => {
            let _ = writeln!(text, "  {:<25} {}", "produce to result", percentiles(latency));
        }
        None => text.push_str("  no results were measured\n"),
    }
    for stage in &summary.stages {
        let _ = writeln!(text, "  {:<25} {}", stage.name, percentiles(&stage.latency));
    }
    text
}

const HEAD: &str = "   average       p50       p90       p99     p99.9       max     count";

fn percentiles(latency: &LatencySummary) -> String {
    let times = [
        latency.average,
        latency.p50,
        latency.p90,
        latency.p99,
        latency.p999,
        latency.max,
    ];
    let mut text = String::new();
    for time in times {
        let _ = write!(text, "{:>10}", quantity::duration(time));
    }
    let _ = write!(text, "{:>10}", quantity::grouped(latency.count));
    text
}
