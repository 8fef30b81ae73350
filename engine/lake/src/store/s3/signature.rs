//! Signature Version 4: how a request shows who sends it without telling the secret.
//!
//! After Amazon's "Create a signed AWS API request". Pure: the time is an argument.

use std::fmt::{self, Write as _};

use sha2::{Digest, Sha256};

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const BLOCK_BYTES: usize = 64;

/// A key pair, for one region. Its `Debug` shows no secrets.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct AccessKey {
    id: String,
    secret: String,
    token: Option<String>,
    region: String,
}

/// What is signed of a request besides its body.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Unsigned<'a> {
    pub(crate) method: &'a str,
    /// As in the `Host` header: with the port if it is not the scheme's own.
    pub(crate) host: &'a str,
    /// From the first slash, percent-encoded.
    pub(crate) path: &'a str,
    /// Names and values as they are meant, in any order.
    pub(crate) query: &'a [(&'a str, &'a str)],
    /// Further headers, with names in lower case.
    pub(crate) headers: &'a [(&'a str, &'a str)],
    pub(crate) body: &'a [u8],
    /// Seconds since 1970.
    pub(crate) now: u64,
}

impl AccessKey {
    pub(crate) fn new(id: &str, secret: &str, token: Option<&str>, region: &str) -> AccessKey {
        AccessKey {
            id: id.to_owned(),
            secret: secret.to_owned(),
            token: token.map(str::to_owned),
            region: region.to_owned(),
        }
    }

    /// The headers that a request needs besides its own: `authorization` and what it covers.
    pub(crate) fn sign(&self, request: &Unsigned<'_>) -> Vec<(String, String)> {
        let body = hex(&Sha256::digest(request.body));
        let time = time_text(request.now);
        let day = &time[..8];
        let mut added = vec![
            ("x-amz-content-sha256".to_owned(), body.clone()),
            ("x-amz-date".to_owned(), time.clone()),
        ];
        if let Some(token) = &self.token {
            added.push(("x-amz-security-token".to_owned(), token.clone()));
        }

        let mut headers = vec![("host", request.host)];
        headers.extend_from_slice(request.headers);
        headers.extend(added.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        headers.sort_unstable();
        let names: Vec<&str> = headers.iter().map(|(name, _)| *name).collect();
        let names = names.join(";");
        let mut canonical = format!("{}\n{}\n{}\n", request.method, request.path, query_text(request.query));
        for (name, value) in headers {
            writeln!(canonical, "{name}:{}", value.trim()).expect("writing to a String succeeds");
        }
        write!(canonical, "\n{names}\n{body}").expect("writing to a String succeeds");

        let scope = format!("{day}/{}/s3/aws4_request", self.region);
        let to_sign = format!("{ALGORITHM}\n{time}\n{scope}\n{}", hex(&Sha256::digest(&canonical)));
        let mut key = hmac(format!("AWS4{}", self.secret).as_bytes(), day.as_bytes());
        for part in [&self.region, "s3", "aws4_request"] {
            key = hmac(&key, part.as_bytes());
        }
        let signature = hex(&hmac(&key, to_sign.as_bytes()));
        let credential = format!("{}/{scope}", self.id);
        added.push((
            "authorization".to_owned(),
            format!("{ALGORITHM} Credential={credential}, SignedHeaders={names}, Signature={signature}"),
        ));
        added
    }
}

impl fmt::Debug for AccessKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessKey")
            .field("id", &self.id)
            .field("region", &self.region)
            .finish_non_exhaustive()
    }
}

/// The query of a URL as it is signed and sent, without the question mark.
pub(crate) fn query_text(query: &[(&str, &str)]) -> String {
    let mut pairs: Vec<String> = query
        .iter()
        .map(|(name, value)| format!("{}={}", percent_encoded(name, false), percent_encoded(value, false)))
        .collect();
    pairs.sort_unstable();
    pairs.join("&")
}

/// Everything but letters, digits and `-._~` as `%XX`, and slashes as they are if `keep_slashes`.
pub(crate) fn percent_encoded(text: &str, keep_slashes: bool) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || (keep_slashes && byte == b'/') {
            encoded.push(char::from(byte));
        } else {
            write!(encoded, "%{byte:02X}").expect("writing to a String succeeds");
        }
    }
    encoded
}

/// RFC 2104 over SHA-256.
fn hmac(key: &[u8], message: &[u8]) -> [u8; 32] {
    let mut block = [0; BLOCK_BYTES];
    if key.len() > BLOCK_BYTES {
        block[..32].copy_from_slice(&Sha256::digest(key));
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let inner = Sha256::new()
        .chain_update(block.map(|byte| byte ^ 0x36))
        .chain_update(message)
        .finalize();
    Sha256::new()
        .chain_update(block.map(|byte| byte ^ 0x5c))
        .chain_update(inner)
        .finalize()
        .into()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(64), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a String succeeds");
        text
    })
}

/// `20260102T030405Z`.
fn time_text(now: u64) -> String {
    let (days, seconds) = (now / 86_400, now % 86_400);
    let date = crate::layout::date_text(i64::try_from(days).unwrap_or(0)).replace('-', "");
    format!(
        "{date}T{:02}{:02}{:02}Z",
        seconds / 3_600,
        seconds / 60 % 60,
        seconds % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of "Signature Calculations for the Authorization Header" in Amazon's S3 reference.
    fn example_key() -> AccessKey {
        AccessKey::new(
            "AKIAIOSFODNN7EXAMPLE",
            "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
            None,
            "us-east-1",
        )
    }

    #[test]
    fn signatures_are_those_of_amazons_examples() {
        let get = Unsigned {
            method: "GET",
            host: "examplebucket.s3.amazonaws.com",
            path: "/test.txt",
            query: &[],
            headers: &[("range", "bytes=0-9")],
            body: b"",
            now: 1_369_353_600, // 2013-05-24.
        };
        let put = Unsigned {
            method: "PUT",
            path: "/test%24file.text",
            headers: &[
                ("date", "Fri, 24 May 2013 00:00:00 GMT"),
                ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
            ],
            body: b"Welcome to Amazon S3.",
            ..get
        };
        let list = Unsigned {
            path: "/",
            query: &[("prefix", "J"), ("max-keys", "2")],
            headers: &[],
            ..get
        };
        for (request, signature) in [
            (get, "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"),
            (put, "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"),
            (list, "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"),
        ] {
            let headers = example_key().sign(&request);
            let (_, authorization) = headers.last().unwrap();
            assert!(
                authorization.ends_with(&format!("Signature={signature}")),
                "{authorization}"
            );
            assert!(
                authorization.starts_with(
                    "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, SignedHeaders="
                ),
                "{authorization}"
            );
        }
    }

    #[test]
    fn hmac_is_that_of_rfc_4231() {
        for (key, message, mac) in [
            (
                &[0x0b; 20][..],
                &b"Hi There"[..],
                "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
            ),
            (
                &[0xaa; 131],
                b"Test Using Larger Than Block-Size Key - Hash Key First",
                "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
            ),
        ] {
            assert_eq!(hex(&hmac(key, message)), mac);
        }
    }

    #[test]
    fn a_token_is_signed_and_sent() {
        let key = AccessKey::new("id", "secret", Some("token"), "eu-north-1");
        let request = Unsigned {
            method: "HEAD",
            host: "h:9000",
            path: "/b/k",
            query: &[],
            headers: &[],
            body: b"",
            now: 0,
        };
        let headers = key.sign(&request);
        assert!(headers.contains(&("x-amz-security-token".into(), "token".into())));
        let (_, authorization) = headers.last().unwrap();
        assert!(authorization.contains("host;x-amz-content-sha256;x-amz-date;x-amz-security-token"));
        assert!(!format!("{key:?}").contains("secret") && !format!("{key:?}").contains("token"));
    }

    #[test]
    fn what_a_key_may_hold_is_encoded_once() {
        for (text, encoded) in [
            ("dt=2026-01-02/c=a%2Fb", "dt%3D2026-01-02/c%3Da%252Fb"),
            ("Zürich ~", "Z%C3%BCrich%20~"),
        ] {
            assert_eq!(percent_encoded(text, true), encoded);
        }
        assert_eq!(
            query_text(&[("uploads", ""), ("prefix", "a/b")]),
            "prefix=a%2Fb&uploads="
        );
    }
}
