//! Whether the addresses of a name are this proxy: a token and a certificate of our own are put where an authority
//! would look, and asked for there.

use std::error::Error;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rcgen::{CertificateParams, CustomExtension, KeyPair};
use reqwest::Client;
use reqwest::redirect::Policy;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs;
use rustls::sign::CertifiedKey;
use rustls::{AlertDescription, ClientConfig, DigitallySignedStruct, SignatureScheme};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use sha2::{Digest as _, Sha256};
use switcher_config::wire::{CheckKind, Finding, Verdict};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::{Question, Views, challenge_server_name};
use crate::challenges::{ACME_TLS_ALPN, Challenges, HTTP_PATH};

/// How long one address may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// How much of an answer is read, in bytes: ours is shorter.
const LONGEST: usize = 1024;

/// What one address said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Seen {
    /// Our probe.
    Ours,
    /// Something else, in words.
    Other(String),
    /// Nothing, in words.
    Nothing(String),
}

/// Asks every address for a token that only we have, as an authority does for http-01.
pub(super) async fn http(question: &Question, name: &str, addresses: &[IpAddr]) -> Views {
    let mut seen = Vec::new();
    let token = match random() {
        Ok(token) => token,
        Err(error) => return unasked(addresses, &error),
    };
    let answer = format!("{token}.switcher-check");
    let _posted = question.challenges.post_http(token.clone(), &answer);
    for address in addresses {
        let at = SocketAddr::new(*address, question.http_port);
        let view = match fetch(name, at, &token).await {
            Ok((_, body)) if body == answer => Seen::Ours,
            Ok((server, _)) => Seen::Other(server),
            Err(error) => Seen::Nothing(error),
        };
        seen.push((*address, view));
    }
    seen
}

/// Who answers at that address, and what. Redirects are followed once, and the certificate behind one does not
/// matter: so it is with an authority.
async fn fetch(name: &str, at: SocketAddr, token: &str) -> Result<(String, String), String> {
    let client = Client::builder()
        .timeout(PATIENCE)
        .redirect(Policy::limited(1))
        .tls_danger_accept_invalid_certs(true)
        .no_proxy()
        .resolve(name, at)
        .build()
        .map_err(|error| error.to_string())?;
    let host = if at.is_ipv6() && name.contains(':') { format!("[{name}]") } else { name.to_owned() };
    let url = format!("http://{host}:{}{HTTP_PATH}{token}", at.port());
    let mut answer = match client.get(url).send().await {
        Ok(answer) => answer,
        Err(error) if error.is_redirect() => {
            return Ok(("a server that redirects more than once".to_owned(), String::new()));
        }
        Err(error) if error.is_timeout() => return Err(silent()),
        Err(error) => return Err(innermost(&error)),
    };
    let server = answer.headers().get("server").and_then(|server| server.to_str().ok()).unwrap_or("unnamed");
    let who = format!("{server}, status {}", answer.status().as_u16());
    let mut body = Vec::new();
    while let Ok(Some(piece)) = answer.chunk().await {
        body.extend_from_slice(&piece);
        if body.len() > LONGEST {
            break;
        }
    }
    Ok((who, String::from_utf8_lossy(&body).trim().to_owned()))
}

/// Asks every address for a certificate that only we have, as an authority does for tls-alpn-01.
pub(super) async fn tls(question: &Question, name: &str, addresses: &[IpAddr]) -> Views {
    let mut seen = Vec::new();
    let server_name = challenge_server_name(name);
    let probe = match probe(name) {
        Ok(probe) => probe,
        Err(error) => return unasked(addresses, &error),
    };
    let _posted = question.challenges.probe_tls_alpn(server_name.clone(), &probe);
    for address in addresses {
        let at = SocketAddr::new(*address, question.https_port);
        let view = timeout(PATIENCE, shake(&server_name, at, &question.challenges)).await;
        seen.push((*address, view.unwrap_or_else(|_| Seen::Nothing(silent()))));
    }
    seen
}

/// An order under way for the name shows a certificate there as well, which is as good a sign.
async fn shake(name: &str, at: SocketAddr, challenges: &Challenges) -> Seen {
    let Ok(server_name) = ServerName::try_from(name.to_owned()) else {
        return Seen::Nothing(format!("{name} cannot be asked for"));
    };
    let connected = match TcpStream::connect(at).await {
        Ok(stream) => stream,
        Err(error) => return Seen::Nothing(unnumbered(&error.to_string()).to_owned()),
    };
    let Ok(builder) = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
    else {
        return Seen::Nothing("there is no TLS here".to_owned());
    };
    let mut config =
        builder.dangerous().with_custom_certificate_verifier(Arc::new(LookOnly)).with_no_client_auth();
    config.alpn_protocols = vec![ACME_TLS_ALPN.to_vec()];
    // Looked at before and after, so that neither one that begins meanwhile is missed nor one that ends.
    let before = challenges.posted_tls_alpn(name);
    match TlsConnector::from(Arc::new(config)).connect(server_name, connected).await {
        Ok(stream) => {
            let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
            let posted = before.into_iter().chain(challenges.posted_tls_alpn(name));
            if posted.into_iter().any(|key| key.cert.first() == shown) {
                Seen::Ours
            } else {
                Seen::Other("a server with another certificate".to_owned())
            }
        }
        Err(error) => match error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>()) {
            Some(rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol)) => {
                Seen::Other("a TLS server that does not know acme-tls/1".to_owned())
            }
            Some(error) => Seen::Other(format!("a server that refuses the handshake ({error})")),
            None => Seen::Nothing(error.to_string()),
        },
    }
}

/// What the addresses say together. Silence may be the router's: many do not lead a machine back to itself by its
/// public address.
pub(super) fn judge(name: &str, check: CheckKind, port: u16, seen: &[(IpAddr, Seen)]) -> Finding {
    let finding = |verdict, message, fix: Option<String>| Finding {
        name: Some(name.to_owned()),
        check,
        verdict,
        message,
        fix,
    };
    let others = list(seen, |view| match view {
        Seen::Other(who) => Some(who.clone()),
        Seen::Ours | Seen::Nothing(_) => None,
    });
    if !others.is_empty() {
        let message = format!("Another server answers for {name} on port {port}: {others}.");
        let fix = format!("Let every address of {name} lead to this proxy, port {port} to port {port}.");
        return finding(Verdict::Problem, message, Some(fix));
    }
    let silent = list(seen, |view| match view {
        Seen::Nothing(why) => Some(why.clone()),
        Seen::Ours | Seen::Other(_) => None,
    });
    if !silent.is_empty() {
        let message = format!(
            "Port {port} of {name} is not reached from here: {silent}. Behind a router that does not lead back \
             inside what its own network sends to the public address (hairpin NAT), it may be reached from outside \
             all the same."
        );
        let scheme = if port == 443 { "https" } else { "http" };
        let fix = format!(
            "Ask {scheme}://{name} from another network, for example a phone; open port {port} in the firewall and \
             forward it to this proxy, or remove the address from DNS."
        );
        return finding(Verdict::Warning, message, Some(fix));
    }
    finding(Verdict::Ok, format!("Port {port} of {name} is this proxy."), None)
}

fn list(seen: &[(IpAddr, Seen)], words: impl Fn(&Seen) -> Option<String>) -> String {
    let found = seen.iter().filter_map(|(address, view)| Some(format!("{address} ({})", words(view)?)));
    found.collect::<Vec<_>>().join(", ")
}

fn silent() -> String {
    format!("no answer within {} s", PATIENCE.as_secs())
}

/// What is at the bottom of an error: the wrappers say only that a request failed.
pub(crate) fn innermost(error: &reqwest::Error) -> String {
    let mut inner: &dyn Error = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    unnumbered(&inner.to_string()).to_owned()
}

/// The words of the system without the number of its error.
pub(crate) fn unnumbered(words: &str) -> &str {
    words.split(" (os error ").next().unwrap_or(words)
}

/// Every address unasked, as there is nothing to ask for.
fn unasked(addresses: &[IpAddr], why: &dyn Error) -> Views {
    let view = Seen::Nothing(format!("there is no probe: {why}"));
    addresses.iter().map(|address| (*address, view.clone())).collect()
}

/// A word that nobody can guess.
fn random() -> Result<String, rustls::Error> {
    let mut bytes = [0; 16];
    aws_lc_rs::default_provider()
        .secure_random
        .fill(&mut bytes)
        .map_err(|_| rustls::Error::FailedToGetRandomBytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Why there is no certificate to show.
#[derive(Debug, thiserror::Error)]
enum ProbeError {
    #[error(transparent)]
    Issue(#[from] rcgen::Error),
    #[error(transparent)]
    Use(#[from] rustls::Error),
}

/// A certificate such as a challenge shows (RFC 8737 section 3), for no authorization in particular.
fn probe(name: &str) -> Result<Arc<CertifiedKey>, ProbeError> {
    let mut params = CertificateParams::new([name.to_owned()])?;
    let digest = Sha256::digest(random()?);
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(&digest)];
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    let key = aws_lc_rs::sign::any_supported_type(&PrivateKeyDer::Pkcs8(key.serialize_der().into()))?;
    // Not checked against each other: that refuses the critical extension of such a certificate.
    Ok(Arc::new(CertifiedKey::new(vec![certificate.der().clone()], key)))
}

/// Trusts nobody and accepts everybody: the certificate is only compared.
#[derive(Debug)]
struct LookOnly;

impl ServerCertVerifier for LookOnly {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes()
    }
}
