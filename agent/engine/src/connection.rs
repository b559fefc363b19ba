//! One client's connection. A task of its own reads requests and writes answers; a slow client
//! holds up itself alone.

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use futures_util::{SinkExt, StreamExt};
use nabi_wire::engine::{
    CONNECTION_REQUESTS_MAX, FromEngine, Generate, Greeting, ModelCard, Refusal, STOP_STRING_BYTES_MAX,
    STOP_STRINGS_MAX, Sampling, ToEngine,
};
use nabi_wire::frame::{self, Writer};
use tokio::net::UnixStream;
use tokio::net::unix::OwnedWriteHalf;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::sync::watch;

use crate::backend::Vocabulary;
use crate::host::{Command, Request};
use crate::ticket::{Interest, Ticket};

/// Answers written with one flush.
const FLUSH_FRAMES_MAX: usize = 256;

/// What connections share.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) commands: UnboundedSender<Command>,
    pub(crate) interest: Interest,
    pub(crate) load: watch::Receiver<Load>,
}

/// How far the model is.
#[derive(Clone)]
pub(crate) enum Load {
    Loading { permille: u16 },
    Ready { card: Arc<ModelCard>, vocabulary: Arc<dyn Vocabulary> },
}

/// Serves one client until it goes.
pub(crate) async fn serve(stream: UnixStream, mut shared: Shared) -> Result<()> {
    let (read, write) = stream.into_split();
    let mut from_client = frame::reader::<_, ToEngine>(read);
    let mut to_client = frame::writer::<_, FromEngine>(write);
    to_client.send(FromEngine::Greeting(Greeting::OURS)).await?;
    match from_client.next().await.context("the client left without a greeting")?? {
        ToEngine::Greeting(Greeting::OURS) => {}
        other => bail!("the client is of another version: {other:?}"),
    }
    let (card, vocabulary) = wait_loaded(&mut shared.load, &mut to_client).await?;
    to_client.send(FromEngine::Ready(Box::new(ModelCard::clone(&card)))).await?;

    let (answers, mut answered) = mpsc::unbounded_channel();
    let mut client = Client { shared, card, vocabulary, answers, tickets: HashMap::new() };
    let mut frames = Vec::new();
    loop {
        tokio::select! {
            request = from_client.next() => match request {
                Some(request) => client.take(request?)?,
                None => return Ok(()),
            },
            _ = answered.recv_many(&mut frames, FLUSH_FRAMES_MAX) => {
                for frame in frames.drain(..) {
                    client.forget_ended(&frame);
                    to_client.feed(frame).await?;
                }
                to_client.flush().await?;
            }
            () = client.shared.commands.closed() => {
                return write_rest(&mut client, &mut answered, &mut to_client).await;
            }
        }
    }
}

/// The step thread is over: what it still said goes out.
async fn write_rest(
    client: &mut Client,
    answered: &mut UnboundedReceiver<FromEngine>,
    to_client: &mut Writer<OwnedWriteHalf, FromEngine>,
) -> Result<()> {
    while let Ok(frame) = answered.try_recv() {
        client.forget_ended(&frame);
        to_client.feed(frame).await?;
    }
    for &id in client.tickets.keys() {
        to_client.feed(FromEngine::Refused { id, refusal: Refusal::Draining }).await?;
    }
    Ok(to_client.flush().await?)
}

async fn wait_loaded(
    load: &mut watch::Receiver<Load>,
    to_client: &mut Writer<OwnedWriteHalf, FromEngine>,
) -> Result<(Arc<ModelCard>, Arc<dyn Vocabulary>)> {
    loop {
        let now = load.borrow_and_update().clone();
        match now {
            Load::Ready { card, vocabulary } => return Ok((card, vocabulary)),
            Load::Loading { permille } => to_client.send(FromEngine::Loading { permille }).await?,
        }
        load.changed().await.context("the engine ended while loading")?;
    }
}

struct Client {
    shared: Shared,
    card: Arc<ModelCard>,
    vocabulary: Arc<dyn Vocabulary>,
    answers: UnboundedSender<FromEngine>,
    /// The requests under way. Dropped with the connection: that cancels them.
    tickets: HashMap<u64, CancelOnDrop>,
}

struct CancelOnDrop(Ticket);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

impl Client {
    fn take(&mut self, request: ToEngine) -> Result<()> {
        match request {
            ToEngine::Greeting(_) => bail!("the client greeted twice"),
            ToEngine::Generate(generate) => self.generate(generate)?,
            ToEngine::Tokenize { id, pieces } => {
                let (vocabulary, answers) = (self.vocabulary.clone(), self.answers.clone());
                tokio::task::spawn_blocking(move || {
                    let _ = answers.send(match vocabulary.encode(&pieces) {
                        Ok(token_ids) => FromEngine::Tokens { id, token_ids },
                        Err(refusal) => FromEngine::Refused { id, refusal },
                    });
                });
            }
            ToEngine::Abort { id } => {
                if let Some(CancelOnDrop(ticket)) = self.tickets.get(&id) {
                    ticket.cancel();
                }
            }
            ToEngine::Stats { id } => {
                let _ = self.shared.commands.send(Command::Stats { id, to: self.answers.clone() });
            }
        }
        Ok(())
    }

    /// Checks, tokenises beside the step thread, and queues.
    fn generate(&mut self, generate: Generate) -> Result<()> {
        let id = generate.id;
        if self.tickets.contains_key(&id) {
            bail!("the client used the id {id} for two requests at once");
        }
        let refusal = check(&generate).err().or_else(|| {
            let queue_requests_max = CONNECTION_REQUESTS_MAX as u32;
            (self.tickets.len() >= CONNECTION_REQUESTS_MAX)
                .then_some(Refusal::QueueFull { queue_requests_max })
        });
        if let Some(refusal) = refusal {
            let _ = self.answers.send(FromEngine::Refused { id, refusal });
            return Ok(());
        }
        let ticket = self.shared.interest.ticket();
        self.tickets.insert(id, CancelOnDrop(ticket.clone()));
        let (vocabulary, commands) = (self.vocabulary.clone(), self.shared.commands.clone());
        let (answers, context_tokens) = (self.answers.clone(), self.card.context_tokens);
        tokio::task::spawn_blocking(move || {
            match encode(&*vocabulary, &generate, context_tokens) {
                Ok(prompt) => {
                    let Generate { id, sampling, stop, tokens_max, logprobs, .. } = generate;
                    let request =
                        Request { id, prompt, sampling, stop, tokens_max, logprobs, ticket, to: answers };
                    // A closed channel: the engine ends, and the connection answers for it.
                    let _ = commands.send(Command::Generate(Box::new(request)));
                }
                Err(refusal) => {
                    let _ = answers.send(FromEngine::Refused { id, refusal });
                }
            }
        });
        Ok(())
    }

    fn forget_ended(&mut self, frame: &FromEngine) {
        if let FromEngine::Finish { id, .. } | FromEngine::Refused { id, .. } = frame {
            self.tickets.remove(id);
        }
    }
}

fn encode(
    vocabulary: &dyn Vocabulary,
    generate: &Generate,
    context_tokens: u32,
) -> Result<Vec<u32>, Refusal> {
    let prompt = vocabulary.encode(&generate.pieces)?;
    let prompt_tokens = u32::try_from(prompt.len()).unwrap_or(u32::MAX);
    if prompt_tokens == 0 {
        Err(Refusal::PromptEmpty)
    } else if prompt_tokens >= context_tokens {
        Err(Refusal::PromptTooLong { prompt_tokens, context_tokens })
    } else {
        Ok(prompt)
    }
}

/// The numbers of a request. The gateway checks them too; an engine trusts no client.
fn check(generate: &Generate) -> Result<(), Refusal> {
    let Sampling { temperature, top_p, min_p, .. } = generate.sampling;
    let stop_bytes = generate.stop.iter().map(String::len).max().unwrap_or(0);
    let rules = [
        ("temperature", (0.0..=100.0).contains(&temperature), "between 0 and 100".to_owned()),
        ("top_p", top_p > 0.0 && top_p <= 1.0, "above 0 and at most 1".to_owned()),
        ("min_p", (0.0..=1.0).contains(&min_p), "between 0 and 1".to_owned()),
        ("tokens_max", generate.tokens_max != Some(0), "at least 1".to_owned()),
        ("stop", generate.stop.len() <= STOP_STRINGS_MAX, format!("at most {STOP_STRINGS_MAX} strings")),
        (
            "stop",
            stop_bytes <= STOP_STRING_BYTES_MAX,
            format!("strings of at most {STOP_STRING_BYTES_MAX} bytes"),
        ),
    ];
    match rules.into_iter().find(|(_, holds, _)| !holds) {
        Some((field, _, range)) => Err(Refusal::OutOfRange { field: field.to_owned(), range }),
        None => Ok(()),
    }
}
