//! What an appliance is and decides. Pure: no I/O, no clock, nothing of ours imported.

pub mod boot;
pub mod hardware;
pub mod literal;
pub mod media;
pub mod model;
pub mod name;
pub mod pack;
pub mod plan;
pub mod prompt;
pub mod restart;
pub mod site;

pub use literal::{LiteralCutter, is_control_literal};
pub use model::{ModelFormat, ModelSummary, UnfinishedModel, UnfinishedWork};
pub use name::{KeyName, ModelName, NameError};
pub use prompt::{AddedToken, ChatTemplate, Piece};
