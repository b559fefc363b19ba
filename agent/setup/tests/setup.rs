//! The program on a machine that is a folder: what it leaves there, and what it makes of what it finds.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use nabi_wire::config::{SiteConfig, read};
use tempfile::TempDir;

const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIMLQ5tLZyu+7KdbTlZP2a1Xpnm6zddtMNrkt/qg+FJWM hana@ministry\n";
const HOST_KEY: &str = "var/lib/nabi/ssh/ssh_host_ed25519_key";
const TAKEN: &str = "var/lib/nabi/site/taken.json";
const PROBLEM: &str = "run/nabi-setup/problem";

struct Machine(TempDir);

impl Machine {
    fn new() -> Self {
        let machine = Self(TempDir::new().expect("a folder"));
        for folder in ["boot/nabi", "var/lib/nabi", "proc/sys/kernel"] {
            fs::create_dir_all(machine.path(folder)).expect("a folder");
        }
        machine
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    fn put(&self, path: &str, bytes: impl AsRef<[u8]>) -> &Self {
        let path = self.path(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(&path, bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        self
    }

    fn says(&self, path: &str) -> String {
        let path = self.path(path);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// As at a boot: what `/run` had is gone.
    fn boot(&self) -> Output {
        let run = self.path("run");
        if run.exists() {
            fs::remove_dir_all(&run).expect("an empty /run");
        }
        fs::create_dir(&run).expect("/run");
        self.run_again()
    }

    fn run_again(&self) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nabi-setup"));
        let output = command.arg("--root").arg(self.0.path()).env_clear().output().expect("it runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output
    }

    /// The files below `/run`.
    fn run_files(&self) -> Vec<String> {
        let mut files = Vec::new();
        let mut folders = vec![self.path("run")];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).expect("a folder") {
                let path = entry.expect("an entry").path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    let path = path.strip_prefix(self.path("run")).expect("below /run");
                    files.push(path.display().to_string());
                }
            }
        }
        files.sort();
        files
    }

    fn assert_held_back(&self, reason: &str) {
        let text = self.says(PROBLEM);
        assert!(text.contains(reason), "{text}");
        assert_eq!(self.run_files(), ["nabi-setup/problem"], "nothing opens the machine");
        assert!(!self.path(TAKEN).exists());
    }

    fn assert_set_up(&self, hostname: &str) {
        assert!(!self.path(PROBLEM).exists(), "{}", self.says(PROBLEM));
        assert_eq!(self.says("proc/sys/kernel/hostname"), hostname);
        assert_eq!(public_of(&self.path(HOST_KEY)), self.says(&format!("{HOST_KEY}.pub")).trim_end());
    }
}

/// The public part of a private key.
fn public_of(path: &Path) -> String {
    let output = Command::new("ssh-keygen").args(["-y", "-f"]).arg(path).output().expect("ssh-keygen runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("a text").trim_end().to_owned()
}

#[test]
fn the_first_starts_machine_id_is_kept() {
    let (first, second) = ("0123456789abcdef0123456789abcdef\n", "ffffffffffffffffffffffffffffffff\n");
    let machine = Machine::new();
    machine.put("etc/machine-id", "uninitialized\n").boot();
    assert!(!machine.path("var/lib/dbus/machine-id").exists());
    for id in [first, second] {
        // Also of a machine that is not set up.
        machine.put("etc/machine-id", id).boot();
        assert_eq!(machine.says("var/lib/dbus/machine-id"), first);
    }
}

#[test]
fn a_file_that_windows_named_is_not_passed_over() {
    let machine = Machine::new();
    machine.put("boot/nabi/admin.pub", KEY).put("boot/nabi/site.toml.txt", "hostname = 'a'");
    machine.put("boot/nabi/System Volume Information/x", "").boot();
    let problem = machine.says(PROBLEM);
    assert!(problem.contains("site.toml.txt") && !problem.contains("System"), "{problem}");
    assert!(!machine.path(TAKEN).exists());
}

#[test]
fn a_key_alone_sets_a_machine_up() {
    let machine = Machine::new();
    machine.put("boot/nabi/admin.pub", KEY).boot();
    machine.assert_set_up("nabi");
    let expected = [
        "nabi-setup/admin_keys",
        "nabi-setup/nftables.conf",
        "nabi-setup/site.json",
        "systemd/network/10-nabi-ethernet.network",
        "systemd/resolved.conf.d/10-nabi.conf",
        "systemd/timesyncd.conf.d/10-nabi.conf",
    ];
    assert_eq!(machine.run_files(), expected);
    let (bare, _) = KEY.rsplit_once(' ').expect("a comment");
    assert_eq!(machine.says("run/nabi-setup/admin_keys"), format!("restrict,pty {bare}\n"));
    let mode = |path| fs::metadata(machine.path(path)).expect("a file").permissions().mode() & 0o777;
    assert_eq!((mode(HOST_KEY), mode(TAKEN)), (0o600, 0o600));
}

#[test]
fn the_supervisor_is_told_what_to_serve() {
    let machine = Machine::new();
    let site = "hostname = 'ai'\nlanguage = 'ko'\ntime.enabled = false\n[[model]]\nname = 'DeepSeek-V3'\n\
                sequences = 8\n[[interface]]\nname = 'eno1'\naddresses = ['10.0.0.5/24']\n";
    machine.put("boot/nabi/site.toml", site).put("boot/nabi/admin.pub", KEY).boot();
    machine.assert_set_up("ai");
    let config: SiteConfig = read(&machine.path("run/nabi-setup/site.json")).expect("a configuration");
    assert_eq!((config.hostname.as_str(), config.language.as_str()), ("ai", "ko"));
    let [serve] = &config.serve[..] else { panic!("one model") };
    assert_eq!((serve.name.as_str(), serve.settings.sequences), ("DeepSeek-V3", Some(8)));
    assert_eq!(serve.settings.context_tokens, None);
    let files = machine.run_files();
    assert!(files.contains(&"nabi-setup/time-off".to_owned()), "{files:?}");
    assert!(!files.iter().any(|file| file.contains("timesyncd")), "{files:?}");
}

#[test]
fn what_was_taken_once_is_not_looked_for_again() {
    let machine = Machine::new();
    machine.put("boot/nabi/site.toml", "hostname = 'first'").put("boot/nabi/admin.pub", KEY).boot();
    let (host_key, run) = (machine.says(HOST_KEY), machine.run_files());
    machine.put("boot/nabi/site.toml", "hostname = 'second'").put("boot/nabi/admin.pub", "nonsense").boot();
    machine.assert_set_up("first");
    fs::remove_dir_all(machine.path("boot/nabi")).expect("a disk without these files");
    machine.boot();
    machine.assert_set_up("first");
    assert_eq!((machine.says(HOST_KEY), machine.run_files()), (host_key, run));
}

#[test]
fn a_machine_that_is_not_set_up_stays_closed_until_it_is() {
    let machine = Machine::new();
    machine.boot();
    machine.assert_held_back("there is no nabi/admin.pub");
    machine
        .put("boot/nabi/admin.pub", KEY)
        .put("boot/nabi/site.toml", "hostname = 'a'\nlanguage = '?'\n")
        .boot();
    machine.assert_held_back("nabi/site.toml, line 2, column 12: \"?\" is not a language tag");
    machine.put("boot/nabi/site.toml", "\u{feff}hostname = 'a'\r\n").run_again();
    machine.assert_set_up("a");
    // An interface that is gone from the site leaves nothing behind, nor does what another program wrote go.
    machine
        .put("run/systemd/network/10-nabi-old.network", "")
        .put("run/systemd/network/50-other.network", "");
    machine.run_again();
    let files = machine.run_files();
    let networks: Vec<&String> = files.iter().filter(|file| file.ends_with(".network")).collect();
    assert_eq!(networks, ["systemd/network/10-nabi-ethernet.network", "systemd/network/50-other.network"]);
}

#[test]
fn whatever_lies_on_the_fat_partition_the_machine_comes_up() {
    let machine = Machine::new();
    machine.put("boot/nabi/admin.pub", KEY);
    let site = machine.path("boot/nabi/site.toml");
    fs::create_dir(&site).expect("a folder");
    machine.boot();
    machine.assert_held_back("nabi/site.toml cannot be read: it is not a plain file");
    fs::remove_dir(&site).expect("no folder");

    let made = Command::new("mkfifo").arg(&site).status().expect("mkfifo runs");
    assert!(made.success());
    machine.boot();
    machine.assert_held_back("nabi/site.toml cannot be read: it is not a plain file");
    fs::remove_file(&site).expect("no pipe");

    symlink("/etc/passwd", &site).expect("a link");
    machine.boot();
    machine.assert_held_back("nabi/site.toml cannot be read: ");
    fs::remove_file(&site).expect("no link");

    // Sparse: larger than the machine's memory.
    fs::File::create(&site).and_then(|file| file.set_len(1 << 40)).expect("a huge file");
    machine.boot();
    machine.assert_held_back("nabi/site.toml, line 1, column 1: the file has more than 65536 bytes");
    machine.put("boot/nabi/site.toml", b"hostname = '\xff'").boot();
    machine.assert_held_back("nabi/site.toml, line 1, column 13: this byte is not UTF-8");
}

/// Each thing that an interrupted first boot may have left on the disk.
#[test]
fn power_may_go_at_any_moment_of_the_first_boot() {
    let left_overs: [&[&str]; 6] = [
        &["var/lib/nabi/ssh/.new-host-key"],
        &["var/lib/nabi/ssh/.new-host-key", "var/lib/nabi/ssh/.new-host-key.pub"],
        &["var/lib/nabi/ssh/.new-host-key", "var/lib/nabi/ssh/ssh_host_ed25519_key.pub"],
        &["var/lib/nabi/site/.new-taken.json"],
        &["run/nabi-setup/admin_keys", "run/nabi-setup/nftables.conf"],
        &["run/systemd/network/10-nabi-ethernet.network"],
    ];
    for left_over in left_overs {
        let machine = Machine::new();
        machine.put("boot/nabi/admin.pub", KEY);
        for path in left_over {
            machine.put(path, "half");
        }
        machine.run_again();
        machine.assert_set_up("nabi");
        let files = machine.run_files();
        assert!(files.iter().all(|file| !machine.says(&format!("run/{file}")).contains("half")), "{files:?}");
    }
}

#[test]
fn a_disk_that_takes_nothing_is_said_on_the_screen() {
    let machine = Machine::new();
    machine.put("boot/nabi/admin.pub", KEY);
    // Where the new file should be, so that not even root can write it.
    machine.put("var/lib/nabi/site/.new-taken.json/in-the-way", "").boot();
    machine.assert_held_back("cannot write");
    // What was kept and is damaged is not nothing: the machine is not open to the next who brings a key.
    machine.put(TAKEN, "{\"site\":").boot();
    let text = machine.says(PROBLEM);
    assert!(text.contains("what this machine kept of its set-up cannot be used"), "{text}");
    assert_eq!(machine.run_files(), ["nabi-setup/problem"]);
}

#[test]
fn what_was_half_told_to_the_services_is_taken_back() {
    let machine = Machine::new();
    fs::remove_dir_all(machine.path("proc/sys")).expect("a kernel that takes no name");
    machine.put("boot/nabi/admin.pub", KEY).boot();
    let text = machine.says(PROBLEM);
    assert!(text.contains("cannot write") && text.contains("proc/sys/kernel/hostname"), "{text}");
    assert_eq!(machine.run_files(), ["nabi-setup/problem"]);
}

/// The packet filter's own reader takes what the image has together with what is rendered.
#[test]
fn the_packet_filter_understands_its_rules() {
    let base = include_str!("../../../image/mkosi.extra/etc/nftables.conf");
    let include = "include \"/run/nabi-setup/nftables.conf*\"";
    assert!(base.contains(include), "the image includes what is rendered");
    let listed = include_str!("../../domain/src/site/tests/listed.toml");
    let all = "network.answer_ping = true\ntime.servers = ['time.example']\n";
    for site in ["", listed, all, "network.mdns = false\ntime.enabled = false\n"] {
        let machine = Machine::new();
        machine.put("boot/nabi/admin.pub", KEY).put("boot/nabi/site.toml", site).boot();
        machine.assert_set_up("nabi");
        // The users are the image's: this machine may lack them.
        let mut rules = base.replace(include, &machine.says("run/nabi-setup/nftables.conf"));
        for user in ["systemd-network", "systemd-resolve", "systemd-timesync"] {
            rules = rules.replace(&format!("\"{user}\""), "65534");
        }
        let closed = base.replace(include, &format!("include \"{}*\"", machine.path("absent").display()));
        for rules in [rules, closed] {
            let said = nft_check(&rules);
            assert_eq!(said, "", "{rules}");
        }
        assert_ne!(nft_check("table inet nabi { chain input { tcp dport 443 acept } }"), "");
    }
}

/// What nft says against rules, in a network of its own.
fn nft_check(rules: &str) -> String {
    let mut nft = Command::new("unshare")
        .args(["--map-root-user", "--net", "/usr/sbin/nft", "--check", "--file", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("unshare runs");
    nft.stdin.take().expect("a pipe").write_all(rules.as_bytes()).expect("it reads");
    let output = nft.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.success(), said.is_empty(), "{said}");
    said
}
