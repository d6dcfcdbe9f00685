//! All of aya: loading, attaching, and reading maps.

pub mod attach;
mod diagnostics;
mod filters;
mod groups;
pub mod layout;
mod loader;
mod object;
mod transport;
mod value_size;

pub use diagnostics::Diagnostics;
pub use filters::LiveMaps;
pub use groups::GroupReader;
pub use layout::names_receiver;
pub use loader::{KernelSide, StackReader, has_ring_buffer, load};
pub use object::identity;
pub use transport::Transport;
