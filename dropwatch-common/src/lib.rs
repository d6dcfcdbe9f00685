//! What the kernel side and the user-space side of dropwatch share.
#![no_std]
