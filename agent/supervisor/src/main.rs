//! nabi-supervisor
fn main() {}
