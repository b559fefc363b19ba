//! Finds what looks like a model below a folder that came from outside: a stick or a disk. Only
//! names are looked at, links are not followed, and what is looked at is bounded.

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::folder::CONFIG;
use crate::gguf::SplitName;

/// Folders within folders that are looked into.
pub const SEARCH_DEPTH_MAX: usize = 6;
/// Names that are looked at on one medium.
pub const SEARCH_ENTRIES_MAX: usize = 50_000;
/// What is found on one medium at most.
pub const SEARCH_FINDS_MAX: usize = 256;

/// What is below a folder.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Finds {
    /// Of each GGUF model the file to give, and each Hugging Face folder, in order.
    pub models: Vec<PathBuf>,
    /// Whether all was looked at.
    pub complete: bool,
}

/// Where further parts of split models may lie, by their file names.
#[derive(Debug, Clone, Default)]
pub struct Parts(BTreeMap<String, PathBuf>);

impl Parts {
    /// Those below folders. Of two with the same name the first one counts.
    pub fn below(folders: &[PathBuf]) -> Self {
        let mut parts = BTreeMap::new();
        for folder in folders {
            // A medium that cannot be read has no parts.
            let _ = walk(folder, |path, name| {
                if SplitName::parse(name).is_some() {
                    parts.entry(name.to_owned()).or_insert_with(|| path.to_owned());
                }
                true
            });
        }
        Self(parts)
    }

    pub(crate) fn get(&self, name: &str) -> Option<&PathBuf> {
        self.0.get(name)
    }
}

/// Looks for models below a folder. Fails only if the folder itself cannot be read.
pub fn find_models(folder: &Path) -> io::Result<Finds> {
    // Of the parts of a split model in one folder, one stands for all.
    let mut found = BTreeMap::new();
    let complete = walk(folder, |path, name| {
        let parent = path.parent().unwrap_or(folder);
        let model = match SplitName::parse(name) {
            Some(split) => Some((parent.join(split.of_part(1)), path.to_owned())),
            None if name.ends_with(".gguf") => Some((path.to_owned(), path.to_owned())),
            None if name == CONFIG && has_weights(parent) => Some((parent.to_owned(), parent.to_owned())),
            None => None,
        };
        if let Some((whole, path)) = model {
            let kept = found.entry(whole).or_insert_with(|| path.clone());
            if path < *kept {
                *kept = path;
            }
        }
        found.len() < SEARCH_FINDS_MAX
    })?;
    Ok(Finds { models: found.into_values().collect(), complete })
}

fn has_weights(folder: &Path) -> bool {
    let names = fs::read_dir(folder).into_iter().flatten().take(SEARCH_ENTRIES_MAX);
    names.filter_map(Result::ok).any(|entry| entry.path().extension().is_some_and(|end| end == "safetensors"))
}

/// Shows each regular file whose name is text and not hidden, until `visit` has enough. Says whether
/// all of them were shown.
fn walk(folder: &Path, mut visit: impl FnMut(&Path, &str) -> bool) -> io::Result<bool> {
    let mut complete = true;
    let mut seen = 0;
    let mut folders = VecDeque::from([(folder.to_owned(), fs::read_dir(folder)?, 1)]);
    while let Some((folder, entries, depth)) = folders.pop_front() {
        for entry in entries {
            seen += 1;
            if seen > SEARCH_ENTRIES_MAX {
                return Ok(false);
            }
            // A damaged file system may show names that cannot be looked at.
            let Ok((entry, kind)) = entry.and_then(|entry| entry.file_type().map(|kind| (entry, kind)))
            else {
                complete = false;
                continue;
            };
            let name = entry.file_name();
            let Some(name) = name.to_str().filter(|name| !name.starts_with('.')) else { continue };
            let path = folder.join(name);
            if kind.is_file() && !visit(&path, name) {
                return Ok(false);
            }
            if kind.is_dir() {
                match fs::read_dir(&path) {
                    Ok(entries) if depth < SEARCH_DEPTH_MAX => folders.push_back((path, entries, depth + 1)),
                    _ => complete = false,
                }
            }
        }
    }
    Ok(complete)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn write(folder: &Path, files: &[&str]) {
        for file in files {
            let path = folder.join(file);
            fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            fs::write(path, b"").expect("written");
        }
    }

    fn found(folder: &Path) -> (Vec<String>, bool) {
        let Finds { models, complete } = find_models(folder).expect("readable");
        let below = |path: PathBuf| path.strip_prefix(folder).expect("below").to_string_lossy().into_owned();
        (models.into_iter().map(below).collect(), complete)
    }

    #[test]
    fn files_folders_and_one_part_of_each_split_model_are_found() {
        let stick = tempfile::tempdir().expect("a temporary folder");
        write(
            stick.path(),
            &[
                "a.gguf",
                "v3/v3-00002-of-00003.gguf",
                "v3/v3-00003-of-00003.gguf",
                "hf/config.json",
                "hf/model.safetensors",
                "settings/config.json",
                "notes.txt",
                ".trash/old.gguf",
                "._a.gguf",
            ],
        );
        symlink("/etc", stick.path().join("link")).expect("a link");
        symlink("a.gguf", stick.path().join("b.gguf")).expect("a link");
        let expected = ["a.gguf", "hf", "v3/v3-00002-of-00003.gguf"].map(str::to_owned);
        assert_eq!(found(stick.path()), (expected.into(), true));
        assert!(find_models(&stick.path().join("gone")).is_err());
    }

    #[test]
    fn what_is_too_deep_or_too_much_is_said_to_be_left_out() {
        let stick = tempfile::tempdir().expect("a temporary folder");
        write(stick.path(), &["1/2/3/4/5/deep.gguf"]);
        assert_eq!(found(stick.path()), (vec!["1/2/3/4/5/deep.gguf".to_owned()], true));
        write(stick.path(), &["1/2/3/4/5/6/deeper.gguf"]);
        assert_eq!(found(stick.path()), (vec!["1/2/3/4/5/deep.gguf".to_owned()], false));
        let many: Vec<_> = (0..SEARCH_FINDS_MAX).map(|number| format!("many/{number}.gguf")).collect();
        write(stick.path(), &many.iter().map(String::as_str).collect::<Vec<_>>());
        let (models, complete) = found(stick.path());
        assert_eq!((models.len(), complete), (SEARCH_FINDS_MAX, false));
    }
}
