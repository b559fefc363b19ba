//! Figures and what they are held against.

use std::fmt::Write as _;
use std::fs;

use serde::Serialize;

/// What a benchmark writes.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) machine: Machine,
    /// Pairs of runs behind each figure.
    pub(crate) pairs: usize,
    /// Whether the loads were too small to measure anything.
    pub(crate) smoke: bool,
    pub(crate) rows: Vec<Row>,
}

/// Where it was measured.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    cpu: String,
    cores: usize,
    memory_mib: u64,
    kernel: String,
    /// Runnable processes of the minute before: above 0.5, others were at work too.
    load_before: f64,
}

/// A figure of both sides, in the words of its table.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) measure: String,
    pub(crate) unit: &'static str,
    pub(crate) nabi: f64,
    pub(crate) peer: Option<f64>,
    pub(crate) peer_name: Option<String>,
    /// The median of the pairs' ratios, which is not the ratio of the medians.
    pub(crate) ratio: Option<f64>,
    pub(crate) goal: Option<String>,
    pub(crate) met: Option<bool>,
}

impl Row {
    /// A figure of one side that is only to be known.
    pub(crate) fn plain(measure: String, unit: &'static str, nabi: f64) -> Self {
        Self { measure, unit, nabi, peer: None, peer_name: None, ratio: None, goal: None, met: None }
    }
}

/// What a figure is to reach.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Goal {
    /// Nabi's figure divided by its peer's.
    RatioAtLeast(f64),
    RatioAbove(f64),
    RatioAtMost(f64),
    /// By how much it may differ from 1, either way.
    RatioWithin(f64),
    /// Nabi's figure itself.
    AtLeast(f64),
    AtMost(f64),
    /// Printed for its own sake.
    None,
}

impl Goal {
    pub(crate) fn text(self) -> Option<String> {
        match self {
            Self::RatioAtLeast(bound) => Some(format!("≥ {bound} ×")),
            Self::RatioAbove(bound) => Some(format!("> {bound} ×")),
            Self::RatioAtMost(bound) => Some(format!("≤ {bound} ×")),
            Self::RatioWithin(bound) => Some(format!("within {:.0} %", bound * 100.0)),
            Self::AtLeast(bound) => Some(format!("≥ {bound}")),
            Self::AtMost(bound) => Some(format!("≤ {bound}")),
            Self::None => None,
        }
    }

    /// Absent where there is no goal; a figure that is missing meets none.
    pub(crate) fn is_met(self, nabi: f64, ratio: Option<f64>) -> Option<bool> {
        match self {
            Self::RatioAtLeast(bound) => Some(ratio.is_some_and(|ratio| ratio >= bound)),
            Self::RatioAbove(bound) => Some(ratio.is_some_and(|ratio| ratio > bound)),
            Self::RatioAtMost(bound) => Some(ratio.is_some_and(|ratio| ratio <= bound)),
            Self::RatioWithin(bound) => Some(ratio.is_some_and(|ratio| (ratio - 1.0).abs() <= bound)),
            Self::AtLeast(bound) => Some(nabi >= bound),
            Self::AtMost(bound) => Some(nabi <= bound),
            Self::None => None,
        }
    }
}

/// What is measured, apart from its value.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Figure {
    pub(crate) measure: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) goal: Goal,
}

impl Figure {
    /// From the values of each pair of runs.
    pub(crate) fn of_pairs(self, nabi: &[f64], peer: &[f64], peer_name: &str) -> Row {
        let ratios: Vec<f64> = nabi.iter().zip(peer).map(|(nabi, peer)| nabi / peer).collect();
        let (nabi, ratio) = (median(nabi), (!ratios.is_empty()).then(|| median(&ratios)));
        self.row(nabi, Some((median(peer), peer_name)), ratio)
    }

    /// Of one side alone.
    pub(crate) fn alone(self, nabi: &[f64]) -> Row {
        self.row(median(nabi), None, None)
    }

    fn row(self, nabi: f64, peer: Option<(f64, &str)>, ratio: Option<f64>) -> Row {
        Row {
            measure: self.measure.to_owned(),
            unit: self.unit,
            nabi,
            peer: peer.map(|(value, _)| value),
            peer_name: peer.map(|(_, name)| name.to_owned()),
            ratio,
            goal: self.goal.text(),
            met: self.goal.is_met(nabi, ratio),
        }
    }
}

/// The middle value; of an even number the mean of both.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        count if count % 2 == 1 => sorted[count / 2],
        count => f64::midpoint(sorted[count / 2 - 1], sorted[count / 2]),
    }
}

impl Report {
    /// A table for docs/benchmarks.md.
    pub(crate) fn markdown(&self) -> String {
        let Machine { cpu, cores, memory_mib, kernel, load_before } = &self.machine;
        let smoke = if self.smoke { "SMOKE TEST, NO FIGURES: " } else { "" };
        let mut text = format!(
            "{smoke}{cpu}, {cores} cores, {memory_mib} MiB, Linux {kernel}; load before {load_before:.2}; \
             medians of {} pairs\n\n\
             | measure | unit | Nabi | peer | ratio | goal | met |\n|---|---|---|---|---|---|---|\n",
            self.pairs
        );
        for row in &self.rows {
            let peer = row.peer.zip(row.peer_name.as_deref());
            let peer = peer.map(|(value, name)| format!("{} ({name})", number(value)));
            let ratio = row.ratio.map(|ratio| format!("{ratio:.3}"));
            let met = row.met.map(|met| if met { "yes" } else { "no" });
            let cells = [peer.as_deref(), ratio.as_deref(), row.goal.as_deref(), met];
            let cells = cells.map(Option::unwrap_or_default).join(" | ");
            let (measure, unit, nabi) = (&row.measure, row.unit, number(row.nabi));
            writeln!(text, "| {measure} | {unit} | {nabi} | {cells} |").expect("a string takes all");
        }
        text
    }
}

/// Three digits are all that a noisy machine gives.
fn number(value: f64) -> String {
    match value.abs() {
        small if small < 10.0 => format!("{value:.3}"),
        middle if middle < 1000.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

impl Machine {
    pub(crate) fn here() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let after = |text: &str, name: &str| {
            let line = text.lines().find(|line| line.starts_with(name));
            let value = line.and_then(|line| line.split_once(':')).map(|(_, value)| value.trim().to_owned());
            value.unwrap_or_default()
        };
        let memory = after(&read("/proc/meminfo"), "MemTotal");
        let load = read("/proc/loadavg");
        Self {
            cpu: after(&read("/proc/cpuinfo"), "model name"),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_mib: memory.trim_end_matches(" kB").parse().unwrap_or(0) / 1024,
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            load_before: load.split(' ').next().and_then(|load| load.parse().ok()).unwrap_or(0.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ratio_is_the_median_of_the_pairs_and_decides() {
        let figure = Figure { measure: "m", unit: "u", goal: Goal::RatioAtLeast(0.98) };
        // The machine was slow during the last pair: its ratio says as much as the others'.
        let row = figure.of_pairs(&[99.0, 98.0, 10.0], &[100.0, 100.0, 10.0], "peer");
        assert_eq!((row.nabi, row.peer, row.ratio, row.met), (98.0, Some(100.0), Some(0.99), Some(true)));
        let row = figure.of_pairs(&[97.0, 90.0, 10.0], &[100.0, 100.0, 10.0], "peer");
        assert_eq!((row.ratio, row.met), (Some(0.97), Some(false)));
        assert_eq!(figure.alone(&[5.0]).met, Some(false));
    }

    #[test]
    fn goals_of_one_side_hold_at_their_bound() {
        let met = |goal: Goal, value| Figure { measure: "m", unit: "u", goal }.alone(&[value]).met;
        assert_eq!(met(Goal::AtMost(30.0), 30.0), Some(true));
        assert_eq!(met(Goal::AtMost(30.0), 30.1), Some(false));
        assert_eq!(met(Goal::AtLeast(5000.0), 4999.0), Some(false));
        assert_eq!(met(Goal::AtLeast(5000.0), f64::NAN), Some(false));
        assert_eq!(met(Goal::None, 1.0), None);
    }
}
