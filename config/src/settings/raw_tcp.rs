//! The settings of an application of raw TCP.

use crate::{ListenAddress, Span};

use super::ProxyProtocol;

/// Where an application of raw TCP listens, and what of TLS is understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawTcp {
    /// Its addresses.
    pub listen: Vec<ListenAddress>,
    /// What is done with TLS. Default `off`.
    pub tls: RawTls,
    /// Whether connections begin with the address of the client. Default off.
    pub proxy_protocol: ProxyProtocol,
    /// How long a connection may be silent; none: for ever. Default none.
    pub idle: Option<Span>,
}

/// What is done with the TLS of a raw connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RawTls {
    /// It is not looked for.
    Off,
    /// The name in its hello decides where it goes, and its bytes stay as they are.
    Passthrough,
    /// It ends here.
    Terminate,
}
