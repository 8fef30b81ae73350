//! The text of a scrape. It is OpenMetrics, which Prometheus reads.

mod lifecycle;

use std::fmt::Write as _;
use std::sync::atomic::AtomicU64;

use engine_client::LatencyStats;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::registry::Registry;

use super::snapshot::{RequestMetrics, SinkMetrics, Snapshot, SourceMetrics, StateMetrics};

/// The content type of [`render`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

type Labels = Vec<(&'static str, String)>;

/// The text of a scrape.
#[must_use]
pub fn render(snapshot: &Snapshot) -> String {
    let mut registry = Registry::default();
    lifecycle::register(&mut registry, snapshot);
    sources(&mut registry, &snapshot.sources);
    let sinks = &snapshot.sinks;
    let of_sink = |sink: &SinkMetrics| vec![("sink", sink.sink.clone())];
    counters(
        &mut registry,
        "engine_sink_records",
        "Rows written",
        sinks.iter().map(|one| (of_sink(one), one.records)),
    );
    counters(
        &mut registry,
        "engine_sink_bytes",
        "Bytes written",
        sinks.iter().map(|one| (of_sink(one), one.bytes)),
    );
    counters(
        &mut registry,
        "engine_sink_merges",
        "Merges of small lake files",
        sinks.iter().map(|one| (of_sink(one), one.merges)),
    );
    counters(
        &mut registry,
        "engine_sink_files_merged",
        "Small lake files replaced by merged ones",
        sinks.iter().map(|one| (of_sink(one), one.files_merged)),
    );
    counters(
        &mut registry,
        "engine_sink_merge_failures",
        "Merges of small lake files that failed",
        sinks.iter().map(|one| (of_sink(one), one.merge_failures)),
    );
    let checkpoint = &snapshot.checkpoint;
    let completed = ConstCounter::new(checkpoint.completed);
    registry.register("engine_checkpoint_completed", "Checkpoints completed", completed);
    registry.register(
        "engine_checkpoint_time_seconds",
        "Time that the completed checkpoints took",
        ConstCounter::new(checkpoint.seconds),
    );
    registry.register(
        "engine_checkpoint_failures",
        "Checkpoints that were begun and did not become whole",
        ConstCounter::new(checkpoint.failed),
    );
    if let Some(age) = checkpoint.age_seconds {
        registry.register(
            "engine_checkpoint_age_seconds",
            "Time since the last checkpoint",
            ConstGauge::new(age),
        );
    }
    if let Some(duration) = checkpoint.duration_seconds {
        registry.register(
            "engine_checkpoint_duration_seconds",
            "Duration of the last checkpoint",
            ConstGauge::new(duration),
        );
    }
    if let Some(state) = checkpoint.state {
        for (name, help, value) in [
            (
                "engine_checkpoint_state_bytes",
                "State that the last checkpoint wrote",
                state.written_bytes,
            ),
            (
                "engine_state_segments",
                "Segments of state that a restart would read",
                state.segments,
            ),
            (
                "engine_state_stored_bytes",
                "State that a restart would read",
                state.stored_bytes,
            ),
        ] {
            registry.register(name, help, ConstGauge::new(whole(value)));
        }
    }
    let requests = &snapshot.requests;
    let of_api = |request: &RequestMetrics| vec![("api", request.api.clone())];
    let latencies = requests.iter().map(|one| (of_api(one), one.latency));
    registry.register(
        "engine_client_request_latency_seconds",
        "Time from a Kafka request to its answer; of OffsetCommit with its retries",
        LatencyHistograms(latencies.collect()),
    );
    let errors = snapshot
        .errors
        .iter()
        .map(|(class, count)| (vec![("class", class.clone())], *count));
    counters(
        &mut registry,
        "engine_client_errors",
        "Kafka requests that failed",
        errors,
    );
    let of_state = |state: &StateMetrics| vec![("transform", state.transform.clone())];
    let state = &snapshot.state;
    let rows = state.iter().map(|one| (of_state(one), whole(one.rows)));
    gauges(
        &mut registry,
        "engine_state_rows",
        "Groups in open windows, keys of a dedup",
        rows,
    );
    let bytes = state.iter().map(|one| (of_state(one), whole(one.bytes)));
    gauges(
        &mut registry,
        "engine_state_bytes",
        "Memory of open windows and of the keys of a dedup",
        bytes,
    );
    registry.register(
        "engine_process_resident_memory_bytes",
        "Resident memory",
        ConstGauge::new(whole(snapshot.process.resident_bytes)),
    );
    registry.register(
        "engine_process_cpu_seconds",
        "Processor time",
        ConstCounter::new(snapshot.process.cpu_seconds),
    );
    let mut text = String::new();
    if encode(&mut text, &registry).is_err() {
        // Writing into a string fails only if the encoder itself refuses a value.
        text.clear();
        let _ = writeln!(text, "# EOF");
    }
    text
}

fn sources(registry: &mut Registry, sources: &[SourceMetrics]) {
    let of_source = |source: &SourceMetrics| vec![("source", source.source.clone())];
    let mut count = |name, help, value: fn(&SourceMetrics) -> u64| {
        counters(
            registry,
            name,
            help,
            sources.iter().map(|source| (of_source(source), value(source))),
        );
    };
    count("engine_source_records", "Records read", |source| source.records);
    count("engine_source_bytes", "Bytes read, as fetched", |source| source.bytes);
    count(
        "engine_source_malformed_records",
        "Records that could not be read as the schema",
        |source| source.malformed,
    );
    count(
        "engine_source_late_records",
        "Rows whose window had already closed",
        |source| source.late,
    );
    count(
        "engine_source_future_records",
        "Rows whose event time was too far ahead to move the watermark",
        |source| source.future,
    );
    count(
        "engine_source_unplaced_records",
        "Rows without an event time that a window could place",
        |source| source.unplaced,
    );
    count(
        "engine_source_duplicate_records",
        "Rows that a dedup dropped as repeats",
        |source| source.duplicates,
    );
    let delays = sources
        .iter()
        .filter_map(|source| Some((of_source(source), source.watermark_delay_seconds?)));
    gauges(
        registry,
        "engine_source_watermark_delay_seconds",
        "Wall clock minus watermark",
        delays,
    );
    let lag = sources.iter().flat_map(|source| {
        source.lag.iter().map(move |(topic, partition, lag)| {
            let labels = vec![
                ("source", source.source.clone()),
                ("topic", topic.clone()),
                ("partition", partition.to_string()),
            ];
            (labels, whole(*lag))
        })
    });
    gauges(registry, "engine_source_lag_records", "Records not yet read", lag);
}

/// Adds a counter; its name gets the suffix `_total`.
fn counters(registry: &mut Registry, name: &str, help: &str, values: impl IntoIterator<Item = (Labels, u64)>) {
    let family = Family::<Labels, Counter>::default();
    for (labels, value) in values {
        family.get_or_create(&labels).inc_by(value);
    }
    registry.register(name, help, family);
}

fn gauges(registry: &mut Registry, name: &str, help: &str, values: impl IntoIterator<Item = (Labels, f64)>) {
    let family = Family::<Labels, Gauge<f64, AtomicU64>>::default();
    for (labels, value) in values {
        family.get_or_create(&labels).set(value);
    }
    registry.register(name, help, family);
}

#[expect(clippy::cast_precision_loss, reason = "a gauge is a double in Prometheus anyway")]
fn whole(value: u64) -> f64 {
    value as f64
}

/// Latencies as a histogram of Prometheus, one series per set of labels.
#[derive(Debug)]
struct LatencyHistograms(Vec<(Labels, LatencyStats)>);

/// The smallest and the largest bucket that is exported, as powers of two of a microsecond: 128 µs and 34 s. What is shorter
/// counts in the smallest, what is longer in `+Inf`.
const BUCKETS: std::ops::RangeInclusive<usize> = 7..=25;

impl EncodeMetric for LatencyHistograms {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), std::fmt::Error> {
        for (labels, latency) in &self.0 {
            let buckets = buckets(latency);
            encoder.encode_family(labels)?.encode_histogram::<Labels>(
                latency.sum.as_secs_f64(),
                latency.count,
                &buckets,
                None,
            )?;
        }
        Ok(())
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}

/// (upper bound in seconds, how many are in this bucket); the last bucket has no bound.
fn buckets(latency: &LatencyStats) -> Vec<(f64, u64)> {
    let (first, last) = (*BUCKETS.start(), *BUCKETS.end());
    let mut buckets: Vec<(f64, u64)> = BUCKETS
        .map(|power| ((1u64 << power) as f64 / 1e6, latency.buckets[power]))
        .collect();
    buckets[0].1 += latency.buckets[..first].iter().sum::<u64>();
    buckets.push((f64::INFINITY, latency.buckets[last + 1..].iter().sum()));
    buckets
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::time::Duration;

    use super::*;

    fn snapshot() -> Snapshot {
        Snapshot {
            sources: vec![SourceMetrics {
                source: "eve\"nts\\\n".to_owned(),
                records: 1_000_000,
                watermark_delay_seconds: Some(2.5),
                lag: vec![("ads".to_owned(), 0, 7), ("ads".to_owned(), 1, 0)],
                ..SourceMetrics::default()
            }],
            sinks: vec![SinkMetrics {
                sink: "results".to_owned(),
                records: 60,
                bytes: 6_000,
                merges: 2,
                files_merged: 40,
                merge_failures: 1,
            }],
            requests: vec![RequestMetrics {
                api: "Fetch".to_owned(),
                latency: latency(&[1, 200, 300, 60_000_000]),
            }],
            errors: vec![("retriable".to_owned(), 3)],
            ..Snapshot::default()
        }
    }

    fn latency(micros: &[u64]) -> LatencyStats {
        let mut stats = LatencyStats::default();
        micros
            .iter()
            .for_each(|micros| stats.record(Duration::from_micros(*micros)));
        stats
    }

    /// Reads the exposition strictly: every sample has a type and a help, names follow the scheme.
    fn parse(text: &str) -> HashMap<String, f64> {
        let (mut types, mut helps, mut samples) = (HashMap::new(), HashMap::new(), HashMap::new());
        let body = text.strip_suffix("# EOF\n").expect("the text ends with EOF");
        for line in body.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').unwrap();
                assert!(
                    types.insert(name.to_owned(), kind.to_owned()).is_none(),
                    "{name} is there twice"
                );
            } else if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').unwrap();
                helps.insert(name.to_owned(), help.to_owned());
            } else {
                let (series, value) = line.rsplit_once(' ').unwrap();
                let name = series.split('{').next().unwrap();
                let parts = ["_total", "_bucket", "_sum", "_count"];
                let family = parts.iter().find_map(|part| name.strip_suffix(part)).unwrap_or(name);
                assert!(
                    name.starts_with("engine_") && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'),
                    "{name}"
                );
                assert_eq!(types[family] == "counter", name.ends_with("_total"), "{name}");
                assert!(!helps[family].is_empty());
                assert!(
                    samples.insert(series.to_owned(), value.parse().unwrap()).is_none(),
                    "{series} is there twice"
                );
            }
        }
        samples
    }

    #[test]
    fn every_sample_has_a_type_a_help_and_a_name_of_the_scheme() {
        let samples = parse(&render(&snapshot()));
        assert_eq!(samples[r#"engine_source_records_total{source="eve\"nts\\\n"}"#], 1e6);
        assert_eq!(
            samples[r#"engine_source_lag_records{source="eve\"nts\\\n",topic="ads",partition="0"}"#],
            7.0
        );
        assert_eq!(samples[r#"engine_sink_bytes_total{sink="results"}"#], 6e3);
        assert_eq!(samples[r#"engine_sink_files_merged_total{sink="results"}"#], 40.0);
        assert_eq!(samples[r#"engine_client_errors_total{class="retriable"}"#], 3.0);
        assert!(
            !samples.contains_key("engine_checkpoint_age_seconds"),
            "unknown is absent, not zero"
        );
    }

    #[test]
    fn request_latency_is_a_histogram_whose_buckets_add_up() {
        let samples = parse(&render(&snapshot()));
        let bucket = |bound: &str| {
            let series = format!("engine_client_request_latency_seconds_bucket{{le=\"{bound}\",api=\"Fetch\"}}");
            samples
                .get(&series)
                .copied()
                .unwrap_or_else(|| panic!("{series}: {samples:?}"))
        };
        assert_eq!(
            [
                bucket("0.000128"),
                bucket("0.000256"),
                bucket("0.000512"),
                bucket("33.554432"),
                bucket("+Inf")
            ],
            [1.0, 2.0, 3.0, 3.0, 4.0]
        );
        assert_eq!(
            samples[r#"engine_client_request_latency_seconds_count{api="Fetch"}"#],
            4.0
        );
        assert_eq!(
            samples[r#"engine_client_request_latency_seconds_sum{api="Fetch"}"#],
            60.000501
        );
    }
}
