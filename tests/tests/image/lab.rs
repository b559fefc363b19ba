//! What all stories begin with: a flashed disk, a computer, an operator.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context as _, Result, ensure};
use nabi_machine::{Computer, Disk, Machine, Setup, Ssh};
use nabi_tests::appliance::{Client, text};
use nabi_tests::programs::program;
use serde_json::{Value, json};
use tempfile::TempDir;

/// Its name in the site file, which no name server knows.
pub(crate) const HOSTNAME: &str = "nabi.example";
/// The model that is in the image.
pub(crate) const SELF_TEST: &str = "nabi-self-test";
/// A small disk; the file takes only what is written.
const DISK_BYTES: u64 = 12 << 30;
/// The boot loader keeps this version: its tries are not counted any more.
pub(crate) const KEPT: &str = "Finished systemd-bless-boot";
const SITE: &str = "hostname = \"nabi.example\"\n\n[network]\nmdns = false\n";

/// A story's place: a folder for what the screen showed, which stays, and in it one for disks,
/// which goes.
pub(crate) struct Lab {
    folder: PathBuf,
    disks: TempDir,
}

impl Lab {
    pub(crate) fn new(story: &str) -> Result<Self> {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("image").join(story);
        if folder.exists() {
            fs::remove_dir_all(&folder).with_context(|| format!("cannot empty {}", folder.display()))?;
        }
        fs::create_dir_all(&folder)?;
        let disks = tempfile::tempdir_in(&folder)?;
        Ok(Self { folder, disks })
    }

    /// A place for a disk or a stick.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.disks.path().join(name)
    }

    /// The operator, with a key of this lab's.
    pub(crate) fn operator(&self, computer: &Computer) -> Result<Ssh> {
        Ssh::new(self.disks.path(), computer.ssh_port())
    }

    /// A disk as it is bought.
    pub(crate) fn blank_disk(&self) -> Result<Disk> {
        Disk::blank(self.file("flashed.raw"), DISK_BYTES)
    }

    /// A disk as the operator flashes it.
    pub(crate) fn flash(&self, site: &str) -> Result<Disk> {
        let image = std::env::var_os("NABI_IMAGE");
        let image = image.context("NABI_IMAGE names no image: make test-image makes one and does")?;
        let disk = self.blank_disk()?;
        let site_file = self.file("site.toml");
        fs::write(&site_file, site)?;
        // Its port does not matter yet.
        let key = Ssh::new(self.disks.path(), 0)?.public_key();
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../provisioning/flash.sh");
        let mut flash = Command::new(script);
        flash.arg("--device").arg(disk.path()).arg("--image").arg(image);
        flash.arg("--nabi").arg(program("nabi"));
        flash.arg("--site").arg(site_file).arg("--key").arg(key).args(["--yes-erase", "flashed.raw"]);
        let output = flash.output().context("cannot start provisioning/flash.sh")?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(disk)
    }

    /// A computer with this disk; what it shows is in a folder of the disk's name.
    pub(crate) fn computer(&self, disk: Disk) -> Result<Computer> {
        let name = disk.path().file_stem().context("a disk without a name")?;
        let folder = self.folder.join(name);
        fs::create_dir(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        Computer::new(folder, disk)
    }

    /// Another operator's computer than that of the settled disk, with the same key.
    pub(crate) fn settled_computer(&self) -> Result<(Computer, Ssh)> {
        let settled = settled()?;
        let computer = self.computer(settled.disk.copy(self.file("disk.qcow2"))?)?;
        for name in ["admin", "admin.pub", "known_hosts"] {
            fs::copy(settled.lab.file(name), self.file(name))?;
        }
        let operator = self.operator(&computer)?;
        Ok((computer, operator))
    }
}

/// A disk after a first boot that went well, switched off; made once for all stories.
struct Settled {
    lab: Lab,
    disk: Disk,
}

fn settled() -> Result<&'static Settled> {
    static SETTLED: OnceLock<Result<Settled, String>> = OnceLock::new();
    let settle = || -> Result<Settled> {
        let lab = Lab::new("settled")?;
        let computer = lab.computer(lab.flash(SITE)?.copy(lab.file("settled.qcow2"))?)?;
        let operator = lab.operator(&computer)?;
        let mut machine = serving(&computer, &operator, &Setup::default())?.machine;
        machine.wait_for(KEPT)?;
        machine.power_off()?;
        let disk = computer.disk().clone();
        Ok(Settled { lab, disk })
    };
    let settled = SETTLED.get_or_init(|| settle().map_err(|error| format!("{error:#}")));
    settled.as_ref().map_err(|error| anyhow::anyhow!("the first boot, for all others: {error}"))
}

/// A machine that answers.
pub(crate) struct Serving {
    pub(crate) machine: Machine,
    /// The CA's certificate, as `ssh admin@… ca` printed it.
    pub(crate) ca: String,
    /// Who has no key yet.
    pub(crate) client: Client,
}

/// Switches a computer on, and waits until HTTPS answers under the name and the CA that it has.
pub(crate) fn serving(computer: &Computer, operator: &Ssh, setup: &Setup) -> Result<Serving> {
    let machine = computer.boot(setup)?;
    answering(machine, computer, operator)
}

/// Waits until a machine that was switched on answers.
pub(crate) fn answering(mut machine: Machine, computer: &Computer, operator: &Ssh) -> Result<Serving> {
    let ca = machine.wait_until("the CA over SSH", || {
        // A refused login would be one of several that sshd allows.
        operator.answers().then(|| operator.verb("ca").ok()).flatten()
    })?;
    let client = user(computer, &ca, "");
    machine.wait_until("the first answer over HTTPS", || {
        client.try_get("/healthz").filter(|reply| reply.status == 200)
    })?;
    Ok(Serving { machine, ca, client })
}

/// An API user with this key.
pub(crate) fn user(computer: &Computer, ca: &str, key: &str) -> Client {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, computer.https_port()));
    Client::through(address, HOSTNAME, ca, key)
}

/// A verb's reply, as a program reads it.
pub(crate) fn verb(operator: &Ssh, words: &str) -> Result<Value> {
    let printed = operator.verb(&format!("{words} --json"))?;
    serde_json::from_str(&printed).with_context(|| format!("{words} --json prints no JSON: {printed}"))
}

/// The one of this label, of `media list`.
pub(crate) fn find_medium<'a>(listed: &'a Value, label: &str) -> Option<&'a Value> {
    listed["media"].as_array()?.iter().find(|medium| medium["label"] == label)
}

/// A new key's user.
pub(crate) fn new_user(serving: &Serving, operator: &Ssh) -> Result<Client> {
    // A name is given once.
    static USERS: AtomicU32 = AtomicU32::new(1);
    let number = USERS.fetch_add(1, Ordering::Relaxed);
    let added = verb(operator, &format!("key add story-{number}"))?;
    Ok(serving.client.with_key(&text(&added["key_added"]["key"])))
}

/// The same words for the same question, as long as nothing but the question decides.
pub(crate) fn ask(machine: &mut Machine, user: &Client, model: &str) -> Result<String> {
    machine.wait_until(&format!("an answer of {model}"), || {
        let reply = user.say(model, "안녕하세요", json!({"temperature": 0, "max_tokens": 8}));
        // It may still load.
        (reply.status == 200).then(|| reply.text())
    })
}

/// Checks that a machine serves all that a new one does.
pub(crate) fn check_serves(computer: &Computer, operator: &Ssh, setup: &Setup) -> Result<Serving> {
    let mut serving = serving(computer, operator, setup)?;
    check_answers(&mut serving, operator)?;
    Ok(serving)
}

/// Checks that the model of the image answers a new user.
pub(crate) fn check_answers(serving: &mut Serving, operator: &Ssh) -> Result<()> {
    let user = new_user(serving, operator)?;
    let answer = ask(&mut serving.machine, &user, SELF_TEST)?;
    ensure!(!answer.is_empty(), "the self-test model says nothing");
    Ok(())
}

/// The stories' site file.
pub(crate) fn site() -> &'static str {
    SITE
}
