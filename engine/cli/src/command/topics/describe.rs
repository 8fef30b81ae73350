//! `engine topics describe`.

use engine_client::{
    Admin,
    admin::{ConfigEntry, TopicDescription},
};
use serde_json::{Map, Value, json};

use crate::{
    command::{
        offsets::{EARLIEST, LATEST, offsets_at, partitions_of},
        refusals::all,
    },
    output::Output,
    quantity,
};

/// Prints one topic.
pub(super) async fn describe(
    admin: &Admin,
    topic: &TopicDescription,
    json: bool,
    output: &mut Output,
) -> anyhow::Result<()> {
    let described = Described::of(admin, topic).await?;
    if json {
        output.json(&described.object())?;
    } else {
        described.print(output)?;
    }
    Ok(())
}

/// The highest number of replicas: partitions differ while they are reassigned.
pub(super) fn replication_factor(topic: &TopicDescription) -> usize {
    let replicas = topic.partitions.iter().map(|partition| partition.replicas.len());
    replicas.max().unwrap_or(0)
}

struct Described<'a> {
    topic: &'a TopicDescription,
    /// The oldest offset and the end of each partition, in the topic's order; `None` while no leader tells.
    offsets: Vec<(Option<i64>, Option<i64>)>,
    /// Settings that are not the default.
    changed: Vec<ConfigEntry>,
}

impl<'a> Described<'a> {
    async fn of(admin: &Admin, topic: &'a TopicDescription) -> anyhow::Result<Self> {
        // Asking for the others would wait for a leader until the request times out.
        let led = topic.partitions.iter().filter(|partition| partition.leader.is_some());
        let led: Vec<i32> = led.map(|partition| partition.partition).collect();
        let mut partitions = partitions_of(topic);
        partitions.retain(|tp| led.contains(&tp.partition));
        let beginnings = offsets_at(admin, &partitions, EARLIEST).await?;
        let ends = offsets_at(admin, &partitions, LATEST).await?;
        let offsets = partitions_of(topic)
            .iter()
            .map(|tp| (beginnings.get(tp).copied(), ends.get(tp).copied()))
            .collect();
        let configs = all(
            "describe the settings of",
            admin.describe_configs(&[&topic.name]).await?,
        )?;
        let entries = configs.into_iter().flat_map(|(_, entries)| entries);
        Ok(Self {
            topic,
            offsets,
            changed: entries.filter(|entry| !entry.is_default).collect(),
        })
    }

    fn object(&self) -> Value {
        let topic = self.topic;
        let partitions: Vec<Value> = topic
            .partitions
            .iter()
            .zip(&self.offsets)
            .map(|(partition, (beginning, end))| {
                json!({
                    "partition": partition.partition,
                    "leader": partition.leader,
                    "leader_epoch": partition.leader_epoch,
                    "replicas": partition.replicas,
                    "in_sync_replicas": partition.in_sync_replicas,
                    "offline_replicas": partition.offline_replicas,
                    "beginning_offset": beginning,
                    "end_offset": end,
                })
            })
            .collect();
        let configs: Map<String, Value> = self
            .changed
            .iter()
            .map(|entry| (entry.name.clone(), entry.value.clone().into()))
            .collect();
        json!({
            "topic": topic.name, "topic_id": topic.topic_id, "internal": topic.is_internal,
            "replication_factor": replication_factor(topic), "partitions": partitions, "configs": configs,
        })
    }

    fn print(&self, output: &mut Output) -> anyhow::Result<()> {
        let topic = self.topic;
        output.line(format!(
            "{}: {}, replication factor {}{}",
            topic.name,
            quantity::counted(topic.partitions.len() as u64, "partition"),
            replication_factor(topic),
            topic.topic_id.as_ref().map_or(String::new(), |id| format!(", id {id}"))
        ))?;
        for entry in &self.changed {
            output.line(format!(
                "  {}={}",
                entry.name,
                entry.value.as_deref().unwrap_or("(secret)")
            ))?;
        }
        let optional = |number: Option<i64>| number.map_or("-".to_owned(), |number| number.to_string());
        let rows: Vec<Vec<String>> = topic
            .partitions
            .iter()
            .zip(&self.offsets)
            .map(|(partition, &(from, to))| {
                vec![
                    partition.partition.to_string(),
                    partition.leader.map_or("none".to_owned(), |leader| leader.to_string()),
                    list_of(&partition.replicas),
                    list_of(&partition.in_sync_replicas),
                    optional(from),
                    optional(to),
                    from.zip(to).map_or("-".to_owned(), |(from, to)| {
                        quantity::grouped(to.saturating_sub(from).max(0).unsigned_abs())
                    }),
                ]
            })
            .collect();
        output.table(
            &["PARTITION", "LEADER", "REPLICAS", "ISR", "BEGINNING", "END", "OFFSETS"],
            &rows,
        )?;
        Ok(())
    }
}

fn list_of(numbers: &[i32]) -> String {
    numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}
