//! Reading a topology file, with a line and a reason for everything that is refused.

use super::{DEFAULT_MTU, Dev, Interface, LOCAL, Neighbor, Route, Topology};
use crate::link::Mac;
use ipnet::IpNet;
use serde::Deserialize;
use std::fmt;
use std::io::Read as _;
use std::net::{IpAddr, Ipv4Addr};
use std::ops::Range;
use std::path::Path;
use toml::Spanned;

/// The longest interface name, in bytes. Linux's own limit of 15 would shut out captures from elsewhere.
const MAX_NAME: usize = 255;
/// The least MTU of IPv4 (RFC 791) and of IPv6 (RFC 8200 section 5), in bytes.
const MIN_MTU: u32 = 68;
const MIN_MTU_IPV6: u32 = 1280;
/// The most that Linux gives any interface (that of `lo`), in bytes.
const MAX_MTU: u32 = 65536;

/// What is wrong with a topology file: `FILE:LINE: why`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopologyError {
    /// The file as the user named it.
    pub file: String,
    /// The line, from 1; `None` if it could not be read at all.
    pub line: Option<usize>,
    /// Why, in one line.
    pub why: String,
    /// The place in its line.
    pub place: Option<Place>,
}

/// A place in a line of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The line's text.
    pub text: String,
    /// How many characters stand before the place.
    pub column: usize,
    /// How many characters it has; at least one.
    pub width: usize,
}

/// The line, and a caret under what is wrong.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Tabs stay tabs, so that the caret stands where it belongs whatever their width.
        let blank: String = self.text.chars().take(self.column).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
        write!(f, "  {}\n  {blank}{}", self.text, "^".repeat(self.width))
    }
}

impl Place {
    fn of(text: &str, at: &Range<usize>) -> Option<Place> {
        let start = text.get(..at.start)?.rfind('\n').map_or(0, |end| end + 1);
        let line = text.get(start..)?.lines().next()?;
        let end = at.end.clamp(at.start, start + line.len());
        let count = |from: usize, to: usize| text.get(from..to).map_or(0, |part| part.chars().count());
        Some(Place { text: line.to_owned(), column: count(start, at.start), width: count(at.start, end).max(1) })
    }
}

impl fmt::Display for TopologyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}: {}", self.file, self.why),
            None => write!(f, "{}: {}", self.file, self.why),
        }
    }
}

impl std::error::Error for TopologyError {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTopology {
    #[serde(default)]
    interface: Vec<Spanned<RawInterface>>,
    #[serde(default)]
    route: Vec<Spanned<RawRoute>>,
    #[serde(default)]
    neighbor: Vec<RawNeighbor>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawInterface {
    name: Spanned<String>,
    #[serde(default)]
    addresses: Vec<Spanned<String>>,
    mac: Option<Spanned<String>>,
    mtu: Option<Spanned<i64>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRoute {
    to: Spanned<String>,
    via: Option<Spanned<String>>,
    dev: Spanned<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawNeighbor {
    address: Spanned<String>,
    mac: Spanned<String>,
    dev: Option<Spanned<String>>,
}

/// Why something is refused, and where in the text.
struct Refusal {
    at: Range<usize>,
    why: String,
}

fn refuse<T>(at: &Spanned<T>, why: String) -> Refusal {
    Refusal { at: at.span(), why }
}

impl Topology {
    /// Reads a topology file; `-` is standard input.
    pub fn open(path: &Path) -> Result<Self, TopologyError> {
        let mut bytes = Vec::new();
        let (file, read) = if path.as_os_str() == "-" {
            ("standard input".to_owned(), std::io::stdin().read_to_end(&mut bytes))
        } else {
            (path.display().to_string(), std::fs::File::open(path).and_then(|mut from| from.read_to_end(&mut bytes)))
        };
        let why = match read.map(|_| crate::text(bytes)) {
            Ok(Ok(text)) => return Topology::parse(&file, &text),
            Ok(Err((line, why))) => (Some(line), why),
            Err(e) => (None, crate::plain(&e)),
        };
        Err(TopologyError { file, line: why.0, why: why.1, place: None })
    }

    /// Reads the text of a topology file; `file` is what errors call it.
    pub fn parse(file: &str, text: &str) -> Result<Self, TopologyError> {
        let refused = |Refusal { at, why }: Refusal| {
            let before = text.get(..at.start).unwrap_or(text);
            TopologyError {
                file: file.into(),
                line: Some(before.matches('\n').count() + 1),
                why,
                place: Place::of(text, &at),
            }
        };
        let raw: RawTopology = toml::from_str(text).map_err(|e| {
            // The crate's sentence may go over several lines ("expected …").
            let why =
                e.message().lines().collect::<Vec<_>>().join(", ").replace("expected i64", "expected a whole number");
            refused(Refusal { at: e.span().unwrap_or(0..0), why })
        })?;
        build(raw).map_err(refused)
    }
}

fn build(raw: RawTopology) -> Result<Topology, Refusal> {
    let mut topology = Topology::default();
    for interface in raw.interface {
        if topology.interfaces.len() > usize::from(u16::MAX) {
            return Err(refuse(&interface, "more than 65536 interfaces".into()));
        }
        let interface = self::interface(interface.into_inner(), &topology)?;
        topology.interfaces.push(interface);
    }
    for route in &raw.route {
        let read = self::route(route.get_ref(), &topology)?;
        if topology.routes.iter().any(|r| r.to == read.to) {
            return Err(refuse(&route.get_ref().to, format!("second route to {}", read.to)));
        }
        topology.routes.push(read);
    }
    // Gateways are checked last: the route that makes one reachable may stand below.
    for (raw, route) in raw.route.iter().zip(&topology.routes) {
        if let (Some(at), Some(via)) = (&raw.get_ref().via, route.via) {
            reachable(&topology, route, via).map_err(|why| refuse(at, why))?;
        }
    }
    for neighbor in raw.neighbor {
        let neighbor = self::neighbor(&neighbor, &topology)?;
        topology.neighbors.push(neighbor);
    }
    Ok(topology)
}

fn interface(raw: RawInterface, topology: &Topology) -> Result<Interface, Refusal> {
    let name = raw.name.get_ref();
    let why = if name == LOCAL {
        Some(format!("the name {LOCAL} stands for the router's own stack and cannot be an interface"))
    } else if topology.dev(name).is_some() {
        Some(format!("second interface {name}"))
    } else if name.is_empty() || name.len() > MAX_NAME {
        Some(format!("interface name {name:?} has {} bytes: 1 to {MAX_NAME} are allowed", name.len()))
    } else if name.chars().any(char::is_control) {
        Some(format!("interface name {name:?}: no control characters are allowed"))
    } else {
        None
    };
    if let Some(why) = why {
        return Err(refuse(&raw.name, why));
    }
    let mut addresses: Vec<IpNet> = Vec::new();
    for text in &raw.addresses {
        let net = prefix(text.get_ref()).and_then(host).map_err(|why| refuse(text, why))?;
        if addresses.iter().any(|a| a.addr() == net.addr()) {
            return Err(refuse(text, format!("second address {} of {name}", net.addr())));
        }
        addresses.push(net);
    }
    let mac = raw.mac.as_ref().map(mac).transpose()?;
    let mtu = match &raw.mtu {
        None => DEFAULT_MTU,
        Some(text) => match u32::try_from(*text.get_ref()) {
            Ok(mtu) if (MIN_MTU..=MAX_MTU).contains(&mtu) => {
                if mtu < MIN_MTU_IPV6 && addresses.iter().any(|a| a.addr().is_ipv6()) {
                    let why = format!("mtu {mtu} with an IPv6 address: at least {MIN_MTU_IPV6} is needed (RFC 8200)");
                    return Err(refuse(text, why));
                }
                mtu
            }
            _ => return Err(refuse(text, format!("mtu {}: {MIN_MTU} to {MAX_MTU} are allowed", text.get_ref()))),
        },
    };
    Ok(Interface { name: raw.name.into_inner(), addresses, mac, mtu })
}

fn route(raw: &RawRoute, topology: &Topology) -> Result<Route, Refusal> {
    let dev = dev(&raw.dev, topology)?;
    let via = match &raw.via {
        Some(text) => Some(address(text.get_ref()).map_err(|why| refuse(text, why))?),
        None => None,
    };
    let to = match (raw.to.get_ref().as_str(), via) {
        ("default", Some(IpAddr::V6(_))) => "::/0",
        ("default", _) => "0.0.0.0/0",
        (text, _) => text,
    };
    let to = prefix(to).map_err(|why| refuse(&raw.to, why))?;
    if to.trunc() != to {
        let why = format!("{to} has bits set beyond its prefix; {} is meant?", to.trunc());
        return Err(refuse(&raw.to, why));
    }
    if let (Some(via), Some(text)) = (via, &raw.via)
        && via.is_ipv4() != to.addr().is_ipv4()
    {
        return Err(refuse(text, format!("{to} via {via}: two different IP versions")));
    }
    Ok(Route { to, via, dev })
}

/// Whether the gateway can be reached directly, as the kernel demands.
fn reachable(topology: &Topology, route: &Route, via: IpAddr) -> Result<(), String> {
    let Some(interface) = topology.interface(route.dev) else { return Ok(()) };
    if topology.interfaces.iter().any(|i| i.addresses.iter().any(|a| a.addr() == via)) {
        return Err(format!("via {via}: that is the router's own address"));
    }
    let on_link = interface.addresses.iter().any(|a| a.contains(&via))
        || topology.routes.iter().any(|r| r.dev == route.dev && r.via.is_none() && r.to.contains(&via))
        || matches!(via, IpAddr::V6(v6) if v6.is_unicast_link_local());
    if on_link {
        Ok(())
    } else {
        Err(format!("via {via}: not reachable on {}: no prefix there holds it", interface.name))
    }
}

fn neighbor(raw: &RawNeighbor, topology: &Topology) -> Result<Neighbor, Refusal> {
    let address = address(raw.address.get_ref()).map_err(|why| refuse(&raw.address, why))?;
    let mac = mac(&raw.mac)?;
    let dev = match &raw.dev {
        Some(name) => dev(name, topology)?,
        None => {
            let holds = |i: &Interface| i.addresses.iter().any(|a| a.contains(&address));
            let mut devs = topology.interfaces.iter().enumerate().filter(|(_, i)| holds(i));
            match (devs.next(), devs.next()) {
                (Some((i, _)), None) => Dev(i as u16),
                (None, _) => {
                    return Err(refuse(&raw.address, format!("no interface has {address} on its link: name its dev")));
                }
                _ => {
                    return Err(refuse(
                        &raw.address,
                        format!("several interfaces have {address} on their link: name its dev"),
                    ));
                }
            }
        }
    };
    Ok(Neighbor { address, mac, dev })
}

fn dev(name: &Spanned<String>, topology: &Topology) -> Result<Dev, Refusal> {
    topology.dev(name.get_ref()).ok_or_else(|| {
        let known: Vec<&str> = topology.interfaces.iter().map(|i| i.name.as_str()).collect();
        let known = if known.is_empty() { "none".into() } else { known.join(", ") };
        refuse(name, format!("there is no interface {}; there is: {known}", name.get_ref()))
    })
}

fn mac(text: &Spanned<String>) -> Result<Mac, Refusal> {
    let mac: Mac = text.get_ref().parse().map_err(|e| refuse(text, format!("{}: {e}", text.get_ref())))?;
    if mac.0[0] & 1 == 1 {
        return Err(refuse(text, format!("{mac} is a group address, no host can have it")));
    }
    Ok(mac)
}

fn address(text: &str) -> Result<IpAddr, String> {
    text.parse().map_err(|_| format!("{text}: not an IP address"))
}

/// `ADDRESS/LENGTH`, bits beyond the length allowed. Why not is one sentence.
pub fn prefix(text: &str) -> Result<IpNet, String> {
    let Some((addr, len)) = text.split_once('/') else {
        let full = match address(text)? {
            IpAddr::V4(_) => 32,
            IpAddr::V6(_) => 128,
        };
        return Err(format!("{text}: the prefix length is missing; {text}/{full} would be this one address"));
    };
    let addr = address(addr).map_err(|_| format!("{text}: {addr} is not an IP address"))?;
    let (most, kind) = match addr {
        IpAddr::V4(_) => (32, "IPv4"),
        IpAddr::V6(_) => (128, "IPv6"),
    };
    if len.is_empty() || !len.bytes().all(|b| b.is_ascii_digit()) {
        return Err(format!("{text}: {len:?} is not a prefix length"));
    }
    match len.parse::<u32>() {
        Ok(len) if len <= most => IpNet::new(addr, len as u8).map_err(|e| format!("{text}: {e}")),
        _ => Err(format!("{text}: prefix length is over {most}, the length of an {kind} address")),
    }
}

/// An address that a host can have.
fn host(net: IpNet) -> Result<IpNet, String> {
    let what = match net.addr() {
        a if a.is_unspecified() => "the unspecified address",
        a if a.is_multicast() => "a multicast address",
        IpAddr::V4(Ipv4Addr::BROADCAST) => "the broadcast address",
        _ => return Ok(net),
    };
    Err(format!("{net}: {} is {what}, no host can have it", net.addr()))
}
