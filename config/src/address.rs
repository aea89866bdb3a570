//! Where to listen and where to send: addresses as the configuration writes them.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::place::SocketPath;

/// The protocol spoken to an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum UpstreamProtocol {
    /// HTTP/1.1 in clear text: `127.0.0.1:8001` or `http://127.0.0.1:8001`.
    #[default]
    Http1,
    /// HTTP/2 with prior knowledge in clear text (RFC 9113 section 3.3): `h2c://127.0.0.1:8001`.
    H2c,
    /// HTTP/2 or HTTP/1.1 over TLS, chosen by ALPN: `https://app.internal:8443`.
    Https,
}

impl UpstreamProtocol {
    const fn prefix(self) -> &'static str {
        match self {
            Self::Http1 => "",
            Self::H2c => "h2c://",
            Self::Https => "https://",
        }
    }
}

/// The address of one upstream: `ip:port`, `name:port` or `unix:/path`, with an optional scheme.
///
/// A name is kept as written; whoever dials it resolves it, again and again.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UpstreamAddress {
    protocol: UpstreamProtocol,
    at: At,
}

/// Where an upstream is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum At {
    Tcp { host: String, port: u16 },
    Unix(SocketPath),
}

/// What an upstream behind a unix socket is called where a host is asked for, as nginx and others call it.
const UNIX_HOST: &str = "localhost";

impl UpstreamAddress {
    /// An HTTP/1.1 upstream at a socket address.
    #[must_use]
    pub fn from_socket(address: SocketAddr) -> Self {
        let at = At::Tcp { host: address.ip().to_string(), port: address.port() };
        Self { protocol: UpstreamProtocol::Http1, at }
    }

    /// What is spoken to this upstream.
    #[must_use]
    pub const fn protocol(&self) -> UpstreamProtocol {
        self.protocol
    }

    /// The host: an IP address without brackets, or a DNS name; `localhost` for a unix socket.
    #[must_use]
    pub fn host(&self) -> &str {
        match &self.at {
            At::Tcp { host, .. } => host,
            At::Unix(_) => UNIX_HOST,
        }
    }

    /// The TCP port; none for a unix socket.
    #[must_use]
    pub const fn port(&self) -> Option<u16> {
        match self.at {
            At::Tcp { port, .. } => Some(port),
            At::Unix(_) => None,
        }
    }

    /// Host and port as they stand in a `Host` header: `app:8001`, `[::1]:8001`; `localhost` for a unix socket.
    #[must_use]
    pub fn authority(&self) -> String {
        match &self.at {
            At::Tcp { host, port } if host.contains(':') => format!("[{host}]:{port}"),
            At::Tcp { host, port } => format!("{host}:{port}"),
            At::Unix(_) => UNIX_HOST.to_owned(),
        }
    }

    /// The socket address, unless the host is a name that must be resolved first, or this is a unix socket.
    #[must_use]
    pub fn socket_address(&self) -> Option<SocketAddr> {
        let At::Tcp { host, port } = &self.at else { return None };
        host.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, *port))
    }

    /// The path of the unix socket, if it is one.
    #[must_use]
    pub const fn socket_path(&self) -> Option<&SocketPath> {
        match &self.at {
            At::Unix(path) => Some(path),
            At::Tcp { .. } => None,
        }
    }
}

impl fmt::Display for UpstreamAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let prefix = self.protocol.prefix();
        let text = match &self.at {
            At::Tcp { .. } => format!("{prefix}{}", self.authority()),
            At::Unix(path) => format!("{prefix}{path}"),
        };
        f.pad(&text)
    }
}

/// A text that is no upstream address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is no upstream address: {why}; write for example `127.0.0.1:8001`, `app:8001`, `unix:/run/app.sock`, `h2c://app:50051` or `https://app:8443`"
)]
pub struct InvalidUpstream {
    text: String,
    why: &'static str,
}

impl FromStr for UpstreamAddress {
    type Err = InvalidUpstream;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = |why| InvalidUpstream { text: text.to_owned(), why };
        let (protocol, rest) = match text.split_once("://") {
            None => (UpstreamProtocol::Http1, text),
            Some(("http", rest)) => (UpstreamProtocol::Http1, rest),
            Some(("h2c", rest)) => (UpstreamProtocol::H2c, rest),
            Some(("https", rest)) => (UpstreamProtocol::Https, rest),
            Some(_) => return Err(invalid("its scheme is none of http, https and h2c")),
        };
        if let Some(path) = SocketPath::within(rest) {
            return path.map(|path| Self { protocol, at: At::Unix(path) }).map_err(invalid);
        }
        let (host, port) = rest.rsplit_once(':').ok_or_else(|| invalid("the port is missing"))?;
        let port = port
            .parse()
            .ok()
            .filter(|p| *p != 0)
            .ok_or_else(|| invalid("the port is no number from 1 to 65535"))?;
        let host = match host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
            Some(v6) => v6
                .parse::<std::net::Ipv6Addr>()
                .map_err(|_| invalid("the brackets hold no IPv6 address"))?
                .to_string(),
            None if host.contains(':') => {
                return Err(invalid("an IPv6 address stands in brackets"));
            }
            None if is_dns_name(host) => host.to_ascii_lowercase(),
            None => return Err(invalid("the host is neither an IP address nor a DNS name")),
        };
        Ok(Self { protocol, at: At::Tcp { host, port } })
    }
}

impl TryFrom<String> for UpstreamAddress {
    type Error = InvalidUpstream;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<UpstreamAddress> for String {
    fn from(address: UpstreamAddress) -> Self {
        address.to_string()
    }
}

/// Whether `text` is a host name (RFC 1123 section 2.1, underscores allowed as container names have them).
pub(crate) fn is_dns_name(text: &str) -> bool {
    let label = |l: &str| {
        !l.is_empty()
            && l.len() <= 63
            && !l.starts_with('-')
            && !l.ends_with('-')
            && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    text.len() <= 253 && text.split('.').all(label)
}

/// A TCP address to listen on: `0.0.0.0:80`, `[::]:443`, or `:80` for every address of both families.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ListenAddress(pub SocketAddr);

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A text that is no address to listen on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no address to listen on; write for example `0.0.0.0:80`, `[::]:80` or `:80`")]
pub struct InvalidListen(pub String);

impl FromStr for ListenAddress {
    type Err = InvalidListen;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let full = if text.starts_with(':') { format!("[::]{text}") } else { text.to_owned() };
        full.parse().map(Self).map_err(|_| InvalidListen(text.to_owned()))
    }
}

impl TryFrom<String> for ListenAddress {
    type Error = InvalidListen;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<ListenAddress> for String {
    fn from(address: ListenAddress) -> Self {
        address.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upstreams_keep_scheme_host_and_port() {
        for (text, shown) in [
            ("127.0.0.1:8001", "127.0.0.1:8001"),
            ("http://app:80", "app:80"),
            ("App_1.internal:8001", "app_1.internal:8001"),
            ("[::1]:8001", "[::1]:8001"),
            ("h2c://10.0.0.7:50051", "h2c://10.0.0.7:50051"),
            ("https://[2001:db8::1]:8443", "https://[2001:db8::1]:8443"),
            ("unix:/run/shop/blue.sock", "unix:/run/shop/blue.sock"),
            ("http://unix:/run/blue.sock", "unix:/run/blue.sock"),
            ("Unix:/run/Blue.sock", "unix:/run/Blue.sock"),
            ("h2c://unix:/run/blue.sock", "h2c://unix:/run/blue.sock"),
        ] {
            let address: UpstreamAddress = text.parse().expect(text);
            assert_eq!(address.to_string(), shown);
            assert_eq!(address.to_string().parse(), Ok(address));
        }
    }

    #[test]
    fn what_is_wrong_with_an_upstream_is_said() {
        for (text, why) in [
            ("127.0.0.1", "the port is missing"),
            ("127.0.0.1:0", "the port is no number from 1 to 65535"),
            ("::1:8001", "an IPv6 address stands in brackets"),
            ("ftp://app:21", "its scheme is none of http, https and h2c"),
            ("sh op:80", "the host is neither an IP address nor a DNS name"),
            ("[::x]:80", "the brackets hold no IPv6 address"),
            ("unix:run/blue.sock", "the path of a unix socket begins with `/`"),
            ("Unix:8001", "the path of a unix socket begins with `/`"),
        ] {
            assert_eq!(text.parse::<UpstreamAddress>().expect_err(text).why, why);
        }
    }

    #[test]
    fn a_bare_port_listens_on_both_families() {
        assert_eq!(":80".parse::<ListenAddress>().map(|a| a.to_string()), Ok("[::]:80".to_owned()));
        assert!("80".parse::<ListenAddress>().is_err());
        assert!("localhost:80".parse::<ListenAddress>().is_err());
    }
}
