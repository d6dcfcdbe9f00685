//! Scenarios, traffic and checks shared by the live and the VM tests.
//!
//! [`scenario`] is the table that says what is dropped and what dropwatch has to print;
//! [`run`] plays it against running dropwatch processes; the other modules are its tools.

pub mod bpf;
pub mod bpf_objects;
pub mod cgroup;
pub mod dropwatch;
pub mod faults;
pub mod filters;
pub mod floods;
mod frames;
pub mod http;
pub mod judge;
pub mod kernel;
pub mod line;
pub mod losses;
pub mod netns;
pub mod oracle;
pub mod owners;
pub mod pcapng;
pub mod run;
pub mod scenario;
pub mod server;
pub mod shapes;
pub mod small_disk;
pub mod soak;
pub mod stand_in;
pub mod summary;
pub mod tmux;
pub mod traffic;
pub mod wait;
pub mod world;
mod xdp;
