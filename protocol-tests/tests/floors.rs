//! The floors: no crate imports from above, and each keeps to what its room may know.
//!
//! The table is the one in `engine/docs/architecture.md`. It is compared with `cargo metadata`, so a
//! dependency that is merely declared counts, and so do dev- and build-dependencies.

use std::process::Command;

use serde_json::Value;

/// What each crate may import from the others; dev-dependencies obey the same table.
const ALLOWED: &[(&str, &[&str])] = &[
    ("engine", &["engine-runtime", "engine-broker", "engine-client"]),
    (
        "engine-runtime",
        &["engine-client", "engine-lake", "engine-stream", "engine-wire"],
    ),
    ("engine-client", &["engine-proto", "engine-wire"]),
    ("engine-proto", &["engine-wire"]),
    ("engine-broker", &["engine-wire"]),
    ("engine-lake", &[]),
    ("engine-stream", &[]),
    ("engine-wire", &[]),
    (
        "engine-bench",
        &[
            "engine-runtime",
            "engine-client",
            "engine-broker",
            "engine-wire",
            "engine-stream",
        ],
    ),
    ("protocol-tests", &["engine-wire", "engine-broker"]),
];

/// What only tests may import in addition.
const ALLOWED_IN_TESTS: &[(&str, &[&str])] = &[
    ("protocol-tests", &["engine-client", "engine-proto"]),
    // The verdict on a simulated pipeline reads its topics with nothing of the client under test.
    ("engine", &["engine-wire"]),
];

/// Outside crates that belong to some rooms only: (crate, the rooms).
const OUTSIDE: &[(&str, &[&str])] = &[
    ("kafka-protocol", &["engine-wire", "protocol-tests", "engine-bench"]),
    ("anyhow", &["engine", "engine-bench", "protocol-tests"]),
    ("clap", &["engine", "engine-bench"]),
    ("indicatif", &["engine", "engine-bench"]),
    ("toml_edit", &["engine-runtime"]),
    ("axum", &["engine-runtime"]),
    ("prometheus-client", &["engine-runtime"]),
    ("object_store", &["engine-lake"]),
    ("ureq", &["engine-lake"]),
];

/// Rooms without sockets and tasks.
const WITHOUT_TOKIO: &[&str] = &["engine-wire", "engine-proto", "engine-stream"];

/// Crates with C or C++ inside that a plain build may contain, each with its decision record.
const C_CODE_ACCEPTED: &[&str] = &[
    // datafusion-common switches arrow-ipc's zstd on: see decisions/0004.
    "zstd-sys",
];

#[derive(Debug, Clone)]
struct Dependency {
    from: String,
    to: String,
    in_tests: bool,
}

#[test]
fn no_import_runs_back_up() {
    let dependencies = dependencies_of_the_workspace();
    assert!(dependencies.len() > 50, "cargo metadata named only {dependencies:?}");
    let found = violations(&dependencies);
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn every_crate_of_the_workspace_has_a_floor() {
    let metadata = cargo_metadata();
    for package in packages(&metadata) {
        let name = text(package, "name");
        assert!(
            ALLOWED.iter().any(|(crate_name, _)| *crate_name == name),
            "{name} is not in the table of allowed imports; give it a floor in engine/docs/architecture.md first",
        );
    }
}

#[test]
fn the_default_build_contains_no_c_library_that_nobody_decided_on() {
    let lock = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.lock")).unwrap();
    let found: Vec<&str> = lock
        .lines()
        .filter_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"'))
        .filter(|name| links_c_code(name))
        .filter(|name| !C_CODE_ACCEPTED.contains(name))
        .collect();
    assert!(
        found.is_empty(),
        "C code in the build: {found:?}; it needs a decision record"
    );
}

#[test]
fn the_checker_sees_each_kind_of_violation() {
    let dependency = |from: &str, to: &str, in_tests| Dependency {
        from: from.to_owned(),
        to: to.to_owned(),
        in_tests,
    };
    for (bad, expected) in [
        (
            dependency("engine-wire", "engine-proto", false),
            "engine-wire must not import engine-proto",
        ),
        (
            dependency("engine-broker", "engine-client", true),
            "engine-broker must not import engine-client",
        ),
        (
            dependency("engine-lake", "engine-wire", false),
            "engine-lake must not import engine-wire",
        ),
        (
            dependency("protocol-tests", "engine-client", false),
            "protocol-tests must not import engine-client",
        ),
        (
            dependency("engine-proto", "tokio", false),
            "engine-proto must not know tokio",
        ),
        (
            dependency("engine-stream", "kafka-protocol", false),
            "engine-stream must not know kafka-protocol",
        ),
        (
            dependency("engine-runtime", "clap", false),
            "engine-runtime must not know clap",
        ),
    ] {
        assert_eq!(violations(std::slice::from_ref(&bad)), [expected], "{bad:?}");
    }
    for good in [
        dependency("engine", "engine-broker", false),
        dependency("protocol-tests", "engine-client", true),
        dependency("engine-client", "tokio", false),
        dependency("engine-wire", "kafka-protocol", false),
    ] {
        assert_eq!(violations(std::slice::from_ref(&good)), [""; 0], "{good:?}");
    }
    assert!(links_c_code("openssl-sys") && !links_c_code("windows-sys") && !links_c_code("tokio"));
}

fn violations(dependencies: &[Dependency]) -> Vec<String> {
    let allows = |table: &[(&str, &[&str])], room: &str, subject: &str| {
        table
            .iter()
            .any(|(name, list)| *name == room && list.contains(&subject))
    };
    let mut found = Vec::new();
    for Dependency { from, to, in_tests } in dependencies {
        let ours = ALLOWED.iter().any(|(name, _)| name == to);
        if ours && !allows(ALLOWED, from, to) && !(*in_tests && allows(ALLOWED_IN_TESTS, from, to)) {
            found.push(format!("{from} must not import {to}"));
        }
        let elsewhere = OUTSIDE.iter().any(|(name, _)| name == to) && !allows(OUTSIDE, to, from);
        if (elsewhere || (to == "tokio" && WITHOUT_TOKIO.contains(&from.as_str()))) && !*in_tests {
            found.push(format!("{from} must not know {to}"));
        }
    }
    found
}

/// By convention a crate named `…-sys` wraps a C library; these only declare system calls.
fn links_c_code(name: &str) -> bool {
    const DECLARATIONS_ONLY: &[&str] = &[
        "core-foundation-sys",
        "js-sys",
        "linux-raw-sys",
        // What macOS itself has: rustls-native-certs asks it for certificates there.
        "security-framework-sys",
        "web-sys",
        "windows-sys",
    ];
    name == "cmake" || (name.ends_with("-sys") && !DECLARATIONS_ONLY.contains(&name))
}

fn dependencies_of_the_workspace() -> Vec<Dependency> {
    let metadata = cargo_metadata();
    packages(&metadata)
        .iter()
        .flat_map(|package| {
            package["dependencies"]
                .as_array()
                .unwrap()
                .iter()
                .map(|dependency| Dependency {
                    from: text(package, "name").to_owned(),
                    to: text(dependency, "name").to_owned(),
                    in_tests: dependency["kind"] == "dev",
                })
        })
        .collect()
}

fn cargo_metadata() -> Value {
    let output = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()))
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn packages(metadata: &Value) -> &[Value] {
    metadata["packages"].as_array().unwrap()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap()
}
