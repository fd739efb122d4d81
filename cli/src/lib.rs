//! `uct`: Linux connection tracking and NAT in userspace.
//!
//! The library holds what the binary's sub-commands are made of, so that tests reach it.

pub mod conntrack;
