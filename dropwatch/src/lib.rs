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
pub mod color;
pub mod config;
pub mod counters;
pub mod decode;
pub mod doctor;
pub mod enrich;
pub mod explain;
mod file_map;
pub mod filter;
#[cfg(test)]
mod fixture;
pub mod format;
pub mod groups;
pub mod heap;
pub mod locate;
mod names;
mod netlink;
mod non_blocking;
pub mod output;
pub mod packet;
pub mod pattern;
mod poll;
pub mod preflight;
mod private_netns;
mod proc_net;
pub mod progress;
pub mod record;
pub mod recording;
pub mod replay;
mod sandbox;
pub mod serve;
pub mod session;
mod shared_flag;
pub mod signals;
pub mod source;
pub mod stderr;
mod stdin;
mod system;
pub mod top;
