//! The JSON of a header, read without ever holding more than its limits allow, and with duplicate
//! names kept, so that they can be refused.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::{DIMENSIONS_MAX, TENSORS_MAX};

const METADATA: &str = "__metadata__";

/// A tensor as the header has it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    pub(super) dtype: String,
    #[serde(deserialize_with = "short_list")]
    pub(super) shape: Vec<u64>,
    pub(super) data_offsets: (u64, u64),
}

/// All tensors, in the order of the JSON.
pub(super) struct Header(pub(super) Vec<(String, Entry)>);

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(HeaderVisitor)
    }
}

struct HeaderVisitor;

impl<'de> Visitor<'de> for HeaderVisitor {
    type Value = Header;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map of tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Header, A::Error> {
        let mut entries = Vec::new();
        while let Some(name) = map.next_key::<String>()? {
            if name == METADATA {
                map.next_value::<BTreeMap<String, String>>()?;
                continue;
            }
            if entries.len() == TENSORS_MAX {
                return Err(A::Error::custom(format_args!("more than {TENSORS_MAX} tensors")));
            }
            entries.push((name, map.next_value()?));
        }
        Ok(Header(entries))
    }
}

fn short_list<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u64>, D::Error> {
    struct ShapeVisitor;

    impl<'de> Visitor<'de> for ShapeVisitor {
        type Value = Vec<u64>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "a shape of at most {DIMENSIONS_MAX} dimensions")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<u64>, A::Error> {
            let mut shape = Vec::new();
            while let Some(length) = list.next_element()? {
                if shape.len() == DIMENSIONS_MAX {
                    return Err(A::Error::invalid_length(shape.len() + 1, &self));
                }
                shape.push(length);
            }
            Ok(shape)
        }
    }

    deserializer.deserialize_seq(ShapeVisitor)
}
