//! `engine`: the command line.
//!
//! One file per command under `command/`. Standard output carries results only; progress, logs and
//! prompts go to standard error. Exit codes: 0 done, 1 failed while running, 2 wrong usage or file,
//! 130 interrupted.
//! Never here: how anything works inside (see `engine-runtime`, `engine-client`, `engine-broker`).

mod arguments;
mod command;
mod connection;
mod failure;
mod global_options;
mod logging;
mod output;
mod quantity;
mod signal;
mod time_argument;

use std::process::ExitCode;

use clap::Parser;

use arguments::Arguments;

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // `--help` and `--version` are "errors" that go to standard output and succeed.
            let printed = error.print();
            let is_lost = |cause: &std::io::Error| cause.kind() != std::io::ErrorKind::BrokenPipe;
            return ExitCode::from(match (error.use_stderr(), printed) {
                (true, _) => failure::USAGE,
                (false, Err(cause)) if is_lost(&cause) => failure::FAILED,
                (false, _) => failure::DONE,
            });
        }
    };
    logging::start(&arguments.global);
    let json_errors = arguments.global.json;
    let outcome = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(anyhow::Error::from)
        .and_then(|runtime| {
            let outcome = runtime.block_on(command::run(arguments));
            // A read of the terminal that nobody answers must not hold the process up.
            runtime.shutdown_background();
            outcome
        });
    match outcome {
        Ok(()) => ExitCode::from(failure::DONE),
        Err(error) => ExitCode::from(failure::report(&error, json_errors)),
    }
}
