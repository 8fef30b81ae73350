//! How a command fails: the message on standard error and the exit code.

use engine_runtime::error_chain;

use crate::{logging, output::OutputError};

/// Exit code: done.
pub(crate) const DONE: u8 = 0;
/// Exit code: failed while running.
pub(crate) const FAILED: u8 = 1;
/// Exit code: wrong usage or a wrong file.
pub(crate) const USAGE: u8 = 2;
/// Exit code: interrupted by a signal.
pub(crate) const INTERRUPTED: u8 = 130;

/// A mistake in what was typed or in a file; the message is shown as it is.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct UsageError(pub(crate) String);

/// A message that is complete in itself, such as diagnostics with their carets.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct FileMistakes(pub(crate) String);

/// A signal ended the command before it was done. Nothing more needs to be said.
#[derive(Debug, thiserror::Error)]
#[error("interrupted")]
pub(crate) struct Interrupted;

/// Tells the user and gives the exit code.
pub(crate) fn report(error: &anyhow::Error, json: bool) -> u8 {
    if is_broken_pipe(error) {
        return DONE; // Whoever read our output has seen enough, as `head` does.
    }
    if error.is::<Interrupted>() {
        return INTERRUPTED;
    }
    let code = if error.is::<UsageError>() || error.is::<FileMistakes>() {
        USAGE
    } else {
        FAILED
    };
    let text = error_chain::describe(error.as_ref());
    let line = if error.is::<FileMistakes>() {
        text.trim_end().to_owned()
    } else {
        format!("error: {text}")
    };
    logging::failure(&text, &line, code, json);
    code
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<OutputError>()
        .is_some_and(OutputError::is_broken_pipe)
}

#[cfg(test)]
mod tests {
    use std::io;

    use anyhow::Context;

    use super::*;

    #[test]
    fn each_kind_of_failure_has_its_exit_code() {
        for (error, code) in [
            (anyhow::anyhow!("boom"), FAILED),
            (UsageError("what?".into()).into(), USAGE),
            (FileMistakes("a.toml:1:1".into()).into(), USAGE),
            (Interrupted.into(), INTERRUPTED),
            (
                OutputError::from(io::Error::from(io::ErrorKind::BrokenPipe)).into(),
                DONE,
            ),
            (
                OutputError::from(io::Error::from(io::ErrorKind::StorageFull)).into(),
                FAILED,
            ),
            (io::Error::from(io::ErrorKind::BrokenPipe).into(), FAILED), // A broker's socket.
        ] {
            assert_eq!(report(&error, false), code, "{error}");
        }
    }

    #[test]
    fn context_does_not_change_the_exit_code() {
        let error = Err::<(), _>(UsageError("what?".into()))
            .context("reading the options")
            .unwrap_err();
        assert_eq!(report(&error, true), USAGE);
    }
}
