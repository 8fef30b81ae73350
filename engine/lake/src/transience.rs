//! Whether storage that failed may go on by itself.

use std::error::Error;

use crate::store::s3::error::S3Error;

/// Whether one of the causes of `error` is a bucket that did not answer, or asked to be left alone for a while: the same
/// may go well another time. Everything else, also a disk that is full, would only happen again.
///
/// A writer that failed so is done for all the same: recover and open another.
pub fn is_transient(error: &(dyn Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let boxed = error.downcast_ref::<Box<S3Error>>().map(AsRef::as_ref);
        if let Some(error) = boxed.or_else(|| error.downcast_ref::<S3Error>()) {
            return error.is_transient();
        }
        cause = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::time::Duration;

    use super::*;
    use crate::publish::PublishError;
    use crate::recovery::RecoverError;
    use crate::store::disk::disk_error;
    use crate::store::error::StoreError;

    fn refused(status: u16) -> RecoverError {
        let source = S3Error::Refused {
            method: "PUT",
            url: "http://h/b/k".into(),
            status,
            code: "Code".into(),
            message: String::new(),
            attempts: 1,
            waited: Duration::ZERO,
        };
        RecoverError::Publish(PublishError::Store(StoreError::Bucket {
            operation: "publish",
            path: "k".into(),
            location: "s3://b".into(),
            source: Box::new(source),
        }))
    }

    #[test]
    fn a_bucket_is_found_under_whatever_went_wrong_because_of_it() {
        assert!(is_transient(&refused(503)));
        assert!(!is_transient(&refused(403)));
    }

    #[test]
    fn a_disk_that_refuses_goes_on_refusing() {
        assert!(!is_transient(&disk_error(
            "write",
            "x".as_ref(),
            io::ErrorKind::StorageFull.into()
        )));
    }
}
