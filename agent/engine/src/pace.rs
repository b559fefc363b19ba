//! How much of a prompt fits beside running answers. Pure.

use crate::schedule::CHUNK_TOKENS_MIN;

/// The weight of the newest measurement; of one that is above what was measured before, more: the
/// tokens of a long prompt cost more and more, and the next step's must not last too long.
const NEWEST: f64 = 0.2;
const NEWEST_ABOVE: f64 = 0.6;
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
    /// One more token of a prompt.
    prompt_token_ms: Option<f64>,
}

impl Pace {
    /// No running answer shall wait longer than this for its next token.
    pub(crate) fn new(gap_ms_max: u32) -> Self {
        Self { gap_ms_max: f64::from(gap_ms_max), answer_ms: [None; CLASSES], prompt_token_ms: None }
    }

    /// Takes a step's measurement.
    pub(crate) fn measured(&mut self, prompt_tokens: u32, answers: u32, ms: f64) {
        if prompt_tokens == 0 && answers > 0 {
            let one = &mut self.answer_ms[class(answers)];
            *one = Some(smooth(*one, ms / f64::from(answers)));
        } else if prompt_tokens >= CHUNK_TOKENS_MIN || (answers == 0 && self.prompt_token_ms.is_none()) {
            // Of few tokens better than nothing: texts to embed may all be short.
            let answers_ms = self.answers_ms(answers).unwrap_or(0.0);
            let token_ms = (ms - answers_ms).max(0.0) / f64::from(prompt_tokens);
            self.prompt_token_ms = Some(smooth(self.prompt_token_ms, token_ms));
        }
    }

    /// A step of so many answers alone; by the class that is nearest to theirs, if none of it ran.
    fn answers_ms(&self, answers: u32) -> Option<f64> {
        let known = (0..CLASSES).filter_map(|class| Some((class, self.answer_ms[class]?)));
        let (_, one) = known.min_by_key(|(known, _)| known.abs_diff(class(answers)))?;
        Some(one * f64::from(answers))
    }

    /// Tokens of prompts that a step may have beside so many answers.
    pub(crate) fn chunk_tokens_max(&self, answers: u32) -> u32 {
        let Some(token_ms) = self.prompt_token_ms.filter(|ms| *ms > 0.0) else { return CHUNK_TOKENS_MIN };
        let left_ms = match self.answers_ms(answers) {
            _ if answers == 0 => ALONE_MS.min(self.gap_ms_max),
            Some(answers_ms) => (PROMPTS_PER_ANSWERS * answers_ms).min(self.gap_ms_max - answers_ms),
            None => self.gap_ms_max,
        };
        // Saturates: a negative number becomes 0.
        ((left_ms / token_ms) as u32).max(CHUNK_TOKENS_MIN)
    }
}

fn class(answers: u32) -> usize {
    (answers.max(1).ilog2() as usize).min(CLASSES - 1)
}

fn smooth(old: Option<f64>, new: f64) -> f64 {
    old.map_or(new, |old| old + if new > old { NEWEST_ABOVE } else { NEWEST } * (new - old))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_takes_what_time_running_answers_leave() {
        let mut pace = Pace::new(1000);
        assert_eq!(pace.chunk_tokens_max(4), CHUNK_TOKENS_MIN, "nothing is known yet");
        pace.measured(100, 0, 400.0);
        assert_eq!(pace.chunk_tokens_max(4), 250, "answers are not known yet");
        pace.measured(0, 4, 200.0);
        assert_eq!(pace.chunk_tokens_max(4), 200);
        // Few tokens tell little.
        pace.measured(10, 0, 1000.0);
        assert_eq!(pace.chunk_tokens_max(4), 200);
        // The same speed, measured beside answers.
        pace.measured(200, 4, 1000.0);
        assert_eq!(pace.chunk_tokens_max(4), 200);
    }

    #[test]
    fn answers_that_cost_little_wait_little() {
        let mut pace = Pace::new(5000);
        pace.measured(100, 0, 100.0);
        assert_eq!(pace.chunk_tokens_max(0), 1000);
        pace.measured(0, 1, 10.0);
        assert_eq!(pace.chunk_tokens_max(1), 480);
        // Of 16 nothing is known: as if each cost what the one does.
        assert_eq!(pace.chunk_tokens_max(16), 5000 - 160);
        pace.measured(0, 16, 20.0);
        assert_eq!(pace.chunk_tokens_max(16), 960);
        assert_eq!(pace.chunk_tokens_max(31), 1860, "the same class");
        assert_eq!(pace.chunk_tokens_max(1), 480);
        // Of two classes that are as near the smaller one.
        assert_eq!(pace.chunk_tokens_max(4), 1920);
    }

    #[test]
    fn short_texts_alone_come_to_fill_a_step() {
        let mut pace = Pace::new(1000);
        pace.measured(10, 0, 20.0);
        assert_eq!(pace.chunk_tokens_max(0), 500);
    }

    #[test]
    fn a_slow_machine_still_goes_on() {
        let mut pace = Pace::new(100);
        pace.measured(0, 1, 500.0);
        pace.measured(64, 1, 5000.0);
        assert_eq!(pace.chunk_tokens_max(1), CHUNK_TOKENS_MIN);
    }

    #[test]
    fn one_odd_step_does_not_upset_it() {
        let mut pace = Pace::new(1000);
        (0..50).for_each(|_| pace.measured(100, 0, 100.0));
        pace.measured(100, 0, 1000.0);
        assert_eq!(pace.chunk_tokens_max(1), 156);
        (0..20).for_each(|_| pace.measured(100, 0, 100.0));
        assert!((900..1000).contains(&pace.chunk_tokens_max(1)), "{}", pace.chunk_tokens_max(1));
        // Tokens that were too few to tell change nothing.
        let before = pace.chunk_tokens_max(1);
        pace.measured(1, 0, 1000.0);
        assert_eq!(pace.chunk_tokens_max(1), before);
    }
}
