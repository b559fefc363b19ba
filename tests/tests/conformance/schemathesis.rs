//! schemathesis over the gateway's OpenAPI document: data that it allows and data that it does not,
//! unknown methods, missing keys. No answer may be a fault or undocumented.

use std::process::Command;

use nabi_tests::gateway::{Gateway, KEY, METRICS_KEY, Stub};

use crate::{conformance, passes, python_environment, scripts};

/// Of each operation, besides those that the document's limits ask for. `make schemathesis-full`
/// names more, which then are other ones in each run.
const EXAMPLES: &str = "15";

#[test]
fn nothing_is_undocumented() {
    // It remembers failures in its folder, and would begin with them the next time.
    let folder = tempfile::tempdir().expect("a temporary folder");
    for file in ["schemathesis.toml", "hooks.py"] {
        let copied = std::fs::copy(conformance("schemathesis").join(file), folder.path().join(file));
        copied.unwrap_or_else(|error| panic!("{file}: {error}"));
    }
    let stub = Stub::start(&scripts::everything());
    let gateway = Gateway::start(&[("everything", Some(stub.socket()))]);
    let mut command = Command::new(python_environment("schemathesis").join("bin/schemathesis"));
    command.current_dir(folder.path()).args(["run", "--no-color"]);
    match std::env::var("NABI_SCHEMATHESIS_EXAMPLES") {
        Ok(examples) => command.args(["--max-examples", &examples]),
        Err(_) => command.args(["--max-examples", EXAMPLES, "--seed", "4", "--generation-deterministic"]),
    };
    command
        .arg(format!("{}/openapi.json", gateway.address()))
        .env("NABI_ADDRESS", gateway.address())
        .env("NABI_CA", gateway.ca())
        .env("NABI_KEY", KEY)
        .env("NABI_METRICS_KEY", METRICS_KEY);
    let said = passes(&mut command);
    assert!(said.contains("No issues found"), "{said}");
    // The gateway is as it was.
    assert_eq!(gateway.client().get("/readyz").status, 200);
}
