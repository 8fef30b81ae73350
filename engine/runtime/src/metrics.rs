//! Names and exports what the machines count: `engine_<component>_<what>_<unit>[_total]`.
//!
//! A scrape takes a [`Snapshot`], plain data, and encodes it; nothing is kept between scrapes, so a series
//! of a partition that moved away ends with it. The text is OpenMetrics, which Prometheus reads.
//! Never here: HTTP (see `server`), who counts.

use std::fmt::Write as _;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// The content type of [`render`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Everything that is exported, at one moment. Counts are totals since the start of the process.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Snapshot {
    /// The sources.
    pub sources: Vec<SourceMetrics>,
    /// The sinks.
    pub sinks: Vec<SinkMetrics>,
    /// The checkpoints.
    pub checkpoint: CheckpointMetrics,
    /// The Kafka client's requests, by API.
    pub requests: Vec<RequestMetrics>,
    /// Failed requests by class (`retriable`, `refresh_metadata`, `fenced`, `abortable`, `fatal`).
    pub errors: Vec<(String, u64)>,
    /// The state of each window.
    pub state: Vec<StateMetrics>,
    /// This process.
    pub process: ProcessMetrics,
}

/// What a source has read.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SourceMetrics {
    /// Its name in the pipeline.
    pub source: String,
    /// Records read.
    pub records: u64,
    /// Bytes read, as fetched.
    pub bytes: u64,
    /// Records that could not be read as the schema.
    pub malformed: u64,
    /// Rows whose window had already closed.
    pub late: u64,
    /// Rows whose event time was too far ahead.
    pub future: u64,
    /// Wall clock minus watermark, in seconds; `None` before the first row.
    pub watermark_delay_seconds: Option<f64>,
    /// Records not yet read: (topic, partition, lag).
    pub lag: Vec<(String, i32, u64)>,
}

/// What a sink has written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SinkMetrics {
    /// Its name in the pipeline.
    pub sink: String,
    /// Rows written.
    pub records: u64,
    /// Bytes written.
    pub bytes: u64,
}

/// What checkpoints came to.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CheckpointMetrics {
    /// Checkpoints completed.
    pub completed: u64,
    /// Checkpoints that failed.
    pub failed: u64,
    /// Seconds since the last one that completed; `None` before the first.
    pub age_seconds: Option<f64>,
    /// How long the last one took, in seconds; `None` before the first.
    pub duration_seconds: Option<f64>,
}

/// Requests of one Kafka API.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RequestMetrics {
    /// The API's name, such as `Fetch`.
    pub api: String,
    /// Requests answered.
    pub requests: u64,
    /// Seconds that they took, all together.
    pub latency_seconds: f64,
}

/// The state that one window holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StateMetrics {
    /// The transform's name.
    pub transform: String,
    /// Groups of open windows.
    pub rows: u64,
    /// Their size in memory.
    pub bytes: u64,
}

/// What the process uses.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ProcessMetrics {
    /// Resident memory, in bytes.
    pub resident_bytes: u64,
    /// Processor time used, user and system together, in seconds.
    pub cpu_seconds: f64,
}

impl ProcessMetrics {
    /// Reads them from `/proc`; zeros where there is none.
    #[must_use]
    pub fn of_this_process() -> ProcessMetrics {
        let read = |path| std::fs::read_to_string(path).unwrap_or_default();
        parse_process(&read("/proc/self/status"), &read("/proc/self/stat"))
    }
}

/// Linux reports processor time in hundredths of a second on every platform it exposes to programs (`USER_HZ`).
const TICKS_PER_SECOND: f64 = 100.0;

#[expect(clippy::cast_precision_loss, reason = "ticks of a process stay far below 2^53")]
fn parse_process(status: &str, stat: &str) -> ProcessMetrics {
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib: u64 = resident
        .and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .unwrap_or(0);
    // The program's name may hold spaces and brackets; the fields begin behind the last bracket.
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    let ticks = fields
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse::<u64>().ok())
        .sum::<u64>();
    ProcessMetrics {
        resident_bytes: kib.saturating_mul(1024),
        cpu_seconds: ticks as f64 / TICKS_PER_SECOND,
    }
}

type Labels = Vec<(&'static str, String)>;

/// The text of a scrape.
#[must_use]
pub fn render(snapshot: &Snapshot) -> String {
    let mut registry = Registry::default();
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
    let checkpoint = &snapshot.checkpoint;
    let one = |count| [(Vec::new(), count)];
    counters(
        &mut registry,
        "engine_checkpoint_completed",
        "Checkpoints completed",
        one(checkpoint.completed),
    );
    counters(
        &mut registry,
        "engine_checkpoint_failures",
        "Checkpoints that failed",
        one(checkpoint.failed),
    );
    let maybe = |value: Option<f64>| value.map(|value| (Vec::new(), value));
    gauges(
        &mut registry,
        "engine_checkpoint_age_seconds",
        "Time since the last checkpoint",
        maybe(checkpoint.age_seconds),
    );
    let duration = maybe(checkpoint.duration_seconds);
    gauges(
        &mut registry,
        "engine_checkpoint_duration_seconds",
        "Duration of the last checkpoint",
        duration,
    );
    let requests = &snapshot.requests;
    let of_api = |request: &RequestMetrics| vec![("api", request.api.clone())];
    let counts = requests.iter().map(|one| (of_api(one), one.requests));
    counters(
        &mut registry,
        "engine_client_requests",
        "Kafka requests answered",
        counts,
    );
    let latencies = requests.iter().map(|one| (of_api(one), one.latency_seconds));
    seconds(
        &mut registry,
        "engine_client_request_latency_seconds",
        "Time that Kafka requests took",
        latencies,
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
    gauges(&mut registry, "engine_state_rows", "Groups in open windows", rows);
    let bytes = state.iter().map(|one| (of_state(one), whole(one.bytes)));
    gauges(&mut registry, "engine_state_bytes", "Memory of open windows", bytes);
    let resident = [(Vec::new(), whole(snapshot.process.resident_bytes))];
    gauges(
        &mut registry,
        "engine_process_resident_memory_bytes",
        "Resident memory",
        resident,
    );
    let cpu = [(Vec::new(), snapshot.process.cpu_seconds)];
    seconds(&mut registry, "engine_process_cpu_seconds", "Processor time", cpu);
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
        "Rows whose event time was too far ahead",
        |source| source.future,
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

/// Adds a counter of seconds; its name gets the suffix `_total`.
fn seconds(registry: &mut Registry, name: &str, help: &str, values: impl IntoIterator<Item = (Labels, f64)>) {
    let family = Family::<Labels, Counter<f64, AtomicU64>>::default();
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

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

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
            }],
            errors: vec![("retriable".to_owned(), 3)],
            ..Snapshot::default()
        }
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
                let family = name.strip_suffix("_total").unwrap_or(name);
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
        assert_eq!(samples[r#"engine_client_errors_total{class="retriable"}"#], 3.0);
        assert!(
            !samples.contains_key("engine_checkpoint_age_seconds"),
            "unknown is absent, not zero"
        );
    }

    #[test]
    fn the_process_is_read_whatever_its_name() {
        let stat = "7 (a ) b) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0";
        let process = parse_process("Name:\tx\nVmRSS:\t  2048 kB\n", stat);
        assert_eq!(
            process,
            ProcessMetrics {
                resident_bytes: 2 << 20,
                cpu_seconds: 2.0
            }
        );
        assert_eq!(parse_process("", ""), ProcessMetrics::default());
    }
}
