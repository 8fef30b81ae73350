//! An error with its causes as one line, as a user reads it.

use std::error::Error;
use std::fmt::Write as _;

/// `error: cause: cause`; a cause that its parent already quotes is not repeated.
pub fn describe(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.ends_with(&next) {
            let _ = write!(text, ": {next}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Link {
        text: &'static str,
        #[source]
        cause: Option<Box<Link>>,
    }

    fn link(text: &'static str, cause: Option<Link>) -> Link {
        Link {
            text,
            cause: cause.map(Box::new),
        }
    }

    #[test]
    fn causes_follow_each_other_and_are_told_once() {
        let error = link(
            "cannot fetch",
            Some(link("broker 1: refused", Some(link("refused", None)))),
        );
        assert_eq!(describe(&error), "cannot fetch: broker 1: refused");
        assert_eq!(describe(&link("alone", None)), "alone");
    }
}
