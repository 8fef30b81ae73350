//! `engine groups describe`.

use std::collections::BTreeMap;

use engine_client::{
    Admin, CommittedOffset, TopicPartition,
    admin::{GroupDescription, MemberDescription},
};
use serde_json::{Value, json};

use crate::{
    command::{
        offsets::{LATEST, offsets_at},
        refusals::all,
    },
    output::Output,
    quantity,
};

/// The state of a group that does not exist, on brokers before 4.0; newer ones refuse to describe it.
const DEAD: &str = "Dead";

/// Prints one group.
pub(super) async fn describe(admin: &Admin, name: &str, json: bool, output: &mut Output) -> anyhow::Result<()> {
    for (_, group) in all("describe group", admin.describe_groups(&[name]).await?)? {
        let described = Described::of(admin, &group).await?;
        anyhow::ensure!(
            group.state != DEAD || !described.committed.is_empty(),
            "cannot describe group {name}: there is no such group; `engine groups list` names them all"
        );
        if json {
            output.json(&described.object())?;
        } else {
            described.print(output)?;
        }
    }
    Ok(())
}

struct Described<'a> {
    group: &'a GroupDescription,
    committed: BTreeMap<TopicPartition, CommittedOffset>,
    ends: BTreeMap<TopicPartition, i64>,
    /// Every partition that is committed or assigned, with the member that has it.
    partitions: Vec<(TopicPartition, Option<&'a MemberDescription>)>,
}

impl<'a> Described<'a> {
    async fn of(admin: &Admin, group: &'a GroupDescription) -> anyhow::Result<Self> {
        let committed: BTreeMap<TopicPartition, CommittedOffset> =
            admin.group_offsets(&group.group).await?.into_iter().collect();
        let mut owners: BTreeMap<TopicPartition, Option<&MemberDescription>> =
            committed.keys().map(|tp| (tp.clone(), None)).collect();
        for member in &group.members {
            owners.extend(member.assignment.iter().map(|tp| (tp.clone(), Some(member))));
        }
        let partitions: Vec<_> = owners.into_iter().collect();
        let named: Vec<TopicPartition> = partitions.iter().map(|(tp, _)| tp.clone()).collect();
        Ok(Self {
            group,
            ends: offsets_at(admin, &named, LATEST).await?,
            committed,
            partitions,
        })
    }

    fn lag(&self, tp: &TopicPartition) -> Option<i64> {
        let (end, committed) = self.ends.get(tp).zip(self.committed.get(tp))?;
        Some(end.saturating_sub(committed.offset).max(0))
    }

    fn object(&self) -> Value {
        let group = self.group;
        let offsets: Vec<Value> = self
            .partitions
            .iter()
            .map(|(tp, owner)| {
                let committed = self.committed.get(tp);
                json!({
                    "topic": &*tp.topic, "partition": tp.partition, "committed": committed.map(|it| it.offset),
                    "metadata": committed.map(|it| &it.metadata), "end": self.ends.get(tp), "lag": self.lag(tp),
                    "member_id": owner.map(|it| &it.member_id), "host": owner.map(|it| &it.host),
                    "client_id": owner.map(|it| &it.client_id),
                })
            })
            .collect();
        let members: Vec<Value> = group
            .members
            .iter()
            .map(|member| {
                json!({
                    "member_id": member.member_id, "client_id": member.client_id, "host": member.host,
                    "group_instance_id": member.group_instance_id, "topics": member.topics,
                })
            })
            .collect();
        json!({
            "group": group.group, "state": group.state, "protocol": group.protocol, "members": members, "offsets": offsets,
        })
    }

    /// The columns of `kafka-consumer-groups`, and its rows: a member without a partition has one too.
    fn print(&self, output: &mut Output) -> anyhow::Result<()> {
        let group = self.group;
        let protocol = match group.protocol.as_str() {
            "" => String::new(),
            protocol => format!(", assignor {protocol}"),
        };
        output.line(format!(
            "{}: {}, {}{protocol}",
            group.group,
            group.state,
            quantity::counted(group.members.len() as u64, "member")
        ))?;
        let idle = group.members.iter().filter(|member| member.assignment.is_empty());
        let rows: Vec<Vec<String>> = self
            .partitions
            .iter()
            .map(|(tp, owner)| self.row(Some(tp), *owner))
            .chain(idle.map(|member| self.row(None, Some(member))))
            .collect();
        if rows.is_empty() {
            return Ok(());
        }
        output.table(
            &[
                "TOPIC",
                "PARTITION",
                "CURRENT-OFFSET",
                "LOG-END-OFFSET",
                "LAG",
                "CONSUMER-ID",
                "HOST",
                "CLIENT-ID",
            ],
            &rows,
        )?;
        Ok(())
    }

    fn row(&self, tp: Option<&TopicPartition>, owner: Option<&MemberDescription>) -> Vec<String> {
        let number = |number: Option<i64>| number.map_or("-".to_owned(), |number| number.to_string());
        let word = |word: Option<&String>| word.map_or("-", String::as_str).to_owned();
        let committed = tp.and_then(|tp| self.committed.get(tp));
        vec![
            tp.map_or("-".to_owned(), |tp| tp.topic.to_string()),
            number(tp.map(|tp| tp.partition.into())),
            number(committed.map(|it| it.offset)),
            number(tp.and_then(|tp| self.ends.get(tp)).copied()),
            number(tp.and_then(|tp| self.lag(tp))),
            word(owner.map(|it| &it.member_id)),
            word(owner.map(|it| &it.host)),
            word(owner.map(|it| &it.client_id)),
        ]
    }
}
