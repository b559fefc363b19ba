//! A disk that is a file, and a small image for it: a FAT partition for the boot loader, and a root.

use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nabi_tests::programs::program;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tempfile::TempDir;

/// The least that flash.sh accepts. Sparse: on the real disk it takes what is written.
pub(crate) const DISK_BYTES: u64 = 7 << 30;
const IMAGE_BYTES: u64 = 8 << 20;
const FAT_START: u64 = 1 << 20;
const ROOT_START: u64 = 5 << 20;
const ROOT_BYTES: usize = 2 << 20;
const PARTITIONS: &str = "start=2048, size=8192, type=uefi\n\
    start=10240, size=4096, type=4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709\n";

pub(crate) fn argument(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

pub(crate) fn repository(path: &str) -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).join(path)
}

fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn fat(path: &Path) -> String {
    format!("{}@@{FAT_START}", path.display())
}

fn part(path: &Path, start: u64, bytes: usize) -> Vec<u8> {
    let mut part = vec![0; bytes];
    let mut file = File::open(path).expect("a disk");
    file.seek(SeekFrom::Start(start)).and_then(|_| file.read_exact(&mut part)).expect("a part of it");
    part
}

/// Of the partition table, then of each partition.
fn identifiers(path: &Path) -> Vec<String> {
    let output = Command::new("/usr/sbin/sfdisk").arg("--dump").arg(path).output().expect("sfdisk runs");
    let table = String::from_utf8(output.stdout).expect("text");
    let table = table.replace("label-id: ", "uuid=");
    let values = table.split("uuid=").skip(1).filter_map(|rest| rest.split(['\n', ',']).next());
    values.map(|value| value.trim().to_owned()).collect()
}

/// `test.raw.zst` in a folder of its own.
pub(crate) struct Image(TempDir);

impl Image {
    pub(crate) fn new() -> Self {
        Self::of(PARTITIONS)
    }

    pub(crate) fn of(partitions: &str) -> Self {
        let image = Self(TempDir::new().expect("a folder"));
        let raw = image.raw();
        let mut file = File::create(&raw).expect("an image");
        file.set_len(IMAGE_BYTES).expect("an image");
        let root: Vec<u8> = (0..ROOT_BYTES).map(|index| (index / 3) as u8).collect();
        file.seek(SeekFrom::Start(ROOT_START)).and_then(|_| file.write_all(&root)).expect("a root");
        let mut sfdisk = Command::new("/usr/sbin/sfdisk")
            .args(["--quiet", "--no-tell-kernel"])
            .arg(&raw)
            .stdin(Stdio::piped())
            .spawn()
            .expect("sfdisk runs");
        sfdisk
            .stdin
            .take()
            .expect("a pipe")
            .write_all(format!("label: gpt\n{partitions}\n").as_bytes())
            .expect("it reads");
        assert!(sfdisk.wait().expect("it ends").success());
        run(Command::new("/usr/sbin/mkfs.vfat").args(["--offset", "2048", argument(&raw), "4096"]));
        let loader = image.0.path().join("loader.txt");
        fs::write(&loader, "the boot loader\n").expect("a file");
        run(Command::new("mcopy").args(["-i", &fat(&raw), argument(&loader), "::/loader.txt"]));
        run(Command::new("zstd").args(["-q", argument(&raw), "-o", argument(&image.packed())]));
        image
    }

    fn raw(&self) -> PathBuf {
        self.0.path().join("test.raw")
    }

    pub(crate) fn packed(&self) -> PathBuf {
        self.0.path().join("test.raw.zst")
    }

    pub(crate) fn root(&self) -> Vec<u8> {
        part(&self.raw(), ROOT_START, ROOT_BYTES)
    }

    pub(crate) fn identifiers(&self) -> Vec<String> {
        identifiers(&self.raw())
    }

    pub(crate) fn sha256(&self) -> String {
        let output = Command::new("sha256sum").arg(self.packed()).output().expect("sha256sum runs");
        String::from_utf8_lossy(&output.stdout).split(' ').next().expect("a sum").to_owned()
    }

    /// Publishes a checksum beside the image.
    pub(crate) fn sums(&self, sha256: &str) {
        let line = format!("{}  other\n{sha256}  test.raw.zst\n", "0".repeat(64));
        fs::write(self.0.path().join("SHA256SUMS"), line).expect("a file");
    }
}

/// How flash.sh ended.
pub(crate) struct Flashed {
    pub(crate) success: bool,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// flash.sh while it runs, as the leader of a process group. It does not outlive a test that fails.
pub(crate) struct Running(Option<Child>);

impl Running {
    fn child(&mut self) -> &mut Child {
        self.0.as_mut().expect("it was not waited for")
    }

    pub(crate) fn assert_runs(&mut self) {
        assert!(self.child().try_wait().expect("a status").is_none(), "it ended by itself");
    }

    /// As a terminal does: each process of the group.
    pub(crate) fn interrupt(&mut self) {
        killpg(Pid::from_raw(self.child().id().cast_signed()), Signal::SIGTERM).expect("it runs");
    }

    pub(crate) fn end(mut self) -> Flashed {
        let child = self.0.take().expect("it was not waited for");
        let output = child.wait_with_output().expect("it ends");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Flashed {
            success: output.status.success(),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            // It may have ended.
            let _ = killpg(Pid::from_raw(child.id().cast_signed()), Signal::SIGKILL);
            let _ = child.wait();
        }
    }
}

/// A disk in a folder that has other files, too.
pub(crate) struct Disk(TempDir);

impl Disk {
    pub(crate) fn new() -> Self {
        Self::of(DISK_BYTES)
    }

    pub(crate) fn of(bytes: u64) -> Self {
        let disk = Self(TempDir::new().expect("a folder"));
        File::create(disk.path()).and_then(|file| file.set_len(bytes)).expect("a disk");
        disk
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.0.path().join("disk")
    }

    pub(crate) fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, text).expect("a file");
        path
    }

    /// Puts a program before the system's own.
    pub(crate) fn program(&self, name: &str, script: &str) {
        fs::create_dir_all(self.0.path().join("programs")).expect("a folder");
        let path = self.file(&format!("programs/{name}"), script);
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("a program");
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.path().join(name).exists()
    }

    pub(crate) fn pipe(&self, name: &str) {
        run(Command::new("mkfifo").arg(self.0.path().join(name)));
    }

    pub(crate) fn flash(&self, image: &Image, arguments: &[&str]) -> Flashed {
        self.start(image, arguments).end()
    }

    /// Starts flash.sh. Later arguments overrule earlier ones.
    pub(crate) fn start(&self, image: &Image, arguments: &[&str]) -> Running {
        let path = format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", self.0.path().join("programs").display());
        let child = Command::new(repository("provisioning/flash.sh"))
            .args(["--nabi", argument(&program("nabi"))])
            .args(["--device", argument(&self.path()), "--image", argument(&image.packed())])
            .args(arguments)
            .env("PATH", path)
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("flash.sh runs");
        Running(Some(child))
    }

    /// A file on the FAT partition; nothing if there is none.
    pub(crate) fn fat(&self, name: &str) -> String {
        let source = format!("::/{name}");
        let output =
            Command::new("mtype").args(["-i", &fat(&self.path()), &source]).output().expect("mtype runs");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    pub(crate) fn identifiers(&self) -> Vec<String> {
        identifiers(&self.path())
    }

    pub(crate) fn root(&self) -> Vec<u8> {
        part(&self.path(), ROOT_START, ROOT_BYTES)
    }

    /// Whether nothing was written where an image begins.
    pub(crate) fn is_untouched(&self) -> bool {
        part(&self.path(), 0, 1 << 20).iter().all(|&byte| byte == 0)
    }
}
