//! Topics: those that are read must be there, those of our own are created.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use engine_client::admin::{Admin, ConfigEntry, NewTopic, TopicDescription};
use regex::Regex;
use tracing::info;

use crate::config::pipeline::{Pipeline, SinkKind, TopicSelection};
use crate::run_error::RunError;

/// How often a topic that was just created is looked for before it counts as missing.
const APPEARANCES_MAX: usize = 50;

/// The pause between two looks.
const APPEARANCE_PAUSE: Duration = Duration::from_millis(100);

/// The topics that a source reads, with the number of their partitions.
pub(crate) type SourceTopics = BTreeMap<String, usize>;

/// Creates what is missing of our own topics (and, with `create_topics`, of the sources'), checks that the others are
/// there, and gives every source's topics.
pub(crate) async fn ensure(pipeline: &Pipeline, admin: &Admin) -> Result<Vec<SourceTopics>, RunError> {
    let existing = list(admin).await?;
    let missing: Vec<_> = wanted(pipeline, &existing)?
        .into_iter()
        .filter(|new| !existing.contains_key(&new.name))
        .collect();
    if !missing.is_empty() {
        create(admin, &missing).await?;
    }
    let state_topic = pipeline.state_topic();
    if existing.contains_key(&state_topic) {
        check_state_topic(admin, &state_topic).await?;
    }
    let topics = appear(admin, &missing).await?;
    let written = written_by(pipeline);
    pipeline
        .sources
        .iter()
        .map(|source| read_by(&source.topics, &topics, &written))
        .collect()
}

/// Somebody may have made the state topic by hand, or a broker because it was asked for it.
async fn check_state_topic(admin: &Admin, topic: &str) -> Result<(), RunError> {
    // To be allowed to see a topic's configuration is a right of its own: without it nothing is known, and nothing refused.
    let described = admin.describe_configs(&[topic]).await.unwrap_or_default();
    let entries = described.into_iter().filter_map(|(_, entries)| entries.ok());
    entries
        .into_iter()
        .try_for_each(|entries| refuse_deletion(topic, &entries))
}

/// A topic that deletes old records would lose the state of whatever did not change for that long.
fn refuse_deletion(topic: &str, entries: &[ConfigEntry]) -> Result<(), RunError> {
    let policy = entries.iter().find(|entry| entry.name == "cleanup.policy");
    match policy.and_then(|entry| entry.value.as_deref()) {
        Some(policy) if policy.split(',').any(|word| word.trim() == "delete") => Err(RunError::Topic(format!(
            "the state topic {topic} has cleanup.policy={policy} and would lose state when it is old: set cleanup.policy=compact \
             (kafka-configs --alter --entity-type topics --entity-name {topic} --add-config cleanup.policy=compact)"
        ))),
        _ => Ok(()),
    }
}

/// The topics that are there now of every source that reads by a pattern; nothing of the other sources.
pub(crate) async fn matching(pipeline: &Pipeline, admin: &Admin) -> Result<Vec<SourceTopics>, RunError> {
    let topics = list(admin).await?;
    let written = written_by(pipeline);
    let matching = pipeline.sources.iter().map(|source| match &source.topics {
        TopicSelection::Names(_) => Ok(SourceTopics::new()),
        // A pattern that matched before the run may match nothing for a moment, while a broker restarts.
        TopicSelection::Pattern(pattern) => matches(pattern, &topics, &written),
    });
    matching.collect()
}

async fn list(admin: &Admin) -> Result<BTreeMap<String, TopicDescription>, RunError> {
    let topics = admin.list_topics().await.map_err(RunError::connect)?;
    Ok(topics.into_iter().map(|topic| (topic.name.clone(), topic)).collect())
}

/// Every topic that we may create.
fn wanted(pipeline: &Pipeline, existing: &BTreeMap<String, TopicDescription>) -> Result<Vec<NewTopic>, RunError> {
    let own = pipeline.kafka.own_topics;
    let plain = |name: &str| NewTopic {
        name: name.to_owned(),
        partitions: own
            .partitions
            .map(|partitions| i32::try_from(partitions.get()).unwrap_or(i32::MAX)),
        replication_factor: own
            .replication_factor
            .map(|factor| i16::try_from(factor.get()).unwrap_or(i16::MAX)),
        configs: BTreeMap::new(),
    };
    let mut topics = vec![NewTopic {
        partitions: Some(1),
        configs: BTreeMap::from([("cleanup.policy".to_owned(), "compact".to_owned())]),
        ..plain(&pipeline.state_topic())
    }];
    let mut names: BTreeSet<&str> = pipeline
        .generators
        .iter()
        .map(|generator| generator.load.topic.as_str())
        .collect();
    names.extend(
        pipeline
            .dead_letter
            .iter()
            .map(|dead_letter| dead_letter.topic.as_str()),
    );
    names.extend(pipeline.sinks.iter().filter_map(|sink| match &sink.kind {
        SinkKind::Kafka(kafka) => Some(kafka.topic.as_str()),
        SinkKind::Parquet(_) => None,
    }));
    for source in &pipeline.sources {
        let TopicSelection::Names(of_source) = &source.topics else {
            continue;
        };
        for name in of_source
            .iter()
            .filter(|name| !names.contains(name.as_str()))
            .cloned()
            .collect::<Vec<_>>()
        {
            if existing.contains_key(&name) {
                continue;
            }
            let Some(layout) = pipeline.kafka.create_topics else {
                return Err(RunError::Topic(format!(
                    "source \"{}\" reads topic {name}, which does not exist or may not be seen (`Describe`); create it, set \
                     create_topics = true with partitions and replication_factor in [kafka], or grant the right",
                    source.name
                )));
            };
            topics.push(NewTopic {
                partitions: Some(i32::try_from(layout.partitions.get()).unwrap_or(i32::MAX)),
                replication_factor: Some(i16::try_from(layout.replication_factor.get()).unwrap_or(i16::MAX)),
                ..plain(&name)
            });
        }
    }
    topics.extend(names.into_iter().map(plain));
    // Two sources may read the same missing topic; a broker refuses a request that names a topic twice.
    let mut named = BTreeSet::new();
    topics.retain(|topic| named.insert(topic.name.clone()));
    Ok(topics)
}

async fn create(admin: &Admin, missing: &[NewTopic]) -> Result<(), RunError> {
    for (name, created) in admin.create_topics(missing).await.map_err(RunError::connect)? {
        match created {
            Ok(()) => info!(topic = name, "Created a topic."),
            // Another process of this pipeline was quicker.
            Err(refusal) if refusal.code.name() == "TOPIC_ALREADY_EXISTS" => {}
            Err(refusal) => return Err(RunError::Topic(format!("topic {name} cannot be created: {refusal}"))),
        }
    }
    Ok(())
}

/// A new topic takes a moment to be known to every broker, and to have leaders.
async fn appear(admin: &Admin, missing: &[NewTopic]) -> Result<BTreeMap<String, TopicDescription>, RunError> {
    for _ in 0..APPEARANCES_MAX {
        let topics = list(admin).await?;
        let there = missing.iter().all(|new| {
            topics.get(&new.name).is_some_and(|topic| {
                !topic.partitions.is_empty() && topic.partitions.iter().all(|partition| partition.leader.is_some())
            })
        });
        if there {
            return Ok(topics);
        }
        tokio::time::sleep(APPEARANCE_PAUSE).await;
    }
    let names: Vec<_> = missing.iter().map(|new| new.name.as_str()).collect();
    Err(RunError::Topic(format!(
        "topics {} were created, but have no leader after {} ms",
        names.join(", "),
        APPEARANCES_MAX as u128 * APPEARANCE_PAUSE.as_millis()
    )))
}

/// The topics that the pipeline itself writes, its generators apart.
fn written_by(pipeline: &Pipeline) -> BTreeSet<String> {
    let sinks = pipeline.sinks.iter().filter_map(|sink| match &sink.kind {
        SinkKind::Kafka(kafka) => Some(kafka.topic.clone()),
        SinkKind::Parquet(_) => None,
    });
    let dead_letter = pipeline.dead_letter.iter().map(|dead_letter| dead_letter.topic.clone());
    sinks.chain(dead_letter).chain([pipeline.state_topic()]).collect()
}

fn read_by(
    selection: &TopicSelection,
    topics: &BTreeMap<String, TopicDescription>,
    written: &BTreeSet<String>,
) -> Result<SourceTopics, RunError> {
    match selection {
        TopicSelection::Names(names) => {
            let with_partitions = names.iter().map(|name| match topics.get(name) {
                Some(topic) => Ok((name.clone(), topic.partitions.len())),
                None => Err(RunError::Topic(format!("topic {name} does not exist"))),
            });
            with_partitions.collect()
        }
        TopicSelection::Pattern(pattern) => {
            let matching = matches(pattern, topics, written)?;
            if matching.is_empty() {
                return Err(RunError::Topic(format!(
                    "topic_pattern \"{pattern}\" matches no topic of the cluster that this pipeline does not write itself"
                )));
            }
            Ok(matching)
        }
    }
}

/// A pattern never matches what the pipeline writes: it would feed on its own results.
fn matches(
    pattern: &str,
    topics: &BTreeMap<String, TopicDescription>,
    written: &BTreeSet<String>,
) -> Result<SourceTopics, RunError> {
    let whole = Regex::new(&format!("^(?:{pattern})$")).map_err(|error| RunError::Topic(error.to_string()))?;
    let matching = topics
        .iter()
        .filter(|(name, topic)| !topic.is_internal && !written.contains(*name) && whole.is_match(name));
    Ok(matching
        .map(|(name, topic)| (name.clone(), topic.partitions.len()))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster(names: &[&str]) -> BTreeMap<String, TopicDescription> {
        let topic = |name: &&str| TopicDescription {
            name: (*name).to_owned(),
            topic_id: None,
            is_internal: name.starts_with("__"),
            partitions: Vec::new(),
        };
        names.iter().map(|name| ((*name).to_owned(), topic(name))).collect()
    }

    #[test]
    fn a_pattern_matches_whole_names_but_nothing_that_the_pipeline_writes() {
        let topics = cluster(&["ads-eu", "ads-us", "ads-results", "ads-state", "old-ads-eu", "__ads-x"]);
        let written = BTreeSet::from(["ads-results".to_owned(), "ads-state".to_owned()]);
        let read = |pattern: &str| {
            let selection = TopicSelection::Pattern(pattern.to_owned());
            read_by(&selection, &topics, &written).map(|read| read.into_keys().collect::<Vec<_>>())
        };
        assert_eq!(read("ads-.*").unwrap(), ["ads-eu", "ads-us"]);
        assert!(
            read("ads-(results|state)")
                .unwrap_err()
                .to_string()
                .contains("matches no topic")
        );
    }

    fn two_sources_of_one_topic(kafka: &str) -> Pipeline {
        let source = |name: &str| {
            format!(
                "[sources.{name}]\ntype = \"kafka\"\ntopics = [\"shared\"]\nformat = \"json\"\nschema = {{ id = \"int64\" }}\n"
            )
        };
        let sink = "[sinks.out]\ntype = \"kafka\"\ninput = \"a\"\ntopic = \"out\"\n";
        let text = format!(
            "name = \"p\"\n[kafka]\nbootstrap.servers = \"localhost:1\"\n{kafka}\n{}{}{sink}",
            source("a"),
            source("b")
        );
        let surroundings = crate::config::Surroundings {
            overrides: &[],
            variable: &|_| None,
        };
        let loaded = crate::config::parse("p.toml", text.as_bytes(), &surroundings);
        loaded.unwrap_or_else(|error| panic!("{error}")).pipeline
    }

    #[test]
    fn a_missing_topic_of_two_sources_is_created_once_and_only_if_the_file_says_so() {
        let pipeline = two_sources_of_one_topic("create_topics = true\npartitions = 3\nreplication_factor = 1");
        let topics = wanted(&pipeline, &cluster(&[])).unwrap();
        let names: Vec<_> = topics.iter().map(|topic| topic.name.as_str()).collect();
        assert_eq!(names, ["engine-state-p", "shared", "out"]);
        assert_eq!((topics[0].partitions, topics[1].partitions), (Some(1), Some(3)));
        assert_eq!(topics[0].configs["cleanup.policy"], "compact");
        let refused = wanted(&two_sources_of_one_topic(""), &cluster(&[])).unwrap_err();
        assert!(
            refused
                .to_string()
                .starts_with("source \"a\" reads topic shared, which does not exist"),
            "{refused}"
        );
        assert!(wanted(&two_sources_of_one_topic(""), &cluster(&["shared"])).is_ok());
    }

    #[test]
    fn a_state_topic_that_deletes_old_records_is_refused_and_one_that_only_compacts_or_is_secret_is_not() {
        let checked = |policy: Option<&str>| {
            let entry = ConfigEntry {
                name: "cleanup.policy".to_owned(),
                value: policy.map(str::to_owned),
                is_default: false,
                is_read_only: false,
                is_sensitive: policy.is_none(),
            };
            refuse_deletion("engine-state-p", &[entry])
        };
        for policy in ["delete", "compact,delete", "compact, delete"] {
            let refused = checked(Some(policy)).unwrap_err().to_string();
            assert!(refused.contains("cleanup.policy=compact ("), "{policy}: {refused}");
        }
        assert!(checked(Some("compact")).is_ok());
        assert!(checked(None).is_ok());
    }

    #[test]
    fn a_named_topic_is_read_also_where_the_pipeline_writes_it() {
        let selection = TopicSelection::Names(vec!["loop".to_owned()]);
        let read = read_by(&selection, &cluster(&["loop"]), &BTreeSet::from(["loop".to_owned()])).unwrap();
        assert!(read.contains_key("loop"));
    }
}
