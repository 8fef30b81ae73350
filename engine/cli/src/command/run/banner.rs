//! What is said when a run starts.

use engine_runtime::progress::RunStarted;

use crate::{quantity, time_argument::rfc3339};

/// Partitions whose restored offsets are named one by one; more are counted.
const OFFSETS_SHOWN_MAX: usize = 8;

pub(super) fn text(started: &RunStarted, embedded: bool) -> String {
    let version = started.broker_version.as_deref().unwrap_or("version unknown");
    let place = if embedded { ", inside this process" } else { "" };
    let mut lines = vec![
        format!(
            "engine {}: pipeline {}, {}",
            env!("CARGO_PKG_VERSION"),
            started.pipeline,
            started.guarantee
        ),
        format!("  brokers   {} ({version}){place}", started.brokers.join(", ")),
    ];
    for topic in &started.topics {
        lines.push(format!(
            "  reading   {} ({}) as {}",
            topic.topic,
            quantity::counted(topic.partitions as u64, "partition"),
            topic.source
        ));
    }
    lines.push(match &started.restored {
        None => "  restored  nothing, this is a first run".to_owned(),
        Some(restored) => {
            let watermark = restored.watermark_ms.map_or("none".to_owned(), rfc3339);
            let mut offsets: Vec<String> = restored
                .offsets
                .iter()
                .take(OFFSETS_SHOWN_MAX)
                .map(|(topic, partition, offset)| format!("{topic}-{partition}@{offset}"))
                .collect();
            if restored.offsets.len() > OFFSETS_SHOWN_MAX {
                offsets.push(format!("and {} more", restored.offsets.len() - OFFSETS_SHOWN_MAX));
            }
            format!(
                "  restored  checkpoint {}, watermark {watermark}, {}",
                restored.checkpoint_id,
                offsets.join(" ")
            )
        }
    });
    if let Some(url) = &started.server_url {
        lines.push(format!("  server    {url}/metrics, {url}/healthz, {url}/readyz"));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use engine_runtime::progress::{RestoredCheckpoint, TopicStarted};

    use super::*;

    #[test]
    fn a_restart_says_where_it_goes_on() {
        let started = RunStarted {
            pipeline: "ads".into(),
            guarantee: "at_least_once".into(),
            brokers: vec!["localhost:9092".into()],
            broker_version: Some("Apache Kafka 4.4".into()),
            topics: vec![TopicStarted {
                source: "events".into(),
                topic: "ad-events".into(),
                partitions: 4,
            }],
            restored: Some(RestoredCheckpoint {
                checkpoint_id: 12,
                watermark_ms: Some(1500),
                offsets: vec![("ad-events".into(), 0, 7)],
            }),
            server_url: None,
        };
        let text = text(&started, false);
        for part in [
            "pipeline ads, at_least_once",
            "localhost:9092 (Apache Kafka 4.4)",
            "ad-events (4 partitions)",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(
            text.ends_with("checkpoint 12, watermark 1970-01-01T00:00:01.500Z, ad-events-0@7"),
            "{text}"
        );
    }
}
