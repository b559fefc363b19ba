//! A writer of GGUF that writes what it is told, right or wrong.

/// Numbers of value types in files.
pub mod value_type {
    /// 16-bit unsigned.
    pub const U16: u32 = 2;
    /// 32-bit unsigned.
    pub const U32: u32 = 4;
    /// 32-bit signed.
    pub const I32: u32 = 5;
    /// A string.
    pub const TEXT: u32 = 8;
    /// An array.
    pub const ARRAY: u32 = 9;
    /// 64-bit unsigned.
    pub const U64: u32 = 10;
}

/// Number of the tensor type F32 in files.
pub const F32: u32 = 0;

/// A GGUF file to be written.
#[derive(Debug, Clone)]
pub struct Gguf {
    /// The version in the header.
    pub version: u32,
    /// The number of tensors in the header, if it shall lie.
    pub tensor_count: Option<u64>,
    /// The number of keys in the header, if it shall lie.
    pub key_count: Option<u64>,
    /// Padding of the data.
    pub alignment: usize,
    keys: Vec<Vec<u8>>,
    tensors: Vec<Tensor>,
}

#[derive(Debug, Clone)]
struct Tensor {
    name: Vec<u8>,
    shape: Vec<u64>,
    tensor_type: u32,
    offset: Option<u64>,
    data: Vec<u8>,
}

/// A length and bytes.
fn text(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u64).to_le_bytes(), bytes].concat()
}

impl Gguf {
    /// A file with neither keys nor tensors.
    pub fn empty() -> Self {
        Self {
            version: 3,
            tensor_count: None,
            key_count: None,
            alignment: 32,
            keys: Vec::new(),
            tensors: Vec::new(),
        }
    }

    /// A header that a reader must accept: one layer of an architecture, no tensor.
    pub fn of(architecture: &str) -> Self {
        let key = |suffix| format!("{architecture}.{suffix}");
        Self::empty()
            .text("general.architecture", architecture)
            .u32(&key("context_length"), 128)
            .u32(&key("embedding_length"), 64)
            .u32(&key("block_count"), 1)
            .u32(&key("attention.head_count"), 4)
            .texts("tokenizer.ggml.tokens", &["<s>", "</s>", "a", "b"])
    }

    /// A small model with two tensors.
    pub fn llama() -> Self {
        Self::of("llama").f32("token_embd.weight", &[64, 4]).f32("output_norm.weight", &[64])
    }

    /// Adds a key with a raw value.
    pub fn raw(mut self, key: &[u8], value_type: u32, value: &[u8]) -> Self {
        self.keys.push([&text(key)[..], &value_type.to_le_bytes(), value].concat());
        self
    }

    /// Adds a 16-bit number.
    pub fn u16(self, key: &str, value: u16) -> Self {
        self.raw(key.as_bytes(), value_type::U16, &value.to_le_bytes())
    }

    /// Adds a 32-bit number.
    pub fn u32(self, key: &str, value: u32) -> Self {
        self.raw(key.as_bytes(), value_type::U32, &value.to_le_bytes())
    }

    /// Adds a signed 32-bit number.
    pub fn i32(self, key: &str, value: i32) -> Self {
        self.raw(key.as_bytes(), value_type::I32, &value.to_le_bytes())
    }

    /// Adds a string.
    pub fn text(self, key: &str, value: &str) -> Self {
        self.raw(key.as_bytes(), value_type::TEXT, &text(value.as_bytes()))
    }

    /// Adds an array of strings.
    pub fn texts(self, key: &str, values: &[&str]) -> Self {
        let elements: Vec<u8> = values.iter().flat_map(|value| text(value.as_bytes())).collect();
        self.array(key, value_type::TEXT, values.len() as u64, &elements)
    }

    /// Adds an array whose length may lie.
    pub fn array(self, key: &str, element: u32, elements: u64, raw: &[u8]) -> Self {
        let value = [&element.to_le_bytes()[..], &elements.to_le_bytes(), raw].concat();
        self.raw(key.as_bytes(), value_type::ARRAY, &value)
    }

    /// Adds a tensor of zeros in F32.
    pub fn f32(self, name: &str, shape: &[u64]) -> Self {
        let bytes = 4 * shape.iter().product::<u64>() as usize;
        self.tensor(name, shape, F32, &vec![0; bytes])
    }

    /// Adds a tensor with its data.
    pub fn tensor(mut self, name: &str, shape: &[u64], tensor_type: u32, data: &[u8]) -> Self {
        self.tensors.push(Tensor {
            name: name.as_bytes().to_vec(),
            shape: shape.to_vec(),
            tensor_type,
            offset: None,
            data: data.to_vec(),
        });
        self
    }

    /// Lets the last tensor claim to begin elsewhere.
    pub fn at(mut self, offset: u64) -> Self {
        if let Some(tensor) = self.tensors.last_mut() {
            tensor.offset = Some(offset);
        }
        self
    }

    /// The file's bytes.
    pub fn build(&self) -> Vec<u8> {
        let mut file = b"GGUF".to_vec();
        file.extend(self.version.to_le_bytes());
        file.extend(self.tensor_count.unwrap_or(self.tensors.len() as u64).to_le_bytes());
        file.extend(self.key_count.unwrap_or(self.keys.len() as u64).to_le_bytes());
        file.extend(self.keys.concat());
        let mut data = Vec::new();
        for tensor in &self.tensors {
            file.extend(text(&tensor.name));
            file.extend((tensor.shape.len() as u32).to_le_bytes());
            file.extend(tensor.shape.iter().flat_map(|length| length.to_le_bytes()));
            file.extend(tensor.tensor_type.to_le_bytes());
            file.extend(tensor.offset.unwrap_or(data.len() as u64).to_le_bytes());
            data.extend_from_slice(&tensor.data);
            data.resize(data.len().next_multiple_of(self.alignment), 0);
        }
        if !self.tensors.is_empty() {
            file.resize(file.len().next_multiple_of(self.alignment), 0);
        }
        file.extend(data);
        file
    }
}

/// The parts of a small split model, with their file names.
pub fn split_llama(parts: u16) -> Vec<(String, Vec<u8>)> {
    let part = |no: u16| {
        let begun = if no == 0 { Gguf::of("llama") } else { Gguf::empty() };
        let file = begun
            .u16("split.no", no)
            .u16("split.count", parts)
            .i32("split.tensors.count", i32::from(parts))
            .f32(&format!("blk.{no}.weight"), &[64, 4]);
        (format!("tiny-{:05}-of-{parts:05}.gguf", no + 1), file.build())
    };
    (0..parts).map(part).collect()
}
