//! provisioning/disk-uses.sh: what lsblk shows, and whether the disk may be erased.

use std::io::Write as _;
use std::process::{Command, Stdio};

use crate::disk::repository;

const CASES: [(&str, &str); 12] = [
    ("/dev/sdb disk \n", ""),
    ("/dev/sdb disk \n/dev/sdb1 part \n/dev/sdb2 part \n", ""),
    ("/dev/loop3 loop \n", ""),
    ("/dev/sdb1 part \n", "/dev/sdb1 is a partition: give the whole disk\n"),
    ("/dev/sr0 rom \n", "/dev/sr0 is no disk but of the type rom\n"),
    ("/dev/md0 raid1 \n", "/dev/md0 is no disk but of the type raid1\n"),
    (
        "/dev/sdb disk \n/dev/sdb1 part /media/hana/My\\x20Stick\n",
        "/dev/sdb1 is mounted on /media/hana/My\\x20Stick: unmount it\n",
    ),
    ("/dev/sdb disk /mnt\n", "/dev/sdb is mounted on /mnt: unmount it\n"),
    (
        "/dev/sda disk \n/dev/sda1 part /boot/efi\n/dev/sda2 part /home\\x0a/\n",
        "the running system lies on it: /dev/sda1 is /boot/efi\n/dev/sda2 is mounted on /home: unmount it\n\
         the running system lies on it: /dev/sda2 is /\n",
    ),
    ("/dev/sda disk \n/dev/sda3 part [SWAP]\n", "/dev/sda3 is swap in use: swapoff /dev/sda3\n"),
    (
        "/dev/sda disk \n/dev/sda3 part \n/dev/mapper/vg-root lvm /\n",
        "/dev/mapper/vg-root (lvm) lies on it: close or deactivate that first\n\
         the running system lies on it: /dev/mapper/vg-root is /\n",
    ),
    ("", "lsblk does not know it\n"),
];

#[test]
fn a_disk_in_use_is_not_erased() {
    for (lsblk, expected) in CASES {
        let mut uses = Command::new(repository("provisioning/disk-uses.sh"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it runs");
        uses.stdin.take().expect("a pipe").write_all(lsblk.as_bytes()).expect("it reads");
        let output = uses.wait_with_output().expect("it ends");
        assert!(output.status.success());
        assert_eq!(String::from_utf8_lossy(&output.stdout), expected, "{lsblk}");
    }
}
