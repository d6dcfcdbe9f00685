//! All of aya: loading, attaching, and reading maps.

pub mod attach;
mod diagnostics;
mod layout;
mod loader;
mod stack_depth;
mod transport;

pub use diagnostics::Diagnostics;
pub use loader::{KernelSide, StackReader, load};
pub use transport::Transport;
