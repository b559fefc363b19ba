//! A request under way: its answers as they grow, and how it ends.

use std::time::Instant;

use nabi_wire::engine::{
    Delta, FinishReason, FromEngine, Refusal, Salt, Sampling, ScoredToken, Share, TokenText, Usage,
};
use tokio::sync::mpsc::UnboundedSender;

use crate::backend::{Generation, Output, Score, Vocabulary};
use crate::text::{Shown, TextStream};
use crate::ticket::Ticket;

/// What is asked for, in tokens.
pub(crate) enum Wanted<G> {
    Generate(Box<Generate<G>>),
    /// One vector for each of these.
    Embed(Vec<Vec<u32>>),
}

/// An answer that is asked for.
pub(crate) struct Generate<G> {
    pub(crate) prompt: Vec<u32>,
    pub(crate) salt: Salt,
    pub(crate) choices: u32,
    pub(crate) sampling: Sampling,
    pub(crate) grammar: Option<G>,
    pub(crate) stop: Vec<String>,
    pub(crate) tokens_max: Option<u32>,
    pub(crate) logprobs: Option<u8>,
    pub(crate) prompt_logprobs: Option<u8>,
}

impl<G: Clone> Generate<G> {
    /// What the backend must know of one choice. The prompt is scored once.
    pub(crate) fn generation(&self, choice: u32) -> Generation<G> {
        Generation {
            salt: self.salt,
            sampling: self.sampling.clone(),
            choice,
            grammar: self.grammar.clone(),
            logprobs: self.logprobs,
            prompt_logprobs: self.prompt_logprobs.filter(|_| choice == 0),
        }
    }
}

/// How a request ends.
pub(crate) enum Ended {
    /// All its choices have.
    Complete,
    /// What is left of it, for this reason.
    By(FinishReason),
    /// Without an answer, or in the middle of one.
    Refused(Refusal),
}

/// A request that was taken.
pub(crate) struct Request {
    id: u64,
    share: Share,
    arrived: Instant,
    ticket: Ticket,
    to: UnboundedSender<FromEngine>,
    started: bool,
    usage: Usage,
    /// One for each choice or input; none once that is over.
    parts: Vec<Option<Part>>,
    vectors: Vec<Vec<f32>>,
}

enum Part {
    Answer { text: TextStream, tokens_left: u32 },
    Input,
}

impl Request {
    pub(crate) fn new<G>(
        id: u64,
        share: Share,
        wanted: &Wanted<G>,
        context_tokens: u32,
        arrived: Instant,
        ticket: Ticket,
        to: UnboundedSender<FromEngine>,
    ) -> Self {
        let (prompt_tokens, parts, vectors) = match wanted {
            Wanted::Generate(generate) => {
                let room = context_tokens.saturating_sub(generate.prompt.len() as u32);
                let tokens_left = generate.tokens_max.map_or(room, |asked| asked.min(room));
                let answer =
                    || Some(Part::Answer { text: TextStream::new(generate.stop.clone()), tokens_left });
                (generate.prompt.len(), (0..generate.choices).map(|_| answer()).collect(), Vec::new())
            }
            Wanted::Embed(inputs) => {
                let prompt_tokens = inputs.iter().map(Vec::len).sum();
                (
                    prompt_tokens,
                    inputs.iter().map(|_| Some(Part::Input)).collect(),
                    vec![Vec::new(); inputs.len()],
                )
            }
        };
        let prompt_tokens = u32::try_from(prompt_tokens).unwrap_or(u32::MAX);
        let usage = Usage { prompt_tokens, ..Usage::default() };
        Self { id, share, arrived, ticket, to, started: false, usage, parts, vectors }
    }

    /// The choices or inputs that are not over.
    pub(crate) fn open(&self) -> impl Iterator<Item = u32> {
        self.parts.iter().zip(0..).filter(|(part, _)| part.is_some()).map(|(_, index)| index)
    }

    pub(crate) fn has_started(&self) -> bool {
        self.started
    }

    pub(crate) fn is_wanted(&self) -> bool {
        !self.ticket.is_cancelled() && !self.to.is_closed()
    }

    pub(crate) fn credit_tokens(&self) -> u64 {
        self.ticket.credit_tokens()
    }

    /// Whether a time limit of its own is over, and how it then ends.
    pub(crate) fn overdue(&self, now: Instant) -> Option<Ended> {
        let waited_ms = now.saturating_duration_since(self.arrived).as_millis() as u64;
        let over = |limit: Option<u64>| limit.filter(|&ms| ms <= waited_ms);
        if let Some(total_ms_max) = over(self.share.total_ms_max) {
            return Some(match self.started {
                true if self.vectors.is_empty() => Ended::By(FinishReason::TimeOver),
                _ => Ended::Refused(Refusal::TimeOver { total_ms_max }),
            });
        }
        let queue_ms_max = over(self.share.queue_ms_max).filter(|_| !self.started)?;
        Some(Ended::Refused(Refusal::QueueTimeOver { queue_ms_max }))
    }

    /// How it ends when the engine does.
    pub(crate) fn drained(&self) -> Ended {
        if self.started && self.vectors.is_empty() {
            Ended::By(FinishReason::Draining)
        } else {
            Ended::Refused(Refusal::Draining)
        }
    }

    /// A choice got a slot; true if that is the request's first.
    pub(crate) fn started(&mut self, index: u32, cached_tokens: u32) -> bool {
        let first = index == 0 && !self.started;
        self.started = true;
        if first {
            self.usage.cached_tokens = cached_tokens;
        }
        first
    }

    /// Sends what a step gave; true if that ends this choice or input.
    pub(crate) fn show<V: Vocabulary>(&mut self, index: u32, output: Output, vocabulary: &V) -> bool {
        match output {
            Output::Prompt { scores, .. } => {
                let tokens = scores.into_iter().map(|score| scored(score, vocabulary)).collect();
                self.send(FromEngine::Prompt { id: self.id, tokens });
                false
            }
            Output::Vector { numbers, .. } => {
                self.vectors[index as usize] = numbers;
                self.parts[index as usize] = None;
                true
            }
            Output::Token { token, score, .. } => self.token(index, token, score, vocabulary),
            // It ends the whole request, which the host does.
            Output::Refused { .. } => false,
        }
    }

    fn token<V: Vocabulary>(&mut self, index: u32, token: u32, score: Option<Score>, vocabulary: &V) -> bool {
        let Some(Part::Answer { text, tokens_left }) = &mut self.parts[index as usize] else { return true };
        // Only the prompt was of interest.
        if *tokens_left == 0 {
            self.end_choice(index, FinishReason::Length, Delta::default());
            return true;
        }
        *tokens_left -= 1;
        self.usage.completion_tokens += 1;
        self.ticket.spend_credit();
        let ends = vocabulary.ends(token);
        let shown = match vocabulary.literal(token) {
            // The end is no part of what it ends.
            _ if ends => Shown::More(Vec::new()),
            None => text.push_text(vocabulary.bytes(token)),
            // A control token's bytes are none, whatever its literal.
            Some(_) => text.push_added(token, std::str::from_utf8(vocabulary.bytes(token)).unwrap_or("")),
        };
        let (pieces, stopped) = match shown {
            Shown::More(pieces) => (pieces, false),
            Shown::Stopped(pieces) => (pieces, true),
        };
        let is_last = *tokens_left == 0;
        let logprobs = score.map(|score| scored(score, vocabulary)).into_iter().collect();
        let delta = Delta { id: self.id, choice: index, token_ids: vec![token], pieces, logprobs, end: None };
        if stopped {
            // What is held back follows the stop string.
            *text = TextStream::default();
        }
        if ends || stopped {
            self.end_choice(index, FinishReason::Stop, delta);
        } else if is_last {
            self.end_choice(index, FinishReason::Length, delta);
        } else {
            self.send(FromEngine::Delta(delta));
            return false;
        }
        true
    }

    /// The last delta of a choice.
    fn end_choice(&mut self, index: u32, reason: FinishReason, delta: Delta) {
        let Some(Part::Answer { text, .. }) = self.parts[index as usize].take() else { return };
        let mut pieces = delta.pieces;
        if reason != FinishReason::Aborted {
            pieces.extend(text.finish());
        }
        self.send(FromEngine::Delta(Delta {
            id: self.id,
            choice: index,
            pieces,
            end: Some(reason),
            ..delta
        }));
    }

    /// The last frames. A client that is gone needs none: sending to it is no error.
    pub(crate) fn end(mut self, how: Ended) {
        match how {
            Ended::Refused(refusal) => return self.send(FromEngine::Refused { id: self.id, refusal }),
            Ended::By(reason) => {
                self.vectors.clear();
                for index in self.open().collect::<Vec<_>>() {
                    self.end_choice(index, reason, Delta::default());
                }
            }
            Ended::Complete => {}
        }
        let (id, usage) = (self.id, self.usage);
        let vectors = std::mem::take(&mut self.vectors);
        self.send(if vectors.is_empty() {
            FromEngine::Finish { id, usage }
        } else {
            FromEngine::Embedded { id, vectors, usage }
        });
    }

    fn send(&self, frame: FromEngine) {
        let _ = self.to.send(frame);
    }
}

/// What a token adds to the text, for those who want to see tokens.
pub(crate) fn token_text<V: Vocabulary + ?Sized>(token: u32, vocabulary: &V) -> TokenText {
    let bytes = vocabulary.literal(token).map_or_else(|| vocabulary.bytes(token), str::as_bytes);
    TokenText { token, bytes: bytes.to_vec() }
}

fn scored<V: Vocabulary>(score: Score, vocabulary: &V) -> ScoredToken {
    let top = score.top.into_iter().map(|(token, logprob)| (token_text(token, vocabulary), logprob));
    ScoredToken { text: token_text(score.token, vocabulary), logprob: score.logprob, top: top.collect() }
}
