//! Replies and progress as text. Pure but for the progress line.

use std::fmt::Write as _;
use std::io::{IsTerminal as _, Write as _};

use nabi_domain::{ModelFormat, ModelSummary};
use nabi_wire::action::{EngineStatus, ProcessState, Progress, Reply, Status, Unit};

/// One line on standard error that is written over while something goes on.
#[derive(Default)]
pub(crate) struct ProgressLine {
    last: String,
}

impl ProgressLine {
    pub(crate) fn show(&mut self, progress: &Progress) {
        let text = self::progress(progress);
        if text == self.last {
            return;
        }
        if std::io::stderr().is_terminal() {
            eprint!("\r\x1b[K{text}");
            let _ = std::io::stderr().flush();
        } else if self.is_milestone(progress) {
            eprintln!("{text}");
        }
        self.last = text;
    }

    /// In a file, a line for each percent would be too much.
    fn is_milestone(&self, progress: &Progress) -> bool {
        let begins_with = |what: &str| self.last.starts_with(what);
        !begins_with(&progress.what) || progress.done == progress.total
    }

    pub(crate) fn end(&mut self) {
        if !std::mem::take(&mut self.last).is_empty() && std::io::stderr().is_terminal() {
            eprint!("\r\x1b[K");
        }
    }
}

fn progress(progress: &Progress) -> String {
    let Progress { what, done, total, unit } = progress;
    let share = (done * 100).checked_div(*total).unwrap_or(0);
    match unit {
        Unit::Bytes => format!("{what}: {share} % of {}", bytes(*total)),
        Unit::Permille => format!("{what}: {share} %"),
    }
}

/// `98.4 MB`: decimal, as disks are sold.
fn bytes(bytes: u64) -> String {
    let units = [(1_000_000_000_000, "TB"), (1_000_000_000, "GB"), (1_000_000, "MB"), (1_000, "kB")];
    match units.into_iter().find(|(size, _)| bytes >= *size) {
        Some((size, unit)) => format!("{:.1} {unit}", bytes as f64 / size as f64),
        None => format!("{bytes} B"),
    }
}

fn count(count: u64) -> String {
    match count {
        1_000_000_000.. => format!("{:.1} B", count as f64 / 1e9),
        1_000_000.. => format!("{:.1} M", count as f64 / 1e6),
        _ => count.to_string(),
    }
}

/// What a person reads; ends with a line feed unless it is empty.
pub(crate) fn reply(reply: &Reply) -> String {
    match reply {
        Reply::Status(status) => self::status(status),
        Reply::Imported(summary) => format!("imported {}\n", model(summary)),
        Reply::Models(models) if models.is_empty() => {
            "no models: import one with `nabi model import PATH`\n".into()
        }
        Reply::Models(models) => models.iter().fold(String::new(), |mut text, listed| {
            let served = if listed.served { "served" } else { "" };
            let _ = writeln!(text, "{:8}{}", served, model(&listed.summary));
            text
        }),
        Reply::Removed(name) => format!("removed {name}\n"),
        Reply::Verified { name, files, bytes } => {
            format!("{name}: {files} files, {}, all as imported\n", self::bytes(*bytes))
        }
        Reply::Serving(engine) => self::engine(engine),
        Reply::Stopped(name) => format!("{name} is no longer served\n"),
        Reply::KeyAdded { name, key } => {
            format!("{key}\nThis is the key {name}. Keep it: it is not shown again.\n")
        }
        Reply::Keys(names) if names.is_empty() => "no keys: make one with `nabi key add NAME`\n".into(),
        Reply::Keys(names) => names.iter().map(|name| format!("{name}\n")).collect(),
        Reply::Revoked(name) => format!("the key {name} is refused from now on\n"),
        Reply::Ca { certificate_pem, sha256 } => format!("{certificate_pem}SHA-256 {sha256}\n"),
        Reply::Logs(logs) => logs.iter().fold(String::new(), |mut text, log| {
            for line in &log.lines {
                let _ = writeln!(text, "{}: {line}", log.process);
            }
            text
        }),
        Reply::Version(version) => {
            format!("nabi {}\nengine wire {}\npack {}\n", version.nabi, version.engine_wire, version.pack)
        }
    }
}

fn model(model: &ModelSummary) -> String {
    let format = match model.format {
        ModelFormat::Gguf => "GGUF",
        ModelFormat::HuggingFace => "Hugging Face",
    };
    format!(
        "{}: {}, {} parameters, {}, context {}, {}, {format}",
        model.name,
        model.architecture,
        count(model.parameters),
        model.quantization,
        model.context_tokens,
        bytes(model.bytes)
    )
}

fn status(status: &Status) -> String {
    let mut text =
        format!("{} {}\n", status.address, if status.ready { "serves" } else { "does not serve all" });
    let _ = writeln!(text, "gateway: {}", state(&status.gateway));
    for engine in &status.engines {
        text += &self::engine(engine);
    }
    if status.engines.is_empty() {
        text += "no model is served: `nabi model serve NAME`\n";
    }
    text
}

fn engine(engine: &EngineStatus) -> String {
    let mut text = format!("{}: {}\n", engine.model, state(&engine.state));
    if let Some(card) = &engine.card {
        let _ = writeln!(
            text,
            "  {}, {}, {} requests at once with {} tokens each, first token {} ms after its start",
            card.engine, card.kernel, card.sequences_max, card.context_tokens, card.first_token_ms
        );
    }
    if let Some(figures) = &engine.stats {
        let _ = writeln!(
            text,
            "  {} running, {} waiting; {} prompt and {} answer tokens in {} steps",
            figures.running, figures.waiting, figures.prompt_tokens, figures.completion_tokens, figures.steps
        );
    }
    text
}

fn state(state: &ProcessState) -> String {
    match state {
        ProcessState::Starting { loaded_permille, .. } => {
            format!("starting, {} % loaded", loaded_permille / 10)
        }
        ProcessState::Ready { pid } => format!("ready (process {pid})"),
        ProcessState::Waiting { restart_in_ms, failures, reason } => {
            format!("down, {failures} times in a row, starts again after {restart_in_ms} ms: {reason}")
        }
        ProcessState::Refused { reason } => format!("cannot run: {reason}"),
        ProcessState::Stopping => "stopping".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_progress_are_readable() {
        assert_eq!(bytes(98_362_432), "98.4 MB");
        assert_eq!(bytes(7), "7 B");
        assert_eq!(count(134_515_008), "134.5 M");
        let copying = Progress { what: "copying x".into(), done: 1, total: 2, unit: Unit::Bytes };
        assert_eq!(progress(&copying), "copying x: 50 % of 2 B");
        let unknown = Progress { total: 0, ..copying };
        assert_eq!(progress(&unknown), "copying x: 0 % of 0 B");
    }
}
