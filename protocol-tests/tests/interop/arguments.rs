//! The command line, as `scripts/interop` uses it.

use std::path::PathBuf;

pub(crate) const USAGE: &str = "\
usage: interop [--bootstrap ADDRESS] [--broker NAME] --peer NAME=COMMAND… [--missing NAME=REASON]… [--report FILE] [FILTER]
       interop --table FILE REPORT…

  --bootstrap ADDRESS    a broker; without it an embedded one is started
  --broker NAME          what the table calls the broker
  --peer NAME=COMMAND    a client to talk to; the command is split at spaces
  --missing NAME=REASON  a client that is not there
  --report FILE          write the results as JSON
  --table FILE REPORT…   write FILE.md and FILE.json from reports
  FILTER                 only behaviours with this in their names";

/// What to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Help,
    /// No peers were named.
    Nothing,
    Run(Arguments),
    Table {
        reports: Vec<PathBuf>,
        into: PathBuf,
    },
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Arguments {
    pub(crate) bootstrap: Option<String>,
    pub(crate) broker_name: String,
    /// Name and command line.
    pub(crate) peers: Vec<(String, Vec<String>)>,
    /// Name and reason.
    pub(crate) missing: Vec<(String, String)>,
    pub(crate) report: Option<PathBuf>,
    pub(crate) filter: String,
}

impl Command {
    /// `--quiet` and its like, with which a test runner calls every test program, are passed over.
    pub(crate) fn is_of_a_runner(argument: &str) -> bool {
        matches!(argument, "-q" | "--quiet" | "--nocapture" | "--list" | "--ignored")
            || argument.starts_with("--format")
            || argument.starts_with("--test-threads")
    }
}

impl Arguments {
    pub(crate) fn parse(arguments: impl Iterator<Item = String>) -> Result<Command, String> {
        let mut parsed = Arguments {
            bootstrap: None,
            broker_name: "embedded broker".to_owned(),
            peers: Vec::new(),
            missing: Vec::new(),
            report: None,
            filter: String::new(),
        };
        let mut table = None;
        let mut plain = Vec::new();
        let mut arguments = arguments;
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
            match argument.as_str() {
                "--help" | "-h" => return Ok(Command::Help),
                "--bootstrap" => parsed.bootstrap = Some(value()?),
                "--broker" => parsed.broker_name = value()?,
                "--peer" => {
                    let (name, command) = named(&value()?)?;
                    let command = command.split(' ').map(str::to_owned).collect();
                    parsed.peers.push((name, command));
                }
                "--missing" => parsed.missing.push(named(&value()?)?),
                "--report" => parsed.report = Some(value()?.into()),
                "--table" => table = Some(PathBuf::from(value()?)),
                runner if Command::is_of_a_runner(runner) => {}
                option if option.starts_with('-') => return Err(format!("there is no {option}")),
                _ => plain.push(argument),
            }
        }
        if let Some(into) = table {
            let reports = plain.into_iter().map(PathBuf::from).collect();
            return Ok(Command::Table { reports, into });
        }
        parsed.filter = plain.concat();
        match parsed.peers.is_empty() && parsed.missing.is_empty() {
            true => Ok(Command::Nothing),
            false => Ok(Command::Run(parsed)),
        }
    }
}

fn named(value: &str) -> Result<(String, String), String> {
    let (name, rest) = value.split_once('=').ok_or(format!("expected NAME=…, not {value:?}"))?;
    Ok((name.to_owned(), rest.to_owned()))
}
