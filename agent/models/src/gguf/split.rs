//! Models in several GGUF files, as llama.cpp's `gguf-split` makes them: `NAME-00001-of-00003.gguf`.

use std::collections::HashSet;

use super::{GgufError, Header, TENSORS_MAX, Value, ValueType};

/// Most parts of a model.
pub const SPLIT_PARTS_MAX: u64 = 1000;

const SPLIT_NO: &str = "split.no";
const SPLIT_COUNT: &str = "split.count";
const SPLIT_TENSORS: &str = "split.tensors.count";

/// Why files are not the parts of one model.
#[derive(Debug, thiserror::Error)]
pub enum SplitError {
    /// The header names a split, the file's name does not.
    #[error(
        "{file:?} is one of {count} parts but is not named like NAME-00001-of-{count:05}.gguf: \
         give all parts the names that they were published with"
    )]
    Name {
        /// The file.
        file: String,
        /// How many parts the header names.
        count: u64,
    },
    /// Name and header contradict each other.
    #[error("{file:?} says in its header that it is part {part} of {count}: it was renamed, or is damaged")]
    Position {
        /// The file.
        file: String,
        /// Which part the header says, counted from 1.
        part: u64,
        /// Of how many.
        count: u64,
    },
    /// Keys that llama.cpp would abort on.
    #[error("{file:?} has no valid split.no and split.count (16-bit numbers) in its header")]
    Keys {
        /// The file.
        file: String,
    },
    /// Parts that are nowhere.
    #[error(
        "{} of the {count} parts are missing: {}; insert the stick that has them too, or copy all parts into one folder",
        parts.len(), few(parts)
    )]
    Missing {
        /// Their file names.
        parts: Vec<String>,
        /// How many parts the model has.
        count: u64,
    },
    /// Too many parts.
    #[error("{count} parts, at most {SPLIT_PARTS_MAX} are allowed")]
    TooMany {
        /// How many.
        count: u64,
    },
    /// The same tensor in two parts.
    #[error("the tensor {tensor:?} is in {file:?} and in a part before it")]
    Duplicate {
        /// The tensor.
        tensor: String,
        /// The later part.
        file: String,
    },
    /// Parts of different models, or one that was made anew.
    #[error(
        "the parts have {found} tensors together, the first one announces {expected}: get all parts anew"
    )]
    Tensors {
        /// How many there are.
        found: u64,
        /// How many there must be.
        expected: u64,
    },
    /// A key has a wrong type.
    #[error(transparent)]
    Header(#[from] GgufError),
}

/// The first of many names.
fn few(names: &[String]) -> String {
    const FEW: usize = 3;
    let more = if names.len() > FEW { ", …" } else { "" };
    names.iter().take(FEW).cloned().collect::<Vec<_>>().join(", ") + more
}

/// The name of a part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SplitName {
    prefix: String,
    /// Which part, counted from 1.
    pub part: u64,
    /// Of how many.
    pub count: u64,
}

impl SplitName {
    /// Takes `NAME-00001-of-00003.gguf` apart; `None` for other names.
    pub fn parse(file: &str) -> Option<Self> {
        let (rest, count) = file.strip_suffix(".gguf")?.rsplit_once("-of-")?;
        let (prefix, part) = rest.rsplit_once('-')?;
        let number = |digits: &str| {
            let five = digits.len() == 5 && digits.bytes().all(|byte| byte.is_ascii_digit());
            five.then(|| digits.parse().ok()).flatten()
        };
        Some(Self { prefix: prefix.to_owned(), part: number(part)?, count: number(count)? })
    }

    /// The file name of another part of the same model.
    pub fn of_part(&self, part: u64) -> String {
        format!("{}-{part:05}-of-{:05}.gguf", self.prefix, self.count)
    }
}

/// Checks the parts of a model, given one after the other in their order.
#[derive(Debug)]
pub struct SplitSet {
    count: u64,
    seen: u64,
    expected_tensors: u64,
    tensors: HashSet<String>,
}

impl SplitSet {
    /// Begins with nothing. `count` is the number of parts.
    pub fn new(count: u64) -> Self {
        Self { count, seen: 0, expected_tensors: 0, tensors: HashSet::new() }
    }

    /// How many parts the model of this header has; 1 if it is not split.
    pub fn count(header: &Header) -> Result<u64, SplitError> {
        match header.integer(SPLIT_COUNT)? {
            None | Some(0 | 1) => Ok(1),
            Some(count) if count <= SPLIT_PARTS_MAX => Ok(count),
            Some(count) => Err(SplitError::TooMany { count }),
        }
    }

    /// The next part.
    pub fn add(&mut self, file: &str, header: &Header) -> Result<(), SplitError> {
        let (Some(no), Some(count)) = (u16_of(header, SPLIT_NO), u16_of(header, SPLIT_COUNT)) else {
            return Err(SplitError::Keys { file: file.to_owned() });
        };
        if no != self.seen || count != self.count {
            return Err(SplitError::Position { file: file.to_owned(), part: no + 1, count });
        }
        if no == 0 {
            self.expected_tensors = header.integer(SPLIT_TENSORS)?.unwrap_or(0);
        }
        self.seen += 1;
        for tensor in &header.tensors {
            if !self.tensors.insert(tensor.name.clone()) {
                return Err(SplitError::Duplicate { tensor: tensor.name.clone(), file: file.to_owned() });
            }
        }
        self.limit()
    }

    fn limit(&self) -> Result<(), SplitError> {
        let found = self.tensors.len() as u64;
        if found > TENSORS_MAX {
            return Err(GgufError::Limit { what: "tensors", found, max: TENSORS_MAX }.into());
        }
        Ok(())
    }

    /// After the last part: together they have as many tensors as the first one announces.
    pub fn finish(self) -> Result<(), SplitError> {
        let (found, expected) = (self.tensors.len() as u64, self.expected_tensors);
        if found == expected { Ok(()) } else { Err(SplitError::Tensors { found, expected }) }
    }
}

/// llama.cpp reads these keys as 16-bit numbers, and aborts if they are not.
fn u16_of(header: &Header, key: &str) -> Option<u64> {
    match header.get(key) {
        Some(Value::Unsigned(ValueType::U16, number)) => Some(*number),
        _ => None,
    }
}
