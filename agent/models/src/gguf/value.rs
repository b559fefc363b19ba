//! Metadata values of GGUF.

use std::io::Read;

use super::cursor::Cursor;
use super::{ARRAY_ELEMENTS_MAX, ARRAY_KEPT_BYTES_MAX, GgufError, STRING_BYTES_MAX, STRING_KEPT_BYTES_MAX};

/// The type of a value, by its number in files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueType {
    /// One byte.
    U8 = 0,
    /// One byte, signed.
    I8 = 1,
    /// Two bytes.
    U16 = 2,
    /// Two bytes, signed.
    I16 = 3,
    /// Four bytes.
    U32 = 4,
    /// Four bytes, signed.
    I32 = 5,
    /// Single precision.
    F32 = 6,
    /// One byte, not zero for yes.
    Bool = 7,
    /// Length and UTF-8.
    Text = 8,
    /// Type, length and elements.
    Array = 9,
    /// Eight bytes.
    U64 = 10,
    /// Eight bytes, signed.
    I64 = 11,
    /// Double precision.
    F64 = 12,
}

impl ValueType {
    const ALL: [Self; 13] = [
        Self::U8,
        Self::I8,
        Self::U16,
        Self::I16,
        Self::U32,
        Self::I32,
        Self::F32,
        Self::Bool,
        Self::Text,
        Self::Array,
        Self::U64,
        Self::I64,
        Self::F64,
    ];

    /// Bytes of one value, or at least for one value, where its length differs.
    fn bytes_min(self) -> u64 {
        match self {
            Self::U8 | Self::I8 | Self::Bool => 1,
            Self::U16 | Self::I16 => 2,
            Self::U32 | Self::I32 | Self::F32 => 4,
            Self::U64 | Self::I64 | Self::F64 | Self::Text => 8,
            Self::Array => 12,
        }
    }
}

/// A metadata value.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// An unsigned number, with its type.
    Unsigned(ValueType, u64),
    /// A signed number, with its type.
    Signed(ValueType, i64),
    /// A number with a fraction.
    Float(f64),
    /// Yes or no.
    Bool(bool),
    /// A string of at most [`STRING_KEPT_BYTES_MAX`].
    Text(String),
    /// A longer string, not kept.
    LongText {
        /// Its length.
        bytes: u64,
    },
    /// An array; its elements are there only if it is short or was asked for.
    Array(Array),
}

/// An array of values that are not arrays.
#[derive(Debug, Clone, PartialEq)]
pub struct Array {
    /// Type of the elements.
    pub element: ValueType,
    /// How many there are.
    pub elements: u64,
    /// The elements as they stand in the file, whose structure is proven; `None` if not kept.
    raw: Option<Vec<u8>>,
}

impl Array {
    /// The strings of an array that was asked for; nothing for other types.
    pub fn texts(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = match self.element {
            ValueType::Text => self.raw.as_deref().unwrap_or_default(),
            _ => &[],
        };
        std::iter::from_fn(move || {
            let (length, after) = rest.split_first_chunk()?;
            let (text, after) = after.split_at_checked(u64::from_le_bytes(*length) as usize)?;
            rest = after;
            Some(text)
        })
    }

    /// The whole numbers that are not negative; `None` if not kept or of another kind.
    pub fn integers(&self) -> Option<Vec<u64>> {
        let raw = self.raw.as_deref()?;
        let element_bytes = self.element.bytes_min() as usize;
        raw.chunks_exact(element_bytes).map(|bytes| scalar(self.element, bytes).as_integer()).collect()
    }
}

impl Value {
    /// The value as a whole number, if it is one and not negative.
    pub fn as_integer(&self) -> Option<u64> {
        match self {
            Self::Unsigned(_, value) => Some(*value),
            Self::Signed(_, value) => u64::try_from(*value).ok(),
            _ => None,
        }
    }
}

/// Decodes a value of a fixed size from exactly its bytes.
fn scalar(value_type: ValueType, bytes: &[u8]) -> Value {
    let mut wide = [0; 8];
    wide[..bytes.len()].copy_from_slice(bytes);
    let unsigned = u64::from_le_bytes(wide);
    let unused_bits = 64 - 8 * bytes.len() as u32;
    match value_type {
        ValueType::I8 | ValueType::I16 | ValueType::I32 | ValueType::I64 => {
            Value::Signed(value_type, ((unsigned << unused_bits) as i64) >> unused_bits)
        }
        ValueType::F32 => Value::Float(f32::from_bits(unsigned as u32).into()),
        ValueType::F64 => Value::Float(f64::from_bits(unsigned)),
        ValueType::Bool => Value::Bool(unsigned != 0),
        _ => Value::Unsigned(value_type, unsigned),
    }
}

/// Reads a value with its type. `keep` keeps an array whatever its length.
pub(super) fn read<R: Read>(cursor: &mut Cursor<R>, key: &str, keep: bool) -> Result<Value, GgufError> {
    match read_type(cursor, key)? {
        ValueType::Array => read_array(cursor, key, keep).map(Value::Array),
        ValueType::Text => read_text(cursor),
        fixed => {
            let bytes = cursor.bytes(fixed.bytes_min(), "a value")?;
            Ok(scalar(fixed, &bytes))
        }
    }
}

fn read_type<R: Read>(cursor: &mut Cursor<R>, key: &str) -> Result<ValueType, GgufError> {
    let number = cursor.u32("a value's type")?;
    let unknown = || GgufError::ValueType { key: key.to_owned(), number };
    ValueType::ALL.get(number as usize).copied().ok_or_else(unknown)
}

fn read_text<R: Read>(cursor: &mut Cursor<R>) -> Result<Value, GgufError> {
    let at = cursor.at();
    let bytes = cursor.text_bytes(STRING_BYTES_MAX, "bytes in a string")?;
    if bytes > STRING_KEPT_BYTES_MAX {
        cursor.skip(bytes, "a string")?;
        return Ok(Value::LongText { bytes });
    }
    let text = cursor.bytes(bytes, "a string")?;
    String::from_utf8(text).map(Value::Text).map_err(|_| GgufError::NotUtf8 { what: "a string", at })
}

fn read_array<R: Read>(cursor: &mut Cursor<R>, key: &str, keep: bool) -> Result<Array, GgufError> {
    let element = read_type(cursor, key)?;
    if element == ValueType::Array {
        return Err(GgufError::NestedArray { key: key.to_owned() });
    }
    let elements = cursor.u64("an array's length")?;
    let max = ARRAY_ELEMENTS_MAX.min(cursor.room_for(element.bytes_min()));
    if elements > max {
        return Err(GgufError::ArrayTooLong { key: key.to_owned(), elements, max });
    }
    let keep = keep || elements * element.bytes_min() <= ARRAY_KEPT_BYTES_MAX;
    let mut raw = Vec::new();
    if element == ValueType::Text {
        for _ in 0..elements {
            let bytes = cursor.text_bytes(STRING_BYTES_MAX, "bytes in a string")?;
            if keep {
                raw.extend_from_slice(&bytes.to_le_bytes());
                cursor.append(&mut raw, bytes, "a string in an array")?;
            } else {
                cursor.skip(bytes, "a string in an array")?;
            }
        }
    } else if keep {
        raw = cursor.bytes(elements * element.bytes_min(), "an array")?;
    } else {
        cursor.skip(elements * element.bytes_min(), "an array")?;
    }
    Ok(Array { element, elements, raw: keep.then_some(raw) })
}
