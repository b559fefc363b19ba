//! How much of a prompt fits beside running answers. Pure.

use crate::schedule::CHUNK_TOKENS_MIN;

/// The weight of the newest measurement.
const NEWEST: f64 = 0.2;
/// Of the time that an answer may wait so much is planned: no step takes exactly what is foreseen.
const GAP_PLANNED: f64 = 0.9;
/// Less, until it is known how much more a prompt's later tokens cost.
const GAP_PLANNED_AT_FIRST: f64 = 0.5;
/// Beside answers, prompts get so many times the time that the answers take: what the answers go on
/// to cost a prompt is 2 % of its time, and they wait no longer than that is worth.
const PROMPTS_PER_ANSWERS: f64 = 48.0;
/// Beside none, a step takes so long: who comes meanwhile waits for its end.
const ALONE_MS: f64 = 1000.0;
/// Numbers of answers are told apart by powers of two, up to 2^15.
const CLASSES: usize = 16;

/// What steps cost, as measured.
#[derive(Debug, Clone)]
pub(crate) struct Pace {
    gap_ms_max: f64,
    /// One answer's part of a step of answers alone, by the class of their number: on some machines
    /// many cost hardly more than one, on others so many times as much.
    answer_ms: [Option<f64>; CLASSES],
    prompt: PromptCost,
}

/// The tokens of prompts that a step computed.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct PromptTokens {
    pub(crate) tokens: u32,
    /// Of all of them, each its place in its prompt.
    pub(crate) positions: u64,
}

impl PromptTokens {
    /// So many tokens more, the first of which has so many before it.
    pub(crate) fn add(&mut self, tokens: u32, before: u32) {
        let (n, before) = (u64::from(tokens), u64::from(before));
        self.tokens += tokens;
        self.positions += n * before + n * n / 2;
    }
}

impl Pace {
    /// No running answer shall wait longer than this for its next token.
    pub(crate) fn new(gap_ms_max: u32) -> Self {
        Self { gap_ms_max: f64::from(gap_ms_max), answer_ms: [None; CLASSES], prompt: PromptCost::default() }
    }

    /// Takes a step's measurement.
    pub(crate) fn measured(&mut self, prompts: PromptTokens, answers: u32, ms: f64) {
        if prompts.tokens == 0 && answers > 0 {
            let one = &mut self.answer_ms[class(answers)];
            let new = ms / f64::from(answers);
            *one = Some(one.map_or(new, |old| old + NEWEST * (new - old)));
        } else if prompts.tokens >= CHUNK_TOKENS_MIN || (answers == 0 && self.prompt.is_unknown()) {
            // Of few tokens better than nothing: texts to embed may all be short.
            let answers_ms = self.answers_ms(answers).unwrap_or(0.0);
            let tokens = f64::from(prompts.tokens);
            self.prompt.measured(prompts.positions as f64 / tokens, (ms - answers_ms).max(0.0) / tokens);
        }
    }

    /// A step of so many answers alone; by the class that is nearest to theirs, if none of it ran.
    fn answers_ms(&self, answers: u32) -> Option<f64> {
        let known = (0..CLASSES).filter_map(|class| Some((class, self.answer_ms[class]?)));
        let (_, one) = known.min_by_key(|(known, _)| known.abs_diff(class(answers)))?;
        Some(one * f64::from(answers))
    }

    /// Tokens of prompts that a step may have beside so many answers, where each prompt has at most
    /// so many tokens before them.
    pub(crate) fn chunk_tokens_max(&self, answers: u32, before: u32) -> u32 {
        let planned = if self.prompt.slope_ms().is_some() { GAP_PLANNED } else { GAP_PLANNED_AT_FIRST };
        let gap_ms = planned * self.gap_ms_max;
        let left_ms = match self.answers_ms(answers) {
            _ if answers == 0 => ALONE_MS.min(gap_ms),
            Some(answers_ms) => (PROMPTS_PER_ANSWERS * answers_ms).min(gap_ms - answers_ms),
            None => gap_ms,
        };
        // Saturates: a negative number becomes 0.
        (self.prompt.tokens_in(left_ms, f64::from(before)) as u32).max(CHUNK_TOKENS_MIN)
    }
}

fn class(answers: u32) -> usize {
    (answers.max(1).ilog2() as usize).min(CLASSES - 1)
}

/// What a prompt's token costs by its place: a line through what was measured, for it attends to all
/// before it. Least squares, older measurements counting less and less (West 1979, with decay).
#[derive(Debug, Clone, Default)]
struct PromptCost {
    weight: f64,
    mean_position: f64,
    mean_ms: f64,
    /// Weighted sums of squares and products of the distances from the means.
    position_position: f64,
    position_ms: f64,
}

/// Measurements that lie closer together (their standard deviation) tell no slope.
const SPREAD_TOKENS_MIN: f64 = CHUNK_TOKENS_MIN as f64;
/// The line, which noise may tilt, is not followed below this part of the mean.
const OF_MEAN_MIN: f64 = 0.25;

impl PromptCost {
    fn is_unknown(&self) -> bool {
        self.weight == 0.0
    }

    fn measured(&mut self, position: f64, ms: f64) {
        let kept = self.weight * (1.0 - NEWEST);
        self.weight = kept + 1.0;
        let (from_position, from_ms) = (position - self.mean_position, ms - self.mean_ms);
        self.mean_position += from_position / self.weight;
        self.mean_ms += from_ms / self.weight;
        let both = kept / self.weight;
        self.position_position =
            self.position_position * (1.0 - NEWEST) + both * from_position * from_position;
        self.position_ms = self.position_ms * (1.0 - NEWEST) + both * from_position * from_ms;
    }

    /// What each further token costs more than the one before it, where that can be told.
    fn slope_ms(&self) -> Option<f64> {
        let is_wide = self.position_position > self.weight * SPREAD_TOKENS_MIN * SPREAD_TOKENS_MIN;
        is_wide.then(|| (self.position_ms / self.position_position).max(0.0))
    }

    /// How many tokens, of which the first has so many before it, take so long; 0 where nothing is
    /// known.
    fn tokens_in(&self, ms: f64, before: f64) -> f64 {
        let slope = self.slope_ms().unwrap_or(0.0);
        let first = (self.mean_ms + slope * (before - self.mean_position)).max(OF_MEAN_MIN * self.mean_ms);
        if first <= 0.0 || ms <= 0.0 {
            return 0.0;
        }
        // The root of first·n + slope·n²/2 = ms, in the form that also holds without a slope.
        2.0 * ms / (first + (first * first + 2.0 * slope * ms).sqrt())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// That plans so much of the gap, before it knows a slope.
    fn pace(planned_ms: u32) -> Pace {
        Pace::new((f64::from(planned_ms) / GAP_PLANNED_AT_FIRST) as u32)
    }

    fn prompt(tokens: u32, before: u32) -> PromptTokens {
        let mut prompt = PromptTokens::default();
        prompt.add(tokens, before);
        prompt
    }

    #[test]
    fn a_chunk_takes_what_time_running_answers_leave() {
        let mut pace = pace(1000);
        assert_eq!(pace.chunk_tokens_max(4, 0), CHUNK_TOKENS_MIN, "nothing is known yet");
        pace.measured(prompt(100, 0), 0, 400.0);
        assert_eq!(pace.chunk_tokens_max(4, 0), 250, "answers are not known yet");
        pace.measured(prompt(0, 0), 4, 200.0);
        assert_eq!(pace.chunk_tokens_max(4, 0), 200);
        // Few tokens tell little.
        pace.measured(prompt(10, 0), 0, 1000.0);
        assert_eq!(pace.chunk_tokens_max(4, 0), 200);
        // The same speed, measured beside answers.
        pace.measured(prompt(200, 0), 4, 1000.0);
        assert_eq!(pace.chunk_tokens_max(4, 0), 200);
    }

    #[test]
    fn answers_that_cost_little_wait_little() {
        let mut pace = pace(5000);
        pace.measured(prompt(100, 0), 0, 100.0);
        assert_eq!(pace.chunk_tokens_max(0, 0), 1000);
        pace.measured(prompt(0, 0), 1, 10.0);
        assert_eq!(pace.chunk_tokens_max(1, 0), 480);
        // Of 16 nothing is known: as if each cost what the one does.
        assert_eq!(pace.chunk_tokens_max(16, 0), 5000 - 160);
        pace.measured(prompt(0, 0), 16, 20.0);
        assert_eq!(pace.chunk_tokens_max(16, 0), 960);
        assert_eq!(pace.chunk_tokens_max(31, 0), 1860, "the same class");
        assert_eq!(pace.chunk_tokens_max(1, 0), 480);
        // Of two classes that are as near the smaller one.
        assert_eq!(pace.chunk_tokens_max(4, 0), 1920);
    }

    #[test]
    fn short_texts_alone_come_to_fill_a_step() {
        let mut pace = pace(1000);
        pace.measured(prompt(10, 0), 0, 20.0);
        assert_eq!(pace.chunk_tokens_max(0, 0), 500);
    }

    #[test]
    fn a_slow_machine_still_goes_on() {
        let mut pace = pace(100);
        pace.measured(prompt(0, 0), 1, 500.0);
        pace.measured(prompt(64, 0), 1, 5000.0);
        assert_eq!(pace.chunk_tokens_max(1, 0), CHUNK_TOKENS_MIN);
    }

    #[test]
    fn tokens_cost_more_the_more_are_before_them() {
        // Each costs 1 ms, and a thousandth of it more for each one before it.
        let cost = |tokens: u32, before: u32| {
            let (n, before) = (f64::from(tokens), f64::from(before));
            n + (n * before + n * n / 2.0) / 1000.0
        };
        let mut pace = Pace::new(1000);
        let mut before = 0;
        let mut longest = Vec::new();
        for _ in 0..12 {
            let tokens = pace.chunk_tokens_max(16, before);
            longest.push(cost(tokens, before));
            pace.measured(prompt(tokens, before), 16, cost(tokens, before));
            before += tokens;
        }
        // None passes the gap, and from the third on, the first of which more is known than one
        // measurement, each takes what it may, though no such place was measured before.
        assert!(longest[1] < 700.0, "{longest:?}");
        assert!(longest[2..].iter().all(|ms| (880.0..902.0).contains(ms)), "{longest:?}");
        // The next prompt's first tokens cost what they did.
        let first = pace.chunk_tokens_max(16, 0);
        assert!((885.0..902.0).contains(&cost(first, 0)), "{first}");
    }

    #[test]
    fn noise_does_not_tilt_the_line_for_ever() {
        let mut pace = pace(1000);
        // The later, the cheaper: no slope is below none.
        (0..20).for_each(|at| pace.measured(prompt(100, at * 100), 0, 100.0 - f64::from(at)));
        assert!((1000..1250).contains(&pace.chunk_tokens_max(0, 2000)));
        // A line that would pass zero is not followed to there.
        (0..20).for_each(|at| pace.measured(prompt(100, at * 1000), 0, f64::from(at) * 100.0));
        let (mean, first) = (pace.prompt.mean_ms, pace.chunk_tokens_max(0, 0));
        assert!(f64::from(first) <= 1000.0 / (OF_MEAN_MIN * mean), "{first}");
    }

    #[test]
    fn one_odd_step_does_not_upset_it() {
        let mut pace = pace(1000);
        (0..50).for_each(|_| pace.measured(prompt(100, 0), 0, 100.0));
        pace.measured(prompt(100, 0), 0, 1000.0);
        assert_eq!(pace.chunk_tokens_max(1, 0), 357);
        (0..20).for_each(|_| pace.measured(prompt(100, 0), 0, 100.0));
        assert!((900..1000).contains(&pace.chunk_tokens_max(1, 0)), "{}", pace.chunk_tokens_max(1, 0));
        // Tokens that were too few to tell change nothing.
        let before = pace.chunk_tokens_max(1, 0);
        pace.measured(prompt(1, 0), 0, 1000.0);
        assert_eq!(pace.chunk_tokens_max(1, 0), before);
    }
}
