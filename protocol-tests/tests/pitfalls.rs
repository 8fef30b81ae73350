//! What other clients paid for, and the tests that show that ours does not.
//!
//! A test names its pitfall in a line of its documentation, `/// Pitfall N: what of it this shows.` Each pitfall must have
//! such a test, and `pitfalls.md` must tell of it and of tests that are there. After adding one:
//! `ENGINE_WRITE_PITFALLS=1 cargo test -p protocol-tests --test pitfalls`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

/// What goes wrong, by number.
const PITFALLS: [&str; 21] = [
    "Compaction took a batch, or its last records, and the position stays in front of the hole for ever.",
    "Under LogAppendTime a record's own time is read, and not the one time that its whole batch has.",
    "Timestamps of one batch lie more than 24 days apart, and their distance is kept in 32 bits.",
    "Aborted transactions are listed in any order, some wrote nothing here, some are compressed: what was aborted is read, or \
     what was committed is not.",
    "Markers are not for the application, and the position, the committed offset or the leader epoch stays in front of them.",
    "A broker that restarts does not know a topic for a moment, and sequences begin again or records are lost.",
    "An answer is lost, and what may have been written goes out under another sequence, or its duplicate counts as a failure.",
    "A gap in one partition's sequence raises the epoch under the batches of another; inside a transaction it must abort.",
    "Retention took the producer's last batch, the broker forgot the producer, and the producer gives up (KIP-360).",
    "A broker dies, and everybody asks for metadata at once.",
    "A broker refuses the version of ApiVersions in version 0, lists nothing but that, or just hangs up.",
    "A topic goes by its id before the id is known: a zero is sent.",
    "A topic is deleted and made again: its epochs begin again and look old, its old id is unknown for ever.",
    "A broker that lags behind names an old leader, and the partition moves back to it.",
    "A fetch is answered while its position is being validated, and its records are read twice.",
    "Heartbeats stop while records are processed, or while the group rebalances.",
    "A commit is refused because the member lost its place, which then waits for its next heartbeat; or a stale owner's commit \
     is taken.",
    "Two members of a sticky group claim one partition, of different generations.",
    "An answer is wrong or malicious: negative and huge counts, bombs, partitions too many, twice or not at all.",
    "A fetch without records has null there, or nothing.",
    "The position is out of range, and reading begins somewhere else without a word.",
];

#[test]
fn every_pitfall_has_a_test_that_names_it() {
    let marked = marked_tests();
    let beyond: Vec<_> = marked
        .keys()
        .filter(|number| !(1..=PITFALLS.len()).contains(number))
        .collect();
    assert!(
        beyond.is_empty(),
        "there are {} pitfalls, not {beyond:?}",
        PITFALLS.len()
    );
    let without: Vec<_> = (1..=PITFALLS.len())
        .filter(|number| !marked.contains_key(number))
        .collect();
    assert!(
        without.is_empty(),
        "no test is marked with `/// Pitfall N:` for {without:?}"
    );
}

#[test]
fn the_table_tells_every_pitfall_and_tests_that_are_there() {
    let marked = marked_tests();
    let path = root().join("protocol-tests/pitfalls.md");
    if std::env::var_os("ENGINE_WRITE_PITFALLS").is_some() {
        fs::write(&path, table(&marked)).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap();
    let rows: Vec<&str> = written
        .lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| # "))
        .collect();
    assert_eq!(rows.len(), PITFALLS.len(), "one row each");
    for (index, (row, pitfall)) in rows.iter().zip(PITFALLS).enumerate() {
        let number = index + 1;
        let told: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [told_number, told_pitfall, tests] = told[..] else {
            panic!("three columns: {row}");
        };
        assert_eq!((told_number, told_pitfall), (number.to_string().as_str(), pitfall));
        let known: BTreeSet<&str> = marked[&number].iter().map(|test| test.name.as_str()).collect();
        let named: BTreeSet<&str> = tests.split('`').skip(1).step_by(2).collect();
        assert!(!named.is_empty(), "pitfall {number} names no test");
        let gone: Vec<_> = named.difference(&known).collect();
        assert!(gone.is_empty(), "no longer marked with pitfall {number}: {gone:?}");
    }
}

#[test]
fn a_mark_counts_only_above_a_test() {
    let source = "/// Pitfall 3: of a test.\n/// More.\n#[tokio::test]\nasync fn waits() {}\n\n/// Pitfall 4: of none.\nfn helps() {}\n\n\
                  /// Pitfall 5: torn off.\n\n#[test]\nfn stands() {}\n";
    let found: Vec<_> = marks(source).into_iter().collect();
    assert_eq!(found, [(3, "waits".to_owned())]);
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct MarkedTest {
    file: String,
    name: String,
}

fn marked_tests() -> BTreeMap<usize, BTreeSet<MarkedTest>> {
    let mut marked: BTreeMap<usize, BTreeSet<MarkedTest>> = BTreeMap::new();
    let mut files = Vec::new();
    for folder in ["engine", "protocol-tests"] {
        rust_files(&root().join(folder), &mut files);
    }
    for path in files.iter().filter(|path| !path.ends_with("tests/pitfalls.rs")) {
        let file = path.strip_prefix(root()).unwrap().to_string_lossy().replace('\\', "/");
        for (number, name) in marks(&fs::read_to_string(path).unwrap()) {
            let file = file.clone();
            marked.entry(number).or_default().insert(MarkedTest { file, name });
        }
    }
    marked
}

/// Numbers of pitfalls with the test functions below them.
fn marks(source: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut numbers = Vec::new();
    let mut is_test = false;
    for line in source.lines().map(str::trim) {
        if let Some(mark) = line.strip_prefix("/// Pitfall ") {
            let number = mark.split(':').next().and_then(|number| number.parse().ok());
            numbers.push(number.unwrap_or_else(|| panic!("a number and a colon: {line}")));
        } else if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
            is_test = true;
        } else if !line.starts_with("///") && !line.starts_with("#[") && !line.starts_with("//") {
            let function = line.split("fn ").nth(1).and_then(|rest| rest.split(['(', '<']).next());
            if let Some(name) = function.filter(|_| is_test) {
                found.extend(numbers.iter().map(|number| (*number, name.to_owned())));
            }
            numbers.clear();
            is_test = false;
        }
    }
    found
}

fn table(marked: &BTreeMap<usize, BTreeSet<MarkedTest>>) -> String {
    let mut text =
        "# Pitfalls\n\nWhat other clients paid for, and tests that show that this one does not. `tests/pitfalls.rs` \
                    writes and checks this table;\na test counts by a line `/// Pitfall N: …` in its documentation.\n\n\
                    | # | what goes wrong | tests |\n|---|---|---|\n"
            .to_owned();
    for (index, pitfall) in PITFALLS.iter().enumerate() {
        let tests = marked.get(&(index + 1)).into_iter().flatten();
        let tests: Vec<String> = tests.map(|test| format!("`{}` ({})", test.name, test.file)).collect();
        writeln!(text, "| {} | {pitfall} | {} |", index + 1, tests.join(", ")).unwrap();
    }
    text
}

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            if !path.ends_with("target") {
                rust_files(&path, found);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}
