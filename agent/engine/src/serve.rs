//! An engine's life: bind, load, serve, drain.

use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use nabi_wire::config::EngineConfig;
use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

use crate::backend::{Backend, Loaded, Vocabulary};
use crate::connection::{self, Load, Ready, Shared};
use crate::host::{Command, Host};
use crate::ticket::Interest;

/// Clients of one engine: the gateway, the supervisor, and an operator's tool or two.
pub const CONNECTIONS_MAX: usize = 16;
/// How long the last frames of a drained engine may take to be read.
const FLUSH_MS_MAX: u64 = 2_000;

/// Tells how much of the model is loaded, in thousandths.
pub type LoadProgress = Box<dyn FnMut(u16) + Send>;

/// Why an engine does not serve any more.
#[derive(Debug)]
pub enum Failure {
    /// It cannot serve until something is changed.
    Refused(anyhow::Error),
    /// It served or was about to, and broke: another process may do better.
    Broke(anyhow::Error),
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Refused(error)
    }
}

/// Serves until SIGTERM and the drain that follows. `load` runs on the step thread, which then
/// owns the model; clients that connect meanwhile are told the progress.
pub fn run<V, B, L>(listener: UnixListener, config: &EngineConfig, load: L) -> Result<(), Failure>
where
    V: Vocabulary,
    B: Backend<Grammar = V::Grammar>,
    L: FnOnce(LoadProgress, Interest) -> Result<Loaded<V, B>> + Send + 'static,
{
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(serve(listener, config, load))
}

async fn serve<V, B, L>(listener: UnixListener, config: &EngineConfig, load: L) -> Result<(), Failure>
where
    V: Vocabulary,
    B: Backend<Grammar = V::Grammar>,
    L: FnOnce(LoadProgress, Interest) -> Result<Loaded<V, B>> + Send + 'static,
{
    listener.set_nonblocking(true).context("cannot prepare the socket")?;
    let listener = tokio::net::UnixListener::from_std(listener).context("cannot listen on the socket")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let (commands, taken) = mpsc::unbounded_channel();
    let (loading, load_state) = watch::channel(Load::Loading { permille: 0 });
    let interest = Interest::default();
    let shared = Shared { commands: commands.clone(), interest: interest.clone(), load: load_state };
    let mut ended = spawn_step_thread(load, loading, interest, taken, config)?;

    let mut connections = JoinSet::new();
    let mut grace = Duration::from_millis(config.drain_grace_ms);
    let mut draining = false;
    let outcome = loop {
        tokio::select! {
            accepted = listener.accept(), if !draining && connections.len() < CONNECTIONS_MAX => {
                let (stream, _) = accepted.context("cannot accept a client").map_err(Failure::Broke)?;
                connections.spawn(connection::serve(stream, shared.clone()));
            }
            Some(finished) = connections.join_next() => log_end(finished),
            _ = terminate.recv() => {
                if matches!(*shared.load.borrow(), Load::Loading { .. }) {
                    return Ok(());
                }
                draining = true;
                // A second SIGTERM finds no grace left.
                let _ = commands.send(Command::Drain { grace: std::mem::take(&mut grace) });
            }
            outcome = &mut ended => break match outcome {
                Ok(loaded) => loaded.map_err(Failure::Refused),
                // Its last words are on standard error already.
                Err(_) => Err(Failure::Broke(anyhow::anyhow!("the step thread panicked"))),
            },
        }
    };
    // Each connection sees that the step thread is gone, writes what is left, and ends.
    let rest = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(Duration::from_millis(FLUSH_MS_MAX), rest).await.is_err() {
        tracing::warn!("a client did not read its last answers within {FLUSH_MS_MAX} ms");
    }
    outcome
}

/// The thread that loads the model, steps it, and owns it.
fn spawn_step_thread<V, B, L>(
    load: L,
    loading: watch::Sender<Load<V>>,
    interest: Interest,
    commands: mpsc::UnboundedReceiver<Command<V::Grammar>>,
    config: &EngineConfig,
) -> Result<oneshot::Receiver<Result<()>>>
where
    V: Vocabulary,
    B: Backend<Grammar = V::Grammar>,
    L: FnOnce(LoadProgress, Interest) -> Result<Loaded<V, B>> + Send + 'static,
{
    let (end, ended) = oneshot::channel();
    let progress = loading.clone();
    let timer = tokio::runtime::Handle::current();
    let (queue_requests_max, stream_gap_ms_max) = (config.queue_requests_max, config.stream_gap_ms_max);
    let work = move || {
        let report = move |permille| {
            progress.send_replace(Load::Loading { permille });
        };
        let outcome = load(Box::new(report), interest).map(|loaded| {
            let (card, vocabulary) = (Arc::new(loaded.card.clone()), loaded.vocabulary.clone());
            let step_tokens_max = loaded.step.tokens_max;
            let host = Host::new(loaded, queue_requests_max, stream_gap_ms_max);
            loading.send_replace(Load::Ready(Ready { card, vocabulary, step_tokens_max }));
            // Without a service manager there is nobody to tell.
            let _ = sd_notify::notify(&[NotifyState::Ready]);
            host.run(commands, &timer);
        });
        let _ = end.send(outcome);
    };
    std::thread::Builder::new().name("step".into()).spawn(work).context("cannot start the step thread")?;
    Ok(ended)
}

fn log_end(finished: Result<Result<()>, tokio::task::JoinError>) {
    match finished {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!("a client's connection ended: {error:#}"),
        Err(error) => tracing::error!("a client's task failed: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use std::os::linux::net::SocketAddrExt as _;
    use std::os::unix::net::SocketAddr;

    use nabi_domain::Piece;
    use nabi_wire::config::{KvFormat, SavedPrefixes};
    use nabi_wire::engine::{Grammar, Refusal};

    use super::*;
    use crate::backend::{Memory, Output, Placed, Slot, StepError, Task, Work};

    /// A model that never comes to be.
    enum Never {}

    impl Vocabulary for Never {
        type Grammar = ();
        fn encode(&self, _: &[Piece]) -> Result<Vec<u32>, Refusal> {
            match *self {}
        }
        fn bytes(&self, _: u32) -> &[u8] {
            match *self {}
        }
        fn literal(&self, _: u32) -> Option<&str> {
            match *self {}
        }
        fn ends(&self, _: u32) -> bool {
            match *self {}
        }
        fn compile(&self, _: &Grammar) -> Result<(), Refusal> {
            match *self {}
        }
    }

    impl Backend for Never {
        type Grammar = ();
        type Sequence = ();
        fn sequence(&mut self, _: Vec<u32>, _: Task<()>) {
            match *self {}
        }
        fn place(&mut self, (): ()) -> Placed {
            match *self {}
        }
        fn take(&mut self, _: Slot) {
            match *self {}
        }
        fn end(&mut self, _: Slot) {
            match *self {}
        }
        fn step(&mut self, _: &[Work]) -> Result<Vec<Output>, StepError> {
            match *self {}
        }
        fn memory(&self) -> Memory {
            match *self {}
        }
    }

    fn failure(name: &str, load: fn() -> Result<Loaded<Never, Never>>) -> Failure {
        let config = EngineConfig {
            name: "never".parse().expect("a name"),
            model: "never.gguf".into(),
            pack: "pack".into(),
            context_tokens: 64,
            sequences_max: 1,
            threads: 1,
            kv: KvFormat::F16,
            queue_requests_max: 1,
            stream_gap_ms_max: 100,
            saved_prefixes: SavedPrefixes::default(),
            drain_grace_ms: 0,
        };
        let name = format!("nabi-serve-{name}-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(name).expect("a name");
        let listener = UnixListener::bind_addr(&address).expect("it is free");
        run(listener, &config, move |_, _| load()).expect_err("it never loads")
    }

    /// A refusal is for the operator; after a panic another process may do better.
    #[test]
    fn a_model_that_is_refused_is_told_from_a_step_thread_that_panicked() {
        let refused = failure("refused", || anyhow::bail!("no such model"));
        assert!(
            matches!(&refused, Failure::Refused(error) if error.to_string() == "no such model"),
            "{refused:?}"
        );
        let broke = failure("broke", || panic!("as a test wants it"));
        assert!(matches!(&broke, Failure::Broke(_)), "{broke:?}");
    }
}
