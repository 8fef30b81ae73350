//! `[sinks.NAME.s3]`: how to reach the bucket of a lake.
//!
//! What is wrong is shown at the path, because the lines of the options may hold secrets.

use std::num::NonZeroU64;
use std::path::PathBuf;

use engine_lake::{LakeStore, S3Options};

use super::super::fields::{Fields, Written};
use super::super::keys;
use crate::error_chain;

const SCHEME: &str = "s3://";
/// A file is published by a copy inside the store, which is of at most 5 GiB; a file ends a row group beyond its target.
const TARGET_FILE_BYTES_MAX: u64 = 4_000_000_000;

/// The options for the table at `path`, checked as far as that needs neither environment nor network.
pub(super) fn options(sink: &Fields<'_>, path: Option<Written<'_>>) -> S3Options {
    let options = sink.fields("s3").map(|fields| written(&fields)).unwrap_or_default();
    if let Some(path) = path {
        if let Err(error) = LakeStore::check(path.as_str(), &options) {
            sink.problems.error(path.span, error_chain::describe(&error));
        }
        if sink.node("s3").is_some() && !path.as_str().starts_with(SCHEME) {
            let message = format!("`s3` is for a path that begins with `{SCHEME}`");
            sink.problems.error(path.span, message);
        }
    }
    options
}

/// `target_file_size`, as far as the store allows.
pub(super) fn target_file_size(sink: &Fields<'_>, path: Option<Written<'_>>) -> Option<NonZeroU64> {
    let size = sink.size("target_file_size")?;
    let is_s3 = path.is_some_and(|path| path.as_str().starts_with(SCHEME));
    if is_s3 && size.get() > TARGET_FILE_BYTES_MAX {
        let message = "`target_file_size` is at most 4GB on S3, whose copies are of at most 5 GiB";
        sink.problems.error(&sink.span_of("target_file_size"), message);
    }
    Some(size)
}

fn written(fields: &Fields<'_>) -> S3Options {
    fields.only(&[keys::S3]);
    let text = |key: &str, what: &str| fields.text(key, what).map(|text| text.as_str().to_owned());
    let default = S3Options::default();
    S3Options {
        endpoint: text("endpoint", "a URL such as \"http://127.0.0.1:9000\""),
        region: text("region", "a region such as \"eu-north-1\""),
        access_key_id: text("access_key_id", "the id of an access key"),
        secret_access_key: text("secret_access_key", "the secret of the access key"),
        session_token: text("session_token", "the token of a temporary access key"),
        ca_bundle: text("ca_bundle", "a file of certificates in PEM").map(PathBuf::from),
        path_style: fields.boolean("path_style"),
        retry_timeout: fields
            .positive_duration("retry_timeout")
            .unwrap_or(default.retry_timeout),
    }
}
