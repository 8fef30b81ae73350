//! The command line, as `scripts/crash-loop` uses it.

use std::{path::PathBuf, str::FromStr, time::Duration};

use crate::brokers::BrokerKind;

pub(crate) const USAGE: &str = "\
usage: crash_loop --engine PATH --python PATH [OPTION]…

  --engine PATH        the binary to kill
  --python PATH        a Python with confluent-kafka and pyarrow
  --broker BROKER      embedded, or a version of Apache Kafka such as 3.9.2; 4.4.0x3 for three nodes [default: 4.4.0]
  --guarantee G        exactly_once or at_least_once [default: exactly_once]
  --demand G           what the verifier demands [default: the guarantee]
  --seed N             the plan; the same seed makes the same plan [default: from the clock]
  --kills N            processes to kill [default: 100]
  --round-kills N      how many of them before everything is verified and a new job begins [default: 50]
  --first-round N      begin with this round of the seed's plan [default: 0]
  --minutes N          begin no new step after this time
  --rate N             events per second [default: 1000]
  --no-broker-kills    leave the nodes of three, and the embedded broker, alone
  --keep-going         after a failure too
  --into DIR           logs and reports [default: target/crash-loop]";

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Arguments {
    pub(crate) engine: PathBuf,
    pub(crate) python: PathBuf,
    pub(crate) broker: BrokerKind,
    pub(crate) guarantee: String,
    pub(crate) demand: String,
    pub(crate) seed: u64,
    pub(crate) kills: usize,
    pub(crate) round_kills: usize,
    pub(crate) first_round: u64,
    pub(crate) time_limit: Option<Duration>,
    pub(crate) rate: u64,
    pub(crate) broker_kills: bool,
    pub(crate) keep_going: bool,
    pub(crate) into: PathBuf,
}

/// What to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Help,
    /// No engine was named.
    Nothing,
    Run(Box<Arguments>),
}

impl Command {
    /// `clock` is the seed where none is named.
    pub(crate) fn parse(mut arguments: impl Iterator<Item = String>, clock: u64) -> Result<Self, String> {
        let (mut engine, mut python) = (None, None);
        let mut run = Arguments {
            engine: PathBuf::new(),
            python: PathBuf::new(),
            broker: BrokerKind::from_str("4.4.0")?,
            guarantee: "exactly_once".to_owned(),
            demand: String::new(),
            seed: clock,
            kills: 100,
            round_kills: 50,
            first_round: 0,
            time_limit: None,
            rate: 1_000,
            broker_kills: true,
            keep_going: false,
            into: PathBuf::from("target/crash-loop"),
        };
        let mut is_empty = true;
        while let Some(argument) = arguments.next() {
            is_empty = false;
            let mut value = || arguments.next().ok_or_else(|| format!("{argument} needs a value"));
            match argument.as_str() {
                "--help" | "-h" => return Ok(Command::Help),
                "--engine" => engine = Some(value()?.into()),
                "--python" => python = Some(value()?.into()),
                "--broker" => run.broker = value()?.parse()?,
                "--guarantee" => run.guarantee = guarantee(&argument, value()?)?,
                "--demand" => run.demand = guarantee(&argument, value()?)?,
                "--seed" => run.seed = number(&argument, &value()?)?,
                "--kills" => run.kills = number(&argument, &value()?)?,
                "--round-kills" => run.round_kills = number(&argument, &value()?)?,
                "--first-round" => run.first_round = number(&argument, &value()?)?,
                "--minutes" => run.time_limit = Some(Duration::from_secs(60 * number::<u64>(&argument, &value()?)?)),
                "--rate" => run.rate = number(&argument, &value()?)?,
                "--into" => run.into = value()?.into(),
                "--no-broker-kills" => run.broker_kills = false,
                "--keep-going" => run.keep_going = true,
                other => return Err(format!("unknown argument '{other}'")),
            }
        }
        if is_empty {
            return Ok(Command::Nothing);
        }
        if run.demand.is_empty() {
            run.demand.clone_from(&run.guarantee);
        }
        run.engine = engine.ok_or("--engine is missing")?;
        run.python = python.ok_or("--python is missing")?;
        if run.round_kills == 0 || run.rate == 0 {
            return Err("--round-kills and --rate are at least 1".to_owned());
        }
        Ok(Command::Run(Box::new(run)))
    }
}

fn number<T: FromStr>(argument: &str, text: &str) -> Result<T, String> {
    text.parse()
        .map_err(|_| format!("{argument} is a number, not '{text}'"))
}

fn guarantee(argument: &str, text: String) -> Result<String, String> {
    match text.as_str() {
        "exactly_once" | "at_least_once" => Ok(text),
        _ => Err(format!("{argument} is exactly_once or at_least_once, not '{text}'")),
    }
}
