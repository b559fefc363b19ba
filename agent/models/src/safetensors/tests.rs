use std::error::Error;

use nabi_model_corpus::hostile;
use nabi_model_corpus::safetensors::{entry, file, vectors};
use proptest::prelude::*;
use safetensors::SafeTensors;

use super::*;

fn read(bytes: &[u8]) -> Result<Vec<Tensor>, SafetensorsError> {
    read_header(bytes, bytes.len() as u64)
}

fn words(error: &dyn Error) -> String {
    let source = error.source().map(|source| format!(": {source}")).unwrap_or_default();
    format!("{error}{source}")
}

#[test]
fn a_header_is_read_as_it_was_written() {
    let tensors = read(&vectors(&[("embed", 32), ("head", 16)])).expect("valid");
    let seen: Vec<_> = tensors.iter().map(|tensor| (tensor.name.as_str(), tensor.bytes)).collect();
    assert_eq!(seen, [("embed", 64), ("head", 32)]);
    assert_eq!(tensors[0].data_type.name, "BF16");

    let four_bits = file(&format!("{{{}}}", entry("a", "F4", "[4,4]", 0, 8)), 8);
    assert_eq!(read(&four_bits).expect("valid")[0].elements, 16);
}

#[test]
fn every_hostile_file_is_refused_in_words() {
    for case in hostile::safetensors() {
        let error = words(&read(&case.bytes).expect_err(case.name));
        assert!(error.contains(case.words), "{}: {error}", case.name);
    }
}

#[test]
fn an_index_names_only_files_beside_it() {
    let index = |shard: &str| read_index(format!(r#"{{"weight_map":{{"a":"{shard}"}}}}"#).as_bytes());
    assert_eq!(index("m.safetensors").expect("valid").shards["m.safetensors"], ["a"]);
    for shard in ["../m.safetensors", "/m.safetensors", "a\\\\m.safetensors", ".m.safetensors", "m.bin", ""] {
        assert!(matches!(index(shard), Err(IndexError::ShardName { .. })), "{shard:?}");
    }
    assert!(matches!(read_index(br#"{"weight_map":{}}"#), Err(IndexError::Empty)));
    assert!(matches!(read_index(br#"{"weight_map":[]}"#), Err(IndexError::Json(_))));
    assert!(matches!(read_index(br#"{"other":{}}"#), Err(IndexError::Json(_))));
}

proptest! {
    /// Hugging Face's own reader is the oracle: it must take all that this one takes.
    #[test]
    fn nothing_is_accepted_that_the_reference_refuses(
        lengths in prop::collection::vec(0_u64..20, 1..5),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
    ) {
        let names: Vec<String> = (0..lengths.len()).map(|no| format!("t{no}")).collect();
        let tensors: Vec<_> = names.iter().map(String::as_str).zip(lengths).collect();
        let mut bytes = vectors(&tensors);
        let undamaged = damage.is_empty();
        for (place, value) in damage {
            let place = place.index(bytes.len());
            bytes[place] = value;
        }
        let ours = read(&bytes);
        let reference = SafeTensors::deserialize(&bytes);
        prop_assert!(!undamaged || ours.is_ok());
        if let Ok(tensors) = ours {
            let reference = reference.map_err(|error| TestCaseError::fail(error.to_string()))?;
            prop_assert_eq!(tensors.len(), reference.len());
        }
    }

    #[test]
    fn a_cut_file_is_refused(length in 1_u64..50, cut in any::<prop::sample::Index>()) {
        let whole = vectors(&[("a", length)]);
        prop_assert!(read(&whole[..cut.index(whole.len())]).is_err());
    }
}
