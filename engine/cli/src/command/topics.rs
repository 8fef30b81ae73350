//! `engine topics`: what an operator needs from `kafka-topics`.

mod describe;

use clap::{Args, Subcommand};
use engine_client::{
    Admin, TopicPartition,
    admin::{NewTopic, TopicDescription},
};
use serde_json::json;

use super::{
    confirmation::confirm_on_terminal,
    offsets::partitions_of,
    refusals::{all, split, unless_they_exist},
};
use crate::{
    connection,
    global_options::{GlobalOptions, key_value},
    logging::notice,
    output::Output,
};
use describe::{describe, replication_factor};

/// DeleteRecords: the offset that stands for the end.
const TO_THE_END: i64 = -1;

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
        /// The topics; without any, all but Kafka's internal ones
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
        TopicsCommand::Create(arguments) => create(&admin, &arguments, global).await?,
        TopicsCommand::Delete(arguments) => {
            confirm("delete", &arguments)?;
            let names: Vec<&str> = arguments.topics.iter().map(String::as_str).collect();
            let (deleted, outcome) = split("delete topic", admin.delete_topics(&names).await?);
            tell(global, "deleted", deleted.iter().map(|(name, ())| name));
            outcome?;
        }
        TopicsCommand::Clear(arguments) => {
            confirm("delete all records of", &arguments)?;
            clear(&admin, &arguments.topics).await?;
            tell(global, "deleted all records of", &arguments.topics);
        }
        TopicsCommand::Describe { topics } => {
            let topics = if topics.is_empty() {
                listed(&admin, false).await?
            } else {
                described("describe topic", &admin, &topics).await?
            };
            for topic in topics {
                describe(&admin, &topic, global.json, &mut output).await?;
            }
        }
    }
    output.flush()?;
    Ok(())
}

async fn list(admin: &Admin, internal: bool, json: bool, output: &mut Output) -> anyhow::Result<()> {
    for topic in listed(admin, internal).await? {
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

async fn listed(admin: &Admin, internal: bool) -> anyhow::Result<Vec<TopicDescription>> {
    let mut topics = admin.list_topics().await?;
    topics.retain(|topic| internal || !topic.is_internal);
    topics.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(topics)
}

async fn create(admin: &Admin, arguments: &CreateArguments, global: &GlobalOptions) -> anyhow::Result<()> {
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
        outcomes = unless_they_exist(outcomes);
    }
    let (created, outcome) = split("create topic", outcomes);
    tell(global, "created", created.iter().map(|(name, ())| name));
    outcome
}

async fn clear(admin: &Admin, names: &[String]) -> anyhow::Result<()> {
    let everything: Vec<(TopicPartition, i64)> = described("clear topic", admin, names)
        .await?
        .iter()
        .flat_map(|topic| partitions_of(topic).into_iter().map(|tp| (tp, TO_THE_END)))
        .collect();
    all("delete the records of", admin.delete_records(&everything).await?)?;
    Ok(())
}

async fn described(operation: &str, admin: &Admin, names: &[String]) -> anyhow::Result<Vec<TopicDescription>> {
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let described = all(operation, admin.describe_topics(&names).await?)?;
    Ok(described.into_iter().map(|(_, topic)| topic).collect())
}

/// Says what was done, one line for each: scripts have the exit code.
fn tell<'a>(global: &GlobalOptions, done: &str, topics: impl IntoIterator<Item = &'a String>) {
    if !global.quiet {
        topics
            .into_iter()
            .for_each(|topic| notice(format_args!("{done} {topic}")));
    }
}

fn confirm(action: &str, arguments: &DestroyArguments) -> anyhow::Result<()> {
    if arguments.yes {
        return Ok(());
    }
    confirm_on_terminal(&format!("{action} {}?", arguments.topics.join(", ")))
}
