//! Where requests must not go: addresses of private networks, of this machine, and of what clouds keep beside it.
//!
//! A name is looked up here and nowhere else, and the connection goes to the very addresses that were looked at: a name
//! that shows another address to each who asks (DNS rebinding) gains nothing.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::IpNet;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// Which addresses requests to an endpoint may go to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guard {
    /// Where it is.
    pub network: Network,
    /// Networks that are allowed although they are not public.
    pub allowed: Vec<IpNet>,
}

/// Where an endpoint is, by what the configuration calls it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// On this machine, and nowhere else: `localhost` or a loopback address.
    Loopback,
    /// Anywhere else.
    Public,
}

/// An address that requests must not go to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} is {1}, and requests do not go there unless allow_networks says so")]
pub struct Forbidden(IpAddr, &'static str);

impl Guard {
    /// Whether requests may go to this address.
    pub fn check(&self, address: IpAddr) -> Result<(), Forbidden> {
        match self.network {
            Network::Loopback if address.is_loopback() => Ok(()),
            Network::Loopback => Err(Forbidden(address, "not on this machine")),
            Network::Public if self.allowed.iter().any(|network| network.contains(&address)) => Ok(()),
            Network::Public => refuses(address).map_or(Ok(()), |why| Err(Forbidden(address, why))),
        }
    }
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = self.clone();
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            // One that may not be used spoils the name: whoever answers with both is not to be trusted.
            for address in &found {
                guard.check(address.ip())?;
            }
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

/// Why requests to such an address are refused, unless it is allowed; `None` where it is a public one.
pub fn refuses(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(address) => refuses_v4(address),
        IpAddr::V6(address) => refuses_v6(address),
    }
}

/// IANA's registry of special-purpose addresses, but for what is reached from everywhere.
fn refuses_v4(address: Ipv4Addr) -> Option<&'static str> {
    let [a, b, c, _] = address.octets();
    match (a, b, c) {
        (0, ..) => Some("no address of a machine"),
        (10, ..) | (172, 16..=31, _) | (192, 168, _) => Some("in a private network"),
        (100, 64..=127, _) => Some("in a provider's own network"),
        (127, ..) => Some("this machine"),
        (169, 254, _) => Some("a link-local address"),
        (192, 0, 0 | 2) | (198, 51, 100) | (203, 0, 113) | (198, 18 | 19, _) | (192, 88, 99) => {
            Some("an address for special use")
        }
        (224..=255, ..) => Some("no address of one machine"),
        _ => None,
    }
}

fn refuses_v6(address: Ipv6Addr) -> Option<&'static str> {
    let segments = address.segments();
    if let Some(inner) = embedded(segments) {
        return refuses_v4(inner);
    }
    match segments {
        [0, 0, 0, 0, 0, 0, 0, 1] => Some("this machine"),
        [0xfe80..=0xfebf, ..] => Some("a link-local address"),
        [0xfc00..=0xfdff, ..] => Some("in a private network"),
        [0x2001, 0x0000..=0x01ff | 0x0db8, ..] | [0x3fff, 0x0000..=0x0fff, ..] => {
            Some("an address for special use")
        }
        // Global unicast; everything else is for something else.
        [0x2000..=0x3fff, ..] => None,
        _ => Some("no public address"),
    }
}

/// The address of the older protocol that this one stands for: mapped, translated (NAT64), 6to4.
fn embedded(segments: [u16; 8]) -> Option<Ipv4Addr> {
    let join = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        Ipv4Addr::new(a, b, c, d)
    };
    match segments {
        [0, 0, 0, 0, 0, 0xffff, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        | [0x2002, high, low, ..] => Some(join(high, low)),
        _ => None,
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Loopback => "loopback",
            Self::Public => "public",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn only_public_addresses_are_taken() {
        for address in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "127.0.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "198.18.0.1",
            "203.0.113.7",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:10.0.0.1",
            "::10.0.0.1",
            "64:ff9b::169.254.169.254",
            "2002:7f00:1::",
            "fe80::1",
            "fd00:ec2::254",
            "fec0::1",
            "ff02::1",
            "2001:db8::1",
            "2001::1",
        ] {
            assert!(refuses(ip(address)).is_some(), "{address}");
        }
        for address in ["1.1.1.1", "172.32.0.1", "192.0.1.1", "2606:4700::1111", "64:ff9b::1.1.1.1"] {
            assert_eq!(refuses(ip(address)), None, "{address}");
        }
    }

    #[test]
    fn a_network_is_allowed_by_name_and_loopback_is_loopback_only() {
        let allowed = vec!["10.1.0.0/16".parse().unwrap()];
        let guard = Guard { network: Network::Public, allowed };
        assert!(guard.check(ip("10.1.2.3")).is_ok());
        let refused = guard.check(ip("10.2.0.1")).unwrap_err().to_string();
        assert!(refused.starts_with("10.2.0.1 is in a private network"), "{refused}");
        let local = Guard { network: Network::Loopback, allowed: Vec::new() };
        assert!(local.check(ip("127.0.0.1")).is_ok() && local.check(ip("1.1.1.1")).is_err());
    }

    #[tokio::test]
    async fn a_name_is_judged_by_every_address_it_has() {
        let public = Guard { network: Network::Public, allowed: Vec::new() };
        let name = || "localhost".parse::<Name>().unwrap();
        let refused = public.resolve(name()).await.err().unwrap();
        assert!(refused.downcast_ref::<Forbidden>().is_some(), "{refused}");
        let local = Guard { network: Network::Loopback, allowed: Vec::new() };
        assert!(local.resolve(name()).await.unwrap().count() > 0);
    }
}
