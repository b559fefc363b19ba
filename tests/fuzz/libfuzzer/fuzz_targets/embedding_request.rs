#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| nabi_fuzz::run("embedding_request", bytes));
