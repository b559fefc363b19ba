//! The image's script that attaches sticks, with stand-ins for the programs that ask the system and mount.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// What stands in: it writes down its arguments, then does this.
const PROGRAMS: [(&str, &str); 6] = [
    // udevadm info --query=property --property=KEY --value /dev/DEVICE
    ("udevadm", r#"cat "$FAKES/${5##*/}.${3#--property=}" 2>/dev/null || true"#),
    // lsblk --noheadings --raw --output PKNAME /dev/DEVICE
    ("lsblk", r#"case $5 in /dev/sda*) echo sda ;; *) echo ;; esac"#),
    ("findmnt", "echo /dev/sda5"),
    // mount -t TYPE -o OPTIONS DEVICE FOLDER
    ("mount", r#"[ "$5" != /dev/broken ] || { echo "mount: $6: bad superblock" >&2; exit 32; }"#),
    ("umount", ":"),
    ("blockdev", ":"),
];

struct Bench {
    folder: TempDir,
}

impl Bench {
    fn new() -> Self {
        let bench = Self { folder: tempfile::tempdir().expect("a temporary folder") };
        fs::create_dir_all(bench.media(".about")).expect("a folder");
        for (name, does) in PROGRAMS {
            let path = bench.folder.path().join(name);
            let log = format!("echo {name} \"$@\" >>\"$FAKES/log\"");
            fs::write(&path, format!("#!/bin/sh\n{log}\n{does}\n")).expect("written");
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("set");
        }
        bench
    }

    fn media(&self, name: &str) -> PathBuf {
        self.folder.path().join("media").join(name)
    }

    /// What udev knows of a device.
    fn device(&self, device: &str, file_system: &str, label: &str, uuid: &str) {
        for (key, value) in [("ID_FS_TYPE", file_system), ("ID_FS_LABEL", label), ("ID_FS_UUID_ENC", uuid)] {
            fs::write(self.folder.path().join(format!("{device}.{key}")), value).expect("written");
        }
    }

    fn run(&self, verb: &str, device: &str) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../image/mkosi.extra/usr/lib/nabi/media");
        let mut sh = Command::new("sh");
        sh.arg(script)
            .arg(verb)
            .arg(self.folder.path().join("media"))
            .arg(device)
            .env("FAKES", self.folder.path());
        sh.env("PATH", format!("{}:/usr/bin:/bin", self.folder.path().display()));
        let output = sh.output().expect("sh runs");
        assert!(output.status.success() && output.stderr.is_empty(), "{verb} {device}: {output:?}");
    }

    /// How `mount` was called, for all devices until now.
    fn mounts(&self) -> Vec<String> {
        self.log().lines().filter(|line| line.starts_with("mount ")).map(str::to_owned).collect()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    fn about(&self, name: &str) -> String {
        fs::read_to_string(self.media(".about").join(name)).unwrap_or_default()
    }

    /// What is in the folder of media.
    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.media("")).expect("the folder");
        let mut names: Vec<_> =
            entries.map(|entry| entry.expect("readable").file_name().into_string().expect("text")).collect();
        names.sort();
        names
    }
}

#[test]
fn a_stick_is_mounted_so_that_it_cannot_be_written_or_run() {
    let bench = Bench::new();
    bench.device("sdb1", "ext4", "MODELS", "11-22");
    bench.device("sdc1", "vfat", "", "AA-BB");
    bench.device("sdd", "exfat", "MODELS", "33-44");
    for device in ["sdb1", "sdc1", "sdd"] {
        bench.run("attach", device);
    }
    let folder = |name: &str| bench.media(name).display().to_string();
    assert_eq!(
        bench.mounts(),
        [
            format!(
                "mount -t ext4 -o ro,nosuid,nodev,noexec,noload,errors=continue /dev/sdb1 {}",
                folder("11-22")
            ),
            format!("mount -t vfat -o ro,nosuid,nodev,noexec,utf8 /dev/sdc1 {}", folder("AA-BB")),
            format!("mount -t exfat -o ro,nosuid,nodev,noexec,iocharset=utf8 /dev/sdd {}", folder("33-44")),
        ]
    );
    assert!(bench.log().contains("blockdev --setro /dev/sdb1\nmount -t ext4"), "{}", bench.log());
    assert_eq!(bench.about("11-22"), "device=sdb1\nfile_system=ext4\nlabel=MODELS\n");
    assert_eq!(bench.names(), [".about", "11-22", "33-44", "AA-BB", "MODELS"]);
    assert_eq!(fs::read_link(bench.media("MODELS")).expect("a link"), Path::new("11-22"), "the first has it");

    bench.run("detach", "sdb1");
    assert_eq!(bench.names(), [".about", "33-44", "AA-BB"]);
    assert!(bench.about("11-22").is_empty());
}

#[test]
fn what_cannot_be_mounted_is_told_with_the_reason() {
    let bench = Bench::new();
    bench.device("broken", "ext4", "", "11-22");
    bench.device("sdc1", "ntfs", "", "33-44");
    bench.device("sdd1", "", "", "");
    for device in ["broken", "sdc1", "sdd1"] {
        bench.run("attach", device);
    }
    for (name, problem) in
        [("11-22", "bad superblock"), ("33-44", "ntfs is none of"), ("sdd1", "ext4, exFAT")]
    {
        let about = bench.about(name);
        let line = about.lines().find_map(|line| line.strip_prefix("problem=")).unwrap_or_default();
        assert!(line.contains(problem), "{name}: {about}");
    }
    assert_eq!(bench.names(), [".about"], "nothing looks like a medium that is none");
    for device in ["broken", "sdc1", "sdd1"] {
        bench.run("detach", device);
    }
    assert!(bench.about("11-22").is_empty());
}

#[test]
fn the_systems_own_disk_and_names_that_lead_elsewhere_are_no_media() {
    let bench = Bench::new();
    bench.device("sda3", "ext4", "nabi", "11-22");
    bench.run("attach", "sda3");
    assert_eq!((bench.mounts().len(), bench.names()), (0, vec![".about".to_owned()]));
    bench.device("sdb1", "vfat", "../../etc", "../../etc");
    bench.device("sdc1", "vfat", "-rf", "33 44");
    bench.device("sdd1", "vfat", "a/b", "55-66");
    for device in ["sdb1", "sdc1", "sdd1"] {
        bench.run("attach", device);
    }
    assert_eq!(bench.names(), [".about", "55-66", "sdb1", "sdc1"]);
}
