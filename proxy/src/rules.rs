//! Rules of the whole proxy, as the request path uses them.

use std::time::Duration;

use bytes::Bytes;
use http::HeaderName;
use pingora_core::protocols::l4::ext::TcpKeepalive;
use switcher_config::settings::{AppSettings, ErrorPage, Listener, ProxySettings, Settings, TcpOptions};

use crate::forwarded::Trust;
use crate::limits::Limits;
use crate::traces::Sampler;

/// The name of a header of our own in answers, as `http` knows it and as Pingora takes it without a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnswerHeader {
    /// The name.
    pub name: HeaderName,
    /// Its text.
    pub text: Bytes,
}

impl AnswerHeader {
    fn new(name: HeaderName) -> Self {
        Self { text: Bytes::copy_from_slice(name.as_str().as_bytes()), name }
    }
}

/// The `proxy` section and the little of others, made ready for requests.
#[derive(Debug)]
pub struct Rules {
    /// Whose word on client addresses is taken.
    pub trust: Trust,
    /// What one client may ask of the proxy.
    pub limits: Limits,
    /// The answer header that names the slot.
    pub slot_header: Option<AnswerHeader>,
    /// The answer header that names the release.
    pub release_header: Option<AnswerHeader>,
    /// How upstreams are asked whether they are still there.
    pub keepalive: Option<TcpKeepalive>,
    /// The ports of the plain listeners.
    pub http_ports: Vec<u16>,
    /// The names and ports of the TLS listeners.
    pub https: Vec<(Option<String>, Option<u16>)>,
    /// Pages for answers where no application has one.
    pub error_pages: Vec<ErrorPage>,
    /// Whose requests are traced, where any are.
    pub sampler: Option<Sampler>,
    /// Whether plain requests for http-01 are ours: certificates are asked for.
    pub acme: bool,
}

impl Rules {
    /// The rules that these settings make. Header names were checked by the parser.
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        let (acme, settings) = (settings.acme.is_some(), &settings.proxy);
        let name = |text: &Option<String>| text.as_deref().and_then(|t| HeaderName::try_from(t).ok());
        Self {
            trust: Trust::new(settings.trusted_proxies.clone(), name(&settings.client_ip_header)),
            limits: Limits::from(&settings.limits),
            slot_header: name(&settings.slot_header).map(AnswerHeader::new),
            release_header: name(&settings.release_header).map(AnswerHeader::new),
            keepalive: keepalive(&settings.tcp),
            http_ports: settings.http.iter().filter_map(|listener| listener.listen.port()).collect(),
            https: settings.https.iter().map(|tls| at(&tls.listener)).collect(),
            error_pages: settings.error_pages.clone(),
            sampler: settings.traces.as_ref().map(|traces| Sampler::new(traces.sample)),
            acme,
        }
    }

    /// Where an application's https is for a client that came by a port of its own telling; none without a TLS listener
    /// for it. A port that nobody listens on here was mapped to ours on the way, so https is where clients look for it.
    #[must_use]
    pub fn https_for(&self, came_by: Option<u16>, app: &AppSettings) -> Option<u16> {
        let direct = self.http_ports.contains(&came_by.unwrap_or(80));
        let port = port_of(&self.https, app, 443)?;
        Some(if direct { port } else { 443 })
    }
}

fn at(listener: &Listener) -> (Option<String>, Option<u16>) {
    (listener.name.clone(), listener.listen.port())
}

/// The port of the first listener for an application that has one; by a unix socket clients of the usual one come.
fn port_of(listeners: &[(Option<String>, Option<u16>)], app: &AppSettings, usual: u16) -> Option<u16> {
    let mut served = listeners.iter().filter(|(name, _)| app.is_served_at(name.as_deref())).peekable();
    served.peek()?;
    Some(served.find_map(|(_, port)| *port).unwrap_or(usual))
}

/// The port at which clients look for an application's https, and that for http; none where it is not served so.
#[must_use]
pub fn ports(proxy: &ProxySettings, app: &AppSettings) -> (Option<u16>, Option<u16>) {
    let https: Vec<_> = proxy.https.iter().map(|tls| at(&tls.listener)).collect();
    let http: Vec<_> = proxy.http.iter().map(at).collect();
    (port_of(&https, app, 443), port_of(&http, app, 80))
}

/// Keep-alive as Pingora takes it.
fn keepalive(tcp: &TcpOptions) -> Option<TcpKeepalive> {
    let keepalive = TcpKeepalive {
        idle: tcp.keepalive.0,
        interval: tcp.keepalive_interval.0,
        count: usize::from(tcp.keepalive_probes),
        user_timeout: Duration::ZERO,
    };
    Some(keepalive).filter(|keepalive| !keepalive.idle.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::app_settings;

    #[test]
    fn https_is_at_our_port_for_who_came_by_ours_and_at_the_usual_one_where_ports_are_mapped() {
        let rules = |http: u16, https: Option<u16>| Rules {
            trust: Trust::new(Vec::new(), None),
            limits: Limits::from(&switcher_config::settings::Limits::default()),
            slot_header: None,
            release_header: None,
            keepalive: None,
            http_ports: vec![http],
            https: https.map(|port| (None, Some(port))).into_iter().collect(),
            error_pages: Vec::new(),
            sampler: None,
            acme: false,
        };
        let app = app_settings("127.0.0.1:8001", "127.0.0.1:8002");
        let inner = AppSettings { listeners: vec!["inner".to_owned()], ..app.clone() };
        assert_eq!(rules(80, Some(443)).https_for(None, &inner), None, "it is not served there");
        for (http, https, came_by, wanted) in [
            (80, Some(443), None, Some(443)),
            (80, Some(8443), None, Some(8443)),
            (8080, Some(8443), Some(8080), Some(8443)),
            (8080, Some(8443), None, Some(443)),
            (8080, Some(8443), Some(80), Some(443)),
            (8080, None, None, None),
        ] {
            assert_eq!(rules(http, https).https_for(came_by, &app), wanted, "{http} {https:?} {came_by:?}");
        }
    }
}
