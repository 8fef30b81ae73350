//! The command line: our own options, and those of the standard test harness that runners pass along.

use std::path::PathBuf;

use crate::behaviour::Behaviour;

pub(crate) const USAGE: &str = "\
usage: conformance [OPTION]… [NAME]…       runs the behaviours that have one of these in their name, or all

  --bootstrap HOST:PORT,…    the broker to test (default: an embedded broker of this process)
  --name NAME                its column in the table (default: embedded)
  --software TEXT            what it is, for the table
  --report FILE              writes the results as JSON
  --concurrency N            behaviours at the same time (default 8)
  --exact, --skip NAME, --list, --ignored and the like as in any Rust test
  --table FILE [REPORT]…     makes FILE.md and FILE.json of reports";

/// What to do.
#[derive(Debug)]
pub(crate) enum Command {
    Run(Arguments),
    List(Arguments),
    Table { reports: Vec<PathBuf>, into: PathBuf },
    Help,
}

/// Of a run.
#[derive(Debug)]
pub(crate) struct Arguments {
    pub(crate) bootstrap: Option<String>,
    pub(crate) name: String,
    pub(crate) software: String,
    pub(crate) report: Option<PathBuf>,
    pub(crate) concurrency: usize,
    names: Vec<String>,
    skipped: Vec<String>,
    is_exact: bool,
    only_ignored: bool,
}

impl Arguments {
    pub(crate) fn parse(mut given: impl Iterator<Item = String>) -> Result<Command, String> {
        let mut arguments = Self {
            bootstrap: None,
            name: "embedded".into(),
            software: concat!("engine-broker ", env!("CARGO_PKG_VERSION")).into(),
            report: None,
            concurrency: 8,
            names: Vec::new(),
            skipped: Vec::new(),
            is_exact: false,
            only_ignored: false,
        };
        let (mut is_list, mut table) = (false, None);
        while let Some(argument) = given.next() {
            let mut value = || given.next().ok_or_else(|| format!("{argument} needs a value"));
            match argument.as_str() {
                "--help" | "-h" => return Ok(Command::Help),
                "--bootstrap" => arguments.bootstrap = Some(value()?),
                "--name" => arguments.name = value()?,
                "--software" => arguments.software = value()?,
                "--report" => arguments.report = Some(value()?.into()),
                "--concurrency" => {
                    let number = value()?;
                    let number = number.parse().ok().filter(|number| *number > 0);
                    arguments.concurrency = number.ok_or("--concurrency is a positive number")?;
                }
                "--table" => table = Some(PathBuf::from(value()?)),
                "--list" => is_list = true,
                "--exact" => arguments.is_exact = true,
                "--skip" => arguments.skipped.push(value()?),
                "--ignored" => arguments.only_ignored = true,
                // Of the standard harness; they change nothing here.
                "--include-ignored" | "--nocapture" | "--no-capture" | "--quiet" | "-q" | "--show-output" => {}
                "--format" | "--test-threads" | "--color" | "-Z" => drop(value()?),
                option if option.starts_with("--format=") || option.starts_with("--color=") => {}
                option if option.starts_with("--test-threads=") => {}
                option if option.starts_with('-') => return Err(format!("unknown option {option}")),
                name => arguments.names.push(name.into()),
            }
        }
        Ok(match table {
            Some(into) => Command::Table {
                reports: arguments.names.iter().map(PathBuf::from).collect(),
                into,
            },
            None if is_list => Command::List(arguments),
            None => Command::Run(arguments),
        })
    }

    /// Whether the names on the command line mean this one. No behaviour is ignored.
    pub(crate) fn selects(&self, behaviour: &Behaviour) -> bool {
        let matches = |name: &String| match self.is_exact {
            true => behaviour.name == name,
            false => behaviour.name.contains(name.as_str()),
        };
        let is_named = self.names.is_empty() || self.names.iter().any(matches);
        is_named && !self.skipped.iter().any(matches) && !self.only_ignored
    }
}
