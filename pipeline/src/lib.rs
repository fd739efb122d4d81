//! A packet's way through the router, and what stands at its two ends: captures, link headers, topology, routes,
//! fragments, and the ICMP errors a router sends.

pub mod capture;
pub mod link;
pub mod route;
pub mod topology;
