//! What a run showed.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::Plan;
use crate::faults::Faults;
use crate::memory::{Flatness, Sample};
use crate::request::Kind;
use crate::user::{Ended, Judged};

/// Violations that a report repeats.
const VIOLATIONS_SHOWN_MAX: usize = 50;

/// What a run showed.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Of the plan.
    pub seed: u64,
    /// How long it took, until the last request had ended.
    pub seconds: u64,
    /// Engines killed.
    pub engine_kills: u64,
    /// Gateways killed.
    pub gateway_kills: usize,
    /// Requests that ended.
    pub requests: usize,
    /// How requests of each kind ended.
    kinds: BTreeMap<Kind, Ends>,
    /// Memory of each program.
    pub memory: BTreeMap<&'static str, Flatness>,
    /// How many requests did not end as they must.
    pub violations: usize,
    /// The first of them.
    pub violations_shown: Vec<String>,
    /// What was still held at the end.
    pub leftovers: Vec<String>,
}

#[derive(Debug, Default, Serialize)]
struct Ends {
    ends: BTreeMap<String, usize>,
    median_ms: u128,
    max_ms: u128,
}

impl Report {
    pub(crate) fn new(
        plan: &Plan,
        took: Duration,
        faults: &Faults,
        results: &[Ended],
        memory: &BTreeMap<&'static str, Vec<Sample>>,
    ) -> Self {
        let mut times: BTreeMap<Kind, Vec<u128>> = BTreeMap::new();
        let mut kinds: BTreeMap<Kind, Ends> = BTreeMap::new();
        let mut violations = Vec::new();
        for result in results {
            times.entry(result.kind).or_default().push(result.took.as_millis());
            let end = match &result.end {
                Judged::Good(end) => end.clone(),
                Judged::Bad(what) => {
                    violations.push(what.clone());
                    "VIOLATION".to_owned()
                }
            };
            *kinds.entry(result.kind).or_default().ends.entry(end).or_default() += 1;
        }
        for (kind, mut times) in times {
            times.sort_unstable();
            let ends = kinds.entry(kind).or_default();
            (ends.median_ms, ends.max_ms) = (times[times.len() / 2], times[times.len() - 1]);
        }
        Self {
            seed: plan.seed,
            seconds: took.as_secs(),
            engine_kills: faults.engine_kills(),
            gateway_kills: faults.gateway_kills(),
            requests: results.len(),
            kinds,
            memory: memory
                .iter()
                .filter_map(|(name, samples)| Some((*name, Flatness::of(samples)?)))
                .collect(),
            violations: violations.len(),
            violations_shown: violations.into_iter().take(VIOLATIONS_SHOWN_MAX).collect(),
            leftovers: Vec::new(),
        }
    }

    /// Whether every request ended as it must, nothing was left over, and no program was seen to grow.
    pub fn is_good(&self) -> bool {
        let is_flat = self.memory.values().all(|flatness| flatness.is_flat != Some(false));
        self.violations == 0 && self.leftovers.is_empty() && is_flat
    }

    /// Requests that ended so, of all kinds.
    pub fn ended(&self, end: &str) -> usize {
        self.kinds.values().filter_map(|kind| kind.ends.get(end)).sum()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, seconds, requests, engine_kills, gateway_kills, .. } = self;
        writeln!(
            f,
            "{requests} requests in {seconds} s; {engine_kills} engines and {gateway_kills} gateways killed; seed {seed}"
        )?;
        writeln!(f, "{:<12} {:>10} {:>10}  ends", "kind", "median ms", "max ms")?;
        for (kind, Ends { ends, median_ms, max_ms }) in &self.kinds {
            let ends: Vec<_> = ends.iter().map(|(end, count)| format!("{count} {end}")).collect();
            writeln!(f, "{:<12} {median_ms:>10} {max_ms:>10}  {}", format!("{kind:?}"), ends.join(", "))?;
        }
        writeln!(
            f,
            "{:<12} {:>8} {:>8} {:>8} {:>8}  MB/h  lives  flat",
            "MB", "third 1", "third 2", "third 3", "most"
        )?;
        for (name, memory) in &self.memory {
            let [first, middle, last] = memory.thirds_mb;
            let flat = memory.is_flat.map_or("not judged", |is_flat| if is_flat { "yes" } else { "NO" });
            writeln!(
                f,
                "{name:<12} {first:>8.1} {middle:>8.1} {last:>8.1} {:>8.1} {:>5.1} {:>6}  {flat}",
                memory.max_mb, memory.growth_mb_per_hour, memory.lives
            )?;
        }
        for what in self.violations_shown.iter().chain(&self.leftovers) {
            writeln!(f, "VIOLATION: {what}")?;
        }
        Ok(())
    }
}
