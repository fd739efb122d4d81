//! What holds for every packet, rule and seed, tried at random. `UCT_FUZZ_FRAMES` asks for more than the default.

mod batch;
mod lab;
mod reverse;
mod seeds;
mod sums;
