//! `nabi screen`: what somebody who stands before the machine, or at its serial line, needs to know.
//! It reads no key: there is nothing to log in to.

mod facts;
mod render;

use std::io::{self, IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Args;
use nix::sys::termios::{InputFlags, LocalFlags, SetArg, tcgetattr, tcsetattr};

use crate::client::Client;
use crate::screen::facts::Facts;

/// Between two looks.
const POLL_MS: u64 = 2_000;

#[derive(Args)]
pub(crate) struct Screen {
    /// The terminal that standard output leads to: tty1, ttyS0
    terminal: String,
    /// The public part of SSH's host key
    #[arg(long, default_value = "/var/lib/nabi/ssh/ssh_host_ed25519_key.pub")]
    host_key: PathBuf,
    /// What keeps this machine from being set up, if there is such a file
    #[arg(long, default_value = "/run/nabi-setup/problem")]
    problem: PathBuf,
}

impl Screen {
    /// Shows how things are, anew with each change. For ever.
    pub(crate) async fn run(&self, client: &Client) -> Result<()> {
        // What is typed goes nowhere, and must neither disturb nor hold up what is shown.
        if io::stdout().is_terminal()
            && let Err(error) = deafen()
        {
            crate::complain(&format!("{} shows what is typed: {error}", self.terminal));
        }
        let mut shown = String::new();
        loop {
            let text = render::screen(&Facts::gather(client, &self.host_key, &self.problem).await);
            if text != shown {
                let before = if is_screen(&self.terminal) { CLEAR } else { "\n" };
                let mut out = io::stdout();
                let written = out.write_all(format!("{before}{text}").as_bytes()).and_then(|()| out.flush());
                written.with_context(|| format!("cannot write to {}", self.terminal))?;
                shown = text;
            }
            tokio::time::sleep(Duration::from_millis(POLL_MS)).await;
        }
    }
}

/// Has the terminal neither show what is typed nor stop at Ctrl-S.
fn deafen() -> nix::Result<()> {
    let mut settings = tcgetattr(io::stdout())?;
    settings.local_flags.remove(LocalFlags::ECHO);
    settings.input_flags.remove(InputFlags::IXON);
    tcsetattr(io::stdout(), SetArg::TCSANOW, &settings)
}

/// Clears the screen, and begins at its top (ECMA-48).
const CLEAR: &str = "\x1b[2J\x1b[H";

/// Whether a terminal is a screen that shows the last text alone. A serial line may be a log: there
/// each text follows the one before.
fn is_screen(terminal: &str) -> bool {
    terminal.strip_prefix("tty").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::is_screen;

    #[test]
    fn virtual_terminals_are_screens_and_serial_lines_are_not() {
        for (terminal, screen) in
            [("tty1", true), ("tty12", true), ("ttyS0", false), ("ttyAMA0", false), ("hvc0", false)]
        {
            assert_eq!(is_screen(terminal), screen, "{terminal}");
        }
    }
}
