//! The keys of an application's `tcp`.

use crate::section::record;
use crate::settings::{ProxyProtocol, RawTls};
use crate::{ListenAddress, Span};

record! {
    /// An application of raw TCP: where it listens, and what of TLS is understood.
    RawTcpKeys, "write for example `tcp: {listen: 0.0.0.0:5432}`" {
        /// One address or a list. Without TLS an address belongs to one application; by TLS several share one, told apart by `hosts`.
        listen: Vec<ListenAddress>;
        /// `off`: bytes as they come. `passthrough`: TLS, sent by the name in its hello to the application with that host, and not decrypted. `terminate`: decrypted with the certificate that `tls` beside it says.
        tls: RawTls = RawTls::Off;
        /// Whether connections begin with the client's address: `off`, `require` or `accept` (only from trusted_proxies).
        proxy_protocol: ProxyProtocol = ProxyProtocol::Off;
        /// How long a connection may be silent on both sides; `0s`: for ever, for keep-alive of `proxy.tcp` finds who is gone.
        idle: Span = Span::seconds(0);
    }
}
