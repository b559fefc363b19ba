//! nabi-console
fn main() {}
