//! A recording: what an inventory of a machine read, in one text. It brings a machine to where there is
//! none: into a test, or to those who can tell an operator why a card is not used.
//!
//! ```text
//! # a comment
//! @ proc/meminfo
//! MemTotal:        2012812 kB
//! @ sys/class/net/eth0/device/driver -> virtio_net
//! @ dev/nvidia0
//! @ sys/class/net/lo/
//! ```
//! A file with its lines, a link with the last name that it leads to, something that is there but is not
//! read, a folder. A line of a file that begins with `@` or `#` has a space before.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::symlink;
use std::path::{Component, Path, PathBuf};

/// Longest recording: it comes in one frame.
const RECORDING_BYTES_MAX: u64 = 15 << 20;

/// What was found at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Entry {
    /// A file's text.
    Text(String),
    /// Where a link leads.
    Link(String),
    /// Something.
    Present,
    /// A folder.
    Folder,
}

/// By path, below the root folder.
pub(crate) type Entries = BTreeMap<String, Entry>;

/// The text of a recording.
pub(crate) fn to_text(entries: &Entries) -> String {
    let mut text = String::new();
    for (path, entry) in entries {
        match entry {
            Entry::Text(content) => {
                text += &format!("@ {path}\n");
                for line in content.lines() {
                    // What reads as a part of a recording is kept from it by a space.
                    let mark = if line.starts_with(['@', '#']) { " " } else { "" };
                    text += &format!("{mark}{line}\n");
                }
            }
            Entry::Link(target) => text += &format!("@ {path} -> {target}\n"),
            Entry::Present => text += &format!("@ {path}\n"),
            Entry::Folder => text += &format!("@ {path}/\n"),
        }
    }
    text
}

/// Reads a recording.
///
/// # Errors
/// When it cannot be read, is too long, or is no text.
pub fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let read = File::open(path)?.take(RECORDING_BYTES_MAX + 1).read_to_string(&mut text)?;
    if read as u64 > RECORDING_BYTES_MAX {
        return Err(io::Error::other(format!("it has more than {RECORDING_BYTES_MAX} bytes")));
    }
    Ok(text)
}

/// Lays a recording out as files below a folder, which is empty.
///
/// # Errors
/// When a path would leave the folder, or the system refuses.
pub fn lay_out(recording: &str, root: &Path) -> io::Result<()> {
    let mut entry: Option<(PathBuf, String)> = None;
    for line in recording.lines().filter(|line| !line.starts_with('#')).chain(["@ "]) {
        let Some(path) = line.strip_prefix("@ ") else {
            let (_, text) = entry.as_mut().ok_or_else(|| io::Error::other("text before the first path"))?;
            text.push_str(line);
            text.push('\n');
            continue;
        };
        if let Some((path, text)) = entry.take() {
            fs::write(path, text)?;
        }
        if path.is_empty() {
            continue;
        }
        if let Some((path, target)) = path.split_once(" -> ") {
            // Nobody follows them: their last name is what is read.
            if !Path::new(target).components().eq([Component::Normal(target.as_ref())]) {
                return Err(io::Error::other(format!("the link {path:?} leads to more than a name")));
            }
            let path = below(root, path)?;
            make_parent(&path)?;
            symlink(target, path)?;
        } else if let Some(folder) = path.strip_suffix('/') {
            fs::create_dir_all(below(root, folder)?)?;
        } else {
            let path = below(root, path)?;
            make_parent(&path)?;
            entry = Some((path, String::new()));
        }
    }
    Ok(())
}

fn make_parent(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), fs::create_dir_all)
}

fn below(root: &Path, path: &str) -> io::Result<PathBuf> {
    let path = Path::new(path);
    let is_plain = path.components().all(|component| matches!(component, Component::Normal(_)));
    if is_plain { Ok(root.join(path)) } else { Err(io::Error::other(format!("{path:?} leaves the folder"))) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Tree;

    #[test]
    fn what_was_read_can_be_read_from_its_recording() {
        let recording = "# a comment\n@ dev/nvidia0\n@ proc/meminfo\nMemTotal: 1 kB\n\n # last\n\
                         @ sys/class/net/eth0/device/driver -> virtio_net\n@ sys/class/net/lo/\n";
        let folder = tempfile::tempdir().expect("a folder");
        lay_out(recording, folder.path()).expect("laid out");
        let tree = Tree::open(folder.path()).expect("it is there");
        assert!(tree.exists("dev/nvidia0"));
        assert_eq!(tree.text("proc/meminfo").as_deref(), Some("MemTotal: 1 kB\n\n # last"));
        assert_eq!(tree.link("sys/class/net/eth0/device/driver").as_deref(), Some("virtio_net"));
        assert_eq!(tree.names("sys/class/net"), ["eth0", "lo"]);
        let (entries, problems) = tree.close();
        assert_eq!(problems, []);
        let again = "@ dev/nvidia0\n@ proc/meminfo\nMemTotal: 1 kB\n\n # last\n\
                     @ sys/class/net/eth0/device/driver -> virtio_net\n@ sys/class/net/eth0/\n@ sys/class/net/lo/\n";
        assert_eq!(to_text(&entries), again.replace("@ sys/class/net/eth0/\n", ""));
    }

    #[test]
    fn no_path_leaves_the_folder() {
        let folder = tempfile::tempdir().expect("a folder");
        for recording in [
            "@ ../file\ntext\n",
            "@ /file\ntext\n",
            "@ a/../../b\n",
            "@ a -> /etc\n",
            "@ a -> ../..\n",
            "text\n",
        ] {
            assert!(lay_out(recording, folder.path()).is_err(), "{recording}");
        }
    }
}
