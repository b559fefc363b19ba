//! From answers, as models write them, to their parts; and grammars that force such answers.

mod answers;
mod chunks;
mod formats;
mod grammars;
mod hostile;
mod model;
