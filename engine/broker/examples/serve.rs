//! Runs the embedded broker by hand, for trying any Kafka client against it.
//!
//! ```text
//! cargo run -p engine-broker --example serve -- [HOST:PORT] [DATA-DIRECTORY]
//!
//! kcat -b 127.0.0.1:9092 -P -t greetings <<< 'hello'
//! kcat -b 127.0.0.1:9092 -C -t greetings -e
//! ```
//!
//! Without a directory everything is in memory. Ends when standard input does, or on a signal; only the former
//! is a clean shutdown.

use std::error::Error;
use std::path::PathBuf;

use engine_broker::{Broker, BrokerConfig};
use tokio::io::AsyncReadExt;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_env_filter(filter())
        .init();
    let mut arguments = std::env::args().skip(1);
    let mut config = BrokerConfig::default();
    if let Some(listen) = arguments.next() {
        config.listen = listen.parse()?;
    }
    config.data = arguments.next().map(PathBuf::from);

    let broker = Broker::start(config).await?;
    println!("bootstrap.servers={}", broker.address());

    let mut input = tokio::io::stdin();
    while input.read(&mut [0; 1024]).await? > 0 {}
    broker.shutdown().await;
    Ok(())
}

/// `RUST_LOG`, or what an operator wants to see.
fn filter() -> tracing_subscriber::EnvFilter {
    tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into())
}
