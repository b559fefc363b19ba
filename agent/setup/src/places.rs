//! Where things lie on the machine.

use std::path::{Path, PathBuf};

/// Paths below a root folder, which is `/` but in tests.
pub(crate) struct Places {
    root: PathBuf,
}

impl Places {
    pub(crate) fn below(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// The folder of what the operator put on the FAT partition.
    pub(crate) fn offered(&self) -> PathBuf {
        self.root.join("boot/nabi")
    }

    /// The site file as the operator put it on the FAT partition.
    pub(crate) fn offered_site(&self) -> PathBuf {
        self.root.join("boot/nabi/site.toml")
    }

    /// The admin's keys as the operator put them on the FAT partition.
    pub(crate) fn offered_keys(&self) -> PathBuf {
        self.root.join("boot/nabi/admin.pub")
    }

    /// What was taken, once.
    pub(crate) fn taken(&self) -> PathBuf {
        self.root.join("var/lib/nabi/site/taken.json")
    }

    /// The machine's own SSH key.
    pub(crate) fn host_key(&self) -> PathBuf {
        self.root.join("var/lib/nabi/ssh/ssh_host_ed25519_key")
    }

    /// The machine's number, as PID 1 has it.
    pub(crate) fn machine_id(&self) -> PathBuf {
        self.root.join("etc/machine-id")
    }

    /// Where PID 1 finds it at the next start.
    pub(crate) fn kept_machine_id(&self) -> PathBuf {
        self.root.join("var/lib/dbus/machine-id")
    }

    /// Everything that is written anew at each boot.
    pub(crate) fn run(&self) -> PathBuf {
        self.root.join("run")
    }

    /// What is of this program alone in there.
    pub(crate) fn own_run(&self) -> PathBuf {
        self.root.join("run/nabi-setup")
    }

    /// systemd-networkd's files, also those of others.
    pub(crate) fn networkd(&self) -> PathBuf {
        self.root.join("run/systemd/network")
    }

    /// The kernel's host name: a file to write to, as sysctl does.
    pub(crate) fn kernel_hostname(&self) -> PathBuf {
        self.root.join("proc/sys/kernel/hostname")
    }
}
