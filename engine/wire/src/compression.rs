//! The codecs of a record batch.
//!
//! Pure Rust all of them. Reading accepts every framing that Kafka clients write; writing does what
//! the Java client does. Decompression never produces, nor reserves, more than its limit.
//! Never here: batches.

mod gzip;
mod lz4;
mod output;
mod snappy;
mod zstd;

use std::fmt;
use std::str::FromStr;

use gzip::{GzipDecoder, GzipEncoder};
use output::{Fault, Growing};
use zstd::ZstdEncoder;

/// How the records of a batch are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Codec {
    /// Not at all.
    #[default]
    None,
    /// RFC 1952.
    Gzip,
    /// Snappy blocks in xerial framing.
    Snappy,
    /// LZ4 frames.
    Lz4,
    /// RFC 8878.
    Zstd,
}

impl Codec {
    /// All of them, in the order of their ids.
    pub const ALL: [Self; 5] = [Self::None, Self::Gzip, Self::Snappy, Self::Lz4, Self::Zstd];

    /// The codec with this id in a batch's attributes.
    #[must_use]
    pub fn from_id(id: i16) -> Option<Self> {
        Self::ALL.get(usize::try_from(id).ok()?).copied()
    }

    /// The id in a batch's attributes.
    #[must_use]
    pub fn id(self) -> i16 {
        self as i16
    }

    /// Kafka's name, as in `compression.type`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that is not one of Kafka's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown compression type {name:?}: expected none, gzip, snappy, lz4 or zstd")]
pub struct UnknownCodec {
    /// What was given.
    pub name: String,
}

impl FromStr for Codec {
    type Err = UnknownCodec;

    fn from_str(name: &str) -> Result<Self, UnknownCodec> {
        Self::ALL
            .into_iter()
            .find(|codec| codec.name() == name)
            .ok_or_else(|| UnknownCodec { name: name.to_owned() })
    }
}

/// A codec and how hard it tries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Compression {
    /// The codec.
    pub codec: Codec,
    /// gzip: 1 to 9, default 6. The others have no levels here and ignore it.
    pub level: Option<u32>,
}

impl Compression {
    /// No compression.
    pub const NONE: Self = Self {
        codec: Codec::None,
        level: None,
    };
}

impl From<Codec> for Compression {
    fn from(codec: Codec) -> Self {
        Self { codec, level: None }
    }
}

/// Bytes cannot be compressed this way.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CompressError {
    /// The library refused; not known to happen.
    #[error("{codec} cannot compress {input_bytes} bytes: {reason}")]
    Failed {
        /// The codec.
        codec: Codec,
        /// How many were given.
        input_bytes: usize,
        /// What the library says.
        reason: String,
    },
}

/// Bytes do not decompress.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecompressError {
    /// The content is, or announces to be, larger than the limit.
    #[error("{codec} data of {input_bytes} bytes decompresses to more than {decompressed_bytes_max} bytes")]
    TooLarge {
        /// The codec.
        codec: Codec,
        /// Compressed size.
        input_bytes: usize,
        /// The limit.
        decompressed_bytes_max: usize,
    },
    /// Not what the codec writes.
    #[error("{codec} data of {input_bytes} bytes is corrupt: {reason}")]
    Corrupt {
        /// The codec.
        codec: Codec,
        /// Compressed size.
        input_bytes: usize,
        /// What does not fit.
        reason: String,
    },
}

/// What a [`Decompressor`] may spend on one batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecodeLimits {
    /// A batch that decompresses to more is refused.
    pub decompressed_bytes_max: usize,
}

impl Default for DecodeLimits {
    /// 128 MiB: well above any `message.max.bytes` times a usual ratio.
    fn default() -> Self {
        Self {
            decompressed_bytes_max: 128 << 20,
        }
    }
}

/// Compresses; keeps the codecs' state from one batch to the next.
#[derive(Default)]
pub struct Compressor {
    gzip: Option<GzipEncoder>,
    snappy: Option<snap::raw::Encoder>,
    lz4: Option<lz4_flex::block::CompressTable>,
    zstd: Option<ZstdEncoder>,
}

impl Compressor {
    /// State is built when a codec is first used.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends the compressed form of `input` to `output`.
    ///
    /// # Errors
    /// [`CompressError`]; `output` is as before then.
    pub fn compress(
        &mut self,
        compression: Compression,
        input: &[u8],
        output: &mut Vec<u8>,
    ) -> Result<(), CompressError> {
        let start = output.len();
        let codec = compression.codec;
        let result = match codec {
            Codec::None => {
                output.extend_from_slice(input);
                Ok(())
            }
            Codec::Gzip => self
                .gzip
                .get_or_insert_with(GzipEncoder::new)
                .encode(compression.level, input, output),
            Codec::Snappy => {
                let encoder = self.snappy.get_or_insert_with(snap::raw::Encoder::new);
                snappy::encode(encoder, input, output)
            }
            Codec::Lz4 => {
                let table = self.lz4.get_or_insert_with(lz4_flex::block::CompressTable::large);
                lz4::encode(table, input, output)
            }
            Codec::Zstd => self.zstd.get_or_insert_with(ZstdEncoder::new).encode(input, output),
        };
        result.map_err(|reason| {
            output.truncate(start);
            CompressError::Failed {
                codec,
                input_bytes: input.len(),
                reason,
            }
        })
    }
}

impl fmt::Debug for Compressor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Compressor").finish_non_exhaustive()
    }
}

/// Decompresses; keeps the codecs' state and one scratch buffer from one batch to the next.
///
/// The buffer stays as large as the largest batch so far, at most
/// [`DecodeLimits::decompressed_bytes_max`].
#[derive(Default)]
pub struct Decompressor {
    limits: DecodeLimits,
    scratch: Vec<u8>,
    gzip: Option<GzipDecoder>,
    snappy: Option<snap::raw::Decoder>,
    zstd: Option<Box<ruzstd::decoding::FrameDecoder>>,
}

impl Decompressor {
    /// State is built when a codec is first used.
    #[must_use]
    pub fn new(limits: DecodeLimits) -> Self {
        Self {
            limits,
            ..Self::default()
        }
    }

    /// The content of `input`: itself if it is not compressed, else the scratch buffer.
    ///
    /// # Errors
    /// [`DecompressError`] for corrupt input or content above the limit.
    pub fn decompress<'a>(&'a mut self, codec: Codec, input: &'a [u8]) -> Result<&'a [u8], DecompressError> {
        if codec == Codec::None {
            return Ok(input);
        }
        let limit = self.limits.decompressed_bytes_max;
        let mut output = Growing::new(&mut self.scratch, limit);
        let result = match codec {
            Codec::None => Ok(()),
            Codec::Gzip => self
                .gzip
                .get_or_insert_with(GzipDecoder::new)
                .decode(input, &mut output),
            Codec::Snappy => {
                let decoder = self.snappy.get_or_insert_with(snap::raw::Decoder::new);
                snappy::decode(decoder, input, &mut output)
            }
            Codec::Lz4 => lz4::decode(input, &mut output),
            Codec::Zstd => {
                let decoder = self.zstd.get_or_insert_with(Box::default);
                zstd::decode(decoder, input, limit, &mut output)
            }
        };
        let used = output.used();
        match result {
            Ok(()) => Ok(&self.scratch[..used]),
            Err(fault) => {
                // A decoder that stopped half-way is not worth trusting.
                self.zstd = None;
                self.gzip = None;
                let input_bytes = input.len();
                Err(match fault {
                    Fault::TooLarge => DecompressError::TooLarge {
                        codec,
                        input_bytes,
                        decompressed_bytes_max: limit,
                    },
                    Fault::Corrupt(reason) => DecompressError::Corrupt {
                        codec,
                        input_bytes,
                        reason,
                    },
                })
            }
        }
    }
}

impl fmt::Debug for Decompressor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decompressor")
            .field("limits", &self.limits)
            .field("scratch_bytes", &self.scratch.len())
            .finish_non_exhaustive()
    }
}
