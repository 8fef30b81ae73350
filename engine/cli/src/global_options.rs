//! Options that every command takes.

use clap::{ArgAction, Args, ValueEnum};

/// The broker of a command that names none.
pub(crate) const DEFAULT_BOOTSTRAP_SERVERS: &str = "localhost:9092";

/// Options that mean the same everywhere.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Options of every command")]
pub(crate) struct GlobalOptions {
    /// Brokers to start from, separated by commas [default: localhost:9092]
    #[arg(long, short = 'b', global = true, value_name = "HOST:PORT,…")]
    pub(crate) bootstrap_servers: Option<String>,

    /// Any Kafka client option by its own name, for example `-X linger.ms=5`
    #[arg(short = 'X', global = true, value_name = "KEY=VALUE", value_parser = key_value)]
    pub(crate) property: Vec<(String, String)>,

    /// Results for machines: one JSON object per line
    #[arg(long, global = true)]
    pub(crate) json: bool,

    /// How log lines look
    #[arg(long, global = true, value_enum, default_value_t, value_name = "FORMAT")]
    pub(crate) log: LogFormat,

    /// Log more: -v information, -vv debugging, -vvv everything
    #[arg(short, long, global = true, action = ArgAction::Count, conflicts_with = "quiet")]
    pub(crate) verbose: u8,

    /// Errors only, no progress
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    #[default]
    Text,
    Json,
}

/// Splits `KEY=VALUE`; the value may contain `=` and may be empty.
pub(crate) fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => Ok((key.trim().to_owned(), value.to_owned())),
        _ => Err("expected KEY=VALUE".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_property_is_split_at_the_first_equals_sign() {
        assert_eq!(key_value("a.b=c=d"), Ok(("a.b".into(), "c=d".into())));
        assert_eq!(key_value("a="), Ok(("a".into(), "".into())));
        assert!(key_value("=a").is_err() && key_value("a").is_err());
    }
}
