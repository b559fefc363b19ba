//! One served model: a task that starts its engine, proves the first token, watches, and starts
//! it again. It tells by a watch channel how it is; it is told to stop by a token.

use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nabi_domain::ModelName;
use nabi_domain::plan::Room;
use nabi_domain::restart::Failures;
use nabi_models::{Store, atomic_file};
use nabi_wire::action::ServeSettings;
use nabi_wire::config::EngineConfig;
use nabi_wire::engine::{ModelCard, Stats};
use nabi_wire::reply::{EngineCard, EngineFigures, EngineStatus, ProcessState};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::engine_config::{EnginePlaces, engine_config, planned};
use crate::first_token::EngineClient;
use crate::launch::{End, Part, Process, Spec};
use crate::places::{CONFIG_MODE, Places, bind_shared};
use crate::rooms::Rooms;

/// From the loaded model to its first token.
const FIRST_TOKEN_MS_MAX: u64 = 120_000;
/// For an engine's figures in `nabi status`: a step may take long.
const STATS_MS_MAX: u64 = 2_000;

/// What all engines share.
#[derive(Clone)]
pub(crate) struct Site {
    pub(crate) places: Arc<Places>,
    pub(crate) pack: PathBuf,
    pub(crate) drain_grace: Duration,
    /// Numbers the sockets, so that no two lives share one.
    pub(crate) lives: Arc<AtomicU64>,
    /// Told after each change of a published state.
    pub(crate) changed: mpsc::Sender<()>,
    pub(crate) rooms: Rooms,
}

/// How an engine is, for the rest of the supervisor.
#[derive(Debug, Clone)]
pub(crate) struct Published {
    pub(crate) state: ProcessState,
    pub(crate) ready: Option<Ready>,
}

/// An engine whose first token is proven.
#[derive(Debug, Clone)]
pub(crate) struct Ready {
    pub(crate) socket: PathBuf,
    pub(crate) card: EngineCard,
    stats: mpsc::Sender<oneshot::Sender<Stats>>,
}

/// What to serve, and how.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(crate) name: ModelName,
    /// The folder that holds it among others.
    pub(crate) store: PathBuf,
    pub(crate) settings: ServeSettings,
}

/// The rest of the supervisor's hold on an engine's task.
pub(crate) struct Engine {
    pub(crate) published: watch::Receiver<Published>,
    pub(crate) created_unix_s: u64,
    pub(crate) settings: ServeSettings,
    stop: CancellationToken,
    pub(crate) hurry: CancellationToken,
    task: JoinHandle<()>,
}

/// An engine that is on its way out.
pub(crate) struct Leaving {
    task: JoinHandle<()>,
    pub(crate) hurry: CancellationToken,
}

impl Engine {
    /// Starts it once the engine that it replaces, if there is one, has ended: both at a time may
    /// not fit into the memory.
    pub(crate) fn start(site: Site, wanted: Wanted, replaced: Option<Leaving>) -> Self {
        let starting =
            Published { state: ProcessState::Starting { pid: 0, loaded_permille: 0 }, ready: None };
        let (publish, published) = watch::channel(starting);
        let stop = CancellationToken::new();
        let hurry = replaced.as_ref().map_or_else(CancellationToken::new, |replaced| replaced.hurry.clone());
        let (created_unix_s, settings) = (created_unix_s(&wanted), wanted.settings);
        let life = Life { site, wanted, publish, stop: stop.clone(), hurry: hurry.clone() };
        let task = tokio::spawn(async move {
            if let Some(replaced) = replaced {
                replaced.over().await;
            }
            life.run().await;
        });
        Self { published, created_unix_s, settings, stop, hurry, task }
    }

    /// Ends it after `use_is_over`; running answers have the grace time.
    pub(crate) fn leave(self, use_is_over: impl Future<Output = ()> + Send + 'static) -> Leaving {
        let hurry = self.hurry.clone();
        let task = tokio::spawn(async move {
            use_is_over.await;
            self.stop.cancel();
            let _ = self.task.await;
        });
        Leaving { task, hurry }
    }
}

impl Leaving {
    /// Waits for the end.
    pub(crate) async fn over(self) {
        let _ = self.task.await;
    }
}

/// The time of the import: that of the first stored file.
fn created_unix_s(wanted: &Wanted) -> u64 {
    let manifest = Store::open(&wanted.store).and_then(|store| store.get(&wanted.name)).ok();
    let mtime_ns = manifest.and_then(|model| model.manifest.files.first().map(|file| file.mtime_ns));
    u64::try_from(mtime_ns.unwrap_or(0) / 1_000_000_000).unwrap_or(0)
}

/// How the operator sees it. Figures are asked for where the engine is ready.
pub(crate) async fn status(model: ModelName, settings: ServeSettings, published: Published) -> EngineStatus {
    let Published { state, ready } = published;
    let stats = match &ready {
        Some(ready) => ask_stats(ready).await,
        None => None,
    };
    EngineStatus { model, state, settings, card: ready.map(|ready| ready.card), stats: stats.map(figures) }
}

async fn ask_stats(ready: &Ready) -> Option<Stats> {
    let (answer, answered) = oneshot::channel();
    ready.stats.try_send(answer).ok()?;
    tokio::time::timeout(Duration::from_millis(STATS_MS_MAX), answered).await.ok()?.ok()
}

fn figures(stats: Stats) -> EngineFigures {
    EngineFigures {
        waiting: stats.waiting,
        running: stats.running,
        steps: stats.steps,
        last_step_sequences_max: stats.last_step_sequences.into_iter().max().unwrap_or(0),
        prompt_tokens: stats.prompt_tokens,
        cached_tokens: stats.cached_tokens,
        completion_tokens: stats.completion_tokens,
        preemptions: stats.preemptions,
        kv_used_tokens: stats.kv_used_tokens,
        kv_tokens_max: stats.kv_tokens_max,
        saved_memory_bytes: stats.saved_memory_bytes,
        saved_disk_bytes: stats.saved_disk_bytes,
    }
}

struct Life {
    site: Site,
    wanted: Wanted,
    publish: watch::Sender<Published>,
    stop: CancellationToken,
    hurry: CancellationToken,
}

/// How one process's life ended.
enum Ending {
    /// By our wish.
    Stopped,
    /// By itself, after serving for so long.
    Ended { end: End, served: Duration },
}

impl Life {
    async fn run(self) {
        let mut failures = Failures::default();
        loop {
            let unstarted = |end| Ending::Ended { end, served: Duration::ZERO };
            let ending = self.one_process().await.unwrap_or_else(unstarted);
            let Ending::Ended { end, served } = ending else { return };
            tracing::warn!(model = %self.wanted.name, reason = end.reason, "the engine ended");
            if end.refused {
                self.publish(ProcessState::Refused { reason: end.reason }, None).await;
                return self.stop.cancelled().await;
            }
            failures = failures.after_end(served);
            let wait = failures.wait();
            let waiting = ProcessState::Waiting {
                restart_in_ms: wait.as_millis() as u64,
                failures: failures.in_a_row(),
                reason: end.reason,
            };
            self.publish(waiting, None).await;
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.stop.cancelled() => return,
            }
        }
    }

    async fn publish(&self, state: ProcessState, ready: Option<Ready>) {
        self.publish.send_replace(Published { state, ready });
        // The supervisor's end needs no news.
        let _ = self.site.changed.send(()).await;
    }

    /// From start to end. An error means that it did not start.
    async fn one_process(&self) -> Result<Ending, End> {
        let end = |refused| move |error: anyhow::Error| End { refused, reason: format!("{error:#}") };
        // What is missing now may be there later; only a model or settings that cannot be served stay so.
        let (refused, failed) = (end(true), end(false));
        let began = Instant::now();
        let number = self.site.lives.fetch_add(1, Ordering::Relaxed);
        let socket = self.site.places.for_gateway(&format!("e{number}.sock"));
        let listener = bind_shared(&socket, |path| UnixListener::bind(path)).map_err(failed)?;
        let prefixes = self.site.places.prefixes(&self.wanted.name, number).map_err(failed)?;
        let room = self.site.rooms.beside_others(&self.wanted.name).await;
        let (config, memory_bytes) = self.config(&room, prefixes.clone()).map_err(refused)?;
        let _taken = self.site.rooms.take(&self.wanted.name, memory_bytes);
        let config_path = self.site.places.for_engine(&format!("e{number}.json"));
        write_config(&config_path, &config).map_err(failed)?;
        let ending = match self.start(&config_path, listener).await {
            Ok(process) => Ok(self.accompany(process, &socket, began).await),
            Err(error) => Err(failed(error)),
        };
        for path in [socket, config_path] {
            let _ = std::fs::remove_file(path);
        }
        let _ = std::fs::remove_dir_all(prefixes);
        ending
    }

    async fn start(&self, config: &Path, listener: UnixListener) -> Result<Process> {
        let spec = Spec {
            part: Part::Engine(&self.wanted.name),
            arguments: vec!["--config".as_ref(), config.as_os_str()],
            // An assertion in ggml forks a debugger unless it is told not to.
            environment: vec![("GGML_NO_BACKTRACE", "1".as_ref())],
            socket: Some(listener.into()),
            stdout: false,
            logs: &self.site.places.logs(),
        };
        self.site.places.launcher().start(spec).await
    }

    /// Until its end.
    async fn accompany(&self, mut process: Process, socket: &Path, began: Instant) -> Ending {
        let (pid, mut served_since) = (process.pid, None);
        let ended = tokio::select! {
            end = process.wait() => Some(end),
            error = self.prove_and_answer(socket, pid, began, &mut served_since) => {
                // A process without its first token is of no use, and one that is just ending
                // shall tell its own reason.
                Some(fate(&mut process, error).await)
            }
            () = self.stop.cancelled() => None,
        };
        let served = served_since.map_or(Duration::ZERO, |since: Instant| since.elapsed());
        match ended {
            Some(end) => Ending::Ended { end, served },
            None => {
                self.publish(ProcessState::Stopping, None).await;
                process.end(self.site.drain_grace, self.hurry.cancelled()).await;
                Ending::Stopped
            }
        }
    }

    /// Follows the loading, proves the first token, then answers for figures until the engine fails.
    async fn prove_and_answer(
        &self,
        socket: &Path,
        pid: u32,
        began: Instant,
        served_since: &mut Option<Instant>,
    ) -> anyhow::Error {
        let mut last = u16::MAX;
        let loading = |permille: u16| {
            if permille != last {
                last = permille;
                let state = ProcessState::Starting { pid, loaded_permille: permille };
                self.publish.send_replace(Published { state, ready: None });
            }
        };
        let (mut client, card) = match EngineClient::connect(socket, loading).await {
            Ok(connected) => connected,
            Err(error) => return error,
        };
        let patience = Duration::from_millis(FIRST_TOKEN_MS_MAX);
        match tokio::time::timeout(patience, client.prove(&card)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return error,
            Err(_) => return anyhow::anyhow!("no first token within {FIRST_TOKEN_MS_MAX} ms"),
        }
        let first_token_ms = began.elapsed().as_millis() as u64;
        tracing::info!(model = %self.wanted.name, first_token_ms, kernel = card.kernel, "the first token is proven");
        *served_since = Some(Instant::now());
        let (stats, mut asked) = mpsc::channel::<oneshot::Sender<Stats>>(16);
        let ready = Ready { socket: socket.to_owned(), card: engine_card(&card, first_token_ms), stats };
        self.publish(ProcessState::Ready { pid }, Some(ready)).await;
        while let Some(answer) = asked.recv().await {
            match client.stats().await {
                Ok(stats) => drop(answer.send(stats)),
                Err(error) => return error,
            }
        }
        std::future::pending().await
    }

    /// And the memory that it is planned to take.
    fn config(&self, room: &Room, prefixes: PathBuf) -> Result<(EngineConfig, u64)> {
        let model = Store::open(&self.wanted.store)?.check_unchanged(&self.wanted.name)?;
        let plan = planned(&model.manifest, self.wanted.settings, room)?;
        let places = EnginePlaces { pack: self.site.pack.clone(), prefixes };
        let config = engine_config(&model, &plan, self.wanted.settings, places, self.site.drain_grace)?;
        Ok((config, plan.memory.total_bytes()))
    }
}

fn write_config(path: &Path, config: &EngineConfig) -> Result<()> {
    let json = serde_json::to_vec_pretty(config).context("cannot write JSON")?;
    atomic_file::write(path, &json, CONFIG_MODE).with_context(|| format!("cannot write {}", path.display()))
}

async fn fate(process: &mut Process, error: anyhow::Error) -> End {
    let patience = Duration::from_millis(STATS_MS_MAX);
    match tokio::time::timeout(patience, process.wait()).await {
        Ok(end) => end,
        Err(_) => {
            process.kill().await;
            End { refused: false, reason: format!("{error:#}") }
        }
    }
}

fn engine_card(card: &ModelCard, first_token_ms: u64) -> EngineCard {
    EngineCard {
        engine: card.engine.clone(),
        kernel: card.kernel.clone(),
        context_tokens: card.context_tokens,
        sequences_max: card.sequences_max,
        first_token_ms,
    }
}
