//! What stops the gateway from starting, and what it says then.

use std::path::Path;
use std::process::Stdio;

use serde_json::json;
use tokio::process::Command;

use crate::gateway::folder;
use crate::within_deadline;

/// Its exit status and what it printed.
async fn run(config: &Path) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nabi-gateway"));
    command.arg("--config").arg(config).env_clear().stdin(Stdio::null()).kill_on_drop(true);
    let output = within_deadline("the gateway ends", command.output()).await.expect("it starts");
    (output.status.code(), String::from_utf8(output.stderr).expect("text"))
}

#[tokio::test]
async fn without_a_passed_socket_it_says_who_starts_it() {
    let folder = folder();
    let config = folder.path().join("gateway.json");
    std::fs::write(&config, json!({}).to_string()).expect("writes");
    let (code, printed) = run(&config).await;
    assert_eq!(code, Some(1));
    assert!(printed.contains("LISTEN_FDS") && printed.contains("nabi-supervisor"), "{printed}");
}
