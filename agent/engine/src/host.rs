//! The step thread: owns the model and all requests that wait or run.
//!
//! Requests join and leave between steps; each step computes once for all that run.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use nabi_wire::engine::{Delta, FinishReason, FromEngine, Refusal, STATS_STEPS_MAX, Sampling, Stats, Usage};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, error::TryRecvError};

use crate::backend::{Chosen, Loaded, Slot, StepError};
use crate::text::{Shown, TextStream};
use crate::ticket::Ticket;

/// What connections ask of the step thread.
#[derive(Debug)]
pub(crate) enum Command {
    Generate(Box<Request>),
    Stats {
        id: u64,
        to: UnboundedSender<FromEngine>,
    },
    /// Take no more requests; end those under way when the time is over.
    Drain {
        grace: Duration,
    },
}

/// A request, already in tokens.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) id: u64,
    pub(crate) prompt: Vec<u32>,
    pub(crate) sampling: Sampling,
    pub(crate) stop: Vec<String>,
    pub(crate) tokens_max: Option<u32>,
    pub(crate) logprobs: bool,
    pub(crate) ticket: Ticket,
    pub(crate) to: UnboundedSender<FromEngine>,
}

/// A request that has a slot.
#[derive(Debug)]
struct Running {
    id: u64,
    text: TextStream,
    tokens_max: u32,
    usage: Usage,
    ticket: Ticket,
    to: UnboundedSender<FromEngine>,
}

impl Running {
    fn is_wanted(&self) -> bool {
        !self.ticket.is_cancelled() && !self.to.is_closed()
    }

    /// The last frames of an answer. A client that is gone needs none: sending to it is no error.
    fn finish(mut self, reason: FinishReason) {
        let text = std::mem::take(&mut self.text).finish();
        if !text.is_empty() && reason != FinishReason::Aborted {
            let _ = self.to.send(FromEngine::Delta(Delta { id: self.id, text, ..Delta::default() }));
        }
        let _ = self.to.send(FromEngine::Finish { id: self.id, reason, usage: self.usage });
    }
}

pub(crate) struct Host {
    loaded: Loaded,
    queue_requests_max: usize,
    waiting: VecDeque<Box<Request>>,
    /// One for each slot of the backend.
    running: Vec<Option<Running>>,
    drain_until: Option<Instant>,
    stats: Stats,
    last_steps: VecDeque<u32>,
}

impl Host {
    pub(crate) fn new(loaded: Loaded, queue_requests_max: u32) -> Self {
        let stats = Stats {
            kv_tokens_max: loaded.kv_tokens_max,
            kernel: loaded.card.kernel.clone(),
            ..Stats::default()
        };
        Self {
            queue_requests_max: queue_requests_max as usize,
            waiting: VecDeque::new(),
            running: (0..loaded.card.sequences_max).map(|_| None).collect(),
            drain_until: None,
            stats,
            last_steps: VecDeque::new(),
            loaded,
        }
    }

    /// Runs until drained, or until all senders are gone.
    pub(crate) fn run(mut self, mut commands: UnboundedReceiver<Command>) {
        loop {
            if self.is_idle() {
                if self.drain_until.is_some() {
                    return;
                }
                match commands.blocking_recv() {
                    Some(command) => self.take(command),
                    None => return,
                }
            }
            loop {
                match commands.try_recv() {
                    Ok(command) => self.take(command),
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => return,
                }
            }
            self.end_unwanted();
            self.end_overdue();
            self.admit();
            if self.running.iter().any(Option::is_some) {
                self.step();
            }
        }
    }

    fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.running.iter().all(Option::is_none)
    }

    fn take(&mut self, command: Command) {
        match command {
            Command::Generate(request) => match self.refusal() {
                Some(refusal) => refuse(&request, refusal),
                None => self.waiting.push_back(request),
            },
            Command::Stats { id, to } => {
                let _ = to.send(FromEngine::Stats { id, stats: Box::new(self.stats()) });
            }
            Command::Drain { grace } => {
                let until = Instant::now() + grace;
                self.drain_until = Some(self.drain_until.map_or(until, |earlier| earlier.min(until)));
            }
        }
    }

    /// Why no further request is taken just now.
    fn refusal(&self) -> Option<Refusal> {
        let free = self.running.iter().filter(|slot| slot.is_none()).count();
        if self.drain_until.is_some() {
            Some(Refusal::Draining)
        } else if self.waiting.len() >= self.queue_requests_max + free {
            let queue_requests_max = u32::try_from(self.queue_requests_max).unwrap_or(u32::MAX);
            Some(Refusal::QueueFull { queue_requests_max })
        } else {
            None
        }
    }

    fn end_unwanted(&mut self) {
        self.end_where(FinishReason::Aborted, |running| !running.is_wanted());
        self.waiting.retain(|request| {
            let wanted = !request.ticket.is_cancelled() && !request.to.is_closed();
            if !wanted {
                let usage = Usage::default();
                let aborted = FromEngine::Finish { id: request.id, reason: FinishReason::Aborted, usage };
                let _ = request.to.send(aborted);
            }
            wanted
        });
    }

    /// When the grace time of a drain is over, everything ends.
    fn end_overdue(&mut self) {
        if self.drain_until.is_some_and(|until| until <= Instant::now()) {
            self.end_where(FinishReason::Draining, |_| true);
            for request in self.waiting.drain(..) {
                refuse(&request, Refusal::Draining);
            }
        }
    }

    fn end_where(&mut self, reason: FinishReason, which: impl Fn(&Running) -> bool) {
        for slot in 0..self.running.len() {
            if self.running[slot].as_ref().is_some_and(&which) {
                self.end(slot as Slot, reason);
            }
        }
    }

    fn end(&mut self, slot: Slot, reason: FinishReason) {
        if let Some(running) = self.running[slot as usize].take() {
            self.loaded.backend.end(slot);
            running.finish(reason);
        }
    }

    /// Gives free slots to those that wait, first come, first served.
    fn admit(&mut self) {
        for slot in 0..self.running.len() {
            if self.running[slot].is_none() {
                let Some(request) = self.waiting.pop_front() else { return };
                self.running[slot] = Some(self.begin(slot as Slot, *request));
            }
        }
    }

    fn begin(&mut self, slot: Slot, request: Request) -> Running {
        let prompt_tokens = u32::try_from(request.prompt.len()).unwrap_or(u32::MAX);
        let room = self.loaded.card.context_tokens.saturating_sub(prompt_tokens);
        self.loaded.backend.begin(slot, request.prompt, &request.sampling, request.logprobs);
        Running {
            id: request.id,
            text: TextStream::new(request.stop),
            tokens_max: request.tokens_max.map_or(room, |asked| asked.min(room)),
            usage: Usage { prompt_tokens, completion_tokens: 0 },
            ticket: request.ticket,
            to: request.to,
        }
    }

    fn step(&mut self) {
        match self.loaded.backend.step() {
            Ok(chosen) => {
                self.count_step();
                for chosen in chosen {
                    self.show(chosen);
                }
            }
            // All tickets are cancelled: the next round ends the requests.
            Err(StepError::Unwanted) => self.end_unwanted(),
            Err(StepError::Failed(what)) => self.fail_running(&what),
        }
    }

    fn count_step(&mut self) {
        let backend = &self.loaded.backend;
        self.stats.steps += 1;
        self.stats.prompt_tokens += u64::from(backend.step_prompt_tokens());
        if self.last_steps.len() == STATS_STEPS_MAX {
            self.last_steps.pop_front();
        }
        self.last_steps.push_back(backend.step_sequences());
    }

    /// Streams one token, and ends the answer where it says so.
    fn show(&mut self, chosen: Chosen) {
        let Some(running) = self.running[chosen.slot as usize].as_mut() else { return };
        self.stats.completion_tokens += 1;
        running.usage.completion_tokens += 1;
        if self.loaded.vocabulary.ends(chosen.token) {
            return self.end(chosen.slot, FinishReason::Stop);
        }
        let (text, stopped) = match running.text.push(self.loaded.vocabulary.bytes(chosen.token)) {
            Shown::Text(text) => (text, false),
            Shown::Stopped(text) => (text, true),
        };
        let delta = Delta {
            id: running.id,
            token_ids: vec![chosen.token],
            text,
            logprobs: chosen.logprob.into_iter().collect(),
        };
        let _ = running.to.send(FromEngine::Delta(delta));
        if stopped {
            self.end(chosen.slot, FinishReason::Stop);
        } else if running.usage.completion_tokens >= running.tokens_max {
            self.end(chosen.slot, FinishReason::Length);
        }
    }

    /// One failed step must not end the others' service: its requests fail, the next ones run.
    fn fail_running(&mut self, what: &str) {
        tracing::error!(what, "a step failed");
        for slot in 0..self.running.len() {
            if let Some(running) = self.running[slot].take() {
                self.loaded.backend.end(slot as Slot);
                let refusal = Refusal::Failed { what: what.to_owned() };
                let _ = running.to.send(FromEngine::Refused { id: running.id, refusal });
            }
        }
    }

    fn stats(&self) -> Stats {
        let running = self.running.iter().filter(|slot| slot.is_some()).count();
        Stats {
            waiting: u32::try_from(self.waiting.len()).unwrap_or(u32::MAX),
            running: u32::try_from(running).unwrap_or(u32::MAX),
            last_step_sequences: self.last_steps.iter().copied().collect(),
            kv_used_tokens: self.loaded.backend.kv_used_tokens(),
            ..self.stats.clone()
        }
    }
}

fn refuse(request: &Request, refusal: Refusal) {
    let _ = request.to.send(FromEngine::Refused { id: request.id, refusal });
}
