//! How single values are written: durations, sizes, networks, dates, host names, addresses. Pure: text to value, or what
//! is wrong with the text and how to write it. `web` has web addresses, `texts` what concerns phones.

pub(super) mod texts;
pub(super) mod web;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net};
use toml::value::{Datetime, Offset};

use super::words::quote;
use crate::clock::Timestamp;
use crate::mail::{Address, AddressError, Mailbox};

/// What reading a value yields: the value, or what is wrong with the text.
pub(in crate::config) type Parsed<T> = Result<T, Wrong>;

/// What is wrong with a text.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::config) struct Wrong {
    pub(super) message: String,
    /// How to write it.
    pub(super) help: Option<String>,
}

impl Wrong {
    /// `text` is not `what`.
    pub(super) fn not(text: &str, what: &str) -> Self {
        Self { message: format!("{} is not {what}", quote(text)), help: None }
    }

    pub(super) fn help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }
}

impl From<String> for Wrong {
    fn from(message: String) -> Self {
        Self { message, help: None }
    }
}

/// `10m`, `1h 30m`, `250ms`.
pub(super) fn duration(text: &str) -> Parsed<Duration> {
    let wrong =
        || Wrong::not(text, "a duration").help("write a number with ms, s, m, h or d, such as \"10m\"");
    let mut rest = text.trim();
    let mut total = Duration::ZERO;
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let (number, unit, after) = number_and_unit(rest).ok_or_else(wrong)?;
        let milliseconds: u64 = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" | "min" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(wrong()),
        };
        let part = number.checked_mul(milliseconds).ok_or_else(wrong)?;
        total = total.checked_add(Duration::from_millis(part)).ok_or_else(wrong)?;
        rest = after;
    }
    Ok(total)
}

/// `1 MiB`, `64KiB`, `512`.
pub(super) fn size(text: &str) -> Parsed<u64> {
    let wrong =
        || Wrong::not(text, "a size").help("write a number with B, KiB, MiB or GiB, such as \"1 MiB\"");
    let (number, unit, after) = number_and_unit(text.trim()).ok_or_else(wrong)?;
    let bytes: u64 = match unit {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err(wrong()),
    };
    if !after.is_empty() {
        return Err(wrong());
    }
    number.checked_mul(bytes).ok_or_else(wrong)
}

fn number_and_unit(text: &str) -> Option<(u64, &str, &str)> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number = text[..digits].parse().ok()?;
    let rest = text[digits..].trim_start();
    let unit = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
    Some((number, &rest[..unit], rest[unit..].trim_start()))
}

/// `10.0.0.0/8`, `192.0.2.7`, `fd00::/8`. An IPv6 form of IPv4 addresses counts as IPv4.
pub(super) fn network(text: &str) -> Parsed<IpNet> {
    let net = match text.parse::<IpAddr>() {
        Ok(address) => IpNet::from(address),
        Err(_) => text.parse::<IpNet>().map_err(|_| {
            Wrong::not(text, "a network").help("write it like \"10.0.0.0/8\" or \"fd00::/8\"")
        })?,
    };
    if net.addr() != net.network() {
        let (address, whole) = (net.addr(), net.trunc());
        let help = format!("write \"{whole}\" for the network, or \"{address}\" for the one address");
        return Err(Wrong::from(format!("{} has bits set after its prefix", quote(text))).help(help));
    }
    Ok(unmapped(net))
}

/// `::ffff:10.0.0.0/104` as `10.0.0.0/8`: it must not pass for something else than the IPv4 network it is.
fn unmapped(net: IpNet) -> IpNet {
    let IpNet::V6(v6) = net else { return net };
    let v4 = v6.addr().to_ipv4_mapped().zip(v6.prefix_len().checked_sub(96));
    v4.and_then(|(address, prefix)| Ipv4Net::new(address, prefix).ok()).map_or(net, IpNet::V4)
}

/// Where a listener listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::config) enum Listen {
    /// At an address.
    At(SocketAddr),
    /// At the sockets that systemd hands over.
    Systemd,
}

impl Listen {
    /// A port that only this machine reaches.
    pub(in crate::config) fn loopback(port: u16) -> Self {
        Self::At(SocketAddr::from(([127, 0, 0, 1], port)))
    }

    /// Whether other machines may reach it. The sockets of a unit are taken for ones that they do.
    pub(in crate::config) fn is_open(self) -> bool {
        match self {
            Self::At(address) => !address.ip().is_loopback(),
            Self::Systemd => true,
        }
    }
}

impl std::fmt::Display for Listen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::At(address) => address.fmt(f),
            Self::Systemd => f.write_str("the sockets of its systemd unit"),
        }
    }
}

/// `127.0.0.1:2525`, `[::1]:2525`, `systemd`.
pub(super) fn listen(text: &str) -> Parsed<Listen> {
    if text == "systemd" {
        return Ok(Listen::Systemd);
    }
    socket_address(text).map(Listen::At).map_err(|wrong| {
        let help = wrong.help.unwrap_or_default();
        Wrong {
            message: wrong.message,
            help: Some(format!("{help}, \"systemd\" for the sockets of its unit")),
        }
    })
}

/// `127.0.0.1:2525`, `[::1]:2525`.
pub(super) fn socket_address(text: &str) -> Parsed<SocketAddr> {
    text.parse().map_err(|_| {
        let port = text.rsplit(':').next().filter(|port| port.parse::<u16>().is_ok()).unwrap_or("2525");
        let example =
            format!("\"127.0.0.1:{port}\" for this machine only, \"0.0.0.0:{port}\" for every interface");
        Wrong::not(text, "an address and port").help(format!("write {example}"))
    })
}

/// A host name, in lower case.
pub(super) fn host_name(text: &str) -> Parsed<String> {
    let fine = text.len() <= 253
        && text.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
        });
    if fine {
        return Ok(text.to_ascii_lowercase());
    }
    let wrong = Wrong::not(text, "a host name");
    Err(if text.is_ascii() { wrong } else { wrong.help("write it in its ASCII form (xn--...)") })
}

/// A DKIM selector: written like a host name, because it stands in one.
pub(super) fn selector(text: &str) -> Parsed<String> {
    let help = "use letters, digits and hyphens, such as \"s2026\"";
    host_name(text).map_err(|_| Wrong::not(text, "a DKIM selector").help(help))
}

/// A host name or an IP address.
pub(super) fn host(text: &str) -> Parsed<String> {
    match text.trim_matches(['[', ']']).parse::<IpAddr>() {
        Ok(address) => Ok(address.to_string()),
        Err(_) => host_name(text),
    }
}

/// `no-reply@acme.example`.
pub(super) fn address(text: &str) -> Parsed<Address> {
    Address::parse(text).map_err(|problem| Wrong::from(problem.to_string()))
}

/// `Acme <no-reply@acme.example>`.
pub(super) fn mailbox(text: &str) -> Parsed<Mailbox> {
    let wrong = |problem: AddressError| Wrong::from(problem.to_string());
    Mailbox::parse(text)
        .map_err(|problem| wrong(problem).help("write it like \"Acme <no-reply@acme.example>\""))
}

/// A name of a section, a rule or anything else that stands in logs and metrics.
pub(super) fn name(text: &str) -> Parsed<()> {
    let fine = (1..=64).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    if fine {
        return Ok(());
    }
    Err(Wrong::not(text, "a name").help("use up to 64 letters, digits, `-`, `_` and `.`"))
}

/// The name of a header field.
pub(super) fn header_name(text: &str) -> Parsed<String> {
    let fine =
        (1..=76).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':');
    if fine { Ok(text.to_owned()) } else { Err(Wrong::not(text, "the name of a header field")) }
}

/// Until when: a day counts to its end; a time without an offset is UTC.
pub(super) fn until(value: &Datetime) -> Parsed<Timestamp> {
    let wrong = || Wrong::from(format!("{value} is not a date")).help("write it like 2027-01-31");
    let date = value.date.ok_or_else(wrong)?;
    let field = |value: u8| i8::try_from(value).map_err(|_| wrong());
    let year = i16::try_from(date.year).map_err(|_| wrong())?;
    let day = jiff::civil::Date::new(year, field(date.month)?, field(date.day)?).map_err(|_| wrong())?;
    let time = match value.time {
        None => jiff::civil::Time::new(23, 59, 59, 0),
        // TOML allows a leap second, which no clock of ours ever shows.
        Some(time) => {
            let second = time.second.unwrap_or(0).min(59);
            jiff::civil::Time::new(field(time.hour)?, field(time.minute)?, field(second)?, 0)
        }
    };
    let moment = day.to_datetime(time.map_err(|_| wrong())?);
    let offset = match value.offset {
        None | Some(Offset::Z) => 0,
        Some(Offset::Custom { minutes }) => i64::from(minutes) * 60_000,
    };
    let utc = jiff::tz::TimeZone::UTC.to_timestamp(moment).map_err(|_| wrong())?;
    Ok(Timestamp::from_millis(utc.as_millisecond() - offset))
}

/// A duration as [`duration`] reads it.
pub fn show_duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    let units = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];
    let (unit, factor) =
        units.into_iter().find(|(_, factor)| millis.is_multiple_of(*factor)).unwrap_or(("ms", 1));
    if millis == 0 { "0s".to_owned() } else { format!("{}{unit}", millis / factor) }
}

/// A size as [`size`] reads it.
pub(super) fn show_size(bytes: usize) -> String {
    let units = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    match units.into_iter().find(|(_, factor)| bytes > 0 && bytes.is_multiple_of(*factor)) {
        Some((unit, factor)) => format!("{} {unit}", bytes / factor),
        None => format!("{bytes} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations_and_sizes_are_read_as_people_write_them() {
        assert_eq!(duration("10m"), Ok(Duration::from_mins(10)));
        assert_eq!(duration("1h 30m"), Ok(Duration::from_mins(90)));
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(size("1 MiB"), Ok(1 << 20));
        assert_eq!(size("512"), Ok(512));
        for text in ["", "10", "m", "10 minutes", "-1s", "1.5h", "99999999999999999999s", "9999999999999999d"]
        {
            assert!(duration(text).is_err(), "{text}");
        }
        for text in ["", "MiB", "1 MB", "1 MiB 2", "99999999999 GiB"] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn networks_are_exact() {
        assert_eq!(network("10.1.2.3").unwrap().to_string(), "10.1.2.3/32");
        assert_eq!(network("::ffff:0.0.0.0/96").unwrap().to_string(), "0.0.0.0/0");
        assert!(network("10.1.2.3/8").unwrap_err().help.unwrap().contains("\"10.0.0.0/8\""));
        assert!(network("intranet").is_err());
    }

    #[test]
    fn a_day_counts_to_its_end() {
        let at = |text: &str| until(&text.parse().unwrap()).unwrap().to_rfc3339();
        assert_eq!(at("2027-01-31"), "2027-01-31T23:59:59Z");
        assert_eq!(at("2027-01-31T12:00:00"), "2027-01-31T12:00:00Z");
        assert_eq!(at("2027-01-31T12:00:00+02:00"), "2027-01-31T10:00:00Z");
        assert!(until(&"12:00:00".parse().unwrap()).is_err());
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_back(millis in 1u64..10_000_000_000, bytes in 1usize..10_000_000_000) {
            let whole = Duration::from_millis(millis);
            prop_assert_eq!(duration(&show_duration(whole)), Ok(whole));
            prop_assert_eq!(size(&show_size(bytes)), Ok(bytes as u64));
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,40}") {
            let _ = (duration(&text), size(&text), network(&text), socket_address(&text), host(&text));
        }
    }
}
