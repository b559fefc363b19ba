//! A client of the engine wire that keeps all it is told.

use std::collections::HashMap;

use futures_util::{SinkExt as _, StreamExt as _};
use nabi_domain::Piece;
use nabi_wire::engine::{
    Delta, Embed, FinishReason, FromEngine, Generate, Greeting, ModelCard, Refusal, Sampling, ScoredToken,
    Share, Stats, ToEngine, Usage,
};
use nabi_wire::frame::{self, Reader, Writer};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

use super::within_deadline;

/// A request that takes the likeliest token each time.
pub fn greedy(pieces: Vec<Piece>, tokens_max: u32) -> Generate {
    let sampling = Sampling { temperature: 0.0, ..Sampling::default() };
    Generate { sampling, tokens_max: Some(tokens_max), ..Generate::new(0, pieces) }
}

/// All that came for one request.
#[derive(Debug, Clone, Default)]
pub struct Answer {
    /// The prompt's tokens, where asked for.
    pub prompt: Vec<ScoredToken>,
    /// In the order of their coming, of all choices.
    pub deltas: Vec<Delta>,
    /// One for each text that was to be embedded.
    pub vectors: Vec<Vec<f32>>,
    /// How it ended, once it has.
    pub end: Option<End>,
}

/// How a request ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// It was answered.
    Finish(Usage),
    /// It was not taken, or failed.
    Refused(Refusal),
}

impl Answer {
    /// One choice's part of it.
    pub fn choice(&self, choice: u32) -> Self {
        let deltas = self.deltas.iter().filter(|delta| delta.choice == choice).cloned().collect();
        Self { deltas, ..self.clone() }
    }

    /// All text.
    pub fn text(&self) -> String {
        self.deltas.iter().map(delta_text).collect()
    }

    /// All tokens.
    pub fn token_ids(&self) -> Vec<u32> {
        self.deltas.iter().flat_map(|delta| delta.token_ids.iter().copied()).collect()
    }

    /// The log-probabilities of all tokens.
    pub fn logprobs(&self) -> Vec<f32> {
        self.deltas.iter().flat_map(|delta| delta.logprobs.iter().filter_map(|token| token.logprob)).collect()
    }

    /// Why it ended; of several choices, the one that did last.
    ///
    /// # Panics
    /// When it was refused.
    pub fn reason(&self) -> FinishReason {
        let end = self.deltas.iter().rev().find_map(|delta| delta.end);
        end.unwrap_or_else(|| panic!("{:?} instead of an answer", self.end))
    }

    /// What it took.
    ///
    /// # Panics
    /// When it was refused.
    pub fn usage(&self) -> Usage {
        match &self.end {
            Some(End::Finish(usage)) => *usage,
            other => panic!("{other:?} instead of an answer"),
        }
    }

    /// Why it was refused.
    ///
    /// # Panics
    /// When it was answered.
    pub fn refusal(self) -> Refusal {
        match self.end {
            Some(End::Refused(refusal)) => refusal,
            other => panic!("{other:?} instead of a refusal"),
        }
    }
}

/// A delta's text, without added tokens.
pub fn delta_text(delta: &Delta) -> String {
    let text = |piece: &Piece| match piece {
        Piece::Text(text) => text.clone(),
        Piece::Token(_) => String::new(),
    };
    delta.pieces.iter().map(text).collect()
}

/// One connection to an engine whose model is loaded.
pub struct Client {
    /// What the engine told of its model.
    pub card: ModelCard,
    /// How much was loaded, as it was told before.
    pub loading_permille: Vec<u16>,
    from_engine: Reader<OwnedReadHalf, FromEngine>,
    to_engine: Writer<OwnedWriteHalf, ToEngine>,
    answers: HashMap<u64, Answer>,
    next_id: u64,
}

impl Client {
    /// Greets, and waits until the model is loaded.
    pub(super) async fn greet(stream: UnixStream) -> Self {
        let (mut from_engine, to_engine) = greetings(stream).await;
        let mut loading_permille = Vec::new();
        let card = loop {
            match next(&mut from_engine).await {
                FromEngine::Loading { permille } => loading_permille.push(permille),
                FromEngine::Ready(card) => break *card,
                other => panic!("{other:?} before the engine is ready"),
            }
        };
        Self { card, loading_permille, from_engine, to_engine, answers: HashMap::new(), next_id: 1 }
    }

    /// Sends a frame as it is.
    ///
    /// # Panics
    /// When the engine is gone.
    pub async fn send(&mut self, frame: ToEngine) {
        self.to_engine.send(frame).await.expect("the engine reads");
    }

    /// Sends a request under an id of its own, which is returned.
    pub async fn start(&mut self, request: Generate) -> u64 {
        let id = self.new_id();
        self.answers.insert(id, Answer::default());
        self.send(ToEngine::Generate(Box::new(Generate { id, ..request }))).await;
        id
    }

    /// Asks for the vectors of texts.
    pub async fn embed(&mut self, inputs: Vec<Vec<Piece>>) -> Answer {
        let id = self.new_id();
        self.answers.insert(id, Answer::default());
        self.send(ToEngine::Embed(Box::new(Embed { id, share: Share::default(), inputs }))).await;
        self.end(id).await
    }

    /// Waits for the end of a request.
    pub async fn end(&mut self, id: u64) -> Answer {
        while self.answers.get(&id).is_some_and(|answer| answer.end.is_none()) {
            let frame = self.next().await;
            self.keep(frame);
        }
        self.answers.remove(&id).expect("a request of this client, not ended before")
    }

    /// Sends a request and waits for its end.
    pub async fn answer(&mut self, request: Generate) -> Answer {
        let id = self.start(request).await;
        self.end(id).await
    }

    /// Sends requests all at once and waits for their ends.
    pub async fn answer_all(&mut self, requests: Vec<Generate>) -> Vec<Answer> {
        let mut ids = Vec::new();
        for request in requests {
            ids.push(self.start(request).await);
        }
        let mut answers = Vec::new();
        for id in ids {
            answers.push(self.end(id).await);
        }
        answers
    }

    /// Waits until a request has one more delta: then it runs.
    ///
    /// # Panics
    /// When it ends instead.
    pub async fn next_delta(&mut self, id: u64) {
        let before = self.answers[&id].deltas.len();
        while self.answers[&id].deltas.len() == before {
            let frame = self.next().await;
            self.keep(frame);
            assert_eq!(self.answers[&id].end, None, "it should still run");
        }
    }

    /// The tokens of a prompt.
    pub async fn tokenize(&mut self, pieces: Vec<Piece>) -> Vec<u32> {
        let id = self.new_id();
        self.send(ToEngine::Tokenize { id, pieces }).await;
        loop {
            match self.next().await {
                FromEngine::Tokens { id: of, tokens } if of == id => {
                    return tokens.into_iter().map(|text| text.token).collect();
                }
                other => self.keep(other),
            }
        }
    }

    /// How the engine is doing.
    pub async fn stats(&mut self) -> Stats {
        let id = self.new_id();
        self.send(ToEngine::Stats { id }).await;
        loop {
            match self.next().await {
                FromEngine::Stats { id: of, stats } if of == id => return *stats,
                other => self.keep(other),
            }
        }
    }

    /// Asks again and again until the figures are as they must come to be.
    pub async fn stats_until(&mut self, what: &str, hold: impl Fn(&Stats) -> bool) -> Stats {
        let asking = async {
            loop {
                let stats = self.stats().await;
                if hold(&stats) {
                    return stats;
                }
            }
        };
        within_deadline(what, asking).await
    }

    /// Waits until the engine closes the connection; what it still says is dropped.
    pub async fn closed(mut self) {
        within_deadline("the engine closes the connection", async {
            while let Some(Ok(_)) = self.from_engine.next().await {}
        })
        .await;
    }

    fn new_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    async fn next(&mut self) -> FromEngine {
        next(&mut self.from_engine).await
    }

    fn keep(&mut self, frame: FromEngine) {
        let (id, end) = match frame {
            FromEngine::Delta(delta) => return self.open(delta.id).deltas.push(delta),
            FromEngine::Prompt { id, tokens } => return self.open(id).prompt.extend(tokens),
            FromEngine::Embedded { id, vectors, usage } => {
                self.open(id).vectors = vectors;
                (id, End::Finish(usage))
            }
            FromEngine::Finish { id, usage } => (id, End::Finish(usage)),
            FromEngine::Refused { id, refusal } => (id, End::Refused(refusal)),
            other => panic!("{other:?} was not asked for"),
        };
        self.open(id).end = Some(end);
    }

    fn open(&mut self, id: u64) -> &mut Answer {
        let answer = self.answers.get_mut(&id).expect("an answer to a request of ours");
        assert_eq!(answer.end, None, "nothing follows an end");
        answer
    }
}

/// Waits until so much of the model is loaded, or all of it.
pub(super) async fn loaded(stream: UnixStream, permille_min: u16) {
    let (mut from_engine, _to_engine) = greetings(stream).await;
    while let FromEngine::Loading { permille } = next(&mut from_engine).await
        && permille < permille_min
    {}
}

async fn greetings(
    stream: UnixStream,
) -> (Reader<OwnedReadHalf, FromEngine>, Writer<OwnedWriteHalf, ToEngine>) {
    let (read, write) = stream.into_split();
    let (mut from_engine, mut to_engine) = (frame::reader(read), frame::writer(write));
    to_engine.send(ToEngine::Greeting(Greeting::OURS)).await.expect("the engine reads");
    assert_eq!(next(&mut from_engine).await, FromEngine::Greeting(Greeting::OURS));
    (from_engine, to_engine)
}

async fn next(from_engine: &mut Reader<OwnedReadHalf, FromEngine>) -> FromEngine {
    let frame = within_deadline("a frame of the engine", from_engine.next()).await;
    frame.expect("the engine keeps the connection").expect("a frame of our version")
}
