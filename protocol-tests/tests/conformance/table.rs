//! The table, behaviour × broker, as Markdown and JSON.

use std::{
    fmt::Write,
    fs, io,
    path::{Path, PathBuf},
};

use serde_json::json;

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

Written by `scripts/conformance --all`, which starts each broker and runs the same tests, by nothing but its bootstrap
address, on all of them; not edited by hand. The same as JSON, with every API's versions: `table.json`.

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
    let json = json!({"brokers": reports.iter().map(Report::to_json).collect::<Vec<_>>()});
    fs::write(into.with_extension("json"), format!("{json:#}\n"))
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
    let mut rows: Vec<(&str, &str)> = Vec::new();
    for behaviour in run.iter().flat_map(|report| &report.behaviours) {
        let row = (behaviour.area.as_str(), behaviour.behaviour.as_str());
        if !rows.contains(&row) {
            rows.push(row);
        }
    }
    let mut area_before = "";
    for (area, behaviour) in rows {
        if area != area_before {
            area_before = area;
            let _ = writeln!(text, "\n## {area}\n");
            write_row(&mut text, "behaviour", run.iter().map(|report| report.name.clone()));
            write_row(&mut text, "---", run.iter().map(|_| "---".to_owned()));
        }
        let cells = run.iter().map(|report| {
            let mut there = report.behaviours.iter();
            match there.find(|it| it.area == area && it.behaviour == behaviour) {
                None => "not run".to_owned(),
                Some(it) => match &it.outcome {
                    Outcome::Passed => format!("✓ {}", it.seconds),
                    Outcome::Failed(message) => format!("**FAILED** [{}]", reasons.number(message)),
                    Outcome::Cannot(reason) => format!("– [{}]", reasons.number(reason)),
                },
            }
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
