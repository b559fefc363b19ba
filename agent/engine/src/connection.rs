//! One client's connection. A task of its own reads requests and writes answers; a slow client
//! holds up itself alone.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use futures_util::{SinkExt, StreamExt};
use nabi_domain::Piece;
use nabi_wire::engine::{
    CONNECTION_REQUESTS_MAX, CREDIT_UNBOUNDED, Embed, FromEngine, Generate, Greeting, ModelCard, Refusal,
    Share, ToEngine,
};
use nabi_wire::frame::{self, Writer};
use tokio::net::UnixStream;
use tokio::net::unix::OwnedWriteHalf;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::sync::watch;

use crate::backend::Vocabulary;
use crate::check;
use crate::host::{Begin, Command};
use crate::request::{self, Wanted};
use crate::ticket::{Interest, Ticket};

/// Answers written with one flush.
const FLUSH_FRAMES_MAX: usize = 256;

/// What connections share.
pub(crate) struct Shared<V: Vocabulary> {
    pub(crate) commands: UnboundedSender<Command<V::Grammar>>,
    pub(crate) interest: Interest,
    pub(crate) load: watch::Receiver<Load<V>>,
}

impl<V: Vocabulary> Clone for Shared<V> {
    fn clone(&self) -> Self {
        Self { commands: self.commands.clone(), interest: self.interest.clone(), load: self.load.clone() }
    }
}

/// How far the model is.
pub(crate) enum Load<V> {
    Loading { permille: u16 },
    Ready(Ready<V>),
}

/// A loaded model, as connections need it.
pub(crate) struct Ready<V> {
    pub(crate) card: Arc<ModelCard>,
    pub(crate) vocabulary: Arc<V>,
    pub(crate) step_tokens_max: u32,
}

impl<V> Clone for Ready<V> {
    fn clone(&self) -> Self {
        Self {
            card: self.card.clone(),
            vocabulary: self.vocabulary.clone(),
            step_tokens_max: self.step_tokens_max,
        }
    }
}

/// Serves one client until it goes.
pub(crate) async fn serve<V: Vocabulary>(stream: UnixStream, mut shared: Shared<V>) -> Result<()> {
    let (read, write) = stream.into_split();
    let mut from_client = frame::reader::<_, ToEngine>(read);
    let mut to_client = frame::writer::<_, FromEngine>(write);
    to_client.send(FromEngine::Greeting(Greeting::OURS)).await?;
    match from_client.next().await.context("the client left without a greeting")?? {
        ToEngine::Greeting(Greeting::OURS) => {}
        other => bail!("the client is of another version: {other:?}"),
    }
    let ready = wait_loaded(&mut shared.load, &mut to_client).await?;
    to_client.send(FromEngine::Ready(Box::new(ModelCard::clone(&ready.card)))).await?;

    let (answers, mut answered) = mpsc::unbounded_channel();
    let mut client = Client { shared, ready, answers, tickets: HashMap::new() };
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
async fn write_rest<V: Vocabulary>(
    client: &mut Client<V>,
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

async fn wait_loaded<V: Vocabulary>(
    load: &mut watch::Receiver<Load<V>>,
    to_client: &mut Writer<OwnedWriteHalf, FromEngine>,
) -> Result<Ready<V>> {
    loop {
        let permille = match &*load.borrow_and_update() {
            Load::Ready(ready) => return Ok(ready.clone()),
            Load::Loading { permille } => *permille,
        };
        to_client.send(FromEngine::Loading { permille }).await?;
        load.changed().await.context("the engine ended while loading")?;
    }
}

struct Client<V: Vocabulary> {
    shared: Shared<V>,
    ready: Ready<V>,
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

impl<V: Vocabulary> Client<V> {
    fn take(&mut self, request: ToEngine) -> Result<()> {
        match request {
            ToEngine::Greeting(_) => bail!("the client greeted twice"),
            ToEngine::Generate(generate) => {
                let (id, share, credit_tokens) = (generate.id, generate.share, generate.credit_tokens);
                let ready = self.ready.clone();
                self.begin(id, share, credit_tokens, move || wanted_text(&ready, *generate))?;
            }
            ToEngine::Embed(embed) => {
                let ready = self.ready.clone();
                self.begin(embed.id, embed.share, CREDIT_UNBOUNDED, move || wanted_vectors(&ready, &embed))?;
            }
            ToEngine::Tokenize { id, pieces } => self.tokenize(id, pieces),
            ToEngine::Credit { id, tokens } => {
                if let Some(CancelOnDrop(ticket)) = self.tickets.get(&id) {
                    ticket.add_credit(tokens);
                    self.look();
                }
            }
            ToEngine::Abort { id } => {
                if let Some(CancelOnDrop(ticket)) = self.tickets.get(&id) {
                    ticket.cancel();
                    self.look();
                }
            }
            ToEngine::Stats { id } => {
                let to = self.answers.clone();
                // A closed channel: the engine ends, and so does this connection.
                let _ = self.shared.commands.send(Command::Stats { id, to });
            }
        }
        Ok(())
    }

    /// A ticket has changed: the step thread may sleep.
    fn look(&self) {
        let _ = self.shared.commands.send(Command::Look);
    }

    /// Prepares a request, which may take long, beside the thread that serves connections.
    fn begin(
        &mut self,
        id: u64,
        share: Share,
        credit_tokens: u32,
        prepare: impl FnOnce() -> Result<Wanted<V::Grammar>, Refusal> + Send + 'static,
    ) -> Result<()> {
        if self.tickets.contains_key(&id) {
            bail!("the client used the id {id} for two requests at once");
        }
        if self.tickets.len() >= CONNECTION_REQUESTS_MAX {
            let queue_requests_max = CONNECTION_REQUESTS_MAX as u32;
            let refusal = Refusal::QueueFull { queue_requests_max };
            let _ = self.answers.send(FromEngine::Refused { id, refusal });
            return Ok(());
        }
        let arrived = Instant::now();
        let ticket = self.shared.interest.ticket(credit_tokens);
        self.tickets.insert(id, CancelOnDrop(ticket.clone()));
        let (commands, to) = (self.shared.commands.clone(), self.answers.clone());
        tokio::task::spawn_blocking(move || match check::share(share).and_then(|()| prepare()) {
            Ok(wanted) => {
                let begin = Begin { id, share, wanted, arrived, ticket, to };
                // A closed channel: the engine ends, and the connection answers for it.
                let _ = commands.send(Command::Begin(Box::new(begin)));
            }
            Err(refusal) => {
                let _ = to.send(FromEngine::Refused { id, refusal });
            }
        });
        Ok(())
    }

    fn tokenize(&self, id: u64, pieces: Vec<Piece>) {
        let (vocabulary, answers) = (self.ready.vocabulary.clone(), self.answers.clone());
        tokio::task::spawn_blocking(move || {
            let text = |token: u32| request::token_text(token, &*vocabulary);
            let _ = answers.send(match vocabulary.encode(&pieces) {
                Ok(tokens) => FromEngine::Tokens { id, tokens: tokens.into_iter().map(text).collect() },
                Err(refusal) => FromEngine::Refused { id, refusal },
            });
        });
    }

    fn forget_ended(&mut self, frame: &FromEngine) {
        if let FromEngine::Finish { id, .. }
        | FromEngine::Embedded { id, .. }
        | FromEngine::Refused { id, .. } = frame
        {
            self.tickets.remove(id);
        }
    }
}

fn wanted_text<V: Vocabulary>(ready: &Ready<V>, generate: Generate) -> Result<Wanted<V::Grammar>, Refusal> {
    if !ready.card.generates {
        return Err(Refusal::Unable { what: "generate text: it gives embeddings".into() });
    }
    check::generate(&generate, ready.card.vocabulary_tokens)?;
    let prompt = ready.vocabulary.encode(&generate.pieces)?;
    check::prompt_tokens(prompt.len(), 1, ready.card.context_tokens)?;
    let grammar = generate.grammar.as_ref().map(|grammar| ready.vocabulary.compile(grammar)).transpose()?;
    Ok(Wanted::Generate(Box::new(request::Generate {
        prompt,
        salt: generate.salt,
        choices: generate.choices,
        sampling: generate.sampling,
        grammar,
        stop: generate.stop,
        tokens_max: generate.tokens_max,
        logprobs: generate.logprobs,
        prompt_logprobs: generate.prompt_logprobs,
    })))
}

fn wanted_vectors<V: Vocabulary>(ready: &Ready<V>, embed: &Embed) -> Result<Wanted<V::Grammar>, Refusal> {
    let Some(embedding_numbers) = ready.card.embedding_numbers else {
        return Err(Refusal::Unable { what: "give embeddings: it generates text".into() });
    };
    check::embed(embed, embedding_numbers)?;
    // A text is computed whole, and gives no further token.
    let tokens_max = ready.card.context_tokens.min(ready.step_tokens_max);
    let encode = |pieces: &Vec<Piece>| {
        let input = ready.vocabulary.encode(pieces)?;
        check::prompt_tokens(input.len(), 0, tokens_max)?;
        Ok(input)
    };
    Ok(Wanted::Embed(embed.inputs.iter().map(encode).collect::<Result<_, _>>()?))
}
