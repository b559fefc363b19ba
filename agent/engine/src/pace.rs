//! How much of a prompt fits beside running answers. Pure.

/// A chunk has so many tokens at least: below, a step costs nearly as much as with them.
const CHUNK_TOKENS_MIN: u32 = 32;
/// The weight of the newest measurement.
const NEWEST: f64 = 0.2;

/// What steps cost, as measured.
#[derive(Debug, Clone)]
pub(crate) struct Pace {
    gap_ms_max: f64,
    /// A step of running answers alone.
    answers_ms: Option<f64>,
    /// One more token of a prompt.
    prompt_token_ms: Option<f64>,
}

impl Pace {
    /// No running answer shall wait longer than this for its next token.
    pub(crate) fn new(gap_ms_max: u32) -> Self {
        Self { gap_ms_max: f64::from(gap_ms_max), answers_ms: None, prompt_token_ms: None }
    }

    /// Takes a step's measurement.
    pub(crate) fn measured(&mut self, prompt_tokens: u32, answers: u32, ms: f64) {
        if prompt_tokens == 0 {
            self.answers_ms = Some(smooth(self.answers_ms, ms));
        } else if prompt_tokens >= CHUNK_TOKENS_MIN {
            let answers_ms = if answers > 0 { self.answers_ms.unwrap_or(0.0) } else { 0.0 };
            let token_ms = (ms - answers_ms).max(0.0) / f64::from(prompt_tokens);
            self.prompt_token_ms = Some(smooth(self.prompt_token_ms, token_ms));
        }
    }

    /// Tokens of prompts that a step may have beside running answers.
    pub(crate) fn chunk_tokens_max(&self) -> u32 {
        let Some(token_ms) = self.prompt_token_ms.filter(|ms| *ms > 0.0) else { return CHUNK_TOKENS_MIN };
        let left_ms = self.gap_ms_max - self.answers_ms.unwrap_or(0.0);
        // Saturates: a negative number becomes 0.
        ((left_ms / token_ms) as u32).max(CHUNK_TOKENS_MIN)
    }
}

fn smooth(old: Option<f64>, new: f64) -> f64 {
    old.map_or(new, |old| old + NEWEST * (new - old))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_takes_what_time_running_answers_leave() {
        let mut pace = Pace::new(1000);
        assert_eq!(pace.chunk_tokens_max(), CHUNK_TOKENS_MIN, "nothing is known yet");
        pace.measured(0, 4, 200.0);
        pace.measured(100, 0, 400.0);
        assert_eq!(pace.chunk_tokens_max(), 200);
        // The same speed, measured beside answers.
        pace.measured(200, 4, 1000.0);
        assert_eq!(pace.chunk_tokens_max(), 200);
    }

    #[test]
    fn a_slow_machine_still_goes_on() {
        let mut pace = Pace::new(100);
        pace.measured(0, 1, 500.0);
        pace.measured(64, 1, 5000.0);
        assert_eq!(pace.chunk_tokens_max(), CHUNK_TOKENS_MIN);
    }

    #[test]
    fn one_odd_step_does_not_upset_it() {
        let mut pace = Pace::new(1000);
        (0..50).for_each(|_| pace.measured(100, 0, 100.0));
        pace.measured(100, 0, 1000.0);
        assert!((300..1000).contains(&pace.chunk_tokens_max()), "{}", pace.chunk_tokens_max());
        // Tokens that were too few to tell change nothing.
        let before = pace.chunk_tokens_max();
        pace.measured(1, 0, 1000.0);
        assert_eq!(pace.chunk_tokens_max(), before);
    }
}
