//! `engine groups`: what an operator needs from `kafka-consumer-groups`.

use std::collections::BTreeMap;

use anyhow::Context;
use clap::{Args, Subcommand};
use engine_client::{Admin, CommittedOffset, TopicPartition, admin::GroupDescription};
use serde_json::json;

use super::topics::{all, confirm_on_terminal};
use crate::{
    connection, failure::UsageError, global_options::GlobalOptions, output::Output, time_argument::PositionArgument,
};

/// ListOffsets: the times that stand for the oldest offset and for the end.
const EARLIEST: i64 = -2;
const LATEST: i64 = -1;

#[derive(Debug, Subcommand)]
pub(crate) enum GroupsCommand {
    /// Print the groups and their states
    List,
    /// Print members, committed offsets and lag of groups
    Describe {
        /// The groups
        #[arg(required = true)]
        groups: Vec<String>,
    },
    /// Set the committed offsets of a group without members
    ResetOffsets(ResetArguments),
    /// Delete groups without members
    Delete {
        /// The groups
        #[arg(required = true)]
        groups: Vec<String>,
        /// Do not ask on a terminal
        #[arg(long, short)]
        yes: bool,
    },
}

#[derive(Debug, Args)]
pub(crate) struct ResetArguments {
    /// The group
    group: String,
    /// The topics; without any, all topics that the group has committed
    #[arg(long, value_name = "TOPIC")]
    topic: Vec<String>,
    /// `beginning`, `end`, an offset, -N for N before the end, or a time such as 2026-01-31T12:00:00Z
    #[arg(long, value_name = "POSITION", allow_hyphen_values = true)]
    to: PositionArgument,
    /// Print what would be committed and commit nothing
    #[arg(long)]
    dry_run: bool,
}

pub(crate) async fn run(command: GroupsCommand, global: &GlobalOptions) -> anyhow::Result<()> {
    let admin = connection::admin(global).await?;
    let mut output = Output::stdout();
    match command {
        GroupsCommand::List => list(&admin, global.json, &mut output).await?,
        GroupsCommand::Describe { groups } => {
            let names: Vec<&str> = groups.iter().map(String::as_str).collect();
            for (_, group) in all("describe group", admin.describe_groups(&names).await?)? {
                describe(&admin, &group, global.json, &mut output).await?;
            }
        }
        GroupsCommand::ResetOffsets(arguments) => reset(&admin, &arguments, global.json, &mut output).await?,
        GroupsCommand::Delete { groups, yes } => {
            if !yes {
                confirm_on_terminal(&format!("delete {}?", groups.join(", ")))?;
            }
            let names: Vec<&str> = groups.iter().map(String::as_str).collect();
            all("delete group", admin.delete_groups(&names).await?)?;
        }
    }
    output.flush()?;
    Ok(())
}

async fn list(admin: &Admin, json: bool, output: &mut Output) -> anyhow::Result<()> {
    let mut groups = admin.list_groups().await?;
    groups.sort_by(|a, b| a.group.cmp(&b.group));
    if json {
        for group in groups {
            output.json(&json!({
                "group": group.group, "state": group.state, "type": group.group_type, "protocol_type": group.protocol_type,
            }))?;
        }
        return Ok(());
    }
    let rows: Vec<Vec<String>> = groups
        .into_iter()
        .map(|group| vec![group.group, group.state, group.protocol_type])
        .collect();
    output.table(&["GROUP", "STATE", "PROTOCOL"], &rows)?;
    Ok(())
}

async fn describe(admin: &Admin, group: &GroupDescription, json: bool, output: &mut Output) -> anyhow::Result<()> {
    let committed: BTreeMap<TopicPartition, CommittedOffset> =
        admin.group_offsets(&group.group).await?.into_iter().collect();
    let owners: BTreeMap<&TopicPartition, &str> = group
        .members
        .iter()
        .flat_map(|member| member.assignment.iter().map(|tp| (tp, member.client_id.as_str())))
        .collect();
    let mut partitions: Vec<TopicPartition> = committed.keys().chain(owners.keys().copied()).cloned().collect();
    partitions.sort();
    partitions.dedup();
    let ends = offsets_at(admin, &partitions, LATEST).await?;
    let lag = |tp: &TopicPartition| Some((ends.get(tp)? - committed.get(tp)?.offset).max(0));
    if json {
        let offsets: Vec<_> = partitions
            .iter()
            .map(|tp| {
                json!({
                    "topic": &*tp.topic, "partition": tp.partition, "committed": committed.get(tp).map(|it| it.offset),
                    "metadata": committed.get(tp).map(|it| &it.metadata), "end": ends.get(tp), "lag": lag(tp),
                    "client_id": owners.get(tp),
                })
            })
            .collect();
        let members: Vec<_> = group
            .members
            .iter()
            .map(|member| {
                json!({
                    "member_id": member.member_id, "client_id": member.client_id, "host": member.host,
                    "group_instance_id": member.group_instance_id, "topics": member.topics,
                })
            })
            .collect();
        output.json(&json!({
            "group": group.group, "state": group.state, "protocol": group.protocol, "members": members, "offsets": offsets,
        }))?;
        return Ok(());
    }
    output.line(format!(
        "{}: {}, {} members",
        group.group,
        group.state,
        group.members.len()
    ))?;
    let optional = |number: Option<i64>| number.map_or("-".to_owned(), |number| number.to_string());
    let rows: Vec<Vec<String>> = partitions
        .iter()
        .map(|tp| {
            vec![
                tp.topic.to_string(),
                tp.partition.to_string(),
                optional(committed.get(tp).map(|it| it.offset)),
                optional(ends.get(tp).copied()),
                optional(lag(tp)),
                owners.get(tp).map_or("-", |client_id| client_id).to_owned(),
            ]
        })
        .collect();
    output.table(&["TOPIC", "PARTITION", "COMMITTED", "END", "LAG", "CLIENT"], &rows)?;
    Ok(())
}

async fn reset(admin: &Admin, arguments: &ResetArguments, json: bool, output: &mut Output) -> anyhow::Result<()> {
    let partitions = partitions_to_reset(admin, arguments).await?;
    let beginnings = offsets_at(admin, &partitions, EARLIEST).await?;
    let ends = offsets_at(admin, &partitions, LATEST).await?;
    let at_time = match arguments.to {
        PositionArgument::Timestamp(milliseconds) => offsets_at(admin, &partitions, milliseconds).await?,
        _ => BTreeMap::new(),
    };
    let mut offsets = Vec::new();
    for tp in partitions {
        let (&beginning, &end) = beginnings
            .get(&tp)
            .zip(ends.get(&tp))
            .with_context(|| format!("{tp} has no offsets"))?;
        let offset = match arguments.to {
            PositionArgument::Beginning => beginning,
            PositionArgument::End => end,
            PositionArgument::Offset(offset) => offset.clamp(beginning, end),
            PositionArgument::BeforeEnd(count) => end.saturating_sub(count).max(beginning),
            PositionArgument::Timestamp(_) => at_time.get(&tp).copied().unwrap_or(end),
        };
        let committed = CommittedOffset {
            offset,
            leader_epoch: None,
            metadata: String::new(),
        };
        offsets.push((tp, committed));
    }
    if !arguments.dry_run {
        refuse_with_members(admin, &arguments.group).await?;
        all("reset", admin.alter_group_offsets(&arguments.group, &offsets).await?)?;
    }
    if json {
        for (tp, committed) in &offsets {
            output.json(&json!({"topic": &*tp.topic, "partition": tp.partition, "committed": committed.offset}))?;
        }
        return Ok(());
    }
    let rows: Vec<Vec<String>> = offsets
        .iter()
        .map(|(tp, committed)| {
            vec![
                tp.topic.to_string(),
                tp.partition.to_string(),
                committed.offset.to_string(),
            ]
        })
        .collect();
    output.table(&["TOPIC", "PARTITION", "COMMITTED"], &rows)?;
    Ok(())
}

/// A broker refuses to reset under living members with UNKNOWN_MEMBER_ID for each partition; say it in one sentence.
async fn refuse_with_members(admin: &Admin, group: &str) -> anyhow::Result<()> {
    for (_, described) in admin.describe_groups(&[group]).await? {
        // A group that does not exist yet may be given offsets.
        let Ok(described) = described else { continue };
        let (state, members) = (&described.state, described.members.len());
        anyhow::ensure!(
            members == 0,
            "group {group} is {state} with {members} members; its offsets can be reset when they have left"
        );
    }
    Ok(())
}

async fn partitions_to_reset(admin: &Admin, arguments: &ResetArguments) -> anyhow::Result<Vec<TopicPartition>> {
    let mut partitions: Vec<TopicPartition> = if arguments.topic.is_empty() {
        admin
            .group_offsets(&arguments.group)
            .await?
            .into_iter()
            .map(|(tp, _)| tp)
            .collect()
    } else {
        let names: Vec<&str> = arguments.topic.iter().map(String::as_str).collect();
        all("describe topic", admin.describe_topics(&names).await?)?
            .into_iter()
            .flat_map(|(name, topic)| {
                topic
                    .partitions
                    .into_iter()
                    .map(move |it| TopicPartition::new(name.as_str(), it.partition))
            })
            .collect()
    };
    if partitions.is_empty() {
        let group = &arguments.group;
        return Err(UsageError(format!(
            "group {group} has no committed offsets; name topics with --topic"
        ))
        .into());
    }
    partitions.sort();
    Ok(partitions)
}

async fn offsets_at(
    admin: &Admin,
    partitions: &[TopicPartition],
    time: i64,
) -> anyhow::Result<BTreeMap<TopicPartition, i64>> {
    let times: Vec<_> = partitions.iter().map(|tp| (tp.clone(), time)).collect();
    let listed = admin.list_offsets(&times).await?;
    Ok(listed
        .into_iter()
        .filter_map(|(tp, listed)| Some((tp, listed?.offset)))
        .collect())
}
