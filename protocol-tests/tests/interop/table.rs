//! The matrix, behaviour × peer, as Markdown and JSON.

use std::{
    fmt::Write,
    fs, io,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

use crate::behaviour::Outcome;
use crate::report::{Cell, Column, Report};

const PREFACE: &str = "\
# Interoperability: behaviour × peer

Written by `scripts/interop`, which runs the same behaviours with every peer on one broker; not edited by hand. `README.md`
beside it says what the peers are. The same as JSON: `matrix.json`.

✓ both agree, record by record, with a number except for what is said there · **FAILED** · – the peer's client cannot · missing: the peer was not installed.
";

/// Writes `into` with `.md` and `.json`, a section for each report.
pub(crate) fn write(reports: &[PathBuf], into: &Path) -> io::Result<()> {
    let reports = reports
        .iter()
        .map(|file| {
            Report::read(file).map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", file.display())))
        })
        .collect::<io::Result<Vec<_>>>()?;
    let mut text = PREFACE.to_owned();
    for report in &reports {
        write_report(&mut text, report);
    }
    fs::write(into.with_extension("md"), text)?;
    let brokers: Vec<Value> = reports.iter().map(Report::to_json).collect();
    fs::write(
        into.with_extension("json"),
        format!("{:#}\n", json!({"brokers": brokers})),
    )
}

fn write_report(text: &mut String, report: &Report) {
    let _ = writeln!(text, "\n## {}\n", report.broker);
    let clients = report.columns.iter().map(|column| match &column.client {
        Ok(client) => client.clone(),
        Err(reason) => format!("missing: {reason}"),
    });
    write_row(text, "", report.columns.iter().map(|column| column.peer.clone()));
    write_row(text, "---", report.columns.iter().map(|_| "---".to_owned()));
    write_row(text, "client", clients);

    let mut reasons: Vec<String> = Vec::new();
    let mut rows: Vec<(&str, &str)> = Vec::new();
    for cell in report.columns.iter().flat_map(|column| &column.cells) {
        if !rows.contains(&(&cell.area, &cell.behaviour)) {
            rows.push((&cell.area, &cell.behaviour));
        }
    }
    for (area, behaviour) in rows {
        let cells: Vec<String> = report
            .columns
            .iter()
            .map(|column| mark(find(column, area, behaviour), &mut reasons))
            .collect();
        write_row(text, &format!("{area}: {behaviour}"), cells.into_iter());
    }
    for (at, reason) in reasons.iter().enumerate() {
        let line_break = if at == 0 { "\n" } else { "" };
        let _ = writeln!(text, "{line_break}{}. {reason}", at + 1);
    }
}

fn find<'a>(column: &'a Column, area: &str, behaviour: &str) -> Option<&'a Cell> {
    let mut cells = column.cells.iter();
    cells.find(|cell| cell.area == area && cell.behaviour == behaviour)
}

fn mark(cell: Option<&Cell>, reasons: &mut Vec<String>) -> String {
    let mut number = |reason: &String| {
        let known = reasons.iter().position(|it| it == reason);
        known.unwrap_or_else(|| {
            reasons.push(reason.clone());
            reasons.len() - 1
        }) + 1
    };
    match cell.map(|cell| &cell.outcome) {
        None => "not run".to_owned(),
        Some(Outcome::Passed) => "✓".to_owned(),
        Some(Outcome::PassedExcept(reason)) => format!("✓ [{}]", number(reason)),
        Some(Outcome::Failed(reason)) => format!("**FAILED** [{}]", number(reason)),
        Some(Outcome::Cannot(reason)) => format!("– [{}]", number(reason)),
    }
}

fn write_row(text: &mut String, first: &str, cells: impl Iterator<Item = String>) {
    let cells: Vec<String> = cells.map(|cell| cell.replace('|', "\\|")).collect();
    let _ = writeln!(text, "| {first} | {} |", cells.join(" | "));
}
