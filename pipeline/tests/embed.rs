//! The examples of how to embed a router do what they say.

#[path = "../examples/embed.rs"]
mod embed;
#[path = "../examples/smoltcp.rs"]
mod smoltcp_hosts;

#[test]
fn a_packet_comes_out_translated() {
    let frame = embed::run().unwrap();
    assert_eq!(frame[..6], [2, 0, 0, 0, 0, 4]);
    assert_eq!(frame[26..34], [203, 0, 113, 1, 203, 0, 113, 80]);
}

#[test]
fn two_stacks_talk_through_a_router() {
    let (came, from) = smoltcp_hosts::run(300_000).unwrap();
    assert_eq!((came, from.to_string().as_str()), (300_000, "203.0.113.1:40000"));
}
