//! Bounded reader of safetensors headers, and of the index that maps tensors to shards.
//!
//! Format: the README of Hugging Face's `safetensors`. Its own reader takes the last of two tensors
//! with one name and needs the whole file in memory; otherwise this one refuses at least what it does.

mod data_type;
mod entries;
mod index;

use std::collections::HashSet;
use std::io::{self, Read};

pub use data_type::{DATA_TYPES, DataType, data_type};
pub use index::{INDEX_BYTES_MAX, Index, IndexError, read_index};

use entries::{Entry, Header as RawHeader};

/// Largest JSON header.
pub const HEADER_BYTES_MAX: u64 = 32 << 20;
/// Most tensors in one file.
pub const TENSORS_MAX: usize = 1 << 17;
/// Most dimensions of a tensor.
pub const DIMENSIONS_MAX: usize = 8;

const LENGTH_BYTES: u64 = 8;

/// Why a file is not a safetensors file.
#[derive(Debug, thiserror::Error)]
pub enum SafetensorsError {
    /// The device, not the file's content.
    #[error("the header could not be read; check the disk or stick and try again")]
    Read(#[source] io::Error),
    /// Not even a length.
    #[error("truncated: the file has {file_bytes} bytes; copy it again")]
    Empty {
        /// The file's size.
        file_bytes: u64,
    },
    /// A header longer than the reader takes.
    #[error("the header claims {bytes} bytes, at most {HEADER_BYTES_MAX} are allowed")]
    HeaderTooLong {
        /// What the file claims.
        bytes: u64,
    },
    /// The file ends within its header.
    #[error("truncated: the header claims {bytes} bytes, {left} follow; copy the file again")]
    HeaderTruncated {
        /// What the file claims.
        bytes: u64,
        /// What follows.
        left: u64,
    },
    /// The format demands an opening brace as the first byte.
    #[error("not a safetensors file: the header does not begin with an opening brace")]
    NoBrace,
    /// The header is not the JSON that the format demands.
    #[error("the header is not valid")]
    Json(#[source] serde_json::Error),
    /// A tensor that stands twice.
    #[error("the tensor {tensor:?} stands twice")]
    Duplicate {
        /// Its name.
        tensor: String,
    },
    /// A data type that is not known.
    #[error("the tensor {tensor:?} has the unknown data type {found:?}")]
    DataType {
        /// Its name.
        tensor: String,
        /// What the file says.
        found: String,
    },
    /// Shape and offsets contradict each other.
    #[error("the tensor {tensor:?} has bytes {begin} to {end}, its shape {shape:?} in {data_type} does not")]
    Size {
        /// Its name.
        tensor: String,
        /// First byte.
        begin: u64,
        /// Byte after the last.
        end: u64,
        /// Its shape.
        shape: Vec<u64>,
        /// Its data type.
        data_type: &'static str,
    },
    /// A tensor that overlaps the one before it, or leaves a hole.
    #[error("the tensor {tensor:?} begins at {begin} of the data, it must begin at {expected}: {how}")]
    Offset {
        /// Its name.
        tensor: String,
        /// Where it says it begins.
        begin: u64,
        /// Where the one before it ends.
        expected: u64,
        /// Overlap or hole.
        how: &'static str,
    },
    /// Bytes that run backwards, or so far that sums would overflow.
    #[error("the tensor {tensor:?} claims the impossible bytes {begin} to {end}")]
    Span {
        /// Its name.
        tensor: String,
        /// First byte.
        begin: u64,
        /// Byte after the last.
        end: u64,
    },
    /// Tensors and file do not end together.
    #[error("the tensors end at byte {end}, the file at {file_bytes}: truncated or damaged, copy it again")]
    FileEnd {
        /// Where the last tensor ends.
        end: u64,
        /// The file's size.
        file_bytes: u64,
    },
}

/// A tensor in a safetensors file.
#[derive(Debug, Clone)]
pub struct Tensor {
    /// Its name.
    pub name: String,
    /// Its number format.
    pub data_type: &'static DataType,
    /// Number of weights.
    pub elements: u64,
    /// Size of its data.
    pub bytes: u64,
}

/// Reads the header of a safetensors file of `file_bytes` bytes: its tensors, which fill the file
/// without holes or overlaps, in the order of their data.
pub fn read_header(mut source: impl Read, file_bytes: u64) -> Result<Vec<Tensor>, SafetensorsError> {
    let Some(left) = file_bytes.checked_sub(LENGTH_BYTES) else {
        return Err(SafetensorsError::Empty { file_bytes });
    };
    let mut length = [0; LENGTH_BYTES as usize];
    source.read_exact(&mut length).map_err(SafetensorsError::Read)?;
    let bytes = u64::from_le_bytes(length);
    if bytes > HEADER_BYTES_MAX {
        return Err(SafetensorsError::HeaderTooLong { bytes });
    }
    if bytes > left {
        return Err(SafetensorsError::HeaderTruncated { bytes, left });
    }
    let mut json = vec![0; bytes as usize];
    source.read_exact(&mut json).map_err(SafetensorsError::Read)?;
    if json.first() != Some(&b'{') {
        return Err(SafetensorsError::NoBrace);
    }
    let RawHeader(mut entries) = serde_json::from_slice(&json).map_err(SafetensorsError::Json)?;
    entries.sort_by_key(|(_, entry)| entry.data_offsets);
    let end = LENGTH_BYTES + bytes + check_layout(&entries)?;
    if end != file_bytes {
        return Err(SafetensorsError::FileEnd { end, file_bytes });
    }
    entries.into_iter().map(|(name, entry)| tensor(name, entry)).collect()
}

/// Returns where the data end.
fn check_layout(entries: &[(String, Entry)]) -> Result<u64, SafetensorsError> {
    let mut names = HashSet::new();
    let mut expected = 0;
    for (name, entry) in entries {
        let tensor = || name.clone();
        if !names.insert(name) {
            return Err(SafetensorsError::Duplicate { tensor: tensor() });
        }
        let (begin, end) = entry.data_offsets;
        if begin != expected {
            let how = if begin < expected { "they overlap" } else { "a hole" };
            return Err(SafetensorsError::Offset { tensor: tensor(), begin, expected, how });
        }
        if end < begin || end > i64::MAX as u64 {
            return Err(SafetensorsError::Span { tensor: tensor(), begin, end });
        }
        expected = end;
    }
    Ok(expected)
}

fn tensor(name: String, entry: Entry) -> Result<Tensor, SafetensorsError> {
    let Some(data_type) = data_type(&entry.dtype) else {
        return Err(SafetensorsError::DataType { tensor: name, found: entry.dtype });
    };
    let (begin, end) = entry.data_offsets;
    let elements = entry.shape.iter().try_fold(1_u64, |product, length| product.checked_mul(*length));
    let bytes = elements.and_then(|elements| data_type.bytes(elements));
    match (elements, bytes) {
        (Some(elements), Some(bytes)) if bytes == end - begin => {
            Ok(Tensor { name, data_type, elements, bytes })
        }
        _ => Err(SafetensorsError::Size {
            tensor: name,
            begin,
            end,
            shape: entry.shape,
            data_type: data_type.name,
        }),
    }
}

#[cfg(test)]
mod tests;
