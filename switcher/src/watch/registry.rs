//! The digest that a tag stands for, asked of its registry by HEAD: registries count that as no pull, and no image and no
//! engine is needed for it.
//!
//! Follows the OCI distribution specification and its token flow. A client library would ask by GET where a HEAD is
//! refused or limited, which registries count, and knows neither identity tokens nor `Retry-After`. Invariant: a
//! credential goes to the registry and to the token service that it names, by https, and into no message; plain http is
//! spoken with this machine alone, as the engine does. Called by `watch::application`.

mod challenge;

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::header::{ACCEPT, AUTHORIZATION, LOCATION, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, StatusCode};
use reqwest::{Client, Response, Url};
use serde::Deserialize;
use switcher_config::ImageReference;

use self::challenge::{Challenge, challenge};
use super::decide::Found;
use crate::docker::{RegistryLogin, registry_login};
use crate::web;

/// What an image may be: an index or a manifest, in OCI's words and in Docker's. Without all four the digest would be that
/// of another object.
const ACCEPTED: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
                        application/vnd.docker.distribution.manifest.list.v2+json, \
                        application/vnd.docker.distribution.manifest.v2+json";
/// How long one request may take.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Some registries send their clients to a nearer one.
const REDIRECTS: usize = 3;
/// The most that is read of a token.
const LONGEST: usize = 256 << 10;

/// Asks registries.
#[derive(Debug, Clone)]
pub struct Registry {
    client: Client,
    /// Docker's configuration folder, where logins are kept.
    logins: Option<PathBuf>,
}

/// Why there is no digest.
enum Refused {
    /// A sentence.
    Said(String),
    /// Fewer requests are wanted, for so long.
    Limited(Option<Duration>),
}

impl Registry {
    /// A client with the logins of Docker's configuration folder.
    ///
    /// # Errors
    /// A sentence, when the system's certificates cannot be used.
    pub fn new(logins: Option<PathBuf>) -> Result<Self, String> {
        Ok(Self { client: web::client(TIMEOUT, None)?, logins })
    }

    /// What the tag of `image` stands for now.
    pub async fn look(&self, image: &ImageReference) -> Found {
        match self.digest(image).await {
            Ok(digest) => Found::Digest(digest),
            Err(Refused::Said(why)) => Found::Nothing(format!(
                "the registry {} did not tell the digest of {image}: {why}",
                image.registry()
            )),
            Err(Refused::Limited(wait)) => {
                let message = format!(
                    "the registry {} wants fewer requests; it allows more to those who log in, and a longer \
                     `watch.interval` needs fewer",
                    image.registry()
                );
                Found::Limited { message, wait }
            }
        }
    }

    async fn digest(&self, image: &ImageReference) -> Result<String, Refused> {
        let url = manifest(image).ok_or_else(|| Refused::Said("its name makes no address".to_owned()))?;
        let first = self.head(&url, None).await?;
        if first.status() != StatusCode::UNAUTHORIZED {
            return told(&first);
        }
        let login = registry_login(self.logins.as_deref(), image.registry()).await;
        let login = login.map_err(|error| Refused::Said(error.to_string()))?;
        let known = login.is_some();
        let authorization = self.authorization(&url, first.headers(), image, login).await?;
        let second = self.head(&url, Some(&authorization)).await?;
        if second.status() == StatusCode::UNAUTHORIZED {
            return Err(Refused::Said(login_wanted(image.registry(), known)));
        }
        told(&second)
    }

    /// Asks, also where the registry sends us; the login stays with the registry.
    async fn head(&self, url: &Url, authorization: Option<&str>) -> Result<Response, Refused> {
        let mut at = url.clone();
        for _ in 0..=REDIRECTS {
            let mut request = self.client.head(at.clone()).header(ACCEPT, ACCEPTED);
            if let Some(authorization) = authorization.filter(|_| at.origin() == url.origin()) {
                request = request.header(AUTHORIZATION, authorization);
            }
            let answer = request.send().await.map_err(|error| Refused::Said(web::reason(&error)))?;
            if !answer.status().is_redirection() {
                return Ok(answer);
            }
            let place = answer.headers().get(LOCATION).and_then(|place| place.to_str().ok());
            let place = place.and_then(|place| at.join(place).ok()).filter(|place| is_safe(place, url));
            at = place
                .ok_or_else(|| Refused::Said("it sent us to no address that can be asked".to_owned()))?;
        }
        Err(Refused::Said("it sent us from one address to the next".to_owned()))
    }

    /// What the registry asks for in its 401.
    async fn authorization(
        &self,
        url: &Url,
        headers: &HeaderMap,
        image: &ImageReference,
        login: Option<RegistryLogin>,
    ) -> Result<String, Refused> {
        let asked = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
        match (challenge(asked), login) {
            (_, Some(RegistryLogin::Bearer(token))) => Ok(format!("Bearer {token}")),
            (Some(Challenge::Basic), Some(RegistryLogin::Password { user, password })) => {
                Ok(basic(&user, &password))
            }
            (Some(Challenge::Bearer { realm, service }), login) => {
                self.token(url, &realm, service.as_deref(), image, login).await
            }
            (Some(Challenge::Basic) | None, login) => {
                Err(Refused::Said(login_wanted(image.registry(), login.is_some())))
            }
        }
    }

    /// A token for pulling this repository, from the service that the registry names.
    async fn token(
        &self,
        registry: &Url,
        realm: &str,
        service: Option<&str>,
        image: &ImageReference,
        login: Option<RegistryLogin>,
    ) -> Result<String, Refused> {
        let unsafe_realm = || {
            Refused::Said("it names a token service that no login is sent to: one without https".to_owned())
        };
        let mut url = Url::parse(realm).map_err(|_| unsafe_realm())?;
        if !is_safe(&url, registry) {
            return Err(unsafe_realm());
        }
        let scope = format!("repository:{}:pull", image.repository());
        let mut words = vec![("scope", scope.as_str())];
        words.extend(service.map(|service| ("service", service)));
        let known = login.is_some();
        let request = match login {
            Some(RegistryLogin::Identity(token)) => {
                words.extend([
                    ("grant_type", "refresh_token"),
                    ("client_id", "switcher"),
                    ("refresh_token", &token),
                ]);
                let mut form = url.clone();
                form.query_pairs_mut().clear().extend_pairs(words);
                let body = form.query().unwrap_or_default().to_owned();
                self.client.post(url).header("content-type", "application/x-www-form-urlencoded").body(body)
            }
            Some(RegistryLogin::Password { user, password }) => {
                url.query_pairs_mut().extend_pairs(words);
                self.client.get(url).header(AUTHORIZATION, basic(&user, &password))
            }
            Some(RegistryLogin::Bearer(_)) | None => {
                url.query_pairs_mut().extend_pairs(words);
                self.client.get(url)
            }
        };
        let answer = request.send().await.map_err(|error| Refused::Said(web::reason(&error)))?;
        match answer.status() {
            status if status.is_success() => bearer(answer).await,
            StatusCode::TOO_MANY_REQUESTS => Err(Refused::Limited(wait(answer.headers()))),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                Err(Refused::Said(login_wanted(image.registry(), known)))
            }
            status => Err(Refused::Said(format!("its token service answered {status}"))),
        }
    }
}

/// What a token service answers; some call it one way, some the other.
#[derive(Deserialize)]
struct Token {
    token: Option<String>,
    access_token: Option<String>,
}

async fn bearer(mut answer: Response) -> Result<String, Refused> {
    let mut body = Vec::new();
    while let Some(piece) = answer.chunk().await.map_err(|error| Refused::Said(web::reason(&error)))? {
        body.extend_from_slice(&piece);
        if body.len() > LONGEST {
            return Err(Refused::Said("its token service's answer is too long".to_owned()));
        }
    }
    // The words of serde would quote the token.
    let token = serde_json::from_slice::<Token>(&body).ok().and_then(|it| it.token.or(it.access_token));
    let told = token.map(|token| format!("Bearer {token}"));
    told.ok_or_else(|| Refused::Said("its token service's answer holds no token".to_owned()))
}

/// The digest in an answer.
fn told(answer: &Response) -> Result<String, Refused> {
    match answer.status() {
        status if status.is_success() => {
            let digest = answer.headers().get("docker-content-digest").and_then(|value| value.to_str().ok());
            let digest = digest.filter(|digest| is_digest(digest)).map(str::to_owned);
            digest.ok_or_else(|| Refused::Said("its answer holds none".to_owned()))
        }
        StatusCode::TOO_MANY_REQUESTS => Err(Refused::Limited(wait(answer.headers()))),
        StatusCode::NOT_FOUND => {
            Err(Refused::Said("there is no such image; check the name, and that it was pushed".to_owned()))
        }
        StatusCode::FORBIDDEN => {
            Err(Refused::Said("it does not let us look; check who may pull, and `docker login`".to_owned()))
        }
        status => Err(Refused::Said(format!("it answered {status}"))),
    }
}

/// How long to wait, where it is said in seconds.
fn wait(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?;
    text.trim().parse().ok().map(Duration::from_secs)
}

fn login_wanted(registry: &str, known: bool) -> String {
    let command =
        if registry == "docker.io" { "docker login".to_owned() } else { format!("docker login {registry}") };
    if known {
        format!("the login of Docker's configuration does not suffice; log in again with `{command}`")
    } else {
        format!("it wants a login, and this user has none; log in with `{command}`")
    }
}

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{password}")))
}

/// Where the manifest of a tag is.
fn manifest(image: &ImageReference) -> Option<Url> {
    let host = match image.registry() {
        "docker.io" | "index.docker.io" => "registry-1.docker.io",
        other => other,
    };
    let secure = format!("https://{host}/v2/{}/manifests/{}", image.repository(), image.tag()?);
    let url = Url::parse(&secure).ok()?;
    if is_here(&url) { Url::parse(&secure.replacen("https", "http", 1)).ok() } else { Some(url) }
}

/// Whether an address that a registry names may be asked: by https, or on this machine when the registry is here too.
fn is_safe(url: &Url, registry: &Url) -> bool {
    url.scheme() == "https" || (url.scheme() == "http" && is_here(url) && is_here(registry))
}

/// Whether an address is this machine's own.
fn is_here(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// `sha256:` and 64 hexadecimal digits, or `sha512:` and 128.
fn is_digest(text: &str) -> bool {
    let hex = |digits: &str, count: usize| {
        digits.len() == count && digits.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    };
    match text.split_once(':') {
        Some(("sha256", digits)) => hex(digits, 64),
        Some(("sha512", digits)) => hex(digits, 128),
        Some(_) | None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(image: &str) -> Option<String> {
        manifest(&image.parse().expect("an image")).map(String::from)
    }

    #[test]
    fn plain_http_is_spoken_with_this_machine_alone() {
        for (image, expected) in [
            ("ghcr.io/acme/shop:v1", "https://ghcr.io/v2/acme/shop/manifests/v1"),
            ("nginx:1.29", "https://registry-1.docker.io/v2/library/nginx/manifests/1.29"),
            ("127.0.0.1:5000/shop:v1", "http://127.0.0.1:5000/v2/shop/manifests/v1"),
            ("localhost:5000/shop:v1", "http://localhost:5000/v2/shop/manifests/v1"),
            ("10.0.0.7:5000/shop:v1", "https://10.0.0.7:5000/v2/shop/manifests/v1"),
        ] {
            assert_eq!(url(image).as_deref(), Some(expected));
        }
        let parse = |text: &str| Url::parse(text).expect("an address");
        let (here, there) = (parse("http://127.0.0.1:5000/"), parse("https://ghcr.io/"));
        for (realm, from_here, from_there) in [
            ("https://auth.example.com/token", true, true),
            ("http://127.0.0.1:9/token", true, false),
            ("http://auth.example.com/token", false, false),
            ("file:///etc/passwd", false, false),
        ] {
            let realm = parse(realm);
            assert_eq!((is_safe(&realm, &here), is_safe(&realm, &there)), (from_here, from_there), "{realm}");
        }
    }

    #[test]
    fn a_digest_is_what_it_says_it_is() {
        let good = format!("sha256:{}", "a1".repeat(32));
        assert!(is_digest(&good) && is_digest(&format!("sha512:{}", "0f".repeat(64))));
        for bad in
            ["", "sha256:", "sha256:12", &good.to_uppercase(), &format!("{good}0"), &good.replace("256", "1")]
        {
            assert!(!is_digest(bad), "{bad}");
        }
    }
}
