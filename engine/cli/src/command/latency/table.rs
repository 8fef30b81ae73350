//! Latencies as a table: one line per window, the overall line last.

use engine_runtime::latency::{LatencyReport, LatencySummary};

use crate::{output, quantity, time_argument::rfc3339};

const HEAD: [&str; 8] = ["WINDOW", "RESULTS", "AVERAGE", "P50", "P90", "P99", "P99.9", "MAX"];

/// `column` is what the latencies were measured from.
pub(super) fn text(report: &LatencyReport, column: &str) -> String {
    let windows = report.windows.iter();
    let rows: Vec<Vec<String>> = windows
        .map(|window| (rfc3339(window.window_start_ms), &window.latency))
        .chain([("overall".to_owned(), &report.overall)])
        .map(|(name, latency)| row(name, latency))
        .collect();
    let mut text = output::table(&HEAD, &rows).join("\n");
    let (count, negative) = (report.overall.count, report.negative);
    if negative > 0 {
        text.push_str(&format!(
            "\n{} of {} results are left out: their record's timestamp is before their {column}, so the clocks of two \
             machines differ",
            quantity::grouped(negative),
            quantity::grouped(count + negative)
        ));
    }
    text
}

/// Nothing is known of a window whose latencies were all negative.
fn row(name: String, latency: &LatencySummary) -> Vec<String> {
    let mut row = vec![name, quantity::grouped(latency.count)];
    if latency.count == 0 {
        row.resize(HEAD.len(), "-".to_owned());
        return row;
    }
    row.push(format!("{:.1} ms", latency.average.as_secs_f64() * 1e3));
    let LatencySummary {
        p50,
        p90,
        p99,
        p999,
        max,
        ..
    } = latency;
    row.extend([p50, p90, p99, p999, max].map(|at| format!("{} ms", at.as_millis())));
    row
}

#[cfg(test)]
mod tests {
    use engine_runtime::latency::WindowLatencies;

    use super::*;

    #[test]
    fn windows_are_times_and_negative_latencies_are_counted_apart() {
        let mut latencies = WindowLatencies::default();
        for (window_start, latency_ms) in [(10_000, 5), (10_000, 100), (20_000, -1)] {
            latencies.record(Some(window_start), latency_ms * 1_000);
        }
        let text = text(&latencies.report(), "produced");
        assert_eq!(
            text,
            "WINDOW                    RESULTS  AVERAGE   P50     P90     P99   P99.9     MAX\n\
             1970-01-01T00:00:10.000Z        2  52.5 ms  5 ms  100 ms  100 ms  100 ms  100 ms\n\
             1970-01-01T00:00:20.000Z        0        -     -       -       -       -       -\n\
             overall                         2  52.5 ms  5 ms  100 ms  100 ms  100 ms  100 ms\n\
             1 of 3 results are left out: their record's timestamp is before their produced, so the clocks of two machines \
             differ"
        );
    }
}
