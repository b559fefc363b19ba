//! The direction of dependencies, as docs/architecture.md has it, over `cargo metadata`.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde::Deserialize;

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    dependencies: Vec<Dependency>,
    targets: Vec<Target>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    /// Absent for ordinary ones; `dev` or `build`.
    kind: Option<String>,
}

#[derive(Deserialize)]
struct Target {
    kind: Vec<String>,
}

/// What each crate may import of ours, for what is shipped.
const MAY_IMPORT: [(&str, &[&str]); 14] = [
    ("nabi-domain", &[]),
    ("nabi-llama-sys", &[]),
    ("nabi-wire", &["nabi-domain"]),
    ("nabi-models", &["nabi-domain"]),
    ("nabi-prompt", &["nabi-domain"]),
    ("nabi-hardware", &["nabi-domain"]),
    ("nabi-engine", &["nabi-domain", "nabi-wire", "nabi-models"]),
    ("nabi-engine-llama", &["nabi-domain", "nabi-wire", "nabi-models", "nabi-engine", "nabi-llama-sys"]),
    ("nabi-supervisor", &["nabi-domain", "nabi-wire", "nabi-models"]),
    ("nabi-gateway", &["nabi-domain", "nabi-wire", "nabi-prompt"]),
    ("nabi-import", &["nabi-domain", "nabi-wire", "nabi-models"]),
    ("nabi-probe", &["nabi-domain", "nabi-wire", "nabi-hardware"]),
    ("nabi-setup", &["nabi-domain", "nabi-wire", "nabi-models"]),
    ("nabi-console", &["nabi-domain", "nabi-wire"]),
];

/// Crates of the tests: nothing shipped may import them.
const TESTS: [&str; 9] = [
    "nabi-tests",
    "nabi-bench",
    "nabi-fuzz",
    "nabi-machine",
    "nabi-makers",
    "nabi-soak",
    "nabi-stub-engine",
    "nabi-stub-nvml",
    "nabi-model-corpus",
];

fn packages() -> Vec<Package> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version=1", "--locked"])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Metadata = serde_json::from_slice(&output.stdout).expect("cargo metadata is JSON");
    metadata.packages
}

#[test]
fn dependencies_point_the_way_that_the_layout_says() {
    let rules: BTreeMap<&str, &[&str]> = MAY_IMPORT.into_iter().collect();
    let packages = packages();
    let ours: BTreeSet<&str> = packages.iter().map(|package| package.name.as_str()).collect();
    for package in packages.iter().filter(|package| !TESTS.contains(&package.name.as_str())) {
        let allowed = rules.get(package.name.as_str());
        let allowed =
            allowed.unwrap_or_else(|| panic!("{} is in no room: add it to the table", package.name));
        let shipped =
            package.dependencies.iter().filter(|dependency| dependency.kind.as_deref() != Some("dev"));
        for dependency in shipped.filter(|dependency| ours.contains(dependency.name.as_str())) {
            assert!(
                allowed.contains(&dependency.name.as_str()),
                "{} must not import {}: see docs/architecture.md",
                package.name,
                dependency.name
            );
        }
    }
}

/// Also not for the tests of what is shipped. A program may have a library, for tests to reach it.
#[test]
fn no_program_is_imported_by_another() {
    let is_program = |package: &Package| package.targets.iter().any(|t| t.kind.iter().any(|k| k == "bin"));
    let (tests, shipped): (Vec<_>, Vec<_>) =
        packages().into_iter().partition(|package| TESTS.contains(&package.name.as_str()));
    assert_eq!(tests.len(), TESTS.len());
    let programs: BTreeSet<&str> =
        shipped.iter().filter(|package| is_program(package)).map(|package| package.name.as_str()).collect();
    assert!(programs.len() >= 5, "found only {programs:?}");
    for package in &shipped {
        for dependency in &package.dependencies {
            assert!(
                !programs.contains(dependency.name.as_str()),
                "{} imports {}",
                package.name,
                dependency.name
            );
        }
    }
}
