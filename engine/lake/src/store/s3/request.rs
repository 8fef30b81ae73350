//! One request to a bucket: signed, sent, and sent again while that may help.
//!
//! Every request that the lake makes may be repeated, because whoever asks looks at what is there: a put that finds its
//! own bytes has happened, an upload that is gone and whose object is there has been completed. So an answer that was
//! lost is no special case here.

use std::hash::{BuildHasher, RandomState};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ureq::http;

use super::error::{S3Error, may_answer_later, may_pass};
use super::options::ResolvedOptions;
use super::signature::{AccessKey, Unsigned, percent_encoded, query_text};
use super::tls::{self, TlsError};
use super::xml;

/// How long one attempt may take that moves a part at most.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(20);
/// What moves in a second, at the least: on its way to the store (a list of all files of a table has no parts), or inside
/// it. An attempt that is given up does not go on everywhere: a copy that takes longer than its attempt would never be
/// made.
const MOVED_BYTES_PER_SECOND: u64 = 10_000_000;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// No answer is longer: objects are read in pieces, lists have a thousand names.
const ANSWER_BYTES_MAX: u64 = 64 << 20;
/// Before a body of this size is sent, the server is asked whether it wants it, and given a second to say so. One that
/// refuses without reading closes the connection, and then its reason is lost with what was on the way.
const ASKED_FIRST_BYTES: usize = 1 << 20;
/// How much of an answer that is not S3's is repeated in an error.
const MESSAGE_CHARS_MAX: usize = 300;

/// What is asked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request<'a> {
    pub(crate) method: &'static str,
    /// Of the object, not encoded; empty for the bucket.
    pub(crate) key: &'a str,
    pub(crate) query: &'a [(&'a str, &'a str)],
    /// Names in lower case.
    pub(crate) headers: &'a [(&'a str, &'a str)],
    pub(crate) body: &'a [u8],
    /// What the store has to move inside itself before it answers.
    pub(crate) moved_bytes: u64,
}

/// What came back with a status from 200 to 299.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) headers: http::HeaderMap,
    pub(crate) body: Vec<u8>,
}

/// Asks one bucket. Keeps connections for the next request.
#[derive(Debug)]
pub(crate) struct Requester {
    agent: ureq::Agent,
    key: AccessKey,
    bucket_url: String,
    host: String,
    /// What stands before a key in the path of a URL; begins with a slash, ends without.
    base_path: String,
    retry_timeout: Duration,
}

impl<'a> Request<'a> {
    pub(crate) fn new(method: &'static str, key: &'a str) -> Request<'a> {
        Request {
            method,
            key,
            query: &[],
            headers: &[],
            body: &[],
            moved_bytes: 0,
        }
    }

    fn attempt_timeout(&self) -> Duration {
        let moved_bytes = self.moved_bytes.max(self.body.len() as u64);
        ATTEMPT_TIMEOUT + Duration::from_secs(moved_bytes / MOVED_BYTES_PER_SECOND)
    }
}

impl Requester {
    pub(crate) fn new(options: ResolvedOptions) -> Result<Requester, TlsError> {
        let (scheme, rest) = options
            .bucket_url
            .split_once("://")
            .unwrap_or(("https", &options.bucket_url));
        let (host, base_path) = rest.split_once('/').unwrap_or((rest, ""));
        let mut config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .user_agent(concat!("engine/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(Some(CONNECT_TIMEOUT));
        if scheme == "https" {
            config = config
                .https_only(true)
                .tls_config(tls::config(options.ca_bundle.as_deref())?);
        }
        // The signature covers the host as it is sent, without a port that goes without saying.
        let default_port = if scheme == "https" { ":443" } else { ":80" };
        let host = host.strip_suffix(default_port).unwrap_or(host).to_owned();
        let base_path = match base_path {
            "" => String::new(),
            path => format!("/{path}"),
        };
        Ok(Requester {
            agent: config.build().new_agent(),
            key: options.key,
            bucket_url: options.bucket_url,
            host,
            base_path,
            retry_timeout: options.retry_timeout,
        })
    }

    pub(crate) fn bucket_url(&self) -> &str {
        &self.bucket_url
    }

    /// Sends until there is an answer that another attempt would not change, or the time for retries is over.
    pub(crate) fn send(&self, request: &Request<'_>) -> Result<Answer, S3Error> {
        let started = Instant::now();
        let mut pause = PAUSE_MIN;
        for attempts in 1.. {
            let result = self.attempt(request);
            let may_help = match &result {
                Ok((status, answer)) => is_worth_repeating(*status, answer),
                Err(error) => may_answer_later(error),
            };
            let waited = started.elapsed();
            if may_help && waited + pause <= self.retry_timeout {
                tracing::debug!(
                    method = request.method,
                    key = request.key,
                    attempts,
                    ?result,
                    "S3 request is repeated."
                );
                thread::sleep(jittered(pause));
                pause = (pause * 2).min(PAUSE_MAX);
                continue;
            }
            let url = self.url(request);
            return match result {
                Ok((200..=299, answer)) if !may_help => Ok(answer),
                Ok((status, answer)) => Err(refused(request.method, url, status, &answer, attempts, waited)),
                Err(source) => Err(S3Error::NoAnswer {
                    method: request.method,
                    url,
                    attempts,
                    waited,
                    source: Box::new(source),
                }),
            };
        }
        unreachable!("the time for retries ends before the count of attempts does")
    }

    /// An answer that does not say what it should.
    pub(crate) fn not_understood(&self, request: &Request<'_>, what: impl Into<String>) -> S3Error {
        S3Error::Answer {
            method: request.method,
            url: self.url(request),
            what: what.into(),
        }
    }

    fn attempt(&self, request: &Request<'_>) -> Result<(u16, Answer), ureq::Error> {
        let path = self.path(request);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let signed = self.key.sign(&Unsigned {
            method: request.method,
            host: &self.host,
            path: &path,
            query: request.query,
            headers: request.headers,
            body: request.body,
            now: now.as_secs(),
        });
        let mut builder = http::Request::builder().method(request.method).uri(self.url(request));
        for (name, value) in request.headers {
            builder = builder.header(*name, *value);
        }
        for (name, value) in signed {
            builder = builder.header(name, value);
        }
        if request.body.len() >= ASKED_FIRST_BYTES {
            builder = builder.header(http::header::EXPECT, "100-continue");
        }
        let timeout = Some(request.attempt_timeout());
        let mut response = match request.method {
            "PUT" | "POST" => {
                let built = self.agent.configure_request(builder.body(request.body)?);
                self.agent.run(built.timeout_global(timeout).build())?
            }
            _ => {
                let built = self.agent.configure_request(builder.body(())?);
                self.agent.run(built.timeout_global(timeout).build())?
            }
        };
        let body = response
            .body_mut()
            .with_config()
            .limit(ANSWER_BYTES_MAX)
            .read_to_vec()?;
        let (parts, _) = response.into_parts();
        Ok((
            parts.status.as_u16(),
            Answer {
                headers: parts.headers,
                body,
            },
        ))
    }

    fn path(&self, request: &Request<'_>) -> String {
        format!("{}/{}", self.base_path, percent_encoded(request.key, true))
    }

    fn url(&self, request: &Request<'_>) -> String {
        let scheme = self.bucket_url.split("://").next().unwrap_or("https");
        let query = query_text(request.query);
        let mark = if query.is_empty() { "" } else { "?" };
        format!("{scheme}://{}{}{mark}{query}", self.host, self.path(request))
    }
}

fn is_worth_repeating(status: u16, answer: &Answer) -> bool {
    let code = match status {
        // Of a long answer only the beginning is looked at twice.
        200 if !answer.body.starts_with(b"<") => None,
        200 | 400 => error_of(&answer.body).map(|(code, _)| code),
        _ => None,
    };
    may_pass(status, code.as_deref())
}

fn refused(
    method: &'static str,
    url: String,
    status: u16,
    answer: &Answer,
    attempts: u32,
    waited: Duration,
) -> S3Error {
    let (code, message) = error_of(&answer.body).unwrap_or_else(|| {
        let text = String::from_utf8_lossy(&answer.body);
        let reason = http::StatusCode::from_u16(status)
            .ok()
            .and_then(|status| status.canonical_reason())
            .unwrap_or("unknown status");
        (reason.to_owned(), text.chars().take(MESSAGE_CHARS_MAX).collect())
    });
    S3Error::Refused {
        method,
        url,
        status,
        code,
        message,
        attempts,
        waited,
    }
}

/// Code and message of an error document.
fn error_of(body: &[u8]) -> Option<(String, String)> {
    let texts = xml::texts(std::str::from_utf8(body).ok()?).ok()?;
    let text = |path: &str| {
        let found = texts.iter().find(|(other, _)| other == path);
        found.map(|(_, text)| text.clone())
    };
    Some((text("Error/Code")?, text("Error/Message").unwrap_or_default()))
}

/// Between half of `pause` and all of it, so that many who were refused at once do not come back at once.
fn jittered(pause: Duration) -> Duration {
    let drawn = RandomState::new().hash_one(pause) % 1_000;
    pause / 2 + pause / 2 * u32::try_from(drawn).unwrap_or(0) / 1_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_large_has_as_long_as_its_size_takes_and_everything_else_has_not() {
        for (moved_bytes, seconds) in [(0, 20), (8 << 20, 20), (128 << 20, 33), (4_000_000_000, 420)] {
            let request = Request {
                moved_bytes,
                ..Request::new("PUT", "k")
            };
            assert_eq!(request.attempt_timeout(), Duration::from_secs(seconds), "{moved_bytes}");
        }
        let list = Request {
            body: &vec![b' '; 50_000_000],
            ..Request::new("PUT", "k")
        };
        assert_eq!(list.attempt_timeout(), Duration::from_secs(25));
    }
}
