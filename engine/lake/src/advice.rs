//! What a user can do about storage that refuses.

use std::error::Error;
use std::io;

/// How rustls begins what it says of a certificate. ureq tells it on as text only.
const CERTIFICATE: &str = "invalid peer certificate";

/// What to do about `error`, if one of its causes is a disk that is full or must not be written, or a certificate that
/// nobody here trusts.
pub fn advice(error: &dyn Error) -> Option<&'static str> {
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(kind) = error.downcast_ref::<io::Error>().map(io::Error::kind) {
            return of_kind(kind);
        }
        cause = error.source();
        if cause.is_none() && error.to_string().contains(CERTIFICATE) {
            return Some(
                "name the certificate of the authority that signed the endpoint's in `ca_bundle` or AWS_CA_BUNDLE, \
                 and call the endpoint by the name that it is signed for",
            );
        }
    }
    None
}

fn of_kind(kind: io::ErrorKind) -> Option<&'static str> {
    match kind {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            Some("free space on the disk of the lake and start again: nothing of this checkpoint can be seen by half")
        }
        io::ErrorKind::PermissionDenied => Some("let this user write to the folder of the lake, and start again"),
        io::ErrorKind::ReadOnlyFilesystem => {
            Some("mount the disk of the lake so that it can be written, and start again")
        }
        io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory => {
            Some("a file is in the place of a folder of the lake: move it away, or change `path`")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot write")]
    struct CannotWrite(#[source] io::Error);

    #[test]
    fn a_disk_that_refuses_comes_with_what_to_do() {
        let error = |kind: io::ErrorKind| CannotWrite(kind.into());
        for (kind, word) in [
            (io::ErrorKind::StorageFull, "free space"),
            (io::ErrorKind::PermissionDenied, "let this user write"),
            (io::ErrorKind::ReadOnlyFilesystem, "mount"),
            (io::ErrorKind::AlreadyExists, "a file is in the place of a folder"),
        ] {
            let advice = advice(&error(kind)).unwrap();
            assert!(advice.starts_with(word), "{advice}");
        }
        assert_eq!(advice(&error(io::ErrorKind::Interrupted)), None);
    }
}
