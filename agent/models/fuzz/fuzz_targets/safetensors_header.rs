//! Any bytes give tensors or an error; the tensors fill the file exactly.

#![no_main]

use libfuzzer_sys::fuzz_target;
use nabi_models::safetensors;

fuzz_target!(|bytes: &[u8]| {
    let Ok(tensors) = safetensors::read_header(bytes, bytes.len() as u64) else { return };
    let header_bytes = u64::from_le_bytes(*bytes.first_chunk().expect("a length"));
    let data_bytes: u64 = tensors.iter().map(|tensor| tensor.bytes).sum();
    assert_eq!(8 + header_bytes + data_bytes, bytes.len() as u64);
});
