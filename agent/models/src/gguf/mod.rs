//! Bounded reader of GGUF headers, versions 2 and 3, little endian.
//!
//! Format: `docs/gguf.md` of ggml. What is refused beyond the format is what makes llama.cpp abort
//! or give up (`gguf.cpp`, `llama-model.cpp`), so that an engine never meets such a file.
//! Memory is bounded by [`HEADER_BYTES_MAX`] and the numbers of keys and tensors, time by the same;
//! nothing is allocated for a length that the file's size does not prove.

mod architecture;
mod cursor;
mod error;
mod layout;
mod shape;
mod split;
mod tensor_type;
mod value;

use std::collections::HashMap;
use std::io::Read;

pub use architecture::{Description, RuleBroken, TOKENS, describe};
pub use error::GgufError;
pub use layout::Tensor;
pub use shape::ShapeReader;
pub use split::{SPLIT_PARTS_MAX, SplitError, SplitName, SplitSet};
pub use tensor_type::{TENSOR_TYPES, TensorType, tensor_type};
pub use value::{Array, Value, ValueType};

use cursor::Cursor;

/// Largest header: everything before the tensors' data.
pub const HEADER_BYTES_MAX: u64 = 128 << 20;
/// Most keys.
pub const KEYS_MAX: u64 = 1 << 16;
/// Most tensors in one file, and in all parts of a model together.
pub const TENSORS_MAX: u64 = 1 << 17;
/// Longest key (the format's own limit).
pub const KEY_BYTES_MAX: u64 = (1 << 16) - 1;
/// Longest tensor name (llama.cpp's limit, without the final zero).
pub const TENSOR_NAME_BYTES_MAX: u64 = 63;
/// Longest string value, alone or in an array.
pub const STRING_BYTES_MAX: u64 = 64 << 20;
/// Longest string value that is kept.
pub const STRING_KEPT_BYTES_MAX: u64 = 1 << 20;
/// Most elements in an array: eight times the largest vocabulary of today.
pub const ARRAY_ELEMENTS_MAX: u64 = 1 << 21;
/// Arrays of this size are kept without being asked for: those that hold a number for each layer.
pub const ARRAY_KEPT_BYTES_MAX: u64 = 8 << 10;
/// Most dimensions of a tensor (llama.cpp's limit).
pub const DIMENSIONS_MAX: u32 = 4;
/// Largest alignment of tensor data.
pub const ALIGNMENT_BYTES_MAX: u64 = 1 << 20;

const ALIGNMENT_BYTES_DEFAULT: u64 = 32;
const MAGIC: [u8; 4] = *b"GGUF";

/// What a GGUF file says before its data. Every tensor lies inside the file and none overlap.
#[derive(Debug, Clone)]
pub struct Header {
    /// 2 or 3.
    pub version: u32,
    /// In the file's order, within the file, without gaps.
    pub tensors: Vec<Tensor>,
    /// Where the tensors' data begin, in bytes from the beginning of the file.
    pub data_offset: u64,
    metadata: HashMap<String, Value>,
}

impl Header {
    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.metadata.get(key)
    }

    /// A string; `None` if the key is missing.
    pub fn text(&self, key: &str) -> Result<Option<&str>, GgufError> {
        self.typed(key, "a string", |value| match value {
            Value::Text(text) => Some(text.as_str()),
            _ => None,
        })
    }

    /// A whole number that is not negative; `None` if the key is missing.
    pub fn integer(&self, key: &str) -> Result<Option<u64>, GgufError> {
        self.typed(key, "a whole number that is not negative", Value::as_integer)
    }

    /// One number, or one for each layer; empty if the key is missing.
    pub fn integers(&self, key: &str) -> Result<Vec<u64>, GgufError> {
        let numbers = self.typed(key, "a whole number, or one for each layer", |value| match value {
            Value::Array(array) => array.integers(),
            single => single.as_integer().map(|number| vec![number]),
        })?;
        Ok(numbers.unwrap_or_default())
    }

    fn typed<'a, T>(
        &'a self,
        key: &str,
        expected: &'static str,
        take: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, GgufError> {
        let Some(value) = self.metadata.get(key) else { return Ok(None) };
        let wrong = || GgufError::WrongType { key: key.to_owned(), expected };
        take(value).map(Some).ok_or_else(wrong)
    }
}

/// Reads the header of a GGUF file of `file_bytes` bytes. Of arrays longer than
/// [`ARRAY_KEPT_BYTES_MAX`], only those named in `keep_arrays` are kept.
pub fn read_header(source: impl Read, file_bytes: u64, keep_arrays: &[&str]) -> Result<Header, GgufError> {
    let mut cursor = Cursor::new(source, file_bytes);
    let version = read_version(&mut cursor)?;
    // The smallest tensor has a name's length, a number of dimensions, a type and an offset.
    let tensors = read_count(&mut cursor, "tensors", TENSORS_MAX, 24)?;
    // The smallest key has its length, a type and a byte.
    let keys = read_count(&mut cursor, "keys", KEYS_MAX, 13)?;
    let metadata = read_metadata(&mut cursor, keys, keep_arrays)?;
    let alignment = alignment(&metadata)?;
    let tensors = layout::read_tensors(&mut cursor, tensors)?;
    let data_offset = match tensors.len() {
        0 => cursor.at(),
        _ => cursor.at().next_multiple_of(alignment),
    };
    layout::check(&tensors, alignment, data_offset, file_bytes)?;
    Ok(Header { version, tensors, data_offset, metadata })
}

fn read_version<R: Read>(cursor: &mut Cursor<R>) -> Result<u32, GgufError> {
    let magic: [u8; 4] = cursor.array("the file's first four bytes")?;
    if magic != MAGIC {
        return Err(GgufError::Magic { found: magic.escape_ascii().to_string() });
    }
    match cursor.u32("the version")? {
        version @ (2 | 3) => Ok(version),
        swapped if matches!(swapped.swap_bytes(), 1..=3) => Err(GgufError::BigEndian),
        version => Err(GgufError::Version { version }),
    }
}

fn read_count<R: Read>(
    cursor: &mut Cursor<R>,
    what: &'static str,
    max: u64,
    bytes_min: u64,
) -> Result<u64, GgufError> {
    let found = cursor.u64(what)?;
    if found > max {
        return Err(GgufError::Limit { what, found, max });
    }
    let room = cursor.room_for(bytes_min);
    if found > room { Err(GgufError::NoRoom { what, found, room }) } else { Ok(found) }
}

fn read_metadata<R: Read>(
    cursor: &mut Cursor<R>,
    keys: u64,
    keep_arrays: &[&str],
) -> Result<HashMap<String, Value>, GgufError> {
    let mut metadata = HashMap::new();
    for _ in 0..keys {
        let key = cursor.text(KEY_BYTES_MAX, "bytes in a key")?;
        if key.is_empty() {
            return Err(GgufError::EmptyKey { at: cursor.at() });
        }
        let value = value::read(cursor, &key, keep_arrays.contains(&key.as_str()))?;
        if metadata.contains_key(&key) {
            return Err(GgufError::DuplicateKey { key });
        }
        metadata.insert(key, value);
    }
    Ok(metadata)
}

fn alignment(metadata: &HashMap<String, Value>) -> Result<u64, GgufError> {
    match metadata.get("general.alignment") {
        None => Ok(ALIGNMENT_BYTES_DEFAULT),
        Some(Value::Unsigned(ValueType::U32, bytes))
            if bytes.is_power_of_two() && *bytes <= ALIGNMENT_BYTES_MAX =>
        {
            Ok(*bytes)
        }
        Some(other) => Err(GgufError::Alignment { found: format!("{other:?}") }),
    }
}

#[cfg(test)]
mod tests;
