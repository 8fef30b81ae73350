//! Zstandard (RFC 8878), read and written without the C library, so that the binary links
//! statically and needs no C compiler.
//!
//! Reading is `ruzstd`. Writing is ours: that crate's encoder carries a Huffman table over from a
//! block that it then throws away, has assertions on the way and makes larger output more slowly
//! (see `docs/decisions/0006`). What is written here are single frames with their content size,
//! no checksum (the batch has one) and no state between blocks but the last three offsets.

mod bits;
mod decode;
mod encode;
mod fse;
mod huffman;
mod matches;
mod sequences;

pub(crate) use decode::decode;
pub(crate) use encode::ZstdEncoder;
