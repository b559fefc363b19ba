//! What is on attached sticks and disks. Each is a folder among the media; what the system knows of
//! it lies in a file of the same name in [`ABOUT`], also where it could not be mounted.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nabi_domain::media::{Found, Medium, MediumContent, MediumModel};
use nabi_models::search::{self, Finds};
use nabi_models::{Parts, inspect_among, regular_file};
use nix::sys::statvfs::statvfs;

use crate::error::{ImportError, in_words};

/// Media that are looked at.
const MEDIA_MAX: usize = 64;
/// The folder of what is known of each, among the media.
const ABOUT: &str = ".about";
const ABOUT_BYTES_MAX: u64 = 4096;
/// Longest word that is shown of it.
const WORD_CHARS_MAX: usize = 256;

/// Lists what is attached, with the models on it.
pub(crate) fn list(media: &Path) -> Result<Vec<Medium>, ImportError> {
    let folders = folders(media)?;
    let parts = Parts::below(&folders);
    let mounted = folders.iter().filter_map(|folder| folder.file_name()?.to_str());
    let mut names: BTreeSet<String> = mounted.map(str::to_owned).collect();
    names.extend(names_in(&media.join(ABOUT))?);
    Ok(names.into_iter().take(MEDIA_MAX).map(|name| medium(media, name, &parts)).collect())
}

/// The folders of mounted media. Links among them are other names for the same.
pub(crate) fn folders(media: &Path) -> Result<Vec<PathBuf>, ImportError> {
    let paths = names_in(media)?.into_iter().map(|name| media.join(name));
    let is_folder = |path: &PathBuf| fs::symlink_metadata(path).is_ok_and(|entry| entry.is_dir());
    Ok(paths.filter(is_folder).take(MEDIA_MAX).collect())
}

/// Names in a folder that are not hidden, in order; none if there is no such folder.
fn names_in(folder: &Path) -> Result<Vec<String>, ImportError> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(|source| ImportError::read(folder, source))?,
    };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut names: Vec<_> = names.filter(|name| !name.starts_with('.')).collect();
    names.sort();
    Ok(names)
}

fn medium(media: &Path, name: String, parts: &Parts) -> Medium {
    let about = regular_file::read(&media.join(ABOUT).join(&name), ABOUT_BYTES_MAX).unwrap_or_default();
    let about = About::parse(&String::from_utf8_lossy(&about));
    let content = match about.problem {
        Some(reason) => MediumContent::Unreadable { reason },
        None => content(media, &name, parts),
    };
    Medium { name, label: about.label, device: about.device, file_system: about.file_system, content }
}

fn content(media: &Path, name: &str, parts: &Parts) -> MediumContent {
    let folder = media.join(name);
    let size = || statvfs(&folder).map(|disk| disk.blocks() * disk.fragment_size());
    let read = search::find_models(&folder).and_then(|finds| Ok((finds, size()?)));
    match read {
        Ok((Finds { models, complete }, bytes)) => {
            let models = models.iter().map(|path| model(media, path, parts)).collect();
            MediumContent::Readable { bytes, models, complete }
        }
        Err(error) => MediumContent::Unreadable { reason: error.to_string() },
    }
}

fn model(media: &Path, path: &Path, parts: &Parts) -> MediumModel {
    let found = match inspect_among(path, parts) {
        Ok(inspected) => Found::Model {
            bytes: inspected.bytes(),
            architecture: inspected.architecture,
            parameters: inspected.parameters,
            quantization: inspected.quantization,
        },
        Err(error) => Found::Problem { reason: in_words(&error) },
    };
    MediumModel { path: path.strip_prefix(media).unwrap_or(path).to_string_lossy().into_owned(), found }
}

/// What the system knows of a medium: lines like `label=MODELS`.
#[derive(Debug, Default, PartialEq)]
struct About {
    label: Option<String>,
    device: Option<String>,
    file_system: Option<String>,
    problem: Option<String>,
}

impl About {
    /// Words come from the stick or from tools that read it: nothing but a line of text is taken.
    fn parse(text: &str) -> Self {
        let mut about = Self::default();
        for (key, word) in text.lines().filter_map(|line| line.split_once('=')) {
            let word: String = word.chars().filter(|c| !c.is_control()).take(WORD_CHARS_MAX).collect();
            let slot = match key {
                "label" => &mut about.label,
                "device" => &mut about.device,
                "file_system" => &mut about.file_system,
                "problem" => &mut about.problem,
                _ => continue,
            };
            *slot = (!word.is_empty()).then_some(word);
        }
        about
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_of_a_medium_is_text_of_bounded_length() {
        let about = About::parse("label=MY \u{1b}[2JSTICK\ndevice=sdb1\nother=x\nfile_system=\nnonsense\n");
        assert_eq!(about.label.as_deref(), Some("MY [2JSTICK"));
        assert_eq!((about.device.as_deref(), about.file_system, about.problem), (Some("sdb1"), None, None));
        let long = About::parse(&format!("problem={}", "x".repeat(1000)));
        assert_eq!(long.problem.map(|problem| problem.len()), Some(WORD_CHARS_MAX));
    }
}
