//! What dropwatch's commands share with its build scripts: where the tools live,
//! how they are found and how they are brought.
//!
//! Build scripts call [`toolchain::prepare_ebpf_build`], which installs nothing;
//! `cargo xtask setup` calls [`toolchain::ensure`], which installs.

pub mod apt;
pub mod cache;
pub mod cargo_tool;
pub mod command;
pub mod say;
pub mod toolchain;
