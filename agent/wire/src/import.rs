//! What `nabi-import` tells the supervisor, frame by frame, on its standard output.

use nabi_domain::ModelSummary;
use nabi_domain::media::Medium;
use serde::{Deserialize, Serialize};

/// One event. The last one is any but `Progress`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ImportEvent {
    /// Bytes copied or hashed so far, over all files.
    Progress {
        /// The file at hand.
        file: String,
        /// Done, over all files.
        done_bytes: u64,
        /// All.
        total_bytes: u64,
    },
    /// The model is in the store.
    Done(ModelSummary),
    /// The model is gone from the store.
    Removed,
    /// Every file has the hash of its import.
    Verified {
        /// How many files.
        files: u32,
        /// How many bytes.
        bytes: u64,
    },
    /// What is attached.
    Media(Vec<Medium>),
    /// Nothing was changed but a partial copy that a later import resumes.
    Failed {
        /// What was attempted, on what, and what to do.
        message: String,
    },
}
