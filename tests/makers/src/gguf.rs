//! Writes the GGUF container, version 3: header, typed metadata, tensor table, aligned data.
//! Format: docs/gguf.md in ggml's repository.

const MAGIC: &[u8; 4] = b"GGUF";
const VERSION: u32 = 3;
pub(crate) const ALIGNMENT_BYTES: usize = 32;
/// ggml's number for F32 tensors.
pub(crate) const TENSOR_F32: u32 = 0;

/// A metadata value.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    U32(u32),
    F32(f32),
    Bool(bool),
    String(String),
    Strings(Vec<String>),
    I32s(Vec<i32>),
}

/// A tensor as it goes into the file.
pub(crate) struct GgufTensor {
    pub(crate) name: String,
    /// Outermost dimension first; the file has them the other way round.
    pub(crate) shape: Vec<usize>,
    pub(crate) values: Vec<f32>,
}

/// A tensor's line in the table.
pub(crate) struct Entry<'a> {
    pub(crate) name: &'a str,
    /// Outermost dimension first; the file has them the other way round.
    pub(crate) shape: &'a [usize],
    /// ggml's number of its format.
    pub(crate) format: u32,
    pub(crate) bytes: usize,
}

/// All that is before the data, which begins at its end. Each tensor's data is to be followed by zeros up to
/// the next multiple of [`ALIGNMENT_BYTES`].
pub(crate) fn header(metadata: &[(String, Value)], tensors: &[Entry<'_>]) -> Vec<u8> {
    let mut file = Vec::new();
    file.extend(MAGIC);
    put_u32(&mut file, VERSION);
    put_len(&mut file, tensors.len());
    put_len(&mut file, metadata.len());
    for (key, value) in metadata {
        put_string(&mut file, key);
        put_value(&mut file, value);
    }
    let mut offset = 0;
    for tensor in tensors {
        put_string(&mut file, tensor.name);
        put_u32(&mut file, tensor.shape.len() as u32);
        tensor.shape.iter().rev().for_each(|dimension| put_len(&mut file, *dimension));
        put_u32(&mut file, tensor.format);
        put_len(&mut file, offset);
        offset = (offset + tensor.bytes).next_multiple_of(ALIGNMENT_BYTES);
    }
    pad(&mut file);
    file
}

/// The bytes of a GGUF file.
pub(crate) fn encode(metadata: &[(String, Value)], tensors: &[GgufTensor]) -> Vec<u8> {
    let entries: Vec<Entry<'_>> = tensors
        .iter()
        .map(|tensor| Entry {
            name: &tensor.name,
            shape: &tensor.shape,
            format: TENSOR_F32,
            bytes: tensor.values.len() * size_of::<f32>(),
        })
        .collect();
    let mut file = header(metadata, &entries);
    for tensor in tensors {
        tensor.values.iter().for_each(|value| file.extend(value.to_le_bytes()));
        pad(&mut file);
    }
    file
}

fn put_value(file: &mut Vec<u8>, value: &Value) {
    const ARRAY: u32 = 9;
    match value {
        Value::U32(number) => {
            put_u32(file, 4);
            put_u32(file, *number);
        }
        Value::F32(number) => {
            put_u32(file, 6);
            file.extend(number.to_le_bytes());
        }
        Value::Bool(truth) => {
            put_u32(file, 7);
            file.push(u8::from(*truth));
        }
        Value::String(text) => {
            put_u32(file, 8);
            put_string(file, text);
        }
        Value::Strings(texts) => {
            put_u32(file, ARRAY);
            put_u32(file, 8);
            put_len(file, texts.len());
            texts.iter().for_each(|text| put_string(file, text));
        }
        Value::I32s(numbers) => {
            put_u32(file, ARRAY);
            put_u32(file, 5);
            put_len(file, numbers.len());
            numbers.iter().for_each(|number| file.extend(number.to_le_bytes()));
        }
    }
}

fn put_u32(file: &mut Vec<u8>, number: u32) {
    file.extend(number.to_le_bytes());
}

fn put_len(file: &mut Vec<u8>, length: usize) {
    file.extend((length as u64).to_le_bytes());
}

fn put_string(file: &mut Vec<u8>, text: &str) {
    put_len(file, text.len());
    file.extend(text.as_bytes());
}

fn pad(file: &mut Vec<u8>) {
    file.resize(file.len().next_multiple_of(ALIGNMENT_BYTES), 0);
}

#[cfg(test)]
mod tests {
    use super::{GgufTensor, Value, encode};

    #[test]
    fn a_small_file_has_the_documented_bytes() {
        let metadata = [("k".to_owned(), Value::U32(7))];
        let tensor = GgufTensor { name: "t".to_owned(), shape: vec![1, 2], values: vec![1.0, -1.0] };
        let mut expected = b"GGUF\x03\0\0\0".to_vec();
        expected.extend(b"\x01\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0"); // one tensor, one key
        expected.extend(b"\x01\0\0\0\0\0\0\0k\x04\0\0\0\x07\0\0\0");
        expected.extend(b"\x01\0\0\0\0\0\0\0t\x02\0\0\0"); // two dimensions, innermost first
        expected.extend(b"\x02\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0");
        expected.extend(b"\0\0\0\0\0\0\0\0\0\0\0\0"); // F32, offset 0
        expected.resize(96, 0);
        expected.extend(b"\0\0\x80\x3f\0\0\x80\xbf");
        expected.resize(128, 0);
        assert_eq!(encode(&metadata, &[tensor]), expected);
    }
}
