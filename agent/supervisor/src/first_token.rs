//! The engine wire, as the supervisor uses it: to follow the loading, to prove the first token, to
//! have known tokens computed, and to ask for figures.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use futures_util::{SinkExt as _, StreamExt as _};
use nabi_domain::Piece;
use nabi_wire::engine::{
    Embed, FinishReason, FromEngine, Generate, Greeting, ModelCard, Sampling, Share, Stats, ToEngine,
};
use nabi_wire::frame::{self, Reader, Writer};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

/// Any text would do: what is proven is that a token comes.
const PROOF_PROMPT: &str = "Hello";

/// A connection to one engine.
pub(crate) struct EngineClient {
    from_engine: Reader<OwnedReadHalf, FromEngine>,
    to_engine: Writer<OwnedWriteHalf, ToEngine>,
    last_id: u64,
}

impl EngineClient {
    /// Connects, and waits until the model is loaded, telling the progress in thousandths.
    pub(crate) async fn connect(socket: &Path, mut loading: impl FnMut(u16)) -> Result<(Self, ModelCard)> {
        let stream = UnixStream::connect(socket).await.context("cannot connect to the engine")?;
        let (read, write) = stream.into_split();
        let mut client =
            Self { from_engine: frame::reader(read), to_engine: frame::writer(write), last_id: 0 };
        client.to_engine.send(ToEngine::Greeting(Greeting::OURS)).await?;
        let greeting = client.next().await?;
        ensure!(
            greeting == FromEngine::Greeting(Greeting::OURS),
            "the engine is of another version: install all programs from one build"
        );
        loop {
            match client.next().await? {
                FromEngine::Loading { permille } => loading(permille),
                FromEngine::Ready(card) => return Ok((client, *card)),
                other => bail!("the engine answers before it is ready: {other:?}"),
            }
        }
    }

    /// Has one token made, or one vector by a model that only makes vectors.
    pub(crate) async fn prove(&mut self, card: &ModelCard) -> Result<()> {
        let prompt = card.bos.map(Piece::Token).into_iter().chain([Piece::Text(PROOF_PROMPT.to_owned())]);
        if card.generates {
            self.prove_token(prompt.collect()).await
        } else {
            self.prove_vector(prompt.collect()).await
        }
    }

    async fn prove_vector(&mut self, prompt: Vec<Piece>) -> Result<()> {
        let embed = Embed { id: self.next_id(), share: Share::default(), inputs: vec![prompt] };
        self.to_engine.send(ToEngine::Embed(Box::new(embed))).await?;
        match self.next().await? {
            FromEngine::Embedded { vectors, .. } => {
                let proven = vectors.first().is_some_and(|vector| vector.iter().any(|number| *number != 0.0));
                ensure!(proven, "the engine made no vector");
                Ok(())
            }
            FromEngine::Refused { refusal, .. } => bail!("the engine refuses its first text: {refusal}"),
            other => bail!("the engine answers something else: {other:?}"),
        }
    }

    async fn prove_token(&mut self, prompt: Vec<Piece>) -> Result<()> {
        let tokens = self.greedy(prompt, 1).await?;
        ensure!(tokens.len() == 1, "the engine made no token");
        Ok(())
    }

    /// The likeliest tokens after a prompt, at most so many.
    pub(crate) async fn greedy(&mut self, prompt: Vec<Piece>, tokens_max: u32) -> Result<Vec<u32>> {
        let id = self.next_id();
        let generate = Generate {
            sampling: Sampling { temperature: 0.0, ..Sampling::default() },
            tokens_max: Some(tokens_max),
            ..Generate::new(id, prompt)
        };
        self.to_engine.send(ToEngine::Generate(Box::new(generate))).await?;
        let (mut tokens, mut reason) = (Vec::new(), None);
        loop {
            match self.next().await? {
                FromEngine::Delta(delta) => {
                    tokens.extend(delta.token_ids);
                    reason = delta.end.or(reason);
                }
                FromEngine::Finish { id: ended, .. } if ended == id => {
                    let whole = matches!(reason, Some(FinishReason::Stop | FinishReason::Length));
                    ensure!(whole, "the engine broke off: {reason:?}");
                    return Ok(tokens);
                }
                FromEngine::Refused { refusal, .. } => {
                    bail!("the engine refuses its first prompt: {refusal}")
                }
                other => bail!("the engine answers something else: {other:?}"),
            }
        }
    }

    pub(crate) async fn stats(&mut self) -> Result<Stats> {
        let id = self.next_id();
        self.to_engine.send(ToEngine::Stats { id }).await?;
        loop {
            match self.next().await? {
                FromEngine::Stats { id: answered, stats } if answered == id => return Ok(*stats),
                // An answer that came too late for an earlier question.
                FromEngine::Stats { .. } => {}
                other => bail!("the engine answers something else: {other:?}"),
            }
        }
    }

    fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    async fn next(&mut self) -> Result<FromEngine> {
        Ok(self.from_engine.next().await.context("the engine closed the connection")??)
    }
}
