//! One client. Answers that need no waiting are written on the spot; the others get a task each.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use nabi_wire::engine::{
    Embed, FinishReason, FromEngine, Generate, Greeting, Refusal, Stats, ToEngine, Usage,
};
use nabi_wire::frame::{self, FrameError};
use tokio::net::UnixStream;
use tokio::net::unix::OwnedWriteHalf;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::Engine;
use crate::answer;
use crate::play::{Play, add_credit};
use crate::script::Step;

/// How often an engine that loads says so.
const LOADING_INTERVAL_MS: u64 = 20;

/// Tokens of the prompt in one frame.
const PROMPT_FRAME_TOKENS: usize = 1024;

/// What the writer is told.
#[derive(Debug)]
pub(crate) enum Outgoing {
    Frame(FromEngine),
    /// Crash, but with all frames before it on the wire, so that tests know what arrived.
    Die,
}

pub(crate) type Frames = mpsc::UnboundedSender<Outgoing>;
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
    waiting: HashMap<u64, Waiting>,
    tasks: JoinSet<()>,
}

/// The client's end of an answer that takes its time.
struct Waiting {
    keep: oneshot::Sender<()>,
    credit: Arc<Semaphore>,
}

impl Client {
    fn take(&mut self, frame: ToEngine) {
        if let Some(record) = &self.engine.record {
            // A test that looks no longer has dropped the other end.
            let _ = record.send(frame.clone());
        }
        match frame {
            ToEngine::Greeting(_) => {}
            ToEngine::Generate(generate) => self.generate(&generate),
            ToEngine::Embed(embed) => self.send(self.embedded(&embed)),
            ToEngine::Tokenize { id, pieces } => {
                let tokens = answer::tokens(&pieces, &self.engine.script.card.added_tokens);
                self.send(FromEngine::Tokens { id, tokens });
            }
            ToEngine::Credit { id, tokens } => {
                if let Some(waiting) = self.waiting.get(&id) {
                    add_credit(&waiting.credit, tokens);
                }
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

    fn embedded(&self, embed: &Embed) -> FromEngine {
        let card = &self.engine.script.card;
        let Some(numbers) = card.embedding_numbers else {
            let refusal = Refusal::Unable { what: "give embeddings".into() };
            return FromEngine::Refused { id: embed.id, refusal };
        };
        let mut usage = Usage::default();
        for input in &embed.inputs {
            let tokens = answer::prompt_tokens(input);
            if let Some(refusal) = answer::refusal(input, tokens, card.context_tokens) {
                return FromEngine::Refused { id: embed.id, refusal };
            }
            usage.prompt_tokens += tokens;
        }
        let vectors = embed.inputs.iter().map(|input| answer::vector(input, numbers)).collect();
        FromEngine::Embedded { id: embed.id, vectors, usage }
    }

    fn generate(&mut self, generate: &Generate) {
        let engine = Arc::clone(&self.engine);
        let card = &engine.script.card;
        let prompt_tokens = answer::prompt_tokens(&generate.pieces);
        if let Some(refusal) = answer::refusal(&generate.pieces, prompt_tokens, card.context_tokens) {
            return self.send(FromEngine::Refused { id: generate.id, refusal });
        }
        if let Some(top) = generate.prompt_logprobs {
            let tokens = answer::tokens(&generate.pieces, &card.added_tokens);
            for tokens in answer::scored_prompt(tokens, top).chunks(PROMPT_FRAME_TOKENS) {
                self.send(FromEngine::Prompt { id: generate.id, tokens: tokens.to_vec() });
            }
        }
        let usage = Usage { prompt_tokens, ..Usage::default() };
        let mut play = Play::new(generate, usage, self.frames.clone(), engine.held.clone());
        let steps = match engine.script.steps(&generate.pieces) {
            Some(steps) => steps.to_vec(),
            None => {
                let deltas = answer::echo(generate);
                let tokens = deltas.iter().map(|delta| delta.token_ids.len() as u64).sum::<u64>();
                if tokens <= u64::from(generate.credit_tokens) {
                    deltas.into_iter().for_each(|delta| play.send(delta));
                    return play.finish(FinishReason::Stop);
                }
                deltas.into_iter().map(|delta| Step::Delta(Box::new(delta))).collect()
            }
        };
        let (keep, aborted) = oneshot::channel();
        self.forget_ended();
        self.waiting.insert(generate.id, Waiting { keep, credit: Arc::clone(&play.credit) });
        self.tasks.spawn(play.run(steps, aborted));
    }

    /// Keeps a long benchmark from growing: most answers end without an abort.
    fn forget_ended(&mut self) {
        while self.tasks.try_join_next().is_some() {}
        if self.waiting.len() > 64 + 2 * self.tasks.len() {
            self.waiting.retain(|_, waiting| !waiting.keep.is_closed());
        }
    }
}
