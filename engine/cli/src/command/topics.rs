//! `engine topics`: what an operator needs from `kafka-topics`.

use std::io::{IsTerminal, Write};

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use engine_client::{
    Admin, TopicPartition,
    admin::{NewTopic, Refusal, TopicDescription},
};
use serde_json::json;

use crate::{
    connection,
    global_options::{GlobalOptions, key_value},
    output::Output,
    quantity,
};

/// ListOffsets: the time that stands for the oldest offset.
const EARLIEST: i64 = -2;
/// ListOffsets: the time that stands for the end.
const LATEST: i64 = -1;

#[derive(Debug, Subcommand)]
pub(crate) enum TopicsCommand {
    /// Print the topics
    List {
        /// Kafka's internal topics too
        #[arg(long)]
        internal: bool,
    },
    /// Create topics
    Create(CreateArguments),
    /// Delete topics with all their records
    Delete(DestroyArguments),
    /// Delete all records and keep the topics
    Clear(DestroyArguments),
    /// Print partitions, leaders, replicas, offsets and changed settings
    Describe {
        /// The topics
        #[arg(required = true)]
        topics: Vec<String>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct CreateArguments {
    /// The topics
    #[arg(required = true)]
    topics: Vec<String>,
    /// Partitions of each [default: the broker's]
    #[arg(long, value_name = "N")]
    partitions: Option<i32>,
    /// Replicas of each partition [default: the broker's]
    #[arg(long, value_name = "N")]
    replication_factor: Option<i16>,
    /// A topic setting, for example cleanup.policy=compact; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_value)]
    config: Vec<(String, String)>,
    /// A topic that exists already is no error
    #[arg(long)]
    if_not_exists: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DestroyArguments {
    /// The topics
    #[arg(required = true)]
    topics: Vec<String>,
    /// Do not ask on a terminal
    #[arg(long, short)]
    yes: bool,
}

pub(crate) async fn run(command: TopicsCommand, global: &GlobalOptions) -> anyhow::Result<()> {
    let admin = connection::admin(global).await?;
    let mut output = Output::stdout();
    match command {
        TopicsCommand::List { internal } => list(&admin, internal, global.json, &mut output).await?,
        TopicsCommand::Create(arguments) => create(&admin, &arguments).await?,
        TopicsCommand::Delete(arguments) => {
            confirm("delete", &arguments)?;
            let names: Vec<&str> = arguments.topics.iter().map(String::as_str).collect();
            all("delete topic", admin.delete_topics(&names).await?)?;
        }
        TopicsCommand::Clear(arguments) => {
            confirm("delete all records of", &arguments)?;
            clear(&admin, &arguments.topics).await?;
        }
        TopicsCommand::Describe { topics } => {
            for topic in described(&admin, &topics).await? {
                describe(&admin, &topic, global.json, &mut output).await?;
            }
        }
    }
    output.flush()?;
    Ok(())
}

async fn list(admin: &Admin, internal: bool, json: bool, output: &mut Output) -> anyhow::Result<()> {
    let mut topics = admin.list_topics().await?;
    topics.retain(|topic| internal || !topic.is_internal);
    topics.sort_by(|a, b| a.name.cmp(&b.name));
    for topic in topics {
        if json {
            output.json(&json!({
                "topic": topic.name,
                "partitions": topic.partitions.len(),
                "replication_factor": replication_factor(&topic),
                "internal": topic.is_internal,
            }))?;
        } else {
            output.line(topic.name)?;
        }
    }
    Ok(())
}

async fn create(admin: &Admin, arguments: &CreateArguments) -> anyhow::Result<()> {
    let topics: Vec<NewTopic> = arguments
        .topics
        .iter()
        .map(|name| NewTopic {
            name: name.clone(),
            partitions: arguments.partitions,
            replication_factor: arguments.replication_factor,
            configs: arguments.config.iter().cloned().collect(),
        })
        .collect();
    let mut outcomes = admin.create_topics(&topics).await?;
    if arguments.if_not_exists {
        outcomes.retain(|(_, outcome)| {
            !outcome
                .as_ref()
                .is_err_and(|refusal| refusal.code.name() == "TOPIC_ALREADY_EXISTS")
        });
    }
    all("create topic", outcomes)?;
    Ok(())
}

async fn clear(admin: &Admin, names: &[String]) -> anyhow::Result<()> {
    let everything: Vec<(TopicPartition, i64)> = described(admin, names)
        .await?
        .iter()
        .flat_map(|topic| partitions(topic).into_iter().map(|tp| (tp, -1)))
        .collect();
    all("delete the records of", admin.delete_records(&everything).await?)?;
    Ok(())
}

async fn describe(admin: &Admin, topic: &TopicDescription, json: bool, output: &mut Output) -> anyhow::Result<()> {
    let offsets = async |time: i64| {
        let times: Vec<_> = partitions(topic).into_iter().map(|tp| (tp, time)).collect();
        admin.list_offsets(&times).await
    };
    let (beginnings, ends) = (offsets(EARLIEST).await?, offsets(LATEST).await?);
    let offset_in = |listed: &[(TopicPartition, Option<engine_client::ListedOffset>)], partition: i32| {
        let found = listed.iter().find(|(tp, _)| tp.partition == partition);
        found.and_then(|(_, offset)| *offset).map(|listed| listed.offset)
    };
    let configs = all(
        "describe the settings of",
        admin.describe_configs(&[&topic.name]).await?,
    )?;
    let changed: serde_json::Map<String, serde_json::Value> = configs
        .into_iter()
        .flat_map(|(_, entries)| entries)
        .filter(|entry| !entry.is_default)
        .map(|entry| (entry.name, entry.value.into()))
        .collect();
    if json {
        let partitions: Vec<_> = topic
            .partitions
            .iter()
            .map(|partition| {
                json!({
                    "partition": partition.partition,
                    "leader": partition.leader,
                    "replicas": partition.replicas,
                    "in_sync_replicas": partition.in_sync_replicas,
                    "beginning_offset": offset_in(&beginnings, partition.partition),
                    "end_offset": offset_in(&ends, partition.partition),
                })
            })
            .collect();
        output.json(&json!({
            "topic": topic.name, "topic_id": topic.topic_id, "internal": topic.is_internal,
            "partitions": partitions, "configs": changed,
        }))?;
        return Ok(());
    }
    output.line(format!(
        "{}: {} partitions, replication factor {}{}",
        topic.name,
        topic.partitions.len(),
        replication_factor(topic),
        topic.topic_id.as_ref().map_or(String::new(), |id| format!(", id {id}"))
    ))?;
    for (name, value) in changed {
        output.line(format!("  {name}={}", value.as_str().unwrap_or("")))?;
    }
    let optional = |number: Option<i64>| number.map_or("?".to_owned(), |number| number.to_string());
    let rows: Vec<Vec<String>> = topic
        .partitions
        .iter()
        .map(|partition| {
            let (from, to) = (
                offset_in(&beginnings, partition.partition),
                offset_in(&ends, partition.partition),
            );
            vec![
                partition.partition.to_string(),
                optional(partition.leader.map(i64::from)),
                list_of(&partition.replicas),
                list_of(&partition.in_sync_replicas),
                optional(from),
                optional(to),
                from.zip(to).map_or("?".to_owned(), |(from, to)| {
                    quantity::grouped((to - from).max(0).unsigned_abs())
                }),
            ]
        })
        .collect();
    output.table(
        &[
            "PARTITION",
            "LEADER",
            "REPLICAS",
            "IN SYNC",
            "BEGINNING",
            "END",
            "OFFSETS",
        ],
        &rows,
    )?;
    Ok(())
}

async fn described(admin: &Admin, names: &[String]) -> anyhow::Result<Vec<TopicDescription>> {
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let described = all("describe topic", admin.describe_topics(&names).await?)?;
    Ok(described.into_iter().map(|(_, topic)| topic).collect())
}

/// What succeeded, or an error that names everything that did not.
pub(super) fn all<K: ToString, V>(operation: &str, items: Vec<(K, Result<V, Refusal>)>) -> anyhow::Result<Vec<(K, V)>> {
    let (mut done, mut refused) = (Vec::new(), Vec::new());
    for (item, outcome) in items {
        match outcome {
            Ok(value) => done.push((item, value)),
            Err(refusal) => refused.push(format!("cannot {operation} {}: {refusal}", item.to_string())),
        }
    }
    if refused.is_empty() {
        Ok(done)
    } else {
        bail!(refused.join("; "))
    }
}

/// Asks on a terminal; a script has said what it wants.
pub(super) fn confirm_on_terminal(question: &str) -> anyhow::Result<()> {
    if !std::io::stdin().is_terminal() {
        return Ok(());
    }
    let mut terminal = std::io::stderr();
    let asked = write!(terminal, "{question} [y/N] ").and_then(|()| terminal.flush());
    asked.context("cannot ask on standard error")?;
    let mut answer = String::new();
    std::io::stdin()
        .read_line(&mut answer)
        .context("cannot read the answer")?;
    if !matches!(answer.trim(), "y" | "Y" | "yes") {
        bail!("nothing was changed");
    }
    Ok(())
}

fn confirm(action: &str, arguments: &DestroyArguments) -> anyhow::Result<()> {
    if arguments.yes {
        return Ok(());
    }
    confirm_on_terminal(&format!("{action} {}?", arguments.topics.join(", ")))
}

fn partitions(topic: &TopicDescription) -> Vec<TopicPartition> {
    topic
        .partitions
        .iter()
        .map(|it| TopicPartition::new(topic.name.as_str(), it.partition))
        .collect()
}

fn replication_factor(topic: &TopicDescription) -> usize {
    topic
        .partitions
        .iter()
        .map(|partition| partition.replicas.len())
        .max()
        .unwrap_or(0)
}

fn list_of(numbers: &[i32]) -> String {
    numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}
