//! Lies about what the broker speaks: ApiVersions.

use std::time::Duration;

use engine_wire::messages::*;

use super::{UNKNOWN_CODE, case};
use crate::cases::{Case, Expected, Lie, run};
use crate::operations::Operation::*;

const GREETINGS: &[(&str, Lie)] = &[
    ("no APIs", |x| {
        x.changed(|answer: &mut ApiVersionsResponse| answer.api_keys.clear())
    }),
    ("versions that end before they begin", |x| {
        x.changed(|answer: &mut ApiVersionsResponse| {
            answer
                .api_keys
                .iter_mut()
                .for_each(|api| (api.min_version, api.max_version) = (9, 3));
        })
    }),
    ("versions of the far future", |x| {
        x.changed(|answer: &mut ApiVersionsResponse| {
            answer
                .api_keys
                .iter_mut()
                .for_each(|api| (api.min_version, api.max_version) = (30_000, i16::MAX));
        })
    }),
    ("negative versions", |x| {
        x.changed(|answer: &mut ApiVersionsResponse| {
            answer
                .api_keys
                .iter_mut()
                .for_each(|api| (api.min_version, api.max_version) = (i16::MIN, -1));
        })
    }),
    ("every API twice", |x| {
        x.changed(|answer: &mut ApiVersionsResponse| answer.api_keys.extend(answer.api_keys.clone()))
    }),
    ("an unknown error", |x| {
        x.changed(|answer: &mut ApiVersionsResponse| answer.error_code = UNKNOWN_CODE)
    }),
    ("a throttle of 25 days", |x| {
        x.changed(|answer: &mut ApiVersionsResponse| answer.throttle_time_ms = i32::MAX)
    }),
];

#[test]
fn odd_greetings_are_refused_clearly() {
    let cases = |operation| {
        let cases = GREETINGS.iter();
        cases.map(move |(what, lie)| Case {
            lasts: Duration::from_millis(300),
            ..case(operation, ApiKey::ApiVersions, what, *lie, Expected::AnEnd)
        })
    };
    run([Produce, Consume, Administrate].into_iter().flat_map(cases).collect());
}
