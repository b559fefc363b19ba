//! What `nabi-probe` tells the supervisor, frame by frame, on its standard output.

use nabi_domain::hardware::{Inventory, NvidiaCard, PciAddress};
use serde::{Deserialize, Serialize};

/// One frame. Only of NVIDIA's cards there are several: one for each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Probed {
    /// What the machine has.
    Inventory(Box<Inventory>),
    /// All that was read for an inventory, in one text.
    Recording(String),
    /// What NVIDIA's library tells of a card, or why it does not.
    Nvidia(PciAddress, Result<Box<NvidiaCard>, String>),
    /// Bytes that the threads asked for together read of memory in a second.
    Bandwidth(u64),
    /// Nothing more can be told.
    Failed {
        /// What was attempted, on what, and what to do.
        message: String,
    },
}
