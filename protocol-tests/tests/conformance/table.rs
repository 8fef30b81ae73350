//! The table, behaviour × broker, as Markdown and JSON.

use std::{
    fmt::Write,
    fs, io,
    path::{Path, PathBuf},
};

use serde_json::{Map, Value, json};

use crate::report::{Outcome, Report};

/// APIs whose versions decide which protocol the client speaks.
const TELLING_APIS: [&str; 7] = [
    "Produce",
    "Fetch",
    "Metadata",
    "ListOffsets",
    "JoinGroup",
    "InitProducerId",
    "AddPartitionsToTxn",
];

const PREFACE: &str = "\
# Conformance: behaviour × broker

Written by `scripts/conformance`, which starts each broker and runs the same tests, by nothing but its bootstrap address, on
all of them; not edited by hand. The JSON beside it has the versions of every API too.

✓ and the seconds it took (several behaviours run at the same time) · **FAILED** · – the broker cannot, and a user is told
so; the number leads to the reason.
";

/// Reads the reports and writes `into` with `.md` and `.json`. Columns are in the order of the reports.
pub(crate) fn write(reports: &[PathBuf], into: &Path) -> io::Result<()> {
    let read = |file: &PathBuf| {
        Report::read(file).map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", file.display())))
    };
    let reports = reports.iter().map(read).collect::<io::Result<Vec<_>>>()?;
    fs::write(into.with_extension("md"), markdown(&reports))?;
    fs::write(into.with_extension("json"), json_text(&reports))
}

/// A line for each broker, then one for each behaviour with what came of it on each broker.
fn json_text(reports: &[Report]) -> String {
    let brokers = reports.iter().map(|report| {
        let mut broker = report.to_json();
        if let Some(broker) = broker.as_object_mut() {
            broker.remove("behaviours");
        }
        broker.to_string()
    });
    let brokers: Vec<String> = brokers.collect();
    let behaviours = rows(reports).into_iter().map(|(area, behaviour)| {
        let results = reports.iter().filter_map(|report| {
            let mut result = report.result(area, behaviour)?.to_json();
            let result = result.as_object_mut()?;
            result.retain(|name, _| !matches!(name.as_str(), "area" | "behaviour"));
            Some((report.name.clone(), Value::Object(std::mem::take(result))))
        });
        let results: Map<String, Value> = results.collect();
        json!({"area": area, "behaviour": behaviour, "results": results}).to_string()
    });
    let behaviours: Vec<String> = behaviours.collect();
    let (brokers, behaviours) = (brokers.join(",\n"), behaviours.join(",\n"));
    format!("{{\n\"brokers\": [\n{brokers}\n],\n\"behaviours\": [\n{behaviours}\n]\n}}\n")
}

/// Area and behaviour, in the order in which the brokers' reports have them.
fn rows(reports: &[Report]) -> Vec<(&str, &str)> {
    let mut rows: Vec<(&str, &str)> = Vec::new();
    for behaviour in reports.iter().flat_map(|report| &report.behaviours) {
        let row = (behaviour.area.as_str(), behaviour.behaviour.as_str());
        if !rows.contains(&row) {
            rows.push(row);
        }
    }
    rows
}

fn markdown(reports: &[Report]) -> String {
    let mut text = PREFACE.to_owned();
    let (run, not_run): (Vec<&Report>, Vec<&Report>) = reports.iter().partition(|report| report.not_run.is_none());
    write_brokers(&mut text, &run);
    for report in not_run {
        let reason = report.not_run.as_deref().unwrap_or_default();
        let _ = writeln!(text, "\nNot run: {} ({}): {reason}.", report.name, report.software);
    }
    let mut reasons = Reasons::default();
    let mut area_before = "";
    for (area, behaviour) in rows(reports) {
        if area != area_before {
            area_before = area;
            let _ = writeln!(text, "\n## {area}\n");
            write_row(&mut text, "behaviour", run.iter().map(|report| report.name.clone()));
            write_row(&mut text, "---", run.iter().map(|_| "---".to_owned()));
        }
        let cells = run.iter().map(|report| match report.result(area, behaviour) {
            None => "not run".to_owned(),
            Some(it) => match &it.outcome {
                Outcome::Passed => format!("✓ {}", it.seconds),
                Outcome::Failed(message) => format!("**FAILED** [{}]", reasons.number(message)),
                Outcome::Cannot(reason) => format!("– [{}]", reasons.number(reason)),
            },
        });
        let cells: Vec<String> = cells.collect();
        write_row(&mut text, behaviour, cells.into_iter());
    }
    if !reasons.0.is_empty() {
        text.push_str("\n## Reasons\n\n");
    }
    for (number, reason) in reasons.0.iter().enumerate() {
        let reason = reason.split_whitespace().collect::<Vec<_>>().join(" ");
        let _ = writeln!(text, "{}. {reason}", number + 1);
    }
    text
}

fn write_brokers(text: &mut String, reports: &[&Report]) {
    text.push_str("\n## Brokers\n\n");
    let mut heads = vec!["nodes", "passed", "failed", "cannot", "seconds", "features in force"];
    heads.extend(TELLING_APIS);
    write_row(text, "broker | software", heads.iter().map(ToString::to_string));
    write_row(text, "--- | ---", heads.iter().map(|_| "---".to_owned()));
    for report in reports {
        let features: Vec<String> = report
            .features
            .iter()
            .map(|(name, level)| format!("{name} {level}"))
            .collect();
        let mut cells = vec![
            report.brokers.to_string(),
            report.passed().to_string(),
            report.failed().to_string(),
            report.cannot().to_string(),
            report.seconds.to_string(),
            features.join(", "),
        ];
        cells.extend(TELLING_APIS.iter().map(|api| match report.apis.get(*api) {
            Some((min, max)) => format!("{min}–{max}"),
            None => "none".into(),
        }));
        write_row(
            text,
            &format!("{} | {}", report.name, report.software),
            cells.into_iter(),
        );
    }
}

fn write_row(text: &mut String, first: &str, cells: impl Iterator<Item = String>) {
    let _ = write!(text, "| {first} |");
    for cell in cells {
        let _ = write!(text, " {cell} |");
    }
    text.push('\n');
}

/// Each reason once, by its number.
#[derive(Default)]
struct Reasons(Vec<String>);

impl Reasons {
    fn number(&mut self, reason: &str) -> usize {
        let known = self.0.iter().position(|known| known == reason);
        let place = known.unwrap_or_else(|| {
            self.0.push(reason.to_owned());
            self.0.len() - 1
        });
        place + 1
    }
}
