//! Sticks and disks that bring models: what an operator sees of them, and which paths may be named.

use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

/// An attached file system that is not the appliance's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Medium {
    /// Its folder among the media; paths to import begin with it, or with the label.
    pub name: String,
    /// What its owner called it.
    pub label: Option<String>,
    /// The device: `sdb1`.
    pub device: Option<String>,
    /// `ext4`, `exfat`, `vfat`.
    pub file_system: Option<String>,
    /// What is on it.
    pub content: MediumContent,
}

/// What is on a [`Medium`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MediumContent {
    /// It could be read.
    Readable {
        /// Its size.
        bytes: u64,
        /// Models and what looks like one, by path.
        models: Vec<MediumModel>,
        /// Whether all of it was looked at.
        complete: bool,
    },
    /// It could not.
    Unreadable {
        /// Why, in the system's words.
        reason: String,
    },
}

/// What looks like a model on a [`Medium`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MediumModel {
    /// What `model import` takes: the medium's name, then the path on it.
    pub path: String,
    /// What it is.
    pub found: Found,
}

/// What a path on a [`Medium`] turned out to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Found {
    /// A model that can be imported.
    Model {
        /// By its field name.
        architecture: String,
        /// Number of weights.
        parameters: u64,
        /// The most frequent weight format.
        quantization: String,
        /// Size of all its files, those on other media included.
        bytes: u64,
    },
    /// Not importable as it is.
    Problem {
        /// Why, and what to do.
        reason: String,
    },
}

/// Why a path cannot be imported.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MediaPathError {
    /// Outside.
    #[error("{path:?} lies on no stick or disk: `media list` shows what can be imported, as MEDIUM/PATH")]
    Outside {
        /// What was given.
        path: PathBuf,
    },
}

/// Where a path that an operator gave lies: `MEDIUM/PATH`, or in full below the folder of media.
/// Purely by its letters: links are for the one who opens it.
pub fn path_on_media(media: &Path, given: &Path) -> Result<PathBuf, MediaPathError> {
    let outside = || MediaPathError::Outside { path: given.to_owned() };
    let below = if given.is_absolute() { given.strip_prefix(media).map_err(|_| outside())? } else { given };
    let mut names = below.components();
    let visible = |name: Component<'_>| match name {
        Component::Normal(name) => !name.as_encoded_bytes().starts_with(b"."),
        _ => false,
    };
    if names.clone().next().is_some_and(visible) && names.all(|name| matches!(name, Component::Normal(_))) {
        Ok(media.join(below))
    } else {
        Err(outside())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_paths_below_the_media_folder_are_taken() {
        let resolve = |given: &str| path_on_media(Path::new("/run/media"), Path::new(given)).ok();
        for (given, found) in [
            ("MODELS/a.gguf", "/run/media/MODELS/a.gguf"),
            ("MODELS", "/run/media/MODELS"),
            ("/run/media/MODELS/deep/a", "/run/media/MODELS/deep/a"),
            ("./MODELS/.hidden/a", ""),
            ("MODELS/.hidden/a", "/run/media/MODELS/.hidden/a"),
            ("a//b/", "/run/media/a/b"),
            ("", ""),
            (".", ""),
            ("..", ""),
            ("MODELS/../../etc/shadow", ""),
            ("/run/media/../shadow", ""),
            ("/run/media", ""),
            ("/run/media2/x", ""),
            ("/etc/shadow", ""),
            (".about/MODELS", ""),
        ] {
            let expected = (!found.is_empty()).then(|| PathBuf::from(found));
            assert_eq!(resolve(given), expected, "{given}");
        }
    }
}
