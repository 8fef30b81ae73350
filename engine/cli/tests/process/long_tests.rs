//! Tests that mostly wait, or keep a small machine busy for minutes.

use std::io::Write;

/// Whether they are to run: with `ENGINE_LONG_TESTS`, which `scripts/check` sets. Says so where not; the harness captures what
/// `eprintln!` prints, and a skipped test must be seen.
pub(crate) fn are_long_tests_wanted(test: &str) -> bool {
    let are_wanted = std::env::var("ENGINE_LONG_TESTS").is_ok_and(|value| !matches!(value.as_str(), "" | "0"));
    if !are_wanted {
        let text = format!("\n# SKIPPED, it takes long: {test}; scripts/check runs it, and ENGINE_LONG_TESTS=1\n");
        let _ = std::io::stderr().write_all(text.as_bytes());
    }
    are_wanted
}
