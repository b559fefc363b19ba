//! Mixed load on a whole appliance while its processes are killed: does every request end, and does
//! memory stay flat?

mod answer;
mod dice;
mod faults;
mod memory;
mod report;
mod request;
mod user;

use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use nabi_tests::appliance::{Appliance, State, text, wait_for};
use serde_json::json;

pub use memory::Flatness;
pub use report::Report;

use dice::Dice;
use faults::Faults;
use request::MODEL;
use user::User;

/// Keys among which the users are dealt out: flows, in the engine's words.
const KEYS: usize = 4;

/// What to do to an appliance.
#[derive(Debug, Clone)]
pub struct Plan {
    /// How long new requests are begun.
    pub duration: Duration,
    /// The same seed asks and kills the same, as far as time allows.
    pub seed: u64,
    /// Users that ask one thing after the other.
    pub users: usize,
    /// Whether processes are killed.
    pub kills: Kills,
}

/// Which processes are killed, at random times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kills {
    /// Seconds from one kill of the engine to the next, at least and at most.
    pub engine_s: Option<[u64; 2]>,
    /// The same of the gateway.
    pub gateway_s: Option<[u64; 2]>,
}

/// Runs the plan on a new appliance that serves this model.
///
/// # Panics
/// When the appliance does not start, or at the end does not serve.
pub fn run(plan: &Plan, model: &Path) -> Report {
    let state = State::empty();
    let path = model.to_str().expect("the model's path is text");
    let up = state.up(&["--model", path, "--name", MODEL]);
    let keys: Vec<String> = (0..KEYS).map(|number| add_key(&state, number)).collect();
    let embeds = User::new(&up, &keys[0], Dice::new(0)).embeds();
    let (faults, begun) = (Faults::default(), Instant::now());
    let until = begun + plan.duration;
    let (tell, told) = mpsc::channel();
    let (memory, results) = thread::scope(|scope| {
        let sampler = scope.spawn(|| memory::watch(&state, &up, until));
        scope.spawn(|| faults.engines(&state, plan, until));
        scope.spawn(|| faults.gateways(&state, plan, until));
        for number in 0..plan.users {
            let user =
                User::new(&up, &keys[number % KEYS], Dice::new(plan.seed.wrapping_add(number as u64 + 1)));
            let (tell, faults) = (tell.clone(), &faults);
            scope.spawn(move || user.ask(until, embeds, faults, &tell));
        }
        drop(tell);
        // They end by themselves, each when its last request has ended.
        let results = told.iter().collect::<Vec<_>>();
        (sampler.join().expect("the sampler ends"), results)
    });
    let mut report = Report::new(plan, begun.elapsed(), &faults, &results, &memory);
    report.leftovers = leftovers(&state);
    last_words(&up, &keys[0]);
    report
}

fn add_key(state: &State, number: usize) -> String {
    text(&state.done(&["key", "add", &format!("ministry-{number}")])["key_added"]["key"])
}

/// Requests that an idle engine still holds, once it had time to let go of them.
fn leftovers(state: &State) -> Vec<String> {
    state.engine_pid(MODEL);
    let figures = wait_for("the engine's figures", || {
        let stats = state.status()["engines"][0]["stats"].take();
        (!stats.is_null()).then_some(stats)
    });
    ["waiting", "running"]
        .into_iter()
        .filter(|figure| figures[figure] != json!(0))
        .map(|figure| format!("{} requests are {figure} when all have ended", figures[figure]))
        .collect()
}

fn last_words(up: &Appliance<'_>, key: &str) {
    let client = up.client().with_key(key);
    wait_for("it serves at the end", || (client.get("/readyz").status == 200).then_some(()));
    client.say(MODEL, "hello", json!({"max_tokens": 3})).text();
}
