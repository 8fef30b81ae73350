//! What S3 can do with objects and unfinished uploads, as far as a table needs it. Keys are those of the bucket.

use bytes::Bytes;

use super::error::S3Error;
use super::request::{Answer, Request, Requester};
use super::signature::percent_encoded;
use super::xml::{self, escaped};

/// One page of a list has a thousand names: a folder with more pages than this is not one of ours.
const PAGES_MAX: usize = 10_000;
/// What is wrong with a list whose next page would be the same one, for ever.
const NO_PROGRESS: &str = "a page of a list that goes on where it began";
/// What is wrong with a list that is not whole and does not say how it goes on.
const CUT_OFF: &str = "a list that is cut off, without the token of its next page";
/// What one request reads of an object.
const PIECE_BYTES: u64 = 8 << 20;

/// A bucket.
#[derive(Debug)]
pub(crate) struct Bucket {
    name: String,
    requester: Requester,
}

/// What is directly in a folder.
#[derive(Debug, Default)]
pub(crate) struct Listed {
    /// Whole keys of objects.
    pub(crate) keys: Vec<String>,
    /// Prefixes of keys further down, each with a slash at its end.
    pub(crate) folders: Vec<String>,
}

impl Bucket {
    pub(crate) fn new(name: String, requester: Requester) -> Bucket {
        Bucket { name, requester }
    }

    pub(crate) fn url(&self) -> &str {
        self.requester.bucket_url()
    }

    /// Writes an object, over one of the same key if there is one.
    pub(crate) fn put(&self, key: &str, body: &[u8]) -> Result<(), S3Error> {
        let request = Request {
            body,
            ..Request::new("PUT", key)
        };
        self.requester.send(&request).map(drop)
    }

    /// Writes an object unless there is one of this key: false if there is, or if there is since an earlier attempt of
    /// this very call whose answer was lost.
    pub(crate) fn create(&self, key: &str, body: &[u8]) -> Result<bool, S3Error> {
        let request = Request {
            headers: &[("if-none-match", "*")],
            body,
            ..Request::new("PUT", key)
        };
        match self.requester.send(&request) {
            Ok(_) => Ok(true),
            Err(S3Error::Refused { status: 412, .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The size of an object, `None` if there is none.
    pub(crate) fn size_of(&self, key: &str) -> Result<Option<u64>, S3Error> {
        let request = Request::new("HEAD", key);
        let Some(answer) = found(self.requester.send(&request))? else {
            return Ok(None);
        };
        let size = header(&answer, "content-length").and_then(|size| size.parse().ok());
        let size = size.ok_or_else(|| self.requester.not_understood(&request, "no content-length"))?;
        Ok(Some(size))
    }

    /// The pieces of an object that has this size, one request each.
    pub(crate) fn pieces(&self, key: &str, size: u64) -> impl Iterator<Item = Result<Bytes, S3Error>> {
        let count = size.div_ceil(PIECE_BYTES);
        (0..count).map(move |index| {
            let first = index * PIECE_BYTES;
            let end = size.min(first + PIECE_BYTES);
            let range = format!("bytes={first}-{}", end - 1);
            let request = Request {
                headers: &[("range", &range)],
                ..Request::new("GET", key)
            };
            let answer = self.requester.send(&request)?;
            if answer.body.len() as u64 == end - first {
                return Ok(answer.body.into());
            }
            let what = format!("{} bytes for {range}", answer.body.len());
            Err(self.requester.not_understood(&request, what))
        })
    }

    /// Copies an object of this size, at most 5 GiB, inside the store. It appears in one step.
    pub(crate) fn copy(&self, from: &str, to: &str, size: u64) -> Result<(), S3Error> {
        let source = format!("/{}/{}", self.name, percent_encoded(from, true));
        let request = Request {
            headers: &[("x-amz-copy-source", &source)],
            moved_bytes: size,
            ..Request::new("PUT", to)
        };
        self.requester.send(&request).map(drop)
    }

    /// Deletes an object, if it is there.
    pub(crate) fn delete(&self, key: &str) -> Result<(), S3Error> {
        found(self.requester.send(&Request::new("DELETE", key))).map(drop)
    }

    /// What is directly in the folder of this prefix, which ends with a slash or is empty.
    pub(crate) fn list(&self, prefix: &str) -> Result<Listed, S3Error> {
        let mut listed = Listed::default();
        let mut next = None::<String>;
        for _ in 0..PAGES_MAX {
            let mut query = vec![("list-type", "2"), ("prefix", prefix), ("delimiter", "/")];
            query.extend(next.as_deref().map(|token| ("continuation-token", token)));
            let request = Request {
                query: &query,
                ..Request::new("GET", "")
            };
            let (mut following, mut truncated) = (None, false);
            for (path, text) in self.texts(&request)? {
                match path.strip_prefix("ListBucketResult/").unwrap_or_default() {
                    "IsTruncated" => truncated = text == "true",
                    "Contents/Key" => listed.keys.push(text),
                    "CommonPrefixes/Prefix" => listed.folders.push(text),
                    "NextContinuationToken" => following = Some(text),
                    _ => {}
                }
            }
            let Some(token) = following else {
                if truncated {
                    return Err(self.requester.not_understood(&request, CUT_OFF));
                }
                return Ok(listed);
            };
            if next.as_ref() == Some(&token) {
                return Err(self.requester.not_understood(&request, NO_PROGRESS));
            }
            next = Some(token);
        }
        let request = Request::new("GET", "");
        Err(self
            .requester
            .not_understood(&request, format!("more than {PAGES_MAX} pages in {prefix:?}")))
    }

    /// Keys and ids of the unfinished uploads whose keys begin with `prefix`. None if the store has no such list.
    pub(crate) fn uploads(&self, prefix: &str) -> Result<Vec<(String, String)>, S3Error> {
        let mut uploads = Vec::new();
        let mut next = (String::new(), String::new());
        for _ in 0..PAGES_MAX {
            let mut query = vec![("uploads", ""), ("prefix", prefix)];
            if !next.0.is_empty() {
                query.extend([("key-marker", next.0.as_str()), ("upload-id-marker", next.1.as_str())]);
            }
            let request = Request {
                query: &query,
                ..Request::new("GET", "")
            };
            let texts = match self.texts(&request) {
                Err(S3Error::Refused { status: 501 | 405, .. }) => {
                    tracing::debug!(
                        prefix,
                        "The store cannot list unfinished uploads: they stay until it drops them."
                    );
                    return Ok(uploads);
                }
                texts => texts?,
            };
            let (mut key, mut id, mut truncated) = (None, None, false);
            let mut following = (String::new(), String::new());
            for (path, text) in texts {
                match path.strip_prefix("ListMultipartUploadsResult/").unwrap_or_default() {
                    "Upload/Key" => key = Some(text),
                    "Upload/UploadId" => id = Some(text),
                    "IsTruncated" => truncated = text == "true",
                    "NextKeyMarker" => following.0 = text,
                    "NextUploadIdMarker" => following.1 = text,
                    _ => {}
                }
                if key.is_some() && id.is_some() {
                    uploads.extend(key.take().zip(id.take()));
                }
            }
            if !truncated || following.0.is_empty() {
                return Ok(uploads);
            }
            if next == following {
                return Err(self.requester.not_understood(&request, NO_PROGRESS));
            }
            next = following;
        }
        Ok(uploads)
    }

    /// Begins an upload in parts and tells its id.
    pub(crate) fn begin_upload(&self, key: &str) -> Result<String, S3Error> {
        let request = Request {
            query: &[("uploads", "")],
            ..Request::new("POST", key)
        };
        let texts = self.texts(&request)?;
        let id = texts
            .into_iter()
            .find(|(path, _)| path == "InitiateMultipartUploadResult/UploadId");
        id.map(|(_, id)| id)
            .ok_or_else(|| self.requester.not_understood(&request, "no upload id"))
    }

    /// Uploads a part, counted from 1, and tells its ETag. The same part may be uploaded again.
    pub(crate) fn upload_part(&self, key: &str, id: &str, number: usize, body: &[u8]) -> Result<String, S3Error> {
        let number = number.to_string();
        let request = Request {
            query: &[("partNumber", &number), ("uploadId", id)],
            body,
            ..Request::new("PUT", key)
        };
        let answer = self.requester.send(&request)?;
        let etag = header(&answer, "etag").map(str::to_owned);
        etag.ok_or_else(|| self.requester.not_understood(&request, "no etag"))
    }

    /// Makes an object of `size` bytes of the parts, in one step. That an earlier attempt has done so is success.
    pub(crate) fn complete_upload(&self, key: &str, id: &str, etags: &[String], size: u64) -> Result<(), S3Error> {
        let parts: String = (1..)
            .zip(etags)
            .map(|(number, etag)| {
                format!(
                    "<Part><PartNumber>{number}</PartNumber><ETag>{}</ETag></Part>",
                    escaped(etag)
                )
            })
            .collect();
        let body = format!("<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>");
        let request = Request {
            query: &[("uploadId", id)],
            headers: &[("content-type", "application/xml")],
            body: body.as_bytes(),
            moved_bytes: size,
            ..Request::new("POST", key)
        };
        match self.requester.send(&request) {
            Ok(_) => Ok(()),
            Err(error @ S3Error::Refused { status: 404, .. }) => match self.size_of(key)? {
                Some(found) if found == size => Ok(()),
                _ => Err(error),
            },
            Err(error) => Err(error),
        }
    }

    /// Drops an upload and its parts, if it is there.
    pub(crate) fn abort_upload(&self, key: &str, id: &str) -> Result<(), S3Error> {
        let request = Request {
            query: &[("uploadId", id)],
            ..Request::new("DELETE", key)
        };
        found(self.requester.send(&request)).map(drop)
    }

    fn texts(&self, request: &Request<'_>) -> Result<Vec<(String, String)>, S3Error> {
        let answer = self.requester.send(request)?;
        let text = std::str::from_utf8(&answer.body).map_err(|error| error.to_string());
        text.and_then(|text| xml::texts(text).map_err(|error| error.to_string()))
            .map_err(|what| self.requester.not_understood(request, what))
    }
}

/// `None` where the store says that there is no such object or upload. A missing bucket is an error.
fn found(result: Result<Answer, S3Error>) -> Result<Option<Answer>, S3Error> {
    match result {
        Err(S3Error::Refused { status: 404, code, .. }) if code != "NoSuchBucket" => Ok(None),
        other => other.map(Some),
    }
}

fn header<'a>(answer: &'a Answer, name: &str) -> Option<&'a str> {
    answer.headers.get(name)?.to_str().ok()
}
