//! One Parquet file being written: encoded in memory row group by row group, each handed to the store when it ends.

use std::mem;
use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::errors::ParquetError;

use crate::encode::FileEncoding;
use crate::layout;
use crate::store::LakeStore;
use crate::store::error::StoreError;
use crate::store::medium::PartialFile;
use crate::writer_id::WriterId;

pub(crate) struct OpenFile {
    name: String,
    encoder: ArrowWriter<Vec<u8>>,
    upload: Box<dyn PartialFile>,
    rows: u64,
    /// When it was used last, on the writer's own count.
    pub(crate) used: u64,
}

/// A file that is complete and durable except for its name in the staging folder.
#[derive(Debug)]
pub(crate) struct ClosedFile {
    pub(crate) name: String,
    pub(crate) folder: String,
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
}

/// A file that could not be written.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// Encoding failed.
    #[error("cannot encode lake file {file:?}")]
    Parquet {
        /// Its staged name.
        file: String,
        /// Why.
        #[source]
        source: ParquetError,
    },
    /// Storage failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl OpenFile {
    pub(crate) fn create(
        store: &LakeStore,
        writer_id: &WriterId,
        name: String,
        encoding: &FileEncoding,
    ) -> Result<OpenFile, FileError> {
        let encoder = ArrowWriter::try_new(
            Vec::new(),
            Arc::clone(&encoding.schema),
            Some((*encoding.properties).clone()),
        )
        .map_err(|source| FileError::Parquet {
            file: name.clone(),
            source,
        })?;
        let upload = store.upload(&layout::staged_path(writer_id, &name))?;
        Ok(OpenFile {
            name,
            encoder,
            upload,
            rows: 0,
            used: 0,
        })
    }

    pub(crate) fn write(&mut self, batch: &RecordBatch) -> Result<(), FileError> {
        self.encoder.write(batch).map_err(|source| self.parquet_error(source))?;
        self.rows += batch.num_rows() as u64;
        self.drain()
    }

    /// The bytes held in memory.
    pub(crate) fn buffered_bytes(&self) -> usize {
        self.encoder.memory_size() + self.encoder.inner().len()
    }

    /// The size the file would have if it were closed now, estimated.
    pub(crate) fn encoded_bytes(&self) -> u64 {
        (self.encoder.bytes_written() + self.encoder.in_progress_size()) as u64
    }

    /// Ends the row group and hands it to the store.
    pub(crate) fn end_row_group(&mut self) -> Result<(), FileError> {
        self.encoder.flush().map_err(|source| self.parquet_error(source))?;
        self.encoder
            .sync()
            .map_err(|source| self.parquet_error(source.into()))?;
        self.drain()
    }

    /// Writes the footer and makes the content durable.
    pub(crate) fn close(mut self, folder: String) -> Result<ClosedFile, FileError> {
        self.encoder.finish().map_err(|source| self.parquet_error(source))?;
        self.drain()?;
        let bytes = self.encoder.bytes_written() as u64;
        self.upload.complete()?;
        Ok(ClosedFile {
            name: self.name,
            folder,
            rows: self.rows,
            bytes,
        })
    }

    /// Forgets the file and removes what was written of it.
    pub(crate) fn abandon(self) -> Result<(), StoreError> {
        self.upload.abort()
    }

    fn drain(&mut self) -> Result<(), FileError> {
        let bytes = mem::take(self.encoder.inner_mut());
        if !bytes.is_empty() {
            self.upload.append(Bytes::from(bytes))?;
        }
        Ok(())
    }

    fn parquet_error(&self, source: ParquetError) -> FileError {
        FileError::Parquet {
            file: self.name.clone(),
            source,
        }
    }
}
