//! Tensors: their shapes, and where their data lie.

use std::collections::HashSet;
use std::io::Read;

use super::cursor::Cursor;
use super::{DIMENSIONS_MAX, GgufError, TENSOR_NAME_BYTES_MAX, TensorType, tensor_type};

/// A tensor in a GGUF file.
#[derive(Debug, Clone)]
pub struct Tensor {
    /// Its name.
    pub name: String,
    /// Its dimensions, the row's length first; missing ones are 1.
    pub shape: [u64; DIMENSIONS_MAX as usize],
    /// Its weight format.
    pub tensor_type: &'static TensorType,
    /// Where its data begin, from the beginning of all data.
    pub offset: u64,
    /// Number of weights.
    pub elements: u64,
    /// Size of its data.
    pub bytes: u64,
}

pub(super) fn read_tensors<R: Read>(cursor: &mut Cursor<R>, count: u64) -> Result<Vec<Tensor>, GgufError> {
    let mut tensors = Vec::new();
    for _ in 0..count {
        tensors.push(read_tensor(cursor)?);
    }
    Ok(tensors)
}

fn read_tensor<R: Read>(cursor: &mut Cursor<R>) -> Result<Tensor, GgufError> {
    let name = cursor.text(TENSOR_NAME_BYTES_MAX, "bytes in a tensor's name")?;
    let dimensions = cursor.u32("a tensor's dimensions")?;
    if dimensions > DIMENSIONS_MAX {
        return Err(GgufError::Dimensions { tensor: name, dimensions });
    }
    let mut shape = [1; DIMENSIONS_MAX as usize];
    for length in &mut shape[..dimensions as usize] {
        *length = cursor.u64("a tensor's dimension")?;
    }
    let number = cursor.u32("a tensor's type")?;
    let offset = cursor.u64("a tensor's offset")?;
    let Some(tensor_type) = tensor_type(number) else {
        return Err(GgufError::TensorType { tensor: name, number });
    };
    if !tensor_type.storable {
        return Err(GgufError::NotStorable { tensor: name, name: tensor_type.name });
    }
    if !shape[0].is_multiple_of(tensor_type.block_elements) {
        let (row, block) = (shape[0], tensor_type.block_elements);
        return Err(GgufError::Row { tensor: name, row, block, name: tensor_type.name });
    }
    match size(shape, tensor_type) {
        Some((elements, bytes)) => Ok(Tensor { name, shape, tensor_type, offset, elements, bytes }),
        None => Err(GgufError::Shape { tensor: name, shape }),
    }
}

/// Elements and bytes; `None` for a dimension of zero or what does not fit in a signed number.
fn size(shape: [u64; DIMENSIONS_MAX as usize], tensor_type: &TensorType) -> Option<(u64, u64)> {
    let elements = shape.into_iter().try_fold(1_u64, u64::checked_mul)?;
    let bytes = (elements / tensor_type.block_elements).checked_mul(tensor_type.block_bytes)?;
    let fits = elements > 0 && elements <= i64::MAX as u64 && bytes <= i64::MAX as u64;
    fits.then_some((elements, bytes))
}

/// llama.cpp demands that data follow one another in the order of the header, each padded to the
/// alignment: hence no two overlap. What it does not check when it reads the header is the file's end.
pub(super) fn check(
    tensors: &[Tensor],
    alignment: u64,
    data_offset: u64,
    file_bytes: u64,
) -> Result<(), GgufError> {
    let mut names = HashSet::new();
    let mut expected = 0_u64;
    for tensor in tensors {
        let name = || tensor.name.clone();
        if !names.insert(&tensor.name) {
            return Err(GgufError::DuplicateTensor { tensor: name() });
        }
        if tensor.offset != expected {
            let how = if tensor.offset < expected { "they overlap" } else { "a gap" };
            return Err(GgufError::Offset { tensor: name(), offset: tensor.offset, expected, how });
        }
        let end = data_offset.saturating_add(expected).saturating_add(tensor.bytes);
        if end > file_bytes {
            return Err(GgufError::OutsideFile { tensor: name(), end, file_bytes });
        }
        // Below the file's size, hence far from an overflow.
        expected = (expected + tensor.bytes).next_multiple_of(alignment);
    }
    Ok(())
}
