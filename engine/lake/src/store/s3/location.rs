//! `s3://bucket/prefix`, and the mistakes that are made in it.

use object_store::path::Path;

/// A table's place in a bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct S3Location {
    pub(crate) bucket: String,
    /// Empty if the table is the whole bucket.
    pub(crate) prefix: Path,
}

/// A location that is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum S3LocationError {
    /// `s3:///table`.
    #[error("no bucket: write s3://BUCKET/PREFIX")]
    NoBucket,
    /// A bucket that no store would have.
    #[error("bucket {0:?}: names have 3 to 63 letters, digits, dots and hyphens")]
    Bucket(String),
    /// `s3://bucket/table?region=…`.
    #[error("a `?` or `#` in the path: options are keys of their own, not part of the URL")]
    Query,
    /// `s3://key:secret@bucket`.
    #[error("credentials do not belong into the path: use access_key_id and secret_access_key")]
    Credentials,
    /// `s3://bucket/a//b`, `s3://bucket/../b`.
    #[error("prefix {0:?} has an empty part, `.`, `..` or a control character")]
    Prefix(String),
}

impl S3Location {
    /// Takes `s3://bucket`, `s3://bucket/prefix` and either with a slash at the end.
    pub(crate) fn parse(location: &str) -> Result<S3Location, S3LocationError> {
        let rest = location.strip_prefix("s3://").unwrap_or(location);
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        if bucket.contains('@') {
            return Err(S3LocationError::Credentials);
        }
        if rest.contains(['?', '#']) {
            return Err(S3LocationError::Query);
        }
        if bucket.is_empty() {
            return Err(S3LocationError::NoBucket);
        }
        let usual = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
        if !(3..=63).contains(&bucket.len()) || !bucket.chars().all(usual) || bucket.starts_with(['-', '.']) {
            return Err(S3LocationError::Bucket(bucket.to_owned()));
        }
        match Path::parse(prefix) {
            Ok(parsed) if !prefix.starts_with('/') => Ok(S3Location {
                bucket: bucket.to_owned(),
                prefix: parsed,
            }),
            _ => Err(S3LocationError::Prefix(prefix.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_is_a_bucket_and_a_prefix() {
        for (location, bucket, prefix) in [
            ("s3://lake", "lake", ""),
            ("s3://lake/", "lake", ""),
            ("s3://lake/a/b=1/", "lake", "a/b=1"),
            ("s3://my.lake-1/Zürich", "my.lake-1", "Zürich"),
        ] {
            let parsed = S3Location::parse(location).unwrap();
            assert_eq!((parsed.bucket.as_str(), parsed.prefix.as_ref()), (bucket, prefix));
        }
    }

    #[test]
    fn mistakes_have_names() {
        for (location, error) in [
            ("s3://", S3LocationError::NoBucket),
            ("s3:///table", S3LocationError::NoBucket),
            ("s3://my lake/t", S3LocationError::Bucket("my lake".into())),
            ("s3://-x-/t", S3LocationError::Bucket("-x-".into())),
            ("s3://ab", S3LocationError::Bucket("ab".into())),
            ("s3://lake/t?region=eu", S3LocationError::Query),
            ("s3://id:secret@lake/t", S3LocationError::Credentials),
            ("s3://lake/a//b", S3LocationError::Prefix("a//b".into())),
            ("s3://lake//a", S3LocationError::Prefix("/a".into())),
            ("s3://lake/../b", S3LocationError::Prefix("../b".into())),
        ] {
            assert_eq!(S3Location::parse(location), Err(error), "{location}");
        }
    }
}
