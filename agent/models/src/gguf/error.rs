use std::io;

use super::{ALIGNMENT_BYTES_MAX, DIMENSIONS_MAX, RuleBroken};

/// Why a file is not a GGUF file that an engine may be given.
#[derive(Debug, thiserror::Error)]
pub enum GgufError {
    /// The device, not the file's content.
    #[error("the header could not be read at byte {at}; check the disk or stick and try again")]
    Read {
        /// Bytes read before.
        at: u64,
        /// What the system said.
        source: io::Error,
    },
    /// Another kind of file.
    #[error(
        "not a GGUF file: it begins with \"{found}\" instead of \"GGUF\"; give a .gguf file, or the folder of \
         a Hugging Face model"
    )]
    Magic {
        /// The first four bytes, escaped.
        found: String,
    },
    /// Made for another kind of machine.
    #[error("a big-endian GGUF file: get the little-endian file of this model")]
    BigEndian,
    /// Too old, too new or damaged.
    #[error("GGUF version {version} is not known, only 2 and 3 are: convert the model again")]
    Version {
        /// The file's version.
        version: u32,
    },
    /// The file ends within its header.
    #[error("truncated: {what} takes {bytes} bytes at byte {at}, {left} are left; copy the file again")]
    Truncated {
        /// What was to be read.
        what: &'static str,
        /// Where.
        at: u64,
        /// Its length.
        bytes: u64,
        /// What is left of the file.
        left: u64,
    },
    /// Beyond a named limit of the reader.
    #[error("{found} {what}, at most {max} are allowed")]
    Limit {
        /// What is limited, with its unit.
        what: &'static str,
        /// How much the file claims.
        found: u64,
        /// The limit.
        max: u64,
    },
    /// A number that the file's size contradicts.
    #[error("{found} {what} are announced, the file has room for at most {room}: damaged or truncated")]
    NoRoom {
        /// Of what.
        what: &'static str,
        /// How many the file announces.
        found: u64,
        /// How many could follow.
        room: u64,
    },
    /// Text that is not text.
    #[error("{what} at byte {at}: not UTF-8")]
    NotUtf8 {
        /// What was to be read.
        what: &'static str,
        /// Where.
        at: u64,
    },
    /// A key without a name.
    #[error("an empty key before byte {at}")]
    EmptyKey {
        /// Where it ends.
        at: u64,
    },
    /// A key that stands twice.
    #[error("the key {key:?} stands twice")]
    DuplicateKey {
        /// The key.
        key: String,
    },
    /// A value of a type that the format does not have.
    #[error("the key {key:?} has a value of the unknown type {number}")]
    ValueType {
        /// The key.
        key: String,
        /// The type's number in the file.
        number: u32,
    },
    /// An array of arrays.
    #[error("the key {key:?} holds an array of arrays, which llama.cpp cannot read")]
    NestedArray {
        /// The key.
        key: String,
    },
    /// An array that is too long or longer than the file.
    #[error("the key {key:?} announces {elements} elements, at most {max} are possible here")]
    ArrayTooLong {
        /// The key.
        key: String,
        /// How many it announces.
        elements: u64,
        /// The limit, or what the file has room for.
        max: u64,
    },
    /// A value that is needed, in a type that makes no sense.
    #[error("the key {key:?} must hold {expected}")]
    WrongType {
        /// The key.
        key: String,
        /// What it must hold.
        expected: &'static str,
    },
    /// A model cannot be told apart without it.
    #[error("the key {key:?} is missing: not a language model, or damaged")]
    MissingKey {
        /// The key.
        key: String,
    },
    /// An alignment that cannot be.
    #[error(
        "general.alignment is {found}; it must be a 32-bit power of two of at most {ALIGNMENT_BYTES_MAX}"
    )]
    Alignment {
        /// What the file says.
        found: String,
    },
    /// A tensor that stands twice.
    #[error("the tensor {tensor:?} stands twice")]
    DuplicateTensor {
        /// Its name.
        tensor: String,
    },
    /// Too many dimensions.
    #[error("the tensor {tensor:?} has {dimensions} dimensions, at most {DIMENSIONS_MAX} are possible")]
    Dimensions {
        /// Its name.
        tensor: String,
        /// How many it has.
        dimensions: u32,
    },
    /// A dimension of zero, or a product that overflows.
    #[error("the tensor {tensor:?} has the impossible shape {shape:?}")]
    Shape {
        /// Its name.
        tensor: String,
        /// Its dimensions.
        shape: [u64; 4],
    },
    /// A type that ggml does not know.
    #[error(
        "the tensor {tensor:?} has the unknown type {number}: a newer format, or one removed from ggml; \
         get the model in another quantisation"
    )]
    TensorType {
        /// Its name.
        tensor: String,
        /// The type's number in the file.
        number: u32,
    },
    /// A type that only exists while computing.
    #[error("the tensor {tensor:?} is stored as {name}, which no kernel can multiply")]
    NotStorable {
        /// Its name.
        tensor: String,
        /// The type's name.
        name: &'static str,
    },
    /// Rows that do not fill their blocks.
    #[error("the tensor {tensor:?} has rows of {row} elements, not a multiple of {block} ({name})")]
    Row {
        /// Its name.
        tensor: String,
        /// Elements in a row.
        row: u64,
        /// Elements in a block.
        block: u64,
        /// The type's name.
        name: &'static str,
    },
    /// A tensor that overlaps the one before it, or leaves a gap.
    #[error("the tensor {tensor:?} begins at {offset} of the data, it must begin at {expected}: {how}")]
    Offset {
        /// Its name.
        tensor: String,
        /// Where it says it begins.
        offset: u64,
        /// Where the one before it ends, aligned.
        expected: u64,
        /// Overlap or gap.
        how: &'static str,
    },
    /// A tensor that lies outside the file.
    #[error("the tensor {tensor:?} ends at byte {end}, the file at {file_bytes}: copy the file again")]
    OutsideFile {
        /// Its name.
        tensor: String,
        /// Where it ends.
        end: u64,
        /// The file's size.
        file_bytes: u64,
    },
    /// A number in the header that makes llama.cpp abort.
    #[error(transparent)]
    Rule(#[from] RuleBroken),
}
