//! Rules of the whole proxy, as the request path uses them.

use http::HeaderName;
use switcher_config::settings::Settings;

use crate::forwarded::Trust;

/// The `proxy` section and the little of others, made ready for requests.
#[derive(Debug)]
pub struct Rules {
    /// Whose word on client addresses is taken.
    pub trust: Trust,
    /// The answer header that names the slot.
    pub slot_header: Option<HeaderName>,
    /// The answer header that names the release.
    pub release_header: Option<HeaderName>,
    /// The port that plain requests are redirected to; none without a TLS listener.
    pub https_port: Option<u16>,
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
            slot_header: name(&settings.slot_header),
            release_header: name(&settings.release_header),
            https_port: settings.https.first().map(|tls| tls.listen.0.port()),
            acme,
        }
    }
}
