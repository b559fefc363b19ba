//! See the library of the same name.

fn main() {
    nabi_engine_llama::main();
}
