//! What the `acme` section is made of: authorities, addresses, files that hold secrets.
//!
//! Used by the declarations in [`crate::keys`].

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use serde_json::{Value, json};

use super::{Authority, Unique, leaf, or_name, text_schema};
use crate::address::is_dns_name;
use crate::node::{Node, Value as Written, Veil};
use crate::reader::{Reader, list, meant, shown};
use crate::section::{Setting, Shown};
use crate::settings::Directory;

/// The authorities that have a name.
const NAMED: [Directory; 4] =
    [Directory::LetsEncrypt, Directory::LetsEncryptStaging, Directory::ZeroSsl, Directory::Google];

impl Setting for Directory {
    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        let text = reader.text(node, "`letsencrypt`")?;
        // One authority has one name, however it is written: limits are counted by it.
        let url = text.trim_end_matches('/');
        if let Some(named) = NAMED.into_iter().find(|named| named.to_string() == text || named.url() == url) {
            return Some(named);
        }
        if text.starts_with("https://") && is_web_address(text) {
            return Some(Self::Url(text.to_owned()));
        }
        let names = NAMED.map(|named| named.to_string());
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        // Let's Encrypt is mostly written with a hyphen or two words.
        let squeezed =
            text.to_ascii_lowercase().replace(['\'', ' '], "").replace("lets-encrypt", "letsencrypt");
        let close = meant(&squeezed, &names).filter(|_| node.veil == Veil::Open && !text.contains("://"));
        let hint = match close {
            Some(name) => format!("did you mean `{name}`?"),
            None => format!("write {} or the https:// URL of a directory", list_or(&names)),
        };
        let message =
            format!("{} is neither an authority known by name nor an https:// URL", told_url(node, text));
        reader.wrong(node, message, hint);
        None
    }

    fn show(&self) -> Shown {
        Shown::Text(self.to_string())
    }

    fn schema() -> Value {
        let names = NAMED.map(|named| named.to_string());
        or_name(json!({"anyOf": [{"enum": names}, {"type": "string", "pattern": "^https://"}]}))
    }
}

/// Words with commas between them, for a sentence that goes on with "or".
fn list_or(words: &[&str]) -> String {
    list(words).replace(" and ", ", ")
}

/// A URL as a message may show it: one with a password in it not at all.
pub(super) fn told_url(node: &Node, text: &str) -> String {
    if has_user(text) { "the value (***)".to_owned() } else { shown(node, text) }
}

/// Whether a URL names a user, and so perhaps a password.
fn has_user(text: &str) -> bool {
    let authority =
        text.split_once("://").map(|(_, rest)| rest.split(['/', '?', '#']).next().unwrap_or_default());
    authority.is_some_and(|authority| authority.contains('@'))
}

/// Whether `text` is an http or https URL (RFC 3986) without user, password and fragment.
pub(super) fn is_web_address(text: &str) -> bool {
    let Some(rest) = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")) else {
        return false;
    };
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    let graphic = rest.bytes().all(|b| b.is_ascii_graphic() && !b"#\\\"<>^`{|}".contains(&b));
    graphic && authority.parse::<Authority>().is_ok()
}

/// An http or https URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WebAddress(pub(crate) String);

impl Setting for WebAddress {
    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        let text = reader.text(node, "`http://127.0.0.1:8000/allowed`")?;
        if is_web_address(text) {
            return Some(Self(text.to_owned()));
        }
        let message = format!("{} is no http:// or https:// URL", told_url(node, text));
        let hint = "write for example `http://127.0.0.1:8000/allowed`, without a user, password or `#`";
        reader.wrong(node, message, hint);
        None
    }

    fn show(&self) -> Shown {
        Shown::Text(self.0.clone())
    }

    fn schema() -> Value {
        or_name(json!({"type": "string", "pattern": "^https?://"}))
    }
}

/// An e-mail address, as an authority takes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Email(pub(crate) String);

impl FromStr for Email {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let good = text.split_once('@').is_some_and(|(user, domain)| {
            let user_byte = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~.".contains(&b);
            !user.is_empty() && user.bytes().all(user_byte) && is_dns_name(domain)
        });
        if good {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!("{text:?} is no e-mail address; write for example `ops@example.com`"))
        }
    }
}
leaf!(Email, "ops@example.com", |v| Shown::Text(v.0.clone()), text_schema("ops@example.com"));

/// The address of a DNS resolver; its port is 53 unless written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Resolver(pub(crate) SocketAddr);

impl FromStr for Resolver {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
        let address = bare.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 53)).or_else(|_| text.parse());
        address.ok().filter(|address| address.port() != 0).map(Self).ok_or_else(|| {
            format!("{text:?} is no address of a resolver; write its IP address, for example `9.9.9.9` or `[::1]:5353`")
        })
    }
}
leaf!(Resolver, "9.9.9.9", |v| Shown::Text(v.0.to_string()), text_schema("9.9.9.9"));

/// The name of a file that holds a secret. A value that looks like the secret itself is refused, untold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SecretFile(pub(crate) PathBuf);

impl Setting for SecretFile {
    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        let text = reader.text(node, "`/run/secrets/NAME`")?;
        if looks_like_a_secret(text) {
            let message = "this takes the name of a file, and the value looks like the secret itself";
            let hint = "put the secret into a file with mode 0600 and name that file, for example `/run/secrets/NAME` \
                        (if it is a file's name after all, write `./` in front)";
            reader.wrong(node, message, hint);
            return None;
        }
        PathBuf::read(node, reader).map(Self)
    }

    fn show(&self) -> Shown {
        self.0.show()
    }

    fn schema() -> Value {
        PathBuf::schema()
    }
}

/// Whether a text is more likely a key in base64, a token or PEM than a path. No file's name is told apart from
/// a token with certainty; so long a name without a dot or a leading slash is rare, and `./` before it helps.
fn looks_like_a_secret(text: &str) -> bool {
    let base64 = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"+/=_-".contains(&b));
    let encoded = base64 && text.len() >= 20 && (!text.contains('/') || text.ends_with('='));
    text.starts_with("-----BEGIN") || (encoded && !text.starts_with('/'))
}

/// One value or a list of them, none of them twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OneOrMore<T>(pub(crate) Vec<T>);

impl<T: Setting + PartialEq> Setting for OneOrMore<T> {
    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        if matches!(&node.value, Written::Sequence(items) if items.is_empty()) {
            reader.wrong(
                node,
                "the list is empty",
                "name at least one, or leave the key out for its default",
            );
            return None;
        }
        Unique::read(node, reader).map(|list| Self(list.0))
    }

    fn show(&self) -> Shown {
        self.0.show()
    }

    fn schema() -> Value {
        json!({"anyOf": [T::schema(), {"type": "array", "minItems": 1, "uniqueItems": true, "items": T::schema()}]})
    }
}

/// Whether the line of a text may not be quoted, under whatever key it stands.
pub(crate) fn may_hold_a_secret(text: &str) -> bool {
    has_user(text) || is_a_key(text)
}

/// Whether a text is most likely a key or a token. Words in capitals, such as cipher suites, are none.
pub(crate) fn is_a_key(text: &str) -> bool {
    let mixed = text.bytes().any(|b| b.is_ascii_lowercase()) && text.bytes().any(|b| b.is_ascii_digit());
    text.starts_with("-----BEGIN") || (mixed && looks_like_a_secret(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_has_a_host_and_no_user() {
        for good in [
            "https://ca.example/dir",
            "http://127.0.0.1:80",
            "http://[::1]:8000/a?b=c",
            "https://ca:14000/dir",
        ] {
            assert!(is_web_address(good), "{good}");
        }
        for bad in [
            "",
            "ftp://ca.example",
            "https://",
            "https:///dir",
            "https://u:p@ca.example/",
            "https://ca.example/#x",
            "https://ca example",
            "https://ca.example:99999/",
            "HTTPS:ca",
            "//ca.example",
        ] {
            assert!(!is_web_address(bad), "{bad}");
        }
        assert!(
            has_user("https://u:p@ca.example/") && !has_user("https://ca.example/@x") && !has_user("a@b")
        );
    }

    #[test]
    fn an_address_of_a_resolver_may_lack_its_port() {
        for (text, shown) in [
            ("9.9.9.9", "9.9.9.9:53"),
            ("9.9.9.9:54", "9.9.9.9:54"),
            ("::1", "[::1]:53"),
            ("[::1]", "[::1]:53"),
            ("[::1]:5353", "[::1]:5353"),
        ] {
            assert_eq!(text.parse::<Resolver>().map(|it| it.0.to_string()), Ok(shown.to_owned()));
        }
        for bad in ["", "dns.example", "9.9.9.9:0", "9.9.9.9:x", "9.9.9"] {
            assert!(bad.parse::<Resolver>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_secret_is_told_from_a_path() {
        for secret in [
            "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W",
            "-----BEGIN PRIVATE KEY-----",
            "4S/QdA2zCKnQb6C0bMyOVQ6aUyS0+3VbZg==",
            "v1_0-abcdefghijklmnopqrstuvw",
        ] {
            assert!(looks_like_a_secret(secret), "{secret}");
        }
        for path in [
            "/run/secrets/cloudflare_token_of_production",
            "hmac.key",
            "./zWNDZM6eQGHWpSRTPal5eIUYFTu7EajV",
            "token",
            "keys/production/cloudflare_token",
            "/a/b==",
        ] {
            assert!(!looks_like_a_secret(path), "{path}");
        }
    }
}
