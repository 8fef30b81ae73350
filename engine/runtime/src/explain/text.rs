//! The plan as text.

use std::fmt;

use super::{Column, Explanation};
use crate::config::values::show_duration;

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "pipeline {}", self.name)?;
        let none = || "none".to_owned();
        for (what, value) in [
            ("brokers", self.brokers.clone()),
            ("guarantee", self.guarantee.clone()),
            (
                "group",
                format!(
                    "{}, a process that died is replaced after {}",
                    self.group_id,
                    show_duration(self.session_timeout)
                ),
            ),
            ("transactions", self.transactions().unwrap_or_else(none)),
            ("state topic", self.state_topic.clone()),
            ("dead letters", self.dead_letter_topic.clone().unwrap_or_else(none)),
            ("server", self.server.clone().unwrap_or_else(none)),
        ] {
            writeln!(f, "  {what:<13}{value}")?;
        }
        for load in &self.generators {
            writeln!(
                f,
                "\ngenerator {} -> topic {}\n  {}",
                load.name, load.topic, load.details
            )?;
        }
        for node in &self.nodes {
            writeln!(f, "\n{} {} <- {}", node.kind, node.name, node.input)?;
            node.details.iter().try_for_each(|detail| writeln!(f, "  {detail}"))?;
            columns(f, &node.columns)?;
            node.state
                .iter()
                .try_for_each(|state| writeln!(f, "  state: {state}"))?;
        }
        for sink in &self.sinks {
            writeln!(f, "\nsink {} <- {}\n  {}", sink.name, sink.input, sink.target)?;
            for detail in &sink.details {
                writeln!(f, "  {detail}")?;
            }
            columns(f, &sink.columns)?;
        }
        Ok(())
    }
}

impl Explanation {
    fn transactions(&self) -> Option<String> {
        let timeout = show_duration(self.transaction_timeout?);
        let id = self.transactional_id.as_ref()?;
        Some(format!("{id}, one that is left open is aborted after {timeout}"))
    }
}

fn columns(f: &mut fmt::Formatter<'_>, columns: &[Column]) -> fmt::Result {
    let width = columns.iter().map(|column| column.name.len()).max().unwrap_or(0);
    columns.iter().try_for_each(|column| {
        let unread = if column.is_needed { "" } else { "  (not read)" };
        writeln!(f, "    {:<width$}  {}{unread}", column.name, column.r#type)
    })
}
