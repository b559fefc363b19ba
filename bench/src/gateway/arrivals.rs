//! When requests arrive: at random, whether or not those before them are answered.
//!
//! Waits count from the scheduled time. A load generator that is held up thus makes its figures
//! worse, never better.

use std::time::{Duration, Instant};

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// From the order to the first arrival.
const LEAD_MS: u64 = 50;

/// Times since the start, ascending.
#[derive(Debug, Clone)]
pub(super) struct Schedule(Vec<Duration>);

/// A request that is due.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arrival {
    pub(super) number: usize,
    pub(super) due: Instant,
}

impl Schedule {
    /// Independent arrivals: exponential times between them. The same seed gives the same times.
    pub(super) fn random(per_second: f64, seconds: f64, seed: u64) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut at = 0.0;
        let times = std::iter::from_fn(|| {
            // Above 0, so that the logarithm is finite.
            let uniform = (f64::from(random.next_u32()) + 1.0) / (f64::from(u32::MAX) + 1.0);
            at -= uniform.ln() / per_second;
            (at < seconds).then(|| Duration::from_secs_f64(at))
        });
        Self(times.collect())
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Begins now. A thread of its own keeps the time, since tokio's timer counts milliseconds.
    pub(super) fn begin(&self) -> UnboundedReceiver<Arrival> {
        let (tell, told) = unbounded_channel();
        let (times, start) = (self.0.clone(), Instant::now() + Duration::from_millis(LEAD_MS));
        std::thread::spawn(move || {
            for (number, at) in times.into_iter().enumerate() {
                let due = start + at;
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
                if tell.send(Arrival { number, due }).is_err() {
                    return;
                }
            }
        });
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrivals_have_their_rate_and_are_not_regular() {
        let Schedule(times) = Schedule::random(150.0, 100.0, 1);
        assert!((14_500..15_500).contains(&times.len()), "{}", times.len());
        assert!(times.is_sorted() && times.iter().all(|time| time.as_secs() < 100));
        // Of exponential gaps, 1 - 1/e are below the mean.
        let gaps = times.windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64());
        let below = gaps.filter(|&gap| gap < 1.0 / 150.0).count();
        assert!((60..67).contains(&(below * 100 / times.len())), "{below}");
    }
}
