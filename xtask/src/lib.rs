//! What dropwatch's commands share with its build script: where the tools live,
//! how they are found and how they are brought.
//!
//! `dropwatch/build.rs` calls [`toolchain::check`], which changes nothing;
//! `cargo xtask setup` calls [`toolchain::ensure`], which installs.

pub mod apt;
pub mod cache;
pub mod command;
pub mod say;
pub mod toolchain;
