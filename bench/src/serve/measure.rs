//! What is measured, and how one side's run is done.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use futures_util::future::try_join_all;

use super::ask::{Answer, Asked};
use super::prompt::{Prompt, Prompts, mixed_lengths};
use super::server::Server;
use crate::report::{Figure, Goal, median};

/// By their names for `--only`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Measure {
    Prefill,
    DecodeOne,
    DecodeMany,
    Mixed,
    LongPrompt,
    Prefix,
    /// Not in pairs: see [`super::memory`].
    Memory,
}

/// Where only the first text counts: one token may be a part of a character.
const FEW_TOKENS: usize = 4;

/// How large the loads are.
#[derive(Debug)]
pub(super) struct Scale {
    streams: usize,
    prefill_tokens: usize,
    prefill_requests: usize,
    short_tokens: usize,
    answer_tokens: usize,
    mixed_tokens: (usize, usize),
    mixed_answer_tokens: usize,
    long_tokens: usize,
    /// Longer than a long prompt takes beside it.
    background_tokens: usize,
}

impl Scale {
    pub(super) fn new(smoke: bool, streams: usize) -> Self {
        let full = Self {
            streams,
            prefill_tokens: 512,
            prefill_requests: 3,
            short_tokens: 32,
            answer_tokens: 128,
            mixed_tokens: (16, 2048),
            mixed_answer_tokens: 64,
            long_tokens: 4000,
            background_tokens: 4000,
        };
        if !smoke {
            return full;
        }
        Self {
            prefill_tokens: 64,
            prefill_requests: 1,
            answer_tokens: 8,
            mixed_tokens: (16, 64),
            mixed_answer_tokens: 8,
            long_tokens: 256,
            background_tokens: 200,
            ..full
        }
    }
}

const fn figure(measure: &'static str, unit: &'static str, goal: Goal) -> Figure {
    Figure { measure, unit, goal }
}

impl Measure {
    /// Those that are taken in pairs.
    pub(super) const ALL: [Self; 6] =
        [Self::Prefill, Self::DecodeOne, Self::DecodeMany, Self::Mixed, Self::LongPrompt, Self::Prefix];

    pub(super) fn figures(self) -> &'static [Figure] {
        const PREFILL: [Figure; 1] = [figure("prefill of 512 tokens", "tokens/s", Goal::RatioAtLeast(0.98))];
        const ONE: [Figure; 1] =
            [figure("decode, 1 stream of 128 tokens", "tokens/s", Goal::RatioAtLeast(0.98))];
        const MANY: [Figure; 1] =
            [figure("decode, 16 streams of 128 tokens", "tokens/s", Goal::RatioAtLeast(0.98))];
        const MIXED: [Figure; 1] =
            [figure("16 streams, prompts of 16 to 2048 tokens", "tokens/s", Goal::RatioAbove(1.1))];
        const LONG: [Figure; 2] = [
            figure("first token of a 4,000-token prompt beside 15 streams", "s", Goal::RatioAtMost(1.0)),
            figure("longest gap in these 15 streams", "s", Goal::RatioAtMost(0.5)),
        ];
        const PREFIX: [Figure; 1] =
            [figure("repeated 4,000-token prefix, second time / first time", "", Goal::AtMost(0.05))];
        match self {
            Self::Prefill => &PREFILL,
            Self::DecodeOne => &ONE,
            Self::DecodeMany => &MANY,
            Self::Mixed => &MIXED,
            Self::LongPrompt => &LONG,
            Self::Prefix => &PREFIX,
            Self::Memory => &[],
        }
    }

    /// One run: a value for each of the figures.
    pub(super) async fn take(
        self,
        server: &Server,
        prompts: &Prompts,
        scale: &Scale,
        pair: u64,
    ) -> Result<Vec<f64>> {
        // Each measure and pair has prompts of its own, the same on both sides.
        let seed = (self as u64 * 1000 + pair) * 1000;
        let short = |at: usize| prompts.prompt(seed + at as u64, scale.short_tokens);
        match self {
            Self::Prefill => prefill(server, prompts, scale, seed).await,
            Self::DecodeOne => decode_one(server, &short(0), scale.answer_tokens).await,
            Self::DecodeMany => {
                let prompts: Vec<Prompt> = (0..scale.streams).map(short).collect();
                let answers = answer_all(server, &prompts, scale.answer_tokens).await?;
                Ok(vec![rate(&answers, |answer| answer.usage.completion_tokens)])
            }
            Self::Mixed => {
                let (min, max) = scale.mixed_tokens;
                let lengths = mixed_lengths(seed, scale.streams, min, max);
                let prompts = lengths.iter().zip(seed..).map(|(&length, seed)| prompts.prompt(seed, length));
                let prompts: Vec<Prompt> = prompts.collect();
                let answers = answer_all(server, &prompts, scale.mixed_answer_tokens).await?;
                Ok(vec![rate(&answers, |answer| answer.usage.prompt_tokens + answer.usage.completion_tokens)])
            }
            Self::LongPrompt => {
                let background: Vec<Prompt> = (1..scale.streams).map(short).collect();
                long_beside(server, &background, &prompts.prompt(seed, scale.long_tokens), scale).await
            }
            Self::Prefix => prefix(server, &prompts.prompt(seed, scale.long_tokens)).await,
            Self::Memory => Ok(Vec::new()),
        }
    }
}

/// Prompt tokens in each second until the first token, by requests one after the other.
async fn prefill(server: &Server, prompts: &Prompts, scale: &Scale, seed: u64) -> Result<Vec<f64>> {
    let mut rates = Vec::new();
    for at in 0..scale.prefill_requests as u64 {
        let answer = server.answer(&prompts.prompt(seed + at, scale.prefill_tokens), FEW_TOKENS).await?;
        rates.push(answer.usage.prompt_tokens as f64 / answer.first_token().as_secs_f64());
    }
    Ok(vec![median(&rates)])
}

/// Tokens in each second between the first and the last one.
async fn decode_one(server: &Server, prompt: &Prompt, tokens: usize) -> Result<Vec<f64>> {
    let answer = server.answer(prompt, tokens).await?;
    let steps = answer.usage.completion_tokens.saturating_sub(1) as f64;
    Ok(vec![steps / (answer.last - answer.first).as_secs_f64()])
}

async fn answer_all(server: &Server, prompts: &[Prompt], tokens: usize) -> Result<Vec<Answer>> {
    try_join_all(prompts.iter().map(|prompt| server.answer(prompt, tokens))).await
}

/// Of all answers together, from the first request to the last token.
fn rate(answers: &[Answer], count: impl Fn(&Answer) -> u64) -> f64 {
    let sent = answers.iter().map(|answer| answer.sent).min();
    let last = answers.iter().map(|answer| answer.last).max();
    let seconds = last.zip(sent).map_or(f64::NAN, |(last, sent)| (last - sent).as_secs_f64());
    answers.iter().map(count).sum::<u64>() as f64 / seconds
}

/// Time to first token of a long prompt, and the longest rest of a running stream meanwhile.
async fn long_beside(
    server: &Server,
    background: &[Prompt],
    long: &Prompt,
    scale: &Scale,
) -> Result<Vec<f64>> {
    let asked = background.iter().map(|prompt| server.ask(prompt, scale.background_tokens));
    let mut streams = try_join_all(asked).await?;
    // All have their first token, so that all run.
    try_join_all(streams.iter_mut().map(Asked::next_text)).await?;
    let sent = Instant::now();
    let arrivals = RefCell::new(vec![vec![sent]; streams.len()]);
    let watch = streams.iter_mut().enumerate().map(async |(at, stream): (usize, &mut Asked)| {
        while let Some(arrived) = stream.next_text().await? {
            arrivals.borrow_mut()[at].push(arrived);
        }
        bail!("a running stream ended before the long prompt's first token")
    });
    let answer = tokio::select! {
        answer = server.answer(long, FEW_TOKENS) => answer?,
        ended = try_join_all(watch) => {
            let _: Vec<()> = ended?;
            bail!("there were no running streams")
        }
    };
    let gap = longest_gap(&arrivals.borrow(), answer.first).context("no stream ran")?;
    Ok(vec![answer.first_token().as_secs_f64(), gap.as_secs_f64()])
}

/// A stream that still waits at the end counts with its wait until then.
fn longest_gap(arrivals: &[Vec<Instant>], end: Instant) -> Option<Duration> {
    let gaps = arrivals.iter().flat_map(|times| {
        let within = times.iter().copied().take_while(|&time| time < end).chain([end]);
        let times: Vec<Instant> = within.collect();
        times.windows(2).map(|pair| pair[1] - pair[0]).collect::<Vec<_>>()
    });
    gaps.max()
}

/// How much shorter the wait is when all but the question was computed before.
async fn prefix(server: &Server, prompt: &Prompt) -> Result<Vec<f64>> {
    let first = server.answer(prompt, FEW_TOKENS).await?.first_token();
    let second = server.answer(&prompt.with_other_end(), FEW_TOKENS).await?.first_token();
    Ok(vec![second.as_secs_f64() / first.as_secs_f64()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_that_is_still_open_counts() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let arrivals = [vec![at(0), at(10), at(40)], vec![at(0), at(5)]];
        assert_eq!(longest_gap(&arrivals, at(41)), Some(Duration::from_millis(36)));
        assert_eq!(longest_gap(&arrivals, at(20)), Some(Duration::from_millis(15)));
        assert_eq!(longest_gap(&[], at(20)), None);
    }
}
