//! From `--bootstrap-servers` and `-X` to a client configuration.

use anyhow::Context;
use engine_client::{Admin, ClientConfig, ConsumerConfig, ProducerConfig, PropertyError};

use crate::{
    failure::UsageError,
    global_options::{DEFAULT_BOOTSTRAP_SERVERS, GlobalOptions},
};

/// The options as Kafka properties. What `-X` says wins over `ours`, which are a command's own defaults.
fn properties(options: &GlobalOptions, ours: &[(&str, &str)]) -> Vec<(String, String)> {
    let mut properties: Vec<(String, String)> = Vec::new();
    let servers = options.bootstrap_servers.as_deref();
    let given = options
        .property
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()));
    for (name, value) in [
        ("bootstrap.servers", DEFAULT_BOOTSTRAP_SERVERS),
        ("client.id", "engine-cli"),
    ]
    .into_iter()
    .chain(ours.iter().copied())
    .chain(given)
    .chain(servers.map(|servers| ("bootstrap.servers", servers)))
    {
        properties.retain(|(existing, _)| existing != name);
        properties.push((name.to_owned(), value.to_owned()));
    }
    properties
}

/// A consumer's configuration; `ours` gives way to `-X`.
pub(crate) fn consumer_config(options: &GlobalOptions, ours: &[(&str, &str)]) -> Result<ConsumerConfig, UsageError> {
    let properties = properties(options, ours);
    ConsumerConfig::from_properties(pairs(&properties)).map_err(|errors| mistakes(&errors))
}

/// A producer's configuration; `ours` gives way to `-X`.
pub(crate) fn producer_config(options: &GlobalOptions, ours: &[(&str, &str)]) -> Result<ProducerConfig, UsageError> {
    let properties = properties(options, ours);
    if properties.iter().any(|(name, _)| name == "transactional.id") {
        return Err(UsageError(
            "`transactional.id` is for programs that begin and commit; this command sends without transactions".into(),
        ));
    }
    ProducerConfig::from_properties(pairs(&properties)).map_err(|errors| mistakes(&errors))
}

/// Connects for administration.
pub(crate) async fn admin(options: &GlobalOptions) -> anyhow::Result<Admin> {
    let properties = properties(options, &[]);
    let config = ClientConfig::from_properties(pairs(&properties)).map_err(|errors| mistakes(&errors))?;
    connect_admin(config).await
}

/// Connects for administration with options that are resolved already.
pub(crate) async fn connect_admin(config: ClientConfig) -> anyhow::Result<Admin> {
    let servers = config.bootstrap_servers.join(",");
    Admin::connect(config).await.with_context(|| unreachable(&servers))
}

/// What could not be done when a client does not connect.
pub(crate) fn unreachable(servers: &str) -> String {
    format!("cannot reach the cluster at {servers}")
}

fn pairs(properties: &[(String, String)]) -> impl Iterator<Item = (&str, &str)> {
    properties.iter().map(|(name, value)| (name.as_str(), value.as_str()))
}

fn mistakes(errors: &[PropertyError]) -> UsageError {
    UsageError(
        errors
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("\nerror: "),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::global_options::LogFormat;

    fn options(servers: Option<&str>, property: &[(&str, &str)]) -> GlobalOptions {
        GlobalOptions {
            bootstrap_servers: servers.map(str::to_owned),
            property: property
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            json: false,
            log: LogFormat::Text,
            verbose: 0,
            quiet: false,
        }
    }

    #[test]
    fn a_given_property_wins_over_the_command_s_own() {
        let config = producer_config(&options(None, &[("linger.ms", "7")]), &[("linger.ms", "50")]).unwrap();
        assert_eq!(config.linger.as_millis(), 7);
        assert_eq!(config.client.bootstrap_servers, [DEFAULT_BOOTSTRAP_SERVERS]);
    }

    #[test]
    fn the_flag_names_the_brokers() {
        let config = consumer_config(&options(Some("one:1,two:2"), &[]), &[]).unwrap();
        assert_eq!(config.client.bootstrap_servers, ["one:1", "two:2"]);
    }

    #[test]
    fn all_mistakes_are_told_at_once() {
        let error = consumer_config(&options(None, &[("group.idd", "x"), ("session.timeout.ms", "y")]), &[])
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("group.id") && error.contains("session.timeout.ms"),
            "{error}"
        );
    }
}
