//! The self-test: a tiny model that is part of the installation must give the tokens that are known
//! of it. So the kernels are proven on this very machine, whatever models the operator has.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use nabi_domain::Piece;
use nabi_domain::boot::{KnownAnswer, SelfTest};
use nabi_models::regular_file;
use nabi_wire::reply::ProcessState;

use crate::engine::Published;
use crate::first_token::EngineClient;

/// What is known of it, in its store's folder.
const KNOWN_FILE: &str = "self-test.json";
const KNOWN_BYTES_MAX: u64 = 64 << 10;
/// For some tokens of a tiny model: software emulation is slow.
const ANSWER_MS_MAX: u64 = 60_000;

/// Asks the engine of the self-test model, if it is ready. `folder` has what is known.
pub(crate) async fn run(folder: Option<&Path>, engine: Option<&Published>) -> SelfTest {
    let Some(folder) = folder else {
        return SelfTest::Failed { reason: "this installation has no self-test model".to_owned() };
    };
    let known = match read(folder) {
        Ok(known) => known,
        Err(error) => return SelfTest::Failed { reason: format!("{error:#}") },
    };
    let engine = match ready(engine) {
        Ok(socket) => socket,
        Err(outcome) => return outcome,
    };
    let asked = tokio::time::timeout(Duration::from_millis(ANSWER_MS_MAX), ask(engine, &known));
    match asked.await {
        Ok(Ok(found)) => judge(known, found),
        Ok(Err(error)) => SelfTest::Pending { reason: format!("its engine does not answer: {error:#}") },
        Err(_) => SelfTest::Pending { reason: format!("no answer within {ANSWER_MS_MAX} ms") },
    }
}

fn read(folder: &Path) -> Result<KnownAnswer> {
    let path = folder.join(KNOWN_FILE);
    let json = regular_file::read(&path, KNOWN_BYTES_MAX)?;
    serde_json::from_slice(&json).with_context(|| format!("{} is damaged", path.display()))
}

/// The socket of an engine that is ready, or what its state makes of the self-test.
fn ready(engine: Option<&Published>) -> Result<&Path, SelfTest> {
    let pending = |reason: &str| Err(SelfTest::Pending { reason: reason.to_owned() });
    let Some(Published { state, ready }) = engine else { return pending("its engine is not started") };
    match (state, ready) {
        (ProcessState::Ready { .. }, Some(ready)) => Ok(&ready.socket),
        (ProcessState::Refused { reason }, _) => Err(SelfTest::Failed { reason: reason.clone() }),
        (ProcessState::Waiting { reason, .. }, _) => pending(&format!("its engine ended: {reason}")),
        _ => pending("its model is being loaded"),
    }
}

async fn ask(engine: &Path, known: &KnownAnswer) -> Result<Vec<u32>> {
    let (mut client, _) = EngineClient::connect(engine, |_| {}).await?;
    let tokens_max = u32::try_from(known.token_ids.len()).context("too many known tokens")?;
    client.greedy(vec![Piece::Text(known.prompt.clone())], tokens_max).await
}

fn judge(known: KnownAnswer, found: Vec<u32>) -> SelfTest {
    if known.token_ids == found && !found.is_empty() {
        SelfTest::Passed { tokens: found.len() as u32 }
    } else {
        SelfTest::WrongTokens { expected: known.token_ids, found }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_all_known_tokens_pass() {
        let outcome = |known: &[u32], found: &[u32]| {
            judge(KnownAnswer { prompt: "x".into(), token_ids: known.into() }, found.into())
        };
        assert_eq!(outcome(&[1, 2], &[1, 2]), SelfTest::Passed { tokens: 2 });
        for found in [&[1, 3][..], &[1], &[1, 2, 3], &[]] {
            assert!(matches!(outcome(&[1, 2], found), SelfTest::WrongTokens { .. }), "{found:?}");
        }
        assert!(matches!(outcome(&[], &[]), SelfTest::WrongTokens { .. }), "nothing proves nothing");
    }

    #[test]
    fn an_engine_that_may_yet_come_is_waited_for() {
        let state = |state| ready(Some(&Published { state, ready: None })).expect_err("not ready");
        let reason = || "x".to_owned();
        let waiting = ProcessState::Waiting { restart_in_ms: 1, failures: 1, reason: reason() };
        for pending in [ProcessState::Starting { pid: 1, loaded_permille: 0 }, waiting] {
            assert!(matches!(state(pending), SelfTest::Pending { .. }));
        }
        assert_eq!(state(ProcessState::Refused { reason: reason() }), SelfTest::Failed { reason: reason() });
        assert!(matches!(ready(None), Err(SelfTest::Pending { .. })));
    }

    #[tokio::test]
    async fn an_installation_without_known_tokens_fails() {
        let empty = tempfile::tempdir().expect("a temporary folder");
        for folder in [None, Some(empty.path())] {
            assert!(matches!(run(folder, None).await, SelfTest::Failed { .. }));
        }
    }
}
