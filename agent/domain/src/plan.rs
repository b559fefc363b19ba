//! What a model needs of a machine, how it is to be run there, and what to expect of it. Pure arithmetic
//! on a model's shape; of llama.cpp by its formulas as it is pinned (file and line stand beside each).

mod capacity;
mod catalogue;
mod decide;
mod devices;
mod memory;
mod room;
mod shape;
mod speed;

pub use capacity::{Capacity, Outcome, of_published, of_stored};
pub use catalogue::{CatalogueFile, CatalogueModel, catalogue};
pub use decide::{Candidate, Placement, Plan, Unfit, WayOut, Wish, largest_context, plan, plan_unknown};
pub use devices::VllmShape;
pub use memory::{CacheFormat, Memory, Settings};
pub use room::{Devices, Engine, Room};
pub use shape::{CacheShape, Experts, GraphShape, ModelShape};
pub use speed::{Speed, speed};
