//! The data types of safetensors.

use std::fmt;

/// A number format.
#[derive(PartialEq, Eq)]
pub struct DataType {
    /// Its name in files.
    pub name: &'static str,
    /// Bits of one number.
    pub bits: u64,
    /// Whether it holds whole numbers: then it may hold packed weights of another format.
    pub whole: bool,
}

impl fmt::Debug for DataType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl DataType {
    /// Size of so many numbers; `None` if it overflows or does not end with a byte.
    pub(super) fn bytes(&self, elements: u64) -> Option<u64> {
        let bits = elements.checked_mul(self.bits)?;
        bits.is_multiple_of(8).then_some(bits / 8)
    }
}

/// The type of this name, if it is known.
pub fn data_type(name: &str) -> Option<&'static DataType> {
    DATA_TYPES.iter().find(|known| known.name == name)
}

const fn real(name: &'static str, bits: u64) -> DataType {
    DataType { name, bits, whole: false }
}

const fn whole(name: &'static str, bits: u64) -> DataType {
    DataType { name, bits, whole: true }
}

/// All types of today.
pub const DATA_TYPES: &[DataType] = &[
    whole("BOOL", 8),
    real("F4", 4),
    real("F6_E2M3", 6),
    real("F6_E3M2", 6),
    whole("U8", 8),
    whole("I8", 8),
    real("F8_E5M2", 8),
    real("F8_E4M3", 8),
    real("F8_E8M0", 8),
    real("F8_E4M3FNUZ", 8),
    real("F8_E5M2FNUZ", 8),
    whole("I16", 16),
    whole("U16", 16),
    real("F16", 16),
    real("BF16", 16),
    whole("I32", 32),
    whole("U32", 32),
    real("F32", 32),
    real("C64", 64),
    real("F64", 64),
    whole("I64", 64),
    whole("U64", 64),
];
