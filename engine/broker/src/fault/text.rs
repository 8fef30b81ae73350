//! Faults as text, for command lines: `API:ACTION[=VALUE][,skip=N][,times=N]`.

use std::str::FromStr;
use std::time::Duration;

use engine_wire::error_code::ErrorCode;
use engine_wire::messages::ApiKey;

use crate::fault::{Fault, FaultAction};
use crate::supported::SUPPORTED;

const ACTIONS: &str = "error=CODE, delay=TIME, throttle=TIME, restart=TIME, silence, disconnect, \
                       apply-then-disconnect, corrupt-crc or move-leaders";

/// Why a text is no fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FaultTextError {
    /// There is no colon between API and action.
    #[error("'{text}': expected API:ACTION, such as Produce:error=NOT_LEADER_OR_FOLLOWER,times=3")]
    Form {
        /// What was given.
        text: String,
    },
    /// The broker has no such API.
    #[error("'{api}' is no API of this broker; Produce, Fetch and Metadata are some")]
    Api {
        /// What was given.
        api: String,
    },
    /// There is no such action.
    #[error("'{action}' is no action; there are {ACTIONS}")]
    Action {
        /// What was given.
        action: String,
    },
    /// Kafka has no such error code.
    #[error("'{code}' is no error code of Kafka's, such as NOT_LEADER_OR_FOLLOWER")]
    Code {
        /// What was given.
        code: String,
    },
    /// The action is for another API.
    #[error("{action} is for {only}, not for {api}")]
    OtherApi {
        /// What was given.
        action: &'static str,
        /// The API that it is for.
        only: &'static str,
        /// The API that was given.
        api: String,
    },
    /// A number with a unit was expected.
    #[error("'{value}' is no time, such as 500ms or 2s")]
    Time {
        /// What was given.
        value: String,
    },
    /// Behind the action come `skip=N` and `times=N`.
    #[error("'{option}': expected skip=N or times=N, N a whole number, times at least 1")]
    Option {
        /// What was given.
        option: String,
    },
}

impl FromStr for Fault {
    type Err = FaultTextError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let form = || FaultTextError::Form { text: text.to_owned() };
        let (api, rest) = text.split_once(':').ok_or_else(form)?;
        let is_named = |(key, ..): &&(ApiKey, i16, i16)| format!("{key:?}").eq_ignore_ascii_case(api);
        let unknown = || FaultTextError::Api { api: api.to_owned() };
        let (key, ..) = SUPPORTED.iter().find(is_named).ok_or_else(unknown)?;
        let mut parts = rest.split(',');
        let action = action(*key, parts.next().unwrap_or_default())?;
        let mut fault = Fault::once(*key as i16, action);
        for option in parts {
            let wrong = || FaultTextError::Option {
                option: option.to_owned(),
            };
            let (name, value) = option.split_once('=').ok_or_else(wrong)?;
            let value = value.parse().map_err(|_| wrong())?;
            match (name, value) {
                ("skip", skip) => fault.skip = skip,
                ("times", times @ 1..) => fault.times = times,
                _ => return Err(wrong()),
            }
        }
        Ok(fault)
    }
}

fn action(api: ApiKey, text: &str) -> Result<FaultAction, FaultTextError> {
    let (name, value) = text.split_once('=').unwrap_or((text, ""));
    Ok(match (name, value) {
        ("error", code) => {
            let is_named = |known: &ErrorCode| known.name().eq_ignore_ascii_case(code);
            let unknown = || FaultTextError::Code { code: code.to_owned() };
            FaultAction::Error(ErrorCode::all().find(is_named).ok_or_else(unknown)?)
        }
        ("delay", value) => FaultAction::Delay(time(value)?),
        ("throttle", value) => FaultAction::Throttle(time(value)?),
        ("restart", value) => FaultAction::Restart(time(value)?),
        ("silence", "") => FaultAction::Silence,
        ("disconnect", "") => FaultAction::Disconnect,
        ("apply-then-disconnect", "") => FaultAction::ApplyThenDisconnect,
        ("corrupt-crc", "") if api == ApiKey::Fetch => FaultAction::CorruptCrc,
        ("corrupt-crc", "") => {
            return Err(FaultTextError::OtherApi {
                action: "corrupt-crc",
                only: "Fetch",
                api: format!("{api:?}"),
            });
        }
        ("move-leaders", "") => FaultAction::MoveLeaders,
        _ => {
            return Err(FaultTextError::Action {
                action: text.to_owned(),
            });
        }
    })
}

/// A whole number of `ms` or `s`, at most a day.
fn time(text: &str) -> Result<Duration, FaultTextError> {
    let wrong = || FaultTextError::Time { value: text.to_owned() };
    let number = |digits: &str| digits.parse::<u32>().ok().map(u64::from);
    let time = match text.strip_suffix("ms") {
        Some(digits) => number(digits).map(Duration::from_millis),
        None => text.strip_suffix('s').and_then(number).map(Duration::from_secs),
    };
    time.filter(|time| *time <= Duration::from_secs(86_400))
        .ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_say_api_action_and_how_often() {
        let fault = |api_key, action, skip, times| Fault {
            api_key,
            skip,
            times,
            action,
        };
        let not_leader = FaultAction::Error(ErrorCode::NOT_LEADER_OR_FOLLOWER);
        let second = Duration::from_secs(1);
        for (text, expected) in [
            ("Produce:error=NOT_LEADER_OR_FOLLOWER", fault(0, not_leader, 0, 1)),
            (
                "produce:error=not_leader_or_follower,times=3",
                fault(0, not_leader, 0, 3),
            ),
            (
                "Fetch:corrupt-crc,skip=2,times=4",
                fault(1, FaultAction::CorruptCrc, 2, 4),
            ),
            ("Fetch:delay=1000ms", fault(1, FaultAction::Delay(second), 0, 1)),
            ("Fetch:throttle=1s", fault(1, FaultAction::Throttle(second), 0, 1)),
            (
                "EndTxn:apply-then-disconnect",
                fault(26, FaultAction::ApplyThenDisconnect, 0, 1),
            ),
            ("Metadata:disconnect", fault(3, FaultAction::Disconnect, 0, 1)),
            ("Metadata:silence", fault(3, FaultAction::Silence, 0, 1)),
            ("Produce:move-leaders", fault(0, FaultAction::MoveLeaders, 0, 1)),
            (
                "Produce:restart=0ms,skip=9",
                fault(0, FaultAction::Restart(Duration::ZERO), 9, 1),
            ),
        ] {
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn a_mistake_is_told_in_words() {
        for (text, told) in [
            ("Produce", "expected API:ACTION"),
            ("Banana:silence", "'Banana' is no API"),
            ("Produce:", "'' is no action"),
            ("Produce:explode", "'explode' is no action; there are error=CODE"),
            ("Produce:silence=1", "'silence=1' is no action"),
            ("Produce:error", "'' is no error code"),
            ("Produce:error=OOPS", "'OOPS' is no error code"),
            ("Produce:corrupt-crc", "corrupt-crc is for Fetch, not for Produce"),
            ("Produce:delay=5", "'5' is no time"),
            ("Produce:delay=-1s", "'-1s' is no time"),
            ("Produce:delay=86401s", "'86401s' is no time"),
            ("Produce:silence,times=0", "'times=0': expected skip=N or times=N"),
            ("Produce:silence,often", "'often': expected"),
        ] {
            let error = text.parse::<Fault>().expect_err(text).to_string();
            assert!(error.contains(told), "{text}: {error}");
        }
    }

    #[test]
    fn every_api_can_be_answered_with_an_error() {
        for (key, ..) in SUPPORTED {
            let text = format!("{key:?}:error=UNKNOWN_SERVER_ERROR");
            let expected = Fault::once(*key as i16, FaultAction::Error(ErrorCode::UNKNOWN_SERVER_ERROR));
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
    }
}
