//! The filter that is typed: words that must all hold, each as people write it.
//!
//! | word | means |
//! |---|---|
//! | `tcp`, `udp`, `icmp`, … | the protocol |
//! | `established`, `syn_sent`, … | the state |
//! | `assured`, `unreplied`, `nat`, `snat`, `dnat`, `ipv4`, `ipv6` | status, family |
//! | `192.168.1.10`, `10.0.0.0/8`, `10.`, `2001:db8::/32` | an address of any end |
//! | `443`, `:443` | a port of any end |
//! | `src ADDR`, `dst ADDR`, `sport N`, `dport N`, `mark N`, `zone N`, `id N` | one field |

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use uct_engine::sctp::SctpState;
use uct_engine::tcp::TcpState;
use uct_pipeline::control::filter::{Filter, NatTo};

use crate::conntrack::values;

/// Reads the words, or says which of them means nothing.
pub fn parse(text: &str) -> Result<Filter, String> {
    let mut filter = Filter::default();
    let mut words = text.split_whitespace();
    while let Some(word) = words.next() {
        let lower = word.to_ascii_lowercase();
        match lower.as_str() {
            "src" | "dst" | "sport" | "dport" | "mark" | "zone" | "id" => {
                let value = words.next().ok_or_else(|| format!("{lower} of what?"))?;
                field(&mut filter, &lower, value)?;
            }
            other => simple(&mut filter, other)?,
        }
    }
    Ok(filter)
}

fn field(filter: &mut Filter, name: &str, value: &str) -> Result<(), String> {
    let wrong = || format!("'{value}' is no {name}");
    let number = || values::number(value).ok_or_else(wrong);
    let port = || number().and_then(|n| u16::try_from(n).map_err(|_| wrong()));
    let word = || number().and_then(|n| u32::try_from(n).map_err(|_| wrong()));
    match name {
        "src" | "dst" => {
            let net = net(value).ok_or_else(|| format!("'{value}' is no address"))?;
            let (addr, mask) = match name {
                "src" => (&mut filter.orig_src, &mut filter.orig_src_mask),
                _ => (&mut filter.orig_dst, &mut filter.orig_dst_mask),
            };
            (*addr, *mask) = (Some(net.network()), Some(net.netmask()));
        }
        "sport" => filter.orig_sport = Some(port()?),
        "dport" => filter.orig_dport = Some(port()?),
        "zone" => filter.zone = Some(port()?),
        "mark" => filter.mark = Some(word()?),
        _ => filter.id = Some(word()?),
    }
    Ok(())
}

/// A word that says of itself what it is.
fn simple(filter: &mut Filter, word: &str) -> Result<(), String> {
    let upper = word.to_ascii_uppercase();
    match word {
        "ipv4" => filter.family = Some(2),
        "ipv6" => filter.family = Some(10),
        "assured" => filter.status.get_or_insert_default().push("ASSURED".to_owned()),
        "unreplied" => filter.status_not.get_or_insert_default().push("SEEN_REPLY".to_owned()),
        "nat" => filter.any_nat = Some(NatTo::default()),
        "snat" => filter.src_nat = Some(NatTo::default()),
        "dnat" => filter.dst_nat = Some(NatTo::default()),
        _ if TcpState::by_name(&upper).is_some() || SctpState::by_name(&upper).is_some() => filter.state = Some(upper),
        _ => {
            let bare = word.strip_prefix(':').unwrap_or(word);
            if let Ok(port) = bare.parse::<u16>() {
                filter.any_port = Some(port);
            } else if let Some(net) = net(word) {
                (filter.any_addr, filter.any_addr_mask) = (Some(net.network()), Some(net.netmask()));
            } else if let Some(protocol) =
                values::protocol(word).ok().filter(|_| !word.starts_with(|c: char| c.is_ascii_digit()))
            {
                filter.protocol = Some(protocol.0);
            } else {
                return Err(format!("'{word}' is no protocol, state, address or port"));
            }
        }
    }
    Ok(())
}

/// An address, a network, or the beginning of an address as it is typed: `10.`, `192.168.`, `192.168.1`.
fn net(text: &str) -> Option<IpNet> {
    if let Ok(net) = text.parse::<IpNet>() {
        return Some(net);
    }
    if let Ok(addr) = text.trim_matches(['[', ']']).parse::<IpAddr>() {
        return Some(addr.into());
    }
    if text.contains(':') {
        let begun = text.strip_suffix(':').filter(|t| !t.is_empty() && !t.ends_with(':'))?;
        let groups = u8::try_from(begun.split(':').count()).ok()?;
        let addr: Ipv6Addr = format!("{begun}::").parse().ok()?;
        return IpNet::new(addr.into(), groups * 16).ok();
    }
    if !text.contains('.') {
        return None;
    }
    let parts: Vec<u8> =
        text.strip_suffix('.').unwrap_or(text).split('.').map(str::parse).collect::<Result<_, _>>().ok()?;
    let mut octets = [0; 4];
    octets.get_mut(..parts.len())?.copy_from_slice(&parts);
    IpNet::new(Ipv4Addr::from(octets).into(), u8::try_from(parts.len()).ok()? * 8).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_narrow_down() {
        let f = parse("tcp established 443 192.168.1.").unwrap();
        assert_eq!((f.protocol, f.state.as_deref(), f.any_port), (Some(6), Some("ESTABLISHED"), Some(443)));
        assert_eq!(f.any_addr, "192.168.1.0".parse().ok());
        assert_eq!(f.any_addr_mask, "255.255.255.0".parse().ok());
        assert_eq!(parse(":53").unwrap().any_port, Some(53));
        assert_eq!(parse("src 2001:db8::/32").unwrap().orig_src_mask, "ffff:ffff::".parse().ok());
        assert_eq!(parse("2001:db8:").unwrap().any_addr_mask, "ffff:ffff::".parse().ok());
        assert_eq!(parse("snat mark 0x10").unwrap().mark, Some(16));
        assert_eq!(parse(" ").unwrap(), Filter::default());
    }

    #[test]
    fn what_means_nothing_is_named() {
        assert_eq!(parse("tcp wobble"), Err("'wobble' is no protocol, state, address or port".to_owned()));
        assert_eq!(parse("sport"), Err("sport of what?".to_owned()));
        assert_eq!(parse("dport 70000"), Err("'70000' is no dport".to_owned()));
        assert!(parse("1.2.3.4.5").is_err() && parse("300.").is_err());
    }
}
