//! Any bytes give a header or an error; of a header, every tensor lies inside the file, none
//! overlap, and the rest of the readers cope with it.

#![no_main]

use libfuzzer_sys::fuzz_target;
use nabi_models::gguf::{self, SplitSet};

fuzz_target!(|bytes: &[u8]| {
    let Ok(header) = gguf::read_header(bytes, bytes.len() as u64, &[gguf::TOKENS]) else { return };
    let mut end = header.data_offset;
    for tensor in &header.tensors {
        let begin = header.data_offset + tensor.offset;
        assert!(begin >= end, "overlap");
        end = begin + tensor.bytes;
        assert!(end <= bytes.len() as u64, "outside");
        assert_eq!(tensor.shape.iter().product::<u64>(), tensor.elements);
    }
    let _ = gguf::describe(&header);
    if let Ok(count) = SplitSet::count(&header) {
        let mut set = SplitSet::new(count);
        let _ = set.add("part", &header);
        let _ = set.finish();
    }
});
