//! Log lines go to standard error, as text or as JSON; `RUST_LOG` overrides `-v` and `-q`.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;

use crate::global_options::{GlobalOptions, LogFormat};

pub(crate) fn start(options: &GlobalOptions) {
    let level = match (options.quiet, options.verbose) {
        (true, _) => "error",
        (false, 0) => "warn",
        (false, 1) => "info",
        (false, 2) => "debug",
        (false, _) => "trace",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        // Its own complaint about a full standard error would go there too, and panic.
        .log_internal_errors(false)
        .with_target(options.verbose > 1)
        .with_ansi(io::stderr().is_terminal());
    match options.log {
        LogFormat::Text => builder.init(),
        LogFormat::Json => builder.json().flatten_event(true).init(),
    }
}
