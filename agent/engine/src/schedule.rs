//! Who computes next. Pure: it is told what happens, and says what to do.
//!
//! A *job* is one sequence to compute: a choice of an answer, or a text to embed. Jobs belong to
//! *flows*, which share the engine by weight: each flow has a virtual time, the tokens that it was
//! served divided by its weight, and the flow that is furthest behind goes first (start-time fair
//! queueing, with tokens as the cost; "Fairness in Serving Large Language Models", Sheng et al.).
//! A flow that comes (back) begins where the others are: it cannot save up for a burst.
//!
//! Where all slots are taken and a flow falls behind, the job that was served longest gives its
//! slot up and waits at the head of its flow.

use std::collections::{BTreeMap, HashMap, VecDeque};

/// Names a job; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct JobId(pub(crate) u64);

/// A job that comes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Submission {
    pub(crate) job: JobId,
    pub(crate) flow: u64,
    pub(crate) weight: u16,
    /// Begins only when this job's prompt is computed: it has the same one, to be copied.
    pub(crate) after: Option<JobId>,
    pub(crate) prompt: Prompt,
}

/// How a prompt can be computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Prompt {
    /// In chunks; its last token gives the next one.
    Chunks,
    /// In chunks; each token has an output.
    Scored,
    /// All at once.
    Whole,
}

/// What to do before the next step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Move {
    /// Give this job a free slot.
    Start(JobId),
    /// Take this job out of its slot; it will wait.
    Preempt(JobId),
}

/// What one step can take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Room {
    /// Tokens of all jobs together.
    pub(crate) tokens_max: u32,
    /// Tokens with an output.
    pub(crate) outputs_max: u32,
    /// Tokens of prompts.
    pub(crate) chunk_tokens_max: u32,
}

/// A job's part of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) job: JobId,
    pub(crate) tokens: u32,
}

/// With fewer tokens of a prompt, a step costs nearly as much: engines take slower ways (llama.cpp's
/// attention computes tiles of 64).
pub(crate) const CHUNK_TOKENS_MIN: u32 = 64;
/// The oldest prompt gets this part of each chunk, however short those are that overtake it.
const OLDEST_SHARE: u32 = 4;

#[derive(Debug)]
pub(crate) struct Scheduler {
    slots: usize,
    /// A flow may fall so many tokens (at weight 1) behind before another one's job gives way, and
    /// a job has so many computed before it does.
    preemption_tokens: u32,
    flows: BTreeMap<u64, Flow>,
    jobs: HashMap<JobId, Job>,
    running: Vec<JobId>,
}

#[derive(Debug, Default)]
struct Flow {
    /// Tokens over weight.
    served: f64,
    waiting: VecDeque<JobId>,
    running: u32,
}

impl Flow {
    fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.running == 0
    }
}

#[derive(Debug)]
struct Job {
    flow: u64,
    weight: u16,
    after: Option<JobId>,
    prompt: Prompt,
    /// Whether its answer may be sent.
    allowed: bool,
    /// Whether its flow paid for its prompt.
    paid: bool,
    state: State,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Waiting,
    Running {
        /// Tokens to compute before it gives something.
        left: u32,
        in_prompt: bool,
        /// Since it got its slot.
        computed: u32,
        /// Tokens that were there when it did.
        cached: u32,
    },
}

impl Scheduler {
    pub(crate) fn new(slots: u32, preemption_tokens: u32) -> Self {
        Self {
            slots: slots as usize,
            preemption_tokens,
            flows: BTreeMap::new(),
            jobs: HashMap::new(),
            running: Vec::new(),
        }
    }

    /// Slots without a job.
    pub(crate) fn free_slots(&self) -> usize {
        self.slots - self.running.len()
    }

    pub(crate) fn submit(&mut self, submission: Submission) {
        let Submission { job, flow: number, weight, after, prompt } = submission;
        let floor = self.floor().unwrap_or(0.0);
        let flow = self.flows.entry(number).or_default();
        if flow.is_idle() {
            flow.served = flow.served.max(floor);
        }
        flow.waiting.push_back(job);
        let state = State::Waiting;
        self.jobs.insert(job, Job { flow: number, weight, after, prompt, allowed: true, paid: false, state });
    }

    /// Says whether a job's answer may be sent just now. One that may not does not run, and gives
    /// its slot to any that waits.
    pub(crate) fn allow(&mut self, job: JobId, allowed: bool) {
        if let Some(job) = self.jobs.get_mut(&job) {
            job.allowed = allowed;
        }
    }

    /// The next thing to do; to be asked until there is none.
    pub(crate) fn next_move(&self) -> Option<Move> {
        let (flow, job) = self.next_waiting()?;
        if self.free_slots() > 0 {
            return Some(Move::Start(job));
        }
        let silent = self.running.iter().find(|job| !self.jobs[job].allowed);
        silent.copied().or_else(|| self.victim(flow, &self.jobs[&job])).map(Move::Preempt)
    }

    /// The first job that can begin, of the flow that is furthest behind.
    fn next_waiting(&self) -> Option<(&Flow, JobId)> {
        let ready = |flow: &Flow| flow.waiting.iter().copied().find(|job| self.can_begin(*job));
        let candidates = self.flows.values().filter_map(|flow| Some((flow, ready(flow)?)));
        candidates.min_by(|(a, a_job), (b, b_job)| {
            a.served.total_cmp(&b.served).then(a.running.cmp(&b.running)).then(a_job.cmp(b_job))
        })
    }

    fn can_begin(&self, job: JobId) -> bool {
        let job = &self.jobs[&job];
        let leader = job.after.and_then(|leader| self.jobs.get(&leader));
        // A leader that was taken out of its slot has lost what could be copied: go on without.
        let leader_computes = leader.is_some_and(|leader| match leader.state {
            State::Waiting => !leader.paid,
            State::Running { in_prompt, .. } => in_prompt,
        });
        job.allowed && !leader_computes
    }

    /// The longest-served job of the flow that is furthest ahead, if `flow` is far enough behind.
    fn victim(&self, flow: &Flow, candidate: &Job) -> Option<JobId> {
        let ahead = |job: &&JobId| self.flows[&self.jobs[job].flow].served;
        let of_first = self.running.iter().max_by(|a, b| ahead(a).total_cmp(&ahead(b)))?;
        let number = self.jobs[of_first].flow;
        let first = &self.flows[&number];
        let weight = self.jobs[of_first].weight;
        let behind = first.served - flow.served;
        let per_weight = |running: u32, weight: u16| f64::from(running) / f64::from(weight);
        // One slot more for the one and one less for the other must not turn the tables.
        let fair = flow.running == 0
            || per_weight(flow.running + 1, candidate.weight) <= per_weight(first.running - 1, weight);
        if !fair || behind * f64::from(candidate.weight) < f64::from(self.preemption_tokens) {
            return None;
        }
        let computed = |job: &JobId| match self.jobs[job].state {
            State::Running { computed, .. } => computed,
            State::Waiting => 0,
        };
        let of_flow = self.running.iter().copied().filter(|job| self.jobs[job].flow == number);
        of_flow.max_by_key(computed).filter(|job| computed(job) >= self.preemption_tokens)
    }

    /// A job got a slot, where so many of its tokens are there and so many left to compute.
    pub(crate) fn started(&mut self, id: JobId, cached: u32, left: u32) {
        let job = self.jobs.get_mut(&id).expect("a job that starts was submitted");
        let in_prompt = !job.paid || left > 1;
        job.state = State::Running { left, in_prompt, computed: 0, cached };
        let flow = self.flows.get_mut(&job.flow).expect("a job's flow is there");
        flow.waiting.retain(|waiting| *waiting != id);
        flow.running += 1;
        if !job.paid {
            // At once, so that a flow cannot take all slots before the first of its tokens counts.
            flow.served += f64::from(left) / f64::from(job.weight);
            job.paid = true;
        }
        self.running.push(id);
    }

    /// A job was taken out of its slot.
    pub(crate) fn preempted(&mut self, id: JobId) {
        let job = self.jobs.get_mut(&id).expect("a job that is taken out was submitted");
        job.state = State::Waiting;
        let flow = self.flows.get_mut(&job.flow).expect("a job's flow is there");
        flow.waiting.push_front(id);
        flow.running -= 1;
        self.running.retain(|running| *running != id);
    }

    /// The next step: every answer that may go on, and as much of the prompts as there is room for.
    pub(crate) fn plan(&self, room: Room) -> Vec<Part> {
        let mut parts = Vec::with_capacity(self.running.len());
        let mut prompts = Vec::new();
        for &id in &self.running {
            match self.jobs[&id] {
                Job { allowed: false, .. } | Job { state: State::Waiting, .. } => {}
                Job { state: State::Running { in_prompt: true, left, .. }, .. } => prompts.push((id, left)),
                Job { .. } => parts.push(Part { job: id, tokens: 1 }),
            }
        }
        let answers = self.answers();
        let mut budget = Budget {
            tokens: room.chunk_tokens_max.min(room.tokens_max.saturating_sub(answers)),
            outputs: room.outputs_max.saturating_sub(answers),
        };
        // Oldest first: jobs are numbered in the order of their coming.
        prompts.sort_unstable();
        let mut granted = vec![0; prompts.len()];
        if let Some(&(id, left)) = prompts.first() {
            let share = budget.tokens.div_ceil(OLDEST_SHARE).max(CHUNK_TOKENS_MIN.min(budget.tokens / 2));
            granted[0] = budget.take(self.jobs[&id].prompt, left, share);
        }
        let mut order: Vec<usize> = (0..prompts.len()).collect();
        let served = |at: usize| self.flows[&self.jobs[&prompts[at].0].flow].served;
        order.sort_by(|&a, &b| {
            served(a).total_cmp(&served(b)).then(prompts[a].1.cmp(&prompts[b].1)).then(a.cmp(&b))
        });
        for at in order {
            let (id, left) = prompts[at];
            let prompt = self.jobs[&id].prompt;
            // Nothing else could ever make room for it.
            let is_alone = parts.is_empty() && granted.iter().all(|&tokens| tokens == 0);
            if prompt == Prompt::Whole && is_alone {
                budget.tokens = budget.tokens.max(left);
            }
            granted[at] += budget.take(prompt, left - granted[at], u32::MAX);
        }
        let grants = prompts.iter().zip(granted).filter(|(_, tokens)| *tokens > 0);
        parts.extend(grants.map(|(&(job, _), tokens)| Part { job, tokens }));
        parts
    }

    /// Answers that go on with the next step.
    pub(crate) fn answers(&self) -> u32 {
        self.running.iter().filter(|job| self.jobs[job].allowed && !self.is_in_prompt(**job)).count() as u32
    }

    /// The tokens of a job that are computed.
    pub(crate) fn tokens_before(&self, job: JobId) -> u32 {
        match self.jobs.get(&job) {
            Some(Job { state: State::Running { computed, cached, .. }, .. }) => cached + computed,
            _ => 0,
        }
    }

    /// Those of the prompt that is furthest on.
    pub(crate) fn prompt_tokens_before(&self) -> u32 {
        let prompts = self.running.iter().filter(|job| self.is_in_prompt(**job));
        prompts.map(|job| self.tokens_before(*job)).max().unwrap_or(0)
    }

    /// Whether its next tokens are the prompt's.
    pub(crate) fn is_in_prompt(&self, job: JobId) -> bool {
        matches!(self.jobs.get(&job), Some(Job { state: State::Running { in_prompt: true, .. }, .. }))
    }

    /// A step computed so many of a job's tokens. Where none are left, it gave a token or a vector.
    pub(crate) fn computed(&mut self, id: JobId, tokens: u32) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let State::Running { left, in_prompt, computed, .. } = &mut job.state else { return };
        *left -= tokens;
        *computed += tokens;
        if !*in_prompt {
            let flow = self.flows.get_mut(&job.flow).expect("a job's flow is there");
            flow.served += f64::from(tokens) / f64::from(job.weight);
        }
        if *left == 0 {
            (*left, *in_prompt) = (1, false);
        }
    }

    /// A job is over, whatever became of it.
    pub(crate) fn end(&mut self, id: JobId) {
        let Some(job) = self.jobs.remove(&id) else { return };
        let flow = self.flows.get_mut(&job.flow).expect("a job's flow is there");
        match job.state {
            State::Waiting => flow.waiting.retain(|waiting| *waiting != id),
            State::Running { .. } => {
                flow.running -= 1;
                self.running.retain(|running| *running != id);
            }
        }
        // What an idle flow was served matters as long as it is ahead of the others.
        let floor = self.floor().unwrap_or(f64::INFINITY);
        self.flows.retain(|_, flow| !flow.is_idle() || flow.served > floor);
    }

    /// How far the flow is that is furthest behind, among those that have jobs.
    fn floor(&self) -> Option<f64> {
        let active = self.flows.values().filter(|flow| !flow.is_idle());
        active.map(|flow| flow.served).min_by(f64::total_cmp)
    }
}

/// What is left of a step.
struct Budget {
    tokens: u32,
    outputs: u32,
}

impl Budget {
    /// Takes at most `most` of the `left` tokens of a prompt.
    fn take(&mut self, prompt: Prompt, left: u32, most: u32) -> u32 {
        let mut tokens = whole_tiles(left, left.min(most).min(self.tokens));
        if self.outputs == 0 || (prompt == Prompt::Whole && tokens < left) {
            return 0;
        }
        if prompt == Prompt::Scored {
            tokens = tokens.min(self.outputs);
            self.outputs -= tokens;
        } else if tokens == left {
            self.outputs -= 1;
        }
        self.tokens -= tokens;
        tokens
    }
}

/// Of at most so many tokens of those that are left the most that cut no tile: a multiple of
/// [`CHUNK_TOKENS_MIN`] that leaves no fewer than that.
fn whole_tiles(left: u32, most: u32) -> u32 {
    let whole = most - most % CHUNK_TOKENS_MIN;
    let leaves_crumbs = left - whole < CHUNK_TOKENS_MIN;
    match whole {
        _ if most == left => left,
        // Too few for any.
        0 => most,
        CHUNK_TOKENS_MIN => CHUNK_TOKENS_MIN,
        whole if leaves_crumbs => whole - CHUNK_TOKENS_MIN,
        whole => whole,
    }
}

#[cfg(test)]
mod tests;
