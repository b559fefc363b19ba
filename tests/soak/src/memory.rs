//! Memory of the appliance's processes over time: their proportional share (Pss), which counts a
//! page that two share as half a page in each. Prefixes that an engine keeps within their own limit are
//! left out.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use nabi_tests::appliance::{Appliance, State, process};
use serde::Serialize;

use crate::faults::sleep_until;

const SAMPLE_S: u64 = 5;
/// Fewer say nothing.
const SAMPLES_MIN: usize = 60;
/// What the last third of a run may have above its middle third.
const GROWTH_PERCENT_MAX: f64 = 10.0;
const GROWTH_MB_MAX: f64 = 5.0;

const ENGINE: &str = "engine";
/// The programs that are watched, as /proc names them, with the names that a report has for them.
const PROGRAMS: [(&str, &str); 3] =
    [("nabi-gateway", "gateway"), ("nabi-superviso", "supervisor"), ("nabi-engine-ll", ENGINE)];

/// One look at one process.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Sample {
    /// Since the beginning.
    pub(crate) hours: f64,
    pub(crate) mb: f64,
    pub(crate) pid: u32,
}

/// Looks until the time is over.
pub(crate) fn watch(
    state: &State,
    up: &Appliance<'_>,
    until: Instant,
) -> BTreeMap<&'static str, Vec<Sample>> {
    let begun = Instant::now();
    let mut samples: BTreeMap<_, Vec<_>> = BTreeMap::new();
    while sleep_until(Instant::now() + Duration::from_secs(SAMPLE_S), until) {
        let hours = begun.elapsed().as_secs_f64() / 3600.0;
        for pid in up.pids() {
            let name = process::name(pid);
            let program = PROGRAMS.into_iter().find(|(program, _)| name.starts_with(program));
            // One that was killed just now has no memory any more.
            let (Some((_, program)), Some(pss_mb)) = (program, pss_mb(pid)) else { continue };
            let saved_mb = if program == ENGINE { saved_mb(state, pid) } else { Some(0.0) };
            if let Some(saved_mb) = saved_mb {
                samples.entry(program).or_default().push(Sample { hours, mb: pss_mb - saved_mb, pid });
            }
        }
    }
    samples
}

/// Of an engine that is ready.
fn saved_mb(state: &State, pid: u32) -> Option<f64> {
    let engine = state.status()["engines"][0].take();
    let saved_bytes = engine["stats"]["saved_memory_bytes"].as_f64();
    saved_bytes.filter(|_| engine["state"]["ready"]["pid"] == pid).map(|bytes| bytes / 1e6)
}

fn pss_mb(pid: u32) -> Option<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    let kib: f64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib * 1024.0 / 1e6)
}

/// What samples say together.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Flatness {
    /// How many there are.
    pub samples: usize,
    /// Processes that followed each other.
    pub lives: usize,
    /// Median of each third of the run, in MB.
    pub thirds_mb: [f64; 3],
    /// The most, in MB.
    pub max_mb: f64,
    /// Slope of the line through the longest life, without its first third, in MB an hour.
    pub growth_mb_per_hour: f64,
    /// Whether the last third is as the middle one; absent when there are too few samples to say.
    pub is_flat: Option<bool>,
}

impl Flatness {
    /// Of at least one sample, oldest first.
    pub(crate) fn of(samples: &[Sample]) -> Option<Self> {
        let count = samples.len();
        let longest = samples.chunk_by(|a, b| a.pid == b.pid).max_by_key(|life| life.len())?;
        let third = |number: usize| median(&samples[count * number / 3..count * (number + 1) / 3]);
        let thirds_mb = [third(0), third(1), third(2)];
        let mb_max = thirds_mb[1] * (1.0 + GROWTH_PERCENT_MAX / 100.0) + GROWTH_MB_MAX;
        Some(Self {
            samples: count,
            lives: samples.chunk_by(|a, b| a.pid == b.pid).count(),
            thirds_mb,
            max_mb: samples.iter().map(|sample| sample.mb).fold(0.0, f64::max),
            growth_mb_per_hour: slope(&longest[longest.len() / 3..]),
            is_flat: (count >= SAMPLES_MIN).then_some(thirds_mb[2] <= mb_max),
        })
    }
}

fn median(samples: &[Sample]) -> f64 {
    let mut sorted: Vec<f64> = samples.iter().map(|sample| sample.mb).collect();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

/// Least squares.
fn slope(samples: &[Sample]) -> f64 {
    let count = samples.len() as f64;
    let mean = |value: fn(&Sample) -> f64| samples.iter().map(value).sum::<f64>() / count;
    let (hours, mb) = (mean(|sample| sample.hours), mean(|sample| sample.mb));
    let covariance: f64 = samples.iter().map(|sample| (sample.hours - hours) * (sample.mb - mb)).sum();
    let variance: f64 = samples.iter().map(|sample| (sample.hours - hours).powi(2)).sum();
    if variance > 0.0 { covariance / variance } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flatness(mb: impl Fn(f64) -> f64, count: u32) -> Flatness {
        let hours = |index: u32| f64::from(index) / f64::from(count);
        let samples: Vec<_> = (0..count)
            .map(|index| Sample { hours: hours(index), mb: mb(hours(index)), pid: index / 150 })
            .collect();
        Flatness::of(&samples).expect("there are samples")
    }

    #[test]
    fn what_grows_is_told_from_what_has_grown() {
        let grown = flatness(|hours| if hours < 0.2 { 20.0 } else { 60.0 }, 200);
        assert_eq!((grown.is_flat, grown.growth_mb_per_hour, grown.lives), (Some(true), 0.0, 2));
        let growing = flatness(|hours| 20.0 + 60.0 * hours, 200);
        assert_eq!(growing.is_flat, Some(false));
        assert!((growing.growth_mb_per_hour - 60.0).abs() < 1e-6, "{growing:?}");
        assert_eq!(flatness(|hours| 20.0 + 60.0 * hours, 20).is_flat, None);
        assert_eq!(Flatness::of(&[]), None);
    }
}
