//! Telling systemd that the core still turns: only its own loop does, so that a stuck one is noticed.

use sd_notify::NotifyState;
use tokio::time::{Instant, Interval, interval_at};

/// Beats at half the time within which systemd wants to hear of us; never where nobody does.
pub(crate) struct Heartbeat {
    beats: Option<Interval>,
}

impl Heartbeat {
    /// As the service manager asked by its environment.
    pub(crate) fn asked_for() -> Self {
        let beats = sd_notify::watchdog_enabled().map(|patience| {
            let half = patience / 2;
            interval_at(Instant::now() + half, half)
        });
        Self { beats }
    }

    /// Waits for the next beat, and tells it.
    pub(crate) async fn beat(&mut self) {
        match &mut self.beats {
            Some(beats) => {
                beats.tick().await;
                tell(&[NotifyState::Watchdog]);
            }
            None => std::future::pending().await,
        }
    }
}

/// Without a service manager nothing is told.
pub(crate) fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!("cannot notify systemd: {error}");
    }
}
