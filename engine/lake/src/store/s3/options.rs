//! Where a bucket is and who asks: what was written, what the environment says, and what follows from both.
//!
//! An option that was written wins over the environment, whose variables are those of the AWS command line.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::location::S3Location;
use super::signature::AccessKey;

const ENDPOINT_VARIABLES: &[&str] = &["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"];
const REGION_VARIABLES: &[&str] = &["AWS_REGION", "AWS_DEFAULT_REGION"];
/// The region that servers other than Amazon's expect in a signature.
const REGION_ELSEWHERE: &str = "us-east-1";

/// How to reach an S3-compatible store. What is left out is taken from the environment (`AWS_ENDPOINT_URL`,
/// `AWS_REGION`, `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`, `AWS_CA_BUNDLE`). Its `Debug` shows no secrets.
#[derive(Clone, PartialEq, Eq)]
pub struct S3Options {
    /// `http://host:port` or `https://…`; Amazon's own if it is given nowhere.
    pub endpoint: Option<String>,
    /// Needed on Amazon; elsewhere `us-east-1` will do.
    pub region: Option<String>,
    /// Together with `secret_access_key`.
    pub access_key_id: Option<String>,
    /// Together with `access_key_id`.
    pub secret_access_key: Option<String>,
    /// For temporary keys.
    pub session_token: Option<String>,
    /// Whether the bucket is in the path of a URL rather than in its host. By default only at an endpoint that is not
    /// Amazon's, and for buckets with a dot, which no certificate covers.
    pub path_style: Option<bool>,
    /// A PEM file of the authorities that sign certificates of the endpoint, instead of those that the operating system
    /// trusts.
    pub ca_bundle: Option<PathBuf>,
    /// How long a request is repeated before it counts as failed.
    pub retry_timeout: Duration,
}

/// Options that lead nowhere.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum S3OptionsError {
    /// Not a URL of a server.
    #[error("endpoint {0:?} is not http://HOST[:PORT] or https://HOST[:PORT]")]
    Endpoint(String),
    /// A key without the other.
    #[error("access_key_id and secret_access_key are given together or not at all")]
    HalfAKey,
    /// A token without keys.
    #[error("session_token belongs to an access_key_id and a secret_access_key")]
    TokenWithoutKey,
    /// Amazon has no default region.
    #[error("no region: set region or AWS_REGION, or endpoint if the bucket is not Amazon's")]
    Region,
    /// No keys anywhere.
    #[error("no credentials: set access_key_id and secret_access_key, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")]
    Credentials,
}

impl Default for S3Options {
    fn default() -> Self {
        S3Options {
            endpoint: None,
            region: None,
            access_key_id: None,
            secret_access_key: None,
            session_token: None,
            path_style: None,
            ca_bundle: None,
            retry_timeout: Duration::from_secs(30),
        }
    }
}

impl fmt::Debug for S3Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hidden = |secret: &Option<String>| secret.as_ref().map(|_| "…");
        f.debug_struct("S3Options")
            .field("endpoint", &self.endpoint)
            .field("region", &self.region)
            .field("access_key_id", &self.access_key_id)
            .field("secret_access_key", &hidden(&self.secret_access_key))
            .field("session_token", &hidden(&self.session_token))
            .field("path_style", &self.path_style)
            .field("ca_bundle", &self.ca_bundle)
            .field("retry_timeout", &self.retry_timeout)
            .finish()
    }
}

/// What is known before the first request.
#[derive(Debug)]
pub(crate) struct ResolvedOptions {
    pub(crate) key: AccessKey,
    /// Where the bucket's objects are: `https://bucket.s3.eu-north-1.amazonaws.com`, `http://127.0.0.1:9000/bucket`.
    pub(crate) bucket_url: String,
    pub(crate) ca_bundle: Option<PathBuf>,
    pub(crate) retry_timeout: Duration,
}

impl S3Options {
    /// Checks what can be checked without the environment and without the network.
    pub fn check(&self) -> Result<(), S3OptionsError> {
        if let Some(endpoint) = &self.endpoint {
            check_endpoint(endpoint)?;
        }
        if self.access_key_id.is_some() != self.secret_access_key.is_some() {
            return Err(S3OptionsError::HalfAKey);
        }
        if self.session_token.is_some() && self.access_key_id.is_none() {
            return Err(S3OptionsError::TokenWithoutKey);
        }
        Ok(())
    }

    /// Fills in what was left out by asking `environment` for variables.
    pub(crate) fn resolve(
        &self,
        location: &S3Location,
        environment: impl Fn(&str) -> Option<String>,
    ) -> Result<ResolvedOptions, S3OptionsError> {
        self.check()?;
        let variable = |name: &str| environment(name).filter(|value| !value.is_empty());
        let first = |names: &[&str]| names.iter().find_map(|name| variable(name));

        let endpoint = self.endpoint.clone().or_else(|| first(ENDPOINT_VARIABLES));
        if let Some(endpoint) = &endpoint {
            check_endpoint(endpoint)?;
        }
        let region = self.region.clone().or_else(|| first(REGION_VARIABLES));
        let region = match (region, &endpoint) {
            (Some(region), _) => region,
            (None, Some(_)) => REGION_ELSEWHERE.to_owned(),
            (None, None) => return Err(S3OptionsError::Region),
        };
        let key = match (&self.access_key_id, &self.secret_access_key) {
            // A token from the environment belongs to keys from the environment.
            (Some(id), Some(secret)) => AccessKey::new(id, secret, self.session_token.as_deref(), &region),
            _ => {
                let (id, secret) = variable("AWS_ACCESS_KEY_ID")
                    .zip(variable("AWS_SECRET_ACCESS_KEY"))
                    .ok_or(S3OptionsError::Credentials)?;
                AccessKey::new(&id, &secret, variable("AWS_SESSION_TOKEN").as_deref(), &region)
            }
        };

        let bucket = &location.bucket;
        let path_style = self.path_style.unwrap_or(endpoint.is_some() || bucket.contains('.'));
        let endpoint = endpoint.unwrap_or_else(|| format!("https://s3.{region}.amazonaws.com"));
        let endpoint = endpoint.trim_end_matches('/');
        let bucket_url = match endpoint.split_once("://") {
            Some((scheme, host)) if !path_style => format!("{scheme}://{bucket}.{host}"),
            _ => format!("{endpoint}/{bucket}"),
        };
        Ok(ResolvedOptions {
            key,
            bucket_url,
            ca_bundle: self
                .ca_bundle
                .clone()
                .or_else(|| variable("AWS_CA_BUNDLE").map(PathBuf::from)),
            retry_timeout: self.retry_timeout,
        })
    }
}

fn check_endpoint(endpoint: &str) -> Result<(), S3OptionsError> {
    let host = ["http://", "https://"]
        .iter()
        .find_map(|scheme| endpoint.strip_prefix(scheme))
        .map(|rest| rest.strip_suffix('/').unwrap_or(rest));
    let is_host = |host: &str| {
        let usual = |c: char| c.is_ascii_alphanumeric() || "-._:[]/".contains(c);
        !host.is_empty() && !host.starts_with([':', '/']) && host.chars().all(usual)
    };
    match host {
        Some(host) if is_host(host) => Ok(()),
        // Whatever stands before an @ may be a password.
        _ => Err(S3OptionsError::Endpoint(match endpoint.rsplit_once('@') {
            Some((_, host)) => format!("…@{host}"),
            None => endpoint.to_owned(),
        })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(
        options: &S3Options,
        bucket: &str,
        environment: &[(&str, &str)],
    ) -> Result<ResolvedOptions, S3OptionsError> {
        let location = S3Location::parse(&format!("s3://{bucket}/table")).unwrap();
        options.resolve(&location, |name| {
            let found = environment.iter().find(|(other, _)| *other == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    fn keyed() -> S3Options {
        S3Options {
            access_key_id: Some("id".into()),
            secret_access_key: Some("hush-hush".into()),
            session_token: Some("hush-token".into()),
            ..S3Options::default()
        }
    }

    #[test]
    fn the_bucket_is_where_options_and_environment_say() {
        let at = |endpoint: &str| S3Options {
            endpoint: Some(endpoint.into()),
            ..keyed()
        };
        let region = [("AWS_REGION", "eu-north-1")];
        for (options, bucket, environment, url) in [
            (keyed(), "lake", &region[..], "https://lake.s3.eu-north-1.amazonaws.com"),
            (keyed(), "a.lake", &region, "https://s3.eu-north-1.amazonaws.com/a.lake"),
            (at("http://127.0.0.1:9000/"), "lake", &[], "http://127.0.0.1:9000/lake"),
            (
                keyed(),
                "lake",
                &[("AWS_ENDPOINT_URL", "http://h:1")],
                "http://h:1/lake",
            ),
            (
                at("https://wins"),
                "lake",
                &[("AWS_ENDPOINT_URL_S3", "http://h:1")],
                "https://wins/lake",
            ),
            (
                S3Options {
                    path_style: Some(false),
                    ..at("https://objects.example")
                },
                "lake",
                &[],
                "https://lake.objects.example",
            ),
        ] {
            assert_eq!(resolve(&options, bucket, environment).unwrap().bucket_url, url);
        }
    }

    #[test]
    fn a_written_bundle_of_certificates_wins_over_the_one_of_the_environment() {
        let written = S3Options {
            ca_bundle: Some("ours.pem".into()),
            ..keyed()
        };
        let environment = [("AWS_REGION", "eu-north-1"), ("AWS_CA_BUNDLE", "theirs.pem")];
        for (options, bundle) in [(written, "ours.pem"), (keyed(), "theirs.pem")] {
            let resolved = resolve(&options, "lake", &environment).unwrap();
            assert_eq!(resolved.ca_bundle, Some(bundle.into()));
        }
    }

    #[test]
    fn what_leads_nowhere_is_said_before_the_first_request() {
        let at = |endpoint: &str| S3Options {
            endpoint: Some(endpoint.into()),
            ..S3Options::default()
        };
        assert_eq!(resolve(&keyed(), "lake", &[]).unwrap_err(), S3OptionsError::Region);
        let nobody = [&[][..], &[("AWS_ACCESS_KEY_ID", "id"), ("AWS_SECRET_ACCESS_KEY", "")]];
        for environment in nobody {
            let error = resolve(&at("http://h:1"), "lake", environment).unwrap_err();
            assert_eq!(error, S3OptionsError::Credentials);
        }
        for endpoint in [
            "127.0.0.1:9000",
            "s3://h",
            "http://",
            "https:///",
            "http://h?x=1",
            "http://user:hush@h",
        ] {
            let said = at(endpoint).check().unwrap_err().to_string();
            assert!(said.contains("is not http://HOST") && !said.contains("hush"), "{said}");
        }
        let half = S3Options {
            secret_access_key: None,
            session_token: None,
            ..keyed()
        };
        assert_eq!(half.check(), Err(S3OptionsError::HalfAKey));
        let token = S3Options {
            session_token: Some("t".into()),
            ..S3Options::default()
        };
        assert_eq!(token.check(), Err(S3OptionsError::TokenWithoutKey));
    }

    #[test]
    fn no_secret_is_shown() {
        let options = S3Options {
            endpoint: Some("http://h:1".into()),
            ..keyed()
        };
        let resolved = resolve(&options, "lake", &[]).unwrap();
        for shown in [format!("{options:?}"), format!("{resolved:?}")] {
            assert!(shown.contains("http://h:1") && !shown.contains("hush"), "{shown}");
        }
    }

    #[test]
    fn written_keys_never_mix_with_a_token_from_the_environment() {
        let options = S3Options {
            session_token: None,
            endpoint: Some("http://h:1".into()),
            ..keyed()
        };
        let environment = [
            ("AWS_SESSION_TOKEN", "other"),
            ("AWS_ACCESS_KEY_ID", "other"),
            ("AWS_SECRET_ACCESS_KEY", "other"),
        ];
        let written = resolve(&options, "lake", &environment).unwrap().key;
        assert_eq!(written, AccessKey::new("id", "hush-hush", None, "us-east-1"));
        let all = S3Options {
            endpoint: Some("http://h:1".into()),
            ..S3Options::default()
        };
        let found = resolve(&all, "lake", &environment).unwrap().key;
        assert_eq!(found, AccessKey::new("other", "other", Some("other"), "us-east-1"));
    }
}
