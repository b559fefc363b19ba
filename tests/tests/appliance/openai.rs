//! OpenAI's own Python package against a running appliance.

use std::path::Path;
use std::process::Command;

use nabi_tests::appliance::State;
use nabi_tests::programs::demo_model;

use crate::argument;

const MODEL: &str = "SmolLM2-135M-Instruct";

/// The Python of an environment that has the pinned packages.
fn python(repository: &Path) -> String {
    let script = repository.join("provisioning/python-venv.sh");
    let requirements = repository.join("tests/openai/requirements.txt");
    let output = Command::new(&script).arg("openai").arg(requirements).output();
    let output = output.unwrap_or_else(|error| panic!("{}: {error}", script.display()));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let folder = String::from_utf8(output.stdout).expect("a path is text");
    format!("{}/bin/python", folder.trim_end())
}

#[test]
fn the_official_package_is_served() {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let python = python(&repository);
    let state = State::empty();
    let up = state.up(&["--model", argument(&demo_model()), "--name", MODEL]);
    let output = Command::new(python)
        .arg(repository.join("tests/openai/test_openai.py"))
        .env("NABI_ADDRESS", up.address())
        .env("NABI_CA", up.ca())
        .env("NABI_KEY", up.key())
        .env("NABI_MODEL", MODEL)
        .output()
        .expect("Python runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("OK"), "tests ran: {said}");
}
