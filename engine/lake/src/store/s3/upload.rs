//! A file on its way into a bucket: in one request if it is small, else in parts.
//!
//! Either way there is no object before it is complete, and what a crash leaves of the parts is found by name.

use std::mem;
use std::sync::Arc;

use bytes::Bytes;

use super::bucket::Bucket;
use super::error::S3Error;
use crate::store::error::StoreError;
use crate::store::medium::PartialFile;

/// What is kept in memory of each open file. Ten thousand parts of this size are more than an object may have.
const PART_BYTES: usize = 8 << 20;

/// How an error of the bucket becomes one of the table.
pub(crate) type Describe = Box<dyn Fn(&'static str, S3Error) -> StoreError + Send>;

pub(crate) struct S3File {
    bucket: Arc<Bucket>,
    key: String,
    describe: Describe,
    buffer: Vec<u8>,
    upload_id: Option<String>,
    etags: Vec<String>,
    size: u64,
}

impl S3File {
    pub(crate) fn new(bucket: Arc<Bucket>, key: String, describe: Describe) -> S3File {
        S3File {
            bucket,
            key,
            describe,
            buffer: Vec::new(),
            upload_id: None,
            etags: Vec::new(),
            size: 0,
        }
    }

    fn upload_part(&mut self, body: &[u8]) -> Result<(), S3Error> {
        let id = match &self.upload_id {
            Some(id) => id,
            None => self.upload_id.insert(self.bucket.begin_upload(&self.key)?),
        };
        let etag = self.bucket.upload_part(&self.key, id, self.etags.len() + 1, body)?;
        self.etags.push(etag);
        Ok(())
    }

    fn try_append(&mut self, mut bytes: &[u8]) -> Result<(), S3Error> {
        while self.buffer.len() + bytes.len() >= PART_BYTES {
            let (now, later) = bytes.split_at(PART_BYTES - self.buffer.len());
            self.buffer.extend_from_slice(now);
            let part = mem::take(&mut self.buffer);
            self.upload_part(&part)?;
            bytes = later;
        }
        self.buffer.extend_from_slice(bytes);
        Ok(())
    }

    fn try_complete(&mut self) -> Result<(), S3Error> {
        let rest = mem::take(&mut self.buffer);
        if self.upload_id.is_none() {
            return self.bucket.put(&self.key, &rest);
        }
        if !rest.is_empty() {
            self.upload_part(&rest)?;
        }
        let id = self.upload_id.as_deref().unwrap_or_default();
        self.bucket.complete_upload(&self.key, id, &self.etags, self.size)
    }
}

impl PartialFile for S3File {
    fn append(&mut self, bytes: Bytes) -> Result<(), StoreError> {
        self.size += bytes.len() as u64;
        self.try_append(&bytes).map_err(|error| (self.describe)("write", error))
    }

    fn complete(mut self: Box<Self>) -> Result<(), StoreError> {
        self.try_complete().map_err(|error| (self.describe)("complete", error))
    }

    fn abort(self: Box<Self>) -> Result<(), StoreError> {
        match &self.upload_id {
            Some(id) => self.bucket.abort_upload(&self.key, id),
            None => Ok(()),
        }
        .map_err(|error| (self.describe)("abandon", error))
    }
}
