//! Who wrote a file: the name that keeps the files of several writers apart.

use std::fmt;

/// The longest writer id in bytes: a file name has 255, and ours adds a checkpoint, a sequence and a run to it.
const WRITER_ID_BYTES_MAX: usize = 160;

/// The stable name of one writer of one table, such as `ad-campaigns.lake.0`.
///
/// It is part of every file name and names the staging folder. [`crate::recover`] deletes only what was staged under
/// its own writer id, so two processes that may run at the same time must have different ones; the same process has to
/// use the same one again after a restart.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WriterId(String);

impl WriterId {
    /// Accepts letters, digits, `.`, `-` and `_`, not beginning with `.` or `_` (readers skip such files).
    pub fn new(text: impl Into<String>) -> Result<WriterId, WriterIdError> {
        let text = text.into();
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
        if text.is_empty() || text.starts_with(['.', '_']) || !text.bytes().all(allowed) {
            return Err(WriterIdError::Characters(text));
        }
        if text.len() > WRITER_ID_BYTES_MAX {
            return Err(WriterIdError::TooLong { bytes: text.len() });
        }
        Ok(WriterId(text))
    }

    /// The name itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for WriterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A name that cannot be a writer id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WriterIdError {
    /// A character that is not safe in a file name everywhere.
    #[error("writer id {0:?}: use letters, digits, '.', '-' and '_', and begin with a letter or a digit")]
    Characters(String),
    /// Longer than a file name can take.
    #[error("the writer id has {bytes} bytes, at most {WRITER_ID_BYTES_MAX} fit into a file name")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writer_ids_are_safe_file_names() {
        for (text, accepted) in [
            ("ad-campaigns.lake.0", true),
            ("a", true),
            ("-", true),
            ("", false),
            (".", false),
            ("..", false),
            ("_hidden", false),
            (".hidden", false),
            ("a/b", false),
            ("a\\b", false),
            ("a b", false),
            ("a\0b", false),
            ("ä", false),
            ("a%2Fb", false),
        ] {
            assert_eq!(WriterId::new(text).is_ok(), accepted, "{text:?}");
        }
        assert_eq!(
            WriterId::new("x".repeat(161)),
            Err(WriterIdError::TooLong { bytes: 161 })
        );
    }
}
