//! An application's `tcp` turned into settings, and back.

use crate::Span;
use crate::keys::RawTcpKeys;
use crate::settings::RawTcp;

impl From<RawTcpKeys> for RawTcp {
    fn from(RawTcpKeys { listen, tls, proxy_protocol, idle }: RawTcpKeys) -> Self {
        Self { listen, tls, proxy_protocol, idle: Some(idle).filter(|idle| !idle.0.is_zero()) }
    }
}

impl From<RawTcp> for RawTcpKeys {
    fn from(RawTcp { listen, tls, proxy_protocol, idle }: RawTcp) -> Self {
        Self { listen, tls, proxy_protocol, idle: idle.unwrap_or(Span::seconds(0)) }
    }
}
