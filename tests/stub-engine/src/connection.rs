//! One client. Answers that need no waiting are written on the spot; the others get a task each.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use nabi_wire::engine::{FinishReason, FromEngine, Generate, Greeting, Stats, ToEngine, Usage};
use nabi_wire::frame::{self, FrameError};
use tokio::net::UnixStream;
use tokio::net::unix::OwnedWriteHalf;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::Engine;
use crate::answer;
use crate::script::Step;

/// How often an engine that loads says so.
const LOADING_INTERVAL_MS: u64 = 20;

/// What the writer is told.
#[derive(Debug)]
enum Outgoing {
    Frame(FromEngine),
    /// Crash, but with all frames before it on the wire, so that tests know what arrived.
    Die,
}

type Frames = mpsc::UnboundedSender<Outgoing>;
type Writer = frame::Writer<OwnedWriteHalf, FromEngine>;

/// Serves one client until it goes; its waiting answers end with it.
pub(crate) async fn serve(
    stream: UnixStream,
    engine: Arc<Engine>,
    loaded_at: Instant,
) -> Result<(), FrameError> {
    let (reading, writing) = stream.into_split();
    let mut reader = frame::reader::<_, ToEngine>(reading);
    let mut writer = frame::writer(writing);
    greet(&mut writer, &engine, loaded_at).await?;
    let (frames, outgoing) = mpsc::unbounded_channel();
    let death = engine.death.clone();
    let mut client = Client { engine, frames, waiting: HashMap::new(), tasks: JoinSet::new() };
    let reading = async {
        while let Some(frame) = reader.next().await {
            client.take(frame?);
        }
        Ok(())
    };
    tokio::select! {
        read = reading => read,
        written = write(writer, outgoing, death) => written,
    }
}

async fn greet(writer: &mut Writer, engine: &Engine, loaded_at: Instant) -> Result<(), FrameError> {
    writer.send(FromEngine::Greeting(Greeting::OURS)).await?;
    while Instant::now() < loaded_at {
        let left_ms = loaded_at.duration_since(Instant::now()).as_millis() as u64;
        let permille = 1000 - (left_ms * 1000 / engine.script.loading_ms.max(1)).min(1000);
        writer.send(FromEngine::Loading { permille: permille as u16 }).await?;
        tokio::time::sleep(Duration::from_millis(left_ms.clamp(1, LOADING_INTERVAL_MS))).await;
    }
    writer.send(FromEngine::Ready(Box::new(engine.script.card.clone()))).await
}

/// Writes what is there in one go.
async fn write(
    mut writer: Writer,
    mut frames: mpsc::UnboundedReceiver<Outgoing>,
    death: mpsc::Sender<()>,
) -> Result<(), FrameError> {
    while let Some(first) = frames.recv().await {
        let mut next = Some(first);
        let mut died = false;
        while let Some(outgoing) = next {
            match outgoing {
                Outgoing::Frame(frame) => writer.feed(frame).await?,
                Outgoing::Die => died = true,
            }
            next = if died { None } else { frames.try_recv().ok() };
        }
        writer.flush().await?;
        if died {
            // Another connection may have said so already.
            let _ = death.send(()).await;
            return Ok(());
        }
    }
    Ok(())
}

struct Client {
    engine: Arc<Engine>,
    frames: Frames,
    /// Scripted answers; dropping the value aborts one.
    waiting: HashMap<u64, oneshot::Sender<()>>,
    tasks: JoinSet<()>,
}

impl Client {
    fn take(&mut self, frame: ToEngine) {
        if let Some(record) = &self.engine.record {
            // A test that looks no longer has dropped the other end.
            let _ = record.send(frame.clone());
        }
        match frame {
            ToEngine::Greeting(_) => {}
            ToEngine::Generate(generate) => self.generate(generate),
            ToEngine::Tokenize { id, pieces } => {
                let token_ids = (0..answer::prompt_tokens(&pieces)).collect();
                self.send(FromEngine::Tokens { id, token_ids });
            }
            ToEngine::Abort { id } => drop(self.waiting.remove(&id)),
            ToEngine::Stats { id } => {
                let running = u32::try_from(self.tasks.len()).unwrap_or(u32::MAX);
                let stats =
                    Stats { running, kernel: self.engine.script.card.kernel.clone(), ..Stats::default() };
                self.send(FromEngine::Stats { id, stats: Box::new(stats) });
            }
        }
    }

    /// The writer outlives every sender but those of a client that is gone.
    fn send(&self, frame: FromEngine) {
        let _ = self.frames.send(Outgoing::Frame(frame));
    }

    fn generate(&mut self, generate: Generate) {
        let engine = Arc::clone(&self.engine);
        let script = &engine.script;
        let prompt_tokens = answer::prompt_tokens(&generate.pieces);
        if let Some(refusal) = answer::refusal(&generate, prompt_tokens, script.card.context_tokens) {
            return self.send(FromEngine::Refused { id: generate.id, refusal });
        }
        let Some(steps) = script.steps(&generate.pieces) else {
            return answer::echo(&generate, prompt_tokens, &mut |frame| self.send(frame));
        };
        let (keep, aborted) = oneshot::channel();
        self.forget_ended();
        self.waiting.insert(generate.id, keep);
        let play = Play {
            id: generate.id,
            usage: Usage { prompt_tokens, completion_tokens: 0 },
            frames: self.frames.clone(),
            releases_seen: *engine.held.borrow(),
            held: engine.held.clone(),
        };
        self.tasks.spawn(play.run(steps.to_vec(), aborted));
    }

    /// Keeps a long benchmark from growing: most answers end without an abort.
    fn forget_ended(&mut self) {
        while self.tasks.try_join_next().is_some() {}
        if self.waiting.len() > 64 + 2 * self.tasks.len() {
            self.waiting.retain(|_, keep| !keep.is_closed());
        }
    }
}

/// One scripted answer under way.
struct Play {
    id: u64,
    usage: Usage,
    frames: Frames,
    held: watch::Receiver<u64>,
    /// Releases before this request, and one for each hold since: none given early is lost.
    releases_seen: u64,
}

impl Play {
    async fn run(mut self, steps: Vec<Step>, aborted: oneshot::Receiver<()>) {
        let played = async {
            for step in steps {
                if let Some(end) = self.step(step).await {
                    return end;
                }
            }
            Some(self.finish(FinishReason::Stop))
        };
        let end = tokio::select! {
            biased;
            end = played => end,
            // Resolves with an error when the client drops its side, which is how it aborts.
            _ = aborted => Some(self.finish(FinishReason::Aborted)),
        };
        if let Some(end) = end {
            self.send(end);
        }
    }

    /// Takes one step; something when it is the last one, a frame in it unless the engine died.
    async fn step(&mut self, step: Step) -> Option<Option<FromEngine>> {
        match step {
            Step::Text(text) => self.choose(self.usage.completion_tokens, text),
            Step::Token(token_id) => self.choose(token_id, String::new()),
            Step::WaitMs(ms) => tokio::time::sleep(Duration::from_millis(ms)).await,
            Step::Hold => {
                self.releases_seen += 1;
                let seen = self.releases_seen;
                if self.held.wait_for(|releases| *releases >= seen).await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
            Step::Finish(reason) => return Some(Some(self.finish(reason))),
            Step::Refuse(refusal) => return Some(Some(FromEngine::Refused { id: self.id, refusal })),
            Step::Die => {
                let _ = self.frames.send(Outgoing::Die);
                return Some(None);
            }
        }
        None
    }

    fn choose(&mut self, token_id: u32, text: String) {
        self.usage.completion_tokens += 1;
        self.send(answer::text(self.id, token_id, text));
    }

    fn finish(&self, reason: FinishReason) -> FromEngine {
        FromEngine::Finish { id: self.id, reason, usage: self.usage }
    }

    fn send(&self, frame: FromEngine) {
        let _ = self.frames.send(Outgoing::Frame(frame));
    }
}
