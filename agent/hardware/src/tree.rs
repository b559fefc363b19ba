//! A root folder, and reading below it: `/` of this machine, or a recording of another. Whatever lies
//! there, reading it ends: files have a limit, pipes and devices are not read, links stay inside.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Component, Path};

use nabi_domain::hardware::Problem;
use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2, readlinkat};
use nix::sys::stat::Mode;

use crate::recording::{Entries, Entry};

/// Longest file that is read whole; `/proc/cpuinfo` of many processors is the largest.
const FILE_BYTES_MAX: u64 = 4 << 20;
/// Entries of a folder that are looked at.
const ENTRIES_MAX: usize = 16_384;
/// Problems that are kept.
const PROBLEMS_MAX: usize = 64;
/// A way is walked again so often when the kernel saw something being renamed meanwhile, anywhere: with
/// links that lead up, as those of /sys do, it cannot tell whether the way still stayed inside.
const WALKS_MAX: u32 = 100;
/// Lines that tell one device from all others in the world, by how they begin: not for a recording.
const PRIVATE: [&str; 3] = ["GPU UUID", "unique_id", "Serial"];

/// A root folder. Paths below it begin without `/`.
pub(crate) struct Tree {
    root: OwnedFd,
    problems: RefCell<Vec<Problem>>,
    /// What was found, for a recording.
    seen: RefCell<Entries>,
}

impl Tree {
    pub(crate) fn open(root: &Path) -> io::Result<Self> {
        let root = File::open(root)?;
        let tree = Self { root: root.into(), problems: RefCell::default(), seen: RefCell::default() };
        // Before Linux 5.6, and where a container forbids it, nothing could be read.
        tree.at(".", OFlag::O_PATH)?;
        Ok(tree)
    }

    /// What was found, and what could not be read, in order.
    pub(crate) fn close(self) -> (Entries, Vec<Problem>) {
        let mut problems = self.problems.into_inner();
        problems.sort();
        problems.dedup();
        let mut entries = self.seen.into_inner();
        // A folder is there by what is in it.
        let paths: Vec<String> = entries.keys().cloned().collect();
        for path in paths {
            let below = format!("{path}/");
            let next = entries.range(below.clone()..).next();
            if entries.get(&path) == Some(&Entry::Folder)
                && next.is_some_and(|(next, _)| next.starts_with(&below))
            {
                entries.remove(&path);
            }
        }
        (entries, problems)
    }

    /// A file without the white space at its ends; none where it is absent, or is empty. One that is
    /// there but cannot be read is a problem.
    pub(crate) fn text(&self, path: &str) -> Option<String> {
        match self.try_text(path) {
            Ok(text) => text,
            Err(reason) => {
                self.problem(path, reason);
                None
            }
        }
    }

    /// The same for a file that the kernel leaves to root, or that a driver refuses at times.
    pub(crate) fn text_if_allowed(&self, path: &str) -> Option<String> {
        self.try_text(path).ok().flatten()
    }

    /// A number in a file, decimal or `0x` and hexadecimal. Other text is a problem.
    pub(crate) fn number(&self, path: &str) -> Option<u64> {
        let text = self.text(path)?;
        let number = number(&text);
        if number.is_none() {
            self.problem(path, format!("{:?} is no number", text.chars().take(80).collect::<String>()));
        }
        number
    }

    /// Whether there is something.
    pub(crate) fn exists(&self, path: &str) -> bool {
        let Ok(found) = self.at(path, OFlag::O_PATH) else { return false };
        let is_folder = File::from(found).metadata().is_ok_and(|found| found.is_dir());
        self.saw(path, if is_folder { Entry::Folder } else { Entry::Present });
        true
    }

    /// The names in a folder, in order; none where it is absent.
    pub(crate) fn names(&self, path: &str) -> Vec<String> {
        let names = || -> nix::Result<Vec<String>> {
            let fd = self.at(path, OFlag::O_RDONLY | OFlag::O_DIRECTORY)?;
            let mut dir = Dir::from_fd(fd)?;
            let entries = dir.iter().take(ENTRIES_MAX + 1).flatten();
            let names = entries.filter_map(|entry| entry.file_name().to_str().ok().map(str::to_owned));
            // A device may choose a part of its name, and a recording has it in a line.
            let is_plain = |name: &str| !name.contains(char::is_control) && !name.contains(" -> ");
            let names = names.filter(|name| name != "." && name != ".." && is_plain(name));
            let mut names: Vec<_> = names.collect();
            names.sort();
            Ok(names)
        };
        match names() {
            Ok(mut names) => {
                if names.len() > ENTRIES_MAX - 2 {
                    self.problem(path, format!("it has more than {} entries", ENTRIES_MAX - 2));
                    names.truncate(ENTRIES_MAX - 2);
                }
                for name in &names {
                    let path = if path.is_empty() { name.clone() } else { format!("{path}/{name}") };
                    let is_folder = self.at(&path, OFlag::O_PATH | OFlag::O_DIRECTORY).is_ok();
                    self.saw(&path, if is_folder { Entry::Folder } else { Entry::Present });
                }
                names
            }
            Err(errno) if is_absent(errno) => Vec::new(),
            Err(errno) => {
                self.problem(path, errno.desc().to_owned());
                Vec::new()
            }
        }
    }

    /// Numbers of the entries of a folder that are called PREFIX and a number, in order.
    pub(crate) fn numbered(&self, path: &str, prefix: &str) -> Vec<u32> {
        let names = self.names(path);
        let numbers = names.iter().filter_map(|name| name.strip_prefix(prefix));
        let digits = |text: &&str| text.bytes().all(|byte| byte.is_ascii_digit());
        let mut numbers: Vec<u32> = numbers.filter(digits).filter_map(|text| text.parse().ok()).collect();
        numbers.sort_unstable();
        numbers
    }

    /// The last name of what a link leads to: of `driver`, the driver.
    pub(crate) fn link(&self, path: &str) -> Option<String> {
        let link = self.at(path, OFlag::O_PATH | OFlag::O_NOFOLLOW).ok()?;
        let target = readlinkat(link.as_fd(), "").ok()?.into_string().ok()?;
        let name = target.rsplit('/').next().filter(|name| !name.is_empty())?;
        self.saw(path, Entry::Link(name.to_owned()));
        Some(name.to_owned())
    }

    pub(crate) fn problem(&self, path: &str, reason: String) {
        let mut problems = self.problems.borrow_mut();
        if problems.len() < PROBLEMS_MAX {
            problems.push(Problem { path: path.to_owned(), reason });
        }
    }

    fn try_text(&self, path: &str) -> Result<Option<String>, String> {
        let fd = match self.at(path, OFlag::O_RDONLY | OFlag::O_NONBLOCK) {
            Ok(fd) => fd,
            Err(errno) if is_absent(errno) => return Ok(None),
            Err(errno) => return Err(errno.desc().to_owned()),
        };
        let file = File::from(fd);
        let in_words = |error: io::Error| error.to_string();
        if !file.metadata().map_err(in_words)?.is_file() {
            return Err("it is no plain file".into());
        }
        let mut bytes = Vec::new();
        file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(in_words)?;
        if bytes.len() as u64 > FILE_BYTES_MAX {
            return Err(format!("it has more than {FILE_BYTES_MAX} bytes"));
        }
        let text = String::from_utf8_lossy(&bytes);
        // Device trees end their words with a zero.
        let text = text.trim_matches(|c: char| c.is_whitespace() || c == '\0');
        let public: Vec<_> = text.lines().filter(|line| is_public(path, line)).collect();
        self.saw(path, Entry::Text(public.join("\n")));
        Ok((!text.is_empty()).then(|| text.to_owned()))
    }

    /// What tells most is kept.
    fn saw(&self, path: &str, entry: Entry) {
        let mut seen = self.seen.borrow_mut();
        if matches!(entry, Entry::Text(_) | Entry::Link(_)) || !seen.contains_key(path) {
            seen.insert(path.to_owned(), entry);
        }
    }

    fn at(&self, path: &str, flags: OFlag) -> nix::Result<OwnedFd> {
        // Some paths are put together of what files say.
        if Path::new(path).components().any(|part| part == Component::ParentDir) {
            return Err(Errno::ENOENT);
        }
        for _ in 0..WALKS_MAX {
            let how = OpenHow::new()
                .flags(flags | OFlag::O_CLOEXEC)
                .mode(Mode::empty())
                .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
            match openat2(&self.root, path, how) {
                Err(Errno::EAGAIN) => {}
                opened => return opened,
            }
        }
        Err(Errno::EAGAIN)
    }
}

/// Whether a line may be in a recording, which goes to others.
fn is_public(path: &str, line: &str) -> bool {
    // Of the first version's groups nothing is read, and their names tell who runs what.
    let is_other_group = path == "proc/self/cgroup" && !line.starts_with("0::");
    !is_other_group && !PRIVATE.iter().any(|key| line.trim_start().starts_with(key))
}

fn is_absent(errno: Errno) -> bool {
    matches!(errno, Errno::ENOENT | Errno::ENOTDIR | Errno::ENODEV | Errno::ENXIO)
}

/// Decimal, or `0x` and hexadecimal.
pub(crate) fn number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests;
