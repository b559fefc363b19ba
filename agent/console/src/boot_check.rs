//! `nabi boot-check`: waits until this start has shown that it is good, or that it is not. The boot
//! loader keeps or gives up the version by its exit status.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use nabi_domain::boot::{BootFacts, Looks, Seen, TRIAL_SIGN, Trial, Verdict, judge};
use nabi_wire::action::Action;
use nabi_wire::reply::Reply;
use sd_notify::NotifyState;

use crate::client::Client;
use crate::file;
use crate::tls;

/// Between two looks.
const POLL_MS: u64 = 2_000;
/// Until the next look, at most.
const PATIENCE_US: u32 = 600_000_000;
/// For the supervisor's answer, which has the self-test made.
const FACTS_MS_MAX: u64 = 90_000;
/// For the gateway's.
const TLS_MS_MAX: u64 = 30_000;

#[derive(Args)]
pub(crate) struct BootCheck {
    /// Where the gateway listens
    #[arg(long, default_value = "127.0.0.1:443")]
    gateway: SocketAddr,
    /// What keeps this machine from being set up, if there is such a file
    #[arg(long, default_value = "/run/nabi-setup/problem")]
    problem: PathBuf,
    /// What exists while the boot loader counts this start as a try
    #[arg(long, default_value = TRIAL_SIGN)]
    trial_sign: PathBuf,
}

impl BootCheck {
    /// Whether the start is good. Says on standard output what it waits for and what it found.
    pub(crate) async fn run(&self, client: &Client, state: &Path) -> Result<bool> {
        let began = Instant::now();
        // The authority's certificate is made at the first start that serves.
        let served_once = state.join("ca.pem").exists();
        let (mut last, mut looks) = (None, Looks::default());
        loop {
            let trial = trial(&self.trial_sign);
            if trial == Trial::NothingLeft {
                // It is waited for as long as it takes. Without a service manager there is nobody to tell.
                let _ = sd_notify::notify(&[NotifyState::ExtendTimeoutUsec(PATIENCE_US)]);
            }
            let verdict = self.look(trial, client, served_once, began.elapsed().as_secs()).await;
            if last.as_ref() != Some(&verdict) {
                crate::print(&in_words(&verdict))?;
            }
            if let Some(keep) = looks.decide(&verdict) {
                return Ok(keep);
            }
            last = Some(verdict);
            tokio::time::sleep(Duration::from_millis(POLL_MS)).await;
        }
    }

    async fn look(&self, trial: Trial, client: &Client, served_once: bool, waited_s: u64) -> Verdict {
        let problem = file::read(&self.problem);
        let facts = within(FACTS_MS_MAX, facts(client)).await;
        let tls = within(TLS_MS_MAX, self.gateway_answers(client)).await;
        let words = |error: &anyhow::Error| format!("{error:#}");
        let (no_facts, no_tls) =
            (facts.as_ref().err().map(words).unwrap_or_default(), tls.as_ref().err().map(words));
        judge(&Seen {
            trial,
            waited_s,
            problem: problem.as_deref(),
            served_once,
            facts: facts.as_ref().map_err(|_| no_facts.as_str()),
            tls: no_tls.as_deref().map_or(Ok(()), Err),
        })
    }

    async fn gateway_answers(&self, client: &Client) -> Result<()> {
        match client.act(Action::Ca, |_| {}).await? {
            Reply::Ca { certificate_pem, .. } => tls::answers(self.gateway, &certificate_pem).await,
            _ => bail!("the supervisor answers something else"),
        }
    }
}

fn trial(sign: &Path) -> Trial {
    std::fs::read(sign).map_or(Trial::No, |variable| trial_of_variable(&variable))
}

/// By a variable of the firmware: four bytes of attributes, then UTF-16.
fn trial_of_variable(bytes: &[u8]) -> Trial {
    let (words, _) = bytes.get(4..).unwrap_or_default().as_chunks::<2>();
    let path =
        String::from_utf16_lossy(&words.iter().map(|&word| u16::from_le_bytes(word)).collect::<Vec<_>>());
    Trial::of_counted(path.trim_end_matches('\0'))
}

async fn facts(client: &Client) -> Result<BootFacts> {
    match client.act(Action::Boot, |_| {}).await? {
        Reply::Boot(facts) => Ok(facts),
        _ => bail!("the supervisor answers something else"),
    }
}

async fn within<T>(ms_max: u64, doing: impl Future<Output = Result<T>>) -> Result<T> {
    let done = tokio::time::timeout(Duration::from_millis(ms_max), doing).await;
    done.with_context(|| format!("no answer within {ms_max} ms"))?
}

fn in_words(verdict: &Verdict) -> String {
    let (what, each) = match verdict {
        Verdict::Wait { missing } => ("this start is not good yet; missing:", missing),
        Verdict::Good { alarms } if alarms.is_empty() => return "this start is good\n".to_owned(),
        Verdict::Good { alarms } => ("this start is good, but:", alarms),
        Verdict::Bad { reasons } => ("this start is not good:", reasons),
    };
    let lines = each.iter().map(|line| format!("  {line}\n"));
    format!("{what}\n{}", lines.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trial_is_told_by_the_firmwares_variable() {
        let utf16 = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>();
        for (name, expected) in [
            ("/EFI/Linux/nabi_0.1.0+0-4.efi\0", Trial::NothingLeft),
            ("/EFI/Linux/nabi+2-1.efi\0", Trial::Yes),
        ] {
            assert_eq!(trial_of_variable(&[vec![6, 0, 0, 0], utf16(name)].concat()), expected, "{name}");
        }
        assert_eq!(trial_of_variable(&[]), Trial::Yes);
        assert_eq!(trial(Path::new("/nowhere")), Trial::No);
    }

    #[test]
    fn each_verdict_says_why() {
        let lines = || vec!["one".to_owned(), "two".to_owned()];
        for (verdict, words) in [
            (Verdict::Wait { missing: lines() }, "this start is not good yet; missing:\n  one\n  two\n"),
            (Verdict::Good { alarms: vec![] }, "this start is good\n"),
            (Verdict::Good { alarms: lines() }, "this start is good, but:\n  one\n  two\n"),
            (Verdict::Bad { reasons: lines() }, "this start is not good:\n  one\n  two\n"),
        ] {
            assert_eq!(in_words(&verdict), words);
        }
    }
}
