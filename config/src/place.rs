//! Where requests are listened for: a TCP address or a unix socket.
//!
//! Invariant: the path of a unix socket is absolute and short enough for the kernel (`sun_path`, unix(7)).
//! Shared by listeners and by [`crate::UpstreamAddress`].

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::str::FromStr;

use crate::ListenAddress;

/// What a unix socket begins with wherever an address may stand, in letters of any size as schemes are (RFC 3986 section
/// 3.1): no host is called so.
const UNIX: &str = "unix:";

/// The longest path that the kernel takes, in bytes (108 with the zero byte at its end).
const LONGEST: usize = 107;

/// The path of a unix socket.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SocketPath(Box<str>);

impl SocketPath {
    /// The path behind `unix:`; `None` when the text is no unix socket at all.
    pub(crate) fn within(text: &str) -> Option<Result<Self, &'static str>> {
        let (prefix, path) = text.split_at_checked(UNIX.len())?;
        prefix.eq_ignore_ascii_case(UNIX).then(|| Self::new(path))
    }

    fn new(path: &str) -> Result<Self, &'static str> {
        if !path.starts_with('/') {
            Err("the path of a unix socket begins with `/`")
        } else if path.ends_with('/') {
            Err("the path of a unix socket ends with the name of a file")
        } else if path.len() > LONGEST {
            Err("the path of a unix socket has at most 107 bytes")
        } else if path.chars().any(char::is_control) {
            Err("the path of a unix socket holds no control character")
        } else {
            Ok(Self(path.into()))
        }
    }

    /// The path.
    #[must_use]
    pub fn as_path(&self) -> &Path {
        Path::new(&*self.0)
    }

    /// The path as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SocketPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{UNIX}{}", self.0)
    }
}

/// Where a listener of requests is: `0.0.0.0:80`, `[::]:80`, `:80` or `unix:/run/switcher/http.sock`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ListenPlace {
    /// A TCP address.
    Tcp(ListenAddress),
    /// A unix socket.
    Unix(SocketPath),
}

impl ListenPlace {
    /// The TCP address, if it is one.
    #[must_use]
    pub const fn tcp(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(address) => Some(address.0),
            Self::Unix(_) => None,
        }
    }

    /// The TCP port, if it has one.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        self.tcp().map(|address| address.port())
    }
}

impl From<SocketAddr> for ListenPlace {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp(ListenAddress(address))
    }
}

impl fmt::Display for ListenPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => path.fmt(f),
        }
    }
}

/// A text that is no place to listen at.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPlace {
    /// No TCP address.
    #[error(
        "{0:?} is no address to listen on; write for example `0.0.0.0:80`, `[::]:80`, `:80` or `unix:/run/switcher/http.sock`"
    )]
    Address(String),
    /// No unix socket.
    #[error("{0:?} is no unix socket to listen on: {1}; write for example `unix:/run/switcher/http.sock`")]
    Socket(String, &'static str),
}

impl FromStr for ListenPlace {
    type Err = InvalidPlace;

    fn from_str(text: &str) -> Result<Self, InvalidPlace> {
        match SocketPath::within(text) {
            Some(path) => path.map(Self::Unix).map_err(|why| InvalidPlace::Socket(text.to_owned(), why)),
            None => text.parse().map(Self::Tcp).map_err(|_| InvalidPlace::Address(text.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_an_address_or_a_socket_and_shows_itself() {
        for text in ["0.0.0.0:80", "[::]:443", "unix:/run/switcher/http.sock"] {
            let place: ListenPlace = text.parse().expect(text);
            assert_eq!(place.to_string(), text);
        }
        assert_eq!(":80".parse::<ListenPlace>().expect("a place").port(), Some(80));
    }

    #[test]
    fn what_is_wrong_with_a_path_is_said() {
        let long = format!("unix:/{}", "x".repeat(107));
        for (text, why) in [
            ("unix:run/http.sock", "begins with `/`"),
            ("unix:", "begins with `/`"),
            ("unix:/run/", "ends with the name of a file"),
            (long.as_str(), "at most 107 bytes"),
            ("unix:/run/a\nb", "no control character"),
            ("localhost:80", "is no address to listen on"),
        ] {
            let error = text.parse::<ListenPlace>().expect_err(text).to_string();
            assert!(error.contains(why), "{error}");
        }
        assert!(format!("unix:/{}", "x".repeat(106)).parse::<ListenPlace>().is_ok());
    }
}
