//! Waits and counts.

use std::time::Duration;

use anyhow::{Context, Result};
use hdrhistogram::Histogram;

/// Digits that are kept of each wait, counted in nanoseconds.
const DIGITS: u8 = 3;

/// How many answers came in what time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Replies {
    pub(super) count: u64,
    pub(super) within: Duration,
}

impl Replies {
    pub(super) fn per_second(self) -> f64 {
        self.count as f64 / self.within.as_secs_f64()
    }
}

/// Quantiles, in milliseconds.
pub(super) fn percentiles_ms<const N: usize>(waits: &[Duration], quantiles: [f64; N]) -> Result<[f64; N]> {
    let mut histogram = Histogram::<u64>::new(DIGITS).context("no histogram of so many digits")?;
    for wait in waits {
        histogram.record(wait.as_nanos() as u64).context("a wait is too long for a histogram")?;
    }
    Ok(quantiles.map(|quantile| histogram.value_at_quantile(quantile) as f64 / 1e6))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_the_waits() {
        let waits: Vec<Duration> = (1..=1000).map(Duration::from_micros).collect();
        let [p50, p99] = percentiles_ms(&waits, [0.5, 0.99]).expect("waits");
        assert!((p50 - 0.5).abs() < 0.002 && (p99 - 0.99).abs() < 0.002, "{p50} {p99}");
    }
}
