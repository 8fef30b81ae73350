//! What other clients and other stream engines paid for, and the tests that show that ours does not.
//!
//! A test names its pitfall in a line of its documentation, `/// Pitfall N: what of it this shows.` or `/// Pitfall N of the
//! stream engine: …` Each pitfall must have such a test, and a table (`pitfalls.md`, `stream-pitfalls.md`) must tell of it and
//! of tests that are there. After adding one: `ENGINE_WRITE_PITFALLS=1 cargo test -p protocol-tests --test pitfalls`.

#[path = "pitfalls/catalogue.rs"]
mod catalogue;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use catalogue::{CLIENT, Catalogue, STREAM};

#[test]
fn every_pitfall_has_a_test_that_names_it() {
    for catalogue in [CLIENT, STREAM] {
        let (of, marked) = (catalogue.of, marked_tests(&catalogue));
        let numbers = 1..=catalogue.pitfalls.len();
        let beyond: Vec<_> = marked.keys().filter(|number| !numbers.contains(number)).collect();
        assert!(
            beyond.is_empty(),
            "there are {} pitfalls{of}, not {beyond:?}",
            catalogue.pitfalls.len()
        );
        let without: Vec<_> = numbers.filter(|number| !marked.contains_key(number)).collect();
        assert!(
            without.is_empty(),
            "no test is marked with `/// Pitfall N{of}:` for {without:?}"
        );
    }
}

#[test]
fn the_tables_tell_every_pitfall_and_tests_that_are_there() {
    for catalogue in [CLIENT, STREAM] {
        let marked = marked_tests(&catalogue);
        let path = root().join("protocol-tests").join(catalogue.file);
        if std::env::var_os("ENGINE_WRITE_PITFALLS").is_some() {
            fs::write(&path, table(&catalogue, &marked)).unwrap();
        }
        let written = fs::read_to_string(&path).unwrap();
        let rows: Vec<&str> = written
            .lines()
            .filter(|line| line.starts_with("| ") && !line.starts_with("| # "))
            .collect();
        assert_eq!(rows.len(), catalogue.pitfalls.len(), "{}: one row each", catalogue.file);
        for (index, (row, pitfall)) in rows.iter().zip(catalogue.pitfalls).enumerate() {
            let number = index + 1;
            let told: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
            let [told_number, told_pitfall, tests] = told[..] else {
                panic!("three columns: {row}");
            };
            assert_eq!((told_number, told_pitfall), (number.to_string().as_str(), *pitfall));
            let known: BTreeSet<&str> = marked[&number].iter().map(|test| test.name.as_str()).collect();
            let named: BTreeSet<&str> = tests.split('`').skip(1).step_by(2).collect();
            assert!(!named.is_empty(), "{}: pitfall {number} names no test", catalogue.file);
            let gone: Vec<_> = named.difference(&known).collect();
            assert!(
                gone.is_empty(),
                "{}: no longer marked with pitfall {number}: {gone:?}",
                catalogue.file
            );
        }
    }
}

#[test]
fn a_mark_counts_only_above_a_test() {
    let source = "/// Pitfall 3: of a test.\n/// More.\n#[tokio::test]\nasync fn waits() {}\n\n/// Pitfall 4: of none.\nfn helps() {}\n\n\
                  /// Pitfall 5: torn off.\n\n#[test]\nfn stands() {}\n/// Pitfall 6 of the stream engine: of it.\n#[test]\nfn flows() {}\n";
    assert_eq!(marks(source, CLIENT.of), [(3, "waits".to_owned())]);
    assert_eq!(marks(source, STREAM.of), [(6, "flows".to_owned())]);
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct MarkedTest {
    file: String,
    name: String,
}

fn marked_tests(catalogue: &Catalogue) -> BTreeMap<usize, BTreeSet<MarkedTest>> {
    let mut marked: BTreeMap<usize, BTreeSet<MarkedTest>> = BTreeMap::new();
    let mut files = Vec::new();
    for folder in ["engine", "protocol-tests"] {
        rust_files(&root().join(folder), &mut files);
    }
    for path in files.iter().filter(|path| !path.ends_with("tests/pitfalls.rs")) {
        let file = path.strip_prefix(root()).unwrap().to_string_lossy().replace('\\', "/");
        for (number, name) in marks(&fs::read_to_string(path).unwrap(), catalogue.of) {
            let file = file.clone();
            marked.entry(number).or_default().insert(MarkedTest { file, name });
        }
    }
    marked
}

/// Numbers of one catalogue's pitfalls with the test functions below them.
fn marks(source: &str, of: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut numbers = Vec::new();
    let mut is_test = false;
    for line in source.lines().map(str::trim) {
        if let Some(mark) = line.strip_prefix("/// Pitfall ") {
            let (number, said) = mark.split_at(mark.find(|c: char| !c.is_ascii_digit()).unwrap_or(mark.len()));
            let number: usize = number
                .parse()
                .unwrap_or_else(|_| panic!("a number and a colon: {line}"));
            let known = [CLIENT.of, STREAM.of]
                .into_iter()
                .find(|of| said.strip_prefix(of).is_some_and(|rest| rest.starts_with(':')));
            assert!(known.is_some(), "a number, whose pitfall it is, and a colon: {line}");
            numbers.extend((known == Some(of)).then_some(number));
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

fn table(catalogue: &Catalogue, marked: &BTreeMap<usize, BTreeSet<MarkedTest>>) -> String {
    let mut text = format!(
        "{}\n\n| # | what goes wrong | tests |\n|---|---|---|\n",
        catalogue.heading
    );
    for (index, pitfall) in catalogue.pitfalls.iter().enumerate() {
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
