//! Prompts of a wanted length, the same for both sides, and different from each other from their
//! first words on, so that no cache knows them.

use anyhow::{Result, ensure};
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

use super::ask;
use super::server::Server;

/// Words that are one token each in the vocabularies at hand; what a server counts is checked.
const WORDS: [&str; 64] = [
    "time",
    "year",
    "people",
    "way",
    "day",
    "man",
    "thing",
    "woman",
    "life",
    "child",
    "world",
    "school",
    "state",
    "family",
    "student",
    "group",
    "country",
    "problem",
    "hand",
    "part",
    "place",
    "case",
    "week",
    "company",
    "system",
    "program",
    "question",
    "work",
    "government",
    "number",
    "night",
    "point",
    "home",
    "water",
    "room",
    "mother",
    "area",
    "money",
    "story",
    "fact",
    "month",
    "lot",
    "right",
    "study",
    "book",
    "eye",
    "job",
    "word",
    "business",
    "issue",
    "side",
    "kind",
    "head",
    "house",
    "service",
    "friend",
    "father",
    "power",
    "hour",
    "game",
    "line",
    "end",
    "member",
    "law",
];
/// How many of them begin the chat, before anything that prompts share.
const FIRST_WORDS: usize = 8;
/// A server may count so many thousandths of tokens more or less than wanted.
const COUNT_ERROR_PERMILLE_MAX: u64 = 20;

/// A chat: a system message that differs from all others, and a user's.
#[derive(Debug, Clone)]
pub(crate) struct Prompt {
    pub(super) system: String,
    pub(super) user: String,
    pub(super) tokens: usize,
}

/// Makes prompts for one model.
#[derive(Debug)]
pub(super) struct Prompts {
    /// What the model's template adds.
    template_tokens: usize,
}

impl Prompts {
    /// Learns from a server how many tokens the template adds.
    pub(super) async fn calibrated(server: &Server) -> Result<Self> {
        let plain = Self { template_tokens: 0 };
        let probe = plain.prompt(0, 2 * FIRST_WORDS);
        let counted = ask::prompt_tokens(server, &probe).await? as usize;
        ensure!(counted > probe.tokens, "the model's vocabulary has no such words: {counted} tokens");
        Ok(Self { template_tokens: counted - probe.tokens })
    }

    /// The same `seed` and length give the same prompt.
    pub(super) fn prompt(&self, seed: u64, tokens: usize) -> Prompt {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let words = tokens.saturating_sub(self.template_tokens).max(FIRST_WORDS + 1);
        let mut words = (0..words).map(|_| WORDS[random.next_u32() as usize % WORDS.len()]);
        let system: Vec<&str> = words.by_ref().take(FIRST_WORDS).collect();
        let user: Vec<&str> = words.collect();
        let tokens = self.template_tokens + system.len() + user.len();
        Prompt { system: system.join(" "), user: user.join(" "), tokens }
    }
}

impl Prompt {
    /// About so many tokens of whatever vocabulary, which the server has computed then.
    pub(crate) async fn of_length(server: &Server, tokens: usize, seed: u64) -> Result<Self> {
        const PROBE_WORDS: usize = 40;
        let plain = Prompts { template_tokens: 0 };
        let probe = ask::prompt_tokens(server, &plain.prompt(seed, PROBE_WORDS)).await? as usize;
        let prompt = plain.prompt(seed, tokens * PROBE_WORDS / probe.max(1));
        let tokens = ask::prompt_tokens(server, &prompt).await? as usize;
        Ok(Self { tokens, ..prompt })
    }

    /// Another question after the same long beginning.
    pub(super) fn with_other_end(&self) -> Self {
        let user = self.user.rsplitn(3, ' ').last().unwrap_or_default();
        Self { user: format!("{user} moon sun"), ..self.clone() }
    }

    /// Whether a server saw the prompt that was meant.
    pub(super) fn check(&self, counted: u64) -> Result<()> {
        let wanted = self.tokens as u64;
        let error = counted.abs_diff(wanted) * 1000 / wanted;
        ensure!(error <= COUNT_ERROR_PERMILLE_MAX, "a prompt of {wanted} tokens was counted as {counted}");
        Ok(())
    }
}

/// Lengths between both, as many short ones as long ones on a logarithmic scale.
pub(super) fn mixed_lengths(seed: u64, count: usize, min: usize, max: usize) -> Vec<usize> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let span = (max as f64 / min as f64).ln();
    let uniform = std::iter::repeat_with(|| f64::from(random.next_u32()) / f64::from(u32::MAX));
    uniform.take(count).map(|at| (min as f64 * (at * span).exp()).round() as usize).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prompt_has_its_length_and_begins_as_no_other() {
        let prompts = Prompts { template_tokens: 14 };
        let (one, same, other) = (prompts.prompt(1, 512), prompts.prompt(1, 512), prompts.prompt(2, 512));
        let words = |prompt: &Prompt| format!("{} {}", prompt.system, prompt.user).split(' ').count();
        assert_eq!((words(&one), one.tokens), (498, 512));
        assert_eq!((&one.system, &one.user), (&same.system, &same.user));
        assert_ne!(one.system, other.system);
        assert!(one.check(511).is_ok() && one.check(490).is_err());
    }

    #[test]
    fn another_end_keeps_all_but_the_last_words() {
        let one = Prompts { template_tokens: 0 }.prompt(1, 40);
        let other = one.with_other_end();
        let begin = |prompt: &Prompt| prompt.user.split(' ').take(30).collect::<Vec<_>>().join(" ");
        assert_eq!(begin(&one), begin(&other));
        assert_ne!(one.user, other.user);
        assert_eq!(one.user.split(' ').count(), other.user.split(' ').count());
    }

    #[test]
    fn mixed_lengths_reach_from_short_to_long() {
        let lengths = mixed_lengths(3, 1000, 16, 2048);
        assert!(lengths.iter().all(|length| (16..=2048).contains(length)));
        let short = lengths.iter().filter(|&&length| length < 181).count();
        assert!((400..600).contains(&short), "{short} of 1000 are below the logarithmic middle");
        assert_eq!(lengths, mixed_lengths(3, 1000, 16, 2048));
    }
}
