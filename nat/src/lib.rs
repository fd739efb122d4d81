//! NAT through the reply tuple, nft rules, port choice and packet rewriting.

pub mod rules;
