//! Names that an operator gives, and that become file names, socket names and JSON strings.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Longest name. Leaves room for a suffix within a Unix socket's path (108 bytes).
pub const NAME_BYTES_MAX: usize = 64;

/// Why a string is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing was given.
    #[error("a name must not be empty")]
    Empty,
    /// Longer than [`NAME_BYTES_MAX`].
    #[error("the name has {bytes} bytes, at most {NAME_BYTES_MAX} are allowed")]
    TooLong {
        /// Length of what was given.
        bytes: usize,
    },
    /// A character outside the allowed set.
    #[error(
        "{name:?} is not a name: use letters, digits, '.', '-' and '_', and begin with a letter or a digit"
    )]
    Character {
        /// What was given.
        name: String,
    },
}

/// Letters, digits, `.`, `-`, `_`; begins with a letter or digit: hence never a path, an option or hidden.
fn check(name: &str) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(NameError::Empty);
    }
    if name.len() > NAME_BYTES_MAX {
        return Err(NameError::TooLong { bytes: name.len() });
    }
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if name.starts_with(|c: char| c.is_ascii_alphanumeric()) && name.chars().all(inner) {
        Ok(())
    } else {
        Err(NameError::Character { name: name.to_owned() })
    }
}

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NameError;
            fn from_str(name: &str) -> Result<Self, NameError> {
                check(name).map(|()| Self(name.to_owned()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;
            fn try_from(name: String) -> Result<Self, NameError> {
                check(&name).map(|()| Self(name))
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
    };
}

name_type! {
    /// The name under which a model is stored, served and asked for.
    ModelName
}
name_type! {
    /// The name by which the operator knows an API key.
    KeyName
}

impl ModelName {
    /// A name after a file or folder: `DeepSeek-V3-00001-of-00008.gguf` gives `DeepSeek-V3`.
    ///
    /// # Errors
    /// Where what is left is no name.
    pub fn after(path: &Path) -> Result<Self, NameError> {
        let file = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
        let stem = file.strip_suffix(".gguf").unwrap_or(&file);
        without_part(stem).unwrap_or(stem).parse()
    }
}

/// The stem of a split file's name, `STEM-00001-of-00008`.
fn without_part(name: &str) -> Option<&str> {
    let (head, count) = name.rsplit_once("-of-")?;
    let (stem, part) = head.rsplit_once('-')?;
    let is_number = |text: &str| text.len() == 5 && text.bytes().all(|byte| byte.is_ascii_digit());
    (is_number(part) && is_number(count)).then_some(stem)
}

#[cfg(test)]
mod tests {
    use super::{ModelName, NAME_BYTES_MAX};

    #[test]
    fn a_model_is_named_after_its_file() {
        let name = |path: &str| ModelName::after(path.as_ref()).ok().map(String::from);
        assert_eq!(name("/m/SmolLM2-135M.Q4_1.gguf").as_deref(), Some("SmolLM2-135M.Q4_1"));
        assert_eq!(name("/m/DeepSeek-V3-00001-of-00008.gguf").as_deref(), Some("DeepSeek-V3"));
        assert_eq!(name("/m/DeepSeek-R1/").as_deref(), Some("DeepSeek-R1"));
        assert_eq!(name("best-of-breed.gguf").as_deref(), Some("best-of-breed"));
        assert_eq!(name("/"), None);
        assert_eq!(name("/m/두 번째.gguf"), None);
    }

    #[test]
    fn names_that_could_leave_their_folder_or_look_like_options_are_refused() {
        for good in ["a", "DeepSeek-V3.2", "smollm2_135m", "7b", &"x".repeat(NAME_BYTES_MAX)] {
            assert!(good.parse::<ModelName>().is_ok(), "{good:?}");
        }
        for bad in ["", ".", "..", ".hidden", "-v", "a/b", "a\\b", "a b", "a\0", "모델", &"x".repeat(65)] {
            assert!(bad.parse::<ModelName>().is_err(), "{bad:?}");
        }
    }
}
