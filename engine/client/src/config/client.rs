//! What every role needs: where the cluster is, how to connect, how long to wait.

use std::time::Duration;

use super::property::{
    Property, PropertyError, Schema, bytes_positive, check_durations, complete, millis, millis_positive, one_of,
    properties, socket_buffer,
};

/// What to do when no broker that is known answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MetadataRecoveryStrategy {
    /// Start again from `bootstrap.servers`, whose names are resolved anew (KIP-899).
    #[default]
    Rebootstrap,
    /// Go on asking those that are known.
    None,
}

/// Connection settings, also those of the admin client.
///
/// Defaults are those of the Java client unless a field says otherwise.
#[derive(Debug, Clone, PartialEq)]
pub struct ClientConfig {
    /// `bootstrap.servers`: `host:port` of brokers to start from. Required.
    pub bootstrap_servers: Vec<String>,
    /// `client.id`: shown in the brokers' logs and quotas. Default `engine`.
    pub client_id: String,
    /// `request.timeout.ms`: how long a request may take before its connection is given up. Default 30 s.
    pub request_timeout: Duration,
    /// `default.api.timeout.ms`: how long an operation of several requests may take. Default 60 s.
    pub default_api_timeout: Duration,
    /// `metadata.max.age.ms`: metadata is refreshed at least this often. Default 5 min.
    pub metadata_age_max: Duration,
    /// `metadata.recovery.strategy`. Default rebootstrap.
    pub metadata_recovery_strategy: MetadataRecoveryStrategy,
    /// `metadata.recovery.rebootstrap.trigger.ms`: brokers that give no metadata for so long are not asked any more,
    /// only `bootstrap.servers` are, until one of them answers (KIP-1102). A request that waits for its answer is
    /// waited for first. Default 5 min.
    pub metadata_recovery_rebootstrap_trigger: Duration,
    /// `retry.backoff.ms`: the wait before a first retry. Default 100 ms.
    pub retry_backoff: Duration,
    /// `retry.backoff.max.ms`: the longest wait between retries. Default 1 s.
    pub retry_backoff_max: Duration,
    /// `reconnect.backoff.ms`: the wait before a first reconnect. Default 50 ms.
    pub reconnect_backoff: Duration,
    /// `reconnect.backoff.max.ms`: the longest wait between reconnects. Default 1 s.
    pub reconnect_backoff_max: Duration,
    /// `connections.max.idle.ms`: unused connections are closed after this time. Default 3.5 min,
    /// not Java's 9, because cloud load balancers drop silent connections after 4.
    pub connections_idle_max: Duration,
    /// `socket.connection.setup.timeout.ms`: how long a connection may take to open. Default 10 s.
    pub connection_setup_timeout: Duration,
    /// `send.buffer.bytes`; `None` (-1, the default here) leaves the operating system's size.
    pub send_buffer_bytes: Option<usize>,
    /// `receive.buffer.bytes`; `None` (-1, the default here) leaves the operating system's size.
    pub receive_buffer_bytes: Option<usize>,
    /// `receive.message.max.bytes`: a response larger than this closes the connection. Default 100 MiB.
    pub frame_bytes_max: usize,
    /// `allow.auto.create.topics`: whether asking for a topic may create it. Default true.
    pub allow_auto_create_topics: bool,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            bootstrap_servers: Vec::new(),
            client_id: "engine".into(),
            request_timeout: Duration::from_secs(30),
            default_api_timeout: Duration::from_secs(60),
            metadata_age_max: Duration::from_secs(300),
            metadata_recovery_strategy: MetadataRecoveryStrategy::default(),
            metadata_recovery_rebootstrap_trigger: Duration::from_secs(300),
            retry_backoff: Duration::from_millis(100),
            retry_backoff_max: Duration::from_secs(1),
            reconnect_backoff: Duration::from_millis(50),
            reconnect_backoff_max: Duration::from_secs(1),
            connections_idle_max: Duration::from_secs(210),
            connection_setup_timeout: Duration::from_secs(10),
            send_buffer_bytes: None,
            receive_buffer_bytes: None,
            frame_bytes_max: 100 * 1024 * 1024,
            allow_auto_create_topics: true,
        }
    }
}

impl ClientConfig {
    /// Defaults with one bootstrap server, or with several that commas separate.
    pub fn new(bootstrap_servers: impl Into<String>) -> Self {
        let bootstrap_servers = bootstrap_servers.into();
        let servers = bootstrap_servers.split(',').map(|server| server.trim().to_owned());
        Self {
            bootstrap_servers: servers.collect(),
            ..Self::default()
        }
    }

    /// Reads Kafka's dotted names; all mistakes at once.
    ///
    /// ```
    /// let config = engine_client::ClientConfig::from_properties([
    ///     ("bootstrap.servers", "one:9092,two:9092"),
    ///     ("request.timeout.ms", "20000"),
    /// ]);
    /// assert_eq!(config.unwrap().bootstrap_servers, ["one:9092", "two:9092"]);
    ///
    /// let mistakes = engine_client::ClientConfig::from_properties([("bootstrap.server", "one:9092")]);
    /// assert_eq!(
    ///     mistakes.unwrap_err()[0].to_string(),
    ///     "unknown property `bootstrap.server`, did you mean `bootstrap.servers`?",
    /// );
    /// ```
    pub fn from_properties<'a>(
        properties: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, Vec<PropertyError>> {
        let mut config = Self::default();
        let schema = Schema {
            tables: &[CLIENT],
            elsewhere: &[],
        };
        schema.read(&mut config, properties)?;
        complete(config.clone(), config.validate())
    }

    /// What contradicts or is missing, whichever way the struct was made.
    pub fn validate(&self) -> Vec<PropertyError> {
        let mut errors = Vec::new();
        if self.bootstrap_servers.is_empty() {
            errors.push(PropertyError::Missing {
                name: "bootstrap.servers",
            });
        }
        let durations = [
            ("request.timeout.ms", self.request_timeout),
            ("default.api.timeout.ms", self.default_api_timeout),
            ("metadata.max.age.ms", self.metadata_age_max),
            (
                "metadata.recovery.rebootstrap.trigger.ms",
                self.metadata_recovery_rebootstrap_trigger,
            ),
            ("retry.backoff.ms", self.retry_backoff),
            ("retry.backoff.max.ms", self.retry_backoff_max),
            ("reconnect.backoff.ms", self.reconnect_backoff),
            ("reconnect.backoff.max.ms", self.reconnect_backoff_max),
            ("connections.max.idle.ms", self.connections_idle_max),
            ("socket.connection.setup.timeout.ms", self.connection_setup_timeout),
        ];
        check_durations(&durations, &mut errors);
        for (low_name, low, high_name, high) in [
            (
                "retry.backoff.ms",
                self.retry_backoff,
                "retry.backoff.max.ms",
                self.retry_backoff_max,
            ),
            (
                "reconnect.backoff.ms",
                self.reconnect_backoff,
                "reconnect.backoff.max.ms",
                self.reconnect_backoff_max,
            ),
            (
                "request.timeout.ms",
                self.request_timeout,
                "default.api.timeout.ms",
                self.default_api_timeout,
            ),
        ] {
            if low > high {
                errors.push(PropertyError::Contradiction(format!(
                    "`{low_name}` ({} ms) is more than `{high_name}` ({} ms)",
                    low.as_millis(),
                    high.as_millis()
                )));
            }
        }
        errors
    }
}

/// A role that contains connection settings.
pub(super) trait HasClient {
    fn client(&mut self) -> &mut ClientConfig;
}

impl HasClient for ClientConfig {
    fn client(&mut self) -> &mut ClientConfig {
        self
    }
}

const CLIENT: &[Property<ClientConfig>] = &client_properties();

/// The table of connection properties, for any role.
pub(super) const fn client_properties<C: HasClient>() -> [Property<C>; 17] {
    properties! { |c, value|
        "bootstrap.servers" => c.client().bootstrap_servers = servers(value)?,
        "client.id" => c.client().client_id = value.into(),
        "request.timeout.ms" => c.client().request_timeout = millis_positive(value)?,
        "default.api.timeout.ms" => c.client().default_api_timeout = millis_positive(value)?,
        "metadata.max.age.ms" => c.client().metadata_age_max = millis_positive(value)?,
        "metadata.recovery.strategy" => c.client().metadata_recovery_strategy = recovery_strategy(value)?,
        "metadata.recovery.rebootstrap.trigger.ms" => {
            c.client().metadata_recovery_rebootstrap_trigger = millis(value)?
        },
        "retry.backoff.ms" => c.client().retry_backoff = millis(value)?,
        "retry.backoff.max.ms" => c.client().retry_backoff_max = millis(value)?,
        "reconnect.backoff.ms" => c.client().reconnect_backoff = millis(value)?,
        "reconnect.backoff.max.ms" => c.client().reconnect_backoff_max = millis(value)?,
        "connections.max.idle.ms" => c.client().connections_idle_max = millis_positive(value)?,
        "socket.connection.setup.timeout.ms" => c.client().connection_setup_timeout = millis_positive(value)?,
        "send.buffer.bytes" => c.client().send_buffer_bytes = socket_buffer(value)?,
        "receive.buffer.bytes" => c.client().receive_buffer_bytes = socket_buffer(value)?,
        "receive.message.max.bytes" => c.client().frame_bytes_max = bytes_positive(value)?,
        "security.protocol" => plaintext(value)?,
    }
}

fn recovery_strategy(value: &str) -> Result<MetadataRecoveryStrategy, String> {
    let choices = [
        ("rebootstrap", MetadataRecoveryStrategy::Rebootstrap),
        ("none", MetadataRecoveryStrategy::None),
    ];
    one_of(value, &choices)
}

fn plaintext(value: &str) -> Result<(), String> {
    let choice = one_of(value, &[("PLAINTEXT", ())]);
    choice.map_err(|_| "only `PLAINTEXT` is there so far; TLS and SASL come in a later version".into())
}

/// A name, an IPv4 address, or an IPv6 address in brackets; which one there is, is seen when it is looked up.
fn is_host(text: &str) -> bool {
    match text.strip_prefix('[') {
        Some(rest) => rest
            .strip_suffix(']')
            .is_some_and(|host| !host.is_empty() && !host.contains(['[', ']', '/'])),
        None => !text.is_empty() && !text.contains([':', '/', '[', ']', '@']) && !text.contains(char::is_whitespace),
    }
}

fn server_advice(server: &str) -> &'static str {
    if server.contains("://") {
        "; write it without what is before `://`"
    } else if server.matches(':').count() > 1 && !server.contains(['[', '/']) {
        "; an IPv6 address stands in brackets, such as `[::1]:9092`"
    } else {
        ""
    }
}

fn servers(value: &str) -> Result<Vec<String>, String> {
    let servers: Vec<String> = value
        .split(',')
        .map(|server| server.trim().to_owned())
        .filter(|server| !server.is_empty())
        .collect();
    for server in &servers {
        let parts = server.rsplit_once(':').filter(|(host, _)| is_host(host));
        if !parts.is_some_and(|(_, port)| port.parse::<u16>().is_ok_and(|port| port > 0)) {
            return Err(format!("`{server}` is not `host:port`{}", server_advice(server)));
        }
    }
    if servers.is_empty() {
        return Err("expected `host:port`, several separated by commas".into());
    }
    Ok(servers)
}
