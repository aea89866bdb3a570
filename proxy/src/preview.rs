//! Who is let into the slot that is not live: whoever shows the application's token, or a pass made with it.
//!
//! Pure but for [`Token::read`]. A pass is `<expiry>.<tag>`: Unix seconds, and the HMAC-SHA256 (RFC 2104) of the
//! application's name and that expiry under the token, in base64url; so neither a link nor a cookie holds the token.
//! Invariant: a token or pass that is wrong is as good as none, and comparing takes the same time either way. `apply` makes
//! the [`Guard`]s, the gateway asks them, and the admin API has passes made.

use std::fmt;
use std::path::Path;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::{self, HeaderMap, HeaderValue};
use subtle::ConstantTimeEq as _;
use switcher_config::secret_file::{self, Owner};
use switcher_config::settings::{AppSettings, Preview, ProxySettings, Tls};
use switcher_config::{AppName, PathPrefix};

use crate::rules::ports;

/// Where a link for people leads, below the application's path.
pub const LINK: &str = "/.well-known/switcher/preview";

/// The fewest characters of a token.
const SHORTEST: usize = 16;

/// The longest life of a pass, in seconds: 30 days.
pub const LONGEST: u64 = 30 * 24 * 60 * 60;

/// A secret that opens the standby slot.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

/// Never shows it.
impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(***)")
    }
}

impl Token {
    /// Takes a text, without blanks around it.
    ///
    /// # Errors
    /// A sentence, without the text, when it is too short or cannot stand in a header.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("it holds something else than one word of printable ASCII characters".to_owned());
        }
        if text.len() < SHORTEST {
            let hint = "write one with `head -c 24 /dev/urandom | base64`";
            return Err(format!("its token is shorter than {SHORTEST} characters; {hint}"));
        }
        Ok(Self(text.to_owned()))
    }

    /// Reads it from a file that nobody but its owner can read.
    ///
    /// # Errors
    /// A sentence that names the file, never what is in it.
    pub fn read(file: &Path) -> Result<Self, String> {
        let text = secret_file::read(file, Owner::Anybody)?;
        Self::parse(&text).map_err(|why| format!("{}: {why}", file.display()))
    }

    /// Whether a text is this token. Comparing takes the same time either way.
    #[must_use]
    pub fn is(&self, text: &str) -> bool {
        self.0.as_bytes().ct_eq(text.as_bytes()).into()
    }

    /// The tag of a pass.
    fn tag(&self, app: &AppName, expiry: u64) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.0.as_bytes());
        URL_SAFE_NO_PAD.encode(hmac::sign(&key, format!("{app}|{expiry}").as_bytes()))
    }
}

/// Decides who previews one application.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guard {
    app: AppName,
    names: Preview,
    path: PathPrefix,
    token: Token,
}

/// A pass, ready to be handed out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pass {
    /// Its text. Whoever has it is let in.
    pub text: String,
    /// When it ends, in Unix seconds.
    pub expiry: u64,
}

/// What a link for people does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Visit {
    /// It sets or removes the cookie with this header value and leads to this path.
    Cookie(HeaderValue, HeaderValue),
    /// Its pass is wrong, or has ended.
    Refused,
}

impl Guard {
    /// The guard of an application with a `preview` section.
    #[must_use]
    pub fn new(app: AppName, settings: &AppSettings, names: Preview, token: Token) -> Self {
        Self { app, names, path: settings.path.clone(), token }
    }

    /// A pass that ends so many seconds after `now` (Unix seconds).
    #[must_use]
    pub fn pass(&self, now: u64, seconds: u64) -> Pass {
        let expiry = now.saturating_add(seconds.min(LONGEST));
        Pass { text: format!("{expiry}.{}", self.token.tag(&self.app, expiry)), expiry }
    }

    /// Path and query of the link that hands `pass` over.
    #[must_use]
    pub fn link(&self, pass: &Pass) -> String {
        format!("{}{LINK}?pass={}", self.path.as_str(), pass.text)
    }

    /// Whether a request shows the token in its header, or a valid pass in its cookie.
    #[must_use]
    pub fn admits(&self, headers: &HeaderMap, now: u64) -> bool {
        let sent = headers.get(self.names.header.as_str());
        if sent.is_some_and(|value| value.as_bytes().ct_eq(self.token.0.as_bytes()).into()) {
            return true;
        }
        let crumbs = headers.get_all(header::COOKIE).into_iter().flat_map(|value| crumbs(value.as_bytes()));
        let mut ours = crumbs.filter_map(|crumb| crumb.strip_prefix(self.names.cookie.as_bytes()));
        ours.any(|rest| rest.strip_prefix(b"=").is_some_and(|pass| self.expiry_of(pass, now).is_some()))
    }

    /// What a request for `path` is, if it is for the link. `secure` says whether the client came by TLS.
    #[must_use]
    pub fn visit(&self, path: &str, query: &str, now: u64, secure: bool) -> Option<Visit> {
        if path.strip_prefix(self.path.as_str()) != Some(LINK) {
            return None;
        }
        let mut parts = query.split('&');
        let (pass, left) = if parts.clone().any(|part| part == "leave" || part == "leave=") {
            ("", Some(0))
        } else {
            let pass = parts.find_map(|part| part.strip_prefix("pass=")).unwrap_or_default();
            (pass, self.expiry_of(pass.as_bytes(), now).map(|expiry| expiry - now))
        };
        let Some(left) = left else { return Some(Visit::Refused) };
        let secure = if secure { "; Secure" } else { "" };
        let (name, path) = (&self.names.cookie, &self.path);
        let cookie = format!("{name}={pass}; Path={path}; Max-Age={left}; HttpOnly; SameSite=Lax{secure}");
        let values = (HeaderValue::try_from(cookie), HeaderValue::try_from(path.to_string()));
        Some(match values {
            (Ok(cookie), Ok(path)) => Visit::Cookie(cookie, path),
            (Err(_), _) | (_, Err(_)) => Visit::Refused,
        })
    }

    /// When a pass ends, if it is ours and has not ended.
    fn expiry_of(&self, pass: &[u8], now: u64) -> Option<u64> {
        let (expiry, tag) = std::str::from_utf8(pass).ok()?.split_once('.')?;
        let expiry = expiry.parse().ok().filter(|expiry| *expiry > now)?;
        let right: bool = self.token.tag(&self.app, expiry).as_bytes().ct_eq(tag.as_bytes()).into();
        right.then_some(expiry)
    }
}

/// The cookies of one header field, `name=value` each (RFC 6265 section 4.2.1).
fn crumbs(field: &[u8]) -> impl Iterator<Item = &[u8]> {
    field.split(|byte| *byte == b';').map(<[u8]>::trim_ascii)
}

/// The fields of `Cookie` without the cookie of that name; `None` when it is in none of them.
#[must_use]
pub fn without_cookie(headers: &HeaderMap, name: &str) -> Option<Vec<HeaderValue>> {
    let ours = |crumb: &[u8]| {
        crumb.strip_prefix(name.as_bytes()).is_some_and(|rest| rest.is_empty() || rest[0] == b'=')
    };
    let fields = headers.get_all(header::COOKIE);
    if !fields.iter().any(|field| crumbs(field.as_bytes()).any(ours)) {
        return None;
    }
    let rest = |field: &HeaderValue| {
        let kept: Vec<&[u8]> = crumbs(field.as_bytes()).filter(|crumb| !ours(crumb)).collect();
        HeaderValue::from_bytes(&kept.join(&b"; "[..])).ok().filter(|field| !field.is_empty())
    };
    Some(fields.iter().filter_map(rest).collect())
}

/// Scheme, host and port of a link to the application: `https://shop.example.com`. An application of every host is
/// met at `localhost`, and one of wildcards at `preview` in the place of the `*`.
#[must_use]
pub fn origin(proxy: &ProxySettings, app: &AppSettings) -> String {
    let named = app.canonical_host.clone().or_else(|| {
        let hosts: Vec<String> = app.hosts.iter().map(ToString::to_string).collect();
        let exact = hosts.iter().find(|host| !host.starts_with('*')).cloned();
        exact.or_else(|| hosts.first().map(|host| host.replacen('*', "preview", 1)))
    });
    let host = named.unwrap_or_else(|| "localhost".to_owned());
    let host = if host.contains(':') && !host.starts_with('[') { format!("[{host}]") } else { host };
    let (https, http) = ports(proxy, app);
    let (scheme, port, usual) = match https.filter(|_| app.tls != Tls::Off) {
        Some(port) => ("https", port, 443),
        None => ("http", http.unwrap_or(80), 80),
    };
    if port == usual { format!("{scheme}://{host}") } else { format!("{scheme}://{host}:{port}") }
}

/// Path and query as they may be logged: the query of a link is a secret.
#[must_use]
pub fn loggable(target: &str) -> &str {
    match target.split_once('?') {
        Some((path, _)) if path.ends_with(LINK) => path,
        Some(_) | None => target,
    }
}

#[cfg(test)]
mod tests;
