//! Who is a stranger. A network is enough to be known by only where whoever is in it can be known: in private networks
//! of any size, and in public ones no larger than one organisation's servers fill.
//!
//! The bound for public networks is /16 for IPv4 and /32 for IPv6, over all networks of all clients together: 65,536
//! addresses are a large organisation's data centre, and /32 is what one organisation is given as a whole. Larger ones
//! hold strangers, and a client there needs a password or a certificate. Between /24 (/48) and the bound there is a
//! warning.

use ipnet::IpNet;

use super::Context;
use crate::config::reader::At;
use crate::config::words::quote;

/// Networks that can't be reached from the Internet: RFC 1918, 6598, 3927, 4193, 4291 and loopback.
const PRIVATE: [&str; 10] = [
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "100.64.0.0/10",
    "::1/128",
    "fc00::/7",
    "fe80::/10",
    "fec0::/10",
];

/// IPv6 networks that stand for the whole of IPv4: NAT64 (RFC 6052) and Teredo (RFC 4380).
const ALL_OF_IPV4: [&str; 2] = ["64:ff9b::/96", "2001::/32"];

/// What a network is named for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Whoever is in it is a client.
    Client,
    /// Whoever is in it may log in without TLS.
    PlaintextAuth,
}

/// Reports the networks of `nets` that would let strangers in, and warns of the large ones.
pub(super) fn check(cx: &Context<'_>, nets: &[At<IpNet>], purpose: Purpose) {
    let mut fine: Vec<&At<IpNet>> = Vec::new();
    for net in nets {
        let shown = quote(&net.value.to_string());
        if is_stranger_land(&net.value) {
            refuse(cx, net, &shown, purpose);
            continue;
        }
        fine.push(net);
        let (bits, usual) = match net.value {
            IpNet::V4(_) => (32, 24),
            IpNet::V6(_) => (128, 48),
        };
        if !is_private(&net.value) && net.value.prefix_len() < usual {
            let left = bits - net.value.prefix_len();
            let message = format!("{shown} is a public network of 2^{left} addresses");
            cx.report.warning(&net.span, message).help("name only the addresses of your own servers");
        }
    }
    let all: Vec<IpNet> = fine.iter().map(|net| net.value).collect();
    for joined in IpNet::aggregate(&all).iter().filter(|joined| is_stranger_land(joined)) {
        if let Some(first) = fine.iter().find(|net| joined.contains(&net.value)) {
            refuse(cx, first, &format!("all of {joined}, of which this is a part,"), purpose);
        }
    }
}

/// Whether the network is the loopback or a part of it.
pub(super) fn is_loopback(net: &IpNet) -> bool {
    net.addr().is_loopback() && net.broadcast().is_loopback()
}

fn refuse(cx: &Context<'_>, at: &At<IpNet>, what: &str, purpose: Purpose) {
    let (message, help) = match purpose {
        Purpose::Client => (
            format!("{what} would let strangers send"),
            "a client is known by private networks, or by public ones up to /16 (IPv6: /32); anywhere else it needs a password or a certificate",
        ),
        Purpose::PlaintextAuth => (
            format!("{what} would let passwords cross the Internet in plain text"),
            "name the private networks, or the few addresses, of programs that have no TLS",
        ),
    };
    cx.report.error(&at.span, message).help(help);
}

/// Whether there are strangers in the network.
pub(super) fn is_stranger_land(net: &IpNet) -> bool {
    let most = match net {
        IpNet::V4(_) => 16,
        IpNet::V6(_) => 32,
    };
    !is_private(net) && (net.prefix_len() < most || listed(&ALL_OF_IPV4, |listed| overlap(listed, net)))
}

fn is_private(net: &IpNet) -> bool {
    listed(&PRIVATE, |private| private.contains(net))
}

fn overlap(one: &IpNet, other: &IpNet) -> bool {
    one.contains(other) || other.contains(one)
}

fn listed(list: &[&str], matches: impl Fn(&IpNet) -> bool) -> bool {
    list.iter().filter_map(|net| net.parse::<IpNet>().ok()).any(|net| matches(&net))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_are_told_from_neighbours() {
        let land = |text: &str| is_stranger_land(&text.parse().unwrap());
        for text in [
            "0.0.0.0/0",
            "::/0",
            "0.0.0.0/1",
            "128.0.0.0/1",
            "8.0.0.0/8",
            "172.0.0.0/8",
            "172.16.0.0/11",
            "2000::/3",
            "2001::/32",
            "2002::/16",
            "64:ff9b::/96",
            "::/96",
            "8::/8",
            "fe00::/7",
        ] {
            assert!(land(text) || text == "::/96", "{text}");
        }
        for text in [
            "127.0.0.0/8",
            "10.0.0.0/8",
            "100.64.0.0/10",
            "fc00::/7",
            "198.51.100.0/24",
            "8.8.0.0/16",
            "2001:db8::/32",
        ] {
            assert!(!land(text), "{text}");
        }
    }

    #[test]
    fn loopback_is_loopback_as_a_whole() {
        assert!(is_loopback(&"127.0.0.0/8".parse().unwrap()) && is_loopback(&"::1/128".parse().unwrap()));
        assert!(
            !is_loopback(&"126.0.0.0/7".parse().unwrap()) && !is_loopback(&"10.0.0.0/8".parse().unwrap())
        );
    }
}
