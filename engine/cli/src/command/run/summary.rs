//! What is said at the end of a run.

use std::fmt::Write as _;

use engine_runtime::{
    latency::LatencySummary,
    progress::{RunOutcome, RunSummary},
};

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
        (status.unplaced_rows, "without a time"),
        (status.duplicate_rows, "repeats"),
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
    let _ = writeln!(text, "  {:<25} {HEAD}", "latency of windows");
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
            let _ = writeln!(text, "  {:<25} {}", "all windows", percentiles(latency));
        }
        None => text.push_str("  no results were measured\n"),
    }
    if !summary.stages.is_empty() {
        let _ = writeln!(text, "  {:<25} {HEAD}", "time of each stage");
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use engine_runtime::{
        latency::WindowSummary,
        progress::{RunStatus, SinkSummary, StageSummary},
    };

    use super::*;

    fn latency(milliseconds: u64) -> LatencySummary {
        let time = Duration::from_millis(milliseconds);
        LatencySummary {
            count: 3,
            average: time,
            p50: time,
            p90: time,
            p99: time,
            p999: time,
            max: time,
        }
    }

    #[test]
    fn totals_come_first_then_the_newest_windows_then_the_stages() {
        let windows = WINDOWS_SHOWN_MAX + 5;
        let summary = RunSummary {
            pipeline: "ads".into(),
            outcome: RunOutcome::Drained,
            elapsed: Duration::from_secs(2),
            status: RunStatus {
                records_in: 2_000,
                late_rows: 7,
                latency: Some(latency(4)),
                ..RunStatus::default()
            },
            sinks: vec![SinkSummary {
                name: "results".into(),
                target: "ad-results".into(),
                rows: 12,
            }],
            stages: vec![StageSummary {
                name: "decode".into(),
                latency: latency(1),
            }],
            windows: (0..windows as i64)
                .map(|window| WindowSummary {
                    window_start_ms: window * 10_000,
                    latency: latency(4),
                })
                .collect(),
        };
        let text = text(&summary);
        let places: Vec<usize> = [
            "ads: read to the end, all windows closed, 2.0 s",
            "records in     2,000 (1.00 k/s)",
            "late           7",
            "rows out       12 to results (ad-results)",
            "latency of windows",
            "… 5 earlier windows",
            "1970-01-01T00:00:50.000Z",
            "all windows  ",
            "time of each stage",
            "decode",
        ]
        .iter()
        .map(|part| text.find(part).unwrap_or_else(|| panic!("no {part} in: {text}")))
        .collect();
        assert!(places.is_sorted(), "{places:?}: {text}");
        assert!(
            !text.contains("1970-01-01T00:00:40.000Z") && !text.contains("malformed"),
            "{text}"
        );
    }
}
