//! What the kernel side and the user-space side of dropwatch share: the record
//! of one drop, the configuration that user space sets before load, the rate limit,
//! and the table of kernel struct fields that are read. Plain integers only.
#![no_std]

pub mod config;
pub mod event;
pub mod group;
pub mod kernel_fields;
pub mod limit;
pub mod tuple;
pub mod uapi;
