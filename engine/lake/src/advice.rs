//! What a user can do about storage that refuses.

use std::error::Error;
use std::io;

/// What to do about `error`, if one of its causes is a disk that is full or must not be written.
pub fn advice(error: &dyn Error) -> Option<&'static str> {
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(kind) = error.downcast_ref::<io::Error>().map(io::Error::kind) {
            return match kind {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Some(
                    "free space on the disk of the lake and start again: nothing of this checkpoint can be seen by half",
                ),
                io::ErrorKind::PermissionDenied => {
                    Some("let this user write to the folder of the lake, and start again")
                }
                io::ErrorKind::ReadOnlyFilesystem => {
                    Some("mount the disk of the lake so that it can be written, and start again")
                }
                _ => None,
            };
        }
        cause = error.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compaction::disk::disk_error;

    #[test]
    fn a_disk_that_refuses_comes_with_what_to_do() {
        let error = |kind: io::ErrorKind| disk_error("write", "x".as_ref(), kind.into());
        for (kind, word) in [
            (io::ErrorKind::StorageFull, "free space"),
            (io::ErrorKind::PermissionDenied, "let this user write"),
            (io::ErrorKind::ReadOnlyFilesystem, "mount"),
        ] {
            let advice = advice(&error(kind)).unwrap();
            assert!(advice.starts_with(word), "{advice}");
        }
        assert_eq!(advice(&error(io::ErrorKind::Interrupted)), None);
    }
}
