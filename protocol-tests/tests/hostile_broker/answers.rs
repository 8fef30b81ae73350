//! Lies in answers that can be read: numbers that cannot be, things that do not exist, too much and too little.

mod fetching;
mod greetings;
mod groups;
mod metadata;
mod producing;
mod transactions;

use engine_wire::messages::ApiKey;

use crate::cases::{A_WHILE, Case, Expected, Lie};
use crate::operations::Operation;

/// An error code that no Kafka has.
const UNKNOWN_CODE: i16 = 9_999;

fn case(operation: Operation, api: ApiKey, what: &'static str, lie: Lie, expected: Expected) -> Case {
    Case {
        what,
        operation,
        api,
        lie,
        lasts: A_WHILE,
        expected,
    }
}
