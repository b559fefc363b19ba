//! Replies and progress as text. Pure but for the progress line.

mod boot;
mod capacity;
mod hardware;
mod media;

use std::fmt::Write as _;
use std::io::IsTerminal as _;

use nabi_domain::{ModelFormat, ModelSummary, UnfinishedModel, UnfinishedWork};
use nabi_wire::action::KeyScope;
use nabi_wire::log;
use nabi_wire::reply::{
    Alias, DamagedModel, EngineFigures, EngineStatus, ListedModel, ProcessState, Progress, Reply, Status,
    Unit,
};

use crate::say;

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
            say(&format!("\r\x1b[K{text}"));
        } else if self.is_milestone(progress) {
            say(&format!("{text}\n"));
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
            say("\r\x1b[K");
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

/// Names come from devices and from files, which anybody may have made.
fn plain(name: &str) -> String {
    // What turns the direction of a line is no control character.
    let is_active =
        |c: char| c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    name.replace(is_active, "\u{fffd}")
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
        Reply::Models { stored, damaged, unfinished } => models(stored, damaged, unfinished),
        Reply::Removed(name) => format!("removed {name}\n"),
        Reply::Verified { name, files, bytes } => {
            format!("{name}: {files} files, {}, all as imported\n", self::bytes(*bytes))
        }
        Reply::Serving(engine) => self::engine(engine),
        Reply::Stopped(name) => format!("{name} is no longer served\n"),
        Reply::AliasSet { alias, before: None } => format!("{} leads to {}\n", alias.name, alias.model),
        Reply::AliasSet { alias, before: Some(before) } => {
            format!("{} leads to {}, no longer to {before}\n", alias.name, alias.model)
        }
        Reply::Aliases(aliases) if aliases.is_empty() => {
            "no aliases: make one with `nabi alias set NAME MODEL`\n".into()
        }
        Reply::Aliases(aliases) => self::aliases(aliases),
        Reply::AliasRemoved(name) => format!("the alias {name} is removed\n"),
        Reply::KeyAdded { name, scope, key } => {
            format!(
                "{key}\nThis is the key {name}, for {}. Keep it: it is not shown again.\n",
                self::scope(*scope)
            )
        }
        Reply::Keys(keys) if keys.is_empty() => "no keys: make one with `nabi key add NAME`\n".into(),
        Reply::Keys(keys) => {
            keys.iter().map(|key| format!("{:10} {}\n", scope(key.scope), key.name)).collect()
        }
        Reply::Revoked(name) => format!("the key {name} is refused from now on\n"),
        Reply::Media(found) => media::media(found),
        Reply::Hardware(machine) => hardware::hardware(machine),
        Reply::Capacity { room, models } => capacity::capacity(room, models),
        Reply::Recording(recording) => hardware::recording(recording),
        Reply::SelfTest(outcome) => boot::self_test(outcome),
        Reply::Boot(facts) => boot::boot(facts),
        // Alone, so that `ca > ca.pem` is what it says: see `aside`.
        Reply::Ca { certificate_pem, .. } => certificate_pem.clone(),
        Reply::Logs(logs) => logs.iter().fold(String::new(), |mut text, log| {
            for line in &log.lines {
                let _ = writeln!(text, "{}: {}", log.process, log::readable(line));
            }
            text
        }),
        Reply::Version(version) => {
            format!("nabi {}\nengine wire {}\npack {}\n", version.nabi, version.engine_wire, version.pack)
        }
    }
}

/// What a person should read besides, where the reply itself goes into a file.
pub(crate) fn aside(reply: &Reply) -> Option<String> {
    match reply {
        Reply::Ca { sha256, .. } => Some(format!("SHA-256 {sha256}\n")),
        _ => None,
    }
}

fn models(stored: &[ListedModel], damaged: &[DamagedModel], unfinished: &[UnfinishedModel]) -> String {
    if stored.is_empty() && damaged.is_empty() && unfinished.is_empty() {
        return "no models: import one with `nabi model import PATH`\n".into();
    }
    let mut text = String::new();
    for listed in stored {
        let served = if listed.served { "served" } else { "" };
        let _ = writeln!(text, "{:8}{}", served, model(&listed.summary));
    }
    for DamagedModel { name, reason } in damaged {
        let _ = writeln!(text, "{:8}{name}: {reason}", "damaged");
    }
    for UnfinishedModel { name, work, bytes: held } in unfinished {
        let held = bytes(*held);
        let _ = match work {
            UnfinishedWork::Import => writeln!(
                text,
                "{:8}{name}: {held} of an import that is under way or did not end: import the same files again \
                 to go on, or `nabi model remove {name}`",
                "partly"
            ),
            UnfinishedWork::Removal => writeln!(
                text,
                "{:8}{name}: {held} of a removal that is under way or did not end: `nabi model remove {name}` \
                 again; nothing of it is served",
                "removed"
            ),
        };
    }
    text
}

fn aliases(aliases: &[Alias]) -> String {
    aliases.iter().map(|Alias { name, model }| format!("{name} leads to {model}\n")).collect()
}

fn scope(scope: KeyScope) -> &'static str {
    match scope {
        KeyScope::Inference => "inference",
        KeyScope::Metrics => "metrics",
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
    for alarm in &status.alarms {
        let _ = writeln!(text, "ALARM: {alarm}");
    }
    let _ = writeln!(text, "gateway: {}", state(&status.gateway));
    for engine in &status.engines {
        text += &self::engine(engine);
    }
    if status.engines.is_empty() {
        let but = if status.self_test.is_some() { " but the self-test's" } else { "" };
        let _ = writeln!(text, "no model{but} is served: `model import PATH`, then `model serve NAME`");
    }
    text + &aliases(&status.aliases)
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
        text += &self::figures(figures);
    }
    text
}

fn figures(figures: &EngineFigures) -> String {
    let EngineFigures { running, waiting, steps, prompt_tokens, cached_tokens, completion_tokens, .. } =
        figures;
    let mut text = format!(
        "  {running} running, {waiting} waiting; {prompt_tokens} prompt tokens computed, {cached_tokens} found \
         computed, {completion_tokens} answer tokens in {steps} steps\n"
    );
    let _ = writeln!(
        text,
        "  key-value cache: {} of {} tokens in use, its memory is reserved at once; saved prefixes: {} in memory, {} on disk",
        figures.kv_used_tokens,
        figures.kv_tokens_max,
        bytes(figures.saved_memory_bytes),
        bytes(figures.saved_disk_bytes)
    );
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
    use nabi_wire::reply::{Alarm, ProcessLog};

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

    #[test]
    fn a_certificate_goes_alone_where_it_is_wanted() {
        let ca = Reply::Ca { certificate_pem: "PEM\n".into(), sha256: "ab".into() };
        assert_eq!((reply(&ca), aside(&ca)), ("PEM\n".into(), Some("SHA-256 ab\n".into())));
    }

    #[test]
    fn alarms_come_first() {
        let alarm = Alarm::LowSpace { folder: "/var".into(), free_bytes: 7_000_000 };
        let gateway = ProcessState::Stopping;
        let (address, aliases) = ("https://x".to_owned(), vec![]);
        let (engines, self_test, alarms) = (vec![], None, vec![alarm]);
        let status = Status { address, ready: false, gateway, engines, self_test, aliases, alarms };
        let text = reply(&Reply::Status(status));
        let line = text.lines().nth(1).expect("a second line");
        assert!(line.starts_with("ALARM: only 7 MB are free on the disk of /var: "), "{text}");
    }

    #[test]
    fn lists_are_a_line_each_and_empty_ones_say_how_to_begin() {
        let name = |name: &str| name.parse().expect("a name");
        let damaged =
            vec![DamagedModel { name: "bad".parse().expect("a name"), reason: "no manifest".into() }];
        let models = |damaged, unfinished| reply(&Reply::Models { stored: vec![], damaged, unfinished });
        assert_eq!(models(damaged, vec![]), "damaged bad: no manifest\n");
        let half = UnfinishedModel { name: name("v3"), work: UnfinishedWork::Import, bytes: 7_000_000 };
        let half = models(vec![], vec![half]);
        assert!(
            half.starts_with("partly  v3: 7.0 MB of an import") && half.contains("model remove v3"),
            "{half}"
        );
        let none = models(vec![], vec![]);
        assert!(none.contains("nabi model import PATH"), "{none}");
        let alias = Alias { name: name("chat"), model: name("v2") };
        assert_eq!(reply(&Reply::Aliases(vec![alias.clone()])), "chat leads to v2\n");
        let swapped = Reply::AliasSet { alias, before: Some(name("v1")) };
        assert_eq!(reply(&swapped), "chat leads to v2, no longer to v1\n");
        let line = r#"{"timestamp":"T","level":"INFO","message":"the supervisor runs","pid":7}"#;
        let lines = vec![line.to_owned(), "llama.cpp says".to_owned()];
        let logs = Reply::Logs(vec![ProcessLog { process: "supervisor".into(), lines }]);
        let shown = "supervisor: T INFO the supervisor runs pid=7\nsupervisor: llama.cpp says\n";
        assert_eq!(reply(&logs), shown);
    }
}
