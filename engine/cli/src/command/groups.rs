//! `engine groups`: what an operator needs from `kafka-consumer-groups`.

mod describe;
mod reset;

use clap::Subcommand;
use engine_client::Admin;
use serde_json::json;

use super::{confirmation::confirm_on_terminal, refusals::split};
use crate::{connection, global_options::GlobalOptions, logging::notice, output::Output};
use describe::describe;
use reset::{ResetArguments, reset};

#[derive(Debug, Subcommand)]
pub(crate) enum GroupsCommand {
    /// Print the groups and their states
    List,
    /// Print members, committed offsets and lag of groups
    Describe {
        /// The groups; without any, all
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

pub(crate) async fn run(command: GroupsCommand, global: &GlobalOptions) -> anyhow::Result<()> {
    let admin = connection::admin(global).await?;
    let mut output = Output::stdout();
    match command {
        GroupsCommand::List => list(&admin, global.json, &mut output).await?,
        GroupsCommand::Describe { groups } => {
            let groups = if groups.is_empty() {
                names(&admin).await?
            } else {
                groups
            };
            for group in groups {
                describe(&admin, &group, global.json, &mut output).await?;
            }
        }
        GroupsCommand::ResetOffsets(arguments) => reset(&admin, &arguments, global.json, &mut output).await?,
        GroupsCommand::Delete { groups, yes } => {
            if !yes {
                confirm_on_terminal(&format!("delete {}?", groups.join(", ")))?;
            }
            let names: Vec<&str> = groups.iter().map(String::as_str).collect();
            let (deleted, outcome) = split("delete group", admin.delete_groups(&names).await?);
            if !global.quiet {
                deleted
                    .iter()
                    .for_each(|(group, ())| notice(format_args!("deleted {group}")));
            }
            outcome?;
        }
    }
    output.flush()?;
    Ok(())
}

async fn names(admin: &Admin) -> anyhow::Result<Vec<String>> {
    Ok(admin
        .list_groups()
        .await?
        .into_iter()
        .map(|group| group.group)
        .collect())
}

async fn list(admin: &Admin, json: bool, output: &mut Output) -> anyhow::Result<()> {
    let groups = admin.list_groups().await?;
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
        .map(|group| vec![group.group, group.state, group.group_type, group.protocol_type])
        .collect();
    output.table(&["GROUP", "STATE", "TYPE", "PROTOCOL TYPE"], &rows)?;
    Ok(())
}
