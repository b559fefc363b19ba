//! When a process that ended is started again.

use std::time::Duration;

/// First wait; doubled with each failure in a row.
pub const RESTART_WAIT_MS_MIN: u64 = 200;
/// Longest wait.
pub const RESTART_WAIT_MS_MAX: u64 = 30_000;
/// A process that lived this long ends the row of failures.
pub const RESTART_STABLE_MS: u64 = 60_000;

/// How often a process failed in a row.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Failures(u32);

impl Failures {
    /// The count after one more end, of a process that served for `lived` (zero when it never did).
    #[must_use]
    pub fn after_end(self, lived: Duration) -> Self {
        if lived >= Duration::from_millis(RESTART_STABLE_MS) {
            Self(1)
        } else {
            Self(self.0.saturating_add(1))
        }
    }

    /// How long to wait before the next start.
    pub fn wait(self) -> Duration {
        let doublings = self.0.saturating_sub(1).min(16);
        Duration::from_millis((RESTART_WAIT_MS_MIN << doublings).min(RESTART_WAIT_MS_MAX))
    }

    /// Failures in a row.
    pub fn in_a_row(self) -> u32 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_to_the_limit_and_a_stable_life_resets_them() {
        let quick = Duration::from_millis(10);
        let mut failures = Failures::default();
        let mut waits_ms = Vec::new();
        for _ in 0..10 {
            failures = failures.after_end(quick);
            waits_ms.push(failures.wait().as_millis() as u64);
        }
        assert_eq!(waits_ms, [200, 400, 800, 1600, 3200, 6400, 12800, 25600, 30_000, 30_000]);
        failures = failures.after_end(Duration::from_millis(RESTART_STABLE_MS));
        assert_eq!(failures.wait().as_millis() as u64, RESTART_WAIT_MS_MIN);
    }
}
