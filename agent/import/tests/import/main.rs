//! The built program, run as the supervisor runs it.

mod disk;
mod interrupted;
mod sources;
mod stored;
mod support;
