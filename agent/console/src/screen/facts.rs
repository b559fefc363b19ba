//! What the screen shows, gathered from the machine and the supervisor.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use nabi_wire::action::Action;
use nabi_wire::reply::{Reply, Status};
use nix::ifaddrs::getifaddrs;
use sha2::{Digest as _, Sha256};

use crate::client::Client;
use crate::file;

/// For the supervisor's answer.
const ANSWER_MS_MAX: u64 = 10_000;

/// All that the screen shows.
#[derive(Debug)]
pub(super) struct Facts {
    pub(super) host: String,
    /// Those at which others can reach this machine.
    pub(super) addresses: BTreeSet<IpAddr>,
    /// `SHA256:…`, as SSH clients show it.
    pub(super) host_key: Option<String>,
    /// Why the machine is not set up, and what to do.
    pub(super) problem: Option<String>,
    /// What the supervisor says, or why it does not.
    pub(super) supervisor: Result<Supervisor, String>,
}

#[derive(Debug)]
pub(super) struct Supervisor {
    pub(super) status: Status,
    /// Of the authority's certificate.
    pub(super) ca_sha256: String,
}

impl Facts {
    pub(super) async fn gather(client: &Client, host_key: &Path, problem: &Path) -> Self {
        let asked = tokio::time::timeout(Duration::from_millis(ANSWER_MS_MAX), ask(client)).await;
        let supervisor = match asked {
            Ok(answer) => answer.map_err(|error| in_words(&error)),
            Err(_) => Err(format!("no answer within {ANSWER_MS_MAX} ms")),
        };
        Self {
            host: nix::unistd::gethostname().unwrap_or_default().to_string_lossy().into_owned(),
            addresses: addresses(),
            host_key: file::read(host_key).and_then(|key| fingerprint(&key)),
            problem: file::read(problem),
            supervisor,
        }
    }
}

/// For somebody before the machine, where the way to start a supervisor by hand is of no use.
fn in_words(error: &anyhow::Error) -> String {
    let cause = error.root_cause();
    match cause.downcast_ref::<io::Error>().map(io::Error::kind) {
        Some(io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => "it does not run yet".to_owned(),
        _ => cause.to_string(),
    }
}

async fn ask(client: &Client) -> Result<Supervisor> {
    let other = "the supervisor answers something else";
    let Reply::Status(status) = client.act(Action::Status, |_| {}).await? else { bail!(other) };
    let Reply::Ca { sha256, .. } = client.act(Action::Ca, |_| {}).await? else { bail!(other) };
    Ok(Supervisor { status, ca_sha256: sha256 })
}

fn addresses() -> BTreeSet<IpAddr> {
    let found = getifaddrs().into_iter().flatten().filter_map(|interface| {
        let address = interface.address?;
        let v4 = address.as_sockaddr_in().map(|v4| IpAddr::from(v4.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::from(v6.ip())))
    });
    found.filter(is_reachable).collect()
}

/// Not this machine alone, and not only with the name of an interface beside it.
fn is_reachable(address: &IpAddr) -> bool {
    let local = match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    !local && !address.is_loopback() && !address.is_unspecified()
}

/// As `ssh-keygen -l` has it, of a line `TYPE BASE64 COMMENT`.
fn fingerprint(public_key: &str) -> Option<String> {
    let key = public_key.split_whitespace().nth(1)?;
    let key = STANDARD.decode(key).ok()?;
    Some(format!("SHA256:{}", STANDARD_NO_PAD.encode(Sha256::digest(key))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_key_has_the_fingerprint_that_ssh_clients_show() {
        let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f nabi";
        let shown = fingerprint(key).expect("a key");
        assert_eq!(shown, "SHA256:ZkAslGjFiUHdGf/WUL8rQvkib4PTvQatUV0OUQSncCA");
        for damaged in ["", "ssh-ed25519", "ssh-ed25519 !!!"] {
            assert_eq!(fingerprint(damaged), None, "{damaged}");
        }
    }

    #[test]
    fn only_addresses_that_others_can_use_are_shown() {
        for (address, shown) in [
            ("192.168.1.20", true),
            ("2001:db8::1", true),
            ("127.0.0.1", false),
            ("::1", false),
            ("169.254.3.4", false),
            ("fe80::1", false),
        ] {
            assert_eq!(is_reachable(&address.parse().expect("an address")), shown, "{address}");
        }
    }
}
