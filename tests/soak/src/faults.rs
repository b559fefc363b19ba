//! Kills, and when they were.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nabi_tests::appliance::{State, process};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::Plan;
use crate::dice::Dice;

const LOOK_MS: u64 = 100;

/// What was killed so far.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    engines: AtomicU64,
    gateways: Mutex<Vec<Instant>>,
}

impl Faults {
    pub(crate) fn engine_kills(&self) -> u64 {
        self.engines.load(Ordering::Relaxed)
    }

    pub(crate) fn gateway_kills(&self) -> usize {
        self.gateways.lock().expect("no holder panics").len()
    }

    /// Whether a gateway was killed since: connections then break.
    pub(crate) fn gateway_was_killed_since(&self, since: Instant) -> bool {
        self.gateways.lock().expect("no holder panics").iter().any(|&killed| killed >= since)
    }

    /// Kills engines that are ready.
    pub(crate) fn engines(&self, state: &State, plan: &Plan, until: Instant) {
        let Some(pause_s) = plan.kills.engine_s else { return };
        let mut dice = Dice::new(plan.seed);
        while sleep_until(Instant::now() + dice.seconds(pause_s), until) {
            if let Some(pid) = ready_pid(&state.status()["engines"][0]["state"]) {
                process::signal_if_it_runs(pid, Signal::SIGKILL);
                self.engines.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Kills gateways that are ready.
    pub(crate) fn gateways(&self, state: &State, plan: &Plan, until: Instant) {
        let Some(pause_s) = plan.kills.gateway_s else { return };
        let mut dice = Dice::new(!plan.seed);
        while sleep_until(Instant::now() + dice.seconds(pause_s), until) {
            if let Some(pid) = ready_pid(&state.status()["gateway"]) {
                // Noted first: no user sees the kill before it is known.
                self.gateways.lock().expect("no holder panics").push(Instant::now());
                process::signal_if_it_runs(pid, Signal::SIGKILL);
            }
        }
    }
}

fn ready_pid(state: &Value) -> Option<u32> {
    state["ready"]["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok())
}

/// False when `end` came first.
pub(crate) fn sleep_until(when: Instant, end: Instant) -> bool {
    while Instant::now() < when {
        if Instant::now() >= end {
            return false;
        }
        thread::sleep(Duration::from_millis(LOOK_MS));
    }
    Instant::now() < end
}
