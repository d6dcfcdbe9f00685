//! All of aya: loading, attaching, and reading maps.

pub mod attach;
mod layout;
mod loader;
mod stack_depth;
mod transport;

pub use loader::{KernelSide, StackReader, load};
pub use transport::Transport;
