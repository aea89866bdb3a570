//! A registry's token service: the Bearer flow of Docker's distribution, as GHCR and Docker Hub have it.
//!
//! It gives signed tokens (JWT, ES256) that name what the bearer may do; the registry believes its certificate.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use rcgen::{CertificateParams, KeyPair, SigningKey as _};
use serde_json::{Value, json};

use super::{PASSWORD, USER};
use crate::http1::Head;
use crate::raw::Raw;

/// The registry's name at the service.
pub(super) const SERVICE: &str = "test-registry";
/// The service's name in its tokens.
pub(super) const ISSUER: &str = "test-issuer";

/// How long a token is good for: shorter than a slow deployment takes.
const LIFETIME_SECONDS: u64 = 60;

/// A running service.
pub(super) struct Tokens {
    signer: Arc<Signer>,
    server: Raw,
}

struct Signer {
    key: KeyPair,
    der: Vec<u8>,
    pem: String,
    anybody_pulls: bool,
}

impl Tokens {
    /// Starts one; it listens on the loopback address.
    pub(super) async fn start(anybody_pulls: bool) -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.distinguished_name.push(rcgen::DnType::CommonName, ISSUER);
        let certificate = params.self_signed(&key).expect("a certificate");
        let (der, pem) = (certificate.der().to_vec(), certificate.pem());
        let signer = Arc::new(Signer { key, der, pem, anybody_pulls });
        let shared = Arc::clone(&signer);
        let server = Raw::start(move |mut conversation| {
            let signer = Arc::clone(&shared);
            async move {
                while let Some(received) = conversation.request().await {
                    let answer = signer.answer(&received.head, &received.body);
                    if conversation.wire.try_send(&answer).await.is_err() {
                        return;
                    }
                }
            }
        });
        Self { signer, server: server.await }
    }

    /// Where a registry sends its clients.
    pub(super) fn url(&self) -> String {
        format!("http://{}/token", self.server.address())
    }

    /// The certificate that the registry must believe.
    pub(super) fn certificate(&self) -> String {
        self.signer.pem.clone()
    }

    /// A token with which everything may be done in a repository.
    pub(super) fn everything(&self, repository: &str) -> String {
        let actions = ["pull", "push", "delete", "*"];
        self.signer.token(USER, &json!([{"type": "repository", "name": repository, "actions": actions}]))
    }
}

impl Signer {
    /// Answers `GET /token?scope=…` with basic authentication or none, and OAuth2's `POST /token`.
    fn answer(&self, head: &Head, body: &[u8]) -> Vec<u8> {
        let form = String::from_utf8_lossy(body).into_owned();
        let query = head.target().split_once('?').map_or("", |(_, query)| query).to_owned();
        let words = words(if head.method() == "POST" { &form } else { &query });
        let word =
            |name: &str| words.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
        let given = match (head.get("authorization"), word("username")) {
            (Some(header), _) => Some(basic(header)),
            (None, Some(user)) => {
                Some(Some((user.to_owned(), word("password").unwrap_or_default().to_owned())))
            }
            (None, None) => None,
        };
        let known = given == Some(Some((USER.to_owned(), PASSWORD.to_owned())));
        if given.is_some() && !known {
            return http(401, &json!({"errors": [{"code": "UNAUTHORIZED", "message": "wrong password"}]}));
        }
        let scopes = words.iter().filter(|(name, _)| name == "scope").flat_map(|(_, all)| all.split(' '));
        let access: Vec<Value> = scopes.filter_map(|scope| self.grant(scope, known)).collect();
        let token = self.token(if known { USER } else { "" }, &access.into());
        http(200, &json!({"token": token, "access_token": token, "expires_in": LIFETIME_SECONDS}))
    }

    /// What of `repository:NAME:ACTION,…` is granted.
    fn grant(&self, scope: &str, known: bool) -> Option<Value> {
        let (kind, rest) = scope.split_once(':')?;
        let (name, actions) = rest.rsplit_once(':')?;
        let may = |action: &&str| known || (self.anybody_pulls && *action == "pull");
        let actions: Vec<&str> = actions.split(',').filter(may).collect();
        Some(json!({"type": kind, "name": name, "actions": actions}))
    }

    fn token(&self, subject: &str, access: &Value) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a time after 1970").as_secs();
        let head = json!({"typ": "JWT", "alg": "ES256", "x5c": [BASE64_STANDARD.encode(&self.der)]});
        let claims = json!({
            "iss": ISSUER, "sub": subject, "aud": SERVICE, "iat": now, "nbf": now - 5,
            "exp": now + LIFETIME_SECONDS, "jti": now.to_string(), "access": access,
        });
        let [head, claims] = [head, claims].map(|part| BASE64_URL_SAFE_NO_PAD.encode(part.to_string()));
        let signed = format!("{head}.{claims}");
        let signature = self.key.sign(signed.as_bytes()).expect("a signature");
        format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(fixed(&signature)))
    }
}

/// An ECDSA signature as JSON Web Signatures have it: two numbers of 32 bytes, out of ASN.1's two integers.
fn fixed(der: &[u8]) -> Vec<u8> {
    let mut both = Vec::new();
    let mut rest = &der[2..];
    for _ in 0..2 {
        let length = usize::from(rest[1]);
        let number = &rest[2..2 + length];
        // A leading zero keeps ASN.1's integers positive; short ones lack their leading zeros.
        let number = &number[number.len().saturating_sub(32)..];
        both.extend(std::iter::repeat_n(0, 32 - number.len()).chain(number.iter().copied()));
        rest = &rest[2 + length..];
    }
    both
}

fn basic(header: &str) -> Option<(String, String)> {
    let encoded = header.strip_prefix("Basic ")?;
    let text = String::from_utf8(BASE64_STANDARD.decode(encoded).ok()?).ok()?;
    text.split_once(':').map(|(user, password)| (user.to_owned(), password.to_owned()))
}

/// The pairs of a query or form, with `%` and `+` resolved.
fn words(text: &str) -> Vec<(String, String)> {
    let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (plain(name), plain(value))).collect()
}

fn plain(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits: String = rest.by_ref().take(2).map(char::from).collect();
                u8::from_str_radix(&digits, 16).unwrap_or(b'?')
            }
            other => other,
        });
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn http(status: u16, body: &Value) -> Vec<u8> {
    let body = body.to_string();
    let length = body.len();
    format!("HTTP/1.1 {status} -\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}")
        .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_has_two_numbers_of_32_bytes() {
        let long = [&[0x30, 0x45, 0x02, 0x21, 0x00][..], &[0xAA; 32], &[0x02, 0x1F], &[0xBB; 31]].concat();
        let both = fixed(&long);
        assert_eq!(both, [&[0xAA; 32][..], &[0], &[0xBB; 31]].concat());
    }

    #[test]
    fn a_form_is_read_with_its_escapes() {
        let words = words("scope=repository%3Ashop%3Apull+x&service=s");
        assert_eq!(words[0], ("scope".to_owned(), "repository:shop:pull x".to_owned()));
    }
}
