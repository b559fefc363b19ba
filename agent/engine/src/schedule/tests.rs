//! Simulations: random schedules, whole lives of jobs, and what must hold at each step.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

const ROOM: Room = Room { tokens_max: 64, outputs_max: 24, chunk_tokens_max: 48 };
const SLOTS: u32 = 4;
const PREEMPTION_TOKENS: u32 = 32;

/// A job's life, as a request would have it.
#[derive(Debug, Clone, Copy)]
struct Life {
    flow: u64,
    weight: u16,
    after: Option<JobId>,
    prompt: Prompt,
    prompt_tokens: u32,
    answer_tokens: u32,
}

/// Does what the scheduler says, as the host would, and checks that it may say so.
struct World {
    scheduler: Scheduler,
    lives: HashMap<JobId, Life>,
    /// Tokens computed, of those that have a slot.
    slots: HashMap<JobId, u32>,
    /// Tokens that a job has.
    tokens: HashMap<JobId, u32>,
    /// Tokens that were computed when it lost its slot. Half of the jobs lose them.
    kept: HashMap<JobId, u32>,
    keep_all: bool,
    given: HashMap<JobId, u32>,
    started: HashMap<JobId, u64>,
    served: HashMap<u64, u64>,
    silent: Vec<JobId>,
    preemptions: u32,
    steps: u64,
    last: u64,
}

impl World {
    fn new() -> Self {
        Self {
            scheduler: Scheduler::new(SLOTS, PREEMPTION_TOKENS),
            lives: HashMap::new(),
            slots: HashMap::new(),
            tokens: HashMap::new(),
            kept: HashMap::new(),
            keep_all: false,
            given: HashMap::new(),
            started: HashMap::new(),
            served: HashMap::new(),
            silent: Vec::new(),
            preemptions: 0,
            steps: 0,
            last: 0,
        }
    }

    fn submit(&mut self, life: Life) -> JobId {
        self.last += 1;
        let job = JobId(self.last);
        let Life { flow, weight, after, prompt, .. } = life;
        self.scheduler.submit(Submission { job, flow, weight, after, prompt });
        self.lives.insert(job, life);
        self.tokens.insert(job, life.prompt_tokens);
        job
    }

    fn silence(&mut self, job: JobId, silent: bool) {
        self.scheduler.allow(job, !silent);
        self.silent.retain(|other| *other != job);
        if silent {
            self.silent.push(job);
        }
    }

    fn end(&mut self, job: JobId) {
        self.scheduler.end(job);
        self.lives.remove(&job);
        self.slots.remove(&job);
        self.silent.retain(|other| *other != job);
    }

    /// One round; false when nothing can run.
    fn round(&mut self) -> bool {
        let mut moves = 0;
        while let Some(next) = self.scheduler.next_move() {
            moves += 1;
            assert!(moves <= 4 * SLOTS, "moves go round in circles");
            match next {
                Move::Start(job) => {
                    let life = self.lives[&job];
                    if let Some(leader) = life.after.filter(|leader| self.slots.contains_key(leader)) {
                        assert!(
                            self.slots[&leader] >= self.lives[&leader].prompt_tokens,
                            "before its leader"
                        );
                    }
                    assert!(!self.silent.contains(&job), "a silent job began");
                    let kept = self.kept.remove(&job).unwrap_or(0).min(self.tokens[&job] - 1);
                    assert_eq!(self.slots.insert(job, kept), None);
                    assert!(self.slots.len() <= SLOTS as usize, "more jobs than slots");
                    self.started.entry(job).or_insert(self.steps);
                    self.scheduler.started(job, kept, self.tokens[&job] - kept);
                }
                Move::Preempt(job) => {
                    assert_eq!(self.slots.len(), SLOTS as usize, "pre-empted though a slot was free");
                    let computed = self.slots.remove(&job).expect("only what runs is pre-empted");
                    if self.keep_all || job.0.is_multiple_of(2) {
                        self.kept.insert(job, computed);
                    }
                    self.preemptions += 1;
                    self.scheduler.preempted(job);
                }
            }
        }
        let parts = self.scheduler.plan(ROOM);
        self.compute(&parts);
        self.steps += 1;
        !parts.is_empty()
    }

    fn compute(&mut self, parts: &[Part]) {
        let (mut outputs, mut ended) = (0, Vec::new());
        let whole = |part: &Part| self.lives[&part.job].prompt == Prompt::Whole;
        let alone = parts.len() == 1 && whole(&parts[0]);
        assert!(alone || parts.iter().map(|part| part.tokens).sum::<u32>() <= ROOM.tokens_max);
        for &Part { job, tokens } in parts {
            assert!(tokens > 0 && !self.silent.contains(&job));
            let life = self.lives[&job];
            let computed = self.slots.get_mut(&job).expect("only what has a slot is computed");
            *computed += tokens;
            assert!(*computed <= self.tokens[&job], "more than there is");
            let complete = *computed == self.tokens[&job];
            let scored = life.prompt == Prompt::Scored && !self.given.contains_key(&job);
            outputs += if scored { tokens } else { u32::from(complete) };
            assert!(life.prompt != Prompt::Whole || complete, "a text was cut");
            *self.served.entry(life.flow).or_default() += u64::from(tokens);
            if complete {
                let given = self.given.entry(job).or_default();
                *given += 1;
                *self.tokens.entry(job).or_default() += 1;
                if *given == life.answer_tokens || life.prompt == Prompt::Whole {
                    ended.push(job);
                }
            }
            self.scheduler.computed(job, tokens);
        }
        assert!(outputs <= ROOM.outputs_max, "{outputs} outputs");
        ended.into_iter().for_each(|job| self.end(job));
    }

    fn run_to_the_end(&mut self) {
        let tokens: u32 =
            self.lives.values().map(|life| 4 * life.prompt_tokens + 4 * life.answer_tokens).sum();
        for _ in 0..u64::from(tokens) + 100 {
            if self.lives.is_empty() {
                return;
            }
            self.round();
        }
        panic!("not at an end: {:?}", self.lives);
    }
}

fn life(flow: u64, prompt_tokens: u32, answer_tokens: u32) -> Life {
    Life { flow, weight: 1, after: None, prompt: Prompt::Chunks, prompt_tokens, answer_tokens }
}

#[derive(Debug, Clone)]
enum Event {
    Submit(Life, bool),
    Rounds(u8),
    Silence(prop::sample::Index),
    Speak(prop::sample::Index),
    Abort(prop::sample::Index),
}

fn any_life() -> impl Strategy<Value = Life> {
    let prompt = prop_oneof![4 => Just(Prompt::Chunks), 1 => Just(Prompt::Scored), 1 => Just(Prompt::Whole)];
    (0_u64..4, 1_u16..5, prompt, 1_u32..200, 1_u32..60).prop_map(
        |(flow, weight, prompt, prompt_tokens, answer_tokens)| Life {
            flow,
            weight,
            after: None,
            prompt,
            prompt_tokens,
            answer_tokens,
        },
    )
}

fn any_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (any_life(), any::<bool>()).prop_map(|(life, follows)| Event::Submit(life, follows)),
        4 => (1_u8..30).prop_map(Event::Rounds),
        1 => any::<prop::sample::Index>().prop_map(Event::Silence),
        1 => any::<prop::sample::Index>().prop_map(Event::Speak),
        1 => any::<prop::sample::Index>().prop_map(Event::Abort),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Whatever comes in whatever order: no limit is passed (see the assertions of [`World`]), and
    /// once all may speak, all come to their end.
    #[test]
    fn nothing_is_lost_and_no_limit_is_passed(events in proptest::collection::vec(any_event(), 1..60)) {
        let mut world = World::new();
        let sorted = |world: &World| {
            let mut jobs: Vec<JobId> = world.lives.keys().copied().collect();
            jobs.sort_unstable();
            jobs
        };
        for event in events {
            let jobs = sorted(&world);
            match event {
                Event::Submit(life, follows) => {
                    let job = world.submit(life);
                    if follows && life.prompt == Prompt::Chunks {
                        world.submit(Life { after: Some(job), ..life });
                    }
                }
                Event::Rounds(rounds) => {
                    for _ in 0..rounds {
                        world.round();
                    }
                }
                Event::Silence(index) if !jobs.is_empty() => world.silence(*index.get(&jobs), true),
                Event::Speak(index) if !jobs.is_empty() => world.silence(*index.get(&jobs), false),
                Event::Abort(index) if !jobs.is_empty() => world.end(*index.get(&jobs)),
                Event::Silence(_) | Event::Speak(_) | Event::Abort(_) => {}
            }
        }
        for job in sorted(&world) {
            world.silence(job, false);
        }
        world.run_to_the_end();
        prop_assert!(world.scheduler.jobs.is_empty() && world.scheduler.running.is_empty());
        prop_assert!(world.scheduler.flows.is_empty(), "flows without jobs are forgotten");
    }

}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    /// Flows that always have work get tokens by their weights.
    #[test]
    fn flows_share_by_weight(
        weights in proptest::collection::vec(1_u16..5, 2..4),
        lengths in proptest::collection::vec((1_u32..100, 1_u32..100), 2..4),
    ) {
        let mut world = World { keep_all: true, ..World::new() };
        let flows: Vec<_> = (0_u64..).zip(weights.iter().zip(lengths.iter().cycle())).collect();
        let busy = |world: &mut World| {
            for &(flow, (&weight, &(prompt_tokens, answer_tokens))) in &flows {
                while world.lives.values().filter(|life| life.flow == flow).count() < 2 * SLOTS as usize {
                    world.submit(Life { weight, ..life(flow, prompt_tokens, answer_tokens) });
                }
            }
        };
        for _ in 0..3000 {
            busy(&mut world);
            world.round();
        }
        let per_weight: Vec<f64> = flows
            .iter()
            .map(|&(flow, (&weight, _))| world.served[&flow] as f64 / f64::from(weight))
            .collect();
        let least = per_weight.iter().copied().fold(f64::INFINITY, f64::min);
        let most = per_weight.iter().copied().fold(0.0, f64::max);
        prop_assert!(most <= 1.1 * least, "{per_weight:?} of weights {weights:?}");
    }
}

#[test]
fn a_flow_that_is_starved_gets_a_slot_from_the_longest_served() {
    let mut world = World::new();
    for _ in 0..8 {
        world.submit(life(1, 10, 100_000));
    }
    for _ in 0..100 {
        world.round();
    }
    let starved = world.submit(life(2, 10, 5));
    for _ in 0..200 {
        world.round();
    }
    assert!(!world.lives.contains_key(&starved), "it had its answer");
    assert_eq!(world.preemptions, 1);
}

#[test]
fn a_flow_that_waited_long_cannot_take_everything_when_it_comes() {
    let mut world = World::new();
    for _ in 0..4 {
        world.submit(life(1, 1, 1000));
    }
    for _ in 0..900 {
        world.round();
    }
    let before = world.served.clone();
    for _ in 0..8 {
        world.submit(life(2, 1, 2000));
    }
    for _ in 0..4 {
        world.submit(life(1, 1, 2000));
    }
    for _ in 0..1000 {
        world.round();
    }
    let since = |flow: u64| world.served[&flow] - before.get(&flow).copied().unwrap_or(0);
    let (old, new) = (since(1) as f64, since(2) as f64);
    assert!(new / old < 1.5, "{new} tokens for the new one, {old} for the old one");
}

#[test]
fn a_job_that_may_not_speak_gives_way_to_those_that_wait_and_comes_back() {
    let mut world = World::new();
    let jobs: Vec<JobId> = (0..4).map(|_| world.submit(life(1, 10, 50))).collect();
    world.round();
    world.silence(jobs[2], true);
    world.round();
    assert!(world.slots.contains_key(&jobs[2]), "nobody waits: it keeps its slot");
    let next = world.submit(life(1, 10, 50));
    world.round();
    assert!(world.slots.contains_key(&next) && !world.slots.contains_key(&jobs[2]));
    world.silence(jobs[2], false);
    world.run_to_the_end();
    assert_eq!(world.given[&jobs[2]], 50);
}

#[test]
fn running_answers_go_on_beside_a_long_prompt_and_short_prompts_overtake_it() {
    let mut world = World::new();
    let answer = world.submit(life(1, 1, 1000));
    world.round();
    let long = world.submit(life(1, 1000, 1));
    let short = world.submit(life(1, 20, 1));
    let before = world.given[&answer];
    for _ in 0..2 {
        world.round();
    }
    assert_eq!(world.given[&answer], before + 2, "a token in each step");
    assert!(world.given.contains_key(&short), "the short one is served");
    let computed = world.slots[&long];
    assert!((2 * 48 / 4..1000).contains(&computed), "the oldest has its part: {computed}");
    let chunk = world.scheduler.plan(ROOM).iter().find(|part| part.job == long).map(|part| part.tokens);
    assert_eq!(chunk, Some(ROOM.chunk_tokens_max), "alone, it has the whole chunk");
}

#[test]
fn prompts_are_cut_between_tiles() {
    for (left, most, tokens) in [
        (500, 500, 500),
        (500, 400, 384),
        // Not 448, which would leave 52.
        (500, 450, 384),
        (512, 450, 448),
        (130, 120, 64),
        (100, 64, 64),
        (100, 63, 63),
        (40, 20, 20),
        (40, 40, 40),
    ] {
        assert_eq!(whole_tiles(left, most), tokens, "{most} of {left}");
    }
}

#[test]
fn choices_of_one_prompt_begin_when_the_first_has_computed_it() {
    let mut world = World::new();
    let first = world.submit(life(1, 100, 10));
    let second = world.submit(Life { after: Some(first), ..life(1, 100, 10) });
    world.round();
    assert!(!world.slots.contains_key(&second));
    for _ in 0..3 {
        world.round();
    }
    assert!(world.slots.contains_key(&second));
    // A leader that is gone holds up nobody.
    let first = world.submit(life(1, 100, 10));
    let second = world.submit(Life { after: Some(first), ..life(1, 100, 10) });
    world.end(first);
    world.run_to_the_end();
    assert_eq!(world.given[&second], 10);
}
