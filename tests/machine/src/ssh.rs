//! The operator, at another computer.

use std::fs;
use std::io::ErrorKind;
use std::io::Read as _;
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::tool;

/// How an SSH server's first line begins.
const BANNER: &[u8] = b"SSH-2.0-";
/// For that line: sshd says it at once, but the computer may be busy with its start.
const BANNER_S_MAX: u64 = 30;
/// Emulation makes the exchange of keys slow.
const CONNECT_S_MAX: u32 = 120;

/// Reaches a computer with a key of its own, and knows the host keys that it saw.
#[derive(Debug)]
pub struct Ssh {
    folder: PathBuf,
    port: u16,
}

impl Ssh {
    /// Makes a key in a folder that exists, unless it has one.
    ///
    /// # Errors
    /// When ssh-keygen fails.
    pub fn new(folder: impl Into<PathBuf>, port: u16) -> Result<Self> {
        let ssh = Self::at(folder, port);
        if !ssh.key().exists() {
            let mut keygen = Command::new("ssh-keygen");
            keygen.args(["-q", "-t", "ed25519", "-N", "", "-C", "operator@example", "-f"]).arg(ssh.key());
            tool::run(&mut keygen)?;
        }
        Ok(ssh)
    }

    /// With the key that the folder has, or will have.
    pub fn at(folder: impl Into<PathBuf>, port: u16) -> Self {
        Self { folder: folder.into(), port }
    }

    fn key(&self) -> PathBuf {
        self.folder.join("admin")
    }

    /// The public key's file.
    pub fn public_key(&self) -> PathBuf {
        self.folder.join("admin.pub")
    }

    /// Whether an SSH server answers there now.
    pub fn answers(&self) -> bool {
        let mut banner = [0; BANNER.len()];
        let connected = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).and_then(|mut stream| {
            stream.set_read_timeout(Some(Duration::from_secs(BANNER_S_MAX)))?;
            stream.read_exact(&mut banner)
        });
        connected.is_ok() && banner == BANNER
    }

    /// Has a program of OpenSSH's (`ssh`, `scp`, `sftp`) with the options that both sides need.
    pub fn program(&self, name: &str) -> Command {
        let mut command = Command::new(name);
        command.args(["-F", "none", "-i"]).arg(self.key());
        let known = format!("UserKnownHostsFile={}", self.known_hosts().display());
        let connect = format!("ConnectTimeout={CONNECT_S_MAX}");
        let port = format!("Port={}", self.port);
        for option in [
            "BatchMode=yes",
            "IdentitiesOnly=yes",
            "GlobalKnownHostsFile=none",
            // The first time the operator compares it with the screen; a changed one is refused.
            "StrictHostKeyChecking=accept-new",
            "HostKeyAlias=nabi",
            "LogLevel=ERROR",
            "ServerAliveInterval=60",
            "ServerAliveCountMax=10",
            &known,
            &connect,
            &port,
        ] {
            command.args(["-o", option]);
        }
        command
    }

    /// What the command ended with, however it ended.
    ///
    /// # Errors
    /// When ssh cannot be started.
    pub fn try_verb(&self, user: &str, verb: &str) -> Result<Output> {
        tool::output(self.program("ssh").args(["-T", "-n"]).arg(format!("{user}@127.0.0.1")).arg(verb))
    }

    /// What the admin's verb printed.
    ///
    /// # Errors
    /// When it failed: with what it said.
    pub fn verb(&self, verb: &str) -> Result<String> {
        let Output { status, stdout, stderr } = self.try_verb("admin", verb)?;
        let stdout = String::from_utf8(stdout).with_context(|| format!("{verb:?} prints no text"))?;
        if !status.success() {
            bail!("ssh admin@ {verb} ended with {status}: {stdout}{}", String::from_utf8_lossy(&stderr));
        }
        Ok(stdout)
    }

    /// The SHA-256 of the host's key, `SHA256:…`, as `ssh` shows it.
    ///
    /// # Errors
    /// When it was never reached.
    pub fn host_key_fingerprint(&self) -> Result<String> {
        let listed = tool::run(Command::new("ssh-keygen").arg("-lf").arg(self.known_hosts()))?;
        let listed = String::from_utf8(listed).context("ssh-keygen prints no text")?;
        let fingerprint = listed.split_ascii_whitespace().find(|word| word.starts_with("SHA256:"));
        Ok(fingerprint.with_context(|| format!("no fingerprint in {listed:?}"))?.to_owned())
    }

    /// Takes the next host key for right, as of a computer that is new.
    ///
    /// # Errors
    /// When the file cannot be removed.
    pub fn forget_hosts(&self) -> Result<()> {
        match fs::remove_file(self.known_hosts()) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error).context("the known hosts stay"),
            _ => Ok(()),
        }
    }

    fn known_hosts(&self) -> PathBuf {
        self.folder.join("known_hosts")
    }

    /// Where its files are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}
