//! One answer under way, as its script goes.

use std::sync::Arc;
use std::time::Duration;

use nabi_domain::Piece;
use nabi_wire::engine::{Delta, FinishReason, FromEngine, Generate, Refusal, TokenText, Usage};
use tokio::sync::{Semaphore, oneshot, watch};

use crate::answer;
use crate::connection::{Frames, Outgoing};
use crate::script::Step;

/// Allows so many tokens more. More than a semaphore holds is as good as no limit.
pub(crate) fn add_credit(credit: &Semaphore, tokens: u32) {
    let room = Semaphore::MAX_PERMITS - credit.available_permits();
    credit.add_permits(room.min(tokens as usize));
}

/// What a script's steps are done to.
pub(crate) struct Play {
    id: u64,
    logprobs: Option<u8>,
    usage: Usage,
    /// Whether each choice has ended.
    ended: Vec<bool>,
    frames: Frames,
    held: watch::Receiver<u64>,
    /// Releases before this request, and one for each hold since: none given early is lost.
    releases_seen: u64,
    /// Tokens that may be sent.
    pub(crate) credit: Arc<Semaphore>,
}

/// Why no further step follows.
enum End {
    Finish(FinishReason),
    Refuse(Refusal),
    Die,
}

impl Play {
    pub(crate) fn new(generate: &Generate, usage: Usage, frames: Frames, held: watch::Receiver<u64>) -> Self {
        let credit = Semaphore::new(0);
        add_credit(&credit, generate.credit_tokens);
        let releases_seen = *held.borrow();
        Self {
            id: generate.id,
            logprobs: generate.logprobs,
            usage,
            ended: vec![false; generate.choices as usize],
            frames,
            releases_seen,
            held,
            credit: Arc::new(credit),
        }
    }

    pub(crate) async fn run(mut self, steps: Vec<Step>, aborted: oneshot::Receiver<()>) {
        let played = async {
            for step in steps {
                if let Some(end) = self.step(step).await {
                    return end;
                }
            }
            End::Finish(FinishReason::Stop)
        };
        let end = tokio::select! {
            biased;
            end = played => end,
            // Resolves with an error when the client drops its side, which is how it aborts.
            _ = aborted => End::Finish(FinishReason::Aborted),
        };
        match end {
            End::Finish(reason) => self.finish(reason),
            End::Refuse(refusal) => self.put(Outgoing::Frame(FromEngine::Refused { id: self.id, refusal })),
            End::Die => self.put(Outgoing::Die),
        }
    }

    /// Takes one step; something when it is the last one.
    async fn step(&mut self, step: Step) -> Option<End> {
        let next = self.usage.completion_tokens;
        let delta = match step {
            Step::Text(text) => answer::word(0, answer::FIRST_WORD_ID + next, text),
            Step::Choice(choice, text) => answer::word(choice, answer::FIRST_WORD_ID + next, text),
            Step::Token(token) => Delta { token_ids: vec![token], ..Delta::default() },
            Step::Added(token) => {
                Delta { token_ids: vec![token], pieces: vec![Piece::Token(token)], ..Delta::default() }
            }
            Step::Delta(delta) => *delta,
            Step::Cached(tokens) => {
                self.usage.cached_tokens = tokens;
                return None;
            }
            Step::WaitMs(ms) => {
                tokio::time::sleep(Duration::from_millis(ms)).await;
                return None;
            }
            Step::Hold => {
                self.hold().await;
                return None;
            }
            Step::Finish(reason) => return Some(End::Finish(reason)),
            Step::Refuse(refusal) => return Some(End::Refuse(refusal)),
            Step::Die => return Some(End::Die),
        };
        let tokens = u32::try_from(delta.token_ids.len()).unwrap_or(u32::MAX);
        let credit = Arc::clone(&self.credit);
        credit.acquire_many(tokens).await.expect("nobody closes it").forget();
        self.send(delta);
        None
    }

    async fn hold(&mut self) {
        self.releases_seen += 1;
        let seen = self.releases_seen;
        if self.held.wait_for(|releases| *releases >= seen).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Sends a delta, with log-probabilities where they are wanted and it brings none.
    pub(crate) fn send(&mut self, mut delta: Delta) {
        delta.id = self.id;
        self.usage.completion_tokens += u32::try_from(delta.token_ids.len()).unwrap_or(u32::MAX);
        if let (Some(top), true) = (self.logprobs, delta.logprobs.is_empty()) {
            let text = match delta.pieces.first() {
                Some(Piece::Text(text)) => text.as_bytes(),
                _ => b"",
            };
            let token = |token: &u32| TokenText { token: *token, bytes: text.into() };
            delta.logprobs = delta.token_ids.iter().map(|id| answer::scored(token(id), top)).collect();
        }
        if let (Some(ended), Some(_)) = (self.ended.get_mut(delta.choice as usize), delta.end) {
            *ended = true;
        }
        self.put(Outgoing::Frame(FromEngine::Delta(delta)));
    }

    /// Ends the choices that have not ended, and the answer.
    pub(crate) fn finish(&mut self, reason: FinishReason) {
        for choice in 0..u32::try_from(self.ended.len()).unwrap_or(u32::MAX) {
            if !self.ended[choice as usize] {
                self.send(Delta { choice, end: Some(reason), ..Delta::default() });
            }
        }
        self.put(Outgoing::Frame(FromEngine::Finish { id: self.id, usage: self.usage }));
    }

    /// The writer outlives every sender but those of a client that is gone.
    fn put(&self, outgoing: Outgoing) {
        let _ = self.frames.send(outgoing);
    }
}
