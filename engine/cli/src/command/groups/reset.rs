//! `engine groups reset-offsets`.

use std::collections::BTreeMap;

use anyhow::{Context, ensure};
use clap::Args;
use engine_client::{Admin, CommittedOffset, TopicPartition};
use serde_json::json;

use crate::{
    command::{
        offsets::{EARLIEST, LATEST, offsets_at, partitions_of},
        refusals::all,
    },
    failure::UsageError,
    output::Output,
    quantity,
    time_argument::PositionArgument,
};

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

/// Commits other offsets for a group without members.
pub(super) async fn reset(
    admin: &Admin,
    arguments: &ResetArguments,
    json: bool,
    output: &mut Output,
) -> anyhow::Result<()> {
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
            PositionArgument::Offset(offset) => offset.max(beginning).min(end),
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
    output.table(&["TOPIC", "PARTITION", "NEW-OFFSET"], &rows)?;
    Ok(())
}

/// A broker refuses to reset under living members with UNKNOWN_MEMBER_ID for each partition; say it in one sentence.
async fn refuse_with_members(admin: &Admin, group: &str) -> anyhow::Result<()> {
    for (_, described) in admin.describe_groups(&[group]).await? {
        // A group that does not exist yet may be given offsets.
        let Ok(described) = described else { continue };
        let (state, members) = (&described.state, described.members.len() as u64);
        ensure!(
            members == 0,
            "group {group} is {state} with {}; its offsets can be reset when none is left",
            quantity::counted(members, "member")
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
            .iter()
            .flat_map(|(_, topic)| partitions_of(topic))
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
