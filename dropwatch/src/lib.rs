//! dropwatch prints one line for every packet that the Linux kernel drops.
//!
//! The way of one drop: [`bpf`] hands over the bytes of a record, [`decode`]
//! makes an event of them, [`enrich`] adds names and gives a [`record`],
//! [`format`] writes the line, [`output`] gets it out. [`session`] is the loop
//! around them.
#![deny(unsafe_code)]

pub mod account;
pub mod bpf;
pub mod btf;
pub mod capture;
pub mod classify;
pub mod cli;
pub mod config;
pub mod decode;
pub mod doctor;
pub mod enrich;
pub mod explain;
pub mod filter;
#[cfg(test)]
mod fixture;
pub mod format;
pub mod groups;
pub mod heap;
mod names;
pub mod output;
pub mod packet;
pub mod pattern;
mod poll;
pub mod preflight;
mod private_netns;
pub mod record;
pub mod recording;
pub mod replay;
pub mod session;
mod shared_flag;
mod system;
pub mod top;
