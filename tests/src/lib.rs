//! nabi-tests
