//! The gateway as a process, with a stub engine behind it and a client before it. No test's
//! verdict depends on time: each waits for what must come, with a deadline that only a hang meets.

mod aliases;
mod answers;
mod bad_input;
mod chat;
mod client;
mod completions;
mod control_tokens;
mod drain;
mod embeddings;
mod engine;
mod faults;
mod floods;
mod gateway;
mod load;
mod logs;
mod metrics;
mod openapi;
mod reload;
mod start;
mod tls;
mod tokenize;
mod tools;

use std::time::Duration;

/// Longest wait for what must come.
const DEADLINE: Duration = Duration::from_secs(60);
/// Rest between two looks at something that cannot be waited for.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// Waits for what must come.
async fn within_deadline<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(DEADLINE, future).await {
        Ok(value) => value,
        Err(_) => panic!("{what}: not within {DEADLINE:?}"),
    }
}
