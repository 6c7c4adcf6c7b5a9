//! What tests and simulations use: a disk in memory that fails and forgets on request.

mod dice;
mod memory;

pub use dice::Dice;
pub use memory::MemoryDisk;
