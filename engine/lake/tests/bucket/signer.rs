//! How the tests sign what they ask a server themselves, so that it may be one that checks. Written for them alone: a
//! mistake of the client's cannot hide in it. For requests without a body.

use std::process::Command;
use std::sync::OnceLock;

use sha2::{Digest, Sha256};

const NO_BODY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// The headers that show who asks, each with its line's end. `headers` are further ones, which are sent too.
pub(super) fn signed(keys: (&str, &str), host: &str, method: &str, target: &str, headers: &str) -> String {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let time = time();
    let mut lines: Vec<(String, String)> = headers
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let own = [("host", host), ("x-amz-content-sha256", NO_BODY), ("x-amz-date", time)];
    lines.extend(own.map(|(name, value)| (name.to_owned(), value.to_owned())));
    lines.sort();
    let names: Vec<&str> = lines.iter().map(|(name, _)| name.as_str()).collect();
    let names = names.join(";");
    let said: String = lines.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
    let whole = format!("{method}\n{path}\n{}\n{said}\n{names}\n{NO_BODY}", sorted(query));

    let scope = format!("{}/us-east-1/s3/aws4_request", &time[..8]);
    let message = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", hex(&Sha256::digest(whole)));
    let mut key = format!("AWS4{}", keys.1).into_bytes();
    for part in scope.split('/') {
        key = hmac(&key, part.as_bytes());
    }
    let signature = hex(&hmac(&key, message.as_bytes()));
    format!(
        "x-amz-content-sha256: {NO_BODY}\r\nx-amz-date: {time}\r\nAuthorization: AWS4-HMAC-SHA256 \
         Credential={}/{scope}, SignedHeaders={names}, Signature={signature}\r\n",
        keys.0
    )
}

/// When the tests began: a signature is good for a quarter of an hour.
fn time() -> &'static str {
    static TIME: OnceLock<String> = OnceLock::new();
    TIME.get_or_init(|| {
        let date = Command::new("date").args(["-u", "+%Y%m%dT%H%M%SZ"]).output().unwrap();
        String::from_utf8(date.stdout).unwrap().trim().to_owned()
    })
}

fn sorted(query: &str) -> String {
    let mut pairs: Vec<String> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            format!("{name}={}", value.replace('/', "%2F"))
        })
        .collect();
    pairs.sort();
    pairs.join("&")
}

fn hmac(key: &[u8], message: &[u8]) -> Vec<u8> {
    let pad = |with: u8| -> Vec<u8> {
        (0..64).map(|at| key.get(at).unwrap_or(&0) ^ with).collect() // No key here is longer.
    };
    let inner = Sha256::new().chain_update(pad(0x36)).chain_update(message).finalize();
    Sha256::new()
        .chain_update(pad(0x5c))
        .chain_update(inner)
        .finalize()
        .to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
