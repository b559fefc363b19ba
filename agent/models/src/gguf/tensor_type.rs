//! The weight formats of ggml: block sizes as in `ggml-common.h` of llama.cpp (ggml 0.26).

use std::fmt;

/// A ggml tensor type. Rows are stored in blocks of a fixed number of elements.
#[derive(PartialEq, Eq)]
pub struct TensorType {
    /// Its number in files.
    pub id: u32,
    /// Its name in ggml.
    pub name: &'static str,
    /// Elements in a block; a row's length is a multiple of it.
    pub block_elements: u64,
    /// Size of a block.
    pub block_bytes: u64,
    /// Whether llama.cpp can hold it in a model. Q8_1 and Q8_K exist only inside products, and for
    /// the other refused types there is no product: llama.cpp would call a null pointer.
    pub storable: bool,
}

impl fmt::Debug for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// The type with this number, if ggml has it today.
pub fn tensor_type(id: u32) -> Option<&'static TensorType> {
    TENSOR_TYPES.iter().find(|known| known.id == id)
}

const fn stored(id: u32, name: &'static str, block_elements: u64, block_bytes: u64) -> TensorType {
    TensorType { id, name, block_elements, block_bytes, storable: true }
}

const fn transient(id: u32, name: &'static str, block_elements: u64, block_bytes: u64) -> TensorType {
    TensorType { id, name, block_elements, block_bytes, storable: false }
}

/// All types of today. Numbers that are missing were removed from ggml.
pub const TENSOR_TYPES: &[TensorType] = &[
    stored(0, "F32", 1, 4),
    stored(1, "F16", 1, 2),
    stored(2, "Q4_0", 32, 18),
    stored(3, "Q4_1", 32, 20),
    stored(6, "Q5_0", 32, 22),
    stored(7, "Q5_1", 32, 24),
    stored(8, "Q8_0", 32, 34),
    transient(9, "Q8_1", 32, 36),
    stored(10, "Q2_K", 256, 84),
    stored(11, "Q3_K", 256, 110),
    stored(12, "Q4_K", 256, 144),
    stored(13, "Q5_K", 256, 176),
    stored(14, "Q6_K", 256, 210),
    transient(15, "Q8_K", 256, 292),
    stored(16, "IQ2_XXS", 256, 66),
    stored(17, "IQ2_XS", 256, 74),
    stored(18, "IQ3_XXS", 256, 98),
    stored(19, "IQ1_S", 256, 50),
    stored(20, "IQ4_NL", 32, 18),
    stored(21, "IQ3_S", 256, 110),
    stored(22, "IQ2_S", 256, 82),
    stored(23, "IQ4_XS", 256, 136),
    transient(24, "I8", 1, 1),
    transient(25, "I16", 1, 2),
    stored(26, "I32", 1, 4),
    transient(27, "I64", 1, 8),
    transient(28, "F64", 1, 8),
    stored(29, "IQ1_M", 256, 56),
    stored(30, "BF16", 1, 2),
    stored(34, "TQ1_0", 256, 54),
    stored(35, "TQ2_0", 256, 66),
    stored(39, "MXFP4", 32, 17),
    stored(40, "NVFP4", 64, 36),
    stored(41, "Q1_0", 128, 18),
    stored(42, "Q2_0", 64, 18),
];
