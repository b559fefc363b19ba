//! QEMU's control socket: one JSON object a line, asked and answered.
//! <https://www.qemu.org/docs/master/interop/qmp-spec.html>

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

/// QEMU starts slowly on a busy machine.
const CONNECT_S_MAX: u64 = 120;
const ANSWER_S_MAX: u64 = 120;
const POLL_MS: u64 = 20;

/// A connection that is ready for commands.
#[derive(Debug)]
pub(crate) struct Qmp {
    stream: BufReader<UnixStream>,
}

impl Qmp {
    /// Connects as soon as the socket is there. `check` gives up when QEMU has ended.
    pub(crate) fn connect(socket: &Path, mut check: impl FnMut() -> Result<()>) -> Result<Self> {
        let deadline = Instant::now() + Duration::from_secs(CONNECT_S_MAX);
        let stream = loop {
            match UnixStream::connect(socket) {
                Ok(stream) => break stream,
                Err(error) if Instant::now() > deadline => {
                    return Err(error)
                        .with_context(|| format!("QEMU does not listen on {}", socket.display()));
                }
                Err(_) => check()?,
            }
            std::thread::sleep(Duration::from_millis(POLL_MS));
        };
        Self::greet(stream)
    }

    fn greet(stream: UnixStream) -> Result<Self> {
        stream.set_read_timeout(Some(Duration::from_secs(ANSWER_S_MAX)))?;
        let mut qmp = Self { stream: BufReader::new(stream) };
        let greeting = qmp.read()?;
        if greeting.get("QMP").is_none() {
            bail!("no greeting of QEMU: {greeting}");
        }
        qmp.execute("qmp_capabilities", json!({}))?;
        Ok(qmp)
    }

    /// Has a command done, and gives its answer.
    pub(crate) fn execute(&mut self, command: &str, arguments: Value) -> Result<Value> {
        let request = json!({"execute": command, "arguments": arguments});
        let sent = self.stream.get_mut().write_all(format!("{request}\n").as_bytes());
        sent.with_context(|| format!("cannot send {command} to QEMU"))?;
        loop {
            let mut answer = self.read()?;
            if let Some(error) = answer.get("error") {
                bail!("QEMU refuses {command}: {error}");
            }
            if let Some(value) = answer.get_mut("return") {
                return Ok(value.take());
            }
            // Otherwise an event, of which none matters here.
        }
    }

    fn read(&mut self) -> Result<Value> {
        let mut line = String::new();
        if self.stream.read_line(&mut line).context("QEMU does not answer")? == 0 {
            bail!("QEMU closed its control socket");
        }
        serde_json::from_str(&line).with_context(|| format!("QEMU says no JSON: {line}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A QEMU that says these lines, and gives what it was told.
    fn qemu(lines: &'static [&'static str]) -> (UnixStream, std::thread::JoinHandle<String>) {
        let (ours, mut theirs) = UnixStream::pair().expect("a pair of sockets");
        let thread = std::thread::spawn(move || {
            for line in lines {
                theirs.write_all(format!("{line}\n").as_bytes()).expect("it is read");
            }
            theirs.shutdown(std::net::Shutdown::Write).expect("it was open");
            std::io::read_to_string(theirs).expect("text")
        });
        (ours, thread)
    }

    #[test]
    fn answers_are_found_among_events() {
        let (stream, qemu) = qemu(&[
            r#"{"QMP": {"version": {}}}"#,
            r#"{"return": {}}"#,
            r#"{"event": "NIC_RX_FILTER_CHANGED"}"#,
            r#"{"return": {"status": "running"}}"#,
            r#"{"error": {"class": "GenericError", "desc": "no such link"}}"#,
        ]);
        let mut qmp = Qmp::greet(stream).expect("it greets");
        let answer = qmp.execute("query-status", json!({})).expect("it answers");
        assert_eq!(answer, json!({"status": "running"}));
        let refused = qmp.execute("set_link", json!({"name": "n1", "up": false})).expect_err("it refuses");
        assert!(refused.to_string().contains("set_link") && refused.to_string().contains("no such link"));
        assert!(qmp.execute("quit", json!({})).is_err(), "it is gone");
        drop(qmp);
        let told = qemu.join().expect("it read all");
        let told: Vec<Value> = told.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        assert_eq!(told[0]["execute"], "qmp_capabilities");
        assert_eq!(told[2]["arguments"]["up"], false);
    }

    #[test]
    fn a_qemu_that_ended_is_not_waited_for() {
        let folder = tempfile::tempdir().expect("a folder");
        let ended = Qmp::connect(&folder.path().join("qmp"), || bail!("QEMU ended"));
        assert_eq!(ended.expect_err("it ended").to_string(), "QEMU ended");
    }
}
