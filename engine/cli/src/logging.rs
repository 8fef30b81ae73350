//! Standard error: log lines and what a person is told, as text or with `--log json` as one object per line.
//!
//! `RUST_LOG` overrides `-v` and `-q` for log lines. Colours appear on a terminal only, and not where `NO_COLOR` is set.
//! While a live line is shown, everything else is written above it.

use std::{
    fmt::Display,
    io::{self, IsTerminal, Write},
    sync::{Mutex, OnceLock, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use indicatif::ProgressBar;
use serde_json::{Map, Value, json};
use tracing_subscriber::EnvFilter;

use crate::{
    global_options::{GlobalOptions, LogFormat},
    time_argument::rfc3339,
};

/// How this process was asked to log; text until [`start`] has run.
static FORMAT: OnceLock<LogFormat> = OnceLock::new();
/// The line at the bottom of the terminal that is drawn again and again.
static LIVE_LINE: Mutex<Option<ProgressBar>> = Mutex::new(None);

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
        .with_writer(|| AboveTheLiveLine)
        // Its own complaint about a full standard error would go there too, and panic.
        .log_internal_errors(false)
        .with_target(options.verbose > 1)
        .with_ansi(io::stderr().is_terminal() && !is_set("NO_COLOR"));
    let format = *FORMAT.get_or_init(|| options.log);
    match format {
        LogFormat::Text => builder.init(),
        LogFormat::Json => builder.json().flatten_event(true).init(),
    }
}

/// Tells a person something. If standard error is full or gone there is nobody to tell, which is no reason to stop:
/// `eprintln!` would panic.
pub(crate) fn notice(text: impl Display) {
    if is_json() {
        write_object("INFO", json!({ "message": text.to_string() }));
    } else {
        write_line(&text.to_string());
    }
}

/// Tells a person in a sentence, or with `--log json` a machine in an object whose `event` is `name`.
pub(crate) fn event(name: &str, fields: impl FnOnce() -> Value, text: impl FnOnce() -> String) {
    if is_json() {
        let mut object = json!({ "event": name });
        if let (Value::Object(object), Value::Object(fields)) = (&mut object, fields()) {
            object.extend(fields);
        }
        write_object("INFO", object);
    } else {
        write_line(&text());
    }
}

/// Tells why the command fails: a line of text, or an object with `--log json` or where `json_errors` asks for one.
pub(crate) fn failure(text: &str, line: &str, exit_code: u8, json_errors: bool) {
    let fields = json!({ "error": text, "exit_code": exit_code });
    if is_json() {
        write_object("ERROR", fields);
    } else if json_errors {
        write_line(&fields.to_string());
    } else {
        write_line(line);
    }
}

pub(crate) fn is_json() -> bool {
    FORMAT.get() == Some(&LogFormat::Json)
}

/// Whether one line may be drawn again and again: on a terminal that can move its cursor.
pub(crate) fn can_show_a_live_line() -> bool {
    !is_json() && io::stderr().is_terminal() && std::env::var_os("TERM").is_some_and(|term| term != "dumb")
}

/// Names the line that is to stay below all others, or that there is none any more.
pub(crate) fn set_live_line(line: Option<ProgressBar>) {
    *LIVE_LINE.lock().unwrap_or_else(PoisonError::into_inner) = line;
}

/// The same head as the log lines of `tracing`.
fn write_object(level: &str, fields: Value) {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = rfc3339(i64::try_from(since_1970.as_millis()).unwrap_or(i64::MAX));
    let mut object = Map::from_iter([("timestamp".to_owned(), now.into()), ("level".to_owned(), level.into())]);
    if let Value::Object(fields) = fields {
        object.extend(fields);
    }
    write_line(&Value::Object(object).to_string());
}

fn write_line(text: &str) {
    let _ = AboveTheLiveLine.write_all(format!("{text}\n").as_bytes());
}

/// `NO_COLOR` and its like count when they are not empty (see no-color.org).
fn is_set(variable: &str) -> bool {
    std::env::var_os(variable).is_some_and(|value| !value.is_empty())
}

struct AboveTheLiveLine;

impl Write for AboveTheLiveLine {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let line = LIVE_LINE.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match line {
            Some(line) => line.suspend(|| io::stderr().write(bytes)),
            None => io::stderr().write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}
