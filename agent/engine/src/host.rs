//! The step thread: owns the model and all requests that wait or run.
//!
//! It does what the scheduler says, and tells it what came of it. Requests join and leave between
//! steps; each step computes once for all that run.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use nabi_wire::engine::{FinishReason, FromEngine, Refusal, STATS_STEPS_MAX, Share, Stats};
use tokio::runtime::Handle;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, error::TryRecvError};

use crate::backend::{Backend, Loaded, Output, Slot, StepError, Task, Vocabulary, Work};
use crate::pace::{Pace, PromptTokens};
use crate::request::{Ended, Request, Wanted};
use crate::schedule::{JobId, Move, Part, Prompt, Room, Scheduler, Submission};
use crate::ticket::Ticket;

/// A flow may fall so many tokens behind before another one's job gives its slot up.
const PREEMPTION_TOKENS: u32 = 512;
/// How often time limits are looked at while nothing runs.
const IDLE_ROUND_MS: u64 = 50;

/// What connections ask of the step thread.
pub(crate) enum Command<G> {
    Begin(Box<Begin<G>>),
    /// Credit came, or a request was cancelled: its ticket has it.
    Look,
    Stats {
        id: u64,
        to: UnboundedSender<FromEngine>,
    },
    /// Take no more requests; end those under way when the time is over.
    Drain {
        grace: Duration,
    },
}

/// A request that comes, already in tokens.
pub(crate) struct Begin<G> {
    pub(crate) id: u64,
    pub(crate) share: Share,
    pub(crate) wanted: Wanted<G>,
    pub(crate) arrived: Instant,
    pub(crate) ticket: Ticket,
    pub(crate) to: UnboundedSender<FromEngine>,
}

/// A request's choices and inputs number fewer than 2^16.
fn job_id(request: u64, index: u32) -> JobId {
    JobId((request << 16) | u64::from(index))
}

/// What the host holds of a job.
struct Job<S> {
    /// Which request, by the host's own number.
    request: u64,
    /// Which of its choices or inputs.
    index: u32,
    place: Place<S>,
}

enum Place<S> {
    Waiting(S),
    Slot(Slot),
    /// Between the two.
    Moving,
}

pub(crate) struct Host<V: Vocabulary, B: Backend<Grammar = V::Grammar>> {
    loaded: Loaded<V, B>,
    queue_requests_max: u32,
    scheduler: Scheduler,
    pace: Pace,
    requests: HashMap<u64, Request>,
    jobs: HashMap<JobId, Job<B::Sequence>>,
    slots: Vec<Option<JobId>>,
    last_number: u64,
    drain_until: Option<Instant>,
    stats: Stats,
    last_steps: VecDeque<u32>,
}

impl<V: Vocabulary, B: Backend<Grammar = V::Grammar>> Host<V, B> {
    pub(crate) fn new(loaded: Loaded<V, B>, queue_requests_max: u32, stream_gap_ms_max: u32) -> Self {
        let stats = Stats {
            kv_tokens_max: loaded.kv_tokens_max,
            kernel: loaded.card.kernel.clone(),
            ..Stats::default()
        };
        let sequences_max = loaded.card.sequences_max;
        Self {
            queue_requests_max,
            scheduler: Scheduler::new(sequences_max, PREEMPTION_TOKENS),
            pace: Pace::new(stream_gap_ms_max),
            requests: HashMap::new(),
            jobs: HashMap::new(),
            slots: vec![None; sequences_max as usize],
            last_number: 0,
            drain_until: None,
            stats,
            last_steps: VecDeque::new(),
            loaded,
        }
    }

    /// Runs until drained, or until all senders are gone. `timer` is the runtime's.
    pub(crate) fn run(mut self, mut commands: UnboundedReceiver<Command<V::Grammar>>, timer: &Handle) {
        let mut computes = false;
        loop {
            if !computes && !self.requests.is_empty() {
                // Nothing can run: time goes on, and credit may come.
                let round = Duration::from_millis(IDLE_ROUND_MS);
                match timer.block_on(async { tokio::time::timeout(round, commands.recv()).await }) {
                    Ok(Some(command)) => self.take(command),
                    Ok(None) => return,
                    Err(_) => {}
                }
            } else if self.requests.is_empty() {
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
            computes = self.compute();
        }
    }

    fn take(&mut self, command: Command<V::Grammar>) {
        match command {
            Command::Begin(begin) => match self.refusal() {
                Some(refusal) => {
                    let _ = begin.to.send(FromEngine::Refused { id: begin.id, refusal });
                }
                None => self.begin(*begin),
            },
            Command::Look => {}
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
        let queue_requests_max = self.queue_requests_max;
        if self.drain_until.is_some() {
            Some(Refusal::Draining)
        } else if self.waiting() as usize >= queue_requests_max as usize + self.scheduler.free_slots() {
            Some(Refusal::QueueFull { queue_requests_max })
        } else {
            None
        }
    }

    /// Requests that never had a slot.
    fn waiting(&self) -> u32 {
        self.requests.values().filter(|request| !request.has_started()).count() as u32
    }

    fn begin(&mut self, begin: Begin<V::Grammar>) {
        self.last_number += 1;
        let number = self.last_number;
        let Begin { id, share, wanted, arrived, ticket, to } = begin;
        let (prompts, how, leads) = match &wanted {
            Wanted::Generate(generate) => {
                let how = if generate.prompt_logprobs.is_some() { Prompt::Scored } else { Prompt::Chunks };
                (vec![generate.prompt.clone(); generate.choices as usize], how, true)
            }
            Wanted::Embed(inputs) => (inputs.clone(), Prompt::Whole, false),
        };
        let mut leader = None;
        for (prompt, index) in prompts.into_iter().zip(0_u32..) {
            let job = job_id(number, index);
            let scored = how == Prompt::Scored && index == 0;
            let task = match &wanted {
                Wanted::Generate(generate) => Task::Generate(Box::new(generate.generation(index))),
                Wanted::Embed(_) => Task::Embed,
            };
            let sequence = self.loaded.backend.sequence(prompt, task);
            let prompt = if how == Prompt::Scored && !scored { Prompt::Chunks } else { how };
            let submission =
                Submission { job, flow: share.flow, weight: share.weight, after: leader, prompt };
            self.scheduler.submit(submission);
            self.jobs.insert(job, Job { request: number, index, place: Place::Waiting(sequence) });
            if leads && index == 0 {
                leader = Some(job);
            }
        }
        let room = self.loaded.card.context_tokens;
        self.requests.insert(number, Request::new(id, share, &wanted, room, arrived, ticket, to));
    }

    fn end_unwanted(&mut self) {
        self.end_requests(|request| (!request.is_wanted()).then_some(Ended::By(FinishReason::Aborted)));
    }

    /// Ends what has taken too long; when the grace time of a drain is over, everything.
    fn end_overdue(&mut self) {
        let now = Instant::now();
        let drained = self.drain_until.is_some_and(|until| until <= now);
        self.end_requests(|request| if drained { Some(request.drained()) } else { request.overdue(now) });
    }

    fn end_requests(&mut self, how: impl Fn(&Request) -> Option<Ended>) {
        let ending = self.requests.iter().filter_map(|(&number, request)| Some((number, how(request)?)));
        for (number, how) in ending.collect::<Vec<_>>() {
            self.end_request(number, how);
        }
    }

    /// Ends all that is left of a request.
    fn end_request(&mut self, number: u64, how: Ended) {
        let Some(request) = self.requests.remove(&number) else { return };
        for index in request.open() {
            self.end_job(job_id(number, index));
        }
        request.end(how);
    }

    fn end_job(&mut self, id: JobId) {
        self.scheduler.end(id);
        if let Some(Job { place: Place::Slot(slot), .. }) = self.jobs.remove(&id) {
            self.slots[slot as usize] = None;
            self.loaded.backend.end(slot);
        }
    }

    /// Fills the slots and computes one step; false where there is nothing to compute.
    fn compute(&mut self) -> bool {
        self.allow();
        while let Some(next) = self.scheduler.next_move() {
            match next {
                Move::Start(job) => self.start(job),
                Move::Preempt(job) => self.preempt(job),
            }
        }
        let parts = self.scheduler.plan(Room {
            tokens_max: self.loaded.step.tokens_max,
            outputs_max: self.loaded.step.outputs_max,
            chunk_tokens_max: self
                .pace
                .chunk_tokens_max(self.scheduler.answers(), self.scheduler.prompt_tokens_before()),
        });
        if parts.is_empty() {
            return false;
        }
        self.step(&parts);
        true
    }

    /// Choices run as far as their request's credit goes, the first ones first.
    fn allow(&mut self) {
        for (&number, request) in &self.requests {
            let credit = request.credit_tokens();
            for (index, before) in request.open().zip(0_u64..) {
                self.scheduler.allow(job_id(number, index), before < credit);
            }
        }
    }

    fn start(&mut self, id: JobId) {
        let job = self.jobs.get_mut(&id).expect("the scheduler's jobs are the host's");
        let Place::Waiting(sequence) = std::mem::replace(&mut job.place, Place::Moving) else {
            unreachable!("a job that starts waits");
        };
        let placed = self.loaded.backend.place(sequence);
        job.place = Place::Slot(placed.slot);
        let before = self.slots[placed.slot as usize].replace(id);
        assert_eq!(before, None, "the backend places a sequence in a free slot");
        self.scheduler.started(id, placed.cached_tokens, placed.tokens - placed.cached_tokens);
        let request = self.requests.get_mut(&job.request).expect("a job has its request");
        if request.started(job.index, placed.cached_tokens) {
            self.stats.cached_tokens += u64::from(placed.cached_tokens);
        }
    }

    fn preempt(&mut self, id: JobId) {
        let job = self.jobs.get_mut(&id).expect("the scheduler's jobs are the host's");
        let Place::Slot(slot) = job.place else { unreachable!("a job that gives way has a slot") };
        job.place = Place::Waiting(self.loaded.backend.take(slot));
        self.slots[slot as usize] = None;
        self.scheduler.preempted(id);
        self.stats.preemptions += 1;
    }

    fn step(&mut self, parts: &[Part]) {
        let slot = |part: &Part| match self.jobs[&part.job].place {
            Place::Slot(slot) => slot,
            Place::Waiting(_) | Place::Moving => unreachable!("what runs has a slot"),
        };
        let work: Vec<Work> =
            parts.iter().map(|part| Work { slot: slot(part), tokens: part.tokens }).collect();
        let began = Instant::now();
        match self.loaded.backend.step(&work) {
            Ok(outputs) => {
                self.count_step(parts, began.elapsed());
                for part in parts {
                    self.scheduler.computed(part.job, part.tokens);
                }
                for output in outputs {
                    self.show(output);
                }
            }
            // All tickets are cancelled: the requests end with the next round.
            Err(StepError::Unwanted) => self.end_unwanted(),
            Err(StepError::Failed(what)) => self.fail(parts, &what),
        }
    }

    fn count_step(&mut self, parts: &[Part], took: Duration) {
        let mut prompts = PromptTokens::default();
        let mut answers = 0;
        for part in parts {
            if self.scheduler.is_in_prompt(part.job) {
                prompts.add(part.tokens, self.scheduler.tokens_before(part.job));
            } else {
                answers += 1;
            }
        }
        self.pace.measured(prompts, answers, took.as_secs_f64() * 1000.0);
        self.stats.steps += 1;
        self.stats.prompt_tokens += u64::from(prompts.tokens);
        if self.last_steps.len() == STATS_STEPS_MAX {
            self.last_steps.pop_front();
        }
        self.last_steps.push_back(parts.len() as u32);
    }

    /// Streams what a step gave, and ends what it ends.
    fn show(&mut self, output: Output) {
        // A request may have ended with an earlier output of the same step.
        let Some(id) = self.slots[output.slot() as usize] else { return };
        let Job { request: number, index, .. } = self.jobs[&id];
        let output = match output {
            Output::Refused { refusal, .. } => return self.end_request(number, Ended::Refused(refusal)),
            output => output,
        };
        self.stats.completion_tokens += u64::from(matches!(output, Output::Token { .. }));
        let request = self.requests.get_mut(&number).expect("a job has its request");
        if request.show(index, output, &*self.loaded.vocabulary) {
            let is_over = request.open().next().is_none();
            self.end_job(id);
            if is_over {
                self.end_request(number, Ended::Complete);
            }
        }
    }

    /// One failed step must not end the others' service: its requests fail, the next ones run.
    fn fail(&mut self, parts: &[Part], what: &str) {
        tracing::error!(what, "a step failed");
        let failed: Vec<u64> = parts.iter().map(|part| self.jobs[&part.job].request).collect();
        for number in failed {
            self.end_request(number, Ended::Refused(Refusal::Failed { what: what.to_owned() }));
        }
    }

    fn stats(&self) -> Stats {
        let memory = self.loaded.backend.memory();
        let waiting = self.waiting();
        Stats {
            waiting,
            running: self.requests.len() as u32 - waiting,
            last_step_sequences: self.last_steps.iter().copied().collect(),
            kv_used_tokens: memory.kv_used_tokens,
            saved_memory_bytes: memory.saved_memory_bytes,
            saved_disk_bytes: memory.saved_disk_bytes,
            ..self.stats.clone()
        }
    }
}
