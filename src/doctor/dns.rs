//! TXT records: where DKIM, SPF and DMARC stand.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{Name, RData};

/// How long one server may take over one question.
const TIMEOUT: Duration = Duration::from_secs(3);
const ATTEMPTS: usize = 2;

/// A DNS server to ask instead of the system's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Server(pub SocketAddr);

impl std::str::FromStr for Server {
    type Err = &'static str;

    /// An address with or without a port.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let address = text.parse::<IpAddr>().map(|address| SocketAddr::new(address, 53));
        address
            .or_else(|_| text.parse())
            .map(Self)
            .map_err(|_| "an address like 192.0.2.53 or [2001:db8::53]:53")
    }
}

/// Why nothing is known of a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum DnsTrouble {
    #[error("the DNS could not be asked: {0}")]
    NoResolver(String),
    #[error("no answer from the DNS for {0}: {1}")]
    NoAnswer(String, String),
    #[error("{0} is no name of the DNS")]
    Name(String),
}

/// Asks the DNS. Remembers what it was told for as long as it lives.
pub(super) struct Dns(TokioResolver);

impl Dns {
    /// Asks `server`, or those of the system.
    pub(super) fn new(server: Option<Server>) -> Result<Self, DnsTrouble> {
        let failed =
            |error: hickory_resolver::net::NetError| DnsTrouble::NoResolver(super::clean(&error.to_string()));
        let mut builder = match server {
            None => TokioResolver::builder_tokio().map_err(failed)?,
            Some(Server(address)) => {
                let (mut udp, mut tcp) = (ConnectionConfig::udp(), ConnectionConfig::tcp());
                (udp.port, tcp.port) = (address.port(), address.port());
                let server = NameServerConfig::new(address.ip(), true, vec![udp, tcp]);
                let config = ResolverConfig::from_parts(None, Vec::new(), vec![server]);
                TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
            }
        };
        let options = builder.options_mut();
        options.timeout = TIMEOUT;
        options.attempts = ATTEMPTS;
        builder.build().map(Self).map_err(failed)
    }

    /// The TXT records of a name, each with its strings joined; none where the name or the record is not there.
    pub(super) async fn txt(&self, name: &str) -> Result<Vec<String>, DnsTrouble> {
        // With the root at its end: a search list must not make another name of it.
        let absolute =
            Name::from_ascii(format!("{name}.")).map_err(|_| DnsTrouble::Name(super::clean(name)))?;
        match self.0.txt_lookup(absolute).await {
            Ok(found) => Ok(found.answers().iter().filter_map(|record| text(&record.data)).collect()),
            Err(error) if error.is_no_records_found() => Ok(Vec::new()),
            Err(error) => Err(DnsTrouble::NoAnswer(super::clean(name), super::clean(&error.to_string()))),
        }
    }
}

fn text(data: &RData) -> Option<String> {
    let RData::TXT(txt) = data else { return None };
    let octets: Vec<u8> = txt.txt_data.iter().flat_map(|string| string.iter().copied()).collect();
    Some(String::from_utf8_lossy(&octets).into_owned())
}

/// The tags of a record like `v=DKIM1; k=rsa; p=...`, names in lower case.
pub(super) fn tags(record: &str) -> impl Iterator<Item = (String, &str)> {
    record.split(';').filter_map(|tag| {
        let (name, value) = tag.split_once('=')?;
        Some((name.trim().to_ascii_lowercase(), value.trim()))
    })
}
