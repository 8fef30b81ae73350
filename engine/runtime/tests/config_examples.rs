//! Every pipeline file of the repository resolves, and `config.md` describes every key.

use std::fs;
use std::path::{Path, PathBuf};

use engine_runtime::config::{self, Surroundings, keys};
use engine_runtime::explain::explain;
use engine_runtime::pipeline_tests;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

#[test]
fn every_example_resolves_can_be_explained_and_passes_its_own_tests() {
    let mut names = Vec::new();
    let mut tests_run = 0;
    for entry in fs::read_dir(root().join("engine/pipelines")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            continue; // The rows of their tests.
        }
        let surroundings = Surroundings {
            overrides: &[],
            variable: &|_| None,
        };
        let loaded = config::load(&path, &surroundings).unwrap_or_else(|error| panic!("{error}"));
        let warnings: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
        assert!(warnings.is_empty(), "{}", warnings.join("\n"));
        let explanation = explain(&loaded.pipeline);
        let text = explanation.to_string();
        for part in [
            "engine-state-ad-campaigns",
            "group        ad-campaigns, a process that died is replaced after 10s",
            "transactions engine-ad-campaigns, one that is left open is aborted after 10s",
            "window per_campaign <- views",
            "max_produce_time",
            "dt=<date of window_start>",
        ] {
            assert!(text.contains(part), "{part} is missing in:\n{text}");
        }
        let json: serde_json::Value = serde_json::from_str(&explanation.to_json()).unwrap();
        assert_eq!(json["group_id"], "ad-campaigns");
        let tests =
            pipeline_tests::read(&loaded.pipeline, path.parent().unwrap()).unwrap_or_else(|error| panic!("{error}"));
        let report = pipeline_tests::run(&loaded.pipeline, &tests, None);
        assert_eq!(report.failed(), 0, "{}: {report}", path.display());
        tests_run += report.tests.len();
        names.push(path.file_name().unwrap().to_string_lossy().into_owned());
    }
    names.sort();
    assert_eq!(names, ["ad-campaigns-kafka.toml", "ad-campaigns.toml"]);
    assert!(tests_run >= 2, "{tests_run} tests of their own");
}

#[test]
fn a_hopping_window_in_update_mode_is_explained() {
    let text = fs::read_to_string(root().join("engine/pipelines/ad-campaigns-kafka.toml")).unwrap();
    let hopping = "kind = \"hopping\"\nslide = \"2s\"\nmode = \"update\"";
    let text = text.replace("kind = \"tumbling\"", hopping);
    let (before, lake) = text.split_once("[sinks.lake]").unwrap();
    let topic_only = [before, &lake[lake.find("[dead_letter]").unwrap()..]].concat();
    let surroundings = Surroundings {
        overrides: &[],
        variable: &|_| None,
    };
    let loaded =
        config::parse("hopping", topic_only.as_bytes(), &surroundings).unwrap_or_else(|error| panic!("{error}"));
    let explanation = explain(&loaded.pipeline).to_string();
    for part in [
        "hopping, 10s of event_time every 2s",
        "emitted with each checkpoint where it changed, and when it closes",
        "one row per open window (5 of each row) and group",
    ] {
        assert!(explanation.contains(part), "{part} is missing in:\n{explanation}");
    }
}

#[test]
fn the_state_of_a_session_window_is_explained_as_sessions() {
    let overrides = ["kind=\"session\"", "gap=\"5s\""].map(|key| format!("transforms.per_campaign.{key}"));
    let text = fs::read_to_string(root().join("engine/pipelines/ad-campaigns-kafka.toml")).unwrap();
    let text = text.replace("\nsize = \"10s\"", "");
    let surroundings = Surroundings {
        overrides: &overrides,
        variable: &|_| None,
    };
    let loaded = config::parse("session", text.as_bytes(), &surroundings).unwrap_or_else(|error| panic!("{error}"));
    let explanation = explain(&loaded.pipeline).to_string();
    assert!(
        explanation.contains("state: one row per open session and group"),
        "{explanation}"
    );
}

#[test]
fn a_session_lasts_as_long_as_a_transaction_unless_the_file_asks_for_other_heartbeats() {
    let session_timeout_ms = |overrides: &[&str]| {
        let overrides: Vec<String> = overrides.iter().map(|flag| (*flag).to_owned()).collect();
        let surroundings = Surroundings {
            overrides: &overrides,
            variable: &|_| None,
        };
        let loaded = config::load(&root().join("engine/pipelines/ad-campaigns.toml"), &surroundings);
        let mut pipeline = loaded.unwrap_or_else(|error| panic!("{error}")).pipeline;
        pipeline.use_embedded_broker("127.0.0.1:4242".parse().unwrap());
        let consumer = pipeline.sources[0].kafka.consumer_config(&pipeline.group_id());
        consumer.session_timeout.as_millis()
    };
    assert_eq!(session_timeout_ms(&[]), 10_000);
    assert_eq!(session_timeout_ms(&["checkpoint.guarantee=\"at_least_once\""]), 10_000);
    assert_eq!(session_timeout_ms(&["kafka.session.timeout.ms=30000"]), 30_000);
    assert_eq!(session_timeout_ms(&["kafka.heartbeat.interval.ms=12000"]), 45_000);
}

#[test]
fn a_transaction_may_last_three_checkpoints_but_no_longer_than_brokers_allow() {
    for (interval, timeout_s) in [("1s", 10), ("30s", 90), ("10m", 900), ("20m", 1_210)] {
        let overrides = [format!("checkpoint.interval={interval}")];
        let surroundings = Surroundings {
            overrides: &overrides,
            variable: &|_| None,
        };
        let loaded = config::load(&root().join("engine/pipelines/ad-campaigns.toml"), &surroundings);
        let explanation = explain(&loaded.unwrap_or_else(|error| panic!("{error}")).pipeline);
        assert_eq!(
            explanation.transaction_timeout.unwrap().as_secs(),
            timeout_s,
            "{interval}"
        );
    }
}

#[test]
fn the_embedded_address_reaches_every_client() {
    let surroundings = Surroundings {
        overrides: &["kafka.linger.ms=20".to_owned()],
        variable: &|_| None,
    };
    let loaded = config::load(&root().join("engine/pipelines/ad-campaigns.toml"), &surroundings).unwrap();
    let mut pipeline = loaded.pipeline;
    pipeline.use_embedded_broker("127.0.0.1:4242".parse().unwrap());
    let expected = ["127.0.0.1:4242"];
    assert_eq!(pipeline.kafka.options.client_config().bootstrap_servers, expected);
    let consumer = pipeline.sources[0].kafka.consumer_config(&pipeline.group_id());
    assert_eq!(consumer.client.bootstrap_servers, expected);
    assert_eq!(consumer.prefetch_bytes_max, 8 << 20, "less than a client's own default");
    let generator = pipeline.generators[0].kafka.producer_config();
    assert_eq!(generator.client.bootstrap_servers, expected);
    assert_eq!(
        generator.linger.as_millis(),
        20,
        "a flag on [kafka] reaches the generator"
    );
}

#[test]
fn the_reference_describes_every_key_of_every_table() {
    let text = fs::read_to_string(root().join("engine/docs/config.md")).unwrap();
    for (table, keys) in keys::TABLES {
        let heading = format!("`{table}`");
        let section = text.split("\n## ").find(|section| section.starts_with(&heading));
        let section = section.unwrap_or_else(|| panic!("config.md has no section {heading}"));
        let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
        let described: Vec<&str> = rows.filter_map(|row| row.split('`').next()).collect();
        for key in *keys {
            assert!(
                described.contains(key),
                "config.md: {heading} does not describe `{key}`"
            );
        }
        for key in described {
            assert!(
                keys.contains(&key),
                "config.md: {heading} describes `{key}`, which no file may have"
            );
        }
    }
}

/// Every pipeline in the documents is complete: a reader may copy it.
#[test]
fn every_toml_of_the_documents_is_a_valid_pipeline() {
    let mut documents = vec![root().join("README.md")];
    let docs = fs::read_dir(root().join("engine/docs")).unwrap();
    documents.extend(docs.map(|entry| entry.unwrap().path()));
    documents.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    let surroundings = Surroundings {
        overrides: &[],
        variable: &|_| None,
    };
    let mut pipelines = 0;
    for path in documents {
        let text = fs::read_to_string(&path).unwrap();
        for block in text.split("```toml\n").skip(1) {
            let block = block.split("```").next().unwrap();
            let name = path.display().to_string();
            config::parse(&name, block.as_bytes(), &surroundings).unwrap_or_else(|error| panic!("{error}"));
            pipelines += 1;
        }
    }
    assert!(pipelines >= 1, "the README shows a pipeline");
}
