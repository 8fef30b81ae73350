//! `engine broker`: the embedded broker on its own.

use std::{
    net::{SocketAddr, ToSocketAddrs},
    path::PathBuf,
};

use clap::Args;
use engine_broker::{Broker, BrokerConfig, Fault};

use crate::{global_options::GlobalOptions, logging::notice, output, signal::StopSignal};

/// What `engine broker` takes.
#[derive(Debug, Args)]
pub(crate) struct BrokerArguments {
    /// Address to listen on; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:9092", value_parser = listen_address)]
    listen: SocketAddr,

    /// Keep topics and offsets in this folder; without it, everything is in memory
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,

    /// Host name that clients are told to connect to [default: the listen address]
    #[arg(long, value_name = "HOST")]
    advertise: Option<String>,

    /// Partitions of a topic that is created without a number
    #[arg(long, value_name = "N", default_value_t = BrokerConfig::default().default_partitions)]
    partitions: i32,

    /// Do not create topics on first use
    #[arg(long)]
    no_auto_create: bool,

    /// Misbehave on purpose, to try a client; --help tells how
    #[arg(long, value_name = "API:ACTION[=VALUE][,skip=N][,times=N]", long_help = FAULT_HELP)]
    fault: Vec<Fault>,
}

const FAULT_HELP: &str = "\
Misbehave on purpose, to try a client. More than once if wanted.

The next request of the API (or N of them, after N that pass) meets the action:
  error=CODE             it is answered with this error, such as NOT_LEADER_OR_FOLLOWER
  delay=TIME             it is handled after this long, such as 500ms or 2s
  throttle=TIME          its answer asks the client to wait, and the connection is not read as long
  silence                it is handled and never answered
  disconnect             the connection is closed before it is handled
  apply-then-disconnect  it is handled, then the connection is closed without an answer
  corrupt-crc            Fetch: the first batch of the answer has a wrong checksum
  move-leaders           all leader epochs go up; Produce is answered with NOT_LEADER_OR_FOLLOWER
  restart=TIME           the broker is gone before it is handled, and back after this long

Examples: --fault Produce:error=NOT_LEADER_OR_FOLLOWER,times=3 --fault EndTxn:apply-then-disconnect,skip=1";

/// An address, or a name of this machine such as `localhost`.
fn listen_address(text: &str) -> Result<SocketAddr, String> {
    let expected = |_| "expected ADDRESS:PORT, such as 127.0.0.1:9092 or 0.0.0.0:9092".to_owned();
    let addresses = text.to_socket_addrs().map_err(expected)?;
    // Clients try the addresses of `localhost` in turn; the older kind is the one they all have.
    let all: Vec<SocketAddr> = addresses.collect();
    let found = all.iter().find(|address| address.is_ipv4()).or(all.first());
    found.copied().ok_or_else(|| format!("{text} has no address"))
}

pub(crate) async fn run(arguments: BrokerArguments, global: &GlobalOptions) -> anyhow::Result<()> {
    let mut stop = StopSignal::listen()?;
    let place = arguments
        .data
        .as_ref()
        .map_or("in memory".to_owned(), |data| format!("in {}", data.display()));
    let broker = Broker::start(BrokerConfig {
        listen: arguments.listen,
        advertised_host: arguments.advertise,
        data: arguments.data,
        default_partitions: arguments.partitions,
        auto_create_topics: !arguments.no_auto_create,
        ..BrokerConfig::default()
    })
    .await?;
    arguments.fault.iter().for_each(|fault| broker.inject(*fault));
    let address = broker.address();
    let object = serde_json::json!({ "address": address.to_string() });
    output::print(&object, global.json, || address.to_string())?;
    if !global.quiet {
        notice(format_args!(
            "engine broker {}: listening on {address}, topics {place}; Ctrl-C stops",
            env!("CARGO_PKG_VERSION")
        ));
    }
    stop.requested().await;
    broker.shutdown().await;
    Ok(())
}
